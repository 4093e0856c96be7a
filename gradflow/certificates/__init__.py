"""Certificates: promises about every trajectory from one start, made before anything is integrated.

One file per kind; each returns a :class:`Certificate` with numbers and with the truth value of every hypothesis. Those
of :data:`KINDS` take a flow and a start; a new one is a new file and one more entry there. Others need to know more:
:func:`gradient_dominance` and :func:`regularity` speak of the neighbourhood of a minimiser,
:func:`saddle_curvature_certificate` of every saddle of a problem.
"""

from collections.abc import Callable
from typing import Any

from gradflow import checks
from gradflow.certificates.boundedness import boundedness_certificate
from gradflow.certificates.certificate import Certificate
from gradflow.certificates.curvature_at_saddles import (
    SaddleCheck,
    check_at,
    corollary_bound,
    saddle_curvature_certificate,
)
from gradflow.certificates.dominance import (
    GradientDominance,
    RateInside,
    dominance_envelope,
    gradient_dominance,
    pointwise_constant,
    rate_inside,
)
from gradflow.certificates.product_growth import Lemma1Polynomials, lemma1_polynomials
from gradflow.certificates.rates import envelope, rate_certificate
from gradflow.certificates.regularity_conditions import Regularity, regularity
from gradflow.flow import AbstractFlow

__all__ = [
    "KINDS",
    "Certificate",
    "GradientDominance",
    "Lemma1Polynomials",
    "RateInside",
    "Regularity",
    "SaddleCheck",
    "boundedness_certificate",
    "certificates_of",
    "check_at",
    "corollary_bound",
    "dominance_envelope",
    "envelope",
    "gradient_dominance",
    "lemma1_polynomials",
    "pointwise_constant",
    "rate_certificate",
    "rate_inside",
    "regularity",
    "saddle_curvature_certificate",
]

KINDS: tuple[Callable[[AbstractFlow, Any], Certificate], ...] = (boundedness_certificate, rate_certificate)
"""Every kind of certificate, in the order of tables."""


def certificates_of(flow: AbstractFlow, params0: Any) -> tuple[Certificate, ...]:
    """Every kind of certificate for the trajectory of `flow` from `params0`, in the flow's own coordinates.

    Raises:
        InputError: `flow` is not a flow, or `params0` does not fit it.
    """
    checks.require(
        isinstance(flow, AbstractFlow), "flow", "be a flow", type(flow).__name__, "Wrap it: GradientFlow(problem)."
    )
    return tuple(kind(flow, params0) for kind in KINDS)
