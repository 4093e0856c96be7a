"""How far a run is: a bar on a terminal, a line in the log now and then elsewhere, nothing if not wanted."""

import logging
import time
from types import TracebackType

from tqdm import tqdm

logger = logging.getLogger("gradflow.engines")

LOG_SECONDS = 30.0
"""Between two lines in the log."""


class Meter:
    """Counts chunks up to `total`, of which `initial` were there before and do not count for the rate.

    Args:
        is_shown: False is silent. True is a bar where standard error is a terminal, and elsewhere a line at level INFO
            to the logger ``gradflow.engines`` every :data:`LOG_SECONDS`.
        unit: what a chunk consists of, with a leading space.
        per_chunk: how many of these.
    """

    def __init__(self, total: int, initial: int, is_shown: bool, unit: str, per_chunk: int | float, title: str):
        self.total, self.initial, self.done = total, initial, initial
        self.unit, self.per_chunk, self.title = unit, per_chunk, title
        self.is_shown = is_shown
        self.begun = self.logged = time.monotonic()
        self.bar = tqdm(
            total=total,
            initial=initial,
            disable=None if is_shown else True,
            delay=2,
            unit=unit,
            unit_scale=per_chunk if per_chunk != 1 else False,
            leave=False,
            desc=title,
        )

    def __enter__(self) -> "Meter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()

    def update(self, text: str) -> None:
        """One more chunk; `text` says what was found so far."""
        self.done += 1
        if not self.bar.disable:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()
        elif self.is_shown and time.monotonic() - self.logged >= LOG_SECONDS:
            self.logged = time.monotonic()
            logger.info(self.line(text))

    def line(self, text: str) -> str:
        """The state in one line: share, counts, time passed and left, rate, `text`."""
        return tqdm.format_meter(
            self.done,
            self.total,
            time.monotonic() - self.begun,
            ncols=0,
            prefix=self.title,
            unit=self.unit,
            unit_scale=self.per_chunk if self.per_chunk != 1 else False,
            postfix=text or None,
            initial=self.initial,
        )
