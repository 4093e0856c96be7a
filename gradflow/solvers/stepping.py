"""The compiled part of an integration: some hundred adaptive steps at a time, with a bounded memory of what happened.

Flows are autonomous, so each step is taken on local time [0, h] and flow time is a sum: no digits are lost at
t = 1e12. The host loop (:mod:`gradflow.integration`) calls :func:`advance` again and again and decides; nothing here
knows about convergence, saddles or files. A flow that is one smooth piece of a kinked field
(:mod:`gradflow.solvers.pieces`) is followed to the end of its piece and left there.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from gradflow.calls import compiled
from gradflow.flow import AbstractFlow
from gradflow.solvers import explicit
from gradflow.solvers.bdf import MultistepState
from gradflow.solvers.pieces import AbstractPiece, cut
from gradflow.solvers.stabilised import StabilisedState
from gradflow.solvers.states import Facts, Limits, Method, State
from gradflow.solvers.step_control import CapState, StabilityCap, norm, power_start, power_step
from gradflow.types import Array, Params, Scalar

CHUNK = 256
"""Accepted steps between two looks of the host, at most."""

CHUNK_ENTRIES = 2**20
"""Numbers in the rows of one chunk, at most; more parameters have shorter chunks."""

MAX_REJECTS = 80
"""Consecutive rejected steps after which a run counts as stalled (the step has shrunk by at least 1e-24)."""

STIFF_GAIN = 4.0
"""How many times longer than stability allows a step must be wanted for it to count as a stiff one."""

POWER_PRODUCTS, POWER_EVERY = 4, 8
"""Products of a power iteration at the start, and accepted steps from one further product to the next.

