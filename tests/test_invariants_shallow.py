"""Conserved quantities of shallow nonlinear networks: which hypotheses on the data they need, and that they do."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from moving import orthogonal_data, rate_along, rate_of_change, shallow_velocity, speed, states, weights

import gradflow as gf
from gradflow import activations, checks
from gradflow.flow import GradientFlow
from gradflow.invariants import Behaviour, Invariant, contraction, distinct_columns, imbalance, invariants_of
from gradflow.losses import squared_error
from gradflow.networks import Shallow
from gradflow.problem import Regression
from gradflow.regularizers import Balance, WeightDecay

CASES = {
    case["id"][:3]: case for case in json.loads((Path(__file__).parent / "golden/paper_003.json").read_text())["cases"]
}
NAMED = {name: activations.get(name) for name in activations.NAMES if name != "identity"}
HOMOGENEOUS = [name for name, sigma in NAMED.items() if sigma.homogeneity is not None]
SIGMOIDS = [name for name, sigma in NAMED.items() if sigma.homogeneity is None and sigma.is_injective]
TINY = 1e-11


def quartic(outputs, targets):
    return ((outputs - targets) ** 4).sum() + (outputs**2 * targets).sum()


IDENTITY = np.eye(3, 6)
"""X = I with columns of zeros, so that all tests share one shape, which JAX compiles once."""


def shallow_flow(rng, X, activation, output="tanh", **options):
    network = Shallow((3, 3, 2), activation, output)
    X = np.concatenate([X, np.zeros((3, 6 - X.shape[1]))], axis=1)
    return GradientFlow(Regression(network, X, rng.normal(size=(2, 6)), **options))


def start_of(rng):
    return weights(rng, ((3, 3), (2, 3)), 0.7)


def by_name(flow):
    return {invariant.name: invariant for invariant in invariants_of(flow)}


def velocity_of(flow, params):
    """By hand where it can be: automatic differentiation compiles every operation of every activation."""
    problem = flow.problem
    if problem.loss_function is not squared_error or problem.regularizer is not None:
        return flow.vector_field(params)
    network = problem.network
    moves = shallow_velocity(network.activation, network.output_activation, problem.X, problem.Y, params)
    return tuple(move * problem._weight for move in moves)


def drifts(flow, params):
    """Rates of change relative to speed times scale: rounding for what is conserved (see moving.rate_along)."""
    found, velocity = {}, velocity_of(flow, params)
    for name, invariant in by_name(flow).items():
        rate = np.max(np.abs(rate_along(velocity, invariant.value, params)))
        found[name] = rate / (speed(velocity) * max(float(invariant.scale(params)), 1.0))
    return found


@pytest.mark.parametrize(("activation", "loss"), [*((name, "squared") for name in SIGMOIDS), ("tanh", "quartic")])
def test_potential_balances_are_orthogonal_to_the_velocity_for_orthogonal_columns(activation, loss):
    rng = np.random.default_rng([SIGMOIDS.index(activation), len(loss)])
    options = {"loss": quartic} if loss == "quartic" else {"normalization": "mean"}
    X = orthogonal_data(rng, 3, 2, repeats=3, signs=True, zeros=1)
    flow = shallow_flow(rng, X, activation, **options)
    params = start_of(rng)
    found = invariants_of(flow)
    assert [invariant.name for invariant in found] == ["unit balance", "total balance", "W_1 on ker X^T"]
    assert all(invariant.holds and invariant.decay == 0.0 for invariant in found)
    assert all(drift < TINY for drift in drifts(flow, params).values())


@pytest.mark.parametrize("activation", HOMOGENEOUS)
def test_norm_balances_are_orthogonal_to_the_velocity_for_any_data(activation):
    rng = np.random.default_rng(HOMOGENEOUS.index(activation))
    X = rng.normal(size=(3, 2)) @ rng.normal(size=(2, 6))
    flow = shallow_flow(rng, X, activation, output="arctan")
    params = start_of(rng)
    found = by_name(flow)
    assert all(invariant.holds and invariant.decay == 0.0 for invariant in found.values()) and len(found) == 3
    assert all(drift < TINY for drift in drifts(flow, params).values())
    degree = 2 if activation == "relu_squared" else 1
    expected = degree * np.sum(params[1] ** 2, axis=0) - np.sum(params[0] ** 2, axis=1)
    np.testing.assert_allclose(found["unit balance"].value(params), expected, rtol=1e-15)
    assert found["total balance"].value(params) == pytest.approx(expected.sum())


def test_units_at_a_kink_conserve_too():
    rng = np.random.default_rng(1)
    flow = shallow_flow(rng, IDENTITY, "leaky_relu")
    first, second = start_of(rng)
    first[0, 0] = first[1, 2] = 0.0
    assert drifts(flow, (first, second))["unit balance"] < TINY


@pytest.mark.parametrize("activation", ["tanh", "softsign"])
def test_general_data_are_refused_with_the_measured_cosine_and_the_printed_quantity_drifts(activation):
    rng = np.random.default_rng(2)
    flow = shallow_flow(rng, rng.normal(size=(3, 6)), activation)
    found = by_name(flow)
    for name in ("unit balance", "total balance"):
        invariant = found[name]
        assert invariant.holds is False and invariant.decay is None and invariant.behaviour is Behaviour.NEITHER
        assert "as printed" in invariant.source
        failed = [hypothesis.statement for hypothesis in invariant.hypotheses if not hypothesis.holds]
        assert len(failed) == 1 and "orthogonal (largest |cosine| 0." in failed[0]
    assert max(drifts(flow, start_of(rng)).values()) > 1e-3


def test_nearly_orthogonal_columns_are_refused_from_the_tolerance_on():
    rng = np.random.default_rng(3)
    X = orthogonal_data(rng, 3, 3)
    tilted = X + 1e-9 * X[:, ::-1]
    assert by_name(shallow_flow(rng, X + 1e-15 * X[:, ::-1], "tanh"))["unit balance"].holds is True
    assert by_name(shallow_flow(rng, tilted, "tanh"))["unit balance"].holds is False


def test_opposite_columns_count_once_only_for_odd_activations():
    uneven = activations.Sigmoid(lambda x: jnp.tanh(x) * (1 + 0.2 * jnp.tanh(x)), "uneven tanh")
    assert not uneven.is_odd
    X = np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    rng = np.random.default_rng(4)
    odd, other = shallow_flow(rng, X, "tanh"), shallow_flow(rng, X, uneven)
    assert by_name(odd)["unit balance"].holds is True and by_name(other)["unit balance"].holds is False
    params = start_of(rng)
    assert drifts(odd, params)["unit balance"] < TINY
    assert by_name(shallow_flow(rng, np.abs(X), uneven))["unit balance"].holds is True


def test_parallel_columns_of_unlike_length_are_refused_for_sigmoids():
    X = np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    rng = np.random.default_rng(5)
    flow = shallow_flow(rng, X, "tanh")
    assert by_name(flow)["unit balance"].holds is False
    assert "cosine| 1," in by_name(flow)["unit balance"].hypotheses[3].statement


def test_distinct_columns_are_found_with_their_multiplicities():
    rng = np.random.default_rng(6)
    X = np.array([[0.0, 2.0, 0.0, 2.0, 0.0, -2.0], [0.0, 0.0, 3.0, 0.0, 0.0, 0.0]])
    plain, signed = distinct_columns(X), distinct_columns(X, signs=True)
    assert not plain.is_orthogonal and plain.cosine == pytest.approx(1.0) and plain.num_zero == 2
    assert signed.is_orthogonal and signed.counts == (3, 1)
    np.testing.assert_array_equal(signed.columns, [[2.0, 0.0], [0.0, 3.0]])
    many = rng.normal(size=(3, 50_000))
    assert distinct_columns(many).cosine > 0.9 and distinct_columns(many).columns.shape == (3, 1)


@pytest.mark.parametrize("activation", [activations.Identity(), activations.LeakyReLU(1.0)])
def test_a_linear_hidden_layer_conserves_the_whole_matrix_whatever_the_output(activation):
    rng = np.random.default_rng(7)
    flow = shallow_flow(rng, rng.normal(size=(3, 6)), activation, output="tanh", loss=quartic)
    assert list(by_name(flow)) == ["C_1", "c_1"] and all(invariant.holds for invariant in invariants_of(flow))
    assert all(drift < TINY for drift in drifts(flow, start_of(rng)).values())


def test_the_matrix_of_a_relu_network_drifts_off_its_diagonal():
    """Remark 4 is about the diagonal alone."""
    rng = np.random.default_rng(8)
    flow = shallow_flow(rng, rng.normal(size=(3, 6)), "relu", output="identity")
    params = start_of(rng)
    rate = rate_along(velocity_of(flow, params), lambda layers: imbalance(layers, 1), params)
    assert np.max(np.abs(np.diag(rate))) < 1e-10 and np.max(np.abs(rate - np.diag(np.diag(rate)))) > 0.1


def test_homogeneous_balances_decay_exactly_under_weight_decay_and_potentials_keep_no_law():
    rng, decay = np.random.default_rng(9), WeightDecay(0.3)
    relu = shallow_flow(rng, rng.normal(size=(3, 6)), "relu_squared", regularizer=decay)
    params = start_of(rng)
    for invariant in invariants_of(relu):
        assert invariant.holds is False and invariant.decay == pytest.approx(0.6)
        assert invariant.behaviour is Behaviour.DECAYS_EXACTLY and "exp(-0.6 t)" in invariant.hypotheses[1].statement
        rate = rate_of_change(relu, invariant.value, params)
        np.testing.assert_allclose(rate, -0.6 * invariant.value(params), rtol=0, atol=1e-10)
    tanh = shallow_flow(rng, IDENTITY, "tanh", regularizer=decay)
    invariant = by_name(tanh)["unit balance"]
    assert invariant.decay is None and invariant.behaviour is Behaviour.NEITHER and invariant.holds is False
    rate = rate_of_change(tanh, invariant.value, params)
    expected = -0.6 * (np.sum(params[1] ** 2, 0) - np.sum(np.sinh(2 * params[0]) / 2 * params[0], 1))
    np.testing.assert_allclose(rate, expected, rtol=1e-10)
    assert np.max(np.abs(rate + 0.6 * invariant.value(params))) > 0.1


def test_balancing_and_unknown_terms_leave_no_law_for_nonlinear_networks():
    rng = np.random.default_rng(10)
    flow = shallow_flow(rng, rng.normal(size=(3, 6)), "relu", regularizer=Balance(0.2))
    assert all(i.behaviour is Behaviour.NEITHER and i.holds is False for i in invariants_of(flow))
    assert np.max(np.abs(rate_of_change(flow, by_name(flow)["unit balance"].value, start_of(rng)))) > 0.1
    assert contraction(Balance(0.0)) == 0.0 and contraction(Balance(0.2)) is None


def test_values_keep_leading_axes_and_blocks_change_nothing():
    rng = np.random.default_rng(11)
    flow = shallow_flow(rng, IDENTITY, "arctan")
    rows = tuple(rng.normal(size=(2500, *shape)) for shape in flow.problem.network.shapes)
    for invariant in invariants_of(flow):
        values = invariant.value(rows)
        assert len(values) == 2500
        for row in (0, 1700, 2499):
            np.testing.assert_allclose(values[row], invariant.value(tuple(layer[row] for layer in rows)), rtol=1e-13)
        assert invariant.scale(rows).shape == (2500,)


def test_an_overflowing_potential_is_minus_infinity_and_its_drift_is_not_judged():
    rng = np.random.default_rng(12)
    flow = shallow_flow(rng, IDENTITY, "tanh")
    first, second = start_of(rng)
    far = first.copy()
    far[1, 2] = 400.0
    units, total = (by_name(flow)[name] for name in ("unit balance", "total balance"))
    value = units.value((far, second))
    assert value[1] == -np.inf and np.isfinite(value[[0, 2]]).all() and total.value((far, second)) == -np.inf
    assert units.scale((far, second)) == np.inf
    # Entry 1 is no number at the start and left out; the others are compared.
    moved = (far + 0.0, second * 1.1)
    change = np.abs(units.value(moved)[[0, 2]] - value[[0, 2]]).max()
    assert units.drift(moved, (far, second)) == pytest.approx(change)
    assert np.isnan(total.drift(moved, (far, second)))
    # What was finite and overflows has drifted.
    assert units.drift((far, second), (first, second)) == np.inf


def test_drift_follows_the_law_of_decay_row_by_row():
    rng = np.random.default_rng(13)
    flow = shallow_flow(rng, rng.normal(size=(3, 6)), "relu", regularizer=WeightDecay(0.5))
    start = start_of(rng)
    times = np.array([0.0, 0.7, 2.0])
    rows = tuple(layer * np.exp(-0.5 * times)[:, None, None] for layer in start)
    units = by_name(flow)["unit balance"]
    np.testing.assert_allclose(units.drift(rows, start, times), 0.0, atol=1e-14)
    assert units.drift(rows, start)[2] == pytest.approx(np.abs(units.value(start)).max() * (1 - np.exp(-2.0)))


def test_an_invariant_cannot_claim_more_than_its_hypotheses():
    (failed, *_), good = by_name(shallow_flow(np.random.default_rng(0), np.ones((3, 2)), "tanh")).values(), {}
    assert failed.holds is True, "one column twice"
    good = {name: getattr(failed, name) for name in ("name", "formula", "flow", "source", "shapes", "function")}
    false = (gf.hypotheses.Hypothesis("the moon is full", False),)
    for wrong in ({"decay": 0.0}, {"decay": None, "behaviour": Behaviour.CONSERVED},
                  {"decay": None, "behaviour": Behaviour.DECAYS_EXACTLY}):  # fmt: skip
        with pytest.raises(checks.InputError, match=r"`behaviour` must not claim an exact law"):
            Invariant(hypotheses=false, **wrong, **good)
    assert Invariant(hypotheses=false, decay=0.4, **good).behaviour is Behaviour.DECAYS_EXACTLY


def test_an_unknown_potential_is_undecided():
    class Odd(activations.AbstractActivation):
        name = "bump"

        def __call__(self, x):
            return x * np.e ** (-(x**2))

        def potential(self, x):
            return x**2

    rng = np.random.default_rng(14)
    invariant = by_name(shallow_flow(rng, IDENTITY, Odd()))["unit balance"]
    assert invariant.holds is None and invariant.behaviour is Behaviour.NEITHER


# --- The reference cases of section 8 ---------------------------------------------------------------------------------


def case(name):
    inputs, expected = CASES[name]["inputs"], CASES[name]["expected"]
    return inputs, expected, tuple(np.array(inputs[key], float) for key in ("W1", "W2"))


@pytest.mark.parametrize("pair", ["tanh/tanh", "arctan/tanh"])
def test_g29_states_and_invariants_for_the_identity_as_data(pair):
    inputs, expected, start = case("G29")
    expected, (first, second) = expected[pair], pair.split("/")
    flow = GradientFlow(Regression(Shallow((2, 3, 2), first, second), np.eye(2), np.array(inputs["S_Y"], float)))
    end = tuple(layer[-1] for layer in states(flow, start, [float(inputs["t"])]))
    np.testing.assert_allclose(end[0], expected["W1"], atol=1e-10)
    np.testing.assert_allclose(end[1], expected["W2"], atol=1e-10)
    assert flow.problem.loss(end) == pytest.approx(expected["loss"], abs=1e-10)
    found = by_name(flow)
    for params in (start, end):
        np.testing.assert_allclose(found["unit balance"].value(params), expected["invariant_per_unit"], atol=1e-10)
        assert found["total balance"].value(params) == pytest.approx(expected["invariant_total"], abs=1e-10)


def test_g30_nothing_is_conserved_for_general_data():
    inputs, expected, start = case("G30")
    X, Y = np.array(inputs["X"], float), np.array(inputs["Y"], float)
    flow = GradientFlow(Regression(Shallow((2, 3, 2), "tanh", "tanh"), X, Y))
    end = tuple(layer[-1] for layer in states(flow, start, [float(inputs["t"])]))
    np.testing.assert_allclose(end[0], expected["W1"], atol=1e-9)
    np.testing.assert_allclose(end[1], expected["W2"], atol=1e-9)
    printed = by_name(flow)["unit balance"]
    assert printed.holds is False
    np.testing.assert_allclose(printed.value(end) - printed.value(start), expected["drift_Sigma_W1"], atol=1e-9)

    def difference(params):
        return np.sum(params[1] ** 2, axis=0) - np.sum(params[0] ** 2, axis=1)

    np.testing.assert_allclose(difference(end) - difference(start), expected["drift_norm_difference"], atol=1e-9)


def test_g32_leaky_relu_conserves_for_general_data():
    inputs, expected, start = case("G32")
    X, Y = np.array(inputs["X"], float), np.array(inputs["Y"], float)
    network = Shallow((2, 3, 2), activations.LeakyReLU(0.1), "identity")
    flow = GradientFlow(Regression(network, X, Y))
    end = tuple(layer[-1] for layer in states(flow, start, [float(inputs["t"])]))
    np.testing.assert_allclose(end[0], expected["W1"], atol=1e-10)
    np.testing.assert_allclose(end[1], expected["W2"], atol=1e-10)
    for params in (start, end):
        np.testing.assert_allclose(by_name(flow)["unit balance"].value(params), expected["invariant"], atol=1e-12)


@pytest.mark.parametrize("pair", [("tanh", "tanh"), ("erf", "softsign")])
def test_the_hand_written_velocity_is_minus_the_gradient(pair):
    """Eqs. (29)-(30) with data, written out in NumPy, against automatic differentiation."""
    rng = np.random.default_rng(15)
    X = rng.normal(size=(3, 6))
    flow = shallow_flow(rng, X, *pair)
    params = start_of(rng)
    for expected, found in zip(
        shallow_velocity(*pair, X, flow.problem.Y, params), flow.vector_field(params), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-13)
