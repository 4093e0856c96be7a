"""The experiments in their quick versions: each says what it asks, finds what it predicts, and could find otherwise."""

import functools
from pathlib import Path

import numpy as np
import pytest

from gradflow import laboratory

FOLDER = Path(__file__).resolve().parent.parent / "experiments"
NAMES = laboratory.names_in(FOLDER)
SECTIONS = {"Question", "Prediction", "Method", "Cost", "Source", "Run"}

CHEAP = ("certificate_tightness", "digits_tolerances", "stopping_traps")
"""Their quick versions run in every test run; those of the others are slow tests, because of what they compile."""


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


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in CHEAP else pytest.mark.slow) for name in NAMES]
)
def test_every_experiment_finds_what_it_predicts(name):
    experiment, results = tiny(name)
    found = laboratory.judged(experiment, results)
    assert [one for one in found if one.agrees is False] == []
    assert any(one.agrees for one in found)
    assert all(variable.attrs.get("long_name") for variable in results.data_vars.values())


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [
        ("certificate_tightness", "violations", "bounded"),
        ("certificate_tightness", "R", 2.1),
        ("digits_tolerances", "drift", 1e-3),
        ("digits_tolerances", "sup_over_bound", 1.01),
        ("digits_tolerances", "excess", 1e6),
        ("digits_tolerances", "kind", "strict_saddle"),
        ("digits_tolerances", "largest_first", False),
        ("digits_tolerances", "passed", False),
        ("stopping_traps", "status", "stalled"),
        ("stopping_traps", "kind", "global_minimum"),
    ],
)
def test_every_finding_could_disagree(name, variable, value):
    assert False in judged(name, **{variable: value})


def test_what_is_not_measured_is_undecided():
    assert judged("digits_tolerances", drift=np.nan)[0] is None
