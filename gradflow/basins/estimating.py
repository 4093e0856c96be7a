"""Basins of attraction by Monte Carlo: starts drawn, followed to named limits, counted, with intervals.

Chunks of starts are independent of each other; each is the same wherever and whenever it is computed, so an interrupted run
that is begun again, on other workers or in other chunks, ends with the same numbers.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from gradflow import checks, initial_laws, intervals
from gradflow.__about__ import __version__
from gradflow.basins.estimates import ESCAPED, NONFINITE, SPECIAL, UNDETERMINED, BasinEstimate, OpenRuns, Recheck
from gradflow.basins.following import ESCAPED as ESCAPED_LABEL
from gradflow.basins.following import NONFINITE as NONFINITE_LABEL
from gradflow.basins.jobs import BasinJob, Plan
from gradflow.basins.tallies import NUM_BINS, Tallies, Tally, empty
from gradflow.engines.engine import AbstractEngine
from gradflow.engines.folders import RunFolder, open_run
from gradflow.engines.running import RunOutcome, run_chunks
from gradflow.engines.threads import Threads
from gradflow.ensemble.batches import DEFAULT_MAX_STEPS, DEFAULT_RTOL
from gradflow.flow import AbstractFlow
from gradflow.naming.discovery import TOLERANCE
from gradflow.naming.labels import Label
from gradflow.naming.settling import Settled, settle
from gradflow.precision import in_double
from gradflow.samplers.sampler import AbstractSampler

CHUNK_WORK = 2**19
"""Parameters per chunk, about: 65 536 starts of a few parameters, 4096 of a hundred."""

FEWEST, MOST = 256, 65_536
KEEP_CODES = 1_000_000
"""Runs of at most so many starts keep the class of every start unless told otherwise."""

OPEN_KEPT = 100_000
"""Open runs that are kept for continuation."""

RECHECKED = 1000
"""Starts that are run again at a hundredth of the tolerance."""

TIGHTER = 1e-2


@in_double
def estimate_basins(
    flow: AbstractFlow,
    sampler: AbstractSampler,
    key: Any,
    num_samples: int,
    t1: float = math.inf,
    *,
    rtol: float = DEFAULT_RTOL,
    atol: float | None = None,
    grad_tol: float | None = None,
    max_norm: float | None = None,
    max_steps: int = DEFAULT_MAX_STEPS,
    known: Any = None,
    tolerance: float = TOLERANCE,
    level: float = 0.95,
    half_width: float | None = None,
    num_rechecked: int | None = None,
    keep_codes: bool | None = None,
    engine: AbstractEngine | None = None,
    folder: Any = None,
    kernel: str = "auto",
    chunk_size: int | None = None,
    progress: bool = True,
) -> BasinEstimate:
    """Which limits the flow goes to, and from what share of the sampler's starts.

    Args:
        flow: any flow.
        sampler: where it starts; start i depends on `key` and i alone.
        key: a JAX key or a seed.
        num_samples: number of starts.
        t1: horizon, flow time; a start that has not ended by then is undetermined.
        rtol, atol: local error of a step; `atol` is ``1e-3 rtol`` when not given.
        grad_tol: gradient norm at which an end is looked at first; default 1e-6 of a large gradient.
        max_norm: norm at which a start has escaped; default 1e4 times the scale of problem and starts.
        max_steps: attempted steps for one start.
        known: critical points by name, for problems without closed-form theory.
        tolerance: of discovered classes, see :func:`gradflow.naming.namer_for`.
        level: confidence level of the intervals.
        half_width: stop as soon as every class's fraction is known this well; the level is kept (confidence
            sequences), looked at after every chunk in their order.
        num_rechecked: starts, the first ones, that are run again at ``rtol / 100``; default 1000, or all of fewer.
        keep_codes: keep the class of every start; default for up to a million.
        engine: where chunks run; default threads, one for each core. See :mod:`gradflow.engines`.
        folder: keeps finished chunks; the same call goes on from there.
        kernel: see :class:`gradflow.ensemble.Ensemble`.
        chunk_size: starts in a chunk; changes no label and no count.
        progress: show a bar.

    Accuracy: the interval covers what sampling leaves open, the row "undetermined" what the horizon does, `recheck` what
        the tolerance does.

    Raises:
        InputError: a wrong argument. Whatever becomes of a start is a row of the result, never an exception.
        KeyboardInterrupt: after the chunks in hand were kept; the same call with the same folder goes on.
    """
    begun = time.monotonic()
    plan = _plan(flow, sampler, key, num_samples, t1, rtol, atol, grad_tol, max_norm, max_steps, known, tolerance, kernel,
                 chunk_size)  # fmt: skip
    level = intervals.proportion_intervals(0, 1, level).level
    keeps = plan.num_samples <= KEEP_CODES if keep_codes is None else bool(keep_codes)
    job = BasinJob(plan, keeps_codes=keeps)
    job.follower  # noqa: B018  wrong calls are found here, in the caller's thread
    fold = _Fold(plan, half_width, level)
    chosen = Threads() if engine is None else engine
    run: Callable[[RunFolder | None], RunOutcome] = lambda place: run_chunks(  # noqa: E731
        job, chosen, on_part=fold.add, folder=place, is_enough=fold.is_enough, progress=progress, unit=" starts",
        per_chunk=plan.chunk_size,
    )  # fmt: skip
    if folder is None:
        outcome = run(None)
    else:
        with open_run(folder, settings_of(plan, keeps, half_width)) as place:
            outcome = run(place)
    if outcome.signal is not None or fold.tallies is None:
        raise KeyboardInterrupt(str(outcome))
    facts = {"level": level, "wall_seconds": time.monotonic() - begun, "outcome": str(outcome), "version": __version__,
             "kernel": job.follower.ensemble.kernel_name, "grad_tol": job.follower.quiet,
             "max_norm": float(job.follower.shared[3]), "num_failed": len(outcome.failures),
             **{n: getattr(plan, n) for n in ("num_samples", "t1", "rtol", "atol", "max_steps", "chunk_size")}}  # fmt: skip
    estimate = fold.estimate(facts, None)
    return replace(estimate, recheck=_recheck(job, estimate, num_rechecked, level))


def _plan(
    flow: Any, sampler: Any, key: Any, num_samples: Any, t1: float, rtol: float, atol: float | None, grad_tol: float | None,
    max_norm: float | None, max_steps: int, known: Any, tolerance: float, kernel: str, chunk_size: int | None,
) -> Plan:  # fmt: skip
    checks.require(
        isinstance(flow, AbstractFlow), "flow", "be a flow", type(flow).__name__, "Use GradientFlow(problem)."
    )
    checks.require(
        isinstance(sampler, AbstractSampler), "sampler", "be a sampler", type(sampler).__name__,
        "Use gradflow.samplers.Gaussian(0.5, like=problem), Box(low, high), Given(starts) ...",
    )  # fmt: skip
    num = checks.integer("num_samples", num_samples)
    checks.require(
        sampler.size is None or num <= sampler.size,
        "num_samples",
        f"be at most {sampler.size}, the sampler's size",
        num,
    )
    balanced = sampler.balanced_size(num)
    checks.require(
        balanced == num, "num_samples", "be a number at which all replicates are equally large", num,
        f"Use {balanced}.",
    )  # fmt: skip
    if not isinstance(key, jax.Array):
        key = checks.integer("key", key, at_least=0)
    initial_laws.as_key(key)
    size = sum(np.size(leaf[0]) for leaf in jax.tree.leaves(sampler.starts(key, np.zeros(1, np.int64))))
    fitting = int(np.clip(2 ** int(math.log2(max(CHUNK_WORK // size, 1))), FEWEST, MOST))
    return Plan(
        flow=flow, sampler=sampler, key=key, num_samples=num,
        t1=checks.real("t1", t1, above=0.0, infinite=True),
        rtol=rtol, atol=1e-3 * rtol if atol is None else atol,
        grad_tol=None if grad_tol is None else checks.real("grad_tol", grad_tol, above=0.0),
        max_norm=max_norm, max_steps=max_steps, known=known, tolerance=tolerance, kernel=kernel,
        chunk_size=fitting if chunk_size is None else checks.integer("chunk_size", chunk_size),
    )  # fmt: skip


class _Fold:
    """Adds chunks up, in their order; the mutable middle of :func:`estimate_basins`."""

    def __init__(self, plan: Plan, half_width: float | None, level: float) -> None:
        self.plan, self.level = plan, level
        self.half_width = None if half_width is None else checks.real("half_width", half_width, above=0.0, below=0.5)
        self.tallies: Tallies | None = None
        self.codes: list[tuple[np.ndarray, Tallies]] = []
        self.open: list[tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]] = []
        self.num_open = 0

    def add(self, index: int, arrays: dict[str, np.ndarray]) -> str:
        """Adds a chunk; what is found so far, in words."""
        found = Tallies.from_arrays(arrays)
        self.tallies = found if self.tallies is None else self.tallies.added(found)
        if "codes" in arrays:
            blank = replace(found, labelled=_light(found.labelled), grouped=_light(found.grouped))
            self.codes.append((arrays["codes"].astype(np.int16 if len(found.labelled) < 30000 else np.int32), blank))
        if self.num_open < OPEN_KEPT and len(arrays["open_samples"]):
            texts = [found.labels[place].text for place in arrays["open_labels"]]
            self.open.append((arrays["open_samples"], arrays["open_states"], arrays["open_times"], texts))
            self.num_open += len(texts)
        return self._said()

    def _said(self) -> str:
        assert self.tallies is not None
        num = self.tallies.num_samples
        open_now = sum(int(c) for label, c in zip(self.tallies.labels, self.tallies.labelled.counts.sum(axis=1), strict=True)
                       if not label.is_decided)  # fmt: skip
        kinds = sum(label.is_decided for label in self.tallies.labels) + len(self.tallies.grouped)
        return f"{kinds} classes in {num:,} starts, {100 * open_now / num:.2g} % without a limit"

    def is_enough(self) -> bool:
        """Whether every class is known as well as was asked for."""
        if self.half_width is None or self.tallies is None:
            return False
        counts = np.concatenate([self.tallies.labelled.counts.sum(axis=1), self.tallies.grouped.counts.sum(axis=1)])
        rest = self.tallies.num_samples - counts.sum()
        return bool(intervals.look(np.append(counts, rest), self.half_width, self.level).is_enough)

    def estimate(self, facts: dict[str, Any], recheck: Recheck | None) -> BasinEstimate:
        """The result of what was added."""
        assert self.tallies is not None
        return assemble(self.plan, self.tallies, self.codes, self.open, facts, recheck)


def _light(tally: Tally) -> Tally:
    return empty(tally.counts.shape[1], 0)


def assemble(
    plan: Plan, tallies: Tallies, codes: list[tuple[np.ndarray, Tallies]], opened: list[Any], facts: dict[str, Any],
    recheck: Recheck | None,
) -> BasinEstimate:  # fmt: skip
    """The estimate that tallies amount to: groups get their labels, rows their order."""
    like = jax.tree.map(lambda leaf: leaf[0], plan.sampler.starts(plan.key, np.zeros(1, np.int64)))
    settled = None if tallies.groups is None else settle(plan.flow.problem, like, tallies.groups)
    labels = [*tallies.labels, *(() if settled is None else settled.labels_of(tallies.groups, tallies.groups))]
    both = Tally(*(np.concatenate([getattr(tallies.labelled, n), getattr(tallies.grouped, n)])
                   for n in Tally.__dataclass_fields__))  # fmt: skip
    rows = [_row(label) for label in labels]
    found: dict[str, Label] = {row: label for row, label in zip(rows, labels, strict=True) if row not in SPECIAL}
    totals = dict.fromkeys(found, 0)
    for row, count in zip(rows, both.counts.sum(axis=1), strict=True):
        totals[row] = totals.get(row, 0) + int(count)
    names = (*sorted(found, key=lambda row: (-totals[row], row)), *SPECIAL)
    place = {name: number for number, name in enumerate(names)}
    where = np.array([place[row] for row in rows], dtype=np.int64)
    summed = _by_row(both, where, len(names))
    reasons: dict[str, int] = {}
    for label, row, count in zip(labels, rows, both.counts.sum(axis=1), strict=True):
        if row == UNDETERMINED:
            reason = label.text.removeprefix("undetermined: ")
            reasons[reason] = reasons.get(reason, 0) + int(count)
    counts = summed.counts.sum(axis=1)
    return BasinEstimate(
        labels=names,
        kinds=tuple(found[n].kind if n in found else n for n in names),
        losses=np.array([found[n].loss if n in found else np.nan for n in names]),
        counts=counts,
        replicate_counts=summed.counts,
        reasons=dict(sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0]))),
        first=summed.first,
        starts=summed.starts,
        ends=summed.ends,
        time_counts=summed.times,
        mean_steps=summed.steps / np.maximum(counts, 1),
        open=_open(opened, plan),
        codes=_codes(codes, settled, tallies, place) if codes else None,
        recheck=recheck,
        facts=facts,
    )


def _row(label: Label) -> str:
    if label.text in (ESCAPED_LABEL.text, NONFINITE_LABEL.text):
        return ESCAPED if label.text == ESCAPED_LABEL.text else NONFINITE
    return label.text if label.is_decided else UNDETERMINED


def _by_row(tally: Tally, where: np.ndarray, num: int) -> Tally:
    """The tally with one row per place; places without a class count nothing."""
    replicates, size = tally.counts.shape[1], tally.starts.shape[1]
    missing = np.setdiff1d(np.arange(num), where)
    nan = np.full((len(missing), size), np.nan)
    blank = Tally(np.zeros((len(missing), replicates), np.int64), np.zeros((len(missing), NUM_BINS), np.int64),
                  np.zeros(len(missing), np.int64), np.full(len(missing), -1), nan, nan, np.full(len(missing), np.nan))  # fmt: skip
    both = Tally(*(np.concatenate([getattr(tally, n), getattr(blank, n)]) for n in Tally.__dataclass_fields__))
    return both.put_together(np.concatenate([where, missing]), num)


def _open(opened: list[Any], plan: Plan) -> OpenRuns:
    if not opened:
        return OpenRuns(np.zeros(0, np.int64), np.zeros((0, 0)), np.zeros(0), ())
    columns = [np.concatenate([entry[i] for entry in opened])[:OPEN_KEPT] for i in range(3)]
    texts = [text.removeprefix("undetermined: ") for entry in opened for text in entry[3]][:OPEN_KEPT]
    return OpenRuns(columns[0], columns[1], columns[2], tuple(texts))


def _codes(
    parts: list[tuple[np.ndarray, Tallies]], settled: Settled | None, tallies: Tallies, place: dict[str, int]
) -> np.ndarray:
    """For each start the number of its row."""
    result = []
    for codes, chunk in parts:
        labels: list[Label] = list(chunk.labels)
        if chunk.groups is not None:
            assert settled is not None and tallies.groups is not None
            labels += settled.labels_of(chunk.groups, tallies.groups)
        table = np.array([place[_row(label)] for label in labels], dtype=np.int16)
        result.append(table[codes])
    return np.concatenate(result)


def _recheck(job: BasinJob, estimate: BasinEstimate, wanted: int | None, level: float) -> Recheck | None:
    """The first starts again at a hundredth of the tolerance; None when none are asked for, or the tolerance allows none."""
    plan = job.plan
    num = min(RECHECKED if wanted is None else checks.integer("num_rechecked", wanted, at_least=0), plan.num_samples)
    tighter = plan.rtol * TIGHTER
    if num == 0 or tighter < 1e-13:
        return None
    samples = np.arange(num)
    labels = []
    for rtol, atol in ((plan.rtol, plan.atol), (tighter, plan.atol * TIGHTER)):
        again = BasinJob(replace(plan, rtol=rtol, atol=atol, chunk_size=num), samples, keeps_codes=True)
        fold = _Fold(again.plan, None, level)
        fold.add(0, again(0))
        found = fold.estimate(estimate.facts, None)
        assert found.codes is not None
        labels.append(np.array(found.labels, dtype=object)[found.codes])
    comparison = intervals.compare_paired(labels[0], labels[1], level=level)
    pairs, counts = np.unique(
        np.array([f"{a}\x00{b}" for a, b in zip(*labels, strict=True) if a != b]), return_counts=True
    )
    rows = [(*pair.split("\x00"), int(count)) for pair, count in zip(pairs.tolist(), counts, strict=True)]
    return Recheck(comparison, tighter, tuple((a, b, n) for a, b, n in rows))


def settings_of(plan: Plan, keeps_codes: bool, half_width: float | None) -> dict[str, Any]:
    """Everything that decides the numbers of a run, for its folder."""
    from gradflow.basins.identity import identity

    return identity(plan) | {"keep_codes": keeps_codes, "half_width": half_width}
