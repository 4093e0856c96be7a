"""Numerical differentiation formulas of orders 1 to 5: the multistep method for stiff flows, with what it keeps.

A step costs one system of equations, however high the order, and its matrix ``I - c J`` is kept for as long as Newton's
method converges with it: most steps take two evaluations of the field and no Jacobian. Along a gradient flow the matrix
is symmetric, so Cholesky's factorisation serves, and fails where a step is so long that the formula would damp what
really grows; such a step is refused. Beyond :data:`DENSE_PARAMETERS` the equations are solved by conjugate gradients on
products with the Jacobian at the predicted point.

The spectrum of a gradient flow is real, and the formulas are stable on the whole negative axis at every order.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from gradflow.solvers import backward_differences as differences
from gradflow.solvers.backward_differences import ALPHA, ERROR_CONSTANT, GAMMA, MAX_ORDER, Table
from gradflow.solvers.base import AbstractFlowSolver, FlatField, StepPolynomial, dense_info, smooth_energy
from gradflow.solvers.factors import CholeskyFactor
from gradflow.types import Array, Params, Scalar

DENSE_PARAMETERS = 800
"""Number of parameters above which conjugate gradients take the place of a kept factorisation."""

NEWTON_SHARE = 0.01
"""What Newton's method may leave, as a share of the error that a step may have."""

RESIDUAL_SHARE = 0.1
"""The same where equations are solved by conjugate gradients, in terms of the residual, which is larger."""

LINEAR_SHARE = 0.3
"""What conjugate gradients may leave, as a share of that."""

CORRECTIONS = 4
"""Newton corrections after which the equations count as unsolved."""

PRODUCTS = 1000
"""Products with the Jacobian after which a linear system counts as unsolved."""

SLOW = 0.3
"""Contraction of Newton's method above which a Jacobian is renewed before the next step."""

FRESH_RATE = 0.3
"""Contraction that Newton's method with a Jacobian at the predicted point is trusted to have before it was seen."""

MEASURED_EVERY = 4
"""Steps after which a second correction is made in any case, to see how fast the first ones contract by now."""

AGE = (5, 40)
"""Steps before which a Jacobian is not renewed though it converges slowly, and after which it is in any case.

The latter bounds how long a curvature that has turned negative can be missed.
"""

FAR = 0.3
"""Relative change of ``h / alpha`` beyond which the matrix is factorised anew."""


class Kept(eqx.Module):
    """The Jacobian, the factor of ``I - factored J``, Newton's contraction with them, and steps since then.

    The former row by row as a vector: a compiler that may choose how a matrix lies in memory copies it in every step.

    A `factored` of 0 says that there is none yet.
    """

    jacobian: Float[Array, " n*n"]
    factor: CholeskyFactor
    factored: Scalar
    rate: Scalar
    age: Int[Array, ""]


class MultistepState(eqx.Module):
    """The table of differences, the speed of the trajectory at its end, and what is kept for the equations."""

    table: Table
    speed: Float[Array, " n"]
    kept: Kept | None

    def if_kept(self, keep: Bool[Array, ""], old: "MultistepState") -> "MultistepState":
        """This state where a step was kept, else `old` with this one's matrices, which a shorter step can use."""
        choose = lambda new, before: jnp.where(keep, new, before)  # noqa: E731
        table, speed = jax.tree.map(choose, (self.table, self.speed), (old.table, old.speed))
        return MultistepState(table, speed, self.kept)


class _Equations(eqx.Module):
    """``d = c f(predicted + d) - known``, what a correction is measured against, and how small it must become."""

    value: Callable[[Any], Any]
    predicted: Float[Array, " n"]
    known: Float[Array, " n"]
    c: Scalar
    scale: Float[Array, " n"]
    tolerance: Scalar

    def residual(self, d: Float[Array, " n"]) -> Float[Array, " n"]:
        return self.c * self.value(self.predicted + d) - self.known - d

    def size(self, vector: Float[Array, " n"]) -> Scalar:
        return jnp.sqrt(jnp.mean((vector / self.scale) ** 2))


class _Newton(NamedTuple):
    """A correction of the predicted point, and how the iteration stands."""

    d: Float[Array, " n"]
    size: Scalar
    rate: Scalar
    turns: Int[Array, ""]
    is_solved: Bool[Array, ""]
    is_hopeless: Bool[Array, ""]


