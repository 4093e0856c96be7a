"""The multistep method: its formulas in closed form, what it keeps and when it renews it, and steps it must refuse."""

import itertools
import math

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import gradflow as gf
from gradflow import checks
from gradflow.solvers import backward_differences as differences
from gradflow.solvers.backward_differences import ALPHA, ERROR_CONSTANT, GAMMA, KAPPA, MAX_ORDER, ROWS, Table
from gradflow.solvers.base import smooth_energy
from gradflow.solvers.bdf import AGE, BDF

ORDERS = range(1, MAX_ORDER + 1)
VALLEY = gf.GradientFlow(gf.model_problems.escaping_valley().problem)
DESCENT = diffrax.ODETerm(lambda t, y, args: -jax.grad(_loss)(y))


def _loss(y):
    return 0.25 * y[0] ** 4 - y[0] * jnp.sin(y[1]) + 0.2 * y[1] ** 2


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def _table(function, order, length, num_equal=0):
    """Backward differences of a function at 0."""
    values = [function(-length * j) for j in range(ROWS)]
    rows = []
    for _ in range(ROWS):
        rows.append(values[0])
        values = [a - b for a, b in itertools.pairwise(values)]
    whole = lambda number: jnp.asarray(number, jnp.int32)  # noqa: E731
    return Table(jnp.asarray(rows)[:, None], whole(order), jnp.asarray(length), whole(num_equal))


# --- formulas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_the_formula_of_each_order_converges_with_it(order):
    """``y' = -y`` from exact differences, equal steps from 1/20 to 1/80 over [0, 1], in NumPy's numbers."""
    errors = []
    for num in (20, 40, 80):
        table, c = _table(lambda t: np.exp(-t), order, 1 / num), 1 / num / ALPHA[order]
        for _ in range(num):
            rows = np.asarray(differences.used(table))
            known = GAMMA @ rows[: MAX_ORDER + 1] / ALPHA[order]
            table = differences.advanced(table, (-c * rows.sum(axis=0) - known) / (1 + c))
        errors.append(abs(float(table.differences[0, 0]) - np.exp(-1.0)))
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.abs(slopes - order).max() < 0.2


@pytest.mark.parametrize("order", ORDERS)
def test_each_order_is_stable_on_the_negative_axis_and_forgets_at_its_end(order):
    """``sum_j (1 - x)^j / j - kappa gamma (1 - x)^{k+1} = z``: one over each root x is a factor of growth a step."""
    base = np.poly1d([-1.0, 1.0])
    formula = sum((base**j / j for j in range(1, order + 1)), np.poly1d([0.0]))
    formula = formula - KAPPA[order] * GAMMA[order] * base ** (order + 1)
    for z in -np.geomspace(1e-3, 1e12, 200):
        growth = 1.0 / np.abs((formula - z).roots)
        assert growth.max() < 1.0
    assert growth.max() < 0.02


def test_formulas_of_higher_order_are_exact_for_polynomials_and_change_their_step_exactly():
    polynomial = np.poly1d([0.3, -1.0, 0.5, 2.0, -1.0, 0.7])
    for ratio in (0.37, 1.0, 2.5):
        found = differences.changed(_table(polynomial, 5, 0.2), jnp.asarray(0.2 * ratio))
        np.testing.assert_allclose(
            found.differences[:6], _table(polynomial, 5, 0.2 * ratio).differences[:6], atol=1e-12
        )  # fmt: skip


def test_a_change_of_step_starts_the_count_of_equal_ones_again():
    table = _table(np.exp, 3, 0.1, num_equal=4)
    assert differences.changed(table, jnp.asarray(0.1)).num_equal == 4
    assert differences.changed(table, jnp.asarray(0.2)).num_equal == 0


