"""Estimates of basins: known fractions, names, counts that always add up, and the same numbers in every way."""

import itertools
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import gradflow as gf
from gradflow import basins, samplers
from gradflow.basins.collecting import OPEN_KEPT
from gradflow.basins.following import MAX_ROUNDS
from gradflow.basins.tallies import NUM_BINS, bin_centres, time_bins
from gradflow.checks import InputError
from gradflow.engines import ChunkFailure, Serial
from gradflow.naming import groups

SPECIAL = ("undetermined", "escaped", "nonfinite")


def double_well(x):
    return jnp.sum(x**4 / 4 - x**2 / 2)


@pytest.fixture(scope="module")
def wells():
    return gf.GradientFlow(gf.Landscape(double_well))


@pytest.fixture(scope="module")
def square():
    return samplers.Box(-2.0, 2.0, like=2)


@pytest.fixture(scope="module")
def estimate(wells, square):
    return basins.estimate_basins(wells, square, 0, 2000, progress=False)


def test_the_four_wells_have_a_quarter_each(estimate):
    assert estimate.num_classes == 4
    assert estimate.labels[-3:] == SPECIAL
    assert estimate.counts.sum() == estimate.num_samples == 2000
    limits = estimate.simultaneous
    assert np.all(limits.contains([0.25] * 4 + [0.0] * 3))
    assert np.all(estimate.intervals.half_width[:4] < 0.02)


def test_an_estimate_prints_as_one_line(estimate):
    counts = [f"{count} {label}" for count, label in zip(estimate.counts[:4], estimate.labels[:4], strict=True)]
    assert repr(estimate) == f"BasinEstimate(2000 starts: {'; '.join(counts)})"
    five = replace(estimate, labels=("a", *estimate.labels), counts=np.array([9, 8, 7, 6, 5, 3, 0, 0]))
    assert repr(five).startswith("BasinEstimate(38 starts: 9 a; 8 local minimum")
    assert repr(five).endswith("; 1 further class; 3 undetermined)")


def test_each_well_is_named_by_its_place_and_its_second_derivatives(estimate):
    assert set(estimate.kinds[:4]) == {"local_minimum"}
    places = {label.split("at ")[1] for label in estimate.labels[:4]}
    assert places == {"(1, 1)", "(1, -1)", "(-1, 1)", "(-1, -1)"}
    np.testing.assert_allclose(estimate.losses[:4], -0.5, atol=1e-12)


def test_every_start_goes_where_its_signs_say(estimate, square):
    starts = np.asarray(square.starts(0, np.arange(2000)))
    for row, label in enumerate(estimate.labels[:4]):
        place = np.array(eval(label.split("at ")[1]))
        np.testing.assert_array_equal(np.sign(starts[estimate.codes == row]), np.tile(place, (estimate.counts[row], 1)))
        assert estimate.first[row] == np.flatnonzero(estimate.codes == row)[0]
        np.testing.assert_array_equal(estimate.starts[row], starts[estimate.first[row]])
        np.testing.assert_allclose(estimate.ends[row], place, atol=1e-4)


def test_all_27_critical_points_are_told_apart_when_starts_lie_on_stable_manifolds():
    flow = gf.GradientFlow(gf.Landscape(double_well))
    corners = np.array(list(itertools.product((-0.7, 0.0, 1.6), repeat=3)))
    found = basins.estimate_basins(flow, samplers.Given(corners), 0, 27, progress=False, num_rechecked=0)
    assert found.num_classes == 27 and np.all(found.counts[:27] == 1)
    kinds = dict(zip(*np.unique(found.kinds[:27], return_counts=True), strict=True))
    assert kinds == {"local_minimum": 8, "strict_saddle": 18, "maximum": 1}
    assert sum("index 1" in label for label in found.labels) == 12
    for row in range(27):
        np.testing.assert_array_equal(np.sign(found.starts[row]), np.round(found.ends[row], 3))


def test_chunks_engines_and_order_change_nothing(wells, square, estimate):
    for size, engine in ((700, None), (256, Serial())):
        other = basins.estimate_basins(
            wells, square, 0, 2000, progress=False, chunk_size=size, engine=engine, num_rechecked=0
        )
        assert other.labels == estimate.labels
        for name in ("counts", "codes", "first", "starts", "ends", "time_counts", "mean_steps"):
            np.testing.assert_array_equal(getattr(other, name), getattr(estimate, name))


