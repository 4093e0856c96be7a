"""Products, gradient and Hessian of ``1/2 ||W_{H+1} ... W_1 R - T||_F^2``, written out by hand.

Letters: ``P_a = W_{a-1} ... W_1 R`` (prefix), ``N_a = W_{H+1} ... W_{a+1}`` (suffix), ``M_ab = W_{b-1} ... W_{a+1}``
(middle, a < b), ``E = P - T`` (residual). Parameters are flattened row-major in acting order. Pure functions of
arrays; no problem, no flow. Source: paper 003, eqs. (6) and (12)-(13), with the index corrections of its Prop. 2.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from gradflow.types import Array, Weights


def product(params: Weights, root: Float[Array, "d_in rank"]) -> Float[Array, "d_out rank"]:
    """``W_{H+1} ... W_1 R``, multiplied from the right."""
    result = root
    for weight in params:
        result = weight @ result
    return result


def prefixes(params: Weights, root: Float[Array, "d_in rank"]) -> list[Array]:
    """``[R, W_1 R, ..., W_{H+1} ... W_1 R]``."""
    result: list[Array] = [jnp.asarray(root)]
    for weight in params:
        result.append(weight @ result[-1])
    return result


def suffixes(params: Weights) -> list[Array]:
    """``[N_1, ..., N_{H+1}]`` with ``N_a = W_{H+1} ... W_{a+1}`` and ``N_{H+1} = I``."""
    result: list[Array] = [jnp.eye(params[-1].shape[0], dtype=params[-1].dtype)]
    for weight in reversed(params[1:]):
        result.insert(0, result[0] @ weight)
    return result


def linear_gradient(params: Weights, root: Float[Array, "d_in rank"], target: Float[Array, "d_out rank"]) -> Weights:
    """``grad_a = N_a^T E P_a^T`` for every layer, by a sweep in each direction.

    The sweeps carry ``d_out`` rows or ``rank`` columns, whichever are fewer.
    """
    if target.shape[0] < root.shape[1]:
        return _gradient_by_rows(params, root, target)
    forward = prefixes(params, root)
    backward = forward[-1] - target
    gradient: list[Array] = []
    for weight, prefix in zip(reversed(params), reversed(forward[:-1]), strict=True):
        gradient.insert(0, backward @ prefix.T)
        backward = weight.T @ backward
    return tuple(gradient)


def _gradient_by_rows(params: Weights, root: Array, target: Array) -> Weights:
    """The sweeps carry ``N_a`` to the inputs and ``E P_a^T`` back to the outputs."""
    suffix = [params[-1]]  # N_H, ..., N_0, from the outputs on
    for weight in reversed(params[:-1]):
        suffix.append(suffix[-1] @ weight)
    carried = (suffix.pop() @ root - target) @ root.T
    gradient: list[Array] = []
    for weight in params[:-1]:
        gradient.append(suffix.pop().T @ carried)
        carried = carried @ weight.T
    return (*gradient, carried)


@jax.jit
def linear_hessian(
    params: Weights, root: Float[Array, "d_in rank"], target: Float[Array, "d_out rank"]
) -> Float[Array, "n n"]:
    """Blocks ``(N_a^T N_b) kron (P_a P_b^T)`` plus, for a < b, the residual term ``(P_a E^T N_b)_ij (M_ab)_kl``.

    Accuracy: equal to automatic differentiation to about 1e-14 relative.
    """
    forward, backward = prefixes(params, root), suffixes(params)
    residual = forward[-1] - target
    rows = []
    for a in range(len(params)):
        row = []
        for b in range(len(params)):
            block = jnp.einsum("lj,ik->lijk", backward[a].T @ backward[b], forward[a] @ forward[b].T)
            if a < b:
                block = block + _residual_term(params, forward, backward, residual, a, b)
            elif b < a:
                block = block + jnp.transpose(_residual_term(params, forward, backward, residual, b, a), (2, 3, 0, 1))
            size_a, size_b = params[a].size, params[b].size
            row.append(block.reshape(size_a, size_b))
        rows.append(jnp.concatenate(row, axis=1))
    return jnp.concatenate(rows, axis=0)


def _residual_term(
    params: Weights, forward: list[Array], backward: list[Array], residual: Array, a: int, b: int
) -> Float[Array, "rows_a columns_a rows_b columns_b"]:
    """Second derivative of ``<E, N_b dW_b M_ab dW_a P_a>`` in ``dW_a[l, i]`` and ``dW_b[j, k]``, for a < b."""
    middle: Array = jnp.eye(params[a].shape[0], dtype=params[a].dtype)
    for weight in params[a + 1 : b]:
        middle = weight @ middle
    outer = forward[a] @ residual.T @ backward[b]
    return jnp.einsum("ij,kl->lijk", outer, middle)
