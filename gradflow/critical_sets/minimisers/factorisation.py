"""One matrix as a product of square layers: the gauge freedom of a deep linear network made explicit.

With an orthogonal U and invertible ``C_2, ..., C_l`` the layers

    W_l = U C_l,   W_k = C_{k+1}^{-1} C_k,   W_1 = C_2^{-1} U^T M

multiply to M, and ``C_k = U^T W_l ... W_k`` gives the C back. U is a convention: any orthogonal matrix does. Knows
matrices only. Source: paper 000, eqs. (2), (27) and (31).
"""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from gradflow import checks

CLEARLY_INVERTIBLE = 1e-8
"""Ratio of extreme singular values above which a matrix counts as invertible."""

CLEARLY_SINGULAR = 1e-12
"""The ratio below which it counts as singular; between the two it is ambiguous."""


def factors(
    basis: Float[np.ndarray, "d d"], transforms: Sequence[Float[np.ndarray, "d d"]], matrix: Float[np.ndarray, "d d"]
) -> tuple[Float[np.ndarray, "d d"], ...]:
    """``(W_1, ..., W_l)`` with product M, from U, ``(C_2, ..., C_l)`` and M; M itself when there is no C.

    Accuracy: the product is M to about ``1e-15 prod_k cond(C_k)``.
    """
    if not transforms:
        return (matrix.copy(),)
    first = np.linalg.solve(transforms[0], basis.T @ matrix)
    middle = [np.linalg.solve(after, before) for before, after in itertools.pairwise(transforms)]
    return (first, *middle, basis @ transforms[-1])


def transforms_of(
    layers: Sequence[Float[np.ndarray, "d d"]], basis: Float[np.ndarray, "d d"]
) -> tuple[Float[np.ndarray, "d d"], ...]:
    """``(C_2, ..., C_l)``, ``C_k = U^T W_l ... W_k``."""
    found: list[np.ndarray] = []
    product = basis.T
    for layer in reversed(layers[1:]):
        product = product @ layer
        found.insert(0, product)
    return tuple(found)


def chain(layers: Sequence[Float[np.ndarray, "d d"]], dim: int) -> Float[np.ndarray, "d d"]:
    """``W_b ... W_a`` of layers in acting order; the identity for none."""
    result = np.eye(dim)
    for layer in layers:
        result = layer @ result
    return result


def rounding(layers: Sequence[np.ndarray]) -> float:
    """A bound on the rounding error of the product of the layers, in the operator norm."""
    norms = [float(np.linalg.norm(layer, 2)) for layer in layers]
    return 4.0 * np.finfo(float).eps * layers[0].shape[1] * len(layers) * float(np.prod(norms))


def are_invertible(matrices: Sequence[Float[np.ndarray, "d d"]], scale: float = 0.0) -> bool | None:
    """True when all clearly are, False when one clearly is not, None when one lies in between.

    The smallest singular value is compared with the largest, or with `scale` where that is larger.
    """
    ratios = [_invertibility(matrix, scale) for matrix in matrices]
    if all(ratio > CLEARLY_INVERTIBLE for ratio in ratios):
        return True
    return False if min(ratios) <= CLEARLY_SINGULAR else None


def require_transforms(
    name: str, given: Sequence[np.ndarray], count: int, dim: int
) -> tuple[Float[np.ndarray, "d d"], ...]:
    """`given`, checked to be that many invertible matrices.

    Raises:
        InputError: another number of them, another shape, or a singular one.
    """
    checks.require(len(given) == count, name, f"be {count} matrices", len(given))
    arrays = tuple(checks.finite_array(f"{name}[{index}]", matrix) for index, matrix in enumerate(given))
    for index, array in enumerate(arrays):
        label = f"{name}[{index}]"
        checks.require(array.shape == (dim, dim), label, f"have shape {(dim, dim)}", array.shape)
        ratio = _invertibility(array)
        checks.require(ratio > CLEARLY_SINGULAR, label, "be invertible", f"a ratio {ratio:.1e} of singular values")
    return arrays


def require_basis(basis: np.ndarray | None, default: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """`basis`, checked to be orthogonal to 1e-10, or the default for None.

    Raises:
        InputError: it is not orthogonal.
    """
    if basis is None:
        return default
    array = checks.finite_array("basis", basis, ndim=2)
    checks.require(array.shape == default.shape, "basis", f"have shape {default.shape}", array.shape)
    defect = float(np.abs(array.T @ array - np.eye(len(array))).max())
    checks.require(defect <= 1e-10, "basis", "be orthogonal", f"a defect of {defect:.1e}")
    return array


def random_orthogonal(rng: np.random.Generator, dim: int) -> Float[np.ndarray, "d d"]:
    """A Haar-distributed orthogonal matrix."""
    frame, upper = np.linalg.qr(rng.normal(size=(dim, dim)))
    return frame * np.sign(np.diag(upper))


def random_invertible(rng: np.random.Generator, dim: int, spread: float = 1.6) -> Float[np.ndarray, "d d"]:
    """A random matrix with singular values between ``1 / spread`` and `spread`, log-uniform."""
    values = spread ** rng.uniform(-1.0, 1.0, size=dim)
    return random_orthogonal(rng, dim) * values @ random_orthogonal(rng, dim)


def _invertibility(matrix: Float[np.ndarray, "d d"], scale: float = 0.0) -> float:
    values = np.linalg.svd(matrix, compute_uv=False)
    size = max(float(values[0]), scale)
    return float(values[-1]) / size if size > 0.0 else 0.0
