"""Fields on flat NumPy vectors, written by hand so that solvers which call Python lose as little as they can.

Each is minus the gradient of the problem's loss; ``tests`` and ``make_references.py`` compare them with gradflow's.
Products of a linear network are taken from the output end, which is the narrow one.
"""

from collections.abc import Callable

import numpy as np

Shapes = tuple[tuple[int, int], ...]
Field = Callable[[np.ndarray], np.ndarray]


def _slices(shapes: Shapes) -> list[tuple[slice, tuple[int, int]]]:
    ends = np.cumsum([rows * columns for rows, columns in shapes])
    return [(slice(int(end - r * c), int(end)), (r, c)) for end, (r, c) in zip(ends, shapes, strict=True)]


def linear_velocity(shapes: Shapes, root: np.ndarray, target: np.ndarray) -> Field:
    """Minus the gradient of ``1/2 ||W_L ... W_1 R - T||^2``."""
    if all(shape == (1, 1) for shape in shapes):
        return _chain_velocity(float(root[0, 0]), float(target[0, 0]))
    pieces = _slices(shapes)
    last = len(shapes) - 1

    def velocity(y: np.ndarray) -> np.ndarray:
        layers = [y[piece].reshape(shape) for piece, shape in pieces]
        left = [layers[last]]
        for layer in layers[:last][::-1]:
            left.append(left[-1] @ layer)
        back = (target - left[last] @ root) @ root.T
        out = np.empty_like(y)
        for index in range(last + 1):
            piece, shape = pieces[index]
            gradient = back if index == last else left[last - 1 - index].T @ back
            out[piece].reshape(shape)[:] = gradient
            back = back @ layers[index].T
        return out

    return velocity


def _chain_velocity(root: float, target: float) -> Field:
    """The same for layers of one weight, in Python's own numbers, which are faster for so few."""

    def velocity(y: np.ndarray) -> np.ndarray:
        weights = y.tolist()
        before, product = [], 1.0
        for weight in weights:
            before.append(product)
            product *= weight
        speed = (target - product * root) * root
        for index in range(len(weights) - 1, -1, -1):
            before[index] *= speed
            speed *= weights[index]
        return np.array(before)

    return velocity


def shallow_velocity(inputs: np.ndarray, outputs: np.ndarray, hidden: int, activation: str = "tanh") -> Field:
    """Minus the gradient of ``1/(2 n) ||Y - W_2 sigma(W_1 X)||^2``.

    sigma is tanh, or for any other name the centred logistic function ``tanh(x / 2) / 2``.
    """
    features, samples = inputs.shape
    cut, transposed, scaled = hidden * features, np.ascontiguousarray(inputs.T), outputs / samples
    size = 1.0 if activation == "tanh" else 0.5

    def velocity(y: np.ndarray) -> np.ndarray:
        first, second = y[:cut].reshape(hidden, features), y[cut:].reshape(-1, hidden)
        units = size * np.tanh(size * (first @ inputs))
        residual = scaled - (second / samples) @ units
        back = second.T @ residual
        back *= size * size - units * units
        return np.concatenate([(back @ transposed).ravel(), (residual @ units.T).ravel()])

    return velocity


def residual_velocity(inputs: np.ndarray, outputs: np.ndarray, units: int, depth: int = 2) -> Field:
    """Minus the gradient of ``1/(2 n) ||Y - W_l ... W_1 X||^2`` with ``W_k = I + A_k2 A_k1``, or ``I + A_k1``."""
    dim, samples = inputs.shape
    moment, cross = inputs @ inputs.T / samples, outputs @ inputs.T / samples
    eye = np.eye(dim)

    def velocity(y: np.ndarray) -> np.ndarray:
        layers = y.reshape(units, depth, dim, dim)
        blocks = eye + (layers[:, 1] @ layers[:, 0] if depth == 2 else layers[:, 0])
        left = [eye]
        for block in blocks[::-1]:
            left.append(left[-1] @ block)
        back = cross - left[units] @ moment
        out = np.empty_like(layers)
        for index in range(units):
            change = left[units - 1 - index].T @ back
            if depth == 2:
                out[index, 0] = layers[index, 1].T @ change
                out[index, 1] = change @ layers[index, 0].T
            else:
                out[index, 0] = change
            back = back @ blocks[index].T
        return out.reshape(-1)

    return velocity


def valley_velocity(y: np.ndarray) -> np.ndarray:
    """Minus the gradient of ``x^2/2 + (1 - x y)^2/2``."""
    a, b = y.tolist()
    rest = 1.0 - a * b
    return np.array((rest * b - a, rest * a))


def valley_jacobian(y: np.ndarray) -> np.ndarray:
    """Minus its Hessian."""
    a, b = y.tolist()
    cross = 1.0 - 2.0 * a * b
    return np.array(((-1.0 - b * b, cross), (cross, -a * a)))
