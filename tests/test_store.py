"""Results files: everything comes back bit for bit, appears whole or not at all, and damage is found and named."""

import dataclasses
import enum
import errno
import functools
import gc
import io
import json
import math
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
from collections import OrderedDict, namedtuple
from pathlib import Path
from unittest import mock

import equinox as eqx
import example_studies
import h5py
import hypothesis
import jax
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gradflow as gf
from gradflow import checks, plotting, regularizers, reporting, store
from gradflow.store import codec, files, paths, problems

REBUILT = (
    "linear",
    "reduced",
    "decayed",
    "backward",
    "escaped",
    "nonstrict",
    "step_limit",
    "interrupted",
    "model_problem",
)


def difference(one, other, where="study"):
    """The first place where two results are not the same to the last bit and type, or None."""
    if isinstance(one, xr.Dataset):
        arrays = [difference(one[name].values, other[name].values, f"{where}.{name}") for name in one.variables]
        return next(filter(None, arrays), None) or (None if one.identical(other) else f"{where}: names or attributes")
    if isinstance(one, eqx.Module):
        (left, structure), (right, other_structure) = jax.tree.flatten(one), jax.tree.flatten(other)
        # A landscape's function is one of its leaves, compared by its code: each lookup makes a new one.
        if type(one) is not type(other) or len(left) != len(right):
            return f"{where}: {structure} != {other_structure}"
        return next(filter(None, (difference(a, b, where) for a, b in zip(left, right, strict=True))), None)
    if callable(one):
        return None if one.__code__ is other.__code__ else f"{where}: {one} != {other}"
    if isinstance(one, np.ndarray | jax.Array):
        left, right = np.asarray(one), np.asarray(other)
        same = left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
        return None if same else f"{where}: {left} != {right}"
    if type(one) is not type(other):
        return f"{where}: {type(one)} != {type(other)}"
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one)]
        parts = (difference(getattr(one, name), getattr(other, name), f"{where}.{name}") for name in names)
        return next(filter(None, parts), None)
    if isinstance(one, dict):
        if set(one) != set(other):
            return f"{where}: {set(one) ^ set(other)}"
        return next(filter(None, (difference(one[key], other[key], f"{where}[{key!r}]") for key in one)), None)
    if isinstance(one, tuple | list):
        if len(one) != len(other):
            return f"{where}: lengths {len(one)} != {len(other)}"
        pairs = enumerate(zip(one, other, strict=True))
        return next(filter(None, (difference(a, b, f"{where}[{index}]") for index, (a, b) in pairs)), None)
    same = struct.pack("d", one) == struct.pack("d", other) if isinstance(one, float) else one == other
    return None if same else f"{where}: {one!r} != {other!r}"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A study by name, its file and what is loaded from it."""
    folder = tmp_path_factory.mktemp("results")

    @functools.cache
    def of(name):
        study = example_studies.study(name)
        path = store.save(study, folder / f"{name}.nc")
        return study, path, store.load(path)

    return of


every = pytest.mark.parametrize("name", example_studies.NAMES)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The smallest file: a single row. Its flow is not in it."""
    study = example_studies.study("nonfinite")
    path = store.save(study, tmp_path_factory.mktemp("small") / "study.nc")
    return study, path


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


# --- what comes back --------------------------------------------------------------------------------------------------


@every
def test_a_study_comes_back_bit_for_bit(saved, name):
    study, _, loaded = saved(name)
    # A user's function is not in the file; everything else is.
    kept = study if name in REBUILT else dataclasses.replace(study, flow=None, data=loaded.data)
    assert difference(kept, loaded) is None


@every
def test_saving_what_was_loaded_gives_the_same_content(saved, name):
    _, path, loaded = saved(name)
    with h5py.File(path) as stored:
        assert files.digest(store.to_datatree(loaded)) == stored.attrs[files.DIGEST]


