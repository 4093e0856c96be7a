"""The critical points of networks with two hidden layers, case by case as in section 4.2 of paper 003.

Letters (paper 003, reduced coordinates): ``W_1 = [W_11 W_12]``, ``W_2 = U_2 Sigma_2 V_2^T`` with
``Sigma_2 = diag(D_2, 0)``; U brings
``S_Y`` to ``diag(D_Y, E_Y)``; ``W_{1,1,2,2}``, ``W_{3,2,2}`` and so on are blocks in these bases. Cases with
``r_Z = r``: 1.1 (``W_2 = 0``,
``W_11 S_Y W_3 = 0``, not both zero), 1.2 (``W_2 = W_3 = W_11 = 0``), 2.1 (r >= 1, ``W_{1,1,2,2} E_Y W_{3,2,2} = 0``,
not both zero), 2.2
(both zero). Targets have full rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.deep_linear.construction import KeyLike, deep_regression, generator, random_invertible
from gradflow.critical_sets.deep_linear.reduced import LearnedForm, ReducedCoordinates, describe, reduced_coordinates
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Weights

CASES = ("1.1", "1.2", "2.1", "2.2")


def construct_case(
    problem: AbstractProblem, case: str, learned: Sequence[int] = (), *, key: KeyLike, nonzero: str = "first"
) -> Weights:
    """A random critical point of one of the four cases.

    Args:
        problem: a linear network with two hidden layers and a target of full rank.
        case: ``"1.1"``, ``"1.2"``, ``"2.1"`` or ``"2.2"``.
        learned: 0-based indices of the learned singular values; none in case 1, at least one in case 2.
        key: a seed, a JAX key or a NumPy generator.
        nonzero: which of ``W_{1,1,2,2}`` (``W_11``) and ``W_{3,2,2}`` (``W_3``) is not zero in cases 1.1 and 2.1:
            ``"first"``,
            ``"last"`` or ``"both"``.

    Raises:
        InputError: H is not 2, the target has no full rank, the indices do not fit the case, or there is no room.

    Source: paper 003, section 4.2, eqs. (23) and (26), with case 1.1's last condition read as ``W_11 S_Y W_3 = 0``.
    """
    problem = _two_hidden(problem)
    checks.choice("case", case, CASES)
    checks.choice("nonzero", nonzero, ("first", "last", "both"))
    coordinates, rng = reduced_coordinates(problem), generator(key)
    size, widths = len(coordinates.values), [rows for rows, _ in problem.network.shapes]
    chosen = [checks.integer(f"learned[{index}]", number, at_least=0) for index, number in enumerate(learned)]
    fits = len(set(chosen)) == len(chosen) and all(number < size for number in chosen)
    fits = fits and (len(chosen) == 0) == case.startswith("1")
    checks.require(fits, "learned", "be none in case 1, at least one in case 2, all different", tuple(learned))
    checks.require(len(chosen) < size, "learned", "leave a singular value", f"all {size}", "That is a global minimum.")
    room = min(widths[0], widths[1]) - len(chosen)
    needed = 0 if case.endswith("2") else 1
    checks.require(room >= needed, "learned", f"be fewer than the hidden widths {widths[:2]}", len(chosen))
    rest = [index for index in range(size) if index not in chosen]
    layers = _blocks(problem, coordinates, np.array(chosen, int), np.array(rest, int), case, rng, nonzero)
    return coordinates.from_reduced(layers)


def _blocks(
    problem: Regression,
    coordinates: ReducedCoordinates,
    learned: np.ndarray,
    rest: np.ndarray,
    case: str,
    rng: np.random.Generator,
    nonzero: str,
) -> Weights:
    """Reduced weights from the blocks of (26), which for r = 0 is (23) with ``W_2 = 0``."""
    size, r, values = len(coordinates.values), len(learned), coordinates.values
    (d1, _), (d2, _), _ = problem.network.shapes
    extra = coordinates.first.shape[1] - size
    scale = problem.weight_scale
    left, right = (np.linalg.qr(rng.normal(size=(width, width)))[0] for width in (d2, d1))
    strengths = scale * rng.uniform(0.6, 1.6, size=r)
    inner = scale * random_invertible(rng, r)
    first, last = np.zeros((d1, size)), np.zeros((size, d2))
    first[np.ix_(np.arange(r), learned)] = inner
    first[r:, learned] = scale * rng.normal(size=(d1 - r, r))
    last[np.ix_(learned, np.arange(r))] = np.diag(values[learned]) @ np.linalg.inv(inner) / strengths
    last[learned, r:] = scale * rng.normal(size=(r, d2 - r))
    if case.endswith(".1"):
        above, below = _annihilating(rng, d1 - r, d2 - r, values[rest], nonzero)
        first[r:, rest], last[np.ix_(rest, np.arange(r, d2))] = scale * above, scale * below
    other = np.zeros((d1, extra))
    other[r:] = scale * rng.normal(size=(d1 - r, extra))
    middle = np.zeros((d2, d1))
    middle[:r, :r] = np.diag(strengths)
    return right @ np.hstack([first, other]), left @ middle @ right.T, last @ left.T


def _annihilating(
    rng: np.random.Generator, rows: int, columns: int, missed: np.ndarray, nonzero: str
) -> tuple[np.ndarray, np.ndarray]:
    """Random A (rows, n) and B (n, columns) with ``A diag(missed) B = 0``, one or both of them not zero."""
    size = len(missed)
    first, last = rng.normal(size=(rows, size)), rng.normal(size=(size, columns))
    if nonzero == "first":
        return first, np.zeros_like(last)
    if nonzero == "last":
        return np.zeros_like(first), last
    checks.require(size >= 2, "nonzero", "be 'first' or 'last' when one singular value is left", "'both'")
    frame = np.linalg.qr(rng.normal(size=(size, size)))[0]
    split = int(rng.integers(1, size))
    return first @ frame[:, :split] @ frame[:, :split].T, np.diag(1 / missed) @ frame[:, split:] @ frame[
        :, split:
    ].T @ last


@dataclass(frozen=True)
class CaseTwoBlocks:
    """The blocks of a critical point with ``r_Z = r >= 1`` in the bases of ``W_2``'s singular vectors and U.

    Attributes:
        form: the description of the point.
        left, right: ``U_2`` and ``V_2``.
        strengths: the diagonal of ``D_2``.
    """

    form: LearnedForm
    left: Float[np.ndarray, "d2 d2"]
    right: Float[np.ndarray, "d1 d1"]
    strengths: Float[np.ndarray, " r"]

    def turned(self, layers: Weights) -> Weights:
        """Reduced weights or directions as ``V_2^T [W_11 U, W_12]``, ``U_2^T W_2 V_2``, ``U^T W_3 U_2``."""
        size = len(self.form.turn)
        first = np.hstack([layers[0][:, :size] @ self.form.turn, layers[0][:, size:]])
        return self.right.T @ first, self.left.T @ layers[1] @ self.right, self.form.turn.T @ layers[2] @ self.left


def case_two_blocks(problem: AbstractProblem, params: Weights) -> CaseTwoBlocks:
    """The bases of case 2 at a critical point with ``r_Z = r >= 1``.

    Raises:
        InputError: H is not 2, or the point is of another case.
    """
    problem = _two_hidden(problem)
    form = describe(problem, params)
    is_case_two = form.case in ("2.1", "2.2") or (form.case == "global" and form.rank_z == form.rank >= 1)
    checks.require(is_case_two, "params", "be of case 2.1 or 2.2", form.case)
    left, strengths, right = np.linalg.svd(form.reduced[1])
    return CaseTwoBlocks(form, left, right.T, strengths[: form.rank])


def case_two_variation(blocks: CaseTwoBlocks, direction: Weights, *, as_printed: bool = False) -> float:
    """``H_W(w)`` at a point of case 2 by the formula after (26), for a direction in reduced coordinates.

    Args:
        blocks: of the point.
        direction: reduced direction.
        as_printed: with ``W_{1,1,2,1} = 0`` in place of ``W_{1,1,2,2}`` in ``1/2 ||W_{3,2,2} w_{2,4} W_{1,1,2,2}||^2``.

    Accuracy: equal to ``1/2 D^2 L[w, w]`` to about 1e-14 relative; wrong away from critical points of case 2.

    Source: paper 003, section 4.2.2, case 2.1, corrected.
    """
    r, size = blocks.form.rank, len(blocks.form.turn)
    big1, _, big3 = blocks.turned(blocks.form.reduced)
    small1, small2, small3 = blocks.turned(direction)
    missed, strengths = np.diag(blocks.form.missed), np.diag(blocks.strengths)
    w111, w1122, w12 = big1[:, :r], big1[r:, r:size], big1[:, size:]
    w1111, w311, w322 = big1[:r, :r], big3[:r, :r], big3[r:, r:]
    w31, w32, w112 = big3[:r], big3[r:], big1[:, r:size]
    v1111, v1121, v1122, v121 = small1[:r, :r], small1[:r, r:size], small1[r:, r:size], small1[:r, size:]
    v22, v23, v24 = small2[:r, r:], small2[r:, :r], small2[r:, r:]
    v311, v321, v322 = small3[:r, :r], small3[r:, :r], small3[r:, r:]
    cross = (v321 @ v22 + v322 @ v24) @ w1122 @ missed
    total = -float(np.trace(cross)) - float(np.trace((v23 @ v1121 + v24 @ v1122) @ missed @ w322))
    total -= float(np.trace(strengths @ v1121 @ missed @ v321))
    outer = np.zeros_like(cross) if as_printed else w322 @ v24 @ w1122
    squares = [
        w31 @ small2 @ w111 + v311 @ strengths @ w1111 + w311 @ strengths @ v1111,
        w31 @ small2 @ w112 + w311 @ strengths @ v1121,
        w32 @ small2 @ w111 + v321 @ strengths @ w1111,
        outer,
        w31 @ small2 @ w12 + w311 @ strengths @ v121,
        w322 @ v24 @ w12[r:],
    ]
    return total + 0.5 * sum(float(np.sum(square**2)) for square in squares)


def remark_3_form(learned: float, missed: float) -> Float[np.ndarray, "2 2"]:
    """The form ``1/2 A^2 + 1/2 B^2 - (E / D) A B`` of one pair as a matrix, with eigenvalues ``1/2 (1 +- E / D)``.

    Inside case 2.2 the Hessian has a negative eigenvalue if **and only if** some missed E exceeds some learned D.

    Source: paper 003, Remark 3, which states one direction.
    """
    ratio = missed / learned
    return 0.5 * np.array([[1.0, -ratio], [-ratio, 1.0]])


def _two_hidden(problem: AbstractProblem) -> Regression:
    problem = deep_regression(problem)
    checks.require(problem.num_hidden == 2, "problem", "have two hidden layers", problem.num_hidden)
    return problem
