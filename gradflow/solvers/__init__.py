"""Solvers made for gradient flows, beside diffrax's: all of them diffrax solvers, for any ``diffrax.diffeqsolve``."""

from gradflow.solvers.bdf import BDF
from gradflow.solvers.gauss_legendre import Gauss2, Gauss4, Gauss6
from gradflow.solvers.projection import Projected, projected
from gradflow.solvers.radau import Radau9
from gradflow.solvers.registry import SOLVER_NAMES, is_always_stable, make_solver, real_stability_limit
from gradflow.solvers.relaxation import Relaxed
from gradflow.solvers.rosenbrock import Rodas3, Rodas4, Rodas5P
from gradflow.solvers.stabilised import RKC2, RKL2
from gradflow.solvers.step_control import StabilityCap

__all__ = [
    "BDF",
    "RKC2",
    "RKL2",
    "SOLVER_NAMES",
    "Gauss2",
    "Gauss4",
    "Gauss6",
    "Projected",
    "Radau9",
    "Relaxed",
    "Rodas3",
    "Rodas4",
    "Rodas5P",
    "StabilityCap",
    "is_always_stable",
    "make_solver",
    "projected",
    "real_stability_limit",
]
