"""When has a flow truly ended? The stop test of the integrator, as a state machine without any solver in it.

A small gradient is not a critical point, and a critical point is not a minimum. The test therefore (1) waits for a
gradient small against a scale of the problem over several accepted steps, (2) looks at the Hessian there: a point with
a significantly negative eigenvalue is being passed, not reached, and the run goes on until it is left or until longer
was waited than rounding needs to leave any unstable point; (3) otherwise asks how far the limit still is (by the
quadratic model, and by how slowly it comes nearer) and lowers its threshold until that is below the solver's
tolerance. A trajectory that creeps to infinity never passes (3): its limit stays as far as the trajectory's own scale.
"""

import math
from dataclasses import dataclass, field, replace

from gradflow.trajectories import Passage

PATIENCE = 60.0
"""Dwell in units of 1/|lowest eigenvalue| after which a saddle is where the run ended; rounding leaves after 36."""

FIRST_DWELL = 5.0
"""Dwell in the same units after which a point being passed is looked at again; doubled with every look."""

DEGENERATE = 1e-5
"""Spectral radius, as a fraction of the largest met, below which leaving takes longer than anybody waits."""

NEAR = 1e-4
"""Distance to the limit, per length scale of the parameters, at which a flow has ended at the latest."""

QUIET_STEPS = 3
"""Accepted steps with a quiet gradient before the first look."""

DEEPEST = 1e3
"""Factor by which the gradient is awaited to fall, at most, between two looks; at least :data:`SHALLOWEST`."""

SHALLOWEST = 10.0

MANY_STEPS = 512
"""Largest number of them between looks at a gradient that is hidden by rounding."""


@dataclass(frozen=True)
class Look:
    """What the Hessian and the recent past say at a quiet point.

    `scale` is the gradient norm that counts as large, `noise` the one that rounding alone can make, `size` the length
    scale of the parameters, `resolution` the size below which an eigenvalue cannot be told from zero, `distance` the
    distance to the limit by the quadratic model, `creep` the gradient norm beyond rounding times the time it took to
    fall by the last factor of ten, `offset` the distance from the stable manifold of an unstable point (NaN when not
    computed).
    """

    time: float
    loss: float
    grad_norm: float
    scale: float
    noise: float
    size: float
    lowest: float
    highest: float
    resolution: float
    distance: float
    creep: float
    offset: float = math.nan

    @property
    def remaining(self) -> float:
        """Estimate of the distance to the limit: a flow that creeps along a flat valley is far from it."""
        return max(self.distance, self.creep)

    @property
    def radius(self) -> float:
        """Spectral radius of the Hessian."""
        return max(abs(self.lowest), abs(self.highest))

    @property
    def is_unstable(self) -> bool:
        """True when the lowest eigenvalue is negative by more than the distance to the limit can explain."""
        return self.lowest < -min(self.resolution, 0.25 * self.radius)


