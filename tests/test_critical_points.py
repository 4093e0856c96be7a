"""Named endpoints: every kind where theory knows it, "don't know" where it must be said, and refinement on a leash."""

import json
from pathlib import Path

import compiling
import constructed_points
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradflow as gf
from gradflow import checks, critical_points, curvature, networks, regularizers
from gradflow.critical_points import classification, classify, refine, refinement

CASES = {
    case["id"]: case for case in json.loads((Path(__file__).parent / "golden/papers_000_002.json").read_text())["cases"]
}

pytestmark = pytest.mark.usefixtures("quiet")


def arrays(layers):
    return tuple(np.array(layer, float) for layer in layers)


def regression(X, Y, weights, **options):
    widths = (weights[0].shape[1], *(layer.shape[0] for layer in weights))
    return gf.Regression(networks.Linear(widths), np.array(X, float), np.array(Y, float), **options)


def flat(params):
    return np.concatenate([np.ravel(layer) for layer in params])


def named(function, start, **options):
    return classify(gf.Landscape(function), np.array(start, float), **options)


def nonlinear(weights, X, Y):
    """A loss that is no landscape and has no closed form: least fourth powers."""
    return regression(X, Y, weights, loss=lambda outputs, targets: jnp.sum((outputs - targets) ** 4))


# --- landscapes, by the Hessian ---------------------------------------------------------------------------------------


LANDSCAPES = {
    "bowl": (lambda p: p[0] ** 2 + 3 * p[1] ** 2, [0, 0], "local_minimum", 0, 0),
    "hill": (lambda p: jnp.cos(p[0]) + jnp.cos(p[1]), [0, 0], "maximum", 2, 0),
    "pass": (lambda p: p[0] ** 2 - 3 * p[1] ** 2, [0, 0], "strict_saddle", 1, 0),
    "pass with a flat direction": (lambda p: p[0] * p[1] + 0 * p[2], [0, 0, 0], "strict_saddle", 1, 1),
    # the Hessian does not tell these apart: a saddle of order 3, a minimum, a maximum, a plateau, a valley of minima
    "monkey saddle": (lambda p: p[0] ** 3 - 3 * p[0] * p[1] ** 2, [0, 0], "degenerate", 0, 2),
    "quartic minimum": (lambda p: p[0] ** 4 + p[1] ** 2, [0, 0], "degenerate", 0, 1),
    "quartic maximum": (lambda p: -(p[0] ** 4) - p[1] ** 4, [0, 0], "degenerate", 0, 2),
    "plateau": (lambda p: 0 * p[0] + 0 * p[1], [1, 2], "degenerate", 0, 2),
    "valley": (lambda p: 0.5 * (1 - p[0] * p[1]) ** 2, [1, 1], "degenerate", 0, 1),
    "slope": (lambda p: p[0] + p[1] ** 2, [0, 0], "not_critical", None, None),
    "gentle slope": (lambda p: jnp.exp(p[0]), [-10], "not_critical", None, None),
}


@pytest.mark.parametrize("name", LANDSCAPES)
def test_a_landscapes_points_are_named_by_the_hessian(name):
    function, start, kind, index, nullity = LANDSCAPES[name]
    point = named(function, start)
    assert (point.kind, point.index, point.nullity) == (kind, index, nullity)
    assert point.captured is point.rank is point.value is None
    assert point.is_decided == (kind not in ("degenerate", "not_critical"))


@pytest.mark.parametrize("signs", [(1, 1, 1), (1, -1, 0), (0, 0, 1), (0, 0, 0)])
def test_the_double_well_in_three_dimensions_has_minima_saddles_and_a_maximum(signs):
    # x_i' = x_i - x_i^3: the index is the number of coordinates at zero
    point = named(lambda p: jnp.sum(p**4 / 4 - p**2 / 2), np.array(signs) + 1e-5)
    index = signs.count(0)
    assert point.index == index and point.nullity == 0
    assert point.kind == ("local_minimum", "strict_saddle", "strict_saddle", "maximum")[index]
    np.testing.assert_allclose(point.params, signs, atol=1e-14)
    np.testing.assert_allclose(np.sort(point.eigenvalues), sorted(-1.0 if s == 0 else 2.0 for s in signs), atol=1e-12)


