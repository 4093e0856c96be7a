"""Pictures of what a run did: the loss with the critical values it descends, and the product's singular values.

Every function draws one record (the Dataset of ``gradflow.monitor``) on the axes it is given and returns the artists.
Nothing but differences is computed here, and nothing knows how a record came about. Whether the run kept its promises
is drawn in :mod:`gradflow.plotting.promises`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
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
    require_axes,
    symlog_ticks,
    time_axis,
)
from gradflow.plotting.quantities import first_move, loss_label, scalar, variable
from gradflow.plotting.styles import GREY, OKABE_ITO, REFERENCE_DASH, ordered_colors

SPREAD = 30.0
"""Ratio of the target's largest to its smallest positive singular value beyond which their axis is logarithmic."""


def loss_ladder(
    ax: Axes,
    record: xr.Dataset,
    critical_values: Mapping[str, float] | Sequence[float] | None = None,
    passages: Iterable[Any] = (),
) -> Drawn:
    """The loss against time with the ladder of critical values that it descends.

    The excess over the irreducible loss is drawn, logarithmic down to the lowest positive rung and linear from there
    to zero, so that the foot of the ladder is in the picture; logarithmic throughout when there is no rung at zero,
    linear when the loss may be negative.

    Args:
        ax: axes to draw on.
        record: of ``gradflow.monitor``.
        critical_values: losses to draw as rungs, the k-th labelled k (number of captured singular values), or a
            mapping from label to loss. By default the record's ``greedy_level``, if it has any.
        passages: stays near saddles (``trajectory.passages``), shaded.
    """
    require_axes(ax)
    times, loss = variable(record, "loss")
    irreducible = scalar(record, "irreducible_loss", 0.0)
    if critical_values is None:
        critical_values = record.greedy_level.values if "greedy_level" in record else ()
    rungs = _rungs(critical_values)
    excess, levels = loss - irreducible, np.array(list(rungs.values())) - irreducible
    curve = draw_curve(ax, times, excess, color=OKABE_ITO["blue"], label="loss", zorder=3)
    lines = [ax.axhline(level, color=GREY, linewidth=0.6, linestyle=REFERENCE_DASH, zorder=1) for level in levels]
    spans = _shade(ax, passages, float(times[-1]))
    ax.set_ylabel(loss_label(record))
    time_axis(ax, times, first_move(times, loss))
    _loss_scale(ax, excess, levels)
    labels: list[Artist] = list(margin_labels(ax, levels, rungs))
    if rungs and not isinstance(critical_values, Mapping):
        labels.append(margin_title(ax, "captured"))
    for handles, label in ((lines, "critical value"), (spans, "stay near a saddle")):
        if handles:
            handles[0].set_label(label)
    if lines or spans:
        legend_above(ax, [curve, *lines[:1], *spans[:1]])
    return Drawn([curve], [*lines, *labels, *spans])


def singular_values(ax: Axes, record: xr.Dataset, quantity: str = "product_singular_value") -> Drawn:
    """The product's singular values against time, and the target's as dashed lines of the same colours.

    The axis is logarithmic when the target's values spread over more than a factor 30 and all curves are positive.

    Args:
        ax: axes to draw on.
        record: of ``gradflow.monitor``, of a linear network.
        quantity: ``"product_singular_value"`` (sorted at every time) or ``"captured_strength"`` (``u_i^T A v_i``,
            which follows a mode where singular values cross, and may be negative).

    Raises:
        InputError: the record has no singular values (it is not of a linear network).
    """
    checks.choice("quantity", quantity, ("product_singular_value", "captured_strength"))
    require_axes(ax)
    times, values = variable(
        record,
        quantity,
        "Only linear networks with the squared error have singular values to follow; draw loss_ladder instead.",
    )
    target = record.target_singular_value.values
    colors = ordered_colors(values.shape[1])
    curves = [
        draw_curve(ax, times, column, color=color, label=f"$s_{{{mode + 1}}}$", zorder=3)
        for mode, (column, color) in enumerate(zip(values.T, colors, strict=True))
    ]
    lines = [
        ax.axhline(value, color=color, linewidth=0.7, linestyle=REFERENCE_DASH, zorder=1)
        for value, color in zip(target, colors, strict=True)
    ]
    ax.set_ylabel("singular value" if quantity == "product_singular_value" else "captured strength")
    time_axis(ax, times, first_move(times, record.loss.values))
    _strength_scale(ax, values, target)
    labels = margin_labels(ax, target, [f"$s_{{{mode + 1}}}$" for mode in range(len(target))], colors)
    legend_above(
        ax,
        [
            Line2D([], [], color="black", label="product $W_{H+1}\\cdots W_1$"),
            Line2D([], [], color="black", linewidth=0.7, linestyle=REFERENCE_DASH, label="target"),
        ],
    )
    return Drawn(curves, [*lines, *labels])


