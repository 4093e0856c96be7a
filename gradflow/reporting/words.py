"""Numbers and names as all reports say them: in ASCII, and never "nan".

Knows what can be looked up in a study; no layout.
"""

import math
from collections.abc import Sequence

import numpy as np

from gradflow.critical_points import CriticalPoint
from gradflow.studies import Study

GOOD, DOUBT, BAD, FAINT, LABEL, HEADING = "green", "yellow", "bold red", "dim", "cyan", "bold"

MAX_LISTED = 6
"""Numbers listed one by one; of more, the ends are named."""


def number(value: float | None, digits: int = 6) -> str:
    """`value` with so many significant digits; "-" for NaN, which says that there is none."""
    if value is None:
        return "not known"
    return "-" if math.isnan(value) else f"{float(value):.{digits}g}"


def words(name: str) -> str:
    """A name of the program as words."""
    return name.replace("_", " ")


def listed(values: Sequence[float] | np.ndarray) -> str:
    """All of `values`, or the first two and the last of more than :data:`MAX_LISTED`."""
    if len(values) <= MAX_LISTED:
        return ", ".join(number(value, 4) for value in values)
    return f"{number(values[0], 4)}, {number(values[1], 4)}, ..., {number(values[-1], 4)}"


def captured(point: CriticalPoint) -> str:
    """The captured singular values of the target, counted from 1; "-" when no theory names them."""
    if point.captured is None:
        return "-" if point.counts is None else f"{point.counts} per group of equal ones"
    names = [f"s_{index + 1}" for index in point.captured]
    is_run = point.captured == tuple(range(len(names)))
    return f"{{{names[0]}, ..., {names[-1]}}}" if is_run and len(names) > 3 else "{" + ", ".join(names) + "}"


def optimum(study: Study) -> float | None:
    """The irreducible loss of a linear network; None where none is known."""
    is_linear = "greedy_level" in study.record
    return float(study.record["irreducible_loss"]) if is_linear else None
