"""Do the intervals of whole estimates of basins hold the exactly known fractions as often as they promise?

Question: from starts over trajectories, names and counts to intervals: of 2000 repetitions of all of it, how many
nominal 95 % intervals hold the true fraction: 0.5, 0.05, 0.001, eight wells at once, a Sobol design? How many labels
are wrong? And does a basin that is found in no start still stay below its upper bound?
Prediction: no label is wrong; Clopper-Pearson, the simultaneous intervals and the one-sided bound never fall below
95 %; Wilson's and the design's stay near it.
Method: landscapes whose separatrices are known: ``1/2 (1 - uv)^2 + 1/4 (u^2 - v^2)^2``, where the sign of u + v decides
(the exchange ``(u, v) -> (-v, -u)`` keeps its fixed line), and the separable double well in three dimensions; boxes
that the separatrices cut into known shares. Start i depends on (key, i) alone, so a run of all starts is cut into
repetitions, each an estimate with its own intervals; a second way makes separate estimates, each with its own key. The
observed share has its own Clopper-Pearson interval; "TOO LOW" when 95 % is excluded at the level 0.001.
Cost: three minutes on two cores.
Source: math.md on paper 003 for the separatrix of the chain; Brown, Cai and DasGupta 2001 for coverage.

Run: ``gradflow run basin_coverage``
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from tqdm import tqdm

import gradflow as gf
from gradflow import intervals, samplers
from gradflow.laboratory import Finding, at_least, dataset_of, none_of

LEVEL = 0.95
REFUTED = 0.001
DESIGNS = 50
"""Designs drawn by one estimate; the cost of a chunk grows with their number."""

LOW, GOOD = "TOO LOW", "keeps its level"


@dataclass(frozen=True)
class Settings:
    """How many repetitions of how many starts."""

    repetitions: int = 2000
    num_samples: int = 1000
    separate: int = 40
    fractions: tuple[float, ...] = (0.5, 0.05, 0.001)
    replicates: int = 8
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(repetitions=60, num_samples=200, separate=2, fractions=(0.05,))


@dataclass(frozen=True)
class Case:
    """A landscape, starts, and the truth: the class of a start, and the fractions of all classes."""

    name: str
    flow: gf.GradientFlow
    sampler: Any
    known: dict[str, Float[np.ndarray, " n"]]
    truth: Callable[[Any], Int[np.ndarray, " num"]]
    fractions: Float[np.ndarray, " classes"]


def chain(fraction: float) -> Case:
    """Box [-a, 1]^2 of the balanced chain, in which u + v < 0 has the wanted share, ``2 a^2 / (1 + a)^2``."""
    ratio = np.sqrt(fraction / 2)
    flow = gf.GradientFlow(gf.Landscape(_chain, name="1/2 (1 - uv)^2 + 1/4 (u^2 - v^2)^2"))
    box = samplers.Box(-ratio / (1 - ratio), 1.0, like=2)
    known = {"negative": -np.ones(2), "positive": np.ones(2)}
    return Case(f"chain, {fraction:g}", flow, box, known, _sign_of_sum, np.array([fraction, 1 - fraction]))


def _chain(p: Any) -> Any:
    return 0.5 * (1 - p[0] * p[1]) ** 2 + 0.25 * (p[0] ** 2 - p[1] ** 2) ** 2


def _sign_of_sum(starts: Any) -> Int[np.ndarray, " num"]:
    return (starts.sum(axis=1) > 0).astype(np.int64)


def wells(shares: tuple[float, float, float] = (0.5, 0.1, 0.04)) -> Case:
    """A tilted box of the double well: coordinate i is negative in the share ``shares[i]``, so 8 known products."""
    flow = gf.GradientFlow(gf.Landscape(_wells, name="sum x^4/4 - x^2/2"))
    negative = np.array(shares)
    box = samplers.Box(-2.0 * negative, 2.0 * (1 - negative))
    signs = np.array([[1.0 if number >> i & 1 else -1.0 for i in range(3)] for number in range(8)])
    known = {f"well {number}": sign for number, sign in enumerate(signs)}
    fractions = np.where(signs > 0, 1 - negative, negative).prod(axis=1)
    return Case("eight wells, 0.432 to 0.002", flow, box, known, _octant, fractions)


def _wells(x: Any) -> Any:
    return jnp.sum(x**4 / 4 - x**2 / 2)


def _octant(starts: Any) -> Int[np.ndarray, " num"]:
    return ((starts > 0) @ np.array([1, 2, 4])).astype(np.int64)


def estimated(case: Case, num: int, seed: int, **more: Any) -> gf.BasinEstimate:
    """One estimate of a case."""
    settings: dict[str, Any] = {"known": case.known, "progress": False, "num_rechecked": 0, "level": LEVEL} | more
    return gf.estimate_basins(case.flow, case.sampler, seed, num, **settings)


def repetitions(case: Case, settings: Settings) -> tuple[list[gf.BasinEstimate], int]:
    """Estimates of successive blocks of starts, rows in the order of the classes; and how many labels were wrong."""
    num = settings.repetitions * settings.num_samples
    whole = estimated(case, num, settings.seed, keep_codes=True)
    rows = [whole.row(name) if name in whole.labels else -1 for name in case.known]
    assert whole.codes is not None
    place = np.full(len(whole.labels), len(rows))
    for number, row in enumerate(rows):
        place[row] = number if row >= 0 else place[row]
    found = place[whole.codes]
    wrong = 0
    for begin in range(0, num, 100_000):
        indices = np.arange(begin, min(begin + 100_000, num))
        wrong += int((found[indices] != case.truth(case.sampler.starts(settings.seed, indices))).sum())
    return [_block(whole, case, part) for part in found.reshape(settings.repetitions, -1)], wrong


def separate(case: Case, settings: Settings) -> list[gf.BasinEstimate]:
    """Estimates made one by one, each with its own key."""
    wholes = [estimated(case, settings.num_samples, settings.seed + 1 + i) for i in range(settings.separate)]
    return [_block(whole, case, _places(whole, case)) for whole in wholes]


def _places(whole: gf.BasinEstimate, case: Case) -> Int[np.ndarray, " num"]:
    names = list(case.known)
    table = np.array([names.index(label) if label in names else len(names) for label in whole.labels])
    assert whole.codes is not None
    return table[whole.codes]


def _block(whole: gf.BasinEstimate, case: Case, places: Int[np.ndarray, " num"]) -> gf.BasinEstimate:
    """The estimate that these starts alone would have given, with a row for every class."""
    counts = np.bincount(places, minlength=len(case.known) + 1)
    shown = np.append(counts, [0, 0])
    labels = (*case.known, *whole.labels[-3:])
    return replace(whole, labels=labels, kinds=labels, counts=shown, replicate_counts=shown[:, None])


LABELS = {
    "case": "landscape and known fractions",
    "interval": "kind of interval",
    "repetitions": "repetitions",
    "held": "share of the repetitions in which the truth was inside",
    "held_low": "lower end of the 95 % interval of that share",
    "held_high": "upper end of the 95 % interval of that share",
    "verdict": "whether the level is kept",
    "is_promise": "whether the level is promised",
    "wrong_labels": "starts with a wrong label; NaN where they were counted in another row",
}


def _row(
    case: Case, name: str, held: Bool[np.ndarray, " repetitions"], wrong: int | None, is_promise: bool = True
) -> dict[str, object]:
    num, good = len(held), int(held.sum())
    limits = intervals.proportion_intervals(good, num)
    strict = intervals.proportion_intervals(good, num, 1 - REFUTED)
    return {
        "case": case.name,
        "interval": name,
        "repetitions": num,
        "held": good / num,
        "held_low": float(limits.low),
        "held_high": float(limits.high),
        "verdict": LOW if float(strict.high) < LEVEL else GOOD,
        "is_promise": is_promise,
        "wrong_labels": np.nan if wrong is None else float(wrong),
    }


def _inside(limits: Any, truth: np.ndarray) -> Bool[np.ndarray, " classes"]:
    return np.asarray((limits.low[: len(truth)] <= truth) & (truth <= limits.high[: len(truth)]))


def _rows_of(case: Case, blocks: list[gf.BasinEstimate], wrong: int | None, note: str = "") -> list[dict[str, object]]:
    truth = case.fractions
    single = np.array([_inside(block.intervals, truth) for block in blocks])
    rows = [_row(case, f"Clopper-Pearson{note}", single[:, 0], wrong)]
    if not note:
        wilson = np.array([_inside(block.wilson, truth) for block in blocks])
        rows.append(_row(case, "Wilson", wilson[:, 0], wrong, is_promise=False))
        upper = [block.upper_bound(block.labels[0]) >= truth[0] for block in blocks]
        rows.append(_row(case, "upper bound, one-sided", np.array(upper), wrong))
    together = np.array([_inside(block.simultaneous, truth).all() for block in blocks])
    rows.append(_row(case, f"simultaneous, all classes{note}", together, wrong))
    if len(truth) > 2 and not note:
        rows.append(_row(case, "each alone, all classes", single.all(axis=1), wrong, is_promise=False))
    return rows


def sobol(case: Case, settings: Settings) -> list[dict[str, object]]:
    """Estimates from designs, many designs drawn at once: replicates are independent, so groups of them are designs."""
    size = 2 ** int(np.log2(settings.num_samples // settings.replicates))
    groups = min(DESIGNS, settings.repetitions)
    design = replace(case, sampler=samplers.Sobol(case.sampler, replicates=groups * settings.replicates))
    held: list[bool] = []
    for number in range(settings.repetitions // groups):
        whole = estimated(design, groups * settings.replicates * size, settings.seed + number)
        row = whole.row(next(iter(case.known)))
        for columns in np.split(whole.replicate_counts, groups, axis=1):
            limits = replace(whole, counts=columns.sum(axis=1), replicate_counts=columns).intervals
            held.append(bool(limits.low[row] <= case.fractions[0] <= limits.high[row]))
    name = f"{settings.replicates} Sobol replicates of {size}"
    return [_row(case, name, np.array(held), None, is_promise=False)]


def measure(settings: Settings) -> xr.Dataset:
    """One row per case and interval."""
    rows: list[dict[str, object]] = []
    cases = [*(chain(fraction) for fraction in settings.fractions), wells()]
    for case in tqdm(cases, disable=None, desc="cases"):
        blocks, wrong = repetitions(case, settings)
        rows += _rows_of(case, blocks, wrong)
        if len(case.known) == 2:
            rows += sobol(case, settings)
    case = chain(settings.fractions[-1])
    rows += _rows_of(case, separate(case, settings), None, ", separate keys")
    results = dataset_of(rows, LABELS, "row")
    return results.assign(num_samples=xr.Variable((), settings.num_samples, {"long_name": "starts of one repetition"}))


def findings(results: xr.Dataset) -> list[Finding]:
    """Promises are kept, labels are right, and what promises nothing is near its level."""
    promised, low = results["is_promise"], results["verdict"] == LOW
    nominal = (results["interval"] == "Wilson") | results["interval"].str.contains("Sobol")
    return [
        none_of("intervals that promise their level and fall below it", (promised & low).sum(), promised.sum()),
        none_of("wrong labels, the worst landscape", results["wrong_labels"].max(),
                (results["repetitions"] * results["num_samples"]).max()),
        at_least("Wilson's and the design's intervals, the lowest share held", results["held"].where(nominal).min(),
                 0.88, "Brown, Cai and DasGupta 2001"),
    ]  # fmt: skip
