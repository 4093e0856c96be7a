"""Batches of samples: which sample enters which step, fixed before the first step, and the gradient of a batch.

A table of batches holds sample numbers, one row a step, and -1 where a place is empty. Every sample counts with the
same factor, the number of samples over the mean size of the batches given, so that the batch gradients of a whole
number of epochs have the full gradient as their mean, whatever the sizes of single batches. The regulariser enters
every step in full. Knows regressions; no update rule and no flow.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gradflow import checks, initial_laws
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Array, Scalar, Weights

EMPTY = -1
"""What stands in a table of batches where there is no sample."""


def epochs(
    key: initial_laws.KeyLike, num_samples: int, batch_size: int, num_epochs: int
) -> Int[np.ndarray, "steps batch"]:
    """Sample numbers for every step of `num_epochs` epochs: each shuffles all samples and deals them into batches.

    An epoch has ``ceil(num_samples / batch_size)`` batches whose sizes differ by at most one, none above `batch_size`;
    an empty place is -1. The same key always gives the same table.

    Args:
        key: a JAX key or a non-negative integer seed.
        num_samples: number of samples, at least 1.
        batch_size: largest number of samples in a batch, at most `num_samples`.
        num_epochs: how often every sample is used.

    Raises:
        InputError: numbers out of range.
    """
    samples = checks.integer("num_samples", num_samples)
    size = checks.integer("batch_size", batch_size)
    checks.require(size <= samples, "batch_size", f"be at most the number of samples {samples}", size)
    key, num_epochs = initial_laws.as_key(key), checks.integer("num_epochs", num_epochs)
    num_batches = -(-samples // size)
    table = np.full((num_epochs * num_batches, -(-samples // num_batches)), EMPTY)
    for epoch in range(num_epochs):
        order = np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), samples))
        for batch, part in enumerate(np.array_split(order, num_batches)):
            table[epoch * num_batches + batch, : len(part)] = part
    return table


class Batches(eqx.Module):
    """A checked table with the regression it belongs to, ready for compiled steps.

    Args:
        problem: any regression; linear networks too use their samples here, not the statistics.
        table: sample numbers, one row a step, -1 for an empty place.
        num_steps: number of steps that the table must serve.

    Raises:
        InputError: no regression, entries that are no samples, an empty batch, fewer rows than steps.
    """

    problem: Regression
    table: Int[Array, "steps batch"]
    factor: Float[Array, ""]

    def __init__(self, problem: AbstractProblem, table: Any, num_steps: int):
        checks.require(
            isinstance(problem, Regression), "batches", "come with a Regression on its own weights",
            type(problem).__name__, "Only a Regression has samples.",
        )  # fmt: skip
        assert isinstance(problem, Regression)
        rows = np.asarray(table)
        is_table = rows.ndim == 2 and rows.dtype.kind in "iu" and rows.size > 0
        checks.require(is_table, "batches", "be whole numbers with axes (steps, batch)", f"{rows.dtype} {rows.shape}")
        num_samples = problem.X.shape[1]
        is_known = bool(np.all((rows >= EMPTY) & (rows < num_samples)))
        checks.require(is_known, "batches", f"hold sample numbers 0 to {num_samples - 1}, or -1 for an empty place",
                       f"{rows.min()} to {rows.max()}")  # fmt: skip
        counts = (rows != EMPTY).sum(axis=1)
        checks.require(bool(np.all(counts > 0)), "batches", "have a sample in every row", "an empty row")
        checks.require(len(rows) >= num_steps, "batches", f"have a row for each of the {num_steps} steps", len(rows))
        self.problem = problem
        self.table = rows.astype(np.int64)
        self.factor = np.asarray(num_samples / counts.mean())

    def gradient(self, params: Weights, step: Int[Array, ""]) -> Weights:
        """The gradient of the batch of `step` (counted from 0), scaled, plus the regulariser's."""
        return jax.grad(self._loss)(params, jnp.asarray(self.table)[step])

    def _loss(self, params: Weights, chosen: Int[Array, " batch"]) -> Scalar:
        problem = self.problem
        outputs = problem.network(params, jnp.asarray(problem.X)[:, chosen])
        # An empty place is a constant: it has a loss, which nobody sees, and no gradient.
        outputs = jnp.where(chosen == EMPTY, jax.lax.stop_gradient(outputs), outputs)
        weight = self.factor * (1.0 if problem.normalization == "sum" else 1.0 / problem.X.shape[1])
        value = weight * problem.loss_function(outputs, jnp.asarray(problem.Y)[:, chosen])
        return value if problem.regularizer is None else value + problem.regularizer(params)
