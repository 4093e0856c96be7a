"""Gauss-Legendre: conservation, order, an honest error estimate, stability, and what an unsolved step says."""

from typing import NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from gradflow.solvers.gauss_legendre import Gauss2, Gauss4, Gauss6, difference_factors
from gradflow.solvers.gauss_stages import gauss_tableau

SOLVERS = {1: Gauss2, 2: Gauss4, 3: Gauss6}
STAGES = pytest.mark.parametrize("stages", SOLVERS)
METHODS = pytest.mark.parametrize(("stages", "doubling"), [(1, True), (2, True), (3, True), (2, False)])
SIZE = 12


class Law(NamedTuple):
    """``1/2 sum r y^2 + q/4 sum y^4 + p/2 (y_0 y_1 y_2 - 1)^2``: one landscape, compiled once for all tests."""

    rates: jax.Array
    quartic: float = 0.0
    chain: float = 0.0


def law(rates=0.0, quartic=0.0, chain=0.0):
    return Law(jnp.broadcast_to(jnp.asarray(rates, float), (SIZE,)), jnp.asarray(quartic), jnp.asarray(chain))


def loss(y, args):
    chain = 0.5 * args.chain * (y[0] * y[1] * y[2] - 1.0) ** 2
    return 0.5 * jnp.sum(args.rates * y**2) + 0.25 * args.quartic * jnp.sum(y**4) + chain


TERM = diffrax.ODETerm(lambda t, y, args: -jax.grad(loss)(y, args))
NODES = np.linspace(0.2, 1.0, SIZE)


def quartic_flow(start, time):
    """The solution of ``y' = -y^3``."""
    return start / np.sqrt(1 + 2 * start**2 * time)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def steps(solver, start, step, count, args):
    """`count` constant steps: the end, the last error and energy, largest changes of ``y_i^2 - y_{i+1}^2`` and y."""
    found = _steps(solver, jnp.asarray(start), jnp.asarray(step, float), jnp.asarray(count), args)
    return jax.tree.map(np.asarray, found)


@eqx.filter_jit
def _steps(solver, start, step, count, args):
    zero = jnp.zeros(())
    invariants = lambda y: jnp.stack([y[0] ** 2 - y[1] ** 2, y[1] ** 2 - y[2] ** 2])  # noqa: E731

    def body(index, carry):
        y, state, _, _, good, drift, size = carry
        y, error, dense, state, result = solver.step(TERM, zero, step, y, args, state, False)
        drift = jnp.maximum(drift, jnp.max(jnp.abs(invariants(y) - invariants(start))))
        error = jnp.zeros_like(y) if error is None else error
        good = good & diffrax.is_okay(result)
        return y, state, error, dense["energy"], good, drift, jnp.maximum(size, jnp.max(jnp.abs(y)))

    state = solver.init(TERM, zero, step, start, args)
    first = (start, state, jnp.zeros_like(start), zero, jnp.ones((), bool), zero, zero)
    y, _, error, energy, good, drift, size = jax.lax.fori_loop(0, count, body, first)
    return {"y": y, "error": error, "energy": energy, "good": good, "drift": drift, "size": size}


@METHODS
def test_invariants_do_not_drift_at_any_step_size_however_wrong_the_solution(stages, doubling):
    """The scalar chain ``1/2 (abc - 1)^2`` from where its curvature is 82: ``h lambda`` up to 41, and h up to 4."""
    solver, args = SOLVERS[stages](doubling=doubling), law(chain=1.0)
    steep, gentle = (jnp.zeros(SIZE).at[:3].set(jnp.array(abc)) for abc in ((2.0, -1.5, 2.5), (2.0, 0.5, 0.5)))
    for start, step, count in (
        (steep, 0.002, 3000), (steep, 0.02, 2000), (steep, 0.2, 500), (steep, 0.5, 100), (gentle, 1.0, 50),
        (gentle, 4.0, 20),
    ):  # fmt: skip
        found = steps(solver, start, step, count, args)
        assert found["good"], step
        assert found["drift"] < 1e-14, step
    exact = steps(solver, steep, 0.0005, 100, args)["y"]
    once = steps(solver, steep, 0.05, 1, args)
    distance = np.linalg.norm(once["y"] - exact)
    assert once["drift"] < 1e-14
    assert distance > 1e-5, "an error at least a thousand million times the drift"
    assert np.linalg.norm(once["error"]) > 0.1 * distance or not doubling, "the estimate sees what the drift does not"
    failed = steps(solver, steep, 4.0, 1, args)
    assert not failed["good"], "from there Newton finds no stages"
    assert np.isinf(failed["error"]).all() or not doubling


