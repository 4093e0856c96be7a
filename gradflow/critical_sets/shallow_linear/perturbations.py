"""Perturbations of critical points of a shallow linear network, each with the exact change of the loss.

Letters: ``A_2 = S C_top``, ``A_1`` by eq. (1) with C and L_1; u a unit singular vector that is missed, w_j a captured
column of S; sigma the squares of the singular values of ``Y V_X``, 0 in the null space.

    item 1   w_j -> (w_j + eps u_i) / sqrt(1 + eps^2) in both layers: rank kept, for sigma_i > sigma_j
             change = -1/2 eps^2 / (1 + eps^2) (sigma_i - sigma_j)
    item 2   A_2 + eps2 u_q C_c,   A_1 + eps1 C^{-1} e_c u_q^T Y X^+,   c > k: rank raised by one
             change = 1/2 eps2^2 a + (1/2 eps1^2 eps2^2 - eps1 eps2) sigma_q,   a = ||(C L_1)_c X||^2
    item 3   a row of A_2 scaled by 1 + eps or 1 - eps, at any point with A_2 A_1 X != 0: the loss rises

Source: paper 002, Proposition 3 and Theorem 2. Corrected: item 1 as printed lacks the factor 1/2 and the null space
as a group; in item 2 sigma belongs to u_q, not to the last captured group; Theorem 2 (2) needs no ``A_2 A_1 X != 0``.
"""

from dataclasses import dataclass

import numpy as np

from gradflow import checks
from gradflow.critical_sets.shallow_linear.construction import (
    AnalyticalForm,
    arrays_of,
    layers_of,
    shallow_regression,
    spectrum_of,
    weights_of,
)
from gradflow.critical_sets.shallow_linear.derivatives import Layers
from gradflow.critical_sets.shallow_linear.recognition import Decomposition, decompose
from gradflow.critical_sets.shallow_linear.spectrum import DataSpectrum
from gradflow.problem import AbstractProblem
from gradflow.types import Weights


@dataclass(frozen=True)
class Perturbation:
    """Perturbed weights and how much the loss differs from that at the original ones, exactly.

    `kind` is ``"rank_preserving"``, ``"rank_increasing"``, ``"row_scaling"``, ``"hidden_row"`` or
    ``"rank_increasing_ascent"``.
    """

    kind: str
    params: Layers
    change: float
    source: str


def critical_form(problem: AbstractProblem, params: Weights) -> Decomposition:
    """The decomposition of `params`, checked to be a critical point whose pattern is decided.

    Raises:
        InputError: it is not critical, or ambiguous.
    """
    point = decompose(problem, params)
    remedy = "Refine it with gradflow.classify, or raise the tolerance of decompose and pass its form."
    described = f"a point that is {point.kind} (relative distance {point.distance:.1e})"
    checks.require(point.is_critical, "params", "be a critical point with a decided pattern", described, remedy)
    return point


def descent(problem: AbstractProblem, params: Weights, eps: float) -> Perturbation:
    """A perturbation of size eps of a non-global critical point that lowers the loss, with the exact change.

    Item 1 at points of non-optimal order (it keeps the rank of A_2), item 2 at those of optimal order (it raises it).

    Raises:
        InputError: the point is a global minimum, not critical or ambiguous, or eps is not positive.

    Source: paper 002, Proposition 3, items 1 and 2, and Theorem 2 (1).
    """
    point = critical_form(problem, params)
    assert point.form is not None and point.critical_class is not None
    category = point.critical_class.category
    remedy = "No perturbation lowers the loss there."
    checks.require(category != "global", "params", "not be a global minimum", "one", remedy)
    if category == "non-optimal":
        return rank_preserving_descent(problem, point.form, eps)
    best = best_second_step(problem, point.form, eps)
    return rank_increasing_descent(problem, point.form, eps, min(best, eps))


