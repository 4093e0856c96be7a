"""Cones and classes of ReLU networks with one hidden layer: paper 002, section 4, against independent answers."""

import json
from pathlib import Path

import numpy as np
import pytest

from gradflow import Regression, checks, losses, networks, regularizers
from gradflow.critical_sets import relu_cones
from gradflow.critical_sets.relu_cones import cones
from gradflow.critical_sets.relu_cones.linear_programs import RowCone
from gradflow.critical_sets.relu_cones.pieces import piece_of
from gradflow.critical_sets.relu_cones.regressions import relu_data
from gradflow.verification.relu_instances import (
    EXAMPLE_1,
    EXAMPLE_TABLE,
    KINK,
    alternative,
    descended,
    lowest_around,
    random_problem,
    relu_problem,
)

GOLDEN = {
    case["id"]: case
    for case in json.loads((Path(__file__).parent / "golden" / "papers_000_002.json").read_text())["cases"]
}


def golden_problem(name, num_units=1):
    inputs = GOLDEN[name]["inputs"]
    return relu_problem(np.array(inputs["X"]), np.array(inputs["Y"]), num_units)


def shape(entry, *names):
    return tuple(entry.pattern[name] for name in names)


def of_kind(classes, *kinds):
    return [entry for entry in classes if entry.pattern["kind"] in kinds]


def piece_hessian(data, params):
    """The Hessian of the active piece, exact up to rounding: its gradient is cubic, which five points differentiate."""
    mask = params[0] @ data.X > 0
    flat, split = np.concatenate([part.ravel() for part in params]), params[0].size

    def gradient(vector):
        moved = vector[:split].reshape(params[0].shape), vector[split:].reshape(params[1].shape)
        return np.concatenate([part.ravel() for part in data.piece_gradient(moved, mask)])

    steps = np.eye(len(flat))
    near = [gradient(flat + step) - gradient(flat - step) for step in steps]
    far = [gradient(flat + 2 * step) - gradient(flat - 2 * step) for step in steps]
    hessian = (8 * np.array(near) - np.array(far)) / 12
    return (hessian + hessian.T) / 2


@pytest.fixture(scope="module")
def example():
    problem = relu_problem(*EXAMPLE_1)
    return problem, relu_cones.enumerate_classes(problem)


# --- cones ---


def test_the_cone_of_a_point_counts_zeros_as_active_and_marks_them():
    problem = relu_problem(np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]), np.array([[1.0, 2.0, 0.0]]))
    cone = relu_cones.cone_of(problem, (np.array([[1.0, 0.0]]), np.array([[1.0]])))
    assert cone.active == ((0, 1, 2),)
    assert cone.boundary == ((0, 0),)
    assert not cone.is_interior


def test_a_preactivation_between_zero_and_clear_is_uncertain():
    problem = relu_problem(*EXAMPLE_1)
    cone = relu_cones.cone_of(problem, (np.array([[1.0, 1e-7]]), np.array([[1.0], [0.0]])))
    assert cone.uncertain == ((0, 1),)
    assert relu_cones.decompose(problem, (np.array([[1.0, 1e-7]]), np.array([[1.0], [0.0]]))).status == "ambiguous"


def test_a_sample_without_input_belongs_to_no_cone():
    X, Y = np.array([[1.0, 0.0], [0.5, 0.0]]), np.array([[1.0, 2.0]])
    problem = relu_problem(X, Y)
    cone = relu_cones.cone_of(problem, (np.array([[1.0, 1.0]]), np.array([[1.0]])))
    assert cone.active == ((0,),) and cone.neutral == (1,) and cone.is_interior
    (lowest, *_) = relu_cones.enumerate_classes(problem)
    assert lowest.loss == pytest.approx(2.0, abs=1e-12)


def test_one_unit_has_product_patterns_only_and_two_units_have_others():
    problem = relu_problem(*EXAMPLE_1, num_units=2)
    assert not relu_cones.cone_of(problem, (np.array([[1.0, -1.0], [-1.0, 1.0]]), np.ones((2, 2)))).is_product
    assert relu_cones.cone_of(problem, (np.array([[1.0, -1.0], [-1.0, -1.0]]), np.ones((2, 2)))).is_product


@pytest.mark.parametrize("num_samples", [1, 2, 4, 6])
def test_hyperplanes_in_general_position_cut_out_the_number_of_cells_of_schlaefli(num_samples):
    rng = np.random.default_rng(num_samples)
    data = relu_data(relu_problem(rng.normal(size=(2, num_samples)), rng.normal(size=(1, num_samples))))
    faces = cones.faces(data)
    open_cells = [positive for positive, zero in faces if not zero]
    everything_negative = cones.dead_row(data) is not None
    assert len(open_cells) + everything_negative == 2 * num_samples
    rays = [positive for positive, zero in faces if zero]
    all_other_negative = 2 * num_samples - len(rays)
    assert len(rays) <= 2 * num_samples and all_other_negative <= 2


