"""Experiments as a page: for each the question, predictions beside measurements, its figure and its numbers.

Shows what results files hold and what the experiment's own file says of it; measures nothing. The figure is drawn by
the script of the same name in the folder ``figures`` beside the folder of the experiments; where there is none, or it
cannot draw, the page says so.
"""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from gradflow import checks, laboratory, store
from gradflow.html import results
from gradflow.html.blocks import (
    BAD,
    DOUBT,
    FAINT,
    GOOD,
    Block,
    Cell,
    Facts,
    Heading,
    Marked,
    Page,
    Section,
    Sentence,
    Table,
    page_text,
)
from gradflow.html.pictures import drawn
from gradflow.laboratory.results import EXPERIMENT
from gradflow.store.files import kind_of

VERDICTS = {True: GOOD, False: BAD, None: DOUBT}

TOLD = ("Question", "Prediction", "Found", "Method", "Source", "Cost")
"""Sections of an experiment's docstring, in the order of the page."""


@dataclass(frozen=True)
class Measured:
    """An experiment with results and what follows from them."""

    experiment: laboratory.Experiment
    results: xr.Dataset
    findings: tuple[laboratory.Finding, ...]

    @property
    def mood(self) -> str:
        """Of the worst finding; of doubt when there is none."""
        verdicts = [finding.agrees for finding in self.findings] or [None]
        return VERDICTS[False if False in verdicts else None if None in verdicts else True]


def experiment_files(place: str | os.PathLike[str]) -> list[Path]:
    """The results files of experiments at a path: the file itself, or those in a folder, by name."""
    path = Path(place)
    found = sorted(path.glob("*.nc")) if path.is_dir() else [path]
    return [file for file in found if kind_of(file) == EXPERIMENT]


def read_experiment(path: str | os.PathLike[str], folder: Path | None = None) -> Measured:
    """Results with their experiment, which is looked for in `folder` (by default the one beside the package).

    Raises:
        InputError: there is no experiment of that name.
        ResultsFileError, OSError: as :func:`gradflow.laboratory.load_results`.
    """
    found = laboratory.load_results(path)
    experiment = laboratory.load_experiment(found.attrs["experiment"], folder)
    return Measured(experiment, found, laboratory.judged(experiment, found))


def experiments_report(measured: Sequence[Measured]) -> str:
    """One HTML document about experiments, with everything in it that it needs; no scripts.

    Raises:
        InputError: there is no experiment.
    """
    checks.require(len(measured) > 0, "measured", "have at least one experiment", "none")
    verdicts = [finding.agrees for one in measured for finding in one.findings]
    lead = (
        f"{len(verdicts)} predictions: {verdicts.count(True)} agree with what was measured, "
        f"{verdicts.count(False)} disagree, {verdicts.count(None)} are undecided."
    )
    made = sorted({str(laboratory.origin_of(one.results).get("created_at", "an unknown time")) for one in measured})
    versions = sorted({str(one.results.attrs.get("creation_library_version")) for one in measured})
    when = made[0] if len(made) == 1 else f"{made[0]} to {made[-1]}"
    footer = f"Results of gradflow {', '.join(versions)}, measured at {when}. This page needs no network."
    if len(measured) == 1:
        return page_text(Page(measured[0].experiment.question, [Sentence(lead)], _sections(measured[0]), footer))
    sections = [Section("summary", "All in one table", [_summary(measured)])]
    sections += [Section(one.experiment.name, one.experiment.question, list(_blocks(one))) for one in measured]
    return page_text(Page(f"{len(measured)} experiments", [Sentence(lead)], sections, footer))


def write_experiments_report(
    measured: Sequence[Measured], path: str | os.PathLike[str], overwrite: bool = False
) -> Path:
    """Writes :func:`experiments_report` into a file, whole or not at all, and returns its path.

    Raises:
        InputError: as :func:`experiments_report`.
        OSError: the file cannot be written, or is there already.
    """
    store.check_writable(path, overwrite)
    return store.write_text(path, experiments_report(measured), overwrite)


