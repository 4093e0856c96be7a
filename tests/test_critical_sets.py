"""Closed forms for critical points of linear networks, against multiprecision cases, dense Hessians and enumeration."""

import itertools
import json
from pathlib import Path

import constructed_points
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradflow import Landscape, Regression, checks, critical_sets, curvature, networks, regularizers
from gradflow.critical_sets import critical_values, one_based, recognise, shallow_index

CASES = {
    case["id"]: case for case in json.loads((Path(__file__).parent / "golden/papers_000_002.json").read_text())["cases"]
}
DEEP = tuple(CASES["G10"]["inputs"]["points"])
# widths, rank of X, singular values of the target (None: random), settings: H = 1 .. 4, narrow, equal and zero values
SHAPES = [
    ((4, 3, 3), None, None, {}),
    ((3, 4, 2), 2, (2, 2), {"normalization": "mean"}),
    ((4, 3, 2, 3), None, (2, 2, 1), {}),
    ((4, 3, 2, 3), 2, (3, 0), {}),
    ((3, 3, 4, 3, 2), None, None, {"normalization": "mean"}),
    ((3, 2, 3, 2, 3, 3), None, (3, 1, 0), {}),
]

pytestmark = pytest.mark.usefixtures("quiet")


def arrays(layers):
    return tuple(np.array(layer, float) for layer in layers)


def regression(X, Y, weights, **options):
    widths = (weights[0].shape[1], *(layer.shape[0] for layer in weights))
    return Regression(networks.Linear(widths), np.array(X, float), np.array(Y, float), **options)


def golden(name, layers=None):
    case = CASES[name]
    names = [key for key in ("A1", "A2", "A3") if key in case["inputs"] or key in case["expected"]]
    weights = arrays(layers or [case["inputs"].get(key, case["expected"].get(key)) for key in names])
    return regression(case["inputs"]["X"], case["inputs"]["Y"], weights), weights, case["expected"]


def gradient_norm(problem, weights):
    return max(np.abs(layer).max() for layer in problem.gradient(weights))


def hessian_scale(problem):
    """Largest eigenvalue of the Hessian at a balanced minimiser, up to a factor of order one."""
    return problem.gradient_scale / problem.weight_scale


def inertia(problem, weights):
    values = curvature.spectrum(problem, weights)
    zero = 1e-10 * max(hessian_scale(problem), np.abs(values).max())
    return int(np.sum(values < -zero)), int(np.sum(np.abs(values) <= zero)), int(np.sum(values > zero))


# --- multiprecision cases ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["G01", "G02", "G03", "G05"])
def test_shallow_points_of_paper_002_have_their_pattern_loss_and_index(name):
    problem, weights, expected = golden(name)
    point = recognise(problem, weights)
    pattern = expected.get("p", [1, 0])
    assert gradient_norm(problem, weights) < 1e-14
    assert point.counts == tuple(pattern) and point.rank == sum(pattern)
    assert point.value == pytest.approx(expected["loss"], abs=1e-12)
    assert float(problem.loss(weights)) == pytest.approx(expected["loss"], abs=1e-12)
    # a captured zero singular value (pbar) makes the order non-optimal: strict by pivot, not by the positive values
    is_ordered = name in ("G02", "G05")
    assert (point.strict, point.is_global, point.is_ordered) == (True, False, is_ordered)
    negative, zero, positive = inertia(problem, weights)
    if "hessian_inertia" in expected:
        assert {"neg": negative, "zero": zero, "pos": positive} == expected["hessian_inertia"]
        assert curvature.spectrum(problem, weights)[0] == pytest.approx(expected["hessian_min_eig"], abs=1e-10)
    else:
        np.testing.assert_allclose(curvature.spectrum(problem, weights), expected["hessian_eigs"], atol=1e-10)
    assert shallow_index(problem, point, expected.get("pbar", 0)) == negative
    assert negative == expected.get("morse_index_formula", negative)


def test_g02_the_raw_choice_of_the_free_part_is_not_critical():
    problem, weights, expected = golden("G02")
    case = CASES["G02"]["inputs"]
    C, raw = np.array(case["C"]), np.linalg.solve(case["C"], case["M"])
    X = np.array(case["X"])
    projector = np.linalg.inv(C)[:, :1] @ C[:1] @ raw @ X @ np.linalg.pinv(X)
    root = np.linalg.solve(C, np.eye(4)[:, :1])
    left = weights[1][:, :1] / np.linalg.norm(weights[1][:, :1])
    first = root @ left.T @ np.array(case["Y"]) @ np.linalg.pinv(X) + raw - projector
    gradient = problem.gradient((first, weights[1]))
    assert np.linalg.norm(gradient[0]) < 1e-14
    assert np.linalg.norm(gradient[1]) == pytest.approx(expected["violating_gradA2_fro"], rel=1e-9)
    assert recognise(problem, (first, weights[1])).gradient_defect > 1e-2