class BDF(AbstractFlowSolver):
    """Variable order and step: NDF of orders 1 to 5 on backward differences, quasi-constant steps.

    Args:
        rtol, atol: the tolerances of the controller, which the choice of the order and Newton's method need too.
        jacobian: ``(params, args) -> (n, n)`` matrix of the field on flattened parameters, symmetric; for a gradient
            flow minus the Hessian. None: forward-mode differentiation of the field.
        matrix_free: solve by conjugate gradients; None: beyond :data:`DENSE_PARAMETERS` parameters.

    For :class:`diffrax.PIDController` with the same tolerances, ``pcoeff = dcoeff = 0`` and default safety. The error
    handed to it is that of the step, ``C_k nabla^{k+1} y``, scaled such that a controller of order
    :data:`MAX_ORDER` + 1 keeps the step exactly if its weighted norm is below 1, and proposes the length that suits the
    order chosen for the next step. A step that was not solved, or whose matrix is not positive definite, has an
    infinite error. A jump (a state that was changed from outside) starts again at order 1.

    Accuracy: where nothing contracts errors of steps add up, to some hundred tolerances over a thousand steps.

    Source: Shampine and Reichelt, The MATLAB ODE Suite (1997), sections 2 and 3; Brown, Byrne and Hindmarsh, VODE
    (1989), for when matrices are renewed.
    """

    rtol: Any = 1e-6
    atol: Any = 1e-8
    jacobian: Callable[[Params, Any], Array] | None = None
    matrix_free: bool | None = eqx.field(static=True, default=None)

    interpolation_cls: ClassVar[Callable[..., Any]] = StepPolynomial
    real_stability_limit: ClassVar[float] = math.inf
    start_order: ClassVar[int] = 2
    """The power of the first step in its error, for a controller that chooses it."""

    def order(self, terms: Any) -> int:
        """The largest order."""
        del terms
        return MAX_ORDER

    def error_order(self, terms: Any) -> int:
        """The power of h that a controller is to think of, whatever the order."""
        del terms
        return MAX_ORDER + 1

    def init(self, terms: Any, t0: Any, t1: Any, y0: Params, args: Any) -> MultistepState:
        """Order 1 from the start, nothing kept."""
        field = FlatField(terms, t0, y0, args)
        size, dtype = field.flat.size, field.flat.dtype
        speed = field.value(field.flat)
        table = differences.begun(field.flat, speed, jnp.asarray(terms.contr(t0, t1), dtype))
        if self._is_matrix_free(size):
            return MultistepState(table, speed, None)
        zero = jnp.zeros((), dtype)
        kept = Kept(
            jnp.zeros(size * size, dtype), CholeskyFactor.zeros(size, dtype), zero, zero, jnp.zeros((), jnp.int32)
        )  # fmt: skip
        return MultistepState(table, speed, kept)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Params, args: Any, solver_state: MultistepState, made_jump: Any
    ) -> tuple[Params, Params, dict[str, Any], MultistepState, Any]:
        """One step, with the order for the next one in the state."""
        field = FlatField(terms, t0, y0, args)
        start, length = field.flat, jnp.asarray(terms.contr(t0, t1), field.flat.dtype)
        table, before = self._table(field, length, solver_state, made_jump)
        share = RESIDUAL_SHARE if solver_state.kept is None else NEWTON_SHARE
        equations = self._equations(field, table, start, share)
        if solver_state.kept is None:
            solved, kept = _by_products(equations), None
        else:
            solved, kept = self._by_factor(equations, field, args, solver_state.kept)
        end = equations.predicted + solved.d
        after = differences.advanced(table, solved.d)
        scale = self.atol + self.rtol * jnp.maximum(jnp.abs(start), jnp.abs(end))
        choice = differences.chosen(after, solved.d, scale)
        error = self._told(choice, solved, jnp.asarray(ERROR_CONSTANT)[table.order] * solved.d)
        smooth = (equations.known + solved.d) / equations.c
        energy = smooth_energy(length, (start, end), (before, smooth))
        info = dense_info(field, length, (start, end), (before, smooth), energy)
        info["polynomial"] = jax.vmap(field.unravel)(differences.polynomial(after))
        num_equal = jnp.where(choice.is_change, 0, after.num_equal)
        state = MultistepState(after._replace(order=choice.order, num_equal=num_equal), smooth, kept)
        return field.unravel(end), field.unravel(error), info, state, diffrax.RESULTS.successful

    def _is_matrix_free(self, size: int) -> bool:
        return bool(self.matrix_free or (self.matrix_free is None and size > DENSE_PARAMETERS))

    def _table(
        self, field: FlatField, length: Scalar, state: MultistepState, made_jump: Any
    ) -> tuple[Table, Float[Array, " n"]]:
        """The table for this step and the speed at its start; both anew where the state was changed from outside."""
        table = differences.changed(state.table, length)
        if made_jump is False:
            return table, state.speed

        def again() -> tuple[Table, Array]:
            speed = field.value(field.flat)
            return differences.begun(field.flat, speed, length), speed

        return jax.lax.cond(jnp.asarray(made_jump), again, lambda: (table, state.speed))

    def _equations(self, field: FlatField, table: Table, start: Float[Array, " n"], share: float) -> _Equations:
        order, rows = table.order, differences.used(table)
        alpha, weights = jnp.asarray(ALPHA)[order], jnp.asarray(GAMMA)
        predicted = jnp.sum(rows, axis=0)
        return _Equations(
            value=field.value,
            predicted=predicted,
            known=weights @ rows[: MAX_ORDER + 1] / alpha,
            c=table.length / alpha,
            scale=self.atol + self.rtol * jnp.maximum(jnp.abs(start), jnp.abs(predicted)),
            tolerance=share / jnp.asarray(ERROR_CONSTANT)[order],
        )

    def _told(self, choice: differences.Choice, solved: _Newton, error: Float[Array, " n"]) -> Float[Array, " n"]:
        """The error of the step, scaled to the length that its successor should have; infinite for an unsolved one."""
        safe = jnp.where(choice.error > 0, choice.error, 1.0)
        told = jnp.abs(error) * jnp.where(choice.error > 0, choice.told ** (MAX_ORDER + 1) / safe, 0.0)
        is_good = solved.is_solved & jnp.all(jnp.isfinite(told))
        return jnp.where(is_good, told, jnp.inf)

    def _by_factor(self, equations: _Equations, field: FlatField, args: Any, kept: Kept) -> tuple[_Newton, Kept]:
        """Newton's method with the kept matrix, and with a new one if that did not converge."""
        first = _begun(equations, kept.rate)

        def jacobian_at(point: Array) -> Array:
            if self.jacobian is None:
                return jax.jacfwd(field.value)(point).reshape(-1)
            return jnp.asarray(self.jacobian(field.unravel(point), args)).reshape(-1)

        def attempt(carry: Any) -> Any:
            kept, _, _, is_renewed = carry
            kept = _renewed(kept, is_renewed, lambda: jacobian_at(equations.predicted))
            kept = _factorised(kept, equations.c, equations.predicted.size)
            done = _iterated(equations, kept, first._replace(rate=kept.rate))
            kept = eqx.tree_at(lambda k: k.rate, kept, jnp.where(done.is_solved, done.rate, 1.0))
            return kept, done, done.is_solved | is_renewed, jnp.ones((), bool)

        is_slow = (kept.rate >= 1.0) | ((kept.rate > SLOW) & (kept.age >= AGE[0]))
        is_old = (kept.factored == 0) | (kept.age >= AGE[1]) | is_slow
        carry = (kept, first, jnp.zeros((), bool), is_old)
        kept, done, _, _ = jax.lax.while_loop(lambda s: ~s[2], attempt, carry)
        return done, eqx.tree_at(lambda k: k.age, kept, kept.age + 1)


