"""How far a gradient flow still goes near a minimum, and how far its limit is from a Newton point: formulas only.

Setting. p is critical, L the loss, H its Hessian with kernel T at p and eigenvalues of at least mu on the normal space
N; H changes by at most M per distance in the ball B of radius R around p. Every slice p + u + N with u in T and
``|u| <= R/2`` holds a critical point s(u) in B, all of the same loss L* (nothing to ask for when T = 0). The flow is at
w with ``|w - p| = d``.

1. In a slice the loss is strongly convex with ``mu' = mu - M R``: so ``|grad|^2 >= 2 mu' (L - L*)`` and
   ``|w - s(u)| <= |grad| / mu'`` in B (gradient dominance).
2. Hence the path left is at most ``length = sqrt(2 (L - L*) / mu')``, which is at most ``|grad| / mu'``, as long as it
   stays in B. With ``R = 2 (d + length)`` it does, and the points s(u) of its slices lie in B too.
3. The part of the velocity along T is ``-P_T integral_0^1 H(s + theta (w - s)) (w - s) d theta``; ``|P_T H(y)|`` is at
   most ``flat + M |y - p|`` with `flat` what is left of the eigenvalues of T. So the part along T of the way ahead is
   at most ``M/2 int |w - s|^2 dt + (M S + flat) int |w - s| dt`` with S the largest ``|s - p|``. The integrals are at
   most ``(L - L*) / mu'^2`` and ``length / mu'``.
4. ``S <= c tau + rounding`` with tau the largest part of ``w - p`` along T and ``c = 1 + M R / (4 mu')``. Solved for
   tau: ``tau <= (tau_0 + M (L - L*) / (2 mu'^2) + (flat + M rounding) length / mu') / (1 - M c length / mu')``, second
   order in d, since ``L - L*`` is. The limit is the s(u) of its slice, at most ``c tau + rounding`` from p.

``L - L* <= x^T H x / 2 + M d^3 / 6 + |grad(p)| d`` with ``x = w - p``, free of cancellation, or ``|grad|^2 / (2 mu')``.
"""

import math
from dataclasses import dataclass

MARGIN = 1.1
"""The ball in which the Hessian's change is measured is larger than the one first estimated by this factor."""

ITERATIONS = 8


@dataclass(frozen=True)
class FlowBounds:
    """What follows from the hypotheses of this module; distances are Euclidean.

    Attributes:
        radius: R, of the ball that holds the way ahead with room to spare.
        dominance: mu', with which the gradient dominates the loss in that ball.
        length: of the way that the flow still goes.
        tangential: distance from p to the limit of the flow; 0.0 where p is an isolated minimum.
    """

    radius: float
    dominance: float
    length: float
    tangential: float


def first_radius(curvature: float, distance: float, energy: float) -> float:
    """The radius of a ball that holds the way ahead if the hypotheses hold in it.

    Args:
        curvature: mu, the smallest positive eigenvalue of the Hessian at p.
        distance: d, from p to the state.
        energy: ``x^T H x / 2``, the loss above its minimum by the quadratic model.
    """
    return MARGIN * 2.0 * (distance + math.sqrt(4.0 * energy / curvature))


def flow_bounds(
    *,
    curvature: float,
    change: float,
    distance: float,
    energy: float,
    grad_norm: float,
    measured_radius: float,
    has_continuum: bool,
    offset: float = 0.0,
    flat: float = 0.0,
    rounding: float = 0.0,
    residual: float = 0.0,
) -> FlowBounds | None:
    """The bounds of this module; None where the ball is too large for the Hessian to stay at half its curvature.

    Args:
        curvature: mu, the smallest positive eigenvalue of the Hessian at p.
        change: M, the change of the Hessian per distance.
        distance: d, from p to the state.
        energy: ``x^T H x / 2``.
        grad_norm: gradient norm at the state.
        measured_radius: radius within which M holds.
        has_continuum: False when the kernel T of the Hessian is zero.
        offset: tau_0, the part of the state minus p along T.
        flat: the largest absolute eigenvalue in T.
        rounding: distance from p to the critical point of its slice.
        residual: gradient norm at p.
    """
    above = energy + change * distance**3 / 6.0 + residual * distance
    dominance = 0.5 * curvature
    for _ in range(ITERATIONS):  # each repetition starts from a ball that is known to hold the path
        excess = min(above, grad_norm**2 / (2.0 * dominance))
        length = math.sqrt(2.0 * excess / dominance)
        radius = 2.0 * (distance + length)
        if not (radius <= measured_radius and change * radius <= 0.5 * curvature):
            return None
        dominance = curvature - change * radius
    excess = min(above, grad_norm**2 / (2.0 * dominance))
    length = math.sqrt(2.0 * excess / dominance)
    if not has_continuum:
        return FlowBounds(radius, dominance, length, 0.0)
    bent = 1.0 + change * radius / (4.0 * dominance)
    drift = offset + change * excess / (2.0 * dominance**2) + (flat + change * rounding) * length / dominance
    tau = drift / (1.0 - change * bent * length / dominance)
    return FlowBounds(radius, dominance, length, bent * tau)
