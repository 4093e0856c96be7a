"""Confidence sequences: intervals that hold at all sample sizes at once, so that one may look and stop at any time.

An ordinary 95 % interval looked at 25 times excludes the truth at some look in about 20 % of all runs. These hold at
every look together and are 1.5 to 2 times as wide. Knows counts; the samples must be independent draws in a fixed
order, and what is looked at must be everything drawn so far.
"""

from typing import Any

import numpy as np
from scipy import special
from scipy.optimize import elementwise

from gradflow import checks
from gradflow.intervals.results import Intervals, checked_counts, error_share

PLANNED_SAMPLES = 10_000
"""Default of the sample size at which the intervals are narrowest."""

CONCENTRATION = 0.125
"""Weight of the mixing law in units of the planned samples; minimises the width there at levels of 90 to 99 %."""


def confidence_sequences(
    counts: Any,
    num_samples: Any,
    level: float = 0.95,
    num_joint: int = 1,
    planned_samples: int = PLANNED_SAMPLES,
) -> Intervals:
    """Intervals that contain the fractions at all sample sizes together with probability `level`.

    With k of n samples in the class, ``q = 1 - p`` and ``r = planned_samples / 8`` they are the sets of all p with

        M_n(p) = B(r p + k, r q + n - k) / (B(r p, r q) p^k q^(n - k)) < 1 / alpha,   alpha = (1 - level) / num_joint.

    At the true p, M_n(p) is a likelihood ratio of a Beta(r p, r q) mixture, a martingale with mean 1, so that by
    Ville's inequality it ever reaches 1/alpha with probability at most alpha. The set is an interval around k/n, since
    the logarithm of M is convex in p and not positive at k/n.

    Args:
        counts: counts after `num_samples` samples; any shape, for instance (looks, classes).
        num_samples: sample sizes at which one looked, of a shape that broadcasts to that of the counts.
        level: confidence level, for all looks together.
        num_joint: number of classes that must hold together.
        planned_samples: the sample size at which the intervals are narrowest, fixed before the first look. There they
            are 1.5 times as wide as Clopper-Pearson intervals, 1.8 times at 100 times that size, 1.9 times (rare
            classes: 3 times) at a tenth of it.

    Accuracy: limits to a relative 1e-9 up to 10^6 samples and 1e-5 up to 10^9.

    Raises:
        InputError: see :func:`gradflow.intervals.proportion_intervals`.

    Source: Ville 1939; Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon 2021, two-sided beta-binomial mixture.
    """
    number, total = checked_counts(counts, num_samples)
    checked, joint, alpha = error_share(level, num_joint)
    planned = checks.integer("planned_samples", planned_samples)
    size = np.broadcast_to(total, number.shape).astype(float)
    low, high = mixture_limits(number.astype(float), size, alpha, planned)
    method = f"beta-binomial mixture, planned for {planned} samples"
    return Intervals(np.asarray(number / size), low, high, checked, method, joint)


def mixture_limits(number: np.ndarray, total: np.ndarray, alpha: float, planned: int) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the set in :func:`confidence_sequences`; counts may lie between whole numbers."""
    weight = CONCENTRATION * planned
    classes, others = np.stack([number, total - number]), np.stack([total - number, number])
    left, right = _left_end(classes, others, alpha, weight)
    return np.asarray(special.expit(left)), np.asarray(special.expit(-right))


def _left_end(successes: np.ndarray, failures: np.ndarray, alpha: float, weight: float) -> np.ndarray:
    """The t below the maximum of the likelihood with ``log(alpha M) = 0`` at p = expit(t).

    In t small fractions keep their digits. With at most one success log M stays bounded at p = 0, below its value
    there for no samples, and there is no such t: -inf.
    """
    has_root = successes > 1
    k, rest = np.where(has_root, successes, 2.0), np.where(has_root, failures, 2.0)
    constant = np.log(alpha) + special.gammaln(weight) - special.gammaln(weight + k + rest)
    peak = np.where(rest > 0, np.log(k / np.where(rest > 0, rest, 1.0)), 40.0)
    # log(alpha M) >= constant + gammaln(weight + rest) - gammaln(weight) + log(weight) - 0.13 + (k - 1) |t|
    margin = special.gammaln(weight + k + rest) - special.gammaln(weight + rest) - np.log(weight * alpha) + 1.0
    far = np.minimum(peak, 0.0) - np.maximum(margin, 1.0) / (k - 1.0)

    def log_ratio(t: np.ndarray, k: np.ndarray, rest: np.ndarray, constant: np.ndarray) -> np.ndarray:
        return constant + _rising(t, k, weight) + _rising(-t, rest, weight)

    solution = elementwise.find_root(log_ratio, (far, peak), args=(k, rest, constant))
    if not np.all(solution.success):
        raise checks.NumericalFailure("The limits of a confidence sequence were not found; the counts are too large.")
    return np.where(has_root, solution.x, -np.inf)


def _rising(t: np.ndarray, count: np.ndarray, weight: float) -> np.ndarray:
    """``log(Gamma(r p + k) / Gamma(r p)) - k log p`` at p = expit(t), 0 for k = 0."""
    logarithm = special.log_expit(t)
    prior = weight * special.expit(t)
    rising = special.gammaln(prior + np.maximum(count, 1e-300)) - special.gammaln(prior + 1.0)
    return np.where(count > 0, rising + np.log(weight) - (count - 1.0) * logarithm, 0.0)
