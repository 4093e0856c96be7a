"""Pictures of whether a run kept its promises: conserved quantities, the certified norm, the energy identity, the rate.

Every function draws one record (the Dataset of ``gradflow.monitor``) on the axes it is given, next to the number it is
judged by. A promise that was never made is said to be absent; it is not drawn as kept.
"""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gradflow.plotting.axes import (
    Drawn,
    draw_curve,
    legend_above,
    log_ticks,
    margin_labels,
    note,
    number,
    require_axes,
    symbol,
    time_axis,
)
from gradflow.plotting.quantities import first_move, loss_label, scalar, variable
from gradflow.plotting.styles import GREY, OKABE_ITO, REFERENCE_DASH, ordered_colors, series_styles

MAX_IN_LEGEND = 8
"""Curves beyond this number are labelled at their ends."""

FORBIDDEN = {"color": OKABE_ITO["vermillion"], "alpha": 0.10, "linewidth": 0.0, "zorder": 0}
"""How the region is shaded that a kept promise never enters."""

_LIMIT = {"color": OKABE_ITO["vermillion"], "linewidth": 0.9, "linestyle": REFERENCE_DASH, "zorder": 2}


def drift(ax: Axes, record: xr.Dataset) -> Drawn:
    """The relative drift of every invariant against time, and the drift that the solver's tolerance explains.

    One tolerance common to all is one line with the region above it shaded; different ones are dashed lines in the
    colours of their curves. The legend names the invariants that left theirs, and the quantities of which no law is
    claimed (another regulariser than weight decay). Up to eight curves are told apart in the legend, more at their
    right ends. Drifts of exactly zero lie off the logarithmic axis. Without invariants the axes say so.

    Args:
        ax: axes to draw on.
        record: of ``gradflow.monitor``.
    """
    require_axes(ax)
    times, values = variable(record, "relative_drift")
    ax.set_ylabel("relative drift")
    time_axis(ax, times, first_move(times, record.loss.values))
    if values.shape[1] == 0:
        ax.set_yticks([])
        return Drawn([], [note(ax, "no invariants are known\nfor this flow")])
    names = [symbol(str(name)) for name in record.invariant.values]
    tolerances = record.drift_tolerance.values.astype(float)
    values = np.where(values > 0, values, np.nan)
    curves = [
        draw_curve(ax, times, column, label=name, zorder=3, **kwargs)
        for column, name, kwargs in zip(values.T, names, _drift_styles(names), strict=True)
    ]
    key, references = _tolerance_lines(ax, tolerances, curves)
    _log_scale(ax, np.append(values[np.isfinite(values)], tolerances[tolerances > 0]))
    if _is_common(tolerances):
        references.append(_forbid_above(ax, float(tolerances[0])))
    if not np.isfinite(values).any():
        words = "all drifts are exactly zero" if len(times) > 1 else "not one step was taken"
        references.append(note(ax, words, height=0.25))
    keys = curves
    if len(curves) > MAX_IN_LEGEND:
        references += margin_labels(ax, values[-1], names, [curve.get_color() for curve in curves])
        keys = []
    marks = [key]
    claimed = record.claimed.values.astype(bool)
    beyond = claimed & ~record.consistent.values.astype(bool)
    if beyond.any():
        marks.append(Patch(label=f"beyond tolerance: {_listed(names, beyond)}", **FORBIDDEN))
    if not claimed.all():
        marks.append(Line2D([], [], linestyle="none", label=f"not conserved here: {_listed(names, ~claimed)}"))
    legend_above(ax, [*keys, *marks])
    return Drawn(curves, references)


