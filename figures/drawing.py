"""What the figures of the experiments share: the command, panels, and marks for what has no place on an axis.

A figure is a function ``page(results) -> Figure`` of one saved dataset; it integrates nothing. Predictions are lines
and hatched regions, measurements are markers. A value that is missing, and one that a logarithmic axis cannot show, is
drawn at the edge with a marker of its own and counted in the legend, so nothing is dropped without a word.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from gradflow import checks, laboratory, plotting
from gradflow.plotting.axes import log_ticks, note, number
from gradflow.plotting.styles import GREY, OKABE_ITO, REFERENCE_DASH, series_styles

BELOW, ABOVE, LEFT, MISSING = "v", "^", "<", "$?$"
"""Markers at an edge: 0 or negative on a logarithmic axis, beyond the top, the same on the left, without a value."""

WRONG = {"color": OKABE_ITO["vermillion"], "marker": "X", "markersize": 6.0, "zorder": 6}
"""The look of what a prediction excludes."""

TICK_WIDTH, TICK_HEIGHT = 0.4, 0.25
"""Inches that the label of a decade needs along its axis."""

FEW_DECADES = 4.0
"""A logarithmic axis over a smaller factor than this has ticks at equal distances."""

REGION = {"facecolor": "0.93", "edgecolor": "0.75", "hatch": "////", "linewidth": 0.0}
"""The look of a region that a prediction excludes."""


class Sheet:
    """A figure of `rows` times `columns` panels with letters, over `wide` columns of a page.

    Take them with :meth:`panel`, in reading order, and end with :meth:`finish`. `aspect` as for
    ``plotting.figure_size``.
    """

    def __init__(self, rows: int, columns: int, aspect: float = 0.8, wide: int = 2, **options: Any):
        self.figure = Figure(figsize=plotting.figure_size(wide, aspect=aspect, rows=rows), layout="constrained")
        self.figure.get_layout_engine().set(h_pad=0.06, w_pad=0.06)  # type: ignore[union-attr]
        self.axes = self.figure.subplots(rows, columns, squeeze=False, **options)
        self.panels: list[Panel] = []

    def panel(self, text: str) -> "Panel":
        """The next axes, with a statement; a sheet of one panel has no letters."""
        letter = "abcdefghijkl"[len(self.panels)] if self.axes.size > 1 else ""
        self.panels.append(Panel(self.axes.flat[len(self.panels)], letter, text))
        return self.panels[-1]

    def finish(self, shared: bool = False) -> Figure:
        """The figure with statements and legends above each panel, or with one legend for all (`shared`) below."""
        for ax in self.axes.flat[len(self.panels) :]:
            ax.remove()
        for panel in self.panels:
            panel.ax.set_title(panel.text)
        self.figure.draw_without_rendering()
        for panel in self.panels:
            panel.ticked()
        if shared:
            together = self.panels[0]
            for panel in self.panels[1:]:
                together.take_keys(panel)
            self.figure.legend(handles=together.all_keys(), loc="outside lower left", ncols=3)
            return self.figure
        width = self.axes.shape[1]
        for first in range(0, len(self.panels), width):
            row = self.panels[first : first + width]
            columns = [panel.num_columns() for panel in row]
            height = max(-(-len(panel.all_keys()) // num) for panel, num in zip(row, columns, strict=True))
            for panel, num in zip(row, columns, strict=True):
                panel.legend(num, height)
        return self.figure


def looks(names: Iterable[Any]) -> dict[Any, dict[str, Any]]:
    """Colour and marker of each name, in order; to be told apart in grey too."""
    names = list(dict.fromkeys(names))
    styles = series_styles(len(names))
    return {name: {"color": one["color"], "marker": one["marker"]} for name, one in zip(names, styles, strict=True)}


def spread(num: int, width: float = 0.5) -> np.ndarray:
    """`num` offsets around 0, over `width`, so that points of one place lie side by side."""
    return np.linspace(-width / 2, width / 2, num) if num > 1 else np.zeros(num)


class Panel:
    """One axes with its letter and statement, and the keys of what is drawn on it.

    Measurements go through :meth:`points`, predictions through :meth:`limit`, :meth:`line` and :meth:`excluded`;
    the sheet writes letter, statement and legend above the axes, when everything is drawn.
    """

    def __init__(self, ax: Axes, letter: str, text: str):
        self.ax, self.text = ax, f"$\\mathbf{{{letter}}}$   {text}" if letter else text
        self.keys: list[Any] = []
        self.edges: dict[tuple[str, str], int] = {}

    def label(self, x: str, y: str) -> "Panel":
        """Names the axes."""
        self.ax.set_xlabel(x)
        self.ax.set_ylabel(y)
        return self

    def logarithmic(self, axes: str = "xy") -> "Panel":
        """Makes axes logarithmic; before points are given."""
        for axis in axes:
            getattr(self.ax, f"set_{axis}scale")("log")
        return self

    def points(self, x: Any, y: Any, label: str = "", missing: str = "undetermined", **look: Any) -> None:
        """Markers at measured values; a line joins them where `look` has a linestyle.

        What has no place on an axis is marked at its edge: "?" where it is NaN (`missing` says what that means), a
        triangle where it is infinite, or not positive on a logarithmic axis.
        """
        x, y = np.broadcast_arrays(np.asarray(x, dtype=float).ravel(), np.asarray(y, dtype=float).ravel())
        look = {"linestyle": "none", "marker": "o", "zorder": 4} | look
        is_far_left, is_far_down = self._is_low(x, "x"), self._is_low(y, "y")
        is_shown = np.isfinite(x) & np.isfinite(y) & ~is_far_left & ~is_far_down
        self.ax.plot(x[is_shown], y[is_shown], **look)
        if label and not np.isnan(y).all():
            self.key(label, **look)
        self._keep_range(x, y)
        color, low = look.get("color", "black"), "0 or less"
        for chosen, marker, height, words in (
            (np.isnan(y), MISSING, 0.04, missing),
            (is_far_down, BELOW, 0.02, low if self.ax.get_yscale() == "log" else "minus infinity"),
            (y == np.inf, ABOVE, 0.98, "infinite"),
        ):
            if (chosen := chosen & np.isfinite(x) & ~is_far_left).any():
                self._at_edge(x[chosen], np.full(chosen.sum(), height), marker, words, color)
        for chosen, marker, words in ((np.isnan(x), MISSING, missing), (is_far_left, LEFT, low)):
            if (chosen := chosen & np.isfinite(y) & ~is_far_down).any():
                self._at_edge(np.full(chosen.sum(), 0.02), y[chosen], marker, words, color, axis="y")

    def _is_low(self, values: np.ndarray, axis: str) -> np.ndarray:
        scale = self.ax.get_xscale() if axis == "x" else self.ax.get_yscale()
        return np.asarray(values <= 0 if scale == "log" else values == -np.inf)

    def _keep_range(self, x: np.ndarray, y: np.ndarray) -> None:
        """Gives a logarithmic axis on which nothing has a place yet a range around 1."""
        limits = self.ax.dataLim
        nothing = (self.ax.get_xscale() == "log" and np.isinf(limits.minposx),
                   self.ax.get_yscale() == "log" and np.isinf(limits.minposy))  # fmt: skip
        if any(nothing):
            places = [1.0 if is_empty else float(np.nanmin(values, initial=1.0, where=np.isfinite(values)))
                      for is_empty, values in zip(nothing, (x, y), strict=True)]  # fmt: skip
            self.ax.update_datalim([places], updatex=nothing[0], updatey=nothing[1])

    def beyond(self, x: Any, words: str, **look: Any) -> None:
        """Hollow triangles at the top edge for values that are only known to lie beyond it."""
        x = np.asarray(x, dtype=float)
        self._at_edge(x, np.full(len(x), 0.98), ABOVE, words, look.get("color", "black"))

    def _at_edge(self, x: np.ndarray, y: np.ndarray, marker: str, words: str, color: Any, axis: str = "x") -> None:
        """Marks at an edge of the axes; along `axis` the places are those of the data."""
        transform = self.ax.get_xaxis_transform() if axis == "x" else self.ax.get_yaxis_transform()
        size = 6.0 if marker == MISSING else 4.5
        face = color if marker == MISSING else "white"
        self.ax.plot(x, y, linestyle="none", marker=marker, markersize=size, color=color, markerfacecolor=face,
                     markeredgewidth=0.5 if marker == MISSING else 0.9, clip_on=False, transform=transform,
                     zorder=7)  # fmt: skip
        self.at_edge(words, marker, len(x))

    def at_edge(self, words: str, marker: str, num: int = 1) -> None:
        """Counts values that are drawn at an edge, for the legend."""
        self.edges[words, marker] = self.edges.get((words, marker), 0) + num

    def line(self, x: Any, y: Any, label: str = "", **look: Any) -> None:
        """A predicted curve."""
        look = {"color": GREY, "linestyle": REFERENCE_DASH, "linewidth": 0.9, "zorder": 2} | look
        self.ax.plot(x, y, **look)
        if label:
            self.key(label, **look)

    def limit(self, value: float, label: str = "", axis: str = "y", **look: Any) -> None:
        """A predicted number, as a line across the axes."""
        look = {"color": GREY, "linestyle": REFERENCE_DASH, "linewidth": 0.9, "zorder": 2} | look
        (self.ax.axhline if axis == "y" else self.ax.axvline)(value, **look)
        if label:
            self.key(label, **look)

    def excluded(self, low: float, high: float, label: str = "excluded by the prediction", axis: str = "y") -> None:
        """A hatched region where no measurement may lie; the limits of the axes stay as they are."""
        limits = self.ax.get_ylim() if axis == "y" else self.ax.get_xlim()
        is_log = (self.ax.get_yscale() if axis == "y" else self.ax.get_xscale()) == "log"
        low = max(low, 1e-300) if is_log else low
        (self.ax.axhspan if axis == "y" else self.ax.axvspan)(low, high, zorder=0, **REGION)
        (self.ax.set_ylim if axis == "y" else self.ax.set_xlim)(limits)
        if label:
            self.keys.append(Patch(label=label, **REGION))

    def key(self, label: str, **look: Any) -> None:
        """An entry of the legend, once."""
        if label not in [one.get_label() for one in self.keys]:
            self.keys.append(Line2D([], [], **{"linestyle": "none", "color": "black"} | look, label=label))

    def note(self, text: str, height: float = 0.5) -> None:
        """A sentence where there is nothing to draw."""
        note(self.ax, text, height)

    def ticks(self, places: Iterable[float], names: Iterable[str], axis: str = "x", **options: Any) -> None:
        """Names instead of numbers on an axis."""
        chosen = self.ax.xaxis if axis == "x" else self.ax.yaxis
        chosen.set_major_locator(FixedLocator(list(places)))
        chosen.set_minor_locator(NullLocator())
        chosen.set_ticks(list(places), list(names), **options)
        self.ax.tick_params(axis=axis, length=0)

    def rows(self, names: Sequence[str]) -> None:
        """A named row for each of `names`, the first on top."""
        self.ticks(range(len(names)), names, axis="y")
        self.ax.set_ylim(len(names) - 0.4, -0.6)

    def ticked(self) -> None:
        """Decades as ticks of logarithmic axes, as many as have room side by side."""
        box = self.ax.get_window_extent()
        for axis, scale, length, room in (
            (self.ax.xaxis, self.ax.get_xscale(), box.width, TICK_WIDTH),
            (self.ax.yaxis, self.ax.get_yscale(), box.height, TICK_HEIGHT),
        ):
            if scale == "log" and not isinstance(axis.get_major_locator(), FixedLocator):
                log_ticks(axis)
                low, high = sorted(axis.get_view_interval())
                most = max(2, int(length / self.ax.figure.dpi / room))
                if np.log10(high / low) >= most:
                    step = int(np.ceil(np.log10(high / low) / most))
                    first = int(np.ceil(np.log10(low) / step)) * step
                    axis.set_major_locator(FixedLocator(10.0 ** np.arange(first, np.log10(high) + 1e-9, step)))
                elif high / low < FEW_DECADES:
                    axis.set_major_locator(MaxNLocator(min(most, 5)))
                    axis.set_minor_locator(NullLocator())
                    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))

    def all_keys(self) -> list[Any]:
        """The keys of what is drawn and, last, of what is at an edge, with its number."""
        return self.keys + [
            Line2D([], [], linestyle="none", marker=marker, color="black", markersize=5.0, label=f"{words}: {num}",
                   markerfacecolor="black" if marker == MISSING else "white", markeredgewidth=0.6)
            for (words, marker), num in self.edges.items()
        ]  # fmt: skip

    def take_keys(self, other: "Panel") -> None:
        """Adds the keys of another panel, those that are not here already."""
        known = [one.get_label() for one in self.keys]
        self.keys += [one for one in other.keys if one.get_label() not in known]
        for (words, marker), num in other.edges.items():
            self.at_edge(words, marker, num)

    def num_columns(self) -> int:
        """The most columns of keys that fit above the axes, as they are laid out now."""
        width = self.ax.get_window_extent().width
        for num in range(len(self.all_keys()), 1, -1):
            if self.legend(num, 0).get_window_extent().width <= width:
                return num
        return 1

    def legend(self, num_columns: int, height: int) -> Legend:
        """The statement above the axes, and below it the keys: row by row in columns of at least `height` entries."""
        keys, blank = self.all_keys(), Line2D([], [], linestyle="none", label=" ")
        height = max(height, -(-len(keys) // num_columns))
        keys += [blank] * (height * num_columns - len(keys))
        by_column = [keys[place] for column in range(num_columns) for place in range(column, len(keys), num_columns)]
        self.ax.set_title("")
        legend = self.ax.legend(handles=by_column, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=num_columns,
                                title=self.text, alignment="left", title_fontsize="medium")  # fmt: skip
        legend.set_zorder(8)
        return legend


def answers(panel: Panel, x: Any, y: Any, values: Any) -> None:
    """Yes and no at places, told apart by shape: a filled dot where a prediction holds, a cross where it does not."""
    values = np.asarray(values, dtype=bool)
    looks = {True: ("as predicted", {"marker": "o", "color": OKABE_ITO["blue"], "markersize": 5.0}),
             False: ("not as predicted", WRONG)}  # fmt: skip
    for value, (words, look) in looks.items():
        if (values == value).any():
            panel.points(np.asarray(x)[values == value], np.asarray(y)[values == value], words, **look)


def counted(values: Any, total: Any, words: str) -> str:
    """``3 of 20 WORDS``."""
    return f"{int(values):,} of {int(total):,} {words}".replace(",", "\u2009")


def signed(figure: Figure, results: xr.Dataset) -> Figure:
    """`figure` with a line above that names the experiment and says how many of its predictions agree."""
    name = results.attrs["experiment"]
    found = laboratory.judged(laboratory.load_experiment(name), results)
    text = f"gradflow run {name}: predictions {laboratory.tally(found)}. Everything is dimensionless."
    figure.suptitle(text, x=0.01, ha="left", fontsize="small", color=GREY)
    return figure


def command(page: Callable[[xr.Dataset], Figure], about: str, arguments: Sequence[str] | None = None) -> int:
    """Draws one results file; exit code 0, 2 for a wrong call, 4 for a file that cannot be read or written."""
    summary = about.split(":", 1)[0] + "."
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("results", help="what `gradflow run NAME --out FOLDER` saved: FOLDER/NAME.nc")
    parser.add_argument("-o", "--out", required=True, help="picture to write: .pdf, .png or .svg")
    parser.add_argument("--dpi", type=float, default=300.0, help="dots per inch of a .png")
    chosen = parser.parse_args(arguments)
    try:
        results = laboratory.load_results(chosen.results)
        with plotting.style():
            written = plotting.save_figure(signed(page(results), results), chosen.out, dpi=chosen.dpi)
    except (checks.InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, checks.InputError) else 4
    print(written)
    return 0
