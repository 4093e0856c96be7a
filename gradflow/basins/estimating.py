"""Basins of attraction by Monte Carlo: starts drawn, followed to named limits, counted, with intervals.

Chunks of starts are independent of each other; each is the same wherever and whenever it is computed, so an interrupted
run that is begun again, on other workers, ends with the same numbers.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from gradflow import checks, initial_laws, intervals
from gradflow.__about__ import __version__
from gradflow.basins.assembling import assemble
from gradflow.basins.collecting import Fold
from gradflow.basins.comparing import recheck
from gradflow.basins.estimates import BasinEstimate
from gradflow.basins.identity import FOLLOWS, identity
from gradflow.basins.jobs import BasinJob, Plan
from gradflow.engines.engine import AbstractEngine
from gradflow.engines.folders import RunFolder, open_run
from gradflow.engines.running import Ending, RunOutcome, run_chunks
from gradflow.engines.threads import Threads
from gradflow.ensemble.batches import DEFAULT_MAX_STEPS, DEFAULT_RTOL
from gradflow.flow import AbstractFlow
from gradflow.naming.discovery import TOLERANCE
from gradflow.precision import in_double
from gradflow.samplers.sampler import AbstractSampler

CHUNK_WORK = 2**19
"""Parameters per chunk, about: 16 384 starts of up to 32 parameters, 4096 of a hundred."""

FEWEST, MOST = 256, 16_384
SOLVERS = ("tsit5", "rodas4", "rodas5p", "kvaerno5", "gauss4", "rkc2")
"""Solvers of lanes: the explicit one, and those that are stable at every step."""

KEEP_CODES = 1_000_000
"""Runs of at most so many starts keep the class of every start unless told otherwise."""

_SHOWN = ("num_samples", "t1", "rtol", "atol", "max_steps", "solver", "chunk_size")


@in_double
def estimate_basins(
    flow: AbstractFlow,
    sampler: AbstractSampler,
    key: Any,
    num_samples: int,
    t1: float = math.inf,
    *,
    rtol: float = DEFAULT_RTOL,
    atol: float | None = None,
    grad_tol: float | None = None,
    max_norm: float | None = None,
    max_steps: int = DEFAULT_MAX_STEPS,
    known: Any = None,
    tolerance: float = TOLERANCE,
    level: float = 0.95,
    half_width: float | None = None,
    num_rechecked: int | None = None,
    keep_codes: bool | None = None,
    engine: AbstractEngine | None = None,
    folder: Any = None,
    kernel: str = "auto",
    solver: str = "tsit5",
    chunk_size: int | None = None,
    progress: bool = True,
) -> BasinEstimate:
    """Which limits the flow goes to, and from what share of the sampler's starts.

    Args:
        flow: any flow.
        sampler: where it starts; start i depends on `key` and i alone.
        key: a JAX key or a seed.
        num_samples: number of starts.
        t1: horizon, flow time; a start that has not ended by then is undetermined.
        rtol, atol: local error of a step; `atol` is ``1e-3 rtol`` when not given.
        grad_tol: gradient norm at which an end is looked at first; default 1e-6 of a large gradient.
        max_norm: norm at which a start has escaped; default 1e4 times the scale of problem and starts.
        max_steps: attempted steps for one start.
        known: critical points by name, for problems without closed-form theory.
        tolerance: of discovered classes, see :func:`gradflow.naming.namer_for`.
        level: confidence level of the intervals.
        half_width: stop as soon as every class's fraction is known this well; the level is kept (confidence
            sequences), looked at after every chunk in their order.
        num_rechecked: starts, the first ones, that are run again at ``rtol / 100``; default 1000, or all of fewer.
        keep_codes: keep the class of every start; default for up to a million.
        engine: where chunks run; default threads, one for each core. See :mod:`gradflow.engines`.
        folder: keeps finished chunks; the same call goes on from there.
        kernel, solver: see :class:`gradflow.ensemble.Ensemble`. A flow that takes Tsit5 tens of thousands of steps to
            its limits is stiff: name "rodas5p" then.
        chunk_size: starts in a chunk; changes no label and no count.
        progress: show a bar.

    Accuracy: the interval covers what sampling leaves open, the row "undetermined" what the horizon does, `recheck`
        what the tolerance does.

    Raises:
        InputError: a wrong argument. Whatever becomes of a start is a row of the result, never an exception.
        KeyboardInterrupt: after the chunks in hand were kept; the same call with the same folder goes on.
        RuntimeError: chunk after chunk could not be computed at all.
    """
    begun = time.monotonic()
    plan = _plan(flow, sampler, key, num_samples, t1, rtol, atol, grad_tol, max_norm, max_steps, known, tolerance,
                 kernel, solver, chunk_size)  # fmt: skip
    checks.require(
        half_width is None or sampler.num_replicates == 1, "half_width", "be left out with a design of replicates",
        half_width,
        "Stopping early keeps its level for independent starts only.",
    )  # fmt: skip
    level = intervals.proportion_intervals(0, 1, level).level
    keeps = plan.num_samples <= KEEP_CODES if keep_codes is None else bool(keep_codes)
    job = BasinJob(plan, keeps_codes=keeps)
    job.follower  # noqa: B018  wrong calls are found here, in the caller's thread
    fold = Fold(half_width, level)
    chosen = Threads() if engine is None else engine
    run: Callable[[RunFolder | None], RunOutcome] = lambda place: run_chunks(  # noqa: E731
        job, chosen, on_part=fold.add, folder=place, is_enough=fold.is_enough, progress=progress, unit=" starts",
        per_chunk=plan.chunk_size,
    )  # fmt: skip
    if folder is None:
        outcome = run(None)
    else:
        with open_run(folder, settings_of(plan, keeps, half_width), FOLLOWS) as place:
            outcome = run(place)
    if outcome.signal is not None:
        raise KeyboardInterrupt(str(outcome))
    if outcome.ending is Ending.FAILING or fold.collection is None:
        raise RuntimeError(f"{outcome}; what was computed is kept in the folder, if there is one")
    for failure in outcome.failures:
        fold.add(failure.index, job.lost(failure.index))
    facts = {"level": level, "half_width": half_width,
             "wall_seconds": time.monotonic() - begun, "outcome": str(outcome), "version": __version__,
             "kernel": job.follower.ensemble.kernel_name, "grad_tol": job.follower.quiet,
             "max_norm": float(job.follower.shared[3]), "num_failed": len(outcome.failures),
             **{n: getattr(plan, n) for n in _SHOWN}}  # fmt: skip
    return replace(assemble(plan, fold.result(), facts), recheck=recheck(plan, num_rechecked, level))


def _plan(
    flow: Any, sampler: Any, key: Any, num_samples: Any, t1: float, rtol: float, atol: float | None,
    grad_tol: float | None, max_norm: float | None, max_steps: int, known: Any, tolerance: float, kernel: str,
    solver: str, chunk_size: int | None,
) -> Plan:  # fmt: skip
    checks.require(
        isinstance(flow, AbstractFlow), "flow", "be a flow", type(flow).__name__, "Use GradientFlow(problem)."
    )
    checks.require(
        isinstance(sampler, AbstractSampler), "sampler", "be a sampler", type(sampler).__name__,
        "Use gradflow.samplers.Gaussian(0.5, like=problem), Box(low, high), Given(starts) ...",
    )  # fmt: skip
    num = checks.integer("num_samples", num_samples)
    checks.require(
        sampler.size is None or num <= sampler.size,
        "num_samples",
        f"be at most {sampler.size}, the sampler's size",
        num,
    )
    balanced = sampler.balanced_size(num)
    checks.require(
        balanced == num, "num_samples", "be a number at which all replicates are equally large", num,
        f"Use {balanced}.",
    )  # fmt: skip
    if not isinstance(key, jax.Array):
        key = checks.integer("key", key, at_least=0)
    initial_laws.as_key(key)
    size = sum(np.size(leaf[0]) for leaf in jax.tree.leaves(sampler.starts(key, np.zeros(1, np.int64))))
    fitting = int(np.clip(2 ** int(math.log2(max(CHUNK_WORK // size, 1))), FEWEST, MOST))
    return Plan(
        flow=flow, sampler=sampler, key=key, num_samples=num,
        t1=checks.real("t1", t1, above=0.0, infinite=True),
        rtol=rtol, atol=1e-3 * rtol if atol is None else atol,
        grad_tol=None if grad_tol is None else checks.real("grad_tol", grad_tol, above=0.0),
        max_norm=max_norm, max_steps=max_steps, known=known, tolerance=tolerance, kernel=kernel,
        solver=checks.choice("solver", solver, SOLVERS),
        chunk_size=fitting if chunk_size is None else checks.integer("chunk_size", chunk_size),
    )  # fmt: skip


def settings_of(plan: Plan, keeps_codes: bool, half_width: float | None) -> dict[str, Any]:
    """Everything that decides the numbers of a run, for its folder."""
    return identity(plan) | {"keep_codes": keeps_codes, "half_width": half_width}