def test_a_state_near_a_point_is_moved_to_it_and_the_move_is_reported():
    point = named(lambda p: (p[0] - 1) ** 2 + jnp.cosh(p[1]), [1 + 3e-4, 4e-4])
    np.testing.assert_allclose(point.params, [1, 0], atol=1e-12)
    assert point.displacement == pytest.approx(5e-4, rel=1e-6)
    assert point.grad_norm < 1e-14 and point.loss == pytest.approx(1.0, abs=1e-14)
    assert point.spectrum == "dense" and "positive" in point.reason


def test_a_state_that_is_not_critical_is_left_where_it_is():
    point = named(lambda p: p[0] + p[1] ** 2, [0, 1e-4])
    np.testing.assert_array_equal(point.params, [0, 1e-4])
    assert point.displacement == 0.0 and point.grad_norm == pytest.approx(1.0) and np.isnan(point.zero_tolerance)
    assert point.reason.startswith("Not critical: ")


def test_a_small_gradient_far_from_any_critical_point_is_not_critical():
    # the slope of h at its far end: the gradient is 1e-4 of the start's, there is no critical point for y > 0
    def h(w):
        return 0.5 * w[0] ** 2 + 0.5 * (1 - w[0] * w[1]) ** 2

    y = 1e3
    point = named(h, [y / (1 + y**2), y])
    assert point.grad_norm < 1e-8 and point.kind == "not_critical"


def test_a_critical_point_of_h_is_its_saddle_with_the_known_eigenvalues():
    point = named(lambda w: 0.5 * w[0] ** 2 + 0.5 * (1 - w[0] * w[1]) ** 2, [1e-5, -1e-5])
    assert point.kind == "strict_saddle"
    np.testing.assert_allclose(point.eigenvalues, [(1 - 5**0.5) / 2, (1 + 5**0.5) / 2], atol=1e-9)


def test_where_the_gradient_is_not_finite_nothing_is_claimed():
    point = named(lambda p: jnp.sum(jnp.sqrt(p)), [0.0, 1.0])
    assert point.kind == "undetermined" and not point.is_decided
    assert "not finite" in point.reason
    assert (point.index, point.nullity) == (None, None) and np.isnan(point.eigenvalues).all()


def test_where_the_hessian_alone_is_not_finite_nothing_is_claimed():
    # x^(3/2): the gradient vanishes at the origin, the second derivative is infinite
    point = named(lambda p: jnp.sum(p**1.5), [0.0, 0.0])
    assert not point.is_decided and "not finite" in point.reason
    assert (point.index, point.nullity) == (None, None) and np.isnan(point.eigenvalues).all()


def test_states_that_are_not_finite_are_refused():
    with pytest.raises(checks.InputError, match="must be finite"):
        named(lambda p: jnp.sum(p**2), [np.nan, 0])


# --- linear networks, by theory ---------------------------------------------------------------------------------------

STRICTNESS = {True: "strict_saddle", False: "nonstrict_saddle", None: "global_minimum"}


@pytest.mark.parametrize("name", CASES["G10"]["inputs"]["points"])
def test_g10_one_point_of_every_category_of_paper_002_is_named(name):
    case = CASES["G10"]
    weights, expected = arrays(case["inputs"]["points"][name]), case["expected"]["cases"][name]
    point = classify(regression(case["inputs"]["X"], case["inputs"]["Y"], weights), weights)
    assert point.kind == STRICTNESS[expected["strict"]]
    assert (point.index, point.nullity) == (expected["hessian_inertia"]["neg"], expected["hessian_inertia"]["zero"])
    assert point.counts == tuple(expected["patterns"][0]["p"]) and point.rank == sum(point.counts)
    assert point.value == pytest.approx(expected["loss"], abs=1e-12)
    assert point.eigenvalues[0] == pytest.approx(expected["hessian_min_eig"], abs=1e-10)
    assert point.displacement <= 1e-14


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("G01", "strict_saddle"),
        ("G02", "strict_saddle"),
        ("G03", "strict_saddle"),
        ("G05", "strict_saddle"),
        ("G21", "global_minimum"),
    ],
)
def test_shallow_points_of_papers_001_and_002_are_named(name, kind):
    case = CASES[name]
    both = {**case["expected"], **case["inputs"]}
    weights = arrays([both[key] for key in (("W1", "W2") if "W1" in both else ("A1", "A2"))])
    point = classify(regression(both["X"], both["Y"], weights), weights)
    assert point.kind == kind
    assert point.loss == pytest.approx(both.get("loss", both.get("g")), abs=1e-12)
    if kind == "strict_saddle":
        assert point.index == both.get("morse_index_formula", 1)


