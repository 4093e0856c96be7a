"""The Hessian of a problem at a state: dense, or as an operator, and the gradient as a vector.

Compiled once per problem structure and shape, with the data passed as arguments. Everything runs on the host in double
precision and returns NumPy arrays.
"""

import functools
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from gradflow import checks
from gradflow.calls import Context, joined, per_form
from gradflow.precision import as_arrays, in_double
from gradflow.problem import AbstractProblem
from gradflow.types import Params

DENSE_LIMIT = 3000
"""Largest number of parameters for which all eigenvalues are computed (1.5 s at the limit on two idle cores)."""

DIRECT_LIMIT = 600
"""Largest number of parameters for which Newton steps and the lowest eigenvalue come from the dense Hessian."""

EPS = float(np.finfo(float).eps)


@in_double
def flat_gradient(problem: AbstractProblem, params: Params) -> Float[np.ndarray, " n"]:
    """The gradient as one vector, in the order of the Hessian's rows."""
    form, arrays = _taken_apart(problem, params)
    return np.asarray(_compiled_gradient(form, arrays))


def dense_hessian(problem: AbstractProblem, params: Params) -> np.ndarray:
    """The symmetrised Hessian; refused above :data:`DENSE_LIMIT` parameters."""
    size = num_params(params)
    checks.require(
        size <= DENSE_LIMIT,
        "params",
        f"have at most {DENSE_LIMIT} entries for all eigenvalues",
        size,
        "Use gradflow.curvature.extreme_eigenvalues, which needs Hessian-vector products only.",
    )
    form, arrays = _taken_apart(problem, params)
    hessian = np.asarray(_compiled_hessian(form, arrays))
    return 0.5 * (hessian + hessian.T)


@in_double
def measured(
    problem: AbstractProblem, params: Params, changes: np.ndarray, with_hessian: bool
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray | None]:
    """Loss, gradient, gradients where the parameters are multiplied by ``1 + changes`` (a row each), and the Hessian.

    One compiled call: a look at a state is taken often, and calls cost more than what they compute.
    """
    form, arrays = _taken_apart(problem, params)
    loss, gradients, hessian = _compiled_measures((form, with_hessian), arrays, changes)
    gradients = np.asarray(gradients)
    if hessian is not None:
        hessian = np.asarray(hessian)
        hessian = 0.5 * (hessian + hessian.T)
    return float(loss), gradients[0], gradients[1:], hessian


def raveled(params: Params) -> tuple[np.ndarray, Callable[[np.ndarray], Params]]:
    """`params` as one NumPy vector, in the order of the Hessian's rows, and what makes parameters of such a vector."""
    leaves, structure = jax.tree.flatten(as_arrays(params, name="params"))
    ends = np.cumsum([leaf.size for leaf in leaves])

    def unravel(vector: np.ndarray) -> Params:
        parts = [vector[end - leaf.size : end].reshape(leaf.shape) for end, leaf in zip(ends, leaves, strict=True)]
        return jax.tree.unflatten(structure, parts)

    return np.concatenate([np.ravel(leaf) for leaf in leaves]), unravel


def num_params(params: Params) -> int:
    """Number of entries of all leaves."""
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params))


def operator(problem: AbstractProblem, params: Params) -> tuple[int, Callable[[np.ndarray], np.ndarray]]:
    """The number of parameters and ``vector -> H vector`` on NumPy vectors; data are moved to the device once."""
    taken_apart: list[Any] = []

    @in_double
    def product(vector: np.ndarray) -> np.ndarray:
        if not taken_apart:
            form, arrays = _taken_apart(problem, params)
            taken_apart.extend((form, [jnp.asarray(array) for array in arrays]))
        return np.asarray(_compiled_product(*taken_apart, vector))

    return num_params(params), product


@functools.lru_cache(maxsize=8)
def start_vector(size: int) -> np.ndarray:
    """A fixed random unit vector, so that iterations repeat exactly."""
    vector = np.random.default_rng(0).normal(size=size)
    return vector / np.linalg.norm(vector)


_KNOWN: dict[int, tuple[Any, Context]] = {}
"""Problems in use, taken apart: by identity, with a weak reference that removes the entry."""


def _taken_apart(problem: AbstractProblem, params: Params) -> tuple[Any, list[Any]]:
    """The form and the arrays of a problem with parameters; the problem's part is kept while the problem lives."""
    given = Context(as_arrays(params, name="params"))
    known = _KNOWN.get(id(problem))
    if known is None or known[0]() is not problem:
        key = id(problem)
        known = (weakref.ref(problem, functools.partial(_forget, _KNOWN, key)), Context(problem.compact()))
        if not any(isinstance(array, jax.core.Tracer) for array in known[1].arrays):
            _KNOWN[key] = known
    held = known[1]
    return (held.form, len(held.arrays), given.form), [*held.arrays, *given.arrays]


def _forget(known: dict[int, tuple[Any, Context]], key: int, reference: Any) -> None:
    del reference
    known.pop(key, None)


def _joined(form: Any, arrays: list[Any]) -> tuple[AbstractProblem, Params]:
    """What :func:`_taken_apart` took apart."""
    problem_form, count, params_form = form
    return joined(problem_form, arrays[:count]), joined(params_form, arrays[count:])


@per_form
def _compiled_gradient(form: Any, arrays: list[Any]) -> jax.Array:
    problem, params = _joined(form, arrays)
    return ravel_pytree(problem.gradient(params))[0]


@per_form
def _compiled_measures(
    form: tuple[Any, bool], arrays: list[Any], changes: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    problem, params = _joined(form[0], arrays)
    flat, unravel = ravel_pytree(params)
    states = jnp.concatenate([flat[None], flat * (1.0 + changes)])
    gradients = jax.lax.map(lambda state: ravel_pytree(problem.gradient(unravel(state)))[0], states)
    hessian = jnp.asarray(problem.hessian(params)) if form[1] else None
    return jnp.asarray(problem.loss(params)), gradients, hessian


@per_form
def _compiled_hessian(form: Any, arrays: list[Any]) -> jax.Array:
    problem, params = _joined(form, arrays)
    return jnp.asarray(problem.hessian(params))


@per_form
def _compiled_product(form: Any, arrays: list[Any], vector: jax.Array) -> jax.Array:
    problem, params = _joined(form, arrays)
    direction = ravel_pytree(params)[1](vector)
    return ravel_pytree(jax.jvp(problem.gradient, (params,), (direction,))[1])[0]
