"""Everything that a phase portrait shows, computed once and held in one Dataset, which is saved and drawn as it is.

Knows planes, nullclines, manifolds and trajectories; draws nothing.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from gradflow import checks
from gradflow.basins import estimate_basins
from gradflow.critical_points import classify
from gradflow.phase_planes.critical import isolated_critical_points
from gradflow.phase_planes.fields import Limits, field_on_grid
from gradflow.phase_planes.following import Followed, followed
from gradflow.phase_planes.manifolds import Branch, branches
from gradflow.phase_planes.nullclines import nullclines
from gradflow.phase_planes.planes import Plane
from gradflow.phase_planes.states import flat_state
from gradflow.samplers import Slice

FLATNESS = 4e-4
"""How far polylines may be from their curves, relative to the window: a tenth of a point in a column."""

MARGIN = 1.6
"""Trajectories are followed until they are this many times as far from zero as the window's farthest corner."""

ON_PLANE = 1e-8
"""Distance from the plane, relative to ``max(1, ||theta||)``, up to which a critical point lies on it."""


STRAYED = 1e-6
"""Distance from an invariant plane, relative likewise, at which a computed trajectory has left it: by rounding."""


class _Curve(NamedTuple):
    role: str
    places: np.ndarray
    times: np.ndarray
    distances: np.ndarray
    kind: str = ""
    status: str = ""
    error: float = math.nan


def phase_plane(
    plane: Plane,
    xlim: Limits,
    ylim: Limits,
    *,
    critical_points: Iterable[Any] | None = None,
    starts: Sequence[Sequence[float]] = (),
    t1: float = math.inf,
    time_marks: Sequence[float] = (),
    functions: Mapping[str, Callable[[Any], Any]] | None = None,
    with_nullclines: bool = True,
    with_manifolds: bool = True,
    basin_resolution: int = 0,
    resolution: int = 121,
    max_norm: float | None = None,
) -> xr.Dataset:
    """Field, nullclines, critical points, separatrices, trajectories and basins of a plane, as data for one picture.

    Args:
        plane: where to look.
        xlim, ylim: ranges of the places.
        critical_points: results of ``classify`` that lie on the plane; by default those found on it where it holds
            all parameters, none otherwise.
        starts: places where trajectories begin.
        t1: horizon of the trajectories; negative for backward ones.
        time_marks: flow times marked along them.
        functions: scalar functions of the parameters on the grid, by name (invariants, preactivations).
        with_nullclines, with_manifolds: whether these are computed.
        basin_resolution: cells per axis of a map of basins; 0 for none. Only where the plane holds all parameters.
        resolution: grid points per axis.
        max_norm: norm at which trajectories and manifolds have left; by default :data:`MARGIN` times the window's
            farthest corner.

    Returns:
        What :func:`field_on_grid` gives; over ``curve``: ``role`` ("trajectory", "stable", "unstable", "nullcline_x",
        "nullcline_y", "critical"), ``curve_kind`` (of the end, or of the critical points along it), ``status``,
        ``start_error``; over ``row``: ``row_curve``, ``row_place (row, component)``, ``row_time``, ``row_distance``
        from the plane; over ``point``: ``point_place``, ``point_kind``, ``point_loss``; over ``mark``:
        ``mark_place``, ``mark_time``; with basins ``basin (basin_y, basin_x)`` and ``basin_name``.

        Manifolds are those of the flow's strict saddles. Where the plane does not hold all parameters but is found
        invariant, they are those of the saddles of the flow on it; where it is not, they leave it and are shown at
        their projections. A trajectory that rounding has carried off an invariant plane, which happens where the plane
        is unstable, ends there with the status "left_plane". A curve along which the field is zero by the convention
        for kinks alone ("not_critical") is left out.

    Raises:
        InputError: critical points off the plane, basins on a plane that does not hold all parameters.
    """
    checks.require(plane.is_whole or not basin_resolution, "basin_resolution",
                   "be 0 on a plane that does not hold all parameters", basin_resolution)  # fmt: skip
    field = field_on_grid(plane, xlim, ylim, resolution, functions)
    if critical_points is None:
        critical_points = isolated_critical_points(plane, xlim, ylim, resolution) if plane.is_whole else ()
    points = list(critical_points)
    _require_on(plane, points)
    corners = np.array([[x, y] for x in xlim for y in ylim]) @ plane.directions + plane.origin
    max_norm = MARGIN * float(np.linalg.norm(corners, axis=1).max()) if max_norm is None else max_norm
    bend = FLATNESS * float(min(np.array([xlim[1] - xlim[0], ylim[1] - ylim[0]]) * plane.lengths))
    curves: list[_Curve] = []
    if with_nullclines:
        lines = [_nullcline_curve(plane, line) for line in nullclines(plane, xlim, ylim)]
        curves += [line for line in lines if line.kind != "not_critical"]
    if with_manifolds:
        curves += _manifold_curves(plane, points, bool(field.is_invariant), bend, max_norm)
    marks: list[tuple[float, float, float]] = []
    for start in starts:
        run = followed(plane.flow, plane.state(start), t1, bend=bend, marks=time_marks, max_norm=max_norm)
        curve = _trajectory_curve(plane, run, bool(field.is_invariant))
        curves.append(curve)
        marks += [(*curve.places[row], curve.times[row]) for row in run.marked if row < len(curve.times)]
    tables = _point_table(plane, points) | _curve_tables(curves) | _mark_table(marks)
    if basin_resolution:
        tables |= _basin_table(plane, xlim, ylim, basin_resolution)
    held = field.assign(tables)
    return held.assign_attrs(x_label=plane.labels[0], y_label=plane.labels[1], num_params=plane.num_params)


