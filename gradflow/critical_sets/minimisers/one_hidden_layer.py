"""Global minimisers of ``W_2 sigma(W_1 X)`` with square layers, m = d samples and an injective activation.

They have zero loss, and ``sigma(W_1 X) = S`` is the hidden layer of a linear minimiser with free parameter C_2:

    W_2 = U C_2,   S = C_2^{-1} U^T Y,   W_1 = sigma^{-1}(S) X^{-1}.

An activation with range R admits every C_2; a sigmoid only those that put S inside its range. Where S comes to a kink
of sigma the loss is not differentiable: :func:`kink_distance` tells how far that is.

Source: paper 000, Proposition 3 (sigma must be injective for a single-valued inverse; range R is not enough).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.activations import AbstractActivation
from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.keys import generator
from gradflow.critical_sets.minimisers.factorisation import (
    are_invertible,
    random_invertible,
    require_basis,
    require_transforms,
)
from gradflow.critical_sets.minimisers.recognition import RECOGNITION_RTOL, outcome, tolerance
from gradflow.critical_sets.minimisers.setting import (
    Layers,
    SquareTarget,
    layers_of,
    require_setting,
    sample_weight,
    square_target,
)
from gradflow.initial_laws import KeyLike
from gradflow.networks import Shallow
from gradflow.precision import in_double
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Weights

SOURCE = "paper 000, Proposition 3 (sigma injective)"
MAX_DRAWS = 100
KINK_MARGIN = 1e-2
"""Samples keep all hidden outputs this far from that of a kink, relative to the largest."""


@dataclass(frozen=True)
class Preimage:
    """What becomes of a free parameter C_2.

    Attributes:
        hidden: ``S = C_2^{-1} U^T Y``, what the hidden layer must put out.
        outcome: ``"inside_range"``, or ``"outside_range"`` when no W_1 puts out S.
        shrinkage: the factor by which C_2 must grow (more than) for S to come inside; below 1 inside. NaN when no
            factor helps.
        params: the minimiser, None outside.
    """

    hidden: Float[np.ndarray, "d d"]
    outcome: str
    shrinkage: float
    params: Layers | None


@dataclass(frozen=True)
class HiddenLayerMinimiser:
    """What a state of a network with one hidden layer is to Proposition 3.

    Attributes:
        outcome: one of :data:`gradflow.critical_sets.minimisers.recognition.OUTCOMES`.
        transform: ``C_2 = U^T W_2``.
        basis: the U it refers to.
        hidden: ``S = sigma(W_1 X)``, of full rank at every minimiser when Y is.
        kink_distance: how far W_1 may move before a preactivation comes to a kink of sigma; infinite without kinks.
        defect: ``||W_2 S - Y||_F / ||Y||_F``.
        excess: the loss (its minimum is zero).
    """

    outcome: str
    transform: Float[np.ndarray, "d d"]
    basis: Float[np.ndarray, "d d"]
    hidden: Float[np.ndarray, "d d"]
    kink_distance: float
    defect: float
    excess: float


def preimage(problem: AbstractProblem, transform: np.ndarray, basis: np.ndarray | None = None) -> Preimage:
    """The minimiser with free parameter C_2, or why there is none.

    Raises:
        InputError: another problem, an activation without inverse, or a singular C_2.
    """
    problem, network, target = _setting(problem)
    (matrix,) = require_transforms("transform", [transform], 1, target.dim)
    frame = require_basis(basis, target.basis)
    hidden = np.linalg.solve(matrix, frame.T @ np.asarray(problem.Y))
    low, high = network.activation.range
    shrinkage = _shrinkage(hidden, low, high)
    if not shrinkage < 1.0:
        return Preimage(hidden, "outside_range", shrinkage, None)
    first = np.linalg.solve(np.asarray(problem.X).T, evaluated(network.activation.inverse, hidden).T).T
    return Preimage(hidden, "inside_range", shrinkage, (first, frame @ matrix))


def construct(problem: AbstractProblem, transform: np.ndarray, basis: np.ndarray | None = None) -> Layers:
    """The global minimiser with free parameter C_2.

    Accuracy: loss about ``(1e-15 cond(C_2) cond(X) ||Y||)^2``, times the steepness of sigma^{-1}, which is large near
    the ends of a sigmoid's range.

    Raises:
        InputError: as for :func:`preimage`; or S outside the range of sigma.

    Source: paper 000, eq. (7).
    """
    found = preimage(problem, transform, basis)
    checks.require(
        found.params is not None, "transform", "put C_2^{-1} U^T Y inside the range of the activation",
        "a matrix that does not", f"Multiply it by more than {found.shrinkage:.6g}.",
    )  # fmt: skip
    assert found.params is not None
    return found.params


def decompose(problem: AbstractProblem, params: Weights, rtol: float = RECOGNITION_RTOL) -> HiddenLayerMinimiser:
    """Whether a state is a global minimiser, and its free parameter.

    ``construct(problem, found.transform, found.basis)`` gives the state back when the outcome is "minimiser".

    Raises:
        InputError: another problem, an activation without inverse, or params of other shapes.
    """
    problem, network, target = _setting(problem)
    rtol, layers = tolerance(rtol), layers_of(problem, params)
    defect, noise = residual_defect(problem, layers)
    X, transform = np.asarray(problem.X), target.basis.T @ layers[1]
    judged = outcome(defect, noise, are_invertible([transform]), rtol)
    hidden, distance = evaluated(network.activation, layers[0] @ X), kink_distance(network.activation, layers[0], X)
    excess = 0.5 * sample_weight(problem) * (defect * _scale(problem)) ** 2
    return HiddenLayerMinimiser(judged, transform, target.basis, hidden, distance, defect, excess)


def residual_defect(problem: Regression, layers: Sequence[np.ndarray]) -> tuple[float, float]:
    """``||W_2 sigma(W_1 X) - Y||_F / ||Y||_F`` and a bound on what rounding contributes to it."""
    network, (first, second), X = problem.network, layers, np.asarray(problem.X)
    assert isinstance(network, Shallow)
    hidden = evaluated(network.activation, first @ X)
    size = float(np.linalg.norm(second @ hidden - np.asarray(problem.Y)))
    steepness = float(np.max(np.abs(evaluated(network.activation.derivative, first @ X))))
    moved = steepness * float(np.linalg.norm(first, 2)) * float(np.linalg.norm(X, 2)) + float(np.linalg.norm(hidden))
    noise = 4.0 * np.finfo(float).eps * len(X) * float(np.linalg.norm(second, 2)) * moved
    return size / _scale(problem), noise / _scale(problem)


def sample(problem: AbstractProblem, key: KeyLike | np.random.Generator, spread: float = 1.6) -> Layers:
    """A random global minimiser at which the loss is smooth.

    C_2 is drawn as in the linear family, scaled up into the range of a sigmoid (the largest entry of S at 0.8 of the
    way), and drawn again while a hidden output is within :data:`KINK_MARGIN` of that at a kink.

    Raises:
        InputError: as for :func:`preimage`; or no such draw.
    """
    rng = generator(key)
    problem, network, target = _setting(problem)
    for _ in range(MAX_DRAWS):
        transform = random_invertible(rng, target.dim, spread)
        shrinkage = preimage(problem, transform).shrinkage
        if shrinkage > 0.8:
            transform = transform * (shrinkage / 0.8)
        found = preimage(problem, transform)
        if (
            found.params is not None
            and _margin(network.activation, found.params[0] @ np.asarray(problem.X)) > KINK_MARGIN
        ):
            return found.params
    raise checks.InputError(
        f"`problem` must have a smooth global minimiser, but got none in {MAX_DRAWS} draws. "
        "A target Y with zero columns puts every minimiser of a leaky ReLU on a kink."
    )


def enumerate_classes(problem: AbstractProblem) -> tuple[CriticalClass, ...]:
    """All global minimisers, as one class, parameterised by C_2.

    The Hessian is ``H^T H`` where the loss is smooth, and the block of W_2 alone has rank d^2 when S is invertible, so
    the nullity is ``d^2``; it is None when Y is singular.
    """
    problem, network, target = _setting(problem)
    nullity = target.dim**2 if target.is_full_rank else None
    rank = int(np.sum(target.eigenvalues > 0.0))
    pattern = {"activation": network.activation.name, "free_matrices": 1}
    return (CriticalClass("hidden_layer_minimisers", pattern, 0.0, rank, "global", False, 0, nullity, SOURCE),)


def kink_distance(
    activation: AbstractActivation, first: Float[np.ndarray, "d_1 d_in"], inputs: Float[np.ndarray, "d_in samples"]
) -> float:
    """``min_ij |(W_1 X)_ij - kink| / ||x_j||``: W_1 may move by less, in Frobenius norm, without meeting a kink."""
    preactivations, lengths = first @ inputs, np.linalg.norm(inputs, axis=0)
    distances = [
        np.where(lengths > 0.0, np.abs(preactivations - kink) / np.where(lengths > 0.0, lengths, 1.0), np.inf).min()
        for kink in activation.kinks
    ]
    return float(min(distances, default=np.inf))


@in_double
def evaluated(function: Callable, values: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """``function(values)`` of an activation's method, in double precision."""
    return np.asarray(function(jnp.asarray(values)))


