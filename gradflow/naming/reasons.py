"""Why an endpoint has no name, by the second-order test alone, for every family without a theory of its own."""

import numpy as np

from gradflow.naming.examination import Examination
from gradflow.naming.kinks import on_kink
from gradflow.naming.labels import KINK, NOT_CRITICAL, NOT_FINITE, PASSING, Draft
from gradflow.problem import AbstractProblem


def reasons(problem: AbstractProblem, examination: Examination, has_dwelt: np.ndarray) -> Draft:
    """For each endpoint the label that says why it has no name; open where it is at a limit."""
    stays = staying(examination, has_dwelt)
    kinked = on_kink(problem, examination.params)
    conditions = (
        (~examination.is_finite, NOT_FINITE),
        (kinked, KINK),
        (examination.is_unstable & ~stays, PASSING),
        (~examination.is_critical, NOT_CRITICAL),
    )
    result = Draft.blank(len(examination))
    for condition, label in reversed(conditions):
        result.give(condition, label)
    return result


def staying(examination: Examination, has_dwelt: np.ndarray) -> np.ndarray:
    """Where the flow is known to stay: it has for long, or its velocity is exactly zero."""
    return np.asarray(has_dwelt | (examination.given_grad_norm == 0.0))
