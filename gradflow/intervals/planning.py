"""How many samples are needed, judged before any is drawn and while they come in.

Knows widths of intervals at fractions that are guessed, and counts; it draws nothing.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from gradflow import checks
from gradflow.intervals.proportions import clopper_pearson
from gradflow.intervals.results import Intervals, checked_level, error_share, whole_numbers
from gradflow.intervals.sequential import confidence_sequences, mixture_limits

LARGEST = 2**40
"""Sample sizes beyond this, 10^12, are refused rather than searched."""


def samples_for_half_width(
    half_width: float, fraction: float = 0.5, level: float = 0.95, num_joint: int = 1, sequential: bool = False
) -> int:
    """The smallest number of samples after which the interval's half-width is at most the wanted one.

    With `fraction` 0.5 this holds whatever is counted. With a guess it holds when the observed fraction turns out no
    nearer to 1/2 than the guess. The width is that of the Clopper-Pearson interval at ``k = n * fraction``, which
    grows with k up to n/2 and falls with n.

    Args:
        half_width: wanted half-width, between 0 and 1/2.
        fraction: guessed fraction, 0 and 1 included.
        level: confidence level.
        num_joint: number of intervals that must hold together.
        sequential: for :func:`gradflow.intervals.confidence_sequences` planned for the number that is returned.

    Raises:
        InputError: numbers outside these ranges, or a half-width that needs more than 10^12 samples.
    """
    wanted = checks.real("half_width", half_width, above=0.0, below=0.5)
    guess = checks.real("fraction", fraction, at_least=0.0)
    checks.require(guess <= 1.0, "fraction", "be at most 1", f"{guess:g}")
    _, _, alpha = error_share(level, num_joint)
    return _samples_for_half_width(wanted, min(guess, 1.0 - guess), alpha, sequential)


@functools.lru_cache(maxsize=64)
def _samples_for_half_width(wanted: float, guess: float, alpha: float, sequential: bool) -> int:
    def is_enough(total: int) -> bool:
        count, size = np.asarray(guess * total), np.asarray(float(total))
        low, high = mixture_limits(count, size, alpha, total) if sequential else clopper_pearson(count, size, alpha)
        return bool(high - low <= 2.0 * wanted)

    return _smallest(is_enough, "half_width", wanted)


def samples_to_see(fraction: float, level: float = 0.95, every_class: bool = False) -> int:
    """The number of samples after which a class of at least this fraction was seen with probability `level`.

    For one class the smallest n with ``(1 - p)^n <= 1 - level``. With `every_class`, ``(1 - p)^n / p <= 1 - level``:
    then, whatever the classes are, none of them with a fraction of p or more was missed, and classes that large are
    ruled out if they were not seen.
    """
    p = checks.real("fraction", fraction, above=0.0, below=1.0)
    target = np.log1p(-checked_level(level)) + (np.log(p) if every_class else 0.0)
    number = np.ceil(target / special.log1p(-p) * (1.0 - 1e-12))
    checks.require(bool(number < LARGEST), "fraction", "need fewer than 10^12 samples", f"{p:g}")
    return max(int(number), 1)


@dataclass(frozen=True)
class Look:
    """What a look at the counts says, with the level kept however often one looks.

    Attributes:
        intervals: of all classes, valid together at all looks.
        is_enough: whether every half-width is at most the wanted one: one may stop here, or go on.
        planned_samples: the sample size for which the intervals were made narrowest, from the wanted half-width alone.
    """

    intervals: Intervals
    is_enough: bool
    planned_samples: int


def look(counts: Any, half_width: float, level: float = 0.95, fraction: float = 0.5) -> Look:
    """Whether every class is known to the wanted half-width, by intervals that hold for all classes and looks together.

    Draw samples, look with the same settings as often as wanted, stop when `is_enough`, and report the intervals of
    that look. The observed fractions at a stopping time are slightly biased; the intervals are not affected.

    Args:
        counts: counts of all classes of a list that was fixed in advance, undetermined, escaped and nonfinite included.
        half_width: wanted half-width, between 0 and 1/2.
        level: confidence level, for all classes and looks together.
        fraction: a guess of the fraction nearest to 1/2, made in advance; a wrong guess costs width, never the level.

    Raises:
        InputError: no samples, or numbers outside these ranges.
    """
    number = whole_numbers("counts", counts)
    checks.require(number.ndim == 1 and number.sum() >= 1, "counts", "hold classes with samples", number.tolist())
    num_classes = len(number)
    planned = samples_for_half_width(half_width, fraction, level, num_classes, sequential=True)
    intervals = confidence_sequences(number, int(number.sum()), level, num_classes, planned)
    return Look(intervals, bool(np.all(intervals.half_width <= half_width)), planned)


def _smallest(is_enough: Callable[[int], bool], name: str, value: Any) -> int:
    """The first whole number that is enough, for a property that stays true once it is."""
    high = 1
    while not is_enough(high):
        high *= 2
        checks.require(high < LARGEST, name, "need fewer than 10^12 samples", value)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
