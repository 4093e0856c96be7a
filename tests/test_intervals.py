"""Statistics of basin fractions: against scipy's own intervals, defining equations, and sums over all outcomes."""

import json
from types import SimpleNamespace

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from scipy import stats

from gradflow import intervals
from gradflow.checks import InputError
from gradflow.intervals import calibration, wording


def wald(counts, num_samples):
    p = counts / num_samples
    spread = 1.959964 * np.sqrt(p * (1 - p) / num_samples)
    return SimpleNamespace(low=p - spread, high=p + spread)


# --- one class --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "name"), [("exact", "exact"), ("wilson", "wilson")])
@pytest.mark.parametrize(("num_samples", "level"), [(1, 0.95), (17, 0.8), (40, 0.99)])
def test_limits_are_those_of_scipy(method, name, num_samples, level):
    counts = np.arange(num_samples + 1)
    expected = [stats.binomtest(k, num_samples).proportion_ci(level, method=name) for k in counts.tolist()]
    result = intervals.proportion_intervals(counts, num_samples, level, method)
    assert np.allclose(result.low, [limits.low for limits in expected], rtol=1e-9, atol=1e-12)
    assert np.allclose(result.high, [limits.high for limits in expected], rtol=1e-9, atol=1e-12)
    assert result.low[0] == 0.0 and result.high[-1] == 1.0


def test_one_sided_bounds_are_those_of_scipy():
    for count in (0, 3, 20):
        less = stats.binomtest(count, 20, alternative="less").proportion_ci(0.9, method="exact")
        more = stats.binomtest(count, 20, alternative="greater").proportion_ci(0.9, method="exact")
        assert intervals.upper_bounds(count, 20, 0.9) == pytest.approx(less.high, rel=1e-9)
        assert intervals.lower_bounds(count, 20, 0.9) == pytest.approx(more.low, rel=1e-9)


@pytest.mark.parametrize("num_samples", [1000, 10**6, 10**9])
def test_limits_of_rare_classes_keep_their_digits(num_samples):
    result = intervals.proportion_intervals([0, 1], num_samples)
    assert result.high[0] == pytest.approx(-np.expm1(np.log(0.025) / num_samples), rel=1e-8)
    assert result.low[1] == pytest.approx(-np.expm1(np.log(0.975) / num_samples), rel=1e-7)
    square = stats.norm.ppf(0.975) ** 2
    score = intervals.proportion_intervals([0, num_samples], num_samples, method="wilson")
    assert score.high[0] == pytest.approx(square / (num_samples + square), rel=1e-12)
    assert score.low[1] == pytest.approx(num_samples / (num_samples + square), rel=1e-12)


@pytest.mark.parametrize(
    ("num_samples", "fraction", "bad", "score", "exact"),
    [(1000, 0.05, 0.942, 0.950, 0.958), (1000, 0.003, 0.798, 0.967, 0.988), (1000, 0.0003, 0.259, 0.963, 0.996)],
)
def test_coverages_are_the_known_ones(num_samples, fraction, bad, score, exact):
    def short(counts, total):
        return intervals.proportion_intervals(counts, total, method="wilson")

    assert intervals.exact_coverage(wald, num_samples, fraction) == pytest.approx(bad, abs=6e-4)
    assert intervals.exact_coverage(short, num_samples, fraction) == pytest.approx(score, abs=6e-4)
    found = intervals.exact_coverage(intervals.proportion_intervals, num_samples, fraction)
    assert found == pytest.approx(exact, abs=6e-4)


def test_exact_intervals_never_cover_less_than_their_level():
    fractions = np.concatenate([np.geomspace(1e-5, 0.4, 60), [0.5]])
    assert min(intervals.exact_coverage(intervals.proportion_intervals, 50, p) for p in fractions) >= 0.95


