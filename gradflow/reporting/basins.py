"""An estimate of basins in words: one table with a row for every outcome, and below it what the table cannot say.

Counts of zero are upper bounds, limits of intervals are rounded outwards, and whatever was not sampled gets no
interval. Nothing here depends on the clock, on a terminal or on how often a run was interrupted: the same numbers give
the same bytes. Knows an estimate and the settings it carries; computes nothing but bounds of counts.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradflow.basins import BasinEstimate
from gradflow.intervals import Intervals, rounded_down, rounded_up, worded_fraction
from gradflow.reporting.tables import markdown
from gradflow.reporting.words import number, words

DIGITS = 4
"""Significant digits of fractions and their limits."""

LOSS_DECIMALS = 12
"""Decimals of losses: what rounding leaves of a loss of 0 is none."""

LOWEST_TIME, HIGHEST_TIME = 1e-8, 1e16
"""Flow times beyond which a histogram does not tell them apart."""

MOST_CHANGES = 6
"""Kinds of changed labels that are listed one by one."""

UNTIMED = ("settings", "version", "kernel", "grad_tol", "max_norm", "num_samples", "t1", "rtol", "atol", "max_steps",
           "num_failed", "level")  # fmt: skip
"""Facts of an estimate that are the same for an undisturbed and a resumed run."""

Row = dict[str, str]


def is_sample(estimate: BasinEstimate) -> bool:
    """Whether fractions are those of a law: the cells of a slice are no sample."""
    sampler = type(getattr(estimate.plan, "sampler", None)).__name__
    return sampler != "Slice" and estimate.facts.get("settings", {}).get("sampler") != "slice"


def is_independent(estimate: BasinEstimate) -> bool:
    """Whether the starts were drawn independently, which bounds of counts rest on."""
    return is_sample(estimate) and estimate.replicate_counts.shape[1] == 1


def basin_rows(estimate: BasinEstimate) -> list[Row]:
    """The table, a row for each class found, then undetermined, escaped and nonfinite."""
    times, rows = estimate.time_quantiles(), []
    columns = _interval_columns(estimate)
    for index, (label, kind, loss) in enumerate(zip(estimate.labels, estimate.kinds, estimate.losses, strict=True)):
        count = int(estimate.counts[index])
        rows.append(
            {
                "starts": f"{count:,}",
                "fraction": _fraction(count, estimate.num_samples),
                **{name: texts[index] for name, texts in columns.items()},
                "median time": _time(times[index, 1]),
                "10 to 90 %": _times(times[index, 0], times[index, 2]),
                "steps": number(float(estimate.mean_steps[index]), 3) if count else "-",
                "loss": number(round(float(loss), LOSS_DECIMALS)),
                "kind": words(kind) if kind != label else "-",
                "ends at": label,
            }
        )
    return rows


def basin_notes(estimate: BasinEstimate) -> list[tuple[str, str]]:
    """What stands below the table, as pairs of a keyword and a sentence."""
    notes = [*_undetermined(estimate), *_unseen(estimate), *_tolerance(estimate), *_horizon(estimate)]
    return [*notes, *_origin(estimate)]


def basin_text(estimate: BasinEstimate) -> str:
    """The table and the sentences as plain text, the numbers first so that long names break nothing."""
    rows = basin_rows(estimate)
    counted = ["starts", "fraction", *_interval_columns(estimate), "ends at"]
    described = ["median time", "10 to 90 %", "steps", "loss", "kind", "ends at"]
    present = [row for row in rows if row["starts"] != "0"]
    lines = [basin_title(estimate), "", *_columns(rows, counted)]
    lines += _reasons(estimate)
    lines += ["", *_columns(present, described), ""]
    lines += [f"{keyword + ':':<15}{sentence}" for keyword, sentence in basin_notes(estimate)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def basin_page(estimate: BasinEstimate) -> str:
    """The same in Markdown."""
    reasons = [f"- {line.strip()}" for line in _reasons(estimate)]
    notes = [f"- *{keyword}:* {sentence}" for keyword, sentence in basin_notes(estimate)]
    blocks = [f"## {basin_title(estimate)}", markdown(basin_rows(estimate)).rstrip()]
    blocks += ["Undetermined, by reason:\n\n" + "\n".join(reasons)] * bool(reasons)
    return "\n\n".join([*blocks, "\n".join(notes)]) + "\n"


def basin_data(estimate: BasinEstimate) -> dict[str, Any]:
    """The same as plain data for JSON; None where there is no number."""
    times = estimate.time_quantiles()
    limits = _limits(estimate)
    rows = [
        {
            "label": label,
            "kind": estimate.kinds[index],
            "loss": _plain(estimate.losses[index]),
            "count": int(estimate.counts[index]),
            "fraction": float(estimate.fractions[index]),
            **{name: [float(i.low[index]), float(i.high[index])] for name, i in limits.items()},
            "time_quantiles": _plain(times[index]),
            "mean_steps": float(estimate.mean_steps[index]),
            "first_start": int(estimate.first[index]),
            "start": _plain(estimate.starts[index]),
            "end": _plain(estimate.ends[index]),
        }
        for index, label in enumerate(estimate.labels)
    ]
    unseen, check = estimate.unseen, estimate.recheck
    return {
        "num_samples": estimate.num_samples,
        "level": estimate.level,
        "rows": rows,
        "interval_method": limits["interval"].method if limits else None,
        "undetermined_reasons": dict(estimate.reasons),
        "envelopes": _envelope_data(estimate),
        "unseen_mass": None if not is_independent(estimate) else {
            "bound": unseen.bound, "level": unseen.level, "method": unseen.method, "is_theorem": unseen.is_theorem
        },
        "recheck": None if check is None else {
            "rtol": check.rtol,
            "num_samples": check.comparison.num_samples,
            "num_changed": _num_changed(estimate),
            "interval": [float(check.comparison.changed.low), float(check.comparison.changed.high)],
            "changes": [list(row) for row in check.rows],
        },
        "without_limit_at": [[time, share] for time, share in _unsettled(estimate)],
        "facts": {name: _plain(estimate.facts[name]) for name in UNTIMED if name in estimate.facts},
    }  # fmt: skip


def basin_title(estimate: BasinEstimate) -> str:
    """One line: the problem, the number of starts and their law."""
    settings = estimate.facts.get("settings", {})
    network = f"{settings['network']} network on {settings.get('data', 'digits')}" if "network" in settings else ""
    problem = settings.get("problem") or settings.get("expression") or network
    unit = "starts" if is_sample(estimate) else "cells of a slice"
    parts = [f"Basins of attraction{f' of {problem}' if problem else ''}: {estimate.num_samples:,} {unit}"]
    if "sampler" in settings and is_sample(estimate):
        parts.append(f"{settings['sampler']}, {settings['design']}, seed {settings['seed']}")
    return ", ".join(parts)


def _limits(estimate: BasinEstimate) -> dict[str, Intervals]:
    if not is_sample(estimate):
        return {}
    return {"interval": estimate.intervals, "simultaneous": estimate.simultaneous}


def _interval_columns(estimate: BasinEstimate) -> dict[str, list[str]]:
    names = {"interval": f"{100 * estimate.level:g} % interval", "simultaneous": "all rows together"}
    columns = {}
    for name, intervals in _limits(estimate).items():
        ends = zip(estimate.counts.tolist(), intervals.low.tolist(), intervals.high.tolist(), strict=True)
        columns[names[name]] = [_between(count, estimate.num_samples, low, high) for count, low, high in ends]
    return columns


def _fraction(count: int, total: int) -> str:
    if count in (0, total):
        return "none seen" if count == 0 else "all"
    return _share(count, total)


def _between(count: int, total: int, low: float, high: float) -> str:
    if count == 0:
        return f"at most {rounded_up(high, 3)}"
    if count == total:
        return f"at least {rounded_down(low, 3)}"
    return f"{rounded_down(low, DIGITS)} to {rounded_up(high, DIGITS)}"


def _time(time: float) -> str:
    if time < LOWEST_TIME:
        return "0"
    return f"> {HIGHEST_TIME:g}" if time > HIGHEST_TIME else number(time, 3)


def _times(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{_time(low)} to {_time(high)}"


def _columns(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Aligned columns under their headings, numbers to the right."""
    is_right = {"starts", "fraction", "median time", "steps", "loss"}
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    table = [dict(zip(names, names, strict=True)), *rows]
    return [
        "  ".join(
            row[name].rjust(widths[name]) if name in is_right else row[name].ljust(widths[name]) for name in names
        )
        for row in table
    ]


