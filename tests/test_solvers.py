"""Solvers and their step control: stability limits in closed form, the cap, and what it is for."""

import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import gradflow as gf
from gradflow import solvers
from gradflow.solvers import explicit
from gradflow.solvers.base import AbstractFlowSolver
from gradflow.solvers.step_control import SAFETY

VARIABLE_ORDER = ("bdf",)
"""Solvers that choose their order: what one step's error is a power of is not theirs to say."""

OWN = [
    name
    for name in solvers.SOLVER_NAMES[1:]
    if name not in VARIABLE_ORDER and isinstance(solvers.make_solver(name, 1e-12), AbstractFlowSolver)
]


def curved(w):
    """A landscape without symmetries, on which every solver's orders show."""
    return 0.25 * w[0] ** 4 - w[0] * jnp.sin(w[1]) + 0.2 * w[1] ** 2


def one_step(name, fun, start):
    """``h -> (state, error estimate, energy)`` after one step of length h from `start`, compiled once."""
    flow = gf.GradientFlow(gf.Landscape(fun))
    solver, term = solvers.make_solver(name, 1e-12), diffrax.ODETerm(lambda t, y, flow: flow.vector_field(y))

    @jax.jit
    def step(h):
        state = solver.init(term, jnp.zeros(()), h, start, flow)
        end, error, dense, _, _ = solver.step(term, jnp.zeros(()), h, start, flow, state, jnp.array(False))
        return end, error, dense["energy"]

    return lambda h: tuple(np.asarray(part) for part in step(jnp.asarray(float(h))))


LENGTHS = 0.8 / 2.0 ** np.arange(7)


@functools.cache
def exact_steps():
    """The states after :data:`LENGTHS` of the flow on :func:`curved` from (1, 0.7)."""
    field = jax.jit(jax.grad(lambda w: -curved(w)))
    solution = scipy.integrate.solve_ivp(
        lambda t, y: np.asarray(field(y)), (0, 1), [1.0, 0.7], method="DOP853", rtol=1e-13, atol=1e-15,
        t_eval=LENGTHS[::-1],
    )  # fmt: skip
    return solution.y.T[::-1]


@pytest.mark.parametrize("name", OWN)
def test_errors_of_a_step_and_their_estimates_have_the_orders_that_the_solver_says(name):
    """Slopes between the shortest two of :data:`LENGTHS` whose errors are well above rounding."""
    solver = solvers.make_solver(name, 1e-12)
    with jax.enable_x64(True):
        step = one_step(name, curved, jnp.array([1.0, 0.7]))
        taken = [step(length) for length in LENGTHS]
        errors = [np.abs(end - true).max() for (end, _, _), true in zip(taken, exact_steps(), strict=True)]
    estimates = [np.abs(estimate).max() for _, estimate, _ in taken]
    for found, order in ((errors, solver.order(None) + 1), (estimates, solver.error_order(None))):
        seen = [value for value in found if 1e-12 < value < np.inf]
        # High orders are approached from below, and rounding ends the approach.
        assert len(seen) >= 2 and -max(0.7, 0.15 * order) < np.log2(seen[-2] / seen[-1]) - order < 0.7, (order, seen)


@pytest.mark.parametrize("name", OWN)
def test_a_step_is_stable_up_to_the_limit_that_the_solver_says_and_not_beyond(name):
    limit = solvers.make_solver(name, 1e-12).real_stability_limit
    with jax.enable_x64(True):
        step = one_step(name, lambda w: 0.5 * jnp.sum(w**2), jnp.ones(1))
        inside = [abs(step(h)[0][0]) for h in np.minimum([0.1, 1.0, 3.0, 20.0, 300.0], 0.999 * limit)]
        assert max(inside) <= 1.0
        assert limit == np.inf or abs(step(1.001 * limit)[0][0]) > 1.0


@pytest.mark.parametrize("name", OWN)
def test_a_step_where_the_field_is_no_number_is_refused_and_raises_nothing(name):
    with jax.enable_x64(True):
        _, error, _ = one_step(name, lambda w: jnp.sum(jnp.sqrt(w)), -jnp.ones(1))(0.1)
    assert not np.isfinite(error).any()


