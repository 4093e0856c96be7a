"""How lanes take one step: Tsit5 written out on all lanes at once, or any solver mapped over them.

A method gives `begin` and `step` for states with the lane's axis last, the exponent of its step control and the length
of its stability interval. The kernel decides what is kept, when lanes end and who is next.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import diffrax
import jax
import jax.numpy as jnp

from gradflow.ensemble.xla.fields import lane_field
from gradflow.flow import AbstractFlow
from gradflow.solvers.registry import real_stability_limit


class Stepped(NamedTuple):
    """Lanes after a step: state, error estimate, what the solver carries on, slope.

    `bend` and `way` are squared differences of the last two stages' slopes and states, whose ratio is below the square
    of the spectral radius; 0 where a method does not tell.
    """

    new: Any
    error: Any
    carried: Any
    slope: Any
    bend: Any
    way: Any


class AbstractMethod(Protocol):
    """One way to take steps."""

    exponent: float
    limit: float

    def begin(self, y: Any) -> tuple[Any, Any]:
        """What the solver carries, and the slope, at the starts."""

    def step(self, y: Any, carried: Any, slope: Any, length: Any) -> Stepped:
        """A step of every lane, each of its own length."""


class Tsit5Lanes:
    """Tsit5 with its stages written out; `field` maps lanes to lanes."""

    exponent, limit = 0.2, math.inf

    def __init__(self, function: Callable[[Any], Any], size: int) -> None:
        self.field = lane_field(function, size)

    def begin(self, y: Any) -> tuple[Any, Any]:
        """Nothing but the slope is carried."""
        return (), self.field(y)

    def step(self, y: Any, carried: Any, slope: Any, length: Any) -> Stepped:
        """Seven slopes, the last of which is the next step's first."""
        slopes, stage, new = [slope], y, y
        for weights in diffrax.Tsit5.tableau.a_lower:
            stage, new = new, y + length * _weighted(weights, slopes)
            new = jax.lax.optimization_barrier(new)
            slopes.append(jax.lax.optimization_barrier(self.field(new)))
        error = length * _weighted(diffrax.Tsit5.tableau.b_error, slopes)
        bend, way = jnp.sum((slopes[6] - slopes[5]) ** 2, 0), jnp.sum((new - stage) ** 2, 0)
        return Stepped(new, error, carried, slopes[6], bend, way)


class SolverLanes:
    """Any solver that is stable at every step, mapped over lanes; `flow` is on flat vectors and becomes its `args`.

    A lane with an inner iteration waits for the slowest of its neighbours.
    """

    def __init__(self, flow: AbstractFlow, solver: diffrax.AbstractSolver) -> None:
        self.flow, self.solver = flow, solver
        self.terms = diffrax.ODETerm(lambda _, y, flow: flow.vector_field(y))
        self.exponent = 1.0 / float(solver.error_order(self.terms) or 2)
        self.limit = real_stability_limit(solver)

    def begin(self, y: Any) -> tuple[Any, Any]:
        """The solver's state and the slope of every lane."""
        zero, one = jnp.zeros(()), jnp.ones(())
        start = lambda state: self.solver.init(self.terms, zero, one, state, self.flow)  # noqa: E731
        over_lanes = lambda function: jax.vmap(function, in_axes=-1, out_axes=-1)  # noqa: E731
        return over_lanes(start)(y), over_lanes(self.flow.vector_field)(y)

    def step(self, y: Any, carried: Any, slope: Any, length: Any) -> Stepped:
        """One step of the solver in every lane; a failed one has an infinite error."""
        del slope

        def one(state: Any, carried: Any, length: Any) -> Any:
            new, error, dense, carried, result = self.solver.step(
                self.terms, jnp.zeros_like(length), length, state, self.flow, carried, False
            )
            slope = dense["k1"] / length if "energy" in dense else self.flow.vector_field(new)
            estimate = jnp.asarray(error)
            is_sound = diffrax.is_okay(result) & jnp.all(jnp.isfinite(new)) & jnp.all(jnp.isfinite(estimate))
            return new, jnp.where(is_sound, estimate, jnp.inf), carried, slope

        new, error, carried, slope = jax.vmap(one, in_axes=-1, out_axes=-1)(y, carried, length)
        nothing = jnp.zeros(y.shape[-1])
        return Stepped(new, error, carried, slope, nothing, nothing)


def _weighted(weights: Any, slopes: list[Any]) -> Any:
    total = None
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            total = float(weight) * slope if total is None else total + float(weight) * slope
    return total
