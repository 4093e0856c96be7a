"""Closed-form critical points of deep linear networks (paper 002, section 3), against Hessians, samples and roots."""

import collections
import json
from pathlib import Path

import constructed_points
import jax
import numpy as np
import pytest

from gradflow import Regression, checks, networks
from gradflow.critical_sets import critical_values, deep_linear, shallow_linear
from gradflow.critical_sets.deep_linear import rank_patterns
from gradflow.verification import deep_points
from gradflow.verification.deep_points import gradient_size

CASES = {
    case["id"]: case for case in json.loads((Path(__file__).parent / "golden/papers_000_002.json").read_text())["cases"]
}
# widths, rank of X, singular values, settings: equal values, a bottleneck, missing rank and zero values, H = 1 to 3
SHAPES = [
    ((3, 2, 2, 3), None, (3, 2, 1), {}),
    ((4, 3, 2, 3), None, (2, 2, 1), {"normalization": "mean"}),
    ((4, 3, 2, 3), 2, (3, 0), {}),
    ((3, 2, 2), 2, (2, 0.5), {}),
    ((2, 2, 1, 2, 2), None, (2, 1), {}),
]

pytestmark = pytest.mark.usefixtures("quiet")


def drawn_problem(shape, seed=0):
    widths, rank_x, values, settings = shape
    return constructed_points.problem(np.random.default_rng(seed), widths, rank_x, values, **settings)


def shape_id(shape):
    return "-".join(map(str, shape[0])) + (f", rank {shape[1]}" if shape[1] else "")


def random_state(problem):
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=shape) for shape in problem.network.shapes)


def key_of(counts, ranks):
    return tuple(counts), ranks


# --- multiprecision cases ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES["G10"]["inputs"]["points"])
def test_the_six_points_of_g10_have_their_patterns_category_and_strictness(name):
    case = CASES["G10"]
    params = tuple(np.array(layer) for layer in case["inputs"]["points"][name])
    X, Y = np.array(case["inputs"]["X"]), np.array(case["inputs"]["Y"])
    problem = Regression(networks.Linear((3, 2, 2, 3)), X, Y)
    expected = case["expected"]["cases"][name]
    point = deep_linear.decompose(problem, params)
    assert point.category == expected["category"].lower()
    assert point.strict == bool(expected["strict"]) == point.recognised.strict
    assert point.loss == pytest.approx(expected["loss"], abs=1e-12)
    for level, pattern in zip(point.levels, expected["patterns"], strict=True):
        assert (level.k, list(level.counts), level.num_zero) == (pattern["k"], pattern["p"], pattern["pbar"])
        assert list(level.spectrum.multiplicities) == pattern["m"]
        np.testing.assert_allclose(level.spectrum.sigma[:-1], pattern["sigma_distinct"], atol=1e-10)
        assert level.loss == pytest.approx(expected["loss"], abs=1e-12)
    found = deep_linear.class_of(problem, point.counts, point.ranks)
    assert (found.index, found.nullity) == tuple(expected["hessian_inertia"][name] for name in ("neg", "zero"))


def test_g12_the_recursion_without_offsets_returns_a_critical_point_of_another_pattern():
    case, expected = CASES["G12"]["inputs"], CASES["G12"]["expected"]
    problem = Regression(networks.Linear((2, 2, 2, 2)), np.array(case["X"]), np.array(case["Y"]))
    result = deep_linear.construct_by_recursion(problem, [((1, 1), 0), ((1, 0), 0)])
    for layer, name in zip(result.params, ("A1", "A2", "A3"), strict=True):
        np.testing.assert_allclose(np.abs(layer), expected[name], atol=1e-12)
    assert gradient_size(problem, result.params) <= 1e-14
    assert result.declared_loss == pytest.approx(expected["declared_loss_by_prop4"], abs=1e-12)
    assert not result.is_consistent and result.inconsistency[1] <= 1e-14
    point = deep_linear.decompose(problem, result.params)
    assert list(point.counts) == expected["true_p0"]
    assert point.loss == pytest.approx(expected["actual_loss"], abs=1e-12)
    assert float(problem.loss(result.params)) == pytest.approx(expected["actual_loss"], abs=1e-12)