def test_imbalances_of_a_matrix_network_do_not_drift():
    """``C_1 = W_2^T W_2 - W_1 W_1^T`` through diffeqsolve with constant steps."""
    rng = np.random.default_rng(0)
    target, start = rng.normal(size=(2, 2)), (0.8 * rng.normal(size=(3, 2)), 0.8 * rng.normal(size=(2, 3)))
    imbalance = lambda y: y[1].T @ y[1] - y[0] @ y[0].T  # noqa: E731
    loss = lambda y: 0.5 * jnp.sum((y[1] @ y[0] - target) ** 2)  # noqa: E731
    field = diffrax.ODETerm(lambda t, y, args: jax.tree.map(jnp.negative, jax.grad(loss)(y)))

    @jax.jit
    def run(step):
        return diffrax.diffeqsolve(
            field, Gauss4(doubling=False), 0.0, 100 * step, step, jax.tree.map(jnp.asarray, start), max_steps=101,
            saveat=diffrax.SaveAt(steps=True, fn=lambda t, y, _: (imbalance(y), loss(y))), throw=False,
        )  # fmt: skip

    for step in (0.01, 0.1, 0.5, 1.0):
        solution = run(step)
        values, losses = (np.asarray(leaf)[np.isfinite(solution.ts)] for leaf in solution.ys)
        assert diffrax.is_okay(solution.result)
        assert np.max(np.abs(values - imbalance(start))) < 1e-14
        assert losses[-1] < losses[0]
    assert not diffrax.is_okay(run(1000.0).result), "stages that were not found end a run with constant steps"


@METHODS
def test_the_order_is_twice_the_number_of_stages(stages, doubling):
    solver, args, time = SOLVERS[stages](doubling=doubling), law(quartic=1.0), 2.0
    counts = {1: (64, 128), 2: (16, 32), 3: (8, 16)}[stages]
    ends = [steps(solver, NODES, time / count, count, args)["y"] for count in counts]
    errors = [np.linalg.norm(end - quartic_flow(NODES, time)) for end in ends]
    assert errors[1] > 1e-12, "not yet rounding"
    assert abs(np.log2(errors[0] / errors[1]) - 2 * stages) < 0.2
    assert solver.order(None) == 2 * stages


@STAGES
def test_the_error_estimate_is_the_error_of_the_step(stages):
    estimates = []
    for step in (0.05, 0.025):
        found = steps(SOLVERS[stages](), NODES, step, 1, law(quartic=1.0))
        estimates.append(np.linalg.norm(found["error"]))
        error = np.linalg.norm(found["y"] - quartic_flow(NODES, step))
        assert 0.5 < error / estimates[-1] < 2.0
    assert abs(np.log2(estimates[0] / estimates[1]) - SOLVERS[stages]().error_order(None)) < 0.4


@STAGES
def test_the_estimate_sees_stiff_modes_that_step_and_half_steps_agree_on(stages):
    """Linear decay at ``h lambda`` from 0.01 to 1e8: the estimate is never below the error of what is kept."""
    rates = np.logspace(-2, 8, SIZE)
    found = steps(SOLVERS[stages](), np.ones(SIZE), 1.0, 1, law(rates=rates))
    error = np.abs(found["y"] - np.exp(-rates))
    visible = error > 1e-12
    assert found["good"]
    assert np.all(found["error"][visible] > 0.999 * error[visible])
    assert np.all(found["error"][rates > 50] < 1.001 * error[rates > 50])
    assert np.all(error[rates > 1e4] > 0.9), "not L-stable"


