"""From a start to the limit of its flow: integrate until the finish is certified, then finish."""

import dataclasses
import math
from typing import Any

import diffrax
import jax
import numpy as np

from gradflow import checks, curvature
from gradflow.finishing.assessing import finish
from gradflow.finishing.outcomes import Finish
from gradflow.flow import AbstractFlow
from gradflow.integration import DEFAULT_ATOL, DEFAULT_MAX_STEPS, DEFAULT_RTOL, integrate
from gradflow.kinks import has_pieces
from gradflow.precision import as_arrays, in_double, require_concrete
from gradflow.problem import Regression
from gradflow.solvers import SOLVER_NAMES
from gradflow.status import Status
from gradflow.trajectories import Trajectory
from gradflow.types import Params

MAX_LEVELS = 6
"""Gradient norms at which a finish is tried before the run goes to its own end."""

LOWER = 0.1
"""The next gradient norm as a fraction of the last one; less where the refusal tells how much is missing."""


@in_double
def integrate_to_limit(
    flow: AbstractFlow,
    params0: Params,
    *,
    rtol: float = DEFAULT_RTOL,
    atol: float = DEFAULT_ATOL,
    solver: str | diffrax.AbstractSolver = "auto",
    max_norm: float | None = None,
    max_steps: int = DEFAULT_MAX_STEPS,
    progress: bool = True,
) -> Finish:
    """The limit of the flow from `params0`: :func:`gradflow.integrate` until :func:`finish` is certified, then Newton.

    The first finish is tried at a gradient of ``sqrt(rtol)`` times a large one, since what a finish may miss the limit
    by is second order in the distance. Where it is refused the run goes on to a tenth of that gradient or less, and at
    last to the end that `integrate` finds by itself; what is not certified there either is that end, with the reason.

    Args:
        flow, params0, rtol, atol, solver, max_norm, max_steps, progress: as for :func:`gradflow.integrate`.

    Returns:
        A :class:`~gradflow.finishing.Finish` with the `trajectory` of all steps taken, whose status and endpoint are
        those of the integration, before the finish.

    Accuracy: `limit_bound`, for the flow through the trajectory's endpoint; that endpoint has the error of the
        integration, along a set of minima 1-100 times rtol. At an isolated minimum no error of the integration is left.

    Raises:
        InputError: as :func:`gradflow.integrate`.
    """
    checks.require(isinstance(flow, AbstractFlow), "flow", "be a flow", type(flow).__name__,
                   "Wrap the problem: gradflow.GradientFlow(problem).")  # fmt: skip
    require_concrete("integrate_to_limit", flow, params0)
    rtol, atol = checks.tolerances(rtol, atol)
    max_steps = checks.integer("max_steps", max_steps)
    params0 = as_arrays(params0, rtol)
    level = math.sqrt(rtol) * _large_gradient(flow, params0) if _is_worth_trying(flow, params0) else 0.0
    settings: dict[str, Any] = {"rtol": rtol, "atol": atol, "max_norm": max_norm, "progress": progress}
    run: Trajectory | None = None
    for attempt in range(MAX_LEVELS + 1):
        grad_tol = level if level > 0.0 and attempt < MAX_LEVELS else None
        start, left = (params0, max_steps) if run is None else (run.endpoint, max_steps - run.num_steps)
        piece = integrate(flow, start, grad_tol=grad_tol, max_steps=left, solver=solver, **settings)
        run = piece if run is None else joined(run, piece)
        solver = _to_go_on_with(solver, run)
        done = finish(flow, run)
        if done.is_certified or grad_tol is None or left == piece.num_steps or not _goes_on(piece):
            break
        level = min(level, done.grad_norm) * min(LOWER, 0.5 / _excess(done))
    return done


def _to_go_on_with(solver: str | diffrax.AbstractSolver, run: Trajectory) -> str | diffrax.AbstractSolver:
    """The solver for the next piece: a choice of another one than the first is not made anew."""
    chosen = run.solver.lower()
    is_chosen = isinstance(solver, str) and solver == "auto" and chosen in SOLVER_NAMES and chosen != "tsit5"
    return chosen if is_chosen else solver


def _excess(done: Finish) -> float:
    """By how much the state was too far from its minimum, as far as a refused finish tells; 1.0 when it does not."""
    too_wide = done.hessian_change * done.radius / (0.5 * done.curvature)
    too_far = math.sqrt(done.tangential_bound / done.tolerance)
    return max([1.0, *(ratio for ratio in (too_wide, too_far) if math.isfinite(ratio))])


def _goes_on(piece: Trajectory) -> bool:
    """True when a run ended because of its `grad_tol` and nothing else; at a saddle it has waited long enough."""
    is_at_saddle = bool(piece.passages) and piece.passages[-1].end is None
    return piece.status is Status.STATIONARY and not is_at_saddle


def _is_worth_trying(flow: AbstractFlow, params0: Params) -> bool:
    """False where a finish before the run's own end would be refused, or the run would have to be cut at a kink."""
    return curvature.hessians.num_params(params0) <= curvature.DIRECT_LIMIT and not has_pieces(flow)


def _large_gradient(flow: AbstractFlow, params0: Params) -> float:
    """A gradient norm that counts as large: the problem's own, or what the curvature at the start gives."""
    problem = flow.problem
    if problem.gradient_scale is not None:
        return problem.gradient_scale
    model = curvature.quadratic_model(problem, params0)
    if not model.is_finite:
        return 0.0
    length = max(model.size, problem.weight_scale if isinstance(problem, Regression) else 1.0)
    return max(model.grad_norm, model.radius * length)


def joined(first: Trajectory, second: Trajectory) -> Trajectory:
    """Two runs as one, the second of which set out from where the first ended."""
    origin = first.end_time
    later = tuple(
        dataclasses.replace(
            passage, start=passage.start + origin, end=None if passage.end is None else passage.end + origin
        )
        for passage in second.passages
    )
    is_new = second.times > 0.0
    return dataclasses.replace(
        second,
        times=np.concatenate([first.times, origin + second.times[is_new]]),
        params=jax.tree.map(lambda old, new: np.concatenate([old, new[is_new]]), first.params, second.params),
        start=first.start,
        end_time=origin + second.end_time,
        dissipated=np.concatenate([first.dissipated, first.dissipated[-1] + second.dissipated[is_new]]),
        largest_norm=max(first.largest_norm, second.largest_norm),
        num_accepted=first.num_accepted + second.num_accepted,
        num_rejected=first.num_rejected + second.num_rejected,
        solver_reason=first.solver_reason if second.solver == first.solver else second.solver_reason,
        grad_tol=first.grad_tol,
        passages=(*first.passages, *later),
        wall_seconds=first.wall_seconds + second.wall_seconds,
        switch_times=(*first.switch_times, *(origin + time for time in second.switch_times)),
        num_crossings=_sum(first.num_crossings, second.num_crossings),
        num_slides=_sum(first.num_slides, second.num_slides),
        num_ambiguous=_sum(first.num_ambiguous, second.num_ambiguous),
    )


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second