def test_the_tests_own_gradient_and_hessian_are_those_of_the_problem():
    problem = drawn_problem(SHAPES[0])
    params = tuple(np.asarray(layer) for layer in random_state(problem))
    np.testing.assert_allclose(deep_points.hessian(problem, params), problem.hessian(params), atol=1e-12)
    gradient = deep_points.flatten(problem.gradient(params))
    np.testing.assert_allclose(deep_points.gradient(problem, params), gradient, atol=1e-12)
    assert deep_points.loss(problem, params) == pytest.approx(float(problem.loss(params)), rel=1e-13)


# --- classes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_every_class_has_members_and_they_are_what_it_says(shape):
    problem = drawn_problem(shape)
    classes = deep_linear.enumerate_classes(problem)
    assert len({key_of(**item.pattern) for item in classes}) == len(classes)
    for number, item in enumerate(classes[:: 1 if len(classes) < 40 else 3]):
        params = deep_linear.sample(problem, item, number)
        point = deep_linear.decompose(problem, params)
        assert point.residual <= 1e-11 and gradient_size(problem, params) <= 1e-13
        assert key_of(point.counts, point.ranks) == key_of(**item.pattern)
        assert (point.category, point.strict) == (item.category, item.strict)
        assert float(problem.loss(params)) == pytest.approx(item.loss, rel=1e-12, abs=1e-13)
        assert deep_points.inertia(problem, params) == (item.index, item.nullity)
        assert item.strict == (item.index > 0) and item.is_global == (item.loss == classes[0].loss)
        assert item.rank == sum(item.pattern["counts"]) == point.recognised.rank


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_points_built_elsewhere_fall_into_an_enumerated_class(shape):
    problem = drawn_problem(shape, seed=1)
    classes = {key_of(**item.pattern): item for item in deep_linear.enumerate_classes(problem)}
    seen = collections.Counter()
    for seed in range(12):
        params, captured = constructed_points.random_critical_point(np.random.default_rng(seed), problem)
        point = deep_linear.decompose(problem, params)
        item = classes[key_of(point.counts, point.ranks)]
        assert (point.category, point.strict, point.recognised.strict) == (item.category, item.strict, item.strict)
        assert point.loss == pytest.approx(float(problem.loss(params)), rel=1e-11, abs=1e-12)
        assert sum(point.counts) == sum(index < problem.spectrum.num_positive for index in captured)
        seen[point.category] += 1
    assert len(seen) >= 2


def test_the_ranks_and_not_the_levels_decide_the_same_category():
    # two implementations: rank table against the patterns p(k) of every level
    for shape in SHAPES:
        problem = drawn_problem(shape, seed=2)
        for item in deep_linear.enumerate_classes(problem)[::5]:
            point = deep_linear.decompose(problem, deep_linear.sample(problem, item, 5))
            sizes = point.levels[0].spectrum.multiplicities
            greedy = not any(
                count < size and any(point.counts[index + 1 :])
                for index, (count, size) in enumerate(zip(point.counts, sizes, strict=True))
            )
            assert rank_patterns.category(point.ranks, greedy) == point.category


def test_the_loss_values_of_the_classes_are_the_ladder():
    for shape in SHAPES:
        problem = drawn_problem(shape)
        found = np.array([item.loss for item in deep_linear.enumerate_classes(problem)])
        ladder = critical_values(problem).values
        assert all(np.abs(ladder - value).min() <= 1e-12 * ladder.max() for value in found)
        assert all(np.abs(found - value).min() <= 1e-12 * ladder.max() for value in ladder)


