"""Endpoints of networks with one ReLU unit, named by cone and captured singular value (paper 002, section 5).

Inside a cone the loss is that of a shallow linear network with one unit. The least loss over all cones, kinks
included, tells global from spurious minima; paper 002's claim that the critical points of the cones suffice for that
is false. The flat cone, where the unit is silent on every sample and nothing moves, is one class, its edge included as
far as the flow is driven across it. Endpoints on other kinks have no name.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from gradflow.critical_sets import relu_cones
from gradflow.critical_sets.relu_cones.cones import CLEAR_RTOL
from gradflow.naming.evaluation import Evaluator, Flat
from gradflow.naming.examination import Examination, examine_rows
from gradflow.naming.labels import CONTRADICTION, KINK, NOT_FINITE, SLOW, Draft, Label, Names
from gradflow.naming.namers import AbstractNamer
from gradflow.naming.reasons import reasons, staying
from gradflow.problem import Regression

MAX_SAMPLES = 8
"""Largest number of samples for which the global minimum is looked for over all cones."""

LOSS_RTOL = 1e-9
"""Losses closer than this multiple of the loss of zero output are equal."""

EDGE_RTOL = 1e-5
"""Forces and gradients up to this multiple of the problem's scale are those of a flow that has all but arrived."""


Values = Float[np.ndarray, " num"]
Flags = Bool[np.ndarray, " num"]


