"""Draws how often estimates of basins hold the truth: ``python figures/basin_coverage.py RESULTS.nc -o PICTURE.pdf``.

A row for each kind of interval and landscape: the share of repetitions in which the interval held the known fraction,
with its own 95 % interval. On the right, how many starts got a wrong label.
"""

import sys

import drawing
import numpy as np
import xarray as xr
from coverage_rows import coverage_rows
from matplotlib.figure import Figure

from gradflow import plotting


@plotting.style()
def page(results: xr.Dataset) -> Figure:
    """One panel of rows, grouped by landscape."""
    num = results.sizes["row"]
    sheet = drawing.Sheet(1, 1, aspect=0.24 + 0.062 * num)
    panel = sheet.panel("Intervals of whole estimates of basins against known fractions")
    heights = coverage_rows(panel, results, "case", lowest=min(0.74, float(results["held_low"].min()) - 0.01))
    panel.ax.set_xlabel("share of repetitions in which the interval held the truth, with its own 95 % interval")
    _beside(panel, heights, results)
    return sheet.finish()


def _beside(panel: drawing.Panel, heights: list[float], results: xr.Dataset) -> None:
    """Repetitions of each row, and wrong labels where they were counted."""
    total = results["repetitions"].values * int(results["num_samples"])
    for height, repetitions, wrong, starts in zip(
        heights, results["repetitions"].values, results["wrong_labels"].values, total, strict=True
    ):
        counted = "" if np.isnan(wrong) else f"; {drawing.counted(wrong, starts, 'labels wrong')}"
        panel.ax.annotate(f"{repetitions} times{counted}", (1.0, height), (8.0, 0.0), panel.ax.get_yaxis_transform(),
                          "offset points", va="center", fontsize="small", annotation_clip=False)  # fmt: skip


if __name__ == "__main__":
    sys.exit(drawing.command(page, str(__doc__)))
