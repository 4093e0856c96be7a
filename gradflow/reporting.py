"""A study in words and tables, for the terminal and for whoever reads it for the first time.

:func:`summary` says what ran, what was promised before, what was checked, where the flow ended and how fast, line by
line; :func:`row_of` says it in one row, for tables over several studies. On a terminal there are colours; in a file, a
pipe or under ``NO_COLOR`` plain text, in ASCII as far as the words are ours. Looks on: computes nothing that a study
does not hold, and never fails on one that went wrong.
"""

import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

import jax
import numpy as np
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gradflow.certificates import Certificate
from gradflow.critical_points import CriticalPoint
from gradflow.flow import ReducedFlow
from gradflow.problem import Landscape, Regression
from gradflow.status import Status
from gradflow.studies import Study

MAX_WIDTH = 110
"""Columns used at most: longer lines are hard to read."""

MAX_LISTED = 6
"""Numbers listed one by one; of more, the ends are named."""

GOOD, BAD, FAINT, LABEL, HEADING = "green", "bold red", "dim", "cyan", "bold"

PROMISES = {
    "boundedness": ("||params(t)|| never exceeds R = {}", "R"),
    "exponential_rate": ("the loss above its irreducible part falls at least as exp(-rate t), rate = {}", "rate"),
}
"""What a certificate says when it holds, with the number that matters."""

Lines = list[tuple[str, str | Text]]


def summary(study: Study) -> RenderableType:
    """Everything that a study says, as something that :mod:`rich` prints at any width (meant for 80 columns or more)."""
    parts: list[RenderableType] = [
        Text(_title(study), style=HEADING),
        *_section("What ran", _grid(_setup(study))),
        *_section("What happened", _grid(_outcome(study))),
        *_section("Promised before integrating", *(_certificate(promise) for promise in study.certificates)),
        *_section("Promised against observed", _checks(study)),
        *_section("Where it ended", _grid(_endpoint(study))),
        *_section("How fast it converged", _grid(_rate(study))),
        *_section("Stays near saddles on the way", _passages(study)),
        Text(),
        _verdict(study),
        Text(_origin(study.provenance), style=FAINT),
    ]
    return Group(*parts)


def print_summary(study: Study, file: TextIO | None = None, width: int | None = None) -> None:
    """Prints :func:`summary`, see :func:`show`."""
    show(summary(study), file, width)


def show(renderable: RenderableType, file: TextIO | None = None, width: int | None = None) -> None:
    """Prints to `file` (default: standard output), without colours unless it is a terminal and NO_COLOR is not set.

    Args:
        renderable: what to print.
        file: a text stream; what its encoding does not know is replaced by question marks.
        width: columns; default: the terminal's, 80 when there is none, :data:`MAX_WIDTH` at most.
    """
    stream = sys.stdout if file is None else file
    colours = None if os.environ.get("NO_COLOR") else "auto"
    console = Console(
        file=stream,
        width=width,
        color_system=colours,  # type: ignore[arg-type]
        force_jupyter=False,
        markup=False,
        highlight=False,
        emoji=False,
    )
    if width is None:
        console.width = min(console.width, MAX_WIDTH)
    with console.capture() as capture:
        console.print(renderable)
    text = "".join(line.rstrip() + "\n" for line in capture.get().splitlines())
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))


def row_of(study: Study) -> dict[str, str]:
    """The study in one row of a table over several: put a label before it, ``{"rtol": "1e-6"} | row_of(study)``.

    Columns: relative drift of the worst invariant, ``sup ||W|| / R``, loss above the least-squares optimum (the loss
    itself when that is not known), kind and captured set of the endpoint, attempted steps, seconds, and failed checks.
    """
    record, point, run = study.record, study.point, study.trajectory
    claimed = record["claimed"].values
    drift = record["relative_drift"].values[:, claimed].max() if claimed.any() else math.nan
    optimum = _optimum(study)
    failed = [check.name for check in study.checks if check.passed is False]
    return {
        "drift": _number(drift, 2),
        "sup/R": _number(run.largest_norm / float(record["bound"]), 3),
        "loss" if optimum is None else "excess loss": _number(point.loss - (optimum or 0.0), 3),
        "ended": str(run.status),
        "kind": _words(point.kind),
        "captured": _captured(point),
        "steps": str(run.num_steps),
        "seconds": f"{run.wall_seconds:.1f}",
        "failed": ", ".join(failed) or "none",
    }


