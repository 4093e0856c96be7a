"""A chunk of an estimate: starts drawn, followed, named and tallied. What runs on a worker, wherever that is.

A job is made of what decides its numbers and builds its compiled parts on first use, once per process. What a chunk
comes to depends on the job and on the chunk's number only.
"""

import functools
import math
import threading
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from gradflow.basins.collecting import is_open
from gradflow.basins.following import Fates, Follower
from gradflow.basins.tallies import Tallies, Tally, empty, tallied
from gradflow.ensemble import Ends, Ensemble, gradient_level, shared_settings
from gradflow.flow import AbstractFlow
from gradflow.naming.choosing import namer_for
from gradflow.naming.groups import Groups, locate, merge
from gradflow.naming.labels import OTHER, Draft, Label
from gradflow.precision import in_double
from gradflow.samplers.sampler import AbstractSampler

PILOT = 256
"""Starts, the first ones, from which scales are taken: always the same, whatever the number of samples."""

LARGEST_NORM = 1e150

NOT_COMPUTED = Label("undetermined: its chunk could not be computed", "undetermined")


@dataclass(frozen=True)
class Plan:
    """Everything that decides the numbers of an estimate.

    `grad_tol` and `max_norm` None stand for values from the problem and the first starts.
    """

    flow: AbstractFlow
    sampler: AbstractSampler
    key: Any
    num_samples: int
    t1: float
    rtol: float
    atol: float
    grad_tol: float | None
    max_norm: float | None
    max_steps: int
    known: Any
    tolerance: float
    kernel: str
    solver: str
    chunk_size: int


