"""Integration of one initial value problem to its end: the host loop around the compiled steps.

:func:`integrate` checks the call, then alternates chunks of compiled adaptive steps (:mod:`gradflow.solvers.stepping`)
with the stop test (:mod:`gradflow.stopping`), keeps the rows that were asked for, shows progress after two seconds, and
turns every numerical outcome, Ctrl-C included, into a status. Where the kinks of a flow are known it goes from smooth
piece to smooth piece (:mod:`gradflow.kinks`). It knows nothing of invariants, certificates or kinds of critical points.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import diffrax
import jax
import numpy as np
import scipy.linalg
from tqdm import tqdm

from gradflow import checks, curvature
from gradflow.calls import Context
from gradflow.events import Event, Locator, as_events, standing_at
from gradflow.flow import AbstractFlow, check_field
from gradflow.kinks import KinkLog, first_piece, has_pieces, is_within, next_piece
from gradflow.precision import as_arrays, in_double, on_device, require_concrete
from gradflow.recording import Rows, checked_save_at
from gradflow.solvers import is_always_stable
from gradflow.solvers.automatic import AutomaticChoice
from gradflow.solvers.costs import factorised_step_cost
from gradflow.solvers.flat import FlatFlow, Layout
from gradflow.solvers.methods import locating_method, method_of
from gradflow.solvers.registry import num_parameters, takes_flat_states
from gradflow.solvers.states import Facts, Limits, State
from gradflow.solvers.stepping import MAX_REJECTS, advance, resume, start
from gradflow.status import Status
from gradflow.stopping import Look, Watch
from gradflow.trajectories import Occurrence, Trajectory
from gradflow.types import Params

MAX_IDLE = 3
"""Chunks without one attempted step after which a run is stuck: its step size is no number, or zero."""

LONGEST_TIME = 1e150
"""Flow time at which a run without a horizon ends as if it had one."""

LARGEST_NORM = 1e150
"""Norm beyond which a trajectory has escaped whatever was asked for: its square is hardly a number."""

ROUTINE_LOOK = 512
"""Steps, or parameters if these are more, after which it is asked, unprompted, whether the flow has ended; doubled."""

DEFAULT_RTOL = 1e-8
DEFAULT_ATOL = 1e-10
DEFAULT_MAX_STEPS = 1_000_000


@in_double
def integrate(
    flow: AbstractFlow,
    params0: Params,
    t1: float = math.inf,
    *,
    rtol: float = DEFAULT_RTOL,
    atol: float = DEFAULT_ATOL,
    solver: str | diffrax.AbstractSolver = "auto",
    grad_tol: float | None = None,
    max_norm: float | None = None,
    max_steps: int = DEFAULT_MAX_STEPS,
    save_at: Any = None,
    events: Sequence[Event] | Event = (),
    progress: bool = True,
) -> Trajectory:
    """The trajectory of `flow` from `params0` to the horizon, or until the flow has truly ended.

    Args:
        flow: a :class:`~gradflow.flow.GradientFlow` or :class:`~gradflow.flow.ReducedFlow` (start in its coordinates).
        params0: the start, a pytree like the problem's parameters.
        t1: horizon in flow time (dimensionless). ``inf``: until stationary, escaped or out of steps (or, for a flow
            that creeps to infinity as slowly as a logarithm, until :data:`LONGEST_TIME`). Negative:
            backward integration (for stable manifolds) to that time, without a stop test.
        rtol, atol: local error per step and entry: ``atol + rtol * |y|``.
        solver: a name of :data:`gradflow.solvers.SOLVER_NAMES` or a diffrax solver object.
        grad_tol: gradient norm below which the flow counts as ended (unless the point is an unstable one that is being
            passed). Default: chosen from the problem's scale, then lowered until the remaining distance to the limit is
            below ``min(rtol, 1e-4) * ||params|| + atol``.
        max_norm: norm beyond which the trajectory counts as escaped; default 1e4 times the largest of 1,
            ``||params0||`` and the norm of a minimiser where one is known.
        max_steps: attempted steps.
        save_at: times to save at, increasing and inside [0, t1], hit exactly. Times after the flow has ended hold the
            endpoint, which is the limit to tolerance. Default: accepted steps, thinned evenly to at most some thousand.
        events: a place to locate on the way, or several, see :mod:`gradflow.events`; the states there are in
            `trajectory.events`, to the solver's order. A terminal one ends the run there with status ``event``.
        progress: show a progress line on a terminal after two seconds.

    Returns:
        A frozen :class:`~gradflow.trajectories.Trajectory`; look at its `status`. A failed solve is never an exception.

    Accuracy: endpoints of smooth problems are right to 1-100 times rtol; conserved quantities drift by 1-5 times that
    error. Explicit steps are capped by the stability limit, so that the gradient can fall far below rtol.

    Kinks: for the gradient flow of a :class:`~gradflow.networks.Shallow` network with a ReLU-like hidden layer and a
    smooth output the result is a solution in the sense of Filippov. Every change of activation is located to rounding;
    there the run crosses, or slides along the kink while both sides push towards it, and the trajectory counts both.
    A point where 0 is in Clarke's subdifferential is stationary. Kinks of other networks, of landscapes, losses and
    flows of the user's own are not known: there the solver crawls and ends in ``step_limit`` or ``stalled``.

    Raises:
        InputError: a wrong call: non-finite or single-precision start, tolerances, horizon, save times, solver, or a
            vector field of other shapes than the start.
    """
    clock = time.monotonic()
    checks.require(isinstance(flow, AbstractFlow), "flow", "be a flow", type(flow).__name__,
                   "Wrap the problem: gradflow.GradientFlow(problem).")  # fmt: skip
    require_concrete("integrate", flow, params0, t1)
    rtol, atol = checks.tolerances(rtol, atol)
    t1 = checks.real("t1", t1, infinite=True)
    checks.require(t1 not in (0.0, -math.inf), "t1", "be nonzero and not -inf", t1, "Backward runs need a horizon.")
    in_range = t1 == math.inf or 1.0 / LONGEST_TIME <= abs(t1) <= LONGEST_TIME
    checks.require(in_range, "t1", f"be between {1 / LONGEST_TIME:g} and {LONGEST_TIME:g}, or inf", t1)
    params0 = as_arrays(params0, rtol)
    max_steps = checks.integer("max_steps", max_steps)
    size = float(scipy.linalg.norm(curvature.raveled(params0)[0]))
    scale = max(1.0, size, flow.problem.minimiser_norm or 0.0)
    max_norm = 1e4 * scale if max_norm is None else checks.real("max_norm", max_norm, above=0.0, infinite=True)
    checks.require(max_norm > size, "max_norm", "be larger than the norm of the start", max_norm, f"It is {size:.6g}.")
    checks.atol_for_scale(atol, scale)
    check_field(flow, params0)
    flow = on_device(flow.compact())
    times, events = checked_save_at(save_at, t1), as_events(events)
    run = _Run(flow, params0, t1, rtol, atol, solver, grad_tol, max_norm, max_steps, times, events)
    status = run.until_done(progress)
    return run.trajectory(status, time.monotonic() - clock)


class _Run:
    """The mutable middle of :func:`integrate`; it never leaves this module."""

    def __init__(
        self, flow: AbstractFlow, params0: Params, t1: float, rtol: float, atol: float,
        solver: str | diffrax.AbstractSolver, grad_tol: float | None, max_norm: float, max_steps: int,
        save_at: np.ndarray | None, events: Sequence[Event] = (),
    ) -> None:  # fmt: skip
        self.flow, self.params0, self.t1, self.rtol, self.atol = flow, params0, t1, rtol, atol
        self.horizon = min(abs(t1), LONGEST_TIME)
        self.max_norm, self.max_steps, self.save_at = min(max_norm, LARGEST_NORM), max_steps, save_at
        self.direction = 1.0 if t1 > 0 else -1.0
        self.has_kinks = has_pieces(flow)
        self.set_method(solver)
        self.switch, self.log = None, KinkLog()
        self.layout: Layout | None = None
        self.running = flow
        if self.has_kinks and _is_finite(flow.vector_field(params0)):
            self.switch = first_piece(flow, params0, self.direction)
            self.flow = self.running = self.switch.piece
            params0, self.log = self.switch.params, self.log.begun(self.switch)
        elif takes_flat_states(solver) and not self.has_kinks:
            self.layout = Layout.of(params0)
            self.running, params0 = FlatFlow(flow, self.layout), curvature.raveled(params0)[0]
        self.rows = Rows(self.params0, save_at, self.unravel)
        self.locator = Locator(events, self.layout, params0) if len(events) else None
        self.events: list[Occurrence] = []
        self.used, self.idle = 0, 0
        self._plan_routine_look(max(ROUTINE_LOOK, num_parameters(self.params0)))
        self._begin(params0, 0.0, 0.0)
        self.choice, self.reason = None, "asked for"
        if isinstance(solver, str) and solver == "auto":
            size = num_parameters(self.params0)
            cost = lambda: factorised_step_cost(self.running, self.state.params)  # noqa: E731
            self.choice = AutomaticChoice(self.facts, size, self.rtol, self.has_kinks, cost)
            self.reason = self.choice.reason
        self.length = getattr(flow.problem, "weight_scale", 1.0)
        self.watch = self._first_watch(grad_tol)

    def set_method(self, solver: str | diffrax.AbstractSolver) -> None:
        """From now on, steps are taken with this solver."""
        self.method = method_of(solver, self.rtol, self.atol, self.direction, self.has_kinks)

    def unravel(self, params: Params) -> Params:
        """Parameters of what the steps run on, leading axes kept."""
        return params if self.layout is None else self.layout.unravel(params)

    @property
    def params(self) -> Params:
        """The parameters reached, as NumPy arrays."""
        return self.unravel(jax.tree.map(np.asarray, self.state.params))

    def _begin(self, params: Params, time: float, step: float) -> None:
        """Sets out with the present flow and method."""
        self.context = Context((self.running, self.method))
        self._take(*start(self.context, params, time, step))

    def _take(self, state: State, facts: Any) -> None:
        self.state, self.facts = state, Facts(*np.asarray(facts).tolist())

    def _first_watch(self, grad_tol: float | None) -> Watch:
        if grad_tol is not None:
            self.scale = 1.0
            level = checks.real("grad_tol", grad_tol, above=0.0)
        else:
            self.scale = self.flow.problem.gradient_scale or 0.0
            level = min(max(1e-6, 100 * self.rtol), 1e-4) if is_always_stable(self.method.solver) else 1e-6
        return Watch(quiet_below=level, first=level, rtol=self.rtol, atol=self.atol, fixed=grad_tol is not None)

    def until_done(self, progress: bool) -> Status:
        """Chunks and looks until something ends the run."""
        if not (math.isfinite(self.facts.loss) and math.isfinite(self.facts.grad_norm)):
            return Status.NONFINITE
        if self.facts.grad_norm == 0.0:
            self.watch = self.watch.look(self._look(self._model()))
            return Status.STATIONARY
        bar = tqdm(disable=None if progress else True, delay=2, unit=" steps", leave=False, desc="integrating")
        try:
            with bar:
                while True:
                    status = self._chunk()
                    self._show(bar)
                    if status is not None:
                        return status
        except KeyboardInterrupt:
            return Status.INTERRUPTED

    def _chunk(self) -> Status | None:
        begin, before = self.state, self.facts
        self._take(*advance(self.context, begin, self._limits(), self.rows.next_stops(self.horizon)))
        facts = self.facts
        tried = int(facts.num_accepted + facts.num_rejected)
        self.idle = self.idle + 1 if tried == self.used else 0
        self.used = tried
        count = int(facts.num_accepted - before.num_accepted)
        if self.locator is not None and self._meets_end(self.locator, begin, before, count):
            return Status.EVENT
        self.rows.take(self.state, count)
        if facts.has_left:
            self._switch()
            facts = self.facts
        now = abs(facts.time)
        if facts.norm > self.max_norm:
            return Status.ESCAPED
        is_stuck = facts.rejects >= MAX_REJECTS or facts.step <= 4e-16 * now or self.idle >= MAX_IDLE
        if is_stuck or self.log.is_crowded:
            return Status.STALLED if _is_finite(self.flow.vector_field(self.params)) else Status.NONFINITE
        if self.direction > 0:
            self._stop_test(now)
            if self.watch.ended:
                return Status.STATIONARY
        if now >= self.horizon:  # beyond a wall of a logarithm the gradient is finite and the loss is not
            return Status.HORIZON if math.isfinite(facts.loss) else Status.NONFINITE
        if self.used >= self.max_steps:
            return Status.STEP_LIMIT
        self._consider_method()
        return None

    def _meets_end(self, locator: Locator, begin: State, before: Facts, count: int) -> bool:
        """Notes the events of the last chunk; True when one of them ends the run, which then stands there."""
        method = locating_method(self.method, self.rtol, self.atol)
        located = locator.found(self.running, method, begin, self.state, count)
        self.events += [one.occurrence for one in located]
        if not located or not located[-1].is_terminal:
            return False
        self.rows.take(self.state, located[-1].index)
        self.state, self.facts = standing_at(self.state, before, self.facts, located[-1])
        return True

    def _switch(self) -> None:
        """On to the next piece, from the surface on which the present one has ended."""
        assert self.switch is not None
        self.switch = next_piece(self.switch, self.state.params)
        self.log = self.log.then(self.switch, self.facts.time, self.facts.step)
        self.flow = self.running = self.switch.piece
        self.context = Context((self.running, self.method))
        self._take(*resume(self.context, self.state, self.switch.params))

    def _stop_test(self, now: float) -> None:
        grad_norm, is_quiet = self.facts.grad_norm, self.facts.quiet >= self.watch.quiet_steps
        if self.watch.is_passing:
            if grad_norm > self.watch.loud_above:
                self.watch = self.watch.leave(now)
            elif self.watch.is_due(now, grad_norm) or is_quiet:
                self._look_now()
        elif is_quiet:
            self._look_now()
        elif self.used >= self.routine_look:
            self._plan_routine_look(2 * self.routine_gap)
            model = self._model()
            if not model.least_distance > self.watch.tolerance(max(self.facts.norm, self.length)):
                self.watch = self.watch.look_in_passing(self._look(model))

    def _plan_routine_look(self, gap: int) -> None:
        self.routine_gap, self.routine_look = gap, self.used + gap

    def _look_now(self) -> None:
        self.watch = self.watch.look(self._look(self._model()))
        self.state = dataclasses.replace(self.state, quiet=np.zeros((), np.int64))
        self.facts = self.facts._replace(quiet=0.0)

    def _model(self) -> curvature.QuadraticModel:
        with np.errstate(over="ignore", invalid="ignore"):  # far out; what is not finite there ends the run by name
            return curvature.quadratic_model(self.flow.problem, self.params)

    def _look(self, model: curvature.QuadraticModel) -> Look:
        problem, params, facts, size = self.flow.problem, self.params, self.facts, max(self.facts.norm, self.length)
        with np.errstate(over="ignore", invalid="ignore"):
            ends = curvature.look_ahead(problem, params, model, size)
            is_kept = self.switch is None or is_within(self.switch, params, model.newton)
        now = abs(facts.time)
        return Look(
            time=now,
            loss=model.loss,
            grad_norm=facts.grad_norm,
            scale=self.scale or facts.peak,
            noise=model.noise,
            size=size,
            lowest=ends.lowest,
            highest=ends.highest,
            resolution=ends.resolution,
            distance=model.distance if is_kept else math.inf,
            creep=model.creep((now - abs(facts.loud_time)) / math.log(10)),
            offset=ends.offset,
        )

    def _limits(self) -> np.ndarray:
        watch = self.watch
        limits = Limits(
            max_step=watch.max_step,
            max_norm=self.max_norm,
            quiet_below=watch.quiet_below if self.direction > 0 else -1.0,
            scale=self.scale,
            loud_above=min(watch.loud_above, 10 * watch.last_grad_norm),
            max_steps=self.max_steps,
            quiet_steps=watch.quiet_steps,
            capped_steps=math.inf if self.choice is None else self.choice.capped_steps,
        )
        return np.array(limits, float)

    def _consider_method(self) -> None:
        """Goes on with another solver where the facts speak for it; see :mod:`gradflow.solvers.choosing`."""
        facts = self.facts
        level = 0.1 * self.watch.quiet_below * (self.scale or facts.peak)
        horizon = math.inf if math.isinf(self.t1) else self.horizon - abs(facts.time)
        if self.choice is None or not self.choice.is_changed(facts, level, horizon):
            return
        self.set_method(self.choice.name)
        self.reason, old = self.choice.reason, self.state
        self._begin(old.params, facts.time, facts.step)
        self.state = self.state.carry_on(old)
        self.facts = facts._replace(step=self.facts.step, quiet=0.0, rejects=0.0)
        self._plan_routine_look(max(ROUTINE_LOOK, num_parameters(self.params0)))
        self.rows.restart()

    def _show(self, bar: tqdm) -> None:
        bar.update(self.used - bar.n)
        bar.set_postfix_str(f"t = {abs(self.facts.time):.3g}, |grad| = {self.facts.grad_norm:.2e}", refresh=False)

    def trajectory(self, status: Status, seconds: float) -> Trajectory:
        """The frozen result."""
        facts = self.facts
        times, params, dissipated = self.rows.finish(self.state, facts, fill=status is Status.STATIONARY)
        return Trajectory(
            times=times,
            params=params,
            start=jax.tree.map(np.asarray, self.params0),
            endpoint=self.params,
            end_time=facts.time,
            dissipated=dissipated,
            largest_norm=facts.largest_norm,
            status=status,
            num_accepted=int(facts.num_accepted),
            num_rejected=int(facts.num_rejected),
            solver=type(self.method.solver).__name__,
            solver_reason=self.reason,
            rtol=self.rtol,
            atol=self.atol,
            grad_tol=self.watch.first * (self.scale or facts.peak),
            t1=self.t1,
            remaining=self.watch.remaining,
            passages=self.watch.finish(),
            wall_seconds=seconds,
            num_crossings=self.log.num_crossings if self.switch is not None else None,
            num_slides=self.log.num_slides if self.switch is not None else None,
            num_ambiguous=self.log.num_ambiguous if self.switch is not None else None,
            switch_times=self.log.times,
            events=tuple(self.events),
        )


def _is_finite(tree: Params) -> bool:
    return all(bool(np.all(np.isfinite(leaf))) for leaf in jax.tree.leaves(tree))
