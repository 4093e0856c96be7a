"""All classes of critical points, cone by cone, each with what is proved of its members.

Pattern of a class: ``kind``, ``I`` (active units), ``J`` (active samples), ``Z`` (zero preactivations of a kink, else
empty), ``counts`` (captured directions per group of Sigma_J, zeros last), ``sigma`` and ``multiplicity`` (of the
captured group of a single unit, else None), ``exists`` (True or ``"unknown"``), ``interior`` (True, False,
``"unknown"``: whether some members have only positive active preactivations), ``kinked`` (True, False, or None where
it varies or is not known), and for more than one unit ``copies`` (how many choices of I there are). Indices are
0-based.

Kinds: ``"captured"`` (some sigma > 0), ``"degenerate"`` (zero eigenvalues only; for one unit ``A1_I X_J = 0``),
``"silent"`` (``A2_I = 0``), ``"dead"`` (no active entry: a plateau), ``"origin"`` (``A2 = 0, A1 X = 0``), ``"kink"``
(stationary for L_N, critical for no closed piece; one hidden unit).

Categories: ``"global"``, ``"spurious minimum"``, ``"minimum"`` (local; whether global is not known), ``"strict
saddle"``, ``"not a local minimum"`` (a descent direction exists at every member), ``"not stationary"`` (for L_N, only
for the piece), ``"plateau"`` (locally constant, so weakly a minimum and a maximum), ``"undetermined"``. When a class
has members inside its cone, category, index and nullity are about those.

Source: paper 002, Propositions 6 to 8 and Example 1, with the boundaries, A2 = 0 and the kinks that they leave out.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.relu_cones.cones import Samples, dead_row, faces, half_open_cells
from gradflow.critical_sets.relu_cones.feasibility import Existence, feasible_pattern, feasible_rows
from gradflow.critical_sets.relu_cones.kinks import LOSS_RTOL, KinkPoint, kink_points, smallest_loss, unit_point
from gradflow.critical_sets.relu_cones.linear_programs import RowCone, complement, decide, unit_columns
from gradflow.critical_sets.relu_cones.pieces import Piece, piece_of
from gradflow.critical_sets.relu_cones.regressions import ReluData, relu_data
from gradflow.critical_sets.relu_cones.second_order import growth, verdict
from gradflow.critical_sets.relu_cones.stationarity import is_kinked, kinks_of
from gradflow.problem import AbstractProblem

FAMILY = "relu_cones"
SOURCE = "paper 002, Propositions 6 and 7, corrected on the boundaries of the cones"

CATEGORY_OF_VERDICT = {
    "not stationary": "not stationary",
    "minimum": "spurious minimum",
    "not a local minimum": "not a local minimum",
    "undetermined": "undetermined",
}


def enumerate_classes(problem: AbstractProblem) -> tuple[CriticalClass, ...]:
    """Every class of critical points on the cones of `problem`, in ascending order of the loss.

    One hidden unit: all cones, all groups of eigenvalues, the points with ``A1 X_J = 0`` or ``A2 = 0``, the plateau,
    the origin, and the stationary kinks with nonzero output (of a repeated eigenvalue one direction is tried); the
    smallest loss is the global minimum. More units: all product cones ``I x J`` (I stands for all ``C(d_1, |I|)``
    choices) with every rank; patterns that are no product, and kinks, are not covered, so nothing is claimed to be
    global unless its loss is zero.

    Raises:
        InputError: not a ReLU regression, or so many samples that there can be more than
            :data:`~gradflow.critical_sets.relu_cones.cones.MAX_CELLS` cones.
    """
    data = relu_data(problem)
    cells = half_open_cells(data)
    bound: float | None = None
    if data.num_units == 1:
        known_faces = faces(data)
        classes = list(_of_one_unit(data, cells, known_faces))
        lowest = smallest_loss(data, known_faces)
        bound = lowest.value if lowest.is_certain else None
    else:
        classes = list(_of_product_cones(data, cells))
    classes.append(_origin(data))
    named = [_named(data, entry, classes, bound) for entry in classes]
    return tuple(sorted(named, key=lambda entry: (entry.loss, repr(sorted(entry.pattern.items())))))


def _of_one_unit(
    data: ReluData, cells: tuple[Samples, ...], known_faces: tuple[tuple[Samples, Samples], ...]
) -> Iterator[CriticalClass]:
    for samples in cells:
        piece = piece_of(data, samples)
        if not samples:
            yield _dead(data, piece, (0,))
            continue
        for group, indices in enumerate(piece.groups):
            counts = tuple(int(index == group) for index in range(len(piece.groups)))
            result = feasible_rows(data, piece, counts, 1)
            if result.exists is False:
                continue
            if indices[0] < piece.num_positive:
                yield _captured(data, piece, counts, result)
            else:
                yield _degenerate(data, piece, counts, result)
        yield from _silent(data, piece)
    for kink in kink_points(data, known_faces):
        yield _kink(kink)


def _pattern(kind: str, units: tuple[int, ...], piece: Piece, counts: tuple[int, ...], **more: Any) -> dict[str, Any]:
    single = sum(counts) == 1 and len(units) == 1
    group = piece.groups[counts.index(1)] if single else ()
    result = {
        "kind": kind,
        "I": units,
        "J": piece.samples,
        "Z": (),
        "counts": counts,
        "sigma": float(piece.sigma[group[0]]) if single else None,
        "multiplicity": len(group) if single else None,
        "exists": True,
        "interior": True,
        "kinked": False,
    }
    return result | more


def _rank(piece: Piece, counts: tuple[int, ...]) -> int:
    return sum(index < piece.num_positive for index in piece.captured(counts))


def _interior_fields(
    data: ReluData, piece: Piece, counts: tuple[int, ...], num_active: int
) -> tuple[str, bool, int, int | None]:
    """Category, strictness, index and nullity inside the cone, where L_N is a shallow linear loss."""
    index = piece.index(counts, num_active)
    active = piece.nullity(counts, num_active)
    idle = (data.num_units - num_active) * (len(data.X) + len(data.Y))
    category = "strict saddle" if index else "spurious minimum" if data.num_units == 1 else "minimum"
    return category, index > 0, index, None if active is None else active + idle


def _captured(data: ReluData, piece: Piece, counts: tuple[int, ...], result: Existence) -> CriticalClass:
    fields: dict[str, Any] = {"exists": result.exists, "interior": result.interior}
    category, strict, index, nullity = "undetermined", None, None, None
    if result.interior is True:
        category, strict, index, nullity = _interior_fields(data, piece, counts, 1)
    elif result.exists is True:
        point = unit_point(piece, result.rows[0])
        is_single = len(piece.groups[counts.index(1)]) == 1
        fields["kinked"] = is_kinked(data, point, kinks_of(data, point)[0]) if is_single else None
        category = CATEGORY_OF_VERDICT[verdict(data, point)] if is_single else category
    else:
        fields["kinked"] = None
    shape = _pattern("captured", (0,), piece, counts, **fields)
    return CriticalClass(FAMILY, shape, piece.loss(counts), 1, category, strict, index, nullity, SOURCE)


def _degenerate(data: ReluData, piece: Piece, counts: tuple[int, ...], result: Existence) -> CriticalClass:
    """``A1 X_J = 0`` and ``A2`` in the kernel of Sigma_J: both signs of A2 have to agree on the category."""
    category, kinked = "undetermined", None
    columns = piece.X
    if result.exists is True and np.linalg.matrix_rank(unit_columns(columns), tol=1e-8) == columns.shape[1]:
        # The kernel condition sum_j (b . y_j) x_j = 0 then forces every b . y_j to vanish.
        category, kinked = ("not a local minimum" if np.any(piece.Y) else "spurious minimum"), False
    elif result.exists is True and piece.kernel.shape[1] == 1:
        row = result.rows[0]
        points = [(row[None], sign * piece.kernel) for sign in (1.0, -1.0)]
        names = {CATEGORY_OF_VERDICT[verdict(data, point)] for point in points}
        kinks = {is_kinked(data, point, kinks_of(data, point)[0]) for point in points}
        category = names.pop() if len(names) == 1 else category
        if names and "undetermined" not in names and "spurious minimum" not in names:
            category = "not a local minimum"
        kinked = kinks.pop() if len(kinks) == 1 else None
    shape = _pattern("degenerate", (0,), piece, counts, exists=result.exists, interior=result.interior, kinked=kinked)
    return CriticalClass(FAMILY, shape, piece.dead_loss, 0, category, None, None, None, SOURCE)


def _silent(data: ReluData, piece: Piece) -> Iterator[CriticalClass]:
    """``A2 = 0`` and ``Y_J (A1 X_J)^T = 0``; with ``A1 X_J = 0`` only where no degenerate class contains it.

    If the cone is open and ``Y_J X_J^T != 0``, rows a' next to any member have ``Y_J (a' X_J)^T != 0``: A2 along that
    vector descends.
    """
    counts = (0,) * len(piece.groups)
    result = feasible_rows(data, piece, counts, 1)
    if result.exists is False:
        return
    if result.exists is True and result.interior is not True:
        in_other_class = piece.kernel.shape[1] > 0 or len(piece.samples) == len(data.live)
        if in_other_class and not _moves_something(data, piece):
            return
    category, strict, index = "undetermined", None, None
    if result.interior is True:
        category, strict, index, _ = _interior_fields(data, piece, counts, 1)
    elif result.exists is True and _is_open(data, piece) and piece.num_positive:
        category = "not a local minimum"
    shape = _pattern("silent", (0,), piece, counts, exists=result.exists, interior=result.interior)
    yield CriticalClass(FAMILY, shape, piece.dead_loss, 0, category, strict, index, None, SOURCE)


def _moves_something(data: ReluData, piece: Piece) -> bool:
    """True when some a of the closed cone has ``Y_J (a X_J)^T = 0`` and ``a X_J != 0``."""
    inactive = tuple(sample for sample in data.live if sample not in piece.samples)
    basis = complement(np.where(np.abs(gram := piece.X @ piece.Y.T) < 1e-12 * np.linalg.norm(gram), 0.0, gram).T)
    cone = RowCone(basis, piece.X, data.X[:, inactive])
    total = unit_columns(piece.X).sum(axis=1)
    return decide(cone.extreme(total)[0]) is not False


def _is_open(data: ReluData, piece: Piece) -> bool:
    """True when the cone of the rows has interior points."""
    inactive = tuple(sample for sample in data.live if sample not in piece.samples)
    cone = RowCone(np.eye(len(data.X)), data.X[:, piece.samples], data.X[:, inactive])
    return decide(cone.depth(strict=True)) is True


def _dead(data: ReluData, piece: Piece, units: tuple[int, ...]) -> CriticalClass:
    size = data.num_units * (len(data.X) + len(data.Y))
    shape = _pattern("dead", units, piece, (0,) * len(piece.groups))
    return CriticalClass(FAMILY, shape, data.dead_loss, 0, "plateau", False, 0, size, SOURCE)


def _origin(data: ReluData) -> CriticalClass:
    """``A1 X = 0, A2 = 0``: not a minimum as soon as some row d has ``Y relu(d X)^T != 0``."""
    piece = piece_of(data, data.live)
    rng = np.random.default_rng(0)
    first = np.zeros((1, len(data.X))), np.zeros((len(data.Y), 1))
    scale = np.linalg.norm(data.X) * np.linalg.norm(data.Y)
    moves = [np.linalg.norm(growth(data, first, d)) > 1e-9 * scale for d in rng.normal(size=(8, len(data.X)))]
    category = "not a local minimum" if any(moves) else "undetermined"
    shape = _pattern("origin", tuple(range(data.num_units)), piece, (0,) * len(piece.groups), interior=False)
    return CriticalClass(FAMILY, shape, data.dead_loss, 0, category, None, None, None, SOURCE)


def _kink(kink: KinkPoint) -> CriticalClass:
    piece, group = kink.piece, kink.piece.groups[kink.group]
    counts = tuple(int(index == kink.group) for index in range(len(piece.groups)))
    category = "undetermined"
    if len(group) == 1 and kink.group > 0:
        category = "not a local minimum"
    elif len(group) == 1 and kink.is_minimum:
        category = "spurious minimum"
    joined = replace(piece, samples=tuple(sorted((*kink.positive, *kink.zero))))
    shape = _pattern("kink", (0,), joined, counts, Z=kink.zero, interior=False, kinked=True)
    source = "stationary where L_N has a kink, not in paper 002"
    return CriticalClass(FAMILY, shape, piece.loss(counts), 1, category, None, None, None, source)


def _of_product_cones(data: ReluData, cells: tuple[Samples, ...]) -> Iterator[CriticalClass]:
    has_dead = dead_row(data) is not None
    for samples in cells:
        piece = piece_of(data, samples)
        if not samples:
            yield _dead(data, piece, ())
            continue
        for num_active in range(1, data.num_units + 1):
            if num_active < data.num_units and not has_dead:
                continue
            for counts in _counts(piece, num_active):
                result = feasible_pattern(data, piece, counts, num_active)
                is_origin = sum(counts) == 0 and num_active == data.num_units and len(samples) == len(data.live)
                if result.exists is not False and not (is_origin and not _moves_something(data, piece)):
                    yield _of_pattern(data, piece, counts, num_active, result)


def _counts(piece: Piece, most: int) -> Iterator[tuple[int, ...]]:
    choices = itertools.product(*(range(len(group) + 1) for group in piece.groups))
    return (counts for counts in choices if sum(counts) <= most)


def _of_pattern(
    data: ReluData, piece: Piece, counts: tuple[int, ...], num_active: int, result: Existence
) -> CriticalClass:
    category, strict, index, nullity = "undetermined", None, None, None
    kinked: bool | None = None
    if result.interior is True:
        category, strict, index, nullity = _interior_fields(data, piece, counts, num_active)
        kinked = False
    fields = {"exists": result.exists, "interior": result.interior, "kinked": kinked}
    kind = "captured" if _rank(piece, counts) else "silent" if sum(counts) == 0 else "degenerate"
    shape = _pattern(kind, tuple(range(num_active)), piece, counts, **fields)
    shape["copies"] = math.comb(data.num_units, num_active)
    rank = _rank(piece, counts)
    return CriticalClass(FAMILY, shape, piece.loss(counts), rank, category, strict, index, nullity, SOURCE)


def _named(data: ReluData, entry: CriticalClass, classes: list[CriticalClass], lowest: float | None) -> CriticalClass:
    """`entry` with "global" or "spurious" decided by the losses of all the others."""
    tolerance = LOSS_RTOL * data.dead_loss
    exists = entry.pattern["exists"] is True
    if exists and (entry.loss <= tolerance or (lowest is not None and entry.loss <= lowest + tolerance)):
        return replace(entry, category="global", strict=False if entry.pattern["interior"] is True else entry.strict)
    if entry.category == "minimum" and any(
        other.pattern["exists"] is True and other.loss < entry.loss - tolerance for other in classes
    ):
        return replace(entry, category="spurious minimum")
    if entry.category == "spurious minimum" and data.num_units == 1 and lowest is None:
        return replace(entry, category="minimum")
    return entry
