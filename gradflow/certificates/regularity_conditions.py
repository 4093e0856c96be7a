"""Regularity near a global minimiser: ``<grad L, v> >= alpha ||grad L||^2 + beta ||v||^2`` with ``v = W - W*``.

It holds for the directions with ``||G v|| >= delta ||v||`` (G of :mod:`gradflow.certificates.zero_loss_geometry` at W*:
what of v lies in its kernel must not prevail) and ``||W_k - W_k*||_F < eps`` in every layer. With gamma in (0, 1):

    linear (Theorem 4)            alpha = gamma / (l zeta^{2(l-1)} ||X||^2),             zeta = 2 max_k ||W_k*||
    residual (Theorem 5)          alpha = gamma / (l r zeta~^{2(r-1)} zeta^{2(l-1)} ||X||^2),  zeta~ = 2 max ||A_kq*||
    one hidden layer (Theorem 6)  alpha = gamma / (zeta^2 + ||X||^2 zeta^4),
                                  zeta = 2 max(||sigma(W_1* X)||, ||W_2*||, max_ij sigma'(W_1* X)_ij)
    all                           beta = (1 - gamma) delta^2 / 2

The paper says that eps(delta) exists. Explicitly: ``e = sum_j E_j`` by degree in v, so that
``<grad, v> = <sum E_j, sum j E_j>``, and with ``||E_j|| <= ||X|| c_j eps^{j-1} ||v||``

    r_b = ||X|| sum_{j>=2} c_j eps^{j-1},   r_a = ||X|| sum_{j>=2} (j - gamma) c_j eps^{j-1},
    eps = root of  delta (r_a + (1 - gamma) r_b) + r_a r_b = (1 - gamma) delta^2 / 2,

capped so that no norm in alpha exceeds its zeta. ``c_j = C(l, j) (zeta/2)^{l-j} / sqrt(l)`` for linear networks;
``||grad P_j(1)|| / j`` for residual ones, P_j the part of degree j of
``P = prod_k (||W_k*|| + prod_q (||A_kq*|| + x_kq) - prod_q ||A_kq*||)``; ``c_2 = max sigma' / sqrt(2)`` for a piecewise
linear sigma, whose kinks also cap eps: no preactivation may change its piece. The result is safe, often by a factor
of ten to a hundred. For a curved sigma no explicit eps is known here, and nothing is certified.

Source: paper 000, Theorems 4 to 6. The proof of Theorem 6 bounds ``||grad||^2`` by a maximum where only the sum is a
bound; its printed alpha, ``gamma / max(zeta^2, ||X||^2 zeta^4)``, is given beside the safe one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.certificates.certificate import Certificate
from gradflow.certificates.zero_loss_geometry import (
    gauss_newton_factor,
    increase_root,
    minimality,
    norm,
    smallest_positive,
    stacked_gradient,
    vec,
)
from gradflow.critical_sets.minimisers.one_hidden_layer import evaluated, kink_distance
from gradflow.critical_sets.minimisers.residual import blocks_of, units_of
from gradflow.critical_sets.minimisers.setting import (
    Layers,
    layers_of,
    sample_weight,
    setting_hypotheses,
    statistics_of,
)
from gradflow.hypotheses import Hypothesis, conjunction
from gradflow.networks import Residual, Shallow
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Weights

SOURCES = {
    "Linear": "paper 000, Theorem 4 (eps made explicit)",
    "Residual": "paper 000, Theorem 5 (eps made explicit)",
    "Shallow": "paper 000, Theorem 6 (alpha and its proof corrected, eps made explicit)",
}
FAILED = "no regularity is promised here, and none denied"
VACUOUS = "vacuous: delta exceeds ||G||, no direction satisfies the condition"
DIRECTION_RTOL = 1e-12
"""Rounding allowed in ``||G v|| >= delta ||v||``."""


@dataclass(frozen=True)
class Regularity:
    """A certificate of regularity with the states it speaks of.

    Attributes:
        certificate: its numbers and hypotheses, see :func:`regularity`.
        problem: the problem.
        minimiser: W*; as it was given where the problem is outside of the setting.
        factor: G at W*, columns in the paper's order; empty when the problem has none.

    Every method raises :class:`~gradflow.checks.InputError` for params of other shapes or a certificate that does not
    hold.
    """

    certificate: Certificate
    problem: AbstractProblem
    minimiser: Any
    factor: Float[np.ndarray, "residuals n"]

    @property
    def holds(self) -> bool | None:
        """The certificate's."""
        return self.certificate.holds

    def distance(self, params: Weights) -> float:
        """``max_k ||W_k - W_k*||_F``."""
        return max(float(np.linalg.norm(layer)) for layer in self._difference(params))

    def direction_allows(self, params: Weights) -> bool:
        """Whether ``||G v|| >= delta ||v||``: a condition on the direction of v alone; W* itself is allowed."""
        direction = vec(self._difference(params))
        strength = float(np.linalg.norm(self.factor @ direction))
        return strength >= self._promised("delta") * (1.0 - DIRECTION_RTOL) * float(np.linalg.norm(direction))

    def contains(self, params: Weights) -> bool:
        """Whether the promise covers a state: near enough, and in an allowed direction."""
        return self.distance(params) < self._promised("eps") and self.direction_allows(params)

    def gap(self, params: Weights, alpha: float | None = None) -> float:
        """``<grad L, v> - alpha ||grad L||^2 - beta ||v||^2``, not negative where the promise covers the state.

        Args:
            params: the state.
            alpha: default the certificate's; e.g. the one as printed.
        """
        direction, problem = vec(self._difference(params)), self.problem
        assert isinstance(problem, Regression)
        gradient = stacked_gradient(problem, params)
        chosen = self._promised("alpha") if alpha is None else checks.real("alpha", alpha, at_least=0.0)
        kept = chosen * float(gradient @ gradient) + self._promised("beta") * float(direction @ direction)
        return float(gradient @ direction) - kept

    def _difference(self, params: Weights) -> Layers:
        self._promised("delta")
        assert isinstance(self.problem, Regression)
        layers, centre = layers_of(self.problem, params), layers_of(self.problem, self.minimiser)
        return tuple(layer - other for layer, other in zip(layers, centre, strict=True))

    def _promised(self, name: str) -> float:
        checks.require(self.holds is True, "certificate", "hold, for a neighbourhood to exist", f"holds={self.holds}")
        return float(self.certificate.values[name])