def test_shapes_follow_the_counts():
    assert intervals.proportion_intervals(3, 10).low.shape == ()
    each = intervals.proportion_intervals([[1, 2], [3, 4]], [[10], [20]])
    assert each.high[1, 0] == intervals.proportion_intervals(3, 20).high
    assert each.half_width.shape == (2, 2) and each.contains(0.15).tolist() == [[True, True], [True, True]]


def test_results_go_into_json():
    result = intervals.proportion_intervals([0, 5], 10)
    restored = json.loads(json.dumps(result.as_dict()))
    assert restored["high"] == result.high.tolist() and restored["method"] == "Clopper-Pearson"
    assert restored["level"] == 0.95 and restored["num_joint"] == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: intervals.proportion_intervals([-1], 5), "`counts` must hold no negative number, but got -1"),
        (lambda: intervals.proportion_intervals([1.5], 5), "`counts` must hold whole numbers, but got 1.5"),
        (lambda: intervals.proportion_intervals([np.nan], 5), "`counts` must hold whole numbers, but got nan"),
        (
            lambda: intervals.proportion_intervals(["a"], 5),
            "`counts` must hold whole numbers, but got entries of type <U1",
        ),
        (lambda: intervals.proportion_intervals([True], 5), "must hold whole numbers, but got entries of type bool"),
        (lambda: intervals.proportion_intervals([1, 6], 5), "`counts` must be at most `num_samples`, but got 6 of 5"),
        (lambda: intervals.proportion_intervals([0], 0), "`num_samples` must be at least 1"),
        (lambda: intervals.proportion_intervals(1, [5, 5]), "`num_samples` must fit `counts` of shape"),
        (lambda: intervals.proportion_intervals([1], 5, 1.0), "`level` must be less than 1"),
        (lambda: intervals.proportion_intervals([1], 5, method="wald"), "`method` must be a known name"),
        (lambda: intervals.simultaneous_intervals([3, 4], 10), "Undetermined, escaped and nonfinite samples are"),
        (lambda: intervals.envelopes([5], 6, 10), "`counts . num_undetermined` must be at most `num_samples`"),
        (lambda: intervals.compare_paired([1, 2], [1]), "`second` must have the shape"),
        (lambda: intervals.compare_paired([1, 2], [1, 3], classes=[1, 2]), "`second` must hold labels among"),
        (lambda: intervals.compare_paired([1], [1], classes=[1, 1]), "`classes` must differ from each other"),
        (lambda: intervals.paired_differences(6, 5, 10), "`num_left . num_joined` must be at most 10"),
        (lambda: intervals.samples_for_half_width(0.0), "`half_width` must be greater than 0"),
        (lambda: intervals.samples_for_half_width(1e-9), "`half_width` must need fewer than 10.12 samples"),
        (lambda: intervals.samples_to_see(1e-15), "`fraction` must need fewer than 10.12 samples"),
        (lambda: intervals.discovered_intervals([2], [9], 10), "`first_indices` must leave room for the counts"),
        (lambda: intervals.discovered_intervals([1, 1], [0, 0], 10), "`first_indices` must differ"),
        (lambda: intervals.unseen_mass([0]), "`counts` must hold at least one sample"),
        (lambda: intervals.unseen_mass_by_holdout([1], [0]), "`share` must leave some of the 1 samples"),
        (lambda: intervals.replicated_intervals([[0.5]]), "`fractions` must hold at least 2 replicates, but got 1"),
        (lambda: intervals.replicated_intervals([0.5, 1.5]), "`fractions` must lie between 0 and 1"),
        (lambda: intervals.stratified_intervals([1, 1], [5, 6], [0.5, 0.5]), "Use method='combined'"),
        (lambda: intervals.stratified_intervals([1, 1], [5, 5], [0.5, 0.5], 0.4), "`level` must be at least 0.5 with"),
        (lambda: intervals.stratified_intervals([1, 1], [5, 5], [0.5, 0.6]), "`weights` must sum to 1"),
    ],
)
def test_wrong_calls_say_what_was_expected(call, message):
    with pytest.raises(InputError, match=message):
        call()


