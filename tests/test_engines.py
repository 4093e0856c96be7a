"""Engines and runs: the same numbers from every engine, through failures, interruptions, kills and resumed runs."""

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from gradflow import checks
from gradflow.engines import (
    AbstractEngine,
    Ending,
    OutOfSpace,
    RunFolder,
    Serial,
    Threads,
    interruptions,
    meter,
    open_run,
    read_run,
    run_chunks,
)
from gradflow.engines.engine import Window

SETTINGS = {"seed": 1}


@dataclasses.dataclass(frozen=True)
class Draws:
    """Random numbers, the later chunks sooner done; `bad` raises, `slow` takes its time."""

    num_chunks: int = 12
    bad: tuple[int, ...] = ()
    seconds: float = 0.0
    error: type[BaseException] = ZeroDivisionError
    log: list = dataclasses.field(default_factory=list)

    def __call__(self, index):
        self.log.append(index)
        time.sleep(self.seconds * (1 + index % 3))
        if index in self.bad:
            raise self.error(f"chunk {index} is bad")
        return {"x": np.random.default_rng(index).normal(size=50), "index": np.array(index)}


class Sum:
    """A sum of floats, whose last digits depend on the order of its terms."""

    def __init__(self):
        self.total, self.indices = 0.1, []

    def __call__(self, index, arrays):
        assert int(arrays["index"]) == index
        self.total = (self.total + float(arrays["x"].sum())) * 1.1
        self.indices.append(index)
        return f"total {self.total:.3g}"


def run(job, engine=None, folder=None, fold=None, **options):
    fold = fold or Sum()
    outcome = run_chunks(job, engine or Serial(), on_part=fold, folder=folder, progress=False, **options)
    return outcome, fold


ENGINES = [Serial(), Threads(1), Threads(3)]
engines = pytest.mark.parametrize("engine", ENGINES, ids=repr)


# --- every engine -----------------------------------------------------------------------------------------------------


@engines
def test_every_engine_gives_the_same_sum_to_the_last_bit(engine):
    outcome, fold = run(Draws(seconds=0.001), engine)
    assert fold.indices == list(range(12)) and fold.total == run(Draws())[1].total
    assert outcome.ending is Ending.COMPLETE and outcome.is_complete and outcome.signal is None
    assert (outcome.num_found, outcome.num_computed, outcome.num_folded) == (0, 12, 12)


@engines
def test_a_chunk_that_raises_is_reported_and_the_others_go_on(engine):
    outcome, fold = run(Draws(bad=(0, 7)), engine)
    assert outcome.ending is Ending.COMPLETE and not outcome.is_complete
    assert [str(failure) for failure in outcome.failures] == [
        "chunk 0: ZeroDivisionError: chunk 0 is bad",
        "chunk 7: ZeroDivisionError: chunk 7 is bad",
    ]
    assert "raise self.error" in outcome.failures[0].traceback
    assert fold.indices == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert "10 of 12 chunks" in str(outcome) and "2 failed (chunk 0: Zero" in str(outcome)


@engines
def test_a_wrong_call_is_raised_at_once(engine):
    job = Draws(num_chunks=1000, bad=(3,), error=checks.InputError)
    with pytest.raises(checks.InputError, match="chunk 3 is bad"):
        run(job, engine)
    assert len(job.log) < 30


@engines
def test_a_job_that_wants_to_leave_the_process_only_fails(engine):
    outcome, _ = run(Draws(bad=(2,), error=SystemExit), engine)
    assert [failure.reason for failure in outcome.failures] == [
        "RuntimeError: the job wanted to leave the process, with the code chunk 2 is bad"
    ]


@engines
@pytest.mark.parametrize("wrong", [[1.0], {"x": np.array([None])}, {3: np.zeros(2)}, None], ids=repr)
def test_what_is_no_dictionary_of_arrays_is_a_wrong_call(engine, wrong):
    class Wrong:
        num_chunks = 3

        def __call__(self, index):
            return wrong

    with pytest.raises(checks.InputError, match=r"`job.*must (return a dictionary of arrays|hold no Python objects)"):
        run(Wrong(), engine)


