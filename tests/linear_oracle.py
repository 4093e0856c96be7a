"""Gradient and Hessian of a linear network's loss in plain numpy, one basis vector at a time (no test in this file).

Slow and simple, and without a compilation for each shape; `test_deep_linear_sets` compares it with the problem's own.
"""

import numpy as np


def statistics(problem):
    return np.asarray(problem.statistics.root), np.asarray(problem.statistics.target)


def gradient(problem, params):
    """``(W_l ... W_{h+1})^T (W_l ... W_1 R - T) (W_{h-1} ... W_1 R)^T`` for every layer."""
    root, target = statistics(problem)
    before, after = [root], [np.eye(len(target))]
    for layer in params:
        before.append(layer @ before[-1])
    for layer in reversed(params[1:]):
        after.insert(0, after[0] @ layer)
    error = before[-1] - target
    return [back.T @ error @ front.T for back, front in zip(after, before, strict=False)]


def hessian(problem, params):
    """Derivative of the gradient along every basis vector, parameters flattened row-major in acting order."""
    shapes = [layer.shape for layer in params]
    size = sum(rows * columns for rows, columns in shapes)
    return np.column_stack([_directional(problem, params, unflatten(row, shapes)) for row in np.eye(size)])


def unflatten(flat, shapes):
    sizes = np.cumsum([0, *(rows * columns for rows, columns in shapes)])
    return [flat[a:b].reshape(shape) for a, b, shape in zip(sizes[:-1], sizes[1:], shapes, strict=True)]


def flatten(layers):
    return np.concatenate([np.ravel(layer) for layer in layers])


def inertia(problem, params):
    """(negative, zero) eigenvalues of the Hessian; zero below 1e-9 of its scale."""
    values = np.linalg.eigvalsh(hessian(problem, params))
    zero = 1e-9 * max(problem.gradient_scale / problem.weight_scale, np.abs(values).max())
    return int(np.sum(values < -zero)), int(np.sum(np.abs(values) <= zero))


def _directional(problem, params, direction):
    """Derivative of the gradient, by the product rule on every factor (a dual number by hand)."""
    root, target = statistics(problem)
    before, after = [(root, 0 * root)], [(np.eye(len(target)), np.zeros((len(target), len(target))))]
    for layer, moved in zip(params, direction, strict=True):
        value, slope = before[-1]
        before.append((layer @ value, moved @ value + layer @ slope))
    for layer, moved in zip(reversed(params[1:]), reversed(direction[1:]), strict=True):
        value, slope = after[0]
        after.insert(0, (value @ layer, slope @ layer + value @ moved))
    error, error_slope = before[-1][0] - target, before[-1][1]
    parts = []
    for (back, back_slope), (front, front_slope) in zip(after, before, strict=False):
        part = back_slope.T @ error @ front.T + back.T @ error_slope @ front.T + back.T @ error @ front_slope.T
        parts.append(part.ravel())
    return np.concatenate(parts)
