"""Do intervals hold what they promise? The observed coverage of any interval on samples with known truth.

Knows two functions of the caller's: one draws data, the other makes limits of it. The drawing may be a multinomial, or
a whole estimate of basins with integrated flows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from gradflow import checks
from gradflow.intervals.proportions import lower_bounds, proportion_intervals, upper_bounds
from gradflow.intervals.results import Intervals


class Limits(Protocol):
    """Anything with lower and upper limits, such as :class:`Intervals`."""

    @property
    def low(self) -> Any: ...  # noqa: D102

    @property
    def high(self) -> Any: ...  # noqa: D102


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the truth, with the error that the number of repetitions leaves.

    Attributes:
        held: for each limit pair, the share of repetitions in which the truth was within, with its own 95 %
            Clopper-Pearson interval.
        all_held: the same for "the truth was within all of them at once".
        num_below: repetitions in which the truth lay below the lower limit.
        num_above: repetitions in which it lay above the upper limit.
        mean_width: mean of ``high - low``.
        num_repetitions: how often data were drawn.
    """

    held: Intervals
    all_held: Intervals
    num_below: Int[np.ndarray, "*classes"]
    num_above: Int[np.ndarray, "*classes"]
    mean_width: Float[np.ndarray, "*classes"]
    num_repetitions: int

    def is_refuted(self, level: float, significance: float = 1e-3, joint: bool = True) -> bool:
        """Whether so few intervals held that a coverage of `level` would produce this with less than `significance`.

        One-sided: covering more often than the level is no fault. With `joint` false, for each limit pair by itself.
        """
        observed = self.all_held if joint else self.held
        held = np.rint(observed.estimate * self.num_repetitions).astype(np.int64)
        return bool(np.any(upper_bounds(held, self.num_repetitions, 1.0 - significance) < level))

    def is_excessive(self, level: float, significance: float = 1e-3) -> bool:
        """Whether all held significantly more often than the level: the intervals are wider than they need to be."""
        held = round(float(self.all_held.estimate) * self.num_repetitions)
        return bool(lower_bounds(held, self.num_repetitions, 1.0 - significance) > level)


def coverage(
    draw_counts: Callable[[np.random.Generator], Any],
    true_fractions: Any,
    interval: Callable[[Any], Limits],
    repetitions: int = 2000,
    seed: int = 0,
) -> Coverage:
    """The observed coverage of `interval` over repeated draws.

    Args:
        draw_counts: data of one repetition from its own generator; counts, or whatever `interval` takes.
        true_fractions: the truth, of the shape of the limits; or a function of the data for a truth that depends on
            them, such as the mass that was not seen.
        interval: data to limits.
        repetitions: number of draws.
        seed: the generator of repetition i is a function of (seed, i) alone.

    Raises:
        InputError: no repetitions, or limits that are not a number.
    """
    number = checks.integer("repetitions", repetitions)
    below, above, widths = [], [], []
    for sequence in np.random.SeedSequence(seed).spawn(number):
        data = draw_counts(np.random.default_rng(sequence))
        truth = np.asarray(true_fractions(data) if callable(true_fractions) else true_fractions, dtype=float)
        limits = interval(data)
        low, high = np.asarray(limits.low, dtype=float), np.asarray(limits.high, dtype=float)
        checks.require(not np.isnan(high - low).any(), "interval", "give limits that are numbers", "NaN")
        below.append(truth < low)
        above.append(truth > high)
        widths.append(high - low)
    under, over = np.array(below), np.array(above)
    is_within = ~(under | over)
    return Coverage(
        held=proportion_intervals(is_within.sum(axis=0), number),
        all_held=proportion_intervals(int(is_within.reshape(number, -1).all(axis=1).sum()), number),
        num_below=np.asarray(under.sum(axis=0)),
        num_above=np.asarray(over.sum(axis=0)),
        mean_width=np.asarray(np.mean(widths, axis=0)),
        num_repetitions=number,
    )


def exact_coverage(interval: Callable[[Any, int], Limits], num_samples: int, fraction: float) -> float:
    """The coverage of an interval of one fraction, summed over all counts: no simulation.

    Args:
        interval: array of all counts 0..n and n to limits.
    """
    n, p = checks.integer("num_samples", num_samples), checks.real("fraction", fraction, above=0.0, below=1.0)
    counts = np.arange(n + 1)
    limits = interval(counts, n)
    is_within = (np.asarray(limits.low) <= p) & (p <= np.asarray(limits.high))
    return float(np.sum(binomial_weights(n, p)[is_within]))


def looking_coverage(
    interval: Callable[[Any, int], Limits], looks: Int[np.ndarray, " looks"], fraction: float
) -> float:
    """The probability that an interval of one fraction holds the truth at all looks, summed over all paths.

    Args:
        interval: as for :func:`exact_coverage`.
        looks: increasing sample sizes.
    """
    sizes = np.asarray(looks)
    checks.require(bool(np.all(np.diff(sizes, prepend=0) > 0)), "looks", "increase from 1 on", sizes[:1])
    alive, before = np.array([1.0]), 0
    for size in sizes.tolist():
        limits = interval(np.arange(size + 1), size)
        is_within = (np.asarray(limits.low) <= fraction) & (fraction <= np.asarray(limits.high))
        alive = np.convolve(alive, binomial_weights(size - before, fraction)) * is_within
        before = size
    return float(alive.sum())


def binomial_weights(num_samples: int, fraction: float) -> Float[np.ndarray, " counts"]:
    """Probabilities of the counts 0..n."""
    counts = np.arange(num_samples + 1)
    choose = -special.betaln(counts + 1.0, num_samples - counts + 1.0) - np.log(num_samples + 1.0)
    rest = num_samples - counts
    return np.exp(choose + special.xlogy(counts, fraction) + special.xlog1py(rest, -fraction))
