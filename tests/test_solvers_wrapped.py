"""Solvers that correct another solver's steps: back to the invariants, and down the loss."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradflow as gf
from gradflow.invariants import invariants_of
from gradflow.solvers.base import FlatField
from gradflow.solvers.projection import Projected, conserved_values, project, projected
from gradflow.solvers.relaxation import Relaxed, rounding_of
from gradflow.solvers.wrapping import Step, step_energy

FIELD = diffrax.ODETerm(lambda t, y, flow: flow.vector_field(y))
LOOSE = diffrax.PIDController(rtol=1e-3, atol=1e-5)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@functools.cache
def flows():
    """One of each kind of invariant: matrices, potentials of tanh (orthogonal columns), norms of ReLU units."""
    rng = np.random.default_rng(3)
    shallow = functools.partial(gf.networks.Shallow, widths=(2, 3, 2))
    problems = {
        "linear": gf.Regression(gf.networks.Linear(widths=(2, 3, 2)), rng.normal(size=(2, 5)), rng.normal(size=(2, 5))),
        "sigmoid": gf.Regression(shallow(activation="tanh"), np.eye(2), rng.normal(size=(2, 2))),
        "relu": gf.Regression(shallow(activation="relu"), rng.normal(size=(2, 6)), rng.normal(size=(2, 6))),
    }
    return {name: (gf.GradientFlow(problem), problem.init(2, scale=1.0)) for name, problem in problems.items()}


@eqx.filter_jit
def run(term, solver, start, controller, args, measure, end, step=None):
    """`measure` at the start and after every accepted step, the end, and the solution's statistics."""
    saved = (
        diffrax.SubSaveAt(t0=True, steps=True, fn=lambda t, y, _: measure(y)),
        diffrax.SubSaveAt(t1=True),
    )
    solution = diffrax.diffeqsolve(
        term, solver, 0.0, end, step, start, args=args, saveat=diffrax.SaveAt(subs=list(saved)), max_steps=512,
        stepsize_controller=controller, throw=False,
    )  # fmt: skip
    return solution.ts[0], solution.ys[0], solution.ys[1], solution.stats, diffrax.is_okay(solution.result)


def drift(found):
    times, values, *_ = found
    values = np.asarray(values)[np.isfinite(times)]
    return np.max(np.abs(values - values[0]))


def test_projection_removes_the_drift_that_the_plain_solver_has():
    flow, start = flows()["linear"]
    wrapped = projected(diffrax.Tsit5(), flow)
    measure, compact = wrapped.constraint, flow.compact()
    plain = run(FIELD, diffrax.Tsit5(), start, LOOSE, compact, measure, jnp.asarray(0.5))
    kept = run(FIELD, wrapped, start, LOOSE, compact, measure, jnp.asarray(0.5))
    assert kept[-1]
    assert drift(plain) > 1e-4
    assert drift(kept) < 1e-13
    accepted = [int(found[3]["num_accepted_steps"]) for found in (plain, kept)]
    assert abs(accepted[0] - accepted[1]) <= 0.1 * accepted[0]
    for one, other in zip(jax.tree.leaves(plain[2]), jax.tree.leaves(kept[2]), strict=True):
        np.testing.assert_allclose(one, other, atol=0.02)


@pytest.mark.parametrize(("name", "end"), [("sigmoid", 0.5), ("relu", 0.1)])
def test_projection_keeps_potentials_and_norms_of_units(name, end):
    """The control is a step of Euler's method, a hundredth of the way."""
    flow, start = flows()[name]
    wrapped = projected(diffrax.Tsit5(), flow)
    kept = run(FIELD, wrapped, start, LOOSE, flow.compact(), wrapped.constraint, jnp.asarray(end))
    assert kept[-1]
    assert len(np.unique(kept[0][np.isfinite(kept[0])])) > 5
    assert drift(kept) < 1e-12
    moved = jax.tree.map(lambda y, f: y + 0.01 * end * f, start, flow.vector_field(start))
    assert np.max(np.abs(wrapped.constraint(moved) - wrapped.constraint(start))) > 1e-5


def chain_loss(y):
    return 0.5 * (y[0] * y[1] - 1.0) ** 2


