"""Trajectories from a grid of starts: what an explorer shows when a start is pointed at.

Each one is integrated by the library, in pieces of equal length on the page, so that its rows are computed points and
a line through them shows its bends; what becomes of each start is named by :func:`gradflow.basins.estimate_basins`, and
once more from the end of its line. Where the two names differ that is said, not settled. Knows flows of two parameters
and arrays; no page, no file.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Int

from gradflow import checks
from gradflow.basins import BasinEstimate, estimate_basins
from gradflow.basins.estimates import ESCAPED, NONFINITE, UNDETERMINED
from gradflow.ensemble import Ensemble, orders, plain_orders, shared_settings
from gradflow.ensemble.batches import DEFAULT_RTOL
from gradflow.flow import AbstractFlow
from gradflow.precision import in_double
from gradflow.samplers import Given, Slice

Window = tuple[tuple[float, float], tuple[float, float]]

RESOLUTION = 40
"""Starts along each axis; an even number keeps them off the symmetry lines of a symmetric window."""

MOST = 64
"""Largest number along an axis: the file grows with its square."""

PIECE = 0.01
"""Length of a piece of a trajectory as a part of the window's diagonal."""

BEND = 3e-4
"""Rows nearer than this part of the diagonal to the line through their neighbours are left out."""

MARGIN = 0.25
"""Trajectories are followed until they are this part of the window's sides outside of it."""

NEAR = 0.02
"""An end this part of the diagonal from an isolated limit is drawn as having reached it."""

FASTER = 2.0
"""A piece ends before its length is reached when the flow has become this much faster."""

STILL = 1e-5
"""A line ends where the gradient is this part of what counts as small when ends are named."""

MOST_PIECES, MOST_STEPS, LATEST = 600, 20_000, 1e12

AT_LIMIT, OUTSIDE, SHORT, APART = "reaches its limit", "leaves the picture", "ends short of it", "in doubt"
NOTES = {
    AT_LIMIT: "The line shows the whole way to the limit.",
    OUTSIDE: "The line leaves the picture and is drawn up to there; the trajectory was followed on to be named.",
    SHORT: "The line ends before the limit: the flow has become too slow, or is at a saddle that it leaves much later.",
    APART: "In doubt: integrated a second time, in pieces, this start comes to another end. It lies so close to the "
    "boundary between classes that the tolerance decides.",
}
"""How the line of a start ends, and what a reader is told."""


@dataclass(frozen=True, eq=False)
class Tracks:
    """Trajectories from the cells of a grid.

    Attributes:
        estimate: the class of each start, with the plan that found it (tolerances, kernel).
        plane: the grid; start i is the centre of its cell i.
        starts: rows of two parameters.
        ends: where, how and when each line ends; `endings` are keys of :data:`NOTES`.
        reasons: why a start has no limit, empty for the others.
        first: where the rows of each start begin in the three arrays below, with their number at the end.
        points, times, losses: rows of all lines, computed points with their flow times and losses.
    """

    estimate: BasinEstimate
    plane: Slice
    starts: Float[np.ndarray, "num 2"]
    ends: Float[np.ndarray, "num 2"]
    end_times: Float[np.ndarray, " num"]
    endings: tuple[str, ...]
    reasons: tuple[str, ...]
    first: Int[np.ndarray, " num_and_one"]
    points: Float[np.ndarray, "rows 2"]
    times: Float[np.ndarray, " rows"]
    losses: Float[np.ndarray, " rows"]

    @property
    def window(self) -> Window:
        """Ranges of the two parameters."""
        return self.plane.ranges

    @property
    def codes(self) -> Int[np.ndarray, " num"]:
        """For each start the row of its class in `estimate`."""
        assert self.estimate.codes is not None
        return self.estimate.codes

    def rows(self, start: int) -> slice:
        """The rows of one start's line."""
        return slice(int(self.first[start]), int(self.first[start + 1]))

    def count(self, ending: str) -> int:
        """How many lines end so."""
        return self.endings.count(ending)


