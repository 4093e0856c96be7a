"""Argument checks: one grammar for every wrong call, and the errors the command line turns into exit codes.

A check returns the value it checked and the caller uses that. Messages read
`` `name` must <requirement>, but got <value>. <remedy> ``. Only wrong calls raise; what a computation
turned out to do is a :class:`gradflow.status.Status`. This module knows NumPy and nothing else.
"""

import difflib
import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np


class InputError(ValueError):
    """A wrong call or bad data: says what was given, what was expected and what to do (exit code 2)."""


class ResultsFileError(OSError):
    """A results file that cannot be read as one: truncated, not ours, or of another version (exit code 4)."""


class NumericalFailure(RuntimeError):
    """A whole study that could not be computed, for callers that asked for an exception (exit code 3)."""


class AccuracyWarning(UserWarning):
    """A tolerance so large that nothing can be concluded from the run; its checks are then not judged."""


class HypothesisWarning(UserWarning):
    """A hypothesis of a statement fails on this data; the message names the affected statements."""


class DataWarning(UserWarning):
    """Something about the data that was changed or that a reader should know (promotion, constant features)."""


def require(condition: bool, name: str, requirement: str, value: Any, remedy: str = "") -> None:
    """Raises :class:`InputError` in the house grammar unless `condition` holds."""
    if not condition:
        message = f"`{name}` must {requirement}, but got {value}."
        raise InputError(f"{message} {remedy}".strip())


def nearest(name: str, choices: Iterable[str]) -> str:
    """A sentence that lists the choices and, when one is close, says which was perhaps meant."""
    known = sorted(choices)
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"Perhaps you meant '{close[0]}'. " if close else ""
    listed = (f"'{one}'" if " " in one or "," in one else one for one in known)  # names of columns may hold both
    return f"{hint}Choices: {', '.join(listed)}."


def choice(name: str, value: str, choices: Iterable[str]) -> str:
    """`value`, checked to be one of `choices`; the error names the nearest one."""
    known = list(choices)
    require(value in known, name, "be a known name", repr(value), nearest(value, known))
    return value


def real(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    infinite: bool = False,
) -> float:
    """`value` as a float inside the given range; NaN is refused, and infinity unless `infinite`."""
    require(not isinstance(value, bool | str | bytes), name, "be a real number", repr(value))
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"`{name}` must be a real number, but got {value!r}.") from None
    require(not math.isnan(number), name, "be a number", "NaN")
    require(infinite or math.isfinite(number), name, "be finite", number)
    if above is not None:
        require(number > above, name, f"be greater than {above:g}", f"{number:g}")
    if at_least is not None:
        require(number >= at_least, name, f"be at least {at_least:g}", f"{number:g}")
    if below is not None:
        require(number < below, name, f"be less than {below:g}", f"{number:g}")
    return number


def integer(name: str, value: Any, *, at_least: int = 1) -> int:
    """`value` as an int of at least `at_least`; booleans, fractions and strings are refused."""
    is_whole = not isinstance(value, bool) and isinstance(value, int | np.integer)
    is_whole = is_whole or (isinstance(value, float) and value.is_integer())
    require(is_whole, name, "be a whole number", repr(value))
    require(int(value) >= at_least, name, f"be at least {at_least}", int(value))
    return int(value)


def widths(value: Any, name: str = "widths") -> tuple[int, ...]:
    """Layer widths ``(d_0, ..., d_L)``: at least two whole numbers, each at least 1."""
    try:
        entries = list(value)
    except TypeError:
        raise InputError(f"`{name}` must be a sequence of layer widths, but got {value!r}.") from None
    require(len(entries) >= 2, name, "have at least two entries (input and output width)", tuple(entries))
    return tuple(integer(f"{name}[{index}]", entry) for index, entry in enumerate(entries))


def delimiter(name: str, value: Any) -> str:
    """The single character that separates entries; a backslash with a t, as a shell hands over a tab, is one."""
    remedy = r"For instance ';', or '\t' for a tab."
    require(isinstance(value, str), name, "be a single character", repr(value), remedy)
    character = "\t" if value == r"\t" else value
    usable = len(character) == 1 and character not in '"\r\n'
    require(usable, name, "be a single character, and no quotation mark or end of a line", repr(value), remedy)
    return character


