"""The compiled part of an integration: some hundred adaptive steps at a time, with a bounded memory of what happened.

Flows are autonomous, so each step is taken on local time [0, h] and flow time is a sum: no digits are lost at
t = 1e12. The host loop (:mod:`gradflow.integration`) calls :func:`advance` again and again and decides; nothing here
knows about convergence, saddles or files. A flow that is one smooth piece of a kinked field
(:mod:`gradflow.solvers.pieces`) is followed to the end of its piece and left there.
"""

import dataclasses
from functools import partial
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from gradflow.flow import AbstractFlow
from gradflow.solvers.pieces import AbstractPiece, cut
from gradflow.solvers.step_control import StabilityCap, norm
from gradflow.types import Array, Params, Scalar

CHUNK = 128
"""Accepted steps between two looks of the host."""

MAX_REJECTS = 80
"""Consecutive rejected steps after which a run counts as stalled (the step has shrunk by at least 1e-24)."""


class Limits(eqx.Module):
    """What ends a chunk early: all flow times and norms are dimensionless.

    A gradient is quiet below ``quiet_below * scale``; a `scale` of 0 stands for the largest gradient met so far.
    It must be so for `quiet_steps` accepted steps.
    """

    stop_time: Scalar
    max_step: Scalar
    max_norm: Scalar
    quiet_below: Scalar
    scale: Scalar
    loud_above: Scalar
    max_steps: Int[Array, ""]
    quiet_steps: Int[Array, ""]


class State(eqx.Module):
    """Where an integration stands. Counters run over the whole integration except `slot`, which is the chunk's.

    `has_left` is True where a piece has ended: the last step was cut to the point at which a guard vanishes.
    """

    time: Scalar
    params: Params
    grad_norm: Scalar
    peak: Scalar
    largest_norm: Scalar
    loud_time: Scalar
    dissipated: Scalar
    step: Scalar
    solver_state: Any
    controller_state: Any
    num_accepted: Int[Array, ""]
    num_rejected: Int[Array, ""]
    num_capped: Int[Array, ""]
    rejects: Int[Array, ""]
    quiet: Int[Array, ""]
    has_left: Bool[Array, ""]
    slot: Int[Array, ""]
    times: Float[Array, " chunk"]
    dissipations: Float[Array, " chunk"]
    rows: Params

    def carry_on(self, old: "State") -> "State":
        """This state with the time, energy and counters of `old`: for a change of method in mid-course."""
        kept = ("time", "peak", "largest_norm", "loud_time", "dissipated", "num_accepted", "num_rejected", "num_capped")
        return dataclasses.replace(self, **{name: getattr(old, name) for name in kept})


class Method(eqx.Module):
    """A solver with its step-size controller and the direction of time (+1.0 or -1.0)."""

    solver: diffrax.AbstractSolver
    controller: diffrax.AbstractStepSizeController
    direction: float

    def terms(self) -> diffrax.ODETerm:
        """The field as a diffrax term whose `args` is the flow."""
        return diffrax.ODETerm(lambda _, y, flow: _scaled(flow.vector_field(y), self.direction))


@eqx.filter_jit
def start(flow: AbstractFlow, method: Method, params: Params, time: Scalar, first_step: Scalar | None) -> State:
    """The state from which `method` sets out at `params`; `first_step` None lets the controller choose."""
    terms, solver = method.terms(), method.solver
    zero = jnp.zeros(())
    end, controller_state = method.controller.init(
        terms, zero, jnp.asarray(jnp.inf), params, first_step, flow, solver.func, solver.error_order(terms)
    )
    counter = jnp.zeros((), jnp.int64)
    return State(
        time=jnp.asarray(time, zero.dtype),
        params=params,
        grad_norm=norm(flow.vector_field(params)),
        peak=norm(flow.vector_field(params)),
        largest_norm=norm(params),
        loud_time=zero,
        dissipated=zero,
        step=jnp.asarray(end),
        solver_state=solver.init(terms, zero, end, params, flow),
        controller_state=controller_state,
        num_accepted=counter,
        num_rejected=counter,
        num_capped=counter,
        rejects=counter,
        quiet=counter,
        has_left=jnp.zeros((), bool),
        slot=counter,
        times=jnp.zeros(CHUNK),
        dissipations=jnp.zeros(CHUNK),
        rows=jax.tree.map(lambda leaf: jnp.zeros((CHUNK, *leaf.shape), leaf.dtype), params),
    )


