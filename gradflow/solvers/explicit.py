"""The steps of explicit Runge-Kutta methods, written out: diffrax's formulas without its loop over the stages.

Only methods whose last stage is the first of the next step (FSAL); every explicit one that gradflow names is. Where
the last two stages lie at the same time, they also tell how stiff the field is, at no cost.
"""

from collections.abc import Callable
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from gradflow.types import Params, Scalar

STAGE_SAFETY = 0.8
"""Share of the stability interval used with a spectral radius from stages, which is a lower bound of the true one."""


class Taken(NamedTuple):
    """A step: the new state, its slope, the error estimate, all slopes, and the state of the last stage but one."""

    params: Params
    slope: Params
    error: Params
    slopes: list[Params]
    stage: Params


def is_written_out(solver: diffrax.AbstractSolver) -> bool:
    """True for the methods that :func:`explicit_step` knows."""
    return _tableau(solver) is not None


def tells_stiffness(solver: diffrax.AbstractSolver) -> bool:
    """True when the last two stages are at the same time: their difference then consists of stiff directions."""
    tableau = _tableau(solver)
    return tableau is not None and len(tableau.c) > 1 and bool(tableau.c[-2] == 1.0)


def _tableau(solver: diffrax.AbstractSolver) -> diffrax.ButcherTableau | None:
    tableau = getattr(solver, "tableau", None)
    if not (isinstance(solver, diffrax.AbstractERK) and isinstance(tableau, diffrax.ButcherTableau)):
        return None
    return tableau if tableau.fsal and tableau.ssal else None


def explicit_step(
    solver: diffrax.AbstractSolver, field: Callable[[Params], Params], params: Params, slope: Params, step: Scalar
) -> Taken:
    """One step from `params`, where the field is `slope`."""
    tableau = _tableau(solver)
    assert tableau is not None
    slopes, stage, new = [slope], params, params
    for row in tableau.a_lower:
        stage, new = new, _moved(params, step, np.asarray(row), slopes)
        slopes.append(field(new))
    error = _combined(np.asarray(tableau.b_error), slopes)
    return Taken(new, slopes[-1], jax.tree.map(lambda leaf: step * leaf, error), slopes, stage)


def stage_radius(taken: Taken) -> tuple[Scalar, Scalar]:
    """``||k_s - k_{s-1}||^2`` and ``||Y_s - Y_{s-1}||^2`` of the last two stages; their ratio is below ``rho^2``.

    Source: Hairer and Wanner 1996, section IV.2, eq. (2.26).
    """
    return _square(taken.slope, taken.slopes[-2]), _square(taken.params, taken.stage)


def dense_info(taken: Taken, params: Params, step: Scalar) -> dict[str, Params]:
    """The step as diffrax's dense output wants it."""
    stacked = jax.tree.map(lambda *leaves: step * jnp.stack(leaves), *taken.slopes)
    return {"y0": params, "y1": taken.params, "k": stacked}


def energy(solver: diffrax.AbstractSolver, slopes: list[Params], step: Scalar) -> Scalar:
    """``h sum_i b_i ||f(Y_i)||^2``."""
    tableau = _tableau(solver)
    assert tableau is not None
    weights = np.asarray(tableau.b_sol)
    squares = [sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(slope)) for slope in slopes]
    return step * sum(float(weight) * square for weight, square in zip(weights, squares, strict=True) if weight)


def _square(one: Params, other: Params) -> Scalar:
    differences = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), one, other)
    return jnp.asarray(sum(jax.tree.leaves(differences)))


def _moved(params: Params, step: Scalar, weights: np.ndarray, slopes: list[Params]) -> Params:
    change = _combined(weights, slopes)
    return jax.tree.map(lambda leaf, way: leaf + step * way, params, change)


def _combined(weights: np.ndarray, slopes: list[Params]) -> Params:
    used = [(float(weight), slope) for weight, slope in zip(weights, slopes, strict=True) if weight]
    return jax.tree.map(
        lambda *leaves: sum(weight * leaf for (weight, _), leaf in zip(used, leaves, strict=True)),
        *(slope for _, slope in used),
    )