def regularity(
    problem: AbstractProblem, minimiser: Any, *, delta: float | None = None, gamma: float = 0.5
) -> Regularity:
    """The certificate of regularity around a given global minimiser.

    Inside, the flow has ``d||v||^2/dt <= -2 beta ||v||^2``, and a gradient step of size at most ``2 alpha`` comes
    closer, ``||v'||^2 <= (1 - 2 step beta) ||v||^2``, as long as the direction stays allowed.

    Args:
        problem: as for :func:`gradflow.certificates.dominance.gradient_dominance`.
        minimiser: W*.
        delta: which directions are covered; default the smallest nonzero singular value of G, which covers every v
            orthogonal to its kernel. Smaller covers more directions in a smaller neighbourhood.
        gamma: in (0, 1), trades alpha against beta.

    Values: ``alpha``, ``alpha_printed`` (differs with one hidden layer only), ``beta``, ``gamma``, ``delta``, ``eps``
    and the ``cap`` on it, ``zeta``, ``norm_G``; ``zeta_tilde`` for residual networks, ``kink_distance`` with one
    hidden layer. With a mean over samples, all are those of the mean.

    Hypotheses: the setting; that the point is a global minimiser; that delta is in (0, ||G||] (beyond, the claim is
    vacuous); with one hidden layer that sigma is piecewise linear (None otherwise) and no preactivation at a kink.

    Accuracy: eps to 1e-15 relative, rounded down.

    Raises:
        InputError: gamma outside (0, 1), delta not positive, or a minimiser of other shapes.

    Source: paper 000, Theorems 4, 5 and 6, for any delta > 0 (a qualifier that Theorem 6 omits).
    """
    gamma = checks.real("gamma", gamma, above=0.0, below=1.0)
    delta = None if delta is None else checks.real("delta", delta, above=0.0)
    hypotheses, name = setting_hypotheses(problem), "regularity"
    holds = conjunction(hypotheses)
    if holds is not True:
        note = "not certified" if holds is None else FAILED
        certificate = Certificate(name, holds, {}, hypotheses, "none", note)
        return Regularity(certificate, problem, minimiser, np.zeros((0, 0)))
    assert isinstance(problem, Regression)
    layers = layers_of(problem, minimiser, "minimiser")
    factor = gauss_newton_factor(problem, layers)
    size, delta = norm(factor), smallest_positive(factor) if delta is None else delta
    covers = Hypothesis("0 < delta <= ||G||, so that some direction is allowed", 0.0 < delta <= size)
    shape = local_shape(problem, layers, gamma)
    hypotheses += (minimality(problem, layers), covers, *shape.conditions)
    holds, eps = conjunction(hypotheses), eps_root(shape, delta, gamma)
    values = {"gamma": gamma, "delta": delta, "beta": 0.5 * (1.0 - gamma) * delta**2, "norm_G": size}
    values |= {"eps": eps, "cap": shape.cap} | shape.values
    note = "" if holds else (VACUOUS if delta > size else FAILED)
    source = SOURCES[type(problem.network).__name__]
    return Regularity(Certificate(name, holds, values, hypotheses, source, note), problem, layers, factor)


