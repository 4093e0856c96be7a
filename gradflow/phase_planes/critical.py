"""Isolated critical points within limits of a plane of two parameters, found from the grid and named by `classify`.

A search, with a search's limits: what lies closer together than a cell of the grid can be missed, and members of curves
of critical points (see :mod:`gradflow.phase_planes.nullclines`) are left out.
"""

import numpy as np

from gradflow import checks
from gradflow.critical_points import CriticalPoint, classify
from gradflow.phase_planes.fields import Limits, field_on_grid
from gradflow.phase_planes.planes import Plane
from gradflow.phase_planes.states import flat_state

SAME = 1e-6
"""Distance, relative to the window, below which two refined points are one."""


def isolated_critical_points(
    plane: Plane, xlim: Limits, ylim: Limits, resolution: int = 121
) -> tuple[CriticalPoint, ...]:
    """The critical points with an invertible Hessian within limits, lowest loss first.

    Newton's method starts from every cell in which both components of the velocity change their sign, as they do around
    every such point of a grid that is fine enough.

    Raises:
        InputError: a flow of more than two parameters.
    """
    checks.require(plane.is_whole, "plane", "hold all parameters of its flow", f"{plane.num_params} of them")
    field = field_on_grid(plane, xlim, ylim, resolution)
    corners = np.array([[field.x.values[0], field.y.values[0]], [field.x.values[-1], field.y.values[-1]]])
    size = corners[1] - corners[0]
    cell = size / (resolution - 1)
    found: list[CriticalPoint] = []
    for row, column in np.argwhere(_both_change_sign(field.velocity.values)):
        place = np.array([field.x.values[column], field.y.values[row]]) + 0.5 * cell
        point = classify(plane.flow.problem, plane.state(place), max_displacement=2.0 * float(np.linalg.norm(cell)))
        where = plane.places(flat_state(point.params))
        is_inside = np.all((where >= corners[0]) & (where <= corners[1]))
        if point.kind == "not_critical" or point.nullity != 0 or not is_inside:
            continue
        others = [plane.places(flat_state(other.params)) for other in found]
        if all(np.max(np.abs(where - other) / size) > SAME for other in others):
            found.append(point)
    return tuple(sorted(found, key=lambda point: (point.loss, *plane.places(flat_state(point.params)).tolist())))


def _both_change_sign(velocity: np.ndarray) -> np.ndarray:
    """Cells at whose corners neither component has one strict sign, ``(rows - 1, columns - 1)``."""
    corners = np.stack([velocity[:, :-1, :-1], velocity[:, 1:, :-1], velocity[:, :-1, 1:], velocity[:, 1:, 1:]])
    with np.errstate(invalid="ignore"):
        return np.all((corners.min(axis=0) <= 0) & (corners.max(axis=0) >= 0), axis=0)
