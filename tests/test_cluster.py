"""The Dask engine: the same numbers as in one process, and what happens when workers, schedulers or versions fail."""

import contextlib
import dataclasses
import gc
import os
import signal
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest

from gradflow import checks
from gradflow.__about__ import __version__
from gradflow.engines import ClusterError, Ending, Serial, facts, open_run, run_chunks

distributed = pytest.importorskip("distributed", reason="needs the extra `dask`: pip install 'gradflow[dask]'")

import dask  # noqa: E402

from gradflow.engines import Dask, cluster  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Draws:
    """Random numbers; chunks of `fatal` kill their worker until they have done so `deaths` times."""

    place: Path
    num_chunks: int = 12
    fatal: tuple[int, ...] = ()
    deaths: int = 1
    bad: tuple[int, ...] = ()
    error: type[BaseException] = ZeroDivisionError
    seconds: float = 0.01

    def __call__(self, index):
        time.sleep(self.seconds)
        if index in self.fatal:
            graves = [self.place / f"{index}-{number}" for number in range(self.deaths)]
            for grave in graves:
                with contextlib.suppress(FileExistsError):
                    grave.touch(exist_ok=False)
                    os.kill(os.getpid(), signal.SIGKILL)
        if index in self.bad:
            raise self.error(f"chunk {index} is bad")
        return {"x": np.random.default_rng(index).normal(size=50), "where": np.array(os.getpid())}


class Sum:
    """A sum of floats, whose last digits depend on the order of its terms, and the processes they come from."""

    def __init__(self):
        self.total, self.processes = 0.1, set()

    def __call__(self, index, arrays):
        self.total = (self.total + float(arrays["x"].sum())) * 1.1
        self.processes.add(int(arrays["where"]))


def run(job, engine, folder=None):
    fold = Sum()
    return run_chunks(job, engine, on_part=fold, folder=folder, progress=False), fold


def open_clients():
    """Those that would close themselves when they are collected, which may be at a moment when Dask's lock is held."""
    return [thing for thing in gc.get_objects() if type(thing) is distributed.Client and thing.status != "closed"]


@pytest.fixture(scope="module")
def local():
    """Two processes that all tests share; a test that takes one down finds another in its place."""
    settings = {
        "distributed.scheduler.allowed-failures": 1,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.deploy.lost-worker-timeout": "1000 days",
    }
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as processes,
    ):
        yield processes


@pytest.fixture(scope="module")
def engine(local):
    return Dask(address=local.scheduler_address, timeout=20.0, retries=1)


def test_the_numbers_are_those_of_one_process_to_the_last_bit(tmp_path, engine):
    outcome, fold = run(Draws(tmp_path), engine)
    assert outcome.is_complete and fold.total == run(Draws(tmp_path), Serial())[1].total
    assert len(fold.processes) == 2 and os.getpid() not in fold.processes


def test_a_killed_worker_costs_nothing_but_time(tmp_path, engine):
    job = Draws(tmp_path, fatal=(3,))
    with open_run(tmp_path / "run", {"seed": 1}) as folder:
        outcome, fold = run(job, engine, folder)
        assert folder.reader.indices() == list(range(12))
    assert outcome.is_complete and outcome.failures == () and (tmp_path / "3-0").exists()
    assert fold.total == run(Draws(tmp_path), Serial())[1].total


def test_poisoned_chunks_are_reported_and_the_others_go_on(tmp_path, engine):
    outcome, _ = run(Draws(tmp_path, fatal=(2,), deaths=9, bad=(5,)), engine)
    assert [str(failure) for failure in outcome.failures] == [
        "chunk 2: KilledWorker: its worker died every time it was tried, 2 times",
        "chunk 5: ZeroDivisionError: chunk 5 is bad",
    ]
    assert outcome.ending is Ending.COMPLETE and outcome.num_computed == 10
    assert "chunk 5 is bad" in outcome.failures[1].traceback


