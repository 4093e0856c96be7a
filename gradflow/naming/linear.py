"""Endpoints of linear networks with the squared error, named by the singular values that they have captured.

Every flow of such a network converges, its loss only falls, and critical points have finitely many values: a state
whose loss is below the second of them is on its way to a global minimum. The ordinary case needs no Hessian. All other
endpoints are refined, and named where captured strengths, value, ranks and the second-order test agree; what
contradicts itself is undetermined. Holds for the gradient flow of the weights and for the reduced flow.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from gradflow.critical_points.linear_weights import eigenvalue_shifts, layers_of, weight_floors
from gradflow.critical_sets import recognise
from gradflow.critical_sets.deep_linear.recognition import CAPTURE_TOLERANCE
from gradflow.critical_sets.ladder import linear_regression, max_rank
from gradflow.naming.evaluation import Evaluator, Flat
from gradflow.naming.examination import Examination, examine_rows
from gradflow.naming.labels import (
    CONTRADICTION,
    NOT_CRITICAL,
    NOT_FINITE,
    PASSING,
    RANKS,
    SLOW,
    Draft,
    Label,
    Names,
)
from gradflow.naming.ladders import SAME_VALUE_RTOL, Ladder
from gradflow.naming.namers import AbstractNamer
from gradflow.naming.reasons import staying
from gradflow.problem import AbstractProblem, Regression
from gradflow.statistics import TargetSpectrum


@dataclass(frozen=True, eq=False)
class LinearNamer(AbstractNamer):
    """Kind and captured set of endpoints of an unregularised linear network; see this module.

    Labels: ``"global minimum {s_1, s_2}"``, ``"strict saddle {s_2}"``, ``"non-strict saddle {s_1}"``; a continuum of
    minima is one class.
    """

    problem: Regression
    ladder: Ladder

    def _names(self, evaluate: Evaluator, flat: Flat, samples: np.ndarray, has_dwelt: np.ndarray) -> Names:
        del samples
        losses, params = self._losses(flat), flat.copy()
        assigned = Draft.blank(len(flat))
        assigned.give(np.ones(len(flat), dtype=bool), self.ladder.global_label)
        rows = np.flatnonzero(~self.ladder.is_below_second(losses))
        if len(rows):
            found = examine_rows(self.problem, evaluate, flat[rows])
            params[rows], losses[rows] = found.params, found.loss
            assigned.put(rows, self._saddles(found, has_dwelt[rows]))
        labels, codes = assigned.finished()
        return Names(labels, codes, None, np.full(len(flat), -1), losses, params)

    def _losses(self, flat: Flat) -> Float[np.ndarray, " num"]:
        statistics = self.problem.statistics
        assert statistics is not None
        residual = _products(self.problem, flat) - np.asarray(statistics.target)
        return 0.5 * (residual.reshape(len(flat), -1) ** 2).sum(axis=1) + float(statistics.irreducible)

    def _saddles(self, found: Examination, has_dwelt: np.ndarray) -> Draft:
        """Labels of endpoints that are at or above the second critical value."""
        stays = staying(found, has_dwelt)
        counts, defect = captured(self.problem, np.where(found.is_finite[:, None], found.params, 0.0))
        assigned, unstable = Draft.blank(len(found)), found.is_unstable & ~stays
        for row in np.flatnonzero(found.is_finite & ~unstable & found.is_critical).tolist():
            pattern = tuple(counts[row].tolist())
            assigned.give(np.array([row]), self._critical(found, row, pattern, float(defect[row]), bool(stays[row])))
        assigned.give(~found.is_critical, NOT_CRITICAL)
        assigned.give(unstable, PASSING)
        assigned.give(~found.is_finite, NOT_FINITE)
        return assigned

    def _critical(self, found: Examination, row: int, counts: tuple[int, ...], defect: float, stays: bool) -> Label:
        value = self.ladder.value(counts)
        is_at_value = abs(found.loss[row] - value) <= SAME_VALUE_RTOL * self.ladder.size
        if defect > CAPTURE_TOLERANCE or not is_at_value:
            return CONTRADICTION
        if counts == self.ladder.best:  # the second value is too near for the loss to decide
            return self.ladder.global_label if found.index[row] == 0 else CONTRADICTION
        if not stays:
            return SLOW
        state, displacement = found.params[row : row + 1], found.displacement[row : row + 1]
        nearness = np.maximum(displacement, weight_floors(self.problem, state))
        theory = recognise(
            self.problem, tuple(layer[0] for layer in layers_of(self.problem, state)), float(nearness[0])
        )
        strict = theory.strict
        if strict is None:
            seen = 3.0 * float(found.hessian_change[row] * displacement[0])
            reach = max(seen, float(eigenvalue_shifts(self.problem, state, nearness)[0]))
            if not found.lowest[row] < -max(float(found.zero_tolerance[row]), reach):
                return RANKS
            strict = True
        if theory.counts != counts or (found.index[row] > 0 and not strict):
            return CONTRADICTION
        word = "strict" if strict else "non-strict"
        kind = "strict_saddle" if strict else "nonstrict_saddle"
        return Label(f"{word} saddle {self.ladder.shown(counts)}", kind, value)


def linear_namer(problem: AbstractProblem) -> LinearNamer:
    """The namer of an unregularised linear network with the squared error.

    Raises:
        InputError: another problem.
    """
    problem = linear_regression(problem)
    spectrum = problem.spectrum
    values = np.asarray(spectrum.values[: spectrum.num_positive])
    groups = positive_groups(spectrum)
    return LinearNamer(problem, Ladder(values, groups, max_rank(problem), problem.irreducible, _zero_output(problem)))


def positive_groups(spectrum: TargetSpectrum) -> tuple[tuple[int, ...], ...]:
    """The groups of equal positive singular values."""
    return tuple(group for group in spectrum.groups if group[0] < spectrum.num_positive)


def captured(problem: Regression, flat: Flat) -> tuple[Int[np.ndarray, "num groups"], Float[np.ndarray, " num"]]:
    """Captured directions per group of equal positive singular values, and the distance from a critical product.

    Row by row what :func:`gradflow.critical_sets.recognise` calls `counts` and `capture_defect`.
    """
    assert problem.statistics is not None
    products, spectrum = _products(problem, flat), problem.spectrum
    counts, defect, explained = [], np.zeros(len(flat)), np.zeros_like(products)
    for group in positive_groups(spectrum):
        left, right, value = spectrum.left[:, group], spectrum.right[:, group], spectrum.values[group[0]]
        overlap = np.matmul(np.matmul(left.T, products), right)
        strengths, vectors = np.linalg.eigh(0.5 * (overlap + overlap.transpose(0, 2, 1)) / value)
        is_captured: Bool[np.ndarray, "num size"] = strengths > 0.5
        counts.append(is_captured.sum(axis=1))
        defect = np.maximum(defect, np.abs(strengths - is_captured).max(axis=1))
        chosen = vectors * is_captured[:, None, :]
        projector = np.matmul(chosen, chosen.transpose(0, 2, 1))
        explained += value * np.matmul(np.matmul(left, projector), right.T)
    scale = float(spectrum.values[0] or problem.statistics.scales[0])
    defect = np.maximum(defect, np.linalg.norm(products - explained, 2, axis=(1, 2)) / scale)
    return (np.stack(counts, axis=1) if counts else np.zeros((len(flat), 0), dtype=int)), defect


def _products(problem: Regression, flat: Flat) -> Float[np.ndarray, "num d_out rank"]:
    """``W_{H+1} ... W_1 R`` for each row, multiplied from the right."""
    assert problem.statistics is not None
    layers = layers_of(problem, flat)
    result = np.matmul(layers[0], np.asarray(problem.statistics.root))
    for layer in layers[1:]:
        result = np.matmul(layer, result)
    return result


def _zero_output(problem: Regression) -> float:
    """The loss of zero output, or 1.0 when that is zero."""
    assert problem.statistics is not None
    return 0.5 * float(np.sum(np.asarray(problem.statistics.target) ** 2)) + problem.irreducible or 1.0
