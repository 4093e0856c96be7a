"""Running an experiment: measure, keep, judge; and what became of it when something went wrong.

An interruption leaves nothing half measured behind: whatever the library does with Ctrl-C inside of a measurement
(an integration ends early and returns what it has), the measurement as a whole is then not used. Prints nothing.
"""

import contextlib
import signal
import threading
import time
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import xarray as xr

from gradflow import checks
from gradflow.__about__ import __version__
from gradflow.laboratory.experiments import Experiment
from gradflow.laboratory.findings import Finding
from gradflow.laboratory.results import described, load_results, save_results
from gradflow.store.codec import to_json
from gradflow.store.paths import check_writable

NOTES = (checks.DataWarning, checks.HypothesisWarning)
"""What the library says of data and problems, which an experiment has chosen knowingly."""


@dataclass(frozen=True)
class Outcome:
    """What became of one experiment.

    Attributes:
        name: of the experiment.
        findings: prediction beside measurement; empty when it failed.
        path: the file of the results; None when nothing was saved.
        seconds: what measuring took, now or when the file was written.
        is_kept: whether the results were there already, with the same settings and the same version.
        error: the exception that ended it, None when there was none.
    """

    name: str
    findings: tuple[Finding, ...] = ()
    path: Path | None = None
    seconds: float = 0.0
    is_kept: bool = False
    error: Exception | None = field(default=None, compare=False)


def measured(experiment: Experiment, settings: Any) -> xr.Dataset:
    """The results of an experiment, in double precision, with settings, seconds and origin in their attributes.

    Raises:
        InputError: what it measured is no dataset. KeyboardInterrupt: Ctrl-C, wherever it came. Whatever the
            experiment raises.
    """
    begun = time.monotonic()
    with _interruptible(), warnings.catch_warnings(), jax.enable_x64(True):
        for kind in NOTES:
            warnings.simplefilter("ignore", kind)
        results = experiment.measure(settings)
    what = f"{experiment.name}.measure"
    checks.require(isinstance(results, xr.Dataset), what, "return an xarray.Dataset", type(results).__name__)
    return described(results, experiment, settings, time.monotonic() - begun)


def judged(experiment: Experiment, results: xr.Dataset) -> tuple[Finding, ...]:
    """The findings in results, as measured or as read from a file.

    Raises:
        InputError: the results are those of another experiment.
    """
    other = results.attrs.get("experiment")
    remedy = f"Judge them with `gradflow run {other} --judge FILE`." if other else ""
    checks.require(other == experiment.name, "judge", f"be results of {experiment.name}", f"those of {other}", remedy)
    return tuple(experiment.findings(results))


def perform(experiment: Experiment, settings: Any, path: Path, overwrite: bool = False) -> Outcome:
    """Measures, saves to `path` and judges; results with these settings and of this version are not measured again.

    A file of the same settings and an older version is replaced, since it can be had again; one with other settings
    only with `overwrite`.

    Raises:
        OSError: a file is there with other settings or other content, or nothing can be written.
        What :func:`measured` raises.
    """
    is_replaced = overwrite
    if path.exists() and not overwrite:
        kept = _kept(experiment, settings, path)
        if kept is not None:
            return Outcome(experiment.name, judged(experiment, kept), path, float(kept.attrs["seconds"]), is_kept=True)
        is_replaced = True
    path.parent.mkdir(parents=True, exist_ok=True)
    check_writable(path, is_replaced, "out")
    results = measured(experiment, settings)
    save_results(results, path, is_replaced)
    return Outcome(experiment.name, judged(experiment, results), path, float(results.attrs["seconds"]))


def _kept(experiment: Experiment, settings: Any, path: Path) -> xr.Dataset | None:
    """The results in a file if they are those that would be measured; None if they are of an older version.

    Raises:
        FileExistsError: they are those of other settings, or of another experiment.
    """
    there = load_results(path)
    facts = there.attrs
    if (facts["experiment"], facts["settings"]) != (experiment.name, to_json(settings)):
        raise FileExistsError(
            f"`--out` must hold no results with other settings, but got {path.parent}, and {path} has them. "
            "Choose another folder with --out, or add --overwrite to replace it."
        )
    is_same = (facts["creation_library_version"], facts["experiment_digest"]) == (__version__, experiment.digest)
    return there if is_same else None


class _Leave(BaseException):
    """Ctrl-C inside of a measurement: not a KeyboardInterrupt, which an integration answers with what it has."""


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Turns Ctrl-C within the block into a KeyboardInterrupt after it, wherever it comes."""
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual != signal.default_int_handler:
        yield
        return

    def leave(_number: int, _frame: types.FrameType | None) -> None:
        raise _Leave

    signal.signal(signal.SIGINT, leave)
    try:
        yield
    except _Leave:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, usual)
