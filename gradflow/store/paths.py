"""Where a results file may go, and how it gets there: whole or not at all.

A file is written beside its final name, flushed to the disk and then renamed, so whoever looks sees the old file or
the new one, never a half. Knows paths and nothing of what is written; imports nothing heavy, so that a path can be
checked before anything is computed.
"""

import contextlib
import os
import secrets
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradflow import checks

ESTIMATE = "estimate.nc"
"""The results file in the folder of ``gradflow basins --folder``."""


def check_writable(path: str | os.PathLike[str], overwrite: bool = False, name: str = "path") -> Path:
    """`path`, checked to be a place where a results file can be written; to be called before anything is computed.

    The folder is tried out by creating and removing an empty file in it. Symbolic links are followed.

    Args:
        path: where the file is to be.
        overwrite: False refuses a file that is there.
        name: of the argument or setting that the path was given as, for the messages.

    Raises:
        InputError: not a path.
        OSError: the folder is missing (FileNotFoundError) or not one, the path is a folder (IsADirectoryError), the
            file is there already and `overwrite` is False or it is no ordinary file (FileExistsError), nothing can be
            created in the folder (PermissionError and the like).
    """
    checks.require(isinstance(path, str | os.PathLike), name, "be a file name", repr(path))
    text = os.fspath(path)
    checks.require(text != "" and "\0" not in text, name, "be a file name", repr(text))
    target = Path(os.path.realpath(text))
    folder = target.parent
    if os.path.isdir(target):
        raise IsADirectoryError(f"`{name}` must be a file, but got the folder {text}. Add a file name.")
    if not os.path.exists(folder):
        command = f"mkdir -p {shlex.quote(str(folder))}"
        raise FileNotFoundError(
            f"`{name}` must lie in a folder that exists, but got {text}. Create it first: {command}"
        )
    if not os.path.isdir(folder):
        raise NotADirectoryError(f"`{name}` must lie in a folder, but got {text}, and {folder} is a file.")
    if os.path.exists(target):
        if not os.path.isfile(target):
            raise FileExistsError(f"`{name}` must be a file, but got {text}, a device, pipe or socket.")
        if not overwrite:
            raise FileExistsError(_already_there(text, name))
    try:
        probe = _sibling(target)
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.unlink(probe)
    except OSError as error:
        reason = f"`{name}` must lie in a folder that can be written, but got {text} ({error.strerror})."
        raise type(error)(f"{reason} Choose another folder, or a shorter name if that is what is wrong.") from error
    return target


def write_atomically(path: str | os.PathLike[str], write: Callable[[Path], Any], overwrite: bool = False) -> Path:
    """The file that `write` makes, put at `path` in one step after it has reached the disk.

    Whatever goes wrong, an interruption included, leaves an existing file as it was and no half file behind (a killed
    process leaves a hidden ``.part`` file, which is safe to delete).

    Args:
        path: the final name.
        write: called with the temporary name, in the same folder.
        overwrite: False refuses a file that is there, also one that has appeared meanwhile.

    Raises:
        OSError: as :func:`check_writable`, or the writing failed (disk full, ...).
    """
    target = check_writable(path, overwrite)
    part = _sibling(target)
    try:
        try:
            write(part)
            _flush(part)
        except (OSError, RuntimeError) as error:
            reason = f"The results could not be written to {path} ({error}). What was there before is unchanged."
            raise OSError(getattr(error, "errno", None), reason) from error
        _publish(part, target, overwrite)
    finally:
        part.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # some file systems cannot flush a folder
        _flush(target.parent)
    return target


def write_text(path: str | os.PathLike[str], text: str, overwrite: bool = False) -> Path:
    """A text file in UTF-8, put at `path` as :func:`write_atomically` does."""
    return write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"), overwrite)


def _publish(part: Path, target: Path, overwrite: bool) -> None:
    """Renames `part`; without `overwrite` a hard link, which unlike a rename fails when the name is taken."""
    if not overwrite:
        try:
            os.link(part, target)
        except FileExistsError:
            raise FileExistsError(_already_there(str(target))) from None
        except OSError:  # a file system without hard links
            if os.path.exists(target):
                raise FileExistsError(_already_there(str(target))) from None
        else:
            return
    os.replace(part, target)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sibling(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")


def _already_there(text: str, name: str = "path") -> str:
    wish = "Choose another name, or pass overwrite=True to replace it."
    return f"`{name}` must not exist yet, but got {text}, which does. {wish}"
