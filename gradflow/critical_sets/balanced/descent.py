"""Directions of negative curvature at balanced saddles, and what they bound the least eigenvalue by.

Weighted (paper 001's Lemma 2): turn the weakest captured direction, or an idle hidden unit, towards the strongest
missed one. Letters: ``lambda_k`` strongest missed, ``lambda_j`` weakest captured (0 with an idle unit),
``n = ||S^{-1} q_k||^2``. Knows a problem and a critical point.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.balanced.construction import captured_directions
from gradflow.critical_sets.balanced.enumeration import describe
from gradflow.critical_sets.balanced.recognition import BalancedPoint, decompose, missed_projector
from gradflow.critical_sets.balanced.second_order import quadratic_form
from gradflow.critical_sets.balanced.setting import BalancedSetting, Layers, balanced_setting, checked_params
from gradflow.types import Weights


@dataclass(frozen=True)
class DescentDirection:
    """A direction in which the loss falls to second order from a saddle.

    Attributes:
        direction: ``(Delta_1, Delta_2)``, shaped like the parameters.
        form: the value of the quadratic form (32).
        norm_squared: ``||Delta||_F^2``.
        missed: lambda_k.
        captured: lambda_j, 0 where a hidden unit is idle.
    """

    direction: Layers
    form: float
    norm_squared: float
    missed: float
    captured: float

    @property
    def curvature(self) -> float:
        """``form / norm_squared``: the least eigenvalue of the Hessian is at most this."""
        return self.form / self.norm_squared


def lemma_direction(problem: Any, params: Weights) -> DescentDirection:
    """Paper 001's direction at a saddle of the weighted problem: ``D_2 = p_k a^T, D_1 = a q_k^T S^{-1} U^T``.

    a is the eigenvector of the smallest eigenvalue of ``Z^T Z`` (an idle unit, or the weakest captured one); the form
    is ``2 (lambda_j - lambda_k)`` and ``||Delta||^2 = 1 + n <= 1 + sum_i sigma_i^{-2}``.

    Raises:
        InputError: the problem is not of the family with a weighted Balance; the point is not critical, or global.

    Source: paper 001, Appendix B, with ``(10)`` and ``(13)`` brought to one convention for the rotation.
    """
    return _turned(problem, params, np.ones(2))


def pair_direction(problem: Any, params: Weights) -> DescentDirection:
    """The best combination ``(x D_1, y D_2)`` of the parts of :func:`lemma_direction`: the sharper bound.

    The curvature is the smallest generalised eigenvalue of ``[[lambda_j, -lambda_k], [-lambda_k, lambda_j]]`` with
    respect to ``diag(n, 1)`` (:func:`pair_bound`), ``-lambda_k / sqrt(n)`` with an idle unit.

    Raises:
        InputError: as :func:`lemma_direction`.
    """
    setting = balanced_setting(problem)
    saddle = _saddle(problem, params)
    missed, captured, vector, _ = _pair(setting, saddle)
    weight = _weight(setting, vector)
    form = np.array([[captured, -missed], [-missed, captured]])
    return _turned(problem, params, scipy.linalg.eigh(form, np.diag([weight, 1.0]))[1][:, 0])


def kernel_direction(problem: Any, params: Weights) -> DescentDirection:
    """The direction at a saddle of the unweighted problem: ``D_2 = u a^T, D_1 = a v^T``.

    With an idle unit a is in the kernel of Z and (u, v) the top singular pair of
    ``(I - Pi) W* X X^T = (I - Pi) T R^T``; the form is ``-2`` times its singular value, ``||Delta||^2 = 2``. Without
    one the weakest captured direction is turned towards the strongest missed one and a change of gauge is added that
    keeps the balance to first order.

    Raises:
        InputError: the problem is not of the family with an unweighted Balance; the point is not critical, or global.

    Source: paper 001, Corollary 1, corrected and sharpened.
    """
    setting = balanced_setting(problem)
    checks.require(
        not setting.is_weighted, "problem", "have an unweighted Balance", "a weighted one", "Use pair_direction."
    )
    saddle = _saddle(problem, params)
    missed, captured, vector, _ = _pair(setting, saddle)
    if saddle.rank == setting.num_hidden_units:
        direction = _rebalanced(setting, saddle, checked_params(problem, params), vector)
    else:
        idle = saddle.gauge[:, saddle.rank]
        gap = missed_projector(setting, saddle.frames) @ setting.target @ setting.root.T
        left, _, right = np.linalg.svd(gap)
        direction = np.outer(idle, right[0]), np.outer(left[:, 0], idle)
    return _measured(problem, params, direction, missed, captured)


def descent_direction(problem: Any, params: Weights) -> DescentDirection:
    """The steepest known way down from a saddle: :func:`pair_direction` when weighted, else :func:`kernel_direction`.

    Raises:
        InputError: the problem is not of the family; the point is not critical, or global.
    """
    return (pair_direction if balanced_setting(problem).is_weighted else kernel_direction)(problem, params)


def pair_bound(missed: float, captured: float, weight: float) -> float:
    """The smallest generalised eigenvalue of ``[[c, -m], [-m, c]]`` with respect to ``diag(n, 1)``; negative for m > c.

    ``(c (1 + n) - sqrt(c^2 (1 - n)^2 + 4 n m^2)) / (2 n)``.

    Args:
        missed: m.
        captured: c, 0 for an idle unit; then the value is ``-m / sqrt(n)``.
        weight: n > 0.
    """
    half = captured * (1.0 + weight)
    return float((half - np.hypot(captured * (1.0 - weight), 2.0 * np.sqrt(weight) * missed)) / (2.0 * weight))


def saddle_bound(problem: Any, params: Weights) -> float:
    """What :func:`pair_direction` bounds the least eigenvalue at this saddle by, from the pattern alone.

    Raises:
        InputError: as :func:`lemma_direction`.
    """
    setting = balanced_setting(problem)
    missed, captured, vector, _ = _pair(setting, _saddle(problem, params))
    return pair_bound(missed, captured, _weight(setting, vector))


def _saddle(problem: Any, params: Weights) -> BalancedPoint:
    point = decompose(problem, params)
    checks.require(point.is_critical, "params", "be a critical point", f"a point that is {point.verdict}")
    is_global = describe(problem, point.counts).is_global
    checks.require(not is_global, "params", "be a saddle", "a global minimum", "There is no way down from it.")
    return point


def _pair(setting: BalancedSetting, point: BalancedPoint) -> tuple[float, float, np.ndarray, np.ndarray]:
    """``lambda_k``, ``lambda_j``, the missed right direction's coordinates (r,), the hidden unit a."""
    group = next(b for b, n in enumerate(point.counts) if n < len(setting.groups[b]))
    frame, members = point.frames[group], list(setting.groups[group])
    vector = np.zeros(len(setting.values))
    vector[members] = np.linalg.svd(frame, full_matrices=True)[0][:, -1] if frame.shape[1] else np.eye(len(members))[0]
    missed = float(np.sum(setting.values * vector**2))
    idle = setting.num_hidden_units - point.rank
    if idle:
        return missed, 0.0, vector, point.gauge[:, -1]
    last = max(b for b, n in enumerate(point.counts) if n)
    captured = setting.values[list(setting.groups[last])] @ point.frames[last][:, -1] ** 2
    return missed, float(captured), vector, point.gauge[:, point.rank - 1]


