"""Naming by closed-form theory: linear networks, paper 001's regularised ones, ReLU units; symmetries of the rest."""

import itertools
import pickle

import jax
import numpy as np
import pytest

import gradflow as gf
from gradflow.critical_points.linear_weights import linear_rounding
from gradflow.critical_sets import NOISE_FLOOR, balanced, critical_values, deep_linear, relu_cones, shallow_linear
from gradflow.naming import examine, labels, merge, namer_for, settle
from gradflow.naming.evaluation import evaluator
from gradflow.naming.features import features
from gradflow.naming.linear import captured
from gradflow.regularizers import Balance

DEEP = gf.Regression(gf.networks.Linear((4, 4, 4, 2)), np.eye(4), np.eye(2, 4) * [[2.0], [1.0]])
RELU = gf.Regression(gf.networks.Shallow((2, 1, 2), "relu"), np.eye(2), np.diag([2.0, 1.0]))
TANH = gf.networks.Shallow((2, 3, 2), "tanh")


def stacked(states):
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf, dtype=float) for leaf in leaves]), *states)


def namer(problem, **settings):
    return namer_for(gf.GradientFlow(problem), **settings)


def shaken(state, size, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(np.asarray(layer) + size * rng.normal(size=np.shape(layer)) for layer in state)


def dwelt(states):
    return np.ones(len(states), dtype=bool)


@pytest.fixture(scope="module")
def deep_classes():
    classes = deep_linear.enumerate_classes(DEEP)
    chosen = [entry for entry in classes if entry.strict is False and not entry.is_global][:2] + list(classes[::9])
    return [(entry, deep_linear.sample(DEEP, entry, number)) for number, entry in enumerate(chosen)]


@pytest.fixture(scope="module")
def deep_points(deep_classes):
    return [state for _, state in deep_classes]


@pytest.mark.parametrize("size", [0.0, 1e-9])
def test_deep_linear_points_have_the_kind_and_the_captured_set_of_their_class(deep_classes, size):
    states = [shaken(state, size, seed) for seed, (_, state) in enumerate(deep_classes)]
    names = namer(DEEP).names(stacked(states), has_dwelt=dwelt(states))
    undecided = []
    for number, (entry, _) in enumerate(deep_classes):
        word = "global minimum" if entry.is_global else "strict saddle" if entry.strict else "non-strict saddle"
        captured_set = ", ".join(f"s_{i + 1}" for i, count in enumerate(entry.pattern["counts"]) if count)
        label = names.label_of(number)
        if label.is_decided:
            assert label.text == f"{word} {{{captured_set}}}", number
            assert label.loss == pytest.approx(entry.loss, abs=1e-12)
        else:
            undecided.append(entry.strict)
    assert undecided == [] if size == 0.0 else not any(undecided)  # a moved non-strict saddle has negative curvature
    assert {label.kind for label in names.labels} >= {"global_minimum", "strict_saddle"}


def test_captured_counts_of_a_batch_are_those_that_theory_recognises(deep_points):
    flat = np.stack([np.concatenate([np.ravel(layer) for layer in shaken(state, 1e-4)]) for state in deep_points])
    counts, defect = captured(DEEP, flat)
    for number, state in enumerate(deep_points):
        point = deep_linear.recognise(DEEP, shaken(state, 1e-4))
        assert tuple(counts[number]) == point.counts
        assert defect[number] == pytest.approx(point.capture_defect, rel=1e-6, abs=1e-12)


def largest_terms(state):
    """``||R||^2 a^2 + (||R|| |product| + ||T||) ||R|| b`` at R = I, a, b the largest products of two and one layers."""
    norms = [np.linalg.norm(layer, 2) for layer in state]
    a, b = (max(np.prod(chosen) for chosen in itertools.combinations(norms, count)) for count in (2, 1))
    return a**2 + (np.prod(norms) + 2.0) * b


def test_rounding_of_eigenvalues_is_that_of_the_terms_and_of_weights_that_are_rounding(deep_points):
    flat = np.stack([np.concatenate([np.ravel(layer) for layer in state]) for state in deep_points])
    terms = [largest_terms(state) for state in deep_points]
    floor = NOISE_FLOOR * DEEP.gradient_scale / DEEP.weight_scale
    expected = np.maximum(32 * 40 * np.finfo(float).eps * np.array(terms), floor)
    np.testing.assert_allclose(linear_rounding(DEEP, flat), expected)
    tiny = tuple(weight * np.eye(*shape) for weight, shape in zip((0.0, 3e-8, 0.0), DEEP.network.shapes, strict=True))
    found = linear_rounding(DEEP, np.concatenate([np.ravel(layer) for layer in tiny])[None])
    assert found[0] == pytest.approx(3 * 3e-8 * 2.0)
    np.testing.assert_array_equal(linear_rounding(RELU, flat), 0.0)


def test_a_slow_passage_of_a_deep_linear_saddle_is_never_a_limit(deep_points):
    states = [shaken(state, size) for state in deep_points for size in (1e-3, 1e-6)]
    names = namer(DEEP).names(stacked(states))
    kinds = {label.kind for label in names.labels}
    assert kinds <= {"global_minimum", "undetermined", "not_critical"}
    tiny = [shaken(tuple(np.zeros(shape) for shape in DEEP.network.shapes), 1e-4)]
    assert namer(DEEP).names(stacked(tiny)).labels[0] in (labels.SLOW, labels.PASSING)


def test_a_non_strict_saddle_is_a_limit_only_where_the_flow_stays(deep_points):
    near = stacked([shaken(deep_points[0], 1e-14)])
    assert namer(DEEP).names(near).labels == (labels.SLOW,)
    assert namer(DEEP).names(near, has_dwelt=dwelt([near])).labels[0].text == "non-strict saddle {s_1}"
    at_rest = stacked([tuple(np.zeros(shape) for shape in DEEP.network.shapes)])
    assert namer(DEEP).names(at_rest).labels[0].text == "non-strict saddle {}"


def test_only_states_below_the_second_critical_value_are_named_by_their_loss(deep_points):
    chosen = namer(DEEP)
    best = next(state for state in deep_points if float(DEEP.loss(state)) == pytest.approx(0.0))
    states = [shaken(best, size, seed) for size in (1e-2, 0.1, 0.2, 0.3) for seed in range(10)]
    names = chosen.names(stacked(states))
    losses = np.array([float(DEEP.loss(state)) for state in states])
    is_global = np.array([names.label_of(row) == chosen.ladder.global_label for row in range(len(states))])
    assert 5 < is_global.sum() < 35
    np.testing.assert_array_equal(is_global, losses < 0.5 - 2.5e-9)


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "target", [(4.0, 3.0, 2.0, 1.0), (3.0, 2.0, 2.0, 0.0), (2.0, 2.0, 2.0, 2.0), (5.0, 4.9, 0.0, 0.0)]
)
def test_the_second_value_is_that_of_all_critical_values(target, limit, quiet):
    problem = gf.Regression(gf.networks.Linear((4, limit, 4)), np.eye(4), np.diag(target))
    values = critical_values(problem).values
    ladder = namer(problem).ladder
    assert ladder.global_label.loss == pytest.approx(values[0], abs=1e-12)
    assert ladder.second == pytest.approx(values[1] if len(values) > 1 else np.inf)


