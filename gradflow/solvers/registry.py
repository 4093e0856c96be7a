"""Names of solvers, and the two facts about a solver the integrator needs: is it implicit, how far is it stable.

Solvers are diffrax objects and stay diffrax objects; nothing here steps.
"""

from collections.abc import Callable

import diffrax
import equinox as eqx
import jax
import numpy as np

from gradflow import checks
from gradflow.solvers.stage_equations import stage_newton

_FACTORIES: dict[str, Callable[[], diffrax.AbstractSolver]] = {
    "bosh3": diffrax.Bosh3,
    "tsit5": diffrax.Tsit5,
    "dopri5": diffrax.Dopri5,
    "dopri8": diffrax.Dopri8,
    "kvaerno3": diffrax.Kvaerno3,
    "kvaerno4": diffrax.Kvaerno4,
    "kvaerno5": diffrax.Kvaerno5,
}

SOLVER_NAMES = ("auto", *_FACTORIES)
"""What `solver=` accepts by name; "auto" starts with tsit5 and changes to kvaerno5 on measured stiffness."""


def make_solver(solver: str | diffrax.AbstractSolver, rtol: float, atol: float) -> diffrax.AbstractSolver:
    """The diffrax solver of that name, or the object itself, with a root finder tight enough not to be seen.

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
        type(made).__name__, "Use 'tsit5' or 'kvaerno5'.",
    )  # fmt: skip
    if is_implicit(made):
        # Full Newton, not diffrax's default chord iteration: the chord's slow contraction then limits the step, which
        # costs 50 to 100 times more steps on a stiff valley.
        made = eqx.tree_at(lambda s: s.root_finder, made, stage_newton(rtol, atol))
    return made


def _is_for_flows(solver: diffrax.AbstractSolver) -> bool:
    """One vector field (no splitting, no noise), an error estimate, and damping of stiff directions."""
    is_runge_kutta = isinstance(solver, diffrax.AbstractRungeKutta | diffrax.AbstractImplicitSolver)
    has_estimate = isinstance(solver, diffrax.AbstractAdaptiveSolver)
    return is_runge_kutta and has_estimate and solver.term_structure is diffrax.AbstractTerm


def is_implicit(solver: diffrax.AbstractSolver) -> bool:
    """True when a step solves equations, so that its size is not limited by stability."""
    return isinstance(solver, diffrax.AbstractImplicitSolver)


def real_stability_limit(solver: diffrax.AbstractSolver) -> float:
    """Largest c such that the solver is stable for ``y' = -lambda y`` with every ``lambda h <= c``.

    Infinity for implicit solvers; 2.0 when the solver has no tableau to compute it from. Tsit5: 3.5, Dopri5: 3.3.

    Formula: first ``c`` at which the stability polynomial ``R(z) = 1 + z b^T (I - z A)^{-1} 1`` leaves [-1, 1] at
    ``z = -c``.
    """
    if is_implicit(solver):
        return float("inf")
    tableau = getattr(solver, "tableau", None)
    if not isinstance(tableau, diffrax.ButcherTableau):
        return 2.0
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
