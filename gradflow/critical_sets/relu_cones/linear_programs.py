"""Half-open polyhedral cones of rows a, and the linear programs everything here is decided by.

A cone is ``{a = z K : a x_j >= 0 (j nonnegative), a x_k < 0 (k negative)}`` with orthonormal rows K and unit vectors x:
equalities are built into K, so rounding cannot violate them. Coefficients below :data:`CLEAN` are set to zero first
(rounding of zeros otherwise "creates" critical points), and a strict inequality must hold with a margin: above
:data:`CLEAR` it holds, below :data:`NOISE` it does not, and between the two nobody can tell.

Where only non-emptiness is asked, and often, :meth:`RowCone.depth` answers by the theorem of the alternative instead,
a hundred times faster than a linear program.

Knows no network. Source: paper 002, eqs. (16)-(17).
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import scipy.linalg
from jaxtyping import Float
from scipy.optimize import linprog, nnls

CLEAN = 1e-12
"""Coefficients of the programs below this are zero (they are inner products of unit vectors)."""

NOISE = 1e-9
"""Margins up to this are rounding; the solver's own tolerance is ten times smaller."""

CLEAR = 1e-6
"""Margins above this are real."""

SUSPICION = 1e-2
"""When loosening every inequality by :data:`NOISE` moves an optimum from 0 to above this, the 0 is not trusted."""

Decision: TypeAlias = bool | Literal["unknown"]

_SOLVER = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


@dataclass(frozen=True, eq=False)
class RowCone:
    """``{a = z K : a x_j >= 0, a x_k < 0}``.

    Attributes:
        basis: K, orthonormal rows.
        nonnegative, negative: the vectors x_j and x_k as columns; only their directions matter.
    """

    basis: Float[np.ndarray, "dim d_0"]
    nonnegative: Float[np.ndarray, "d_0 num_nonnegative"]
    negative: Float[np.ndarray, "d_0 num_negative"]

    def strict_point(self) -> tuple[float, Float[np.ndarray, " d_0"]]:
        """The largest t with ``a x_j >= t, a x_k <= -t, |z| <= 1, t <= 1`` and a row that attains it; 0 if none."""
        if self.depth(strict=True) <= NOISE:
            return 0.0, np.zeros(self.basis.shape[1])
        return self._widest(strict=True, slack=0.0)

    def point(self, slack: float = 0.0) -> tuple[float, Float[np.ndarray, " d_0"]]:
        """The largest t with ``a x_j >= -slack, a x_k <= -t, |z| <= 1, t <= 1`` and a row that attains it."""
        return self._widest(strict=False, slack=slack)

    def depth(self, *, strict: bool = False) -> float:
        """The largest t with ``a x_j >= 0`` (``>= t`` when `strict`), ``a x_k <= -t``, ``|z|_2 <= 1``; 0 if none.

        Motzkin's alternative: t is the distance of 0 from ``{sum l_j x_j - sum m_k x_k : l, m >= 0, sum m = 1}``, for
        which nonnegative least squares is made (l counts in the sum when `strict`).
        """
        columns = np.vstack([-self._coefficients(self.nonnegative), self._coefficients(self.negative)]).T
        strictness = np.concatenate(
            [np.full(self.nonnegative.shape[1], float(strict)), np.ones(self.negative.shape[1])]
        )
        if not strictness.any():
            return 1.0
        system = np.vstack([columns, strictness])
        target = np.append(np.zeros(len(self.basis)), 1.0)
        rest = target - system @ nnls(system, target)[0]
        return float(np.linalg.norm(rest[:-1]) / (1.0 - rest[-1]))

    def extreme(
        self, functional: Float[np.ndarray, " d_0"], slack: float = 0.0
    ) -> tuple[float, Float[np.ndarray, " d_0"]]:
        """The largest ``a functional`` over the closed cone (all inequalities weak) with ``|z| <= 1``."""
        dim = len(self.basis)
        if dim == 0:
            return 0.0, np.zeros(self.basis.shape[1])
        bounds = np.full(self.nonnegative.shape[1] + self.negative.shape[1], slack)
        matrix = np.vstack([-self._coefficients(self.nonnegative), self._coefficients(self.negative)])
        result = maximise(self.basis @ functional, matrix, bounds, [(-1.0, 1.0)] * dim)
        return (0.0, np.zeros(self.basis.shape[1])) if result is None else (result[0], result[1] @ self.basis)

    def decides_nonempty(self) -> tuple[Decision, Float[np.ndarray, " d_0"]]:
        """Whether the cone has a point, with one."""
        margin, row = self.point()
        decision = decide(margin)
        if decision is False and self.point(slack=NOISE)[0] > SUSPICION:
            return "unknown", row
        return decision, row

    def decides_reach(self, functional: Float[np.ndarray, " d_0"]) -> tuple[Decision, Float[np.ndarray, " d_0"]]:
        """Whether ``a functional > 0`` for some a of the closed cone, with one; `functional` a unit vector."""
        value, row = self.extreme(functional)
        decision = decide(value)
        if decision is False and self.extreme(functional, slack=NOISE)[0] > SUSPICION:
            return "unknown", row
        return decision, row

    def _coefficients(self, columns: Float[np.ndarray, "d_0 count"]) -> Float[np.ndarray, "count dim"]:
        return cleaned(unit_columns(columns).T @ self.basis.T)

    def _widest(self, *, strict: bool, slack: float) -> tuple[float, np.ndarray]:
        dim, num_negative = len(self.basis), self.negative.shape[1]
        num_nonnegative = self.nonnegative.shape[1]
        if dim == 0:
            empty = num_negative or (strict and num_nonnegative)
            return (0.0 if empty else 1.0), np.zeros(self.basis.shape[1])
        needs_margin = np.concatenate([np.full(num_nonnegative, float(strict)), np.ones(num_negative)])
        matrix = np.vstack([-self._coefficients(self.nonnegative), self._coefficients(self.negative)])
        matrix = np.column_stack([matrix, needs_margin])
        bounds = np.concatenate([np.full(num_nonnegative, slack), np.zeros(num_negative)])
        objective = np.append(np.zeros(dim), 1.0)
        result = maximise(objective, matrix, bounds, [(-1.0, 1.0)] * dim + [(-1.0, 1.0)])
        if result is None:
            return -1.0, np.zeros(self.basis.shape[1])
        return result[0], result[1][:dim] @ self.basis


