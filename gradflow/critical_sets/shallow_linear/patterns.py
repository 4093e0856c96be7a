"""Captured singular directions of one pair of layers, and the free matrices that go with them, as arrays.

Letters (paper 002, Theorem 1): ``A_2 = U V C`` with ``V = [Vhat, 0]``, ``Vhat = diag(V_1, ..., V_r, V_bar)``, V_i the
orthonormal ``m_i x p_i`` basis of what is captured in group i; ``S = U Vhat`` spans the column space of A_2,
``P = S S^T``, ``k = rank A_2``. C_top are the first k rows of the invertible C. Knows arrays only, no problem: deep
networks use the same functions with ``A_(k,1) X`` in place of X.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.shallow_linear.spectrum import DataSpectrum, data_spectrum

__all__ = [
    "Capture",
    "DataSpectrum",
    "Recovery",
    "admissible_offset",
    "annihilator",
    "capture",
    "data_spectrum",
    "recover_pattern",
]

RANK_TOLERANCE = 1e-9
"""Singular values of A_2 below this multiple of its norm, or of the problem's weight scale, are taken for zero."""

CLEAR_FACTOR = 30.0
"""A singular value counts as nonzero above this multiple of the tolerance; between the two the rank is ambiguous."""


@dataclass(frozen=True)
class Capture:
    """The part of the output space that A_2 has captured, group by group.

    Attributes:
        counts: ``p_1, ..., p_r`` of the groups of equal positive singular values.
        num_zero: ``p_bar``, captured directions of the null space of Sigma.
        bases: ``V_1, ..., V_r, V_bar`` with orthonormal columns, in the coordinates of U.
        directions: ``S = U Vhat``, orthonormal.
        missed: an orthonormal basis of the complement of S made of singular vectors, group by group.
    """

    counts: tuple[int, ...]
    num_zero: int
    bases: tuple[Float[np.ndarray, "_ _"], ...]
    directions: Float[np.ndarray, "d_out rank"]
    missed: Float[np.ndarray, "d_out codim"]

    @property
    def rank(self) -> int:
        """``k = sum_i p_i + p_bar``, the rank of A_2."""
        return sum(self.counts) + self.num_zero

    @property
    def all_counts(self) -> tuple[int, ...]:
        """``p_1, ..., p_r, p_bar``."""
        return (*self.counts, self.num_zero)

    @property
    def projector(self) -> Float[np.ndarray, "d_out d_out"]:
        """``P = S S^T``, the projector on the column space of A_2; unlike the bases it is unique."""
        return self.directions @ self.directions.T


@dataclass(frozen=True)
class Recovery:
    """What the column space of a matrix A_2 has captured, supposing that it belongs to a critical point.

    Attributes:
        capture: the captured directions; the nearest ones that a critical point can have.
        mixing: C, with ``C_top = S^T A_2`` and orthonormal rows below that C_top annihilates.
        rank: the rank of A_2 that was used.
        certain_rank, possible_rank: numbers of singular values of A_2 that are clearly nonzero, and that may be.
        defect: distance of the singular values of ``U_i^T orth(A_2)`` from 0 and 1; rounding at a critical point.
    """

    capture: Capture
    mixing: Float[np.ndarray, "d_hidden d_hidden"]
    rank: int
    certain_rank: int
    possible_rank: int
    defect: float

    @property
    def is_ambiguous(self) -> bool:
        """True when the rank depends on singular values between noise and clear."""
        return self.certain_rank != self.possible_rank


def capture(spectrum: DataSpectrum, counts: Sequence[int], num_zero: int = 0, bases: Any = None) -> Capture:
    """The capture of `counts` directions per positive group and `num_zero` of the null space.

    Args:
        spectrum: the data.
        counts: ``p_1, ..., p_r``.
        num_zero: ``p_bar``.
        bases: ``V_1, ..., V_r, V_bar`` (or without the last when `num_zero` is 0), orthonormal columns of shapes
            ``(m_i, p_i)``; by default the first p_i directions of each group.

    Raises:
        InputError: counts that do not fit the multiplicities, or bases of wrong shape or not orthonormal.
    """
    numbers = _checked_counts(spectrum, counts, num_zero)
    sizes = [len(group) for group in spectrum.all_groups]
    if bases is None:
        chosen = [np.eye(size)[:, :number] for size, number in zip(sizes, numbers, strict=True)]
    else:
        chosen = _checked_bases(bases, sizes, numbers)
    return _assembled(spectrum, numbers, chosen)


def recover_pattern(
    A2: Float[np.ndarray, "d_out d_hidden"],
    spectrum: DataSpectrum,
    *,
    rank: int | None = None,
    tolerance: float = RANK_TOLERANCE,
    floor: float | None = None,
) -> Recovery:
    """The captured directions, C and the integrality defect of a matrix A_2.

    ``B_i = U_i^T orth(A_2)`` has singular values 0 and 1 exactly when the column space of A_2 is a sum of parts of the
    groups; p_i is the number of ones and V_i are their left singular vectors.

    Args:
        A2: the second layer; in a deep network the product of all layers behind.
        spectrum: the data it meets.
        rank: rank of A_2 to use; by default the certain one.
        tolerance: singular values below this multiple of ``||A_2||`` are rounding.
        floor: and so are those below this absolute size; default `tolerance` times the weight scale of the data.

    Accuracy: for a critical point the projectors come out to about 1e-14 times the condition number of C.

    Source: paper 002, Theorem 1, read backwards; its proof's ``A_2^+ = C^{-1} V^T U^T`` is false and not used.
    """
    left, values, _ = scipy.linalg.svd(A2)
    noise = max(tolerance * float(values[0]), tolerance * spectrum.weight_scale if floor is None else floor)
    certain, possible = int(np.sum(values > CLEAR_FACTOR * noise)), int(np.sum(values > noise))
    rank = certain if rank is None else rank
    chosen, numbers, defect = _nearest_capture(spectrum, left[:, :rank])
    captured = _assembled(spectrum, numbers, chosen)
    top = captured.directions.T @ A2
    complement = scipy.linalg.svd(top)[2][rank:] if rank else np.eye(A2.shape[1])
    return Recovery(captured, np.vstack([top, complement]), rank, certain, possible, defect)


