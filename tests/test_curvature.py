"""Gradients, Hessians, spectra and Newton steps against automatic differentiation, exact arithmetic and each other."""

import json
from pathlib import Path

import compiling
import constructed_points
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from gradflow import Landscape, Regression, checks, curvature, networks, regularizers

CASES = {
    case["id"].split("_")[0]: case
    for case in json.loads((Path(__file__).parent / "golden/paper_003.json").read_text())["cases"]
}
HESSIANS = ("G18", "G19", "G21", "G23", "G23b")

pytestmark = pytest.mark.usefixtures("quiet")


def weights(case, name="W"):
    return tuple(np.array(layer, float) for layer in case["inputs"][name])


def factorization(sigma, widths, **settings):
    sigma = np.array(sigma, float)
    return Regression(networks.Linear(widths), np.eye(sigma.shape[1]), sigma, **settings)


def golden_problem(case):
    layers = weights(case)
    return factorization(case["inputs"]["Sigma_Y"], (layers[0].shape[1], *(layer.shape[0] for layer in layers))), layers


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


# widths, rank of X (None: full), settings; H = 0 .. 4, narrow and wide layers, d_out above and below d_in
SHAPES = [
    ((4, 3), None, {}),
    ((3, 4), 2, {"normalization": "mean"}),
    ((4, 2, 3), None, {"regularizer": regularizers.WeightDecay(0.3)}),
    ((5, 6, 2), 3, {}),
    ((4, 3, 2, 3), 2, {"normalization": "mean"}),
    ((2, 3, 4, 3, 5), None, {}),
    ((3, 2, 3, 1, 3, 2), 2, {"regularizer": regularizers.WeightDecay(0.1)}),
]


@pytest.fixture(params=SHAPES, ids=lambda shape: "-".join(map(str, shape[0])), scope="module")
def drawn(request):
    """A random problem, random weights, and gradient and Hessian of the loss on the samples by autodiff."""
    widths, rank_x, settings = request.param
    rng = np.random.default_rng(sum(widths))
    problem = constructed_points.problem(rng, widths, rank_x, **settings)
    params = tuple(rng.normal(size=shape) for shape in problem.network.shapes)
    X, Y = np.asarray(problem.X), np.asarray(problem.Y)
    weight = 1.0 if problem.normalization == "sum" else 1.0 / X.shape[1]
    with jax.enable_x64(True):
        vector, unravel = ravel_pytree(tuple(map(jnp.asarray, params)))

        def loss(vector):
            layers, outputs = unravel(vector), jnp.asarray(X)
            for layer in layers:
                outputs = layer @ outputs
            value = 0.5 * weight * jnp.sum((outputs - Y) ** 2)
            return value if problem.regularizer is None else value + problem.regularizer(layers)

        gradient, hessian = jax.jit(lambda v: (jax.grad(loss)(v), jax.hessian(loss)(v)))(vector)
        return problem, params, np.asarray(gradient), np.asarray(hessian)


def test_the_written_gradient_is_the_derivative_of_the_loss_on_the_samples(drawn):
    problem, params, gradient, _ = drawn
    assert np.linalg.norm(flat(problem.gradient(params)) - gradient) <= 1e-12 * np.linalg.norm(gradient)


def test_the_written_hessian_is_the_second_derivative_of_the_loss_on_the_samples(drawn):
    problem, params, _, hessian = drawn
    assert np.linalg.norm(problem.hessian(params) - hessian) <= 1e-12 * np.linalg.norm(hessian)


def test_hessian_products_are_those_of_the_written_hessian(drawn):
    problem, params, _, hessian = drawn
    product = curvature.quadratic_model(problem, params).product
    vector = np.random.default_rng(0).normal(size=len(hessian))
    assert np.linalg.norm(product(vector) - hessian @ vector) <= 1e-12 * np.linalg.norm(hessian @ vector)


def test_the_spectrum_is_that_of_the_hessian_by_autodiff(drawn):
    problem, params, _, hessian = drawn
    exact = np.linalg.eigvalsh(hessian)
    np.testing.assert_allclose(curvature.spectrum(problem, params), exact, rtol=0, atol=1e-12 * np.abs(exact).max())


def test_first_and_second_taylor_coefficients_are_the_exact_rationals_of_g15():
    case = CASES["G15"]
    problem, params = golden_problem(case)
    direction = flat(weights(case, "w"))
    assert float(problem.loss(params)) == pytest.approx(case["expected"]["L"], rel=1e-13)
    assert flat(problem.gradient(params)) @ direction == pytest.approx(case["expected"]["Delta"], rel=1e-13)
    # H_W of the paper is the coefficient of eps^2, half the quadratic form of the Hessian
    second = direction @ np.asarray(problem.hessian(params)) @ direction
    assert 0.5 * second == pytest.approx(case["expected"]["H_W"], rel=1e-13)
    assert second == pytest.approx(case["expected"]["D2L_ww"], rel=1e-13)


