"""First and second derivatives at minimisers that fit all they can: the factor G, and the numbers derived from layers.

With ``e`` the residual and ``vec`` the stack of columns, the gradient is ``G^T vec(e)`` everywhere, and where the
second derivatives of the output are not felt the Hessian is ``G^T G``. The blocks of G, one per layer, are

    linear            (W_{k-1} ... W_1 X)^T kron (W_l ... W_{k+1})
    residual          (A_{k,q-1} ... A_k1 W_{k-1} ... W_1 X)^T kron (W_l ... W_{k+1} A_kr ... A_{k,q+1})
    one hidden layer  (I kron W_2) diag(vec sigma'(W_1 X)) (X^T kron I)   and   sigma(W_1 X)^T kron I

An empty product is the identity. The paper stacks columns, the library flattens rows: :func:`column_to_row` converts.
Knows a problem and a state; independent of automatic differentiation, which the tests compare it with.

Source: paper 000, eqs. (8), (9), (11), (12), (14), (15), (17), (18), (21), (22), (24).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from gradflow import checks
from gradflow.critical_sets.minimisers import linear, one_hidden_layer
from gradflow.critical_sets.minimisers.factorisation import chain
from gradflow.critical_sets.minimisers.one_hidden_layer import evaluated
from gradflow.critical_sets.minimisers.recognition import is_minimiser
from gradflow.critical_sets.minimisers.residual import blocks_of, units_of
from gradflow.critical_sets.minimisers.setting import layers_of, sample_weight, square_target, statistics_of
from gradflow.hypotheses import Hypothesis
from gradflow.networks import AbstractNetwork, Linear, Residual, Shallow
from gradflow.problem import Regression
from gradflow.types import Array, Shapes, Weights

POSITIVE_RTOL = 1e-10
"""Singular values of G below this multiple of the largest are taken for zero."""


def vec(params: Sequence[Array]) -> Float[np.ndarray, " n"]:
    """All entries in the paper's order: layer by layer, the columns of each stacked."""
    return np.concatenate([np.asarray(layer).ravel(order="F") for layer in params])


def column_to_row(shapes: Shapes) -> Int[np.ndarray, " n"]:
    """The permutation p with ``row_major == column_stacked[p]``; for a Hessian, ``row = column[np.ix_(p, p)]``."""
    start, parts = 0, []
    for rows, columns in shapes:
        parts.append(start + np.arange(rows * columns).reshape(rows, columns, order="F").ravel())
        start += rows * columns
    return np.concatenate(parts)


def output_jacobian(
    network: AbstractNetwork, params: Sequence[Array], inputs: Float[np.ndarray, "d_in samples"]
) -> tuple[Float[np.ndarray, "_ _"], ...]:
    """Blocks ``(G_1, ..., G_l)``: derivatives of ``vec(output)`` by ``vec(W_k)``, of shapes ``(d_out samples, size)``.

    Raises:
        InputError: a network of another kind.
    """
    layers = [np.asarray(layer) for layer in params]
    if isinstance(network, Shallow) and network.output_activation.name == "identity":
        return _hidden_layer_blocks(network, layers, inputs)
    checks.require(
        isinstance(network, Linear | Residual), "network", "be linear, linear residual, or have one hidden layer and "
        "linear outputs", type(network).__name__,
    )  # fmt: skip
    prefixes, suffixes = linear_factors(network, layers, inputs)
    return tuple(np.kron(prefix.T, suffix) for prefix, suffix in zip(prefixes, suffixes, strict=True))