def test_every_row_lies_in_a_listed_cone_and_every_listed_cone_has_a_row():
    rng = np.random.default_rng(1)
    for _ in range(6):
        problem = random_problem(rng)
        data = relu_data(problem)
        listed = relu_cones.realisable_cones(problem)
        zero = np.zeros((len(data.Y), 1))
        for samples in listed:
            outside = tuple(index for index in data.live if index not in samples)
            row = cones.row_cone(data, samples, outside).point()[1]
            assert relu_cones.cone_of(problem, (row[None], zero)).samples == samples
        for row in rng.integers(-2, 3, size=(20, 1, len(data.X))).astype(float):
            assert relu_cones.cone_of(problem, (row, zero)).samples in listed


def test_more_samples_than_can_be_listed_are_refused():
    rng = np.random.default_rng(0)
    problem = relu_problem(rng.normal(size=(5, 30)), rng.normal(size=(1, 30)))
    with pytest.raises(checks.InputError, match="at most 4096 cones"):
        relu_cones.enumerate_classes(problem)


@pytest.mark.parametrize(
    "problem",
    [
        Regression(networks.Linear((2, 1, 2)), *EXAMPLE_1),
        Regression(networks.Shallow((2, 1, 2), "tanh"), *EXAMPLE_1),
        Regression(networks.Shallow((2, 1, 2), "relu", "tanh"), *EXAMPLE_1),
        Regression(networks.Shallow((2, 1, 2), "relu"), *EXAMPLE_1, regularizer=regularizers.WeightDecay(0.1)),
        Regression(networks.Shallow((2, 1, 2), "relu"), *EXAMPLE_1, normalization="mean"),
        Regression(networks.Shallow((2, 1, 2), "relu"), *EXAMPLE_1, loss=lambda a, b: 2 * losses.squared_error(a, b)),
    ],
)
def test_other_problems_are_refused(problem):
    with pytest.raises(checks.InputError, match="ReLU network with one hidden layer"):
        relu_cones.enumerate_classes(problem)


def test_the_depth_of_a_cone_is_its_largest_margin():
    rng = np.random.default_rng(3)
    for _ in range(20):
        cone = RowCone(np.eye(3), rng.normal(size=(3, 2)), rng.normal(size=(3, 3)))
        for strict in (False, True):
            margin = cone.strict_point()[0] if strict else cone.point()[0]
            depth = cone.depth(strict=strict)
            assert (depth > 1e-9) == (margin > 1e-9)
            assert margin - 1e-9 <= np.sqrt(3) * depth and depth <= margin + 1e-9


# --- the reference cases ---


@pytest.mark.parametrize("name", ["G14", "G34"])
def test_the_table_of_a_reference_case_is_reproduced(name):
    case = GOLDEN[name]
    classes = relu_cones.enumerate_classes(golden_problem(name))
    found = {(entry.pattern["J"], round(entry.pattern["sigma"], 9)): entry for entry in of_kind(classes, "captured")}
    expected = {
        (tuple(j - 1 for j in row["J"]), entry["sigma"]): entry
        for row in case["expected"]["table"]
        for entry in row["entries"]
        if entry["sigma"] > 0
    }
    assert set(found) == set(expected)
    for key, entry in expected.items():
        assert found[key].loss == pytest.approx(entry["loss"], abs=1e-10)
        assert shape(found[key], "multiplicity", "exists", "interior") == (
            entry["mult"], entry["exists"], entry["interior"],
        )  # fmt: skip
    assert classes[0].loss == pytest.approx(case["expected"]["global_min"], abs=1e-10)
    assert classes[0].is_global


def test_example_1_has_its_seven_nonzero_classes_and_no_other(example):
    _, classes = example
    nonzero = [entry for entry in classes if entry.pattern["kind"] != "origin"]
    assert len(nonzero) == 7
    for entry in nonzero:
        samples, sigma = shape(entry, "J", "sigma")
        loss, interior, category = EXAMPLE_TABLE[samples, sigma and round(sigma, 9)]
        assert entry.loss == pytest.approx(loss, abs=1e-12)
        assert (entry.pattern["interior"], entry.category) == (interior, category)


