"""What rounding can make of the eigenvalues of linear networks, for many states (see critical_points.classify)."""

import numpy as np
from jaxtyping import Float

from gradflow.critical_sets import NOISE_FLOOR
from gradflow.curvature.hessians import EPS
from gradflow.naming.evaluation import Flat
from gradflow.problem import AbstractProblem, Regression


def is_linear(problem: AbstractProblem) -> bool:
    """True for a linear network with the squared error and no regulariser."""
    return isinstance(problem, Regression) and problem.statistics is not None and problem.regularizer is None


def layers_of(problem: Regression, flat: Flat) -> list[Float[np.ndarray, "num _ _"]]:
    """The weight matrices of the states in the rows of `flat`."""
    shapes = problem.network.shapes
    ends = np.cumsum([rows * columns for rows, columns in shapes])[:-1]
    parts = np.split(flat, ends, axis=1)
    return [part.reshape(len(flat), *shape) for part, shape in zip(parts, shapes, strict=True)]


def linear_rounding(problem: AbstractProblem, flat: Flat, num_params: int) -> Float[np.ndarray, " num"]:
    """Sizes of eigenvalues that rounding of the terms, or weights at the noise floor, can make; 0.0 elsewhere."""
    if not is_linear(problem):
        return np.zeros(len(flat))
    assert isinstance(problem, Regression) and problem.statistics is not None
    known = np.isfinite(flat).all(axis=1)
    layers = layers_of(problem, np.where(known[:, None], flat, 0.0))
    norms = np.stack([np.linalg.norm(layer, 2, axis=(1, 2)) for layer in layers])
    root, target = float(problem.statistics.scales[0]), float(problem.spectrum.values[0])
    numbers = range(len(norms))
    others = np.max([np.prod(np.delete(norms, k, axis=0), axis=0) for k in numbers], axis=0)
    pairs = [np.prod(np.delete(norms, [a, b], axis=0), axis=0) for b in numbers for a in range(b)]
    rest = np.max(pairs, axis=0) if pairs else np.zeros(len(flat))
    terms = (root * others) ** 2 + (root * np.prod(norms, axis=0) + target) * root * rest
    floor = NOISE_FLOOR * (problem.gradient_scale or 0.0) / problem.weight_scale
    return np.maximum(32 * num_params * EPS * terms, floor)
