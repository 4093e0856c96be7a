"""Random problems of paper 000 with a global minimiser each, and derivatives by a route of their own.

Gradients here come from back-propagation in plain NumPy and second derivatives from its complex step, so that neither
the Kronecker formulas under test nor automatic differentiation is needed.
"""

import warnings
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from gradflow import checks
from gradflow.activations import LeakyReLU
from gradflow.critical_sets.minimisers import linear, one_hidden_layer, residual
from gradflow.critical_sets.minimisers.factorisation import random_orthogonal
from gradflow.critical_sets.minimisers.setting import Layers
from gradflow.networks import AbstractNetwork, Linear, Residual, Shallow
from gradflow.problem import Regression

Instance: TypeAlias = tuple[Regression, Layers]

SLOPE = 0.3
"""Slope of the parametric ReLU of all instances."""


def regression(network: AbstractNetwork, X: np.ndarray, Y: np.ndarray) -> Regression:
    """The problem, without warnings about statements that are not tried here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        return Regression(network, X, Y)


def random_data(rng: np.random.Generator, dim: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """X with condition number up to 30, Y generic; every third time with equal eigenvalues of Sigma (samples = dim)."""
    if samples == dim and rng.random() < 1.0 / 3.0:
        return random_orthogonal(rng, dim), rng.uniform(0.5, 2.0) * random_orthogonal(rng, dim)
    X = rng.normal(size=(dim, samples))
    return np.diag(10.0 ** rng.uniform(-0.5, 0.5, size=dim)) @ X, rng.normal(size=(dim, samples))


def linear_instance(rng: np.random.Generator, *, square: bool = False, num_layers: int | None = None) -> Instance:
    """A linear network of one to four layers; m = d samples when `square`, else up to three more."""
    dim, layers = int(rng.integers(1, 4)), num_layers or int(rng.integers(1, 5))
    samples = dim if square else dim + int(rng.integers(0, 4))
    problem = regression(Linear((dim,) * (layers + 1)), *random_data(rng, dim, samples))
    return problem, linear.sample(problem, rng)


def residual_instance(rng: np.random.Generator, *, square: bool = False, depth: int | None = None) -> Instance:
    """A residual network of one to three units of one to three layers, at a minimiser of full rank."""
    dim, units = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    network = Residual(dim, units, depth or int(rng.integers(1, 4)))
    samples = dim if square else dim + int(rng.integers(0, 4))
    problem = regression(network, *random_data(rng, dim, samples))
    return problem, residual.sample(problem, rng)


def hidden_instance(rng: np.random.Generator, *, piecewise: bool = False) -> Instance:
    """One hidden layer with parametric ReLU, identity or (unless `piecewise`) tanh, away from kinks, with m = d."""
    dim = int(rng.integers(1, 4))
    choices: list = [LeakyReLU(SLOPE), LeakyReLU(SLOPE), "identity"] + ([] if piecewise else ["tanh"])
    network = Shallow((dim,) * 3, choices[int(rng.integers(len(choices)))])
    problem = regression(network, *random_data(rng, dim, dim))
    return problem, one_hidden_layer.sample(problem, rng)


INSTANCES: tuple[Callable[[np.random.Generator], Instance], ...] = (
    linear_instance, residual_instance, lambda rng: hidden_instance(rng, piecewise=True),
)  # fmt: skip


def moved(rng: np.random.Generator, params: Layers, size: float, order: float | str = 2) -> Layers:
    """Every layer moved by `size` in the given norm, each in a random direction."""
    steps = [rng.normal(size=layer.shape) for layer in params]
    return tuple(
        layer + size * step / np.linalg.norm(step, order)  # type: ignore[arg-type]
        for layer, step in zip(params, steps, strict=True)
    )


def loss_of(problem: Regression, params: Layers) -> float:
    """The loss ``1/2 ||output - Y||^2``, in plain NumPy."""
    network, outputs = problem.network, np.asarray(problem.X)
    if isinstance(network, Residual):
        for block in network.blocks(params):
            shortcut = outputs
            for layer in block:
                shortcut = np.asarray(layer) @ shortcut
            outputs = outputs + shortcut
    else:
        for index, layer in enumerate(params):
            outputs = _activated(network, np.asarray(layer) @ outputs, index)[0]
    return 0.5 * float(np.sum((outputs - np.asarray(problem.Y)) ** 2))


def backpropagation(network: AbstractNetwork, params: Layers, X: np.ndarray, Y: np.ndarray) -> Layers:
    """The gradient of ``1/2 ||output - Y||^2``, for complex params too."""
    if isinstance(network, Residual):
        return _residual_backpropagation(network, params, X, Y)
    activations, slopes = [X], []
    for index, layer in enumerate(params):
        value, slope = _activated(network, layer @ activations[-1], index)
        activations.append(value)
        slopes.append(slope)
    backward = activations[-1] - Y
    gradient: list[np.ndarray] = []
    for layer, before, slope in zip(reversed(params), reversed(activations[:-1]), reversed(slopes), strict=True):
        backward = backward * slope
        gradient.insert(0, backward @ before.T)
        backward = layer.T @ backward
    return tuple(gradient)


def hessian_product(problem: Regression, params: Layers, direction: Layers) -> Layers:
    """The Hessian applied to a direction, by the complex step of :func:`backpropagation` (exact to rounding)."""
    step, X, Y = 1e-30, np.asarray(problem.X), np.asarray(problem.Y)
    shifted = tuple(layer + 1j * step * change for layer, change in zip(params, direction, strict=True))
    return tuple(part.imag / step for part in backpropagation(problem.network, shifted, X, Y))


def gradient_of(problem: Regression, params: Layers) -> Layers:
    """The gradient by :func:`backpropagation`."""
    return backpropagation(problem.network, params, np.asarray(problem.X), np.asarray(problem.Y))


def _activated(network: AbstractNetwork, z: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    name = network.activation.name if isinstance(network, Shallow) and index == 0 else "identity"
    if name == "identity":
        return z, np.ones_like(z)
    if name == "tanh":
        return np.tanh(z), 1.0 - np.tanh(z) ** 2
    slope = np.where(z.real > 0.0, 1.0, SLOPE)
    return slope * z, slope


def _residual_backpropagation(network: Residual, params: Layers, X: np.ndarray, Y: np.ndarray) -> Layers:
    inputs, shortcut, outputs = [], X, X
    for index, layer in enumerate(params):
        inputs.append(shortcut)
        shortcut = layer @ shortcut
        if (index + 1) % network.depth == 0:
            outputs = outputs + shortcut
            shortcut = outputs
    around = through = outputs - Y
    gradient: list[np.ndarray] = []
    for index in reversed(range(len(params))):
        gradient.insert(0, through @ inputs[index].T)
        through = params[index].T @ through
        if index % network.depth == 0:
            around = around + through
            through = around
    return tuple(gradient)