def _reasons(estimate: BasinEstimate) -> list[str]:
    return [f"  {count:,} undetermined: {reason}" for reason, count in estimate.reasons.items() if count]


def _undetermined(estimate: BasinEstimate) -> list[tuple[str, str]]:
    """What the fractions may be once the undetermined starts have limits."""
    if estimate.undetermined == 0 or estimate.num_classes == 0:
        return []
    total = estimate.num_samples
    notes = []
    envelope = estimate.envelopes if is_independent(estimate) else None
    for index, label in enumerate(estimate.labels[: estimate.num_classes]):
        least = int(estimate.counts[index])
        shares = f"{_share(least, total)} to {_share(least + estimate.undetermined, total)} of the starts"
        if envelope is not None:
            low, high = (
                rounded_down(float(envelope.low[index]), DIGITS),
                rounded_up(float(envelope.high[index]), DIGITS),
            )
            shares += f", with {100 * envelope.level:g} % confidence a fraction of {low} to {high}"
        notes.append((f"{label}", f"{shares}, whichever limits the undetermined have"))
    return [
        ("whatever the", f"{estimate.undetermined:,} undetermined starts tend to:"),
        *[("", f"{a}: {b}") for a, b in notes],
    ]


def _share(count: int, total: int) -> str:
    return f"{count / total:#.{DIGITS}g}"


