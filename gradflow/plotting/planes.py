"""Phase portraits from saved planes (``gradflow.phase_planes.phase_plane``): nothing is integrated or evaluated here.

What is told apart, is told apart in a grey copy too: stable manifolds are solid and unstable ones dashed, nullclines
dotted and dash-dotted, curves of critical points broad with a black edge, kinds of critical points by their markers.
On a slice of more parameters the streamlines are those of the field's part in the plane; where more of the speed leaves
the plane than stays in it, the slice is hatched.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.contour import QuadContourSet
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from matplotlib.streamplot import StreamplotSet
from scipy.ndimage import binary_erosion

from gradflow import checks
from gradflow.plotting.axes import number, require_axes
from gradflow.plotting.classes import class_styles
from gradflow.plotting.portraits import (
    KIND_MARKERS,
    LOSS_LINES,
    LOSS_SHADES,
    draw_contours,
    draw_streamlines,
    kind_marker,
    kind_name,
)
from gradflow.plotting.styles import OKABE_ITO

LINE_STYLES: dict[str, dict[str, Any]] = {
    "stable": {"color": OKABE_ITO["blue"], "linewidth": 1.9, "linestyle": "-", "zorder": 4.2},
    "unstable": {"color": OKABE_ITO["vermillion"], "linewidth": 1.9, "linestyle": (0, (3.2, 1.1)), "zorder": 4.1},
    "nullcline_x": {"color": "black", "linewidth": 1.0, "linestyle": (0, (1, 1.3)), "zorder": 3.0},
    "nullcline_y": {"color": "black", "linewidth": 1.0, "linestyle": (0, (6, 1.5, 1, 1.5)), "zorder": 3.0},
    "trajectory": {"color": "black", "linewidth": 1.2, "linestyle": "-", "zorder": 4.5},
}
"""How the lines of each role are drawn."""

LEVEL_STYLE: dict[str, Any] = {
    "colors": OKABE_ITO["purple"],
    "linewidths": 0.8,
    "linestyles": [(0, (5, 2))],
    "zorder": 2.6,
}
"""How level lines of functions (invariants) are drawn."""

NAMES = {
    "stable": "stable manifold",
    "unstable": "unstable manifold",
    "nullcline_x": "nullcline of the horizontal velocity",
    "nullcline_y": "nullcline of the vertical velocity",
    "trajectory": "trajectory from its start",
}

LEAK = "leak: largest speed out / largest speed"
"""What the title of a slice calls its leak."""

STREAM_WIDTHS = (0.25, 0.85)
"""Widths of the slowest and the fastest streamlines in points: thinner than every other line."""

_PLURALS = {"minimum": "minima", "maximum": "maxima", "saddle": "saddles"}

_FAINT = 0.42
"""Strength of the colours of basins: what is drawn on top must stay readable."""

_WITHOUT_HALO = ("nullcline_x", "nullcline_y")


class PlanePortrait(NamedTuple):
    """The artists of a portrait of a plane; `lines` by role, `levels` by function, `keys` for a legend."""

    streamlines: StreamplotSet
    contours: QuadContourSet | None
    lines: dict[str, list[Line2D]]
    levels: dict[str, QuadContourSet]
    points: list[Line2D]
    marks: list[Line2D]
    keys: list[Artist]


def plane_portrait(
    ax: Axes,
    plane: xr.Dataset,
    *,
    shade: str = "loss",
    levels: Mapping[str, Sequence[float]] | None = None,
    level_name: str = "level set of the invariant",
    loss_levels: int | Sequence[float] = 12,
    density: float = 0.8,
    title: str | None = None,
) -> PlanePortrait:
    """One saved plane: shades, streamlines (wider where faster), nullclines, manifolds, trajectories, critical points.

    Args:
        ax: axes to draw on; their limits become those of the plane's grid.
        plane: what ``gradflow.phase_planes.phase_plane`` returns.
        shade: ``"loss"``, ``"basins"`` (where it has them) or ``"none"``; lines of equal loss are drawn in any case.
        levels: values by the name of a saved function; their level lines are drawn.
        level_name: what the legend calls these.
        loss_levels: number of loss contours, or the losses.
        density: of streamlines.
        title: text above the axes; by default the plane's own. What a slice is, is added to it.

    Raises:
        InputError: not such a Dataset, or a function or basins that it does not have.
    """
    require_axes(ax)
    needed = {"loss", "velocity", "out_of_plane", "role", "row_place", "point_kind", "mark_place"}
    is_plane = isinstance(plane, xr.Dataset) and needed <= set(plane.data_vars)
    checks.require(is_plane, "plane", "be a Dataset of phase_planes.phase_plane", type(plane).__name__)
    shade = checks.choice("shade", shade, ("loss", "basins", "none"))
    x, y = plane.x.values, plane.y.values
    if shade == "basins":
        _draw_basins(ax, plane)
    contours = draw_contours(ax, x, y, plane.loss.values, loss_levels, is_filled=shade == "loss")
    streamlines = draw_streamlines(ax, x, y, plane.velocity.values, density, STREAM_WIDTHS)
    keys: list[Artist] = [*_field_keys(shade, contours), *_draw_leaving(ax, plane)]
    drawn_levels = {name: _draw_levels(ax, plane, name, values) for name, values in (levels or {}).items()}
    lines = _draw_lines(ax, plane)
    marks = _draw_marks(ax, plane)
    points = _draw_points(ax, plane)
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    ax.set_xlabel(f"{plane.attrs.get('x_label', '$x$')} (dimensionless)")
    ax.set_ylabel(f"{plane.attrs.get('y_label', '$y$')} (dimensionless)")
    ax.set_title(_title(plane, title))
    if not bool(plane.attrs.get("num_params", 2) == 2):
        keys.append(Line2D([], [], linestyle="none", label=LEAK))
    if drawn_levels:
        dash = LEVEL_STYLE["linestyles"][0]
        keys.append(Line2D([], [], color=LEVEL_STYLE["colors"], linewidth=0.8, linestyle=dash, label=level_name))
    keys = [*_keys(plane, lines, points, marks), *keys]
    return PlanePortrait(streamlines, contours, lines, drawn_levels, points, marks, keys)


def cone_lines(ax: Axes, plane: xr.Dataset, names: Sequence[str], labels: bool = True) -> list[Artist]:
    """The borders of a ReLU unit's cones, where preactivations vanish, and in each cone the samples J that are active.

    Args:
        ax: axes with the portrait of the plane.
        plane: a saved plane whose functions hold the preactivations.
        names: of these functions, sample after sample.
        labels: whether the cones are named; a cone that the grid hardly sees is not.
    """
    values = np.stack([_function(plane, name) for name in names])
    x, y = plane.x.values, plane.y.values
    artists: list[Artist] = [
        ax.contour(x, y, value, levels=[0.0], colors="black", linewidths=2.2, linestyles="solid", zorder=3.4)
        for value in values
    ]
    artists += [
        ax.contour(
            x, y, value, levels=[0.0], colors=OKABE_ITO["yellow"], linewidths=1.0, linestyles="solid", zorder=3.5
        )
        for value in values
    ]
    codes = np.tensordot(2 ** np.arange(len(values)), values >= 0, axes=1)
    for code in np.unique(codes) if labels else ():
        rows, columns = np.nonzero(codes == code)
        if len(rows) < 0.01 * codes.size:
            continue
        active = ", ".join(str(index + 1) for index in range(len(values)) if code >> index & 1)
        name = f"$J = \\{{{active}\\}}$" if active else "$J = \\emptyset$"
        if not np.any(plane.speed.values[rows, columns]):
            name += "\nall critical"
        text = ax.text(*_free_place(plane, codes == code), name, ha="center", va="center", fontsize="small", zorder=8)
        text.set_path_effects([Stroke(linewidth=2.5, foreground="white"), Normal()])
        artists.append(text)
    return artists


def _free_place(plane: xr.Dataset, is_inside: np.ndarray) -> tuple[float, float]:
    """A place for text in a region of the grid: as far from lines and points as there is, counted in text's shape."""
    x, y = plane.x.values, plane.y.values
    lines = np.concatenate([plane.row_place.values, plane.point_place.values, _on_border(x, y, is_inside)])
    rows, columns = (np.unique(np.linspace(4, len(axis) - 5, 21).astype(int)) for axis in (y, x))
    best, widest = (0, 0), -1.0
    for row in rows:
        for column in columns[is_inside[row, columns]]:
            gaps = np.abs(lines - [x[column], y[row]]) / [0.2 * (x[-1] - x[0]), 0.05 * (y[-1] - y[0])]
            room = float(np.min(np.max(gaps, axis=1), initial=1e9))
            if room > widest:
                best, widest = (column, row), room
    return float(x[best[0]]), float(y[best[1]])


