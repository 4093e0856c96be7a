"""What a given critical point of a shallow linear network has captured, or why it cannot be said.

For every rank that A_2 may have, the point is moved onto the critical set of the pattern found at that rank: ``A_2 ->
P A_2``, ``A_1 -> C^{-1} [S^T Y X^+ + C_top A_1 (I - X X^+); C_bot A_1 N]``. How far it has to move decides: one rank
with a small distance, the point is critical; none, it is not; two of comparable distance, the rank of A_2 is
ambiguous. So a tiny A_2 counts as rank 0 exactly when no critical point of higher rank is nearer. Knows a problem and
a state, and decides without looking at the loss.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.shallow_linear import counting, derivatives
from gradflow.critical_sets.shallow_linear.classes import critical_class
from gradflow.critical_sets.shallow_linear.construction import (
    AnalyticalForm,
    arrays_of,
    condition_three,
    layers_of,
    shallow_regression,
    spectrum_of,
)
from gradflow.critical_sets.shallow_linear.derivatives import Layers
from gradflow.critical_sets.shallow_linear.patterns import CLEAR_FACTOR, Recovery, annihilator, recover_pattern
from gradflow.critical_sets.shallow_linear.spectrum import DataSpectrum
from gradflow.problem import AbstractProblem, Regression
from gradflow.statistics import GROUP_RTOL, ZERO_RTOL
from gradflow.types import Weights

TOLERANCE = 1e-6
"""Largest distance from a critical set, relative per layer, at which a point is called critical."""

NOISE = 1e-10
"""Relative distances below this are rounding: two ranks that both come so near cannot be told apart."""


@dataclass(frozen=True)
class Decomposition:
    """The matrices of Theorem 1 behind a critical point, or the reason why there are none.

    Attributes:
        kind: ``"critical"``, ``"not_critical"``, or ``"ambiguous"`` when patterns of different rank are equally near.
        counts: ``p_1, ..., p_r`` of the nearest pattern; the point's own only if `kind` is ``"critical"``.
        num_zero: its ``p_bar``.
        rank: its k, the rank of A_2.
        candidate_ranks: the ranks of A_2 that the point cannot be told from; one entry if it is critical.
        projector: P, the projector on the captured directions.
        bases: ``V_1, ..., V_r, V_bar``; unique up to rotations inside each group.
        form: capture, C and ``L_1 = A_1``, from which the weights can be rebuilt; None unless critical.
        integrality_defect: distance of the singular values of ``U_i^T orth(A_2)`` from 0 and 1.
        condition_defect: the matrix of eq. (3) relative to ``||T|| ||X|| ||A_1||``.
        gradient_defect: gradient norm relative to what weights of this size could have.
        distance: how far the point is from the nearest critical point found, relative per layer.
        loss: the loss at the point.
        class_loss: the loss of the nearest pattern (Proposition 1).
        critical_class: the class, None unless critical.
    """

    kind: str
    counts: tuple[int, ...]
    num_zero: int
    rank: int
    candidate_ranks: tuple[int, ...]
    projector: Float[np.ndarray, "d_out d_out"]
    bases: tuple[Float[np.ndarray, "_ _"], ...]
    form: AnalyticalForm | None
    integrality_defect: float
    condition_defect: float
    gradient_defect: float
    distance: float
    loss: float
    class_loss: float
    critical_class: CriticalClass | None

    @property
    def is_critical(self) -> bool:
        """True when the point is critical and its pattern is decided."""
        return self.kind == "critical"


def decompose(
    problem: AbstractProblem,
    params: Weights,
    *,
    tolerance: float = TOLERANCE,
    group_rtol: float = GROUP_RTOL,
    zero_rtol: float = ZERO_RTOL,
) -> Decomposition:
    """Pattern, captured directions, C and L_1 of a critical point of a shallow linear network.

    Args:
        problem: a linear network with one hidden layer, the squared error and no regulariser.
        params: ``(A_1, A_2)``.
        tolerance: relative distance from a critical set up to which a point is critical; raise it for endpoints of
            trajectories that have not been refined.
        group_rtol, zero_rtol: when singular values of the data count as equal, and as zero.

    Accuracy: the weights come back from the form to about 1e-12 relative for well conditioned C. A point within 1e-10
    of critical points of another rank is ambiguous, whatever its own is.

    Raises:
        InputError: a wrong problem, or weights of wrong shape or not finite.

    Source: paper 002, Theorem 1, read backwards with ``L_1 = A_1``, and Proposition 1.
    """
    problem = shallow_regression(problem)
    checks.real("tolerance", tolerance, above=0.0, below=1.0)
    layers = layers_of(problem, params)
    spectrum = spectrum_of(problem, group_rtol=group_rtol, zero_rtol=zero_rtol)
    candidates = _candidates(spectrum, layers, tolerance)
    distances = np.array([max(distance, NOISE) for _, distance in candidates])
    best = int(np.argmin(distances))
    recovery, distance = candidates[best]
    near = distances <= CLEAR_FACTOR * distances[best]
    kind = "not_critical" if distances[best] > tolerance else "critical" if near.sum() == 1 else "ambiguous"
    captured = recovery.capture
    form = AnalyticalForm(captured, recovery.mixing, layers[0])
    is_critical = kind == "critical"
    return Decomposition(
        kind=kind,
        counts=captured.counts,
        num_zero=captured.num_zero,
        rank=recovery.rank,
        candidate_ranks=tuple(item.rank for (item, _), is_near in zip(candidates, near, strict=True) if is_near),
        projector=captured.projector,
        bases=captured.bases,
        form=form if is_critical else None,
        integrality_defect=recovery.defect,
        condition_defect=_condition_defect(problem, spectrum, form),
        gradient_defect=_gradient_defect(problem, spectrum, layers),
        distance=distance,
        loss=_loss(problem, layers),
        class_loss=problem.irreducible + counting.captured_loss(spectrum, captured.counts),
        critical_class=critical_class(problem, captured.counts, captured.num_zero) if is_critical else None,
    )


def _candidates(spectrum: DataSpectrum, layers: Layers, tolerance: float) -> list[tuple[Recovery, float]]:
    """Every rank that A_2 may have, with the pattern found there and the distance from its critical set."""
    values = scipy.linalg.svd(layers[1], compute_uv=False)
    scales = [max(float(np.linalg.norm(layer)), spectrum.weight_scale) for layer in layers]
    dropped = np.append(values, 0.0)
    ranks = [
        rank
        for rank in range(len(values) + 1)
        if dropped[rank] <= CLEAR_FACTOR * tolerance * scales[1]
        and (rank == 0 or values[rank - 1] > 1e-14 * max(float(values[0]), NOISE * scales[1]))
    ]
    found = [recover_pattern(layers[1], spectrum, rank=rank) for rank in ranks]
    return [(recovery, _distance(spectrum, layers, recovery, scales)) for recovery in found]


def _distance(spectrum: DataSpectrum, layers: Layers, recovery: Recovery, scales: list[float]) -> float:
    """Relative distance from the critical point of the recovered pattern that shares C and the free parts."""
    first, second = layers
    rank, captured = recovery.rank, recovery.capture
    top, bottom = recovery.mixing[:rank], recovery.mixing[rank:]
    outside = np.eye(first.shape[1]) - spectrum.input_projector
    upper = captured.directions.T @ spectrum.regression + top @ first @ outside
    inverse = scipy.linalg.pinv(top) if rank else np.zeros((first.shape[0], 0))
    nearest = inverse @ upper + bottom.T @ (bottom @ first @ annihilator(spectrum, captured))
    moved = [first - nearest, second - captured.projector @ second]
    return max(float(np.linalg.norm(change)) / scale for change, scale in zip(moved, scales, strict=True))


def _condition_defect(problem: Regression, spectrum: DataSpectrum, form: AnalyticalForm) -> float:
    size = _output_size(problem, spectrum) * float(np.linalg.norm(spectrum.inputs, 2))
    size *= max(float(np.linalg.norm(form.offset)), spectrum.weight_scale)
    return float(np.linalg.norm(condition_three(spectrum, form))) / (size or 1.0)


def _gradient_defect(problem: Regression, spectrum: DataSpectrum, layers: Layers) -> float:
    """Gradient norm over ``max(||T|| ||R|| w, (||A_2|| ||A_1 R|| + ||T||) (||A_2|| ||R|| + ||A_1 R||))``."""
    root, target = arrays_of(problem)
    norm = float(np.sqrt(sum(float(np.sum(part**2)) for part in derivatives.gradient(layers, root, target))))
    size = float(np.linalg.norm(root, 2))
    unit = _output_size(problem, spectrum)
    hidden, second = float(np.linalg.norm(layers[0] @ root)), float(np.linalg.norm(layers[1], 2))
    possible = (second * hidden + unit) * (second * size + hidden)
    return norm / (max(unit * size * spectrum.weight_scale, possible) or 1.0)


def _output_size(problem: Regression, spectrum: DataSpectrum) -> float:
    """``||T||``; ``||Y||`` when T is nothing but rounding, ``||X||`` when Y is zero."""
    if spectrum.num_positive:
        return float(np.linalg.norm(spectrum.outputs))
    return float(np.sqrt(2.0 * problem.irreducible)) or float(np.linalg.norm(spectrum.inputs, 2))


def _loss(problem: Regression, layers: Layers) -> float:
    root, target = arrays_of(problem)
    return 0.5 * float(np.sum((layers[1] @ layers[0] @ root - target) ** 2)) + problem.irreducible
