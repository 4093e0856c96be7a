"""What is at many endpoints: refined states, the second-order test, and how far their limits are.

Row by row the rules of :func:`gradflow.critical_points.refine` and the tolerances of
:func:`gradflow.critical_points.classify`, for batches; a row depends on nothing but its own endpoint. Above
:data:`~gradflow.curvature.hessians.DIRECT_LIMIT` parameters every endpoint is handed to those two, one by one.
Sees endpoints, never the trajectories or the samples that led to them.
"""

from dataclasses import dataclass, fields
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from gradflow import checks
from gradflow.critical_points import classify
from gradflow.critical_points.linear_weights import linear_rounding
from gradflow.curvature import hessians, newton_distance
from gradflow.naming.columns import in_columns, norms, sums
from gradflow.naming.definite import FEWEST_PARAMS, Definite, definite_minima
from gradflow.naming.evaluation import Evaluator, Flat, evaluator
from gradflow.naming.models import Models, quadratic_models
from gradflow.naming.refining import Refined, leash_of, refined
from gradflow.precision import in_double, require_concrete
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Params

SLAB_ENTRIES = 2**22
"""Entries of all Hessians that are kept at once (32 MB); more endpoints are examined in turn."""

UNKNOWN = -1
"""Index and nullity of states that are not critical."""


@dataclass(frozen=True, eq=False)
class Examination:
    """What double precision says of some endpoints, one row each.

    Attributes:
        params: refined states, rows in the order of the Hessian; the endpoint itself where nothing critical is near.
        loss: loss at `params`.
        grad_norm: gradient norm at `params`.
        given_grad_norm: gradient norm at the endpoint as given; exactly 0.0 at a state that no flow ever leaves.
        displacement: how far refinement moved it.
        remaining: distance to the limit by the quadratic model of the endpoint as given, ``|H^+ g|`` and more where the
            gradient has no curvature; NaN when not finite.
        is_finite: False where loss, gradient or Hessian are not numbers.
        is_critical: True where refinement found a critical point within its leash.
        lowest, highest: ends of the Hessian's spectrum at `params`. Where a factorisation has shown that all
            eigenvalues are clearly positive, bounds from outside (the lower one estimated, to a factor of a few).
        trace, frobenius: its trace and Frobenius norm, the same at all images of a state under orthogonal symmetries.
        index: eigenvalues below ``-zero_tolerance``, :data:`UNKNOWN` where not critical (or not all are known).
        nullity: eigenvalues within ``zero_tolerance`` of zero, likewise.
        zero_tolerance: what an eigenvalue must exceed to be told from zero; NaN where not critical.
        is_unstable: True where the lowest eigenvalue is negative beyond doubt: the state is at a saddle, or passing.
        hessian_change: largest change of an eigenvalue per distance that refinement saw, where critical.
        offset: distance from the stable manifold of an unstable state by the quadratic model of the endpoint as given,
            ``|<v, g>| / |lambda|``, v the direction of the lowest eigenvalue; NaN where all are clearly positive.
        is_resting: False at critical points with flat directions where more than rounding leads along those: the flow
            crawls there.
    """

    params: Float[np.ndarray, "num n"]
    loss: Float[np.ndarray, " num"]
    grad_norm: Float[np.ndarray, " num"]
    given_grad_norm: Float[np.ndarray, " num"]
    displacement: Float[np.ndarray, " num"]
    remaining: Float[np.ndarray, " num"]
    is_finite: Bool[np.ndarray, " num"]
    is_critical: Bool[np.ndarray, " num"]
    lowest: Float[np.ndarray, " num"]
    highest: Float[np.ndarray, " num"]
    trace: Float[np.ndarray, " num"]
    frobenius: Float[np.ndarray, " num"]
    index: Int[np.ndarray, " num"]
    nullity: Int[np.ndarray, " num"]
    zero_tolerance: Float[np.ndarray, " num"]
    is_unstable: Bool[np.ndarray, " num"]
    hessian_change: Float[np.ndarray, " num"]
    offset: Float[np.ndarray, " num"]
    is_resting: Bool[np.ndarray, " num"]

    def __len__(self) -> int:
        return len(self.loss)

    def at(self, rows: np.ndarray) -> "Examination":
        """What is said of some rows."""
        return Examination(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@in_double
def examine(problem: AbstractProblem, endpoints: Params, *, max_displacement: float | None = None) -> Examination:
    """Refined states and the second-order test of a batch of endpoints.

    Args:
        problem: any problem.
        endpoints: states, every leaf with a leading axis "sample".
        max_displacement: how far refinement may move, see :func:`gradflow.critical_points.refine`.

    Accuracy: that of :func:`gradflow.critical_points.classify`; up to 600 parameters index, nullity and criticality are
        the same as its, except within rounding of its thresholds.

    Raises:
        InputError: leaves without a common leading axis, or of other shapes than the problem's.
    """
    require_concrete("examine", problem, endpoints)
    check_leading_axis(endpoints)
    evaluate = evaluator(problem, endpoints)
    return examine_rows(problem, evaluate, evaluate.flatten(endpoints), max_displacement)


def check_leading_axis(endpoints: Params) -> int:
    """The number of samples.

    Raises:
        InputError: leaves without an axis, or of different lengths.
    """
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(endpoints)]
    checks.require(
        len({shape[:1] for shape in shapes}) == 1 and bool(shapes[0]), "endpoints",
        'have leaves with one common leading axis "sample"', shapes, "Stack the states: np.stack(states).",
    )  # fmt: skip
    return shapes[0][0]


