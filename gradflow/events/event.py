"""What an event is: a name and a continuous function of the parameters, its guard, whose change of sign is looked for.

Makers for what is asked most: a level of the loss, a bound on the norm, a change of activation. Knows no solver.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gradflow import checks
from gradflow.networks import Shallow
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Array, Params, Scalar

DIRECTIONS = (-1, 0, 1)


@dataclass(frozen=True)
class Event:
    """A change of sign of `guard` along a trajectory.

    Args:
        name: what the event is called in results.
        guard: ``params -> number or array``, continuous and traceable by JAX; every entry of an array is looked at
            separately.
        direction: +1 only where the guard rises through zero (in the direction of integration), -1 only where it falls,
            0 both.
        is_terminal: end the run at the first such place.

    A guard that touches zero without a change of sign, or changes it twice within one step of the solver, is not seen.
    One that is no number counts as having no sign.

    Raises:
        InputError: a guard that cannot be called, or another direction.
    """

    name: str
    guard: Callable[[Params], Any]
    direction: int = 0
    is_terminal: bool = False

    def __post_init__(self) -> None:
        checks.require(isinstance(self.name, str) and bool(self.name), "name", "be a name", repr(self.name))
        checks.require(callable(self.guard), "guard", "be a function of the parameters", type(self.guard).__name__)
        checks.require(self.direction in DIRECTIONS, "direction", "be -1, 0 or +1", repr(self.direction))


class _LossLevel(eqx.Module):
    problem: AbstractProblem
    level: Float[Array, ""]

    def __call__(self, params: Params) -> Scalar:
        return self.problem.loss(params) - self.level


class _NormBound(eqx.Module):
    radius: Float[Array, ""]

    def __call__(self, params: Params) -> Scalar:
        return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))) - self.radius


class _Preactivations(eqx.Module):
    network: Shallow
    inputs: Float[Array, "d_in samples"]

    def __call__(self, params: Params) -> Float[Array, "d_1 samples"]:
        return self.network.preactivations(params, self.inputs)


def loss_level(problem: AbstractProblem, level: float, *, is_terminal: bool = False) -> Event:
    """The loss passes `level`: guard ``L(params) - level``."""
    checks.require(isinstance(problem, AbstractProblem), "problem", "be a problem", type(problem).__name__)
    level = checks.real("level", level)
    return Event(f"loss {level:g}", _LossLevel(problem.compact(), jnp.asarray(level, float)), 0, is_terminal)


def norm_bound(radius: float, *, is_terminal: bool = False) -> Event:
    """The norm of the parameters rises above `radius`: guard ``||params|| - radius``, rising."""
    radius = checks.real("radius", radius, above=0.0)
    return Event(f"norm {radius:g}", _NormBound(jnp.asarray(radius, float)), 1, is_terminal)


def activation_change(problem: Regression, *, is_terminal: bool = False) -> Event:
    """A hidden unit's preactivation on a sample changes sign: guards ``W_1 X``, entry ``unit * samples + sample``.

    For smooth activations; those with kinks are located by the integration itself (`switch_times`), which also knows
    what happens there.

    Raises:
        InputError: not a problem with one hidden layer.
    """
    network = getattr(problem, "network", None)
    checks.require(isinstance(network, Shallow), "problem", "be a Regression of networks.Shallow",
                   type(problem).__name__)  # fmt: skip
    assert isinstance(network, Shallow)
    return Event("activation", _Preactivations(network, problem.X), 0, is_terminal)


def as_events(events: Sequence[Event] | Event) -> tuple[Event, ...]:
    """`events` as a tuple; one event may stand alone.

    Raises:
        InputError: neither an event nor a sequence.
    """
    if isinstance(events, Event):
        return (events,)
    is_sequence = isinstance(events, Sequence)
    checks.require(is_sequence, "events", "be an Event or a sequence of events", type(events).__name__)
    return tuple(events)
