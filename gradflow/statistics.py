"""Sufficient statistics of a squared loss on a linear map: what the samples say, in ``O(d_in * rank)`` numbers.

With the reduced SVD ``X = U S V^T`` (rank rho) the loss of any linear map P splits exactly into

    1/2 ||P X - Y||_F^2 = 1/2 ||P R - T||_F^2 + irreducible,   R = U S,  T = Y V,  irreducible = 1/2 ||Y - T V^T||_F^2,

so neither the loss nor its gradient ever touches the samples again, and nothing cancels near a minimum as it
would with the normal equations. This is the reduction (2)-(4) of paper 003 without its last change of metric.
Knows data only; no network, no flow.
"""

import functools

import equinox as eqx
import numpy as np
import scipy.linalg
from jaxtyping import Float

from gradflow.types import Array

RANK_RTOL = 1e-10
"""Singular values of X below this multiple of the largest are taken for zero."""

GROUP_RTOL = 1e-7
"""Singular values of T closer than this multiple of the largest are taken for equal."""

ZERO_RTOL = 1e-9
"""Singular values of T below this multiple of the largest are taken for zero."""

ZERO_FLOOR = 1e-11
"""Singular values of T below this multiple of ``||Y||`` are rounding, however small the largest is."""


class LinearStatistics(eqx.Module):
    """R, T and the irreducible loss of data (X, Y), already divided by the normalization."""

    root: Float[Array, "d_in rank"]
    target: Float[Array, "d_out rank"]
    irreducible: Float[Array, ""]

    @property
    def rank(self) -> int:
        """Numerical rank of X."""
        return self.root.shape[1]

    @property
    def scales(self) -> Float[Array, " rank"]:
        """Nonzero singular values of X (S_X of paper 003), descending."""
        return np.linalg.norm(self.root, axis=0)

    @property
    def directions(self) -> Float[Array, "d_in rank"]:
        """Left singular vectors of X that belong to :attr:`scales`."""
        return self.root / self.scales

    @property
    def is_white(self) -> bool:
        """True when ``X X^T`` is the identity (to 1e-12): original and reduced flow agree."""
        return self.root.shape[0] == self.rank and bool(np.allclose(self.scales, 1.0, rtol=0, atol=1e-12))


class TargetSpectrum(eqx.Module):
    """SVD of the target T, with the groups of equal singular values.

    `left` is a full orthonormal basis of the output space: its last columns span what T never reaches.
    """

    left: Float[Array, "d_out d_out"]
    values: Float[Array, " d_out"]
    right: Float[Array, "rank rank"]
    groups: tuple[tuple[int, ...], ...]
    num_positive: int

    @property
    def is_distinct(self) -> bool:
        """True when the positive singular values are pairwise different (Assumption 3 of paper 003)."""
        return all(len(group) == 1 for group in self.groups if group[0] < self.num_positive)


def linear_statistics(
    X: Float[Array, "d_in samples"], Y: Float[Array, "d_out samples"], weight: float = 1.0
) -> LinearStatistics:
    """R, T and the irreducible loss for the loss ``weight / 2 * ||P X - Y||_F^2``.

    Accuracy: the loss identity holds to about 1e-15 relative to ``||Y||^2``.
    """
    left, scales, right = scipy.linalg.svd(X, full_matrices=False)
    rank = int(np.sum(scales > RANK_RTOL * max(scales[0], np.finfo(float).tiny)))
    left, scales, right = left[:, :rank], scales[:rank], right[:rank]
    target = _without_rounding(Y @ right.T, float(np.linalg.norm(Y)))
    remainder = Y - target @ right
    root_weight = np.sqrt(weight)
    return LinearStatistics(
        root=root_weight * left * scales,
        target=root_weight * target,
        irreducible=np.asarray(0.5 * weight * np.sum(remainder * remainder)),
    )


def _without_rounding(target: np.ndarray, size: float) -> np.ndarray:
    """T without the singular values that rounding has made where Y is orthogonal to the rows of X."""
    left, values, right = scipy.linalg.svd(target, full_matrices=False)
    known = values > ZERO_FLOOR * size
    return target if known.all() else (left[:, known] * values[known]) @ right[known]


def target_spectrum(target: Float[Array, "d_out rank"]) -> TargetSpectrum:
    """Singular values of T in descending order with full bases, padded with zeros to d_out, and grouped.

    Two neighbours belong to one group when they differ by at most :data:`GROUP_RTOL` of the largest; values below
    :data:`ZERO_RTOL` of the largest form the zero group, always the last.
    """
    return _target_spectrum(np.ascontiguousarray(target).tobytes(), target.shape)


@functools.lru_cache(maxsize=64)
def _target_spectrum(buffer: bytes, shape: tuple[int, int]) -> TargetSpectrum:
    target = np.frombuffer(buffer).reshape(shape)
    d_out, rank = shape
    left, values, right = scipy.linalg.svd(target, full_matrices=True)
    padded = np.zeros(d_out)
    padded[: min(d_out, rank)] = values
    largest = padded[0]
    padded[padded <= ZERO_RTOL * largest] = 0.0
    num_positive = int(np.sum(padded > 0))
    groups: list[list[int]] = []
    for index, value in enumerate(padded):
        belongs = groups and (padded[groups[-1][-1]] > 0) == (value > 0)
        if belongs and padded[groups[-1][-1]] - value <= GROUP_RTOL * largest:
            groups[-1].append(index)
        else:
            groups.append([index])
    return TargetSpectrum(left, padded, right.T, tuple(map(tuple, groups)), num_positive)
