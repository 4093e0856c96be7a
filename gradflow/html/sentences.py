"""The sentences of a study's summary as pairs of plain text: the terminal and the page say the same words.

Knows :mod:`gradflow.reporting.summaries`, whose sections these are.
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
        title=summaries.title_of(study),
        setup=_plain(summaries.setup_of(study)),
        outcome=_plain(summaries.outcome_of(study)),
        endpoint=_plain(summaries.endpoint_of(study)),
        rate=_plain(summaries.rate_of(study)),
        verdict=summaries.verdict_of(study).plain,
    )


def _plain(lines: list[tuple[str, str | Text]]) -> Lines:
    return tuple((keyword, text if isinstance(text, str) else text.plain) for keyword, text in lines)
