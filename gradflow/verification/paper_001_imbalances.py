"""Statements on how paper 001's imbalances D and E move along its three flows."""

import functools
from collections.abc import Iterator

import numpy as np

from gradflow.flow import GradientFlow, ReducedFlow
from gradflow.invariants import Behaviour, imbalance, invariants_of, weighted_imbalance
from gradflow.networks import Linear
from gradflow.regularizers import Balance
from gradflow.verification.paper_003_nonlinear import EXACT, Layers
from gradflow.verification.short_runs import rate_along, regression, run, size, velocity, weights
from gradflow.verification.statement import Statement, Trial


def _linear_case(
    rng: np.random.Generator, term: str, white: bool = False
) -> tuple[GradientFlow, Layers, np.ndarray, np.ndarray]:
    """Flow, weights, Gram matrix G of the term and rank-deficient or white X of one shape."""
    X = rng.normal(size=(3, 6))
    left, scales, right = np.linalg.svd(X, full_matrices=False)
    X = left @ right if white else left * (scales * np.where(rng.random() < 0.3, [1, 1, 0], 1)) @ right
    strength = float(rng.uniform(0.1, 2.0))
    regularizer = {"": None, "weighted": Balance(strength, X), "plain": Balance(strength)}[term]
    problem = regression(Linear((3, 3, 2)), X, rng.normal(size=(2, 6)), regularizer=regularizer)
    return GradientFlow(problem), weights(rng, ((3, 3), (2, 3)), rng.choice([0.4, 1.0])), X @ X.T, X


