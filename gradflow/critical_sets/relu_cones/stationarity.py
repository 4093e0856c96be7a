"""First-order stationarity of L_N itself, kinks included: one-sided directional derivatives and descent directions.

At (A1, A2) with residual R the derivative of L_N in direction (D1, D2) is

    <grad_A2, D2> + sum_r [ g_r . D1_r + sum_{j in Z_r} rho_rj max(D1_r x_j, 0) ],

Z_r the live samples with zero preactivation of unit r, ``rho_rj = (A2_r)^T R_j`` and g_r the gradient of the strictly
active part. It splits over units and, inside a unit, is linear on each of the ``2^|Z_r|`` cells; its minimum over the
unit box is one linear program per cell. A critical point of a *piece* need not be stationary for L_N when a
preactivation is zero.

Source: paper 002, Proposition 7, with the caveat that on the boundary of a cone the piece's gradient says nothing on
L_N.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradflow.critical_sets.relu_cones.cones import Cone, Samples, pattern
from gradflow.critical_sets.relu_cones.linear_programs import maximise, unit_columns
from gradflow.critical_sets.relu_cones.regressions import Layers, ReluData, layers, relu_data
from gradflow.problem import AbstractProblem
from gradflow.types import Weights

STATIONARY_RTOL = 1e-8
"""Derivatives up to this multiple of the problem's scale are zero."""

MAX_ZEROS = 10
"""Largest number of rays of zero preactivations per unit for which all cells are searched."""


@dataclass(frozen=True, eq=False)
class Kinks:
    """First-order data of one unit at a point.

    Attributes:
        gradient: g_r, the gradient of the strictly active part.
        rays: unit vectors of the live samples with zero preactivation, samples on one ray merged, as columns.
        weights: ``sum_j rho_rj ||x_j||`` per ray.
    """

    gradient: Float[np.ndarray, " d_0"]
    rays: Float[np.ndarray, "d_0 num_rays"]
    weights: Float[np.ndarray, " num_rays"]

    def derivative(self, direction: Float[np.ndarray, " d_0"]) -> float:
        """``g . d + sum weights * max(d . rays, 0)``."""
        return float(self.gradient @ direction + self.weights @ np.maximum(direction @ self.rays, 0.0))

    def falls_simply(self, tolerance: float) -> bool:
        """True when the derivative is below ``-tolerance`` along minus the gradient or along a ray or its opposite."""
        size = float(np.linalg.norm(self.gradient)) or 1.0
        candidates = np.vstack([-self.gradient[None] / size, self.rays.T, -self.rays.T])
        return any(self.derivative(candidate) < -tolerance for candidate in candidates)

    def steepest(self) -> tuple[float, Float[np.ndarray, " d_0"]] | None:
        """The smallest derivative over ``|d| <= 1`` with a direction that has it, None with too many rays to search."""
        num_rays = len(self.weights)
        if num_rays > MAX_ZEROS:
            return None
        if not self.gradient.any() and not self.weights.any():
            return 0.0, np.zeros(len(self.gradient))
        best, direction = 0.0, np.zeros(len(self.gradient))
        for signs in itertools.product((1.0, -1.0), repeat=num_rays):
            sides = np.array(signs)
            objective = self.gradient + self.rays @ (self.weights * (sides > 0))
            size = float(np.max(np.abs(objective))) or 1.0
            box = [(-1.0, 1.0)] * len(objective)
            optimum = maximise(-objective / size, -(self.rays * sides).T, np.zeros(num_rays), box)
            if optimum is None:
                return None
            candidate = optimum[1]
            value = self.derivative(candidate)
            if value < best:
                best, direction = value, candidate
        return best, direction


@dataclass(frozen=True, eq=False)
class Descent:
    """A direction along which L_N falls.

    Attributes:
        order: 1: the one-sided derivative is `rate`. 2: it is 0 and the second derivative along the ray is `rate`.
        direction: ``(D1, D2)`` in the parameters' shapes; L_N falls along ``params + t direction`` for small t > 0.
        rate: negative, see `order`.
    """

    order: int
    direction: Layers
    rate: float


