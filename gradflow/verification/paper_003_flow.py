"""Statements of paper 003, sections 1 and 2: the reduction, the flow, Lemma 1, Proposition 1, Remark 2, example (1)."""

import itertools
from collections.abc import Iterator

import numpy as np

from gradflow import model_problems
from gradflow.certificates import boundedness_certificate, envelope, lemma1_polynomials, rate_certificate
from gradflow.flow import GradientFlow, ReducedFlow
from gradflow.invariants import imbalance, invariants_of, norm_difference, weighted_imbalance
from gradflow.networks import Linear
from gradflow.problem import Landscape, Regression
from gradflow.verification.short_runs import (
    linear_problem,
    rate_along,
    regression,
    row,
    run,
    size,
    velocity,
    weights,
)
from gradflow.verification.statement import Statement, Trial

WIDTHS = ((3, 3, 2), (4, 3, 3, 2), (3, 4, 2, 3, 2), (3, 2), (4, 2, 3, 1))
EXACT = 1e-10
"""Allowed relative error of an identity between products of well-conditioned matrices, and of central differences."""


def _drawn(rng: np.random.Generator, index: int) -> tuple[Regression, tuple[np.ndarray, ...]]:
    problem = linear_problem(rng, WIDTHS[index % len(WIDTHS)])
    return problem, weights(rng, problem.network.shapes, rng.uniform(0.4, 1.2))


def _reduction(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for index in range(count):
        problem, params = _drawn(rng, index)
        flow = ReducedFlow(problem)
        bar = flow.coordinates(params)
        residual = np.linalg.multi_dot([*reversed(params), problem.X]) - problem.Y
        loss = 0.5 * float(np.sum(residual**2))
        yield Trial(abs(float(flow.problem.loss(bar)) - loss), EXACT * loss, "loss")
        X, Y = np.asarray(problem.X), np.asarray(problem.Y)
        squares = np.linalg.eigvalsh(Y @ X.T @ np.linalg.solve(X @ X.T, X @ Y.T))[::-1]
        error = np.abs(problem.spectrum.values**2 - squares).max()
        yield Trial(float(error), EXACT * float(squares[0]), "S_Y^2 are the eigenvalues of Y X^T (X X^T)^-1 X Y^T")
        back = flow.weights(bar)
        yield Trial(size([a - b for a, b in zip(back, params, strict=True)]), EXACT * size(params), "a bijection")


def _metric(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """The original flow in reduced coordinates is preconditioned by K on the first layer, and on no other."""
    for index in range(count):
        problem, params = _drawn(rng, index)
        original, reduced = GradientFlow(problem), ReducedFlow(problem)
        bar = reduced.coordinates(params)
        moves, bar_moves = velocity(original, params), velocity(reduced, bar)
        mapped = reduced.coordinates(moves)
        precondition = np.asarray(reduced.first).T @ np.asarray(reduced.first)
        expected = (bar_moves[0] @ precondition, *bar_moves[1:])
        gap = size([a - b for a, b in zip(mapped, expected, strict=True)])
        yield Trial(gap, EXACT * size(expected), "dWbar_1/dt = -grad K, K = V_Y^T S_X^2 V_Y")
        white = _whitened(problem)
        flows = GradientFlow(white), ReducedFlow(white)
        bar = flows[1].coordinates(params)
        mapped, bar_moves = flows[1].coordinates(velocity(flows[0], params)), velocity(flows[1], bar)
        gap = size([a - b for a, b in zip(mapped, bar_moves, strict=True)])
        yield Trial(gap, EXACT * size(bar_moves), "they agree when X X^T = I")


def _whitened(problem: Regression) -> Regression:
    left, _, right = np.linalg.svd(np.asarray(problem.X), full_matrices=False)
    return regression(problem.network, left @ right, problem.Y)


def _same_flow_as_printed() -> Trial:
    X = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0]])
    problem = regression(Linear((3, 3, 2)), X, np.array([[1.0, 2.0, 0.0, 1.0], [0.0, 1.0, -1.0, 1.0]]))
    params = weights(np.random.default_rng(0), problem.network.shapes, 0.5)
    reduced = ReducedFlow(problem)
    mapped = reduced.coordinates(velocity(GradientFlow(problem), params))
    moves = velocity(reduced, reduced.coordinates(params))
    return Trial(size([a - b for a, b in zip(mapped, moves, strict=True)]), EXACT * size(moves), "X X^T is not I")


