"""Proposition 2 of paper 003, the loss near a state to second order, with its checks."""

from collections.abc import Iterator

import numpy as np

from gradflow.critical_sets import deep_linear
from gradflow.types import Weights
from gradflow.verification import deep_points
from gradflow.verification.deep_points import FULL_RANK_SHAPES, diagonal_problem, full_rank_problem, random_direction
from gradflow.verification.statement import Statement, Trial

ROUNDING = 1e-9
_PACKAGE = "gradflow.critical_sets.deep_linear."


def _variation(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for number in range(count):
        problem = full_rank_problem(rng, FULL_RANK_SHAPES[number % len(FULL_RANK_SHAPES)])
        coordinates = deep_linear.reduced_coordinates(problem)
        params = tuple(rng.normal(size=shape) for shape in problem.network.shapes)
        direction = random_direction(rng, params)
        arguments = (coordinates.to_reduced(params), coordinates.to_reduced(direction), coordinates.values)
        flat = deep_points.flatten(direction)
        first = float(deep_points.gradient(problem, params) @ flat)
        second = 0.5 * float(flat @ deep_points.hessian(problem, params) @ flat)
        yield Trial(abs(deep_linear.first_variation(*arguments) - first), ROUNDING * (1 + abs(first)), "Delta_W")
        yield Trial(abs(deep_linear.second_variation(*arguments) - second), ROUNDING * (1 + abs(second)), "H_W")


def _exact_case() -> tuple[Weights, Weights, np.ndarray]:
    """Widths 3-2-2-2-2 with rational entries: H_W = 31401/512."""
    weights = ([[1, 0.5, -1], [0, 2, 0.5]], [[1, -0.5], [0.5, 1]], [[0.5, 1], [-1, 2]], [[1, 0], [0.5, -1]])
    direction = ([[0.5, -1, 1], [1, 0, -0.5]], [[0, 1], [-1, 0.5]], [[1, 0.5], [0.5, 0]], [[-0.5, 1], [1, 1]])
    return tuple(map(np.array, weights)), tuple(map(np.array, direction)), np.array([2.0, 1.0])


def _ordered_pairs() -> Trial:
    value = deep_linear.second_variation(*_exact_case(), ordered_pairs=True)
    return Trial(abs(value - 31401 / 512), ROUNDING, f"ordered pairs give {value * 512:g}/512 instead of 31401/512")


def _half_as_printed() -> Trial:
    weights, direction, values = _exact_case()
    flat = deep_points.flatten(direction)
    hessian = deep_points.hessian(diagonal_problem((3, 2, 2, 2, 2), values.tolist()), weights)
    value = deep_linear.second_variation(weights, direction, values)
    return Trial(
        abs(float(flat @ hessian @ flat) - value), ROUNDING, f"D^2 L[w, w] = {flat @ hessian @ flat:g}, H_W = {value:g}"
    )


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "003",
        "Proposition 2",
        "Delta_W(w) and H_W(w) are the coefficients of eps and eps^2 in L(W + eps w), every pair of inner layers "
        "counted once.",
        (_PACKAGE + "first_variation", _PACKAGE + "second_variation"),
        _variation,
        correction="The sum over j != k reads as ordered pairs, which counts each twice; wrong for H >= 3.",
        as_printed=_ordered_pairs,
        quick=4,
        thorough=100,
    ),
    Statement(
        "003",
        "Proposition 2 (Hessian)",
        "H_W = 1/2 D^2 L[w, w].",
        (_PACKAGE + "second_variation",),
        _variation,
        correction="'The Hessian is given by H_W': eigenvalues of the form are half those of the Hessian matrix.",
        as_printed=_half_as_printed,
        quick=4,
        thorough=50,
    ),
)
"""Proposition 2 of paper 003."""
