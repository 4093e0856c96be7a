"""Curvature: spectra of Hessians and Newton steps, dense where that is cheap and matrix-free beyond.

Knows a problem and a state; does not know flows, trajectories or what a critical point is called. Everything here
runs on the host in double precision and returns floats and NumPy arrays. The matrix-free part needs Hessian-vector
products only; they are compiled once per problem structure and shape, with the data passed as arguments.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg as sparse
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from gradflow import checks
from gradflow.precision import as_params, in_double
from gradflow.problem import AbstractProblem
from gradflow.types import Params

DENSE_LIMIT = 3000
"""Largest number of parameters for which all eigenvalues are computed (1.5 s at the limit on two idle cores)."""

DIRECT_LIMIT = 600
"""Largest number of parameters for which Newton steps and the lowest eigenvalue come from the dense Hessian."""

TOLERANCES = (1e-9, 1e-6, 1e-3)
"""Lanczos tolerances relative to the spectral radius, tried in turn when a dense cluster does not resolve."""

MAX_KRYLOV = 1000
"""Largest number of Hessian-vector products in one matrix-free Newton step."""

EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class ExtremeEigenvalues:
    """Eigenvalues from the two ends of a Hessian's spectrum, outermost first, each with the norm of its residual.

    Within `error` of every value lies an eigenvalue; `lowest` is never below, `highest` never above the true end by
    more than rounding. An end that was not asked for is an empty array.
    """

    lowest: np.ndarray
    highest: np.ndarray
    lowest_error: np.ndarray
    highest_error: np.ndarray


@dataclass(frozen=True)
class QuadraticModel:
    """Gradient and Hessian at one state, with what rounding alone does to the gradient.

    Attributes:
        gradient: the gradient, flattened.
        noise: how much the gradient's norm changes when every parameter is rounded differently.
        values: eigenvalues of the Hessian, ascending; None above :data:`DIRECT_LIMIT` parameters.
        vectors: its eigenvectors; None like `values`.
        product: the Hessian as an operator.
    """

    gradient: np.ndarray
    noise: float
    values: np.ndarray | None
    vectors: np.ndarray | None
    product: Callable[[np.ndarray], np.ndarray]

    @property
    def is_finite(self) -> bool:
        """True when gradient and Hessian are finite."""
        return bool(np.isfinite(self.gradient).all() and (self.values is None or np.isfinite(self.values).all()))

    @property
    def grad_norm(self) -> float:
        """Euclidean norm of the gradient."""
        return float(np.linalg.norm(self.gradient))

    @property
    def noise_per_component(self) -> float:
        """The size below which a component of the gradient is rounding."""
        return 4.0 * self.noise / float(np.sqrt(len(self.gradient)))

    @functools.cached_property
    def radius(self) -> float:
        """The spectral radius of the Hessian (within a few percent when it is matrix-free)."""
        if self.values is None:
            return _spectral_radius(self.product, _start_vector(len(self.gradient)))
        return float(np.abs(self.values).max())

    @functools.cached_property
    def components(self) -> np.ndarray:
        """The gradient in the eigenbasis."""
        assert self.vectors is not None
        return self.vectors.T @ self.gradient

    @functools.cached_property
    def has_curvature(self) -> np.ndarray:
        """Which eigenvalues are more than rounding of the largest."""
        assert self.values is not None
        return np.abs(self.values) > self.curvature_floor

    @property
    def curvature_floor(self) -> float:
        """The size below which an eigenvalue is rounding of the largest."""
        return 16 * len(self.gradient) * EPS * self.radius

    @functools.cached_property
    def newton(self) -> np.ndarray:
        """The full Newton step, see :func:`newton_step`."""
        return self.step()

    def step(self, cutoff: float = 0.0, noise_too: bool = False) -> np.ndarray:
        """``-H^+ gradient``, without eigenvalues below `cutoff` times the radius and, normally, without noise."""
        if not self.is_finite or not self.gradient.any():
            return -self.gradient
        if self.values is None or self.vectors is None:
            return self._krylov_step(1e-3 if noise_too else 1e-8, noise_too)
        kept = self.has_curvature & (np.abs(self.values) > cutoff * self.radius)
        if not noise_too:
            kept = kept & (np.abs(self.components) > self.noise_per_component)
        return -(self.vectors[:, kept] @ (self.components[kept] / self.values[kept]))

    def _krylov_step(self, rtol: float, noise_too: bool) -> np.ndarray:
        """By MINRES from zero: the Krylov space lies in the range of H, so the solution has least norm."""
        size = len(self.gradient)
        if not noise_too and self.grad_norm <= 4.0 * self.noise:
            return np.zeros(size)
        operator = sparse.LinearOperator((size, size), lambda v: self.product(v.ravel()), dtype=float)
        return sparse.minres(operator, -self.gradient, rtol=rtol, maxiter=MAX_KRYLOV)[0]


@in_double
def spectrum(problem: AbstractProblem, params: Params) -> Float[np.ndarray, " n"]:
    """All eigenvalues of the Hessian, ascending.

    Accuracy: about ``n * 1e-16`` of the largest in absolute value. All NaN when the Hessian is not finite.

    Raises:
        InputError: more than :data:`DENSE_LIMIT` parameters; use :func:`extreme_eigenvalues`.
    """
    hessian = _dense_hessian(problem, params)
    return np.linalg.eigvalsh(hessian) if np.isfinite(hessian).all() else np.full(len(hessian), np.nan)


@in_double
def eigenpairs(problem: AbstractProblem, params: Params) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n n"]]:
    """Eigenvalues (ascending) and orthonormal eigenvectors (columns) of the Hessian, as :func:`spectrum`."""
    hessian = _dense_hessian(problem, params)
    if not np.isfinite(hessian).all():
        return np.full(len(hessian), np.nan), np.full_like(hessian, np.nan)
    values, vectors = np.linalg.eigh(hessian)
    return values, vectors


@in_double
def extreme_eigenvalues(
    problem: AbstractProblem, params: Params, num: int = 1, which: str = "both"
) -> ExtremeEigenvalues:
    """The `num` lowest and highest eigenvalues of the Hessian, from Hessian-vector products only.

    Lanczos on the Hessian shifted by its spectral radius, so that tolerances are relative to the radius and an end
    that is zero converges too; the start vector is fixed, so results repeat exactly.

    Args:
        problem: any problem.
        params: where; any pytree.
        num: how many at each end, less than the number of parameters.
        which: "lowest", "highest" or "both".

    Accuracy: residual at most 1e-9 of the spectral radius unless the end is a dense cluster; the reported errors
        are measured, and the eigenvalue itself is usually good to the square of that.
    """
    checks.choice("which", which, ("lowest", "highest", "both"))
    size, product = _operator(problem, params)
    num = checks.integer("num", num)
    checks.require(num < size, "num", f"be less than the number of parameters {size}", num)
    start, empty = _start_vector(size), np.zeros(0)
    if not np.isfinite(product(start)).all():
        unknown = np.full(num, np.nan)
        return ExtremeEigenvalues(unknown, unknown, unknown, unknown)
    if size <= 2 * num + 2:
        ends = functools.partial(_end_of_dense, spectrum(problem, params), num)
    else:
        ends = functools.partial(_end, product, start, num, _spectral_radius(product, start))
    low = ends(-1) if which != "highest" else (empty, empty)
    high = ends(1) if which != "lowest" else (empty, empty)
    return ExtremeEigenvalues(low[0], high[0], low[1], high[1])


@in_double
def lowest_eigenvalue(problem: AbstractProblem, params: Params) -> float:
    """The lowest eigenvalue of the Hessian (NaN when the Hessian is not finite).

    Dense up to :data:`DIRECT_LIMIT` parameters, matrix-free beyond; the latter never returns less than the true
    value, so a negative result proves descent.
    """
    if _num_params(params) <= DIRECT_LIMIT:
        return float(spectrum(problem, params)[0])
    return float(extreme_eigenvalues(problem, params, which="lowest").lowest[0])


@in_double
def quadratic_model(problem: AbstractProblem, params: Params) -> QuadraticModel:
    """Gradient, its rounding noise, and the Hessian at `params`."""
    size, product = _operator(problem, params)
    gradient = flat_gradient(problem, params)
    signs = 1.0 + 4 * EPS * np.sign(_start_vector(size))
    flat, unravel = ravel_pytree(as_params(params, name="params"))
    with np.errstate(invalid="ignore"):  # a gradient that is not finite is reported as such
        noise = float(np.linalg.norm(flat_gradient(problem, unravel(flat * signs)) - gradient))
    values, vectors = eigenpairs(problem, params) if size <= DIRECT_LIMIT else (None, None)
    return QuadraticModel(gradient, noise, values, vectors, product)


@in_double
def newton_step(problem: AbstractProblem, params: Params) -> Float[np.ndarray, " n"]:
    """``-H^+ grad``, flattened: the step to the nearest critical point of the quadratic model.

    ``H^+`` leaves out eigenvalues and components of the gradient that are rounding. Negative eigenvalues are divided
    by as they are: the step leads to the saddle it is near. With more than :data:`DIRECT_LIMIT` parameters it is
    MINRES's least-squares solution in at most :data:`MAX_KRYLOV` products.
    """
    return quadratic_model(problem, params).newton


@in_double
def newton_distance(problem: AbstractProblem, params: Params) -> float:
    """``||H^+ grad||``: an estimate of the distance to the limit of a flow that has come near it.

    Exact to second order at an isolated non-degenerate limit. Near a manifold of minima it is never less but can be a
    few times more, because curvatures along the manifold are of the order of the distance themselves; at a degenerate
    limit it is ``1/(p-1)`` of the distance for a potential of order p, e.g. half of it for a cubic. A saddle being
    passed counts as a limit: look at :func:`lowest_eigenvalue` too. NaN when the gradient is not finite.
    """
    return float(np.linalg.norm(newton_step(problem, params)))


@in_double
def flat_gradient(problem: AbstractProblem, params: Params) -> Float[np.ndarray, " n"]:
    """The gradient as one vector, in the order of the Hessian's rows."""
    form, arrays = _split((problem.compact(), as_params(params, name="params")))
    return np.asarray(_compiled_gradient(form, arrays))


