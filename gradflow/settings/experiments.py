"""Which experiments are run, with which settings of their own, and where their results go.

Knows names and what goes together; an experiment's own settings are read where experiments are known.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gradflow import checks
from gradflow.settings.runs import SWITCH, UNSAID

RESULTS = Path("results")
TINY_RESULTS = RESULTS / "tiny"


@dataclass(frozen=True)
class ExperimentSettings:
    """Run an experiment: measure, keep the numbers, and print what was predicted beside what was found.

    Exit code 1 when a measurement disagrees with its prediction. Results that are there already, with the same settings
    and of the same version, are not measured again.
    """

    name: Annotated[tyro.conf.Positional[str], UNSAID] = ""
    """An experiment, as --list shows them."""

    all: Annotated[bool, SWITCH] = False
    """Run every experiment, one after the other; one that fails does not stop the others."""

    list: Annotated[bool, SWITCH] = False
    """Say which experiments there are, and stop."""

    tiny: Annotated[bool, SWITCH] = False
    """Seconds instead of minutes: sizes at which everything runs, and some predictions cannot be decided."""

    set: Annotated[tuple[str, ...], UNSAID] = ()
    """Settings of the experiment's own, e.g. --set seed=3 depths=1,2. An unknown one is answered with all of them."""

    out: Annotated[Path | None, UNSAID] = None
    """Folder for the results, NAME.nc; made if it is missing. If left out: results, and results/tiny with --tiny."""

    overwrite: Annotated[bool, SWITCH] = False
    """Measure again and replace what is in the folder."""

    judge: Annotated[Path | None, UNSAID] = None
    """A file of results to judge again instead of measuring."""

    experiments: Annotated[Path | None, UNSAID] = None
    """Folder of the experiments. If left out: the one beside the package, in a clone of the repository."""

    def __post_init__(self) -> None:
        given = [f"--{word}" for word in ("all", "list") if getattr(self, word)] + ([self.name] if self.name else [])
        remedy = "`gradflow run --list` shows all experiments."
        what = "exactly one of a name, --all and --list must be given"
        if len(given) != 1:
            raise checks.InputError(f"{what}, but got {' and '.join(given) or 'none'}. {remedy}")
        is_one = bool(self.name)
        checks.require(is_one or not self.set, "set", "go with the name of one experiment", given[0])
        checks.require(is_one or self.judge is None, "judge", "go with the name of one experiment", given[0])

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.out or (TINY_RESULTS if self.tiny else RESULTS)
