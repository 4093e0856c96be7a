"""Curvature: spectra of Hessians and Newton steps, dense where that is cheap and matrix-free beyond.

Knows a problem and a state; does not know flows, trajectories or what a critical point is called. Everything here
runs on the host in double precision and returns floats and NumPy arrays. The matrix-free part needs Hessian-vector
products only; they are compiled once per problem structure and shape, with the data passed as arguments.
"""

from gradflow.curvature.hessians import DENSE_LIMIT, DIRECT_LIMIT, EPS, flat_gradient, raveled
from gradflow.curvature.quadratic_models import (
    Ends,
    QuadraticModel,
    look_ahead,
    newton_distance,
    newton_step,
    quadratic_model,
    rounded_gradients,
)
from gradflow.curvature.spectra import (
    ExtremeEigenvalues,
    eigenpairs,
    extreme_eigenvalues,
    lowest_eigenvalue,
    spectrum,
)

__all__ = [
    "DENSE_LIMIT",
    "DIRECT_LIMIT",
    "EPS",
    "Ends",
    "ExtremeEigenvalues",
    "QuadraticModel",
    "eigenpairs",
    "extreme_eigenvalues",
    "flat_gradient",
    "look_ahead",
    "lowest_eigenvalue",
    "newton_distance",
    "newton_step",
    "quadratic_model",
    "raveled",
    "rounded_gradients",
    "spectrum",
]
