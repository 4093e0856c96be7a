"""Global minimisers in closed form: the reference cases, every family's promises, and what each must not recognise."""

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import gradflow as gf
from gradflow import checks
from gradflow.certificates.zero_loss_geometry import gauss_newton_hessian, stacked_gradient
from gradflow.critical_sets import minimisers
from gradflow.critical_sets.minimisers import linear, one_hidden_layer, residual
from gradflow.critical_sets.minimisers.factorisation import random_invertible, random_orthogonal
from gradflow.critical_sets.minimisers.setting import setting_hypotheses
from gradflow.verification import paper_000_minimisers, verify

CASES = {
    case["id"]: case for case in json.loads((Path(__file__).parent / "golden/papers_000_002.json").read_text())["cases"]
}
pytestmark = pytest.mark.usefixtures("quiet")


def regression(network, X, Y, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        return gf.Regression(network, X, Y, **settings)


def data(rng, dim, samples):
    return rng.normal(size=(dim, samples)), rng.normal(size=(dim, samples))


def networks(dim):
    """Every family that has minimisers here, with its module and whether more samples than d are allowed."""
    return [
        (linear, gf.networks.Linear((dim, dim)), True),
        (linear, gf.networks.Linear((dim,) * 4), True),
        (residual, gf.networks.Residual(dim, 1, 3), True),
        (residual, gf.networks.Residual(dim, 3, 1), True),
        (residual, gf.networks.Residual(dim, 2, 2), True),
        (one_hidden_layer, gf.networks.Shallow((dim,) * 3, gf.activations.LeakyReLU(0.3)), False),
        (one_hidden_layer, gf.networks.Shallow((dim,) * 3, "tanh"), False),
        (one_hidden_layer, gf.networks.Shallow((dim,) * 3, "identity"), False),
    ]


def members(dim=2):
    """One (module, problem, smallest loss by another route) per family."""
    rng = np.random.default_rng(dim)
    found = []
    for module, network, many in networks(dim):
        X, Y = data(rng, dim, dim + 3 if many else dim)
        fit = np.linalg.lstsq(X.T, Y.T, rcond=None)[0].T
        found.append((module, regression(network, X, Y), 0.5 * np.sum((fit @ X - Y) ** 2)))
    return found


def norm_of(gradient):
    return max(float(np.abs(np.asarray(part)).max()) for part in gradient)


def case_problem(name, network):
    inputs = CASES[name]["inputs"]
    return regression(network, inputs["X"], inputs["Y"]), inputs, CASES[name]["expected"]


@pytest.mark.parametrize(("name", "num_layers"), [("G26", 3), ("G27", 3)])
def test_the_linear_reference_cases_are_reproduced(name, num_layers):
    problem, inputs, expected = case_problem(name, gf.networks.Linear((2,) * (num_layers + 1)))
    params = linear.construct(problem, [np.array(inputs["C2"]), np.array(inputs["C3"])])
    for index, layer in enumerate(params, start=1):
        np.testing.assert_allclose(layer, expected[f"W{index}"], rtol=1e-10, atol=1e-10)
    assert norm_of(problem.gradient(params)) < 1e-14
    eigenvalues = np.linalg.eigvalsh(np.asarray(problem.hessian(params)))
    np.testing.assert_allclose(eigenvalues[0], 0.0, atol=1e-13)
    np.testing.assert_allclose(eigenvalues, expected.get("hessian_eigs", eigenvalues), atol=1e-10)
    found = linear.decompose(problem, params)
    assert found.outcome == "minimiser"
    np.testing.assert_allclose(found.transforms, [inputs["C2"], inputs["C3"]], rtol=1e-12, atol=1e-12)


def test_the_minimum_is_half_of_what_proposition_1_prints():
    problem, inputs, expected = case_problem("G26", gf.networks.Linear((2,) * 4))
    params = linear.construct(problem, [np.array(inputs["C2"]), np.array(inputs["C3"])])
    value = linear.enumerate_classes(problem)[0].loss
    assert float(problem.loss(params)) == pytest.approx(expected["global_min"], rel=1e-12)
    assert value == pytest.approx(expected["global_min"], rel=1e-12)
    assert 2 * value == pytest.approx(expected["value_as_printed"], rel=1e-12)
    product = np.linalg.multi_dot(params[::-1])
    np.testing.assert_allclose(product, expected["product"], rtol=1e-10)
    basis = linear.decompose(problem, params).basis
    np.testing.assert_allclose(basis, expected["U"], rtol=1e-10)


def test_the_reference_case_with_a_parametric_relu_is_reproduced():
    case = CASES["G30"]
    network = gf.networks.Shallow((2, 2, 2), gf.activations.LeakyReLU(case["inputs"]["a"]))
    problem, inputs, expected = case_problem("G30", network)
    params = one_hidden_layer.construct(problem, np.array(inputs["C2"]))
    np.testing.assert_allclose(params[0], expected["W1"], rtol=1e-10)
    np.testing.assert_allclose(params[1], expected["W2"], rtol=1e-10)
    found = one_hidden_layer.decompose(problem, params)
    np.testing.assert_allclose(found.hidden, expected["sigma_W1X"], rtol=1e-10)
    assert found.kink_distance == pytest.approx(expected["sign_cone_radius"], rel=1e-10)
    eigenvalues = np.linalg.eigvalsh(gauss_newton_hessian(problem, params))
    np.testing.assert_allclose(eigenvalues, expected["hessian_eigs"], atol=1e-10)
    assert float(problem.loss(params)) < 1e-28


@pytest.mark.parametrize("dim", [1, 2])
def test_samples_attain_the_least_squares_minimum_and_are_critical(dim):
    for module, problem, minimum in members(dim):
        params = module.sample(problem, np.random.default_rng(3))
        least = 0.0 if module is one_hidden_layer else minimum
        assert float(problem.loss(params)) == pytest.approx(least, rel=1e-12, abs=1e-20)
        assert np.linalg.norm(stacked_gradient(problem, params)) < 1e-10


def test_decompose_recovers_what_construct_was_given():
    rng = np.random.default_rng(5)
    for dim in (1, 2, 4):
        for module, problem, _ in members(dim):
            params = module.sample(problem, rng)
            found = module.decompose(problem, params)
            assert found.outcome == "minimiser", problem.network
            if module is residual:
                frames = {"unit_basis": found.unit_basis, "bases": found.bases}
                again = residual.construct(problem, found.unit_transforms, found.transforms, **frames)
                assert found.is_full_rank is True
            else:
                free = found.transforms if module is linear else found.transform
                again = module.construct(problem, free, found.basis)
            for layer, other in zip(params, again, strict=True):
                np.testing.assert_allclose(np.asarray(layer), other, rtol=0, atol=1e-9)


def test_every_member_has_the_nullity_of_its_class():
    for module, problem, _ in members(2):
        (described,) = module.enumerate_classes(problem)
        params = module.sample(problem, np.random.default_rng(1))
        eigenvalues = np.linalg.eigvalsh(gauss_newton_hessian(problem, params))
        zero = 1e-9 * eigenvalues[-1]
        assert int(np.sum(np.abs(eigenvalues) <= zero)) == described.nullity, problem.network
        assert int(np.sum(eigenvalues < -zero)) == described.index == 0
        assert described.is_global and described.strict is False


def test_a_minimiser_found_without_the_formula_has_the_form_of_proposition_1():
    rng = np.random.default_rng(0)
    X, Y = data(rng, 3, 5)
    problem = regression(gf.networks.Linear((3,) * 4), X, Y)
    free = [rng.normal(size=(3, 3)) for _ in range(2)]
    params = (np.linalg.solve(free[1] @ free[0], Y @ np.linalg.pinv(X)), free[0], free[1])
    assert linear.decompose(problem, params).outcome == "minimiser"


def test_equal_eigenvalues_of_sigma_change_nothing():
    rng = np.random.default_rng(1)
    X = random_orthogonal(rng, 3)
    problem = regression(gf.networks.Linear((3, 3, 3)), X, 2.0 * random_orthogonal(rng, 3))
    params = linear.construct(problem, [random_invertible(rng, 3)], random_orthogonal(rng, 3))
    found = linear.decompose(problem, params)
    assert found.outcome == "minimiser" and float(problem.loss(params)) < 1e-28
    again = linear.construct(problem, found.transforms, found.basis)
    np.testing.assert_allclose(again[1], params[1], atol=1e-12)


def test_the_mean_over_samples_has_the_same_minimisers():
    rng = np.random.default_rng(2)
    X, Y = data(rng, 2, 5)
    total, mean = (regression(gf.networks.Linear((2, 2, 2)), X, Y, normalization=how) for how in ("sum", "mean"))
    params = linear.construct(total, [random_invertible(rng, 2)])
    assert linear.decompose(mean, params).outcome == "minimiser"
    assert linear.enumerate_classes(mean)[0].loss == pytest.approx(
        linear.enumerate_classes(total)[0].loss / 5, rel=1e-12
    )


def test_states_are_told_apart_or_left_ambiguous():
    for module, problem, _ in members(2):
        rng = np.random.default_rng(7)
        params = module.sample(problem, rng)
        for size, expected in ((1e-14, "minimiser"), (1e-6, "ambiguous"), (1e-1, "not_a_minimiser")):
            moved = tuple(np.asarray(layer) + size * rng.normal(size=np.shape(layer)) for layer in params)
            assert module.decompose(problem, moved).outcome == expected, (problem.network, size)


def test_rounding_makes_an_ill_conditioned_product_ambiguous():
    rng = np.random.default_rng(4)
    X, Y = data(rng, 2, 2)
    problem = regression(gf.networks.Linear((2,) * 3), X, Y)
    steep = np.diag([1e8, 1e-2])
    assert linear.decompose(problem, linear.construct(problem, [steep])).outcome == "ambiguous"


def test_a_singular_free_matrix_is_outside_the_form():
    X, Y = np.eye(2), np.diag([1.0, 0.0])
    problem = regression(gf.networks.Linear((2, 2, 2)), X, Y)
    assert problem.spectrum.num_positive == 1
    found = linear.decompose(problem, (np.diag([1.0, 0.0]), np.diag([1.0, 0.0])))
    assert found.outcome == "minimiser_outside_form"
    assert linear.decompose(problem, (np.diag([1.0, 0.0]), np.eye(2))).outcome == "minimiser"


def test_a_unit_with_eigenvalue_one_has_no_layers_of_full_rank():
    shear = np.array([[1.0, 1.0], [0.0, 1.0]])
    problem = regression(gf.networks.Residual(2, 1, 2), np.eye(2), shear)
    params = residual.construct(problem, [], [[np.eye(2)]])
    found = residual.decompose(problem, params)
    assert np.linalg.matrix_rank(shear) == 2
    assert found.outcome == "minimiser" and found.is_full_rank is False
    with pytest.raises(checks.InputError, match="eigenvalue 1"):
        residual.sample(problem, np.random.default_rng(0))
    rounded = regression(gf.networks.Residual(1, 1, 2), [[1.0]], [[1.0 + 2e-16]])
    assert residual.decompose(rounded, residual.construct(rounded, [], [[np.eye(1)]])).is_full_rank is False
    singular = (shear - np.eye(2), np.diag([1.0, 0.0]))
    assert residual.decompose(problem, singular).outcome == "minimiser_outside_form"


def test_residual_layers_of_depth_one_are_units_minus_the_identity():
    rng = np.random.default_rng(6)
    X, Y = data(rng, 3, 4)
    free = [random_invertible(rng, 3), random_invertible(rng, 3)]
    units = linear.construct(regression(gf.networks.Linear((3,) * 4), X, Y), free)
    layers = residual.construct(regression(gf.networks.Residual(3, 3, 1), X, Y), free)
    np.testing.assert_allclose(layers, [unit - np.eye(3) for unit in units], atol=1e-13)


def test_the_free_matrices_of_a_residual_unit_are_counted_by_its_depth():
    problem = members(2)[4][1]
    with pytest.raises(checks.InputError, match=r"`transforms\[0\]` must be 1 matrices, but got 2"):
        residual.construct(problem, [np.eye(2)], [[np.eye(2), np.eye(2)], [np.eye(2)]])
    with pytest.raises(checks.InputError, match="`transforms` must have 2 members"):
        residual.construct(problem, [np.eye(2)], [[np.eye(2)]])


def test_a_preimage_outside_the_range_of_a_sigmoid_has_a_name():
    problem = members(2)[6][1]
    found = one_hidden_layer.preimage(problem, 0.01 * np.eye(2))
    assert found.outcome == "outside_range" and found.params is None and found.shrinkage > 1.0
    with pytest.raises(checks.InputError, match="Multiply it by more than"):
        one_hidden_layer.construct(problem, 0.01 * np.eye(2))
    inside = one_hidden_layer.preimage(problem, 0.01 * np.eye(2) * found.shrinkage * 1.01)
    assert inside.outcome == "inside_range" and float(problem.loss(inside.params)) < 1e-25


def test_samples_keep_away_from_kinks():
    problem = members(2)[5][1]
    rng = np.random.default_rng(0)
    margins = [one_hidden_layer.decompose(problem, one_hidden_layer.sample(problem, rng)).kink_distance
               for _ in range(20)]  # fmt: skip
    assert min(margins) > 1e-3


def test_a_kink_is_at_the_distance_of_the_nearest_sign_change():
    activation, X = gf.activations.LeakyReLU(0.5), np.array([[2.0, 0.0], [0.0, 1.0]])
    assert one_hidden_layer.kink_distance(activation, np.array([[3.0, 1.5]]), X) == pytest.approx(1.5)
    assert one_hidden_layer.kink_distance(activation, np.array([[1.0, 1.5]]), X) == pytest.approx(1.0)
    assert one_hidden_layer.kink_distance(gf.activations.Tanh(), np.array([[1.0, 1.5]]), X) == np.inf


@pytest.mark.parametrize(
    ("network", "samples", "module", "message"),
    [
        (gf.networks.Linear((2, 3, 2)), 4, linear, "all layers are square"),
        (gf.networks.Linear((2, 2, 2)), 1, linear, "full row rank"),
        (gf.networks.Shallow((2, 2, 2), "prelu"), 3, one_hidden_layer, "m = d"),
        (gf.networks.Shallow((2, 2, 2), "relu"), 2, one_hidden_layer, "injective"),
        (gf.networks.Shallow((2, 2, 2), "prelu", "tanh"), 2, one_hidden_layer, "linear outputs"),
        (gf.networks.Residual(2, 1, 1), 4, linear, "Linear network, but got Residual"),
    ],
)
def test_problems_outside_the_setting_are_refused(network, samples, module, message):
    X, Y = data(np.random.default_rng(0), 2, samples)
    with pytest.raises(checks.InputError, match=message):
        module.sample(regression(network, X, Y), np.random.default_rng(0))


def test_a_regulariser_and_a_landscape_are_outside_the_setting():
    X, Y = data(np.random.default_rng(0), 2, 4)
    decayed = regression(gf.networks.Linear((2, 2)), X, Y, regularizer=gf.regularizers.WeightDecay(0.1))
    assert [hypothesis.holds for hypothesis in setting_hypotheses(decayed)] == [None]
    landscape = gf.Landscape(lambda x: x @ x)
    assert [hypothesis.holds for hypothesis in setting_hypotheses(landscape)] == [None]
    with pytest.raises(checks.InputError, match="be a Regression"):
        linear.enumerate_classes(landscape)


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([], "be 1 matrices, but got 0"),
        ([np.ones((2, 2))], "invertible"),
        ([np.eye(3)], "shape"),
    ],
)
def test_wrong_free_matrices_are_refused(transforms, message):
    X, Y = data(np.random.default_rng(0), 2, 4)
    with pytest.raises(checks.InputError, match=message):
        linear.construct(regression(gf.networks.Linear((2, 2, 2)), X, Y), transforms)


