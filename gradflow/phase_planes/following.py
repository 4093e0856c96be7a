"""Trajectories as polylines of few points that bend evenly, with rows exactly at times that are to be marked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.flow import AbstractFlow
from gradflow.integration import integrate
from gradflow.phase_planes.sampling import evenly_bent_times
from gradflow.phase_planes.states import flat_rows
from gradflow.precision import in_double
from gradflow.status import Status
from gradflow.trajectories import Trajectory
from gradflow.types import Params

SAME_TIME = 1e-12
"""Times nearer to a mark than this, relative to it, are that mark."""


@dataclass(frozen=True, eq=False)
class Followed:
    """A trajectory as a polyline.

    Attributes:
        times: flow times of the rows, decreasing for backward ones.
        states: flattened row-major, every row as integrated (nothing is interpolated).
        status: why the integration stopped.
        marked: places in `times` of the times asked for; those after the end are left out.
    """

    times: Float[np.ndarray, " k"]
    states: Float[np.ndarray, "k n"]
    status: Status
    marked: tuple[int, ...]


def followed(
    flow: AbstractFlow,
    start: Params,
    t1: float = math.inf,
    *,
    bend: float = 1e-3,
    marks: Sequence[float] = (),
    **options: Any,
) -> Followed:
    """The trajectory from `start`, with rows such that the polyline through them stays within `bend` of the curve.

    It is integrated twice: freely, to see how it bends, and again with rows where they are needed.

    Args:
        flow, start, t1: as for :func:`gradflow.integrate`.
        bend: largest distance between polyline and curve, in the parameters' units (Euclidean).
        marks: flow times that get a row of their own.
        **options: further keywords of ``integrate``.
    """
    bend = checks.real("bend", bend, above=0.0)
    free = integrate(flow, start, t1, progress=False, **options)
    wanted = np.array([time for time in marks if 0.0 < abs(time) < abs(free.end_time)], dtype=float)
    chosen = np.asarray(free.times, dtype=float)
    if len(chosen) > 2:
        chosen = evenly_bent_times(chosen, flat_rows(free.params), _field_along(flow, free.params), bend)
    chosen = _merged(chosen, np.sign(free.end_time) * np.abs(wanted))
    run = free if free.end_time == 0.0 else _again(flow, start, chosen, options)
    marked = tuple(int(np.argmin(np.abs(run.times - time))) for time in np.sign(free.end_time) * np.abs(wanted))
    return Followed(run.times, flat_rows(run.params), free.status, marked)


def _again(flow: AbstractFlow, start: Params, chosen: np.ndarray, options: dict[str, Any]) -> Trajectory:
    """The same run with rows at the chosen times; it may not escape before the last of them."""
    roomy = options | {"max_norm": math.inf}
    return integrate(flow, start, float(chosen[-1]), save_at=chosen, progress=False, **roomy)


def _merged(times: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Times with the marks among them, in order; neighbours of a mark that are hardly another time make way for it."""
    kept = [time for time in times if not np.any(np.abs(marks - time) <= SAME_TIME * np.abs(marks))]
    joined = np.array(sorted([*kept, *marks], key=abs))
    return joined[np.append(True, np.diff(np.abs(joined)) > 0)]


@in_double
def _field_along(flow: AbstractFlow, params: Params) -> np.ndarray:
    return flat_rows(jax.jit(jax.vmap(flow.vector_field))(jax.tree.map(jnp.asarray, params)))
