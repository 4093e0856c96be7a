"""Flows through kinks: crossings and slides against closed forms, other integrators, and what must be conserved."""

import dataclasses
import io
import math

import jax
import numpy as np
import pytest
import scipy.integrate

import gradflow as gf
from gradflow import integration, reporting, store
from gradflow.kinks import KinkLog, Switch, decide, first_piece, has_pieces, log
from gradflow.kinks.surfaces import surfaces_of

WIDTHS, SAMPLES = (10, 7, 5), 20


def _random(seed, activation="relu", scale=0.5):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(WIDTHS[0], SAMPLES)), rng.normal(size=(WIDTHS[2], SAMPLES))
    problem = gf.Regression(gf.networks.Shallow(WIDTHS, activation), X, Y)
    return problem, problem.init(seed, scale=scale)


def _embedded(row, weight, X, y, activation="relu"):
    """One unit with inputs in the plane and one output, inside the network of all tests: JAX then compiles once.

    The other units are zero, the other samples orthogonal to the plane, with targets of zero: they stay out of it.
    """
    row, X, y = np.asarray(row, float), np.asarray(X, float), np.asarray(y, float)
    data, targets = np.zeros((WIDTHS[0], SAMPLES)), np.zeros((WIDTHS[2], SAMPLES))
    data[:2, : X.shape[1]], targets[0, : len(y)] = X, y
    data[2:, X.shape[1] :] = np.random.default_rng(0).normal(size=(WIDTHS[0] - 2, SAMPLES - X.shape[1]))
    first, last = np.zeros(WIDTHS[1::-1]), np.zeros((WIDTHS[2], WIDTHS[1]))
    first[0, :2], last[0, 0] = row, weight
    problem = gf.Regression(gf.networks.Shallow(WIDTHS, activation), data, targets)
    return problem, (first, last)


def _integrate(problem, start, t1=math.inf, rtol=1e-10, **options):
    return gf.integrate(gf.GradientFlow(problem), start, t1, rtol=rtol, atol=1e-2 * rtol, progress=False, **options)


def _imbalance(params):
    return (params[1] ** 2).sum(-2) - (params[0] ** 2).sum(-1)


# --- closed forms -----------------------------------------------------------------------------------------------------


def _product_time(start, end, imbalance, target, slope):
    """Time in which ``p = slope w1 w2`` of one linear unit goes from one value to another.

    ``dw1/dt = slope w2 (y - p)``, ``dw2/dt = slope w1 (y - p)``, with ``w2^2 - w1^2 = c``.
    """
    rate = lambda p: slope * math.sqrt((slope * imbalance) ** 2 + 4 * p**2) * (target - p)  # noqa: E731
    return scipy.integrate.quad(lambda p: 1 / rate(p), start, end, epsabs=1e-13, epsrel=1e-13)[0]


def test_a_scalar_relu_dies_when_it_crosses_and_then_rests():
    """x = y = 1, w1 = 0.3, w2 = -0.5: the product rises to 0 as w1 falls to 0, and there the unit is dead for ever."""
    problem, start = _embedded([0.3, 0.0], -0.5, [[1.0], [0.0]], [1.0])
    run = _integrate(problem, start)
    assert (run.num_crossings, run.num_slides, run.num_ambiguous) == (1, 0, 0)
    assert len(run.switch_times) == 1
    assert run.switch_times[0] == pytest.approx(_product_time(-0.15, 0.0, 0.16, 1.0, 1.0), rel=1e-9)
    assert run.status is gf.Status.STATIONARY
    assert run.endpoint[1][0, 0] == pytest.approx(-0.4, rel=1e-9)
    assert abs(run.endpoint[0][0, 0]) < 1e-15


