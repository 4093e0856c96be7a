"""How far a gradient flow still goes near a minimum, and how far its limit is from a Newton point: formulas only.

Setting. p is critical, L the loss, H its Hessian with kernel T at p and eigenvalues of at least mu on the normal space
N. In the ball B of radius R around p, ``|H(y) - H(p)| <= M |y - p|``. Every slice p + u + N with u in T and
``|u| <= R/2`` holds a critical point s(u) = p + u + sigma(u) in B, all of the same loss L* (nothing to ask for when
T = 0). The flow is at w = s(u) + z with z in N; ``a = |z|`` and ``S = |s(u) - p|``.

1. In a slice the loss is strongly convex with ``mu' = mu - M R``, so ``|grad|^2 >= 2 mu' (L - L*)`` in B (gradient
   dominance) and ``z . grad >= mu' a^2``. The path left has at most the length ``sqrt(2 (L - L*) / mu')``.
2. The part of the velocity along T is ``u' = -P_T integral_0^1 H(s + theta z) z d theta``; ``|P_T H(y)|`` is at most
   ``flat + M |y - p|`` with `flat` what is left of the eigenvalues of T: ``|u'| <= (M (S + a/2) + flat) a``.
3. As the slice changes its critical point does with ``|sigma'(u)| <= M S / mu'``. Hence ``a' <= -rate a`` with
   ``rate = mu' - (M R / mu') (M R + flat)``, or ``rate = mu'`` when T = 0: the normal part of the distance shrinks all
   the time, ``int a dt <= a_0 / rate`` and ``int a^2 dt <= a_0^2 / (2 rate)``.
4. ``S <= rounding + c tau`` with tau the largest ``|u|`` and ``c = 1 + M R / mu'``. By 2 and 3, solved for tau,
   ``tau <= (tau_0 + M a_0^2 / (4 rate) + (flat + M rounding) a_0 / rate) / (1 - c M a_0 / rate)``: second order in a_0.
5. The path stays in B if ``rounding + c tau + a_0 <= R`` and ``tau <= R/2``. The flow's limit is the s(u) of its slice,
   at most ``c tau + rounding`` from p.

``a_0 <= d + tau_0 + rounding`` with d the distance from w to p, and ``L - L* <= x^T H x / 2 + M d^3 / 6 + |grad(p)| d``
with ``x = w - p``, free of cancellation, or ``|grad|^2 / (2 mu')``.
"""

import math
from dataclasses import dataclass

ROOM = 1.5
"""Radius of the ball per distance on a continuum of minima: room for what the flow moves along it."""


@dataclass(frozen=True)
class FlowBounds:
    """What follows from the hypotheses of this module; distances are Euclidean.

    Attributes:
        dominance: mu', with which the gradient dominates the loss in the ball.
        length: of the way that the flow still goes.
        tangential: distance from p to the limit of the flow, but for rounding; 0.0 where p is an isolated minimum.
    """

    dominance: float
    length: float
    tangential: float


def ball_radius(distance: float, has_continuum: bool, offset: float = 0.0, rounding: float = 0.0) -> float:
    """R: of a ball that is to hold the way ahead; arguments as for :func:`flow_bounds`."""
    return (ROOM if has_continuum else 1.0) * (distance + offset + 2.0 * rounding)


def flow_bounds(
    *,
    curvature: float,
    change: float,
    radius: float,
    distance: float,
    energy: float,
    grad_norm: float,
    has_continuum: bool,
    offset: float = 0.0,
    flat: float = 0.0,
    rounding: float = 0.0,
    residual: float = 0.0,
) -> FlowBounds | None:
    """The bounds of this module; None where ``rate < mu/2`` or the path may leave the ball.

    Args:
        curvature: mu, the smallest positive eigenvalue of the Hessian at p.
        change: M, the change of the Hessian per distance in the ball.
        radius: R, of the ball.
        distance: d, from p to the state.
        energy: ``x^T H x / 2``.
        grad_norm: gradient norm at the state.
        has_continuum: False when the kernel T of the Hessian is zero.
        offset: tau_0, the part of the state minus p along T.
        flat: the largest absolute eigenvalue in T.
        rounding: distance from p to the critical point of its slice.
        residual: gradient norm at p.
    """
    varied = change * radius
    dominance = curvature - varied
    if not dominance >= 0.5 * curvature:
        return None
    above = energy + change * distance**3 / 6.0 + residual * distance
    length = math.sqrt(2.0 * min(above, grad_norm**2 / (2.0 * dominance)) / dominance)
    start = distance + offset + rounding
    if not has_continuum:
        return FlowBounds(dominance, length, 0.0) if rounding + start <= radius else None
    rate, bent = dominance - varied / dominance * (varied + flat), 1.0 + varied / dominance
    held = 1.0 - bent * change * start / rate
    if not (rate >= 0.5 * curvature and held > 0.0):
        return None
    drift = offset + change * start**2 / (4.0 * rate) + (flat + change * rounding) * start / rate
    tau = drift / held
    is_inside = rounding + bent * tau + start <= radius and tau <= 0.5 * radius
    return FlowBounds(dominance, length, bent * tau) if is_inside else None
