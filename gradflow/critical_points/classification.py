"""The kind of a critical point: by closed-form theory where there is one, by the Hessian elsewhere, or "don't know".

A small gradient is not a critical point, and a positive semidefinite Hessian is not a minimum: both need more than
a threshold. "undetermined" is an answer with a reason.
"""

from dataclasses import dataclass

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Float

from gradflow import checks, losses
from gradflow.critical_points.families import kind_by_family, kink_kind
from gradflow.critical_points.linear_weights import eigenvalue_shifts, is_linear, linear_rounding, weight_floors
from gradflow.critical_points.refinement import Refinement, refine
from gradflow.critical_sets import LinearCriticalPoint, one_based, recognise
from gradflow.curvature import DENSE_LIMIT, extreme_eigenvalues, spectrum
from gradflow.precision import as_params, in_double, require_concrete
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Params

KINDS = (
    "global_minimum",
    "local_minimum",
    "spurious_minimum",
    "strict_saddle",
    "nonstrict_saddle",
    "maximum",
    "degenerate",
    "not_critical",
    "undetermined",
)
"""All kinds. `degenerate`: no negative eigenvalue, but flat directions in which the Hessian decides nothing."""

LOSS_RTOL = 1e-13
"""A loss within this multiple of the loss of zero output is at its lower bound."""

NUM_EXTREME = 5
"""Eigenvalues computed at each end when there are too many parameters for all."""


@dataclass(frozen=True)
class CriticalPoint:
    """A classified state.

    Attributes:
        kind: one of :data:`KINDS`.
        reason: why this kind, one sentence.
        loss: loss at `params`.
        grad_norm: gradient norm at `params`.
        params: the refined state (the state as given when it is not critical).
        displacement: how far refinement moved it, Euclidean.
        index: Morse index, eigenvalues below ``-zero_tolerance``; None when not all were computed or not critical.
        nullity: eigenvalues within ``zero_tolerance`` of zero; None like `index`.
        eigenvalues: of the Hessian at `params`, ascending.
        spectrum: "dense" when `eigenvalues` holds all of them, "extreme" when only the ends.
        zero_tolerance: what counts as zero: rounding, or what the uncertainty of `params` does to an eigenvalue.
        captured: 0-based indices of the captured singular values; None when it is not a linear network, or part
            of a group of equal ones is captured (see `counts`).
        counts: captured directions per group of equal positive singular values (linear networks).
        rank: r of paper 003 (linear networks).
        rank_z: r_Z of paper 003 (linear networks with a hidden layer, when unambiguous).
        value: critical value by Lemma 2 of paper 003 (linear networks).
    """

    kind: str
    reason: str
    loss: float
    grad_norm: float
    params: Params
    displacement: float
    index: int | None
    nullity: int | None
    eigenvalues: Float[np.ndarray, " num_eigenvalues"]
    spectrum: str
    zero_tolerance: float
    captured: tuple[int, ...] | None = None
    counts: tuple[int, ...] | None = None
    rank: int | None = None
    rank_z: int | None = None
    value: float | None = None

    @property
    def is_decided(self) -> bool:
        """True for a critical point whose kind was found."""
        return self.kind not in ("not_critical", "undetermined", "degenerate")

    def __repr__(self) -> str:
        hessian = "" if self.index is None else f", index {self.index}, nullity {self.nullity}"
        return f"CriticalPoint({self.kind}, loss {self.loss:.6g}{hessian})"


