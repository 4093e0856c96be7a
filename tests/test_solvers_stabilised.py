"""Stabilised explicit methods: stability against the closed form, orders, the radius they rely on, and refusals."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial import Chebyshev, Legendre
from scipy.integrate import solve_ivp

from gradflow import checks
from gradflow.solvers.spectral_radius import SpectralRadius, first_estimate, updated
from gradflow.solvers.stabilised import RKC2, RKL2

METHODS = [RKC2, RKL2]


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def linear(t, y, rates):
    """``y_i' = -rates_i y_i``."""
    return -rates * y


def valley(t, y, speed):
    """The gradient flow of ``x^4/4 + 2 (v - x^2)^2``, `speed` times as fast; its spectral radius is at most 20."""
    x, v = y
    gap = v - x**2
    return (speed * (-(x**3) + 8 * x * gap), -speed * 4 * gap)


def valley_after(time):
    right = lambda t, y: np.array(valley(t, y, 1.0))  # noqa: E731
    return solve_ivp(right, (0.0, time), VALLEY_START, method="DOP853", rtol=1e-13, atol=1e-15).y[:, -1]


def valley_loss(y):
    return y[0] ** 4 / 4 + 2 * (y[1] - y[0] ** 2) ** 2


VALLEY_START = (1.0, 1.0)
_ONE_STEP = {}


def one_step(solver, field, y0, step, args=None, state=None):
    """``y1, error, dense, state`` of one step, compiled once for each solver and field."""
    term = diffrax.ODETerm(field)
    # Through NumPy: a weak type would compile anew.
    y0, args = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), (y0, args))
    if (solver, field) not in _ONE_STEP:
        _ONE_STEP[solver, field] = (
            jax.jit(lambda y, a: solver.init(term, 0.0, 1.0, y, a)),
            jax.jit(lambda y, h, a, s: solver.step(term, jnp.zeros_like(h), h, y, a, s, False)[:4]),
        )  # fmt: skip
    init, take = _ONE_STEP[solver, field]
    return take(y0, jnp.asarray(step), args, init(y0, args) if state is None else state)


def stability_function(solver, num_stages, z):
    """``R(-z)`` by one step of length beta(num_stages) with a radius of exactly 1, on ``y' = -(z / beta) y``."""
    reach = solver.stability_interval(float(num_stages)) * (1 - 1e-12)
    values, _, _, state = one_step(solver, linear, jnp.ones(z.size), reach, jnp.asarray(z / reach))
    return np.asarray(values), int(state.num_evaluations)


def closed_form(method, s, z):
    """``R(-z)`` from the polynomials' closed forms and derivatives at one."""
    if method is RKL2:
        b = (s * s + s - 2) / (2 * s * (s + 1))
        return 1 - b + b * Legendre.basis(s)(1 - 4 / (s * s + s - 2) * z)
    w0 = 1 + 2 / 13 / s**2
    value, slope, bend = (Chebyshev.basis(s).deriv(d)(w0) if d else Chebyshev.basis(s)(w0) for d in range(3))
    b = bend / slope**2
    return 1 - b * value + b * Chebyshev.basis(s)(w0 - slope / bend * z)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("num_stages", [3, 7, 31, 201])
def test_a_step_is_the_stability_polynomial_within_one_on_the_interval_and_beyond_one_after_it(method, num_stages):
    solver = method(spectral_radius=1.0)
    beta = solver.stability_interval(float(num_stages))
    inside = np.linspace(0.0, 1.0, 1001) * beta
    values, used = stability_function(solver, num_stages, inside)
    assert used == num_stages
    # Rounding of the recurrence grows with the square of the stages.
    np.testing.assert_allclose(values, closed_form(method, num_stages, inside), atol=2e-15 * num_stages**2)
    assert np.abs(values).max() <= 1.0
    far = inside > 3
    assert np.abs(values[far]).max() <= (1 - 2 / 13 / 3 + 0.01 if method is RKC2 else 0.8)
    assert values.min() > (0.3 if method is RKC2 else 0.0)
    # At an odd number of stages the polynomial passes through 0 before it reaches -1, 5 T or 3 L beyond the end.
    beyond, _ = stability_function(solver, num_stages, np.full(1001, beta * (1 + 5 / num_stages**1.5)))
    assert abs(beyond[0]) > 1.0


