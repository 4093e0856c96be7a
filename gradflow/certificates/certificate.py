"""The type of an a-priori promise about a flow: numbers, and the hypotheses on which they stand.

A certificate is computed before anything is integrated and cannot see a trajectory. Whether a run kept the promise is
checked elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gradflow import checks
from gradflow.hypotheses import Hypothesis, conjunction


@dataclass(frozen=True)
class Certificate:
    """A promise about every trajectory from one start, with its numbers.

    Args:
        name: kind of promise: ``"boundedness"`` and ``"exponential_rate"`` of a flow and a start,
            ``"gradient_dominance"`` and ``"regularity"`` of the neighbourhood of a minimiser,
            ``"curvature_at_saddles"`` of a problem's saddles.
        holds: True: promised. False: a hypothesis fails, so nothing is promised (and nothing denied). None: there is
            no theory for this problem ("not certified").
        values: the numbers by name, dimensionless; meaningful as a promise only when `holds` is True.
        hypotheses: the conditions with their truth values; when `holds` is True so is each of them.
        source: paper and statement.
        note: one or two sentences for the reader of a table.

    Raises:
        InputError: `holds` is True although a hypothesis is not.
    """

    name: str
    holds: bool | None
    values: Mapping[str, float]
    hypotheses: tuple[Hypothesis, ...]
    source: str
    note: str = ""

    def __post_init__(self) -> None:
        earned = self.holds is not True or conjunction(self.hypotheses) is True
        failed = [hypothesis.statement for hypothesis in self.hypotheses if hypothesis.holds is not True]
        checks.require(earned, "holds", "not be True while a hypothesis is not", f"True with failed {failed}")
