"""Losses: ``(outputs, targets) -> scalar``, summed over samples.

A loss knows neither network nor data. Any JAX function of this signature may be passed to
:class:`gradflow.problem.Regression`; the ones here are those for which closed-form theory exists.
"""

import jax.numpy as jnp
from jaxtyping import Float

from gradflow.types import Array


def squared_error(outputs: Float[Array, "d_out samples"], targets: Float[Array, "d_out samples"]) -> Float[Array, ""]:
    """``1/2 ||outputs - targets||_F^2``, summed over samples (the loss of papers 000 to 003)."""
    residual = outputs - targets
    return 0.5 * jnp.sum(residual * residual)
