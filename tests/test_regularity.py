"""Regularity near minimisers and the Hessians it stands on: reference cases, random instances, refusals."""

import dataclasses
import json
import math
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

import gradflow as gf
from gradflow import checks
from gradflow.certificates import regularity_conditions as module
from gradflow.certificates import zero_loss_geometry as geometry
from gradflow.certificates.regularity_conditions import eps_root, growth_degrees, regularity
from gradflow.critical_sets.minimisers import linear, one_hidden_layer, residual
from gradflow.critical_sets.minimisers.factorisation import random_orthogonal
from gradflow.verification import paper_000, paper_000_conditions, paper_000_derivatives, verify

CASES = {
    case["id"]: case for case in json.loads((Path(__file__).parent / "golden/papers_000_002.json").read_text())["cases"]
}
pytestmark = pytest.mark.usefixtures("quiet")


def regression(network, X, Y, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        return gf.Regression(network, X, Y, **settings)


def g27():
    inputs, expected = CASES["G27"]["inputs"], CASES["G27"]["expected"]
    problem = regression(gf.networks.Linear((2,) * 4), inputs["X"], inputs["Y"])
    return problem, linear.construct(problem, [np.array(inputs["C2"]), np.array(inputs["C3"])]), expected


def g30():
    inputs, expected = CASES["G30"]["inputs"], CASES["G30"]["expected"]
    network = gf.networks.Shallow((2, 2, 2), gf.activations.LeakyReLU(inputs["a"]))
    problem = regression(network, inputs["X"], inputs["Y"])
    return problem, one_hidden_layer.construct(problem, np.array(inputs["C2"])), inputs, expected


def random_member(rng, kind, dim=2, network=None, samples=None, **settings):
    """A random problem of the kind and a random global minimiser of it."""
    samples = dim if kind == "hidden" else samples or int(rng.integers(dim, dim + 3))
    X, Y = rng.normal(size=(dim, samples)), rng.normal(size=(dim, samples))
    if kind == "hidden":
        network = network or gf.networks.Shallow((dim,) * 3, gf.activations.LeakyReLU(0.3))
        problem = regression(network, X, Y, **settings)
        return problem, one_hidden_layer.sample(problem, rng)
    if kind == "residual":
        units, depth = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        problem = regression(network or gf.networks.Residual(dim, units, depth), X, Y, **settings)
        return problem, residual.sample(problem, rng)
    problem = regression(network or gf.networks.Linear((dim,) * int(rng.integers(2, 5))), X, Y, **settings)
    return problem, linear.sample(problem, rng)


def moved(params, direction, size):
    """The state at `size`, the largest Frobenius norm of a layer's move, along a direction in the paper's order."""
    steps, start = [], 0
    for layer in params:
        count = np.size(layer)
        steps.append(direction[start : start + count].reshape(np.shape(layer), order="F"))
        start += count
    length = max(np.linalg.norm(step) for step in steps)
    return tuple(np.asarray(layer) + size / length * step for layer, step in zip(params, steps, strict=True))


def oracle_hessian(problem, params):
    """By automatic differentiation, compiled."""

    def hessian(state):
        return problem.hessian(state)

    with jax.enable_x64(True):
        return np.asarray(jax.jit(hessian)(tuple(map(np.asarray, params))))


def test_theorem_6_reproduces_its_reference_case():
    problem, params, inputs, expected = g30()
    found = regularity(problem, params, gamma=inputs["gamma"])
    values = found.certificate.values
    assert found.holds is True and found.certificate.name == "regularity"
    for name, reference in {
        "zeta": "zeta", "delta": "delta_eta_min_H", "alpha_printed": "alpha_as_printed", "alpha": "alpha_safe_sum",
        "beta": "beta", "eps": "eps_guaranteed", "kink_distance": "sign_cone_radius",
    }.items():  # fmt: skip
        assert values[name] == pytest.approx(expected[reference], rel=1e-10), name


def test_the_factor_of_theorem_4_reproduces_its_reference_case():
    problem, params, expected = g27()
    factor = geometry.gauss_newton_factor(problem, params)
    assert np.linalg.matrix_rank(factor) == expected["rank_G"]
    assert geometry.smallest_positive(factor) == pytest.approx(expected["eta_min_G"], rel=1e-10)
    hessian = geometry.gauss_newton_hessian(problem, params)
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), expected["hessian_eigs"], atol=1e-10)
    np.testing.assert_allclose(hessian, np.asarray(problem.hessian(params)), atol=1e-13)
    values = regularity(problem, params).certificate.values
    zeta = 2 * max(np.linalg.norm(layer, 2) for layer in params)
    assert values["zeta"] == pytest.approx(zeta, rel=1e-12)
    assert values["alpha"] == pytest.approx(0.5 / (3 * zeta**4 * np.linalg.norm(problem.X, 2) ** 2), rel=1e-12)
    assert values["beta"] == pytest.approx(0.25 * expected["eta_min_G"] ** 2, rel=1e-10)