def test_g06_a_zero_of_the_loss_is_a_global_minimum_with_a_flat_direction():
    problem = gf.Regression(networks.Linear((1, 1, 1)), [[2.0]], [[0.0]])
    point = classify(problem, arrays([[[0.0]], [[1.0]]]))
    assert (point.kind, point.index, point.nullity) == ("global_minimum", 0, 1)


@pytest.mark.parametrize("widths", [(4, 3, 3), (4, 3, 2, 3), (3, 3, 4, 3, 2)])
def test_perturbed_critical_points_keep_their_name(widths):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        problem = constructed_points.problem(rng, widths)
        weights, _ = constructed_points.random_critical_point(rng, problem)
        near = tuple(layer + 1e-8 * rng.normal(size=layer.shape) for layer in weights)
        point, other = classify(problem, weights), classify(problem, near)
        # strict and global kinds are stable; a non-strict one may only be left open
        assert other.kind == point.kind or (point.kind == "nonstrict_saddle" and other.kind == "undetermined")
        assert other.counts == point.counts and other.value == pytest.approx(point.value, rel=1e-12)
        assert other.displacement <= 1e-6


@pytest.mark.parametrize(
    ("size", "expected"), [(1e-8, {"nonstrict_saddle"}), (1e-6, {"nonstrict_saddle", "undetermined"})]
)
def test_rounding_of_the_position_makes_no_descent_at_a_nonstrict_saddle(size, expected):
    # the third derivative turns a position known to 1e-8 into eigenvalues of -1e-8; they must not count
    kinds = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        problem = constructed_points.problem(rng, (4, 3, 2, 3))
        weights = constructed_points.critical_point(rng, problem, (0,)[: seed % 2], "all zero")
        point = classify(problem, tuple(layer + size * rng.normal(size=layer.shape) for layer in weights))
        assert point.eigenvalues[0] < 0
        kinds.add(point.kind)
    assert kinds == expected


def test_a_saddle_is_refined_to_the_saddle_and_not_past_it():
    rng = np.random.default_rng(3)
    problem = constructed_points.problem(rng, (4, 3, 3))
    weights = constructed_points.critical_point(rng, problem, (1,), "all zero")
    level = float(problem.loss(weights))
    for size in (1e-10, 1e-7, 1e-5):
        near = tuple(layer + size * rng.normal(size=layer.shape) for layer in weights)
        point = classify(problem, near)
        assert (point.kind, point.captured) == ("strict_saddle", (1,))
        assert point.loss == pytest.approx(level, rel=1e-12)
        assert point.displacement <= 10 * size * np.sqrt(flat(weights).size)


def test_a_state_beyond_the_leash_is_not_critical_and_a_longer_leash_takes_it_in():
    rng = np.random.default_rng(4)
    problem = constructed_points.problem(rng, (4, 3, 3))
    weights = constructed_points.critical_point(rng, problem, (0, 1, 2), "all zero")
    near = tuple(layer + 2e-3 * rng.normal(size=layer.shape) for layer in weights)
    assert classify(problem, near, max_displacement=1e-5).kind == "not_critical"
    assert "further than refinement may move" in classify(problem, near, max_displacement=1e-5).reason
    point = classify(problem, near, max_displacement=0.1)
    assert point.kind == "global_minimum" and point.displacement <= 0.1


def test_the_middle_of_a_trajectory_is_not_critical():
    rng = np.random.default_rng(5)
    problem = constructed_points.problem(rng, (4, 3, 3))
    weights = tuple(rng.normal(size=shape) for shape in problem.network.shapes)
    point = classify(problem, weights)
    assert point.kind == "not_critical" and point.captured is None and len(point.eigenvalues) == 21


@pytest.mark.parametrize(
    ("size", "kind"),
    [(0.1, "strict_saddle"), (1e-6, "strict_saddle"), (2e-7, "undetermined"), (2e-8, "nonstrict_saddle")],
)
def test_strictness_that_hangs_on_one_weight_follows_it(size, kind):
    # a scalar chain of three with one weight left: W_2 = size alone makes the pivot (3, 1)
    weights = arrays([[[0.0]], [[size]], [[0.0]]])
    problem = regression([[1.0]], [[1.0]], weights)
    assert classify(problem, weights).kind == kind