@dataclass(frozen=True)
class Watch:
    """The state of the stop test. Pure: each method returns the next state.

    `quiet_below` is the gradient, as a fraction of its scale, that triggers a look (`first` its initial value) after
    `quiet_steps` accepted steps; `loud_above` the gradient norm at which a passed point counts as left; `max_step` the
    largest step that still resolves the instability of the point being passed; `fixed` means that the user set the
    level.
    """

    quiet_below: float
    first: float
    rtol: float
    atol: float
    fixed: bool
    quiet_steps: int = QUIET_STEPS
    loud_above: float = math.inf
    max_step: float = math.inf
    passing_since: float | None = None
    lowest_look: Look | None = None
    last_grad_norm: float = math.inf
    next_dwell: float = FIRST_DWELL
    largest_radius: float = 0.0
    passages: tuple[Passage, ...] = field(default=())
    ended: bool = False
    remaining: float | None = None

    @property
    def is_passing(self) -> bool:
        """True while the trajectory stays near a point that the Hessian calls unstable."""
        return self.passing_since is not None

    def look(self, look: Look) -> "Watch":
        """The next state after a look at a quiet point."""
        watch = replace(self, largest_radius=max(self.largest_radius, look.radius))
        if look.grad_norm == 0.0:
            return (watch.leave(look.time) if watch.is_passing and not look.is_unstable else watch)._end(look)
        if look.is_unstable:
            return watch._pass(look)
        if watch.is_passing:
            watch = watch.leave(look.time)
        if self.fixed or look.remaining <= self.tolerance(look.size):
            return watch._end(look)
        return watch._wait(look)

    def look_in_passing(self, look: Look) -> "Watch":
        """The next state after a look that no quiet gradient asked for: it may end the run and does nothing else."""
        is_at_end = not look.is_unstable and look.remaining <= self.tolerance(look.size)
        return self._end(look) if is_at_end and not self.fixed else self

    def is_due(self, time: float, grad_norm: float) -> bool:
        """While a point is being passed: look again when the gradient has changed tenfold, or after a longer stay."""
        assert self.lowest_look is not None and self.passing_since is not None
        dwell = (time - self.passing_since) * abs(self.lowest_look.lowest)
        is_changed = not 0.1 * self.last_grad_norm <= grad_norm <= 10 * self.last_grad_norm
        return grad_norm == 0.0 or is_changed or dwell >= self.next_dwell

    def _wait(self, look: Look) -> "Watch":
        """Wait for the gradient at which the limit may be near enough, or, where rounding hides it, for more steps.

        The distance to the limit falls no faster than the gradient, whose last part lies in the flattest direction.
        """
        if look.grad_norm > 10 * look.noise:
            excess = look.remaining / self.tolerance(look.size)
            factor = min(max(excess, SHALLOWEST), DEEPEST) if math.isfinite(excess) else SHALLOWEST
            level = max(look.grad_norm / factor, 2 * look.noise)
            return replace(self, quiet_below=level / look.scale, quiet_steps=QUIET_STEPS)
        level = 10 * max(look.grad_norm, look.noise)
        return replace(self, quiet_below=level / look.scale, quiet_steps=min(2 * self.quiet_steps, MANY_STEPS))

    def leave(self, time: float) -> "Watch":
        """The next state after the gradient has grown again: the passage is recorded, the test starts anew."""
        return replace(
            self,
            passages=(*self.passages, self._passage(time)),
            quiet_below=self.first,
            loud_above=math.inf,
            max_step=math.inf,
            quiet_steps=QUIET_STEPS,
            passing_since=None,
            lowest_look=None,
            last_grad_norm=math.inf,
            next_dwell=FIRST_DWELL,
        )

    def finish(self) -> tuple[Passage, ...]:
        """All passages, the one still going on included (its end is None)."""
        return (*self.passages, self._passage(None)) if self.is_passing else self.passages

    def _pass(self, look: Look) -> "Watch":
        since = look.time if self.passing_since is None else self.passing_since
        quietest = look
        if self.lowest_look is not None and self.lowest_look.grad_norm < look.grad_norm:
            quietest = self.lowest_look
        watch = replace(
            self,
            passing_since=since,
            lowest_look=quietest,
            last_grad_norm=look.grad_norm,
            next_dwell=min(2 * max(self.next_dwell, (look.time - since) * abs(look.lowest)), PATIENCE),
            max_step=0.5 / abs(look.lowest),
            # Leaving means growing past the threshold again, or far past the quietest point that was seen.
            loud_above=10 * max(self.first * look.scale, look.grad_norm),
            quiet_below=0.1 * look.grad_norm / look.scale,
            quiet_steps=QUIET_STEPS,
        )
        return watch._end(look) if watch._has_waited(look) or watch._is_degenerate(look) else watch

    def _has_waited(self, look: Look) -> bool:
        """Longer than rounding needs to leave, and without leaving: the offset has not become more than rounding."""
        assert self.passing_since is not None
        is_leaving = look.offset > self.tolerance(look.size)
        return not is_leaving and (look.time - self.passing_since) * abs(look.lowest) >= PATIENCE

    def _is_degenerate(self, look: Look) -> bool:
        """The whole Hessian has all but vanished together with the gradient."""
        return look.radius <= DEGENERATE * self.largest_radius and look.grad_norm <= 1e-6 * self.first * look.scale

    def tolerance(self, size: float) -> float:
        """Distance to the limit at which a flow whose parameters have that length scale has ended."""
        return min(self.rtol, NEAR) * size + self.atol

    def _end(self, look: Look) -> "Watch":
        return replace(self, ended=True, remaining=look.remaining)

    def _passage(self, end: float | None) -> Passage:
        assert self.lowest_look is not None and self.passing_since is not None
        quietest = self.lowest_look
        offset = quietest.offset
        resolved = None if math.isnan(offset) else offset > self.tolerance(quietest.size)
        return Passage(
            self.passing_since, end, quietest.loss, quietest.lowest, quietest.grad_norm, offset, resolved
        )  # fmt: skip
