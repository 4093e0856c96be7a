"""Draws how long plateaus last: ``python figures/plateau_times.py RESULTS.nc -o PICTURE.pdf``.

By the scale of the start: when the loss passes each step of the ladder, a panel for each depth; how near the plateau
between them lies to the critical value; its smallest gradient; and a chain of width one beside its closed form.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting
from gradflow.plotting.styles import OKABE_ITO

SCALE = "scale of the start"
STRENGTHS = {"first": 2.0, "second": 1.0}
"""The singular value that is learned at each step."""

LEVEL = 0.5
"""The critical value between the steps."""

MISSES = 0.8
"""Predicted power of the scale in what the plateau misses the critical value by, one hidden layer."""


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """A panel for each depth, and three more."""
    depths = results["depth"].values.tolist()
    sheet = drawing.Sheet(2, max(3, len(depths)), aspect=0.95)
    for depth in depths:
        _times(sheet.panel(f"$H={depth}$: times of the steps"), results.sel(depth=depth), depth)
    _levels(sheet.panel("Level of the plateau"), results)
    _gradients(sheet.panel("Rest on the plateau"), results)
    _chain(sheet.panel("Chain of width one"), results)
    return sheet.finish()


def _times(panel: drawing.Panel, group: xr.Dataset, depth: int) -> None:
    panel.logarithmic("x" if depth == 1 else "xy").label(SCALE, "flow time $t$")
    scale = group["scale"].values
    for step, color, marker in (("first", "blue", "o"), ("second", "orange", "s")):
        times = group["times"].sel(step=step).values
        panel.points(np.broadcast_to(scale[:, None], times.shape), times, f"{step} step", "not passed",
                     color=OKABE_ITO[color], marker=marker)  # fmt: skip
        last = np.nanmedian(times[-1]) if np.isfinite(times[-1]).any() else np.nan
        if depth == 1:
            panel.line(scale, last - np.log(scale / scale[-1]) / STRENGTHS[step], "$\\log(1/$scale$)/s_k$ + const.")
        else:
            panel.line(scale, last * (scale / scale[-1]) ** (1.0 - depth), f"scale$^{{-{depth - 1}}}$")


def _looks(results: xr.Dataset) -> dict:
    return drawing.looks(results["depth"].values.tolist())


def _levels(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.logarithmic().label(SCALE, "$|$level $-\\;1/2|$")
    for depth, look in _looks(results).items():
        one = results.sel(depth=depth)
        off, scale = abs(one["level"] - LEVEL).values, one["scale"].values
        panel.points(np.broadcast_to(scale[:, None], off.shape), off, f"$H={depth}$", "no plateau", markersize=2.8,
                     **look)  # fmt: skip
        if depth == 1:
            middle = np.nanmedian(off[-1])
            panel.line(scale, middle * (scale / scale[-1]) ** MISSES, f"scale$^{{{MISSES:g}}}$ for $H=1$")
    panel.limit(0.01, "limit at the smallest scale", linestyle=":")


def _gradients(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.logarithmic().label(SCALE, "smallest $||\\nabla L||$ between the steps")
    for depth, look in _looks(results).items():
        one = results.sel(depth=depth)
        values = one["gradient"].values
        panel.points(np.broadcast_to(one["scale"].values[:, None], values.shape), values, f"$H={depth}$", "no plateau",
                     markersize=2.8, **look)  # fmt: skip


def _chain(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.label("hidden layers $H$", "time from 0.05 to 1/2")
    depths = results["depth"].values
    panel.ax.plot(depths, results["chain_exact"].values, linestyle="none", marker="_", markersize=16.0, color="black")
    panel.key("closed form", marker="_", markersize=10.0)
    panel.points(depths, results["chain_times"], "integrated", color=OKABE_ITO["blue"])
    panel.ticks(depths, [str(depth) for depth in depths])
    panel.ax.set_xlim(depths.min() - 0.5, depths.max() + 0.5)
    panel.ax.set_ylim(0.0, 1.2 * np.nanmax([results["chain_exact"].max(), results["chain_times"].max()]))


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
