"""Exponential decay of the loss, promised from the start alone.

Linear networks, in the notation of :mod:`gradflow.certificates.moving_part`. Layer 1 alone gives

    dL/dt = -sum_j ||grad_j L||^2 <= -||N_1^T M S||_F^2 <= -2 alpha s_min^2 (L - irreducible),

because ``L - irreducible = 1/2 ||M||_F^2``, whenever ``alpha <= lambda_min(N_1 N_1^T)`` at all times, with
``N_1 = W_{H+1} ... W_2``; s_min is the smallest *nonzero* singular value of X, for M has one column per nonzero
one. The conserved ``W_{l+1}^T W_{l+1} = C_l' + W_l W_l^T`` bounds ``mu_{l+1} <= lambda_min(W_{l+1} W_{l+1}^T)``, the
d_{l+1}-th largest eigenvalue of the left side, by Weyl:

    mu_1 = 0,  mu_{l+1} = max(0, lambda_l + mu_l),  lambda_l = d_{l+1}-th largest eigenvalue of C_l'(0),
    alpha = prod_{l=2}^{H+1} mu_l.

Source: paper 003, Remark 2, corrected (a product over layers, of largest and not smallest eigenvalues; a factor 1/2
in its proof) and sharpened (mu). A condition that fails means that no rate is promised, not that the flow diverges
or is slow: generic runs converge exponentially anyway.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.certificates.certificate import Certificate
from gradflow.certificates.moving_part import MovingPart, linear_hypotheses, moving_part
from gradflow.flow import AbstractFlow
from gradflow.hypotheses import Hypothesis, conjunction
from gradflow.precision import in_double
from gradflow.problem import Landscape, Regression

SOURCE = "paper 003, Remark 2, corrected and sharpened"
FAILED = "no rate is promised; this says nothing about divergence or the speed of this run"


@in_double
def rate_certificate(flow: AbstractFlow, params0: Any) -> Certificate:
    """The certificate that ``L(t) - irreducible <= (L(0) - irreducible) exp(-rate t)``, towards a global minimum.

    Values: ``rate = 2 alpha s_min^2``, ``alpha`` (the mu recursion), ``alpha_product`` (the paper's product of the
    lambda_l, 0 unless all are positive; never larger than alpha), ``lambda_l`` (NaN where layer l+1 has more rows than
    columns) and ``mu_{l+1}`` per layer, ``s_min`` (1 in reduced coordinates), and for :func:`envelope` ``excess0``
    and ``irreducible``.

    Accuracy: a lower bound up to rounding; eigenvalues that rounding could have made positive count as zero.
    """
    problem = flow.problem
    if isinstance(problem, Landscape):
        unknown = (Hypothesis(f"a rate is known for the landscape {problem.name}", None),)
        return Certificate("exponential_rate", None, {}, unknown, "none", "not certified")
    hypotheses = linear_hypotheses(flow)
    if conjunction(hypotheses) is not True:
        return Certificate("exponential_rate", conjunction(hypotheses), {}, hypotheses, SOURCE, FAILED)
    assert isinstance(problem, Regression)
    part = moving_part(problem, params0)
    values, conditions = linear_rate(part)
    hypotheses += conditions
    holds = conjunction(hypotheses)
    values |= {"excess0": part.excess, "irreducible": problem.irreducible}
    return Certificate("exponential_rate", holds, values, hypotheses, SOURCE, "" if holds else FAILED)


def linear_rate(part: MovingPart) -> tuple[dict[str, float], tuple[Hypothesis, ...]]:
    """The numbers of the certificate and one hypothesis per hidden layer."""
    mu, alpha, alpha_product = 0.0, 1.0, 1.0
    eigenvalues: dict[str, float] = {}
    conditions = []
    for layer, (spectrum, rounding) in enumerate(zip(part.spectra, part.roundings, strict=True), start=1):
        before, after = part.layers[layer].shape[1], part.layers[layer].shape[0]
        value = float(spectrum[after - 1]) if after <= before else float("nan")
        mu = max(0.0, value + mu - rounding) if after <= before else 0.0
        alpha *= mu
        alpha_product *= value - rounding if value > rounding else 0.0
        eigenvalues |= {f"lambda_{layer}": value, f"mu_{layer + 1}": mu}
        condition = f"lambda_{layer} + mu_{layer} > 0 (lambda_{layer}: eigenvalue {after} of C_{layer} from the top)"
        if after > before:
            condition += f"; fails because layer {layer + 1} has more rows ({after}) than columns ({before})"
        conditions.append(Hypothesis(condition, mu > 0.0))
    smallest = float(np.min(part.scales)) if len(part.scales) else 1.0
    values = {"rate": 2.0 * alpha * smallest**2 * (1.0 - 1e-12), "alpha": alpha, "alpha_product": alpha_product}
    return values | eigenvalues | {"s_min": smallest}, tuple(conditions)


def envelope(certificate: Certificate, times: Any) -> Float[np.ndarray, "..."]:
    """``irreducible + (L(0) - irreducible) exp(-rate t)``: what the loss never exceeds, at each of `times` >= 0.

    Accuracy: compare up to the integrator's error in the loss and ``1e-15 ||Y||^2`` of rounding.

    Raises:
        InputError: not an exponential-rate certificate, or one that does not hold.
    """
    name, holds = certificate.name, certificate.holds
    checks.require(name == "exponential_rate", "certificate", "be an exponential_rate certificate", f"'{name}'")
    checks.require(holds is True, "certificate", "hold, for an envelope to be promised", f"holds={holds}")
    elapsed = np.asarray(times, np.float64)
    checks.require(bool(np.all(elapsed >= 0.0)), "times", "be at least 0", "a negative or NaN time")
    values = certificate.values
    return np.asarray(values["irreducible"] + values["excess0"] * np.exp(-values["rate"] * elapsed))
