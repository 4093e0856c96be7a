"""Draws how many starts end at a saddle: ``python figures/saddles_are_not_limits.py RESULTS.nc -o PICTURE.pdf``.

(a) Upper bounds of the share of saddles for each depth and scale, beside what counting can give; (b) shares without a
limit by the horizon; (c) starts of which it is known where they end; (d) the slowest law stopped early.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting
from gradflow.plotting.axes import TIME_LABEL
from gradflow.plotting.styles import OKABE_ITO

PARTS = {
    "known_hits": ("where predicted", OKABE_ITO["blue"], ""),
    "known_undetermined": ("undetermined", "#b0b0b0", "++++"),
    "known_others": ("elsewhere", OKABE_ITO["orange"], "////"),
}


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Four panels."""
    sheet = drawing.Sheet(2, 2, aspect=0.95)
    _bounds(sheet.panel("Starts that end at a saddle"), results)
    _unsettled(sheet.panel("Without a limit by the horizon"), results)
    _known(sheet.panel("Starts whose end is known"), results)
    law = f"$H={int(results['cut_depth'][0])}$, scale {float(results['cut_scale'][0]):g}"
    _cut(sheet.panel(f"Stopped early, {law}"), results)
    return sheet.finish()


def _names(results: xr.Dataset) -> list[str]:
    pairs = zip(results["depth"].values, results["scale"].values, strict=True)
    return [f"$H={depth}$, scale {scale:g}" for depth, scale in pairs]


def _bounds(panel: drawing.Panel, results: xr.Dataset) -> None:
    saddles, open_ones = results["saddles"].values, results["undetermined"].values
    counts = zip(_names(results), saddles, open_ones, strict=True)
    names = [f"{name}\n{num} saddles, {others} undetermined" for name, num, others in counts]
    panel.logarithmic("x").rows(names)
    panel.label("share of the starts (dimensionless)", "")
    rows, starts = np.arange(len(names)), results["starts"].values
    panel.points(results["bound"], rows, f"upper bound, {100 * float(results['level'][0]):g} %", marker="<",
                 color=OKABE_ITO["blue"])  # fmt: skip
    panel.ax.plot(3.0 / starts, rows, linestyle="none", marker="|", markersize=12.0, color="black")
    panel.key("3 / number of starts: no saddle seen", marker="|", markersize=9.0)
    for row in rows:
        if saddles[row]:
            panel.points([saddles[row] / starts[row]], [row], "ended at a saddle", **drawing.WRONG)
    panel.ax.set_xlim(min(1e-7, 1.0 / starts.max()), 3.0)


def _unsettled(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.logarithmic().label(TIME_LABEL, "share without a limit")
    for number, (name, look) in enumerate(drawing.looks(_names(results)).items()):
        panel.points(results["horizon"], results["unsettled"].isel(law=number), name, linestyle="-", linewidth=0.7,
                     markersize=3.0, **look)  # fmt: skip
    panel.ax.set_ylim(min(1e-6, panel.ax.get_ylim()[0]), 3.0)


def _cut(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.logarithmic().label(TIME_LABEL, "share of the starts")
    horizon, starts = results["cut_horizon"], results["cut_starts"]
    panel.points(
        horizon, results["cut_undetermined"] / starts, "without a limit", color=OKABE_ITO["blue"], linestyle="-"
    )
    called = f"upper bound of saddles; {int(results['cut_saddles'].max())} called so"
    panel.points(horizon, results["cut_bound"], called, color=OKABE_ITO["orange"], marker="s",
                 linestyle=":")  # fmt: skip
    saddles = results["cut_saddles"].values
    if (saddles > 0).any():
        panel.points(
            horizon.values[saddles > 0], (saddles / starts.values)[saddles > 0], "called saddles", **drawing.WRONG
        )
    low = min(0.3 / float(starts.max()), panel.ax.get_ylim()[0])
    panel.ax.set_ylim(low, 3.0)


def _known(panel: drawing.Panel, results: xr.Dataset) -> None:
    names = [name.replace("the same start", "same start") for name in results["known_name"].values.tolist()]
    panel.rows(names)
    panel.label("share of the starts of the case", "")
    panel.ax.tick_params(axis="y", labelsize="x-small")
    rows, left = np.arange(len(names)), np.zeros(len(names))
    for part, (words, color, hatch) in PARTS.items():
        width = results[part].values / results["known_starts"].values
        shown = width > 0
        if shown.any():
            bars = panel.ax.barh(rows[shown], width[shown], left=left[shown], height=0.6, color=color, hatch=hatch,
                                 edgecolor="white" if not hatch else "0.3", linewidth=0.4)  # fmt: skip
            panel.keys.append(bars[0])
            bars[0].set_label(words)
        left += width
    panel.ax.set_xlim(0.0, 1.0)
    panel.ax.set_xticks([0.0, 0.5, 1.0])


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