def test_a_step_is_told_to_be_kept_exactly_where_its_error_is_below_the_tolerance():
    scale = np.ones(1)
    for size in (1e-6, 0.1, 0.6, 0.99, 1.01, 5.0, 1e4):
        for num_equal in (0, 9):
            table = _table(lambda t: np.exp(-3 * t), 3, 0.1, num_equal)
            correction = jnp.asarray([size / differences.ERROR_CONSTANT[3]])
            choice = differences.chosen(table, correction, scale)
            assert (float(choice.told) < 1) == (size < 1) and float(choice.error) == pytest.approx(size)
            assert num_equal or (not bool(choice.is_change) and int(choice.order) == 3)


@pytest.mark.parametrize(("rate", "order"), [(0.02, 4), (40.0, 2)])
def test_the_order_goes_where_the_differences_fall(rate, order):
    """Differences of ``e^{-rate t}`` fall with j on steps that resolve it and grow on those that do not."""
    table = _table(lambda t: np.exp(-rate * t), 3, 0.1, num_equal=9)
    choice = differences.chosen(table, table.differences[4], np.full(1, 1e3 * abs(float(table.differences[4, 0]))))
    assert int(choice.order) == order and bool(choice.is_change)


# --- steps ------------------------------------------------------------------------------------------------------------


def _step(solver, term, y0, step, state=None, jump=False, args=None):
    y0 = jnp.asarray(y0)
    state = solver.init(term, 0.0, step, y0, args) if state is None else state
    return solver.step(term, jnp.zeros(()), jnp.asarray(step), y0, args, state, jump)


def test_diffeqsolve_takes_it_and_its_dense_output_has_the_order_of_its_steps():
    field = lambda t, y: np.asarray(DESCENT.vf(t, jnp.asarray(y), None))  # noqa: E731
    times = np.linspace(0.0, 3.0, 11)
    exact = scipy.integrate.solve_ivp(field, (0, 3), [1.0, 0.7], method="DOP853", rtol=1e-12, atol=1e-13, t_eval=times)
    tolerances = {"rtol": 1e-7, "atol": 1e-9}
    solution = diffrax.diffeqsolve(
        DESCENT, BDF(**tolerances), 0.0, 3.0, None, jnp.array([1.0, 0.7]), saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(**tolerances),
    )  # fmt: skip
    np.testing.assert_allclose(solution.ys, exact.y.T, atol=3e-6)
    assert int(solution.stats["num_accepted_steps"]) < 200


def _run_of_steps(solver, term, y0, step, count, args=None):
    y0, state = jnp.asarray(y0), solver.init(term, 0.0, step, jnp.asarray(y0), args)
    take = jax.jit(lambda y, s: _step(solver, term, y, step, s, args=args)[::3])
    ages = []
    for _ in range(count):
        y0, state = take(y0, state)
        ages.append(int(state.kept.age))
    return np.asarray(y0), state, ages


def test_the_jacobian_of_a_linear_flow_is_kept_until_it_is_old():
    term = diffrax.ODETerm(lambda t, y, args: -jnp.array([1.0, 1e4]) * y)
    _, _, ages = _run_of_steps(BDF(), term, [1.0, 1.0], 0.01, 2 * AGE[1] + 2)
    assert ages == [*range(1, AGE[1] + 1), *range(1, AGE[1] + 1), 1, 2]


def test_a_jacobian_that_has_become_wrong_is_renewed_in_the_step_that_needs_it():
    """Kept from where the curvature was 1, used where it is 1e4: the step is that of a new Jacobian."""
    term = diffrax.ODETerm(lambda t, y, rate: -rate * y)
    solver, rate = BDF(), jnp.asarray(1e4)
    _, _, _, old, _ = _step(solver, term, [1.0], 0.1, args=jnp.asarray(1.0))
    state = solver.init(term, 0.0, 0.1, jnp.array([1e-3]), rate)
    end, _, _, new, _ = _step(solver, term, [1e-3], 0.1, args=rate)
    state = type(state)(state.table, state.speed, old.kept)
    again, error, _, after, _ = _step(solver, term, [1e-3], 0.1, state, args=rate)
    np.testing.assert_allclose(again, end, rtol=1e-6)
    np.testing.assert_allclose(after.kept.jacobian, new.kept.jacobian)
    assert np.isfinite(error).all() and int(after.kept.age) == 1


