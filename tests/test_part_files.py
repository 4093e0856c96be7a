"""Part files and run folders: what was written comes back bit for bit, and every kind of damage or mix-up is found."""

import contextlib
import dataclasses
import enum
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradflow import checks
from gradflow.engines import fingerprints, folders, locks, parts
from gradflow.engines.errors import CorruptPart, FolderInUse, OutOfSpace
from gradflow.engines.folders import open_run, read_run

RUN = fingerprints.digest_of({"seed": 1})
SETTINGS = {"seed": 1, "solver": {"rtol": 1e-6, "t1": float("inf")}, "gradflow_version": "1.0"}


def arrays_of(index):
    return {
        "label": np.array([index % 100, -1, 7], np.int16),
        "end": np.random.default_rng(index).normal(size=(4, 2)),
        "time": np.array([0.0, -0.0, np.inf, np.nan, 5e-324]),
        "name": np.array(["saddle", "minimum"]),
        "done": np.array(True),
        "none": np.zeros((0, 3)),
    }


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


# --- one part ---------------------------------------------------------------------------------------------------------


def test_a_part_comes_back_bit_for_bit():
    assert_same(parts.decode(parts.encode(3, arrays_of(3), RUN), 3, RUN), arrays_of(3))


def test_the_same_arrays_give_the_same_bytes():
    assert parts.encode(3, arrays_of(3), RUN) == parts.encode(3, arrays_of(3), RUN)


def test_numpy_alone_opens_a_part(tmp_path):
    (tmp_path / "part.npz").write_bytes(parts.encode(3, arrays_of(3), RUN))
    with np.load(tmp_path / "part.npz", allow_pickle=False) as archive:
        assert_same({name: archive[name] for name in archive.files}, arrays_of(3))


def test_a_part_without_arrays_is_a_part():
    assert parts.decode(parts.encode(0, {}, RUN), 0, RUN) == {}


def test_python_objects_are_not_pickled():
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        parts.encode(0, {"x": np.array([None])}, RUN)


def test_every_flipped_bit_is_found():
    data = parts.encode(3, {"x": np.arange(3.0)}, RUN)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(CorruptPart):
            parts.decode(bytes(damaged), 3, RUN)


def test_every_truncation_is_found():
    data = parts.encode(3, {"x": np.arange(3.0)}, RUN)
    for length in range(len(data)):
        with pytest.raises(CorruptPart):
            parts.decode(data[:length], 3, RUN)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"\0" * 1000, "does not end as a part does"),
        (parts.encode(3, arrays_of(3), RUN) + b"\0", "does not end as a part does"),
        (parts.encode(4, arrays_of(4), RUN), "holds chunk 4 and lies under the name of chunk 3"),
        (parts.encode(3, arrays_of(3), fingerprints.digest_of({"seed": 2})), "a run with other settings"),
    ],
    ids=["zero bytes", "zeros", "appended", "another chunk", "another run"],
)
def test_what_is_not_this_part_is_refused_with_the_reason(data, reason):
    with pytest.raises(CorruptPart, match=reason):
        parts.decode(data, 3, RUN)


def test_a_part_of_a_newer_format_is_not_read(monkeypatch):
    monkeypatch.setattr(parts, "FORMAT", 2)
    data = parts.encode(3, arrays_of(3), RUN)
    monkeypatch.undo()
    with pytest.raises(CorruptPart, match="format 2, and this gradflow reads format 1"):
        parts.decode(data, 3, RUN)


# --- settings ---------------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Box:
    low: float
    sizes: tuple[int, ...]


def test_settings_are_written_exactly():
    settings = {
        "box": Box(-0.0, (1, 2)),
        "colour": Colour.RED,
        "t1": np.float64("inf"),
        "path": Path("a/b"),
        "n": np.int64(3),
    }
    expected = '{"box":{"low":-0.0,"sizes":[1,2]},"colour":"red","n":3,"path":"a/b","t1":{"float":"inf"}}'
    assert fingerprints.canonical(fingerprints.plain(settings)) == expected


