"""Single points of ReLU networks with one hidden layer: construction, recognition, one-sided derivatives, descent."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from gradflow import checks
from gradflow.critical_sets import relu_cones
from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.relu_cones import cones, feasibility, kinks, second_order, stationarity
from gradflow.critical_sets.relu_cones.kinks import is_kink_minimum
from gradflow.critical_sets.relu_cones.pieces import piece_of
from gradflow.critical_sets.relu_cones.regressions import relu_data
from gradflow.verification import paper_002_relu
from gradflow.verification.relu_instances import (
    CAVEAT,
    EXAMPLE_1,
    KINK,
    constructed_rows,
    falls_as_promised,
    random_problem,
    relu_problem,
)
from gradflow.verification.statement import verify

GOLDEN = {
    case["id"]: case
    for case in json.loads((Path(__file__).parent / "golden" / "papers_000_002.json").read_text())["cases"]
}


def column(*entries):
    return np.array(entries, dtype=float)[:, None]


def row(*entries):
    return np.array(entries, dtype=float)[None]


# --- construction ---


def test_the_piece_gradient_is_that_of_automatic_differentiation_inside_a_cone():
    rng = np.random.default_rng(0)
    problem = relu_problem(rng.normal(size=(3, 4)), rng.normal(size=(2, 4)), 2)
    params = rng.normal(size=(2, 3)), rng.normal(size=(2, 2))
    data = relu_data(problem)
    with jax.enable_x64(True):
        expected = problem.gradient(params)
    for found, wanted in zip(data.piece_gradient(params, params[0] @ data.X > 0), expected, strict=True):
        assert found == pytest.approx(np.asarray(wanted), abs=1e-12)
    assert data.loss(params) == pytest.approx(float(problem.loss(params)), rel=1e-13)


def test_equation_13_has_the_projector_on_the_kernel():
    case = GOLDEN["G17"]
    inputs, expected = case["inputs"], case["expected"]
    X, Y = np.array(inputs["X"]), np.array(inputs["Y"])
    piece = relu_cones.spectrum(relu_problem(X, Y, 2), (0, 1))
    assert piece.sigma == pytest.approx(np.array(expected["sigma"]), abs=1e-12)
    signs = np.array([[-1.0 if piece.left[np.argmax(np.abs(u)), i] < 0 else 1.0 for i, u in enumerate(piece.left.T)]])
    U = piece.left * signs
    assert pytest.approx(np.array(expected["U"]), abs=1e-10) == U
    W, C = U @ np.array(inputs["V"]), np.array(inputs["C"])
    L1 = np.array(expected["L1"])
    found = relu_cones.active_preactivations(piece, W, C, L1)
    assert found == pytest.approx(np.array(expected["A1X"]), abs=1e-10)
    assert not np.allclose(found, np.array(expected["rhs_as_printed"]), atol=0.05)


def test_constructed_points_are_critical_with_the_loss_of_what_they_capture():
    rng = np.random.default_rng(1)
    built = 0
    for _ in range(200):
        problem = relu_problem(rng.normal(size=(4, 3)), rng.normal(size=(2, 3)), 2)
        data = relu_data(problem)
        rank = int(rng.integers(0, 3))
        _, W, C, L1, rows = constructed_rows(rng, data, (0, 2), rank, 2)
        if np.all(rows @ data.X[:, [0, 2]] > 1e-3) and np.all(rows @ data.X[:, 1] < -1e-3):
            cone = relu_cones.Cone.product((0, 1), (0, 2), 2, 3)
            params = relu_cones.construct(problem, cone, W, C=C, L1=L1)
            point = relu_cones.decompose(problem, params)
            assert params[0] == pytest.approx(rows, abs=1e-9)
            assert point.is_piece_critical and point.interior and sum(point.counts) == rank
            assert point.loss == pytest.approx(point.value, abs=1e-10)
            built += 1
    assert built >= 3


def test_one_unit_is_built_from_a_direction_a_scale_and_a_null_row():
    problem = relu_problem(*EXAMPLE_1)
    cone = relu_cones.Cone.product((0,), (0,), 1, 2)
    A1, A2 = relu_cones.construct(problem, cone, column(1, 0), C=np.array([[2.0]]), L1=row(0, -3))
    assert pytest.approx(row(1, -3), abs=1e-14) == A1
    assert pytest.approx(column(2, 0), abs=1e-14) == A2


def test_dead_units_are_added_on_request():
    problem = relu_problem(*EXAMPLE_1, num_units=2)
    cone = relu_cones.Cone.product((1,), (0,), 2, 2)
    params = relu_cones.construct(problem, cone, column(1, 0), L1=row(0, -1), dead_columns=column(5, 7))
    assert relu_cones.decompose(problem, params).loss == pytest.approx(0.5, abs=1e-12)
    assert np.all(params[0][0] < 0) and params[1][:, 0].tolist() == [5, 7]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"directions": column(1, 0), "L1": row(0, 3)}, "put the point into the cone"),
        ({"directions": column(-1, 0), "L1": row(0, -3)}, "put the point into the cone"),
        ({"directions": column(2, 0), "L1": row(0, -3)}, "orthonormal columns"),
        ({"directions": column(0.6, 0.8), "L1": row(0, -3)}, "leaves invariant"),
        ({"directions": column(1, 0), "C": np.zeros((1, 1)), "L1": row(0, -3)}, "be invertible"),
        ({"directions": column(0, 0), "L1": row(1, -3)}, "obey eq"),
        ({"directions": np.ones((1, 1))}, "have shape"),
    ],
)
def test_parameters_that_give_no_point_of_the_cone_are_refused(arguments, message):
    problem = relu_problem(*EXAMPLE_1)
    cone = relu_cones.Cone.product((0,), (0,), 1, 2)
    with pytest.raises(checks.InputError, match=message):
        relu_cones.construct(problem, cone, **arguments)


def test_a_pattern_that_is_no_product_has_no_closed_form():
    cone = relu_cones.Cone(((0,), (1,)), 2)
    with pytest.raises(checks.InputError, match="be a product"):
        relu_cones.construct(relu_problem(*EXAMPLE_1, num_units=2), cone, np.eye(2))


def test_units_cannot_be_dead_when_zero_is_in_the_hull_of_the_samples():
    problem = relu_problem(np.array([[1.0, -1.0]]), np.array([[1.0, 0.0]]), 2)
    with pytest.raises(checks.InputError, match="leave no unit out"):
        relu_cones.construct(problem, relu_cones.Cone.product((0,), (0,), 2, 2), column(1))


def test_cones_check_their_indices():
    with pytest.raises(checks.InputError, match="`units` must lie in"):
        relu_cones.Cone.product((1,), (0,), 1, 2)


# --- recognition ---


def test_the_boundary_point_of_the_caveat_is_critical_for_the_piece_only():
    expected = GOLDEN["G16"]["expected"]
    problem = relu_problem(*CAVEAT)
    data = relu_data(problem)
    params = row(1, 0), column(1)
    point = relu_cones.decompose(problem, params)
    assert point.is_piece_critical and point.kinked and not point.interior and point.is_stationary is False
    assert all(np.all(part == 0) for part in point.piece_gradient)
    assert point.loss == pytest.approx(expected["loss"], abs=1e-12)
    assert point.sigma == pytest.approx(2.0, abs=1e-12)
    down = relu_cones.directional_derivative(problem, params, (row(0, -1), column(0)))
    assert down == pytest.approx(expected["one_sided_derivative_direction_0_minus1"], abs=1e-12)
    assert relu_cones.directional_derivative(problem, params, (row(0, 1), column(0))) == pytest.approx(0, abs=1e-12)
    assert data.loss((row(1, -0.1), column(1))) == pytest.approx(expected["loss_at_minus_0p1"], abs=1e-12)
    assert point.steepest <= -1.0


def test_a_captured_eigenvalue_and_a_random_point_are_told_apart():
    problem = relu_problem(*EXAMPLE_1)
    point = relu_cones.decompose(problem, (row(2, -1), column(1, 0)))
    assert (point.sigma, point.value) == pytest.approx((4.0, 0.5))
    assert point.counts == (1, 0)
    other = relu_cones.decompose(problem, (row(2, -1), column(1, 0.1)))
    assert not other.is_piece_critical and other.counts is None and other.sigma is None


def test_parameters_of_the_wrong_shape_are_refused():
    with pytest.raises(checks.InputError, match="network's shapes"):
        relu_cones.decompose(relu_problem(*EXAMPLE_1), (np.ones((2, 2)), np.ones((2, 1))))


def test_an_undecided_rank_of_the_second_layer_leaves_the_counts_open():
    problem = relu_problem(np.eye(2), np.zeros((2, 2)), 2)
    point = relu_cones.decompose(problem, (np.zeros((2, 2)), np.diag([1.0, 1e-6])))
    assert point.is_piece_critical and point.counts is None


# --- one-sided derivatives ---


@pytest.mark.parametrize("num_units", [1, 2])
def test_directional_derivatives_are_limits_of_difference_quotients(num_units):
    rng = np.random.default_rng(2)
    for _ in range(20):
        problem = random_problem(rng, num_units)
        data = relu_data(problem)
        params = (
            rng.integers(-1, 2, size=(num_units, len(data.X))).astype(float),
            rng.normal(size=(len(data.Y), num_units)),
        )
        direction = rng.normal(size=params[0].shape), rng.normal(size=params[1].shape)
        step = 1e-7
        moved = params[0] + step * direction[0], params[1] + step * direction[1]
        quotient = (data.loss(moved) - data.loss(params)) / step
        found = relu_cones.directional_derivative(problem, params, direction)
        assert found == pytest.approx(quotient, abs=1e-4 * (1 + data.dead_loss))


def test_the_steepest_derivative_of_a_unit_is_below_that_of_random_directions():
    rng = np.random.default_rng(3)
    for _ in range(20):
        rays = rng.normal(size=(3, 3))
        unit = stationarity.Kinks(rng.normal(size=3), rays / np.linalg.norm(rays, axis=0), rng.normal(size=3))
        value, direction = unit.steepest()
        assert unit.derivative(direction) == pytest.approx(value, abs=1e-12) and np.max(np.abs(direction)) <= 1 + 1e-9
        assert value <= min(unit.derivative(d) for d in rng.uniform(-1, 1, size=(200, 3)))


def test_a_convex_kink_can_be_stationary_and_its_mirror_image_is_not():
    ray = np.array([[1.0], [0.0]])
    gradient = np.array([-0.5, 0.0])
    assert stationarity.Kinks(gradient, ray, np.array([1.0])).steepest()[0] == 0.0
    assert stationarity.Kinks(-gradient, ray, np.array([1.0])).steepest()[0] < -0.4
    assert stationarity.Kinks(gradient, ray, np.array([0.3])).steepest()[0] < -0.1


def test_too_many_zero_preactivations_are_left_undecided():
    angles = np.linspace(0, np.pi, 11, endpoint=False)
    problem = relu_problem(np.array([np.cos(angles), np.sin(angles)]), -np.ones((1, 11)))
    point = relu_cones.decompose(problem, (row(0, 0), column(1)))
    assert point.is_stationary is None


def test_samples_on_one_ray_are_one_kink():
    problem = relu_problem(np.array([[0.0, 0.0, 1.0], [1.0, 2.0, 0.0]]), np.array([[-2.0, 1.0, 1.0]]))
    (unit,) = stationarity.kinks_of(relu_data(problem), (row(1, 0), column(1)))
    assert unit.rays.shape == (2, 1)
    assert unit.weights == pytest.approx([0.0], abs=1e-12)


# --- descent ---


def test_the_boundary_point_of_example_1_falls_along_the_curve_of_the_text():
    problem = relu_problem(*EXAMPLE_1)
    data = relu_data(problem)
    descent = relu_cones.descent_direction(problem, (row(0, 1), column(0, 1)))
    assert descent.order == 2
    first, second = descent.direction
    assert first[0, 0] > 0.99 and abs(first[0, 1]) < 1e-9 and second[0, 0] > 0
    assert falls_as_promised(data, (row(0, 1), column(0, 1)), descent)
    for step in (0.1, 0.5, 1.0):
        value = data.loss((row(step, 1), column(step, 1)))
        assert value == pytest.approx(2 - step**2 + step**4 / 2, abs=1e-13)


@pytest.mark.parametrize(
    ("params", "order"),
    [
        ((row(0, -1), column(0, 1)), 2),
        ((row(0, 0), column(0, 0)), 2),
        ((row(0.1, 1), column(0.3, 1)), 1),
        ((row(2, 0), column(1, 0)), None),
        ((row(2, -1), column(1, 0)), None),
        ((row(-1, -1), column(1, 1)), None),
    ],
)
def test_descent_directions_fall_as_promised_and_minima_have_none(params, order):
    problem = relu_problem(*EXAMPLE_1)
    descent = relu_cones.descent_direction(problem, params)
    assert (descent and descent.order) == order
    assert descent is None or falls_as_promised(relu_data(problem), params, descent)


def test_every_class_that_is_no_minimum_has_a_descent_direction():
    rng = np.random.default_rng(4)
    seen = set()
    for _ in range(5):
        problem = random_problem(rng, most_samples=3)
        for entry in relu_cones.enumerate_classes(problem):
            if entry.category in ("strict saddle", "not a local minimum", "not stationary"):
                params = relu_cones.sample(problem, entry, rng)
                descent = relu_cones.descent_direction(problem, params)
                assert descent is not None and falls_as_promised(relu_data(problem), params, descent), entry
                seen.add((entry.pattern["kind"], entry.category))
    assert len(seen) >= 3


def test_a_second_order_rate_is_the_curvature_along_the_direction_with_the_best_second_layer():
    rng = np.random.default_rng(7)
    X, Y = rng.normal(size=(3, 4)), 3 * rng.normal(size=(2, 4))
    data = relu_data(relu_problem(X, Y))
    params = rng.normal(size=(1, 3)), rng.normal(size=(2, 1))
    params = params[0] * np.sign(params[0] @ X[:, :1]), params[1]
    active = tuple(int(index) for index in np.flatnonzero(params[0] @ X > 0))
    mask = params[0] @ X > 0

    def curvature(first, second):
        def along(t):
            return data.piece_loss((params[0] + t * first, params[1] + t * second), mask)

        return (16 * (along(1) + along(-1)) - (along(2) + along(-2)) - 30 * along(0)) / 12  # exact for a quartic

    descent = second_order._lowest(params, X[:, active], Y[:, active], np.zeros((0, 3)))
    first, second = descent.direction
    assert descent.rate < 0
    assert curvature(first, second) == pytest.approx(descent.rate, rel=1e-9)
    for step in rng.normal(size=(20, 2, 1)):
        assert curvature(first, second + step) > descent.rate
    for other in rng.normal(size=(20, 1, 3)):
        assert curvature(other / np.linalg.norm(other), second) >= descent.rate - 1e-9


def test_more_units_get_first_order_descent_only():
    problem = relu_problem(*EXAMPLE_1, num_units=2)
    assert relu_cones.descent_direction(problem, (np.zeros((2, 2)), np.zeros((2, 2)))) is None
    assert relu_cones.descent_direction(problem, (np.eye(2), np.zeros((2, 2)))).order == 1


# --- what boundary points are ---


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (row(2, 0), column(1, 0), "minimum"),
        (row(0, 1), column(0, 1), "not a local minimum"),
        (row(2, -1), column(1, 0), "minimum"),
    ],
)
def test_verdicts_on_the_points_of_example_1(first, second, expected):
    assert second_order.verdict(relu_data(relu_problem(*EXAMPLE_1)), (first, second)) == expected


def test_a_boundary_point_is_left_undetermined_when_a_neighbouring_piece_has_a_larger_eigenvalue():
    # Samples 2 and 3 switched on give sigma = 2 > 1.44, but its eigenvector moves them in opposite directions.
    data = relu_data(relu_problem(np.eye(3), np.array([[1.2, 0.0, 0.0], [0.0, 1.0, -1.0]])))
    assert second_order.verdict(data, (row(1.2, 0, 0), column(1, 0))) == "undetermined"
    data = relu_data(relu_problem(np.eye(3), np.array([[1.5, 0.0, 0.0], [0.0, 1.0, -1.0]])))
    assert second_order.verdict(data, (row(1.5, 0, 0), column(1, 0))) == "minimum"


def test_the_caveat_is_not_stationary():
    assert second_order.verdict(relu_data(relu_problem(*CAVEAT)), (row(1, 0), column(1))) == "not stationary"


def test_a_kink_minimum_is_proved_where_its_shares_are_inside_and_not_for_a_smaller_eigenvalue():
    data = relu_data(relu_problem(*KINK))
    assert is_kink_minimum(data, (row(1.15, 0), column(1)))
    X = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.2, 0.1, 1.0]])
    data = relu_data(relu_problem(X, np.array([[2.0, 0.0, -1.0], [0.0, 1.0, -1.0]])))
    piece = piece_of(data, (0, 1), (2,))
    assert piece.sigma == pytest.approx([4.0, 1.0])
    assert not is_kink_minimum(data, (row(0, 1, 0), column(0, 1)))


# --- sampling ---


def test_sampling_refuses_what_is_no_class_of_the_problem():
    problem = relu_problem(*EXAMPLE_1)
    rng = np.random.default_rng(0)
    (entry, *_) = relu_cones.enumerate_classes(problem)
    stranger = CriticalClass("shallow_linear", dict(entry.pattern), 0.0, 1, "global", False, 0, 0, "")
    unknown = CriticalClass(
        "relu_cones", dict(entry.pattern) | {"exists": "unknown"}, 0.0, 1, "global", False, 0, 0, ""
    )
    for wrong in (stranger, unknown):
        with pytest.raises(checks.InputError, match="that exists"):
            relu_cones.sample(problem, wrong, rng)
    absent = CriticalClass(
        "relu_cones", dict(entry.pattern) | {"J": (0,), "counts": (1,)}, 0.0, 1, "global", False, 0, 0, ""
    )
    with pytest.raises(checks.InputError, match="one of this problem"):
        relu_cones.sample(problem, absent, rng)


def test_members_that_capture_zeros_only_are_critical_although_their_rows_are_null_rows():
    rng = np.random.default_rng(6)
    problem = relu_problem(rng.normal(size=(3, 2)), rng.normal(size=(3, 2)), 2)
    classes = [entry for entry in relu_cones.enumerate_classes(problem) if entry.pattern["kind"] == "degenerate"]
    assert len(classes) >= 2
    for entry in classes:
        point = relu_cones.decompose(problem, relu_cones.sample(problem, entry, rng))
        assert point.is_piece_critical and point.cone.samples == entry.pattern["J"], entry


def test_samples_of_a_class_differ_and_repeat_with_the_generator():
    problem = relu_problem(*EXAMPLE_1)
    entry = next(entry for entry in relu_cones.enumerate_classes(problem) if entry.pattern["interior"] is True)
    first, again, other = (relu_cones.sample(problem, entry, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.allclose(first[0], other[0])


# --- statements ---


@pytest.mark.parametrize("statement", paper_002_relu.STATEMENTS, ids=lambda statement: statement.name)
def test_every_statement_is_as_expected(statement):
    verdict = verify(dataclasses.replace(statement, quick=min(statement.quick, 2)))
    assert verdict.is_as_expected, (verdict.failures, verdict.error)


def test_a_broken_formula_fails_its_statement(monkeypatch):
    statements = {statement.number: statement for statement in paper_002_relu.STATEMENTS}
    monkeypatch.setattr(feasibility, "_has_both_signs", lambda *_: True)
    assert not verify(dataclasses.replace(statements["Proposition 7"], quick=10)).holds
    monkeypatch.undo()
    monkeypatch.setattr(kinks, "faces", lambda data: tuple(face for face in cones.faces(data) if not face[1]))
    assert not verify(statements["Proposition 7, entire parameter space"]).is_as_expected


def test_a_silent_unit_that_can_only_have_no_weight_has_none():
    """Of this class the programs find a row of 1e-16, whose signs would be a pattern of their own."""
    X = [[2.3541952196735028, -0.5324574682315419], [-0.8513639242595942, -0.9405354731359564],
         [-0.3794870793251225, 1.0410800787542063]]  # fmt: skip
    Y = [[2.222256891192172, -0.6766541377664166], [-0.1807313186638349, -0.5301147413556996],
         [1.512956806527732, 1.2148485625057346]]  # fmt: skip
    problem = relu_problem(np.array(X), np.array(Y), 3)
    silent = [
        entry for entry in relu_cones.enumerate_classes(problem)
        if entry.pattern["kind"] == "silent" and (entry.pattern["I"], entry.pattern["J"]) == ((0,), (0, 1))
    ]  # fmt: skip
    assert len(silent) == 1
    for key in range(20):
        rows, second = relu_cones.sample(problem, silent[0], key)
        assert relu_cones.decompose(problem, (rows, second)).cone.samples == (0, 1)
        np.testing.assert_array_equal((rows @ np.array(X))[0], 0.0)
