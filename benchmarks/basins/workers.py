"""Processes pinned to a core that build and time methods for the benchmark.

One process a system keeps compiled programs between rounds, so that rounds can interleave the methods; pinning comes
before any numerical library is imported, so their thread pools obey it.
"""

import multiprocessing
import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import peers
import problems
from reference import COUNT

SHORTEST = 0.2
CONTEXT = multiprocessing.get_context("spawn")
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Failure(Exception):
    """A method that could not be built or run; the message is what the table shows."""


@dataclass(frozen=True)
class Lap:
    """CPU seconds of one run, and when it began and ended on the machine's monotonic clock.

    Short runs are repeated for SHORTEST seconds; `seconds` is then their mean.
    """

    seconds: float
    repetitions: int
    begun: float
    ended: float


class Worker:
    """A process pinned to `core`; `ask` is `tell` and `hear` in one."""

    def __init__(self, core: int):
        os.environ.update(THREADS)
        self.pipe, other = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_serve, args=(other, core), daemon=True)
        self.process.start()
        self.is_alive = True

    def tell(self, duty: str, *arguments: Any) -> None:
        """Sends a request: "prepare", "run" or "ends".

        Raises:
            Failure: the process is gone.
        """
        try:
            self.pipe.send((duty, arguments))
        except OSError as error:
            self.stop()
            raise Failure("the process died") from error

    def hear(self, timeout: float) -> Any:
        """The answer to the oldest request.

        Raises:
            Failure: the request failed, or took longer than `timeout` seconds, which ends the process.
        """
        try:
            if not self.pipe.poll(timeout):
                self.stop()
                raise Failure(f"more than {timeout:.0f} s")
            is_good, value = self.pipe.recv()
        except (EOFError, OSError) as error:
            self.stop()
            raise Failure("the process died") from error
        if not is_good:
            raise Failure(value)
        return value

    def ask(self, duty: str, *arguments: Any, timeout: float) -> Any:
        """Sends a request and waits for its answer."""
        self.tell(duty, *arguments)
        return self.hear(timeout)

    def stop(self) -> None:
        """Ends the process."""
        self.is_alive = False
        self.process.kill()
        self.process.join()


def _serve(pipe: Any, core: int) -> None:
    """The process: answers requests until the other end is closed."""
    os.sched_setaffinity(0, {core})
    duties, table = {"prepare": _prepare, "run": _run, "ends": _ends}, _Table()
    while True:
        try:
            duty, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, duties[duty](table, *arguments)
        except peers.Unavailable as error:
            answer = False, f"not available: {error}"
        except Exception as error:  # whatever a peer may raise is a row of the table, not the end of the benchmark
            answer = False, f"failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        pipe.send(answer)


class _Table(dict):
    """Built programs and last outcomes by (method, problem, rtol), of one problem and tolerance at a time."""


def _prepare(table: _Table, key: tuple, count: int, part: tuple[int, int], times: np.ndarray | None) -> None:
    """Builds method `key` for the slice `part` of the first `count` starts, unless that is what the table holds."""
    name, problem_name, rtol = key
    if any(other[1:] != key[1:] for other in table):
        table.clear()
    if key in table and table[key]["asked"] == (count, part):
        return
    problem = problems.get(problem_name)
    rows = slice(*part)
    starts = np.ascontiguousarray(problem.starts(count)[rows])
    run = peers.methods()[name].build(problem, rtol, starts, None if times is None else times[rows])
    table[key] = {"run": run, "problem": problem, "asked": (count, part)}


def _run(table: _Table, key: tuple) -> Lap:
    entry = table[key]
    begun, processor, repetitions = time.monotonic(), time.process_time(), 0
    while not repetitions or time.monotonic() < begun + SHORTEST:
        entry["outcome"] = entry["run"]()
        repetitions += 1
    return Lap((time.process_time() - processor) / repetitions, repetitions, begun, time.monotonic())


def _ends(table: _Table, key: tuple) -> dict:
    """What the last run reached: share that meets the stop test, and the ends that have a reference."""
    entry = table[key]
    outcome, problem = entry["outcome"], entry["problem"]
    norms = np.concatenate(
        [np.linalg.norm(problem.velocity_rows(rows), axis=1) for rows in np.array_split(outcome.ends, 16) if len(rows)]
    )
    return {
        "met": float(np.mean(norms < problem.grad_tol * (1 + 1e-6))),
        "finite": float(np.mean(np.isfinite(norms))),
        "ends": np.asarray(outcome.ends[:COUNT]),
        "times": np.asarray(outcome.times[:COUNT]),
        "all_times": np.asarray(outcome.times),
        "steps": outcome.steps,
    }
