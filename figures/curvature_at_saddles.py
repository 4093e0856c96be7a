"""Draws the curvature at saddles and its bound: ``python figures/curvature_at_saddles.py RESULTS.nc -o PICTURE.pdf``.

(a) The lowest eigenvalue at every saddle over what is certified, by the spread of the data; (b) the paper's own bound
over the certified one; (c) without the term nothing holds: the lowest eigenvalue at the idle saddle.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting
from gradflow.plotting.styles import OKABE_ITO


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Three panels in a row."""
    sheet = drawing.Sheet(1, 3, aspect=1.0)
    _ratios(sheet.panel("Every saddle, by its term"), results)
    _paper(sheet.panel("The paper's bound"), results)
    _idle(sheet.panel("Plain loss, one idle unit"), results)
    return sheet.finish()


def _ratios(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.logarithmic().label("condition number of $X$", "lowest eigenvalue / certified bound")
    ratio = (results["lowest"] / results["bound"]).values
    seen = ratio[np.isfinite(ratio) & (ratio > 0)]
    panel.ax.set_ylim(0.7 * seen.min(initial=1.0), 1.5 * seen.max(initial=1.0))
    looks = drawing.looks(results["term"].values.tolist())
    for term, look in looks.items():
        chosen = (results["term"] == term).values
        shifted = results["condition"].values[chosen]
        if np.ptp(shifted) < 1e-9:
            shifted = shifted * np.exp(drawing.spread(len(shifted), 0.12))
        panel.points(shifted, ratio[chosen], f"{term}", "no bound is certified", markersize=2.4, **look)
    panel.excluded(1e-6, 1.0, "above the bound")


def _paper(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.logarithmic().label("condition number of $X$", "bound of (14), (15) / certified bound")
    weighted = results.sel(case=results["term"] == "weighted")
    share = weighted["paper_bound"] / weighted["bound"]
    panel.points(weighted["condition"], share, "weighted term", markersize=2.6, color=OKABE_ITO["blue"])
    low, high = panel.ax.get_ylim()
    panel.ax.set_ylim(low, max(high, 2.5))
    panel.excluded(1.0, 1e6, "paper's says more")


def _idle(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.logarithmic().label("input weight $a$ of the idle unit", "$|$lowest eigenvalue$|$ (dimensionless)")
    a = np.geomspace(float(results["idle"].min()) / 1.5, float(results["idle"].max()) * 1.5, 200)
    # The difference (sqrt(a^4 + 4) - a^2) / 2, written without cancellation.
    panel.line(a, 2 / (np.sqrt(a**4 + 4) + a**2), "$(\\sqrt{a^4+4s^2}-a^2)/2$")
    panel.points(results["idle"], -results["idle_lowest"], "measured", color=OKABE_ITO["blue"])


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
