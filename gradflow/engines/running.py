"""A job run to its end: parts that are there are taken, the others computed, kept as they come, added up in order.

Whatever the engine, the number of workers and the interruptions, the chunks are handed to the caller in ascending
order, each once; so sums of floats agree to the last bit, and a rule that stops early stops at the same chunk. Knows
jobs, engines and folders; no flow and no estimate.
"""

import dataclasses
import enum
import signal
import time
from collections.abc import Callable, Iterator

from gradflow import checks
from gradflow.engines.engine import AbstractEngine, Arrays, ChunkFailure, Job
from gradflow.engines.errors import CorruptPart
from gradflow.engines.folders import RunFolder
from gradflow.engines.interruptions import Interruption, listening
from gradflow.engines.meter import Meter


class Ending(enum.Enum):
    """Why a run ended; each value is its name in files."""

    COMPLETE = "complete"
    ENOUGH = "enough"
    INTERRUPTED = "interrupted"
    FAILING = "failing"

    def __str__(self) -> str:
        return self.value


@dataclasses.dataclass(frozen=True)
class RunOutcome:
    """What a run came to.

    ``num_found`` chunks lay in the folder already and ``num_computed`` were computed now; of both together
    ``num_folded`` were handed to the caller, fewer only if it had enough. ``failures`` could not be computed; they are
    tried again when the run is resumed. ``set_aside`` lists, with the reason, parts that were not whole and were
    computed again. ``signal`` is what interrupted the run. ``wall_seconds`` are of a monotonic clock.
    """

    ending: Ending
    num_chunks: int
    num_found: int
    num_computed: int
    num_folded: int
    failures: tuple[ChunkFailure, ...]
    set_aside: tuple[tuple[int, str], ...]
    signal: signal.Signals | None
    wall_seconds: float

    @property
    def is_complete(self) -> bool:
        """Whether every chunk was computed, now or before."""
        return self.num_found + self.num_computed == self.num_chunks

    def __str__(self) -> str:
        done = self.num_found + self.num_computed
        text = f"{self.ending} after {done} of {self.num_chunks} chunks ({self.num_found} from before)"
        if self.failures:
            text += f", {len(self.failures)} failed ({self.failures[0]})"
        return text + (f", {len(self.set_aside)} damaged parts computed again" if self.set_aside else "")


def run_chunks(
    job: Job,
    engine: AbstractEngine,
    *,
    on_part: Callable[[int, Arrays], str | None],
    folder: RunFolder | None = None,
    is_enough: Callable[[], bool] = lambda: False,
    max_failures: int = 20,
    progress: bool = True,
    unit: str = " chunks",
    per_chunk: int | float = 1,
) -> RunOutcome:
    """What the run came to, after every chunk of `job` was handed to `on_part`.

    The first SIGINT or SIGTERM ends the handing out: chunks in hand are finished and kept, and the outcome says
    ``interrupted``. The second acts as it does outside.

    Args:
        on_part: called with the number and the arrays of each chunk, in ascending order, in this thread; what it
            returns is shown with the progress. Chunks that failed are left out; after an interruption so are those
            that are missing.
        folder: where parts are kept and looked for; without one everything is computed, and kept by nobody.
        is_enough: asked after each call of `on_part`; True ends the run. Later chunks may have been computed; they are
            kept in the folder, and not handed over.
        max_failures: more of them end the run, since the next ones would hardly do better.
        progress: see :class:`gradflow.engines.meter.Meter`; `unit` and `per_chunk` are shown there.

    Raises:
        InputError: raised by the job.
        OutOfSpace: there was no room for a part; those before are whole.
        ClusterError: the engine was lost; the parts are kept.
    """
    checks.integer("max_failures", max_failures, at_least=0)
    num_chunks = checks.integer("job.num_chunks", job.num_chunks)
    begun = time.monotonic()
    with listening() as interruption:
        run = _Run(num_chunks, _InOrder(on_part, is_enough, folder), folder, interruption, max_failures)
        run.look(progress)
        with Meter(num_chunks, run.num_found, progress, unit, per_chunk, "computing") as meter:
            run.compute(job, engine, meter)
        run.fold.finish()
        return run.outcome(time.monotonic() - begun)


