"""Gradient-free second order of the regularised shallow loss: the quadratic form (32) and the Hessian, by hand.

Independent of :meth:`gradflow.Regression.hessian` (automatic differentiation of the regulariser) and much cheaper:
plain NumPy, no compilation. Knows shallow linear problems; any matrix G in the regulariser, none too.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from gradflow.critical_sets.balanced.setting import checked_params, shallow_linear
from gradflow.types import Weights


def quadratic_form(problem: Any, params: Weights, direction: Weights) -> float:
    """``d^2/dt^2 g(W + t Delta)`` at t = 0, at any point, critical or not.

    ``||(W_2 D_1 + D_2 W_1) X||^2 + 2 <D_2 D_1, (W_2 W_1 X - Y) X^T>
    + mu (<E, D_2^T D_2 - D_1 G D_1^T> + 1/2 ||sym(W_2^T D_2) - sym(W_1 G D_1^T)||^2)``, ``sym(A) = A + A^T``.

    Raises:
        InputError: not a linear network with one hidden layer and no regulariser but a ``Balance``; wrong shapes.

    Source: paper 001, eq. (32), its first form.
    """
    problem, strength, gram = shallow_linear(problem)
    W_1, W_2 = checked_params(problem, params)
    D_1, D_2 = checked_params(problem, direction, "direction")
    root, residual = _residual(problem, W_1, W_2)
    first_order = W_2 @ D_1 @ root + D_2 @ W_1 @ root
    defect = W_2.T @ W_2 - W_1 @ gram @ W_1.T
    half = W_2.T @ D_2 - W_1 @ gram @ D_1.T
    curvature = np.sum(defect * (D_2.T @ D_2 - D_1 @ gram @ D_1.T)) + 0.5 * np.sum((half + half.T) ** 2)
    return float(np.sum(first_order**2) + 2.0 * np.sum((D_2 @ D_1) * (residual @ root.T)) + strength * curvature)


def hessian(problem: Any, params: Weights) -> Float[np.ndarray, "n n"]:
    """The Hessian of :func:`quadratic_form`, parameters flattened row-major in acting order.

    Accuracy: equal to automatic differentiation to about 1e-15 relative.

    Raises:
        InputError: as :func:`quadratic_form`.
    """
    problem, strength, gram = shallow_linear(problem)
    W_1, W_2 = checked_params(problem, params)
    root, residual = _residual(problem, W_1, W_2)
    (units, inputs), outputs = W_1.shape, W_2.shape[0]
    jacobian = np.hstack([np.kron(W_2, root.T), np.kron(np.eye(outputs), (W_1 @ root).T)])
    mixed = np.einsum("il,jk->jlik", residual @ root.T, np.eye(units)).reshape(units * inputs, outputs * units)
    defect = W_2.T @ W_2 - W_1 @ gram @ W_1.T
    change_1 = -np.einsum("jk,bl->jlkb", np.eye(units), W_1 @ gram).reshape(units * inputs, units, units)
    change_2 = np.einsum("jk,ib->ijkb", np.eye(units), W_2).reshape(outputs * units, units, units)
    change = np.concatenate([change_1, change_2])
    change = (change + change.transpose(0, 2, 1)).reshape(len(change), -1)
    result = jacobian.T @ jacobian + 0.5 * strength * change @ change.T
    split = units * inputs
    result[:split, split:] += mixed
    result[split:, :split] += mixed.T
    result[:split, :split] -= strength * np.kron(defect, gram)
    result[split:, split:] += strength * np.kron(np.eye(outputs), defect)
    return result


def _residual(problem: Any, W_1: np.ndarray, W_2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    root = np.asarray(problem.statistics.root)
    return root, W_2 @ W_1 @ root - np.asarray(problem.statistics.target)
