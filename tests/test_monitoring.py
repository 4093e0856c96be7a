"""What is observed along a run: drift against tolerance, energy, bounds, modes, growth."""

import numpy as np
import pytest

import gradflow as gf
from gradflow import checks, monitoring


@pytest.fixture(scope="module")
def deep():
    rng = np.random.default_rng(2)
    X, Y = rng.standard_normal((4, 12)), rng.standard_normal((2, 12))
    problem = gf.Regression(gf.networks.Linear((4, 3, 3, 2)), X, Y)
    flow = gf.GradientFlow(problem)
    return flow, gf.integrate(flow, problem.init(1, scale=0.6), rtol=1e-8, atol=1e-10)


def test_loss_gradient_and_norm_are_the_problems_own(deep):
    flow, run = deep
    record = gf.monitor(flow, run)
    row = len(run.times) // 2
    params = tuple(layer[row] for layer in run.params)
    np.testing.assert_allclose(record["loss"][row], flow.problem.loss(params), rtol=1e-12)
    gradient = np.concatenate([np.ravel(g) for g in flow.problem.gradient(params)])
    np.testing.assert_allclose(record["grad_norm"][row], np.linalg.norm(gradient), rtol=1e-10)
    np.testing.assert_allclose(record["norm"][row] ** 2, sum(np.sum(p**2) for p in params), rtol=1e-12)
    np.testing.assert_allclose(record["layer_norm"][row], [np.linalg.norm(p) for p in params], rtol=1e-12)


def test_invariants_hold_to_the_tolerance_and_the_energy_balances(deep):
    record = gf.monitor(*deep)
    assert record["claimed"].all() and record["consistent"].all()
    assert 0 < record["relative_drift"].max() < 1e-6
    assert record["energy_defect"].max() < 1e-6
    assert record["norm"].max() <= record["bound"]


def test_the_drift_falls_with_the_tolerance(deep):
    flow, run = deep
    drifts = [
        float(gf.monitor(flow, gf.integrate(flow, run.start, rtol=rtol, atol=1e-2 * rtol))["relative_drift"].max())
        for rtol in (1e-4, 1e-6, 1e-8)
    ]
    assert drifts[0] > 10 * drifts[1] > 100 * drifts[2]


def test_a_wrong_trajectory_is_not_consistent(deep):
    """The same rows with one weight scaled by 1 + 1e-3 t/T: neither conserved nor balanced."""
    import dataclasses

    flow, run = deep
    factor = 1 + 1e-3 * np.linspace(0, 1, len(run.times))[:, None, None]
    wrong = dataclasses.replace(run, params=(run.params[0] * factor, *run.params[1:]))
    record = gf.monitor(flow, wrong)
    assert not record["consistent"].sel(invariant="C_1")
    assert record["energy_defect"].max() > 1e-6


def test_modes_are_the_projections_on_the_targets_singular_vectors(deep):
    flow, run = deep
    record = gf.monitor(flow, run)
    assert run.status is gf.Status.STATIONARY
    np.testing.assert_allclose(record["captured_strength"][-1], record["target_singular_value"], atol=1e-6)
    np.testing.assert_allclose(record["product_singular_value"][-1], record["target_singular_value"], atol=1e-6)
    np.testing.assert_allclose(record["greedy_level"][-1], flow.problem.irreducible, atol=1e-12)
    np.testing.assert_allclose(record["greedy_level"][0], 0.5 * np.sum(flow.problem.Y**2), rtol=1e-12)


def test_weight_decay_follows_its_exact_law():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((3, 9)), rng.standard_normal((2, 9))
    problem = gf.Regression(gf.networks.Linear((3, 3, 2)), X, Y, regularizer=gf.regularizers.WeightDecay(0.2))
    flow = gf.GradientFlow(problem)
    record = gf.monitor(flow, gf.integrate(flow, problem.init(0), t1=5.0))
    assert record["claimed"].all() and record["consistent"].all()
    invariant = gf.invariants_of(flow)[0]
    assert invariant.holds is False


def test_a_landscape_has_no_invariants_and_no_bound():
    flow = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * (w[0] * w[1] - 1) ** 2))
    record = gf.monitor(flow, gf.integrate(flow, np.array([0.5, 0.7])))
    assert record.sizes["invariant"] == 0
    assert np.isnan(record["bound"])
    assert record.attrs["growth"] == "settled"


@pytest.mark.parametrize(
    ("law", "state", "exponent"),
    [
        (lambda t: t**0.25, "growing", 0.25),
        (lambda t: 1 - 0.5 / (1 + t), "settled", 0.0),
        (np.log1p, "growing", 0.16),
        (lambda t: 1e3 + np.log1p(t), "growing", 0.0),
    ],
)
def test_growth_is_told_from_the_last_decade(law, state, exponent):
    times = np.geomspace(1e-2, 1e3, 200)
    found, fitted = monitoring.growth(times, law(times))
    assert found == state
    assert abs(fitted - exponent) < 0.02


def test_growth_is_told_from_the_few_rows_of_a_method_of_high_order():
    times = np.geomspace(1.0, 1e8, 41)  # five steps a decade
    assert monitoring.growth(times, times**0.25) == ("growing", pytest.approx(0.25))
    assert monitoring.growth(times, 3.0 - 1 / times)[0] == "settled"
    assert monitoring.growth(times[::3], times[::3] ** 0.25)[0] == "unknown"


def test_growth_is_unknown_with_few_rows():
    assert monitoring.growth(np.array([0.0, 1.0, 2.0]), np.ones(3))[0] == "unknown"


def test_a_problem_cannot_be_monitored():
    with pytest.raises(checks.InputError, match="be a flow"):
        gf.monitor(gf.Landscape(lambda w: w @ w), None)


@pytest.mark.parametrize(("largest", "is_judged"), [(1.0, True), (400.0, False)])
def test_a_potential_that_overflows_is_not_judged(largest, is_judged):
    problem = gf.Regression(gf.networks.Shallow((2, 2, 1), "tanh"), np.eye(2), np.array([[0.5, -0.3]]))
    flow, start = gf.GradientFlow(problem), (np.array([[largest, 0.3], [0.2, -0.4]]), np.array([[0.5, 0.4]]))
    record = gf.monitor(flow, gf.integrate(flow, start, 1.0, rtol=1e-6, atol=1e-8))
    row = record.sel(invariant="unit balance")
    assert bool(row["claimed"]) is bool(row["consistent"]) is is_judged
    assert np.isfinite(row["relative_drift"]).all() == is_judged
