"""What the measurements say of the bars that gradflow's solvers set themselves; knows rows, not how they were made.

Three questions at rtol 1e-4, 1e-6 and 1e-8. Is the automatic choice as good as the best solver a user could have named?
Does it, on stiff problems, beat the best peer, and on the others diffrax's Tsit5? A solver is only compared with one
of equal accuracy: the time of a competitor is read from its work-precision curve at the achieved error.
"""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

RTOLS = (1e-4, 1e-6, 1e-8)
LESS_WORK, MUCH_FASTER, NO_SLOWER = 1.5, 3.0, 1.1
RIVAL = "diffrax-tsit5"


@dataclass(frozen=True)
class Verdict:
    """The automatic choice on one problem and tolerance beside the best of a group at an error no larger.

    `ratio` is the automatic choice's seconds over the rival's; None when no rival reached that error.
    """

    problem: str
    rtol: float
    error: float
    seconds: float
    choice: str
    rival: str
    ratio: float | None
    same_rtol: str
    ratio_at_rtol: float | None
    error_ratio_at_rtol: float | None


def curve(rows: Iterable[Any]) -> list[tuple[float, float]]:
    """(error, seconds) of one method on one problem, errors falling and seconds rising: what is dominated is left out.

    A row whose error is zero counts as the smallest error of a double.
    """
    points = sorted((max(row.error, 1e-17), row.cpu) for row in rows if row.error is not None and not row.note)
    kept: list[tuple[float, float]] = []
    for error, seconds in points:
        if not math.isfinite(error):
            continue
        while kept and kept[-1][1] >= seconds and kept[-1][0] >= error:
            kept.pop()
        if not kept or seconds < kept[-1][1]:
            kept.append((error, seconds))
    return kept[::-1]


def seconds_at(points: list[tuple[float, float]], error: float) -> float | None:
    """Seconds for that error or a smaller one, by interpolation of the logarithms; None when it was not reached."""
    if not points or points[-1][0] > error:
        return None
    if error >= points[0][0]:
        return points[0][1]
    for (e0, s0), (e1, s1) in itertools.pairwise(points):
        if e1 <= error <= e0:
            share = (math.log(e0) - math.log(error)) / (math.log(e0) - math.log(e1))
            return math.exp(math.log(s0) + share * (math.log(s1) - math.log(s0)))
    return None


def verdict(rows: list[Any], problem: str, rtol: float, rivals: set[str]) -> Verdict | None:
    """The automatic choice against the best of `rivals`, or None when it was not measured there."""
    here = [row for row in rows if row.problem == problem]
    auto = next((row for row in here if row.method == "auto" and _same(row.rtol, rtol)), None)
    if auto is None or auto.error is None or auto.note:
        return None
    times = {}
    for name in rivals:
        seconds = seconds_at(curve(row for row in here if row.method == name), max(auto.error, 1e-17))
        if seconds is not None:
            times[name] = seconds
    best = min(times, key=times.__getitem__, default="")
    same = [row for row in here if row.method in rivals and _same(row.rtol, rtol) and row.error is not None
            and not row.note]  # fmt: skip
    quickest = min(same, key=lambda row: row.cpu, default=None)
    return Verdict(
        problem, rtol, auto.error, auto.cpu, auto.remark.split(":")[0], best, auto.cpu / times[best] if best else None,
        quickest.method if quickest else "", auto.cpu / quickest.cpu if quickest else None,
        auto.error / max(quickest.error, 1e-17) if quickest else None,
    )  # fmt: skip


def verdicts(rows: list[Any], problems: Iterable[str], group: str) -> list[Verdict]:
    """Those against "own", "peers", or :data:`RIVAL` alone."""
    names = {row.method for row in rows if row.method != "auto" and row.is_own == (group == "own")}
    rivals = {RIVAL} if group == RIVAL else names
    found = (verdict(rows, problem, rtol, rivals) for problem in problems for rtol in RTOLS)
    return [one for one in found if one is not None]


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-6)
