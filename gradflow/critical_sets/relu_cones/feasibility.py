"""Whether a cone contains critical points of its piece, decided by linear programs.

Let n units be active on J and capture `counts` directions per group, k in all. The rows of A1 must lie in

    F = {a in K_J : a E = 0},   a E = 0 :  a in span(rows of B that are captured) + free   when k = n,
                                           a X_J Y_J^T (I - P) = 0                         when k < n,

with P the projector on the captured directions, and together they must produce the captured rows of B up to `free`. As
F is convex, n rows can do that exactly when F is not empty and its span contains these rows: a sequence of linear
programs. For one unit and a group of multiplicity q this is paper 002's (16)-(17) as 2q programs.

Exact when every positive group is captured whole or not at all, or there is one unit; otherwise the directions captured
inside a group are searched for, and not finding any gives ``"unknown"``. The spectrum, cleaned at 1e-9, is taken at
its word.

Source: paper 002, Propositions 6 and 7; the criterion for k < n is proved in :func:`feasible_rows`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.relu_cones.cones import Samples, dead_row
from gradflow.critical_sets.relu_cones.linear_programs import (
    SUSPICION,
    Decision,
    RowCone,
    complement,
    decide,
    row_basis,
    unit_columns,
)
from gradflow.critical_sets.relu_cones.pieces import Piece, piece_of
from gradflow.critical_sets.relu_cones.regressions import ReluData, relu_data
from gradflow.problem import AbstractProblem

SPAN_RTOL = 1e-7
"""What is left of a unit row outside a span, below which it counts as contained."""

INSET = 0.3
"""How much of an inner row is added to a row on the border of a cone to bring it inside."""

TURNS = 8
"""How many bases of partly captured groups are tried when there is more than one unit."""


@dataclass(frozen=True, eq=False)
class Existence:
    """Whether critical points of the piece exist in ``K_{I x J}`` with this pattern.

    Attributes:
        exists: True, False, or ``"unknown"``.
        interior: True when some have all active preactivations positive; ``"unknown"`` when that is not clear.
        margin: the largest cosine by which all strict inequalities can be kept at once, 0 or less when they cannot.
        rows: members of F that span it as far as needed, empty unless `exists` is True.
        piece: the piece, in whose basis a found pattern is captured.
    """

    exists: Decision
    interior: Decision
    margin: float
    rows: tuple[Float[np.ndarray, " d_0"], ...]
    piece: Piece


def existence(problem: AbstractProblem, samples: Samples, counts: tuple[int, ...], *, num_active: int = 1) -> Existence:
    """Whether the cone of `num_active` units and the samples J has critical points that capture `counts`.

    Args:
        problem: a ReLU regression.
        samples: J, 0-based.
        counts: captured directions per group of equal eigenvalues of Sigma_J, the zero group included; all zero means
            ``A2 = 0``.
        num_active: |I|; the remaining units are dead, which needs a row with ``a x_j < 0`` for all samples.

    Raises:
        InputError: counts that do not fit the groups or exceed `num_active`, or J out of range or with neutral samples.

    Source: paper 002, Propositions 6 and 7, eqs. (13)-(14) and (16)-(17).
    """
    data = relu_data(problem)
    checks.integer("num_active", num_active)
    checks.require(num_active <= data.num_units, "num_active", f"be at most d_1 = {data.num_units}", num_active)
    chosen = checked_samples(data, samples)
    piece = piece_of(data, chosen)
    return feasible_pattern(data, piece, checked_counts(piece, counts, num_active), num_active)


def checked_samples(data: ReluData, samples: Samples) -> Samples:
    """J sorted, checked to consist of live samples."""
    chosen = tuple(sorted(set(samples)))
    remedy = "Samples with x_j = 0 belong to no cone." if set(chosen) <= set(range(data.num_samples)) else ""
    checks.require(set(chosen) <= set(data.live), "samples", f"be among the live samples {data.live}", chosen, remedy)
    return chosen


def checked_counts(piece: Piece, counts: tuple[int, ...], num_active: int) -> tuple[int, ...]:
    """`counts`, checked against the groups of the piece and the number of active units."""
    sizes = tuple(len(group) for group in piece.groups)
    fits = len(counts) == len(sizes) and all(0 <= count <= size for count, size in zip(counts, sizes, strict=True))
    checks.require(fits, "counts", f"be at most {sizes}, one per group", counts)
    checks.require(sum(counts) <= num_active, "counts", f"add up to at most {num_active}", sum(counts))
    return tuple(counts)


def feasible_pattern(data: ReluData, piece: Piece, counts: tuple[int, ...], num_active: int) -> Existence:
    """:func:`existence` for a given piece; dead units and partly captured groups included."""
    if num_active < data.num_units and dead_row(data) is None:
        return Existence(False, False, 0.0, (), piece)
    result = feasible_rows(data, piece, counts, num_active)
    if result.exists is True or num_active == 1 or not _is_partial(piece, counts):
        return result
    rng = np.random.default_rng(0)
    for _ in range(TURNS):
        attempt = feasible_rows(data, piece.turned(_turn(piece, rng)), counts, num_active)
        if attempt.exists is True:
            return attempt
    return Existence("unknown", "unknown", result.margin, (), piece)


def feasible_rows(
    data: ReluData, piece: Piece, counts: tuple[int, ...], num_active: int, zero: Samples = ()
) -> Existence:
    """:func:`existence` for the first directions of each group (any of them for one unit); dead units left out.

    With `zero` the rows are confined to a face and only its relative interior is asked for.

    Proof for k < n. Rows of A1 in F and C_top with ``C_top A1 X_J = B X_J`` are all that is asked, so the rows of B
    lie in span(F) + free. Conversely let p be the sum of spanning members of F; then ``p + eps (b_i + free)`` is in F
    for small eps, and p with these k_+ rows spans what is needed; further copies of p give the null vectors that
    capture zeros. For k = n the rows of A1 must be an invertible image of B (up to free), so F has to span.
    """
    n, k = num_active, sum(counts)
    captured = [index for index in _eligible(piece, counts, n) if index < piece.num_positive]
    inactive = tuple(sample for sample in data.live if sample not in piece.samples and sample not in zero)
    if k == n:
        basis = row_basis(np.vstack([row_basis(piece.rows[captured]), piece.free]))
    else:
        skipped = np.delete(piece.left, list(piece.captured(counts)), axis=1)
        constraint = (data.X[:, piece.samples] @ piece.Y.T) @ skipped
        scale = np.linalg.norm(data.X) * np.linalg.norm(data.Y)
        basis = complement(np.where(np.abs(constraint) < 1e-12 * scale, 0.0, constraint).T)
    cone = RowCone(basis, data.X[:, piece.samples], data.X[:, inactive])
    if n == k == len(captured) == 1 and _has_both_signs(data, piece, captured[0]):
        return Existence(False, False, 0.0, (), piece)
    margin, row = cone.strict_point()
    interior = decide(margin)
    targets = row_basis(piece.rows[captured])
    if interior is True:
        more = _spanning(cone, piece, row, targets, any_will_do=n == 1)[1] if n > 1 else ()
        return Existence(True, True, margin, (row, *more), piece)
    if zero:
        return Existence(interior, interior, margin, (), piece)
    nonempty, row = cone.decides_nonempty()
    if nonempty is not True:
        return Existence(_both(nonempty, interior), interior, margin, (), piece)
    reached, more = _spanning(cone, piece, row, targets, any_will_do=n == 1)
    if reached is not True:
        return Existence(_both(reached, interior), interior, margin, (), piece)
    rows = more[-1:] if n == 1 and more else (row, *more)
    return Existence(True, interior, margin, rows, piece)


def _spanning(
    cone: RowCone,
    piece: Piece,
    inside: Float[np.ndarray, " d_0"],
    targets: Float[np.ndarray, "count d_0"],
    *,
    any_will_do: bool,
) -> tuple[Decision, tuple[np.ndarray, ...]]:
    """Whether the cone's span contains the targets up to `free` (or meets their span), with members that show it."""
    found: list[np.ndarray] = []
    pending = list(targets)
    if any_will_do:
        verdicts: list[Decision] = []
        for target in targets:
            for sign in (1.0, -1.0):
                reached, row = cone.decides_reach(sign * target)
                if reached is True:
                    return True, (INSET * inside + row,)
                verdicts.append(reached)
        return (True if not verdicts else "unknown" if "unknown" in verdicts else False), ()
    while pending:
        basis = row_basis(np.vstack([inside, *found, piece.free]))
        rest = pending[0] - (pending[0] @ basis.T) @ basis
        if np.linalg.norm(rest) < SPAN_RTOL:
            pending.pop(0)
            continue
        direction = rest / np.linalg.norm(rest)
        attempts = [cone.decides_reach(sign * direction) for sign in (1.0, -1.0)]
        reached_rows = [row for reached, row in attempts if reached is True]
        if not reached_rows:
            return ("unknown" if any(reached == "unknown" for reached, _ in attempts) else False), ()
        found.append(INSET * inside + reached_rows[0])
    return True, tuple(found)


