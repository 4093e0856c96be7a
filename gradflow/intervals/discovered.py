"""Intervals for classes that nobody listed: they are in the table because these very samples turned them up.

A class enters such a table by having been seen, so its first sample is no evidence of its size. Among infinitely many
tiny classes every sample discovers one, and Clopper-Pearson's lower limit for "1 of n" is too high for each of them.
"""

from typing import Any

import numpy as np

from gradflow import checks
from gradflow.intervals.proportions import clopper_pearson
from gradflow.intervals.results import Intervals, checked_counts, checked_level, whole_numbers


def discovered_intervals(counts: Any, first_indices: Any, num_samples: int, level: float = 0.95) -> Intervals:
    """Intervals that hold for all discovered classes together, however many there are and whatever their sizes.

    Given the samples up to and including the first one of a class, the class is fixed and the ``n - 1 - first`` later
    samples are independent of how it was found, so the exact interval of ``k - 1`` among them is valid. The j-th
    discovery gets the share ``1 / (j (j + 1))`` of the error probability; the shares sum to 1, so that all hold
    together. A class whose only sample is the last one has the interval [0, 1].

    Use :func:`gradflow.intervals.simultaneous_intervals` for classes that were listed before sampling; the price of not
    knowing the list is small for classes that were found early. If a table has both kinds, give each half of
    ``1 - level``.

    Args:
        counts: how often each class was seen, at least once, shape (classes,).
        first_indices: position of the first sample of each class, from 0.
        num_samples: number of all samples.
        level: confidence level for all of them together.

    Returns:
        Intervals around the plain fractions ``k / n``.

    Raises:
        InputError: counts of zero, or first positions that cannot be.
    """
    number, total = checked_counts(counts, checks.integer("num_samples", num_samples))
    first = checked_first_indices(first_indices, number, int(total))
    rank = np.empty(len(first))
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    alpha = (1.0 - checked_level(level)) / (rank * (rank + 1.0))
    later = total - 1 - first
    low, high = clopper_pearson(number - 1, np.maximum(later, 1), alpha)
    low, high = np.where(later > 0, low, 0.0), np.where(later > 0, high, 1.0)
    return Intervals(np.asarray(number / total), low, high, float(level), "after discovery", len(first))


def checked_first_indices(first_indices: Any, number: np.ndarray, total: int) -> np.ndarray:
    """Positions of first samples that are possible with these counts: distinct, and with room for all samples."""
    first = whole_numbers("first_indices", first_indices)
    checks.require(number.ndim == 1, "counts", "have one axis, the classes", f"shape {number.shape}")
    checks.require(first.shape == number.shape, "first_indices", f"have the shape {number.shape}", first.shape)
    checks.require(bool(np.all(number > 0)), "counts", "be positive where there is a first sample", "0")
    late = first + number > total
    checks.require(not late.any(), "first_indices", "leave room for the counts", f"{first[late][:1]} of {total}")
    checks.require(len(np.unique(first)) == first.size, "first_indices", "differ from class to class", "equal ones")
    return first
