"""Gradient dominance: the reference cases, the promise on random instances, its rate along the flow, its refusals."""

import dataclasses
import json
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

import gradflow as gf
from gradflow import checks
from gradflow.certificates import dominance as dominance_module
from gradflow.certificates import zero_loss_geometry as geometry
from gradflow.certificates.dominance import (
    dominance_envelope,
    gradient_dominance,
    pointwise_constant,
    rate_inside,
)
from gradflow.critical_sets.minimisers import linear, one_hidden_layer, residual
from gradflow.verification import paper_000_conditions, verify

CASES = {
    case["id"]: case for case in json.loads((Path(__file__).parent / "golden/papers_000_002.json").read_text())["cases"]
}
pytestmark = pytest.mark.usefixtures("quiet")


def regression(network, X, Y, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        return gf.Regression(network, X, Y, **settings)


def case(name, network):
    inputs = CASES[name]["inputs"]
    return regression(network, inputs["X"], inputs["Y"]), inputs, CASES[name]["expected"]


def g27():
    problem, inputs, expected = case("G27", gf.networks.Linear((2,) * 4))
    return problem, linear.construct(problem, [np.array(inputs["C2"]), np.array(inputs["C3"])]), inputs, expected


def g30():
    activation = gf.activations.LeakyReLU(CASES["G30"]["inputs"]["a"])
    problem, inputs, expected = case("G30", gf.networks.Shallow((2, 2, 2), activation))
    return problem, one_hidden_layer.construct(problem, np.array(inputs["C2"])), inputs, expected


def random_member(rng, kind, dim=2, samples=None, **settings):
    """A random problem of the kind and a random global minimiser of it."""
    samples = dim if kind == "hidden" else samples or int(rng.integers(dim, dim + 3))
    X, Y = rng.normal(size=(dim, samples)), rng.normal(size=(dim, samples))
    if kind == "hidden":
        problem = regression(gf.networks.Shallow((dim,) * 3, gf.activations.LeakyReLU(0.3)), X, Y, **settings)
        return problem, one_hidden_layer.sample(problem, rng)
    if kind == "residual":
        units, depth = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        problem = regression(gf.networks.Residual(dim, units, depth), X, Y, **settings)
        return problem, residual.sample(problem, rng)
    problem = regression(gf.networks.Linear((dim,) * int(rng.integers(2, 5))), X, Y, **settings)
    return problem, linear.sample(problem, rng)


def nearby(rng, params, radius, fraction=None):
    """Every layer moved by less than `radius` in the operator norm."""
    moved = []
    for layer in params:
        step = rng.normal(size=np.shape(layer))
        size = rng.uniform() if fraction is None else fraction
        moved.append(np.asarray(layer) + size * radius * step / np.linalg.norm(step, 2))
    return tuple(moved)


def test_theorem_1_reproduces_its_reference_case():
    problem, params, inputs, expected = g27()
    dominance = gradient_dominance(problem, params)
    values = dominance.certificate.values
    assert dominance.holds is True and dominance.certificate.name == "gradient_dominance"
    assert values["tau"] == pytest.approx(expected["tau"], rel=1e-10)
    assert values["lambda"] == pytest.approx(expected["lambda_h"], rel=1e-10)
    assert values["rate"] == pytest.approx(1 / expected["lambda_h"], rel=1e-10)
    test = tuple(layer + inputs["s"] * np.array(step) for layer, step in zip(params, inputs["E"], strict=True))
    gradient = geometry.stacked_gradient(problem, test)
    assert dominance.contains(test)
    assert dominance.excess(test) == pytest.approx(expected["h_at_test"], rel=1e-10)
    assert gradient @ gradient == pytest.approx(expected["grad_norm_sq_at_test"], rel=1e-10)
    assert dominance.ratio(test) == pytest.approx(expected["ratio_h_over_lambda_gradsq"], rel=1e-10)
    assert pointwise_constant(problem, test) == pytest.approx(expected["pointwise_lambda_eq42"], rel=1e-10)


def test_theorem_3_reproduces_its_reference_case():
    problem, params, inputs, expected = g30()
    dominance = gradient_dominance(problem, params)
    assert dominance.certificate.values["tau"] == pytest.approx(expected["tau"], rel=1e-10)
    assert dominance.constant == pytest.approx(expected["lambda_g"], rel=1e-10)
    direction = np.array(inputs["F"])
    hidden = np.array(expected["sigma_W1X"]) + 0.8 * expected["tau"] * direction / np.linalg.norm(direction, 2)
    inverse = one_hidden_layer.evaluated(problem.network.activation.inverse, hidden)
    test = (inverse @ np.linalg.inv(problem.X), params[1] + np.array(inputs["K"]))
    assert dominance.distance(test) == pytest.approx(0.8 * expected["tau"], rel=1e-10)
    assert dominance.contains(test)
    assert dominance.excess(test) == pytest.approx(expected["g_at_test"], rel=1e-10)
    assert dominance.ratio(test) == pytest.approx(expected["ratio"], rel=1e-10)
    gradient = problem.gradient(test)
    np.testing.assert_allclose(gradient[0], expected["grad_W1_at_test"], rtol=1e-10)
    np.testing.assert_allclose(gradient[1], expected["grad_W2_at_test"], rtol=1e-10)
    np.testing.assert_allclose(geometry.stacked_gradient(problem, test), geometry.vec(gradient), rtol=1e-12)


def test_the_constant_of_theorem_1_is_sharp_in_one_dimension():
    inputs, expected = CASES["G28"]["inputs"], CASES["G28"]["expected"]
    x, star = inputs["x"], inputs["w_star"]
    problem = regression(gf.networks.Linear((1,) * 4), [[x]], [[star**3 * x]])
    dominance = gradient_dominance(problem, (np.array([[star]]),) * 3)
    tau = dominance.certificate.values["tau"]
    assert tau == pytest.approx(expected["tau"], rel=1e-12)
    assert dominance.constant == pytest.approx(expected["lambda_h"], rel=1e-12)
    edge = (np.array([[tau]]),) * 3
    assert dominance.ratio(edge) == pytest.approx(expected["ratio_at_w_equal_tau"], rel=1e-12)
    inside = (np.array([[tau * (1 + 1e-9)]]),) * 3
    assert dominance.contains(inside) and not dominance.contains((np.array([[0.99 * tau]]),) * 3)
    assert 0.999999 < dominance.ratio(inside) <= 1.0


@pytest.mark.parametrize("kind", ["linear", "residual", "hidden"])
def test_the_loss_is_dominated_inside_and_the_pointwise_constant_is_sharper(kind):
    rng = np.random.default_rng(1)
    for index in range(15):
        mean = {"normalization": "mean"} if index % 5 == 0 else {}
        problem, params = random_member(rng, kind, dim=1 + index % 3, **mean)
        dominance = gradient_dominance(problem, params)
        assert dominance.holds is True
        for _ in range(4):
            reach = dominance.radius / np.linalg.norm(problem.X, 2) if kind == "hidden" else dominance.radius
            state = nearby(rng, params, reach, 0.999)
            assert dominance.contains(state)
            gradient = geometry.stacked_gradient(problem, state)
            excess = dominance.excess(state)
            assert excess <= dominance.constant * (gradient @ gradient) * (1 + 1e-12) + 1e-14
            pointwise = pointwise_constant(problem, state)
            assert pointwise <= dominance.constant * (1 + 1e-12)
            assert excess <= pointwise * (gradient @ gradient) * (1 + 1e-12) + 1e-14


def test_hat_tau_keeps_every_unit_within_tau():
    rng = np.random.default_rng(2)
    for _ in range(30):
        problem, params = random_member(rng, "residual", dim=2)
        values, network = gradient_dominance(problem, params).certificate.values, problem.network
        blocks = residual.blocks_of(network, params)
        increases = [
            np.prod([np.linalg.norm(layer, 2) + values["tau_hat"] for layer in block])
            - np.prod([np.linalg.norm(layer, 2) for layer in block])
            for block in blocks
        ]
        assert max(increases) == pytest.approx(values["tau"], rel=1e-10)
        moved = residual.units_of(network, nearby(rng, params, values["tau_hat"], 1.0))
        change = [np.linalg.norm(a - b, 2) for a, b in zip(moved, residual.units_of(network, params), strict=True)]
        assert max(change) <= values["tau"] * (1 + 1e-12)
        if network.depth == 1:
            assert values["tau_hat"] == pytest.approx(values["tau"], rel=1e-12)
            assert values["radius"] == values["tau_hat"]
        else:
            assert values["radius"] == min(values["tau_hat"], values["tau_tilde"])


def test_a_residual_network_of_depth_one_needs_no_layers_of_full_rank():
    problem = regression(gf.networks.Residual(2, 2, 1), np.eye(2), np.eye(2))
    origin = (np.zeros((2, 2)),) * 2
    dominance = gradient_dominance(problem, origin)
    assert dominance.holds is True
    assert dominance.certificate.values["tau"] == pytest.approx(0.5)
    assert dominance.constant == pytest.approx(1 / (4 * 0.5**2))


def perturbed(problem, params, size, seed=0):
    rng = np.random.default_rng(seed)
    return nearby(rng, params, size, 1.0)


@pytest.fixture(scope="module")
def run():
    """A problem, a minimiser, and the flow from a start beside it."""
    rng = np.random.default_rng(8)
    X, Y = np.eye(2) + 0.1 * rng.normal(size=(2, 2)), 1.5 * np.eye(2) + 0.1 * rng.normal(size=(2, 2))
    problem = regression(gf.networks.Linear((2, 2, 2)), X, Y)
    params = linear.construct(problem, [1.2 * np.eye(2)])
    trajectory = gf.integrate(gf.GradientFlow(problem), perturbed(problem, params, 0.04), t1=10.0)
    rows = range(len(trajectory.times))
    losses = np.array([float(problem.loss(tuple(layer[i] for layer in trajectory.params))) for i in rows])
    return problem, params, trajectory, losses


def test_the_flow_from_a_confined_start_keeps_its_rate_for_ever(run):
    problem, params, trajectory, losses = run
    dominance = gradient_dominance(problem, params)
    assert dominance.confines(trajectory.start) is True
    seen = rate_inside(dominance, trajectory.times, trajectory.params, losses, atol=1e-14)
    assert seen.kept is True and seen.left_at is None and seen.inside.all() and seen.worst <= 1.0
    envelope = dominance_envelope(dominance, trajectory.start, trajectory.times)
    assert np.all(losses <= envelope * (1 + 1e-6) + 1e-14)
    with pytest.raises(checks.InputError, match="`params0` must lie inside"):
        dominance_envelope(dominance, perturbed(problem, params, 2.0), trajectory.times)
    with pytest.raises(checks.InputError, match="at least 0"):
        dominance_envelope(dominance, trajectory.start, [-1.0])


def test_a_run_is_seen_to_leave_the_neighbourhood_of_another_minimiser(run):
    problem, params, trajectory, losses = run
    end, found = tuple(layer[-1] for layer in trajectory.params), []
    for scale in np.linspace(0.5, 2.0, 400):
        other = gradient_dominance(problem, (params[0] / scale, params[1] * scale))
        if other.contains(trajectory.start) and not other.contains(end):
            found.append(rate_inside(other, trajectory.times, trajectory.params, losses, atol=1e-14))
    assert found
    for seen in found:
        assert seen.inside[0] and seen.left_at in trajectory.times and seen.left_at > 0.0
        assert seen.kept is not False


def test_leaving_the_neighbourhood_is_noticed():
    problem, params, *_ = g27()
    dominance = gradient_dominance(problem, params)
    inside, outside = perturbed(problem, params, 0.5 * dominance.radius), perturbed(problem, params, 2.0)
    states = [params, inside, outside, inside]
    rows = tuple(np.stack([state[k] for state in states]) for k in range(3))
    losses = [float(problem.loss(state)) for state in states]
    seen = rate_inside(dominance, [0.0, 1.0, 2.0, 3.0], rows, losses)
    assert seen.inside.tolist() == [True, True, False, True] and seen.left_at == 2.0
    assert seen.kept is False and seen.worst > 1.0  # the loss rose from zero while inside
    falling = rate_inside(dominance, [0.0, 1.0, 2.0], tuple(row[:3] for row in rows), [1.0, 0.5, 9.0])
    assert falling.kept is True and falling.worst == pytest.approx(0.5 * np.exp(dominance.certificate.values["rate"]))
    never = rate_inside(dominance, [0.0, 1.0], tuple(row[2:] for row in rows), losses[2:])
    assert never.kept is None and never.left_at == 0.0 and np.isnan(never.worst)


def test_a_start_near_the_boundary_is_not_said_to_be_confined():
    problem, params, *_ = g27()
    dominance = gradient_dominance(problem, params)
    assert dominance.confines(perturbed(problem, params, 0.99 * dominance.radius)) is False
    assert dominance.confines(params) is True
    hidden, minimiser, *_ = g30()
    assert gradient_dominance(hidden, minimiser).confines(minimiser) is True
    rng = np.random.default_rng(0)
    tanh = regression(gf.networks.Shallow((2, 2, 2), "tanh"), hidden.X, hidden.Y)
    found = one_hidden_layer.sample(tanh, rng)
    assert gradient_dominance(tanh, found).holds is True
    assert gradient_dominance(tanh, found).confines(found) is None


def test_the_smallest_singular_value_of_a_singular_matrix_is_zero():
    singular = np.diag([2.0, 0.0])
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(2, 2)))[0]
    assert geometry.eta_min(singular) == geometry.eta_min(rotation @ singular) == 0.0
    assert geometry.smallest_positive(singular) == pytest.approx(2.0)
    assert geometry.eta_min(np.array([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0]])) == pytest.approx(2.0)
    assert geometry.smallest_positive(np.zeros((2, 2))) == 0.0


