"""What solvers that correct another solver's steps have in common: they look like it, and end where they say.

The wrapped solver takes its step; a subclass says where the step ends instead, how far that is, and whether it worked.
What moves the end of a step counts as part of its error. Solvers that keep the field at the end of a step for the next
one (FSAL) are told that the state was changed. Interpolation is cubic Hermite and ends at the corrected point.
"""

import abc
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Bool, Float

from gradflow import checks
from gradflow.solvers.base import AbstractFlowSolver, FlatField, dense_info
from gradflow.types import Array, Params, Scalar


class Step(eqx.Module):
    """A step of the wrapped solver on flat vectors: field, length, ends, and the energy dissipated."""

    field: FlatField
    length: Scalar
    start: Float[Array, " n"]
    end: Float[Array, " n"]
    energy: Scalar


class Correction(eqx.Module):
    """Where a step ends instead, whether the step may be kept, and what to remember then."""

    end: Float[Array, " n"]
    is_good: Bool[Array, ""]
    memory: Any


class AbstractCorrected(AbstractFlowSolver, diffrax.AbstractWrappedSolver):
    """A solver whose steps are those of `solver`, corrected at their end. Final subclasses give `begin`, `correct`.

    The error estimate is the wrapped solver's, or what the correction moved where that is more; infinite where the
    correction failed, the result of the step then says so too. Orders are the wrapped solver's.

    Raises:
        InputError: `solver` has no error estimate of its own or is not for ordinary differential equations.
    """

    solver: eqx.AbstractVar[diffrax.AbstractAdaptiveSolver]  # type: ignore[misc]

    def __check_init__(self) -> None:
        inner = self.solver
        fits = isinstance(inner, diffrax.AbstractAdaptiveSolver) and inner.term_structure is diffrax.AbstractTerm
        checks.require(
            fits, "solver", "be an adaptive diffrax solver of ordinary differential equations", repr(inner),
            "Use diffrax.Tsit5(), or gradflow's own.",
        )  # fmt: skip

    @abc.abstractmethod
    def begin(self, y0: Params, args: Any) -> Any:
        """What corrections remember of the start of the integration, or None."""

    @abc.abstractmethod
    def correct(self, step: Step, memory: Any, args: Any) -> Correction:
        """Where `step` ends instead."""

    @property
    def real_stability_limit(self) -> float:  # type: ignore[override]
        """The wrapped solver's: a correction is no larger than the error of a step."""
        from gradflow.solvers.registry import real_stability_limit

        return real_stability_limit(self.solver)

    @property
    def root_finder(self) -> Any:
        """The wrapped solver's, if it is implicit."""
        return self.solver.root_finder  # type: ignore[attr-defined]

    @property
    def root_find_max_steps(self) -> int:
        """The wrapped solver's, if it is implicit."""
        return self.solver.root_find_max_steps  # type: ignore[attr-defined]

    def order(self, terms: Any) -> int | None:
        """The wrapped solver's."""
        return self.solver.order(terms)

    def error_order(self, terms: Any) -> Any:
        """The wrapped solver's."""
        return self.solver.error_order(terms)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Params, args: Any) -> tuple[Any, Any]:
        """The wrapped solver's state, and what corrections remember."""
        return self.solver.init(terms, t0, t1, y0, args), self.begin(y0, args)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Params, args: Any, solver_state: tuple[Any, Any], made_jump: Any
    ) -> tuple[Params, Params | None, dict[str, Any], tuple[Any, Any], diffrax.RESULTS]:
        """A step of the wrapped solver, corrected."""
        del made_jump
        inner, memory = solver_state
        y1, error, dense, inner, result = self.solver.step(terms, t0, t1, y0, args, inner, True)
        field = FlatField(terms, t0, y0, args)
        length = jnp.asarray(terms.contr(t0, t1), field.flat.dtype)
        end = ravel_pytree(y1)[0]
        energy = step_energy(self.solver, dense, length, field, end)
        done = self.correct(Step(field, length, field.flat, end, energy), memory, args)
        is_good = done.is_good & jnp.isfinite(done.end).all()
        if error is not None:
            flat = jnp.maximum(jnp.abs(ravel_pytree(error)[0]), jnp.abs(done.end - end))
            error = field.unravel(jnp.where(is_good, flat, jnp.inf))
        failed = diffrax.RESULTS.where(is_good, diffrax.RESULTS.successful, diffrax.RESULTS.nonlinear_divergence)
        result = diffrax.RESULTS.where(diffrax.is_okay(result), failed, result)
        speeds = jax.vmap(field.value)(jnp.stack([field.flat, done.end]))
        dense = dense_info(field, length, (field.flat, done.end), (speeds[0], speeds[1]), energy)
        return field.unravel(done.end), error, dense, (inner, done.memory), result


def step_energy(
    solver: diffrax.AbstractSolver, dense: dict[str, Any], length: Scalar, field: FlatField, end: Float[Array, " n"]
) -> Scalar:
    """``int ||f||^2 dt`` over a step by the solver's own weights, ``h sum_i b_i ||f(Y_i)||^2``; else trapezoidal."""
    if "energy" in dense:
        return dense["energy"]
    tableau = getattr(solver, "tableau", None)
    if isinstance(tableau, diffrax.ButcherTableau) and "k" in dense:
        squares = jnp.sum(jax.vmap(lambda k: ravel_pytree(k)[0])(dense["k"]) ** 2, axis=1)
        total = jnp.dot(jnp.asarray(tableau.b_sol, squares.dtype), squares)
        return jnp.where(length == 0, 0.0, total / jnp.where(length == 0, 1.0, length))
    return 0.5 * length * jnp.sum(jax.vmap(field.value)(jnp.stack([field.flat, end])) ** 2)
