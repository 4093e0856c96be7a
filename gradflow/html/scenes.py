"""What an explorer needs of a result: a flow of two parameters, a window to look at, critical points to mark.

A results file holds numbers and no code. Where it says enough for the flow to be made again (a problem of the library,
a formula, a network with its data) it is; where not, :class:`Missing` says why and what helps. Knows studies, estimates
and the problems that they name.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from gradflow import checks, model_problems
from gradflow.basins import BasinEstimate
from gradflow.critical_points import CriticalPoint
from gradflow.flow import AbstractFlow, GradientFlow
from gradflow.html.tracks import Window
from gradflow.phase_planes import isolated_critical_points, parameter_plane
from gradflow.plotting import positions
from gradflow.problem import Landscape
from gradflow.samplers import Box, Slice
from gradflow.settings.expressions import Expression, variables_of
from gradflow.store.codec import param_names, recipe_of
from gradflow.studies import Study

USUAL: Window = ((-2.0, 2.0), (-2.0, 2.0))
"""Where a landscape is looked at when nothing else is said, as by ``gradflow basins`` and ``gradflow portrait``."""

ROOM = 1.3
"""How far a network's window goes beyond the largest weight on the way."""

GRID = 81
"""Points along each axis among which critical points are looked for."""

LEAST = 0.25
"""The shorter side of such a window is at least this part of the longer one."""

LARGEST = 1e6
"""Parameters beyond this have left every window."""


@dataclass(frozen=True)
class Scene:
    """A flow of two parameters with a window.

    `like` is one state, `points` are critical points to mark by kind, `known` are those that an estimate knew by name.
    """

    flow: AbstractFlow
    window: Window
    like: Any
    points: tuple[CriticalPoint, ...] = ()
    known: Any = None


@dataclass(frozen=True)
class Missing:
    """Why there is no scene, in a sentence."""

    reason: str


def scene_of_study(study: Study, flow: AbstractFlow | None = None, window: Any = None) -> Scene | Missing:
    """The scene of a run, or why there is none.

    Args:
        study: computed or loaded.
        flow: for a study that was loaded without one.
        window: two ranges; by default that of the model problem, or one that holds the trajectory.
    """
    flow = study.flow if flow is None else flow
    run = study.trajectory
    count = sum(np.size(leaf) for leaf in jax.tree.leaves(run.start))
    if count != 2:
        return Missing(_not_two(count))
    if flow is None:
        name = study.data.attrs.get("name", "") if study.data is not None else ""
        return Missing(_no_function(f"the loss{f' called {name!r}' if name else ''}"))
    rows = positions(run)
    rows = rows[(np.abs(rows) < LARGEST).all(axis=1)]
    chosen = _model_window(flow)
    if chosen is None:
        chosen = _around(rows, is_network=hasattr(flow.problem, "network"))
    else:
        start = rows[:1] if len(rows) else np.zeros((1, 2))
        chosen = _widened(chosen, start)
    chosen = chosen if window is None else _checked(window)
    points = _points_in(flow, run.start, chosen)
    own = _flat(study.point.params)
    is_new = all(np.linalg.norm(own - _flat(point.params)) > 1e-6 * max(1.0, *map(abs, own)) for point in points)
    return Scene(flow, chosen, run.start, (*points, *([study.point] * (study.point.is_decided and is_new))))


def scene_of_estimate(estimate: BasinEstimate, flow: AbstractFlow | None = None, window: Any = None) -> Scene | Missing:
    """The scene of an estimate of basins, or why there is none; arguments as for :func:`scene_of_study`."""
    count = estimate.ends.shape[1]
    if count != 2:
        return Missing(_not_two(count))
    settings, plan = estimate.facts.get("settings", {}), estimate.plan
    if flow is None:
        flow = plan.flow if plan is not None else _flow_named(settings)
    if flow is None:
        name = "a network's data" if "network" in settings else "the loss"
        return Missing(_no_function(name))
    like: Any = np.zeros(2)
    if plan is not None:
        like = jax.tree.map(lambda leaf: leaf[0], plan.sampler.starts(plan.key, np.zeros(1, np.int64)))
    elif hasattr(flow.problem, "network"):
        like = tuple(np.zeros(shape) for shape in flow.problem.network.shapes)
    chosen = _window_of(estimate, flow, settings) if window is None else _checked(window)
    known = None if plan is None else plan.known
    return Scene(flow, chosen, like, _points_in(flow, like, chosen), known)


def _not_two(count: int) -> str:
    return f"The interactive explorer shows problems of two parameters; this one has {count}."


