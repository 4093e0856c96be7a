"""Statements of paper 003 on where its flows go: Proposition 1, Remark 2, example (1), the conjecture."""

from collections.abc import Iterator

import numpy as np

from gradflow import model_problems
from gradflow.certificates import boundedness_certificate, envelope, rate_certificate
from gradflow.flow import GradientFlow, ReducedFlow
from gradflow.invariants import imbalance
from gradflow.networks import Linear
from gradflow.problem import Landscape, Regression
from gradflow.verification.paper_003_flow import EXACT, drawn
from gradflow.verification.short_runs import linear_problem, rate_along, regression, row, run, size, velocity, weights
from gradflow.verification.statement import Statement, Trial


def _bounded(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """R bounds the norm along runs of both flows; the run ends near a critical point."""
    for index in range(count):
        problem = linear_problem(rng, (3, 3, 2), rank=3 if index % 3 else 2)
        flow = ReducedFlow(problem) if index % 3 == 1 else GradientFlow(problem)
        start = weights(rng, problem.network.shapes, rng.choice([0.3, 1.2]))
        found = boundedness_certificate(flow, start)
        yield Trial.agreement(found.holds, True, "certified")
        states = run(flow, start, np.concatenate([[0.0], np.geomspace(0.05, 40.0, 30)]).tolist())
        norms = np.sqrt(sum(np.sum(layer**2, axis=(1, 2)) for layer in states))
        yield Trial(float(norms.max()), found.values["R"] * (1 + 1e-9), "||W(t)|| <= R")
        speeds = [size(velocity(flow, row(states, step))) for step in (0, -1)]
        yield Trial(speeds[1], 0.02 * speeds[0], "on its way to a critical point")
    for depth in (1, 2, 3, 4):
        degree = 2 * (depth + 1)
        moves = weights(rng, [(2, 2)] * (depth + 1))
        # On a line the loss is a polynomial: its (degree + 1)-th differences vanish, the degree-th do not.
        problem = regression(Linear((2,) * (depth + 2)), np.eye(2), rng.normal(size=(2, 2)))
        line = _losses(problem, tuple(np.linspace(-1, 1, degree + 2)[:, None, None] * move for move in moves))
        yield Trial(
            abs(float(np.diff(line, degree + 1)[0])), 1e-11 * np.abs(line).max() * 2**degree, "degree <= 2(H+1)"
        )
        yield Trial(1e-6 * float(np.abs(line).max()), abs(float(np.diff(line, degree)[0])), "degree >= 2(H+1)")


def _polynomial_rate(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """|w_i| = x with x' = -x^2 (s + x^3) on the stable set of the non-strict saddle: x = 1 / (s t + O(1))."""
    flow = GradientFlow(regression(Linear((1, 1, 1, 1)), np.eye(1), np.eye(1)))
    for _ in range(count):
        first = float(rng.uniform(0.2, 0.9))
        signs = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1], [-1, -1, -1]])[rng.integers(4)]
        states = run(flow, tuple(np.full((1, 1), sign * first) for sign in signs), [0.0, 200.0, 400.0])
        x = np.abs(np.stack([layer.ravel() for layer in states]))
        yield Trial(float(np.ptp(x, axis=0).max()), 1e-8, "|a| = |b| = |c|")
        slope = float(1 / x[0, 2] - 1 / x[0, 1]) / 200.0
        # d(1/x)/dt = 1 + x^3, and x < 1/200 there.
        yield Trial(abs(slope - 1.0), 1e-5, "1/x grows like t: a rate t^-1, no exponential")


