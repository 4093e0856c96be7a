"""A critical point of a deep linear network taken apart: its patterns at every level, its ranks, its category.

Letters (paper 002, Theorem 3; R and T in place of X and Y): at level k = 0, ..., l - 2 the pair
``(A_{k+1}, A_(l,k+2))`` is a shallow network on the data ``(A_(k,1) R, T)``, with ``Sigma_k``,
``A_(l,k+2) = U_k V_k C_k``, captured counts p(k) of its groups and p_bar(k) of its null space,
``L_{k+1} = A_{k+1}``. Knows a problem and a state, which need not be critical: how far the equations are from
satisfied is part of the result.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradflow import checks
from gradflow.critical_sets.deep_linear import rank_patterns
from gradflow.critical_sets.deep_linear.construction import deep_regression
from gradflow.critical_sets.deep_linear.rank_patterns import Ranks
from gradflow.critical_sets.deep_linear.recognition import LinearCriticalPoint, recognise
from gradflow.critical_sets.ladder import max_rank
from gradflow.critical_sets.shallow_linear.patterns import CLEAR_FACTOR, RANK_TOLERANCE, Recovery, recover_pattern
from gradflow.critical_sets.shallow_linear.spectrum import DataSpectrum, data_spectrum
from gradflow.critical_sets.states import matrices
from gradflow.precision import in_double
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Weights

CATEGORIES = ("global", "deep-non-optimal", "deep-optimal", "remaining", "ambiguous", "not-critical")

CRITICAL_TOLERANCE = 1e-6
"""Largest relative residual of the equations, or distance of a captured strength from 0 and 1, at a critical point."""


@dataclass(frozen=True)
class Level:
    """Level k of a decomposition.

    Attributes:
        k: 0, ..., l - 2.
        spectrum: the groups of Sigma_k.
        recovery: V_k and C_k with their ranks and the integrality defect.
        layer_residual: eq. (4) with ``L_{k+1} = A_{k+1}``, relative to the layer's norm.
        product_residual: eq. (5), relative to the product of the layers' norms.
        loss: ``1/2 (Tr Y Y^T - sum_i p_i(k) sigma_i(k))``; at a critical point the same at every level.
        is_ambiguous: True when the rank of ``A_(k,1) R`` or of ``A_(l,k+2)`` lies between noise and clear.
    """

    k: int
    spectrum: DataSpectrum
    recovery: Recovery
    layer_residual: float
    product_residual: float
    loss: float
    is_ambiguous: bool

    @property
    def counts(self) -> tuple[int, ...]:
        """p_1(k), ..., p_r(k)."""
        return self.recovery.capture.counts

    @property
    def num_zero(self) -> int:
        """p_bar(k)."""
        return self.recovery.capture.num_zero

    @property
    def residual(self) -> float:
        """The largest of both residuals and of the defect of the captured strengths."""
        return max(self.layer_residual, self.product_residual, self.recovery.defect)

    @property
    def is_non_optimal(self) -> bool:
        """True when a value (zero included) is captured while a larger one is missed."""
        missed = [size > count for size, count in zip(self.spectrum.multiplicities, self.counts, strict=True)]
        later = self.recovery.capture.all_counts[1:]
        return any(missed[i] and any(later[i:]) for i in range(len(missed)))


@dataclass(frozen=True)
class DeepDecomposition:
    """Everything paper 002 says of one critical point.

    Attributes:
        levels: k = 0, ..., l - 2.
        counts: p(0), captured directions per group of equal positive singular values.
        ranks: the rank table of :mod:`gradflow.critical_sets.deep_linear.rank_patterns`, which with `counts` names
            the class; None when a rank is ambiguous or the table is that of no critical point.
        loss: ``1/2 (Tr Y Y^T - sum_i p_i(0) sigma_i(0))``.
        category: one of :data:`CATEGORIES`, by the patterns of the levels.
        strict: True when the Hessian has a negative eigenvalue, False when not (so at global minima), by the ranks;
            None when ambiguous or not critical.
        pivot: the layers (i, j), 1-based, whose ranks prove it; None where the order does, or nothing.
        consistency_residual, optimality_residual: eq. (6), ``A_(l,k+1) A_{k+1} = A_(l,k+1)`` for the recovered
            factors and ``(I - P_col(A_l)) T R^T A_(l-1,1)^T = 0``, relative.
        gradient_defect: gradient norm relative to the problem's.
        recognised: the same point as :func:`recognise` sees it, by another route.
    """

    levels: tuple[Level, ...]
    counts: tuple[int, ...]
    ranks: Ranks | None
    loss: float
    category: str
    strict: bool | None
    pivot: tuple[int, int] | None
    consistency_residual: float
    optimality_residual: float
    gradient_defect: float
    recognised: LinearCriticalPoint

    @property
    def residual(self) -> float:
        """The largest residual of (4), (5), (6) and of the captured strengths."""
        return max(self.consistency_residual, self.optimality_residual, *(level.residual for level in self.levels))


@in_double
def decompose(
    problem: AbstractProblem,
    params: Weights,
    *,
    rank_tolerance: float = RANK_TOLERANCE,
    critical_tolerance: float = CRITICAL_TOLERANCE,
) -> DeepDecomposition:
    """Patterns p(k), factors ``V_k, C_k``, rank table, category and strictness of a critical point.

    Args:
        problem: a linear network with at least one hidden layer, the squared error and no regulariser.
        params: a state, supposed critical.
        rank_tolerance: singular values of a product below this multiple of the product of its layers' norms (each taken
            at least as large as the problem's weight scale) are zero, above 30 times this they are not; in between the
            category is ``"ambiguous"``. The default suits constructed points; for a critical point found by
            iteration, which is degenerate and so inaccurate, take 1e-4.
        critical_tolerance: with a gradient above this multiple of the problem's, or captured strengths that far from
            0 and 1,
            the category is ``"not-critical"``; with a residual of (4)-(6) above it only, ``"ambiguous"``: small
            singular
            values have been inverted.

    Accuracy: at a critical point with well conditioned layers the residuals are about 1e-13.

    Raises:
        InputError: the problem is not a linear network with a hidden layer, or `rank_tolerance` is not below 1/30.

    Source: paper 002, Theorems 3 and 4, with the zero singular values as one more group, (6) read at k = l - 1, a
    fourth category, and the strictness criterion of Achour, Malgouyres and Gerchinovitz (JMLR 25(242), 2024).
    """
    problem = deep_regression(problem)
    tolerance = checks.real("rank_tolerance", rank_tolerance, above=0.0, below=1.0 / CLEAR_FACTOR)
    layers = list(matrices(problem, params))
    products = PartialProducts(problem, layers, tolerance)
    recognised = recognise(problem, tuple(layers))
    levels = tuple(_level(problem, products, k) for k in range(len(layers) - 1))
    counts = levels[0].counts
    ranks = products.rank_table(sum(counts))
    consistency, optimality = _condition_6(products, levels)
    worst = max(consistency, optimality, *(level.residual for level in levels))
    category = _category(problem, levels, layers)
    if ranks is None or worst > critical_tolerance or any(level.is_ambiguous for level in levels):
        category = "ambiguous"
    if max(recognised.gradient_defect, recognised.capture_defect) > critical_tolerance:
        category = "not-critical"
    strict, pivot = (None, None)
    if category in CATEGORIES[:4] and ranks is not None:
        strict, pivot = _strictness(ranks, category, levels[0])
    return DeepDecomposition(
        levels=levels,
        counts=counts,
        ranks=ranks,
        loss=levels[0].loss,
        category=category,
        strict=strict,
        pivot=pivot,
        consistency_residual=consistency,
        optimality_residual=optimality,
        gradient_defect=recognised.gradient_defect,
        recognised=recognised,
    )


class PartialProducts:
    """Products of layers, root and target, with the size below which their singular values are noise."""

    def __init__(self, problem: Regression, layers: Sequence[np.ndarray], tolerance: float):
        assert problem.statistics is not None
        self.layers = layers
        self.root = np.asarray(problem.statistics.root)
        self.target = np.asarray(problem.statistics.target)
        self.tolerance = tolerance
        self.scale = problem.weight_scale
        self.sizes = [max(float(np.linalg.norm(layer, 2)), self.scale) for layer in layers]

    def product(self, first: int, last: int) -> tuple[np.ndarray, float]:
        """``A_(last,first)`` (identity when last < first) and the product of its layers' sizes."""
        width = self.layers[first - 1].shape[1] if first <= len(self.layers) else self.layers[-1].shape[0]
        result = np.eye(width)
        for layer in self.layers[first - 1 : last]:
            result = layer @ result
        return result, float(np.prod(self.sizes[first - 1 : last]))

    def on_root(self, last: int) -> tuple[np.ndarray, float]:
        """``A_(last,1) R`` and its size."""
        product, size = self.product(1, last)
        return product @ self.root, size * float(np.linalg.norm(self.root, 2))

    def rank(self, matrix: np.ndarray, size: float) -> int | None:
        """Rank, None when a singular value lies between noise and clear."""
        values = np.linalg.svd(matrix, compute_uv=False) if matrix.size else np.zeros(0)
        noise = self.tolerance * size
        certain, possible = int(np.sum(values > CLEAR_FACTOR * noise)), int(np.sum(values > noise))
        return certain if certain == possible else None

    def rank_table(self, r: int) -> Ranks | None:
        """Ranks of all paths of at most l - 1 arrows; None when one is ambiguous or no critical point has them."""
        num_layers = len(self.layers)
        whole, _ = self.on_root(num_layers)
        captured = np.linalg.svd(whole)[0][:, :r]
        missed = self.target - captured @ (captured.T @ self.target)
        missed_size = float(np.linalg.norm(self.target, 2)) * float(np.linalg.norm(self.root, 2))
        dims = [self.root.shape[1] - r, *(layer.shape[0] - r for layer in self.layers)]
        table = []
        for start in range(num_layers + 1):
            row: list[int] = [int(dims[start])]
            for arrows in range(1, num_layers):
                end = start + arrows
                if end <= num_layers:
                    matrix, size = self.on_root(end) if start == 0 else self.product(start + 1, end)
                    rank = self.rank(matrix, size)
                    rank = None if rank is None else rank - r
                else:
                    left, left_size = self.product(start + 1, num_layers)
                    right, right_size = self.product(1, end - num_layers - 1)
                    rank = self.rank(right @ self.root @ missed.T @ left, left_size * right_size * missed_size)
                if rank is None:
                    return None
                row.append(rank)
            table.append(tuple(row))
        ranks = tuple(table)
        return ranks if rank_patterns.strings_of_ranks(ranks) is not None else None


