"""Do the intervals of basin fractions hold the truth as often as they promise?

Question: of 2000 nominal 95 % intervals, how many hold the true fraction: for frequent, rare and very rare basins, for
all basins at once, for the mass that was never seen, for differences between settings, and when one looks 25 times and
would stop at any of the looks?
Prediction: Clopper-Pearson, the simultaneous intervals, the confidence sequence and the bounds that are theorems never
fall below 95 %; Wilson's interval stays near it; Wald's interval misses most very rare basins; looking with an ordinary
interval loses 15 to 25 %; the rule of thumb for the unseen mass fails when several basins of about 3/n exist.
Method: draws from distributions with known fractions; the observed share has its own Clopper-Pearson interval, and a
row is "too low" or "too high" when 95 % is excluded at the level 0.001. Sums over all outcomes stand beside it where
they exist.
Cost: three quarters of a minute on one core.
Source: Brown, Cai and DasGupta 2001 for one fraction; Howard, Ramdas, McAuliffe and Sekhon 2021 for looking.

Run: ``gradflow run interval_coverage``
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import qmc
from tqdm import tqdm

from gradflow import intervals
from gradflow.laboratory import Finding, at_least, at_most, between, dataset_of, none_of

LEVEL = 0.95
NORMAL_QUANTILE = 1.959963984540054
DISC = 0.3
GOOD, LOW, HIGH = "keeps its level", "TOO LOW", "wide"


@dataclass(frozen=True)
class Settings:
    """Sizes of the samples and how often they are drawn."""

    repetitions: int = 2000
    fractions: tuple[float, ...] = (0.5, 0.05, 0.003, 0.001)
    num_samples: int = 1000
    num_looks: int = 25
    num_replicates: int = 16
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(repetitions=150, fractions=(0.5, 0.001), num_looks=8)


@dataclass(frozen=True)
class Case:
    """An interval, data to try it on, and whether its level is a promise."""

    name: str
    setting: str
    draw: Callable[[np.random.Generator], Any]
    truth: Any
    interval: Callable[[Any], Any]
    is_promise: bool
    exact: float | None = None


def wald(counts: Any, num_samples: int) -> SimpleNamespace:
    """The textbook's normal interval, ``k/n +- z sqrt(p (1 - p) / n)``: the bad example, not in the library."""
    p = np.asarray(counts) / num_samples
    spread = NORMAL_QUANTILE * np.sqrt(p * (1 - p) / num_samples)
    return SimpleNamespace(low=p - spread, high=p + spread)


def _wilson(counts: Any, num_samples: int) -> intervals.Intervals:
    return intervals.proportion_intervals(counts, num_samples, LEVEL, "wilson")


def _exact(counts: Any, num_samples: int) -> intervals.Intervals:
    return intervals.proportion_intervals(counts, num_samples, LEVEL)


def _single(settings: Settings) -> list[Case]:
    """One fraction, the number of samples fixed."""
    n = settings.num_samples
    cases = []
    for p in settings.fractions:
        for name, interval, is_promise in (("Wald", wald, False), ("Wilson", _wilson, False), ("exact", _exact, True)):

            def draw(generator: np.random.Generator, p: float = p) -> int:
                return int(generator.binomial(n, p))

            def limits(count: int, interval: Callable[..., Any] = interval) -> Any:
                return interval(count, n)

            known = intervals.exact_coverage(interval, n, p)
            cases.append(Case(name, f"p = {p:g}, n = {n}", draw, p, limits, is_promise, known))
    return cases


def _classes(settings: Settings) -> list[Case]:
    """Several classes: all of them at once, found by the samples, hidden behind "undetermined", or never found."""
    n = settings.num_samples
    basins = np.array([0.5, 0.3, 0.15, 0.04, 0.007, 0.002, 0.001])
    where = f"7 classes, 0.5 to 0.001, n = {n}"
    tiny = 1e-9
    spread = np.append(np.full(7, 3.0 / n), 1.0 - 21.0 / n)
    undetermined = 0.1

    def fractions(probabilities: np.ndarray) -> Callable[[np.random.Generator], np.ndarray]:
        return lambda generator: generator.multinomial(n, probabilities)

    def labels(generator: np.random.Generator) -> np.ndarray:
        return generator.integers(0, round(1 / tiny), n)

    def after_discovery(found: np.ndarray) -> intervals.Intervals:
        _, first, counts = np.unique(found, return_index=True, return_counts=True)
        return _padded(intervals.discovered_intervals(counts, first, n, LEVEL), n)

    def as_if_listed(found: np.ndarray) -> intervals.Intervals:
        return _padded(intervals.simultaneous_intervals(np.unique(found, return_counts=True)[1], n, LEVEL), n)

    def hidden(generator: np.random.Generator) -> np.ndarray:
        return generator.multinomial(n, np.append((1.0 - undetermined) * basins, undetermined))

    def envelope(counts: np.ndarray) -> intervals.Envelopes:
        return intervals.envelopes(counts[:-1], int(counts[-1]), n, LEVEL, num_joint=len(basins))

    together = "all classes at once"
    return [
        Case("Wald", f"{together}: {where}", fractions(basins), basins, lambda k: wald(k, n), False),
        Case("exact, each alone", f"{together}: {where}", fractions(basins), basins, lambda k: _exact(k, n), False),
        Case(
            "simultaneous",
            f"{together}: {where}",
            fractions(basins),
            basins,
            lambda counts: intervals.simultaneous_intervals(counts, n, LEVEL),
            True,
        ),
        Case("envelope", f"{together}, 10 % undetermined", hidden, basins, envelope, True),
        Case("as if listed", f"10^9 equal classes, {n} of them found", labels, tiny, as_if_listed, False),
        Case("after discovery", f"10^9 equal classes, {n} of them found", labels, tiny, after_discovery, True),
        *_unseen("7 classes, 0.5 to 0.001", basins, n),
        *_unseen("7 classes of 3/n and one large", spread, n),
    ]


