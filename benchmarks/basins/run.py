"""Ensembles of gradient-flow trajectories: gradflow beside everything that a user would otherwise pick, in one run.

Rates are trajectories per CPU-second of one pinned core (medians of interleaved rounds), and per second of wall time
on two. A method too slow for the asked number of starts gets fewer, and the table says how many. Every row tells its
accuracy, measured against trajectories of another solver at rtol 1e-12: compare rows of equal achieved accuracy.

Run: ``python benchmarks/basins/run.py``, with ``--quick`` for a first look. The peers are in ``requirements.txt``.
"""

import argparse
import json
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import peers
import problems
import reference
import report
from workers import Failure, Worker

DOCS = Path(__file__).resolve().parents[2] / "docs"
PATIENCE = 300.0
"""Seconds that building or a single run may take before the method is given up."""


@dataclass(frozen=True)
class Row:
    """One measurement; rates are trajectories per second, errors are against the reference at the same flow time."""

    problem: str
    rtol: float
    wanted: int
    method: str
    label: str
    count: int = 0
    rate: float | None = None
    rates: tuple[float, ...] = ()
    rate_of_two: float | None = None
    met: float | None = None
    steps: float | None = None
    point_errors: tuple[float, float] | None = None
    loss_errors: tuple[float, float] | None = None
    note: str = ""