def test_a_scalar_leaky_relu_goes_on_with_the_other_slope():
    problem, start = _embedded([0.3, 0.0], -0.5, [[1.0], [0.0]], [1.0], "prelu")
    crossing = _product_time(-0.15, 0.0, 0.16, 1.0, 1.0)
    after = _product_time(0.0, 0.1, 0.16, 1.0, 0.25)
    run = _integrate(problem, start, crossing + after, save_at=[crossing, crossing + after])
    first, last = run.endpoint[0][0, 0], run.endpoint[1][0, 0]
    assert run.num_crossings == 1 and first < 0
    assert 0.25 * first * last == pytest.approx(0.1, rel=1e-8)
    assert last**2 - first**2 == pytest.approx(0.16, rel=1e-9)


SLIDING = ([[1.0, 1.0], [0.0, 1.0]], [-2.0, 1.0])
"""Samples e_1 (target -2) and e_1 + e_2 (target 1): at w_1 = 0, w_2 > 0 the first pushes left, the second right."""


def test_a_slide_follows_the_exact_filippov_velocity_on_the_surface():
    """On w . e_1 = 0 the unit is linear in the second sample alone: db/dt = c (1 - bc), dc/dt = b (1 - bc)."""
    problem, start = _embedded([0.0, 0.4], 0.9, *SLIDING)
    duration = _product_time(0.36, 0.7, 0.81 - 0.16, 1.0, 1.0)
    run = _integrate(problem, start, duration)
    row, weight = run.endpoint[0][0, :2], run.endpoint[1][0, 0]
    assert (run.num_crossings, run.num_slides, run.num_ambiguous) == (0, 1, 0)
    assert abs(row[0]) < 1e-15
    assert row[1] * weight == pytest.approx(0.7, rel=1e-9)
    assert run.dissipated[-1] == pytest.approx(problem.loss(start) - problem.loss(run.endpoint), rel=1e-9)


def test_a_slide_is_the_limit_of_smoothed_flows():
    """softplus(beta x) / beta instead of ReLU: its flow comes nearer like 1 / beta, here from beside the surface."""
    problem, start = _embedded([0.2, 0.4], 0.9, *SLIDING)
    X, y = np.array(SLIDING[0]), np.array(SLIDING[1])
    run = _integrate(problem, start, 0.6)
    assert run.num_slides == 1 and 0 < run.switch_times[0] < 0.6
    ours = np.array([*run.endpoint[0][0, :2], run.endpoint[1][0, 0]])

    def distance(beta):
        def field(_, w):
            a = w[:2] @ X
            hidden, slope = np.logaddexp(0.0, beta * a) / beta, 0.5 * (1 + np.tanh(0.5 * beta * a))
            residual = w[2] * hidden - y
            return -np.array([*(X @ (w[2] * residual * slope)), residual @ hidden])

        smooth = scipy.integrate.solve_ivp(field, (0, 0.6), [0.2, 0.4, 0.9], method="LSODA", rtol=1e-9, atol=1e-11)
        return np.abs(smooth.y[:, -1] - ours).max()

    errors = [distance(beta) for beta in (1e3, 1e4)]
    assert errors[0] < 1e-2 and errors[1] < 0.15 * errors[0]


def test_a_slide_ends_at_a_point_that_is_stationary_on_the_surface():
    """bc -> 1: the second sample is fitted, the first would push left but is not on that side; 0 is in Clarke's set."""
    problem, start = _embedded([0.0, 0.4], 0.9, *SLIDING)
    run = _integrate(problem, start, rtol=1e-7)
    assert run.status is gf.Status.STATIONARY
    assert abs(run.endpoint[0][0, 0]) < 1e-15
    assert run.endpoint[0][0, 1] * run.endpoint[1][0, 0] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("targets", "is_generic"), [([-1.0, -1.3, -0.8], True), ([-1.0, -1.0, -1.0], False)])
