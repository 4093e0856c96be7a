"""The part of a linear network's weights that moves, and its conserved matrices: what every certificate starts from.

With ``X = U S V^T`` (normalization included, rank rho) the flow of ``1/2 ||W_{H+1} ... W_1 U S - T||^2`` moves only
``W_1' = W_1 U``; ``F = W_1 (I - U U^T)`` never changes. The network ``(W_1', W_2, ..., W_{H+1})`` of input width rho
has

    dW_1'/dt = N_1^T M S,  dW_j/dt = N_j^T M (W_{j-1} ... W_1' S)^T,  M = T - A,  A = Pi' S,  Pi' = W_{H+1} ... W_1',

so its matrices ``C_1' = W_2^T W_2 - W_1' W_1'^T = C_1 + F F^T`` and ``C_j' = C_j`` are conserved whatever S is, and S
enters everything else through T and its smallest entry. Host-side NumPy: no tracing, no trajectory.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.flow import AbstractFlow, GradientFlow, ReducedFlow
from gradflow.hypotheses import Hypothesis
from gradflow.invariants import contraction, imbalance
from gradflow.losses import squared_error
from gradflow.networks import Linear
from gradflow.problem import Regression


@dataclass(frozen=True)
class MovingPart:
    """``(W_1', W_2, ..., W_{H+1})`` at the start, the frozen F, the scales S and the target T."""

    layers: tuple[Float[np.ndarray, "_ _"], ...]
    frozen: Float[np.ndarray, "d_1 d_0"]
    scales: Float[np.ndarray, " rank"]
    target: Float[np.ndarray, "d_out rank"]

    @property
    def num_hidden(self) -> int:
        """H."""
        return len(self.layers) - 1

    @functools.cached_property
    def imbalances(self) -> tuple[Float[np.ndarray, "_ _"], ...]:
        """``(C_1', ..., C_H')``."""
        return tuple(np.asarray(imbalance(self.layers, layer)) for layer in range(1, self.num_hidden + 1))

    @functools.cached_property
    def spectra(self) -> tuple[Float[np.ndarray, " _"], ...]:
        """Eigenvalues of ``C_1', ..., C_H'``, descending."""
        return tuple(np.linalg.eigvalsh(matrix)[::-1] for matrix in self.imbalances)

    @functools.cached_property
    def roundings(self) -> tuple[float, ...]:
        """How far rounding can move an eigenvalue of each ``C_j'``: ``4 d_j eps (||W_{j+1}||^2 + ||W_j||^2)``."""
        squares = self.squared_norms
        epsilon = float(np.finfo(float).eps)
        return tuple(
            4.0 * len(matrix) * epsilon * (squares[index] + squares[index + 1])
            for index, matrix in enumerate(self.imbalances)
        )

    @functools.cached_property
    def squared_norms(self) -> tuple[float, ...]:
        """``||W_j||_F^2`` per layer, with W_1' first."""
        with np.errstate(over="ignore"):
            return tuple(float(np.sum(layer * layer)) for layer in self.layers)

    @property
    def norm(self) -> float:
        """``||W(0)||_F`` of all weights, the frozen part included."""
        return float(np.sqrt(sum(self.squared_norms) + np.sum(self.frozen * self.frozen)))

    @functools.cached_property
    def excess(self) -> float:
        """``L(0) - irreducible = 1/2 ||A - T||^2`` without the cancellation of the difference.

        Raises:
            InputError: the start is so large that its loss overflows.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            product = np.diag(self.scales)
            for layer in self.layers:
                product = layer @ product
            excess = float(0.5 * np.sum((product - self.target) ** 2))
        checks.require(
            bool(np.isfinite(excess)), "params0", "have a finite loss", excess, "Start from smaller weights."
        )
        return excess

    @property
    def is_isotropic(self) -> bool:
        """True when S is a multiple of the identity (to 1e-12), as it always is for the reduced flow."""
        return len(self.scales) == 0 or bool(np.ptp(self.scales) <= 1e-12 * self.scales[0])


def moving_part(problem: Regression, params0: Any) -> MovingPart:
    """The moving part of `params0` for a linear network with the squared error.

    Raises:
        InputError: NaN, or shapes that are not the network's.
    """
    assert problem.statistics is not None
    layers = checked_weights(problem, params0)
    directions = np.asarray(problem.statistics.directions)
    first = layers[0] @ directions
    return MovingPart(
        layers=(first, *layers[1:]),
        frozen=layers[0] - first @ directions.T,
        scales=np.asarray(problem.statistics.scales),
        target=np.asarray(problem.statistics.target),
    )


def checked_weights(problem: Regression, params0: Any) -> tuple[np.ndarray, ...]:
    """`params0` as float64 matrices of the network's shapes, every entry finite."""
    checks.require(isinstance(params0, tuple | list), "params0", "be a tuple (W_1, ..., W_L)", type(params0).__name__)
    layers = tuple(checks.finite_array(f"params0[{index}]", layer) for index, layer in enumerate(params0))
    shapes = tuple(layer.shape for layer in layers)
    required = problem.network.shapes
    checks.require(shapes == required, "params0", f"have the network's shapes {required}", shapes)
    return layers


def linear_hypotheses(flow: AbstractFlow) -> tuple[Hypothesis, ...]:
    """What paper 003 needs of a regression: its flow, a linear network, half the squared error, no regulariser."""
    problem = flow.problem if isinstance(flow.problem, Regression) else None
    return (
        Hypothesis(
            f"the flow is the gradient flow or the reduced flow ({type(flow).__name__})",
            type(flow) in (GradientFlow, ReducedFlow),
        ),
        Hypothesis("the network is linear", problem is not None and isinstance(problem.network, Linear)),
        Hypothesis("the loss is half the squared error", getattr(problem, "loss_function", None) is squared_error),
        Hypothesis("no regulariser or weight decay", problem is not None and contraction(problem.regularizer) == 0.0),
    )
