"""Ensembles of trajectories: ends against closed forms and other solvers, every way to end, and nobody disturbed."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import gradflow as gf
from gradflow import checks
from gradflow.ensemble import Ensemble, batches, integrate_ensemble, orders, plain_orders, shared_settings
from gradflow.status import Status

KERNELS = ("native", "xla")
BOTH = ["native", pytest.param("xla", marks=pytest.mark.slow)]
S = 1.7


class Field(gf.flow.AbstractFlow):
    """Any vector field, so that laws of motion are tested that are no gradients."""

    problem: gf.problem.AbstractProblem

    def __init__(self, velocity):
        self.problem = gf.Landscape(velocity)

    def vector_field(self, params):
        return self.problem.fun(params)


@pytest.fixture(scope="module", params=BOTH)
def chain(request):
    """``dy/dt = y (s - y)``: the closed form is a logistic curve."""
    return Ensemble(Field(lambda y: y * (S - y)), np.zeros(1), request.param, width=32)


@pytest.fixture(scope="module")
def mixed():
    """``-grad`` of a double well in three dimensions whose members end in many ways."""
    return Ensemble(gf.GradientFlow(gf.Landscape(lambda w: jnp.sum((w**2 - 1) ** 2) / 4)), np.zeros(3), "native")


def _logistic(y0, t):
    return S / (1 + (S / y0 - 1) * np.exp(-S * t))


def _run(ensemble, starts, quiet=1e-300, t1=np.inf, rtol=1e-6, max_norm=np.inf, max_steps=10_000, **told):
    ordered = plain_orders(len(starts), quiet, t1)
    for name, value in told.items():
        ordered[:, orders.ORDERS.index(name)] = value
    return ensemble.run(np.asarray(starts, float), ordered, shared_settings(rtol, 1e-3 * rtol, max_norm, max_steps))


def test_ends_converge_to_the_closed_form_in_the_order_of_the_method(chain):
    starts = np.linspace(0.01, 3.0, 40)[:, None]
    exact = _logistic(starts[:, 0], 2.0)
    errors, steps = [], []
    for rtol in (1e-4, 1e-6, 1e-8, 1e-10):
        ends = _run(chain, starts, t1=2.0, rtol=rtol)
        np.testing.assert_array_equal(ends.codes, orders.HORIZON)
        np.testing.assert_array_equal(ends.times, 2.0)
        errors.append(np.max(np.abs(ends.states[:, 0] / exact - 1)))
        steps.append(np.mean(ends.num_steps))
        np.testing.assert_allclose(ends.grad_norms, np.abs(ends.states[:, 0] * (S - ends.states[:, 0])), rtol=1e-6)
    assert errors[-1] < 1e-9
    assert np.all(np.array(errors) < 50 * np.array([1e-4, 1e-6, 1e-8, 1e-10]))
    order = np.log(errors[1] / errors[3]) / np.log(steps[3] / steps[1])
    assert 4.0 < order < 6.5


def test_a_first_step_and_a_longest_step_are_kept(chain):
    once = _run(chain, [[0.5]], t1=0.01, first_step=0.004, max_steps=1)
    assert once.times[0] == pytest.approx(0.004, rel=1e-12)
    assert once.codes[0] == orders.STEP_LIMIT
    assert _run(chain, [[0.5]], t1=1.0, max_step=0.01).num_steps[0] in (100, 101)
    assert _run(chain, [[0.5]], t1=1e-200).times[0] == 1e-200


def test_a_loud_gradient_ends_the_visit(chain):
    left = _run(chain, [[1e-3]], loud=0.1)
    assert left.codes[0] == orders.LEFT
    assert 0.1 < left.grad_norms[0] < 0.5


def test_every_lane_ends_in_its_own_way_and_disturbs_no_other(mixed):
    """A start that is missing, one that overflows, a critical point: the others' bits and steps are theirs alone."""
    rng = np.random.default_rng(0)
    good = rng.normal(size=(37, 3))
    bad = [[np.nan, 0, 0], [np.inf, 0, 0], [1e60, 1, 1], [0, 0, 0], [1, -1, 1], [1e100, 0, 0]]
    alone = _run(mixed, good, quiet=1e-6)
    together = _run(mixed, np.concatenate([good[:5], bad, good[5:]]), quiet=1e-6)
    rows = np.r_[:5, 11:43]
    np.testing.assert_array_equal(alone.codes, orders.STATIONARY)
    for name in ("states", "codes", "times", "grad_norms", "steps", "num_steps", "num_rejected"):
        np.testing.assert_array_equal(getattr(together, name)[rows], getattr(alone, name), err_msg=name)
    np.testing.assert_array_equal(
        together.codes[5:11],
        [orders.NONFINITE, orders.NONFINITE, orders.NONFINITE, orders.STATIONARY, orders.STATIONARY, orders.NONFINITE],
    )
    assert np.all(together.num_steps[5:11] == 0)


