"""Statements of paper 000, sections 3 and 4: gradient dominance and regularity near global minimisers."""

from collections.abc import Callable, Iterator

import numpy as np

from gradflow.certificates.dominance import GradientDominance, gradient_dominance, pointwise_constant
from gradflow.certificates.regularity_conditions import Regularity, regularity
from gradflow.certificates.zero_loss_geometry import eta_min, norm, vec
from gradflow.critical_sets.minimisers.residual import blocks_of, units_of
from gradflow.critical_sets.minimisers.setting import Layers, layers_of
from gradflow.networks import Linear, Residual, Shallow
from gradflow.problem import Regression
from gradflow.verification.paper_000_instances import (
    INSTANCES,
    Instance,
    gradient_of,
    hidden_instance,
    linear_instance,
    loss_of,
    moved,
    regression,
    residual_instance,
)
from gradflow.verification.statement import Statement, Trial

ROUNDING = 1e-9
"""Relative slack of inequalities that are attained; and 1e-13 ||Y||^2 for what cancels in a loss."""

TRIES = 3
"""States tried around each minimiser."""

Draw = Callable[[np.random.Generator], Instance]


def _piecewise_instance(rng: np.random.Generator) -> Instance:
    return hidden_instance(rng, piecewise=True)


def _inside(rng: np.random.Generator, dominance: GradientDominance, fraction: float) -> Layers:
    """A state at that fraction of the radius; for one hidden layer W_2 is free."""
    problem, params = dominance.problem, dominance.minimiser
    assert isinstance(problem, Regression)
    if not isinstance(problem.network, Shallow):
        return moved(rng, params, fraction * dominance.radius)
    reach = fraction * dominance.radius / norm(np.asarray(problem.X))
    for _ in range(60):
        first, second = moved(rng, params, reach)
        state = (first, second + rng.normal(size=second.shape))
        if dominance.contains(state):
            return state
        reach *= 0.8
    return layers_of(problem, params)


