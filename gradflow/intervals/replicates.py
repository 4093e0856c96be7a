"""Intervals for designs whose points are not independent: replicated (scrambled Sobol, Latin hypercube) and stratified.

Within one scramble the points repel each other, so a binomial interval is not theirs. What is independent is the
fractions of R separately randomised replicates, or the strata. Knows fractions and counts, not how they were drawn.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special

from gradflow import checks
from gradflow.intervals.proportions import clopper_pearson, wilson
from gradflow.intervals.results import Intervals, checked_counts, error_share

FEW = 5
"""Samples per replicate, in or outside the class, below which Student's interval is not trusted alone."""

ALLOCATION_ATOL = 1e-9
"""Shares of the samples within this distance of the weights count as proportional allocation."""


@dataclass(frozen=True)
class ReplicatedIntervals:
    """Intervals from independent replicates, and what each of them rests on.

    Attributes:
        intervals: mean fractions with their limits.
        basis: for each class "t", "t and pooled counts", "unanimity" or "pooled counts"; see
            :func:`replicated_intervals`.
        standard_errors: of the mean fractions, from the replicates; 0 says only that all agreed.
        num_replicates: R.
    """

    intervals: Intervals
    basis: np.ndarray
    standard_errors: Float[np.ndarray, "*classes"]
    num_replicates: int

    def variance_gain(self, num_samples: int) -> Float[np.ndarray, "*classes"]:
        """Variance of that many independent samples over the observed one: how many times more of them were needed.

        Infinite where all replicates agree on a fraction that is not 0 or 1, and 1 where it is.
        """
        total = checks.integer("num_samples", num_samples)
        plain = self.intervals.estimate * (1.0 - self.intervals.estimate) / total
        observed = self.standard_errors**2
        gain = np.where(plain > 0, np.inf, 1.0)
        return np.divide(plain, observed, out=gain, where=observed > 0)


def replicated_intervals(
    fractions: Any, samples_per_replicate: int | None = None, level: float = 0.95, num_joint: int = 1
) -> ReplicatedIntervals:
    """Student's intervals of mean fractions over R independent replicates, cut to [0, 1].

    "t": ``mean +- t_{R-1} s / sqrt(R)``; right when the fractions of the replicates are about normal, which those of a
    class with few samples in each replicate are not: with 16 replicates and 3 samples expected in all of them together
    it covers 88 instead of 95 %, with 8 samples 91 %.

    "t and pooled counts": with `samples_per_replicate` given, and fewer than :data:`FEW` samples per replicate in the
    class or outside it, the limits are moved out to those of Clopper-Pearson for all samples together. That assumes
    a design no worse than independent points; it costs little, since designs gain little on sets that small.

    "unanimity": replicates that all agree have no variance to estimate, and a width of zero would be a claim without
    evidence. Only this is known: a replicate differs from the common value c with probability at most
    ``e = 1 - alpha^(1/(R-1))``, so the mean fraction lies in ``[(1 - e) c, (1 - e) c + e]``. For whatever law, the
    chance of an agreement that misleads is at most ``max_v P(v)^(R-1) <= alpha``. With `samples_per_replicate` the
    "pooled counts" are used instead, under the assumption above, if that is narrower.

    Args:
        fractions: fractions of each class in each replicate, shape (replicates, *classes).
        samples_per_replicate: number of points of one replicate.
        level: confidence level.
        num_joint: number of classes that must hold together.

    Raises:
        InputError: fewer than two replicates (there is no variance to see), or fractions outside [0, 1].
    """
    values = _fractions(fractions)
    replicates = len(values)
    checked, joint, alpha = error_share(level, num_joint)
    mean = values.mean(axis=0)
    is_unanimous = np.asarray(np.ptp(values, axis=0) == 0)
    mean = np.asarray(np.where(is_unanimous, values[0], mean))
    error = np.where(is_unanimous, 0.0, values.std(axis=0, ddof=1) / np.sqrt(replicates))
    quantile = -special.stdtrit(replicates - 1, 0.5 * alpha)
    doubt = -np.expm1(np.log(alpha) / (replicates - 1))
    low = np.where(is_unanimous, (1.0 - doubt) * mean, mean - quantile * error)
    high = np.where(is_unanimous, (1.0 - doubt) * mean + doubt, mean + quantile * error)
    basis = np.where(is_unanimous, "unanimity", "t")
    if samples_per_replicate is not None:
        size = checks.integer("samples_per_replicate", samples_per_replicate)
        total = float(replicates * size)
        pooled_low, pooled_high = clopper_pearson(np.asarray(mean * total), np.asarray(total), alpha)
        is_few = ~is_unanimous & (np.minimum(mean, 1.0 - mean) * size < FEW)
        is_narrower = is_unanimous & (pooled_high - pooled_low < high - low)
        low = np.where(is_few, np.minimum(low, pooled_low), np.where(is_narrower, pooled_low, low))
        high = np.where(is_few, np.maximum(high, pooled_high), np.where(is_narrower, pooled_high, high))
        basis = np.where(is_few, "t and pooled counts", np.where(is_narrower, "pooled counts", basis))
    method = f"Student's t over {replicates} replicates"
    low, high = np.asarray(np.clip(low, 0.0, 1.0)), np.asarray(np.clip(high, 0.0, 1.0))
    intervals = Intervals(mean, low, high, checked, method, joint)
    return ReplicatedIntervals(intervals, np.asarray(basis), error, replicates)