def _unseen(estimate: BasinEstimate) -> list[tuple[str, str]]:
    if not is_sample(estimate):
        return [("cells", "the cells of a slice are no sample: shares are of its area, and have no intervals")]
    if not is_independent(estimate):
        method = estimate.intervals.method
        return [("intervals", f"{method}; classes never seen have no bound for a design")]
    unseen = estimate.unseen
    kind = "a theorem" if unseen.is_theorem else "a rule of thumb"
    text = f"classes without a start have at most {rounded_up(unseen.bound, 3)} of the law together"
    hidden = ", the undetermined counted as such" if estimate.undetermined else ""
    return [("never seen", f"{text} ({100 * unseen.level:g} % confidence, {kind}: {words(unseen.method)}){hidden}")]


def _num_changed(estimate: BasinEstimate) -> int:
    assert estimate.recheck is not None
    table = estimate.recheck.comparison.table
    return int(table.sum() - np.trace(table))


def _tolerance(estimate: BasinEstimate) -> list[tuple[str, str]]:
    check = estimate.recheck
    if check is None:
        return [("tolerance", "no start was run again at a tighter one")]
    num = check.comparison.num_samples
    said = worded_fraction(_num_changed(estimate), num, estimate.level)
    notes = [("tolerance", f"labels that change at rtol {check.rtol:g}: {said}")]
    for before, after, count in check.rows[:MOST_CHANGES]:
        notes.append(("", f"{count:,} from {before} to {after}"))
    more = len(check.rows) - MOST_CHANGES
    return notes + [("", f"and {more} further kinds of changes")] * (more > 0)


def _unsettled(estimate: BasinEstimate) -> list[tuple[float, float]]:
    """The share of starts without a limit by the decades of flow time in which it falls."""
    decades = [10.0**power for power in range(-8, 17)]
    shares = estimate.unsettled_at(decades).tolist()
    shown = [_percent(share) for share in shares]
    first = max(index for index, text in enumerate(shown) if text == shown[0])
    last = min(index for index, text in enumerate(shown) if text == shown[-1])
    return list(zip(decades, shares, strict=True))[min(first, last) : last + 1]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share else "none"


def _horizon(estimate: BasinEstimate) -> list[tuple[str, str]]:
    parts = [f"{_percent(share)} at t = {time:g}" for time, share in _unsettled(estimate)]
    return [("horizon", f"starts without a limit: {', '.join(parts)}")]


def _origin(estimate: BasinEstimate) -> list[tuple[str, str]]:
    facts = estimate.facts
    names = ("t1", "rtol", "atol", "grad_tol", "max_norm", "max_steps")
    followed = [f"{name} {facts[name]:g}" for name in names if isinstance(facts.get(name), int | float)]
    notes = [("followed with", ", ".join(followed))] if followed else []
    said = ("problem", "expression", "sampler", "design", "seed", "samples", *names)
    rest = [f"{name} {_said(value)}" for name, value in facts.get("settings", {}).items() if name not in said]
    if rest:
        notes.append(("settings", ", ".join(rest)))
    origin: Mapping[str, Any] = facts.get("provenance", {})
    versions = [f"gradflow {facts.get('version', 'unknown')}"]
    versions += [
        f"{name} {origin[f'{name}_version']}" for name in ("jax", "numpy", "python") if f"{name}_version" in origin
    ]
    num_failed = facts.get("num_failed", 0)
    failed = [("FAILED", f"{num_failed} chunks could not be computed: their starts are undetermined")]
    kernel = [f"kernel {facts['kernel']}"] if "kernel" in facts else []
    return notes + [("computed by", ", ".join(versions + kernel))] + failed * bool(num_failed)


def _said(value: Any) -> str:
    return " ".join(f"{entry}" for entry in value) if isinstance(value, tuple | list) else str(value)


def _envelope_data(estimate: BasinEstimate) -> list[list[float]] | None:
    if not is_independent(estimate) or estimate.num_classes == 0:
        return None
    return np.stack([estimate.envelopes.low, estimate.envelopes.high], axis=1).tolist()


def _plain(value: Any) -> Any:
    """Numbers that JSON has; None for NaN, text for infinities."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