def _level(problem: Regression, products: PartialProducts, k: int) -> Level:
    inputs, size = products.on_root(k)
    floor = products.tolerance * size
    rank_is_clear = products.rank(inputs, size) is not None
    spectrum = data_spectrum(
        inputs,
        products.target,
        rank_floor=floor if k else 0.0,
        group_rtol=max(1e-7, products.tolerance if k else 0.0),
        zero_floor=max(1e-11, products.tolerance if k else 0.0),
    )
    behind, behind_size = products.product(k + 2, len(products.layers))
    recovery = recover_pattern(behind, spectrum, tolerance=np.finfo(float).eps, floor=products.tolerance * behind_size)
    layer = products.layers[k]
    directions, rank = recovery.capture.directions, recovery.rank
    mixing = recovery.mixing
    lifted = np.linalg.solve(mixing, np.eye(len(mixing))[:, :rank])
    formula = lifted @ (directions.T @ spectrum.regression - mixing[:rank] @ layer @ spectrum.input_projector)
    explained = float(np.dot(recovery.capture.all_counts, spectrum.sigma))
    return Level(
        k=k,
        spectrum=spectrum,
        recovery=recovery,
        layer_residual=float(np.linalg.norm(formula)) / products.sizes[k],
        product_residual=float(np.linalg.norm(behind - directions @ mixing[:rank])) / behind_size,
        loss=problem.irreducible + 0.5 * (float(np.sum(products.target**2)) - explained),
        is_ambiguous=recovery.is_ambiguous or not rank_is_clear,
    )


