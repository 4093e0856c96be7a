"""Solvers made into methods of integration: with a step-size controller, and a cap where stability needs one."""

import math

import diffrax
import numpy as np

from gradflow.solvers import explicit
from gradflow.solvers.registry import real_stability_limit
from gradflow.solvers.states import Method
from gradflow.solvers.step_control import StabilityCap


def make_method(solver: diffrax.AbstractSolver, rtol: float, atol: float, direction: float, has_kinks: bool) -> Method:
    """`solver` with a step-size controller and, for explicit ones, what keeps its steps stable.

    Near kinks the spectral radius is followed step by step: not even rounding must grow there.
    """
    controller: diffrax.AbstractStepSizeController = diffrax.PIDController(
        rtol=np.asarray(rtol), atol=np.asarray(max(atol, 1e-300)), pcoeff=0.0, icoeff=1.0
    )
    limit = real_stability_limit(solver)
    if explicit.tells_stiffness(solver) and not has_kinks:
        return Method(solver, controller, direction, explicit.STAGE_SAFETY * limit)
    if limit < math.inf:
        controller = StabilityCap(controller, limit)
    return Method(solver, controller, direction, math.inf)
