"""Newton's method on the normal space of a set of critical points: the point of the set in the slice of a state.

Unlike Newton steps with the Hessian of the moment, which near a set of minima has remnants of curvature along it, these
do not move the state along the set at all; :func:`foot_of` turns the slice until it is normal where it meets the set.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from gradflow.curvature import QuadraticModel, quadratic_model
from gradflow.problem import AbstractProblem
from gradflow.types import Params

MAX_STEPS = 12
TURNS = 3
"""How often the slice is turned; the part of the displacement along the set shrinks by a factor ~ d with each turn."""


@dataclass(frozen=True)
class Frame:
    """A critical point with its tangent space (kernel of the Hessian) and normal space.

    Attributes:
        state: the point, flat.
        model: gradient and Hessian there.
        tangent: orthonormal columns that span the kernel, ``(n, nullity)``.
        normal: eigenvectors of the other eigenvalues, ``(n, n - nullity)``.
        curvatures: these eigenvalues, ascending.
        flat: the largest absolute eigenvalue that counts as zero.
    """

    state: np.ndarray
    model: QuadraticModel
    tangent: np.ndarray
    normal: np.ndarray
    curvatures: np.ndarray
    flat: float

    @property
    def nullity(self) -> int:
        """Dimension of the kernel."""
        return self.tangent.shape[1]

    @property
    def rounding(self) -> float:
        """Distance to the critical point of the slice, by the gradient's normal components and their rounding."""
        components = np.abs(self.normal.T @ self.model.gradient)
        rounded = 4.0 * np.abs(self.model.roundings @ self.normal).max(axis=0)
        return float(np.linalg.norm((components + rounded) / self.curvatures))


def frame_at(state: np.ndarray, model: QuadraticModel, zero: float) -> Frame:
    """The frame at a point: eigenvalues of at most `zero` in absolute value are those of the kernel."""
    assert model.values is not None and model.vectors is not None
    is_flat = np.abs(model.values) <= zero
    return Frame(
        state=state,
        model=model,
        tangent=model.vectors[:, is_flat],
        normal=model.vectors[:, ~is_flat],
        curvatures=model.values[~is_flat],
        flat=float(np.abs(model.values[is_flat]).max(initial=0.0)),
    )


def slice_minimum(
    problem: AbstractProblem, unravel: Callable[[np.ndarray], Params], state: np.ndarray, normal: np.ndarray
) -> tuple[np.ndarray, QuadraticModel] | None:
    """The minimum of the loss on ``state + span(normal)`` near `state`, to rounding, and the model there.

    None where the Hessian is not positive on the slice, or not finite.
    """
    model = quadratic_model(problem, unravel(state))
    for _ in range(MAX_STEPS):
        if not model.is_finite or model.values is None or model.vectors is None:
            return None
        left = normal.T @ model.gradient
        turned = normal.T @ model.vectors
        try:
            factor = scipy.linalg.cho_factor((turned * model.values) @ turned.T)
        except scipy.linalg.LinAlgError:
            return None
        candidate = state - normal @ scipy.linalg.cho_solve(factor, left)
        ahead = quadratic_model(problem, unravel(candidate))
        ratio = np.linalg.norm(normal.T @ ahead.gradient) / max(float(np.linalg.norm(left)), np.finfo(float).tiny)
        if not ratio < 1.0:
            break
        state, model = candidate, ahead
        if ratio > 0.5:
            break
    return state, model


def foot_of(
    problem: AbstractProblem, unravel: Callable[[np.ndarray], Params], state: np.ndarray, near: Frame, zero: float
) -> Frame | None:
    """The critical point whose normal space holds `state`, to third order in the distance; `near` is one close by.

    None where Newton's method on the slice fails or the kernel changes its dimension.
    """
    frame = near
    for _ in range(TURNS if near.nullity else 1):
        guess = state + frame.normal @ (frame.normal.T @ (frame.state - state))
        found = slice_minimum(problem, unravel, guess, frame.normal)
        if found is None or not found[1].is_finite:
            return None
        frame = frame_at(*found, zero)
        if frame.nullity != near.nullity:
            return None
    return frame
