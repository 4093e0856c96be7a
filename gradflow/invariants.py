"""Conserved quantities of flows, each with its hypotheses, their truth values, and the flow it belongs to.

A linear network whose loss depends on the product ``W_{H+1} ... W_1`` alone has the velocity
``dW_j/dt = N_j^T G P_j^T`` in every layer, hence ``W_{j+1}^T (dW_{j+1}/dt) = (dW_j/dt) W_j^T``: the matrices
``C_j = W_{j+1}^T W_{j+1} - W_j W_j^T`` do not move. That is a fact about the metric as much as about the loss: the
original and the reduced flow conserve it each in its own coordinates, and it drifts in the other's. This module knows
flows; it cannot see a trajectory, and whether a drift is consistent with a tolerance is for others to judge.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Float

from gradflow import checks
from gradflow.flow import AbstractFlow, GradientFlow, ReducedFlow
from gradflow.hypotheses import Hypothesis, conjunction
from gradflow.networks import Linear
from gradflow.problem import Regression
from gradflow.regularizers import AbstractRegularizer, WeightDecay
from gradflow.types import Shapes, Weights

Matrices: TypeAlias = Sequence[Float[Array | np.ndarray, "... _ _"]]
"""``(W_1, ..., W_L)`` as JAX or NumPy arrays; leading axes (times, members of an ensemble) are allowed."""

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


def contraction(regularizer: AbstractRegularizer | None) -> float | None:
    """Rate at which a regulariser shrinks every layer: 0.0 for none, its strength for weight decay, None for others."""
    if regularizer is None:
        return 0.0
    return float(regularizer.strength) if isinstance(regularizer, WeightDecay) else None


@dataclass(frozen=True)
class Invariant:
    """A function of the parameters that is constant along one flow when its hypotheses hold.

    Args:
        name: ``"C_1"``, ... for the matrices of eq. (7), ``"c_1"``, ... for the norm differences of eq. (8),
            ``"W_1 on ker X^T"`` for the part of the first layer that no sample reaches.
        formula: the quantity in the letters of the docstrings.
        flow: name of the flow's class; the same formula in other coordinates is not conserved.
        hypotheses: conditions with their truth values here.
        source: paper and statement.
        decay: the exact law ``value(t) = exp(-decay * t) * value(0)``: 0.0 when conserved, a positive number under
            weight decay, None when a regulariser leaves no such law.
    """

    name: str
    formula: str
    flow: str
    hypotheses: tuple[Hypothesis, ...]
    source: str
    decay: float | None
    shapes: Shapes = field(repr=False)
    function: Callable[[Matrices], Any] = field(repr=False, compare=False)

    @property
    def holds(self) -> bool | None:
        """True when every hypothesis holds: only then is the value constant along the flow."""
        return conjunction(self.hypotheses)

    def value(self, params: Weights | Matrices) -> Float[Array | np.ndarray | np.float64, "..."]:
        """The quantity at `params`; leading axes (times, members of an ensemble) are kept.

        Accuracy: rounding of squares of the weights, about ``1e-16 ||W||^2``. Never raises on NaN.

        Raises:
            InputError: the trailing shapes are not those of the network the invariant was made for.
        """
        layers = tuple(leaf if isinstance(leaf, jax.core.Tracer) else np.asarray(leaf, np.float64) for leaf in params)
        shapes = tuple(layer.shape[-2:] for layer in layers)
        checks.require(shapes == self.shapes, "params", f"have the network's shapes {self.shapes}", shapes)
        return self.function(layers)

    def check_flow(self, flow: Any) -> None:
        """Raises :class:`~gradflow.checks.InputError` naming both flows unless `flow` is of the invariant's class."""
        given = type(flow).__name__
        checks.require(
            given == self.flow,
            "flow",
            f"be the {self.flow} to which {self.name} belongs",
            given,
            "Each flow conserves these quantities in its own coordinates only: use invariants_of(flow).",
        )


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
