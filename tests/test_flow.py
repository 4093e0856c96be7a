"""Flows: the two metrics, their coordinates, and what they refuse."""

import numpy as np
import pytest

import gradflow as gf
from gradflow import checks


def _problem(seed=0, **options):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((3, 8)), rng.standard_normal((2, 8))
    weights = tuple(rng.standard_normal(shape) for shape in [(4, 3), (2, 4)])
    return gf.Regression(gf.networks.Linear((3, 4, 2)), X, Y, **options), weights


def test_the_gradient_flow_is_minus_the_gradient():
    problem, weights = _problem()
    for velocity, gradient in zip(
        gf.GradientFlow(problem).vector_field(weights), problem.gradient(weights), strict=True
    ):
        np.testing.assert_array_equal(velocity, -gradient)


def test_reduced_coordinates_keep_the_loss_and_can_be_undone():
    problem, weights = _problem()
    flow = gf.ReducedFlow(problem)
    bar = flow.coordinates(weights)
    np.testing.assert_allclose(flow.problem.loss(bar), problem.loss(weights), rtol=1e-13)
    for back, weight in zip(flow.weights(bar), weights, strict=True):
        np.testing.assert_allclose(back, weight, atol=1e-13)


def test_the_reduced_field_is_the_preconditioned_one_in_original_coordinates():
    """``dW_1/dt = W_2^T (Y - W_2 W_1 X) X^T (X X^T)^{-1}``, ``dW_2/dt = (Y - W_2 W_1 X) X^T W_1^T`` (paper 003)."""
    problem, (first, last) = _problem()
    flow = gf.ReducedFlow(problem)
    residual = problem.Y - last @ first @ problem.X
    expected = (
        last.T @ residual @ problem.X.T @ np.linalg.inv(problem.X @ problem.X.T),
        residual @ problem.X.T @ first.T,
    )
    velocity = flow.weights(flow.vector_field(flow.coordinates((first, last))))
    for ours, theirs in zip(velocity, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_the_two_flows_agree_on_white_inputs():
    problem, weights = _problem()
    white, _ = np.linalg.qr(problem.X.T)
    problem = gf.Regression(problem.network, white.T, problem.Y)
    assert problem.statistics.is_white
    reduced = gf.ReducedFlow(problem)
    velocity = reduced.weights(reduced.vector_field(reduced.coordinates(weights)))
    for ours, theirs in zip(velocity, gf.GradientFlow(problem).vector_field(weights), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_the_reduced_flow_refuses_what_it_is_not_defined_for():
    problem, _ = _problem(regularizer=gf.regularizers.WeightDecay(0.1))
    with pytest.raises(checks.InputError, match="no regulariser"):
        gf.ReducedFlow(problem)
    with pytest.raises(checks.InputError, match="no regulariser"):
        gf.ReducedFlow(gf.Landscape(lambda w: w @ w))
    deficient = gf.Regression(gf.networks.Linear((2, 1)), np.ones((2, 5)), np.arange(5.0))
    with pytest.raises(checks.InputError, match="full row rank 2 for the reduced flow, but got rank 1"):
        gf.ReducedFlow(deficient)


def test_a_flow_wants_a_problem():
    with pytest.raises(checks.InputError, match=r"Wrap a function as gradflow\.Landscape"):
        gf.GradientFlow(lambda w: w)
