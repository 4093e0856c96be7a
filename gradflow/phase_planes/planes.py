"""Planes of parameter space: where a phase portrait of many parameters is looked at.

A plane is a place for looking, not a smaller flow: the field has a part in the plane and a part that leaves it. Both
are kept apart everywhere in this package, and whether the second vanishes is measured. Knows flows; integrates nothing.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.flow import AbstractFlow, GradientFlow
from gradflow.phase_planes.states import Form, flat_state
from gradflow.problem import Landscape
from gradflow.types import Params

ORTHOGONAL_TOL = 1e-12
"""Largest |cosine| of two directions that count as orthogonal."""


@dataclass(frozen=True, eq=False)
class Plane:
    """``theta(x, y) = origin + x directions[0] + y directions[1]`` with orthogonal directions, and the flow around it.

    Places are pairs (x, y). A state off the plane is shown at its orthogonal projection. Directions of a length other
    than one stretch the axes (so that a picture may be drawn in the weights' own numbers); speeds stay Euclidean.

    Attributes:
        flow: the flow, on all parameters.
        origin: the state at (0, 0), flattened row-major.
        directions: flattened likewise.
        form: structure and shapes of the parameters.
        labels: what x and y are, as the text of an axis.
    """

    flow: AbstractFlow
    origin: Float[np.ndarray, " n"]
    directions: Float[np.ndarray, "2 n"]
    form: Form
    labels: tuple[str, str]

    @property
    def num_params(self) -> int:
        """Number of parameters of the flow."""
        return len(self.origin)

    @property
    def is_whole(self) -> bool:
        """True when the flow has no other parameters than these two: the plane is all there is."""
        return self.num_params == 2

    @property
    def lengths(self) -> Float[np.ndarray, "2"]:
        """Euclidean lengths of the directions: how far one unit of x and of y leads."""
        return np.linalg.norm(self.directions, axis=1)

    def state(self, place: Any) -> Params:
        """The parameters at a place, a pytree."""
        return self.form.unflatten(self.origin + np.asarray(place, dtype=float) @ self.directions)

    def restricted(self) -> GradientFlow:
        """The gradient flow of the loss on the plane, in Euclidean coordinates ``places * lengths``.

        It moves like the flow itself, in the same time, where the plane is invariant; elsewhere like its projection.
        """
        units = self.directions / self.lengths[:, None]

        def loss(coordinates: Any) -> Any:
            return self.flow.problem.loss(self.form.unflatten(self.origin + coordinates @ units))

        return GradientFlow(Landscape(loss, name="plane"))

    def places(self, states: Any) -> Float[np.ndarray, "... 2"]:
        """Places of flat states, by orthogonal projection."""
        return (np.asarray(states) - self.origin) @ self.directions.T / self.lengths**2

    def distances(self, states: Any) -> Float[np.ndarray, "..."]:
        """Euclidean distances of flat states from the plane."""
        states = np.asarray(states)
        rest = states - self.origin - self.places(states) @ self.directions
        return np.linalg.norm(rest, axis=-1)


def parameter_plane(flow: AbstractFlow, labels: tuple[str, str] | None = None, like: Params = None) -> Plane:
    """The plane of a flow's two parameters.

    Args:
        flow: a flow of two parameters.
        labels: texts of the axes; by default ``$w_1$`` and ``$w_2$`` for a network, else theta with an index.
        like: a pytree like the parameters; by default the network's shapes, or an array of shape (2,).

    Raises:
        InputError: another number of parameters.
    """
    template = _template(flow, like, np.zeros(2))
    size = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(template))
    remedy = "Choose a plane: phase_planes.plane_through(flow, origin, directions)."
    checks.require(size == 2, "flow", "have exactly two parameters", size, remedy)
    letter = "w" if hasattr(flow.problem, "network") else "\\theta"
    return Plane(flow, np.zeros(2), np.eye(2), Form.of(template), labels or (f"${letter}_1$", f"${letter}_2$"))


def plane_through(
    flow: AbstractFlow, origin: Params, directions: tuple[Params, Params], labels: tuple[str, str] = ("$x$", "$y$")
) -> Plane:
    """The plane through a state of a flow of any number of parameters, along two orthogonal directions.

    Args:
        flow: any flow.
        origin: a state, at the place (0, 0).
        directions: two pytrees like it, orthogonal; their lengths are the units of the axes.
        labels: texts of the axes.

    Raises:
        InputError: directions of another shape, of length zero, or not orthogonal.
    """
    flat = flat_state(origin, "origin")
    checks.require(len(directions) == 2, "directions", "be two states", len(directions))
    rows = []
    for index, direction in enumerate(directions):
        row = flat_state(direction, f"directions[{index}]")
        checks.require(row.shape == flat.shape, f"directions[{index}]", f"have {len(flat)} entries", len(row))
        checks.require(bool(row.any()), f"directions[{index}]", "differ from zero", "zero")
        rows.append(row)
    cosine = abs(float(rows[0] @ rows[1])) / math.prod(float(np.linalg.norm(row)) for row in rows)
    checks.require(cosine <= ORTHOGONAL_TOL, "directions", "be orthogonal", f"a cosine of {cosine:.2g}",
                   "Take plane_of_points, which makes them so.")  # fmt: skip
    return Plane(flow, flat, np.array(rows), Form.of(origin), labels)


def plane_of_points(
    flow: AbstractFlow, first: Params, second: Params, third: Params, labels: tuple[str, str] = ("$x$", "$y$")
) -> Plane:
    """The plane through three states, in Euclidean units: `first` at (0, 0), `second` at (distance, 0).

    Raises:
        InputError: three states on one line.
    """
    points = [flat_state(point) for point in (first, second, third)]
    along, across = points[1] - points[0], points[2] - points[0]
    length = float(np.linalg.norm(along))
    checks.require(length > 0, "second", "differ from the first point", "the same point")
    for _ in range(2):  # once more: the first projection leaves rounding of the size of the projected part
        across = across - (across @ along) / length**2 * along
    height = float(np.linalg.norm(across))
    checks.require(height > 1e-8 * length, "third", "lie off the line through the other two", f"height {height:.1e}")
    return Plane(flow, points[0], np.array([along / length, across / height]), Form.of(first), labels)


def _template(flow: AbstractFlow, like: Params, default: Any) -> Params:
    checks.require(isinstance(flow, AbstractFlow), "flow", "be a flow", type(flow).__name__,
                   "Wrap a problem as GradientFlow(problem).")  # fmt: skip
    if like is not None:
        return like
    network = getattr(flow.problem, "network", None)
    return default if network is None else tuple(np.zeros(shape) for shape in network.shapes)
