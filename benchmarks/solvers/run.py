"""Solvers on single gradient flows: work against achieved error, gradflow's own beside everything a user would pick.

Every method follows every problem to its horizon at rtol 1e-2 to 1e-10 (atol a hundredth of it). The error is that of
the end state against a reference of 13 digits; times are medians over rounds that interleave the methods, on one pinned
core, compiled and warm. Compare methods at equal achieved error.

Run: ``python benchmarks/solvers/run.py``, with ``--quick`` for a first look, ``--only A h`` for some problems,
``--methods auto cvode-exact`` for some methods, ``--add`` to keep what was measured before. See the README beside it.
"""

import argparse
import json
import os
import statistics
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import peers
import problems
import references
import report
from workers import Failure, Worker

DOCS = Path(__file__).resolve().parents[2] / "docs"
RTOLS = tuple(10.0**-k for k in range(2, 11))
QUICK = (1e-4, 1e-6, 1e-8)
COMPILING = 120.0
LATE_COMPILING = 10.0
"""Seconds that building and compiling may take before the first run, and in it."""


@dataclass(frozen=True)
class Row:
    """One method on one problem at one tolerance; seconds by round, the achieved error, what it took.

    `note` says why there is nothing, or that the method itself reported a failure.
    """

    problem: str
    method: str
    label: str
    is_own: bool
    rtol: float
    walls: tuple[float, ...] = ()
    cpus: tuple[float, ...] = ()
    error: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    note: str = ""
    remark: str = ""

    @property
    def cpu(self) -> float | None:
        """Median CPU seconds."""
        return statistics.median(self.cpus) if self.cpus else None

    @property
    def wall(self) -> float | None:
        """Median wall seconds."""
        return statistics.median(self.walls) if self.walls else None


class Bench:
    """The workers of a benchmark, one a system, started on first use."""

    def __init__(self, core: int, patience: float, shortest: float):
        self.core, self.patience, self.shortest = core, patience, shortest
        self.workers: dict[tuple[str, bool], Worker] = {}
        self.prepared: dict[tuple[str, str, float], Worker] = {}

    def worker(self, method: peers.Method, counting: bool = False) -> Worker:
        """The living worker of a method."""
        key = method.process, counting
        if key not in self.workers or not self.workers[key].is_alive:
            self.workers[key] = Worker(self.core, counting)
        return self.workers[key]

    def lap(self, method: peers.Method, problem: str, rtol: float):
        """One timed run; the first one of a worker is preceded by one that compiles, unless that takes long already."""
        key, worker = (method.name, problem, rtol), self.worker(method)
        if self.prepared.get(key) is not worker:
            worker.ask("prepare", *key, timeout=COMPILING)
            first = worker.ask("warm", *key, timeout=self.patience + LATE_COMPILING)
            self.prepared[key] = worker
            if first.wall > self.patience:
                raise Failure(f"more than {self.patience:.0f} s")
            if first.wall > 0.25 * self.patience and method.counts_itself:  # then nothing was compiled in it
                return first
        return worker.ask("run", *key, self.shortest, timeout=self.patience)

    def counts(self, method: peers.Method, problem: str, rtol: float) -> dict[str, int]:
        """Evaluations of one run; empty when counting takes longer than a run may."""
        try:
            return self.worker(method, True).ask("count", method.name, problem, rtol, timeout=self.patience + COMPILING)
        except Failure as failure:
            print(f"    counting {method.name}: {failure}", flush=True)
            return {}

    def close(self) -> None:
        """Ends every process."""
        for worker in self.workers.values():
            worker.stop()
        self.workers.clear()
        self.prepared.clear()


def measure(bench, problem, exact, methods, rtols, rounds, counts):
    """Rows of all methods and tolerances on one problem; a round runs every one of them once, `counts` also counts."""
    laps = {(method.name, rtol): [] for rtol in rtols for method in methods}
    notes = {}
    for number in range(rounds):
        for rtol in rtols:
            for method in methods:
                key = method.name, rtol
                if refusal := method.refusal(problem):
                    notes[key] = refusal
                if key in notes:
                    continue
                late = [
                    r for name, r in notes if name == method.name and r > rtol and notes[name, r].startswith("more")
                ]
                if late:
                    notes[key] = f"not tried: {notes[method.name, late[-1]]} at rtol {late[-1]:g}"
                    continue
                try:
                    laps[key].append(bench.lap(method, problem.name, rtol))
                except Failure as failure:
                    notes[key] = str(failure)
                if number == 0:
                    print(f"    {rtol:5.0e} {method.label:40} {_brief(problem, exact, laps[key], notes.get(key, ''))}",
                          flush=True)  # fmt: skip
    rows = []
    for (name, rtol), done in laps.items():
        method = next(method for method in methods if method.name == name)
        found = done[-1].outcome.counts if done else {}
        if done and counts and not method.counts_itself:
            found = {**found, **bench.counts(method, problem.name, rtol)}
        rows.append(_row(problem, exact, method, rtol, done, notes.get((name, rtol), ""), found))
    return rows


def _row(problem, exact, method, rtol, laps, note, counts):
    row = Row(problem.name, method.name, method.label, method.is_own, rtol, note=note)
    if not laps or note:
        return row
    outcome = laps[-1].outcome
    error = problems.error_of(problem, exact, outcome.end)
    return Row(
        row.problem, row.method, row.label, row.is_own, rtol, tuple(lap.wall for lap in laps),
        tuple(lap.cpu for lap in laps), error, counts, outcome.failure, outcome.remark,
    )  # fmt: skip