@pytest.mark.parametrize("kernel", BOTH)
def test_runs_that_cannot_end_well_are_named(kernel):
    """Growth beyond the norm, overflow, a discontinuous field, too few steps, a time of blow-up: in one batch."""

    def velocity(y):
        kind, x = y[0], y[1]
        rates = jnp.stack([x, jnp.exp(x**2), -jnp.sign(x), jnp.sin(x), 1 + x**2])
        return jnp.array([0.0, jnp.sum(jnp.where(kind == np.arange(5.0), rates, 0.0))])

    ensemble = Ensemble(Field(velocity), np.zeros(2), kernel)
    starts = [[0.0, 1.0], [1.0, 0.1], [2.0, 0.3], [3.0, 0.5], [4.0, 0.0]]
    ends = _run(ensemble, starts, quiet=1e-12, max_norm=1e3, max_steps=4000)
    assert ends.codes[0] == orders.ESCAPED
    assert 1e3 < np.linalg.norm(ends.states[0]) < 1e4
    assert ends.codes[1] in (orders.STALLED, orders.NONFINITE)
    assert ends.codes[2] in (orders.STALLED, orders.STEP_LIMIT)
    assert ends.times[2] == pytest.approx(0.3, abs=1e-3)
    assert ends.codes[3] == orders.STATIONARY
    assert ends.codes[4] == orders.ESCAPED
    assert ends.times[4] == pytest.approx(np.pi / 2, abs=2e-3)
    few = _run(ensemble, starts, quiet=1e-12, max_steps=3)
    assert few.codes[0] == orders.STEP_LIMIT and few.num_steps[0] == 3


@pytest.mark.parametrize(("kernel", "stiffness"), [("native", 1e4), pytest.param("xla", 1e2, marks=pytest.mark.slow)])
def test_stiff_runs_come_to_rest_because_steps_stay_stable(kernel, stiffness):
    """The slowest mode needs ``log(1e9)`` units of time, each ``stiffness / 2.8`` stable steps."""
    rates = np.array([1.0, stiffness])
    ensemble = Ensemble(gf.GradientFlow(gf.Landscape(lambda w: 0.5 * jnp.sum(rates * w**2))), np.zeros(2), kernel, 16)
    ends = _run(ensemble, np.random.default_rng(0).normal(size=(20, 2)), quiet=1e-9, max_steps=200_000)
    np.testing.assert_array_equal(ends.codes, orders.STATIONARY)
    assert np.all(ends.num_steps < 1.1 * 23 * stiffness / 2.8 + 60)
    assert np.all(ends.num_rejected < 0.1 * ends.num_steps)
    assert np.max(np.abs(ends.states)) <= 1e-9


def test_scales_far_from_one_are_followed():
    decay = Ensemble(Field(lambda y: -y), np.zeros(1), "native")
    for scale in (1e-100, 1e-20, 1e20, 1e100):
        settings = np.array([1e-8, 1e-10 * scale, 2.8, 1e150, 1e4])
        ends = decay.run(np.array([[scale]]), plain_orders(1, 1e-320, 1.0), settings)
        assert ends.states[0, 0] == pytest.approx(scale * np.exp(-1), rel=1e-6)


