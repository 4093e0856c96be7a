"""A flow on one flat vector: what the compiled steps run on, because one array costs a step less than many.

Nothing of the flow changes: parameters are flattened row-major in acting order, as the rows of a Hessian are.
"""

import math
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gradflow.flow import AbstractFlow
from gradflow.problem import AbstractProblem
from gradflow.types import Array, Params, Scalar


class Layout(eqx.Module):
    """How a pytree of parameters lies in a flat vector."""

    structure: jax.tree_util.PyTreeDef = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    @classmethod
    def of(cls, params: Params) -> Self:
        """The layout of `params`."""
        leaves, structure = jax.tree.flatten(params)
        return cls(structure, tuple(jnp.shape(leaf) for leaf in leaves))

    def ravel(self, params: Params) -> Float[Array, " n"]:
        """The vector of `params`."""
        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(params)])

    def unravel(self, flat: Float[Array, "*batch n"]) -> Params:
        """The parameters in a vector; leading axes are kept."""
        leaves, begin = [], 0
        for shape in self.shapes:
            end = begin + math.prod(shape)
            leaves.append(flat[..., begin:end].reshape((*flat.shape[:-1], *shape)))
            begin = end
        return jax.tree.unflatten(self.structure, leaves)


class FlatProblem(AbstractProblem):
    """A problem on flat vectors."""

    problem: AbstractProblem
    layout: Layout

    def loss(self, params: Float[Array, " n"]) -> Scalar:
        """The loss."""
        return self.problem.loss(self.layout.unravel(params))

    def gradient(self, params: Float[Array, " n"]) -> Float[Array, " n"]:
        """The gradient, as a vector."""
        return self.layout.ravel(self.problem.gradient(self.layout.unravel(params)))

    def hessian(self, params: Float[Array, " n"]) -> Float[Array, "n n"]:
        """The Hessian."""
        return self.problem.hessian(self.layout.unravel(params))


class FlatFlow(AbstractFlow):
    """A flow on flat vectors."""

    problem: FlatProblem
    flow: AbstractFlow
    layout: Layout

    def __init__(self, flow: AbstractFlow, layout: Layout):
        self.flow, self.layout = flow, layout
        self.problem = FlatProblem(flow.problem, layout)

    def vector_field(self, params: Float[Array, " n"]) -> Float[Array, " n"]:
        """The velocity, as a vector."""
        return self.layout.ravel(self.flow.vector_field(self.layout.unravel(params)))

    def jacobian(self, params: Float[Array, " n"]) -> Float[Array, "n n"]:
        """The Jacobian of the field."""
        return self.flow.jacobian(self.layout.unravel(params))