def test_a_run_goes_on_in_its_folder_and_ends_the_same(wells, square, estimate, tmp_path):
    class Interrupted(Serial):
        def results(self, job, indices):
            for number, result in enumerate(super().results(job, indices)):
                yield result
                if number == 2:
                    raise MemoryError

    settings = {"progress": False, "chunk_size": 300, "folder": tmp_path / "run", "num_rechecked": 0}
    with pytest.raises(MemoryError):
        basins.estimate_basins(wells, square, 0, 2000, engine=Interrupted(), **settings)
    assert len(list((tmp_path / "run" / "parts").glob("*.npz"))) == 3
    other = basins.estimate_basins(wells, square, 0, 2000, **settings)
    assert "3 from before" in other.facts["outcome"]
    np.testing.assert_array_equal(other.codes, estimate.codes)
    with pytest.raises(InputError, match="rtol"):
        basins.estimate_basins(wells, square, 0, 2000, rtol=1e-7, **settings)
    tilted = gf.GradientFlow(gf.Landscape(lambda x: double_well(x) + 1e-3 * x[0]))
    with pytest.raises(InputError, match="field"):
        basins.estimate_basins(tilted, square, 0, 2000, **settings)


def test_a_chunk_that_fails_is_counted_as_undetermined(wells, square):
    class Losing(Serial):
        def results(self, job, indices):
            for index, result in super().results(job, indices):
                yield index, ChunkFailure(index, "out of memory") if index == 1 else result

    found = basins.estimate_basins(wells, square, 0, 900, progress=False, chunk_size=300, engine=Losing())
    assert found.counts.sum() == 900 and found.undetermined == 300
    assert found.reasons == {"its chunk could not be computed": 300}


def test_open_runs_are_continued_to_what_a_long_run_finds(wells, square, estimate):
    short = basins.estimate_basins(wells, square, 0, 2000, t1=6.0, progress=False, num_rechecked=0)
    assert short.undetermined > 1000 and short.reasons == {"on its way at the horizon": short.undetermined}
    assert len(short.open) == short.undetermined <= OPEN_KEPT
    np.testing.assert_allclose(short.open.times, 6.0)
    later = basins.continue_undecided(short)
    assert later.labels == estimate.labels
    np.testing.assert_array_equal(later.counts, estimate.counts)
    np.testing.assert_array_equal(later.codes, estimate.codes)
    with pytest.raises(InputError, match="t1"):
        basins.continue_undecided(short, t1=1.0)


def test_the_share_without_a_limit_falls_with_the_horizon(estimate):
    shares = estimate.unsettled_at([1.0, 6.0, 10.0, 100.0])
    assert np.all(np.diff(shares) <= 0) and shares[0] == 1.0 and shares[-1] == 0.0


def test_a_slow_passage_is_no_limit(wells):
    """Starts 1e-9 from the stable manifold of the saddle at (1, 0) leave it after 20 units of time."""
    starts = np.array([[1.3, 1e-9], [0.8, -1e-9], [0.5, 0.0]])
    found = basins.estimate_basins(wells, samplers.Given(starts), 0, 3, progress=False, num_rechecked=0)
    names = [found.labels[code] for code in found.codes]
    assert names[0].startswith("local minimum") and names[0].endswith("(1, 1)")
    assert names[1].startswith("local minimum") and names[1].endswith("(1, -1)")
    assert names[2].startswith("strict saddle of index 1")


def test_what_has_no_limit_is_counted_by_reason():
    flow = gf.GradientFlow(gf.Landscape(lambda x: x[0] ** 3 + 0.5 * x[1] ** 2))
    starts = np.array([[-1.0, 0.3], [1.0, 1.0], [0.0, 0.0]])
    finite = basins.estimate_basins(flow, samplers.Given(starts), 0, 3, progress=False, num_rechecked=0)
    counts = dict(zip(finite.labels, finite.counts.tolist(), strict=True))
    assert counts["escaped"] == 1 and counts["undetermined"] >= 1 and sum(counts.values()) == 3

    def sometimes_missing(rng):
        start = rng.normal(size=2)
        return np.where(start[0] > 0, np.nan, start)

    broken = samplers.FromFunction(sometimes_missing, like=2, compiled=False)
    found = basins.estimate_basins(flow, broken, 0, 60, progress=False, num_rechecked=0)
    counts = dict(zip(found.labels, found.counts.tolist(), strict=True))
    assert sum(counts.values()) == 60 and 15 < counts["nonfinite"] < 45
    assert counts["escaped"] == 60 - counts["nonfinite"]