@STAGES
def test_difference_factors_are_continuous_where_their_formula_begins(stages):
    tableau = gauss_tableau(stages)
    limit = 1 / (4.0**stages - 1)
    assert np.allclose(difference_factors(tableau, jnp.array([-1e-9, 0.0, -0.49, 0.49])), limit)
    assert np.allclose(difference_factors(tableau, jnp.array([-0.51, 0.51])), limit, rtol=0.05)


@METHODS
def test_linear_decay_is_never_amplified(stages, doubling):
    """A-stability: 1000 steps with ``h lambda`` up to 1e6; each is the Pade factor to rounding."""
    rates = np.repeat([0.1, 3.0, 50.0, 1e6], 3)
    solver = SOLVERS[stages](doubling=doubling)
    stability = gauss_tableau(stages).stability
    factors = stability(-rates / 2) ** 2 if doubling else stability(-rates)
    np.testing.assert_allclose(steps(solver, np.ones(SIZE), 1.0, 1, law(rates=rates))["y"], factors, atol=1e-14)
    many = steps(solver, np.ones(SIZE), 1.0, 1000, law(rates=rates))
    assert many["size"] < 1 + 1e-12
    np.testing.assert_allclose(many["y"], factors**1000, atol=1e-11)


@STAGES
def test_the_tableau_is_collocation_at_the_legendre_points(stages):
    """Nodes and weights of numpy; ``a_ij`` the integrals of Lagrange polynomials; ``R = 1 + z b^T (I - z A)^-1 1``."""
    nodes, weights = np.polynomial.legendre.leggauss(stages)
    nodes, powers = (1 + nodes) / 2, np.arange(1, stages + 1)
    vandermonde = nodes[:, None] ** (powers - 1)
    matrix = (nodes[:, None] ** powers / powers) @ np.linalg.inv(vandermonde)
    tableau = gauss_tableau(stages)
    np.testing.assert_allclose(tableau.matrix, matrix, atol=1e-15)
    np.testing.assert_allclose(tableau.weights, weights / 2, atol=1e-15)
    products = weights[:, None] / 2 * tableau.matrix
    np.testing.assert_allclose(products + products.T, np.outer(weights, weights) / 4, atol=1e-16)
    z = -0.7
    inverse = sum(z**power * block for power, block in enumerate(tableau.adjugate))
    inverse /= sum(z**power * value for power, value in enumerate(tableau.denominator))
    np.testing.assert_allclose(inverse @ (np.eye(stages) - z * matrix), np.eye(stages), atol=1e-14)
    factor = 1 + z * weights / 2 @ np.linalg.solve(np.eye(stages) - z * matrix, np.ones(stages))
    assert abs(tableau.stability(z) - factor) < 1e-15


@METHODS
def test_a_step_solves_the_stage_equations_as_scipy_does(stages, doubling):
    tableau, step, args = gauss_tableau(stages), 0.4, law(rates=np.arange(SIZE), quartic=1.0, chain=1.0)
    field = jax.jit(jax.vmap(lambda y: -jax.grad(loss)(y, args)))

    def stepped(start, step):
        def residual(stacked):
            rows = stacked.reshape(stages, -1)
            return (rows - step * tableau.matrix @ np.asarray(field(start + rows))).ravel()

        found = scipy.optimize.fsolve(residual, np.zeros(stages * SIZE), xtol=1e-13).reshape(stages, -1)
        return start + step * tableau.weights @ np.asarray(field(start + found))

    expected = stepped(stepped(NODES, step / 2), step / 2) if doubling else stepped(NODES, step)
    found = steps(SOLVERS[stages](doubling=doubling), NODES, step, 1, args)["y"]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@METHODS
