"""What a boundary point of one hidden unit is: a local minimum, not one, or undetermined; and second-order descent.

Let a have the strictly active samples S, ``h = a X_S != 0``, and zero preactivations Z. A ray of Z whose kink has
positive weight (``b . y_j < 0``) only costs when it is switched off, so it may be taken as active; one of weight zero
may be switched either way. Towards the cell of directions that activates T of the latter, L_N is the piece of A = S +
held + T, of which the point is critical as well. If its eigenvalue is the largest of each such piece, it is a local
minimum. Minimising over the second layer leaves

    q_T(d) = d X_A (|b|^2 I - M^T M / |h|^2) X_A^T d^T,   M = 2 b h - Y_A,

and a negative value inside the cell is a descent direction. Where the output vanishes (``h = 0`` or ``b = 0``) the
loss is lowered by ``(d, eta w)`` with ``w = lim Y relu((a + t d) X)^T / t``, if some w is not zero.

Knows points of one hidden unit; no classes. Source: paper 002, Proposition 7 and Example 1, corrected on the
boundaries.
"""

import itertools
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

from gradflow.critical_sets.relu_cones.cones import Samples, pattern
from gradflow.critical_sets.relu_cones.linear_programs import NOISE, RowCone
from gradflow.critical_sets.relu_cones.pieces import piece_of
from gradflow.critical_sets.relu_cones.regressions import Layers, ReluData, layers, relu_data
from gradflow.critical_sets.relu_cones.stationarity import (
    STATIONARY_RTOL,
    Descent,
    first_order_descent,
    is_stationary,
)
from gradflow.problem import AbstractProblem
from gradflow.types import Weights

CURVATURE_RTOL = 1e-7
"""Curvatures above minus this multiple of the terms they are made of are not negative."""

TOP_RTOL = 1e-8
"""An eigenvalue is the largest when no other exceeds it by this multiple."""

MAX_SWITCHES = 6
"""Largest number of zero preactivations of weight zero for which all cells are searched."""

STEPS = 60
"""Projected power steps per start of the search inside a cell."""

Verdict: TypeAlias = Literal["not stationary", "minimum", "not a local minimum", "undetermined"]


def descent_direction(problem: AbstractProblem, params: Weights) -> Descent | None:
    """A direction along which L_N falls, of first order where there is one, otherwise of second order.

    Second order is searched for one hidden unit only: at critical points of the piece in every cell around, at other
    stationary points along their face. None: nothing was found, which proves nothing.

    Raises:
        InputError: not a ReLU regression, or parameters that do not fit it.

    Source: paper 002, Example 1 (at ``A1 = (0, 1), A2 = (0, 1)^T`` the loss along the direction is ``2 - t^2 + t^4 /
    2``).
    """
    data = relu_data(problem)
    point = layers(problem, params)
    first_order = first_order_descent(data, point)
    if first_order is not None or data.num_units > 1 or is_stationary(data, point) is None:
        return first_order
    if is_piece_critical(data, point):
        return second_order_descent(data, point)
    return _descent_on_face(data, point)


def is_piece_critical(data: ReluData, params: Layers) -> bool:
    """True when the gradient of the piece on the closed side (zero preactivations active) vanishes."""
    gradient = data.piece_gradient(params, pattern(data, params).mask)
    return max(float(np.max(np.abs(part), initial=0.0)) for part in gradient) <= STATIONARY_RTOL * data.scale(params)


def second_order_descent(data: ReluData, params: Layers) -> Descent | None:
    """A second-order descent direction at a stationary, piece-critical point of one unit, None when none is found."""
    if np.linalg.norm(params[0] @ data.X) * np.linalg.norm(params[1]) == 0 or _is_silent(data, params):
        return _descent_of_silent(data, params)
    strict, held, switches = _zero_samples(data, params)
    if len(switches) > MAX_SWITCHES:
        return None
    for size in range(len(switches), -1, -1):
        for chosen in itertools.combinations(switches, size):
            descent = _descent_in_cell(data, params, (*strict, *held, *chosen), held, chosen, switches)
            if descent is not None:
                return descent
    return None


