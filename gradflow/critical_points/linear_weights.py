"""What rounding can make of linear networks: weights that are zero as far as can be told, and their eigenvalues.

A flow keeps the differences of squares of weights, and rounding moves those by some units in the last place of the
squares of the largest weights. So weights of a limit below some square root of that are rounding, whatever is left of
the gradient; saddles that differ in nothing else are not told apart. Knows a problem and states.
"""

import numpy as np
from jaxtyping import Float

from gradflow.critical_sets import NOISE_FLOOR
from gradflow.problem import AbstractProblem, Regression

EPS = float(np.finfo(float).eps)

WEIGHT_FLOOR = 1e-7
"""Weights below this multiple of the scale of the parameters are rounding; the root of 45 units in the last place."""

Layers = list[Float[np.ndarray, "num _ _"]]


def is_linear(problem: AbstractProblem) -> bool:
    """True for a linear network with the squared error and no regulariser."""
    return isinstance(problem, Regression) and problem.statistics is not None and problem.regularizer is None


def weight_floors(problem: AbstractProblem, flat: Float[np.ndarray, "num n"]) -> Float[np.ndarray, " num"]:
    """Distances at which critical points of a linear network, the rows, are not told apart; 0.0 elsewhere."""
    if not is_linear(problem):
        return np.zeros(len(flat))
    assert isinstance(problem, Regression)
    return WEIGHT_FLOOR * np.maximum(np.linalg.norm(flat, axis=1), problem.weight_scale)


def linear_rounding(problem: AbstractProblem, flat: Float[np.ndarray, "num n"]) -> Float[np.ndarray, " num"]:
    """Sizes of eigenvalues that rounding can make at the rows of `flat`; 0.0 where the network is not linear.

    Three sources: rounding of the terms whose sum the Hessian is, 32 n eps times :func:`curvature_of_terms`; the
    smallest weights that theory looks at; and those weights that are there and below :func:`weight_floors`, by what
    becomes of the Hessian without them.
    """
    if not is_linear(problem):
        return np.zeros(len(flat))
    assert isinstance(problem, Regression) and problem.statistics is not None
    flat = np.where(np.isfinite(flat).all(axis=1)[:, None], flat, 0.0)
    values = [np.linalg.svd(layer, compute_uv=False) for layer in layers_of(problem, flat)]
    norms, floors = np.stack([value[:, 0] for value in values]), weight_floors(problem, flat)[:, None]
    lost = np.stack([np.max(np.where(value <= floors, value, 0.0), axis=1) for value in values])
    terms = 32 * flat.shape[1] * EPS * curvature_of_terms(problem, norms)
    least = NOISE_FLOOR * (problem.gradient_scale or 0.0) / problem.weight_scale
    return np.maximum(np.maximum(terms, _shifts(problem, norms, lost)), least)


def eigenvalue_shifts(
    problem: Regression, flat: Float[np.ndarray, "num n"], distances: Float[np.ndarray, " num"]
) -> Float[np.ndarray, " num"]:
    """Sizes of eigenvalues that changes of each layer by `distances` can make at the rows of `flat`."""
    norms = np.stack([np.linalg.norm(layer, 2, axis=(1, 2)) for layer in layers_of(problem, flat)])
    return _shifts(problem, norms, np.broadcast_to(distances, norms.shape))


def _shifts(problem: Regression, norms: np.ndarray, changes: np.ndarray) -> np.ndarray:
    larger = norms + len(norms) * changes
    return curvature_of_terms(problem, larger) - curvature_of_terms(problem, norms)


def curvature_of_terms(problem: Regression, norms: Float[np.ndarray, "layers num"]) -> Float[np.ndarray, " num"]:
    """Size of the terms whose sum is the Hessian of a linear network with layers of these norms.

    At a saddle of order 3 they cancel to zero.
    """
    assert problem.statistics is not None
    root, target = float(problem.statistics.scales[0]), float(problem.spectrum.values[0])
    numbers = range(len(norms))
    others = np.max([np.prod(np.delete(norms, k, axis=0), axis=0) for k in numbers], axis=0)
    pairs = [np.prod(np.delete(norms, [a, b], axis=0), axis=0) for b in numbers for a in range(b)]
    rest = np.max(pairs, axis=0) if pairs else np.zeros(norms.shape[1])
    return np.asarray((root * others) ** 2 + (root * np.prod(norms, axis=0) + target) * root * rest)


def layers_of(problem: Regression, flat: Float[np.ndarray, "num n"]) -> Layers:
    """The weight matrices of the states in the rows of `flat`."""
    shapes = problem.network.shapes
    ends = np.cumsum([rows * columns for rows, columns in shapes])[:-1]
    parts = np.split(flat, ends, axis=1)
    return [part.reshape(len(flat), *shape) for part, shape in zip(parts, shapes, strict=True)]
