"""Ctrl-C and SIGTERM as a wish that a run looks at, instead of an exception in the middle of it.

The first one is remembered; the second acts as if nobody had listened, so a user who wants to leave leaves. Knows
nothing of what is interrupted.
"""

import contextlib
import logging
import signal
import threading
import types
from collections.abc import Iterator

logger = logging.getLogger("gradflow.engines")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Which signal came, if any did."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether somebody wants the run to end."""
        return self.signal is not None


@contextlib.contextmanager
def listening() -> Iterator[Interruption]:
    """Remembers SIGINT and SIGTERM within the block, in the main thread; elsewhere Python hears no signal.

    A signal that the process was told to ignore stays ignored.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    usual = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number in SIGNALS if usual[number] not in (signal.SIG_IGN, None)]

    def restore() -> None:
        for number in heard:
            signal.signal(number, usual[number])

    def answer(number: int, _: types.FrameType | None) -> None:
        if interruption.signal is None:
            interruption.signal = signal.Signals(number)
            with contextlib.suppress(RuntimeError):  # it came while something else was being printed
                logger.warning("stopping after the chunks in hand; once more to leave at once")
        else:
            restore()
            signal.raise_signal(number)

    for number in heard:
        signal.signal(number, answer)
    try:
        yield interruption
    finally:
        restore()
