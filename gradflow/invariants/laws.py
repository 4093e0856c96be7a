"""What a regulariser makes of a quantity that the loss alone conserves.

Let L depend on a product ``W_L ... W_1`` alone (a linear network; any loss, any X), and ``rho = sum_j ||E_j||^2`` be
the balancing term with ``E_1 = W_2^T W_2 - W_1 G W_1^T``, ``E_j = W_{j+1}^T W_{j+1} - W_j W_j^T``, added as mu/4 rho.

* *Zero at critical points.* Put ``V_1 = W_1 G^{1/2}``, ``V_j = W_j`` and ``v_j = d rho / d V_j``. At a critical point
  ``grad_j L`` is a multiple of ``grad_j rho``, so that ``W_{j+1}^T grad_{j+1} L = grad_j L W_j^T`` becomes
  ``V_{j+1}^T v_{j+1} = v_j V_j^T`` for every j, because ``grad_1 rho W_1^T = v_1 V_1^T``. Then
  ``||v||^2 = d rho [v] = sum_j 4 <E_j, sym(V_{j+1}^T v_{j+1} - v_j V_j^T)> = 0``, and by Euler's ``<v, V> = 4 rho``
  every E_j is zero. So it is for every positive semidefinite G, every depth and every loss of the outputs.
* *Monotone.* The loss's own flow conserves every E_j when ``G X = X``; then ``<grad rho, grad L> = 0`` and
  ``d rho / dt = -mu/4 ||grad rho||^2``. G = I (no weight) satisfies it for every X; paper 001's ``G = X X^T`` exactly
  when all nonzero singular values of X are 1. Otherwise ``d E_1 / dt`` has a second part ``-(T + T^T)`` with
  ``T = W_2^T (dL/dZ) X^T (I - G) W_1^T`` (Z the outputs), and even a start with E = 0 leaves it.

Source: paper 001, eqs. (2)-(3) and (6), Lemma 1; the laws along flows are ours.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradflow.hypotheses import Hypothesis
from gradflow.invariants.invariant import Behaviour, contraction
from gradflow.regularizers import AbstractRegularizer, Balance

WHITE_TOL = 1e-12
"""Relative error up to which ``G X = X`` counts as true: that of rounding in the Gram matrix."""


@dataclass(frozen=True)
class Law:
    """What a quantity does under the problem's regulariser, with the hypothesis that says so."""

    behaviour: Behaviour
    rate: float | None
    condition: Hypothesis


def law_under(
    regularizer: AbstractRegularizer | None, degree: int | None, under_balance: Behaviour = Behaviour.NEITHER
) -> Law:
    """The law of a quantity that is conserved without regulariser.

    Args:
        regularizer: the problem's.
        degree: d when weight decay of strength s multiplies the quantity by ``exp(-d s t)``, which it does whenever the
            quantity is homogeneous of degree d; None when there is no law then.
        under_balance: what it does under :class:`~gradflow.regularizers.Balance`.
    """
    words, rate = "no regulariser or weight decay", contraction(regularizer)
    if rate == 0.0:
        return Law(Behaviour.CONSERVED, 0.0, Hypothesis(words, True))
    if rate is not None:
        if degree is None:
            return Law(Behaviour.NEITHER, None, Hypothesis(f"{words} (strength {rate:g}: no exact law)", False))
        law = f"value(t) = exp(-{degree * rate:g} t) value(0)"
        condition = Hypothesis(f"{words} (weight decay of strength {rate:g}: {law} instead)", False)
        return Law(Behaviour.DECAYS_EXACTLY, degree * rate, condition)
    if isinstance(regularizer, Balance):
        if under_balance is Behaviour.CONSERVED:
            return Law(Behaviour.CONSERVED, 0.0, Hypothesis("the balancing term does not move this quantity", True))
        said = {
            Behaviour.DECAYS_MONOTONICALLY: "its norm decays monotonically instead",
            Behaviour.DECAYS: "zero at every critical point instead, though its norm may grow before",
        }.get(under_balance, "no law")
        return Law(under_balance, None, Hypothesis(f"no regulariser (balancing term: {said})", False))
    return Law(Behaviour.NEITHER, None, Hypothesis(f"{words} ({type(regularizer).__name__}: no law)", False))


def is_weighted(regularizer: AbstractRegularizer | None) -> bool:
    """True for a balancing term whose Gram matrix is there and is not the identity."""
    gram = regularizer.gram if isinstance(regularizer, Balance) else None
    return gram is not None and not np.allclose(gram, np.eye(len(gram)), rtol=0.0, atol=WHITE_TOL)


def is_monotone(regularizer: AbstractRegularizer | None, inputs: Any) -> bool:
    """True for a balancing term with ``G X = X``; `inputs` is X, or any other matrix of its range."""
    if not isinstance(regularizer, Balance):
        return False
    if regularizer.gram is None:
        return True
    moved = np.asarray(regularizer.gram) @ np.asarray(inputs) - np.asarray(inputs)
    return bool(np.linalg.norm(moved) <= WHITE_TOL * np.linalg.norm(inputs))


def leaves_kernel(regularizer: AbstractRegularizer | None, projector: Any) -> bool:
    """True for a balancing term that moves nothing of W_1 on ker X^T: ``G (I - U U^T) = 0``."""
    gram = regularizer.gram if isinstance(regularizer, Balance) else None
    return gram is not None and bool(np.linalg.norm(gram @ projector) <= WHITE_TOL * np.linalg.norm(gram))
