"""What a batch of trajectories is told and what is known of their ends: the words both kernels share."""

ORDERS = ("time", "stop_time", "max_step", "quiet", "loud", "first_step")
"""What each start is told: flow time, when to stop, the longest step, the gradient norms below which it counts as
stationary and above which as having left, and the first step (0: choose one)."""

FACTS = ("code", "time", "grad_norm", "step", "radius", "num_steps", "num_rejected", "norm")
"""What is known of each end: why it ended, flow time, gradient norm, next step, spectral radius seen, attempted and
rejected steps, norm of the parameters."""

SETTINGS = ("rtol", "atol", "limit", "max_norm", "max_steps")
"""What all starts share; `limit` caps the step at ``limit / radius``."""

STATIONARY, HORIZON, ESCAPED, NONFINITE, STEP_LIMIT, STALLED, LEFT = range(1, 8)
"""Codes of how a lane can end; LEFT: the gradient has grown above `loud`."""

MAX_REJECTS = 80
"""Consecutive rejected steps after which a lane counts as stalled."""