def _full_rank(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """S_Y > 0 exactly when Y X^T has rank d_out; full row rank of X and Y does not give it."""
    for index in range(count):
        d_in, d_out = 3, 2
        X, Y = rng.normal(size=(d_in, 6)), rng.normal(size=(d_out, 6))
        if index % 2:
            _, _, basis = np.linalg.svd(X)
            Y[0] = basis[d_in:].T @ rng.normal(size=6 - d_in)
        problem = regression(Linear((d_in, d_out)), X, Y)
        rank = int(np.linalg.matrix_rank(Y @ X.T, tol=1e-9))
        yield Trial.agreement(problem.spectrum.num_positive, rank, f"rank(Y X^T) = {rank}, rank Y = {d_out}")


def _positive_as_printed() -> Trial:
    problem = regression(Linear((1, 1)), np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    return Trial(1e-6, float(problem.spectrum.values[0]), "S_Y > 0 for X = [1 0], Y = [0 1]")


def _gradient(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """The field against derivatives by complex steps of the loss, which is a polynomial."""
    for index in range(count):
        problem, params = _drawn(rng, index)
        flow = ReducedFlow(problem)
        bar = flow.coordinates(params)
        target, moves = np.asarray(flow.problem.Y), velocity(flow, bar)
        shape, scale = index % len(bar), size(moves)
        direction = rng.normal(size=bar[shape].shape)
        shifted = [layer.astype(complex) for layer in bar]
        shifted[shape] = shifted[shape] + 1e-30j * direction
        residual = target - (np.linalg.multi_dot(shifted[::-1]) if len(shifted) > 1 else shifted[0])
        slope = float(np.sum(residual * residual).imag / 2e-30)
        yield Trial(
            abs(slope + float(np.sum(moves[shape] * direction))), EXACT * scale * float(np.linalg.norm(direction))
        )


def _matrices(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Both flows, each in its coordinates: at random states, and along one run of each."""
    for index in range(count):
        problem, params = _drawn(rng, index)
        for flow in (GradientFlow(problem), ReducedFlow(problem)):
            state = params if isinstance(flow, GradientFlow) else flow.coordinates(params)
            moves = velocity(flow, state)
            for invariant in invariants_of(flow):
                rate = np.abs(rate_along(moves, invariant.value, state)).max()
                yield Trial(float(rate), EXACT * size(moves) * (1 + size(state)), invariant.name)
    for flow_type in (GradientFlow, ReducedFlow):
        problem = linear_problem(rng, (3, 3, 2, 2))
        flow = flow_type(problem)
        start = weights(rng, problem.network.shapes, 0.6)
        ends = row(run(flow, start, [0.0, 3.0]), -1)
        for invariant in invariants_of(flow):
            # DOP853 at 1e-11 accumulates some hundred steps of error.
            drift = float(invariant.drift(ends, start))
            yield Trial(drift, 1e-8 * (1 + size(ends) ** 2), f"{invariant.name} along a run of {flow_type.__name__}")


def _matrices_as_printed() -> Trial:
    """Read in barred coordinates, (7) is not true of the gradient flow of the weights."""
    problem = linear_problem(np.random.default_rng(1), (3, 3, 2))
    params = weights(np.random.default_rng(2), problem.network.shapes)
    X = np.asarray(problem.X)
    rate = rate_along(velocity(GradientFlow(problem), params), lambda p: weighted_imbalance(p, X @ X.T), params)
    return Trial(float(np.abs(rate).max()), EXACT * size(params), "barred C_1 along the original flow")


def _norms(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for index in range(count):
        problem, params = _drawn(rng, index)
        depth = problem.num_hidden
        traces = [float(np.trace(imbalance(params, layer))) for layer in range(1, depth + 1)]
        for layer in range(1, depth + 1):
            expected = -sum(traces[layer - 1 :])
            yield Trial(
                abs(float(norm_difference(params, layer)) - expected), EXACT * size(params) ** 2, "c_j = -sum tr C_i"
            )
        moves = velocity(GradientFlow(problem), params)
        products = [2 * float(np.sum(layer * move)) for layer, move in zip(params, moves, strict=True)]
        yield Trial(
            float(np.ptp(products)), EXACT * size(params) * size(moves), "d||W_j||^2/dt is the same for every j"
        )


def _enclosure(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """C0 g^{H+1} - P(g) <= ||W_{H+1} ... W_1||^2 <= g^{H+1} + Q(g)."""
    for _ in range(count):
        widths = tuple(int(width) for width in rng.integers(1, 5, size=rng.integers(3, 6)))
        scales = np.exp(rng.uniform(np.log(0.05), np.log(3.0), len(widths) - 1))
        shapes = [(after, before) for before, after in itertools.pairwise(widths)]
        params = tuple(scale * rng.normal(size=shape) for scale, shape in zip(scales, shapes, strict=True))
        bounds, g = lemma1_polynomials(params), float(np.sum(params[-1] ** 2))
        power = g ** len(params)
        squared = float(np.sum(np.linalg.multi_dot(params[::-1]) ** 2))
        # Both ends cancel terms of the size of g^{H+1} and of P, Q.
        slack = 1e-13 * (power + np.polyval(bounds.P, g) + np.polyval(bounds.Q, g))
        yield Trial(
            float(bounds.C0 * power - np.polyval(bounds.P, g)), float(squared + slack), f"below, widths {widths}"
        )
        yield Trial(squared, float(power + np.polyval(bounds.Q, g) + slack), f"above, widths {widths}")


def _constant_as_printed() -> Trial:
    bounds = lemma1_polynomials((np.ones((2, 3)), np.ones((1, 2))))
    return Trial(bounds.C0, 1.0 - 1e-9, "C0 < 1, for one output")


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


def _degree_as_printed() -> Trial:
    """Degree (H+1)^2 = 9 for H = 2: the ninth difference along a line would not vanish."""
    problem = regression(Linear((1, 1, 1, 1)), np.eye(1), np.eye(1))
    line = _losses(problem, (np.linspace(-1, 1, 10)[:, None, None],) * 3)
    return Trial(1e-6 * float(np.abs(line).max()), abs(float(np.diff(line, 9)[0])), "degree 9 for H = 2")


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
        problem, params = _drawn(rng, index)
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
    problem, params = _drawn(np.random.default_rng(0), 0)
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
        "003", "eqs. (3)-(4)",
        "L(W) = 1/2 ||Sigma_Y - Wbar_{H+1} ... Wbar_1||^2 + 1/2 ||Y V_X^2||^2 in reduced coordinates, a bijection.",
        ("gradflow.flow.ReducedFlow", "gradflow.statistics.linear_statistics"),
        _reduction,
        correction="Printed after (3): S_X in V_X^1 in R^{dx x dx}; meant is S_X in R^{dx x dx}.",
        quick=10, thorough=400,
    ),
    Statement(
        "003", "Definition 1",
        "The reduced flow is the gradient flow of the reduced loss. The gradient flow of the weights reads "
        "dWbar_1/dt = -grad K with K = V_Y^T S_X^2 V_Y there; the two agree exactly when X X^T = I.",
        ("gradflow.flow.GradientFlow", "gradflow.flow.ReducedFlow"),
        _metric,
        correction="Printed: the flow of the reduced loss stands for the gradient descent dynamics of L.",
        as_printed=_same_flow_as_printed, quick=6, thorough=200,
    ),
    Statement(
        "003", "Assumption 2",
        "S_Y is positive definite exactly when rank(Y X^T) = d_y.",
        ("gradflow.problem.Regression", "gradflow.statistics.target_spectrum"),
        _full_rank,
        correction="Printed: X and Y of full row rank. With X = [1 0], Y = [0 1] the reduced target is 0.",
        as_printed=_positive_as_printed, quick=20, thorough=1000,
    ),
    Statement(
        "003", "eq. (6)",
        "dW_j/dt = (W_{H+1} ... W_{j+1})^T M (W_{j-1} ... W_1)^T, against derivatives by complex steps.",
        ("gradflow.flow.ReducedFlow.vector_field", "gradflow.linear_algebra.linear_gradient"),
        _gradient, quick=15, thorough=500,
    ),
    Statement(
        "003", "Lemma 1, eq. (7)",
        "C_j = W_{j+1}^T W_{j+1} - W_j W_j^T is conserved, by each flow in its own coordinates.",
        ("gradflow.invariants.invariants_of", "gradflow.invariants.imbalance"),
        _matrices,
        correction="Printed for barred coordinates and the gradient flow alike; the barred C_1 = W_2^T W_2 - "
        "W_1 X X^T W_1^T moves along the gradient flow of the weights unless X X^T = I.",
        as_printed=_matrices_as_printed, quick=5, thorough=200,
    ),
    Statement(
        "003", "Lemma 1, eq. (8)",
        "||W_j||^2 = ||W_{H+1}||^2 + c_j with c_j = -sum_{i >= j} tr C_i, and d||W_j||^2/dt is the same for every j.",
        ("gradflow.invariants.norm_difference",),
        _norms, quick=8, thorough=400,
    ),
    Statement(
        "003", "Lemma 1, eq. (9)",
        "C0 g^{H+1} - P(g) <= ||W_{H+1} ... W_1||^2 <= g^{H+1} + Q(g), g = ||W_{H+1}||^2, explicit P, Q of degree H, "
        "C0 = min(d_y, d_H)^{-H}.",
        ("gradflow.certificates.lemma1_polynomials",),
        _enclosure,
        correction="Printed: C0 < 1; it is 1 for one output. P and Q are only said to exist.",
        as_printed=_constant_as_printed, quick=100, thorough=5000,
    ),
    Statement(
        "003", "Proposition 1",
        "Every trajectory is bounded, by the explicit R, and converges to a critical point; the loss is a polynomial "
        "of degree 2(H+1).",
        ("gradflow.certificates.boundedness_certificate",),
        _bounded,
        correction="Printed before it: a polynomial of degree (H+1)2, read (H+1)^2; it is 2(H+1).",
        as_printed=_degree_as_printed, quick=2, thorough=30,
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
"""The reduction (3)-(4), Definition 1, Lemma 1, Proposition 1, Remark 2, example (1), and their errata."""
