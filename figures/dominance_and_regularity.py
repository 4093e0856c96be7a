"""Draws paper 000's constants at minimisers: ``python figures/dominance_and_regularity.py RESULTS.nc -o PICTURE.pdf``.

A column of points for each kind of network, a point for each problem. (a) The share of lambda that random states use;
(b) constants of single states; (c) rates of confined flows; (d) the distance at which regularity first fails.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting
from gradflow.plotting.styles import OKABE_ITO

FAR = 100.0
"""Distances that were looked at end here, in units of eps."""


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Four panels."""
    sheet = drawing.Sheet(2, 2, aspect=0.92)
    names = list(dict.fromkeys(results["network"].values.tolist()))
    _share(sheet.panel("Gradient dominance: share of $\\lambda$ that is used"), results, names)
    _single(sheet.panel("Constants of single states inside"), results, names)
    _rates(sheet.panel("Rates of flows that stay inside"), results, names)
    _regular(sheet.panel("Where regularity first fails"), results, names)
    return sheet.finish()


def _columns(
    panel: drawing.Panel,
    results: xr.Dataset,
    names: list[str],
    values: xr.DataArray,
    label: str,
    *,
    missing: str = "undetermined",
    shift: float = 0.0,
    width: float = 0.3,
    **look: object,
) -> None:
    """Points of each network side by side."""
    for place, name in enumerate(names):
        found = values.values[(results["network"] == name).values]
        panel.points(place + shift + drawing.spread(len(found), width), found, label, missing, **look)
    panel.ticks(range(len(names)), [name.replace("_", " ").replace(", ", "\n") for name in names])
    panel.ax.set_xlim(-0.6, len(names) - 0.4)


def _share(panel: drawing.Panel, results: xr.Dataset, names: list[str]) -> None:
    panel.logarithmic("y").label("", "$(L-L^*)\\,/\\,(\\lambda\\,||\\nabla L||^2)$, largest")
    _columns(panel, results, names, results["largest_ratio"], "random states, $d=3$", color=OKABE_ITO["blue"])
    is_broken = results["broken"].values > 0
    for place, name in enumerate(names):
        chosen = is_broken & (results["network"] == name).values
        if chosen.any():
            panel.points(np.full(chosen.sum(), place), np.fmax(results["largest_ratio"].values[chosen], 1.0),
                         drawing.counted(results["broken"].sum(), results["states"].sum(), "states broke it"),
                         **drawing.WRONG)  # fmt: skip
    panel.points([names.index("linear") if "linear" in names else 0], [float(results["edge"])],
                 "edge of the neighbourhood, $d=1$", color=OKABE_ITO["orange"], marker="D")  # fmt: skip
    panel.ax.set_ylim(panel.ax.get_ylim()[0], 4.0)
    panel.limit(1 / 3, "predicted limit for linear ones, $d=3$")
    panel.excluded(1.0 + 1e-6, 1e3, "dominance fails")


def _single(panel: drawing.Panel, results: xr.Dataset, names: list[str]) -> None:
    panel.logarithmic("y").label("", "constant of a state / $\\lambda$")
    _columns(panel, results, names, results["pointwise"], "largest", shift=-0.2, color=OKABE_ITO["blue"])
    _columns(panel, results, names, results["pointwise_median"], "median", shift=0.2, color=OKABE_ITO["orange"],
             marker="s")  # fmt: skip
    panel.limit(0.7, "limit of the median of medians")
    panel.ax.set_ylim(panel.ax.get_ylim()[0], max(4.0, panel.ax.get_ylim()[1]))
    panel.excluded(1.0 + 1e-6, 1e3, "larger than $\\lambda$")


def _rates(panel: drawing.Panel, results: xr.Dataset, names: list[str]) -> None:
    panel.logarithmic("y").label("", "slowest rate $\\times\\,\\lambda$ (dimensionless)")
    _columns(
        panel,
        results,
        names,
        results["rate_ratio"],
        "flows",
        missing="no flow was run",
        width=0.6,
        color=OKABE_ITO["blue"],
    )
    panel.ax.set_ylim(min(0.3, panel.ax.get_ylim()[0]), panel.ax.get_ylim()[1])
    panel.excluded(1e-9, 1.0, "slower than promised")


def _regular(panel: drawing.Panel, results: xr.Dataset, names: list[str]) -> None:
    panel.logarithmic("y").label("", "distance / certified $\\epsilon$")
    for name, text, look, shift in (
        ("failure", "median", {"color": OKABE_ITO["blue"]}, -0.21),
        ("failure_least", "smallest over the directions", {"color": OKABE_ITO["orange"], "marker": "s"}, 0.21),
    ):
        values = results[name].where(results[name] < FAR)
        far = (results[name] >= FAR).values
        for place, network in enumerate(names):
            here = (results["network"] == network).values
            x = place + shift + drawing.spread(int(here.sum()), 0.34)
            panel.points(x[~far[here]], values.values[here & ~far], text, "regularity not certified", **look)
            if far[here].any():
                panel.beyond(x[far[here]], f"no failure up to {FAR:g}", **look)
    panel.ticks(range(len(names)), [name.replace("_", " ").replace(", ", "\n") for name in names])
    panel.ax.set_xlim(-0.6, len(names) - 0.4)
    panel.ax.set_ylim(min(0.6, np.nanmin(results["failure_least"].values, initial=1.0) / 1.3), 2 * FAR)
    panel.limit(3.0, "predicted lower limit of the median")
    broken = drawing.counted(results["regularity_broken"].sum(), results["regularity_states"].sum(), "states broke it")
    panel.excluded(1e-3, 1.0, f"inside $\\epsilon$: {broken}")


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