def test_a_row_that_slides_into_zero_stays_there(targets, is_generic):
    """Leaky: samples at 120 degrees with negative targets pull the row into 0 in finite time; 0 is in Clarke's set.

    With unlike targets it is inside (two slides, the third surface in their span), with like ones at a corner.
    """
    angles = 2 * np.pi * np.arange(3) / 3 + 0.1
    problem, start = _embedded([0.2, 0.1], 1.0, [np.cos(angles), np.sin(angles)], targets, "prelu")
    run = _integrate(problem, start, rtol=1e-7)
    assert run.status is gf.Status.STATIONARY and (run.num_slides >= 2) == is_generic
    np.testing.assert_allclose(run.endpoint[0], 0.0, atol=1e-14)
    assert run.endpoint[1][0, 0] == pytest.approx(math.sqrt(1.0 - 0.05), rel=1e-6)
    assert float(problem.loss(run.endpoint)) == pytest.approx(0.5 * np.square(targets).sum(), rel=1e-12)


def test_a_row_that_starts_at_zero_is_held_there_by_independent_slides():
    angles = 2 * np.pi * np.arange(3) / 3 + 0.1
    problem, start = _embedded([0.0, 0.0], 1.0, [np.cos(angles), np.sin(angles)], [-1.0, -1.3, -0.8], "prelu")
    with jax.enable_x64(True):
        first = first_piece(gf.GradientFlow(problem), start, 1.0)
    assert first.num_slides == 2 and first.held[0].sum() >= 3
    np.testing.assert_array_equal(first.piece.problem.watched, ~first.held)


def test_a_run_does_not_end_at_a_limit_that_lies_just_behind_a_kink():
    """With all samples active the best line is (-1e-9, 1), loss 9/8, behind the first's kink: there it is repelled.

    The residuals (-1/2, 1, -1) are orthogonal to the inputs; the gradient is 1e-9 where the kink is met.
    """
    X = np.array([[1.0, 1.0, 0.5], [0.0, 1.0, 1.0]])
    problem, start = _embedded([0.3, 1.2], 1.3, X, np.array([-1e-9, 1.0]) @ X - [-0.5, 1.0, -1.0])
    run = _integrate(problem, start, rtol=1e-6)
    assert run.status is gf.Status.STATIONARY and run.num_crossings >= 1
    assert float(problem.loss(run.endpoint)) < 1.1


def test_no_slide_begins_where_one_side_does_not_push():
    """Targets -0.2 and 1: the second sample wins at once, the unit leaves to the right of the surface."""
    problem, start = _embedded([0.0, 0.4], 0.9, SLIDING[0], [-0.2, 1.0])
    run = _integrate(problem, start, 0.1)
    assert (run.num_slides, run.num_ambiguous) == (0, 0)
    assert run.endpoint[0][0, 0] > 1e-3


# --- random networks --------------------------------------------------------------------------------------------------


def _euler(problem, start, step, t1):
    """Explicit Euler with steps so small that kinks do not matter: the reference that knows nothing of events."""
    X, Y, first, last = problem.X, problem.Y, *(np.array(layer) for layer in start)
    for _ in range(round(t1 / step)):
        before = first @ X
        hidden = np.maximum(before, 0)
        residual = last @ hidden - Y
        first, last = first - step * ((last.T @ residual) * (before > 0)) @ X.T, last - step * residual @ hidden.T
    return first, last


def test_the_trajectory_is_the_limit_of_explicit_euler():
    """Euler's errors are about 7e-4 and 1e-4 for the two steps: it converges to ours."""
    problem, start = _random(0)
    run = _integrate(problem, start, 0.1, rtol=1e-8)
    errors = []
    for step in (1e-4, 2e-5):
        layers = _euler(problem, start, step, 0.1)
        errors.append(max(np.abs(a - b).max() for a, b in zip(run.endpoint, layers, strict=True)))
    assert run.num_crossings + run.num_slides > 10
    assert errors[1] < 2e-4 and errors[1] < 0.25 * errors[0]


