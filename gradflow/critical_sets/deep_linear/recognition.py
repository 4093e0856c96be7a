"""Critical points of deep linear networks in closed form: what a given one has captured, and whether it is strict.

Letters: R and T are the problem's root and target, ``A = W_{H+1} ... W_1 R`` its product, ``A_(b,a) = W_b ... W_a``
(identity when b < a), P the projector on the column space of A. At a critical point A is the target restricted to
some of its singular directions; those are the captured ones. Strictness is decided by ranks of partial products,
never by probing. Knows a problem and a state; the state is taken to be critical, and how far it is from that
is reported.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradflow.critical_sets.ladder import linear_regression, max_rank
from gradflow.critical_sets.states import matrices
from gradflow.precision import in_double
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Weights

CAPTURE_TOLERANCE = 1e-3
"""Largest distance of a captured strength from {0, 1}, and of A from its captured part, at a critical point."""

NOISE_FLOOR = 1e-10
"""Weights below this multiple of the problem's weight scale are zero whatever the gradient says."""

CLEAR_FACTOR = 30.0
"""A singular value counts as nonzero above this multiple of the noise; between the two it is ambiguous."""


@dataclass(frozen=True)
class LinearCriticalPoint:
    """What closed-form theory says about a critical point of a deep linear network.

    Attributes:
        counts: captured directions per group of equal positive singular values.
        indices: 0-based indices of the captured singular values, or None when part of a group of equal ones is
            captured, so that no index set exists. See :func:`one_based`.
        rank: r, the rank of A.
        rank_z: r_Z, the rank of ``Z = W_H ... W_2`` (d_1 when H = 1; None when H = 0 or ambiguous).
        value: the critical value of Lemma 2, irreducible loss included.
        is_global: True when the largest singular values that fit are captured; then the point is a global minimum.
        is_ordered: True when no singular value is captured while a larger one is missed.
        strict: True when the Hessian has a negative eigenvalue, False when it is positive semidefinite, None when
            a rank is ambiguous. False at global minima.
        capture_defect: distance of the captured strengths from {0, 1} and of A from its captured part, relative.
        gradient_defect: gradient norm relative to the problem's.
        noise: relative size of weights that cannot be told from zero at this gradient.
        pivot: the layers (i, j), 1-based, whose product proves the negative eigenvalue, or None.
    """

    counts: tuple[int, ...]
    indices: tuple[int, ...] | None
    rank: int
    rank_z: int | None
    value: float
    is_global: bool
    is_ordered: bool
    strict: bool | None
    capture_defect: float
    gradient_defect: float
    noise: float
    pivot: tuple[int, int] | None

    @property
    def is_critical(self) -> bool:
        """True when the product has the form that every critical point has, to :data:`CAPTURE_TOLERANCE`."""
        return self.capture_defect <= CAPTURE_TOLERANCE

    @property
    def is_ambiguous(self) -> bool:
        """True when a decision depends on singular values between noise and clear, or the point is not critical."""
        return self.strict is None or not self.is_critical


