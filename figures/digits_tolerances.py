"""Draws a run on the digits by its tolerance: ``python figures/digits_tolerances.py RESULTS.nc -o PICTURE.pdf``.

(a) Drift of the invariants; (b) loss above the least-squares optimum; (c) the largest norm over its certified bound;
(d) steps, and what was promised of the end, tolerance by tolerance.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting
from gradflow.plotting.styles import OKABE_ITO

LABEL = "relative tolerance (dimensionless)"


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Four panels over the tolerance."""
    sheet = drawing.Sheet(2, 2, aspect=0.82)
    tolerance, blue = results["rtol"].values, {"color": OKABE_ITO["blue"], "linestyle": "-"}
    ends = np.array([tolerance.min() / 2, tolerance.max() * 2])
    panel = sheet.panel("The drift follows the tolerance").logarithmic()
    panel.label(LABEL, "largest relative drift")
    panel.points(tolerance, results["drift"], "measured", **blue)
    panel.line(ends, 100 * ends, "predicted limit, 100 rtol")
    panel = sheet.panel("The loss ends at the optimum").logarithmic()
    panel.label(LABEL, "$|L-L_{\\mathrm{opt}}|/L_{\\mathrm{opt}}$")
    panel.points(tolerance, abs(results["excess"]) / results["optimum"], "measured", **blue)
    panel.line(ends, ends, "predicted limit, rtol")
    panel = sheet.panel("The norm stays below its bound").logarithmic("x")
    panel.label(LABEL, "sup$||W||/R$")
    panel.points(tolerance, results["sup_over_bound"], "measured", **blue)
    panel.ax.set_ylim(0.0, max(1.15, 1.1 * float(results["sup_over_bound"].max())))
    panel.excluded(1.0, 1e3, "beyond the certified radius")
    _end(sheet.panel("Steps, and the end"), results)
    return sheet.finish()


def _end(panel: drawing.Panel, results: xr.Dataset) -> None:
    """Rows of yes and no by tolerance."""
    is_full = results["captured"] == results["capturable"]
    rows = {
        "global minimum": results["kind"] == "global_minimum",
        "captures all modes": is_full,
        "the largest first": results["largest_first"],
        "all checks passed": results["passed"],
    }
    panel.logarithmic("x").rows([*rows, "attempted steps"])
    panel.label(LABEL, "")
    tolerance = results["rtol"].values
    for height, answers in enumerate(rows.values()):
        drawing.answers(panel, tolerance, np.full(len(tolerance), float(height)), answers.values)
    for place, steps in zip(tolerance, results["steps"].values, strict=True):
        panel.ax.text(place, len(rows), str(steps), ha="center", va="center", fontsize="small")
    panel.ax.set_xlim(tolerance.min() / 4, tolerance.max() * 4)


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
