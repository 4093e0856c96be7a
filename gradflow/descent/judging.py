"""What a comparison stands on, as hypotheses with truth values, and the verdict that follows from them.

Knows the runs and their distances; computes no path.
"""

import math

import numpy as np
import xarray as xr

from gradflow.descent.comparisons import (
    FIRST_ORDER,
    RESOLVED,
    SECOND_ORDER,
    DescentComparison,
    Measured,
    law_through,
)
from gradflow.descent.outcomes import DescentStatus
from gradflow.descent.tabulating import Runs, distances_by_row
from gradflow.hypotheses import Hypothesis, conjunction
from gradflow.status import Status


def judged(runs: Runs, table: xr.Dataset, tolerance: float) -> DescentComparison:
    """The comparison: largest distances, orders, sharpness, hypotheses and verdict."""
    # A modified flow that broke off has rows of NaN, and then no largest distance is known.
    full = Measured(float(np.max(table.distance)), float(np.max(table.modified_distance.values)))
    half = Measured(float(np.max(table.halved_distance)), float(np.max(table.halved_modified_distance.values)))
    error = float(np.max(distances_by_row(runs.looser.params, runs.flow.params, runs.num_common)))
    order = _order(full.distance, half.distance, error)
    modified_order = _order(full.modified_distance, half.modified_distance, error)
    travelled = float(np.max(table.flow_travelled))
    sharpest = float(np.max(np.concatenate([table.sharpness.values, table.flow_sharpness.values])))
    hypotheses = _hypotheses(runs, full, half, (order, modified_order), error, tolerance * travelled, sharpest)
    return DescentComparison(
        table=table,
        descent=runs.descent,
        halved=runs.halved,
        trajectory=runs.flow,
        tolerance=tolerance,
        travelled=travelled,
        full=full,
        half=half,
        reference_error=error,
        order=order,
        modified_order=modified_order,
        sharpest=sharpest,
        law=law_through(full.distance, half.distance, order, runs.descent.rule.learning_rate),
        hypotheses=hypotheses,
        trusted=_verdict(hypotheses, runs),
    )


def _order(full: float, half: float, error: float) -> float:
    """``log2(full / half)``, NaN where the smaller is not resolved or there is none."""
    return math.log2(full / half) if half > RESOLVED * error and full > 0 else math.nan


def _hypotheses(
    runs: Runs, full: Measured, half: Measured, orders: tuple[float, float], error: float, allowed: float,
    sharpest: float,
) -> tuple[Hypothesis, ...]:  # fmt: skip
    """What the verdict stands on; the last one is what was asked."""
    rule, end = runs.descent.rule, runs.flow.status
    followed = end in (Status.HORIZON, Status.STATIONARY)
    done = all(run.status is DescentStatus.COMPLETED for run in (runs.descent, runs.halved))
    is_complete = runs.num_common == len(runs.steps)
    is_within = full.distance + error <= allowed if is_complete else None
    if full.distance - error > allowed:
        is_within = False
    second = _is_between(orders[1], SECOND_ORDER)
    if second is None and full.modified_distance <= RESOLVED * error and full.distance > RESOLVED * error:
        second = True
    limit = rule.stability_limit
    return (
        Hypothesis(f"the flow was followed to t = {runs.steps[-1] * rule.flow_step:.4g}: {end}", followed),
        Hypothesis(f"its error, about {error:.1e}, is below a tenth of the distance allowed, {allowed:.1e}",
                   bool(RESOLVED * error <= allowed) if allowed > 0 else None),
        Hypothesis("descent made all its steps with the learning rate and with half of it: "
                   f"{runs.descent.status}, {runs.halved.status}", done),
        Hypothesis(f"eta lambda_max = {sharpest:.3g} is below {limit:.3g} wherever it was looked at",
                   None if math.isnan(sharpest) else sharpest < limit),
        Hypothesis("with half the learning rate the distance to the flow falls by two: "
                   f"{_fall(full.distance, half.distance)}",
                   _is_between(orders[0], FIRST_ORDER)),
        Hypothesis("and the distance to the modified flow by four, or to what the reference resolves: "
                   f"{_fall(full.modified_distance, half.modified_distance)}", second),
        Hypothesis("the flow met no kink that is known", not runs.flow.num_crossings and not runs.flow.num_slides),
        Hypothesis(f"the largest distance at the rows, {full.distance:.3g}, is at most {allowed:.3g}", is_within),
    )  # fmt: skip


def _is_between(value: float, bounds: tuple[float, float]) -> bool | None:
    return None if math.isnan(value) else bounds[0] <= value <= bounds[1]


def _fall(full: float, half: float) -> str:
    return f"by {full / half:.3g}" if half > 0 and math.isfinite(full / half) else "not known"


def _verdict(hypotheses: tuple[Hypothesis, ...], runs: Runs) -> bool | None:
    """False only where the distance was seen to be too large, or descent failed and the flow did not."""
    has_failed = runs.descent.status is not DescentStatus.COMPLETED and hypotheses[0].holds is True
    if has_failed or (hypotheses[-1].holds is False and hypotheses[1].holds is True):
        return False
    return True if conjunction(hypotheses) is True else None