def test_theory_and_hessian_that_contradict_each_other_give_undetermined(monkeypatch):
    case = CASES["G10"]
    for name in ("a_global", "e_remaining_nonstrict"):
        weights = arrays(case["inputs"]["points"][name])
        problem = regression(case["inputs"]["X"], case["inputs"]["Y"], weights)
        values = curvature.spectrum(problem, weights)
        monkeypatch.setattr(classification, "spectrum", lambda *_, values=values: np.concatenate([[-1.0], values[1:]]))
        point = classify(problem, weights)
        assert point.kind == "undetermined" and "eigenvalue -1.0e+00" in point.reason


def test_a_recognised_form_that_does_not_fit_gives_undetermined(monkeypatch):
    case = CASES["G10"]
    weights = arrays(case["inputs"]["points"]["a_global"])
    problem = regression(case["inputs"]["X"], case["inputs"]["Y"], weights)
    monkeypatch.setattr("gradflow.critical_sets.deep_linear.recognition.CAPTURE_TOLERANCE", -1.0)
    point = classify(problem, weights)
    assert point.kind == "undetermined" and "Captured strengths" in point.reason


def test_an_ambiguous_rank_is_settled_by_descent_in_the_hessian(monkeypatch):
    weights = arrays([[[1, 0, 0], [0, 0, 1]], [[2, 0], [0, 1]], [[1, 0], [0, 0]]])
    problem = regression(np.eye(3), [[2, 0, 0], [0, 1, 0]], weights)
    original = classification.recognise
    monkeypatch.setattr(classification, "recognise", lambda problem, params, _: original(problem, params, 0.1))
    assert original(problem, weights, 0.1).strict is None
    assert classify(problem, weights).kind == "strict_saddle"


def test_an_ambiguous_rank_without_visible_descent_is_undetermined():
    # a scalar chain (0, s, s, 0): the lowest eigenvalue is -s^2 = -1e-12, and whether s^2 is zero cannot be told
    weights = arrays([[[0.0]], [[1e-6]], [[1e-6]], [[0.0]]])
    point = classify(regression([[1.0]], [[1.0]], weights), weights)
    assert point.kind == "undetermined" and not point.is_decided
    assert "a rank depends on weights" in point.reason


# --- what the name must not depend on ---------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6))
@settings(max_examples=6)
def test_the_kind_index_and_captured_set_do_not_depend_on_the_hidden_basis(seed):
    rng = np.random.default_rng(seed)
    problem = constructed_points.problem(rng, (4, 3, 3))
    weights, _ = constructed_points.random_critical_point(rng, problem)
    turn = constructed_points.orthogonal(rng, 3) @ np.diag(rng.uniform(0.5, 2, size=3))
    point = classify(problem, weights)
    other = classify(problem, (turn @ weights[0], weights[1] @ np.linalg.inv(turn)))
    assert (point.kind, point.index, point.nullity, point.captured) == (
        other.kind, other.index, other.nullity, other.captured,
    )  # fmt: skip


def test_repeating_every_sample_changes_no_eigenvalue_of_a_mean_loss():
    rng = np.random.default_rng(7)
    problem = constructed_points.problem(rng, (4, 3, 3), normalization="mean")
    weights = constructed_points.critical_point(rng, problem, (0, 2), "all zero")
    repeated = regression(np.tile(problem.X, 40), np.tile(problem.Y, 40), weights, normalization="mean")
    point, other = classify(problem, weights), classify(repeated, weights)
    assert (point.kind, point.captured, point.index, point.nullity) == (
        other.kind, other.captured, other.index, other.nullity,
    )  # fmt: skip
    np.testing.assert_allclose(other.eigenvalues, point.eigenvalues, atol=1e-12 * point.eigenvalues[-1])
    assert other.loss == pytest.approx(point.loss, rel=1e-12)


def test_samples_are_not_read_when_the_statistics_say_all():
    # compiled gradients and Hessians for many samples are those for few: nothing has the shape of the samples
    rng = np.random.default_rng(8)
    problem = constructed_points.problem(rng, (4, 3, 3), normalization="mean")
    weights = constructed_points.critical_point(rng, problem, (0, 1, 2), "all zero")
    classify(problem, weights)
    repeated = regression(np.tile(problem.X, 30), np.tile(problem.Y, 30), weights, normalization="mean")
    with compiling.counted() as programs:
        classify(repeated, weights)
    assert programs == []


