"""Statements of paper 003, sections 1 and 2: the reduction, the flow and what it conserves (Lemma 1)."""

import itertools
from collections.abc import Iterator

import numpy as np

from gradflow.certificates import lemma1_polynomials
from gradflow.flow import GradientFlow, ReducedFlow
from gradflow.invariants import imbalance, invariants_of, norm_difference, weighted_imbalance
from gradflow.networks import Linear
from gradflow.problem import Regression
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


def drawn(rng: np.random.Generator, index: int) -> tuple[Regression, tuple[np.ndarray, ...]]:
    """A random linear problem of one of a few shapes, with random weights."""
    problem = linear_problem(rng, WIDTHS[index % len(WIDTHS)])
    return problem, weights(rng, problem.network.shapes, rng.uniform(0.4, 1.2))


def _reduction(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    for index in range(count):
        problem, params = drawn(rng, index)
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
        problem, params = drawn(rng, index)
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
        problem, params = drawn(rng, index)
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
        problem, params = drawn(rng, index)
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
        problem, params = drawn(rng, index)
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


STATEMENTS: tuple[Statement, ...] = (
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
)  # fmt: skip
"""The reduction (3)-(4), Definition 1, Assumption 2, the flow (6) and Lemma 1, and their errata."""
