"""The reference cases of paper 003, sections 1-7 and 9, one test each: the numbers come from multiprecision arithmetic.

``golden/paper_003.json`` also holds the cases of section 8 (nonlinear layers), which have no test here yet; the test
of completeness below names them, so none can be forgotten silently.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import gradflow as gf
from gradflow import checks, critical_sets, curvature, invariants, linear_algebra
from gradflow.certificates import certificates_of, envelope, lemma1_polynomials

CASES = {
    case["id"]: case for case in json.loads((Path(__file__).parent / "golden/paper_003.json").read_text())["cases"]
}
NONLINEAR = {
    "G28_Sigma_values",
    "G29_nonlinear_X_identity",
    "G30_nonlinear_general_X_not_conserved",
    "G32_leaky_relu_general_X",
    "G33_nonlinear_unbounded",
}
HESSIANS = [
    "G18_H2_case_1_1",
    "G19_H2_case_1_2",
    "G21_H2_case_2_2_nonstrict",
    "G23_H2_rZ_gt_r",
    "G23b_H2_global_min",
]
TESTED = {
    "G01_svd_reduction", "G02_original_vs_reduced_flow", "G03_assumption2_gap", "G03b_basins_differ",
    "G04_H1_scalar_logistic", "G05_H1_state", "G06_H2_state", "G08_lemma1_polynomials", "G11_remark2_H2_product",
    "G12_remark2_condition_false", "G13_counterexample1_is_bounded", "G14_true_unbounded_2d", "G15_prop2_exact",
    "G16_hessian_H1_origin", "G24_nonstrict_third_order_descent", "G25_critical_values",
    "G26_repeated_singular_values", "G34_H2_scalar_polynomial_convergence", *HESSIANS,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("quiet")


def _case(name):
    case = CASES[name]
    return case["inputs"], case["expected"], case["tolerance"]


def _weights(layers):
    return tuple(np.array(layer, float) for layer in layers)


def _factorization(weights, sigma):
    """The problem ``1/2 ||sigma - W_{H+1} ... W_1||^2`` as a regression on the identity."""
    sigma = np.array(sigma, float)
    widths = (weights[0].shape[1], *(layer.shape[0] for layer in weights))
    return gf.Regression(gf.networks.Linear(widths), np.eye(sigma.shape[1]), sigma)


def _shallow(inputs):
    X, Y = np.array(inputs["X"], float), np.array(inputs["Y"], float)
    weights = _weights([inputs["W1"], inputs["W2"]])
    problem = gf.Regression(gf.networks.Linear((X.shape[0], weights[0].shape[0], Y.shape[0])), X, Y)
    return problem, weights


def test_every_case_is_tested_or_named_as_nonlinear():
    assert set(CASES) == TESTED | NONLINEAR


def test_g01_the_reduction_keeps_loss_and_spectra():
    inputs, expected, tolerance = _case("G01_svd_reduction")
    problem, weights = _shallow(inputs)
    reduced = gf.ReducedFlow(problem)
    np.testing.assert_allclose(problem.statistics.scales, expected["S_X"], atol=tolerance)
    np.testing.assert_allclose(problem.spectrum.values, expected["S_Y"], atol=tolerance)
    np.testing.assert_allclose(problem.irreducible, expected["const"], atol=tolerance)
    np.testing.assert_allclose(problem.loss(weights), expected["L_original"], atol=tolerance)
    bar = reduced.coordinates(weights)
    np.testing.assert_allclose(reduced.problem.loss(bar) - problem.irreducible, expected["L_effective"], atol=tolerance)
    preconditioner = np.sort(np.linalg.eigvalsh(reduced.first.T @ reduced.first))[::-1]
    np.testing.assert_allclose(preconditioner, expected["eig_K"], atol=tolerance)


def test_g02_original_and_reduced_flow_differ_as_computed():
    inputs, expected, tolerance = _case("G02_original_vs_reduced_flow")
    problem, weights = _shallow(inputs)
    options = {"t1": 1.0, "rtol": 1e-13, "atol": 1e-15}
    original = gf.integrate(gf.GradientFlow(problem), weights, **options)
    np.testing.assert_allclose(original.endpoint[0], expected["W1_original_flow"], atol=tolerance)
    np.testing.assert_allclose(original.endpoint[1], expected["W2_original_flow"], atol=tolerance)
    effective = problem.loss(original.endpoint) - problem.irreducible
    np.testing.assert_allclose(effective, expected["L_eff_original_flow"], atol=tolerance)
    flow = gf.ReducedFlow(problem)
    reduced = gf.integrate(flow, flow.coordinates(weights), **options)
    mapped = flow.weights(reduced.endpoint)
    np.testing.assert_allclose(mapped[0], expected["W1_reduced_flow_in_original_coordinates"], atol=tolerance)
    np.testing.assert_allclose(mapped[1], expected["W2_reduced_flow_in_original_coordinates"], atol=tolerance)
    effective = flow.problem.loss(reduced.endpoint) - problem.irreducible
    np.testing.assert_allclose(effective, expected["L_eff_reduced_flow"], atol=tolerance)
    gram = np.array(inputs["X"]) @ np.array(inputs["X"]).T

    def wrong(params):
        return params[1].T @ params[1] - params[0] @ gram @ params[0].T

    np.testing.assert_allclose(invariants.imbalance(weights, 1), expected["C_original"], atol=tolerance)
    np.testing.assert_allclose(wrong(weights), expected["C_red"], atol=tolerance)
    drift = np.abs(wrong(original.endpoint) - wrong(weights)).max()
    np.testing.assert_allclose(drift, expected["drift_Cred_under_original_flow"], atol=tolerance)
    drift = np.abs(invariants.imbalance(mapped, 1) - invariants.imbalance(weights, 1)).max()
    np.testing.assert_allclose(drift, expected["drift_C_under_reduced_flow"], atol=tolerance)


def test_g03_full_row_ranks_do_not_make_the_target_positive():
    inputs, expected, tolerance = _case("G03_assumption2_gap")
    with pytest.warns(checks.HypothesisWarning, match="Assumption 2"):
        problem = gf.Regression(gf.networks.Linear((1, 1)), np.array(inputs["X"]), np.array(inputs["Y"]))
    np.testing.assert_allclose(problem.spectrum.values, expected["S_Y"], atol=tolerance)
    np.testing.assert_allclose(problem.irreducible, expected["const"], atol=tolerance)
    np.testing.assert_allclose(
        critical_sets.critical_values(problem).values.min(), expected["min_loss"], atol=tolerance
    )


def test_g03b_the_basins_of_the_two_flows_differ():
    inputs, expected, tolerance = _case("G03b_basins_differ")
    problem, weights = _shallow(inputs)
    flow = gf.ReducedFlow(problem)
    bar = flow.coordinates(weights)
    at_one = gf.integrate(flow, bar, t1=1.0, rtol=1e-12, atol=1e-14)
    # Signs of the SVD are a gauge: compare moduli and the sign of the product.
    np.testing.assert_allclose(np.abs(np.ravel(at_one.endpoint)), np.abs(expected["reduced_wbar_t1"]), atol=tolerance)
    limit = gf.integrate(flow, bar, t1=8.0)
    np.testing.assert_allclose(flow.problem.loss(limit.endpoint), expected["reduced_limit_loss"], atol=1e-6)
    original = gf.integrate(gf.GradientFlow(problem), weights)
    np.testing.assert_allclose(problem.loss(original.endpoint), expected["original_limit_loss"], atol=tolerance)


def test_g04_the_scalar_product_follows_the_logistic_curve():
    inputs, expected, _ = _case("G04_H1_scalar_logistic")
    weights = _weights(inputs["W"])
    problem = _factorization(weights, inputs["Sigma_Y"])
    run = gf.integrate(gf.GradientFlow(problem), weights, t1=3.0, rtol=1e-13, atol=1e-15, save_at=inputs["t"])
    np.testing.assert_allclose((run.params[0] * run.params[1]).ravel(), expected["u"], atol=1e-11)
    losses = [problem.loss((first, second)) for first, second in zip(*run.params, strict=True)]
    np.testing.assert_allclose(losses, expected["loss"], atol=1e-11)


@pytest.mark.parametrize("name", ["G05_H1_state", "G06_H2_state"])
def test_states_and_invariants_agree_with_multiprecision(name):
    inputs, expected, tolerance = _case(name)
    weights = _weights(inputs["W"])
    problem = _factorization(weights, inputs["Sigma_Y"])
    np.testing.assert_allclose(problem.loss(weights), expected["loss0"], atol=1e-14)
    run = gf.integrate(
        gf.GradientFlow(problem), weights, t1=max(expected["t"]), rtol=1e-13, atol=1e-15, save_at=expected["t"]
    )
    for row, state in enumerate(expected["states"]):
        for layer, values in enumerate(state):
            np.testing.assert_allclose(run.params[layer][row], values, atol=tolerance)
        loss = problem.loss(tuple(layer[row] for layer in run.params))
        np.testing.assert_allclose(loss, expected["loss"][row], atol=tolerance)
    for layer, values in enumerate(expected["C_j"], start=1):
        np.testing.assert_allclose(invariants.imbalance(run.endpoint, layer), values, atol=tolerance)
    for layer, value in enumerate(expected["c_j"], start=1):
        np.testing.assert_allclose(invariants.norm_difference(run.endpoint, layer), value, atol=tolerance)


@pytest.mark.parametrize("name", ["H2", "H3"])
def test_g08_polynomials_of_lemma_1(name):
    inputs, expected, tolerance = _case("G08_lemma1_polynomials")
    weights, expected = _weights(inputs[f"W_{name}"]), expected[name]
    result = lemma1_polynomials(weights)
    np.testing.assert_allclose(result.C0, expected["C0"], atol=tolerance)
    np.testing.assert_allclose(result.c, expected["c"], atol=tolerance)
    np.testing.assert_allclose(result.kappa, expected["kappa"], atol=tolerance)
    np.testing.assert_allclose(np.trim_zeros(result.P, "f"), np.trim_zeros(expected["P_coeffs_high_to_low"], "f"),
                               atol=tolerance)  # fmt: skip
    np.testing.assert_allclose(np.trim_zeros(result.Q, "f"), np.trim_zeros(expected["Q_coeffs_high_to_low"], "f"),
                               atol=tolerance)  # fmt: skip
    g = float(np.sum(weights[-1] ** 2))
    np.testing.assert_allclose(g, expected["g"], atol=tolerance)
    power = g ** len(weights)
    lower, upper = result.C0 * power - np.polyval(result.P, g), power + np.polyval(result.Q, g)
    np.testing.assert_allclose([lower, upper], [expected["lower"], expected["upper"]], atol=tolerance)
    squared = float(np.sum(np.asarray(linear_algebra.product(weights, np.eye(weights[0].shape[1]))) ** 2))
    np.testing.assert_allclose(squared, expected["Pi_fro_sq"], atol=1e-7)
    assert lower <= squared <= upper


def test_g11_the_rate_certificate_and_its_envelope():
    inputs, expected, tolerance = _case("G11_remark2_H2_product")
    weights = _weights(inputs["W"])
    problem = _factorization(weights, inputs["Sigma_Y"])
    for layer in (1, 2):
        eigenvalues = np.linalg.eigvalsh(invariants.imbalance(weights, layer))
        np.testing.assert_allclose(eigenvalues, expected[f"eig_C{layer}"], atol=tolerance)
    flow = gf.GradientFlow(problem)
    rate = next(c for c in certificates_of(flow, weights) if c.name == "exponential_rate")
    assert rate.holds is True
    np.testing.assert_allclose([rate.values["lambda_1"], rate.values["lambda_2"]], expected["lam"], atol=tolerance)
    np.testing.assert_allclose(rate.values["alpha_product"], expected["alpha"], atol=tolerance)
    np.testing.assert_allclose(rate.values["alpha"], expected["alpha_improved"], atol=tolerance)
    times = np.array([float(t) for t in inputs["t"]])
    np.testing.assert_allclose(envelope(rate, times), expected["bound_improved"], atol=tolerance)
    run = gf.integrate(flow, weights, t1=3.0, rtol=1e-13, atol=1e-15, save_at=times)
    losses = [problem.loss(tuple(layer[row] for layer in run.params)) for row in range(4)]
    np.testing.assert_allclose(losses, expected["L"], atol=tolerance)
    assert np.all(losses <= envelope(rate, times))


def test_g12_the_rate_certificate_refuses():
    inputs, expected, tolerance = _case("G12_remark2_condition_false")
    weights = _weights(inputs["W"])
    problem = _factorization(weights, [[2, 0, 0], [0, 1, 0]])
    for layer in (1, 2):
        eigenvalues = np.linalg.eigvalsh(invariants.imbalance(weights, layer))
        np.testing.assert_allclose(eigenvalues, expected[f"eig_C{layer}"], atol=tolerance)
    rate = next(c for c in certificates_of(gf.GradientFlow(problem), weights) if c.name == "exponential_rate")
    assert rate.holds is False
    assert any(hypothesis.holds is False for hypothesis in rate.hypotheses)


def _h(w):
    return 0.5 * w[0] ** 2 + 0.5 * (1 - w[0] * w[1]) ** 2


@pytest.mark.parametrize("which", ["a", "b", "c"])
def test_g13_example_1_converges_although_the_paper_says_it_does_not(which):
    _, expected, tolerance = _case("G13_counterexample1_is_bounded")
    case = expected[which]
    run = gf.integrate(
        gf.GradientFlow(gf.Landscape(lambda w: w[2] ** 2 * _h(w))), np.array(case["start"]), t1=800.0, rtol=1e-12,
        atol=1e-14,
    )  # fmt: skip
    # z decays like exp(-rate t): what is left at the end is far below the tolerance of the limit.
    np.testing.assert_allclose(run.endpoint, case["limit"], atol=max(tolerance, 1e-9))
    assert np.abs(run.params[:, 1]).max() <= case["bound_y"]


def test_g14_h_escapes_like_the_fourth_root_of_time():
    inputs, expected, _ = _case("G14_true_unbounded_2d")
    flow = gf.GradientFlow(gf.Landscape(_h))
    run = gf.integrate(flow, np.array(inputs["start"]), t1=1e8, rtol=1e-11, atol=1e-13, save_at=inputs["t"])
    np.testing.assert_allclose(run.params[0], expected["xy_t10"], atol=1e-8)
    np.testing.assert_allclose(run.params[1], expected["xy_t100"], atol=1e-8)
    np.testing.assert_allclose(run.params[2:, 1], expected["y_large_t"], atol=1e-6)
    record = gf.monitor(flow, gf.integrate(flow, np.array(inputs["start"]), t1=1e8, rtol=1e-6, atol=1e-8))
    assert record.attrs["growth"] == "growing"
    assert abs(record.attrs["growth_exponent"] - 0.25) < 0.005


def test_g15_first_and_second_order_terms_are_the_exact_rationals():
    inputs, expected, tolerance = _case("G15_prop2_exact")
    weights, direction = _weights(inputs["W"]), _weights(inputs["w"])
    problem = _factorization(weights, inputs["Sigma_Y"])
    flat = np.asarray(ravel_pytree(direction)[0], float)
    flat = np.concatenate([layer.ravel() for layer in direction])
    gradient = np.concatenate([np.ravel(layer) for layer in problem.gradient(weights)])
    hessian = problem.hessian(weights)
    np.testing.assert_allclose(problem.loss(weights), expected["L"], rtol=tolerance)
    np.testing.assert_allclose(gradient @ flat, expected["Delta"], rtol=tolerance)
    np.testing.assert_allclose(flat @ hessian @ flat, expected["D2L_ww"], rtol=tolerance)
    np.testing.assert_allclose(0.5 * flat @ hessian @ flat, expected["H_W"], rtol=tolerance)


def test_g16_spectrum_at_the_origin_of_a_two_layer_network():
    inputs, expected, tolerance = _case("G16_hessian_H1_origin")
    d_in, hidden, d_out = inputs["dims"]
    weights = (np.zeros((hidden, d_in)), np.zeros((d_out, hidden)))
    sigma = np.zeros((d_out, d_in))
    sigma[:d_out, :d_out] = np.diag(inputs["sv"])
    problem = _factorization(weights, sigma)
    np.testing.assert_allclose(curvature.spectrum(problem, weights), expected["eig"], atol=tolerance)


@pytest.mark.parametrize("name", HESSIANS)
def test_critical_points_of_h2_are_recognised(name):
    inputs, expected, tolerance = _case(name)
    weights = _weights(inputs["W"])
    problem = _factorization(weights, inputs["Sigma_Y"])
    np.testing.assert_allclose(curvature.spectrum(problem, weights), expected["eig"], atol=tolerance)
    point = gf.classify(problem, weights)
    positive = len(point.eigenvalues) - point.index - point.nullity
    assert (point.index, point.nullity, positive) == (expected["n_neg"], expected["n_zero"], expected["n_pos"])
    assert (point.rank, point.rank_z) == (expected["r"], expected["rZ"])
    np.testing.assert_allclose(point.value, expected["L"], atol=tolerance)
    kinds = {True: "strict_saddle", False: "nonstrict_saddle", None: "global_minimum"}
    assert point.kind == kinds[expected["strict_saddle"]]


def test_g24_the_loss_falls_at_third_order_from_a_nonstrict_saddle():
    inputs, expected, _ = _case("G24_nonstrict_third_order_descent")
    base = _weights(inputs["base"])
    problem = _factorization(base, inputs["Sigma_Y"])
    level = problem.loss(base)
    for eps, naive, curve, along in zip(
        expected["eps"], expected["L_naive_minus_Lstar"], expected["L_curve_minus_Lstar"], expected["W_curve"],
        strict=True,
    ):  # fmt: skip
        moved = tuple(layer.copy() for layer in base)
        for layer in moved:
            layer[1, 1] += eps
        np.testing.assert_allclose(problem.loss(moved) - level, naive, atol=1e-12)
        np.testing.assert_allclose(problem.loss(_weights(along)) - level, curve, atol=1e-12)


def test_g25_critical_values_with_and_without_a_bottleneck():
    inputs, expected, tolerance = _case("G25_critical_values")
    sigma = np.diag(np.array(inputs["sv"], float))
    wide = gf.Regression(gf.networks.Linear((3, 3, 3)), np.eye(3), sigma)
    narrow = gf.Regression(gf.networks.Linear((3, 1, 3)), np.eye(3), sigma)
    np.testing.assert_allclose(np.sort(critical_sets.critical_values(wide).values), expected["values"], atol=tolerance)
    np.testing.assert_allclose(
        np.sort(critical_sets.critical_values(narrow).values), expected["values_min_width_1"], atol=tolerance
    )
    coincident = gf.Regression(gf.networks.Linear((3, 3, 3)), np.eye(3), np.diag([math.sqrt(5), 2.0, 1.0]))
    assert len(critical_sets.critical_values(coincident).values) == expected["n_distinct_sqrt5_2_1"]


def test_g26_a_critical_point_whose_product_is_not_diagonal():
    inputs, expected, tolerance = _case("G26_repeated_singular_values")
    weights = _weights(inputs["W"])
    problem = _factorization(weights, inputs["Sigma_Y"])
    assert max(np.abs(layer).max() for layer in problem.gradient(weights)) < 1e-15
    np.testing.assert_allclose(weights[1] @ weights[0], expected["product"], atol=tolerance)
    np.testing.assert_allclose(problem.loss(weights), expected["L"], atol=tolerance)
    point = gf.classify(problem, weights)
    assert (point.kind, point.captured, point.counts[0]) == ("strict_saddle", None, 1)


def test_g34_a_start_on_the_stable_set_of_a_nonstrict_saddle_converges_like_one_over_t():
    inputs, expected, tolerance = _case("G34_H2_scalar_polynomial_convergence")
    weights = _weights(inputs["W"])
    problem = _factorization(weights, [[inputs["s"]]])
    run = gf.integrate(gf.GradientFlow(problem), weights, t1=100.0, rtol=1e-12, atol=1e-14, save_at=inputs["t"])
    for layer in run.params:
        np.testing.assert_allclose(np.abs(layer.ravel()), expected["x"], atol=tolerance)