CHAIN = diffrax.ODETerm(lambda t, y, args: -args * jax.grad(chain_loss)(y))
START = np.array([1.6, 0.4])


def hyperbola(y):
    """``a^2 - b^2``, three times: once scaled and once with the part that vanishes to second order."""
    value = y[0] ** 2 - y[1] ** 2
    return {"twice": jnp.stack([value, -3.0 * value]), "square": (value - 2.4) ** 2}


PROJECTED, RELAXED = Projected(diffrax.Tsit5(), hyperbola), Relaxed(diffrax.Tsit5(), chain_loss)
RELAXED_3 = Relaxed(diffrax.Bosh3(), chain_loss)


def steps(solver, step, count=1, start=START, args=1.0):
    """End, error, dense information, state and success of the last of `count` steps along the chain."""
    return _steps(solver, jnp.asarray(start), jnp.asarray(step), jnp.asarray(count), jnp.asarray(args))


@eqx.filter_jit
def _steps(solver, start, step, count, args):
    zero = jnp.zeros(())

    def one(y, state):
        y, error, dense, state, result = solver.step(CHAIN, zero, step, y, args, state, False)
        return y, error, dense, state, diffrax.is_okay(result)

    state = solver.init(CHAIN, zero, step, start, args)
    y, state = jax.lax.fori_loop(0, count - 1, lambda _, carry: one(*carry)[0:4:3], (start, state))
    return one(y, state)


@functools.cache
def chain_solution(end):
    """By a solver of order 8 with small steps."""
    return np.asarray(steps(diffrax.Dopri8(), end / 400, 400)[0])


@pytest.mark.parametrize("solver", [PROJECTED, RELAXED, RELAXED_3], ids=["projected 5", "relaxed 5", "relaxed 3"])
def test_corrections_keep_the_order(solver):
    ends = [np.asarray(steps(solver, 2.0 / count, count)[0]) for count in (20, 40)]
    errors = [np.linalg.norm(end - chain_solution(2.0)) for end in ends]
    assert errors[1] > 1e-12
    assert np.log2(errors[0] / errors[1]) > solver.order(None) - 0.3


def test_a_relation_is_kept_exactly_and_interpolation_ends_there():
    end, error, dense, _, is_okay = steps(PROJECTED, 0.5)
    assert is_okay
    assert abs(end[0] ** 2 - end[1] ** 2 - 2.4) < 1e-15
    inner, estimate, inner_dense, _, _ = steps(diffrax.Tsit5(), 0.5)
    moved = np.abs(end - inner)
    assert np.all(moved > 1e-9)
    np.testing.assert_allclose(error, np.maximum(np.abs(estimate), moved), rtol=1e-6)
    interpolation = PROJECTED.interpolation_cls(t0=0.0, t1=jnp.asarray(0.5), **dense)
    np.testing.assert_allclose(interpolation.evaluate(jnp.asarray(0.5)), end, atol=1e-15)
    for part, point in ((dense["k0"], START), (dense["k1"], end)):
        np.testing.assert_allclose(part, 0.5 * CHAIN.vf(0.0, jnp.asarray(point), 1.0), atol=1e-15)
    lost = chain_loss(START) - chain_loss(inner)
    assert abs(dense["energy"] / lost - 1) < 0.01
    field = FlatField(CHAIN, 0.0, jnp.asarray(START), 1.0)
    assert abs(step_energy(diffrax.Tsit5(), inner_dense, jnp.asarray(0.5), field, inner) - dense["energy"]) < 1e-15
    trapezoid = 0.25 * sum(float(jnp.sum(CHAIN.vf(0.0, jnp.asarray(y), 1.0) ** 2)) for y in (START, inner))
    assert abs(step_energy(diffrax.Tsit5(), {}, jnp.asarray(0.5), field, inner) - trapezoid) < 1e-15


def test_the_values_aimed_at_are_those_of_the_start():
    """After 2000 steps the relation is where it was: nothing accumulates."""
    end, *_ = steps(PROJECTED, 0.01, 2000)
    assert abs(end[0] ** 2 - end[1] ** 2 - 2.4) < 1e-15


