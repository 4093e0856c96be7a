"""Figures as parts of a page: drawn by :mod:`gradflow.plotting`, written into the page itself, described in words.

A figure is a picture inside the page (never a part of its markup, so that nothing in it can run): as lines where that
is small, as pixels where it is not. Knows figures, no results.
"""

import base64
import io
from collections.abc import Callable
from typing import Any

from gradflow import plotting
from gradflow.html.blocks import DOUBT, Picture, Sentence

LARGEST_DRAWING = 250_000
"""Bytes of a drawing in lines; a larger one is shown as pixels."""

PIXELS_PER_INCH = 144


def drawn(make: Callable[[], Any], alt: str, caption: str, is_dense: bool = False) -> Picture | Sentence:
    """The figure that `make` makes as :func:`inline` shows it, or a sentence that says why there is none.

    Names in a result are anybody's: one that matplotlib cannot set, an open ``$`` above all, costs its picture and not
    the page.
    """
    try:
        return inline(make(), alt, caption, is_dense)
    except ValueError as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return Sentence(f"A picture is left out, since it could not be drawn ({first}): {alt}", DOUBT)


def inline(figure: Any, alt: str, caption: str, is_dense: bool = False) -> Picture:
    """The figure as a picture in the page; the same figure gives the same bytes.

    `is_dense`: it is known to have too many lines, so that they are not tried.
    """
    kind, drawing = "svg+xml", b"" if is_dense else _written(figure, "svg")
    if is_dense or len(drawing) > LARGEST_DRAWING:
        kind, drawing = "png", _written(figure, "png")
    return Picture(f"data:image/{kind};base64,{base64.b64encode(drawing).decode()}", alt, caption)


def _written(figure: Any, kind: str) -> bytes:
    stream = io.BytesIO()
    nothing = {"Date": None} if kind == "svg" else {"Software": None}
    with plotting.style(svg_fonttype="path", svg_hashsalt="gradflow"):
        figure.savefig(stream, format=kind, dpi=PIXELS_PER_INCH, metadata=nothing)
    return stream.getvalue()
