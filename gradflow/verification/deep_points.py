"""Instances for the statements on deep linear networks: problems, critical points of all kinds, a Hessian in numpy.

The derivatives are the product rule applied to every layer, written apart from the library's; tests compare them
with the
problem's own. Knows no statement.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from gradflow import checks, networks
from gradflow.critical_sets import deep_linear
from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.deep_linear.construction import block_shapes, problem_spectrum, random_invertible
from gradflow.critical_sets.shallow_linear.spectrum import DataSpectrum
from gradflow.problem import Regression
from gradflow.types import Array, Weights

# widths, rank of X, singular values of the target (None: random): H = 1 to 3, bottlenecks, equal and zero values
SHAPES: tuple[tuple[tuple[int, ...], int | None, tuple[float, ...] | None], ...] = (
    ((4, 3, 2, 3), None, None),
    ((4, 3, 2, 3), None, (2.0, 2.0, 1.0)),
    ((4, 3, 2, 3), 2, (3.0, 0.0)),
    ((3, 3, 1, 3), None, None),
    ((3, 2, 3, 2, 2), None, None),
    ((3, 2, 3, 2, 2), 2, (2.0, 2.0)),
    ((4, 3, 3), 3, (2.0, 1.0, 1.0)),
)

FULL_RANK_SHAPES: tuple[tuple[tuple[int, ...], tuple[float, ...] | None], ...] = (
    ((4, 3, 3), (3.0, 2.0, 1.0)),
    ((4, 3, 2, 3), None),
    ((3, 3, 2, 2, 2), (2.0, 1.0)),
    ((3, 2, 3, 3), (2.0, 2.0, 1.0)),
)
"""Widths and singular values with d_y <= d_x: H = 1, 2, 3, with and without a last block W_12, and a repeated value."""

TWO_HIDDEN: tuple[tuple[int, ...], tuple[float, ...] | None] = ((5, 4, 4, 3), None)


@dataclass(frozen=True)
class DeepPoint:
    """A critical point with the pattern it was built with."""

    problem: Regression
    params: Weights
    counts: tuple[int, ...]
    num_zero: int
    family: str

    @property
    def described(self) -> str:
        """Widths, captured counts and family."""
        widths = (self.problem.network.shapes[0][1], *(rows for rows, _ in self.problem.network.shapes))
        return f"widths {'-'.join(map(str, widths))}, p = {self.counts}, p_bar = {self.num_zero}, {self.family}"


def quiet_problem(widths: Sequence[int], X: np.ndarray, Y: np.ndarray) -> Regression:
    """A regression without the warnings about missing rank and equal values, which are meant here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        return Regression(networks.Linear(tuple(widths)), X, Y)


def diagonal_problem(widths: Sequence[int], values: Sequence[float]) -> Regression:
    """``X = I`` and the target ``[diag(values) 0]``."""
    target = np.zeros((widths[-1], widths[0]))
    target[range(len(values)), range(len(values))] = values
    return quiet_problem(widths, np.eye(widths[0]), target)


def random_problem(rng: np.random.Generator, number: int | None = None) -> Regression:
    """Random data of one of the :data:`SHAPES`, with noise that no linear map of X explains."""
    widths, rank, values = SHAPES[rng.integers(len(SHAPES)) if number is None else number]
    d_in, d_out = widths[0], widths[-1]
    rank = rank or d_in
    right = _orthogonal(rng, d_in + 3)
    X = _orthogonal(rng, d_in)[:, :rank] * rng.uniform(0.5, 2, size=rank) @ right[:rank]
    size = min(d_out, rank)
    chosen = np.sort(rng.uniform(0.5, 3, size=size))[::-1] if values is None else np.array(values[:size])
    target = _orthogonal(rng, d_out)[:, :size] * chosen @ _orthogonal(rng, rank)[:size]
    noise = 0.3 * rng.normal(size=(d_out, d_in + 3 - rank))
    return quiet_problem(widths, X, target @ right[:rank] + noise @ right[rank:])