def test_example_1_has_a_quarter_of_its_starts_in_the_flat_cone():
    problem = gf.Regression(gf.networks.Shallow((2, 1, 2), activation="relu"), np.eye(2), np.diag([2.0, 1.0]))
    sampler = samplers.Gaussian(1.0, like=problem)
    found = basins.estimate_basins(gf.GradientFlow(problem), sampler, 0, 2000, progress=False, num_rechecked=200)
    assert found.labels[:3] == ("flat cone", "global minimum in the cone {1}, s^2 = 4",
                                "spurious minimum in the cone {2}, s^2 = 1")  # fmt: skip
    assert found.undetermined == 0 and found.recheck.comparison.table.sum() == 200
    hidden = np.asarray(sampler.starts(0, np.arange(2000))[0])[:, 0]
    dead = np.all(hidden < 0, axis=1)
    assert np.all(found.codes[dead] == 0)
    assert gf.intervals.proportion_intervals(int(dead.sum()), 2000, 0.999).contains(0.25)
    assert found.fractions[0] > 0.38, "runs from the neighbouring cones die into the flat cone"


def test_starts_of_more_groups_than_are_kept_are_counted_all_the_same(wells, square, monkeypatch):
    monkeypatch.setattr(groups, "MAX_GROUPS", 2)
    found = basins.estimate_basins(wells, square, 0, 600, progress=False, chunk_size=100, num_rechecked=0)
    assert found.counts.sum() == found.num_samples == 600
    assert found.num_classes == 2 and found.reasons == {"more classes than are kept": found.undetermined}
    assert found.undetermined > 200


def test_a_continuum_of_minima_is_one_class():
    flow = gf.GradientFlow(gf.Landscape(lambda p: 0.5 * (1 - p[0] * p[1]) ** 2))
    found = basins.estimate_basins(flow, samplers.Box(-2.0, 2.0, like=2), 0, 500, progress=False, num_rechecked=0)
    assert found.labels[0] == "continuum of minima, loss 0" and found.counts[0] == 500


def test_a_linear_network_is_named_by_its_captured_values():
    target = np.hstack([np.diag([2.0, 1.0]), np.zeros((2, 1))])
    problem = gf.Regression(gf.networks.Linear((3, 2, 2)), np.eye(3), target)
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(40, 2, 3)), rng.normal(size=(40, 2, 2))
    first[:10, :, 0] = 0.0  # the invariant keeps the first column of W_1, once zero, and the first row of W_2
    second[:10, 0] = 0.0
    found = basins.estimate_basins(
        gf.GradientFlow(problem), samplers.Given((first, second)), 0, 40, progress=False, num_rechecked=0
    )
    counts = dict(zip(found.labels, found.counts.tolist(), strict=True))
    assert counts["global minimum {s_1, s_2}"] == 30
    saddles = {label: count for label, count in counts.items() if "saddle" in label}
    assert sum(saddles.values()) == 10 and all("{s_2}" in label for label in saddles)


def test_stopping_when_enough_is_known_keeps_the_level(wells, square):
    found = basins.estimate_basins(
        wells, square, 0, 100_000, progress=False, half_width=0.04, chunk_size=500, num_rechecked=0
    )
    assert found.num_samples < 100_000 and found.num_samples % 500 == 0
    assert np.all(found.intervals.half_width <= 0.04)
    assert "planned" in found.intervals.method and found.wilson is None
    plain = gf.intervals.proportion_intervals(found.counts, found.num_samples)
    assert np.all(found.intervals.half_width[:4] > plain.half_width[:4])


def test_a_design_gives_intervals_from_its_replicates(wells):
    sampler = samplers.Sobol(samplers.Box(-2.0, 2.0, like=2), replicates=8)
    found = basins.estimate_basins(wells, sampler, 0, 1024, progress=False, num_rechecked=0)
    assert found.replicate_counts.shape == (7, 8) and "replicates" in found.intervals.method
    assert np.all(found.intervals.contains([0.25] * 4 + [0.0] * 3))
    with pytest.raises(InputError, match="num_samples"):
        basins.estimate_basins(wells, sampler, 0, 1020, progress=False)
    with pytest.raises(InputError, match="half_width"):
        basins.estimate_basins(wells, sampler, 0, 1024, half_width=0.1, progress=False)