def test_an_array_in_the_settings_counts_to_its_last_bit():
    start = np.array([1.0, 2.0])
    moved = np.nextafter(start, 3.0)
    digests = {fingerprints.digest_of(fingerprints.plain({"start": array})) for array in (start, moved, start[None])}
    assert len(digests) == 3


def test_settings_without_exact_text_are_refused_by_name():
    with pytest.raises(checks.InputError, match=r"`settings\.sampler\.function` must be a value that text can hold"):
        fingerprints.plain({"sampler": {"function": print}})


@pytest.mark.parametrize(
    ("stored", "asked", "expected"),
    [
        ({"a": 1, "b": {"c": 2}}, {"b": {"c": 2}, "a": 1.0}, []),
        ({"a": 1}, {"a": True}, [("a", "1", "true")]),
        ({"b": {"c": 1e-6, "d": 0}}, {"b": {"c": 1e-8, "d": 0}}, [("b.c", "1e-06", "1e-08")]),
        ({"a": 1}, {"b": 1}, [("a", "1", "absent"), ("b", "absent", "1")]),
        ({"w": [1, 2]}, {"w": [1, 3]}, [("w", "[1, 2]", "[1, 3]")]),
        ({"t": {"float": "inf"}}, {"t": 5.0}, [("t", "inf", "5.0")]),
        ({"x": None}, {}, [("x", "null", "absent")]),
        ({"x": "e" * 64}, {"x": "1" * 64}, [("x", "a digest", "a digest")]),
        ({"x": "y" * 70}, {}, [("x", '"' + "y" * 55 + '..."', "absent")]),
    ],
)  # fmt: skip
def test_differences_name_the_field_and_both_values(stored, asked, expected):
    assert fingerprints.differences(stored, asked) == expected


# --- the folder -------------------------------------------------------------------------------------------------------


def test_a_written_part_is_found_again(tmp_path):
    with open_run(tmp_path / "run", SETTINGS) as folder:
        for index in (12, 3, 1_000_000):
            folder.write(index, arrays_of(index))
    reader = read_run(tmp_path / "run")
    assert reader.indices() == [3, 12, 1_000_000]
    assert [index for index, _ in reader.stream()] == [3, 12, 1_000_000]
    assert_same(reader.read(12), arrays_of(12))
    assert reader.settings["solver"] == {"rtol": 1e-6, "t1": {"float": "inf"}}


def test_files_that_are_no_parts_are_not_taken_for_some(tmp_path):
    with open_run(tmp_path / "run", SETTINGS) as folder:
        folder.write(3, arrays_of(3))
        for name in ("part-3.npz", "part-0000004.npz", "part-000005.npz.corrupt", "notes.txt", "part-000006.nc"):
            (folder.path / "parts" / name).touch()
        assert folder.reader.indices() == [3]


def test_what_a_killed_writer_left_half_written_is_swept_away(tmp_path):
    with open_run(tmp_path / "run", SETTINGS):
        pass
    leftover = tmp_path / "run" / "parts" / "part-000007.npz.tmp"
    leftover.write_bytes(b"half")
    with open_run(tmp_path / "run", SETTINGS) as folder:
        assert not leftover.exists() and folder.reader.indices() == []
        assert sorted(path.name for path in folder.path.rglob("*")) == ["lock", "parts", "settings.json"]


@pytest.mark.parametrize("leftover", ["lock", "settings.json.tmp", "parts"])
def test_a_writer_killed_while_the_folder_was_made_leaves_a_usable_one(tmp_path, leftover):
    run = tmp_path / "run"
    run.mkdir()
    (run / leftover).mkdir() if leftover == "parts" else (run / leftover).write_text("{")
    with open_run(run, SETTINGS) as folder:
        folder.write(0, arrays_of(0))
    assert read_run(run).indices() == [0]


def test_a_damaged_part_is_set_aside_under_another_name(tmp_path):
    with open_run(tmp_path / "run", SETTINGS) as folder:
        path = folder.write(3, arrays_of(3))
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(CorruptPart, match=r"part-000003\.npz: the file does not end as a part does"):
            folder.reader.read(3)
        assert folder.set_aside(3).name == "part-000003.npz.corrupt"
        assert folder.reader.indices() == []


