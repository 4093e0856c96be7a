"""Flow, then finish: the finish arrives at the flow's limit, its bounds hold and are sharp, and it refuses by name."""

import jax.numpy as jnp
import numpy as np
import pytest

import gradflow as gf
from gradflow import checks, networks

HYPERBOLA = gf.GradientFlow(gf.Landscape(lambda p: 0.5 * (p[0] * p[1] - 1.0) ** 2))
MINIMA = ([1.0, 1.0], [2.0, 0.5], [-3.0, -1.0 / 3.0], [0.25, 4.0])
DIRECTIONS = ([1.0, 0.3], [-0.2, 1.0])


def hyperbola_limit(start):
    """The limit of the flow of 1/2 (ab - 1)^2: ab = 1 and b^2 - a^2 as at the start, on the branch of the start."""
    c = start[1] ** 2 - start[0] ** 2
    root = np.sqrt(c * c + 4.0)
    return np.sign(start[0] + start[1]) * np.sqrt([0.5 * (root - c), 0.5 * (root + c)])


def landscape(function):
    return gf.GradientFlow(gf.Landscape(function))


def distance(a, b):
    return float(np.linalg.norm(np.asarray(a) - np.asarray(b)))


# --- continuum of minima: the flow's limit in closed form -------------------------------------------------------------


@pytest.mark.parametrize("minimum", MINIMA)
def test_the_flows_limit_on_a_hyperbola_is_within_the_bound_at_every_closeness(minimum):
    for direction in DIRECTIONS:
        for closeness in (1e-2, 1e-3, 1e-4, 1e-5, 1e-7):
            start = np.array(minimum) + closeness * np.array(direction)
            done = gf.finish(HYPERBOLA, start, rtol=0.05)
            assert done.is_certified, done.reason
            assert distance(done.params, hyperbola_limit(start)) <= done.limit_bound
            assert done.limit_bound <= done.tolerance
            assert done.grad_norm <= 4 * done.noise
            assert done.nullity == 1
            assert done.tangential_displacement <= 1e-3 * done.tangential_bound + 1e-15


def test_bound_and_error_are_second_order_in_the_distance():
    closeness = np.array([1e-2, 1e-3, 1e-4])
    starts = [np.array([2.0, 0.5]) + d * np.array([1.0, 0.3]) for d in closeness]
    ends = [gf.finish(HYPERBOLA, start, rtol=0.05) for start in starts]
    errors = [distance(end.params, hyperbola_limit(start)) for end, start in zip(ends, starts, strict=True)]
    for sizes in (errors, [end.tangential_bound for end in ends]):
        orders = np.diff(np.log(sizes)) / np.diff(np.log(closeness))
        assert np.all(np.abs(orders - 2.0) < 0.1)
    assert all(end.tangential_bound < 5 * error for end, error in zip(ends, errors, strict=True))


def test_the_length_bound_is_at_least_the_length_of_the_way_and_at_most_a_tenth_more():
    start = np.array([2.0, 0.5]) + 1e-3 * np.array([1.0, 0.3])
    done = gf.finish(HYPERBOLA, start, rtol=0.05)
    way = distance(start, hyperbola_limit(start))  # straight to second order
    assert way <= done.length_bound <= 1.1 * way
    a, b = start
    excess, slope = 0.5 * (a * b - 1) ** 2, (a * b - 1) ** 2 * (a * a + b * b)
    assert slope >= 2 * done.dominance * excess
    assert done.displacement + done.length_bound < done.radius


def test_a_tolerance_below_the_bound_is_refused_with_the_state_unchanged():
    start = np.array([2.01, 0.503])
    done = gf.finish(HYPERBOLA, start, rtol=1e-8)
    assert not done.is_certified
    assert np.array_equal(done.params, start)
    assert done.displacement == 0.0
    assert done.tangential_bound > done.tolerance
    assert "the limit is known to" in done.reason


def test_the_bound_holds_in_a_linear_network_whose_limit_is_known_by_its_invariants():
    rng = np.random.default_rng(0)
    problem = gf.Regression(networks.Linear((2, 2, 2)), rng.normal(size=(2, 2)), rng.normal(size=(2, 2)))
    minimum = gf.integrate_to_limit(gf.GradientFlow(problem), problem.init(1), progress=False)
    assert minimum.is_certified
    assert minimum.nullity == 4
    imbalance = lambda w: w[1].T @ w[1] - w[0] @ w[0].T  # noqa: E731
    for closeness in (1e-3, 1e-5):
        start = tuple(w + closeness * rng.normal(size=w.shape) for w in minimum.params)
        done = gf.finish(gf.GradientFlow(problem), start, rtol=0.05)
        assert done.is_certified, done.reason
        # |D(v) - D(w)| <= 2 |v - w| (|v| + |w|) / 2 for the imbalance D, and D is conserved up to the limit
        size = 2.0 * np.sqrt(sum(np.sum(w * w) for w in done.params)) + done.limit_bound
        drift = np.linalg.norm(imbalance(done.params) - imbalance(start))
        assert drift <= size * done.limit_bound
        assert drift >= 1e-4 * size * done.limit_bound
        assert done.grad_norm <= 4 * done.noise


