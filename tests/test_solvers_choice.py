"""The automatic choice: its rules as a table, its costs as counts, and what it does on flows of each kind."""

import math

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import gradflow as gf
from gradflow.solvers import choosing
from gradflow.solvers.choosing import Situation, better_solver, stages_of, time_to_rest
from gradflow.solvers.costs import factorised_step_cost


def situation(**changes):
    """A stiff flow of few parameters, far from its horizon, followed by Tsit5."""
    usual = {
        "solver": "tsit5", "num_parameters": 2, "rtol": 1e-6, "num_capped": 64, "num_stiff": 64, "step": 1e-3,
        "radius": 0.0, "horizon": 1e6, "to_rest": 1e3, "step_cost": lambda: 20.0,
    }  # fmt: skip
    return Situation(**(usual | changes))


@pytest.mark.parametrize(
    ("changes", "choice"),
    [
        ({}, "radau9"),
        ({"num_parameters": 10}, "radau9"),
        ({"num_parameters": 11}, "rodas5p"),
        ({"num_parameters": 51}, "bdf"),
        ({"num_capped": 63}, None),
        ({"horizon": 1.0}, None),  # a thousand steps ahead are not worth another program
        ({"num_stiff": 0, "to_rest": 0.2}, None),
        ({"num_stiff": 0, "to_rest": 20.0}, "radau9"),
        ({"num_stiff": 0, "to_rest": 2.0}, "radau9"),  # a far horizon, and a rest that is not near
        ({"num_stiff": 0, "to_rest": 2.0, "horizon": 50.0}, None),
        ({"to_rest": 0.2}, None),  # near rest
        ({"horizon": math.inf, "to_rest": math.inf}, None),
        ({"horizon": math.inf, "to_rest": math.inf, "num_capped": 5000}, "radau9"),
        ({"num_parameters": 5000, "step_cost": lambda: 1.0}, "bdf"),
        # With kinks a multistep method would start anew at each: there the costs decide.
        ({"has_kinks": True}, "rodas5p"),
        ({"num_parameters": 300, "has_kinks": True, "step_cost": lambda: 1000.0}, "rodas5p"),
        ({"num_parameters": 600, "has_kinks": True, "step_cost": lambda: 1000.0}, "rkc2"),
        ({"num_parameters": 600, "has_kinks": True, "step_cost": lambda: 10.0}, "rodas5p"),
        ({"num_parameters": 600, "has_kinks": True, "rtol": 1e-9, "step_cost": lambda: 25.0}, "rodas5p"),
        ({"num_parameters": 5000, "has_kinks": True, "step_cost": lambda: 1.0}, "rkc2"),
        ({"solver": "rkc2", "num_parameters": 300, "radius": 10.0, "step": 0.5}, None),
        ({"solver": "rkc2", "num_parameters": 300, "radius": 10.0, "step": 100.0}, "rodas5p"),
        ({"solver": "rkc2", "num_parameters": 5000, "radius": 10.0, "step": 1e6}, None),
        ({"solver": "rodas5p"}, None),
        ({"solver": "radau9"}, None),
        ({"solver": "bdf", "num_parameters": 300}, None),
    ],
)
def test_the_rules(changes, choice):
    found = better_solver(situation(**changes))
    assert (found and found[0]) == choice
    assert found is None or "stability" in found[1] or "stages" in found[1]


def test_time_to_rest_is_exact_for_an_exponential_and_infinite_where_nothing_falls():
    assert time_to_rest(math.exp(-2.0), 1.0, 1.0, math.exp(-10.0)) == pytest.approx(4.0)
    assert time_to_rest(1.0, 0.5, 1.0, 1e-3) == math.inf and time_to_rest(1e-4, 1.0, 1.0, 1e-3) == 0.0


def test_stages_are_those_of_the_solver():
    from gradflow.solvers.stabilised import RKC2

    for stages in (5, 20, 100):
        assert stages_of(float(RKC2().stability_interval(stages))) == pytest.approx(stages, rel=0.05)
    assert stages_of(0.0) == 2.0


def test_a_cheap_jacobian_costs_less_and_the_count_repeats():
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(10, 150)), rng.normal(size=(5, 150))
    network = gf.networks.Shallow((10, 20, 5))
    plain = gf.Regression(network, inputs, targets)
    automatic = gf.Regression(network, inputs, targets, loss=lambda y, t: 0.5 * ((y - t) ** 2).sum())
    start = plain.init(0)
    with jax.enable_x64(True):
        costs = [factorised_step_cost(gf.GradientFlow(problem), start) for problem in (plain, automatic, plain)]
    assert 8 < costs[0] == costs[2] < 0.5 * costs[1]


def test_a_valley_is_followed_to_the_end_by_a_stiff_solver_and_the_reason_is_told():
    valley = gf.GradientFlow(gf.model_problems.escaping_valley().problem)
    run = gf.integrate(valley, np.array([0.5, 0.5]), 1e8, rtol=1e-8, save_at=[1e8])
    assert run.solver == "Radau9" and run.num_accepted < 1500
    assert "limited by stability" in run.solver_reason and "more ahead" in run.solver_reason
    assert run.endpoint[1] == pytest.approx(141.414282, abs=1e-6)


def test_a_bowl_of_many_rates_is_followed_to_its_rest_by_the_multistep_method():
    rates = np.geomspace(1e-6, 1e3, 200)
    bowl = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * jax.numpy.sum(rates * w**2)))
    run = gf.integrate(bowl, np.ones(200), 1e6, rtol=1e-4, atol=1e-6, save_at=[1e6])
    assert run.solver == "BDF" and "limited by stability" in run.solver_reason
    np.testing.assert_allclose(run.endpoint, np.exp(-1e6 * rates), rtol=0, atol=1e-3)


def test_an_ordinary_flow_keeps_the_explicit_solver():
    problem = gf.Regression(gf.networks.Linear((2, 2, 2)), np.eye(2), np.diag([2.0, 1.0]))
    run = gf.integrate(gf.GradientFlow(problem), problem.init(0))
    assert run.solver == "Tsit5" and run.solver_reason == "explicit order 5, the default"


@pytest.mark.parametrize("activation", ["tanh", "relu_squared", "prelu"])
def test_the_hessian_of_one_hidden_layer_is_that_of_automatic_differentiation(activation):
    rng = np.random.default_rng(1)
    problem = gf.Regression(
        gf.networks.Shallow((3, 4, 2), activation), rng.normal(size=(3, 7)), rng.normal(size=(2, 7)),
        normalization="mean", regularizer=gf.regularizers.WeightDecay(0.1),
    )  # fmt: skip
    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(jax.tree.map(jax.numpy.asarray, problem.init(0)))
        expected = np.asarray(jax.hessian(lambda vector: problem.loss(unravel(vector)))(flat))
    found = np.asarray(problem.hessian(problem.init(0)))
    assert np.allclose(found, expected, rtol=0, atol=1e-14 * np.abs(expected).max())


def test_the_thresholds_are_ordered():
    assert (
        choosing.COUPLED_PARAMETERS < choosing.FEW_PARAMETERS < choosing.KINKED_PARAMETERS < choosing.DENSE_PARAMETERS
    )