def test_a_job_that_wants_to_leave_its_worker_only_fails(tmp_path, engine):
    outcome, _ = run(Draws(tmp_path, bad=(1,), error=SystemExit), engine)
    assert [failure.reason for failure in outcome.failures] == [
        "RuntimeError: the job wanted to leave the process, with the code chunk 1 is bad"
    ]


def test_a_wrong_call_is_raised_at_once(tmp_path, engine):
    with pytest.raises(checks.InputError, match="chunk 0 is bad"):
        run(Draws(tmp_path, num_chunks=10_000, bad=(0,), error=checks.InputError), engine)


def test_numbers_are_taken_only_as_there_is_room_and_results_are_released(tmp_path, engine, local):
    taken, seen = [], []

    def indices():
        for index in range(40):
            taken.append(index - len(seen))
            yield index

    for index, _ in engine.results(Draws(tmp_path, seconds=0.0), indices()):
        seen.append(index)
        assert len(local.scheduler.tasks) <= 5
    assert sorted(seen) == list(range(40)) and max(taken) <= 2 * 2 + 1


def test_a_job_is_unpacked_once_by_each_worker_and_not_for_every_chunk(tmp_path, engine):
    class Counting(Draws):
        def __setstate__(self, state):
            self.__dict__.update(state)
            (self.place / f"unpacked-{os.getpid()}-{time.monotonic_ns()}").touch()

    assert run(Counting(tmp_path), engine)[0].is_complete
    assert 1 <= len(list(tmp_path.glob("unpacked-*"))) <= 2


def test_an_interrupted_run_is_resumed_with_the_same_numbers(tmp_path, engine):
    job = Draws(tmp_path, num_chunks=40, seconds=0.02)
    with open_run(tmp_path / "run", {"seed": 1}) as folder:

        def interrupt():
            while len(folder.reader.indices()) < 5:
                time.sleep(0.005)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        outcome, _ = run(job, engine, folder)
        assert outcome.ending is Ending.INTERRUPTED and 5 <= outcome.num_computed < 40
        resumed, fold = run(job, engine, folder)
    assert resumed.is_complete and resumed.num_found == outcome.num_computed
    assert fold.total == run(job, Serial())[1].total


def test_workers_of_another_version_are_refused_before_they_compute(tmp_path, engine, monkeypatch):
    monkeypatch.setattr(facts, "__version__", "9.9")
    with pytest.raises(
        ClusterError, match=rf"worker tcp://\S+ has .*gradflow 9\.9 here and {__version__} there\); install the same"
    ):
        run(Draws(tmp_path, fatal=(0,)), engine)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_of_another_precision_that_joins_later_is_refused_too(tmp_path, engine, monkeypatch):
    monkeypatch.setattr(cluster.Connection, "require_same", lambda *_: None)  # all was well when the run began
    monkeypatch.setattr(facts, "_is_double", lambda: True)
    with pytest.raises(ClusterError, match=r"joined later has .* \(JAX_ENABLE_X64 1 here and 0 there\)"):
        run(Draws(tmp_path, fatal=(0,)), engine)
    assert list(tmp_path.iterdir()) == []


def test_workers_without_this_gradflow_are_refused(tmp_path, engine, monkeypatch):
    def unknown(*_):
        raise ModuleNotFoundError("No module named 'gradflow'")

    monkeypatch.setattr(distributed.Client, "run", unknown)
    with pytest.raises(ClusterError, match=rf"cannot run gradflow {__version__} \(ModuleNotFoundError: No module"):
        run(Draws(tmp_path), engine)


def test_the_precision_is_that_of_the_process_and_not_of_the_present_thread(monkeypatch):
    config = threading.local()  # as JAX keeps what `with jax.enable_x64(True)` sets
    type_of = type("Config", (), {"jax_enable_x64": property(lambda _: getattr(config, "scope", False))})
    config.scope = True
    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(config=type_of()))
    assert facts.process_facts()["JAX_ENABLE_X64"] == "0"
    monkeypatch.delitem(sys.modules, "jax")
    for text, expected in (("1", "1"), ("True", "1"), ("0", "0")):
        monkeypatch.setenv("JAX_ENABLE_X64", text)
        assert facts.process_facts()["JAX_ENABLE_X64"] == expected


