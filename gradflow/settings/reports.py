"""Which results a report is made of, and where it goes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gradflow import checks
from gradflow.settings.runs import SWITCH, UNSAID

ENDINGS = (".html", ".htm")

MOST_RESOLUTION = 64
"""As :data:`gradflow.html.tracks.MOST`."""


@dataclass(frozen=True)
class ReportSettings:
    """Write a report: a page for the browser about a run, basins or experiments, in one file that needs no network.

    Configuration and provenance, certificates against the run, invariants, saddles passed, endpoint and rate; or the
    classes of limits with their intervals. For problems of two parameters an explorer: click a start, see its
    trajectory and where it ends. Of experiments: questions, predictions beside measurements, figures. What a results
    file cannot tell is named on the page.
    """

    results: Annotated[tyro.conf.Positional[Path | None], UNSAID] = None
    """A results file, as `gradflow run`, `gradflow run NAME` and `gradflow basins --out FILE.nc` write them, or a
    folder: of a run, of an estimate (--folder), or of results of experiments.
    """

    out: Annotated[Path | None, UNSAID] = None
    """The page, FILE.html. If left out: the name of the results with .html instead, beside them."""

    overwrite: Annotated[bool, SWITCH] = False
    """Replace the page if it is there; without it nothing is ever replaced."""

    explorer: Annotated[bool, SWITCH] = True
    """Make the page interactive where there are two parameters. Without it the page has no scripts."""

    resolution: int = 40
    """Starts of the explorer along each axis."""

    experiments: Annotated[Path | None, UNSAID] = None
    """Folder of the experiments that results belong to. If left out: the one beside the package."""

    def __post_init__(self) -> None:
        remedy = "gradflow report gradflow-run, or gradflow report basins.nc."
        checks.require(self.results is not None, "results", "be given", "nothing", remedy)
        size = checks.integer("resolution", self.resolution, at_least=4)
        checks.require(size <= MOST_RESOLUTION, "resolution", f"be at most {MOST_RESOLUTION}", size)
        if self.out is not None:
            is_known = self.out.suffix.lower() in ENDINGS
            checks.require(is_known, "out", f"end in {' or '.join(ENDINGS)}", repr(str(self.out)))

    @property
    def page(self) -> Path:
        """Where the page goes."""
        assert self.results is not None
        if self.out is not None:
            return self.out
        return self.results / "report.html" if self.results.is_dir() else self.results.with_suffix(".html")