class Bench:
    """The workers of a benchmark, one a system and core, started on first use."""

    def __init__(self, cores: list[int], budget: float, rounds: int):
        self.cores, self.budget, self.rounds = cores, budget, rounds
        self.workers: dict[tuple[str, int], Worker] = {}

    def worker(self, method: peers.Method, index: int = 0) -> Worker:
        """The living worker of a method on the core of that index."""
        key = method.name if method.needs_times else method.process, index
        if key not in self.workers or not self.workers[key].is_alive:
            self.workers[key] = Worker(self.cores[index])
        return self.workers[key]

    def prepare(self, method, key, count, times):
        """Builds the method for `count` starts on the first core."""
        self.worker(method).ask("prepare", key, count, (0, count), times, timeout=PATIENCE)

    def lap(self, method, key):
        """One timed run on the first core."""
        return self.worker(method).ask("run", key, timeout=PATIENCE)

    def affordable(self, method, key, wanted, times):
        """How many of `wanted` starts a run within the budget has, from the rate on a few."""
        budget = self.budget * method.patience
        count = min(wanted, 64 if method.batched else 2)
        while True:
            self.prepare(method, key, count, times)
            seconds = max(self.lap(method, key).seconds, 1e-6)
            if seconds * wanted / count <= budget:
                return wanted
            if seconds >= 0.05 * budget or count * 8 >= wanted:
                return min(wanted, 2 ** int(np.log2(max(count * budget / seconds, 2))))
            count *= 8

    def times(self, name, count):
        """Stop times of the first `count` runs, for methods without a stop test of their own."""
        for method in (peers.methods()["native"], peers.methods()["gradflow"]):
            if name not in method.problems:
                continue
            key = (method.name, name, 1e-8)
            try:
                self.prepare(method, key, count, None)
                self.lap(method, key)
                return self.worker(method).ask("ends", key, timeout=PATIENCE)["all_times"]
            except Failure:
                continue
        return None

    def of_two(self, method, key, count):
        """Trajectories per second of wall time with half of the starts on each of two cores; the median round."""
        if len(self.cores) < 2:
            return None
        pair, rates = [self.worker(method, index) for index in (0, 1)], []
        for worker, part in zip(pair, ((0, count // 2), (count // 2, count)), strict=True):
            worker.tell("prepare", key, count, part, None)
        for worker in pair:
            worker.hear(PATIENCE)
        for _ in range(self.rounds):
            for worker in pair:
                worker.tell("run", key)
            laps = [worker.hear(PATIENCE) for worker in pair]
            span = max(lap.ended for lap in laps) - min(lap.begun for lap in laps)
            rates.append(sum(count / 2 * lap.repetitions for lap in laps) / span)
        return statistics.median(rates)

    def close(self):
        """Ends every process."""
        for worker in self.workers.values():
            worker.stop()


def measure(bench, problem, exact, rtol, wanted, chosen):
    """Rows of all chosen methods on one problem, tolerance and number of starts; rounds interleave the methods."""
    times = bench.times(problem.name, wanted) if any(method.needs_times for method in chosen) else None
    counts, notes, laps, ends = {}, {}, {method.name: [] for method in chosen}, {}
    for method in chosen:
        key = (method.name, problem.name, rtol)
        try:
            if method.needs_times and times is None:
                raise Failure("not available: nothing told the end times")
            told = times if method.needs_times else None
            counts[method.name] = bench.affordable(method, key, wanted, told)
            print(f"    {method.label}: {counts[method.name]} starts a run", flush=True)
        except Failure as failure:
            notes[method.name] = str(failure)
            print(f"    {method.label}: {failure}", flush=True)
    for _ in range(bench.rounds):
        for method in chosen:
            if method.name not in counts or method.name in notes:
                continue
            key = (method.name, problem.name, rtol)
            try:
                told = times if method.needs_times else None
                bench.prepare(method, key, counts[method.name], told)
                laps[method.name].append(bench.lap(method, key).seconds)
                if method.name not in ends:
                    ends[method.name] = bench.worker(method).ask("ends", key, timeout=PATIENCE)
            except Failure as failure:
                notes[method.name] = str(failure)
    rows = []
    for method in chosen:
        row = Row(problem.name, rtol, wanted, method.name, method.label, note=notes.get(method.name, ""))
        if laps[method.name] and method.name in ends and not row.note:
            row = _filled(bench, row, method, exact, counts[method.name], laps[method.name], ends[method.name])
        rows.append(row)
        print(f"    {report.line(row)}", flush=True)
    return rows


def _filled(bench, row, method, exact, count, laps, ends):
    """`row` with its rates and errors."""
    rates = tuple(count / seconds for seconds in laps)
    points, losses = exact.errors(ends["ends"], ends["times"])
    quantiles = lambda errors: tuple(float(value) for value in np.quantile(errors, (0.5, 0.99)))  # noqa: E731
    of_two, note = None, row.note
    if method.measured_on_two:
        try:
            of_two = bench.of_two(method, (method.name, row.problem, row.rtol), count)
        except Failure as failure:
            note = f"on two cores: {failure}"
    return Row(
        row.problem, row.rtol, row.wanted, row.method, row.label, count, statistics.median(rates), rates, of_two,
        ends["met"], ends["steps"], quantiles(points), quantiles(losses), note,
    )  # fmt: skip


def merged(old, new):
    """The rows of both, the new ones instead of old ones of the same name, in the table's order."""
    name = lambda row: (row.problem, row.rtol, row.wanted, row.method)  # noqa: E731
    rows = {name(row): row for row in [*old, *new]}
    order = list(peers.methods())
    return sorted(rows.values(), key=lambda row: (*name(row)[:3], order.index(row.method)))


def parsed(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one size, one round, a second or two for each run")
    parser.add_argument("--problems", default="A,B,C,D", help="letters, with commas")
    parser.add_argument("--methods", default="", help="names, with commas (default: all)")
    parser.add_argument("--sizes", default="1024,16384", help="numbers of starts, with commas")
    parser.add_argument("--rtols", default="1e-6,1e-8", help="tolerances, with commas; atol is 1e-3 rtol")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds")
    parser.add_argument("--budget", type=float, default=3.0, help="CPU seconds that one run should take at most")
    parser.add_argument("--add", action="store_true", help="keep rows of earlier runs that this one leaves alone")
    parser.add_argument("--cores", default="0,1", help="the one or two cores to use")
    parser.add_argument("--out", type=Path, default=DOCS / "benchmarks_basins.md", help="the table to write")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Measures everything that was asked for; table, plot and raw numbers are written after every block."""
    asked = parsed(arguments)
    sizes = [1024] if asked.quick else [int(size) for size in asked.sizes.split(",")]
    known = peers.methods()
    names = asked.methods.split(",") if asked.methods else list(known)
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"unknown methods {unknown}; known: {', '.join(known)}")
    cores = [int(core) for core in asked.cores.split(",")]
    bench = Bench(cores, 1.0 if asked.quick else asked.budget, 1 if asked.quick else asked.rounds)
    raw = peers.cache_folder() / "basins.json"
    old = [Row(**row) for row in json.loads(raw.read_text())] if asked.add and raw.exists() else []
    rows: list[Row] = []
    try:
        for letter in asked.problems.split(","):
            problem = problems.get(letter)
            exact = reference.load(problem)
            chosen = [known[name] for name in names if letter in known[name].problems]
            for rtol in [float(text) for text in asked.rtols.split(",")]:
                for size in sizes:
                    print(f"{letter}, rtol {rtol:g}, N = {size}", flush=True)
                    small = {row.method for row in rows if (row.problem, row.rtol) == (letter, rtol)
                             and row.count < row.wanted}  # fmt: skip
                    todo = [method for method in chosen if method.name not in small]
                    rows += measure(bench, problem, exact, rtol, size, todo)
                    every = merged(old, rows)
                    report.write(asked.out, every, bench.rounds)
                    raw.write_text(json.dumps([asdict(row) for row in every], indent=1))
    finally:
        bench.close()
    print(f"written: {asked.out}")


if __name__ == "__main__":
    main()
