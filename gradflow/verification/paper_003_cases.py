"""Statements of section 4 of paper 003, networks with one and two hidden layers, each with its check.

Tolerances as in section 3: identities to 1e-9, decisions exactly.
"""

import functools
from collections.abc import Iterator

import numpy as np

from gradflow.critical_sets import deep_linear
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


# --- section 4 --------------------------------------------------------------------------------------------------------


def _one_hidden(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for problem, item, params in members(rng, count, (FULL_RANK_SHAPES[0],)):
        negative = deep_points.inertia(problem, params)[0] > 0
        yield Trial.agreement(negative, not item.is_global, f"strict, {named(item)}")
        form = deep_linear.describe(problem, params)
        kernel = np.linalg.svd(form.reduced[1])[0][:, form.rank :]
        yield Trial(largest(form.reduced[0][:, : len(kernel)] @ kernel), ROUNDING, f"W_11 on ker W_2^T, {named(item)}")


def _one_hidden_as_printed() -> Trial:
    problem = diagonal_problem((2, 2, 2), (2.0, 1.0))
    index = deep_points.inertia(problem, deep_linear.construct(problem, (1, 1)))[0]
    return Trial.agreement(index > 0, True, "negative eigenvalues at a global minimum")


def _case(case: str, rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Constructed points are critical, described as of the case, and strict when section 4.2 says so."""
    problem = full_rank_problem(rng, TWO_HIDDEN)
    for number in range(count):
        problem = full_rank_problem(rng, TWO_HIDDEN) if number % 6 == 5 else problem
        learned = () if case[0] == "1" else tuple(rng.permutation(3)[: rng.integers(1, 3)].tolist())
        nonzero = ("first", "last", "both")[number % 3] if len(learned) < 2 else ("first", "last")[number % 2]
        params = deep_linear.construct_case(problem, case, learned, key=rng, nonzero=nonzero)
        label = f"learned {learned}, {nonzero}"
        yield Trial(deep_points.gradient_size(problem, params), 1e-10, label)
        form = deep_linear.describe(problem, params)
        yield Trial.agreement((form.case, form.indices), (case, tuple(sorted(learned))), label)
        exceeds = len(form.learned) > 0 and bool(form.missed.max() > form.learned.min())
        expected = case.endswith(".1") or exceeds
        negative, zero = deep_points.inertia(problem, params)
        yield Trial.agreement((negative > 0, form.strict), (expected, expected), f"strict, {label}")
        if case == "1.2":
            yield Trial.agreement(zero, sum(layer.size for layer in params), "the Hessian is zero")


def _case_11_as_printed() -> Trial:
    problem = diagonal_problem((3, 2, 2, 2), (2.0, 1.0))
    weights = (np.array([[1.0, 0, 0], [0, 0, 0]]), np.zeros((2, 2)), np.array([[1.0, 0], [0, 0]]))
    return Trial(deep_points.gradient_size(problem, weights), 1e-10, "W_2 = 0, W_11 S_Y W_3 = 2 e_1 e_1^T")


def _case_12_invariants(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for _ in range(count):
        problem = full_rank_problem(rng, TWO_HIDDEN)
        params = deep_linear.construct_case(problem, "1.2", key=rng)
        first, second, third = deep_linear.reduced_coordinates(problem).to_reduced(params)
        square, other = first[:, :3], first[:, 3:]
        yield Trial(largest(third.T @ third - second @ second.T), ROUNDING, "(24)")
        conserved = second.T @ second - first @ first.T
        yield Trial(largest(conserved + other @ other.T), ROUNDING, "C_bar = -W_12 W_12^T")
        yield Trial(largest(square), ROUNDING, "W_11 = 0 on V_0")


def _formula_26(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    problem = full_rank_problem(rng, TWO_HIDDEN)
    for number in range(count):
        problem = full_rank_problem(rng, TWO_HIDDEN) if number % 6 == 5 else problem
        case, nonzero = (("2.1", "both"), ("2.1", "first"), ("2.1", "last"), ("2.2", "first"))[number % 4]
        params = deep_linear.construct_case(problem, case, (int(rng.integers(3)),), key=rng, nonzero=nonzero)
        direction = random_direction(rng, params)
        flat = deep_points.flatten(direction)
        exact = 0.5 * float(flat @ deep_points.hessian(problem, params) @ flat)
        blocks = deep_linear.case_two_blocks(problem, params)
        reduced = deep_linear.reduced_coordinates(problem).to_reduced(direction)
        value = deep_linear.case_two_variation(blocks, reduced)
        yield Trial(abs(value - exact), ROUNDING * (1 + abs(exact)), f"case {case}, {nonzero}")


def _formula_26_as_printed() -> Trial:
    problem, rng = diagonal_problem((4, 3, 3, 3), (3.0, 2.0, 1.0)), np.random.default_rng(0)
    params = deep_linear.construct_case(problem, "2.1", (0,), key=rng, nonzero="both")
    blocks, direction = deep_linear.case_two_blocks(problem, params), random_direction(rng, params)
    reduced = deep_linear.reduced_coordinates(problem).to_reduced(direction)
    flat = deep_points.flatten(direction)
    exact = 0.5 * float(flat @ deep_points.hessian(problem, params) @ flat)
    printed = deep_linear.case_two_variation(blocks, reduced, as_printed=True)
    return Trial(abs(printed - exact), ROUNDING * (1 + abs(exact)), f"printed {printed:.6g}, exact {exact:.6g}")


def _remark_3(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    yield from _case("2.2", rng, count)
    for _ in range(count):
        learned, missed = rng.uniform(0.5, 3, size=2)
        values = np.linalg.eigvalsh(deep_linear.remark_3_form(learned, missed))
        expected = 0.5 * (1 + np.array([-1, 1]) * missed / learned)
        yield Trial(largest(values - expected), ROUNDING, "1/2 (1 +- E / D)")
        yield Trial.agreement(bool(values[0] < 0), bool(missed > learned), "negative exactly when E > D")


def _remark_3_for_pairs(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """At case 2.2 the number of negative eigenvalues is that of pairs with E_j > D_i."""
    problem = full_rank_problem(rng, TWO_HIDDEN)
    for number in range(count):
        problem = full_rank_problem(rng, TWO_HIDDEN) if number % 6 == 5 else problem
        learned = tuple(rng.permutation(3)[: rng.integers(1, 3)].tolist())
        params = deep_linear.construct_case(problem, "2.2", learned, key=rng)
        form = deep_linear.describe(problem, params)
        pairs = int(np.sum(form.missed[:, None] > form.learned[None, :]))
        yield Trial.agreement(deep_points.inertia(problem, params)[0], pairs, f"learned {learned}")


def _rank_of_c2(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    problem = full_rank_problem(rng, TWO_HIDDEN)
    nonstrict = [item for item in deep_linear.enumerate_classes(problem) if not (item.strict or item.is_global)]
    for _ in range(count):
        item = nonstrict[rng.integers(len(nonstrict))]
        params = deep_linear.sample(problem, item, rng)
        imbalance = params[2].T @ params[2] - params[1] @ params[1].T
        rank, r = int(np.linalg.matrix_rank(imbalance, tol=1e-8)), sum(item.pattern["counts"])
        yield Trial(float(rank), float(2 * r), f"rank C_2, {named(item)}")


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "003",
        "Section 4.1",
        "H = 1: Z = I, ker W_11 contains ker W_2^T, and every saddle is strict.",
        (_PACKAGE + "describe", _PACKAGE + "enumerate_classes"),
        _one_hidden,
        correction="The introduction says 'the Hessian of every critical point': global minima have none negative.",
        as_printed=_one_hidden_as_printed,
        quick=6,
        thorough=100,
    ),
    Statement(
        "003",
        "Case 1.1",
        "W_2 = 0, W_11 S_Y W_3 = 0, not both zero: critical, and strict.",
        (_PACKAGE + "construct_case", _PACKAGE + "describe"),
        functools.partial(_case, "1.1"),
        correction="The condition W_11 S_Y W_3 = 0 of (23) is not repeated; without it such a point is not critical.",
        as_printed=_case_11_as_printed,
        quick=4,
        thorough=60,
    ),
    Statement(
        "003",
        "Case 1.2",
        "W_2 = W_3 = W_11 = 0: the Hessian vanishes.",
        (_PACKAGE + "construct_case", _PACKAGE + "describe"),
        functools.partial(_case, "1.2"),
        quick=3,
        thorough=40,
    ),
    Statement(
        "003",
        "eqs. (24)-(25)",
        "On V_0 the conserved matrices are C_2 = 0 and C_1 = -W_12 W_12^T.",
        (_PACKAGE + "construct_case",),
        _case_12_invariants,
        quick=3,
        thorough=40,
    ),
    Statement(
        "003",
        "Case 2.1",
        "r_Z = r >= 1, W_{1,1,2,2} E_Y W_{3,2,2} = 0, not both zero: strict.",
        (_PACKAGE + "construct_case", _PACKAGE + "describe"),
        functools.partial(_case, "2.1"),
        quick=4,
        thorough=60,
    ),
    Statement(
        "003",
        "Case 2.2",
        "r_Z = r >= 1, W_{1,1,2} = 0, W_{3,2} = 0: as many negative eigenvalues as pairs with E_j > D_i.",
        (_PACKAGE + "construct_case", _PACKAGE + "describe"),
        _remark_3_for_pairs,
        quick=4,
        thorough=60,
    ),
    Statement(
        "003",
        "Case 2.1, Hessian",
        "H_W by the formula after (26), with 1/2 ||W_{3,2,2} w_{2,4} W_{1,1,2,2}||^2.",
        (_PACKAGE + "case_two_variation",),
        _formula_26,
        correction="Printed with W_{1,1,2,1}, which is zero by (26).",
        as_printed=_formula_26_as_printed,
        quick=4,
        thorough=80,
    ),
    Statement(
        "003",
        "Remark 3",
        "Inside case 2.2 the Hessian has a negative eigenvalue if and only if max E_Y > min D_Y; forms 1/2 (1 +- E "
        "/ D).",
        (_PACKAGE + "remark_3_form", _PACKAGE + "construct_case"),
        _remark_3,
        correction="One direction is stated, 'might be nonnegative'; it is an equivalence, so D_Y are the largest "
        "values.",
        quick=4,
        thorough=60,
    ),
    Statement(
        "003",
        "Section 4.2, non-strict saddles",
        "At every non-strict saddle with H = 2 the conserved C_2 has rank at most 2 r, so d_2 >= 2 d_y - 1 leaves "
        "them a null set.",
        (_PACKAGE + "enumerate_classes",),
        _rank_of_c2,
        correction="Not in the paper.",
        quick=6,
        thorough=200,
    ),
)
"""Section 4 of paper 003."""