def test_the_degenerate_classes_of_example_1_are_flat_to_first_order_and_no_minima(example):
    _, classes = example
    degenerate = of_kind(classes, "degenerate")
    assert [shape(entry, "J", "kinked", "interior") for entry in degenerate] == [
        ((0,), False, False),
        ((1,), False, False),
    ]
    assert {entry.loss for entry in degenerate} == {2.5}


def test_the_plateau_has_loss_five_halves(example):
    problem, classes = example
    (plateau,) = of_kind(classes, "dead")
    assert plateau.loss == 2.5
    params = relu_cones.sample(problem, plateau, np.random.default_rng(0))
    assert float(problem.loss(params)) == 2.5


def test_without_a_dead_row_there_is_no_plateau():
    classes = relu_cones.enumerate_classes(relu_problem(np.array([[1.0, -1.0]]), np.array([[1.0, 2.0]])))
    assert of_kind(classes, "dead") == []


def test_a_point_where_the_piece_is_critical_may_be_stationary_for_nothing():
    classes = relu_cones.enumerate_classes(golden_problem("G16"))
    (entry,) = [entry for entry in of_kind(classes, "captured") if entry.pattern["J"] == (0, 1, 2)]
    assert shape(entry, "interior", "kinked") == (False, True)
    assert entry.category == "not stationary"
    assert entry.loss == pytest.approx(1.5, abs=1e-12)


# --- existence ---


def test_linear_programs_agree_with_the_theorem_of_the_alternative():
    rng = np.random.default_rng(5)
    decided = existing = 0
    for _ in range(10):
        problem = random_problem(rng, most_samples=3)
        data = relu_data(problem)
        for number in range(1, 2 ** len(data.live)):
            samples = tuple(sample for bit, sample in enumerate(data.live) if number >> bit & 1)
            piece = piece_of(data, samples)
            for group, indices in enumerate(piece.groups):
                if len(indices) > 1 or indices[0] >= piece.num_positive:
                    continue
                counts = tuple(int(index == group) for index in range(len(piece.groups)))
                expected = alternative(data, piece, indices[0])
                if expected is not None:
                    assert relu_cones.existence(problem, samples, counts).exists == expected
                    decided, existing = decided + 1, existing + expected
    assert decided > 30 and 5 < existing < decided


def test_a_margin_between_noise_and_clear_is_unknown():
    inside, outside = (
        relu_cones.existence(relu_problem(np.eye(2), np.array([[1.0, value]])), (0, 1), (1,)) for value in (1e-8, -1e-8)
    )
    assert (inside.exists, inside.interior) == (True, "unknown")
    assert outside.exists == "unknown"


def test_existence_checks_its_arguments():
    problem = relu_problem(*EXAMPLE_1)
    with pytest.raises(checks.InputError, match="one per group"):
        relu_cones.existence(problem, (0,), (1,))
    with pytest.raises(checks.InputError, match="add up to at most 1"):
        relu_cones.existence(problem, (0, 1), (1, 1))
    with pytest.raises(checks.InputError, match="live samples"):
        relu_cones.existence(problem, (2,), (1, 0))
    with pytest.raises(checks.InputError, match="at most d_1"):
        relu_cones.existence(problem, (0,), (1, 0), num_active=2)


def test_dead_units_need_a_row_below_all_samples():
    X, Y = np.array([[1.0, -1.0]]), np.array([[1.0, 0.0]])
    assert relu_cones.existence(relu_problem(X, Y), (0,), (1,)).exists is True
    assert relu_cones.existence(relu_problem(X, Y, 2), (0,), (1,), num_active=1).exists is False


def test_two_units_of_rank_one_exist_where_one_unit_does_not():
    # h = (1, -1) / sqrt(2) has both signs: one unit cannot make it, the difference of two can.
    X, Y = np.eye(2), np.array([[1.0, -1.0]])
    assert relu_cones.existence(relu_problem(X, Y), (0, 1), (1,)).exists is False
    found = relu_cones.existence(relu_problem(X, Y, 2), (0, 1), (1,), num_active=2)
    assert found.exists is True and found.interior is True


def test_whole_groups_are_decided_and_parts_of_groups_are_searched_with_two_units():
    X = Y = np.eye(3)
    problem = relu_problem(X, Y, 2)
    found = relu_cones.existence(problem, (0, 1, 2), (2,), num_active=2)
    assert found.exists in (True, "unknown")
    if found.exists is True:
        assert len(found.rows) >= 2


# --- classes ---