# --- isolated minima --------------------------------------------------------------------------------------------------


def test_an_isolated_minimum_is_reached_to_rounding_from_far():
    flow = landscape(lambda p: jnp.sum(jnp.cosh(jnp.array([1.0, 3.0]) * (p - 1.0)) - 1.0))
    for start in ([1.001, 1.002], [1.0 + 1e-7, 1.0]):
        done = gf.finish(flow, np.array(start))
        assert done.is_certified, done.reason
        assert done.tangential_bound == 0.0
        assert distance(done.params, [1.0, 1.0]) <= done.rounding_bound < 1e-14
        assert done.displacement == pytest.approx(distance(start, [1.0, 1.0]), rel=1e-6)
        assert done.curvature == pytest.approx(1.0)
        assert done.length_bound >= done.displacement


def test_an_isolated_minimum_is_not_certified_from_where_the_curvature_may_have_halved():
    flow = landscape(lambda p: jnp.sum(p**2) / 2 + 100 * p[0] ** 3)
    near, far = (gf.finish(flow, np.array([x, 0.0])) for x in (1e-5, 1e-3))
    assert near.is_certified
    assert not far.is_certified
    assert "keeps half of its smallest" in far.reason


# --- refusals ---------------------------------------------------------------------------------------------------------

REFUSED = {
    "saddle": (lambda p: p[0] ** 2 - p[1] ** 2, [1e-4, 1e-9], "no eigenvalue is below"),
    "maximum": (lambda p: -jnp.sum(p**2), [1e-4, 0.0], "no eigenvalue is below"),
    "quartic": (lambda p: jnp.sum(p**4), [1e-4, 0.0], "the largest eigenvalue"),
    "quartic valley": (lambda p: p[0] ** 2 + p[1] ** 10, [1e-4, 1e-5], "belong to a set of minima"),
    "valley to infinity": (lambda p: p[0] ** 2 / 2 + (1 - p[0] * p[1]) ** 2 / 2, [0.01, 100.0], "a critical point is"),
    "kink": (lambda p: jnp.sum(jnp.maximum(p, 0.0) ** 2 + p**2 / 4), [1e-4, -1e-4], "keeps half of its smallest"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_nondegenerate_minimum_is_refused_by_name(name):
    function, start, words = REFUSED[name]
    done = gf.finish(landscape(function), np.array(start), rtol=0.05)
    assert not done.is_certified
    assert words in done.reason
    assert np.array_equal(done.params, start)
    assert done.hypotheses[-1].holds is not True
    assert all(hypothesis.holds for hypothesis in done.hypotheses[:-1])


def test_the_valley_is_refused_where_its_slope_is_below_rounding_of_the_gradient():
    flow = landscape(REFUSED["valley to infinity"][0])
    for y in (1e4, 1e6):
        done = gf.finish(flow, np.array([y / (1 + y * y), y]))
        assert not done.is_certified
        assert "belong to a set of minima" in done.reason


def test_backward_runs_and_fields_that_are_no_gradient_are_refused():
    run = gf.integrate(HYPERBOLA, np.array([1.0, 1.00001]), -1e-3)
    assert "forward in time" in gf.finish(HYPERBOLA, run).reason

    class Twice(gf.flow.AbstractFlow):
        problem: gf.Landscape

        def vector_field(self, params):
            return -2.0 * self.problem.gradient(params)

    done = gf.finish(Twice(HYPERBOLA.problem), np.array([1.0, 1.00001]))
    assert "minus the gradient" in done.reason


def test_wrong_calls_raise():
    with pytest.raises(checks.InputError, match="`flow` must be a flow"):
        gf.finish(HYPERBOLA.problem, np.ones(2))
    with pytest.raises(checks.InputError, match="`rtol` must"):
        gf.finish(HYPERBOLA, np.ones(2), rtol=-1.0)
    with pytest.raises(checks.InputError, match="must be finite"):
        gf.finish(HYPERBOLA, np.array([1.0, np.nan]))
    with pytest.raises(checks.InputError, match="`max_steps` must"):
        gf.integrate_to_limit(HYPERBOLA, np.ones(2), max_steps=0)
