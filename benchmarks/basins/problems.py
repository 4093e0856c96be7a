"""The problems of the ensemble benchmark: fields, starts and stop rules, known to no solver.

A field is written once, with operators that NumPy, JAX and PyTorch share (``@``, ``.mT``, leading batch axes), so that
every peer integrates the same formula. Only compiled peers write it again.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

Parts = tuple[Any, ...]


@dataclass(frozen=True)
class Problem:
    """A gradient flow ``y' = velocity(y)`` to be followed until ``|velocity| < grad_tol`` or `t1`.

    Rows of `starts` are flat states; `split` cuts one (or a batch of them) into the arrays of `shapes`. `data` holds
    the constant arrays that `velocity` and `loss` get as their second argument, together with "tanh".
    """

    name: str
    title: str
    shapes: tuple[tuple[int, ...], ...]
    t1: float
    grad_tol: float
    velocity: Callable[[Parts, dict], Parts]
    loss: Callable[[Parts, dict], Any]
    draw: Callable[[int], np.ndarray]
    data: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes)

    def starts(self, count: int) -> np.ndarray:
        """The first `count` starts, (count, dim); start i does not depend on `count`."""
        return np.ascontiguousarray(self.draw(count))

    def split(self, rows: Any) -> Parts:
        """Arrays of the problem's shapes (with the batch axes of `rows` in front) out of flat states."""
        parts, begin = [], 0
        for shape in self.shapes:
            end = begin + math.prod(shape)
            parts.append(rows[..., begin:end].reshape(*rows.shape[:-1], *shape))
            begin = end
        return tuple(parts)

    def constants(self, convert: Callable[[np.ndarray], Any], tanh: Callable) -> dict:
        """`data` in the arrays of another library, with its tanh."""
        return {**{name: convert(value) for name, value in self.data.items()}, "tanh": tanh}

    def velocity_rows(self, rows: np.ndarray) -> np.ndarray:
        """The velocity at one flat state or at a batch of them, in NumPy."""
        parts = self.velocity(self.split(rows), self.constants(np.asarray, np.tanh))
        return np.concatenate([part.reshape(*rows.shape[:-1], -1) for part in parts], axis=-1)

    def loss_rows(self, rows: np.ndarray) -> np.ndarray:
        """The loss at one flat state or at a batch of them, in NumPy."""
        return self.loss(self.split(rows), self.constants(np.asarray, np.tanh))


def join(parts: Parts) -> np.ndarray:
    """Flat rows out of a batch of arrays, the inverse of :meth:`Problem.split`."""
    arrays = [np.asarray(part) for part in parts]
    return np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)


def _deep_linear_velocity(weights: Parts, data: dict) -> Parts:
    """Minus the gradient of ``1/2 |S - W3 W2 W1|^2``, products taken from the narrow output end."""
    first, second, third = weights
    product = third @ second
    residual = data["target"] - product @ first
    back = residual @ first.mT
    return product.mT @ residual, third.mT @ back, back @ second.mT


def _deep_linear_loss(weights: Parts, data: dict) -> Any:
    first, second, third = weights
    residual = data["target"] - third @ second @ first
    return 0.5 * (residual * residual).sum((-2, -1))


def _hyperbola_velocity(parts: Parts, data: dict) -> Parts:
    """Minus the gradient of ``1/2 (1 - x y)^2``."""
    del data
    x, y = parts
    residual = 1.0 - x * y
    return residual * y, residual * x


def _hyperbola_loss(parts: Parts, data: dict) -> Any:
    del data
    x, y = parts
    return (0.5 * (1.0 - x * y) ** 2).sum(-1)


def _shallow_velocity(weights: Parts, data: dict) -> Parts:
    """Minus the gradient of ``1/(2 n) |Y - V tanh(U X)|^2``, n samples."""
    first, second = weights
    inputs, outputs = data["inputs"], data["outputs"]
    hidden = data["tanh"](first @ inputs)
    residual = (outputs - second @ hidden) / inputs.shape[-1]
    back = (second.mT @ residual) * (1.0 - hidden * hidden)
    return back @ inputs.mT, residual @ hidden.mT


