"""Singular values of the data as the critical points of a shallow linear network see them.

Letters (paper 002): ``Sigma = Y X^+ X Y^T = U diag(s^2) U^T``; its groups of equal positive eigenvalues have the
multiplicities ``m_1, ..., m_r``, and the null space of Sigma, ``m_bar`` dimensional, is one more group. Sigma is never
formed: s and U come from the singular value decomposition of ``Y V_X``. Pure functions of arrays: knows no problem,
no weights. Any pair (X, Y) with the same ``X X^T`` and ``Y X^T`` will do, so a problem's root and target take the
place of its samples, and a partial product ``A_k ... A_1 X`` that of X in a deep network.
"""

import functools
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float

from gradflow.statistics import GROUP_RTOL, RANK_RTOL, ZERO_RTOL

ZERO_FLOOR = 1e-11
"""Singular values of ``Y V_X`` below this multiple of ||Y|| are rounding, whatever the largest of them is."""


@dataclass(frozen=True)
class DataSpectrum:
    """The data (X, Y), their singular values in groups, and the products that eqs. (1)-(3) of paper 002 use.

    Attributes:
        inputs, outputs: X and Y, columns are samples.
        left: U, an orthonormal basis of the whole output space; its last columns span the null space of Sigma.
        values: s, descending, padded with zeros to d_out.
        groups: indices of equal positive values, one tuple per group, descending.
        zero_group: indices of the zero values; empty when there are none.
        pseudoinverse: X^+.
        rank: rho, the rank of X.
    """

    inputs: Float[np.ndarray, "d_in samples"]
    outputs: Float[np.ndarray, "d_out samples"]
    left: Float[np.ndarray, "d_out d_out"]
    values: Float[np.ndarray, " d_out"]
    groups: tuple[tuple[int, ...], ...]
    zero_group: tuple[int, ...]
    pseudoinverse: Float[np.ndarray, "samples d_in"]
    rank: int

    @functools.cached_property
    def all_groups(self) -> tuple[tuple[int, ...], ...]:
        """The positive groups and, always last, the zero group (which may be empty)."""
        return (*self.groups, self.zero_group)

    @functools.cached_property
    def multiplicities(self) -> tuple[int, ...]:
        """m_1, ..., m_r of the positive groups."""
        return tuple(len(group) for group in self.groups)

    @functools.cached_property
    def num_positive(self) -> int:
        """Number of positive singular values, ``sum_i m_i``, the rank of ``Y X^T``."""
        return sum(self.multiplicities)

    @functools.cached_property
    def num_zero(self) -> int:
        """m_bar, the dimension of the null space of Sigma."""
        return len(self.zero_group)

    @functools.cached_property
    def sigma(self) -> Float[np.ndarray, " num_groups"]:
        """``sigma_1 > ... > sigma_r > 0 = sigma_{r+1}``: squares of the groups' values, the zero group last."""
        return np.array([float(np.mean(self.values[list(group)])) ** 2 for group in self.groups] + [0.0])

    @functools.cached_property
    def regression(self) -> Float[np.ndarray, "d_out d_in"]:
        """``Y X^+``."""
        return self.outputs @ self.pseudoinverse

    @functools.cached_property
    def cross(self) -> Float[np.ndarray, "d_out d_in"]:
        """``Y X^T``."""
        return self.outputs @ self.inputs.T

    @functools.cached_property
    def input_projector(self) -> Float[np.ndarray, "d_in d_in"]:
        """``X X^+``, the projector on the column space of X."""
        return self.inputs @ self.pseudoinverse

    @functools.cached_property
    def weight_scale(self) -> float:
        """Layer norm of a balanced minimiser, ``(s_max / ||X||)^{1/2}``; 1 when there is nothing to fit."""
        size = float(np.linalg.norm(self.inputs, 2)) if self.inputs.size else 0.0
        return float(np.sqrt(self.values[0] / size)) if size > 0 and self.values[0] > 0 else 1.0


def data_spectrum(
    inputs: Float[np.ndarray, "d_in samples"],
    outputs: Float[np.ndarray, "d_out samples"],
    *,
    rank_rtol: float = RANK_RTOL,
    rank_floor: float = 0.0,
    group_rtol: float = GROUP_RTOL,
    zero_rtol: float = ZERO_RTOL,
    zero_floor: float = ZERO_FLOOR,
) -> DataSpectrum:
    """The groups of equal singular values of ``Y V_X``, with full bases.

    Args:
        inputs: X; in a deep network the product of the layers before, which may be numerically zero.
        outputs: Y.
        rank_rtol: singular values of X below this multiple of the largest are zero ...
        rank_floor: ... and so are those below this absolute value. Give it for computed products: a numerically zero
            one would otherwise be inverted.
        group_rtol: neighbours closer than this multiple of the largest are equal.
        zero_rtol: values below this multiple of the largest are zero ...
        zero_floor: ... and so are those below this multiple of ``||Y||``.

    Accuracy: s to about 1e-15 of its largest entry; U within a group is arbitrary, only its projector is determined.
    """
    left_x, scales, right_x = scipy.linalg.svd(inputs, full_matrices=False)
    largest_x = float(scales[0]) if len(scales) else 0.0
    rank = int(np.sum(scales > max(rank_rtol * largest_x, rank_floor, np.finfo(float).tiny)))
    left_x, scales, right_x = left_x[:, :rank], scales[:rank], right_x[:rank]
    target = outputs @ right_x.T
    d_out = outputs.shape[0]
    values = np.zeros(d_out)
    left = np.eye(d_out)
    if rank:
        left, found, _ = scipy.linalg.svd(target, full_matrices=True)
        values[: len(found)] = found
    values[values <= max(zero_rtol * values[0], zero_floor * float(np.linalg.norm(outputs)))] = 0.0
    groups, zero_group = _groups(values, group_rtol)
    return DataSpectrum(
        inputs=inputs,
        outputs=outputs,
        left=left,
        values=values,
        groups=groups,
        zero_group=zero_group,
        pseudoinverse=(right_x.T / scales) @ left_x.T,
        rank=rank,
    )


def _groups(values: np.ndarray, group_rtol: float) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Chains of neighbouring positive values, and the zeros."""
    groups: list[list[int]] = []
    num_positive = int(np.sum(values > 0))
    for index in range(num_positive):
        if groups and values[groups[-1][-1]] - values[index] <= group_rtol * values[0]:
            groups[-1].append(index)
        else:
            groups.append([index])
    return tuple(map(tuple, groups)), tuple(range(num_positive, len(values)))