def test_a_rejected_step_leaves_the_table_and_keeps_the_matrices():
    _, _, _, new, _ = _step(BDF(), DESCENT, [1.0, 0.7], 0.1)
    old = BDF().init(DESCENT, 0.0, 0.1, jnp.array([1.0, 0.7]), None)
    merged = new.if_kept(jnp.asarray(False), old)
    np.testing.assert_array_equal(merged.table.differences, old.table.differences)
    np.testing.assert_array_equal(merged.kept.factor, new.kept.factor)


def test_conjugate_gradients_and_the_factor_take_the_same_steps():
    rates = jnp.geomspace(1.0, 1e3, 30)
    term = diffrax.ODETerm(lambda t, y, args: -rates * y - 0.1 * y**3)
    tolerances = {"rtol": 1e-9, "atol": 1e-11}
    ends = [_step(BDF(matrix_free=free, **tolerances), term, np.ones(30), 0.05)[0] for free in (False, True)]
    np.testing.assert_allclose(ends[1], ends[0], atol=1e-9)


def test_a_jump_starts_again_at_order_one():
    solver = BDF(1e-2, 1e-2)
    _, state, _ = _run_of_steps(solver, DESCENT, [1.0, 0.7], 0.01, 12)
    assert int(state.table.order) > 1
    jumped = _step(solver, DESCENT, [-0.4, 0.2], 0.01, state, jump=True)
    first = _step(solver, DESCENT, [-0.4, 0.2], 0.01)
    np.testing.assert_allclose(jumped[0], first[0], atol=1e-4)  # Newton's share of the tolerance
    assert int(jumped[3].table.num_equal) == 1 and int(jumped[3].table.order) == 1


# --- what must be refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("free", [False, True])
def test_a_step_over_a_saddle_is_refused(free):
    """Growth by ``e^h`` would be damped once h is above 1: there the matrix is indefinite."""
    term = diffrax.ODETerm(lambda t, y, args: jnp.array([y[0], -3.0 * y[1]]))
    short, long = (_step(BDF(matrix_free=free), term, [1e-3, 1.0], h)[1] for h in (0.01, 6.0))
    assert np.isfinite(short).all() and np.isinf(long).all()


@pytest.mark.parametrize("free", [False, True])
def test_a_field_that_is_not_finite_refuses_the_step(free):
    term = diffrax.ODETerm(lambda t, y, args: jnp.where(y < 0.9, jnp.nan, -y))
    assert np.isinf(_step(BDF(matrix_free=free), term, [1.0], 1.0)[1]).all()


def test_equations_that_are_not_solved_refuse_the_step(monkeypatch):
    monkeypatch.setattr("gradflow.solvers.bdf.PRODUCTS", 3)
    rates = jnp.geomspace(1.0, 1e6, 64)
    term = diffrax.ODETerm(lambda t, y, args: -rates * y)
    assert np.isinf(_step(BDF(matrix_free=True), term, np.ones(64), 1.0)[1]).all()


def test_single_precision_is_refused_where_the_tolerance_needs_more():
    flow = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * jnp.sum(w**2)))
    with pytest.raises(checks.InputError, match="rtol"):
        gf.integrate(flow, np.ones(2, np.float32), 1.0, rtol=1e-8, solver="bdf")


# --- whole runs -------------------------------------------------------------------------------------------------------


def test_a_valley_of_eight_decades_is_followed_to_its_end():
    run = gf.integrate(VALLEY, np.array([0.5, 0.5]), 1e8, rtol=1e-8, atol=1e-10, solver="bdf", save_at=[1e8])
    assert run.endpoint[1] == pytest.approx(141.414282, rel=1e-6) and run.num_steps < 4000
    lost = float(VALLEY.problem.loss(run.start) - VALLEY.problem.loss(run.endpoint))
    assert abs(run.dissipated[-1] - lost) < 1e-6


