"""Solvers: which diffrax solvers a flow can be integrated with, and the step control made for gradient flows."""

from gradflow.solvers.registry import SOLVER_NAMES, is_implicit, make_solver, real_stability_limit
from gradflow.solvers.step_control import StabilityCap

__all__ = ["SOLVER_NAMES", "StabilityCap", "is_implicit", "make_solver", "real_stability_limit"]
