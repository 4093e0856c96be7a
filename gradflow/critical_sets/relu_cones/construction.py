"""Critical points of a piece from their free parameters: paper 002's closed form, with its eq. (13) corrected.

With ``W = U_J V`` (orthonormal columns, then zero ones), an invertible C and any L1 that obeys (12),

    A2_I = W C,   A1_I = C^-1 W^T Y_J X_J^+ + L1 - C^-1 W^T W C L1 X_J X_J^+,

and then ``A1_I X_J = C^-1 W^T Y_J X_J^+ X_J + C^-1 P_ker(V) C L1 X_J`` with ``P_ker(V) = I - W^T W``. W instead of V
makes the arguments independent of the choice of eigenvectors. For one hidden unit W is a unit vector of one eigenspace
and C a number.

Source: paper 002, eqs. (10)-(15); (13) has ``I - P_ker(V)`` in print.
"""

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.relu_cones.cones import Cone, dead_row, pattern
from gradflow.critical_sets.relu_cones.feasibility import checked_samples
from gradflow.critical_sets.relu_cones.pieces import Piece, piece_of
from gradflow.critical_sets.relu_cones.regressions import Layers, ReluData, relu_data
from gradflow.problem import AbstractProblem

CONDITION_RTOL = 1e-9
"""Relative size up to which the conditions on W and eq. (12) count as met."""


def spectrum(problem: AbstractProblem, samples: tuple[int, ...]) -> Piece:
    """The piece of the samples J: eigenvectors, grouped eigenvalues, rows and free directions.

    Raises:
        InputError: not a ReLU regression, or J out of range or with neutral samples.
    """
    data = relu_data(problem)
    return piece_of(data, checked_samples(data, samples))


def construct(
    problem: AbstractProblem,
    cone: Cone,
    directions: Float[np.ndarray, "d_2 n"],
    *,
    C: Float[np.ndarray, "n n"] | None = None,
    L1: Float[np.ndarray, "n d_0"] | None = None,
    dead_rows: Float[np.ndarray, "num_dead d_0"] | None = None,
    dead_columns: Float[np.ndarray, "d_2 num_dead"] | None = None,
) -> Layers:
    """The critical point ``(A1, A2)`` of the piece on a product cone that belongs to ``W = directions``, C and L1.

    Args:
        problem: a ReLU regression.
        cone: ``K_{I x J}`` with n units in I, see :meth:`Cone.product`.
        directions: W, orthonormal columns followed by zero ones; their span must be invariant under Sigma_J.
        C: invertible, default the identity.
        L1: default zero.
        dead_rows: the rows of A1 outside I, default one row with ``a x_j < 0`` for all samples.
        dead_columns: the columns of A2 outside I, free; default zero.

    Accuracy: the gradient of the piece is below 1e-12 of its scale for well conditioned C.

    Raises:
        InputError: the cone is no product, a condition on W or eq. (12) is not met, or the point is not in the cone.

    Source: paper 002, Proposition 6 (Proposition 7 for one unit).
    """
    data = relu_data(problem)
    checks.require(cone.is_product, "cone", "be a product I x J", cone.active)
    units, piece = cone.units, piece_of(data, checked_samples(data, cone.samples))
    W, C, L1 = _checked_parameters(data, piece, len(units), directions, C, L1)
    inverse = np.linalg.inv(C)
    regression = piece.left @ piece.rows
    row_space = np.eye(len(data.X)) - piece.free.T @ piece.free
    first, second = np.zeros((data.num_units, len(data.X))), np.zeros((len(data.Y), data.num_units))
    first[list(units)] = inverse @ (W.T @ regression) + L1 - inverse @ (W.T @ W) @ C @ L1 @ row_space
    second[:, list(units)] = W @ C
    dead = [unit for unit in range(data.num_units) if unit not in units]
    if dead:
        first[dead] = _dead_rows(data, len(dead)) if dead_rows is None else dead_rows
        second[:, dead] = 0.0 if dead_columns is None else dead_columns
    found = pattern(data, (first, second)).active
    checks.require(
        found == cone.active, "L1", f"put the point into the cone {cone.active}", f"a point of {found}",
        "Ask gradflow.critical_sets.relu_cones.existence whether the cone has such points, and sample for one.",
    )  # fmt: skip
    return first, second