def test_with_an_even_number_of_stages_the_interval_of_chebyshev_is_left_at_once():
    solver = RKC2(spectral_radius=1.0)
    for num_stages in (2, 10, 100):
        beta = solver.stability_interval(float(num_stages))
        # |T_s| = T_s(w0) at -w0: that is a relative eps / s^2 / 2 beyond -1.
        edge = beta * (1 + 2 / 13 / num_stages**2)
        values, _ = stability_function(solver, num_stages, np.full(1001, beta))
        beyond, _ = stability_function(solver, num_stages, np.full(1001, edge))
        assert values[0] <= 1 - 2 / 13 / 5 < 1 < beyond[0]


def test_the_interval_of_chebyshev_is_the_known_approximation():
    """``2/3 (s^2 - 1) (1 - 2 eps / 15)`` (Sommeijer, Shampine, Verwer)."""
    numbers = np.array([2.0, 5.0, 20.0, 1000.0])
    approximation = 2 / 3 * (numbers**2 - 1) * (1 - 2 / 15 * 2 / 13)
    np.testing.assert_allclose(RKC2().stability_interval(numbers), approximation, rtol=3e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_takes_the_fewest_stages_that_are_stable(method):
    solver = method(spectral_radius=1.0)
    numbers = [number for number in solver.stage_numbers if number < 60]
    for fewer, number in zip(numbers[::7], numbers[1::7], strict=False):
        reach = solver.stability_interval(float(fewer))
        for step, expected in ((0.999 * reach, fewer), (1.001 * reach, number)):
            state = one_step(solver, linear, jnp.ones(1001), step, jnp.ones(1001))[3]
            assert int(state.num_evaluations) == expected


def solve_with_steps(solver, num_steps, speed):
    """End, energy and stages a step of `num_steps` equal steps along the valley to t = 1."""
    term = diffrax.ODETerm(valley)
    start = jax.tree.map(jnp.asarray, VALLEY_START)
    length = 1.0 / (num_steps * speed)

    def body(_, carry):
        y, state, energy = carry
        y, _, dense, state, _ = solver.step(term, jnp.zeros(()), length, y, speed, state, False)
        return y, state, energy + dense["energy"] / speed

    begin = (start, solver.init(term, 0.0, 1.0, start, speed), jnp.zeros(()))
    end, state, energy = jax.lax.fori_loop(0, num_steps, body, begin)
    return end, energy, state.num_evaluations / num_steps


@pytest.mark.parametrize("method", METHODS)
def test_orders_of_state_and_energy_are_two(method):
    """Steps of 1/64 to 1/512 with 3 stages, with 29, and with as many as a radius of 20000 asks for.

    The radius is 1 and time is scaled instead, so that one compilation serves all.
    """
    solver = method(spectral_radius=1.0)
    solve = jax.jit(lambda num_steps, speed: solve_with_steps(solver, num_steps, speed))
    exact = valley_after(1.0)
    lost = valley_loss(VALLEY_START) - valley_loss(exact)
    for fixed in (3, 29, None):
        errors, stages = [], []
        for num_steps in (64, 128, 256, 512):
            reach = 2e4 / num_steps if fixed is None else 0.999 * solver.stability_interval(float(fixed))
            end, energy, used = solve(num_steps, jnp.asarray(1.0 / (num_steps * reach)))
            errors.append([np.abs(np.array(end) - exact).max(), abs(float(energy) - lost)])
            stages.append(float(used))
        assert stages == [fixed] * 4 if fixed else len(set(stages)) == 4
        orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
        assert np.abs(orders - 2).max() < 0.2, (fixed, errors, orders)


@pytest.mark.parametrize("method", METHODS)
def test_the_error_estimate_is_of_order_three_and_up_to_three_times_the_error(method):
    solver = method(spectral_radius=1.0)
    ratios, estimates = [], []
    for step in (1 / 64, 1 / 128, 1 / 256):
        end, error, _, _ = one_step(solver, valley, VALLEY_START, 2e4 * step, jnp.asarray(0.5e-4))
        estimates.append(float(jnp.linalg.norm(jnp.stack(error))))
        ratios.append(estimates[-1] / np.linalg.norm(np.array(end) - valley_after(step)))
    orders = np.log2(np.array(estimates[:-1]) / np.array(estimates[1:]))
    assert np.abs(orders - 3).max() < 0.2
    assert min(ratios) > 1.0 and max(ratios) < 3.0


@pytest.mark.parametrize(("method", "constant"), [(RKC2, 1 / 15), (RKL2, 1 / 18)])
def test_error_constants_of_many_stages_and_what_the_estimate_makes_of_them(method, constant):
    """``R(z) - exp(z) = -c z^3``; the estimate is ``(0.2 - 0.8 (1/6 - c)) z^3``."""
    z = 0.02
    end, error, _, _ = one_step(method(spectral_radius=1.0), linear, jnp.ones(1001), 3000.0, jnp.full(1001, z / 3000))
    assert abs(float(end[0]) - np.exp(-z)) / z**3 == pytest.approx(constant, rel=0.03)
    assert abs(float(error[0])) / z**3 == pytest.approx(0.2 - 0.8 * (1 / 6 - constant), rel=0.03)


RATES = np.logspace(0, 4, 12)


def stiff(t, y, args):
    """The gradient flow of ``sum_i rate_i (y_i - sin y_{i-1})^2 / 2 + y^4 / 4``, rates 1 to 1e4."""
    loss = lambda v: jnp.sum(RATES * (v - jnp.sin(jnp.roll(v, 1))) ** 2) / 2 + jnp.sum(v**4) / 4  # noqa: E731
    return -jax.grad(loss)(y)


PID = diffrax.PIDController(rtol=1e-5, atol=1e-7)


def solve(solver, field, y0, t1, args=None, **settings):
    return diffrax.diffeqsolve(
        diffrax.ODETerm(field), solver, 0.0, t1, None, y0, args, max_steps=20_000, stepsize_controller=PID, **settings
    )  # fmt: skip


def test_a_batch_of_stiff_flows():
    """The radius of about 2e4 is estimated on the way; the reference is scipy's Radau method."""
    starts = np.stack([np.linspace(0.1, 1.0, 12), np.linspace(0.5, -1.0, 12)])
    run = lambda y: solve(RKC2(), stiff, y, 2.0, saveat=diffrax.SaveAt(t1=True, solver_state=True))  # noqa: E731
    ends = jax.jit(jax.vmap(run))(jnp.asarray(starts))
    right = jax.jit(lambda y: stiff(0.0, y, None))
    slope = jax.jit(jax.jacobian(right))
    for lane, start in enumerate(starts):
        exact = solve_ivp(
            lambda t, y: np.asarray(right(y)), (0.0, 2.0), start, method="Radau", rtol=1e-9, atol=1e-11,
            jac=lambda t, y: np.asarray(slope(y)),
        ).y[:, -1]  # fmt: skip
        assert np.abs(ends.ys[lane, 0] - exact).max() < 1e-4
        radius = np.abs(np.linalg.eigvalsh(slope(exact))).max()
        assert 0.97 < float(ends.solver_state.estimate.radius[lane]) / radius < 1.15
    assert int(ends.stats["num_accepted_steps"].max()) < 300


def test_pytrees_backwards_in_time_and_a_jump_of_the_field():
    """The valley backwards from t = 0.3 to 0, with the field reversed between 0.1 and 0.2: that undoes one third."""

    def field(t, y, args):
        sign = jnp.where((t > 0.1) & (t < 0.2), -1.0, 1.0)
        return valley(t, y, sign)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field), RKL2(), 0.3, 0.0, None, tuple(jnp.asarray(valley_after(0.1))), max_steps=1000,
        stepsize_controller=diffrax.ClipStepSizeController(PID, jump_ts=[0.1, 0.2]),
    )  # fmt: skip
    np.testing.assert_allclose(np.array(solution.ys)[:, -1], VALLEY_START, atol=1e-3)


