"""Naming without closed-form theory: endpoints are grouped, and each group is classified once, at the end.

Points that the user knows are recognised by the same features as groups are.
"""

from dataclasses import dataclass

import jax
import numpy as np

from gradflow import checks
from gradflow.critical_points import classify
from gradflow.naming.evaluation import Evaluator, Flat, evaluator
from gradflow.naming.examination import examine_rows
from gradflow.naming.features import STAYS, features
from gradflow.naming.groups import BAND, CORE, Features, collect, distance
from gradflow.naming.labels import AMBIGUOUS, CRAWLING, OTHER, SLOW, Draft, Label, Names
from gradflow.naming.namers import AbstractNamer, Known
from gradflow.naming.reasons import reasons, staying
from gradflow.naming.settling import is_continuum
from gradflow.precision import as_params, in_double
from gradflow.problem import AbstractProblem
from gradflow.types import Params

TOLERANCE = 1e-6
"""Default for the distance of features, relative, at which two endpoints are the same limit."""

BOTTOM_RTOL = 1e-13
"""A refined loss within this multiple of a large one above the least possible value has that value."""


@dataclass(frozen=True, eq=False)
class Discovery(AbstractNamer):
    """Groups endpoints by features that the problem's symmetries leave alone; see :mod:`gradflow.naming.features`.

    Attributes:
        problem: any problem.
        tolerance: see :data:`TOLERANCE`.
        known: names, kinds and features of points that the user knows.
        bottom: the label of all critical points whose loss is its loss, the least possible one; None when that value is
            not known, or when such points are to be told apart.
        size: a large loss, what `bottom` is compared against.
    """

    problem: AbstractProblem
    tolerance: float = TOLERANCE
    known: tuple[tuple[Label, Features], ...] = ()
    bottom: Label | None = None
    size: float = 1.0

    def _names(self, evaluate: Evaluator, flat: Flat, samples: np.ndarray, has_dwelt: np.ndarray) -> Names:
        examination = examine_rows(self.problem, evaluate, flat)
        assigned = reasons(self.problem, examination, has_dwelt)
        rows = np.flatnonzero(assigned.is_open)
        stays = staying(examination, has_dwelt)
        found = features(self.problem, evaluate, examination.at(rows), samples[rows], stays[rows])
        if self.known:
            assigned.put(rows, self._recognised(found))
        if self.bottom is not None:
            is_least = found.loss - self.bottom.loss <= BOTTOM_RTOL * self.size
            assigned.give(rows[is_least], self.bottom)
        crawls = ~examination.is_resting[rows] & ~stays[rows]
        assigned.give(rows[crawls & assigned.is_open[rows]], CRAWLING)
        left = assigned.is_open[rows]
        groups, inside = collect(found if left.all() else _rows(found, left), self.tolerance)
        members = np.full(len(flat), -1)
        members[rows[left]] = inside
        assigned.give(rows[left][inside < 0], OTHER)
        labels, codes = assigned.finished()
        return Names(labels, codes, groups, members, examination.loss, examination.params)

    def _recognised(self, found: Features) -> Draft:
        """The user's label of each row, ambiguous where a row is near one of his points without being at it."""
        result, stays = Draft.blank(len(found.loss)), found.keys[:, STAYS] > 0
        for label, point in self.known:
            same = (found.keys[:, :STAYS] == point.keys[:, :STAYS]).all(axis=1)
            offsets = distance(np.repeat(point.values, len(same), axis=0), found.values)
            is_at = same & (offsets <= CORE * self.tolerance)
            result.give(same & (offsets <= BAND * self.tolerance) & ~is_at & result.is_open, AMBIGUOUS)
            is_left = is_at & ~stays & (label.kind == "degenerate")
            result.give(is_at & ~is_left, label)
            result.give(is_left, SLOW)
        return result


@in_double
def discovery(problem: AbstractProblem, known: Known | None = None, tolerance: float = TOLERANCE) -> Discovery:
    """The namer that groups endpoints, and recognises the points in `known`.

    Args:
        problem: any problem.
        known: critical points by name. An endpoint gets a name when its features agree; so for networks all images
            under their symmetries get it, and for a point of a continuum the whole continuum does.
        tolerance: relative, see :class:`gradflow.naming.groups.Features`.

    Raises:
        InputError: a known point that is not critical, on a kink, or the same limit as another one.
    """
    tolerance = checks.real("tolerance", tolerance, above=0.0, below=1e-2)
    namer = Discovery(problem, tolerance)
    entries: list[tuple[Label, Features]] = []
    for name, params in (known or {}).items():
        entry = _known_entry(problem, name, params)
        for other, features_of_other in entries:
            same = (features_of_other.keys[:, :STAYS] == entry[1].keys[:, :STAYS]).all()
            apart = float(distance(features_of_other.values, entry[1].values[0])[0])
            checks.require(
                not same or apart > BAND * tolerance, "known", f"hold different limits (tolerance {tolerance:g})",
                f"{other.text!r} and {name!r}, which are {apart:.1e} apart", "Keep one of them.",
            )  # fmt: skip
        entries.append(entry)
    return Discovery(problem, namer.tolerance, tuple(entries))


def _known_entry(problem: AbstractProblem, name: str, params: Params) -> tuple[Label, Features]:
    batch = jax.tree.map(lambda leaf: np.asarray(leaf)[None], as_params(params, name=f"known[{name!r}]"))
    evaluate = evaluator(problem, batch)
    with np.errstate(all="ignore"):
        found = examine_rows(problem, evaluate, evaluate.flatten(batch))
    reason = reasons(problem, found, np.ones(1, dtype=bool)).finished()[0]
    checks.require(
        not reason, f"known[{name!r}]", "be a critical point of the problem",
        f"a state with gradient norm {found.given_grad_norm[0]:.2e} ({reason[0].text if reason else ''})",
        "Refine it with gradflow.refine first.",
    )  # fmt: skip
    point = classify(problem, jax.tree.map(lambda leaf: leaf[0], evaluate.unflatten(found.params)))
    kind = "local_minimum" if point.kind == "degenerate" and is_continuum(problem, point) else point.kind
    return Label(name, kind, point.loss), features(problem, evaluate, found, np.zeros(1), np.ones(1, dtype=bool))


def _rows(found: Features, rows: np.ndarray) -> Features:
    return Features(found.keys[rows], found.values[rows], found.loss[rows], found.params[rows], found.samples[rows])