def test_the_proof_step_of_theorem_6_needs_a_sum():
    inputs, expected = CASES["G32"]["inputs"], CASES["G32"]["expected"]
    problem = regression(gf.networks.Shallow((1, 1, 1), "identity"), [[inputs["X"]]], [[inputs["y"]]])
    state = (np.array([[inputs["w1"]]]), np.array([[inputs["w2"]]]))
    gradient, error = geometry.stacked_gradient(problem, state), geometry.residual_of(problem, state)
    zeta, size = inputs["zeta"], inputs["X"]
    assert float(np.sum(error**2)) == pytest.approx(expected["e_sq"], rel=1e-12)
    assert gradient @ gradient == pytest.approx(expected["grad_sq"], rel=1e-12)
    values = regularity(problem, (np.array([[2.0]]), np.array([[1.0]]))).certificate.values
    assert values["zeta"] == pytest.approx(zeta)
    printed, safe = (0.5 / values[name] for name in ("alpha_printed", "alpha"))
    assert printed == pytest.approx(max(size**2 * zeta**4, zeta**2))
    assert gradient @ gradient / printed == pytest.approx(expected["printed_rhs"], rel=1e-12)
    assert gradient @ gradient / safe == pytest.approx(expected["safe_rhs"], rel=1e-12)
    assert np.sum(error**2) < expected["printed_rhs"] and np.sum(error**2) > expected["safe_rhs"]


@pytest.mark.parametrize("kind", ["linear", "residual", "hidden"])
def test_the_inequality_holds_wherever_the_certificate_speaks(kind):
    rng, tried = np.random.default_rng(1), 0
    for index in range(25):
        mean = {"normalization": "mean"} if index % 5 == 0 else {}
        problem, params = random_member(rng, kind, dim=1 + index % 3, **mean)
        gamma = float(rng.uniform(0.1, 0.9))
        delta = (
            None
            if index % 2
            else float(rng.uniform(0.1, 0.9)) * regularity(problem, params).certificate.values["norm_G"]
        )
        found = regularity(problem, params, delta=delta, gamma=gamma)
        values = found.certificate.values
        assert found.holds is True
        right = np.linalg.svd(found.factor)[2]
        for row in right:
            state = moved(params, row + 0.02 * rng.normal(size=row.shape), 0.999 * values["eps"])
            if found.contains(state):
                tried += 1
                size = sum(np.sum((a - b) ** 2) for a, b in zip(state, params, strict=True))
                assert found.gap(state) >= -1e-12 * size, (problem.network, values)
    assert tried > 50


def test_every_direction_orthogonal_to_the_kernel_is_allowed_by_default_and_the_kernel_is_not():
    problem, params, _ = g27()
    found = regularity(problem, params)
    rank = np.linalg.matrix_rank(found.factor)
    right = np.linalg.svd(found.factor)[2]
    for row in right[:rank]:
        assert found.direction_allows(moved(params, row, 1e-3))
        assert found.contains(moved(params, row, 0.9 * found.certificate.values["eps"]))
        assert not found.contains(moved(params, row, 1.1 * found.certificate.values["eps"]))
    for row in right[rank:]:
        assert not found.direction_allows(moved(params, row, 1e-3))
    assert found.contains(params) and found.gap(params) == pytest.approx(0.0, abs=1e-25)


def test_the_inequality_fails_in_the_kernel():
    problem, params, _ = g27()
    found = regularity(problem, params)
    kernel = np.linalg.svd(found.factor)[2][-1]
    state = moved(params, kernel, 0.5 * found.certificate.values["eps"])
    assert found.gap(state) < 0.0


