"""gradflow's own solvers through ``gf.integrate``, every name of its registry and the automatic choice."""

import math
from functools import partial

from peers import ATOL_SHARE, Method, Outcome, Unavailable

EXPLICIT = ("bosh3", "tsit5", "dopri5", "dopri8")
"""Names of solvers whose steps are bounded by a fixed multiple of 1 / rho."""

NOT_SENSIBLE: dict[tuple[str, str], str] = {
    ("radau9", name): "a system of all stages together is for few parameters" for name in ("digits", "tanh", "residual")
}
"""Reasons, by solver and problem, not to run a combination; "*" stands for every problem."""


def _build(solver, problem, rtol):
    import gradflow as gf
    from gradflow.status import Status

    reason = NOT_SENSIBLE.get((solver, problem.name)) or NOT_SENSIBLE.get((solver, "*"))
    if reason:
        raise Unavailable(reason)
    flow = problem.flow

    def run(t1):
        trajectory = gf.integrate(
            flow, problem.params0, t1=t1, rtol=rtol, atol=ATOL_SHARE * rtol, solver=solver,
            save_at=[t1], max_norm=math.inf, max_steps=10**8, progress=False,
        )  # fmt: skip
        good = trajectory.status in (Status.HORIZON, Status.STATIONARY)
        counts = {"steps": trajectory.num_accepted, "rejected": trajectory.num_rejected}
        return Outcome(
            problem.flat(trajectory.endpoint), counts, "" if good else trajectory.status.name.lower(),
            f"{trajectory.solver}: {trajectory.solver_reason}" if solver == "auto" else "",
        )  # fmt: skip

    return run


def methods():
    """One method a name."""
    from gradflow.solvers import SOLVER_NAMES

    label = lambda name: "gradflow, automatic choice" if name == "auto" else f"gradflow {name}"  # noqa: E731
    return [Method(name, label(name), "gradflow", partial(_build, name), True, False, name in EXPLICIT)
            for name in SOLVER_NAMES]  # fmt: skip