# --- all classes, nothing seen, undetermined --------------------------------------------------------------------------


def test_simultaneous_intervals_share_the_error():
    result = intervals.simultaneous_intervals([90, 0, 10, 0], 100)
    alone = intervals.proportion_intervals([90, 0, 10, 0], 100, 1 - 0.05 / 4)
    assert np.allclose(result.low, alone.low, rtol=1e-12) and np.allclose(result.high, alone.high, rtol=1e-12)
    assert result.num_joint == 4 and result.level == 0.95


def test_simultaneous_intervals_hold_together_and_separate_ones_do_not():
    n, truth = 40, np.array([0.5, 0.45, 0.05])
    counts = np.array([(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)])
    weights = stats.multinomial.pmf(counts, n, truth)
    together = intervals.simultaneous_intervals(counts, n).contains(truth).all(axis=1)
    separate = intervals.proportion_intervals(counts, n, method="wilson").contains(truth).all(axis=1)
    assert weights[together].sum() >= 0.95 > weights[separate].sum()


def test_a_count_of_zero_has_the_exact_one_sided_bound_beside_the_rule_of_three():
    bound = float(intervals.upper_bounds(0, 1000))
    assert bound == pytest.approx(1 - 0.05 ** (1 / 1000), rel=1e-10)
    assert bound < intervals.rule_of_three(1000) < 1.002 * bound
    assert intervals.lower_bounds(0, 1000) == 0.0


def test_choosing_the_one_sided_bound_after_seeing_zero_costs_level():
    def chosen(counts, total):
        two_sided = intervals.proportion_intervals(counts, total)
        high = np.where(counts == 0, intervals.upper_bounds(counts, total), two_sided.high)
        return SimpleNamespace(low=two_sided.low, high=high)

    coverages = [intervals.exact_coverage(chosen, 1000, p) for p in np.linspace(0.0030, 0.0037, 15)]
    assert 0.937 < min(coverages) < 0.945


def test_envelopes_hold_the_interval_of_every_count_that_is_possible():
    result = intervals.envelopes([70, 20, 0], 10, 100)
    for hidden in range(11):
        possible = intervals.proportion_intervals(np.array([70, 20, 0]) + hidden, 100)
        assert np.all(result.low <= possible.low) and np.all(possible.high <= result.high)
    assert result.lowest.tolist() == [0.7, 0.2, 0.0] and result.highest.tolist() == [0.8, 0.3, 0.1]
    assert np.allclose(result.low, intervals.proportion_intervals([70, 20, 0], 100).low)
    assert np.allclose(result.high, intervals.proportion_intervals([80, 30, 10], 100).high)


# --- words ------------------------------------------------------------------------------------------------------------


def test_sentences_are_the_documented_ones():
    planned = intervals.worded_fraction(0, 1000, one_sided=True)
    assert intervals.worded_fraction(0, 1000) == "0 of 1000: at most 0.00369 (95 % confidence)"
    assert planned == "0 of 1000: at most 0.00300 (95 % confidence, one-sided; rule of three: 0.00300)"
    assert intervals.worded_fraction(53, 1000).startswith("53 of 1000: 0.0530, between 0.0399 and 0.0688 (95 %")
    assert intervals.worded_fraction(9, 9, 0.9) == "9 of 9: all but at most 0.284 (90 % confidence)"


@hypothesis.given(st.floats(1e-300, 1.0 - 1e-16), st.integers(1, 6))
def test_rounding_goes_outwards_and_never_reaches_zero_or_one(value, digits):
    low, high = wording.rounded_down(value, digits), wording.rounded_up(value, digits)
    assert 0.0 < float(low) <= value <= float(high) <= 1.0
    assert float(high) - float(low) <= 1.0001 * 10.0 ** (1 - digits) * min(value, 1.0)
    assert value <= 0.5 or (float(high) < 1.0 or 1.0 - value < 1e-15)


