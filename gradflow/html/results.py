"""Results as blocks of a page: certificates, checks, invariants, passages, endpoints, rates, basins.

Each function takes one thing and returns blocks; reports put them in order and rich representations show them alone.
Sentences are those of :mod:`gradflow.reporting`, so that the terminal and the page say the same. Computes nothing that
a result does not hold.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradflow import reporting
from gradflow.basins import BasinEstimate
from gradflow.certificates import Certificate
from gradflow.critical_points import CriticalPoint
from gradflow.html.blocks import BAD, DOUBT, FAINT, GOOD, Block, Cell, Facts, Listing, Marked, Sentence, Table
from gradflow.invariants import invariants_of
from gradflow.reporting.words import captured, listed, number, words
from gradflow.studies import Study
from gradflow.trajectories import Trajectory

MOST_EIGENVALUES = 24
"""Eigenvalues listed one by one; of more, the lowest and the highest."""

TRUTH = {True: Marked("holds", GOOD), False: Marked("fails", BAD), None: Marked("unknown", DOUBT)}
ANSWERS = {True: Marked("promised", GOOD), False: Marked("not promised", DOUBT), None: Marked("no theory", DOUBT)}
RESULTS = {True: Marked("passed", GOOD), False: Marked("FAILED", BAD), None: Marked("nothing to compare", FAINT)}

BOUNDS = {"boundedness": "R", "exponential_rate": "rate"}
"""The number of a certificate that a run is held against."""


def certificate_blocks(certificate: Certificate, observed: str = "") -> list[Block]:
    """The answer, the numbers, and each hypothesis with its truth value; `observed` is what a run did about it."""
    values = ", ".join(f"{name} = {number(value)}" for name, value in certificate.values.items())
    lines: list[tuple[str, Cell]] = [("answer", ANSWERS[certificate.holds])]
    lines += [("numbers", values)] * bool(values) + [("observed", observed)] * bool(observed)
    lines += [("source", certificate.source)] + [("note", certificate.note)] * bool(certificate.note)
    blocks: list[Block] = [Facts(f"Certificate: {words(certificate.name)}", tuple(lines))]
    rows = tuple((hypothesis.statement, TRUTH[hypothesis.holds]) for hypothesis in certificate.hypotheses)
    return blocks + [Table("Its hypotheses", ("hypothesis", "here"), rows)] * bool(rows)


def observed_beside(certificate: Certificate, study: Study) -> str:
    """What the run did about a promise, in a sentence; empty where a run says nothing about it."""
    name = BOUNDS.get(certificate.name)
    if name is None or certificate.holds is not True or study.trajectory.t1 < 0:
        return ""
    bound = certificate.values[name]
    if certificate.name == "boundedness":
        largest = study.trajectory.largest_norm
        return f"sup ||params(t)|| = {number(largest)} over all steps, {number(largest / bound, 3)} of the bound R"
    rate = study.rate
    if rate.law != "exponential":
        return f"the loss decays by another law: {rate.law}"
    return f"rate {number(rate.rate, 5)} +- {number(rate.standard_error, 2)}, at least {number(bound, 5)} was promised"


def check_table(study: Study) -> Table:
    """Every promise against the run."""
    rows = []
    for check in study.checks:
        has_limit = math.isfinite(check.limit) and check.name != "ended"
        limit = f"{'≥' if check.name == 'rate' else '≤'} {number(check.limit, 3)}" if has_limit else "-"
        rows.append((check.name, RESULTS[check.passed], number(check.measured, 3), limit, check.statement))
    columns = ("check", "result", "measured", "limit", "what was compared")
    return Table("Promises and conservation laws against the run", columns, tuple(rows), ("measured", "limit"))


def invariant_blocks(study: Study) -> list[Block]:
    """Each conserved quantity with its formula, its largest drift along the run, and what the tolerance explains."""
    record, rows = study.record, []
    known = () if study.flow is None else invariants_of(study.flow)  # a file may not tell the flow
    formulas = {invariant.name: invariant.formula for invariant in known}
    for index, name in enumerate(record["invariant"].values.tolist()):
        claimed = bool(record["claimed"].values[index])
        verdict = TRUTH_OF_DRIFT[bool(record["consistent"].values[index])] if claimed else Marked("not claimed", FAINT)
        largest = [float(np.max(record[kind].values[:, index])) for kind in ("drift", "relative_drift")]
        limit = number(float(record["drift_tolerance"].values[index]), 2) if claimed else "-"
        rows.append((name, formulas.get(name, ""), *(number(value, 3) for value in largest), limit, verdict))
    if not rows:
        return [Sentence("No conserved quantity is known for this flow.")]
    columns = ("quantity", "formula", "largest drift", "relative", "explained by tolerance", "verdict")
    table = Table(
        "Conserved quantities and their drift along the run (dimensionless)", columns, tuple(rows), columns[2:5]
    )
    note = (
        "Drift is the largest change of an entry of the quantity; relative, by what an error of the weights does to it."
    )
    return [table, Sentence(note, FAINT)]


TRUTH_OF_DRIFT = {True: Marked("conserved to tolerance", GOOD), False: Marked("DRIFTS", BAD)}


def passage_blocks(trajectory: Trajectory) -> list[Block]:
    """Stays near saddles on the way."""
    if not trajectory.passages:
        return [Sentence("The run passed no saddle that it had to stay at.")]
    rows = []
    resolved = {True: Marked("yes", GOOD), False: Marked("NO", BAD), None: Marked("unknown", DOUBT)}
    for passage in trajectory.passages:
        end = trajectory.end_time if passage.end is None else passage.end
        rows.append((
            number(passage.start, 4), "the end" if passage.end is None else number(passage.end, 4),
            number(end - passage.start, 4), number(passage.loss), number(passage.lowest_eigenvalue, 3),
            resolved[passage.is_resolved],
        ))  # fmt: skip
    columns = ("from t", "to t", "stay", "loss there", "lowest eigenvalue", "resolved")
    blocks: list[Block] = [Table("Stays near saddles, in flow time", columns, tuple(rows), columns[:-1])]
    if any(passage.is_resolved is False for passage in trajectory.passages):
        text = "Not resolved: the start is on the stable manifold to tolerance; rounding chose where to go on."
        blocks.append(Sentence(text, DOUBT))
    return blocks


def event_blocks(trajectory: Trajectory) -> list[Block]:
    """Events that were asked for and met; nothing where there is none."""
    rows, more = reporting.event_rows(trajectory), reporting.more_events(trajectory)
    if not rows:
        return []
    columns = tuple(rows[0])
    table = Table(
        "Events met, in flow time", columns, tuple(tuple(row.values()) for row in rows), ("at t", "left of it")
    )
    return [table, Sentence(more, FAINT)] if more else [table]


def point_blocks(point: CriticalPoint) -> list[Block]:
    """A classified state: kind, captured set, Hessian."""
    lines: list[tuple[str, Cell]] = [
        ("kind", Marked(words(point.kind), GOOD if point.is_decided else DOUBT)),
        ("reason", point.reason),
        ("loss", number(point.loss)),
        ("gradient norm", number(point.grad_norm, 3)),
    ]
    if point.captured is not None or point.counts is not None:
        lines.append(("captured", f"{captured(point)} of the target's singular values"))
    if point.rank is not None:
        lines.append(("ranks", f"r = {point.rank}, r_Z = {number(point.rank_z)}"))
    if point.value is not None:
        lines.append(("critical value", f"{number(point.value)} by Lemma 2 of paper 003"))
    if point.index is not None:
        tolerance = number(point.zero_tolerance, 2)
        lines.append(("Morse index", f"{point.index}; nullity {point.nullity} (zero: within {tolerance})"))
    return [Facts("Critical point", (*lines, *spectrum_line(point)))]


def spectrum_line(point: CriticalPoint) -> tuple[tuple[str, str], ...]:
    """The eigenvalues of the Hessian, if there are any."""
    values = np.asarray(point.eigenvalues)
    return (("spectrum", _spectrum(values, point.spectrum)),) if len(values) else ()


def _spectrum(values: np.ndarray, form: str) -> str:
    what = f"all {len(values)} eigenvalues" if form == "dense" else f"{len(values)} eigenvalues, from both ends"
    if not np.isfinite(values).all():
        return f"{what}, not all finite"
    if len(values) <= MOST_EIGENVALUES:
        return f"{what}: {', '.join(number(value, 4) for value in values)}"
    half = MOST_EIGENVALUES // 4
    ends = [", ".join(number(value, 4) for value in part) for part in (values[:half], values[-half:])]
    return f"{what}: {ends[0]}, ..., {ends[1]}"


def trajectory_blocks(trajectory: Trajectory) -> list[Block]:
    """How an integration ended, and its cost."""
    status = trajectory.status
    mood = BAD if status.is_failure else GOOD if str(status) == "stationary" else DOUBT
    lines: list[tuple[str, Cell]] = [
        ("ended", Marked(str(status), mood)),
        ("at flow time", number(trajectory.end_time)),
        ("meaning", status.remedy),
        ("largest norm", number(trajectory.largest_norm)),
        ("steps", f"{trajectory.num_accepted:,} accepted, {trajectory.num_rejected:,} rejected"),
        ("rows", f"{len(trajectory.times):,} kept"),
        ("solver", f"{trajectory.solver} ({trajectory.solver_reason})"),
        ("tolerances", f"rtol {trajectory.rtol:g}, atol {trajectory.atol:g}"),
    ]
    lines += [("kinks", trajectory.kinks)] * bool(trajectory.kinks)
    lines += [("stays near saddles", str(len(trajectory.passages)))]
    return [Facts("Trajectory", tuple((name, text) for name, text in lines if text))]


def basin_blocks(estimate: BasinEstimate) -> list[Block]:
    """The table of an estimate with every row, why starts are undetermined, and what the table cannot say."""
    rows = reporting.basin_rows(estimate)
    measured = ("median time", "10 to 90 %", "steps", "loss", "kind")
    counted = tuple(name for name in rows[0] if name not in (*measured, "ends at"))
    blocks: list[Block] = [
        _columns("Where the starts end", rows, ("ends at", *counted), counted[:2]),
        _columns("How they get there: flow times, attempted steps, the class's loss (dimensionless)",
                 [row for row in rows if row["starts"] != "0"], ("ends at", *measured), measured[:4]),
    ]  # fmt: skip
    reasons = tuple((reason, f"{count:,}") for reason, count in estimate.reasons.items() if count)
    if reasons:
        blocks.append(Table("Why starts are undetermined", ("reason", "starts"), reasons, ("starts",)))
    blocks.append(Facts("What the table cannot say", tuple(_said(reporting.basin_notes(estimate)))))
    return blocks


def _columns(caption: str, rows: list[dict[str, str]], columns: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    return Table(caption, columns, tuple(tuple(row[name] for name in columns) for row in rows), numbers)


def _said(notes: list[tuple[str, str]]) -> list[tuple[str, Cell]]:
    """Notes with every line under a keyword: one without goes on with the line before."""
    lines: list[tuple[str, Cell]] = []
    for keyword, text in notes:
        if keyword or not lines:
            lines.append((keyword, text))
        else:
            lines[-1] = (lines[-1][0], f"{lines[-1][1]}{' ' if str(lines[-1][1]).endswith(':') else '; '}{text}")
    return lines


def settings_facts(settings: Mapping[str, Any], caption: str) -> list[Block]:
    """What was asked for, each setting in a line."""
    lines = tuple((words(str(name)), _setting(value)) for name, value in settings.items())
    return [Facts(caption, lines)] if lines else [Sentence("No settings were recorded with the result.", FAINT)]


def _setting(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return listed(value.ravel()) if value.dtype.kind in "fiu" else f"an array of shape {value.shape}"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, tuple | list):
        shown = [str(entry) for entry in value]
        return ", ".join(shown) if len(shown) <= 12 else f"{', '.join(shown[:6])}, ... ({len(shown)} in all)"
    return str(value)


def left_out(reasons: list[str]) -> list[Block]:
    """What a page leaves out."""
    return [Listing(tuple(reasons))]


def class_places(estimate: BasinEstimate) -> list[Block]:
    """For each class its first start and where that ended, as far as a page has room for parameters."""
    if estimate.ends.shape[1] > MOST_COORDINATES:
        size = estimate.ends.shape[1]
        return [Sentence(f"States have {size} parameters, too many for a page; the results file holds them.", FAINT)]
    rows = []
    for label, first, start, end in zip(estimate.labels, estimate.first, estimate.starts, estimate.ends, strict=True):
        if first >= 0:
            rows.append((label, f"{int(first):,}", _point_text(start), _point_text(end)))
    columns = ("ends at", "its first start", "starts at", "and ends at")
    return [Table("The first start of each row, and its end", columns, tuple(rows), ("its first start",))]


MOST_COORDINATES = 6


def _point_text(values: np.ndarray) -> str:
    return "(" + ", ".join(number(float(value), 5) for value in np.asarray(values) + 0.0) + ")"
