"""How the tests of the command line call it: in this process on tiny data, or as a process of its own."""

import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np

from gradflow import cli

SAMPLES = 12
"""All tiny data have these many samples, two inputs and two targets: each other shape would be compiled anew."""

TINY = ("run", "--data", "data.npz", "--hidden", "2", "--no-figures")
"""A run of half a second, once compiled."""


class Answer(NamedTuple):
    """What a command returned and wrote."""

    code: int
    out: str
    err: str


def call(capsys, *words):
    """The answer of the command line, called in this process."""
    capsys.readouterr()
    code = cli.main([str(word) for word in words])
    return Answer(code, *capsys.readouterr())


def tiny_arrays(seed=0):
    """Inputs and targets with samples in rows."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((SAMPLES, 2)), rng.standard_normal((SAMPLES, 2))


def write_tiny(folder, name="data.npz", **changes):
    """Writes tiny data, with `changes` to X or Y, to a file in the folder."""
    X, Y = tiny_arrays()
    np.savez(folder / name, **({"X": X, "Y": Y} | changes))


def files_in(folder):
    """Every file below the folder with its bytes, and every folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def environment(**changes):
    """This process's environment with `changes`; None takes a variable away."""
    merged = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | changes
    return {name: value for name, value in merged.items() if value is not None}


def process(*words, cwd, env=None, **options):
    """The answer of ``python -m gradflow`` in a process of its own."""
    return started([sys.executable, "-m", "gradflow", *map(str, words)], cwd=cwd, env=env, **options)


def script(text, cwd, env=None):
    """The answer of a Python script in a process of its own."""
    return started([sys.executable, "-c", text], cwd=cwd, env=env)


def started(command, cwd, env=None, **options):
    """The answer of any command."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(**(env or {})),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )
    return Answer(done.returncode, done.stdout, done.stderr)
