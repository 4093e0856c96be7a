"""What a user sees while a command works: stages with their durations and notes, on standard error.

Standard output belongs to the results. Nothing here is coloured, and nothing fails when a stream is closed early or
cannot show a character.
"""

import contextlib
import os
import shutil
import signal
import sys
import textwrap
import threading
import time
import types
import warnings
from collections.abc import Callable, Collection, Iterator
from typing import Any, TextIO

from gradflow import checks

INDENT = "    "


def say(text: str = "", indent: str = "") -> None:
    """Tells the user on standard error; long lines are wrapped on a terminal and left alone elsewhere."""
    if sys.stderr.isatty():
        width = max(40, shutil.get_terminal_size().columns)
        text = textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent + "  ")
    else:
        text = indent + text
    with surviving(sys.stderr):
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def stage(title: str, included: str = "") -> Iterator[Callable[[str], None]]:
    """Says what begins, and when it is done what came of it (whatever was handed to the yielded function) and when.

    `included` says what the duration stands for, where the outcome speaks of another one.

    Durations come from a monotonic clock: a clock that is set back changes nothing.
    """
    say(f"{title} ...")
    begun = time.monotonic()
    outcome: list[str] = []
    yield outcome.append
    seconds = f"({' '.join([f'{time.monotonic() - begun:.1f} s', *([included] if included else [])])})"
    say(" ".join([*outcome, seconds]), INDENT)


def progress(text: str) -> None:
    """Shows what is being worked on in one line of a terminal, replaced by the next; nothing elsewhere."""
    if sys.stderr.isatty():
        width = max(40, shutil.get_terminal_size().columns) - 1
        with surviving(sys.stderr):
            print("\r" + textwrap.shorten(text, width).ljust(width) + "\r", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def notes() -> Iterator[None]:
    """Shows the library's warnings as notes, each once, whatever filters are set; other warnings go their usual way."""
    ours = (checks.DataWarning, checks.HypothesisWarning, checks.AccuracyWarning)
    seen: set[str] = set()
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
            if not issubclass(category, ours):
                usual(message, category, *args, **kwargs)
            elif str(message) not in seen:
                seen.add(str(message))
                say(f"note: {message}", INDENT)

        for kind in ours:
            warnings.simplefilter("always", kind)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def answering_interrupts(text: str, places: Collection[str]) -> Iterator[None]:
    """Says `text` as soon as Ctrl-C comes while a function named in `places` runs: those go on with what was reached.

    Only the first Ctrl-C is answered; each of them interrupts as it always does.
    """
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield
        return

    def answer(number: int, frame: types.FrameType | None) -> Any:
        signal.signal(signal.SIGINT, usual)
        callers = frame
        while callers is not None and callers.f_code.co_name not in places:
            callers = callers.f_back
        if callers is not None:
            with contextlib.suppress(RuntimeError):  # it came while something else was being printed
                say(("\n" if sys.stderr.isatty() else "") + text)
        return usual(number, frame)

    signal.signal(signal.SIGINT, answer)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Pays no heed to Ctrl-C: for the second in which results are saved. In other threads it changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def prepare_streams() -> None:
    """Makes sure that both output streams exist, and that no character they cannot show ends a run."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Opened for good: it takes the place of the descriptor that was closed, so no results file gets it.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def surviving(stream: TextIO) -> Iterator[None]:
    """Goes on in silence when the reader of `stream` has gone, as behind ``| head``."""
    try:
        yield
        stream.flush()
    except (BrokenPipeError, ConnectionResetError):
        with contextlib.suppress(OSError, ValueError):
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, stream.fileno())
            os.close(devnull)