def test_the_field_at_the_end_of_a_step_is_handed_on():
    end, _, dense, state = one_step(RKC2(spectral_radius=1.0), valley, VALLEY_START, 10.0, jnp.asarray(0.01))
    speed = 0.01 * jnp.stack(valley(0.0, end, 1.0))
    np.testing.assert_allclose(state.speed, speed, rtol=1e-12)
    np.testing.assert_allclose(jnp.stack(dense["k1"]), 10.0 * speed, rtol=1e-12)


def test_after_a_jump_nothing_handed_on_is_used():
    solver, term, rates = RKC2(spectral_radius=1.0), diffrax.ODETerm(linear), jnp.array([0.1, 1.0])
    take = jax.jit(lambda state, jump: solver.step(term, 0.0, 3.0, jnp.ones(2), rates, state, jump)[0])
    fresh = solver.init(term, 0.0, 3.0, jnp.ones(2), rates)
    stale = eqx.tree_at(lambda s: s.speed, fresh, jnp.full(2, 7.0))
    np.testing.assert_array_equal(take(stale, True), take(fresh, False))
    assert np.abs(take(stale, False) - take(fresh, False)).min() > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_a_radius_underestimated_a_hundredfold_is_noticed_within_the_step(method):
    solver, rates, y0 = method(), jnp.logspace(0, 5, 30), jnp.ones(30)
    honest = one_step(solver, linear, y0, 0.01, rates)[3]
    honest = eqx.tree_at(lambda s: s.speed, honest, -rates * y0)
    low = eqx.tree_at(lambda s: s.estimate.radius, honest, 1e-2 * honest.estimate.radius)
    # The direction is that of another eigenvector, so that the estimate could not be right.
    low = eqx.tree_at(lambda s: s.estimate.direction, low, jnp.zeros(30).at[25].set(1.0))
    end, error, _, state = one_step(solver, linear, y0, 0.01, rates, low)
    assert np.isfinite(error).all()
    assert np.abs(end).max() < 1.0
    assert 0.98e5 < float(state.estimate.radius) < 1.0001e5
    # An overestimate falls by a tenth with every update, and there is one for every 25 evaluations.
    for num_evaluations, fall in ((24, 1.0), (25, 0.9), (80, 0.9)):
        high = eqx.tree_at(lambda s: s.estimate.radius, honest, 3 * honest.estimate.radius)
        high = eqx.tree_at(lambda s: s.num_evaluations, high, jnp.asarray(num_evaluations))
        after = one_step(solver, linear, y0, 0.01, rates, high)[3]
        assert float(after.estimate.radius / honest.estimate.radius) == pytest.approx(3 * fall)


