"""Flow, then finish: the finish arrives at the flow's limit, its bounds hold and are sharp, and it refuses by name."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import gradflow as gf
from gradflow import checks, curvature, networks
from gradflow.finishing import flow_bounds, normal_space, surroundings
from gradflow.finishing.to_limit import joined

HYPERBOLA = gf.GradientFlow(gf.Landscape(lambda p: 0.5 * (p[0] * p[1] - 1.0) ** 2))
MINIMA = ([1.0, 1.0], [2.0, 0.5], [-3.0, -1.0 / 3.0], [0.25, 4.0])
CENTRE = np.array([1.0, -2.0, 0.5])
KEYS = ("uu", "vv", "zz", "uvv", "u6", "vvv", "ramp", "one")


class Family(eqx.Module):
    """One compiled function for many landscapes: coefficients are data. (u, v, z) is the place relative to CENTRE."""

    coefficients: np.ndarray

    def __call__(self, p):
        u, v, z = p - CENTRE
        ramp = jnp.maximum(v, 0.0) ** 2
        terms = (u * u / 2, v * v / 2, z * z / 2, u * v * v / 2, u**6, v**3, ramp, jnp.ones(()))
        return jnp.sum(self.coefficients * jnp.stack(terms))


def shifted(*offset):
    return CENTRE + np.array(offset)


def family(**coefficients):
    assert set(coefficients) <= set(KEYS)
    return gf.GradientFlow(gf.Landscape(Family(np.array([coefficients.get(key, 0.0) for key in KEYS])), name="family"))


VALLEY = {"vv": 2.0, "zz": 60.0, "uvv": 3.0}
"""Minima are the line v = z = 0; the flow drifts along it, and v^2 uvv / 4 - vv u - uvv u^2 / 2 is conserved."""


def valley_limit(start):
    a, b = VALLEY["vv"], VALLEY["uvv"]
    u, v, _ = start - CENTRE
    level = a * u + b * u * u / 2 - b * v * v / 4
    return CENTRE + np.array([2 * level / (a + np.sqrt(a * a + 2 * b * level)), 0.0, 0.0])


def hyperbola_limit(start):
    """The limit of the flow of 1/2 (ab - 1)^2: ab = 1 and b^2 - a^2 as at the start, on the branch of the start."""
    c = start[1] ** 2 - start[0] ** 2
    larger = np.sqrt(0.5 * (np.hypot(c, 2.0) + abs(c)))  # the smaller one is 1 / larger: no cancellation
    return np.sign(start[0] + start[1]) * np.array([1.0 / larger, larger] if c > 0 else [larger, 1.0 / larger])


def distance(a, b):
    return float(np.linalg.norm(np.asarray(a) - np.asarray(b)))


# --- continuum of minima: the flow's limit in closed form -------------------------------------------------------------


@pytest.mark.parametrize("minimum", MINIMA)
def test_the_flows_limit_on_a_hyperbola_is_within_the_bound_at_every_closeness(minimum):
    for direction in ([1.0, 0.3], [-0.2, 1.0]):
        for closeness in (1e-2, 1e-3, 1e-5, 1e-7):
            start = np.array(minimum) + closeness * np.array(direction)
            done = gf.finish(HYPERBOLA, start, rtol=0.05)
            assert done.is_certified, done.reason
            assert distance(done.params, hyperbola_limit(start)) <= done.limit_bound
            assert done.limit_bound <= done.tolerance
            assert done.grad_norm <= 4 * done.noise
            assert done.nullity == 1
            assert done.tangential_displacement <= 1e-3 * done.tangential_bound + 1e-15


@pytest.mark.parametrize(
    ("flow", "limit", "place", "direction"),
    [
        (HYPERBOLA, hyperbola_limit, np.array([2.0, 0.5]), np.array([1.0, 0.3])),
        (family(**VALLEY), valley_limit, shifted(0.1, 0.0, 0.0), np.array([0.5, 1.0, 0.1])),
    ],
)
def test_bound_and_error_are_second_order_in_the_distance(flow, limit, place, direction):
    closeness = np.array([1e-2, 1e-3, 1e-4])
    starts = [place + size * direction for size in closeness]
    ends = [gf.finish(flow, start, rtol=0.05) for start in starts]
    errors = [distance(end.params, limit(start)) for end, start in zip(ends, starts, strict=True)]
    for sizes in (errors, [end.tangential_bound for end in ends]):
        orders = np.diff(np.log(sizes)) / np.diff(np.log(closeness))
        assert np.all(np.abs(orders - 2.0) < 0.2)
    assert all(error <= end.limit_bound for end, error in zip(ends, errors, strict=True))
    assert errors[-1] >= 0.2 * ends[-1].tangential_bound


def test_the_bound_is_attained_but_for_the_norm_of_the_third_derivative():
    """In the valley, with exact M = 2 uvv / sqrt(3), the leading terms are M d^2 / (4 mu) and uvv d^2 / (4 mu)."""
    a, b, v = VALLEY["vv"], VALLEY["uvv"], 1e-4
    found = flow_bounds(
        curvature=a, change=2 * b / np.sqrt(3), radius=2 * v, distance=v, energy=a * v * v / 2, grad_norm=a * v,
        has_continuum=True,
    )  # fmt: skip
    drift = distance(valley_limit(shifted(0.0, v, 0.0)), CENTRE)
    assert drift == pytest.approx(b * v * v / (4 * a), rel=1e-6)
    assert 1.0 <= found.tangential * np.sqrt(3) / (2 * drift) <= 1.01
    assert 1.0 <= found.length / v <= 1.001


def test_every_term_of_the_bound_is_there():
    settings = {"curvature": 2.0, "change": 1.0, "radius": 2e-3, "distance": 1e-3, "energy": 1e-6, "grad_norm": 2e-3}
    settings |= {"has_continuum": True}
    plain = flow_bounds(**settings)
    assert plain.dominance == 2.0 - 2e-3
    assert plain.length == pytest.approx(1e-3, rel=1e-2)
    assert plain.tangential == pytest.approx(1e-6 / 8, rel=1e-2)
    extra = {
        "offset": (1e-5, 1e-5 + 2e-8 / 8),
        "flat": (1e-2, 1e-2 * 1e-3 / 2),
        "rounding": (1e-4, 1e-4 * 1.1e-3 / 2 + 0.21e-6 / 8),
    }
    for name, (size, effect) in extra.items():
        assert flow_bounds(**settings, **{name: size}).tangential - plain.tangential == pytest.approx(effect, rel=2e-2)
    far = flow_bounds(**settings | {"grad_norm": 1.0, "residual": 1e-3})
    assert far.length == pytest.approx(np.sqrt(2.0) * 1e-3, rel=1e-2)
    assert flow_bounds(**settings | {"grad_norm": 1e-4}).length == pytest.approx(5e-5, rel=1e-2)
    assert flow_bounds(**settings | {"has_continuum": False}).tangential == 0.0
    for refused in ({"change": 501.0}, {"radius": 1e-3}, {"flat": 3.0}, {"offset": 1e-3}):
        assert flow_bounds(**settings | refused) is None
    assert flow_bounds(**settings | {"has_continuum": False, "change": 501.0}) is None
    assert flow_bounds(**settings | {"has_continuum": False, "change": 499.0}).dominance == pytest.approx(1.002)


def test_the_length_bound_holds_and_the_gradient_dominates_the_loss():
    start = np.array([2.0, 0.5]) + 1e-3 * np.array([1.0, 0.3])
    done = gf.finish(HYPERBOLA, start, rtol=0.05)
    way = distance(start, hyperbola_limit(start))  # straight to second order
    assert way <= done.length_bound <= 1.1 * way
    a, b = start
    assert (a * b - 1) ** 2 * (a * a + b * b) >= 2 * done.dominance * 0.5 * (a * b - 1) ** 2
    assert done.displacement + done.limit_bound < done.radius


def test_a_tolerance_below_the_bound_is_refused_with_the_state_unchanged():
    start = np.array([2.01, 0.503])
    done = gf.finish(HYPERBOLA, start, rtol=1e-8)
    assert not done.is_certified
    assert np.array_equal(done.params, start)
    assert done.displacement == 0.0
    assert done.tangential_bound > done.tolerance
    assert "the limit is known to" in done.reason
    assert str(done).startswith("not finished")


@pytest.mark.parametrize("kind", [gf.GradientFlow, gf.ReducedFlow])
def test_the_imbalance_of_a_linear_network_changes_by_no_more_than_the_bound_allows(kind):
    rng = np.random.default_rng(0)
    X, Y, first = (rng.normal(size=(2, 2)) + 2 * np.eye(2) for _ in range(3))
    flow = kind(gf.Regression(networks.Linear((2, 2, 2)), X, Y))
    minimum = (first, Y @ np.linalg.inv(first @ X))
    minimum = flow.coordinates(minimum) if kind is gf.ReducedFlow else minimum
    imbalance = lambda w: w[1].T @ w[1] - w[0] @ w[0].T  # noqa: E731
    for closeness in (1e-3, 1e-5):
        start = tuple(w + closeness * rng.normal(size=w.shape) for w in minimum)
        done = gf.finish(flow, start, rtol=0.05)
        assert done.is_certified, done.reason
        assert done.nullity == 4
        # |D(v) - D(w)| <= |v - w| |v + w| for the imbalance D, which the flow keeps up to its limit
        size = 2.0 * np.sqrt(sum(np.sum(w * w) for w in done.params)) + done.limit_bound
        drift = np.linalg.norm(imbalance(done.params) - imbalance(start))
        assert 1e-4 * size * done.limit_bound <= drift <= size * done.limit_bound
        assert done.grad_norm <= 4 * done.noise


# --- isolated minima --------------------------------------------------------------------------------------------------


def test_an_isolated_minimum_is_reached_to_rounding():
    flow = family(uu=1.0, vv=10.0, zz=3.0, vvv=5.0)
    for offset in ([1e-3, 2e-3, 0.0], [1e-7, 0.0, 1e-8]):
        done = gf.finish(flow, CENTRE + offset)
        assert done.is_certified, done.reason
        assert done.tangential_bound == 0.0
        assert distance(done.params, CENTRE) <= done.rounding_bound < 1e-14
        assert done.displacement == pytest.approx(np.linalg.norm(offset), rel=1e-6)
        assert done.curvature == pytest.approx(1.0)
        assert 30.0 <= done.hessian_change <= 2.001 * 30.0
        assert done.length_bound >= done.displacement


def test_an_isolated_minimum_is_not_certified_from_where_the_curvature_may_have_halved():
    flow = family(uu=1.0, vv=1.0, zz=1.0, vvv=100.0)
    near, far = (gf.finish(flow, shifted(0.0, v, 0.0)) for v in (1e-5, 1e-3))
    assert near.is_certified
    assert not far.is_certified
    assert "keeps half of its smallest" in far.reason


def test_a_student_is_taken_to_its_teacher():
    rng = np.random.default_rng(3)
    teacher, X = (rng.normal(size=(2, 2)), np.array([[1.0, -1.5]])), rng.normal(size=(2, 30))
    flow = gf.GradientFlow(gf.Regression(networks.Shallow((2, 2, 1)), X, teacher[1] @ np.tanh(teacher[0] @ X)))
    done = gf.finish(flow, tuple(w + 1e-6 * rng.normal(size=w.shape) for w in teacher))
    assert done.is_certified, done.reason
    assert distance(done.params[0], teacher[0]) <= done.rounding_bound < 1e-12
    assert done.grad_norm <= 4 * done.noise
    assert done.loss <= 1e-28


# --- refusals ---------------------------------------------------------------------------------------------------------

REFUSED = {
    "saddle": ({"uu": 1.0, "vv": 2.0, "zz": -1.0}, [1e-4, 0.0, 1e-9], "no eigenvalue is below"),
    "maximum": ({"uu": -1.0, "vv": -2.0, "zz": -1.0}, [1e-4, 0.0, 1e-9], "no eigenvalue is below"),
    "degenerate minimum": ({"u6": 1.0}, [1e-2, 0.0, 0.0], "the largest eigenvalue"),
    "no curvature at all": ({}, [1e-2, 0.0, 0.0], "the largest eigenvalue"),
    "degenerate valley": ({"vv": 1.0, "zz": 2.0, "u6": 1.0}, [1e-5, 1e-4, 0.0], "belong to a set of minima"),
    "degenerate valley, high up": (
        {"vv": 1.0, "zz": 2.0, "u6": 1.0, "one": 1e13},
        [1e-5, 1e-4, 0.0],
        "belong to a set of minima",
    ),
    "kink": ({"uu": 1.0, "vv": 1.0, "zz": 1.0, "ramp": 1.0}, [0.0, 1e-4, 0.0], "keeps half of its smallest"),
    "too far": ({"uu": 1.0, "vv": 1.0, "zz": 1.0}, [1.0, 0.0, 0.0], "a critical point is near"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_nondegenerate_minimum_nearby_is_refused_by_name(name):
    coefficients, offset, words = REFUSED[name]
    start = CENTRE + offset
    done = gf.finish(family(**coefficients), start, rtol=0.05)
    assert not done.is_certified
    assert words in done.reason
    assert np.array_equal(done.params, start)
    assert done.hypotheses[-1].holds is not True
    assert all(hypothesis.holds for hypothesis in done.hypotheses[:-1])


def test_a_valley_to_infinity_is_refused_even_where_its_slope_is_below_rounding_of_the_gradient():
    flow = gf.GradientFlow(gf.model_problems.escaping_valley().problem)
    for y, words in ((1e2, "a critical point is near"), (1e4, "set of minima"), (1e6, "set of minima")):
        done = gf.finish(flow, np.array([y / (1 + y * y), y]))
        assert not done.is_certified
        assert words in done.reason


def test_a_network_with_kinks_is_finished_inside_its_cone_and_refused_near_a_kink():
    for second, holds in ((0.5, True), (1e-6, False)):
        weights = np.array([[1.0, second]])
        flow = gf.GradientFlow(gf.Regression(networks.Shallow((2, 1, 1), "relu"), np.eye(2), weights))
        done = gf.finish(flow, (weights + np.array([[1e-5, 0.0]]), np.ones((1, 1))), rtol=0.05)
        assert done.is_certified is holds
        assert holds or "kink of the network" in done.reason


def test_runs_backward_and_fields_that_are_no_gradient_and_large_problems_are_refused(monkeypatch):
    class Twice(gf.flow.AbstractFlow):
        problem: gf.Landscape

        def vector_field(self, params):
            return -2.0 * self.problem.gradient(params)

    near = np.array([1.0, 1.00001])
    assert "minus the gradient" in gf.finish(Twice(HYPERBOLA.problem), near).reason
    run = gf.integrate(family(**VALLEY), shifted(0.1, 1e-6, 0.0), 1e-3, progress=False)
    assert gf.finish(family(**VALLEY), run).is_certified
    assert "forward in time" in gf.finish(family(**VALLEY), dataclasses.replace(run, t1=-1e-3)).reason
    broken = dataclasses.replace(run, endpoint=np.full(3, np.nan))
    assert gf.finish(family(**VALLEY), broken).reason == "the endpoint is not finite"
    monkeypatch.setattr(gf.finishing.assessing, "DIRECT_LIMIT", 1)
    assert "at most 1 parameters" in gf.finish(HYPERBOLA, near).reason


def test_wrong_calls_raise():
    with pytest.raises(checks.InputError, match="`flow` must be a flow"):
        gf.finish(HYPERBOLA.problem, np.ones(2))
    with pytest.raises(checks.InputError, match="`flow` must be a flow"):
        gf.integrate_to_limit(HYPERBOLA.problem, np.ones(2))
    with pytest.raises(checks.InputError, match="`rtol` must"):
        gf.finish(HYPERBOLA, np.ones(2), rtol=-1.0)
    with pytest.raises(checks.InputError, match="must be finite"):
        gf.finish(HYPERBOLA, np.array([1.0, np.nan]))
    with pytest.raises(checks.InputError, match="`max_steps` must"):
        gf.integrate_to_limit(HYPERBOLA, np.ones(2), max_steps=0)


# --- what is measured -------------------------------------------------------------------------------------------------


def test_the_hessians_change_is_twice_the_norm_of_the_third_derivative():
    flow, point = family(**VALLEY), shifted(0.1, 0.0, 0.0)
    frame = normal_space.frame_at(point, curvature.quadratic_model(flow.problem, point), 1e-12)
    for away in ([0.0, 1e-4, 0.0], [0.0, 0.0, 0.0]):
        change = surroundings.hessian_change(flow.problem, lambda x: x, frame, np.array(away), 1e-3)
        assert change == pytest.approx(2 * 2 * VALLEY["uvv"] / np.sqrt(3), rel=1e-2)


# --- from a start to the limit ----------------------------------------------------------------------------------------


def test_the_limit_is_met_with_fewer_steps_than_to_the_flows_own_end():
    start = shifted(-0.2, 0.4, 0.3)
    done = gf.integrate_to_limit(family(**VALLEY), start, progress=False)
    alone = gf.integrate(family(**VALLEY), start, progress=False)
    assert done.is_certified, done.reason
    assert done.limit_bound <= done.tolerance == 1e-8 * np.linalg.norm(done.trajectory.endpoint) + 1e-10
    assert (
        done.grad_norm
        <= 4 * done.noise
        < 1e-9
        < gf.curvature.quadratic_model(family(**VALLEY).problem, done.trajectory.endpoint).grad_norm
    )
    assert distance(done.params, valley_limit(start)) <= done.limit_bound + 100 * 1e-8
    assert done.trajectory.num_accepted < 0.8 * alone.num_accepted


def test_what_is_never_certified_is_the_end_that_the_integration_finds():
    saddle, start = family(uu=1.0, vv=1.0, zz=-1.0), shifted(0.3, 0.2, 0.0)
    waiting = gf.integrate_to_limit(saddle, start, progress=False)
    once = gf.integrate(saddle, start, grad_tol=waiting.trajectory.grad_tol, progress=False)
    assert "no eigenvalue is below" in waiting.reason
    assert waiting.trajectory.num_steps == once.num_steps
    assert len(waiting.trajectory.passages) == 1
    flow, start = family(vv=1.0, zz=2.0, u6=1.0), shifted(0.5, 0.1, 0.1)
    short = gf.integrate_to_limit(flow, start, progress=False, max_steps=60)
    assert short.trajectory.status is gf.Status.STEP_LIMIT
    assert short.trajectory.num_steps <= 60 + 512
    assert np.array_equal(short.params, short.trajectory.endpoint)
    assert not short.is_certified
    assert short.reason


def test_two_runs_are_joined_into_one():
    flow, start = family(**VALLEY), shifted(-0.2, 0.4, 0.3)
    first = gf.integrate(flow, start, 0.5, progress=False)
    second = gf.integrate(flow, first.endpoint, 0.7, progress=False)
    whole, both = gf.integrate(flow, start, 1.2, progress=False), joined(first, second)
    assert both.end_time == pytest.approx(1.2)
    assert np.all(np.diff(both.times) > 0)
    assert len(both.times) == len(both.params) == len(both.dissipated)
    assert np.allclose(both.endpoint, whole.endpoint, rtol=1e-7)
    assert both.dissipated[-1] == pytest.approx(whole.dissipated[-1], rel=1e-6)
    assert np.array_equal(both.start, start)
    assert both.num_steps == first.num_steps + second.num_steps
