"""A whole run as one frozen bundle: certified before, integrated, monitored, checked against its promises, named.

:func:`study` is the main job of the library in one call. It composes the rooms before it and adds nothing of its own
but the checks, which compare what was promised a priori with what was observed. No study knows how it is drawn or
saved.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from gradflow.certificates import Certificate, certificates_of
from gradflow.convergence import NOISE_RTOL, ObservedRate, observed_rate
from gradflow.critical_points import CriticalPoint, classify, unnamed
from gradflow.flow import AbstractFlow
from gradflow.integration import integrate
from gradflow.monitoring import allowance, monitor
from gradflow.precision import in_double
from gradflow.provenance import provenance
from gradflow.status import Status
from gradflow.trajectories import Trajectory
from gradflow.types import Params

BACKWARD = "nothing is promised backwards in time: certificates speak of t > 0"

NOT_A_STEP = "not one step was taken"


@dataclass(frozen=True)
class Check:
    """One comparison of a promise with a run.

    `passed` is None when there was nothing to compare (no certificate, no invariant); `measured` and `limit` are
    dimensionless, NaN when there is none.
    """

    name: str
    statement: str
    passed: bool | None
    measured: float
    limit: float


@dataclass(frozen=True)
class Study:
    """Everything about one run; what reports, figures and results files are made from.

    `flow` is None in a study loaded from a file whose landscape only its author has; `data` is then what the file says
    of it, and otherwise None.
    """

    flow: AbstractFlow | None
    trajectory: Trajectory
    record: xr.Dataset
    certificates: tuple[Certificate, ...]
    checks: tuple[Check, ...]
    point: CriticalPoint
    rate: ObservedRate
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    data: xr.Dataset | None = None

    @property
    def passed(self) -> bool:
        """True when no check failed."""
        return all(check.passed is not False for check in self.checks)

    def __repr__(self) -> str:
        failed = [check.name for check in self.checks if check.passed is False]
        judged = f"FAILED: {', '.join(failed)}" if failed else "no check failed"
        return f"Study({self.trajectory}; {self.point.kind}, loss {self.point.loss:.6g}; {judged})"


@in_double
def study(
    flow: AbstractFlow, params0: Params, t1: float = math.inf, *, settings: Mapping | None = None, **options: Any
) -> Study:
    """Certifies, integrates, monitors, checks and classifies the trajectory of `flow` from `params0`.

    Args:
        flow, params0, t1: as for :func:`gradflow.integrate`.
        settings: what the caller wants to be remembered with the results (data set, seed, widths, ...).
        **options: further keywords of :func:`gradflow.integrate`.

    Returns:
        A frozen :class:`Study`.

    Raises:
        InputError: a wrong call, before anything is integrated. Numerical outcomes are in ``study.trajectory.status``.
    """
    certificates = certificates_of(flow, params0)
    trajectory = integrate(flow, params0, t1, **options)
    try:
        record = monitor(flow, trajectory)
    except KeyboardInterrupt:
        # What was reached is worth a second more; a second Ctrl-C gives it up.
        trajectory = dataclasses.replace(trajectory, status=Status.INTERRUPTED)
        record = monitor(flow, trajectory)
    try:
        point = _named(classify(flow.problem, trajectory.endpoint), trajectory)
    except KeyboardInterrupt:
        trajectory = dataclasses.replace(trajectory, status=Status.INTERRUPTED)
        point = unnamed(flow.problem, trajectory.endpoint, "interrupted while the endpoint was being named")
    rate = _tail_rate(record, trajectory, point)
    checked = checks_of(record, trajectory, certificates, rate)
    return Study(
        flow=flow,
        trajectory=trajectory,
        record=record,
        certificates=certificates,
        checks=_with_end(checked, trajectory, point),
        point=point,
        rate=rate,
        settings=dict(settings or {}),
        provenance=provenance(),
    )


def checks_of(
    record: xr.Dataset, trajectory: Trajectory, certificates: tuple[Certificate, ...], rate: ObservedRate
) -> tuple[Check, ...]:
    """The comparisons of a study, in the order of tables."""
    promised = {certificate.name: certificate for certificate in certificates}
    found = (
        _ended(trajectory),
        _bounded(record, trajectory),
        _invariant(record),
        _energy(record, trajectory),
        _descent(record, trajectory),
        _envelope(record, trajectory),
        _rate(rate, trajectory, promised.get("exponential_rate")),
    )
    return found if not trajectory.is_loose else (found[0], *map(_not_judged, found[1:]))


def _named(point: CriticalPoint, trajectory: Trajectory) -> CriticalPoint:
    """The endpoint's name. Far out a gradient at rounding level is no critical point: a run that escaped has none."""
    if trajectory.status is not Status.ESCAPED or point.kind == "not_critical":
        return point
    reason = "Undetermined: the run escaped, and out here the gradient cannot be told from rounding."
    unknown: dict[str, Any] = dict.fromkeys(("index", "nullity", "captured", "counts", "rank", "rank_z", "value"))
    return dataclasses.replace(point, kind="undetermined", reason=reason, **unknown)


def _with_end(found: tuple[Check, ...], trajectory: Trajectory, point: CriticalPoint) -> tuple[Check, ...]:
    """The checks, with the first one failed when the flow was taken to have ended where it cannot have."""
    was_seen = any(passage.end is None for passage in trajectory.passages) or trajectory.num_accepted == 0
    is_missed = point.kind == "strict_saddle" and not was_seen
    if trajectory.status is not Status.STATIONARY or not (point.kind == "not_critical" or is_missed):
        return found
    what = "a strict saddle that the run did not notice" if is_missed else "not critical"
    statement = f"the flow was taken to have ended (stationary), but its endpoint is {what}"
    return (dataclasses.replace(found[0], passed=False, statement=statement), *found[1:])


