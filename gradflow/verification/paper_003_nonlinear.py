"""Statements of paper 003, section 5: networks with one hidden layer and activations."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.integrate
from jaxtyping import Float

from gradflow import activations
from gradflow.certificates import boundedness_certificate
from gradflow.flow import GradientFlow
from gradflow.invariants import (
    Invariant,
    imbalance,
    invariants_of,
    unit_potential_balance,
)
from gradflow.invariants.shallow import entrywise
from gradflow.networks import Shallow
from gradflow.precision import in_double
from gradflow.problem import Regression
from gradflow.verification.short_runs import rate_along, regression, row, run, size, velocity, weights
from gradflow.verification.statement import Statement, Trial

SIGMOIDS = ("tanh", "arctan", "logistic", "erf", "algebraic", "softsign")
HOMOGENEOUS = ("relu", "leaky_relu", "prelu", "relu_squared")
EXACT = 1e-10
"""Allowed relative error of central differences, and of closed forms against quadrature."""

Layers = tuple[np.ndarray, ...]


@in_double
def _called(name: str, method: str, values: Any) -> np.ndarray:
    """``sigma.method(values)`` of a named activation as a NumPy array; ``""`` is sigma itself."""
    sigma = activations.get(name)
    return np.asarray(entrywise(getattr(sigma, method) if method else sigma, np.asarray(values, float)))


def _definition(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """(s1)-(s3) on random points; second derivatives by differences for the C^2 part, which softsign fails."""
    for index in range(count):
        name = SIGMOIDS[index % len(SIGMOIDS)]
        x = rng.choice([-1, 1], 8) * np.exp(rng.uniform(np.log(1e-3), np.log(6.0), 8))
        value, slope = _called(name, "", x), _called(name, "derivative", x)
        yield Trial(0.0, float(np.min(x * value)) - 1e-300, f"(s1) {name}")
        yield Trial(0.0, float(np.min(slope)) - 1e-300, f"(s2) {name}")
        low, high = activations.get(name).range
        ends = _called(name, "", np.array([-1e9, 1e9]))
        yield Trial(float(np.abs(ends - [low, high]).max()), 1e-8, f"(s3) {name}")
        h = 1e-5
        bends = _called(name, "derivative", np.array([-2 * h, -h, h, 2 * h]))
        jump = abs((bends[3] - bends[2]) / h - (bends[1] - bends[0]) / h)
        yield Trial.agreement(bool(jump < 0.1), activations.get(name).is_sigmoid, f"class C^2 at 0, {name}")


def _potentials(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for index in range(count):
        name = SIGMOIDS[index % len(SIGMOIDS)]
        x = float(rng.choice([-1, 1]) * np.exp(rng.uniform(np.log(1e-2), np.log(4.0))))
        quotient = lambda u, name=name: _called(name, "", u) / _called(name, "derivative", u)  # noqa: E731
        integral, _ = scipy.integrate.fixed_quad(quotient, 0.0, x, n=40)
        found = float(_called(name, "potential", x))
        yield Trial(abs(found - integral), EXACT * integral, f"{name} at {x:.3g}")
        yield Trial(abs(float(_called(name, "log_potential", x)) - np.log(found)), 1e-10, f"log, {name}")
        yield Trial(abs(float(_called(name, "potential", 1e-4)) / 5e-9 - 1), 1e-3, f"x^2/2 at 0, {name}")


def _growth(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """The logarithm of Sigma(x)/x^2 is at least 0 far out, and growing; not so near 1."""
    for index in range(count):
        name = SIGMOIDS[index % len(SIGMOIDS)]
        x = float(rng.choice([-1, 1]) * rng.uniform(5.0, 50.0))
        near, far = (float(_called(name, "log_potential", c * x)) - 2 * np.log(abs(c * x)) for c in (1.0, 100.0))
        yield Trial(0.0, near, f"Sigma / x^2 >= 1 at {x:.3g}, {name}")
        yield Trial(near, far, f"Sigma / x^2 grows, {name}")
    yield Trial(float(_called("tanh", "potential", 1.0)), 0.7, "not pointwise: Sigma(1) < 1 for tanh")


def _growth_as_printed() -> Trial:
    return Trial(1.0, float(_called("tanh", "potential", 1e-3)), "Sigma tends to infinity as |x| tends to zero")


def _shallow(
    rng: np.random.Generator, pair: tuple[str, str], X: np.ndarray, **options: Any
) -> tuple[GradientFlow, Layers]:
    """A flow on the given data with two outputs and three hidden units, and a start."""
    network = Shallow((X.shape[0], 3, 2), *pair)
    problem = regression(network, X, 0.4 * rng.normal(size=(2, X.shape[1])), **options)
    layers = weights(rng, network.shapes, 0.7)
    used = X[:, np.any(X != 0.0, axis=0)]
    # Central differences need the states within their step to lie on one side of 0, where softsign is not smooth.
    while np.abs(layers[0] @ used).min() < 0.05:
        layers = weights(rng, network.shapes, 0.7)
    return GradientFlow(problem), layers


def _field(flow: GradientFlow, layers: Layers) -> tuple[Layers, np.ndarray]:
    """Eqs. (29)-(30) with data, ``[S1' o W_2^T (M o S2')] X^T`` and ``(M o S2') S1^T``, and ``W_2^T (M o S2')``."""
    problem = flow.problem
    assert isinstance(problem, Regression) and isinstance(problem.network, Shallow)
    first, second = (sigma.name for sigma in (problem.network.activation, problem.network.output_activation))
    first, second = (name.replace("leaky_relu(0.01)", "leaky_relu") for name in (first, second))
    first = first.replace("leaky_relu(0.25)", "prelu")
    X, hidden = np.asarray(problem.X), layers[0] @ np.asarray(problem.X)
    activity, slopes = _called(first, "", hidden), _called(first, "derivative", hidden)
    outputs = layers[1] @ activity
    signal = (np.asarray(problem.Y) - _called(second, "", outputs)) * _called(second, "derivative", outputs)
    back = layers[1].T @ signal
    return ((slopes * back) @ X.T, signal @ activity.T), back


def _gradients(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    pairs = [("tanh", "tanh"), ("arctan", "identity"), ("erf", "softsign"), ("algebraic", "logistic")]
    for index in range(count):
        X = np.eye(3) if index % 2 else rng.normal(size=(3, 3))
        flow, layers = _shallow(rng, pairs[index % 4], X)
        expected = _field(flow, layers)[0]
        gap = size([a - b for a, b in zip(velocity(flow, layers), expected, strict=True)])
        yield Trial(gap, 1e-13 * (1 + size(expected)), str(pairs[index % 4]))


def _activity(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """(31), with ``X^T X`` in place of I for data."""
    for index in range(count):
        X = np.eye(3) if index % 2 else rng.normal(size=(3, 3))
        flow, layers = _shallow(rng, ("tanh", "arctan"), X)
        moves, back = _field(flow, layers)
        rate = rate_along(moves, lambda rows, X=X: _called("tanh", "", rows[0] @ X), layers)
        slopes = _called("tanh", "derivative", layers[0] @ X)
        expected = slopes * ((slopes * back) @ X.T @ X)
        yield Trial(float(np.abs(rate - expected).max()), EXACT * (1 + float(np.abs(expected).max())))


def _change(invariant: Invariant, moves: Layers, layers: Layers) -> tuple[float, float]:
    """Largest rate of change, and the rate that would be of first order in everything."""
    rate = float(np.abs(rate_along(moves, invariant.value, layers)).max())
    return rate, size(moves) * max(float(invariant.scale(layers)), 1.0)


def _columns(rng: np.random.Generator) -> np.ndarray:
    """Three orthogonal columns of unlike lengths, two of them again with either sign, and a zero column."""
    basis = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.5, 2.0, 3)
    again = basis[:, :2] * rng.choice([-1.0, 1.0], 2)
    return np.concatenate([basis, again, np.zeros((3, 1))], axis=1)[:, rng.permutation(6)]


def _potential_law(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """X = I and orthogonal columns, any sigma_2: conserved; the plain sum without the weights 1/||x_k||^2 is not."""
    for index in range(count):
        pair = SIGMOIDS[index % len(SIGMOIDS)], ("tanh", "identity", "arctan")[index % 3]
        X = np.eye(3, 6) if index % 2 else _columns(rng)
        flow, layers = _shallow(rng, pair, X)
        moves, _ = _field(flow, layers)
        for invariant in invariants_of(flow):
            yield Trial.agreement(invariant.holds, True, f"{invariant.name} is claimed")
            rate, scale = _change(invariant, moves, layers)
            yield Trial(rate, EXACT * scale, f"{invariant.name}, {pair}, {'X = I' if index % 2 else 'orthogonal X'}")
        general, layers = _shallow(rng, pair, rng.normal(size=(3, 6)))
        yield Trial.agreement(invariants_of(general)[0].holds, False, "not claimed for general X")
    flow, start = _shallow(rng, ("tanh", "tanh"), np.eye(3, 6))
    end = row(run(flow, start, [0.0, 3.0]), -1)
    unit = invariants_of(flow)[0]
    yield Trial(float(unit.drift(end, start)), 1e-9 * float(unit.scale(end)), "along a run to t = 3")


def _general_as_printed() -> Trial:
    rng = np.random.default_rng(0)
    flow, layers = _shallow(rng, ("tanh", "tanh"), rng.normal(size=(3, 6)))
    rate, scale = _change(invariants_of(flow)[0], _field(flow, layers)[0], layers)
    return Trial(rate, EXACT * scale, "||W_2[:, l]||^2 - 2 sum Sigma(W_1)_lk for general X")


def _total(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """(33), and that it needs its factor 2."""
    for index in range(count):
        name = SIGMOIDS[index % len(SIGMOIDS)]
        flow, layers = _shallow(rng, (name, "tanh"), np.eye(3, 6))
        moves, _ = _field(flow, layers)
        rate, scale = _change(invariants_of(flow)[1], moves, layers)
        yield Trial(rate, EXACT * scale, f"total, {name}")
        halved = functools.partial(_without_factor, name=name)
        yield Trial(1e-4 * size(moves), float(np.abs(rate_along(moves, halved, layers))), f"without the 2, {name}")


def _without_factor(layers: Layers, name: str) -> Float[np.ndarray, "..."]:
    balance = unit_potential_balance(layers, activations.get(name), np.eye(3))
    squares = np.sum(np.square(layers[1]), axis=-2)
    return np.asarray(0.5 * (balance + squares)).sum(-1)


def _homogeneous(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Any X, rank-deficient ones and states on a kink included; the off-diagonal of the matrix moves."""
    for index in range(count):
        name = HOMOGENEOUS[index % len(HOMOGENEOUS)]
        rank = 2 if index % 3 == 0 else 3
        flow, layers = _shallow(rng, (name, "tanh"), rng.normal(size=(3, rank)) @ rng.normal(size=(rank, 6)))
        if index % 2:
            X = np.asarray(flow.problem.X)  # type: ignore[attr-defined]
            layers[0][0] -= (layers[0][0] @ X[:, 0]) / (X[:, 0] @ X[:, 0]) * X[:, 0]
        moves, _ = _field(flow, layers)
        for invariant in invariants_of(flow):
            rate, scale = _change(invariant, moves, layers)
            yield Trial(rate, EXACT * scale, f"{invariant.name}, {name}")
    # A fixed instance, because a unit that is dead on all samples does not move.
    fixed = np.random.default_rng(8)
    flow, layers = _shallow(fixed, ("relu", "tanh"), fixed.normal(size=(3, 6)))
    moves, _ = _field(flow, layers)
    matrix_rate = rate_along(moves, lambda rows: imbalance(rows, 1), layers)
    off = float(np.abs(matrix_rate - np.diag(np.diag(matrix_rate))).max())
    yield Trial(1e-2 * size(moves), off, "the matrix is not conserved off its diagonal")


