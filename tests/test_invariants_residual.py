"""Conserved quantities of residual networks, and that no family has quadratic ones beyond those listed."""

import itertools

import numpy as np
import pytest
from moving import rate_along, rate_of_change, speed, weights

from gradflow import networks
from gradflow.flow import GradientFlow
from gradflow.invariants import Behaviour, invariants_of, shifted_imbalance
from gradflow.problem import Regression
from gradflow.regularizers import Balance, WeightDecay

SHAPES = [(2, 3, 1), (3, 2, 2), (2, 2, 3), (3, 1, 3), (3, 1, 1)]


def quartic(outputs, targets):
    return ((outputs - targets) ** 4).sum() + (outputs**2 * targets).sum()


def residual_flow(rng, dim, units, depth, rank=None, **options):
    X = rng.normal(size=(dim, 5))
    if rank is not None:
        X = rng.normal(size=(dim, rank)) @ rng.normal(size=(rank, 5))
    return GradientFlow(Regression(networks.Residual(dim, units, depth), X, rng.normal(size=(dim, 5)), **options))


def velocity_by_hand(network, X, Y, params):
    """Minus the gradient of half the squared error, from the product rule alone."""
    eye = np.eye(network.dim)
    blocks = network.blocks(params)
    maps = [eye + np.linalg.multi_dot([*reversed(block), eye]) for block in blocks]
    outputs = np.linalg.multi_dot([eye, *reversed(maps), X])
    velocity = []
    for unit, block in enumerate(blocks):
        before = np.linalg.multi_dot([eye, *reversed(maps[:unit]), X])
        after = np.linalg.multi_dot([eye, *reversed(maps[unit + 1 :]), eye])
        signal = after.T @ (Y - outputs) @ before.T
        for layer in range(network.depth):
            above = np.linalg.multi_dot([eye, *reversed(block[layer + 1 :]), eye])
            below = np.linalg.multi_dot([eye, *reversed(block[:layer]), eye])
            velocity.append(above.T @ signal @ below.T)
    return tuple(velocity)


@pytest.mark.parametrize("shape", SHAPES)
def test_listed_quantities_are_orthogonal_to_the_velocity(shape):
    rng = np.random.default_rng(SHAPES.index(shape))
    dim, units, depth = shape
    for _, rank in itertools.product(range(4), (None, dim - 1)):
        flow = residual_flow(rng, *shape, rank=rank)
        params = weights(rng, flow.problem.network.shapes, 0.6)
        velocity = velocity_by_hand(flow.problem.network, flow.problem.X, flow.problem.Y, params)
        found = invariants_of(flow)
        assert all(invariant.holds and invariant.decay == 0.0 for invariant in found)
        for invariant in found:
            assert np.max(np.abs(rate_along(velocity, invariant.value, params))) < 1e-11 * max(speed(velocity), 1.0)
        kernels = 0 if rank is None else 1
        pairs = units - 1 if depth == 1 else units * (depth - 1)
        differences = depth - 1 if units == 1 and depth > 1 else 0
        assert len(found) == pairs + differences + kernels


def test_names_say_unit_and_layer():
    rng = np.random.default_rng(0)
    names = [invariant.name for invariant in invariants_of(residual_flow(rng, 2, 2, 3, rank=1))]
    assert names == ["C_1,1", "C_1,2", "C_2,1", "C_2,2", "W_1 on ker X^T"]
    assert [invariant.name for invariant in invariants_of(residual_flow(rng, 2, 3, 1))] == ["C_1", "C_2"]
    assert [invariant.name for invariant in invariants_of(residual_flow(rng, 2, 1, 2))] == ["C_1", "c_1"]


def test_any_loss_and_the_velocity_by_hand_is_minus_the_gradient():
    rng = np.random.default_rng(1)
    for shape in ((2, 2, 2), (2, 3, 1)):
        flow = residual_flow(rng, *shape)
        params = weights(rng, flow.problem.network.shapes, 0.6)
        by_hand = velocity_by_hand(flow.problem.network, flow.problem.X, flow.problem.Y, params)
        for expected, found in zip(by_hand, flow.vector_field(params), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-12)
        other = residual_flow(rng, *shape, loss=quartic)
        for invariant in invariants_of(other):
            assert np.max(np.abs(rate_of_change(other, invariant.value, params))) < 1e-8
        assert speed(other.vector_field(params)) > 10


def test_obvious_candidates_between_units_drift():
    rng = np.random.default_rng(2)
    flow = residual_flow(rng, 3, 2, 2)
    network, params = flow.problem.network, weights(rng, flow.problem.network.shapes, 0.6)
    velocity = velocity_by_hand(network, flow.problem.X, flow.problem.Y, params)
    transpose = lambda layer: layer.swapaxes(-1, -2)  # noqa: E731

    def maps(layers):
        return [np.eye(3) + layers[2 * unit + 1] @ layers[2 * unit] for unit in range(2)]

    candidates = {
        "first layer of the second unit against the last of the first":
            lambda A: transpose(A[2]) @ A[2] - A[1] @ transpose(A[1]),
        "the units' maps": lambda A: transpose(maps(A)[1]) @ maps(A)[1] - maps(A)[0] @ transpose(maps(A)[0]),
        "shifted layers": lambda A: shifted_imbalance(A, 1),
        "norms of units": lambda A: ((A[0] ** 2 + A[1] ** 2) - (A[2] ** 2 + A[3] ** 2)).sum((-2, -1)),
    }  # fmt: skip
    for words, candidate in candidates.items():
        assert np.max(np.abs(rate_along(velocity, candidate, params))) > 1e-2 * speed(velocity), words


