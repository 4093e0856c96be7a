"""Integration to the true end: closed forms, convergence with the tolerance, statuses, the stop test's traps."""

import math

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradflow as gf
from gradflow import checks, integration
from gradflow.recording import STOPS
from gradflow.solvers import SOLVER_NAMES

PRODUCT = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * (w[0] * w[1] - 1) ** 2, name="1/2 (ab - 1)^2"))
VALLEY = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * w[0] ** 2 + 0.5 * (1 - w[0] * w[1]) ** 2, name="h"))
QUADRATIC = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * w[0] ** 2 + 50 * w[1] ** 2))
WELLS = gf.GradientFlow(gf.Landscape(lambda w: jnp.sum(0.25 * w**4 - 0.5 * w**2), name="double well"))


def _deep(widths, scale, seed, sigma):
    problem = gf.Regression(gf.networks.Linear(widths), np.eye(widths[0]), sigma)
    return gf.GradientFlow(problem), problem.init(seed, scale=scale)


# --- accuracy ---------------------------------------------------------------------------------------------------------


def test_saxe_half_time_of_a_scalar_chain():
    """Saxe et al. 2014: u(t) = s e^{2st} / (e^{2st} - 1 + s / u0); s = 3, u0 = 1e-3: half time 1.33433903."""
    flow, _ = _deep((1, 1, 1), 1.0, 0, np.array([[3.0]]))
    start = tuple(np.full((1, 1), math.sqrt(1e-3)) for _ in range(2))
    run = gf.integrate(flow, start, t1=2.0, rtol=1e-12, atol=1e-14, save_at=[1.33433903])
    assert abs(float(run.params[0][0, 0, 0] * run.params[1][0, 0, 0]) - 1.5) < 2e-7


def test_saxe_deep_mode_values():
    """Three layers, s = 2, a0 = 0.1: u(4) = 0.11473736, u(5) = 1.81796472, with du/dt = 3 u^{4/3} (s - u)."""
    flow, _ = _deep((1, 1, 1, 1), 1.0, 0, np.array([[2.0]]))
    start = tuple(np.full((1, 1), 0.1) for _ in range(3))
    run = gf.integrate(flow, start, t1=5.0, rtol=1e-12, atol=1e-14, save_at=[4.0, 5.0])
    product = np.prod([layer.ravel() for layer in np.array(run.params)], axis=0)
    np.testing.assert_allclose(product, [0.11473736, 1.81796472], atol=1e-8)


@pytest.mark.parametrize("solver", SOLVER_NAMES[1:])
def test_every_solver_meets_its_tolerance_on_a_linear_flow(solver):
    """w(t) = (e^{-t}, e^{-100 t}) exactly; the error stays below 100 rtol."""
    run = gf.integrate(QUADRATIC, np.ones(2), t1=1.0, rtol=1e-7, atol=1e-9, solver=solver, save_at=[0.05, 1.0])
    exact = np.exp(-np.array([[0.05, 5.0], [1.0, 100.0]]))
    assert np.abs(run.params - exact).max() < 1e-5
    assert run.status is gf.Status.HORIZON


def test_the_error_follows_the_tolerance():
    errors = []
    for rtol in (1e-5, 1e-7, 1e-9, 1e-11):
        run = gf.integrate(PRODUCT, np.array([2.0, 0.1]), t1=5.0, rtol=rtol, atol=1e-3 * rtol)
        # a^2 - b^2 is conserved and ab follows a Riccati equation; the reference is the tightest run.
        errors.append(run.endpoint)
    errors = [np.abs(e - errors[-1]).max() for e in errors[:-1]]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[0] < 1e-3 and errors[2] < 1e-7


