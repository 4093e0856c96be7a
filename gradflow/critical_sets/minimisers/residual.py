"""Global minimisers of linear residual networks ``(I + A_lr ... A_l1) ... (I + A_1r ... A_11)``.

Two levels of the same factorisation: the units ``W_k = I + A_kr ... A_k1`` are a minimiser of the linear network with l
layers, with free parameters ``Chat_2, ..., Chat_l``, and the layers of each unit factor ``W_k - I``,

    A_kr = U_k C_kr,   A_kq = C_{k,q+1}^{-1} C_kq,   A_k1 = C_k2^{-1} U_k^T (W_k - I),

with U_k the eigenvectors of ``(W_k - I)(W_k - I)^T`` and free invertible ``C_k2, ..., C_kr``. With r = 1 simply
``A_k = W_k - I``. The layers have full rank exactly when no W_k has the eigenvalue 1.

Source: paper 000, Proposition 2, with C_k2, ..., C_k**r** (printed: l), and with the eigenvalue 1 in place of "the
column space is incoherent with the row space", which says nothing of invertible matrices: ``W = [[1, 1], [0, 1]]``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.keys import generator
from gradflow.critical_sets.minimisers.factorisation import (
    are_invertible,
    chain,
    factors,
    random_invertible,
    require_basis,
    require_transforms,
    transforms_of,
)
from gradflow.critical_sets.minimisers.linear import residual_defect
from gradflow.critical_sets.minimisers.recognition import RECOGNITION_RTOL, outcome, tolerance
from gradflow.critical_sets.minimisers.setting import (
    Layers,
    layers_of,
    require_setting,
    square_target,
    with_fixed_signs,
)
from gradflow.initial_laws import KeyLike
from gradflow.networks import Residual
from gradflow.problem import AbstractProblem
from gradflow.types import Weights

SOURCE = "paper 000, Proposition 2 (indices and rank condition corrected)"
MAX_DRAWS = 100


@dataclass(frozen=True)
class ResidualMinimiser:
    """What a state of a residual network is to Proposition 2.

    Attributes:
        outcome: one of :data:`gradflow.critical_sets.minimisers.recognition.OUTCOMES`.
        unit_transforms: ``(Chat_2, ..., Chat_l)`` of the units.
        transforms: ``((C_12, ..., C_1r), ..., (C_l2, ..., C_lr))``.
        unit_basis: Uhat.
        bases: ``(U_1, ..., U_l)``.
        units: ``(W_1, ..., W_l)``.
        is_full_rank: whether every A_kq is invertible; None when that is ambiguous.
        defect: residual beyond the irreducible one, relative to the target.
        excess: loss above the global minimum.
    """

    outcome: str
    unit_transforms: tuple[Float[np.ndarray, "d d"], ...]
    transforms: tuple[tuple[Float[np.ndarray, "d d"], ...], ...]
    unit_basis: Float[np.ndarray, "d d"]
    bases: tuple[Float[np.ndarray, "d d"], ...]
    units: tuple[Float[np.ndarray, "d d"], ...]
    is_full_rank: bool | None
    defect: float
    excess: float


def blocks_of(network: Residual, params: Weights) -> tuple[tuple[np.ndarray, ...], ...]:
    """The layers of each unit as NumPy arrays: ``((A_11, ..., A_1r), ..., (A_l1, ..., A_lr))``."""
    return tuple(tuple(np.asarray(layer) for layer in block) for block in network.blocks(params))


def units_of(network: Residual, params: Weights) -> tuple[np.ndarray, ...]:
    """``W_k = I + A_kr ... A_k1`` for every unit."""
    return tuple(np.eye(network.dim) + chain(block, network.dim) for block in blocks_of(network, params))


def has_full_rank(network: Residual, layers: Layers) -> bool | None:
    """Whether every A_kq is invertible, and ``W_k - I`` too where it is added to the identity; None when ambiguous.

    A shortcut of the size of rounding, 1e-16, counts as zero although it may be well conditioned.
    """
    shortcuts = [unit - np.eye(network.dim) for unit in units_of(network, layers)]
    found = are_invertible(layers), are_invertible(shortcuts, scale=1.0)
    return False if False in found else (None if None in found else True)


def construct(
    problem: AbstractProblem,
    unit_transforms: Sequence[np.ndarray],
    transforms: Sequence[Sequence[np.ndarray]] | None = None,
    *,
    unit_basis: np.ndarray | None = None,
    bases: Sequence[np.ndarray] | None = None,
) -> Layers:
    """The global minimiser ``(A_11, ..., A_lr)`` with the given free parameters.

    Args:
        problem: a residual network with the squared error and X of full row rank.
        unit_transforms: ``(Chat_2, ..., Chat_l)``.
        transforms: ``(C_k2, ..., C_kr)`` for every unit; may be left out when r = 1.
        unit_basis: Uhat; default the eigenvectors of Sigma.
        bases: ``(U_1, ..., U_l)``; default the eigenvectors of ``(W_k - I)(W_k - I)^T``.

    The result is a global minimiser whatever the parameters; its layers have full rank unless a unit has the
    eigenvalue 1 (:func:`decompose` tells).

    Raises:
        InputError: another problem, another number of matrices, or a singular one.

    Source: paper 000, eqs. (4) and (5).
    """
    problem = require_setting(problem, Residual)
    network = problem.network
    assert isinstance(network, Residual)
    target = square_target(problem)
    given = require_transforms("unit_transforms", unit_transforms, network.units - 1, target.dim)
    units = factors(require_basis(unit_basis, target.basis), given, target.matrix)
    inner = [()] * network.units if transforms is None else list(transforms)
    checks.require(len(inner) == network.units, "transforms", f"have {network.units} members", len(inner))
    frames = [None] * network.units if bases is None else list(bases)
    checks.require(len(frames) == network.units, "bases", f"be {network.units} matrices", len(frames))
    layers: list[np.ndarray] = []
    for index, unit, matrices, frame in zip(range(len(units)), units, inner, frames, strict=True):
        shortcut = unit - np.eye(target.dim)
        chosen = require_transforms(f"transforms[{index}]", matrices, network.depth - 1, target.dim)
        layers.extend(factors(require_basis(frame, eigenbasis(shortcut)), chosen, shortcut))
    return tuple(layers)


def decompose(problem: AbstractProblem, params: Weights, rtol: float = RECOGNITION_RTOL) -> ResidualMinimiser:
    """Whether a state is a global minimiser, and its free parameters on both levels.

    Outcome "minimiser_outside_form": a global minimiser with a singular C_kq, which Proposition 2 does not describe
    (its layers are not of full rank). A global minimiser of rank-deficient layers may still have the form (4).

    Args:
        problem: as for :func:`construct`.
        params: ``(A_11, ..., A_lr)``.
        rtol: largest relative residual of a minimiser; up to its square root the outcome is "ambiguous".

    Raises:
        InputError: another problem, or params of other shapes.
    """
    problem = require_setting(problem, Residual)
    network = problem.network
    assert isinstance(network, Residual)
    rtol, target, layers = tolerance(rtol), square_target(problem), layers_of(problem, params)
    units = units_of(network, layers)
    defect, noise = residual_defect(target, units)
    bases = tuple(eigenbasis(unit - np.eye(target.dim)) for unit in units)
    pairs = zip(blocks_of(network, layers), bases, strict=True)
    inner = tuple(transforms_of(block, basis) for block, basis in pairs)
    outer = transforms_of(units, target.basis)
    in_form = are_invertible([*outer, *(matrix for matrices in inner for matrix in matrices)])
    return ResidualMinimiser(
        outcome(defect, noise, in_form, rtol), outer, inner, target.basis, bases, units, has_full_rank(network, layers),
        defect, 0.5 * (defect * target.scale) ** 2,
    )  # fmt: skip


def sample(problem: AbstractProblem, key: KeyLike | np.random.Generator, spread: float = 1.6) -> Layers:
    """A random global minimiser of full rank: C's as in the linear family, drawn again while a unit has eigenvalue 1.

    Raises:
        InputError: as for :func:`construct`; or no draw of full rank, e.g. a single unit and M with eigenvalue 1.
    """
    rng = generator(key)
    problem = require_setting(problem, Residual)
    network = problem.network
    assert isinstance(network, Residual)
    draw = lambda count: [random_invertible(rng, network.dim, spread) for _ in range(count)]  # noqa: E731
    for _ in range(MAX_DRAWS):
        params = construct(problem, draw(network.units - 1), [draw(network.depth - 1) for _ in range(network.units)])
        if has_full_rank(network, params) is True:
            return params
    raise checks.InputError(
        f"`problem` must have global minimisers of full rank, but got none in {MAX_DRAWS} draws. "
        "With one unit there is none when Y X^+ has the eigenvalue 1."
    )


def enumerate_classes(problem: AbstractProblem) -> tuple[CriticalClass, ...]:
    """The global minimisers of full rank, as one class.

    Their Hessian is ``Q^T Q`` (also for m > d), and every block of Q is invertible on the row space of X, so the
    nullity is ``(l r - 1) d^2``. Minimisers with singular layers, which exist for r > 1, have the same loss.
    """
    problem = require_setting(problem, Residual)
    network, target = problem.network, square_target(problem)
    assert isinstance(network, Residual)
    rank = int(np.sum(target.eigenvalues > 0.0))
    nullity = (network.units * network.depth - 1) * target.dim**2 if target.is_full_rank else None
    pattern = {"units": network.units, "depth": network.depth, "free_matrices": network.units * network.depth - 1}
    return (
        CriticalClass("residual_minimisers", pattern, target.irreducible, rank, "global", False, 0, nullity, SOURCE),
    )  # fmt: skip


def eigenbasis(shortcut: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """U_k: eigenvectors of ``(W_k - I)(W_k - I)^T``, eigenvalues descending, largest entry of each positive."""
    return with_fixed_signs(np.linalg.svd(shortcut)[0])


enumerate = enumerate_classes  # noqa: A001