def test_kernels_and_solvers_agree_on_a_network():
    network = gf.networks.Shallow((2, 3, 1), "tanh")
    rng = np.random.default_rng(5)
    problem = gf.Regression(network, rng.normal(size=(2, 6)), rng.normal(size=(1, 6)))
    flow = gf.GradientFlow(problem)
    starts = tuple(rng.normal(size=(5, *shape)) for shape in network.shapes)
    found = {name: integrate_ensemble(flow, starts, 3.0, rtol=1e-9, kernel=name) for name in KERNELS}
    rows = {name: np.concatenate([e.reshape(5, -1) for e in r.endpoints], axis=1) for name, r in found.items()}
    np.testing.assert_allclose(rows["native"], rows["xla"], rtol=0, atol=1e-10)
    np.testing.assert_array_equal(found["native"].num_steps, found["xla"].num_steps)
    assert set(found["native"].statuses) == {Status.HORIZON}
    X, Y = np.asarray(problem.X), np.asarray(problem.Y)

    def velocity(_, y):
        first, second = y[:6].reshape(3, 2), y[6:].reshape(1, 3)
        hidden = np.tanh(first @ X)
        residual = second @ hidden - Y
        return -np.concatenate([((second.T @ residual * (1 - hidden**2)) @ X.T).ravel(), (residual @ hidden.T).ravel()])

    for row, start in zip(rows["native"], np.concatenate([s.reshape(5, -1) for s in starts], axis=1), strict=True):
        exact = solve_ivp(velocity, (0, 3.0), start, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
        np.testing.assert_allclose(row, exact, rtol=0, atol=2e-8)


def test_an_end_is_the_same_to_the_last_bit_in_any_company(mixed):
    starts = np.random.default_rng(1).normal(size=(1000, 3))
    whole = _run(mixed, starts, quiet=1e-6)
    order = np.random.default_rng(2).permutation(1000)
    np.testing.assert_array_equal(_run(mixed, starts[order], quiet=1e-6).states, whole.states[order])
    for size in (1, 2, 7, 32, 33):
        part = _run(mixed, starts[500 : 500 + size], quiet=1e-6)
        np.testing.assert_array_equal(part.states, whole.states[500 : 500 + size])
        np.testing.assert_array_equal(part.num_steps, whole.num_steps[500 : 500 + size])


def test_threads_share_an_ensemble_and_make_their_own(mixed):
    """JAX's precision is a thread's own: a new thread starts in the user's single precision."""
    starts = np.random.default_rng(3).normal(size=(200, 3))
    expected = _run(mixed, starts, quiet=1e-6).states
    found, precision = {}, jax.config.jax_enable_x64

    def work(name):
        flow = gf.GradientFlow(gf.Landscape(lambda w: jnp.sum((w**2 - 1) ** 2) / 4))
        own = integrate_ensemble(flow, starts, grad_tol=1e-6, kernel="native")
        found[name] = [_run(mixed, starts, quiet=1e-6).states for _ in range(3)] + [own.endpoints]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for states in (*found[0], *found[1]):
        np.testing.assert_array_equal(states, expected)
    assert jax.config.jax_enable_x64 == precision


def test_double_precision_of_the_user_changes_nothing(mixed):
    starts = np.random.default_rng(3).normal(size=(4, 3))
    with jax.enable_x64(True):
        result = integrate_ensemble(mixed.flow, starts, grad_tol=1e-6, kernel="native")
    np.testing.assert_array_equal(result.endpoints, _run(mixed, starts, quiet=1e-6).states)


def test_pytrees_come_back_as_they_went_in(mixed):
    flow = gf.GradientFlow(gf.Landscape(lambda p: 0.5 * jnp.sum((p["a"] - 1) ** 2) + (p["b"][0] + 2) ** 2))
    starts = {"a": np.zeros((3, 2, 2)), "b": (np.arange(3.0),)}
    result = integrate_ensemble(flow, starts)
    np.testing.assert_allclose(result.endpoints["a"], np.ones((3, 2, 2)), atol=1e-5)
    np.testing.assert_allclose(result.endpoints["b"][0], np.full(3, -2.0), atol=1e-5)
    assert list(result.statuses) == [Status.STATIONARY] * 3 and result.kernel == "native"
    ends = result.ends
    assert len(ends.at(np.array([0, 2]))) == 2
    later = ends.put(np.array([1]), ends.at(np.array([1])))
    np.testing.assert_array_equal(later.num_steps, ends.num_steps * np.array([1, 2, 1]))
    np.testing.assert_array_equal(later.states, ends.states)
    assert len(mixed.run(np.zeros((0, 3)), plain_orders(0, 1.0, 1.0), shared_settings(1e-6, 1e-9, np.inf, 9))) == 0


def test_the_level_of_quiet_comes_from_the_starts_where_theory_knows_none(mixed):
    starts = np.array([[2.0, 0, 0], [3.0, 0, 0], [np.nan, 0, 0], [4.0, 0, 0]])
    np.testing.assert_allclose(batches.start_norms(mixed, starts), [6.0, 24.0, np.nan, 60.0])
    assert batches.gradient_level(mixed.flow, mixed, starts) == pytest.approx(24e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"starts": {}}, "at least one array"),
        ({"starts": np.float64(1.0)}, "at least one start"),
        ({"starts": np.zeros((0, 3))}, "at least one start"),
        ({"starts": np.full((2, 3), np.nan)}, "finite"),
        ({"t1": 0.0}, "t1"),
        ({"rtol": 1e-14}, "rtol"),
        ({"atol": 0.0}, "atol"),
        ({"grad_tol": -1.0}, "grad_tol"),
        ({"max_steps": 0}, "max_steps"),
        ({"kernel": "numba"}, "kernel"),
        ({"width": 12}, "width"),
    ],
)
def test_wrong_calls_are_refused(wrong, message, mixed):
    with pytest.raises(checks.InputError, match=message):
        integrate_ensemble(**({"flow": mixed.flow, "starts": np.zeros((2, 3))} | wrong))


