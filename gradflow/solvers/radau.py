"""Radau IIA collocation of order 9 with full Newton iterations: few, long steps for stiff flows of few parameters.

A step of five stages solves ``Y_i = y0 + h sum_j a_ij f(Y_j)`` for all of them at once, with the Jacobian at every
stage in the Newton matrix. In a curved stiff valley, where stiffness grows along the way and steps are as long as the
time that has passed, an iteration with one kept Jacobian would limit the step. The matrix has five times as many rows
as there are parameters: that is nothing for a few, and too much for a network.

At an unstable point the method, being L-stable, would damp what really grows once a step is long. A step is refused
over which the curvature at its start or at one of its stages would make anything grow more than about sevenfold.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from gradflow import checks
from gradflow.solvers.base import AbstractFlowSolver, FlatField, StepPolynomial, dense_info
from gradflow.types import Array, Params, Scalar

STAGES = 5

MOST_PARAMETERS = 400
"""Largest number of parameters that is taken: a Newton matrix has 2000 rows then, and 32 MB."""

FILTER = 0.5
"""The error estimate is divided by ``I - h J / 2``, which also must be positive definite."""

NEWTON_SHARE = 1e-3
"""What Newton's method may leave, as a share of the error that a step may have."""

CORRECTIONS = 10
"""Newton corrections after which a step is refused."""

LONGEST_REACH = 5.0
"""How many times longer than the last step the next may be for its stages to be extrapolated."""


class Tableau(NamedTuple):
    """Nodes (the last is 1), matrix A and its inverse, and the estimate ``e . Z + gamma h f(y0)`` of order s."""

    nodes: np.ndarray
    matrix: np.ndarray
    inverse: np.ndarray
    estimate: np.ndarray
    gamma: float


@functools.cache
def radau_tableau(stages: int) -> Tableau:
    """Radau IIA of that many stages, by collocation. Source: Hairer and Wanner 1996, sections IV.5 and IV.8."""
    # Nodes: the zeros of the right Radau polynomial P_s - P_{s-1}, of which 1 is one.
    series = np.zeros(stages + 1)
    series[-1], series[-2] = 1.0, -1.0
    nodes = 0.5 * (1.0 + np.sort(np.polynomial.legendre.legroots(series).real))
    nodes[-1] = 1.0
    powers = np.vander(nodes, stages, increasing=True)
    degrees = np.arange(1, stages + 1)
    matrix = np.linalg.solve(powers.T, (powers * nodes[:, None] / degrees).T).T
    inverse = np.linalg.inv(matrix)
    values = np.linalg.eigvals(inverse)
    gamma = float(1.0 / values[np.argmin(np.abs(values.imag))].real)
    wanted = 1.0 / degrees
    wanted[0] -= gamma
    weights = np.linalg.solve(powers.T, wanted)
    return Tableau(nodes, matrix, inverse, (weights - matrix[-1]) @ inverse, gamma)


class RadauState(eqx.Module):
    """The field at the start of the step, and the last step's length and stages, relative to its start."""

    speed: Float[Array, " n"]
    length: Scalar
    stages: Float[Array, "s n"]


class _Newton(NamedTuple):
    stages: Float[Array, "s n"]
    size: Scalar
    turns: Int[Array, ""]
    is_solved: Bool[Array, ""]
    is_hopeless: Bool[Array, ""]


