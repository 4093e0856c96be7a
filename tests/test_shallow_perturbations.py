import dataclasses

import numpy as np
import pytest

from gradflow import checks
from gradflow.critical_sets import shallow_linear as shallow
from gradflow.critical_sets.shallow_linear import counting, derivatives, perturbations
from gradflow.critical_sets.shallow_linear.construction import arrays_of
from gradflow.verification import paper_002_shallow, verify
from gradflow.verification.shallow_points import quiet_regression, random_point

DIAGONAL = np.diag([3.0, 2.0, 1.0])


def loss(problem, params):
    root, target = arrays_of(problem)
    return 0.5 * np.sum((params[1] @ params[0] @ root - target) ** 2) + problem.irreducible


def not_global(member):
    return not member.is_global


def quick(statement, count=4):
    return verify(dataclasses.replace(statement, quick=count))


@pytest.mark.parametrize("statement", paper_002_shallow.STATEMENTS, ids=lambda statement: statement.name)
def test_every_statement_holds_and_what_is_printed_wrongly_fails(statement):
    verdict = quick(statement)
    assert verdict.is_as_expected, verdict
    assert verdict.printed_fails is (True if statement.as_printed else None)


def row(number):
    return next(statement for statement in paper_002_shallow.STATEMENTS if statement.number == number)


def test_the_index_row_fails_without_the_null_space(monkeypatch):
    def without_null_space(spectrum, counts, num_zero):
        missed = [size - count for size, count in zip(spectrum.multiplicities, counts, strict=True)]
        return sum(number * sum(counts[i + 1 :]) for i, number in enumerate(missed))

    monkeypatch.setattr(counting, "inversions", without_null_space)
    assert not quick(row("Theorem 2 (Morse index)"), 20).holds


def test_the_descent_row_fails_without_the_half(monkeypatch):
    original = perturbations.Perturbation
    monkeypatch.setattr(perturbations, "Perturbation", lambda kind, params, change, source: original(
        kind, params, 2.0 * change, source
    ))  # fmt: skip
    assert not quick(row("Proposition 3, item 1")).holds


def test_descent_and_ascent_change_the_loss_by_what_they_say():
    rng = np.random.default_rng(2)
    kinds = set()
    for _ in range(60):
        point = random_point(rng, not_global)
        for move in (shallow.descent, shallow.ascent):
            moved = move(point.problem, point.params, 0.2)
            change = loss(point.problem, moved.params) - loss(point.problem, point.params)
            assert change == pytest.approx(moved.change, rel=1e-9, abs=1e-12 * (1 + loss(point.problem, point.params)))
            assert (moved.change < 0) is (move is shallow.descent)
            kinds.add(moved.kind)
    assert kinds == {"rank_preserving", "rank_increasing", "row_scaling", "rank_increasing_ascent", "hidden_row"}


def test_descent_steps_are_as_small_as_asked_for():
    rng = np.random.default_rng(9)
    for _ in range(20):
        point = random_point(rng, not_global)
        steps = []
        for eps in (1e-2, 1e-4):
            moved = shallow.descent(point.problem, point.params, eps).params
            steps.append(np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(moved, point.params, strict=True))))
        assert steps[1] == pytest.approx(1e-2 * steps[0], rel=0.1)


def test_best_second_step_is_a_minimum_of_the_exact_change():
    problem = quiet_regression((3, 2, 2), np.eye(3), np.diag([2.0, 1.0, 0.0])[:2])
    form = shallow.analytical_form(problem, (1, 0), free_bottom=np.array([[0.0, 0.0, 1.5]]))
    best = shallow.best_second_step(problem, form, 0.3)
    assert best == pytest.approx(0.3 / (2.25 + 0.09), rel=1e-12)
    changes = [shallow.rank_increasing_descent(problem, form, 0.3, t * best).change for t in (0.99, 1.0, 1.01)]
    assert changes[1] < min(changes[0], changes[2])
    assert changes[1] == pytest.approx(-0.5 * 0.09 / (2.25 + 0.09), rel=1e-12)


