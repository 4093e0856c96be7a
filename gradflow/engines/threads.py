"""Chunks in threads of this process: one compilation for all, nothing to start, and XLA computes without Python's lock.

The threads are daemons: whoever wants to leave at once is not held back by a chunk that is being computed.
"""

import dataclasses
import queue
import threading
from collections.abc import Iterable, Iterator

from gradflow import checks
from gradflow.engines.engine import AbstractEngine, Arrays, ChunkFailure, Job, Window, attempt, failure_of, num_cores

SPAN = 16
"""Chunks per worker by which the newest may be ahead of the oldest unfinished one."""


@dataclasses.dataclass(frozen=True)
class Threads(AbstractEngine):
    """`num_workers` threads, by default one for each core.

    A job that computes in Python holds Python's lock and gains nothing; a job in JAX or NumPy does. Use
    :class:`gradflow.engines.Dask` for processes.
    """

    num_workers: int | None = None

    def __post_init__(self) -> None:
        if self.num_workers is not None:
            checks.integer("num_workers", self.num_workers)

    def results(self, job: Job, indices: Iterable[int]) -> Iterator[tuple[int, Arrays | ChunkFailure]]:
        """See :meth:`gradflow.engines.AbstractEngine.results`."""
        num_workers = self.num_workers or num_cores()
        window = Window(indices, 2 * num_workers, SPAN * num_workers)
        pool = _Pool(job, num_workers)
        try:
            while True:
                while (index := window.take()) is not None:
                    pool.todo.put(index)
                if window.is_empty:
                    break
                index, result = pool.done.get()
                window.finish(index)
                if isinstance(result, checks.InputError):
                    raise result
                yield index, result
        finally:
            pool.leave()


class _Pool:
    """Threads between two queues."""

    def __init__(self, job: Job, num_workers: int):
        self.job = job
        self.todo: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[tuple[int, Arrays | ChunkFailure | checks.InputError]] = queue.SimpleQueue()
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(num_workers)]
        for thread in self.threads:
            thread.start()

    def leave(self) -> None:
        """Lets each thread end after the chunk that it computes now, and waits for none of them."""
        self.is_over.set()
        for _ in self.threads:
            self.todo.put(None)

    def _work(self) -> None:
        while (index := self.todo.get()) is not None and not self.is_over.is_set():
            result: Arrays | ChunkFailure | checks.InputError
            try:
                result = attempt(self.job, index)
            except checks.InputError as error:
                result = error
            except BaseException as error:  # a thread that died in silence would leave its caller waiting
                result = failure_of(index, error)
            self.done.put((index, result))
