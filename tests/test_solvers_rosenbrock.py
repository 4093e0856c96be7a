"""Rosenbrock methods: their order, their stability, the exact Hessian, and steps that must be refused."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import gradflow as gf
from gradflow.solvers.rosenbrock import DENSE_PARAMETERS, Rodas3, Rodas4, Rodas5P

METHODS = [Rodas3, Rodas4, Rodas5P]
SPIRAL = diffrax.ODETerm(lambda t, y, args: jnp.array([-(y[0] ** 3) - y[1], y[0] - 0.4 * y[1] * y[0] ** 2]))
DESCENT = diffrax.ODETerm(lambda t, y, args: -jax.grad(_loss)(y))


def _loss(y):
    return 0.25 * y[0] ** 4 - y[0] * jnp.sin(y[1]) + 0.2 * y[1] ** 2


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def _fixed(term, solver, num, t1=1.0, y0=(1.0, 0.7)):
    """The step size is an array: a number would be compiled in."""
    solution = diffrax.diffeqsolve(
        term, solver, 0.0, t1, jnp.asarray(t1 / num), jnp.array(y0), stepsize_controller=diffrax.ConstantStepSize()
    )
    return np.asarray(solution.ys[-1])


def _exact(term, t1=1.0, y0=(1.0, 0.7)):
    field = lambda t, y: np.asarray(term.vf(t, jnp.asarray(y), None))  # noqa: E731
    return scipy.integrate.solve_ivp(field, (0, t1), y0, method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]


def _slopes(term, solver, nums, exact):
    errors = [np.abs(_fixed(term, solver, num) - exact).max() for num in nums]
    return np.log2(np.array(errors[:-1]) / errors[1:])


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_order_on_a_gradient_flow(method):
    """Steps from 1/8 to 1/32 over [0, 1]."""
    slopes = _slopes(DESCENT, method(), (8, 16, 32), _exact(DESCENT))
    assert np.abs(slopes - method().order(None)).max() < 0.2


@pytest.mark.parametrize(("method", "nums"), [(Rodas3, (32, 64)), (Rodas4, (64, 128)), (Rodas5P, (32, 64))])
def test_the_order_on_a_field_that_is_no_gradient(method, nums):
    """With LU in place of Cholesky; a Jacobian used as if it were symmetric would show here."""
    slopes = _slopes(SPIRAL, method(is_symmetric=False), nums, _exact(SPIRAL))
    assert np.abs(slopes - method().order(None)).max() < 0.3


def test_backward_steps_undo_forward_ones():
    end = _fixed(DESCENT, Rodas5P(), 40)
    back = diffrax.diffeqsolve(
        DESCENT, Rodas5P(), 1.0, 0.0, -1 / 40, jnp.asarray(end), stepsize_controller=diffrax.ConstantStepSize()
    )
    np.testing.assert_allclose(back.ys[-1], [1.0, 0.7], atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_the_error_estimate_is_one_order_below_the_method(method):
    errors = [np.abs(_step(method(), DESCENT, [1.0, 0.7], h)[1]).max() for h in (0.05, 0.025)]
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.abs(slopes - method().order(None)).max() < 0.35


def test_the_energy_of_a_step_is_the_loss_lost():
    """``y' = -y`` from 1: the energy of a step is ``(1 - e^{-2h}) / 2``; the quadrature has order 4."""
    term = diffrax.ODETerm(lambda t, y, args: -y)
    errors = [abs(float(_step(Rodas5P(), term, [1.0], h)[2]["energy"]) + np.expm1(-2 * h) / 2) for h in (0.4, 0.2)]
    assert errors[1] < 1e-6 and errors[0] / errors[1] > 2**4


# --- stiffness --------------------------------------------------------------------------------------------------------


def _step(solver, term, y0, step):
    y0 = jnp.asarray(y0)
    state = solver.init(term, 0.0, step, y0, None)
    params, error, dense, _, _ = solver.step(term, jnp.zeros(()), jnp.asarray(step), y0, None, state, False)
    return np.asarray(params), np.asarray(error), dense


@pytest.mark.parametrize("method", METHODS)
def test_stability_is_l_stability(method):
    """One step of ``y' = -lambda y``: below 1 for every ``lambda h``, and zero at infinity."""
    for product in (0.3, 1.0, 3.0, 10.0, 1e2, 1e4):
        decay = abs(float(_step(method(), diffrax.ODETerm(lambda t, y, a, p=product: -p * y), [1.0], 1.0)[0][0]))
        assert decay < 1.0
    assert abs(float(_step(method(), diffrax.ODETerm(lambda t, y, a: -1e12 * y), [1.0], 1.0)[0][0])) < 1e-4