def _summary(measured: Sequence[Measured]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for one in measured:
        told = Marked(laboratory.tally(one.findings), one.mood)
        rows.append((one.experiment.name, one.experiment.question, told, f"{one.results.attrs['seconds']:.1f}"))
    columns = ("experiment", "question", "predictions", "seconds")
    return Table("Experiments, what became of their predictions, and what measuring took", columns, tuple(rows),
                 ("seconds",))  # fmt: skip


def _sections(one: Measured) -> list[Section]:
    return [
        Section("findings", "Prediction beside measurement", [_findings(one)]),
        Section("figure", "The measurement as a picture", [_picture(one)]),
        Section("experiment", "The experiment", [_told(one)]),
        Section("numbers", "What was measured", _numbers(one)),
        Section("origin", "Configuration and provenance", _origin(one)),
    ]


def _blocks(one: Measured) -> Iterator[Block]:
    """One of many: the same without its numbers, which the results file holds."""
    yield _findings(one)
    yield _picture(one)
    yield Heading("The experiment")
    yield _told(one)
    yield from _origin(one)[:1]


def _findings(one: Measured) -> Block:
    rows: list[tuple[Cell, ...]] = [
        (row["claim"], row["predicted"], row["measured"], Marked(row["verdict"], VERDICTS[finding.agrees]),
         row["source"])
        for row, finding in zip(laboratory.rows_of(one.findings), one.findings, strict=True)
    ]  # fmt: skip
    if not rows:
        return Sentence("It has no findings.", FAINT)
    return Table("Each prediction, and what was measured", ("claim", "predicted", "measured", "verdict", "source"),
                 tuple(rows))  # fmt: skip


def _told(one: Measured) -> Facts:
    sections = one.experiment.sections
    lines = tuple((word.lower(), sections[word].replace("``", "")) for word in TOLD if word in sections)
    return Facts(f"What {one.experiment.path.name} says", lines)


def _numbers(one: Measured) -> list[Block]:
    blocks: list[Block] = []
    for table in laboratory.number_tables(one.results):
        columns = tuple(table.rows[0]) if table.rows else ()
        rows: tuple[tuple[Cell, ...], ...] = tuple(tuple(row[name] for name in columns) for row in table.rows)
        blocks += [Heading(table.title), Table("Numbers are dimensionless unless said", columns, rows, columns[1:])]
        blocks.append(Facts("Columns", tuple(table.labels.items())))
    return blocks


def _origin(one: Measured) -> list[Block]:
    return [
        *results.settings_facts(laboratory.settings_of(one.results), "Settings"),
        *results.settings_facts(laboratory.origin_of(one.results), "Provenance"),
    ]


def _picture(one: Measured) -> Block:
    script = one.experiment.path.resolve().parent.parent / "figures" / f"{one.experiment.name}.py"
    if not script.is_file():
        return Sentence(f"There is no {script.parent.name}/{script.name} that draws it.", FAINT)
    alt = f"The figure of the experiment {one.experiment.name}"
    caption = f"python figures/{script.name} {one.experiment.name}.nc -o {one.experiment.name}.pdf draws this figure."
    try:
        return drawn(lambda: _drawing(script)(one.results), alt, caption)
    except Exception as error:
        return Sentence(f"{script.name} could not draw it ({type(error).__name__}: {error}).", DOUBT)


def _drawing(script: Path) -> Any:
    """The function ``page`` of a figure's script."""
    specification = importlib.util.spec_from_file_location(f"gradflow_figure_{script.stem}", script)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    with _beside(script):
        specification.loader.exec_module(module)
    return module.page


@contextlib.contextmanager
def _beside(script: Path) -> Iterator[None]:
    """Imports within the block find what lies beside the script, as when it is run, and leave no names behind."""
    known = set(sys.modules)
    sys.path.insert(0, str(script.parent))
    try:
        yield
    finally:
        sys.path.remove(str(script.parent))
        for name in set(sys.modules) - known:
            if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == script.parent:
                del sys.modules[name]
