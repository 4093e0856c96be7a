"""From piece to piece: the first one of a start, and the next one where a guard of the present one has vanished.

Runs on the host, on NumPy arrays; every call decides unit by unit, since the rows of W_1 meet their surfaces
independently of each other.
"""

from dataclasses import dataclass, replace

import equinox as eqx
import numpy as np
from jaxtyping import Bool

from gradflow.activations import Identity
from gradflow.flow import AbstractFlow
from gradflow.kinks.pieces import Piece, PieceProblem, guards_at, outlook, slopes
from gradflow.kinks.sliding import Decision, decide
from gradflow.kinks.surfaces import surfaces_of
from gradflow.networks import Shallow
from gradflow.problem import Regression
from gradflow.types import Weights

ON_SURFACE = 1e-12
"""Distance from a surface, relative to the row of weights, at which it is met."""

SMALL = 1e-3
"""Size of a row of W_1, relative to all weights, below which its rounding errors are no smaller."""

WITHIN = 100.0
"""Roundings by which the limit of a piece may lie beyond its end and count as on it."""

FIRST_CAPACITY, GROWTH = 64, 8
"""Rows for surfaces slid on, and the factor by which they grow: each number of rows is compiled once."""


@dataclass(frozen=True)
class Switch:
    """A piece, the weights put exactly on what they slide on, and what happened: how many of each kind.

    `met` are the surfaces the state is on; `held` those it stays on (slid on, or in the span of those).
    """

    piece: Piece
    params: Weights
    num_crossings: int
    num_slides: int
    num_ambiguous: int
    met: Bool[np.ndarray, "units surfaces"]
    held: Bool[np.ndarray, "units surfaces"]


def first_piece(flow: AbstractFlow, params: Weights, direction: float) -> Switch:
    """The piece on which the solution of `flow` (one that :func:`~gradflow.kinks.has_pieces`) sets out from `params`.

    A start on a surface goes to the side to which its velocity points; where both sides push away the negative one is
    chosen, as ``sigma'(0)`` is by convention, and counted as ambiguous.
    """
    problem = flow.problem
    assert isinstance(problem, Regression) and isinstance(problem.network, Shallow)
    surfaces = surfaces_of(np.asarray(problem.X))
    shape = problem.network.widths[1], surfaces.directions.shape[1]
    first = np.asarray(params[0])
    capacity = min(FIRST_CAPACITY, shape[0] * min(first.shape[1], shape[1]))
    sizes = np.linalg.norm(first, axis=1)
    distances = first @ surfaces.directions
    is_right = distances > ON_SURFACE * sizes[:, None]
    frozen = PieceProblem(
        regression=_without_activation(problem),
        directions=surfaces.directions,
        index=surfaces.index,
        lengths=surfaces.lengths,
        slopes=np.array(slopes(problem.network.activation)),
        signs=np.where(is_right, 1.0, -1.0),
        watched=np.ones(shape, bool),
        units=np.zeros(capacity, np.int64),
        basis=np.zeros((capacity, first.shape[1])),
    )
    piece = Piece(
        problem=frozen,
        surfaces=np.zeros(capacity, np.int64),
        duals=np.zeros((capacity, first.shape[1])),
        scale=np.maximum(sizes, SMALL * np.sqrt(sum(np.sum(np.square(layer)) for layer in params))),
        direction=np.asarray(direction),
    )
    nothing = np.zeros(shape, bool)
    begun = next_piece(Switch(piece, params, 0, 0, 0, nothing, nothing), params)
    return replace(begun, num_crossings=0)


