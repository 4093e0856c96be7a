"""Watching a trajectory: loss, energy balance, drift of what the theory says is conserved, norm against its bound.

:func:`monitor` turns a trajectory into one labelled table. It looks on: nothing here changes a trajectory, names an
endpoint or draws. A drift is judged against the solver's tolerance, never against zero; and since some solvers conserve
quadratic invariants at any step size, the energy balance, which they do not conserve, stands beside it.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradflow import checks
from gradflow.certificates import certificates_of
from gradflow.certificates.rates import envelope
from gradflow.flow import AbstractFlow
from gradflow.invariants import Invariant, invariants_of
from gradflow.precision import in_double
from gradflow.problem import AbstractProblem, Regression
from gradflow.status import Status
from gradflow.trajectories import Trajectory
from gradflow.types import Array, Params

DRIFT_FACTOR = 100.0
"""A relative drift up to this multiple of rtol is consistent with the tolerance (measured drifts are 1 to 5 errors)."""

ROUNDING = 1e-13
"""Relative drift that double precision explains whatever the tolerance."""

BLOCK = 64
"""Rows evaluated at a time."""

GROWTH_THRESHOLD = 0.02
"""Exponent d log ||W|| / d log t over the last decade of time above which a trajectory counts as still growing."""

FEWEST_ROWS = 5
"""Rows in that decade below which nothing is said; two of them in each half. Solvers of high order take few steps."""

LOGARITHM_THRESHOLD = 1e-4
"""The same for a trajectory that gains as much in the second half of that decade as in the first."""


@in_double
def monitor(flow: AbstractFlow, trajectory: Trajectory) -> xr.Dataset:
    """A table of what was observed along `trajectory`, dims ``time``, ``invariant``, ``layer``, ``mode``, ``level``.

    Variables (dimensionless): ``loss``, ``excess_loss`` (above the irreducible part), ``grad_norm``, ``norm``,
    ``layer_norm``, ``dissipated``, ``energy_defect`` (``|L(0) - L(t) - dissipated|`` relative to the loss dissipated
    in total), ``drift`` (largest entry of the change, or of the departure from the exact decay law under weight
    decay), ``relative_drift`` (by what a relative error of 1 in the weights does to the quantity: ``max_t ||W||^2``
    for those of second degree, more for potentials; NaN where it overflows), ``drift_tolerance``, ``consistent``,
    ``bound`` (certified radius, NaN if none), ``envelope`` (certified loss, NaN if none); for linear networks also
    ``product_singular_value``, ``captured_strength`` (``u_i^T A v_i``), ``target_singular_value`` and
    ``greedy_level`` (the critical value with the k largest singular values captured).

    Attributes tell the largest norm over all accepted steps, saved or not, whether the norm still grows, and, where the
    kinks of the flow are known, how many were crossed and slid on. The gradient norm of a row on a kink that is slid on
    is that of one side, not the speed.

    Raises:
        InputError: the trajectory's shapes are not those of the flow's problem.
    """
    checks.require(isinstance(flow, AbstractFlow), "flow", "be a flow", type(flow).__name__)
    problem, times = flow.problem, trajectory.times
    loss, grad_norm = _along(problem.compact(), trajectory.params)
    size = _row_norm(trajectory.params)
    start_loss = float(problem.loss(trajectory.start))
    irreducible = getattr(problem, "irreducible", 0.0)
    lost = start_loss - loss
    total = max(abs(lost[-1]), abs(trajectory.dissipated[-1]), 1e-300)
    data = {
        "loss": (("time",), loss, "loss L(W)"),
        "excess_loss": (("time",), loss - irreducible, "loss above the irreducible part"),
        "grad_norm": (("time",), grad_norm, "gradient norm ||grad L||"),
        "norm": (("time",), size, "norm ||W||_F"),
        "layer_norm": (("time", "layer"), _layer_norms(trajectory.params), "layer norm ||W_j||_F"),
        "dissipated": (("time",), trajectory.dissipated, "int ||grad L||^2 dt"),
        "energy_defect": (("time",), np.abs(lost - trajectory.dissipated) / total, "relative energy defect"),
        "irreducible_loss": ((), irreducible, "irreducible loss"),
    }
    data |= _promises(flow, trajectory)
    invariants = invariants_of(flow)
    data |= _drifts(invariants, trajectory)
    if isinstance(problem, Regression) and problem.statistics is not None:
        data |= _modes(problem, trajectory.params)
    coordinates = {"time": ("time", times, {"long_name": "flow time t", "units": "dimensionless"}),
                   "invariant": ("invariant", [invariant.name for invariant in invariants],
                                 {"long_name": "conserved quantity", "units": "none"})}  # fmt: skip
    variables = {name: (dims, value, _attributes(label)) for name, (dims, value, label) in data.items()}
    return xr.Dataset(variables, coordinates, _summary(flow, trajectory, size))


def allowance(trajectory: Trajectory) -> float:
    """The relative deviation along the whole run that its tolerances per step explain (dimensionless)."""
    size = max(trajectory.largest_norm, 1e-300)
    return DRIFT_FACTOR * (trajectory.rtol + trajectory.atol / size) + ROUNDING


def growth(times: np.ndarray, norms: np.ndarray) -> tuple[str, float]:
    """Whether a norm still grows at the end: "settled", "growing" or "unknown", with ``d log ||W|| / d log t``.

    The exponent is fitted over the last decade of time. "growing" needs it above :data:`GROWTH_THRESHOLD` in both
    halves of that decade, or a norm that gains in the second half as much as in the first, as a logarithm does. It is
    an observation on a finite window, no proof of unboundedness.
    """
    window = (times > 0) & (times >= times[-1] / 10) & (norms > 0)
    if window.sum() < FEWEST_ROWS:
        return "unknown", math.nan
    log_time, log_norm = np.log(times[window]), np.log(norms[window])
    slope = _slope(log_time, log_norm)
    middle = log_time <= 0.5 * (log_time[0] + log_time[-1])
    if min(middle.sum(), (~middle).sum()) < 2:
        return "unknown", slope
    halves = _slope(log_time[middle], log_norm[middle]), _slope(log_time[~middle], log_norm[~middle])
    is_power = min(slope, *halves) > GROWTH_THRESHOLD
    is_logarithm = min(halves) > LOGARITHM_THRESHOLD and halves[1] >= 0.9 * halves[0]
    return ("growing" if is_power or is_logarithm else "settled"), slope


def _promises(flow: AbstractFlow, trajectory: Trajectory) -> dict:
    certificates = {certificate.name: certificate for certificate in certificates_of(flow, trajectory.start)}
    bounded = certificates.get("boundedness")
    if trajectory.t1 < 0:
        # Certificates speak of the future only.
        bounded = None
    bound = bounded.values["R"] if bounded is not None and bounded.holds else math.nan
    rate = certificates.get("exponential_rate")
    if rate is not None and rate.holds and trajectory.t1 > 0:
        promised = envelope(rate, trajectory.times)
    else:
        promised = np.full(len(trajectory.times), math.nan)
    return {
        "bound": ((), bound, "certified bound R on ||W(t)||_F"),
        "envelope": (("time",), promised, "certified bound on the loss"),
    }


def _drifts(invariants: tuple[Invariant, ...], trajectory: Trajectory) -> dict:
    times, num_rows = trajectory.times, len(trajectory.times)
    drift = np.zeros((num_rows, len(invariants)))
    scale = np.ones(len(invariants))
    for column, invariant in enumerate(invariants):
        drift[:, column] = invariant.drift(trajectory.params, trajectory.start, times)
        scale[column] = np.max(invariant.scale(trajectory.params), initial=1e-300)
    tolerance = allowance(trajectory)
    # What was infinite at the start, or has become so, has no drift that could be judged.
    is_judged = np.isfinite(drift).any(axis=0) & np.isfinite(scale)
    claimed = np.array([invariant.decay is not None for invariant in invariants], dtype=bool) & is_judged
    relative = np.divide(drift, scale, out=np.full_like(drift, math.nan), where=np.isfinite(scale))
    consistent = (relative.max(axis=0, initial=0.0) <= tolerance) & claimed
    return {
        "drift": (("time", "invariant"), drift, "drift of the invariant (largest entry)"),
        "relative_drift": (("time", "invariant"), relative, "drift relative to the scale of the weights"),
        "drift_tolerance": (
            ("invariant",),
            np.full(len(invariants), tolerance),
            "relative drift the tolerance explains",
        ),
        "consistent": (("invariant",), consistent, "drift is consistent with the tolerance"),
        "claimed": (("invariant",), claimed, "an exact law is known for this quantity"),
    }


def _modes(problem: Regression, params: Params) -> dict:
    assert problem.statistics is not None
    product = np.broadcast_to(problem.statistics.root, (len(params[0]), *problem.statistics.root.shape))
    for layer in params:
        product = np.asarray(layer) @ product
    spectrum = problem.spectrum
    num_modes = min(product.shape[1:])
    strength = np.einsum("im,tij,jm->tm", spectrum.left[:, :num_modes], product, spectrum.right[:, :num_modes])
    captured = np.arange(num_modes + 1)
    squares = np.concatenate([[0.0], np.cumsum(spectrum.values[:num_modes] ** 2)])
    levels = problem.irreducible + 0.5 * (np.sum(spectrum.values**2) - squares)
    reachable = captured <= min(min(problem.network.shapes, key=min))
    finite = np.isfinite(product).all()
    singular = np.linalg.svd(product, compute_uv=False) if finite else np.full((len(product), num_modes), math.nan)
    return {
        "product_singular_value": (("time", "mode"), singular, "singular values of the end-to-end map"),
        "captured_strength": (("time", "mode"), strength, "strength u_i^T A v_i of the target's mode i"),
        "target_singular_value": (("mode",), spectrum.values[:num_modes], "singular values of the target"),
        "greedy_level": (("level",), levels[reachable], "critical value with the k largest modes captured"),
    }


def _summary(flow: AbstractFlow, trajectory: Trajectory, size: np.ndarray) -> dict:
    state, exponent = growth(trajectory.times, size)
    if trajectory.status is Status.STATIONARY:
        state = "settled"
    return {
        "flow": type(flow).__name__,
        "status": str(trajectory.status),
        "solver": trajectory.solver,
        "rtol": trajectory.rtol,
        "atol": trajectory.atol,
        "num_steps": trajectory.num_steps,
        "largest_norm": trajectory.largest_norm,
        "growth": state,
        "growth_exponent": exponent,
    } | _kinks(trajectory)


def _kinks(trajectory: Trajectory) -> dict[str, int]:
    """Counts of what happened at kinks, where they were looked for."""
    counts = {name: getattr(trajectory, name) for name in ("num_crossings", "num_slides", "num_ambiguous")}
    return {name: count for name, count in counts.items() if count is not None}


@eqx.filter_jit
def _evaluate(problem: AbstractProblem, block: Params) -> tuple[Array, Array]:
    def one(params: Params) -> tuple[Array, Array]:
        gradient = jax.tree.leaves(problem.gradient(params))
        return problem.loss(params), jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in gradient))

    return jax.vmap(one)(block)


def _along(problem: AbstractProblem, rows: Params) -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient norm of every row, in blocks of one size: compiled once whatever the number of rows."""
    count, parts = len(jax.tree.leaves(rows)[0]), []
    for first in range(0, count, BLOCK):
        chosen = np.minimum(np.arange(first, first + BLOCK), count - 1)
        parts.append(_evaluate(problem, jax.tree.map(lambda leaf, chosen=chosen: jnp.asarray(leaf[chosen]), rows)))
    loss, grad_norm = (np.concatenate([np.asarray(part) for part in quantity]) for quantity in zip(*parts, strict=True))
    return loss[:count], grad_norm[:count]


def _layer_norms(rows: Params) -> np.ndarray:
    return np.stack(
        [np.sqrt((np.asarray(leaf).reshape(len(leaf), -1) ** 2).sum(1)) for leaf in jax.tree.leaves(rows)], 1
    )


def _row_norm(rows: Params) -> np.ndarray:
    return np.sqrt((_layer_norms(rows) ** 2).sum(axis=1))


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    centred = x - x.mean()
    total = float(centred @ centred)
    return float(centred @ y) / total if total > 0 else math.nan


def _attributes(label: str) -> dict[str, str]:
    return {"long_name": label, "units": "dimensionless"}
