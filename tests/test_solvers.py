"""Solvers and their step control: stability limits in closed form, the cap, and what it is for."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradflow as gf
from gradflow import solvers
from gradflow.solvers import explicit
from gradflow.solvers.step_control import SAFETY


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
