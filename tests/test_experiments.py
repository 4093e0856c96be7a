"""The experiments in their quick versions: each says what it asks, finds what it predicts, and could find otherwise."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest

from gradflow import laboratory

FOLDER = Path(__file__).resolve().parent.parent / "experiments"
NAMES = laboratory.names_in(FOLDER)
SECTIONS = {"Question", "Prediction", "Method", "Cost", "Source", "Run"}

CHEAP = ("certificate_tightness", "digits_tolerances", "stopping_traps")
"""Their quick versions run in every test run."""

ALL = "GRADFLOW_ALL_EXPERIMENTS"
"""Environment variable that, set to 1, has the quick versions of all experiments run: minutes, most of it compiling."""

left_out = pytest.mark.skipif(os.environ.get(ALL) != "1", reason=f"takes minutes; {ALL}=1 runs it")
EACH = [pytest.param(name, marks=() if name in CHEAP else left_out) for name in NAMES]


@functools.cache
def tiny(name):
    """An experiment and its quick results."""
    experiment = laboratory.load_experiment(name, FOLDER)
    return experiment, laboratory.measured(experiment, experiment.settings_type.tiny())


def judged(name, **changes):
    """Whether each finding agrees, after variables of the quick results were replaced."""
    experiment, results = tiny(name)
    changed = results.copy(deep=True)
    for variable, value in changes.items():
        changed[variable][...] = value
    return [finding.agrees for finding in laboratory.judged(experiment, changed)]


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_says_what_it_asks_predicts_and_costs(name):
    experiment = laboratory.load_experiment(name, FOLDER)
    assert SECTIONS - set(experiment.sections) == set()
    assert experiment.question.endswith(("?", "."))
    assert experiment.sections["Run"] == f"``gradflow run {name}``"
    assert experiment.settings_type.tiny() != experiment.settings_type()


@pytest.mark.parametrize("name", EACH)
def test_every_experiment_finds_what_it_predicts(name):
    experiment, results = tiny(name)
    found = laboratory.judged(experiment, results)
    assert [one for one in found if one.agrees is False] == []
    assert any(one.agrees for one in found)
    assert all(variable.attrs.get("long_name") for variable in results.data_vars.values())


WRONG = {
    "basin_coverage": {"verdict": "TOO LOW", "wrong_labels": 1.0, "held": 0.5},
    "certificate_tightness": {"violations": "bounded", "R": 2.1},
    "convergence_rates": {"worst": 1.0, "observed": 0.0, "observed_law": "power", "final": 0.0, "exponent": 5.0},
    "curvature_at_saddles": {"lowest": 0.0, "idle_lowest": -1.0},
    "descent_beside_flow": {"order": 2.0, "modified_order": 1.0, "verdict": "small enough"},
    "digits_tolerances": {"drift": 1e-3, "sup_over_bound": 1.01, "excess": 1e6, "kind": "strict_saddle",
                          "largest_first": False, "passed": False},
    "dominance_and_regularity": {"broken": 1, "edge": 0.5, "rate_ratio": 0.5, "failure_least": 0.5, "pointwise": 2.0},
    "example_1_basins": {"flat": 0, "differing": 1, "beside_other": 1, "undetermined": 1, "cone_silent": 0},
    "excursion_and_escape": {"largest_norm": 1e6, "largest_y": 1e6, "largest_x": 1e6, "status": "horizon",
                             "known_error": 1.0, "y_law": 1.2, "h_law": 0.6, "escape_status": "horizon",
                             "escape_promised": True},
    "interval_coverage": {"verdict": "TOO LOW", "held": 0.5},
    "invariants_and_their_limits": {"drift": 1e-12},
    "invariants_by_solver": {"drift": 1e-2, "error": 0.0},
    "original_beside_reduced_flow": {"loss": 1.0, "drift": 1.0, "settled": 1.0, "kind": "strict", "product_gap": 1.0,
                                     "apart": 0.0},
    "plateau_times": {"times": 1.0, "level": 0.3, "chain_times": 1.0},
    "regulariser_and_speed": {"left": 1.0, "worst_rise": 2.0, "last_imbalance": 1.0, "settled": np.nan,
                              "largest_imbalance": 0.0},
    "residual_beside_linear": {"constant": 1.0, "time": 1.0, "quiet": 1.0, "end": 1.0},
    "saddles_are_not_limits": {"saddles": 1, "undetermined": 1, "bound": 0.1, "cut_saddles": 1, "cut_undetermined": 1,
                               "known_hits": 0, "known_others": 1},
    "saddles_of_two_hidden_layers": {"gradient": 1.0, "spectrum": 1.0, "times": 1.0, "final": 1.0},
    "starts_on_real_data": {"kind": "strict_saddle", "excess": 1.0, "sup_over_bound": 1.1, "drift": 1e3,
                            "escaped": 1.0},
    "stopping_traps": {"status": "stalled", "kind": "global_minimum"},
}  # fmt: skip
"""Measurements that must make a finding of their experiment disagree."""


def test_every_experiment_is_tried_with_wrong_measurements():
    assert sorted(WRONG) == NAMES


@pytest.mark.parametrize("name", EACH)
def test_every_finding_could_disagree(name):
    assert [variable for variable, value in WRONG[name].items() if False not in judged(name, **{variable: value})] == []


def test_what_is_not_measured_is_undecided():
    assert judged("digits_tolerances", drift=np.nan)[0] is None
