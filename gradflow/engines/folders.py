"""The run folder: settings, a lock, and one immutable file per finished chunk.

``settings.json`` says which numbers the folder may hold; ``lock`` lets one writer in; ``parts/part-000123.npz`` is
chunk 123. A part is written aside, flushed, renamed and the folder flushed, so under its final name it is whole; to
resume is to list the parts and compute those that are missing. Nothing else is state. Knows no engine.
"""

import contextlib
import dataclasses
import errno
import json
import os
import re
import shlex
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradflow import checks
from gradflow.engines import fingerprints, parts
from gradflow.engines.errors import CorruptPart, OutOfSpace
from gradflow.engines.locks import locked

SETTINGS, LOCK, PARTS = "settings.json", "lock", "parts"
KIND = "gradflow_run"
"""Key of ``settings.json`` that holds the format; what lacks it is no run folder."""

ASIDE, SET_ASIDE = ".tmp", ".corrupt"
PROBE = 4096
"""Bytes that must find room before anything is computed."""

MOST_SHOWN = 8
"""Differing fields in a message."""

_NAME = re.compile(r"part-(\d{6,})\.npz")
_NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the limit on the size of a file (`ulimit -f`) is reached",
}


@dataclasses.dataclass(frozen=True)
class PartReader:
    """The parts of a run folder, to be read while it is written or afterwards; see :func:`read_run`."""

    path: Path
    settings: Mapping[str, Any]
    digest: str

    def part_path(self, index: int) -> Path:
        """Where chunk `index` lies once it is finished."""
        return self.path / PARTS / f"part-{index:06d}.npz"

    def indices(self) -> list[int]:
        """The chunks that are there, in ascending order, from one listing; nothing is opened."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.path / PARTS):
                match = _NAME.fullmatch(name)
                if match and name == self.part_path(int(match[1])).name:
                    found.append(int(match[1]))
        return sorted(found)

    def read(self, index: int) -> dict[str, np.ndarray]:
        """The arrays of chunk `index`, bit for bit those that were computed.

        Raises:
            CorruptPart: the file is not what was written.
            FileNotFoundError: there is no such part.
        """
        path = self.part_path(index)
        try:
            return parts.decode(path.read_bytes(), index, self.digest)
        except CorruptPart as error:
            raise CorruptPart(f"{path}: {error}.") from None
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EISDIR):
                raise
            raise CorruptPart(f"{path}: it cannot be read ({error.strerror}).") from error

    def stream(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Chunk after chunk in ascending order, one in memory at a time."""
        for index in self.indices():
            yield index, self.read(index)


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A run folder that this process alone may write; made by :func:`open_run`."""

    reader: PartReader

    @property
    def path(self) -> Path:
        """The folder."""
        return self.reader.path

    def write(self, index: int, arrays: Mapping[str, np.ndarray]) -> Path:
        """The file of chunk `index`, whole and on the disk when this returns.

        Raises:
            OutOfSpace: there is no room for it. Nothing half is left, and the parts before are whole.
            OSError: it could not be written for another reason.
        """
        data = parts.encode(index, arrays, self.reader.digest)
        target = self.reader.part_path(index)
        _write_whole(target, data)
        return target

    def set_aside(self, index: int) -> Path:
        """The new name, ending in ``.corrupt``, of a part that is not whole; it will be computed again."""
        damaged = self.reader.part_path(index)
        return damaged.replace(damaged.with_name(damaged.name + SET_ASIDE))


@contextlib.contextmanager
def open_run(
    path: str | os.PathLike[str], settings: Mapping[str, Any], follows: Mapping[str, Collection[str]] | None = None
) -> Iterator[RunFolder]:
    """The run folder at `path`, made if missing and held until the end of the block; to be called before computing.

    A folder of the same settings is resumed. Whatever a killed writer left half written is removed.

    Args:
        path: an empty or missing folder, or one of an earlier run with these settings; the folder around it exists.
        settings: everything that decides the numbers (configuration, seed, versions, precision), as nested
            dictionaries; arrays count by their digest.
        follows: names of settings (digests) with those they follow from; where one of these differs too, a difference
            of the former is no news and is not named.

    Raises:
        InputError: the settings cannot be written down, or the folder's differ; the message names the fields.
        FolderInUse: another process writes to it.
        ResultsFileError: its ``settings.json`` is damaged, or of a newer gradflow.
        OSError: the path is no folder (NotADirectoryError), the folder around it is missing (FileNotFoundError), it
            holds other files (FileExistsError), or it cannot be written (PermissionError and the like).
    """
    asked = fingerprints.plain(settings)
    place = _place(path)
    with contextlib.ExitStack() as stack:
        try:
            place.mkdir(exist_ok=True)
            _flush_folder(place.parent)
            stack.enter_context(locked(place / LOCK))
            reader = _reader(place, asked, follows or {})
            _sweep(place / PARTS)
            _write_whole(place / PARTS / "probe", bytes(PROBE), keep=False)
        except OSError as error:
            if error.errno is None or isinstance(error, OutOfSpace):  # these say already what is wrong
                raise
            reason = f"`folder` must be a place that can be written, but got {place} ({error.strerror})."
            raise type(error)(f"{reason} Choose another one.") from error
        yield RunFolder(reader)


def read_run(path: str | os.PathLike[str]) -> PartReader:
    """The parts and settings of the run folder at `path`, for looking on; it may be written meanwhile.

    Raises:
        FileNotFoundError: there is no run folder.
        ResultsFileError: its ``settings.json`` is damaged, or of a newer gradflow.
    """
    place = Path(path)
    stored = _stored(place / SETTINGS)
    return PartReader(place, stored, fingerprints.digest_of(stored))


def _place(path: str | os.PathLike[str]) -> Path:
    checks.require(isinstance(path, str | os.PathLike), "folder", "be the name of a folder", repr(path))
    text = os.fspath(path)
    checks.require(text != "" and "\0" not in text, "folder", "be the name of a folder", repr(text))
    place = Path(os.path.realpath(text))
    if not place.parent.exists():
        command = f"mkdir -p {shlex.quote(str(place.parent))}"
        raise FileNotFoundError(
            f"`folder` must lie in a folder that exists, but got {text}. Create it first: {command}"
        )
    if not place.parent.is_dir() or (place.exists() and not place.is_dir()):
        raise NotADirectoryError(f"`folder` must be a folder, but got {text}, and there is a file of that name.")
    if place.is_dir() and not (place / SETTINGS).exists():
        strangers = sorted({entry.name for entry in place.iterdir()} - {LOCK, PARTS, SETTINGS + ASIDE})
        strangers += [f"{PARTS}/{name}" for name in _listing(place / PARTS)]
        if strangers:
            shown = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")
            raise FileExistsError(
                f"`folder` must be empty or the folder of an earlier run, but got {text}, which holds {shown} and no "
                f"{SETTINGS}. Choose another one."
            )
    return place


def _listing(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def _reader(place: Path, asked: dict[str, Any], follows: Mapping[str, Collection[str]]) -> PartReader:
    """The folder's settings, written if there are none yet and compared with those asked for otherwise."""
    file = place / SETTINGS
    (place / PARTS).mkdir(exist_ok=True)
    if file.exists():
        stored = _stored(file)
        _require_same(place, stored, asked, follows)
    else:
        stored = asked
        document = {KIND: parts.FORMAT, "sha256": fingerprints.digest_of(asked), "settings": asked}
        _write_whole(file, (json.dumps(document, indent=1, sort_keys=True) + "\n").encode())
    return PartReader(place, stored, fingerprints.digest_of(stored))


