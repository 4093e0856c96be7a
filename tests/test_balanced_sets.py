"""Balanced critical points of shallow linear networks: members, classes, recognition, second order, the rows of 001."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from numpy.testing import assert_allclose

from gradflow import Regression, checks, networks, regularizers
from gradflow.critical_sets import balanced
from gradflow.critical_sets.balanced import enumeration
from gradflow.critical_sets.balanced.sampling import orthogonal
from gradflow.verification import paper_001
from gradflow.verification import paper_001_instances as instances
from gradflow.verification.statement import verify

CASES = json.loads((Path(__file__).parent / "golden" / "papers_000_002.json").read_text())["cases"]
GOLDEN = {case["id"]: case for case in CASES}


def _problem(X, Y, units, strength=0.5, weighted=True, **settings):
    X, Y = np.array(X, float), np.array(Y, float)
    term = regularizers.Balance(strength, X if weighted else None) if strength else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        return Regression(networks.Linear((X.shape[0], units, Y.shape[0])), X, Y, regularizer=term, **settings)


def _g19():
    inputs = GOLDEN["G19"]["inputs"]
    return _problem(inputs["X"], inputs["Y"], inputs["d1"], inputs["mu"]), inputs


def test_form_and_hessian_by_hand_are_the_automatic_ones():
    inputs, expected = GOLDEN["G18"]["inputs"], GOLDEN["G18"]["expected"]
    params, direction = (tuple(np.array(inputs[name + k]) for k in "12") for name in ("W", "Delta"))
    problem = _problem(inputs["X"], inputs["Y"], 2, inputs["mu"])
    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(tuple(jnp.asarray(layer) for layer in params))
        automatic = np.asarray(jax.jit(jax.hessian(lambda vector: problem.loss(unravel(vector))))(flat))
    assert_allclose(balanced.hessian(problem, params), automatic, rtol=1e-12, atol=1e-12)
    assert_allclose(np.linalg.eigvalsh(automatic)[0], expected["hessian_min_eig"], rtol=1e-12)
    assert_allclose(balanced.quadratic_form(problem, params, direction), expected["quadratic_form_32"], rtol=1e-12)


def test_reference_table_of_all_critical_points():
    problem, inputs = _g19()
    plain = _problem(inputs["X"], inputs["Y"], 2, 0.0)
    classes = {member.pattern["counts"]: member for member in balanced.enumerate(problem)}
    table = GOLDEN["G19"]["expected"]["table"]
    assert len(classes) == len(table) == 7
    for row in table:
        counts = tuple(int(index in row["Gamma"]) for index in (1, 2, 3))
        member, point = classes[counts], balanced.construct(problem, counts)
        assert_allclose(member.loss, row["g"], rtol=1e-12)
        assert member.is_global == row["is_global"]
        assert member.category == ("global" if row["is_global"] else "strict saddle")
        for chosen, name in ((problem, "lambda_min_hess_g"), (plain, "lambda_min_hess_f")):
            assert_allclose(np.linalg.eigvalsh(balanced.hessian(chosen, point))[0], row[name], rtol=1e-9, atol=1e-12)
        if not row["is_global"]:
            assert_allclose(balanced.saddle_bound(problem, point), row["sharper_2x2_bound"], rtol=1e-12)


def test_equal_singular_values_leave_the_frame_free():
    inputs, expected = GOLDEN["G21"]["inputs"], GOLDEN["G21"]["expected"]
    problem = _problem(inputs["X"], inputs["Y"], 1, inputs["mu"])
    params = np.array(inputs["W1"]), np.array(inputs["W2"])
    point = balanced.decompose(problem, params)
    assert point.is_critical
    assert point.counts == (1,)
    assert_allclose(np.abs(point.frames[0]), [[0.6], [0.8]], rtol=1e-12)
    assert_allclose(np.linalg.eigvalsh(balanced.hessian(problem, params)), expected["hessian_eigs"], atol=1e-12)
    member = balanced.describe(problem, point.counts)
    assert (member.loss, member.index, member.nullity) == (pytest.approx(expected["g"]), 0, 1)
    first, second = balanced.construct(problem, (1,), frames=[np.array([[0.6], [0.8]])])
    assert_allclose(np.hstack([first.T, second]), np.hstack([params[0].T, params[1]]), atol=1e-14)


@pytest.mark.parametrize("weighted", [True, False])
def test_classes_say_what_spectra_show_and_points_are_reproduced(weighted):
    rng = np.random.default_rng(0)
    for _ in range(40):
        instance = instances.draw(rng, full=None if weighted else True, weighted=weighted)
        problem = instance.problem()
        params = balanced.random_member(problem, rng)
        assert (
            instances.norm(instance.gradient(params))
            < 1e-9 * (1 + instance.strength) * (1 + instances.norm(params)) ** 3
        )
        point = balanced.decompose(problem, params)
        again = balanced.construct(problem, point.counts, frames=point.frames, gauge=point.gauge, free=point.free)
        for one, other in zip(again, params, strict=True):
            assert_allclose(one, other, atol=1e-10)
        member = balanced.describe(problem, point.counts)
        spectrum = np.linalg.eigvalsh(instance.hessian(params))
        zero = 1e-9 * (1 + np.max(np.abs(spectrum)))
        assert (member.index, member.nullity) == (np.sum(spectrum < -zero), np.sum(np.abs(spectrum) <= zero))
        assert_allclose(instance.loss(params), member.loss, rtol=1e-10, atol=1e-12)


def test_root_finding_finds_every_class_and_nothing_else():
    instance = instances.Instance(np.diag([1.0, 1.5]), np.diag([2.0, 1.0]), 1, 0.7)
    problem = instance.problem()
    found = instance.critical_points(np.random.default_rng(0), 40)
    points = [balanced.decompose(problem, params) for params in found]
    assert len(points) > 20
    assert all(point.is_critical and point.balance_defect < 1e-6 for point in points)
    assert {point.counts for point in points} == {member.pattern["counts"] for member in balanced.enumerate(problem)}


def test_classes_ascend_in_loss_and_start_with_the_global_value():
    problem, _ = _g19()
    classes = balanced.enumerate_classes(problem)
    assert [member.loss for member in classes] == sorted(member.loss for member in classes)
    assert_allclose(classes[0].loss, balanced.global_value(problem), rtol=1e-14)
    assert [member.is_global for member in classes] == [True] + 6 * [False]


def test_nothing_to_learn_leaves_one_class_the_minimum():
    problem = _problem(np.eye(3)[:, :2], np.zeros((2, 2)), 2)
    (member,) = balanced.enumerate_classes(problem)
    assert (member.is_global, member.rank, member.index, member.nullity) == (True, 0, 0, 10)
    state = np.zeros((2, 3)), np.zeros((2, 2))
    assert balanced.decompose(problem, state).is_critical
    with pytest.raises(checks.InputError, match="global minimum"):
        balanced.descent_direction(problem, state)


def test_targets_that_inputs_explain_by_rounding_only_are_not_learnt():
    rows = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    problem = _problem(rows[:3], np.diag([3.0, 2.0, 1.0]) @ rows[3:], 2)
    assert problem.spectrum.num_positive == 0
    assert [member.rank for member in balanced.enumerate_classes(problem)] == [0]


def test_the_free_part_is_all_that_unseen_inputs_leave_open():
    problem = _problem(np.eye(3)[:, :2], np.diag([2.0, 1.0]), 2)
    free = np.arange(6.0).reshape(2, 3)
    with_free, without = (balanced.construct(problem, (1, 0), free=part)[0] for part in (free, None))
    assert_allclose(with_free - without, free * [0, 0, 1], atol=1e-14)


def test_samples_belong_to_their_class_and_to_their_key():
    problem, _ = _g19()
    member = balanced.describe(problem, (1, 0, 1))
    first, again, other = (balanced.sample(problem, member, key) for key in (3, 3, 4))
    assert_allclose(first[0], again[0], rtol=0)
    assert np.max(np.abs(first[0] - other[0])) > 0.01
    assert balanced.decompose(problem, other).counts == (1, 0, 1)
    with pytest.raises(checks.InputError, match="family"):
        balanced.sample(problem, replace(member, family="shallow_linear"), 0)
    with pytest.raises(checks.InputError, match="counts"):
        balanced.sample(_problem(np.eye(2), np.eye(2), 1), member, 0)


def test_states_far_from_critical_points_are_not_named_after_them():
    problem, _ = _g19()
    point = balanced.construct(problem, (1, 0, 1))
    for distance, verdict in ((1e-6, "critical"), (0.05, "not critical")):
        state = tuple(layer + distance for layer in point)
        assert balanced.decompose(problem, state).verdict == verdict
    unbalanced = 2.0 * point[0], 0.5 * point[1]
    assert balanced.decompose(problem, unbalanced).verdict == "not critical"
    assert balanced.decompose(problem, unbalanced).balance_defect > 0.1


def test_a_state_overlapping_every_direction_captures_no_more_than_its_hidden_units():
    problem = _problem(np.eye(3), np.diag([3.0, 2.0, 1.0]), 2)
    span = np.linalg.qr(np.array([[1.0, 1.0], [-1.0, 1.0], [0.1, -2.0]]))[0] * np.sqrt(2.0)
    point = balanced.decompose(problem, (span.T, span))  # overlaps of about 2/3 with each of three directions
    assert sum(point.counts) <= 2
    assert point.verdict == "not critical"


def test_nearly_equal_singular_values_are_ambiguous():
    problem = _problem(np.eye(2), np.diag([1.0, 1.0 - 1e-5]), 1)
    state = np.array([[0.6, 0.8]]), np.array([[0.6], [0.8]])
    point = balanced.decompose(problem, state)
    assert point.verdict == "ambiguous"
    assert point.capture_defect > 0.3
    assert point.gradient_defect < 1e-4
    with pytest.raises(checks.InputError, match="ambiguous"):
        balanced.pair_direction(problem, state)


@pytest.mark.parametrize(
    ("counts", "form"), [((1, 0, 1), 2 * (0.767879931431207 - 1.354516109460715)), ((0, 0, 0), None)]
)
def test_directions_have_the_forms_of_the_lemma(counts, form):
    problem, _ = _g19()
    params = balanced.construct(problem, counts, gauge=orthogonal(2, np.random.default_rng(1)))
    lemma, pair = balanced.lemma_direction(problem, params), balanced.pair_direction(problem, params)
    assert_allclose(lemma.form, -2 * 1.7889400218423335 if form is None else form, rtol=1e-10)
    assert pair.curvature <= lemma.curvature
    assert_allclose(balanced.quadratic_form(problem, params, pair.direction), pair.form, rtol=1e-12)


def test_the_unweighted_problem_has_a_direction_with_and_without_idle_units():
    X, Y = np.array([[1.0, 0.5, 0.0], [0.0, 2.0, 0.3], [0.2, 0.0, 0.5]]), np.diag([3.0, 2.0, 1.0])
    problem, plain = _problem(X, Y, 2, weighted=False), _problem(X, Y, 2, 0.0)
    for counts in ((0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 0, 1)):
        params = balanced.construct(problem, counts)
        direction = balanced.descent_direction(problem, params)
        least = np.linalg.eigvalsh(balanced.hessian(problem, params))[0]
        assert least <= direction.curvature < -1e-3
        for chosen in (problem, plain):  # equal: the direction keeps the balance to first order
            assert_allclose(balanced.quadratic_form(chosen, params, direction.direction), direction.form, rtol=1e-12)
    with pytest.raises(checks.InputError, match="weighted Balance"):
        balanced.pair_direction(problem, params)
    with pytest.raises(checks.InputError, match="unweighted Balance"):
        balanced.kernel_direction(_g19()[0], balanced.construct(_g19()[0], (0, 0, 0)))


def test_a_way_down_from_the_surrogate_is_lifted_to_the_unbalanced_saddle():
    instance = instances.Instance(np.diag([1.0, 2.0]), np.diag([3.0, 1.0]), 1, 0.0)
    plain = instance.problem(regularised=False)
    params = np.array([[0.0, 0.25]]), np.array([[0.0], [2.0]])  # captures the smaller singular value, unbalanced
    assert instances.norm(instance.gradient(params)) < 1e-12
    stand_in = balanced.surrogate(plain, params)
    narrow = _problem(instance.X, instance.Y, 1, 1.0)
    assert balanced.decompose(narrow, stand_in.params).is_critical
    lifted = stand_in.lift(balanced.pair_direction(narrow, stand_in.params).direction)
    assert balanced.quadratic_form(plain, params, lifted) < -0.1


def test_the_surrogate_refuses_a_zero_product_and_a_regulariser():
    X, Y = np.eye(2), np.diag([2.0, 1.0])
    with pytest.raises(checks.InputError, match="not zero"):
        balanced.surrogate(_problem(X, Y, 1, 0.0), (np.ones((1, 2)), np.zeros((2, 1))))
    with pytest.raises(checks.InputError, match="no regulariser"):
        balanced.surrogate(_problem(X, Y, 1), (np.ones((1, 2)), np.ones((2, 1))))


def test_a_deep_critical_point_is_balanced_and_critical_for_the_plain_loss():
    rng = np.random.default_rng(3)
    X, widths = rng.normal(size=(3, 4)), (3, 2, 3, 2)
    left, values, right = np.linalg.svd(rng.normal(size=(2, 4)) @ np.linalg.pinv(X) @ X, full_matrices=False)
    Y, cube = left * values @ right, np.cbrt(values)
    layers = (
        cube[:, None] * right @ np.linalg.pinv(X),
        np.vstack([np.diag(cube), [0.0, 0.0]]),
        np.hstack([left * cube, [[0.0], [0.0]]]),
    )
    problem = Regression(networks.Linear(widths), X, Y, regularizer=regularizers.Balance(0.7, X))
    found = balanced.imbalance(problem, layers)
    assert found.defect < 1e-10
    assert instances.norm(found.loss_gradient) < 1e-10
    moved = balanced.imbalance(problem, tuple(layer + 0.1 for layer in layers))
    assert 0.01 < moved.defect <= moved.bound


@pytest.mark.parametrize(
    ("counts", "settings", "name"),
    [
        ((1,), {}, "counts"), ((2, 0, 0), {}, "counts"), ((1, 1, 1), {}, "counts"), ((-1, 0, 0), {}, "counts"),
        ((1, 0, 0), {"gauge": np.ones((2, 2))}, "gauge"), ((1, 0, 0), {"gauge": np.eye(3)}, "gauge"),
        ((1, 0, 0), {"free": np.ones((2, 2))}, "free"), ((1, 0, 0), {"frames": [np.eye(1)]}, "frames"),
        ((1, 0, 0), {"frames": [2 * np.eye(1), np.zeros((1, 0)), np.zeros((1, 0))]}, "frames"),
    ],
)  # fmt: skip
def test_patterns_that_do_not_fit_are_refused(counts, settings, name):
    with pytest.raises(checks.InputError, match=name):
        balanced.construct(_g19()[0], counts, **settings)


def _refused_problems():
    X, Y = np.diag([1.0, 2.0]), np.diag([2.0, 1.0])
    yield _problem(X, Y, 2, 0.0)
    yield _problem(X, Y, 2, normalization="mean")
    yield _problem(np.diag([1.0, 0.0]), Y, 2, weighted=False)
    yield Regression(networks.Linear((2, 2)), X, Y)
    yield Regression(networks.Linear((2, 2, 2, 2)), X, Y, regularizer=regularizers.Balance(1.0, X))
    yield Regression(networks.Linear((2, 2, 2)), X, Y, regularizer=regularizers.WeightDecay(1.0))
    yield Regression(networks.Shallow((2, 2, 2), activation="tanh"), X, Y)


@pytest.mark.parametrize("problem", list(_refused_problems()))
def test_other_problems_are_refused(problem):
    with pytest.raises(checks.InputError):
        balanced.enumerate_classes(problem)


def test_mean_normalization_is_of_the_family_with_scaled_inputs():
    X, Y = np.diag([1.0, 2.0]), np.diag([2.0, 1.0])
    term = regularizers.Balance(0.5, X / np.sqrt(2.0))
    mean = Regression(networks.Linear((2, 2, 2)), X, Y, normalization="mean", regularizer=term)
    halves = [0.5 * member.loss for member in balanced.enumerate_classes(_problem(X, Y, 2))]
    assert_allclose([member.loss for member in balanced.enumerate_classes(mean)], halves, rtol=1e-14, atol=1e-14)


def test_too_many_patterns_are_refused():
    problem = _problem(np.eye(17), np.diag(np.arange(1.0, 18.0)), 2)
    with pytest.raises(checks.InputError, match="65536"):
        balanced.enumerate_classes(problem)
    assert balanced.describe(problem, [0] * 16 + [1]).rank == 1


@pytest.mark.parametrize("statement", paper_001.STATEMENTS, ids=lambda statement: statement.name)
def test_every_statement_is_as_expected(statement):
    verdict = verify(replace(statement, quick=3))
    assert verdict.is_as_expected, (verdict.error, verdict.failures, verdict.printed)
    assert (verdict.printed_fails is None) == (statement.as_printed is None)


def test_a_broken_index_is_noticed(monkeypatch):
    intact = enumeration.describe
    monkeypatch.setattr(
        balanced, "describe", lambda *args: replace(intact(*args), index=(intact(*args).index or 0) + 1)
    )
    (statement,) = (row for row in paper_001.STATEMENTS if row.number == "Theorem 2 (iii)")
    assert not verify(replace(statement, quick=3)).holds
