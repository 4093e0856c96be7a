"""Reports: a study or an estimate of basins as one HTML page.

Chooses what is on the page and in which order; how blocks are written, drawn and computed is the business of the other
modules of this room. What cannot be shown is named on the page, with the reason.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradflow import checks, reporting, store
from gradflow.basins import BasinEstimate
from gradflow.flow import AbstractFlow
from gradflow.html import results
from gradflow.html.blocks import Block, Facts, Heading, Page, Raw, Section, Sentence, page_text
from gradflow.html.drawings import basin_pictures, grid_pictures, study_picture
from gradflow.html.explorer import explorer, summary_of
from gradflow.html.scenes import Missing, Scene, scene_of_estimate, scene_of_study
from gradflow.html.sentences import sections_of
from gradflow.html.tracks import RESOLUTION, trace
from gradflow.precision import in_double
from gradflow.reporting.words import words
from gradflow.store.files import BASINS, kind_of
from gradflow.studies import Study
from gradflow.trajectories import Trajectory

STUDY = "study.nc"
"""The results file in a folder of ``gradflow run``."""

UNFINISHED = "settings.json"
"""What the folder of an estimate of basins has from its beginning on."""


def read(path: str | os.PathLike[str]) -> Study | BasinEstimate:
    """The study or the estimate in a results file, or in the folder of a run or of an estimate.

    Raises:
        InputError: not a path, or a folder without results of a run.
        ResultsFileError: a file that holds neither; the message says what it is.
        OSError: there is no such file, or it may not be read.
    """
    checks.require(isinstance(path, str | os.PathLike), "path", "be a file name", repr(path))
    place = Path(path)
    if place.is_dir():
        place = _file_in(place)
    return store.load_basins(place) if kind_of(place) == BASINS else store.load(place)


def _file_in(folder: Path) -> Path:
    """The results file in a folder."""
    for name in (STUDY, store.ESTIMATE):
        if (folder / name).is_file():
            return folder / name
    found = ", ".join(sorted(file.name for file in folder.glob("*.nc")))
    remedy = f"It holds {found}; name one of them." if found else "It holds no results file."
    if not found and (folder / UNFINISHED).is_file() and (folder / "parts").is_dir():
        remedy = (
            f"It is an estimate without its {store.ESTIMATE}: give the command that made it, `gradflow basins ... "
            f"--folder {folder}`, again, which goes on where it was; in Python, gradflow.store.save_basins."
        )
    raise checks.InputError(
        f"`path` must be a results file or a folder with {STUDY} or {store.ESTIMATE}, but got {folder}. {remedy}"
    )


@in_double
def report(
    result: Study | BasinEstimate,
    *,
    flow: AbstractFlow | None = None,
    window: Any = None,
    resolution: int = RESOLUTION,
    interactive: bool = True,
) -> str:
    """One HTML document about a run or an estimate of basins, with everything in it that it needs.

    Args:
        result: a study or an estimate, computed or loaded.
        flow: the flow, for a loaded result whose function is its author's.
        window: ranges ``((low, high), (low, high))`` of the explorer of a flow with two parameters.
        resolution: starts along each axis of the explorer.
        interactive: False leaves the explorer out, and with it all scripts.

    Raises:
        InputError: neither a study nor an estimate, or a wrong window or resolution.
    """
    kinds = "be a Study or a BasinEstimate"
    remedy = "Read a results file with gradflow.html.read(path)."
    checks.require(isinstance(result, Study | BasinEstimate), "result", kinds, type(result).__name__, remedy)
    checks.require(flow is None or isinstance(flow, AbstractFlow), "flow", "be a flow", type(flow).__name__)
    if isinstance(result, Study):
        scene: Scene | Missing = scene_of_study(result, flow, window)
        page, run = _study_page(result, scene), result.trajectory
        return page_text(_with_explorer(page, scene, resolution, interactive, run))
    scene = scene_of_estimate(result, flow, window)
    return page_text(_with_explorer(_basin_page(result, scene), scene, resolution, interactive, None))


def write_report(
    result: Study | BasinEstimate, path: str | os.PathLike[str], overwrite: bool = False, **options: Any
) -> Path:
    """Writes :func:`report` of a result into a file, whole or not at all, and returns its path.

    Args:
        result, **options: as for :func:`report`.
        path: a file such as ``report.html``.
        overwrite: replace a file that is there.

    Raises:
        InputError: as :func:`report`.
        OSError: the file cannot be written, or is there already.
    """
    store.check_writable(path, overwrite)
    return store.write_text(path, report(result, **options), overwrite)


def _study_page(study: Study, scene: Scene | Missing) -> Page:
    said = sections_of(study)
    promises: list[Block] = []
    for certificate in study.certificates:
        promises += [Heading(words(certificate.name).capitalize())]
        promises += results.certificate_blocks(certificate, results.observed_beside(certificate, study))
    spectrum = results.spectrum_line(study.point)
    sections = [
        Section("ran", "What ran", [Facts("The problem and how it was integrated", said.setup)]),
        Section("happened", "What happened", [
            Facts("How the run went", said.outcome), *results.event_blocks(study.trajectory), study_picture(study),
        ]),
        Section("promises", "Promised before integrating", promises or [Sentence("Nothing is promised.")]),
        Section("checks", "Promised against observed", [results.check_table(study), Sentence(said.verdict)]),
        Section("invariants", "Conserved quantities", results.invariant_blocks(study)),
        Section("saddles", "Stays near saddles", results.passage_blocks(study.trajectory)),
        Section("endpoint", "Where it ended", [Facts("Endpoint, refined and classified", said.endpoint + spectrum)]),
        Section("rate", "How fast it converged", [Facts("Observed and certified", said.rate)]),
        Section("origin", "Configuration and provenance", _origin(study.settings, study.provenance)),
    ]  # fmt: skip
    reasons = []
    if study.flow is None:
        reasons.append("The loss function itself is not in the file; everything above is from numbers that are.")
    if isinstance(scene, Missing):
        reasons.append(scene.reason)
    return Page(said.title, [Sentence(said.verdict)], _with_omissions(sections, reasons), _footer(study.provenance))


def _basin_page(estimate: BasinEstimate, scene: Scene | Missing) -> Page:
    facts = estimate.facts
    origin = dict(facts.get("provenance", {})) or {"gradflow_version": facts.get("version", "unknown")}
    names = ("num_samples", "t1", "rtol", "atol", "grad_tol", "max_norm", "max_steps", "level", "half_width", "kernel",
             "wall_seconds", "outcome")  # fmt: skip
    followed = {name: facts[name] for name in names if facts.get(name) is not None}
    pictures, reasons = basin_pictures(estimate)
    if isinstance(scene, Missing):
        reasons.append(scene.reason)
    num_special = sum(int(count) for count in estimate.counts[-3:])
    found = f"{estimate.num_classes} class{'es' * (estimate.num_classes != 1)} of limits"
    lead = (
        f"{found} in {estimate.num_samples:,} starts; {estimate.undetermined:,} undetermined, "
        f"{num_special - estimate.undetermined:,} escaped or not finite."
    )
    sections = [
        Section("classes", "Classes and their shares", results.basin_blocks(estimate)),
        Section("pictures", "Pictures", pictures),
        Section("ends", "Where each class lies", results.class_places(estimate)),
        Section("origin", "Configuration and provenance", [
            *results.settings_facts(facts.get("settings", {}), "Settings"),
            *results.settings_facts(followed, "How starts were followed"), *_provenance(origin),
        ]),
    ]  # fmt: skip
    return Page(reporting.basin_title(estimate), [Sentence(lead)], _with_omissions(sections, reasons), _footer(origin))


def _with_omissions(sections: list[Section], reasons: list[str]) -> list[Section]:
    return sections + [Section("omitted", "What this page leaves out", results.left_out(reasons))] * bool(reasons)


def _with_explorer(
    page: Page, scene: Scene | Missing, resolution: int, interactive: bool, run: Trajectory | None
) -> Page:
    """The page with the explorer as its second section, where there is a scene for it."""
    if isinstance(scene, Missing):
        return page
    tracks = trace(scene.flow, scene.window, scene.like, resolution, known=scene.known)
    still = [Raw('<div class="still">'), *grid_pictures(scene, tracks, run), Raw("</div>")]
    blocks: list[Block] = [Sentence(summary_of(tracks, interactive))]
    scripts = ""
    if interactive:
        place, scripts = explorer(scene, tracks, run)
        blocks.append(place)
    section = Section("explorer", "Explore the flow" if interactive else "The flow in its plane", [*blocks, *still])
    return dataclasses.replace(page, sections=[page.sections[0], section, *page.sections[1:]], scripts=scripts)


def _origin(settings: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[Block]:
    return [*results.settings_facts(settings, "Settings"), *_provenance(provenance)]


def _provenance(provenance: Mapping[str, Any]) -> list[Block]:
    return results.settings_facts(provenance, "Provenance")


def _footer(provenance: Mapping[str, Any]) -> str:
    version, made = provenance.get("gradflow_version", "unknown"), provenance.get("created_at", "an unknown time")
    return f"Results of gradflow {version}, computed at {made}. This page needs no network."