What the stages tell of the spectral radius comes for nothing, but only of directions in which something happens; a
stiff one at rest would have to grow from rounding first."""


class Step(NamedTuple):
    """A step that was taken: its end, error estimate, solver's state, the field at its end and the energy it spent.

    `dense` is the solver's dense information, `bend` and `way` are :func:`explicit.stage_radius`'s (0 without it).
    """

    params: Params
    error: Params
    solver_state: Any
    slope: Params
    energy: Scalar
    dense: Any
    okay: Bool[Array, ""]
    bend: Scalar
    way: Scalar


@compiled
def start(
    context: tuple[AbstractFlow, Method], params: Params, time: Scalar, first_step: Scalar
) -> tuple[State, Array]:
    """The state from which a method sets out at `params`, and its facts.

    A `first_step` of 0 lets the controller choose.
    """
    flow, method = context
    terms, solver = method.terms(), method.solver
    zero = jnp.zeros(())
    begin = lambda first: method.controller.init(  # noqa: E731
        terms,
        zero,
        jnp.asarray(jnp.inf),
        params,
        first,
        flow,
        solver.func,
        getattr(solver, "start_order", solver.error_order(terms) or 2),
    )
    chosen, controller_state = begin(None)
    first = jnp.where(first_step > 0, first_step, chosen)
    counter, size = jnp.zeros((), jnp.int64), norm(params)
    slope = method.field(flow)(params)
    grad_norm = norm(slope)
    rows = int(np.clip(CHUNK_ENTRIES // sum(leaf.size for leaf in jax.tree.leaves(params)), 16, CHUNK))
    state = State(
        time=jnp.asarray(time, zero.dtype),
        params=params,
        grad_norm=grad_norm,
        norm=size,
        peak=grad_norm,
        largest_norm=size,
        loud_time=zero,
        dissipated=zero,
        step=first,
        radius=zero,
        power=power_start(flow, params, POWER_PRODUCTS) if method.cap < np.inf else None,
        solver_state=_solver_state(flow, method, params, slope, first),
        controller_state=controller_state,
        num_accepted=counter,
        num_rejected=counter,
        num_capped=counter,
        num_stiff=counter,
        rejects=counter,
        quiet=counter,
        has_left=jnp.zeros((), bool),
        slot=counter,
        times=jnp.zeros(rows),
        dissipations=jnp.zeros(rows),
        rows=jax.tree.map(lambda leaf: jnp.zeros((rows, *leaf.shape), leaf.dtype), params),
    )
    return state, facts(flow, state)


@compiled
def resume(context: tuple[AbstractFlow, Method], state: State, params: Params) -> tuple[State, Array]:
    """`state` at `params`, from where the run goes on along another field with the same step size; and its facts."""
    flow, method = context
    slope = method.field(flow)(params)
    state = dataclasses.replace(
        state,
        params=jax.tree.map(jnp.asarray, params),
        grad_norm=norm(slope),
        norm=norm(params),
        solver_state=_solver_state(flow, method, params, slope, state.step),
        quiet=jnp.zeros_like(state.quiet),
        has_left=jnp.zeros_like(state.has_left),
    )
    return state, facts(flow, state)


@compiled
def advance(
    context: tuple[AbstractFlow, Method], state: State, limits: Float[Array, " limits"], stops: Float[Array, " stops"]
) -> tuple[State, Array]:
    """At most :data:`CHUNK` accepted steps, fewer when a limit is met; and the facts. The rows are in the state.

    `stops` are flow times in modulus, not decreasing, that are hit exactly; the last one ends the chunk.
    """
    flow, method = context
    told = Limits(*limits)
    state = dataclasses.replace(state, slot=jnp.zeros_like(state.slot))
    state = jax.lax.while_loop(
        lambda s: _goes_on(s, told, stops), lambda s: _attempt(flow, method, s, told, stops), state
    )  # fmt: skip
    return state, facts(flow, state)


def facts(flow: AbstractFlow, state: State) -> Float[Array, " facts"]:
    """The numbers of a state and the loss there in one array: one copy to the host instead of fifteen."""
    numbers = [getattr(state, name) for name in Facts._fields if name != "loss"]
    return jnp.stack([jnp.asarray(number, float) for number in (*numbers, flow.problem.loss(state.params))])


def _solver_state(flow: AbstractFlow, method: Method, params: Params, slope: Params, step: Scalar) -> Any:
    if explicit.is_written_out(method.solver):
        return slope
    return method.solver.init(method.terms(), jnp.zeros_like(step), step, params, flow)


def _solver_state_after(keep: Bool[Array, ""], new: Any, old: Any) -> Any:
    if isinstance(new, MultistepState):
        return new.if_kept(keep, old)
    return jax.tree.map(lambda n, o: jnp.where(keep, n, o), new, old)


def _goes_on(state: State, limits: Limits, stops: Array) -> Bool[Array, ""]:
    return (
        (state.slot < len(state.times))
        & ~state.has_left
        & (state.num_accepted + state.num_rejected < limits.max_steps)
        & (jnp.abs(state.time) < stops[-1])
        & (state.quiet < limits.quiet_steps)
        & (state.num_capped < limits.capped_steps)
        & (state.grad_norm <= limits.loud_above)
        & (state.norm <= limits.max_norm)
        & (state.rejects < MAX_REJECTS)
        & (state.step > 4e-16 * jnp.abs(state.time))
    )


def _attempt(flow: AbstractFlow, method: Method, state: State, limits: Limits, stops: Array) -> State:
    """One step of the solver, taken over when the controller keeps it."""
    zero = jnp.zeros_like(state.time)
    stop = stops[jnp.minimum(jnp.sum(stops <= jnp.abs(state.time)), stops.size - 1)]
    remaining = stop - jnp.abs(state.time)
    step = jnp.minimum(state.step, limits.max_step)
    is_last = step >= remaining * (1 - 1e-12)
    length: Scalar = jnp.where(is_last, remaining, step)
    taken = _step(flow, method, state, length)
    error = jax.tree.map(lambda e: jnp.where(taken.okay & jnp.isfinite(e), e, jnp.inf), taken.error)
    terms = method.terms()
    keep, begin, end, _, controller_state, _ = method.controller.adapt_step_size(
        zero, length, state.params, taken.params, flow, error, method.solver.error_order(terms) or 2,
        state.controller_state,
    )  # fmt: skip
    keep = keep & taken.okay
    has_left: Bool[Array, ""] = jnp.zeros((), bool)
    if isinstance(flow, AbstractPiece):
        taken, length, has_left = _cut(flow, method, state, taken, length, keep)
    radius, power = _radius(flow, state, taken, keep)
    longest = _longest(method, controller_state, radius, power)
    wanted = end - begin
    proposed = jnp.minimum(wanted, longest)
    # A step shortened to hit a save time says nothing against the length proposed before.
    proposed = jnp.where(keep & is_last, jnp.maximum(proposed, jnp.minimum(state.step, longest)), proposed)
    take = lambda new, old: jax.tree.map(lambda n, o: jnp.where(keep, n, o), new, old)  # noqa: E731
    reached = jnp.where(is_last & ~has_left, method.direction * stop, state.time + method.direction * length)
    moved = dataclasses.replace(
        state,
        time=take(reached, state.time),
        params=take(taken.params, state.params),
        grad_norm=take(norm(taken.slope), state.grad_norm),
        norm=take(norm(taken.params), state.norm),
        dissipated=take(state.dissipated + method.direction * taken.energy, state.dissipated),
        step=proposed,
        radius=radius,
        power=power,
        solver_state=_solver_state_after(keep, taken.solver_state, state.solver_state),
        controller_state=controller_state,
        num_capped=state.num_capped + (keep & (length >= 0.8 * longest)),
        num_stiff=state.num_stiff + (keep & ~is_last & (wanted >= STIFF_GAIN * longest)),
        has_left=has_left,
    )
    return _count(moved, limits, keep, _loudness(method, state, moved, length))


def _step(flow: AbstractFlow, method: Method, state: State, length: Scalar) -> Step:
    """A step of that length from the state, whatever its error."""
    solver, zero = method.solver, jnp.zeros_like(length)
    if explicit.is_written_out(solver):
        taken = explicit.explicit_step(solver, method.field(flow), state.params, state.solver_state, length)
        bend, way = explicit.stage_radius(taken)
        spent = explicit.energy(solver, taken.slopes, length)
        dense = explicit.dense_info(taken, state.params, length) if isinstance(flow, AbstractPiece) else None
        okay = _all_finite(taken.params)
        return Step(taken.params, taken.error, taken.slope, taken.slope, spent, dense, okay, bend, way)
    params, error, dense, solver_state, result = solver.step(
        method.terms(), zero, length, state.params, flow, state.solver_state, False
    )
    if "energy" in dense:
        slope, spent = jax.tree.map(lambda leaf: leaf / length, dense["k1"]), dense["energy"]
    else:
        slope = method.field(flow)(params)
        spent = _dissipation(solver, dense, length, state.grad_norm, norm(slope))
    okay = diffrax.is_okay(result) & _all_finite(params)
    return Step(params, error, solver_state, slope, spent, dense, okay, zero, zero)


def step_of(flow: AbstractFlow, method: Method, state: State, length: Scalar) -> tuple[Params, Scalar, Scalar]:
    """Where a step of that length leads from a state, the field's norm there and the energy dissipated."""
    taken = _step(flow, method, state, length)
    return taken.params, norm(taken.slope), method.direction * taken.energy


