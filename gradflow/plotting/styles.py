"""One style for every figure: sizes of a printed column, Okabe-Ito colours, and marks that survive a grey copy.

Colours never carry a meaning alone: unordered curves differ in colour, dash and marker, ordered ones (layers, modes)
run from dark to light and are labelled where they end. Nothing here knows what is drawn. The fonts come with
matplotlib, so that a figure looks alike on every machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler

from gradflow import checks

OKABE_ITO = {
    "black": "#000000",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
}
"""Eight colours that stay apart for the common kinds of colour blindness (Okabe and Ito, 2008)."""

GREY = "#666666"
"""Colour of everything that is reference, not result: thresholds, leader lines, notes."""

REFERENCE_DASH = (0, (4, 2))
"""Dash of every reference line."""

COLUMN_WIDTH = 3.4
"""Width in inches of a figure in one column of a two-column page."""

DOUBLE_WIDTH = 7.0
"""Width in inches of a figure across the page."""

_LINE_COLORS = tuple(OKABE_ITO[name] for name in ("blue", "vermillion", "green", "black", "purple", "orange", "sky"))
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")

_SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Bitstream Vera Sans", "Liberation Sans", "Arial", "Helvetica"],
    "mathtext.fontset": "dejavusans",
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.titlesize": 8.0,
    "axes.titlelocation": "left",
    "axes.titlepad": 5.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "figure.titlesize": 9.0,
    "figure.figsize": (COLUMN_WIDTH, 0.72 * COLUMN_WIDTH),
    "figure.dpi": 150.0,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 300.0,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-3, 4),
    "axes.prop_cycle": cycler(color=_LINE_COLORS),
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "legend.frameon": False,
    "legend.handlelength": 2.0,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.0,
    "legend.borderaxespad": 0.2,
    "image.cmap": "cividis",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}


@contextmanager
def style(**settings: Any) -> Iterator[None]:
    """The style of gradflow's figures, for the figures made inside the ``with`` block; outside nothing changes.

    Args:
        settings: matplotlib rc parameters that win over the style, with ``_`` for the first dot:
            ``style(font_size=10)``.

    Example:
        >>> from matplotlib.figure import Figure
        >>> with style():
        ...     Figure().get_size_inches().tolist()
        [3.4, 2.448]
    """
    chosen = {_rc_name(key): value for key, value in settings.items()}
    with matplotlib.rc_context({**_SETTINGS, **chosen}):
        yield


def figure_size(columns: int = 1, aspect: float = 0.72, rows: int = 1) -> tuple[float, float]:
    """Width and height in inches of a figure that spans `columns` (1 or 2) columns of a page.

    Args:
        columns: 1 for 3.4 inches, 2 for 7 inches.
        aspect: height of one row of panels as a part of the column width.
        rows: number of rows of panels.
    """
    checks.require(columns in (1, 2), "columns", "be 1 or 2", columns)
    width = COLUMN_WIDTH if columns == 1 else DOUBLE_WIDTH
    return width, COLUMN_WIDTH * checks.real("aspect", aspect, above=0.0) * checks.integer("rows", rows)


def series_styles(count: int) -> list[dict[str, Any]]:
    """Keyword arguments of ``ax.plot`` for `count` unordered curves, told apart by colour, dash and marker.

    No two of the first 35 share colour and dash.
    """
    return [
        {
            "color": _LINE_COLORS[index % len(_LINE_COLORS)],
            "linestyle": _DASHES[index % len(_DASHES)],
            "marker": _MARKERS[index % len(_MARKERS)],
        }
        for index in range(count)
    ]


def ordered_colors(count: int) -> list[tuple[float, float, float, float]]:
    """`count` colours from dark to light for an ordered family (layers, modes), monotone in grey."""
    return [tuple(color) for color in matplotlib.colormaps["viridis"](np.linspace(0.0, 0.74, max(count, 1)))][:count]


def _rc_name(key: str) -> str:
    """The rc parameter a keyword stands for: some names keep further underscores, so the known one is looked up."""
    for name in matplotlib.rcParams:
        if name.replace(".", "_") == key:
            return name
    raise checks.InputError(f"`{key}` must be a matplotlib rc parameter. {checks.nearest(key, _known())}"[:400])


def _known() -> list[str]:
    return [name.replace(".", "_") for name in _SETTINGS]
