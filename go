#!/usr/bin/env python3
"""Runs gradflow from a fresh clone: makes the environment it needs, then hands over to the command.

    ./go demo                what gradient flow does on a real data set, in about a minute
    ./go run                 the same on data of your own; ./go run --help says how
    ./go portrait NAME       the phase portrait of a flow with two parameters
    ./go test                all the tests; further words go to pytest
    ./go python FILE.py      a script of your own, in the same environment
    ./go setup               only makes the environment
    python3.12 go demo       the same with another Python (3.11 or newer)

demo, run, portrait and any other WORDS are the command `gradflow WORDS`: ./go --version, ./go run --help.
The environment is the folder .venv beside this file; GRADFLOW_VENV names another one. After a first ./go,
`source .venv/bin/activate` gives your shell the command `gradflow` itself.
"""

# Knows nothing of the library: standard library only, and nothing newer than Python 3.6 in its grammar, so that an old
# Python gets as far as saying so. The stamp inside the environment tells whether it is whole and for this clone: it is
# written last, so a set-up that was killed is simply done again, and a finished one costs a read of three small files.

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, List, Mapping, Optional, Sequence, TextIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parent
OLDEST_PYTHON = (3, 11)
SETUP_VERSION = 1  # raise it when environments made by an older launcher must be made again
FREE_BYTES_NEEDED = 1.5e9  # the packages take 0.9 GB, and their archives pass through the same disk
WORKERS = ["-n", "auto", "--maxprocesses", "4", "--dist", "worksteal"]  # most of a test's time is compiling
STAMP_NAME = "gradflow-stamp"


class SetupError(Exception):
    """The environment cannot be made; the message is for the user and says what to do."""


def refusal(version_info: Sequence, has_file_locks: bool) -> Optional[str]:
    """One sentence why this interpreter cannot be used, or None."""
    if tuple(version_info[:2]) < OLDEST_PYTHON:
        needed, found = ("{}.{}".format(*version[:2]) for version in (OLDEST_PYTHON, version_info))
        return (
            f"gradflow needs Python {needed} or newer, but this is Python {found}: "
            "run it with another one, for example `python3.12 go demo`."
        )
    if not has_file_locks:
        return (
            "This launcher needs a POSIX system: on Windows use WSL, or type `py -m venv .venv`, "
            "`.venv\\Scripts\\pip install -e .[test] -c constraints.txt` and `.venv\\Scripts\\gradflow demo`."
        )
    return None


def environment_folder(environ: Mapping[str, str]) -> Path:
    """The folder of the environment: GRADFLOW_VENV, taken from the clone if relative, or .venv."""
    return Path(os.path.abspath(str(ROOT / os.path.expanduser(environ.get("GRADFLOW_VENV") or ".venv"))))


def python_of(folder: Path) -> Path:
    """The environment's interpreter."""
    return folder / "bin" / "python"


def identity() -> str:
    """What an environment must agree with to be kept: launcher, Python, and the clone's place (it holds paths)."""
    return f"setup {SETUP_VERSION}\npython {sys.implementation.cache_tag}\nclone {ROOT}\n"


def stamp() -> str:
    """What stands in the stamp of a finished environment: its identity and a hash of what was installed."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt", "gradflow/__about__.py"):
        digest.update((ROOT / name).read_bytes() + b"\0")
    return identity() + f"packages {digest.hexdigest()}\n"


def read_stamp(folder: Path) -> Optional[str]:
    """The stamp of the environment, or None where there is none."""
    try:
        return (folder / STAMP_NAME).read_text()
    except OSError:
        return None


def finish(folder: Path, text: str) -> None:
    """Puts the stamp in place in one step: a reader sees an unfinished environment or a finished one."""
    draft = folder / (STAMP_NAME + ".tmp")
    draft.write_text(text)
    os.replace(str(draft), str(folder / STAMP_NAME))


def is_ready(folder: Path) -> bool:
    """Whether the environment is finished and made from today's files by this Python."""
    return read_stamp(folder) == stamp() and os.access(str(python_of(folder)), os.X_OK)