@np.errstate(over="ignore", invalid="ignore")  # far out; what is not finite there is named so
@in_double
def classify(problem: AbstractProblem, params: Params, max_displacement: float | None = None) -> CriticalPoint:
    """The kind of the critical point that `params` is at, after refinement.

    Linear networks with the squared error and no regulariser are named by theory (captured singular values and
    ranks of partial products), and the Hessian may only contradict, which gives "undetermined". Minima of shallow
    linear networks with a :class:`~gradflow.regularizers.Balance` and of ReLU networks with one hidden layer inside a
    cone are named by theory too; a point on a kink is "undetermined". Other problems are
    named by the Hessian: a negative eigenvalue makes a strict saddle, none and no zero one a local minimum; flat
    directions without a negative eigenvalue are "degenerate", unless the loss is at a known lower bound.

    Accuracy: refined states within 1e-7 of the scale of the parameters are one point to theory: where a linear
    network's limit has such small weights, rounding of the flow that led there made them.

    Args:
        problem: any problem.
        params: a state, usually the end of a trajectory.
        max_displacement: how far refinement may move, see :func:`gradflow.critical_points.refine`.

    Raises:
        InputError: `params` does not fit the problem or is not finite.
    """
    checks.require(
        isinstance(problem, AbstractProblem), "problem", "be a problem", type(problem).__name__,
        "Of a flow that is flow.problem.",
    )  # fmt: skip
    require_concrete("classify", problem, params)
    params = as_params(params, name="params")
    refined = refine(problem, params, max_displacement)
    if not refined.is_critical:
        return _not_critical(problem, params, refined, kink_kind(problem, params))
    eigenvalues, form = _eigenvalues(problem, refined.params)
    tolerance = _zero_tolerance(problem, refined, len(eigenvalues))
    is_dense = form == "dense"
    index = int(np.sum(eigenvalues < -tolerance))
    nullity = int(np.sum(np.abs(eigenvalues) <= tolerance))
    loss = float(problem.loss(refined.params))
    nearness = max(refined.displacement, float(weight_floors(problem, _flat(refined.params)[None])[0]))
    theory = recognise(problem, refined.params, nearness) if is_linear(problem) else None
    if theory is None:
        known = kind_by_family(problem, refined.params, index)
        kind, reason = known or _second_order_kind(problem, loss, index, nullity, is_dense, len(eigenvalues))
    else:
        has_descent = float(eigenvalues[0]) < -max(tolerance, _reach(problem, refined, nearness))
        kind, reason = _linear_kind(theory, index, float(eigenvalues[0]), has_descent, nearness)
    return CriticalPoint(
        kind=kind,
        reason=reason,
        loss=loss,
        grad_norm=refined.grad_norm,
        params=refined.params,
        displacement=refined.displacement,
        index=index if is_dense else None,
        nullity=nullity if is_dense else None,
        eigenvalues=eigenvalues,
        spectrum=form,
        zero_tolerance=tolerance,
        captured=theory.indices if theory else None,
        counts=theory.counts if theory else None,
        rank=theory.rank if theory else None,
        rank_z=theory.rank_z if theory else None,
        value=theory.value if theory else None,
    )


@in_double
def unnamed(problem: AbstractProblem, params: Params, reason: str) -> CriticalPoint:
    """A state that nothing is said of but its loss and gradient: kind "undetermined", for the given reason."""
    params = as_params(params, name="params")
    return CriticalPoint(
        kind="undetermined",
        reason=f"Undetermined: {reason}.",
        loss=float(problem.loss(params)),
        grad_norm=float(scipy.linalg.norm(_flat(problem.gradient(params)), check_finite=False)),
        params=jax.tree.map(np.asarray, params),
        displacement=0.0,
        index=None,
        nullity=None,
        eigenvalues=np.zeros(0),
        spectrum="none",
        zero_tolerance=float("nan"),
    )


def _not_critical(
    problem: AbstractProblem, params: Params, refined: Refinement, known: tuple[str, str] | None
) -> CriticalPoint:
    loss = float(problem.loss(params))
    gradient_norm = float(scipy.linalg.norm(_flat(problem.gradient(params)), check_finite=False))
    is_finite = np.isfinite(loss) and np.isfinite(gradient_norm) and np.isfinite(refined.grad_norm)
    eigenvalues, form = _eigenvalues(problem, params)
    own = "not_critical" if is_finite else "undetermined"
    kind, reason = known or (own, f"{own.replace('_', ' ').capitalize()}: {refined.reason}.")
    return CriticalPoint(
        kind=kind,
        reason=reason,
        loss=loss,
        grad_norm=gradient_norm,
        params=jax.tree.map(np.asarray, params),
        displacement=0.0,
        index=None,
        nullity=None,
        eigenvalues=eigenvalues,
        spectrum=form,
        zero_tolerance=float("nan"),
    )


