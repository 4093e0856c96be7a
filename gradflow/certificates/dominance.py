"""Gradient dominance near a global minimiser: ``L - L* <= lambda ||grad L||^2`` in an explicit neighbourhood.

Letters: ``eta`` the smallest singular value, W* the minimiser, l layers (l units of r layers in a residual network).

    linear (Theorem 1)            tau = 1/2 min_k eta(W_k*),   lambda = 1 / (2 l tau^{2(l-1)} eta(X)^2),
                                  where ||W_k - W_k*|| < tau for every k
    residual (Theorem 2)          tau from the units, tau~ = 1/2 min_kq eta(A_kq*),
                                  lambda = 1 / (2 l r tau~^{2(r-1)} tau^{2(l-1)} eta(X)^2),
                                  where ||A_kq - A_kq*|| < min(tau^, tau~);  for r = 1, tau^ = tau and tau~ has no part
    one hidden layer (Theorem 3)  tau = 1/2 eta(sigma(W_1* X)),   lambda = 1 / (2 tau^2),
                                  where ||sigma(W_1 X) - sigma(W_1* X)|| <= tau

tau^ is explicit here (the paper gives its existence): ``min_k t_k`` with
``prod_q (||A_kq*|| + t_k) - prod_q ||A_kq*|| = tau``. Linear and residual networks may have m > d samples, for
``e - e*`` lies in the row space of X. With one hidden layer zero loss is what counts; range R guarantees it.

What it means for the flow: ``d(L - L*)/dt = -||grad L||^2 <= -(L - L*) / lambda`` while inside, and the rest of its
path is no longer than ``2 sqrt(lambda (L - L*))``: a start from which that does not reach the boundary never leaves
(:meth:`GradientDominance.confines`). The constant is loose; :func:`pointwise_constant` is the proofs' sharper one.

Source: paper 000, Theorems 1 to 3, eqs. (42), (49) and (53), of which the last lacks an inverse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from gradflow import checks
from gradflow.certificates.certificate import Certificate
from gradflow.certificates.zero_loss_geometry import (
    eta_min,
    increase_root,
    linear_factors,
    minimality,
    norm,
    reducible_residual,
    stacked_gradient,
)
from gradflow.critical_sets.minimisers.factorisation import chain
from gradflow.critical_sets.minimisers.one_hidden_layer import evaluated
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
    "Linear": "paper 000, Theorem 1",
    "Residual": "paper 000, Theorem 2 (hat tau made explicit)",
    "Shallow": "paper 000, Theorem 3",
}
FAILED = "no gradient dominance is promised here, and none denied"


@dataclass(frozen=True)
class GradientDominance:
    """A certificate of gradient dominance with the neighbourhood it speaks of.

    Attributes:
        certificate: its numbers and hypotheses, see :func:`gradient_dominance`.
        problem: the problem.
        minimiser: W*; as it was given where the problem is outside of the setting.

    Every method raises :class:`~gradflow.checks.InputError` for params of other shapes, and those that need the
    neighbourhood or lambda for a certificate that does not hold.
    """

    certificate: Certificate
    problem: AbstractProblem
    minimiser: Any

    @property
    def holds(self) -> bool | None:
        """The certificate's."""
        return self.certificate.holds

    @property
    def radius(self) -> float:
        """Largest distance inside the neighbourhood (attained with one hidden layer only)."""
        return self._promised("radius")

    @property
    def constant(self) -> float:
        """Lambda."""
        return self._promised("lambda")

    def distance(self, params: Weights) -> float:
        """``max_k ||W_k - W_k*||``, or ``||sigma(W_1 X) - sigma(W_1* X)||`` with one hidden layer; operator norms."""
        problem = _regression(self.problem)
        layers, centre = layers_of(problem, params), layers_of(problem, self.minimiser)
        if isinstance(problem.network, Shallow):
            hidden, limit = (
                evaluated(problem.network.activation, part[0] @ np.asarray(problem.X)) for part in (layers, centre)
            )
            return norm(hidden - limit)
        return max(norm(layer - other) for layer, other in zip(layers, centre, strict=True))

    def contains(self, params: Weights) -> bool:
        """Whether the promise covers a state."""
        radius, distance = self.radius, self.distance(params)
        return distance <= radius if isinstance(_regression(self.problem).network, Shallow) else distance < radius

    def confines(self, params0: Weights) -> bool | None:
        """True when the gradient flow from `params0` stays inside for ever, so that its rate is promised a priori.

        ``distance + c 2 sqrt(lambda (L - L*)) < radius`` with c = 1 for layers; with one hidden layer
        ``c = sup |sigma'| ||X||``, known for 1-homogeneous activations, otherwise None. With kinks, as long as the
        flow meets them at isolated times. False: not shown, not denied.
        """
        problem, speed = _regression(self.problem), 1.0
        if isinstance(problem.network, Shallow):
            activation = problem.network.activation
            if activation.homogeneity != 1.0:
                return None
            speed = float(np.max(evaluated(activation.derivative, np.array([[-1.0, 1.0]])))) * norm(
                np.asarray(problem.X)
            )
        reach = 2.0 * speed * np.sqrt(self.constant * self.excess(params0))
        return bool(self.distance(params0) + reach < self.radius)

    def excess(self, params: Weights) -> float:
        """``L - L*``, without cancellation."""
        return 0.5 * float(np.sum(reducible_residual(_regression(self.problem), params) ** 2))

    def ratio(self, params: Weights) -> float:
        """``(L - L*) / (lambda ||grad L||^2)``, at most 1 inside; 0 at minimisers, inf at other critical points."""
        excess, gradient = self.excess(params), stacked_gradient(_regression(self.problem), params)
        steepness = self.constant * float(gradient @ gradient)
        return 0.0 if excess == 0.0 else (excess / steepness if steepness > 0.0 else float("inf"))

    def _promised(self, name: str) -> float:
        checks.require(self.holds is True, "certificate", "hold, for a neighbourhood to exist", f"holds={self.holds}")
        return float(self.certificate.values[name])