# --- classes that nobody listed ---------------------------------------------------------------------------------------


def counted(labels):
    """Counts and first positions of the classes, as an estimate would have them."""
    _, first, counts = np.unique(labels, return_index=True, return_counts=True)
    return counts, first


def test_classes_found_by_the_samples_need_the_intervals_after_discovery():
    """A thousand classes of fraction 1/1000, ten thousand ... all tiny: the ordinary lower limits are all too high."""
    tiny, number, held, naive = 1e-7, 200, 0, 0
    generator = np.random.default_rng(0)
    for _ in range(50):
        counts, first = counted(generator.integers(0, round(1 / tiny), number))
        held += bool(np.all(intervals.discovered_intervals(counts, first, number).contains(tiny)))
        naive += bool(np.all(intervals.simultaneous_intervals(counts, number).contains(tiny)))
    assert held >= 46 and naive == 0


def test_intervals_after_discovery_are_those_of_the_later_samples():
    result = intervals.discovered_intervals([60, 30, 10], [2, 0, 40], 100)
    for place, (count, first, rank) in enumerate([(60, 2, 2), (30, 0, 1), (10, 40, 3)]):
        level = 1 - 0.05 / (rank * (rank + 1))
        later = intervals.proportion_intervals(count - 1, 99 - first, level)
        assert (result.low[place], result.high[place]) == pytest.approx(
            (float(later.low), float(later.high)), rel=1e-10
        )
    last = intervals.discovered_intervals([9, 1], [0, 9], 10)
    assert (last.low[1], last.high[1]) == (0.0, 1.0) and last.estimate.tolist() == [0.9, 0.1]


def test_the_unseen_mass_is_never_called_zero():
    counts = [500, 300, 200]
    proven, thumb = intervals.unseen_mass(counts), intervals.unseen_mass(counts, method="rule_of_thumb")
    held_out = intervals.unseen_mass_by_holdout(counts, [0, 1, 2])
    assert proven.estimate == thumb.estimate == held_out.estimate == 0.0
    assert thumb.bound == pytest.approx(1 - 0.05**0.001, rel=1e-10) and not thumb.is_theorem
    assert held_out.bound == pytest.approx(1 - 0.05 ** (1 / 750), rel=1e-10) and held_out.is_theorem
    expected = (1 + np.sqrt(2)) * np.sqrt(np.log(2 / 0.05) / 1000)
    assert proven.bound == pytest.approx(expected, rel=1e-12) and proven.is_theorem
    assert proven.bound < (2 * np.sqrt(2) + np.sqrt(3)) * np.sqrt(np.log(3 / 0.05) / 1000)


def test_singletons_late_classes_and_undetermined_samples_raise_the_bound():
    counts, first = [90, 1, 1, 3], [0, 5, 80, 50]
    result = intervals.unseen_mass_by_holdout(counts, first, share=0.5, num_undetermined=5)
    assert (result.num_singletons, result.num_samples, result.estimate) == (7, 100, 0.07)
    assert result.bound == pytest.approx(float(intervals.upper_bounds(1 + 3 + 5, 50)), rel=1e-12)
    thumb = intervals.unseen_mass(counts, method="rule_of_thumb", num_undetermined=5)
    assert thumb.bound == pytest.approx(0.07 + 1 - 0.05 ** (1 / 100), rel=1e-10)
    assert intervals.unseen_mass([1, 1]).bound == 1.0