class _InOrder:
    """Hands chunks over in ascending order; those that came too early wait, on the disk if there is a folder."""

    def __init__(
        self, on_part: Callable[[int, Arrays], str | None], is_enough: Callable[[], bool], folder: RunFolder | None
    ):
        self.on_part, self.is_enough, self.folder = on_part, is_enough, folder
        self.next = 0
        self.waiting: dict[int, Arrays | None] = {}
        self.missing: set[int] = set()
        self.num_folded = 0
        self.has_enough = False
        self.text = ""

    def offer(self, index: int, arrays: Arrays) -> None:
        """Chunk `index` is there."""
        if index == self.next:
            self._hand_over(index, arrays)
            self._advance()
        else:
            self.waiting[index] = arrays if self.folder is None else None

    def give_up(self, index: int) -> None:
        """Chunk `index` will not come."""
        self.missing.add(index)
        self._advance()

    def finish(self) -> None:
        """Nothing more will come: what waits is handed over, gaps are passed."""
        for index in sorted(self.waiting):
            self.next = index
            self._advance()

    def _advance(self) -> None:
        while True:
            if self.next in self.missing:
                self.missing.remove(self.next)
                self.next += 1
            elif self.next in self.waiting and not self.has_enough:
                kept = self.waiting.pop(self.next)
                if kept is None:
                    assert self.folder is not None
                    kept = self.folder.reader.read(self.next)
                self._hand_over(self.next, kept)
            else:
                return

    def _hand_over(self, index: int, arrays: Arrays) -> None:
        self.next = index + 1
        if not self.has_enough:
            self.text = self.on_part(index, arrays) or ""
            self.num_folded += 1
            self.has_enough = self.is_enough()


class _Run:
    """The state of one run."""

    def __init__(
        self, num_chunks: int, fold: _InOrder, folder: RunFolder | None, interruption: Interruption, max_failures: int
    ):
        self.num_chunks, self.fold, self.folder, self.max_failures = num_chunks, fold, folder, max_failures
        self.interruption = interruption
        self.todo = list(range(num_chunks))
        self.num_found = self.num_computed = 0
        self.failures: list[ChunkFailure] = []
        self.set_aside: list[tuple[int, str]] = []

    @property
    def is_over(self) -> bool:
        """Whether no more chunks are to be handed out."""
        return self.interruption.is_wanted or self.fold.has_enough or len(self.failures) > self.max_failures

    def look(self, progress: bool) -> None:
        """Takes the parts that are there, verified, and sets aside what is not whole."""
        if self.folder is None:
            return
        found = [index for index in self.folder.reader.indices() if index < self.num_chunks]
        whole = set()
        with Meter(len(found), 0, progress, " parts", 1, "reading parts") as meter:
            for index in found:
                if self.is_over:
                    break
                try:
                    arrays = self.folder.reader.read(index)
                except CorruptPart as error:
                    self.folder.set_aside(index)
                    self.set_aside.append((index, str(error)))
                    continue
                whole.add(index)
                self.fold.offer(index, arrays)
                meter.update(self.fold.text)
        self.num_found = len(whole)
        self.todo = [index for index in self.todo if index not in whole]

    def compute(self, job: Job, engine: AbstractEngine, meter: Meter) -> None:
        """Computes what is missing and keeps each part as it arrives."""
        if not self.todo or self.is_over:
            return
        results = engine.results(job, self._handed_out())
        try:
            for index, result in results:
                if isinstance(result, ChunkFailure):
                    self.failures.append(result)
                    self.fold.give_up(index)
                else:
                    if self.folder is not None:
                        self.folder.write(index, result)
                    self.num_computed += 1
                    self.fold.offer(index, result)
                meter.update(self.fold.text)
        finally:
            close = getattr(results, "close", None)
            if close is not None:
                close()

    def _handed_out(self) -> Iterator[int]:
        for index in self.todo:
            if self.is_over:
                return
            yield index

    def outcome(self, seconds: float) -> RunOutcome:
        """The frozen result."""
        num_done = self.num_found + self.num_computed + len(self.failures)
        if self.fold.has_enough:
            ending = Ending.ENOUGH
        elif self.interruption.is_wanted and num_done < self.num_chunks:
            ending = Ending.INTERRUPTED
        elif len(self.failures) > self.max_failures:
            ending = Ending.FAILING
        else:
            ending = Ending.COMPLETE
            if num_done != self.num_chunks:
                raise RuntimeError(f"the engine was given {self.num_chunks} chunks and returned {num_done}")
        return RunOutcome(
            ending=ending,
            num_chunks=self.num_chunks,
            num_found=self.num_found,
            num_computed=self.num_computed,
            num_folded=self.fold.num_folded,
            failures=tuple(sorted(self.failures, key=lambda failure: failure.index)),
            set_aside=tuple(self.set_aside),
            signal=self.interruption.signal if ending is Ending.INTERRUPTED else None,
            wall_seconds=seconds,
        )