def _rungs(values: Mapping[str, float] | Sequence[float]) -> dict[str, float]:
    """Label to loss; neighbours of a sequence that agree to rounding share a label such as ``9-10``."""
    numbers = np.array(list(values.values() if isinstance(values, Mapping) else values), dtype=float)
    checks.require(bool(np.isfinite(numbers).all()), "critical_values", "be finite", numbers)
    if isinstance(values, Mapping):
        return {str(label): float(value) for label, value in values.items()}
    if not len(numbers):
        return {}
    scale = 1e-12 * np.max(np.abs(numbers))
    starts = np.flatnonzero(np.append(True, np.abs(np.diff(numbers)) > scale))
    ends = np.append(starts[1:], len(numbers)) - 1
    return {
        str(start) if start == end else f"{start}\N{EN DASH}{end}": float(numbers[start])
        for start, end in zip(starts, ends, strict=True)
    }


def _shade(ax: Axes, passages: Iterable[Any], end: float) -> list[Artist]:
    return [
        ax.axvspan(stay.start, end if stay.end is None else stay.end, color="0.9", linewidth=0, zorder=0)
        for stay in passages
    ]


def _loss_scale(ax: Axes, excess: np.ndarray, levels: np.ndarray) -> None:
    values = np.append(excess[np.isfinite(excess)], levels)
    if not len(values):
        return
    top, noise = float(np.max(np.abs(values))), 1e-12 * float(np.max(np.abs(values)))
    positive = levels[levels > noise]
    if top == 0 or values.min() < -noise:
        ax.margins(y=0.05)
    elif len(positive) and levels.min() <= noise:
        threshold = max(float(positive.min()), 1e-8 * top)
        ax.set_ylim(-0.06 * threshold, top * (top / threshold) ** 0.05 * 1.05)
        ax.set_yscale("symlog", linthresh=threshold, linscale=0.5)
        symlog_ticks(ax.yaxis, threshold)
    else:
        low = max(float(values[values > 0].min()), 1e-16 * top)
        ax.set_ylim(low / (top / low) ** 0.05 / 1.1, top * (top / low) ** 0.05 * 1.1)
        ax.set_yscale("log")
        log_ticks(ax.yaxis)


def _strength_scale(ax: Axes, values: np.ndarray, target: np.ndarray) -> None:
    positive = target[target > 0]
    values = values[np.isfinite(values)]
    everything = np.append(values, target)
    top, lowest = float(np.max(everything)), float(np.min(values, initial=np.inf))
    if len(positive) and positive.max() > SPREAD * positive.min() and lowest > 0:
        ax.set_ylim(max(lowest, 1e-2 * float(positive.min())) / 1.5, 1.5 * top)
        ax.set_yscale("log")
        log_ticks(ax.yaxis)
    else:
        low = min(lowest, 0.0)
        margin = 0.04 * (top - low) or 1.0
        ax.set_ylim(low - margin, top + margin)
