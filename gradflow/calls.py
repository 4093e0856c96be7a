"""Compiled functions of a flow and a method, called thousands of times: the split into arrays and the rest is kept.

``jax.jit`` wants arrays; flows and solvers also hold functions and numbers. equinox's filter_jit takes them apart in
every call, which costs a millisecond. A :class:`Context` does it once.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


class Context:
    """Something that holds arrays among other things, taken apart once. Equal forms share one compilation."""

    def __init__(self, held: Any) -> None:
        leaves, structure = jax.tree.flatten(held)
        is_array = tuple(isinstance(leaf, np.ndarray | jax.Array) for leaf in leaves)
        rest = tuple(None if known else leaf for leaf, known in zip(leaves, is_array, strict=True))
        self.held = held
        self.form = (structure, is_array, rest)
        self.arrays = [leaf for leaf, known in zip(leaves, is_array, strict=True) if known]


def shapes_of(function: Callable[..., Any], context: Context) -> Any:
    """The shapes of what `function` gives for what is held, found once for each form and shapes of arrays."""
    return _shapes_of(function, context.form, specification(context))


def specification(context: Context) -> tuple[tuple[tuple[int, ...], Any], ...]:
    """Shapes and types of the arrays that are held, hashable."""
    return tuple((np.shape(leaf), np.dtype(leaf.dtype)) for leaf in context.arrays)


@functools.lru_cache(maxsize=256)
def _shapes_of(function: Callable[..., Any], form: Any, shapes: tuple[tuple[tuple[int, ...], Any], ...]) -> Any:
    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    return jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(lambda held: function(joined(form, held)), arrays))


def joined(form: Any, arrays: list[Any]) -> Any:
    """What was taken apart."""
    structure, is_array, rest = form
    remaining = iter(arrays)
    return jax.tree.unflatten(
        structure, [next(remaining) if known else leaf for leaf, known in zip(rest, is_array, strict=True)]
    )


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of something held and of arrays, compiled; it is called with a :class:`Context` in its place."""

    @functools.partial(jax.jit, static_argnums=0)
    def run(form: Any, arrays: list[Any], *rest: Any) -> Any:
        return function(joined(form, arrays), *rest)

    @functools.wraps(function)
    def call(context: Context, *rest: Any) -> Any:
        return run(context.form, context.arrays, *rest)

    return call
