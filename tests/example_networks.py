"""One network of every class: what the conformance tests of networks, invariants and results files run over."""

import inspect

import numpy as np

from gradflow import activations, networks
from gradflow.problem import Regression

NETWORKS = {
    "linear": networks.Linear((3, 4, 2, 2)),
    "diagonal": networks.Diagonal(3, 3),
    "residual": networks.Residual(3, 2, 2),
    "shallow": networks.Shallow((3, 4, 2), "tanh", activations.LeakyReLU(1 / 3)),
}

CLASSES = {
    value
    for value in vars(networks).values()
    if inspect.isclass(value) and issubclass(value, networks.AbstractNetwork) and not inspect.isabstract(value)
}


def problem_of(network, num_samples=5, seed=0, **options):
    """A regression of that network with normal data."""
    rng = np.random.default_rng(seed)
    shapes = network.shapes
    X = rng.normal(size=(shapes[0][1], num_samples))
    return Regression(network, X, rng.normal(size=(shapes[-1][0], num_samples)), **options)


def params_of(network, seed=1, scale=0.6):
    """Normal parameters."""
    rng = np.random.default_rng(seed)
    return tuple(scale * rng.normal(size=shape) for shape in network.shapes)
