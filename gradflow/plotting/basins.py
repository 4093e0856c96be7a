"""Maps of basins of attraction: where the starts of a grid or a sample end.

Starts, codes of classes, names, shares and bounds come as plain arrays; nothing is counted or estimated here. The looks
of the classes are those of :mod:`gradflow.plotting.classes`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float, Int
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke

from gradflow import checks
from gradflow.plotting.axes import legend_above, require_axes
from gradflow.plotting.classes import ClassStyle, checked_codes, checked_shares, class_styles, dot, share_text, spoken
from gradflow.plotting.portraits import KIND_MARKERS

PARAMETER_LABELS = (r"$\theta_1$ (dimensionless)", r"$\theta_2$ (dimensionless)")

MANY = "one_of_many_limits"
"""Key for points to mark that are no class of their own: the class has more limits than this one, often a continuum."""

_ON_MAPS: dict[str, dict[str, Any]] = {
    "global_minimum": {"marker": "*", "markersize": 9.5},
    MANY: {"marker": "d", "markersize": 6.5},
}
"""Marks other than those of portraits, where only the colour tells a kind from another."""

_MARKS = {**KIND_MARKERS, MANY: {}}

_HATCHING = {"hatch.linewidth": 0.4}
_HATCH_COLOR = (0.0, 0.0, 0.0, 0.55)


class BasinMap(NamedTuple):
    """The artists of a basin map; `cells` for a grid, `starts` (one collection per class present) for single starts."""

    cells: AxesImage | None
    starts: list[PathCollection]
    hatches: list[Artist]
    points: list[Line2D]
    legend: Legend | None


def basin_map(
    ax: Axes,
    codes: Int[np.ndarray, "..."],
    names: Sequence[str],
    *,
    extent: tuple[float, float, float, float] | None = None,
    coordinates: Float[np.ndarray, "num 2"] | None = None,
    fractions: Any = None,
    bounds: tuple[Any, Any] | None = None,
    points: Mapping[str, Any] | None = None,
    axis_labels: tuple[str, str] = PARAMETER_LABELS,
    legend: str = "right",
    legend_title: str | None = None,
    aspect: str = "auto",
) -> BasinMap:
    """The classes of a grid of starts as coloured cells, or of single starts as markers, explained beside the axes.

    Args:
        ax: axes to draw on; their limits become those of the starts, whatever is drawn on top.
        codes: the place in `names` of each start's class: ``(rows, columns)`` for a grid whose first row is the
            lowest, ``(num,)`` for single starts.
        names: all classes; see :func:`~gradflow.plotting.classes.class_styles` for their looks.
        extent: left, right, bottom and top edge of the grid (``samplers.Slice.extent``).
        coordinates: ``(num, 2)``, where the single starts lie.
        fractions: share of each class, shown in the legend with all classes, also those without a start. By default
            only the classes drawn are listed, without shares: the cells of a slice are no sample.
        bounds: lower and upper ends of the shares' intervals.
        points: coordinates ``(k, 2)`` of points to mark, by a kind of :data:`gradflow.plotting.KIND_MARKERS`; those
            outside of the limits are left out. The shape alone tells the kind, colours being those of the classes:
            the markers are white, and a global minimum is a star. Under :data:`MANY` those that stand for a class
            of many limits: a thin diamond, whatever their kind.
        axis_labels: labels of the axes, with units.
        legend: ``"right"`` of the axes, ``"above"`` them (for a column's width) or ``"none"``.
        legend_title: what the numbers in the legend are.
        aspect: ``"equal"`` where both axes have one unit of length.

    Single starts are drawn from the most to the least frequent class, so that rare ones stay visible.

    Raises:
        InputError: codes outside of the names, or arrays whose shapes do not fit each other.
    """
    require_axes(ax)
    styles, codes = class_styles(names), checked_codes(codes, len(names))
    checks.require(
        codes.ndim in (1, 2), "codes", "have two axes (a grid) or one (single starts)", f"shape {codes.shape}"
    )
    legend = checks.choice("legend", legend, ("right", "above", "none"))
    shares = checked_shares(len(names), fractions, bounds)
    cells: AxesImage | None = None
    starts: list[PathCollection] = []
    hatches: list[Artist] = []
    if codes.ndim == 2:
        limits = _checked_extent(extent)
        cells, hatches = _draw_cells(ax, codes, styles, limits)
    else:
        places = _checked_coordinates(coordinates, len(codes))
        starts = _draw_starts(ax, codes, styles, places)
        limits = _limits_around(places)
    marks = _draw_points(ax, points or {}, limits)
    ax.set_aspect(checks.choice("aspect", aspect, ("auto", "equal")))
    ax.set_xlim(limits[0], limits[1])
    ax.set_ylim(limits[2], limits[3])
    ax.set_xlabel(axis_labels[0])
    ax.set_ylabel(axis_labels[1])
    present = np.bincount(codes.ravel(), minlength=len(names)) > 0
    keys = [
        (_key(style, codes.ndim == 2), spoken(name), "" if shares is None else share_text(shares, index))
        for index, (name, style) in enumerate(zip(names, styles, strict=True))
        if shares is not None or present[index]
    ]
    keys += [(_alone(mark), str(mark.get_label()), "") for mark in marks]
    return BasinMap(cells, starts, hatches, marks, _draw_legend(ax, keys, legend, legend_title))


def _checked_extent(extent: Any) -> tuple[float, float, float, float]:
    is_four = extent is not None and np.shape(extent) == (4,)
    checks.require(is_four, "extent", "be four numbers (left, right, bottom, top) for a grid", repr(extent))
    left, right, bottom, top = (checks.real(f"extent[{index}]", edge) for index, edge in enumerate(extent))
    checks.require(left < right and bottom < top, "extent", "increase", (left, right, bottom, top))
    return left, right, bottom, top


def _checked_coordinates(coordinates: Any, num: int) -> np.ndarray:
    shape = "nothing" if coordinates is None else f"shape {np.shape(coordinates)}"
    is_table = coordinates is not None and np.shape(coordinates) == (num, 2)
    checks.require(is_table, "coordinates", f"have shape ({num}, 2), as many rows as codes", shape)
    return checks.finite_array("coordinates", coordinates)


def _draw_cells(
    ax: Axes, codes: np.ndarray, styles: list[ClassStyle], extent: tuple[float, float, float, float]
) -> tuple[AxesImage, list[Artist]]:
    """One pixel a cell, without interpolation, and hatches over the classes that have one."""
    colors = np.array([to_rgba(style.color) for style in styles])
    cells = ax.imshow(colors[codes], origin="lower", extent=extent, interpolation="nearest", aspect="auto", zorder=0)
    left, right, bottom, top = extent
    x, y = (
        np.concatenate([[low], low + (high - low) * (np.arange(count) + 0.5) / count, [high]])
        for low, high, count in ((left, right, codes.shape[1]), (bottom, top, codes.shape[0]))
    )
    framed = np.pad(codes, 1, mode="edge")
    hatches = []
    for code in np.unique(codes):
        if styles[code].hatch:
            mask, pattern = (framed == code).astype(float), [styles[code].hatch]
            with matplotlib.rc_context(_HATCHING):
                hatch = ax.contourf(x, y, mask, levels=[0.5, 1.5], colors="none", hatches=pattern, zorder=1)
            hatch.set(edgecolor=_HATCH_COLOR, linewidth=0.0)
            hatches.append(hatch)
    return cells, hatches


def _draw_starts(ax: Axes, codes: np.ndarray, styles: list[ClassStyle], places: np.ndarray) -> list[PathCollection]:
    """Markers, the most frequent class lowest; smaller where there are many."""
    counts = np.bincount(codes, minlength=len(styles))
    size = float(np.clip(2e4 / len(codes), 1.0, 16.0))
    drawn = []
    for depth, code in enumerate(np.argsort(-counts, kind="stable")):
        if counts[code] == 0:
            continue
        style, mine = styles[code], places[codes == code]
        drawn.append(
            ax.scatter(
                *mine.T, s=size, marker=style.marker, facecolor=style.color, edgecolor="black",
                linewidth=0.35 if size > 4 else 0.0, zorder=2 + depth / len(styles), rasterized=len(codes) > 2000,
            )
        )  # fmt: skip
    return drawn


def _limits_around(places: np.ndarray) -> tuple[float, float, float, float]:
    low, high = places.min(axis=0), places.max(axis=0)
    margin = np.where(high > low, 0.03 * (high - low), 1.0)
    return (*(float(end) for end in np.column_stack([low - margin, high + margin]).ravel()),)  # type: ignore[return-value]


def _draw_points(ax: Axes, points: Mapping[str, Any], limits: tuple[float, float, float, float]) -> list[Line2D]:
    marks = []
    for kind, places in points.items():
        marker = _MARKS[checks.choice("points", kind, _MARKS)]
        table = checks.finite_array(f"points[{kind!r}]", places, ndim=2)
        checks.require(table.shape[1] == 2, f"points[{kind!r}]", "have two coordinates per row", table.shape)
        inside = (table >= [limits[0], limits[2]]).all(axis=1) & (table <= [limits[1], limits[3]]).all(axis=1)
        if inside.any():
            look = {"markersize": 6.0, **marker, "markeredgecolor": "black", "markeredgewidth": 0.9}
            look |= {"markerfacecolor": "white", **_ON_MAPS.get(kind, {})}
            label = kind.replace("_", " ").replace("nonstrict", "non-strict")
            marks += ax.plot(*table[inside].T, linestyle="none", label=label, zorder=6, **look)
            marks[-1].set_path_effects([Stroke(linewidth=2.4, foreground="white"), Normal()])
    return marks


def _key(style: ClassStyle, is_area: bool) -> Artist:
    if not is_area:
        return Line2D([], [], **dot(style))
    with matplotlib.rc_context(_HATCHING):
        return Patch(facecolor=style.color, edgecolor=_HATCH_COLOR, linewidth=0.5, hatch=style.hatch or None)


def _alone(mark: Line2D) -> Line2D:
    """The marker of `mark`, for a legend."""
    copy = Line2D([], [])
    copy.update_from(mark)
    return copy


def _draw_legend(ax: Axes, keys: list[tuple[Artist, str, str]], where: str, title: str | None) -> Legend | None:
    """Handles with names and shares; the shares go on lines of their own where the legend would be too wide."""
    if where == "none":
        return None
    legend = None
    for separator in (": ", "\n"):
        for handle, name, share in keys:
            handle.set_label(f"{name}{separator}{share}" if share else name)
        handles = [handle for handle, _, _ in keys]
        look = {"title": title, "alignment": "left", "title_fontsize": "small", "handleheight": 1.3}
        if where == "above":
            legend = legend_above(ax, handles, **look)
        else:
            legend = ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0.6, **look)
        room = (0.8 if where == "above" else 0.5) * ax.figure.bbox.width
        if legend.get_window_extent().width < room:
            break
    return legend