def gradient_dominance(problem: AbstractProblem, minimiser: Any) -> GradientDominance:
    """The certificate ``L - L* <= lambda ||grad L||^2`` around a given global minimiser.

    Values: ``lambda``, ``radius``, ``rate = 1 / lambda`` (of the flow inside), ``tau``, ``minimum`` (the loss L*);
    ``eta_min_X`` without a hidden nonlinearity; ``tau_tilde`` (no part of it when r = 1) and ``tau_hat`` for residual
    networks. With a mean over samples in place of a sum, lambda is that of the mean.

    Hypotheses: those of :func:`~gradflow.critical_sets.minimisers.setting.setting_hypotheses`; that the point is a
    global minimiser (None when ambiguous); that tau, and tau~ when r > 1, are positive.

    Accuracy: eta counts as 0 when rounding could have made it positive; otherwise it is off by ``1e-15 ||W*||``.

    Raises:
        InputError: `minimiser` is not a tuple of matrices of the network's shapes.
    """
    hypotheses, name = setting_hypotheses(problem), "gradient_dominance"
    holds = conjunction(hypotheses)
    if holds is not True:
        note = "not certified" if holds is None else FAILED
        return GradientDominance(Certificate(name, holds, {}, hypotheses, "none", note), problem, minimiser)
    problem = _regression(problem)
    layers = layers_of(problem, minimiser, "minimiser")
    values, conditions = _constants(problem, layers)
    hypotheses += (minimality(problem, layers), *conditions)
    holds, source = conjunction(hypotheses), SOURCES[type(problem.network).__name__]
    certificate = Certificate(name, holds, values, hypotheses, source, "" if holds else FAILED)
    return GradientDominance(certificate, problem, layers)