def _begun(equations: _Equations, rate: Scalar) -> _Newton:
    no = jnp.zeros((), bool)
    infinite = jnp.full_like(equations.c, jnp.inf)
    return _Newton(jnp.zeros_like(equations.predicted), infinite, rate, jnp.zeros((), jnp.int32), no, no)


# Loops of at most one turn instead of conditionals: what a conditional passes through is copied, a loop leaves it.


def _renewed(kept: Kept, is_wanted: Bool[Array, ""], jacobian: Callable[[], Array]) -> Kept:
    """`kept` with another Jacobian, to be factorised, where that is wanted."""

    def renew(carry: Any) -> Any:
        zero = jnp.zeros_like(kept.factored)
        return jnp.zeros((), bool), Kept(
            jacobian(), carry[1].factor, zero, zero + FRESH_RATE, jnp.zeros((), jnp.int32)
        )  # fmt: skip

    return jax.lax.while_loop(lambda carry: carry[0], renew, (is_wanted, kept))[1]


def _factorised(kept: Kept, c: Scalar, size: int) -> Kept:
    """`kept` with the factor for `c`, where that it has is too far from it."""

    def factorise(carry: Any) -> Any:
        old = carry[1]
        matrix = jnp.eye(size, dtype=c.dtype) - c * old.jacobian.reshape(size, size).T
        return jnp.zeros((), bool), Kept(old.jacobian, CholeskyFactor.of(matrix), c, old.rate, old.age)

    is_far = ~(jnp.abs(c / jnp.where(kept.factored == 0, jnp.inf, kept.factored) - 1.0) < FAR)
    return jax.lax.while_loop(lambda carry: carry[0], factorise, (is_far, kept))[1]


