"""What is no state of the network, or one whose products overflow, is refused by every family in one sentence."""

import numpy as np
import pytest

import gradflow as gf
from gradflow import checks
from gradflow.critical_sets import balanced, deep_linear, minimisers, relu_cones, shallow_linear

RNG = np.random.default_rng(2)
X, Y = RNG.normal(size=(2, 5)), RNG.normal(size=(2, 5))
LINEAR = gf.Regression(gf.networks.Linear((2, 2, 2)), X, Y)
FAMILIES = {
    "shallow_linear": (shallow_linear.decompose, LINEAR),
    "deep_linear": (deep_linear.decompose, gf.Regression(gf.networks.Linear((2, 2, 2, 2)), X, Y)),
    "recognise": (deep_linear.recognise, LINEAR),
    "relu_cones": (relu_cones.decompose, gf.Regression(gf.networks.Shallow((2, 2, 2), "relu"), X, Y)),
    "balanced": (
        balanced.decompose,
        gf.Regression(gf.networks.Linear((2, 2, 2)), X, Y, regularizer=gf.regularizers.Balance(1.0, X)),
    ),
    "minimisers": (minimisers.residual.decompose, gf.Regression(gf.networks.Residual(2, 2), X[:, :2], Y[:, :2])),
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("params", [None, 3.0, np.zeros(4), (), ("a", "b")], ids=str)
def test_what_is_no_state_is_refused(name, params):
    decompose, problem = FAMILIES[name]
    with pytest.raises(checks.InputError, match=r"`params(\[0\])?` must"):
        decompose(problem, params)


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_whose_products_overflow_are_refused(name):
    decompose, problem = FAMILIES[name]
    with pytest.raises(checks.InputError, match="so that products of layers are numbers"):
        decompose(problem, tuple(np.full(shape, 1e160) for shape in problem.network.shapes))


def test_nested_lists_are_matrices():
    lists = [[1.0, 0.0], [0.0, 1.0]]
    found = deep_linear.recognise(LINEAR, (lists, lists))
    assert found == deep_linear.recognise(LINEAR, (np.eye(2), np.eye(2)))


def test_classify_calls_huge_weights_undetermined_and_raises_nothing():
    problem = FAMILIES["relu_cones"][1]
    huge = tuple(np.full(shape, 1e160) for shape in problem.network.shapes)
    assert gf.classify(problem, huge).kind in ("undetermined", "not_critical")
