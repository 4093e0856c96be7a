"""All classes of critical points of a deep linear network, and random members of each.

**A class** is what can be told of a critical point by ranks: the numbers of captured directions in each group of equal
positive singular values (`counts`), and the ranks of all partial products (`ranks`, the table of
:mod:`gradflow.critical_sets.deep_linear.rank_patterns`):

    ranks[v][0]  dimensions left over by the r captured directions: rank(R) - r at v = 0, d_v - r at v = 1, ..., l
    ranks[v][n]  rank A_(v+n,v+1) - r (times R when v = 0), while v + n <= l, and beyond that
                 rank A_(j,1) R T^T (I - P) A_(l,v+1) with j = v + n - l - 1, for n <= l - 1

with P the projector on what is captured. Every critical point belongs to exactly one class and every class has
members: the block form of :mod:`gradflow.critical_sets.deep_linear.construction` is complete, and the leftover
blocks are nilpotent representations of a cyclic quiver, which are direct sums of strings. Loss, category,
strictness, index and nullity are those of the class. Two members of one class need not be connected, nor related by
a symmetry of the loss: the classes are strata of the critical set, not its components.

A pattern that captures a value while missing a larger one is strict whatever its ranks.
"""

import itertools

import numpy as np

from gradflow import checks
from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.deep_linear import rank_patterns
from gradflow.critical_sets.deep_linear.construction import (
    KeyLike,
    assembled,
    deep_regression,
    generator,
    missed_inputs,
    problem_spectrum,
    random_invertible,
    widths_of,
)
from gradflow.critical_sets.deep_linear.rank_patterns import Ranks
from gradflow.critical_sets.ladder import max_rank
from gradflow.critical_sets.shallow_linear.patterns import capture
from gradflow.critical_sets.shallow_linear.spectrum import DataSpectrum
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Weights

FAMILY = "deep_linear"
SOURCE = (
    "paper 002, Theorems 3 and 4, corrected; ranks by the representations of a cyclic quiver; strictness by Achour, "
    "Malgouyres and Gerchinovitz (JMLR 25(242), 2024)"
)


def enumerate_classes(problem: AbstractProblem, *, max_classes: int = 20_000) -> tuple[CriticalClass, ...]:
    """Every class of critical points, by ascending loss; a class is defined in this module's docstring.

    Each has its loss, the rank of its product, the category (``"global"``, ``"deep-non-optimal"``, ``"deep-optimal"``,
    ``"remaining"``), `strict`, Morse index and nullity. `pattern` has `counts` and `ranks`. With one hidden layer
    the classes refine those of the shallow family, which do not tell ranks of the first layer apart.

    The number of classes grows with depth and widths: 8 for widths 3-3-3 with distinct singular values, 69 for 3-3-3-3.

    Args:
        problem: a linear network with at least one hidden layer, the squared error and no regulariser.
        max_classes: give up beyond this number.

    Accuracy: index and nullity are exact counts; that all members of a class share them is proved for the captured
    directions and supported by experiment for the rest (:func:`rank_patterns.residual_inertia`).

    Raises:
        InputError: the problem is not such a network, or there are more than `max_classes`.
    """
    problem = deep_regression(problem)
    spectrum = problem_spectrum(problem)
    limit = checks.integer("max_classes", max_classes)
    classes: list[CriticalClass] = []
    for counts in itertools.product(*(range(size + 1) for size in spectrum.multiplicities)):
        rank = sum(counts)
        if rank > max_rank(problem):
            continue
        dims = (spectrum.rank - rank, *(width - rank for width in widths_of(problem)[1:]))
        for ranks in rank_patterns.rank_patterns(dims, spectrum.num_positive - rank):
            checks.require(
                len(classes) < limit, "problem", f"have at most {limit} classes of critical points", "more",
                "Raise max_classes, or list loss values only with gradflow.critical_sets.critical_values.",
            )  # fmt: skip
            classes.append(class_of(problem, counts, ranks))
    return tuple(sorted(classes, key=lambda item: (item.loss, item.pattern["counts"], item.pattern["ranks"])))


def class_of(problem: AbstractProblem, counts: tuple[int, ...], ranks: Ranks) -> CriticalClass:
    """The class of these counts and ranks, e.g. those of a :class:`DeepDecomposition`.

    Raises:
        InputError: no critical point of the problem has them.
    """
    problem = deep_regression(problem)
    spectrum = problem_spectrum(problem)
    _require_pattern(problem, spectrum, counts, ranks)
    missed = [size - count for size, count in zip(spectrum.multiplicities, counts, strict=True)]
    is_greedy = not any(missed[i] and any(counts[i + 1 :]) for i in range(len(counts)))
    category = rank_patterns.category(ranks, is_greedy)
    index, nullity = _inertia(problem, spectrum, counts, ranks)
    return CriticalClass(
        family=FAMILY,
        pattern={"counts": tuple(counts), "ranks": ranks},
        loss=problem.irreducible + 0.5 * float(np.dot(missed, spectrum.sigma[:-1])),
        rank=sum(counts),
        category=category,
        strict=category != "global" and (not is_greedy or rank_patterns.is_strict(ranks)),
        index=index,
        nullity=nullity,
        source=SOURCE,
    )


