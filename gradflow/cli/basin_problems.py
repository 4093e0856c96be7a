"""The problem and the sampler that the settings of ``gradflow basins`` name."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradflow import checks
from gradflow.settings import BasinSettings
from gradflow.settings.basins import DEFAULT_SAMPLES
from gradflow.settings.expressions import Expression, variables_of
from gradflow.settings.sampling import LAWS, vectors

WINDOW = ((-2.0, 2.0), (-2.0, 2.0))
"""Where starts of a landscape without a window of its own are drawn."""


def problem_of(settings: BasinSettings, data: Any) -> tuple[Any, Any]:
    """The problem, and the window of a landscape."""
    from gradflow import model_problems
    from gradflow.networks import Linear, Residual, Shallow
    from gradflow.problem import Landscape, Regression
    from gradflow.regularizers import WeightDecay

    chosen = settings.problem
    if chosen.expression:
        function = Expression(chosen.expression, variables_of(chosen.expression))
        return Landscape(function, name=chosen.expression), None
    if chosen.problem == "example1":
        return Regression(Shallow((2, 1, 2), activation="relu"), np.eye(2), np.diag([2.0, 1.0])), None
    if chosen.problem is not None:
        is_deep = chosen.problem == "double_well_3d"
        model = model_problems.double_well(3) if is_deep else model_problems.get(chosen.problem)
        return model.problem, model.window
    widths = (data.num_features, *chosen.hidden, data.num_targets)
    network: Any
    if chosen.network == "residual":
        is_square = data.num_features == data.num_targets
        checks.require(is_square, "network", "be linear or shallow where inputs and targets differ in number",
                       f"residual for {data.num_features} inputs and {data.num_targets} targets")  # fmt: skip
        network = Residual(data.num_features, chosen.units, chosen.depth)
    else:
        network = Linear(widths) if chosen.network == "linear" else Shallow(widths, activation=chosen.activation)
    decay = WeightDecay(chosen.weight_decay) if chosen.weight_decay else None
    return Regression(network, data.X, data.Y, regularizer=decay, normalization=chosen.normalization), None


def sampler_of(settings: BasinSettings, problem: Any, window: Any) -> tuple[Any, int]:
    """The sampler and the number of starts."""
    from gradflow import samplers

    chosen, name = settings.sampling, settings.sampler
    like = problem if hasattr(problem, "network") else settings.problem.num_params
    size = samplers.template_of(like).num_params
    chosen.require_sizes(name, size)
    if name == "slice":
        plane = _slice(settings, like, window)
        return plane, plane.size
    if name == "box":
        low, high = _edges(settings, window, size)
        sampler: Any = samplers.Box(low, high, like=like)
    elif name == "gaussian":
        sampler = samplers.Gaussian(chosen.scale, _spread(chosen.center, 0.0), like=like)
    elif name in LAWS:
        sampler = samplers.Law(name, like, chosen.scale)
    else:
        region = samplers.Ball if name == "ball" else samplers.Sphere
        sampler = region(chosen.radius, _spread(chosen.center, 0.0), like=like)
    if chosen.design == "sobol":
        sampler = samplers.Sobol(sampler, chosen.replicates)
    if chosen.design == "stratified":
        cells = chosen.cells[0] if len(chosen.cells) == 1 else chosen.cells
        sampler = samplers.Stratified(sampler, cells, chosen.replicates)
    if chosen.samples is None:
        return sampler, sampler.balanced_size(DEFAULT_SAMPLES)
    balanced = sampler.balanced_size(chosen.samples)
    checks.require(balanced == chosen.samples, "samples", "be a number at which all replicates are equally large",
                   chosen.samples, f"Use {balanced}.")  # fmt: skip
    return sampler, chosen.samples


def _slice(settings: BasinSettings, like: Any, window: Any) -> Any:
    from gradflow import samplers

    chosen = settings.sampling
    if chosen.through:
        points = [np.array(point) for point in vectors("through", chosen.through, 3)]
        return samplers.Slice.through(*points, resolution=chosen.resolution, like=like)
    window = ((-1.0, 1.0), (-1.0, 1.0)) if chosen.origin else window
    lows, highs = _edges(settings, window, 2)
    ranges = ((lows[0], highs[0]), (lows[1], highs[1]))
    origin = np.array(chosen.origin) if chosen.origin else 0.0
    directions = [np.array(entry) for entry in vectors("directions", chosen.directions, 2)] or None
    return samplers.Slice(origin, directions, ranges, chosen.resolution, like=like)


def _edges(settings: BasinSettings, window: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends, one for each axis: those asked for, or those of the window."""
    usual = window if window is not None and len(window) == size else [WINDOW[0]] * size
    edges = []
    for name, side in (("low", 0), ("high", 1)):
        asked = getattr(settings.sampling, name)
        given = asked if len(asked) == size else asked * size
        edges.append(np.array(given or [limits[side] for limits in usual], dtype=float))
    crossed = bool(np.any(edges[0] > edges[1]))
    checks.require(not crossed, "high", "be at least `low`", edges[1].tolist(), f"`low` is {edges[0].tolist()}.")
    return edges[0], edges[1]


def _spread(entries: Sequence[float], default: float) -> Any:
    return default if not entries else entries[0] if len(entries) == 1 else np.array(entries)


def num_params_of(sampler: Any) -> int:
    """Number of parameters of a start."""
    return getattr(sampler, "base", sampler).template.num_params