def say(text: str) -> None:
    """Tells the user; standard output belongs to the command that follows."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Holds the lock of the environment; gives its descriptor, for child processes to hold it too.

    With the children holding it, an installer that outlives a killed launcher is waited for and not written over.
    """
    path = folder.with_name(folder.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(str(path), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise SetupError(
            f"{path} cannot be written ({error.strerror}): set GRADFLOW_VENV to a folder of yours."
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"setting up {folder.name}: another ./go is at it, waiting for it to finish")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            say(f"this file system has no locks ({error.strerror}): do not start ./go twice during the set-up")
        yield descriptor
    finally:
        os.close(descriptor)


def run_step(command: List[str], log: TextIO, lock: int) -> int:
    """Runs one command of the set-up, output to the log, and gives its exit status; counts seconds on a terminal."""
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environ.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    log.write("$ {}\n".format(" ".join(command)))
    log.flush()
    begun = time.monotonic()
    ticking = sys.stderr.isatty()
    process = subprocess.Popen(
        command, cwd=str(ROOT), env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(lock,)
    )
    try:
        while True:
            try:
                return process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                if ticking:
                    print(f"\r  {time.monotonic() - begun:.0f} s ", end="", file=sys.stderr, flush=True)
    finally:
        if ticking:
            print("\r          \r", end="", file=sys.stderr, flush=True)
        if process.poll() is None:
            process.terminate()
            process.wait()


def pip_command(folder: Path) -> List[str]:
    """How pip is called for the environment: its own, or this machine's where Python came without `ensurepip`."""
    if importlib.util.find_spec("ensurepip") is not None:
        return [str(python_of(folder)), "-m", "pip"]
    return [sys.executable, "-m", "pip", "--python", str(python_of(folder))]


def make_environment(folder: Path, log: TextIO, lock: int) -> None:
    """Makes an empty environment, with pip inside where this Python can."""
    missing_pip = importlib.util.find_spec("ensurepip") is None
    if importlib.util.find_spec("venv") is None or (missing_pip and importlib.util.find_spec("pip") is None):
        raise SetupError(
            "This Python cannot make environments because a part of it is missing: on Debian and Ubuntu "
            "`apt install python3-venv`, then type the same command again."
        )
    options = ["--without-pip"] if missing_pip else []
    if run_step([sys.executable, "-m", "venv", *options, str(folder)], log, lock) != 0:
        raise SetupError(
            f"`{sys.executable} -m venv` failed (details: {log.name}): on Debian and Ubuntu "
            "`apt install python3-venv`, then type the same command again."
        )


def install(folder: Path, log: TextIO, lock: int) -> None:
    """Installs gradflow from the clone with everything it needs: with uv if it can be had, or else with pip."""
    what = ["--editable", ".[test]", "--constraint", "constraints.txt"]
    pip = pip_command(folder)
    python = str(python_of(folder))
    uv = [python, "-m", "uv", "pip", "install", "--python", python]
    if run_step([*pip, "install", "uv"], log, lock) == 0 and run_step(uv + what, log, lock) == 0:
        return
    say(f"setting up {folder.name}: uv could not do it, trying pip, a few minutes")
    if run_step([*pip, "install", *what], log, lock) != 0:
        log.flush()
        tail = Path(log.name).read_text(errors="replace").splitlines()[-12:]
        raise SetupError(
            "The packages could not be installed (is the network there?). The end of {}:\n  {}".format(
                log.name, "\n  ".join(tail)
            )
        )


def is_foreign(folder: Path) -> bool:
    """Whether something stands in the folder's place that this launcher did not make, and so must not remove."""
    return read_stamp(folder) is None and folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))


