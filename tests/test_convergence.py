"""Observed rates against laws in closed form, against flows with known rates, and where they must stay unnamed."""

import re

import constructed_points
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import gradflow as gf
from gradflow import checks, curvature
from gradflow.convergence import MAX_EXPONENT, MISFIT, observed_rate

pytestmark = pytest.mark.usefixtures("quiet")


DIGITS_TAIL = [
    (726.24, 2.5774e-3), (744.45, 1.5242e-3), (762.66, 9.2292e-4), (780.86, 5.8103e-4), (799.07, 3.7943e-4),
    (817.74, 2.5203e-4), (837.97, 1.6507e-4), (860.14, 1.0537e-4), (884.77, 6.4689e-5), (912.43, 3.7722e-5),
    (943.85, 2.0613e-5), (979.90, 1.0399e-5), (1021.6, 4.7651e-6), (1069.9, 1.9527e-6), (1125.7, 7.0918e-7),
    (1181.5, 2.6172e-7), (1237.2, 9.7997e-8), (1293.0, 3.7172e-8), (1348.7, 1.4264e-8), (1404.4, 5.5294e-9),
    (1460.1, 2.1627e-9), (1515.8, 8.5254e-10), (1571.5, 3.3834e-10), (1627.1, 1.3506e-10), (1682.8, 5.4186e-11),
    (1738.5, 2.1833e-11), (1794.1, 8.8293e-12), (1849.8, 3.5818e-12), (1905.4, 1.4570e-12), (1961.0, 5.9400e-13),
    (2016.7, 2.4264e-13), (2072.3, 9.9282e-14), (2127.9, 4.0690e-14),
]  # fmt: skip


def mixture(rng, lowest_amplitude, noise):
    """Times, a sum of 2 to 6 decaying exponentials and their rates, slowest first, over a decade."""
    count = int(rng.integers(2, 7))
    slowest = 10.0 ** rng.uniform(-3, 3)
    rates = slowest * np.concatenate([[1.0], 10.0 ** rng.uniform(0, 1, size=count - 1)])
    amplitudes = lowest_amplitude ** rng.uniform(0, 1, size=count)
    size = int(rng.integers(40, 250))
    unit = np.unique(rng.uniform(0, 1, size=size)) if rng.random() < 0.3 else np.linspace(0, 1, size)
    times = 40.0 / slowest * unit
    excess = np.exp(-np.outer(times, rates)) @ amplitudes
    return times, excess * np.exp(noise * rng.normal(size=len(times))), np.sort(rates)


# --- exponentials -----------------------------------------------------------------------------------------------------


@given(
    rate=st.floats(1e-8, 1e8),
    amplitude=st.floats(1e-12, 1e6),
    origin=st.floats(-1.0, 1.0),
    size=st.integers(12, 400),
)
@settings(max_examples=30)
def test_an_exponential_is_recovered_to_rounding(rate, amplitude, origin, size):
    times = (origin + np.linspace(0, 25, size)) / rate
    result = observed_rate(times, amplitude * np.exp(-rate * (times - times[0])))
    assert result.law == "exponential" and np.isnan(result.exponent)
    assert result.rate == pytest.approx(rate, rel=1e-12)
    assert result.standard_error <= 1e-12 * rate
    assert result.window == (times[0], times[-1])


@pytest.mark.parametrize("ratio", [1.3, 2.0, 3.0, 10.0])
@pytest.mark.parametrize("share", [0.5, 0.05])
def test_of_two_exponentials_the_slower_is_reported_within_the_error(ratio, share):
    times = np.linspace(0, 30, 120)
    result = observed_rate(times, (1 - share) * np.exp(-ratio * times) + share * np.exp(-times))
    assert result.law == "exponential"
    assert abs(result.rate - 1.0) <= 3 * result.standard_error <= 0.15


