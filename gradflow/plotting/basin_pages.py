"""Pages of one estimate of basins: a map with the limits marked, and fractions beside times to converge.

Composes the plots of this room; takes an estimate and, for a map, the sampler that its starts are from.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gradflow import checks
from gradflow.plotting.basins import MANY, basin_map
from gradflow.plotting.classes import spoken
from gradflow.plotting.portraits import KIND_MARKERS
from gradflow.plotting.styles import COLUMN_WIDTH, figure_size, style
from gradflow.plotting.tallies import QUANTILE_LEVELS, basin_fractions, convergence_times

MOST_STARTS = 20_000
"""Single starts that a map shows, the first ones; more would hide each other."""

_SEVERAL = re.compile(r"^continuum\b|\{.*\}|^flat cone")
"""Names of classes of many limits: continua that were found, sets of captured values, and what is flat."""

AROUND_ROWS, GAP_OF_ROWS, HEIGHT_OF_LINE = 0.7, 0.08, 0.12
"""Heights in inches: of a panel's axis and title, between two rows, of a line of a name."""


def basin_map_page(estimate: Any, sampler: Any, *, title: str = "") -> Figure:
    """A page with the map of the basins: the cells of a slice, or single starts of two parameters.

    Args:
        estimate: a :class:`gradflow.basins.BasinEstimate` that kept the class of every start.
        sampler: the sampler of its starts, or the starts themselves, rows of two parameters.
        title: a line above the picture.

    Returns:
        A figure that belongs to no window; write it with :func:`save_figure`.

    Raises:
        InputError: classes were not kept, or starts of another number of parameters that are no slice.
    """
    codes = estimate.codes
    checks.require(codes is not None, "estimate", "hold the class of every start", "None", "Use keep_codes=True.")
    is_slice = hasattr(sampler, "extent")
    points = _limits(estimate, sampler if is_slice else None)
    needed = _legend_height([spoken(name) for name in estimate.labels], has_shares=not is_slice, num_more=len(points))
    with style():
        figure = Figure(figsize=figure_size(2, aspect=max(1.6, needed / COLUMN_WIDTH)))
        ax = figure.subplots()
        if is_slice:
            basin_map(
                ax, np.asarray(codes).reshape(sampler.shape), estimate.labels, extent=sampler.extent,
                points=points, axis_labels=sampler.axis_labels, legend_title="ends at",
            )  # fmt: skip
        else:
            intervals = estimate.intervals
            percent = f"{100 * estimate.level:g} %"
            shown = np.asarray(sampler)[:MOST_STARTS]
            basin_map(
                ax, np.asarray(codes)[:MOST_STARTS], estimate.labels, coordinates=shown,
                fractions=estimate.fractions, bounds=(intervals.low, intervals.high),
                points=points, legend_title=f"share of the starts [{percent} interval]",
            )  # fmt: skip
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def basin_summary_page(estimate: Any, *, title: str = "", has_intervals: bool = True) -> Figure:
    """A page with the fractions of all rows and their intervals, and the times to converge of those with starts.

    Args:
        estimate: a :class:`gradflow.basins.BasinEstimate`.
        title: a line above the pictures.
        has_intervals: False for the cells of a slice, which are no sample.

    Returns:
        A figure that belongs to no window; write it with :func:`save_figure`.
    """
    names, ends = estimate.labels, (estimate.fractions, estimate.fractions)
    if has_intervals:
        ends = (estimate.intervals.low, estimate.intervals.high)
    wide = (estimate.simultaneous.low, estimate.simultaneous.high) if has_intervals else None
    num_lines = max(spoken(name).count("\n") + 1 for name in names)
    height = AROUND_ROWS + len(names) * (GAP_OF_ROWS + num_lines * HEIGHT_OF_LINE)
    level = estimate.level if has_intervals else None
    with style():
        figure = Figure(figsize=figure_size(2, aspect=height / COLUMN_WIDTH, rows=2), layout="constrained")
        upper, lower = figure.subplots(2, 1)
        basin_fractions(upper, names, estimate.fractions, *ends, outer=wide, confidence=level)
        times = estimate.time_quantiles(QUANTILE_LEVELS)
        convergence_times(lower, names, times, counts=estimate.counts)
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def _legend_height(texts: Sequence[str], has_shares: bool, num_more: int) -> float:
    """Height in inches of a legend with these texts, each with a share on a line of its own, and more short ones."""
    num_lines = sum(text.count("\n") + 1 + has_shares for text in texts) + num_more
    return AROUND_ROWS + num_lines * HEIGHT_OF_LINE + (len(texts) + num_more) * GAP_OF_ROWS


def _limits(estimate: Any, plane: Any) -> dict[str, np.ndarray]:
    """Where the limits of the classes lie, by kind; on a slice those in its plane.

    Of a class with more limits than one only one is known, its first start's: it is marked as one of many.
    """
    places: dict[str, list[np.ndarray]] = {}
    for label, kind, end in zip(estimate.labels, estimate.kinds, estimate.ends, strict=True):
        is_limit = kind in KIND_MARKERS and kind not in ("degenerate", "undetermined", "not_critical")
        if not is_limit or not np.isfinite(end).all():
            continue
        place, distance = (end, 0.0) if plane is None else plane.projected(end)
        if distance <= 1e-3 * max(1.0, float(np.linalg.norm(end))):
            places.setdefault(MANY if _SEVERAL.search(label) else kind, []).append(np.asarray(place))
    return {kind: np.stack(found) for kind, found in places.items()}
