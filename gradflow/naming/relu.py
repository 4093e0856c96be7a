"""Endpoints of networks with one ReLU unit, named by cone and captured singular value (paper 002, section 5).

Inside a cone the loss is that of a shallow linear network with one unit. The least loss over all cones, kinks
included, tells global from spurious minima; paper 002's claim that the critical points of the cones suffice for that
is false. The flat cone, where the unit is silent on every sample and nothing moves, is one class, its edge included as
far as the flow is driven across it. Endpoints on other kinks have no name.
"""

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from gradflow.critical_sets import relu_cones
from gradflow.critical_sets.relu_cones.cones import CLEAR_RTOL
from gradflow.naming.evaluation import Evaluator, Flat
from gradflow.naming.examination import Examination, examine_rows
from gradflow.naming.labels import CONTRADICTION, KINK, NOT_FINITE, SLOW, Label, Names, encoded
from gradflow.naming.namers import AbstractNamer
from gradflow.naming.reasons import reasons, staying
from gradflow.problem import Regression

MAX_SAMPLES = 8
"""Largest number of samples for which the global minimum is looked for over all cones."""

LOSS_RTOL = 1e-9
"""Losses closer than this multiple of the loss of zero output are equal."""

EDGE_RTOL = 1e-5
"""Forces and gradients up to this multiple of the problem's scale are those of a flow that has all but arrived."""


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
        assigned = np.full(len(flat), None, dtype=object)
        finite = np.isfinite(flat).all(axis=1) & np.isfinite(losses)
        silent = finite & self._is_silent(flat)
        assigned[silent] = Label("flat cone", "degenerate", self._size)
        assigned[~finite] = NOT_FINITE
        for row in np.flatnonzero(finite & ~silent & self._is_least(losses)):
            assigned[row] = self._global(self._cone(flat[row]))
        rows = np.flatnonzero([label is None for label in assigned])
        if len(rows):
            found = examine_rows(self.problem, evaluate, flat[rows])
            assigned[rows] = self._local(found, flat[rows], has_dwelt[rows])
            params[rows], losses[rows] = found.params, found.loss
        labels, codes = encoded(assigned)
        return Names(labels, codes, None, np.full(len(flat), -1), losses, params)

    def _local(self, found: Examination, flat: Flat, has_dwelt: np.ndarray) -> np.ndarray:
        """Labels of endpoints above the least loss that are not silent."""
        assigned = reasons(self.problem, found, has_dwelt)
        stays = staying(found, has_dwelt)
        for row in range(len(found)):
            if assigned[row] is KINK:
                assigned[row] = self._edge(flat[row])
            if assigned[row] is not None:
                continue
            cone = self._cone(found.params[row])
            if cone != self._cone(flat[row]):
                assigned[row] = KINK  # the critical point of the endpoint's piece lies behind a kink
                continue
            label = self._inside(cone, float(found.loss[row]), int(found.index[row]))
            assigned[row] = SLOW if label.kind == "degenerate" and not stays[row] else label
        return assigned

    @functools.cached_property
    def _size(self) -> float:
        return 0.5 * float(np.sum(self.problem.Y**2))

    def _is_least(self, losses: Float[np.ndarray, " num"]) -> Bool[np.ndarray, " num"]:
        """Where a loss is the least there is, kinks or not; no other limit has that value."""
        return (
            np.zeros(len(losses), dtype=bool) if self._least is None else losses <= self._least + LOSS_RTOL * self._size
        )

    def _cone(self, row: Float[np.ndarray, " n"]) -> tuple[int, ...]:
        """The samples on which the unit is active, 0-based."""
        return tuple(np.flatnonzero((self._preactivations(row[None])[0] > 0) & self._live).tolist())

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
        return self._inside(left, self._least, 0)

    def _edge(self, row: Float[np.ndarray, " n"]) -> Label:
        """The label of an endpoint with one preactivation that cannot be told from zero.

        A flow that crosses a kink where the unit falls silent on a sample stops on it: nothing moves it further. Such a
        limit belongs to the closure of the minima of the cone behind. It is one when the sample is held (pushed into
        silence, or silent and seen by no active sample), the piece of the active samples is critical there, and its
        loss is the least of that piece. However weak a force back, the flow will leave along it.
        """
        X, Y = np.asarray(self.problem.X), np.asarray(self.problem.Y)
        first, second = row[: len(X)], row[len(X) :]
        values = self._preactivations(row[None])[0]
        sizes = np.linalg.norm(first) * np.linalg.norm(X, axis=0)
        unclear = (np.abs(values) <= CLEAR_RTOL * sizes) & self._live
        cone = tuple(np.flatnonzero((values > 0) & ~unclear & self._live).tolist())
        hidden = np.where(np.isin(np.arange(len(values)), cone), values, 0.0)
        residual = np.outer(second, hidden) - Y
        gradient = np.concatenate([X @ np.where(hidden > 0, second @ residual, 0.0), residual @ hidden])
        scale = np.linalg.norm(Y) * np.linalg.norm(X) * np.linalg.norm(row)
        force = (second @ residual)[unclear]
        is_apart = np.abs(X[:, unclear].T @ X[:, list(cone)]).max(axis=1, initial=0.0) == 0.0
        is_held = (force > 0) | ((values[unclear] <= 0) & ((force == 0) | ((values[unclear] < 0) & is_apart)))
        if unclear.sum() != 1 or not cone or not is_held.all() or np.linalg.norm(gradient) > EDGE_RTOL * scale:
            return KINK
        piece, loss = self._piece(cone), 0.5 * float(np.sum(residual**2))
        is_top = piece.num_positive > 0 and abs(loss - self._piece_value(piece, 0)) <= LOSS_RTOL * self._size
        return self._inside(cone, loss, 0) if is_top else KINK

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
        values = self._preactivations(flat)
        sizes = np.linalg.norm(row, axis=1)[:, None] * np.linalg.norm(X, axis=0)
        unclear = (np.abs(values) <= CLEAR_RTOL * sizes) & self._live
        hidden = np.maximum(values, 0.0)
        slopes = (second**2).sum(axis=1)[:, None] * hidden - np.matmul(second[:, None, :], Y)[:, 0, :]
        is_off = (values < 0) & ~unclear
        is_pushed = unclear & ((slopes > 0) | (values < 0))
        is_silent = (is_off | is_pushed | ~self._live).all(axis=1)
        return np.asarray(is_silent & row.any(axis=1) & (unclear.sum(axis=1) <= 1))

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

    def _inside(self, cone: tuple[int, ...], loss: float, index: int) -> Label:
        """The label of a critical point inside a cone, from its loss and index."""
        piece = self._piece(cone)
        tolerance = LOSS_RTOL * piece.dead_loss
        shown = "{" + ", ".join(str(sample + 1) for sample in cone) + "}"
        for place, group in enumerate(piece.groups):
            if group[0] >= piece.num_positive:
                continue
            value, sigma = self._piece_value(piece, place), f"s^2 = {piece.sigma[group[0]]:.6g}"
            if abs(loss - value) > 2 * tolerance:
                continue
            if (place == 0) != (index == 0):
                return CONTRADICTION
            if place > 0:
                return Label(f"strict saddle in the cone {shown}, {sigma}", "strict_saddle", value)
            kind = self._kind_of_minimum(value, tolerance)
            return Label(f"{kind.replace('_', ' ')} in the cone {shown}, {sigma}", kind, value)
        if abs(loss - piece.dead_loss) <= tolerance:
            kind = "strict_saddle" if index else "degenerate"
            return Label(f"{kind.replace('_', ' ')} with zero output in the cone {shown}", kind, piece.dead_loss)
        return CONTRADICTION

    def _kind_of_minimum(self, value: float, tolerance: float) -> str:
        if self._least is None:
            return "local_minimum"
        return "global_minimum" if value <= self._least + tolerance else "spurious_minimum"
