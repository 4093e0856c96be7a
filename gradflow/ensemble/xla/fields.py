"""A function of parameters, as traced by JAX, evaluated on many lanes at once with the lane's axis last.

`jax.vmap` would batch small matrix products into calls of a general one, an order of magnitude slower than the few
multiplications they are. Here a product is a sum of products of slices, which XLA fuses into loops over lanes; every
other operation goes through `jax.vmap` of its own. Anything that JAX can trace works.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from gradflow.ensemble.calls import call_of

UNROLLED = 64
"""Longest contraction that is written as a sum of slices; longer ones are left to XLA."""

_LAST = -1


def lane_field(function: Callable[[Any], Any], size: int) -> Callable[[Any], Any]:
    """``(n, lanes) -> (n, lanes)`` from ``function: (n,) -> (n,)``, to be called in the precision it was made in."""
    closed = jax.make_jaxpr(function)(jnp.zeros(size))

    def field(state: Any) -> Any:
        ((value, is_batched),) = _evaluate(closed.jaxpr, closed.consts, [(state, True)])
        return value if is_batched else jnp.broadcast_to(value[:, None], state.shape)

    return field


def _evaluate(jaxpr: Any, consts: Sequence[Any], arguments: Sequence[tuple[Any, bool]]) -> list[tuple[Any, bool]]:
    """Values of a traced function, each with whether it has a lane axis."""
    known: dict[Any, tuple[Any, bool]] = dict(zip(jaxpr.constvars, [(c, False) for c in consts], strict=True))
    known.update(zip(jaxpr.invars, arguments, strict=True))
    look = lambda v: (v.val, False) if isinstance(v, Literal) else known[v]  # noqa: E731
    for equation in jaxpr.eqns:
        values = [look(v) for v in equation.invars]
        known.update(zip(equation.outvars, _apply(equation, values), strict=True))
    return [look(v) for v in jaxpr.outvars]


def _apply(equation: Any, values: list[tuple[Any, bool]]) -> list[tuple[Any, bool]]:
    primitive, params = equation.primitive, equation.params
    body = call_of(equation)
    if body is not None:
        return _evaluate(body[0], body[1], values)
    arrays, batched = [v for v, _ in values], [b for _, b in values]
    if not any(batched):
        result = primitive.bind(*arrays, **params)
        return [(r, False) for r in (result if primitive.multiple_results else [result])]
    if primitive.name == "dot_general" and _is_short(equation):
        return [(_product(arrays, batched, params["dimension_numbers"]), True)]
    axes = tuple(_LAST if b else None for b in batched)
    result = jax.vmap(lambda *a: primitive.bind(*a, **params), in_axes=axes, out_axes=_LAST)(*arrays)
    return [(r, True) for r in (result if primitive.multiple_results else [result])]


def _is_short(equation: Any) -> bool:
    (contract, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    return math.prod(shape[i] for i in contract) <= UNROLLED


def _product(arrays: list[Any], batched: list[bool], dimension_numbers: Any) -> Any:
    """A contraction as a sum of products of slices; axes: batch, free on the left, free on the right, lanes."""
    contracts, batches = dimension_numbers
    ready = []
    for array, has_lanes, contract, batch in zip(arrays, batched, contracts, batches, strict=True):
        array = jnp.asarray(array)  # noqa: PLW2901
        if not has_lanes:
            array = array[..., None]  # noqa: PLW2901
        free = [i for i in range(array.ndim - 1) if i not in contract and i not in batch]
        order = (*contract, *batch, *free, array.ndim - 1)
        ready.append((jnp.transpose(array, order), len(batch), len(free)))
    (left, num_batch, rows), (right, _, columns) = ready
    inner = left.shape[: len(contracts[0])]
    total = None
    for place in np.ndindex(*inner):
        a, b = left[place], right[place]
        a = a.reshape(*a.shape[: num_batch + rows], *[1] * columns, a.shape[-1])
        b = b.reshape(*b.shape[:num_batch], *[1] * rows, *b.shape[num_batch:])
        total = a * b if total is None else total + a * b
    assert total is not None
    return total
