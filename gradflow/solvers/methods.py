"""Solvers made into methods of integration: with a step-size controller, and a cap where stability needs one."""

import dataclasses
import functools
import math

import diffrax
import numpy as np

from gradflow.solvers import explicit
from gradflow.solvers.bdf import BDF
from gradflow.solvers.radau import Radau9
from gradflow.solvers.registry import make_solver, real_stability_limit
from gradflow.solvers.rosenbrock import Rodas5P
from gradflow.solvers.states import Method
from gradflow.solvers.step_control import StabilityCap


def make_method(solver: diffrax.AbstractSolver, rtol: float, atol: float, direction: float, has_kinks: bool) -> Method:
    """`solver` with a step-size controller and, for explicit ones, what keeps its steps stable.

    Near kinks the spectral radius is followed step by step: not even rounding must grow there.
    """
    told, absolute = np.asarray(rtol), np.asarray(max(atol, 1e-300))
    controller: diffrax.AbstractStepSizeController = diffrax.PIDController(
        rtol=told, atol=absolute, pcoeff=0.0, icoeff=1.0
    )
    if isinstance(solver, BDF | Radau9):
        solver = dataclasses.replace(solver, rtol=told, atol=absolute)
    limit = real_stability_limit(solver)
    if explicit.tells_stiffness(solver) and not has_kinks:
        return Method(solver, controller, direction, explicit.STAGE_SAFETY * limit)
    if limit < math.inf:
        controller = StabilityCap(controller, limit)
    return Method(solver, controller, direction, math.inf)


def method_of(
    solver: str | diffrax.AbstractSolver, rtol: float, atol: float, direction: float, has_kinks: bool
) -> Method:
    """The method of a solver or of its name; that of a name is made once, which takes as long as thirty steps."""
    if isinstance(solver, str):
        return _named(solver, rtol, atol, direction, has_kinks)
    return make_method(make_solver(solver, rtol, direction), rtol, atol, direction, has_kinks)


@functools.lru_cache(maxsize=64)
def _named(solver: str, rtol: float, atol: float, direction: float, has_kinks: bool) -> Method:
    return make_method(make_solver(solver, rtol, direction), rtol, atol, direction, has_kinks)


def locating_method(method: Method, rtol: float, atol: float) -> Method:
    """The method that takes the shorter steps inside a step of `method`, by which events are located.

    A multistep method can take no step without its past; a one-step method of the same order stands in for it.
    """
    if not isinstance(method.solver, BDF):
        return method
    stand_in = Rodas5P(matrix_free=method.solver.matrix_free)
    return make_method(make_solver(stand_in, rtol, method.direction), rtol, atol, method.direction, False)
