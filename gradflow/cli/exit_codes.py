"""Exit codes: what the shell learns of how a command ended."""

import enum
from collections.abc import Iterable
from typing import Any

from gradflow import checks
from gradflow.status import Status


class ExitCode(enum.IntEnum):
    """What a command returns to the shell; the help text lists them."""

    OK = 0
    CHECK_FAILED = 1
    BAD_INPUT = 2
    NUMERICAL_FAILURE = 3
    FILES = 4
    INTERNAL = 70
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS = {
    ExitCode.OK: "all is well",
    ExitCode.CHECK_FAILED: "a check failed: a promise and a run do not agree",
    ExitCode.BAD_INPUT: "bad input: a wrong flag, bad data, a bad settings file",
    ExitCode.NUMERICAL_FAILURE: "numerical failure: nonfinite, step_limit or stalled, or too much left undetermined",
    ExitCode.FILES: "a file or folder could not be read or written, or is there already",
    ExitCode.INTERNAL: "an error in gradflow itself",
    ExitCode.INTERRUPTED: "interrupted; what was reached is saved",
    ExitCode.TERMINATED: "told to end (SIGTERM); what was reached is saved",
}


def of_study(study: Any) -> ExitCode:
    """The exit code of a study: an interruption first, then a numerical failure, then a failed check."""
    return of_outcome([study.trajectory.status], study.passed)


def of_outcome(statuses: Iterable[Status], passed: bool) -> ExitCode:
    """The exit code of runs that ended with `statuses` and whose checks `passed`."""
    seen = set(statuses)
    if Status.INTERRUPTED in seen:
        return ExitCode.INTERRUPTED
    if any(status.is_failure for status in seen):
        return ExitCode.NUMERICAL_FAILURE
    return ExitCode.OK if passed else ExitCode.CHECK_FAILED


def of_error(error: BaseException) -> ExitCode:
    """The exit code of an exception that ended a command."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, checks.InputError):
        return ExitCode.BAD_INPUT
    if isinstance(error, OSError):
        return ExitCode.FILES
    # The names of errors that NumPy and JAX raise: neither is worth an import here.
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"NumericalFailure", "MemoryError", "LinAlgError", "JaxRuntimeError", "XlaRuntimeError"}:
        return ExitCode.NUMERICAL_FAILURE
    return ExitCode.INTERNAL