def rank_preserving_descent(
    problem: AbstractProblem,
    form: AnalyticalForm,
    eps: float,
    *,
    missed: int | None = None,
    captured: int | None = None,
) -> Perturbation:
    """Item 1: the captured vector w_j is turned towards the missed u_i with ``sigma_i > sigma_j``.

    ``change = -1/2 eps^2 / (1 + eps^2) (sigma_i - sigma_j)``, exactly.

    Args:
        problem: a linear network with one hidden layer.
        form: a critical point of non-optimal order, e.g. ``decompose(problem, params).form``.
        eps: any positive number; the smaller, the closer.
        missed: i, 0-based number of a group of positive values with a missed direction; default the first.
        captured: j, a later group with a captured direction, r for the null space; default the last.

    Raises:
        InputError: the order is optimal, or the groups asked for are not so.
    """
    spectrum = spectrum_of(problem)
    eps = checks.real("eps", eps, above=0.0)
    i, j = _inverted_groups(spectrum, form, missed, captured)
    counts = form.capture.all_counts
    start = sum(len(group) - count for group, count in zip(spectrum.groups[:i], counts, strict=False))
    direction = form.capture.missed[:, start]
    column = sum(counts[:j])
    turned = form.capture.directions.copy()
    turned[:, column] = (turned[:, column] + eps * direction) / np.sqrt(1.0 + eps**2)
    first, _ = weights_of(spectrum, form)
    rank = form.capture.rank
    difference = np.zeros_like(form.offset)
    difference[:rank] = (turned - form.capture.directions).T @ spectrum.regression
    params = first + np.linalg.solve(form.mixing, difference), turned @ form.mixing[:rank]
    gain = float(spectrum.sigma[i] - spectrum.sigma[j])
    change = -0.5 * eps**2 / (1.0 + eps**2) * gain
    return Perturbation("rank_preserving", params, change, "paper 002, Proposition 3 item 1, with the factor 1/2")


def rank_increasing_descent(
    problem: AbstractProblem,
    form: AnalyticalForm,
    eps1: float,
    eps2: float | None = None,
    *,
    missed: int | None = None,
    row: int | None = None,
) -> Perturbation:
    """Item 2: a missed singular vector u_q is given to an unused row c of C.

    ``change = 1/2 eps2^2 a + (1/2 eps1^2 eps2^2 - eps1 eps2) sigma_q`` with ``a = ||(C L_1)_c X||^2``, exactly.

    Args:
        problem: a linear network with one hidden layer. form: a critical point with ``k < d_1`` that misses a
            positive singular value (of whatever order). eps1: size of the change of A_1. eps2: size of the change of
            A_2; default the one with the largest decrease, :func:`best_second_step`, which is small with eps1 only if
            a > 0. The loss falls for every eps2 between 0 and twice that.
        missed: 0-based number of the group of u_q; default the first with a missed direction.
        row: c, 0-based, at least k; default k.

    Raises:
        InputError: nothing positive is missed, or A_2 uses all rows of C.
    """
    spectrum = spectrum_of(problem)
    eps1 = checks.real("eps1", eps1)
    eps2 = best_second_step(problem, form, eps1, missed=missed, row=row) if eps2 is None else checks.real("eps2", eps2)
    direction, sigma, c, a = _unused_row(spectrum, form, missed, row)
    first, second = weights_of(spectrum, form)
    unit = np.zeros((form.mixing.shape[0], 1))
    unit[c] = 1.0
    first = first + eps1 * np.linalg.solve(form.mixing, unit) @ (direction @ spectrum.regression)[None, :]
    second = second + eps2 * np.outer(direction, form.mixing[c])
    change = 0.5 * eps2**2 * a + (0.5 * eps1**2 * eps2**2 - eps1 * eps2) * sigma
    source = "paper 002, Proposition 3 item 2, with the sigma of the added vector"
    return Perturbation("rank_increasing", (first, second), change, source)


def best_second_step(
    problem: AbstractProblem, form: AnalyticalForm, eps1: float, *, missed: int | None = None, row: int | None = None
) -> float:
    """The eps2 of the largest decrease: ``eps1 sigma_q / (a + eps1^2 sigma_q)``.

    The decrease is then ``1/2 eps1^2 sigma_q^2 / (a + eps1^2 sigma_q)``.

    Raises:
        InputError: as :func:`rank_increasing_descent`; or eps1 is 0.
    """
    eps1 = checks.real("eps1", eps1)
    checks.require(eps1 != 0.0, "eps1", "not be 0", eps1)
    _, sigma, _, a = _unused_row(spectrum_of(problem), form, missed, row)
    return eps1 * sigma / (a + eps1**2 * sigma)