def decide(margin: float) -> Decision:
    """True above :data:`CLEAR`, False up to :data:`NOISE`, ``"unknown"`` between."""
    if margin > CLEAR:
        return True
    return False if margin <= NOISE else "unknown"


def cleaned(matrix: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """`matrix` with entries below :data:`CLEAN` set to zero."""
    return np.where(np.abs(matrix) < CLEAN, 0.0, matrix)


def unit_columns(columns: Float[np.ndarray, "d_0 count"]) -> Float[np.ndarray, "d_0 count"]:
    """The columns divided by their norms, none of which is zero."""
    return columns / np.linalg.norm(columns, axis=0)


def row_basis(rows: Float[np.ndarray, "count d_0"], rtol: float = 1e-10) -> Float[np.ndarray, "dim d_0"]:
    """An orthonormal basis of the span of `rows`, as rows."""
    return scipy.linalg.orth(rows.T, rcond=rtol).T if rows.size else np.zeros((0, rows.shape[1]))


def complement(rows: Float[np.ndarray, "count d_0"], rtol: float = 1e-10) -> Float[np.ndarray, "dim d_0"]:
    """An orthonormal basis of ``{a : a . row = 0 for all rows}``, as rows."""
    return scipy.linalg.null_space(rows, rcond=rtol).T if rows.size else np.eye(rows.shape[1])


def maximise(
    objective: np.ndarray, matrix: np.ndarray, bounds: np.ndarray, box: list[tuple[float, float]]
) -> tuple[float, np.ndarray] | None:
    """Optimum of ``objective . z`` over ``matrix z <= bounds`` in the box, None when infeasible (or not solved)."""
    constraints = {"A_ub": matrix, "b_ub": bounds} if len(matrix) else {}
    result = linprog(-objective, **constraints, bounds=box, method="highs", options=_SOLVER)
    return (float(-result.fun), cleaned(np.asarray(result.x))) if result.status == 0 else None
