"""Which states of networks with kinks lie on one, or so near that nobody can tell."""

import numpy as np
from jaxtyping import Bool, Float

from gradflow.critical_points.linear_weights import layers_of
from gradflow.critical_sets.relu_cones.cones import CLEAR_RTOL
from gradflow.networks import Shallow
from gradflow.problem import AbstractProblem, Regression


def on_kink(problem: AbstractProblem, flat: Float[np.ndarray, "num n"]) -> Bool[np.ndarray, " num"]:
    """True where some preactivation is within :data:`CLEAR_RTOL` of a kink of the activation, relative.

    False for every problem but networks with one hidden layer: kinks of a user's landscape are not known.
    """
    result = np.zeros(len(flat), dtype=bool)
    if not (isinstance(problem, Regression) and isinstance(problem.network, Shallow)):
        return result
    X, network = np.asarray(problem.X), problem.network
    live = X.any(axis=0)
    first, second = layers_of(problem, flat)
    values = np.matmul(first, X[:, live])
    sizes = np.linalg.norm(first, axis=2)[:, :, None] * np.linalg.norm(X[:, live], axis=0)
    for kink in network.activation.kinks:
        result |= (np.abs(values - kink) <= CLEAR_RTOL * (sizes + abs(kink))).any(axis=(1, 2))
    if network.output_activation.kinks:
        hidden = np.asarray(network.activation(values))
        outputs = np.matmul(second, hidden)
        sizes = np.linalg.norm(second, axis=2)[:, :, None] * np.linalg.norm(hidden, axis=1)[:, None, :]
        for kink in network.output_activation.kinks:
            result |= (np.abs(outputs - kink) <= CLEAR_RTOL * (sizes + abs(kink))).any(axis=(1, 2))
    return result
