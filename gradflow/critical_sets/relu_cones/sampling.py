"""Random members of a class of critical points, from the linear programs' solutions and the free parameters.

Source: paper 002, Proposition 6: C, the part of L1 that X_J does not see, the dead units.
"""

import numpy as np
import scipy.linalg

from gradflow import checks
from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.keys import generator
from gradflow.critical_sets.relu_cones.cones import dead_row, pattern
from gradflow.critical_sets.relu_cones.feasibility import Existence, feasible_pattern, feasible_rows
from gradflow.critical_sets.relu_cones.linear_programs import RowCone, complement, unit_columns
from gradflow.critical_sets.relu_cones.pieces import Piece, piece_of
from gradflow.critical_sets.relu_cones.regressions import Layers, ReluData, relu_data
from gradflow.initial_laws import KeyLike
from gradflow.problem import AbstractProblem

ROUNDING = 1e-12
"""Norm of a row of the linear programs, whose rows are of size 1, below which it is zero."""

SHRINKAGES = 12
"""How often a random step that leaves the cone is halved before it is given up."""


def sample(problem: AbstractProblem, critical_class: CriticalClass, key: KeyLike | np.random.Generator) -> Layers:
    """A random member ``(A1, A2)`` of a class that :func:`enumerate_classes` listed.

    Scale, null directions and dead units are random; the law is not uniform in any sense. Members of a class with
    interior points are interior.

    Raises:
        InputError: another family's class, a class whose existence is ``"unknown"``, or one of another problem.
    """
    rng = generator(key)
    checks.require(
        critical_class.family == "relu_cones" and critical_class.pattern["exists"] is True,
        "critical_class", "be a class of relu_cones that exists", critical_class,
    )  # fmt: skip
    data = relu_data(problem)
    shape = critical_class.pattern
    if shape["kind"] == "origin":
        return np.zeros((data.num_units, len(data.X))), np.zeros((len(data.Y), data.num_units))
    if shape["kind"] == "dead":
        return _with_dead_units(data, np.zeros((0, len(data.X))), np.zeros((len(data.Y), 0)), rng)
    zero = shape["Z"]
    piece = piece_of(data, tuple(index for index in shape["J"] if index not in zero), zero)
    num_active = len(shape["I"])
    counts = shape["counts"]
    checks.require(len(counts) == len(piece.groups), "critical_class", "be one of this problem", counts)
    feasible = (
        feasible_rows(data, piece, counts, 1, zero) if zero else feasible_pattern(data, piece, counts, num_active)
    )
    checks.require(feasible.exists is True, "critical_class", "be one of this problem", dict(shape))
    rows = _rows(data, feasible, counts, num_active, rng)
    rows = _jittered(data, feasible.piece, rows, pattern(data, (rows, np.zeros((len(data.Y), num_active)))).active, rng)
    second = _second_layer(feasible.piece, counts, rows, rng)
    return _with_dead_units(data, rows, second, rng)


def _rows(
    data: ReluData, feasible: Existence, counts: tuple[int, ...], num_active: int, rng: np.random.Generator
) -> np.ndarray:
    """N members of F that span what has to be captured, times a random matrix that keeps them in F."""
    piece, found = feasible.piece, feasible.rows
    captured = [index for index in piece.captured(counts) if index < piece.num_positive]
    if num_active == 1:
        row = found[0] if sum(counts) else _longest(data, piece, found[0])
        # Rows of a cone are of size 1: what is left of one that can only be zero has no pattern of its own.
        row = row if np.linalg.norm(row) > ROUNDING else np.zeros_like(row)
        return np.exp(rng.normal(scale=0.5)) * row[None]
    if sum(counts) == num_active:
        members = _independent(found, piece, len(captured)) or [found[0]]
        members += [members[0]] * (num_active - len(members))
        base = np.array(members)
    else:
        centre = np.sum(found, axis=0)
        base = np.array([_shifted(data, centre, piece, index) for index in captured])
        base = np.vstack([base.reshape(-1, len(centre)), *[centre[None]] * (num_active - len(captured))])
    base = base / np.linalg.norm(base, axis=1, keepdims=True).clip(1e-300)
    return (np.eye(num_active) + 0.3 * rng.uniform(size=(num_active, num_active))) @ base