@dataclass(frozen=True, eq=False)
class BasinJob:
    """The chunks of a plan; see :class:`gradflow.engines.Job`.

    Attributes:
        plan: what decides the numbers.
        samples: numbers of the starts, None for ``0, 1, ..., num_samples - 1``.
        keeps_codes: whether the class of every single start is kept.
    """

    plan: Plan
    samples: Int[np.ndarray, " num"] | None = None
    keeps_codes: bool = False
    _made: dict[str, Any] = field(default_factory=dict, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"plan": self.plan, "samples": self.samples, "keeps_codes": self.keeps_codes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in (*state.items(), ("_made", {}), ("_lock", threading.Lock())):
            object.__setattr__(self, name, value)

    @property
    def num_chunks(self) -> int:
        """How many chunks there are."""
        num = self.plan.num_samples if self.samples is None else len(self.samples)
        return math.ceil(num / self.plan.chunk_size)

    def numbers(self, index: int) -> Int[np.ndarray, " num"]:
        """The numbers of the starts of chunk `index`."""
        size = self.plan.chunk_size
        if self.samples is not None:
            return self.samples[index * size : (index + 1) * size]
        return np.arange(index * size, min((index + 1) * size, self.plan.num_samples))

    @property
    def follower(self) -> Follower:
        """The compiled parts, made on first use."""
        with self._lock:
            if "follower" not in self._made:
                self._made["follower"] = make_follower(self.plan)
            return self._made["follower"]

    @in_double
    def __call__(self, index: int) -> dict[str, np.ndarray]:
        """The tallies of chunk `index` as arrays, and what was left open."""
        numbers = self.numbers(index)
        follower = self.follower
        states = follower.ensemble.flatten(self.plan.sampler.starts(self.plan.key, numbers))
        fates = follower.follow(states, numbers)
        return self.counted(states, numbers, fates)

    def lost(self, index: int) -> dict[str, np.ndarray]:
        """What stands for chunk `index` when it could not be computed: undetermined starts, at their starts."""
        numbers = self.numbers(index)
        states = self.follower.ensemble.flatten(self.plan.sampler.starts(self.plan.key, numbers))
        zero, whole = np.zeros(len(numbers)), np.zeros(len(numbers), np.int64)
        ends = Ends(states, whole, zero, zero, zero, whole, whole)
        labels = np.full(len(numbers), None, object)
        labels[:] = NOT_COMPUTED
        return self.counted(states, numbers, Fates(ends, (), labels))

    def counted(self, states: np.ndarray, numbers: np.ndarray, fates: Fates) -> dict[str, np.ndarray]:
        """The tallies of some fates as arrays, with the states of those that were left open."""
        sampler = self.plan.sampler
        labels, groups, places = classes(fates)
        replicates = np.asarray(sampler.replicate(numbers))
        split, ends = len(labels), fates.ends
        tally = tallied(places, split + (0 if groups is None else len(groups)), replicates, sampler.num_replicates,
                        numbers, states, ends.states, ends.times, ends.num_steps)  # fmt: skip
        blank: Tally = empty(sampler.num_replicates, states.shape[1])
        whole = Tallies(
            labels, tally.at(slice(0, split)), groups, blank if groups is None else tally.at(slice(split, None))
        )
        found = whole.arrays()
        undecided = np.array([is_open(label) for label in labels] + [False], dtype=bool)
        rows = np.flatnonzero(undecided[np.minimum(places, split)])
        found |= {"open_samples": numbers[rows], "open_states": ends.states[rows], "open_times": ends.times[rows],
                  "open_labels": places[rows].astype(np.int32)}  # fmt: skip
        return found | ({"codes": places.astype(np.int32), "samples": numbers} if self.keeps_codes else {})


def make_follower(plan: Plan) -> Follower:
    """The compiled parts of a plan."""
    like = plan.sampler.starts(plan.key, np.zeros(1, np.int64))
    ensemble = Ensemble(plan.flow, _first(like), plan.kernel, solver=plan.solver, rtol=plan.rtol)
    most = PILOT if plan.sampler.size is None else min(PILOT, plan.sampler.size)
    pilot = ensemble.flatten(plan.sampler.starts(plan.key, np.arange(most)))
    quiet = plan.grad_tol if plan.grad_tol is not None else gradient_level(plan.flow, ensemble, pilot)
    max_norm = plan.max_norm if plan.max_norm is not None else default_max_norm(plan.flow, pilot)
    shared = shared_settings(plan.rtol, plan.atol, max_norm, plan.max_steps)
    namer = namer_for(plan.flow, plan.known, plan.tolerance)
    return Follower(plan.flow, ensemble, namer, shared, quiet, plan.t1)


def default_max_norm(flow: AbstractFlow, pilot: np.ndarray) -> float:
    """1e4 times the largest of 1, the norm of a minimiser where it is known, and the norms of the first starts."""
    norms = np.linalg.norm(pilot, axis=1)
    norms = norms[np.isfinite(norms)]
    return min(1e4 * max(1.0, flow.problem.minimiser_norm or 0.0, float(norms.max(initial=0.0))), LARGEST_NORM)


def classes(fates: Fates) -> tuple[tuple[Label, ...], Groups | None, Int[np.ndarray, " num"]]:
    """The labels that occur, the groups, and for each row the place of its class: labels first, then groups."""
    assigned, members = Draft.blank(len(fates.labels)), np.full(len(fates.labels), -1)
    told = np.flatnonzero(fates.labels.astype(bool))  # None is false
    kinds = {label.text: label for label in fates.labels[told].tolist()}
    texts = np.array([label.text for label in fates.labels[told].tolist()], dtype=object)
    for text, label in kinds.items():
        assigned.give(told[texts == text], label)
    groups = _merged([names.groups for _, names in fates.names if names.groups is not None])
    for rows, names in fates.names:
        assigned.put(rows, Draft(names.codes, list(names.labels)))
        if groups is not None and names.groups is not None:
            inside = names.members >= 0
            place = locate(groups, names.groups.keys, names.groups.leaders)
            members[rows[inside]] = place[names.members[inside]]
    assigned.give(assigned.is_open & (members < 0), OTHER)
    labels, codes = assigned.finished()
    return labels, groups, np.where(codes < 0, len(labels) + members, codes)


def _merged(parts: list[Groups]) -> Groups | None:
    return functools.reduce(merge, parts) if parts else None


def _first(batch: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], batch)
