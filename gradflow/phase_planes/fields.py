"""The field around a plane on a grid: the part in the plane, the part that leaves it, the loss, and other functions.

Knows planes; draws nothing.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradflow import checks
from gradflow.phase_planes.planes import Plane
from gradflow.phase_planes.states import flat
from gradflow.precision import in_double

INVARIANT_RTOL = 1e-12
"""Out-of-plane speed, relative to the largest speed on the grid, up to which a plane counts as invariant."""

BLOCK = 1024
"""Places computed at once."""

Limits = tuple[float, float]


def field_on_grid(
    plane: Plane,
    xlim: Limits,
    ylim: Limits,
    resolution: int = 121,
    functions: Mapping[str, Callable[[Any], Any]] | None = None,
) -> xr.Dataset:
    """Loss, velocity and further functions of the parameters at the points of a grid of the plane.

    Args:
        plane: where to look.
        xlim, ylim: ranges of the places.
        resolution: grid points per axis.
        functions: scalar functions of the parameters by name, e.g. invariants or preactivations.

    Returns:
        ``loss (y, x)``; ``velocity (component, y, x)``, the in-plane part in the plane's units per flow time;
        ``speed (y, x)``, the Euclidean norm of the whole velocity; ``out_of_plane (y, x)``, that of the part
        orthogonal to the plane; ``function (name, y, x)``; ``leak``, the largest out-of-plane speed divided by the
        largest speed on the grid; ``is_invariant``: `leak` is at most :data:`INVARIANT_RTOL`, so that at the points
        of this grid the field is tangent to the plane (a numerical finding, no proof).

    Raises:
        InputError: limits that do not increase, fewer than 2 grid points.
    """
    resolution = checks.integer("resolution", resolution, at_least=2)
    x, y = (np.linspace(*checked_limits(*named), resolution) for named in (("xlim", xlim), ("ylim", ylim)))
    places = np.stack([axis.ravel() for axis in np.meshgrid(x, y)], axis=1)
    named_functions = dict(functions or {})
    loss, velocity, others = at_places(plane, places, tuple(named_functions.values()))
    shape = resolution, resolution
    inside = velocity @ plane.directions.T / plane.lengths**2
    rest = np.linalg.norm(velocity - inside @ plane.directions, axis=1)
    speed = np.linalg.norm(velocity, axis=1)
    largest = float(np.max(speed, initial=0.0, where=np.isfinite(speed)))
    leak = float(np.max(rest, initial=0.0, where=np.isfinite(rest))) / largest if largest else 0.0
    return xr.Dataset(
        {
            "loss": (("y", "x"), loss.reshape(shape)),
            "velocity": (("component", "y", "x"), inside.T.reshape(2, *shape)),
            "speed": (("y", "x"), speed.reshape(shape)),
            "out_of_plane": (("y", "x"), rest.reshape(shape)),
            "function": (("name", "y", "x"), others.reshape(len(named_functions), *shape)),
            "leak": ((), leak),
            "is_invariant": ((), leak <= INVARIANT_RTOL),
        },
        {"x": x, "y": y, "name": np.array(list(named_functions), dtype=str), "component": np.arange(2)},
    )


@in_double
def at_places(
    plane: Plane, places: np.ndarray, functions: tuple[Callable[[Any], Any], ...] = ()
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses ``(num,)``, whole velocities ``(num, n)`` and functions ``(count, num)`` at places ``(num, 2)``."""
    loss, velocity, values = _on_blocks(_whole(plane, functions), places)
    return loss, velocity, values.T


@in_double
def slopes_at(plane: Plane, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In-plane velocities ``(num, 2)`` and their derivatives by the place ``(num, 2, 2)``, to rounding."""
    velocity, slopes = _on_blocks(_slopes(plane), places)
    return velocity, slopes


@functools.lru_cache(maxsize=32)
def _whole(plane: Plane, functions: tuple[Callable[[Any], Any], ...]) -> Callable[[Any], Any]:
    def at(place: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        params = plane.form.unflatten(jnp.asarray(plane.origin) + place @ jnp.asarray(plane.directions))
        values = [jnp.asarray(function(params), float).reshape(()) for function in functions]
        stacked = jnp.stack(values) if values else jnp.zeros(0)
        return jnp.asarray(plane.flow.problem.loss(params)), flat(plane.flow.vector_field(params)), stacked

    return jax.jit(jax.vmap(at))


@functools.lru_cache(maxsize=32)
def _slopes(plane: Plane) -> Callable[[Any], Any]:
    directions, scale = plane.directions, plane.lengths**2

    def inside(place: jax.Array) -> jax.Array:
        params = plane.form.unflatten(jnp.asarray(plane.origin) + place @ jnp.asarray(directions))
        return jnp.asarray(directions) @ flat(plane.flow.vector_field(params)) / jnp.asarray(scale)

    return jax.jit(jax.vmap(lambda place: (inside(place), jax.jacfwd(inside)(place))))


def _on_blocks(function: Callable[[Any], Any], places: np.ndarray) -> tuple[np.ndarray, ...]:
    """The function's results at all places, computed in blocks of one size, so that it is compiled once."""
    places = np.asarray(places, dtype=float)
    missing = -len(places) % BLOCK
    padded = (
        np.concatenate([places, np.broadcast_to(places[:1], (missing, 2))]) if len(places) else np.zeros((BLOCK, 2))
    )
    blocks = [function(jnp.asarray(block)) for block in padded.reshape(-1, BLOCK, 2)]
    return tuple(
        np.concatenate([np.asarray(part) for part in parts])[: len(places)] for parts in zip(*blocks, strict=True)
    )


def checked_limits(name: str, limits: Limits) -> Limits:
    """`limits` as two increasing numbers.

    Raises:
        InputError: they are not.
    """
    checks.require(np.shape(limits) == (2,), name, "be two numbers (low, high)", repr(limits))
    low, high = (checks.real(f"{name}[{index}]", limit) for index, limit in enumerate(limits))
    checks.require(low < high, name, "increase", (low, high))
    return low, high