@every
def test_what_was_loaded_is_reported_like_the_original(saved, name):
    study, _, loaded = saved(name)
    assert reporting.row_of(loaded) == reporting.row_of(study)
    reporting.print_summary(loaded, file=io.StringIO())


@pytest.mark.parametrize("name", REBUILT)
def test_what_was_loaded_can_be_monitored_as_before(saved, name):
    study, _, loaded = saved(name)
    assert difference(gf.monitor(loaded.flow, loaded.trajectory), study.record) is None


@pytest.mark.parametrize("name", ["linear", "dictionary"])
def test_what_was_loaded_can_be_drawn(saved, name):
    assert plotting.overview(saved(name)[2]).axes


def test_a_results_file_is_enough_to_run_the_study_again_bit_for_bit(tmp_path):
    study = example_studies.study("reduced")
    loaded = store.load(store.save(study, tmp_path / "study.nc"))
    again = gf.study(loaded.flow, loaded.trajectory.start)
    unclocked = {"wall_seconds": 0.0}
    assert difference(
        dataclasses.replace(study.trajectory, **unclocked), dataclasses.replace(again.trajectory, **unclocked)
    ) is None  # fmt: skip
    assert difference(study.record, again.record) is None
    assert difference(study.certificates, again.certificates) is None
    assert difference(study.point, again.point) is None


def test_every_float_survives(tmp_path):
    odd = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 5e-324, 1.7976931348623157e308, 0.1, 1 / 3])
    odd = np.concatenate([odd, np.array([0x7FF0000000000001, 0xFFF8DEADBEEF0000], np.uint64).view(np.float64)])
    study = example_studies.study("linear")
    trajectory = dataclasses.replace(
        study.trajectory,
        times=odd,
        dissipated=odd[::-1].copy(),
        params=(np.resize(odd, (len(odd), 3, 3)), np.resize(odd[1:], (len(odd), 2, 3))),
        endpoint=(np.resize(odd, (3, 3)), np.resize(odd, (2, 3))),
        end_time=-0.0,
        t1=-math.inf,
        largest_norm=5e-324,
        remaining=math.nan,
    )
    odd_study = dataclasses.replace(study, trajectory=trajectory)
    loaded = store.load(store.save(odd_study, tmp_path / "odd.nc"))
    assert difference(odd_study, loaded) is None
    assert loaded.trajectory.remaining is not None


def test_large_arrays_and_settings_survive(tmp_path):
    study = example_studies.study("linear")
    rng = np.random.default_rng(0)
    params = (rng.standard_normal((5000, 3, 3)), rng.standard_normal((5000, 2, 3)))
    trajectory = dataclasses.replace(
        study.trajectory, times=np.arange(5000.0), dissipated=rng.standard_normal(5000), params=params
    )
    # HDF5 holds attributes of 64 kB only, unless they are text.
    settings = {"history": rng.standard_normal((100, 100)), "text": "x" * 100_000}
    large = dataclasses.replace(study, trajectory=trajectory, settings=settings)
    assert difference(large, store.load(store.save(large, tmp_path / "large.nc"))) is None


class Colour(enum.Enum):
    RED = "red"


ODD_SETTINGS = {
    "none": None,
    "empty": "",
    "unicode": "Sattelpunkt \u2207L = 0 \U0001f600",
    "control": "a\0b\n\ud800",
    "truth": True,
    "huge": 2**100,
    "negative_zero": -0.0,
    "infinite": (math.inf, -math.inf, math.nan),
    "tuple": (1, (2, ()), [3, [None]]),
    "mapping": {"nested": {1: "int key", (1, 2): "tuple key", None: 0, "__float__": "a reserved name"}},
    "integers": np.arange(6, dtype=np.int16).reshape(2, 3),
    "single": np.array([0.1, -0.0, np.nan], np.float32),
    "truths": np.array([True, False]),
    "scalar_array": np.array(2.5),
}


def test_settings_of_every_kind_survive(tmp_path):
    study = dataclasses.replace(
        example_studies.study("nonfinite"), settings=ODD_SETTINGS, flow=None, data=problems.flow_dataset(None)
    )
    assert difference(study, store.load(store.save(study, tmp_path / "settings.nc"))) is None