def _rate(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """The certified envelope along runs, where the condition holds; its refusal where it does not."""
    for index in range(count):
        problem = linear_problem(rng, (3, 3, 2))
        flow = ReducedFlow(problem) if index % 2 else GradientFlow(problem)
        first = 0.15 * rng.normal(size=(3, 3))
        second = 0.8 * np.linalg.qr(rng.normal(size=(3, 2)))[0].T + 0.1 * rng.normal(size=(2, 3))
        found = rate_certificate(flow, (first, second))
        # One hidden layer: lambda_1 is the d_2-th largest eigenvalue of C_1 (reduced: of the same matrix).
        eigenvalue = float(np.linalg.eigvalsh(_moving_imbalance(first, second))[-2])
        yield Trial.agreement(found.holds, eigenvalue > 0, f"lambda_1 = {eigenvalue:.2g}")
        if found.holds:
            times = np.linspace(0.0, 4.0, 9)
            states = run(flow, (first, second), times.tolist())
            excess = np.array([float(flow.problem.loss(row(states, step))) for step in range(9)])
            promised = envelope(found, times)
            worst = int(np.argmax(excess - promised))
            yield Trial(float(excess[worst]), float(promised[worst]) * (1 + 1e-9), "L(t) below its envelope")
    for _ in range(count):
        # H = 2, scalar: the product of the lambda's, and the sharper recursion.
        lambdas = rng.uniform(0.1, 1.5, 2)
        start = _chain(lambdas)
        flow = GradientFlow(regression(Linear((1, 1, 1, 1)), np.eye(1), np.full((1, 1), rng.uniform(0.1, 2.0))))
        found = rate_certificate(flow, start)
        product, sharper = float(np.prod(lambdas)), float(lambdas[0] * lambdas.sum())
        yield Trial(abs(found.values["alpha_product"] - product), 1e-9, "alpha = prod lambda_l")
        yield Trial(abs(found.values["alpha"] - sharper), 1e-9, "lambda_1 (lambda_1 + lambda_2) for H = 2")


def _moving_imbalance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(imbalance((first, second), 1))


def _chain(lambdas: np.ndarray) -> tuple[np.ndarray, ...]:
    squares = np.concatenate([[0.0], np.cumsum(lambdas)])
    return tuple(np.full((1, 1), np.sqrt(square)) for square in squares)


def _rate_as_printed() -> Trial:
    """The text's alpha, the d_{j+1}-smallest eigenvalue of C_j: here the same 0.1 for j = 1, 2."""
    lambdas = np.array([0.1, 0.1])
    flow = GradientFlow(regression(Linear((1, 1, 1, 1)), np.eye(1), np.full((1, 1), 0.05)))
    end = row(run(flow, _chain(lambdas), [0.0, 20.0]), -1)
    start_loss = 0.5 * 0.05**2
    return Trial(
        float(flow.problem.loss(end)) / start_loss, float(np.exp(-2 * 0.1 * 20.0)), "L(20) / L(0), scalar, H = 2"
    )


def _dissipation(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for index in range(count):
        problem, params = drawn(rng, index)
        flow = GradientFlow(problem)
        moves = velocity(flow, params)
        rate, scale = _loss_rate(problem, moves, params), size(moves) ** 2
        yield Trial(abs(rate + scale), EXACT * scale, "dL/dt = -sum_j ||grad_j L||^2")


def _losses(problem: Regression, rows: tuple[np.ndarray, ...]) -> np.ndarray:
    """Half the squared error of every row of weights, from the samples."""
    product = np.asarray(problem.X)
    for layer in rows:
        product = layer @ product
    return np.asarray(0.5 * np.sum((product - np.asarray(problem.Y)) ** 2, axis=(-2, -1)))


def _loss_rate(problem: Regression, moves: tuple[np.ndarray, ...], params: tuple[np.ndarray, ...]) -> float:
    return float(rate_along(moves, lambda rows: _losses(problem, rows), params))


def _dissipation_as_printed() -> Trial:
    problem, params = drawn(np.random.default_rng(0), 0)
    moves = velocity(GradientFlow(problem), params)
    scale = size(moves) ** 2
    return Trial(abs(_loss_rate(problem, moves, params) + 2 * scale), EXACT * scale, "dL/dt = -2 sum_j ||grad_j L||^2")


def _excursion(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    flow = GradientFlow(Landscape(lambda p: model_problems.long_excursion().problem.fun(p[0][0])))
    for _ in range(count):
        x, y, z = rng.uniform(0.05, 0.95), rng.uniform(0.05, 0.95), rng.uniform(0.3, 3.0)
        (states,) = run(flow, (np.array([[x, y, z]]),), np.linspace(0.0, 60.0, 41).tolist(), rtol=1e-9)
        yield Trial(float(np.abs(states[:, 0, 1]).max()), y + z * z / 4 + 1e-8, "|y(t)| <= |y(0)| + z(0)^2 / 4")
        yield Trial(float(np.square(states[:, 0, 0]).max()), max(x * x, 0.25) + 1e-8, "x^2 <= max(x(0)^2, 1/4)")
        yield Trial(float(np.diff(np.abs(states[:, 0, 2])).max()), 1e-9, "|z| decreases")
        yield Trial(float(np.abs(states[-1] - states[-2]).max()), 1e-2, "it settles")
    valley = GradientFlow(Landscape(lambda p: model_problems.escaping_valley().problem.fun(p[0][0])))
    (states,) = run(valley, (np.array([[0.5, 0.5]]),), [0.0, 1e4, 1e6], method="LSODA", rtol=1e-8)
    ratio = states[1:, 0, 1] / (4 * np.array([1e4, 1e6])) ** 0.25
    yield Trial(float(np.abs(ratio - 1).max()), 0.01, "h alone: y grows like (4 t)^(1/4)")


def _excursion_as_printed() -> Trial:
    flow = GradientFlow(Landscape(lambda p: model_problems.long_excursion().problem.fun(p[0][0])))
    (states,) = run(flow, (np.array([[0.9, 0.1, 2.0]]),), np.linspace(0.0, 200.0, 21).tolist(), rtol=1e-9)
    return Trial(2.0, float(np.abs(states[:, 0, :2]).max()), "unbounded: would pass 2 from (0.9, 0.1, 2)")


def _conjecture(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Every drawn start ends at a critical point, so all basins together are not null; none ends at the saddle."""
    flow = GradientFlow(regression(Linear((1, 1, 1)), np.eye(1), np.eye(1)))
    for _ in range(count):
        end = row(run(flow, weights(rng, [(1, 1), (1, 1)]), [0.0, 80.0], rtol=1e-9), -1)
        yield Trial(size(velocity(flow, end)), 1e-4, "the run ends at a critical point")
        yield Trial(1e-2, size(end), "which is not the saddle 0")


def _conjecture_as_printed() -> Trial:
    flow = GradientFlow(regression(Linear((1, 1, 1)), np.eye(1), np.eye(1)))
    rng = np.random.default_rng(0)
    ends = [row(run(flow, weights(rng, [(1, 1), (1, 1)]), [0.0, 80.0], rtol=1e-9), -1) for _ in range(4)]
    converged = np.mean([size(velocity(flow, end)) < 1e-4 for end in ends])
    return Trial(float(converged), 0.0, "fraction of starts in the basin of some critical point")


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "003", "eq. (1)",
        "Every trajectory of f = z^2 h, h = x^2/2 + (1 - x y)^2/2, is bounded: |y(t)| <= |y(0)| + z(0)^2/4. The flow "
        "of h alone is the unbounded example: y ~ (4 t)^(1/4).",
        ("gradflow.model_problems.long_excursion", "gradflow.model_problems.escaping_valley"),
        _excursion,
        correction="Printed: trajectories of (1) from x, y in (0, 1), z nonzero are unbounded. They converge.",
        as_printed=_excursion_as_printed, quick=2, thorough=20,
    ),
    Statement(
        "003", "Introduction, conjecture",
        "The union of the basins of all saddles is conjectured to be null; over all critical points it is everything.",
        ("gradflow.integrate",),
        _conjecture,
        correction="Printed: the basins of attraction of all the critical points; meant are the saddles.",
        as_printed=_conjecture_as_printed, quick=3, thorough=40,
    ),
    Statement(
        "003", "Proposition 1",
        "Every trajectory is bounded, by the explicit R, and converges to a critical point; the loss is a polynomial "
        "of degree 2(H+1).",
        ("gradflow.certificates.boundedness_certificate",),
        _bounded,
        correction="The text before it has the degree (H+1)2, which is right as a product and wrong as a power.",
        quick=2, thorough=30,
    ),
    Statement(
        "003", "Proposition 1, rate",
        "A polynomial rate does occur: H = 2, scalar, on the stable set of the non-strict saddle |w_i| ~ 1/t.",
        ("gradflow.flow.GradientFlow",),
        _polynomial_rate, quick=2, thorough=20,
    ),
    Statement(
        "003", "Remark 2",
        "L(t) <= L(0) exp(-2 alpha t) with alpha = prod_l lambda_l, lambda_l the d_{l+1}-th largest eigenvalue of C_l, "
        "if all are positive; sharper with mu_{l+1} = max(0, lambda_l + mu_l). With s_min(X)^2 for the original flow.",
        ("gradflow.certificates.rate_certificate", "gradflow.certificates.envelope"),
        _rate,
        correction="Printed: alpha is the d_{j+1}-smallest eigenvalue of C_j, no product over layers.",
        as_printed=_rate_as_printed, quick=3, thorough=60,
    ),
    Statement(
        "003", "Remark 2, proof",
        "dL/dt = -sum_j ||grad_j L||^2.",
        ("gradflow.flow.GradientFlow.vector_field",),
        _dissipation,
        correction="Printed: dL/dt = d tr(M^T M)/dt = -2 sum_j ...; a factor 1/2 is missing.",
        as_printed=_dissipation_as_printed, quick=8, thorough=400,
    ),
)  # fmt: skip
"""Example (1), the conjecture, Proposition 1 and Remark 2, and their errata."""
