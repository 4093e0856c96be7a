"""Kinds that closed-form theory knows and a Hessian cannot tell: minima with flat directions, and points on kinks.

For the families of :mod:`gradflow.critical_sets` other than deep linear networks: shallow linear networks with paper
001's balancing term, and ReLU networks with one hidden layer. Says None of every other problem, and never contradicts
the Hessian's index.
"""

import numpy as np

from gradflow import checks
from gradflow.critical_sets import balanced, relu_cones
from gradflow.networks import Shallow
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Params

MAX_SAMPLES = 8
"""Largest number of samples for which the global minimum of a single ReLU unit is looked for over all cones."""

LOSS_RTOL = 1e-9
"""Losses closer than this multiple of the loss of zero output are equal."""


def kind_by_family(problem: AbstractProblem, params: Params, index: int) -> tuple[str, str] | None:
    """Kind and reason for a critical point of one of the families, or None when the Hessian is to decide.

    Args:
        problem: any problem.
        params: a refined critical point.
        index: negative eigenvalues of the Hessian there.
    """
    return _balanced_kind(problem, params, index) or _relu_kind(problem, params, index)


def kink_kind(problem: AbstractProblem, params: Params) -> tuple[str, str] | None:
    """Kind and reason for a point of a ReLU network on a kink from which no direction descends, or None.

    Its gradient, in which a kink counts by its mean, need not vanish.
    """
    point = _relu_point(problem, params)
    if point is None or point.interior or point.is_stationary is not True:
        return None
    kinks = len(point.cone.boundary)
    return "undetermined", f"On {kinks} kink{'s' * (kinks > 1)}; no direction descends to first order."


def _balanced_kind(problem: AbstractProblem, params: Params, index: int) -> tuple[str, str] | None:
    try:
        point = balanced.decompose(problem, params)
        if not point.is_critical or index > 0:
            return None
        known = balanced.describe(problem, point.counts)
    except checks.InputError:
        return None
    if known.category != "global":
        return "undetermined", f"Near a strict saddle that captures {point.rank} directions, but no descent is seen."
    zero_output = float(problem.loss(tuple(np.zeros(np.shape(layer)) for layer in params)))
    excess = float(problem.loss(params)) - known.loss
    if not abs(excess) <= LOSS_RTOL * zero_output:
        return "undetermined", f"Near a global minimum, but the loss is {excess:.1e} above it."
    return "global_minimum", f"Balanced, and it captures {point.rank} directions, the largest that fit."


def _relu_kind(problem: AbstractProblem, params: Params, index: int) -> tuple[str, str] | None:
    point = _relu_point(problem, params)
    if point is None or not isinstance(problem, Regression):
        return None
    if point.status == "ambiguous":
        return "undetermined", "A preactivation is neither zero nor clearly not, so its kink may or may not be met."
    if not point.interior:
        return _boundary_kind(point)
    if index > 0 or point.counts is None or not point.cone.units:
        return None
    piece = relu_cones.spectrum(problem, point.cone.samples)
    least = piece.dead_loss - 0.5 * float(np.sum(piece.sigma[: len(point.cone.units)]))
    size = 0.5 * float(np.sum(problem.Y**2))
    if point.loss > least + LOSS_RTOL * size:
        return None
    where = f"Inside a cone with {len(point.cone.units)} active units and {len(point.cone.samples)} active samples"
    if problem.network.shapes[0][0] == 1 and problem.X.shape[1] <= MAX_SAMPLES:
        best = relu_cones.global_minimum(problem)
        if best.is_certain and point.loss <= best.value + LOSS_RTOL * size:
            return "global_minimum", f"{where}, with the smallest loss of all cones."
        if point.loss > best.value + LOSS_RTOL * size:
            return "spurious_minimum", f"{where}, the least loss there; another cone has {best.value:.6g}."
    return "local_minimum", f"{where}, the least loss there; other cones were not compared."


def _boundary_kind(point: relu_cones.Decomposition) -> tuple[str, str]:
    if point.is_stationary is False:
        return "not_critical", f"On a kink, and the loss falls at rate {-point.steepest:.2g} in some direction."
    return "undetermined", "A preactivation is zero: what lies on the other side of the kink the Hessian cannot tell."


def _relu_point(problem: AbstractProblem, params: Params) -> relu_cones.Decomposition | None:
    if not (isinstance(problem, Regression) and isinstance(problem.network, Shallow)):
        return None
    try:
        return relu_cones.decompose(problem, params)
    except checks.InputError:
        return None
