"""Draws drift and error by solver and tolerance: ``python figures/invariants_by_solver.py RESULTS.nc -o PICTURE.pdf``.

A column for each network. Above, the drift of what is claimed to be conserved; in the middle, the same drift against
the error of the end; below, the change of the whole matrix, of which a ReLU network conserves only the diagonal.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting

NAMES = {"relu": "ReLU"}

FLOOR = 1e-17
"""Lower end of the axes: what is smaller is rounding."""


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Three rows of panels with one legend."""
    networks, solvers = results["network"].values.tolist(), results["solver"].values.tolist()
    sheet, looks = drawing.Sheet(3, len(networks), aspect=0.7), drawing.looks(solvers)
    tolerances = results["rtol"].values
    ends = np.array([tolerances.min() / 3, tolerances.max() * 3])
    for network in networks:
        panel = sheet.panel(f"{NAMES.get(network, network)}: claimed invariants").logarithmic()
        panel.label("relative tolerance", "largest relative drift" if network == networks[0] else "")
        panel.line(ends, 100 * ends, "predicted limit, 100 rtol")
        _curves(panel, tolerances, results["drift"].sel(network=network), looks)
    for network in networks:
        panel = sheet.panel(f"{NAMES.get(network, network)}: drift and error").logarithmic()
        panel.label("error of the end / $||W(0)||$", "largest relative drift" if network == networks[0] else "")
        _curves(panel, results["error"].sel(network=network), results["drift"].sel(network=network), looks)
        low, high = panel.ax.get_xlim()
        panel.line([low, high], [low, high], "drift = error", linestyle=":")
        panel.ax.set_xlim(low, high)
    for network in networks:
        panel = sheet.panel(f"{NAMES.get(network, network)}: whole matrix")
        whole = results["whole_drift"].sel(network=network)
        if whole.isnull().all():
            panel.note("the whole matrix is what\nis claimed: see above")
            panel.ax.set_xticks([])
            panel.ax.set_yticks([])
            panel.label("", "")
            continue
        panel.logarithmic().label("relative tolerance", "relative change")
        _curves(panel, tolerances, whole, looks)
        panel.ax.set_ylim(1e-4, max(1.0, panel.ax.get_ylim()[1]))
        panel.limit(1e-3, "predicted least change, ReLU", linestyle=(0, (1, 2)))
    return sheet.finish(shared=True)


def _curves(panel: drawing.Panel, x: object, values: xr.DataArray, looks: dict) -> None:
    for solver, look in looks.items():
        places = x.sel(solver=solver).values if isinstance(x, xr.DataArray) else np.asarray(x)
        drift = np.maximum(values.sel(solver=solver).values, FLOOR)
        panel.points(places, np.where(np.isnan(values.sel(solver=solver)), np.nan, drift), solver, linestyle="-",
                     linewidth=0.7, markersize=3.0, **look)  # fmt: skip
    if float(values.min()) < 1e-12:
        panel.ax.set_ylim(FLOOR / 2, panel.ax.get_ylim()[1])


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