def test_the_rule_of_thumb_is_no_theorem_and_the_holdout_is_one():
    """Seven classes of 3/n beside a large one: the chances to miss one of them add up."""
    number, rare = 300, 7
    truth = np.append(np.full(rare, 3 / number), 1 - 3 * rare / number)
    generator = np.random.default_rng(1)
    thumb = proven = held_out = 0
    for _ in range(400):
        labels = generator.choice(rare + 1, size=number, p=truth)
        seen, first = np.unique(labels, return_index=True)
        counts = np.bincount(labels, minlength=rare + 1)
        mass = truth[counts == 0].sum()
        thumb += intervals.unseen_mass(counts, method="rule_of_thumb").bound >= mass
        proven += intervals.unseen_mass(counts).bound >= mass
        held_out += intervals.unseen_mass_by_holdout(counts[seen], first).bound >= mass
    assert stats.binomtest(thumb, 400, 0.95, alternative="less").pvalue < 1e-6
    assert stats.binomtest(held_out, 400, 0.95, alternative="less").pvalue > 1e-3 and proven == 400


def test_the_smallest_class_surely_seen_solves_its_equation():
    for number in (1, 10, 10**4, 10**7):
        p = intervals.smallest_class_surely_seen(number, 0.9)
        assert (1 - p) ** number / p == pytest.approx(0.1, rel=1e-6)


# --- how many samples -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("half_width", "fraction"), [(0.1, 0.5), (0.1, 0.05), (0.2, 0.9), (0.05, 0.0)])
def test_the_sample_size_gives_the_half_width_and_one_sample_less_does_not(half_width, fraction):
    number = intervals.samples_for_half_width(half_width, fraction)
    share = min(fraction, 1 - fraction)
    for total in range(number, number + 30):
        counts = np.arange(int(share * total) + 1)
        assert np.all(intervals.proportion_intervals(counts, total).half_width <= half_width)
    low = stats.beta.ppf(0.025, share * (number - 1), (1 - share) * (number - 1) + 1) if share else 0.0
    high = stats.beta.ppf(0.975, share * (number - 1) + 1, (1 - share) * (number - 1))
    assert high - low > 2 * half_width


