"""Gauss-Legendre collocation of order 2, 4 and 6: conserves every quadratic invariant at any step size.

The imbalances ``W_{j+1}^T W_{j+1} - W_j W_j^T`` of a linear network are quadratic, so these methods keep them to
rounding however wrong the rest of the solution is: a drift of zero is no evidence of accuracy here. The error estimate
is therefore taken from the solution alone, a step against two half steps. The methods are symmetric and A-stable, not
L-stable: ``R(z) -> (-1)^s`` as ``z -> -inf``, a stiff mode hardly decays in a long step. Step and half steps then agree
on what is wrong; the estimate weighs their difference, in the eigenvectors of the Jacobian, with what it means at that
``z``, so that it does see it. For stiff flows an L-stable method is the better choice all the same.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from gradflow.solvers.base import AbstractFlowSolver, FlatField, dense_info
from gradflow.solvers.gauss_stages import Frame, GaussTableau, StageEquations, frame_of, gauss_tableau, solve_stages
from gradflow.types import Array, Params, Scalar

SMALL = 0.5
"""``|h lambda|`` below which a difference of steps means what it means for small steps, to 2 %."""


class _Stepped(eqx.Module):
    """Where a step ends, to twice the digits; the energy dissipated in it; whether its equations were solved."""

    point: Float[Array, " n"]
    low: Float[Array, " n"]
    energy: Scalar
    is_solved: Bool[Array, ""]


class AbstractGaussLegendre(AbstractFlowSolver):
    """Gauss-Legendre collocation of s stages: ``Y_i = y0 + h sum_j a_ij f(Y_j)``, order 2 s, A-stable, symmetric.

    Args:
        jacobian: ``(params, args) -> matrix``, the Jacobian of the term's field with parameters flattened in order;
            by default automatic differentiation. It only speeds up the iteration and shapes the error estimate: a wrong
            one costs time.
        doubling: take every step also as two half steps and go on from those, with an error estimate. False takes one
            step a time, a third of the work, without an estimate: for constant steps only (an adaptive controller
            refuses it).

    Conservation: quadratic invariants change by rounding alone, about ``1e-16 ||y||^2`` for a whole integration: the
    stage equations are solved until corrections are rounding, and rounding of the state is carried along.

    Error estimate: ``(y_half - y_one) / (2^{2s} - 1)``, the error of the two half steps, of order 2 s + 1. In
    eigenvectors of the Jacobian whose ``z = h lambda`` is not small the factor is
    ``(R(z/2)^2 - e^z) / (R(z/2)^2 - R(z))`` if that is larger: for linear gradient flows the estimate is never below
    the error of the step. Infinite when the equations were not solved; the step then also says so by its result, which
    ends an integration with constant steps.

    Cost: a Jacobian and its eigendecomposition a step, then about ``s`` evaluations and ``4 s n^2`` operations an
    iteration; for a few thousand parameters at most.

    Source: Hairer, Lubich, Wanner (2006), Geometric Numerical Integration, IV.2.1 and VIII.6; Hairer, Wanner (1996),
    Solving Ordinary Differential Equations II, IV.5 and IV.8.
    """

    jacobian: Callable[[Any, Any], Any] | None = None
    doubling: bool = eqx.field(static=True, default=True)

    num_stages: eqx.AbstractClassVar[int]
    real_stability_limit: ClassVar[float] = float("inf")

    def order(self, terms: Any) -> int:
        """Order of convergence, 2 s."""
        del terms
        return 2 * self.num_stages

    def error_order(self, terms: Any) -> int:
        """The power of h of the error estimate, 2 s + 1."""
        del terms
        return 2 * self.num_stages + 1

    def init(self, terms: Any, t0: Any, t1: Any, y0: Params, args: Any) -> Params:
        """What rounding has cut off the state: nothing yet."""
        del terms, t0, t1, args
        return jax.tree.map(jnp.zeros_like, y0)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Params, args: Any, solver_state: Params, made_jump: Any
    ) -> tuple[Params, Params | None, dict[str, Any], Params, diffrax.RESULTS]:
        """One step, or the same as two half steps; error, dense information and carried rounding."""
        tableau = gauss_tableau(self.num_stages)
        field, low = FlatField(terms, t0, y0, args), FlatField(terms, t0, solver_state, args).flat
        low = jnp.where(made_jump, jnp.zeros_like(low), low)
        step = jnp.asarray(terms.contr(t0, t1), field.flat.dtype)
        given = self.jacobian
        frame = frame_of(jax.jacfwd(field.value)(field.flat) if given is None else jnp.asarray(given(y0, args)))

        error: Params | None = None
        if self.doubling:
            end, difference = _doubled(field, tableau, frame, step, low)
            estimate = jnp.abs(frame.scale(difference_factors(tableau, step * frame.values), difference))
            error = field.unravel(jnp.where(end.is_solved & jnp.isfinite(estimate), estimate, jnp.inf))
        else:
            end = _one_step(field, tableau, frame, step, field.flat, low)

        speeds = jax.vmap(field.value)(jnp.stack([field.flat, end.point]))
        dense = dense_info(field, step, (field.flat, end.point), (speeds[0], speeds[1]), end.energy)
        result = diffrax.RESULTS.where(
            end.is_solved, diffrax.RESULTS.successful, diffrax.RESULTS.nonlinear_divergence
        )  # fmt: skip
        return field.unravel(end.point), error, dense, field.unravel(end.low), result


class Gauss2(AbstractGaussLegendre):
    """Gauss-Legendre of one stage, the implicit midpoint rule: order 2 (see :class:`AbstractGaussLegendre`)."""

    num_stages: ClassVar[int] = 1


class Gauss4(AbstractGaussLegendre):
    """Gauss-Legendre of two stages: order 4 (see :class:`AbstractGaussLegendre`)."""

    num_stages: ClassVar[int] = 2


class Gauss6(AbstractGaussLegendre):
    """Gauss-Legendre of three stages: order 6 (see :class:`AbstractGaussLegendre`)."""

    num_stages: ClassVar[int] = 3


def difference_factors(tableau: GaussTableau, z: Float[Array, " n"]) -> Float[Array, " n"]:
    """What a difference of two half steps and one step means as error of the half steps, for ``y' = lambda y``.

    Formula: ``|R(z/2)^2 - e^z| / |R(z/2)^2 - R(z)|``, at least its limit ``1 / (2^{2s} - 1)`` for small z. As
    ``z -> -inf`` it grows like |z| / 36 for s = 2 and tends to 1/2 for s = 1 and 3.
    """
    smallest = 1.0 / (4.0**tableau.num_stages - 1.0)
    is_small = jnp.abs(z) < SMALL
    safe = jnp.where(is_small, 1.0, z)
    halves = tableau.stability(safe / 2) ** 2
    factors = jnp.abs(halves - jnp.exp(safe)) / jnp.abs(halves - tableau.stability(safe))
    return jnp.where(is_small, smallest, jnp.maximum(factors, smallest))


def _doubled(
    field: FlatField, tableau: GaussTableau, frame: Frame, step: Scalar, low: Array
) -> tuple[_Stepped, Float[Array, " n"]]:
    """Two half steps, and by how much they end elsewhere than one step; a loop, so that a step is compiled once."""

    def body(start: tuple[Array, Array], turn: tuple[Array, Array]) -> tuple[tuple[Array, Array], _Stepped]:
        share, goes_on = turn
        end = _one_step(field, tableau, frame, share * step, *start)
        return (jnp.where(goes_on, end.point, start[0]), jnp.where(goes_on, end.low, start[1])), end

    turns = jnp.asarray([1.0, 0.5, 0.5], field.flat.dtype), jnp.asarray([False, True, True])
    _, ends = jax.lax.scan(body, (field.flat, low), turns)
    difference = (ends.point[2] - ends.point[0]) + (ends.low[2] - ends.low[0])
    energy = ends.energy[1] + ends.energy[2]
    return _Stepped(ends.point[2], ends.low[2], energy, jnp.all(ends.is_solved)), difference


def _one_step(
    field: FlatField, tableau: GaussTableau, frame: Frame, step: Scalar, point: Array, low: Array
) -> _Stepped:
    """A step from `point` plus `low`: ``y1 = y + sum_i b_i k_i``."""
    equations = StageEquations(field.value, point, low, step, tableau)
    k, is_solved = solve_stages(equations, frame, jnp.zeros((tableau.num_stages, point.size), point.dtype))
    weights = jnp.asarray(tableau.weights, point.dtype)
    squares = weights @ jnp.sum(k**2, axis=1)
    energy = jnp.where(step == 0, 0.0, squares / jnp.where(step == 0, 1.0, step))
    return _Stepped(*_sum_with_rest(point, low + weights @ k), energy, is_solved)


def _sum_with_rest(large: Array, small: Array) -> tuple[Array, Array]:
    """``large + small`` rounded, and what rounding cut off (Moller, Knuth)."""
    total = large + small
    part = total - large
    return total, (large - (total - part)) + (small - part)
