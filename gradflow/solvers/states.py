"""What compiled steps of an integration work on: limits that the host sets, the state, the facts it wants, the method.

Data only; :mod:`gradflow.solvers.stepping` takes the steps.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
from jaxtyping import Bool, Float, Int

from gradflow.flow import AbstractFlow
from gradflow.solvers.step_control import CapState
from gradflow.types import Array, Params, Scalar


class Limits(NamedTuple):
    """What ends a chunk early: all flow times and norms are dimensionless.

    A gradient is quiet below ``quiet_below * scale``; a `scale` of 0 stands for the largest gradient met so far.
    It must be so for `quiet_steps` accepted steps. `capped_steps` is the number of steps limited by stability, all in
    all, at which the host wants to think about the method.
    """

    max_step: float
    max_norm: float
    quiet_below: float
    scale: float
    loud_above: float
    max_steps: float
    quiet_steps: float
    capped_steps: float


class Facts(NamedTuple):
    """What the host wants to know after a chunk: the numbers of a :class:`State`, and the loss there, as floats."""

    time: float
    grad_norm: float
    norm: float
    peak: float
    largest_norm: float
    loud_time: float
    dissipated: float
    step: float
    radius: float
    num_accepted: float
    num_rejected: float
    num_capped: float
    num_stiff: float
    rejects: float
    quiet: float
    has_left: float
    loss: float


class State(eqx.Module):
    """Where an integration stands. Counters run over the whole integration except `slot`, which is the chunk's.

    `has_left` is True where a piece has ended: the last step was cut to the point at which a guard vanishes. `radius`
    is the spectral radius that the stages tell, 0 where they do not (a stabilised solver's own estimate there), `power`
    what a slow power iteration tells.
    """

    time: Scalar
    params: Params
    grad_norm: Scalar
    norm: Scalar
    peak: Scalar
    largest_norm: Scalar
    loud_time: Scalar
    dissipated: Scalar
    step: Scalar
    radius: Scalar
    power: CapState | None
    solver_state: Any
    controller_state: Any
    num_accepted: Int[Array, ""]
    num_rejected: Int[Array, ""]
    num_capped: Int[Array, ""]
    num_stiff: Int[Array, ""]
    rejects: Int[Array, ""]
    quiet: Int[Array, ""]
    has_left: Bool[Array, ""]
    slot: Int[Array, ""]
    times: Float[Array, " chunk"]
    dissipations: Float[Array, " chunk"]
    rows: Params

    def carry_on(self, old: "State") -> "State":
        """This state with the time, energy and counters of `old`: for a change of method in mid-course."""
        kept = ("time", "peak", "largest_norm", "loud_time", "dissipated", "num_accepted", "num_rejected",
                "num_capped", "num_stiff", "radius")  # fmt: skip
        return dataclasses.replace(self, **{name: getattr(old, name) for name in kept})


class Method(eqx.Module):
    """A solver with its step-size controller, the direction of time (+1.0 or -1.0), and what the steps are capped by.

    `cap` is the largest stable ``rho h``, used with the spectral radius that the stages tell; infinite for solvers that
    are stable anyway, whose stages do not tell it, or whose controller is a :class:`StabilityCap`.
    """

    solver: diffrax.AbstractSolver
    controller: diffrax.AbstractStepSizeController
    direction: float = eqx.field(static=True)
    cap: float = eqx.field(static=True)

    def terms(self) -> diffrax.ODETerm:
        """The field as a diffrax term whose `args` is the flow."""
        return diffrax.ODETerm(lambda _, y, flow: scaled(flow.vector_field(y), self.direction))

    def field(self, flow: AbstractFlow) -> Callable[[Params], Params]:
        """The field in the direction of time."""
        return lambda params: scaled(flow.vector_field(params), self.direction)


def scaled(tree: Params, factor: float) -> Params:
    """`tree` times a factor."""
    return tree if factor == 1.0 else jax.tree.map(lambda leaf: factor * leaf, tree)
