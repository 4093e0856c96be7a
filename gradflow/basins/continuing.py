"""Open runs followed further, without doing the others again."""

from dataclasses import replace

import numpy as np

from gradflow import checks
from gradflow.basins.assembling import assemble
from gradflow.basins.collecting import Collection, collected
from gradflow.basins.estimates import BasinEstimate
from gradflow.basins.jobs import BasinJob
from gradflow.ensemble.batches import DEFAULT_MAX_STEPS
from gradflow.precision import in_double


@in_double
def continue_undecided(
    estimate: BasinEstimate, t1: float = float("inf"), max_steps: int = DEFAULT_MAX_STEPS
) -> BasinEstimate:
    """The same estimate with its open runs followed up to another horizon.

    Each open run goes on from where it is. Starts that have a limit, escaped or are not finite keep their rows.

    Args:
        estimate: made in this process by :func:`gradflow.basins.estimate_basins`.
        t1: the new horizon, flow time.
        max_steps: attempted steps for each, from now on.

    Raises:
        InputError: an estimate read from a file, a horizon before the old one, or more open runs than were kept.
    """
    checks.require(
        estimate.plan is not None, "estimate", "be one that was made in this process", "one read from a file",
        "Call estimate_basins with the same folder and the later horizon instead.",
    )  # fmt: skip
    checks.require(t1 >= estimate.plan.t1, "t1", f"be at least the first horizon {estimate.plan.t1:g}", t1)
    rest: Collection = estimate.collection.without_open()
    runs = estimate.open
    plan = replace(estimate.plan, t1=t1, max_steps=max_steps)
    job = BasinJob(plan, keeps_codes=bool(estimate.collection.chunks))
    for begin in range(0, len(runs), plan.chunk_size):
        part = runs.at(np.arange(begin, min(begin + plan.chunk_size, len(runs))))
        fates = job.follower.follow(part.states, part.samples, part.times)
        starts = job.follower.ensemble.flatten(plan.sampler.starts(plan.key, part.samples))
        rest = rest.added(collected(job.counted(starts, part.samples, fates)))
    facts = estimate.facts | {"t1": t1, "max_steps": max_steps}
    return replace(assemble(plan, rest, facts), recheck=estimate.recheck)
