"""Integration where curvatures, targets or coordinates differ by many orders of magnitude: nothing may end early."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradflow as gf
from gradflow import networks


def _landscape(fun, *numbers):
    """The landscape of ``fun(*numbers, params)``, compiled once for all numbers."""
    return gf.Landscape(jax.tree_util.Partial(fun, *map(np.array, numbers)))


def _walls_beside_a_weak_saddle(steep, weak, p):
    return steep * p[0] ** 2 + weak * (0.25 * p[1] ** 4 - 0.5 * p[1] ** 2)


def _rosenbrock(stiffness, p):
    return (1 - p[0]) ** 2 + stiffness * (p[1] - p[0] ** 2) ** 2


def _huber(y):
    return jnp.where(jnp.abs(y) < 1, 0.5 * y**2, jnp.abs(y) - 0.5)


@pytest.mark.parametrize(
    ("fun", "start", "limit"),
    [
        (lambda p: 0.5 * jnp.sum(jnp.logspace(6, -6, 20) * (p - 1) ** 2), np.zeros(20), np.ones(20)),
        (lambda p: 5e3 * p[0] ** 2 + 1e-5 * _huber(p[1] - 9), np.array([1.0, 0.0]), np.array([0.0, 9.0])),
        (lambda p: 0.5e6 * p[0] ** 2 + 1e-2 * jnp.sqrt(1 + p[1] ** 2), np.array([1.0, 1e3]), np.zeros(2)),
        (lambda p: 0.5 * p[0] ** 2 + 1e-9 * jnp.sqrt(1 + (p[1] - 1e3) ** 2), np.array([1.0, 0.0]), np.array([0, 1e3])),
    ],
    ids=["twelve orders", "flat and far", "steep valley", "hardly a slope"],
)
def test_a_flat_direction_is_followed_to_its_end(fun, start, limit):
    run = gf.integrate(gf.GradientFlow(gf.Landscape(fun)), start)
    assert run.status is gf.Status.STATIONARY
    np.testing.assert_allclose(run.endpoint, limit, atol=1e-6 * np.linalg.norm(limit) + 1e-6)


def test_a_slope_without_end_escapes_however_steep_the_walls_beside_it():
    run = gf.integrate(gf.GradientFlow(gf.Landscape(lambda p: 0.5e6 * p[0] ** 2 - 1e-3 * p[1])), np.array([1.0, 0.0]))
    assert run.status is gf.Status.ESCAPED


@pytest.mark.parametrize(("steep", "weak", "start"), [(0.5e8, 1e-6, 1e-3), (0.5e8, 1e-3, 1e-6), (0.5e8, 1e-3, 1e-9)])
def test_a_weak_instability_is_left_however_steep_the_walls_beside_it(steep, weak, start):
    flow = gf.GradientFlow(_landscape(_walls_beside_a_weak_saddle, steep, weak))
    run = gf.integrate(flow, np.array([1.0, start]))
    assert run.status is gf.Status.STATIONARY
    np.testing.assert_allclose(run.endpoint, [0.0, 1.0], atol=1e-7)
    if start < 1e-7:
        assert len(run.passages) == 1 and run.passages[0].lowest_eigenvalue == pytest.approx(-weak, rel=1e-3)


def test_features_of_unlike_units_are_fitted_to_the_last():
    rng = np.random.default_rng(0)
    first, second = 1e5 * rng.normal(size=200), 1e-3 * rng.normal(size=200)
    problem = gf.Regression(
        networks.Linear((2, 1)), np.stack([first, second]), (1e-5 * first + 1e3 * second)[np.newaxis]
    )
    run = gf.integrate(gf.GradientFlow(problem), problem.init(0))
    assert run.status is gf.Status.STATIONARY
    np.testing.assert_allclose(run.endpoint[0], [[1e-5, 1e3]], rtol=1e-6)


def test_a_far_minimiser_is_no_escape():
    problem = gf.Regression(networks.Linear((2, 1)), np.diag([1.0, 1e-9]), np.ones((1, 2)))
    run = gf.integrate(gf.GradientFlow(problem), (np.zeros((1, 2)),))
    assert run.status is gf.Status.STATIONARY
    np.testing.assert_allclose(run.endpoint[0], [[1.0, 1e9]], rtol=1e-7)


@pytest.mark.parametrize("stiffness", [1e2, 1e5, 1e6])
def test_a_curved_valley_is_followed_whatever_its_steepness(stiffness):
    flow = gf.GradientFlow(_landscape(_rosenbrock, stiffness))
    run = gf.integrate(flow, np.array([-1.2, 1.0]), solver="kvaerno5", max_steps=3000)
    assert run.status is gf.Status.STATIONARY
    np.testing.assert_allclose(run.endpoint, [1.0, 1.0], atol=1e-6)


def test_the_stage_equations_are_solved_where_rounding_hides_their_residual():
    rng = np.random.default_rng(0)
    problem = gf.Regression(networks.Linear((4, 3, 2)), 1e4 * rng.normal(size=(4, 50)), rng.normal(size=(2, 50)))
    run = gf.integrate(gf.GradientFlow(problem), problem.init(0), solver="kvaerno5", max_steps=3000)
    assert run.status is gf.Status.STATIONARY
    assert problem.loss(run.endpoint) == pytest.approx(problem.irreducible, rel=1e-9)


def test_a_logarithm_to_infinity_ends_at_the_longest_time():
    run = gf.integrate(gf.GradientFlow(gf.Landscape(lambda p: jnp.exp(-p))), np.array(0.0))
    assert (run.status, run.end_time) == (gf.Status.HORIZON, 1e150)
    assert run.endpoint == pytest.approx(150 * math.log(10), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1e-6])
def test_a_target_far_below_the_start_is_reached(scale):
    rng = np.random.default_rng(3)
    problem = gf.Regression(networks.Linear((4, 3, 2)), rng.normal(size=(4, 30)), scale * rng.normal(size=(2, 30)))
    run = gf.integrate(gf.GradientFlow(problem), problem.init(0))
    assert run.status is gf.Status.STATIONARY
    assert gf.classify(problem, run.endpoint).kind == "global_minimum"


def test_a_weak_saddle_of_a_large_network_is_left():
    target = np.diag(np.append(np.linspace(1, 0.5, 19), 5e-3))
    problem = gf.Regression(networks.Linear((20, 20, 20)), np.eye(20), target)
    study = gf.study(
        gf.GradientFlow(problem), problem.init(0, "gaussian", scale=1e-4), rtol=1e-4, atol=1e-6, max_steps=20_000
    )
    assert study.trajectory.status is gf.Status.STATIONARY and study.point.kind == "global_minimum"
    assert study.trajectory.passages[-1].lowest_eigenvalue == pytest.approx(-5e-3, rel=0.1)
    assert study.passed


@pytest.mark.parametrize("size", [40, 601])
def test_a_weak_saddle_is_noticed_dense_and_matrix_free(size):
    start = np.ones(size)
    start[0] = 1e-4
    flow = gf.GradientFlow(gf.Landscape(lambda x: 0.5 * jnp.sum(x[1:] ** 2) + 1e-3 * 0.25 * (x[0] ** 2 - 1) ** 2))
    run = gf.integrate(flow, start, rtol=1e-3, atol=1e-5, solver="tsit5", max_steps=20_000)
    assert run.status is gf.Status.STATIONARY
    np.testing.assert_allclose(run.endpoint, np.eye(1, size)[0], atol=3e-3)
    assert [passage.end is None for passage in run.passages] == [False]
    assert run.passages[0].lowest_eigenvalue == pytest.approx(-1e-3, rel=1e-2)
    assert np.isfinite(run.passages[0].offset)


def test_a_saddle_that_was_left_is_not_where_the_run_ended():
    flow = gf.GradientFlow(gf.Landscape(lambda x: 0.25e-8 * (x[0] ** 2 - 1) ** 2 + 0.5 * x[1] ** 2))
    study = gf.study(flow, np.array([1e-5, 1.0]))
    assert study.point.kind == "local_minimum"
    assert all(
        passage.end is not None and passage.end < study.trajectory.end_time for passage in study.trajectory.passages
    )