def verdict(data: ReluData, params: Layers) -> Verdict:
    """What is proved of a piece-critical point of one unit, kinks included.

    "minimum" and "not a local minimum" are proved (the second by a direction of descent); "undetermined" is neither.
    """
    stationary = is_stationary(data, params)
    if stationary is not True:
        return "undetermined" if stationary is None else "not stationary"
    if second_order_descent(data, params) is not None:
        return "not a local minimum"
    if _is_silent(data, params):
        return "undetermined"
    strict, held, switches = _zero_samples(data, params)
    if len(strict) + len(held) + len(switches) != len(pattern(data, params).samples) or len(switches) > MAX_SWITCHES:
        return "undetermined"
    sigma = float(np.sum((params[1] @ np.maximum(params[0] @ data.X, 0.0)) ** 2))
    for size in range(len(switches) + 1):
        for chosen in itertools.combinations(switches, size):
            if not _is_open_cell(data, chosen, switches):
                continue
            if piece_of(data, (*strict, *held, *chosen)).sigma[0] > sigma * (1 + TOP_RTOL):
                return "undetermined"
    return "minimum"


def _is_silent(data: ReluData, params: Layers) -> bool:
    """True when the output is zero on every sample, to rounding."""
    output = params[1] @ np.maximum(params[0] @ data.X, 0.0)
    size = np.linalg.norm(params[1]) * np.linalg.norm(params[0]) * np.linalg.norm(data.X)
    return float(np.linalg.norm(output)) <= STATIONARY_RTOL * float(size)


def _zero_samples(data: ReluData, params: Layers) -> tuple[Samples, Samples, Samples]:
    """Strictly active samples, zero ones whose kink has positive weight, zero ones of weight zero."""
    cone = pattern(data, params)
    zero = tuple(sample for _, sample in cone.boundary)
    weights = params[1][:, 0] @ data.residual(params)
    tolerance = STATIONARY_RTOL * data.scale(params) / np.linalg.norm(data.X, axis=0).clip(1e-300)
    strict = tuple(sample for sample in cone.samples if sample not in zero)
    held = tuple(sample for sample in zero if weights[sample] > tolerance[sample])
    return strict, held, tuple(sample for sample in zero if abs(weights[sample]) <= tolerance[sample])


def _is_open_cell(data: ReluData, chosen: Samples, switches: Samples) -> bool:
    rest = tuple(sample for sample in switches if sample not in chosen)
    return RowCone(np.eye(len(data.X)), data.X[:, chosen], data.X[:, rest]).depth(strict=True) > NOISE


def _descent_in_cell(
    data: ReluData, params: Layers, active: Samples, held: Samples, chosen: Samples, switches: Samples
) -> Descent | None:
    """A direction d with ``d x_j >= 0`` on held and chosen, <= 0 on the other switches, and ``q_T(d) < 0``."""
    sides = [data.X[:, sample] for sample in (*held, *chosen)]
    sides += [-data.X[:, sample] for sample in switches if sample not in chosen]
    return _lowest(params, data.X[:, active], data.Y[:, active], np.array(sides))


def _descent_on_face(data: ReluData, params: Layers) -> Descent | None:
    """A direction with ``d x_j = 0`` at the zero preactivations along which L_N falls, at a point of its face."""
    cone = pattern(data, params)
    zero = tuple(sample for _, sample in cone.boundary)
    strict = tuple(sample for sample in cone.samples if sample not in zero)
    piece = piece_of(data, strict, zero)
    return _lowest(params, piece.X, piece.Y, np.zeros((0, len(data.X))))


