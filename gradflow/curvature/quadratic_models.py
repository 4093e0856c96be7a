"""The quadratic model of a loss at a state, what rounding does to it, and how far it puts the limit of a flow."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
import scipy.linalg
import scipy.sparse.linalg as sparse
from jaxtyping import Float

from gradflow.curvature import hessians
from gradflow.curvature.hessians import EPS, measured, operator, start_vector
from gradflow.curvature.spectra import eigenpairs_of, lowest_pair, spectral_radius
from gradflow.precision import in_double
from gradflow.problem import AbstractProblem
from gradflow.types import Params

MAX_KRYLOV = 1000
"""Largest number of Hessian-vector products in one matrix-free Newton step."""

LARGEST = 1e150
TINY = float(np.finfo(float).tiny)

KRYLOV_RESOLUTION = 1e-6
"""Curvature relative to the radius that a matrix-free Newton step is trusted to have resolved."""

LANCZOS_RESOLUTION = 1e-9
"""Size of an eigenvalue, relative to the radius, that Lanczos tells from zero."""

CHANGE = 100.0
"""Change of eigenvalues, in spectral radii per length scale of the parameters, where it is not measured."""

MUCH_LARGER = 1e3
"""Multiple of its noise above which hardly any of a gradient is rounding."""

CREEP = 3.0
"""Newton steps that a flow is believed to creep further in a direction with curvature."""

DRAWS = np.random.default_rng(0).integers(2**62, size=4)
"""Seeds of the roundings that the noise of a gradient is measured with."""


@dataclass(frozen=True)
class QuadraticModel:
    """Gradient and Hessian at one state, with what rounding alone does to the gradient.

    Attributes:
        loss: the loss.
        gradient: the gradient, flattened.
        roundings: how the gradient changes when every parameter is rounded differently, one row per draw.
        hessian: the Hessian; None above :data:`DIRECT_LIMIT` parameters.
        product: the Hessian as an operator.
        size: Euclidean norm of the parameters.
    """

    loss: float
    gradient: np.ndarray
    roundings: np.ndarray
    hessian: np.ndarray | None
    product: Callable[[np.ndarray], np.ndarray]
    size: float

    @property
    def is_finite(self) -> bool:
        """True when gradient and Hessian are finite, and their squares too."""
        is_gradient = bool((np.abs(self.gradient) < LARGEST).all())
        return is_gradient and (self.values is None or bool((np.abs(self.values) < LARGEST).all()))

    @functools.cached_property
    def _eigenpairs(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        return (None, None) if self.hessian is None else eigenpairs_of(self.hessian)

    @property
    def values(self) -> np.ndarray | None:
        """Eigenvalues of the Hessian, ascending; None like it."""
        return self._eigenpairs[0]

    @property
    def vectors(self) -> np.ndarray | None:
        """Its eigenvectors, as columns; None like it."""
        return self._eigenpairs[1]

    @functools.cached_property
    def grad_norm(self) -> float:
        """Euclidean norm of the gradient."""
        return float(scipy.linalg.norm(self.gradient, check_finite=False))

    @functools.cached_property
    def noise(self) -> float:
        """The gradient norm below which nothing but rounding need be left."""
        return 4.0 * float(np.linalg.norm(self.roundings, axis=1).max())

    @functools.cached_property
    def noise_components(self) -> np.ndarray:
        """The sizes below which the gradient's components in the eigenbasis are rounding."""
        assert self.vectors is not None
        leaked = 4 * EPS * np.sqrt(len(self.gradient)) * self.grad_norm  # the eigenvectors are rounded too
        return 4.0 * np.abs(self.roundings @ self.vectors).max(axis=0) + leaked

    @functools.cached_property
    def radius(self) -> float:
        """The spectral radius of the Hessian (within a few percent when it is matrix-free)."""
        if self.values is None:
            return spectral_radius(self.product, start_vector(len(self.gradient)))
        return float(np.abs(self.values).max())

    @functools.cached_property
    def components(self) -> np.ndarray:
        """The gradient in the eigenbasis."""
        assert self.vectors is not None
        return self.vectors.T @ self.gradient

    @functools.cached_property
    def is_noise(self) -> np.ndarray:
        """Which components of the gradient are no more than rounding."""
        return np.abs(self.components) <= self.noise_components

    @functools.cached_property
    def is_worth_a_step(self) -> np.ndarray:
        """Which components lead anywhere.

        Along a critical set curvature and gradient are remnants of the distance to it; steps made of them only wander.
        A component no larger than the noise of all is worth a step when its curvature is more than such a remnant.
        """
        assert self.values is not None
        sizes = np.maximum(np.abs(self.values), TINY)
        is_large = np.abs(self.components) > self.noise / np.sqrt(len(self.gradient))
        away = float(np.linalg.norm((self.components / sizes)[is_large & self.has_curvature]))
        return is_large | (sizes > CHANGE * self.radius * away / max(self.size, TINY))

    @functools.cached_property
    def has_curvature(self) -> np.ndarray:
        """Which eigenvalues are more than rounding of the largest."""
        assert self.values is not None
        return np.abs(self.values) > self.curvature_floor

    @property
    def curvature_floor(self) -> float:
        """The size below which an eigenvalue is rounding of the largest."""
        return 16 * len(self.gradient) * EPS * self.radius

    def creep(self, duration: float) -> float:
        """How far the flow still goes if its gradient, which took `duration` to fall to 1/e, goes on like that.

        In a direction with curvature that is at most :data:`CREEP` Newton steps; where there is none, as at a limit at
        infinity, it may be far. That part of the gradient which rounding explains does not count.
        """
        if self.values is None:
            return self.grad_norm * duration if self.grad_norm > self.noise else 0.0
        longest = np.minimum(duration, CREEP / np.maximum(np.abs(self.values), TINY))
        return float(np.linalg.norm((self.components * longest)[~self.is_noise]))

    @functools.cached_property
    def newton(self) -> np.ndarray:
        """The full Newton step, see :func:`newton_step`."""
        return self.step()

    @functools.cached_property
    def distance(self) -> float:
        """How far the limit of the flow is, at least: the Newton step's length, and more when it explains too little.

        A gradient where there is no curvature (below :attr:`curvature_floor`) counts as curvature at that floor:
        the limit is at least that far. NaN when the model is not finite.
        """
        if not self.is_finite:
            return float("nan")
        if self.values is None:
            rest = float(np.linalg.norm(self.gradient + self.product(self.newton)))
            unresolved = (
                rest / (KRYLOV_RESOLUTION * self.radius) if rest > max(self.noise, 1e-7 * self.grad_norm) else 0.0
            )
            return float(np.hypot(np.linalg.norm(self.newton), unresolved))
        sizes = np.maximum(np.abs(self.values), self.curvature_floor)[~self.is_noise]
        with np.errstate(divide="ignore"):
            return float(np.linalg.norm(self.components[~self.is_noise] / sizes))

    @functools.cached_property
    def least_distance(self) -> float:
        """A lower bound of :attr:`distance` that takes no eigenvalues; 0.0 for a gradient that may be rounding.

        No eigenvalue is above the Frobenius norm; components that are rounding are a small part of a larger gradient.
        """
        if not self.grad_norm > MUCH_LARGER * self.noise:
            return 0.0
        bound = self.radius if self.hessian is None else float(scipy.linalg.norm(self.hessian, check_finite=False))
        return 0.5 * self.grad_norm / max(bound, TINY)

    def resolution(self, change: float) -> float:
        """The size of the largest eigenvalue that cannot be told from zero; 0.0 when all can.

        Eigenvalues are taken to change by `change` per distance. In a direction of curvature lambda the position of
        the limit is known to ``(|g| + noise) / lambda``. Directions ten times flatter than the eigenvalue in question
        do not count: they are themselves unresolved.
        """
        if self.values is None:
            return max(change * self.distance, LANCZOS_RESOLUTION * self.radius)
        order = np.argsort(-np.abs(self.values))
        sizes = np.abs(self.values[order])
        errors = (np.abs(self.components) + self.noise_components)[order]
        errors = errors / np.maximum(sizes, max(self.curvature_floor, TINY))
        reached = np.searchsorted(-sizes, -0.1 * sizes, side="right") - 1
        with np.errstate(over="ignore"):
            uncertainty = change * np.hypot.accumulate(errors)[reached]
        unresolved = (uncertainty > sizes) | ~self.has_curvature[order]
        return float(sizes[np.argmax(unresolved)]) if unresolved.any() else 0.0

    def step(self, cutoff: float = 0.0, noise_too: bool = False) -> np.ndarray:
        """``-H^+ gradient``, without eigenvalues below `cutoff` times the radius and, normally, without noise."""
        if not self.is_finite or not self.gradient.any():
            return -self.gradient
        if self.values is None or self.vectors is None:
            return self._krylov_step(1e-3 if noise_too else 1e-8, noise_too)
        kept = self.has_curvature & (np.abs(self.values) > cutoff * self.radius)
        if not noise_too:
            kept = kept & ~self.is_noise & self.is_worth_a_step
        return -(self.vectors[:, kept] @ (self.components[kept] / self.values[kept]))

    def _krylov_step(self, rtol: float, noise_too: bool) -> np.ndarray:
        """By MINRES from zero: the Krylov space lies in the range of H, so the solution has least norm."""
        size = len(self.gradient)
        if not noise_too and self.grad_norm <= self.noise:
            return np.zeros(size)
        hessian = sparse.LinearOperator((size, size), lambda v: self.product(v.ravel()), dtype=float)
        return sparse.minres(hessian, -self.gradient, rtol=rtol, maxiter=MAX_KRYLOV)[0]


