"""Draws certified, observed and linearised rates: ``python figures/convergence_rates.py RESULTS.nc -o PICTURE.pdf``.

(a) Observed against certified rates, with the paper's printed product; (b) how far the loss went above its certified
envelope; (c) rates in the end against those of the linearised flow; (d) powers of time where the closed form is one.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting
from gradflow.plotting.styles import OKABE_ITO

KINDS = {"exponential": "o", "power": "D", "undetermined": "s"}
"""Markers by the law that the tail of the loss was found to have."""


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Four panels."""
    sheet = drawing.Sheet(2, 2, aspect=0.92)
    _certified(sheet.panel("Certified rates are kept"), results)
    _envelope(sheet.panel("Loss above its certified envelope"), results)
    _linearised(sheet.panel("Rates in the end"), results)
    _powers(sheet.panel("Chains of width one: $L-L_\\infty\\sim t^{-p}$"), results)
    return sheet.finish()


def _diagonal(panel: drawing.Panel, values: np.ndarray, label: str) -> None:
    seen = values[np.isfinite(values) & (values > 0)]
    low, high = (seen.min() / 1.6, seen.max() * 1.6) if len(seen) else (0.1, 10.0)
    panel.line([low, high], [low, high], label)
    panel.ax.set_xlim(low, high)


def _certified(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.logarithmic().label("certified rate of the loss (dimensionless)", "rate (dimensionless)")
    sure = results.sel(case=results["is_certified"])
    if not sure.sizes["case"]:
        panel.note("no start has a certified rate")
        return
    for law, marker in KINDS.items():
        chosen = sure.sel(case=sure["observed_law"] == law)
        if chosen.sizes["case"]:
            panel.points(chosen["certified"], chosen["observed"], f"observed, {law}", color=OKABE_ITO["blue"],
                         marker=marker)  # fmt: skip
    panel.points(sure["certified"], sure["printed"], "product as printed", color=OKABE_ITO["orange"], marker="x")
    values = np.concatenate([sure["certified"].values, sure["observed"].values, sure["printed"].values])
    _diagonal(panel, values, "equal to the certified one")


def _envelope(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.label("certified starts", "sup$_t\\,(L-$envelope$)\\,/\\,L(0)$")
    worst = results["worst"].where(results["is_certified"], drop=True).values
    panel.ax.set_yscale("symlog", linthresh=1e-12, linscale=0.5)
    panel.ax.set_ylim(-1e-10, max(1e-6, 10 * np.nanmax(worst, initial=0.0)))
    panel.points(np.arange(1, len(worst) + 1), worst, "largest over the run", color=OKABE_ITO["blue"])
    panel.excluded(1e-9, 1e3)
    panel.ax.set_yticks([0.0, 1e-12, 1e-9, 1e-6], ["0", "$10^{-12}$", "$10^{-9}$", "$10^{-6}$"])


def _linearised(panel: drawing.Panel, results: xr.Dataset) -> None:
    panel.label(
        "twice the smallest positive eigenvalue of the\nHessian at the end (dimensionless)", "rate / linearised rate"
    )
    panel.logarithmic("x")
    known = results["twice_lowest"]
    is_global = (results["kind"] == "global_minimum").values
    look = {"color": OKABE_ITO["green"], "marker": "x", "markersize": 4.0}
    exponential = is_global & (results["observed_law"] == "exponential").values
    panel.points(known[exponential], (results["observed"] / known)[exponential], "fitted to the whole tail", **look)
    for certified, colour, text in ((True, "blue", "certified start"), (False, "orange", "other start")):
        chosen = is_global & (results["is_certified"].values == certified)
        if chosen.any():
            panel.points(known[chosen], (results["final"] / known)[chosen], f"last factor of 100, {text}",
                         color=OKABE_ITO[colour], marker="o" if certified else "s", markersize=3.0)  # fmt: skip
    if not is_global.all():
        panel.points(known[~is_global], (results["final"] / known)[~is_global], "no global minimum", **drawing.WRONG)
    panel.limit(1.0, "linearised flow")
    panel.ax.axhspan(0.95, 1.1, facecolor="0.9", zorder=0)
    panel.key("predicted range", color="0.85", linestyle="-", linewidth=5.0)


def _powers(panel: drawing.Panel, results: xr.Dataset) -> None:
    names = results["chain"].values.tolist()
    panel.label("exponent $p$ of time (dimensionless)", "")
    rows = np.arange(len(names))
    panel.rows(names)
    predicted = results["predicted_exponent"].values
    panel.ax.plot(predicted, rows, linestyle="none", marker="|", markersize=14.0, color="black", zorder=3)
    panel.key("closed form", marker="|", markersize=9.0)
    for law, marker in KINDS.items():
        chosen = results["chain_law"].values == law
        if not chosen.any():
            continue
        errors = 2 * results["exponent_error"].values[chosen]
        panel.ax.errorbar(results["exponent"].values[chosen], rows[chosen], xerr=np.nan_to_num(errors), fmt="none",
                          ecolor=OKABE_ITO["blue"])  # fmt: skip
        panel.ax.plot(results["exponent"].values[chosen], rows[chosen], linestyle="none", marker=marker,
                      color=OKABE_ITO["blue"], zorder=4)  # fmt: skip
        panel.key(f"observed, {law}", marker=marker, color=OKABE_ITO["blue"])
    for row in rows[~np.isfinite(results["exponent"].values)]:
        panel.ax.text(float(predicted[row]), row, "?", ha="center", va="center")


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