def _padded(result: intervals.Intervals, size: int) -> SimpleNamespace:
    """Limits of a number of classes that varies, filled up with [0, 1]."""
    low, high = np.zeros(size), np.ones(size)
    low[: len(result.low)], high[: len(result.high)] = result.low, result.high
    return SimpleNamespace(low=low, high=high)


def _unseen(name: str, probabilities: np.ndarray, n: int) -> list[Case]:
    """Bounds of the mass of classes without a sample, which is itself random."""

    def draw(generator: np.random.Generator) -> np.ndarray:
        return generator.choice(len(probabilities), size=n, p=probabilities)

    def mass(found: np.ndarray) -> float:
        return float(probabilities[np.bincount(found, minlength=len(probabilities)) == 0].sum())

    def from_counts(method: str) -> Callable[[np.ndarray], SimpleNamespace]:
        def bound(found: np.ndarray) -> SimpleNamespace:
            return SimpleNamespace(low=0.0, high=intervals.unseen_mass(np.bincount(found), LEVEL, method).bound)

        return bound

    def from_order(found: np.ndarray) -> SimpleNamespace:
        _, first, counts = np.unique(found, return_index=True, return_counts=True)
        return SimpleNamespace(low=0.0, high=intervals.unseen_mass_by_holdout(counts, first, LEVEL).bound)

    setting = f"unseen mass: {name}, n = {n}"
    return [
        Case("Good-Turing, rule of thumb", setting, draw, mass, from_counts("rule_of_thumb"), False),
        Case("Good-Turing, theorem", setting, draw, mass, from_counts("concentration"), True),
        Case("holdout, theorem", setting, draw, mass, from_order, True),
    ]


def _looking(settings: Settings) -> list[Case]:
    """The truth must be inside at every look, which is what stopping at any of them needs."""
    looks = settings.num_samples // settings.num_looks * np.arange(1, settings.num_looks + 1)
    places = np.arange(len(looks))

    def planned(counts: Any, sizes: Any) -> intervals.Intervals:
        return intervals.confidence_sequences(counts, sizes, LEVEL, planned_samples=settings.num_samples)

    cases = []
    for name, interval, is_promise in (("exact", _exact, False), ("confidence sequence", planned, True)):
        # The limits of all counts at all looks, once; a repetition only looks its own up.
        table = interval(np.minimum(np.arange(looks[-1] + 1), looks[:, None]), looks[:, None])
        for p in settings.fractions[:2]:

            def draw(generator: np.random.Generator, p: float = p) -> np.ndarray:
                return np.cumsum(generator.binomial(looks[0], p, size=len(looks)))

            def limits(counts: np.ndarray, table: intervals.Intervals = table) -> SimpleNamespace:
                return SimpleNamespace(low=table.low[places, counts], high=table.high[places, counts])

            setting = f"{len(looks)} looks: p = {p:g}, n = {looks[0]} to {looks[-1]}"
            known = intervals.looking_coverage(interval, looks, p)
            cases.append(Case(name, setting, draw, p, limits, is_promise, known))
    return sorted(cases, key=lambda case: case.setting, reverse=True)