def test_the_number_of_classes_of_small_networks():
    # distinct singular values: 2^3 captured sets for 3-3-3, since then no first layer has room for a rank of its own
    for widths, number in (((3, 3, 3), 8), ((3, 3, 3, 3), 69), ((2, 2, 2, 2), 20)):
        problem = drawn_problem((widths, None, tuple(range(widths[0], 0, -1)), {}))
        assert len(deep_linear.enumerate_classes(problem)) == number


def test_strings_and_ranks_determine_each_other():
    for ranks in rank_patterns.rank_patterns((3, 2, 2, 1, 2), 1):
        strings = rank_patterns.strings_of_ranks(ranks)
        assert rank_patterns.ranks_of_strings(strings, 4) == ranks
        arrows = rank_patterns.string_matrices(strings, 4)
        for start in range(5):
            path = np.eye(ranks[start][0])
            for step in range(3):
                path = arrows[(start + step) % 5] @ path
                rank = np.linalg.matrix_rank(path) if path.size else 0
                assert rank == ranks[start][step + 1]
            assert not np.any(arrows[(start + 3) % 5] @ path)
    assert rank_patterns.strings_of_ranks(((2, 3), (2, 0), (2, 0))) is None


# --- construction -----------------------------------------------------------------------------------------------------


def random_blocks(rng, problem, k):
    shapes = [(rows - k, columns - k) for rows, columns in problem.network.shapes]
    shapes[0] = (shapes[0][0], problem.network.shapes[0][1])
    return [rng.normal(size=shape) for shape in shapes]


def random_mixings(rng, problem):
    return [np.eye(rows) + 0.3 * rng.normal(size=(rows, rows)) for rows, _ in problem.network.shapes[:-1]]


@pytest.mark.parametrize(
    ("family", "zero"),
    [("two_zero", (1, 2)), ("two_zero", (1, 3)), ("first_annihilated", (3,)), ("outer_annihilated", (2,)),
     ("all_zero", ())],
)  # fmt: skip
@pytest.mark.parametrize("shape", SHAPES[:3], ids=shape_id)
def test_fitted_blocks_of_every_family_give_critical_points_with_the_captured_pattern(shape, family, zero):
    rng = np.random.default_rng(3)
    problem = drawn_problem(shape)
    counts = tuple(int(size > 1) for size in (len(g) for g in problem.spectrum.groups if problem.spectrum.values[g[0]]))
    blocks = deep_linear.fitted_blocks(
        problem, counts, blocks=random_blocks(rng, problem, sum(counts)), family=family, zero=zero
    )
    free = rng.normal(size=(sum(counts), problem.network.shapes[0][1]))
    params = deep_linear.construct(problem, counts, blocks=blocks, mixings=random_mixings(rng, problem), free=free)
    assert gradient_size(problem, params) <= 1e-13
    assert deep_linear.decompose(problem, params).counts == counts


def test_captured_zero_singular_values_may_be_blocks_or_captured():
    problem = drawn_problem(SHAPES[2])
    params = deep_linear.construct(problem, (1,), num_zero=1)
    point = deep_linear.decompose(problem, params)
    assert (point.counts, point.levels[0].num_zero) == ((1,), 1)
    assert gradient_size(problem, params) <= 1e-14