def test_a_folder_under_the_name_of_a_part_is_damage(tmp_path):
    with open_run(tmp_path / "run", SETTINGS) as folder:
        folder.reader.part_path(3).mkdir()
        with pytest.raises(CorruptPart, match="cannot be read"):
            folder.reader.read(3)
        folder.set_aside(3)
        folder.write(3, arrays_of(3))


def test_other_settings_are_refused_with_the_fields_and_both_values(tmp_path):
    with open_run(tmp_path / "run", SETTINGS):
        pass
    other = {"seed": 2, "solver": {"rtol": 1e-8, "t1": float("inf")}, "gradflow_version": "1.1"}
    message = (
        "`settings` must be those of the run in .*, but got other ones "
        r'\(gradflow_version: "1.0" there, "1.1" now; seed: 1 there, 2 now; solver.rtol: 1e-06 there, 1e-08 now\)'
    )
    with pytest.raises(checks.InputError, match=message), open_run(tmp_path / "run", other):
        pass


def test_a_digest_is_not_shown_and_not_named_beside_what_it_follows_from(tmp_path):
    first = {"key": [0, 1], "starts": "a" * 64, "field": "b" * 64, "sampler": {"low": 0}}
    follows = {"starts": ("key", "sampler")}
    with open_run(tmp_path / "run", first, follows):
        pass
    for change in ({"key": [0, 2]}, {"sampler": {"low": 1}}, {}):
        other = first | {"starts": "c" * 64, "field": "d" * 64} | change
        with pytest.raises(checks.InputError) as refused, open_run(tmp_path / "run", other, follows):
            pass
        assert ("starts: other ones" in str(refused.value)) is (change == {})
        assert "field: other ones" in str(refused.value)
        assert "a digest" not in str(refused.value)


def test_the_same_settings_in_another_order_and_with_whole_floats_resume(tmp_path):
    with open_run(tmp_path / "run", SETTINGS) as folder:
        folder.write(0, arrays_of(0))
    same = {key: SETTINGS[key] for key in reversed(SETTINGS)} | {"seed": 1.0}
    with open_run(tmp_path / "run", same) as folder:
        assert_same(folder.reader.read(0), arrays_of(0))


def test_a_second_writer_is_refused_with_the_name_of_the_first(tmp_path):
    code = (
        "import sys\nfrom gradflow.engines import open_run\n"
        "with open_run(sys.argv[1], {'seed': 1}):\n print('held', flush=True)\n input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(FolderInUse, match=rf"in use by process {first.pid} on {os.uname().nodename} since"):
            open_run(tmp_path / "run", {"seed": 1}).__enter__()
        first.kill()
    with open_run(tmp_path / "run", {"seed": 1}) as folder:
        assert folder.reader.indices() == []
        with pytest.raises(FolderInUse, match=f"process {os.getpid()} on"):
            open_run(tmp_path / "run", {"seed": 1}).__enter__()


def test_a_file_system_without_locks_is_said_to_have_none(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with pytest.warns(checks.DataWarning, match="has no locks"), open_run(tmp_path / "run", SETTINGS) as folder:
        folder.write(0, arrays_of(0))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no JSON"),
        ('{"theme": "dark"}', "not the settings of a run of gradflow"),
        ("[1]", "not the settings of a run of gradflow"),
        ('{"gradflow_run": 2, "shape": "unheard of"}', r"newer gradflow \(format 2; this one reads up to 1\)"),
        ('{"gradflow_run": 1, "settings": {"seed": 1}, "sha256": "0"}', "checksum does not match"),
    ],
)
def test_settings_that_are_damaged_newer_or_not_ours_are_refused(tmp_path, text, reason):
    (tmp_path / "settings.json").write_text(text)
    for attempt in (lambda: open_run(tmp_path, SETTINGS).__enter__(), lambda: read_run(tmp_path)):
        with pytest.raises(checks.ResultsFileError, match=reason):
            attempt()
    assert (tmp_path / "settings.json").read_text() == text


