"""Compiled functions of a flow and a method, called thousands of times: the split into arrays and the rest is kept.

``jax.jit`` wants arrays; flows and solvers also hold functions and numbers. equinox's filter_jit takes them apart in
every call, which costs a millisecond. A :class:`Context` does it once.

Programs are kept for the forms used last and no longer: JAX keeps every program that a function was ever compiled to,
each with some hundred mappings of memory, and a system gives a process about 65 000 of them: a loop over two hundred
landscapes would end it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

MOST_FORMS = 32
"""Forms whose programs one function keeps; a form that comes back after so many others is compiled again."""


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


def per_form(function: Callable[..., Any], num_forms: int = 1, **options: Any) -> Callable[..., Any]:
    """`function` compiled for what its first `num_forms` arguments are, hashable each; the rest are arrays.

    The programs of the :data:`MOST_FORMS` forms used last are kept. `options` are those of ``jax.jit``.
    """

    @functools.lru_cache(maxsize=MOST_FORMS)
    def program(*forms: Any) -> Callable[..., Any]:
        return jax.jit(functools.partial(function, *forms), **options)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return program(*arguments[:num_forms])(*arguments[num_forms:])

    return call


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of something held and of arrays, compiled; it is called with a :class:`Context` in its place."""

    def run(form: Any, arrays: list[Any], *rest: Any) -> Any:
        return function(joined(form, arrays), *rest)

    program = per_form(run)

    @functools.wraps(function)
    def call(context: Context, *rest: Any) -> Any:
        return program(context.form, context.arrays, *rest)

    return call
