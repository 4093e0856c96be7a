"""Paper 001's surrogate: a balanced network of width ``rank(W_2 W_1 X)`` that stands for any state of the plain loss.

At a critical point of ``f = 1/2 ||W_2 W_1 X - Y||^2``, balanced or not, the surrogate is a critical point of the same
loss with fewer hidden units, and directions are carried back with the value of the second derivative unchanged: a way
down from the surrogate is a way down from the state. Knows a shallow linear problem and a state.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.balanced.setting import Layers, checked_params, shallow_linear
from gradflow.statistics import RANK_RTOL
from gradflow.types import Weights


@dataclass(frozen=True)
class Surrogate:
    """A balanced stand-in for a state, with the maps between the two.

    Attributes:
        params: ``(Wb_1, Wb_2)``, ``Wb_1: (k, d_0)``, ``Wb_2: (d_2, k)``, k the rank of ``W_2 W_1 X``.
        lift_1: ``Delta_1 = lift_1 Db_1``.
        lift_2: ``Delta_2 = Db_2 lift_2``.
        pull_1: ``grad_{Wb_1} fb = pull_1 grad_{W_1} f``.
        pull_2: ``grad_{Wb_2} fb = grad_{W_2} f pull_2``.
    """

    params: Layers
    lift_1: Float[np.ndarray, "d_1 k"]
    lift_2: Float[np.ndarray, "k d_1"]
    pull_1: Float[np.ndarray, "k d_1"]
    pull_2: Float[np.ndarray, "d_1 k"]

    def lift(self, direction: Weights) -> Layers:
        """The direction at the state: ``[D^2 f](lift D, lift D) = [D^2 fb](D, D)``, critical or not."""
        return self.lift_1 @ np.asarray(direction[0]), np.asarray(direction[1]) @ self.lift_2

    def pull(self, gradient: Weights) -> Layers:
        """The gradient of ``fb`` at the surrogate from that of f at the state."""
        return self.pull_1 @ np.asarray(gradient[0]), np.asarray(gradient[1]) @ self.pull_2


def surrogate(problem: Any, params: Weights) -> Surrogate:
    """The surrogate of a state of a shallow linear network with no regulariser.

    With ``W_2 W_1 R = Phi Theta Psi^T`` reduced: ``Wb_2 = Phi Theta^{1/2}``, ``Wb_1 = Theta^{1/2} Psi^T R^+``, so that
    ``Wb_2^T Wb_2 = Wb_1 X X^T Wb_1^T`` and ``Wb_2 Wb_1 X = W_2 W_1 X`` (without X too when X has full row rank).

    Raises:
        InputError: not a linear network with one hidden layer and the squared error, or one with a regulariser; a
            product ``W_2 W_1 X`` of zero, which has no surrogate.

    Source: paper 001, eqs. (16)-(18). In the text's formula for ``grad_{Wb_1}`` read Sigma for Sigma^{-1}, and
    ``W_2 Delta_1 = Wb_2 Db_1``. Non-degeneracy of the product is not needed, only that it is not zero.
    """
    problem, strength, _ = shallow_linear(problem)
    checks.require(strength == 0.0, "problem", "have no regulariser", f"a Balance of strength {strength:g}")
    first, second = checked_params(problem, params)
    root = np.asarray(problem.statistics.root)
    left, values, right = np.linalg.svd(second @ first @ root, full_matrices=False)
    size = float(np.linalg.norm(second, 2) * np.linalg.norm(first @ root, 2))
    rank = int(np.sum(values > max(RANK_RTOL * values[0], 1e-12 * size)))
    checks.require(rank > 0 and values[0] > 0.0, "params", "have a product W_2 W_1 X that is not zero", "zero")
    left, right, theta = left[:, :rank], right[:rank], np.sqrt(values[:rank])
    inverse = (root / np.sum(root**2, axis=0)).T
    return Surrogate(
        params=((theta[:, None] * right) @ inverse, left * theta),
        lift_1=first @ root @ right.T / theta,
        lift_2=(left / theta).T @ second,
        pull_1=(first @ root @ right.T / theta).T,
        pull_2=second.T @ left / theta,
    )
