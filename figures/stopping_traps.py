"""Draws what was said of starts that fool stop tests: ``python figures/stopping_traps.py RESULTS.nc -o PICTURE.pdf``.

A row for each start: the flow time that it was followed, thick where it was near a saddle, how the run ended and what
the endpoint was called, beside what was predicted.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting
from gradflow.plotting.axes import TIME_LABEL
from gradflow.plotting.styles import OKABE_ITO

FIRST = 0.1
"""Left end of the logarithmic time axis; every run begins at 0."""


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """One panel of rows."""
    num = results.sizes["trap"]
    sheet = drawing.Sheet(1, 1, aspect=0.5 + 0.12 * num)
    panel = sheet.panel("Starts that fool simple stop tests")
    panel.logarithmic("x").rows(results["start"].values.tolist())
    panel.label(f"{TIME_LABEL}, from 0 on", "")
    panel.ax.set_xlim(FIRST, 3 * max(float(results["end_time"].max()), 10 * FIRST))
    for row in range(num):
        _row(panel, results.isel(trap=row), row)
    panel.ax.annotate("found", (1.0, -0.6), (8.0, 6.0), panel.ax.get_yaxis_transform(), "offset points",
                      fontweight="bold", fontsize="small", annotation_clip=False)  # fmt: skip
    return sheet.finish()


def _row(panel: drawing.Panel, one: xr.Dataset, row: int) -> None:
    end = max(float(one["end_time"]), FIRST)
    panel.ax.plot([FIRST, end], [row, row], color="0.5", linewidth=1.0, zorder=2)
    panel.key("followed", color="0.5", linestyle="-")
    for passage in filter(None, str(one["passages"].item()).split(", ")):
        start, stop = passage.split("..")
        left, right = max(float(start), FIRST), end if stop == "end" else float(stop)
        panel.ax.plot([left, max(right, left)], [row, row], color=OKABE_ITO["sky"], linewidth=5.0, zorder=3,
                      solid_capstyle="butt")  # fmt: skip
        panel.key("near a saddle", color=OKABE_ITO["sky"], linestyle="-", linewidth=5.0)
    status, kind = str(one["status"].item()), str(one["kind"].item())
    expected, kinds = str(one["predicted_status"].item()), str(one["predicted_kinds"].item()).split()
    drawing.answers(panel, np.array([end]), np.array([float(row)]), [status == expected and kind in kinds])
    said = f"{status}: {kind}, {one['law'].item()} approach".replace("_", " ")
    if int(one["unresolved"]):
        said += f"; {int(one['unresolved'])} passage(s) unresolved"
    panel.ax.annotate(said, (1.0, row), (8.0, 0.0), panel.ax.get_yaxis_transform(), "offset points", va="center",
                      fontsize="small", annotation_clip=False)  # fmt: skip
    if status != expected or kind not in kinds:
        wanted = f"predicted {expected}: {' or '.join(kinds)}".replace("_", " ")
        look = {"color": OKABE_ITO["vermillion"], "va": "center", "fontsize": "small", "annotation_clip": False}
        panel.ax.annotate(wanted, (1.0, row), (8.0, -9.0), panel.ax.get_yaxis_transform(), "offset points", **look)


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
