"""Setting gradient descent beside its flow: runs at a learning rate and at half of it, and both flows at their times.

:func:`compare_descent` measures; what its numbers show is :mod:`gradflow.descent.comparisons`' to say and listed as
hypotheses with truth values. It decides on nothing that it did not compute.
"""

import math
from typing import TypeVar

import jax
import numpy as np

from gradflow import checks
from gradflow.descent.comparisons import DescentComparison
from gradflow.descent.descending import descend
from gradflow.descent.judging import judged
from gradflow.descent.modified import ModifiedFlow, as_flow
from gradflow.descent.outcomes import Descent, DescentStatus
from gradflow.descent.rules import UpdateRule
from gradflow.descent.tabulating import Runs, table_of
from gradflow.flow import AbstractFlow
from gradflow.integration import integrate
from gradflow.precision import in_double, require_concrete
from gradflow.problem import AbstractProblem
from gradflow.status import Status
from gradflow.trajectories import Trajectory
from gradflow.types import Params

RunT = TypeVar("RunT", Descent, Trajectory)

MAX_STEPS = 100_000_000
"""Most steps of gradient descent in a comparison."""

FLOW_STEPS = 200_000
"""Most steps that a solver may attempt on a flow here."""

LOOSER = 100.0
"""By how much looser the second run of the flow is that the reference's error is estimated from."""


@in_double
def compare_descent(
    flow: AbstractFlow | AbstractProblem,
    params0: Params,
    learning_rate: float,
    t1: float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    tolerance: float = 0.01,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    num_rows: int = 100,
    num_looks: int = 8,
    max_norm: float | None = None,
    progress: bool = True,
) -> DescentComparison:
    """Gradient descent beside the flow that it discretises, with a verdict on the learning rate.

    Descent runs at eta and at eta / 2, the flow at `rtol` and, for an estimate of its error, at a hundred times that,
    and the modified flow of each learning rate (:class:`~gradflow.descent.ModifiedFlow`), all from `params0`.

    Args:
        flow: a flow, or a problem for its gradient flow.
        params0: the start.
        learning_rate: eta (dimensionless), positive.
        t1: flow time to compare over, positive and finite; rounded up to a whole number of steps.
        momentum, nesterov: as for :func:`~gradflow.descent.descend`.
        tolerance: largest distance, relative to how far the flow travels, at which the flow counts as followed.
        rtol, atol: of the flows.
        num_rows: about how many flow times to compare at, half of them evenly and half geometrically spaced.
        num_looks: states at which ``lambda_max`` of the Hessian is computed, on the flow and on descent each.
        max_norm: norm beyond which descent and flow count as gone, as for :func:`~gradflow.descent.descend`.
        progress: show progress lines on a terminal.

    Returns:
        A frozen :class:`~gradflow.descent.DescentComparison`. Its `table` has, by ``time``: ``distance``,
        ``modified_distance`` (and both ``halved_``), ``loss``, ``flow_loss``, ``modified_loss`` (the loss L along the
        modified flow); by ``time`` and ``invariant``: ``drift``, ``flow_drift``, ``modified_drift``,
        ``halved_drift`` (largest entry, as :meth:`Invariant.drift` has it, of the quantities with an exact law);
        by ``look``: ``look_time``, ``sharpness`` and ``flow_sharpness`` (``eta lambda_max``). Where descent stopped
        early it has the rows before.

    Accuracy: distances are right to `reference_error`. They are taken at the rows: what lies between is not seen.

    Raises:
        InputError: a wrong call.
        KeyboardInterrupt: Ctrl-C in one of the runs; half a comparison says nothing.
    """
    flow = as_flow(flow)
    require_concrete("compare_descent", flow, params0, learning_rate)
    rule = UpdateRule(learning_rate, momentum, nesterov)
    horizon = checks.real("t1", t1, above=0.0)
    tolerance = checks.real("tolerance", tolerance, above=0.0, below=1.0)
    num_rows, num_looks = checks.integer("num_rows", num_rows, at_least=4), checks.integer("num_looks", num_looks)
    checks.require(horizon <= MAX_STEPS * rule.flow_step, "t1", f"be at most {MAX_STEPS} steps of {rule.flow_step:g}",
                   t1, "Use a shorter time, or a larger learning rate.")  # fmt: skip
    num_steps = max(1, math.ceil(horizon / rule.flow_step * (1.0 - 1e-12)))
    settings = {"rtol": rtol, "atol": atol, "max_steps": FLOW_STEPS, "progress": progress}
    runs = _run(flow, params0, rule, _chosen_steps(num_steps, num_rows), max_norm, settings)
    return judged(runs, table_of(flow, runs, num_looks), tolerance)


def _chosen_steps(num_steps: int, num_rows: int) -> np.ndarray:
    """Step numbers from 0 to the last, half evenly and half geometrically spaced."""
    half = -(-num_rows // 2)
    spaced = np.concatenate([np.linspace(0, num_steps, half), np.geomspace(1, num_steps, half)])
    return np.unique(np.round(spaced).astype(np.int64))


def _run(
    flow: AbstractFlow, params0: Params, rule: UpdateRule, steps: np.ndarray, max_norm: float | None, settings: dict
) -> Runs:
    """Both descents, the flow twice, and both modified flows, at the flow times of `steps`."""
    times = steps * rule.flow_step
    runs, bent = [], []
    for factor in (1, 2):
        rate = rule.learning_rate / factor
        run = descend(
            flow, params0, rate, factor * int(steps[-1]), momentum=rule.momentum, nesterov=rule.nesterov,
            save_steps=factor * steps, max_norm=max_norm, progress=settings["progress"],
        )  # fmt: skip
        runs.append(_whole(run))
        modified = ModifiedFlow(flow, rate, momentum=rule.momentum, nesterov=rule.nesterov)
        path = _whole(integrate(modified, modified.start(params0), times[-1], save_at=times, **settings))
        count = _common(path.times, times)
        rows = jax.tree.map(lambda leaf, count=count: leaf[:count], path.params)
        bent.append((modified.iterates(params0, factor * steps[:count], rows), path))
    settings = settings | {"max_norm": max_norm}
    reference = _whole(integrate(flow, params0, times[-1], save_at=times, **settings))
    loose = settings | {"rtol": LOOSER * settings["rtol"], "atol": LOOSER * settings["atol"]}
    looser = _whole(integrate(flow, params0, times[-1], save_at=times, **loose))
    count = min(
        *(_common(path.times, times) for path in (reference, looser)),
        *(_common(run.steps, factor * steps) for factor, run in enumerate(runs, start=1)),
    )
    return Runs(runs[0], runs[1], reference, looser, bent[0][0], bent[1][0], bent[0][1], steps, count)


def _whole(run: RunT) -> RunT:
    """`run`, unless somebody stopped it: then Ctrl-C goes on to the caller."""
    if run.status in (DescentStatus.INTERRUPTED, Status.INTERRUPTED):
        raise KeyboardInterrupt
    return run


def _common(found: np.ndarray, asked: np.ndarray) -> int:
    """How many of the first rows are those that were asked for."""
    size = min(len(found), len(asked))
    differs = np.flatnonzero(found[:size] != asked[:size])
    return int(differs[0]) if len(differs) else size
