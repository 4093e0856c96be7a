"""What an integration returns: a frozen trajectory with every real row, its status and how it was computed.

No result knows how it is drawn or saved. Arrays are NumPy float64.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.status import Status
from gradflow.types import Params


@dataclass(frozen=True)
class Passage:
    """A stay near a critical point that is not a minimum: from when to when, at which loss, how unstable.

    `end` is None when the run ended there. `lowest_eigenvalue` is the Hessian's at the quietest point looked at, and
    `offset` the distance from the stable manifold there, along the most unstable direction (NaN when it was not
    computed: more than :data:`gradflow.curvature.DIRECT_LIMIT` parameters). `is_resolved` is False when that is below
    the solver's tolerance: the start lies on the stable manifold as far as this run can tell, and whether and to which
    side it leaves was decided by rounding and truncation, not by the flow. Times are flow times (dimensionless).
    """

    start: float
    end: float | None
    loss: float
    lowest_eigenvalue: float
    lowest_grad_norm: float
    offset: float
    is_resolved: bool | None


@dataclass(frozen=True)
class Occurrence:
    """An event that was met: its name and entry, when, whether its guard rose there, what is left of it, and where.

    `time` is the flow time, `is_rising` in the direction of integration, `residual` the guard's value at `params`, zero
    to rounding.
    """

    name: str
    entry: int
    time: float
    is_rising: bool
    residual: float
    params: Params


@dataclass(frozen=True)
class Trajectory:
    """One solution of a flow.

    Attributes:
        times: flow times of the rows, ``(k,)``; decreasing for backward integration.
        params: a pytree like the start with a leading axis of length k.
        start, endpoint: the state at time 0 and the last one reached, at flow time `end_time`.
        dissipated: ``int_0^t ||grad L||^2 ds`` at the rows, with the solver's own weights on every accepted
            step; along an exact gradient flow it equals ``L(0) - L(t)``.
        largest_norm: ``max ||params||`` over all accepted steps, saved or not.
        status: why the integration stopped.
        num_steps: attempted steps, ``num_accepted + num_rejected``.
        solver: name of the solver that finished; `solver_reason` says why it was chosen.
        rtol, atol, grad_tol, t1: what was asked for (`grad_tol` is the gradient norm at which the stop test begins).
        remaining: estimate of the distance to the limit at the end (None when it was not estimated).
        passages: stays near saddles.
        wall_seconds: duration from a monotonic clock, compilation included.
        num_crossings: how often a unit's preactivation on a sample (or on several on one line through the origin)
            passed a kink of the activation; None when no kinks were looked for, as for landscapes.
        num_slides: how often it began to stay on a kink because both sides push towards it; None likewise.
        num_ambiguous: how often more than one solution goes on from there; None likewise.
        switch_times: flow times of these events and of the ends of slides, the first ten thousand.
        events: the events asked for that were met, in order of time.
    """

    times: Float[np.ndarray, " k"]
    params: Params
    start: Params
    endpoint: Params
    end_time: float
    dissipated: Float[np.ndarray, " k"]
    largest_norm: float
    status: Status
    num_accepted: int
    num_rejected: int
    solver: str
    solver_reason: str
    rtol: float
    atol: float
    grad_tol: float
    t1: float
    remaining: float | None
    passages: tuple[Passage, ...]
    wall_seconds: float
    num_crossings: int | None = None
    num_slides: int | None = None
    num_ambiguous: int | None = None
    switch_times: tuple[float, ...] = ()
    events: tuple[Occurrence, ...] = ()

    @property
    def num_steps(self) -> int:
        """Attempted steps."""
        return self.num_accepted + self.num_rejected

    @property
    def is_loose(self) -> bool:
        """True when the tolerances asked for leave no digit to rely on."""
        return self.rtol >= checks.LOOSE_RTOL or self.atol > checks.LOOSE_RTOL * self.largest_norm > 0

    def __repr__(self) -> str:
        return f"Trajectory({self}, {len(self.times)} rows)"

    def __str__(self) -> str:
        kinks = f", {self.kinks}" if self.kinks else ""
        return (
            f"{self.status} at t = {self.end_time:.6g} after {self.num_accepted} steps "
            f"({self.num_rejected} rejected) with {self.solver}{kinks}"
        )

    @property
    def kinks(self) -> str:
        """How many kinks were crossed and slid on, in words; empty when none were looked for."""
        if self.num_crossings is None:
            return ""
        counts = ((self.num_crossings, "crossing"), (self.num_slides or 0, "slide"))
        crossed, slid = (f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
        doubt = f" ({self.num_ambiguous} ambiguous)" if self.num_ambiguous else ""
        return f"{crossed} and {slid} at kinks{doubt}"
