"""Basins whose answers are known by other means: cones crossed by hand, stable sets, coverage, single runs."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import gradflow as gf
from gradflow import samplers

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = {case["id"]: case for case in json.loads((ROOT / "tests/golden/paper_003.json").read_text())["cases"]}


def script(name):
    specification = importlib.util.spec_from_file_location(f"experiments_{name}", ROOT / "experiments" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def relu():
    return script("example_1_basins")


@pytest.fixture(scope="module")
def saddles():
    return script("saddles_are_not_limits")


@pytest.fixture(scope="module")
def coverage():
    return script("basin_coverage")


def labels(flow, starts, **settings):
    num = len(np.asarray(starts[0] if isinstance(starts, tuple) else starts))
    settings = {"progress": False, "num_rechecked": 0} | settings
    found = gf.estimate_basins(flow, samplers.Given(starts), 0, num, **settings)
    assert found.counts.sum() == num
    return [found.labels[code] for code in found.codes]


def chain_starts(*rows):
    return tuple(np.array(column, dtype=float).reshape(-1, 1, 1) for column in zip(*rows, strict=True))


def test_example_1_agrees_with_the_cones_followed_by_hand_start_by_start(relu):
    found = relu.measure(relu.Settings.tiny())
    assert found["differing"] == 0 and found["undetermined"].values.tolist() == [0, 0]
    assert found["beside_starts"].sum() == 4 and found["beside_other"].values.tolist() == [0, 0]
    assert [finding.agrees for finding in relu.findings(found)] == 6 * [True]
    shares = (found["flat"] / found["starts"]).values
    # The exact shares of starts that fall silent from one active cone; the rest from two active samples and none.
    cone = {True: relu.silent_share(2.0, (24, 32)), False: relu.silent_share(1.0, (24, 32))}
    np.testing.assert_allclose([cone[True], cone[False]], [0.2762730038, 0.2896667838], atol=1e-5)
    assert shares[0] > 0.25 + 0.25 * (cone[True] + cone[False]) - 3 * np.sqrt(0.25 / 2000)


def test_the_quadrature_agrees_with_fates_of_the_same_law(relu):
    generator = np.random.default_rng(5)
    row = np.array([np.abs(generator.normal(size=100)), -np.ones(100)]).T
    silent = sum(
        relu.fate(w, u, 1e-8)[0] == relu.FLAT for w, u in zip(row, generator.normal(size=(100, 2)), strict=True)
    )
    assert gf.intervals.proportion_intervals(silent, 100, 0.999).contains(relu.silent_share(2.0, (12, 24)))


@pytest.mark.parametrize(
    ("row", "column", "expected"),
    [
        ((1.0, -1.0), (0.5, -2.0), "global minimum"),
        ((2.0, -1.0), (-1.0, 0.5), "global minimum"),  # |u| < |w|: the invariant keeps w from zero
        ((-1.0, 1.0), (-3.0, 0.1), "spurious minimum"),
        ((0.1, -1.0), (-2.0, 0.0), "flat cone"),
        ((0.1, 0.1), (-2.0, -2.0), "flat cone"),
        ((-1.0, -1.0), (9.0, 9.0), "flat cone"),
        ((0.01, 2.0), (-0.5, 0.4), "spurious minimum"),  # leaves both cones' joint region through w_1 = 0
    ],
)
def test_fates_that_need_no_computer(relu, row, column, expected):
    row, column = np.array(row), np.array(column)
    assert relu.fate(row, column, 1e-10)[0] == expected
    assert labels(gf.GradientFlow(relu.problem()), (row[None, None], column[None, :, None]))[0].startswith(expected)


def test_no_saddle_is_a_limit_of_deep_linear_networks_and_a_plateau_is_none(saddles):
    settings = saddles.Settings(num_samples=300, depths=(3,), scales=(0.3,), horizons=(10.0, 1e3), num_cut=200)
    row = saddles.counted(settings, 3, 0.3)
    assert (row["saddles"], row["undetermined"], row["global_minima"]) == (0, 0, 300)
    assert row["bound"] == pytest.approx(1 - 0.05 ** (1 / 300), rel=1e-2)
    rows = saddles.cut_short(settings, 3, 0.3)
    undetermined = [entry["cut_undetermined"] for entry in rows]
    assert rows[-1]["cut_saddles"] == 0 and undetermined[0] > 150 and undetermined[1] < 20
    assert rows[0]["cut_bound"] > undetermined[0] / 200, "a bound counts starts without a limit"


def test_zeros_that_the_flow_keeps_end_at_the_saddle_and_rotated_they_do_not(saddles):
    exact, rotated = saddles.exceptions(num=4)[:2]
    assert labels(exact.flow, exact.starts) == 4 * ["strict saddle {s_1}"]
    assert labels(rotated.flow, rotated.starts) == 4 * ["global minimum {s_1, s_2}"]
    generic = tuple(layer + 1e-6 * np.random.default_rng(1).normal(size=layer.shape) for layer in exact.starts)
    assert labels(exact.flow, generic) == 4 * ["global minimum {s_1, s_2}"]


def test_a_polynomial_approach_to_a_non_strict_saddle_is_followed_and_named(saddles):
    case = GOLDEN["G34_H2_scalar_polynomial_convergence"]
    flow, start = saddles._chain(2), chain_starts((-0.5, 0.5, 0.5))
    for t, expected in zip(case["inputs"]["t"], case["expected"]["x"], strict=True):
        result = gf.integrate_ensemble(flow, start, float(t), rtol=1e-12)
        values = [layer.item() for layer in result.endpoints]
        np.testing.assert_allclose(values, [-expected, expected, expected], atol=1e-10)
    beside = chain_starts((-0.5, 0.5, 0.5), (-0.5 + 1e-4, 0.5, 0.5), (-0.5, 0.5, 0.5 + 2e-4), (-0.5 - 1e-6, 0.5, 0.5))
    names = labels(flow, beside)
    assert names[0] == "non-strict saddle {}"
    assert names[1] == "global minimum {s_1}" == names[3]


def test_the_reduced_flow_ends_at_the_saddle_that_the_original_flow_passes(saddles):
    case = GOLDEN["G03b_basins_differ"]
    original, reduced = saddles._chain(1, 2.0), saddles._chain(1, 2.0, is_reduced=True)
    given, barred = chain_starts((0.5, -1.0)), chain_starts((1.0, -1.0))
    assert labels(original, given) == ["global minimum {s_1}"]
    assert labels(reduced, barred) == ["strict saddle {}"]
    result = gf.integrate_ensemble(reduced, barred, 1.0, rtol=1e-12)
    found = [layer.item() for layer in result.endpoints]
    np.testing.assert_allclose(found, case["expected"]["reduced_wbar_t1"], atol=1e-10)


def test_intervals_of_whole_estimates_hold_known_fractions(coverage):
    settings = coverage.Settings(repetitions=30, num_samples=100)
    case = coverage.chain(0.05)
    blocks, wrong = coverage.repetitions(case, settings)
    assert wrong == 0 and len(blocks) == 30 and {block.num_samples for block in blocks} == {100}
    rows = coverage._rows_of(case, blocks, wrong)
    assert {row["verdict"] for row in rows} == {coverage.GOOD}
    shifted = coverage.replace(case, fractions=np.array([0.15, 0.85]))
    assert {row["verdict"] for row in coverage._rows_of(shifted, blocks, wrong)} == {coverage.LOW}
    one = coverage.separate(case, coverage.Settings(separate=1, num_samples=100))[0]
    assert one.counts.sum() == 100 and one.labels[:2] == ("negative", "positive")


@pytest.mark.parametrize("fraction", [0.5, 0.05, 0.001])
def test_the_boxes_have_the_fractions_that_they_are_made_for(coverage, fraction):
    case = coverage.chain(fraction)
    starts = case.sampler.starts(3, np.arange(20_000))
    count = int((case.truth(starts) == 0).sum())
    assert gf.intervals.proportion_intervals(count, 20_000, 0.9999).contains(fraction)


@pytest.mark.slow
def test_labels_are_those_of_single_runs_at_tight_tolerance():
    flow = gf.GradientFlow(gf.Landscape(lambda p: p[0] ** 4 / 4 - p[0] ** 2 / 2 + 0.5 * (p[1] - p[0] ** 2) ** 2))
    starts = np.random.default_rng(2).uniform(-2.0, 2.0, size=(12, 2))
    known = {name: np.array([sign, 1.0]) for name, sign in (("left", -1.0), ("right", 1.0))}
    ends = [np.asarray(gf.integrate(flow, s, rtol=1e-10, atol=1e-13).endpoint) for s in starts]
    expected = ["right" if end[0] > 0 else "left" for end in ends]
    assert labels(flow, starts, known=known) == expected


@pytest.mark.parametrize("place", [3, 5])
def test_what_rounding_alone_holds_at_a_saddle_is_not_named_one(saddles, place):
    case = saddles.exceptions()[place]
    starts = case.starts
    found = gf.estimate_basins(case.flow, gf.samplers.Given(starts), 0, len(starts[0]), progress=False, num_rechecked=0)
    assert found.counts.sum() == len(starts[0])
    assert not any("saddle" in label for label in found.labels)