def norm_bound(ax: Axes, record: xr.Dataset, layers: bool = False) -> Drawn:
    """The norm of the parameters against time and the radius that a certificate promised before the run.

    The region beyond the radius is shaded; the legend gives the radius and the largest part of it that was used.
    Where the record holds no radius the legend says "not certified". The axis is logarithmic when it would
    otherwise hide the smallest norm.

    Args:
        ax: axes to draw on.
        record: of ``gradflow.monitor``.
        layers: also draw the norm of each layer.
    """
    require_axes(ax)
    times, norm = variable(record, "norm")
    radius = scalar(record, "bound")
    curves = [draw_curve(ax, times, norm, color=OKABE_ITO["blue"], label="$\\|W(t)\\|$", zorder=3)]
    if layers:
        per_layer = variable(record, "layer_norm")[1]
        curves += [
            draw_curve(ax, times, column, color=color, linewidth=0.7, label=f"$W_{{{index + 1}}}$", zorder=2)
            for index, (column, color) in enumerate(zip(per_layer.T, ordered_colors(per_layer.shape[1]), strict=True))
        ]
    ax.set_ylabel("parameter norm")
    time_axis(ax, times, first_move(times, record.loss.values))
    drawn = np.concatenate([line.get_ydata() for line in curves] + [[radius]])
    drawn = drawn[np.isfinite(drawn) & (drawn >= 0)]
    top, low = float(drawn.max(initial=0.0)), float(drawn[drawn > 0].min(initial=np.inf))
    if top > 20 * low:
        _log_scale(ax, drawn[drawn > 0])
    else:
        ax.set_ylim(-0.03 * top, 1.12 * top or 1.0)
    references: list[Artist] = []
    if np.isnan(radius):
        curves[0].set_label("$\\|W(t)\\|$, not certified")
    else:
        used = float(record.attrs.get("largest_norm", np.max(norm))) / radius if radius > 0 else np.inf
        verdict = f"{_percent(used)} used" if used <= 1 else f"exceeded: {_percent(used)}"
        references.append(ax.axhline(radius, label=f"certified $R={number(radius).strip('$')}$ ({verdict})", **_LIMIT))
        references.append(_forbid_above(ax, radius))
    legend_above(ax, [curves[0], *references[:1]])
    parts = curves[1:]
    if parts:
        ends, names = [line.get_ydata()[-1] for line in parts], [line.get_label() for line in parts]
        references += margin_labels(ax, ends, names, [line.get_color() for line in parts])
    return Drawn(curves, references)


def energy(ax: Axes, record: xr.Dataset) -> Drawn:
    """How far ``L(0) - L(t)`` is from the dissipated energy ``int_0^t ||grad L||^2``, relative to all that was lost."""
    require_axes(ax)
    times, defect = variable(record, "energy_defect")
    size = np.abs(defect)
    curve = draw_curve(ax, times, np.where(size > 0, size, np.nan), color=OKABE_ITO["blue"], label="energy defect")
    ax.set_ylabel("relative energy defect")
    time_axis(ax, times, first_move(times, record.loss.values))
    _log_scale(ax, size[size > 0])
    references: list[Artist] = []
    if not (size > 0).any():
        ax.set_yticks([])
        references.append(note(ax, "the energy identity holds exactly"))
    return Drawn([curve], references)


def convergence(ax: Axes, record: xr.Dataset, rate: Any = None, limit: float | None = None) -> Drawn:
    """The loss above its limit, with the observed law on the window of its fit and the certified envelope.

    Time is linear where the law is exponential and logarithmic elsewhere, so that either law is a straight line.

    Args:
        ax: axes to draw on.
        record: of ``gradflow.monitor``.
        rate: a :class:`gradflow.convergence.ObservedRate`, or None.
        limit: the loss at the limit; by default the irreducible loss of the record.
    """
    require_axes(ax)
    times, loss = variable(record, "loss")
    label = loss_label(record) if limit is None else "loss above its limit"
    limit = scalar(record, "irreducible_loss", 0.0) if limit is None else float(limit)
    excess = np.where(loss > limit, loss - limit, np.nan)
    law = getattr(rate, "law", "undetermined")
    curve = draw_curve(ax, times, excess, color=OKABE_ITO["blue"], label="loss", zorder=3)
    references: list[Artist] = []
    envelope = record.envelope.values - limit if "envelope" in record else np.array([np.nan])
    if np.isfinite(envelope).all():
        references += ax.plot(times, np.where(envelope > 0, envelope, np.nan), label="certified envelope", **_LIMIT)
    if law != "undetermined":
        references += _fitted(ax, times, excess, rate)
    ax.set_ylabel(label)
    if references:
        legend_above(ax, [curve, *references])
    time_axis(ax, times, first_move(times, loss), linear=law == "exponential")
    seen = excess[np.isfinite(excess)]
    _log_scale(ax, np.maximum(seen, 1e-16 * np.max(np.abs(loss))))
    if not len(seen):
        ax.set_yticks([])
        references.append(note(ax, "the loss is at its limit"))
    return Drawn([curve], references)