def test_the_origin_of_a_shallow_network_has_the_eigenvalues_of_g16():
    case = CASES["G16"]
    sigma = np.hstack([np.diag(np.array(case["inputs"]["sv"], float)), np.zeros((2, 1))])
    problem = factorization(sigma, tuple(case["inputs"]["dims"]))
    zero = tuple(np.zeros(shape) for shape in problem.network.shapes)
    np.testing.assert_allclose(curvature.spectrum(problem, zero), case["expected"]["eig"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", HESSIANS)
def test_spectra_of_the_saddles_of_paper_003_are_the_reference_ones(name):
    problem, params = golden_problem(CASES[name])
    np.testing.assert_allclose(curvature.spectrum(problem, params), CASES[name]["expected"]["eig"], rtol=0, atol=1e-10)


def test_the_targets_singular_values_are_those_of_y_on_the_row_space_of_x():
    case = CASES["G01"]
    problem = Regression(
        networks.Linear((3, 3, 2)), np.array(case["inputs"]["X"], float), np.array(case["inputs"]["Y"], float)
    )
    np.testing.assert_allclose(problem.spectrum.values, case["expected"]["S_Y"], rtol=0, atol=1e-11)
    np.testing.assert_allclose(problem.statistics.scales, case["expected"]["S_X"], rtol=0, atol=1e-11)
    assert problem.irreducible == pytest.approx(case["expected"]["const"], abs=1e-11)


def test_full_rank_data_can_have_a_zero_target():
    case = CASES["G03"]
    with pytest.warns(checks.HypothesisWarning, match="Assumption 2"):
        problem = Regression(
            networks.Linear((1, 1)), np.array(case["inputs"]["X"], float), np.array(case["inputs"]["Y"], float)
        )
    np.testing.assert_allclose(problem.spectrum.values, case["expected"]["S_Y"], rtol=0, atol=1e-14)
    assert problem.irreducible == pytest.approx(case["expected"]["min_loss"], abs=1e-14)


@pytest.fixture(scope="module")
def large():
    """A problem with more parameters than Newton steps treat densely, at weights that are near nothing."""
    rng = np.random.default_rng(3)
    problem = Regression(networks.Linear((20, 20, 15)), rng.normal(size=(20, 40)), rng.normal(size=(15, 40)))
    params = tuple(0.3 * rng.normal(size=shape) for shape in problem.network.shapes)
    assert curvature.DIRECT_LIMIT < flat(params).size < curvature.DENSE_LIMIT
    return problem, params, curvature.spectrum(problem, params)


def test_matrix_free_extremes_are_the_ends_of_the_dense_spectrum(large):
    problem, params, values = large
    ends = curvature.extreme_eigenvalues(problem, params, num=3)
    size = np.abs(values).max()
    np.testing.assert_allclose(ends.lowest, values[:3], rtol=0, atol=1e-9 * size)
    np.testing.assert_allclose(ends.highest, values[::-1][:3], rtol=0, atol=1e-9 * size)
    assert np.all(ends.lowest_error <= 1e-7 * size) and np.all(ends.highest_error <= 1e-7 * size)


def test_the_lowest_eigenvalue_is_the_same_dense_and_matrix_free(large):
    problem, params, values = large
    assert curvature.lowest_eigenvalue(problem, params) == pytest.approx(values[0], rel=1e-9)
    small = factorization([[2.0, 0.0], [0.0, 1.0]], (2, 2, 2))
    zero = (np.zeros((2, 2)), np.zeros((2, 2)))
    assert curvature.lowest_eigenvalue(small, zero) == pytest.approx(-2.0, rel=1e-13)


def test_repeated_calls_give_the_same_digits(large):
    problem, params, _ = large
    first, second = (curvature.extreme_eigenvalues(problem, params) for _ in range(2))
    assert first.lowest[0] == second.lowest[0] and first.highest[0] == second.highest[0]


def test_one_end_can_be_asked_for_alone(large):
    problem, params, values = large
    only = curvature.extreme_eigenvalues(problem, params, which="highest")
    assert only.highest[0] == pytest.approx(values[-1], rel=1e-9)
    assert only.lowest.size == 0 and only.lowest_error.size == 0


def test_a_zero_eigenvalue_of_high_multiplicity_is_found_matrix_free():
    # global minimum of a wide network: 40 * 20 + 15 * 40 parameters, rank of the Hessian at most 15 * 20
    rng = np.random.default_rng(4)
    problem = constructed_points.problem(rng, (20, 40, 15))
    params = constructed_points.critical_point(rng, problem, tuple(range(15)), "all zero")
    ends = curvature.extreme_eigenvalues(problem, params)
    # an end that is a dense cluster is known to the tolerance of the last attempt that met it, 1e-9 or 1e-6
    assert abs(ends.lowest[0]) <= 1e-6 * ends.highest[0]


def test_small_problems_get_their_extremes_from_the_dense_hessian():
    ends = curvature.extreme_eigenvalues(Landscape(lambda p: p[0] ** 2 - 3 * p[1] ** 2), np.array([0.1, 0.2]))
    assert ends.lowest[0] == pytest.approx(-6.0) and ends.highest[0] == pytest.approx(2.0)


def test_a_zero_hessian_has_zero_extremes():
    ends = curvature.extreme_eigenvalues(Landscape(jnp.sum), np.ones(9))
    assert ends.lowest[0] == 0.0 and ends.highest[0] == 0.0


def test_eigenpairs_reproduce_the_hessian():
    problem, params = golden_problem(CASES["G21"])
    values, vectors = curvature.eigenpairs(problem, params)
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, problem.hessian(params), rtol=0, atol=1e-13)


def test_the_newton_distance_of_a_quadratic_is_the_distance_to_its_minimum():
    bowl = Landscape(lambda p: (p[0] - 1) ** 2 + 50 * (p[1] + 2) ** 2)
    assert curvature.newton_distance(bowl, np.array([4.0, 2.0])) == pytest.approx(5.0, rel=1e-12)


@pytest.mark.parametrize(("x", "factor"), [(1.0, 1.0), (2.0, 2.125)])
def test_the_newton_distance_to_a_manifold_of_minima_is_the_distance_up_to_a_factor(x, factor):
    # 1/2 (1 - x y)^2 at a distance d from (x, 1/x): the Newton step is d along the normal and d (x^2 - 1/x^2) / 2 along
    # the manifold, so the factor is (x^2 + 1/x^2) / 2, 1 where the two layers are balanced
    valley = Landscape(lambda p: 0.5 * (1 - p[0] * p[1]) ** 2)
    normal = np.array([1 / x, x]) / np.hypot(1 / x, x)
    distance = curvature.newton_distance(valley, np.array([x, 1 / x]) + 1e-6 * normal)
    assert distance == pytest.approx(factor * 1e-6, rel=1e-4)


def test_the_newton_distance_leads_to_a_saddle_as_well():
    saddle = Landscape(lambda p: p[0] ** 2 - 3 * p[1] ** 2)
    assert curvature.newton_distance(saddle, np.array([3.0, 4.0])) == pytest.approx(5.0, rel=1e-12)


def test_the_newton_distance_at_a_cubic_degenerate_point_is_half_the_distance():
    chain = factorization([[1.0]], (1, 1, 1, 1))
    x = 1e-4
    params = (np.array([[-x]]), np.array([[x]]), np.array([[x]]))
    assert curvature.newton_distance(chain, params) == pytest.approx(0.5 * np.sqrt(3) * x, rel=1e-3)


@pytest.mark.parametrize("limit", [600, 0])
@pytest.mark.parametrize("offset", [1e-1, 1e-4, 1e-8])
def test_the_least_distance_is_below_the_newton_distance_and_within_the_condition_of_it(monkeypatch, limit, offset):
    monkeypatch.setattr(curvature.hessians, "DIRECT_LIMIT", limit)
    landscape = Landscape(lambda y: 0.5 * (y[0] ** 2 + 4.0 * y[1] ** 2 + 20.0 * y[2] ** 2) + y[0] * y[1] * y[2])
    model = curvature.quadratic_model(landscape, offset * np.array([1.0, -0.5, 0.2]))
    assert 0.01 * model.distance < model.least_distance < model.distance


def test_a_gradient_that_may_be_rounding_has_no_least_distance():
    model = curvature.quadratic_model(Landscape(lambda y: 0.5 * (y[0] - 1.0) ** 2), np.array([1.0 + 4e-16]))
    assert model.least_distance == 0.0


def test_rounding_is_no_distance():
    rng = np.random.default_rng(5)
    problem = constructed_points.problem(rng, (4, 3, 3))
    params = constructed_points.critical_point(rng, problem, (0, 1, 2), "all zero")
    assert curvature.newton_distance(problem, params) <= 1e-13


def test_newton_steps_agree_dense_and_matrix_free(monkeypatch):
    rng = np.random.default_rng(6)
    problem = constructed_points.problem(rng, (4, 3, 3))
    params = constructed_points.critical_point(rng, problem, (0, 1, 2), "all zero")
    near = tuple(layer + 1e-4 * rng.normal(size=layer.shape) for layer in params)
    dense = curvature.newton_step(problem, near)
    monkeypatch.setattr(curvature.hessians, "DIRECT_LIMIT", 0)
    krylov = curvature.newton_step(problem, near)
    # the two truncate the curvatures of order 1e-4 along the set of minima differently
    assert np.linalg.norm(krylov - dense) <= 1e-2 * np.linalg.norm(dense)
    assert curvature.quadratic_model(problem, near).radius == pytest.approx(
        np.abs(curvature.spectrum(problem, near)).max(), rel=0.1
    )


def test_curvature_takes_any_pytree():
    bowl = Landscape(lambda p: jnp.sum(p["a"] ** 2) + 2 * p["b"][0] ** 2)
    params = {"a": np.ones((2, 2)), "b": (np.array(0.5),)}
    np.testing.assert_allclose(curvature.spectrum(bowl, params), [2, 2, 2, 2, 4], rtol=1e-14)
    assert curvature.newton_distance(bowl, params) == pytest.approx(np.sqrt(4.25), rel=1e-13)


def test_programs_are_counted():
    with compiling.counted() as programs:
        for _ in range(2):
            jax.jit(_tripled)(np.ones(7))
    assert len(programs) == 1


def _tripled(vector):
    return 3 * vector


def test_states_of_one_shape_share_one_compiled_product(large):
    problem, params, _ = large
    curvature.lowest_eigenvalue(problem, params)
    with compiling.counted() as programs:
        curvature.lowest_eigenvalue(problem, tuple(2 * layer for layer in params))
    assert programs == []


def test_results_are_double_precision_and_the_configuration_is_left_alone(large):
    problem, params, values = large
    assert isinstance(values, np.ndarray) and values.dtype == np.float64
    assert isinstance(curvature.newton_distance(problem, params), float)
    assert not jax.config.jax_enable_x64


def test_a_nonfinite_hessian_gives_nan():
    broken = Landscape(lambda p: jnp.sqrt(p[0]) + p[1])
    params = np.array([-1.0, 0.0])
    assert np.isnan(curvature.spectrum(broken, params)).all()
    assert np.isnan(curvature.eigenpairs(broken, params)[0]).all()
    assert np.isnan(curvature.newton_distance(broken, params))
    assert np.isnan(curvature.lowest_eigenvalue(broken, params))
    ends = curvature.extreme_eigenvalues(Landscape(lambda p: jnp.sqrt(jnp.sum(p))), -np.ones(8))
    assert np.isnan(ends.lowest).all() and np.isnan(ends.highest_error).all()


def test_too_many_parameters_for_all_eigenvalues_are_refused_with_the_way_out():
    bowl = Landscape(lambda p: jnp.sum(p**2))
    with pytest.raises(checks.InputError, match=r"at most 3000 entries.*got 3001.*extreme_eigenvalues"):
        curvature.spectrum(bowl, np.zeros(3001))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num": 2}, "`num` must be less than the number of parameters 2, but got 2"),
        ({"num": 0}, "`num` must be at least 1"),
        ({"which": "lowset"}, "Perhaps you meant 'lowest'"),
    ],
)
def test_wrong_calls_for_extremes_are_refused(settings, message):
    with pytest.raises(checks.InputError, match=message):
        curvature.extreme_eigenvalues(Landscape(lambda p: jnp.sum(p**2)), np.zeros(2), **settings)