def test_g05_descends_by_exchanging_the_captured_zero_singular_value():
    problem, weights, expected = golden("G05")
    moved = arrays([expected["perturbed_A1"], expected["perturbed_A2"]])
    assert float(problem.loss(weights) - problem.loss(moved)) == pytest.approx(expected["decrease"], abs=1e-12)


def test_g06_a_point_without_loss_is_a_global_minimum_and_no_saddle():
    problem = Regression(networks.Linear((1, 1, 1)), [[2.0]], [[0.0]])
    weights = arrays([[[0.0]], [[1.0]]])
    point = recognise(problem, weights)
    assert (point.is_global, point.strict, point.value, point.counts) == (True, False, 0.0, ())
    np.testing.assert_allclose(problem.hessian(weights), CASES["G06"]["expected"]["hessian"], atol=1e-14)


@pytest.mark.parametrize("row", range(3))
def test_g08_the_loss_falls_by_half_the_difference_of_squares_when_directions_are_exchanged(row):
    problem, weights, expected = golden("G01")
    case, sigma = CASES["G08"]["expected"]["rows"][row], expected["sigma"]
    eps, C, U = case["eps"], np.array(CASES["G01"]["inputs"]["C"]), np.array(expected["U"])
    basis = U[:, [0, 2]]
    basis[:, 1] = (basis[:, 1] + eps * U[:, 1]) / np.hypot(1, eps)
    X, Y = np.asarray(problem.X), np.asarray(problem.Y)
    moved = (np.linalg.solve(C, basis.T @ Y @ np.linalg.pinv(X)), basis @ C)
    change = float(problem.loss(moved) - problem.loss(weights))
    assert change == pytest.approx(case["delta_loss"], abs=1e-12)
    assert change == pytest.approx(-0.5 * eps**2 / (1 + eps**2) * (sigma[1] - sigma[2]), abs=1e-12)


@pytest.mark.parametrize("name", DEEP)
def test_g10_deep_points_of_every_category_are_recognised(name):
    problem, weights, expected = golden("G10", CASES["G10"]["inputs"]["points"][name])
    expected = expected["cases"][name]
    point = recognise(problem, weights)
    assert point.counts == tuple(expected["patterns"][0]["p"])
    assert point.value == pytest.approx(expected["loss"], abs=1e-12)
    assert point.is_global == (expected["category"] == "global")
    assert point.strict == bool(expected["strict"])
    assert inertia(problem, weights) == tuple(expected["hessian_inertia"].values())


def test_g12_the_pattern_is_read_from_the_product_and_not_from_what_was_declared():
    problem, weights, expected = golden("G12")
    point = recognise(problem, weights)
    assert point.counts == tuple(expected["true_p0"]) and point.indices == (0,)
    assert point.value == pytest.approx(expected["actual_loss"], abs=1e-14)


@pytest.mark.parametrize("row", range(7))
def test_g19_balanced_points_capture_their_set_at_the_reference_loss(row):
    case = CASES["G19"]
    entry = case["expected"]["table"][row]
    zero = arrays([np.zeros((2, 3)), np.zeros((3, 2))])
    problem = regression(case["inputs"]["X"], case["inputs"]["Y"], zero)
    spectrum, root = problem.spectrum, np.asarray(problem.statistics.root)
    captured = tuple(index - 1 for index in entry["Gamma"])
    first, second = zero
    for place, index in enumerate(captured):
        second[:, place] = np.sqrt(spectrum.values[index]) * spectrum.left[:, index]
        first[place] = np.sqrt(spectrum.values[index]) * np.linalg.solve(root.T, spectrum.right[:, index])
    point = recognise(problem, (first, second))
    assert point.indices == captured and point.rank == len(captured)
    assert point.value == pytest.approx(entry["g"], abs=1e-9)
    assert (point.is_global, point.strict) == (entry["is_global"], not entry["is_global"])
    lowest = curvature.spectrum(problem, (first, second))[0]
    assert lowest == pytest.approx(entry["lambda_min_hess_f"], abs=1e-9)
    # the bounds are stated for the regularised loss, of which this is the unregularised part
    assert entry["is_global"] or lowest <= entry["sharper_2x2_bound"] + 1e-9