def _on_border(x: np.ndarray, y: np.ndarray, is_inside: np.ndarray) -> np.ndarray:
    """Grid points on the border of a region, the edge of the grid included."""
    rows, columns = np.nonzero(is_inside & ~binary_erosion(is_inside))
    return np.column_stack([x[columns], y[rows]])


def cone_key() -> Line2D:
    """The legend's entry for :func:`cone_lines`."""
    key = Line2D([], [], color=OKABE_ITO["yellow"], linewidth=1.0, label="border of a cone")
    key.set_path_effects([Stroke(linewidth=2.2, foreground="black"), Normal()])
    return key


def distinct_keys(keys: Sequence[Artist]) -> list[Artist]:
    """Legend entries, each label once, kinds of critical points first."""
    by_label = {str(key.get_label()): key for key in reversed(keys)}
    first = [kind_name(kind) for kind in KIND_MARKERS]
    order = {label: index for index, label in enumerate([*first, *NAMES.values()])}
    return sorted(by_label.values(), key=lambda key: order.get(str(key.get_label()), 1000))


def _function(plane: xr.Dataset, name: str) -> np.ndarray:
    return plane.function.sel(name=checks.choice("name", name, [str(held) for held in plane.name.values])).values


def _draw_basins(ax: Axes, plane: xr.Dataset) -> None:
    checks.require("basin" in plane, "shade", "be 'loss' or 'none' for a plane without basins", "'basins'",
                   "Compute them: phase_plane(..., basin_resolution=200).")  # fmt: skip
    looks = class_styles([str(name) for name in plane.basin_name.values])
    colors = np.array([to_rgb(look.color) for look in looks])
    faint = 1.0 - _FAINT * (1.0 - colors)
    extent = (plane.x.values[0], plane.x.values[-1], plane.y.values[0], plane.y.values[-1])
    ax.imshow(
        faint[plane.basin.values], origin="lower", extent=extent, interpolation="nearest", aspect="auto", zorder=0
    )