def test_the_classes_of_the_linear_autoencoder_have_their_names():
    rng = np.random.default_rng(0)
    X = (
        np.linalg.qr(rng.normal(size=(4, 4)))[0]
        * np.sqrt([1.0, 2.0, 3.0, 4.0])
        @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    )
    problem = gf.Regression(gf.networks.Linear((4, 2, 4)), X, X)
    classes = shallow_linear.enumerate(problem)
    states = [shallow_linear.sample(problem, entry, number) for number, entry in enumerate(classes)]
    names = namer(problem).names(stacked(states), has_dwelt=dwelt(states))
    expected = {
        "{" + ", ".join(f"s_{i + 1}" for i in chosen) + "}"
        for size in range(3)
        for chosen in itertools.combinations(range(4), size)
    }
    shown = [label.text for label in names.labels]
    assert {text.split(" ", 2)[2] for text in shown} == expected
    assert sorted(text for text in shown if text.startswith("global")) == ["global minimum {s_1, s_2}"]
    assert all(text.startswith(("strict saddle", "global")) for text in shown)


def test_equal_singular_values_are_named_by_counts(quiet):
    problem = gf.Regression(gf.networks.Linear((3, 2, 3)), np.eye(3), np.diag([2.0, 1.0, 1.0]))
    second = np.array([[1.0, 0.0, 0.0], [0.0, np.cos(1.0), np.sin(1.0)]])
    names = namer(problem).names(stacked([(np.diag([2.0, 1.0]) @ second, second.T)]))
    assert [label.text for label in names.labels] == ["global minimum {s_1} and 1 of {s_2, s_3}"]


