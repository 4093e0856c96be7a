"""Grouping of endpoints by their features: the same groups in any order and any chunks, and what lies between them."""

import numpy as np
import pytest

from gradflow.naming import groups as grouping
from gradflow.naming import merge
from gradflow.naming.groups import Features, collect, resolve


def made(values, samples=None, keys=None):
    values = np.asarray(values, dtype=float)
    num = len(values)
    keys = np.zeros((num, 2), dtype=int) if keys is None else np.asarray(keys)
    samples = np.arange(num) if samples is None else np.asarray(samples)
    return Features(keys, values, values[:, 0], values, samples)


def clouds(num, seed=0):
    """Three limits, two of them of equal loss, with spread 1e-9, and one member between two of them."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0.5, 1.0, 2.0], [0.5, 1.0, -2.0], [3.0, 0.0, 0.0]])
    values = centres[rng.integers(3, size=num)] + 1e-9 * rng.normal(size=(num, 3))
    values[num // 2] = centres[2] + [0.0, 5e-5, 0.0]
    return values


def test_groups_do_not_depend_on_order_or_chunks():
    values = clouds(300)
    whole = resolve(collect(made(values), 1e-6)[0])
    for seed in range(5):
        rng = np.random.default_rng(seed)
        parts = np.array_split(rng.permutation(300), rng.integers(2, 40))
        tallies = [collect(made(values[part], part), 1e-6)[0] for part in parts]
        total = tallies[0]
        for tally in tallies[1:]:
            total = merge(total, tally) if rng.random() < 0.5 else merge(tally, total)
        resolution = resolve(total)
        np.testing.assert_array_equal(resolution.groups.first, whole.groups.first)
        np.testing.assert_array_equal(resolution.groups.counts, whole.groups.counts)
        assert resolution.ambiguous == whole.ambiguous == 1
    assert whole.groups.counts.sum() + whole.ambiguous == 300
    assert len(whole.groups) == 3
    assert whole.groups.spread.max() < 1e-7


def test_what_lies_between_two_groups_is_ambiguous_and_what_is_far_is_a_group():
    near = collect(made([[0.0, 0.0]] * 5 + [[0.0, 5e-5]]), 1e-6)[0]
    assert (len(resolve(near).groups), resolve(near).ambiguous) == (1, 1)
    far = collect(made([[0.0, 0.0]] * 5 + [[0.0, 2e-4]]), 1e-6)[0]
    assert (len(resolve(far).groups), resolve(far).ambiguous) == (2, 0)
    other_key = collect(made([[0.0, 0.0]] * 5 + [[0.0, 5e-5]], keys=[[0, 0]] * 5 + [[0, 1]]), 1e-6)[0]
    assert (len(resolve(other_key).groups), resolve(other_key).ambiguous) == (2, 0)


def test_points_of_different_index_or_nullity_are_never_one_group():
    values, keys = [[1.0, 2.0]] * 4, [[0, 0], [1, 0], [0, 0], [0, 1]]
    tally, members = collect(made(values, keys=keys), 1e-6)
    assert tally.counts.tolist() == [2, 1, 1]
    assert members.tolist() == [0, 1, 0, 2]
    assert len(merge(tally, tally)) == len(resolve(tally).groups) == 3


def test_the_representative_is_the_smallest_sample_number():
    values = np.array([[1.0, 0.0], [1.0, 1e-8], [1.0, 2e-8]])
    tally = merge(collect(made(values[:1], [30]), 1e-6)[0], collect(made(values[1:], [7, 12]), 1e-6)[0])
    assert (tally.first.tolist(), tally.counts.tolist()) == ([7], [3])
    np.testing.assert_array_equal(tally.params[0], values[1])
    assert tally.reach[0] == pytest.approx(1e-8)


def test_clusters_within_ten_tolerances_are_one_group_under_the_smallest_sample_number():
    tally = collect(made([[1.0, 5e-6], [1.0, 0.0], [1.0, 0.0], [1.0, -4e-6]], [9, 2, 8, 4]), 1e-6)[0]
    resolution = resolve(tally)
    assert (len(tally), len(resolution.groups), resolution.ambiguous) == (3, 1, 0)
    assert (resolution.groups.first.tolist(), resolution.groups.counts.tolist()) == ([2], [4])
    assert resolution.groups.spread[0] == pytest.approx(5e-6)
    np.testing.assert_array_equal(resolution.groups.params[0], [1.0, 0.0])


def test_the_number_of_groups_is_bounded_and_the_rest_is_counted(monkeypatch):
    monkeypatch.setattr(grouping, "MAX_GROUPS", 5)
    values = np.arange(12.0)[:, None]
    tally, members = collect(made(values), 1e-6)
    assert (len(tally), tally.overflow) == (5, 7)
    assert members.tolist() == [0, 1, 2, 3, 4] + [-1] * 7
    both = merge(tally, collect(made(values[:3] + 100.0, [100, 101, 102]), 1e-6)[0])
    assert (len(both), both.overflow, both.counts.sum()) == (5, 10, 5)
    assert resolve(both).groups.overflow == 10


def test_groups_come_back_from_their_arrays():
    tally = collect(made(clouds(20)), 1e-6)[0]
    back = grouping.Groups.from_arrays(tally.arrays())
    assert back.arrays().keys() == tally.arrays().keys()
    for name, array in tally.arrays().items():
        np.testing.assert_array_equal(back.arrays()[name], array)
