"""Intervals of the fractions behind counts: Clopper-Pearson, Wilson, one-sided bounds, all classes together.

The samples are independent and their number was fixed in advance; :mod:`gradflow.intervals.sequential` is for looking
while they come in, :mod:`gradflow.intervals.replicates` for points that are not independent. The formulas are those of
``scipy.stats.binomtest(...).proportion_ci``, for arrays of counts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special

from gradflow import checks
from gradflow.intervals.results import Intervals, checked_counts, checked_level, error_share, whole_numbers

METHODS = ("exact", "wilson")
"""Clopper-Pearson, which never covers less than the level; Wilson's score interval, shorter and right on average."""


def proportion_intervals(
    counts: Any, num_samples: Any, level: float = 0.95, method: str = "exact", num_joint: int = 1
) -> Intervals:
    """Intervals of fractions, each by itself unless `num_joint` says how many share the error probability.

    With ``alpha = (1 - level) / num_joint`` the exact limits solve ``P(Bin(n, low) >= k) = alpha / 2`` and
    ``P(Bin(n, high) <= k) = alpha / 2``; Wilson's are the p with ``|k/n - p| = z sqrt(p (1 - p) / n)``.

    Args:
        counts: how often each class was seen; any shape, also one number.
        num_samples: number of samples, one for all or one for each count.
        level: confidence level.
        method: one of :data:`METHODS`.
        num_joint: number of intervals that must hold together.

    Accuracy: limits to a relative 1e-8 for up to 10^9 samples. At 95 % the exact interval covers at least 95 %
        whatever the fraction; Wilson's about 95 % on average over fractions, for single ones near 0 or 1 down to 83 %.

    Raises:
        InputError: counts are negative, not whole or above the number of samples; a level outside (0, 1).

    Source: Clopper and Pearson 1934; Wilson 1927; Brown, Cai and DasGupta 2001 compare them.
    """
    number, total = checked_counts(counts, num_samples)
    checked, joint, alpha = error_share(level, num_joint)
    checks.choice("method", method, METHODS)
    low, high = (clopper_pearson if method == "exact" else wilson)(number, total, alpha)
    words = {"exact": "Clopper-Pearson", "wilson": "Wilson"}[method]
    return Intervals(np.asarray(number / total), low, high, checked, words, joint)


def simultaneous_intervals(counts: Any, num_samples: Any, level: float = 0.95, method: str = "exact") -> Intervals:
    """Intervals that hold for all classes together with probability `level`, by Bonferroni's inequality.

    The classes are the last axis and must be complete: undetermined, escaped and nonfinite samples are classes too.
    The list of classes must not depend on the counts; for classes that these very samples discovered, the lower limits
    are too high, see :func:`gradflow.intervals.discovered_intervals`.

    Raises:
        InputError: the counts do not sum to the number of samples.
    """
    number, total = whole_numbers("counts", counts), checks.integer("num_samples", num_samples)
    checks.require(number.ndim >= 1 and number.shape[-1] > 0, "counts", "have an axis of classes", number.shape)
    sums = np.unique(number.sum(axis=-1))
    checks.require(
        bool(np.all(sums == total)),
        "counts",
        f"sum to the {total} samples",
        f"{sums[0]}",
        "Undetermined, escaped and nonfinite samples are classes with counts too.",
    )
    return proportion_intervals(number, total, level, method, num_joint=number.shape[-1])


def upper_bounds(counts: Any, num_samples: Any, level: float = 0.95) -> Float[np.ndarray, "..."]:
    """One-sided exact upper confidence bounds: the p with ``P(Bin(n, p) <= k) = 1 - level``.

    For a count of 0 that is ``1 - (1 - level)^(1/n)``, about :func:`rule_of_three`. It holds by itself. Who takes it
    because the count turned out to be 0, and the two-sided interval otherwise, errs in up to 6.2 instead of 5 % of the
    cases.
    """
    number, total = checked_counts(counts, num_samples)
    return _upper(number, total, 1.0 - checked_level(level))