def _shallow_loss(weights: Parts, data: dict) -> Any:
    first, second = weights
    residual = data["outputs"] - second @ data["tanh"](first @ data["inputs"])
    return 0.5 * (residual * residual).sum((-2, -1)) / data["inputs"].shape[-1]


def deep_linear() -> Problem:
    """A: widths 4-4-4-2, target [diag(2, 1) 0], weights N(0, 0.5^2)."""
    target = np.zeros((2, 4))
    target[0, 0], target[1, 1] = 2.0, 1.0
    return Problem(
        "A",
        "deep linear network 4-4-4-2 (40 parameters)",
        ((4, 4), (4, 4), (2, 4)),
        1e4,
        1e-6,
        _deep_linear_velocity,
        _deep_linear_loss,
        lambda count: np.random.default_rng(0).normal(0.0, 0.5, (count, 40)),
        {"target": target},
    )


def hyperbola() -> Problem:
    """B: ``1/2 (1 - x y)^2``, the points of a 256 x 256 grid over [-2, 2]^2 in shuffled order."""

    def draw(count: int) -> np.ndarray:
        axis = np.linspace(-2.0, 2.0, 256)
        points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
        order = np.random.default_rng(1).permutation(len(points))
        return points[order[np.arange(count) % len(points)]]

    return Problem(
        "B", "1/2 (1 - xy)^2 (2 parameters)", ((1,), (1,)), 1e3, 1e-8, _hyperbola_velocity, _hyperbola_loss, draw
    )


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Whitened features X (8, n) and targets Y (4, n) of the handwritten digits 0 to 4: ``X X^T = I``, ``Y Y^T = I``.

    X holds the first eight principal components of the pixels, Y the four directions of the centred class indicators:
    the singular values of ``Y X^T`` are the canonical correlations of the picture with its class.
    """
    from sklearn.datasets import load_digits

    pictures, classes = load_digits(n_class=5, return_X_y=True)
    pictures = pictures - pictures.mean(axis=0)
    features = np.linalg.svd(pictures, full_matrices=False)[0][:, :8]
    indicators = np.eye(5)[classes]
    targets = np.linalg.svd(indicators - indicators.mean(axis=0), full_matrices=False)[0][:, :4]
    return np.ascontiguousarray(features.T), np.ascontiguousarray(targets.T)


def digits_network() -> Problem:
    """C: widths 8-8-8-4 on whitened digits, ``1/2 |Y - W3 W2 W1 X|^2`` less its constant, weights N(0, 1/8)."""
    X, Y = digits()
    return Problem(
        "C",
        "deep linear network 8-8-8-4 on whitened digits (160 parameters)",
        ((8, 8), (8, 8), (4, 8)),
        1e4,
        1e-6,
        _deep_linear_velocity,
        _deep_linear_loss,
        lambda count: np.random.default_rng(2).normal(0.0, 8**-0.5, (count, 160)),
        {"target": Y @ X.T},
    )


def shallow_tanh() -> Problem:
    """D: tanh network 10-10-5 on 50 samples of a teacher with noise 0.1, mean loss, weights N(0, 0.5^2).

    Such networks crawl for very long, so the horizon is short, t1 = 200, and most runs end there: this problem
    measures steps per second, not how a run stops.
    """
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((10, 50))
    first, second = rng.normal(0.0, 0.5, (10, 10)), rng.normal(0.0, 0.5, (5, 10))
    outputs = second @ np.tanh(first @ inputs) + 0.1 * rng.standard_normal((5, 50))
    return Problem(
        "D",
        "tanh network 10-10-5, 50 samples (150 parameters), t <= 200",
        ((10, 10), (5, 10)),
        200.0,
        1e-6,
        _shallow_velocity,
        _shallow_loss,
        lambda count: np.random.default_rng(4).normal(0.0, 0.5, (count, 150)),
        {"inputs": inputs, "outputs": outputs},
    )


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "A": deep_linear,
    "B": hyperbola,
    "C": digits_network,
    "D": shallow_tanh,
}
"""Makers of the problems by letter."""


@cache
def get(name: str) -> Problem:
    """The problem of that letter."""
    return PROBLEMS[name]()
