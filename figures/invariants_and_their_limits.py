"""Draws what is conserved on which data: ``python figures/invariants_and_their_limits.py RESULTS.nc -o PICTURE.pdf``.

A panel for each candidate: its drift by the kind of data, at a loose and a tight tolerance. What is conserved follows
the tolerance down into the band; what is not stays where it is.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting
from gradflow.plotting.axes import number

TEXTS = {
    "weighted": "Lemma 5, weighted by $1/||x_k||^2$",
    "unweighted": "Lemma 5, unweighted",
    "without 2": "Lemma 5, weighted, without the 2",
    "homogeneous": "Remark 4, homogeneous activations",
}
DRIFTS = 1e-4
"""From here on a quantity counts as one that drifts."""


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Four panels with the same axes."""
    names = [name for name in TEXTS if name in results["candidate"]]
    sheet = drawing.Sheet(-(-len(names) // 2), 2, aspect=0.85, sharey=True)
    drift = results["drift"].values
    seen = drift[np.isfinite(drift) & (drift > 0)]
    looks = drawing.looks(results["activation"].values.tolist())
    for name in names:
        panel = sheet.panel(TEXTS[name]).logarithmic("y")
        panel.label("kind of inputs $X$", "change / $||W(0)||^2$" if len(sheet.panels) % 2 else "")
        panel.ax.set_ylim(seen.min() / 10, max(1.0, seen.max()) * 3)
        _candidate(panel, results["drift"].sel(candidate=name).dropna("activation", how="all"), looks)
    return sheet.finish(shared=True)


def _candidate(panel: drawing.Panel, drift: xr.DataArray, looks: dict) -> None:
    kinds, tolerances = drift["data"].values.tolist(), sorted(drift["rtol"].values.tolist())
    shifts = drawing.spread(drift.sizes["activation"], 0.6)
    for activation, shift in zip(drift["activation"].values.tolist(), shifts, strict=True):
        look, x = looks[activation], np.arange(len(kinds)) + shift
        panel.key(activation.replace("_", " "), **look)
        for rtol in tolerances:
            face = look["color"] if rtol == tolerances[0] else "white"
            panel.points(
                x,
                drift.sel(activation=activation, rtol=rtol),
                markerfacecolor=face,
                markersize=4.5,
                markeredgewidth=0.8,
                **look,
            )
    for rtol, dash in zip(tolerances, ("-", ":"), strict=False):
        panel.limit(100 * rtol, f"100 rtol, rtol = {number(rtol, powers=True)}", linestyle=dash)
    panel.key(f"filled: rtol = {number(tolerances[0], powers=True)}", marker="o")
    panel.key(f"hollow: rtol = {number(tolerances[-1], powers=True)}", marker="o", markerfacecolor="white")
    panel.ax.axhspan(DRIFTS, 1e9, color="0.92", zorder=0)
    panel.key("called a drift", color="0.85", linestyle="-", linewidth=5.0)
    panel.ticks(range(len(kinds)), kinds)
    panel.ax.set_xlim(-0.5, len(kinds) - 0.5)


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
