"""Newton's method on the normal space for many states: :func:`gradflow.critical_points.refine`, row by row the same.

Rows that have arrived are taken out, so a slow one costs its own steps only. Knows a problem and states.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from gradflow import checks
from gradflow.critical_points.refinement import (
    CUTOFFS,
    GRADIENT_RTOL,
    LEASH,
    MAX_STEPS,
    MULTIPLES,
    REMAINING,
    RESOLUTION_FACTOR,
    ROUNDED,
    SHORTENED,
    UNEXPLAINED,
)
from gradflow.curvature.hessians import EPS
from gradflow.naming.columns import in_columns, norms, products, taken
from gradflow.naming.evaluation import Evaluator, Flat
from gradflow.naming.models import Models, quadratic_models
from gradflow.problem import AbstractProblem

CONTRACTED = 1e-3
"""Part of the last step that is left where one more by the same Hessian squares it."""

ALONG = 0.1
"""Part of the gradient along flat directions from which on it leads along them."""

Values = Float[np.ndarray, " num"]


@dataclass(frozen=True, eq=False)
class Refined:
    """Refined states, one row each; see :class:`gradflow.critical_points.Refinement`.

    `models` are those of `params`, also where that is not critical.
    """

    given: Float[np.ndarray, "num n"]
    params: Float[np.ndarray, "num n"]
    models: Models
    displacement: Float[np.ndarray, " num"]
    curvature: Float[np.ndarray, " num"]
    hessian_change: Float[np.ndarray, " num"]
    resolution: Float[np.ndarray, " num"]
    is_critical: Bool[np.ndarray, " num"]

    def leads_along(self, evaluate: Evaluator, flat: Bool[np.ndarray, "num n"]) -> Bool[np.ndarray, " num"]:
        """Where the gradient leads along eigenvectors that are `flat` by more than rounding.

        It is looked at where the state is refined across those directions only: near a set of critical points with
        curvature across it, hardly any gradient is left there, and none that leads along.
        """
        models, rows = self.models, np.flatnonzero(flat.any(axis=1))
        clear = np.zeros(len(flat), dtype=bool)
        if not len(rows):
            return clear
        vectors, chosen = taken(models.vectors, rows), flat[rows]
        way = np.where(chosen, products(taken(self.params - self.given, rows), vectors), 0.0)
        across = taken(self.params, rows) - products(way, vectors.transpose(0, 2, 1))
        parts = products(evaluate.gradients(across), vectors)
        noise = UNEXPLAINED * taken(models.noise_components, rows)
        rounded = ROUNDED * EPS * _rounded_components(vectors, taken(models.values, rows), across)
        along = np.where(chosen, parts, 0.0)
        is_more = (np.abs(along) > np.maximum(noise, rounded)).any(axis=1)
        clear[rows] = (is_more & (norms(along) > ALONG * norms(parts))) | unexplained(
            models.at(rows), taken(self.params, rows), chosen
        ).any(axis=1)
        return clear


def refined(
    problem: AbstractProblem, evaluate: Evaluator, flat: Flat, given: Models, scale: Values, limit: Values
) -> Refined:
    """The critical points that the rows of `flat` are at.

    Args:
        given: the models at `flat`.
        scale: length scale of each row.
        limit: how far each row may be moved, see :func:`leash_of`.
    """
    state, models = in_columns(flat.copy()), given.copy()
    curvature, change = np.where(given.is_finite, given.radius, np.nan), np.full(len(flat), -np.inf)
    active = np.flatnonzero(given.is_finite)
    for _ in range(MAX_STEPS):
        here = models.at(active)
        advanced, moved = _advanced(evaluate, here, taken(state, active), taken(flat, active), limit[active])
        if not moved.any():
            break
        rows, old, previous = active[moved], here.at(moved), taken(taken(state, active), moved)
        new = quadratic_models(evaluate, taken(advanced, moved))
        state[rows] = taken(advanced, moved)
        models.put(rows, new)
        distance = norms(taken(advanced, moved) - previous)
        rate = np.abs(new.values - old.values).max(axis=1) / distance
        change[rows] = np.where(distance > 1e-8 * scale[rows], np.maximum(change[rows], rate), change[rows])
        curvature[rows] = np.maximum(curvature[rows], new.radius)
        active = rows[new.is_finite]
    models = models.copy()
    change = np.where(np.isfinite(change), change, curvature / scale)
    return Refined(
        given=flat,
        params=state,
        models=models,
        displacement=norms(state - flat),
        curvature=curvature,
        hessian_change=change,
        resolution=np.maximum(
            models.resolution_of_position(change, RESOLUTION_FACTOR),
            models.resolution_of_gradient(np.minimum(REMAINING * scale, limit)),
        ),
        is_critical=_is_critical(problem, models, state, curvature * scale, scale, limit),
    )


def leash_of(scale: Values, max_displacement: float | None) -> Values:
    """How far rows of these scales may be moved: by default LEASH times the scale.

    Raises:
        InputError: `max_displacement` is not positive.
    """
    if max_displacement is None:
        return LEASH * scale
    return np.full_like(scale, checks.real("max_displacement", max_displacement, above=0.0))


def _advanced(evaluate: Evaluator, models: Models, state: Flat, start: Flat, leash: Values) -> tuple[Flat, np.ndarray]:
    """Next states and which rows have one: the first candidate that shrinks the merit tenfold, else the best one."""
    best, merit = state.copy(order="K"), np.full(len(state), 0.9)
    moving = models.newton.any(axis=1) & (models.grad_norm > 0)
    pending = np.flatnonzero(moving)
    for steps, is_offered in _candidates(models, leash):
        tried = pending[is_offered[pending]]
        candidates = taken(state, tried) + taken(steps, tried)
        inside = norms(candidates - taken(start, tried)) <= leash[tried]
        tried, candidates = tried[inside], taken(candidates, inside)
        if not len(tried):
            continue
        here, gradient = models.at(tried), evaluate.gradients(candidates)
        new = _merit(here, gradient)
        better = new < merit[tried]
        candidates = _polished(evaluate, here, gradient, candidates, new, taken(start, tried), leash[tried])
        best[tried[better]], merit[tried[better]] = candidates[better], new[better]
        pending = pending[merit[pending] > 0.1]
        if not len(pending):
            break
    return best, merit < 0.9


def _polished(
    evaluate: Evaluator, models: Models, gradient: Flat, states: Flat, merit: Values, start: Flat, leash: Values
) -> Flat:
    """States that a step has brought far nearer, one more step by the same Hessian on where that lowers the gradient.

    It saves computing a new Hessian, most of the time of an ordinary endpoint.
    """
    is_steep = np.abs(models.values) > CUTOFFS[-1] * models.radius[:, None]  # others may be remnants of the distance
    is_near = (merit <= CONTRACTED) & (norms(states - start) <= 0.1 * leash)
    kept = is_steep & models.is_worth_a_step & is_near[:, None]
    parts = products(gradient, models.vectors)
    quotients = np.where(kept, parts / np.where(kept, models.values, 1.0), 0.0)
    polished = states - products(quotients, models.vectors.transpose(0, 2, 1))
    fits = is_near & (norms(polished - start) <= leash)
    fits &= norms(evaluate.gradients(polished)) < norms(gradient)
    return np.where(fits[:, None], polished, states)


def _candidates(models: Models, leash: Values) -> Iterator[tuple[Flat, np.ndarray]]:
    """Steps in the order in which each row tries them, with the rows that are offered one; computed when asked for."""
    full = models.newton
    is_short = norms(full) <= 0.1 * leash
    if not is_short.all():
        for cutoff in reversed(CUTOFFS):
            step = models.step(cutoff)
            yield step, ~is_short & step.any(axis=1) & (step != full).any(axis=1)
    for multiple in (1.0, *MULTIPLES):
        yield multiple * full, np.ones(len(full), dtype=bool)
    for cutoff in CUTOFFS:
        step = models.step(cutoff)
        yield step, is_short & step.any(axis=1) & (step != full).any(axis=1)
    yield SHORTENED * full, np.ones(len(full), dtype=bool)


def _merit(models: Models, gradient: Flat) -> Values:
    """How much of the old gradient, or of the old Newton step, is left."""
    left = norms(gradient) / models.grad_norm
    known = models.has_curvature
    new = products(gradient, models.vectors)
    divisor = np.where(known, models.values, 1.0)
    lengths = [norms(np.where(known, part / divisor, 0.0)) for part in (new, models.components)]
    merit = np.where(lengths[1] > 0, np.minimum(left, lengths[0] / np.where(lengths[1] > 0, lengths[1], 1.0)), left)
    return np.where(np.isfinite(left), merit, np.inf)


def _is_critical(
    problem: AbstractProblem, models: Models, state: Flat, large: Values, scale: Values, leash: Values
) -> Bool[np.ndarray, " num"]:
    """The verdict of :func:`gradflow.critical_points.refine`."""
    remaining = norms(models.newton)
    reach = np.minimum(REMAINING * scale, leash)
    rest = norms(np.where(unexplained(models, state, ~models.has_curvature), models.components, 0.0))
    is_explained = rest <= np.maximum(EPS * (problem.gradient_scale or 0.0), models.curvature_floor * reach)
    limit = np.maximum(GRADIENT_RTOL * (problem.gradient_scale or large), models.noise)
    return models.is_finite & is_explained & (remaining <= reach) & (models.grad_norm <= limit)


def unexplained(models: Models, state: Flat, which: Bool[np.ndarray, "num n"]) -> Bool[np.ndarray, "num n"]:
    """Components of the gradient, among those in question, that are more than rounding."""
    found = (np.abs(models.components) > UNEXPLAINED * models.noise_components) & which
    rows = np.flatnonzero(found.any(axis=1))  # the costlier bound of rounding for few
    rounded = ROUNDED * EPS * _rounded_components(taken(models.vectors, rows), taken(models.values, rows), state[rows])
    found[rows] &= np.abs(taken(models.components, rows)) > rounded
    return found


def _rounded_components(vectors: Float[np.ndarray, "num n n"], values: Flat, state: Flat) -> Flat:
    """``|V|^T |H| |params|`` with ``H = V diag(values) V^T``: times eps, the most that roundings of params do."""
    vectors, state = np.ascontiguousarray(vectors), np.ascontiguousarray(np.abs(state))
    hessian = np.matmul(vectors * values[:, None, :], np.ascontiguousarray(vectors.transpose(0, 2, 1)))
    return np.matmul(np.matmul(state[:, None, :], np.abs(hessian)), np.abs(vectors))[:, 0, :]
