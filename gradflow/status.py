"""How an integration can end. A status says why the solver stopped, never what the endpoint is.

The kind of the endpoint is :class:`gradflow.critical_points.CriticalPoint`'s to say. Codes are small
integers inside compiled loops; the table from code to name and remedy is built once, here.
"""

import enum


class Status(enum.Enum):
    """Why an integration stopped; each member's value is its name in results files."""

    STATIONARY = "stationary"
    HORIZON = "horizon"
    ESCAPED = "escaped"
    NONFINITE = "nonfinite"
    STEP_LIMIT = "step_limit"
    STALLED = "stalled"
    INTERRUPTED = "interrupted"
    EVENT = "event"

    @property
    def remedy(self) -> str:
        """What happened, and what a user may do about it."""
        return _REMEDIES[self]

    @property
    def is_failure(self) -> bool:
        """True when the run did not get to where it was asked to go."""
        return self in (Status.NONFINITE, Status.STEP_LIMIT, Status.STALLED)

    def __str__(self) -> str:
        return self.value


_REMEDIES = {
    Status.STATIONARY: "The flow ended: its limit is nearer than the tolerance, or the gradient below the grad_tol "
    "asked for, or a saddle was not left.",
    Status.HORIZON: "The horizon was reached before the flow ended; forwards, raise t1 or pass t1=inf (up to 1e150).",
    Status.ESCAPED: "The norm passed max_norm; the trajectory may be unbounded. Raise max_norm to follow it further.",
    Status.NONFINITE: "The loss or the vector field is not finite at the last state; check the loss there.",
    Status.STEP_LIMIT: "max_steps was used up; raise it, loosen rtol, or, if the solver is explicit, choose a stiff "
    "one such as 'rodas5p'. At a kink of the loss every solver crawls.",
    Status.STALLED: "The step size fell to rounding level, or kinks were met again and again without getting on; the "
    "vector field may be discontinuous there.",
    Status.EVENT: "An event asked for as terminal was met; it is the last one in the trajectory's events.",
    Status.INTERRUPTED: "Stopped by the user; everything reached so far is in the trajectory.",
}
