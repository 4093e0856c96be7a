"""Intervals where samples are not independent, and of differences: replicates, strata, pairs of settings."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from gradflow import intervals

# --- points that are not independent ----------------------------------------------------------------------------------


def test_replicates_give_students_interval():
    values = np.random.default_rng(3).uniform(0.2, 0.4, (12, 2))
    result = intervals.replicated_intervals(values, level=0.9)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    assert np.allclose(result.intervals.low, expected.low) and np.allclose(result.intervals.high, expected.high)
    assert result.basis.tolist() == ["t", "t"] and result.num_replicates == 12
    gain = 0.3 * 0.7 / 1200 / (values[:, 0].var(ddof=1) / 12)
    assert result.variance_gain(1200)[0] == pytest.approx(gain, rel=0.2)


def test_replicates_that_agree_claim_only_what_agreement_shows():
    values = np.column_stack([np.zeros(16), np.full(16, 0.5), np.full(16, 0.1)])
    result = intervals.replicated_intervals(values)
    doubt = 1 - 0.05 ** (1 / 15)
    assert result.basis.tolist() == ["unanimity"] * 3
    assert np.allclose(result.intervals.low, [0.0, 0.5 * (1 - doubt), 0.1 * (1 - doubt)])
    assert np.allclose(result.intervals.high, [doubt, 0.5 * (1 - doubt) + doubt, 0.1 * (1 - doubt) + doubt])
    assert result.variance_gain(100).tolist() == [1.0, np.inf, np.inf]
    two = intervals.replicated_intervals([[0.3], [0.3]])
    assert two.intervals.low[0] < 0.02 and two.intervals.high[0] > 0.95


def test_agreement_misleads_at_most_as_often_as_the_level_allows():
    """The worst law of replicates: almost always 0, otherwise 1, for every probability of the rare value."""
    for replicates in (2, 3, 16):
        high = intervals.replicated_intervals(np.zeros(replicates)).intervals.high
        rare = np.linspace(0.0, 1.0, 2001)
        misled = (rare > high) * (1 - rare) ** replicates
        assert misled.max() <= 0.05


def test_few_samples_per_replicate_move_the_limits_out_to_those_of_all_samples():
    fractions = np.zeros((16, 2))
    fractions[0] = [1 / 64, 0.0]
    alone = intervals.replicated_intervals(fractions).intervals
    result = intervals.replicated_intervals(fractions, samples_per_replicate=64)
    pooled = intervals.proportion_intervals([1, 0], 16 * 64)
    assert alone.high[0] < pooled.high[0] and result.intervals.high.tolist() == pytest.approx(pooled.high.tolist())
    assert result.basis.tolist() == ["t and pooled counts", "pooled counts"]
    many = intervals.replicated_intervals([0.25, 0.5, 0.25, 0.5], samples_per_replicate=64)
    assert many.basis == "t" and many.intervals.high == pytest.approx(0.375 + 3.18245 * 0.25 / np.sqrt(12), rel=1e-5)


def outcomes_of_strata(sizes, fractions):
    """All tables of counts of two strata with their probabilities."""
    counts = np.stack(np.meshgrid(*[np.arange(n + 1) for n in sizes], indexing="ij")).reshape(2, -1)
    weights = np.prod([stats.binom.pmf(k, n, p) for k, n, p in zip(counts, sizes, fractions, strict=True)], axis=0)
    return counts, weights


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.9, 0.2), (1.0, 0.0), (0.02, 0.0), (0.001, 0.2)])
def test_stratified_intervals_cover_whatever_the_strata_hold(fractions):
    sizes, shares = np.array([30, 60]), np.array([1 / 3, 2 / 3])
    counts, weights = outcomes_of_strata(sizes, fractions)
    truth = shares @ np.array(fractions)
    pooled = intervals.stratified_intervals(counts, sizes, shares)
    combined = intervals.stratified_intervals(counts, sizes, shares, method="combined")
    assert np.allclose(pooled.estimate, counts.sum(axis=0) / 90)
    assert weights[pooled.contains(truth)].sum() >= 0.95
    assert weights[combined.contains(truth)].sum() >= 0.93
    assert np.all(combined.high - combined.low > 0.01)
    if fractions == (0.9, 0.2):
        assert np.sum(weights * combined.half_width) < 0.9 * np.sum(weights * pooled.half_width)


def test_combined_strata_add_their_distances_to_wilsons_limits_in_squares():
    alone = intervals.proportion_intervals([7, 30], [20, 50], method="wilson")
    result = intervals.stratified_intervals([7, 30], [20, 50], [0.3, 0.7], method="combined")
    estimate = 0.3 * 0.35 + 0.7 * 0.6
    below = np.hypot(0.3 * (0.35 - alone.low[0]), 0.7 * (0.6 - alone.low[1]))
    above = np.hypot(0.3 * (alone.high[0] - 0.35), 0.7 * (alone.high[1] - 0.6))
    assert [float(value) for value in (result.estimate, result.low, result.high)] == pytest.approx(
        [estimate, estimate - below, estimate + above], rel=1e-12
    )


def test_the_pooled_interval_stays_within_the_reach_of_its_theorem():
    """Hoeffding's inequality needs limits at least one sample away from the count, but at 1 and n - 1."""
    for level in (0.5, 0.95, 0.999):
        for total in (2, 3, 10, 100):
            counts = np.arange(total + 1)
            result = intervals.proportion_intervals(counts, total, level)
            assert np.all((total * result.high - counts)[: total - 1] >= 1)
            assert np.all((counts - total * result.low)[2:] >= 1)
    edge = intervals.stratified_intervals([[1, 5], [0, 4]], [5, 5], [0.5, 0.5])
    assert edge.low[0] == pytest.approx(0.025 / 10) and edge.high[1] == pytest.approx(1 - 0.025 / 10)


