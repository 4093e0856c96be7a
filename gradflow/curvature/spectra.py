"""Spectra of Hessians: dense where that is cheap, the ends by Lanczos from Hessian-vector products beyond."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse.linalg as sparse
from jaxtyping import Float

from gradflow import checks
from gradflow.curvature import hessians
from gradflow.curvature.hessians import EPS, dense_hessian, num_params, operator, start_vector
from gradflow.precision import in_double
from gradflow.problem import AbstractProblem
from gradflow.types import Params

TOLERANCES = (1e-9, 1e-6, 1e-3)
"""Lanczos tolerances relative to the spectral radius, tried in turn when a dense cluster does not resolve."""


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


@in_double
def spectrum(problem: AbstractProblem, params: Params) -> Float[np.ndarray, " n"]:
    """All eigenvalues of the Hessian, ascending.

    Accuracy: about ``n * 1e-16`` of the largest in absolute value. All NaN when the Hessian is not finite.

    Raises:
        InputError: more than :data:`DENSE_LIMIT` parameters; use :func:`extreme_eigenvalues`.
    """
    hessian = dense_hessian(problem, params)
    return np.linalg.eigvalsh(hessian) if np.isfinite(hessian).all() else np.full(len(hessian), np.nan)


@in_double
def eigenpairs(problem: AbstractProblem, params: Params) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n n"]]:
    """Eigenvalues (ascending) and orthonormal eigenvectors (columns) of the Hessian, as :func:`spectrum`."""
    return eigenpairs_of(dense_hessian(problem, params))


def eigenpairs_of(hessian: Float[np.ndarray, "n n"]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n n"]]:
    """Eigenvalues (ascending) and orthonormal eigenvectors (columns) of a matrix; NaN when it is not finite."""
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
    size, product = operator(problem, params)
    num = checks.integer("num", num)
    checks.require(num < size, "num", f"be less than the number of parameters {size}", num)
    start, empty = start_vector(size), np.zeros(0)
    if not np.isfinite(product(start)).all():
        unknown = np.full(num, np.nan)
        return ExtremeEigenvalues(unknown, unknown, unknown, unknown)
    if size <= 2 * num + 2:
        ends = functools.partial(_end_of_dense, spectrum(problem, params), num)
    else:
        ends = functools.partial(_end, product, start, num, spectral_radius(product, start))
    low = ends(-1) if which != "highest" else (empty, empty)
    high = ends(1) if which != "lowest" else (empty, empty)
    return ExtremeEigenvalues(low[0], high[0], low[1], high[1])


@in_double
def lowest_eigenvalue(problem: AbstractProblem, params: Params) -> float:
    """The lowest eigenvalue of the Hessian (NaN when the Hessian is not finite).

    Dense up to :data:`DIRECT_LIMIT` parameters, matrix-free beyond; the latter never returns less than the true
    value, so a negative result proves descent.
    """
    if num_params(params) <= hessians.DIRECT_LIMIT:
        return float(spectrum(problem, params)[0])
    return float(extreme_eigenvalues(problem, params, which="lowest").lowest[0])


def spectral_radius(product: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> float:
    """An upper estimate, within a few percent, of the largest absolute eigenvalue."""
    vectors = _lanczos(product, start, 0.0, 1, (1e-2, 1e-1))
    if vectors is None:
        return float(np.linalg.norm(product(start)) * np.sqrt(len(start)))
    image = product(vectors[:, 0])
    value = float(vectors[:, 0] @ image)
    return abs(value) + float(np.linalg.norm(image - value * vectors[:, 0]))


def lowest_pair(product: Callable[[np.ndarray], np.ndarray], size: int, radius: float) -> tuple[float, np.ndarray]:
    """The lowest eigenvalue and its direction from products only; NaN when Lanczos does not converge."""
    vectors = _lanczos(product, start_vector(size), -radius, 1, TOLERANCES)
    if vectors is None:
        return float("nan"), np.full(size, np.nan)
    direction = vectors[:, 0]
    return float(direction @ product(direction)), direction


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
    shifted = sparse.LinearOperator((size, size), lambda v: product(v.ravel()) + shift * v.ravel(), dtype=float)
    width = min(size, max(2 * num + 1, 40))
    for tolerance in tolerances:
        try:
            return sparse.eigsh(shifted, k=num, which="LM", v0=start, ncv=width, tol=tolerance, maxiter=25)[1]
        except sparse.ArpackNoConvergence:
            continue
    return None