def _dense_hessian(problem: AbstractProblem, params: Params) -> np.ndarray:
    size = _num_params(params)
    checks.require(
        size <= DENSE_LIMIT,
        "params",
        f"have at most {DENSE_LIMIT} entries for all eigenvalues",
        size,
        "Use gradflow.curvature.extreme_eigenvalues, which needs Hessian-vector products only.",
    )
    form, arrays = _split((problem.compact(), as_params(params, name="params")))
    hessian = np.asarray(_compiled_hessian(form, arrays))
    return 0.5 * (hessian + hessian.T)


def _num_params(params: Params) -> int:
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params))


def _split(tree: Any) -> tuple[Any, list[Any]]:
    """A hashable form and the arrays of a pytree; calls with equal forms share one compiled function."""
    leaves, structure = jax.tree.flatten(tree)
    is_array = tuple(isinstance(leaf, np.ndarray | jax.Array) for leaf in leaves)
    rest = tuple(None if known else leaf for leaf, known in zip(leaves, is_array, strict=True))
    return (structure, is_array, rest), [leaf for leaf, known in zip(leaves, is_array, strict=True) if known]


def _join(form: Any, arrays: list[Any]) -> Any:
    structure, is_array, rest = form
    remaining = iter(arrays)
    return jax.tree.unflatten(
        structure, [next(remaining) if known else leaf for leaf, known in zip(rest, is_array, strict=True)]
    )


