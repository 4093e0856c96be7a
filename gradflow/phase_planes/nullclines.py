"""Nullclines of the in-plane field as polylines, and the curves along which the whole field vanishes.

The lines between grid points of opposite sign are found by marching squares (contourpy) and then moved onto the zero
set by Newton's method along the gradient. What does not converge is no zero, as where the field of a ReLU network jumps
from one sign to the other, and is dropped. A component that touches zero without changing its sign is not found. Draws
nothing.
"""

from dataclasses import dataclass

import numpy as np
from contourpy import contour_generator
from jaxtyping import Float

from gradflow.phase_planes.fields import Limits, at_places, field_on_grid, slopes_at
from gradflow.phase_planes.planes import Plane

CONVERGED = 1e-11
"""Length of the last Newton step, relative to the window, below which a point lies on a nullcline."""

MAX_NEWTON = 40
"""Newton steps; a double zero is approached by halves."""

MAX_CELLS = 1.5
"""How many cells of the grid a point may be moved by."""

SHORTEST_CURVE = 2.0
"""Cells over which a curve of critical points must reach."""

CRITICAL = 1e-9
"""Speed, relative to the largest one on the grid, below which the whole field vanishes."""


@dataclass(frozen=True, eq=False)
class Nullcline:
    """A line along which one component of the in-plane field vanishes.

    Attributes:
        component: 0 or 1, the component of the velocity (along x, along y) that is zero.
        places: points of the polyline, in order.
        is_critical: the whole field vanishes along it, also what leaves the plane: a curve of critical points.
    """

    component: int
    places: Float[np.ndarray, "k 2"]
    is_critical: bool


def nullclines(plane: Plane, xlim: Limits, ylim: Limits, resolution: int = 201) -> tuple[Nullcline, ...]:
    """The nullclines of the in-plane field within limits; curves of critical points are listed once.

    Accuracy: every point is a zero of the component to about :data:`CONVERGED` times the window's size; features
    smaller than a cell of the grid can be missed.

    Raises:
        InputError: limits that do not increase, fewer than 2 grid points.
    """
    field = field_on_grid(plane, xlim, ylim, resolution)
    x, y = field.x.values, field.y.values
    size = np.array([x[-1] - x[0], y[-1] - y[0]])
    cell = size / (resolution - 1)
    top = float(np.nanmax(field.speed.values))
    found: list[Nullcline] = []
    for component in (0, 1):
        values = np.ma.masked_invalid(field.velocity.values[component])
        for line in contour_generator(x, y, values).lines(0.0):
            places, is_zero = _moved_onto_zero(plane, np.asarray(line), component, cell, size)
            speed = np.linalg.norm(at_places(plane, places)[1], axis=1)
            is_critical = _long_runs(is_zero & (speed <= CRITICAL * top), places / cell)
            pieces = _pieces(np.where(is_zero, 1 + is_critical.astype(int), 0))
            found += [Nullcline(component, places[piece], bool(is_critical[piece][0])) for piece in pieces]
    return tuple(line for index, line in enumerate(found) if not _is_repeated(index, found, cell))


def _moved_onto_zero(
    plane: Plane, places: np.ndarray, component: int, cell: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points moved along the gradient of the component until it vanishes, and which of them arrived."""
    moved, step = places.copy(), np.full(len(places), np.inf)
    for _ in range(MAX_NEWTON):
        velocity, slopes = slopes_at(plane, moved)
        slope = slopes[:, component]
        squared = np.maximum(np.sum(slope * slope, axis=1), 1e-300)
        change = -(velocity[:, component] / squared)[:, None] * slope
        moved = moved + np.clip(change, -cell, cell)
        is_flat = (squared <= 1e-300) & (velocity[:, component] != 0.0)
        step = np.where(is_flat, np.inf, np.max(np.abs(change) / size, axis=1))
        if np.all(step <= CONVERGED):
            break
    is_near = np.all(np.abs(moved - places) <= MAX_CELLS * cell, axis=1)
    return moved, is_near & (step <= CONVERGED)


def _long_runs(is_critical: np.ndarray, in_cells: np.ndarray) -> np.ndarray:
    """The flags without runs that reach over less than two cells: there a line meets a single critical point."""
    kept = np.zeros(len(is_critical), dtype=bool)
    for piece in _pieces(is_critical.astype(int)):
        kept[piece] = np.max(np.ptp(in_cells[piece], axis=0)) >= SHORTEST_CURVE
    return kept


def _pieces(label: np.ndarray) -> list[slice]:
    """Runs of at least two points with one positive label."""
    edges = np.flatnonzero(np.diff(label)) + 1
    starts, ends = np.append(0, edges), np.append(edges, len(label))
    return [slice(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if label[a] > 0 and b - a >= 2]


def _is_repeated(index: int, found: list[Nullcline], cell: np.ndarray) -> bool:
    """True when a longer curve of critical points, or an earlier one as long, runs along this one."""
    line = found[index]
    for place, other in enumerate(found):
        is_ahead = (len(other.places), -place) > (len(line.places), -index)
        if line.is_critical and other.is_critical and is_ahead:
            gaps = np.abs(line.places[:, None] - other.places[None]) / cell
            if np.all(np.min(np.max(gaps, axis=2), axis=1) <= 1.0):
                return True
    return False