def _lowest(params: Layers, X: np.ndarray, Y: np.ndarray, sides: np.ndarray) -> Descent | None:
    """The direction with ``sides d >= 0`` and the smallest ``q(d)`` that projected power steps find, if negative."""
    b = params[1][:, 0]
    h = np.maximum(params[0][0] @ X, 0.0)
    M = 2 * np.outer(b, h) - Y
    form = X @ ((b @ b) * np.eye(len(h)) - M.T @ M / (h @ h)) @ X.T
    values, vectors = np.linalg.eigh(form)
    size = float(np.sum(X**2)) * float(b @ b + np.sum(M**2) / (h @ h))
    if values[0] >= -CURVATURE_RTOL * size:
        return None
    rng = np.random.default_rng(0)
    starts = [sign * vector for vector in vectors.T for sign in (1.0, -1.0)]
    starts += list(rng.normal(size=(4, len(form))))
    best = min((_slide(form, sides, start) for start in starts), key=lambda d: float(d @ form @ d))
    rate = float(best @ form @ best)
    if rate >= -CURVATURE_RTOL * size:
        return None
    second = -(M @ (best @ X)) / (h @ h)
    return Descent(2, (best[None], second[:, None]), rate)


def _slide(
    form: Float[np.ndarray, "d_0 d_0"], sides: Float[np.ndarray, "..."], start: Float[np.ndarray, " d_0"]
) -> Float[np.ndarray, " d_0"]:
    """A unit direction in ``{d : sides d >= 0}`` with a small value of the form; 0 when the start projects to 0."""
    size = float(np.linalg.norm(form, 2))
    direction = _projected(sides, start)
    for _ in range(STEPS if len(sides) else 1):
        direction = _projected(sides, direction - form @ direction / size)
    return direction


def _projected(sides: Float[np.ndarray, "..."], vector: Float[np.ndarray, " d_0"]) -> Float[np.ndarray, " d_0"]:
    """The projection on ``{d : sides d >= 0}``, normalised; ``d = v + sides^T lambda`` with lambda >= 0 (Moreau)."""
    if len(sides):
        vector = vector + sides.T @ nnls(sides.T, -vector)[0]
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm > 1e-9 else np.zeros_like(vector)


def growth(data: ReluData, params: Layers, direction: Float[np.ndarray, " d_0"]) -> Float[np.ndarray, " d_2"]:
    """``w = lim_{t -> 0+} (Y relu((a + t d) X)^T - Y relu(a X)^T) / t``."""
    cone = pattern(data, params)
    zero = [sample for _, sample in cone.boundary]
    strict = [sample for sample in cone.samples if sample not in zero]
    steps = direction @ data.X
    return data.Y[:, strict] @ steps[strict] + data.Y[:, zero] @ np.maximum(steps[zero], 0.0)


def _descent_of_silent(data: ReluData, params: Layers) -> Descent | None:
    """The direction ``(d, eta w)`` at a point with zero output and ``b . w = 0``."""
    b = params[1][:, 0]
    h = np.maximum(params[0][0] @ data.X, 0.0)
    rng = np.random.default_rng(0)
    candidates = np.vstack([data.X.T, -data.X.T, rng.normal(size=(8, len(data.X)))])
    zero = [sample for _, sample in pattern(data, params).boundary]
    scale = np.linalg.norm(data.Y) * np.linalg.norm(data.X)
    best: Descent | None = None
    for direction in candidates / np.linalg.norm(candidates, axis=1, keepdims=True).clip(1e-300):
        w = growth(data, params, direction)
        if np.linalg.norm(w) <= 1e-9 * scale or b @ w < -1e-9 * scale * np.linalg.norm(b):
            continue
        cost = float(b @ b) * float(np.sum(np.maximum(direction @ data.X[:, zero], 0.0) ** 2))
        size = float(h @ h)
        eta = 1.0 / size if np.linalg.norm(h) > 1e-9 * np.linalg.norm(data.X) * np.linalg.norm(params[0]) else 0.0
        eta = eta or (cost / float(w @ w) if cost > 0 else 1.0)
        rate = -2 * eta * float(w @ w) + eta**2 * float(w @ w) * size + cost
        if rate < 0 and (best is None or rate < best.rate):
            best = Descent(2, (direction[None], eta * w[:, None]), rate)
    return best