def test_item_2_uses_any_unused_row_and_any_missed_group():
    problem = quiet_regression((3, 3, 3), np.eye(3), DIAGONAL)
    mixing = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -0.5], [0.3, 0.0, 2.0]])
    form = shallow.analytical_form(problem, (1, 0, 0), mixing=mixing)
    start = loss(problem, shallow.weights_of(shallow.spectrum_of(problem), form))
    for missed, sigma in ((1, 4.0), (2, 1.0)):
        for index in (1, 2):
            moved = shallow.rank_increasing_descent(problem, form, 0.2, 0.1, missed=missed, row=index)
            assert moved.change == pytest.approx((0.5 * 0.02**2 - 0.02) * sigma, rel=1e-12)
            assert loss(problem, moved.params) - start == pytest.approx(moved.change, rel=1e-11)
    with pytest.raises(checks.InputError, match="unused"):
        shallow.rank_increasing_descent(problem, form, 0.1, 0.1, row=0)
    with pytest.raises(checks.InputError, match="groups"):
        shallow.rank_increasing_descent(problem, form, 0.1, 0.1, missed=0)


def test_item_1_needs_an_inversion_and_item_2_a_missed_value():
    problem = quiet_regression((3, 2, 3), np.eye(3), DIAGONAL)
    ordered = shallow.analytical_form(problem, (1, 0, 0))
    with pytest.raises(checks.InputError, match="larger than a captured one"):
        shallow.rank_preserving_descent(problem, ordered, 0.1)
    with pytest.raises(checks.InputError, match="larger than a captured one"):
        shallow.rank_preserving_descent(problem, ordered, 0.1, missed=1, captured=0)
    complete = quiet_regression((2, 2, 2), np.eye(2), np.diag([2.0, 1.0]))
    form = shallow.analytical_form(complete, (1, 1))
    with pytest.raises(checks.InputError, match="global minimum"):
        shallow.rank_increasing_descent(complete, form, 0.1)
    with pytest.raises(checks.InputError, match="non-global"):
        shallow.certificate_of_form(complete, form)


def test_points_that_are_not_critical_have_no_certificate_but_may_be_raised():
    problem = quiet_regression((3, 2, 3), np.eye(3), DIAGONAL)
    params = np.ones((2, 3)), np.ones((3, 2))
    with pytest.raises(checks.InputError, match="critical point"):
        shallow.strictness_certificate(problem, params)
    with pytest.raises(checks.InputError, match="critical point"):
        shallow.descent(problem, params, 0.1)
    for scale in (1.0, 0.1):  # outputs larger than the target grow, smaller ones shrink
        start = scale * params[0], scale * params[1]
        moved = shallow.ascent(problem, start, 0.1)
        assert loss(problem, moved.params) - loss(problem, start) == pytest.approx(moved.change) and moved.change > 0


def test_the_certificate_bounds_the_smallest_eigenvalue_by_a_curvature_that_is_attained():
    rng = np.random.default_rng(12)
    for _ in range(40):
        point = random_point(rng, not_global)
        certificate = shallow.strictness_certificate(point.problem, point.params)
        hessian = derivatives.hessian(point.params, *arrays_of(point.problem))
        direction = np.concatenate([part.ravel() for part in certificate.direction])
        size = np.linalg.norm(hessian, 2)
        assert certificate.bound < -1e-6 * size
        assert direction @ direction == pytest.approx(1.0)
        assert direction @ hessian @ direction == pytest.approx(certificate.bound, abs=1e-12 * size)
        assert np.linalg.eigvalsh(hessian)[0] <= certificate.bound + 1e-12 * size
        assert (certificate.captured_sigma is None) or certificate.captured_sigma < certificate.missed_sigma


def test_the_certificate_at_the_origin_is_exact_for_white_inputs():
    problem = quiet_regression((3, 2, 3), np.eye(3), DIAGONAL)
    origin = np.zeros((2, 3)), np.zeros((3, 2))
    certificate = shallow.strictness_certificate(problem, origin)
    assert certificate.bound == pytest.approx(-3.0) and certificate.captured_sigma is None
    assert certificate.missed_sigma == pytest.approx(9.0)


def test_index_and_nullity_are_those_of_the_hessian():
    """Without free rows the nullity is the largest of the class, at random members it is the least."""
    rng = np.random.default_rng(31)
    for _ in range(80):
        point = random_point(rng)
        low, high = shallow.nullity_range(point.problem, point.counts, point.num_zero)
        plain = shallow.construct(point.problem, point.counts, point.num_zero)
        for params, nullity in ((shallow.sample(point.problem, point.critical_class, 0), low), (plain, high)):
            eigenvalues = dataclasses.replace(point, params=params).eigenvalues
            assert np.sum(eigenvalues < 0) == point.critical_class.index
            assert np.sum(eigenvalues == 0) == nullity
            assert shallow.nullity(point.problem, params, point.counts, point.num_zero) == nullity
        assert point.critical_class.nullity == (low if low == high else None)
        assert point.critical_class.strict is (point.critical_class.index > 0)
        assert point.critical_class.is_global is (point.critical_class.index == 0)
