"""Networks: shapes, outputs, and flows with known states (paper 003, section 5)."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from example_networks import CLASSES, NETWORKS, params_of, problem_of

import gradflow as gf
from gradflow import activations, checks, networks

GOLDEN = {
    case["id"].split("_")[0]: case
    for case in json.loads((Path(__file__).parent / "golden" / "paper_003.json").read_text())["cases"]
}


def layers_of(values):
    return tuple(np.array(values[name]) for name in ("W1", "W2"))


def flow_of(case, activation, output):
    X = np.array(case["inputs"].get("X", np.eye(2)), dtype=float)
    Y = np.array(case["inputs"].get("Y", case["inputs"].get("S_Y")), dtype=float)
    network = networks.Shallow((2, 3, 2), activation, output)
    return gf.GradientFlow(gf.Regression(network, X, Y))


def reached(case, activation, output):
    start = layers_of(case["inputs"])
    run = gf.integrate(flow_of(case, activation, output), start, float(case["inputs"]["t"]), rtol=1e-12, atol=1e-13)
    return start, run


def test_every_network_is_in_the_table():
    assert {type(network) for network in NETWORKS.values()} == CLASSES


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_maps_each_column_alone_and_inherits_no_other_networks_theory(name):
    network, (problem, params) = NETWORKS[name], (problem_of(NETWORKS[name]), params_of(NETWORKS[name]))
    assert not any(isinstance(network, other) for other in CLASSES - {type(network)})
    assert hash(network.shapes) and network.shapes == tuple(layer.shape for layer in params)
    with jax.enable_x64(True):
        outputs = np.asarray(network(params, problem.X))
        columns = [np.asarray(network(params, problem.X[:, [sample]])) for sample in range(problem.X.shape[1])]
    assert outputs.shape == problem.Y.shape and np.abs(outputs).max() > 1e-3
    np.testing.assert_allclose(np.concatenate(columns, axis=1), outputs, rtol=1e-13)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_and_hessian_of_a_network_are_the_differences_of_its_loss(name):
    network, (problem, params) = NETWORKS[name], (problem_of(NETWORKS[name]), params_of(NETWORKS[name]))
    direction = params_of(network, seed=2)

    def beside(step):
        return tuple(layer + step * way for layer, way in zip(params, direction, strict=True))

    def flat(layers):
        return np.concatenate([np.ravel(layer) for layer in layers])

    with jax.enable_x64(True):
        outputs = [0.5 * np.sum((np.asarray(network(beside(h), problem.X)) - problem.Y) ** 2) for h in (1e-5, -1e-5)]
    slope = flat(problem.gradient(params)) @ flat(direction)
    assert (outputs[0] - outputs[1]) / 2e-5 == pytest.approx(slope, rel=1e-7)
    bend = (flat(problem.gradient(beside(1e-5))) - flat(problem.gradient(beside(-1e-5)))) / 2e-5
    expected = problem.hessian(params) @ flat(direction)
    np.testing.assert_allclose(bend, expected, rtol=0, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("names", ["tanh/tanh", "arctan/tanh"])
def test_g29_states_of_nonlinear_networks_with_orthonormal_data(names):
    case, (inner, outer) = GOLDEN["G29"], names.split("/")
    _, run = reached(case, inner, outer)
    for found, expected in zip(run.endpoint, layers_of(case["expected"][names]), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)
    assert flow_of(case, inner, outer).problem.loss(run.endpoint) == pytest.approx(
        case["expected"][names]["loss"], 1e-9
    )


def test_g29_the_potentials_balance_the_layers_of_each_unit():
    case = GOLDEN["G29"]
    sigma = activations.get("tanh")
    start, run = reached(case, "tanh", "tanh")
    for first, second in (start, run.endpoint):
        balance = np.sum(second**2, axis=0) - 2 * np.sum(np.asarray(sigma.potential(first)), axis=1)
        np.testing.assert_allclose(balance, case["expected"]["tanh/tanh"]["invariant_per_unit"], atol=1e-6)


def test_g30_states_of_a_nonlinear_network_with_any_data():
    case = GOLDEN["G30"]
    _, run = reached(case, "tanh", "tanh")
    for found, expected in zip(run.endpoint, layers_of(case["expected"]), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_g32_a_leaky_network_keeps_the_norm_difference_of_each_unit():
    case = GOLDEN["G32"]
    start, run = reached(case, activations.LeakyReLU(0.1), "identity")
    for found, expected in zip(run.endpoint, layers_of(case["expected"]), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)
    for first, second in (start, run.endpoint):
        np.testing.assert_allclose(np.sum(second**2, 0) - np.sum(first**2, 1), case["expected"]["invariant"], atol=1e-9)


def test_g33_a_target_outside_the_range_is_never_reached():
    case = GOLDEN["G33"]
    flow = gf.GradientFlow(gf.Regression(networks.Shallow((1, 1, 1), "tanh", "tanh"), [[1.0]], [[2.0]]))
    start = layers_of(case["inputs"])
    run = gf.integrate(flow, start, 1e12, save_at=[50.0, 1e6, 1e12], rtol=1e-11, atol=1e-12)
    for row, name in enumerate(("t50", "t1e6", "t1e12")):
        found = [run.params[0][row].item(), run.params[1][row].item()]
        np.testing.assert_allclose(found, case["expected"][name], rtol=1e-6)


@pytest.mark.parametrize(("units", "depth"), [(1, 1), (1, 3), (3, 1), (2, 2)])
def test_a_residual_network_is_the_product_of_its_units(units, depth):
    rng = np.random.default_rng(units + 10 * depth)
    network = networks.Residual(3, units, depth)
    layers = tuple(rng.normal(size=shape) for shape in network.shapes)
    assert len(layers) == units * depth
    product = np.eye(3)
    for unit in range(units):
        block = np.eye(3)
        for layer in layers[unit * depth : (unit + 1) * depth]:
            block = layer @ block
        product = (np.eye(3) + block) @ product
    X = rng.normal(size=(3, 5))
    np.testing.assert_allclose(network(layers, X), product @ X, rtol=1e-5)
    problem = gf.Regression(network, X, product @ X)
    assert problem.loss(layers) == pytest.approx(0.0, abs=1e-24)


def test_a_residual_network_of_one_layer_per_shortcut_flows_as_a_linear_one():
    rng = np.random.default_rng(7)
    X, Y = rng.normal(size=(2, 6)), rng.normal(size=(2, 6))
    residual, linear = networks.Residual(2, 2, 1), networks.Linear((2, 2, 2))
    shortcuts = tuple(0.3 * rng.normal(size=(2, 2)) for _ in range(2))
    one = gf.integrate(gf.GradientFlow(gf.Regression(residual, X, Y)), shortcuts, 2.0, rtol=1e-10, atol=1e-12)
    full = tuple(np.eye(2) + shortcut for shortcut in shortcuts)
    other = gf.integrate(gf.GradientFlow(gf.Regression(linear, X, Y)), full, 2.0, rtol=1e-10, atol=1e-12)
    for a, w in zip(one.endpoint, other.endpoint, strict=True):
        np.testing.assert_allclose(np.eye(2) + a, w, atol=1e-8)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_diagonal_network_multiplies_its_weights_entry_by_entry(depth):
    rng = np.random.default_rng(depth)
    network = networks.Diagonal(4, depth)
    params = tuple(rng.normal(size=shape) for shape in network.shapes)
    X = rng.normal(size=(4, 5))
    expected = [[sum(x * math.prod(w[0, i] for w in params) for i, x in enumerate(sample)) for sample in X.T]]
    np.testing.assert_allclose(network(params, X), expected, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_a_diagonal_network_finds_the_solution_that_the_scale_of_its_start_decides(scale):
    """``arsinh(2 b / scale^2)`` of the end lies in the span of the samples: the optimality of a potential of b."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(6, 3))
    flow = gf.GradientFlow(gf.Regression(networks.Diagonal(6), X, np.array([[1.0, 0.0, 0.0, -1.0, 0.0, 0.0]]) @ X))
    start = (np.full((1, 6), scale), np.zeros((1, 6)))
    run = gf.integrate(flow, start, rtol=1e-10, atol=1e-13)
    first, second = (np.asarray(layer)[0] for layer in run.endpoint)
    assert flow.problem.loss(run.endpoint) < 1e-16
    np.testing.assert_allclose(first**2 - second**2, scale**2, atol=1e-8)
    dual = np.arcsinh(2 * first * second / scale**2)
    outside = dual - X @ np.linalg.lstsq(X, dual, rcond=None)[0]
    assert np.linalg.norm(outside) < 1e-6 * np.linalg.norm(dual)


def test_a_shallow_network_applies_its_activations_where_it_says():
    network = networks.Shallow((2, 3, 1), "relu", "tanh")
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(3, 2)), rng.normal(size=(1, 3))
    X = rng.normal(size=(2, 4))
    expected = np.tanh(second @ np.maximum(first @ X, 0))
    np.testing.assert_allclose(network((first, second), X), expected, rtol=1e-5)
    np.testing.assert_allclose(network.preactivations((first, second), X), first @ X, rtol=1e-5)
    assert math.isclose(float(jnp.max(network((first, second), X))), expected.max(), rel_tol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: networks.Shallow((2, 3), "tanh"), r"three numbers \(d_0, d_1, d_2\)"),
        (lambda: networks.Shallow((2, 3, 1), "tahn"), "Perhaps you meant 'tanh'"),
        (lambda: networks.Residual(0, 1), "`dim` must be at least 1"),
        (lambda: networks.Diagonal(2, 0), "`depth` must be at least 1"),
        (lambda: networks.Residual(2, 1, 1.5), "`depth` must be a whole number"),
    ],
)
def test_wrong_networks_are_refused(make, message):
    with pytest.raises(checks.InputError, match=message):
        make()