def stratified_intervals(
    counts: Any, num_samples: Any, weights: Any, level: float = 0.95, method: str = "pooled", num_joint: int = 1
) -> Intervals:
    """Intervals of ``sum_h w_h p_h`` from independent samples in each stratum h.

    "pooled" needs proportional allocation, ``n_h = w_h n``. The total count is then a sum of independent indicators
    with mean n p, whose tails are lighter than the binomial's (Hoeffding 1956), so that Clopper-Pearson's interval of
    the total keeps its level, if that is 50 % or more; where the theorem does not reach, at 1 and n - 1, the limits
    are those of the union bound. It never shows what stratification has gained.

    "combined" joins Wilson's limits of the strata, ``low = p - sqrt(sum_h (w_h (p_h - low_h))^2)`` and likewise above
    (Zou and Donner 2008). It shows the gain and takes any allocation; approximate, and wide when strata hold few
    samples each.

    Args:
        counts: shape (strata, *classes).
        num_samples: samples in each stratum, shape (strata,).
        weights: probabilities of the strata; they sum to 1.

    Raises:
        InputError: weights that do not sum to 1; with "pooled" an allocation that is not proportional, or a level below
            0.5.
    """
    sizes = np.asarray(num_samples)
    checks.require(sizes.ndim == 1, "num_samples", "have one entry per stratum", f"shape {sizes.shape}")
    shares = _weights(weights, len(sizes))
    given = np.asarray(counts)
    checks.require(given.shape[:1] == sizes.shape, "counts", f"have {len(sizes)} strata first", given.shape)
    number, total = checked_counts(given, sizes.reshape(-1, *[1] * (given.ndim - 1)))
    checked, joint, alpha = error_share(level, num_joint)
    checks.choice("method", method, ("pooled", "combined"))
    w = shares.reshape(total.shape)
    estimate = np.asarray(np.sum(w * number / total, axis=0))
    if method == "combined":
        low, high = wilson(number, total, alpha)
        below = np.sqrt(np.sum((w * (number / total - low)) ** 2, axis=0))
        above = np.sqrt(np.sum((w * (high - number / total)) ** 2, axis=0))
        low, high = np.clip(estimate - below, 0.0, 1.0), np.clip(estimate + above, 0.0, 1.0)
    else:
        is_proportional = np.all(np.abs(sizes / sizes.sum() - shares) <= ALLOCATION_ATOL)
        remedy = "Use method='combined'."
        checks.require(bool(is_proportional), "num_samples", "be proportional to `weights`", sizes.tolist(), remedy)
        checks.require(checked >= 0.5, "level", "be at least 0.5 with method='pooled'", f"{checked:g}")
        low, high = _poisson_binomial_limits(np.asarray(number.sum(axis=0)), np.asarray(sizes.sum()), alpha)
    return Intervals(estimate, np.asarray(low), np.asarray(high), checked, f"stratified, {method}", joint)


def _poisson_binomial_limits(number: np.ndarray, total: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Limits of the mean of independent indicators; at counts of 1 and n - 1 by the union bound, which is wider."""
    low, high = clopper_pearson(number, total, alpha)
    margin = 0.5 * alpha / total
    return np.where(number == 1, margin, low), np.where(number == total - 1, 1.0 - margin, high)


def _fractions(fractions: Any) -> np.ndarray:
    values = checks.finite_array("fractions", fractions)
    checks.require(values.ndim >= 1, "fractions", "have replicates as their first axis", f"shape {values.shape}")
    remedy = "One replicate shows no variance; 16 or more are usual."
    checks.require(len(values) >= 2, "fractions", "hold at least 2 replicates", len(values), remedy)
    is_fraction = (values >= 0.0) & (values <= 1.0)
    bad = values[~is_fraction][:1]
    checks.require(bool(is_fraction.all()), "fractions", "lie between 0 and 1", bad)
    return values


def _weights(weights: Any, num_strata: int) -> np.ndarray:
    shares = checks.finite_array("weights", weights, 1)
    checks.require(len(shares) == num_strata, "weights", f"have {num_strata} entries, one per stratum", len(shares))
    checks.require(bool(np.all(shares > 0)), "weights", "be positive", shares.min())
    checks.require(abs(shares.sum() - 1.0) <= 1e-9, "weights", "sum to 1", shares.sum())
    return shares