def ascent(problem: AbstractProblem, params: Weights, eps: float) -> Perturbation:
    """A perturbation of size eps that raises the loss, with the exact change.

    Item 3 wherever ``A_2 A_1 X != 0``, critical or not: the largest row of A_2 A_1 X scaled by ``1 + eps`` or ``1 -
    eps``. At non-global critical points with ``A_2 A_1 X = 0``, which the paper leaves out: item 2 with signs that
    raise the loss, or, when A_2 has full column rank, a step of ``A_2 A_1 X`` away from zero.

    Raises:
        InputError: eps is not positive; or ``A_2 A_1 X = 0`` at a point that is no non-global critical point.

    Source: paper 002, Proposition 3 item 3 and Theorem 2 (2), without its restriction.
    """
    problem = shallow_regression(problem)
    eps = checks.real("eps", eps, above=0.0)
    first, second = layers_of(problem, params)
    root, target = arrays_of(problem)
    output = second @ first @ root
    norms = np.linalg.norm(output, axis=1)
    scale = float(np.linalg.norm(second)) * float(np.linalg.norm(first @ root)) + float(np.linalg.norm(target))
    if norms.max() <= 1e-12 * scale or scale == 0.0:
        return _ascent_from_zero(problem, params, eps)
    row = int(np.argmax(norms))
    slope = float(output[row] @ (output[row] - target[row]))
    factor = eps if slope >= 0 else -eps
    scaled = second.copy()
    scaled[row] *= 1.0 + factor
    change = factor * slope + 0.5 * factor**2 * float(norms[row]) ** 2
    return Perturbation("row_scaling", (first, scaled), change, "paper 002, Proposition 3 item 3")


def _ascent_from_zero(problem: AbstractProblem, params: Weights, eps: float) -> Perturbation:
    """Only the null space is captured: every cross term with the target vanishes."""
    point = critical_form(problem, params)
    assert point.form is not None and point.critical_class is not None
    is_global = point.critical_class.is_global
    checks.require(not is_global, "params", "not be a global minimum with A_2 A_1 X = 0", "one")
    if point.rank < point.form.mixing.shape[0]:
        raised = rank_increasing_descent(problem, point.form, eps, -eps)
        return Perturbation("rank_increasing_ascent", raised.params, raised.change, raised.source)
    spectrum = spectrum_of(problem)
    first, second = weights_of(spectrum, point.form)
    unit = np.zeros((first.shape[0], 1))
    unit[0] = 1.0
    step = point.form.capture.missed[:, 0] @ spectrum.regression
    change = 0.5 * eps**2 * float(np.sum((step @ spectrum.inputs) ** 2))
    first = first + eps * np.linalg.solve(point.form.mixing, unit) @ step[None, :]
    return Perturbation("hidden_row", (first, second), change, "paper 002, Theorem 2 (2), without its restriction")


def _inverted_groups(
    spectrum: DataSpectrum, form: AnalyticalForm, missed: int | None, captured: int | None
) -> tuple[int, int]:
    """A group with a missed direction and a later one with a captured direction."""
    counts = form.capture.all_counts
    available = [i for i, group in enumerate(spectrum.groups) if counts[i] < len(group)]
    taken = [j for j, count in enumerate(counts) if count]
    i = (available[0] if available else len(counts)) if missed is None else missed
    j = (taken[-1] if taken else -1) if captured is None else captured
    remedy = "Points of optimal order have none; use rank_increasing_descent."
    described = f"counts {form.capture.counts}, num_zero {form.capture.num_zero} and groups {(missed, captured)}"
    fits = i in available and j in taken and i < j
    checks.require(fits, "form", "miss a singular value larger than a captured one", described, remedy)
    return i, j


def _unused_row(
    spectrum: DataSpectrum, form: AnalyticalForm, missed: int | None, row: int | None
) -> tuple[np.ndarray, float, int, float]:
    """u_q, sigma_q, c and a of item 2."""
    counts, rank = form.capture.counts, form.capture.rank
    available = [i for i, group in enumerate(spectrum.groups) if counts[i] < len(group)]
    described = f"counts {counts} of {spectrum.multiplicities}"
    checks.require(bool(available), "form", "miss a positive singular value", described, "It is a global minimum.")
    q = available[0] if missed is None else missed
    checks.require(q in available, "missed", f"be one of the groups {available}", q)
    c = rank if row is None else row
    size = form.mixing.shape[0]
    checks.require(rank <= c < size, "form", f"leave row {c} of C unused (0-based; rank {rank} <= row < {size})", c)
    start = sum(len(group) - count for group, count in zip(spectrum.groups[:q], counts, strict=False))
    unused = form.mixing[c] @ form.offset @ spectrum.inputs
    return form.capture.missed[:, start], float(spectrum.sigma[q]), c, float(np.sum(unused**2))
