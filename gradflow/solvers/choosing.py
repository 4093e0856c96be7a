"""Which solver the automatic choice goes on with: rules over measured facts, the same for every run of the same flow.

A run starts with Tsit5. When stability and not accuracy has set the length of its steps for a while, and many more
such steps lie ahead, it goes on with a solver made for stiff flows: Radau9 where its large systems are small, Rodas5P
with a few more parameters, beyond that BDF, which makes a matrix in few steps and none for many parameters.

A flow with kinks starts anew at every one of them, which a multistep method pays for with its order: there it is
Rodas5P, or with many parameters RKC2, whose work grows with the root of the stiffness. As the flow comes to rest steps
grow until even the root is too much; then Rodas5P follows RKC2, where its matrix is affordable. Nothing here looks at a
clock: the choice must not depend on the machine.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

COUPLED_PARAMETERS = 10
"""Up to this number the system of all five stages of Radau9 together costs no more than calling it."""

FEW_PARAMETERS = 50
"""Up to this number a factorisation costs no more than a few evaluations of the field."""

KINKED_PARAMETERS = 500
"""The same for flows with kinks."""

DENSE_PARAMETERS = 1500
"""Largest number for which the automatic choice factorises matrices (20 MB, half a second a step on one core)."""

LIMITED_STEPS = 64
"""Stability-limited steps before anything is changed; looked at again after twice as many, and so on."""

WORTH_A_CHANGE = 10_000.0
"""Explicit steps ahead from which on a change pays: compiling another solver takes as long."""

NEAR_REST = 300.0
"""Explicit steps to rest below which a stiff flow is believed to be near it."""

FAR_HORIZON = 100_000.0
"""Explicit steps to the horizon from which on only a rest that is near is believed to end the run before."""

UNKNOWN_END = 5_000
"""Stability-limited steps after which a run changes although nobody knows how many are ahead."""

GAIN = 8.0
"""How much longer than stability allows accuracy's steps are taken to be when a run leaves Tsit5."""

LIMIT = 2.8
"""``h rho`` of a step of Tsit5 that stability limits."""


class Situation(NamedTuple):
    """What is known when a choice is made.

    `solver` is the present one, `num_capped` the number of steps that stability limited, `num_stiff` of those that
    accuracy would have made at least four times longer, `step` the present length of a step, `radius` the spectral
    radius where the solver knows it (else 0), `horizon` and `to_rest` the flow time to the horizon and to rest as far
    as known (else infinite), `step_cost` the field's evaluations that a step of Rodas5P is worth, `has_kinks` True for
    a flow that is followed from smooth piece to smooth piece.
    """

    solver: str
    num_parameters: int
    rtol: float
    num_capped: int
    num_stiff: int
    step: float
    radius: float
    horizon: float
    to_rest: float
    step_cost: Callable[[], float]
    has_kinks: bool = False


def better_solver(now: Situation) -> tuple[str, str] | None:
    """The name of the solver to go on with and the reason in words, or None to stay."""
    if now.solver == "tsit5" and now.num_capped >= LIMITED_STEPS:
        return _instead_of_explicit(now)
    if now.solver == "rkc2":
        return _instead_of_stabilised(now)
    return None


def time_to_rest(grad_norm: float, before: float, elapsed: float, level: float) -> float:
    """Flow time until the gradient norm is at `level` if it goes on falling as it fell from `before` in `elapsed`.

    Infinite for a gradient that does not fall, 0.0 for one that is there. A power law takes longer than that.
    """
    if grad_norm <= level:
        return 0.0
    fall = math.log(before / grad_norm) if before > grad_norm > 0 else 0.0
    return math.log(grad_norm / level) * elapsed / fall if fall > 0 and level > 0 else math.inf


def _instead_of_explicit(now: Situation) -> tuple[str, str] | None:
    steps = _steps_ahead(now)
    is_known = math.isfinite(steps)
    if steps < WORTH_A_CHANGE or not (is_known or now.num_capped >= UNKNOWN_END):
        return None
    reason = f"Tsit5 was limited by stability for {now.num_capped} steps"
    if is_known:
        reason += f" with about {steps:.1g} more ahead"
    if not now.has_kinks:
        few, some = now.num_parameters <= COUPLED_PARAMETERS, now.num_parameters <= FEW_PARAMETERS
        return ("radau9" if few else "rodas5p" if some else "bdf"), reason
    # Where kinks are located a step is cut by its dense output, which is best where the steps are of high order.
    if now.num_parameters <= KINKED_PARAMETERS:
        return "rodas5p", reason
    return ("rodas5p" if _is_too_much(now, GAIN * LIMIT / advantage(now.rtol)) else "rkc2"), reason


def _steps_ahead(now: Situation) -> float:
    """Explicit steps to the horizon, or to rest where that is earlier; infinite when nobody knows.

    How fast the gradient falls tells little of the slow modes of a stiff flow, and nothing of a plateau to come, so
    that where steps are stiff or the horizon is far the time to rest is only believed when it is near.
    """
    step = max(now.step, math.ulp(0.0))
    to_horizon, to_rest = now.horizon / step, now.to_rest / step
    is_stiff = now.num_stiff >= LIMITED_STEPS or to_horizon >= FAR_HORIZON
    return to_horizon if is_stiff and to_rest >= NEAR_REST and math.isfinite(to_horizon) else min(to_horizon, to_rest)


def _instead_of_stabilised(now: Situation) -> tuple[str, str] | None:
    stiffness = now.step * now.radius
    if not _is_too_much(now, stiffness):
        return None
    return "rodas5p", f"RKC2 needed {stages_of(stiffness):.0f} stages a step, more than a factorisation is worth"


def _is_too_much(now: Situation, stiffness: float) -> bool:
    """True when steps of RKC2 at ``h rho = stiffness`` take more evaluations than Rodas5P over the same flow time."""
    if now.num_parameters > DENSE_PARAMETERS:
        return False
    return stages_of(stiffness) * advantage(now.rtol) > now.step_cost()


def advantage(rtol: float) -> float:
    """How much longer Rodas5P's steps are than RKC2's: ``0.8 rtol^(1/5 - 1/3)``, by their orders; 0.8 was measured."""
    return float(0.8 * rtol ** (1 / 5 - 1 / 3))


def stages_of(stiffness: float) -> float:
    """Stages of RKC2 for a step of ``h rho = stiffness``: ``sqrt(1 + stiffness / 0.65)``, at least 2."""
    return max(2.0, math.sqrt(1.0 + max(stiffness, 0.0) / 0.65))
