"""Everything that integrates an ensemble, one module a system; heavy imports happen in the process that measures."""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MODULES = ("gradflow_ensemble", "native", "diffrax_vmap", "numbalsoda_lsoda", "torch_solvers", "sundials", "scipy_ivp")


class Unavailable(Exception):
    """A peer that cannot run here; the message is the reason that the table shows."""


@dataclass(frozen=True)
class Outcome:
    """End states (n, dim), the flow times at which they were taken, and the mean number of steps where it is told."""

    ends: np.ndarray
    times: np.ndarray
    steps: float | None = None


@dataclass(frozen=True)
class Method:
    """One row of the table.

    `build(problem, rtol, starts, times)` returns a function that integrates all `starts` and is compiled: its first
    call is as fast as the next. `times` are the stop times, for a method that `needs_times` since it has no stop test.
    Methods of one `process` share a worker. `measured_on_two` methods are also timed on two cores. The rate of a
    `batched` method depends on how many starts it has at once; `patience` multiplies the time that a run may take.
    """

    name: str
    label: str
    process: str
    build: Callable[[Any, float, np.ndarray, np.ndarray | None], Callable[[], Outcome]]
    problems: str = "ABCD"
    needs_times: bool = False
    measured_on_two: bool = False
    batched: bool = False
    patience: float = 1.0


def methods() -> dict[str, Method]:
    """Every method by name, in the table's order."""
    modules = [importlib.import_module(f"peers.{name}") for name in MODULES]
    return {method.name: method for module in modules for method in module.METHODS}


def cache_folder() -> Path:
    """Where compiled kernels and reference trajectories are kept, outside of the repository."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "gradflow-benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