def _fitted(ax: Axes, times: np.ndarray, excess: np.ndarray, rate: Any) -> list[Line2D]:
    """The observed law on its window, through the end of the data there: laws hold ever better with time."""
    is_exponential = rate.law == "exponential"
    inside = (times >= rate.window[0]) & (times <= rate.window[1]) & (excess > 0) & (is_exponential | (times > 0))
    if not inside.any():
        return []
    coefficient = rate.rate if is_exponential else rate.exponent
    logarithm = -coefficient * (times[inside] if is_exponential else np.log(times[inside]))
    offset = np.log(excess[inside][-1]) - logarithm[-1]
    value = number(coefficient).strip("$")
    law = f"$e^{{-{value}\\,t}}$" if rate.law == "exponential" else f"$t^{{-{value}}}$"
    return ax.plot(
        times[inside], np.exp(offset + logarithm), color="black", linewidth=1.0, linestyle=(0, (1, 1)), zorder=4,
        label=f"in the end {law}",
    )  # fmt: skip


def _listed(names: list[str], chosen: np.ndarray) -> str:
    """The chosen names, or how many when they are many."""
    few = [name for name, is_chosen in zip(names, chosen, strict=True) if is_chosen]
    return ", ".join(few) if len(few) <= 4 else f"{len(few)} of {len(names)}"


def _drift_styles(names: list[str]) -> list[dict[str, Any]]:
    """Few curves get colours, dashes and markers; many get a colour by their order and a dash by their family."""
    if len(names) <= MAX_IN_LEGEND:
        marks = [(0.05 + 0.03 * (index % 5), 0.2) for index in range(len(names))]
        return [
            {**kwargs, "markevery": mark, "linewidth": 0.9}
            for kwargs, mark in zip(series_styles(len(names)), marks, strict=True)
        ]
    families = list(dict.fromkeys(name.split("_")[0] for name in names))
    dashes = [kwargs["linestyle"] for kwargs in series_styles(5)]
    return [
        {"color": color, "linestyle": dashes[families.index(name.split("_")[0]) % 5], "linewidth": 0.7}
        for name, color in zip(names, ordered_colors(len(names)), strict=True)
    ]


def _tolerance_lines(ax: Axes, tolerances: np.ndarray, curves: list[Line2D]) -> tuple[Artist, list[Artist]]:
    """The legend's key and what was drawn: one line, a line per curve, or for many different ones their range."""
    if _is_common(tolerances):
        line = ax.axhline(float(tolerances[0]), label="allowed by the tolerance", **_LIMIT)
        return line, [line]
    if len(curves) > MAX_IN_LEGEND:
        band = ax.axhspan(
            float(np.min(tolerances)), float(np.max(tolerances)), label="range of tolerances", **FORBIDDEN
        )
        return band, [band]
    key = Line2D([], [], color=GREY, linewidth=0.7, linestyle=REFERENCE_DASH, label="tolerance")
    return key, [
        ax.axhline(level, color=curve.get_color(), linewidth=0.7, linestyle=REFERENCE_DASH, zorder=1)
        for level, curve in zip(tolerances, curves, strict=True)
    ]


def _is_common(tolerances: np.ndarray) -> bool:
    return bool(np.ptp(tolerances) <= 1e-2 * np.max(tolerances))


def _forbid_above(ax: Axes, level: float) -> Patch:
    """Shades what lies above `level`, up to the present top of the axes."""
    return ax.axhspan(level, max(level, ax.get_ylim()[1]), **FORBIDDEN)


def _log_scale(ax: Axes, positive: np.ndarray) -> None:
    positive = positive[np.isfinite(positive)]
    if not len(positive):
        return
    low, high = float(positive.min()), float(positive.max())
    margin = max((high / low) ** 0.06, 1.5)
    ax.set_ylim(max(low / margin, 1e-300), high * margin)
    ax.set_yscale("log")
    log_ticks(ax.yaxis)


def _percent(part: float) -> str:
    return f"{100 * part:.3g} %" if np.isfinite(part) else "beyond"
