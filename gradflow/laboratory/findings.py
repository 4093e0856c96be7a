"""What an experiment found: a claim, what was predicted of a number, what was measured, and whether they agree.

A finding that could not be decided says so: a measurement that is not a number never agrees and never disagrees.
Knows numbers and sentences; nothing of where they come from.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """A prediction beside its measurement.

    Attributes:
        claim: what is claimed, one sentence without its end.
        predicted: the number or word that the claim predicts.
        measured: what was measured, in the same form.
        agrees: True or False; None when the measurement decides nothing.
        source: paper and statement, or who is to be cited, or the calculation that the prediction comes from.
    """

    claim: str
    predicted: str
    measured: str
    agrees: bool | None
    source: str = ""

    @property
    def verdict(self) -> str:
        """``agrees``, ``DISAGREES`` or ``undecided``."""
        return "undecided" if self.agrees is None else "agrees" if self.agrees else "DISAGREES"


def at_most(claim: str, measured: Any, limit: Any, source: str = "") -> Finding:
    """The finding that a number is `limit` or less; undecided when one of them is NaN."""
    value, bound = float(measured), float(limit)
    return Finding(claim, f"<= {_number(bound)}", _number(value), _decided(value <= bound, value, bound), source)


def at_least(claim: str, measured: Any, limit: Any, source: str = "") -> Finding:
    """The finding that a number is `limit` or more; undecided when one of them is NaN."""
    value, bound = float(measured), float(limit)
    return Finding(claim, f">= {_number(bound)}", _number(value), _decided(value >= bound, value, bound), source)


def between(claim: str, measured: Any, low: Any, high: Any, source: str = "") -> Finding:
    """The finding that a number lies in [low, high]; undecided when one of the three is NaN."""
    value, least, most = float(measured), float(low), float(high)
    agrees = _decided(least <= value <= most, value, least, most)
    return Finding(claim, f"{_number(least)} to {_number(most)}", _number(value), agrees, source)


def none_of(claim: str, count: Any, total: Any, source: str = "") -> Finding:
    """The finding that none of `total` cases is an exception; undecided when there was no case."""
    number, cases = int(count), int(total)
    return Finding(claim, f"0 of {cases}", f"{number} of {cases}", None if cases == 0 else number == 0, source)


def holds(claim: str, count: Any, total: Any, source: str = "") -> Finding:
    """The finding that all of `total` cases are as claimed; undecided when there was no case."""
    number, cases = int(count), int(total)
    return Finding(
        claim, f"{cases} of {cases}", f"{number} of {cases}", None if cases == 0 else number == cases, source
    )


def rows_of(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Findings as rows of a table."""
    return [
        {"claim": one.claim, "predicted": one.predicted, "measured": one.measured, "verdict": one.verdict,
         "source": one.source or "-"}
        for one in findings
    ]  # fmt: skip


def tally(findings: Sequence[Finding]) -> str:
    """Counts in a few words: ``5 of 6 agree, 1 undecided``."""
    verdicts = [one.verdict for one in findings]
    parts = [f"{verdicts.count('agrees')} of {len(verdicts)} agree"]
    parts += [f"{verdicts.count(word)} {name}" for word, name in _OTHERS if word in verdicts]
    return ", ".join(parts)


_OTHERS = (("DISAGREES", "DISAGREE"), ("undecided", "undecided"))


def _decided(answer: bool, *numbers: float) -> bool | None:
    return None if any(math.isnan(number) for number in numbers) else bool(answer)


def _number(value: float) -> str:
    if not math.isfinite(value) or value == 0.0:
        return f"{value:g}"
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e6 else f"{value:.2e}"