def random_point(rng: np.random.Generator, problem: Regression | None = None) -> DeepPoint:
    """A point of block form with a random pattern (the largest values in most cases) and a random family of blocks."""
    problem = random_problem(rng) if problem is None else problem
    spectrum = problem_spectrum(problem)
    shapes = problem.network.shapes
    limit = min(rows for rows, _ in shapes)
    sizes = [*spectrum.multiplicities, spectrum.num_zero]
    owners = np.repeat(np.arange(len(sizes)), sizes)
    k = int(rng.integers(0, min(limit, len(owners)) + 1))
    chosen = owners[:k] if rng.random() < 0.6 else rng.permutation(owners)[:k]
    numbers = [int(np.sum(chosen == index)) for index in range(len(sizes))]
    counts, num_zero = tuple(numbers[:-1]), numbers[-1]
    family = str(rng.choice([name for name in deep_linear.FAMILIES if len(shapes) > 2 or name != "outer_annihilated"]))
    layers = np.arange(1, len(shapes) + 1)
    zero = {
        "two_zero": rng.permutation(layers)[:2],
        "first_annihilated": rng.permutation(layers[1:])[:1],
        "outer_annihilated": rng.permutation(layers[1:-1])[:1],
        "all_zero": layers[:0],
    }[family]
    blocks = [_low_rank(rng, rows, columns) for rows, columns in block_shapes(problem, k)]
    bases = [_orthogonal(rng, size)[:, :number] for size, number in zip(sizes, numbers, strict=True)]
    fitted = deep_linear.fitted_blocks(
        problem, counts, num_zero, blocks=blocks, family=family, zero=zero.tolist(), bases=bases
    )
    params = deep_linear.construct(
        problem, counts, num_zero, bases=bases, blocks=fitted, mixings=random_mixings(rng, problem),
        free=rng.normal(size=(k, shapes[0][1])),
    )  # fmt: skip
    return DeepPoint(problem, params, counts, num_zero, family)


def points(rng: np.random.Generator, count: int) -> Iterator[DeepPoint]:
    """Points of eight at a time on one problem, so that not every point has a new shape."""
    problem = random_problem(rng)
    for number in range(count):
        problem = random_problem(rng) if number and number % 8 == 0 else problem
        yield random_point(rng, problem)


def random_member(rng: np.random.Generator, problem: Regression) -> tuple[CriticalClass, Weights]:
    """A random class of a problem and a random member of it."""
    classes = deep_linear.enumerate_classes(problem)
    chosen = classes[rng.integers(len(classes))]
    return chosen, deep_linear.sample(problem, chosen, rng)


def random_mixings(rng: np.random.Generator, problem: Regression) -> list[np.ndarray]:
    """Invertible matrices of condition below 3 for every hidden layer."""
    return [random_invertible(rng, rows) for rows, _ in problem.network.shapes[:-1]]


def random_declaration(rng: np.random.Generator, problem: Regression) -> Callable:
    """Patterns for the recursion that fit whatever spectrum it meets."""

    def declare(k: int, spectrum: DataSpectrum) -> tuple[list[int], int]:
        sizes = [*spectrum.multiplicities, spectrum.num_zero]
        room = problem.network.shapes[k][0]
        chosen = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))[: rng.integers(room + 1)]
        counts = [int(np.sum(chosen == index)) for index in range(len(sizes))]
        return counts[:-1], counts[-1]

    return declare


def full_rank_problem(rng: np.random.Generator, shape: tuple[tuple[int, ...], tuple[float, ...] | None]) -> Regression:
    """Random data with a target of full rank."""
    widths, values = shape
    d_in, d_out = widths[0], widths[-1]
    chosen = np.sort(rng.uniform(0.5, 3, size=d_out))[::-1] if values is None else np.array(values)
    X = rng.normal(size=(d_in, d_in + 2))
    _, _, right = np.linalg.svd(X, full_matrices=False)
    left = np.linalg.qr(rng.normal(size=(d_out, d_out)))[0]
    turn = np.linalg.qr(rng.normal(size=(d_in, d_in)))[0][:, :d_out]
    return quiet_problem(widths, X, (left * chosen) @ turn.T @ right)