def next_piece(before: Switch, params: Weights) -> Switch:
    """The piece on which the solution goes on from `params`, where a guard of the piece before has vanished."""
    piece = before.piece
    problem = piece.problem
    distances, gradient, jumps = (np.asarray(part) for part in outlook(piece, params)[:3])
    first, last = np.array(params[0]), params[1]
    directions = np.asarray(problem.directions)
    signs, slides = np.array(problem.signs), np.zeros(before.held.shape, bool)
    held, sizes = slides.copy(), np.maximum(np.linalg.norm(first, axis=1), piece.scale)
    met = (np.abs(distances) <= ON_SURFACE * sizes[:, None]) | before.held
    crossings = begun = ambiguous = 0
    for unit in np.flatnonzero(met.any(axis=1)):
        here = np.flatnonzero(met[unit])
        sides = signs[unit, here]
        decision = _decide(gradient[unit], jumps[unit, here], directions[:, here], sides, float(piece.direction))
        slides[unit, here] = decision.slides
        held[unit, here] = decision.slides | decision.pinned
        signs[unit, here] = np.where(decision.slides, -1.0, decision.sides)
        passed = ~held[unit, here] & ~before.held[unit, here]
        first[unit] = _put_on(first[unit], directions[:, here])
        crossings += int(np.sum(passed & (signs[unit, here] != sides)))
        begun += int(np.sum(decision.slides & ~before.held[unit, here]))
        is_new = (met[unit] & ~before.met[unit]).any()
        ambiguous += int(decision.is_ambiguous and is_new)
    # A row that has shrunk keeps its old scale: what is left of it where it vanishes is rounding of what it was.
    piece = _sliding(piece, sizes, signs, slides, held)
    return Switch(piece, (first, last), crossings, begun, ambiguous, met, held)


def is_within(switch: Switch, params: Weights, change: np.ndarray) -> bool:
    """Whether `params` moved by `change` (flattened in acting order) is still inside the piece, up to rounding.

    A flow does not end where the limit of its piece lies beyond the piece's end.
    """
    first, last = np.asarray(params[0]), np.asarray(params[1])
    moved = (first + change[: first.size].reshape(first.shape), last + change[first.size :].reshape(last.shape))
    values, rounding = (np.asarray(part) for part in guards_at(switch.piece, moved))
    return bool(np.all(values >= -WITHIN * rounding))


def _decide(
    gradient: np.ndarray, jumps: np.ndarray, directions: np.ndarray, sides: np.ndarray, direction: float
) -> Decision:
    """:func:`decide` with the gradient as it is on the unit's present sides."""
    on_negative_side = gradient - directions @ np.where(sides > 0, jumps, 0.0)
    return decide(on_negative_side, jumps, directions, sides, direction)


def _without_activation(problem: Regression) -> Regression:
    """The same with a linear hidden layer: pieces of all ReLU-like activations then share their compiled code."""
    return eqx.tree_at(lambda p: p.network.activation, problem, Identity())


def _put_on(row: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """The row exactly on the surfaces that it has met to rounding."""
    left, values, _ = np.linalg.svd(directions, full_matrices=False)
    basis = left[:, values > ON_SURFACE * values[0]]
    for _ in range(2):
        row = row - basis @ (basis.T @ row)
    return row


def _sliding(piece: Piece, sizes: np.ndarray, signs: np.ndarray, slides: np.ndarray, held: np.ndarray) -> Piece:
    """The piece with that pattern, sliding on `slides`, for rows of W_1 of those sizes."""
    problem = piece.problem
    directions = np.asarray(problem.directions)
    count, capacity = int(slides.sum()), problem.basis.shape[0]
    while capacity < count:
        capacity *= GROWTH
    units, surfaces = np.zeros((2, capacity), np.int64)
    basis, duals = np.zeros((2, capacity, len(directions)))
    row = 0
    for unit in np.flatnonzero(slides.any(axis=1)):
        chosen = np.flatnonzero(slides[unit])
        rows = slice(row, row + len(chosen))
        orthonormal, triangle = np.linalg.qr(directions[:, chosen])
        units[rows], surfaces[rows] = unit, chosen
        basis[rows], duals[rows] = orthonormal.T, np.linalg.solve(triangle, orthonormal.T)
        row += len(chosen)
    frozen = replace(
        problem,
        signs=signs,
        watched=~held,
        units=units,
        basis=basis,
    )
    return Piece(frozen, surfaces, duals, sizes, piece.direction)
