"""Events: located to rounding of the solver's own steps, against closed forms, in both directions of time."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import gradflow as gf
from gradflow import checks, store
from gradflow.events import Event, activation_change, loss_level, norm_bound

BOWL = gf.Landscape(lambda w: 0.5 * (w[0] ** 2 + 4 * w[1] ** 2), name="bowl")
FLOW = gf.GradientFlow(BOWL)
START = np.ones(2)
QUARTER = Event("quarter", lambda w: w[0] - 0.25)
LAST = Event("last", lambda w: w[0] - 1e-2, is_terminal=True)


def level_time(level):
    """When ``1/2 e^-2t + 2 e^-8t`` is `level`, by bisection."""
    low, high = 0.0, 10.0
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if 0.5 * math.exp(-2 * middle) + 2 * math.exp(-8 * middle) > level else (low, middle)
    return low


@pytest.mark.parametrize(("solver", "error"), [("tsit5", 1e-7), ("rodas5p", 1e-7), ("gauss4", 1e-6), ("rkc2", 1e-4)])
def test_events_are_met_where_the_closed_form_says_and_a_terminal_one_ends_the_run(solver, error):
    behind = Event("behind", lambda w: w[0] - 0.9999e-2)
    run = gf.integrate(FLOW, START, rtol=1e-8, solver=solver, events=[loss_level(BOWL, 0.1), QUARTER, LAST, behind])
    assert run.status is gf.Status.EVENT and [one.name for one in run.events] == ["loss 0.1", "quarter", "last"]
    exact = [level_time(0.1), math.log(4), math.log(100)]
    assert np.allclose([one.time for one in run.events], exact, rtol=0, atol=error)
    assert all(abs(one.residual) < 1e-15 and not one.is_rising for one in run.events)
    assert run.end_time == run.times[-1] == run.events[-1].time
    assert np.array_equal(run.endpoint, run.events[-1].params) and run.largest_norm == pytest.approx(math.sqrt(2))


def test_the_energy_of_a_run_that_ends_at_an_event_is_what_the_loss_lost():
    run = gf.integrate(FLOW, START, rtol=1e-10, solver="tsit5", events=[LAST])
    assert run.dissipated[-1] == pytest.approx(BOWL.loss(START) - BOWL.loss(run.endpoint), rel=1e-9)


def test_a_direction_leaves_out_the_other_and_backward_runs_know_theirs():
    rising = [Event("up", lambda w: w[0] - 0.25, direction=1), Event("down", lambda w: w[0] - 0.25, direction=-1)]
    run = gf.integrate(FLOW, START, 3.0, solver="tsit5", events=rising)
    assert [one.name for one in run.events] == ["down"] and run.status is not gf.Status.EVENT
    back = gf.integrate(FLOW, START, -1.0, solver="tsit5", events=[norm_bound(5.0)])
    (met,) = back.events
    assert met.is_rising and np.linalg.norm(met.params) == pytest.approx(5.0, abs=1e-14)
    assert np.allclose(met.params, np.exp(-np.array([1.0, 4.0]) * met.time), rtol=1e-7)


def test_nothing_is_seen_where_a_guard_is_zero_at_the_start_or_never_changes_sign():
    events = [Event("start", lambda w: w[0] - 1.0), Event("no number", lambda w: jnp.nan * w[0])]
    run = gf.integrate(FLOW, START, 3.0, solver="tsit5", events=events)
    assert run.events == ()


def test_each_change_of_activation_is_a_zero_of_its_own_preactivation():
    rng = np.random.default_rng(3)
    problem = gf.Regression(gf.networks.Shallow((2, 3, 1), "tanh"), rng.normal(size=(2, 4)), rng.normal(size=(1, 4)))
    run = gf.integrate(gf.GradientFlow(problem), problem.init(4), 50.0, solver="tsit5",
                       events=[activation_change(problem)])  # fmt: skip
    assert run.events
    for met in run.events:
        unit, sample = divmod(met.entry, 4)
        assert abs((met.params[0] @ problem.X)[unit, sample]) < 1e-14
    signs = [np.sign(params[0] @ problem.X) for params in (run.start, run.endpoint)]
    changed = np.bincount([met.entry for met in run.events], minlength=12) % 2
    assert np.array_equal(changed.reshape(3, 4) == 1, signs[0] != signs[1])


def test_many_requested_times_are_hit_exactly():
    times = np.geomspace(1e-3, 5.0, 100)
    run = gf.integrate(FLOW, START, 5.0, solver="tsit5", save_at=times)
    assert np.array_equal(run.times, times) and run.status is gf.Status.HORIZON
    assert np.allclose(run.params, np.exp(-np.outer(times, [1.0, 4.0])), rtol=0, atol=1e-9)


def test_events_are_kept_in_results_files(tmp_path):
    problem = gf.Regression(gf.networks.Linear((1, 1, 1)), np.ones((1, 1)), np.ones((1, 1)))
    start = (np.array([[0.3]]), np.array([[0.5]]))
    study = gf.study(gf.GradientFlow(problem), start, events=[loss_level(problem, 0.1)])
    store.save(study, tmp_path / "run.nc")
    (before,), (after,) = study.trajectory.events, store.load(tmp_path / "run.nc").trajectory.events
    assert (before.name, before.time, before.residual) == (after.name, after.time, after.residual)
    assert all(np.array_equal(one, other) for one, other in zip(before.params, after.params, strict=True))


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([lambda w: w], "`events[0]` must be a gradflow.events.Event"),
        ([QUARTER, QUARTER], "`events` must have different names"),
        ([Event("wrong", lambda w: w @ jnp.ones(3))], "`events` must have guards defined at the start"),
    ],
)
def test_wrong_events_raise(events, words):
    with pytest.raises(checks.InputError, match=words.replace("[", r"\[").replace("]", r"\]")):
        gf.integrate(FLOW, START, 1.0, events=events)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Event("", abs), "`name`"),
        (lambda: Event("a", 3), "`guard`"),
        (lambda: Event("a", abs, 2), "`direction`"),
        (lambda: norm_bound(-1.0), "`radius`"),
        (lambda: activation_change(BOWL), "`problem` must be a Regression"),
        (lambda: loss_level(FLOW, 1.0), "`problem` must be a problem"),
    ],
)
def test_wrong_makers_raise(make, words):
    with pytest.raises(checks.InputError, match=words):
        make()


def test_one_event_may_stand_alone_and_something_else_is_refused():
    alone, listed = (gf.integrate(FLOW, START, rtol=1e-6, solver="tsit5", events=given) for given in (LAST, [LAST]))
    assert alone.events[0].time == listed.events[0].time
    with pytest.raises(checks.InputError, match="`events` must be an Event or a sequence of events, but got int"):
        gf.integrate(FLOW, START, events=3)
