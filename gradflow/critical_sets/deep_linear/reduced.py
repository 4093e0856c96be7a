"""Paper 003's coordinates of a deep linear network, and its description of a critical point.

Letters (paper 003): with ``T = U_Y [S_Y 0] V_Y^T`` the reduced weights are ``W_1 R V_Y = [W_11 W_12]``,
``W_2, ..., W_H``,
``U_Y^T W_{H+1}``; ``R = W_{H+1} ... W_2``, ``Z = W_H ... W_2``, ``M = S_Y - R W_11``. At a critical point an
orthogonal U, a
permutation when the singular values differ, gives ``U^T S_Y U = diag(D_Y, E_Y)``, what was learned and what was not.
The
map to reduced weights is linear and one to one: loss, ranks and inertia are the same, eigenvalues and flows are not.
Knows a problem and a state. (R is the root of the problem's statistics only in this docstring's first line.)
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.deep_linear.construction import deep_regression
from gradflow.critical_sets.deep_linear.decomposition import CATEGORIES, DeepDecomposition, decompose
from gradflow.critical_sets.deep_linear.rank_patterns import Ranks
from gradflow.critical_sets.states import matrices
from gradflow.precision import in_double
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Weights

EQUATIONS = ("(14)", "(17)", "(18)", "(20)", "(21)", "(22)")


@dataclass(frozen=True)
class ReducedCoordinates:
    """The linear change between weights and reduced weights.

    Attributes:
        values: ``S_Y``, descending and positive.
        left, right: ``U_Y`` and ``V_Y``.
        first, first_inverse: ``W_1 first`` is the reduced first layer, ``W_bar first_inverse`` goes back, to the
            weights
            without a part that the data do not meet.
    """

    values: Float[np.ndarray, " d_out"]
    left: Float[np.ndarray, "d_out d_out"]
    right: Float[np.ndarray, "rank rank"]
    first: Float[np.ndarray, "d_in rank"]
    first_inverse: Float[np.ndarray, "rank d_in"]

    def to_reduced(self, params: Weights) -> Weights:
        """``(W_1 R V_Y, W_2, ..., U_Y^T W_{H+1})``; also maps directions."""
        layers = [np.asarray(layer, np.float64) for layer in params]
        return (layers[0] @ self.first, *layers[1:-1], self.left.T @ layers[-1])

    def from_reduced(self, reduced: Weights) -> Weights:
        """The weights of least first layer with these reduced weights."""
        return (reduced[0] @ self.first_inverse, *reduced[1:-1], self.left @ reduced[-1])


def reduced_coordinates(problem: AbstractProblem) -> ReducedCoordinates:
    """Paper 003's coordinates, for a target of full rank.

    Raises:
        InputError: no hidden layer, or ``rank(Y X^T) < d_out`` (Assumption 2 as corrected).
    """
    problem = deep_regression(problem)
    spectrum, statistics = problem.spectrum, problem.statistics
    assert statistics is not None
    _require_full_rank(problem)
    right = np.asarray(spectrum.right)
    root = np.asarray(statistics.root)
    return ReducedCoordinates(
        values=np.asarray(spectrum.values),
        left=np.asarray(spectrum.left),
        right=right,
        first=root @ right,
        first_inverse=right.T @ np.linalg.pinv(root),
    )


@dataclass(frozen=True)
class LearnedForm:
    """A critical point as paper 003 describes it, in reduced coordinates.

    Attributes:
        reduced: ``([W_11 W_12], W_2, ..., W_{H+1})``.
        indices: 0-based indices of the learned singular values; None when part of a group of equal ones is learned.
        rank, rank_z: r and ``r_Z``.
        turn: U, its first r columns what is learned; a permutation when `indices` is known.
        learned, missed: diagonals of ``D_Y`` and ``E_Y``.
        case: ``"global"``, ``"r_Z>r"``; for H = 2 else ``"1.1"``, ``"1.2"``, ``"2.1"``, ``"2.2"``; for other H
            ``"r_Z=r"``; and
            ``"ambiguous"`` or ``"not-critical"``.
        pivot: the layers (i, j) whose ranks prove a negative eigenvalue; ``(H+1, 1)`` is ``r_Z > r``.
        strict: as :func:`decompose` says.
    """

    reduced: Weights
    indices: tuple[int, ...] | None
    rank: int
    rank_z: int
    turn: Float[np.ndarray, "d_out d_out"]
    learned: Float[np.ndarray, " r"]
    missed: Float[np.ndarray, " _"]
    case: str
    pivot: tuple[int, int] | None
    strict: bool | None

    @property
    def is_permutation(self) -> bool:
        """True when U has entries 0 and 1 only."""
        return bool(np.array_equal(np.abs(self.turn), (np.abs(self.turn) > 0.5).astype(float)))

    def residuals(self) -> dict[str, float]:
        """By how much each of the paper's equations fails: largest entry, absolute.

        (14), (17), (18), (20) and (21) hold at every critical point, (22) where ``r_Z = r >= 1``. The third line of
        (18) and
        (21) are read with ``E_Y`` and the layers j = 2, ..., H.
        """
        return _residuals(self)


@in_double
def describe(problem: AbstractProblem, params: Weights, *, rank_tolerance: float = 1e-9) -> LearnedForm:
    """Learned singular values, U, ranks and case of a critical point, in the words of paper 003.

    Args:
        problem: a linear network with a hidden layer and a target of full rank, squared error, no regulariser.
        params: a state, supposed critical.
        rank_tolerance: as in :func:`decompose`.

    Raises:
        InputError: no such problem.

    Source: paper 003, Lemma 2, Proposition 3 and section 4, with ``U^T S_Y U = diag(D_Y, E_Y)`` (a permuted S_Y),
    and a block rotation in place of a permutation where singular values are equal.
    """
    problem = deep_regression(problem)
    coordinates = reduced_coordinates(problem)
    params = matrices(problem, params)
    found = decompose(problem, params, rank_tolerance=rank_tolerance)
    reduced = coordinates.to_reduced(params)
    size = len(coordinates.values)
    product = np.linalg.multi_dot([np.asarray(layer) for layer in reversed(reduced)])
    turn, learned = _turn(problem, product[:, :size], found.counts)
    values = coordinates.values
    middle = reduced[1] if len(reduced) > 2 else np.eye(reduced[0].shape[0])
    for layer in reduced[2:-1]:
        middle = layer @ middle
    num_hidden, rank = problem.num_hidden, sum(found.counts)
    clear = rank_tolerance * float(
        np.prod([max(float(np.linalg.norm(w, 2)), problem.weight_scale) for w in params[1:-1]])
    )
    rank_z = int(np.sum(np.linalg.svd(middle, compute_uv=False) > clear))
    return LearnedForm(
        reduced=reduced,
        indices=found.recognised.indices,
        rank=rank,
        rank_z=rank_z,
        turn=turn,
        learned=values[learned[:rank]],
        missed=values[learned[rank:]],
        case=_case(found, num_hidden),
        pivot=found.pivot,
        strict=found.strict,
    )


def h2_case(ranks: Ranks, rank: int) -> str:
    """The case of section 4.2 for H = 2 and a point that is no global minimiser.

    ``"r_Z>r"`` first; ``"1.x"`` for r = 0, ``"2.x"`` for r >= 1; ``".1"`` when ``W_{1,1,2}`` or ``W_{3,2}`` is not
    zero.
    """
    if ranks[1][1] > 0:
        return "r_Z>r"
    meets = ranks[3][2] > 0 or ranks[2][2] > 0
    return f"{'2' if rank else '1'}.{'1' if meets else '2'}"


def _case(found: DeepDecomposition, num_hidden: int) -> str:
    if found.category not in CATEGORIES[:4] or found.ranks is None:
        return found.category
    if found.category == "global":
        return "global"
    if num_hidden == 2:
        return h2_case(found.ranks, sum(found.counts))
    return "r_Z>r" if found.ranks[1][num_hidden - 1] > 0 else "r_Z=r"


def _turn(problem: Regression, square: np.ndarray, counts: tuple[int, ...]) -> tuple[np.ndarray, list[int]]:
    """U and the order of the singular values in its columns: in every group the learned directions come first."""
    learned: list[tuple[np.ndarray, int]] = []
    missed: list[tuple[np.ndarray, int]] = []
    size = len(square)
    for group, count in zip(problem.spectrum.groups, counts, strict=True):
        block = square[np.ix_(group, group)]
        if len(group) == 1 or count in (0, len(group)):
            vectors = np.eye(len(group))
        else:
            vectors = np.linalg.eigh(0.5 * (block + block.T))[1][:, ::-1]
        for position, index in enumerate(group):
            column = np.zeros(size)
            column[list(group)] = vectors[:, position]
            (learned if position < count else missed).append((column, index))
    ordered = learned + missed
    return np.column_stack([column for column, _ in ordered]), [index for _, index in ordered]


def _residuals(form: LearnedForm) -> dict[str, float]:
    size, r = len(form.turn), form.rank
    first, *others = (np.asarray(layer) for layer in form.reduced)
    w11, w12 = first[:, :size], first[:, size:]
    values = np.concatenate([form.learned, form.missed])
    singular = form.turn @ np.diag(values) @ form.turn.T
    products: list[np.ndarray] = [np.eye(first.shape[0])]
    for layer in others:
        products.append(layer @ products[-1])
    behind, middle = products[-1], products[-2]
    missing = singular - behind @ w11
    suffix = _suffixes(others)
    turned = form.turn.T @ others[-1]
    top, bottom = turned[:r], turned[r:]
    w111, w112 = (w11 @ form.turn)[:, :r], (w11 @ form.turn)[:, r:]
    missed = np.diag(form.missed)
    expected = np.zeros((size, size))
    expected[r:, r:] = missed
    inner = [suffix[j].T @ missing @ w11.T @ products[j].T for j in range(len(others))]
    between = _suffixes(others[:-1])
    outer = [between[j].T @ bottom.T @ missed @ w112.T @ products[j].T for j in range(len(others) - 1)]
    equations = {
        "(14)": [behind.T @ missing, behind @ w12, *inner],
        "(17)": [behind.T @ singular - behind.T @ behind @ w11, behind @ w12,
                 behind @ w11 @ singular - behind @ w11 @ w11.T @ behind.T],
        "(18)": [top @ middle @ w111 - np.diag(form.learned), middle @ w112, top @ middle @ w12, bottom @ middle],
        "(20)": [form.turn.T @ missing @ form.turn - expected],
        "(21)": outer,
        "(22)": [middle @ w12] if form.rank_z == r >= 1 else [],
    }  # fmt: skip
    return {name: max((_largest(matrix) for matrix in found), default=0.0) for name, found in equations.items()}


def _suffixes(layers: list[np.ndarray]) -> list[np.ndarray]:
    """``[W_last ... W_{j+1}]`` for every layer j of the list, the last entry the identity; empty for no layers."""
    if not layers:
        return []
    found = [np.eye(layers[-1].shape[0])]
    for layer in reversed(layers[1:]):
        found.insert(0, found[0] @ layer)
    return found


def _largest(matrix: np.ndarray) -> float:
    return float(np.max(np.abs(matrix))) if matrix.size else 0.0


def _require_full_rank(problem: Regression) -> None:
    spectrum = problem.spectrum
    size = len(spectrum.values)
    checks.require(
        spectrum.num_positive == size, "problem", f"have rank(Y X^T) = d_out = {size} (paper 003, Assumption 2)",
        spectrum.num_positive, "decompose and recognise treat targets of any rank.",
    )  # fmt: skip
