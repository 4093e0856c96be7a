"""What an activation knows of itself: value, derivative, potential, inverse, range, homogeneity, kinks."""

import abc
import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gradflow import checks
from gradflow.types import Array

Values = Float[Array, "..."]


class AbstractActivation(eqx.Module):
    """A scalar function applied entry by entry. Final subclasses give `__call__` and the facts that hold of it.

    The potential is the function that balances the two layers of a shallow network,

        Sigma(x) = int_0^x sigma(u) / sigma'(u) du,

    with ``Sigma(x) ~ x^2 / 2`` at 0 for every sigmoid and ``x^2 / (2p)`` for a p-homogeneous activation.

    Source: paper 003, section 5, Definition 2 and eq. (27).
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What it is called in tables, settings and files."""

    @abc.abstractmethod
    def __call__(self, x: Values) -> Values:
        """sigma(x)."""

    def derivative(self, x: Values) -> Values:
        """sigma'(x); at a kink the mean of the two one-sided derivatives unless a subclass says otherwise."""
        x = jnp.asarray(x)
        return jax.jvp(self.__call__, (x,), (jnp.ones_like(x),))[1]

    @abc.abstractmethod
    def potential(self, x: Values) -> Values:
        """Sigma(x); infinite beyond every number (:meth:`log_potential`), NaN where sigma' has zeros."""

    def log_potential(self, x: Values) -> Values:
        """``log Sigma(x)``, finite wherever x is finite and nonzero."""
        return jnp.log(self.potential(x))

    def inverse(self, y: Values) -> Values:
        """sigma^{-1}(y) inside :attr:`range`, NaN outside.

        Raises:
            InputError: sigma is not injective.
        """
        del y
        raise checks.InputError(
            f"`{self.name}` must be injective for an inverse, but got an activation that takes a value more than once."
        )

    @property
    def range(self) -> tuple[float, float]:
        """Infimum and supremum of sigma; a finite end of a sigmoid is never taken."""
        return (-math.inf, math.inf)

    @property
    def homogeneity(self) -> float | None:
        """The p with ``sigma(c x) = c^p sigma(x)`` for every c > 0, or None."""
        return None

    @property
    def kinks(self) -> tuple[float, ...]:
        """Where sigma' jumps."""
        return ()

    @property
    def is_sigmoid(self) -> bool:
        """True when Definition 2 holds: C^2, ``x sigma(x) > 0`` off 0, ``sigma' > 0``, finite limits at both ends."""
        return False

    @property
    def is_odd(self) -> bool:
        """True when ``sigma(-x) = -sigma(x)``."""
        return False

    @property
    def is_injective(self) -> bool:
        """True when :meth:`inverse` exists."""
        return False


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def applied(sigma: AbstractActivation, x: Values) -> Values:
    """``sigma(x)`` with ``sigma.derivative`` for its derivative, which automatic differentiation may get wrong.

    In the tail of tanh, ``1 - tanh(x)^2`` loses every digit that ``1 / cosh(x)^2`` keeps; a flow towards a target
    outside the range lives there.
    """
    return sigma(x)


@applied.defjvp
def _applied_jvp(sigma: AbstractActivation, primals: Any, tangents: Any) -> tuple[Values, Values]:
    (x,), (direction,) = primals, tangents
    return applied(sigma, x), sigma.derivative(x) * direction