@dataclass(frozen=True)
class LocalShape:
    """What distinguishes the networks near a minimiser.

    Attributes:
        values: alpha, zeta and the like, by the names of :func:`regularity`.
        norm_x: ``||X||`` (weighted when the loss is a mean).
        degrees: c_j by j >= 2, with ``||E_j|| <= ||X|| c_j eps^{j-1} ||v||``.
        cap: the largest eps.
        conditions: further hypotheses.
    """

    values: dict[str, float]
    norm_x: float
    degrees: dict[int, float]
    cap: float
    conditions: tuple[Hypothesis, ...] = ()

    def remainders(self, eps: float) -> tuple[float, float]:
        """Bounds on ``||sum_{j>=2} E_j|| / ||v||`` and on ``||sum_{j>=2} j E_j|| / ||v||`` within eps."""
        powers = {j: self.norm_x * c * eps ** (j - 1) for j, c in self.degrees.items()}
        return sum(powers.values(), 0.0), sum((j * power for j, power in powers.items()), 0.0)


def eps_root(shape: LocalShape, delta: float, gamma: float) -> float:
    """The largest eps up to the cap with ``delta (r_a + (1-gamma) r_b) + r_a r_b <= (1-gamma) delta^2 / 2``."""

    def excess(eps: float) -> float:
        r_b, weighted = shape.remainders(eps)
        r_a = weighted - gamma * r_b
        return delta * (r_a + (1.0 - gamma) * r_b) + r_a * r_b - 0.5 * (1.0 - gamma) * delta**2

    if excess(shape.cap) <= 0.0:
        return shape.cap
    low, high = 0.0, shape.cap
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (middle, high) if excess(middle) <= 0.0 else (low, middle)
    return low


def local_shape(problem: Regression, layers: Layers, gamma: float) -> LocalShape:
    """alpha, zeta, c_j and the cap at a minimiser of a problem in the setting of :func:`regularity`."""
    network = problem.network
    if isinstance(network, Shallow):
        return _hidden_layer_shape(problem, network, layers, gamma)
    norm_x = float(np.max(statistics_of(problem).scales))
    if isinstance(network, Residual):
        return _residual_shape(network, layers, norm_x, gamma)
    num_layers, half = len(layers), max(norm(layer) for layer in layers)
    alpha = _quotient(gamma, num_layers * (2.0 * half) ** (2 * (num_layers - 1)) * norm_x**2)
    degrees = {
        j: math.comb(num_layers, j) * half ** (num_layers - j) / math.sqrt(num_layers) for j in range(2, num_layers + 1)
    }
    return LocalShape({"zeta": 2.0 * half, "alpha": alpha, "alpha_printed": alpha}, norm_x, degrees, half)


