"""Parts that several plots share: the time axis, ticks, labels in the margin, legends above the data, numbers as text.

Knows axes and numbers; what they mean is the business of the plots.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
from scipy.optimize import isotonic_regression

from gradflow import checks
from gradflow.plotting.styles import GREY

TIME_LABEL = "flow time $t$ (dimensionless)"

MINOR_DECADES = 7.0
"""On a logarithmic axis of more decades only the decades themselves are marked."""

_LEADER = {"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 1.5, "shrinkB": 0.0, "relpos": (0.0, 0.5)}


class Drawn(NamedTuple):
    """What a plot put on the axes: the curves of the run, and the lines, bands and labels they are compared with."""

    curves: list[Line2D]
    references: list[Artist]


def require_axes(ax: Any) -> Axes:
    """`ax`, checked to be one matplotlib Axes."""
    checks.require(
        isinstance(ax, Axes), "ax", "be a matplotlib Axes", type(ax).__name__, "Make one with plt.subplots()."
    )
    return ax


def draw_curve(ax: Axes, times: np.ndarray, values: np.ndarray, **kwargs: Any) -> Line2D:
    """One curve of a run; a run of a single row is a dot."""
    if len(times) == 1:
        kwargs["marker"] = kwargs.get("marker", "o")
    if np.isfinite(values).sum() < 2:
        kwargs.pop("markevery", None)
    return ax.plot(times, values, **kwargs)[0]


def time_axis(ax: Axes, times: np.ndarray, start: float | None = None, linear: bool = False) -> None:
    """Labels the time axis and chooses its scale: logarithmic when the positive times span more than a decade.

    A logarithmic axis begins at `start` (never before the first positive time; t = 0 lies off it). Runs with a
    negative time, or with hardly any rows, get a linear axis, and so does everybody who asks for `linear`.
    """
    ax.set_xlabel(TIME_LABEL)
    positive = times[times > 0]
    if linear or np.any(times < 0) or positive.size < 2 or positive[-1] < 10 * positive[0]:
        low, high = float(np.min(times)), float(np.max(times))
        margin = 0.03 * (high - low) if high > low else 1.0
        ax.set_xlim(low - margin, high + margin)
        if high == low:
            ax.xaxis.set_major_locator(FixedLocator([low]))
        return
    left = max(float(positive[0]), start or 0.0)
    left = min(left, float(positive[-1]) / 10)
    ax.set_xlim(left, float(positive[-1]) * (positive[-1] / left) ** 0.02)
    ax.set_xscale("log")
    log_ticks(ax.xaxis)


def log_ticks(axis: Any) -> None:
    """Decades as labelled ticks, thinned to at most about six, with the skipped ones as small marks."""
    axis.set_major_locator(LogLocator(base=10.0, numticks=7))
    low, high = sorted(axis.get_view_interval())
    is_wide = low > 0 and np.log10(high / low) > MINOR_DECADES
    axis.set_minor_locator(LogLocator(base=10.0, subs=(1.0,) if is_wide else tuple(range(2, 10)), numticks=50))
    if low > 0 and np.log10(high / low) < 1.7:
        axis.set_major_locator(LogLocator(base=10.0, subs=(1.0, 2.0, 5.0), numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_formatter(NullFormatter())


def symlog_ticks(axis: Any, linthresh: float) -> None:
    """Zero and powers of ten outside the linear part as ticks; 1, 2, 5 where the range is less than two decades."""
    low, high = sorted(axis.get_view_interval())
    values = _symlog_values(low, high, linthresh)
    sizes = np.abs(values)[np.abs(values) > 0]
    is_plain = not len(sizes) or (sizes.min() > 5e-4 and sizes.max() < 5e4)
    axis.set_minor_locator(NullLocator())
    axis.set_major_locator(FixedLocator(values))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, powers=not is_plain)))


def _symlog_values(low: float, high: float, linthresh: float) -> list[float]:
    tops = [max(limit, linthresh) for limit in (-low, high)]
    decades = float(np.sum(np.log10(np.array(tops) / linthresh)))
    step = max(1, int(np.ceil(decades / 6)))

    def positive(top: float) -> list[float]:
        exponent, values = int(np.floor(np.log10(top) + 1e-9)), []
        while 10.0**exponent >= linthresh * 10.0 ** (0.3 * (step - 1)):
            values.append(10.0**exponent)
            exponent -= step
        if decades < 2:
            finer = [mantissa * 10.0**power for power in (exponent, *np.log10(values)) for mantissa in (1, 2, 5)]
            values = [value for value in finer if linthresh * (1 - 1e-9) <= value <= top]
        return values

    return sorted({-value for value in positive(tops[0])} | {0.0} | set(positive(tops[1])))


def number(value: float, powers: bool = False) -> str:
    r"""A number as short mathematical text: ``0.02``, ``300``, ``$2\times10^{-9}$``; with `powers` always the last."""
    exponent = int(np.floor(np.log10(abs(value)) + 1e-12)) if value and np.isfinite(value) else 0
    if not value or (-3 <= exponent <= 4 and not powers):
        return (f"{value:.3g}" if exponent < 3 else f"{value:.0f}").replace("-", "\u2212")
    mantissa = value / 10.0**exponent
    if abs(abs(mantissa) - 1) < 1e-9:
        return f"${'-' if value < 0 else ''}10^{{{exponent}}}$"
    return f"${mantissa:.2g}\\times10^{{{exponent}}}$"


def symbol(name: str) -> str:
    """A name with its indices and powers as mathematics: ``C_10``, ``W_1 on ker X^T``."""
    return re.sub(r"\b([A-Za-z]+)([_^])(\w+)", r"$\1\2{\3}$", name)


def legend_above(ax: Axes, handles: Sequence[Any], **kwargs: Any) -> Legend:
    """A legend above the axes, left aligned, outside of the data, in as few rows as the width of the axes allows."""
    width, columns = ax.get_window_extent().width, 0
    for rows in range(1, len(handles) + 1):
        if columns == (columns := -(-len(handles) // rows)):
            continue
        legend = ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, **kwargs)
        if legend.get_window_extent().width <= width:
            break
    return legend


def margin_labels(
    ax: Axes, heights: Iterable[float], texts: Iterable[str], colors: Iterable[Any] | None = None
) -> list[Annotation]:
    """Labels right of the axes at the given heights (data units), moved apart where they would overlap.

    Leader lines join moved labels to their heights. When there is no room for all, those too close to another are left
    out, never the first or the last; heights outside the axes get none. Set scale and limits of the axes first.
    """
    heights, texts = np.asarray(list(heights), dtype=float), list(texts)
    colors = ["black"] * len(texts) if colors is None else list(colors)
    low, high = sorted(ax.get_ylim())
    box = ax.get_window_extent()
    points = 72.0 / ax.figure.dpi
    natural = (ax.transData.transform(np.column_stack([np.ones_like(heights), heights]))[:, 1] - box.y0) * points
    size = Text(fontsize="small").get_fontsize()
    available, gap = box.height * points, 1.15 * size
    order = np.argsort(-heights, kind="stable")
    order = order[(heights[order] >= low) & (heights[order] <= high)]
    room = max(2, int(available / gap))
    if len(order) > room:
        order = _thinned(order, natural, gap)
    placed = _spread(natural[order], gap, 0.0, available - 0.2 * size)
    return [
        ax.annotate(
            texts[index],
            xy=(1.0, heights[index]),
            xycoords=ax.get_yaxis_transform(),
            xytext=(9.0, position - natural[index]),
            textcoords="offset points",
            fontsize="small",
            color=colors[index],
            va="center",
            ha="left",
            annotation_clip=False,
            arrowprops={**_LEADER, "color": colors[index]},
        )
        for index, position in zip(order, placed, strict=True)
    ]


def _thinned(order: np.ndarray, heights: np.ndarray, gap: float) -> np.ndarray:
    """The first and the last of descending heights, and from the first on those a gap away from the kept ones."""
    kept = [order[0]]
    for index in order[1:-1]:
        if heights[kept[-1]] - heights[index] >= gap and heights[index] - heights[order[-1]] >= gap:
            kept.append(index)
    return np.array([*kept, order[-1]])


def _spread(heights: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Descending `heights`, moved as little as possible (least squares) so that neighbours are `gap` apart."""
    if not len(heights):
        return heights
    ranks = gap * np.arange(len(heights))
    shifted = isotonic_regression(heights + ranks, increasing=False).x
    return np.clip(shifted, low + ranks[-1], max(high, low + ranks[-1])) - ranks


def margin_title(ax: Axes, text: str) -> Text:
    """A heading over the labels of :func:`margin_labels`."""
    return ax.annotate(
        text, (1.0, 1.0), (9.0, 6.0), "axes fraction", textcoords="offset points", fontsize="small", color=GREY
    )


def note(ax: Axes, text: str, height: float = 0.5) -> Text:
    """A sentence inside the axes (at that part of their height) for a quantity that does not exist here."""
    return ax.text(0.5, height, text, transform=ax.transAxes, ha="center", va="center", color=GREY, wrap=True)