def _free_imbalance(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """No term: D is conserved; dE/dt = -(T + T^T); the flow preconditioned by (X X^T)^{-1} conserves E."""
    for index in range(count):
        flow, layers, gram, X = _linear_case(rng, "", white=index % 3 == 2)
        moves = velocity(flow, layers)
        rate = np.abs(rate_along(moves, lambda rows: imbalance(rows, 1), layers)).max()
        yield Trial(float(rate), EXACT * size(moves) * (1 + size(layers)), "D")
        motion = _signal(flow, layers, X, gram)
        rate_of_e = rate_along(moves, functools.partial(weighted_imbalance, gram=gram), layers)
        yield Trial(
            float(np.abs(rate_of_e + motion).max()), EXACT * size(moves) * (1 + size(layers)) * (1 + size([gram]))
        )
        if np.linalg.matrix_rank(X) == 3:
            reduced = ReducedFlow(flow.problem)
            bar = reduced.coordinates(layers)
            own = reduced.weights(velocity(reduced, bar))
            rate = np.abs(rate_along(own, functools.partial(weighted_imbalance, gram=gram), layers)).max()
            yield Trial(float(rate), EXACT * size(own) * (1 + size(layers)) * (1 + size([gram])), "E, preconditioned")


def _signal(flow: GradientFlow, layers: Layers, X: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """``T + T^T`` with ``T = W_2^T R X^T (I - G) W_1^T``, R the residual."""
    residual = layers[1] @ layers[0] @ X - np.asarray(flow.problem.Y)  # type: ignore[attr-defined]
    signal = layers[1].T @ residual @ X.T @ (np.eye(len(X)) - gram) @ layers[0].T
    return np.asarray(signal + signal.T)


def _weighted_imbalance(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """dE/dt as in the module of laws; E -> 0; ||E|| monotone for white X, not in general (it leaves E = 0)."""
    for index in range(count):
        white = index % 2 == 1
        flow, layers, gram, X = _linear_case(rng, "weighted", white)
        moves, regularizer = velocity(flow, layers), flow.problem.regularizer  # type: ignore[attr-defined]
        defect = np.asarray(weighted_imbalance(layers, gram))
        spread = layers[1].T @ layers[1] + layers[0] @ gram @ gram @ layers[0].T
        expected = -_signal(flow, layers, X, gram) - regularizer.strength * (defect @ spread + spread @ defect)
        rate = rate_along(moves, functools.partial(weighted_imbalance, gram=gram), layers)
        scale = size(moves) * (1 + size(layers)) * (1 + size([gram]))
        yield Trial(float(np.abs(rate - expected).max()), EXACT * scale, "dE/dt")
        name, behaviour = ("C_1", Behaviour.DECAYS_MONOTONICALLY) if white else ("E_1", Behaviour.DECAYS)
        said = {invariant.name: invariant.behaviour for invariant in invariants_of(flow)}
        yield Trial.agreement(said[name], behaviour, "what is said of E")
        if white:
            yield Trial(float(np.sum(defect * rate)), 0.0, "||E|| falls when X X^T = I")
    problem = regression(Linear((2, 2, 2)), np.diag([2.0, 0.5]), [[1.0, -0.5], [0.8, 0.6]],
                         regularizer=Balance(0.1, np.diag([2.0, 0.5])))  # fmt: skip
    start = np.array([[0.25, 0.2], [0.1, 0.4]]), np.array([[0.5, 0.2], [0.1, 0.2]])
    states = run(GradientFlow(problem), start, [0.0, 0.65, 60.0])
    norms = np.linalg.norm(weighted_imbalance(states, np.diag([4.0, 0.25])), axis=(1, 2))
    yield Trial(float(norms[0]), 1e-15, "starts at E = 0")
    yield Trial(abs(float(norms[1]) - 0.882713111597634), 1e-8, "is not monotone: leaves it")
    yield Trial(float(norms[2]), 2e-3, "and returns")


def _plain_imbalance(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """dD/dt = -mu (D S + S D), S = W_2^T W_2 + W_1 W_1^T: ||D|| falls for every X."""
    for index in range(count):
        flow, layers, _, _ = _linear_case(rng, "plain", white=index % 3 == 0)
        moves, regularizer = velocity(flow, layers), flow.problem.regularizer  # type: ignore[attr-defined]
        defect = np.asarray(imbalance(layers, 1))
        spread = layers[1].T @ layers[1] + layers[0] @ layers[0].T
        expected = -regularizer.strength * (defect @ spread + spread @ defect)
        rate = rate_along(moves, lambda rows: imbalance(rows, 1), layers)
        yield Trial(float(np.abs(rate - expected).max()), EXACT * size(moves) * (1 + size(layers)), "dD/dt")
        yield Trial(float(np.sum(defect * rate)), 0.0, "||D|| falls")
        said = {invariant.name: invariant.behaviour for invariant in invariants_of(flow)}
        yield Trial.agreement(said["C_1"], Behaviour.DECAYS_MONOTONICALLY, "what is said of D")


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "001", "Section 3, imbalance along the flow of (1)",
        "D = W_2^T W_2 - W_1 W_1^T is conserved. E = W_2^T W_2 - W_1 X X^T W_1^T moves as -(T + T^T), so it is "
        "conserved only if X X^T = I on the range of X; the flow preconditioned by (X X^T)^{-1} on W_1 conserves it.",
        ("gradflow.invariants.invariants_of", "gradflow.invariants.weighted_imbalance"), _free_imbalance,

        correction="Not in the paper, which has no flow: how its imbalances move along one.", quick=6, thorough=300,
    ),
    Statement(
        "001", "Section 3, imbalance along the flow of (2)",
        "dE/dt = -(T + T^T) - mu [E (W_2^T W_2 + K) + (W_2^T W_2 + K) E], K = W_1 (X X^T)^2 W_1^T: E -> 0, but ||E|| "
        "is monotone only if X X^T = I.",
        ("gradflow.invariants.laws", "gradflow.regularizers.Balance"), _weighted_imbalance,
        correction="Not in the paper, which has no flow: how its imbalances move along one.", quick=6, thorough=300,
    ),
    Statement(
        "001", "Section 3, imbalance along the flow of (6)",
        "dD/dt = -mu (D S + S D), S = W_2^T W_2 + W_1 W_1^T: ||D|| decays monotonically for every X.",
        ("gradflow.invariants.laws", "gradflow.regularizers.Balance"), _plain_imbalance,
        correction="Not in the paper, which has no flow: how its imbalances move along one.", quick=6, thorough=300,
    ),
)  # fmt: skip
"""The laws of motion of D and E without a term, with eq. (2), and with eq. (6)."""
