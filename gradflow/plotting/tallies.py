"""Tallies of basins: shares with their intervals, and times to converge, one row for each class.

Everything is given as plain arrays; nothing is counted or estimated here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from gradflow import checks
from gradflow.plotting.axes import TIME_LABEL, log_ticks, require_axes
from gradflow.plotting.classes import ClassStyle, checked_codes, checked_shares, class_styles, dot, share_text, spoken
from gradflow.plotting.styles import GREY

QUANTILE_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Levels of the quantiles that :func:`convergence_times` draws."""

RARE = 0.02
"""Shares below this cannot be told apart on a linear axis."""


def basin_fractions(
    ax: Axes,
    names: Sequence[str],
    fractions: Any,
    low: Any,
    high: Any,
    *,
    outer: tuple[Any, Any] | None = None,
    log: bool | None = None,
    confidence: float | None = 0.95,
) -> list[ErrorbarContainer]:
    """Shares of the classes with their intervals, one row each, the first class on top.

    Args:
        ax: axes to draw on.
        names: the classes.
        fractions: their shares, 0 to 1.
        low: lower ends of the intervals.
        high: upper ends of the intervals; with a share of 0 the end of the interval is what the sample says.
        outer: ends of a second, wider interval (simultaneous over the classes), drawn thinner.
        log: whether the axis is logarithmic; by default when an upper end is below 2 % and not 0. A lower end of 0
            then reaches to the edge, and a share of 0 has a hollow marker at its upper end, none if that is 0 too.
        confidence: of the intervals, for the label of the axis; None for the cells of a slice, which have none.

    Returns:
        The intervals drawn, row by row, the wider first; one without a width is not drawn.

    Raises:
        InputError: arrays of other lengths, shares outside of their intervals or of [0, 1], a logarithmic axis where
            all ends are 0.
    """
    require_axes(ax)
    styles = class_styles(names)
    shares = checked_shares(len(names), fractions, (low, high))
    assert shares is not None
    wide = None if outer is None else checked_shares(len(names), fractions, outer)
    upper = shares[2][shares[2] > 0]
    is_log = bool(np.any(upper < RARE)) if log is None else bool(log)
    positive = np.concatenate([ends[ends > 0] for ends in (*shares, *(wide or ()))])
    checks.require(len(positive) > 0 or not is_log, "log", "be left out where all ends are 0", log)
    edge = 0.3 * float(positive.min()) if is_log else 0.0
    drawn = []
    for row, style in enumerate(styles):
        for ends, width in ((wide, 0.7), (shares, 2.2)):
            if ends is not None and ends[2][row] > ends[1][row]:
                drawn.append(_interval(ax, row, style, [max(float(end[row]), edge) for end in ends], width))
        share = float(shares[0][row])
        is_bound = is_log and share == 0
        place = float(shares[2][row]) if is_bound else share
        face = "white" if is_bound else style.color
        if place > 0 or not is_log:
            ax.plot(place, row, **dot(style) | {"markerfacecolor": face, "clip_on": False})
    _name_rows(ax, names)
    if is_log:
        ax.set_xscale("log")
        ax.set_xlim(edge, 1.0)
        log_ticks(ax.xaxis)
    else:
        ax.set_xlim(0.0, min(1.0, 1.08 * float(positive.max())) if len(positive) else 1.0)
    ax.set_xlabel(_share_label(confidence))
    texts = [share_text(shares, row) for row in range(len(names))]
    _right_of_rows(ax, texts)
    return drawn


