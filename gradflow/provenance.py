"""Where a result comes from: version, commit, libraries, machine, device, precision and time.

Everything here is read from the running process and, when the package is a source checkout, from git; nothing is
read from a result. It knows no flow and no file format, and it never fails: what cannot be found out is said to be
unknown.
"""

import functools
import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import jax

from gradflow.__about__ import __version__

UNKNOWN = "unknown"
"""What stands where something could not be found out."""

LIBRARIES = ("jax", "diffrax", "numpy", "scipy")
"""The packages that numbers depend on."""

GIT_SECONDS = 5.0
"""Longest wait for git, say on a network disk."""


def provenance() -> dict[str, str | int | bool]:
    """What a result must carry to be traced back; always the same keys, values that JSON and NetCDF can hold.

    ``gradflow_version``; ``git_commit`` of the checkout that the package is run from (``unknown`` when it is none) and
    ``git_dirty``, True unless the package's files are known to be those of that commit; ``python_version`` and
    ``<library>_version`` for :data:`LIBRARIES`; ``platform``, ``num_cpus``, ``device`` (the first JAX device);
    ``precision`` and ``x64`` (every public function computes in float64, whatever the user's setting); ``created_at``,
    now, UTC in ISO format.
    """
    created_at = datetime.now(UTC).isoformat(timespec="seconds")
    device = jax.devices()[0]
    name = device.platform if device.device_kind == device.platform else f"{device.platform}: {device.device_kind}"
    return {**_process(), "device": name, "precision": "float64", "x64": True, "created_at": created_at}


@functools.cache
def _process() -> dict[str, str | int | bool]:
    """What cannot change while the process lives: its code was loaded once."""
    commit, dirty = git_state(Path(__file__).resolve().parent)
    return {
        "gradflow_version": __version__,
        "git_commit": commit,
        "git_dirty": dirty,
        "python_version": platform.python_version(),
        **{f"{name}_version": _version(name) for name in LIBRARIES},
        "platform": platform.platform(),
        "num_cpus": os.cpu_count() or 1,
    }


def git_state(package: Path) -> tuple[str, bool]:
    """The commit of the checkout whose top level holds the folder `package`, and whether that folder departs from it.

    ``("unknown", True)`` when it lies elsewhere (an installed package inside somebody's repository is not that
    repository's code), when nothing is committed yet, or when git cannot tell.
    """
    if not (package.parent / ".git").exists():
        return UNKNOWN, True
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--", package.name]
    # Inside a git hook these would point git to another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        answer = subprocess.run(
            command,
            cwd=package.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return UNKNOWN, True
    lines = answer.stdout.splitlines()
    commits = [line.split()[-1] for line in lines if line.startswith("# branch.oid")]
    if not commits or commits[0] == "(initial)":
        return UNKNOWN, True
    return commits[0], any(not line.startswith("#") for line in lines)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return UNKNOWN
