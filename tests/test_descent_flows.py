"""Descent beside its flows: orders of distance and drift, the modified flow, and verdicts earned and refused."""

import dataclasses
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import gradflow as gf
from gradflow import checks
from gradflow.descent import (
    DescentStatus,
    ModifiedFlow,
    ModifiedProblem,
    UpdateRule,
    compare_descent,
    comparing,
    descend,
    tabulating,
)
from gradflow.descent.comparisons import law_through
from gradflow.descent.judging import judged
from gradflow.descent.tabulating import table_of
from gradflow.plotting import style
from gradflow.plotting.descent import descent_distance, descent_drift, descent_orders
from gradflow.status import Status
from tests.moving import states

TARGET = 2.0
CHAIN = gf.model_problems.scalar_chain(2, TARGET)
CHAIN_START = (np.array([[0.3]]), np.array([[0.9]]))
LINE = gf.Landscape(lambda x: 0.5 * x**2, name="line")
RATES = np.array([2e-2, 1e-2, 5e-3])


@pytest.fixture(scope="module")
def regression():
    """Widths 2-3-2 on six samples."""
    rng = np.random.default_rng(2)
    return gf.Regression(gf.networks.Linear((2, 3, 2)), rng.normal(size=(2, 6)), rng.normal(size=(2, 6)))


@pytest.fixture(scope="module")
def runs():
    """What a comparison on the chain of two weights computes, at a small learning rate."""
    flow = gf.GradientFlow(CHAIN)
    settings = {"rtol": 1e-10, "atol": 1e-12, "max_steps": 10_000, "progress": False}
    steps = np.array([0, 1, 2, *range(5, 101, 5)])
    return flow, comparing._run(flow, CHAIN_START, UpdateRule(0.01), steps, None, settings)


@pytest.fixture(scope="module")
def comparison(runs):
    flow, computed = runs
    return judged(computed, table_of(flow, computed, 3), 0.02)


def apart(rows, others):
    """The largest distance between two sets of rows."""
    gaps = [np.asarray(row) - np.asarray(other) for row, other in zip(rows, others, strict=True)]
    return np.linalg.norm(np.concatenate([gap.reshape(len(gap), -1) for gap in gaps], axis=1), axis=1).max()