@pytest.mark.parametrize(
    ("given_value", "kept"),
    [
        (np.float64(0.25), 0.25),
        (np.int32(3), 3),
        (np.bool_(True), True),
        (Colour.RED, "red"),
        (gf.Status.STATIONARY, "stationary"),
        (Path("folder") / "file.csv", "folder/file.csv"),
        (store, repr(store)),
        (1 + 2j, "(1+2j)"),
        (checks.HypothesisWarning, repr(checks.HypothesisWarning)),
        (dataclasses.make_dataclass("Section", ["rtol", "law"])(1e-6, Colour.RED), {"rtol": 1e-6, "law": "red"}),
    ],
)
def test_what_files_cannot_hold_is_kept_as_its_plain_value_or_text(given_value, kept):
    assert difference(kept, codec.from_json(codec.to_json(given_value))) is None


# --- what can be rebuilt ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "reduced", "decayed", "nonstrict"])
def test_samples_are_preserved(saved, name):
    study, _, loaded = saved(name)
    original = getattr(study.flow, "original", study.flow.problem)
    kept = getattr(loaded.flow, "original", loaded.flow.problem)
    assert kept.X.tobytes() == original.X.tobytes() and kept.Y.tobytes() == original.Y.tobytes()


def test_a_landscape_called_like_a_model_problem_is_not_taken_for_it():
    impostor = gf.Landscape(lambda p: p @ p, name="himmelblau")
    assert problems.flow_of(problems.flow_dataset(gf.GradientFlow(impostor))) is None
    known = gf.model_problems.get("himmelblau").problem
    assert problems.flow_of(problems.flow_dataset(gf.GradientFlow(known))).problem.name == "himmelblau"


@pytest.mark.parametrize(
    "options",
    [
        {"loss": lambda outputs, targets: ((outputs - targets) ** 4).sum()},
        {"regularizer": type("Own", (regularizers.AbstractRegularizer,), {"__call__": lambda self, params: 0.0})()},
    ],
)
def test_a_regression_with_a_users_function_keeps_its_data_but_no_flow(options):
    problem = gf.Regression(gf.networks.Linear((1, 1)), np.ones((1, 2)), np.ones((1, 2)), **options)
    dataset = problems.flow_dataset(gf.GradientFlow(problem))
    assert problems.flow_of(dataset) is None
    np.testing.assert_array_equal(dataset["X"], problem.X)


def test_a_users_own_flow_and_problem_are_named_but_not_rebuilt():
    class Quartic(gf.problem.AbstractProblem):
        def loss(self, params):
            return (params**4).sum()

    dataset = problems.flow_dataset(gf.GradientFlow(Quartic()))
    assert dataset.attrs == {"flow": "GradientFlow", "problem": "Quartic", "rebuildable": 0}
    assert problems.flow_of(problems.flow_dataset(None)) is None


# --- what others read -------------------------------------------------------------------------------------------------

GROUPS = {
    "/", "/trajectory", "/sample_stats", "/passages", "/record", "/certificates", "/checks", "/critical_points",
    "/critical_points/endpoint", "/rate", "/data",
}  # fmt: skip


def groups_of(study):
    return GROUPS | {f"/certificates/{certificate.name}" for certificate in study.certificates}


@pytest.mark.parametrize("name", ["linear", "dictionary"])
def test_xarray_reads_a_results_file_without_gradflow(saved, name):
    study, path, _ = saved(name)
    script = """
import json, sys, warnings
warnings.simplefilter("error")
sys.modules["gradflow"] = None  # importing it fails
import xarray
with xarray.open_datatree(sys.argv[1]) as tree:
    endpoint = tree["critical_points/endpoint"]
    print(json.dumps([sorted(tree.groups), endpoint["kind"].item(), tree["trajectory"]["theta"].shape]))
"""
    answer = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    groups, kind, shape = json.loads(answer.stdout)
    assert set(groups) == groups_of(study)
    assert kind == study.point.kind
    assert shape == [len(study.trajectory.times), codec.ravel(study.trajectory.start).size]


