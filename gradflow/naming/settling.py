"""Labels for discovered groups: each is classified once, when all endpoints are in.

A point with flat directions and no negative eigenvalue is "degenerate" unless the flat directions are shown to belong
to a continuum: along each of them, and along mixtures, there are critical points of the same loss and nullity
(:data:`PROBE` away, by refinement that must not lead back). The critical set is then a manifold as far as that can be
seen, the Hessian is positive across it, and it consists of minima. Knows a problem and groups; no chunks.
"""

import functools
import itertools
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Int

from gradflow.critical_points import CriticalPoint, classify
from gradflow.curvature import hessians
from gradflow.naming.evaluation import evaluator
from gradflow.naming.examination import examine_rows
from gradflow.naming.features import STAYS
from gradflow.naming.groups import CORE, Groups, Resolution, locate, resolve
from gradflow.naming.labels import AMBIGUOUS, OTHER, SLOW, Label
from gradflow.precision import in_double
from gradflow.problem import AbstractProblem, Landscape
from gradflow.types import Params

PROBE = 1e-2
"""How far along flat directions a continuum is looked for, relative to the scale of the parameters."""

KEPT = 0.9
"""The part of that distance that refinement must leave: back to a degenerate point it leads by a third and more."""

MIXED_PROBES = 3
"""Probes along random mixtures of the flat directions, in addition to one per direction."""

SHOWN_COORDINATES = 3
"""Isolated points of landscapes with at most so many parameters show where they are."""


@dataclass(frozen=True, eq=False)
class Settled:
    """The labels of all groups of a run.

    Attributes:
        labels: one per group, in the order of `resolution.groups`; two groups that differ only in whether the flow was
            known to stay share one.
        points: what :func:`gradflow.classify` says of each group's representative.
        resolution: the groups.
    """

    labels: tuple[Label, ...]
    points: tuple[CriticalPoint, ...]
    resolution: Resolution

    def counts(self) -> dict[Label, int]:
        """Endpoints per label, with those between groups and those of groups that were not kept."""
        groups = self.resolution.groups
        parts = [*zip(self.labels, groups.counts.tolist(), strict=True)]
        parts += [(AMBIGUOUS, self.resolution.ambiguous), (OTHER, groups.overflow)]
        counts: dict[Label, int] = {}
        for label, count in parts:
            counts[label] = counts.get(label, 0) + count
        return {label: count for label, count in counts.items() if count}

    def labels_of(self, clusters: Groups, whole: Groups) -> tuple[Label, ...]:
        """The labels of the clusters of one chunk, given the tally of the whole run that was settled."""
        found: Int[np.ndarray, " clusters"] = locate(whole, clusters.keys, clusters.leaders)
        position = np.where(found >= 0, self.resolution.position[found], -2) if len(whole) else found - 1
        missing = {-1: AMBIGUOUS, -2: OTHER}
        return tuple(self.labels[place] if place >= 0 else missing[place] for place in position.tolist())


@in_double
def settle(problem: AbstractProblem, like: Params, clusters: Groups) -> Settled:
    """The groups of a run with their labels.

    A group at a degenerate point that is neither a continuum of minima nor at the least loss is named only if the flow
    was known to stay there; otherwise it is :data:`~gradflow.naming.labels.SLOW`. Labels are canonical: kind, index,
    loss and, for isolated points of small landscapes, the location; groups that share all of this are numbered in the
    order of their features.

    Args:
        problem: the problem whose endpoints were grouped.
        like: one state (any), for the shapes of the parameters.
        clusters: the merged tally of all chunks.
    """
    resolution = resolve(clusters)
    groups = resolution.groups
    evaluate = evaluator(problem, jax.tree.map(lambda leaf: np.asarray(leaf)[None], like))
    states = [
        jax.tree.map(lambda leaf: leaf[0], evaluate.unflatten(groups.params[number : number + 1]))
        for number in range(len(groups))
    ]
    points = tuple(classify(problem, state) for state in states)
    plain = [_label(problem, point, is_continuum(problem, point)) for point in points]
    numbered = _numbered(plain, groups)
    left = (groups.keys[:, STAYS] == 0).tolist()  # not known to stay
    is_slow = [label.kind == "degenerate" and passes for label, passes in zip(numbered, left, strict=True)]
    named = [SLOW if slow else label for label, slow in zip(numbered, is_slow, strict=True)]
    return Settled(tuple(named), points, resolution)


