"""What the balanced family needs to know of a problem, checked once: data reduced, spectrum, metric of the balance.

Letters of paper 001: ``X = U S V^T`` reduced of rank rho, ``Ytilde = Y V = P diag(lambda) Q^T``; here ``R = U S`` is
the problem's root and ``T = Ytilde`` its target. The balance is ``W_2^T W_2 = W_1 B B^T W_1^T`` with B = R for the
weighted regulariser and B = I for the unweighted one. Knows problems; no point, no class.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.states import matrices
from gradflow.networks import Linear
from gradflow.problem import Regression
from gradflow.regularizers import Balance
from gradflow.types import Weights

Layers: TypeAlias = tuple[Float[np.ndarray, "_ _"], ...]
"""``(W_1, W_2)``, or more of them, as NumPy matrices."""

GRAM_RTOL = 1e-9
"""Relative distance up to which the regulariser's ``X X^T`` is taken for the problem's."""

ZERO_FLOOR = 1e-11
"""Singular values of T below this multiple of ``||Y||`` are rounding: Y then has nothing that X explains."""


@dataclass(frozen=True)
class BalancedSetting:
    """A shallow linear problem with one of paper 001's balancing terms, reduced.

    Attributes:
        root: R.
        target: T.
        irreducible: loss that no linear map avoids, ``1/2 (||Y||^2 - ||Y V||^2)``.
        values: the positive singular values lambda of T, descending.
        left: P, with all d_2 columns.
        right: the columns of Q that belong to `values`.
        groups: indices of equal positive singular values.
        metric: B.
        is_weighted: True when B is R, or R is orthogonal, so that both regularisers are one.
        strength: mu.
        num_hidden_units: d_1.
    """

    root: Float[np.ndarray, "d_0 rank"]
    target: Float[np.ndarray, "d_2 rank"]
    irreducible: float
    values: Float[np.ndarray, " r"]
    left: Float[np.ndarray, "d_2 d_2"]
    right: Float[np.ndarray, "rank r"]
    groups: tuple[tuple[int, ...], ...]
    metric: Float[np.ndarray, "d_0 _"]
    is_weighted: bool
    strength: float
    num_hidden_units: int

    @property
    def scales(self) -> Float[np.ndarray, " rank"]:
        """Singular values sigma of X, descending."""
        return np.linalg.norm(self.root, axis=0)

    @property
    def directions(self) -> Float[np.ndarray, "d_0 rank"]:
        """U."""
        return self.root / self.scales

    @property
    def root_inverse(self) -> Float[np.ndarray, "rank d_0"]:
        """``R^+ = S^{-1} U^T``."""
        return (self.root / self.scales**2).T

    @property
    def unseen(self) -> Float[np.ndarray, "d_0 d_0"]:
        """``I - U U^T``, the projector on inputs that no sample has."""
        return np.eye(self.root.shape[0]) - self.directions @ self.directions.T

    @property
    def max_rank(self) -> int:
        """Most singular values that a point can capture, ``min(d_1, r)``."""
        return min(self.num_hidden_units, len(self.values))

    @property
    def least_strength(self) -> float:
        """What an eigenvalue of ``W_2^T W_2`` is at least at a critical point, unless it is zero (1.0 when T = 0)."""
        if not len(self.values):
            return 1.0
        return float(self.values[-1]) / (1.0 if self.is_weighted else float(self.scales[0]))

    @property
    def unit(self) -> float:
        """Norm of a column of ``W_2`` at a global minimum, the largest one; what defects are measured in."""
        if not len(self.values):
            return 1.0
        largest = self.values[0] if self.is_weighted else np.linalg.norm(self.target @ self.root_inverse, 2)
        return float(np.sqrt(largest))


def shallow_linear(problem: Any) -> tuple[Regression, float, Float[np.ndarray, "d_0 d_0"]]:
    """`problem`, mu and the matrix G of its regulariser ``mu/4 ||W_2^T W_2 - W_1 G W_1^T||^2`` (mu = 0 without one).

    Raises:
        InputError: not a linear network with one hidden layer and the squared error, or another regulariser.
    """
    is_shallow = isinstance(problem, Regression) and isinstance(problem.network, Linear)
    is_shallow = is_shallow and problem.statistics is not None and problem.num_hidden == 1
    checks.require(
        is_shallow, "problem", "be a linear network with one hidden layer and the squared error", _described(problem)
    )
    regularizer = problem.regularizer
    is_known = regularizer is None or isinstance(regularizer, Balance)
    checks.require(is_known, "problem", "have no regulariser but a Balance", type(regularizer).__name__)
    identity = np.eye(problem.network.shapes[0][1])
    if regularizer is None:
        return problem, 0.0, identity
    gram = identity if regularizer.gram is None else np.asarray(regularizer.gram)
    return problem, float(regularizer.strength), gram


def balanced_setting(problem: Any) -> BalancedSetting:
    """The reduced problem.

    Raises:
        InputError: not a linear network with one hidden layer, the squared error and a ``Balance`` of positive
            strength; a ``Balance`` made with another X than the loss sees; an unweighted one with X of deficient row
            rank, for which no closed form is known here.
    """
    problem, strength, gram = shallow_linear(problem)
    checks.require(
        strength > 0.0, "problem", "have a Balance regulariser of positive strength", f"strength {strength:g}",
        "Without one critical points need not be balanced: use the family of the plain shallow network.",
    )  # fmt: skip
    assert problem.statistics is not None
    root = np.asarray(problem.statistics.root)
    is_weighted = _is_close(gram, root @ root.T)
    if not is_weighted:
        checks.require(
            _is_close(gram, np.eye(root.shape[0])), "problem", "have a Balance with the X that its loss sees",
            "another X X^T", 'With normalization="mean" give Balance X / sqrt(samples).',
        )  # fmt: skip
        is_full = root.shape[0] == root.shape[1]
        checks.require(is_full, "X", "have full row rank for an unweighted Balance", f"rank {root.shape[1]}")
    return reduced_setting(problem, is_weighted, strength)


def reduced_setting(problem: Regression, is_weighted: bool, strength: float) -> BalancedSetting:
    """The reduced problem of a shallow linear network, with a balance that need not be in its loss."""
    statistics, spectrum = problem.statistics, problem.spectrum
    assert statistics is not None
    root, target = np.asarray(statistics.root), np.asarray(statistics.target)
    size = float(np.sqrt(np.sum(target**2) + 2.0 * problem.irreducible))
    positive = int(np.sum(np.asarray(spectrum.values[: spectrum.num_positive]) > ZERO_FLOOR * size))
    return BalancedSetting(
        root=root,
        target=target,
        irreducible=problem.irreducible,
        values=np.asarray(spectrum.values[:positive]),
        left=np.asarray(spectrum.left),
        right=np.asarray(spectrum.right[:, :positive]),
        groups=tuple(tuple(i for i in group if i < positive) for group in spectrum.groups if group[0] < positive),
        metric=root if is_weighted else np.eye(root.shape[0]),
        is_weighted=is_weighted,
        strength=strength,
        num_hidden_units=problem.network.shapes[0][0],
    )


def checked_params(problem: Regression, params: Weights, name: str = "params") -> Layers:
    """`params` as float64 NumPy matrices, refused when their shapes are not the network's."""
    return matrices(problem, params, name)


def _is_close(gram: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.linalg.norm(gram - other) <= GRAM_RTOL * np.linalg.norm(other))


def _described(problem: Any) -> str:
    if not isinstance(problem, Regression):
        return type(problem).__name__
    return f"{type(problem.network).__name__} with {problem.num_hidden} hidden layers"