@every
def test_groups_are_named_as_documented(saved, name):
    study = saved(name)[0]
    assert set(store.to_datatree(study).groups) == groups_of(study)


@pytest.mark.parametrize("name", ["linear", "reduced", "nonstrict", "dictionary"])
def test_every_variable_has_named_dimensions_a_unit_and_a_meaning(saved, name):
    dims = {"time", "param", "invariant", "layer", "mode", "level", "passage", "check", "hypothesis", "quantity",
            "feature", "sample", "output", "rank", "reduced_feature", "reduced_output"}  # fmt: skip
    with xr.open_datatree(saved(name)[1], decode_times=False) as tree:
        for node in tree.subtree:
            assert set(node.dims) <= dims
            for label, variable in node.to_dataset(inherit=False).variables.items():
                # The names of the invariants are the record's own coordinate, which monitoring leaves bare.
                if (node.path, label) != ("/record", "invariant"):
                    assert variable.attrs["units"] and variable.attrs["long_name"], (node.path, label)


def test_parameters_are_named_in_a_networks_or_a_landscapes_letters():
    recipe = codec.recipe_of((np.zeros((1, 2)), np.zeros((2, 1))))
    assert codec.param_names(recipe, "W") == ["W1[0,0]", "W1[0,1]", "W2[0,0]", "W2[1,0]"]
    assert codec.param_names(codec.recipe_of(np.zeros(2))) == ["p[0]", "p[1]"]
    nested = {"b": [np.zeros(()), {"x": np.zeros(1)}], "a": None}
    assert codec.param_names(codec.recipe_of(nested)) == ["b1", "b2.x[0]"]


@pytest.mark.parametrize("name", ["linear", "reduced", "nonstrict", "dictionary"])
def test_the_root_says_where_a_result_comes_from(saved, name):
    study, path, _ = saved(name)
    with xr.open_datatree(path) as tree:
        attributes = dict(tree.attrs)
    provenance = study.provenance
    assert attributes["Conventions"] == "CF-1.11"
    assert attributes["gradflow_schema"] == store.SCHEMA
    assert attributes["creation_library_version"] == provenance["gradflow_version"]
    for fact in ("created_at", "git_commit", "git_dirty", "jax_version", "platform", "device", "precision", "x64"):
        assert attributes[fact] == str(provenance[fact])
    assert attributes["seed"] == str(study.settings.get("seed", "unknown"))
    assert codec.from_json(attributes["config"]) == study.settings
    assert codec.from_json(attributes["provenance"]) == provenance


def test_a_study_without_provenance_or_settings_says_unknown(tmp_path):
    bare = dataclasses.replace(
        example_studies.study("nonfinite"), settings={}, provenance={}, flow=None, data=problems.flow_dataset(None)
    )
    path = store.save(bare, tmp_path / "bare.nc")
    with xr.open_datatree(path) as tree:
        assert {tree.attrs[name] for name in ("git_commit", "seed", "device", "creation_library_version")} == {
            "unknown"
        }
    assert difference(bare, store.load(path)) is None


def test_two_certificates_of_one_name_keep_their_order(tmp_path):
    study = example_studies.study("nonfinite")
    twice = (*study.certificates, *study.certificates)
    twice = tuple(dataclasses.replace(one, note=f"number {index}") for index, one in enumerate(twice))
    doubled = dataclasses.replace(study, certificates=twice, flow=None, data=problems.flow_dataset(None))
    assert difference(doubled, store.load(store.save(doubled, tmp_path / "twice.nc"))) is None


# --- writing: whole or not at all -------------------------------------------------------------------------------------


def test_save_returns_the_path_and_leaves_nothing_else(small, tmp_path):
    path = store.save(small[0], str(tmp_path / "study.nc"))
    assert path == tmp_path / "study.nc"
    assert os.listdir(tmp_path) == ["study.nc"]


