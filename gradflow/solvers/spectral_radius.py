"""How large the eigenvalues of a field's Jacobian are, by a power iteration that is carried along a trajectory.

For a gradient flow the Jacobian is minus the Hessian: symmetric, with real eigenvalues of both signs. Power iteration
finds the largest one in modulus. An explicit method has to cover the negative ones only, so where a positive one is
the largest (a strict saddle) the radius is an overestimate, which costs stages and is never unsafe. Nothing here knows
a solver or a step; products are exact (:func:`jax.jvp`), so no difference quotient has to be chosen.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gradflow.types import Array, Scalar

Product = Callable[[Float[Array, " n"]], Float[Array, " n"]]
"""``v -> J v`` for the Jacobian J at one point."""

SETTLED = 0.005
"""Relative growth of ``||J v||`` from one product to the next below which a first estimate is good enough."""

MIXED_IN = 0.05
"""Share of a fixed generic direction that is mixed into every iterate. It costs 0.2 % of the radius at most, and an
eigenvector that becomes the leading one later is never absent from the iterate."""

SMALLEST_FALL = 0.9
"""Factor by which an update may lower the radius: one product after a rotation of the eigenvectors underestimates."""


class SpectralRadius(eqx.Module):
    """What is known of the spectral radius: its value, and the direction in which the next product is taken."""

    direction: Float[Array, " n"]
    radius: Scalar


def first_estimate(product: Product, hint: Float[Array, " n"]) -> SpectralRadius:
    """The spectral radius of ``J``, from scratch: the largest ``||J v||`` over the unit iterates of a power iteration.

    `hint` is a direction in which large eigenvalues are likely (the field itself); zero or non-finite, it is left out.

    Accuracy: a lower bound for symmetric J. Within 5 % on a spectrum without gaps; an isolated eigenvalue at least 15 %
    above the rest is found whatever its share in the start, in at most ``10 + 3.6 ln n`` products.
    """
    size = hint.size
    least, most = 4 + math.ceil(math.log(size + 1) / (2 * math.log(1.15))), 80
    zero = jnp.zeros((), hint.dtype)
    scale = jnp.linalg.norm(hint)
    start = jnp.where(jnp.isfinite(scale) & (scale > 0), hint / jnp.where(scale > 0, scale, 1.0), 0.0)
    start = start + _generic_direction(size, hint.dtype)

    def goes_on(state: Any) -> Array:
        estimate, before, count = state
        return (count < least) | ((estimate.radius > (1 + SETTLED) * before) & (count < most))

    def more(state: Any) -> Any:
        estimate, _, count = state
        return _one_product(product, estimate), estimate.radius, count + 1

    begin = (SpectralRadius(start, zero), zero, jnp.zeros((), int))
    return jax.lax.while_loop(goes_on, more, begin)[0]


def updated(product: Product, estimate: SpectralRadius, num_products: Int[Array, ""], least: Scalar) -> SpectralRadius:
    """`estimate` after `num_products` more products at a new point; the radius is at least `least`.

    With no products it is returned as it is.
    """
    begin = SpectralRadius(estimate.direction, jnp.where(num_products > 0, least, estimate.radius))
    state = (begin, jnp.zeros((), num_products.dtype))
    return jax.lax.while_loop(
        lambda s: s[1] < num_products, lambda s: (_one_product(product, s[0]), s[1] + 1), state
    )[0]  # fmt: skip


def _one_product(product: Product, estimate: SpectralRadius) -> SpectralRadius:
    """One power iteration, ``v <- J v / ||J v|| + MIXED_IN r``; useless images (zero, not finite) change nothing."""
    unit = estimate.direction / jnp.linalg.norm(estimate.direction)
    image = product(unit)
    size = jnp.linalg.norm(image)
    is_usable = jnp.isfinite(size) & (size > 0)
    next_unit = jnp.where(is_usable, image / jnp.where(is_usable, size, 1.0), unit)
    direction = next_unit + MIXED_IN * _generic_direction(unit.size, unit.dtype)
    return SpectralRadius(direction, jnp.where(is_usable, jnp.maximum(estimate.radius, size), estimate.radius))


def _generic_direction(size: int, dtype: np.dtype) -> Float[Array, " n"]:
    """A fixed unit vector from a normal law: a constant of the compiled program, drawn anew for each size."""
    drawn = np.random.default_rng(size).standard_normal(size)
    return jnp.asarray(drawn / np.linalg.norm(drawn), dtype)