@in_double
def trace(
    flow: AbstractFlow, window: Window, like: Any = 2, resolution: int = RESOLUTION, rtol: float = DEFAULT_RTOL,
    known: Any = None,
) -> Tracks:  # fmt: skip
    """The trajectories of a flow with two parameters from a grid of starts, and what each tends to.

    Args:
        flow: any flow whose parameters are two numbers.
        window: ranges of the first and the second parameter.
        like: what the parameters look like, see :func:`gradflow.samplers.templates.template_of`.
        resolution: starts along each axis.
        rtol: local error of a step relative to the parameters.
        known: critical points by name, as for :func:`gradflow.basins.estimate_basins`.

    Accuracy: rows are computed states, with a local error of `rtol`; what lies between them is a straight line on the
        page, at most about :data:`BEND` of the window's diagonal from the trajectory.

    Raises:
        InputError: another number of parameters, or a resolution above :data:`MOST`.
    """
    num = checks.integer("resolution", resolution)
    checks.require(num <= MOST, "resolution", f"be at most {MOST}, for the size of the file", num)
    plane = Slice(0.0, None, window, num, like=like)
    grid = np.arange(plane.size)
    named: dict[str, Any] = {"rtol": rtol, "num_rechecked": 0, "keep_codes": True, "progress": False, "known": known}
    estimate = estimate_basins(flow, plane, 0, plane.size, max_steps=MOST_STEPS, **named)
    starts = plane.coordinates()
    ensemble = Ensemble(flow, jax.tree.map(lambda leaf: leaf[0], plane.starts(0, grid)))
    table, ends, end_times, is_outside = _followed(ensemble, starts, window, estimate)
    again = estimate_basins(
        flow, Given(plane.template.unflattened(ends)), 0, plane.size, max_steps=MOST_STEPS,
        grad_tol=estimate.facts["grad_tol"], max_norm=estimate.facts["max_norm"], **named,
    )  # fmt: skip
    first, rows, times = _thinned(table, plane.size, BEND * _diagonal(window))
    return Tracks(
        estimate, plane, starts, ends, end_times, _endings(estimate, again, ends, is_outside, window),
        _reasons(estimate), first, rows, times, losses_at(flow, plane, rows),
    )  # fmt: skip


def _diagonal(window: Window) -> float:
    return math.hypot(*(high - low for low, high in window))


