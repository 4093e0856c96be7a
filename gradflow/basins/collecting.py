"""What the chunks of a run amount to so far: tallies, the class of every start, and what was left open.

Added up in the order of the chunks, in memory that does not grow with the number of starts beyond what is asked to be
kept. Knows the arrays of chunks, not how they are computed.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from gradflow import checks, intervals
from gradflow.basins.estimates import SPECIAL, OpenRuns
from gradflow.basins.tallies import Tallies
from gradflow.naming.groups import Groups
from gradflow.naming.labels import Label

OPEN_KEPT = 100_000
"""Open runs that are kept for continuation."""


@dataclass(frozen=True, eq=False)
class CodedChunk:
    """The class of each start of a chunk: its place among the chunk's labels, followed by its groups."""

    samples: Int[np.ndarray, " num"]
    codes: Int[np.ndarray, " num"]
    labels: tuple[Label, ...]
    groups: Groups | None


@dataclass(frozen=True, eq=False)
class Collection:
    """A run so far. `num_open` counts all open runs, `opened` holds the first of them."""

    tallies: Tallies
    chunks: tuple[CodedChunk, ...]
    opened: OpenRuns
    num_open: int

    def without_open(self) -> "Collection":
        """What is left when all open runs are taken out, to be counted again elsewhere.

        Raises:
            InputError: not all of them were kept.
        """
        checks.require(
            self.num_open == len(self.opened), "estimate", f"have at most {OPEN_KEPT} open runs", self.num_open,
            "Estimate again with a later horizon.",
        )  # fmt: skip
        closed = np.array([not is_open(label) for label in self.tallies.labels], dtype=bool)
        kept = tuple(label for label, stays in zip(self.tallies.labels, closed, strict=True) if stays)
        tallies = replace(self.tallies, labels=kept, labelled=self.tallies.labelled.at(closed))
        return Collection(tallies, self.chunks, no_open_runs(self.opened.states.shape[1]), 0)

    def added(self, other: "Collection") -> "Collection":
        """Both together; where a start is in both, its class is the other's."""
        room = max(OPEN_KEPT - len(self.opened), 0)
        more = other.opened.at(np.arange(min(room, len(other.opened))))
        return Collection(
            self.tallies.added(other.tallies), (*self.chunks, *other.chunks), self.opened.joined(more),
            self.num_open + other.num_open,
        )  # fmt: skip


def is_open(label: Label) -> bool:
    """True for a start that may yet come to a limit when it is followed further."""
    return label.text.startswith("undetermined")


def no_open_runs(size: int) -> OpenRuns:
    """None at all."""
    return OpenRuns(np.zeros(0, np.int64), np.zeros((0, size)), np.zeros(0), ())


def collected(arrays: dict[str, np.ndarray]) -> Collection:
    """One chunk."""
    tallies = Tallies.from_arrays(arrays)
    texts = tuple(tallies.labels[place].text for place in arrays["open_labels"])
    opened = OpenRuns(arrays["open_samples"], arrays["open_states"], arrays["open_times"], texts)
    chunks: tuple[CodedChunk, ...] = ()
    if "codes" in arrays:
        small = np.min_scalar_type(int(arrays["codes"].max(initial=0)))
        chunks = (CodedChunk(arrays["samples"], arrays["codes"].astype(small), tallies.labels, tallies.groups),)
    return Collection(tallies, chunks, opened, len(texts))


class Fold:
    """Adds chunks up as they come; the mutable middle of an estimate."""

    def __init__(self, half_width: float | None, level: float) -> None:
        self.half_width = None if half_width is None else checks.real("half_width", half_width, above=0.0, below=0.5)
        self.level = level
        self.collection: Collection | None = None
        self.chunks: list[CodedChunk] = []

    def add(self, _: int, arrays: dict[str, np.ndarray]) -> str:
        """Adds a chunk; what is found so far, in words."""
        found = collected(arrays)
        self.chunks.extend(found.chunks)
        found = replace(found, chunks=())
        self.collection = found if self.collection is None else self.collection.added(found)
        tallies = self.collection.tallies
        num = tallies.num_samples
        kinds = sum(label.is_decided for label in tallies.labels) + len(tallies.grouped)
        return f"{kinds} classes in {num:,} starts, {100 * self.collection.num_open / num:.2g} % undetermined"

    def is_enough(self) -> bool:
        """Whether every class is known as well as was asked for."""
        if self.half_width is None or self.collection is None:
            return False
        tallies = self.collection.tallies
        special = np.zeros(len(SPECIAL), np.int64)
        counts = np.concatenate([tallies.labelled.counts.sum(axis=1), tallies.grouped.counts.sum(axis=1), special])
        return bool(intervals.look(counts, self.half_width, self.level).is_enough)

    def result(self) -> Collection:
        """All chunks that were added."""
        assert self.collection is not None
        return replace(self.collection, chunks=tuple(self.chunks))