def test_plain_imbalance_drifts_for_shortcuts_over_one_layer():
    """It is I + A that is balanced, not A."""
    rng = np.random.default_rng(3)
    flow = residual_flow(rng, 2, 2, 1)
    params = weights(rng, flow.problem.network.shapes)
    velocity = velocity_by_hand(flow.problem.network, flow.problem.X, flow.problem.Y, params)
    plain = rate_along(velocity, lambda A: A[1].swapaxes(-1, -2) @ A[1] - A[0] @ A[0].swapaxes(-1, -2), params)
    assert np.max(np.abs(plain)) > 1e-2 * speed(velocity)


def test_weight_decay_keeps_a_law_inside_units_but_not_for_shifted_layers():
    rng, decay = np.random.default_rng(4), WeightDecay(0.3)
    for shape in ((2, 2, 2), (2, 3, 1)):
        flow = residual_flow(rng, *shape, rank=1, regularizer=decay)
        params = weights(rng, flow.problem.network.shapes, 0.6)
        for invariant in invariants_of(flow):
            rate = rate_of_change(flow, invariant.value, params)
            if invariant.decay is None:
                assert shape[2] == 1 and invariant.behaviour is Behaviour.NEITHER
                assert np.max(np.abs(rate + 0.6 * invariant.value(params))) > 0.05
            else:
                assert invariant.decay == pytest.approx(0.3 if "ker" in invariant.name else 0.6)
                np.testing.assert_allclose(rate, -invariant.decay * invariant.value(params), atol=1e-10)


def test_a_balancing_term_has_its_law_for_one_unit_only():
    rng = np.random.default_rng(5)
    one, two = (residual_flow(rng, 2, units, 2, regularizer=Balance(0.3)) for units in (1, 2))
    assert invariants_of(one)[0].behaviour is Behaviour.DECAYS_MONOTONICALLY
    assert all(invariant.behaviour is Behaviour.NEITHER for invariant in invariants_of(two))


# --- Nothing more: all quadratic conservation laws, by linear algebra ------------------------------------------------


def monomials(num):
    return [*((i,) for i in range(num)), *itertools.combinations_with_replacement(range(num), 2)]


def monomial_gradients(point, powers):
    """``grad`` of every monomial of degree 1 and 2 at `point`, one per column."""
    gradients = np.zeros((len(point), len(powers)))
    for column, indices in enumerate(powers):
        if len(indices) == 1:
            gradients[indices[0], column] = 1.0
        else:
            gradients[indices[0], column] += point[indices[1]]
            gradients[indices[1], column] += point[indices[0]]
    return gradients


def outputs_jacobian(forward, shapes, point):
    """Derivative of all outputs by all weights: complex steps for polynomials, exact to rounding."""
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]

    def outputs(flat):
        parts = np.split(flat, cuts)
        return forward(tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))).ravel()

    step = 1e-30
    columns = [outputs(point + 1j * step * unit).imag / step for unit in np.eye(len(point))]
    return np.stack(columns, axis=1)


def nullity(matrix):
    values = np.linalg.svd(matrix, compute_uv=False)
    small = values < 1e-9 * values[0]
    assert not np.any((values > 1e-11 * values[0]) & small), "no clear gap"
    return matrix.shape[1] - len(values) + int(small.sum())


def quadratic_laws(rng, forward, shapes):
    """Dimension of the space of quadratic functions q with ``<grad q, J^T G> = 0`` for all weights and all G."""
    num = sum(int(np.prod(shape)) for shape in shapes)
    powers, rows, count = monomials(num), [], 0
    while count < 2 * len(powers):
        point = rng.normal(size=num)
        block = outputs_jacobian(forward, shapes, point) @ monomial_gradients(point, powers)
        rows.append(block / np.linalg.norm(block))
        count += int(np.linalg.matrix_rank(block))
    return nullity(np.concatenate(rows))


def claimed_laws(rng, problem):
    """How many independent quadratic functions the listed invariants, and products of linear ones, span."""
    num = sum(int(np.prod(shape)) for shape in problem.network.shapes)
    points = rng.normal(size=(3 * len(monomials(num)), num))
    cuts = np.cumsum([int(np.prod(shape)) for shape in problem.network.shapes])[:-1]
    rows = tuple(
        part.reshape(-1, *shape)
        for part, shape in zip(np.split(points, cuts, axis=1), problem.network.shapes, strict=True)
    )
    columns = [np.ones((len(points), 1))]
    for invariant in invariants_of(GradientFlow(problem)):
        assert invariant.holds
        values = np.asarray(invariant.value(rows)).reshape(len(points), -1)
        columns.append(values)
        if "ker" in invariant.name:
            products = values[:, :, None] * values[:, None, :]
            columns.append(products.reshape(len(points), -1))
    values = np.linalg.svd(np.concatenate(columns, axis=1), compute_uv=False)
    return int(np.sum(values > 1e-10 * values[0])) - 1