def test_a_basis_must_be_orthogonal():
    X, Y = data(np.random.default_rng(0), 2, 4)
    with pytest.raises(checks.InputError, match="`basis` must be orthogonal"):
        linear.construct(regression(gf.networks.Linear((2, 2, 2)), X, Y), [np.eye(2)], np.diag([1.0, 2.0]))


def test_every_outcome_is_a_known_word():
    assert {"minimiser", "minimiser_outside_form", "ambiguous", "not_a_minimiser"} == set(minimisers.OUTCOMES)


@pytest.mark.parametrize("statement", paper_000_minimisers.STATEMENTS, ids=lambda statement: statement.name)
def test_the_statements_are_as_expected(statement):
    verdict = verify(dataclasses.replace(statement, quick=2))
    assert verdict.is_as_expected, (verdict.failures, verdict.error)


def test_the_row_of_proposition_1_fails_for_layers_in_the_wrong_order(monkeypatch):
    right = linear.factors
    monkeypatch.setattr(linear, "factors", lambda basis, free, matrix: right(basis, free, matrix.T))
    (row,) = [statement for statement in paper_000_minimisers.STATEMENTS if statement.number == "Proposition 1"]
    assert not verify(row).holds


def test_generic_leaky_relu_problems_have_samples_away_from_kinks():
    for seed in range(12):
        X, Y = np.random.default_rng(100 + seed).normal(size=(2, 3, 3))
        problem = gf.Regression(gf.networks.Shallow((3, 3, 3), "leaky_relu"), X, Y)
        params = one_hidden_layer.sample(problem, seed)
        assert one_hidden_layer.decompose(problem, params).outcome == "minimiser"
        assert one_hidden_layer.kink_distance(problem.network.activation, params[0], X) > 0.0