def test_backward_integration_undoes_forward_integration():
    forward = gf.integrate(PRODUCT, np.array([0.5, 0.7]), t1=2.0, rtol=1e-11, atol=1e-13)
    back = gf.integrate(PRODUCT, forward.endpoint, t1=-2.0, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(back.endpoint, [0.5, 0.7], atol=1e-8)
    assert back.end_time == -2.0 and np.all(np.diff(back.times) < 0)
    assert back.status is gf.Status.HORIZON


def test_dissipated_energy_is_the_loss_lost():
    run = gf.integrate(PRODUCT, np.array([0.5, 0.7]), rtol=1e-9, atol=1e-11)
    lost = PRODUCT.problem.loss(run.start) - PRODUCT.problem.loss(run.endpoint)
    assert abs(run.dissipated[-1] - lost) < 1e-8


# --- ends -------------------------------------------------------------------------------------------------------------


def test_a_start_near_a_saddle_is_not_taken_for_its_end():
    """diffrax's steady-state event stops this run at t = 0, on the saddle."""
    run = gf.integrate(PRODUCT, 1e-6 * np.ones(2), rtol=1e-6, atol=1e-6)
    assert run.status is gf.Status.STATIONARY
    np.testing.assert_allclose(run.endpoint, [1.0, 1.0], atol=1e-5)


def test_a_start_at_a_critical_point_ends_at_once():
    run = gf.integrate(PRODUCT, np.zeros(2))
    assert (run.status, run.num_steps, run.end_time) == (gf.Status.STATIONARY, 0, 0.0)
    assert gf.classify(PRODUCT.problem, run.endpoint).kind == "strict_saddle"


def test_a_start_on_a_stable_manifold_is_reported_as_unresolved():
    run = gf.integrate(PRODUCT, np.array([1.0, -1.0]))
    assert len(run.passages) == 1
    passage = run.passages[0]
    assert passage.is_resolved is False
    assert abs(passage.lowest_eigenvalue + 1.0) < 1e-6
    assert abs(passage.loss - 0.5) < 1e-6


def test_a_start_beside_a_stable_manifold_passes_the_saddle_as_resolved():
    run = gf.integrate(PRODUCT, np.array([1.0 + 1e-5, -1.0]))
    assert [passage.is_resolved for passage in run.passages] in ([], [True])
    np.testing.assert_allclose(run.endpoint, [1.0, 1.0], atol=1e-4)


def test_an_exact_zero_keeps_a_double_well_on_its_saddle():
    run = gf.integrate(WELLS, np.array([0.5, 0.0, -0.3]))
    assert run.status is gf.Status.STATIONARY
    np.testing.assert_allclose(run.endpoint, [1.0, 0.0, -1.0], atol=1e-7)
    assert run.passages[-1].end is None
    point = gf.classify(WELLS.problem, run.endpoint)
    assert (point.kind, point.index) == ("strict_saddle", 1)


def test_a_dead_row_ends_at_a_saddle_after_patience():
    flow, (first, last) = _deep((2, 2, 2), 0.5, 1, np.diag([2.0, 1.0]))
    dead = np.array(first), np.array(last)
    dead[0][1, :], dead[1][:, 1] = 0.0, 0.0
    run = gf.integrate(flow, dead)
    assert run.status is gf.Status.STATIONARY
    point = gf.classify(flow.problem, run.endpoint)
    assert (point.kind, point.rank) == ("strict_saddle", 1)
    assert run.passages[-1].end is None
    dwell = run.end_time - run.passages[-1].start
    assert dwell * abs(run.passages[-1].lowest_eigenvalue) >= 60.0


def test_polynomial_convergence_to_a_nonstrict_saddle_is_named():
    flow, _ = _deep((1, 1, 1, 1), 1.0, 0, np.array([[1.0]]))
    start = tuple(np.array([[value]]) for value in (-0.5, 0.5, 0.5))
    run = gf.integrate(flow, start)
    assert run.status is gf.Status.STATIONARY
    assert run.end_time > 1e4
    assert gf.classify(flow.problem, run.endpoint).kind == "nonstrict_saddle"


def test_a_plateau_is_left():
    """H = 3, scale 0.1: most runs have a tiny gradient for a long time, none stays."""
    flow, start = _deep((2, 2, 2, 2, 2), 0.1, 5, np.diag([2.0, 1.0]))
    run = gf.integrate(flow, start, rtol=1e-7, atol=1e-9)
    assert run.status is gf.Status.STATIONARY
    assert run.end_time > 20.0
    assert gf.classify(flow.problem, run.endpoint).kind == "global_minimum"


def test_an_implicit_solver_does_not_stick_to_a_saddle():
    """An L-stable method damps growth too, once its step is long enough; the stop test caps the step."""
    run = gf.integrate(PRODUCT, np.array([1.0 + 1e-5, -1.0]), solver="kvaerno5", rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(run.endpoint[0] * run.endpoint[1], 1.0, atol=1e-4)


def test_the_remaining_distance_is_below_the_tolerance():
    run = gf.integrate(QUADRATIC, np.ones(2), rtol=1e-8, atol=1e-10)
    assert run.status is gf.Status.STATIONARY
    # The limit is the origin, so what is left is the endpoint itself.
    assert np.linalg.norm(run.endpoint) <= 2 * run.remaining <= 2 * (1e-8 + 1e-10)


def test_a_user_level_of_the_gradient_is_obeyed():
    run = gf.integrate(QUADRATIC, np.ones(2), grad_tol=1e-3)
    gradient = np.linalg.norm(QUADRATIC.problem.gradient(run.endpoint))
    assert run.status is gf.Status.STATIONARY and 1e-4 < gradient <= 1e-3
    assert run.grad_tol == 1e-3


def test_h_escapes_and_does_not_count_as_stationary():
    run = gf.integrate(VALLEY, np.array([0.5, 0.5]), rtol=1e-6, atol=1e-8)
    assert run.status is gf.Status.ESCAPED
    assert run.solver == "Radau9" and "limited by stability" in run.solver_reason
    np.testing.assert_allclose(run.endpoint[1], (4 * run.end_time) ** 0.25, rtol=1e-3)


def test_finite_time_blow_up_escapes():
    run = gf.integrate(gf.GradientFlow(gf.Landscape(lambda w: -(w[0] ** 3) / 3)), np.array([0.5]))
    assert run.status is gf.Status.ESCAPED
    assert abs(run.end_time - 2.0) < 1e-3


def test_a_singular_field_stalls():
    run = gf.integrate(gf.GradientFlow(gf.Landscape(lambda w: jnp.log(w[0]))), np.array([0.5]))
    assert run.status is gf.Status.STALLED
    assert abs(run.end_time - 0.125) < 1e-6


def test_a_kink_stalls_and_is_never_silent():
    run = gf.integrate(gf.GradientFlow(gf.Landscape(lambda w: jnp.abs(w[0]))), np.array([0.5]), max_steps=4000)
    assert run.status in (gf.Status.STALLED, gf.Status.STEP_LIMIT)
    assert abs(run.end_time - 0.5) < 1e-3


def test_a_field_that_is_not_finite_at_the_start_ends_at_once():
    run = gf.integrate(gf.GradientFlow(gf.Landscape(lambda w: jnp.log(w[0]))), np.array([-0.5]))
    assert (run.status, run.num_steps) == (gf.Status.NONFINITE, 0)


def test_steps_run_out():
    run = gf.integrate(QUADRATIC, np.ones(2), max_steps=10)
    assert run.status is gf.Status.STEP_LIMIT
    assert run.status.is_failure and "max_steps" in run.status.remedy


def test_an_interrupt_leaves_what_was_reached(monkeypatch):
    calls = []
    advance = integration.advance

    def interrupted(*args):
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return advance(*args)

    monkeypatch.setattr(integration, "advance", interrupted)
    times = np.linspace(0.01, 1.0, 100)
    run = gf.integrate(PRODUCT, np.array([0.5, 0.7]), save_at=times, t1=1.0)
    assert run.status is gf.Status.INTERRUPTED
    np.testing.assert_array_equal(run.times, times[:STOPS])


# --- rows -------------------------------------------------------------------------------------------------------------


def test_requested_times_are_hit_exactly_and_only_they_are_saved():
    times = [0.0, 0.3, 1.0, 2.5]
    run = gf.integrate(PRODUCT, np.array([0.5, 0.7]), t1=2.5, save_at=times)
    np.testing.assert_array_equal(run.times, times)
    np.testing.assert_array_equal(run.params[0], [0.5, 0.7])


def test_times_after_the_end_hold_the_endpoint():
    run = gf.integrate(PRODUCT, np.array([0.5, 0.7]), t1=1e6, save_at=[1.0, 1e6])
    assert run.status is gf.Status.STATIONARY and run.end_time < 1e3
    np.testing.assert_array_equal(run.times, [1.0, 1e6])
    np.testing.assert_array_equal(run.params[1], run.endpoint)


def test_accepted_steps_are_thinned_to_a_bounded_number():
    run = gf.integrate(VALLEY, np.array([0.5, 0.5]), t1=700.0, rtol=1e-8, atol=1e-10, solver="tsit5")
    assert run.num_accepted > 4000 >= len(run.times)
    assert run.times[0] == 0.0 and run.times[-1] == run.end_time == 700.0
    assert np.all(np.diff(run.times) > 0) and np.isfinite(run.params).all()


def test_largest_norm_is_taken_over_all_steps():
    run = gf.integrate(QUADRATIC, np.array([3.0, 4.0]), t1=1.0, save_at=[1.0])
    assert run.largest_norm == 5.0


# --- wrong calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rtol": -1e-6}, "`rtol` must be greater than 0"),
        ({"rtol": math.nan}, "`rtol` must be a number, but got NaN"),
        ({"rtol": 1e-16}, "at least 1e-14"),
        ({"rtol": 3.0}, "at most 1"),
        ({"atol": -1.0}, "`atol` must be at least 0"),
        ({"t1": math.nan}, "`t1` must be a number"),
        ({"t1": 0.0}, "`t1` must be nonzero"),
        ({"t1": -math.inf}, "Backward runs need a horizon"),
        ({"max_steps": 0}, "`max_steps` must be at least 1"),
        ({"max_steps": 1.5}, "whole number"),
        ({"max_norm": 0.1}, "larger than the norm of the start"),
        ({"grad_tol": 0.0}, "`grad_tol` must be greater than 0"),
        ({"solver": "tist5"}, "Perhaps you meant 'tsit5'"),
        ({"solver": 5}, "be a name or a diffrax solver"),
        ({"solver": diffrax.Euler()}, "error estimate"),
        ({"solver": diffrax.KenCarp3()}, "Runge-Kutta method with an error estimate"),
        ({"solver": diffrax.SPaRK()}, "Runge-Kutta method"),
        ({"solver": diffrax.ReversibleHeun()}, "Runge-Kutta method"),
        ({"t1": 5e-324}, "between 1e-150 and 1e[+]150, or inf"),
        ({"t1": 1.0, "save_at": [0.5, 0.2]}, "sorted"),
        ({"t1": 1.0, "save_at": [0.5, 0.5]}, "duplicates"),
        ({"t1": 1.0, "save_at": [0.5, 2.0]}, r"inside \[0, 1\]"),
        ({"t1": 1.0, "save_at": [math.nan]}, "finite"),
    ],
)
def test_wrong_calls_are_refused(options, message):
    with pytest.raises(checks.InputError, match=message):
        gf.integrate(PRODUCT, np.array([0.5, 0.7]), **options)


