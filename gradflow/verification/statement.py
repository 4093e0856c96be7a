"""A statement of a paper as something that can be tried: instances, the worst margin, a verdict.

A statement draws random instances and reports each as a :class:`Trial`, a pair of numbers of which the first must not
exceed the second. A statement that is false as printed carries its counterexample: a trial of the printed claim, which
must fail. Knows nothing of any paper, and nothing of how a table is printed.
"""

import contextlib
import math
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from gradflow import checks


@dataclass(frozen=True)
class Trial:
    """One instance tried: the claim is ``observed <= allowed``; both dimensionless, in units the statement chooses.

    A NaN on either side fails. Use a tolerance derived from rounding as `allowed` for equalities and 0 against 0 or 1
    (:meth:`agreement`) for decisions.
    """

    observed: float
    allowed: float
    instance: str = ""

    @property
    def holds(self) -> bool:
        """True when the claim is kept here."""
        return bool(self.observed <= self.allowed)

    @property
    def margin(self) -> float:
        """``allowed - observed``: negative when the claim fails."""
        return float(self.allowed - self.observed)

    @classmethod
    def agreement(cls, found: object, expected: object, instance: str = "") -> "Trial":
        """A decision: holds when `found` equals `expected`."""
        return cls(float(found != expected), 0.0, instance or f"found {found}, expected {expected}")


@dataclass(frozen=True)
class Statement:
    """A numbered statement of a paper, with the check that tries it.

    Args:
        paper: ``"000"``, ``"001"``, ``"002"`` or ``"003"``.
        number: as the paper counts it: ``"Theorem 1"``, ``"eq. (14)"``, ``"Remark 3"``; unique within a paper.
        claim: what is checked, in one or two sentences, in the letters of the code; corrected where needed.
        code: dotted names of what implements it, e.g. ``"gradflow.critical_sets.shallow_linear.construct"``.
        check: ``(rng, num_instances) -> trials``: at least one trial per instance, from `rng` alone.
        correction: what the paper prints and what is right instead; empty when it holds as printed.
        as_printed: a trial of the claim as printed on a counterexample: must fail. None when it holds as printed, or
            when the error is one of wording that no number can show.
        where: where the paper has what `as_printed` refutes: ``"as printed"`` (the statement) or ``"in its proof"``.
        quick, thorough: numbers of instances; the first must take about a second.
    """

    paper: str
    number: str
    claim: str
    code: Sequence[str]
    check: Callable[[np.random.Generator, int], Iterable[Trial]] = field(repr=False)
    correction: str = ""
    as_printed: Callable[[], Trial] | None = field(default=None, repr=False)
    quick: int = 10
    thorough: int = 100
    where: str = "as printed"

    @property
    def name(self) -> str:
        """What ``--only`` matches, e.g. ``"002/theorem-1"``."""
        slug = "".join(letter if letter.isalnum() else "-" for letter in self.number.lower())
        return f"{self.paper}/" + "-".join(part for part in slug.split("-") if part)


@dataclass(frozen=True)
class Verdict:
    """What trying a statement showed.

    Attributes:
        statement: what was tried.
        instances: how many were asked for.
        trials: how many comparisons were made.
        failures: the trials that failed, at most the first ten.
        num_failures: how many failed.
        worst: the trial with the smallest margin relative to what it allowed, None without trials.
        printed: the trial of the claim as printed, None where there is none.
        error: the exception that ended the check, as text; empty when it ran through.
        seconds: how long it took.
    """

    statement: Statement
    instances: int
    trials: int
    failures: tuple[Trial, ...]
    num_failures: int
    worst: Trial | None
    printed: Trial | None
    error: str
    seconds: float

    @property
    def holds(self) -> bool:
        """True when every trial of the (corrected) claim was kept, and there was at least one."""
        return not self.error and self.num_failures == 0 and self.trials > 0

    @property
    def printed_fails(self) -> bool | None:
        """True when the counterexample to the claim as printed is one; None where there is none."""
        return None if self.printed is None else not self.printed.holds

    @property
    def is_as_expected(self) -> bool:
        """True when the corrected claim holds and the printed one, if it is false, was seen to fail."""
        return self.holds and self.printed_fails is not False


def verify(statement: Statement, *, thorough: bool = False, seed: int = 0) -> Verdict:
    """Tries one statement. The same seed gives the same instances whatever else is tried.

    Exceptions of a check become part of the verdict: one broken statement does not end a table. Notes about hypotheses
    are not shown, for instances break them on purpose.
    """
    seed = checks.integer("seed", seed, at_least=0)
    instances = statement.thorough if thorough else statement.quick
    rng = np.random.default_rng([seed, zlib.crc32(statement.name.encode())])
    begun = time.perf_counter()
    trials, failures, worst, printed, error = 0, [], None, None, ""
    try:
        with _without_notes():
            for trial in statement.check(rng, instances):
                trials += 1
                worst = trial if worst is None or _closeness(trial) > _closeness(worst) else worst
                if not trial.holds:
                    failures.append(trial)
            printed = None if statement.as_printed is None else statement.as_printed()
    except Exception as exception:
        error = f"{type(exception).__name__}: {exception}"
    return Verdict(
        statement, instances, trials, tuple(failures[:10]), len(failures), worst, printed, error,
        time.perf_counter() - begun,
    )  # fmt: skip


def verify_all(statements: Iterable[Statement], *, thorough: bool = False, seed: int = 0) -> Iterator[Verdict]:
    """Tries the statements one by one, each as soon as it is asked for: a table can be printed while it grows."""
    for statement in statements:
        yield verify(statement, thorough=thorough, seed=seed)


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    with warnings.catch_warnings():
        for kind in (checks.HypothesisWarning, checks.DataWarning, checks.AccuracyWarning):
            warnings.simplefilter("ignore", kind)
        yield


def _closeness(trial: Trial) -> float:
    """Larger means closer to failing: excess over what is allowed, relative where that has a size."""
    if math.isnan(trial.margin):
        return math.inf
    return -trial.margin / abs(trial.allowed) if trial.allowed else -trial.margin
