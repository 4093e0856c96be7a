"""Critical points of a shallow linear network from the matrices of Theorem 1: pattern, bases, C and L_1.

    A_1 = C^{-1} V^T U^T Y X^+ + L_1 - C^{-1} V^T V C L_1 X X^+            (1)
    A_2 = U V C                                                          (2)
    P_{col(UV)^perp} Y X^T L_1^T C^T P_{ker V} = 0                       (3)

For any L_1 these weights have ``grad_{A_1} = 0`` and ``grad_{A_2} = -[left side of (3)] C^{-T}``: eq. (3) is exactly
what is missing. Knows a problem's statistics, which say all about its samples; R and T stand for X and Y.

Source: paper 002, Theorem 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.ladder import linear_regression
from gradflow.critical_sets.shallow_linear.derivatives import Layers
from gradflow.critical_sets.shallow_linear.patterns import Capture, admissible_offset, capture
from gradflow.critical_sets.shallow_linear.spectrum import ZERO_FLOOR, DataSpectrum, data_spectrum
from gradflow.critical_sets.states import matrices
from gradflow.problem import AbstractProblem, Regression
from gradflow.statistics import GROUP_RTOL, ZERO_RTOL


@dataclass(frozen=True)
class AnalyticalForm:
    """The matrices of Theorem 1: the capture (U V), C and L_1. Many forms give the same weights."""

    capture: Capture
    mixing: Float[np.ndarray, "d_hidden d_hidden"]
    offset: Float[np.ndarray, "d_hidden d_in"]


def shallow_regression(problem: AbstractProblem) -> Regression:
    """`problem`, checked to be a linear network with one hidden layer, the squared error and no regulariser.

    Raises:
        InputError: it is not.
    """
    problem = linear_regression(problem)
    checks.require(
        problem.num_hidden == 1,
        "problem",
        "have exactly one hidden layer",
        f"widths {(problem.network.shapes[0][1], *(rows for rows, _ in problem.network.shapes))}",
        "Deeper networks are the family gradflow.critical_sets.deep_linear.",
    )
    return problem


def spectrum_of(
    problem: AbstractProblem, *, group_rtol: float = GROUP_RTOL, zero_rtol: float = ZERO_RTOL
) -> DataSpectrum:
    """The groups of equal singular values of a problem's data, from its statistics; the samples are not needed.

    Args:
        problem: a linear network with one hidden layer.
        group_rtol: singular values closer than this multiple of the largest are equal.
        zero_rtol: singular values below this multiple of the largest are zero; so is what is rounding against Y.

    Raises:
        InputError: the problem is not an unregularised linear network with one hidden layer and the squared error.
    """
    problem = shallow_regression(problem)
    root, target = arrays_of(problem)
    fitted = float(np.linalg.norm(target))
    whole = float(np.hypot(fitted, np.sqrt(2.0 * problem.irreducible)))
    floor = ZERO_FLOOR * whole / fitted if fitted > 0 else ZERO_FLOOR
    return data_spectrum(root, target, group_rtol=group_rtol, zero_rtol=zero_rtol, zero_floor=floor)


def arrays_of(problem: Regression) -> tuple[np.ndarray, np.ndarray]:
    """R and T of a linear problem as NumPy arrays."""
    assert problem.statistics is not None
    return np.asarray(problem.statistics.root), np.asarray(problem.statistics.target)


def layers_of(problem: Regression, params: Any) -> Layers:
    """``(A_1, A_2)`` as float64 arrays, checked to be finite and of the network's shapes."""
    first, second = matrices(problem, params)
    return first, second