def test_a_gradient_step_comes_closer_as_promised():
    rng = np.random.default_rng(3)
    for kind in ("linear", "residual", "hidden"):
        problem, params = random_member(rng, kind)
        found = regularity(problem, params)
        values = found.certificate.values
        row = np.linalg.svd(found.factor)[2][0]
        state = moved(params, row, 0.9 * values["eps"])
        before = geometry.vec(state) - geometry.vec(params)
        after = before - 2 * values["alpha"] * geometry.stacked_gradient(problem, state)
        assert after @ after <= (1 - 4 * values["alpha"] * values["beta"]) * (before @ before) * (1 + 1e-12)


def test_eps_solves_its_equation_and_never_exceeds_its_cap():
    shape = module.LocalShape({}, 1.3, {2: 0.7, 3: 0.4}, 10.0)
    eps = eps_root(shape, 0.9, 0.4)
    r_b = 1.3 * (0.7 * eps + 0.4 * eps**2)
    r_a = 1.3 * (1.6 * 0.7 * eps + 2.6 * 0.4 * eps**2)
    assert 0.9 * (r_a + 0.6 * r_b) + r_a * r_b == pytest.approx(0.6 * 0.81 / 2, rel=1e-12)
    assert eps_root(dataclasses.replace(shape, cap=0.5 * eps), 0.9, 0.4) == 0.5 * eps
    assert eps_root(dataclasses.replace(shape, degrees={}), 0.9, 0.4) == 10.0


def test_the_growth_of_a_plain_chain_is_that_of_theorem_4():
    z, num = 1.7, 4
    expected = {j: math.comb(num, j) * z ** (num - j) / math.sqrt(num) for j in range(2, num + 1)}
    assert growth_degrees([z] * num, [[0.0]] * num) == pytest.approx(expected, rel=1e-12)
    unit_norm = (z * np.eye(2), *(random_orthogonal(np.random.default_rng(0), 2) for _ in range(num - 1)))
    problem = regression(gf.networks.Linear((2,) * (num + 1)), np.eye(2), np.linalg.multi_dot(unit_norm[::-1]))
    assert module.local_shape(problem, unit_norm, 0.5).degrees == pytest.approx(expected, rel=1e-12)
    # P = 2 + (a + x)(b + y) - ab: its part of degree 2 is xy, with gradient (1, 1) at (1, 1)
    assert growth_degrees([2.0], [[0.3, 0.6]]) == pytest.approx({2: math.sqrt(2.0) / 2}, rel=1e-12)


def test_growth_bounds_the_parts_of_a_residual_network():
    rng = np.random.default_rng(5)
    for _ in range(10):
        problem, params = random_member(rng, "residual", dim=2, network=gf.networks.Residual(2, 2, 2))
        shape = module.local_shape(problem, params, 0.5)
        direction = tuple(rng.normal(size=(2, 2)) for _ in params)
        longest = max(np.linalg.norm(step) for step in direction)
        norm = np.sqrt(sum(np.sum(step**2) for step in direction))
        # the residual along the line is a polynomial in t; its coefficients are the E_j
        nodes = np.cos(np.pi * (np.arange(5) + 0.5) / 5)
        states = [tuple(a + t * s for a, s in zip(params, direction, strict=True)) for t in nodes]
        values = [geometry.residual_of(problem, state).ravel() for state in states]
        parts = np.linalg.solve(np.vander(nodes, increasing=True), np.array(values))
        for j, bound in shape.degrees.items():
            assert np.linalg.norm(parts[j]) <= shape.norm_x * bound * longest ** (j - 1) * norm * (1 + 1e-9)


@pytest.mark.parametrize(
    "network",
    [
        gf.networks.Residual(2, 2, 2),
        gf.networks.Shallow((2, 2, 2), gf.activations.LeakyReLU(0.3)),
        gf.networks.Shallow((2, 2, 2), "tanh"),
    ],
)
def test_the_hessian_at_a_minimiser_is_the_square_of_the_factor(network):
    rng = np.random.default_rng(11)
    kind = "residual" if isinstance(network, gf.networks.Residual) else "hidden"
    problem, params = random_member(rng, kind, network=network, samples=4)
    hessian = oracle_hessian(problem, params)
    by_hand = geometry.gauss_newton_hessian(problem, params)
    np.testing.assert_allclose(by_hand, hessian, rtol=0, atol=1e-12 * np.abs(hessian).max())