def test_the_endpoint_follows_the_tolerance():
    problem, start = _random(1)
    runs = [_integrate(problem, start, 0.2, rtol=rtol) for rtol in (1e-4, 1e-6, 1e-8, 1e-10)]
    errors = [
        max(np.abs(a - b).max() for a, b in zip(run.endpoint, runs[-1].endpoint, strict=True)) for run in runs[:-1]
    ]
    assert all(error < 10 * rtol for error, rtol in zip(errors, (1e-4, 1e-6, 1e-8), strict=True))
    assert len({(run.num_crossings, run.num_slides) for run in runs}) == 1


@pytest.mark.parametrize(("activation", "rtol", "t1"), [("relu", 1e-6, 20.0), ("leaky_relu", 1e-4, 4.0)])
def test_a_relu_network_gets_through_its_kinks_with_the_diagonal_conserved(activation, rtol, t1):
    """10-7-5, 20 Gaussian samples, T = 20: integrated as if it were smooth it took 20 000 steps and stalled."""
    problem, start = _random(2, activation)
    run = _integrate(problem, start, t1, rtol=rtol, max_steps=20_000)
    drift = np.abs(_imbalance(run.params) - _imbalance(start)).max()
    losses = np.array(
        [float(problem.loss(tuple(leaf[i] for leaf in run.params))) for i in range(0, len(run.times), 197)]
    )
    assert run.status is gf.Status.HORIZON and run.num_steps < 6000
    assert run.num_crossings > 20 and run.num_slides > 20
    assert drift < 10 * rtol * run.largest_norm**2
    assert (np.diff(losses) < 1e-12 * losses[0]).all()
    lost = losses[0] - float(problem.loss(run.endpoint))
    assert abs(lost - run.dissipated[-1]) < 10 * rtol * lost


def test_counts_are_shown_by_trajectory_and_record():
    problem, start = _random(1)
    run = _integrate(problem, start, 0.1, rtol=1e-6)
    record = gf.monitor(gf.GradientFlow(problem), run)
    assert f"{run.num_crossings} crossings and {run.num_slides} slides at kinks" in str(run)
    assert (record.attrs["num_crossings"], record.attrs["num_slides"]) == (run.num_crossings, run.num_slides)
    assert run.num_crossings + run.num_slides <= len(run.switch_times) + run.num_ambiguous + 1
    assert np.all(np.diff(run.switch_times) >= 0)


def test_a_budget_of_steps_is_kept():
    problem, start = _random(1)
    run = _integrate(problem, start, 20.0, rtol=1e-6, max_steps=50)
    assert (run.status, run.num_steps) == (gf.Status.STEP_LIMIT, 50)


# --- which flows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "output", "expected"),
    [("relu", "identity", True), ("prelu", "tanh", True), ("relu", "relu", False), ("tanh", "identity", False),
     ("relu_squared", "identity", False), ("identity", "identity", False)],
)  # fmt: skip
def test_pieces_are_known_for_a_relu_like_hidden_layer_only(activation, output, expected):
    network = gf.networks.Shallow((2, 3, 1), activation, output)
    problem = gf.Regression(network, np.eye(2), np.ones((1, 2)))
    assert has_pieces(gf.GradientFlow(problem)) is expected
    assert not has_pieces(gf.GradientFlow(gf.Landscape(lambda w: abs(w[0]))))


def test_samples_on_one_line_share_a_surface():
    X = np.array([[1.0, -2.0, 0.0, 0.0, 3.0], [1.0, -2.0, 0.0, -1.0, 3.0]])
    surfaces = surfaces_of(X)
    assert surfaces.directions.shape == (2, 2)
    np.testing.assert_allclose(surfaces.directions[:, surfaces.index] * surfaces.lengths, X, atol=1e-15)


# --- decisions --------------------------------------------------------------------------------------------------------

E = np.eye(3)


def test_both_sides_pushing_in_makes_a_slide_and_one_side_a_crossing():
    """Gradient -1 on the negative side, -1 + kappa on the positive: velocities 1 and 1 - kappa."""
    for kappa, slides, side in ((3.0, True, None), (0.5, False, 1.0)):
        decision = decide(np.array([-1.0, 0, 0]), np.array([kappa]), E[:, :1], np.array([-1.0]))
        assert decision.slides[0] == slides
        assert side is None or decision.sides[0] == side
        assert not decision.is_ambiguous


