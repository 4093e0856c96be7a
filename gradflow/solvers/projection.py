"""Projection of every step back to the level set of the start's invariants, as a wrapper of any adaptive solver.

General solvers let invariants drift as far as the solution is wrong. Moving the end of a step to the nearest point
with the start's values costs no order, for the distance is at most of the size of the step's error, and leaves no
drift but rounding. It works for every invariant that can be written as a function, where Gauss-Legendre methods keep
quadratic ones only. Invariants may depend on each other and may be degenerate at places: nothing is asked of the rank.
"""

from collections.abc import Callable, Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Bool, Float, Int

from gradflow import checks
from gradflow.flow import AbstractFlow
from gradflow.invariants import Behaviour, Invariant, invariants_of
from gradflow.solvers.wrapping import AbstractCorrected, Correction, Step
from gradflow.types import Array, Params, Scalar

RANK_CUT = 1e-6
"""Singular values of the invariants' Jacobian below that, relative to the largest, count as zero."""

RESTORED = 32.0
"""Invariants within that many units of rounding of ``||G|| ||y||`` (G their Jacobian) count as restored."""

MAX_ITERATIONS = 30


class Projected(AbstractCorrected):
    """`solver`, every step projected to where `constraint` has the values it had at the start of the integration.

    ``y1 = argmin ||y - y1'|| subject to g(y) = g(y(0))`` to first order, by Gauss-Newton iterations of least norm
    ``y <- y - G^T (G G^T)^+ (g(y) - g(y(0)))`` with ``G = dg/dy`` at the wrapped solver's end y1' of the step.

    Args:
        solver: any adaptive diffrax solver of ordinary differential equations.
        constraint: ``params -> array`` (or pytree of arrays), traceable by JAX; its values must be conserved by the
            exact flow, otherwise the result is the solution of another equation.

    The values aimed at are those of the start of the integration, not of the step, so that nothing accumulates.
    Singular values of G below :data:`RANK_CUT` of the largest are left out: what depends on the others is restored with
    them. A step whose values are not restored to about ``1e-14 ||G|| ||y||`` has an infinite error, and the move counts
    as error of the step where it is more than the wrapped solver's estimate: it is below the tolerance when accepted.

    Cost: one evaluation of the field that FSAL solvers would save, the Jacobian of the m values, its Gram matrix
    ``m^2 n`` and eigendecomposition ``m^3``, and two to four evaluations of the constraint.

    Source: Hairer, Lubich, Wanner (2006), Geometric Numerical Integration, IV.4.
    """

    solver: diffrax.AbstractAdaptiveSolver  # type: ignore[misc]
    constraint: Callable[[Params], Any]

    def begin(self, y0: Params, args: Any) -> Float[Array, " m"]:
        """The values at the start."""
        del args
        return self._values(y0)

    def correct(self, step: Step, memory: Float[Array, " m"], args: Any) -> Correction:
        """The step projected to the values in `memory`."""
        del args
        value = lambda flat: self._values(step.field.unravel(flat))  # noqa: E731
        end, is_good = project(value, step.end, memory)
        return Correction(end, is_good, memory)

    def _values(self, params: Params) -> Float[Array, " m"]:
        return ravel_pytree(self.constraint(params))[0]


class ConservedValues(eqx.Module):
    """The values of invariants as one vector; entries below the diagonal of symmetric matrices are left out."""

    functions: tuple[Callable[[Any], Any], ...]
    is_symmetric: tuple[bool, ...] = eqx.field(static=True)

    def __call__(self, params: Params) -> Float[Array, " m"]:
        """The values at `params`."""
        parts = []
        for function, is_symmetric in zip(self.functions, self.is_symmetric, strict=True):
            value = jnp.asarray(function(params))
            parts.append(value[jnp.triu_indices(len(value))] if is_symmetric else value.reshape(-1))
        return jnp.concatenate(parts)


def projected(solver: diffrax.AbstractAdaptiveSolver, flow: AbstractFlow) -> Projected:
    """`solver` with projection to all that `flow` conserves (:func:`gradflow.invariants_of`).

    Quantities that decay, as under weight decay, are left alone.

    Raises:
        InputError: nothing is known to be conserved by `flow`, or `solver` is not an adaptive one.
    """
    kept = tuple(found for found in invariants_of(flow) if found.behaviour is Behaviour.CONSERVED)
    checks.require(
        len(kept) > 0, "flow", "conserve something that is known", type(flow.problem).__name__,
        "Give the invariants as a function: solvers.Projected(solver, constraint).",
    )  # fmt: skip
    return Projected(solver, conserved_values(kept))


def conserved_values(invariants: Sequence[Invariant]) -> ConservedValues:
    """The constraint of :class:`Projected` that keeps `invariants`."""
    generator = np.random.default_rng(0)
    symmetric = []
    for invariant in invariants:
        value = np.asarray(invariant.value(tuple(generator.normal(size=shape) for shape in invariant.shapes)))
        is_square = value.ndim == 2 and value.shape[0] == value.shape[1]
        symmetric.append(bool(is_square and np.allclose(value, value.T, rtol=0.0, atol=1e-12 * np.abs(value).max())))
    return ConservedValues(tuple(invariant.value for invariant in invariants), tuple(symmetric))


class _Iteration(eqx.Module):
    point: Float[Array, " n"]
    rest: Float[Array, " m"]
    size: Scalar
    count: Int[Array, ""]
    is_falling: Bool[Array, ""]


def project(
    value: Callable[[Float[Array, " n"]], Float[Array, " m"]], point: Float[Array, " n"], target: Float[Array, " m"]
) -> tuple[Float[Array, " n"], Bool[Array, ""]]:
    """The point near `point` at which `value` is `target`, and whether it was found.

    Iterates as long as the distance of the values falls; good when that ends at rounding.
    """
    jacobian = jax.jacrev(value)(point)
    squares, vectors = jnp.linalg.eigh(jacobian @ jacobian.T, symmetrize_input=True)
    largest = jnp.max(squares, initial=0.0)
    counts = squares > RANK_CUT**2 * largest
    inverse = jnp.where(counts, 1.0 / jnp.where(counts, squares, 1.0), 0.0)
    unit = jnp.finfo(point.dtype).eps
    rounding = RESTORED * unit * jnp.sqrt(largest) * jnp.linalg.norm(point)

    def body(old: _Iteration) -> _Iteration:
        change = jacobian.T @ (vectors @ (inverse * (vectors.T @ old.rest)))
        moved = old.point - change
        rest = value(moved) - target
        size = jnp.linalg.norm(rest)
        is_falling = size < old.size
        keep = lambda new, before: jnp.where(is_falling, new, before)  # noqa: E731
        return _Iteration(keep(moved, old.point), keep(rest, old.rest), keep(size, old.size), old.count + 1, is_falling)

    rest = value(point) - target
    first = _Iteration(point, rest, jnp.linalg.norm(rest), jnp.zeros((), jnp.int32), jnp.ones((), bool))
    goes_on = lambda s: s.is_falling & (s.size > rounding / RESTORED) & (s.count < MAX_ITERATIONS)  # noqa: E731
    last = jax.lax.while_loop(goes_on, body, first)
    return last.point, last.size <= rounding