@pytest.mark.parametrize(
    ("solver", "limit"),
    [
        (diffrax.Euler(), 2.0),
        (diffrax.Heun(), 2.0),
        # 1 + z + z^2/2 + z^3/6 = -1 at z = -2.5127.
        (diffrax.Bosh3(), 2.5127),
        # Measured with a linear test equation (peers' notes): 3.5 for Tsit5.
        (diffrax.Tsit5(), 3.5),
        (diffrax.Dopri5(), 3.306),
    ],
)
def test_the_real_stability_limit_is_the_stability_polynomials(solver, limit):
    assert abs(solvers.real_stability_limit(solver) - limit) < 0.01


@pytest.mark.parametrize("name", ["kvaerno3", "kvaerno4", "kvaerno5"])
def test_implicit_solvers_have_no_limit(name):
    solver = solvers.make_solver(name, 1e-6)
    assert solvers.is_always_stable(solver)
    assert solvers.real_stability_limit(solver) == np.inf


def test_the_cap_works_inside_diffeqsolve_and_keeps_the_step_stable():
    """On 1/2 (x^2 + 400 y^2) the spectral radius is 400: no step may exceed SAFETY * limit / 400."""
    flow = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * w[0] ** 2 + 200 * w[1] ** 2))
    limit = solvers.real_stability_limit(diffrax.Tsit5())
    with jax.enable_x64(True):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, flow: flow.vector_field(y)), diffrax.Tsit5(), 0.0, 2.0, None,
            jnp.array([1.0, 1.0]), args=flow, saveat=diffrax.SaveAt(steps=True), max_steps=4096,
            stepsize_controller=solvers.StabilityCap(diffrax.PIDController(rtol=1e-3, atol=1e-5), limit),
        )  # fmt: skip
        steps = np.diff(np.asarray(solution.ts)[np.isfinite(solution.ts)])
        stiff = np.abs(np.asarray(solution.ys)[np.isfinite(solution.ts)][-1, 1])
    assert steps[1:].max() <= 1.001 * SAFETY * limit / 400
    assert stiff < 1e-12


def test_without_the_cap_the_stiff_mode_stays_at_the_tolerance():
    """What the cap is for: the plain controller leaves the stiff mode noisy, so no tight stop test is ever met."""
    flow = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * w[0] ** 2 + 200 * w[1] ** 2))
    with jax.enable_x64(True):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, flow: flow.vector_field(y)), diffrax.Tsit5(), 0.0, 2.0, None,
            jnp.array([1.0, 1.0]), args=flow, max_steps=4096,
            stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-5),
        )  # fmt: skip
        stiff = abs(float(solution.ys[-1, 1]))
    assert stiff > 1e-9


@pytest.mark.parametrize("radius", [400.0, 0.25])
def test_explicit_steps_are_as_long_as_the_stages_say_is_stable(radius):
    """On 1/2 rho y^2 at a loose tolerance steps end at ``0.8 * 3.5 / rho``, for rho above and below 1."""
    flow = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * radius * w[0] ** 2 + 1e-4 * radius * w[1] ** 2))
    run = gf.integrate(flow, np.ones(2), 200 / radius, rtol=1e-2, atol=1e-4, solver="tsit5", grad_tol=1e-30)
    longest = explicit.STAGE_SAFETY * solvers.real_stability_limit(diffrax.Tsit5()) / radius
    assert abs(np.diff(run.times).max() / longest - 1.0) < 0.02


@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize("name", ["rodas5p", "gauss4"])
def test_solvers_are_given_the_jacobian_of_the_field_in_the_direction_of_time(name, direction):
    flow = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * (w[0] * w[1] - 1) ** 2 + 0.25 * w[0] ** 4))
    point = np.array([0.5, 0.7])
    given = solvers.make_solver(name, 1e-6, direction).jacobian(point, flow)
    with jax.enable_x64(True):
        expected = jax.jacfwd(lambda w: direction * flow.vector_field(w))(jnp.asarray(point))
    np.testing.assert_allclose(given, expected, rtol=1e-14)


def test_newton_solves_the_stages_well_enough_not_to_be_seen_in_a_creeping_valley():
    valley = gf.GradientFlow(gf.model_problems.escaping_valley().problem)
    run = gf.integrate(valley, np.array([0.5, 0.5]), 1e8, rtol=1e-6, atol=1e-8, solver="kvaerno5", save_at=[1e8])
    assert run.endpoint[1] == pytest.approx(141.414282, rel=1e-6) and run.num_accepted < 100
