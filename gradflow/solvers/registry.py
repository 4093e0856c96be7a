"""Names of solvers, and the facts about a solver the integrator needs: is it for flows, how far is it stable.

Solvers are diffrax objects and stay diffrax objects; nothing here steps.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.flow import AbstractFlow
from gradflow.solvers.base import AbstractFlowSolver
from gradflow.solvers.bdf import BDF
from gradflow.solvers.gauss_legendre import Gauss2, Gauss4, Gauss6
from gradflow.solvers.radau import Radau9
from gradflow.solvers.rosenbrock import AbstractRosenbrock, Rodas3, Rodas4, Rodas5P
from gradflow.solvers.stabilised import RKC2, RKL2
from gradflow.solvers.stage_equations import stage_newton
from gradflow.types import Array, Params

_FACTORIES: dict[str, Callable[[], diffrax.AbstractSolver]] = {
    "bosh3": diffrax.Bosh3,
    "tsit5": diffrax.Tsit5,
    "dopri5": diffrax.Dopri5,
    "dopri8": diffrax.Dopri8,
    "kvaerno3": diffrax.Kvaerno3,
    "kvaerno4": diffrax.Kvaerno4,
    "kvaerno5": diffrax.Kvaerno5,
    "rodas3": Rodas3,
    "rodas4": Rodas4,
    "rodas5p": Rodas5P,
    "radau9": Radau9,
    "bdf": BDF,
    "rkc2": RKC2,
    "rkl2": RKL2,
    "gauss2": Gauss2,
    "gauss4": Gauss4,
    "gauss6": Gauss6,
}

SOLVER_NAMES = ("auto", *_FACTORIES)
"""What `solver=` accepts by name; "auto" starts with tsit5 and changes on measured stiffness."""

ATOL_SHARE = 1e-2
"""Absolute tolerance told to solvers that need one where only the relative one is known, as a share of it."""


class FlowJacobian(eqx.Module):
    """The Jacobian of a flow's field times the direction of time, as solvers ask for it: the flow is their `args`."""

    direction: float = eqx.field(static=True, default=1.0)

    def __call__(self, params: Params, flow: AbstractFlow) -> Float[Array, "n n"]:
        """The matrix at `params`."""
        return self.direction * flow.jacobian(params)


def make_solver(solver: str | diffrax.AbstractSolver, rtol: float, direction: float = 1.0) -> diffrax.AbstractSolver:
    """The diffrax solver of that name, or the object itself, ready for steps along a flow that is its `args`.

    Root finders are made tight enough not to be seen, and Jacobians that were not given are the flow's own.

    Raises:
        InputError: unknown name (the nearest one is given), not a diffrax solver, or one without an error estimate.
    """
    if isinstance(solver, str):
        checks.choice("solver", solver, SOLVER_NAMES)
        made = _FACTORIES["tsit5" if solver == "auto" else solver]()
    else:
        checks.require(
            isinstance(solver, diffrax.AbstractSolver), "solver", "be a name or a diffrax solver", repr(solver),
            f"Names: {', '.join(SOLVER_NAMES)}.",
        )  # fmt: skip
        made = solver
    checks.require(
        _is_for_flows(made), "solver", "be a Runge-Kutta method with an error estimate for adaptive steps",
        type(made).__name__, "Use 'tsit5' or 'rodas5p'.",
    )  # fmt: skip
    return _prepared(made, rtol, direction)


def _prepared(solver: diffrax.AbstractSolver, rtol: float, direction: float) -> diffrax.AbstractSolver:
    """`solver`, and what it wraps, with its root finder and Jacobian."""
    changes: dict[str, Any] = {}
    names = {field.name for field in dataclasses.fields(solver)}
    if "solver" in names and isinstance(inner := getattr(solver, "solver"), diffrax.AbstractSolver):  # noqa: B009
        changes["solver"] = _prepared(inner, rtol, direction)
    if isinstance(solver, diffrax.AbstractImplicitSolver) and "root_finder" in names:
        # Full Newton, not diffrax's default chord iteration: the chord's slow contraction then limits the step, which
        # costs 50 to 100 times more steps on a stiff valley.
        changes["root_finder"] = stage_newton()
    if "jacobian" in names and getattr(solver, "jacobian") is None:  # noqa: B009
        changes["jacobian"] = FlowJacobian(direction)
    if isinstance(solver, AbstractRosenbrock):
        changes["tolerance"] = min(solver.tolerance, 1e-2 * rtol)
    if isinstance(solver, BDF | Radau9):
        changes |= {"rtol": np.asarray(rtol), "atol": np.asarray(ATOL_SHARE * rtol)}
    return dataclasses.replace(solver, **changes) if changes else solver


def _is_for_flows(solver: diffrax.AbstractSolver) -> bool:
    """One vector field (no splitting, no noise), an error estimate, and damping of stiff directions."""
    if isinstance(solver, AbstractFlowSolver):
        return True
    is_runge_kutta = isinstance(solver, diffrax.AbstractRungeKutta | diffrax.AbstractImplicitSolver)
    has_estimate = isinstance(solver, diffrax.AbstractAdaptiveSolver)
    return is_runge_kutta and has_estimate and solver.term_structure is diffrax.AbstractTerm


def takes_flat_states(solver: str | diffrax.AbstractSolver) -> bool:
    """True when a solver knows nothing of the parameters' form, so that they may be one vector."""
    return isinstance(solver, str) or type(solver).__module__.partition(".")[0] == "diffrax"


def is_always_stable(solver: diffrax.AbstractSolver) -> bool:
    """True when the size of a step is not limited by stability."""
    return real_stability_limit(solver) == math.inf


def real_stability_limit(solver: diffrax.AbstractSolver) -> float:
    """Largest c such that the solver is stable for ``y' = -lambda y`` with every ``lambda h <= c``.

    Infinity for implicit solvers; 2.0 when the solver has no tableau to compute it from. Tsit5: 3.5, Dopri5: 3.3.

    Formula: first ``c`` at which the stability polynomial ``R(z) = 1 + z b^T (I - z A)^{-1} 1`` leaves [-1, 1] at
    ``z = -c``.
    """
    if isinstance(solver, AbstractFlowSolver):
        return solver.real_stability_limit
    if isinstance(solver, diffrax.AbstractImplicitSolver):
        return math.inf
    tableau = getattr(solver, "tableau", None)
    return _tableau_limit(type(solver)) if isinstance(tableau, diffrax.ButcherTableau) else 2.0


@functools.cache
def _tableau_limit(solver: type[diffrax.AbstractRungeKutta]) -> float:
    tableau = solver.tableau
    assert isinstance(tableau, diffrax.ButcherTableau)
    grid = np.linspace(0.0, 40.0, 40_001)[1:]
    values = np.abs(_stability_polynomial(tableau, -grid))
    unstable = np.flatnonzero(values > 1.0 + 1e-10)
    return float(grid[unstable[0] - 1]) if unstable.size else 2.0


def _stability_polynomial(tableau: diffrax.ButcherTableau, z: np.ndarray) -> np.ndarray:
    stages = [z]
    for row in tableau.a_lower:
        stages.append(z * (1 + sum(float(a) * k for a, k in zip(np.asarray(row), stages, strict=True))))
    return 1.0 + np.sum([float(b) * k for b, k in zip(np.asarray(tableau.b_sol), stages, strict=True)], axis=0)


def num_parameters(params: object) -> int:
    """Number of entries of all leaves of `params`."""
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params))