def members(
    rng: np.random.Generator, count: int, shapes: tuple = FULL_RANK_SHAPES, per_problem: int = 6
) -> Iterator[tuple[Regression, CriticalClass, Weights]]:
    """Members of random classes, a few on each problem."""
    for number in range(count):
        if number % per_problem == 0:
            problem = full_rank_problem(rng, shapes[number // per_problem % len(shapes)])
            classes = deep_linear.enumerate_classes(problem)
        item = classes[rng.integers(len(classes))]
        yield problem, item, deep_linear.sample(problem, item, rng)


def named(item: CriticalClass) -> str:
    """Category and pattern, for the description of a trial."""
    return f"{item.category}, p = {item.pattern['counts']}, ranks {item.pattern['ranks']}"


def largest(matrix: Array) -> float:
    """Largest absolute entry, 0 without entries."""
    return float(np.max(np.abs(matrix))) if matrix.size else 0.0


# --- derivatives ------------------------------------------------------------------------------------------------------


def loss(problem: Regression, params: Weights) -> float:
    """``1/2 ||W_l ... W_1 R - T||^2`` and the irreducible part."""
    root, target = _statistics(problem)
    product = np.linalg.multi_dot([*(np.asarray(layer) for layer in reversed(params)), root])
    return 0.5 * float(np.sum((product - target) ** 2)) + problem.irreducible


def gradient(problem: Regression, params: Weights) -> np.ndarray:
    """The gradient, flattened row-major in acting order."""
    return _gradient_and_slope(problem, params, tuple(np.zeros_like(layer) for layer in params))[0]


def gradient_size(problem: Regression, params: Weights) -> float:
    """Norm of the gradient over the problem's."""
    return float(np.linalg.norm(gradient(problem, params))) / (problem.gradient_scale or 1.0)


def hessian(problem: Regression, params: Weights) -> np.ndarray:
    """The Hessian, a column for every basis vector."""
    size = sum(layer.size for layer in params)
    return np.column_stack([_gradient_and_slope(problem, params, unflatten(row, params))[1] for row in np.eye(size)])


def inertia(problem: Regression, params: Weights) -> tuple[int, int]:
    """Negative and zero eigenvalues of the Hessian, zero below 1e-9 of its scale."""
    values = np.linalg.eigvalsh(hessian(problem, params))
    zero = 1e-9 * max((problem.gradient_scale or 1.0) / problem.weight_scale, float(np.abs(values).max()))
    return int(np.sum(values < -zero)), int(np.sum(np.abs(values) <= zero))


def flatten(layers: Sequence[Array]) -> np.ndarray:
    """One vector, row-major in acting order."""
    return np.concatenate([np.ravel(layer) for layer in layers])


def unflatten(vector: np.ndarray, params: Weights) -> Weights:
    """The inverse of :func:`flatten`, in the shapes of `params`."""
    ends = np.cumsum([0, *(layer.size for layer in params)])
    return tuple(vector[a:b].reshape(layer.shape) for a, b, layer in zip(ends[:-1], ends[1:], params, strict=True))


def random_direction(rng: np.random.Generator, params: Weights) -> Weights:
    """Standard normal entries."""
    return tuple(rng.normal(size=layer.shape) for layer in params)


def found_roots(rng: np.random.Generator, problem: Regression, count: int) -> Iterator[tuple[Weights, float]]:
    """Least-squares zeros of the gradient from random starts, with their relative gradient."""
    shapes = problem.network.shapes
    like = tuple(np.zeros(shape) for shape in shapes)
    for _ in range(count):
        start = problem.weight_scale * rng.normal(size=sum(layer.size for layer in like))
        found = least_squares(
            lambda flat: gradient(problem, unflatten(flat, like)),
            start,
            jac=lambda flat: hessian(problem, unflatten(flat, like)),
            xtol=1e-15,
            ftol=1e-15,
            gtol=None,
            max_nfev=200,
        )
        params = unflatten(found.x, like)
        yield params, gradient_size(problem, params)


def _gradient_and_slope(problem: Regression, params: Weights, direction: Weights) -> tuple[np.ndarray, np.ndarray]:
    """The gradient and its derivative along a direction, by the product rule on every factor."""
    root, target = _statistics(problem)
    layers, moves = [[np.asarray(layer) for layer in group] for group in (params, direction)]
    before = [(root, np.zeros_like(root))]
    after = [(np.eye(len(target)), np.zeros((len(target), len(target))))]
    for layer, moved in zip(layers, moves, strict=True):
        value, slope = before[-1]
        before.append((layer @ value, moved @ value + layer @ slope))
    for layer, moved in zip(reversed(layers[1:]), reversed(moves[1:]), strict=True):
        value, slope = after[0]
        after.insert(0, (value @ layer, slope @ layer + value @ moved))
    error, error_slope = before[-1][0] - target, before[-1][1]
    parts, slopes = [], []
    for (back, back_slope), (front, front_slope) in zip(after, before[:-1], strict=True):
        parts.append((back.T @ error @ front.T).ravel())
        slope = back_slope.T @ error @ front.T + back.T @ error_slope @ front.T + back.T @ error @ front_slope.T
        slopes.append(slope.ravel())
    return np.concatenate(parts), np.concatenate(slopes)


def _statistics(problem: Regression) -> tuple[np.ndarray, np.ndarray]:
    assert problem.statistics is not None
    return np.asarray(problem.statistics.root), np.asarray(problem.statistics.target)


def _orthogonal(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(size, size)))[0]


def _low_rank(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    rank = int(rng.integers(0, min(rows, columns) + 1)) if min(rows, columns) > 0 else 0
    return rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))