@functools.partial(jax.jit, static_argnums=0)
def _compiled_gradient(form: Any, arrays: list[Any]) -> jax.Array:
    problem, params = _join(form, arrays)
    return ravel_pytree(problem.gradient(params))[0]


@functools.partial(jax.jit, static_argnums=0)
def _compiled_hessian(form: Any, arrays: list[Any]) -> jax.Array:
    problem, params = _join(form, arrays)
    return problem.hessian(params)


@functools.partial(jax.jit, static_argnums=0)
def _compiled_product(form: Any, arrays: list[Any], vector: jax.Array) -> jax.Array:
    problem, params = _join(form, arrays)
    direction = ravel_pytree(params)[1](vector)
    return ravel_pytree(jax.jvp(problem.gradient, (params,), (direction,))[1])[0]


def _operator(problem: AbstractProblem, params: Params) -> tuple[int, Callable[[np.ndarray], np.ndarray]]:
    """The number of parameters and ``vector -> H vector`` on NumPy vectors; data are moved to the device once."""
    form, arrays = _split((problem.compact(), as_params(params, name="params")))
    on_device: list[Any] = []

    @in_double
    def product(vector: np.ndarray) -> np.ndarray:
        if not on_device:
            on_device.extend(jnp.asarray(array) for array in arrays)
        return np.asarray(_compiled_product(form, on_device, vector))

    return _num_params(params), product


