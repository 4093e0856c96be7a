"""Activation patterns: the cone a point lies in, and which cones there are.

On ``K_{I x J} = {A1_{I,J} X >= 0, all other preactivations < 0}`` the loss is that of a shallow linear network with the
units I and the samples J. These product cones cover all of parameter space only for one hidden unit (they then
partition it); in general a point has one pattern of active entries per unit, and product patterns are the special case
that the closed forms cover. Indices are 0-based. Source: paper 002, eqs. (8)-(9), with the partition claimed for d_1 =
1 only.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from gradflow import checks
from gradflow.critical_sets.relu_cones.linear_programs import RowCone, complement, decide
from gradflow.critical_sets.relu_cones.regressions import Layers, ReluData, layers, relu_data
from gradflow.problem import AbstractProblem
from gradflow.types import Weights

BOUNDARY_RTOL = 1e-9
"""Preactivations up to this multiple of ``||a|| ||x_j||`` are zero: the point is on the boundary of its cone."""

CLEAR_RTOL = 1e-6
"""Between :data:`BOUNDARY_RTOL` and this multiple nobody can tell zero from nonzero."""

MAX_CELLS = 4096
"""Largest number of cones (an upper bound computed beforehand) that are listed one by one."""

Samples = tuple[int, ...]


@dataclass(frozen=True)
class Cone:
    """The activation pattern of a point.

    Attributes:
        active: for each hidden unit the samples with preactivation >= 0, 0-based (neutral ones left out).
        num_samples: m.
        neutral: the samples with ``x_j = 0``, which belong to no side.
        boundary: pairs (unit, sample) whose preactivation is zero.
        uncertain: pairs (unit, sample) whose preactivation can not be told from zero, nor be called zero.
    """

    active: tuple[Samples, ...]
    num_samples: int
    neutral: Samples = ()
    boundary: tuple[tuple[int, int], ...] = ()
    uncertain: tuple[tuple[int, int], ...] = ()

    @classmethod
    def product(
        cls, units: Iterable[int], samples: Iterable[int], num_units: int, num_samples: int, neutral: Samples = ()
    ) -> "Cone":
        """``K_{I x J}`` with I = `units` and J = `samples`.

        Raises:
            InputError: an index out of range.
        """
        chosen = tuple(sorted(set(units)))
        active = tuple(sorted(set(samples)))
        for name, indices, size in (("units", chosen, num_units), ("samples", active, num_samples)):
            checks.require(all(0 <= index < size for index in indices), name, f"lie in 0, ..., {size - 1}", indices)
        return cls(tuple(active if unit in chosen else () for unit in range(num_units)), num_samples, neutral)

    @property
    def mask(self) -> Bool[np.ndarray, "d_1 samples"]:
        """The pattern as a matrix, True where active."""
        mask = np.zeros((len(self.active), self.num_samples), dtype=bool)
        for unit, samples in enumerate(self.active):
            mask[unit, list(samples)] = True
        return mask

    @property
    def units(self) -> tuple[int, ...]:
        """I, the units that are active on some sample."""
        return tuple(unit for unit, samples in enumerate(self.active) if samples)

    @property
    def samples(self) -> Samples:
        """J, the samples on which some unit is active."""
        return tuple(sorted({sample for samples in self.active for sample in samples}))

    @property
    def is_product(self) -> bool:
        """True when all active units are active on the same samples: the pattern is ``I x J``."""
        return len({samples for samples in self.active if samples}) <= 1

    @property
    def is_interior(self) -> bool:
        """True when no preactivation is zero or uncertain: L_N equals one piece in a neighbourhood."""
        return not self.boundary and not self.uncertain


def cone_of(problem: AbstractProblem, params: Weights) -> Cone:
    """The activation pattern of `params`, with zero preactivations counted as active and marked.

    Accuracy: an entry is zero up to :data:`BOUNDARY_RTOL` ``||a|| ||x_j||``, nonzero above :data:`CLEAR_RTOL`.

    Raises:
        InputError: not a regression of a ReLU network with one hidden layer, or parameters that do not fit it.
    """
    data = relu_data(problem)
    return pattern(data, layers(problem, params))


def pattern(data: ReluData, params: Layers) -> Cone:
    """:func:`cone_of` without its checks."""
    first = params[0]
    values = first @ data.X
    sizes = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(data.X, axis=0)[None, :]
    live = np.zeros(data.num_samples, dtype=bool)
    live[list(data.live)] = True
    zero = (np.abs(values) <= BOUNDARY_RTOL * sizes) & live
    uncertain = ~zero & (np.abs(values) < CLEAR_RTOL * sizes) & live
    active = ((values > 0) | zero) & live
    return Cone(
        active=tuple(_indices(row) for row in active),
        num_samples=data.num_samples,
        neutral=_indices(~live),
        boundary=_pairs(zero),
        uncertain=_pairs(uncertain),
    )


def realisable_cones(problem: AbstractProblem) -> tuple[Samples, ...]:
    """All J for which some row a has ``a x_j >= 0`` exactly for the samples of J: the cones of one hidden unit.

    For one hidden unit these cones partition parameter space.

    Raises:
        InputError: not a ReLU regression, or so many samples that there can be more than :data:`MAX_CELLS` cones.
    """
    return half_open_cells(relu_data(problem))


def half_open_cells(data: ReluData) -> tuple[Samples, ...]:
    """:func:`realisable_cones` without its check of the problem."""
    require_few_cells(data)
    found: list[Samples] = []

    def extend(index: int, chosen: Samples, left_out: Samples) -> None:
        if index == len(data.live):
            found.append(chosen)
            return
        sample = data.live[index]
        for active, inactive in (((*chosen, sample), left_out), (chosen, (*left_out, sample))):
            if decide(row_cone(data, active, inactive).depth()) is not False:
                extend(index + 1, active, inactive)

    extend(0, (), ())
    return tuple(sorted(found, key=lambda samples: (len(samples), samples)))


def faces(data: ReluData) -> tuple[tuple[Samples, Samples], ...]:
    """All pairs (positive, zero) of sample sets that some row a has, with at least one positive sample."""
    require_few_cells(data)

    def extend(index: int, positive: Samples, zero: Samples, negative: Samples) -> Iterator[tuple[Samples, Samples]]:
        if index == len(data.live):
            if positive:
                yield positive, zero
            return
        sample = data.live[index]
        for choice in (
            ((*positive, sample), zero, negative),
            (positive, (*zero, sample), negative),
            (positive, zero, (*negative, sample)),
        ):
            cone = RowCone(complement(data.X[:, choice[1]].T), data.X[:, choice[0]], data.X[:, choice[2]])
            if decide(cone.depth(strict=True)) is not False:
                yield from extend(index + 1, *choice)

    return tuple(extend(0, (), (), ()))


def row_cone(data: ReluData, active: Samples, inactive: Samples) -> RowCone:
    """``{a : a x_j >= 0 on active, a x_k < 0 on inactive}``."""
    return RowCone(np.eye(data.X.shape[0]), data.X[:, active], data.X[:, inactive])


def dead_row(data: ReluData) -> Float[np.ndarray, " d_0"] | None:
    """A row with ``a x_j < 0`` for every live sample, None when 0 lies in their convex hull."""
    margin, row = row_cone(data, (), data.live).point()
    return row if decide(margin) is True else None


def require_few_cells(data: ReluData) -> None:
    """Raises :class:`~gradflow.checks.InputError` when there can be more than :data:`MAX_CELLS` cones.

    m hyperplanes through the origin of R^r cut it into at most ``2 sum_{k<r} C(m-1, k)`` open cones.
    """
    num_live = len(data.live)
    rank = int(np.linalg.matrix_rank(data.X))
    bound = 2 * sum(math.comb(num_live - 1, k) for k in range(rank))
    checks.require(
        bound <= MAX_CELLS,
        "problem",
        f"have at most {MAX_CELLS} cones to be listed",
        f"up to {bound} ({num_live} samples of rank {rank})",
        "Ask for single cones with existence, or decompose the points you have.",
    )


def _indices(mask: Bool[np.ndarray, " samples"]) -> Samples:
    return tuple(int(index) for index in np.flatnonzero(mask))


def _pairs(mask: Bool[np.ndarray, "d_1 samples"]) -> tuple[tuple[int, int], ...]:
    return tuple((int(unit), int(sample)) for unit, sample in np.argwhere(mask))