def sample(problem: AbstractProblem, critical_class: CriticalClass, key: KeyLike) -> Weights:
    """A random member of a class: random directions within groups, bases of every space, and free parts.

    Args:
        problem: the problem that the class was enumerated for.
        critical_class: from :func:`enumerate_classes` or :func:`class_of`.
        key: a seed, a JAX key or a NumPy generator.

    Accuracy: gradient about 1e-14 relative; all bases are drawn with condition numbers below 3.

    Raises:
        InputError: the class is of another family or does not fit the problem.
    """
    problem = deep_regression(problem)
    checks.require(critical_class.family == FAMILY, "critical_class", f"be of family {FAMILY}", critical_class.family)
    counts, ranks = critical_class.pattern["counts"], critical_class.pattern["ranks"]
    spectrum, rng = problem_spectrum(problem), generator(key)
    strings = _require_pattern(problem, spectrum, counts, ranks)
    captured = capture(spectrum, counts, 0, _random_bases(rng, spectrum, counts))
    widths = widths_of(problem)
    num_layers = len(widths) - 1
    arrows = rank_patterns.string_matrices(strings, num_layers)
    values, inputs = missed_inputs(spectrum, captured)
    first, last = _adapted_bases(rng, values, inputs.shape[1], captured.missed.shape[1])
    blocks = [arrow.copy() for arrow in arrows[:num_layers]]
    free = rng.normal(size=(blocks[0].shape[0], widths[0]))
    blocks[0] = blocks[0] @ np.linalg.solve(first, inputs.T @ spectrum.pseudoinverse) + _off_data(free, spectrum)
    blocks[-1] = last @ blocks[-1]
    top = captured.directions.T @ spectrum.regression
    top = top + _off_data(rng.normal(size=top.shape), spectrum)
    mixings = [random_invertible(rng, width) * problem.weight_scale for width in widths[1:-1]]
    return assembled(captured, top, blocks, mixings)


def _require_pattern(
    problem: Regression, spectrum: DataSpectrum, counts: tuple[int, ...], ranks: Ranks
) -> dict[rank_patterns.String, int]:
    """The strings of the ranks, after checking that the problem has points with these counts and ranks."""
    rank, sizes = sum(counts), spectrum.multiplicities
    fits = len(counts) == len(sizes) and all(0 <= count <= size for count, size in zip(counts, sizes, strict=False))
    checks.require(fits, "counts", f"fit the multiplicities {sizes}", counts)
    dims = (spectrum.rank - rank, *(width - rank for width in widths_of(problem)[1:]))
    found = tuple(row[0] for row in ranks) if all(ranks) else ()
    checks.require(found == dims, "ranks", f"start with the dimensions {dims}", found)
    strings = rank_patterns.strings_of_ranks(ranks) if len(ranks[0]) == len(dims) - 1 else None
    missed = spectrum.num_positive - rank
    is_possible = strings is not None and ranks[-1][1] == missed
    checks.require(is_possible, "ranks", f"be those of a critical point that misses {missed}", ranks)
    assert strings is not None
    return strings


def _inertia(problem: Regression, spectrum: DataSpectrum, counts: tuple[int, ...], ranks: Ranks) -> tuple[int, int]:
    """Morse index and nullity.

    In the basis of the block form the Hessian splits in three. What moves the captured block is positive: r^2.
    Captured i against missed j is ``beta^2 / 2 + s_i^2 gamma^2 / 2 - s_j beta gamma``: one negative direction if
    ``s_j > s_i``, one zero if ``s_j = s_i``, both positive otherwise (Remark 3 of paper 003, for any depth). The
    rest is the Hessian of the blocks.
    """
    rank, missed = sum(counts), [size - count for size, count in zip(spectrum.multiplicities, counts, strict=True)]
    larger = sum(count * sum(missed[:i]) for i, count in enumerate(counts))
    equal = sum(count * left for count, left in zip(counts, missed, strict=True))
    negative, positive = rank_patterns.residual_inertia(ranks)
    positive += rank**2 + rank * (ranks[0][0] + ranks[-1][0]) - larger - equal
    negative += larger
    num_params = sum(rows * columns for rows, columns in problem.network.shapes)
    return negative, num_params - negative - positive


def _random_bases(rng: np.random.Generator, spectrum: DataSpectrum, counts: tuple[int, ...]) -> list[np.ndarray]:
    sizes = spectrum.multiplicities
    drawn = [np.linalg.qr(rng.normal(size=(size, size)))[0][:, :n] for size, n in zip(sizes, counts, strict=True)]
    return [*drawn, np.zeros((spectrum.num_zero, 0))]


def _adapted_bases(
    rng: np.random.Generator, values: np.ndarray, dim_inputs: int, dim_outputs: int
) -> tuple[np.ndarray, np.ndarray]:
    """Random bases of ``V_0`` and ``V_l`` in which M is ``[I, 0; 0, 0]``; M itself is ``diag(values)`` there."""
    missed = len(values)
    last = np.zeros((dim_outputs, dim_outputs))
    last[:missed, :missed] = random_invertible(rng, missed)
    last[missed:, missed:] = random_invertible(rng, dim_outputs - missed)
    last[missed:, :missed] = 0.5 * rng.normal(size=(dim_outputs - missed, missed))
    first = np.zeros((dim_inputs, dim_inputs))
    first[:missed, :missed] = values[:, None] * last[:missed, :missed]
    first[missed:, missed:] = random_invertible(rng, dim_inputs - missed)
    first[:missed, missed:] = 0.5 * rng.normal(size=(missed, dim_inputs - missed))
    return first, last


def _off_data(matrix: np.ndarray, spectrum: DataSpectrum) -> np.ndarray:
    """The part of a matrix that the data never meet, ``F (I - R R^+)``."""
    return matrix - matrix @ spectrum.input_projector