def test_a_passed_saddle_is_left_on_the_right_side_and_backward_runs_are_exact():
    well = gf.GradientFlow(gf.Landscape(lambda w: 0.25 * (w[0] ** 2 - 1) ** 2 + 50 * w[1] ** 2))
    run = gf.integrate(well, np.array([1e-9, 1.0]), rtol=1e-6, atol=1e-12, solver="bdf")
    assert run.status is gf.Status.STATIONARY
    np.testing.assert_allclose(run.endpoint, [1.0, 0.0], atol=1e-5)
    back = gf.integrate(well, np.array([0.6, 1e-3]), -0.05, rtol=1e-8, atol=1e-12, solver="bdf")
    np.testing.assert_allclose(back.endpoint[1], 1e-3 * np.exp(5.0), rtol=1e-5)


def test_events_are_located_by_a_method_that_needs_no_past():
    bowl = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * w[0] ** 2 + 2.0 * w[1] ** 2))
    quarter = gf.events.Event("quarter", lambda w: w[0] - 0.25, is_terminal=True)
    run = gf.integrate(bowl, np.ones(2), rtol=1e-8, atol=1e-10, solver="bdf", events=[quarter])
    assert run.status is gf.Status.EVENT and run.events[0].time == pytest.approx(np.log(4), abs=1e-6)


def test_lanes_of_an_ensemble_take_it():
    well = gf.GradientFlow(gf.Landscape(lambda w: 250.0 * (w[0] ** 2 - 1) ** 2 + 0.5 * w[1] ** 2))
    starts = np.array([[0.5, 1.0], [-2.0, 0.3], [1.5, -1.0]])
    run = gf.integrate_ensemble(well, starts, rtol=1e-6, atol=1e-8, solver="bdf")
    np.testing.assert_allclose(run.endpoints, [[1, 0], [-1, 0], [1, 0]], atol=2e-3)


@pytest.mark.parametrize("order", ORDERS)
def test_the_error_constant_is_what_the_formula_leaves_of_the_next_power(order):
    """``sum_j nabla^j y / j - kappa_k gamma_k nabla^(k+1) y - y'`` for ``y = t^(k+1)``, in units of ``(k + 1)!``."""
    t = -np.arange(order + 2.0)
    values = (t + 0.5) ** (order + 1)
    table = []
    for _ in range(order + 2):
        table.append(values[0])
        values = values[:-1] - values[1:]
    slope = (order + 1) * 0.5**order
    formula = sum(table[j] / j for j in range(1, order + 1))
    formula -= KAPPA[order] * GAMMA[order] * table[order + 1]
    assert (slope - formula) / math.factorial(order + 1) == pytest.approx(ERROR_CONSTANT[order], rel=1e-9)


@pytest.mark.parametrize("wrong", [1 / 1.2, 1 / 1.5, 1.3])
def test_what_newton_leaves_is_a_share_of_the_tolerance_however_wrong_the_matrix_is(wrong):
    """``y' = -50 y`` solved with `wrong` times its Jacobian, by tolerances that ask for one to four corrections.

    The equation of the first step, ``d = c f(p + d) - known``, is linear and its solution known. A hundredth of a
    step's error may be left, twice that where a correction leaves half of itself to the next.
    """
    term = diffrax.ODETerm(lambda t, y, args: -50.0 * y)
    matrix = lambda y, args: jnp.full((1, 1), -50.0 * wrong)  # noqa: E731

    @jax.jit
    def step(atol):
        return _step(BDF(0.0, atol, matrix), term, [1.0], 0.1)[:2]

    known = -5.0 / ALPHA[1] * GAMMA[1]
    exact = -4.0 + (-5.0 / ALPHA[1] * -4.0 - known) / (1.0 + 5.0 / ALPHA[1])
    sizes = np.geomspace(1e-3, 1e3, 40)
    found = [step(size) for size in sizes]
    left = np.array([abs(float(end[0]) - exact) for end, _ in found]) / sizes * ERROR_CONSTANT[1]
    is_solved = np.array([np.isfinite(error).all() for _, error in found])
    assert is_solved[-10:].all() and left[is_solved].max() < 0.02