def _cut(
    flow: AbstractPiece, method: Method, state: State, taken: Step, length: Scalar, keep: Bool[Array, ""]
) -> tuple[Step, Scalar, Bool[Array, ""]]:
    """The step as it is, or the shorter one that ends where the piece does; its length; and which."""
    retry = partial(_again, flow, method, state)
    done = (taken.params, taken.dense, taken)
    _, _, taken, length, has_left = jax.lax.cond(
        keep,
        lambda: cut(flow, method.solver, retry, state.params, length, done),
        lambda: (*done, length, jnp.zeros((), bool)),
    )
    return taken, length, has_left


def _again(flow: AbstractFlow, method: Method, state: State, length: Scalar) -> tuple[Params, Any, Step]:
    taken = _step(flow, method, state, length)
    return taken.params, taken.dense, taken


def _loudness(method: Method, old: State, new: State, length: Scalar) -> Scalar:
    """The speed of the flow after a step: the field's norm there, or the mean speed where that is lower.

    A method for stiff flows ends its steps a little off a stiff valley: the field is large there, the flow is slow.
    """
    if explicit.is_written_out(method.solver):
        return new.grad_norm
    change = norm(jax.tree.map(lambda a, b: a - b, new.params, old.params))
    return jnp.minimum(new.grad_norm, change / jnp.maximum(length, jnp.finfo(length.dtype).tiny))


