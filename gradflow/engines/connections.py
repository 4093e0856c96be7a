"""Dask clusters to talk to: processes of one's own, a client, and whether there is still somebody at the other end.

Knows nothing of jobs and chunks.
"""

import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dask
import distributed

from gradflow.engines import facts
from gradflow.engines.engine import num_cores
from gradflow.engines.errors import ClusterError

CLOSE_SECONDS = 10.0
"""Longest wait for the processes of a local cluster to end; then they are killed."""

ATTEMPTS = 3
"""How often all workers are addressed together, since one of them may die meanwhile."""


@contextlib.contextmanager
def local_cluster(
    num_workers: int | None, dashboard: str | None, environment: Mapping[str, str], limits: Mapping[str, Any]
) -> Iterator[Any]:
    """Processes that end with the block; the environment, which Dask changes for them to inherit, is restored."""
    double = facts.process_facts()["JAX_ENABLE_X64"]
    variables = {"NPROC": "1", "JAX_ENABLE_X64": double, **environment}
    settings = {
        **{f"distributed.scheduler.{name}": value for name, value in limits.items()},
        # One chunk at a worker at a time: the neighbours of a chunk that kills its worker are not suspected.
        "distributed.scheduler.worker-saturation": 1.0,
        # A process that is being restarted at the moment of this look would be given up for good.
        "distributed.deploy.lost-worker-timeout": "1000 days",
        **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in variables.items()},
    }
    with dask.config.set(settings):
        inherited = ["PYTHONHASHSEED", *dask.config.get("distributed.nanny.pre-spawn-environ")]
        usual = {name: os.environ.get(name) for name in inherited}
        try:
            cluster = _started(num_workers, dashboard)
            try:
                yield cluster
            finally:
                try:
                    cluster.close(timeout=CLOSE_SECONDS)
                except Exception:  # whatever is the matter, it must not hide why the run ended
                    kill(cluster)
        finally:
            for name, value in usual.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _started(num_workers: int | None, dashboard: str | None) -> Any:
    try:
        return distributed.LocalCluster(
            n_workers=num_workers or num_cores(),
            threads_per_worker=1,
            dashboard_address=dashboard,
            # Even without the page there is a server; at its usual port a second cluster would be warned of.
            scheduler_kwargs={} if dashboard else {"dashboard_address": "127.0.0.1:0"},
            silence_logs=logging.CRITICAL,
        )
    except (RuntimeError, OSError) as error:
        raise ClusterError(
            f"The processes of the local cluster could not be started ({error}). A script that starts processes does "
            'so under `if __name__ == "__main__":`, because each of them reads the script again.'
        ) from error


def connected(where: Any, timeout: float) -> Any:
    """A client of the scheduler at an address, or of a local cluster."""
    try:
        return distributed.Client(where, timeout=timeout / 2, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = str(error) or "no answer"
    gc.collect()  # the client that did not connect, for the reason told in `close`
    raise ClusterError(
        f"`address` must be that of a running scheduler, but none answers at {where} ({reason}). "
        "Start one with `dask scheduler`, and its workers with `dask worker ADDRESS`."
    )


def close(client: Any) -> None:
    """Ends a client, whether or not there is somebody to say goodbye to.

    A client that is still open when it is collected closes itself. If that happens while another event loop starts,
    both wait for Dask's one lock forever.
    """
    with contextlib.suppress(Exception):  # the other end may be gone
        if client.status == "running":
            client.unsubscribe_topic("all")
        client.close(timeout=2)
    client.status = "closed"


def kill(cluster: Any) -> None:
    """Ends the processes of a local cluster at once, for good."""
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
        with contextlib.suppress(OSError, TypeError):  # it is dead, or was never there
            os.kill(nanny.pid, signal.SIGKILL)


class Connection:
    """A client, and whether there is still somebody at the other end."""

    def __init__(self, client: Any, timeout: float):
        self.client, self.timeout = client, timeout
        self.num_threads = 0
        self.is_lost = False
        self.looked = self.alive = time.monotonic()
        client.subscribe_topic("all", self._hear)

    def _hear(self, event: tuple[float, Any]) -> None:
        """Workers that come and go between two looks are a sign of life too."""
        if isinstance(event[1], Mapping) and event[1].get("action") == "add-worker":
            self.alive = time.monotonic()

    def look(self) -> None:
        """Counts the workers' threads.

        Raises:
            ClusterError: the scheduler does not answer, or has had no workers for too long.
        """
        self.looked = time.monotonic()
        threads = self.ask(self.client.scheduler.ncores)
        self.num_threads = sum(threads.values())
        if self.num_threads:
            self.alive = time.monotonic()
        elif time.monotonic() - self.alive > self.timeout:
            self.lose(f"the scheduler has had no workers for {self.timeout:g} s")

    def await_workers(self) -> None:
        """Returns when there is a worker."""
        self.look()
        while not self.num_threads:
            time.sleep(min(0.1, self.timeout / 10))
            self.look()

    def ask(self, function: Any, **arguments: Any) -> Any:
        """The scheduler's answer."""
        if self.client.status != "running":
            self.lose("the connection to the scheduler is lost")
        try:
            return self.client.sync(function, callback_timeout=self.timeout, **arguments)
        except (OSError, AttributeError, RuntimeError) as error:
            self.lose(f"the scheduler does not answer ({type(error).__name__}: {error})")

    def lose(self, reason: str) -> Any:
        """Raises what says that the cluster is gone; nobody says goodbye to it then."""
        self.is_lost = True
        raise ClusterError(
            f"The cluster cannot be used: {reason}. Parts that were kept in a run folder are whole; start the same run "
            "again, and it goes on from there."
        )

    def require_same(self, ours: dict[str, str]) -> None:
        """Refuses workers of other versions or another precision, before any of them computes."""
        try:
            answers = self.repeated(lambda: self.client.run(facts.process_facts))
        except Exception as error:
            self.lose(
                f"a worker cannot run gradflow {ours['gradflow']} ({type(error).__name__}: {error}); install it there"
            )
        for worker, theirs in answers.items():
            self.refuse(worker, facts.differing(ours, theirs))

    def repeated(self, action: Callable[[], Any]) -> Any:
        """What `action` with all workers gives, tried again where one of them died meanwhile."""
        for _ in range(ATTEMPTS - 1):
            try:
                return action()
            except OSError:
                self.await_workers()
        return action()

    def refuse(self, worker: str, difference: str) -> None:
        """Raises if there is a difference."""
        if difference:
            self.lose(f"worker {worker} has other versions or another precision ({difference}); install the same ones")

    @contextlib.contextmanager
    def registered(self, plugin: Any) -> Iterator[str]:
        """The name under which the workers find the job."""
        try:
            self.repeated(lambda: self.client.register_plugin(plugin, name=plugin.name))
        except Exception as error:
            self.lose(f"its workers cannot load the job ({type(error).__name__}: {error})")
        try:
            yield plugin.name
        finally:
            if not self.is_lost and self.client.status == "running":
                with contextlib.suppress(Exception):  # the other end may be gone
                    self.client.unregister_worker_plugin(plugin.name)