def _draw_leaving(ax: Axes, plane: xr.Dataset) -> list[Artist]:
    """Hatches where the part of the velocity that leaves the plane is larger than the one in it."""
    if bool(plane.is_invariant):
        return []
    with np.errstate(invalid="ignore", divide="ignore"):
        share = plane.out_of_plane.values**2 / plane.speed.values**2
    if not np.any(share > 0.5):
        return []
    with matplotlib.rc_context({"hatch.linewidth": 0.35}):
        hatch = ax.contourf(
            plane.x.values, plane.y.values, np.ma.masked_invalid(share), levels=[0.5, 1.5], colors="none",
            hatches=["////"], zorder=1.5,
        )  # fmt: skip
        hatch.set(edgecolor=(0.0, 0.0, 0.0, 0.4), linewidth=0.0)
        label = "more speed out of the slice than in it"
        return [Patch(facecolor="white", edgecolor=(0.0, 0.0, 0.0, 0.4), linewidth=0.5, hatch="////", label=label)]


def _draw_levels(ax: Axes, plane: xr.Dataset, name: str, values: Sequence[float]) -> QuadContourSet:
    return ax.contour(plane.x.values, plane.y.values, _function(plane, name), levels=sorted(values), **LEVEL_STYLE)


def _draw_lines(ax: Axes, plane: xr.Dataset) -> dict[str, list[Line2D]]:
    drawn: dict[str, list[Line2D]] = {}
    owner, places = plane.row_curve.values, plane.row_place.values
    for index, (role, kind) in enumerate(zip(plane.role.values, plane.curve_kind.values, strict=True)):
        points = places[owner == index]
        look = _critical_curve(str(kind)) if role == "critical" else LINE_STYLES[str(role)]
        line = ax.plot(*points.T, label=NAMES.get(str(role)), solid_capstyle="butt", **look)[0]
        if role == "critical":
            line.set_path_effects([Stroke(linewidth=4.4, foreground="black"), Normal()])
            line.set_label(f"curve of {_plural(str(kind))}")
        elif role not in _WITHOUT_HALO:
            line.set_path_effects([Stroke(linewidth=look["linewidth"] + 1.3, foreground="white"), Normal()])
        if role == "trajectory":
            ax.plot(
                *points[0], "o", color="black", markersize=3.2, markeredgecolor="white", markeredgewidth=0.5, zorder=5
            )
        drawn.setdefault(str(role), []).append(line)
    return drawn


