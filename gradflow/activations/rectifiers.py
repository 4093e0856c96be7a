"""Homogeneous activations: identity, ReLU, leaky and parametric ReLU, squared ReLU.

For a p-homogeneous activation ``sigma / sigma' = x / p``, so the potential is ``x^2 / (2p)``; where sigma vanishes on a
half-line the quotient is 0/0 and the potential is that by convention. It is the convention that makes
``p ||W_2[:, l]||^2 - ||W_1[l, :]||^2`` conserved for any data.

Source: paper 003, section 5, Remark 4 for p = 1. For general p, with ``a`` the preactivations of unit l and ``g`` the
gradient of the loss by its output weight times sigma: ``<W_1[l], dW_1[l]/dt> = -sum g sigma'(a) a = -p sum g sigma(a)
= p <W_2[:, l], dW_2[:, l]/dt>``, by Euler's ``a sigma'(a) = p sigma(a)``.
"""

import equinox as eqx
import jax.numpy as jnp

from gradflow import checks
from gradflow.activations.activation import AbstractActivation, Values


class Identity(AbstractActivation):
    """``x``."""

    @property
    def name(self) -> str:
        """``"identity"``."""
        return "identity"

    def __call__(self, x: Values) -> Values:
        """`x` itself."""
        return jnp.asarray(x)

    def potential(self, x: Values) -> Values:
        """``x^2 / 2``."""
        return 0.5 * jnp.asarray(x) ** 2

    def inverse(self, y: Values) -> Values:
        """`y` itself."""
        return jnp.asarray(y)

    @property
    def homogeneity(self) -> float:
        """1."""
        return 1.0

    @property
    def is_odd(self) -> bool:
        """Yes."""
        return True

    @property
    def is_injective(self) -> bool:
        """Yes."""
        return True


class LeakyReLU(AbstractActivation):
    """``max(x, 0) + slope min(x, 0)``; a trained slope makes no difference between leaky and parametric ReLU here.

    Args:
        slope: the derivative for negative x, in [0, inf).

    Raises:
        InputError: `slope` is negative or not finite.

    Source: paper 000, section 4 (parametric ReLU); paper 002, section 5 (ReLU, slope 0).
    """

    slope: float = eqx.field(static=True)

    def __init__(self, slope: float = 0.01):
        self.slope = checks.real("slope", slope, at_least=0.0)

    @property
    def name(self) -> str:
        """``"relu"`` for slope 0, otherwise ``"leaky_relu(slope)"``."""
        return "relu" if self.slope == 0.0 else f"leaky_relu({self.slope:g})"

    def __call__(self, x: Values) -> Values:
        """``max(x, 0) + slope min(x, 0)``."""
        return jnp.where(x > 0, x, self.slope * x)

    def derivative(self, x: Values) -> Values:
        """1 for positive x, the slope otherwise, at the kink included."""
        return jnp.where(x > 0, 1.0, self.slope)

    def potential(self, x: Values) -> Values:
        """``x^2 / 2``."""
        return 0.5 * jnp.asarray(x) ** 2

    def inverse(self, y: Values) -> Values:
        """``max(y, 0) + min(y, 0) / slope``.

        Raises:
            InputError: the slope is 0.
        """
        if self.slope == 0.0:
            return super().inverse(y)
        return jnp.where(y > 0, y, y / self.slope)

    @property
    def range(self) -> tuple[float, float]:
        """[0, inf) for ReLU, the line otherwise."""
        return (0.0, float("inf")) if self.slope == 0.0 else (-float("inf"), float("inf"))

    @property
    def homogeneity(self) -> float:
        """1."""
        return 1.0

    @property
    def kinks(self) -> tuple[float, ...]:
        """0, unless the slope is 1."""
        return () if self.slope == 1.0 else (0.0,)

    @property
    def is_odd(self) -> bool:
        """Only with slope 1."""
        return self.slope == 1.0

    @property
    def is_injective(self) -> bool:
        """With a positive slope."""
        return self.slope > 0.0


class SquaredReLU(AbstractActivation):
    """``max(x, 0)^2``, 2-homogeneous and once differentiable."""

    @property
    def name(self) -> str:
        """``"relu_squared"``."""
        return "relu_squared"

    def __call__(self, x: Values) -> Values:
        """``max(x, 0)^2``."""
        return jnp.where(x > 0, x, 0.0) ** 2

    def derivative(self, x: Values) -> Values:
        """``2 max(x, 0)``."""
        return 2 * jnp.where(x > 0, x, 0.0)

    def potential(self, x: Values) -> Values:
        """``x^2 / 4``."""
        return 0.25 * jnp.asarray(x) ** 2

    @property
    def range(self) -> tuple[float, float]:
        """[0, inf)."""
        return (0.0, float("inf"))

    @property
    def homogeneity(self) -> float:
        """2."""
        return 2.0
