"""Laws on parameter space itself: uniform in a box, a ball or on a sphere, and Gaussian.

Each is a map of the unit cube. Knows neither networks nor designs.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.samplers.sampler import AbstractCubeSampler
from gradflow.samplers.templates import Template, resolved
from gradflow.types import Array, Params


class Box(AbstractCubeSampler):
    """Uniform in the box ``low <= theta <= high``.

    Args:
        low: lower ends: a number, an array or pytree like the parameters, or a flat vector.
        high: upper ends; equal to `low` where a parameter is to be fixed.
        like: what the parameters look like, where the ends are two numbers (:func:`gradflow.samplers.template_of`).

    Raises:
        InputError: ends that are not finite, cross, or leave nothing to draw.

    Example:
        >>> Box(-2.0, 2.0, like=3).starts(0, [0, 1, 5]).shape
        (3, 3)
    """

    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]
    template: Template = eqx.field(static=True)

    def __init__(self, low: Any, high: Any, like: Any = None):
        self.template = resolved(like, low=low, high=high)
        self.low, self.high = self.template.spread("low", low), self.template.spread("high", high)
        crossed = np.flatnonzero(self.low > self.high)
        where = f"low {self.low[crossed[:1]]} and high {self.high[crossed[:1]]} at parameter {crossed[:1]}"
        checks.require(crossed.size == 0, "high", "be at least `low` everywhere", where)
        checks.require(
            bool((self.low < self.high).any()), "high", "be above `low` somewhere", "a box without volume",
            "Use samplers.Given for a single start.",
        )  # fmt: skip
        with np.errstate(over="ignore"):
            widths = self.high - self.low
        checks.require(bool(np.isfinite(widths).all()), "high", "differ from `low` by a finite width", "an overflow")

    @property
    def num_uniforms(self) -> int:
        """One for each parameter."""
        return self.template.num_params

    def place(self, uniforms: Float[Array, " n"]) -> Params:
        """``low + (high - low) u``; for ``u <= 1 - 2^-53`` no rounding leads out of the box."""
        low, high = jnp.asarray(self.low), jnp.asarray(self.high)
        return self.template.unflattened(low + (high - low) * uniforms)


class Gaussian(AbstractCubeSampler):
    """Independent normal entries, ``theta = mean + scale z``.

    The same law as ``Law("gaussian", ...)`` for any parameters, with other numbers for the same key.

    Args:
        scale: standard deviations: a number, an array or pytree like the parameters, or a flat vector; positive.
        mean: likewise.
        like: what the parameters look like, where all else is numbers.

    Raises:
        InputError: a scale that is not positive, or numbers that are not finite.

    Accuracy: the tails end at ``|z| = 8.2`` (probability 2e-16).
    """

    scale: Float[np.ndarray, " n"]
    mean: Float[np.ndarray, " n"]
    template: Template = eqx.field(static=True)

    def __init__(self, scale: Any, mean: Any = 0.0, like: Any = None):
        self.template = resolved(like, mean=mean, scale=scale)
        self.scale, self.mean = self.template.spread("scale", scale), self.template.spread("mean", mean)
        checks.require(bool((self.scale > 0).all()), "scale", "be greater than 0", float(self.scale.min()))

    @property
    def num_uniforms(self) -> int:
        """One for each parameter."""
        return self.template.num_params

    def place(self, uniforms: Float[Array, " n"]) -> Params:
        """``mean + scale Phi^{-1}(u)``."""
        return self.template.unflattened(jnp.asarray(self.mean) + jnp.asarray(self.scale) * _normals(uniforms))


class Ball(AbstractCubeSampler):
    """Uniform in the ball ``||theta - centre|| <= radius`` of all parameters, flattened.

    Args:
        radius: positive.
        centre: a number, an array or pytree like the parameters, or a flat vector.
        like: what the parameters look like, where the centre is a number.

    Raises:
        InputError: a radius that is not positive, or numbers that are not finite.
    """

    radius: Float[np.ndarray, ""]
    centre: Float[np.ndarray, " n"]
    template: Template = eqx.field(static=True)

    def __init__(self, radius: float, centre: Any = 0.0, like: Any = None):
        self.template = resolved(like, centre=centre)
        self.radius = np.asarray(checks.real("radius", radius, above=0.0))
        self.centre = self.template.spread("centre", centre)

    @property
    def num_uniforms(self) -> int:
        """One for each parameter, for the direction, and one for the distance from the centre."""
        return self.template.num_params + 1

    def place(self, uniforms: Float[Array, " dim"]) -> Params:
        """``centre + radius u_0^{1/n} z / ||z||``, z standard normal."""
        distance = jnp.asarray(self.radius) * uniforms[0] ** (1.0 / self.template.num_params)
        return self.template.unflattened(jnp.asarray(self.centre) + distance * _direction(uniforms[1:]))


class Sphere(AbstractCubeSampler):
    """Uniform on the sphere ``||theta - centre|| = radius`` of all parameters, flattened.

    The arguments are those of :class:`Ball`. A sphere has measure zero: a basin fraction on it says nothing about
    almost every start, unless the landscape is homogeneous.

    Accuracy: the norm is the radius to a few units in the last place.
    """

    radius: Float[np.ndarray, ""]
    centre: Float[np.ndarray, " n"]
    template: Template = eqx.field(static=True)

    def __init__(self, radius: float, centre: Any = 0.0, like: Any = None):
        self.template = resolved(like, centre=centre)
        self.radius = np.asarray(checks.real("radius", radius, above=0.0))
        self.centre = self.template.spread("centre", centre)

    @property
    def num_uniforms(self) -> int:
        """One for each parameter."""
        return self.template.num_params

    def place(self, uniforms: Float[Array, " n"]) -> Params:
        """``centre + radius z / ||z||``, z standard normal."""
        return self.template.unflattened(jnp.asarray(self.centre) + jnp.asarray(self.radius) * _direction(uniforms))


def _normals(uniforms: Float[Array, " n"]) -> Float[Array, " n"]:
    """``Phi^{-1}(u) = sqrt(2) erf^{-1}(2 u - 1)``; for the cube's points ``2 u - 1`` is exact and never 0."""
    return math.sqrt(2.0) * jax.lax.erf_inv(2.0 * jnp.asarray(uniforms) - 1.0)


def _direction(uniforms: Float[Array, " n"]) -> Float[Array, " n"]:
    normals = _normals(uniforms)
    return normals / jnp.sqrt(jnp.sum(normals * normals))
