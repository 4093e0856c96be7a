"""Conserved quantities of diagonal linear networks ``<w_L * ... * w_1, x>``.

The loss sees the row ``b = w_L * ... * w_1`` alone, so that ``w_j * dw_j/dt = -b * dL/db``, entry by entry, for every
layer j: ``w_{j+1}^2 - w_j^2`` does not move, for any loss and any X. It is paper 003, Lemma 1, for layers
``diag(w_j)``. The part of w_1 that no sample reaches is not conserved, in contrast: ``dw_1/dt`` is
``-(w_L * ... * w_2) * dL/db``, and the factor in front leads out of the span of the samples.
"""

import functools

import numpy as np
from jaxtyping import Array, Float

from gradflow.flow import AbstractFlow
from gradflow.hypotheses import Hypothesis
from gradflow.invariants.invariant import Invariant, Matrices
from gradflow.invariants.laws import law_under
from gradflow.invariants.linear import invariant_of
from gradflow.problem import Regression


def square_difference(params: Matrices, layer: int) -> Float[Array | np.ndarray, "... d"]:
    """``w_{j+1}^2 - w_j^2``, entry by entry, for layer j = 1, ..., L - 1."""
    after, before = params[layer], params[layer - 1]
    return (after * after - before * before)[..., 0, :]


def diagonal_invariants(flow: AbstractFlow, problem: Regression) -> list[Invariant]:
    """``s_1, ..., s_{L-1}``, one number per input each; any loss of the outputs, any X, exact decay by weight decay."""
    claim = Hypothesis("the network is a diagonal linear one, and the loss a function of its outputs alone", True)
    return [
        invariant_of(
            flow, problem,
            name=f"s_{layer}",
            formula=f"w_{layer + 1}^2 - w_{layer}^2",
            conditions=(claim,),
            source="paper 003, Lemma 1, eq. (7), for diagonal layers",
            law=law_under(problem.regularizer, 2),
            function=functools.partial(square_difference, layer=layer),
        )
        for layer in range(1, problem.num_hidden + 1)
    ]  # fmt: skip