def _stored(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"`folder` must be that of a run, but got {file.parent}, without {file.name}."
        ) from None
    except (ValueError, UnicodeDecodeError) as error:
        raise checks.ResultsFileError(f"{file} is damaged or not gradflow's: it is no JSON ({error}).") from None
    written = document.get(KIND) if isinstance(document, dict) else None
    if not isinstance(written, int):
        raise checks.ResultsFileError(f"{file} is not the settings of a run of gradflow. Choose another folder.")
    if written > parts.FORMAT:
        raise checks.ResultsFileError(
            f"{file.parent} was written by a newer gradflow (format {written}; this one reads up to {parts.FORMAT}). "
            "Use that version, or choose another folder."
        )
    settings = document.get("settings")
    if not isinstance(settings, dict) or document.get("sha256") != fingerprints.digest_of(settings):
        raise checks.ResultsFileError(f"{file} is damaged: its checksum does not match. Choose another folder.")
    return settings


def _require_same(
    place: Path, stored: dict[str, Any], asked: dict[str, Any], follows: Mapping[str, Collection[str]]
) -> None:
    """Digests and texts too long to be shown may look alike; they are said to be other ones."""
    differing = fingerprints.differences(stored, asked)
    changed = {name.partition(".")[0] for name, _, _ in differing}
    fields = [field for field in differing if not changed.intersection(follows.get(field[0], ()))]
    values = ["other ones" if there == here else f"{there} there, {here} now" for _, there, here in fields]
    shown = "; ".join(f"{field[0]}: {text}" for field, text in zip(fields[:MOST_SHOWN], values, strict=False))
    more = f"; and {len(fields) - MOST_SHOWN} more" if len(fields) > MOST_SHOWN else ""
    remedy = "Go on with the settings it was begun with, or choose another folder."
    checks.require(not differing, "settings", f"be those of the run in {place}", f"other ones ({shown}{more})", remedy)


def _sweep(folder: Path) -> None:
    """Removes what a killed writer left half written; the lock is held, so nobody is writing it now."""
    for name in os.listdir(folder):
        if name.endswith(ASIDE):
            (folder / name).unlink()


def _write_whole(target: Path, data: bytes, keep: bool = True) -> None:
    """Puts `data` at `target` in one step after they have reached the disk; tries that out if not `keep`."""
    aside = target.with_name(target.name + ASIDE)
    try:
        descriptor = os.open(aside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o666)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if keep:
            os.replace(aside, target)
            _flush_folder(target.parent)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        free = shutil.disk_usage(target.parent).free
        raise OutOfSpace(
            error.errno,
            f"{target.name} could not be written because {_NO_ROOM[error.errno]}: it needs {len(data):,} bytes, and "
            f"{free:,} are free in {target.parent}. What was written before is whole; make room and start the same run "
            "again, and it goes on from there",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot flush a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