def _count(state: State, limits: Limits, keep: Bool[Array, ""], loudness: Scalar) -> State:
    """`state` after a step, with its counters, extremes and rows brought up to date."""
    peak = jnp.maximum(state.peak, state.grad_norm)
    level = limits.quiet_below * jnp.where(limits.scale > 0, limits.scale, peak)
    counted = dataclasses.replace(
        state,
        peak=peak,
        largest_norm=jnp.maximum(state.largest_norm, state.norm),
        loud_time=jnp.where(loudness > 10 * level, state.time, state.loud_time),
        num_accepted=state.num_accepted + keep,
        num_rejected=state.num_rejected + ~keep,
        rejects=jnp.where(keep, 0, state.rejects + 1),
        quiet=jnp.where(keep, jnp.where(state.grad_norm <= level, state.quiet + 1, 0), state.quiet),
        slot=state.slot + keep,
    )
    # A row of a step that was not kept is written over by the next one that is.
    slot = jnp.minimum(state.slot, len(state.times) - 1)
    return dataclasses.replace(
        counted,
        times=jnp.asarray(state.times).at[slot].set(state.time),
        dissipations=jnp.asarray(state.dissipations).at[slot].set(state.dissipated),
        rows=jax.tree.map(lambda rows, leaf: rows.at[slot].set(leaf), state.rows, state.params),
    )


def _dissipation(solver: diffrax.AbstractSolver, dense: Any, step: Scalar, before: Scalar, after: Scalar) -> Scalar:
    """``int ||grad L||^2 dt`` over the step with the solver's own weights, ``h sum_i b_i ||f(Y_i)||^2``.

    That is what the solver would give for the energy as one more component of the state, so its error is of the
    solver's order, and it costs no evaluation. Solvers without a tableau get the trapezoidal rule.
    """
    tableau = getattr(solver, "tableau", None)
    if isinstance(tableau, diffrax.ButcherTableau) and "k" in dense:
        leaves = jax.tree.leaves(dense["k"])
        squares = jnp.sum(jnp.stack([jnp.sum(leaf**2, axis=tuple(range(1, leaf.ndim))) for leaf in leaves]), axis=0)
        return jnp.dot(jnp.asarray(tableau.b_sol, squares.dtype), squares) / jnp.maximum(
            step, jnp.finfo(step.dtype).tiny
        )
    return 0.5 * step * (before**2 + after**2)


def _radius(flow: AbstractFlow, state: State, taken: Step, keep: Bool[Array, ""]) -> tuple[Scalar, CapState | None]:
    """What the stages and the power iteration tell after a step."""
    if isinstance(taken.solver_state, StabilisedState) and taken.solver_state.estimate is not None:
        return taken.solver_state.estimate.radius, None
    if state.power is None:
        return state.radius, None
    is_told = keep & (taken.way > 1e-26 * state.norm**2)
    radius = jnp.where(is_told, jnp.sqrt(taken.bend / jnp.where(is_told, taken.way, 1.0)), state.radius)
    is_due = keep & (state.num_accepted % POWER_EVERY == 0)
    power = jax.lax.cond(is_due, lambda p: power_step(flow, taken.params, p), lambda p: p, state.power)
    return radius, power


def _longest(method: Method, controller_state: Any, radius: Scalar, power: CapState | None) -> Scalar:
    """The longest stable step."""
    if isinstance(method.controller, StabilityCap):
        return method.controller.largest_step(controller_state.radius)
    if power is None:
        return jnp.full_like(radius, jnp.inf)
    return method.cap / jnp.maximum(jnp.maximum(radius, power.radius), jnp.finfo(radius.dtype).tiny)


def _all_finite(tree: Params) -> Bool[Array, ""]:
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]).all()
