"""The stage equations of Gauss-Legendre methods, solved to rounding: what the conservation of invariants rests on.

A step conserves a quadratic invariant up to the residual of its stage equations, so they are solved until corrections
are rounding. The unknowns are the increments ``k_i = h f(Y_i)``: with the last Newton correction in them they are those
of the exact stages, not of stages rounded to the digits of y, so that a stiff field does not amplify rounding. The
Jacobian of a gradient flow is symmetric: one eigendecomposition decouples the Newton matrix of all stages into
``s x s`` systems, one per eigenvalue, whose inverses have a closed form; it serves every iteration and every step size
from that point. The matrix decides only how fast the iteration converges, never where it converges to. Where it does
not contract (a Jacobian that varies over the step, or is not symmetric) full Newton takes over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from gradflow.types import Array, Scalar

ROUNDING = 4.0
"""Corrections below that many units of rounding of the stages are rounding."""

STAGNATION = 1e-11
"""Corrections that no longer fall are rounding of the field when they are below this, relative to the stages."""

SLOWEST = 0.5
"""Contraction from which on full Newton takes over."""

PARTS = tuple(0.5**power for power in range(8))
FAR = 1e-3
"""Newton corrections above that, relative to the stages, may be shortened, to one of the parts."""

MAX_SIMPLIFIED = 40
MAX_NEWTON = 40


@dataclass(frozen=True)
class GaussTableau:
    """Gauss-Legendre of s stages: ``A``, the weights b, and ``(I - z A)^{-1}`` in closed form.

    `adjugate` are the ``B_k`` in ``(I - z A)^{-1} = sum_k z^k B_k / q(z)``, `denominator` the coefficients of q from
    the constant on; the stability function is ``q(-z) / q(z)``. What the invariants need of the coefficients,
    ``b_i a_ij + b_j a_ji = b_i b_j``, holds for the rounded ones to 1e-17, and exactly for up to two stages.
    """

    matrix: np.ndarray
    weights: np.ndarray
    adjugate: tuple[np.ndarray, ...]
    denominator: tuple[float, ...]

    @property
    def num_stages(self) -> int:
        """The number of stages, s."""
        return len(self.weights)

    def stability(self, z: Array) -> Array:
        """``R(z)``, the factor of a step for ``y' = lambda y``, ``z = h lambda``: the (s, s) Pade form of exp."""
        signed = [(-1) ** power * value for power, value in enumerate(self.denominator)]
        return _polynomial(signed, z) / _polynomial(self.denominator, z)


def gauss_tableau(num_stages: int) -> GaussTableau:
    """The tableau of 1, 2 or 3 stages. Source: Hairer, Lubich, Wanner, Geometric Numerical Integration, II.1.3."""
    root3, root15 = np.sqrt(3.0), np.sqrt(15.0)
    lower = 1 / 4 + root3 / 6
    matrix, weights, denominator = {
        1: (((1 / 2,),), (1.0,), (1.0, -1 / 2)),
        2: (
            ((1 / 4, 1 / 2 - lower), (lower, 1 / 4)),
            (1 / 2, 1 / 2), (1.0, -1 / 2, 1 / 12),
        ),
        3: (
            (
                (5 / 36, 2 / 9 - root15 / 15, 5 / 36 - root15 / 30),
                (5 / 36 + root15 / 24, 2 / 9, 5 / 36 - root15 / 24),
                (5 / 36 + root15 / 30, 2 / 9 + root15 / 15, 5 / 36),
            ),
            (5 / 18, 4 / 9, 5 / 18), (1.0, -1 / 2, 1 / 10, -1 / 120),
        ),
    }[num_stages]  # fmt: skip
    a, eye = np.asarray(matrix), np.eye(num_stages)
    adjugate = [eye]
    for coefficient in denominator[1:-1]:
        adjugate.append(adjugate[-1] @ a + coefficient * eye)
    return GaussTableau(a, np.asarray(weights), tuple(adjugate), tuple(denominator))