def test_endpoints_of_the_reduced_flow_are_named_in_its_own_coordinates(deep_points):
    rng = np.random.default_rng(1)
    problem = gf.Regression(DEEP.network, rng.normal(size=(4, 9)), rng.normal(size=(2, 9)))
    reduced = gf.ReducedFlow(problem)
    best = reduced.coordinates(deep_linear.sample(problem, deep_linear.enumerate(problem)[0], 0))
    names = namer_for(reduced).names(stacked([best, tuple(np.zeros(shape) for shape in DEEP.network.shapes)]))
    assert [names.label_of(row).text for row in range(2)] == ["global minimum {s_1, s_2}", "non-strict saddle {}"]


def test_regularised_shallow_networks_are_named_by_001s_classes():
    rng = np.random.default_rng(0)
    X, Y = np.eye(3), np.diag([3.0, 2.0, 1.0]) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    problem = gf.Regression(gf.networks.Linear((3, 2, 3)), X, Y, regularizer=Balance(0.7))
    classes = balanced.enumerate(problem)
    states = [shaken(balanced.sample(problem, entry, number), 1e-8) for number, entry in enumerate(classes)]
    names = namer(problem).names(stacked(states), has_dwelt=dwelt(states))
    for number, entry in enumerate(classes):
        shown = "{" + ", ".join(f"s_{i + 1}" for i, count in enumerate(entry.pattern["counts"]) if count) + "}"
        word = "global minimum" if entry.is_global else "strict saddle"
        assert names.label_of(number).text == f"{word} {shown}"
        assert names.label_of(number).loss == pytest.approx(entry.loss)
    row, chosen = names.params[-1:], namer(problem)
    evaluate = evaluator(problem, stacked(states))
    assert chosen._critical(evaluate, row, classes[-1].loss, 0) is labels.CONTRADICTION  # a saddle without descent
    assert chosen._critical(evaluate, row, classes[-1].loss + 0.1, 1) is labels.CONTRADICTION
    passing = chosen.names(stacked(states))
    assert {label.text for label in passing.labels} == {"global minimum {s_1, s_2}", labels.PASSING.text}


def relu_states():
    """Example 1 of paper 002: what its flow can end at, and what it cannot."""
    root = np.sqrt(2.0)
    return {
        "global minimum in the cone {1}, s^2 = 4": [
            ([root, -0.3], [root, 0.0]), ([root, 0.0], [root, 0.0]), ([root, 1e-8], [root, 1e-8])
        ],
        "spurious minimum in the cone {2}, s^2 = 1": [
            ([-0.3, 2.0], [0.0, 0.5]), ([-1e-3, 1.0 + 1e-7], [0.0, 1.0]), ([0.0, 1.0], [-1e-9, 1.0])
        ],
        "flat cone": [([-0.3, -0.2], [0.4, -1.0]), ([-1e-12, -0.2], [1.0, 1.0]), ([1e-12, -0.2], [-1.0, 1.0])],
        labels.KINK.text: [([0.0, 2.0], [0.3, 0.5]), ([1e-7, 1.0], [2e-6, 1.0]), ([1e-12, -0.2], [1.0, 1.0]),
            ([0.0, 0.0], [1.0, 0.0]), ([1e-4, 1e-4], [1e-4, 1e-4])],
        labels.NOT_CRITICAL.text: [([-0.3, 2.0], [0.1, 0.5])],
    }  # fmt: skip


def test_example_1_of_002_is_named_by_cone_and_singular_value():
    expected, states = zip(
        *(
            (text, (np.array([first]), np.array([second]).T))
            for text, group in relu_states().items()
            for first, second in group
        ),
        strict=True,
    )
    names = namer(RELU).names(stacked(states))
    assert [names.label_of(number).text for number in range(len(states))] == list(expected)
    kinds = {label.text: label.kind for label in names.labels}
    assert kinds["flat cone"] == "degenerate"
    assert [kinds[text] for text in expected[:6:3]] == ["global_minimum", "spurious_minimum"]


def test_a_minimum_on_a_kink_is_global_when_its_loss_is_the_least():
    X, Y = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]), np.array([[1.0, 2.0, 0.0]])
    problem = gf.Regression(gf.networks.Shallow((2, 1, 1), "relu"), X, Y)
    best = relu_cones.global_minimum(problem)
    names = namer(problem).names(stacked([best.params]))
    assert names.labels[0].kind == "global_minimum"
    piece_critical = (np.array([[1.0, 0.0]]), np.array([[1.0]]))  # critical for its piece, and L_N descends there (G16)
    assert namer(problem).names(stacked([piece_critical])).labels == (labels.KINK,)


