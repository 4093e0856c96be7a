"""Draws how starts fare on real data: ``python figures/starts_on_real_data.py RESULTS.nc -o PICTURE.pdf``.

A row for each law and scale, a marker for each data set: times to lose the first tenth and 99 % of the excess, the
norm over its bound, the drift of the invariants, and what is left. Ends that are no global minimum are crossed.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradflow import plotting

PANELS = (
    ("escaped", "First tenth of the excess lost", "flow time $t$", None),
    ("settled", "1 % of the excess left", "flow time $t$", None),
    ("steps", "Work", "attempted steps", None),
    ("sup_over_bound", "Norm and certificate", "sup$||W||\\,/\\,R$", 1.0),
    ("drift", "Invariants", "largest relative drift / rtol", 100.0),
    ("excess", "The end", "excess left / excess at the start", 1e-6),
)
"""Variable, statement, label, and the largest value that the prediction allows."""


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """Six panels with the same rows and one legend."""
    sheet = drawing.Sheet(2, 3, aspect=0.72, sharey=True)
    starts = list(dict.fromkeys(results["start"].values.tolist()))
    looks = drawing.looks(results["data"].values.tolist())
    for name, text, label, limit in PANELS:
        panel = sheet.panel(text).logarithmic("x").label(label, "")
        _rows(panel, results, name, starts, looks)
        if limit is not None:
            low, high = panel.ax.get_xlim()
            panel.ax.set_xlim(low, max(high, 1.4 * limit))
            panel.excluded(limit, 1e300, axis="x")
    return sheet.finish(shared=True)


def _rows(panel: drawing.Panel, results: xr.Dataset, name: str, starts: list[str], looks: dict) -> None:
    for shift, (data, look) in zip(drawing.spread(len(looks), 0.4), looks.items(), strict=True):
        one = results.sel(case=results["data"] == data)
        rows = np.array([starts.index(start) for start in one["start"].values.tolist()]) + shift
        values = one[name].values.astype(float)
        panel.points(values, rows, data, "not reached", **look)
        shown = np.isfinite(values) & (values > 0)
        is_other = shown & (one["kind"] != "global_minimum").values
        if is_other.any():
            panel.points(values[is_other], rows[is_other], "no global minimum", **drawing.WRONG)
    panel.rows([start.replace("_", " ") for start in starts])


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
