"""Statements of paper 000 on derivatives: gradients, Hessians at minimisers, expansions, and the matrix facts used."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from gradflow.activations import LeakyReLU
from gradflow.certificates.regularity_conditions import local_shape
from gradflow.certificates.zero_loss_geometry import (
    column_to_row,
    eta_min,
    gauss_newton_factor,
    gauss_newton_hessian,
    norm,
    output_jacobian,
    residual_of,
    smallest_positive,
    stacked_gradient,
    vec,
)
from gradflow.critical_sets.minimisers.factorisation import chain
from gradflow.critical_sets.minimisers.residual import blocks_of, units_of
from gradflow.critical_sets.minimisers.setting import Layers
from gradflow.networks import Linear, Residual, Shallow
from gradflow.problem import Regression
from gradflow.verification.paper_000_instances import (
    INSTANCES,
    SLOPE,
    Instance,
    gradient_of,
    hessian_product,
    hidden_instance,
    linear_instance,
    loss_of,
    moved,
    regression,
    residual_instance,
)
from gradflow.verification.statement import Statement, Trial

ROUNDING = 1e-10
"""Relative to the sizes of the factors; layers are of order one."""


def _difference(params: Layers, minimiser: Layers) -> Layers:
    return tuple(np.asarray(a) - np.asarray(b) for a, b in zip(params, minimiser, strict=True))


def _gradient(draw: Callable[[np.random.Generator], Instance]) -> Callable:
    def check(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
        for _ in range(num_instances):
            problem, params = draw(rng)
            state = moved(rng, params, 0.5)
            expected = vec(gradient_of(problem, state))
            factor = np.hstack(output_jacobian(problem.network, state, np.asarray(problem.X)))
            error = residual_of(problem, state).ravel(order="F")
            scale = norm(factor) * float(np.linalg.norm(error))
            yield Trial(float(np.abs(factor.T @ error - expected).max()), ROUNDING * scale, "G^T vec(e)")
            found = stacked_gradient(problem, state)
            yield Trial(float(np.abs(found - expected).max()), ROUNDING * scale, "G^T vec(e), with R in place of X")

    return check


def _kronecker_product(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    """(12) as printed, a product of two Kronecker products, against the gradient."""
    for _ in range(num_instances):
        problem, params = residual_instance(rng)
        network, state, X = problem.network, moved(rng, params, 0.5), np.asarray(problem.X)
        assert isinstance(network, Residual)
        units, error, index = units_of(network, state), residual_of(problem, state).ravel(order="F"), 0
        gradient = gradient_of(problem, state)
        for k, block in enumerate(blocks_of(network, state)):
            outer = np.kron((chain(units[:k], network.dim) @ X).T, chain(units[k + 1 :], network.dim))
            for q in range(network.depth):
                inner = np.kron(chain(block[:q], network.dim).T, chain(block[q + 1 :], network.dim))
                found, scale = (outer @ inner).T @ error, norm(outer) * norm(inner) * float(np.linalg.norm(error))
                off = float(np.abs(found - gradient[index].ravel(order="F")).max())
                yield Trial(off, ROUNDING * scale, f"Q_{k + 1}{q + 1}")
                index += 1


def _both_residual_gradients(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    yield from _kronecker_product(rng, num_instances)
    yield from _gradient(residual_instance)(rng, num_instances)


def _piecewise_instance(rng: np.random.Generator) -> Instance:
    return hidden_instance(rng, piecewise=True)


def _more_samples_as_printed() -> Trial:
    """W_2 fits the hidden layer by least squares; the residual is orthogonal to it, but not to the inputs."""
    X, Y = np.array([[1.0, -1.0, 0.5], [0.2, 1.0, -1.0]]), np.array([[1.0, 2.0, -1.0], [0.0, 1.0, 3.0]])
    problem = regression(Shallow((2, 2, 2), LeakyReLU(SLOPE)), X, Y)
    hidden = np.where(X > 0.0, X, SLOPE * X)
    state = (np.eye(2), Y @ np.linalg.pinv(hidden))
    direction = (np.ones((2, 2)), np.ones((2, 2)))
    found = gauss_newton_hessian(problem, state) @ np.ones(8)
    expected = np.concatenate([part.ravel() for part in hessian_product(problem, state, direction)])
    return Trial(float(np.abs(found - expected).max()), 1e-9, "m = 3, d = 2: H^T H is not the Hessian")


def _hessian(draw: Callable[[np.random.Generator], Instance]) -> Callable:
    def check(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
        for _ in range(num_instances):
            problem, params = draw(rng)
            direction = tuple(rng.normal(size=layer.shape) for layer in params)
            factor = gauss_newton_factor(problem, params)
            found = gauss_newton_hessian(problem, params) @ np.concatenate([step.ravel() for step in direction])
            expected = np.concatenate([part.ravel() for part in hessian_product(problem, params, direction)])
            scale = norm(factor) ** 2 * float(np.linalg.norm(vec(direction)))
            yield Trial(float(np.abs(found - expected).max()), 10.0 * ROUNDING * scale, "G^T G, rows flattened")
            stacked = (factor.T @ (factor @ vec(direction)))[column_to_row(problem.network.shapes)]
            yield Trial(float(np.abs(stacked - expected).max()), 10.0 * ROUNDING * scale, "G^T G, columns stacked")

    return check


def _depth_one_blocks(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        problem, params = residual_instance(rng, depth=1)
        assert isinstance(problem.network, Residual)
        X, units = np.asarray(problem.X), units_of(problem.network, params)
        plain = Linear((len(X),) * (len(units) + 1))
        blocks, expected = output_jacobian(problem.network, params, X), output_jacobian(plain, units, X)
        for block, other in zip(blocks, expected, strict=True):
            yield Trial(float(np.abs(block - other).max()), ROUNDING * norm(other))


def _kronecker_values(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        A, B = (rng.normal(size=tuple(rng.integers(1, 5, size=2))) for _ in range(2))
        pair = np.kron(A, B)
        yield Trial(abs(norm(pair) - norm(A) * norm(B)), ROUNDING * norm(pair), "||A kron B|| = ||A|| ||B||")
        smallest = np.linalg.svd(pair, compute_uv=False)[min(A.shape) * min(B.shape) - 1]
        yield Trial(abs(smallest - eta_min(A) * eta_min(B)), ROUNDING * norm(pair), "eta(A kron B) = eta(A) eta(B)")


def _product_values(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for index in range(num_instances):
        dim = int(rng.integers(1, 5))
        A, B = rng.normal(size=(dim, dim)), rng.normal(size=(dim, dim))
        if index % 3 == 0 and dim > 1:
            A[:, 0] = A[:, 1]
        bound = eta_min(A) * eta_min(B)
        yield Trial(bound, eta_min(A @ B) + ROUNDING * norm(A) * norm(B), "eta(A B) >= eta(A) eta(B)")


def _product_as_printed() -> Trial:
    A, B = np.diag([1.0, 0.0]), np.array([[0.6, 0.0], [0.8, 0.0]])
    bound = smallest_positive(A) * smallest_positive(B)
    return Trial(bound, smallest_positive(A @ B), "smallest nonzero singular values: 1 times 1, and 0.6 of the product")


def _expansions(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    """H and l against ``||G v||^2``, with the bounds on the parts of higher degree."""
    for index in range(num_instances):
        problem, params = INSTANCES[index % 3](rng)
        shape = local_shape(problem, params, 0.5)
        size = float(rng.uniform(0.01, 0.9)) * shape.cap
        state = moved(rng, params, size, "fro")
        direction = vec(_difference(state, params))
        square, first = float(direction @ direction), gauss_newton_factor(problem, params) @ direction
        rest, weighted = shape.remainders(size)
        strength = float(np.linalg.norm(first)) / math.sqrt(square)
        excess = loss_of(problem, state) - loss_of(problem, params)
        slack = ROUNDING * (strength**2 + weighted**2) * square + 1e-14 * float(np.sum(problem.Y**2))
        off = abs(excess - 0.5 * float(first @ first))
        yield Trial(off, (strength * rest + 0.5 * rest**2) * square + slack, "h - 1/2 ||G v||^2")
        product = float(vec(gradient_of(problem, state)) @ direction)
        off = abs(product - float(first @ first))
        allowed = (strength * (rest + weighted) + rest * weighted) * square + slack
        yield Trial(off, allowed, "<grad h, v> - ||G v||^2")


def _twice_the_hessian(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    """The gradient of ``l = <grad h, W - W*>`` is ``H(W) (W - W*) + grad h(W)``; its derivative at W* is 2 H(W*)."""
    for index in range(num_instances):
        problem, params = INSTANCES[index % 3](rng)
        direction = tuple(rng.normal(size=layer.shape) for layer in params)
        step, sides = 1e-5, []
        for sign in (1.0, -1.0):
            state = tuple(a + sign * step * d for a, d in zip(params, direction, strict=True))
            curved = hessian_product(problem, state, tuple(sign * step * d for d in direction))
            sides.append(vec(curved) + vec(gradient_of(problem, state)))
        found = (sides[0] - sides[1]) / (2.0 * step)
        expected = 2.0 * vec(hessian_product(problem, params, direction))
        scale = norm(gauss_newton_factor(problem, params)) ** 2 * float(np.linalg.norm(vec(direction)))
        # the symmetric difference is off by third derivatives times step^2, and by rounding over step
        yield Trial(float(np.abs(found - expected).max()), 1e-6 * scale)


def _gradient_bound(draw: Callable[[np.random.Generator], Instance]) -> Callable:
    def check(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
        for _ in range(num_instances):
            problem, params = draw(rng)
            shape = local_shape(problem, params, 0.5)
            state = moved(rng, params, float(rng.uniform()) * shape.cap, "fro")
            gradient = vec(gradient_of(problem, state))
            error = 2.0 * (loss_of(problem, state) - loss_of(problem, params)) + 1e-13 * float(np.sum(problem.Y**2))
            yield Trial(float(gradient @ gradient), error * 0.5 / shape.values["alpha"])

    return check


def _maximum_as_printed() -> Trial:
    problem = regression(Shallow((1, 1, 1), "identity"), np.array([[0.5]]), np.array([[1.0]]))
    state, zeta, size = (np.array([[4.0]]), np.array([[2.0]])), 2.0, 0.5
    gradient = vec(gradient_of(problem, state))
    bound = float(gradient @ gradient) / max(size**2 * zeta**4, zeta**2)
    return Trial(bound, 2.0 * loss_of(problem, state), "x = 1/2, w = (4, 2), zeta = 2: 11.25 is more than ||e||^2 = 9")


def _first_layer_sizes(problem: Regression, state: Layers) -> tuple[float, float]:
    """``||grad_{W_1} g||^2`` and ``||X||^2 ||sigma'(W_1 X) o (W_2^T e)||^2``; X is invertible."""
    gradient = gradient_of(problem, state)[0]
    inner = np.linalg.solve(np.asarray(problem.X), gradient.T)
    return float(np.sum(gradient**2)), norm(np.asarray(problem.X)) ** 2 * float(np.sum(inner**2))


