"""Activations against quadrature, automatic differentiation and each other."""

import inspect
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from gradflow import activations, checks
from gradflow.activations import LeakyReLU, Sigmoid

GOLDEN = json.loads((Path(__file__).parent / "golden" / "paper_003.json").read_text())["cases"]
POINTS = np.array([-3.0, -1.0, -0.3, -0.01, 1e-4, 0.05, 0.3, 1.0, 2.5, 5.0])
NAMED = {name: activations.get(name) for name in activations.NAMES}
SIGMOIDS = [name for name, sigma in NAMED.items() if sigma.is_injective and math.isfinite(sigma.range[1])]

every = pytest.mark.parametrize("name", activations.NAMES)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def test_every_activation_has_a_name_that_finds_it():
    classes = [value for value in vars(activations).values() if inspect.isclass(value)]
    final = {cls for cls in classes if issubclass(cls, activations.AbstractActivation) and not inspect.isabstract(cls)}
    assert {type(sigma) for sigma in NAMED.values()} == final - {Sigmoid}
    assert all(type(activations.get(sigma.name.partition("(")[0])) is type(sigma) for sigma in NAMED.values())


@pytest.mark.parametrize("name", [name for name, sigma in NAMED.items() if sigma.is_injective])
def test_the_potential_is_the_integral_of_value_over_derivative(name):
    sigma = activations.get(name)
    quotient = lambda u: float(sigma(jnp.asarray(u)) / sigma.derivative(jnp.asarray(u)))  # noqa: E731
    expected = [integrate.quad(quotient, 0, x, epsabs=0, epsrel=1e-13, limit=200)[0] for x in POINTS]
    np.testing.assert_allclose(sigma.potential(POINTS), expected, rtol=1e-12)


@every
def test_the_derivative_is_that_of_the_value(name):
    sigma = activations.get(name)
    np.testing.assert_allclose(sigma.derivative(POINTS), jax.vmap(jax.grad(sigma))(jnp.asarray(POINTS)), atol=1e-15)


@every
def test_the_inverse_undoes_the_value_or_is_refused(name):
    sigma = activations.get(name)
    if not sigma.is_injective:
        with pytest.raises(checks.InputError, match="must be injective"):
            sigma.inverse(jnp.asarray(0.5))
        return
    inside = np.array([-2.0, -0.5, 1e-3, 1.0])
    np.testing.assert_allclose(sigma.inverse(sigma(inside)), inside, rtol=1e-12)
    low, high = sigma.range
    if math.isfinite(high):
        assert np.isnan(sigma.inverse(np.array([low, high, 2 * high]))).all()


@every
def test_without_an_inverse_or_homogeneity_there_is_no_potential(name):
    sigma = activations.get(name)
    if not sigma.is_injective and sigma.homogeneity is None:
        assert np.isnan(sigma.potential(POINTS)).all()


@every
def test_homogeneity_oddness_and_range_are_those_of_the_value(name):
    sigma = activations.get(name)
    powers = sigma(2 * POINTS) ** 2, sigma(POINTS) * sigma(4 * POINTS)
    assert np.allclose(*powers, rtol=1e-12, atol=0) == (sigma.homogeneity is not None)
    if sigma.homogeneity is not None:
        np.testing.assert_allclose(sigma(3 * POINTS), 3**sigma.homogeneity * sigma(POINTS), rtol=1e-14)
        np.testing.assert_allclose(sigma.potential(POINTS), POINTS**2 / (2 * sigma.homogeneity), rtol=1e-14)
    assert sigma.is_odd == bool(np.allclose(sigma(-POINTS), -sigma(POINTS), rtol=1e-15, atol=0))
    values = np.asarray(sigma(np.linspace(-50, 50, 1001)))
    assert (values >= sigma.range[0]).all() and (values <= sigma.range[1]).all()
    ends = np.asarray(sigma(np.array([-1e9, 1e9])))
    for end, found, reached in zip(sigma.range, (values.min(), values.max()), ends, strict=True):
        assert min(abs(reached - end), abs(found - end)) < 1e-2 if math.isfinite(end) else abs(reached) > abs(found)
    if name in SIGMOIDS:
        np.testing.assert_allclose(ends, sigma.range, rtol=1e-8)


@every
def test_an_activation_says_that_it_is_injective_exactly_when_it_increases(name):
    sigma = activations.get(name)
    assert sigma.is_injective == bool((np.diff(sigma(np.linspace(-3.0, 3.0, 61))) > 0).all())


@every
def test_only_sigmoids_of_definition_2_say_they_are(name):
    """The second derivative at 0 from either side, by differences: that of softsign jumps from 2 to -2."""
    sigma, h = activations.get(name), 1e-5
    slopes = np.asarray(sigma.derivative(np.array([-2 * h, -h, h, 2 * h])))
    is_smooth = abs((slopes[3] - slopes[2]) - (slopes[1] - slopes[0])) < 0.1 * h
    is_between = bool((POINTS * sigma(POINTS) > 0).all()) and all(map(math.isfinite, sigma.range))
    assert sigma.is_sigmoid == (is_smooth and is_between and bool((sigma.derivative(POINTS) > 0).all()))