def _designs(settings: Settings) -> list[Case]:
    """Replicates, strata, and two settings on the same starts."""
    n, replicates = settings.num_samples, settings.num_replicates
    size = n // replicates
    strata, shares = np.array([0.02, 0.3, 0.6, 0.99]), np.full(4, 0.25)
    leave, join = 0.02, 0.035

    def disc(generator: np.random.Generator) -> np.ndarray:
        """Points of scrambled Sobol sequences in a disc of the wanted area anywhere in the unit square."""
        square = DISC / np.pi
        centre = generator.uniform(square**0.5, 1.0 - square**0.5, 2)
        points = [qmc.Sobol(2, rng=generator).random(64) for _ in range(replicates // 2)]
        return np.sum(np.sum((np.array(points) - centre) ** 2, axis=-1) <= square, axis=-1)

    def sobol(counts: np.ndarray) -> intervals.Intervals:
        return intervals.replicated_intervals(counts / 64, 64, LEVEL).intervals

    def student(counts: np.ndarray) -> intervals.Intervals:
        return intervals.replicated_intervals(counts / size, size, LEVEL).intervals

    def stratified(method: str) -> Callable[[np.ndarray], intervals.Intervals]:
        return lambda counts: intervals.stratified_intervals(counts, 4 * [n // 4], shares, LEVEL, method)

    def change(method: str) -> Callable[[np.ndarray], SimpleNamespace]:
        # All pairs of counts that can occur here, once: thirteen standard deviations on each side.
        left, joined = np.meshgrid(np.arange(120), np.arange(120), indexing="ij")
        table = intervals.paired_differences(left, joined, n, LEVEL, method)
        return lambda counts: SimpleNamespace(low=table.low[*counts[:2]], high=table.high[*counts[:2]])

    def changes(generator: np.random.Generator) -> np.ndarray:
        return generator.multinomial(n, [leave, join, 1.0 - leave - join])

    def in_strata(generator: np.random.Generator) -> np.ndarray:
        return generator.binomial(n // 4, strata)

    cases = [
        Case(
            "Student, few samples pooled",
            f"{replicates} replicates of {size}: p = {p:g}",
            lambda generator, p=p: generator.binomial(size, p, size=replicates),
            p,
            student,
            False,
        )
        for p in settings.fractions
    ]
    within_disc = f"{replicates // 2} scrambled Sobol sequences of 64: disc of {DISC:g}"
    within = f"4 strata, n = {n}"
    paired = f"same starts: 2 % leave, 3.5 % join, n = {n}"
    return [
        *cases,
        Case("Student, few samples pooled", within_disc, disc, DISC, sobol, False),
        Case("exact, as if independent", within_disc, disc, DISC, lambda k: _exact(k.sum(), 32 * replicates), False),
        Case("stratified, pooled", within, in_strata, strata.mean(), stratified("pooled"), True),
        Case("stratified, combined", within, in_strata, strata.mean(), stratified("combined"), False),
        Case("paired score", paired, changes, join - leave, change("score"), False),
        Case("paired exact", paired, changes, join - leave, change("exact"), True),
    ]


LABELS = {
    "setting": "what is drawn",
    "interval": "kind of interval",
    "held": "share of the repetitions in which the truth was inside",
    "held_low": "lower end of the 95 % interval of that share",
    "held_high": "upper end of the 95 % interval of that share",
    "exact": "the same share, summed over all outcomes",
    "mean_width": "mean width of the interval",
    "verdict": "whether the level is kept",
    "is_promise": "whether the level is promised",
}


def measure(settings: Settings) -> xr.Dataset:
    """One case per interval and setting."""
    cases = [*_single(settings), *_classes(settings), *_looking(settings), *_designs(settings)]
    rows = [_row(case, settings) for case in tqdm(cases, disable=None, desc="intervals")]
    return dataset_of(rows, LABELS)


def _row(case: Case, settings: Settings) -> dict[str, object]:
    result = intervals.coverage(case.draw, case.truth, case.interval, settings.repetitions, settings.seed)
    held = result.all_held
    return {
        "setting": case.setting,
        "interval": case.name,
        "held": float(held.estimate),
        "held_low": float(held.low),
        "held_high": float(held.high),
        "exact": case.exact,
        "mean_width": float(np.mean(result.mean_width)),
        "verdict": LOW if result.is_refuted(LEVEL) else HIGH if result.is_excessive(LEVEL) else GOOD,
        "is_promise": case.is_promise,
    }


def findings(results: xr.Dataset) -> list[Finding]:
    """Promises are kept; the bad examples are bad."""
    promised, low = results["is_promise"], results["verdict"] == LOW

    def worst(interval: str, setting: str) -> float:
        chosen = (results["interval"] == interval) & results["setting"].str.contains(setting)
        return float(results["held"].where(chosen).min())

    unseen = "Good-Turing, rule of thumb"
    return [
        none_of("intervals that promise their level and fall below it", (promised & low).sum(), promised.sum()),
        at_least("Wilson's interval, the lowest share held", worst("Wilson", "p ="), 0.88, "Brown, Cai, DasGupta 2001"),
        at_most("Wald's interval at p = 0.001, share held", worst("Wald", "p = 0.001"), 0.7,
                "Brown, Cai and DasGupta 2001"),
        between("an ordinary interval looked at at each of many looks, the lowest share held", worst("exact", "looks"),
                0.7, 0.87, "Howard, Ramdas, McAuliffe and Sekhon 2021"),
        at_most("the rule of thumb for the unseen mass, several basins of 3/n", worst(unseen, "of 3/n"), 0.94),
    ]  # fmt: skip