def tanh_problem(num_samples=12, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2, num_samples))
    teacher = (1.5 * rng.normal(size=(3, 2)), rng.normal(size=(2, 3)))
    return gf.Regression(TANH, X, np.asarray(teacher[1] @ np.tanh(teacher[0] @ X))), teacher


def images(state):
    """All images under permutations and signs of the hidden units."""
    first, second = state
    for order in itertools.permutations(range(len(first))):
        for signs in itertools.product((1.0, -1.0), repeat=len(first)):
            yield np.array(signs)[:, None] * first[list(order)], second[:, list(order)] * np.array(signs)


def test_images_under_permutations_and_signs_are_one_class():
    problem, teacher = tanh_problem()
    states = [shaken(image, 1e-6, seed) for seed, image in enumerate(images(teacher))]
    halves = [namer(problem).names(stacked(states[part]), samples=np.arange(48)[part]) for part in
              (slice(0, 20), slice(20, 48))]  # fmt: skip
    settled = settle(problem, teacher, merge(halves[1].groups, halves[0].groups))
    assert [label.text for label in settled.labels] == ["global minimum, loss 0"]
    assert settled.counts() == {settled.labels[0]: 48}


def test_features_of_networks_are_functions_on_the_data_and_change_under_no_symmetry():
    problem, teacher = tanh_problem()
    states = [teacher, shaken(teacher, 0.3), *list(images(shaken(teacher, 0.3)))[::13]]
    evaluate = evaluator(problem, stacked(states))
    examination = examine(problem, stacked(states))
    values = features(problem, evaluate, examination, np.arange(6), np.zeros(6, dtype=bool)).values
    rms = np.sqrt(np.mean(problem.Y**2))
    np.testing.assert_allclose(values[0, 1:25] * rms, np.ravel(problem.Y), atol=1e-12)
    np.testing.assert_allclose(values[2:], np.tile(values[1], (4, 1)), rtol=1e-9, atol=1e-12)
    assert np.abs(values[1] - values[0])[1:25].max() > 1e-2


def test_images_of_a_known_point_have_its_name():
    problem, teacher = tanh_problem()
    names = namer(problem, known={"teacher": teacher}).names(stacked(list(images(teacher))[::7]))
    assert [label.text for label in names.labels] == ["teacher"]


def test_a_saddle_of_a_tanh_network_is_another_class_and_needs_dwelling():
    problem, teacher = tanh_problem()
    origin = tuple(np.zeros_like(layer) for layer in teacher)
    states = stacked([teacher, origin, shaken(origin, 1e-6)])
    names = namer(problem).names(states)
    assert names.counts() == {labels.PASSING: 1}
    settled = settle(problem, teacher, names.groups)
    assert sorted(label.kind for label in settled.labels) == ["global_minimum", "strict_saddle"]


def test_minima_of_a_residual_network_are_one_class():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2, 7))
    problem = gf.Regression(gf.networks.Residual(2, 2), X, X + 0.3 * rng.normal(size=(2, 7)))
    target = problem.Y @ np.linalg.pinv(X)
    states = []
    for _ in range(5):
        first = np.eye(2) + 0.3 * rng.normal(size=(2, 2))
        states.append((first - np.eye(2) + 1e-6, target @ np.linalg.inv(first) - np.eye(2)))
    names = namer(problem).names(stacked(states))
    assert names.counts() == {names.labels[0]: 5}
    assert (names.labels[0].text, names.labels[0].kind) == ("global minimum", "global_minimum")
    singular = namer(problem).names(stacked([(-np.eye(2), -np.eye(2))]))
    assert all(label.kind != "global_minimum" for label in singular.labels)


@pytest.mark.parametrize("problem", [DEEP, RELU])
def test_a_name_does_not_depend_on_the_batch_and_namers_can_be_sent(problem):
    rng = np.random.default_rng(0)
    starts = [shaken(tuple(np.zeros(shape) for shape in problem.network.shapes), 1.0, seed) for seed in range(40)]
    starts[3] = tuple(np.zeros(shape) for shape in problem.network.shapes)
    chosen = pickle.loads(pickle.dumps(namer(problem)))
    whole = namer(problem).names(stacked(starts))
    order = rng.permutation(40)[:9]
    part = chosen.names(stacked([starts[number] for number in order]))
    assert [part.label_of(place) for place in range(9)] == [whole.label_of(number) for number in order]
    np.testing.assert_array_equal(part.losses, whole.losses[order])