class Frame(eqx.Module):
    """Eigenvalues and eigenvectors of (the symmetric part of) a Jacobian: the coordinates that decouple a step."""

    values: Float[Array, " n"]
    vectors: Float[Array, "n n"]

    def solve(self, tableau: GaussTableau, step: Scalar, right: Float[Array, "s n"]) -> Float[Array, "s n"]:
        """``(I - h A kron J)^{-1} right``."""
        z = step * self.values
        image = right @ self.vectors
        solved = sum(z**power * (block @ image) for power, block in enumerate(tableau.adjugate))
        return (solved / _polynomial(tableau.denominator, z)) @ self.vectors.T

    def scale(self, factors: Float[Array, " n"], vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """`vector` with its component along every eigenvector times its factor."""
        return self.vectors @ (factors * (self.vectors.T @ vector))


def frame_of(jacobian: Float[Array, "n n"]) -> Frame:
    """The frame of the symmetric part of `jacobian`; NaN where that is not finite."""
    return Frame(*jnp.linalg.eigh(jacobian, symmetrize_input=True))


class StageEquations(eqx.Module):
    """``k = h f(y + A k)`` at one point and step: `point` plus the much smaller `low` is y."""

    value: Callable[[Any], Any]
    point: Float[Array, " n"]
    low: Float[Array, " n"]
    step: Scalar
    tableau: GaussTableau = eqx.field(static=True)

    def residual(self, k: Float[Array, "s n"]) -> Float[Array, "s n"]:
        """``h f(y + A k) - k``."""
        return self.step * jax.vmap(self.value)(self.stages(k)) - k

    def stages(self, k: Float[Array, "s n"]) -> Float[Array, "s n"]:
        """``Y_i = y + sum_j a_ij k_j``."""
        return self.point + (self.low + self.tableau.matrix @ k)

    def newton_correction(self, k: Float[Array, "s n"]) -> Float[Array, "s n"]:
        """``(I - h (a_ij J(Y_i)))^{-1} residual``, by one dense factorisation of size s n.

        Shortened, far from the solution, to the part of it (1, 1/2, 1/4, ...) that leaves the smallest residual.
        """
        s, n = k.shape
        jacobians = jax.vmap(jax.jacfwd(self.value))(self.stages(k))
        blocks = -self.step * jnp.einsum("ij,ikl->ikjl", self.tableau.matrix, jacobians)
        matrix = jnp.eye(s * n, dtype=k.dtype) + blocks.reshape(s * n, s * n)
        change = jnp.linalg.solve(matrix, self.residual(k).reshape(-1)).reshape(s, n)
        parts = jnp.asarray(PARTS, k.dtype)
        left = jax.vmap(lambda part: jnp.linalg.norm(self.residual(k + part * change)))(parts)
        best = parts[jnp.argmin(jnp.where(jnp.isnan(left), jnp.inf, left))]
        is_far = jnp.linalg.norm(change) > FAR * jnp.linalg.norm(self.stages(k))
        return jnp.where(is_far, best, 1.0) * change


class _Iteration(eqx.Module):
    """The increments with the size of the last correction, the first one's, and what became of the equations."""

    k: Float[Array, "s n"]
    size: Scalar
    first: Scalar
    count: Int[Array, ""]
    is_solved: Bool[Array, ""]
    is_hopeless: Bool[Array, ""]


def solve_stages(
    equations: StageEquations, frame: Frame, start: Float[Array, "s n"]
) -> tuple[Float[Array, "s n"], Bool[Array, ""]]:
    """Increments that solve the stage equations to rounding, and whether they do."""
    simplified = lambda k: frame.solve(equations.tableau, equations.step, equations.residual(k))  # noqa: E731
    state = _iterate(equations, simplified, _begin(start), MAX_SIMPLIFIED, SLOWEST)
    is_near = jnp.isfinite(state.size) & (state.size < state.first)
    again = _begin(jnp.where(is_near, state.k, jnp.zeros_like(start)))
    again = eqx.tree_at(lambda s: s.is_solved, again, state.is_solved)
    again = _iterate(equations, equations.newton_correction, again, MAX_NEWTON, jnp.inf)
    return jnp.where(state.is_solved, state.k, again.k), again.is_solved


def _begin(k: Float[Array, "s n"]) -> _Iteration:
    infinite = jnp.full((), jnp.inf, k.dtype)
    no = jnp.zeros((), bool)
    return _Iteration(k, infinite, infinite, jnp.zeros((), jnp.int32), no, no)


def _iterate(
    equations: StageEquations, correction: Callable[[Any], Any], state: _Iteration, most: int, slowest: float
) -> _Iteration:
    """Corrections until they are rounding, fall by less than `slowest`, or `most` have been made."""
    unit = jnp.finfo(state.k.dtype).eps

    def body(old: _Iteration) -> _Iteration:
        change = correction(old.k)
        k, size = old.k + change, jnp.linalg.norm(change)
        scale = jnp.linalg.norm(equations.stages(k)) + jnp.linalg.norm(k)
        is_rounding = (size <= STAGNATION * scale) & (size >= old.size)
        is_solved = (size <= ROUNDING * unit * scale) | is_rounding
        is_hopeless = ~jnp.isfinite(size) | ((size > slowest * old.size) & (old.count > 0))
        first = jnp.where(old.count == 0, size, old.first)
        return _Iteration(k, size, first, old.count + 1, is_solved, is_hopeless & ~is_solved)

    return jax.lax.while_loop(lambda s: ~s.is_solved & ~s.is_hopeless & (s.count < most), body, state)


def _polynomial(coefficients: Any, z: Any) -> Any:
    total: Any = 0.0
    for coefficient in reversed(coefficients):
        total = total * z + coefficient
    return total
