"""Statements of section 3 of paper 003 on critical points of deep linear networks, each with its check.

Problems have targets of full rank (Assumption 2 as corrected). Tolerances as for paper 002: identities of constructed
points hold to 1e-15 times small powers of numbers of order one, decisions must agree exactly.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from gradflow.critical_sets import critical_values, deep_linear
from gradflow.problem import Regression
from gradflow.types import Weights
from gradflow.verification import deep_points
from gradflow.verification.deep_points import (
    FULL_RANK_SHAPES,
    TWO_HIDDEN,
    diagonal_problem,
    full_rank_problem,
    largest,
    members,
    named,
    random_direction,
)
from gradflow.verification.statement import Statement, Trial

ROUNDING = 1e-9
_PACKAGE = "gradflow.critical_sets.deep_linear."


# --- Lemma 2 ----------------------------------------------------------------------------------------------------------


def _equations(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for problem, item, params in members(rng, count):
        for name, residual in deep_linear.describe(problem, params).residuals().items():
            yield Trial(residual, ROUNDING, f"{name}, {named(item)}")


def _kernels(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for problem, item, params in members(rng, count):
        form = deep_linear.describe(problem, params)
        size = len(form.turn)
        behind = np.linalg.multi_dot([*reversed(form.reduced[1:]), np.eye(form.reduced[0].shape[0])])
        square = behind @ form.reduced[0][:, :size]
        left, values, _ = np.linalg.svd(behind)
        yield Trial.agreement(int(np.sum(values > 1e-8)), form.rank, f"rank R, {named(item)}")
        kernel = left[:, form.rank :]
        yield Trial(largest(square @ kernel), ROUNDING, f"R W_11 on ker R^T, {named(item)}")
        yield Trial.agreement(int(np.linalg.matrix_rank(square, tol=1e-8)), form.rank, f"rank R W_11, {named(item)}")


def _turned(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for problem, item, params in members(rng, count):
        form, values = deep_linear.describe(problem, params), deep_linear.reduced_coordinates(problem).values
        turned = form.turn.T @ np.diag(values) @ form.turn
        expected = np.diag(np.concatenate([form.learned, form.missed]))
        yield Trial(largest(turned - expected), ROUNDING, f"U^T S_Y U, {named(item)}")
        yield Trial(largest(form.turn.T @ form.turn - np.eye(len(values))), ROUNDING, "U orthogonal")


def _learned_second() -> tuple[Regression, Weights]:
    """Widths 2-2-2 with ``S_Y = diag(2, 1)``, of which the second is learned."""
    problem = diagonal_problem((2, 2, 2), (2.0, 1.0))
    return problem, deep_linear.construct(problem, (0, 1))


def _turn_as_printed() -> Trial:
    problem, params = _learned_second()
    form, values = deep_linear.describe(problem, params), np.diag([2.0, 1.0])
    return Trial(largest(form.turn.T @ values @ form.turn - values), ROUNDING, "U^T S_Y U against S_Y, s_2 learned")


def _diagonal(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for problem, item, params in members(rng, count, FULL_RANK_SHAPES[:3]):
        product = _square_product(problem, params)
        off = product - np.diag(np.diag(product))
        yield Trial(largest(off), ROUNDING, f"off the diagonal, {named(item)}")
        values = deep_linear.reduced_coordinates(problem).values
        distance = np.minimum(np.abs(np.diag(product)), np.abs(np.diag(product) - values))
        yield Trial(largest(distance), ROUNDING, f"entries 0 or s_i, {named(item)}")


def _diagonal_as_printed() -> Trial:
    problem, v = diagonal_problem((2, 2, 2), (1.0, 1.0)), np.array([0.6, 0.8])
    weights = (np.outer(v, v), np.outer(v, v))
    size = deep_points.gradient_size(problem, weights)
    assert size <= 1e-12, "the counterexample must be critical"
    return Trial(
        abs(float(_square_product(problem, weights, turn=False)[0, 1])), ROUNDING, "S_Y = I, W_1 = W_2 = v v^T"
    )


def _values(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for problem, item, params in members(rng, count):
        form, value = deep_linear.describe(problem, params), deep_points.loss(problem, params)
        expected = problem.irreducible + 0.5 * float(np.sum(form.missed**2))
        yield Trial(abs(value - expected), ROUNDING * (1 + value), named(item))


def _permutation(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for problem, item, params in members(rng, count, FULL_RANK_SHAPES[:3]):
        yield Trial.agreement(deep_linear.describe(problem, params).is_permutation, True, named(item))


# --- Proposition 3 ----------------------------------------------------------------------------------------------------


def _value_set(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """With hidden widths of at least d_y every one of the 2^{d_y} subsets is learned at some critical point."""
    for _ in range(count):
        values = np.sort(rng.uniform(0.5, 3, size=3))[::-1]
        problem = diagonal_problem((3, 3, 4, 3), values.tolist())
        expected = sorted(0.5 * float(np.dot(values**2, missed)) for missed in itertools.product((0, 1), repeat=3))
        found = sorted({item.pattern["counts"]: item.loss for item in deep_linear.enumerate_classes(problem)}.values())
        yield Trial.agreement(len(found), 8, "number of learned sets")
        yield Trial(largest(np.array(found) - np.array(expected)), ROUNDING, "values")
        yield Trial(largest(critical_values(problem).values - np.array(expected)), ROUNDING, "the ladder")


def _value_set_as_printed() -> Trial:
    problem = diagonal_problem((3, 1, 3), (3.0, 2.0, 1.0))
    return Trial.agreement(len(critical_values(problem).values), 8, "width 1: 4 values instead of 8")


def _minima(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    shapes = (FULL_RANK_SHAPES[0], ((3, 3, 2, 2), (2.0, 1.0)))
    for number in range(count):
        problem = full_rank_problem(rng, shapes[number % 2])
        item = next(item for item in deep_linear.enumerate_classes(problem) if item.is_global)
        params = deep_linear.sample(problem, item, rng)
        values = np.linalg.eigvalsh(deep_points.hessian(problem, params))
        yield Trial(-values[0] / values[-1], ROUNDING, "least eigenvalue")
        d_in, d_out = problem.network.shapes[0][1], problem.network.shapes[-1][0]
        positive = len(values) - item.nullity if item.nullity is not None else -1
        yield Trial.agreement(int(np.sum(values > 1e-9 * values[-1])), positive, "positive eigenvalues")
        yield Trial.agreement(
            positive, d_in * d_out, "d_x d_y of them, as D Pi is onto when the widths are at least d_y"
        )
        yield Trial(deep_points.loss(problem, params) - problem.irreducible, ROUNDING, "value 0")


def _minima_as_printed() -> Trial:
    hessian = deep_points.hessian(diagonal_problem((1, 1, 1), (1.0,)), (np.ones((1, 1)), np.ones((1, 1))))
    least = float(np.linalg.eigvalsh(hessian)[0])
    return Trial(1e-3 - least, 0.0, f"least eigenvalue at W_1 = W_2 = s = 1 is {least:.1g}, not positive")


def _outer(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for problem, item, params in members(rng, count):
        form = deep_linear.describe(problem, params)
        if item.is_global or form.rank_z == form.rank:
            continue
        yield Trial.agreement(item.strict, True, named(item))
        plane, hessian = deep_linear.outer_plane(problem, params), deep_points.hessian(problem, params)
        best = min(plane.minimiser(1.0), 10.0)
        for lam, mu in ((1.0, 1.0), (0.5, -2.0), (1.0, best)):
            flat = deep_points.flatten(plane.direction(lam, mu))
            value = 0.5 * float(flat @ hessian @ flat)
            yield Trial(abs(value - plane.value(lam, mu)), ROUNDING * (1 + abs(value)), f"({lam}, {mu}), {named(item)}")
        yield Trial(plane.value(1.0, best), 0.0, f"negative at the minimiser, {named(item)}")


def _no_maximum(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Near every critical point the loss rises somewhere; with r >= 1 the Hessian has a positive eigenvalue."""
    for problem, item, params in members(rng, count):
        if sum(item.pattern["counts"]):
            values = np.linalg.eigvalsh(deep_points.hessian(problem, params))
            yield Trial(-values[-1], -1e-6, f"positive eigenvalue, {named(item)}")
        before = deep_points.loss(problem, params)
        rises = [
            deep_points.loss(
                problem, tuple(p + 0.1 * d for p, d in zip(params, random_direction(rng, params), strict=True))
            )
            - before
            for _ in range(20)
        ]
        yield Trial(-max(rises), 0.0, f"rises near {named(item)}")