def _iterated(equations: _Equations, kept: Kept, first: _Newton) -> _Newton:
    """Corrections with a factor of the matrix for about that c, until the next one would be small."""
    # For the stiff directions, where it matters, the right matrix is the kept one times the ratio of the two c.
    relaxed = 2.0 / (1.0 + equations.c / kept.factored)
    is_known = kept.age % MEASURED_EVERY > 0

    def correct(old: _Newton) -> _Newton:
        change = relaxed * kept.factor.solve(equations.residual(old.d))
        size = equations.size(change)
        ratio = jnp.where(size == 0, 0.0, size / old.size)  # two corrections of zero are a solution
        rate = jnp.where(old.turns > 0, jnp.maximum(0.3 * old.rate, ratio), old.rate)
        is_solved = (size * jnp.minimum(rate, 1.0) < equations.tolerance) & (is_known | (old.turns > 0))
        is_hopeless = ~jnp.isfinite(size) | ((old.turns > 0) & (ratio > 0.9))
        return _Newton(old.d + change, size, rate, old.turns + 1, is_solved & ~jnp.isnan(size), is_hopeless)

    return jax.lax.while_loop(
        lambda s: ~s.is_solved & ~s.is_hopeless & (s.turns < CORRECTIONS), correct, first
    )  # fmt: skip


def _by_products(equations: _Equations) -> _Newton:
    """Newton's method with the Jacobian at the predicted point, by conjugate gradients, until the residual is small."""
    speed, derivative = jax.linearize(equations.value, equations.predicted)
    apply = lambda v: v - equations.c * derivative(v)  # noqa: E731

    def correct(carry: tuple[_Newton, Array]) -> tuple[_Newton, Array]:
        old, residual = carry
        d = old.d + _conjugate_gradients(equations, apply, residual)
        # Where the matrix is above the identity the residual bounds the correction that is left.
        residual = equations.residual(d)
        size = equations.size(residual)
        is_hopeless = ~jnp.isfinite(size) | (size > 0.9 * old.size)
        return _Newton(d, size, old.rate, old.turns + 1, size < equations.tolerance, is_hopeless), residual

    start = _begun(equations, jnp.zeros_like(equations.c)), equations.c * speed - equations.known
    return jax.lax.while_loop(
        lambda s: ~s[0].is_solved & ~s[0].is_hopeless & (s[0].turns < CORRECTIONS), correct, start
    )[0]  # fmt: skip


def _conjugate_gradients(
    equations: _Equations, apply: Callable[[Array], Array], right: Float[Array, " n"]
) -> Float[Array, " n"]:
    """The solution of a symmetric positive definite system; NaN where it is not, or was not found."""
    small = LINEAR_SHARE * equations.tolerance

    def iterate(carry: Any) -> Any:
        solution, residual, way, square, count = carry
        image = apply(way)
        curvature = way @ image
        part = jnp.where(curvature > 0, square / curvature, jnp.nan)
        solution, residual = solution + part * way, residual - part * image
        fresh = residual @ residual
        return solution, residual, residual + fresh / square * way, fresh, count + 1

    start = (jnp.zeros_like(right), right, right, right @ right, jnp.zeros((), jnp.int32))
    solution, residual, *_ = jax.lax.while_loop(
        lambda s: (equations.size(s[1]) >= small) & (s[4] < PRODUCTS), iterate, start
    )  # fmt: skip
    return jnp.where(equations.size(residual) < small, solution, jnp.nan)