def lower_bounds(counts: Any, num_samples: Any, level: float = 0.95) -> Float[np.ndarray, "..."]:
    """One-sided exact lower confidence bounds: the p with ``P(Bin(n, p) >= k) = 1 - level``, 0 for a count of 0."""
    number, total = checked_counts(counts, num_samples)
    return _lower(number, total, 1.0 - checked_level(level))


def rule_of_three(num_samples: int, level: float = 0.95) -> float:
    """``-log(1 - level) / n``, three samples' worth at 95 %: the bound for a count of 0, slightly too large.

    A mnemonic to print beside the exact bound of :func:`upper_bounds`.
    """
    return float(-np.log1p(-checked_level(level)) / checks.integer("num_samples", num_samples))


@dataclass(frozen=True)
class Envelopes:
    """What fractions can be when nobody knows where the undetermined samples belong.

    Attributes:
        lowest: fractions when no undetermined sample belongs to the class, ``k / n``.
        highest: fractions when all of them do, ``(k + u) / n``.
        low: lower Clopper-Pearson limits of k.
        high: upper Clopper-Pearson limits of ``k + u``.
        level: the true fraction lies in [low, high] with at least this probability, wherever they belong.
        num_joint: as in :class:`Intervals`.
    """

    lowest: Float[np.ndarray, "*classes"]
    highest: Float[np.ndarray, "*classes"]
    low: Float[np.ndarray, "*classes"]
    high: Float[np.ndarray, "*classes"]
    level: float
    num_joint: int = 1


def envelopes(
    counts: Any, num_undetermined: int, num_samples: int, level: float = 0.95, num_joint: int = 1
) -> Envelopes:
    """Bounds of the fractions with all undetermined samples withheld from and added to each class.

    The true count of a class lies between k and ``k + u``, and exact limits grow with the count, so that ``low`` and
    ``high`` are no narrower than the interval of the true count. `counts` are those of the determined classes.

    Raises:
        InputError: more undetermined samples and counts than samples.
    """
    hidden = checks.integer("num_undetermined", num_undetermined, at_least=0)
    number, total = checked_counts(counts, checks.integer("num_samples", num_samples))
    most, _ = checked_counts(number + hidden, total, "counts + num_undetermined")
    below = proportion_intervals(number, total, level, num_joint=num_joint)
    above = proportion_intervals(most, total, level, num_joint=num_joint)
    return Envelopes(below.estimate, above.estimate, below.low, above.high, below.level, below.num_joint)


def clopper_pearson(number: np.ndarray, total: np.ndarray, alpha: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Limits with error probability ``alpha / 2`` on each side; counts may lie between whole numbers."""
    return _lower(number, total, 0.5 * np.asarray(alpha)), _upper(number, total, 0.5 * np.asarray(alpha))


def wilson(number: np.ndarray, total: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Score limits; the lower one from the product of the roots, ``k^2 / (n (n + z^2))``, so that nothing cancels."""
    square = special.ndtri(0.5 * alpha) ** 2
    upper_root = number + 0.5 * square + np.sqrt(square * (number * (1.0 - number / total) + 0.25 * square))
    high = np.where(number < total, upper_root / (total + square), 1.0)
    return np.asarray(number * (number / total) / upper_root), high


def _lower(number: np.ndarray, total: np.ndarray, alpha: float | np.ndarray) -> np.ndarray:
    safe = np.maximum(number, np.finfo(float).tiny)
    return np.where(number > 0, special.betaincinv(safe, total - number + 1.0, alpha), 0.0)


def _upper(number: np.ndarray, total: np.ndarray, alpha: float | np.ndarray) -> np.ndarray:
    safe = np.maximum(total - number, np.finfo(float).tiny)
    return np.where(number < total, special.betainccinv(number + 1.0, safe, alpha), 1.0)