def remove(folder: Path) -> None:
    """Removes an environment; one that is killed halfway leaves nothing under the environment's own name."""
    doomed = folder.with_name(folder.name + ".old")
    if doomed.exists():
        shutil.rmtree(str(doomed))
    if folder.exists():
        os.replace(str(folder), str(doomed))
        shutil.rmtree(str(doomed))


def clear_for_setup(folder: Path) -> bool:
    """Removes an environment that cannot be kept, and tells whether there is one to bring up to date instead.

    Raises:
        SetupError: the folder holds something that this launcher did not make, or the disk is too full.
    """
    if is_foreign(folder):
        raise SetupError(
            f"{folder} was not made by ./go and is left as it is: move it away, or set GRADFLOW_VENV to another folder."
        )
    old = read_stamp(folder)
    if old is not None and old.startswith(identity()) and os.access(str(python_of(folder)), os.X_OK):
        return True
    if old is not None:
        why = "it was made by another Python or elsewhere" if old.startswith("setup") else "the last one did not finish"
        say(f"setting up {folder.name}: {why}, starting anew")
    remove(folder)
    free, needed = shutil.disk_usage(str(folder.parent)).free / 1e9, FREE_BYTES_NEEDED / 1e9
    if free < needed:
        raise SetupError(
            f"Setting up needs about {needed:.1f} GB of disk in {folder.parent}, but {free:.1f} GB is free: "
            "make room, or set GRADFLOW_VENV to a folder on another disk."
        )
    return False


def set_up(folder: Path) -> None:
    """Makes or renews the environment unless it is ready; one process at a time."""
    if is_ready(folder):
        return
    with locked(folder) as lock:
        if is_ready(folder):
            return
        begun = time.monotonic()
        renewing = clear_for_setup(folder)
        finished = stamp()
        folder.mkdir(exist_ok=True)
        (folder / STAMP_NAME).write_text("unfinished\n")
        with open(str(folder / "setup.log"), "w") as log:
            if renewing:
                say(f"setting up {folder.name}: bringing packages up to date")
            else:
                say(f"setting up {folder.name}: installing packages, about a minute")
                make_environment(folder, log, lock)
            install(folder, log, lock)
        finish(folder, finished)
        say(f"setting up {folder.name}: done in {time.monotonic() - begun:.0f} s")


def needs_workers(words: List[str]) -> bool:
    """True when tests should run side by side: all of them, and not one file, in a debugger or as the user chose."""
    alone = ("-n", "--numprocesses", "--pdb", "-s", "--capture", "--collect-only", "--co", "-h", "--help", "--version")
    return not any(word.split("=")[0] in alone or word.split("::")[0].endswith(".py") for word in words)


def command_line(folder: Path, words: List[str]) -> List[str]:
    """The command that `./go WORDS` stands for, empty for `setup`; `-P` keeps the user's folder off the import path."""
    python = str(python_of(folder))
    if words[0] == "setup":
        return []
    if words[0] == "python":
        return [python, *words[1:]]
    if words[0] == "test":
        return [python, "-P", "-m", "pytest", *(WORKERS if needs_workers(words[1:]) else []), *words[1:]]
    return [python, "-P", "-m", "gradflow", *words]


def main(words: List[str]) -> int:
    """Refuses, helps, or sets up and becomes the command, so that signals and exit codes are the command's own."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(str(__doc__).strip())
        return 0 if words else 2
    reason = refusal(sys.version_info, fcntl is not None)
    if reason:
        say(reason)
        return 2
    folder = environment_folder(os.environ)
    try:
        set_up(folder)
    except SetupError as error:
        say(str(error))
        return 4
    except OSError as error:
        say(f"setting up {folder} failed: {error}")
        return 4
    except KeyboardInterrupt:
        say("\nset-up interrupted: type the same command again to start it anew")
        return 130
    command = command_line(folder, words)
    if command:
        if words[0] == "test":
            os.chdir(str(ROOT))
        sys.stdout.flush()
        os.execv(command[0], command)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