def _critical_curve(kind: str) -> dict[str, Any]:
    color = KIND_MARKERS[checks.choice("curve_kind", kind, KIND_MARKERS)]["markerfacecolor"]
    return {"color": "white" if color == "none" else color, "linewidth": 3.0, "linestyle": "-", "zorder": 3.8}


def _plural(kind: str) -> str:
    """Several critical points of a kind, in words."""
    *first, last = kind_name(kind).split()
    return " ".join([*first, _PLURALS[last]]) if last in _PLURALS else f"{kind_name(kind)} points"


def _draw_marks(ax: Axes, plane: xr.Dataset) -> list[Line2D]:
    if not plane.sizes["mark"]:
        return []
    times = ", ".join(f"{time:g}" for time in np.unique(plane.mark_time.values))
    below = "\n " if int(plane.attrs.get("num_params", 2)) > 2 else ""
    ax.set_title(f"\u25c7 $t$ = {times}{below}", loc="right")
    look = {"color": "black", "markerfacecolor": "white", "markersize": 3.0, "markeredgewidth": 0.7}
    return ax.plot(*plane.mark_place.values.T, "D", label="time given above the panel", zorder=5.5, **look)


def _draw_points(ax: Axes, plane: xr.Dataset) -> list[Line2D]:
    drawn = []
    for kind, place in zip(plane.point_kind.values, plane.point_place.values, strict=True):
        is_inside = plane.x[0] <= place[0] <= plane.x[-1] and plane.y[0] <= place[1] <= plane.y[-1]
        if is_inside:
            drawn += ax.plot(*place, **kind_marker(checks.choice("point_kind", str(kind), KIND_MARKERS)), zorder=7)
    return drawn


def _title(plane: xr.Dataset, title: str | None) -> str:
    text = plane.attrs.get("title", "") if title is None else title
    count = int(plane.attrs.get("num_params", 2))
    if count == 2:
        return text
    leak = float(plane.leak)
    share = number(leak) if leak < 0.01 else f"{100 * leak:.0f} %"
    way = "invariant" if bool(plane.is_invariant) else "not invariant"
    return f"{text}\nslice of {count} parameters, {way} (leak {share})"


def _field_keys(shade: str, contours: QuadContourSet | None) -> list[Artist]:
    """What streamlines, lines of equal loss and shades mean."""
    keys: list[Artist] = [Line2D([], [], color="0.35", linewidth=STREAM_WIDTHS[1], marker=">", markersize=3.0,
                                 label="streamline, wider where faster")]  # fmt: skip
    if contours is not None:
        keys.append(Line2D([], [], color=LOSS_LINES, linewidth=0.6, label="level set of the loss"))
    if shade == "loss" and contours is not None:
        keys.append(Patch(facecolor=LOSS_SHADES[0], label="low loss (the darker, the lower)"))
    if shade == "basins":
        keys.append(
            Patch(facecolor="0.85", edgecolor="0.5", linewidth=0.4, label="one colour, one basin of attraction")
        )
    return keys


def _keys(
    plane: xr.Dataset, lines: Mapping[str, list[Line2D]], points: Sequence[Line2D], marks: Sequence[Line2D]
) -> list[Artist]:
    kinds = {str(line.get_label()) for line in points}
    keys: list[Artist] = [Line2D([], [], **kind_marker(kind)) for kind in KIND_MARKERS if kind_name(kind) in kinds]
    for kind in dict.fromkeys(str(kind) for kind, role in zip(plane.curve_kind.values, plane.role.values, strict=True)
                              if role == "critical"):  # fmt: skip
        key = Line2D([], [], **_critical_curve(kind), label=f"curve of {_plural(kind)}")
        key.set_path_effects([Stroke(linewidth=4.4, foreground="black"), Normal()])
        keys.append(key)
    keys += [Line2D([], [], **LINE_STYLES[role], label=name) for role, name in NAMES.items() if role in lines]
    return [*keys, *marks]
