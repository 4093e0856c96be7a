"""Reference ends of the problems, from ``references.json``: how each was made stands beside it."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("references.json")


@cache
def entries() -> dict[str, dict[str, Any]]:
    """What the file says of every problem: "end", "t1", "made_by", "checked_by", "agreement", "start"."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def end(problem: Any) -> np.ndarray:
    """The flat end state of `problem` at its horizon.

    Raises:
        LookupError: there is none, or it belongs to another start or horizon.
    """
    entry = entries().get(problem.name)
    if entry is None:
        raise LookupError(f"no reference for {problem.name}: run make_references.py --only {problem.name}")
    start = decoded(entry["start"])
    if entry["t1"] != problem.t1 or start.shape != problem.start.shape or not np.allclose(start, problem.start, 1e-15):
        raise LookupError(f"the reference of {problem.name} is of another start or horizon: make it again")
    return decoded(entry["end"])


def encoded(vector: np.ndarray) -> str:
    """The numbers themselves, little-endian doubles in base 64."""
    return base64.b64encode(np.asarray(vector, "<f8").tobytes()).decode()


def decoded(text: str) -> np.ndarray:
    """The inverse of :func:`encoded`."""
    return np.frombuffer(base64.b64decode(text), "<f8").copy()