def test_the_energy_of_a_quadratic_loss_is_what_was_lost_exactly(stages, doubling):
    """The loss is itself a quadratic form: it changes by ``-h sum b_i ||f(Y_i)||^2`` at any step size."""
    args = law(rates=np.geomspace(0.1, 90.0, SIZE))
    found = steps(SOLVERS[stages](doubling=doubling), NODES, 0.7, 1, args)
    before = float(loss(NODES, args))
    assert abs(before - float(loss(found["y"], args)) - found["energy"]) < 1e-13 * before


@pytest.mark.parametrize("doubling", [True, False])
def test_a_field_that_is_not_finite_is_an_unsolved_step(doubling):
    found = steps(Gauss4(doubling=doubling), NODES, 0.1, 1, law(rates=np.nan))
    assert not found["good"]
    assert np.isinf(found["error"]).all() or not doubling


def test_without_doubling_an_adaptive_controller_refuses():
    with pytest.raises(RuntimeError, match="does not provide error estimates"):
        diffrax.diffeqsolve(
            TERM, Gauss2(doubling=False), 0.0, 1.0, 0.1, jnp.ones(SIZE), args=law(),
            stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-3),
        )  # fmt: skip


def test_a_jacobian_that_is_wrong_costs_time_and_changes_nothing():
    """One that is zero makes the iteration a fixed-point one: the solution is the same."""
    args = law(quartic=1.0)
    plain = steps(Gauss4(doubling=False), NODES, 0.5, 1, args)["y"]
    wrong = Gauss4(doubling=False, jacobian=lambda y, _: jnp.zeros((SIZE, SIZE)))
    np.testing.assert_allclose(steps(wrong, NODES, 0.5, 1, args)["y"], plain, atol=4e-16)


def test_fields_that_are_no_gradients_are_solved_too_and_backward():
    """A rotation conserves the norm, and a symmetric method undoes its steps: the Jacobian has no symmetric part."""
    turn = diffrax.ODETerm(lambda t, y, args: 3.0 * jnp.array([y[1], -y[0]]))

    @jax.jit
    def run(start, time):
        solver, step = Gauss4(doubling=False), jnp.sign(time)
        return diffrax.diffeqsolve(turn, solver, 0.0, time, step, start, max_steps=600).ys[-1]

    start = jnp.array([0.6, 0.8])
    there = run(start, 500.0)
    assert abs(jnp.linalg.norm(there) - 1.0) < 1e-14
    assert jnp.linalg.norm(there - start) > 0.1
    once = run(start, 1.0)
    factor = gauss_tableau(2).stability(-3j)
    np.testing.assert_allclose(once[0] + 1j * once[1], factor * (0.6 + 0.8j), atol=1e-15)
    np.testing.assert_allclose(run(there, -500.0), start, atol=1e-12)


def test_adaptive_batches_of_pytrees_reject_steps_without_stages():
    """``y' = y^2`` under vmap from a first step of 10, whose stages have no real solution; ``y = y0 / (1 - y0 t)``."""
    term = diffrax.ODETerm(lambda t, y, args: jax.tree.map(lambda leaf: leaf**2, y))
    starts = {"a": jnp.array([0.5, -1.0, 0.99]), "b": jnp.linspace(-0.3, 0.8, 6).reshape(3, 2, 1)}

    @jax.jit
    @jax.vmap
    def run(start):
        controller = diffrax.PIDController(rtol=1e-7, atol=1e-9)
        saved = diffrax.SaveAt(ts=jnp.array([0.4, 1.0]))
        return diffrax.diffeqsolve(term, Gauss4(), 0.0, 1.0, 10.0, start, stepsize_controller=controller, saveat=saved)

    together = run(starts)
    assert np.all(np.asarray(together.stats["num_rejected_steps"]) > 0)
    for name, start in starts.items():
        np.testing.assert_allclose(together.ys[name][:, 1], start / (1 - start), rtol=1e-4)
        np.testing.assert_allclose(together.ys[name][:, 0], start / (1 - 0.4 * start), rtol=1e-3)
    alone = run(jax.tree.map(lambda leaf: jnp.stack(3 * [leaf[2]]), starts))
    np.testing.assert_allclose(together.ys["b"][2], alone.ys["b"][0], rtol=1e-14)