def table_of(rows: Sequence[Mapping[str, str]]) -> Table:
    """Rows with the same columns as a table; a column is as wide as its content needs, text wraps."""
    table = Table(box=None, pad_edge=False, header_style=HEADING)
    for name in _columns(rows):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row.get(name, "-")) for name in _columns(rows)))
    return table


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows with the same columns as a Markdown table."""
    names = _columns(rows)
    lines = [names, ["---"] * len(names), *([row.get(name, "-") for name in names] for row in rows)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _columns(rows: Iterable[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _section(title: str, *parts: RenderableType) -> list[RenderableType]:
    return [Text(), Text(title, style=HEADING), *(parts or (Text("nothing", style=FAINT),))]


def _grid(lines: Lines) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=LABEL, no_wrap=True, min_width=12)
    grid.add_column(overflow="fold", ratio=1)
    for label, text in lines:
        grid.add_row(Text("  " + label), Text(text) if isinstance(text, str) else text)
    return grid


def _title(study: Study) -> str:
    problem = getattr(study.flow, "problem", None)
    if isinstance(problem, Regression):
        kind = "reduced flow" if isinstance(study.flow, ReducedFlow) else "Gradient flow"
        return f"{kind.capitalize()} of a network fitted to data, from one start"
    return "Gradient flow of a landscape, from one start"


def _setup(study: Study) -> Lines:
    run, loss = study.trajectory, study.record["loss"].values
    size = float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(run.start))))
    until = "the flow ends, however long that takes" if run.t1 == math.inf else f"t = {_number(run.t1)} at the latest"
    until = f"t = {_number(run.t1)}, backwards" if run.t1 < 0 else until
    lines = [
        *_problem(study),
        ("start", f"||params|| = {_number(size)}, loss {_number(loss[0])}"),
        ("solver", f"{run.solver} ({run.solver_reason}), rtol {run.rtol:g}, atol {run.atol:g}"),
        ("until", until),
    ]
    settings = [f"{name} = {value}" for name, value in study.settings.items() if _is_short(value)]
    return [*lines, ("settings", ", ".join(settings))] if settings else lines


def _problem(study: Study) -> Lines:
    flow, problem = study.flow, getattr(study.flow, "problem", None)
    count = sum(np.size(leaf) for leaf in jax.tree.leaves(study.trajectory.start))
    if isinstance(problem, Landscape):
        return [("landscape", f"{problem.name}, {count} parameters")]
    if not isinstance(problem, Regression):
        return [("problem", f"{count} parameters; the loss itself is not known here (a file does not hold functions)")]
    original = flow.original if isinstance(flow, ReducedFlow) else problem
    (d_in, samples), d_out = original.X.shape, original.Y.shape[0]
    widths = "-".join(str(width) for width in (problem.network.shapes[0][1], *(r for r, _ in problem.network.shapes)))
    depth = f"{problem.num_hidden} hidden layer" + ("" if problem.num_hidden == 1 else "s")
    mean = "averaged" if problem.normalization == "mean" else "summed"
    squared = "half the squared error" if problem.loss_function.__name__ == "squared_error" else "a loss of the user's"
    extra = "" if problem.regularizer is None else f", plus {_regularizer(problem.regularizer)}"
    own = "the gradient flow of the weights, dW/dt = -grad L(W)"
    reduced = "the gradient flow in SVD-reduced coordinates (paper 003); all norms and entries are in these"
    return [
        ("data", f"{samples} samples, {d_in} inputs and {d_out} targets each"),
        ("network", f"{type(problem.network).__name__} {widths}: {depth}, {count} parameters"),
        ("loss", f"{squared}, {mean} over the samples{extra}"),
        ("flow", reduced if isinstance(flow, ReducedFlow) else own),
    ]


def _regularizer(regularizer: Any) -> str:
    strength = getattr(regularizer, "strength", None)
    return type(regularizer).__name__ + ("" if strength is None else f" of strength {float(strength):g}")


def _outcome(study: Study) -> Lines:
    run, record = study.trajectory, study.record
    loss, growth = record["loss"].values, record.attrs.get("growth", "unknown")
    style = BAD if run.status.is_failure else "yellow" if run.status is not Status.STATIONARY else GOOD
    ended = Text.assemble((str(run.status), style), f" at t = {_number(run.end_time)}. {run.status.remedy}")
    grows = {"growing": ", still growing at the end", "settled": ", settled at the end"}.get(growth, "")
    return [
        ("ended", ended),
        ("loss", f"{_number(loss[0])} -> {_number(loss[-1])}"),
        ("norm", f"||params|| was {_number(run.largest_norm)} at most{grows}"),
        ("work", f"{run.num_accepted} steps and {run.num_rejected} rejected ones in {run.wall_seconds:.1f} s"),
    ]


def _certificate(certificate: Certificate) -> RenderableType:
    sentence, key = PROMISES.get(certificate.name, ("{}", ""))
    number = _number(certificate.values.get(key, math.nan))
    answer, words = {
        True: (("yes", GOOD), sentence.format(number)),
        False: (("no", "yellow"), certificate.note or "a hypothesis fails"),
        None: (("not certified", "yellow"), "there is no theory for this problem"),
    }[certificate.holds]
    lines: Lines = [("numbers", ", ".join(f"{name} = {_number(value)}" for name, value in certificate.values.items()))]
    for value, label, style in ((True, "holds", GOOD), (False, "FAILS", BAD), (None, "unknown", "yellow")):
        texts = [hypothesis.statement for hypothesis in certificate.hypotheses if hypothesis.holds is value]
        lines.append((label, Text.assemble(*_joined(texts, style))))
    lines.append(("source", certificate.source))
    head = Text.assemble((_words(certificate.name), LABEL), ": ", answer, f". {words}.")
    return Group(Padding(head, (0, 0, 0, 2)), _grid([(f"  {name}", text) for name, text in lines if len(text)]))


def _joined(texts: list[str], style: str) -> list[tuple[str, str]]:
    """The texts in one line, with separators that stand out."""
    parts = [part for text in texts for part in (("; ", style), (text, ""))]
    return parts[1:]


def _checks(study: Study) -> Table:
    table = Table(box=None, pad_edge=False, header_style=FAINT, padding=(0, 2, 0, 0))
    table.add_column("  check", style=LABEL, no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("limit", justify="right", no_wrap=True)
    table.add_column("what was compared", overflow="fold", ratio=1)
    words = {True: ("passed", GOOD), False: ("FAILED", BAD), None: ("not applicable", FAINT)}
    for check in study.checks:
        limit = f"{'>=' if check.name == 'rate' else '<='} {_number(check.limit, 3)}"
        has_limit = math.isfinite(check.limit) and check.name != "ended"
        table.add_row(
            Text("  " + check.name),
            Text(*words[check.passed]),
            _number(check.measured, 3),
            limit if has_limit else "-",
            Text(check.statement),
        )
    return table


def _endpoint(study: Study) -> Lines:
    point = study.point
    is_said = point.reason.lower().startswith(_words(point.kind))
    kind = Text(point.reason) if is_said else Text.assemble((_words(point.kind), HEADING), f". {point.reason}")
    moved = f"; refinement moved the state by {_number(point.displacement, 3)}" if point.displacement else ""
    lines: Lines = [
        ("kind", kind),
        ("loss", _loss_of(study)),
        ("gradient", f"||grad L|| = {_number(point.grad_norm, 3)}{moved}"),
        ("Hessian", _hessian(point)),
    ]
    if point.rank is not None:
        values = _listed(study.record["target_singular_value"].values)
        ranks = f"r = {point.rank}, r_Z = {_number(point.rank_z)}"
        lines.append(("captured", f"{_captured(point)} of the target's singular values {values}; {ranks}"))
    if point.value is not None:
        off = _number(abs(point.loss - point.value), 3)
        lines.append(("Lemma 2", f"such points have the loss {_number(point.value)}; this one differs by {off}"))
    return lines


def _loss_of(study: Study) -> str:
    optimum, loss = _optimum(study), study.point.loss
    if optimum is None:
        return _number(loss)
    problem = getattr(study.flow, "problem", None)
    what = "least-squares optimum" if getattr(problem, "regularizer", None) is None else "unregularised optimum"
    text = f"{_number(loss)}; the {what} is {_number(optimum)}, the excess {_number(loss - optimum, 3)}"
    lowest = float(study.record["greedy_level"].values[-1])
    is_narrow = lowest - optimum > 1e-9 * abs(study.record["loss"].values[0])
    return text + (f"; a network this narrow can reach {_number(lowest)}" if is_narrow else "")


def _optimum(study: Study) -> float | None:
    """The irreducible loss of a linear network; None where none is known."""
    is_linear = "greedy_level" in study.record
    return float(study.record["irreducible_loss"]) if is_linear else None


def _hessian(point: CriticalPoint) -> str:
    values = point.eigenvalues
    if not len(values) or not np.isfinite(values).all():
        return "not computed"
    ends = f"eigenvalues from {_number(values[0], 3)} to {_number(values[-1], 3)}"
    if point.index is None:
        return ends + ("" if point.spectrum == "dense" else f" (the {len(values)} at the ends were computed)")
    zero = f"of {len(values)} eigenvalues within {_number(point.zero_tolerance, 2)} of zero"
    return f"Morse index {point.index} (negative eigenvalues), nullity {point.nullity} ({zero}); {ends}"


def _rate(study: Study) -> Lines:
    rate = study.rate
    window = f"fitted for t from {_number(rate.window[0], 4)} to {_number(rate.window[1], 4)}, {rate.num_points} points"
    observed = rate.reason
    if rate.law == "exponential":
        value = f"rate = {_number(rate.rate, 5)} +- {_number(rate.standard_error, 2)}"
        observed = f"the loss falls to its limit like exp(-rate t), {value} ({window})"
    elif rate.law == "power":
        value = f"p = {_number(rate.exponent, 5)} +- {_number(rate.standard_error, 2)}"
        observed = f"the loss falls to its limit like a power of time, t^(-p), {value} ({window})"
    promised = [promise for promise in study.certificates if promise.name == "exponential_rate" and promise.holds]
    certified = "no rate was promised for this start"
    if promised:
        certified = f"a rate of at least {_number(promised[0].values['rate'], 5)} was promised"
    return [("observed", observed), ("certified", certified)]


def _passages(study: Study) -> RenderableType:
    if not study.trajectory.passages:
        return Text("  none", style=FAINT)
    rows, unresolved = [], False
    for passage in study.trajectory.passages:
        end = study.trajectory.end_time if passage.end is None else passage.end
        unresolved = unresolved or passage.is_resolved is False
        rows.append(
            {
                "  from t": "  " + _number(passage.start, 4),
                "to t": "the end" if passage.end is None else _number(passage.end, 4),
                "stay": _number(end - passage.start, 4),
                "loss there": _number(passage.loss),
                "lowest eigenvalue": _number(passage.lowest_eigenvalue, 3),
                "resolved": {True: "yes", False: "NO", None: "unknown"}[passage.is_resolved],
            }
        )
    note = Text("  Not resolved: the start is on the stable manifold to tolerance; rounding chose where to go on.")
    return Group(table_of(rows), note) if unresolved else table_of(rows)


def _verdict(study: Study) -> Text:
    failed = [check.name for check in study.checks if check.passed is False]
    passed = sum(check.passed is True for check in study.checks)
    if failed:
        return Text(f"{len(failed)} of {len(study.checks)} checks FAILED: {', '.join(failed)}.", style=BAD)
    left = len(study.checks) - passed
    return Text(f"All {passed} checks passed" + (f", {left} had nothing to compare." if left else "."), style=GOOD)


def _origin(provenance: Mapping[str, Any]) -> str:
    commit = str(provenance.get("git_commit", "unknown"))
    edited = " with local changes" if provenance.get("git_dirty") and commit != "unknown" else ""
    versions = [f"{name} {provenance.get(f'{name}_version', 'unknown')}" for name in ("gradflow", "jax", "python")]
    facts = [provenance.get(name) for name in ("device", "precision", "created_at")]
    known = [str(fact) for fact in facts if fact is not None]
    return ", ".join([versions[0], f"commit {commit[:12]}{edited}", *versions[1:], *known])


def _captured(point: CriticalPoint) -> str:
    if point.captured is None:
        return "-" if point.counts is None else f"{point.counts} per group of equal ones"
    names = [f"s_{index + 1}" for index in point.captured]
    is_run = point.captured == tuple(range(len(names)))
    return f"{{{names[0]}, ..., {names[-1]}}}" if is_run and len(names) > 3 else "{" + ", ".join(names) + "}"


def _listed(values: np.ndarray) -> str:
    if len(values) <= MAX_LISTED:
        return ", ".join(_number(value, 4) for value in values)
    return f"{_number(values[0], 4)}, {_number(values[1], 4)}, ..., {_number(values[-1], 4)}"


def _is_short(value: Any) -> bool:
    return value is not None and isinstance(value, str | int | float | tuple) and len(str(value)) <= 40


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: float | None, digits: int = 6) -> str:
    if value is None:
        return "not known"
    return "-" if math.isnan(value) else f"{float(value):.{digits}g}"