def test_the_limit_of_a_settling_rate_is_nearer_than_the_rate_on_the_tail():
    # log e = -t + b exp(-k t) is the model itself
    times = np.linspace(0, 30, 200)
    result = observed_rate(times, np.exp(-times + 0.3 * np.exp(-0.1 * times)))
    assert result.rate == pytest.approx(1.0, rel=1e-9)
    # the remaining way is part of the error although the model fits exactly
    tail = times[times > 15]
    remaining = np.polyfit(tail, tail - 0.3 * np.exp(-0.1 * tail), 1)[0] - 1.0
    assert result.standard_error == pytest.approx(remaining, rel=0.05)
    assert "settling" in result.reason


@pytest.mark.parametrize(("lowest_amplitude", "noise", "closest"), [(0.1, 1e-4, 0.03), (1e-3, 1e-6, 0.05)])
def test_three_standard_errors_cover_the_slowest_rate_of_random_mixtures(lowest_amplitude, noise, closest):
    decided, missed = 0, 0
    for seed in range(200):
        times, excess, rates = mixture(np.random.default_rng(seed), lowest_amplitude, noise)
        result = observed_rate(times, excess)
        assert result.law != "power"
        decided += result.law == "exponential"
        error = abs(result.rate - rates[0])
        if error > 3 * result.standard_error:
            missed += 1
            # hidden, not misread: the two slowest do not come apart within the window
            assert rates[1] - rates[0] < closest * rates[0] and error < closest * rates[0]
    assert decided >= 185
    assert missed <= 0.03 * decided


def test_the_error_of_a_noisy_exponential_is_that_of_least_squares():
    times = np.linspace(0, 20, 150)
    deviations = []
    for seed in range(60):
        noise = 1e-2 * np.random.default_rng(seed).normal(size=len(times))
        result = observed_rate(times, np.exp(-0.5 * times + noise))
        assert result.law == "exponential"
        deviations.append((result.rate - 0.5) / result.standard_error)
    # the error also holds the difference of two fits, so it is larger than least squares alone
    assert 0.2 < np.std(deviations) < 1.2
    assert np.max(np.abs(deviations)) < 4


# --- power laws -------------------------------------------------------------------------------------------------------


@given(exponent=st.floats(0.3, 6.0), age=st.floats(1e-3, 1e3), decades=st.floats(3.0, 9.0))
@example(exponent=1.0, age=1.0, decades=4.0)
@example(exponent=2.0, age=1.0, decades=4.0)
@settings(max_examples=30)
def test_a_power_law_is_recovered_whatever_its_origin(exponent, age, decades):
    times = age * (10.0 ** np.linspace(0, decades, 120) - 1)
    result = observed_rate(times, (1 + times / age) ** -exponent)
    # the fall is at least 20 (MIN_DECAY) on every window
    if exponent * decades * np.log(10) > 4:
        assert result.law == "power" and np.isnan(result.rate)
        assert result.exponent == pytest.approx(exponent, rel=1e-6)
        assert result.standard_error <= 1e-6 * exponent


def test_three_standard_errors_cover_the_exponent_of_laws_with_corrections():
    # (1 + t)^-p (1 + c (1 + t)^-1/2): the origin cannot absorb the correction
    for seed in range(40):
        rng = np.random.default_rng(seed)
        exponent, correction = rng.uniform(0.5, 4), rng.uniform(-0.5, 0.5)
        since = np.geomspace(1, 10.0 ** rng.uniform(4, 8), 150)
        result = observed_rate(since - 1, since**-exponent * (1 + correction * since**-0.5))
        assert result.law == "power"
        assert abs(result.exponent - exponent) <= 3 * result.standard_error


def test_after_a_change_of_the_exponent_the_later_one_is_reported():
    since = np.geomspace(1, 1e6, 400)
    result = observed_rate(since, np.where(since < 100, since**-1.5, 10.0**0.9 * since**-1.95))
    assert result.law == "power"
    assert abs(result.exponent - 1.95) <= 3 * result.standard_error
    # the free origin absorbs the last stretch before the change
    assert result.window[0] > 50