def test_both_sides_pushing_out_is_ambiguous_and_keeps_its_side():
    for side in (-1.0, 1.0):
        decision = decide(np.array([1.0, 0, 0]), np.array([-3.0]), E[:, :1], np.array([side]))
        assert (decision.sides[0], decision.slides[0], decision.is_ambiguous) == (side, False, True)


def test_a_concave_kink_is_crossed_without_ambiguity():
    decision = decide(np.array([-1.0, 0, 0]), np.array([-3.0]), E[:, :1], np.array([-1.0]))
    assert (decision.sides[0], decision.is_ambiguous) == (1.0, False)


def test_time_backwards_exchanges_slides_and_repulsion():
    decision = decide(np.array([1.0, 0, 0]), np.array([-3.0]), E[:, :1], np.array([1.0]), -1.0)
    assert decision.slides[0] and not decision.is_ambiguous


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_a_decision_gives_the_least_element_of_filippovs_set(count):
    """On convex kinks: every surface left behind is left towards its side, and the slide's coefficients are inside."""
    rng = np.random.default_rng(count)
    for _ in range(40):
        normals = rng.normal(size=(3, count))
        normals /= np.linalg.norm(normals, axis=0)
        gradient, jumps = rng.normal(size=3), rng.uniform(0.2, 2.0, count)
        decision = decide(gradient, jumps, normals, rng.choice([-1.0, 1.0], count))
        held, free = decision.slides | decision.pinned, decision.slides
        fixed = gradient + normals @ np.where(~free & (decision.sides > 0), jumps, 0.0)
        shares, *_ = np.linalg.lstsq(normals[:, free], -fixed, rcond=None)
        velocity = -(fixed + normals[:, free] @ shares)
        assert np.linalg.matrix_rank(normals[:, free]) == free.sum()
        assert np.all((shares > 0) & (shares < jumps[free]))
        assert np.all(decision.sides[~held] * (velocity @ normals[:, ~held]) > 0)
        np.testing.assert_allclose(velocity @ normals[:, held], 0.0, atol=1e-12)


def test_events_that_get_nowhere_end_the_run():
    nothing = np.zeros((1, 1), bool)
    switch = Switch(None, None, 1, 0, 0, nothing, nothing)
    events = KinkLog().begun(switch)
    for _ in range(events.limit):
        events = events.then(switch, 0.0, 1.0)
    assert not events.is_crowded and events.then(switch, 0.0, 1.0).is_crowded
    assert not events.then(switch, 0.5, 1.0).then(switch, 0.5, 1.0).is_crowded


def test_a_piece_that_is_met_again_and_again_ends_stalled(monkeypatch):
    problem, start = _random(1)
    monkeypatch.setattr(log, "PATIENCE", 30 - WIDTHS[1] * SAMPLES)
    monkeypatch.setattr(integration, "next_piece", lambda before, params: dataclasses.replace(before, params=params))
    run = _integrate(problem, start, 20.0, rtol=1e-6)
    assert run.status is gf.Status.STALLED and run.num_steps < 1000


def test_a_file_keeps_the_counts(tmp_path):
    problem, start = _random(1)
    study = gf.study(gf.GradientFlow(problem), start, t1=0.05, rtol=1e-6, atol=1e-8)
    store.save(study, tmp_path / "kinks.nc")
    loaded = store.load(tmp_path / "kinks.nc").trajectory
    assert loaded.num_crossings == study.trajectory.num_crossings > 0
    assert (loaded.num_slides, loaded.num_ambiguous) == (study.trajectory.num_slides, 0)
    assert loaded.switch_times == study.trajectory.switch_times
    shown = io.StringIO()
    reporting.print_summary(study, shown, 160)
    assert loaded.kinks in shown.getvalue()