def annihilator(spectrum: DataSpectrum, captured: Capture) -> Float[np.ndarray, "d_in d_in"]:
    """``N = I - G G^+`` with ``G = X Y^T (I - P)``: what rows k+1..d_1 of ``C L_1`` may contain at a critical point.

    The rank of G is the number of missed positive singular values, so no threshold enters.
    """
    codimension = sum(spectrum.multiplicities) - sum(captured.counts)
    gradient = spectrum.inputs @ (captured.missed.T @ spectrum.outputs).T
    column_space = scipy.linalg.svd(gradient, full_matrices=False)[0][:, :codimension] if codimension else None
    identity = np.eye(spectrum.inputs.shape[0])
    return identity if column_space is None else identity - column_space @ column_space.T


def admissible_offset(
    spectrum: DataSpectrum,
    captured: Capture,
    mixing: Float[np.ndarray, "d_hidden d_hidden"],
    free_top: Float[np.ndarray, "rank d_in"],
    free_bottom: Float[np.ndarray, "corank d_in"],
) -> Float[np.ndarray, "d_hidden d_in"]:
    """``L_1 = C^{-1} [M_top; M_bot N]``: every L_1 that satisfies eq. (3) is of this form.

    M_top enters the weights only through ``M_top (I - X X^+)``.

    Source: paper 002, eq. (3), which the paper suggests to solve for C; that has a solution only if
    ``rank(L_1 G) <= k``, while M_top and M_bot are free.
    """
    return np.linalg.solve(mixing, np.vstack([free_top, free_bottom @ annihilator(spectrum, captured)]))


def _assembled(spectrum: DataSpectrum, numbers: Sequence[int], bases: Sequence[np.ndarray]) -> Capture:
    directions, missed = [], []
    for group, basis in zip(spectrum.all_groups, bases, strict=True):
        vectors = spectrum.left[:, list(group)]
        directions.append(vectors @ basis)
        complement = scipy.linalg.svd(basis)[0][:, basis.shape[1] :] if basis.size else np.eye(len(group))
        missed.append(vectors @ complement)
    return Capture(
        counts=tuple(int(number) for number in numbers[:-1]),
        num_zero=int(numbers[-1]),
        bases=tuple(bases),
        directions=np.hstack(directions),
        missed=np.hstack(missed),
    )


def _nearest_capture(spectrum: DataSpectrum, column_space: np.ndarray) -> tuple[list[np.ndarray], list[int], float]:
    """Bases, counts and defect: the k largest singular values of all ``U_i^T Q`` are taken for the ones."""
    rank = column_space.shape[1]
    parts = [_left_svd(spectrum.left[:, list(group)].T @ column_space) for group in spectrum.all_groups]
    strengths = np.concatenate([values for _, values in parts])
    owners = np.concatenate([np.full(len(values), index) for index, (_, values) in enumerate(parts)])
    order = np.argsort(-strengths, kind="stable")
    taken = np.zeros(len(strengths), dtype=bool)
    taken[order[:rank]] = True
    numbers = [int(np.sum(taken & (owners == index))) for index in range(len(parts))]
    defect = float(np.max(np.abs(strengths - taken))) if len(strengths) else 0.0
    return [left[:, :number] for (left, _), number in zip(parts, numbers, strict=True)], numbers, defect


def _left_svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if matrix.size == 0:
        return np.eye(matrix.shape[0]), np.zeros(0)
    left, values, _ = scipy.linalg.svd(matrix)
    return left, values


def _checked_counts(spectrum: DataSpectrum, counts: Sequence[int], num_zero: int) -> list[int]:
    sizes = spectrum.multiplicities
    numbers = [checks.integer(f"counts[{index}]", number, at_least=0) for index, number in enumerate(counts)]
    remedy = f"The positive singular values have the multiplicities {sizes}."
    checks.require(len(numbers) == len(sizes), "counts", f"have {len(sizes)} entries, one per group", counts, remedy)
    fits = all(number <= size for number, size in zip(numbers, sizes, strict=True))
    checks.require(fits, "counts", "not exceed the multiplicities of the groups", tuple(counts), remedy)
    zeros = checks.integer("num_zero", num_zero, at_least=0)
    available = spectrum.num_zero
    checks.require(zeros <= available, "num_zero", f"be at most {available}, the dimension of the null space", zeros)
    return [*numbers, zeros]


def _checked_bases(bases: Any, sizes: Sequence[int], numbers: Sequence[int]) -> list[np.ndarray]:
    given = list(bases)
    if len(given) == len(sizes) - 1 and numbers[-1] == 0:
        given.append(np.zeros((sizes[-1], 0)))
    checks.require(len(given) == len(sizes), "bases", f"have {len(sizes)} entries, one per group", len(given))
    chosen = []
    for index, (basis, size, number) in enumerate(zip(given, sizes, numbers, strict=True)):
        array = np.asarray(basis, np.float64)
        checks.require(array.shape == (size, number), f"bases[{index}]", f"have shape {(size, number)}", array.shape)
        error = float(np.max(np.abs(array.T @ array - np.eye(number)))) if number else 0.0
        checks.require(error <= 1e-9, f"bases[{index}]", "have orthonormal columns", f"an error of {error:.1e}")
        chosen.append(array)
    return chosen
