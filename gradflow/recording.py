"""Rows of a trajectory while it grows: all requested times, or accepted steps thinned to a bounded number.

Only real rows ever leave this module; there is no padding.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gradflow import checks
from gradflow.solvers.states import Facts, State
from gradflow.types import Params

MAX_ENTRIES = 20_000_000
"""Numbers kept for one trajectory (160 MB): rows times parameters stays below it."""

MAX_ROWS = 4000

STOPS = 32
"""Requested times that are handed to the compiled steps at once."""


def checked_save_at(save_at: Any, t1: float) -> np.ndarray | None:
    """Save times as a float64 array in the order of integration.

    Raises:
        InputError: unsorted, duplicate, or outside [0, t1].
    """
    if save_at is None:
        return None
    times = checks.finite_array("save_at", np.atleast_1d(save_at), ndim=1)
    forward = times * np.sign(t1)
    checks.require(bool(np.all(np.diff(forward) > 0)), "save_at", "be sorted from 0 towards t1 without duplicates",
                   times.tolist()[:6])  # fmt: skip
    checks.require(forward[0] >= 0 and forward[-1] <= abs(t1), "save_at", f"lie inside [0, {t1:g}]",
                   f"[{times.min():g}, {times.max():g}]")  # fmt: skip
    return times


class Rows:
    """The growing table of one integration; mutable, used by the host loop only.

    `unravel` makes parameters of what the compiled steps run on, leading axes kept.
    """

    def __init__(self, params0: Params, save_at: np.ndarray | None, unravel: Callable[[Params], Params]):
        self.save_at, self.unravel = save_at, unravel
        self.pending = 0
        num_parameters = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params0))
        self.limit = int(min(MAX_ROWS, max(200, MAX_ENTRIES // max(num_parameters, 1))))
        self.stride, self.seen = 1, 0
        self.times: list[float] = []
        self.rows: list[Params] = []
        self.dissipated: list[float] = []
        self._append(0.0, jax.tree.map(np.asarray, params0), 0.0)
        if save_at is not None and save_at[0] == 0.0:
            self.pending = 1

    def restart(self) -> None:
        """Every step counts again: after a change of solver the steps are few and long."""
        self.stride, self.seen = 1, 0

    def next_stops(self, horizon: float) -> np.ndarray:
        """The next :data:`STOPS` times (in modulus) to be hit exactly, with the horizon behind them."""
        coming = [] if self.save_at is None else np.abs(self.save_at[self.pending : self.pending + STOPS])
        stops = np.minimum(np.append(coming, np.full(STOPS, horizon)), horizon)
        return stops[:STOPS]

    def take(self, state: State, count: int) -> None:
        """Adds the last `count` accepted steps that are in the chunk's buffers."""
        if self.save_at is not None:
            self._take_requested(state, count)
            return
        for index in range(count):
            self.seen += 1
            if self.seen % self.stride == 0:
                self._append_row(state, index)
        if len(self.times) > self.limit:
            self._thin()

    def _take_requested(self, state: State, count: int) -> None:
        assert self.save_at is not None
        times = np.asarray(state.times)[:count]
        for index in np.flatnonzero(np.isin(times, self.save_at[self.pending : self.pending + STOPS])):
            self.pending += 1
            self._append_row(state, int(index))

    def _append_row(self, state: State, index: int) -> None:
        row = self.unravel(jax.tree.map(lambda leaf: np.asarray(leaf)[index].copy(), state.rows))
        times, dissipated = np.asarray(state.times), np.asarray(state.dissipations)  # indexing jax's costs 0.2 ms
        self._append(float(times[index]), row, float(dissipated[index]))

    def finish(self, state: State, facts: Facts, fill: bool) -> tuple[np.ndarray, Params, np.ndarray]:
        """Times, stacked parameters and dissipated energy; the last state is always the last row.

        With `fill` (the flow has ended) the requested times that were not reached get the endpoint.
        """
        time, params = facts.time, self._params(state)
        if self.save_at is not None:
            if fill:
                for later in self.save_at[self.pending :]:
                    self._append(float(later), params, facts.dissipated)
            elif time != self.times[-1]:
                self._append(time, params, facts.dissipated)
            first = 0 if self.save_at[0] == 0.0 or len(self.times) == 1 else 1
        else:
            first = 0
            if time != self.times[-1]:
                self._append(time, params, facts.dissipated)
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *self.rows[first:])
        return np.asarray(self.times[first:]), stacked, np.asarray(self.dissipated[first:])

    def _params(self, state: State) -> Params:
        return self.unravel(jax.tree.map(np.asarray, state.params))

    def _append(self, time: float, row: Params, dissipated: float) -> None:
        self.times.append(time)
        self.rows.append(row)
        self.dissipated.append(dissipated)

    def _thin(self) -> None:
        while len(self.times) > self.limit // 2 and self.stride < math.inf:
            keep = slice(None, None, 2)
            self.times, self.rows, self.dissipated = self.times[keep], self.rows[keep], self.dissipated[keep]
            self.stride *= 2