@engines
def test_failures_without_end_end_the_run(engine):
    job = Draws(num_chunks=1000, bad=tuple(range(1000)))
    outcome, _ = run(job, engine, max_failures=5)
    assert outcome.ending is Ending.FAILING and 6 <= len(outcome.failures) < 30 and len(job.log) < 30


@engines
def test_a_run_that_has_enough_stops_after_the_same_chunk_whatever_the_engine(engine):
    fold = Sum()
    job = Draws(num_chunks=1000, bad=(0, 3), seconds=0.0005)
    outcome, _ = run(job, engine, fold=fold, is_enough=lambda: len(fold.indices) >= 5)
    assert outcome.ending is Ending.ENOUGH and outcome.num_folded == 5
    assert fold.indices == [1, 2, 4, 5, 6] and len(job.log) < 100


@engines
def test_numbers_are_taken_only_as_there_is_room(engine):
    """What keeps the memory of a run of a million chunks small."""
    ahead = []

    def indices():
        for index in range(200):
            ahead.append(index - len(seen))
            yield index

    seen = []
    for index, _ in engine.results(Draws(num_chunks=200), indices()):
        seen.append(index)
    assert sorted(seen) == list(range(200)) and max(ahead) <= 2 * 3


def test_a_window_holds_no_more_than_its_limit_and_span():
    window = Window(iter(range(10)), limit=3, span=4)
    assert [window.take() for _ in range(4)] == [0, 1, 2, None]
    window.finish(1)
    window.finish(2)
    assert [window.take() for _ in range(2)] == [3, None]
    window.finish(0)
    assert [window.take() for _ in range(3)] == [4, 5, None]
    for index in (3, 4, 5):
        window.finish(index)
    assert window.is_empty and [window.take() for _ in range(4)] == [6, 7, 8, None]


def test_threads_compute_at_the_same_time():
    barrier = threading.Barrier(2, timeout=10)

    class Meeting(Draws):
        def __call__(self, index):
            barrier.wait()
            return super().__call__(index)

    assert run(Meeting(num_chunks=4), Threads(2))[0].is_complete


def test_closed_threads_begin_nothing_more_and_end():
    job, before = Draws(seconds=0.03), threading.active_count()
    results = Threads(2).results(job, iter(range(12)))
    assert next(results)[0] == 0
    results.close()
    begun = time.monotonic()
    while threading.active_count() > before:
        assert time.monotonic() - begun < 10
        time.sleep(0.01)
    assert sorted(job.log) in ([0, 1], [0, 1, 2])  # 0 and 1 were computed, 3 was in the queue


def test_an_engine_that_loses_chunks_is_not_believed():
    class Forgetful(AbstractEngine):
        def results(self, job, indices):
            return iter([(index, job(index)) for index in indices if index != 4])

    with pytest.raises(RuntimeError, match="given 12 chunks and returned 11"):
        run(Draws(), Forgetful())


def test_counts_below_their_least_are_refused():
    for call in (lambda: Threads(0), lambda: run(Draws(num_chunks=0)), lambda: run(Draws(), max_failures=-1)):
        with pytest.raises(checks.InputError, match="must be at least"):
            call()


# --- with a folder ----------------------------------------------------------------------------------------------------


def contents(path):
    return {file.name: file.read_bytes() for file in sorted((path / "parts").iterdir())}