def test_g21_part_of_a_group_of_equal_singular_values_is_counted_and_not_indexed():
    case = CASES["G21"]
    weights = arrays([case["inputs"]["W1"], case["inputs"]["W2"]])
    point = recognise(regression(case["inputs"]["X"], case["inputs"]["Y"], weights), weights)
    assert (point.counts, point.indices, point.is_global) == ((1,), None, True)
    assert point.value == pytest.approx(case["expected"]["g"], abs=1e-14)


@pytest.mark.parametrize("name", ["G26", "G27"])
def test_minimisers_of_paper_000_are_global_and_have_the_value_with_the_half(name):
    case = CASES[name]
    weights = arrays([case["expected"][f"W{layer}"] for layer in (1, 2, 3)])
    problem = regression(case["inputs"]["X"], case["inputs"]["Y"], weights)
    point = recognise(problem, weights)
    assert (point.is_global, point.strict, point.indices) == (True, False, (0, 1))
    assert point.value == pytest.approx(case["expected"].get("global_min", 0.0), abs=1e-12)
    if "hessian_eigs" in case["expected"]:
        np.testing.assert_allclose(curvature.spectrum(problem, weights), case["expected"]["hessian_eigs"], atol=1e-10)


# --- a linear autoencoder ---------------------------------------------------------------------------------------------

# captured eigenvalues (1 is the smallest): value, Morse index, nullity; values are halved in the library's loss
AUTOENCODER = {
    (): (10, 8, 0), (1,): (9, 6, 3), (2,): (8, 5, 3), (3,): (7, 4, 3), (4,): (6, 3, 3), (1, 2): (7, 4, 4),
    (1, 3): (6, 3, 4), (1, 4): (5, 2, 4), (2, 3): (5, 2, 4), (2, 4): (4, 1, 4), (3, 4): (3, 0, 4),
}  # fmt: skip


def autoencoder(eigenvalues, width):
    data = np.diag(np.sqrt(np.array(eigenvalues, float)))
    return Regression(networks.Linear((len(data), width, len(data))), data, data)


@pytest.mark.parametrize("captured", AUTOENCODER)
def test_every_critical_point_of_the_linear_autoencoder_has_the_known_value_index_and_nullity(captured):
    value, index, nullity = AUTOENCODER[captured]
    problem = autoencoder((1, 2, 3, 4), 2)
    decoder = np.eye(4)[:, [number - 1 for number in captured]]
    decoder = np.hstack([decoder, np.zeros((4, 2 - len(captured)))]) @ np.array([[1.0, 0.5], [-0.3, 0.8]])
    weights = np.linalg.pinv(decoder, rcond=1e-12) if captured else np.zeros((2, 4)), decoder
    point = recognise(problem, weights)
    assert point.indices == tuple(sorted(4 - number for number in captured))
    assert 2 * point.value == pytest.approx(value, abs=1e-12)
    assert inertia(problem, weights)[:2] == (index, nullity)
    assert shallow_index(problem, point) == index
    assert point.strict == (captured != (3, 4)) and point.is_global == (captured == (3, 4))


def test_the_ladder_of_the_autoencoder_lists_every_class():
    ladder = critical_values(autoencoder((1, 2, 3, 4), 2))
    listed = {
        captured: 2 * value for value, sets in zip(ladder.values, ladder.captured, strict=True) for captured in sets
    }
    expected = {tuple(sorted(4 - number for number in key)): value for key, (value, _, _) in AUTOENCODER.items()}
    assert listed.keys() == expected.keys()
    assert all(listed[key] == pytest.approx(expected[key], rel=1e-13) for key in expected)


def test_an_autoencoder_of_16_inputs_and_4_hidden_units_has_2517_classes():
    ladder = critical_values(autoencoder(np.arange(1, 17) ** 1.3, 4))
    assert ladder.is_complete
    assert sum(len(sets) for sets in ladder.captured) == 2517


# --- constructed points -----------------------------------------------------------------------------------------------


def shape_id(shape):
    return "-".join(map(str, shape[0])) + (f", rank {shape[1]}" if shape[1] else "")


