"""Newton's method on the normal space of a critical set, kept on a short leash.

The pseudo-inverse of the Hessian moves a state straight to the nearest point where the gradient vanishes, minimum or
saddle, and leaves the directions along the set alone. Degenerate points are reached at a linear rate; multiples of the
Newton step are tried there (the p-fold step is exact for a homogeneous potential of degree p + 1). A state that would
have to move further than the leash is not refined: it is not at a critical set, however small its gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradflow import checks
from gradflow.curvature import EPS, QuadraticModel, flat_gradient, quadratic_model, raveled
from gradflow.precision import in_double, require_concrete
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Params

LEASH = 1e-3
"""Default for how far refinement may move a state, relative to its scale."""

REMAINING = 1e-4
"""A refined state is critical when the next Newton step is below this multiple of its scale..."""

UNEXPLAINED = 10.0
"""...no component of the gradient without curvature exceeds this multiple of its rounding level..."""

ROUNDED = 4.0
"""...or this multiple of what one rounding of every parameter does to it at most (draws of rounding miss some)..."""

GRADIENT_RTOL = 1e-8
"""...and the gradient is below this multiple of the problem's own scale of gradients, or rounding."""

RESOLUTION_FACTOR = 10.0
MAX_STEPS = 60
CUTOFFS = (1e-9, 1e-6, 1e-3)
MULTIPLES = (2.0, 3.0, 4.0, 5.0)
SHORTENED = 0.999
"""Part of a Newton step that stays on this side of a kink on which the critical point lies."""


@dataclass(frozen=True)
class Refinement:
    """A refined state.

    Attributes:
        params: the refined state, a pytree like the start.
        displacement: Euclidean distance from the start.
        grad_norm: gradient norm at `params`.
        remaining: length of the next Newton step, an estimate of the distance to the critical set.
        curvature: largest absolute eigenvalue of the Hessian met on the way, what rounding is measured against.
        hessian_change: largest observed change of an eigenvalue per distance (a scale for the third derivative).
        resolution: eigenvalues of the Hessian below this cannot be told from zero at this gradient.
        is_critical: True when `params` is critical as far as double precision can tell.
        reason: why it is or is not, one sentence.
        num_steps: Newton steps taken.
    """

    params: Params
    displacement: float
    grad_norm: float
    remaining: float
    curvature: float
    hessian_change: float
    resolution: float
    is_critical: bool
    reason: str
    num_steps: int


@in_double
def refine(problem: AbstractProblem, params: Params, max_displacement: float | None = None) -> Refinement:
    """The critical point that `params` is at, by Newton steps on the normal space.

    Args:
        problem: any problem.
        params: a state, usually the end of a trajectory.
        max_displacement: the leash; default :data:`LEASH` times the larger of ``||params||`` and the problem's weight
            scale (1 for a landscape).

    Accuracy: gradient at rounding level. The point itself is good to rounding over the smallest nonzero
        curvature; at a degenerate point of order p only to about ``1e-16^(1/(p-1))``, as for a multiple root.

    Raises:
        InputError: `params` is not finite, or `max_displacement` is not positive.
    """
    require_concrete("refine", problem, params)
    start, unravel = raveled(params)
    scale = max(float(np.linalg.norm(start)), problem.weight_scale if isinstance(problem, Regression) else 1.0)
    leash = LEASH * scale if max_displacement is None else checks.real("max_displacement", max_displacement, above=0.0)
    model = quadratic_model(problem, unravel(start))
    state, changes, curvature, num_steps = start, [], model.radius if model.is_finite else np.nan, 0
    while num_steps < MAX_STEPS and model.is_finite:
        advanced = _advance(problem, unravel, state, start, leash, model)
        if advanced is None:
            break
        old, old_model = state, model
        state, model = advanced, quadratic_model(problem, unravel(advanced))
        changes.extend(_hessian_change(old_model, model, float(np.linalg.norm(state - old)), scale))
        curvature = max(curvature, float(np.abs(model.values).max()) if model.values is not None else 0.0)
        num_steps += 1
    remaining = float(np.linalg.norm(model.newton)) if model.is_finite else np.inf
    is_critical, reason = _verdict(problem, model, state, remaining, curvature * scale, scale, leash)
    change = max(changes, default=curvature / scale)
    return Refinement(
        params=unravel(state),
        displacement=float(np.linalg.norm(state - start)),
        grad_norm=model.grad_norm,
        remaining=remaining,
        curvature=curvature,
        hessian_change=change,
        resolution=_resolution(model, change, min(REMAINING * scale, leash)) if is_critical else float("nan"),
        is_critical=is_critical,
        reason=reason,
        num_steps=num_steps,
    )


def _advance(
    problem: AbstractProblem,
    unravel: Callable[[np.ndarray], Params],
    state: np.ndarray,
    start: np.ndarray,
    leash: float,
    model: QuadraticModel,
) -> np.ndarray | None:
    """The next state: the first candidate that shrinks the merit tenfold, else the best one, else None."""
    if model.grad_norm == 0.0:
        return None
    best, best_merit = None, 0.9
    for step in _candidates(model, leash):
        candidate = state + step
        if np.linalg.norm(candidate - start) > leash:
            continue
        merit = _merit(model, flat_gradient(problem, unravel(candidate)))
        if merit < best_merit:
            best, best_merit = candidate, merit
        if best_merit <= 0.1:
            break
    return best