def test_blocks_that_are_not_critical_are_refused_by_the_equation_that_fails():
    problem = drawn_problem(SHAPES[0])
    rng = np.random.default_rng(0)
    blocks = random_blocks(rng, problem, 0)
    with pytest.raises(checks.InputError, match=r"`blocks` must have Z_l \.\.\. Z_1 R = 0"):
        deep_linear.construct(problem, (0, 0, 0), blocks=blocks)
    for h in (1, 2, 3):
        chosen = [block if index != h - 1 else np.zeros_like(block) for index, block in enumerate(blocks)]
        with pytest.raises(checks.InputError, match=rf"for h = {h}, but got a relative size"):
            deep_linear.construct(problem, (0, 0, 0), blocks=chosen)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: deep_linear.construct(p, (1, 1, 1)), "`counts` must sum to at most 2, but got 3"),
        (lambda p: deep_linear.construct(p, (2, 0, 0)), "`counts` must not exceed the multiplicities"),
        (lambda p: deep_linear.construct(p, (1, 0, 0), mixings=[np.zeros((2, 2))] * 2), r"`mixings\[0\]` must be inv"),
        (lambda p: deep_linear.construct(p, (1, 0, 0), free=np.ones((2, 3))), r"`free` must have shape \(1, 3\)"),
        (lambda p: deep_linear.fitted_blocks(p, (0, 0, 0), blocks=random_blocks(np.random.default_rng(0), p, 0),
                                             family="two_zero", zero=(1, 1)), "`zero` must be 2 of the layers"),
        (lambda p: deep_linear.construct_by_recursion(p, [((1, 1, 0), 0)]), "`declared` must have 2 entries"),
        (lambda p: deep_linear.enumerate_classes(p, max_classes=5), "at most 5 classes"),
        (lambda p: deep_linear.class_of(p, (0, 0, 0), ((3, 3, 3), (2, 0, 0), (2, 0, 0), (3, 3, 0))), "`ranks` must be"),
        (lambda p: deep_linear.decompose(p, (), rank_tolerance=0.5), "`rank_tolerance` must be less than"),
    ],
)  # fmt: skip
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(checks.InputError, match=message):
        call(drawn_problem(SHAPES[0]))


def test_a_network_without_hidden_layers_is_refused():
    problem = drawn_problem(((3, 2), None, None, {}))
    with pytest.raises(checks.InputError, match=r"at least one hidden layer, but got widths \(3, 2\)"):
        deep_linear.enumerate_classes(problem)


def test_the_recursion_is_critical_whatever_is_declared_but_often_not_as_declared():
    rng = np.random.default_rng(0)
    inconsistent = 0
    for shape in SHAPES:
        problem = drawn_problem(shape)
        room = [rows for rows, _ in problem.network.shapes[:-1]]
        for _ in range(8):

            def declare(k, spectrum, room=room):
                sizes = [*spectrum.multiplicities, spectrum.num_zero]
                chosen = rng.permutation(np.repeat(range(len(sizes)), sizes))[: rng.integers(room[k] + 1)]
                counts = [int(np.sum(chosen == index)) for index in range(len(sizes))]
                return counts[:-1], counts[-1]

            result = deep_linear.construct_by_recursion(problem, declare, random_mixings(rng, problem))
            assert gradient_size(problem, result.params) <= 1e-12
            point = deep_linear.decompose(problem, result.params)
            assert point.loss == pytest.approx(float(problem.loss(result.params)), rel=1e-10, abs=1e-12)
            if result.is_consistent:
                assert result.declared_loss == pytest.approx(point.loss, rel=1e-10)
                assert [level.counts for level in point.levels] == [item.counts for item in result.captured]
            inconsistent += not result.is_consistent
    assert 5 <= inconsistent <= 35


def test_offsets_move_the_layers_only_where_equation_4_leaves_them_free():
    rng = np.random.default_rng(4)
    problem = drawn_problem(SHAPES[0])
    offsets = [rng.normal(size=shape) for shape in problem.network.shapes[:-1]]
    mixings = random_mixings(rng, problem)

    def first_direction(_, spectrum):
        return [1, *[0] * (len(spectrum.groups) - 1)], 0

    result = deep_linear.construct_by_recursion(problem, first_direction, mixings, offsets)
    inputs, target = (np.asarray(part) for part in (problem.statistics.root, problem.statistics.target))
    for layer, captured, mixing, offset in zip(result.params[:-1], result.captured, mixings, offsets, strict=True):
        projector = np.linalg.pinv(inputs) @ inputs
        reached, rows = mixing @ layer @ inputs, captured.rank
        np.testing.assert_allclose(reached[:rows], captured.directions.T @ target @ projector, atol=1e-10)
        np.testing.assert_allclose(reached[rows:], (mixing @ offset @ inputs)[rows:], atol=1e-10)
        inputs = layer @ inputs
    assert gradient_size(problem, result.params) > 1e-3


