"""Two settings on the same starts: which labels changed, and differences of fractions with paired intervals.

With common random numbers the two fractions move together, so their difference is known far better than from two
separate estimates; only starts whose label changed carry information. Knows two arrays of labels in the same order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import special
from scipy.optimize import elementwise

from gradflow import checks
from gradflow.intervals.proportions import clopper_pearson, proportion_intervals
from gradflow.intervals.results import Intervals, error_share

METHODS = ("score", "exact")


@dataclass(frozen=True)
class PairedComparison:
    """Labels of the same starts under two settings, compared.

    Attributes:
        classes: the labels, in the order of all arrays.
        table: number of starts with the row's label under the first and the column's under the second setting.
        differences: second minus first fraction of each class.
        p_values: of McNemar's exact test that the class has the same fraction under both; not corrected for the number
            of classes.
        changed: share of the starts whose label changed (to any other), with its Clopper-Pearson interval.
        paired_variances: estimated variances of the differences.
        independent_variances: what they would be for two estimates with the same number of separate starts.
    """

    classes: tuple[Any, ...]
    table: Int[np.ndarray, "classes classes"]
    differences: Intervals
    p_values: Float[np.ndarray, " classes"]
    changed: Intervals
    paired_variances: Float[np.ndarray, " classes"]
    independent_variances: Float[np.ndarray, " classes"]

    @property
    def num_samples(self) -> int:
        """Number of starts."""
        return int(self.table.sum())

    @property
    def variance_gains(self) -> Float[np.ndarray, " classes"]:
        """Independent over paired variance: how many times more separate starts were needed.

        Infinite for a class that no start left or joined, unless it has none or all of the starts: then 1.
        """
        gains = np.where(self.independent_variances > 0, np.inf, 1.0)
        is_known = self.paired_variances > 0
        return np.divide(self.independent_variances, self.paired_variances, out=gains, where=is_known)


def compare_paired(
    first: Any,
    second: Any,
    level: float = 0.95,
    method: str = "score",
    classes: Sequence[Any] | None = None,
    num_joint: int = 1,
) -> PairedComparison:
    """Differences of basin fractions between two settings that were run on the same independent starts.

    Args:
        first: labels under the first setting, one per start.
        second: labels of the same starts, in the same order, under the second.
        level: confidence level of the differences and of the share of changed labels.
        method: of the differences, see :func:`paired_differences`.
        classes: all labels in the wanted order; default: those that occur, sorted.
        num_joint: number of differences that must hold together.

    Raises:
        InputError: label arrays of different length, without entries, or with a label that `classes` lacks.
    """
    before, after = np.asarray(first), np.asarray(second)
    checks.require(before.ndim == 1 and before.size > 0, "first", "hold one label per start", f"shape {before.shape}")
    checks.require(after.shape == before.shape, "second", f"have the shape {before.shape} of `first`", after.shape)
    labels = np.unique(np.concatenate([before, after])) if classes is None else np.asarray(classes)
    table = label_table(before, after, labels)
    total, stay = int(table.sum()), np.diag(table)
    left, joined = table.sum(axis=1) - stay, table.sum(axis=0) - stay
    differences = paired_differences(left, joined, total, level, method, num_joint)
    one, two = table.sum(axis=1) / total, table.sum(axis=0) / total
    return PairedComparison(
        classes=tuple(labels.tolist()),
        table=table,
        differences=differences,
        p_values=mcnemar_p_values(left, joined),
        changed=proportion_intervals(total - int(stay.sum()), total, level),
        paired_variances=((left + joined) / total - differences.estimate**2) / total,
        independent_variances=(one * (1.0 - one) + two * (1.0 - two)) / total,
    )


def label_table(first: np.ndarray, second: np.ndarray, classes: Any) -> Int[np.ndarray, "classes classes"]:
    """How many starts have the row's label in `first` and the column's in `second`."""
    labels = np.asarray(classes)
    order = np.argsort(labels)
    ordered = labels[order]
    checks.require(len(np.unique(labels)) == len(labels), "classes", "differ from each other", labels.tolist())
    places = []
    for name, values in (("first", first), ("second", second)):
        place = np.minimum(np.searchsorted(ordered, values), len(labels) - 1)
        unknown = ordered[place] != values
        checks.require(not unknown.any(), name, f"hold labels among {labels.tolist()}", values[unknown][:1].tolist())
        places.append(order[place])
    flat = np.bincount(places[0] * len(labels) + places[1], minlength=len(labels) ** 2)
    return flat.reshape(len(labels), len(labels)).astype(np.int64)


def paired_differences(
    num_left: Any, num_joined: Any, num_samples: int, level: float = 0.95, method: str = "score", num_joint: int = 1
) -> Intervals:
    """Intervals of ``P(joined) - P(left)``, the change of a class's fraction, from the two counts of changed starts.

    "score" (Tango 1998) is the set of d with ``|joined - left - n d| <= z sqrt(n (2 q + d (1 - d)))``, q the
    constrained maximum likelihood estimate of P(left); about the level for n of 50 or more, and never of width zero.
    "exact" joins the Clopper-Pearson limits of the two probabilities at half the error each; it never covers less than
    the level and is up to 1.6 times as wide.

    Raises:
        InputError: counts that are not whole, negative, or together more than the number of samples.
    """
    checked, joint, alpha = error_share(level, num_joint)
    checks.choice("method", method, METHODS)
    left = proportion_intervals(num_left, num_samples, level)
    joined = proportion_intervals(num_joined, num_samples, level)
    checks.require(left.low.shape == joined.low.shape, "num_joined", f"have shape {left.low.shape}", joined.low.shape)
    lost, gained = np.asarray(num_left, dtype=float), np.asarray(num_joined, dtype=float)
    excess = bool(np.all(lost + gained <= num_samples))
    checks.require(excess, "num_left + num_joined", f"be at most {num_samples}", np.max(lost + gained))
    total = np.full(lost.shape, float(num_samples))
    if method == "exact":
        left_low, left_high = clopper_pearson(lost, total, 0.5 * alpha)
        joined_low, joined_high = clopper_pearson(gained, total, 0.5 * alpha)
        low, high = joined_low - left_high, joined_high - left_low
    else:
        quantile = -float(special.ndtri(0.5 * alpha))
        up, down = np.stack([lost, gained]), np.stack([gained, lost])
        downwards, high = _score_limit(up, down, np.stack([total, total]), quantile)
        low = -downwards
    estimate = np.asarray((gained - lost) / num_samples)
    words = {"score": "Tango's paired score", "exact": "paired Clopper-Pearson"}[method]
    return Intervals(estimate, np.asarray(low), np.asarray(high), checked, words, joint)


def mcnemar_p_values(num_left: Any, num_joined: Any) -> Float[np.ndarray, " classes"]:
    """Two-sided exact p-values that a changed start is as likely to join as to leave; 1 when nothing changed."""
    from scipy import stats

    pairs = zip(np.atleast_1d(num_left).tolist(), np.atleast_1d(num_joined).tolist(), strict=True)
    return np.array([stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0 for b, c in pairs])


def _score_limit(up: np.ndarray, down: np.ndarray, total: np.ndarray, quantile: float) -> np.ndarray:
    """The largest d with ``(up - down - n d)^2 <= z^2 n (2 q + d (1 - d))``."""

    def excess(d: np.ndarray, up: np.ndarray, down: np.ndarray, total: np.ndarray) -> np.ndarray:
        linear = (2.0 * total - up + down) * d - up - down
        root = np.sqrt(np.maximum(linear**2 + 8.0 * total * down * d * (1.0 - d), 0.0))
        constrained = (root - linear) / (4.0 * total)
        variance = 2.0 * constrained + d * (1.0 - d)
        return np.asarray((up - down - total * d) ** 2 - quantile**2 * total * variance)

    is_inner = up - down < total
    safe = np.where(is_inner, up, 0.0)
    # At the estimate itself the variance can vanish, when nothing changed; just above it does not.
    start = (safe - down) / total + 1e-6 / total
    solution = elementwise.find_root(excess, (start, np.ones_like(start)), args=(safe, down, total))
    if not np.all(solution.success):
        raise checks.NumericalFailure("The limits of a paired difference were not found; the counts are too large.")
    return np.where(is_inner, solution.x, 1.0)
