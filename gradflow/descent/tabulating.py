"""The table of a comparison: what descent, flow and modified flow did at their common flow times.

Distances, losses, drifts of invariants, and the curvature met. Measures rows that are handed to it; computes no path
and judges nothing.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from gradflow import curvature
from gradflow.curvature.hessians import num_params
from gradflow.descent.outcomes import Descent
from gradflow.flow import AbstractFlow
from gradflow.invariants import Invariant, invariants_of
from gradflow.precision import in_double
from gradflow.problem import AbstractProblem
from gradflow.trajectories import Trajectory
from gradflow.types import Array, Params


class Runs(NamedTuple):
    """Everything that was computed; the first `num_common` of `steps` are rows that descent and flow have in common.

    `modified` and `modified_halved` are the iterates that the modified flows predict, as far as those were followed.
    """

    descent: Descent
    halved: Descent
    flow: Trajectory
    looser: Trajectory
    modified: Params
    modified_halved: Params
    modified_flow: Trajectory
    steps: np.ndarray
    num_common: int


def distances_by_row(rows: Params, others: Params, count: int) -> Float[np.ndarray, " rows"]:
    """``||W - W'||`` by row; NaN in rows that one of the two does not have."""
    total = np.zeros(count)
    for left, right in zip(jax.tree.leaves(rows), jax.tree.leaves(others), strict=True):
        size = min(count, len(left), len(right))
        total[size:] = math.nan
        difference = (np.asarray(left)[:size] - np.asarray(right)[:size]).reshape(size, -1)
        total[:size] += np.sum(difference**2, axis=1)
    return np.sqrt(total)


@in_double
def table_of(flow: AbstractFlow, runs: Runs, num_looks: int) -> xr.Dataset:
    """Everything measured, by time, invariant and look; the variables are listed at ``compare_descent``."""
    times = runs.steps[: runs.num_common] * runs.descent.rule.flow_step
    problem = flow.compact().problem
    data = (
        _distances(runs) | _losses(problem, runs) | _drifts(flow, runs, times) | _looks(problem, runs, times, num_looks)
    )
    names = [invariant.name for invariant in _claimed(flow)]
    coordinates = {"time": ("time", times, {"long_name": "flow time t", "units": "dimensionless"}), "invariant": names}
    variables = {
        name: (dims, values, {"long_name": label, "units": "dimensionless"})
        for name, (dims, values, label) in data.items()
    }
    return xr.Dataset(variables, coordinates, _attributes(flow, runs))


def _distances(runs: Runs) -> dict[str, Any]:
    count = runs.num_common
    pairs = {
        "distance": (runs.descent.params, runs.flow.params, "distance to the flow"),
        "modified_distance": (runs.descent.params, runs.modified, "distance to the modified flow"),
        "halved_distance": (runs.halved.params, runs.flow.params, "distance to the flow, half the learning rate"),
        "halved_modified_distance": (runs.halved.params, runs.modified_halved,
                                     "distance to its modified flow, half the learning rate"),
        "flow_travelled": (runs.flow.params, _repeated(runs.flow.start, count), "distance of the flow from W(0)"),
    }  # fmt: skip
    return {
        name: ("time", distances_by_row(rows, others, count), label) for name, (rows, others, label) in pairs.items()
    }


def _repeated(params: Params, count: int) -> Params:
    return jax.tree.map(lambda leaf: np.broadcast_to(leaf, (count, *np.shape(leaf))), params)


def _losses(problem: AbstractProblem, runs: Runs) -> dict[str, Any]:
    """L along descent, the flow, and the modified flow."""
    count = runs.num_common
    return {
        "loss": ("time", runs.descent.losses[:count], "loss along descent"),
        "flow_loss": ("time", _losses_along(problem, runs.flow.params, count), "loss along the flow"),
        "modified_loss": (
            "time",
            _losses_along(problem, runs.modified, count),
            "loss along the modified flow",
        ),
    }