def finite_array(name: str, value: Any, ndim: int | None = None) -> np.ndarray:
    """`value` as a float64 array of finite numbers.

    Integers, booleans and float32 are promoted. Raises :class:`InputError` naming the first position that is NaN
    or infinite (row and column for matrices), the first column that holds text, or the wrong number of axes.
    """
    array = np.asarray(value)
    if array.dtype.kind in "OUSMmV":
        column = _first_text_column(array)
        raise InputError(f"`{name}` must hold numbers, but got text or objects{column}. Encode or drop that column.")
    require(array.dtype.kind != "c", name, "hold real numbers", "complex numbers")
    array = array.astype(np.float64)
    if ndim is not None:
        require(array.ndim == ndim, name, f"have {ndim} axes", f"shape {array.shape}")
    require(array.size > 0, name, "hold at least one number", f"shape {array.shape}", "There are no samples.")
    bad = ~np.isfinite(array)
    if bad.any():
        where = np.argwhere(bad)[0]
        labels = ("row", "column") if array.ndim == 2 else tuple(f"axis {axis}" for axis in range(array.ndim))
        place = ", ".join(f"{label} {index}" for label, index in zip(labels, where, strict=True))
        raise InputError(
            f"`{name}` must be finite, but got {array[tuple(where)]} at {place} "
            f"({int(bad.sum())} such entries, counted from 0). Remove or impute them."
        )
    return array


def data_scale(name: str, array: np.ndarray) -> np.ndarray:
    """`array`, refused when squares of its entries overflow or vanish in double precision."""
    largest = float(np.max(np.abs(array)))
    require(
        largest == 0.0 or 1e-60 < largest < 1e60,
        name,
        "have a largest entry between 1e-60 and 1e60, so that a squared loss neither overflows nor vanishes",
        f"{largest:.3g}",
        "Rescale the data.",
    )
    return array


SMALLEST_RTOL = 1e-14
"""Smallest relative tolerance of a single trajectory; a smaller one gains nothing over rounding."""

LOOSE_RTOL = 0.1
"""Relative tolerance from which on not one digit of a trajectory can be relied on."""


def tolerances(rtol: Any, atol: Any, smallest: float = SMALLEST_RTOL) -> tuple[float, float]:
    """Solver tolerances: finite, positive (atol may be 0) and not below what double precision can meet, `smallest`.

    Warns:
        AccuracyWarning: rtol of :data:`LOOSE_RTOL` or more.
    """
    relative = real("rtol", rtol, above=0.0)
    what, remedy = f"be at least {smallest:g} in double precision", f"Use rtol={smallest:g} or more."
    require(relative >= smallest, "rtol", what, f"{relative:g}", remedy)
    require(relative <= 1.0, "rtol", "be at most 1", f"{relative:g}", "Typical values are 1e-4 to 1e-10.")
    if relative >= LOOSE_RTOL:
        _warn_of_looseness(f"`rtol` = {relative:g} is {LOOSE_RTOL:g} or more", "1e-4 to 1e-10")
    return relative, real("atol", atol, at_least=0.0)


def atol_for_scale(atol: float, scale: float) -> None:
    """Nothing, for an absolute tolerance that is small against the parameters.

    Warns:
        AccuracyWarning: it is more than :data:`LOOSE_RTOL` times their scale.
    """
    if atol > LOOSE_RTOL * scale:
        _warn_of_looseness(f"`atol` = {atol:g} is not small against the parameters ({scale:.3g})", "1e-6 to 1e-12")


def _warn_of_looseness(finding: str, typical: str) -> None:
    warnings.warn(
        f"{finding}: no digit of the trajectory can be relied on, and its checks are not judged. Typical values are "
        f"{typical}.",
        AccuracyWarning,
        stacklevel=5,
    )


def _first_text_column(array: np.ndarray) -> str:
    if array.ndim != 2:
        return ""
    for column in range(array.shape[1]):
        for entry in array[:, column]:
            try:
                float(entry)
            except (TypeError, ValueError):
                return f" in column {column} (first such entry: {entry!r})"
    return ""
