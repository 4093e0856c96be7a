"""Terms added to the loss that depend on the parameters alone: ``params -> scalar``.

A regulariser knows neither data nor flow. The balancing terms of paper 001 belong here too.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gradflow import checks
from gradflow.types import Array, Params


class AbstractRegularizer(eqx.Module):
    """A scalar function of the parameters. Final subclasses give `__call__`; it must be pure and differentiable."""

    @abc.abstractmethod
    def __call__(self, params: Params) -> Float[Array, ""]:
        """The value added to the loss."""


class WeightDecay(AbstractRegularizer):
    """``strength / 2 * sum_j ||W_j||_F^2``.

    Under it the balancedness of linear layers is not conserved but decays exactly:
    ``C_j(t) = exp(-2 * strength * t) C_j(0)``.

    Raises:
        InputError: `strength` is negative or not finite.
    """

    strength: float

    def __init__(self, strength: float):
        self.strength = checks.real("strength", strength, at_least=0.0)

    def __call__(self, params: Params) -> Float[Array, ""]:
        """``strength / 2`` times the squared norm of all parameters."""
        return 0.5 * self.strength * jnp.sum(jnp.stack([jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(params)]))