@pytest.mark.parametrize("solver", [PROJECTED, RELAXED], ids=["projected", "relaxed"])
def test_the_next_step_starts_with_the_field_at_the_corrected_point(solver):
    """Tsit5 hands on the field at the end of its own step: that would be the field elsewhere."""
    middle, *_ = steps(solver, 0.5)
    np.testing.assert_allclose(steps(solver, 0.5, 2)[0], steps(solver, 0.5, start=middle)[0], atol=1e-14)


def test_the_projection_is_the_nearest_point():
    """On the circle: the direction stays, the length is restored; the target is the start's, not the step's."""
    value = lambda y: jnp.sum(y**2)[None]  # noqa: E731
    point, is_good = project(value, jnp.array([3.1, 4.2]), jnp.array([25.0]))
    assert is_good
    np.testing.assert_allclose(point, 5 * np.array([3.1, 4.2]) / np.hypot(3.1, 4.2), rtol=1e-15)


@pytest.mark.parametrize(
    "constraint",
    [lambda y: jnp.sum(y**2) + 1.0, lambda y: jnp.array([y[0], 2 * y[0]]), lambda y: jnp.log(-y[0])],
    ids=["no such point", "contradictory", "not a number"],
)
def test_what_cannot_be_restored_is_an_infinite_error(constraint):
    """No such point; contradictory values; not a number."""
    target = jnp.array([0.5]) if constraint(START).ndim == 0 else jnp.array([1.0, 2.0 + 1e-9])
    value = lambda y: jnp.atleast_1d(constraint(y))  # noqa: E731
    assert not project(value, jnp.asarray(START), target)[1]
    solver, zero = Projected(diffrax.Heun(), constraint), jnp.zeros(())
    state = solver.init(CHAIN, zero, 0.1, jnp.asarray(START), 1.0)
    _, error, _, _, result = solver.step(
        CHAIN, zero, jnp.asarray(0.1), jnp.asarray(START), 1.0, (state[0], target), False
    )  # fmt: skip
    assert np.isinf(error).all()
    assert not diffrax.is_okay(result)


def test_symmetric_matrices_are_kept_once_and_data_of_equal_names_apart():
    flow, start = flows()["linear"]
    invariants = [found for found in invariants_of(flow) if found.decay == 0.0]
    values = conserved_values(invariants)
    assert [found.name for found in invariants][:2] == ["C_1", "c_1"]
    assert values.is_symmetric[0]
    assert not values.is_symmetric[1]
    assert values(start).shape == (6 + 1,)
    again = conserved_values(invariants_of(flows()["linear"][0]))
    assert values.functions[0] != again.functions[0], "compiled code must not take one problem's data for another's"


def test_wrong_calls_are_refused():
    landscape = gf.GradientFlow(gf.Landscape(chain_loss))
    with pytest.raises(gf.checks.InputError, match="`flow` must conserve something that is known"):
        projected(diffrax.Tsit5(), landscape)
    with pytest.raises(gf.checks.InputError, match="`solver` must be an adaptive diffrax solver"):
        Relaxed(diffrax.Euler())


def valley(y):
    """Rosenbrock's valley in four variables."""
    return jnp.sum(100 * (y[1:] - y[:-1] ** 2) ** 2 + (1 - y[:-1]) ** 2)


VALLEY = diffrax.ODETerm(lambda t, y, args: -jax.grad(valley)(y))


def test_the_loss_never_climbs_where_the_plain_solver_does():
    """At tolerance 0.1 in a narrow valley; what is allowed is rounding above the lowest loss so far."""
    start, controller = jnp.array([-1.2, 1.0, -0.5, 0.8]), diffrax.PIDController(rtol=0.1, atol=0.1)
    climbs, inner = {}, diffrax.Tsit5()
    for name, solver in {"plain": inner, "relaxed": Relaxed(inner, valley)}.items():
        times, losses, *_ = run(VALLEY, solver, start, controller, None, valley, jnp.asarray(0.3))
        losses = np.asarray(losses)[np.isfinite(times)]
        climbs[name] = np.max(losses[1:] - np.minimum.accumulate(losses)[:-1])
    assert climbs["plain"] > 1e-3
    assert climbs["relaxed"] <= 1e-13


