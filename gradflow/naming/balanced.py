"""Endpoints of shallow linear networks with paper 001's balancing regulariser, named by its classes.

The regularised loss has the critical values of the plain one and its sublevel sets are bounded up to directions in
which nothing moves, so its flows converge: a loss below the second value leads to a global minimum. Other critical
points are strict saddles, each named by what it has captured, when the Hessian agrees and the flow stays.
"""

from dataclasses import dataclass

import jax
import numpy as np

from gradflow.critical_sets import balanced
from gradflow.critical_sets.balanced.setting import balanced_setting
from gradflow.naming.evaluation import Evaluator, Flat
from gradflow.naming.examination import examine_rows
from gradflow.naming.labels import CONTRADICTION, NOT_CRITICAL, NOT_FINITE, PASSING, SLOW, Draft, Label, Names
from gradflow.naming.ladders import SAME_VALUE_RTOL, Ladder
from gradflow.naming.namers import AbstractNamer
from gradflow.naming.reasons import staying
from gradflow.problem import AbstractProblem


@dataclass(frozen=True, eq=False)
class BalancedNamer(AbstractNamer):
    """Category and captured set of endpoints of a problem of :mod:`gradflow.critical_sets.balanced`.

    Labels: ``"global minimum {s_1, s_2}"``, ``"strict saddle {s_2}"``.
    """

    problem: AbstractProblem
    ladder: Ladder

    def _names(self, evaluate: Evaluator, flat: Flat, samples: np.ndarray, has_dwelt: np.ndarray) -> Names:
        del samples
        losses, params = evaluate.losses(flat), flat.copy()
        assigned = Draft.blank(len(flat))
        assigned.give(np.ones(len(flat), dtype=bool), self.ladder.global_label)
        rows = np.flatnonzero(~self.ladder.is_below_second(losses))
        if len(rows):
            found = examine_rows(self.problem, evaluate, flat[rows])
            params[rows], losses[rows] = found.params, found.loss
            stays = staying(found, has_dwelt[rows])
            for number, row in enumerate(rows):
                if not found.is_finite[number]:
                    label = NOT_FINITE
                elif found.is_unstable[number] and not stays[number]:
                    label = PASSING
                elif not found.is_critical[number]:
                    label = NOT_CRITICAL
                else:
                    index = int(found.index[number])
                    label = self._critical(evaluate, params[row : row + 1], float(losses[row]), index)
                    label = label if stays[number] or label is self.ladder.global_label else SLOW
                assigned.give(rows[[number]], label)
        labels, codes = assigned.finished()
        return Names(labels, codes, None, np.full(len(flat), -1), losses, params)

    def _critical(self, evaluate: Evaluator, row: Flat, loss: float, index: int) -> Label:
        point = balanced.decompose(self.problem, jax.tree.map(lambda leaf: leaf[0], evaluate.unflatten(row)))
        value, is_best = self.ladder.value(point.counts), point.counts == self.ladder.best
        is_at_value = abs(loss - value) <= SAME_VALUE_RTOL * self.ladder.size
        if not point.is_critical or not is_at_value or is_best != (index == 0):
            return CONTRADICTION
        if is_best:  # the second value is too near for the loss to decide
            return self.ladder.global_label
        return Label(f"strict saddle {self.ladder.shown(point.counts)}", "strict_saddle", value)


def balanced_namer(problem: AbstractProblem) -> BalancedNamer:
    """The namer of a shallow linear network with a :class:`~gradflow.regularizers.Balance`.

    Raises:
        InputError: another problem, see :func:`gradflow.critical_sets.balanced.construct`.
    """
    setting = balanced_setting(problem)
    size = 0.5 * float(np.sum(setting.target**2)) + setting.irreducible or 1.0
    return BalancedNamer(
        problem, Ladder(np.asarray(setting.values), setting.groups, setting.max_rank, setting.irreducible, size)
    )