def test_a_linear_stiff_flow_is_followed_with_few_steps():
    """Rates 1 and 1e8 to t = 10: Tsit5 would need 3e8 steps."""
    flow = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * w[0] ** 2 + 0.5e8 * w[1] ** 2))
    run = gf.integrate(flow, np.ones(2), 10.0, rtol=1e-8, atol=1e-12, solver="rodas5p", save_at=[1.0, 10.0])
    assert run.num_steps < 400
    np.testing.assert_allclose(run.params[:, 0], np.exp([-1.0, -10.0]), rtol=1e-6)


def test_a_curved_stiff_valley_keeps_its_energy():
    """h of paper 003 to t = 1e4: y = 14.0699306, and the energy of stages far off the valley must not count."""
    flow = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * w[0] ** 2 + 0.5 * (1 - w[0] * w[1]) ** 2))
    run = gf.integrate(flow, np.array([0.5, 0.5]), 1e4, rtol=1e-6, atol=1e-8, solver="rodas5p")
    assert abs(run.endpoint[1] - 14.0699306) < 1e-4
    lost = float(flow.problem.loss(run.start) - flow.problem.loss(run.endpoint))
    assert abs(run.dissipated[-1] - lost) < 1e-5


# --- Jacobians and equations ------------------------------------------------------------------------------------------


def test_a_given_jacobian_and_the_iteration_agree_with_the_factorisation():
    hessian = lambda y, args: -jax.hessian(_loss)(y)  # noqa: E731
    steps = [
        _step(solver, DESCENT, [1.0, 0.7], 0.3)[0]
        for solver in (Rodas5P(), Rodas5P(jacobian=hessian), Rodas5P(matrix_free=True, tolerance=1e-14),
                       Rodas5P(is_symmetric=False), Rodas5P(is_symmetric=False, matrix_free=True, tolerance=1e-14))
    ]  # fmt: skip
    for other in steps[1:]:
        np.testing.assert_allclose(other, steps[0], atol=1e-12)


def test_conjugate_gradients_carry_a_flow_with_many_parameters():
    """Too many for a matrix by default; rates from 1 to 1e3."""
    size = DENSE_PARAMETERS + 1
    rates = jnp.geomspace(1.0, 1e3, size)
    term = diffrax.ODETerm(lambda t, y, args: -rates * y)
    end, error, _ = _step(Rodas3(), term, np.ones(size), 0.01)
    assert np.isfinite(error).all()
    np.testing.assert_allclose(end[:50], np.exp(-0.01 * rates[:50]), atol=1e-5)


def test_a_step_over_a_saddle_is_refused():
    """At lambda = -1 growth by ``e^h`` is damped by an L-stable method once gamma h > 1: the estimate is infinite."""
    term = diffrax.ODETerm(lambda t, y, args: jnp.array([y[0], -3.0 * y[1]]))
    short, long = (_step(Rodas5P(), term, [1e-3, 1.0], h) for h in (0.1, 6.0))
    assert np.isfinite(short[1]).all() and np.isinf(long[1]).all()
    assert abs(short[0][0] - 1e-3 * np.exp(0.1)) < 1e-9
    plain = _step(Rodas5P(is_symmetric=False), term, [1e-3, 1.0], 60.0)
    assert np.isfinite(plain[1]).all() and abs(plain[0][0]) < 1e-2  # what would have been taken for the solution


def test_a_field_that_is_not_finite_refuses_the_step():
    term = diffrax.ODETerm(lambda t, y, args: jnp.where(y < 0.9, jnp.nan, -y))
    _, error, _ = _step(Rodas4(), term, [1.0], 1.0)
    assert np.isinf(error).all()


def test_an_iteration_that_does_not_end_refuses_the_step(monkeypatch):
    monkeypatch.setattr("gradflow.solvers.rosenbrock.MAX_ITERATIONS", 3)
    rates = jnp.geomspace(1.0, 1e6, 64)
    term = diffrax.ODETerm(lambda t, y, args: -rates * y)
    _, error, _ = _step(Rodas3(matrix_free=True), term, np.ones(64), 1.0)
    assert np.isinf(error).all()


def test_many_flows_at_once():
    """Under vmap, with diffrax's own controller."""
    solve = jax.vmap(
        lambda y0: diffrax.diffeqsolve(
            DESCENT, Rodas4(), 0.0, 1.0, None, y0, stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-10)
        ).ys[-1]
    )
    starts = jnp.array([[1.0, 0.7], [0.2, -0.5]])
    exact = [_exact(DESCENT, y0=tuple(np.asarray(start))) for start in starts]
    np.testing.assert_allclose(solve(starts), exact, atol=1e-6)
