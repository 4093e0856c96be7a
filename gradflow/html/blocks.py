"""What a page is made of: sentences, facts, tables, pictures and sections, and the templates that write them as HTML.

Everything that is text is escaped by the templates, wherever it came from; only :class:`Raw` is markup already, and it
is made in this room alone. Knows no result.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined

GOOD, DOUBT, BAD, FAINT = "good", "doubt", "bad", "faint"
"""Moods of a word. Each has a colour, and none says anything that the word does not."""


@dataclass(frozen=True)
class Marked:
    """A word with a mood."""

    text: str
    mood: str


Cell = str | Marked


@dataclass(frozen=True)
class Sentence:
    """A paragraph."""

    text: str
    mood: str = ""
    block: str = field(default="sentence", init=False)


@dataclass(frozen=True)
class Facts:
    """Pairs of a keyword and what is said of it."""

    caption: str
    lines: tuple[tuple[str, Cell], ...]
    block: str = field(default="facts", init=False)


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first column names the row. `numbers` are the columns that are set to the right."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: tuple[str, ...] = ()
    block: str = field(default="table", init=False)


@dataclass(frozen=True)
class Picture:
    """A picture as a data address, with what it shows in words for those who do not see it."""

    source: str
    alt: str
    caption: str
    block: str = field(default="picture", init=False)


@dataclass(frozen=True)
class Listing:
    """Points of a list."""

    items: tuple[str, ...]
    block: str = field(default="listing", init=False)


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str
    block: str = field(default="heading", init=False)


@dataclass(frozen=True)
class Raw:
    """Markup of this room."""

    markup: str
    block: str = field(default="raw", init=False)


Block = Sentence | Facts | Table | Picture | Listing | Heading | Raw


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading; `name` is what links in the page lead to."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole report. `scripts` are markup for the end of the page; without them the page forbids all scripts."""

    title: str
    lead: Sequence[Block]
    sections: Sequence[Section]
    footer: str
    scripts: str = ""


def page_text(page: Page) -> str:
    """The page as one HTML document that needs nothing else."""
    return _environment().get_template("page.html").render(page=page) + "\n"


def fragment(blocks: Sequence[Block], title: str = "") -> str:
    """Some blocks as HTML for a place in another document, such as a notebook: styled by attributes, without ids."""
    return _environment().get_template("fragment.html").render(blocks=blocks, title=title)


@functools.cache
def _environment() -> Environment:
    loader = PackageLoader("gradflow.html")
    return Environment(autoescape=True, loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