def drawn(shape, count, first_seed=0):
    widths, rank_x, values, options = shape
    for seed in range(first_seed, first_seed + count):
        rng = np.random.default_rng(seed)
        problem = constructed_points.problem(rng, widths, rank_x, values, **options)
        yield problem, *constructed_points.random_critical_point(rng, problem)


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_constructed_points_are_recognised_with_their_captured_set_and_the_value_of_lemma_2(shape):
    for problem, weights, captured in drawn(shape, 12):
        point = recognise(problem, weights)
        positive = [group for group in problem.spectrum.groups if group[0] < problem.spectrum.num_positive]
        assert point.counts == tuple(sum(index in group for index in captured) for group in positive)
        assert point.is_critical and point.capture_defect <= 1e-10 and point.gradient_defect <= 1e-12
        assert point.value == pytest.approx(float(problem.loss(weights)), rel=1e-12)
        values = critical_values(problem).values
        assert np.abs(values - point.value).min() <= 1e-12 * values.max()
        assert point.is_global == (abs(point.value - values.min()) <= 1e-12 * values.max())


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_a_point_is_strict_exactly_when_the_dense_hessian_has_a_negative_eigenvalue(shape):
    seen, undecided = set(), 0
    for problem, weights, _ in drawn(shape, 24):
        strict = recognise(problem, weights).strict
        undecided += strict is None
        if strict is not None:
            assert strict == (inertia(problem, weights)[0] > 0)
            seen.add(strict)
    assert seen == {True, False}
    assert undecided <= 2


@pytest.mark.parametrize("family", constructed_points.FAMILIES)
def test_every_family_of_deep_points_agrees_with_the_dense_hessian(family):
    for seed in range(8):
        rng = np.random.default_rng(100 + seed)
        problem = constructed_points.problem(rng, (4, 3, 2, 3))
        captured = (0, 1)[: seed % 3]
        weights = constructed_points.critical_point(rng, problem, captured, family)
        point = recognise(problem, weights)
        assert point.indices == captured
        assert point.strict == (inertia(problem, weights)[0] > 0)


@pytest.mark.parametrize("shape", SHAPES[:2], ids=shape_id)
def test_the_index_of_a_shallow_point_by_counting_is_that_of_the_hessian(shape):
    for problem, weights, _ in drawn(shape, 20, first_seed=50):
        point = recognise(problem, weights)
        rank = np.linalg.matrix_rank(weights[1], tol=1e-8)
        assert shallow_index(problem, point, rank - point.rank) == inertia(problem, weights)[0]
        assert point.strict != point.is_global and point.rank_z == problem.network.shapes[0][0]


def partial_product(weights, first, last):
    """``W_last ... W_first``, layers counted from one; the identity when there are none."""
    width = weights[first - 1].shape[1] if first <= len(weights) else weights[-1].shape[0]
    result = np.eye(width)
    for layer in weights[first - 1 : last]:
        result = layer @ result
    return result


def test_a_pivot_satisfies_both_conditions_of_the_criterion():
    decided = 0
    for problem, weights, captured in drawn(SHAPES[4], 40):
        point = recognise(problem, weights)
        if point.pivot is None:
            continue
        i, j = point.pivot
        rank = np.linalg.matrix_rank(partial_product(weights, j + 1, i - 1), tol=1e-8)
        missed = np.delete(problem.spectrum.left, captured, axis=1)
        target = np.asarray(problem.X @ problem.Y.T) @ missed @ missed.T
        met = partial_product(weights, 1, j - 1) @ target @ partial_product(weights, i + 1, 4)
        assert rank > point.rank and np.abs(met).max() > 1e-8
        decided += 1
    assert decided >= 5


@pytest.mark.parametrize(
    ("weights", "pivot"),
    [
        # r_Z = 2 > r = 1 with W_3 of rank 1: the outer layers
        ([[[1, 0, 0], [0, 0, 1]], [[2, 0], [0, 1]], [[1, 0], [0, 0]]], (3, 1)),
        # W_2 = 0: W_1 has a row that W_3's column can meet
        ([[[1, 0, 0], [0, 0, 1]], [[0, 0], [0, 0]], [[0, 0], [0, 0.5]]], (3, 2)),
        # the mirror image: nothing to the right of W_2, rank 2 in W_2
        ([[[0, 0, 0], [0, 0, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 0]]], (2, 1)),
    ],
)
def test_the_pivot_is_found_where_it_was_put(weights, pivot):
    weights = arrays(weights)
    problem = regression(np.eye(3), [[2, 0, 0], [0, 1, 0]], weights)
    point = recognise(problem, weights)
    assert (point.strict, point.pivot) == (True, pivot)
    assert inertia(problem, weights)[0] > 0


