"""Statements of paper 000, section 2: the global minimisers, each with its check."""

from collections.abc import Iterator

import numpy as np

from gradflow.activations import LeakyReLU
from gradflow.critical_sets.minimisers import linear, one_hidden_layer, residual
from gradflow.critical_sets.minimisers.factorisation import (
    are_invertible,
    chain,
    factors,
    random_invertible,
    random_orthogonal,
)
from gradflow.critical_sets.minimisers.setting import Layers, square_target
from gradflow.networks import Linear, Residual, Shallow
from gradflow.verification.paper_000_instances import (
    hidden_instance,
    linear_instance,
    loss_of,
    random_data,
    regression,
    residual_instance,
)
from gradflow.verification.statement import Statement, Trial

ROUNDING = 1e-9
"""Relative; layers have condition numbers up to about 10, X up to about 100, M whatever chance makes it."""


def _size(layers: Layers) -> float:
    return float(np.sqrt(sum(np.sum(np.asarray(layer) ** 2) for layer in layers)))


def _least_squares(X: np.ndarray, Y: np.ndarray) -> float:
    fit = np.linalg.lstsq(X.T, Y.T, rcond=None)[0].T
    return 0.5 * float(np.sum((fit @ X - Y) ** 2))


def _equivalence(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        problem, params = linear_instance(rng)
        changes = [random_invertible(rng, len(params[0])) for _ in params[1:]]
        inner = [np.eye(len(params[0])), *changes, np.eye(len(params[0]))]
        moved = tuple(
            np.linalg.solve(inner[k + 1], layer @ inner[k]) if k + 1 < len(params) else layer @ inner[k]
            for k, layer in enumerate(params)
        )
        yield Trial.agreement(linear.decompose(problem, moved).outcome, "minimiser")


def _proposition_1(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        problem, params = linear_instance(rng)
        X, Y = np.asarray(problem.X), np.asarray(problem.Y)
        loss = loss_of(problem, params)
        scale = float(np.sum(Y**2))
        sigma = Y @ X.T @ np.linalg.solve(X @ X.T, X @ Y.T)
        formula = 0.5 * (np.trace(Y @ Y.T) - np.sum(np.linalg.eigvalsh(sigma)))
        yield Trial(abs(loss - formula), ROUNDING * scale, "1/2 (Tr Sigma_YY - sum lambda_i)")
        yield Trial(abs(loss - _least_squares(X, Y)), ROUNDING * scale, "no linear map does better")
        free = [random_invertible(rng, len(X)) for _ in params[1:]]
        rest = chain(free, len(X))
        other = (np.linalg.solve(rest, Y @ np.linalg.pinv(X)), *free)
        found = linear.decompose(problem, other)
        yield Trial.agreement(found.outcome, "minimiser", "a minimiser found without the formula has its form")
        again = linear.construct(problem, found.transforms, found.basis)
        off = max(float(np.abs(a - b).max()) for a, b in zip(again, other, strict=True))
        yield Trial(off, ROUNDING * (1.0 + _size(other)), "and its free matrices give it back")


def _value_as_printed() -> Trial:
    X, Y = np.eye(2, 3), np.array([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]])
    problem = regression(Linear((2, 2, 2)), X, Y)
    params = linear.construct(problem, [np.eye(2)])
    sigma = Y @ X.T @ X @ Y.T
    printed = float(np.trace(Y @ Y.T) - np.trace(sigma))
    return Trial(abs(loss_of(problem, params) - printed), 1e-10, "Tr Sigma_YY - sum lambda_i = 10, the loss is 5")


def _corollary_1(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        problem, params = linear_instance(rng)
        product = np.linalg.svd(square_target(problem).matrix, compute_uv=False)[-1]
        for k, layer in enumerate(params):
            others = np.prod([np.linalg.norm(other, 2) for j, other in enumerate(params) if j != k])
            smallest = np.linalg.svd(layer, compute_uv=False)[-1]
            yield Trial(
                float(product / others), float(smallest) * (1.0 + ROUNDING), "eta(W_k) >= eta(M) / prod ||W_j||"
            )


def _splits(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        problem, params = linear_instance(rng)
        target, found = square_target(problem), linear.decompose(problem, params)
        for k, transform in enumerate(found.transforms, start=1):
            upper, lower = chain(params[k:], target.dim), chain(params[:k], target.dim)
            yield Trial(float(np.abs(upper - found.basis @ transform).max()), ROUNDING * _size(params))
            expected = np.linalg.solve(transform, found.basis.T @ target.matrix)
            yield Trial(float(np.abs(lower - expected).max()), ROUNDING * (1.0 + float(np.linalg.norm(expected))))


def _first_layer(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        problem, params = linear_instance(rng)
        X, Y, found = np.asarray(problem.X), np.asarray(problem.Y), linear.decompose(problem, params)
        matrix = Y @ X.T @ np.linalg.inv(X @ X.T)
        expected = np.linalg.solve(found.transforms[0], found.basis.T @ matrix) if found.transforms else matrix
        yield Trial(float(np.abs(params[0] - expected).max()), ROUNDING * (1.0 + float(np.linalg.norm(expected))))


def _transpose_as_printed() -> Trial:
    X, Y = np.array([[1.0, 0.5], [0.0, 1.0]]), np.array([[1.0, -2.0], [0.5, 1.0]])
    first = X @ Y.T @ np.linalg.inv(X @ X.T)
    loss = 0.5 * float(np.sum((first @ X - Y) ** 2))
    return Trial(loss, 1e-10, "the product U U^T Sigma_XY Sigma_XX^{-1} has a positive loss")


def _proposition_2(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        problem, params = residual_instance(rng)
        network = problem.network
        assert isinstance(network, Residual)
        X, Y = np.asarray(problem.X), np.asarray(problem.Y)
        loss, scale = loss_of(problem, params), float(np.sum(Y**2))
        yield Trial(abs(loss - _least_squares(X, Y)), ROUNDING * scale, "the minimum over linear maps is attained")
        other = _other_residual_minimiser(rng, network, Y @ np.linalg.pinv(X))
        found = residual.decompose(problem, other)
        yield Trial.agreement(found.outcome, "minimiser", "a minimiser found without the formula has its form")
        again = residual.construct(
            problem, found.unit_transforms, found.transforms, unit_basis=found.unit_basis, bases=found.bases
        )
        off = max(float(np.abs(a - b).max()) for a, b in zip(again, other, strict=True))
        yield Trial(off, ROUNDING * (1.0 + _size(other)), "and its free matrices give it back")


def _other_residual_minimiser(rng: np.random.Generator, network: Residual, matrix: np.ndarray) -> Layers:
    """Random layers in all units but the first, whose first layer makes up for them."""
    dim, identity = network.dim, np.eye(network.dim)
    later = [[random_invertible(rng, dim) for _ in range(network.depth)] for _ in range(network.units - 1)]
    units = [identity + chain(block, dim) for block in later]
    first_unit = np.linalg.solve(chain(units, dim), matrix)
    rest = [random_invertible(rng, dim) for _ in range(network.depth - 1)]
    first = [np.linalg.solve(chain(rest, dim), first_unit - identity), *rest]
    return tuple(layer for block in [first, *later] for layer in block)


def _indices_as_printed() -> Trial:
    units, depth = 3, 2
    problem = regression(Residual(2, units, depth), np.eye(2), np.diag([3.0, 2.0]))
    found = residual.decompose(problem, residual.sample(problem, np.random.default_rng(0)))
    printed = len(range(2, units + 1))
    return Trial.agreement(
        printed, len(found.transforms[0]), "C_k2, ..., C_kl: l - 1 = 2 matrices where r - 1 = 1 are free"
    )


def _units(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        problem, params = residual_instance(rng)
        assert isinstance(problem.network, Residual)
        found = are_invertible(residual.units_of(problem.network, params))
        yield Trial.agreement(found, True, "every unit has full rank")


def _depth_one(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        problem, params = residual_instance(rng, depth=1)
        X, Y, dim = np.asarray(problem.X), np.asarray(problem.Y), len(params[0])
        found = residual.decompose(problem, params)
        plain = regression(Linear((dim,) * (len(params) + 1)), X, Y)
        units = linear.construct(plain, found.unit_transforms, found.unit_basis)
        off = max(float(np.abs(a - (w - np.eye(dim))).max()) for a, w in zip(params, units, strict=True))
        yield Trial(off, ROUNDING * (1.0 + _size(units)))


def _full_rank(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for index in range(num_instances):
        dim = int(rng.integers(1, 4))
        frame = random_invertible(rng, dim)
        values = rng.uniform(1.5, 3.0, size=dim)
        if index % 2:
            values[0] = 1.0
        unit = frame @ np.diag(values) @ np.linalg.inv(frame)
        problem = regression(Residual(dim, 1, 2), np.eye(dim), unit)
        params = residual.construct(problem, [], [[random_invertible(rng, dim)]])
        found = residual.decompose(problem, params)
        yield Trial.agreement(found.is_full_rank, index % 2 == 0, "A* has full rank unless W* has the eigenvalue 1")


def _incoherence_as_printed() -> Trial:
    shear = np.array([[1.0, 1.0], [0.0, 1.0]])
    left, _, right = np.linalg.svd(shear)
    differ = float(np.abs(left.T @ right.T).max()) < 0.9
    rank = int(np.linalg.matrix_rank(shear - np.eye(2)))
    return Trial.agreement(
        rank, 2, f"W = [[1, 1], [0, 1]] has differing row and column frames ({differ}), rank(W - I) = 1"
    )


def _absorbed(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        dim, depth = int(rng.integers(1, 4)), int(rng.integers(2, 4))
        shortcut, frame = random_invertible(rng, dim), random_orthogonal(rng, dim)
        rotations = [random_orthogonal(rng, dim) for _ in range(depth - 1)]
        free = [random_invertible(rng, dim) for _ in range(depth - 1)]
        combined = [rotation @ matrix for rotation, matrix in zip(rotations, free, strict=True)]
        layers = factors(frame, combined, shortcut)
        last = frame @ rotations[-1] @ free[-1]
        yield Trial(float(np.abs(layers[-1] - last).max()), ROUNDING, "U V_r C_r")
        yield Trial(float(np.abs(chain(layers, dim) - shortcut).max()), ROUNDING, "the product is W_k - I")


def _proposition_3(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for index in range(num_instances):
        problem, params = hidden_instance(rng)
        yield Trial(loss_of(problem, params), ROUNDING**2 * (1.0 + float(np.sum(problem.Y**2))), "zero loss")
        dim = len(params[0])
        X, Y = random_data(rng, dim, dim)
        other = regression(Shallow((dim,) * 3, LeakyReLU(0.3)), X, Y)
        second = random_invertible(rng, dim)
        hidden = np.linalg.solve(second, Y)
        first = np.where(hidden > 0.0, hidden, hidden / 0.3) @ np.linalg.inv(X)
        found = one_hidden_layer.decompose(other, (first, second))
        yield Trial.agreement(found.outcome, "minimiser", "a minimiser found without the formula has its form")
        if index % 3 == 0:
            tanh, free = regression(Shallow((dim,) * 3, "tanh"), X, Y), random_invertible(rng, dim)
            needed = one_hidden_layer.preimage(tanh, free).shrinkage
            words = [one_hidden_layer.preimage(tanh, factor * needed * free).outcome for factor in (0.99, 1.01)]
            yield Trial.agreement(words, ["outside_range", "inside_range"], "the range of a sigmoid decides")


def _hidden_full_rank(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        problem, params = hidden_instance(rng)
        hidden = one_hidden_layer.decompose(problem, params).hidden
        bound = np.linalg.svd(np.asarray(problem.Y), compute_uv=False)[-1] / np.linalg.norm(params[1], 2)
        smallest = np.linalg.svd(hidden, compute_uv=False)[-1]
        yield Trial(float(bound), float(smallest) * (1.0 + ROUNDING), "eta(sigma(W_1* X)) >= eta(Y) / ||W_2*|| > 0")


_LINEAR = "gradflow.critical_sets.minimisers.linear."
_RESIDUAL = "gradflow.critical_sets.minimisers.residual."
_HIDDEN = "gradflow.critical_sets.minimisers.one_hidden_layer."

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "000", "section 2.1, equivalence class",
        "(C_2^{-1} W_1, C_3^{-1} W_2 C_2, ..., W_l C_l) is a global minimiser with (W_1, ..., W_l).",
        (_LINEAR + "decompose",), _equivalence, thorough=1000,
    ),
    Statement(
        "000", "Proposition 1",
        "The global minimisers are W_l = U C_l, W_k = C_{k+1}^{-1} C_k, W_1 = C_2^{-1} U^T M with value "
        "1/2 (Tr Sigma_YY - sum lambda_i), for m >= d and equal eigenvalues too.",
        (_LINEAR + "construct", _LINEAR + "decompose"), _proposition_1,
        "The value is printed without the factor 1/2; distinct eigenvalues are not needed.", _value_as_printed,
        thorough=1000,
    ),
    Statement(
        "000", "Corollary 1", "Every layer of a global minimiser has full rank: eta(W_k) >= eta(M) / prod_j ||W_j||.",
        (_LINEAR + "sample",), _corollary_1, thorough=1000,
    ),
    Statement(
        "000", "eqs. (26)-(28)", "At a minimiser W_l ... W_k = U C_k and W_{k-1} ... W_1 = C_k^{-1} U^T M for every k.",
        (_LINEAR + "decompose",), _splits, thorough=1000,
    ),
    Statement(
        "000", "eq. (32)", "W_1* = C_2^{-1} U^T Sigma_XY^T Sigma_XX^{-1}, as in eq. (5).",
        (_LINEAR + "construct",), _first_layer, "Sigma_XY is printed without its transpose.", _transpose_as_printed,
        thorough=500,
    ),
    Statement(
        "000", "Proposition 2",
        "Full-rank global minimisers of residual networks are A_kr = U_k C_kr, ..., A_k1 = C_k2^{-1} U_k^T (W_k - I) "
        "with C_k2, ..., C_kr free and the W_k as in Proposition 1.",
        (_RESIDUAL + "construct", _RESIDUAL + "decompose"), _proposition_2,
        "The free matrices of a unit are printed as C_k2, ..., C_kl.", _indices_as_printed, thorough=1000,
    ),
    Statement(
        "000", "section 2.2, units", "Every unit W_k* = I + A_kr* ... A_k1* of a global minimiser has full rank.",
        (_RESIDUAL + "units_of",), _units, thorough=1000,
    ),
    Statement(
        "000", "Proposition 2, r = 1", "With r = 1 the global minimisers are A_k = W_k - I, W as in Proposition 1.",
        (_RESIDUAL + "construct",), _depth_one, thorough=1000,
    ),
    Statement(
        "000", "section 3.2, full rank of A*", "A* (of the form (4)) has full rank iff no W_k* has the eigenvalue 1.",
        (_RESIDUAL + "decompose",), _full_rank,
        'Printed: if the column space of W_k* is incoherent with its row space. Both are all of R^d.',
        _incoherence_as_printed, thorough=1000,
    ),
    Statement(
        "000", "eq. (33)", "Orthogonal V_q beside the C_q give no further minimisers: V_q C_q is again invertible.",
        ("gradflow.critical_sets.minimisers.factorisation.factors",), _absorbed, thorough=2000,
    ),
    Statement(
        "000", "Proposition 3",
        "With m = d the minimisers are W_1 = sigma^{-1}(S) X^{-1}, S = C_2^{-1} U^T Y, W_2 = U C_2, of zero loss.",
        (_HIDDEN + "construct", _HIDDEN + "decompose"), _proposition_3,
        "sigma must be injective for a single-valued inverse; a sigmoid serves where S lies in its range.",
        thorough=300,
    ),
    Statement(
        "000", "section 2.3, hidden layer", "sigma(W_1* X) has full rank at every global minimiser.",
        (_HIDDEN + "decompose",), _hidden_full_rank, thorough=300,
    ),
)  # fmt: skip