_Table = list[tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Rounds of rows: numbers of the starts, flow times, states."""


def _followed(
    ensemble: Ensemble, starts: np.ndarray, window: Window, estimate: BasinEstimate
) -> tuple[_Table, np.ndarray, np.ndarray, np.ndarray]:
    """All rows, and for each start its end, the flow time there and whether that is outside of the window.

    Each round takes every start that has not ended further by one piece: for as long as it would need at its present
    speed, or until it has become much faster.
    """
    facts = estimate.facts
    shared = shared_settings(facts["rtol"], facts["atol"], facts["max_norm"], MOST_STEPS)
    quiet = STILL * facts["grad_tol"]
    low, high = np.array(window).T
    low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
    told = plain_orders(len(starts), 0.0, 0.0)
    ends = ensemble.run(starts, told, shared)
    table: _Table = [(np.arange(len(starts)), np.zeros(len(starts)), starts)]
    active = np.flatnonzero(np.isfinite(ends.grad_norms) & (ends.grad_norms > quiet))
    for _ in range(MOST_PIECES):
        if len(active) == 0:
            break
        speed = ends.grad_norms[active]
        told = plain_orders(len(active), quiet, math.inf)
        until = np.minimum(ends.times[active] + PIECE * _diagonal(window) / speed, LATEST)
        for name, value in (("time", ends.times[active]), ("stop_time", until), ("loud", FASTER * speed),
                            ("first_step", ends.steps[active])):  # fmt: skip
            told[:, orders.ORDERS.index(name)] = value
        later = ensemble.run(ends.states[active], told, shared)
        ends = ends.put(active, later)
        is_there = np.isfinite(later.states).all(axis=1)
        table.append((active[is_there], later.times[is_there], later.states[is_there]))
        inside = ((later.states > low) & (later.states < high)).all(axis=1)
        goes_on = np.isin(later.codes, (orders.HORIZON, orders.LEFT)) & (later.times < LATEST)
        active = active[goes_on & inside]
    is_outside = ((ends.states <= low) | (ends.states >= high)).any(axis=1)
    return table, ends.states, ends.times, is_outside


def _thinned(table: _Table, num: int, tolerance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each start's rows begin, the rows that are needed for the line to keep its shape, and their times."""
    owners, times, states = (np.concatenate(column) for column in zip(*table, strict=True))
    order = np.argsort(owners, kind="stable")
    owners, times, states = owners[order], times[order], states[order]
    bounds = np.searchsorted(owners, np.arange(num + 1))
    kept = [first + needed(states[first:last], tolerance) for first, last in itertools.pairwise(bounds)]
    chosen = np.concatenate(kept)
    first = np.concatenate([[0], np.cumsum([len(rows) for rows in kept])])
    return first, states[chosen], times[chosen]


def needed(points: Float[np.ndarray, "rows 2"], tolerance: float) -> Int[np.ndarray, " kept"]:
    """Numbers of the rows that a line within `tolerance` of all of them goes through (Douglas and Peucker)."""
    keep = np.zeros(len(points), bool)
    keep[[0, -1]] = True
    open_parts = [(0, len(points) - 1)]
    while open_parts:
        first, last = open_parts.pop()
        if last - first < 2:
            continue
        between, along = points[first + 1 : last] - points[first], points[last] - points[first]
        length = float(along @ along)
        share = np.clip(between @ along / length, 0.0, 1.0) if length > 0 else np.zeros(len(between))
        distance = np.linalg.norm(between - share[:, None] * along, axis=1)
        farthest = int(np.argmax(distance))
        if distance[farthest] > tolerance:
            middle = first + 1 + farthest
            keep[middle] = True
            open_parts += [(first, middle), (middle, last)]
    return np.flatnonzero(keep)


def _endings(
    estimate: BasinEstimate, again: BasinEstimate, ends: np.ndarray, is_outside: np.ndarray, window: Window
) -> tuple[str, ...]:
    """How each line ends: a key of :data:`NOTES`."""
    assert estimate.codes is not None and again.codes is not None
    names = np.array(estimate.labels)[estimate.codes], np.array(again.labels)[again.codes]
    is_open = np.isin(names, (UNDETERMINED, ESCAPED, NONFINITE)).any(axis=0)
    is_apart = (names[0] != names[1]) & ~is_open
    away = np.linalg.norm(ends - estimate.ends[estimate.codes], axis=1) > NEAR * _diagonal(window)
    is_isolated = np.array([" at (" in label for label in estimate.labels])[estimate.codes]
    is_short = is_open | (away & is_isolated)
    chosen = np.select([is_apart, is_outside, is_short], [APART, OUTSIDE, SHORT], AT_LIMIT)
    return tuple(chosen.tolist())


def _reasons(estimate: BasinEstimate) -> tuple[str, ...]:
    reasons = [""] * estimate.num_samples
    for sample, reason in zip(estimate.open.samples.tolist(), estimate.open.reasons, strict=True):
        reasons[sample] = reason
    return tuple(reasons)


@in_double
def losses_at(flow: AbstractFlow, plane: Slice, rows: Float[np.ndarray, "rows 2"]) -> Float[np.ndarray, " rows"]:
    """The loss at some points of a grid's plane."""
    template = jax.tree.map(jnp.asarray, plane.template.unflattened(np.zeros(2)))
    unravel = ravel_pytree(template)[1]
    loss = jax.jit(jax.vmap(lambda row: jnp.asarray(flow.problem.loss(unravel(row)))))
    return np.asarray(loss(jnp.asarray(rows)))