def slope(values):
    return np.polyfit(np.log(RATES), np.log(values), 1)[0]


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.5, False), (0.5, True)])
def test_descent_is_of_first_order_from_the_flow_and_of_second_from_the_modified_flow(momentum, nesterov):
    kind = {"momentum": momentum, "nesterov": nesterov}
    start, flow = CHAIN_START, gf.GradientFlow(CHAIN)
    plain, bent, drift, predicted = [], [], [], []
    for rate in RATES * (1 - momentum) ** 2 / (1 + 3 * momentum):
        modified = ModifiedFlow(flow, rate, **kind)
        num_steps = round(1.0 / modified.rule.flow_step)
        run = descend(flow, start, rate, num_steps, save_every=max(1, num_steps // 25), **kind)
        plain.append(apart(run.params, states(flow, start, run.times)))
        bending = states(modified, tuple(np.asarray(leaf) for leaf in modified.start(start)), run.times)
        bent.append(apart(run.params, modified.iterates(start, run.steps, bending)))
        imbalance = gf.invariants_of(flow)[0]
        drift.append(imbalance.drift(run.params, start).max())
        predicted.append(imbalance.drift(modified.iterates(start, run.steps, bending), start).max())
    assert abs(slope(plain) - 1) < 0.1
    assert abs(slope(bent) - 2) < 0.15
    if momentum == 0.0:  # with momentum the first steps dominate the drift
        assert abs(slope(drift) - 1) < 0.1
        assert abs(slope(np.abs(np.subtract(drift, predicted))) - 2) < 0.3


def test_the_modified_gradient_is_that_of_the_modified_loss(regression):
    params = regression.init(0, scale=0.7)
    problem = ModifiedProblem(regression, 0.3)
    with jax.enable_x64(True):
        params = tuple(jnp.asarray(leaf) for leaf in params)
        by_hand, automatic, field = jax.jit(
            lambda w: (problem.gradient(w), jax.grad(problem.loss)(w), ModifiedFlow(regression, 0.3).vector_field(w))
        )(params)
    for left, right, minus in zip(by_hand, automatic, field, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(np.asarray(minus), -np.asarray(left))
    squares = sum(np.sum(np.asarray(leaf) ** 2) for leaf in regression.gradient(params))
    np.testing.assert_allclose(problem.loss(params), regression.loss(params) + 0.3 / 4 * squares, rtol=1e-14)
    assert problem.irreducible == regression.irreducible and problem.minimiser_norm == regression.minimiser_norm
    assert problem.gradient_scale == regression.gradient_scale
    assert problem.compact().base.X.shape[1] == 0


def test_the_modified_hessian_is_that_of_the_modified_loss():
    problem = ModifiedProblem(gf.model_problems.get("two_layer_scalar").problem, 0.3)
    point = np.array([0.7, -0.4])
    with jax.enable_x64(True):
        given, automatic = jax.jit(lambda x: (problem.hessian(x), jax.hessian(problem.loss)(x)))(point)
    np.testing.assert_allclose(given, automatic, rtol=1e-12)


def test_the_modified_flow_of_a_quadratic_is_known():
    """Field ``-(1 + gamma / 2) x``; started at rest with momentum it begins at ``(1 + shift) x_0``."""
    for kind in ({}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}):
        flow = ModifiedFlow(LINE, 0.1, **kind)
        beta, nu = flow.rule.momentum, flow.rule.lookahead
        step = 0.1 / (1 - beta)
        gamma = step * ((1 + beta) / (1 - beta) - 2 * nu)
        np.testing.assert_allclose(flow.vector_field(np.array(2.0)), -2.0 * (1 + gamma / 2), rtol=1e-15)
        np.testing.assert_allclose(flow.start(np.array(2.0)), 2.0 * (1 + step * beta / (1 - beta)), rtol=1e-15)
        assert flow.rule == UpdateRule(0.1, **kind)
    assert UpdateRule(0.1).penalty == 0.1 and UpdateRule(0.1).shift == 0.0
    predicted = ModifiedFlow(LINE, 0.1, momentum=0.5).iterates(np.array(2.0), [0, 3], np.array([2.4, 1.0]))
    np.testing.assert_allclose(predicted, [2.0, 1.0 - 0.4 / 8], rtol=1e-15)


def test_a_modified_flow_is_integrated_and_monitored_as_any_flow(runs):
    flow, computed = runs
    modified = ModifiedFlow(flow, 0.01)
    record = gf.monitor(modified, computed.modified_flow)
    assert float(record.energy_defect.max()) < 1e-7
    # It is no gradient flow of a function of the product, so nothing is claimed to be conserved.
    assert record.sizes["invariant"] == 0 and np.isnan(record.bound)
    assert gf.invariants_of(modified) == () and computed.modified_flow.status is Status.HORIZON


def test_a_small_learning_rate_earns_trust(comparison):
    assert comparison.trusted is True and comparison.failed == ()
    assert [hypothesis.holds for hypothesis in comparison.hypotheses] == [True] * 8
    assert abs(comparison.order - 1) < 0.1 and abs(comparison.modified_order - 2) < 0.15
    assert comparison.closer > 20 and 0 < comparison.relative_distance < 0.02
    assert comparison.reference_error < 1e-7
    assert "small enough" in str(comparison) and "learning rate 0.01" in str(comparison)


def test_the_table_holds_what_was_measured(runs, comparison):
    computed, table = runs[1], comparison.table
    np.testing.assert_allclose(table.time, 0.01 * computed.steps, rtol=1e-15)
    products = np.asarray(computed.flow.params[0] * computed.flow.params[1]).ravel()
    np.testing.assert_allclose(table.flow_loss, 0.5 * (TARGET - products) ** 2, rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(table.loss, computed.descent.losses, rtol=0)
    gaps = [np.ravel(a) - np.ravel(b) for a, b in zip(computed.descent.params, computed.flow.params, strict=True)]
    np.testing.assert_allclose(table.distance, np.hypot(*gaps), rtol=1e-13)
    moved = [np.ravel(leaf) - leaf[0] for leaf in computed.flow.params]
    np.testing.assert_allclose(comparison.travelled, np.hypot(*np.squeeze(moved)).max(), rtol=1e-13)
    assert list(table.invariant.values) == ["C_1", "c_1"]
    first, second = (np.ravel(leaf) for leaf in computed.descent.params)
    np.testing.assert_allclose(table.drift[:, 0], np.abs(second**2 - first**2 - 0.72), rtol=0, atol=1e-14)
    assert table.flow_drift.max() < 1e-9
    np.testing.assert_allclose(table.modified_drift[-1], table.drift[-1], rtol=0.05)
    np.testing.assert_allclose(table.drift[-1] / table.halved_drift[-1], 2.0, rtol=0.05)
    curvatures = np.linalg.eigvalsh([[0.81, 2 * 0.27 - TARGET], [2 * 0.27 - TARGET, 0.09]])
    np.testing.assert_allclose(table.sharpness[0], 0.01 * curvatures[-1], rtol=1e-12)
    assert comparison.sharpest == max(float(table.sharpness.max()), float(table.flow_sharpness.max()))
    assert len(table.look) == 3 and all(table[name].attrs["units"] == "dimensionless" for name in table.data_vars)


def test_the_largest_learning_rate_is_where_the_tolerance_is_met(runs, comparison):
    allowed = 1.5 * comparison.relative_distance
    found = judged(runs[1], comparison.table, allowed)
    rate = found.largest_learning_rate
    assert 0.012 < rate < 0.0151
    assert comparison.largest_learning_rate == 0.02  # nothing is extrapolated beyond twice what was tried
    end = float(comparison.table.time[-1])
    at_rate = descend(CHAIN, CHAIN_START, rate, int(end / rate), save_every=1)
    gap = apart(at_rate.params, states(gf.GradientFlow(CHAIN), CHAIN_START, at_rate.times))
    estimate, uncertainty = comparison.law.distance_at(rate)
    assert abs(gap - estimate) < max(uncertainty, 0.02 * estimate) and 0 < uncertainty < 0.1 * estimate
    np.testing.assert_allclose(gap, allowed * comparison.travelled, rtol=0.05)


def test_only_what_is_conserved_has_a_drift(regression):
    network = gf.networks.Shallow((2, 3, 2), "tanh")
    flow = gf.GradientFlow(gf.Regression(network, regression.X, regression.Y))
    assert gf.invariants_of(flow) != () and tabulating._claimed(flow) == ()


def test_the_law_goes_through_both_distances():
    law = law_through(0.5, 0.2, 1.2, 0.1)
    np.testing.assert_allclose([law.distance_at(0.1)[0], law.distance_at(0.05)[0]], [0.5, 0.2], rtol=1e-14)
    np.testing.assert_allclose([law.a, law.b], [3.0, 20.0], rtol=1e-14)
    rate = law.rate_for(0.3)
    np.testing.assert_allclose(sum(law.distance_at(rate)), 0.3, rtol=1e-14)
    assert law.rate_for(1e9) == 0.2 and np.isnan(law.distance_at(0.21)).all()
    falling = law_through(0.19, 0.1, 0.93, 0.1)  # a law of negative curvature: its linear part is the bound
    np.testing.assert_allclose(falling.rate_for(0.021), 0.01, rtol=1e-14)
    unknown = law_through(0.9, 0.2, 2.2, 0.1)
    assert np.isnan(unknown.rate_for(0.1)) and np.isnan(unknown.distance_at(0.1)).all()


def test_too_large_a_distance_is_a_no(runs):
    flow, computed = runs
    strict = judged(computed, table_of(flow, computed, 1), 1e-4)
    assert strict.trusted is False and len(strict.failed) == 1 and "largest distance" in strict.failed[0]
    assert strict.largest_learning_rate < 1e-3 and "too large" in str(strict)


def test_an_unclear_reference_is_undetermined(runs):
    """Neither yes nor no when the flow's own error is as large as what is asked for."""
    flow, computed = runs
    coarse = computed._replace(looser=_moved(computed.looser, 1e-2))
    found = judged(coarse, table_of(flow, coarse, 1), 0.02)
    assert found.trusted is None and np.isnan(found.order) and "its error" in found.failed[0]
    assert np.isnan(found.largest_learning_rate)


def _moved(trajectory, by):
    return dataclasses.replace(trajectory, params=tuple(leaf + by for leaf in trajectory.params))


@pytest.mark.parametrize(("changes", "words"), [
    ({"num_crossings": 2}, "kink"),
    ({"num_slides": 1}, "kink"),
    ({"status": Status.STALLED}, "followed to t = 1: stalled"),
])  # fmt: skip
def test_a_flow_that_is_no_reference_gives_no_verdict(runs, changes, words):
    flow, computed = runs
    doubtful = computed._replace(flow=dataclasses.replace(computed.flow, **changes))
    found = judged(doubtful, table_of(flow, doubtful, 1), 0.02)
    assert found.trusted is None and any(words in statement for statement in found.failed)


def test_an_order_that_is_not_the_first_is_undetermined(runs):
    """A run at half the learning rate that is not half as far away: the distance may be small by chance."""
    flow, computed = runs
    odd = computed._replace(halved=dataclasses.replace(
        computed.halved, params=tuple(np.asarray(row) for row in computed.descent.params)))  # fmt: skip
    found = judged(odd, table_of(flow, odd, 1), 0.02)
    assert found.trusted is None and abs(found.order) < 1e-12 and len(found.failed) == 2
    assert np.isnan(found.largest_learning_rate)


def test_a_modified_flow_that_broke_off_is_undetermined(runs):
    flow, computed = runs
    broken = computed._replace(modified=tuple(leaf[:3] for leaf in computed.modified))
    found = judged(broken, table_of(flow, broken, 1), 0.02)
    assert found.trusted is None and np.isnan(found.modified_order)
    assert np.isnan(found.table.modified_distance[3:]).all() and np.isfinite(found.table.distance).all()
    assert np.isnan(found.table.modified_loss[3:]).all() and np.isnan(found.table.modified_drift[3:]).all()


def test_descent_that_blows_up_is_a_no():
    found = compare_descent(gf.GradientFlow(CHAIN), CHAIN_START, 1.5, 15.0, num_rows=6, num_looks=2, progress=False)
    assert found.trusted is False and found.descent.status is DescentStatus.DIVERGED
    assert found.sharpest > 2 and np.isfinite(found.table.distance).all()
    assert any("descent made all its steps" in statement for statement in found.failed)


def test_descent_that_broke_off_is_a_no_however_near_it_was(runs):
    flow, computed = runs
    broken = computed._replace(
        descent=dataclasses.replace(computed.descent, status=DescentStatus.ESCAPED), num_common=2
    )
    found = judged(broken, table_of(flow, broken, 1), 0.02)
    assert found.trusted is False and found.hypotheses[-1].holds is None
    lost = broken._replace(flow=dataclasses.replace(computed.flow, status=Status.ESCAPED))
    assert judged(lost, table_of(flow, lost, 1), 0.02).trusted is None


def test_a_start_that_does_not_move_shows_nothing():
    found = compare_descent(CHAIN, (np.zeros((1, 1)), np.zeros((1, 1))), 0.1, 1.0, num_rows=4, num_looks=1)
    assert found.trusted is None and np.isnan(found.relative_distance) and found.travelled == 0.0


def test_the_comparison_covers_the_time_asked_for():
    steps = comparing._chosen_steps(1000, 20)
    assert steps[0] == 0 and steps[1] == 1 and steps[-1] == 1000 and len(steps) <= 20
    np.testing.assert_array_equal(comparing._chosen_steps(2, 50), [0, 1, 2])


def test_stopping_by_hand_ends_a_comparison():
    run = descend(CHAIN, CHAIN_START, 0.1, 2)
    stopped = dataclasses.replace(run, status=DescentStatus.INTERRUPTED)
    with mock.patch.object(comparing, "descend", return_value=stopped), pytest.raises(KeyboardInterrupt):
        compare_descent(CHAIN, CHAIN_START, 0.1, 1.0)


@pytest.mark.parametrize(("options", "words"), [
    ({"t1": np.inf}, "finite"),
    ({"t1": 0.0}, "greater than 0"),
    ({"t1": 1e9}, "at most 100000000 steps"),
    ({"tolerance": 1.0}, "less than 1"),
    ({"num_rows": 3}, "at least 4"),
    ({"flow": 3}, "be a flow or a problem"),
])  # fmt: skip
def test_wrong_calls_are_refused(options, words):
    call = {"flow": CHAIN, "params0": CHAIN_START, "learning_rate": 0.1, "t1": 1.0} | options
    with pytest.raises(checks.InputError, match=words):
        compare_descent(**call)


@pytest.fixture
def several(runs, comparison):
    """The comparison and the same at half the learning rate, as far as pictures look."""
    computed = runs[1]
    table = comparison.table.assign(
        distance=comparison.table.halved_distance, drift=comparison.table.halved_drift,
        modified_distance=comparison.table.halved_modified_distance, modified_drift=comparison.table.modified_drift / 2,
    )  # fmt: skip
    half = dataclasses.replace(comparison, table=table, descent=computed.halved, full=comparison.half, trusted=None)
    return [comparison, half]


@pytest.fixture
def axes():
    with style():
        yield Figure().subplots()


def test_distances_are_drawn_relative_to_the_distance_travelled(several, axes):
    drawn = descent_distance(axes, several)
    assert len(drawn.curves) == 4 and axes.get_yscale() == "log" and "dimensionless" in axes.get_xlabel()
    half, full = drawn.curves[0], drawn.curves[2]  # by ascending learning rate
    expected = several[0].table.distance.values / several[0].travelled
    np.testing.assert_allclose(full.get_ydata()[1:], expected[1:])
    assert np.isnan(full.get_ydata()[0]) and half.get_ydata()[-1] < full.get_ydata()[-1]
    assert half.get_color() != full.get_color() and drawn.curves[1].get_linestyle() != "-"
    assert [text.get_text() for text in axes.get_legend().get_texts()][-1] == "tolerance 0.02"


def test_drifts_are_drawn_with_a_line_of_slope_one(several, axes):
    drawn = descent_drift(axes, several)
    np.testing.assert_allclose(drawn.curves[0].get_xdata(), [0.005, 0.01])
    ratio = np.divide(*drawn.curves[0].get_ydata()[::-1])
    line = next(line for line in drawn.references if line.get_label() == "slope 1")
    assert abs(ratio - 2) < 0.1 and np.divide(*line.get_ydata()[::-1]) == pytest.approx(2.0)
    assert len(drawn.curves) == 2 and axes.get_xscale() == axes.get_yscale() == "log"
    bare = [dataclasses.replace(one, table=one.table.isel(invariant=[])) for one in several]
    assert "nothing is known" in descent_drift(Figure().subplots(), bare).references[0].get_text()


def test_verdicts_are_drawn_as_they_were_given(several, axes):
    drawn = descent_orders(axes, several)
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "undetermined" in words and "small enough" in words and "too large" not in words
    first, second = (np.log2(np.divide(*curve.get_ydata()[::-1])) for curve in drawn.curves)
    assert abs(first - several[0].order) < 1e-9 and abs(second - several[0].modified_order) < 1e-9


def test_pictures_refuse_what_is_no_comparison(axes):
    for draw in (descent_distance, descent_drift, descent_orders):
        with pytest.raises(checks.InputError, match="results of compare_descent"):
            draw(axes, [])