def test_an_existing_file_is_replaced_only_with_permission(small, tmp_path):
    study, path = small[0], tmp_path / "study.nc"
    path.write_bytes(b"precious")
    with pytest.raises(
        FileExistsError, match=r"`path` must not exist yet, but got .*study\.nc, which does\..*overwrite=True"
    ):
        store.save(study, path)
    assert path.read_bytes() == b"precious"
    store.save(study, path, overwrite=True)
    assert store.load(path).point.kind == study.point.kind
    assert leftovers(tmp_path) == []


def test_a_symbolic_link_is_followed_and_stays_one(small, tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "latest.nc"
    link.symlink_to(tmp_path / "real" / "study.nc")
    store.save(small[0], link)
    assert link.is_symlink() and (tmp_path / "real" / "study.nc").is_file()


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_found_full_when_flushing_leaves_the_old_file_as_it_was(small, tmp_path, monkeypatch):
    path = tmp_path / "study.nc"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", mock.Mock(side_effect=FULL))
    with pytest.raises(
        OSError, match=r"could not be written to .*study\.nc .*No space left.* before is unchanged"
    ) as info:
        store.save(small[0], path, overwrite=True)
    assert info.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("failure", [FULL, RuntimeError("HDF error")])
def test_a_failure_while_writing_leaves_the_old_file_as_it_was(tmp_path, failure):
    path = tmp_path / "study.nc"
    path.write_bytes(b"old")

    def fails(part):
        part.write_bytes(b"half")
        raise failure

    with pytest.raises(OSError, match="What was there before is unchanged"):
        paths.write_atomically(path, fails, overwrite=True)
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_a_file_that_may_not_grow_leaves_the_old_one_as_it_was(small, tmp_path):
    """The operating system itself refuses, as it does when a quota is used up."""
    path = tmp_path / "study.nc"
    path.write_bytes(b"old")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="What was there before is unchanged"):
            store.save(small[0], path, overwrite=True)
        gc.collect()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []
    store.save(small[0], path, overwrite=True)
    store.load(path)


def test_an_interruption_while_writing_leaves_the_old_file_as_it_was(tmp_path):
    path = tmp_path / "study.nc"
    path.write_bytes(b"old")

    def interrupted(part):
        part.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paths.write_atomically(path, interrupted, overwrite=True)
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


KILLED = """
import os, sys
from gradflow.store import paths
def killed(part):
    part.write_bytes(b"half")
    os.kill(os.getpid(), 9)
paths.write_atomically(sys.argv[1], killed, overwrite=True)
"""


def test_a_killed_process_leaves_the_old_file_as_it_was(tmp_path):
    path = tmp_path / "study.nc"
    path.write_bytes(b"old")
    answer = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert answer.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert all(name.endswith(".part") for name in leftovers(tmp_path))
    paths.write_atomically(path, lambda part: part.write_bytes(b"new"), overwrite=True)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_appeared_meanwhile_is_not_replaced(tmp_path, monkeypatch, has_links):
    path = tmp_path / "study.nc"
    if not has_links:
        monkeypatch.setattr(os, "link", _no_links)

    def slow(part):
        part.write_bytes(b"mine")
        path.write_bytes(b"theirs")

    with pytest.raises(FileExistsError, match="must not exist yet"):
        paths.write_atomically(path, slow)
    assert path.read_bytes() == b"theirs"
    assert leftovers(tmp_path) == []


def _no_links(*_):
    raise OSError(errno.EPERM, "Operation not permitted")