@in_double
def recognise(problem: AbstractProblem, params: Weights, uncertainty: float = 0.0) -> LinearCriticalPoint:
    """Captured singular values, ranks, value and strictness of a critical point.

    A non-global critical point is strict exactly when it captures a singular value while missing a larger one, or
    there are ``1 <= j < i <= H+1`` with ``rank A_(i-1,j+1) > r`` and ``A_(j-1,1) R T^T (I - P) A_(H+1,i+1) != 0``.
    This covers any X (rank deficient too), narrow layers, zero and equal singular values.

    Args:
        problem: a linear network with the squared error and no regulariser.
        params: a critical point, refined.
        uncertainty: a distance within which critical points are not told apart, e.g. how far refinement moved.

    Accuracy: with gradient norm g relative to the problem's, weights below about ``g^(1/H)`` cannot be told from
    zero (a degenerate critical point of order H + 1); a rank that depends on such weights gives ``strict=None``.

    Raises:
        InputError: the problem is not an unregularised linear network with the squared error.

    Source: paper 003, Lemma 2 and Proposition 3; paper 002, Theorem 4, with the zero singular values as one more
    group; the second-order criterion of Achour, Malgouyres and Gerchinovitz (JMLR 25(242), 2024).
    """
    problem = linear_regression(problem)
    params = matrices(problem, params)
    layers = [np.asarray(layer) for layer in params]
    gradient = float(np.sqrt(sum(float(np.sum(np.asarray(part) ** 2)) for part in problem.gradient(params))))
    defect = gradient / (problem.gradient_scale or 1.0)
    noise = NOISE_FLOOR + 4.0 * defect ** (1.0 / max(problem.num_hidden, 1))
    counts, capture_defect = _captured(problem, layers)
    spectrum = problem.spectrum
    positive = [group for group in spectrum.groups if group[0] < spectrum.num_positive]
    rank = sum(counts)
    is_global = _is_greedy(positive, counts) and rank == min(max_rank(problem), spectrum.num_positive)
    test = _RankTest(problem, layers, noise, uncertainty)
    strict, pivot = (False, None) if is_global else _strictness(test, positive, counts)
    inner = test.rank_of(2, problem.num_hidden) if problem.num_hidden else (None, None)
    missed = [spectrum.values[group[0]] ** 2 * (len(group) - n) for group, n in zip(positive, counts, strict=True)]
    return LinearCriticalPoint(
        counts=counts,
        indices=_indices(positive, counts),
        rank=rank,
        rank_z=inner[0] if inner[0] == inner[1] else None,
        value=problem.irreducible + 0.5 * float(sum(missed)),
        is_global=is_global,
        is_ordered=_is_greedy(positive, counts),
        strict=strict,
        capture_defect=capture_defect,
        gradient_defect=defect,
        noise=noise,
        pivot=pivot,
    )


def one_based(indices: Iterable[int] | None) -> str:
    """Captured indices as the papers count them, e.g. ``{s_1, s_3}``; ``{}`` for none, ``?`` for None."""
    if indices is None:
        return "?"
    return "{" + ", ".join(f"s_{index + 1}" for index in indices) + "}"


def shallow_index(problem: AbstractProblem, point: LinearCriticalPoint, num_zero: int = 0) -> int:
    """Morse index of a critical point of a network with one hidden layer, by counting.

    ``#{(i missed, j captured): s_i > s_j} + (d_1 - k) * #{i missed, s_i > 0}`` with k the rank of W_2.

    Args:
        problem: a linear network with one hidden layer.
        point: the recognised point.
        num_zero: rank of W_2 beyond r, i.e. captured zero singular values.

    Source: experiment on 3000 random points (no proof known to us); agrees with the linear autoencoder's table.
    """
    problem = linear_regression(problem)
    spectrum = problem.spectrum
    positive = [group for group in spectrum.groups if group[0] < spectrum.num_positive]
    missed = [len(group) - count for group, count in zip(positive, point.counts, strict=True)]
    captured = [*point.counts, num_zero]
    pairs = sum(missed[i] * captured[j] for i in range(len(missed)) for j in range(i + 1, len(captured)))
    return pairs + (problem.network.shapes[0][0] - point.rank - num_zero) * sum(missed)


def _captured(problem: Regression, layers: list[np.ndarray]) -> tuple[tuple[int, ...], float]:
    """Captured directions per positive group, and how far A is from the form of a critical point.

    For group g with orthonormal bases U_g, V_g the matrix ``B_g = U_g^T A V_g / s_g`` is an orthogonal projector.
    """
    assert problem.statistics is not None
    product = np.linalg.multi_dot([*reversed(layers), problem.statistics.root])
    spectrum = problem.spectrum
    counts, defect, explained = [], 0.0, np.zeros_like(product)
    for group in spectrum.groups:
        if group[0] >= spectrum.num_positive:
            continue
        left, right, value = spectrum.left[:, group], spectrum.right[:, group], spectrum.values[group[0]]
        strengths, vectors = np.linalg.eigh(_symmetric(left.T @ product @ right) / value)
        captured = strengths > 0.5
        counts.append(int(captured.sum()))
        defect = max(defect, float(np.max(np.abs(strengths - captured))))
        explained += value * (left @ vectors[:, captured]) @ (right @ vectors[:, captured]).T
    scale = spectrum.values[0] or problem.statistics.scales[0]
    return tuple(counts), max(defect, float(np.linalg.norm(product - explained, 2)) / float(scale))


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return 0.5 * (matrix + matrix.T)


