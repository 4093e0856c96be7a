"""What paper 000 assumes of a problem, and the map that its global minimisers must realise.

Letters: ``M = Sigma_XY^T Sigma_XX^{-1} = Y X^+`` the best linear map, U the eigenvectors of
``Sigma = Sigma_XY^T Sigma_XX^{-1} Sigma_XY`` and lambda its eigenvalues. None of the Sigma is ever formed: with
``X = Q S V^T``, ``T = Y V`` one has ``M = T S^{-1} Q^T``, and U, sqrt(lambda) are the left singular vectors and the
singular values of T. Knows no state.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from gradflow import checks, losses
from gradflow.critical_sets.states import matrices
from gradflow.hypotheses import Hypothesis
from gradflow.networks import AbstractNetwork, Linear, Residual, Shallow
from gradflow.problem import AbstractProblem, Regression
from gradflow.statistics import LinearStatistics, linear_statistics, target_spectrum
from gradflow.types import Weights

Layers: TypeAlias = tuple[np.ndarray, ...]
"""Weights as NumPy arrays, which is what these modules return."""


@dataclass(frozen=True)
class SquareTarget:
    """The map that a global minimiser realises, with its bases.

    Attributes:
        dim: d, the width of every layer.
        matrix: ``M = Y X^+``.
        basis: U, eigenvectors of Sigma as columns, eigenvalues descending, largest entry of each positive.
        eigenvalues: lambda, of Sigma (of the weighted data when the loss is a mean).
        root: R, ``d x d`` with ``R R^T = X X^T`` (weighted likewise).
        image: T, with ``M R = T``.
        is_full_rank: True when Sigma_XY has full rank, so that every minimiser of a linear network has.
        irreducible: the loss that no linear map of X can avoid.
    """

    dim: int
    matrix: Float[np.ndarray, "d d"]
    basis: Float[np.ndarray, "d d"]
    eigenvalues: Float[np.ndarray, " d"]
    root: Float[np.ndarray, "d d"]
    image: Float[np.ndarray, "d d"]
    is_full_rank: bool
    irreducible: float

    @property
    def scale(self) -> float:
        """``||T||_F``, or ``||R||_F`` where the target is zero: what a residual is compared with."""
        return float(np.linalg.norm(self.image)) or float(np.linalg.norm(self.root))


def setting_hypotheses(problem: AbstractProblem) -> tuple[Hypothesis, ...]:
    """What Propositions 1 to 3 and Theorems 1 to 6 assume of the problem, each with its truth value.

    For linear networks, residual or not, ``m >= d`` samples are enough: the residual of a minimiser is orthogonal to
    everything a linear map of X can do. With a nonlinear hidden layer ``m = d`` is needed.
    """
    squared = "the problem is a regression with the squared error and no regulariser"
    if not (isinstance(problem, Regression) and _is_plain(problem)):
        return (Hypothesis(squared, None if isinstance(problem, AbstractProblem) else False),)
    known = Hypothesis("the network is linear, linear residual, or has one hidden layer and linear outputs", False)
    if not _is_known(problem.network):
        return (Hypothesis(squared, True), known)
    rows = {size for shape in problem.network.shapes for size in shape}
    square = Hypothesis("all layers are square, d x d", len(rows) == 1)
    full = _has_full_row_rank(problem)
    if isinstance(problem.network, Shallow):
        full = full and problem.X.shape[0] == problem.X.shape[1]
        rank = Hypothesis("X is square and invertible (m = d samples)", full)
    else:
        rank = Hypothesis("X has full row rank (so there are m >= d samples)", full)
    return (Hypothesis(squared, True), Hypothesis(known.statement, True), square, rank)


def require_setting(problem: AbstractProblem, kind: type[AbstractNetwork]) -> Regression:
    """`problem`, checked to have a network of that kind and all that :func:`setting_hypotheses` lists.

    Raises:
        InputError: it has not.
    """
    checks.require(isinstance(problem, Regression), "problem", "be a Regression", type(problem).__name__)
    assert isinstance(problem, Regression)
    found = type(problem.network).__name__
    checks.require(isinstance(problem.network, kind), "problem", f"have a {kind.__name__} network", found)
    failed = [hypothesis.statement for hypothesis in setting_hypotheses(problem) if hypothesis.holds is not True]
    shapes = f"layers {problem.network.shapes} on X {problem.X.shape}"
    checks.require(not failed, "problem", "be such that " + "; ".join(failed), shapes)
    return problem


def square_target(problem: Regression) -> SquareTarget:
    """M, U and lambda of a problem that satisfies :func:`setting_hypotheses`.

    Accuracy: M to about ``1e-15 cond(X)`` relative.
    """
    statistics = statistics_of(problem)
    spectrum = target_spectrum(np.asarray(statistics.target))
    return SquareTarget(
        dim=problem.X.shape[0],
        matrix=(np.asarray(statistics.target) / statistics.scales) @ np.asarray(statistics.directions).T,
        basis=with_fixed_signs(np.asarray(spectrum.left)),
        eigenvalues=np.asarray(spectrum.values) ** 2,
        root=np.asarray(statistics.root),
        image=np.asarray(statistics.target),
        is_full_rank=spectrum.num_positive == problem.X.shape[0],
        irreducible=float(statistics.irreducible),
    )


def statistics_of(problem: Regression) -> LinearStatistics:
    """R, T and the irreducible loss of the data, whatever the network."""
    return linear_statistics(np.asarray(problem.X), np.asarray(problem.Y), sample_weight(problem))


def sample_weight(problem: Regression) -> float:
    """The factor that the loss is multiplied with: 1 for a sum, ``1 / m`` for a mean."""
    return 1.0 if problem.normalization == "sum" else 1.0 / problem.X.shape[1]


def layers_of(problem: Regression, params: Weights, name: str = "params") -> Layers:
    """`params` as finite float64 arrays of the network's shapes.

    Raises:
        InputError: not a tuple of matrices of these shapes.
    """
    return matrices(problem, params, name)


def with_fixed_signs(vectors: Float[np.ndarray, "d k"]) -> Float[np.ndarray, "d k"]:
    """The columns, each with its sign such that its entry of largest modulus is positive."""
    largest = np.take_along_axis(vectors, np.argmax(np.abs(vectors), axis=0)[None, :], axis=0)
    return vectors * np.where(largest < 0.0, -1.0, 1.0)


def _is_plain(problem: Regression) -> bool:
    return problem.loss_function is losses.squared_error and problem.regularizer is None


def _is_known(network: AbstractNetwork) -> bool:
    if isinstance(network, Shallow):
        return network.output_activation.name == "identity"
    return isinstance(network, Linear | Residual)


def _has_full_row_rank(problem: Regression) -> bool:
    return statistics_of(problem).rank == problem.X.shape[0]
