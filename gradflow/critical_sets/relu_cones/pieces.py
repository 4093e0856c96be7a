"""The shallow linear network that lives on one cone: its spectrum, and what its critical points have captured.

On ``K_{I x J}`` the loss is ``1/2 ||A2_I A1_I X_J - Y_J||^2 + 1/2 ||Y_rest||^2``. With ``Sigma_J = Y_J X_J^+ X_J
Y_J^T`` (whose eigenvalues are the squared singular values of ``Y_J V`` and are computed from these), grouped in
descending order with the zeros as the last group, a critical point of the piece captures p_i directions of group i,
and

    L_N = 1/2 (Tr Y Y^T - sum_i p_i sigma_i(J)).

Knows data and a set of samples; no state. Source: paper 002, section 2 (Theorem 1, Proposition 1) and Proposition 6.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from gradflow.critical_sets.relu_cones.cones import Samples
from gradflow.critical_sets.relu_cones.linear_programs import cleaned, complement, row_basis
from gradflow.critical_sets.relu_cones.regressions import ReluData
from gradflow.statistics import linear_statistics, target_spectrum

ZERO_FLOOR = 1e-11
"""Singular values of ``Y_J V`` below this multiple of ``||Y||`` are zero, however small the largest is."""


@dataclass(frozen=True, eq=False)
class Piece:
    """The shallow linear problem of the samples J.

    Attributes:
        samples: J.
        X, Y: the active columns; X projected when the rows are confined to a subspace.
        left: U, orthonormal eigenvectors of Sigma_J as columns.
        sigma: its eigenvalues, descending.
        groups: indices of equal eigenvalues; the zero ones, if any, are the last group.
        num_positive: how many eigenvalues are positive.
        rows: ``B = U^T Y_J X_J^+``: row i is what a row of A1 has to be to capture direction i, up to `free`.
        free: orthonormal rows that span ``{a : a X_J = 0}`` (within the subspace).
        dead_loss: ``1/2 Tr Y Y^T``.
    """

    samples: Samples
    X: Float[np.ndarray, "d_0 active"]
    Y: Float[np.ndarray, "d_2 active"]
    left: Float[np.ndarray, "d_2 d_2"]
    sigma: Float[np.ndarray, " d_2"]
    groups: tuple[tuple[int, ...], ...]
    num_positive: int
    rows: Float[np.ndarray, "d_2 d_0"]
    free: Float[np.ndarray, "num_free d_0"]
    dead_loss: float

    @property
    def kernel(self) -> Float[np.ndarray, "d_2 num_zero"]:
        """The eigenvectors of Sigma_J to the eigenvalue zero."""
        return self.left[:, self.num_positive :]

    @property
    def rank(self) -> int:
        """Rank of X_J."""
        return int(np.linalg.matrix_rank(self.X, rtol=1e-10)) if self.X.size else 0

    def loss(self, counts: tuple[int, ...]) -> float:
        """The critical value that belongs to captured counts per group."""
        captured = sum(count * self.sigma[group[0]] for count, group in zip(counts, self.groups, strict=True))
        return self.dead_loss - 0.5 * float(captured)

    def captured(self, counts: tuple[int, ...]) -> tuple[int, ...]:
        """Indices of a captured set with these counts: the first ones of each group."""
        chosen = zip(counts, self.groups, strict=True)
        return tuple(index for count, group in chosen for index in group[:count])

    def index(self, counts: tuple[int, ...], num_units: int) -> int:
        """Morse index inside: ``#{(i missed, j captured): sigma_i > sigma_j} + (n - k) #{i missed, sigma_i > 0}``."""
        missed = [len(group) - count for group, count in zip(self.groups, counts, strict=True)]
        pairs = sum(missed[i] * counts[j] for i in range(len(missed)) for j in range(i + 1, len(counts)))
        positive = [count for count, group in zip(missed, self.groups, strict=True) if group[0] < self.num_positive]
        return pairs + (num_units - sum(counts)) * sum(positive)

    def nullity(self, counts: tuple[int, ...], num_units: int) -> int | None:
        """Number of zero eigenvalues of the n active units in the interior when A2 has full column rank n, else None.

        ``n^2 + n dim(free) + sum_i p_i (m_i - p_i)``: changes of basis, what X_J does not see, rotations inside groups.
        """
        if sum(counts) != num_units:
            return None
        turns = sum(count * (len(group) - count) for group, count in zip(self.groups, counts, strict=True))
        return num_units**2 + num_units * len(self.free) + turns

    def turned(self, rotation: Float[np.ndarray, "d_2 d_2"]) -> "Piece":
        """The same piece with the eigenvectors ``U Q``; Q must turn only inside groups."""
        return replace(self, left=self.left @ rotation, rows=rotation.T @ self.rows)


def piece_of(data: ReluData, samples: Samples, zero: Samples = ()) -> Piece:
    """The piece of the samples J; with `zero`, restricted to the rows with ``a x_j = 0`` there (a face of the cone)."""
    ambient = complement(data.X[:, zero].T)
    X = data.X[:, samples] @ np.eye(len(samples)) if not zero else ambient.T @ (ambient @ data.X[:, samples])
    Y = data.Y[:, samples]
    num_outputs = len(Y)
    if not samples:
        return Piece(
            samples, X, Y, np.eye(num_outputs), np.zeros(num_outputs), (tuple(range(num_outputs)),), 0,
            np.zeros((num_outputs, len(data.X))), ambient, data.dead_loss,
        )  # fmt: skip
    statistics = linear_statistics(X, Y)
    target = _without_noise(np.asarray(statistics.target), ZERO_FLOOR * float(np.linalg.norm(data.Y)))
    spectrum = target_spectrum(target)
    left, directions = np.asarray(spectrum.left), np.asarray(statistics.directions)
    rows = left.T @ (target / np.asarray(statistics.scales)) @ directions.T
    rows[spectrum.num_positive :] = 0.0
    free = row_basis(cleaned(ambient - (ambient @ directions) @ directions.T), rtol=1e-8)
    return Piece(
        samples, X, Y, left, np.asarray(spectrum.values) ** 2, spectrum.groups, spectrum.num_positive, rows, free,
        data.dead_loss,
    )  # fmt: skip


def _without_noise(target: Float[np.ndarray, "d_2 rank"], floor: float) -> Float[np.ndarray, "d_2 rank"]:
    """`target` without singular values below `floor`."""
    left, values, right = np.linalg.svd(target, full_matrices=False)
    return (left * np.where(values > floor, values, 0.0)) @ right
