"""Pictures of gradient descent beside its flow: distances against flow time, drift against the learning rate.

Every function draws comparisons (of ``gradflow.descent.compare_descent``) on the axes it is given and returns the
artists. Several comparisons are one start and one flow at several learning rates; colour runs from dark to light with
the learning rate, and each is named where its curve ends. A verdict is drawn as it was given: undetermined is no yes.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gradflow import checks
from gradflow.plotting.axes import (
    Drawn,
    draw_curve,
    legend_above,
    log_ticks,
    margin_labels,
    margin_title,
    note,
    number,
    require_axes,
    symbol,
    time_axis,
)
from gradflow.plotting.styles import GREY, OKABE_ITO, REFERENCE_DASH, ordered_colors, series_styles

RATE_LABEL = "rate $\\eta$ (dimensionless)"

MODIFIED_DASH = (0, (1, 1))
"""Dash of what belongs to the modified flow."""

VERDICT_MARKERS = {True: "o", None: "s", False: "X"}
"""Markers by verdict: small enough, undetermined, too large."""

VERDICT_WORDS = {True: "small enough", None: "undetermined", False: "too large"}

_MAX_DRIFTS = 4
"""Invariants drawn at most, those with the largest drifts."""


def descent_distance(ax: Axes, comparisons: Iterable[Any]) -> Drawn:
    """The distance of descent to the flow (solid) and to the modified flow (dotted) against flow time.

    Distances are relative to how far the flow travels. One colour for each learning rate, which is written at the right
    end of its solid curve. The tolerance is a dashed line. Distances below the reference's own error are not drawn.

    Args:
        ax: axes to draw on.
        comparisons: one or more comparisons from one start.
    """
    require_axes(ax)
    ordered = _ordered(comparisons)
    colors = ordered_colors(len(ordered))
    curves, drawn, longest = [], [], np.zeros(1)
    for comparison, color in zip(ordered, colors, strict=True):
        times, unit = comparison.table.time.values, comparison.travelled or np.nan
        longest = times if times[-1] > longest[-1] else longest
        for name, dash in (("distance", "-"), ("modified_distance", MODIFIED_DASH)):
            values = comparison.table[name].values
            seen = np.where(values > comparison.reference_error, values / unit, np.nan)
            curves.append(draw_curve(ax, times, seen, color=color, linestyle=dash, zorder=3))
            drawn.append(seen)
    ax.set_ylabel("distance / distance travelled")
    tolerance = ordered[0].tolerance
    limit = ax.axhline(tolerance, color=OKABE_ITO["vermillion"], linewidth=0.9, linestyle=REFERENCE_DASH, zorder=2)
    limit.set_label(f"tolerance {number(tolerance)}")
    references: list[Artist] = [limit]
    _log_range(ax, np.concatenate([*drawn, [tolerance]]))
    first = min(float(comparison.table.time[1]) for comparison in ordered if len(comparison.table.time) > 1)
    time_axis(ax, longest, first)
    _begin_at(ax, first)
    legend_above(ax, [
        Line2D([], [], color="black", label="to the flow"),
        Line2D([], [], color="black", linestyle=MODIFIED_DASH, label="to the modified flow"),
        limit,
    ])  # fmt: skip
    ends = [_last(curve) for curve in curves[::2]]
    references += margin_labels(ax, ends, [number(c.rule.learning_rate) for c in ordered], colors)
    references.append(margin_title(ax, "$\\eta$"))
    return Drawn(curves, references)


def descent_drift(ax: Axes, comparisons: Iterable[Any]) -> Drawn:
    """The largest drift of the invariants along descent against the learning rate, with a line of slope 1.

    A conserved quantity of the flow drifts at order eta along descent over a fixed flow time. At most four, those that
    drift most at the smallest learning rate. The line goes through the first of them there. Crosses are the drifts that
    the modified flow predicts.

    Args:
        ax: axes to draw on.
        comparisons: comparisons from one start at several learning rates.
    """
    require_axes(ax)
    ordered = _ordered(comparisons)
    rates = np.array([comparison.rule.learning_rate for comparison in ordered])
    names = [str(name) for name in ordered[0].table.invariant.values]
    ax.set_xlabel(RATE_LABEL)
    ax.set_ylabel("largest drift")
    if not names:
        ax.set_xticks([])
        ax.set_yticks([])
        return Drawn([], [note(ax, "nothing is known to be\nconserved by this flow")])
    along = np.array([comparison.table.drift.values.max(axis=0) for comparison in ordered])
    bent = np.array([comparison.table.modified_drift.values.max(axis=0) for comparison in ordered])
    chosen = np.argsort(-along[0], kind="stable")[:_MAX_DRIFTS]
    curves, references = [], []
    for kwargs, column in zip(series_styles(len(chosen)), chosen, strict=True):
        values = np.where(along[:, column] > 0, along[:, column], np.nan)
        curves.append(ax.plot(rates, values, label=symbol(names[column]), zorder=3, **kwargs)[0])
        predicted = np.where(bent[:, column] > 0, bent[:, column], np.nan)
        references += ax.plot(rates, predicted, linestyle="none", marker="x", color=kwargs["color"], zorder=4)
    line = ax.plot(rates, along[0, chosen[0]] * rates / rates[0], color=GREY, linewidth=0.8, linestyle=REFERENCE_DASH,
                   zorder=1, label="slope 1")[0]  # fmt: skip
    references.append(line)
    _log_range(ax, np.concatenate([along[:, chosen].ravel(), line.get_ydata()]))
    ax.set_xscale("log")
    log_ticks(ax.xaxis)
    cross = Line2D([], [], linestyle="none", marker="x", color="black", label="modified flow")
    legend_above(ax, [*curves, line, cross])
    return Drawn(curves, references)


def descent_orders(ax: Axes, comparisons: Iterable[Any]) -> Drawn:
    """The largest distances to both flows against the learning rate, with lines of slope 1 and 2, and the verdicts.

    Relative to how far the flow travels. Markers tell the verdict on each learning rate. The lines go through the
    distances at the smallest learning rate.

    Args:
        ax: axes to draw on.
        comparisons: comparisons from one start at several learning rates.
    """
    require_axes(ax)
    ordered = _ordered(comparisons)
    rates = np.array([comparison.rule.learning_rate for comparison in ordered])
    unit = np.array([comparison.travelled or np.nan for comparison in ordered])
    curves, references = [], []
    for name, color, dash, order in (
        ("distance", OKABE_ITO["blue"], "-", 1),
        ("modified_distance", OKABE_ITO["green"], MODIFIED_DASH, 2),
    ):
        values = np.array([getattr(comparison.full, name) for comparison in ordered]) / unit
        words = "to the flow" if order == 1 else "to the modified flow"
        curves.append(ax.plot(rates, values, color=color, linestyle=dash, label=words, zorder=3)[0])
        references += ax.plot(rates, values[0] * (rates / rates[0]) ** order, color=GREY, linewidth=0.8,
                              linestyle=REFERENCE_DASH, zorder=1)  # fmt: skip
        for verdict, marker in VERDICT_MARKERS.items():
            is_here = np.array([comparison.trusted is verdict for comparison in ordered])
            references += ax.plot(rates[is_here], values[is_here], marker, color=color, markersize=4.5, zorder=4)
    ax.set_xlabel(RATE_LABEL)
    ax.set_ylabel("largest distance / travelled")
    _log_range(ax, np.concatenate([curve.get_ydata() for curve in curves]))
    ax.set_xscale("log")
    log_ticks(ax.xaxis)
    found = {comparison.trusted for comparison in ordered}
    keys = [
        Line2D([], [], color="black", linestyle="none", marker=marker, label=VERDICT_WORDS[verdict])
        for verdict, marker in VERDICT_MARKERS.items()
        if verdict in found
    ]
    slopes = Line2D([], [], color=GREY, linewidth=0.8, linestyle=REFERENCE_DASH, label="slopes 1 and 2")
    legend_above(ax, [*curves, slopes, *keys])
    return Drawn(curves, references)


def _ordered(comparisons: Iterable[Any]) -> Sequence[Any]:
    """Comparisons by ascending learning rate; refuses none at all and what is no comparison."""
    given = list(comparisons)
    is_fit = bool(given) and all(hasattr(one, "table") and hasattr(one, "reference_error") for one in given)
    checks.require(is_fit, "comparisons", "be one or more results of compare_descent",
                   [type(one).__name__ for one in given])  # fmt: skip
    names = {tuple(map(str, one.table.invariant.values)) for one in given}
    checks.require(len(names) == 1, "comparisons", "have the same invariants", f"{len(names)} different sets")
    return sorted(given, key=lambda one: one.rule.learning_rate)


def _last(curve: Line2D) -> float:
    """The height at which a curve ends, NaN where it has none."""
    heights = np.asarray(curve.get_ydata(), dtype=float)
    seen = heights[np.isfinite(heights)]
    return float(seen[-1]) if len(seen) else float("nan")


def _begin_at(ax: Axes, first: float) -> None:
    """A logarithmic time axis begins at the first step of the smallest learning rate."""
    if ax.get_xscale() == "log":
        ax.set_xlim(left=first)
        log_ticks(ax.xaxis)


def _log_range(ax: Axes, values: np.ndarray) -> None:
    positive = values[np.isfinite(values) & (values > 0)]
    if not len(positive):
        return
    low, high = float(positive.min()), float(positive.max())
    margin = max((high / low) ** 0.05, 1.5)
    ax.set_ylim(max(low / margin, 1e-300), high * margin)
    ax.set_yscale("log")
    log_ticks(ax.yaxis)
