"""What a long run says while it works: its progress, chunks that fail, and which signal ended it."""

import contextlib
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gradflow.cli import console
from gradflow.engines import AbstractEngine, ChunkFailure


class Watched(AbstractEngine):
    """Another engine, with the chunks that failed."""

    def __init__(self, engine: AbstractEngine):
        self.engine = engine
        self.failures: list[ChunkFailure] = []

    def results(self, job: Any, indices: Iterable[int]) -> Iterator[Any]:
        """Those of the engine."""
        with contextlib.closing(self.engine.results(job, indices)) as results:  # type: ignore[type-var]
            for index, result in results:
                if isinstance(result, ChunkFailure):
                    self.failures.append(result)
                yield index, result


class _Said(logging.Handler):
    """What the engines log, on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Says one message."""
        if sys.stderr.isatty():
            console.say()  # not on the line of the bar
        console.say(record.getMessage(), console.INDENT)


@contextlib.contextmanager
def progress_said() -> Iterator[None]:
    """Lines of progress and warnings of the engines on standard error; a bar replaces the former on a terminal."""
    logger = logging.getLogger("gradflow.engines")
    handler, level, passes = _Said(), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = passes


@contextlib.contextmanager
def signals_heard() -> Iterator[Callable[[], bytes]]:
    """A function that tells which signals came, whoever handled them."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: b""
        return
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    usual = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def heard() -> bytes:
        try:
            return reader.recv(4096)
        except BlockingIOError:
            return b""

    try:
        yield heard
    finally:
        signal.set_wakeup_fd(usual)
        reader.close()
        writer.close()
