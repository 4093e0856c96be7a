"""Integration of one initial value problem to its end: the host loop around the compiled steps.

:func:`integrate` checks the call, then alternates chunks of compiled adaptive steps (:mod:`gradflow.solvers.stepping`)
with the stop test (:mod:`gradflow.stopping`), keeps the rows that were asked for, shows progress after two seconds, and
turns every numerical outcome, Ctrl-C included, into a status. Where the kinks of a flow are known it goes from smooth
piece to smooth piece (:mod:`gradflow.kinks`). It knows nothing of invariants, certificates or kinds of critical points.
"""

import math
import time
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from gradflow import checks, curvature
from gradflow.flow import AbstractFlow
from gradflow.kinks import KinkLog, first_piece, has_pieces, is_within, next_piece
from gradflow.precision import as_params, in_double, require_concrete
from gradflow.recording import Rows
from gradflow.solvers import StabilityCap, is_implicit, make_solver, real_stability_limit
from gradflow.solvers.registry import num_parameters
from gradflow.solvers.step_control import norm
from gradflow.solvers.stepping import MAX_REJECTS, Limits, Method, State, advance, resume, start
from gradflow.status import Status
from gradflow.stopping import Look, Watch
from gradflow.trajectories import Trajectory
from gradflow.types import Params

MAX_IDLE = 3
"""Chunks without one attempted step after which a run is stuck: its step size is no number, or zero."""

LONGEST_TIME = 1e150
"""Flow time at which a run without a horizon ends as if it had one."""

LARGEST_NORM = 1e150
"""Norm beyond which a trajectory has escaped whatever was asked for: its square is hardly a number any more."""

ROUTINE_LOOK = 512
"""Steps after which it is asked whether the flow has ended although no gradient was quiet enough; doubled each time."""

DEFAULT_RTOL = 1e-8
DEFAULT_ATOL = 1e-10
DEFAULT_MAX_STEPS = 1_000_000

STIFF_AFTER = 5_000
"""Stability-limited steps after which `solver="auto"` changes to an implicit solver."""

STIFF_CHEAP_PARAMETERS = 100
"""Number of parameters above which it waits longer, in proportion to the cost of an implicit step."""

STIFF_MAX_PARAMETERS = 500
"""Largest number of parameters for which it does: an implicit step factorises an n x n matrix."""


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
    params0 = as_params(params0, rtol)
    max_steps = checks.integer("max_steps", max_steps)
    size = float(norm(params0))
    scale = max(1.0, size, flow.problem.minimiser_norm or 0.0)
    max_norm = 1e4 * scale if max_norm is None else checks.real("max_norm", max_norm, above=0.0, infinite=True)
    checks.require(max_norm > size, "max_norm", "be larger than the norm of the start", max_norm, f"It is {size:.6g}.")
    checks.atol_for_scale(atol, scale)
    _check_field(flow, params0)
    flow = jax.tree.map(_on_device, flow.compact())
    run = _Run(flow, params0, t1, rtol, atol, solver, grad_tol, max_norm, max_steps, checked_save_at(save_at, t1))
    status = run.until_done(progress)
    return run.trajectory(status, time.monotonic() - clock)


def checked_save_at(save_at: Any, t1: float) -> np.ndarray | None:
    """Save times as a float64 array in the order of integration.

    Raises:
        InputError: unsorted, duplicate, or outside [0, t1].
    """
    if save_at is None:
        return None
    times = checks.finite_array("save_at", np.atleast_1d(save_at), ndim=1)
    forward = times * np.sign(t1)
    checks.require(bool(np.all(np.diff(forward) > 0)), "save_at", "be sorted from 0 towards t1 without duplicates",
                   times.tolist()[:6])  # fmt: skip
    checks.require(forward[0] >= 0 and forward[-1] <= abs(t1), "save_at", f"lie inside [0, {t1:g}]",
                   f"[{times.min():g}, {times.max():g}]")  # fmt: skip
    return times


def _check_field(flow: AbstractFlow, params0: Params) -> None:
    """The field has the shapes of the parameters: otherwise broadcasting would move all of them by one number."""
    shapes = jax.tree.map(jnp.shape, params0)
    found = jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(flow.vector_field, params0))
    checks.require(found == shapes, "flow", f"have a vector field of the start's shapes {shapes}", found)


