"""How the product of a linear network's layers must grow with one of them: two lower bounds and their roots.

Lemma 1 bounds the Frobenius norm of the product by polynomials in ``g = ||W_{H+1}||_F^2``; the chain lemma bounds
its operator norm by ``prod_j (s - e_j)_+`` with ``s = ||W_{H+1}||_op^2``: if v is a unit vector along
``W_{j+1}^T v'`` then ``||W_j^T v||^2 = v^T (W_{j+1}^T W_{j+1} - C_j) v >= ||W_{j+1}^T v'||^2 - lambda_max(C_j)``.
Pure functions of matrices; no flow, no target.
"""

from dataclasses import dataclass

import numpy as np
import scipy.optimize
from jaxtyping import Float

from gradflow.invariants import Matrices, imbalance

NUDGE = 1.0 + 1e-12
"""Every root and radius is rounded up by this factor, so that rounding cannot break the promise."""


@dataclass(frozen=True)
class Lemma1Polynomials:
    """``C0 g^{H+1} - P(g) <= ||W_{H+1} ... W_1||_F^2 <= g^{H+1} + Q(g)`` with ``g = ||W_{H+1}||_F^2``.

    `P` and `Q` are coefficients from the highest power to the constant, both of degree at most H and non-negative.
    `c` are the norm differences (8), `kappa` bounds on the ``C_j``.
    """

    C0: float
    c: Float[np.ndarray, " H"]
    kappa: Float[np.ndarray, " H"]
    P: Float[np.ndarray, " coefficients"]
    Q: Float[np.ndarray, " coefficients"]


def lemma1_polynomials(params: Matrices) -> Lemma1Polynomials:
    """The explicit polynomials of paper 003's eq. (9) for a linear network's weights.

    ``P(g) = sum_k [(g + c_{k+1}^+ + kappa_k)^k - (g + c_{k+1}^+)^k] prod_{l > k} (g + c_l^+)``,
    ``Q(g) = g prod_j (g + c_j^+) - g^{H+1}``, ``C0 = min(d_{H+1}, d_H)^{-H}``, ``c_j = ||W_j||^2 - ||W_{H+1}||^2``,
    ``kappa_1 = lambda_max(C_1)^+``, ``kappa_k = ||C_k||_op``.

    Accuracy: no subtraction, every coefficient to a few units of rounding relative to its inputs.

    Source: paper 003, Lemma 1, eq. (9); the text only asserts that such polynomials exist, and that C0 < 1 (it is 1
    for one output).
    """
    layers = [np.asarray(layer, np.float64) for layer in params]
    depth = len(layers) - 1
    c = np.array([np.sum(layer * layer) - np.sum(layers[-1] ** 2) for layer in layers[:-1]])
    spectra = [np.linalg.eigvalsh(imbalance(layers, layer)) for layer in range(1, depth + 1)]
    kappa = np.array([max(s[-1], 0.0) if j == 0 else np.max(np.abs(s)) for j, s in enumerate(spectra)])
    return Lemma1Polynomials(
        C0=float(min(layers[-1].shape)) ** -depth,
        c=c,
        kappa=kappa,
        P=_lower_polynomial(c, kappa),
        Q=np.append(_shifted_product(np.maximum(c, 0.0))[1:], 0.0) if depth else np.zeros(1),
    )


def lemma1_root(polynomials: Lemma1Polynomials, product_norm: float) -> float:
    """The largest g with ``C0 g^{H+1} - P(g) <= product_norm^2``, rounded up.

    P has non-negative coefficients, so there is one sign change and one positive root; everything is homogeneous,
    which allows scaling so that no power over- or underflows.
    """
    order = len(polynomials.P)
    shift = np.maximum(polynomials.c, 0.0)
    unit = max(*shift, *polynomials.kappa, product_norm ** (2.0 / order), np.finfo(float).tiny)
    P = _lower_polynomial(shift / unit, polynomials.kappa / unit) / polynomials.C0
    P[-1] += (product_norm ** (2.0 / order) / unit) ** order / polynomials.C0
    powers = np.arange(1, order + 1)
    bound = float(np.max(P ** (1.0 / powers)))
    if bound == 0.0:
        return 0.0
    scaled = P / bound**powers
    root = scipy.optimize.brentq(lambda x: float(np.sum(scaled / x**powers)) - 1.0, 1.0 - 1e-9, 2.0, xtol=1e-14)
    return float(root * bound * unit * NUDGE)


def chain_root(shifts: Float[np.ndarray, " n"], product_norm: float) -> float:
    """The s above every shift with ``prod_j (s - e_j) = product_norm^2``, rounded up (the product increases there)."""
    largest = float(np.max(shifts))
    if product_norm == 0.0:
        return largest
    gaps = np.sort(largest - shifts)
    logarithms = np.log(gaps, out=np.full(len(gaps), -np.inf), where=gaps > 0.0)
    target = 2.0 * np.log(product_norm)
    upper = target / len(gaps)
    lower = target - float(np.sum(np.logaddexp(upper, logarithms[1:])))

    def difference(log: float) -> float:
        return float(np.sum(np.logaddexp(log, logarithms))) - target

    excess = scipy.optimize.brentq(difference, lower - 1e-9, upper + 1e-9, xtol=1e-14)
    return largest + float(np.exp(excess)) * NUDGE


def _lower_polynomial(c: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """P of eq. (9), using ``a^k - b^k = (a - b) sum_i a^i b^{k-1-i}`` so that nothing cancels."""
    depth = len(c)
    shift = np.append(np.maximum(c, 0.0), 0.0)
    total = np.zeros(depth + 1)
    for k in range(1, depth + 1):
        bracket = np.zeros(k)
        for i in range(k):
            factors = [shift[k] + kappa[k - 1]] * i + [shift[k]] * (k - 1 - i)
            bracket += _shifted_product(np.array(factors))
        total += kappa[k - 1] * np.convolve(bracket, _shifted_product(shift[k:]))
    return total


def _shifted_product(shifts: np.ndarray) -> np.ndarray:
    """Coefficients of ``prod (g + shift)``, highest power first."""
    result = np.ones(1)
    for shift in shifts:
        result = np.convolve(result, [1.0, shift])
    return result