@in_double
def quadratic_model(problem: AbstractProblem, params: Params) -> QuadraticModel:
    """Gradient, its rounding noise, and the Hessian at `params`."""
    num, product = operator(problem, params)
    is_direct = num <= hessians.DIRECT_LIMIT
    loss, gradient, changed, hessian = measured(problem, params, _changes(num), is_direct)
    with np.errstate(invalid="ignore", over="ignore"):  # a gradient that is not finite is reported as such
        roundings = changed - gradient
        size = math.sqrt(sum(float(np.sum(np.square(leaf))) for leaf in jax.tree.leaves(params)))
    return QuadraticModel(loss, gradient, roundings, hessian, product, size)


@in_double
def rounded_gradients(problem: AbstractProblem, params: Params) -> tuple[np.ndarray, np.ndarray]:
    """The gradient, and its changes when every parameter is changed by four units in the last place, some ways."""
    _, gradient, changed, _ = measured(problem, params, _changes(hessians.num_params(params)), with_hessian=False)
    with np.errstate(invalid="ignore", over="ignore"):  # a gradient that is not finite is reported as such
        return gradient, changed - gradient


@functools.lru_cache(maxsize=16)
def _changes(num: int) -> np.ndarray:
    """Relative changes of the parameters by four units in the last place, one row per draw."""
    return 4 * EPS * np.stack([np.random.default_rng(seed).choice([-1.0, 1.0], num) for seed in DRAWS])


