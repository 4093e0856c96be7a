"""Conserved quantities of linear networks: functions of the weights, and the list for a flow.

A linear network whose loss depends on the product ``W_{H+1} ... W_1`` alone has the velocity
``dW_j/dt = N_j^T G P_j^T`` in every layer, hence ``W_{j+1}^T (dW_{j+1}/dt) = (dW_j/dt) W_j^T``: the matrices
``C_j = W_{j+1}^T W_{j+1} - W_j W_j^T`` do not move. That is a fact about the metric as much as about the loss: the
original and the reduced flow conserve it each in its own coordinates, and it drifts in the other's. This module knows
flows; it cannot see a trajectory, and whether a drift is consistent with a tolerance is for others to judge.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from gradflow.flow import AbstractFlow, GradientFlow, ReducedFlow
from gradflow.hypotheses import Hypothesis
from gradflow.invariants.invariant import Behaviour, Invariant, Matrices, norm, squared_norm
from gradflow.invariants.laws import Law, is_monotone, is_weighted, law_under, leaves_kernel
from gradflow.problem import Regression
from gradflow.regularizers import Balance

COORDINATES: dict[type[AbstractFlow], str] = {GradientFlow: "original", ReducedFlow: "reduced"}
"""The coordinates in which each flow is the gradient flow of its loss (Euclidean metric)."""


def imbalance(params: Matrices, layer: int) -> Float[Array | np.ndarray, "... d d"]:
    """``C_j = W_{j+1}^T W_{j+1} - W_j W_j^T`` for layer j = 1, ..., H, a symmetric ``d_j x d_j`` matrix.

    Source: paper 003, Lemma 1, eq. (7).
    """
    after, before = params[layer], params[layer - 1]
    return after.swapaxes(-1, -2) @ after - before @ before.swapaxes(-1, -2)


def weighted_imbalance(params: Matrices, gram: Float[np.ndarray, "d_0 d_0"]) -> Float[Array | np.ndarray, "... d d"]:
    """``E = W_2^T W_2 - W_1 G W_1^T``; for ``G = X X^T`` conserved by the reduced flow, and punished by rho.

    Source: paper 001, eq. (3).
    """
    first, second = params[0], params[1]
    return second.swapaxes(-1, -2) @ second - first @ gram @ first.swapaxes(-1, -2)


def norm_difference(params: Matrices, layer: int) -> Float[Array | np.ndarray | np.float64, "..."]:
    """``c_j = ||W_j||_F^2 - ||W_{H+1}||_F^2``, which is ``-sum_{i >= j} tr C_i``.

    Source: paper 003, Lemma 1, eq. (8).
    """
    own, last = params[layer - 1], params[-1]
    return (own * own).sum((-2, -1)) - (last * last).sum((-2, -1))


def kernel_component(
    params: Matrices, projector: Float[np.ndarray, "d_in d_in"]
) -> Float[Array | np.ndarray, "... d_1 d_in"]:
    """``W_1 (I - U U^T)``: what the first layer does to inputs that no sample has, given ``projector = I - U U^T``."""
    return params[0] @ projector


def linear_invariants(flow: AbstractFlow, problem: Regression, claim: Hypothesis) -> list[Invariant]:
    """``C_1, ..., C_H``, ``c_1, ..., c_H``, under a balancing term its defects, and W_1 on ker X^T.

    For any loss and X; `claim` is why the loss depends on the product of the layers alone. Under weight decay all decay
    exactly. Under :class:`~gradflow.regularizers.Balance` its defects ``E_j`` are zero at critical points and their
    total ``rho = sum_j ||E_j||^2`` decays monotonically when the Gram matrix of the term satisfies ``G X = X``
    (:mod:`gradflow.invariants.laws`); W_1 on ker X^T is conserved when ``G (I - U U^T) = 0``, as for ``G = X X^T``.
    """
    regularizer, num_hidden = problem.regularizer, problem.num_hidden
    weighted = is_weighted(regularizer)
    rho = Behaviour.DECAYS_MONOTONICALLY if is_monotone(regularizer, _range(problem)) else Behaviour.DECAYS
    defect = rho if num_hidden == 1 else Behaviour.DECAYS

    def make(
        name: str, formula: str, source: str, law: Law, function: Callable[[Matrices], Any], sensitivity: Any = None
    ) -> Invariant:
        return invariant_of(flow, problem, name, formula, (claim,), source, law, function, sensitivity)

    result: list[Invariant] = []
    for layer in range(1, num_hidden + 1):
        law = law_under(regularizer, 2, Behaviour.NEITHER if weighted and layer == 1 else defect)
        formula = f"W_{layer + 1}^T W_{layer + 1} - W_{layer} W_{layer}^T"
        matrix = functools.partial(imbalance, layer=layer)
        result.append(make(f"C_{layer}", formula, "paper 003, Lemma 1, eq. (7)", law, matrix))
    for layer in range(1, num_hidden + 1):
        law = law_under(regularizer, 2, Behaviour.NEITHER if weighted and layer == 1 else Behaviour.DECAYS)
        formula = f"||W_{layer}||^2 - ||W_{num_hidden + 1}||^2"
        difference = functools.partial(norm_difference, layer=layer)
        result.append(make(f"c_{layer}", formula, "paper 003, Lemma 1, eq. (8)", law, difference))
    if isinstance(regularizer, Balance) and regularizer.strength > 0.0 and num_hidden:
        result += _defects(make, regularizer, weighted, num_hidden, law_under(regularizer, 2, defect), rho)
    return result + kernel_invariants(flow, problem, claim)


def _defects(
    make: Callable[..., Invariant], regularizer: Balance, weighted: bool, num_hidden: int, law: Law, rho: Behaviour
) -> list[Invariant]:
    """E_1 where it is not C_1, and their total for more than one hidden layer."""
    result = []
    if weighted:
        matrix = functools.partial(weighted_imbalance, gram=np.asarray(regularizer.gram))
        result.append(make("E_1", "W_2^T W_2 - W_1 G W_1^T", "paper 001, eq. (3) and Lemma 1", law, matrix))
    if num_hidden > 1:
        gram = None if regularizer.gram is None else np.asarray(regularizer.gram)
        sizes = functools.partial(total_imbalance, gram=gram)
        total = law_under(regularizer, 4, rho)
        source = "paper 001, section 3.3: eq. (3) for more layers"
        result.append(make("rho", "sum_j ||E_j||^2", source, total, sizes, lambda params: squared_norm(params) ** 2))
    return result


def total_imbalance(
    params: Matrices, gram: Float[np.ndarray, "d_0 d_0"] | None = None
) -> Float[Array | np.ndarray | np.float64, "..."]:
    """``rho = sum_j ||E_j||_F^2``, with ``E_1`` weighted by `gram` when it is given."""
    first = imbalance(params, 1) if gram is None else weighted_imbalance(params, gram)
    defects = [first, *(imbalance(params, layer) for layer in range(2, len(params)))]
    total: Any = 0.0
    for defect in defects:
        total = total + (defect * defect).sum((-2, -1))
    return total


def kernel_invariants(flow: AbstractFlow, problem: Regression, claim: Hypothesis) -> list[Invariant]:
    """``W_1 (I - U U^T)`` for rank-deficient X, for every network whose first layer is ``W_1 X``; otherwise nothing."""
    projector = _kernel_projector(problem)
    if projector is None:
        return []
    kept = Behaviour.CONSERVED if leaves_kernel(problem.regularizer, projector) else Behaviour.NEITHER
    return [
        invariant_of(
            flow, problem,
            name="W_1 on ker X^T",
            formula="W_1 (I - U U^T), U = range of X",
            conditions=(claim,),
            source="dW_1/dt = (...) X^T: the range of X is all that moves",
            law=law_under(problem.regularizer, 1, kept),
            function=functools.partial(kernel_component, projector=projector),
            sensitivity=norm,
        )
    ]  # fmt: skip


def invariant_of(
    flow: AbstractFlow,
    problem: Regression,
    name: str,
    formula: str,
    conditions: tuple[Hypothesis, ...],
    source: str,
    law: Law,
    function: Callable[[Matrices], Any],
    sensitivity: Callable[[Matrices], Any] | None = None,
) -> Invariant:
    """An invariant of `flow` from its own conditions and the law under the regulariser; no law where they fail."""
    coordinates = Hypothesis(f"values are taken in the {COORDINATES[type(flow)]} coordinates of this flow", True)
    is_earned = all(condition.holds is True for condition in conditions)
    return Invariant(
        name=name,
        formula=formula,
        flow=type(flow).__name__,
        hypotheses=(conditions[0], law.condition, *conditions[1:], coordinates),
        source=source,
        decay=law.rate if is_earned else None,
        shapes=problem.network.shapes,
        function=function,
        behaviour=law.behaviour if is_earned else Behaviour.NEITHER,
        sensitivity=sensitivity,
    )


def _range(problem: Regression) -> Float[np.ndarray, "d_in _"]:
    """A matrix with the range, and the Gram matrix, of X (up to the normalization)."""
    return np.asarray(problem.X if problem.statistics is None else problem.statistics.directions)


def _kernel_projector(problem: Regression) -> Float[np.ndarray, "d_in d_in"] | None:
    """``I - U U^T`` with U the left singular vectors of X that count, or None when X has full row rank."""
    if problem.statistics is not None:
        directions = np.asarray(problem.statistics.directions)
    else:
        left, scales, _ = np.linalg.svd(np.asarray(problem.X), full_matrices=False)
        directions = left[:, scales > max(problem.X.shape) * np.finfo(float).eps * scales[0]]
    d_in, rank = directions.shape
    return None if rank == d_in else np.eye(d_in) - directions @ directions.T
