"""Conserved quantities of linear residual networks ``F_l ... F_1 x``, ``F_k = I + A_kr ... A_k1``.

*Shortcuts over r >= 2 layers.* The layers of unit k enter through their product alone, so that with
``B = dL/dF_k`` the velocity is ``dA_kj/dt = -(A_kr ... A_k,j+1)^T B (A_k,j-1 ... A_k1)^T`` and
``A_k,j+1^T (dA_k,j+1/dt) = (dA_kj/dt) A_kj^T``, as for a linear network: ``A_k,j+1^T A_k,j+1 - A_kj A_kj^T`` is
conserved for j = 1, ..., r - 1 in every unit. Nothing couples the balance of two units: there ``F_{k+1}^T dL/dF_{k+1}
= dL/dF_k F_k^T``, but ``dF_k/dt`` is not ``-dL/dF_k``.

*Shortcuts over one layer.* ``F_k = I + A_k`` moves exactly like A_k, so the network is a linear one in ``F_1, ...,
F_l`` and ``F_{k+1}^T F_{k+1} - F_k F_k^T`` is conserved for k = 1, ..., l - 1; weight decay, which pulls A_k and not
F_k to zero, leaves no law.

In either case ``A_11`` on ker X^T stays. One unit alone is a linear network fitted to ``Y - X``: there a balancing term
acts as in :mod:`gradflow.invariants.laws`. That there are no other quadratic conservation laws for generic data is
checked numerically in the tests, by linear algebra at random points.
"""

import functools
import itertools

import numpy as np
from jaxtyping import Array, Float

from gradflow.flow import AbstractFlow
from gradflow.hypotheses import Hypothesis
from gradflow.invariants.invariant import Invariant, Matrices
from gradflow.invariants.laws import law_under
from gradflow.invariants.linear import imbalance, invariant_of, kernel_invariants, linear_invariants
from gradflow.networks import Residual
from gradflow.problem import Regression

SOURCE = "paper 000, eq. (3), by the proof of paper 003, Lemma 1"


def shifted_imbalance(params: Matrices, unit: int) -> Float[Array | np.ndarray, "... d d"]:
    """``F_{k+1}^T F_{k+1} - F_k F_k^T`` with ``F_k = I + A_k``, for units k = 1, ..., l - 1 of one layer each."""
    eye = np.eye(params[0].shape[-1])
    return imbalance([eye + layer for layer in params[unit - 1 : unit + 1]], 1)


def residual_invariants(flow: AbstractFlow, problem: Regression) -> list[Invariant]:
    """``F_k`` or ``C_{k,j}`` as the module says, and A_11 on ker X^T; any loss of the outputs, any X.

    Source: paper 000, eq. (3); the proof is the one of paper 003, Lemma 1.
    """
    network = problem.network
    assert isinstance(network, Residual)
    words = f"the network is a linear residual one, shortcuts over {network.depth} layer(s)"
    claim = Hypothesis(f"{words}, and the loss a function of its outputs alone", True)
    if network.units == 1 and network.depth > 1:
        return linear_invariants(flow, problem, claim)
    found = [_between_maps(flow, problem, claim, unit) for unit in range(1, network.units) if network.depth == 1]
    pairs = itertools.product(range(1, network.units + 1), range(1, network.depth))
    found += [_inside_unit(flow, problem, claim, unit, layer) for unit, layer in pairs]
    return found + kernel_invariants(flow, problem, claim)


def _inside_unit(flow: AbstractFlow, problem: Regression, claim: Hypothesis, unit: int, layer: int) -> Invariant:
    assert isinstance(problem.network, Residual)
    after, own = f"A_{unit},{layer + 1}", f"A_{unit},{layer}"
    return invariant_of(
        flow, problem,
        name=f"C_{unit},{layer}",
        formula=f"{after}^T {after} - {own} {own}^T",
        conditions=(claim,),
        source=SOURCE,
        law=law_under(problem.regularizer, 2),
        function=functools.partial(imbalance, layer=(unit - 1) * problem.network.depth + layer),
    )  # fmt: skip


def _between_maps(flow: AbstractFlow, problem: Regression, claim: Hypothesis, unit: int) -> Invariant:
    return invariant_of(
        flow, problem,
        name=f"C_{unit}",
        formula=f"F_{unit + 1}^T F_{unit + 1} - F_{unit} F_{unit}^T, F_k = I + A_k",
        conditions=(claim,),
        source=SOURCE,
        law=law_under(problem.regularizer, None),
        function=functools.partial(shifted_imbalance, unit=unit),
    )  # fmt: skip
