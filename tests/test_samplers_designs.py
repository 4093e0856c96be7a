"""Claims about designs of starts: which points, exact balance, and replicates from which honest intervals follow."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

from gradflow import networks
from gradflow.samplers import Box, Gaussian, Law, Sobol, Stratified, blocks, designs
from gradflow.samplers.designs import _sobol_points

NETWORK = networks.Linear((2, 3, 2))


def test_sobol_points_are_those_of_scipy():
    words = blocks.words_of_key(3)
    rng = np.random.default_rng(np.random.SeedSequence([0, 3], spawn_key=(2,)))
    theirs = qmc.Sobol(5, bits=32, rng=rng).random(256) * 2**32
    ours = _sobol_points(words, 2, 5, np.arange(256))
    np.testing.assert_array_equal(np.floor(ours * 2**32), theirs)
    assert (ours * 2**53 % 2 == 1).all()  # so that no point lies on the boundary of the cube
    late = qmc.Sobol(5, bits=32, rng=np.random.default_rng(np.random.SeedSequence([0, 3], spawn_key=(2,))))
    late.fast_forward(999_999)
    np.testing.assert_array_equal(
        np.floor(_sobol_points(words, 2, 5, np.array([999_999])) * 2**32), late.random() * 2**32
    )


def test_every_scramble_is_balanced_over_the_halves_of_halves():
    sampler = Sobol(Box(-2.0, 3.0, like=2), replicates=4)
    assert [sampler.balanced_size(n) for n in (1, 4, 5, 256, 257)] == [4, 4, 8, 256, 512]
    cells = np.floor((sampler.starts(7, np.arange(256)) + 2.0) / 5.0 * 8).astype(int)
    for replicate in range(4):
        mine = cells[sampler.replicate(np.arange(256)) == replicate]
        assert len(np.unique(mine, axis=0)) == 64  # 64 points, 8 x 8 cells


def disc_fractions(sampler, seed, num, num_replicates):
    """Share of each replicate inside the disc of area 1/2 in the unit square."""
    starts = sampler.starts(seed, np.arange(num))
    inside = ((starts - 0.5) ** 2).sum(axis=1) < 0.5 / np.pi
    replicates = np.arange(num) % num_replicates if sampler.num_replicates == 1 else sampler.replicate(np.arange(num))
    return np.array([inside[replicates == replicate].mean() for replicate in range(num_replicates)])


@pytest.mark.parametrize(
    ("design", "factor"), [(Sobol(Box(0.0, 1.0, like=2), 8), 8.0), (Stratified(Box(0.0, 1.0, like=2), 16, 8), 4.0)]
)
def test_a_design_has_a_smaller_variance_and_its_replicates_give_honest_intervals(design, factor):
    keys = range(48)
    fractions = np.array([disc_fractions(design, key, 2048, 8) for key in keys])
    plain = np.array([disc_fractions(Box(0.0, 1.0, like=2), key, 2048, 8) for key in keys])
    assert plain.var() > factor * fractions.var()
    halves = stats.t.ppf(0.975, 7) * fractions.std(axis=1, ddof=1) / math.sqrt(8)
    covered = int((np.abs(fractions.mean(axis=1) - 0.5) <= halves).sum())
    assert stats.binomtest(covered, len(fractions), 0.95).pvalue > 1e-3
    correlations = np.corrcoef(fractions.T)[np.triu_indices(8, 1)]
    assert np.abs(correlations).max() < 4.5 / math.sqrt(len(fractions))
    assert abs(correlations.mean()) < 4 / math.sqrt(28 * len(fractions))


def test_every_stratum_gets_one_start_in_each_sweep():
    design = Stratified(Box([0.0, 10.0], [3.0, 12.0]), (3, 2), replicates=4)
    numbers = np.arange(design.balanced_size(25))
    assert len(numbers) == 48 and design.num_strata == 6
    starts = design.starts(5, numbers)
    cells = np.floor([1, 1] * (starts - [0.0, 10.0])).astype(int)
    np.testing.assert_array_equal(cells[:, 0] * 2 + cells[:, 1], design.stratum(numbers))
    for replicate in range(4):
        mine = cells[design.replicate(numbers) == replicate]
        assert np.unique(mine, axis=0, return_counts=True)[1].tolist() == [2] * 6
    assert design.replicate(numbers)[:24].tolist() == [r for r in range(4) for _ in range(6)]
    inside = starts - [0.0, 10.0] - cells
    assert stats.kstest(inside.ravel(), "uniform").pvalue > 1e-3


def test_strata_do_not_reach_the_end_of_the_cube(monkeypatch):
    class Last:
        def __init__(self, *ends, like):
            self.shape = (like,)

        def starts(self, key, numbers):
            return np.full((len(numbers), *self.shape), 1 - 2.0**-53)

    monkeypatch.setattr(designs, "Box", Last)
    assert np.isfinite(Stratified(Gaussian(1.0, like=2), (2, 2)).starts(0, np.arange(4))).all()


def test_designs_take_the_scales_of_a_law():
    for name, scale in (
        ("gaussian", (0.5, 0.5)),
        ("fan_in", (0.5 / 2**0.5, 0.5 / 3**0.5)),
        ("glorot", (0.5 * 0.4**0.5,) * 2),
    ):
        base = Sobol(Law(name, NETWORK, 0.5)).base
        assert [float(leaf.flat[0]) for leaf in base.template.unflattened(base.scale)] == pytest.approx(scale)