def test_with_more_samples_the_linear_hessian_still_is_and_a_nonlinear_one_is_not():
    rng = np.random.default_rng(12)
    problem, params = random_member(rng, "linear", network=gf.networks.Linear((2,) * 4), samples=6)
    assert float(problem.loss(params)) > 0.1
    hessian = np.asarray(problem.hessian(params))
    np.testing.assert_allclose(geometry.gauss_newton_hessian(problem, params), hessian, atol=1e-12 * hessian.max())
    away = tuple(layer + 0.1 for layer in params)
    assert np.abs(geometry.gauss_newton_hessian(problem, away) - np.asarray(problem.hessian(away))).max() > 1e-2
    # W_2 of the least-squares fit to the hidden layer, one sample too many: e X^T is not zero
    X, Y, first = np.array([[1.0, -1.0, 0.5], [0.2, 1.0, -1.0]]), rng.normal(size=(2, 3)), np.eye(2)
    wide = regression(gf.networks.Shallow((2, 2, 2), gf.activations.LeakyReLU(0.3)), X, Y)
    hidden = one_hidden_layer.evaluated(wide.network.activation, first @ X)
    state = (first, Y @ np.linalg.pinv(hidden))
    assert np.abs(geometry.gauss_newton_hessian(wide, state) - oracle_hessian(wide, state)).max() > 1e-2


def test_columns_and_rows_are_flattened_as_their_names_say():
    params = (np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.array([[7.0, 8.0]]))
    stacked = geometry.vec(params)
    assert stacked.tolist() == [1, 4, 2, 5, 3, 6, 7, 8]
    assert stacked[geometry.column_to_row(((2, 3), (1, 2)))].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_blocks_of_rectangular_layers_are_derivatives_too():
    rng = np.random.default_rng(2)
    X, network = rng.normal(size=(3, 4)), gf.networks.Linear((3, 2, 4, 1))
    params = tuple(rng.normal(size=shape) for shape in network.shapes)
    blocks = geometry.output_jacobian(network, params, X)
    for k, block in enumerate(blocks):
        step = rng.normal(size=params[k].shape)
        changed = tuple(step if index == k else layer for index, layer in enumerate(params))
        expected = (changed[2] @ changed[1] @ changed[0] @ X).ravel(order="F")  # the output is linear in each layer
        np.testing.assert_allclose(block @ step.ravel(order="F"), expected, rtol=1e-12, atol=1e-12)


def refused(problem, params, **settings):
    found = regularity(problem, params, **settings)
    failed = [hypothesis.statement for hypothesis in found.certificate.hypotheses if hypothesis.holds is not True]
    with pytest.raises(checks.InputError, match="`certificate` must hold"):
        found.contains(params)
    return found, failed


def test_a_delta_beyond_the_norm_of_the_factor_is_vacuous():
    problem, params, _ = g27()
    size = regularity(problem, params).certificate.values["norm_G"]
    found, failed = refused(problem, params, delta=1.01 * size)
    assert found.holds is False and found.certificate.note == module.VACUOUS and "delta <= ||G||" in failed[0]
    assert regularity(problem, params, delta=0.99 * size).holds is True


def test_a_minimiser_on_a_kink_is_refused():
    problem = regression(gf.networks.Shallow((2, 2, 2), "prelu"), np.eye(2), np.eye(2))
    found, failed = refused(problem, (np.eye(2), np.eye(2)))
    assert found.holds is False and failed == ["no preactivation of the minimiser is at a kink of sigma"]


def test_a_curved_activation_has_no_explicit_eps():
    rng = np.random.default_rng(0)
    problem, params = random_member(rng, "hidden", network=gf.networks.Shallow((2, 2, 2), "tanh"))
    found, failed = refused(problem, params)
    assert found.holds is None and failed == ["sigma is piecewise linear, so that eps is explicit"]


