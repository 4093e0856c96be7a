"""Instances and independent answers for the statements of paper 002 on ReLU networks.

Small random problems, half of them with integer data so that points on the boundaries of cones occur; closed forms
written with pseudoinverses; existence by the theorem of the alternative and by random search; descent from random
starts. Nothing here uses the linear programs that it is compared with.
"""

from collections.abc import Iterator

import numpy as np
from scipy.optimize import minimize, nnls

from gradflow import networks
from gradflow.critical_sets import relu_cones
from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.relu_cones.cones import dead_row
from gradflow.critical_sets.relu_cones.linear_programs import complement
from gradflow.critical_sets.relu_cones.pieces import Piece, piece_of
from gradflow.critical_sets.relu_cones.regressions import Layers, ReluData, relu_data
from gradflow.problem import Regression

EXAMPLE_1 = np.eye(2), np.diag([2.0, 1.0])
CAVEAT = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]), np.array([[1.0, 2.0, 0.0]])
KINK = np.array([[1.0, 1.0, 0.0], [0.2, -0.1, 1.0]]), np.array([[1.3, 1.0, -0.5]])

EXAMPLE_TABLE = {
    ((0,), 4.0): (0.5, True, "global"),
    ((0,), 0.0): (2.5, False, "not a local minimum"),
    ((1,), 1.0): (2.0, True, "spurious minimum"),
    ((1,), 0.0): (2.5, False, "not a local minimum"),
    ((0, 1), 4.0): (0.5, False, "global"),
    ((0, 1), 1.0): (2.0, False, "not a local minimum"),
    ((), None): (2.5, True, "plateau"),
}
"""Loss, interior and category by J (0-based) and sigma."""

MINIMA = ("global", "spurious minimum", "minimum", "plateau")
"""Categories whose members no small step improves."""


def relu_problem(X: np.ndarray, Y: np.ndarray, num_units: int = 1) -> Regression:
    """The regression of a ReLU network with `num_units` hidden units on these data."""
    X, Y = np.asarray(X, dtype=float), np.asarray(Y, dtype=float)
    return Regression(networks.Shallow((len(X), num_units, len(Y)), "relu"), X, Y)


def random_problem(rng: np.random.Generator, num_units: int = 1, most_samples: int = 4) -> Regression:
    """Small random data: Gaussian, or integers, which put critical points on boundaries and repeat singular values."""
    shape = rng.integers(1, 4), rng.integers(1, most_samples + 1), rng.integers(1, 4)
    while True:
        if rng.uniform() < 0.5:
            X, Y = rng.normal(size=shape[:2]), rng.normal(size=(shape[2], shape[1]))
        else:
            X = rng.integers(-2, 3, size=shape[:2]).astype(float)
            Y = rng.integers(-2, 3, size=(shape[2], shape[1])).astype(float)
        if X.any() and Y.any():
            return relu_problem(X, Y, num_units)


def members(
    problem: Regression, rng: np.random.Generator, classes: tuple[CriticalClass, ...] | None = None
) -> Iterator[tuple[CriticalClass, Layers]]:
    """A random member of each class that exists, by default of all classes of `problem`."""
    for entry in relu_cones.enumerate_classes(problem) if classes is None else classes:
        if entry.pattern["exists"] is True:
            yield entry, relu_cones.sample(problem, entry, rng)


def lowest_around(data: ReluData, params: Layers, rng: np.random.Generator, count: int = 40) -> float:
    """The smallest ``L_N(nearby) - L_N`` over random directions and three small distances, relative to 1/2 Tr YY^T."""
    base, size = data.loss(params), data.dead_loss
    lowest = np.inf
    for _ in range(count):
        steps = tuple(rng.normal(size=part.shape) * (np.linalg.norm(part) or 1.0) for part in params)
        for distance in (1e-4, 1e-5, 1e-6):
            moved = params[0] + distance * steps[0], params[1] + distance * steps[1]
            lowest = min(lowest, (data.loss(moved) - base) / size)
    return float(lowest)


