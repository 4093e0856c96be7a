"""The promise on the least eigenvalue at every saddle: its numbers, what it refuses, and whether spectra keep it."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradflow import Landscape, Regression, checks, networks, regularizers
from gradflow.certificates import curvature_at_saddles as saddles
from gradflow.critical_sets import balanced
from gradflow.verification import paper_001
from gradflow.verification.statement import verify

CASES = json.loads((Path(__file__).parent / "golden" / "papers_000_002.json").read_text())["cases"]
GOLDEN = {case["id"]: case for case in CASES}


def _problem(X, Y, units, strength=0.5, weighted=True):
    X, Y = np.array(X, float), np.array(Y, float)
    term = regularizers.Balance(strength, X if weighted else None) if strength else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        return Regression(networks.Linear((X.shape[0], units, Y.shape[0])), X, Y, regularizer=term)


def _g19():
    inputs = GOLDEN["G19"]["inputs"]
    return _problem(inputs["X"], inputs["Y"], inputs["d1"], inputs["mu"])


def test_reference_bounds_and_every_saddle_keeps_them():
    problem, expected = _g19(), GOLDEN["G19"]["expected"]
    certificate = saddles.saddle_curvature_certificate(problem)
    table = [row for row in expected["table"] if not row["is_global"]]
    assert certificate.holds is True
    assert_allclose(certificate.values["paper_bound"], table[0]["lemma2_bound"], rtol=1e-12)
    assert_allclose(certificate.values["lambda_d1"], expected["lambda_Ytilde"][1], rtol=1e-12)
    assert_allclose(certificate.values["lambda_next"], expected["lambda_Ytilde"][2], rtol=1e-12)
    assert_allclose(certificate.values["bound"], max(row["sharper_2x2_bound"] for row in table), rtol=1e-12)
    for member in balanced.enumerate(problem):
        checked = saddles.check_at(certificate, problem, balanced.construct(problem, member.pattern["counts"]))
        assert checked.kept
        assert checked.is_global == member.is_global
        assert checked.least_eigenvalue <= checked.bound + 1e-12


def test_the_bound_is_attained_for_white_inputs_and_wide_layers():
    problem = _problem(np.eye(2), np.diag([3.0, 1.0]), 3)
    bound = saddles.saddle_curvature_certificate(problem).values["bound"]
    least = np.linalg.eigvalsh(balanced.hessian(problem, balanced.construct(problem, (1, 0))))[0]
    assert_allclose([bound, least], [-1.0, -1.0], rtol=1e-12)


def test_without_a_smaller_singular_value_the_undefined_one_is_zero():
    certificate = saddles.saddle_curvature_certificate(_problem(np.eye(2), np.eye(2), 1))
    assert certificate.values["lambda_next"] == 0.0
    assert_allclose(certificate.values["paper_bound"], -2.0 / 3.0, rtol=1e-12)
    assert_allclose(certificate.values["bound"], -1.0, rtol=1e-12)


def test_a_group_at_the_hidden_width_takes_the_next_smaller_value():
    certificate = saddles.saddle_curvature_certificate(_problem(np.eye(4), np.diag([3.0, 2.0, 2.0, 1.0]), 2))
    assert_allclose(certificate.values["lambda_next"], 1.0, rtol=1e-12)
    assert_allclose(certificate.values["paper_bound"], -2.0 * (2.0 - 1.0) / 5.0, rtol=1e-12)
    # missing 3 while capturing 2 and 2: -(3 - 2); missing a 2 while capturing 3 and 1: -(2 - 1)
    assert_allclose(certificate.values["bound"], -1.0, rtol=1e-12)


def test_the_unweighted_bound_is_alpha_times_the_last_singular_value():
    X, Y = np.diag([1.0, 2.0]), np.diag([3.0, 1.0])
    problem = _problem(X, Y, 2, weighted=False)
    certificate = saddles.saddle_curvature_certificate(problem)
    assert_allclose([certificate.values["alpha"], certificate.values["beta"]], [1.0, 4.0], rtol=1e-12)
    assert_allclose(certificate.values["bound"], -0.5, rtol=1e-12)  # W* = diag(3, 1/2)
    for member in balanced.enumerate(problem):
        point = balanced.construct(problem, member.pattern["counts"])
        assert saddles.check_at(certificate, problem, point).kept


def test_the_printed_corollary_is_weaker_than_the_stronger_bound():
    problem = _problem(np.diag([1.0, 1.1]), np.diag([3.0, 1.0]), 2, 1 / 16, weighted=False)
    sigma = 1.0 / 1.1
    for counts, factor in (((0, 0), 0.1), ((1, 0), 0.08)):
        printed, stronger = saddles.corollary_bound(problem, balanced.construct(problem, counts))
        assert_allclose(printed, -factor * sigma, rtol=1e-12)
        assert stronger < printed
    with pytest.raises(checks.InputError, match="global minimum"):
        saddles.corollary_bound(problem, balanced.construct(problem, (1, 1)))
    wide = _problem(np.diag([1.0, 1.1]), np.diag([0.1, 0.05]), 3, 1 / 16, weighted=False)
    printed, _ = saddles.corollary_bound(wide, balanced.construct(wide, (1, 0)))
    assert_allclose(printed, -0.05 * 0.1**2, rtol=1e-12)  # sigma_{r_c}^2(W_2 W_1) = 0.01 < sigma_2(W*)


def test_a_promise_that_is_too_strong_is_seen_to_be_broken():
    problem = _g19()
    certificate = saddles.saddle_curvature_certificate(problem)
    boast = replace(certificate, values=dict(certificate.values) | {"bound": 1.01 * certificate.values["bound"]})
    verdicts = [
        saddles.check_at(boast, problem, balanced.construct(problem, member.pattern["counts"])).kept
        for member in balanced.enumerate(problem)
    ]
    assert not all(verdicts)


def test_the_plain_loss_has_strict_saddles_but_no_uniform_number():
    problem = _problem(np.eye(2), [[1.0, 0.0]], 1, 0.0)
    certificate = saddles.saddle_curvature_certificate(problem)
    assert (certificate.holds, certificate.values["bound"]) == (True, 0.0)
    assert_allclose(certificate.values["bound_at_balanced"], -1.0, rtol=1e-12)
    least = []
    for size in (1.0, 10.0, 100.0):  # W_1 = (0, size), W_2 = 0: critical, ever more unbalanced
        params = np.array([[0.0, size]]), np.array([[0.0]])
        least.append(np.linalg.eigvalsh(balanced.hessian(problem, params))[0])
        assert_allclose(least[-1], (size**2 - np.sqrt(size**4 + 4.0)) / 2.0, rtol=1e-6)
    assert least == sorted(least)
    assert -2e-4 < least[-1] < 0.0


def _no_theory():
    X, Y = np.eye(2), np.diag([2.0, 1.0])
    yield "one hidden layer", Regression(networks.Linear((2, 2, 2, 2)), X, Y, regularizer=regularizers.Balance(1.0, X))
    yield "one hidden layer", Regression(networks.Linear((2, 2)), X, Y)
    yield "a linear network", Regression(networks.Shallow((2, 2, 2), activation="tanh"), X, Y)
    decay = regularizers.WeightDecay(0.1)
    yield "no regulariser, or a Balance", Regression(networks.Linear((2, 2, 2)), X, Y, regularizer=decay)
    yield "a linear network", Landscape(lambda w: w @ w)
    yield (
        "the squared error",
        Regression(networks.Linear((2, 2, 2)), X, Y, loss=lambda out, target: abs(out - target).sum()),
    )


@pytest.mark.parametrize(("statement", "problem"), list(_no_theory()))
def test_problems_without_theory_are_not_certified(statement, problem):
    certificate = saddles.saddle_curvature_certificate(problem)
    assert certificate.holds is None
    assert not certificate.values
    assert {h.statement: h.holds for h in certificate.hypotheses}[statement] is None


def _failing():
    X, Y = np.diag([1.0, 2.0]), np.diag([2.0, 1.0])
    yield "Y V is not zero", _problem(X, np.zeros((2, 2)), 2)
    yield "Y V is not zero", _problem(X, np.zeros((2, 2)), 2, weighted=False)
    yield "Y V is not zero", _problem(X, np.zeros((2, 2)), 2, 0.0)
    yield "at most d_1", _problem(X, Y, 1, weighted=False)
    yield "full row rank", _problem(np.diag([1.0, 0.0]), Y, 2, weighted=False)
    yield (
        "the X of the loss",
        Regression(networks.Linear((2, 2, 2)), X, Y, regularizer=regularizers.Balance(1.0, 3 * X)),
    )


@pytest.mark.parametrize(("statement", "problem"), list(_failing()))
def test_a_failed_hypothesis_is_named_and_nothing_promised(statement, problem):
    certificate = saddles.saddle_curvature_certificate(problem)
    assert certificate.holds is False
    assert not certificate.values
    assert any(statement in h.statement and h.holds is False for h in certificate.hypotheses)
    with pytest.raises(checks.InputError, match="hold"):
        saddles.check_at(certificate, problem, (np.zeros((2, 2)), np.zeros((2, 2))))


def test_a_state_that_is_not_critical_cannot_be_checked():
    problem = _g19()
    certificate = saddles.saddle_curvature_certificate(problem)
    with pytest.raises(checks.InputError, match="not critical"):
        saddles.check_at(certificate, problem, (np.ones((2, 3)), np.ones((3, 2))))
    with pytest.raises(checks.InputError, match="curvature_at_saddles"):
        saddles.check_at(replace(certificate, name="boundedness"), problem, (np.ones((2, 3)), np.ones((3, 2))))


@pytest.mark.parametrize(("number", "name"), [("eq. (15)", "lemma_bound"), ("Lemma 2", "pair_bounds")])
def test_a_broken_constant_is_noticed(monkeypatch, number, name):
    intact = getattr(saddles, name)

    def doubled(setting):
        found = intact(setting)
        return (2.0 * found[0], *found[1:]) if isinstance(found, tuple) else 2.0 * found

    monkeypatch.setattr(saddles, name, doubled)
    (statement,) = (row for row in paper_001.STATEMENTS if row.number == number)
    assert not verify(replace(statement, quick=5)).holds