def test_relaxation_balances_the_loss_with_the_energy_of_the_step():
    end, error, dense, (_, lowest), _ = steps(RELAXED_3, 0.2)
    plain, *_ = steps(diffrax.Bosh3(), 0.2)
    rough, *_ = steps(Relaxed(diffrax.Bosh3(), lambda y: 1e9 + chain_loss(y)), 0.2)
    lost = [float(chain_loss(START) - chain_loss(y)) for y in (plain, end, rough)]
    imbalance = np.abs(np.array(lost) - float(dense["energy"]))
    assert imbalance[0] > 1e-4
    assert imbalance[1] < 1e-15
    assert imbalance[2] < 1e-5, "a loss known to 1e-7 only is balanced to that"
    moved, speed = end - plain, CHAIN.vf(0.0, plain, 1.0)
    assert abs(abs(jnp.dot(moved, speed)) / jnp.linalg.norm(moved) / jnp.linalg.norm(speed) - 1) < 1e-9
    assert np.all(error >= np.abs(moved))
    assert abs(lowest / chain_loss(end) - 1) < 1e-13


def test_a_climbing_step_has_an_infinite_error():
    """The reversed flow climbs with every step; a stationary point does not, however its loss is rounded."""
    for start, args, is_climbing in ((START, -1.0, True), (START, 1.0, False), ([2.0, 0.5], -1.0, False)):
        _, error, _, _, is_okay = steps(RELAXED, 0.01, start=start, args=args)
        assert bool(np.isinf(error).all()) is is_climbing
        assert bool(is_okay) is not is_climbing


def test_the_lowest_loss_so_far_is_what_a_step_is_held_against_and_remembered():
    bowl = diffrax.ODETerm(lambda t, y, args: -y)
    field = FlatField(bowl, 0.0, jnp.array([1.0]), None)
    step = Step(field, jnp.asarray(0.1), jnp.array([1.0]), jnp.array([0.9]), jnp.asarray(0.5 * (1.0 - 0.81)))
    solver = Relaxed(diffrax.Tsit5(), lambda y: 0.5 * jnp.sum(y**2))
    for lowest, is_good, remembered in ((0.5, True, 0.405), (0.3, False, 0.3)):
        found = solver.correct(step, jnp.asarray(lowest), None)
        assert bool(found.is_good) is is_good
        assert float(found.memory) == pytest.approx(remembered, rel=1e-12)


def test_a_step_for_which_no_balance_is_found_is_left_as_it_is():
    """Newton's method comes nearer to a loss below the minimum without ever getting there."""
    field = FlatField(diffrax.ODETerm(lambda t, y, args: -y), 0.0, jnp.array([1.0]), None)
    step = Step(field, jnp.asarray(10.0), jnp.array([1.0]), jnp.array([1e-3]), jnp.asarray(0.5 + 1e-9))
    found = Relaxed(diffrax.Tsit5(), lambda y: 0.5 * jnp.sum(y**2)).correct(step, jnp.asarray(0.5), None)
    assert found.end.tolist() == [1e-3] and bool(found.is_good)


def test_a_loss_is_rounded_by_its_own_size_where_its_point_does_not_matter():
    rounding = rounding_of(lambda y: 1e9 + 0.0 * jnp.sum(y), jnp.ones(3), jnp.asarray(1e9))
    assert float(rounding) == pytest.approx(1e9 * np.finfo(float).eps)


def test_relaxation_reaches_the_rounding_of_the_minimum_and_goes_on():
    """The loss of the flow's own problem; at 1e-30 it is rounding, and no step may be refused for that."""
    flow, start = flows()["sigmoid"]
    found = run(FIELD, Relaxed(diffrax.Tsit5()), start, LOOSE, flow.compact(), flow.problem.loss, jnp.asarray(40.0))
    losses = np.asarray(found[1])[np.isfinite(found[0])]
    assert found[-1]
    assert losses[-1] < 1e-26
    assert np.max(losses[1:] - np.minimum.accumulate(losses)[:-1]) <= 1e-26
