"""Loss, category, Morse index and nullity of a critical point of a shallow linear network, by counting alone.

Letters: ``k = sum p_i + p_bar`` (rank of A_2), ``rho = rank X``, ``N = sum m_i`` (positive singular values), ``u = N
- sum p_i`` (missed positive ones), ``sigma_{r+1} = 0`` for the null space, which is treated as one more group.

The Hessian at a critical point with C = I (a change of C is a congruence): split dA_2 by missed direction into rows
``alpha_i`` (first k entries) and ``beta_i``, and let b_i be the part of rows k+1..d_1 of ``dA_1 X`` along the right
singular vector of i. Completing the square in the first k rows of ``dA_1 X`` leaves

    k rho squares
    + for missed positive i:  sum over captured j of (sigma_j - sigma_i) alpha_ij^2
                              - 2 s_i <beta_i, b_i> + (terms that contain beta_i)
    + for missed zero i:      ||(alpha_i, beta_i) C A_1 X||^2,

where b_i stands in its product only, so that the pair (beta_i, b_i) has ``d_1 - k`` negative and as many positive
squares whatever the other terms are. Hence, pairs counted with multiplicity,

    index    = #{(i missed, j captured): sigma_i > sigma_j} + (d_1 - k) u
    positive = k rho + (d_1 - k) u + #{(i missed positive, j captured): sigma_j > sigma_i} + (m_bar - p_bar) rank(A_1 X)
    nullity  = number of parameters - index - positive.

The index is 0 only at global minima, so every other critical point is a strict saddle.

Source: paper 002, Propositions 1 and 2 and the categories after them, corrected; the index formula was known from
experiments only.
"""

from collections.abc import Sequence

import numpy as np

from gradflow.critical_sets.shallow_linear.spectrum import DataSpectrum

CATEGORIES = ("global", "non-optimal", "optimal")
"""All categories: a non-global point either misses a value larger than one it captures, or it captures too few."""


def captured_loss(spectrum: DataSpectrum, counts: Sequence[int]) -> float:
    """``1/2 sum of (m_i - p_i) sigma_i``: the loss above the irreducible one (Proposition 1)."""
    missed = [size - count for size, count in zip(spectrum.multiplicities, counts, strict=True)]
    return 0.5 * float(np.dot(missed, spectrum.sigma[:-1]))


def category_of(spectrum: DataSpectrum, d_hidden: int, counts: Sequence[int], num_zero: int) -> str:
    """``"global"``, ``"non-optimal"`` or ``"optimal"``.

    Global comes first: all positive values that fit, ``min(d_1, N)`` of them, are captured, the largest first.
    Non-optimal: a captured value, zero included, is smaller than a missed one. Optimal: neither.

    Source: paper 002, Proposition 2 (whose last sentence means A_2), and the two categories after it. As printed they
    leave out every point that captures the null space, and their second pattern also fits global minima.
    """
    if inversions(spectrum, counts, num_zero) > 0:
        return "non-optimal"
    return "global" if sum(counts) == min(d_hidden, spectrum.num_positive) else "optimal"


def inversions(spectrum: DataSpectrum, counts: Sequence[int], num_zero: int) -> int:
    """``#{(i missed, j captured): sigma_i > sigma_j}`` with multiplicity, zero group included."""
    captured = (*counts, num_zero)
    missed = [size - count for size, count in zip(spectrum.multiplicities, counts, strict=True)]
    return sum(number * sum(captured[i + 1 :]) for i, number in enumerate(missed))


def morse_index(spectrum: DataSpectrum, d_hidden: int, counts: Sequence[int], num_zero: int) -> int:
    """Number of negative eigenvalues of the Hessian; the same at every member of a class."""
    corank = d_hidden - sum(counts) - num_zero
    return inversions(spectrum, counts, num_zero) + corank * (spectrum.num_positive - sum(counts))


def num_positive_eigenvalues(
    spectrum: DataSpectrum, d_hidden: int, counts: Sequence[int], num_zero: int, hidden_rank: int
) -> int:
    """Number of positive eigenvalues of the Hessian at a member with ``hidden_rank = rank(A_1 X)``."""
    rank = sum(counts) + num_zero
    missed = [size - count for size, count in zip(spectrum.multiplicities, counts, strict=True)]
    ordered = sum(number * sum(counts[:i]) for i, number in enumerate(missed))
    free = (spectrum.num_zero - num_zero) * hidden_rank
    return rank * spectrum.rank + (d_hidden - rank) * sum(missed) + ordered + free


def nullity_at(spectrum: DataSpectrum, d_hidden: int, counts: Sequence[int], num_zero: int, hidden_rank: int) -> int:
    """Number of zero eigenvalues of the Hessian at a member with ``hidden_rank = rank(A_1 X)``."""
    num_params = d_hidden * (spectrum.inputs.shape[0] + spectrum.left.shape[0])
    positive = num_positive_eigenvalues(spectrum, d_hidden, counts, num_zero, hidden_rank)
    return num_params - positive - morse_index(spectrum, d_hidden, counts, num_zero)


def hidden_ranks(spectrum: DataSpectrum, d_hidden: int, counts: Sequence[int], num_zero: int) -> tuple[int, int]:
    """Smallest and largest ``rank(A_1 X)`` in a class; almost every member has the largest.

    The captured positive values give ``sum p_i``; rows k+1..d_1 of ``C A_1 X`` add up to ``min(d_1 - k, rho - N)``.
    """
    extra = min(d_hidden - sum(counts) - num_zero, spectrum.rank - spectrum.num_positive)
    return sum(counts), sum(counts) + extra
