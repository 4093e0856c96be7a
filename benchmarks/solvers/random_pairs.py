"""The automatic choice on a thousand random problem/tolerance pairs: is any end silently wrong?

    python benchmarks/solvers/random_pairs.py [--count 1000] [--first 0]

Each pair is integrated by ``gf.integrate(solver="auto")`` with atol a hundredth of rtol, and compared at its horizon
with Radau IIA collocation of order 17 in extended precision. The tolerance is ``rtol max(1, max_t ||y||)``. Errors made
on the way are amplified by the flow itself, by any solver: the factor is at most ``K = max_s ||D Phi(t1, s)||``, the
norm of the flow's derivative from any time s on, computed from the Hessians along the reference. An end is right when
its error is at most ``10 K`` times the tolerance (K is at least 1). What is not right must have a status that says so;
every pair that has neither, raises, or takes more than a minute of CPU time is printed as a violation.

Rounding has the same excuse: errors below ``1e-15 K`` times the number of steps are never held against a run.
"""

import argparse
import json
import math
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import collocation
import equinox as eqx
import numpy as np
import random_problems
import scipy.linalg
from scipy.integrate import solve_ivp

ALLOWED = 10.0
PATIENCE = 60


@dataclass(frozen=True)
class Finding:
    """What became of a pair; `ratio` is error over tolerance and amplification.

    `verdict` is "right", "says so" or "wrong".
    """

    number: int
    kind: str
    words: str
    t1: float
    rtol: float
    verdict: str
    status: str
    ratio: float | None
    error: float | None
    amplification: float | None
    steps: int
    solver: str
    seconds: float


class TooLong(Exception):
    """The run took more than a minute of CPU time."""


def examine(number: int) -> Finding:
    """Integrates a pair and judges it."""
    import gradflow as gf
    from gradflow.status import Status

    pair = random_problems.draw(number)
    blank = Finding(number, pair.kind, pair.words, pair.t1, pair.rtol, "wrong", "", None, None, None, 0, "", 0.0)
    begun = time.process_time()
    signal.signal(signal.SIGPROF, _ring)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        trajectory = gf.integrate(
            gf.GradientFlow(pair.problem), pair.params0, t1=pair.t1, rtol=pair.rtol, atol=1e-2 * pair.rtol,
            save_at=[pair.t1], progress=False,
        )  # fmt: skip
    except TooLong:
        return _with(blank, status=f"more than {PATIENCE} s of CPU time", seconds=float(PATIENCE))
    except Exception as error:  # whatever it raises is a violation to be printed
        return _with(blank, status=f"{type(error).__name__}: {str(error)[:200]}", seconds=time.process_time() - begun)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    told = {"status": trajectory.status.name.lower(), "steps": trajectory.num_accepted,
            "solver": f"{trajectory.solver}: {trajectory.solver_reason}",
            "seconds": time.process_time() - begun}  # fmt: skip
    if trajectory.status not in (Status.HORIZON, Status.STATIONARY):
        return _with(blank, verdict="says so", **told)
    end = _flat(trajectory.params, -1)
    for parts in (1, 2):  # a violation is only believed when it stands against the reference with half the steps too
        exact, amplification, largest = reference(pair, parts)
        error = float(np.linalg.norm(end - exact))
        tolerance = pair.rtol * max(1.0, largest)
        excused = 1e-15 * max(1.0, largest) * trajectory.num_steps
        ratio = error / (amplification * (tolerance + excused / ALLOWED))
        if ratio <= ALLOWED:
            break
    verdict = "right" if ratio <= ALLOWED else "wrong"
    return _with(blank, verdict=verdict, ratio=ratio, error=error, amplification=amplification, **told)


def reference(pair: random_problems.Pair, parts: int) -> tuple[np.ndarray, float, float]:
    """End state, amplification K and largest norm on the way, on the steps of a run of Radau at 1e-6 cut in `parts`."""
    start = _flat(pair.params0)
    slope = _flat(pair.problem.gradient(pair.params0))
    assert np.allclose(pair.velocity(start), -slope, rtol=1e-9, atol=1e-12 * np.max(np.abs(slope))), "another field"
    jacobian = lambda y: -np.asarray(_hessian(pair.problem, _like(pair.params0, y)))  # noqa: E731
    coarse = solve_ivp(
        lambda _, y: pair.velocity(y), (0.0, pair.t1), start, method="Radau", rtol=1e-6, atol=1e-9,
        jac=lambda _, y: jacobian(y),
    )  # fmt: skip
    steps = np.repeat(np.diff(coarse.t) / parts, parts)
    end = np.asarray(collocation.integrate(pair.velocity, jacobian, start, steps), np.float64)
    passed, largest = np.eye(start.size), 1.0
    for index in range(len(coarse.t) - 2, -1, -1):
        middle = 0.5 * (coarse.y[:, index] + coarse.y[:, index + 1])
        passed = passed @ scipy.linalg.expm((coarse.t[index + 1] - coarse.t[index]) * jacobian(middle))
        largest = max(largest, float(np.linalg.norm(passed, 2)))
    return end, largest, float(np.max(np.linalg.norm(coarse.y, axis=0)))


@eqx.filter_jit
def _compiled_hessian(problem, params):
    return problem.hessian(params)


def _hessian(problem, params):
    import jax

    with jax.enable_x64(True):
        return _compiled_hessian(problem, params)


def _flat(params, row=None) -> np.ndarray:
    leaves = params if isinstance(params, tuple) else (params,)
    return np.concatenate([np.ravel(leaf if row is None else leaf[row]) for leaf in leaves])


def _like(params, flat):
    if not isinstance(params, tuple):
        return flat
    ends = np.cumsum([leaf.size for leaf in params])
    parts = np.split(flat, ends[:-1])
    return tuple(part.reshape(leaf.shape) for part, leaf in zip(parts, params, strict=True))


def _with(finding: Finding, **changes) -> Finding:
    return Finding(**{**asdict(finding), **changes})


def _ring(*_):
    raise TooLong


def main() -> None:
    """Examines the pairs, prints every violation, and writes all findings as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first pair")
    parser.add_argument("--raw", type=Path, help="where to write all findings")
    asked = parser.parse_args()
    findings = []
    for number in range(asked.first, asked.first + asked.count):
        finding = examine(number)
        findings.append(finding)
        if finding.verdict != "right":
            print(_line(finding), flush=True)
        if asked.raw:
            asked.raw.write_text(json.dumps([asdict(one) for one in findings], indent=1))
    counts = {verdict: sum(one.verdict == verdict for one in findings) for verdict in ("right", "says so", "wrong")}
    ratios = [one.ratio for one in findings if one.ratio is not None]
    print(f"{len(findings)} pairs: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
          + f"; error over tolerance and amplification: median {np.median(ratios):.2g}, largest {max(ratios):.2g}; "
          f"{sum(one.seconds for one in findings):.0f} s")  # fmt: skip
    sys.exit(int(counts["wrong"] > 0))


def _line(one: Finding) -> str:
    ratio = "" if one.ratio is None else (
        f", error {one.error:.1e} = {one.ratio:.3g} x tolerance x amplification {one.amplification:.3g}"
    )  # fmt: skip
    at = math.floor(math.log10(one.t1))
    return (f"{one.verdict} #{one.number}: {one.words}; t1 {one.t1:.4g} (1e{at}), rtol {one.rtol:.1e}: {one.status}"
            f"{ratio}; {one.steps} steps, {one.solver}, {one.seconds:.1f} s")  # fmt: skip


if __name__ == "__main__":
    main()