def _residual_shape(network: Residual, layers: Layers, norm_x: float, gamma: float) -> LocalShape:
    sizes = [[norm(layer) for layer in block] for block in blocks_of(network, layers)]
    units, depth = [norm(unit) for unit in units_of(network, layers)], network.depth
    half, half_inner = max(units), max(max(block) for block in sizes)
    bound = len(layers) * (2.0 * half_inner) ** (2 * (depth - 1)) * (2.0 * half) ** (2 * (len(units) - 1)) * norm_x**2
    cap = min(increase_root(block, half) for block in sizes)
    values = {"zeta": 2.0 * half, "zeta_tilde": 2.0 * half_inner, "alpha": _quotient(gamma, bound)}
    values["alpha_printed"] = values["alpha"]
    return LocalShape(values, norm_x, growth_degrees(units, sizes), cap if depth == 1 else min(cap, half_inner))


def _hidden_layer_shape(problem: Regression, network: Shallow, layers: Layers, gamma: float) -> LocalShape:
    X, weight, sigma = np.asarray(problem.X), sample_weight(problem), network.activation
    preactivations = layers[0] @ X
    steepest = float(np.max(np.abs(evaluated(sigma.derivative, preactivations))))
    half, size = max(norm(evaluated(sigma, preactivations)), norm(layers[1]), steepest), norm(X)
    zeta, distance = 2.0 * half, kink_distance(sigma, layers[0], X)
    values = {
        "zeta": zeta, "kink_distance": distance,
        "alpha": _quotient(gamma, weight * (zeta**2 + size**2 * zeta**4)),
        "alpha_printed": _quotient(gamma, weight * max(zeta**2, size**2 * zeta**4)),
    }  # fmt: skip
    cap = min(half, half / (steepest * size) if steepest * size > 0.0 else math.inf, distance)
    conditions = (
        Hypothesis("sigma is piecewise linear, so that eps is explicit", True if sigma.homogeneity == 1.0 else None),
        Hypothesis("no preactivation of the minimiser is at a kink of sigma", distance > 0.0),
    )
    return LocalShape(values, math.sqrt(weight) * size, {2: steepest / math.sqrt(2.0)}, cap, conditions)


def growth_degrees(units: Sequence[float], sizes: Sequence[Sequence[float]]) -> dict[int, float]:
    """``c_j = ||grad P_j(1)|| / j`` for j >= 2, from the norms of the units and of their layers.

    ``dP/dx_kq`` at ``x = (s, ..., s)`` is a polynomial in s whose coefficient of ``s^{j-1}`` is ``dP_j/dx_kq (1)``.
    """
    growth = []
    for unit, block in zip(units, sizes, strict=True):
        product = _shifted(block)
        product[0] = unit
        growth.append(product)
    rows = []
    for k, block in enumerate(sizes):
        others = _multiplied([growth[other] for other in range(len(units)) if other != k])
        rows += [np.convolve(others, _shifted([*block[:q], *block[q + 1 :]])) for q in range(len(block))]
    coefficients = np.linalg.norm(np.array(rows), axis=0)
    return {degree + 1: float(value) / (degree + 1) for degree, value in enumerate(coefficients) if degree >= 1}


def _shifted(norms: Sequence[float]) -> Float[np.ndarray, " degree"]:
    """Coefficients of ``prod_q (a_q + s)``, ascending."""
    return _multiplied([np.array([value, 1.0]) for value in norms])


def _multiplied(factors: Sequence[np.ndarray]) -> Float[np.ndarray, " degree"]:
    result = np.ones(1)
    for factor in factors:
        result = np.convolve(result, factor)
    return result


def _quotient(gamma: float, bound: float) -> float:
    return gamma / bound if bound > 0.0 else math.inf