# --- two settings on the same starts ----------------------------------------------------------------------------------

FIRST = ["a"] * 50 + ["b"] * 40 + ["c"] * 10
SECOND = ["a"] * 45 + ["b"] * 5 + ["b"] * 38 + ["a"] * 2 + ["c"] * 10


def test_changes_of_labels_are_tabulated():
    result = intervals.compare_paired(np.array(FIRST), np.array(SECOND))
    assert result.classes == ("a", "b", "c") and result.num_samples == 100
    assert result.table.tolist() == [[45, 5, 0], [2, 38, 0], [0, 0, 10]]
    assert result.differences.estimate == pytest.approx([-0.03, 0.03, 0.0])
    expected = stats.binomtest(7, 100).proportion_ci(method="exact")
    assert (result.changed.low, result.changed.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert result.p_values == pytest.approx([stats.binomtest(2, 7).pvalue] * 2 + [1.0])
    turned = intervals.compare_paired(np.array(FIRST), np.array(SECOND), classes=["c", "b", "a", "z"])
    assert turned.table[2].tolist() == [0, 5, 45, 0] and turned.classes == ("c", "b", "a", "z")
    assert turned.differences.low[0] == result.differences.low[2]


def test_the_paired_variance_is_that_of_the_differences_and_the_gain_is_against_separate_starts():
    result = intervals.compare_paired(np.array(FIRST), np.array(SECOND))
    change = (np.array(SECOND) == "a").astype(float) - (np.array(FIRST) == "a")
    assert result.paired_variances[0] == pytest.approx(change.var() / 100)
    assert result.independent_variances[0] == pytest.approx((0.5 * 0.5 + 0.47 * 0.53) / 100)
    assert result.variance_gains[:2] == pytest.approx(result.independent_variances[:2] / result.paired_variances[:2])
    assert result.variance_gains[2] == np.inf
    same = intervals.compare_paired([1, 1], [1, 1])
    assert same.variance_gains.tolist() == [1.0] and same.p_values.tolist() == [1.0]


def score_by_optimisation(left, joined, total, d):
    """Tango's statistic with the constrained likelihood maximised numerically."""

    def loss(q):
        p = (q + d, q, 1 - 2 * q - d)
        return -(np.log(np.maximum(p, 1e-300)) * (joined, left, total - left - joined)).sum()

    bounds = (max(0.0, -d), (1 - d) / 2)
    q = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    return (joined - left - total * d) / np.sqrt(total * (2 * q + d * (1 - d)))


@pytest.mark.parametrize(("left", "joined", "total"), [(5, 2, 100), (0, 7, 50), (12, 12, 30), (2, 30, 60)])
def test_paired_limits_solve_the_score_equation(left, joined, total):
    result = intervals.paired_differences(left, joined, total)
    assert score_by_optimisation(left, joined, total, float(result.low)) == pytest.approx(1.959964, rel=1e-4)
    assert score_by_optimisation(left, joined, total, float(result.high)) == pytest.approx(-1.959964, rel=1e-4)


def test_exact_paired_limits_split_the_error_between_leaving_and_joining():
    result = intervals.paired_differences(3, 8, 90, level=0.9, method="exact")
    left, joined = (intervals.proportion_intervals(count, 90, 0.95) for count in (3, 8))
    expected = [float(joined.low - left.high), float(joined.high - left.low)]
    assert [float(result.low), float(result.high)] == pytest.approx(expected, rel=1e-10)


def test_no_change_is_not_certainty():
    square = stats.norm.ppf(0.975) ** 2
    result = intervals.paired_differences([0, 0, 40], [0, 40, 0], 40)
    assert result.high[0] == pytest.approx(square / (40 + square), rel=1e-6) and result.low[0] == -result.high[0]
    assert result.high[1] == 1.0 and result.low[2] == -1.0 and result.low[1] == pytest.approx(-result.high[2])
    assert 0.8 < result.low[1] < 1.0


@pytest.mark.parametrize(("method", "least"), [("score", 0.94), ("exact", 0.95)])
@pytest.mark.parametrize(("leave", "join"), [(0.1, 0.1), (0.3, 0.2), (0.0, 0.05)])
def test_paired_intervals_cover_the_difference(method, least, leave, join):
    n = 50
    counts = np.array([(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)])
    weights = stats.multinomial.pmf(counts, n, [leave, join, 1 - leave - join])
    result = intervals.paired_differences(counts[:, 0], counts[:, 1], n, method=method)
    assert least <= weights[result.contains(join - leave)].sum()
    assert np.all(np.abs(result.estimate - np.clip(result.estimate, result.low, result.high)) < 1e-12)


# --- the experiment ---------------------------------------------------------------------------------------------------


def test_the_coverage_experiment_finds_what_it_predicts():
    path = Path(__file__).resolve().parent.parent / "experiments" / "interval_coverage.py"
    specification = importlib.util.spec_from_file_location("experiments_interval_coverage", path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    results = module.measure(module.Settings(repetitions=40, fractions=(0.5, 0.001), num_looks=4, num_replicates=4))
    rows = [{name: results[name].values[case] for name in results} for case in range(results.sizes["case"])]
    verdicts = {(row["interval"], row["setting"][:10]): row["verdict"] for row in rows}
    assert [row for row in rows if row["is_promise"] and row["verdict"] == module.LOW] == []
    assert module.findings(results)[0].agrees
    assert verdicts["Wald", "p = 0.001,"] == verdicts["as if listed", "10^9 equal"] == module.LOW
    assert sum(row["is_promise"] for row in rows) == 13
    sums = {row["setting"]: row["exact"] for row in rows if row["interval"] == "Wald"}
    assert sums["p = 0.001, n = 1000"] < 0.64 and sums["p = 0.5, n = 1000"] > 0.94