@every
def test_the_derivative_jumps_at_the_kinks_and_nowhere_else(name):
    sigma = activations.get(name)
    for x in (-1.0, 0.0, 0.5):
        jump = float(sigma.derivative(jnp.asarray(x + 1e-9)) - sigma.derivative(jnp.asarray(x - 1e-9)))
        assert (abs(jump) > 0.1) == (x in sigma.kinks)


@pytest.mark.parametrize("name", SIGMOIDS)
def test_every_potential_of_a_sigmoid_starts_as_half_the_square(name):
    x = np.array([1e-7, -1e-5])
    np.testing.assert_allclose(activations.get(name).potential(x), 0.5 * x**2, rtol=1e-4)


@pytest.mark.parametrize("name", SIGMOIDS)
def test_the_logarithm_of_the_potential_is_its_logarithm(name):
    sigma = activations.get(name)
    x = np.array([1e-3, -0.5, 4.0, 19.99, 20.01])
    np.testing.assert_allclose(sigma.log_potential(x), np.log(sigma.potential(x)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [("tanh", 400.0, 800 - 3 * math.log(2)), ("logistic", -800.0, 800 - math.log(2))],
)
def test_a_potential_beyond_all_numbers_is_infinite_and_its_logarithm_right(name, x, expected):
    sigma = activations.get(name)
    assert sigma.potential(jnp.asarray(x)) == math.inf
    assert float(sigma.log_potential(jnp.asarray(x))) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name", ["tanh", "arctan", "logistic", "erf"])
def test_g28_the_potentials_of_paper_003(name):
    (case,) = [case for case in GOLDEN if case["id"] == "G28_Sigma_values"]
    x = np.array([float(entry) for entry in case["inputs"]["x"]])
    expected = case["expected"]["logistic_minus_half" if name == "logistic" else name]
    np.testing.assert_allclose(activations.get(name).potential(x), expected, rtol=1e-12)


def test_a_sigmoid_of_ones_own_is_what_it_is_the_function_of():
    own, known = Sigmoid(jnp.tanh, "mine"), activations.get("tanh")
    x = np.array([-7.0, -0.5, 1e-3, 2.0])
    assert (own.name, own.is_sigmoid, own.range) == ("mine", True, (-1.0, 1.0))
    np.testing.assert_allclose(own.potential(x), known.potential(x), rtol=1e-9)
    np.testing.assert_allclose(own.inverse(own(x[1:])), x[1:], rtol=1e-12)
    assert np.isnan(own.inverse(np.array([1.0, -1.5]))).all()


def test_a_potential_whose_derivative_has_lost_its_digits_is_not_known():
    assert np.isnan(Sigmoid(jnp.tanh).potential(np.array([20.0]))).all()
    closed = Sigmoid(jnp.tanh, potential=lambda x: 0.5 * jnp.sinh(x) ** 2, inverse=jnp.arctanh)
    assert np.isfinite(closed.potential(np.array([20.0]))).all()
    assert float(closed.inverse(jnp.asarray(0.5))) == pytest.approx(math.atanh(0.5), rel=1e-15)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: jnp.tanh(x) + 0.1, r"\(s1\), x sigma\(x\) > 0 off 0, but got a violation at x = -0\.1"),
        (lambda x: jnp.tanh(x) + 0.2 * jnp.sin(x), r"\(s2\), sigma' > 0"),
        (lambda x: x, r"\(s3\), finite limits.*LeakyReLU"),
        (jnp.log, "be finite"),
        (3.0, "be callable"),
    ],
)
def test_what_is_no_sigmoid_is_refused_with_the_condition_that_fails(function, message):
    with pytest.raises(checks.InputError, match=message):
        Sigmoid(function)


def test_names_are_looked_up_and_typos_answered():
    assert activations.get(LeakyReLU(0.3)).name == "leaky_relu(0.3)"
    assert activations.get("relu").name == "relu"
    with pytest.raises(checks.InputError, match="Perhaps you meant 'tanh'"):
        activations.get("tahn")
    with pytest.raises(checks.InputError, match=r"gradflow\.activations\.Sigmoid"):
        activations.get(jnp.tanh)
    with pytest.raises(checks.InputError, match="`slope` must be at least 0"):
        LeakyReLU(-0.1)


@every
def test_applied_has_the_written_derivative(name):
    sigma = activations.get(name)
    slopes = jax.vmap(jax.grad(lambda x: activations.applied(sigma, x)))(jnp.asarray(POINTS))
    np.testing.assert_array_equal(slopes, sigma.derivative(jnp.asarray(POINTS)))


def test_the_tail_of_tanh_keeps_its_slope():
    slope = jax.grad(lambda x: activations.applied(activations.get("tanh"), x))(18.0)
    assert float(slope) == pytest.approx(4 * math.exp(-36.0), rel=1e-12)