def linear_forward(X):
    return lambda layers: np.linalg.multi_dot([*reversed(layers), X])


def residual_forward(network, X):
    def forward(layers):
        outputs = X
        for block in network.blocks(layers):
            shortcut = outputs
            for layer in block:
                shortcut = layer @ shortcut
            outputs = outputs + shortcut
        return outputs

    return forward


def shallow_forward(sigma, X):
    return lambda layers: layers[1] @ sigma(layers[0] @ X)


def leaky(values):
    return np.where(values.real > 0, values, 0.1 * values)


def relu_squared(values):
    return np.where(values.real > 0, values, 0.0) ** 2


COUNTS = [
    ("linear", networks.Linear((2, 3, 2)), None, 6),
    ("linear, H = 2", networks.Linear((2, 2, 2, 2)), None, 6),
    ("linear, bottleneck", networks.Linear((3, 1, 3)), None, 1),
    ("linear, rank 1", networks.Linear((2, 2, 2)), 1, 3 + 2 + 3),
    ("residual, r = 2", networks.Residual(2, 2, 2), None, 6),
    ("residual, r = 1", networks.Residual(2, 3, 1), None, 6),
    ("residual, r = 1, rank 1", networks.Residual(2, 2, 1), 1, 3 + 2 + 3),
    ("residual, r = 3", networks.Residual(2, 1, 3), None, 6),
    ("residual, d = 1", networks.Residual(1, 3, 2), None, 3),
    ("leaky ReLU", networks.Shallow((2, 3, 2), "leaky_relu"), None, 3),
    ("squared ReLU", networks.Shallow((2, 3, 2), "relu_squared"), None, 3),
    ("tanh", networks.Shallow((2, 2, 2), "tanh"), None, None),
    ("tanh, rank 1", networks.Shallow((2, 2, 2), "tanh"), 1, None),
]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("words", "network", "rank", "expected"), COUNTS, ids=[row[0] for row in COUNTS])
def test_there_are_no_quadratic_conservation_laws_but_the_listed_ones(words, network, rank, expected):
    """By linear algebra at random weights: every quadratic function conserved for every loss of the outputs."""
    rng = np.random.default_rng(len(words))
    d_in, d_out = network.shapes[0][1], network.shapes[-1][0]
    X = rng.normal(size=(d_in, 4)) if rank is None else rng.normal(size=(d_in, rank)) @ rng.normal(size=(rank, 4))
    if isinstance(network, networks.Linear):
        forward = linear_forward(X)
    elif isinstance(network, networks.Residual):
        forward = residual_forward(network, X)
    else:
        known = {"leaky_relu(0.01)": lambda a: np.where(a.real > 0, a, 0.01 * a), "relu_squared": relu_squared,
                 "tanh": np.tanh}  # fmt: skip
        forward = shallow_forward(known[network.activation.name], X)
    found = quadratic_laws(rng, forward, network.shapes)
    if expected is None:
        # General data: nothing for tanh but W_1 on ker X^T (two numbers, three products of them).
        assert found == (0 if rank is None else 5)
        return
    claimed = claimed_laws(rng, Regression(network, X, rng.normal(size=(d_out, 4)), normalization="mean"))
    assert found == claimed == expected


@pytest.mark.parametrize(("data", "expected"), [("orthogonal", 2), ("general", 0)])
def test_potentials_balance_tanh_units_exactly_when_the_columns_are_orthogonal(data, expected):
    """Quadratic functions and ``Sigma((W_1 X)_lk)`` together: one law per unit, or none."""
    rng = np.random.default_rng(7)
    X = np.linalg.qr(rng.normal(size=(2, 2)))[0] * [1.5, 0.7] if data == "orthogonal" else rng.normal(size=(2, 2))
    shapes, powers, rows = ((2, 2), (2, 2)), monomials(8), []
    for _ in range(40):
        point = 0.7 * rng.normal(size=8)
        preactivations = point[:4].reshape(2, 2) @ X
        phi = np.sinh(preactivations) * np.cosh(preactivations)
        extra = np.zeros((8, 4))
        for column, (unit, sample) in enumerate(itertools.product(range(2), range(2))):
            extra[2 * unit : 2 * unit + 2, column] = phi[unit, sample] * X[:, sample]
        jacobian = outputs_jacobian(shallow_forward(np.tanh, X), shapes, point)
        rows.append(jacobian @ np.concatenate([monomial_gradients(point, powers), extra], axis=1))
    assert nullity(np.concatenate(rows)) == expected
