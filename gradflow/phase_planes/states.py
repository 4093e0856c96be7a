"""Pytrees of parameters as flat states and back, for NumPy arrays and for values that JAX is tracing."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gradflow.precision import as_params, in_double
from gradflow.types import Params


@dataclass(frozen=True)
class Form:
    """Structure and shapes of a pytree of parameters; flattening is row-major, leaf after leaf."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, params: Params) -> "Form":
        """The form of these parameters."""
        leaves, structure = jax.tree.flatten(params)
        return cls(structure, tuple(np.shape(leaf) for leaf in leaves))

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes)

    def unflatten(self, state: Any) -> Params:
        """A pytree from a flat state; entries beyond the first axis are not allowed."""
        leaves, begin = [], 0
        for shape in self.shapes:
            end = begin + math.prod(shape)
            leaves.append(state[begin:end].reshape(shape))
            begin = end
        return jax.tree.unflatten(self.structure, leaves)


def flat(params: Params) -> jax.Array:
    """A state as one array, also inside a trace."""
    return jnp.concatenate([jnp.ravel(jnp.asarray(leaf)) for leaf in jax.tree.leaves(params)])


@in_double
def flat_state(params: Params, name: str = "params") -> Float[np.ndarray, " n"]:
    """A state as one float64 array.

    Raises:
        InputError: an entry is not finite or no number.
    """
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(as_params(params, name=name))])


def flat_rows(params: Params) -> Float[np.ndarray, "k n"]:
    """Rows of a pytree whose leaves have a leading axis, as flat states."""
    leaves = [np.asarray(leaf, dtype=float) for leaf in jax.tree.leaves(params)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
