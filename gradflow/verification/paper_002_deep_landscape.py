"""Statements of paper 002 on the landscape of deep linear networks, Theorem 4, each with its check.

Tolerances as for Theorem 3: identities to 1e-9, decisions exactly.
"""

from collections.abc import Iterator

import numpy as np

from gradflow.critical_sets import deep_linear
from gradflow.verification import deep_points
from gradflow.verification.deep_points import DeepPoint, diagonal_problem, points, random_problem
from gradflow.verification.statement import Statement, Trial

ROUNDING = 1e-9
_PACKAGE = "gradflow.critical_sets.deep_linear."


def _members(rng: np.random.Generator, count: int, category: str) -> Iterator[DeepPoint]:
    """Members of classes of one category, with the widths in `described`."""
    shapes = [0, 1, 2, 4, 6]
    for number in range(count):
        problem = random_problem(rng, shapes[number // 8 % len(shapes)])
        chosen = [item for item in deep_linear.enumerate_classes(problem) if item.category == category]
        item = chosen[rng.integers(len(chosen))]
        params = deep_linear.sample(problem, item, rng)
        yield DeepPoint(problem, params, item.pattern["counts"], 0, category)


def _item_1(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for point in _members(rng, count, "deep-non-optimal"):
        before = deep_points.loss(point.problem, point.params)
        for eps in (0.05, 1.0):
            moved = deep_linear.rotate_captured(point.problem, point.params, eps)
            change = deep_points.loss(point.problem, moved.params) - before
            yield Trial(abs(change - moved.change), ROUNDING * (1 + before), f"eps = {eps}, {point.described}")
            yield Trial(change, 0.0, f"lower, eps = {eps}, {point.described}")
        ranks = [int(np.linalg.matrix_rank(layers[-1], tol=1e-8)) for layers in (point.params, moved.params)]
        yield Trial.agreement(ranks[1], ranks[0], f"rank A_l, {point.described}")


def _non_optimal_example() -> tuple[DeepPoint, deep_linear.Level]:
    """Captures s_2 = 1 and misses s_1 = 2, with rank A_3 = 2 > rank A_(3,2) = 1."""
    problem = diagonal_problem((2, 2, 2, 2), (2.0, 1.0))
    params = deep_linear.construct(problem, (0, 1), blocks=[np.zeros((1, 2)), np.zeros((1, 1)), np.ones((1, 1))])
    return DeepPoint(problem, params, (0, 1), 0, "example"), deep_linear.decompose(problem, params).levels[0]


def _item_1_as_printed() -> Trial:
    point, _ = _non_optimal_example()
    eps = 0.5
    moved = deep_linear.rotate_captured(point.problem, point.params, eps)
    change = deep_points.loss(point.problem, moved.params) - deep_points.loss(point.problem, point.params)
    printed = -(eps**2) / (1 + eps**2) * (4.0 - 1.0)
    return Trial(abs(change - printed), ROUNDING, f"change {change:.6g}, printed without 1/2 {printed:.6g}")


def _item_1_rank_as_printed() -> Trial:
    point, level = _non_optimal_example()
    eps, captured = 0.5, level.recovery.capture.directions
    turned = (captured + eps * level.spectrum.left[:, :1]) / np.sqrt(1 + eps**2)
    last = turned @ captured.T @ point.params[-1]
    ranks = [int(np.linalg.matrix_rank(layer, tol=1e-8)) for layer in (last, point.params[-1])]
    return Trial.agreement(ranks[0], ranks[1], f"rank of M_k (U_k S_k)^T A_l is {ranks[0]}, of A_l {ranks[1]}")


def _item_2(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for point in _members(rng, count, "deep-optimal"):
        before = deep_points.loss(point.problem, point.params)
        for eps1, eps2 in ((0.3, None), (0.7, 0.2)):
            moved = deep_linear.add_missed(point.problem, point.params, eps1, eps2)
            change = deep_points.loss(point.problem, moved.params) - before
            yield Trial(abs(change - moved.change), ROUNDING * (1 + before), f"eps1 = {eps1}, {point.described}")
            if eps2 is None:
                yield Trial(change, 0.0, f"lower, {point.described}")
                ranks = [int(np.linalg.matrix_rank(layers[-1], tol=1e-8)) for layers in (point.params, moved.params)]
                yield Trial.agreement(ranks[1], ranks[0] + 1, f"rank A_l, {point.described}")


def _item_3(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Any point with ``A_(l,1) X != 0``, critical or not: scaling a row of ``A_l`` up or down raises the loss."""
    for point in points(rng, count):
        step = 0.1 * (sum(point.counts) == 0)
        params = tuple(layer + step * rng.normal(size=layer.shape) for layer in point.params)
        assert point.problem.statistics is not None
        product = np.linalg.multi_dot([*reversed(params), np.asarray(point.problem.statistics.root)])
        row = int(np.argmax(np.linalg.norm(product, axis=1)))
        before, highest = deep_points.loss(point.problem, params), -np.inf
        for factor in (0.9, 1.1):
            last = np.array(params[-1])
            last[row] *= factor
            highest = max(highest, deep_points.loss(point.problem, (*params[:-1], last)) - before)
        yield Trial(-highest, -0.004 * float(np.sum(product[row] ** 2)), point.described)


def _categories(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Every non-global point has one of three labels, the first two strict; strictness is that of the Hessian."""
    for point in points(rng, count):
        found = deep_linear.decompose(point.problem, point.params)
        yield Trial.agreement(found.category in deep_linear.CATEGORIES[:4], True, point.described)
        negative = deep_points.inertia(point.problem, point.params)[0] > 0
        yield Trial.agreement(found.strict, negative, f"{found.category}, {point.described}")
        yield Trial.agreement(found.recognised.strict in (found.strict, None), True, f"recognise, {point.described}")
        if found.category in ("deep-non-optimal", "deep-optimal"):
            yield Trial.agreement(negative, True, f"{found.category} is strict, {point.described}")


def _categories_as_printed() -> Trial:
    problem = diagonal_problem((2, 1, 2), (1.0, 0.0))
    params = (np.zeros((1, 2)), np.array([[0.0], [1.0]]))
    found = deep_linear.decompose(problem, params)
    level = found.levels[0]
    non_optimal = any(
        level.counts[i] < size and any(level.counts[i + 1 :]) for i, size in enumerate(level.spectrum.multiplicities)
    )
    optimal = level.recovery.rank < 1
    return Trial.agreement(non_optimal or optimal, found.category != "global", "A_2 = e_2, A_1 = 0, Y = diag(1, 0)")


def _remaining_is_mixed() -> Trial:
    problem = diagonal_problem((3, 2, 2, 3), (3.0, 2.0, 1.0))
    strict = {item.strict for item in deep_linear.enumerate_classes(problem) if item.category == "remaining"}
    return Trial.agreement(len(strict), 1, f"strictness of the remaining classes of widths 3-2-2-3: {strict}")


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "002",
        "Theorem 4, item 1",
        "Rotating a captured direction of a deep-non-optimal point changes the loss by "
        "-1/2 eps^2/(1+eps^2) (sigma_i(k) - sigma_j(k)), the zero group included.",
        (_PACKAGE + "rotate_captured",),
        _item_1,
        correction="The factor 1/2 is missing in the proof, and j may be r(k) + 1.",
        as_printed=_item_1_as_printed,
        quick=8,
        thorough=200,
    ),
    Statement(
        "002",
        "Theorem 4, item 1 (rank)",
        "The perturbation O A_l, with a rotation O, keeps the rank of A_l.",
        (_PACKAGE + "rotate_captured",),
        _item_1,
        correction="The proof's M_k (U_k S_k)^T A_l loses rank when rank A_l > rank A_(l,k+2).",
        as_printed=_item_1_rank_as_printed,
        quick=4,
        thorough=50,
    ),
    Statement(
        "002",
        "Theorem 4, item 2",
        "Adding the largest missed direction to the last two layers of a deep-optimal point changes the loss by "
        "1/2 eps2^2 a + (1/2 eps1^2 eps2^2 - eps1 eps2) sigma, and the rank of A_l by one.",
        (_PACKAGE + "add_missed",),
        _item_2,
        correction="The proof says 'not a non-global minimum'; sigma is that of the missed direction.",
        quick=8,
        thorough=200,
    ),
    Statement(
        "002",
        "Theorem 4, item 3",
        "Scaling a row of A_l raises the loss wherever A_(l,1) X is not zero.",
        ("gradflow.problem.Regression",),
        _item_3,
        quick=8,
        thorough=200,
    ),
    Statement(
        "002",
        "Theorem 4, categories",
        "Every non-global critical point is deep-non-optimal, deep-optimal or remaining; the first two are strict "
        "saddles, and "
        "strictness is that of the Hessian.",
        (_PACKAGE + "decompose", "gradflow.critical_sets.recognise"),
        _categories,
        correction="Printed without the zero group: points that capture a zero value are in no category.",
        as_printed=_categories_as_printed,
        quick=10,
        thorough=400,
    ),
    Statement(
        "002",
        "Theorem 4, remaining points",
        "The remaining points need a fourth label: some are strict saddles, some have a semidefinite Hessian.",
        (_PACKAGE + "decompose", _PACKAGE + "enumerate_classes"),
        _categories,
        correction="The paper leaves them open; their strictness is not uniform.",
        as_printed=_remaining_is_mixed,
        quick=4,
        thorough=40,
    ),
)
"""Theorem 4 of paper 002."""
