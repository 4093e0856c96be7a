"""The result of a finish: where it arrived, how far the flow's limit can be from there, and what that stands on."""

from dataclasses import dataclass

from gradflow.hypotheses import Hypothesis
from gradflow.trajectories import Trajectory
from gradflow.types import Params


@dataclass(frozen=True)
class Finish:
    """The limit of a flow by Newton's method on the normal space, or the state as it was with the reason.

    Attributes:
        params: the minimum when certified, else the state unchanged.
        loss: there.
        grad_norm: there.
        noise: gradient norm that rounding alone can make there; no gradient below it means anything.
        displacement: distance that the finish moved the state, all of it normal to the set of minima up to
            `tangential_displacement`; 0.0 when refused.
        tangential_displacement: the part of it along the set of minima.
        length_bound: the length of the way that the flow still goes from the state, at most (NaN when unknown, like
            the next ones).
        tangential_bound: distance from `params` to the flow's limit, at most, but for rounding; second order in the
            displacement, and 0.0 at an isolated minimum.
        rounding_bound: how far rounding, of the gradient and of `params`, can have displaced `params`.
        curvature: smallest positive eigenvalue of the Hessian at the minimum.
        dominance: mu' with ``||grad||^2 >= 2 mu' (L - L*)`` in the ball.
        radius: R, of the ball around the minimum in which the flow stays, and where the hypotheses are used.
        hessian_change: change of the Hessian per distance in it: twice the largest one measured.
        nullity: dimension of the set of minima.
        tolerance: what the distance to the flow's limit was asked to be.
        hypotheses: what the certificate stands on, each with its truth value; ends with the first that fails.
        is_certified: True when all hypotheses hold.
        reason: one sentence.
        trajectory: the run that led to the state, if one did.
    """

    params: Params
    loss: float
    grad_norm: float
    noise: float
    displacement: float
    tangential_displacement: float
    length_bound: float
    tangential_bound: float
    rounding_bound: float
    curvature: float
    dominance: float
    radius: float
    hessian_change: float
    nullity: int | None
    tolerance: float
    hypotheses: tuple[Hypothesis, ...]
    is_certified: bool
    reason: str
    trajectory: Trajectory | None = None

    @property
    def limit_bound(self) -> float:
        """Distance from `params` to the limit of the flow, at most: second-order part and rounding together."""
        return self.tangential_bound + self.rounding_bound

    def __str__(self) -> str:
        if not self.is_certified:
            return f"not finished: {self.reason}"
        return (
            f"finished: gradient {self.grad_norm:.1e}, moved by {self.displacement:.2e}, within {self.limit_bound:.1e} "
            "of the flow's limit"
        )