def directional_derivative(problem: AbstractProblem, params: Weights, direction: Weights) -> float:
    """``lim_{t -> 0+} (L_N(params + t direction) - L_N(params)) / t``, which exists in every direction.

    Accuracy: exact, once each preactivation is told from zero as in :func:`cone_of`.

    Raises:
        InputError: not a ReLU regression, or shapes that do not fit it.
    """
    data = relu_data(problem)
    point, (first, second) = layers(problem, params), layers(problem, direction)
    value = float(np.sum(output_gradient(data, point) * second))
    return value + sum(unit.derivative(row) for unit, row in zip(kinks_of(data, point), first, strict=True))


def output_gradient(data: ReluData, params: Layers) -> Float[np.ndarray, "d_2 d_1"]:
    """``grad_A2 L_N = R relu(A1 X)^T``, continuous everywhere."""
    return data.residual(params) @ np.maximum(params[0] @ data.X, 0.0).T


def kinks_of(data: ReluData, params: Layers, cone: Cone | None = None) -> tuple[Kinks, ...]:
    """First-order data per unit, with the zero preactivations of `cone` (default: the point's own)."""
    second = params[1]
    cone = cone or pattern(data, params)
    residual = data.residual(params)
    result = []
    for unit, active in enumerate(cone.active):
        zero = tuple(sample for owner, sample in cone.boundary if owner == unit)
        positive = [sample for sample in active if sample not in zero]
        slopes = second[:, unit] @ residual
        gradient = data.X[:, positive] @ slopes[positive]
        rays, weights = _merged(data, zero, slopes)
        result.append(Kinks(gradient, rays, weights))
    return tuple(result)


def is_kinked(data: ReluData, params: Layers, unit: Kinks) -> bool:
    """True when some ray of zero preactivations has a weight: the expansion of L_N is not that of the piece."""
    scale = STATIONARY_RTOL * data.scale(params)
    return bool(np.any(np.abs(unit.weights) > scale))


def first_order_descent(data: ReluData, params: Layers) -> Descent | None:
    """The steepest one-sided descent direction of L_N in the unit box; None when stationary or not searched."""
    tolerance = STATIONARY_RTOL * data.scale(params)
    first, second = np.zeros_like(params[0]), np.zeros_like(params[1])
    gradient = output_gradient(data, params)
    rate = 0.0
    if np.max(np.abs(gradient), initial=0.0) > tolerance:
        second = -np.sign(gradient)
        rate = float(np.sum(gradient * second))
    for unit, kinks in enumerate(kinks_of(data, params)):
        steepest = kinks.steepest()
        if steepest is not None and steepest[0] < -tolerance:
            first[unit] = steepest[1]
            rate += steepest[0]
    return Descent(1, (first, second), rate) if rate < 0 else None


def is_stationary(data: ReluData, params: Layers) -> bool | None:
    """True when no one-sided derivative of L_N is negative, None when there are too many zeros to tell."""
    tolerance = STATIONARY_RTOL * data.scale(params)
    kinks = kinks_of(data, params)
    if any(unit.falls_simply(tolerance) for unit in kinks) or first_order_descent(data, params) is not None:
        return False
    return None if any(unit.steepest() is None for unit in kinks) else True


def _merged(data: ReluData, zero: Samples, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of the samples in `zero`, equal ones merged, with ``sum rho_j ||x_j||``."""
    rays: list[np.ndarray] = []
    weights: list[float] = []
    units = unit_columns(data.X[:, zero])
    for ray, sample in zip(units.T, zero, strict=True):
        weight = float(slopes[sample] * np.linalg.norm(data.X[:, sample]))
        same = [index for index, other in enumerate(rays) if np.linalg.norm(ray - other) < 1e-9]
        if same:
            weights[same[0]] += weight
        else:
            rays.append(ray)
            weights.append(weight)
    return (np.array(rays).T if rays else np.zeros((len(data.X), 0))), np.array(weights)