def test_file_systems_without_hard_links_will_do(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", _no_links)
    paths.write_atomically(tmp_path / "study.nc", lambda part: part.write_bytes(b"new"))
    assert os.listdir(tmp_path) == ["study.nc"]


def test_a_new_file_has_the_permissions_that_the_user_gives_to_files(small, tmp_path):
    (tmp_path / "other").touch()
    path = store.save(small[0], tmp_path / "study.nc")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


# --- paths that will not do -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "a\0b", 3, None, b"study.nc"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(checks.InputError, match="`path` must be a file name, but got"):
        store.check_writable(path)


def test_a_folder_is_no_place_for_a_file(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"`path` must be a file, but got the folder .* Add a file name"):
        store.check_writable(tmp_path)


def test_a_missing_folder_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must lie in a folder that exists.* mkdir -p '.*/a b'"):
        store.check_writable(tmp_path / "a b" / "study.nc")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"and .*/file is a file"):
        store.check_writable(tmp_path / "file" / "study.nc")


def test_a_device_is_not_replaced():
    with pytest.raises(FileExistsError, match="a device, pipe or socket"):
        store.check_writable(os.devnull, overwrite=True)


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_computed(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refused)  # whoever runs the tests may be allowed everything
    with pytest.raises(PermissionError, match=r"folder that can be written, but got .* \(Permission denied\)\. Choose"):
        store.check_writable(tmp_path / "study.nc")


def test_a_name_that_is_too_long_is_found_before_anything_is_computed(tmp_path):
    with pytest.raises(OSError, match=r"File name too long.*a shorter name"):
        store.check_writable(tmp_path / f"{'x' * 240}.nc")


def test_checking_a_path_leaves_nothing_behind(tmp_path):
    assert store.check_writable(tmp_path / "study.nc") == tmp_path / "study.nc"
    assert os.listdir(tmp_path) == []


def test_only_a_study_is_saved(tmp_path):
    with pytest.raises(checks.InputError, match="`study` must be a Study, but got dict"):
        store.save({}, tmp_path / "study.nc")


LIGHT = """
import sys
from gradflow import store
store.check_writable(sys.argv[1])
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"jax", "xarray", "h5py", "pandas", "scipy", "rich"}))
"""


def test_checking_a_path_imports_nothing_heavy(tmp_path):
    command = [sys.executable, "-c", LIGHT, tmp_path / "study.nc"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == ""


# --- files that will not do -------------------------------------------------------------------------------------------


def test_a_missing_file_a_folder_and_what_cannot_be_read_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must be a results file, but there is no file .*none\.nc"):
        store.load(tmp_path / "none.nc")
    with pytest.raises(IsADirectoryError, match="must be a results file, but got the folder"):
        store.load(tmp_path)
    with pytest.raises(OSError, match="must be a file that can be read"):
        store.load("a\0b")
    with pytest.raises(checks.InputError, match="`path` must be a file name, but got 3"):
        store.load(3)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(OSError, match=r"must be a file that can be read, but got .*Permission denied"):
        store.load(tmp_path / "study.nc")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty\. Whatever should have written it did not finish: run it again\."),
        (files.SIGNATURE[:4], r"cut off after a few bytes"),
        (b"not a results file", r"no results file of gradflow \(it is not NetCDF-4\).*gradflow\.store\.save"),
        (b"CDF\x01\x00\x00\x00\x00", r"no results file of gradflow"),
        (files.SIGNATURE + b"\0" * 100, r"is cut off or damaged: it cannot be read"),
    ],
)
def test_what_is_no_results_file_is_named(tmp_path, content, message):
    path = tmp_path / "study.nc"
    path.write_bytes(content)
    with pytest.raises(checks.ResultsFileError, match=message):
        store.load(path)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_file_that_was_cut_off_is_found(small, tmp_path, share):
    data = small[1].read_bytes()
    path = tmp_path / "study.nc"
    path.write_bytes(data[: max(9, int(share * len(data)))])
    with pytest.raises(checks.ResultsFileError, match=r"study\.nc is cut off or damaged: .* Restore it from a copy"):
        store.load(path)
    gc.collect()  # whatever the libraries left half open must go quietly