def test_the_printed_smallest_nonzero_singular_value_breaks_the_product_rule():
    A, B = np.diag([1.0, 0.0]), np.array([[0.6, -0.8], [0.8, 0.6]]) @ np.diag([1.0, 0.0])
    assert geometry.smallest_positive(A @ B) < geometry.smallest_positive(A) * geometry.smallest_positive(B)
    assert geometry.eta_min(A @ B) >= geometry.eta_min(A) * geometry.eta_min(B)


def refused(problem, params):
    dominance = gradient_dominance(problem, params)
    failed = [hypothesis.statement for hypothesis in dominance.certificate.hypotheses if hypothesis.holds is not True]
    with pytest.raises(checks.InputError, match="`certificate` must hold"):
        dominance.contains(params)
    return dominance.holds, failed


def test_a_singular_minimiser_is_refused():
    problem = regression(gf.networks.Linear((2, 2, 2)), np.eye(2), np.diag([1.0, 0.0]))
    holds, failed = refused(problem, (np.diag([1.0, 0.0]), np.eye(2)))
    assert holds is False and failed == ["every W_k* has full rank (tau > 0)"]
    residual_problem = regression(gf.networks.Residual(2, 1, 2), np.eye(2), np.array([[1.0, 1.0], [0.0, 1.0]]))
    holds, failed = refused(residual_problem, residual.construct(residual_problem, [], [[np.eye(2)]]))
    assert holds is False and failed == ["every A_kq* has full rank (tau~ > 0)"]