def pointwise_constant(problem: AbstractProblem, params: Weights) -> float:
    """The lambda of one state, ``L - L* <= lambda ||grad L||^2`` there, without a neighbourhood; inf when singular.

    ``1 / (2 sum_k eta(W_{k-1} ... W_1 X)^2 eta(W_l ... W_{k+1})^2)``, in a residual network each term of the sum over
    its r layers times ``eta(A_{k,q-1} ... A_k1)^2 eta(A_kr ... A_{k,q+1})^2``; ``1 / (2 eta(sigma(W_1 X))^2)`` with one
    hidden layer. Inside a certified neighbourhood never larger than the certificate's.

    Raises:
        InputError: a problem outside the setting of :func:`gradient_dominance`, or params of other shapes.

    Source: paper 000, eqs. (42) and (49), and the proof of Theorem 3.
    """
    failed = [hypothesis.statement for hypothesis in setting_hypotheses(problem) if hypothesis.holds is not True]
    checks.require(not failed, "problem", "be such that " + "; ".join(failed), type(problem).__name__)
    problem = _regression(problem)
    layers, network, root = layers_of(problem, params), problem.network, np.asarray(statistics_of(problem).root)
    if isinstance(network, Shallow):
        total = sample_weight(problem) * eta_min(_hidden(problem, layers)) ** 2
    elif isinstance(network, Residual):
        total = _residual_sum(network, layers, root)
    else:
        factors = zip(*linear_factors(network, layers, root), strict=True)
        total = sum((eta_min(before) * eta_min(after)) ** 2 for before, after in factors)
    return 1.0 / (2.0 * total) if total > 0.0 else float("inf")


def dominance_envelope(dominance: GradientDominance, params0: Weights, times: Any) -> Float[np.ndarray, "..."]:
    """``L* + (L(0) - L*) exp(-t / lambda)``: what the loss does not exceed as long as the flow stays inside.

    Promised for all times when ``dominance.confines(params0)``.

    Raises:
        InputError: a certificate that does not hold, a start outside the neighbourhood, or a negative time.
    """
    inside = dominance.contains(params0)
    checks.require(inside, "params0", "lie inside the neighbourhood", f"a distance of {dominance.distance(params0):g}")
    elapsed = np.asarray(times, np.float64)
    checks.require(bool(np.all(elapsed >= 0.0)), "times", "be at least 0", "a negative or NaN time")
    minimum = dominance.certificate.values["minimum"]
    return np.asarray(minimum + dominance.excess(params0) * np.exp(-elapsed / dominance.constant))


@dataclass(frozen=True)
class RateInside:
    """How the rows of a run compare with the promised rate.

    Attributes:
        inside: for every row, whether it lies in the neighbourhood.
        left_at: time of the first row outside; None when there is none.
        worst: largest ``(L - L*) / ((L(0) - L*) exp(-t / lambda))`` over the rows before that, the first one left out;
            NaN without such rows.
        kept: whether the loss stayed below its envelope at these rows, within the tolerances; None without such rows.
    """

    inside: Bool[np.ndarray, " k"]
    left_at: float | None
    worst: float
    kept: bool | None


def rate_inside(
    dominance: GradientDominance,
    times: Any,
    params: Sequence[Any],
    losses: Any,
    *,
    rtol: float = 1e-6,
    atol: float = 0.0,
) -> RateInside:
    """Whether a run kept the rate from its first row until it first left the neighbourhood.

    Args:
        dominance: a certificate that holds.
        times: ``(k,)``, ascending.
        params: matrices with a leading axis of length k, row i the state at ``times[i]``.
        losses: ``(k,)``, the loss at the rows, L* included; of a trajectory ``gradflow.monitor(flow, run)["loss"]``,
            whose ``run.times`` and ``run.params`` are the other two.
        rtol, atol: how far the loss may be above its envelope, relative and absolute: the integrator's error, and
            rounding of about ``1e-15 ||Y||^2``.

    Raises:
        InputError: lengths that differ, times that do not ascend, or a certificate that does not hold.
    """
    times, losses = checks.finite_array("times", times, ndim=1), checks.finite_array("losses", losses, ndim=1)
    checks.require(bool(np.all(np.diff(times) > 0.0)), "times", "ascend", "times that do not")
    lengths = [len(times), len(losses), *(len(layer) for layer in params)]
    checks.require(len(set(lengths)) == 1, "params", "have one row per time and loss", f"lengths {lengths}")
    inside = np.array([dominance.contains(tuple(layer[i] for layer in params)) for i in range(len(times))])
    count = len(times) if inside.all() else int(np.argmin(inside))
    left_at = None if count == len(times) else float(times[count])
    if count < 2:
        return RateInside(inside, left_at, float("nan"), None)
    excess = losses[:count] - dominance.certificate.values["minimum"]
    envelope = excess[0] * np.exp(-(times[:count] - times[0]) / dominance.constant)
    kept = bool(np.all(excess <= envelope * (1.0 + rtol) + atol))
    worst = np.max(excess[1:] / np.maximum(envelope[1:], np.finfo(float).tiny))
    return RateInside(inside, left_at, float(worst), kept)


