"""Global minimisers of deep linear networks with square layers: all of them, up to a change of basis in each layer.

    W_l = U C_l,   W_k = C_{k+1}^{-1} C_k,   W_1 = C_2^{-1} U^T M,   M = Sigma_XY^T Sigma_XX^{-1},

with arbitrary invertible ``C_2, ..., C_l``: exactly the factorisations of M. Every minimiser has loss
``1/2 (Tr Sigma_YY - sum_i lambda_i)``. Knows a problem and a state. Other widths are another family.

Source: paper 000, Proposition 1 and Corollary 1, with the factor 1/2 that the paper omits; ``m >= d`` samples, and
eigenvalues of Sigma need not be distinct (U is any orthogonal matrix, for ``U U^T = I`` is all that enters).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.keys import generator
from gradflow.critical_sets.minimisers.factorisation import (
    are_invertible,
    chain,
    factors,
    random_invertible,
    require_basis,
    require_transforms,
    rounding,
    transforms_of,
)
from gradflow.critical_sets.minimisers.recognition import RECOGNITION_RTOL, outcome, tolerance
from gradflow.critical_sets.minimisers.setting import Layers, SquareTarget, layers_of, require_setting, square_target
from gradflow.initial_laws import KeyLike
from gradflow.networks import Linear
from gradflow.problem import AbstractProblem
from gradflow.types import Weights

SOURCE = "paper 000, Proposition 1 (value corrected by the factor 1/2)"


@dataclass(frozen=True)
class LinearMinimiser:
    """What a state of a linear network is to Proposition 1.

    Attributes:
        outcome: one of :data:`gradflow.critical_sets.minimisers.recognition.OUTCOMES`.
        transforms: ``(C_2, ..., C_l)`` with ``C_k = U^T W_l ... W_k``; invertible when the outcome is "minimiser".
        basis: the U they refer to.
        defect: ``||(W_l ... W_1 - M) R||_F / ||T||_F``, the residual beyond the irreducible one.
        excess: loss above the global minimum.
    """

    outcome: str
    transforms: tuple[Float[np.ndarray, "d d"], ...]
    basis: Float[np.ndarray, "d d"]
    defect: float
    excess: float


def construct(problem: AbstractProblem, transforms: Sequence[np.ndarray], basis: np.ndarray | None = None) -> Layers:
    """The global minimiser with free parameters ``(C_2, ..., C_l)``.

    Args:
        problem: a linear network with square layers, the squared error and X of full row rank.
        transforms: l - 1 invertible matrices.
        basis: U; default the eigenvectors of Sigma, eigenvalues descending, largest entry of each positive.

    Accuracy: loss minus minimum about ``(1e-15 prod_k cond(C_k) ||T||)^2``.

    Raises:
        InputError: another problem, another number of matrices, or a singular one.

    Source: paper 000, eq. (2).
    """
    problem = require_setting(problem, Linear)
    target = square_target(problem)
    given = require_transforms("transforms", transforms, len(problem.network.shapes) - 1, target.dim)
    return factors(require_basis(basis, target.basis), given, target.matrix)


def decompose(problem: AbstractProblem, params: Weights, rtol: float = RECOGNITION_RTOL) -> LinearMinimiser:
    """Whether a state is a global minimiser, and its free parameters.

    ``construct(problem, found.transforms, found.basis)`` gives the state back when the outcome is "minimiser".

    Args:
        problem: as for :func:`construct`.
        params: ``(W_1, ..., W_l)``.
        rtol: largest relative residual of a minimiser; up to its square root the outcome is "ambiguous".

    Raises:
        InputError: another problem, or params of other shapes.

    Source: paper 000, eqs. (27)-(28).
    """
    problem = require_setting(problem, Linear)
    rtol, target, layers = tolerance(rtol), square_target(problem), layers_of(problem, params)
    defect, noise = residual_defect(target, layers)
    found = transforms_of(layers, target.basis)
    judged = outcome(defect, noise, are_invertible(found), rtol)
    return LinearMinimiser(judged, found, target.basis, defect, 0.5 * (defect * target.scale) ** 2)


def residual_defect(target: SquareTarget, layers: Sequence[np.ndarray]) -> tuple[float, float]:
    """``||(W_l ... W_1 - M) R||_F / ||T||_F`` and a bound on what rounding contributes to it."""
    size = float(np.linalg.norm(chain(layers, target.dim) @ target.root - target.image))
    return size / target.scale, rounding(layers) * float(np.linalg.norm(target.root)) / target.scale


def sample(problem: AbstractProblem, key: KeyLike | np.random.Generator, spread: float = 1.6) -> Layers:
    """A random global minimiser: C_k with singular values between ``1 / spread`` and `spread`, random frames.

    Raises:
        InputError: as for :func:`construct`.
    """
    rng = generator(key)
    problem = require_setting(problem, Linear)
    dim, count = problem.X.shape[0], len(problem.network.shapes) - 1
    return construct(problem, [random_invertible(rng, dim, spread) for _ in range(count)])


def enumerate_classes(problem: AbstractProblem) -> tuple[CriticalClass, ...]:
    """All global minimisers, as one class: they are one orbit of the changes of basis.

    The Hessian is ``G^T G`` (also for m > d) and G has full row rank at full-rank layers, so the nullity is
    ``(l - 1) d^2``, the dimension of the orbit; both are None when Sigma_XY is singular.
    """
    problem = require_setting(problem, Linear)
    target, num_layers = square_target(problem), len(problem.network.shapes)
    rank = int(np.sum(target.eigenvalues > 0.0))
    nullity = (num_layers - 1) * target.dim**2 if target.is_full_rank else None
    pattern = {"num_layers": num_layers, "free_matrices": num_layers - 1}
    return (
        CriticalClass("linear_minimisers", pattern, target.irreducible, rank, "global", False, 0, nullity, SOURCE),
    )  # fmt: skip


enumerate = enumerate_classes  # noqa: A001
