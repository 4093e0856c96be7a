"""What a sampler is: start number i as a function of (key, i) alone.

Two ways to be one. A random law draws each start with the start's own key (:class:`AbstractRandomSampler`; those that
are maps of the unit cube can also be sampled by a design, :class:`AbstractCubeSampler`). A table or a design answers
for its indices by itself. Knows no flow and no label.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gradflow import checks
from gradflow.samplers.blocks import checked_indices, drawn_starts
from gradflow.samplers.templates import Template
from gradflow.types import Array, Params


class AbstractSampler(eqx.Module):
    """Starts of trajectories, numbered from 0.

    To extend: a final subclass gives `starts`, which must be a pure function of (key, index) for each index alone: the
    same bits whatever else is asked for in the same call, in whatever order, so that a run gives the same labels
    for every chunk size and number of workers. A sampler with an end gives `size`. One whose starts are not
    independent (a design) gives `num_replicates`, `replicate` and `balanced_size`, such that the replicates are
    independent of each other. For a random law take :class:`AbstractRandomSampler` instead, which needs `draw` only.
    """

    @property
    def size(self) -> int | None:
        """Number of starts there are, or None for no end."""
        return None

    @property
    def num_replicates(self) -> int:
        """Number of independent replicates; 1 where all starts are independent, or none are."""
        return 1

    @abc.abstractmethod
    def starts(self, key: Any, indices: Any) -> Params:
        """The starts of these numbers: a pytree of float64 NumPy arrays, each with the leading axis "sample".

        Args:
            key: a JAX key (threefry) or a non-negative integer seed.
            indices: whole numbers at least 0, below `size`, in any order, repeated or not.

        Raises:
            InputError: another key, an index that is no such number.
        """

    def replicate(self, indices: Any) -> Int[np.ndarray, " num"]:
        """The replicate, 0 to ``num_replicates - 1``, that each start belongs to."""
        return np.zeros_like(checked_indices(indices, self.size))

    def balanced_size(self, num_samples: int) -> int:
        """The least number of samples from `num_samples` on at which all replicates are complete and equally large."""
        return checks.integer("num_samples", num_samples)


class AbstractRandomSampler(AbstractSampler):
    """Independent starts of one law.

    To extend: a final subclass gives a `template` (what one start looks like; :func:`gradflow.samplers.template_of`)
    and `draw`. Numbers that should not be compiled in are NumPy arrays; all other fields are static and hashable.
    """

    template: eqx.AbstractVar[Template]

    @abc.abstractmethod
    def draw(self, key: jax.Array) -> Params:
        """One start; pure and traceable by JAX. Start i is ``draw(start_key(key, i >> 32, i & 0xFFFFFFFF))``.

        In a program of the caller's own the last bit may round differently than in `starts`.
        """

    def starts(self, key: Any, indices: Any) -> Params:
        """The starts of these numbers, each drawn with its own key in double precision."""
        return drawn_starts(self, key, checked_indices(indices, self.size))


class AbstractCubeSampler(AbstractRandomSampler):
    """A law that is the image of the uniform one on an open unit cube: what Sobol points and strata need.

    To extend: a final subclass gives a `template`, `num_uniforms` and `place`.
    """

    @property
    @abc.abstractmethod
    def num_uniforms(self) -> int:
        """Dimension of the cube."""

    @abc.abstractmethod
    def place(self, uniforms: Float[Array, " dim"]) -> Params:
        """The start at a point of the cube, every coordinate in (0, 1); pure and traceable by JAX."""

    def draw(self, key: jax.Array) -> Params:
        """``place(u)`` with u uniform on the odd multiples of half the spacing of the numbers: never 0, never 1."""
        kind = jnp.result_type(float)
        uniforms = jax.random.uniform(key, (self.num_uniforms,), kind)
        return self.place(uniforms + 0.5 * float(jnp.finfo(kind).eps))