@functools.lru_cache(maxsize=8)
def _start_vector(size: int) -> np.ndarray:
    vector = np.random.default_rng(0).normal(size=size)
    return vector / np.linalg.norm(vector)


def _spectral_radius(product: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> float:
    """An upper estimate, within a few percent, of the largest absolute eigenvalue."""
    vectors = _lanczos(product, start, 0.0, 1, (1e-2, 1e-1))
    if vectors is None:
        return float(np.linalg.norm(product(start)) * np.sqrt(len(start)))
    image = product(vectors[:, 0])
    value = float(vectors[:, 0] @ image)
    return abs(value) + float(np.linalg.norm(image - value * vectors[:, 0]))


def _end(
    product: Callable[[np.ndarray], np.ndarray], start: np.ndarray, num: int, radius: float, sign: int
) -> tuple[np.ndarray, np.ndarray]:
    """`num` eigenvalues at the upper (`sign` 1) or lower (-1) end, outermost first, with residual norms."""
    vectors = _lanczos(product, start, sign * radius, num, TOLERANCES)
    if vectors is None:
        return np.full(num, np.nan), np.full(num, np.inf)
    images = np.stack([product(column) for column in vectors.T], axis=1)
    values = np.sum(vectors * images, axis=0)
    errors = np.linalg.norm(images - vectors * values, axis=0)
    order = np.argsort(-sign * values)
    return values[order], errors[order]


def _end_of_dense(values: np.ndarray, num: int, sign: int) -> tuple[np.ndarray, np.ndarray]:
    error = len(values) * EPS * float(np.abs(values).max())
    return (values[::-1] if sign > 0 else values)[:num], np.full(num, error)


def _lanczos(
    product: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    shift: float,
    num: int,
    tolerances: tuple[float, ...],
) -> np.ndarray | None:
    """Eigenvectors of the `num` largest |eigenvalues| of ``H + shift``, at the first tolerance that is met."""
    size = len(start)
    if not product(start).any():
        return np.eye(size, num)
    operator = sparse.LinearOperator((size, size), lambda v: product(v.ravel()) + shift * v.ravel(), dtype=float)
    width = min(size, max(2 * num + 1, 40))
    for tolerance in tolerances:
        try:
            return sparse.eigsh(operator, k=num, which="LM", v0=start, ncv=width, tol=tolerance, maxiter=25)[1]
        except sparse.ArpackNoConvergence:
            continue
    return None