def _places(path):
    """Offsets in the file: in compressed and in plain numbers, in a text, in an attribute, in the file's own tables."""
    data = path.read_bytes()
    with h5py.File(path) as stored:
        theta, norm = stored["trajectory/theta"], stored["sample_stats/largest_norm"]
        return {
            "compressed array": theta.id.get_chunk_info(0).byte_offset,
            "single number": norm.id.get_offset() + 6,
            "text": data.index(b"undetermined"),
            "attribute": data.index(stored.attrs["created_at"].encode()),
            "root table": data.index(b"sample_stats"),
            "superblock": 9,
            "digest": data.index(stored.attrs[files.DIGEST].encode()) + 10,
        }


@pytest.mark.parametrize(
    "place", ["compressed array", "single number", "text", "attribute", "root table", "superblock", "digest"]
)
def test_a_single_flipped_bit_is_found(small, tmp_path, place):
    data = bytearray(small[1].read_bytes())
    data[_places(small[1])[place]] ^= 1
    path = tmp_path / "study.nc"
    path.write_bytes(data)
    with pytest.raises(checks.ResultsFileError, match=r"study\.nc is cut off or damaged"):
        store.load(path)
    gc.collect()


def test_somebody_elses_netcdf_file_is_named(tmp_path):
    path = tmp_path / "weather.nc"
    xr.Dataset({"temperature": ("day", [1.0, 2.0])}).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(checks.ResultsFileError, match=r"is no results file of gradflow .*no attribute gradflow_schema"):
        store.load(path)


def _write(tree, path):
    """A file with the right digest, whatever is in the tree."""
    tree.attrs[files.DIGEST] = files.digest(tree)
    tree.to_netcdf(path, engine="h5netcdf")


@pytest.fixture
def tree(small):
    return store.to_datatree(small[0])


def test_a_newer_layout_is_refused_with_the_version_that_reads_it(tree, tmp_path):
    tree.attrs |= {"gradflow_schema": store.SCHEMA + 1, "creation_library_version": "9.0"}
    _write(tree, tmp_path / "new.nc")
    with pytest.raises(checks.ResultsFileError, match=r"gradflow 9\.0 in schema 2; .*Update gradflow to 9\.0 or later"):
        store.load(tmp_path / "new.nc")


def test_an_older_layout_is_refused_with_the_version_that_reads_it(tree, tmp_path, monkeypatch):
    tree.attrs |= {"gradflow_schema": 0, "creation_library_version": "0.0.1"}
    _write(tree, tmp_path / "old.nc")
    with pytest.raises(
        checks.ResultsFileError, match=r"in schema 0; .*Read it with gradflow 0\.0\.1, or run the study"
    ):
        store.load(tmp_path / "old.nc")
    monkeypatch.setitem(files.READS_OLDER, 0, "0.0.7")
    with pytest.raises(checks.ResultsFileError, match=r"Read it with gradflow 0\.0\.7"):
        store.load(tmp_path / "old.nc")


def test_a_whole_file_that_is_not_understood_is_not_called_damaged(tree, tmp_path):
    tree.attrs["creation_library_version"] = "0.9"
    _write(xr.DataTree.from_dict({node.path: node.to_dataset() for node in tree.subtree if node.name != "rate"}),
           tmp_path / "odd.nc")  # fmt: skip
    with pytest.raises(
        checks.ResultsFileError, match=r"is whole, but .* does not understand it \('rate'\).*gradflow 0\.9"
    ):
        store.load(tmp_path / "odd.nc")


