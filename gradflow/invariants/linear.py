"""Conserved quantities of flows, each with its hypotheses, their truth values, and the flow it belongs to.

A linear network whose loss depends on the product ``W_{H+1} ... W_1`` alone has the velocity
``dW_j/dt = N_j^T G P_j^T`` in every layer, hence ``W_{j+1}^T (dW_{j+1}/dt) = (dW_j/dt) W_j^T``: the matrices
``C_j = W_{j+1}^T W_{j+1} - W_j W_j^T`` do not move. That is a fact about the metric as much as about the loss: the
original and the reduced flow conserve it each in its own coordinates, and it drifts in the other's. This module knows
flows; it cannot see a trajectory, and whether a drift is consistent with a tolerance is for others to judge.
"""

import functools

import numpy as np
from jaxtyping import Array, Float

from gradflow import checks
from gradflow.flow import AbstractFlow, GradientFlow, ReducedFlow
from gradflow.hypotheses import Hypothesis
from gradflow.invariants.invariant import Invariant, Matrices, contraction
from gradflow.networks import Linear
from gradflow.problem import Regression

COORDINATES = {GradientFlow: "original", ReducedFlow: "reduced"}
"""The coordinates in which each flow is the gradient flow of its loss (Euclidean metric)."""


def imbalance(params: Matrices, layer: int) -> Float[Array | np.ndarray, "... d d"]:
    """``C_j = W_{j+1}^T W_{j+1} - W_j W_j^T`` for layer j = 1, ..., H, a symmetric ``d_j x d_j`` matrix.

    Source: paper 003, Lemma 1, eq. (7).
    """
    after, before = params[layer], params[layer - 1]
    return after.swapaxes(-1, -2) @ after - before @ before.swapaxes(-1, -2)


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


def invariants_of(flow: AbstractFlow) -> tuple[Invariant, ...]:
    """What `flow` conserves: ``C_1, ..., C_H``, ``c_1, ..., c_H`` and, for rank-deficient X, a part of W_1.

    For a linear network with any loss of its outputs and any X, in the flow's own coordinates. With a regulariser
    they are listed with a failed hypothesis (and the exact law under weight decay). Empty for landscapes and for other
    networks, about which nothing is claimed.

    Raises:
        InputError: `flow` is not a flow.

    Source: paper 003, Lemma 1, eqs. (7) and (8); the kernel part follows from ``dW_1/dt = (...) X^T``.
    """
    checks.require(
        isinstance(flow, AbstractFlow), "flow", "be a flow", type(flow).__name__, "Wrap it: GradientFlow(problem)."
    )
    problem = flow.problem
    known = type(flow) in COORDINATES and isinstance(problem, Regression) and isinstance(problem.network, Linear)
    if not known:
        return ()
    assert isinstance(problem, Regression)
    make = functools.partial(
        Invariant, flow=type(flow).__name__, hypotheses=_hypotheses(flow, problem), shapes=problem.network.shapes
    )
    rate = contraction(problem.regularizer)
    twice = None if rate is None else 2.0 * rate
    layers = range(1, problem.num_hidden + 1)
    result = [
        make(
            name=f"C_{layer}",
            formula=f"W_{layer + 1}^T W_{layer + 1} - W_{layer} W_{layer}^T",
            source="paper 003, Lemma 1, eq. (7)",
            decay=twice,
            function=functools.partial(imbalance, layer=layer),
        )
        for layer in layers
    ]
    result += [
        make(
            name=f"c_{layer}",
            formula=f"||W_{layer}||^2 - ||W_{problem.num_hidden + 1}||^2",
            source="paper 003, Lemma 1, eq. (8)",
            decay=twice,
            function=functools.partial(norm_difference, layer=layer),
        )
        for layer in layers
    ]
    projector = _kernel_projector(problem)
    if projector is not None:
        kernel = make(
            name="W_1 on ker X^T",
            formula="W_1 (I - U U^T), U = range of X",
            source="dW_1/dt = (...) X^T: the range of X is all that moves",
            decay=rate,
            function=functools.partial(kernel_component, projector=projector),
        )
        result.append(kernel)
    return tuple(result)


def _hypotheses(flow: AbstractFlow, problem: Regression) -> tuple[Hypothesis, ...]:
    coordinates = COORDINATES[type(flow)]
    rate = contraction(problem.regularizer)
    unregularised = "no regulariser or weight decay"
    if rate:
        law = f"C_j(t) = exp(-{2 * rate:g} t) C_j(0)"
        unregularised += f" (weight decay of strength {rate:g}: {law} instead)"
    return (
        Hypothesis("the network is linear and the loss a function of its outputs alone", True),
        Hypothesis(unregularised, rate == 0.0),
        Hypothesis(f"values are taken in the {coordinates} coordinates of this flow", True),
    )


def _kernel_projector(problem: Regression) -> Float[np.ndarray, "d_in d_in"] | None:
    """``I - U U^T`` with U the left singular vectors of X that count, or None when X has full row rank."""
    if problem.statistics is not None:
        directions = np.asarray(problem.statistics.directions)
    else:
        left, scales, _ = np.linalg.svd(np.asarray(problem.X), full_matrices=False)
        directions = left[:, scales > max(problem.X.shape) * np.finfo(float).eps * scales[0]]
    d_in, rank = directions.shape
    return None if rank == d_in else np.eye(d_in) - directions @ directions.T
