"""The experiments and the benchmark in their quick versions: each finds what it predicts, and says so in a table."""

import importlib.util
import sys
from pathlib import Path

import pytest

from gradflow import checks

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.filterwarnings(f"ignore::{checks.HypothesisWarning.__module__}.HypothesisWarning")


def script(folder, name):
    """A script of the repository as a module."""
    specification = importlib.util.spec_from_file_location(f"{folder}_{name}", ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


def test_every_experiment_says_what_it_asks_predicts_and_costs():
    for path in (ROOT / "experiments").glob("*.py"):
        text = path.read_text().split('"""')[1]
        assert [word for word in ("Prediction:", "Method:", "Cost:", "Source:", "Run:") if word not in text] == [], path


def test_every_tolerance_ends_at_the_optimum_with_a_drift_that_follows_it():
    rows = script("experiments", "digits_tolerances").run(script("experiments", "digits_tolerances").Settings.tiny())
    assert [row["checks"] for row in rows] == ["passed", "passed"]
    assert {row["kind"] for row in rows} == {"global_minimum"}
    assert float(rows[1]["drift"]) < 0.1 * float(rows[0]["drift"])
    assert all(abs(float(row["L - optimum"])) < 1e-6 for row in rows)


def test_no_random_network_leaves_its_certificate():
    module = script("experiments", "certificate_tightness")
    results = module.run(module.Settings.tiny())
    assert len(results) == 6 and not any(result.violations for result in results)
    assert all(result.ratios["R"] >= 1.0 for result in results)
    assert sum(row["networks"] for row in module.table(results)) == 6


def test_a_violation_would_be_counted():
    module = script("experiments", "certificate_tightness")
    result = module.Result(1, "balanced", dict.fromkeys(("R", "R_ode", "R_chain", "R_loss"), 0.9), False, ("bounded",))
    assert module.table([result])[0]["violations"] == 1


def test_traps_are_reported_as_what_they_are(capsys, monkeypatch):
    module = script("experiments", "stopping_traps")
    monkeypatch.setattr(sys, "argv", ["stopping_traps.py", "--tiny"])
    assert module.main() == 0
    table = capsys.readouterr().out
    assert "1e-6 from a saddle" in table and "on the saddle" in table and "NO" not in table


@pytest.mark.slow
def test_all_traps_are_reported_as_what_they_are():
    module = script("experiments", "stopping_traps")
    rows = module.run(module.Settings())
    assert len(rows) == 8
    assert [row["start"] for row in rows if row["as predicted"] != "yes"] == []


@pytest.mark.slow
def test_a_small_learning_rate_is_trusted_and_one_beyond_the_edge_is_not():
    module = script("experiments", "descent_beside_flow")
    (found,) = module.run(module.Settings.tiny()).values()
    assert [one.trusted for one in found] == [False, True] and module.failures(found) == []