def test_batches_of_other_shapes_are_refused(mixed):
    for batch in (np.zeros((2, 4)), (np.zeros((2, 3)),), np.zeros(3)):
        with pytest.raises(checks.InputError, match="starts"):
            mixed.flatten(batch)


@pytest.mark.parametrize("solver", ["rodas5p", "rkc2"])
def test_lanes_stepped_by_a_solver_for_stiff_flows_end_where_the_explicit_ones_do(solver):
    flow = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * w[0] ** 2 + 0.5 * (1 - w[0] * w[1]) ** 2))
    starts = np.random.default_rng(0).normal(size=(5, 2))
    options = {"rtol": 1e-6, "grad_tol": 1e-12, "width": 4}  # five starts in four lanes: one is filled again
    found = gf.integrate_ensemble(flow, starts, 200.0, solver=solver, **options)
    expected = gf.integrate_ensemble(flow, starts, 200.0, rtol=1e-10, grad_tol=1e-12)
    assert set(found.statuses) == {gf.Status.HORIZON} and solver.upper()[:3] in found.kernel.upper()
    np.testing.assert_allclose(found.endpoints, expected.endpoints, rtol=0, atol=2e-4)
    assert np.all(found.num_steps < 0.5 * expected.num_steps)
    speeds = [np.linalg.norm(flow.vector_field(end)) for end in found.endpoints]
    np.testing.assert_allclose(found.grad_norms, speeds, rtol=1e-9)


@pytest.mark.parametrize(
    ("solver", "kernel", "words"),
    [("auto", "auto", "`solver`"), ("dopri5", "auto", "`solver`"), ("rodas5p", "native", "`kernel`")],
)
def test_solvers_that_lanes_cannot_be_stepped_by_raise(solver, kernel, words):
    flow = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * jnp.sum(w**2)))
    with pytest.raises(checks.InputError, match=words):
        gf.integrate_ensemble(flow, np.ones((2, 2)), 1.0, solver=solver, kernel=kernel)