def constructed_rows(
    rng: np.random.Generator, data: ReluData, samples: tuple[int, ...], rank: int, num_active: int
) -> tuple[Piece, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Piece, W, C, an admissible L1 and the rows of eq. (10), written with pseudoinverses."""
    X, Y = data.X[:, samples], data.Y[:, samples]
    left = np.linalg.svd(Y @ np.linalg.pinv(X) @ X)[0]
    chosen = rng.permutation(len(Y))[:rank]
    W = np.hstack([left[:, chosen], np.zeros((len(Y), num_active - rank))])
    C = np.eye(num_active) + 0.3 * rng.normal(size=(num_active, num_active))
    G = X @ Y.T @ (np.eye(len(Y)) - W @ W.T)
    M = rng.normal(size=(num_active, len(X)))
    M[rank:] = M[rank:] @ (np.eye(len(X)) - G @ np.linalg.pinv(G, rcond=1e-10))
    inverse = np.linalg.inv(C)
    L1 = inverse @ M
    rows = inverse @ W.T @ Y @ np.linalg.pinv(X) + L1 - inverse @ W.T @ W @ C @ L1 @ X @ np.linalg.pinv(X)
    return piece_of(data, samples), W, C, L1, rows


def random_product_point(rng: np.random.Generator, problem: Regression) -> relu_cones.Decomposition | None:
    """A random critical point of a random piece by the closed form, when it happens to lie in its cone."""
    data = relu_data(problem)
    samples = tuple(index for index in data.live if rng.uniform() < 0.6)
    dead = dead_row(data)
    num_active = int(rng.integers(1, data.num_units + 1)) if dead is not None else data.num_units
    if not samples:
        return None
    rank = int(rng.integers(1, min(num_active, len(data.Y)) + 1))
    _, W, C, _, rows = constructed_rows(rng, data, samples, rank, num_active)
    first = np.zeros((data.num_units, len(data.X))) + (0.0 if dead is None else dead)
    first[:num_active] = rows
    second = np.hstack([W @ C, np.zeros((len(data.Y), data.num_units - num_active))])
    found = relu_cones.decompose(problem, (first, second))
    is_inside = found.status == "clear" and found.cone.active[:num_active] == (samples,) * num_active
    return found if is_inside and found.cone.units == tuple(range(num_active)) else None


def alternative(data: ReluData, piece: Piece, index: int) -> bool | None:
    """Existence for a simple eigenvalue without linear programs, None when it is close.

    ``h = u^T Y_J X_J^+ X_J`` must have one sign, and ``{l N x_k + s b x_k < 0}`` is feasible unless nonnegative
    weights give ``sum w_k N x_k = 0`` with ``sum w_k s b x_k >= 0``.
    """
    X = data.X[:, list(piece.samples)]
    row = piece.left[:, index] @ data.Y[:, list(piece.samples)] @ np.linalg.pinv(X, rcond=1e-10)
    row = row / np.linalg.norm(row)
    cosines = row @ (X / np.linalg.norm(X, axis=0))
    outside = [sample for sample in data.live if sample not in piece.samples]
    columns = data.X[:, outside] / np.linalg.norm(data.X[:, outside], axis=0)
    null = np.eye(len(X)) - X @ np.linalg.pinv(X, rcond=1e-10)
    answers: list[bool | None] = []
    for sign in (1.0, -1.0):
        lowest = float(np.min(sign * cosines))
        if lowest < -1e-9:
            answers.append(None if lowest > -1e-6 else False)
            continue
        if not outside:
            return True
        top, levels = null @ columns, sign * (row @ columns)
        top[np.abs(top) < 1e-12], levels[np.abs(levels) < 1e-12] = 0.0, 0.0
        slack = np.append(np.zeros(len(top)), -1.0)
        system = np.vstack([np.column_stack([np.vstack([top, levels]), slack]), np.append(np.ones(len(outside)), 0.0)])
        distance = nnls(system, np.append(np.zeros(len(top) + 1), 1.0))[1]
        answers.append(None if 1e-9 < distance < 1e-6 else bool(distance > 1e-6))
    if True in answers:
        return True
    return None if None in answers else False


def has_zero(row: np.ndarray, piece: Piece) -> bool:
    """True when a preactivation on J vanishes."""
    return bool(np.min(row @ piece.X) < 1e-6 * np.linalg.norm(row) * np.linalg.norm(piece.X))


def search_repeated(rng: np.random.Generator, data: ReluData, piece: Piece, q: int) -> bool:
    """Random v in the group and random l: True when some row fits clearly."""
    null = complement(data.X[:, list(piece.samples)].T)
    outside = [sample for sample in data.live if sample not in piece.samples]
    weights, extra = rng.normal(size=(4000, q)), 3 * rng.normal(size=(4000, len(null)))
    rows = weights @ piece.rows[:q] + extra @ null
    fits = np.all(rows @ piece.X > 1e-4, axis=1) & np.all(rows @ data.X[:, outside] < -1e-4, axis=1)
    return bool(fits.any())


def falls_as_promised(data: ReluData, params: Layers, descent: relu_cones.Descent) -> bool:
    """True when at some small distance the loss has changed by the promised amount to ten per cent."""
    base = data.loss(params)
    size = max(float(np.max(np.abs(part))) for part in descent.direction)
    for exponent in range(1, 7):
        step = 10.0**-exponent / size
        moved = params[0] + step * descent.direction[0], params[1] + step * descent.direction[1]
        promised = descent.rate * step if descent.order == 1 else 0.5 * descent.rate * step**2
        if abs(data.loss(moved) - base - promised) <= 0.1 * abs(promised):
            return True
    return False


def descended(data: ReluData, rng: np.random.Generator) -> Layers:
    """Where quasi-Newton descent from a random start ends; it may get stuck on a kink."""
    d_in, d_out = len(data.X), len(data.Y)

    def value_and_slope(flat: np.ndarray) -> tuple[float, np.ndarray]:
        params = flat[:d_in][None], flat[d_in:][:, None]
        gradient = data.piece_gradient(params, params[0] @ data.X > 0)
        return data.loss(params), np.concatenate([part.ravel() for part in gradient])

    start = rng.normal(size=d_in + d_out)
    options = {"ftol": 1e-15, "gtol": 1e-12, "maxiter": 2000}
    end = minimize(value_and_slope, start, jac=True, method="L-BFGS-B", options=options).x
    return end[:d_in][None], end[d_in:][:, None]
