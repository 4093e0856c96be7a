"""Draws the saddles of two hidden layers: ``python figures/saddles_of_two_hidden_layers.py RESULTS.nc -o PICTURE.pdf``.

(a) The lowest eigenvalue of random members of each case; (b) times to leave strict saddles, in units of their own rate;
(c) times to leave the others; (d) gradients at the members, and losses in the end.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting
from gradflow.plotting.axes import symbol
from gradflow.plotting.styles import OKABE_ITO

ZERO = 1e-9
"""Eigenvalues closer to zero are zero."""

DISTANCE = "distance $\\delta$ of the start (dimensionless)"


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Four panels."""
    sheet = drawing.Sheet(2, 2, aspect=0.92)
    looks = drawing.looks(results["case"].values.tolist())
    _spectra(sheet.panel("Lowest eigenvalue of the Hessian"), results)
    _times(sheet.panel("Leaving strict saddles"), results, looks, True)
    _times(sheet.panel("Leaving the others"), results, looks, False)
    _checks(sheet.panel("Critical points, and ends"), results)
    return sheet.finish()


def _spectra(panel: drawing.Panel, results: xr.Dataset) -> None:
    names = results["case"].values.tolist()
    panel.label("", "eigenvalue (dimensionless)")
    panel.ax.set_yscale("symlog", linthresh=ZERO, linscale=0.6)
    for place, name in enumerate(names):
        spectrum, is_strict = results["spectrum"].sel(case=name), bool(results["is_strict"].sel(case=name))
        lowest = spectrum.isel(eigenvalue=0).values
        x = place + drawing.spread(len(lowest), 0.5)
        words = "predicted strict" if is_strict else "predicted not strict"
        look = (
            {"color": OKABE_ITO["blue"], "marker": "o"} if is_strict else {"color": OKABE_ITO["orange"], "marker": "s"}
        )
        panel.points(x, lowest, words, markersize=2.6, **look)
        wrong = (lowest < -ZERO) != is_strict
        if wrong.any():
            panel.points(x[wrong], lowest[wrong], "not as predicted", **drawing.WRONG)
        if name == "1.2":
            panel.points(x, abs(spectrum).max("eigenvalue"), "largest $|$eigenvalue$|$ of case 1.2", color="black",
                         marker="_", markersize=4.0)  # fmt: skip
    panel.ticks(range(len(names)), [symbol(name).replace(" learned", "").replace(" ", "\n") for name in names])
    low = min(-10.0, 2 * float(results["spectrum"].min()))
    panel.ax.set_ylim(low, 1e-7)
    panel.ax.axhspan(-ZERO, ZERO, color="0.88", zorder=0)
    panel.key("counts as zero", color="0.85", linestyle="-", linewidth=5.0)
    panel.ax.set_yticks([-1.0, -1e-3, -1e-6, 0.0], ["$-1$", "$-10^{-3}$", "$-10^{-6}$", "0"])


def _times(panel: drawing.Panel, results: xr.Dataset, looks: dict, is_strict: bool) -> None:
    panel.logarithmic("x" if is_strict else "xy")
    text = "time of leaving $\\times\\,|\\lambda_{\\min}|$" if is_strict else "time of leaving (dimensionless)"
    panel.label(DISTANCE, text)
    shown = [name for name in looks if bool(results["is_strict"].sel(case=name)) is is_strict]
    if not shown:
        panel.note("no such case in these results")
    for name in shown:
        one = results.sel(case=name)
        rates = abs(one["spectrum"].isel(eigenvalue=0)).isel(point=slice(0, one.sizes["departure"])).values
        times = one["times"].transpose("departure", "start", "number").values
        times = times * rates[:, None, None] if is_strict else times
        middle = np.median(times, axis=1)
        distance = one["distance"].values
        for number, row in enumerate(middle):
            look = {"linestyle": "-", "linewidth": 0.5, "markersize": 2.8, **looks[name]}
            panel.points(distance, row, f"case {symbol(name)}", "did not leave", **look)
            if number == 0 and name == shown[0]:
                _law(panel, distance, row, is_strict)


def _law(panel: drawing.Panel, distance: np.ndarray, row: np.ndarray, is_strict: bool) -> None:
    if is_strict:
        panel.line(distance, row[-1] - np.log(distance / distance[-1]), "slope of $\\log(1/\\delta)$", linewidth=1.6)
    else:
        panel.line(distance, row[-1] * distance[-1] / distance, "$1/\\delta$", linewidth=1.6)


def _checks(panel: drawing.Panel, results: xr.Dataset) -> None:
    names = results["case"].values.tolist()
    panel.logarithmic("y").label("", "dimensionless")
    for place, name in enumerate(names):
        gradient, final = results["gradient"].sel(case=name).values, results["final"].sel(case=name).values.ravel()
        panel.points(place - 0.2 + drawing.spread(len(gradient), 0.3), gradient, "gradient norm at the saddle",
                     markersize=2.6, color=OKABE_ITO["blue"])  # fmt: skip
        panel.points(place + 0.2 + drawing.spread(len(final), 0.3), final, "loss in the end", "no end",
                     markersize=2.6, color=OKABE_ITO["orange"], marker="s")  # fmt: skip
    panel.limit(1e-12, "limit of the gradient")
    panel.limit(1e-6, "limit of the loss", linestyle=":")
    panel.ax.set_ylim(min(1e-18, panel.ax.get_ylim()[0]), max(1e-4, panel.ax.get_ylim()[1]))
    panel.ticks(range(len(names)), [symbol(name).replace(" learned", "").replace(" ", "\n") for name in names])


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