@pytest.mark.parametrize("num_units", [1, 2])
def test_members_are_critical_in_their_cone_with_the_loss_of_their_class(num_units):
    rng = np.random.default_rng(num_units)
    for _ in range(4):
        problem = random_problem(rng, num_units, most_samples=3)
        data = relu_data(problem)
        for entry in relu_cones.enumerate_classes(problem):
            if entry.pattern["exists"] is not True:
                continue
            point = relu_cones.decompose(problem, relu_cones.sample(problem, entry, rng))
            assert abs(point.loss - entry.loss) <= 1e-8 * data.dead_loss, entry
            assert point.defect <= 1e-8 or entry.pattern["kind"] == "kink", entry
            assert point.interior or entry.pattern["interior"] is not True, entry
            if entry.pattern["kind"] not in ("dead", "origin"):
                assert point.cone.samples == entry.pattern["J"], entry


def test_index_and_nullity_inside_cones_are_those_of_the_hessian():
    rng = np.random.default_rng(8)
    checked = 0
    for num_units in (1, 1, 2):
        problem = relu_problem(rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), num_units)
        for entry in relu_cones.enumerate_classes(problem):
            if entry.index is None or entry.pattern["exists"] is not True:
                continue
            eigenvalues = np.linalg.eigvalsh(piece_hessian(relu_data(problem), relu_cones.sample(problem, entry, rng)))
            floor = 1e-9 * max(1.0, np.max(np.abs(eigenvalues)))
            assert np.sum(eigenvalues < -floor) == entry.index, entry
            if entry.nullity is not None:
                assert np.sum(np.abs(eigenvalues) <= floor) == entry.nullity, entry
            checked += 1
    assert checked > 10


def test_nothing_close_is_lower_than_what_is_called_a_minimum():
    rng = np.random.default_rng(9)
    called = 0
    for _ in range(5):
        problem = random_problem(rng, most_samples=3)
        for entry in relu_cones.enumerate_classes(problem):
            if entry.category in ("global", "spurious minimum", "plateau"):
                params = relu_cones.sample(problem, entry, rng)
                assert lowest_around(relu_data(problem), params, rng, 20) >= -1e-12, entry
                called += 1
    assert called > 8


def test_the_smallest_class_is_the_global_minimum_found_by_descent_from_random_starts():
    rng = np.random.default_rng(10)
    for _ in range(4):
        problem = random_problem(rng, most_samples=3)
        data = relu_data(problem)
        (lowest, *_) = relu_cones.enumerate_classes(problem)
        assert lowest.is_global
        found = min(data.loss(descended(data, rng)) for _ in range(10))
        assert lowest.loss <= found + 1e-9 * data.dead_loss


def test_descent_from_random_starts_ends_at_losses_of_listed_classes():
    rng = np.random.default_rng(11)
    ended = 0
    for _ in range(2):
        problem = relu_problem(rng.normal(size=(2, 3)), rng.normal(size=(2, 3)))
        data = relu_data(problem)
        values = np.array([entry.loss for entry in relu_cones.enumerate_classes(problem)])
        for _ in range(12):
            point = relu_cones.decompose(problem, descended(data, rng))
            if point.interior and point.defect < 1e-6:
                assert np.min(np.abs(values - point.loss)) < 1e-8 * data.dead_loss
                ended += 1
    assert ended >= 12


def test_the_global_minimum_can_lie_on_a_kink_of_which_no_piece_is_critical():
    problem = relu_problem(*KINK)
    lowest = relu_cones.global_minimum(problem)
    assert lowest.value == pytest.approx(0.1475, abs=1e-12)
    assert lowest.zero == (2,) and lowest.is_certain
    classes = relu_cones.enumerate_classes(problem)
    assert min(entry.loss for entry in classes if entry.pattern["kind"] != "kink") == pytest.approx(0.97, abs=1e-12)
    assert shape(classes[0], "kind", "Z") == ("kink", (2,))
    # A kink on the border of an ordinary minimum, with the kink's whole weight on one side.
    assert [entry.category for entry in of_kind(classes, "kink")[1:]] == ["spurious minimum"]
    data = relu_data(problem)
    rng = np.random.default_rng(0)
    assert min(data.loss(descended(data, rng)) for _ in range(20)) >= 0.1475 - 1e-9


def test_the_global_minimum_needs_one_unit():
    with pytest.raises(checks.InputError, match="one hidden unit"):
        relu_cones.global_minimum(relu_problem(*EXAMPLE_1, num_units=2))


def test_with_two_units_only_a_loss_of_zero_is_called_global():
    classes = relu_cones.enumerate_classes(relu_problem(*EXAMPLE_1, num_units=2))
    assert [entry.loss for entry in classes if entry.is_global] == [0.0]
    rng = np.random.default_rng(2)
    classes = relu_cones.enumerate_classes(relu_problem(rng.normal(size=(1, 3)), rng.normal(size=(2, 3)), 2))
    assert not any(entry.is_global for entry in classes)