def _no_function(what: str) -> str:
    return (
        f"The interactive explorer is left out: a results file holds numbers and no functions, and {what} cannot be "
        "made again from what it says. Whoever has it can pass it on: "
        "gradflow.html.write_report(result, path, flow=flow)."
    )


def _flow_named(settings: Mapping[str, Any]) -> AbstractFlow | None:
    """The flow of a landscape that settings of ``gradflow basins`` name, if they do."""
    if text := settings.get("expression"):
        return GradientFlow(Landscape(Expression(text, variables_of(text)), name=text))
    if settings.get("problem") in model_problems.names():
        return GradientFlow(model_problems.get(settings["problem"]).problem)
    return None


def _window_of(estimate: BasinEstimate, flow: AbstractFlow, settings: Mapping[str, Any]) -> Window:
    """Where the starts are, as far as the estimate says."""
    plan = estimate.plan
    if plan is not None:
        sampler = getattr(plan.sampler, "base", plan.sampler)
        if isinstance(sampler, Slice):
            return sampler.ranges
        if isinstance(sampler, Box):
            return _around(np.stack([sampler.low, sampler.high]), is_network=False, room=0.0)
        starts = plan.sampler.starts(plan.key, np.arange(min(estimate.num_samples, 1000)))
        return _around(positions(starts, "starts"), is_network=False, room=0.02)
    usual = _model_window(flow) or USUAL
    if settings.get("sampler", "box") in ("box", "slice"):
        lows = _two(settings.get("low"), [low for low, _ in usual])
        highs = _two(settings.get("high"), [high for _, high in usual])
        return (lows[0], highs[0]), (lows[1], highs[1])
    seen = np.concatenate([estimate.starts, estimate.ends])
    seen = seen[np.isfinite(seen).all(axis=1)]
    return _around(seen[(np.abs(seen) < LARGEST).all(axis=1)], is_network=False)


def _two(given: Any, usual: list[float]) -> list[float]:
    entries = [float(entry) for entry in given or usual]
    return entries if len(entries) == 2 else entries * 2


def _model_window(flow: AbstractFlow) -> Window | None:
    name = getattr(flow.problem, "name", None)
    return model_problems.get(name).window if name in model_problems.names() else None


def _around(rows: np.ndarray, is_network: bool, room: float = 0.5) -> Window:
    """A window that holds the rows: around the origin for weights, with half a side more elsewhere."""
    if len(rows) == 0:
        return USUAL
    if is_network:
        size = ROOM * float(np.abs(rows).max()) or 1.0
        return (-size, size), (-size, size)
    low, high = rows.min(axis=0), rows.max(axis=0)
    side = float((high - low).max()) or max(1.0, float(np.abs(rows).max()))
    middle, half = (low + high) / 2, np.maximum(high - low, LEAST * side) / 2 + room * side
    (a, b), (c, d) = np.stack([middle - half, middle + half], axis=1).tolist()
    return (a, b), (c, d)


def _widened(window: Window, rows: np.ndarray) -> Window:
    """The window, or a larger one that holds the rows with a little room."""
    margin = [0.05 * (high - low) for low, high in window]
    (a, b), (c, d) = [
        (min(low, float(column.min()) - m) if column.min() < low else low,
         max(high, float(column.max()) + m) if column.max() > high else high)
        for (low, high), column, m in zip(window, rows.T, margin, strict=True)
    ]  # fmt: skip
    return (a, b), (c, d)


def _checked(window: Any) -> Window:
    checks.require(np.shape(window) == (2, 2), "window", "be two ranges ((low, high), (low, high))", repr(window))
    (a, b), (c, d) = ((checks.real("window", low), checks.real("window", high)) for low, high in window)
    checks.require(a < b and c < d, "window", "have ranges that increase", window)
    checks.require(math.isfinite(b - a) and math.isfinite(d - c), "window", "be finite", window)
    return (a, b), (c, d)


def names_of(scene: Scene) -> tuple[str, str]:
    """What the two parameters are called, as in results files: W1[0,0] of a network, p[0] of a landscape."""
    stem = "W" if hasattr(scene.flow.problem, "network") else "p"
    first, second = param_names(recipe_of(scene.like), stem)
    return first, second


def _points_in(flow: AbstractFlow, like: Any, window: Window) -> tuple[CriticalPoint, ...]:
    """The isolated critical points in the window; none where the loss is not finite enough to look for them."""
    return isolated_critical_points(parameter_plane(flow, like=like), *window, resolution=GRID)


def _flat(params: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
