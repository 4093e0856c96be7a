"""Jobs, engines and what a chunk can come to.

An engine takes a job and the numbers of chunks, and yields what each chunk came to as it is done. It hands out only a
few chunks at a time, so memory does not grow with their number, and it takes the next number only when it has room, so
whoever supplies the numbers ends a run by supplying no more. An engine has one method; a new one passes the tests that
all engines pass. It knows no folder, and what a job computes is none of its business.
"""

import abc
import dataclasses
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from gradflow import checks

Arrays: TypeAlias = dict[str, np.ndarray]
"""What a chunk comes to, by name."""


@runtime_checkable
class Job(Protocol):
    """A computation in chunks: deterministic, so a chunk may be computed again, elsewhere."""

    @property
    def num_chunks(self) -> int:
        """How many chunks there are."""

    def __call__(self, index: int) -> Arrays:
        """The arrays of chunk `index`, from 0."""


@dataclasses.dataclass(frozen=True)
class ChunkFailure:
    """A chunk that could not be computed: why, in a line, and the traceback if there is one."""

    index: int
    reason: str
    traceback: str = ""

    def __str__(self) -> str:
        return f"chunk {self.index}: {self.reason}"


class AbstractEngine(abc.ABC):
    """Where chunks are computed."""

    @abc.abstractmethod
    def results(self, job: Job, indices: Iterable[int]) -> Iterator[tuple[int, Arrays | ChunkFailure]]:
        """The chunks `indices` and what each came to, in the order in which they are done.

        To be observed by every engine: the numbers are taken one by one and in the thread of the caller, at most a few
        ahead; after the last one what was begun is finished; a chunk that raises is a :class:`ChunkFailure`, and the
        others go on; closing the generator leaves nothing running that was not begun.

        Raises:
            InputError: raised by the job: a wrong call, which every other chunk would be too.
            ClusterError: the engine itself is lost.
        """


@dataclasses.dataclass(frozen=True)
class Serial(AbstractEngine):
    """One chunk after the other in the thread of the caller."""

    def results(self, job: Job, indices: Iterable[int]) -> Iterator[tuple[int, Arrays | ChunkFailure]]:
        """See :meth:`AbstractEngine.results`."""
        for index in indices:
            yield index, attempt(job, index)


def attempt(job: Job, index: int) -> Arrays | ChunkFailure:
    """What chunk `index` comes to; an InputError is raised, anything else that is raised becomes the reason."""
    try:
        return computed(job, index)
    except checks.InputError:
        raise
    except Exception as error:
        return failure_of(index, error)


def computed(job: Job, index: int) -> Arrays:
    """The arrays of chunk `index`, in NumPy.

    Raises:
        InputError: the job returned something else than a dictionary of arrays without Python objects.
    """
    try:
        result: Any = job(index)
    except SystemExit as error:  # it would end a worker, not the chunk
        raise RuntimeError(f"the job wanted to leave the process, with the code {error.code}") from error
    is_mapping = isinstance(result, Mapping) and all(isinstance(name, str) for name in result)
    remedy = "Every chunk is a dictionary from names to arrays of numbers, truth values or text."
    checks.require(
        is_mapping, "job", "return a dictionary of arrays", f"{type(result).__name__} {result!r:.80}", remedy
    )
    arrays = {name: np.asarray(value) for name, value in result.items()}
    for name, array in arrays.items():
        checks.require(not array.dtype.hasobject, f"job(...)[{name!r}]", "hold no Python objects", array.dtype, remedy)
    return arrays


def failure_of(index: int, error: BaseException) -> ChunkFailure:
    """The failure of chunk `index` because of `error`."""
    lines = traceback.format_exception(error)
    return ChunkFailure(index, f"{type(error).__name__}: {error}", "".join(lines))


def num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Window:
    """Which chunks are in hand: at most `limit`, none more than `span` places behind the oldest unfinished one.

    The span bounds what a caller who wants the chunks in order must keep while one of them takes long.
    """

    def __init__(self, indices: Iterable[int], limit: int, span: int):
        self.limit, self.span = limit, span
        self._indices = enumerate(indices)
        self._places: dict[int, int] = {}
        self._next = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in hand."""
        return not self._places

    def take(self) -> int | None:
        """One more chunk, now in hand; None if there is no room or no more."""
        oldest = next(iter(self._places.values()), self._next)
        if len(self._places) >= self.limit or self._next - oldest >= self.span:
            return None
        place, index = next(self._indices, (self._next, None))
        if index is not None:
            self._places[index] = place
            self._next = place + 1
        return index

    def finish(self, index: int) -> None:
        """Takes a chunk out of hand."""
        del self._places[index]
