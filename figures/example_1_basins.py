"""Draws the basins of one ReLU unit: ``python figures/example_1_basins.py RESULTS.nc -o PICTURE.pdf``.

(a) Shares by calculation; (b) shares that fall silent by the first cone, beside the quadrature; (c) labels that differ
from the calculation cone by cone, by the distance from a separatrix.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import intervals, plotting
from gradflow.plotting.styles import OKABE_ITO

ENDS = {
    "flat": "flat cone",
    "global_minimum": "global min.",
    "spurious": "spurious min.",
    "undetermined": "no limit",
}
INDEPENDENT = "cone by cone"
"""The calculation that shares no code with the library; the prediction for the others."""

SETTLED = 1e-5
"""Distance from which on no label may differ."""


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Three panels in a row."""
    sheet = drawing.Sheet(1, 3, aspect=1.0)
    _shares(sheet.panel("Where all starts end"), results)
    _silent(sheet.panel("Who falls silent"), results)
    _beside(sheet.panel("Beside separatrices"), results)
    return sheet.finish()


def _with_interval(panel: drawing.Panel, x: np.ndarray, counts: np.ndarray, totals: np.ndarray, level: float,
                   label: str, **look: object) -> None:  # fmt: skip
    """Shares with their intervals."""
    ends = intervals.proportion_intervals(counts, totals, level)
    share = counts / totals
    panel.ax.errorbar(x, share, yerr=[share - ends.low, ends.high - share], fmt="none", ecolor=look["color"],
                      elinewidth=1.0, capsize=1.5, zorder=3)  # fmt: skip
    panel.points(x, share, label, **look)


def _shares(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.label("", "share of the starts, 95 % interval")
    looks = drawing.looks(results["how"].values.tolist())
    shifts = drawing.spread(len(looks), 0.4)
    for number, (how, look) in enumerate(looks.items()):
        one = results.isel(how_many=number)
        counts = np.array([int(one[name]) for name in ENDS])
        label = how.replace("estimate_basins, ", "").replace(",", "\u2009")
        num = f" ({int(one['starts'])} starts)" if "starts" not in how else ""
        x, totals = np.arange(len(ENDS)) + shifts[number], np.full(len(ENDS), int(one["starts"]))
        _with_interval(panel, x, counts, totals, 0.95, label + num, **look)
    alone = results.sel(how_many=results["how"] == INDEPENDENT)
    if alone.sizes["how_many"]:
        ends = intervals.proportion_intervals(int(alone["flat"][0]), int(alone["starts"][0]), 0.999)
        panel.ax.fill_between([-0.45, 0.45], float(ends.low), float(ends.high), color="0.85", zorder=0)
        panel.key("flat cone, its 99.9 % interval", color="0.8", linestyle="-", linewidth=5.0)
    panel.ticks(range(len(ENDS)), [text.replace(" ", "\n", 1) for text in ENDS.values()])
    panel.ax.set_ylim(-0.02, max(0.5, panel.ax.get_ylim()[1]))
    found = drawing.counted(results["differing"], results["compared"], "labels differ")
    panel.ax.text(0.98, 0.98, found, transform=panel.ax.transAxes, ha="right", va="top", fontsize="small")


def _silent(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.label("samples active at the start", "share that falls silent, 99.9 % interval")
    cones, x = results["cone"].values.tolist(), np.arange(results.sizes["first"])
    exact = results["cone_exact"].values
    panel.ax.plot(x, exact, linestyle="none", marker="_", markersize=16.0, color="black", zorder=3)
    panel.key("by quadrature", marker="_", markersize=10.0)
    for place in x[np.isnan(exact)]:
        panel.points([place], [np.nan], missing="no quadrature")
    _with_interval(panel, x, results["cone_silent"].values, results["cone_starts"].values, 0.999, "counted",
                   color=OKABE_ITO["blue"])  # fmt: skip
    panel.ticks(x, cones)
    panel.ax.set_ylim(-0.03, 1.08)
    panel.ax.set_xlim(-0.5, len(cones) - 0.5)


def _beside(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.logarithmic("x").label("distance from a separatrix", "share of the starts there")
    distance, total = results["distance"].values, results["beside_starts"].values
    panel.points(distance, results["beside_other"].values / total, "another label", color=OKABE_ITO["vermillion"],
                 linestyle="-")  # fmt: skip
    panel.points(distance, results["beside_undetermined"].values / total, "undetermined", color=OKABE_ITO["blue"],
                 marker="s", linestyle=":", markerfacecolor="white")  # fmt: skip
    top = max(0.05, panel.ax.get_ylim()[1])
    panel.ax.set_ylim(-0.03 * top, top)
    panel.line([SETTLED, distance.max() * 3], [0.0, 0.0], "predicted: none differs")


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
