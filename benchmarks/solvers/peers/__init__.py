"""Everything that integrates one trajectory, one module a system; heavy imports happen in the process that measures."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MODULES = ("gradflow_solvers", "diffrax_solvers", "scipy_ivp", "sundials")

MOST_STEPS = 1e9
STABLE = 4.0
"""Largest number of steps that is tried, and about how much of rho t a step of an explicit method can take."""

ATOL_SHARE = 1e-2
"""Absolute tolerance of every method as a share of its relative one."""


class Unavailable(Exception):
    """A method that cannot run here or on this problem; the message is the reason that the table shows."""


@dataclass(frozen=True)
class Outcome:
    """The flat end state, what it took, and what the method says of it.

    `counts` may hold gradients, hessians (dense Jacobians), products (Hessian-vector products), steps and rejected;
    what a method does not tell is left out. `failure` is empty when the method claims to have reached the horizon.
    """

    end: np.ndarray
    counts: dict[str, int] = field(default_factory=dict)
    failure: str = ""
    remark: str = ""


Run = Callable[[float], Outcome]


@dataclass(frozen=True)
class Method:
    """One way to integrate.

    `build(problem, rtol)` returns a function of the horizon that runs it once; its first call may compile. Methods of
    one `process` share a worker. A `counts_itself` method's outcome has its counts; the others are counted in a run of
    their own. An `is_explicit` method is not tried where it would need more than :data:`MOST_STEPS` stable steps.
    """

    name: str
    label: str
    process: str
    build: Callable[[Any, float], Run]
    is_own: bool = False
    counts_itself: bool = True
    is_explicit: bool = False

    def refusal(self, problem: Any) -> str:
        """Why it makes no sense on that problem, or nothing."""
        if self.is_explicit and problem.stiffness > MOST_STEPS * STABLE:
            return f"not run: explicit, would need {problem.stiffness / STABLE:.0e} stable steps"
        return ""


def methods() -> dict[str, Method]:
    """Every method by name, in the table's order: gradflow's own are those of its registry."""
    modules = [importlib.import_module(f"peers.{name}") for name in MODULES]
    return {method.name: method for module in modules for method in module.methods()}