def _flat(params: Params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def _eigenvalues(problem: AbstractProblem, params: Params) -> tuple[np.ndarray, str]:
    """All eigenvalues when that is affordable, otherwise some from both ends."""
    if _flat(params).size <= DENSE_LIMIT:
        return spectrum(problem, params), "dense"
    ends = extreme_eigenvalues(problem, params, NUM_EXTREME)
    return np.concatenate([ends.lowest, ends.highest[::-1]]), "extreme"


def _zero_tolerance(problem: AbstractProblem, refined: Refinement, num: int) -> float:
    """What an eigenvalue must exceed to be told from zero.

    Rounding, the uncertainty of the position, and in linear networks what weights that are rounding can make.
    """
    rounding = 32 * num * float(np.finfo(float).eps) * refined.curvature
    return max(rounding, float(linear_rounding(problem, _flat(refined.params)[None])[0]), refined.resolution)


def _reach(problem: AbstractProblem, refined: Refinement, nearness: float) -> float:
    """How much eigenvalues of a linear network may differ where the limit is: as seen, and by weights so small."""
    assert isinstance(problem, Regression)
    small = float(eigenvalue_shifts(problem, _flat(refined.params)[None], np.array([nearness]))[0])
    return max(3.0 * refined.hessian_change * refined.displacement, small)


def _linear_kind(
    theory: LinearCriticalPoint, index: int, lowest: float, has_descent: bool, nearness: float
) -> tuple[str, str]:
    """Kind and reason. `has_descent`: the lowest eigenvalue stays negative wherever within reach the limit is."""
    captured = f"captures {one_based(theory.indices)}" if theory.indices else f"captures {theory.rank} directions"
    if not theory.is_critical:
        return "undetermined", f"Captured strengths are {theory.capture_defect:.1e} from 0 and 1."
    seen = f"the Hessian has an eigenvalue {lowest:.1e}"
    if theory.is_global:
        if index == 0:
            return "global_minimum", f"It {captured}, the largest that fit."
        return "undetermined", f"It {captured}, as global minima do, but {seen}."
    if theory.strict:
        why = "while missing a larger one" if not theory.is_ordered else f"and layers {theory.pivot} are a pivot"
        return "strict_saddle", f"It {captured} {why}."
    if theory.strict is None:
        if has_descent:
            return "strict_saddle", f"It {captured}, and {seen}."
        return "undetermined", f"It {captured}; a rank depends on weights that cannot be told from zero."
    if index > 0:
        return "undetermined", f"It {captured} and no layers are a pivot as far as that can be told, but {seen}."
    known = f"no layers are a pivot, weights below {nearness:.0e} counting as zero"
    return "nonstrict_saddle", f"It {captured}, the largest ones but not all that fit, and {known}."


def _second_order_kind(
    problem: AbstractProblem, loss: float, index: int, nullity: int, is_dense: bool, num: int
) -> tuple[str, str]:
    if index > 0:
        if is_dense and index == num:
            return "maximum", "All eigenvalues of the Hessian are negative."
        return "strict_saddle", "The Hessian has a negative eigenvalue."
    if _is_at_lower_bound(problem, loss):
        return "global_minimum", "The loss is at its lower bound."
    if not is_dense:
        return "undetermined", "The extreme eigenvalues show no descent; the others are not known."
    if nullity > 0:
        return "degenerate", f"The Hessian has no negative eigenvalue and {nullity} that cannot be told from zero."
    return "local_minimum", "All eigenvalues of the Hessian are positive."


def _is_at_lower_bound(problem: AbstractProblem, loss: float) -> bool:
    if not isinstance(problem, Regression) or problem.loss_function is not losses.squared_error:
        return False
    if problem.regularizer is not None:
        return False
    half_square = 0.5 * float(np.sum(problem.Y**2))
    size = half_square if problem.normalization == "sum" else half_square / problem.Y.shape[1]
    return loss - problem.irreducible <= LOSS_RTOL * size
