"""What ``gradflow verify`` tries, how hard, and in which form it answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from gradflow import checks
from gradflow.settings.runs import SWITCH, UNSAID

Format = Literal["table", "markdown", "json"]


@dataclass(frozen=True)
class VerifySettings:
    """Try every statement of the four papers on random instances: what holds, what is false as printed.

    One row for each statement, with the number of comparisons, the one that came closest to failing, and a verdict.
    A statement that is false as printed has two rows: its counterexample, and the corrected statement. Exit code 1 if a
    corrected statement fails, or if a counterexample is none.
    """

    only: Annotated[tuple[str, ...], UNSAID] = ()
    """Only statements whose name has one of these words in it, e.g. 002 or 002/theorem-1 or lemma.
    If left out: all."""

    thorough: Annotated[bool, SWITCH] = False
    """Many more instances of each: minutes instead of seconds."""

    seed: int = 0
    """Which instances are drawn; those of a statement do not depend on what else is tried."""

    format: Format = "table"
    """table, markdown (the page of the documentation) or json, on standard output."""

    explain: Annotated[bool, SWITCH] = False
    """Print under each row what is claimed, what the paper prints instead, and where it stands in the code."""

    out: Annotated[Path | None, UNSAID] = None
    """A file for the answer, replaced if it is there. If left out: standard output."""

    def __post_init__(self) -> None:
        checks.integer("seed", self.seed, at_least=0)
        if self.out is not None:
            is_file_name = bool(self.out.name) and not self.out.is_dir()
            checks.require(is_file_name, "out", "be a file, not a folder", str(self.out))
