"""Statements of paper 002, section 4, on ReLU networks with one hidden layer, each with its check.

Instances are small random problems, half of them with integer data so that points on the boundaries of cones occur.
Existence by linear programs is compared with the theorem of the alternative by nonnegative least squares, and with
random search; what minima and saddles are called is compared with the loss around them and with quasi-Newton descent
from random starts.
"""

from collections.abc import Iterator

import numpy as np
from scipy.optimize import nnls

from gradflow.critical_sets import relu_cones
from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.relu_cones.cones import dead_row, row_cone
from gradflow.critical_sets.relu_cones.pieces import piece_of
from gradflow.critical_sets.relu_cones.regressions import Layers, ReluData, relu_data
from gradflow.problem import Regression
from gradflow.verification.relu_instances import (
    CAVEAT,
    EXAMPLE_1,
    EXAMPLE_TABLE,
    KINK,
    MINIMA,
    alternative,
    constructed_rows,
    descended,
    falls_as_promised,
    has_zero,
    lowest_around,
    members,
    random_problem,
    random_product_point,
    relu_problem,
    search_repeated,
)
from gradflow.verification.statement import Statement, Trial

PACKAGE = "gradflow.critical_sets.relu_cones"
ROUNDING = 1e-9
"""For identities on data of size 1 whose pieces are conditioned up to about 1e4."""


# --- cones ---------------------------------------------------------------------------------------------------------