def test_data_may_be_rank_deficient_and_layers_narrow():
    rng = np.random.default_rng(9)
    problem = constructed_points.problem(rng, (4, 1, 3), rank_x=2)
    for captured, kind in (((0,), "global_minimum"), ((1,), "strict_saddle"), ((), "strict_saddle")):
        weights = constructed_points.critical_point(rng, problem, captured, "all zero")
        point = classify(problem, weights)
        assert (point.kind, point.captured) == (kind, captured)
        assert point.value == pytest.approx(point.loss, rel=1e-12)


def test_a_linear_map_has_one_minimum():
    problem = constructed_points.problem(np.random.default_rng(10), (4, 3))
    weights = (np.asarray(problem.Y) @ np.linalg.pinv(problem.X),)
    assert classify(problem, weights).kind == "global_minimum"


# --- problems without closed form -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def decayed():
    """A scalar chain ``1/2 (1 - x y)^2 + mu/2 (x^2 + y^2)``, mu = 1/4: minima at x y = 1 - mu, a saddle at zero."""
    return regression([[1.0]], [[1.0]], arrays([[[1.0]], [[1.0]]]), regularizer=regularizers.WeightDecay(0.25))


def test_weight_decay_is_classified_by_the_hessian(decayed):
    # WeightDecay(strength) is read from its value so that the test does not repeat its convention
    strength = 2 * float(decayed.regularizer(arrays([[[1.0]], [[0.0]]])))
    x = np.sqrt(1 - strength)
    point = classify(decayed, arrays([[[x + 1e-6]], [[x - 2e-6]]]))
    assert (point.kind, point.index, point.nullity, point.captured) == ("local_minimum", 0, 0, None)
    np.testing.assert_allclose(flat(point.params), [x, x], atol=1e-12)
    np.testing.assert_allclose(point.eigenvalues, [2 * strength, 2 - 2 * strength], atol=1e-10)
    saddle = classify(decayed, arrays([[[1e-6]], [[0.0]]]))
    assert (saddle.kind, saddle.index) == ("strict_saddle", 1)
    np.testing.assert_allclose(saddle.eigenvalues, [strength - 1, strength + 1], atol=1e-10)


def test_a_minimum_of_a_regularised_loss_is_not_called_global(decayed):
    strength = 2 * float(decayed.regularizer(arrays([[[1.0]], [[0.0]]])))
    x = np.sqrt(1 - strength)
    assert classify(decayed, arrays([[[x]], [[x]]])).kind != "global_minimum"


def test_another_loss_of_a_linear_network_is_classified_by_the_hessian():
    weights = arrays([[[1.0]], [[1.0]]])
    point = classify(nonlinear(weights, [[1.0]], [[1.0]]), weights)
    # all of (1 - x y)^4 is flat to third order at its zero: no more is claimed
    assert (point.kind, point.captured) == ("degenerate", None)


def test_a_squared_error_of_another_network_at_zero_is_a_global_minimum():
    class Square(networks.AbstractNetwork):
        """``outputs = W^2 inputs``, entry by entry."""

        @property
        def shapes(self):
            return ((1, 2),)

        def __call__(self, params, inputs):
            return params[0] ** 2 @ inputs

    problem = gf.Regression(Square(), np.eye(2), np.array([[1.0, 4.0]]))
    point = classify(problem, arrays([[[1.0, -2.0]]]))
    assert (point.kind, point.index, point.nullity) == ("global_minimum", 0, 0)
    assert "lower bound" in point.reason
    saddle = classify(problem, arrays([[[0.0, 2.0]]]))
    assert (saddle.kind, saddle.index) == ("strict_saddle", 1)
    averaged = gf.Regression(Square(), np.eye(2), np.array([[1.0, 4.0]]), normalization="mean")
    assert classify(averaged, arrays([[[1.0, 2.0]]])).kind == "global_minimum"


# --- many parameters --------------------------------------------------------------------------------------------------


