"""Draws how tight the certified bounds are: ``python figures/certificate_tightness.py RESULTS.nc -o PICTURE.pdf``.

A panel for each law of starts: every certified radius over the largest norm that was observed, by the number of hidden
layers. A ratio below 1 would be a violation; a network whose run broke any promise is crossed out.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting

BOUNDS = {
    "R": "$R$, the least of all",
    "R_chain": "along the chain of layers",
    "R_ode": "by the growth of the norm",
    "R_loss": "from the loss alone",
}
LIMITS = {"balanced": 1.2, "gaussian": 2.0, "heterogeneous": 2.0}
"""What the largest median of R was predicted to stay below."""


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """A panel for each law, with one vertical axis for all."""
    laws = list(dict.fromkeys(results["law"].values.tolist()))
    sheet = drawing.Sheet(1, len(laws), aspect=0.85, sharey=True)
    ratios = np.concatenate([results[name].values for name in BOUNDS])
    for law in laws:
        panel = sheet.panel(f"{law} starts").logarithmic("y")
        panel.label("hidden layers $H$", "radius / observed sup$||W||$" if law == laws[0] else "")
        low, high = min(0.8, np.nanmin(ratios) / 1.1), np.nanmax(ratios) * 1.3
        panel.ax.set_ylim(low, high)
        _bounds(panel, results.sel(network=results["law"] == law))
        panel.limit(LIMITS[law], "predicted limit of the median of $R$")
        panel.excluded(low / 2, 1.0, "left the certified ball")
    return sheet.finish(shared=True)


def _bounds(panel: drawing.Panel, group: xr.Dataset) -> None:
    depths = sorted(set(group["depth"].values.tolist()))
    looks = drawing.looks(BOUNDS)
    places = dict(zip(BOUNDS, drawing.spread(len(BOUNDS), 0.6), strict=True))
    for name, text in BOUNDS.items():
        for depth in depths:
            chosen = group.sel(network=group["depth"] == depth)
            x = depth + places[name] + drawing.spread(chosen.sizes["network"], 0.11)
            panel.points(x, chosen[name], text, markersize=2.2, **looks[name])
            middle, at = float(chosen[name].median()), depth + places[name]
            panel.ax.plot([at - 0.08, at + 0.08], [middle] * 2, color="black", linewidth=1.6, zorder=5)
            is_broken = chosen["violations"].values != ""
            if is_broken.any():
                panel.points(x[is_broken], chosen[name].values[is_broken], "broke a promise", **drawing.WRONG)
    panel.key("median", linestyle="-", linewidth=1.6)
    panel.ticks(depths, [str(depth) for depth in depths])


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