def test_a_key_may_be_a_seed_a_jax_key_or_a_generator():
    problem = drawn_problem(SHAPES[0])
    item = deep_linear.enumerate_classes(problem)[7]
    for key in (3, jax.random.key(3), np.random.default_rng(3)):
        assert gradient_size(problem, deep_linear.sample(problem, item, key)) <= 1e-13
    first, again = (deep_linear.sample(problem, item, 3) for _ in range(2))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))


# --- what must not be decided -----------------------------------------------------------------------------------------


def test_a_state_that_is_not_critical_is_called_so():
    problem = drawn_problem(SHAPES[0])
    point = deep_linear.decompose(problem, random_state(problem))
    assert (point.category, point.strict) == ("not-critical", None)


@pytest.mark.parametrize(("size", "category"), [(1e-3, "remaining"), (2e-5, "ambiguous"), (1e-8, "remaining")])
def test_a_rank_between_noise_and_clear_leaves_the_category_open(size, category):
    problem = Regression(networks.Linear((3, 2, 2, 3)), np.eye(3), np.diag([3.0, 2.0, 1.0]))
    params = (np.diag([3.0, 0, 0])[:2], np.diag([1.0, 0.0]), np.array([[1.0, 0], [0, size], [0, 0]]))
    point = deep_linear.decompose(problem, params, rank_tolerance=1e-6)
    assert point.category == category
    assert point.strict == {1e-3: True, 2e-5: None, 1e-8: False}[size]


# --- roots of the gradient --------------------------------------------------------------------------------------------


def test_critical_points_found_from_random_starts_fall_into_the_classes_and_reach_every_value():
    problem = drawn_problem(((2, 2, 2, 2), None, (2, 1), {}))
    known = {key_of(**item.pattern) for item in deep_linear.enumerate_classes(problem)}
    outcomes, losses = collections.Counter(), []
    for params, size in deep_points.found_roots(np.random.default_rng(0), problem, 40):
        if size > 1e-9:
            outcomes["not converged"] += 1
            continue
        point = deep_linear.decompose(problem, params, rank_tolerance=1e-4, critical_tolerance=1e-3)
        if point.category not in deep_linear.CATEGORIES[:4]:
            outcomes[point.category] += 1
            continue
        assert key_of(point.counts, point.ranks) in known
        assert point.loss == pytest.approx(float(problem.loss(params)), abs=1e-8)
        outcomes[point.category] += 1
        losses.append(point.loss)
    assert outcomes["not converged"] + outcomes["ambiguous"] <= 20 and outcomes["not-critical"] == 0
    ladder = critical_values(problem).values
    assert all(np.abs(ladder - value).min() <= 1e-8 for value in losses)
    assert all(np.abs(np.array(losses) - value).min() <= 1e-8 for value in ladder)


# --- one hidden layer: the shallow family -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [((3, 2, 2), 2, (2, 0.5), {}), ((4, 3, 3), 3, (2, 2, 0), {}), ((4, 2, 3), None, None, {})]
)
def test_with_one_hidden_layer_the_classes_refine_those_of_the_shallow_family(shape):
    problem = drawn_problem(shape)
    words = {"global": "global", "non-optimal": "deep-non-optimal", "optimal": "deep-optimal"}
    shallow = {
        (item.pattern["counts"], item.pattern["num_zero"]): item for item in shallow_linear.enumerate_classes(problem)
    }
    refined = set()
    for item in deep_linear.enumerate_classes(problem):
        # Z_2 is what captures zero singular values
        key = item.pattern["counts"], item.pattern["ranks"][1][1]
        known = shallow[key]
        assert (item.category, item.strict, item.index) == (words[known.category], known.strict, known.index)
        assert item.loss == pytest.approx(known.loss, rel=1e-12) and item.rank == known.rank
        assert known.nullity in (None, item.nullity)
        refined.add(key)
    assert refined == set(shallow)