def _has_both_signs(data: ReluData, piece: Piece, index: int) -> bool:
    """True when row i of B is clearly positive on one sample of J and clearly negative on another: nothing fits."""
    cosines = piece.rows[index] / np.linalg.norm(piece.rows[index]) @ unit_columns(data.X[:, piece.samples])
    return bool(np.min(cosines) < -SUSPICION and np.max(cosines) > SUSPICION)


def _eligible(piece: Piece, counts: tuple[int, ...], num_active: int) -> tuple[int, ...]:
    """Captured indices; for one unit the whole group, of which any direction will do."""
    if num_active > 1:
        return piece.captured(counts)
    return tuple(index for count, group in zip(counts, piece.groups, strict=True) if count for index in group)


def _is_partial(piece: Piece, counts: tuple[int, ...]) -> bool:
    """True when part of a group of equal positive eigenvalues is captured."""
    chosen = zip(counts, piece.groups, strict=True)
    return any(0 < count < len(group) for count, group in chosen if group[0] < piece.num_positive)


def _turn(piece: Piece, rng: np.random.Generator) -> np.ndarray:
    rotation = np.zeros_like(piece.left)
    for group in piece.groups:
        block = np.linalg.qr(rng.normal(size=(len(group), len(group))))[0]
        rotation[np.ix_(group, group)] = block
    return rotation


def _both(first: Decision, second: Decision) -> Decision:
    """False when the weaker question is answered no, ``"unknown"`` when either is not clear."""
    return "unknown" if "unknown" in (first, second) else first
