"""What tells refined endpoints apart whatever the symmetries of the problem, as numbers.

Networks: the function on the data, which permutations and signs of hidden units and changes of basis between layers
leave alone, with the loss; at isolated points also trace and Frobenius norm of the Hessian, which orthogonal symmetries
leave alone. Landscapes: the location of isolated points; of points that are not isolated only loss, index and nullity,
so a continuum is one class (two continua of equal loss, index and nullity are not told apart). Long vectors are
projected on fixed random directions. Knows a problem; groups nothing.
"""

import functools
from typing import Any

import jax
import numpy as np

from gradflow.naming.evaluation import Evaluator
from gradflow.naming.examination import Examination
from gradflow.naming.groups import Features
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Params

STAYS = 2
"""Position of the key that says whether the flow is known to stay."""

MAX_FEATURES = 64
"""Longest vector of outputs or coordinates that is compared as it is."""


def features(
    problem: AbstractProblem, evaluate: Evaluator, examination: Examination, samples: np.ndarray, stays: np.ndarray
) -> Features:
    """Features of critical points: keys (index, nullity, stays), values (loss, then what the problem offers).

    Args:
        problem: any problem.
        evaluate: its derivatives.
        examination: of the endpoints, all of them critical.
        samples: their sample numbers.
        stays: True where the flow is known to stay; a key where there are flat directions, because a degenerate point
            that is not a minimum is named only there.
    """
    is_isolated = (examination.nullity == 0)[:, None]
    if isinstance(problem, Regression):
        size = 0.5 * float(np.sum(problem.Y**2)) * (1.0 if problem.normalization == "sum" else 1 / problem.Y.shape[1])
        rms = float(np.sqrt(np.mean(problem.Y**2))) or 1.0
        outputs = evaluate.outputs(examination.params, network_outputs) / rms
        spectrum = np.stack([examination.trace, examination.frobenius], axis=1) / (size or 1.0)
        parts = [compressed(outputs), np.where(is_isolated, spectrum, 0.0)]
        loss = examination.loss / (size or 1.0)
    else:
        parts = [np.where(is_isolated, compressed(examination.params), 0.0)]
        loss = examination.loss
    return Features(
        keys=np.stack([examination.index, examination.nullity, stays & (examination.nullity > 0)], axis=1),
        values=np.concatenate([loss[:, None], *parts], axis=1),
        loss=examination.loss,
        params=examination.params,
        samples=np.asarray(samples, dtype=np.int64),
    )


def network_outputs(problem: Any, params: Params) -> jax.Array:
    """The network's outputs on the data as one vector."""
    return problem.network(params, problem.X).ravel()


def compressed(vectors: np.ndarray) -> np.ndarray:
    """Vectors of at most :data:`MAX_FEATURES` entries: projections on fixed random directions, longer ones only."""
    length = vectors.shape[1]
    if length <= MAX_FEATURES:
        return vectors
    projected = np.zeros((len(vectors), MAX_FEATURES))
    directions = _directions(length)
    for row, vector in enumerate(vectors):  # one by one: the bits of a row must not depend on the others
        projected[row] = directions @ vector
    return projected


@functools.lru_cache(maxsize=8)
def _directions(length: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(MAX_FEATURES, length)) / np.sqrt(length)