def construct(
    problem: AbstractProblem,
    counts: Sequence[int],
    num_zero: int = 0,
    *,
    mixing: Any = None,
    bases: Any = None,
    free_top: Any = None,
    free_bottom: Any = None,
) -> Layers:
    """A critical point ``(A_1, A_2)`` with the given captured counts; every critical point is one of these.

    ``A_2 = U Vhat C_top`` and ``A_1 = C^{-1} [Vhat^T U^T Y X^+ + M_top (I - X X^+); M_bot N]`` with
    ``N = I - G G^+``, ``G = X Y^T (I - P)``.

    Args:
        problem: a linear network with one hidden layer, the squared error and no regulariser; any X, Y and widths.
        counts: ``p_1, ..., p_r``, captured directions per group of equal positive singular values.
        num_zero: ``p_bar``, captured directions of the null space of ``Y X^+ X Y^T``.
        mixing: C, invertible ``(d_1, d_1)``; default the identity.
        bases: ``V_1, ..., V_r, V_bar``, orthonormal ``(m_i, p_i)``; default the first directions of each group.
        free_top: M_top, ``(k, d_0)`` with k the rank of A_2; default zero.
        free_bottom: M_bot, ``(d_1 - k, d_0)``; default zero.

    Accuracy: gradient about 1e-14 times the condition number of C, relative to the problem's.

    Raises:
        InputError: a wrong problem, counts that do not fit, a C that is not invertible, matrices of wrong shape.

    Source: paper 002, Theorem 1, with every L_1 that eq. (3) admits.
    """
    problem = shallow_regression(problem)
    spectrum = spectrum_of(problem)
    form = analytical_form(
        problem, counts, num_zero, mixing=mixing, bases=bases, free_top=free_top, free_bottom=free_bottom
    )
    return weights_of(spectrum, form)


def analytical_form(
    problem: AbstractProblem,
    counts: Sequence[int],
    num_zero: int = 0,
    *,
    mixing: Any = None,
    bases: Any = None,
    free_top: Any = None,
    free_bottom: Any = None,
    offset: Any = None,
) -> AnalyticalForm:
    """The matrices of Theorem 1 that :func:`construct` uses; arguments as there.

    Args:
        offset: L_1 itself, in place of M_top and M_bot. Taken as it is: :func:`condition_three` says whether the
            weights are then critical.

    Raises:
        InputError: as :func:`construct`; or both `offset` and a free part are given.
    """
    problem = shallow_regression(problem)
    spectrum = spectrum_of(problem)
    (d_hidden, d_in), _ = problem.network.shapes
    chosen = capture(spectrum, counts, num_zero, bases)
    rank = chosen.rank
    remedy = "Capture fewer singular values or take a wider hidden layer."
    checks.require(rank <= d_hidden, "counts", f"sum to at most d_1 = {d_hidden} with num_zero", rank, remedy)
    C = np.eye(d_hidden) if mixing is None else _invertible(mixing, d_hidden)
    if offset is not None:
        is_alone = free_top is None and free_bottom is None
        checks.require(is_alone, "offset", "be given without free_top and free_bottom", "both")
        return AnalyticalForm(chosen, C, _shaped("offset", offset, (d_hidden, d_in)))
    top = _shaped("free_top", free_top, (rank, d_in))
    bottom = _shaped("free_bottom", free_bottom, (d_hidden - rank, d_in))
    return AnalyticalForm(chosen, C, admissible_offset(spectrum, chosen, C, top, bottom))


def weights_of(spectrum: DataSpectrum, form: AnalyticalForm) -> Layers:
    """Eqs. (1) and (2): the weights of a form, for any L_1."""
    rank = form.capture.rank
    directions, offset, mixing = form.capture.directions, form.offset, form.mixing
    change = np.zeros_like(offset)
    change[:rank] = directions.T @ spectrum.regression - mixing[:rank] @ offset @ spectrum.input_projector
    return offset + np.linalg.solve(mixing, change), directions @ mixing[:rank]


def condition_three(spectrum: DataSpectrum, form: AnalyticalForm) -> Float[np.ndarray, "d_out d_hidden"]:
    """The matrix of eq. (3), ``P_{col(UV)^perp} Y X^T L_1^T C^T P_{ker V}``.

    For any L_1 the weights of the form have ``grad_{A_1} = 0`` and ``grad_{A_2} = -condition_three C^{-T}``, so they
    are critical exactly when it is zero.
    """
    missed = form.capture.missed
    result = missed @ (missed.T @ spectrum.cross) @ form.offset.T @ form.mixing.T
    result[:, : form.capture.rank] = 0.0
    return result


def _shaped(name: str, value: Any, shape: tuple[int, int]) -> np.ndarray:
    if value is None:
        return np.zeros(shape)
    given = np.shape(value)
    checks.require(given == shape, name, f"have shape {shape}", given)
    return checks.finite_array(name, value) if 0 not in shape else np.zeros(shape)


def _invertible(mixing: Any, size: int) -> np.ndarray:
    matrix = _shaped("mixing", mixing, (size, size))
    condition = float(np.linalg.cond(matrix))
    checks.require(condition < 1e12, "mixing", "be invertible in double precision", f"condition {condition:.1e}")
    return matrix