def test_beyond_3000_parameters_the_ends_of_the_spectrum_are_used():
    rng = np.random.default_rng(11)
    scales = np.linspace(1, 2, 3001)
    bowl = gf.Landscape(lambda p: 0.5 * jnp.sum(scales * p**2))
    point = classify(bowl, 1e-6 * rng.normal(size=3001))
    assert (point.spectrum, point.index, point.nullity) == ("extreme", None, None)
    assert point.kind == "undetermined" and "others are not known" in point.reason
    assert len(point.eigenvalues) == 2 * critical_points.classification.NUM_EXTREME
    np.testing.assert_allclose(point.eigenvalues[[0, -1]], [1, 2], atol=1e-3)
    assert point.grad_norm < 1e-8
    saddle = classify(
        gf.Landscape(lambda p: 0.5 * jnp.sum(scales * p**2) - 2 * p[0] ** 2), 1e-6 * rng.normal(size=3001)
    )
    assert saddle.kind == "strict_saddle" and saddle.eigenvalues[0] == pytest.approx(-3.0, abs=1e-6)


def test_a_global_minimum_of_a_large_network_is_named_by_theory():
    rng = np.random.default_rng(12)
    problem = constructed_points.problem(rng, (30, 60, 30))
    weights = constructed_points.critical_point(rng, problem, tuple(range(30)), "all zero")
    near = tuple(layer + 1e-8 * rng.normal(size=layer.shape) for layer in weights)
    point = classify(problem, near)
    assert point.kind == "global_minimum" and point.spectrum == "extreme" and point.index is None
    assert point.captured == tuple(range(30))


# --- refinement -------------------------------------------------------------------------------------------------------


def test_refinement_of_a_quadratic_takes_one_step_to_the_exact_point():
    refined = refine(gf.Landscape(lambda p: (p[0] - 1) ** 2 - 50 * (p[1] + 2) ** 2), np.array([1.0003, -2.0004]))
    assert refined.is_critical and refined.num_steps == 1
    np.testing.assert_allclose(refined.params, [1, -2], atol=1e-14)
    assert refined.displacement == pytest.approx(5e-4, rel=1e-9)


def test_refinement_moves_along_the_normal_of_a_manifold_of_minima():
    # 1/2 (1 - x y)^2 from a distance d along the normal at (1, 1): the nearest point of the manifold is (1, 1)
    valley = gf.Landscape(lambda p: 0.5 * (1 - p[0] * p[1]) ** 2)
    refined = refine(valley, np.array([1.0, 1.0]) + 3e-4)
    np.testing.assert_allclose(refined.params, [1, 1], atol=1e-12)
    assert refined.is_critical and refined.displacement == pytest.approx(3e-4 * np.sqrt(2), rel=1e-6)


@pytest.mark.parametrize(("degree", "accuracy"), [(3, 1e-7), (4, 1e-5), (6, 1e-3)])
def test_refinement_of_a_degenerate_point_gets_as_near_as_its_order_allows(degree, accuracy):
    refined = refine(gf.Landscape(lambda p: p[0] ** degree + p[1] ** 2), np.array([9e-4, 1e-4]))
    assert refined.is_critical
    assert abs(refined.params[0]) <= accuracy and abs(refined.params[1]) <= 1e-12


def test_refinement_never_leaves_its_leash():
    rng = np.random.default_rng(13)
    problem = constructed_points.problem(rng, (4, 3, 3))
    for seed in range(6):
        weights = tuple(np.random.default_rng(seed).normal(size=shape) for shape in problem.network.shapes)
        for leash in (1e-3, 1e-1):
            refined = refine(problem, weights, max_displacement=leash)
            assert refined.displacement <= leash
            assert not refined.is_critical or refined.grad_norm <= 1e-7 * problem.gradient_scale


@pytest.mark.parametrize("degree", [4, 6])
def test_near_a_degenerate_minimum_beside_a_steep_direction_the_kind_is_degenerate(degree):
    # the curvature left in x is rounding of the curvature in y; a slope of the same size would be 10 orders larger
    point = named(lambda p: p[0] ** degree + p[1] ** 2, [3e-4, 0.0])
    assert point.kind == "degenerate" and point.nullity == 1


def test_the_leash_is_measured_from_the_start_and_not_from_step_to_step():
    # Newton steps on x^4 are a third of the distance each: 0.0033, then 0.0022, which would be beyond 0.005
    refined = refine(gf.Landscape(lambda p: p[0] ** 4), np.array([0.01]), max_displacement=0.005)
    assert 0 < refined.displacement <= 0.005 and refined.params[0] >= 0.005


