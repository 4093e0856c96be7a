"""Which balanced critical point a given state is: its pattern, frames and gauge, and how far it is from that.

The state is compared with an exact critical point, rebuilt from what was read off it; the distance decides. Knows a
problem and a state.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.balanced.construction import canonical_factors, captured_directions
from gradflow.critical_sets.balanced.setting import BalancedSetting, Layers, balanced_setting, checked_params
from gradflow.types import Weights

TOLERANCE = 1e-3
"""Distance from an exact critical point, relative, up to which a state is named after it."""

Verdict = Literal["critical", "not critical", "ambiguous"]


@dataclass(frozen=True)
class BalancedPoint:
    """What closed-form theory says about a state of a regularised shallow linear network.

    Attributes:
        verdict: ``"critical"``: within the tolerance of the exact critical point ``construct(problem, counts, ...)``;
            ``"not critical"``: farther, and the gradient is larger than the tolerance too; ``"ambiguous"``: farther,
            but the gradient is small, so that neither can be said (nearly equal or tiny singular values, degenerate
            points).
        counts: captured directions per group of equal positive singular values, rounded.
        frames: which directions of each group, orthonormal columns.
        gauge: the rotation O of the hidden units.
        free: the part of ``W_1`` on inputs that no sample has.
        rank: number of captured directions.
        residual: distance from the rebuilt point, relative to the largest column of ``W_2`` at a global minimum.
        balance_defect: ``||W_2^T W_2 - W_1 B B^T W_1^T||_F``, relative to the square of that.
        capture_defect: largest distance of a captured strength from {0, 1}.
        gradient_defect: gradient norm, relative to ``||T|| ||R||`` times that.
    """

    verdict: Verdict
    counts: tuple[int, ...]
    frames: tuple[Float[np.ndarray, "_ _"], ...]
    gauge: Float[np.ndarray, "d_1 d_1"]
    free: Float[np.ndarray, "d_1 d_0"]
    rank: int
    residual: float
    balance_defect: float
    capture_defect: float
    gradient_defect: float

    @property
    def is_critical(self) -> bool:
        """True when the verdict is ``"critical"``."""
        return self.verdict == "critical"


def decompose(problem: Any, params: Weights, tolerance: float = TOLERANCE) -> BalancedPoint:
    """Pattern, frames, gauge and free part of a state, so that ``construct`` with them gives it back.

    The frames and the gauge of one state are not unique (rotations inside a group, and of idle hidden units); what
    ``construct`` makes of them is.

    Args:
        problem: as in :func:`construct`.
        params: a state, usually an endpoint of a flow.
        tolerance: for the verdict.

    Accuracy: a constructed point is reproduced to about 1e-14. A point at distance e from an exact one gets its pattern
    for e up to a fraction of the smallest gap between singular values, square roots taken.

    Raises:
        InputError: the problem is not of the family, wrong shapes, a tolerance that is not between 0 and 1.

    Source: paper 001, Lemma 1, corrected (a free rotation inside groups of equal singular values).
    """
    setting = balanced_setting(problem)
    tolerance = checks.real("tolerance", tolerance, above=0.0, below=1.0)
    first, second = checked_params(problem, params)
    counts, frames, capture_defect = _captured(setting, first, second)
    gauge = _gauge(setting, frames, first, second)
    free = first @ setting.unseen
    canonical = canonical_factors(setting, frames)
    rebuilt = gauge @ canonical[0] + free, canonical[1] @ gauge.T
    distance = np.hypot(np.linalg.norm((first - rebuilt[0]) @ setting.metric), np.linalg.norm(second - rebuilt[1]))
    defect = second.T @ second - first @ setting.metric @ setting.metric.T @ first.T
    residual, gradient = float(distance) / setting.unit, gradient_defect(setting, first, second)
    if residual <= tolerance:
        verdict: Verdict = "critical"
    else:
        verdict = "not critical" if gradient > tolerance else "ambiguous"
    return BalancedPoint(
        verdict=verdict,
        counts=counts,
        frames=frames,
        gauge=gauge,
        free=free,
        rank=sum(counts),
        residual=residual,
        balance_defect=float(np.linalg.norm(defect)) / setting.unit**2,
        capture_defect=capture_defect,
        gradient_defect=gradient,
    )


def gradient_defect(setting: BalancedSetting, first: np.ndarray, second: np.ndarray) -> float:
    """Norm of the regularised gradient, eqs. (19)-(20), relative to ``||T|| ||R||`` times the unit."""
    gradient = regularised_gradient(setting, first, second)
    norm = float(np.sqrt(sum(np.sum(part**2) for part in gradient)))
    largest = float(setting.scales[0])
    return norm / (float(np.linalg.norm(setting.target)) * largest * setting.unit or largest**2)


def regularised_gradient(setting: BalancedSetting, first: np.ndarray, second: np.ndarray) -> Layers:
    """Eqs. (19)-(20) of paper 001: ``W_2^T A R^T - mu E W_1 G`` and ``A (W_1 R)^T + mu W_2 E``, A the residual."""
    residual = second @ first @ setting.root - setting.target
    weighted = first @ setting.metric @ setting.metric.T
    defect = second.T @ second - weighted @ first.T
    return (
        second.T @ residual @ setting.root.T - setting.strength * defect @ weighted,
        residual @ (first @ setting.root).T + setting.strength * second @ defect,
    )


def _captured(
    setting: BalancedSetting, first: np.ndarray, second: np.ndarray
) -> tuple[tuple[int, ...], tuple[np.ndarray, ...], float]:
    """Counts, frames, and how far the captured strengths are from {0, 1}.

    The column space of W_2 is cut where ``1/2 (W_2^T W_2 + W_1 B B^T W_1^T)`` falls below half of the least strength
    that a captured direction can have. Its projector, restricted to a group, is a projector at a critical point.
    """
    stacked = np.vstack([second, (first @ setting.metric).T])
    units, strengths, _ = np.linalg.svd(stacked.T, full_matrices=False)
    rank = min(int(np.sum(0.5 * strengths**2 > 0.5 * setting.least_strength)), second.shape[0])
    span = np.linalg.svd(second @ units[:, :rank], full_matrices=False)[0] if rank else second[:, :0]
    overlaps = [setting.left[:, group].T @ span for group in setting.groups]
    spectra = [np.linalg.eigh(overlap @ overlap.T) for overlap in overlaps]
    ranked = np.sort(np.concatenate([np.zeros(rank + 1), *(weights for weights, _ in spectra)]))[::-1]
    least = max(0.5, float(ranked[rank]))  # of a state that is not critical more than `rank` may exceed 1/2
    counts, frames, defect = [], [], 0.0
    for weights, vectors in spectra:
        captured = weights > least
        counts.append(int(captured.sum()))
        frames.append(vectors[:, captured][:, ::-1])
        defect = max(defect, float(np.max(np.minimum(np.abs(weights), np.abs(weights - 1.0)))))
    outside = setting.left[:, len(setting.values) :].T @ span
    return tuple(counts), tuple(frames), max(defect, float(np.sum(outside**2)))


def _gauge(
    setting: BalancedSetting, frames: tuple[np.ndarray, ...], first: np.ndarray, second: np.ndarray
) -> Float[np.ndarray, "d_1 d_1"]:
    """The rotation that brings the canonical factors closest to the state (orthogonal Procrustes)."""
    canonical = canonical_factors(setting, frames)
    stacked = np.vstack([second, (first @ setting.metric).T])
    model = np.vstack([canonical[1], (canonical[0] @ setting.metric).T])
    left, _, right = np.linalg.svd(stacked.T @ model)
    return left @ right


def missed_projector(setting: BalancedSetting, frames: tuple[np.ndarray, ...]) -> Float[np.ndarray, "d_2 d_2"]:
    """``I - Pi``, Pi the projector on the captured directions."""
    captured = captured_directions(setting, frames)
    return np.eye(captured.shape[0]) - captured @ captured.T