def test_one_changed_character_in_the_settings_is_found(tmp_path):
    with open_run(tmp_path / "run", SETTINGS):
        pass
    file = tmp_path / "run" / "settings.json"
    file.write_text(file.read_text().replace('"seed": 1', '"seed": 3'))
    assert json.loads(file.read_text())["settings"]["seed"] == 3
    with pytest.raises(checks.ResultsFileError, match="checksum does not match"):
        read_run(tmp_path / "run")


# --- places that cannot be a run folder -------------------------------------------------------------------------------


def refusal(path, kind):
    with pytest.raises(kind) as caught, open_run(path, SETTINGS):
        pass
    return str(caught.value)


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    assert "holds thesis.tex and no settings.json" in refusal(tmp_path, FileExistsError)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_parts_without_settings_are_not_adopted(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "part-000000.npz").touch()
    assert "holds parts/part-000000.npz" in refusal(tmp_path, FileExistsError)


def test_a_missing_folder_around_it_is_named_with_the_remedy(tmp_path):
    assert f"mkdir -p {tmp_path}/a/b" in refusal(tmp_path / "a" / "b" / "run", FileNotFoundError)
    with pytest.raises(FileNotFoundError, match="must be that of a run"):
        read_run(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    assert "there is a file of that name" in refusal(tmp_path / "file", NotADirectoryError)
    assert "there is a file of that name" in refusal(tmp_path / "file" / "run", NotADirectoryError)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "parts").touch()
    assert "must be a place that can be written" in refusal(tmp_path / "run", FileExistsError)


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_is_no_path_is_refused(path):
    assert "`folder` must be the name of a folder" in refusal(path, checks.InputError)


@pytest.fixture
def mounted(tmp_path):
    """A file system of one's own, made with the given options; where that is not allowed the test is left out."""
    place = tmp_path / "mount"
    place.mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount a file system")
        return place

    yield mount
    subprocess.run(["umount", str(place)], capture_output=True, check=False)


def test_a_read_only_place_is_refused_before_anything_is_computed(mounted):
    message = refusal(mounted("ro") / "run", OSError)
    assert "must be a place that can be written" in message and "Read-only file system" in message


def test_a_full_disk_is_named_and_leaves_whole_parts_only(mounted):
    place = mounted("size=200k")
    with open_run(place / "run", SETTINGS) as folder:
        with pytest.raises(OutOfSpace, match=r"the disk is full: it needs [\d,]+ bytes, and [\d,]+ are free") as caught:
            [folder.write(index, {"x": np.full(4000, index)}) for index in range(100)]
        assert caught.value.errno == errno.ENOSPC and "goes on from there" in str(caught.value)
        assert list((folder.path / "parts").glob("*.tmp")) == []
        found = [int(arrays["x"][0]) for _, arrays in folder.reader.stream()]
        assert len(found) >= 3 and found == list(range(len(found)))
        folder.reader.part_path(0).unlink()
        folder.write(len(found), {"x": np.full(4000, 0)})


def test_a_disk_that_is_full_from_the_start_is_found_before_anything_is_computed(mounted):
    place = mounted("size=100k")
    with open_run(place / "run", SETTINGS):
        pass
    with open(place / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(1024))
    assert "probe could not be written because the disk is full" in refusal(place / "run", OutOfSpace)


def test_a_limit_on_the_size_of_files_is_named_too(tmp_path):
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_run(tmp_path / "run", SETTINGS) as folder:
        folder.write(0, {"x": np.zeros(10)})
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, usual[1]))
        try:
            with pytest.raises(OutOfSpace, match="limit on the size of a file") as caught:
                folder.write(1, {"x": np.zeros(1000)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        assert caught.value.errno == errno.EFBIG
        assert [path.name for path in (folder.path / "parts").iterdir()] == ["part-000000.npz"]
        folder.write(1, {"x": np.zeros(1000)})


def test_a_part_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """The order that makes a part whole after a power cut: data, name, folder."""
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(folders.os, name, lambda *args, name=name, real=real: (calls.append(name), real(*args))[1])
    with open_run(tmp_path / "run", SETTINGS) as folder:
        calls.clear()
        folder.write(0, arrays_of(0))
    assert calls == ["fsync", "replace", "fsync"]