def _is_greedy(groups: list[tuple[int, ...]], counts: tuple[int, ...]) -> bool:
    """True when every group before the last captured one is captured whole."""
    nonempty = [index for index, count in enumerate(counts) if count]
    return all(counts[index] == len(groups[index]) for index in range(nonempty[-1])) if nonempty else True


def _indices(groups: list[tuple[int, ...]], counts: tuple[int, ...]) -> tuple[int, ...] | None:
    if any(0 < count < len(group) for group, count in zip(groups, counts, strict=True)):
        return None
    return tuple(index for group, count in zip(groups, counts, strict=True) if count for index in group)


class _RankTest:
    """Ranks of partial products, each as (certain, possible): singular values above clear, and above noise.

    Every layer is taken to be off by up to `noise` times the larger of its own norm and the problem's weight scale,
    plus `uncertainty`, and the bound ``prod(||W_k|| + e_k) - prod ||W_k||`` is what that does to a product.
    """

    def __init__(self, problem: Regression, layers: list[np.ndarray], noise: float, uncertainty: float):
        assert problem.statistics is not None
        self.layers = layers
        self.root = np.asarray(problem.statistics.root)
        self.target = np.asarray(problem.statistics.target)
        self.norms = [float(np.linalg.norm(layer, 2)) for layer in layers]
        self.errors = [noise * max(norm, problem.weight_scale) + uncertainty for norm in self.norms]

    def product(self, first: int, last: int) -> tuple[np.ndarray, float]:
        """``A_(last,first)`` (1-based layers, identity when last < first) and a bound on its error."""
        if last < first:
            return np.eye(self.layers[first - 2].shape[0] if first > 1 else self.layers[0].shape[1]), 0.0
        chosen = range(first - 1, last)
        result = self.layers[last - 1]
        for index in reversed(chosen[:-1]):
            result = result @ self.layers[index]
        upper = np.prod([self.norms[index] + self.errors[index] for index in chosen])
        return result, float(upper - np.prod([self.norms[index] for index in chosen]))

    def rank_of(self, first: int, last: int) -> tuple[int, int]:
        """Certain and possible rank of ``A_(last,first)``."""
        product, error = self.product(first, last)
        values = np.linalg.svd(product, compute_uv=False)
        return int(np.sum(values > CLEAR_FACTOR * error)), int(np.sum(values > error))

    def is_nonzero(self, first: int, last: int, target: Float[np.ndarray, "d_in d_out"]) -> bool | None:
        """Whether ``A_(first-1,1) target A_(H+1,last+1)`` is nonzero."""
        right, right_error = self.product(1, first - 1)
        left, left_error = self.product(last + 1, len(self.layers))
        size_right, size_left = float(np.linalg.norm(right, 2)), float(np.linalg.norm(left, 2))
        error = (size_right + right_error) * (size_left + left_error) - size_right * size_left
        error = (error + 1e-12 * size_right * size_left) * float(np.linalg.norm(target, 2))
        norm = float(np.linalg.norm(right @ target @ left))
        if norm <= error:
            return False
        return True if norm > CLEAR_FACTOR * error else None


def _strictness(
    test: _RankTest, groups: list[tuple[int, ...]], counts: tuple[int, ...]
) -> tuple[bool | None, tuple[int, int] | None]:
    """Strictness of a non-global critical point, with the pivot (i, j) that proves it."""
    if not _is_greedy(groups, counts):
        return True, None
    rank, undecided = sum(counts), False
    missed = _missed_target(test, rank)
    num_layers = len(test.layers)
    for i in range(num_layers, 1, -1):
        for j in range(1, i):
            certain, possible = test.rank_of(j + 1, i - 1)
            nonzero = test.is_nonzero(j, i, missed)
            if certain > rank and nonzero:
                return True, (i, j)
            undecided = undecided or (possible > rank and nonzero is not False)
    return (None if undecided else False), None


def _missed_target(test: _RankTest, rank: int) -> np.ndarray:
    """``R T^T (I - P)``, with P the projector on the r captured left directions."""
    product = np.linalg.multi_dot([*reversed(test.layers), test.root])
    captured = np.linalg.svd(product)[0][:, :rank]
    target = test.root @ test.target.T
    return target - (target @ captured) @ captured.T