def test_a_linear_map_without_hidden_layers_has_one_critical_value_and_its_minimum_is_recognised():
    rng = np.random.default_rng(0)
    problem = constructed_points.problem(rng, (4, 3), rank_x=2, normalization="mean")
    X, Y = np.asarray(problem.X), np.asarray(problem.Y)
    weights = (
        Y @ np.linalg.pinv(X, rcond=1e-10) + rng.normal(size=(3, 4)) @ (np.eye(4) - X @ np.linalg.pinv(X, 1e-10)),
    )
    point = recognise(problem, weights)
    assert (point.is_global, point.strict, point.rank, point.rank_z) == (True, False, 2, None)
    assert point.value == pytest.approx(problem.irreducible, rel=1e-12)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15)
def test_what_is_recognised_does_not_depend_on_the_basis_of_the_hidden_layers(seed):
    rng = np.random.default_rng(seed)
    problem = constructed_points.problem(rng, (4, 3, 2, 3))
    weights, _ = constructed_points.random_critical_point(rng, problem)
    first, second = (constructed_points.orthogonal(rng, d) @ np.diag(rng.uniform(0.5, 2, size=d)) for d in (3, 2))
    moved = (first @ weights[0], second @ weights[1] @ np.linalg.inv(first), weights[2] @ np.linalg.inv(second))
    point, other = recognise(problem, weights), recognise(problem, moved)
    for name in ("counts", "indices", "rank", "rank_z", "is_global", "is_ordered", "strict", "pivot"):
        assert getattr(point, name) == getattr(other, name)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test_what_is_recognised_does_not_depend_on_the_order_of_samples_or_a_rotation_of_the_outputs(seed):
    rng = np.random.default_rng(seed)
    problem = constructed_points.problem(rng, (4, 3, 2, 3))
    weights, _ = constructed_points.random_critical_point(rng, problem)
    order, turn = rng.permutation(problem.X.shape[1]), constructed_points.orthogonal(rng, 3)
    turned = regression(problem.X[:, order], turn @ problem.Y[:, order], weights)
    point, other = recognise(problem, weights), recognise(turned, (*weights[:2], turn @ weights[2]))
    assert (point.counts, point.strict, point.rank_z) == (other.counts, other.strict, other.rank_z)
    assert point.value == pytest.approx(other.value, rel=1e-12)


# --- what must not be decided -----------------------------------------------------------------------------------------


def test_a_state_that_is_not_critical_is_not_called_critical():
    rng = np.random.default_rng(0)
    problem = constructed_points.problem(rng, (4, 3, 3))
    point = recognise(problem, tuple(rng.normal(size=shape) for shape in problem.network.shapes))
    assert not point.is_critical and point.is_ambiguous


def test_a_critical_point_is_not_ambiguous():
    problem, weights, _ = golden("G01")
    assert not recognise(problem, weights).is_ambiguous


@pytest.mark.parametrize(("size", "strict"), [(1e-1, True), (1e-3, None), (1e-6, False)])
def test_a_rank_that_depends_on_weights_within_the_uncertainty_leaves_strictness_open(size, strict):
    # G23 with a small second singular value in the middle layer: it alone makes the pivot
    weights = arrays([[[1, 0, 0], [0, 0, 1]], [[2, 0], [0, size]], [[1, 0], [0, 0]]])
    problem = regression(np.eye(3), [[2, 0, 0], [0, 1, 0]], weights)
    assert recognise(problem, weights).strict is True
    point = recognise(problem, weights, uncertainty=1e-4)
    assert point.strict is strict
    assert point.is_ambiguous == (strict is None)
    assert point.rank_z == {True: 2, None: None, False: 1}[strict]


def test_with_a_gradient_left_small_weights_are_noise():
    weights = arrays([[[1e-4]], [[-1e-4]], [[1e-4]]])
    problem = regression([[1.0]], [[1.0]], weights)
    point = recognise(problem, weights)
    # g = 1e-8 sqrt(3), H = 2: weights below about sqrt(g) cannot be told from zero
    assert point.noise == pytest.approx(4 * np.sqrt(np.sqrt(3) * 1e-8), rel=1e-3)
    assert (point.strict, point.rank_z) == (False, 0)


# --- the ladder -------------------------------------------------------------------------------------------------------