def _longest(data: ReluData, piece: Piece, row: np.ndarray) -> np.ndarray:
    """A row with ``Y_J (a X_J)^T = 0`` that is active somewhere, if there is one besides `row`."""
    inactive = tuple(index for index in data.live if index not in piece.samples)
    gram = piece.X @ piece.Y.T
    basis = complement(np.where(np.abs(gram) < 1e-12 * np.linalg.norm(gram), 0.0, gram).T)
    cone = RowCone(basis, piece.X, data.X[:, inactive])
    return row + cone.extreme(unit_columns(piece.X).sum(axis=1))[1]


def _independent(found: tuple[np.ndarray, ...], piece: Piece, count: int) -> list[np.ndarray]:
    """`count` rows whose preactivations are linearly independent, chosen by pivoting."""
    rows = np.array(found)
    hidden = (rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-300)) @ piece.X
    order = scipy.linalg.qr(hidden.T, mode="economic", pivoting=True)[2]
    return [found[index] for index in order[:count]]


def _shifted(data: ReluData, centre: np.ndarray, piece: Piece, index: int) -> np.ndarray:
    """``centre + eps b_i`` (up to free directions) inside the cone, |eps b_i| at most half of |centre|."""
    target = piece.rows[index] / np.linalg.norm(piece.rows[index])
    wanted = pattern(data, (centre[None], np.zeros((len(data.Y), 1)))).active
    zero = np.abs(centre @ piece.X) <= 1e-9 * np.linalg.norm(centre)
    step = 0.5 * (float(np.linalg.norm(centre)) or 1.0)
    for _ in range(40):
        for sign in (1.0, -1.0):
            row = centre + sign * step * target
            same_zero = np.array_equal(np.abs(row @ piece.X) <= 1e-9 * np.linalg.norm(row), zero)
            if pattern(data, (row[None], np.zeros((len(data.Y), 1)))).active == wanted and same_zero:
                return row
        step *= 0.5
    return centre + step * target


def _jittered(
    data: ReluData, piece: Piece, rows: np.ndarray, active: tuple[tuple[int, ...], ...], rng: np.random.Generator
) -> np.ndarray:
    """`rows` plus free directions, small enough to stay in the cone."""
    step = (rng.normal(size=(len(rows), len(piece.free))) @ piece.free) * np.linalg.norm(rows, axis=1, keepdims=True)
    for _ in range(SHRINKAGES):
        moved = rows + step
        if pattern(data, (moved, np.zeros((len(data.Y), len(rows))))).active == active:
            return moved
        step = 0.5 * step
    return rows


def _second_layer(piece: Piece, counts: tuple[int, ...], rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``A2_I = W C_top``: positive directions fit ``Y_J``, zero ones use the null vectors of ``A1_I X_J``."""
    hidden = rows @ piece.X
    num_active, num_outputs = len(rows), len(piece.left)
    captured = piece.captured(counts)
    positive = [index for index in captured if index < piece.num_positive]
    num_zero = len(captured) - len(positive)
    if num_active == 1:
        if positive:
            return piece.Y @ hidden.T / float(np.sum(hidden**2))
        return piece.kernel @ rng.normal(size=(piece.kernel.shape[1], 1)) if num_zero else np.zeros((num_outputs, 1))
    top = (piece.rows[positive] @ piece.X) @ np.linalg.pinv(hidden, rcond=1e-9)
    size = float(np.linalg.norm(rows) * np.linalg.norm(piece.X))
    null = complement(np.where(np.abs(hidden) < 1e-12 * size, 0.0, hidden).T, rtol=1e-9)
    bottom = rng.normal(size=(num_zero, len(null))) @ null
    return piece.left[:, list(captured)] @ np.vstack([top, bottom])


def _with_dead_units(data: ReluData, rows: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> Layers:
    missing = data.num_units - len(rows)
    if missing == 0:
        return rows, second
    row = dead_row(data)
    assert row is not None
    dead = np.exp(rng.normal(size=(missing, 1))) * row
    return np.vstack([rows, dead]), np.hstack([second, rng.normal(size=(len(data.Y), missing))])