def test_sample_sizes_grow_with_the_number_of_classes_and_with_looking():
    one = intervals.samples_for_half_width(0.05)
    assert one == 402
    assert one < intervals.samples_for_half_width(0.05, num_joint=5)
    looked = intervals.samples_for_half_width(0.05, sequential=True)
    assert one < looked < 2.6 * one
    planned = intervals.confidence_sequences(looked // 2, looked, planned_samples=looked)
    assert planned.half_width == pytest.approx(0.05, rel=2e-3) and planned.half_width <= 0.05


def test_a_class_that_was_not_seen_is_ruled_out_after_enough_samples():
    number = intervals.samples_to_see(0.01)
    assert number == 299 and 0.99**number <= 0.05 < 0.99 ** (number - 1)
    every = intervals.samples_to_see(0.01, every_class=True)
    assert intervals.smallest_class_surely_seen(every) <= 0.01 < intervals.smallest_class_surely_seen(every - 1)


# --- looking while samples come in ------------------------------------------------------------------------------------


def test_confidence_sequences_end_where_the_mixture_likelihood_ratio_is_one_over_alpha():
    counts, number, weight = np.array([0, 1, 2, 30, 58, 59, 60]), 60, 0.125 * 40
    result = intervals.confidence_sequences(counts, number, 0.9, num_joint=2, planned_samples=40)
    for k, low, high in zip(counts, result.low, result.high, strict=True):
        for p in {low, high} - {0.0, 1.0}:
            mixture = stats.betabinom.pmf(k, number, weight * p, weight * (1 - p))
            assert mixture / stats.binom.pmf(k, number, p) == pytest.approx(1 / 0.05, rel=1e-6)
    assert result.low[:2].tolist() == [0.0, 0.0] and result.high[-2:].tolist() == [1.0, 1.0]
    assert np.allclose(result.low, 1 - result.high[::-1], atol=1e-9)


@pytest.mark.parametrize("fraction", [0.5, 0.05])
def test_looking_25_times_keeps_the_level_of_a_confidence_sequence_only(fraction):
    looks = 20 * np.arange(1, 26)
    naive = intervals.looking_coverage(intervals.proportion_intervals, looks, fraction)
    assert 0.75 < naive < 0.86

    def planned(counts, total):
        return intervals.confidence_sequences(counts, total, planned_samples=100)

    assert 0.95 <= intervals.looking_coverage(planned, looks, fraction) < 0.995
    assert intervals.looking_coverage(planned, np.arange(1, 41), fraction) >= 0.95


def test_looking_once_is_the_ordinary_coverage():
    once = intervals.looking_coverage(intervals.proportion_intervals, np.array([80]), 0.3)
    assert once == pytest.approx(intervals.exact_coverage(intervals.proportion_intervals, 80, 0.3), rel=1e-10)


def test_looks_report_intervals_of_all_classes_planned_from_the_half_width_alone():
    truth, generator = np.array([0.6, 0.39, 0.01]), np.random.default_rng(2)
    planned = intervals.samples_for_half_width(0.12, num_joint=3, sequential=True)
    for _ in range(6):
        counts = np.zeros(3, dtype=np.int64)
        while not (seen := intervals.look(counts := counts + generator.multinomial(60, truth), 0.12)).is_enough:
            assert seen.intervals.half_width.max() > 0.12
        assert seen.intervals.contains(truth).all() and counts.sum() <= seen.planned_samples + 60
        expected = intervals.confidence_sequences(counts, counts.sum(), 0.95, 3, planned)
        assert np.all(seen.intervals.half_width <= 0.12) and seen.intervals.high.tolist() == expected.high.tolist()


# --- coverage itself --------------------------------------------------------------------------------------------------


def test_observed_coverage_agrees_with_the_sum_over_all_counts():
    truth = np.array([0.003, 0.05])
    expected = [intervals.exact_coverage(wald, 1000, p) for p in truth]
    observed = intervals.coverage(
        lambda generator: generator.binomial(1000, truth), truth, lambda counts: wald(counts, 1000), 400
    )
    assert np.all(observed.held.contains(expected))
    assert observed.is_refuted(0.95) and observed.is_refuted(0.95, joint=False)
    assert observed.num_above[0] > 20 * (observed.num_below[0] + 1) and observed.mean_width.shape == (2,)
    again = intervals.coverage(
        lambda generator: generator.binomial(1000, truth), truth, lambda counts: wald(counts, 1000), 400
    )
    assert again.num_above.tolist() == observed.num_above.tolist()


def test_honest_intervals_are_not_refuted_and_wasteful_ones_are_noticed():
    def draw(generator):
        return generator.multinomial(200, [0.7, 0.3])

    honest = intervals.coverage(draw, [0.7, 0.3], lambda counts: intervals.proportion_intervals(counts, 200), 300)
    assert not honest.is_refuted(0.95) and not honest.is_excessive(0.95)
    wide = SimpleNamespace(low=np.zeros(2), high=np.ones(2))
    wasteful = intervals.coverage(draw, [0.7, 0.3], lambda counts: wide, 300)
    assert wasteful.is_excessive(0.95) and wasteful.all_held.estimate == 1.0
    with pytest.raises(InputError, match="`interval` must give limits that are numbers, but got NaN"):
        intervals.coverage(draw, 0.5, lambda counts: SimpleNamespace(low=np.nan, high=1.0), 2)


def test_the_truth_may_depend_on_the_data():
    observed = intervals.coverage(
        lambda generator: generator.multinomial(5, [0.5, 0.5]),
        lambda counts: counts[0] / 5,
        lambda counts: SimpleNamespace(low=counts[0] / 5, high=counts[0] / 5),
        20,
    )
    assert observed.held.estimate == 1.0


def test_binomial_weights_are_probabilities():
    assert np.allclose(calibration.binomial_weights(30, 0.2), stats.binom.pmf(np.arange(31), 30, 0.2), rtol=1e-11)
