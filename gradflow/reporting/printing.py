"""How reports get out: colours on a terminal, plain text in files and pipes, and no character a stream cannot show.

Knows streams and what :mod:`rich` prints; no study or estimate but to hand it on.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.text import Text

from gradflow import checks
from gradflow.basins import BasinEstimate
from gradflow.reporting.basins import basin_text
from gradflow.reporting.summaries import summary
from gradflow.reporting.tables import table_of
from gradflow.reporting.words import HEADING
from gradflow.studies import Study

MAX_WIDTH = 110
"""Columns used at most for sentences: longer lines are hard to read."""


def print_summary(study: Study | BasinEstimate, file: TextIO | None = None, width: int | None = None) -> None:
    """Prints :func:`~gradflow.reporting.summary`, see :func:`show`; of an estimate of basins its table, never folded.

    Raises:
        InputError: neither a study nor an estimate of basins.
    """
    if isinstance(study, BasinEstimate):
        _write(basin_text(study), sys.stdout if file is None else file)
        return
    checks.require(isinstance(study, Study), "study", "be a Study or a BasinEstimate", type(study).__name__)
    show(summary(study), file, width)


def print_table(
    rows: Sequence[Mapping[str, object]], title: str | None = None, file: TextIO | None = None, width: int | None = None
) -> None:
    """Prints :func:`~gradflow.reporting.table_of` under its title, see :func:`show`.

    Without a terminal and a `width` the table is as wide as it needs, so that a log holds whole cells.
    """
    table = table_of(rows)
    console = _console(sys.stdout if file is None else file, width)
    if width is None:
        needed = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
        width = console.width if console.is_terminal else max(console.width, needed)
    show(table if title is None else Group(Text(title, style=HEADING), table), file, width)


def show(renderable: RenderableType, file: TextIO | None = None, width: int | None = None) -> None:
    """Prints to `file` (default: standard output), without colours unless it is a terminal and NO_COLOR is not set.

    Args:
        renderable: what to print.
        file: a text stream; what its encoding does not know is replaced by question marks.
        width: columns; default: the terminal's, 80 when there is none, :data:`MAX_WIDTH` at most.
    """
    stream = sys.stdout if file is None else file
    console = _console(stream, width)
    if width is None:
        console.width = min(console.width, MAX_WIDTH)
    with console.capture() as capture:
        console.print(renderable)
    _write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()), stream)


def _write(text: str, stream: TextIO) -> None:
    """`text`, with question marks for what the stream's encoding does not know."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))


def _console(stream: TextIO, width: int | None) -> Console:
    return Console(
        file=stream,
        width=width,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        force_jupyter=False,
        markup=False,
        highlight=False,
        emoji=False,
    )