@eqx.filter_jit
def resume(flow: AbstractFlow, method: Method, state: State, params: Params) -> State:
    """`state` at `params`, from where the run goes on along another field with the same step size."""
    terms, zero = method.terms(), jnp.zeros_like(state.time)
    fields = lambda s: (s.params, s.grad_norm, s.solver_state, s.quiet, s.has_left)  # noqa: E731
    values = (
        jax.tree.map(jnp.asarray, params),
        norm(flow.vector_field(params)),
        method.solver.init(terms, zero, state.step, params, flow),
        jnp.zeros_like(state.quiet),
        jnp.zeros_like(state.has_left),
    )
    return eqx.tree_at(fields, state, values)


@eqx.filter_jit
def advance(flow: AbstractFlow, method: Method, state: State, limits: Limits) -> State:
    """At most :data:`CHUNK` accepted steps, fewer when a limit is met; the rows of the chunk are in the state."""
    state = eqx.tree_at(lambda s: s.slot, state, jnp.zeros_like(state.slot))
    return jax.lax.while_loop(
        lambda s: _goes_on(s, limits), lambda s: _attempt(flow, method, s, limits), state
    )  # fmt: skip


def _goes_on(state: State, limits: Limits) -> Bool[Array, ""]:
    return (
        (state.slot < CHUNK)
        & ~state.has_left
        & (state.num_accepted + state.num_rejected < limits.max_steps)
        & (jnp.abs(state.time) < limits.stop_time)
        & (state.quiet < limits.quiet_steps)
        & (state.grad_norm <= limits.loud_above)
        & (norm(state.params) <= limits.max_norm)
        & (state.rejects < MAX_REJECTS)
        & (state.step > 4e-16 * jnp.abs(state.time))
    )


def _attempt(flow: AbstractFlow, method: Method, state: State, limits: Limits) -> State:
    """One step of the solver, taken over when the controller keeps it."""
    solver, zero = method.solver, jnp.zeros_like(state.time)
    remaining = limits.stop_time - jnp.abs(state.time)
    step = jnp.minimum(state.step, limits.max_step)
    is_last = step >= remaining * (1 - 1e-12)
    step = jnp.where(is_last, remaining, step)

    terms = method.terms()
    params, error, dense, solver_state, result = solver.step(
        terms, zero, step, state.params, flow, state.solver_state, False
    )
    okay = diffrax.is_okay(result) & _all_finite(params)
    error = jax.tree.map(lambda e: jnp.where(okay & jnp.isfinite(e), e, jnp.inf), error)
    keep, begin, end, _, controller_state, _ = method.controller.adapt_step_size(
        zero, step, state.params, params, flow, error, solver.order(terms) or 2, state.controller_state
    )
    keep = keep & okay
    length, has_left = step, jnp.zeros((), bool)
    if isinstance(flow, AbstractPiece):
        done, retry = (params, dense, solver_state), partial(_step_of_length, flow, method, state)
        params, dense, solver_state, length, has_left = jax.lax.cond(
            keep, lambda: cut(flow, solver, retry, state.params, step, done), lambda: (*done, length, has_left)
        )
    grad_norm = norm(flow.vector_field(params))
    spent = _dissipation(method, dense, length, state.grad_norm, grad_norm)
    moved = (
        params,
        solver_state,
        grad_norm,
        jnp.where(is_last & ~has_left, method.direction * limits.stop_time, state.time + method.direction * length),
        state.dissipated + method.direction * spent,
    )
    old = (state.params, state.solver_state, state.grad_norm, state.time, state.dissipated)
    params, solver_state, grad_norm, time, dissipated = jax.tree.map(lambda n, o: jnp.where(keep, n, o), moved, old)
    # A step shortened to hit a save time says nothing against the length proposed before.
    proposed = jnp.where(
        keep & is_last, jnp.maximum(end - begin, _cap_again(method, controller_state, state.step)), end - begin
    )
    fields = lambda s: (  # noqa: E731
        s.params, s.solver_state, s.grad_norm, s.time, s.dissipated, s.step, s.controller_state, s.has_left
    )  # fmt: skip
    values = (params, solver_state, grad_norm, time, dissipated, proposed, controller_state, has_left)
    capped = keep & _is_capped(method, controller_state, step)
    return _count(eqx.tree_at(fields, state, values), limits, keep, capped)