def _no_maximum_as_printed() -> Trial:
    problem = diagonal_problem((2, 2, 2, 2), (2.0, 1.0))
    weights = tuple(np.zeros((2, 2)) for _ in range(3))
    positive = int(np.sum(np.linalg.eigvalsh(deep_points.hessian(problem, weights)) > 1e-9))
    return Trial.agreement(positive > 0, True, "positive eigenvalues at the origin, d_x = d_y: there is no w_{1,2}")


def _saddles(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Every non-global point of networks with one or two hidden layers has a lower point nearby, in closed form."""
    for problem, item, params in members(rng, count, (FULL_RANK_SHAPES[0], FULL_RANK_SHAPES[1], TWO_HIDDEN)):
        if item.is_global:
            continue
        before = deep_points.loss(problem, params)
        if item.strict:
            _, vectors = np.linalg.eigh(deep_points.hessian(problem, params))
            step = deep_points.unflatten(1e-3 * vectors[:, 0], params)
            sides = [tuple(p + sign * s for p, s in zip(params, step, strict=True)) for sign in (1, -1)]
            yield Trial(min(deep_points.loss(problem, side) for side in sides) - before, 0.0, named(item))
            continue
        curve = deep_linear.third_order_curve(problem, params)
        for eps in (1e-1, 1e-2):
            change = deep_points.loss(problem, curve.at(eps)) - before
            yield Trial(abs(change - curve.change(eps)), ROUNDING * (1 + before), f"exact change, {named(item)}")
        yield Trial(abs(curve.change(1e-4) / 1e-12 + curve.value), 0.05 * curve.value, f"-s eps^3, {named(item)}")


def _saddles_by_kernel() -> Trial:
    """The kernel direction of the non-strict saddle of widths 3-2-2-2 raises the loss for small steps."""
    weights = (np.array([[1, 0, 0], [0.5, 0, 0.3]]), np.diag([2.0, 0.0]), np.array([[1, 0.4], [0, 0]]))
    problem, step = diagonal_problem((3, 2, 2, 2), (2.0, 1.0)), np.zeros((2, 2))
    step[1, 1] = 0.02
    moved = (weights[0] + np.pad(step, ((0, 0), (0, 1))), weights[1] + step, weights[2] + step)
    change = deep_points.loss(problem, moved) - deep_points.loss(problem, weights)
    return Trial(change, 0.0, f"the naive perturbation changes the loss by {change:+.3g}")


def _square_product(problem: Regression, params: Weights, turn: bool = True) -> np.ndarray:
    """``R W_11`` in the paper's coordinates, or as it stands for data that are diagonal already."""
    reduced = deep_linear.reduced_coordinates(problem).to_reduced(params) if turn else params
    product = np.linalg.multi_dot(list(reversed(reduced)))
    return product[:, : product.shape[0]]


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "003",
        "eqs. (14)-(22)",
        "(14), (17), (18), (20), (21) hold at every critical point, (22) where r_Z = r >= 1.",
        (_PACKAGE + "describe",),
        _equations,
        quick=6,
        thorough=100,
    ),
    Statement(
        "003",
        "Lemma 2 (1)",
        "ker R^T = ker R W_11, and both have rank r.",
        (_PACKAGE + "describe",),
        _kernels,
        quick=6,
        thorough=100,
    ),
    Statement(
        "003",
        "Lemma 2 (2)",
        "There is an orthogonal U with U^T S_Y U = diag(D_Y, E_Y), learned and missed.",
        (_PACKAGE + "describe",),
        _turned,
        correction="Printed: U^T S_Y U = S_Y. It is a permuted S_Y.",
        as_printed=_turn_as_printed,
        quick=6,
        thorough=100,
    ),
    Statement(
        "003",
        "Lemma 2 (3)",
        "R W_11 is diagonal with entries 0 or s_i when the singular values differ.",
        (_PACKAGE + "describe",),
        _diagonal,
        correction="Stated under Assumptions 1 and 2; needs Assumption 3, different singular values.",
        as_printed=_diagonal_as_printed,
        quick=6,
        thorough=100,
    ),
    Statement(
        "003",
        "Lemma 2 (4)",
        "L = 1/2 ||E_Y||^2, half the sum of the squares of the missed singular values, none and all included.",
        (_PACKAGE + "describe", "gradflow.critical_sets.critical_values"),
        _values,
        correction="'Any subset' includes the empty and the full one.",
        quick=6,
        thorough=100,
    ),
    Statement(
        "003",
        "Lemma 2 (5)",
        "With different singular values U can be chosen a permutation.",
        (_PACKAGE + "describe",),
        _permutation,
        correction="Printed: U is a permutation; learned and missed blocks are each fixed only up to rotation.",
        quick=6,
        thorough=100,
    ),
    Statement(
        "003",
        "Proposition 3 (i)",
        "When no hidden width is below d_y all 2^{d_y} values occur; otherwise those of the sets that fit.",
        ("gradflow.critical_sets.critical_values", _PACKAGE + "enumerate_classes"),
        _value_set,
        correction="Needs Assumption 1: with a narrow layer fewer subsets occur.",
        as_printed=_value_set_as_printed,
        quick=2,
        thorough=20,
    ),
    Statement(
        "003",
        "Proposition 3 (ii)",
        "At r = d_y the loss is 0 and the Hessian positive semidefinite, with d_x d_y positive eigenvalues where D "
        "Pi is onto.",
        (_PACKAGE + "enumerate_classes", _PACKAGE + "sample"),
        _minima,
        correction="The proof says positive definite.",
        as_printed=_minima_as_printed,
        where="in its proof",
        quick=4,
        thorough=60,
    ),
    Statement(
        "003",
        "Proposition 3 (iii)",
        "r_Z > r gives a negative eigenvalue: H_W(lambda, mu) = -a lambda mu + c mu^2 / 2 on a plane.",
        (_PACKAGE + "outer_plane", _PACKAGE + "describe"),
        _outer,
        correction="w_{1,1,2} = lambda v b^T, w_{H+1,2} = mu T with T of shape (d_y - r, d_H); shapes are missing.",
        quick=8,
        thorough=100,
    ),
    Statement(
        "003",
        "Proposition 3 (iii), no maximum",
        "No critical point is a local maximum; with r >= 1 the Hessian has a positive eigenvalue.",
        ("gradflow.problem.Regression",),
        _no_maximum,
        correction="The positive direction through w_{1,2} needs d_x > d_y (else w_{1,1}); for r = 0 the Hessian "
        "can be zero.",
        as_printed=_no_maximum_as_printed,
        quick=6,
        thorough=150,
    ),
    Statement(
        "003",
        "Proposition 3 (iii), saddles",
        "Every critical point with r < d_y is a saddle; from non-strict ones with H = 2 the loss falls like "
        "-s eps^3 along a curve.",
        (_PACKAGE + "third_order_curve",),
        _saddles,
        correction="The proof covers r_Z > r only. At non-strict saddles a kernel direction of the Hessian may "
        "raise the loss.",
        as_printed=_saddles_by_kernel,
        quick=8,
        thorough=100,
    ),
)
"""Section 3 of paper 003."""
