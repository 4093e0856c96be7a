"""Stationary points on kinks, and the global minimum, of a network with one hidden unit.

Paper 002 lists critical points of pieces. L_N has further stationary points where it is not differentiable: a
preactivation is zero and every piece around has a gradient, but no direction descends. A global minimum can be of this
kind, so the minimum over the paper's critical points is not the minimum of L_N. All of them are critical for the
restriction of L_N to a *face* ``{a X_S > 0, a X_Z = 0, the rest < 0}``, on which the loss is again that of a shallow
linear network, with X_S projected on ``{a : a X_Z = 0}``. A global minimiser captures the largest eigenvalue of its
face, and every face critical point is a point of L_N: the smallest loss over the faces is the global minimum.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gradflow import checks
from gradflow.critical_sets.relu_cones.cones import Samples, faces, pattern
from gradflow.critical_sets.relu_cones.feasibility import feasible_rows
from gradflow.critical_sets.relu_cones.pieces import Piece, piece_of
from gradflow.critical_sets.relu_cones.regressions import Layers, ReluData, relu_data
from gradflow.critical_sets.relu_cones.second_order import TOP_RTOL, is_piece_critical
from gradflow.critical_sets.relu_cones.stationarity import STATIONARY_RTOL, is_stationary, kinks_of
from gradflow.problem import AbstractProblem

LOSS_RTOL = 1e-9
"""Losses closer than this multiple of ``1/2 Tr Y Y^T`` are equal."""


THETA_TOLERANCE = 1e-7
"""Shares of a kink closer than this to 0 or 1 count as 0 or 1."""


@dataclass(frozen=True, eq=False)
class GlobalMinimum:
    """The global minimum of L_N for one hidden unit.

    Attributes:
        value: the minimum.
        params: a minimiser.
        zero: its samples with zero preactivation, on which L_N may have a kink.
        is_certain: False when a face that could have a smaller value could not be decided.
    """

    value: float
    params: Layers
    zero: Samples
    is_certain: bool


@dataclass(frozen=True, eq=False)
class KinkPoint:
    """A stationary point of L_N that is critical for no closed piece, standing for its class.

    Attributes:
        positive, zero: S and Z.
        piece: the restricted shallow problem.
        group: the captured group.
        params: one such point.
        is_minimum: True when it is proved to be a local minimum, see :func:`is_kink_minimum`.
    """

    positive: Samples
    zero: Samples
    piece: Piece
    group: int
    params: Layers
    is_minimum: bool


def global_minimum(problem: AbstractProblem) -> GlobalMinimum:
    """The global minimum of a network with one hidden unit, over all faces of all cones.

    Raises:
        InputError: not a ReLU regression, more than one hidden unit, or too many cones to be listed.

    Source: every minimiser is critical on its face; paper 002's Proposition 7 covers the faces without zeros.
    """
    data = relu_data(problem)
    checks.require(data.num_units == 1, "problem", "have one hidden unit", data.num_units)
    return smallest_loss(data, faces(data))


def smallest_loss(data: ReluData, known_faces: tuple[tuple[Samples, Samples], ...]) -> GlobalMinimum:
    """:func:`global_minimum` without its checks."""
    candidates = []
    for positive, zero in known_faces:
        piece = piece_of(data, positive, zero)
        if piece.num_positive:
            candidates.append((piece.loss(_one_of(piece, 0)), positive, zero, piece))
    certain = True
    for value, _, zero, piece in sorted(candidates, key=lambda candidate: candidate[:3]):
        result = feasible_rows(data, piece, _one_of(piece, 0), 1, zero)
        if result.interior is True:
            return GlobalMinimum(value, unit_point(piece, result.rows[0]), zero, certain)
        certain = certain and result.interior is False
    silent = np.zeros((1, len(data.X))), np.zeros((len(data.Y), 1))
    return GlobalMinimum(data.dead_loss, silent, data.live, certain)


def kink_points(data: ReluData, known_faces: tuple[tuple[Samples, Samples], ...]) -> Iterator[KinkPoint]:
    """One stationary kink per face and captured group that has any; of repeated eigenvalues one direction is tried."""
    for positive, zero in known_faces:
        if not zero:
            continue
        piece = piece_of(data, positive, zero)
        for group in range(len(piece.groups)):
            if piece.groups[group][0] >= piece.num_positive:
                continue
            result = feasible_rows(data, piece, _one_of(piece, group), 1, zero)
            if result.interior is not True:
                continue
            params = unit_point(piece, result.rows[0])
            if is_stationary(data, params) and not is_piece_critical(data, params):
                yield KinkPoint(positive, zero, piece, group, params, is_kink_minimum(data, params))


def unit_point(piece: Piece, row: np.ndarray) -> Layers:
    """``(a, b)`` with the best second layer, ``b = Y_J h^T / |h|^2``, ``h = a X_J``, scaled to ``|a| = |b|``."""
    hidden = row @ piece.X
    second = piece.Y @ hidden / (hidden @ hidden)
    scale = float(np.sqrt(np.linalg.norm(second) / np.linalg.norm(row)))
    return scale * row[None], second[:, None] / scale


def _one_of(piece: Piece, group: int) -> tuple[int, ...]:
    return tuple(int(index == group) for index in range(len(piece.groups)))


def is_kink_minimum(data: ReluData, params: Layers) -> bool:
    """True when a stationary point of one unit is proved to be a local minimum although L_N has kinks there.

    With independent rays stationarity reads ``g = -sum theta_j w_j ray_j``, ``0 <= theta_j <= 1``, all w > 0. A ray
    with theta strictly between makes L_N grow linearly off its face; one with theta = 0 (or 1) only adds to the loss
    when it is switched on (off). So L_N is locally at least the shallow loss with the rays of theta = 1 active, those
    of 0 inactive and the others held at zero, and the point is a minimum of that one when it captures its largest
    eigenvalue.
    """
    cone = pattern(data, params)
    zero = tuple(sample for _, sample in cone.boundary)
    (kinks,) = kinks_of(data, params)
    tolerance = STATIONARY_RTOL * data.scale(params)
    independent = np.linalg.matrix_rank(kinks.rays, tol=1e-8) == kinks.rays.shape[1] == len(zero)
    if not independent or np.any(kinks.weights <= tolerance):
        return False
    theta = np.linalg.lstsq(-kinks.rays * kinks.weights, kinks.gradient, rcond=None)[0]
    if np.any(np.abs(theta - 0.5) > 0.5 + THETA_TOLERANCE):
        return False
    active = tuple(index for index in cone.samples if index not in zero)
    active += tuple(index for index, share in zip(zero, theta, strict=True) if share > 1 - THETA_TOLERANCE)
    held = tuple(index for index, share in zip(zero, theta, strict=True) if abs(share - 0.5) < 0.5 - THETA_TOLERANCE)
    sigma = float(np.sum((params[1] @ np.maximum(params[0] @ data.X, 0.0)) ** 2))
    return bool(piece_of(data, active, held).sigma[0] <= sigma * (1 + TOP_RTOL))
