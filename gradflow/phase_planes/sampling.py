"""Times at which a curve is sampled so that a polyline of few points follows it closely. Knows arrays only."""

import numpy as np
from jaxtyping import Float

MOST_POINTS = 4000
"""Largest number of points of one polyline."""


def evenly_bent_times(
    times: Float[np.ndarray, " k"],
    states: Float[np.ndarray, "k n"],
    velocity: Float[np.ndarray, "k n"],
    bend: float,
) -> Float[np.ndarray, " m"]:
    """Times between the first and the last at which the polyline through the curve's points stays within `bend` of it.

    Between rows a distance c apart, with directions that differ by the angle a, the sagitta of an arc is ``c a / 8``;
    cut into m pieces it falls by m^2. So ``sqrt(c a / (8 bend))`` pieces are needed there, and times at equal sums of
    that number share the bending evenly. A sixteenth is added in proportion to length, so that straight lines have
    points too.

    Args:
        times: increasing or decreasing.
        states, velocity: of the curve at these times; a velocity of zero has no direction and bends nothing.
        bend: largest sagitta.
    """
    chords = np.linalg.norm(np.diff(states, axis=0), axis=1)
    speed = np.linalg.norm(velocity, axis=1)
    unit = velocity / np.where(speed > 0, speed, 1.0)[:, None]
    half = 0.5 * np.linalg.norm(np.diff(unit, axis=0), axis=1)
    is_turned = (speed[1:] > 0) & (speed[:-1] > 0)
    angles = np.where(is_turned, 2.0 * np.arcsin(np.clip(half, 0.0, 1.0)), 0.0)
    pieces = np.sqrt(chords * angles / (8.0 * bend))
    total = float(chords.sum())
    if total > 0:
        pieces = pieces + chords / total * max(4.0, pieces.sum() / 16.0)
    sums = np.append(0.0, np.cumsum(pieces))
    if sums[-1] == 0.0:
        return times[[0, -1]]
    count = min(int(np.ceil(sums[-1])) + 1, MOST_POINTS)
    grown = np.append(True, np.diff(sums) > 1e-12 * sums[-1])
    chosen = np.interp(np.linspace(0.0, sums[-1], count), sums[grown], times[grown])
    chosen[-1] = times[-1]
    return np.append(chosen[0], chosen[1:][np.diff(chosen) != 0.0])