def test_no_minimiser_no_theory_no_factor():
    problem, params, _ = g27()
    assert refused(problem, tuple(layer + 0.1 for layer in params))[0].holds is False
    assert regularity(gf.Landscape(lambda x: x @ x), np.zeros(2)).holds is None
    # all layers zero: G = 0, no direction at all (the depth hides the identity that the shortcut supplies)
    flat = regression(gf.networks.Residual(2, 1, 2), np.eye(2), np.eye(2))
    found, failed = refused(flat, (np.zeros((2, 2)),) * 2)
    assert found.holds is False and any("delta" in statement for statement in failed)
    origin = regression(gf.networks.Residual(2, 2, 1), np.eye(2), np.eye(2))
    assert regularity(origin, (np.zeros((2, 2)),) * 2).holds is True


def test_wrong_settings_are_refused():
    problem, params, _ = g27()
    for settings in ({"gamma": 1.0}, {"gamma": 0.0}, {"delta": 0.0}):
        with pytest.raises(checks.InputError, match=next(iter(settings))):
            regularity(problem, params, **settings)
    with pytest.raises(checks.InputError, match="`minimiser` must have"):
        regularity(problem, params[:2])


def test_the_cap_keeps_every_norm_below_zeta():
    rng = np.random.default_rng(9)
    for kind in ("linear", "residual", "hidden"):
        for _ in range(10):
            problem, params = random_member(rng, kind)
            values = regularity(problem, params).certificate.values
            steps = [random_orthogonal(rng, 2) for _ in params]
            state = tuple(a + values["cap"] * s / np.linalg.norm(s) for a, s in zip(params, steps, strict=True))
            if kind == "linear":
                sizes, bound = state, values["zeta"]
            elif kind == "residual":
                sizes, bound = residual.units_of(problem.network, state), values["zeta"]
                if problem.network.depth > 1:
                    assert max(np.linalg.norm(layer, 2) for layer in state) <= values["zeta_tilde"] * (1 + 1e-12)
            else:
                hidden = one_hidden_layer.evaluated(problem.network.activation, state[0] @ problem.X)
                sizes, bound = (hidden, state[1]), values["zeta"]
                assert np.all((state[0] @ problem.X > 0) == (params[0] @ problem.X > 0))
            assert max(np.linalg.norm(matrix, 2) for matrix in sizes) <= bound * (1 + 1e-12)


REGULARITY_ROWS = [
    row for row in paper_000_conditions.STATEMENTS if any("certificates.regularity" in name for name in row.code)
]


@pytest.mark.parametrize(
    "statement", [*REGULARITY_ROWS, *paper_000_derivatives.STATEMENTS], ids=lambda statement: statement.name
)
def test_the_statements_are_as_expected(statement):
    verdict = verify(dataclasses.replace(statement, quick=3))
    assert verdict.is_as_expected, (verdict.failures, verdict.error)


def test_the_row_of_the_gradient_bound_fails_for_the_printed_maximum(monkeypatch):
    right = module._hidden_layer_shape

    def printed(problem, network, layers, gamma):
        shape = right(problem, network, layers, gamma)
        # the maximum, without the factor 2 in zeta that hides the difference near W*
        return dataclasses.replace(shape, values=shape.values | {"alpha": 4.0 * shape.values["alpha_printed"]})

    monkeypatch.setattr(module, "_hidden_layer_shape", printed)
    (row,) = [row for row in paper_000_derivatives.STATEMENTS if row.number == "Theorem 6, bound on the gradient"]
    assert not verify(dataclasses.replace(row, quick=60)).holds


def test_every_statement_of_paper_000_is_listed_once():
    numbers = [statement.number for statement in paper_000.STATEMENTS]
    assert len(numbers) == len(set(numbers)) >= 40
    assert {statement.paper for statement in paper_000.STATEMENTS} == {"000"}
    assert all(statement.correction for statement in paper_000.STATEMENTS if statement.as_printed)


def test_the_cap_is_set_by_the_unit_that_grows_fastest():
    layers = tuple(np.array([[size]]) for size in (0.1, 0.1, 3.0, 3.0))
    problem = regression(gf.networks.Residual(1, 2, 2), [[1.0]], [[1.01 * 10.0]])
    values = regularity(problem, layers).certificate.values
    assert values["zeta"] == pytest.approx(20.0) and values["zeta_tilde"] == pytest.approx(6.0)
    assert values["cap"] == pytest.approx(np.sqrt(19.0) - 3.0, rel=1e-12)  # (3 + t)^2 - 9 = zeta / 2