def _require_on(plane: Plane, points: Sequence[Any]) -> None:
    for index, point in enumerate(points):
        state = flat_state(point.params)
        distance = float(plane.distances(state))
        near = ON_PLANE * max(1.0, float(np.linalg.norm(state)))
        checks.require(
            distance <= near, f"critical_points[{index}]", "lie on the plane", f"a distance of {distance:.2g}"
        )


def _nullcline_curve(plane: Plane, line: Any) -> _Curve:
    nothing = np.full(len(line.places), np.nan)
    if not line.is_critical:
        return _Curve(f"nullcline_{'xy'[line.component]}", line.places, nothing, 0.0 * nothing)
    kinds = {classify(plane.flow.problem, plane.state(place)).kind for place in line.places[1:-1:8]}
    kind = kinds.pop() if len(kinds) == 1 else "undetermined"
    return _Curve("critical", line.places, nothing, np.zeros(len(line.places)), kind)


def _trajectory_curve(plane: Plane, run: Followed, is_invariant: bool) -> _Curve:
    """A trajectory; on an invariant plane it is cut where rounding has grown so far that it has left the plane."""
    places, distances, status = plane.places(run.states), plane.distances(run.states), str(run.status)
    is_off = distances > STRAYED * np.maximum(1.0, np.linalg.norm(run.states, axis=1))
    count = len(places)
    if is_invariant and is_off.any():
        count, status = max(int(np.argmax(is_off)), 1), "left_plane"
    return _Curve("trajectory", places[:count], run.times[:count], distances[:count], status=status)


def _manifold_curves(
    plane: Plane, points: Sequence[Any], is_invariant: bool, bend: float, max_norm: float
) -> list[_Curve]:
    if plane.is_whole or not is_invariant:
        saddles = [point.params for point in points if point.kind == "strict_saddle"]
        several = [branches(plane.flow, saddle, bend=bend, max_norm=max_norm) for saddle in saddles]
        return [_branch_curve(branch, plane.places, plane.distances) for found in several for branch in found]
    flow = plane.restricted()
    curves = []
    for point in points:
        place = plane.places(flat_state(point.params)) * plane.lengths
        if classify(flow.problem, place).kind == "strict_saddle":
            found = branches(flow, place, bend=bend, max_norm=max_norm)
            curves += [_branch_curve(branch, lambda states: states / plane.lengths, _zeros) for branch in found]
    return curves


def _zeros(states: np.ndarray) -> np.ndarray:
    return np.zeros(len(states))


def _branch_curve(
    branch: Branch, to_places: Callable[[np.ndarray], np.ndarray], to_distances: Callable[[np.ndarray], np.ndarray]
) -> _Curve:
    line = branch.polyline
    times = np.append(-np.inf if branch.kind == "unstable" else np.inf, branch.times)
    return _Curve(branch.kind, to_places(line), times, to_distances(line), branch.end_kind, str(branch.status),
                  branch.start_error)  # fmt: skip


def _curve_tables(curves: Sequence[_Curve]) -> dict[str, Any]:
    lengths = [len(curve.places) for curve in curves]
    empty = np.zeros((0, 2))
    return {
        "role": ("curve", np.array([curve.role for curve in curves], dtype=str)),
        "curve_kind": ("curve", np.array([curve.kind for curve in curves], dtype=str)),
        "status": ("curve", np.array([curve.status for curve in curves], dtype=str)),
        "start_error": ("curve", np.array([curve.error for curve in curves], dtype=float)),
        "row_curve": ("row", np.repeat(np.arange(len(curves)), lengths)),
        "row_place": (("row", "component"), np.concatenate([empty, *(curve.places for curve in curves)])),
        "row_time": ("row", np.concatenate([empty[:, 0], *(curve.times for curve in curves)])),
        "row_distance": ("row", np.concatenate([empty[:, 0], *(curve.distances for curve in curves)])),
    }


def _point_table(plane: Plane, points: Sequence[Any]) -> dict[str, Any]:
    places = [plane.places(flat_state(point.params)) for point in points]
    return {
        "point_place": (("point", "component"), np.array(places, dtype=float).reshape(-1, 2)),
        "point_kind": ("point", np.array([point.kind for point in points], dtype=str)),
        "point_loss": ("point", np.array([point.loss for point in points], dtype=float)),
    }


def _mark_table(marks: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    table = np.array(marks, dtype=float).reshape(-1, 3)
    return {"mark_place": (("mark", "component"), table[:, :2]), "mark_time": ("mark", table[:, 2])}


def _basin_table(plane: Plane, xlim: Limits, ylim: Limits, resolution: int) -> dict[str, Any]:
    window = Slice(plane.origin, tuple(plane.directions), (xlim, ylim), resolution, like=plane.state((0.0, 0.0)))
    found = estimate_basins(plane.flow, window, 0, window.size, progress=False, num_rechecked=0)
    assert found.codes is not None
    return {
        "basin": (("basin_y", "basin_x"), np.asarray(found.codes).reshape(window.shape).astype(np.int16)),
        "basin_name": ("basin_class", np.array(list(found.labels), dtype=str)),
    }
