"""What one start looks like: the shapes and the tree of the parameters, and how numbers are spread over them.

Samplers compute with flat vectors, leaves in the order of ``jax.tree.leaves``, each row-major. Knows no distribution.
"""

import math
import numbers
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.types import Array, Params, Shapes

LIKE_REMEDY = (
    "Pass like= a problem or network, the shapes ((d_1, d_0), (d_2, d_1), ...), a number of parameters, the shape "
    "(d,) of one array, or example parameters."
)


@dataclass(frozen=True)
class Template:
    """The shapes of the leaves of one start and the tree they hang on."""

    shapes: Shapes
    structure: Any

    @property
    def num_params(self) -> int:
        """Number of parameters, the length of a flat vector."""
        return sum(math.prod(shape) for shape in self.shapes)

    def unflattened(self, vectors: Float[Array, "*batch n"]) -> Params:
        """The pytree of a flat vector; with leading axes, the batch of pytrees."""
        leaves, position = [], 0
        for shape in self.shapes:
            size = math.prod(shape)
            leaves.append(vectors[..., position : position + size].reshape((*vectors.shape[:-1], *shape)))
            position += size
        return jax.tree.unflatten(self.structure, leaves)

    def spread(self, name: str, value: Any) -> Float[np.ndarray, " n"]:
        """`value` as a flat float64 vector: one number for all, a pytree like the parameters, or the vector itself.

        Raises:
            InputError: it fits neither way, or holds what is not a finite number.
        """
        if is_number(value):
            return np.full(self.num_params, checks.real(name, value))
        is_vector = isinstance(value, np.ndarray | jax.Array) or _is_sequence_of_numbers(value)
        if is_vector and np.shape(value) == (self.num_params,):
            return checks.finite_array(name, value)
        leaves, structure = jax.tree.flatten(value)
        fits = f"be a number, like the parameters (shapes {self.shapes}), or a vector of {self.num_params} numbers"
        checks.require(structure == self.structure, name, fits, _said(value))
        labels = [name if len(leaves) == 1 else f"{name}[{index}]" for index in range(len(leaves))]
        parts = [
            _broadcast(label, checks.finite_array(label, leaf), shape)
            for label, leaf, shape in zip(labels, leaves, self.shapes, strict=True)
        ]
        return np.concatenate([part.ravel() for part in parts])


def template_of(like: Any, name: str = "like") -> Template:
    """The template that `like` stands for.

    Args:
        like: a whole number d (one array of d parameters), a tuple of whole numbers (the shape of one array), a tuple
            of shapes (a tuple of arrays, as the layers of a network), a network, a problem with a network, a flow of
            one, or example parameters: a pytree of arrays, of ``jax.ShapeDtypeStruct`` or of floats. A plain sequence
            of floats is one array.
        name: what an error message calls it.

    Raises:
        InputError: anything else; the message lists what is understood.
    """
    owner = getattr(like, "problem", like)
    network = getattr(owner, "network", owner)
    if hasattr(network, "shapes") and not isinstance(network, type):
        return _of_shapes(name, tuple(network.shapes))
    is_problem = callable(getattr(owner, "loss", None))
    checks.require(
        not is_problem, name, "say what the parameters look like", f"{type(owner).__name__}, which does not know it",
        "A landscape takes any parameters: pass their number, their shape (d,), or example parameters.",
    )  # fmt: skip
    if isinstance(like, int | np.integer) and not isinstance(like, bool):
        return _single((checks.integer(name, like),))
    if isinstance(like, tuple) and like and all(_is_size(entry) for entry in like):
        return _single(tuple(checks.integer(f"{name}[{index}]", size) for index, size in enumerate(like)))
    if isinstance(like, tuple) and like and all(_is_shape(entry) for entry in like):
        return _of_shapes(name, like)
    if _is_sequence_of_numbers(like):
        checks.require(
            any(isinstance(entry, float) for entry in like), name, "be a tuple where it is a shape", repr(like)
        )
        return _single((len(like),))
    return _of_example(name, like, (float,))


def resolved(like: Any, **values: Any) -> Template:
    """The template of `like`; without one, that of the first of the values that is more than a number.

    Raises:
        InputError: as :func:`template_of`, or nothing says what the parameters look like.
    """
    if like is not None:
        return template_of(like)
    for name, value in values.items():
        if not is_number(value):
            is_flat = _is_sequence_of_numbers(value) and len(value) > 0
            return _single((len(value),)) if is_flat else _of_example(name, value, (float, int))
    numbers_given = ", ".join(f"{name}={value!r}" for name, value in values.items())
    checks.require(False, "like", "be given where all else is numbers", f"{numbers_given} alone", LIKE_REMEDY)
    raise AssertionError


def is_number(value: Any) -> bool:
    """True for a real number that is no array of an axis or more."""
    is_real = isinstance(value, numbers.Real | np.number) and not isinstance(value, bool | np.bool_)
    return is_real or (isinstance(value, np.ndarray | jax.Array) and np.ndim(value) == 0)


def _of_shapes(name: str, shapes: Any) -> Template:
    for index, shape in enumerate(shapes):
        for size in shape:
            checks.integer(f"{name}[{index}]", size)
    plain = tuple(tuple(int(size) for size in shape) for shape in shapes)
    return Template(plain, jax.tree.structure(tuple(0 for _ in plain)))


def _of_example(name: str, example: Any, scalars: tuple[type, ...]) -> Template:
    leaves, structure = jax.tree.flatten(example)
    is_example = bool(leaves) and all(hasattr(leaf, "shape") or isinstance(leaf, scalars) for leaf in leaves)
    checks.require(is_example, name, "say what the parameters look like", _said(example), LIKE_REMEDY)
    template = Template(tuple(tuple(np.shape(leaf)) for leaf in leaves), structure)
    checks.require(template.num_params > 0, name, "have at least one parameter", f"shapes {template.shapes}")
    return template


def _single(shape: tuple[int, ...]) -> Template:
    return Template((shape,), jax.tree.structure(0))


def _is_size(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(_is_size(entry) for entry in value)


def _is_sequence_of_numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(is_number(entry) for entry in value)


def _broadcast(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    fits = array.ndim <= len(shape) and all(
        given in (1, wanted) for given, wanted in zip(array.shape[::-1], shape[::-1], strict=False)
    )
    checks.require(fits, name, f"have shape {shape}", array.shape)
    return np.broadcast_to(array, shape)


def _said(value: Any) -> str:
    """A value in an error message, short."""
    if hasattr(value, "shape"):
        return f"an array of shape {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= 80 else f"{type(value).__name__} {text[:60]}..."
