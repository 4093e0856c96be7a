"""The surfaces on which a hidden unit's preactivation changes sign: ``W_1[l] u = 0`` for the samples' directions u.

Samples on one line through the origin share a surface, whatever their signs; a sample of zeros has none.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

SAME = 1e-12
"""Unit vectors nearer than this are one direction."""


@dataclass(frozen=True)
class Surfaces:
    """Directions of the samples: ``X[:, k] = lengths[k] * directions[:, index[k]]``.

    A length is negative for a sample that points the other way than the first of its line, and 0 for a sample of zeros
    (whose index means nothing).
    """

    directions: Float[np.ndarray, "d_in surfaces"]
    index: Int[np.ndarray, " samples"]
    lengths: Float[np.ndarray, " samples"]


def surfaces_of(X: Float[np.ndarray, "d_in samples"]) -> Surfaces:
    """The surfaces of the columns of `X`, which has a nonzero entry."""
    sizes = np.linalg.norm(X, axis=0)
    units = np.divide(X, sizes, out=np.zeros_like(X), where=sizes > 0)
    leading = units[np.argmax(np.abs(units) > 0.5 / np.sqrt(len(X)), axis=0), np.arange(X.shape[1])]
    signs = np.where(leading < 0, -1.0, 1.0)
    kept = np.flatnonzero(sizes > 0)
    grid = np.round(units[:, kept] * signs[kept] / SAME).astype(np.int64)
    _, first, inverse = np.unique(grid, axis=1, return_index=True, return_inverse=True)
    index = np.zeros(X.shape[1], np.int64)
    index[kept] = inverse.reshape(-1)
    directions = (units * signs)[:, kept[first]]
    return Surfaces(directions, index, signs * sizes)