def test_a_given_radius_that_is_too_small_is_refused_and_an_adaptive_solve_is_right_all_the_same():
    solver = RKC2(spectral_radius=1.0)
    _, error, _, _ = one_step(solver, linear, jnp.ones(1001), 20.0, jnp.full(1001, 2.0))
    assert np.isposinf(error).all()
    rates = jnp.array([1.0, 20.0])
    solution = jax.jit(lambda y: solve(solver, linear, y, 1.0, rates))(jnp.ones(2))
    np.testing.assert_allclose(solution.ys[0], np.exp(-rates), atol=1e-4)


def test_a_step_too_long_for_all_stages_is_refused_without_an_evaluation():
    solver = RKC2(spectral_radius=1e3, max_stages=50)
    end, error, dense, state = one_step(solver, linear, jnp.ones(3), 10.0, jnp.ones(3))
    assert np.isposinf(error).all()
    assert int(state.num_evaluations) == 0
    assert np.all(end == 1.0) and float(dense["energy"]) == 0.0


@pytest.mark.parametrize("solver", [RKC2(), RKL2(spectral_radius=1.0)])
def test_a_field_that_is_not_finite_gives_an_infinite_error(solver):
    """Not finite at the end of the step, or already at its start."""
    field = lambda t, y, wall: -1 / jnp.sqrt(y - wall)  # noqa: E731
    for wall in (0.0, 2.0):
        assert np.isposinf(one_step(solver, field, jnp.ones(2), 8.0, jnp.asarray(wall))[1]).all()


