"""Statements of paper 002 on deep linear networks (section 3), each with its check.

Tolerances: constructed points have well conditioned layers, so identities hold to 1e-15 times small powers of norms of
order one; 1e-9 is far above that and far below any wrong term. Decisions (categories, inertia) must agree exactly.
"""

from collections.abc import Iterator

import numpy as np

from gradflow.critical_sets import critical_values, deep_linear
from gradflow.verification import deep_points, paper_002_deep_landscape
from gradflow.verification.deep_points import diagonal_problem, points, random_problem
from gradflow.verification.statement import Statement, Trial

ROUNDING = 1e-9
CRITICAL = 1e-10
"""Largest gradient of a constructed point, relative to the problem's."""

_PACKAGE = "gradflow.critical_sets.deep_linear."


# --- Theorem 3 --------------------------------------------------------------------------------------------------------


def _theorem_3(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for point in points(rng, count):
        yield Trial(deep_points.gradient_size(point.problem, point.params), CRITICAL, point.described)
        found = deep_linear.decompose(point.problem, point.params)
        yield Trial(found.residual, ROUNDING, f"residual of (4)-(6), {point.described}")
        yield Trial.agreement(found.counts, point.counts, point.described)


def _theorem_3_necessity(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Zeros of the gradient found from random starts satisfy (4) and (5) and belong to an enumerated class."""
    problem = diagonal_problem((2, 2, 2, 2), (2.0, 1.0))
    known = {(item.pattern["counts"], item.pattern["ranks"]) for item in deep_linear.enumerate_classes(problem)}
    left_out = 0
    for params, size in deep_points.found_roots(rng, problem, count):
        found = deep_linear.decompose(problem, params, rank_tolerance=1e-4, critical_tolerance=1e-3)
        if size > 1e-9 or found.category == "ambiguous":
            left_out += 1
            continue
        yield Trial.agreement((found.counts, found.ranks) in known, True, f"a class for p(0) = {found.counts}")
        yield Trial(abs(found.loss - deep_points.loss(problem, params)), 1e-8, "loss of the recovered pattern")
    yield Trial(left_out, max(4, 0.6 * count), f"{left_out} of {count} not converged or of ambiguous rank")


def _classes(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for number in range(count):
        problem = random_problem(rng, number % len(deep_points.SHAPES))
        item, params = deep_points.random_member(rng, problem)
        found = deep_linear.decompose(problem, params)
        label = f"{item.category}, p = {item.pattern['counts']}, ranks {item.pattern['ranks']}"
        yield Trial.agreement((found.counts, found.ranks), (item.pattern["counts"], item.pattern["ranks"]), label)
        yield Trial.agreement((found.category, found.strict), (item.category, item.strict), label)
        yield Trial.agreement(deep_points.inertia(problem, params), (item.index, item.nullity), f"inertia, {label}")
        yield Trial(abs(deep_points.loss(problem, params) - item.loss), ROUNDING * (1 + item.loss), f"loss, {label}")


def _remark_on_recursion(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for number in range(count):
        problem = random_problem(rng, number % len(deep_points.SHAPES))
        declare = deep_points.random_declaration(rng, problem)
        result = deep_linear.construct_by_recursion(problem, declare, deep_points.random_mixings(rng, problem))
        yield Trial(deep_points.gradient_size(problem, result.params), CRITICAL, "gradient with L = 0")
        found = deep_linear.decompose(problem, result.params)
        value = deep_points.loss(problem, result.params)
        yield Trial(abs(found.loss - value), ROUNDING * (1 + value), "loss of the recomputed pattern")
        if result.is_consistent:
            yield Trial(abs(result.declared_loss - value), ROUNDING * (1 + value), "loss of a consistent declaration")


def _remark_as_printed() -> Trial:
    problem = diagonal_problem((2, 2, 2, 2), (2.0, 1.0))
    result = deep_linear.construct_by_recursion(problem, [((1, 1), 0), ((1, 0), 0)])
    return Trial(max(result.inconsistency), ROUNDING, "V_0 = I, V_1 = [e_1, 0], C = I, L = 0: A_3 A_2 against I")


def _rank_index(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for point in points(rng, count):
        for level in deep_linear.decompose(point.problem, point.params).levels:
            behind = np.linalg.multi_dot([np.eye(point.params[-1].shape[0]), *reversed(point.params[level.k + 1 :])])
            rank = int(np.linalg.matrix_rank(behind, tol=1e-8))
            yield Trial.agreement(sum(level.counts) + level.num_zero, rank, f"k = {level.k}, {point.described}")


def _rank_index_as_printed() -> Trial:
    problem = diagonal_problem((2, 1, 2), (1.0, 0.0))
    params = (np.zeros((1, 2)), np.array([[0.0], [1.0]]))
    level = deep_linear.decompose(problem, params).levels[0]
    rank = int(np.linalg.matrix_rank(params[1] @ params[0]))
    return Trial.agreement(sum(level.counts) + level.num_zero, rank, "rank A_(2,1) = 0, but p_bar(0) = 1")


def _condition_6(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """With the recursion and one random offset: critical exactly when both conditions of (6) hold, at k = l - 1."""
    for number in range(count):
        problem = random_problem(rng, number % len(deep_points.SHAPES))
        shapes = problem.network.shapes[:-1]
        offsets = [np.zeros(shape) for shape in shapes]
        last = len(shapes) - 1
        offsets[last] = rng.normal(size=shapes[last]) * (number % 3 > 0)
        declare = deep_points.random_declaration(rng, problem)
        result = deep_linear.construct_by_recursion(problem, declare, None, offsets)
        found = deep_linear.decompose(problem, result.params)
        is_critical = deep_points.gradient_size(problem, result.params) <= 1e-8
        kept = max(found.optimality_residual, *(level.residual for level in found.levels)) <= 1e-6
        yield Trial.agreement(kept, is_critical, "(4), (5) and (6) at k = l - 1")


def _condition_6_as_printed() -> Trial:
    problem = diagonal_problem((2, 2, 2), (2.0, 1.0))
    result = deep_linear.construct_by_recursion(problem, [((1, 0), 0)], None, [np.ones((2, 2))])
    size = deep_points.gradient_size(problem, result.params)
    return Trial(size, CRITICAL, "l = 2, L_1 = ones: (4), (5) hold and no k is left for (6), but the gradient is not 0")


# --- Propositions 4 and 5 ---------------------------------------------------------------------------------------------


def _proposition_4(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for point in points(rng, count):
        value = deep_points.loss(point.problem, point.params)
        for level in deep_linear.decompose(point.problem, point.params).levels:
            yield Trial(abs(level.loss - value), ROUNDING * (1 + value), f"k = {level.k}, {point.described}")


def _proposition_5(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for point in points(rng, count):
        smallest = float(critical_values(point.problem).values[0])
        is_smallest = deep_points.loss(point.problem, point.params) <= smallest + 1e-9 * (1 + smallest)
        found = deep_linear.decompose(point.problem, point.params)
        yield Trial.agreement(found.category == "global", is_smallest, point.described)


def _bottleneck_as_printed() -> Trial:
    deep = deep_linear.enumerate_classes(diagonal_problem((3, 3, 1, 3), (3.0, 2.0, 1.0)))[0].loss
    shallow = deep_linear.enumerate_classes(diagonal_problem((3, 3, 3), (3.0, 2.0, 1.0)))[0].loss
    return Trial(abs(deep - shallow), ROUNDING, f"widths 3-3-1-3: minimum {deep}, of the shallow network {shallow}")


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "002",
        "Theorem 3",
        "The block form S, D_h, Z_h with Z_{h-1}..Z_1 M Z_l..Z_{h+1} = 0 is critical, satisfies (4)-(6), and its "
        "captured "
        "counts are recovered as p(0).",
        (_PACKAGE + "construct", _PACKAGE + "fitted_blocks", _PACKAGE + "decompose"),
        _theorem_3,
        quick=8,
        thorough=300,
    ),
    Statement(
        "002",
        "Theorem 3, necessity",
        "Zeros of the gradient found from random starts belong to an enumerated class and have the loss of its "
        "pattern; "
        "those of ambiguous rank are counted.",
        (_PACKAGE + "decompose", _PACKAGE + "enumerate_classes"),
        _theorem_3_necessity,
        quick=6,
        thorough=60,
    ),
    Statement(
        "002",
        "Theorem 3, classes",
        "The critical set has finitely many classes by captured counts and ranks of partial products; every class has "
        "members, "
        "and they share loss, category, strictness, Morse index and nullity.",
        (_PACKAGE + "enumerate_classes", _PACKAGE + "sample"),
        _classes,
        correction="Not in the paper, which gives no list; index and nullity of the blocks by experiment.",
        quick=3,
        thorough=300,
    ),
    Statement(
        "002",
        "Theorem 3, remark",
        "With L = 0 the recursion (4)-(5) always returns a critical point; its pattern must be recomputed from the "
        "result.",
        (_PACKAGE + "construct_by_recursion",),
        _remark_on_recursion,
        correction="Printed: with L = 0 eq. (6) is satisfied. False: A_(l,k) = A_(l,k+1) A_k and the declared p(0) "
        "may fail.",
        as_printed=_remark_as_printed,
        quick=8,
        thorough=300,
    ),
    Statement(
        "002",
        "Theorem 3, rank",
        "sum_i p_i(k) + p_bar(k) = rank A_(l,k+2).",
        (_PACKAGE + "decompose",),
        _rank_index,
        correction="Printed: rank A_(l,k+1).",
        as_printed=_rank_index_as_printed,
        quick=8,
        thorough=300,
    ),
    Statement(
        "002",
        "eq. (6)",
        "Given (4) and (5), a point is critical exactly when (I - P_col(A_l)) Y X^T A_(l-1,1)^T = 0 and the products "
        "are "
        "consistent.",
        (_PACKAGE + "decompose",),
        _condition_6,
        correction="Printed for k = 2..l-1, which is empty for l = 2 and loses eq. (3); read the second part at k = l "
        "- 1.",
        as_printed=_condition_6_as_printed,
        quick=7,
        thorough=200,
    ),
    Statement(
        "002",
        "Proposition 4",
        "The loss is 1/2 (Tr Y Y^T - sum_i p_i(k) sigma_i(k)) for every level k, not only k = 0.",
        (_PACKAGE + "decompose",),
        _proposition_4,
        quick=8,
        thorough=300,
    ),
    Statement(
        "002",
        "Proposition 5",
        "A critical point is a global minimiser exactly when it captures the min(d_1..d_l) largest positive values.",
        (_PACKAGE + "decompose", "gradflow.critical_sets.critical_values"),
        _proposition_5,
        correction="The proof says that the deep network achieves the minimum of the shallow one of hidden width d_1; "
        "with a "
        "bottleneck behind it does not. The statement holds.",
        as_printed=_bottleneck_as_printed,
        where="in its proof",
        quick=8,
        thorough=300,
    ),
    *paper_002_deep_landscape.STATEMENTS,
)
"""Section 3 of paper 002."""
