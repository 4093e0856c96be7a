"""Draws both flows of a network: ``python figures/original_beside_reduced_flow.py RESULTS.nc -o PICTURE.pdf``.

Against the power p of the singular values of X (0: white, 1: the data). (a) Loss curves; (b) times at which shares of
the excess are left; (c) the change of each flow's matrix; (d) how far apart the ends are, and how near the optimum.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting
from gradflow.plotting.axes import TIME_LABEL, number
from gradflow.plotting.styles import OKABE_ITO, ordered_colors

POWER = "power $p$ of the singular values of $X$"
LOOKS = {
    "original": {"color": OKABE_ITO["blue"], "marker": "o"},
    "reduced": {"color": OKABE_ITO["orange"], "marker": "s"},
}
OWN = {"original": "W_1 W_1^T", "reduced": "W_1 X X^T W_1^T"}
"""The matrix that each flow conserves, beside the last layer's."""


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Four panels."""
    sheet = drawing.Sheet(2, 2, aspect=0.92)
    _curves(sheet.panel("Excess over the optimum"), results)
    _times(sheet.panel("When a share of the excess is left"), results)
    _matrices(sheet.panel("What each flow conserves"), results)
    _ends(sheet.panel("Where they end"), results)
    return sheet.finish()


def _curves(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.logarithmic().label(TIME_LABEL, "$(L-L_{\\mathrm{opt}})/(L(0)-L_{\\mathrm{opt}})$")
    loss, powers = results["loss"], results["power"].values
    bottom = (loss.isel(time=-1) - results["excess"] * loss.isel(time=0)) / (1 - results["excess"])
    share = (loss - bottom) / (loss.isel(time=0) - bottom)
    times = results["time"].values[1:]
    for power, color in zip(powers, ordered_colors(len(powers)), strict=True):
        for flow, dash, width in (("original", "-", 1.2), ("reduced", ":", 2.4)):
            values = share.sel(power=power, flow=flow).values[1:]
            shown = np.where(values > 1e-9, values, np.nan)
            gaps = np.isnan(values)
            if gaps.any():
                panel.points(times[gaps], values[gaps], missing="no loss at a time")
            panel.ax.plot(times, shown, color=color if flow == "original" else OKABE_ITO["orange"], linestyle=dash,
                          linewidth=width, zorder=3 if flow == "original" else 2)  # fmt: skip
        panel.key(f"original, $p={power:g}$", color=color, linestyle="-")
    panel.key("reduced, every $p$", color=OKABE_ITO["orange"], linestyle=":", linewidth=2.4)
    panel.ax.set_ylim(1e-9, 3.0)


def _times(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.logarithmic("y").label(POWER, TIME_LABEL)
    for flow, look in LOOKS.items():
        for share, dash in zip(results["share"].values, ("-", ":"), strict=True):
            values = results["settled"].sel(flow=flow, share=share)
            panel.points(results["power"], values, f"{flow}, {number(float(share))} left", linestyle=dash,
                         markerfacecolor=look["color"] if share > 0.1 else "white", **look)  # fmt: skip


def _matrices(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.logarithmic("y").label(POWER, "change of an entry / $||W(0)||^2$")
    for flow, look in LOOKS.items():
        for matrix in results["matrix"].values.tolist():
            is_own = OWN[flow] == matrix
            values = results["drift"].sel(flow=flow, matrix=matrix)
            panel.points(results["power"], values, f"{flow}, {'its own' if is_own else 'the other'}",
                         linestyle="-" if is_own else ":", markerfacecolor=look["color"] if is_own else "white",
                         **look)  # fmt: skip
    panel.ax.set_ylim(min(1e-13, panel.ax.get_ylim()[0]), max(3.0, panel.ax.get_ylim()[1]))


def _ends(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.logarithmic("y").label(POWER, "dimensionless")
    power = results["power"]
    panel.points(power, results["apart"], "distance of the weights", color=OKABE_ITO["blue"], linestyle="-")
    panel.points(power, results["product_gap"], "difference of the products", color=OKABE_ITO["green"], marker="^",
                 linestyle="-")  # fmt: skip
    panel.points(power, results["conditioning"], "smallest / largest singular value of $X$", color="black", marker="_",
                 markersize=8.0)  # fmt: skip
    for flow, look in LOOKS.items():
        excess = abs(results["excess"].sel(flow=flow))
        panel.points(power, excess, f"excess left, {flow}", markersize=3.0, **look)
        is_other = (results["kind"].sel(flow=flow) != "global_minimum").values
        if is_other.any():
            panel.points(power.values[is_other], np.ones(is_other.sum()), "no global minimum", **drawing.WRONG)


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
