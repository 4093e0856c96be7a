"""The problems this family is about, and their loss as plain NumPy: ``L_N = 1/2 ||A2 relu(A1 X) - Y||_F^2``.

Letters: ``A1 = W_1: (d_1, d_0)``, ``A2 = W_2: (d_2, d_1)``; a row of A1 is a. A sample with ``x_j = 0`` has
preactivation 0 whatever A1 is and only adds ``1/2 ||y_j||^2``: it is neutral and belongs to no cone. Knows no cone.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from gradflow import checks, losses
from gradflow.critical_sets.states import matrices
from gradflow.networks import Shallow
from gradflow.precision import in_double
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Weights

Layers = tuple[Float[np.ndarray, "d_1 d_0"], Float[np.ndarray, "d_2 d_1"]]


@dataclass(frozen=True, eq=False)
class ReluData:
    """Data and hidden width of a ReLU network with one hidden layer."""

    X: Float[np.ndarray, "d_0 samples"]
    Y: Float[np.ndarray, "d_2 samples"]
    num_units: int

    @property
    def num_samples(self) -> int:
        """m, neutral samples included."""
        return self.X.shape[1]

    @property
    def live(self) -> tuple[int, ...]:
        """The samples with ``x_j != 0``, 0-based."""
        return tuple(int(index) for index in np.flatnonzero(np.any(self.X != 0, axis=0)))

    @property
    def dead_loss(self) -> float:
        """``1/2 Tr Y Y^T``, the loss of a network that is silent on every sample."""
        return 0.5 * float(np.sum(self.Y**2))

    def residual(self, params: Layers) -> Float[np.ndarray, "d_2 samples"]:
        """``A2 relu(A1 X) - Y``."""
        first, second = params
        return second @ np.maximum(first @ self.X, 0.0) - self.Y

    def loss(self, params: Layers) -> float:
        """``L_N``."""
        return 0.5 * float(np.sum(self.residual(params) ** 2))

    def piece_loss(self, params: Layers, active: Bool[np.ndarray, "d_1 samples"]) -> float:
        """The loss of the piece with this activation pattern, ``1/2 ||A2 (active * A1 X) - Y||_F^2``."""
        first, second = params
        return 0.5 * float(np.sum((second @ (active * (first @ self.X)) - self.Y) ** 2))

    def piece_gradient(self, params: Layers, active: Bool[np.ndarray, "d_1 samples"]) -> Layers:
        """The gradient of :meth:`piece_loss`: ``([active * A2^T R] X^T, R (active * A1 X)^T)``."""
        first, second = params
        hidden = active * (first @ self.X)
        residual = second @ hidden - self.Y
        return (active * (second.T @ residual)) @ self.X.T, residual @ hidden.T

    def scale(self, params: Layers) -> float:
        """What a large piece gradient is here: ``(||A2|| ||A1 X|| + ||Y||) (||A2|| + ||A1||) ||X||``, never 0."""
        first, second = float(np.linalg.norm(params[0])), float(np.linalg.norm(params[1]))
        residual = second * float(np.linalg.norm(params[0] @ self.X)) + float(np.linalg.norm(self.Y))
        return residual * (first + second) * float(np.linalg.norm(self.X)) or 1.0


def relu_data(problem: AbstractProblem) -> ReluData:
    """X, Y and the hidden width of `problem`.

    Raises:
        InputError: it is not a regression of a ReLU network with one hidden layer and linear output on half the summed
            squared error, without regulariser.
    """
    fits = (
        isinstance(problem, Regression)
        and isinstance(problem.network, Shallow)
        and (problem.network.activation.name, problem.network.output_activation.name) == ("relu", "identity")
        and problem.loss_function is losses.squared_error
        and problem.regularizer is None
        and problem.normalization == "sum"
    )
    checks.require(
        fits,
        "problem",
        "be a ReLU network with one hidden layer, the summed squared error and no regulariser",
        type(problem).__name__,
        'Use Regression(networks.Shallow((d_0, d_1, d_2), "relu"), X, Y).',
    )
    assert isinstance(problem, Regression)
    return ReluData(np.array(problem.X), np.array(problem.Y), problem.network.shapes[0][0])


@in_double
def layers(problem: AbstractProblem, params: Weights) -> Layers:
    """`params` as two float64 NumPy matrices.

    Raises:
        InputError: other shapes than the network's, or numbers that are not finite.
    """
    assert isinstance(problem, Regression)
    first, second = matrices(problem, params)
    return first, second
