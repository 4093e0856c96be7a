"""Draws gradient descent beside its flow: ``python figures/descent_beside_flow.py RESULTS.nc -o PICTURE.pdf``.

A row for each network of ``experiments/descent_beside_flow.py``, against the learning rate: largest distances to the
flow and to the modified flow, the orders measured there, and the drift of the invariants. Markers are verdicts.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting
from gradflow.plotting.descent import MODIFIED_DASH, RATE_LABEL, VERDICT_MARKERS, VERDICT_WORDS
from gradflow.plotting.styles import OKABE_ITO

FLOWS = {
    "distance": ("to the flow", 1, OKABE_ITO["blue"], "-"),
    "modified_distance": ("to the modified flow", 2, OKABE_ITO["green"], MODIFIED_DASH),
}


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Three panels for each network."""
    networks = list(dict.fromkeys(results["network"].values.tolist()))
    sheet = drawing.Sheet(len(networks), 3, aspect=0.66 if len(networks) > 1 else 0.95)
    for network in networks:
        group = results.sel(case=results["network"] == network).sortby("eta")
        _distances(sheet.panel(f"{network}: distance"), group)
        _orders(sheet.panel(f"{network}: measured order"), group)
        _drift(sheet.panel(f"{network}: drift"), group)
    return sheet.finish(shared=True)


def _edge(panel: drawing.Panel, group: xr.Dataset) -> None:
    """The learning rates that met more sharpness than descent is stable at."""
    beyond = group["eta"].values[(group["sharpest"] > group["stable_below"]).values]
    rates = group["eta"].values
    panel.ax.set_xlim(rates.min() / 1.5, rates.max() * 1.5)
    if len(beyond):
        panel.excluded(beyond.min() / 1.2, 1e9, "beyond the edge of stability", axis="x")


def _both(panel: drawing.Panel, group: xr.Dataset, suffix: str) -> None:
    """A curve for each flow; markers are the verdict on the learning rate."""
    rates = group["eta"].values
    for name, (text, _, color, dash) in FLOWS.items():
        values = group[name.replace("distance", suffix)].values
        panel.ax.plot(rates, values, color=color, linestyle=dash, zorder=3)
        panel.key(text, color=color, linestyle=dash)
        for verdict, words in VERDICT_WORDS.items():
            chosen = (group["verdict"] == words).values
            if chosen.any():
                marker = VERDICT_MARKERS[verdict]
                panel.points(rates[chosen], values[chosen], color=color, marker=marker, markersize=4.5)
                panel.key(words, marker=marker, markersize=4.5)


def _distances(panel: drawing.Panel, group: xr.Dataset) -> None:
    panel.logarithmic().label(RATE_LABEL, "largest distance / travelled")
    _both(panel, group, "distance")
    rates = group["eta"].values
    for name, (_, order, *_) in FLOWS.items():
        panel.line(rates, group[name].values[0] * (rates / rates[0]) ** order, "predicted: slopes, orders 1 and 2")
    _edge(panel, group)


def _orders(panel: drawing.Panel, group: xr.Dataset) -> None:
    panel.logarithmic("x").label(RATE_LABEL, "measured order in $\\eta$")
    _both(panel, group, "order")
    panel.limit(1.0)
    panel.limit(2.0)
    panel.ax.set_ylim(min(0.0, panel.ax.get_ylim()[0]), max(3.3, panel.ax.get_ylim()[1]))
    _edge(panel, group)


def _drift(panel: drawing.Panel, group: xr.Dataset) -> None:
    panel.logarithmic().label(RATE_LABEL, "largest drift of an invariant")
    drift, rates = group["drift"].values, group["eta"].values
    if np.isnan(drift).all():
        panel.ax.set_ylim(0.1, 10.0)
        panel.ax.set_yticks([])
        panel.ax.set_xlim(rates.min() / 1.5, rates.max() * 1.5)
        panel.note("nothing is known to be\nconserved by this flow")
        return
    panel.points(rates, drift, "invariants along descent", color=OKABE_ITO["purple"], linestyle="-", marker="D")
    panel.line(rates, drift[0] * rates / rates[0])
    _edge(panel, group)


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