# --- noise, units -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", ["exponential", "power"])
def test_what_lies_below_the_noise_is_not_used(law):
    rng = np.random.default_rng(0)
    times = np.linspace(0, 60, 300) if law == "exponential" else np.geomspace(1, 1e9, 300)
    exact = np.exp(-times) if law == "exponential" else times**-2.0
    noisy = exact + 1e-15 * rng.normal(size=len(times))
    result = observed_rate(times, noisy)
    # the default floor is 1e-13 of the largest excess
    assert result.law == law
    assert exact[times == result.window[1]][0] >= 0.9e-13
    value = result.rate if law == "exponential" else result.exponent / 2
    assert abs(value - 1) <= 3 * result.standard_error <= 0.01


def test_a_larger_noise_ends_the_window_earlier():
    times = np.linspace(0, 30, 301)
    result = observed_rate(times, np.exp(-times) + 1e-7, noise=1e-5)
    assert result.window[1] == pytest.approx(11.5, abs=0.1)
    assert abs(result.rate - 1) <= 3 * result.standard_error


def test_the_window_ends_before_the_first_value_that_is_no_number():
    times = np.linspace(0, 20, 101)
    for broken in (np.nan, np.inf, -1.0):
        excess = np.exp(-times)
        excess[61] = broken
        assert observed_rate(times, excess).window == (0.0, times[60])


@given(time_unit=st.floats(1e-6, 1e6), loss_unit=st.floats(1e-6, 1e6), shift=st.floats(-10.0, 10.0))
@settings(max_examples=15)
def test_rates_scale_with_the_units_and_ignore_the_origin_of_time(time_unit, loss_unit, shift):
    times, excess, _ = mixture(np.random.default_rng(3), 0.1, 1e-6)
    result, other = observed_rate(times, excess), observed_rate(time_unit * (times + shift), loss_unit * excess)
    assert other.law == result.law == "exponential"
    assert other.rate * time_unit == pytest.approx(result.rate, rel=1e-6)
    assert other.standard_error * time_unit == pytest.approx(result.standard_error, rel=1e-3)


# --- flows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("degree", "exponent"), [(4, 2.0), (6, 1.5)])
def test_the_flow_of_a_degenerate_well_decays_like_its_power(degree, exponent):
    # x' = -p x^(p-1): x^(2-p) = x_0^(2-p) + p (p-2) t, so the loss x^p falls like t^(-p/(p-2))
    flow = gf.GradientFlow(gf.Landscape(lambda x: x[0] ** degree))
    times = np.concatenate([[0.0], np.geomspace(1e-2, 1e8, 120)])
    run = gf.integrate(flow, np.array([0.9]), t1=1e8, rtol=1e-9, atol=1e-14, grad_tol=1e-30, save_at=times)
    result = observed_rate(run.times, run.params[:, 0] ** degree)
    assert result.law == "power"
    assert abs(result.exponent - exponent) <= 3 * result.standard_error + 1e-6
    assert result.standard_error <= 0.01 * exponent


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_rate_of_a_flow_is_twice_the_lowest_positive_eigenvalue_at_its_limit(seed):
    # near a nondegenerate manifold of minima, loss - limit = sum of c_i exp(-2 lambda_i t)
    rng = np.random.default_rng(seed)
    problem = constructed_points.problem(rng, (3, 3, 3, 2))
    params0 = tuple(rng.normal(size=shape) for shape in problem.network.shapes)
    run = gf.integrate(gf.GradientFlow(problem), params0, rtol=1e-8, atol=1e-11)
    point = gf.classify(problem, run.endpoint)
    assert point.kind == "global_minimum"
    excess = [problem.loss(tuple(layer[row] for layer in run.params)) - point.loss for row in range(len(run.times))]
    result = observed_rate(run.times, np.array(excess), noise=1e-14 * excess[0])
    eigenvalues = curvature.spectrum(problem, point.params)
    lowest = float(eigenvalues[eigenvalues > 1e-9 * eigenvalues[-1]][0])
    assert result.law == "exponential"
    assert abs(result.rate - 2 * lowest) <= 3 * result.standard_error
    assert result.standard_error <= 0.05 * result.rate


