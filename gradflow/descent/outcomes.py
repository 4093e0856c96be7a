"""What a run of gradient descent returns: its iterates against flow time, and how it ended.

No result knows how it is drawn or saved. Arrays are NumPy float64.
"""

import enum
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gradflow.descent.rules import UpdateRule
from gradflow.types import Params


class DescentStatus(enum.Enum):
    """How gradient descent ended; each member's value is its name in tables."""

    COMPLETED = "completed"
    DIVERGED = "diverged"
    ESCAPED = "escaped"
    NONFINITE = "nonfinite"
    INTERRUPTED = "interrupted"

    @property
    def remedy(self) -> str:
        """What happened, and what a user may do about it."""
        return _REMEDIES[self]

    @property
    def is_failure(self) -> bool:
        """True when the iterates blew up or left where the loss is a number."""
        return self in (DescentStatus.DIVERGED, DescentStatus.NONFINITE)

    def __str__(self) -> str:
        return self.value


_REMEDIES = {
    DescentStatus.COMPLETED: "All steps were made. That is no convergence: compare the loss at the end, or go on.",
    DescentStatus.DIVERGED: "The norm passed max_norm and the loss is above that of the start: the learning rate is "
    "too large for the curvature met. Halve it until the loss falls.",
    DescentStatus.ESCAPED: "The norm passed max_norm while the loss is not above that of the start; the flow may be "
    "unbounded too. Raise max_norm to follow further.",
    DescentStatus.NONFINITE: "An iterate or its loss is no finite number: the step left where the loss is defined, or "
    "overflowed. Use a smaller learning rate.",
    DescentStatus.INTERRUPTED: "Stopped by the user; everything reached so far is in the result.",
}


@dataclass(frozen=True)
class Descent:
    """One run of gradient descent.

    Attributes:
        steps: numbers of the steps that are rows, ``(rows,)``, from 0; the last good iterate is the last row.
        times: their flow times ``k eta / (1 - beta)`` (dimensionless).
        params: a pytree like the start with a leading axis of that length; finite throughout, unless the start was not.
        losses: full losses of the rows, also when the steps used batches.
        start, endpoint: first and last row.
        status: how it ended.
        stopped_at: number of the step whose iterate was refused (0: the loss of the start is not finite), None when
            none was. Norms and finite weights are checked at every step, a finite loss at every row.
        num_steps: steps that were asked for.
        rule: learning rate and momentum.
        batch_size: places in a batch, None without batches.
        max_norm: norm beyond which an iterate was refused.
        wall_seconds: duration from a monotonic clock, compilation included.
    """

    steps: Int[np.ndarray, " rows"]
    times: Float[np.ndarray, " rows"]
    params: Params
    losses: Float[np.ndarray, " rows"]
    start: Params
    endpoint: Params
    status: DescentStatus
    stopped_at: int | None
    num_steps: int
    rule: UpdateRule
    batch_size: int | None
    max_norm: float
    wall_seconds: float

    @property
    def end_time(self) -> float:
        """Flow time of the last row."""
        return float(self.times[-1])

    @property
    def num_rises(self) -> int:
        """How often the loss is larger at a row than at the row before."""
        return int(np.sum(np.diff(self.losses) > 0))

    def __repr__(self) -> str:
        return f"Descent({self})"

    def __str__(self) -> str:
        where = "" if self.stopped_at is None else f" at step {self.stopped_at}"
        return f"{self.status}{where}: {self.steps[-1]} of {self.num_steps} steps, {self.rule}"
