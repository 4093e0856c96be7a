"""How a given state is judged: a global minimiser of the stated form, outside of it, undecided, or none.

A state is judged by its residual on what X can express, relative to the target, against two thresholds and against
rounding: between them nothing is claimed.
"""

import numpy as np

from gradflow import checks

OUTCOMES = ("minimiser", "minimiser_outside_form", "ambiguous", "not_a_minimiser")
"""`minimiser`: global, and its free parameters are recovered. `minimiser_outside_form`: global, but a free parameter is
singular, which the proposition excludes. `ambiguous`: too near to one to be none, too far to be one, or an
invertibility that rounding decides. `not_a_minimiser`: its loss is larger than the minimum."""

RECOGNITION_RTOL = 1e-8
"""Largest relative residual of a minimiser; from its square root on a state is none."""


def is_minimiser(defect: float, noise: float, rtol: float = RECOGNITION_RTOL) -> bool | None:
    """Whether a residual is that of a global minimiser; None when that cannot be told.

    Args:
        defect: residual beyond the irreducible one, relative to the target.
        noise: what rounding may contribute to it.
        rtol: largest defect of a minimiser.
    """
    if defect <= rtol and noise <= rtol:
        return True
    return None if defect <= max(np.sqrt(rtol), 30.0 * noise) else False


def outcome(defect: float, noise: float, in_form: bool | None, rtol: float) -> str:
    """One of :data:`OUTCOMES`; `in_form` says whether the free parameters are invertible, None when ambiguous."""
    found = is_minimiser(defect, noise, rtol)
    if found is not True:
        return "not_a_minimiser" if found is False else "ambiguous"
    return "ambiguous" if in_form is None else ("minimiser" if in_form else "minimiser_outside_form")


def tolerance(rtol: float) -> float:
    """`rtol`, checked to leave room for an undecided band.

    Raises:
        InputError: not in (0, 1e-2).
    """
    return checks.real("rtol", rtol, above=0.0, below=1e-2)
