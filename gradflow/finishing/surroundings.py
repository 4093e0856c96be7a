"""What holds around a minimum: how fast the Hessian changes, whether its rank stays, and how far the next kink is.

All of this is measured at points, or, for the kinks of a network with one hidden layer, computed.
"""

import math
from collections.abc import Callable

import jax
import numpy as np
import scipy.sparse.linalg as sparse

from gradflow.activations import AbstractActivation
from gradflow.curvature import EPS
from gradflow.curvature.hessians import measured
from gradflow.curvature.quadratic_models import DRAWS
from gradflow.finishing.normal_space import Frame, slice_minimum
from gradflow.networks import Linear, Residual, Shallow
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Params

SAFETY = 2.0
"""The Hessian's change is taken to be this multiple of the largest one measured."""

ROUNDS = 3
"""Steps of the power iteration for the direction in which the Hessian changes most, from each start."""

REACH = 0.1
"""Farthest that the set of minima is probed, per scale of the parameters."""

NUM_PROBES = 3
DENSE = 100


def hessian_change(
    problem: AbstractProblem, unravel: Callable[[np.ndarray], Params], frame: Frame, away: np.ndarray, radius: float
) -> float:
    """M: :data:`SAFETY` times the largest measured ``||H(p + radius e) - H(p)|| / radius`` over unit vectors e.

    The third derivative is a symmetric tensor, whose norm is attained on equal vectors; the power iteration
    ``e <- the eigenvector of (H(p + radius e) - H(p - radius e)) of the largest eigenvalue`` climbs to a local maximum,
    here from the direction `away` and from a random one.
    """
    assert frame.model.values is not None and frame.model.vectors is not None
    here = (frame.model.vectors * frame.model.values) @ frame.model.vectors.T
    draw = np.random.default_rng(0).normal(size=len(frame.state))
    largest = 0.0
    for first in (away, draw):
        size = float(np.linalg.norm(first))
        if size == 0.0:
            continue
        direction = first / size
        for _ in range(ROUNDS):
            ahead, behind = (
                _hessian(problem, unravel(frame.state + sign * radius * direction)) for sign in (1.0, -1.0)
            )
            if not (np.isfinite(ahead).all() and np.isfinite(behind).all()):
                return math.inf
            norm, vector = _largest_pair(ahead - behind)
            sides = [_largest_pair(side - here)[0] for side in (ahead, behind)]
            largest, direction = max(largest, 0.5 * norm / radius, *(side / radius for side in sides)), vector
    return SAFETY * largest


def _hessian(problem: AbstractProblem, params: Params) -> np.ndarray:
    """The dense Hessian, from the compiled function that quadratic models come from."""
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    hessian = measured(problem, params, np.zeros((len(DRAWS), size)), with_hessian=True)[3]
    assert hessian is not None
    return hessian


def _largest_pair(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest absolute eigenvalue of a symmetric matrix and its eigenvector."""
    size = len(matrix)
    if size > DENSE and matrix.any():
        try:
            value, vector = sparse.eigsh(matrix, k=1, which="LM", v0=np.ones(size), tol=1e-3)
            return abs(float(value[0])), vector[:, 0]
        except sparse.ArpackNoConvergence:
            pass
    values, vectors = np.linalg.eigh(matrix)
    index = int(np.argmax(np.abs(values)))
    return abs(float(values[index])), vectors[:, index]


def constant_rank(
    problem: AbstractProblem, unravel: Callable[[np.ndarray], Params], frame: Frame, change: float, scale: float,
    radius: float,
) -> tuple[bool | None, str]:  # fmt: skip
    """Whether the kernel of the Hessian is tangent to a set of minima of its dimension, and how that was seen.

    From p goes `distance` along the kernel, both ways in up to :data:`NUM_PROBES` random directions, minimises on the
    slices there, and compares loss and gradient with those at p: they must agree to rounding. ``x^2 + y^4`` fails,
    whose kernel at 0 is no set of minima. None where a slice could not be minimised.
    """
    curvature = float(frame.curvatures[0])
    furthest = max(REACH * scale, 0.5 * radius)
    distance = furthest if change * furthest <= 0.25 * curvature else curvature / (4.0 * change)
    loss_rounding = _loss_rounding(problem, unravel, frame)
    rng = np.random.default_rng(0)
    for _ in range(min(frame.nullity, NUM_PROBES)):
        draw = frame.tangent @ rng.normal(size=frame.nullity)
        draw *= distance / np.linalg.norm(draw)
        for step in (draw, -draw):
            found = slice_minimum(problem, unravel, frame.state + step, frame.normal)
            if found is None:
                return None, f"{distance:.1e} along the kernel the loss has no minimum on the normal space"
            model = found[1]
            rest = float(np.linalg.norm(frame.normal.T @ model.gradient))
            leak = change * distance / curvature * (rest + model.noise) + frame.flat * distance
            rounded = 8.0 * np.linalg.norm(np.abs(model.roundings @ frame.tangent).max(axis=0))
            slope, allowed = float(np.linalg.norm(frame.tangent.T @ model.gradient)), float(rounded) + leak
            rise = abs(model.loss - frame.model.loss)
            rounded_losses = loss_rounding + 64 * EPS * abs(model.loss) + frame.flat * distance**2
            if not (slope <= allowed and rise <= rounded_losses + (rest + model.noise) ** 2 / curvature):
                seen = f"the slope is {slope:.1e} and the loss differs by {rise:.1e}"
                return False, f"{distance:.1e} along the kernel {seen}"
    return True, f"probed {distance:.1e} along the kernel"


def _loss_rounding(problem: AbstractProblem, unravel: Callable[[np.ndarray], Params], frame: Frame) -> float:
    """What rounding does to the loss at the minimum, where no small change of the parameters does anything else."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (4, len(frame.state)))
    losses = [float(problem.loss(unravel(frame.state * (1.0 + 4 * EPS * row)))) for row in signs]
    return 64 * EPS * abs(frame.model.loss) + 8.0 * max(abs(loss - frame.model.loss) for loss in losses)


def kink_distance(problem: AbstractProblem, params: Params) -> float | None:
    """A distance within which no kink of the network's activations is met; inf without kinks, None when not known.

    For one hidden layer: a row of W_1 moves by at least ``|W_1 x - kink| / ||x||`` before sample x meets a kink.
    """
    if not isinstance(problem, Regression) or isinstance(problem.network, Linear | Residual):
        return math.inf
    network = problem.network
    if not isinstance(network, Shallow):
        kinds = [leaf for leaf in vars(network).values() if isinstance(leaf, AbstractActivation)]
        return None if any(kind.kinks for kind in kinds) else math.inf
    if network.output_activation.kinks:
        return None
    sizes = np.linalg.norm(np.asarray(problem.X), axis=0)
    inputs = np.asarray(problem.X)[:, sizes > 0] / sizes[sizes > 0]
    hidden = np.asarray(params[0]) @ inputs
    return min(
        (float(np.abs(hidden - kink / sizes[sizes > 0]).min()) for kink in network.activation.kinks), default=math.inf
    )