def _first_layer_bound(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        problem, params = hidden_instance(rng)
        found, bound = _first_layer_sizes(problem, moved(rng, params, 0.5))
        yield Trial(found, bound * (1.0 + ROUNDING))


def _equality_as_printed() -> Trial:
    problem = regression(Shallow((2, 2, 2), "identity"), np.diag([1.0, 2.0]), np.eye(2))
    found, bound = _first_layer_sizes(problem, (np.eye(2), 2.0 * np.eye(2)))
    return Trial(abs(found - bound), 1e-9, "X = diag(1, 2): the two sides differ")


_GEOMETRY = "gradflow.certificates.zero_loss_geometry."
_SHAPE = "gradflow.certificates.regularity_conditions.local_shape"

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "000", "eqs. (8)-(9)",
        "grad_k h = G_k^T vec(e), G_k = (W_{k-1} ... W_1 X)^T kron (W_l ... W_{k+1}), empty products being I.",
        (_GEOMETRY + "output_jacobian", _GEOMETRY + "stacked_gradient"), _gradient(linear_instance), thorough=2000,
    ),
    Statement(
        "000", "eqs. (11)-(12)",
        "grad_kq f = Q_kq^T vec(e), Q_kq = [(W_{k-1} ... W_1 X)^T kron (W_l ... W_{k+1})] "
        "[(A_{k,q-1} ... A_k1)^T kron (A_kr ... A_{k,q+1})].",
        (_GEOMETRY + "linear_factors", _GEOMETRY + "stacked_gradient"), _both_residual_gradients,
        "e(W) in section 3.2 is printed with W_l ... W_l for W_l ... W_1.", thorough=1000,
    ),
    Statement(
        "000", "eqs. (14)-(15)",
        "grad_{W_2} g = (sigma(W_1 X) kron I) vec(e), grad_{W_1} g = (X kron I) vec(sigma'(W_1 X) o (W_2^T e)).",
        (_GEOMETRY + "output_jacobian", _GEOMETRY + "stacked_gradient"), _gradient(hidden_instance), thorough=1000,
    ),
    Statement(
        "000", "eqs. (17)-(18)", "The Hessian of h at a global minimiser is G^T G; for m > d too.",
        (_GEOMETRY + "gauss_newton_hessian",), _hessian(linear_instance), thorough=2000,
    ),
    Statement(
        "000", "eqs. (21)-(22)", "The Hessian of f at a global minimiser is Q^T Q; for m > d too.",
        (_GEOMETRY + "gauss_newton_hessian",), _hessian(residual_instance), thorough=1000,
    ),
    Statement(
        "000", "eq. (24)", "The Hessian of g at a minimiser of zero loss (so m = d) is H^T H.",
        (_GEOMETRY + "gauss_newton_hessian",), _hessian(hidden_instance),
        "range(sigma) = R is said to make the minimum zero: for m > d it does not, and H^T H is not the Hessian.",
        _more_samples_as_printed, thorough=1000,
    ),
    Statement(
        "000", "section 4.2, r = 1", "With r = 1, Q_k is the G_k of the linear network with W_k = I + A_k.",
        (_GEOMETRY + "output_jacobian",), _depth_one_blocks, thorough=2000,
    ),
    Statement(
        "000", "eqs. (37) and (68)", "eta(A kron B) = eta(A) eta(B) and ||A kron B|| = ||A|| ||B||.",
        (_GEOMETRY + "eta_min",), _kronecker_values, thorough=3000,
    ),
    Statement(
        "000", "eq. (43), eta of a product", "eta(A B) >= eta(A) eta(B) for square matrices, eta the smallest value.",
        (_GEOMETRY + "eta_min",), _product_values,
        "eta is printed as the smallest nonzero singular value, with which this fails for singular factors.",
        _product_as_printed, thorough=3000,
    ),
    Statement(
        "000", "eqs. (57), (64), (74) and (75)",
        "h = h* + 1/2 ||G v||^2 and <grad h, v> = ||G v||^2 up to parts of higher degree, which have explicit bounds.",
        (_SHAPE, _GEOMETRY + "gauss_newton_factor"), _expansions, thorough=1000,
    ),
    Statement(
        "000", "eqs. (60) and (63)", "l = <grad h, W - W*> has zero gradient and twice the Hessian of h at W*.",
        (_GEOMETRY + "gauss_newton_hessian",), _twice_the_hessian,
        "(84)-(86) write h and G for g and H.", thorough=1000,
    ),
    Statement(
        "000", "eq. (69)", "||grad h||^2 <= l zeta^{2(l-1)} ||X||^2 ||e||^2 while all ||W_k|| <= zeta.",
        (_SHAPE,), _gradient_bound(linear_instance), thorough=2000,
    ),
    Statement(
        "000", "eq. (79)",
        "||grad f||^2 <= l r zeta~^{2(r-1)} zeta^{2(l-1)} ||X||^2 ||e||^2 while ||A_kq|| <= zeta~ and ||W_k|| <= zeta.",
        (_SHAPE,), _gradient_bound(residual_instance), thorough=1000,
    ),
    Statement(
        "000", "Theorem 6, bound on the gradient", "||grad g||^2 <= (zeta^2 + ||X||^2 zeta^4) ||e||^2 near W*.",
        (_SHAPE,), _gradient_bound(_piecewise_instance),
        "The proof has max(||X||^2 zeta^4, zeta^2), which is no bound, in place of the sum.", _maximum_as_printed,
        thorough=1000,
    ),
    Statement(
        "000", "Theorem 6, gradient of W_1", "||grad_{W_1} g||^2 <= ||X||^2 ||sigma'(W_1 X) o (W_2^T e)||^2.",
        (_GEOMETRY + "stacked_gradient",), _first_layer_bound, "Printed as an equality.", _equality_as_printed,
        thorough=1000,
    ),
)  # fmt: skip