def _unreachable(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Scalar target s > 1 of tanh after tanh: w_2 = u + 1/(2u) + O(1/u^2), u = log(8 (s - 1) t)/2; not certified."""
    for _ in range(count):
        s = float(rng.uniform(1.3, 3.0))
        problem = regression(Shallow((1, 1, 1), "tanh", "tanh"), np.eye(1), np.full((1, 1), s))
        flow = GradientFlow(problem)
        start = weights(rng, problem.network.shapes, 0.2)
        start = tuple(np.abs(layer) + 0.3 for layer in start)
        found = boundedness_certificate(flow, start)
        reached = [h.holds for h in found.hypotheses if "open range" in h.statement]
        yield Trial.agreement((found.holds, reached), (None, [False]), "not certified, with the reason")
        times = [0.0, 1e4, 1e8]
        states = run(flow, start, times, method="LSODA", rtol=1e-9)
        for step in (1, 2):
            u = 0.5 * np.log(8 * (s - 1) * times[step])
            # The start and the next order change u by less than 1.5/u^2 (0.16/u^2 for s = 2 from (1/2, 1/2)).
            yield Trial(
                abs(float(states[1][step, 0, 0]) - u - 0.5 / u), 1.5 / u**2, f"s = {s:.2f}, t = {times[step]:g}"
            )


def _bounded_as_printed() -> Trial:
    problem = regression(Shallow((1, 1, 1), "tanh", "tanh"), np.eye(1), np.full((1, 1), 2.0))
    states = run(GradientFlow(problem), (np.full((1, 1), 0.5),) * 2, [0.0, 1e4, 1e8], method="LSODA", rtol=1e-9)
    return Trial(float(states[1][2, 0, 0] - states[1][1, 0, 0]), 1e-3, "converges: w_2 settles between t = 1e4 and 1e8")


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "003", "Definition 2",
        "tanh, arctan, logistic - 1/2, erf and x/sqrt(1 + x^2) are sigmoids; softsign obeys (s1)-(s3) but is not C^2.",
        ("gradflow.activations",), _definition, quick=6, thorough=300,
    ),
    Statement(
        "003", "eq. (27)",
        "Closed forms of Sigma(x) = int_0^x sigma/sigma' against quadrature; Sigma ~ x^2/2 at 0.",
        ("gradflow.activations.AbstractActivation.potential",), _potentials,
        correction="Printed: sigma' where the explicit form of Sigma is announced.",
        quick=6, thorough=120,
    ),
    Statement(
        "003", "Lemma 3",
        "Sigma tends to infinity as |x| does, with liminf Sigma(x)/x^2 >= 1 (not pointwise: tanh at 1 gives 0.69).",
        ("gradflow.activations.AbstractActivation.log_potential",), _growth,
        correction="Printed: as |x| tends to zero, and lim Sigma/x^2 >= 1 for the lower limit.",
        as_printed=_growth_as_printed, quick=12, thorough=240,
    ),
    Statement(
        "003", "Lemma 4, eqs. (29)-(30)",
        "dW_1/dt = [S1' o W_2^T (M o S2')] X^T and dW_2/dt = (M o S2') S1^T, S1 = sigma_1(W_1 X); X = I in the paper.",
        ("gradflow.networks.Shallow", "gradflow.flow.GradientFlow"), _gradients, quick=2, thorough=200,
    ),
    Statement(
        "003", "Lemma 4, eq. (31)",
        "dS1/dt = S1' o {[S1' o W_2^T (M o S2')] X^T X}; for X = I the printed form.",
        ("gradflow.networks.Shallow.preactivations",), _activity, quick=8, thorough=400,
    ),
    Statement(
        "003", "Lemma 5",
        "||W_2[:, l]||^2 - 2 sum_k Sigma((W_1 X)_lk)/||x_k||^2 is conserved for every hidden unit when the distinct "
        "columns x_k of X are mutually orthogonal (opposite ones count once for odd sigma_1), any sigma_2 and loss.",
        ("gradflow.invariants.invariants_of", "gradflow.invariants.unit_potential_balance"), _potential_law,
        correction="Printed after 'similar to (11)' without data: X = I is assumed silently. For general X nothing of "
        "the kind is conserved.",
        as_printed=_general_as_printed, quick=6, thorough=300,
    ),
    Statement(
        "003", "Lemma 5, eq. (33)",
        "||W_2||^2 - 2 sum Sigma(W_1)_lk is conserved for X = I; without the factor 2 it moves.",
        ("gradflow.invariants.shallow.total_balance",), _total, quick=6, thorough=300,
    ),
    Statement(
        "003", "Remark 4",
        "p ||W_2[:, l]||^2 - ||W_1[l, :]||^2 is conserved for p-homogeneous sigma_1 (ReLU, leaky ReLU: p = 1), for any "
        "X and at kinks too; the diagonal only.",
        ("gradflow.invariants.unit_norm_balance",), _homogeneous, quick=8, thorough=400,
    ),
    Statement(
        "003", "Section 5, boundedness",
        "No boundedness: for a target outside the open range of sigma_2 the weights grow without end; tanh after tanh, "
        "target s > 1: w_2 = u + 1/(2u) + O(1/u^2), u = log(8 (s - 1) t)/2. The certificate says so.",
        ("gradflow.certificates.nonlinear_boundedness",), _unreachable,
        correction="Printed in the introduction: similar results (global convergence) are established in Section 5.",
        as_printed=_bounded_as_printed, quick=1, thorough=20,
    ),
)  # fmt: skip
"""Section 5 of paper 003 with its errata."""
