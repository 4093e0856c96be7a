"""Draws where paper 001's regulariser helps: ``python figures/regulariser_and_speed.py RESULTS.nc -o PICTURE.pdf``.

(a) Time to leave unbalanced saddles; (b) chains, where imbalance speeds the plain flow up; (c) starts in general
position and balanced ones; (d) the imbalance in the end, and (e) on the way.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting

KINDS = {"balanced, white": "balanced,\nwhite", "general, white": "general,\nwhite",
         "balanced, not white": "balanced,\nnot white"}  # fmt: skip


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Six panels, the strengths of the term told apart by marker."""
    sheet = drawing.Sheet(3, 2, aspect=0.66)
    looks = drawing.looks(sorted(set(results["strength"].values.tolist())))
    _saddles(sheet.panel("Leaving a saddle"), results, looks)
    _chains(sheet.panel("Chains"), results, looks)
    _starts(sheet.panel("Other starts"), results, looks, "settled", "time to $10^{-6}$ of the loss")
    panel = sheet.panel("Imbalance in the end")
    _starts(panel, results, looks, "last_imbalance", "$||$imbalance$||$ in the end")
    panel.limit(1e-4, "limit with the term (d), least on data that are not white (e)", linestyle=(0, (1, 1)))
    panel = sheet.panel("Largest imbalance")
    _starts(panel, results, looks, "largest_imbalance", "largest $||$imbalance$||$")
    panel.limit(1e-3, linestyle=(0, (1, 1)))
    panel = sheet.panel("Largest imbalance, relative")
    _starts(panel, results, looks, "worst_rise", "largest / first $||$imbalance$||$")
    panel.ax.set_yscale("linear")
    panel.ax.set_ylim(0.0, max(1.3, panel.ax.get_ylim()[1]))
    panel.excluded(1.0 + 1e-6, 1e9, "excluded on white data with the term")
    return sheet.finish(shared=True)


def _of(results: xr.Dataset, kind: str, strength: float) -> xr.Dataset:
    return results.sel(case=(results["kind"] == kind) & (results["strength"] == strength))


def _text(strength: float) -> str:
    return f"$\\mu={strength:g}$" + (" (plain loss)" if strength == 0 else "")


def _saddles(panel: drawing.Panel, results: xr.Dataset, looks: dict) -> None:
    panel.logarithmic("y").label("input weight $a$ of the idle unit", "time of leaving")
    for strength, look in looks.items():
        one = _of(results, "saddle", strength).sortby("amount")
        panel.points(one["amount"], one["left"], _text(strength), "not reached", linestyle="-", linewidth=0.7, **look)
        if strength == 0 and one.sizes["case"]:
            a, rate = one["amount"].values, _rate(one["amount"].values)
            fine = np.linspace(a[0], a[-1], 100)
            panel.line(fine, one["left"].values[0] * rate[0] / _rate(fine), "proportional to $1/|\\lambda_{\\min}|$")


def _rate(a: np.ndarray) -> np.ndarray:
    """``|lambda_min|`` of the plain loss at the idle saddle, s = 1, without cancellation."""
    return 2 / (np.sqrt(a**4 + 4) + a**2)


def _chains(panel: drawing.Panel, results: xr.Dataset, looks: dict) -> None:
    panel.label("imbalance $c$ of the chain", "time to $10^{-6}$ of the loss")
    if not (results["kind"] == "chain").any():
        panel.note("no chains in these results")
        panel.ticks([], [])
        panel.ticks([], [], axis="y")
        return
    for strength, look in looks.items():
        one = _of(results, "chain", strength).sortby("amount")
        panel.points(
            one["amount"], one["settled"], _text(strength), "not reached", linestyle="-", linewidth=0.7, **look
        )
    base = _of(results, "chain", 0.0).sortby("amount")
    if base.sizes["case"]:
        c = np.linspace(0.0, float(base["amount"].max()), 100)
        panel.line(c, base["settled"].values[0] * 2 / np.sqrt(c**2 + 4), "proportional to $1/\\sqrt{c^2+4s^2}$",
                   linestyle=":")  # fmt: skip
    panel.ax.set_ylim(0.0, 1.1 * panel.ax.get_ylim()[1])


def _starts(panel: drawing.Panel, results: xr.Dataset, looks: dict, name: str, text: str) -> None:
    panel.logarithmic("y").label("kind of start", text)
    kinds = {**KINDS, "saddle": "beside\nsaddles"} | ({} if name == "settled" else {"chain": "chains"})
    kinds = {kind: words for kind, words in kinds.items() if (results["kind"] == kind).any()}
    for place, kind in enumerate(kinds):
        for shift, (strength, look) in zip(drawing.spread(len(looks), 0.5), looks.items(), strict=True):
            one = _of(results, kind, strength)
            values = one[name].values
            if name == "worst_rise":
                values = values[np.isfinite(values)]  # a balanced start has no imbalance to compare with
            x = place + shift + drawing.spread(len(values), 0.12)
            panel.points(x, values, _text(strength), "not reached", markersize=3.0, **look)
        if name == "worst_rise" and not np.isfinite(results["worst_rise"].where(results["kind"] == kind)).any():
            panel.ax.text(place, 0.85, "starts\nat 0", ha="center", va="top", fontsize="small")
    panel.ticks(range(len(kinds)), kinds.values())
    panel.ax.set_xlim(-0.6, len(kinds) - 0.4)


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
