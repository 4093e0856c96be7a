"""Short accurate runs of flows for the statements about trajectories, and random instances for them.

A statement about a flow is tried on a solution whose own error is negligible: SciPy's DOP853 with a tolerance of 1e-11,
one compiled vector field per network. Whether :func:`gradflow.integrate` meets its tolerances is for its own tests.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate
from jaxtyping import Float

from gradflow import checks
from gradflow.flow import AbstractFlow
from gradflow.networks import Linear
from gradflow.precision import in_double
from gradflow.problem import Regression

RTOL = 1e-11
"""Relative tolerance of the runs; absolute is a hundredth of it."""


@in_double
def run(
    flow: AbstractFlow, params0: Sequence[Any], times: Sequence[float], method: str = "DOP853", rtol: float = RTOL
) -> tuple[Float[np.ndarray, "times _ _"], ...]:
    """The weights at `times` (increasing, from 0 on), with a leading axis of times."""
    shapes = tuple(np.shape(layer) for layer in params0)
    start = np.concatenate([np.ravel(layer) for layer in params0])
    compact = flow.compact()
    solution = scipy.integrate.solve_ivp(
        lambda _, flat: np.asarray(_field(compact, shapes, flat)), (0.0, times[-1]), start, method=method,
        t_eval=np.asarray(times, float), rtol=rtol, atol=1e-2 * rtol,
    )  # fmt: skip
    return _split(solution.y.T, shapes)


def velocity(flow: AbstractFlow, params: Sequence[Any]) -> tuple[Float[np.ndarray, "_ _"], ...]:
    """The velocity at `params`, as NumPy matrices."""
    return tuple(np.asarray(leaf) for leaf in flow.vector_field(tuple(params)))


def rate_along(moves: Sequence[Any], function: Any, params: Sequence[Any], step: float = 4e-3) -> np.ndarray:
    """Derivative of `function`, which keeps leading axes, along `moves`: central differences of sixth order.

    Accuracy: about 1e-13 relative to the function times the size of `moves`.
    """
    pace = size(moves) or 1.0
    stencil = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
    offsets = np.array([side * index for index in stencil for side in (1, -1)])
    coefficients = np.array([side * stencil[index] for index in stencil for side in (1, -1)])
    shifts = (step / pace) * offsets[:, None, None]
    rows = tuple(np.asarray(layer) + shifts * np.asarray(move) for layer, move in zip(params, moves, strict=True))
    return pace * np.tensordot(coefficients, np.asarray(function(rows)), 1) / step


def size(layers: Sequence[Any]) -> float:
    """``||W||_F`` of all layers."""
    return float(np.sqrt(sum(np.sum(np.square(layer)) for layer in layers)))


def row(layers: Sequence[Any], index: int) -> tuple[np.ndarray, ...]:
    """One state of a run."""
    return tuple(np.asarray(layer)[index] for layer in layers)


def weights(rng: np.random.Generator, shapes: Sequence[tuple[int, ...]], scale: float = 1.0) -> tuple[np.ndarray, ...]:
    """Independent Gaussian weights of standard deviation `scale`."""
    return tuple(scale * rng.normal(size=shape) for shape in shapes)


def regression(network: Any, X: Any, Y: Any, **options: Any) -> Regression:
    """A regression whose hypotheses are the row's business, so that none is warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        return Regression(network, X, Y, **options)


def linear_problem(rng: np.random.Generator, widths: tuple[int, ...], rank: int | None = None) -> Regression:
    """A linear regression on random data of the given rank (default full), columns more than inputs."""
    d_in, samples = widths[0], widths[0] + 3
    X = rng.normal(size=(d_in, samples))
    if rank is not None and rank < d_in:
        X = rng.normal(size=(d_in, rank)) @ rng.normal(size=(rank, samples))
    return regression(Linear(widths), X, rng.normal(size=(widths[-1], samples)))


@eqx.filter_jit
def _field(flow: AbstractFlow, shapes: tuple[tuple[int, ...], ...], flat: Any) -> Any:
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    layers = tuple(part.reshape(shape) for part, shape in zip(jnp.split(flat, cuts), shapes, strict=True))
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(flow.vector_field(layers))])


def _split(rows: np.ndarray, shapes: tuple[tuple[int, ...], ...]) -> tuple[np.ndarray, ...]:
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = np.split(rows, cuts, axis=1)
    return tuple(part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True))
