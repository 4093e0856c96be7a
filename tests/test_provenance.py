"""Where a result comes from is complete, true, and found out without ever failing."""

import importlib.metadata
import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jax
import pytest

from gradflow import provenance as module
from gradflow.__about__ import __version__
from gradflow.provenance import UNKNOWN, git_state, provenance

KEYS = {
    "gradflow_version", "git_commit", "git_dirty", "python_version", "jax_version", "diffrax_version", "numpy_version",
    "scipy_version", "platform", "num_cpus", "device", "precision", "x64", "created_at",
}  # fmt: skip


def test_everything_a_result_must_carry_is_there():
    found = provenance()
    assert set(found) == KEYS
    assert found["gradflow_version"] == __version__
    assert found["jax_version"] == importlib.metadata.version("jax")
    assert found["precision"] == "float64" and found["x64"] is True
    assert jax.devices()[0].platform in found["device"]
    assert found["num_cpus"] >= 1
    assert json.loads(json.dumps(found)) == found


def test_the_time_is_now_in_utc():
    moment = datetime.fromisoformat(provenance()["created_at"])
    assert moment.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


def test_two_results_of_one_process_differ_in_time_only(monkeypatch):
    first = provenance()
    monkeypatch.setattr(module, "git_state", _never)  # asked once per process
    assert {key for key, value in provenance().items() if value != first[key]} <= {"created_at"}


def _never(package):
    raise AssertionError("git was asked again")


def test_an_accelerator_is_named_with_its_kind(monkeypatch):
    device = type("Device", (), {"platform": "gpu", "device_kind": "Some GPU"})
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert provenance()["device"] == "gpu: Some GPU"


def test_a_library_that_is_not_installed_is_unknown(monkeypatch):
    monkeypatch.setattr(module, "LIBRARIES", ("jax", "no-such-library"))
    found = module._process.__wrapped__()
    assert found["no-such-library_version"] == UNKNOWN


# --- git --------------------------------------------------------------------------------------------------------------


def _git(folder, *arguments):
    settings = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", *settings, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A committed checkout with a package of one file; returns the package."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    package = tmp_path / "gradflow"
    package.mkdir()
    (package / "module.py").write_text("x = 1\n")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "Start")
    return package


def test_a_clean_checkout_is_its_commit(checkout):
    assert git_state(checkout) == (_git(checkout, "rev-parse", "HEAD"), False)


@pytest.mark.parametrize("name", ["module.py", "new.py"])
def test_a_changed_or_new_file_in_the_package_makes_it_dirty(checkout, name):
    (checkout / name).write_text("x = 2\n")
    assert git_state(checkout) == (_git(checkout, "rev-parse", "HEAD"), True)


def test_a_file_beside_the_package_does_not_make_it_dirty(checkout):
    (checkout.parent / "notes.txt").write_text("mine\n")
    assert git_state(checkout)[1] is False


def test_a_hooks_environment_does_not_point_elsewhere(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert git_state(checkout)[0] != UNKNOWN


def test_nothing_committed_yet_is_unknown(checkout):
    _git(checkout, "update-ref", "-d", "HEAD")
    assert git_state(checkout) == (UNKNOWN, True)


def test_a_package_installed_inside_somebody_elses_repository_is_unknown(checkout):
    installed = checkout / "site-packages" / "gradflow"
    installed.mkdir(parents=True)
    assert git_state(installed) == (UNKNOWN, True)


@pytest.mark.parametrize(
    "failure",
    [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 5), subprocess.CalledProcessError(128, "git")],
)
def test_a_git_that_cannot_tell_is_unknown(checkout, monkeypatch, failure):
    def fails(*_, **__):
        raise failure

    monkeypatch.setattr(subprocess, "run", fails)
    assert git_state(checkout) == (UNKNOWN, True)


def test_a_broken_repository_is_unknown(checkout):
    (checkout.parent / ".git" / "HEAD").write_text("nonsense\n")
    assert git_state(checkout) == (UNKNOWN, True)


def test_a_git_that_says_nothing_is_unknown(checkout, monkeypatch):
    silent = subprocess.CompletedProcess("git", 0, stdout="", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: silent)
    assert git_state(checkout) == (UNKNOWN, True)


def test_this_checkout_is_known_or_unknown_but_never_an_error():
    commit, dirty = git_state(Path(module.__file__).parent)
    assert len(commit) == 40 or (commit, dirty) == (UNKNOWN, True)
