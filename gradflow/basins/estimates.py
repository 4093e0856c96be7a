"""The result: which classes of limits there are, how often each is reached, how surely, and what is not known.

Every start is in exactly one row of the table, and three rows are always there: undetermined, escaped, nonfinite. Knows
how fractions are bounded; draws and saves nothing.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from gradflow import checks
from gradflow.basins.tallies import NUM_BINS, bin_centres
from gradflow.intervals import (
    Envelopes,
    Intervals,
    PairedComparison,
    UnseenMass,
    envelopes,
    look,
    proportion_intervals,
    replicated_intervals,
    unseen_mass,
    unseen_mass_by_holdout,
    upper_bounds,
)

UNDETERMINED, ESCAPED, NONFINITE = "undetermined", "escaped", "nonfinite"
SPECIAL = (UNDETERMINED, ESCAPED, NONFINITE)
"""Rows that every estimate has; the first counts starts whose limit is not known."""

FEWEST_FOR_HOLDOUT = 8

MOST_NAMED = 4
"""Classes that an estimate printed on one line names."""


@dataclass(frozen=True, eq=False)
class OpenRuns:
    """Starts whose limit is not known yet, and how far they have been followed.

    Attributes:
        samples: their numbers.
        states: where they are, rows.
        times: flow times there.
        reasons: why they are open, in words.
    """

    samples: Int[np.ndarray, " num"]
    states: Float[np.ndarray, "num n"]
    times: Float[np.ndarray, " num"]
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def at(self, rows: Int[np.ndarray, " rows"]) -> "OpenRuns":
        """Some of them."""
        reasons = tuple(self.reasons[row] for row in rows.tolist())
        return OpenRuns(self.samples[rows], self.states[rows], self.times[rows], reasons)

    def joined(self, other: "OpenRuns") -> "OpenRuns":
        """Both together."""
        return OpenRuns(
            np.concatenate([self.samples, other.samples]), np.concatenate([self.states, other.states]),
            np.concatenate([self.times, other.times]), (*self.reasons, *other.reasons),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Recheck:
    """The same starts at a hundredth of the tolerance.

    Attributes:
        comparison: counts of both and of starts whose label differs, with intervals; undetermined counts as a label.
        rtol: the tighter tolerance.
        rows: pairs of labels that differ, with how many starts.
    """

    comparison: PairedComparison
    rtol: float
    rows: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, eq=False, repr=False)
class BasinEstimate:
    """Fractions of starts by the class of their limit.

    Rows are the classes found, most frequent first, then :data:`SPECIAL`. `counts` sum to `num_samples`.

    Attributes:
        labels: names of the rows.
        kinds: kind of each row's critical points; the row's own name for the special ones.
        losses: loss of each class; NaN for the special rows.
        counts: starts.
        replicate_counts: the same for each independent replicate of the design (one column for independent starts).
        reasons: why starts are undetermined, with counts.
        first: number of each row's first start, -1 where there is none.
        starts: that start, as a row of parameters; NaN where there is none.
        ends: its end.
        time_counts: histogram of convergence times on the bins of :func:`gradflow.basins.tallies.bin_centres`.
        mean_steps: attempted steps per start.
        open: runs that can be continued (:func:`gradflow.basins.continue_undecided`).
        codes: for each start the number of its row, None when not kept.
        recheck: what a tighter tolerance changes, None when not asked for.
        facts: settings, kernel, version, time taken.
        plan, collection: what the numbers were made of, for :func:`gradflow.basins.continue_undecided`; None when read
            from a file.
    """

    labels: tuple[str, ...]
    kinds: tuple[str, ...]
    losses: Float[np.ndarray, " rows"]
    counts: Int[np.ndarray, " rows"]
    replicate_counts: Int[np.ndarray, "rows replicates"]
    reasons: dict[str, int]
    first: Int[np.ndarray, " rows"]
    starts: Float[np.ndarray, "rows n"]
    ends: Float[np.ndarray, "rows n"]
    time_counts: Int[np.ndarray, "rows bins"]
    mean_steps: Float[np.ndarray, " rows"]
    open: OpenRuns
    codes: Int[np.ndarray, " samples"] | None
    recheck: Recheck | None
    facts: dict[str, Any]
    plan: Any = field(default=None, repr=False)
    collection: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        assert self.labels[-3:] == SPECIAL and self.time_counts.shape[1] == NUM_BINS

    def __repr__(self) -> str:
        rows = [f"{count} {label}" for label, count in zip(self.labels, self.counts.tolist(), strict=True) if count]
        num_special = int(np.count_nonzero(self.counts[-len(SPECIAL) :]))
        found, special = rows[: len(rows) - num_special], rows[len(rows) - num_special :]
        num_rest = len(found) - MOST_NAMED
        rest = [f"{num_rest} further class{'es' * (num_rest > 1)}"] if num_rest > 0 else []
        return f"BasinEstimate({self.num_samples} starts: {'; '.join([*found[:MOST_NAMED], *rest, *special])})"

    @property
    def num_samples(self) -> int:
        """Starts counted: the sum of `counts`."""
        return int(self.counts.sum())

    @property
    def undetermined(self) -> int:
        """Starts whose limit is not known."""
        return int(self.counts[self.labels.index(UNDETERMINED)])

    @property
    def num_classes(self) -> int:
        """Classes of limits that were found."""
        return len(self.labels) - len(SPECIAL)

    @property
    def fractions(self) -> Float[np.ndarray, " rows"]:
        """``counts / num_samples``."""
        return self.counts / self.num_samples

    @property
    def level(self) -> float:
        """Confidence level of all intervals."""
        return float(self.facts["level"])

    @property
    def _has_replicates(self) -> bool:
        return self.replicate_counts.shape[1] > 1

    @cached_property
    def intervals(self) -> Intervals:
        """Each row's interval by itself.

        Clopper-Pearson; Student's over the replicates of a design; where the run ended as soon as the fractions were
        known well enough, the confidence sequence, which keeps its level for all that.
        """
        return self._limits(1)

    @cached_property
    def simultaneous(self) -> Intervals:
        """Intervals that hold for all rows together."""
        return self._limits(len(self.counts))

    @cached_property
    def wilson(self) -> Intervals | None:
        """Each row's Wilson interval, the shorter one; None for a design, and where the run itself chose its length."""
        if self._has_replicates or self._is_sequential:
            return None
        return proportion_intervals(self.counts, self.num_samples, self.level, "wilson")

    @property
    def _is_sequential(self) -> bool:
        return self.facts.get("half_width") is not None

    def _limits(self, num_joint: int) -> Intervals:
        if self._has_replicates:
            return self._replicated(num_joint)
        if self._is_sequential:
            # Every row shares the error of the looks, as in the rule that stopped the run.
            wanted = look(self.counts, self.facts["half_width"], self.level)
            return wanted.intervals
        return proportion_intervals(self.counts, self.num_samples, self.level, num_joint=num_joint)

    def _replicated(self, num_joint: int) -> Intervals:
        sizes = self.replicate_counts.sum(axis=0)
        fractions = (self.replicate_counts / sizes).T
        size = int(sizes[0]) if np.all(sizes == sizes[0]) else None
        return replicated_intervals(fractions, size, self.level, num_joint).intervals

    @cached_property
    def envelopes(self) -> Envelopes:
        """Bounds of the classes' fractions with all undetermined starts withheld from and added to each."""
        return envelopes(self.counts[: self.num_classes], self.undetermined, self.num_samples, self.level)

    @cached_property
    def unseen(self) -> UnseenMass:
        """Bound on the fraction of starts whose class was never found, undetermined ones included.

        From the first quarter of the starts, and how many later ones were new to it.
        """
        found = slice(0, self.num_classes)
        if self.num_samples < FEWEST_FOR_HOLDOUT:
            return unseen_mass(self.counts[found], num_undetermined=self.undetermined, level=self.level)
        return unseen_mass_by_holdout(
            self.counts[found], self.first[found], self.level, num_undetermined=self.undetermined
        )

    def row(self, label: str) -> int:
        """The number of the row called `label`.

        Raises:
            InputError: there is none.
        """
        return self.labels.index(checks.choice("label", label, self.labels))

    def upper_bound(self, kind: str) -> float:
        """Upper confidence bound, one-sided, on the fraction of starts that end at points of a kind, seen or not seen.

        Undetermined starts count as such points: nothing is claimed about them.
        """
        found = sum(int(c) for c, k in zip(self.counts, self.kinds, strict=True) if kind in k)
        return float(upper_bounds(found + self.undetermined, self.num_samples, self.level))

    def time_quantiles(self, shares: Any = (0.1, 0.5, 0.9)) -> Float[np.ndarray, "rows shares"]:
        """Quantiles of the convergence times of each row, NaN where nothing converged; within 8 % (the bins' width)."""
        cumulative = np.cumsum(self.time_counts, axis=1)
        wanted = np.asarray(shares, dtype=float)
        result = np.full((len(self.labels), len(wanted)), np.nan)
        for row, line in enumerate(cumulative):
            if line[-1]:
                result[row] = bin_centres()[np.searchsorted(line, wanted * line[-1])]
        return result

    @cached_property
    def mean_times(self) -> Float[np.ndarray, "rows two"]:
        """Geometric mean of each row's convergence times, and the factor of one standard deviation; NaN for none."""
        logs, counts = np.log(bin_centres()), self.time_counts
        total = counts.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = counts @ logs / total
            spread = np.sqrt(np.maximum(counts @ logs**2 / total - mean**2, 0.0))
        return np.exp(np.stack([mean, spread], axis=1))

    def unsettled_at(self, times: Any) -> Float[np.ndarray, " times"]:
        """The share of starts without a limit by each flow time: how "undetermined" falls with the horizon."""
        settled = self.time_counts[: self.num_classes].sum(axis=0)
        wanted = np.asarray(times, dtype=float)
        return 1.0 - np.array([settled[bin_centres() <= t].sum() for t in wanted]) / self.num_samples