def _regression(problem: AbstractProblem) -> Regression:
    checks.require(isinstance(problem, Regression), "problem", "be a Regression", type(problem).__name__)
    assert isinstance(problem, Regression)
    return problem


def _hidden(problem: Regression, layers: Layers) -> Float[np.ndarray, "d_1 samples"]:
    assert isinstance(problem.network, Shallow)
    return evaluated(problem.network.activation, layers[0] @ np.asarray(problem.X))


def _constants(problem: Regression, layers: Layers) -> tuple[dict[str, float], tuple[Hypothesis, ...]]:
    network = problem.network
    if isinstance(network, Shallow):
        tau = 0.5 * eta_min(_hidden(problem, layers))
        values, rate = {"tau": tau, "radius": tau, "minimum": 0.0}, 2.0 * sample_weight(problem) * tau**2
        conditions: tuple[Hypothesis, ...] = (Hypothesis("sigma(W_1* X) is invertible (tau > 0)", tau > 0.0),)
    else:
        statistics = statistics_of(problem)
        eta_x = float(np.min(statistics.scales))
        constants = _residual_constants(network, layers) if isinstance(network, Residual) else _linear_constants(layers)
        values, factor, conditions = constants
        values |= {"eta_min_X": eta_x, "minimum": float(statistics.irreducible)}
        rate = 2.0 * len(layers) * factor * eta_x**2
    return values | {"rate": rate, "lambda": 1.0 / rate if rate > 0.0 else float("inf")}, conditions


def _linear_constants(layers: Layers) -> tuple[dict[str, float], float, tuple[Hypothesis, ...]]:
    tau = 0.5 * min(eta_min(layer) for layer in layers)
    conditions = (Hypothesis("every W_k* has full rank (tau > 0)", tau > 0.0),)
    return {"tau": tau, "radius": tau}, tau ** (2 * (len(layers) - 1)), conditions


def _residual_constants(network: Residual, layers: Layers) -> tuple[dict[str, float], float, tuple[Hypothesis, ...]]:
    tau = 0.5 * min(eta_min(unit) for unit in units_of(network, layers))
    tilde = 0.5 * min(eta_min(layer, scale=1.0) for layer in layers)
    hat = min(increase_root([norm(layer) for layer in block], tau) for block in blocks_of(network, layers))
    radius = hat if network.depth == 1 else min(hat, tilde)
    conditions: tuple[Hypothesis, ...] = (
        Hypothesis("every unit I + A_kr* ... A_k1* has full rank (tau > 0)", tau > 0.0),
    )
    if network.depth > 1:
        conditions += (Hypothesis("every A_kq* has full rank (tau~ > 0)", tilde > 0.0),)
    values = {"tau": tau, "tau_tilde": tilde, "tau_hat": hat, "radius": radius}
    return values, tilde ** (2 * (network.depth - 1)) * tau ** (2 * (network.units - 1)), tuple(conditions)


def _residual_sum(network: Residual, layers: Layers, root: Float[np.ndarray, "d d"]) -> float:
    """The sum in (49), with its four factors as printed."""
    units, total = units_of(network, layers), 0.0
    for k, block in enumerate(blocks_of(network, layers)):
        outer = eta_min(chain(units[:k], network.dim) @ root) * eta_min(chain(units[k + 1 :], network.dim))
        for q in range(network.depth):
            inner = eta_min(chain(block[:q], network.dim)) * eta_min(chain(block[q + 1 :], network.dim))
            total += (outer * inner) ** 2
    return total