def _brief(problem, exact, laps, note):
    if note or not laps:
        return note
    lap = laps[-1]
    error = problems.error_of(problem, exact, lap.outcome.end)
    steps = lap.outcome.counts.get("steps", lap.outcome.counts.get("gradients", 0))
    return f"{1e3 * lap.cpu:10.2f} ms  error {error:.1e}  {steps} {lap.outcome.failure} {lap.outcome.remark}"


def counted(bench, rows, names, rtols):
    """`rows` of one problem with the evaluations of those `names` whose times were measured without counting them."""
    done = []
    for row in rows:
        method = peers.methods()[row.method]
        is_missing = row.cpus and not row.note and "gradients" not in row.counts and not method.counts_itself
        if not (is_missing and row.method in names and row.rtol in rtols):
            done.append(row)
            continue
        found = {**row.counts, **bench.counts(method, row.problem, row.rtol)}
        print(f"    {row.rtol:5.0e} {method.label:40} {found}", flush=True)
        done.append(replace(row, counts=found))
    return done


def merged(old, new):
    """The rows of both, the new ones instead of old ones of the same name, in the table's order."""
    name = lambda row: (row.problem, row.method, row.rtol)  # noqa: E731
    rows = {name(row): row for row in [*old, *new]}
    problem_order, method_order = list(problems.PROBLEMS), list(peers.methods())
    known = [row for row in rows.values() if row.problem in problem_order and row.method in method_order]
    return sorted(known, key=lambda row: (problem_order.index(row.problem), method_order.index(row.method), -row.rtol))


def machine():
    """Processor, cores, system and versions in a sentence."""
    return report.machine() + f" Load average when it began: {os.getloadavg()[0]:.1f}."


def parsed(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="three tolerances, one round, no counts")
    parser.add_argument("--only", nargs="+", default=list(problems.PROBLEMS), help="problems by name")
    parser.add_argument(
        "--methods", nargs="+", default=[], help="methods by name (default: all); own, peers for groups"
    )
    parser.add_argument("--rtols", nargs="+", type=float, help="relative tolerances (default: 1e-2 to 1e-10)")
    parser.add_argument("--uncounted", action="store_true", help="do not count evaluations inside compiled programs")
    parser.add_argument("--count", action="store_true", help="only count what was measured before without counting")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all methods; times are medians over them")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds a single run may take")
    parser.add_argument("--shortest", type=float, default=0.1, help="seconds for which a short run is repeated")
    parser.add_argument("--core", type=int, default=0, help="the core to pin to")
    parser.add_argument("--add", action="store_true", help="keep the rows that were measured before")
    parser.add_argument("--raw", type=Path, default=Path("benchmarks_solvers.json"), help="the raw measurements")
    parser.add_argument("--out", type=Path, help="the table to write, plots beside it (default: none with --quick)")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Measures everything that was asked for; raw numbers, table and plots are written after every problem."""
    asked = parsed(arguments)
    known = peers.methods()
    groups = {"own": [name for name in known if known[name].is_own]}
    groups["peers"] = [name for name in known if name not in groups["own"]]
    names = [name for given in asked.methods for name in groups.get(given, [given])] or list(known)
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"unknown methods {unknown}; known: {', '.join(known)}, own, peers")
    if unknown := [name for name in asked.only if name not in problems.PROBLEMS]:
        sys.exit(f"unknown problems {unknown}; known: {', '.join(problems.PROBLEMS)}")
    rtols = sorted(asked.rtols or (QUICK if asked.quick else RTOLS), reverse=True)
    rounds, out = (
        1 if asked.quick else asked.rounds,
        asked.out or (None if asked.quick else DOCS / "benchmarks_solvers.md"),
    )
    is_counted = not (asked.quick or asked.uncounted)
    is_kept = asked.count or (asked.add and asked.raw.exists())
    stored = json.loads(asked.raw.read_text()) if is_kept else {"rows": []}
    rows = [_read(row) for row in stored["rows"]]
    bench, words = Bench(asked.core, asked.patience, asked.shortest), machine()
    if asked.count:
        words, rounds = stored["machine"], stored["rounds"]
    methods = [known[name] for name in names]
    try:
        for name in asked.only:
            problem = problems.get(name)
            print(f"{name}: {problem.title}", flush=True)
            try:
                exact = references.end(problem)
            except LookupError as error:
                print(f"    not measured: {error}", flush=True)
                continue
            if asked.count:
                new = counted(bench, [row for row in rows if row.problem == name], names, rtols)
            else:
                new = measure(bench, problem, exact, methods, rtols, rounds, is_counted)
            bench.close()
            rows = merged(rows, new)
            asked.raw.write_text(json.dumps({"machine": words, "rounds": rounds, "rows": [asdict(row) for row in rows]},
                                            indent=1))  # fmt: skip
            if out is not None:
                report.write(out, rows, rounds, words)
    finally:
        bench.close()
    print(report.judgement(rows))


def _read(stored):
    return Row(**{**stored, "walls": tuple(stored["walls"]), "cpus": tuple(stored["cpus"])})


if __name__ == "__main__":
    main()
