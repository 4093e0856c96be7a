"""What one hidden unit does on the surfaces it is on: cross, slide, or, where both sides push away, stay as it was.

Pure linear algebra on one row w of W_1, whose loss gradient is ``g + sum_m theta_m kappa_m u_m`` with theta_m = 0 on
the negative and 1 on the positive side of surface m: Filippov's set is that of all theta in the box. Where going to the
positive side raises the slope of the loss (``kappa > 0``, convex), both sides may push towards the surface and the
velocity is minus the element of least norm, a bounded least-squares problem; elsewhere a side must be chosen.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import lsq_linear

RESOLUTION = 1e-10
"""Share of a unit's velocities that is not told from zero."""

DEPENDENT = 1e-9
"""Distance at which a unit vector lies in a span."""


@dataclass(frozen=True)
class Decision:
    """What comes next on the surfaces a unit is on.

    `sides` (-1.0 or 1.0) holds for those neither slid on nor pinned; `slides` are independent surfaces on which both
    sides push inwards, `pinned` those in whose span they lie, so that the unit stays on them too. `is_ambiguous` means
    that another solution exists: a surface pushes away on both sides, or no choice of sides agrees with itself.
    """

    sides: Float[np.ndarray, " surfaces"]
    slides: Bool[np.ndarray, " surfaces"]
    pinned: Bool[np.ndarray, " surfaces"]
    is_ambiguous: bool


def decide(
    gradient: Float[np.ndarray, " d_in"],
    jumps: Float[np.ndarray, " surfaces"],
    directions: Float[np.ndarray, "d_in surfaces"],
    sides: Float[np.ndarray, " surfaces"],
    flow_direction: float = 1.0,
) -> Decision:
    """What a unit does next on the surfaces with unit normals `directions`, all of which it is on.

    Args:
        gradient: of the loss by the unit's row, on the negative side of all the surfaces.
        jumps: kappa, by how much the coefficient of each normal grows towards the positive side.
        directions: the normals u.
        sides: the side the unit is on, or came from.
        flow_direction: 1.0, or -1.0 for time running backwards.
    """
    floor = RESOLUTION * (np.linalg.norm(gradient) + np.abs(jumps).sum())
    inward = flow_direction * jumps > floor
    outward = flow_direction * jumps < -floor

    def motion(sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shares on the inward surfaces and speeds along all normals, with sides chosen on the outward ones."""
        chosen = gradient + directions @ np.where(outward & (sides > 0), jumps, 0.0)
        shares = _least_norm(chosen, jumps, directions, inward)
        return shares, -flow_direction * directions.T @ (chosen + directions @ shares)

    sides, is_consistent = sides.copy(), False
    for _ in range(2 * len(jumps) + 2):
        shares, speeds = motion(sides)
        wrong = np.where(outward, sides * speeds, 0.0)
        is_consistent = wrong.min(initial=0.0) >= -floor
        if is_consistent:
            break
        sides[np.argmin(wrong)] *= -1.0
    flipped = [np.where(np.arange(len(sides)) == place, -sides, sides) for place in np.flatnonzero(outward)]
    others = [(other * motion(other)[1])[other != sides][0] for other in flipped]
    ambiguous = not is_consistent or any(speed > floor for speed in others)
    shares = _vertex(shares, jumps, directions, inward, floor)
    free = inward & (np.minimum(np.abs(shares), np.abs(jumps - shares)) > floor)
    sides = np.where(inward, np.where(np.abs(shares) > 0.5 * np.abs(jumps), 1.0, -1.0), sides)
    neutral = ~inward & ~outward & (np.abs(speeds) > floor)
    sides = np.where(neutral, np.sign(speeds), sides)
    return Decision(sides, free, ~free & _in_span(directions, free), ambiguous)


def _least_norm(
    gradient: np.ndarray, jumps: np.ndarray, directions: np.ndarray, inward: np.ndarray
) -> Float[np.ndarray, " surfaces"]:
    """The shares between 0 and the jumps, on inward surfaces only, that make ``||gradient + U shares||`` least."""
    shares = np.zeros(len(jumps))
    low, high = np.minimum(jumps[inward], 0.0), np.maximum(jumps[inward], 0.0)
    if inward.sum() == 1:
        shares[inward] = np.clip(-directions[:, inward].T @ gradient, low, high)
    elif inward.any():
        solution = lsq_linear(directions[:, inward], -gradient, (low, high), method="bvls", tol=1e-15)
        shares[inward] = np.clip(solution.x, low, high)
    return shares


def _vertex(
    shares: np.ndarray, jumps: np.ndarray, directions: np.ndarray, inward: np.ndarray, floor: float
) -> Float[np.ndarray, " surfaces"]:
    """The same sum by shares of which only those on independent surfaces are strictly between their bounds."""
    shares = shares.copy()
    for _ in range(len(shares)):
        free = np.flatnonzero(inward & (np.minimum(np.abs(shares), np.abs(jumps - shares)) > floor))
        if not len(free):
            break
        _, values, right = np.linalg.svd(directions[:, free])
        if len(values) == len(free) and values[-1] > DEPENDENT * values[0]:
            break
        null = right[-1]
        to_bound = np.where(null * jumps[free] > 0, jumps[free] - shares[free], -shares[free])
        with np.errstate(divide="ignore", invalid="ignore"):
            lengths = np.where(np.abs(null) > DEPENDENT, to_bound / null, np.inf)
        first = np.argmin(lengths)
        shares[free] += lengths[first] * null
        shares[free[first]] = jumps[free[first]] if null[first] * jumps[free[first]] > 0 else 0.0
    return shares


def _in_span(directions: np.ndarray, chosen: np.ndarray) -> Bool[np.ndarray, " surfaces"]:
    if not chosen.any():
        return np.zeros(directions.shape[1], bool)
    basis = np.linalg.qr(directions[:, chosen])[0]
    return np.linalg.norm(directions - basis @ (basis.T @ directions), axis=0) <= DEPENDENT