def _setting(problem: AbstractProblem) -> tuple[Regression, Shallow, SquareTarget]:
    problem = require_setting(problem, Shallow)
    network = problem.network
    assert isinstance(network, Shallow)
    name = network.activation.name
    checks.require(network.activation.is_injective, "problem", "have an injective activation", name)
    return problem, network, square_target(problem)


def _scale(problem: Regression) -> float:
    return float(np.linalg.norm(np.asarray(problem.Y))) or 1.0


def _shrinkage(hidden: Float[np.ndarray, "d d"], low: float, high: float) -> float:
    """Largest ratio of an entry to the end of the range on its side; NaN when the range does not surround 0."""
    if not low < 0.0 < high:
        return float("nan")
    return float(max(np.max(hidden / high), np.max(hidden / low), 0.0))


def _margin(activation: AbstractActivation, preactivations: Float[np.ndarray, "d d"]) -> float:
    """Least distance of a hidden output from sigma(kink), relative to the largest.

    Not of preactivations: on the flat side of a leaky ReLU these are as much larger as its slope is small.
    """
    outputs = evaluated(activation, preactivations)
    largest = float(np.max(np.abs(outputs))) or 1.0
    corners = [float(evaluated(activation, np.array([[kink]]))[0, 0]) for kink in activation.kinks]
    return min((float(np.min(np.abs(outputs - corner))) / largest for corner in corners), default=np.inf)


enumerate = enumerate_classes  # noqa: A001
