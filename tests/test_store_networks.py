"""Flows of every network of the library come back from a results file bit for bit."""

import jax.numpy as jnp
import numpy as np
import pytest
from example_networks import NETWORKS, params_of, problem_of

import gradflow as gf
from gradflow import activations, regularizers
from gradflow.store import problems

RNG = np.random.default_rng(4)
X, Y = RNG.normal(size=(3, 5)), RNG.normal(size=(3, 5))

REBUILT = {
    "relu": (gf.networks.Shallow((3, 4, 3), "relu"), None),
    "leaky": (gf.networks.Shallow((3, 4, 3), activations.LeakyReLU(1 / 3), "tanh"), regularizers.WeightDecay(0.3)),
    "erf": (gf.networks.Shallow((3, 2, 3), "erf", "softsign"), None),
    "residual": (gf.networks.Residual(3, 2, 2), None),
    "balanced": (gf.networks.Linear((3, 2, 3)), regularizers.Balance(0.7, X)),
    "unweighted": (gf.networks.Linear((3, 2, 2, 3)), regularizers.Balance(0.7)),
}


@pytest.mark.parametrize("name", REBUILT)
def test_a_flow_comes_back_with_the_same_field(name):
    network, regularizer = REBUILT[name]
    flow = gf.GradientFlow(gf.Regression(network, X, Y, regularizer=regularizer))
    dataset = problems.flow_dataset(flow)
    assert dataset.attrs["rebuildable"] == 1
    again = problems.flow_of(dataset)
    params = flow.problem.init(1, scale=0.7)
    assert type(again.problem.network) is type(network)
    for field, other in zip(flow.vector_field(params), again.vector_field(params), strict=True):
        assert np.array_equal(np.asarray(field), np.asarray(other))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_comes_back(name):
    flow = gf.GradientFlow(problem_of(NETWORKS[name]))
    dataset = problems.flow_dataset(flow)
    assert dataset.attrs["rebuildable"] == 1 and dataset.attrs["loss"] == "squared_error"
    again, params = problems.flow_of(dataset), params_of(NETWORKS[name])
    assert again.problem.network == NETWORKS[name]
    for field, other in zip(flow.vector_field(params), again.vector_field(params), strict=True):
        assert np.array_equal(np.asarray(field), np.asarray(other))


def test_a_network_of_ones_own_is_not_in_the_file():
    class Linear(gf.networks.AbstractNetwork):
        @property
        def shapes(self):
            return ((1, 3),)

        def __call__(self, params, inputs):
            return params[0] @ inputs

    dataset = problems.flow_dataset(gf.GradientFlow(problem_of(Linear())))
    assert dataset.attrs["rebuildable"] == 0 and problems.flow_of(dataset) is None


@pytest.mark.parametrize("place", ["hidden", "output"])
def test_an_activation_of_ones_own_is_not_in_the_file(place):
    own = activations.Sigmoid(lambda x: jnp.tanh(2 * x), name="steep")
    network = gf.networks.Shallow((3, 2, 3), *((own, "tanh") if place == "hidden" else ("tanh", own)))
    dataset = problems.flow_dataset(gf.GradientFlow(gf.Regression(network, X, Y)))
    assert dataset.attrs["rebuildable"] == 0
    assert problems.flow_of(dataset) is None
