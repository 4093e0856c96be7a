"""The balancing regulariser of paper 001: its value, its gradient, its deep extension, its refusals."""

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradflow import Regression, checks, networks, regularizers

CASES = json.loads((Path(__file__).parent / "golden" / "papers_000_002.json").read_text())["cases"]
GOLDEN = {case["id"]: case for case in CASES}


def _draw(rng, widths, samples=5):
    layers = tuple(rng.normal(size=shape) for shape in zip(widths[1:], widths[:-1], strict=True))
    return rng.normal(size=(widths[0], samples)), rng.normal(size=(widths[-1], samples)), layers


def _by_hand(layers, strength, gram):
    total, weight = 0.0, gram
    for before, after in itertools.pairwise(layers):
        total += np.sum((after.T @ after - before @ weight @ before.T) ** 2)
        weight = np.eye(before.shape[0])
    return 0.25 * strength * total


def test_reference_case_of_value_and_gradients():
    inputs, expected = GOLDEN["G18"]["inputs"], GOLDEN["G18"]["expected"]
    X, Y, W1, W2 = (np.array(inputs[name]) for name in ("X", "Y", "W1", "W2"))
    term = regularizers.Balance(inputs["mu"], X)
    problem = Regression(networks.Linear((3, 2, 2)), X, Y, regularizer=term)
    first, second = problem.gradient((W1, W2))
    assert_allclose(problem.loss((W1, W2)), expected["g"], rtol=1e-12)
    assert_allclose(4 * term((W1, W2)) / inputs["mu"], expected["rho"], rtol=1e-12)
    assert_allclose(first, expected["grad_W1_g"], rtol=1e-12)
    assert_allclose(second, expected["grad_W2_g"], rtol=1e-12)
    rho = regularizers.Balance(4.0, X).gradient((W1, W2))
    assert_allclose(rho[0], expected["grad_W1_rho"], rtol=1e-12)
    assert_allclose(rho[1], expected["grad_W2_rho"], rtol=1e-12)


@pytest.mark.parametrize("widths", [(3, 2, 4), (2, 3, 3, 2)])
@pytest.mark.parametrize("weighted", [True, False])
def test_value_and_gradient_are_the_formulas(widths, weighted):
    X, _, layers = _draw(np.random.default_rng(1), widths)
    term = regularizers.Balance(0.7, X if weighted else None)
    gram = X @ X.T if weighted else np.eye(widths[0])
    assert_allclose(term(layers), _by_hand(layers, 0.7, gram), rtol=1e-13)
    with jax.enable_x64(True):
        automatic = jax.grad(term)(tuple(jnp.asarray(layer) for layer in layers))
    for written, expected in zip(term.gradient(layers), automatic, strict=True):
        assert_allclose(written, expected, rtol=1e-12, atol=1e-12)


def test_the_samples_are_not_kept():
    X = np.random.default_rng(2).normal(size=(2, 1000))
    leaves = jax.tree.leaves(regularizers.Balance(0.5, X))
    assert sum(np.size(leaf) for leaf in leaves) == 5  # X X^T and the strength


def test_mean_normalization_needs_scaled_inputs():
    X, Y, layers = _draw(np.random.default_rng(3), (3, 2, 2), samples=7)
    scaled, network = X / np.sqrt(7.0), networks.Linear((3, 2, 2))
    mean = Regression(network, X, Y, normalization="mean", regularizer=regularizers.Balance(0.3, scaled))
    same = Regression(network, scaled, Y / np.sqrt(7.0), regularizer=regularizers.Balance(0.3, scaled))
    assert_allclose(mean.loss(layers), same.loss(layers), rtol=1e-13)


@pytest.mark.parametrize("strength", [-1.0, np.nan, np.inf, "strong"])
def test_a_bad_strength_is_refused(strength):
    with pytest.raises(checks.InputError, match="strength"):
        regularizers.Balance(strength)


@pytest.mark.parametrize("X", [np.ones(3), np.array([[1.0, np.nan]]), np.array([["a"]])])
def test_bad_inputs_are_refused(X):
    with pytest.raises(checks.InputError, match="`X`"):
        regularizers.Balance(1.0, X)


@pytest.mark.parametrize(
    "params", [(np.ones((2, 2)),), (np.ones((2, 3)), np.ones((2, 3))), np.ones((2, 2)), (np.ones(2), np.ones(2))]
)
def test_parameters_that_do_not_fit_are_refused_at_the_call(params):
    with pytest.raises(checks.InputError, match="params"):
        regularizers.Balance(1.0)(params)


def test_inputs_of_another_width_are_refused_at_the_call():
    with pytest.raises(checks.InputError, match="4 inputs"):
        regularizers.Balance(1.0, np.ones((4, 2)))((np.ones((2, 3)), np.ones((1, 2))))
