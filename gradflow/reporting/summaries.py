"""One study in words, section by section: :func:`summary`.

Knows a study and :mod:`rich`; no stream. A study of a run that went wrong, or one whose flow a file could not hold,
says what it knows.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gradflow.certificates import Certificate
from gradflow.critical_points import CriticalPoint
from gradflow.flow import ReducedFlow
from gradflow.losses import squared_error
from gradflow.problem import Landscape, Regression
from gradflow.regularizers import Balance, WeightDecay
from gradflow.reporting.tables import table_of
from gradflow.reporting.words import (
    BAD,
    DOUBT,
    FAINT,
    GOOD,
    HEADING,
    LABEL,
    captured,
    listed,
    number,
    optimum,
    words,
)
from gradflow.status import Status
from gradflow.studies import Study
from gradflow.trajectories import Trajectory

PROMISES = {
    "boundedness": ("||params(t)|| never exceeds R = {}", "R"),
    "exponential_rate": ("the loss above its irreducible part falls at least as exp(-rate t), rate = {}", "rate"),
}
"""What a certificate says when it holds, with the number that matters; of another kind, its note."""

SAID = ("flow", "normalization", "weight_decay", "t1", "rtol", "atol", "solver")
"""Settings that other lines of the report say."""

Lines = list[tuple[str, str | Text]]


def summary(study: Study) -> RenderableType:
    """Everything that a study says, as something that :mod:`rich` prints (at 80 columns or more)."""
    promises = [_certificate(promise) for promise in study.certificates]
    if _is_backward(study):
        promises.append(Text("  Promises are about t > 0; this run went backwards.", style=FAINT))
    parts: list[RenderableType] = [
        Text(title_of(study), style=HEADING),
        *_section("What ran", _grid(setup_of(study))),
        *_section("What happened", _grid(outcome_of(study))),
        *_section("Promised before integrating", *promises),
        *_section("Promised against observed", _checks(study)),
        *_section("Where it ended", _grid(endpoint_of(study))),
        *_section("How fast it converged", _grid(rate_of(study))),
        *_section("Stays near saddles on the way", _passages(study)),
        *(_section("Events met", *_events(study.trajectory)) if study.trajectory.events else ()),
        Text(),
        verdict_of(study),
        Text(_origin(study.provenance), style=FAINT),
    ]
    return Group(*parts)


def _section(title: str, *parts: RenderableType) -> list[RenderableType]:
    return [Text(), Text(title, style=HEADING), *(parts or (Text("nothing", style=FAINT),))]


def _grid(lines: Lines) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=LABEL, no_wrap=True, overflow="crop", min_width=12)
    grid.add_column(overflow="fold", ratio=1)
    for label, text in lines:
        grid.add_row(Text("  " + label), Text(text) if isinstance(text, str) else text)
    return grid


def title_of(study: Study) -> str:
    """What ran, in a headline."""
    problem = getattr(study.flow, "problem", None)
    kind = "Reduced flow" if isinstance(study.flow, ReducedFlow) else "Gradient flow"
    if isinstance(problem, Regression):
        return f"{kind} of a network fitted to data, from one start"
    return f"{kind} of a landscape, from one start" if isinstance(problem, Landscape) else f"{kind}, from one start"


def setup_of(study: Study) -> Lines:
    """The lines of "What ran"."""
    run, loss = study.trajectory, study.record["loss"].values
    size = float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(run.start))))
    until = "the flow ends, however long that takes" if run.t1 == math.inf else f"t = {number(run.t1)} at the latest"
    until = f"t = {number(run.t1)}, backwards" if _is_backward(study) else until
    lines = [
        *_problem(study),
        ("start", f"||params|| = {number(size)}, loss {_value(loss[0])}"),
        ("solver", f"{run.solver} ({run.solver_reason}), rtol {run.rtol:g}, atol {run.atol:g}"),
        ("until", until),
    ]
    settings = [f"{name} = {value}" for name, value in study.settings.items() if _is_worth_a_line(name, value)]
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
    loss = "half the squared error" if problem.loss_function is squared_error else "a loss of the user's"
    extra = "" if problem.regularizer is None else f", plus {_regularizer(problem.regularizer)}"
    own = "the gradient flow of the weights, dW/dt = -grad L(W)"
    reduced = "the gradient flow in SVD-reduced coordinates (paper 003); all norms and entries are in these"
    return [
        ("data", f"{samples} samples, {d_in} inputs and {d_out} targets each"),
        ("network", f"{type(problem.network).__name__} {widths}: {depth}, {count} parameters"),
        ("loss", f"{loss}, {mean} over the samples{extra}"),
        ("flow", reduced if isinstance(flow, ReducedFlow) else own),
    ]


def _regularizer(regularizer: Any) -> str:
    strength = f" of strength {float(regularizer.strength):g}" if isinstance(regularizer, WeightDecay | Balance) else ""
    return type(regularizer).__name__ + strength


def _is_backward(study: Study) -> bool:
    return study.trajectory.t1 < 0


def outcome_of(study: Study) -> Lines:
    """The lines of "What happened"."""
    run, record = study.trajectory, study.record
    loss, growth = record["loss"].values, record.attrs.get("growth", "unknown")
    style = BAD if run.status.is_failure else DOUBT if run.status is not Status.STATIONARY else GOOD
    ended = Text.assemble((str(run.status), style), f" at t = {number(run.end_time)}. {run.status.remedy}")
    grows = {"growing": ", still growing at the end", "settled": ", settled at the end"}.get(growth, "")
    kinks: Lines = [("kinks", run.kinks)] if run.kinks else []
    return [
        ("ended", ended),
        ("loss", f"{_value(loss[0])} -> {_value(loss[-1])}"),
        ("norm", f"||params|| was {number(run.largest_norm)} at most{grows}"),
        *kinks,
        ("work", f"{run.num_accepted} accepted steps, {run.num_rejected} rejected, in {run.wall_seconds:.1f} s"),
    ]


def _certificate(certificate: Certificate) -> RenderableType:
    said = certificate.note or "promised"
    if certificate.name in PROMISES:
        sentence, key = PROMISES[certificate.name]
        said = sentence.format(number(certificate.values.get(key, math.nan)))
    answer, why = {
        True: (("yes", GOOD), said),
        False: (("no", DOUBT), certificate.note or "a hypothesis fails"),
        None: (("not certified", DOUBT), "there is no theory for this problem"),
    }[certificate.holds]
    lines: Lines = [("numbers", ", ".join(f"{name} = {number(value)}" for name, value in certificate.values.items()))]
    for value, label, style in ((True, "holds", GOOD), (False, "FAILS", BAD), (None, "unknown", DOUBT)):
        texts = [hypothesis.statement for hypothesis in certificate.hypotheses if hypothesis.holds is value]
        lines.append((label, Text.assemble(*_joined(texts, style))))
    lines.append(("source", certificate.source))
    head = Text.assemble((words(certificate.name), LABEL), ": ", answer, f" - {why}.")
    return Group(Padding(head, (0, 0, 0, 2)), _grid([(f"  {name}", text) for name, text in lines if len(text)]))


def _joined(texts: list[str], style: str) -> list[tuple[str, str]]:
    """The texts in one line, with separators that stand out."""
    parts = [part for text in texts for part in (("; ", style), (text, ""))]
    return parts[1:]


def _checks(study: Study) -> Table:
    table = Table(box=None, pad_edge=False, header_style=FAINT, padding=(0, 2, 0, 0))
    table.add_column("  check", style=LABEL, no_wrap=True, overflow="crop")
    table.add_column("result", no_wrap=True, overflow="crop")
    table.add_column("measured", justify="right", no_wrap=True, overflow="crop")
    table.add_column("limit", justify="right", no_wrap=True, overflow="crop")
    table.add_column("what was compared", overflow="fold", ratio=1)
    results = {True: ("passed", GOOD), False: ("FAILED", BAD), None: ("not applicable", FAINT)}
    for check in study.checks:
        limit = f"{'>=' if check.name == 'rate' else '<='} {number(check.limit, 3)}"
        has_limit = math.isfinite(check.limit) and check.name != "ended"
        table.add_row(
            Text("  " + check.name),
            Text(*results[check.passed]),
            number(check.measured, 3),
            limit if has_limit else "-",
            Text(check.statement),
        )
    return table


def endpoint_of(study: Study) -> Lines:
    """The lines of "Where it ended"."""
    point = study.point
    is_said = point.reason.lower().startswith(words(point.kind))
    kind = Text(point.reason) if is_said else Text.assemble((words(point.kind), HEADING), f". {point.reason}")
    moved = f"; refinement moved the state by {number(point.displacement, 3)}" if point.displacement else ""
    lines: Lines = [
        ("kind", kind),
        ("loss", _loss_of(study)),
        ("gradient", f"||grad L|| = {_value(point.grad_norm, 3)}{moved}"),
        ("Hessian", _hessian(point)),
    ]
    if point.rank is not None:
        values = listed(study.record["target_singular_value"].values)
        ranks = f"r = {point.rank}, r_Z = {number(point.rank_z)}"
        lines.append(("captured", f"{captured(point)} of the target's singular values {values}; {ranks}"))
    if point.value is not None:
        off = number(abs(point.loss - point.value), 3)
        lines.append(("Lemma 2", f"such points have the loss {number(point.value)}; this one differs by {off}"))
    return lines


def _loss_of(study: Study) -> str:
    known, loss = optimum(study), study.point.loss
    if known is None:
        return _value(loss)
    problem = getattr(study.flow, "problem", None)
    has_term = getattr(problem, "regularizer", None) is not None
    what = "least-squares optimum" + " without the regulariser" * has_term
    text = f"{_value(loss)}; the {what} is {number(known)}, the excess {number(loss - known, 3)}"
    lowest = float(study.record["greedy_level"].values[-1])
    is_narrow = lowest - known > 1e-9 * abs(study.record["loss"].values[0])
    return text + (f"; a network this narrow can reach {number(lowest)}" if is_narrow else "")


def _hessian(point: CriticalPoint) -> str:
    values = point.eigenvalues
    if not len(values) or not np.isfinite(values).all():
        return "not computed"
    ends = f"eigenvalues from {number(values[0], 3)} to {number(values[-1], 3)}"
    if point.index is None:
        return ends + ("" if point.spectrum == "dense" else f" (the {len(values)} at the ends were computed)")
    zero = f"of {len(values)} eigenvalues within {number(point.zero_tolerance, 2)} of zero"
    return f"Morse index {point.index} (negative eigenvalues), nullity {point.nullity} ({zero}); {ends}"


def rate_of(study: Study) -> Lines:
    """The lines of "How fast it converged"."""
    rate = study.rate
    points = f"{rate.num_points} points with t from {number(rate.window[0], 4)} to {number(rate.window[1], 4)}"
    window = f"what the decay settles to, from {points}"
    observed = rate.reason
    if rate.law == "exponential":
        value = f"rate = {number(rate.rate, 5)} +- {number(rate.standard_error, 2)}"
        observed = f"the loss falls to its limit like exp(-rate t), {value} ({window})"
    elif rate.law == "power":
        value = f"p = {number(rate.exponent, 5)} +- {number(rate.standard_error, 2)}"
        observed = f"the loss falls to its limit like a power of time, t^(-p), {value} ({window})"
    promised = [promise for promise in study.certificates if promise.name == "exponential_rate" and promise.holds]
    certified = "no rate was promised for this start"
    if promised and not _is_backward(study):
        certified = f"a rate of at least {number(promised[0].values['rate'], 5)} was promised"
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
                "  from t": "  " + number(passage.start, 4),
                "to t": "the end" if passage.end is None else number(passage.end, 4),
                "stay": number(end - passage.start, 4),
                "loss there": number(passage.loss),
                "lowest eigenvalue": number(passage.lowest_eigenvalue, 3),
                "resolved": {True: "yes", False: "NO", None: "unknown"}[passage.is_resolved],
            }
        )
    note = Text("Not resolved: the start is on the stable manifold to tolerance; rounding chose where to go on.")
    return Group(table_of(rows), Padding(note, (0, 0, 0, 2))) if unresolved else table_of(rows)


MOST_EVENTS = 20
"""Events listed one by one; of more, how many there are."""


def event_rows(trajectory: Trajectory) -> list[dict[str, str]]:
    """The first :data:`MOST_EVENTS` events that a run met, in order of time."""
    return [
        {
            "event": one.name if one.entry == 0 else f"{one.name} [{one.entry}]",
            "at t": number(one.time, 10),
            "its guard": "rises" if one.is_rising else "falls",
            "left of it": number(one.residual, 2),
        }
        for one in trajectory.events[:MOST_EVENTS]
    ]


def more_events(trajectory: Trajectory) -> str:
    """How many events :func:`event_rows` leaves out, in a sentence; empty when none."""
    left = len(trajectory.events) - MOST_EVENTS
    return f"And {left} more, in trajectory.events." if left > 0 else ""


def _events(trajectory: Trajectory) -> list[RenderableType]:
    rows = [{"  event": "  " + row.pop("event")} | row for row in event_rows(trajectory)]
    parts: list[RenderableType] = [table_of(rows)]
    if more := more_events(trajectory):
        parts.append(Padding(Text(more), (0, 0, 0, 2)))
    return parts


def verdict_of(study: Study) -> Text:
    """The last line: whether all is well."""
    failed = [check.name for check in study.checks if check.passed is False]
    passed = sum(check.passed is True for check in study.checks)
    if failed:
        return Text(f"{len(failed)} of {len(study.checks)} checks FAILED: {', '.join(failed)}.", style=BAD)
    left = len(study.checks) - passed
    if left:
        text = f"{passed} of {len(study.checks)} checks passed, {left} had nothing to compare or could not be judged."
        return Text(text, style=GOOD if passed > 1 else DOUBT)
    return Text(f"All {passed} checks passed.", style=GOOD)


def _value(value: float, digits: int = 6) -> str:
    """A number that must exist: where it is NaN, something went wrong."""
    return "not a number" if math.isnan(value) else number(value, digits)


def _origin(provenance: Mapping[str, Any]) -> str:
    commit = str(provenance.get("git_commit", "unknown"))
    edited = " with local changes" if provenance.get("git_dirty") and commit != "unknown" else ""
    versions = [f"{name} {provenance.get(f'{name}_version', 'unknown')}" for name in ("gradflow", "jax", "python")]
    facts = [provenance.get(name) for name in ("device", "precision", "created_at")]
    known = [str(fact) for fact in facts if fact is not None]
    return ", ".join([versions[0], f"commit {commit[:12]}{edited}", *versions[1:], *known])


def _is_worth_a_line(name: str, value: Any) -> bool:
    return (
        name not in SAID
        and value is not None
        and isinstance(value, str | int | float | tuple)
        and len(str(value)) <= 40
    )
