"""Array and parameter aliases: shapes are said once, in the annotation, and mean the same everywhere.

Parameters of a layered network are a tuple ``(W_1, ..., W_L)`` in the order in which the layers act,
``W_j: (d_j, d_{j-1})``; a landscape's parameters are any pytree of floating arrays. Data are columns.
This module knows nothing of networks or flows.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Float, PyTree

Array: TypeAlias = jax.Array | np.ndarray
"""Results are NumPy arrays outside and JAX arrays inside a trace; both are float64."""

Scalar: TypeAlias = Float[Array, ""]
Vector: TypeAlias = Float[Array, " n"]
Matrix: TypeAlias = Float[Array, "rows columns"]
Params: TypeAlias = PyTree[Float[Array, "..."]]
Weights: TypeAlias = tuple[Float[Array, "_ _"], ...]
ScalarFunction: TypeAlias = Callable[[Any], Any]
Shapes: TypeAlias = tuple[tuple[int, ...], ...]