def _losses_along(problem: AbstractProblem, rows: Params, count: int) -> np.ndarray:
    """The loss of the first `count` rows, NaN for those that are not there."""
    size = min(count, len(jax.tree.leaves(rows)[0]))
    # The last row fills up, so that a path that broke off compiles nothing anew.
    chosen = np.minimum(np.arange(count), size - 1)
    values = np.array(_all_losses(problem, jax.tree.map(lambda leaf: jnp.asarray(leaf[chosen]), rows)))
    values[size:] = math.nan
    return values


@eqx.filter_jit
def _all_losses(problem: AbstractProblem, rows: Params) -> Array:
    return jax.lax.map(problem.loss, rows)


def _drifts(flow: AbstractFlow, runs: Runs, times: np.ndarray) -> dict[str, Any]:
    invariants = _claimed(flow)
    paths = {
        "drift": (runs.descent.params, "drift of the invariant along descent"),
        "halved_drift": (runs.halved.params, "drift along descent, half the learning rate"),
        "flow_drift": (runs.flow.params, "drift along the flow as computed"),
        "modified_drift": (runs.modified, "drift along the modified flow"),
    }
    return {
        name: (("time", "invariant"), _drift(invariants, rows, runs.flow.start, times), label)
        for name, (rows, label) in paths.items()
    }


def _claimed(flow: AbstractFlow) -> tuple[Invariant, ...]:
    """What the flow conserves, or shrinks by an exact law: what it does not has no drift to speak of."""
    return tuple(invariant for invariant in invariants_of(flow) if invariant.decay is not None)


def _drift(invariants: tuple[Invariant, ...], rows: Params, start: Params, times: np.ndarray) -> np.ndarray:
    """Drifts by row and invariant, NaN in rows that are not there."""
    drifts = np.full((len(times), len(invariants)), math.nan)
    size = min(len(times), len(jax.tree.leaves(rows)[0]))
    kept = jax.tree.map(lambda leaf: leaf[:size], rows)
    for column, invariant in enumerate(invariants):
        drifts[:size, column] = invariant.drift(kept, start, times[:size])
    return drifts


def _looks(problem: AbstractProblem, runs: Runs, times: np.ndarray, num_looks: int) -> dict[str, Any]:
    """``eta lambda_max`` at some rows of both paths."""
    rate = runs.descent.rule.learning_rate
    looks = np.unique(np.round(np.linspace(0, runs.num_common - 1, min(num_looks, runs.num_common))).astype(int))
    found: dict[str, Any] = {"look_time": ("look", times[looks], "flow time of the look")}
    for name, rows in (("sharpness", runs.descent.params), ("flow_sharpness", runs.flow.params)):
        states = [jax.tree.map(lambda leaf, index=index: leaf[index], rows) for index in looks]
        found[name] = ("look", np.array([rate * _highest(problem, state) for state in states]), "eta lambda_max")
    return found


def _highest(problem: AbstractProblem, params: Params) -> float:
    """The largest eigenvalue of the Hessian; NaN when it is not finite or not found."""
    if num_params(params) <= curvature.DIRECT_LIMIT:
        return float(curvature.spectrum(problem, params)[-1])
    return float(curvature.extreme_eigenvalues(problem, params, which="highest").highest[0])


def _attributes(flow: AbstractFlow, runs: Runs) -> dict[str, Any]:
    rule = runs.descent.rule
    return {
        "flow": type(flow).__name__,
        "learning_rate": rule.learning_rate,
        "momentum": rule.momentum,
        "nesterov": int(rule.nesterov),
        "flow_step": rule.flow_step,
        "stability_limit": rule.stability_limit,
        "status": str(runs.descent.status),
        "flow_status": str(runs.flow.status),
        "modified_status": str(runs.modified_flow.status),
        "rtol": runs.flow.rtol,
        "atol": runs.flow.atol,
    }
