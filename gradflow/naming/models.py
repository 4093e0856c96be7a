"""Quadratic models at many states: eigenpairs, what rounding makes of the gradient, Newton steps, resolution.

Row by row the same quantities and thresholds as :class:`gradflow.curvature.QuadraticModel`, which says why they are
what they are. Rows never mix.
"""

import functools
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float

from gradflow.curvature.hessians import EPS
from gradflow.curvature.quadratic_models import CHANGE, DRAWS, LARGEST, TINY
from gradflow.naming.columns import MOST_COLUMNS, eigh, norms, products, taken
from gradflow.naming.evaluation import Evaluator, Flat

Values = Float[np.ndarray, " num"]


@dataclass(frozen=True, eq=False)
class Models:
    """Gradient and Hessian at some states, one row each; see :class:`gradflow.curvature.QuadraticModel`.

    Rows whose derivatives are not finite have `is_finite` False and values of no meaning.
    """

    loss: Float[np.ndarray, " num"]
    gradient: Float[np.ndarray, "num n"]
    roundings: Float[np.ndarray, "num draws n"]
    values: Float[np.ndarray, "num n"]
    vectors: Float[np.ndarray, "num n n"]
    size: Float[np.ndarray, " num"]
    is_finite: Bool[np.ndarray, " num"]

    def at(self, rows: np.ndarray) -> "Models":
        """The models of some rows."""
        return Models(**{field.name: taken(getattr(self, field.name), rows) for field in fields(self)})

    def copy(self) -> "Models":
        """The same models, for whoever is going to replace some."""
        return Models(**{field.name: getattr(self, field.name).copy(order="K") for field in fields(self)})

    def put(self, rows: np.ndarray, other: "Models") -> None:
        """Replaces some rows, in place; only for whoever made the object and has not read anything derived yet."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)

    @property
    def num_params(self) -> int:
        """Number of parameters."""
        return self.gradient.shape[1]

    @functools.cached_property
    def grad_norm(self) -> Values:
        """Euclidean norms of the gradients."""
        return norms(self.gradient)

    @functools.cached_property
    def noise(self) -> Values:
        """Gradient norms below which nothing but rounding need be left."""
        return 4.0 * np.max([norms(self.roundings[:, draw]) for draw in range(len(DRAWS))], axis=0)

    @functools.cached_property
    def radius(self) -> Values:
        """Spectral radii."""
        return np.abs(self.values).max(axis=1)

    @functools.cached_property
    def curvature_floor(self) -> Values:
        """Sizes below which an eigenvalue is rounding of the largest."""
        return 16 * self.num_params * EPS * self.radius

    @functools.cached_property
    def components(self) -> Float[np.ndarray, "num n"]:
        """The gradients in the eigenbases."""
        return products(self.gradient, self.vectors)

    @functools.cached_property
    def noise_components(self) -> Float[np.ndarray, "num n"]:
        """Sizes below which the components are rounding."""
        leaked = 4 * EPS * np.sqrt(self.num_params) * self.grad_norm
        largest = np.abs(products(self.roundings[:, 0], self.vectors))
        for draw in range(1, len(DRAWS)):
            largest = np.maximum(largest, np.abs(products(self.roundings[:, draw], self.vectors)))
        return 4.0 * largest + leaked[:, None]

    @functools.cached_property
    def has_curvature(self) -> Bool[np.ndarray, "num n"]:
        """Which eigenvalues are more than rounding."""
        return np.abs(self.values) > self.curvature_floor[:, None]

    @functools.cached_property
    def is_worth_a_step(self) -> Bool[np.ndarray, "num n"]:
        """Which components are more than rounding and lead anywhere."""
        sizes = np.maximum(np.abs(self.values), TINY)
        is_large = np.abs(self.components) > (self.noise / np.sqrt(self.num_params))[:, None]
        away = norms(np.where(is_large & self.has_curvature, self.components / sizes, 0.0))
        is_steep = sizes > (CHANGE * self.radius * away / np.maximum(self.size, TINY))[:, None]
        return (np.abs(self.components) > self.noise_components) & (is_large | is_steep)

    def step(self, cutoff: float = 0.0) -> Flat:
        """``-H^+ gradient``, without noise and without eigenvalues below `cutoff` times the radius."""
        kept = self.has_curvature & self.is_worth_a_step
        kept = kept & (np.abs(self.values) > cutoff * self.radius[:, None])
        quotients = np.where(kept, self.components / np.where(kept, self.values, 1.0), 0.0)
        steps = -products(quotients, self.vectors.transpose(0, 2, 1))
        return np.where(self.is_finite[:, None], steps, 0.0)

    @functools.cached_property
    def newton(self) -> Flat:
        """The full Newton steps."""
        return self.step()

    @functools.cached_property
    def distance(self) -> Values:
        """How far the limits of the flow are, at least; see :attr:`gradflow.curvature.QuadraticModel.distance`."""
        sizes = np.maximum(np.abs(self.values), np.maximum(self.curvature_floor, TINY)[:, None])
        known = np.abs(self.components) > self.noise_components
        far = norms(np.where(known, self.components / sizes, 0.0))
        return np.where(self.is_finite, far, np.nan)

    def resolution_of_flow(self, length: Values) -> Values:
        """Sizes of the largest eigenvalues that cannot be told from zero at the limits of flows that are here.

        `length` is the length scale of the parameters; see :meth:`gradflow.curvature.QuadraticModel.resolution`.
        """
        order = np.argsort(-np.abs(self.values), axis=1, kind="stable")
        sizes = np.take_along_axis(np.abs(self.values), order, axis=1)
        errors = np.take_along_axis(np.abs(self.components) + self.noise_components, order, axis=1)
        errors = errors / np.maximum(sizes, np.maximum(self.curvature_floor, TINY)[:, None])
        total = np.sqrt(np.cumsum(errors**2, axis=1))
        reached = (sizes[:, None, :] >= 0.1 * sizes[:, :, None]).sum(axis=2) - 1
        change = CHANGE * self.radius / length
        unresolved = change[:, None] * np.take_along_axis(total, reached, axis=1) > sizes
        unresolved = unresolved | ~np.take_along_axis(self.has_curvature, order, axis=1)
        return _first(unresolved, sizes)

    def resolution_of_position(self, change: Values, factor: float) -> Values:
        """The same for refined states, whose eigenvalues change by `change` per distance (critical_points.refine)."""
        order = np.argsort(-np.abs(self.values), axis=1, kind="stable")
        sizes = np.take_along_axis(np.abs(self.values), order, axis=1)
        components = np.take_along_axis(self.components, order, axis=1)
        ratios = np.where(sizes > 0, components / np.where(sizes > 0, sizes, 1.0), 0.0)
        uncertainty = (factor * change)[:, None] * np.sqrt(np.cumsum(ratios**2, axis=1))
        return _first((uncertainty > sizes) & (sizes > 0), sizes)

    def resolution_of_gradient(self, reach: Values) -> Values:
        """The largest eigenvalues along which rounding of the gradient hides where it vanishes by more than `reach`."""
        sizes = np.abs(self.values)
        return np.max(np.where(self.noise_components > sizes * reach[:, None], sizes, 0.0), axis=1, initial=0.0)


def quadratic_models(evaluate: Evaluator, flat: Flat) -> Models:
    """The quadratic models at the rows of `flat`."""
    derivatives = evaluate.derivatives(flat)
    num, n = flat.shape
    roundings = np.empty((num, len(DRAWS), n), order="F" if n < MOST_COLUMNS else "C")
    for draw, seed in enumerate(DRAWS):
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], n)
        roundings[:, draw] = evaluate.gradients(flat * (1.0 + 4 * EPS * signs)) - derivatives.gradient
    hessian = derivatives.hessian
    is_finite = (np.abs(hessian).max(axis=(1, 2), initial=0.0) < LARGEST) & np.isfinite(hessian).all(axis=(1, 2))
    is_finite &= (np.abs(derivatives.gradient) < LARGEST).all(axis=1) & np.isfinite(roundings).all(axis=(1, 2))
    values, vectors = eigh(np.where(is_finite[:, None, None], hessian, 0.0))
    return Models(
        loss=derivatives.loss,
        gradient=np.where(is_finite[:, None], derivatives.gradient, np.nan),
        roundings=np.where(is_finite[:, None, None], roundings, 0.0),
        values=values,
        vectors=vectors,
        size=norms(flat),
        is_finite=is_finite,
    )


def _first(condition: Bool[np.ndarray, "num n"], sizes: Float[np.ndarray, "num n"]) -> Values:
    """In each row the size at the first place where the condition holds, 0.0 where there is none."""
    where = np.argmax(condition, axis=1)
    return np.where(condition.any(axis=1), np.take_along_axis(sizes, where[:, None], axis=1)[:, 0], 0.0)
