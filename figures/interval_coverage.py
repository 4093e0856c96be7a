"""Draws how often intervals hold the truth: ``python figures/interval_coverage.py RESULTS.nc -o PICTURE.pdf``.

A row for each kind of interval and setting: the share of repetitions that held the truth with its own 95 % interval,
the same share summed over all outcomes where it was (bars), and on the right the mean width of the interval.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from coverage_rows import coverage_rows
from matplotlib.figure import Figure

from gradflow import plotting

LOWEST = 0.62
"""Left end of the axis; smaller shares are written there."""


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """One tall panel of rows, grouped by what is drawn."""
    num = results.sizes["case"] + 1.4 * len(set(results["setting"].values.tolist()))
    sheet = drawing.Sheet(1, 1, aspect=0.3 + 0.043 * num)
    panel = sheet.panel("Intervals of fractions against known ones")
    heights = coverage_rows(panel, results, "setting", lowest=LOWEST)
    panel.ax.set_xlabel("share of repetitions in which the interval held the truth,\nwith its own 95 % interval")
    exact = results["exact"].values
    seen = np.isfinite(exact)
    panel.ax.plot(np.maximum(exact[seen], LOWEST), np.array(heights)[seen], linestyle="none", marker="|", color="black",
                  markersize=7.0, zorder=6, clip_on=False)  # fmt: skip
    if seen.any():
        panel.key("summed over all outcomes", marker="|", markersize=7.0)
    for height, width in zip(heights, results["mean_width"].values, strict=True):
        panel.ax.annotate(f"{width:.2g}", (1.0, height), (10.0, 0.0), panel.ax.get_yaxis_transform(), "offset points",
                          va="center", fontsize="small", annotation_clip=False)  # fmt: skip
    panel.ax.annotate("mean\nwidth", (1.0, 0.0), (10.0, 0.0), panel.ax.get_yaxis_transform(), "offset points",
                      va="center", fontsize="small", annotation_clip=False)  # fmt: skip
    return sheet.finish()


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