def _weight(setting: BalancedSetting, vector: np.ndarray) -> float:
    return float(np.sum((setting.right @ vector / setting.scales) ** 2))


def _turned(problem: Any, params: Weights, mix: Float[np.ndarray, "2"]) -> DescentDirection:
    setting = balanced_setting(problem)
    checks.require(
        setting.is_weighted, "problem", "have a weighted Balance", "an unweighted one", "Use kernel_direction."
    )
    missed, captured, vector, unit = _pair(setting, _saddle(problem, params))
    left = setting.left[:, : len(vector)] @ vector
    direction = (
        mix[0] * np.outer(unit, (setting.right @ vector) @ setting.root_inverse),
        mix[1] * np.outer(left, unit),
    )
    return _measured(problem, params, direction, missed, captured)


def _measured(problem: Any, params: Weights, direction: Layers, missed: float, captured: float) -> DescentDirection:
    form = quadratic_form(problem, params, direction)
    return DescentDirection(direction, form, float(sum(np.sum(part**2) for part in direction)), missed, captured)


def _rebalanced(setting: BalancedSetting, point: BalancedPoint, params: Layers, vector: np.ndarray) -> Layers:
    """A captured direction turned towards a missed one in the gauge of the state, kept balanced to first order.

    The change of gauge ``(-S W_1, W_2 S)`` with ``S N + N S = -1/2 dE`` undoes the change dE of the balance; the form
    without the regulariser does not see it.
    """
    first, second = params
    span = captured_directions(setting, point.frames)
    coordinates = span.T @ second
    left = setting.left[:, : len(vector)] @ vector
    seen = left @ setting.target @ setting.root_inverse
    direction_1 = np.outer(np.linalg.pinv(coordinates)[:, -1], seen)
    direction_2 = np.outer(left, coordinates[-1])
    gram = setting.metric @ setting.metric.T
    half = second.T @ direction_2 - first @ gram @ direction_1.T
    gauge = scipy.linalg.solve_sylvester(second.T @ second, second.T @ second, -0.5 * (half + half.T))
    return direction_1 - gauge @ first, direction_2 + second @ gauge