def linear_factors(
    network: AbstractNetwork, layers: Sequence[np.ndarray], inputs: Float[np.ndarray, "d_in samples"]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """``(P_k, N_k)`` for every layer: the output is ``N_k W_k P_k`` plus what does not contain W_k."""
    if isinstance(network, Residual):
        return _residual_factors(network, layers, inputs)
    prefixes, suffixes = [inputs], [np.eye(layers[-1].shape[0])]
    for layer in layers[:-1]:
        prefixes.append(layer @ prefixes[-1])
    for layer in reversed(layers[1:]):
        suffixes.insert(0, suffixes[0] @ layer)
    return prefixes, suffixes


def residual_of(problem: Regression, params: Weights) -> Float[np.ndarray, "d_out samples"]:
    """``e = output - Y``, times ``1 / sqrt(m)`` when the loss is a mean: the loss is ``1/2 ||e||^2``."""
    layers, X, network = layers_of(problem, params), np.asarray(problem.X), problem.network
    if isinstance(network, Shallow):
        output = layers[1] @ evaluated(network.activation, layers[0] @ X)
    elif isinstance(network, Residual):
        output = chain(units_of(network, layers), network.dim) @ X
    else:
        output = chain(layers, X.shape[0]) @ X
    return np.sqrt(sample_weight(problem)) * (output - np.asarray(problem.Y))


def reducible_residual(problem: Regression, params: Weights) -> Float[np.ndarray, "d_out rank"]:
    """The part of e that another linear map could remove, in coordinates of the row space of X: ``P R - T``.

    ``L - L* = 1/2 ||.||^2``, with L* the irreducible loss; all of e with one hidden layer, where L* = 0.
    """
    if isinstance(problem.network, Shallow):
        return residual_of(problem, params)
    layers, statistics, network = layers_of(problem, params), statistics_of(problem), problem.network
    parts = units_of(network, layers) if isinstance(network, Residual) else layers
    return chain(parts, problem.X.shape[0]) @ np.asarray(statistics.root) - np.asarray(statistics.target)


def minimality(problem: Regression, params: Weights) -> Hypothesis:
    """That a state of a problem in paper 000's setting is a global minimiser; None when too near to one to tell."""
    layers, network = layers_of(problem, params), problem.network
    if isinstance(network, Shallow):
        defect = one_hidden_layer.residual_defect(problem, layers)
    else:
        parts = units_of(network, layers) if isinstance(network, Residual) else layers
        defect = linear.residual_defect(square_target(problem), parts)
    return Hypothesis("the point is a global minimiser", is_minimiser(*defect))


def gauss_newton_factor(problem: Regression, params: Weights) -> Float[np.ndarray, "residuals n"]:
    """``G = [G_1, ..., G_l]``, columns in the paper's order; only ``G^T G`` and singular values have a meaning.

    For linear and residual networks with R in place of X (``R R^T = X X^T``), so that its size does not grow with the
    number of samples. Weighted when the loss is a mean.
    """
    layers = layers_of(problem, params)
    if isinstance(problem.network, Shallow):
        blocks = output_jacobian(problem.network, layers, np.asarray(problem.X))
        return np.sqrt(sample_weight(problem)) * np.hstack(blocks)
    return np.hstack(output_jacobian(problem.network, layers, np.asarray(statistics_of(problem).root)))


def stacked_gradient(problem: Regression, params: Weights) -> Float[np.ndarray, " n"]:
    """``G^T vec(e)``: the gradient in the paper's order, without cancellation near a minimum.

    At a kink, with the library's choice of sigma'.
    """
    return gauss_newton_factor(problem, params).T @ reducible_residual(problem, params).ravel(order="F")


def gauss_newton_hessian(problem: Regression, params: Weights) -> Float[np.ndarray, "n n"]:
    """``G^T G``, flattened row-major in acting order like :meth:`gradflow.problem.AbstractProblem.hessian`.

    The Hessian at every global minimiser of linear and linear residual networks with square layers and X of full row
    rank (for any m >= d: the residual is orthogonal to the inputs, ``e X^T = 0``), and at minimisers of zero loss of
    networks with one hidden layer (so m = d matters there: for m > d second derivatives of sigma and the
    product ``W_2 sigma`` enter).

    Source: paper 000, eqs. (18), (22) and (24).
    """
    factor = gauss_newton_factor(problem, params)[:, column_to_row(problem.network.shapes)]
    return factor.T @ factor


def eta_min(matrix: Float[np.ndarray, "rows columns"], scale: float = 0.0) -> float:
    """The smallest of the ``min(rows, columns)`` singular values, 0 for a singular matrix.

    It counts as 0 when rounding relative to the largest, or to `scale` where that is larger, could have made it.

    The paper writes "smallest nonzero singular value", with which ``eta(A B) >= eta(A) eta(B)`` is false for singular
    factors.
    """
    values = np.linalg.svd(matrix, compute_uv=False)
    rounding = np.finfo(float).eps * max(matrix.shape) * max(values[0], scale)
    return float(values[-1]) if values[-1] > rounding else 0.0


def smallest_positive(matrix: Float[np.ndarray, "rows columns"]) -> float:
    """The smallest nonzero singular value, above :data:`POSITIVE_RTOL` of the largest; 0 for the zero matrix."""
    values = np.linalg.svd(matrix, compute_uv=False)
    positive = values[values > POSITIVE_RTOL * values[0]]
    return float(positive[-1]) if len(positive) else 0.0


def norm(matrix: Float[np.ndarray, "rows columns"]) -> float:
    """The operator norm."""
    return float(np.linalg.norm(matrix, 2))


def increase_root(norms: Sequence[float], increase: float) -> float:
    """The t >= 0 with ``prod_q (a_q + t) - prod_q a_q = increase``: how far factors may move at least.

    Moving every factor by less than t in the operator norm moves their product by less than `increase`.
    """
    if increase <= 0.0:
        return 0.0
    base, low, high = float(np.prod(norms)), 0.0, increase ** (1.0 / len(norms))
    while low < (middle := 0.5 * (low + high)) < high:
        inside = float(np.prod([value + middle for value in norms])) - base <= increase
        low, high = (middle, high) if inside else (low, middle)
    return low


def _residual_factors(
    network: Residual, layers: Sequence[np.ndarray], inputs: Float[np.ndarray, "d samples"]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    units = units_of(network, tuple(layers))
    prefixes, suffixes = [], []
    for k, matrices in enumerate(blocks_of(network, tuple(layers))):
        before, after = chain(units[:k], network.dim) @ inputs, chain(units[k + 1 :], network.dim)
        for q in range(network.depth):
            prefixes.append(chain(matrices[:q], network.dim) @ before)
            suffixes.append(after @ chain(matrices[q + 1 :], network.dim))
    return prefixes, suffixes


def _hidden_layer_blocks(
    network: Shallow, layers: Sequence[np.ndarray], inputs: Float[np.ndarray, "d_in samples"]
) -> tuple[np.ndarray, np.ndarray]:
    first, second = layers
    preactivations = first @ inputs
    slopes = evaluated(network.activation.derivative, preactivations).ravel(order="F")
    outer = np.kron(np.eye(inputs.shape[1]), second) * slopes
    hidden = evaluated(network.activation, preactivations)
    return outer @ np.kron(inputs.T, np.eye(len(first))), np.kron(hidden.T, np.eye(len(second)))