class _Run:
    """The mutable middle of :func:`integrate`; it never leaves this module."""

    def __init__(
        self, flow: AbstractFlow, params0: Params, t1: float, rtol: float, atol: float,
        solver: str | diffrax.AbstractSolver, grad_tol: float | None, max_norm: float, max_steps: int,
        save_at: np.ndarray | None,
    ) -> None:  # fmt: skip
        self.flow, self.params0, self.t1, self.rtol, self.atol = flow, params0, t1, rtol, atol
        self.horizon = min(abs(t1), LONGEST_TIME)
        self.max_norm, self.max_steps, self.save_at = min(max_norm, LARGEST_NORM), max_steps, save_at
        self.direction = 1.0 if t1 > 0 else -1.0
        self.automatic = solver == "auto"
        self.method = _method(make_solver(solver, rtol, atol), rtol, atol, self.direction)
        self.reason = "explicit order 5, the default" if self.automatic else "asked for"
        start_value = flow.problem.loss(params0)
        self.finite_start = bool(np.isfinite(start_value)) and _is_finite(flow.vector_field(params0))
        self.rows = Rows(params0, save_at)
        self.switch, self.log = None, KinkLog()
        if self.finite_start and has_pieces(flow):
            self.switch = first_piece(flow, params0, self.direction)
            self.flow, params0 = self.switch.piece, self.switch.params
            self.log = self.log.begun(self.switch)
        self.capped_before, self.used, self.idle = 0, 0, 0
        self._plan_routine_look(ROUTINE_LOOK)
        self.state: State = start(self.flow, self.method, params0, jnp.zeros(()), None)
        self.length = getattr(flow.problem, "weight_scale", 1.0)
        self.watch = self._first_watch(grad_tol)

    def _first_watch(self, grad_tol: float | None) -> Watch:
        if grad_tol is not None:
            self.scale = 1.0
            level = checks.real("grad_tol", grad_tol, above=0.0)
        else:
            self.scale = self.flow.problem.gradient_scale or 0.0
            level = min(max(1e-6, 100 * self.rtol), 1e-4) if is_implicit(self.method.solver) else 1e-6
        return Watch(quiet_below=level, first=level, rtol=self.rtol, atol=self.atol, fixed=grad_tol is not None)

    def until_done(self, progress: bool) -> Status:
        """Chunks and looks until something ends the run."""
        if not self.finite_start:
            return Status.NONFINITE
        if float(self.state.grad_norm) == 0.0:
            self.watch = self.watch.look(self._look())
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
        target = self.rows.next_stop(self.horizon)
        before = int(self.state.num_accepted)
        self.state = advance(self.flow, self.method, self.state, self._limits(target))
        state = self.state
        tried = int(state.num_accepted + state.num_rejected)
        self.idle = self.idle + 1 if tried == self.used else 0
        self.used = tried
        self.rows.take(state, int(state.num_accepted) - before)
        if bool(state.has_left):
            self._switch()
            state = self.state
        now = abs(float(state.time))
        size = float(norm(state.params))
        if size > self.max_norm:
            return Status.ESCAPED
        is_stuck = int(state.rejects) >= MAX_REJECTS or float(state.step) <= 4e-16 * now or self.idle >= MAX_IDLE
        if is_stuck or self.log.is_crowded:
            return Status.STALLED if _is_finite(self.flow.vector_field(state.params)) else Status.NONFINITE
        if self.direction > 0:
            self._stop_test(now)
            if self.watch.ended:
                return Status.STATIONARY
        if now >= self.horizon:
            return Status.HORIZON
        if self.used >= self.max_steps:
            return Status.STEP_LIMIT
        self._consider_stiffness()
        return None

    def _switch(self) -> None:
        """On to the next piece, from the surface on which the present one has ended."""
        assert self.switch is not None
        old = self.state
        self.switch = next_piece(self.switch, old.params)
        self.log = self.log.then(self.switch, float(old.time), float(old.step))
        self.flow = self.switch.piece
        self.state = resume(self.flow, self.method, old, self.switch.params)

    def _stop_test(self, now: float) -> None:
        grad_norm = float(self.state.grad_norm)
        if self.watch.is_passing:
            if grad_norm > self.watch.loud_above:
                self.watch = self.watch.leave(now)
            elif self.watch.is_due(now, grad_norm) or int(self.state.quiet) >= self.watch.quiet_steps:
                self._look_now()
        elif int(self.state.quiet) >= self.watch.quiet_steps:
            self._look_now()
        elif self.used >= self.routine_look:
            self._plan_routine_look(2 * self.routine_gap)
            self.watch = self.watch.look_in_passing(self._look())

    def _plan_routine_look(self, gap: int) -> None:
        self.routine_gap, self.routine_look = gap, self.used + gap

    def _look_now(self) -> None:
        self.watch = self.watch.look(self._look())
        self.state = _reset_quiet(self.state)

    def _look(self) -> Look:
        problem, params = self.flow.problem, self.state.params
        size = max(float(norm(params)), self.length)
        with np.errstate(over="ignore", invalid="ignore"):  # far out; what is not finite there ends the run by name
            model = curvature.quadratic_model(problem, params)
            ends = curvature.look_ahead(problem, params, model, size)
            is_kept = self.switch is None or is_within(self.switch, params, model.newton)
        time_now = abs(float(self.state.time))
        return Look(
            time=time_now,
            loss=float(problem.loss(params)),
            grad_norm=float(self.state.grad_norm),
            scale=self.scale or float(self.state.peak),
            noise=model.noise,
            size=size,
            lowest=ends.lowest,
            highest=ends.highest,
            resolution=ends.resolution,
            distance=model.distance if is_kept else math.inf,
            creep=model.creep((time_now - float(self.state.loud_time)) / math.log(10)),
            offset=ends.offset,
        )

    def _limits(self, target: float) -> Limits:
        quiet = self.watch.quiet_below if self.direction > 0 else -1.0
        loud = min(self.watch.loud_above, 10 * self.watch.last_grad_norm)
        array = jnp.asarray
        return Limits(array(target), array(self.watch.max_step), array(self.max_norm), array(quiet),
                      array(self.scale), array(loud), array(min(self.max_steps, 2**62)),
                      array(self.watch.quiet_steps))  # fmt: skip

    def _consider_stiffness(self) -> None:
        capped = int(self.state.num_capped) - self.capped_before
        size = num_parameters(self.state.params)
        is_open = self.automatic and not is_implicit(self.method.solver) and size <= STIFF_MAX_PARAMETERS
        if not is_open or capped < STIFF_AFTER * max(1.0, (size / STIFF_CHEAP_PARAMETERS) ** 2):
            return
        self.method = _method(make_solver("kvaerno5", self.rtol, self.atol), self.rtol, self.atol, self.direction)
        self.reason = f"Tsit5 was limited by stability for {capped} steps, until t = {float(self.state.time):.3g}"
        old = self.state
        fresh = start(self.flow, self.method, old.params, old.time, old.step)
        self.state = fresh.carry_on(old)
        self._plan_routine_look(ROUTINE_LOOK)
        self.rows.restart()

    def _show(self, bar: tqdm) -> None:
        state = self.state
        bar.update(self.used - bar.n)
        bar.set_postfix_str(f"t = {abs(float(state.time)):.3g}, |grad| = {float(state.grad_norm):.2e}", refresh=False)

    def trajectory(self, status: Status, seconds: float) -> Trajectory:
        """The frozen result."""
        times, params, dissipated = self.rows.finish(self.state, fill=status is Status.STATIONARY)
        return Trajectory(
            times=times,
            params=params,
            start=jax.tree.map(np.asarray, self.params0),
            endpoint=jax.tree.map(np.asarray, self.state.params),
            end_time=float(self.state.time),
            dissipated=dissipated,
            largest_norm=float(self.state.largest_norm),
            status=status,
            num_accepted=int(self.state.num_accepted),
            num_rejected=int(self.state.num_rejected),
            solver=type(self.method.solver).__name__,
            solver_reason=self.reason,
            rtol=self.rtol,
            atol=self.atol,
            grad_tol=self.watch.first * (self.scale or float(self.state.peak)),
            t1=self.t1,
            remaining=self.watch.remaining,
            passages=self.watch.finish(),
            wall_seconds=seconds,
            num_crossings=self.log.num_crossings if self.switch is not None else None,
            num_slides=self.log.num_slides if self.switch is not None else None,
            num_ambiguous=self.log.num_ambiguous if self.switch is not None else None,
            switch_times=self.log.times,
        )


def _on_device(leaf: Any) -> Any:
    """Data are moved to the device once, not with every chunk of steps."""
    return jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf


def _method(solver: diffrax.AbstractSolver, rtol: float, atol: float, direction: float) -> Method:
    controller: diffrax.AbstractStepSizeController = diffrax.PIDController(
        rtol=np.asarray(rtol), atol=np.asarray(max(atol, 1e-300)), pcoeff=0.0, icoeff=1.0
    )
    if not is_implicit(solver):
        controller = StabilityCap(controller, real_stability_limit(solver))
    return Method(solver, controller, direction)


def _reset_quiet(state: State) -> State:
    return eqx.tree_at(lambda s: s.quiet, state, jnp.zeros_like(state.quiet))


def _is_finite(tree: Params) -> bool:
    return all(bool(np.all(np.isfinite(leaf))) for leaf in jax.tree.leaves(tree))
