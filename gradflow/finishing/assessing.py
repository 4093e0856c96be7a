"""One state, one answer: is it inside the certified basin of a minimum, where is that, and how far is the flow's limit.

:func:`finish` goes from hypothesis to hypothesis and stops at the first that fails; then the state stays as it is.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from gradflow import checks
from gradflow.critical_points import refine
from gradflow.curvature import DIRECT_LIMIT, EPS, QuadraticModel, quadratic_model, raveled
from gradflow.finishing.bounds import FlowBounds, ball_radius, flow_bounds
from gradflow.finishing.normal_space import Frame, foot_of, frame_at
from gradflow.finishing.outcomes import Finish
from gradflow.finishing.surroundings import constant_rank, hessian_change, kink_distance
from gradflow.flow import AbstractFlow
from gradflow.hypotheses import Hypothesis
from gradflow.integration import DEFAULT_ATOL, DEFAULT_RTOL
from gradflow.precision import in_double, require_concrete
from gradflow.problem import Regression
from gradflow.trajectories import Trajectory
from gradflow.types import Params

LEASH = 1e-2
"""How far a minimum is looked for, per scale of the parameters."""

SMALLEST = 1e-10
"""Smallest radius of the ball, per scale of the parameters: over less, changes of the Hessian are lost in rounding."""

NAN = float("nan")


@in_double
def finish(
    flow: AbstractFlow, trajectory_or_params: Any, *, rtol: float | None = None, atol: float | None = None
) -> Finish:
    """The limit of the flow from a state near a minimum, by Newton's method on the normal space, with its error bound.

    The limit is that of the exact flow through the state given; errors of the integration that led there come on top.

    What is proved, and from what: the bounds are those of :mod:`gradflow.finishing.bounds`, proved there from the
    hypotheses in the result. Of these, the signs of the eigenvalues and the size of the ball are computed. Two are
    measured, at points: that the Hessian changes by at most `hessian_change` per distance in the ball (twice the
    largest change found by a power iteration on the third derivative), and, on a continuum of minima, that the loss is
    constant on it (probed both ways in up to three directions; to rounding, so that a slope of the loss that rounding
    hides stays unseen).

    Refused, by name: no critical point nearby (a valley that leads to infinity, a run stopped too early), saddles and
    maxima, degenerate minima (``x^4``), a kink of the network within the ball, runs backward in time, fields that are
    not minus the gradient in their own coordinates, more than :data:`~gradflow.curvature.DIRECT_LIMIT` parameters.
    :class:`~gradflow.flow.ReducedFlow` is finished in its own coordinates, in which it is a gradient flow.

    Args:
        flow: the flow.
        trajectory_or_params: a :class:`~gradflow.trajectories.Trajectory`, of which the endpoint is taken, or a state.
        rtol, atol: the limit must be known to ``rtol * scale + atol`` with the scale the larger of ``||params||`` and
            the problem's weight scale (1 for a landscape). Default: the trajectory's, or those of
            :func:`gradflow.integrate`.

    Raises:
        InputError: not a flow, a state that does not fit or is not finite, tolerances out of range.
    """
    checks.require(isinstance(flow, AbstractFlow), "flow", "be a flow", type(flow).__name__,
                   "Wrap the problem: gradflow.GradientFlow(problem).")  # fmt: skip
    run = trajectory_or_params if isinstance(trajectory_or_params, Trajectory) else None
    params = trajectory_or_params if run is None else run.endpoint
    require_concrete("finish", flow, params)
    default = (DEFAULT_RTOL, DEFAULT_ATOL) if run is None else (run.rtol, run.atol)
    rtol, atol = checks.tolerances(default[0] if rtol is None else rtol, default[1] if atol is None else atol)
    if run is not None and not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
        return replace(_unfinished(params, NAN, NAN, NAN), reason="the endpoint is not finite", trajectory=run)
    state, unravel = raveled(params)
    problem = flow.problem
    scale = max(float(np.linalg.norm(state)), problem.weight_scale if isinstance(problem, Regression) else 1.0)
    model = quadratic_model(problem, params)
    draft = replace(_unfinished(params, model.loss, model.grad_norm, rtol * scale + atol), trajectory=run)
    draft = replace(draft, noise=model.noise)
    for statement, holds in (
        ("the run goes forward in time", run is None or run.t1 > 0),
        ("the field is minus the gradient of the loss, and finite", _is_own_gradient(flow, params, model)),
        (f"there are at most {DIRECT_LIMIT} parameters", len(state) <= DIRECT_LIMIT),
    ):
        draft = _with(draft, statement, holds)
        if not holds:
            return draft
    return _Assessment(flow, state, unravel, scale, model.grad_norm).result(draft)


def _unfinished(params: Params, loss: float, grad_norm: float, tolerance: float) -> Finish:
    """A result that says only where the state is."""
    return Finish(
        params=jax.tree.map(np.asarray, params), loss=loss, grad_norm=grad_norm, noise=NAN, displacement=0.0,
        tangential_displacement=0.0, length_bound=NAN, tangential_bound=NAN, rounding_bound=NAN, curvature=NAN,
        dominance=NAN, radius=NAN, hessian_change=NAN, nullity=None, tolerance=tolerance, hypotheses=(),
        is_certified=False, reason="",
    )  # fmt: skip


def _with(draft: Finish, statement: str, holds: bool | None) -> Finish:
    """The draft with one more hypothesis; one that does not hold is the reason."""
    verdict = "" if holds else f"{'undecided' if holds is None else 'not true'}: {statement}"
    return replace(draft, hypotheses=(*draft.hypotheses, Hypothesis(statement, holds)), reason=verdict)


def _is_own_gradient(flow: AbstractFlow, params: Params, model: QuadraticModel) -> bool:
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(flow.vector_field(params))]
    velocity = np.concatenate(leaves)
    if velocity.shape != model.gradient.shape or not (np.isfinite(velocity).all() and model.is_finite):
        return False
    return bool(np.linalg.norm(velocity + model.gradient) <= 1e-8 * model.grad_norm + model.noise)


@dataclass(frozen=True)
class _Assessment:
    """One state of one flow; `result` is its only method for others."""

    flow: AbstractFlow
    state: np.ndarray
    unravel: Callable[[np.ndarray], Params]
    scale: float
    grad_norm: float

    def result(self, draft: Finish) -> Finish:
        """The draft completed: hypotheses from the critical point on, and the finish when all hold."""
        problem = self.flow.problem
        refined = refine(problem, self.unravel(self.state), LEASH * self.scale)
        draft = _with(draft, f"a critical point is near: {refined.reason}", refined.is_critical)
        if not refined.is_critical:
            return draft
        model = quadratic_model(problem, refined.params)
        assert model.values is not None
        zero = max(refined.resolution, model.curvature_floor)
        draft, near = self._minimum(draft, raveled(refined.params)[0], model, zero)
        if near is None:
            return draft
        frame = foot_of(problem, self.unravel, self.state, near, zero)
        statement = f"the Hessian has {near.nullity} zero and otherwise positive eigenvalues at the foot of the state"
        draft = _with(draft, statement, frame is not None)
        return draft if frame is None else self._around(draft, frame)

    def _minimum(
        self, draft: Finish, point: np.ndarray, model: QuadraticModel, zero: float
    ) -> tuple[Finish, Frame | None]:
        assert model.values is not None
        negative = int(np.sum(model.values < -zero))
        draft = _with(draft, f"no eigenvalue is below -{zero:.1e} (the lowest is {model.values[0]:.1e})", negative == 0)
        if negative:
            return draft, None
        has_curvature = bool(model.values[-1] > zero)
        draft = _with(draft, f"the largest eigenvalue, {model.values[-1]:.1e}, is above {zero:.1e}", has_curvature)
        return draft, frame_at(point, model, zero) if has_curvature else None

    def _around(self, draft: Finish, frame: Frame) -> Finish:
        """The ball: no kink in it, and the path ahead stays in it."""
        problem, away, mu = self.flow.problem, self.state - frame.state, float(frame.curvatures[0])
        sizes: dict[str, Any] = {
            "distance": float(np.linalg.norm(away)),
            "has_continuum": frame.nullity > 0,
            "offset": float(np.linalg.norm(frame.tangent.T @ away)),
            "rounding": frame.rounding,
        }
        radius = max(ball_radius(**sizes), SMALLEST * self.scale)
        draft = replace(draft, curvature=mu, nullity=frame.nullity, radius=radius)
        gap = kink_distance(problem, self.unravel(frame.state))
        if gap is None or gap < math.inf:
            where = "unknown" if gap is None else f"{gap:.1e} away"
            statement = f"the nearest kink of the network ({where}) is outside of the ball of radius {radius:.1e}"
            draft = _with(draft, statement, None if gap is None else gap > radius)
            if gap is None or gap <= radius:
                return draft
        change = hessian_change(problem, self.unravel, frame, away, radius)
        bounds = flow_bounds(
            curvature=mu,
            change=change,
            radius=radius,
            energy=0.5 * float(np.sum(frame.curvatures * (frame.normal.T @ away) ** 2)),
            grad_norm=self.grad_norm,
            flat=frame.flat,
            residual=frame.model.grad_norm,
            **sizes,
        )
        statement = (
            f"within {radius:.1e}, where the flow stays, the Hessian (changing by {change:.1e} per distance, measured) "
            f"keeps half of its smallest positive eigenvalue {mu:.1e}"
        )
        draft = _with(replace(draft, hessian_change=change), statement, bounds is not None)
        return draft if bounds is None else self._judged(draft, frame, bounds)

    def _judged(self, draft: Finish, frame: Frame, bounds: FlowBounds) -> Finish:
        """The set of minima and the tolerance."""
        represented = EPS * float(np.linalg.norm(frame.state))
        draft = replace(
            draft,
            length_bound=bounds.length,
            tangential_bound=bounds.tangential,
            rounding_bound=frame.rounding * draft.curvature / bounds.dominance + represented,
            dominance=bounds.dominance,
        )
        if frame.nullity:
            holds, seen = constant_rank(
                self.flow.problem, self.unravel, frame, draft.hessian_change, self.scale, draft.radius
            )
            draft = _with(draft, f"the zero eigenvalues belong to a set of minima ({seen})", holds)
            if not holds:
                return draft
        is_known = draft.limit_bound <= draft.tolerance
        statement = f"the limit is known to {draft.tolerance:.1e} (bound {draft.limit_bound:.1e})"
        draft = _with(draft, statement, is_known)
        return self._finished(draft, frame) if is_known else draft

    def _finished(self, draft: Finish, frame: Frame) -> Finish:
        away = self.state - frame.state
        return replace(
            draft,
            params=self.unravel(frame.state),
            loss=frame.model.loss,
            grad_norm=frame.model.grad_norm,
            noise=frame.model.noise,
            displacement=float(np.linalg.norm(away)),
            tangential_displacement=float(np.linalg.norm(frame.tangent.T @ away)),
            is_certified=True,
            reason=f"the limit is within {draft.limit_bound:.1e}",
        )
