"""Certificates: promises about every trajectory from one start, made before anything is integrated.

One file per kind; each takes a flow and a start and returns a :class:`Certificate` with numbers and with the truth
value of every hypothesis. A new kind is a new file and one more entry of :data:`KINDS`.
"""

from collections.abc import Callable
from typing import Any

from gradflow import checks
from gradflow.certificates.boundedness import boundedness_certificate
from gradflow.certificates.certificate import Certificate
from gradflow.certificates.product_growth import Lemma1Polynomials, lemma1_polynomials
from gradflow.certificates.rates import envelope, rate_certificate
from gradflow.flow import AbstractFlow

__all__ = [
    "KINDS",
    "Certificate",
    "Lemma1Polynomials",
    "boundedness_certificate",
    "certificates_of",
    "envelope",
    "lemma1_polynomials",
    "rate_certificate",
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
