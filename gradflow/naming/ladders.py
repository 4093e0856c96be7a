"""The critical values of linear networks as far as naming needs them: the least, the second, and that of a pattern.

Shared by the families whose critical points capture some singular values of a target and miss the others. Numbers only.
"""

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from gradflow.critical_sets import one_based
from gradflow.naming.labels import Label

VALUE_RTOL = 1e-9
"""A loss is below a critical value when it is by this multiple of the loss of zero output."""

SAME_VALUE_RTOL = 1e-6
"""A refined loss within this multiple of it has that value."""


@dataclass(frozen=True, eq=False)
class Ladder:
    """Values ``irreducible + 1/2 (sum of s^2 over the missed)`` of captured sets of at most `limit` elements.

    Attributes:
        values: the positive singular values, descending.
        groups: positions of equal ones.
        limit: how many can be captured.
        irreducible: the loss of capturing all.
        size: the loss of zero output (1.0 when that is zero), what losses are compared against.
    """

    values: Float[np.ndarray, " num_positive"]
    groups: tuple[tuple[int, ...], ...]
    limit: int
    irreducible: float
    size: float

    @functools.cached_property
    def best(self) -> tuple[int, ...]:
        """Captured directions per group at global minima: the largest that fit."""
        left, counts = self.limit, []
        for group in self.groups:
            counts.append(min(left, len(group)))
            left -= counts[-1]
        return tuple(counts)

    @functools.cached_property
    def second(self) -> float:
        """The second smallest critical value; infinite when there is one only.

        The cheapest way to spoil the best pattern: drop a captured value, or exchange it for a smaller missed one.
        """
        gains = [0.5 * self.values[group[0]] ** 2 for group in self.groups]
        captured = [gain for gain, count in zip(gains, self.best, strict=True) if count]
        missed = [gain for gain, count, group in zip(gains, self.best, self.groups, strict=True) if count < len(group)]
        losses = captured + [mine - other for mine in captured for other in missed if other < mine]
        return self.value(self.best) + float(min(losses, default=np.inf))

    @functools.cached_property
    def global_label(self) -> Label:
        """The label of global minima."""
        return Label(f"global minimum {self.shown(self.best)}", "global_minimum", self.value(self.best))

    def is_below_second(self, losses: Float[np.ndarray, " num"]) -> Bool[np.ndarray, " num"]:
        """Where a loss is below every critical value but the least; False for NaN."""
        return losses < self.second - VALUE_RTOL * self.size

    def value(self, counts: tuple[int, ...]) -> float:
        """The critical value of a pattern of captured counts."""
        missed = [
            self.values[group[0]] ** 2 * (len(group) - count) for group, count in zip(self.groups, counts, strict=True)
        ]
        return self.irreducible + 0.5 * float(sum(missed))

    def shown(self, counts: tuple[int, ...]) -> str:
        """The captured set as the papers write it; of a group captured in part how many of which."""
        whole = [
            index for group, count in zip(self.groups, counts, strict=True) if count == len(group) for index in group
        ]
        parts = [
            f"{count} of {one_based(group)}"
            for group, count in zip(self.groups, counts, strict=True)
            if 0 < count < len(group)
        ]
        return " and ".join([one_based(whole), *parts] if whole or not parts else parts)
