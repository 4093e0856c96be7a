"""The ordinary case made cheap: endpoints near minima at which the Hessian is clearly positive definite.

Cholesky's factorisation proves definiteness, gives Newton's step, and costs a tenth of all eigenvalues. It is trusted
where its condition number is far from what rounding and the remaining distance could change; every other row is left
to the eigenvalues. Row by row, like everything here. Knows a problem's derivatives and states.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import lapack

from gradflow.critical_points.refinement import GRADIENT_RTOL, REMAINING
from gradflow.curvature.quadratic_models import CHANGE
from gradflow.naming.evaluation import Derivatives, Evaluator, Flat

FEWEST_PARAMS = 12
"""Below so many parameters all eigenvalues cost no more."""

CLEAR_CONDITION = 1e-9
"""Smallest reciprocal condition number that is told from zero here; rounding is at 32 n 2e-16."""

ARRIVED = 1e-10
"""Length of a Newton step, relative to the scale of the parameters, at which a state has been refined."""

MAX_STEPS = 4

Values = Float[np.ndarray, " num"]


@dataclass(frozen=True, eq=False)
class Definite:
    """What the factorisations say; all columns but `accepted` are meant for accepted rows only.

    `lowest` is a lower bound of the lowest eigenvalue, up to the slack of LAPACK's estimate (a factor of about 3), and
    `highest` an upper bound, the 1-norm.
    """

    accepted: Bool[np.ndarray, " num"]
    params: Float[np.ndarray, "num n"]
    loss: Float[np.ndarray, " num"]
    grad_norm: Float[np.ndarray, " num"]
    given_grad_norm: Float[np.ndarray, " num"]
    remaining: Float[np.ndarray, " num"]
    lowest: Float[np.ndarray, " num"]
    highest: Float[np.ndarray, " num"]
    trace: Float[np.ndarray, " num"]
    frobenius: Float[np.ndarray, " num"]


def definite_minima(
    evaluate: Evaluator, flat: Flat, scale: Values, leash: Values, gradient_scale: float | None
) -> Definite:
    """Newton's method by factorisations from every row; a row that meets any difficulty is not accepted.

    Args:
        evaluate: the problem's derivatives.
        flat: states.
        scale: length scale of each row.
        leash: how far each row may be moved.
        gradient_scale: the gradient norm that counts as large, None: curvature times scale.
    """
    num = len(flat)
    state, active = flat.copy(), np.arange(num)
    columns = {name: np.full(num, np.nan) for name in ("loss", "grad_norm", "lowest", "highest", "trace", "frobenius")}
    given_norm, remaining = np.full(num, np.nan), np.full(num, np.nan)
    accepted = np.zeros(num, dtype=bool)
    for number in range(MAX_STEPS):
        found = evaluate.derivatives(state[active])
        steps, bounds = _newton(found)
        length, norm = np.linalg.norm(steps, axis=1), np.linalg.norm(found.gradient, axis=1)
        if number == 0:
            given_norm[active], remaining[active] = norm, length
        limit = GRADIENT_RTOL * (gradient_scale or bounds[:, 1] * scale[active])
        has_arrived = (length <= ARRIVED * scale[active]) & (norm <= limit)
        shift = 10 * CHANGE * bounds[:, 1] / scale[active] * length
        has_arrived &= shift <= 0.1 * bounds[:, 0]
        rows = active[has_arrived]
        accepted[rows] = True
        for name, values in zip(("lowest", "highest"), bounds.T, strict=True):
            columns[name][rows] = values[has_arrived]
        hessian = found.hessian[has_arrived]
        columns["loss"][rows], columns["grad_norm"][rows] = found.loss[has_arrived], norm[has_arrived]
        columns["trace"][rows] = np.trace(hessian, axis1=1, axis2=2)
        columns["frobenius"][rows] = np.linalg.norm(hessian, axis=(1, 2))
        moved = np.linalg.norm(state[active] + steps - flat[active], axis=1)
        goes_on = ~has_arrived & np.isfinite(length) & (moved <= np.minimum(leash, REMAINING * scale)[active])
        state[active[goes_on]] += steps[goes_on]
        active = active[goes_on]
        if not len(active):
            break
    return Definite(accepted, state, given_grad_norm=given_norm, remaining=remaining, **columns)


def _newton(found: Derivatives) -> tuple[Flat, Float[np.ndarray, "num 2"]]:
    """Newton steps, and bounds on the ends of the spectrum; NaN where not clearly positive definite."""
    num, n = found.gradient.shape
    steps, bounds = np.full((num, n), np.nan), np.full((num, 2), np.nan)
    is_finite = np.isfinite(found.hessian).all(axis=(1, 2)) & np.isfinite(found.gradient).all(axis=1)
    norms = np.abs(found.hessian).sum(axis=2).max(axis=1)
    for row in np.flatnonzero(is_finite):
        factor, info = lapack.dpotrf(found.hessian[row], lower=1)
        if info != 0:
            continue
        reciprocal = lapack.dpocon(factor, norms[row], uplo="L")[0]
        if not reciprocal >= CLEAR_CONDITION:
            continue
        steps[row] = -lapack.dpotrs(factor, found.gradient[row], lower=1)[0]
        bounds[row] = reciprocal * norms[row], norms[row]
    return steps, bounds
