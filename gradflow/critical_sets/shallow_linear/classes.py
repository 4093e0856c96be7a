"""The classes of critical points of a shallow linear network: one per pattern ``(p_1, ..., p_r, p_bar)``.

A pattern says how many directions are captured in each group of equal positive singular values, and how many (p_bar) of
the null space of ``Y X^+ X Y^T``; there is a null space when d_2 exceeds the number of positive values. Every pattern
with ``p_i <= m_i``, ``p_bar <= m_bar`` and ``k <= min(d_1, d_2)`` occurs, and no other.

Categories: ``"global"``; ``"non-optimal"``: a captured singular value, zero included, is smaller than a missed one;
``"optimal"``: neither, so the largest are captured, but too few.

Source: paper 002, Theorem 1, Propositions 1 and 2; corrections and proofs in :mod:`.counting`.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from gradflow import checks
from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.shallow_linear import counting
from gradflow.critical_sets.shallow_linear.construction import arrays_of, layers_of, shallow_regression, spectrum_of
from gradflow.critical_sets.shallow_linear.spectrum import DataSpectrum
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Weights

FAMILY = "shallow_linear"
SOURCE = "paper 002, Theorem 1 and Propositions 1 and 2, with the null space as one more group"

MAX_CLASSES = 100_000
"""Largest number of classes that :func:`enumerate_classes` lists without being asked for more."""

HIDDEN_RANK_RTOL = 1e-9
"""Singular values of ``A_1 X`` below this multiple of the largest are taken for zero."""


def critical_class(problem: AbstractProblem, counts: Sequence[int], num_zero: int = 0) -> CriticalClass:
    """The class with one pattern: loss, category, strictness, Morse index and nullity of its members.

    `rank` is that of ``A_2 A_1 X``, the number of captured positive singular values; ``rank A_2`` is `num_zero` more.
    `strict` is True for every non-global class: the paper's "saddle points can be non-strict" is wrong, its example
    is a global minimum. `nullity` is None where it varies; :func:`nullity_range` then says how.

    Raises:
        InputError: a wrong problem, or counts that do not fit the data and the hidden width.
    """
    problem = shallow_regression(problem)
    spectrum = spectrum_of(problem)
    numbers = _checked(spectrum, _hidden_width(problem), counts, num_zero)
    return _class(problem, spectrum, numbers)


def count_classes(problem: AbstractProblem) -> int:
    """Exact number of classes, without listing them.

    With distinct positive values and no null space ``sum_{k <= d_1} binomial(d_2, k)``: 2517 for d_2 = 16 and d_1 = 4.

    Raises:
        InputError: the problem is not an unregularised linear network with one hidden layer and the squared error.
    """
    problem = shallow_regression(problem)
    limit = _hidden_width(problem)
    ways = [1] + [0] * limit
    for size in _sizes(spectrum_of(problem)):
        ways = [sum(ways[total - taken] for taken in range(min(size, total) + 1)) for total in range(limit + 1)]
    return sum(ways)


def iterate_classes(problem: AbstractProblem) -> Iterator[CriticalClass]:
    """The classes one by one, in the order of their patterns; for problems with too many of them to list.

    Raises:
        InputError: as :func:`count_classes`.
    """
    problem = shallow_regression(problem)
    spectrum = spectrum_of(problem)
    for numbers in all_patterns(_sizes(spectrum), _hidden_width(problem)):
        yield _class(problem, spectrum, numbers)


def enumerate_classes(problem: AbstractProblem, max_classes: int = MAX_CLASSES) -> tuple[CriticalClass, ...]:
    """All classes of critical points, by ascending loss.

    Args:
        problem: a linear network with one hidden layer, the squared error and no regulariser.
        max_classes: how many may be listed.

    Raises:
        InputError: a wrong problem, or one with more classes than `max_classes`.
    """
    number = count_classes(problem)
    checks.require(
        number <= max_classes,
        "problem",
        f"have at most max_classes = {max_classes} classes of critical points",
        f"one with {number}",
        "Raise max_classes, or take them one by one from iterate_classes.",
    )
    return tuple(sorted(iterate_classes(problem), key=lambda member: (member.loss, *member.pattern.values())))


def nullity_range(problem: AbstractProblem, counts: Sequence[int], num_zero: int = 0) -> tuple[int, int]:
    """Least and largest nullity in a class; almost every member has the least.

    They differ only when part of the null space is missed and rows k+1..d_1 of ``C A_1 X`` can be chosen, which takes
    ``k < d_1`` and ``rank X > rank(Y X^T)``.

    Raises:
        InputError: a wrong problem, or counts that do not fit the data and the hidden width.
    """
    problem = shallow_regression(problem)
    spectrum, d_hidden = spectrum_of(problem), _hidden_width(problem)
    numbers = _checked(spectrum, d_hidden, counts, num_zero)
    return _nullities(spectrum, d_hidden, numbers)


def nullity(problem: AbstractProblem, params: Weights, counts: Sequence[int], num_zero: int = 0) -> int:
    """Number of zero eigenvalues of the Hessian at one member of a class, from the rank of ``A_1 X``.

    Args:
        problem: a linear network with one hidden layer.
        params: a critical point.
        counts, num_zero: its pattern, e.g. from :func:`~gradflow.critical_sets.shallow_linear.decompose`.

    Accuracy: singular values of ``A_1 X`` below :data:`HIDDEN_RANK_RTOL` of the largest count as zero.

    Raises:
        InputError: a wrong problem, weights of other shapes, or counts that do not fit.
    """
    problem = shallow_regression(problem)
    spectrum, d_hidden = spectrum_of(problem), _hidden_width(problem)
    numbers = _checked(spectrum, d_hidden, counts, num_zero)
    first, _ = layers_of(problem, params)
    values = np.linalg.svd(first @ arrays_of(problem)[0], compute_uv=False)
    scale = spectrum.weight_scale * float(np.linalg.norm(spectrum.inputs, 2))
    hidden_rank = int(np.sum(values > HIDDEN_RANK_RTOL * max(float(values[0]), scale)))
    return counting.nullity_at(spectrum, d_hidden, numbers[:-1], numbers[-1], hidden_rank)


def _class(problem: Regression, spectrum: DataSpectrum, numbers: tuple[int, ...]) -> CriticalClass:
    counts, num_zero, d_hidden = numbers[:-1], numbers[-1], _hidden_width(problem)
    least, largest = _nullities(spectrum, d_hidden, numbers)
    category = counting.category_of(spectrum, d_hidden, counts, num_zero)
    return CriticalClass(
        family=FAMILY,
        pattern={"counts": counts, "num_zero": num_zero},
        loss=problem.irreducible + counting.captured_loss(spectrum, counts),
        rank=sum(counts),
        category=category,
        strict=category != "global",
        index=counting.morse_index(spectrum, d_hidden, counts, num_zero),
        nullity=least if least == largest else None,
        source=SOURCE,
    )


def _nullities(spectrum: DataSpectrum, d_hidden: int, numbers: tuple[int, ...]) -> tuple[int, int]:
    counts, num_zero = numbers[:-1], numbers[-1]
    low, high = counting.hidden_ranks(spectrum, d_hidden, counts, num_zero)
    return (
        counting.nullity_at(spectrum, d_hidden, counts, num_zero, high),
        counting.nullity_at(spectrum, d_hidden, counts, num_zero, low),
    )


def _checked(spectrum: DataSpectrum, d_hidden: int, counts: Sequence[int], num_zero: int) -> tuple[int, ...]:
    numbers = tuple(checks.integer("counts, num_zero", number, at_least=0) for number in (*counts, num_zero))
    sizes = _sizes(spectrum)
    fits = len(numbers) == len(sizes) and all(a <= b for a, b in zip(numbers, sizes, strict=True))
    requirement = f"fit the multiplicities {sizes[:-1]}, {sizes[-1]} and sum to at most d_1 = {d_hidden}"
    checks.require(fits and sum(numbers) <= d_hidden, "counts, num_zero", requirement, numbers)
    return numbers


def all_patterns(sizes: Sequence[int], limit: int) -> Iterator[tuple[int, ...]]:
    """All tuples of counts up to `sizes` with sum at most `limit`, in lexicographic order."""
    if not sizes:
        yield ()
        return
    for first in range(min(sizes[0], limit) + 1):
        for rest in all_patterns(sizes[1:], limit - first):
            yield (first, *rest)


def _sizes(spectrum: DataSpectrum) -> tuple[int, ...]:
    return (*spectrum.multiplicities, spectrum.num_zero)


def _hidden_width(problem: Regression) -> int:
    return problem.network.shapes[0][0]