def _not_judged(check: Check) -> Check:
    statement = f"not judged at so large a tolerance: {check.statement}"
    return dataclasses.replace(check, passed=None, statement=statement)


def _tail_rate(record: xr.Dataset, trajectory: Trajectory, point: CriticalPoint) -> ObservedRate:
    """The observed law of the loss above its limit: the refined endpoint's loss once critical, the last one else."""
    is_named = point.kind not in ("not_critical", "undetermined")
    limit = point.loss if is_named and trajectory.status is Status.STATIONARY else math.nan
    loss = record["loss"].values
    excess = loss - limit
    is_finite = np.isfinite(excess)
    # The excess is a difference of losses: below their rounding it says nothing.
    noise = max(NOISE_RTOL * float(np.max(np.abs(excess), initial=0.0, where=is_finite)),
                8 * np.finfo(float).eps * float(np.max(np.abs(loss), initial=0.0, where=is_finite)))  # fmt: skip
    return observed_rate(np.abs(trajectory.times), excess, noise)


def _ended(trajectory: Trajectory) -> Check:
    status = trajectory.status
    passed = not status.is_failure and status is not Status.INTERRUPTED
    return Check("ended", f"the integration came to its end ({status})", passed, trajectory.end_time, trajectory.t1)


def _bounded(record: xr.Dataset, trajectory: Trajectory) -> Check:
    bound, largest = float(record["bound"]), trajectory.largest_norm
    statement = "sup ||W(t)|| <= R, the certified bound on every trajectory from this start"
    if trajectory.t1 < 0:
        return Check("bounded", BACKWARD, None, largest, math.nan)
    if math.isnan(bound):
        return Check("bounded", "not certified: no theory bounds this problem", None, largest, bound)
    slack = 1 + allowance(trajectory)
    return Check("bounded", statement, bool(largest <= bound * slack), largest, bound)


def _invariant(record: xr.Dataset) -> Check:
    claimed = record["claimed"].values
    if not claimed.any():
        return Check("invariants", "no conserved quantity is known for this flow", None, math.nan, math.nan)
    drift = record["relative_drift"].values[:, claimed].max()
    limit = record["drift_tolerance"].values[claimed].min()
    statement = "the drift of every invariant is consistent with the solver's tolerance"
    return Check("invariants", statement, bool(record["consistent"].values[claimed].all()), float(drift), float(limit))


def _energy(record: xr.Dataset, trajectory: Trajectory) -> Check:
    defect = float(record["energy_defect"].max())
    limit = allowance(trajectory)
    if trajectory.num_accepted == 0:
        return Check("energy", NOT_A_STEP, None, math.nan, math.nan)
    if float(record["grad_norm"].values.max()) == 0.0:
        return Check("energy", "nothing was dissipated: the start is critical", None, 0.0, limit)
    # Relative to what was dissipated. An error e of the weights moves the loss by <grad L, e>; the loss itself carries
    # its own rounding.
    dissipated = max(float(np.abs(record["dissipated"].values).max()), 1e-300)
    steepness = float(record["grad_norm"].values.max()) * trajectory.largest_norm
    limit *= max(1.0, steepness / dissipated)
    limit += 1e-14 * float(np.abs(record["loss"].values).max()) / dissipated
    if limit >= 1.0:
        return Check("energy", "too little was dissipated for its balance to be judged", None, defect, limit)
    statement = "dL/dt = -||grad L||^2: the loss lost is the energy dissipated"
    return Check("energy", statement, bool(defect <= limit), defect, limit)


def _descent(record: xr.Dataset, trajectory: Trajectory) -> Check:
    if trajectory.num_accepted == 0:
        return Check("descent", NOT_A_STEP, None, math.nan, math.nan)
    loss = record["loss"].values * np.sign(trajectory.t1)
    scale = float(np.abs(loss).max()) or 1.0
    rise = float(np.max(np.diff(loss), initial=0.0)) / scale
    limit = allowance(trajectory)
    return Check("descent", "the loss never rises along the flow", bool(rise <= limit), rise, limit)


def _envelope(record: xr.Dataset, trajectory: Trajectory) -> Check:
    statement = "L(t) stays below the certified exponential envelope"
    envelope, loss = record["envelope"].values, record["loss"].values
    if trajectory.t1 < 0:
        return Check("envelope", BACKWARD, None, math.nan, math.nan)
    if np.isnan(envelope).any():
        return Check("envelope", "no exponential rate is certified for this start", None, math.nan, math.nan)
    slack = allowance(trajectory) * float(loss[0]) + 1e-15
    above = float(np.max((loss - envelope) / max(float(loss[0]), 1e-300)))
    return Check("envelope", statement, bool(np.all(loss <= envelope + slack)), above, slack)


def _rate(rate: ObservedRate, trajectory: Trajectory, certificate: Certificate | None) -> Check:
    if trajectory.t1 < 0:
        return Check("rate", BACKWARD, None, math.nan, math.nan)
    observed = getattr(rate, "rate", math.nan) if rate.law == "exponential" else math.nan
    if certificate is None or not certificate.holds:
        return Check("rate", "no exponential rate is certified for this start", None, observed, math.nan)
    promised = certificate.values["rate"]
    if rate.law != "exponential":
        return Check("rate", f"the observed law of the tail is {rate.law}", None, math.nan, promised)
    # The fit's error knows the curve, not how exactly the curve was computed.
    passed = bool(observed + 3 * rate.standard_error >= promised * (1 - allowance(trajectory)))
    return Check("rate", "the observed rate of the loss is at least the certified one", passed, observed, promised)
