"""Counts and convergence times of classes, as arrays that can be added up in any order and written to a file.

A class is a label that is known from the start, or a group that gets its label at the end. Sums are exact: counts and
histograms are whole numbers, and times are summed on a logarithmic grid, so that adding up in another order gives the
same bits. Knows labels and groups, no flow.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from gradflow.naming.groups import Groups, locate, merge
from gradflow.naming.labels import OTHER, Label

BINS_PER_DECADE = 16
FIRST_DECADE, LAST_DECADE = -8, 16
NUM_BINS = (LAST_DECADE - FIRST_DECADE) * BINS_PER_DECADE + 2
"""Bins of convergence times: one below and one above the decades that are resolved."""


@dataclass(frozen=True, eq=False)
class Tally:
    """What is counted for each of some classes, one row each.

    Attributes:
        counts: starts of each replicate.
        times: histogram of convergence times.
        steps: attempted steps in all.
        first: smallest number of a start.
        starts: that start.
        ends: where it went.
        end_times: and when.
    """

    counts: Int[np.ndarray, "classes replicates"]
    times: Int[np.ndarray, "classes bins"]
    steps: Int[np.ndarray, " classes"]
    first: Int[np.ndarray, " classes"]
    starts: Float[np.ndarray, "classes n"]
    ends: Float[np.ndarray, "classes n"]
    end_times: Float[np.ndarray, " classes"]

    def __len__(self) -> int:
        return len(self.first)

    def at(self, rows: Any) -> "Tally":
        """Some of the classes."""
        return Tally(*(getattr(self, field.name)[rows] for field in fields(self)))

    def put_together(self, places: Int[np.ndarray, " classes"], num: int) -> "Tally":
        """`num` classes, each the sum of the rows with its place; places below 0 are left out."""
        kept = self.at(places >= 0)
        places = places[places >= 0]
        summed = {}
        for name in ("counts", "times", "steps"):
            column = getattr(kept, name)
            total = np.zeros((num, *column.shape[1:]), np.int64)
            np.add.at(total, places, column)
            summed[name] = total
        order = np.lexsort((kept.first, places))
        chosen = np.full(num, -1)
        chosen[places[order][::-1]] = order[::-1]
        return replace(kept.at(chosen), **summed)


def tallied(
    places: Int[np.ndarray, " num"], num: int, replicates: Int[np.ndarray, " num"], num_replicates: int,
    samples: Int[np.ndarray, " num"], starts: Float[np.ndarray, "num n"], ends: Float[np.ndarray, "num n"],
    times: Float[np.ndarray, " num"], steps: Int[np.ndarray, " num"],
) -> Tally:  # fmt: skip
    """The tally of some starts, each with the place of its class."""
    counts = np.bincount(places * num_replicates + replicates, minlength=num * num_replicates)
    histogram = np.bincount(places * NUM_BINS + time_bins(times), minlength=num * NUM_BINS)
    total, chosen = np.zeros(num, np.int64), np.zeros(num, np.int64)
    np.add.at(total, places, steps)  # whole numbers, unlike the weights of bincount
    order = np.arange(len(samples)) if (np.diff(samples) > 0).all() else np.argsort(samples, kind="stable")
    chosen[places[order[::-1]]] = order[::-1]
    return Tally(
        counts.reshape(num, num_replicates),
        histogram.reshape(num, NUM_BINS),
        total,
        samples[chosen],
        starts[chosen],
        ends[chosen],
        times[chosen],
    )


def time_bins(times: Float[np.ndarray, " num"]) -> Int[np.ndarray, " num"]:
    """The bin of each time: bin k holds times below ``10^(FIRST_DECADE + k / BINS_PER_DECADE)``."""
    with np.errstate(divide="ignore"):
        places = np.floor((np.log10(np.maximum(times, 0.0)) - FIRST_DECADE) * BINS_PER_DECADE) + 1
    return np.clip(np.nan_to_num(places, neginf=0.0), 0, NUM_BINS - 1).astype(np.int64)


def bin_centres() -> Float[np.ndarray, " bins"]:
    """The time that stands for each bin, its geometric middle."""
    return 10.0 ** (FIRST_DECADE + (np.arange(NUM_BINS) - 0.5) / BINS_PER_DECADE)


@dataclass(frozen=True, eq=False)
class Tallies:
    """A run's classes so far: those with labels, and groups that have none yet.

    `labelled` has one row per label, `grouped` one per group of `groups` (None while nothing was grouped).
    """

    labels: tuple[Label, ...]
    labelled: Tally
    groups: Groups | None
    grouped: Tally

    @property
    def num_samples(self) -> int:
        """Starts counted."""
        return int(self.labelled.counts.sum() + self.grouped.counts.sum())

    def added(self, other: "Tallies") -> "Tallies":
        """Both together."""
        labels = tuple(sorted({*self.labels, *other.labels}, key=lambda label: label.text))
        place = {label.text: number for number, label in enumerate(labels)}
        both = concatenated(self.labelled, other.labelled)
        places = np.array([place[label.text] for label in (*self.labels, *other.labels)], dtype=np.int64)
        labelled = both.put_together(places, len(labels))
        parts = [(t.groups, t.grouped) for t in (self, other) if t.groups is not None]
        if len(parts) < 2:
            groups, grouped = parts[0] if parts else (None, self.grouped)
            return Tallies(labels, labelled, groups, grouped)
        groups = merge(parts[0][0], parts[1][0])
        found = np.concatenate([locate(groups, g.keys, g.leaders) for g, _ in parts])
        either = concatenated(parts[0][1], parts[1][1])
        whole = Tallies(labels, labelled, groups, either.put_together(found, len(groups)))
        lost = found < 0
        if not lost.any():
            return whole
        # More groups than are kept: their starts are counted under a label that says so.
        rest = either.at(lost).put_together(np.zeros(int(lost.sum()), np.int64), 1)
        return whole.added(Tallies((OTHER,), rest, None, either.at(slice(0, 0))))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, for a file."""
        found = {
            "label_texts": np.array([label.text for label in self.labels], dtype=str),
            "label_kinds": np.array([label.kind for label in self.labels], dtype=str),
            "label_losses": np.array([label.loss for label in self.labels], dtype=float),
        }
        for prefix, tally in (("labelled", self.labelled), ("grouped", self.grouped)):
            found |= {f"{prefix}_{field.name}": getattr(tally, field.name) for field in fields(Tally)}
        if self.groups is not None:
            found |= {f"groups_{name}": array for name, array in self.groups.arrays().items()}
        return found

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Tallies":
        """What :meth:`arrays` gave."""
        columns = (arrays[f"label_{name}"].tolist() for name in ("texts", "kinds", "losses"))
        labels = tuple(Label(*entry) for entry in zip(*columns, strict=True))
        labelled, grouped = (
            Tally(*(arrays[f"{prefix}_{field.name}"] for field in fields(Tally))) for prefix in ("labelled", "grouped")
        )
        has_groups = "groups_tolerance" in arrays
        names = {name.removeprefix("groups_"): array for name, array in arrays.items() if name.startswith("groups_")}
        return cls(labels, labelled, Groups.from_arrays(names) if has_groups else None, grouped)


def concatenated(one: Tally, other: Tally) -> Tally:
    """The classes of both, one below the other."""
    return Tally(*(np.concatenate([getattr(one, f.name), getattr(other, f.name)]) for f in fields(Tally)))


def empty(num_replicates: int, size: int) -> Tally:
    """No classes yet."""
    whole = np.zeros(0, np.int64)
    nothing = np.zeros((0, size))
    counts, times = np.zeros((0, num_replicates), np.int64), np.zeros((0, NUM_BINS), np.int64)
    return Tally(counts, times, whole, whole, nothing, nothing, np.zeros(0))