def test_a_file_written_by_the_first_release_is_still_read(tmp_path):
    study = store.load(Path(__file__).parent / "data" / "study_schema_1.nc")
    assert (study.point.kind, study.trajectory.status, study.passed) == ("global_minimum", gf.Status.STATIONARY, True)
    assert study.settings == {"seed": 0}
    first, second = study.trajectory.start
    assert (first.item(), second.item()) == (0.5, 0.7)
    again = gf.study(study.flow, study.trajectory.start, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(again.point.params, study.point.params, rtol=1e-9)


def test_what_a_file_says_of_a_flow_it_cannot_rebuild_survives_saving_it_again(tmp_path):
    problem = gf.Regression(
        gf.networks.Linear((1, 1)), np.ones((1, 2)), 2 * np.ones((1, 2)), loss=lambda o, t: ((o - t) ** 4).sum()
    )
    store.save(gf.study(gf.GradientFlow(problem), (np.zeros((1, 1)),), t1=1.0), tmp_path / "first.nc")
    loaded = store.load(tmp_path / "first.nc")
    assert loaded.flow is None
    store.save(loaded, tmp_path / "second.nc")
    np.testing.assert_array_equal(store.load(tmp_path / "second.nc").data["Y"], problem.Y)


def test_a_schema_that_is_no_number_is_damage(tree, tmp_path):
    tree.attrs["gradflow_schema"] = "one"
    _write(tree, tmp_path / "odd.nc")
    with pytest.raises(checks.ResultsFileError, match="cut off or damaged"):
        store.load(tmp_path / "odd.nc")


# --- the codec, on anything -------------------------------------------------------------------------------------------

FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=64)
ATOMS = st.none() | st.booleans() | st.integers() | FLOATS | st.text()
ARRAYS = hnp.arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_]), hnp.array_shapes(min_dims=0, min_side=0)
)
KEYS = st.text() | st.integers() | st.tuples(st.integers(), st.text())
VALUES = st.recursive(
    ATOMS | ARRAYS,
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(KEYS, inner,
                                                                                                        max_size=4),
    max_leaves=12,
)  # fmt: skip


def _without_payload(value):
    """Text cannot hold the sign and payload of a NaN."""
    if isinstance(value, float) and math.isnan(value):
        return math.nan
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return np.where(np.isnan(value), value.dtype.type(math.nan), value)
    if isinstance(value, dict):
        return {key: _without_payload(entry) for key, entry in value.items()}
    return type(value)(map(_without_payload, value)) if isinstance(value, list | tuple) else value


@hypothesis.settings(max_examples=60)
@given(VALUES)
def test_json_gives_every_value_back(value):
    text = codec.to_json(value)
    assert text.isascii()
    assert difference(_without_payload(value), codec.from_json(text)) is None


LEAVES = hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=3, max_side=3), elements=FLOATS)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner | st.none(), min_size=1, max_size=3)
        | st.lists(inner, min_size=1, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=3)
    ),
    max_leaves=6,
).filter(lambda tree: len(jax.tree.leaves(tree)) > 0)


@given(TREES)
def test_flat_rows_give_every_tree_of_parameters_back(params):
    recipe = codec.from_json(codec.to_json(codec.recipe_of(params)))
    flat = codec.ravel(params)
    assert flat.shape == (len(codec.param_names(recipe)),)
    assert difference(params, codec.unravel(flat, recipe)) is None
    rows = jax.tree.map(lambda leaf: np.stack([leaf, -leaf]), params)
    assert difference(rows, codec.unravel(codec.ravel(rows, 1), recipe)) is None


Pair = namedtuple("Pair", ["first", "second"])


@pytest.mark.parametrize("params", [Pair(np.ones(2), np.zeros(1)), OrderedDict(first=np.ones(2), second=np.zeros(1))])
def test_trees_of_other_kinds_come_back_as_tuples_of_their_arrays(params):
    recipe = codec.recipe_of(params)
    assert recipe["was"] == type(params).__name__
    assert difference((np.ones(2), np.zeros(1)), codec.unravel(codec.ravel(params), recipe)) is None


@given(st.dictionaries(st.text(min_size=1), ATOMS | st.tuples(st.integers(), FLOATS), max_size=4))
def test_scalar_variables_give_every_value_back(values):
    small = {name: value for name, value in values.items() if not isinstance(value, int) or abs(value) < 2**63}
    written = xr.Dataset(codec.scalars(small, {}, {}))
    assert difference(_without_payload(small), _without_payload(codec.scalar_values(written))) is None
