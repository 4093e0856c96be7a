"""Every row on flows and on section 5 of paper 003 holds, fails as printed, and fails when its formula breaks."""

import dataclasses

import numpy as np
import pytest

from gradflow.certificates.product_growth import Lemma1Polynomials
from gradflow.invariants import Behaviour, shallow
from gradflow.verification import paper_001_imbalances, paper_003_flow, paper_003_limits, paper_003_nonlinear, verify

MODULES = (paper_003_flow, paper_003_limits, paper_003_nonlinear, paper_001_imbalances)
ROWS = {statement.name: statement for module in MODULES for statement in module.STATEMENTS}
INSTANCES = {
    "003/definition-2": 3, "003/eq-27": 2, "003/lemma-3": 6, "003/lemma-4-eqs-29-30": 1, "003/lemma-5": 2,
    "003/proposition-1": 1, "003/eqs-3-4": 1, "003/definition-1": 1, "003/lemma-1-eq-7": 1, "003/lemma-1-eq-9": 20,
    "003/section-5-boundedness": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_row_is_as_expected(name):
    verdict = verify(dataclasses.replace(ROWS[name], quick=INSTANCES.get(name, 2)))
    assert verdict.is_as_expected, (verdict.failures, verdict.error, verdict.printed)


def fails(name, count=1):
    verdict = verify(dataclasses.replace(ROWS[name], quick=count, as_printed=None))
    return verdict.num_failures > 0 and not verdict.error


def test_a_wrong_constant_of_lemma_1_is_seen(monkeypatch):
    right = paper_003_flow.lemma1_polynomials

    def wrong(params) -> Lemma1Polynomials:
        return dataclasses.replace(right(params), C0=1.0)

    monkeypatch.setattr(paper_003_flow, "lemma1_polynomials", wrong)
    assert fails("003/lemma-1-eq-9", 40)


def test_a_wrong_factor_in_the_potential_law_is_seen(monkeypatch):
    right = shallow.unit_potential_balance

    def wrong(params, activation, columns):
        return 0.5 * (right(params, activation, columns) + np.sum(np.square(params[1]), axis=-2))

    monkeypatch.setattr(shallow, "unit_potential_balance", wrong)
    assert fails("003/lemma-5")


def test_a_wrong_degree_of_homogeneity_is_seen(monkeypatch):
    right = shallow.unit_norm_balance
    monkeypatch.setattr(shallow, "unit_norm_balance", lambda params, degree: right(params, 1.5 * degree))
    assert fails("003/remark-4", 2)


def test_a_wrong_claim_about_weighted_imbalances_is_seen(monkeypatch):
    from gradflow.invariants import linear

    monkeypatch.setattr(linear, "is_monotone", lambda *_: True)
    assert Behaviour.DECAYS is not Behaviour.DECAYS_MONOTONICALLY
    assert fails("001/section-3-imbalance-along-the-flow-of-2")


def test_a_rate_that_forgets_the_product_is_seen(monkeypatch):
    right = paper_003_limits.rate_certificate

    def wrong(flow, params0):
        found = right(flow, params0)
        return dataclasses.replace(found, values={**found.values, "alpha_product": found.values.get("lambda_1", 0.0)})

    monkeypatch.setattr(paper_003_limits, "rate_certificate", wrong)
    assert fails("003/remark-2", 2)
