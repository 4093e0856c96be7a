"""Loss, gradient and Hessian at many states at once, so that a state's numbers depend on that state alone.

States are the rows of a matrix, parameters flattened as in :mod:`gradflow.curvature`. They are computed in blocks of
a size that depends on the number of parameters only; a block that is not full is filled up with copies. So everything
is compiled once, and the bits of a row depend neither on the rows beside it nor on how many there are. Knows a problem;
decides nothing.
"""

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from gradflow import checks
from gradflow.naming.columns import MOST_COLUMNS
from gradflow.precision import in_double
from gradflow.problem import AbstractProblem
from gradflow.types import Params

BLOCK_ENTRIES = 2**18
"""Entries of all Hessians of one block, about (2 MB: they stay in the cache)."""

FEWEST, MOST = 8, 1024
"""Smallest and largest number of states in a block."""

SINGLE_THREADED = {"xla_cpu_multi_thread_eigen": False}
"""XLA's own threads make batches of small products many times slower."""

Flat = Float[np.ndarray, "num n"]


@dataclass(frozen=True, eq=False)
class Derivatives:
    """What the derivatives are at some states, one row each."""

    loss: Float[np.ndarray, " num"]
    gradient: Float[np.ndarray, "num n"]
    hessian: Float[np.ndarray, "num n n"]


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Compiled derivatives of one problem, for states of one shape.

    Attributes:
        form, arrays: the problem without data that its derivatives do not read.
        whole: the problem with them.
        structure: of the parameters' pytree.
        shapes: of its leaves.
    """

    form: Any
    arrays: list[Any]
    whole: tuple[Any, list[Any]]
    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    @property
    def num_params(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def block(self) -> int:
        """How many states are computed at once."""
        fitting = BLOCK_ENTRIES // max(self.num_params, 1) ** 2
        return min(max(1 << max(fitting, 1).bit_length() - 1, FEWEST), MOST)

    def flatten(self, params: Params) -> Flat:
        """A batch of states, leading axis the sample, as rows.

        Raises:
            InputError: another structure or other shapes than the problem's.
        """
        leaves, structure = jax.tree.flatten(params)
        leaves = [np.asarray(leaf, dtype=np.float64) for leaf in leaves]
        shapes = tuple(leaf.shape[1:] for leaf in leaves)
        fits = structure == self.structure and shapes == self.shapes
        num = {leaf.shape[:1] for leaf in leaves}
        checks.require(
            fits and len(num) == 1, "endpoints", f"have leaves of shapes (samples, ...) with {self.shapes}",
            [leaf.shape for leaf in leaves],
        )  # fmt: skip
        return np.concatenate([leaf.reshape(len(leaf), math.prod(leaf.shape[1:])) for leaf in leaves], axis=1)

    def unflatten(self, flat: Flat) -> Params:
        """The batch of states whose rows these are."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])[:-1]
        parts = np.split(flat, ends, axis=1)
        leaves = [part.reshape(len(flat), *shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return jax.tree.unflatten(self.structure, leaves)

    def gradients(self, flat: Flat) -> Flat:
        """The gradients."""
        return self._mapped(_gradients, flat)[0]

    def derivatives(self, flat: Flat) -> Derivatives:
        """Losses, gradients and symmetrised Hessians."""
        loss, gradient, hessian = self._mapped(_derivatives, flat)
        return Derivatives(loss, gradient, 0.5 * (hessian + hessian.transpose(0, 2, 1)))

    def losses(self, flat: Flat) -> Float[np.ndarray, " num"]:
        """The losses."""
        return self._mapped(_losses, flat)[0]

    def outputs(self, flat: Flat, function: Callable[[Any, Params], Any]) -> np.ndarray:
        """``function(problem, params)`` for each row; `function` must be the same object in every call."""
        form, arrays = self.whole
        whole = Evaluator(form, arrays, self.whole, self.structure, self.shapes)
        return whole._mapped(functools.partial(_outputs, function), flat)[0]

    @in_double
    def _mapped(self, compiled: Callable[..., tuple[Any, ...]], flat: Flat) -> list[np.ndarray]:
        results: list[np.ndarray] = []
        is_short = self.num_params < MOST_COLUMNS
        for start, rows in self._blocks(flat):
            parts = compiled(self.form, self.structure, self.shapes, self.arrays, rows)
            for index, part in enumerate(parts):
                values = np.asarray(part)
                if len(results) == index:
                    results.append(np.empty((len(flat), *values.shape[1:]), order="F" if is_short else "C"))
                results[index][start : start + self.block] = values[: len(flat) - start]
        return results

    def _blocks(self, flat: Flat) -> Iterator[tuple[int, Flat]]:
        """Blocks of rows, the last one filled up; one block of zeros when there are no rows at all."""
        if not len(flat):
            yield 0, np.zeros((self.block, self.num_params))
        for start in range(0, len(flat), self.block):
            rows = flat[start : start + self.block]
            missing = self.block - len(rows)
            yield start, np.concatenate([rows, np.repeat(rows[:1], missing, axis=0)]) if missing else rows


def evaluator(problem: AbstractProblem, params: Params) -> Evaluator:
    """The derivatives of `problem` at states like one of the batch `params` (leading axis the sample)."""
    leaves, structure = jax.tree.flatten(params)
    checks.require(len(leaves) > 0, "endpoints", "have at least one array", "an empty pytree")
    shapes = tuple(tuple(np.shape(leaf)[1:]) for leaf in leaves)
    form, arrays = _split(problem.compact())
    return Evaluator(form, arrays, _split(problem), structure, shapes)


def _split(tree: Any) -> tuple[Any, list[Any]]:
    """A hashable form and the arrays of a pytree; problems of equal form share one compiled function."""
    leaves, structure = jax.tree.flatten(tree)
    is_array = tuple(isinstance(leaf, np.ndarray | jax.Array) for leaf in leaves)
    rest = tuple(None if known else leaf for leaf, known in zip(leaves, is_array, strict=True))
    return (structure, is_array, rest), [leaf for leaf, known in zip(leaves, is_array, strict=True) if known]


def _problem(form: Any, arrays: list[Any]) -> Any:
    structure, is_array, rest = form
    remaining = iter(arrays)
    leaves = [next(remaining) if known else leaf for leaf, known in zip(rest, is_array, strict=True)]
    return jax.tree.unflatten(structure, leaves)


def _unraveled(structure: Any, shapes: tuple[tuple[int, ...], ...], row: jax.Array) -> Params:
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = jnp.split(row, ends)
    return jax.tree.unflatten(structure, [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)])


_compiled = functools.partial(jax.jit, static_argnums=(0, 1, 2), compiler_options=SINGLE_THREADED)


@_compiled
def _gradients(form: Any, structure: Any, shapes: Any, arrays: list[Any], rows: jax.Array) -> tuple[Any, ...]:
    problem = _problem(form, arrays)
    return (jax.vmap(lambda row: ravel_pytree(problem.gradient(_unraveled(structure, shapes, row)))[0])(rows),)


@_compiled
def _losses(form: Any, structure: Any, shapes: Any, arrays: list[Any], rows: jax.Array) -> tuple[Any, ...]:
    problem = _problem(form, arrays)
    return (jax.vmap(lambda row: problem.loss(_unraveled(structure, shapes, row)))(rows),)


@_compiled
def _derivatives(form: Any, structure: Any, shapes: Any, arrays: list[Any], rows: jax.Array) -> tuple[Any, ...]:
    problem = _problem(form, arrays)

    def at(row: jax.Array) -> tuple[Any, ...]:
        params = _unraveled(structure, shapes, row)
        return problem.loss(params), ravel_pytree(problem.gradient(params))[0], problem.hessian(params)

    return jax.vmap(at)(rows)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), compiler_options=SINGLE_THREADED)
def _outputs(
    function: Any, form: Any, structure: Any, shapes: Any, arrays: list[Any], rows: jax.Array
) -> tuple[Any, ...]:
    problem = _problem(form, arrays)
    return (jax.vmap(lambda row: function(problem, _unraveled(structure, shapes, row)))(rows),)
