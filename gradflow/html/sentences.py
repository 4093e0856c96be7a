"""The sentences of a study's summary as pairs of plain text: the terminal and the page say the same words.

Knows :mod:`gradflow.reporting.summaries`, whose parts are not public; if they become so, this module goes.
"""

from dataclasses import dataclass

from rich.text import Text

from gradflow.reporting import summaries
from gradflow.studies import Study

Lines = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Said:
    """What a summary says, by section."""

    title: str
    setup: Lines
    outcome: Lines
    endpoint: Lines
    rate: Lines
    verdict: str


def sections_of(study: Study) -> Said:
    """The sections of :func:`gradflow.reporting.summary` that are pairs of a keyword and a sentence."""
    return Said(
        title=summaries._title(study),
        setup=_plain(summaries._setup(study)),
        outcome=_plain(summaries._outcome(study)),
        endpoint=_plain(summaries._endpoint(study)),
        rate=_plain(summaries._rate(study)),
        verdict=summaries._verdict(study).plain,
    )


def _plain(lines: list[tuple[str, str | Text]]) -> Lines:
    return tuple((keyword, text if isinstance(text, str) else text.plain) for keyword, text in lines)