def test_an_eigenvalue_that_the_uncertain_position_could_make_is_not_resolved():
    # x^3 + 50 y^2 at (x, 0): eigenvalue 6 x, Newton step x/2, change of the eigenvalue 6 per distance: 10 * 3 x > 6 x
    cubic = gf.Landscape(lambda p: p[0] ** 3 + 50 * p[1] ** 2)
    model = curvature.quadratic_model(cubic, np.array([1e-3, 0.0]))
    assert refinement._resolution(model, 6.0, 1e-4) == pytest.approx(6e-3, rel=1e-12)
    # were the eigenvalue to change by less than a fifth of that, it would be told from zero,
    assert refinement._resolution(model, 1.0, 1e-4) == 0.0


def test_the_default_leash_is_a_thousandth_of_the_states_size():
    cosine = gf.Landscape(lambda p: jnp.cos(p[0]))
    inside, outside = 1000 * np.pi + 3.0, 1000 * np.pi + 5.0
    assert refine(cosine, np.array([1000 * np.pi + 1.5])).displacement <= 0.001 * inside
    assert refine(cosine, np.array([1.0])).displacement <= 0.001
    assert not refine(cosine, np.array([1.0])).is_critical
    assert refine(cosine, np.array([outside])).displacement <= 0.001 * outside


def test_a_slope_without_curvature_is_not_critical_whatever_its_size():
    refined = refine(gf.Landscape(lambda p: 1e-9 * p[0] + p[1] ** 2), np.zeros(2))
    assert not refined.is_critical and "without curvature" in refined.reason


@pytest.mark.parametrize("stiffness", [1e2, 1e6, 1e8])
@pytest.mark.parametrize("distance", [1e-5, 1e-8])
def test_a_minimum_in_a_curved_valley_is_found_whatever_its_steepness(stiffness, distance):
    valley = gf.Landscape(lambda p: (1 - p[0]) ** 2 + stiffness * (p[1] - p[0] ** 2) ** 2)
    near = classify(valley, np.array([1 + distance, 1 + 2 * distance]))
    if (stiffness, distance) == (1e8, 1e-5):
        assert near.kind in ("local_minimum", "degenerate")  # rounding of the wall hides the floor
    else:
        assert (near.kind, near.nullity) == ("local_minimum", 0)
        np.testing.assert_allclose(near.params, [1.0, 1.0], atol=1e-7)


def test_a_gradient_that_newton_steps_do_not_lower_is_not_critical_although_they_are_short():
    # a rounded |x| on its steep side: every step jumps to the other side, where the gradient is as large
    refined = refine(gf.Landscape(lambda p: jnp.sqrt(p[0] ** 2 + 1e-20)), np.array([1e-9]))
    assert not refined.is_critical and "Newton steps do not lower it" in refined.reason
    assert refined.remaining <= refinement.REMAINING


def test_refinement_agrees_dense_and_matrix_free(monkeypatch):
    rng = np.random.default_rng(14)
    problem = constructed_points.problem(rng, (4, 3, 3))
    weights = constructed_points.critical_point(rng, problem, (0, 2), "all zero")
    near = tuple(layer + 1e-6 * rng.normal(size=layer.shape) for layer in weights)
    dense = refine(problem, near)
    monkeypatch.setattr(curvature.hessians, "DIRECT_LIMIT", 0)
    krylov = refine(problem, near)
    assert dense.is_critical and krylov.is_critical
    assert float(problem.loss(krylov.params)) == pytest.approx(float(problem.loss(dense.params)), rel=1e-12)
    # the two differ along the critical set, where the curvatures they divide by are as small as the perturbation
    assert max(dense.displacement, krylov.displacement) <= 1e-4


def test_a_leash_that_is_not_positive_is_refused():
    with pytest.raises(checks.InputError, match="`max_displacement` must be greater than 0"):
        refine(gf.Landscape(lambda p: jnp.sum(p**2)), np.ones(2), max_displacement=0.0)


def test_kinds_are_the_listed_ones_and_undecided_ones_are_marked():
    assert set(STRICTNESS.values()) <= set(classification.KINDS)
    assert refinement.LEASH > refinement.REMAINING