def test_a_resumed_run_computes_what_is_missing_and_gives_the_same_bytes(tmp_path):
    with open_run(tmp_path / "straight", SETTINGS) as folder:
        _, straight = run(Draws(), folder=folder)
    with open_run(tmp_path / "run", SETTINGS) as folder:
        fold = Sum()
        run(Draws(), Threads(2), folder, fold, is_enough=lambda: len(fold.indices) == 4)
        for index in (1, 3):
            folder.reader.part_path(index).unlink(missing_ok=True)
    with open_run(tmp_path / "run", SETTINGS) as folder:
        present = folder.reader.indices()
        job = Draws()
        outcome, resumed = run(job, Threads(2), folder)
    assert sorted(job.log) == sorted(set(range(12)) - set(present)) and outcome.num_found == len(present) >= 2
    assert resumed.total == straight.total and resumed.indices == list(range(12)) and outcome.is_complete
    assert contents(tmp_path / "run") == contents(tmp_path / "straight")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path, data: path.write_bytes(b""),
        lambda path, data: path.write_bytes(data[: len(data) // 2]),
        lambda path, data: path.write_bytes(data[:100] + bytes([data[100] ^ 4]) + data[101:]),
        lambda path, data: path.write_bytes(b"some other program's file" * 9),
        lambda path, data: path.write_bytes(path.with_name("part-000002.npz").read_bytes()),
    ],
    ids=["zero bytes", "truncated", "flipped bit", "foreign", "another chunk"],
)
def test_a_damaged_part_is_set_aside_reported_and_computed_again(tmp_path, damage):
    with open_run(tmp_path / "run", SETTINGS) as folder:
        _, first = run(Draws(), folder=folder)
        before = contents(folder.path)
        damage(folder.reader.part_path(5), before["part-000005.npz"])
        job = Draws()
        outcome, again = run(job, folder=folder)
        after = contents(folder.path)
    assert job.log == [5] and again.total == first.total and again.indices == list(range(12))
    assert [index for index, _ in outcome.set_aside] == [5] and "1 damaged parts" in str(outcome)
    assert after.pop("part-000005.npz.corrupt") != before["part-000005.npz"] and after == before


def test_failed_chunks_are_tried_again_by_the_next_run(tmp_path):
    with open_run(tmp_path / "run", SETTINGS) as folder:
        assert [failure.index for failure in run(Draws(bad=(4,)), folder=folder)[0].failures] == [4]
        outcome, fold = run(Draws(), folder=folder)
    assert outcome.num_computed == 1 and fold.total == run(Draws())[1].total


def test_parts_beyond_the_job_are_left_alone(tmp_path):
    with open_run(tmp_path / "run", SETTINGS) as folder:
        run(Draws(num_chunks=12), folder=folder)
        outcome, fold = run(Draws(num_chunks=5), folder=folder)
        assert fold.indices == list(range(5)) and outcome.num_found == 5 and len(folder.reader.indices()) == 12


@engines
def test_a_full_disk_ends_the_run_and_it_goes_on_from_there(tmp_path, monkeypatch, engine):
    def write(folder, index, arrays, real=RunFolder.write):
        if len(folder.reader.indices()) == 4:
            raise OutOfSpace(28, "no room")
        return real(folder, index, arrays)

    with open_run(tmp_path / "run", SETTINGS) as folder:
        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "write", write)
            with pytest.raises(OutOfSpace):
                run(Draws(num_chunks=100), engine, folder)
        outcome, fold = run(Draws(num_chunks=100), engine, folder)
    assert outcome.num_found == 4 and fold.total == run(Draws(num_chunks=100))[1].total


# --- interruptions ----------------------------------------------------------------------------------------------------


class Signalling(Draws):
    """Sends `signals` to this process while chunk 5 is computed."""

    signals = (signal.SIGINT,)

    def __call__(self, index):
        if index == 5:
            for number in self.signals:
                os.kill(os.getpid(), number)
                time.sleep(0.02)
        return super().__call__(index)


@engines
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_keeps_what_is_in_hand(tmp_path, engine, number, caplog):
    job = Signalling(num_chunks=500, seconds=0.002)
    object.__setattr__(job, "signals", (number,))
    usual = signal.getsignal(number)
    with open_run(tmp_path / "run", SETTINGS) as folder:
        outcome, fold = run(job, engine, folder)
        kept = folder.reader.indices()
    assert outcome.ending is Ending.INTERRUPTED and outcome.signal is number and signal.getsignal(number) is usual
    assert fold.indices == kept == sorted(job.log) and 5 in kept and len(kept) < 30
    assert "once more to leave at once" in caplog.text


def test_the_second_signal_acts_as_usual(tmp_path):
    job = Signalling(num_chunks=500)
    object.__setattr__(job, "signals", (signal.SIGINT, signal.SIGINT))
    with open_run(tmp_path / "run", SETTINGS) as folder, pytest.raises(KeyboardInterrupt):
        run(job, Serial(), folder)
    assert read_run(tmp_path / "run").indices() == [0, 1, 2, 3, 4]


