"""Hypotheses of statements, each with its truth value: what a certificate or an invariant stands on.

A word shared by invariants and certificates; knows nothing of networks or flows.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """A condition in words and whether it holds here: True, False, or None when it cannot be decided."""

    statement: str
    holds: bool | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "holds", None if self.holds is None else bool(self.holds))


def conjunction(hypotheses: Iterable[Hypothesis]) -> bool | None:
    """False when one hypothesis fails, None when none fails but one is undecided, True otherwise."""
    values = [hypothesis.holds for hypothesis in hypotheses]
    if any(value is False for value in values):
        return False
    return None if any(value is None for value in values) else True
