"""The result that all interval functions share, and the checks of the counts and levels they are given.

Knows numbers only. Limits are plain float64 arrays with the shape of the counts, so that they go into xarray or JSON
as they are.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from gradflow import checks


@dataclass(frozen=True)
class Intervals:
    """Confidence limits of fractions, one pair for each class.

    Attributes:
        estimate: the observed fractions (or differences of fractions).
        low: lower limits.
        high: upper limits.
        level: with at least this probability (nominally, see `method`) the truth lies between the limits, ends
            included: for each class by itself when `num_joint` is 1, for all `num_joint` of them together otherwise.
        method: how they were computed, in words.
        num_joint: the number of intervals that share the error probability ``1 - level`` by Bonferroni's inequality.
    """

    estimate: Float[np.ndarray, "*classes"]
    low: Float[np.ndarray, "*classes"]
    high: Float[np.ndarray, "*classes"]
    level: float
    method: str
    num_joint: int = 1

    @property
    def half_width(self) -> Float[np.ndarray, "*classes"]:
        """Half of ``high - low``."""
        return np.asarray(0.5 * (self.high - self.low))

    def contains(self, fractions: Any) -> Bool[np.ndarray, "*classes"]:
        """Whether each of these numbers lies between its limits, ends included."""
        values = np.asarray(fractions, dtype=float)
        return np.asarray((self.low <= values) & (values <= self.high))

    def as_dict(self) -> dict[str, Any]:
        """The same as lists, numbers and words, for JSON."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in asdict(self).items()
        }


def checked_level(level: Any) -> float:
    """The confidence level as a float strictly between 0 and 1."""
    return checks.real("level", level, above=0.0, below=1.0)


def error_share(level: Any, num_joint: Any) -> tuple[float, int, float]:
    """The level, the number of intervals that share its error, and the error left for each of them."""
    checked, number = checked_level(level), checks.integer("num_joint", num_joint)
    return checked, number, (1.0 - checked) / number


def checked_counts(
    counts: Any, num_samples: Any, name: str = "counts"
) -> tuple[Int[np.ndarray, "*classes"], Int[np.ndarray, "..."]]:
    """Counts and sample sizes as int64 arrays, with ``0 <= counts <= num_samples`` and ``num_samples >= 1``."""
    number, total = whole_numbers(name, counts), whole_numbers("num_samples", num_samples)
    checks.require(bool(np.all(total >= 1)), "num_samples", "be at least 1", total)
    try:
        shape = np.broadcast_shapes(number.shape, total.shape)
    except ValueError:
        shape = None
    checks.require(shape == number.shape, "num_samples", f"fit `{name}` of shape {number.shape}", total.shape)
    excess = number > total
    if excess.any():
        where = tuple(np.argwhere(excess)[0])
        limit = np.broadcast_to(total, number.shape)[where]
        checks.require(False, name, "be at most `num_samples`", f"{number[where]} of {limit}")
    return number, total


def whole_numbers(name: str, value: Any) -> Int[np.ndarray, "..."]:
    """`value` as an int64 array of whole numbers that are not negative."""
    array = np.asarray(value)
    checks.require(array.dtype.kind in "iuf", name, "hold whole numbers", f"entries of type {array.dtype}")
    is_whole = np.isfinite(array) & (array == np.floor(array))
    checks.require(bool(np.all(is_whole)), name, "hold whole numbers", _first(array, ~is_whole))
    checks.require(bool(np.all(array >= 0)), name, "hold no negative number", _first(array, array < 0))
    return array.astype(np.int64)


def _first(array: np.ndarray, mask: Any) -> Any:
    return array[mask][0] if np.any(mask) else None