@in_double
def newton_step(problem: AbstractProblem, params: Params) -> Float[np.ndarray, " n"]:
    """``-H^+ grad``, flattened: the step to the nearest critical point of the quadratic model.

    ``H^+`` leaves out eigenvalues and components of the gradient that are rounding. Negative eigenvalues are divided
    by as they are: the step leads to the saddle it is near. With more than :data:`DIRECT_LIMIT` parameters it is
    MINRES's least-squares solution in at most :data:`MAX_KRYLOV` products.
    """
    return quadratic_model(problem, params).newton


@in_double
def newton_distance(problem: AbstractProblem, params: Params) -> float:
    """``||H^+ grad||``: an estimate of the distance to the limit of a flow that has come near it.

    A gradient in a direction without curvature makes it very large, in a landscape without any infinite. Exact to
    second order at an isolated non-degenerate limit. Near a manifold of minima it is never less but can be a few times
    more, because curvatures along the manifold are of the order of the distance themselves; at a degenerate limit it
    is ``1/(p-1)`` of the distance for a potential of order p, e.g. half of it for a cubic. A saddle being passed counts
    as a limit: look at :func:`lowest_eigenvalue` too. NaN when the gradient is not finite.
    """
    return quadratic_model(problem, params).distance


@dataclass(frozen=True)
class Ends:
    """The ends of the spectrum at the limit of a flow, as well as they can be known from a state near it.

    `resolution` is the size below which an eigenvalue cannot be told from zero, `offset` the distance from the stable
    manifold of the lowest eigenvalue's direction v, ``|<v, grad>| / |lowest|`` (NaN when that is not finite).
    """

    lowest: float
    highest: float
    resolution: float
    offset: float


@in_double
def look_ahead(problem: AbstractProblem, params: Params, model: QuadraticModel, size: float) -> Ends:
    """The ends of the spectrum at the limit: at `params`, or one Newton step ahead when that decides a sign.

    Near a manifold of minima eigenvalues of the size of the distance have any sign; a Newton step ahead they have all
    but vanished, whereas an instability, however weak, is still there. `size` is the length scale of the parameters:
    eigenvalues are taken to change by less than 100 radii per `size` where their change is not measured.
    """
    if model.values is None:
        return _look_ahead_matrix_free(problem, params, model, size)
    lowest, highest, change = float(model.values[0]), float(model.values[-1]), CHANGE * model.radius / size
    offset = abs(float(model.components[0])) / max(abs(lowest), TINY) if model.is_finite else float("nan")
    resolution, step = model.resolution(change), float(np.linalg.norm(model.newton))
    if -min(resolution, 0.25 * model.radius) <= lowest < -model.curvature_floor and step <= 1e-2 * size:
        flat, unravel = hessians.raveled(params)
        ahead = quadratic_model(problem, unravel(flat + model.newton))
        if ahead.is_finite and ahead.values is not None:
            if step > 1e-8 * size:
                change = 10 * float(np.abs(ahead.values - model.values).max()) / step
            lowest, resolution = float(ahead.values[0]), ahead.resolution(change)
    return Ends(lowest, highest, resolution, offset)


def _look_ahead_matrix_free(problem: AbstractProblem, params: Params, model: QuadraticModel, size: float) -> Ends:
    lowest, direction = lowest_pair(model.product, len(model.gradient), model.radius)
    offset = abs(float(direction @ model.gradient)) / max(abs(lowest), TINY)
    change = CHANGE * model.radius / size
    resolution, step = model.resolution(change), float(np.linalg.norm(model.newton))
    if -min(resolution, 0.25 * model.radius) <= lowest < -LANCZOS_RESOLUTION * model.radius and step <= 1e-2 * size:
        flat, unravel = hessians.raveled(params)
        ahead = quadratic_model(problem, unravel(flat + model.newton))
        if ahead.is_finite:
            lowest = lowest_pair(ahead.product, len(model.gradient), model.radius)[0]
            resolution = ahead.resolution(change)
    return Ends(lowest, model.radius, resolution, offset)