def test_single_precision_is_refused_where_the_tolerance_asks_for_more():
    start = np.array([0.5, 0.7], np.float32)
    with pytest.raises(checks.InputError, match=r"for a start in float32.*jax_enable_x64"):
        gf.integrate(PRODUCT, start, rtol=1e-8)
    run = gf.integrate(PRODUCT, start, rtol=1e-4, atol=1e-6)
    assert run.endpoint.dtype == np.float64


@pytest.mark.parametrize(
    "call",
    [lambda start: gf.integrate(PRODUCT, start).endpoint, lambda start: gf.classify(PRODUCT.problem, start).loss],
    ids=["integrate", "classify"],
)
@pytest.mark.parametrize("transform", [jax.jit, jax.vmap], ids=["jit", "vmap"])
def test_a_trace_is_refused_with_the_way_out(call, transform):
    with pytest.raises(checks.InputError, match=r"called with numbers.*outside of jax\.jit, jax\.vmap and jax\.grad"):
        transform(call)(np.ones((2, 2)))


def test_an_absolute_tolerance_as_large_as_the_parameters_is_warned_of():
    with pytest.warns(checks.AccuracyWarning, match=r"`atol` = 2 is not small against the parameters \(1\)"):
        run = gf.integrate(PRODUCT, np.array([0.5, 0.7]), atol=2.0, t1=1.0)
    assert run.is_loose