def test_a_point_that_is_no_minimiser_is_refused_and_a_doubtful_one_undecided():
    problem, params, *_ = g27()
    assert refused(problem, perturbed(problem, params, 0.1)) == (False, ["the point is a global minimiser"])
    assert refused(problem, perturbed(problem, params, 1e-6)) == (None, ["the point is a global minimiser"])


@pytest.mark.parametrize(
    ("network", "samples", "holds", "statement"),
    [
        (gf.networks.Linear((2, 3, 2)), 3, False, "all layers are square"),
        (gf.networks.Linear((2, 2, 2)), 1, False, "full row rank"),
        (gf.networks.Shallow((2, 2, 2), "prelu"), 3, False, "m = d"),
        (gf.networks.Shallow((2, 2, 2), "prelu", "tanh"), 2, False, "linear outputs"),
    ],
)
def test_problems_outside_the_setting_are_refused(network, samples, holds, statement):
    rng = np.random.default_rng(0)
    problem = regression(network, rng.normal(size=(2, samples)), rng.normal(size=(2, samples)))
    params = tuple(np.ones(shape) for shape in network.shapes)
    dominance = gradient_dominance(problem, params)
    assert dominance.holds is holds
    assert any(statement in hypothesis.statement for hypothesis in dominance.certificate.hypotheses)
    with pytest.raises(checks.InputError):
        pointwise_constant(problem, params)