@dataclass(frozen=True, eq=False)
class ReluNamer(AbstractNamer):
    """Cone and captured value of endpoints of a network with one ReLU unit; see this module.

    Labels: ``"flat cone"``, ``"global minimum in the cone {1, 2}, s^2 = 4"`` (samples counted from 1), ``"spurious
    minimum ..."``, ``"local minimum ..."`` (global or not is not known), ``"strict saddle ..."``.
    """

    problem: Regression

    def _names(self, evaluate: Evaluator, flat: Flat, samples: np.ndarray, has_dwelt: np.ndarray) -> Names:
        del samples
        losses, params = evaluate.losses(flat), flat.copy()
        assigned = Draft.blank(len(flat))
        finite = np.isfinite(flat).all(axis=1) & np.isfinite(losses)
        silent = finite & self._is_silent(flat)
        assigned.give(silent, Label("flat cone", "degenerate", self._size))
        assigned.give(~finite, NOT_FINITE)
        least = np.flatnonzero(finite & ~silent & self._is_least(losses))
        for cone, members in _by_cone(self._active(flat[least])):
            assigned.give(least[members], self._global(cone))
        rows = np.flatnonzero(assigned.is_open)
        if len(rows):
            found = examine_rows(self.problem, evaluate, flat[rows])
            assigned.put(rows, self._local(found, flat[rows], has_dwelt[rows]))
            params[rows], losses[rows] = found.params, found.loss
        labels, codes = assigned.finished()
        return Names(labels, codes, None, np.full(len(flat), -1), losses, params)

    def _local(self, found: Examination, flat: Flat, has_dwelt: np.ndarray) -> Draft:
        """Labels of endpoints above the least loss that are not silent."""
        assigned = reasons(self.problem, found, has_dwelt)
        stays = staying(found, has_dwelt)
        active = self._active(found.params)
        is_apart = (active != self._active(flat)).any(axis=1)  # the piece's critical point lies behind a kink
        inside = np.flatnonzero(assigned.is_open & ~is_apart)
        kinked = np.flatnonzero(assigned.has(KINK))
        assigned.give(assigned.is_open & is_apart, KINK)
        assigned.put(kinked, self._edges(flat[kinked]))
        for cone, members in _by_cone(active[inside]):
            rows = inside[members]
            assigned.put(rows, self._inside(cone, found.loss[rows], found.index[rows], stays[rows]))
        return assigned

    @functools.cached_property
    def _size(self) -> float:
        return 0.5 * float(np.sum(self.problem.Y**2))

    def _is_least(self, losses: Float[np.ndarray, " num"]) -> Bool[np.ndarray, " num"]:
        """Where a loss is the least there is, kinks or not; no other limit has that value."""
        return (
            np.zeros(len(losses), dtype=bool) if self._least is None else losses <= self._least + LOSS_RTOL * self._size
        )

    def _active(self, flat: Flat) -> Bool[np.ndarray, "num samples"]:
        """The samples on which the unit is active."""
        return np.asarray((self._preactivations(flat) > 0) & self._live)

    def _global(self, cone: tuple[int, ...]) -> Label:
        """The label of a global minimum that is reached from a cone.

        At the limit some samples of the cone may have preactivation zero: those that the captured row does not see.
        They are left out, so that minima inside a cone and on its edge have one name.
        """
        piece = self._piece(cone)
        assert self._least is not None
        tolerance = LOSS_RTOL * self._size
        values = piece.rows[0] @ np.asarray(self.problem.X)[:, list(cone)]
        is_single = bool(piece.groups) and piece.groups[0] == (0,)
        if not is_single or abs(self._piece_value(piece, 0) - self._least) > 2 * tolerance:
            return Label("global minimum", "global_minimum", self._least)
        seen = np.abs(values) > CLEAR_RTOL * np.abs(values).max()
        left = tuple(sample for sample, is_seen in zip(cone, seen, strict=True) if is_seen)
        return self._minimum(left, self._least)

    def _edges(self, flat: Flat) -> Draft:
        """The labels of endpoints with a preactivation that cannot be told from zero.

        A flow that crosses a kink where the unit falls silent on a sample stops on it: nothing moves it further. Such a
        limit belongs to the closure of the minima of the cone behind. It is one when the sample is held (pushed into
        silence, or silent and seen by no active sample), the piece of the active samples is critical there, and its
        loss is the least of that piece. However weak a force back, the flow will leave along it.
        """
        X, Y = np.asarray(self.problem.X), np.asarray(self.problem.Y)
        second = flat[:, len(X) :]
        values, unclear = self._unclear(flat)
        active = (values > 0) & ~unclear & self._live
        hidden = np.where(active, values, 0.0)
        residual = second[:, :, None] * hidden[:, None, :] - Y
        forces = np.matmul(second[:, None, :], residual)[:, 0, :]
        gradient = np.concatenate(
            [np.matmul(X, np.where(hidden > 0, forces, 0.0)[:, :, None]), np.matmul(residual, hidden[:, :, None])],
            axis=1,
        )[:, :, 0]
        scale = np.linalg.norm(Y) * np.linalg.norm(X) * np.linalg.norm(flat, axis=1)
        is_seen = np.matmul(active, (X.T @ X) != 0.0)
        is_held = (forces > 0) | ((values <= 0) & ((forces == 0) | ((values < 0) & ~is_seen)))
        is_held = (is_held | ~unclear).all(axis=1) & (unclear.sum(axis=1) == 1)
        is_edge = is_held & active.any(axis=1) & (np.linalg.norm(gradient, axis=1) <= EDGE_RTOL * scale)
        assigned, losses = Draft.blank(len(flat)), 0.5 * (residual**2).sum(axis=(1, 2))
        for cone, members in _by_cone(active[is_edge]):
            rows, piece = np.flatnonzero(is_edge)[members], self._piece(cone)
            top = self._piece_value(piece, 0) if piece.num_positive > 0 else np.inf
            assigned.give(rows[np.abs(losses[rows] - top) <= LOSS_RTOL * self._size], self._minimum(cone, top))
        assigned.give(assigned.is_open, KINK)
        return assigned

    @staticmethod
    def _piece_value(piece: relu_cones.Piece, place: int) -> float:
        return piece.loss(tuple(int(other == place) for other in range(len(piece.groups))))

    @functools.cached_property
    def _live(self) -> Bool[np.ndarray, " samples"]:
        return np.asarray(np.asarray(self.problem.X).any(axis=0))

    def _preactivations(self, flat: Flat) -> Float[np.ndarray, "num samples"]:
        d_in = self.problem.network.shapes[0][1]
        return np.matmul(flat[:, None, :d_in], np.asarray(self.problem.X))[:, 0, :]

    def _is_silent(self, flat: Flat) -> Bool[np.ndarray, " num"]:
        """No sample is active, and where that is too close to say the flow drives the unit into silence.

        Near a kink the row moves along ``-rho_j x_j``: the preactivation falls when ``rho_j = A2^T R_j`` is positive.
        """
        X, Y = np.asarray(self.problem.X), np.asarray(self.problem.Y)
        d_in = len(X)
        row, second = flat[:, :d_in], flat[:, d_in:]
        values, unclear = self._unclear(flat)
        hidden = np.maximum(values, 0.0)
        slopes = (second**2).sum(axis=1)[:, None] * hidden - np.matmul(second[:, None, :], Y)[:, 0, :]
        is_off = (values < 0) & ~unclear
        is_pushed = unclear & ((slopes > 0) | (values < 0))
        is_silent = (is_off | is_pushed | ~self._live).all(axis=1)
        return np.asarray(is_silent & row.any(axis=1) & (unclear.sum(axis=1) <= 1))

    def _unclear(self, flat: Flat) -> tuple[Float[np.ndarray, "num samples"], Bool[np.ndarray, "num samples"]]:
        """The preactivations, and which of them cannot be told from zero."""
        X = np.asarray(self.problem.X)
        values = self._preactivations(flat)
        sizes = np.linalg.norm(flat[:, : len(X)], axis=1)[:, None] * np.linalg.norm(X, axis=0)
        return values, (np.abs(values) <= CLEAR_RTOL * sizes) & self._live

    @functools.cache  # noqa: B019 - as long-lived as the namer; a run meets few cones
    def _piece(self, cone: tuple[int, ...]) -> relu_cones.Piece:
        return relu_cones.spectrum(self.problem, cone)

    @functools.cached_property
    def _least(self) -> float | None:
        """The least loss over all cones, None when it is not known."""
        if self.problem.X.shape[1] > MAX_SAMPLES:
            return None
        best = relu_cones.global_minimum(self.problem)
        return best.value if best.is_certain else None

    def _inside(self, cone: tuple[int, ...], losses: Values, index: Int[np.ndarray, " num"], stays: Flags) -> Draft:
        """The labels of critical points inside a cone, from their losses and indices."""
        piece, assigned = self._piece(cone), Draft.blank(len(losses))
        tolerance = LOSS_RTOL * piece.dead_loss
        shown = "{" + ", ".join(str(sample + 1) for sample in cone) + "}"
        for place, group in enumerate(piece.groups):
            if group[0] >= piece.num_positive:
                continue
            value, sigma = self._piece_value(piece, place), f"s^2 = {piece.sigma[group[0]]:.6g}"
            is_here = assigned.is_open & (np.abs(losses - value) <= 2 * tolerance)
            kind = self._kind_of_minimum(value, tolerance) if place == 0 else "strict_saddle"
            assigned.give(is_here, Label(f"{kind.replace('_', ' ')} in the cone {shown}, {sigma}", kind, value))
            assigned.give(is_here & ((index == 0) != (place == 0)), CONTRADICTION)
        is_dead = assigned.is_open & (np.abs(losses - piece.dead_loss) <= tolerance)
        for kind, rows in (("strict_saddle", is_dead & (index != 0)), ("degenerate", is_dead & (index == 0))):
            text = f"{kind.replace('_', ' ')} with zero output in the cone {shown}"
            assigned.give(rows, Label(text, kind, piece.dead_loss))
        assigned.give(is_dead & (index == 0) & ~stays, SLOW)
        assigned.give(assigned.is_open, CONTRADICTION)
        return assigned

    def _minimum(self, cone: tuple[int, ...], loss: float) -> Label:
        """The label of a minimum inside a cone with this loss."""
        found = self._inside(cone, np.array([loss]), np.zeros(1, dtype=np.int64), np.ones(1, dtype=bool))
        return found.finished()[0][0]

    def _kind_of_minimum(self, value: float, tolerance: float) -> str:
        if self._least is None:
            return "local_minimum"
        return "global_minimum" if value <= self._least + tolerance else "spurious_minimum"


def _by_cone(active: Bool[np.ndarray, "num samples"]) -> Iterator[tuple[tuple[int, ...], Int[np.ndarray, " members"]]]:
    """The cones that occur, as samples counted from 0, each with the rows that are in it."""
    if not len(active):
        return
    packed = np.packbits(active, axis=1)
    keys = packed[:, 0] if packed.shape[1] == 1 else packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    parts = np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1])
    for row, members in zip(first, parts, strict=True):
        yield tuple(np.flatnonzero(active[row]).tolist()), members
