"""Random gradient flows with start, horizon and tolerances: what the automatic choice has to survive.

Shapes come from short lists, so that compiled programs are used again; data, scales, conditioning, horizons and
tolerances are drawn anew for each. A pair is fixed by its number.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import fields
import jax.numpy as jnp
import numpy as np

import gradflow as gf

Field = Callable[[np.ndarray], np.ndarray]

LINEAR = ((3, 2), (1, 1, 1), (2, 3, 2), (4, 4, 3), (2, 2, 2, 2), (3, 5, 4, 2), (1, 1, 1, 1, 1), (2, 3, 3, 3, 2))
SHALLOW = ((1, 3, 1), (2, 4, 1), (3, 5, 2), (4, 8, 3))
RESIDUAL = ((1, 3, 2), (2, 2, 1), (2, 3, 2), (4, 2, 2))
QUARTIC_DIMS = (1, 2, 3, 6)
QUADRATIC_DIMS = (2, 5, 20)


class Quartic(eqx.Module):
    """``1/4 sum_i a_i (B x)_i^4 + 1/2 x^T S x + c^T x`` with a > 0: coercive, with S of either sign."""

    strength: Any
    forms: Any
    quadratic: Any
    slope: Any

    def __call__(self, x: Any) -> Any:
        """The potential."""
        forms = self.forms @ x
        return 0.25 * jnp.sum(self.strength * forms**4) + 0.5 * x @ (self.quadratic @ x) + self.slope @ x


class Quadratic(eqx.Module):
    """``1/2 (x - c)^T Q (x - c)``."""

    curvature: Any
    centre: Any

    def __call__(self, x: Any) -> Any:
        """The potential."""
        return 0.5 * (x - self.centre) @ (self.curvature @ (x - self.centre))


@dataclass(frozen=True)
class Pair:
    """A problem with start and horizon, and the tolerance asked of it; `velocity` is its field on NumPy vectors."""

    number: int
    kind: str
    words: str
    problem: Any
    params0: Any
    velocity: Field
    t1: float
    rtol: float


def draw(number: int) -> Pair:
    """The pair of that number."""
    rng = np.random.default_rng((20, number))
    makers = {"linear": _linear, "tanh": _shallow, "logistic": _shallow, "residual": _residual, "quartic": _quartic,
              "quadratic": _quadratic}  # fmt: skip
    kind = str(rng.choice(list(makers)))
    t1, rtol = 10.0 ** rng.uniform(-2, 4), 10.0 ** rng.uniform(-10, -3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        words, problem, params0, velocity = makers[kind](rng, kind)
    return Pair(number, kind, words, problem, params0, velocity, float(t1), float(rtol))


def _pick(rng: np.random.Generator, shapes: tuple) -> Any:
    return shapes[int(rng.integers(len(shapes)))]


def _inputs(rng: np.random.Generator, features: int, samples: int) -> tuple[np.ndarray, float]:
    """Gaussian inputs with the singular values of X/sqrt(n) geometric from 1 to 1/condition."""
    condition = 10.0 ** rng.uniform(0, 2)
    left, values, right = np.linalg.svd(rng.standard_normal((features, samples)), full_matrices=False)
    return left * (np.sqrt(samples) * np.geomspace(1.0, 1.0 / condition, len(values))) @ right, condition


def _linear(rng: np.random.Generator, kind: str) -> tuple:
    widths = _pick(rng, LINEAR)
    inputs, condition = _inputs(rng, widths[0], 12)
    targets = 10.0 ** rng.uniform(-1, 1) * rng.standard_normal((widths[-1], 12))
    scale = 10.0 ** rng.uniform(-1.5, 0.3)
    problem = gf.Regression(gf.networks.Linear(widths), inputs, targets, normalization="mean")
    params0 = tuple(scale * rng.standard_normal(shape) for shape in problem.network.shapes)
    statistics = problem.statistics
    velocity = fields.linear_velocity(
        tuple(problem.network.shapes), np.asarray(statistics.root), np.asarray(statistics.target)
    )
    return f"{kind} {widths}, condition {condition:.0f}, weights {scale:.2g}", problem, params0, velocity


def _shallow(rng: np.random.Generator, kind: str) -> tuple:
    widths = _pick(rng, SHALLOW)
    inputs, condition = _inputs(rng, widths[0], 10)
    targets = 10.0 ** rng.uniform(-1, 0.7) * rng.standard_normal((widths[2], 10))
    scale = 10.0 ** rng.uniform(-1.5, 0.5)
    problem = gf.Regression(gf.networks.Shallow(widths, kind), inputs, targets, normalization="mean")
    params0 = tuple(scale * rng.standard_normal(shape) for shape in problem.network.shapes)
    velocity = fields.shallow_velocity(inputs, targets, widths[1], kind)
    return f"{kind} {widths}, condition {condition:.0f}, weights {scale:.2g}", problem, params0, velocity


def _residual(rng: np.random.Generator, kind: str) -> tuple:
    dim, units, depth = _pick(rng, RESIDUAL)
    inputs, condition = _inputs(rng, dim, 8)
    targets = 10.0 ** rng.uniform(-1, 0.5) * rng.standard_normal((dim, 8))
    scale = 10.0 ** rng.uniform(-1.5, 0)
    problem = gf.Regression(gf.networks.Residual(dim, units, depth), inputs, targets, normalization="mean")
    params0 = tuple(scale * rng.standard_normal((dim, dim)) for _ in range(units * depth))
    velocity = fields.residual_velocity(inputs, targets, units, depth)
    return f"{kind} {dim}x{units}x{depth}, condition {condition:.0f}, weights {scale:.2g}", problem, params0, velocity


def _quartic(rng: np.random.Generator, kind: str) -> tuple:
    dim = _pick(rng, QUARTIC_DIMS)
    strength, forms = 10.0 ** rng.uniform(-1, 1, dim), rng.standard_normal((dim, dim))
    symmetric = 10.0 ** rng.uniform(-1, 1) * rng.standard_normal((dim, dim))
    symmetric = 0.5 * (symmetric + symmetric.T)
    slope, scale = rng.standard_normal(dim), 10.0 ** rng.uniform(-2, 0.7)
    start = scale * rng.standard_normal(dim)
    problem = gf.Landscape(Quartic(strength, forms, symmetric, slope), name="quartic")
    velocity = lambda y: -(forms.T @ (strength * (forms @ y) ** 3) + symmetric @ y + slope)  # noqa: E731
    return f"{kind} in {dim} dimensions, start {scale:.2g}", problem, start, velocity


def _quadratic(rng: np.random.Generator, kind: str) -> tuple:
    dim, stiffness = _pick(rng, QUADRATIC_DIMS), 10.0 ** rng.uniform(0, 6)
    turn, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    curvature = turn * np.geomspace(1.0, stiffness, dim) @ turn.T
    curvature = 0.5 * (curvature + curvature.T)
    centre, start = rng.standard_normal(dim), 3 * rng.standard_normal(dim)
    problem = gf.Landscape(Quadratic(curvature, centre), name="quadratic")
    return f"{kind} in {dim} dimensions, stiffness {stiffness:.1e}", problem, start, lambda y: curvature @ (centre - y)
