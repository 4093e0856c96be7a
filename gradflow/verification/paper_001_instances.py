"""Random instances for the statements of paper 001, and oracles that share no code with what they judge.

The loss is written out once more on the samples; first and second derivatives along a line come from interpolating it,
which is exact because it is a quartic there. Knows nothing of any statement.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
from jaxtyping import Float

from gradflow import checks, networks
from gradflow.critical_sets import balanced
from gradflow.critical_sets.balanced.sampling import orthogonal
from gradflow.critical_sets.balanced.setting import Layers
from gradflow.critical_sets.classes import CriticalClass
from gradflow.problem import Regression
from gradflow.regularizers import Balance

SMALL = 1e-9
"""What counts as zero for eigenvalues and losses of these instances, whose scale is one."""

ROUNDING = 1e-9
"""Allowed error of identities, relative to the largest term: rounding grows with mu up to 100 and cond(X) up to 4."""


@dataclass(frozen=True)
class Instance:
    """Data, width and strength. `weighted` says which of the two regularisers the problem has."""

    X: Float[np.ndarray, "d_0 samples"]
    Y: Float[np.ndarray, "d_2 samples"]
    units: int
    strength: float
    weighted: bool = True

    @property
    def widths(self) -> tuple[int, int, int]:
        """``(d_0, d_1, d_2)``."""
        return self.X.shape[0], self.units, self.Y.shape[0]

    @property
    def gram(self) -> Float[np.ndarray, "d_0 d_0"]:
        """``X X^T``, or the identity."""
        return self.X @ self.X.T if self.weighted else np.eye(self.X.shape[0])

    @property
    def spectrum(self) -> Float[np.ndarray, " values"]:
        """The lambdas: singular values of ``Y X^+ X``, zeros included, descending."""
        return np.linalg.svd(self.Y @ np.linalg.pinv(self.X) @ self.X, compute_uv=False)

    @property
    def scales(self) -> Float[np.ndarray, " rank"]:
        """The sigmas: nonzero singular values of X, descending."""
        values = np.linalg.svd(self.X, compute_uv=False)
        return values[values > SMALL * values[0]]

    @property
    def least_loss(self) -> float:
        """The global minimum of the loss by Eckart and Young: a computation without any critical point."""
        return 0.5 * (float(np.sum(self.Y**2)) - float(np.sum(self.spectrum[: self.units] ** 2)))

    def problem(self, regularised: bool = True) -> Regression:
        """The library's problem, with or without the regulariser."""
        term = Balance(self.strength, self.X if self.weighted else None) if regularised else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", checks.HypothesisWarning)
            return Regression(networks.Linear(self.widths), self.X, self.Y, regularizer=term)

    def loss(self, params: Layers, strength: float | None = None) -> float:
        """``1/2 ||W_2 W_1 X - Y||^2 + mu/4 ||W_2^T W_2 - W_1 G W_1^T||^2``."""
        first, second = params
        strength = self.strength if strength is None else strength
        defect = second.T @ second - first @ self.gram @ first.T
        return 0.5 * float(np.sum((second @ first @ self.X - self.Y) ** 2)) + 0.25 * strength * float(np.sum(defect**2))

    def derivatives(self, params: Layers, direction: Layers, strength: float | None = None) -> tuple[float, float]:
        """First and second derivative along a line, exact up to rounding (five points of a quartic)."""
        step = 0.5
        at = [
            self.loss((params[0] + t * step * direction[0], params[1] + t * step * direction[1]), strength)
            for t in (-2, -1, 0, 1, 2)
        ]
        slope = (at[0] - 8.0 * at[1] + 8.0 * at[3] - at[4]) / (12.0 * step)
        return slope, (-at[0] + 16.0 * at[1] - 30.0 * at[2] + 16.0 * at[3] - at[4]) / (12.0 * step**2)

    def gradient(self, params: Layers, strength: float | None = None) -> Layers:
        """Eqs. (19)-(20)."""
        first, second = params
        strength = self.strength if strength is None else strength
        defect = second.T @ second - first @ self.gram @ first.T
        residual = (second @ first @ self.X - self.Y) @ self.X.T
        return (
            second.T @ residual - strength * defect @ first @ self.gram,
            residual @ first.T + strength * second @ defect,
        )

    def hessian(self, params: Layers, strength: float | None = None) -> Float[np.ndarray, "n n"]:
        """The Hessian by complex-free polarisation of the gradient, a cubic on every line (four points)."""
        shapes, flat = [layer.shape for layer in params], _flat(params)
        columns = []
        for unit in np.eye(flat.size):
            at = [_flat(self.gradient(_unflat(flat + t * unit, shapes), strength)) for t in (-2.0, -1.0, 1.0, 2.0)]
            columns.append((at[0] - 8.0 * at[1] + 8.0 * at[2] - at[3]) / 12.0)
        return np.array(columns)

    def critical_points(self, rng: np.random.Generator, starts: int) -> list[Layers]:
        """Critical points of the regularised loss found from random starts, to a gradient of 1e-11 or dropped."""
        shapes: list[tuple[int, ...]] = [(self.units, self.X.shape[0]), (self.Y.shape[0], self.units)]
        found = []
        for _ in range(starts):
            start = rng.normal(size=sum(a * b for a, b in shapes)) * rng.uniform(0.2, 1.5)
            solved = scipy.optimize.least_squares(
                lambda flat: _flat(self.gradient(_unflat(flat, shapes))), start,
                xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=200,
            )  # fmt: skip
            if np.linalg.norm(solved.fun) < 1e-11:
                found.append(_unflat(solved.x, shapes))
        return found