def _check_partition(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for _ in range(count):
        problem = random_problem(rng)
        data = relu_data(problem)
        cones = relu_cones.realisable_cones(problem)
        yield Trial.agreement(len(set(cones)), len(cones))
        second = np.zeros((len(data.Y), 1))
        for _ in range(20):
            row = rng.integers(-2, 3, size=(1, len(data.X))).astype(float)
            cone = relu_cones.cone_of(problem, (row, second))
            yield Trial.agreement(cone.is_product and cone.samples in cones, True, f"row {row}")
        for samples in cones:
            outside = tuple(index for index in data.live if index not in samples)
            row = row_cone(data, samples, outside).point()[1]
            yield Trial.agreement(relu_cones.cone_of(problem, (row[None], second)).samples, samples)


def _printed_partition() -> Trial:
    problem = relu_problem(*EXAMPLE_1, num_units=2)
    cone = relu_cones.cone_of(problem, (np.array([[1.0, -1.0], [-1.0, 1.0]]), np.ones((2, 2))))
    return Trial.agreement(cone.is_product, True, "unit 1 active on sample 1 only, unit 2 on sample 2 only")


def _check_piece(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for _ in range(count):
        problem = relu_problem(rng.normal(size=(3, 4)), rng.normal(size=(2, 4)), 3)
        data = relu_data(problem)
        rows = rng.normal(size=(3, 3))
        rows[:2] = rows[0] * np.exp(rng.normal(size=(2, 1)))
        rows[2] = rows[0] if rng.uniform() < 0.5 or dead_row(data) is None else dead_row(data)
        second = rng.normal(size=(2, 3))
        cone = relu_cones.cone_of(problem, (rows, second))
        units, samples = list(cone.units), list(cone.samples)
        rest = [sample for sample in range(4) if sample not in samples]
        residual = second[:, units] @ rows[units] @ data.X[:, samples] - data.Y[:, samples]
        value = 0.5 * np.sum(residual**2) + 0.5 * np.sum(data.Y[:, rest] ** 2)
        yield Trial.agreement(cone.is_product, True)
        yield Trial(abs(value - float(problem.loss((rows, second)))) / value, 1e-12)


# --- closed forms --------------------------------------------------------------------------------------------------


def _check_active_preactivations(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for _ in range(count):
        d_in, num_samples, d_out = rng.integers(1, 5), rng.integers(1, 5), rng.integers(2, 5)
        X, Y = rng.normal(size=(d_in, num_samples)), rng.normal(size=(d_out, num_samples))
        if rng.uniform() < 0.3 and d_in > 1:
            X[-1] = X[0]
        data = relu_data(relu_problem(X, Y, 3))
        rank = int(rng.integers(0, min(3, int(d_out) + 1)))
        piece, W, C, L1, rows = constructed_rows(rng, data, tuple(range(num_samples)), rank, 3)
        expected = relu_cones.active_preactivations(piece, W, C, L1)
        size = np.linalg.cond(C) * (1 + np.linalg.norm(rows @ X))
        yield Trial(float(np.linalg.norm(rows @ X - expected)) / size, ROUNDING)


def _printed_active_preactivations() -> Trial:
    X = np.array([[1.0, 0.2], [-0.3, 0.8], [0.5, -0.4]])
    data = relu_data(relu_problem(X, np.array([[0.6, -0.2], [0.1, 0.9]]), 2))
    piece, W, C, L1, rows = constructed_rows(np.random.default_rng(0), data, (0, 1), 1, 2)
    inverse = np.linalg.inv(C)
    printed = inverse @ W.T @ piece.left @ piece.rows @ X + inverse @ (W.T @ W) @ C @ L1 @ X
    return Trial(float(np.linalg.norm(rows @ X - printed)), ROUNDING, "eq. (13) with I - P_ker(V)")


def _check_product_cones(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for _ in range(count):
        problem = random_problem(rng, num_units=int(rng.integers(1, 4)), most_samples=3)
        data = relu_data(problem)
        classes = relu_cones.enumerate_classes(problem)
        for entry, params in members(problem, rng, classes):
            yield from _trials_of_member(problem, data, entry, params)
        listed = {(entry.pattern["I"], entry.pattern["J"], entry.pattern["counts"]) for entry in classes}
        for _ in range(10):
            found = random_product_point(rng, problem)
            if found is not None and found.counts is not None:
                key = found.cone.units, found.cone.samples, found.counts
                yield Trial.agreement(key in listed or found.status == "ambiguous", True, f"random search found {key}")


def _trials_of_member(problem: Regression, data: ReluData, entry: CriticalClass, params: Layers) -> Iterator[Trial]:
    found = relu_cones.decompose(problem, params)
    label = f"{entry.pattern}"
    size = max(data.dead_loss, 1e-300)
    yield Trial(abs(found.loss - entry.loss) / size, 1e-8, label)
    if entry.pattern["kind"] != "kink":
        yield Trial(found.defect, 1e-8, label)
    if entry.pattern["kind"] in ("captured", "degenerate") and found.counts is not None:
        yield Trial.agreement(found.counts, entry.pattern["counts"], label)
    if entry.pattern["kind"] not in ("dead", "origin"):
        yield Trial.agreement(found.cone.samples, entry.pattern["J"], label)
    if entry.pattern["interior"] is True:
        yield Trial.agreement(found.interior, True, label)


def _check_dead_units(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for _ in range(count):
        problem = random_problem(rng, num_units=2, most_samples=5)
        data = relu_data(problem)
        columns = data.X[:, list(data.live)] / np.linalg.norm(data.X[:, list(data.live)], axis=0)
        system, target = np.vstack([columns, np.ones(columns.shape[1])]), np.append(np.zeros(len(columns)), 1.0)
        zero_in_hull = nnls(system, target)[1] < 1e-7
        row = dead_row(data)
        yield Trial.agreement(row is None, zero_in_hull, f"X = {data.X.tolist()}")
        if row is not None:
            yield Trial.agreement(bool(np.all(row @ columns < 0)), True)


def _printed_dead_units() -> Trial:
    X, Y = np.array([[1.0, -1.0]]), np.array([[1.0, 0.0]])
    alone = relu_cones.existence(relu_problem(X, Y), (0,), (1,)).exists
    with_dead_unit = relu_cones.existence(relu_problem(X, Y, 2), (0,), (1,)).exists
    return Trial.agreement(with_dead_unit, alone, "0 in the convex hull of the columns: no unit can be dead")


# --- one hidden unit -----------------------------------------------------------------------------------------------


def _check_one_unit(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    tried = 0
    while tried < count:
        problem = random_problem(rng)
        data = relu_data(problem)
        for number in range(1, 2 ** len(data.live)):
            samples = tuple(sample for bit, sample in enumerate(data.live) if number >> bit & 1)
            piece = piece_of(data, samples)
            for group, indices in enumerate(piece.groups):
                if len(indices) > 1 or indices[0] >= piece.num_positive:
                    continue
                expected = alternative(data, piece, indices[0])
                counts = tuple(int(index == group) for index in range(len(piece.groups)))
                found = relu_cones.existence(problem, samples, counts)
                tried += 1
                if expected is not None and found.exists != "unknown":
                    label = f"X {data.X.tolist()}, Y {data.Y.tolist()}, J {samples}, group {group}"
                    yield Trial.agreement(found.exists, expected, label)
                if found.exists is True:
                    row = found.rows[0]
                    hidden = row @ piece.X
                    second = piece.Y @ hidden / (hidden @ hidden)
                    point = relu_cones.decompose(problem, (row[None], second[:, None]))
                    yield Trial(point.defect, 1e-8)
                    yield Trial.agreement(point.cone.samples, samples)
                    yield Trial(abs(point.loss - piece.loss(counts)) / data.dead_loss, ROUNDING)


def _check_repeated(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for _ in range(count):
        d_in, d_out = int(rng.integers(2, 4)), int(rng.integers(2, 4))
        num_active = int(rng.integers(2, d_in + 1))
        X = rng.normal(size=(d_in, num_active + int(rng.integers(0, 3))))
        right = np.linalg.qr(X[:, :num_active].T)[0]
        Y = rng.normal(size=(d_out, X.shape[1]))
        q = min(num_active, d_out)
        Y[:, :num_active] = 1.5 * np.linalg.qr(rng.normal(size=(d_out, q)))[0] @ right[:, :q].T
        problem = relu_problem(X, Y)
        data = relu_data(problem)
        samples = tuple(range(num_active))
        piece = piece_of(data, samples)
        yield Trial.agreement(len(piece.groups[0]), q)
        counts = (1,) + (0,) * (len(piece.groups) - 1)
        found = relu_cones.existence(problem, samples, counts)
        yield Trial.agreement(found.exists is not False or not search_repeated(rng, data, piece, q), True)
        if found.exists is True:
            yield Trial.agreement(bool(found.interior is True or has_zero(found.rows[0], piece)), True)
            row = found.rows[0]
            second = piece.Y @ (row @ piece.X) / np.sum((row @ piece.X) ** 2)
            point = relu_cones.decompose(problem, (row[None], second[:, None]))
            yield Trial(point.defect, 1e-8)
            yield Trial.agreement((point.cone.samples, point.sigma is not None), (samples, True))


def _check_local(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for _ in range(count):
        problem = random_problem(rng)
        data = relu_data(problem)
        for entry, params in members(problem, rng):
            if entry.category in MINIMA:
                yield Trial(-lowest_around(data, params, rng), 1e-12, f"{entry.category} {entry.pattern}")
            if entry.category in ("strict saddle", "not a local minimum", "not stationary"):
                descent = relu_cones.descent_direction(problem, params)
                yield Trial.agreement(descent is not None, True, f"{entry.category} {entry.pattern}")
                if descent is not None:
                    yield Trial.agreement(falls_as_promised(data, params, descent), True, f"{entry.pattern}")


def _printed_local() -> Trial:
    problem = relu_problem(*CAVEAT)
    data = relu_data(problem)
    second = np.array([[1.0]])
    before, after = data.loss((np.array([[1.0, 0.0]]), second)), data.loss((np.array([[1.0, -0.1]]), second))
    return Trial(before - after, 0.0, "J = {1, 2, 3}, i = 1, A1 = (1, 0), A2 = 1 moved to A1 = (1, -0.1)")


def _check_spurious(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for _ in range(count):
        X = np.eye(2) + 0.2 * rng.uniform(size=(2, 2))
        problem = relu_problem(X, np.diag(1 + rng.uniform(size=2)))
        data = relu_data(problem)
        classes = relu_cones.enumerate_classes(problem)
        spurious = [entry for entry in classes if entry.category == "spurious minimum" and entry.pattern["interior"]]
        yield Trial.agreement(len(spurious) > 0, True, f"X {X.tolist()}")
        for entry, params in members(problem, rng, tuple(spurious)):
            yield Trial(-lowest_around(data, params, rng), 1e-12)
            yield Trial(classes[0].loss + 1e-6, entry.loss)
        plateau = [entry for entry in classes if entry.category == "plateau"]
        for _, params in members(problem, rng, tuple(plateau)):
            moved = params[0] * (1 + 1e-3 * rng.normal(size=params[0].shape)), params[1] + rng.normal(size=(2, 1))
            yield Trial(abs(data.loss(moved) - data.dead_loss), 0.0)


def _check_global(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for _ in range(count):
        problem = random_problem(rng)
        data = relu_data(problem)
        lowest = relu_cones.global_minimum(problem)
        losses = [entry.loss for entry in relu_cones.enumerate_classes(problem)]
        yield Trial(abs(data.loss(lowest.params) - lowest.value) / data.dead_loss, ROUNDING)
        yield Trial(
            abs(min(losses) - lowest.value) / data.dead_loss, ROUNDING, f"X {data.X.tolist()}, Y {data.Y.tolist()}"
        )
        found = min(data.loss(descended(data, rng)) for _ in range(6))
        yield Trial(lowest.value - found, 1e-9 * data.dead_loss, f"X {data.X.tolist()}, Y {data.Y.tolist()}")


def _printed_global() -> Trial:
    problem = relu_problem(*KINK)
    classes = relu_cones.enumerate_classes(problem)
    listed = min(entry.loss for entry in classes if entry.pattern["kind"] != "kink")
    return Trial(
        listed - relu_cones.global_minimum(problem).value, ROUNDING, "X, Y with their minimum 0.1475 on a kink"
    )


# --- the example ---------------------------------------------------------------------------------------------------


def _check_example(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    problem = relu_problem(*EXAMPLE_1)
    data = relu_data(problem)
    classes = [entry for entry in relu_cones.enumerate_classes(problem) if entry.pattern["kind"] != "origin"]
    found = {
        (entry.pattern["J"], entry.pattern["sigma"] and round(entry.pattern["sigma"], 12)): entry for entry in classes
    }
    yield Trial.agreement((set(found), len(classes)), (set(EXAMPLE_TABLE), len(EXAMPLE_TABLE)))
    for key, (value, interior, category) in EXAMPLE_TABLE.items():
        entry = found[key]
        yield Trial(abs(entry.loss - value), 1e-12)
        yield Trial.agreement((entry.pattern["interior"], entry.category), (interior, category), f"{key}")
    for _ in range(count):
        for entry, params in members(problem, rng, tuple(classes)):
            yield Trial(abs(data.loss(params) - entry.loss), 1e-12)
            if entry.category in MINIMA:
                yield Trial(-lowest_around(data, params, rng, 10), 1e-13)
    saddle = np.array([[0.0, 1.0]]), np.array([[0.0], [1.0]])
    descent = relu_cones.descent_direction(problem, saddle)
    yield Trial.agreement(descent is not None and descent.order == 2, True)
    for step in (0.1, 0.5, 1.0):
        moved = saddle[0] + step * np.array([[1.0, 0.0]]), saddle[1] + step * np.array([[1.0], [0.0]])
        yield Trial(abs(data.loss(moved) - (2 - step**2 + 0.5 * step**4)), 1e-12)


def _printed_example() -> Trial:
    data = relu_data(relu_problem(*EXAMPLE_1))
    value = data.loss((np.array([[-1.0, -1.0]]), np.array([[0.3], [0.7]])))
    return Trial(abs(value - 2.0), 1e-9, "the plateau's loss is 5/2")


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "002", "eq. (8)",
        "The cones K_{1xJ} partition the parameters of one hidden unit; with more units product cones leave gaps.",
        (f"{PACKAGE}.realisable_cones", f"{PACKAGE}.cone_of"), _check_partition,
        correction="Printed: the entire parameter space is partitioned into the cones K_{IxJ}. True for d_1 = 1 only.",
        as_printed=_printed_partition, quick=6, thorough=40,
    ),
    Statement(
        "002", "eq. (9)",
        "On K_{IxJ} the loss is 1/2 ||A2_I A1_I X_J - Y_J||^2 + 1/2 ||Y_rest||^2.",
        (f"{PACKAGE}.cone_of",), _check_piece, quick=10, thorough=200,
    ),
    Statement(
        "002", "Proposition 6",
        "Members of the listed classes of product cones are critical for the piece, lie in the cone, have the listed "
        "loss; critical points of the closed form found by random search in a product cone belong to a listed class.",
        (f"{PACKAGE}.enumerate_classes", f"{PACKAGE}.existence", f"{PACKAGE}.sample"), _check_product_cones,
        quick=3, thorough=12,
    ),
    Statement(
        "002", "eq. (13)",
        "A1_I X_J = C^-1 V^T U^T Y_J X_J^+ X_J + C^-1 P_ker(V) C L1 X_J.",
        (f"{PACKAGE}.active_preactivations", f"{PACKAGE}.construct"), _check_active_preactivations,
        correction="Printed with I - P_ker(V) in place of P_ker(V).",
        as_printed=_printed_active_preactivations, quick=60, thorough=2000,
    ),
    Statement(
        "002", "eq. (14)",
        "Units outside I need a row with a X < 0: it exists exactly when 0 is not in the convex hull of the columns.",
        (f"{PACKAGE}.existence",), _check_dead_units,
        correction="The condition on the rows outside I is not spelled out; without it existence is claimed too often.",
        as_printed=_printed_dead_units, quick=60, thorough=1000,
    ),
    Statement(
        "002", "Proposition 7",
        "One hidden unit, simple eigenvalue: a critical point exists in K_{1xJ} exactly when (16)-(17) can be solved; "
        "linear programs agree with the theorem of the alternative; solutions are critical with loss "
        "1/2 (Tr YY^T - sigma_i).",
        (f"{PACKAGE}.existence",), _check_one_unit, quick=60, thorough=1500,
    ),
    Statement(
        "002", "eqs. (16)-(17)",
        "For an eigenvalue of multiplicity q the direction v ranges over a sphere; 2q linear programs decide.",
        (f"{PACKAGE}.existence",), _check_repeated, quick=15, thorough=300,
    ),
    Statement(
        "002", "Proposition 7, local minimum",
        "A point with the largest eigenvalue of its cone is a local minimum inside the cone; on the boundary one-sided "
        "derivatives and the neighbouring pieces decide. Each category is confirmed by the loss around random members.",
        (f"{PACKAGE}.enumerate_classes", f"{PACKAGE}.descent_direction", f"{PACKAGE}.directional_derivative"),
        _check_local,
        correction="Printed: the critical point with i = 1 achieves a local minimum. On the boundary it may be no "
        "stationary point.",
        as_printed=_printed_local, quick=2, thorough=20,
    ),
    Statement(
        "002", "Proposition 7, entire parameter space",
        "The global minimum of one hidden unit is the smallest loss over all faces of all cones; descent from random "
        "starts finds nothing lower.",
        (f"{PACKAGE}.global_minimum",), _check_global,
        correction="Printed: Proposition 7 characterises the critical points over the entire parameter space. Points "
        "where L_N has a kink can be stationary, the global minimum among them, and are critical for no piece.",
        as_printed=_printed_global, quick=2, thorough=20,
    ),
    Statement(
        "002", "Proposition 8",
        "Local minima that are not global exist, and a plateau of points that are local minima and, weakly, maxima.",
        (f"{PACKAGE}.enumerate_classes",), _check_spurious,
        correction="Printed: there also exists local maximum. It holds in the weak sense of the plateau only.",
        quick=3, thorough=25,
    ),
    Statement(
        "002", "Example 1",
        "X = I, Y = diag(2, 1): the seven nonzero classes, their losses and types; at (t, 1), (t, 1)^T the loss is "
        "2 - t^2 + t^4/2.",
        (f"{PACKAGE}.enumerate_classes", f"{PACKAGE}.descent_direction"), _check_example,
        correction="The plateau's loss is printed as 2 and is 5/2; four of the seven classes are not in the text.",
        as_printed=_printed_example, quick=2, thorough=30,
    ),
)  # fmt: skip
