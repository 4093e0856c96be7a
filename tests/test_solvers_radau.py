"""Radau IIA of order 9: its tableau in closed form, order, stability, dense output, and steps it must refuse."""

import math

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.interpolate

import gradflow as gf
from gradflow import checks
from gradflow.solvers.radau import STAGES, Radau9, radau_tableau

DESCENT = diffrax.ODETerm(lambda t, y, args: -jax.grad(_loss)(y))


def _loss(y):
    return 0.25 * y[0] ** 4 - y[0] * jnp.sin(y[1]) + 0.2 * y[1] ** 2


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def exact():
    field = lambda t, y: np.asarray(DESCENT.vf(t, jnp.asarray(y), None))  # noqa: E731
    with jax.enable_x64(True):
        options = {"method": "DOP853", "rtol": 1e-13, "atol": 1e-14, "dense_output": True}
        return scipy.integrate.solve_ivp(field, (0, 2), [1.0, 0.7], **options).sol


def _step(solver, term, y0, step):
    y0 = jnp.asarray(y0)
    state = solver.init(term, 0.0, step, y0, None)
    return solver.step(term, jnp.zeros(()), jnp.asarray(step), y0, None, state, False)


def test_three_stages_are_those_of_the_textbook():
    """Hairer and Wanner 1996, table IV.5.6."""
    tableau, root = radau_tableau(3), np.sqrt(6.0)
    np.testing.assert_allclose(tableau.nodes, [(4 - root) / 10, (4 + root) / 10, 1], rtol=1e-14)
    np.testing.assert_allclose(tableau.matrix[0, 0], (88 - 7 * root) / 360, rtol=1e-13)
    np.testing.assert_allclose(tableau.matrix[2], [(16 - root) / 36, (16 + root) / 36, 1 / 9], rtol=1e-13)


def test_the_quadrature_has_order_nine_and_the_stages_order_five():
    tableau = radau_tableau(STAGES)
    degrees = np.arange(2 * STAGES - 1)
    np.testing.assert_allclose(tableau.matrix[-1] @ tableau.nodes[:, None] ** degrees, 1 / (degrees + 1), rtol=1e-13)
    low = degrees[:STAGES]
    np.testing.assert_allclose(
        tableau.matrix @ tableau.nodes[:, None] ** low, tableau.nodes[:, None] ** (low + 1) / (low + 1), atol=1e-14
    )  # fmt: skip


def test_stability_is_l_stability():
    tableau = radau_tableau(STAGES)
    eye, ones = np.eye(STAGES), np.ones(STAGES)

    def factor(z):
        return 1 + z * tableau.matrix[-1] @ np.linalg.solve(eye - z * tableau.matrix, ones)

    assert all(abs(factor(-z)) < 1 for z in np.geomspace(1e-3, 1e8, 60)) and abs(factor(-1e10)) < 1e-8


def test_the_order_on_a_gradient_flow(exact):
    """Steps of 1 and 1/2 over [0, 2]."""
    errors = []
    for num in (2, 4):
        solution = diffrax.diffeqsolve(
            DESCENT, Radau9(1e-13, 1e-15), 0.0, 2.0, jnp.asarray(2 / num), jnp.array([1.0, 0.7]),
            stepsize_controller=diffrax.ConstantStepSize(),
        )  # fmt: skip
        errors.append(np.abs(solution.ys[-1] - exact(2.0)).max())
    assert abs(np.log2(errors[0] / errors[1]) - 9) < 1.0 and errors[1] < 1e-8


def test_the_estimate_is_of_order_five_and_above_the_error(exact):
    estimates = [np.abs(_step(Radau9(1e-12, 1e-14), DESCENT, [1.0, 0.7], h)[1]).max() for h in (0.1, 0.05)]
    assert abs(np.log2(estimates[0] / estimates[1]) - 6) < 0.5
    end, estimate, *_ = _step(Radau9(1e-6, 1e-8), DESCENT, [1.0, 0.7], 0.4)
    assert np.abs(end - exact(0.4)).max() < np.abs(estimate).max()


def test_diffeqsolve_takes_it_and_its_dense_output_is_the_collocation_polynomial(exact):
    times = np.linspace(0.0, 2.0, 9)
    tolerances = {"rtol": 1e-8, "atol": 1e-10}
    solution = diffrax.diffeqsolve(
        DESCENT, Radau9(**tolerances), 0.0, 2.0, None, jnp.array([1.0, 0.7]), saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(**tolerances),
    )  # fmt: skip
    np.testing.assert_allclose(solution.ys, exact(times).T, atol=1e-6)
    np.testing.assert_allclose(solution.ys[-1], exact(2.0), atol=1e-8)
    assert int(solution.stats["num_accepted_steps"]) < 12


def test_the_energy_of_a_step_is_the_loss_lost():
    """``y' = -y`` from 1: the energy of a step is ``(1 - e^{-2h}) / 2``."""
    term = diffrax.ODETerm(lambda t, y, args: -y)
    assert abs(float(_step(Radau9(), term, [1.0], 0.4)[2]["energy"]) + np.expm1(-0.8) / 2) < 1e-9