def test_the_tail_of_the_digits_run_is_an_exponential_with_the_rate_of_its_hessian():
    # Linear network 64-32-16-10 on whitened digits: (time, excess) of its record from the last saddle on. The lowest
    # positive eigenvalue of the Hessian at its limit is 0.00792231.
    times, excess = np.array(DIGITS_TAIL).T
    result = observed_rate(times, excess)
    assert result.law == "exponential"
    assert abs(result.rate - 2 * 0.00792231) <= 3 * result.standard_error
    assert result.standard_error <= 0.05 * result.rate


# --- left undecided ---------------------------------------------------------------------------------------------------


T = np.linspace(0, 30, 200)
WIDE = np.geomspace(1, 1e6, 200)


@pytest.mark.parametrize(
    ("times", "excess", "reason"),
    [
        (T[:7], np.exp(-T[:7]), "only 7 points"),
        (T, np.zeros(200), "only 0 points"),
        (T, np.full(200, np.nan), "only 0 points"),
        (T, np.ones(200), "falls by less than a factor 20"),
        (T, np.exp(T), "only 0 points"),
        (T, np.exp(-0.05 * T), "falls by less than a factor 20"),
        (T, np.exp(-4 * np.sqrt(T)), "has not settled"),
        (T, np.exp(-0.03 * T**2), "factor 20|law fits|settled|changes"),
        (T, np.exp(-T + 0.5 * np.sin(2 * T)), "neither law fits"),
        (WIDE[:134], WIDE[:134] ** -2 * np.exp(-3e-5 * WIDE[:134]), "exponent changes"),
        (WIDE, np.log(WIDE + 1) ** -8, "exponent changes|law fits|settled|changes"),
        (T[::20], np.exp(-4 * np.sqrt(T[::20])), "shorter windows have fewer than 8 points"),
        (T[:9], np.exp(-np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 20.0])), "later half of the decay has fewer"),
        (T, np.exp(-T / 6 + 0.5 * np.sin(2 * T)), "tail falls"),
    ],
    ids=["short", "zero", "nan", "constant", "growing", "slow", "stretched", "accelerating", "oscillating",
         "tempered", "logarithmic", "sparse", "sudden", "swinging"],
)  # fmt: skip
def test_what_follows_no_law_stays_undetermined(times, excess, reason):
    result = observed_rate(times, excess)
    assert result.law == "undetermined"
    assert np.isnan([result.rate, result.exponent, result.standard_error]).all()
    assert re.search(reason, result.reason)


@pytest.mark.parametrize("exponent", [8.0, 15.0, MAX_EXPONENT * 1.2, 60.0])
def test_a_steep_power_law_is_no_exponential(exponent):
    result = observed_rate(WIDE, WIDE**-exponent, noise=0.0)
    assert result.law != "exponential"
    short = WIDE**0.1  # a factor 4 in time
    assert observed_rate(short, short**-exponent, noise=0.0).law != "exponential"


def test_a_misfit_beyond_the_limit_is_refused():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=len(T))
    assert observed_rate(T, np.exp(-T + 0.5 * MISFIT * noise)).law == "exponential"
    assert observed_rate(T, np.exp(-T + 2.0 * MISFIT * noise)).law == "undetermined"


# --- wrong calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "excess", "message"),
    [
        (T, np.ones(3), r"`excess` must have the shape \(200,\) of `times`, but got \(3,\)"),
        (np.zeros(4), np.ones(4), "`times` must increase strictly"),
        (T[::-1], np.ones(200), "`times` must increase strictly"),
        (np.array([0.0, np.nan]), np.ones(2), "`times`"),
    ],
)
def test_wrong_calls_are_refused(times, excess, message):
    with pytest.raises(checks.InputError, match=message):
        observed_rate(times, excess)


def test_a_negative_noise_is_refused():
    with pytest.raises(checks.InputError, match="`noise` must be at least 0"):
        observed_rate(T, np.exp(-T), noise=-1.0)
