"""Conserved quantities of networks ``sigma_2(W_2 sigma_1(W_1 x))``, with the hypotheses the papers leave out.

Let A = W_1 X, ``G = dL/d(W_2 sigma_1(A))``, ``phi = sigma_1 / sigma_1'`` and Sigma its integral. With
``g_j = (W_2^T G)_lj`` and ``u = W_1[l, :]``

    d||W_2[:, l]||^2 / dt = -2 sum_j g_j sigma_1(a_j),   du/dt = -sum_j g_j sigma_1'(a_j) x_j,   a_j = u . x_j,

whatever sigma_2 and the loss are. A function F(u) balances the first sum for all G exactly when
``grad F(u) . x_j = 2 phi(u . x_j)`` for every sample j. That is integrable in two cases only:

* **Mutually orthogonal distinct columns** ``x_k`` (equal ones may repeat; also their negatives when sigma_1 is odd):
  ``F(u) = 2 sum_k Sigma(u . x_k) / ||x_k||^2`` over the distinct nonzero ones. X = I is the case of paper 003, which
  does not say that it needs it.
* **phi linear**, ``phi(x) = x / p``: p-homogeneous activations, any X: ``F(u) = ||u||^2 / p``. Times p this is
  ``p ||W_2[:, l]||^2 - ||W_1[l, :]||^2``, also across kinks, where any choice of the derivative obeys
  ``x sigma'(x) = p sigma(x)``; the diagonal alone, unless sigma_1 is linear: then the network is, in all that matters
  here, a linear one and the whole matrix C_1 is conserved.

Weight decay multiplies the second kind by an exponential. Of the first it keeps no law, because
``d/dt = -2 s (||W_2[:, l]||^2 - sum_k phi(a_k) a_k / ||x_k||^2)`` and ``phi(a) a`` is not ``2 Sigma(a)``.

Source: paper 003, Lemma 5 and Remark 4, with their hypotheses (X = I unstated) widened and enforced.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradflow.activations import AbstractActivation
from gradflow.flow import AbstractFlow
from gradflow.hypotheses import Hypothesis
from gradflow.invariants.invariant import Invariant, Matrices
from gradflow.invariants.laws import law_under
from gradflow.invariants.linear import invariant_of, kernel_invariants, linear_invariants
from gradflow.networks import Shallow
from gradflow.precision import in_double
from gradflow.problem import Regression

ORTHOGONAL_TOL = 1e-12
"""Largest |cosine| of columns that count as orthogonal, and relative distance of columns that count as equal."""

BLOCK = 1 << 14
"""Preactivations whose potential is computed at a time: one by quadrature takes about a thousand evaluations."""


@dataclass(frozen=True)
class DistinctColumns:
    """The distinct nonzero columns of X as far as they were looked for, and how far they are from orthogonal.

    Attributes:
        columns: one of each, in order of appearance.
        counts: how often each occurs (its negative included where that was allowed).
        cosine: largest |cosine| between two columns that are not equal; the search ends at the first round with one
            above :data:`ORTHOGONAL_TOL`.
        num_zero: how many columns are zero.
    """

    columns: Float[np.ndarray, "d_in distinct"]
    counts: tuple[int, ...]
    cosine: float
    num_zero: int

    @property
    def is_orthogonal(self) -> bool:
        """True when all were found and are orthogonal to :data:`ORTHOGONAL_TOL`."""
        return self.cosine <= ORTHOGONAL_TOL


def distinct_columns(X: Float[np.ndarray, "d_in samples"], signs: bool = False) -> DistinctColumns:
    """The distinct nonzero columns of X; with `signs` a column and its negative count as one.

    Costs at most d_in + 1 products with X, and one when X is not orthogonal, as data are.
    """
    norms = np.linalg.norm(X, axis=0)
    rest = X[:, norms > 0.0]
    chosen: list[np.ndarray] = []
    counts, worst = [], 0.0
    while rest.shape[1] and worst <= ORTHOGONAL_TOL:
        first, sizes = rest[:, 0], np.linalg.norm(rest, axis=0)
        reach = ORTHOGONAL_TOL * sizes[0]
        is_equal = np.linalg.norm(rest - first[:, None], axis=0) <= reach
        if signs:
            is_equal |= np.linalg.norm(rest + first[:, None], axis=0) <= reach
        cosines = np.abs((first / sizes[0]) @ (rest / sizes))[~is_equal]
        chosen.append(first)
        counts.append(int(is_equal.sum()))
        worst, rest = max(worst, float(cosines.max(initial=0.0))), rest[:, ~is_equal]
    return DistinctColumns(np.stack(chosen, axis=1), tuple(counts), worst, int(np.sum(norms == 0.0)))


def is_linear(activation: AbstractActivation) -> bool:
    """True for ``c x``: homogeneous of degree 1 and odd."""
    return activation.homogeneity == 1.0 and activation.is_odd


def unit_norm_balance(params: Matrices, degree: float) -> Float[Array | np.ndarray, "... d_1"]:
    """``p ||W_2[:, l]||^2 - ||W_1[l, :]||^2`` for every hidden unit l.

    Source: paper 003, Remark 4, for p = 1.
    """
    first, second = params
    return degree * (second * second).sum(-2) - (first * first).sum(-1)


@in_double
def unit_potential_balance(
    params: Matrices, activation: AbstractActivation, columns: Float[np.ndarray, "d_in distinct"]
) -> Float[Array | np.ndarray, "... d_1"]:
    """``||W_2[:, l]||^2 - 2 sum_k Sigma((W_1 X)_lk) / ||x_k||^2`` for every hidden unit l, x_k the given columns.

    ``-inf`` where Sigma exceeds every number (``|x| > 355`` for tanh): a trajectory that starts where it is finite does
    not get there before ``||W_2|| = 1e154``. A start so far out is frozen, for sigma_1' is zero in double precision.

    Source: paper 003, Lemma 5, eq. (33).
    """
    first, second = params
    potentials = entrywise(activation.potential, first @ columns)
    return (second * second).sum(-2) - 2.0 * (potentials / (columns * columns).sum(0)).sum(-1)


def total_balance(params: Matrices, units: Callable[[Matrices], Any]) -> Float[Array | np.ndarray | np.float64, "..."]:
    """The sum over hidden units of `units`."""
    return units(params).sum(-1)


@in_double
def potential_scale(
    params: Matrices, activation: AbstractActivation, columns: Float[np.ndarray, "d_in distinct"]
) -> Float[Array | np.ndarray | np.float64, "..."]:
    """``||W||^2 + max_l ||W_1[l]|| sum_k phi(|a_lk|) / ||x_k||``: an error in W_1 moves a_lk by ``||x_k||`` times it.

    Infinite where sigma_1' is zero in double precision.
    """
    first, second = params
    slopes = entrywise(activation.derivative, first @ columns)
    values = entrywise(activation, first @ columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        phi = np.where(slopes > 0, np.abs(values) / slopes, np.inf)
    shares = (phi / np.sqrt((columns * columns).sum(0))).sum(-1) * np.sqrt((first * first).sum(-1))
    return (first * first).sum((-2, -1)) + (second * second).sum((-2, -1)) + shares.max(-1)


def shallow_invariants(flow: AbstractFlow, problem: Regression) -> list[Invariant]:
    """``unit balance`` (one number per hidden unit), ``total balance``, W_1 on ker X^T; for linear sigma_1 C_1 and c_1.

    Any loss, any sigma_2. For an activation that is not homogeneous the columns of X must be orthogonal; where they are
    not, Lemma 5's quantity as printed (X = I) is listed with that hypothesis False: it drifts.
    """
    network = problem.network
    assert isinstance(network, Shallow)
    sigma = network.activation
    shape = Hypothesis("the network is sigma_2(W_2 sigma_1(W_1 x)) and the loss a function of its outputs alone", True)
    if is_linear(sigma):
        words = f"sigma_1 ({sigma.name}) is linear and the loss a function of the outputs alone"
        return linear_invariants(flow, problem, Hypothesis(words, True))
    if sigma.homogeneity is not None:
        found = _homogeneous(flow, problem, sigma, shape)
    else:
        found = _with_potential(flow, problem, sigma, shape)
    return found + kernel_invariants(flow, problem, shape)


def _homogeneous(
    flow: AbstractFlow, problem: Regression, sigma: AbstractActivation, shape: Hypothesis
) -> list[Invariant]:
    degree = float(sigma.homogeneity or 1.0)
    factor = "" if degree == 1.0 else f"{degree:g} "
    words = f"sigma_1 ({sigma.name}) is positively homogeneous, of degree {degree:g}: any X will do"
    units = functools.partial(unit_norm_balance, degree=degree)
    return _unit_and_total(
        flow, problem, f"{factor}||W_2[:, l]||^2 - ||W_1[l, :]||^2", f"{factor}||W_2||^2 - ||W_1||^2",
        (shape, Hypothesis(words, True)), "paper 003, Remark 4, for any X and degree", 2, units,
    )  # fmt: skip


def _with_potential(
    flow: AbstractFlow, problem: Regression, sigma: AbstractActivation, shape: Hypothesis
) -> list[Invariant]:
    X = np.asarray(problem.X)
    distinct = distinct_columns(X, signs=sigma.is_odd)
    repeats = "columns (equal or opposite ones counted once)" if sigma.is_odd else "distinct columns"
    conditions = (
        shape,
        Hypothesis(
            f"sigma_1 ({sigma.name}) has a positive derivative, hence a potential", sigma.is_injective or None
        ),
        Hypothesis(
            f"the {repeats} of X are mutually orthogonal (largest |cosine| {distinct.cosine:.2g}, "
            f"allowed {ORTHOGONAL_TOL:g})", distinct.is_orthogonal,
        ),
        Hypothesis(
            f"zero columns of X ({distinct.num_zero}) give zero outputs of sigma_1",
            distinct.num_zero == 0 or bool(_at_zero(sigma) == 0.0),
        ),
    )  # fmt: skip
    if distinct.is_orthogonal:
        columns, last = distinct.columns, "Sigma((W_1 x_k)_l) / ||x_k||^2"
        unit, total = f"2 sum_k {last}", f"2 sum_kl {last}"
        formulas = f"||W_2[:, l]||^2 - {unit}, x_k the distinct columns of X", f"||W_2||^2 - {total}"
        source = "paper 003, Lemma 5, eq. (33), with its hypothesis on X"
    else:
        columns = np.eye(X.shape[0])
        formulas = "||W_2[:, l]||^2 - 2 sum_k Sigma(W_1[l, k])", "||W_2||^2 - 2 sum_kl Sigma(W_1[l, k])"
        source = "paper 003, Lemma 5, eq. (33) as printed: false for this X"
    units = functools.partial(unit_potential_balance, activation=sigma, columns=columns)
    sensitivity = functools.partial(potential_scale, activation=sigma, columns=columns)
    return _unit_and_total(flow, problem, *formulas, conditions, source, None, units, sensitivity)


def _unit_and_total(
    flow: AbstractFlow,
    problem: Regression,
    unit_formula: str,
    total_formula: str,
    conditions: tuple[Hypothesis, ...],
    source: str,
    degree: int | None,
    units: Callable[[Matrices], Any],
    sensitivity: Callable[[Matrices], Any] | None = None,
) -> list[Invariant]:
    make = functools.partial(
        invariant_of, flow, problem, conditions=conditions, source=source, sensitivity=sensitivity,
        law=law_under(problem.regularizer, degree),
    )  # fmt: skip
    return [
        make(name="unit balance", formula=unit_formula, function=units),
        make(name="total balance", formula=total_formula, function=functools.partial(total_balance, units=units)),
    ]


@in_double
def _at_zero(sigma: AbstractActivation) -> float:
    return float(sigma(jnp.zeros(())))


def entrywise(function: Callable[[Any], Any], values: Any) -> Any:
    """``function(values)`` entry by entry, in blocks of few sizes: JAX compiles every operation for every new shape.

    The largest block is :data:`BLOCK`: a quadrature needs a thousandfold room.
    """
    if isinstance(values, jax.core.Tracer):
        return function(values)
    flat = np.ravel(values)
    width = min(BLOCK, 1 << max(len(flat) - 1, 63).bit_length())
    padded = np.concatenate([flat, np.zeros(-len(flat) % width)]).reshape(-1, width)
    found = np.concatenate([np.asarray(function(jnp.asarray(block))) for block in padded])
    return found[: len(flat)].reshape(np.shape(values))