def examine_rows(
    problem: AbstractProblem, evaluate: Evaluator, flat: Flat, max_displacement: float | None = None
) -> Examination:
    """:func:`examine` for states that are already rows."""
    n = evaluate.num_params
    if n > hessians.DIRECT_LIMIT:
        return _one_by_one(problem, evaluate, flat, max_displacement)
    slab = max(SLAB_ENTRIES // max(n * n, 1), evaluate.block)
    starts = range(0, max(len(flat), 1), slab)
    with np.errstate(all="ignore"):  # rows that are not finite are marked so and used no further
        parts = [_slab(problem, evaluate, flat[start : start + slab], max_displacement) for start in starts]
    return Examination(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(parts[0])})


def _slab(problem: AbstractProblem, evaluate: Evaluator, flat: Flat, leash: float | None) -> Examination:
    """Rows with a clearly positive definite Hessian by factorisation, all others by eigenvalues."""
    size = np.maximum(norms(flat), problem.weight_scale if isinstance(problem, Regression) else 1.0)
    limit = leash_of(size, leash)
    if evaluate.num_params < FEWEST_PARAMS:
        return _by_eigenvalues(problem, evaluate, flat, size, limit)
    quick = definite_minima(evaluate, flat, size, limit, problem.gradient_scale)
    rest = np.flatnonzero(~quick.accepted)
    if not len(rest) and len(flat):
        return _definite(quick, flat)
    slow = _by_eigenvalues(problem, evaluate, flat[rest], size[rest], limit[rest])
    result = _definite(quick, flat)
    for field in fields(result):
        getattr(result, field.name)[rest] = getattr(slow, field.name)
    return result


def _definite(quick: Definite, flat: Flat) -> Examination:
    num = len(flat)
    return Examination(
        params=quick.params,
        loss=quick.loss,
        grad_norm=quick.grad_norm,
        given_grad_norm=quick.given_grad_norm,
        displacement=np.linalg.norm(quick.params - flat, axis=1),
        remaining=quick.remaining,
        is_finite=quick.accepted.copy(),
        is_critical=quick.accepted.copy(),
        lowest=quick.lowest,
        highest=quick.highest,
        trace=quick.trace,
        frobenius=quick.frobenius,
        index=np.zeros(num, dtype=np.int64),
        nullity=np.zeros(num, dtype=np.int64),
        zero_tolerance=32 * flat.shape[1] * np.finfo(float).eps * quick.highest,
        is_unstable=np.zeros(num, dtype=bool),
        hessian_change=np.full(num, np.nan),
        offset=np.full(num, np.nan),
        is_resting=np.ones(num, dtype=bool),
    )


def _by_eigenvalues(
    problem: AbstractProblem, evaluate: Evaluator, flat: Flat, size: np.ndarray, limit: np.ndarray
) -> Examination:
    flat = in_columns(flat)
    given = quadratic_models(evaluate, flat)
    offset = np.abs(given.components[:, 0]) / np.maximum(np.abs(given.values[:, 0]), np.finfo(float).tiny)
    remaining, given_norm = given.distance, given.grad_norm
    found = refined(problem, evaluate, flat, given, size, limit)
    passing, rows = np.zeros(len(flat), dtype=bool), np.flatnonzero(~found.is_critical)
    lost = given.at(rows)
    passing[rows] = lost.values[:, 0] < -np.minimum(lost.resolution_of_flow(size[rows]), 0.25 * lost.radius)
    return _judged(problem, evaluate, found, given, passing, remaining, given_norm, offset)


