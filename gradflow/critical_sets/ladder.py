"""The ladder of critical values of a deep linear network, from the singular values of its target alone.

Knows no state: every value belongs to a whole family of critical points.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.problem import AbstractProblem, Regression

MAX_POSITIVE = 16
"""Largest number of positive singular values for which all captured sets are listed (65 536 of them)."""

COINCIDENCE_RTOL = 1e-10
"""Values closer than this multiple of the largest are taken for one."""


@dataclass(frozen=True)
class CriticalValues:
    """Critical values in ascending order, each with the captured sets that have it.

    A captured set is a sorted tuple of 0-based indices of singular values of the target (descending order). Of equal
    singular values only the number captured matters; the first ones of the group then stand for it.
    `is_complete` is False when only the greedy ladder (the k largest captured, k = 0, 1, ...) is listed.
    """

    values: Float[np.ndarray, " num_values"]
    captured: tuple[tuple[tuple[int, ...], ...], ...]
    is_complete: bool


def critical_values(problem: AbstractProblem) -> CriticalValues:
    """All values that the loss takes at critical points of a deep linear network.

    ``irreducible + 1/2 * (sum of s_i^2 over the singular values that are not captured)`` over all captured sets of
    at most ``min(d_1, ..., d_{H+1})`` positive singular values, the empty set included; equal values are merged.
    With more than :data:`MAX_POSITIVE` positive singular values only the greedy ladder is returned.

    Raises:
        InputError: the problem is not an unregularised linear network with the squared error.

    Source: paper 003, Lemma 2 (4) and Proposition 3 (i), with the empty set included and narrow networks
    restricted to the sets they can capture; paper 002, Proposition 5, for the minimum over the hidden widths.
    """
    problem = linear_regression(problem)
    spectrum = problem.spectrum
    limit = min(max_rank(problem), spectrum.num_positive)
    is_complete = spectrum.num_positive <= MAX_POSITIVE
    positive = [group for group in spectrum.groups if group[0] < spectrum.num_positive]
    if is_complete:
        counts = itertools.product(*(range(len(group) + 1) for group in positive))
        sets = [_first_of_groups(positive, chosen) for chosen in counts if sum(chosen) <= limit]
    else:
        sets = [tuple(range(size)) for size in range(limit + 1)]
    squares = np.asarray(spectrum.values) ** 2
    values = np.array([_remainder(squares, captured) for captured in sets]) + problem.irreducible
    return _merged(values, sets, is_complete)


def linear_regression(problem: AbstractProblem) -> Regression:
    """`problem`, checked to be a linear network with the squared error and no regulariser."""
    is_linear = isinstance(problem, Regression) and problem.statistics is not None and problem.regularizer is None
    checks.require(
        is_linear,
        "problem",
        "be a linear network with the squared error and no regulariser",
        type(problem).__name__,
        "For other problems use gradflow.classify, which tests the Hessian.",
    )
    assert isinstance(problem, Regression)
    return problem


def max_rank(problem: Regression) -> int:
    """The largest rank of the product, ``min(d_1, ..., d_{H+1})``; d_0 never binds (paper 002, Proposition 5)."""
    return min(rows for rows, _ in problem.network.shapes)


def _first_of_groups(groups: list[tuple[int, ...]], chosen: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(index for group, count in zip(groups, chosen, strict=True) for index in group[:count])


def _remainder(squares: np.ndarray, captured: tuple[int, ...]) -> float:
    left = np.ones(len(squares), dtype=bool)
    left[list(captured)] = False
    return float(0.5 * squares[left].sum())


def _merged(values: np.ndarray, sets: list[tuple[int, ...]], is_complete: bool) -> CriticalValues:
    order = np.argsort(values, kind="stable")
    tolerance = COINCIDENCE_RTOL * float(values.max())
    distinct: list[float] = []
    captured: list[list[tuple[int, ...]]] = []
    for index in order:
        if distinct and values[index] - distinct[-1] <= tolerance:
            captured[-1].append(sets[index])
        else:
            distinct.append(float(values[index]))
            captured.append([sets[index]])
    return CriticalValues(np.array(distinct), tuple(tuple(sorted(members)) for members in captured), is_complete)
