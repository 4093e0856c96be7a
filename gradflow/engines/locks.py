"""The lock of a run folder: one writer at a time, freed by the kernel however the writer ends.

An advisory ``flock`` on a file that stays. Its text names the holder, for the message that a second writer gets.
"""

import contextlib
import errno
import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from gradflow import checks
from gradflow.engines.errors import FolderInUse

_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file `path`, made if missing, until the end of the block or of the process.

    Raises:
        FolderInUse: another process, or another part of this one, holds it.
        OSError: the file cannot be made or written.

    Warns:
        DataWarning: the file system has no locks, as some network disks; the block runs without.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 1000).decode(errors="replace").strip() or "a process that has just begun"
            wish = "Wait until it has ended, stop it, or choose another folder."
            raise FolderInUse(
                f"`folder` must have one writer, but {path.parent} is in use by {holder}. {wish}"
            ) from None
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
            warnings.warn(
                f"The file system of {path.parent} has no locks ({error.strerror}), so a second run in the same folder "
                "would not be refused. See to it that there is none.",
                checks.DataWarning,
                stacklevel=4,
            )
        since = datetime.now(UTC).isoformat(timespec="seconds")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