def convergence_times(ax: Axes, names: Sequence[str], quantiles: Any, *, counts: Any = None) -> list[Line2D]:
    """Flow times to the end of the runs, one row for each class: median, quartiles and the middle 90 %.

    Args:
        ax: axes to draw on; their x axis becomes logarithmic.
        names: the classes, the first on top.
        quantiles: ``(classes, 5)``, those of :data:`QUANTILE_LEVELS`, from :func:`time_quantiles`; NaN in the rows of
            classes that no run ended in, which are said to be empty.
        counts: runs in each class, written beside the rows.

    Times of 0 (starts that are critical points) lie at the left edge.

    Raises:
        InputError: another shape, negative times, or quantiles that do not increase.
    """
    require_axes(ax)
    styles, names = class_styles(names), list(names)
    table = _checked_quantiles(quantiles, len(names))
    is_empty = np.isnan(table).any(axis=1)
    positive = table[~is_empty & (table > 0).any(axis=1)]
    positive = positive[positive > 0]
    left, right = (float(positive.min()) / 1.5, float(positive.max()) * 1.5) if positive.size else (0.1, 10.0)
    medians = []
    for row, (style, times) in enumerate(zip(styles, np.maximum(table, left), strict=True)):
        if is_empty[row]:
            ax.annotate("no run", (0.0, row), (4.0, 0.0), ax.get_yaxis_transform(), "offset points",
                        va="center", color=GREY, fontsize="small")  # fmt: skip
            continue
        ax.plot(times[[0, 4]], [row, row], color="black", linewidth=0.7, zorder=2)
        ax.plot(times[[1, 3]], [row, row], color="black", linewidth=4.4, solid_capstyle="butt", zorder=2)
        ax.plot(times[[1, 3]], [row, row], color=style.color, linewidth=3.2, solid_capstyle="butt", zorder=3)
        medians += ax.plot(times[2], row, **dot(style) | {"clip_on": False})
    _name_rows(ax, names)
    ax.set_xscale("log")
    ax.set_xlim(left, right)
    log_ticks(ax.xaxis)
    ax.set_xlabel(f"{TIME_LABEL}\nmedian, middle 50 % and middle 90 % of the runs")
    if counts is not None:
        checks.require(np.shape(counts) == (len(names),), "counts", f"have {len(names)} entries", np.shape(counts))
        _right_of_rows(ax, [f"{int(count):,}".replace(",", "\u2009") for count in counts])
    return medians


def time_quantiles(
    codes: Int[np.ndarray, " num"], times: Float[np.ndarray, " num"], num_classes: int
) -> Float[np.ndarray, "classes 5"]:
    """Quantiles :data:`QUANTILE_LEVELS` of the times of each class, NaN where a class has no run.

    Raises:
        InputError: codes outside of the classes, NaN among the times, or different lengths.
    """
    codes = checked_codes(codes, checks.integer("num_classes", num_classes))
    times = np.asarray(times, dtype=float)
    checks.require(times.shape == codes.shape, "times", f"have shape {codes.shape}", times.shape)
    checks.require(
        bool(np.isfinite(times).all()),
        "times",
        "be finite",
        "NaN or infinity",
        "Give the time at which the run stopped.",
    )
    table = np.full((num_classes, len(QUANTILE_LEVELS)), np.nan)
    for code in np.unique(codes):
        table[code] = np.quantile(times[codes == code], QUANTILE_LEVELS)
    return table


def _checked_quantiles(quantiles: Any, num_classes: int) -> np.ndarray:
    table = np.asarray(quantiles, dtype=float)
    shape = num_classes, len(QUANTILE_LEVELS)
    checks.require(table.shape == shape, "quantiles", f"have shape {shape}", table.shape, "Use time_quantiles.")
    filled = table[~np.isnan(table).any(axis=1)]
    is_valid = np.isfinite(filled).all() and (filled >= 0).all() and (np.diff(filled, axis=1) >= 0).all()
    checks.require(bool(is_valid), "quantiles", "be finite, not negative and increase along each row", filled.tolist())
    return table


def _share_label(confidence: float | None) -> str:
    if confidence is None:
        return "share of the cells"
    level = checks.real("confidence", confidence, above=0.0, below=1.0)
    return f"share of the starts, {100 * level:g} % interval"


def _interval(ax: Axes, row: int, style: ClassStyle, ends: list[float], width: float) -> ErrorbarContainer:
    share, low, high = ends
    color = style.color if width > 1 and style.color != "#ffffff" else "black"
    return ax.errorbar(
        share, row, xerr=[[max(share - low, 0.0)], [max(high - share, 0.0)]], fmt="none", ecolor=color,
        elinewidth=width, capsize=2.0, capthick=0.7, zorder=2 + width / 10,
    )  # fmt: skip


def _name_rows(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(np.arange(len(names)), [spoken(name) for name in names])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.tick_params(axis="y", length=0, pad=6.0)
    ax.set_ylim(len(names) - 0.4, -0.6)


def _right_of_rows(ax: Axes, texts: Sequence[str]) -> None:
    for row, text in enumerate(texts):
        ax.annotate(
            text, (1.0, row), (6.0, 0.0), ax.get_yaxis_transform(), "offset points", va="center", ha="left",
            fontsize="small", annotation_clip=False,
        )  # fmt: skip