@in_double
def is_continuum(problem: AbstractProblem, point: CriticalPoint) -> bool:
    """True when all flat directions of a point without negative eigenvalues lead along critical points.

    Accuracy: evidence, not proof: critical points are found 1e-2 of the parameters' scale away in as many directions
    as there are flat ones and in three mixtures, on one side at least, with the same nullity, index 0, the same loss
        and no gradient along flat directions but rounding; exactly no gradient where there is no curvature at all.
        False above 600 parameters, where it is not tried, and on continua that bend within a tenth of the scale. A
        minimum of order 12 or more along an axis looks like a continuum.
    """
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(point.params)])
    if not point.nullity or point.index != 0 or flat.size > hessians.DIRECT_LIMIT:
        return False
    values, vectors = np.linalg.eigh(hessians.dense_hessian(problem, point.params))
    null = vectors[:, np.abs(values) <= point.zero_tolerance]
    if null.shape[1] != point.nullity:
        return False
    rng = np.random.default_rng(0)
    turned = null @ np.linalg.qr(rng.normal(size=(null.shape[1], null.shape[1])))[0]
    mixtures = null @ rng.normal(size=(null.shape[1], MIXED_PROBES))
    directions = np.hstack([turned, mixtures / np.linalg.norm(mixtures, axis=0)]).T
    step = PROBE * max(float(np.linalg.norm(flat)), 1.0)
    evaluate = evaluator(problem, jax.tree.map(lambda leaf: np.asarray(leaf)[None], point.params))
    both = np.concatenate([directions, -directions])
    with np.errstate(all="ignore"):
        found = examine_rows(problem, evaluate, flat + step * both, 0.5 * step)
    kept = np.sum((found.params - flat) * both, axis=1) >= KEPT * step
    size = max(abs(point.loss), float(values[-1]) * step**2)
    same_loss = np.abs(found.loss - point.loss) <= 1e-6 * size
    leads_on = found.is_critical & kept & same_loss & (found.index == 0) & (found.nullity == point.nullity)
    leads_on &= found.is_resting if point.nullity < flat.size else found.given_grad_norm == 0.0
    return bool(np.all(leads_on.reshape(2, -1).any(axis=0)))


def _label(problem: AbstractProblem, point: CriticalPoint, continuous: bool) -> Label:
    words = point.kind.replace("_", " ").replace("nonstrict", "non-strict")
    kind = point.kind
    if continuous and kind in ("degenerate", "local_minimum", "global_minimum"):
        words = "continuum of global minima" if kind == "global_minimum" else "continuum of minima"
        kind = "local_minimum" if kind == "degenerate" else kind
    elif kind == "degenerate":
        words = "degenerate critical point"
    if point.index and kind == "strict_saddle":
        words += f" of index {point.index}"
    text = f"{words}, loss {_shown(point.loss)}"
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(point.params)])
    if isinstance(problem, Landscape) and flat.size <= SHOWN_COORDINATES and point.nullity == 0:
        text += f", at ({', '.join(_shown(value) for value in flat)})"
    return Label(text, kind, point.loss)


def _shown(value: float) -> str:
    """Six digits, and no digits of rounding where zero is meant."""
    return f"{round(value, 10) + 0.0:.6g}"


def _numbered(labels: list[Label], groups: Groups) -> list[Label]:
    """Labels of equal text told apart by numbers, in the order of the groups' features."""
    result = list(labels)
    for text in {label.text for label in labels}:
        same = [number for number, label in enumerate(labels) if label.text == text]
        ordered = sorted(same, key=functools.cmp_to_key(functools.partial(_order, groups)))
        starts = [0] + [int(_order(groups, one, other) != 0) for one, other in itertools.pairwise(ordered)]
        places = np.cumsum(starts) + 1
        if places[-1] > 1:
            for place, number in zip(places, ordered, strict=True):
                result[number] = Label(f"{text} ({place})", labels[number].kind, labels[number].loss)
    return result


def _order(groups: Groups, one: int, other: int) -> int:
    """-1, 0 or 1: by the first feature that differs by more than the tolerance; 0 for one class in two groups."""
    for mine, yours in zip(groups.leaders[one], groups.leaders[other], strict=True):
        if abs(mine - yours) > CORE * groups.tolerance * max(1.0, abs(mine)):
            return -1 if mine < yours else 1
    return int(np.sign(groups.keys[one, STAYS - 1] - groups.keys[other, STAYS - 1]))
