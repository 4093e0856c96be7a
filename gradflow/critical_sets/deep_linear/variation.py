"""The loss near a state to second order, written term by term as in Proposition 2 of paper 003.

An independent formula: products, first and second variation are built from the paper's sums, not from a Hessian.
Letters
(paper 003): reduced weights ``W = ([W_11 W_12], W_2, ..., W_{H+1})`` and a direction w of the same shapes,
``M = S_Y - (Pi W)_2^{H+1} W_11``. Pure functions of arrays (:mod:`gradflow.critical_sets.deep_linear.reduced` makes
them).
"""

import numpy as np
from jaxtyping import Float

from gradflow.types import Weights


def first_variation(weights: Weights, direction: Weights, values: Float[np.ndarray, " d_out"]) -> float:
    """``Delta_W(w)``: the coefficient of eps in ``L(W + eps w)``.

    Source: paper 003, Proposition 2, eq. (12).
    """
    terms = _Terms(weights, direction, values)
    changed = sum((terms.last @ terms.single(j) for j in terms.inner), np.zeros_like(terms.whole))
    changed = changed + terms.moved_last @ terms.middle
    total = -_trace(changed @ terms.w11 @ terms.missing.T) + _trace(changed @ terms.w12 @ terms.w12.T @ terms.whole.T)
    total -= _trace(terms.whole @ terms.v11 @ terms.missing.T)
    return total + _trace(terms.whole @ terms.v12 @ terms.w12.T @ terms.whole.T)


def second_variation(
    weights: Weights, direction: Weights, values: Float[np.ndarray, " d_out"], *, ordered_pairs: bool = False
) -> float:
    """``H_W(w)``: the coefficient of eps^2 in ``L(W + eps w)``, half of ``D^2 L[w, w]``.

    Args:
        weights, direction: reduced weights and a direction.
        values: the singular values ``S_Y``.
        ordered_pairs: count every pair of layers twice, as the printed sum over ``j != k`` can be read; wrong for H
            >= 3.

    Source: paper 003, Proposition 2, with every unordered pair ``2 <= j < k <= H`` counted once.
    """
    terms = _Terms(weights, direction, values)
    factor = 2.0 if ordered_pairs else 1.0
    zero = np.zeros_like(terms.middle)
    double = factor * sum((terms.double(j, k) for k in terms.inner for j in terms.inner if j < k), zero)
    single = sum((terms.single(j) for j in terms.inner), zero)
    twice = terms.last @ double + terms.moved_last @ single
    once = terms.last @ single + terms.moved_last @ terms.middle
    total = -_trace((twice @ terms.w11 + once @ terms.v11) @ terms.missing.T)
    total += _trace((twice @ terms.w12 + once @ terms.v12) @ terms.w12.T @ terms.whole.T)
    total += 0.5 * float(np.sum((once @ terms.w11 + terms.whole @ terms.v11) ** 2))
    return total + 0.5 * float(np.sum((once @ terms.w12 + terms.whole @ terms.v12) ** 2))


class _Terms:
    """The products of Proposition 2; layers are counted from 1, `inner` are the layers 2, ..., H."""

    def __init__(self, weights: Weights, direction: Weights, values: np.ndarray):
        self.weights = [np.asarray(layer) for layer in weights]
        self.direction = [np.asarray(layer) for layer in direction]
        size = len(values)
        self.w11, self.w12 = self.weights[0][:, :size], self.weights[0][:, size:]
        self.v11, self.v12 = self.direction[0][:, :size], self.direction[0][:, size:]
        self.last, self.moved_last, self.inner = self.weights[-1], self.direction[-1], range(2, len(weights))
        self.middle = self.product(2, len(weights) - 1)
        self.whole = self.last @ self.middle
        self.missing = np.diag(values) - self.whole @ self.w11

    def product(self, first: int, last: int) -> np.ndarray:
        """``(Pi W)_first^last = W_last ... W_first``."""
        result: np.ndarray = np.eye(self.weights[first - 1].shape[1])
        for layer in self.weights[first - 1 : last]:
            result = layer @ result
        return result

    def single(self, j: int) -> np.ndarray:
        """``Q^1_j = (Pi W)_{j+1}^H w_j (Pi W)_2^{j-1}``."""
        return self.product(j + 1, len(self.weights) - 1) @ self.direction[j - 1] @ self.product(2, j - 1)

    def double(self, j: int, k: int) -> np.ndarray:
        """``Q^2_{j,k} = (Pi W)_{k+1}^H w_k (Pi W)_{j+1}^{k-1} w_j (Pi W)_2^{j-1}``, j < k."""
        after = self.product(k + 1, len(self.weights) - 1) @ self.direction[k - 1]
        return after @ self.product(j + 1, k - 1) @ self.direction[j - 1] @ self.product(2, j - 1)


def _trace(matrix: np.ndarray) -> float:
    return float(np.trace(matrix))