def by_brute_force(problem):
    """Distinct values over all subsets of positive singular values that fit, from the definition."""
    values = problem.spectrum.values
    fits = min(problem.network.widths[1:])
    sums = [
        problem.irreducible + 0.5 * sum(values[index] ** 2 for index in range(len(values)) if index not in chosen)
        for size in range(fits + 1)
        for chosen in itertools.combinations(range(problem.spectrum.num_positive), size)
    ]
    return np.unique(np.round(sums, 10))


@pytest.mark.parametrize(
    ("widths", "rank_x", "values", "options"),
    [
        ((4, 4, 4), None, None, {}),
        ((4, 5, 4, 4), None, (3, 2, 1, 0.5), {"normalization": "mean"}),
        ((4, 2, 3), None, (3, 2, 1), {}),
        ((5, 4, 1, 4), 3, None, {}),
        ((4, 4, 4), None, (2, 2, 2, 1), {}),
        ((4, 3, 4), None, (2, 2, 1, 1), {}),
        ((4, 4, 4), None, (3, 1, 0, 0), {}),
        ((3, 4, 4), 2, (2, 2), {}),
        ((4, 3), None, (3, 2, 1), {}),
        ((2, 2, 2), None, (0, 0), {}),
    ],
)
def test_the_ladder_is_the_set_of_all_subset_values(widths, rank_x, values, options):
    problem = constructed_points.problem(np.random.default_rng(1), widths, rank_x, values, **options)
    ladder = critical_values(problem)
    assert ladder.is_complete
    np.testing.assert_allclose(ladder.values, by_brute_force(problem), atol=1e-9)
    squares = problem.spectrum.values**2
    for value, sets in zip(ladder.values, ladder.captured, strict=True):
        for captured in sets:
            assert captured == tuple(sorted(set(captured)))
            missed = squares.sum() - squares[list(captured)].sum()
            assert value == pytest.approx(problem.irreducible + 0.5 * missed, rel=1e-9, abs=1e-12)


def test_equal_singular_values_stand_for_their_number():
    problem = constructed_points.problem(np.random.default_rng(1), (3, 3, 3), None, (2, 2, 1))
    sets = {captured for sets in critical_values(problem).captured for captured in sets}
    assert sets == {(), (0,), (0, 1), (2,), (0, 2), (0, 1, 2)}


def test_coincident_values_are_listed_together():
    problem = regression(np.eye(3), np.diag([np.sqrt(5), 2, 1]), arrays([np.eye(3), np.eye(3)]))
    ladder = critical_values(problem)
    assert len(ladder.values) == 7 and ((0,), (1, 2)) in ladder.captured


def test_beyond_16_singular_values_only_the_greedy_ladder_is_listed():
    ladder = critical_values(autoencoder(np.arange(17, 0, -1), 5))
    assert not ladder.is_complete
    assert ladder.captured == tuple((tuple(range(size)),) for size in range(5, -1, -1))
    np.testing.assert_allclose(2 * ladder.values, [78, 91, 105, 120, 136, 153], rtol=1e-12)


def test_rank_deficient_data_keep_their_irreducible_loss_in_every_value():
    problem = constructed_points.problem(np.random.default_rng(3), (4, 3, 2), rank_x=2)
    ladder = critical_values(problem)
    X, Y = np.asarray(problem.X), np.asarray(problem.Y)
    best = 0.5 * np.sum((Y - Y @ np.linalg.pinv(X, rcond=1e-10) @ X) ** 2)
    assert ladder.values[0] == pytest.approx(best, rel=1e-12)
    assert ladder.values[-1] == pytest.approx(0.5 * np.sum(Y**2), rel=1e-12)


# --- words and wrong calls --------------------------------------------------------------------------------------------


def test_indices_are_printed_as_the_papers_count():
    assert [one_based((0, 2)), one_based(()), one_based(None)] == ["{s_1, s_3}", "{}", "?"]


@pytest.mark.parametrize("function", [critical_values, lambda problem: recognise(problem, (np.eye(2), np.eye(2)))])
def test_problems_without_closed_form_are_refused_with_the_way_out(function):
    decayed = regression(np.eye(2), np.eye(2), (np.eye(2), np.eye(2)), regularizer=regularizers.WeightDecay(0.1))
    for problem in (decayed, Landscape(lambda w: w[0] ** 2)):
        with pytest.raises(checks.InputError, match=r"no regulariser, but got .*gradflow\.classify"):
            function(problem)


def test_everything_public_is_exported():
    assert critical_sets.recognise is recognise and critical_sets.NOISE_FLOOR > 0