def _merit(model: QuadraticModel, gradient: np.ndarray) -> float:
    """How much of the old gradient, or of the old Newton step, is left.

    The gradient alone would stop Newton in a curved valley, where a step along the floor climbs the walls a little; the
    length of the next step by the old Hessian does not depend on how steep they are.
    """
    left = float(np.linalg.norm(gradient)) / model.grad_norm
    if model.values is None or model.vectors is None or not np.isfinite(left):
        return left if np.isfinite(left) else np.inf
    known = model.has_curvature
    new, old = ((model.vectors.T @ g)[known] / model.values[known] for g in (gradient, model.gradient))
    length = float(np.linalg.norm(old))
    return min(left, float(np.linalg.norm(new)) / length) if length > 0 else left


def _candidates(model: QuadraticModel, leash: float) -> list[np.ndarray]:
    """The Newton step, multiples of it, versions that leave out small eigenvalues, and one that crosses no kink.

    The full step comes first because at a degenerate point it contracts to the most degenerate one; only when it is
    long for the leash do the truncated ones, which are shorter, come before it.
    """
    full = model.newton
    if not full.any():
        return []
    truncated = [model.step(cutoff) for cutoff in CUTOFFS] if model.values is not None else []
    truncated = [step for step in truncated if step.any() and not np.array_equal(step, full)]
    straight = [full, *(multiple * full for multiple in MULTIPLES)]
    in_order = straight + truncated if np.linalg.norm(full) <= 0.1 * leash else truncated[::-1] + straight
    return [*in_order, SHORTENED * full]


def _hessian_change(old: QuadraticModel, new: QuadraticModel, distance: float, scale: float) -> list[float]:
    """Change of the sorted eigenvalues per distance (Weyl: at most that of the Hessian); empty when unresolved."""
    if old.values is None or new.values is None or distance <= 1e-8 * scale:
        return []
    return [float(np.abs(new.values - old.values).max()) / distance]


def _resolution(model: QuadraticModel, change: float, reach: float) -> float:
    """The smallest eigenvalue that can be told from zero: one larger than what the position's uncertainty does to it.

    Nor can one along which rounding of the gradient hides by more than `reach` where the gradient vanishes.

    In a direction of curvature lambda the position is known to ``g / lambda`` with g the gradient's component there,
    and eigenvalues change by `change` per distance; directions that are themselves unresolved do not count.
    """
    if model.values is None:
        return RESOLUTION_FACTOR * change * float(np.linalg.norm(model.step(noise_too=True)))
    order = np.argsort(-np.abs(model.values))
    sizes, components = np.abs(model.values[order]), model.components[order]
    known = sizes > 0
    sizes, components = sizes[known], components[known]
    uncertainty = RESOLUTION_FACTOR * change * np.sqrt(np.cumsum((components / sizes) ** 2))
    unresolved = uncertainty > sizes
    hidden = np.abs(model.values)[model.noise_components > np.abs(model.values) * reach]
    return max(float(sizes[np.argmax(unresolved)]) if unresolved.any() else 0.0, float(hidden.max(initial=0.0)))


def _verdict(
    problem: AbstractProblem,
    model: QuadraticModel,
    state: np.ndarray,
    remaining: float,
    large: float,
    scale: float,
    leash: float,
) -> tuple[bool, str]:
    if not model.is_finite:
        return False, "the gradient or the Hessian is not finite here"
    if model.values is not None and model.vectors is not None:
        # |V|^T |H| |params| eps bounds the components of H (params eps), whatever the signs of the roundings are.
        sizes = np.abs(model.vectors * model.values @ model.vectors.T) @ np.abs(state) @ np.abs(model.vectors)
        explained = np.maximum(UNEXPLAINED * model.noise_components, ROUNDED * EPS * sizes)
        unexplained = np.abs(model.components) > explained
        rest = float(np.linalg.norm(model.components[unexplained & ~model.has_curvature]))
        # Curvature that is lost in rounding may still hold a critical point within reach.
        if rest > max(EPS * (problem.gradient_scale or 0.0), model.curvature_floor * min(REMAINING * scale, leash)):
            return False, f"a gradient of {rest:.1e} remains in directions without curvature"
    if remaining > min(REMAINING * scale, leash):
        return False, f"the nearest critical point is about {remaining:.1e} away, further than refinement may move"
    limit = max(GRADIENT_RTOL * (problem.gradient_scale or large), model.noise)
    if model.grad_norm > limit:
        return False, f"the gradient norm {model.grad_norm:.1e} is above {limit:.1e} and Newton steps do not lower it"
    return True, f"the gradient norm is {model.grad_norm:.1e} and the next Newton step {remaining:.1e}"
