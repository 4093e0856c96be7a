"""A panel of coverage: a row for each kind of interval, how often it held the truth, beside the level it has.

Knows rows with the variables ``interval, held, held_low, held_high, verdict, is_promise`` and a heading for each group.
"""

import numpy as np
import xarray as xr
from drawing import WRONG, Panel

from gradflow.plotting.styles import GREY, OKABE_ITO

LEVEL = 0.95

LOOKS = {
    (True, False): {"color": OKABE_ITO["blue"], "marker": "o", "label": "level promised"},
    (False, False): {"color": OKABE_ITO["orange"], "marker": "s", "markerfacecolor": "white",
                     "label": "no promise"},
}  # fmt: skip
"""By (promised, excessive)."""


def coverage_rows(panel: Panel, results: xr.Dataset, group: str, lowest: float = 0.0) -> list[float]:
    """Draws all rows, grouped as they follow each other; shares below `lowest` are at the left edge. Returns heights.

    A share whose own 99.9 % interval excludes the level from below has a cross as its marker.
    """
    heights, names, height, before = [], [], 0.0, None
    for row in range(len(results["interval"])):
        one = results.isel({results["interval"].dims[0]: row})
        if (heading := str(one[group].item())) != before:
            height += 0.4
            panel.ax.annotate(
                heading,
                (0.0, height),
                (4.0, 0.0),
                panel.ax.get_yaxis_transform(),
                textcoords="offset points",
                va="center",
                fontsize="small",
                fontweight="bold",
            )
            before, height = heading, height + 1.0
        _row(panel, one, height, lowest)
        heights.append(height)
        names.append(str(one["interval"].item()))
        height += 1.0
    panel.ticks(heights, names, axis="y")
    panel.ax.set_ylim(height - 0.3, -0.4)
    panel.ax.set_xlim(lowest, 1.0 + 0.012 * (1 - lowest))
    panel.limit(LEVEL, "nominal level 95 %", axis="x")
    return heights


def _row(panel: Panel, one: xr.Dataset, height: float, lowest: float) -> None:
    held, low, high = (float(one[name]) for name in ("held", "held_low", "held_high"))
    look = dict(LOOKS[bool(one["is_promise"]), False])
    is_low, label = str(one["verdict"].item()) == "TOO LOW", look.pop("label")
    if np.isnan(held):
        panel.ax.plot(lowest, height, marker="$?$", color=GREY, clip_on=False)
        panel.key("undetermined", marker="$?$")
        return
    panel.ax.plot([max(low, lowest), high], [height, height], color=look["color"], linewidth=1.0, zorder=3)
    if is_low:
        look |= {"marker": WRONG["marker"], "markersize": WRONG["markersize"], "markerfacecolor": look["color"]}
        label = f"{label}, and not kept"
    panel.key(label, **look)
    panel.ax.plot(max(held, lowest), height, linestyle="none", zorder=5, clip_on=False, **look)
    if held < lowest:
        panel.ax.annotate(f"{held:.3g}", (lowest, height), (5.0, 0.0), textcoords="offset points", va="center",
                          fontsize="small")  # fmt: skip