def _dominance(draw: Draw, *, pointwise: bool = False) -> Callable:
    """The inequality at random states of random neighbourhoods, gradients by back-propagation."""

    def check(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
        for _ in range(num_instances):
            problem, params = draw(rng)
            dominance = gradient_dominance(problem, params)
            for _ in range(TRIES):
                state = _inside(rng, dominance, float(rng.uniform(0.3, 0.999)))
                gradient = vec(gradient_of(problem, state))
                excess = loss_of(problem, state) - loss_of(problem, params) - 1e-13 * float(np.sum(problem.Y**2))
                constant = pointwise_constant(problem, state) if pointwise else dominance.constant
                yield Trial(excess, constant * float(gradient @ gradient) * (1.0 + ROUNDING), "L - L*")
                if pointwise:
                    yield Trial(constant, dominance.constant * (1.0 + ROUNDING), "never above the certificate's")

    return check


def _refusals(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for index in range(num_instances):
        dim = int(rng.integers(2, 4))
        flat = np.diag([0.0] + [1.0] * (dim - 1))
        X, Y = rng.normal(size=(dim, dim)), rng.normal(size=(dim, dim))
        turned, network = rng.normal(size=(dim, dim)), Linear((dim,) * 3)
        deficient = regression(network, flat @ X, turned @ flat @ X)
        yield Trial.agreement(gradient_dominance(deficient, (np.eye(dim), turned)).holds, False, "X without full rank")
        singular = regression(network, X, turned @ flat @ X)
        yield Trial.agreement(gradient_dominance(singular, (flat, turned)).holds, False, "a singular minimiser")
        few = regression(network, X[:, 1:], Y[:, 1:])
        exact = (np.eye(dim), Y[:, 1:] @ np.linalg.pinv(X[:, 1:]))
        yield Trial.agreement(gradient_dominance(few, exact).holds, False, "m < d")
        other = (X, Y) if index % 2 else (X, turned)
        yield Trial.agreement(gradient_dominance(regression(network, X, Y), other).holds, False, "no minimiser")


def _sharpness(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    """D = 1, ``w_k* = 2 tau``: at ``w_k -> tau`` the ratio tends to 1, from below."""
    for _ in range(num_instances):
        x, star, num = rng.uniform(0.5, 2.0), rng.uniform(0.5, 2.0), int(rng.integers(1, 5))
        problem = regression(Linear((1,) * (num + 1)), np.array([[x]]), np.array([[star**num * x]]))
        dominance = gradient_dominance(problem, (np.array([[star]]),) * num)
        ratio = dominance.ratio((np.array([[0.5 * star * (1.0 + 1e-8)]]),) * num)
        yield Trial(abs(1.0 - ratio), 1e-6, "ratio at the edge")
        yield Trial(ratio, 1.0 + ROUNDING, "never above 1")


def _hat_tau(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        problem, params = residual_instance(rng)
        network, values = problem.network, gradient_dominance(problem, params).certificate.values
        assert isinstance(network, Residual)
        state = moved(rng, params, values["tau_hat"])
        pairs = zip(units_of(network, state), units_of(network, params), strict=True)
        change = max(norm(a - b) for a, b in pairs)
        yield Trial(change, values["tau"] * (1.0 + ROUNDING), "||W_k - W_k*|| <= tau where ||A_kq - A_kq*|| <= hat tau")
        sizes = [[norm(layer) for layer in block] for block in blocks_of(network, params)]
        growth = [float(np.prod([a + values["tau_hat"] for a in block]) - np.prod(block)) for block in sizes]
        yield Trial(abs(max(growth) - values["tau"]), ROUNDING * max(1.0, *map(max, sizes)) ** network.depth)
        if network.depth == 1:
            yield Trial(abs(values["tau_hat"] - values["tau"]), ROUNDING, "r = 1: hat tau = tau")


def _weyl(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for index in range(num_instances):
        problem, params = (linear_instance, residual_instance)[index % 2](rng)
        dominance = gradient_dominance(problem, params)
        values, state = dominance.certificate.values, _inside(rng, dominance, 0.999)
        layers = units_of(problem.network, state) if isinstance(problem.network, Residual) else state
        yield Trial(values["tau"], min(map(eta_min, layers)) * (1.0 + ROUNDING), "eta(W_k) >= tau")
        if isinstance(problem.network, Residual) and problem.network.depth > 1:
            yield Trial(values["tau_tilde"], min(map(eta_min, state)) * (1.0 + ROUNDING), "eta(A_kq) >= tilde tau")


def _inverse_as_printed() -> Trial:
    problem = regression(Residual(1, 1, 1), np.array([[2.0]]), np.array([[6.0]]))
    params = (np.array([[2.0]]),)
    printed = 1.0 / pointwise_constant(problem, params)
    return Trial(printed, gradient_dominance(problem, params).constant, "l = r = d = 1, x = 2: (53) is 8, (55) is 1/8")


def _flow_rate(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    """The flow by Runge-Kutta steps from confined starts: inside for ever, at the rate, on a short path."""
    for index in range(num_instances):
        problem, params = INSTANCES[index % 3](rng)
        dominance = gradient_dominance(problem, params)
        size = 0.1 * dominance.radius / max(1.0, norm(np.asarray(problem.X)))
        state = moved(rng, params, size)
        while not dominance.confines(state):
            size *= 0.5
            state = moved(rng, params, size)
        yield from _trial_of_flow(problem, dominance, state)


def _trial_of_flow(problem: Regression, dominance: GradientDominance, state: Layers) -> Iterator[Trial]:
    size = norm(np.asarray(problem.X)) ** 2 * max(1.0, *(norm(layer) for layer in state)) ** 6
    step, excess0, path = 0.02 / size, dominance.excess(state), 0.0
    for _ in range(20):
        slopes = [gradient_of(problem, state)]
        for fraction in (0.5, 0.5, 1.0):
            stage = tuple(a - fraction * step * g for a, g in zip(state, slopes[-1], strict=True))
            slopes.append(gradient_of(problem, stage))
        mean = tuple((a + 2.0 * b + 2.0 * c + d) / 6.0 for a, b, c, d in zip(*slopes, strict=True))
        state = tuple(a - step * g for a, g in zip(state, mean, strict=True))
        path += step * float(np.linalg.norm(vec(mean)))
    bound = excess0 * np.exp(-20 * step / dominance.constant)
    yield Trial(float(not dominance.contains(state)), 0.0, "still inside")
    yield Trial(dominance.excess(state), bound * (1.0 + 1e-6), "(L(0) - L*) exp(-t / lambda)")
    yield Trial(path, 2.0 * np.sqrt(dominance.constant * excess0) * (1.0 + 1e-6), "length of the path")


def _small_layers(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        dim, units = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        layers = [rng.normal(size=(dim, dim)) for _ in range(units)]
        layers = [rng.uniform(0.0, 0.9) * layer / norm(layer) for layer in layers]
        X = np.eye(dim)
        Y = X
        for layer in layers:
            Y = Y + layer @ Y
        problem, largest = regression(Residual(dim, units, 1), X, Y), max(map(norm, layers))
        found = gradient_dominance(problem, tuple(layers))
        yield Trial(0.5 * (1.0 - largest), found.certificate.values["tau"] * (1.0 + ROUNDING), "tau >= (1 - ||A||) / 2")
        bound = 1.0 / (2.0 * units * (0.5 * (1.0 - largest)) ** (2 * (units - 1)))
        yield Trial(found.constant, bound * (1.0 + ROUNDING), "lambda_f stays bounded near the origin")


def _allowed_state(rng: np.random.Generator, found: Regularity, size: float) -> Layers:
    """A state whose largest move is `size`, along a random direction that the certificate allows."""
    right, params = np.linalg.svd(found.factor)[2], found.minimiser
    values = np.linalg.svd(found.factor, compute_uv=False)
    rank = int(np.sum(values > 1e-10 * values[0]))
    direction = rng.normal(size=rank) @ right[:rank]
    kernel = rng.normal(size=len(right) - rank) @ right[rank:]
    weakest = rng.random() < 0.3
    direction = right[rank - 1] if weakest else direction
    mixed = direction + (0.0 if weakest else rng.uniform()) * kernel
    for candidate in (mixed, direction, right[0]):
        state = _along(params, candidate, size)
        if found.direction_allows(state):
            return state
    return params


def _along(params: Layers, direction: np.ndarray, size: float) -> Layers:
    steps, start = [], 0
    for layer in params:
        steps.append(direction[start : start + layer.size].reshape(layer.shape, order="F"))
        start += layer.size
    longest = max(float(np.linalg.norm(step)) for step in steps)
    return tuple(layer + size / longest * step for layer, step in zip(params, steps, strict=True))


def _regularity(draw: Draw, *, printed: bool = False) -> Callable:
    """The inequality at random allowed states, gradients by back-propagation."""

    def check(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
        for index in range(num_instances):
            problem, params = draw(rng)
            found = regularity(problem, params, gamma=float(rng.uniform(0.05, 0.95)))
            if index % 2:
                delta = float(rng.uniform(0.05, 0.95)) * found.certificate.values["norm_G"]
                found = regularity(problem, params, delta=delta, gamma=found.certificate.values["gamma"])
            values = found.certificate.values
            for _ in range(TRIES):
                state = _allowed_state(rng, found, 0.999 * values["eps"] * float(rng.choice([1.0, 0.3])))
                direction = vec(tuple(a - b for a, b in zip(state, params, strict=True)))
                gradient, alpha = vec(gradient_of(problem, state)), values["alpha_printed" if printed else "alpha"]
                claimed = alpha * float(gradient @ gradient) + values["beta"] * float(direction @ direction)
                slack = ROUNDING * claimed + 1e-13 * float(np.linalg.norm(gradient) * np.linalg.norm(direction))
                yield Trial(claimed, float(gradient @ direction) + slack, "alpha ||grad||^2 + beta ||v||^2")

    return check


def _directions(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for index in range(num_instances):
        problem, params = INSTANCES[index % 3](rng)
        found = regularity(problem, params)
        values, right = np.linalg.svd(found.factor)[1:]
        rank = int(np.sum(values > 1e-10 * values[0]))
        orthogonal = rng.normal(size=rank) @ right[:rank]
        for size in (1e-3, 1.0):
            allowed = found.direction_allows(_along(params, orthogonal, size))
            yield Trial.agreement(allowed, True, "v orthogonal to ker G, at any length")
        if rank < len(right):
            kernel = _along(params, right[-1], 1.0)
            yield Trial.agreement(found.direction_allows(kernel), False, "v in ker G")
        too_large = regularity(problem, params, delta=1.01 * float(values[0]))
        yield Trial.agreement(too_large.holds, False, "delta > ||G|| is vacuous")


def _gradient_step(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for index in range(num_instances):
        problem, params = INSTANCES[index % 3](rng)
        found = regularity(problem, params)
        values = found.certificate.values
        state = _allowed_state(rng, found, 0.999 * values["eps"])
        step = float(rng.uniform(0.1, 2.0)) * values["alpha"]
        before = vec(tuple(a - b for a, b in zip(state, params, strict=True)))
        after = before - step * vec(gradient_of(problem, state))
        allowed = (1.0 - 2.0 * step * values["beta"]) * float(before @ before)
        yield Trial(float(after @ after), allowed * (1.0 + 1e-10), "||v'||^2 <= (1 - 2 step beta) ||v||^2")


_DOMINANCE = "gradflow.certificates.dominance."
_REGULARITY = "gradflow.certificates.regularity_conditions."
_GEOMETRY = "gradflow.certificates.zero_loss_geometry."

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "000", "Theorem 1",
        "h - h* <= |grad h|^2 / (2 l tau^{2(l-1)} eta(X)^2) where all ||W_k - W_k*|| < tau, for m >= d. So "
        "every critical point there is a global minimiser.",
        (_DOMINANCE + "gradient_dominance",), _dominance(linear_instance), thorough=800,
    ),
    Statement(
        "000", "Theorem 1, hypotheses",
        "Nothing is promised for X without full row rank, m < d, a singular minimiser, or a point that is none.",
        (_DOMINANCE + "gradient_dominance",), _refusals, thorough=500,
    ),
    Statement(
        "000", "Theorem 1, sharpness", "For d = 1 and w_k* = 2 tau the ratio tends to 1 as w_k -> tau.",
        (_DOMINANCE + "gradient_dominance",), _sharpness, thorough=800,
    ),
    Statement(
        "000", "eq. (42)",
        "h - h* <= lambda(W) |grad h|^2, lambda(W) = 1 / (2 sum_k eta(..X)^2 eta(..)^2), <= lambda_h.",
        (_DOMINANCE + "pointwise_constant",), _dominance(linear_instance, pointwise=True), thorough=500,
    ),
    Statement(
        "000", "eqs. (41), (51) and (52)", "Inside, eta(W_k) >= tau and eta(A_kq) >= tilde tau.",
        (_DOMINANCE + "gradient_dominance",), _weyl, thorough=800,
    ),
    Statement(
        "000", "Theorem 2", "f - f* <= |grad f|^2 / (2 l r tilde tau^{2(r-1)} tau^{2(l-1)} eta(X)^2) where all "
        "||A_kq - A_kq*|| < min(hat tau, tilde tau); m >= d.",
        (_DOMINANCE + "gradient_dominance",), _dominance(residual_instance), thorough=500,
    ),
    Statement(
        "000", "Theorem 2, hat tau", "hat tau = min_k t_k, prod_q (||A_kq*|| + t_k) - prod_q ||A_kq*|| = tau, will do.",
        (_GEOMETRY + "increase_root",), _hat_tau, "Only the existence of hat tau is given.", thorough=800,
    ),
    Statement(
        "000", "eq. (49)", "f - f* <= lambda(A) |grad f|^2 with the four-factor sum, and lambda(A) <= lambda_f inside.",
        (_DOMINANCE + "pointwise_constant",), _dominance(residual_instance, pointwise=True),
        "(53)-(54) lack the inverse that (49)-(50) have.", _inverse_as_printed, thorough=400,
    ),
    Statement(
        "000", "Theorem 3", "g <= |grad g|^2 / (2 tau^2) where ||sigma(W_1 X) - sigma(W_1* X)|| <= tau, W_2 arbitrary.",
        (_DOMINANCE + "gradient_dominance",), _dominance(hidden_instance), thorough=300,
    ),
    Statement(
        "000", "Theorem 3, proof", "g <= |grad g|^2 / (2 eta(sigma(W_1 X))^2) at every W.",
        (_DOMINANCE + "pointwise_constant",), _dominance(hidden_instance, pointwise=True), thorough=300,
    ),
    Statement(
        "000", "section 3.1, linear rate",
        "The flow from a confined start stays inside, loses L - L* at the rate 1 / lambda, on a path of length at most "
        "2 sqrt(lambda (L - L*)).",
        (_DOMINANCE + "GradientDominance.confines", _DOMINANCE + "dominance_envelope"), _flow_rate, thorough=300,
    ),
    Statement(
        "000", "section 3.2, small layers", "With r = 1 and ||A_k*|| < 1, tau >= (1 - max ||A_k*||) / 2.",
        (_DOMINANCE + "gradient_dominance",), _small_layers, thorough=800,
    ),
    Statement(
        "000", "Theorem 4",
        "<grad h, v> >= alpha |grad h|^2 + beta |v|^2 for allowed directions within the explicit eps.",
        (_REGULARITY + "regularity", _REGULARITY + "eps_root"), _regularity(linear_instance),
        "Only the existence of eps(delta) is given.", thorough=500,
    ),
    Statement(
        "000", "section 4.1, directions",
        "With delta the smallest nonzero singular value of G every v orthogonal to ker G is allowed, and none in it.",
        (_REGULARITY + "Regularity.direction_allows",), _directions, thorough=500,
    ),
    Statement(
        "000", "section 4.1, gradient step",
        "A step of size <= 2 alpha comes closer: |v'|^2 <= (1 - 2 step beta) |v|^2.",
        (_REGULARITY + "regularity",), _gradient_step, thorough=400,
    ),
    Statement(
        "000", "Theorem 5", "The same for residual networks, zeta of the units and tilde zeta of the layers.",
        (_REGULARITY + "regularity", _REGULARITY + "growth_degrees"), _regularity(residual_instance),
        "Only the existence of eps(delta) is given.", thorough=400,
    ),
    Statement(
        "000", "Theorem 6", "The same with one hidden layer, alpha = gamma / (zeta^2 + ||X||^2 zeta^4).",
        (_REGULARITY + "regularity",), _regularity(_piecewise_instance),
        "alpha is printed with a maximum in place of the sum, which its proof does not give; 'for any delta > 0' is "
        "missing; ||sigma'||_inf is the largest entry.",
        thorough=300,
    ),
    Statement(
        "000", "Theorem 6, alpha as printed", "Within the explicit eps the printed alpha is kept as well.",
        (_REGULARITY + "regularity",), _regularity(_piecewise_instance, printed=True), thorough=300,
    ),
)  # fmt: skip
