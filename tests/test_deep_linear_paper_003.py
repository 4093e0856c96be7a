"""Paper 003's view of critical points of deep linear networks, ways down from saddles, and the rows of both papers."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from gradflow import checks
from gradflow.critical_sets import deep_linear
from gradflow.verification import deep_points, paper_002_deep, paper_003_critical
from gradflow.verification.deep_points import diagonal_problem, flatten
from gradflow.verification.statement import verify

CASES = {
    case["id"]: case for case in json.loads((Path(__file__).parent / "golden/paper_003.json").read_text())["cases"]
}
WIDTHS = (4, 3, 3, 3)
ROWS = [*paper_002_deep.STATEMENTS, *paper_003_critical.STATEMENTS]

pytestmark = pytest.mark.usefixtures("quiet")


def arrays(layers):
    return tuple(np.array(layer, float) for layer in layers)


def random_state(problem):
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=shape) for shape in problem.network.shapes)


def golden(name, state="W"):
    case = CASES[name]
    weights = arrays(case["inputs"][state])
    widths = (weights[0].shape[1], *(layer.shape[0] for layer in weights))
    sigma = np.array(case["inputs"]["Sigma_Y"], float)
    return diagonal_problem(widths, np.diag(sigma)), weights, case["expected"]


# --- multiprecision cases ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "case", "indices"),
    [
        ("G18_H2_case_1_1", "1.1", ()),
        ("G19_H2_case_1_2", "1.2", ()),
        ("G21_H2_case_2_2_nonstrict", "2.2", (0,)),
        ("G23_H2_rZ_gt_r", "r_Z>r", (0,)),
        ("G23b_H2_global_min", "global", (0, 1)),
    ],
)
def test_points_of_two_hidden_layers_have_their_case_ranks_and_inertia(name, case, indices):
    problem, weights, expected = golden(name)
    form = deep_linear.describe(problem, weights)
    assert (form.case, form.indices) == (case, indices)
    assert (form.rank, form.rank_z) == (expected["r"], expected["rZ"])
    assert form.strict == bool(expected["strict_saddle"])
    assert max(form.residuals().values()) <= 1e-14
    point = deep_linear.decompose(problem, weights)
    found = deep_linear.class_of(problem, point.counts, point.ranks)
    assert (found.index, found.nullity) == (expected["n_neg"], expected["n_zero"])
    assert found.loss == pytest.approx(expected["L"], abs=1e-12)


def test_g15_the_variation_is_exact_and_ordered_pairs_are_not():
    case = CASES["G15_prop2_exact"]
    arguments = (arrays(case["inputs"]["W"]), arrays(case["inputs"]["w"]), np.array([2.0, 1.0]))
    expected = case["expected"]
    assert deep_linear.first_variation(*arguments) == pytest.approx(expected["Delta"], rel=1e-13)
    assert deep_linear.second_variation(*arguments) == pytest.approx(expected["H_W"], rel=1e-13)
    wrong = deep_linear.second_variation(*arguments, ordered_pairs=True)
    assert wrong == pytest.approx(expected["H_W_double_counted_WRONG"], rel=1e-13)


def test_g23_the_plane_of_negative_curvature_has_the_known_form():
    problem, weights, expected = golden("G23_H2_rZ_gt_r")
    plane = deep_linear.outer_plane(problem, weights)
    assert (plane.a, plane.c) == (pytest.approx(1.0), pytest.approx(1.0))
    for row in expected["H_W(lam,mu)"]:
        assert plane.value(row["lam"], row["mu"]) == pytest.approx(row["H_W"], abs=1e-14)
    assert plane.minimiser(3.0) == pytest.approx(3.0)
    assert plane.value(3.0, 3.0) == pytest.approx(-4.5)


def test_g24_the_closed_form_curve_falls_where_the_kernel_direction_rises():
    problem, weights, expected = golden("G24_nonstrict_third_order_descent", "base")
    curve = deep_linear.third_order_curve(problem, weights)
    before = deep_points.loss(problem, weights)
    for eps, naive, known in zip(
        expected["eps"], expected["L_naive_minus_Lstar"], expected["L_curve_minus_Lstar"], strict=True
    ):
        change = deep_points.loss(problem, curve.at(eps)) - before
        assert change == pytest.approx(curve.change(eps), abs=1e-15)
        # the case's own curve also pays off costs of order eps^4
        assert change == pytest.approx(known, abs=0.11 * eps**4) and change < 0
        assert change < naive
    assert (curve.value, curve.powers) == (pytest.approx(1.0), (1.0, 1.0, 1.0))


def test_g26_equal_singular_values_are_learned_along_any_direction():
    problem, weights, expected = golden("G26_repeated_singular_values")
    form = deep_linear.describe(problem, weights)
    assert form.indices is None and not form.is_permutation and form.rank == 1
    assert 0.5 * float(np.sum(form.missed**2)) == pytest.approx(expected["L"])
    product = form.turn @ np.diag([*form.learned, 0.0]) @ form.turn.T
    coordinates = deep_linear.reduced_coordinates(problem)
    back = coordinates.left @ product @ coordinates.right.T
    np.testing.assert_allclose(back, expected["product"], atol=1e-14)


# --- cases of two hidden layers ---------------------------------------------------------------------------------------


def test_reduced_weights_keep_the_loss_and_come_back():
    rng = np.random.default_rng(0)
    problem = deep_points.full_rank_problem(rng, ((4, 3, 3, 2), None))
    coordinates = deep_linear.reduced_coordinates(problem)
    params = tuple(rng.normal(size=shape) for shape in problem.network.shapes)
    reduced = coordinates.to_reduced(params)
    target = np.hstack([np.diag(coordinates.values), np.zeros((2, 2))])
    distance = 0.5 * np.sum((reduced[2] @ reduced[1] @ reduced[0] - target) ** 2)
    assert distance + problem.irreducible == pytest.approx(deep_points.loss(problem, params), rel=1e-12)
    for back, layer in zip(coordinates.from_reduced(reduced), params, strict=True):
        np.testing.assert_allclose(back, layer, atol=1e-12)


@pytest.mark.parametrize(
    ("case", "learned", "nonzero", "message"),
    [
        ("1.1", (0,), "first", "`learned` must be none in case 1"),
        ("2.1", (), "first", "at least one in case 2"),
        ("2.1", (0, 1, 2), "first", "`learned` must leave a singular value"),
        ("2.1", (0, 1), "both", "`nonzero` must be 'first' or 'last'"),
        ("2.3", (0,), "first", "`case` must be a known name"),
    ],
)
def test_cases_that_do_not_exist_are_refused(case, learned, nonzero, message):
    with pytest.raises(checks.InputError, match=message):
        deep_linear.construct_case(diagonal_problem(WIDTHS, (3, 2, 1)), case, learned, key=0, nonzero=nonzero)


def test_there_is_no_case_for_other_depths_or_targets_without_full_rank():
    with pytest.raises(checks.InputError, match="`problem` must have two hidden layers, but got 1"):
        deep_linear.construct_case(diagonal_problem((3, 3, 3), (3, 2, 1)), "1.2", key=0)
    with pytest.raises(checks.InputError, match=r"rank\(Y X\^T\) = d_out = 3 \(paper 003, Assumption 2\), but got 2"):
        deep_linear.describe(diagonal_problem(WIDTHS, (3, 2, 0)), ())
    problem = diagonal_problem(WIDTHS, (3, 2, 1))
    params = deep_linear.construct_case(problem, "1.2", key=0)
    with pytest.raises(checks.InputError, match=r"`params` must be of case 2\.1 or 2\.2, but got 1\.2"):
        deep_linear.case_two_blocks(problem, params)


def test_a_state_that_is_not_critical_has_no_case():
    problem = diagonal_problem(WIDTHS, (3, 2, 1))
    form = deep_linear.describe(problem, random_state(problem))
    assert (form.case, form.strict) == ("not-critical", None)
    assert max(form.residuals().values()) > 1e-2


# --- ways down --------------------------------------------------------------------------------------------------------


def test_each_way_down_changes_the_loss_as_promised_and_refuses_other_points():
    rng = np.random.default_rng(1)
    problem = diagonal_problem((3, 2, 2, 3), (3, 2, 1))
    tried = dict.fromkeys(("rotate", "add", "plane", "curve"), 0)
    for item in deep_linear.enumerate_classes(problem):
        params = deep_linear.sample(problem, item, rng)
        before = deep_points.loss(problem, params)
        if item.category == "deep-non-optimal":
            moved = deep_linear.rotate_captured(problem, params, 0.4)
            assert deep_points.loss(problem, moved.params) - before == pytest.approx(moved.change, abs=1e-12)
            assert moved.change < 0
            tried["rotate"] += 1
        else:
            with pytest.raises(checks.InputError, match="be a deep-non-optimal critical point"):
                deep_linear.rotate_captured(problem, params, 0.4)
        if item.category == "deep-optimal":
            best = deep_linear.add_missed(problem, params, 0.4)
            assert deep_points.loss(problem, best.params) - before == pytest.approx(best.change, abs=1e-12)
            one, two = (deep_linear.add_missed(problem, params, 0.4, eps2).change for eps2 in (1.0, 2.0))
            square = 0.5 * two - one  # the change is a parabola in eps2 through 0
            assert best.change == pytest.approx(-((one - square) ** 2) / (4 * square), rel=1e-10)
            assert best.change < 0
            tried["add"] += 1
        if item.category == "global":
            with pytest.raises(checks.InputError):
                deep_linear.outer_plane(problem, params)
            with pytest.raises(checks.InputError, match="be a non-strict saddle"):
                deep_linear.third_order_curve(problem, params)
        elif item.strict is False:
            curve = deep_linear.third_order_curve(problem, params)
            assert deep_points.loss(problem, curve.at(0.1)) - before == pytest.approx(curve.change(0.1), abs=1e-13)
            assert curve.change(1e-3) == pytest.approx(-1e-9 * curve.value, rel=0.1)
            tried["curve"] += 1
        ranks = item.pattern["ranks"]
        if item.category != "global" and ranks[1][1] > ranks[1][2]:
            plane = deep_linear.outer_plane(problem, params)
            flat = flatten(plane.direction(1.0, 0.7))
            value = 0.5 * flat @ deep_points.hessian(problem, params) @ flat
            assert value == pytest.approx(plane.value(1.0, 0.7), abs=1e-12)
            tried["plane"] += 1
    assert min(tried.values()) >= 2


def test_where_no_step_avoids_the_quadratic_cost_the_curve_takes_other_powers():
    # Z_1 fills the first hidden layer and Z_3 reaches only directions that the target lacks
    problem = diagonal_problem((3, 1, 1, 2), (1.0, 0.0))
    params = (np.array([[0.0, 0.0, 1.0]]), np.zeros((1, 1)), np.array([[0.0], [1.0]]))
    assert deep_linear.decompose(problem, params).strict is False
    curve = deep_linear.third_order_curve(problem, params)
    assert curve.powers == (0.5, 2.0, 0.5)
    before = deep_points.loss(problem, params)
    for eps in (0.1, 0.01):
        assert deep_points.loss(problem, curve.at(eps)) - before == pytest.approx(curve.change(eps), abs=1e-14)
    assert curve.change(0.01) < 0


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_as_expected(row):
    verdict = verify(dataclasses.replace(row, quick=4 if "strict" in row.name else 3))
    assert verdict.error == "" and verdict.num_failures == 0 and verdict.trials > 0
    assert verdict.is_as_expected


@pytest.mark.parametrize(
    ("module", "attribute", "broken", "name"),
    [
        (deep_linear, "second_variation", lambda *args, **_: 2.0 * deep_linear.variation.second_variation(*args),
         "003/proposition-2"),
        (deep_linear, "case_two_variation", lambda blocks, w: deep_linear.h2_cases.case_two_variation(
            blocks, w, as_printed=True), "003/case-2-1-hessian"),
        (deep_linear, "critical_values", None, "002/proposition-5"),
    ],
)  # fmt: skip
def test_a_broken_formula_makes_its_row_fail(monkeypatch, module, attribute, broken, name):
    row = next(row for row in ROWS if row.name == name)
    if attribute == "critical_values":
        real = paper_002_deep.critical_values
        shifted = lambda problem: dataclasses.replace(real(problem), values=real(problem).values - 0.1)  # noqa: E731
        monkeypatch.setattr(paper_002_deep, "critical_values", shifted)
    else:
        monkeypatch.setattr(module, attribute, broken)
    assert not verify(dataclasses.replace(row, quick=6)).holds


def test_the_rows_have_different_names():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