def test_a_field_that_is_not_finite_at_the_very_end_of_a_tiny_step_gives_an_infinite_error():
    """The first of two stages ends at a quarter of the step, before the wall."""
    field = lambda t, y, wall: jnp.where(y < wall, jnp.nan, -jnp.ones_like(y))  # noqa: E731
    solver = RKC2(spectral_radius=1.0)
    assert np.isposinf(one_step(solver, field, jnp.ones(1), 1e-9, 1 - 6e-10)[1]).all()
    assert np.isfinite(one_step(solver, field, jnp.ones(1), 1e-9, 1 - 2e-9)[1]).all()


def test_rounding_at_a_minimum_is_not_taken_for_instability():
    """At the minimum ``y = 1 - shift``, less than an ulp from 1, differences of the field are rounding."""
    field = lambda t, y, shift: -1e3 * ((y - 1) + shift)  # noqa: E731
    for ulps in (0.1, 0.3, 0.51, 0.6, 0.8, 1.0, 1.3):
        shift = jnp.asarray(ulps * 2.0**-53)
        for step in (0.01, 1.0, 100.0):
            _, error, _, state = one_step(RKC2(), field, jnp.ones(3), step, shift)
            assert np.isfinite(error).all()
            assert float(state.estimate.radius) < 1.01e3


def symmetric(eigenvalues):
    basis = np.linalg.qr(np.random.default_rng(5).standard_normal((len(eigenvalues), len(eigenvalues))))[0]
    return basis, jnp.asarray(basis * eigenvalues @ basis.T)


@pytest.mark.parametrize("spectrum", ["flat", "outlier", "negative outlier", "one"])
def test_a_first_estimate_is_a_lower_bound_within_five_percent(spectrum):
    eigenvalues = np.linspace(0.0, 1.0, 300)
    if "outlier" in spectrum:
        eigenvalues = np.append(0.85 * eigenvalues, 1.0 if spectrum == "outlier" else -1.0)
    if spectrum == "one":
        eigenvalues = np.array([-1.0])
    basis, matrix = symmetric(eigenvalues)
    # The hint has nothing of the leading eigenvector.
    hint = jnp.asarray(basis[:, 0] if len(eigenvalues) > 1 else np.zeros(1))
    radius = float(jax.jit(lambda: first_estimate(lambda v: matrix @ v, hint))().radius)
    assert 0.95 < radius < 1.0 + 1e-12


def test_an_eigenvalue_that_becomes_the_largest_is_found_though_the_direction_was_orthogonal_to_it():
    basis, matrix = symmetric(np.append(np.linspace(0.0, 1.0, 99), 1.3))
    old = SpectralRadius(jnp.asarray(basis[:, -2]), jnp.asarray(1.0))
    update = jax.jit(lambda e, k: updated(lambda v: matrix @ v, e, k, 0.9 * e.radius))
    new = old
    for _ in range(30):
        new = update(new, jnp.asarray(1))
        assert float(new.radius) <= 1.3 + 1e-12
    assert float(new.radius) > 1.25
    assert float(update(old, jnp.asarray(0)).radius) == 1.0


def test_the_radius_falls_slowly_and_ignores_useless_products():
    old = SpectralRadius(jnp.ones(4), jnp.asarray(10.0))
    small = updated(lambda v: -0.1 * v, old, jnp.asarray(3), jnp.asarray(9.0))
    assert float(small.radius) == 9.0
    for useless in (0.0, jnp.nan, jnp.inf):
        kept = updated(lambda v, u=useless: u * v, old, jnp.asarray(2), jnp.asarray(9.0))
        assert float(kept.radius) == 9.0 and np.isfinite(kept.direction).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"spectral_radius": -1.0},
        {"spectral_radius": float("nan")},
        {"min_stages": 1},
        {"min_stages": 8, "max_stages": 7},
        {"min_stages": 8, "max_stages": 8, "method": RKL2},
        {"max_stages": 2, "method": RKL2},
        {"min_stages": 3000, "max_stages": 3000},
    ],
)
def test_wrong_settings_are_refused(settings):
    method = settings.pop("method", RKC2)
    with pytest.raises(checks.InputError):
        method(**settings)