def test_a_nonfinite_state_is_refused():
    with pytest.raises(checks.InputError, match="must be finite"):
        curvature.lowest_eigenvalue(Landscape(lambda p: jnp.sum(p**2)), np.array([0.0, np.nan]))


def test_lanczos_falls_back_to_looser_tolerances_and_says_so(large, monkeypatch):
    problem, params, values = large
    original = curvature.spectra.sparse.eigsh

    def reluctant(*args, tol, **kwargs):
        if tol < 1e-4:
            raise curvature.spectra.sparse.ArpackNoConvergence("no", np.zeros(0), np.zeros((0, 0)))
        return original(*args, tol=tol, **kwargs)

    monkeypatch.setattr(curvature.spectra.sparse, "eigsh", reluctant)
    ends = curvature.extreme_eigenvalues(problem, params)
    assert abs(ends.lowest[0] - values[0]) <= ends.lowest_error[0]
    monkeypatch.setattr(curvature.spectra, "TOLERANCES", (1e-9,))
    ends = curvature.extreme_eigenvalues(problem, params)
    assert np.isnan(ends.lowest[0]) and ends.lowest_error[0] == np.inf


def test_the_least_distance_holds_for_a_hessian_of_equal_entries():
    landscape = Landscape(lambda y: 0.5 * jnp.sum(y) ** 2)
    model = curvature.quadratic_model(landscape, np.full(30, 0.1))
    assert 0.4 * model.distance < model.least_distance <= model.distance
