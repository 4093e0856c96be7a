"""Draws residual and linear networks: ``python figures/residual_beside_linear.py RESULTS.nc -o PICTURE.pdf``.

By the size of the start: constants of gradient dominance at the start, and times to lose 99 % of the excess, for a
target near the identity and one with a negative determinant; where the runs end; and the rest at the saddle.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting

SIZE = "size $\\epsilon$ of the start"


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Six panels with one legend."""
    sheet = drawing.Sheet(2, 3, aspect=0.85)
    pairs = [(network, layers) for network in results["network"].values.tolist()
             for layers in results["layers"].values.tolist()]  # fmt: skip
    looks = drawing.looks(pairs)
    near, negative = results["target"].values.tolist()
    for name, text, target in (
        ("constant", "constant of dominance at the start", near),
        ("time", "time to 1 % of the excess", near),
        ("time", "time to 1 % of the excess", negative),
    ):
        panel = sheet.panel(f"{'Time' if name == 'time' else 'Constant'}, {target}").logarithmic().label(SIZE, text)
        _by_size(panel, results[name].sel(target=target), looks)
        if target == near:
            _predicted(panel, results[name].sel(target=target), name)
    panel = sheet.panel("Constant, " + negative).logarithmic().label(SIZE, "constant of dominance at the start")
    _by_size(panel, results["constant"].sel(target=negative), looks)
    panel = sheet.panel("Ends, both targets").logarithmic().label(SIZE, "loss in the end")
    for target in (near, negative):
        _by_size(panel, results["end"].sel(target=target), looks, is_joined=False)
    panel.ax.set_ylim(panel.ax.get_ylim()[0], max(1e-3, panel.ax.get_ylim()[1]))
    panel.limit(1e-6, "predicted limit", linestyle=":")
    _quiet(sheet.panel("Residual from exactly 0"), results, looks)
    return sheet.finish(shared=True)


def _by_size(panel: drawing.Panel, values: xr.DataArray, looks: dict, is_joined: bool = True) -> None:
    """All starts, and a line through their medians."""
    for (network, layers), look in looks.items():
        one = values.sel(network=network, layers=layers).transpose("size", "start")
        sizes = np.broadcast_to(one["size"].values[:, None], one.shape)
        panel.points(sizes, one, f"{network}, {layers} layers", "not reached", markersize=3.0, **look)
        if is_joined:
            panel.ax.plot(one["size"], one.median("start"), color=look["color"], linewidth=0.7, zorder=3)


def _predicted(panel: drawing.Panel, values: xr.DataArray, name: str) -> None:
    """The powers of the linear networks, through the median at the smallest size."""
    for layers in values["layers"].values.tolist():
        middle = values.sel(network="linear", layers=layers).sortby("size").median("start")
        sizes, first = middle["size"].values, float(middle[0])
        if name == "constant":
            panel.line(sizes, first * (sizes / sizes[0]) ** (-2.0 * (layers - 1)),
                       "linear: powers $-2(l-1)$ (a), $-(l-2)$ (b)", zorder=5, color="black")  # fmt: skip
        elif layers > 2:
            panel.line(sizes, first * (sizes / sizes[0]) ** (2.0 - layers), zorder=5, color="black")


def _quiet(panel: drawing.Panel, results: xr.Dataset, looks: dict) -> None:
    layers = results["layers"].values.tolist()
    panel.logarithmic("y").label("layers $l$", "smallest $||\\nabla L||$ at the saddle")
    for place, quiet in zip(layers, results["quiet"].values, strict=True):
        panel.points([place], [quiet], "", "did not come near", **looks["residual", place])
    panel.ticks(layers, [str(one) for one in layers])
    panel.ax.set_xlim(min(layers) - 0.6, max(layers) + 0.6)
    panel.ax.set_ylim(min(1e-12, panel.ax.get_ylim()[0]), max(1e-4, panel.ax.get_ylim()[1]))
    panel.limit(1e-6, linestyle=":")


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
