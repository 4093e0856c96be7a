"""Classes of endpoints as pictures show them: one look for each, checked codes and shares, and shares as text.

A class looks alike in every picture of the same classes: by its place in the alphabet, not by how often it was found,
it has a colour, a hatch and a marker, so that a grey copy and a colour-blind reader can tell the classes apart. What
names no limit (undetermined, escaped, nonfinite) is grey, white or black. Knows names and numbers, no estimate.
"""

import re
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradflow import checks
from gradflow.plotting.styles import OKABE_ITO


class ClassStyle(NamedTuple):
    """The look of a class: fill of an area, hatch over it, marker of a single start."""

    color: str
    hatch: str
    marker: str


UNNAMED_STYLES = {
    "undetermined": ClassStyle("#b0b0b0", "+++", "h"),
    "escaped": ClassStyle("#ffffff", "", "^"),
    "nonfinite": ClassStyle("#000000", "", "X"),
}
"""Looks of the outcomes that name no limit, whatever their place in the list; their fills have no hue."""

LONGEST_LINE = 36
"""Characters of a name on one line, where blanks allow it."""

_TIE = "\u00a0"
_SHORT_POINT = re.compile(rf"\([^()]{{1,{LONGEST_LINE - 2}}}\)")
_COLORS = tuple(OKABE_ITO[name] for name in ("sky", "orange", "green", "yellow", "blue", "vermillion", "purple"))
_HATCHES = ("", "////", "\\\\\\\\", "....", "xxxx", "----", "||||", "oo", "**")
_MARKERS = ("o", "s", "D", "v", "P", "<", "p", ">", "*")


def class_styles(names: Sequence[str]) -> list[ClassStyle]:
    """Looks of the classes of these names, in their order; the order itself changes no look.

    Those that name a limit get theirs in alphabetical order, so that pictures of the same classes can be compared. The
    first 63 differ, and any nine that follow each other in hatch and marker.

    Raises:
        InputError: no name, or one that occurs twice.
    """
    names = checked_names(names)
    styles = {name: UNNAMED_STYLES.get(name.split()[0].rstrip(":,") if name.split() else name) for name in names}
    named = sorted(name for name in names if styles[name] is None)
    for place, name in enumerate(named):
        styles[name] = ClassStyle(
            _COLORS[place % len(_COLORS)], _HATCHES[place % len(_HATCHES)], _MARKERS[place % len(_MARKERS)]
        )
    return [style for name in names if (style := styles[name]) is not None]


def checked_names(names: Sequence[str]) -> list[str]:
    """`names` as a list of at least one name, all different."""
    checks.require(not isinstance(names, str), "names", "be a sequence of names", repr(names))
    listed = list(names)
    checks.require(len(listed) > 0, "names", "have at least one class", listed)
    checks.require(len(set(listed)) == len(listed), "names", "be different from each other", listed)
    return listed


def checked_codes(codes: Any, num_classes: int) -> np.ndarray:
    """`codes` as int64, each the place of a class."""
    array = np.asarray(codes)
    checks.require(array.dtype.kind in "iu", "codes", "be whole numbers", f"dtype {array.dtype}")
    checks.require(array.size > 0, "codes", "hold at least one start", f"shape {array.shape}")
    low, high = int(array.min()), int(array.max())
    remedy = "A code is the place of the class in the list of names."
    checks.require(
        low >= 0 and high < num_classes, "codes", f"lie in 0 to {num_classes - 1}", f"{low} to {high}", remedy
    )
    return array.astype(np.int64)


def checked_shares(num_classes: int, fractions: Any, bounds: Any) -> tuple[np.ndarray, ...] | None:
    """Shares, lower and upper ends (the share itself where there are no bounds)."""
    if fractions is None:
        checks.require(bounds is None, "bounds", "be left out without `fractions`", "bounds")
        return None
    low, high = (fractions, fractions) if bounds is None else bounds
    arrays = []
    for name, value in (("fractions", fractions), ("low", low), ("high", high)):
        array = checks.finite_array(name, value, ndim=1)
        checks.require(len(array) == num_classes, name, f"have {num_classes} entries", len(array))
        arrays.append(array)
    share, low, high = arrays
    is_ordered = (low >= 0) & (low <= share + 1e-12) & (share <= high + 1e-12) & (high <= 1)
    bad = np.flatnonzero(~is_ordered)
    where = "" if not len(bad) else f"{low[bad[0]]:g}, {share[bad[0]]:g}, {high[bad[0]]:g} for class {bad[0]}"
    checks.require(not len(bad), "fractions", "satisfy 0 <= low <= fraction <= high <= 1", where)
    return share, low, high


def dot(style: ClassStyle) -> dict[str, Any]:
    """Keyword arguments of ``ax.plot`` for one marker of the class."""
    return {
        "linestyle": "none", "marker": style.marker, "markerfacecolor": style.color, "markeredgecolor": "black",
        "markeredgewidth": 0.7, "markersize": 5.0, "zorder": 4,
    }  # fmt: skip


def spoken(name: str) -> str:
    r"""A name as text, on lines of at most :data:`LONGEST_LINE` characters that break no point ``(a, b)``.

    A name is no mathematics: its dollar signs are written as ``\$``, which matplotlib shows as they are.
    """
    text = _SHORT_POINT.sub(lambda point: point[0].replace(" ", _TIE), name.replace("_", " "))
    lines = textwrap.fill(text, LONGEST_LINE, break_on_hyphens=False).replace(_TIE, " ")
    return lines.replace("$", r"\$")


def share_text(shares: tuple[np.ndarray, ...], index: int) -> str:
    """Share and interval in percent; the last decimal is at most a fifth of the interval's width, and 0 is exact."""
    share, low, high = (100 * float(array[index]) for array in shares)
    width = high - low
    decimals = 2 if width <= 0 else int(np.clip(np.ceil(np.log10(5 / width)), 0, 8))
    value, lower, upper = (f"{number:.{decimals}f}" if number else "0" for number in (share, low, high))
    return f"{value} %" if width <= 0 else f"{value} % [{lower}, {upper}]"