def test_a_step_over_a_saddle_is_refused():
    term = diffrax.ODETerm(lambda t, y, args: jnp.array([y[0], -3.0 * y[1]]))
    short, long = (_step(Radau9(), term, [1e-3, 1.0], h) for h in (0.1, 6.0))
    assert np.isfinite(short[1]).all() and np.isinf(long[1]).all()
    assert abs(float(short[0][0]) - 1e-3 * np.exp(0.1)) < 1e-12


def test_a_field_that_is_not_finite_refuses_the_step():
    term = diffrax.ODETerm(lambda t, y, args: jnp.where(y < 0.9, jnp.nan, -y))
    assert np.isinf(_step(Radau9(), term, [1.0], 1.0)[1]).all()


def test_equations_that_are_not_solved_refuse_the_step(monkeypatch):
    monkeypatch.setattr("gradflow.solvers.radau.CORRECTIONS", 1)
    assert np.isinf(_step(Radau9(), DESCENT, [1.0, 0.7], 1.0)[1]).all()


def test_many_parameters_are_refused_with_the_remedy():
    bowl = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * jnp.sum(w**2)))
    with pytest.raises(checks.InputError, match="'bdf'"):
        gf.integrate(bowl, np.ones(401), 1.0, solver="radau9")


def test_a_valley_of_eight_decades_takes_fewer_than_a_hundred_steps():
    valley = gf.GradientFlow(gf.model_problems.escaping_valley().problem)
    run = gf.integrate(valley, np.array([0.5, 0.5]), 1e8, rtol=1e-8, atol=1e-10, solver="radau9", save_at=[1e8])
    assert run.num_steps < 100 and run.endpoint[1] == pytest.approx(141.414282, rel=1e-8)
    lost = float(valley.problem.loss(run.start) - valley.problem.loss(run.endpoint))
    assert abs(run.dissipated[-1] - lost) < 1e-6


def test_a_second_step_and_a_step_after_a_jump_are_those_of_a_new_start():
    """The end of a step, its estimate and its energy do not depend on where the trajectory came from."""
    solver = Radau9(1e-10, 1e-12)

    @jax.jit
    def step(start, state, made_jump):
        end, error, dense, state, _ = solver.step(DESCENT, 0.0, jnp.asarray(0.2), start, None, state, made_jump)
        return end, error, dense["energy"], state

    def begun(start):
        return step(start, solver.init(DESCENT, 0.0, 0.2, start, None), jnp.asarray(False))

    *_, state = first = begun(jnp.array([1.0, 0.7]))
    for start, made_jump in ((first[0], False), (jnp.array([-0.4, 1.1]), True)):
        fresh, again = begun(start), step(start, state, jnp.asarray(made_jump))
        for one, other, rtol in zip(again[:3], fresh[:3], (1e-11, 1e-5, 1e-9), strict=True):
            np.testing.assert_allclose(one, other, rtol=rtol)
        np.testing.assert_allclose(again[3].speed, DESCENT.vf(0.0, again[0], None), rtol=1e-12)


def test_what_newton_leaves_is_a_thousandth_of_the_tolerance():
    """``y' = -y^3`` over a step of 1.5, against the same equations solved to rounding."""
    term = diffrax.ODETerm(lambda t, y, args: -(y**3))
    end = jax.jit(lambda rtol: _step(Radau9(rtol, 1e-3 * rtol), term, [1.5], 1.5)[0][0])
    exact = float(end(1e-13))
    for rtol in (1e-2, 1e-4):
        assert abs(float(end(rtol)) - exact) < 1e-3 * rtol * 1.5


def test_a_step_over_which_a_curvature_turns_negative_late_is_not_taken():
    """``y'' < 0`` in y beyond x = 10, met at t = 1000: a long step from before would damp what grows there."""
    slope = 0.01

    def loss(p):
        curvature = 1.0 - 50.0 * jax.nn.sigmoid(50.0 * (p[0] - 10.0))
        return -slope * p[0] + 0.5 * curvature * p[1] ** 2 + 0.25 * p[1] ** 4 - 1e-3 * p[1]

    flow, start = gf.GradientFlow(gf.Landscape(loss)), np.array([0.0, 0.5])
    found = [gf.integrate(flow, start, 1010.0, rtol=1e-6, atol=1e-8, solver=name) for name in ("radau9", "rodas5p")]
    assert found[0].status is found[1].status is gf.Status.HORIZON
    np.testing.assert_allclose(found[0].endpoint, found[1].endpoint, rtol=1e-4)


@pytest.mark.parametrize(("length", "is_refused"), [(1.99, False), (2.01, True)])
def test_a_step_over_which_something_grows_by_more_than_e_squared_is_refused(length, is_refused):
    """``y' = y``: the largest growth that a step may hold is ``exp(2) = 7.4``. The end is a Pade approximant."""
    with jax.enable_x64(True):
        term, start = diffrax.ODETerm(lambda t, y, args: y), jnp.array([1.0])
        solver = Radau9()
        state = solver.init(term, 0.0, length, start, None)
        end, error, *_ = solver.step(term, 0.0, length, start, None, state, False)
    assert bool(np.isinf(error).all()) is is_refused
    above, below = scipy.interpolate.pade([1.0 / math.factorial(power) for power in range(10)], 5)
    assert float(end[0]) == pytest.approx(above(length) / below(length), rel=1e-9)
