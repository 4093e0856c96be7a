"""Starts followed to a named limit, or to the reason why there is none.

The kernel stops where the gradient is small; a small gradient is no limit yet. Each stop is examined: at an unstable
point the trajectory is followed on with steps that resolve the instability until it has left, or until longer was
waited than rounding needs to leave any unstable point (only then is it at a saddle); where nothing critical is within
reach the threshold is lowered and the trajectory goes on. Each start is treated by itself, whatever the others do.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from gradflow.ensemble import Ends, Ensemble, orders, plain_orders
from gradflow.flow import AbstractFlow
from gradflow.integration import integrate
from gradflow.kinks import has_pieces
from gradflow.naming.examination import examine
from gradflow.naming.labels import CRAWLING, NOT_CRITICAL, PASSING, SLOW, Label, Names
from gradflow.naming.namers import AbstractNamer
from gradflow.status import Status
from gradflow.stopping import PATIENCE

MAX_ROUNDS = 8
"""Looks at one trajectory; saddles passed one after the other, and thresholds lowered, take one each."""

LOWERED = 1e-2
"""Factor on the gradient threshold where nothing critical is within reach."""

RESOLVED = 0.5
"""Longest step at an unstable point, in units of 1/|lowest eigenvalue|."""

LEAK = 100 * float(np.finfo(float).eps)
"""Part of the gradient along the unstable direction that rounding of the direction alone explains."""

LOUD = 10.0
"""Growth of the gradient at which an unstable point counts as left."""

ESCAPED = Label("escaped", "undetermined")
NONFINITE = Label("nonfinite", "undetermined")
AT_HORIZON = Label("undetermined: on its way at the horizon", "undetermined")
OUT_OF_STEPS = Label("undetermined: out of steps", "undetermined")
STALLED = Label("undetermined: the step size fell to rounding level", "undetermined")

_ENDINGS = {
    orders.HORIZON: AT_HORIZON, orders.ESCAPED: ESCAPED, orders.NONFINITE: NONFINITE, orders.STEP_LIMIT: OUT_OF_STEPS,
    orders.STALLED: STALLED,
}  # fmt: skip
_TRY_AGAIN = (NOT_CRITICAL.text, SLOW.text, CRAWLING.text)


@dataclass(frozen=True, eq=False)
class Fates:
    """What became of some starts, one row each.

    Attributes:
        ends: where, when and why each trajectory was stopped last.
        names: batches of names with the rows that they are for; every stationary end is in exactly one.
        labels: for the other rows why they have no limit, None for those in `names`.
    """

    ends: Ends
    names: tuple[tuple[Int[np.ndarray, " rows"], Names], ...]
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Follower:
    """Everything that decides the fate of a start, besides the start.

    Attributes:
        flow: the flow.
        ensemble: the same, compiled.
        namer: says what is at an end.
        shared: tolerances and limits (:func:`gradflow.ensemble.shared_settings`).
        quiet: gradient norm that counts as small at first.
        t1: horizon.
    """

    flow: AbstractFlow
    ensemble: Ensemble
    namer: AbstractNamer
    shared: Float[np.ndarray, " settings"]
    quiet: float
    t1: float

    def follow(
        self,
        states: Float[np.ndarray, "num n"],
        samples: Int[np.ndarray, " num"],
        times: Float[np.ndarray, " num"] | None = None,
    ) -> Fates:
        """The fates of some starts.

        Args:
            states: starts as rows.
            samples: their numbers.
            times: flow times at which they are there, if they have been followed before.
        """
        num = len(states)
        told = plain_orders(num, self.quiet, self.t1)
        if times is not None:
            told[:, orders.ORDERS.index("time")] = times
        ends = self._rescued(states, self.ensemble.run(states, told, self.shared))
        has_dwelt = np.zeros(num, bool)
        quiet = np.full(num, self.quiet)
        named: list[tuple[np.ndarray, Names]] = []
        open_rows = np.flatnonzero(ends.codes == orders.STATIONARY)
        for turn in range(MAX_ROUNDS):
            if len(open_rows) == 0:
                break
            names = self.namer.names(self._batch(ends.states[open_rows]), samples[open_rows], has_dwelt[open_rows])
            texts = _texts(names)
            passing = np.isin(texts, [PASSING.text]) & ~has_dwelt[open_rows]
            again = np.isin(texts, _TRY_AGAIN)
            goes_on = passing | again if turn < MAX_ROUNDS - 1 else np.zeros(len(open_rows), bool)
            named.append((open_rows[~goes_on], _rows(names, ~goes_on)))
            quiet[open_rows[again]] *= LOWERED
            ends, has_dwelt = self._passed(ends, open_rows[goes_on & passing], has_dwelt, quiet)
            ends = self._further(ends, open_rows[goes_on & again & ~passing], quiet)
            rows = open_rows[goes_on]
            open_rows = rows[ends.codes[rows] == orders.STATIONARY]
        labels = np.full(num, None, object)
        for code, label in _ENDINGS.items():
            labels[ends.codes == code] = label
        return Fates(ends, tuple(named), labels)

    def _batch(self, states: np.ndarray) -> Any:
        return self.ensemble.unflatten(states)

    def _further(self, ends: Ends, rows: np.ndarray, quiet: np.ndarray) -> Ends:
        """The same ends with some rows followed down to their present thresholds."""
        if len(rows) == 0:
            return ends
        told = self._orders(ends, rows, quiet[rows])
        return ends.put(rows, self.ensemble.run(ends.states[rows], told, self.shared))

    def _orders(self, ends: Ends, rows: np.ndarray, quiet: Any) -> np.ndarray:
        told = plain_orders(len(rows), 0.0, self.t1)
        for name, value in (("time", ends.times[rows]), ("quiet", quiet), ("first_step", ends.steps[rows])):
            told[:, orders.ORDERS.index(name)] = value
        return told

    def _passed(
        self, ends: Ends, rows: np.ndarray, has_dwelt: np.ndarray, quiet: np.ndarray
    ) -> tuple[Ends, Bool[np.ndarray, " num"]]:
        """Follows rows at unstable points until they have left them, or have dwelt there long enough.

        The time of a row that has dwelt is the one at which it arrived. A row whose gradient has a part along the
        unstable direction, however small, is not kept there by the flow but by rounding, which may swallow the
        increments of a step: such a row goes on being passed.
        """
        if len(rows) == 0:
            return ends, has_dwelt
        arrived = ends.times
        seen = examine(self.flow.problem, self._batch(ends.states[rows]))
        pace = np.maximum(np.abs(seen.lowest), np.finfo(float).tiny)
        keeps = seen.offset * pace <= LEAK * seen.given_grad_norm
        told = self._orders(ends, rows, -1.0)
        until = np.minimum(ends.times[rows] + PATIENCE / pace, min(self.t1, 1e150))
        loud = LOUD * np.maximum(ends.grad_norms[rows], self.quiet)
        for name, value in (("stop_time", until), ("max_step", RESOLVED / pace), ("loud", loud)):
            told[:, orders.ORDERS.index(name)] = value
        ends = ends.put(rows, self.ensemble.run(ends.states[rows], told, self.shared))
        left = rows[ends.codes[rows] == orders.LEFT]
        ends = self._further(ends, left, quiet)
        waited = rows[(ends.codes[rows] == orders.HORIZON) & (ends.times[rows] < min(self.t1, 1e150))]
        waited = np.setdiff1d(waited, left)
        kept = np.setdiff1d(waited, rows[~keeps])
        has_dwelt, codes, when = has_dwelt.copy(), ends.codes.copy(), ends.times.copy()
        has_dwelt[kept], codes[waited], when[kept] = True, orders.STATIONARY, arrived[kept]
        return replace(ends, codes=codes, times=when), has_dwelt

    def _rescued(self, states: np.ndarray, ends: Ends) -> Ends:
        """The same ends; those that explicit steps could not follow across kinks by :func:`gradflow.integrate`."""
        rows = np.flatnonzero(np.isin(ends.codes, (orders.STEP_LIMIT, orders.STALLED)))
        if len(rows) == 0 or not has_pieces(self.flow):
            return ends
        rtol, atol, _, max_norm, max_steps = self.shared
        for row in rows:
            start = jax.tree.map(lambda leaf: leaf[0], self._batch(states[[row]]))
            run = integrate(self.flow, start, self.t1, rtol=rtol, atol=atol, max_norm=max_norm,
                            max_steps=int(max_steps), progress=False)  # fmt: skip
            later = Ends(
                self.ensemble.flatten(jax.tree.map(lambda leaf: np.asarray(leaf)[None], run.endpoint)),
                np.array([_CODES.get(run.status, orders.STALLED)]),
                np.array([run.end_time]),
                np.array([0.0]),
                np.array([0.0]),
                np.array([run.num_steps]),
                np.array([run.num_rejected]),
            )
            ends = ends.put(np.array([row]), later)
        return ends


_CODES = {
    Status.STATIONARY: orders.STATIONARY, Status.HORIZON: orders.HORIZON, Status.ESCAPED: orders.ESCAPED,
    Status.NONFINITE: orders.NONFINITE, Status.STEP_LIMIT: orders.STEP_LIMIT, Status.STALLED: orders.STALLED,
}  # fmt: skip


def _texts(names: Names) -> np.ndarray:
    """The text of each row's label, empty where its class is a group."""
    table = np.array([*(label.text for label in names.labels), ""], dtype=object)
    return table[names.codes]


def _rows(names: Names, chosen: Bool[np.ndarray, " num"]) -> Names:
    """The names of some rows; the groups are kept, and count only members that have no label."""
    return replace(names, codes=names.codes[chosen], members=names.members[chosen], losses=names.losses[chosen],
                   params=names.params[chosen])  # fmt: skip