def _judged(
    problem: AbstractProblem,
    evaluate: Evaluator,
    found: Refined,
    given: Models,
    passing: np.ndarray,
    remaining: np.ndarray,
    given_norm: np.ndarray,
    offset: np.ndarray,
) -> Examination:
    models, critical = found.models, found.is_critical
    n = models.num_params
    rounding = 32 * n * np.finfo(float).eps * found.curvature
    rounding = np.maximum(rounding, linear_rounding(problem, found.params))
    tolerance = np.where(critical, np.maximum(rounding, found.resolution), np.nan)
    values = np.where(critical[:, None], models.values, given.values)
    values = np.where(given.is_finite[:, None], values, np.nan)
    index = np.where(critical, (values < -tolerance[:, None]).sum(axis=1), UNKNOWN)
    nullity = np.where(critical, (np.abs(values) <= tolerance[:, None]).sum(axis=1), UNKNOWN)
    return Examination(
        params=np.where(critical[:, None], found.params, found.given),
        loss=np.where(critical, models.loss, given.loss),
        grad_norm=np.where(critical, models.grad_norm, given_norm),
        given_grad_norm=given_norm,
        displacement=np.where(critical, found.displacement, 0.0),
        remaining=remaining,
        is_finite=given.is_finite & np.isfinite(given.loss),
        is_critical=critical,
        lowest=values[:, 0],
        highest=values[:, -1],
        trace=sums(values),
        frobenius=norms(values),
        index=index,
        nullity=nullity,
        zero_tolerance=tolerance,
        is_unstable=np.where(critical, index > 0, passing & given.is_finite),
        hessian_change=found.hessian_change,
        offset=np.where(given.is_finite, offset, np.nan),
        is_resting=~critical | ~found.leads_along(evaluate, np.abs(values) <= tolerance[:, None]),
    )


def _one_by_one(problem: AbstractProblem, evaluate: Evaluator, flat: Flat, leash: float | None) -> Examination:
    """By :func:`gradflow.critical_points.classify`, for problems too large for dense Hessians by the thousand."""
    rows = [_single(problem, evaluate, flat[number : number + 1], leash) for number in range(len(flat))]
    if not rows:
        rows = [_single(problem, evaluate, np.zeros((1, evaluate.num_params)), leash)]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    whole = Examination(**columns)
    return whole if len(flat) else whole.at(np.zeros(0, dtype=int))


def _single(problem: AbstractProblem, evaluate: Evaluator, row: Flat, leash: float | None) -> dict[str, Any]:
    params = jax.tree.map(lambda leaf: leaf[0], evaluate.unflatten(row))
    gradient = evaluate.gradients(row)[0]
    if not (np.isfinite(row).all() and np.isfinite(gradient).all()):
        return _nothing_known(row, gradient)
    point = classify(problem, params, leash)
    remaining = newton_distance(problem, params)
    values, critical = point.eigenvalues, not np.isnan(point.zero_tolerance)
    state = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(point.params)])
    is_unstable = bool(values[0] < -(point.zero_tolerance if critical else 0.25 * np.abs(values).max()))
    return {
        "params": state if critical else row[0],
        "loss": point.loss,
        "grad_norm": point.grad_norm,
        "given_grad_norm": float(np.linalg.norm(gradient)),
        "displacement": point.displacement,
        "remaining": remaining,
        "is_finite": bool(np.isfinite(values).all() and np.isfinite(point.loss)),
        "is_critical": critical,
        "lowest": float(values[0]),
        "highest": float(values[-1]),
        "trace": float(values.sum()),
        "frobenius": float(np.linalg.norm(values)),
        "index": UNKNOWN if point.index is None else point.index,
        "nullity": UNKNOWN if point.nullity is None else point.nullity,
        "zero_tolerance": point.zero_tolerance,
        "is_unstable": is_unstable,
        "hessian_change": float("inf"),
        "offset": float("nan"),
        "is_resting": True,
    }


def _nothing_known(row: Flat, gradient: np.ndarray) -> dict[str, Any]:
    unknown = dict.fromkeys((field.name for field in fields(Examination)), float("nan"))
    norm = float(np.linalg.norm(gradient))
    known = {"params": row[0], "given_grad_norm": norm, "grad_norm": norm, "displacement": 0.0}
    flags = {
        "is_finite": False,
        "is_critical": False,
        "is_unstable": False,
        "is_resting": True,
        "index": UNKNOWN,
        "nullity": UNKNOWN,
    }
    return {**unknown, **known, **flags}