def _step_of_length(flow: AbstractFlow, method: Method, state: State, length: Scalar) -> tuple[Params, Any, Any]:
    """Parameters, dense output and solver state after a step of that length, whatever its error."""
    solver, zero = method.solver, jnp.zeros_like(length)
    params, _, dense, solver_state, _ = solver.step(
        method.terms(), zero, length, state.params, flow, state.solver_state, False
    )
    return params, dense, solver_state


def _count(state: State, limits: Limits, keep: Bool[Array, ""], capped: Bool[Array, ""]) -> State:
    """`state` after a step, with its counters, extremes and rows brought up to date."""
    peak = jnp.maximum(state.peak, state.grad_norm)
    level = limits.quiet_below * jnp.where(limits.scale > 0, limits.scale, peak)
    slot = jnp.minimum(state.slot, CHUNK - 1)
    write = lambda buffer, value: buffer.at[slot].set(jnp.where(keep, value, buffer[slot]))  # noqa: E731
    fields = lambda s: (  # noqa: E731
        s.peak, s.largest_norm, s.loud_time, s.num_accepted, s.num_rejected, s.num_capped, s.rejects, s.quiet, s.slot,
        s.times, s.dissipations, s.rows,
    )  # fmt: skip
    values = (
        peak,
        jnp.maximum(state.largest_norm, norm(state.params)),
        jnp.where(state.grad_norm > 10 * level, state.time, state.loud_time),
        state.num_accepted + keep,
        state.num_rejected + ~keep,
        state.num_capped + capped,
        jnp.where(keep, 0, state.rejects + 1),
        jnp.where(keep, jnp.where(state.grad_norm <= level, state.quiet + 1, 0), state.quiet),
        state.slot + keep,
        write(state.times, state.time),
        write(state.dissipations, state.dissipated),
        jax.tree.map(write, state.rows, state.params),
    )
    return eqx.tree_at(fields, state, values)


def _dissipation(method: Method, dense: Any, step: Scalar, before: Scalar, after: Scalar) -> Scalar:
    """``int ||grad L||^2 dt`` over the step with the solver's own weights, ``h sum_i b_i ||f(Y_i)||^2``.

    That is what the solver would give for the energy as one more component of the state, so its error is of the
    solver's order, and it costs no evaluation. Solvers without a tableau get the trapezoidal rule.
    """
    tableau = getattr(method.solver, "tableau", None)
    if isinstance(tableau, diffrax.ButcherTableau) and "k" in dense:
        leaves = jax.tree.leaves(dense["k"])
        squares = jnp.sum(jnp.stack([jnp.sum(leaf**2, axis=tuple(range(1, leaf.ndim))) for leaf in leaves]), axis=0)
        return jnp.dot(jnp.asarray(tableau.b_sol, squares.dtype), squares) / jnp.maximum(
            step, jnp.finfo(step.dtype).tiny
        )
    return 0.5 * step * (before**2 + after**2)


def _cap_again(method: Method, controller_state: Any, step: Scalar) -> Scalar:
    if isinstance(method.controller, StabilityCap):
        return jnp.minimum(step, method.controller.largest_step(controller_state.radius))
    return step


def _is_capped(method: Method, controller_state: Any, step: Scalar) -> Bool[Array, ""]:
    if isinstance(method.controller, StabilityCap):
        return step >= 0.8 * method.controller.largest_step(controller_state.radius)
    return jnp.zeros((), bool)


def _all_finite(tree: Params) -> Bool[Array, ""]:
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]).all()


def _scaled(tree: Params, factor: float) -> Params:
    return tree if factor == 1.0 else jax.tree.map(lambda leaf: factor * leaf, tree)