def test_a_landscape_is_not_certified():
    dominance = gradient_dominance(gf.Landscape(lambda x: x @ x), np.zeros(2))
    assert dominance.holds is None and dominance.certificate.note == "not certified"


def test_the_pointwise_constant_is_infinite_where_every_term_vanishes():
    problem, *_ = g27()
    assert pointwise_constant(problem, (np.zeros((2, 2)),) * 3) == np.inf


@pytest.mark.parametrize(
    ("times", "losses", "message"),
    [([0.0, 1.0], [1.0], "one row per time"), ([1.0, 0.0], [1.0, 1.0], "ascend")],
)
def test_rows_that_do_not_belong_together_are_refused(times, losses, message):
    problem, params, *_ = g27()
    rows = tuple(np.stack([layer, layer]) for layer in params)
    with pytest.raises(checks.InputError, match=message):
        rate_inside(gradient_dominance(problem, params), times, rows, losses)


@pytest.mark.parametrize("kind", ["linear", "residual", "hidden"])
def test_the_gradient_by_hand_is_that_of_automatic_differentiation(kind):
    rng = np.random.default_rng(3)
    problem, params = random_member(rng, kind, normalization="mean")
    state = nearby(rng, params, 0.3)
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(problem.loss))(tuple(map(np.asarray, state)))
    by_hand = geometry.stacked_gradient(problem, state)
    np.testing.assert_allclose(by_hand, geometry.vec(gradient), rtol=0, atol=1e-13 * np.abs(by_hand).max())
    squared, dominance = np.sum(geometry.residual_of(problem, state) ** 2), gradient_dominance(problem, params)
    loss = float(problem.loss(state))
    assert 0.5 * squared == pytest.approx(loss, rel=1e-12)
    assert dominance.excess(state) == pytest.approx(loss - dominance.certificate.values["minimum"], rel=1e-12)


DOMINANCE_ROWS = [
    row for row in paper_000_conditions.STATEMENTS if not any("certificates.regularity" in name for name in row.code)
]


@pytest.mark.parametrize("statement", DOMINANCE_ROWS, ids=lambda statement: statement.name)
def test_the_statements_are_as_expected(statement):
    verdict = verify(dataclasses.replace(statement, quick=3))
    assert verdict.is_as_expected, (verdict.failures, verdict.error)


def test_the_row_of_sharpness_fails_for_a_constant_that_is_half_as_large(monkeypatch):
    right = dominance_module._linear_constants

    def halved(layers):
        values, factor, conditions = right(layers)
        return values, 2.0 * factor, conditions

    monkeypatch.setattr(dominance_module, "_linear_constants", halved)
    (row,) = [row for row in DOMINANCE_ROWS if row.number == "Theorem 1, sharpness"]
    assert not verify(row).holds