def test_an_interrupted_run_hands_over_what_lies_behind_a_gap():
    class Leaping(AbstractEngine):
        def results(self, job, indices):
            given = [next(indices) for _ in range(5)]
            yield from ((index, job(index)) for index in given if index != 1)
            os.kill(os.getpid(), signal.SIGINT)

    outcome, fold = run(Draws(), Leaping())
    assert outcome.ending is Ending.INTERRUPTED and fold.indices == [0, 2, 3, 4] and outcome.num_folded == 4


def test_an_ignored_signal_stays_ignored_and_other_threads_hear_none():
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptions.listening() as heard:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            assert not heard.is_wanted and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, usual)
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(run(Draws())[0]))
    thread.start()
    thread.join()
    assert outcomes[0].is_complete


WRITER = """
import sys, time, numpy as np
from gradflow.engines import Threads, open_run, run_chunks

class Job:
    num_chunks = int(sys.argv[2])
    def __call__(self, index):
        time.sleep(0.004)
        return {"x": np.random.default_rng(index).normal(size=3000), "index": np.array(index)}

with open_run(sys.argv[1], {"seed": 1}) as folder:
    print("begun", flush=True)
    outcome = run_chunks(Job(), Threads(2), on_part=lambda *_: None, folder=folder, progress=False)
print(outcome, flush=True)
"""


def finished(path, num_chunks):
    """What an undisturbed writer says in the end."""
    command = [sys.executable, "-c", WRITER, path, str(num_chunks)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_killed_runs_lose_nothing_that_was_written_and_end_with_the_same_bytes(tmp_path):
    num_kills = int(os.environ.get("GRADFLOW_KILLS", "3"))
    num_chunks = 20 * num_kills
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(num_kills):
        command = [sys.executable, "-c", WRITER, tmp_path / "run", str(num_chunks)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout.readline() == "begun\n"
            enough = kept + rng.integers(1, 10)
            while len(read_run(tmp_path / "run").indices()) < enough:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.005))
            writer.kill()
            assert "complete" not in writer.stdout.read()
        kept, before = len(read_run(tmp_path / "run").indices()), kept
        assert kept > before
    assert f"complete after {num_chunks} of {num_chunks}" in finished(tmp_path / "straight", num_chunks)
    resumed = finished(tmp_path / "run", num_chunks)
    assert f"complete after {num_chunks} of {num_chunks} chunks ({kept} from before)\n" in resumed
    assert contents(tmp_path / "run") == contents(tmp_path / "straight")


# --- progress ---------------------------------------------------------------------------------------------------------


def test_away_from_a_terminal_progress_is_a_line_in_the_log_now_and_then(monkeypatch, caplog, capsys):
    monkeypatch.setattr(meter, "LOG_SECONDS", 0.0)
    with caplog.at_level(logging.INFO, "gradflow.engines"):
        run_chunks(Draws(num_chunks=4), Serial(), on_part=Sum(), unit=" starts", per_chunk=512)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4 and "50%" in lines[1] and "1024/2048" in lines[1] and "total" in lines[1]
    assert "starts/s" in lines[1] and capsys.readouterr().err == ""


def test_a_run_is_silent_if_asked_or_if_it_is_short(caplog, capsys):
    with caplog.at_level(logging.INFO, "gradflow.engines"):
        run_chunks(Draws(), Serial(), on_part=Sum())
        run_chunks(Draws(), Serial(), on_part=Sum(), progress=False)
    assert caplog.records == [] and capsys.readouterr() == ("", "")


def test_chunks_from_before_do_not_count_for_the_rate():
    line = meter.Meter(100, 90, False, " chunks", 1, "computing")
    line.begun -= 10.0
    line.done = 95
    assert "95/100" in line.line("") and "2.00s/ chunks" in line.line("")


def test_engines_are_imported_without_jax_dask_or_scipy():
    code = (
        "import sys; from gradflow.engines import Threads, open_run, run_chunks; "
        "print([name for name in ('jax', 'dask', 'distributed', 'scipy', 'xarray') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
