"""Endpoints that closed-form theory names where the Hessian has flat directions, and points on kinks."""

import numpy as np
import pytest

import gradflow as gf
from gradflow.critical_points import families
from gradflow.critical_sets import balanced, relu_cones

TWO = np.eye(2), np.diag([2.0, 1.0])


def _relu(X, Y, num_units=1):
    return gf.Regression(gf.networks.Shallow((X.shape[0], num_units, Y.shape[0]), "relu"), X, Y)


def _balanced_problem(num_hidden=2):
    rng = np.random.default_rng(5)
    X, Y = rng.normal(size=(3, 8)), rng.normal(size=(3, 8))
    network = gf.networks.Linear((3, num_hidden, 3))
    return gf.Regression(network, X, Y, regularizer=gf.regularizers.Balance(0.5, X))


def test_near_a_balanced_global_minimum_the_point_is_named_and_not_degenerate():
    problem = _balanced_problem()
    best = balanced.enumerate(problem)[0]
    rng = np.random.default_rng(0)
    near = tuple(layer + 1e-6 * rng.normal(size=layer.shape) for layer in balanced.sample(problem, best, 3))
    point = gf.classify(problem, near)
    assert point.kind == "global_minimum", point.reason
    assert point.loss == pytest.approx(balanced.global_value(problem), rel=1e-9)
    assert point.nullity == best.nullity > 0


def test_every_class_with_a_balancing_term_is_named_as_theory_has_it():
    problem = _balanced_problem()
    for member in balanced.enumerate(problem):
        point = gf.classify(problem, balanced.construct(problem, member.pattern["counts"]))
        expected = "global_minimum" if member.category == "global" else "strict_saddle"
        assert (point.kind, point.index, point.nullity) == (expected, member.index, member.nullity)


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ((2.0, -1.0), (1.0, 0.0), "global_minimum"),
        ((-1.0, 1.0), (0.0, 1.0), "spurious_minimum"),
        ((-1.0, -1.0), (0.3, 0.2), "degenerate"),
        ((0.0, 1.0), (0.0, 1.0), "undetermined"),
    ],
    ids=["global", "spurious", "plateau", "kink"],
)
def test_critical_points_of_example_1_are_named(first, second, kind):
    point = gf.classify(_relu(*TWO), (np.array([first]), np.array(second)[:, None]))
    assert point.kind == kind, point.reason


def test_a_critical_point_of_a_piece_that_is_none_of_the_loss_is_called_so():
    X, Y = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]), np.array([[1.0, 2.0, 0.0]])
    point = gf.classify(_relu(X, Y), (np.array([[1.0, 0.0]]), np.array([[1.0]])))
    assert point.kind == "not_critical"


def test_a_minimum_inside_a_cone_of_two_units_is_local_as_far_as_is_known():
    X, Y = np.array([[1.0, 2.0, 0.5], [0.3, 1.0, 2.0]]), np.array([[1.0, 0.5, 2.0], [0.4, 1.0, 0.2]])
    problem = _relu(X, Y, num_units=2)
    first = np.array([[0.5, 0.3], [0.2, 0.7]])
    point = gf.classify(problem, (first, Y @ np.linalg.pinv(X) @ np.linalg.inv(first)))
    assert np.all(first @ X > 0)
    assert point.kind == "local_minimum" and "other cones were not compared" in point.reason


def test_other_activations_are_left_to_the_hessian():
    network = gf.networks.Shallow((1, 1, 1), "tanh")
    problem = gf.Regression(network, np.array([[1.0]]), np.array([[0.0]]))
    point = gf.classify(problem, (np.array([[0.7]]), np.array([[0.0]])))
    assert point.kind == "global_minimum" and "cone" not in point.reason


def test_a_saddle_whose_descent_the_hessian_missed_is_no_minimum_of_its_cone():
    rng = np.random.default_rng(0)
    problem = _relu(rng.normal(size=(2, 3)), rng.normal(size=(2, 3)))
    saddles = [
        member
        for member in relu_cones.enumerate(problem)
        if (member.category, member.pattern["kind"], member.pattern["interior"]) == ("strict saddle", "captured", True)
    ]
    assert saddles
    for member in saddles:
        assert families.kind_by_family(problem, relu_cones.sample(problem, member, 0), index=0) is None


def test_a_point_near_a_balanced_minimum_with_another_loss_is_not_called_one():
    problem = _balanced_problem()
    first, second = balanced.sample(problem, balanced.enumerate(problem)[0], 3)
    assert families.kind_by_family(problem, (first, second), index=0)[0] == "global_minimum"
    assert families.kind_by_family(problem, (first, second * (1 + 3e-4)), index=0)[0] == "undetermined"