def test_the_speed_and_the_energy_of_steps_are_those_of_the_flow():
    """``y' = -y``: the speed handed on is the field at the end, the energy what the loss ``y^2 / 2`` has lost."""
    term = diffrax.ODETerm(lambda t, y, args: -y)
    solver = BDF(1e-2, 1e-2)
    take = jax.jit(lambda y, state: _step(solver, term, y, 0.05, state)[:4])
    y, state = jnp.array([1.0]), solver.init(term, 0.0, 0.05, jnp.array([1.0]), None)
    for _ in range(16):
        before = y
        y, _, dense, state = take(y, state)
        np.testing.assert_allclose(state.speed, -y, rtol=5e-3)
        np.testing.assert_allclose(dense["k1"], 0.05 * state.speed, rtol=1e-14)
        lost = 0.5 * float(before[0] ** 2 - y[0] ** 2)
    assert int(state.table.order) >= 3 and float(dense["energy"]) == pytest.approx(lost, rel=1e-4)


def test_the_energy_of_a_cubic_is_exact():
    """``int_0^h (3 a t^2 + 2 b t + c)^2 dt`` for two components."""
    cubics = [np.poly1d([1.0, -0.5, 0.3, 2.0]), np.poly1d([-0.7, 2.0, 0.1, 0.0])]
    ends, speeds = (
        [np.array([p(t) for p in parts]) for t in (0.0, 0.8)] for parts in (cubics, [p.deriv() for p in cubics])
    )  # fmt: skip
    exact = sum((p.deriv() * p.deriv()).integ()(0.8) for p in cubics)
    assert float(smooth_energy(0.8, ends, speeds)) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize(("slopes", "t1"), [((1.0,), 1.0), ((1.0, 2.0), 1024.0)])
def test_a_constant_field_is_followed_to_the_horizon(slopes, t1):
    flow = gf.GradientFlow(gf.Landscape(lambda p: jnp.dot(jnp.array(slopes), p)))
    run = gf.integrate(flow, np.zeros(len(slopes)), t1, rtol=1e-6, atol=1e-8, solver="bdf")
    assert run.status is gf.Status.HORIZON
    np.testing.assert_allclose(run.endpoint, -t1 * np.array(slopes), rtol=1e-12)


def test_a_coordinate_that_has_died_out_to_nothing_does_not_stall_the_others():
    flow = gf.GradientFlow(gf.Landscape(lambda p: 0.25 * (p[0] ** 2 - 1.0) ** 2 + 2e4 * p[1] ** 2))
    run = gf.integrate(flow, np.array([0.0, 1.0]), rtol=1e-6, atol=1e-8, solver="bdf")
    assert run.status is gf.Status.STATIONARY and run.passages[-1].lowest_eigenvalue == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("lower", "higher", "order", "error"),
    [
        (1e-9, 1.0, 2, ERROR_CONSTANT[2] * 1e-9),
        (1.0, 1e-9, 4, ERROR_CONSTANT[4] * 1e-9),
    ],
)
def test_the_order_with_the_longest_step_is_chosen_by_its_own_error(lower, higher, order, error):
    """From order 3: ``C_2 nabla^3 y`` tells of order 2, ``C_4 nabla^5 y`` of order 4; a step goes like their roots."""
    rows = jnp.zeros((ROWS, 1)).at[3].set(lower).at[5].set(higher).at[4].set(7.0)
    table = Table(rows, jnp.asarray(3, jnp.int32), jnp.asarray(1.0), jnp.asarray(4, jnp.int32))
    choice = differences.chosen(table, jnp.array([1e-3]), jnp.ones(1))
    assert int(choice.order) == order and bool(choice.is_change)
    assert float(choice.error) == pytest.approx(ERROR_CONSTANT[3] * 1e-3)
    assert float(choice.told) == pytest.approx(abs(error) ** (1.0 / (order + 1)))
    early = differences.chosen(table._replace(num_equal=jnp.asarray(3, jnp.int32)), jnp.array([1e-3]), jnp.ones(1))
    assert int(early.order) == 3 and not bool(early.is_change)