def draw(
    rng: np.random.Generator,
    *,
    full: bool | None = None,
    units: str = "any",
    weighted: bool = True,
    distinct: bool = False,
    rank: int | None = None,
) -> Instance:
    """Dimensions 1 to 4, sigma in [0.5, 2], lambda from a short list with gaps (so often equal), mu in [0.01, 100].

    Args:
        rng: the source of randomness.
        full: whether X has full row rank; drawn when None.
        units: ``"any"``, ``"narrow"`` (d_1 < r) or ``"wide"`` (d_1 >= r).
        weighted: which regulariser.
        distinct: lambdas pairwise different.
        rank: r, drawn when None, at least 1.
    """
    inputs, outputs = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    if units == "narrow" or (rank or 0) > 1:
        inputs, outputs = max(inputs, rank or 2), max(outputs, rank or 2)
    full = bool(rng.integers(2)) if full is None else full
    most = inputs if full else max(inputs - 1, 2 if units == "narrow" else 1, rank or 1)
    inputs = max(inputs, most)
    data_rank = most if full else int(rng.integers(max(1, rank or 0, 2 if units == "narrow" else 0), most + 1))
    samples = data_rank + int(rng.integers(0, 3))
    positive = rank or int(rng.integers(2 if units == "narrow" else 1, min(outputs, data_rank) + 1))
    pool = np.array([0.5, 1.0, 1.7, 2.5])
    values = rng.choice(pool, positive, replace=not distinct)
    right = orthogonal(samples, rng)[:, :data_rank]
    X = (orthogonal(inputs, rng)[:, :data_rank] * rng.uniform(0.5, 2.0, data_rank)) @ right.T
    Y = (orthogonal(outputs, rng)[:, :positive] * values) @ (right @ orthogonal(data_rank, rng)[:, :positive]).T
    Y = Y + rng.normal(size=Y.shape) @ (np.eye(samples) - right @ right.T)
    width = {"any": rng.integers(1, 5), "narrow": rng.integers(1, max(positive, 2)), "wide": positive + rng.integers(3)}
    return Instance(X, Y, int(width[units]), float(10.0 ** rng.uniform(-2.0, 2.0)), weighted)


def critical_point_of_loss(rng: np.random.Generator, instance: Instance) -> tuple[Layers, int]:
    """A critical point of the loss without regulariser, any gauge, balanced or not, and the rank of its ``W_2``.

    Paper 002, Theorem 1: ``W_2 = S C_top, W_1 = C^{-1} [S^T Y X^+ + M (I - X X^+); M' N]``, S spans left singular
    directions (zero ones included), N annihilates ``X Y^T (I - S S^T)``.
    """
    inputs, units, outputs = instance.widths
    left, values, _ = np.linalg.svd(instance.Y @ np.linalg.pinv(instance.X) @ instance.X)
    values = np.pad(values, (0, outputs))[:outputs]
    for value in np.unique(values.round(6)):
        group = np.abs(values - value) < 1e-5
        left[:, group] = left[:, group] @ orthogonal(int(group.sum()), rng)
    rank = int(rng.integers(0, min(units, outputs) + 1))
    span = left[:, rng.permutation(outputs)[:rank]]
    change = (orthogonal(units, rng) * rng.uniform(0.4, 2.5, units)) @ orthogonal(units, rng)
    inverse = np.linalg.pinv(instance.X)
    gap = instance.X @ instance.Y.T @ (np.eye(outputs) - span @ span.T)
    kernel = np.eye(inputs) - gap @ np.linalg.pinv(gap, rcond=1e-9 / max(float(np.linalg.norm(gap, 2)), 1e-9))
    free = rng.normal(size=(units, inputs))
    top = span.T @ instance.Y @ inverse + free[:rank] @ (np.eye(inputs) - instance.X @ inverse)
    first = np.linalg.solve(change, np.vstack([top, free[rank:] @ kernel]))
    return (first, span @ change[:rank]), rank


def state(rng: np.random.Generator, instance: Instance) -> Layers:
    """A standard normal state."""
    inputs, units, outputs = instance.widths
    return rng.normal(size=(units, inputs)), rng.normal(size=(outputs, units))


def critical_point(rng: np.random.Generator, **settings: Any) -> tuple[Instance, Layers, CriticalClass]:
    """An instance (settings of :func:`draw`), a critical point of its regularised loss, and the class of that."""
    instance = draw(rng, **settings)
    problem = instance.problem()
    params = balanced.random_member(problem, rng)
    return instance, params, balanced.describe(problem, balanced.decompose(problem, params).counts)


def saddles(rng: np.random.Generator, count: int, **settings: Any) -> Iterator[tuple[Instance, Layers, CriticalClass]]:
    """As :func:`critical_point`, `count` of them, global minima passed over."""
    found = 0
    while found < count:
        instance, params, member = critical_point(rng, **settings)
        if not member.is_global:
            found += 1
            yield instance, params, member


def norm(params: Layers) -> float:
    """Frobenius norm of all layers together."""
    return float(np.sqrt(sum(float(np.sum(np.asarray(layer) ** 2)) for layer in params)))


def _flat(params: Layers) -> Float[np.ndarray, " n"]:
    return np.concatenate([np.asarray(layer).ravel() for layer in params])


def _unflat(flat: np.ndarray, shapes: list[tuple[int, ...]]) -> tuple[np.ndarray, ...]:
    cut = shapes[0][0] * shapes[0][1]
    return flat[:cut].reshape(shapes[0]), flat[cut:].reshape(shapes[1])