def test_a_problem_is_not_a_flow():
    with pytest.raises(checks.InputError, match=r"GradientFlow\(problem\)"):
        gf.integrate(PRODUCT.problem, np.ones(2))


def test_a_diffrax_solver_object_is_taken_as_it_is():
    run = gf.integrate(PRODUCT, np.array([0.5, 0.7]), solver=diffrax.Tsit5())
    assert (run.solver, run.solver_reason) == ("Tsit5", "asked for")


@pytest.mark.parametrize("start", [np.array([700.0]), np.array([400.0, 1.0])], ids=["exp", "cosh"])
def test_a_field_too_large_for_a_step_size_ends_with_a_status(start):
    flow = gf.GradientFlow(gf.Landscape((lambda x: jnp.sum(jnp.exp(x))) if len(start) == 1 else _cosh))
    run = gf.integrate(flow, start, max_steps=1000)
    assert run.status.is_failure and np.isfinite(run.endpoint).all()


def test_a_norm_beyond_all_numbers_has_escaped():
    run = gf.integrate(gf.GradientFlow(gf.Landscape(lambda x: -0.5 * jnp.sum(x**2))), np.ones(1), max_norm=np.inf)
    assert run.status is gf.Status.ESCAPED


def _cosh(x):
    return jnp.sum(jnp.cosh(x))


@pytest.mark.parametrize("solver", ["tsit5", "rodas5p", "radau9", "bdf"])
def test_a_run_that_jumped_a_wall_where_the_loss_ends_says_so(solver):
    flow = gf.GradientFlow(gf.Landscape(lambda p: 10.0 * p[0] - 1e-6 * jnp.log(p[0])))
    assert gf.integrate(flow, np.array([1.0]), 3.0, rtol=1e-6, solver=solver).status is gf.Status.NONFINITE