def _condition_6(products: PartialProducts, levels: Sequence[Level]) -> tuple[float, float]:
    """Residuals of both parts of (6): of ``U_{k-1} V_{k-1} C_{k-1} = U_k V_k C_k A_{k+1}``, and at k = l - 1."""

    def factored(level: Level) -> np.ndarray:
        return level.recovery.capture.directions @ level.recovery.mixing[: level.recovery.rank]

    worst, num_layers = 0.0, len(products.layers)
    for outer, inner in itertools.pairwise(levels):
        _, size = products.product(outer.k + 2, num_layers)
        worst = max(worst, float(np.linalg.norm(factored(outer) - factored(inner) @ products.layers[inner.k])) / size)
    directions = levels[-1].recovery.capture.directions
    before, size = products.on_root(num_layers - 1)
    met = products.target @ before.T
    left = met - directions @ (directions.T @ met)
    return worst, float(np.linalg.norm(left)) / (size * max(float(np.linalg.norm(products.target, 2)), 1e-300))


def _category(problem: Regression, levels: Sequence[Level], layers: Sequence[np.ndarray]) -> str:
    first, last = levels[0], levels[-1]
    captured = sum(first.counts)
    is_greedy = not _misses_before_captures(first)
    if is_greedy and captured == min(max_rank(problem), first.spectrum.num_positive):
        return "global"
    if any(level.is_non_optimal for level in levels):
        return "deep-non-optimal"
    misses = sum(last.counts) < last.spectrum.num_positive
    has_room = last.recovery.rank < min(layers[-1].shape)
    return "deep-optimal" if misses and has_room and last.num_zero == 0 else "remaining"


def _misses_before_captures(level: Level) -> bool:
    """True when a positive value is captured while a larger one is missed (the zero group left out)."""
    missed = [size > count for size, count in zip(level.spectrum.multiplicities, level.counts, strict=True)]
    return any(missed[i] and any(level.counts[i + 1 :]) for i in range(len(missed)))


def _strictness(ranks: Ranks, category: str, first: Level) -> tuple[bool, tuple[int, int] | None]:
    if category == "global":
        return False, None
    if _misses_before_captures(first):
        return True, None
    found = rank_patterns.pivot(ranks)
    return found is not None, found
