"""Draws how far paper 003's eq. (1) goes: ``python figures/excursion_and_escape.py RESULTS.nc -o PICTURE.pdf``.

(a) Largest norms on the way beside the certified radius and the proven bound; (b) excursions over their bounds; (c) the
last y over the adiabatic estimate; (d) the last z, and ends with known values; (e) the laws of the valley h.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting
from gradflow.plotting.styles import OKABE_ITO

KNOWN = (1.0, 2.0, 5.0)
"""z(0) of the starts whose ends have reference values."""

HEIGHT = "start $z(0)$"


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Five panels and a list of verdicts."""
    sheet = drawing.Sheet(2, 3, aspect=1.0)
    x = _places(results)
    _norms(sheet.panel("Every run of $f=z^2h$ is bounded"), results, x)
    _bounds(sheet.panel("Excursions over bounds"), results, x)
    _adiabatic(sheet.panel("Where $y$ ends"), results, x)
    _last(sheet.panel("It converges to $z=0$"), results, x)
    _laws(sheet.panel("The valley $h$ escapes"), results)
    _said(sheet.panel("What was said of the runs"), results)
    return sheet.finish()


def _places(results: xr.Dataset) -> np.ndarray:
    """Heights, the starts of each beside each other."""
    factors = np.exp(drawing.spread(results.sizes["start"], 0.25))
    return results["height"].values[:, None] * factors


def _norms(panel: drawing.Panel, results: xr.Dataset, x: np.ndarray) -> None:
    panel.logarithmic().label(HEIGHT, "norm (dimensionless)")
    panel.points(x, results["radius"], "certified radius", color=OKABE_ITO["orange"], marker="_", markersize=5.0)
    panel.points(x, results["largest_norm"], "sup of the norm", color=OKABE_ITO["blue"], markersize=2.4)
    is_out = (results["largest_norm"] > results["radius"]).values
    if is_out.any():
        panel.points(x[is_out], results["largest_norm"].values[is_out], "outside of it", **drawing.WRONG)
    heights = np.geomspace(results["height"].values.min(), results["height"].values.max(), 50)
    panel.line(heights, heights, "$z(0)$")
    panel.line(heights, heights**2 / 4, "$z(0)^2/4$", linestyle=":")


def _bounds(panel: drawing.Panel, results: xr.Dataset, x: np.ndarray) -> None:
    panel.logarithmic("x").label(HEIGHT, "largest value / proven bound")
    first = results["first"]
    reach = abs(first.sel(axis="y")) + first.sel(axis="z") ** 2 / 4
    side = np.maximum(abs(first.sel(axis="x")), 0.5)
    panel.points(x, results["largest_y"] / reach, "$|y|$ by $|y(0)|+z(0)^2/4$", color=OKABE_ITO["blue"], markersize=2.6)
    panel.points(x, results["largest_x"] / side, "$|x|$ by max$(|x(0)|,1/2)$", color=OKABE_ITO["orange"], marker="s",
                 markersize=2.6)  # fmt: skip
    panel.ax.set_ylim(0.0, max(1.15, panel.ax.get_ylim()[1]))
    panel.excluded(1.0 + 1e-6, 1e9, "bound is broken")


def _adiabatic(panel: drawing.Panel, results: xr.Dataset, x: np.ndarray) -> None:
    panel.logarithmic().label(HEIGHT, "last $|y|$ / adiabatic estimate")
    ratio = (abs(results["last"].sel(axis="y")) / results["adiabatic"]).values
    is_positive = (results["first"].sel(axis="y") > 0).values
    panel.points(x[is_positive], ratio[is_positive], "$y(0)>0$", color=OKABE_ITO["blue"], markersize=2.6)
    panel.points(x[~is_positive], ratio[~is_positive], "$y(0)\\leq 0$", color=OKABE_ITO["orange"], marker="s",
                 markersize=2.6, markerfacecolor="white")  # fmt: skip
    top = float(results["height"].max())
    panel.line([10.0, max(1.4 * top, 10.0)], [1.0, 1.0], "predicted within 10 %")
    panel.ax.fill_between([10.0, max(1.4 * top, 10.0)], 0.9, 1.1, color="0.9", zorder=0)


def _last(panel: drawing.Panel, results: xr.Dataset, x: np.ndarray) -> None:
    panel.logarithmic().label(HEIGHT, "in the end (dimensionless)")
    panel.points(x, abs(results["last"].sel(axis="z")), "last $|z|$", color=OKABE_ITO["blue"], markersize=2.6)
    panel.points(KNOWN, results["known_error"], "error of a known end", color=OKABE_ITO["green"], marker="D")
    panel.ax.set_ylim(min(1e-14, panel.ax.get_ylim()[0]), max(0.1, panel.ax.get_ylim()[1]))
    panel.limit(1e-3, "limit of $|z|$")
    panel.limit(1e-8, "limit of that error", linestyle=":")


def _laws(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.logarithmic("x").label("flow time $t$", "dimensionless")
    times = results["time"].values
    for number in range(results.sizes["escape"]):
        one, width = results.isel(escape=number), 1.0 + 0.6 * number
        panel.points(times, one["y_law"], "$|y|/(4t)^{1/4}$", linestyle="-", linewidth=0.6, color=OKABE_ITO["blue"],
                     markersize=1.0 + 2 * width, markerfacecolor="none")  # fmt: skip
        panel.points(times, one["h_law"], "$h\\sqrt{4t}$", linestyle="-", linewidth=0.6, color=OKABE_ITO["orange"],
                     marker="s", markersize=1.0 + 2 * width, markerfacecolor="none")  # fmt: skip
    panel.limit(1.0, "predicted limits 1 and 1/2")
    panel.limit(0.5)
    panel.ax.set_ylim(min(0.3, panel.ax.get_ylim()[0]), max(1.2, panel.ax.get_ylim()[1]))


def _said(panel: drawing.Panel, results: xr.Dataset) -> None:
    """Shares of the runs of which the right thing was said."""
    answers = {
        "$f$ converges": results["status"].values.ravel() == "stationary",
        "$h$ escapes": results["escape_status"].values == "escaped",
        "$h$: no bound\nis promised": ~results["escape_promised"].values,
    }
    panel.rows(list(answers))
    panel.label("share of the runs", "")
    panel.limit(1.0, "predicted", axis="x")
    for row, said in enumerate(answers.values()):
        panel.points([said.mean()], [row], "reported", color=OKABE_ITO["blue"], markersize=5.0)
        panel.ax.annotate(drawing.counted(said.sum(), said.size, ""), (said.mean(), row), (-6.0, 0.0),
                          textcoords="offset points", ha="right" if said.mean() > 0.5 else "left", va="center",
                          fontsize="small")  # fmt: skip
    panel.ax.set_xlim(0.0, 1.08)


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
