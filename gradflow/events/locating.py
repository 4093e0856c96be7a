"""Where in a chunk of accepted steps guards change sign, and the length of step at which they vanish.

The bracket is an accepted step. Inside it a shorter step of the same solver is taken from the same state for every
trial of Brent's method, so that the state at the event has the solver's order, not that of an interpolant.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Float

from gradflow import checks
from gradflow.calls import Context, compiled
from gradflow.events.event import Event
from gradflow.flow import AbstractFlow
from gradflow.solvers.flat import Layout
from gradflow.solvers.states import Facts, Method, State
from gradflow.solvers.stepping import resume, step_of
from gradflow.trajectories import Occurrence
from gradflow.types import Array, Params, Scalar


class _Guards(eqx.Module):
    """The guards of all events on what the steps run on, as one vector."""

    guards: tuple[Any, ...]
    layout: Layout | None

    def __call__(self, params: Params) -> Float[Array, " guards"]:
        real = params if self.layout is None else self.layout.unravel(params)
        return jnp.concatenate([jnp.ravel(jnp.asarray(guard(real), float)) for guard in self.guards])


@dataclass(frozen=True)
class Located:
    """An event in a chunk: the accepted step it is in (counted from 0), and the state there.

    `params` is what the steps run on; `energy` is what was dissipated since that step began.
    """

    index: int
    time: float
    params: Params
    energy: float
    grad_norm: float
    occurrence: Occurrence
    is_terminal: bool


class Locator:
    """Looks for events after every chunk of an integration.

    Raises:
        InputError: `events` are no events, two have one name, or a guard cannot be evaluated at the start.
    """

    def __init__(self, events: Sequence[Event], layout: Layout | None, params: Params) -> None:
        for position, event in enumerate(events):
            checks.require(isinstance(event, Event), f"events[{position}]", "be a gradflow.events.Event",
                           type(event).__name__)  # fmt: skip
        names = [event.name for event in events]
        checks.require(len(set(names)) == len(names), "events", "have different names", names)
        self.layout, self.guards = layout, _Guards(tuple(event.guard for event in events), layout)
        sizes = [self._size(event, params) for event in events]
        self.owners = [(event, entry) for event, size in zip(events, sizes, strict=True) for entry in range(size)]
        self.context = Context(self.guards)

    def _size(self, event: Event, params: Params) -> int:
        real = params if self.layout is None else self.layout.unravel(params)
        try:
            shape = jax.eval_shape(event.guard, real)
        except Exception as error:
            raise checks.InputError(
                f"`events` must have guards defined at the start, but `{event.name}` failed: {error}"
            ) from error
        return int(sum(leaf.size for leaf in jax.tree.leaves(shape)))

    def found(self, flow: AbstractFlow, method: Method, begin: State, after: State, count: int) -> list[Located]:
        """The events in the first `count` rows of the chunk `after`, which set out from `begin`, in order of time.

        Nothing behind a terminal event is given.
        """
        if not count:
            return []
        values = np.asarray(_on_rows(self.context, begin.params, after.rows))[: count + 1]
        located: list[Located] = []
        for index in np.flatnonzero(_changes(values, self._directions()).any(axis=1)):
            located += self._in_step(flow, method, begin, after, int(index), values)
            if any(one.is_terminal for one in located):
                last = next(place for place, one in enumerate(located) if one.is_terminal)
                return located[: last + 1]
        return located

    def _directions(self) -> np.ndarray:
        return np.array([event.direction for event, _ in self.owners])

    def _in_step(
        self, flow: AbstractFlow, method: Method, begin: State, after: State, index: int, values: np.ndarray
    ) -> list[Located]:
        times = np.asarray(after.times)
        start_time = float(begin.time) if index == 0 else float(times[index - 1])
        length = abs(float(times[index]) - start_time)
        row = begin.params if index == 0 else jax.tree.map(lambda rows: rows[index - 1], after.rows)
        state, _ = resume(Context((flow, method)), begin, row)
        inside = Context((flow, method, self.guards))
        located = []
        for entry in np.flatnonzero(_changes(values[index : index + 2], self._directions())[0]):
            event, number = self.owners[entry]
            part = _vanishing(lambda h, e=entry: float(_after(inside, state, h)[0][e]), values[index, entry], length)
            guards, params, grad_norm, energy = _after(inside, state, part)
            time = start_time + method.direction * part if part < length else float(times[index])
            rising = bool(values[index + 1, entry] > values[index, entry])
            real = jax.tree.map(np.asarray, params if self.layout is None else self.layout.unravel(params))
            told = Occurrence(event.name, number, time, rising, float(guards[entry]), real)
            located.append(
                Located(index, time, params, float(energy), float(grad_norm), told, event.is_terminal)
            )  # fmt: skip
        return sorted(located, key=lambda one: abs(one.time))


def _changes(values: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Between which rows which guard changes sign in a direction that counts; a row on zero ends a change."""
    before, after = values[:-1], values[1:]
    rises, falls = (before < 0) & (after >= 0), (before > 0) & (after <= 0)
    return (rises & (directions >= 0)) | (falls & (directions <= 0))


def _vanishing(guard: Any, at_start: float, length: float) -> float:
    """The length of step at which a guard vanishes; the whole step where a repeated one does not change sign."""
    at_end = guard(length)
    if not at_start * at_end < 0:
        return length
    # A step without length is no step of an implicit method.
    inside = lambda h: guard(h) if h > 0 else at_start  # noqa: E731
    try:
        return float(scipy.optimize.brentq(inside, 0.0, length, xtol=4e-16 * length, rtol=1e-15))
    except ValueError:  # the guard is no number somewhere inside the step
        return length


@compiled
def _on_rows(guards: _Guards, first: Params, rows: Params) -> Float[Array, "rows guards"]:
    stacked = jax.tree.map(lambda one, many: jnp.concatenate([jnp.asarray(one)[None], many]), first, rows)
    return jax.vmap(guards)(stacked)


@compiled
def _after(
    held: tuple[AbstractFlow, Method, _Guards], state: State, length: Scalar
) -> tuple[Array, Params, Scalar, Scalar]:
    """The guards after a step of that length, the parameters, the field's norm and the energy dissipated."""
    flow, method, guards = held
    params, grad_norm, energy = step_of(flow, method, state, length)
    return guards(params), params, grad_norm, energy


def standing_at(state: State, before: Facts, after: Facts, end: Located) -> tuple[State, Facts]:
    """State and facts of a run that ends at an event in the chunk `state`, which set out from the facts `before`."""
    rows = jax.tree.leaves(jax.tree.map(lambda leaf: np.asarray(leaf)[: end.index], state.rows))
    squares = np.sum([np.sum(leaf**2, axis=tuple(range(1, leaf.ndim))) for leaf in rows], axis=0)
    here = float(np.sqrt(sum(np.sum(np.asarray(leaf) ** 2) for leaf in jax.tree.leaves(end.params))))
    spent = before.dissipated if end.index == 0 else float(state.dissipations[end.index - 1])
    told = after._replace(
        time=end.time,
        norm=here,
        grad_norm=end.grad_norm,
        largest_norm=max(before.largest_norm, here, float(np.sqrt(np.max(squares, initial=0.0)))),
        dissipated=spent + end.energy,
    )
    return dataclasses.replace(state, params=end.params), told
