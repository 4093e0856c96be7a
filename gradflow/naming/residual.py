"""Endpoints of linear residual networks: global minima by their value, everything else by discovery.

The map of such a network can be any matrix, so its least loss is that of linear regression, whatever the minimiser.
Whether a critical point above it is a saddle or worse is left to the Hessian of each group.
"""

import numpy as np

from gradflow.naming.discovery import TOLERANCE, Discovery
from gradflow.naming.labels import Label
from gradflow.problem import Regression
from gradflow.statistics import linear_statistics


def residual_namer(problem: Regression, tolerance: float = TOLERANCE) -> Discovery:
    """The namer of a linear residual network with the squared error and no regulariser.

    All refined endpoints with the least loss of any matrix are one class, ``"global minimum"``.
    """
    weight = 1.0 if problem.normalization == "sum" else 1.0 / problem.Y.shape[1]
    least = float(linear_statistics(problem.X, problem.Y, weight).irreducible)
    size = 0.5 * weight * float(np.sum(problem.Y**2))
    return Discovery(problem, tolerance, bottom=Label("global minimum", "global_minimum", least), size=size)