def test_two_landscapes_are_compared_on_the_same_starts(wells, square, estimate):
    shifted = gf.GradientFlow(gf.Landscape(lambda x: double_well(x) + 0.02 * x[0]))
    other = basins.estimate_basins(shifted, square, 0, 2000, progress=False, num_rechecked=0)
    with pytest.warns(gf.checks.HypothesisWarning, match="No class of `first` is a class of `second`.* known="):
        change = basins.compare_basins(estimate, other)
    assert change.num_samples == 2000 and change.changed.estimate == 1.0
    renamed = replace(other, labels=(*estimate.labels[:1], *other.labels[1:]))
    assert basins.compare_basins(estimate, renamed).num_samples == 2000
    with pytest.raises(InputError, match="second"):
        basins.compare_basins(estimate, basins.estimate_basins(wells, square, 1, 2000, progress=False, num_rechecked=0))


def test_the_report_of_a_tighter_tolerance_is_in_every_estimate(estimate):
    assert estimate.recheck.comparison.num_samples == 1000
    assert estimate.recheck.rtol == pytest.approx(1e-8)
    assert estimate.recheck.comparison.changed.estimate <= 0.002
    assert estimate.recheck.comparison.changed.high > 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_samples": 0}, "num_samples"),
        ({"num_samples": 2.5}, "num_samples"),
        ({"rtol": -1.0}, "rtol"),
        ({"rtol": 1e-15}, "rtol"),
        ({"t1": 0.0}, "t1"),
        ({"t1": float("nan")}, "t1"),
        ({"key": -1}, "key"),
        ({"level": 1.0}, "level"),
        ({"half_width": 0.7}, "half_width"),
        ({"sampler": "gaussian"}, "sampler"),
        ({"flow": double_well}, "flow"),
        ({"kernel": "cuda"}, "kernel"),
        ({"chunk_size": 0}, "chunk_size"),
    ],
)
def test_a_wrong_argument_is_named(wells, square, change, named):
    settings = {"flow": wells, "sampler": square, "key": 0, "num_samples": 10, "progress": False} | change
    with pytest.raises(InputError, match=f"`{named}`"):
        basins.estimate_basins(**settings)


def test_one_start_gives_an_interval_that_says_how_little_is_known(wells, square):
    found = basins.estimate_basins(wells, square, 0, 1, progress=False)
    assert found.counts.sum() == 1
    np.testing.assert_allclose(found.intervals.low[0], 0.025)
    assert found.intervals.high[0] == 1.0


def test_bins_of_times_hold_their_centres():
    inside = bin_centres()[1:-1]
    np.testing.assert_array_equal(time_bins(inside), np.arange(1, NUM_BINS - 1))
    assert time_bins(np.array([0.0, np.inf])).tolist() == [0, NUM_BINS - 1]
    assert MAX_ROUNDS >= 4


def test_a_stiff_flow_is_followed_by_a_solver_that_is_stable_at_every_step():
    flow = gf.GradientFlow(gf.Landscape(lambda p: 0.25 * (p[0] ** 2 - 1) ** 2 + 5e6 * p[1] ** 2))
    sampler = gf.samplers.Box((-2.0, -1.0), (2.0, 1.0))
    settings = {"max_steps": 1000, "num_rechecked": 0, "progress": False, "keep_codes": True}
    explicit = gf.estimate_basins(flow, sampler, 0, 40, **settings)
    assert explicit.undetermined == 40  # out of steps, and said to be
    estimate = gf.estimate_basins(flow, sampler, 0, 40, solver="rodas4", **settings)
    assert estimate.undetermined == 0 and estimate.facts["solver"] == "rodas4"
    ends = [estimate.ends[code] for code in estimate.codes]
    starts = sampler.starts(0, np.arange(40))
    assert [np.sign(end[0]) for end in ends] == np.sign(starts[:, 0]).tolist()
    with pytest.raises(InputError, match=r"`solver` must be a known name, but got .dopri5."):
        gf.estimate_basins(flow, sampler, 0, 40, solver="dopri5")
