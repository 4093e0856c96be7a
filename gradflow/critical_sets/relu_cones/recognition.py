"""What a given point is: its cone, what it has captured, whether the piece and whether L_N are stationary there.

Knows a problem and a state; proves nothing about classes. Source: paper 002, Propositions 6 and 7, eq. (9).
"""

from dataclasses import dataclass

import numpy as np

from gradflow.critical_sets.relu_cones.cones import Cone, pattern
from gradflow.critical_sets.relu_cones.pieces import Piece, piece_of
from gradflow.critical_sets.relu_cones.regressions import Layers, ReluData, layers, relu_data
from gradflow.critical_sets.relu_cones.stationarity import (
    STATIONARY_RTOL,
    first_order_descent,
    is_kinked,
    is_stationary,
    kinks_of,
)
from gradflow.problem import AbstractProblem
from gradflow.types import Weights

CAPTURE_TOLERANCE = 1e-6
"""Largest distance of a captured count from a whole number at a critical point."""

RANK_RTOL = 1e-9
"""Singular values of A2_I below this multiple of the largest are zero."""

AMBIGUOUS_RTOL = 1e-4
"""Singular values of A2_I between :data:`RANK_RTOL` and this leave its rank undecided."""


@dataclass(frozen=True, eq=False)
class Decomposition:
    """What theory says of one point.

    Attributes:
        cone: the activation pattern, zero preactivations active and marked.
        loss: L_N.
        piece_gradient: gradient of the piece active on the closed side (zero preactivations active).
        defect: its norm relative to :meth:`ReluData.scale`.
        is_piece_critical: True when the defect is rounding.
        counts: captured directions per group of Sigma_J, zeros last; None when the point is not critical, the pattern
            is no product, or the rank of A2_I is undecided.
        sigma: the captured eigenvalue for one active unit, None otherwise.
        value: the critical value of `counts`, None without them.
        interior: True when no preactivation is zero.
        kinked: True when L_N's first-order expansion differs from the piece's.
        is_stationary: True when no one-sided derivative of L_N is negative; None when that was not searched.
        steepest: the smallest one-sided derivative over the unit box, 0 at stationary points.
        status: ``"clear"``, or ``"ambiguous"`` when a preactivation is neither zero nor clearly not (all other fields
            then hold for the signs as computed).
    """

    cone: Cone
    loss: float
    piece_gradient: Layers
    defect: float
    is_piece_critical: bool
    counts: tuple[int, ...] | None
    sigma: float | None
    value: float | None
    interior: bool
    kinked: bool
    is_stationary: bool | None
    steepest: float
    status: str


def decompose(problem: AbstractProblem, params: Weights) -> Decomposition:
    """Cone, piece gradient, captured eigenvalues and true stationarity of a point.

    Accuracy: zero tests as in :func:`cone_of`; gradients up to :data:`STATIONARY_RTOL` of the problem's scale are zero.

    Raises:
        InputError: not a ReLU regression, or parameters that do not fit it.

    Source: paper 002, Propositions 6 and 7, with stationarity of L_N told from stationarity of the piece.
    """
    data = relu_data(problem)
    point = layers(problem, params)
    cone = pattern(data, point)
    gradient = data.piece_gradient(point, cone.mask)
    defect = float(np.sqrt(sum(np.sum(part**2) for part in gradient))) / data.scale(point)
    is_critical = defect <= STATIONARY_RTOL
    descent = first_order_descent(data, point)
    piece = piece_of(data, cone.samples)
    counts = _counts(piece, point, cone) if is_critical and cone.is_product else None
    single = counts is not None and sum(counts) == 1 and len(cone.units) == 1
    return Decomposition(
        cone=cone,
        loss=data.loss(point),
        piece_gradient=gradient,
        defect=defect,
        is_piece_critical=is_critical,
        counts=counts,
        sigma=float(piece.sigma[piece.groups[counts.index(1)][0]]) if single and counts is not None else None,
        value=None if counts is None else piece.loss(counts),
        interior=cone.is_interior,
        kinked=any(is_kinked(data, point, kinks) for kinks in kinks_of(data, point, cone)),
        is_stationary=is_stationary(data, point),
        steepest=0.0 if descent is None else descent.rate,
        status="ambiguous" if cone.uncertain else "clear",
    )


def _counts(piece: Piece, params: Layers, cone: Cone) -> tuple[int, ...] | None:
    """``p_i = tr U_i^T P U_i`` with P the projector on the columns of A2_I; None when not whole or of unclear rank."""
    second = params[1][:, list(cone.units)]
    if second.size == 0:
        return (0,) * len(piece.groups)
    left, values, _ = np.linalg.svd(second, full_matrices=False)
    reference = max(float(values[0]), 1e-300)
    if np.any((values > RANK_RTOL * reference) & (values < AMBIGUOUS_RTOL * reference)):
        return None
    basis = left[:, values > RANK_RTOL * reference] if values[0] > 0 else left[:, :0]
    counts = []
    for group in piece.groups:
        captured = float(np.sum((piece.left[:, list(group)].T @ basis) ** 2))
        if abs(captured - round(captured)) > CAPTURE_TOLERANCE:
            return None
        counts.append(round(captured))
    return tuple(counts)


__all__ = ["Decomposition", "ReluData", "decompose"]
