"""Processes pinned to a core that build and time methods for the benchmark.

One process a system keeps compiled programs between rounds, so that rounds can interleave the methods; pinning comes
before any numerical library is imported, so their thread pools obey it.
"""

import multiprocessing
import os
import time
from dataclasses import dataclass
from typing import Any

CONTEXT = multiprocessing.get_context("spawn")
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Failure(Exception):
    """A method that could not be built or run; the message is what the table shows."""


@dataclass(frozen=True)
class Lap:
    """Mean wall and CPU seconds of runs repeated for `shortest` seconds, and the last one's outcome."""

    wall: float
    cpu: float
    repetitions: int
    outcome: Any


class Worker:
    """A process pinned to `core`; `counting` makes gradflow's problems count their evaluations, and slow."""

    def __init__(self, core: int, counting: bool = False):
        os.environ.update(THREADS)
        self.pipe, other = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_serve, args=(other, core, counting), daemon=True)
        self.process.start()
        self.is_alive = True
        self.ask("wake", timeout=120.0)

    def ask(self, duty: str, *arguments: Any, timeout: float) -> Any:
        """The answer to a request: "run" with method, problem, rtol, shortest; or "count" with the first three.

        Raises:
            Failure: the request failed, or took longer than `timeout` seconds, which ends the process.
        """
        try:
            self.pipe.send((duty, arguments))
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

    def stop(self) -> None:
        """Ends the process."""
        self.is_alive = False
        self.process.kill()
        self.process.join()


def _serve(pipe: Any, core: int, counting: bool) -> None:
    """The process: answers requests until the other end is closed."""
    os.sched_setaffinity(0, {core})
    os.environ.update(THREADS)
    import peers

    if counting:
        import counting as counters

        counters.install()
    duties, built = {"wake": lambda _: None, "prepare": _prepare, "warm": _warm, "run": _run, "count": _count}, {}
    while True:
        try:
            duty, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, duties[duty](built, *arguments)
        except peers.Unavailable as error:
            answer = False, f"not run: {error}"
        except Exception as error:  # whatever a method may raise is a row of the table, not the end of the benchmark
            answer = False, f"failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        pipe.send(answer)


def _prepare(built: dict, name: str, problem_name: str, rtol: float) -> None:
    """Builds a method and runs a little of the way, which compiles most of it."""
    import peers
    import problems

    problem = problems.get(problem_name)
    built[name, problem_name, rtol] = run = peers.methods()[name].build(problem, rtol)
    run(1e-6 * problem.t1)


def _warm(built: dict, name: str, problem_name: str, rtol: float) -> Lap:
    """One run from the first step to the last, which compiles what is still missing."""
    return _run(built, name, problem_name, rtol, 0.0)


def _run(built: dict, name: str, problem_name: str, rtol: float, shortest: float) -> Lap:
    """Times a method; the caller prepares it first."""
    import problems

    run, t1 = built[name, problem_name, rtol], problems.get(problem_name).t1
    begun, processor, repetitions = time.perf_counter(), time.process_time(), 0
    while not repetitions or time.perf_counter() < begun + shortest:
        outcome = run(t1)
        repetitions += 1
    return Lap((time.perf_counter() - begun) / repetitions, (time.process_time() - processor) / repetitions,
               repetitions, outcome)  # fmt: skip


def _count(_: dict, name: str, problem_name: str, rtol: float) -> dict[str, int]:
    """Evaluations of one run of a method of gradflow's or diffrax's, in a process that counts."""
    import counting as counters
    import peers
    import problems

    problem = problems.get(problem_name)
    run = peers.methods()[name].build(problem, rtol)
    counters.reset()
    run(problem.t1)
    return counters.read()