def test_what_cannot_be_sent_is_a_wrong_call(tmp_path, engine):
    @dataclasses.dataclass(frozen=True)
    class Holding(Draws):
        lock: object = dataclasses.field(default_factory=threading.Lock)

    with pytest.raises(checks.InputError, match="`job` must be something that can be sent"):
        run(Holding(tmp_path), engine)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "carrier pigeon", "tcp://nowhere.invalid:8786"])
def test_a_wrong_address_is_said_to_be_one(tmp_path, address):
    begun = time.monotonic()
    with pytest.raises(ClusterError, match="`address` must be that of a running scheduler"):
        run(Draws(tmp_path), Dask(address=address, timeout=0.6))
    assert open_clients() == []
    assert time.monotonic() - begun < 20


def test_settings_out_of_range_are_refused():
    for wrong in ({"num_workers": 0}, {"timeout": 0.0}, {"retries": -1}, {"address": "tcp://a:1", "num_workers": 2}):
        with pytest.raises(checks.InputError, match="must be"):
            Dask(**wrong)


# --- clusters of one's own --------------------------------------------------------------------------------------------


def stop_workers(processes):
    processes.scale(0)


def stop_scheduler(processes):
    processes.sync(processes.scheduler.close)


@pytest.mark.parametrize("harm", [stop_workers, stop_scheduler])
def test_a_cluster_that_is_gone_is_an_error_and_the_parts_are_kept(tmp_path, harm):
    def watch():
        while len(folder.reader.indices()) < 3:
            time.sleep(0.005)
        harm(threads)

    options = {"processes": False, "protocol": "tcp", "dashboard_address": "127.0.0.1:0", "silence_logs": 50}
    with (
        open_run(tmp_path / "run", {"seed": 1}) as folder,
        dask.config.set({"distributed.comm.timeouts.connect": "500ms"}),  # so that it ends soon without a scheduler
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, **options) as threads,
    ):
        threading.Thread(target=watch, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(ClusterError, match="Parts that were kept in a run folder are whole"):
            run(Draws(tmp_path, num_chunks=1000), Dask(address=threads.scheduler_address, timeout=1.0), folder)
        assert time.monotonic() - begun < 10
        kept = folder.reader.indices()
        assert open_clients() == []
        assert 3 <= len(kept) < 1000 and [index for index, _ in folder.reader.stream()] == kept


def test_a_local_cluster_keeps_each_process_to_one_core_and_leaves_nothing_behind(monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # Dask changes it, for the processes to inherit

    @dataclasses.dataclass(frozen=True)
    class Environment:
        num_chunks: int = 2

        def __call__(self, index):
            names = ("NPROC", "OMP_NUM_THREADS", "JAX_ENABLE_X64", "EXTRA")
            is_deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            return {
                "text": np.array([os.environ.get(name, "") for name in names]),
                "pid": np.array([os.getpid(), is_deaf]),
            }

    seen = []
    usual = dask.config.get("distributed.scheduler.allowed-failures")
    engine = Dask(num_workers=1, environment={"EXTRA": "yes"})
    run_chunks(Environment(), engine, on_part=lambda _, arrays: seen.append(arrays), progress=False)
    assert seen[0]["text"].tolist() == ["1", "1", "0", "yes"] and seen[0]["pid"][1] == 1
    assert dask.config.get("distributed.scheduler.allowed-failures") == usual
    assert "NPROC" not in os.environ and os.environ["PYTHONHASHSEED"] == "0"
    with pytest.raises(ProcessLookupError):
        os.kill(int(seen[0]["pid"][0]), 0)


def test_a_script_that_forgets_to_guard_its_start_is_told_so(monkeypatch):
    def fails(**_):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(distributed, "LocalCluster", fails)
    with pytest.raises(ClusterError, match=r"Nanny failed to start\..*under `if __name__ == \"__main__\":`"):
        next(Dask(num_workers=1).results(Draws(Path()), iter(range(3))))
