"""From what was collected to the result: groups get labels, rows their order, undetermined starts their reasons."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from gradflow.basins.collecting import Collection
from gradflow.basins.estimates import ESCAPED, NONFINITE, SPECIAL, UNDETERMINED, BasinEstimate
from gradflow.basins.following import ESCAPED as ESCAPED_LABEL
from gradflow.basins.following import NONFINITE as NONFINITE_LABEL
from gradflow.basins.jobs import Plan
from gradflow.basins.tallies import NUM_BINS, Tally, concatenated
from gradflow.naming.labels import Label
from gradflow.naming.settling import Settled, settle

_REASON = "undetermined: "


def assemble(plan: Plan, collection: Collection, facts: dict[str, Any]) -> BasinEstimate:
    """The estimate that a collection amounts to."""
    tallies = collection.tallies
    settled = None
    labels = list(tallies.labels)
    if tallies.groups is not None:
        like = jax.tree.map(lambda leaf: leaf[0], plan.sampler.starts(plan.key, np.zeros(1, np.int64)))
        settled = settle(plan.flow.problem, like, tallies.groups)
        labels += settled.labels_of(tallies.groups, tallies.groups)
    both = concatenated(tallies.labelled, tallies.grouped)
    counts = both.counts.sum(axis=1).tolist()
    names, classes = _ordered(labels, counts)
    place = {name: number for number, name in enumerate(names)}
    summed = _by_row(both, np.array([place[_row(label)] for label in labels], dtype=np.int64), len(names))
    found = summed.counts.sum(axis=1)
    opened = collection.opened
    return BasinEstimate(
        labels=names,
        kinds=tuple(classes[name].kind if name in classes else name for name in names),
        losses=np.array([classes[name].loss if name in classes else np.nan for name in names]),
        counts=found,
        replicate_counts=summed.counts,
        reasons=_reasons(labels, counts),
        first=summed.first,
        starts=summed.starts,
        ends=summed.ends,
        time_counts=summed.times,
        mean_steps=summed.steps / np.maximum(found, 1),
        open=replace(opened, reasons=tuple(text.removeprefix(_REASON) for text in opened.reasons)),
        codes=_codes(collection, settled, place) if collection.chunks else None,
        recheck=None,
        facts=facts,
        plan=plan,
        collection=collection,
    )


def _ordered(labels: list[Label], counts: list[int]) -> tuple[tuple[str, ...], dict[str, Label]]:
    """The names of all rows, most frequent first and the special ones last, and the labels of the classes."""
    classes: dict[str, Label] = {}
    totals: dict[str, int] = {}
    for label, count in zip(labels, counts, strict=True):
        row = _row(label)
        if row not in SPECIAL:
            classes[row] = label
            totals[row] = totals.get(row, 0) + count
    return (*sorted(classes, key=lambda row: (-totals[row], row)), *SPECIAL), classes


def _reasons(labels: list[Label], counts: list[int]) -> dict[str, int]:
    """Why starts are undetermined, most frequent first."""
    reasons: dict[str, int] = {}
    for label, count in zip(labels, counts, strict=True):
        if _row(label) == UNDETERMINED:
            reason = label.text.removeprefix(_REASON)
            reasons[reason] = reasons.get(reason, 0) + count
    return dict(sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0])))


def _row(label: Label) -> str:
    if label.text in (ESCAPED_LABEL.text, NONFINITE_LABEL.text):
        return ESCAPED if label.text == ESCAPED_LABEL.text else NONFINITE
    return label.text if label.is_decided else UNDETERMINED


def _by_row(tally: Tally, where: Int[np.ndarray, " classes"], num: int) -> Tally:
    """The tally with one row per place; places without a class count nothing."""
    missing = np.setdiff1d(np.arange(num), where)
    more = len(missing)
    nan, none = np.full((more, tally.starts.shape[1]), np.nan), np.zeros(more, np.int64)
    blank = Tally(np.zeros((more, tally.counts.shape[1]), np.int64), np.zeros((more, NUM_BINS), np.int64), none,
                  np.full(more, -1), nan, nan, np.full(more, np.nan))  # fmt: skip
    return concatenated(tally, blank).put_together(np.concatenate([where, missing]), num)


def _codes(collection: Collection, settled: Settled | None, place: dict[str, int]) -> Int[np.ndarray, " samples"]:
    """For each start the number of its row; where it was counted again, the later one."""
    num = 1 + max(int(chunk.samples.max(initial=-1)) for chunk in collection.chunks)
    result = np.full(num, -1, dtype=np.int16 if len(place) < 2**15 else np.int32)
    for chunk in collection.chunks:
        labels: list[Label] = list(chunk.labels)
        if chunk.groups is not None:
            assert settled is not None and collection.tallies.groups is not None
            labels += settled.labels_of(chunk.groups, collection.tallies.groups)
        table = np.array([place[_row(label)] for label in labels], dtype=result.dtype)
        result[chunk.samples] = table[chunk.codes]
    return result
