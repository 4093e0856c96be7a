"""Chunks on a Dask cluster: processes on this machine, or the workers of a scheduler that is running already.

The job travels once, as a plugin of the workers: a worker that is restarted or joins later gets it too, and compiles
once instead of for every chunk. A dead worker's chunks are computed by the others. A scheduler cannot be replaced, so
with it the run ends; what was kept until then is the business of the run folder.
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import queue
import signal
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gradflow import checks
from gradflow.engines import facts
from gradflow.engines.engine import (
    AbstractEngine,
    Arrays,
    ChunkFailure,
    Job,
    Window,
    computed,
    failure_of,
)

try:
    import cloudpickle  # type: ignore[import-untyped]
    import distributed
except ImportError as missing:
    raise ImportError("Dask needs the package `distributed`: pip install 'gradflow[dask]'") from missing

from gradflow.engines.connections import Connection, close, connected, kill, local_cluster

SPAN = 16
"""Chunks per thread of the workers by which the newest may be ahead of the oldest unfinished one."""

LOOK_SECONDS = 1.0
"""Between two looks at whether the scheduler and its workers are still there."""


@dataclasses.dataclass(frozen=True)
class Dask(AbstractEngine):
    """A local cluster of `num_workers` processes, by default one for each core, or the scheduler at `address`.

    Processes of the local cluster have one thread each, start with ``NPROC=1`` (XLA then keeps to one core) and end
    with the run. A script that uses them does so under ``if __name__ == "__main__":``, as with every start of processes
    in Python.

    Args:
        address: for instance ``tcp://10.0.0.5:8786``.
        timeout: seconds after which a scheduler that does not answer, or has no workers, is an error.
        allowed_failures: how many workers a chunk of the local cluster may take down before it counts as failed; a
            running scheduler has its own number.
        retries: how often a chunk that raised is tried again, since memory or disks may have failed it.
        dashboard: where the local cluster's page is served, for instance ``:8787``; by default nowhere.
        environment: further variables of the local processes, say ``JAX_COMPILATION_CACHE_DIR``.
    """

    address: str | None = None
    num_workers: int | None = None
    timeout: float = 60.0
    allowed_failures: int = 5
    retries: int = 3
    dashboard: str | None = None
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_workers is not None:
            checks.integer("num_workers", self.num_workers)
        is_single = self.address is None or self.num_workers is None
        checks.require(is_single, "num_workers", "be left out with an address", self.num_workers,
                       "A running scheduler has the workers that it has.")  # fmt: skip
        checks.real("timeout", self.timeout, above=0.0)
        checks.integer("allowed_failures", self.allowed_failures, at_least=0)
        checks.integer("retries", self.retries, at_least=0)

    def results(self, job: Job, indices: Iterable[int]) -> Iterator[tuple[int, Arrays | ChunkFailure]]:
        """See :meth:`gradflow.engines.AbstractEngine.results`."""
        packed = _packed(job)
        with self._client() as client:
            connection = Connection(client, self.timeout)
            connection.await_workers()
            ours = facts.process_facts()
            connection.require_same(ours)
            plugin = _JobPlugin(packed, ours, is_local=self.address is None)
            with (
                connection.registered(plugin) as name,
                contextlib.closing(_Batch(connection, name, self.retries)) as batch,
            ):
                window = Window(indices, 1, 1)
                while True:
                    window.limit, window.span = 2 * connection.num_threads + 1, SPAN * connection.num_threads + SPAN
                    while (index := window.take()) is not None:
                        batch.submit(index)
                    if window.is_empty:
                        return
                    index, result = batch.next()
                    window.finish(index)
                    yield index, result

    @contextlib.contextmanager
    def _client(self) -> Iterator[Any]:
        if self.address is not None:
            client = connected(self.address, self.timeout)
            try:
                yield client
            finally:
                close(client)
            return
        limits = {"allowed-failures": self.allowed_failures, "no-workers-timeout": f"{self.timeout:g}s"}
        with local_cluster(self.num_workers, self.dashboard, self.environment, limits) as cluster:
            client = connected(cluster, self.timeout)
            try:
                yield client
            except BaseException:
                kill(cluster)  # whoever stops in the middle does not wait for chunks that nobody will take
                raise
            finally:
                close(client)


def _packed(job: Job) -> bytes:
    try:
        return cloudpickle.dumps(job)
    except Exception as error:
        raise checks.InputError(
            f"`job` must be something that can be sent to other processes, but got {error}. Functions that hold locks, "
            "open files or connections cannot."
        ) from error


class _WorkersRefused(Exception):
    """Raised in a worker that does not have what the run needs."""


class _JobPlugin(distributed.WorkerPlugin):
    """The job, and what a worker must have in common with the process that sent it."""

    def __init__(self, packed: bytes, expected: dict[str, str], is_local: bool):
        self.packed, self.expected, self.is_local = packed, expected, is_local
        self.name = f"gradflow-{uuid.uuid4().hex}"
        self.job: Any = None
        self.difference = ""

    def setup(self, worker: Any) -> None:  # noqa: ARG002
        """Unpacks the job in a worker that has just come to know of it."""
        if self.is_local and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of the process that hands out
        self.difference = facts.differing(self.expected, facts.process_facts())
        if not self.difference:
            self.job = cloudpickle.loads(self.packed)


def _chunk(name: str, index: int) -> Arrays | ChunkFailure | checks.InputError:
    """Chunk `index`, computed in a worker; what is raised here is tried again, a wrong call is not."""
    plugin: Any = distributed.get_worker().plugins[name]
    if plugin.difference:
        raise _WorkersRefused(plugin.difference)
    try:
        return computed(plugin.job, index)
    except checks.InputError as error:
        return error


class _Batch:
    """The chunks that are at the cluster."""

    def __init__(self, connection: Connection, name: str, retries: int):
        self.connection, self.name, self.retries = connection, name, retries
        self.futures: dict[int, Any] = {}
        self.arrived: queue.SimpleQueue[int] = queue.SimpleQueue()

    def submit(self, index: int) -> None:
        """Hands out a chunk."""
        future = self.connection.client.submit(
            _chunk, self.name, index, key=f"{self.name}-{index}", retries=self.retries, pure=False
        )
        self.futures[index] = future
        future.add_done_callback(lambda _: self.arrived.put(index))

    def next(self) -> tuple[int, Arrays | ChunkFailure]:
        """The next chunk that is done; its future is released."""
        while True:
            if time.monotonic() - self.connection.looked > LOOK_SECONDS:
                self.connection.look()
            try:
                index = self.arrived.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            try:
                result = self._result(index, self.futures[index])
            except TimeoutError:  # it was lost with its worker on the way here, and is computed again
                self.arrived.put(index)
                continue
            self.futures.pop(index).release()
            return index, result

    def _result(self, index: int, future: Any) -> Arrays | ChunkFailure:
        try:
            error = future.exception(timeout=LOOK_SECONDS)
            result: Any = future.result(timeout=LOOK_SECONDS) if error is None else None
        except TimeoutError:
            raise
        except (asyncio.CancelledError, concurrent.futures.CancelledError, OSError) as lost:
            self.connection.lose(f"the scheduler or its memory of chunk {index} is gone ({type(lost).__name__})")
        if isinstance(result, checks.InputError):
            raise result
        return result if error is None else self._failure(index, error)

    def _failure(self, index: int, error: Any) -> ChunkFailure:
        # By name: two of these kinds are young.
        match type(error).__name__:
            case "_WorkersRefused":
                self.connection.refuse("that joined later", str(error))
            case "NoWorkerError" | "NoValidWorkerError":
                self.connection.lose("the scheduler has had no workers for too long")
            case "KilledWorker":
                times = error.allowed_failures + 1
                return ChunkFailure(index, f"KilledWorker: its worker died every time it was tried, {times} times")
        return failure_of(index, error)

    def close(self) -> None:
        """Takes back what was not finished."""
        if self.futures and not self.connection.is_lost and self.connection.client.status == "running":
            with contextlib.suppress(Exception):  # the other end may be gone
                self.connection.client.cancel(list(self.futures.values()), force=True)
        self.futures.clear()