class Radau9(AbstractFlowSolver):
    """Radau IIA of five stages: order 9, L-stable, stiffly accurate; full Newton on all stages together.

    Args:
        rtol, atol: the tolerances of the controller, which Newton's method and the error estimate need too.
        jacobian: ``(params, args) -> (n, n)`` matrix of the field on flattened parameters, symmetric. None:
            forward-mode differentiation of the field.

    Error estimate: that of an embedded formula of order 5, which is far above the error of a step of order 9. As Hairer
    and Wanner's RADAU does, tolerances are therefore read as ``0.1 rtol^(6/10)``: the estimate that is handed on is
    multiplied by ``10 rtol^(4/10)``, at most 1. Infinite for a step that was not solved or is too long for a negative
    curvature.

    Accuracy: errors are usually some hundred times smaller than the tolerance.

    Cost: a Newton correction factorises a matrix of 5 n rows. For more than some twenty parameters take another one.

    Raises:
        InputError: more than :data:`MOST_PARAMETERS` parameters.

    Source: Hairer and Wanner 1996, sections IV.5 and IV.8; Hairer and Wanner 1999, Stiff differential equations solved
    by Radau methods.
    """

    rtol: Any = 1e-6
    atol: Any = 1e-8
    jacobian: Callable[[Params, Any], Array] | None = None

    interpolation_cls: ClassVar[Callable[..., Any]] = StepPolynomial
    real_stability_limit: ClassVar[float] = math.inf

    def order(self, terms: Any) -> int:
        """Order of convergence."""
        del terms
        return 2 * STAGES - 1

    def error_order(self, terms: Any) -> int:
        """The power of h of the error estimate."""
        del terms
        return STAGES + 1

    def init(self, terms: Any, t0: Any, t1: Any, y0: Params, args: Any) -> RadauState:
        """The field at the start; there are no stages to extrapolate yet."""
        field = FlatField(terms, t0, y0, args)
        checks.require(
            field.flat.size <= MOST_PARAMETERS, "solver", f"be another one for more than {MOST_PARAMETERS} parameters",
            f"Radau9 for {field.flat.size}", "Use 'bdf'.",
        )  # fmt: skip
        length = jnp.asarray(terms.contr(t0, t1), field.flat.dtype)
        return RadauState(field.value(field.flat), length, jnp.zeros((STAGES, field.flat.size), field.flat.dtype))

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Params, args: Any, solver_state: RadauState, made_jump: Any
    ) -> tuple[Params, Params, dict[str, Any], RadauState, Any]:
        """One step."""
        field = FlatField(terms, t0, y0, args)
        start, step = field.flat, jnp.asarray(terms.contr(t0, t1), field.flat.dtype)
        state = self.init(terms, t0, t1, y0, args) if made_jump is not False else solver_state
        if made_jump is not False:
            state = jax.tree.map(lambda a, b: jnp.where(made_jump, a, b), state, solver_state)
        tableau = radau_tableau(STAGES)
        solved = self._solved(field, args, step, _extrapolated(state, step))
        stages = solved.stages
        end = start + stages[-1]
        end_speed = field.value(end)
        estimate = self._estimate(field, args, step, state.speed, stages)
        is_good = solved.is_solved & jnp.all(jnp.isfinite(estimate)) & jnp.all(jnp.isfinite(end_speed))
        error = jnp.where(is_good, jnp.abs(estimate), jnp.inf)
        # The collocation polynomial's derivative at the nodes; Radau's rule is exact for its square.
        speeds = tableau.inverse @ stages
        energy = tableau.matrix[-1] @ jnp.sum(speeds**2, axis=1) / jnp.where(step == 0, 1.0, step)
        info = dense_info(field, step, (start, end), (state.speed, end_speed), energy)
        info["polynomial"] = jax.vmap(field.unravel)(_polynomial(start, stages))
        after = RadauState(end_speed, step, stages)
        return field.unravel(end), field.unravel(error), info, after, diffrax.RESULTS.successful

    def _jacobian(self, field: FlatField, args: Any) -> Callable[[Array], Array]:
        if self.jacobian is None:
            return jax.jacfwd(field.value)
        given = self.jacobian
        return lambda point: jnp.asarray(given(field.unravel(point), args))

    def _solved(self, field: FlatField, args: Any, step: Scalar, guess: Float[Array, "s n"]) -> _Newton:
        """The stages relative to the start, by full Newton."""
        start, matrix, jacobian = field.flat, radau_tableau(STAGES).matrix, self._jacobian(field, args)
        size = start.size * STAGES
        eye = jnp.eye(size, dtype=start.dtype)

        def correct(old: _Newton) -> _Newton:
            points = start + old.stages
            residual = step * (matrix @ jax.vmap(field.value)(points)) - old.stages
            blocks = step * jnp.einsum("ij,jkl->ikjl", matrix, jax.vmap(jacobian)(points))
            change = jnp.linalg.solve(eye - blocks.reshape(size, size), residual.reshape(-1)).reshape(old.stages.shape)
            stages = old.stages + change
            scale = self.atol + self.rtol * jnp.maximum(jnp.abs(start), jnp.abs(start + stages[-1]))
            length = jnp.sqrt(jnp.mean((change / scale) ** 2))
            ratio = jnp.where(old.turns > 0, length / old.size, 1.0)
            # Quadratic convergence: the next correction is below this one by at least the last ratio.
            is_solved = length * jnp.minimum(ratio, 1.0) < NEWTON_SHARE
            is_hopeless = ~jnp.isfinite(length) | (ratio > 2.0)
            return _Newton(stages, length, old.turns + 1, is_solved & jnp.isfinite(length), is_hopeless)

        no = jnp.zeros((), bool)
        first = _Newton(guess, jnp.full_like(step, jnp.inf), jnp.zeros((), jnp.int32), no, no)
        return jax.lax.while_loop(
            lambda s: ~s.is_solved & ~s.is_hopeless & (s.turns < CORRECTIONS), correct, first
        )  # fmt: skip

    def _estimate(
        self, field: FlatField, args: Any, step: Scalar, speed: Float[Array, " n"], stages: Float[Array, "s n"]
    ) -> Float[Array, " n"]:
        """The embedded formula's difference, filtered as a stiff component is damped; NaN for too long a step.

        A curvature may turn negative at any stage of a long step.
        """
        tableau = radau_tableau(STAGES)
        difference = tableau.estimate @ stages + tableau.gamma * step * speed
        points = jnp.concatenate([field.flat[None], field.flat + stages])
        jacobians = jax.vmap(self._jacobian(field, args))(points)
        matrices = jnp.eye(speed.size, dtype=speed.dtype) - FILTER * step * jacobians
        factors = jax.lax.linalg.cholesky(matrices, symmetrize_input=False)
        turned = jnp.minimum(10.0 * self.rtol ** ((STAGES - 1) / (2 * STAGES)), 1.0)
        filtered = turned * jax.scipy.linalg.cho_solve((factors[0], True), difference)
        return jnp.where(jnp.all(jnp.isfinite(factors)), filtered, jnp.nan)


def _extrapolated(state: RadauState, step: Scalar) -> Float[Array, "s n"]:
    """The last step's polynomial at the stages of this one, relative to its end; zeros where that is far off."""
    nodes = np.append(0.0, radau_tableau(STAGES).nodes)
    ratio = step / state.length
    places = 1.0 + nodes[1:] * ratio
    columns = []
    for place in range(1, STAGES + 1):
        others = np.delete(nodes, place)
        columns.append(jnp.prod((places[:, None] - others) / (nodes[place] - others), axis=1))
    weights = jnp.stack(columns, axis=1)
    reached = weights @ state.stages - state.stages[-1]
    return jnp.where((ratio > 0) & (ratio <= LONGEST_REACH), reached, 0.0)


def _polynomial(start: Float[Array, " n"], stages: Float[Array, "s n"]) -> Float[Array, "powers n"]:
    """The collocation polynomial in powers of ``(t - t1) / h``."""
    nodes = np.append(0.0, radau_tableau(STAGES).nodes) - 1.0
    inverse = np.linalg.inv(np.vander(nodes, STAGES + 1))
    return jnp.asarray(inverse) @ jnp.concatenate([start[None], start + stages])