def active_preactivations(
    piece: Piece, directions: Float[np.ndarray, "d_2 n"], C: Float[np.ndarray, "n n"], L1: Float[np.ndarray, "n d_0"]
) -> Float[np.ndarray, "n active"]:
    """The right-hand side of eq. (13), ``C^-1 W^T Y_J X_J^+ X_J + C^-1 P_ker(V) C L1 X_J``; no sign is checked.

    Source: paper 002, eq. (13) with ``P_ker(V)`` in place of ``I - P_ker(V)``.
    """
    inverse, W = np.linalg.inv(C), directions
    kernel = np.eye(W.shape[1]) - W.T @ W
    return inverse @ (W.T @ piece.left @ piece.rows) @ piece.X + inverse @ kernel @ C @ L1 @ piece.X


def _checked_parameters(
    data: ReluData,
    piece: Piece,
    num_active: int,
    directions: np.ndarray,
    C: np.ndarray | None,
    L1: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    W = checks.finite_array("directions", directions, ndim=2)
    shape = (len(data.Y), num_active)
    checks.require(W.shape == shape, "directions", f"have shape {shape}", W.shape)
    rank = int(np.sum(np.any(W != 0, axis=0)))
    gram = np.diag((np.arange(num_active) < rank).astype(float))
    defect = float(np.max(np.abs(W.T @ W - gram), initial=0.0))
    checks.require(defect <= CONDITION_RTOL, "directions", "have orthonormal columns, then zero ones", W.T @ W)
    sigma = (piece.left * piece.sigma) @ piece.left.T
    outside = float(np.max(np.abs(sigma @ W - W @ (W.T @ sigma @ W)), initial=0.0))
    checks.require(
        outside <= CONDITION_RTOL * max(float(piece.sigma[0]), 1e-300), "directions",
        "span a space that Sigma_J leaves invariant", f"a defect of {outside:.3g}", "See spectrum(problem, J).left.",
    )  # fmt: skip
    C = np.eye(num_active) if C is None else checks.finite_array("C", C, ndim=2)
    checks.require(C.shape == (num_active, num_active), "C", f"have shape {(num_active, num_active)}", C.shape)
    checks.require(float(np.linalg.cond(C)) < 1e12, "C", "be invertible", f"condition {np.linalg.cond(C):.3g}")
    L1 = np.zeros((num_active, len(data.X))) if L1 is None else checks.finite_array("L1", L1, ndim=2)
    checks.require(L1.shape == (num_active, len(data.X)), "L1", f"have shape {(num_active, len(data.X))}", L1.shape)
    condition = (np.eye(len(W)) - W @ W.T) @ piece.Y @ piece.X.T @ L1.T @ C.T @ (np.eye(num_active) - gram)
    size = np.linalg.norm(piece.Y) * np.linalg.norm(piece.X) * np.linalg.norm(L1) * np.linalg.norm(C)
    checks.require(
        float(np.linalg.norm(condition)) <= CONDITION_RTOL * float(size), "L1", "obey eq. (12)",
        f"a defect of {np.linalg.norm(condition):.3g}",
    )  # fmt: skip
    return W, C, L1


def _dead_rows(data: ReluData, count: int) -> np.ndarray:
    row = dead_row(data)
    checks.require(
        row is not None, "cone", "leave no unit out when no row has a x_j < 0 for all samples",
        f"{count} dead units", "0 lies in the convex hull of the columns of X.",
    )  # fmt: skip
    assert row is not None
    return np.tile(row, (count, 1))
