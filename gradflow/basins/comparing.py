"""Two settings on the same starts: what a tighter tolerance, another flow or another landscape changes."""

import warnings
from dataclasses import replace

import numpy as np

from gradflow import checks
from gradflow.basins.assembling import assemble
from gradflow.basins.collecting import Collection, Fold
from gradflow.basins.estimates import BasinEstimate, Recheck
from gradflow.basins.jobs import BasinJob, Plan
from gradflow.intervals import PairedComparison, compare_paired
from gradflow.samplers.blocks import words_of_key
from gradflow.samplers.descriptions import described

RECHECKED = 1000
"""Starts that are run again at a hundredth of the tolerance."""

TIGHTER = 1e-2
SMALLEST = 1e-13


def compare_basins(first: BasinEstimate, second: BasinEstimate, level: float = 0.95) -> PairedComparison:
    """Differences of fractions between two estimates of the same starts (common random numbers).

    Start i is the same in both, so most of the variance of two independent estimates cancels; the result says how much
    was gained. Differences are second minus first. Classes are the same if their names are; a discovered class has its
    place in its name, so limits of another landscape have other names unless both were estimated with names of their
    own, ``known={name: point}``, for the points that belong together.

    Warns:
        HypothesisWarning: no class of one is a class of the other, so every start with a limit counts as changed.

    Raises:
        InputError: another sampler, key or number of starts, or estimates that did not keep the class of every start.
    """
    for name, estimate in (("first", first), ("second", second)):
        checks.require(
            estimate.codes is not None and estimate.plan is not None, name, "have kept the class of every start",
            "an estimate without", "Pass keep_codes=True to estimate_basins.",
        )  # fmt: skip
    drawn = [(described(e.plan.sampler), list(words_of_key(e.plan.key)), e.num_samples) for e in (first, second)]
    checks.require(
        drawn[0] == drawn[1], "second", "have the starts of the first: the same sampler, key and number", drawn[1],
        "Estimate both with the same sampler, key and num_samples.",
    )  # fmt: skip
    found = [set(estimate.labels[: estimate.num_classes]) for estimate in (first, second)]
    if all(found) and not found[0] & found[1]:
        warnings.warn(
            "No class of `first` is a class of `second`, so every start with a limit counts as changed. If limits of "
            "the one belong to limits of the other, give them the same names: pass known={name: point} to both calls "
            "of estimate_basins.",
            checks.HypothesisWarning,
            stacklevel=2,
        )
    return compare_paired(_names(first), _names(second), level=level)


def recheck(plan: Plan, wanted: int | None, level: float) -> Recheck | None:
    """The first starts again at a hundredth of the tolerance; None where none are asked for, or none is possible."""
    num = min(RECHECKED if wanted is None else checks.integer("num_rechecked", wanted, at_least=0), plan.num_samples)
    tighter = plan.rtol * TIGHTER
    if num == 0 or tighter < SMALLEST:
        return None
    pair = [_counted(plan, num, factor, level) for factor in (1.0, TIGHTER)]
    # Groups are told apart by both together, so that a group keeps its number.
    both = _side_by_side(pair[0], pair[1], num)
    names = _names(assemble(plan, both, {"level": level}))
    labels = (names[:num], names[num:])
    comparison = compare_paired(*labels, level=level)
    changed = [(a, b) for a, b in zip(*(side.tolist() for side in labels), strict=True) if a != b]
    rows = sorted((a, b, changed.count((a, b))) for a, b in set(changed))
    return Recheck(comparison, tighter, tuple(rows))


def _counted(plan: Plan, num: int, factor: float, level: float) -> Collection:
    again = replace(plan, rtol=plan.rtol * factor, atol=plan.atol * factor, chunk_size=num)
    fold = Fold(None, level)
    fold.add(0, BasinJob(again, np.arange(num), keeps_codes=True)(0))
    return fold.result()


def _side_by_side(first: Collection, second: Collection, num: int) -> Collection:
    """Both as one collection of twice as many starts."""
    moved = tuple(replace(chunk, samples=chunk.samples + num) for chunk in second.chunks)
    return first.added(replace(second, chunks=moved))


def _names(estimate: BasinEstimate) -> np.ndarray:
    assert estimate.codes is not None
    return np.array(estimate.labels, dtype=object)[estimate.codes]
