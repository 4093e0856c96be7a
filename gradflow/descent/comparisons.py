"""The result of setting gradient descent beside its flow: a table, measured numbers, and what they do and do not show.

A comparison answers "is my learning rate small enough to trust the flow?" with True, False or None (undetermined), and
lists what the answer stands on, each with its truth value. Distances are measured, at the rows of the table and nowhere
else; what is extrapolated is said to be. Knows numbers; computes no iterate and no flow.
"""

import math
from dataclasses import dataclass

import xarray as xr

from gradflow.descent.outcomes import Descent
from gradflow.descent.rules import UpdateRule
from gradflow.hypotheses import Hypothesis
from gradflow.trajectories import Trajectory

FIRST_ORDER = (0.75, 1.25)
"""Measured orders that count as first: the distance to the flow falls by 1.7 to 2.4 with half the learning rate."""

SECOND_ORDER = (1.5, 2.5)
"""Measured orders that count as second: the distance to the modified flow falls by 2.8 to 5.7."""

RESOLVED = 10.0
"""A distance counts as measured when it is this many times the error of the reference it is measured from."""

FARTHEST = 2.0
"""A learning rate is extrapolated to at most this multiple of the one that was tried."""


@dataclass(frozen=True)
class Measured:
    """The largest distances of one learning rate over all rows, in the units of the weights."""

    distance: float
    modified_distance: float


@dataclass(frozen=True)
class Law:
    """``d(eta) = a eta + b eta^2`` through the largest distances measured at eta and eta / 2.

    `a` and `b` are NaN where the measured order is not the first: then nothing is extrapolated.
    """

    a: float
    b: float
    learning_rate: float

    def distance_at(self, learning_rate: float) -> tuple[float, float]:
        """Estimate of the largest distance at another learning rate, and how far off it may be: the second-order part.

        NaN where no law was found and beyond :data:`FARTHEST` times the learning rate that was tried.
        """
        if not learning_rate <= FARTHEST * self.learning_rate:
            return math.nan, math.nan
        second = self.b * learning_rate**2
        return self.a * learning_rate + second, abs(second)

    def rate_for(self, distance: float) -> float:
        """The learning rate whose estimated distance, its uncertainty added, is `distance`.

        At most :data:`FARTHEST` times the one tried; NaN where no law was found.
        """
        curvature = self.b + abs(self.b)
        root = math.sqrt(self.a**2 + 4.0 * curvature * distance)
        return min(2.0 * distance / (self.a + root), FARTHEST * self.learning_rate) if root > 0 else math.nan


def law_through(full: float, half: float, order: float, learning_rate: float) -> Law:
    """The law through the largest distances `full` at the learning rate and `half` at half of it."""
    is_first = FIRST_ORDER[0] <= order <= FIRST_ORDER[1]
    if not is_first:
        return Law(math.nan, math.nan, learning_rate)
    return Law((4.0 * half - full) / learning_rate, 2.0 * (full - 2.0 * half) / learning_rate**2, learning_rate)


@dataclass(frozen=True)
class DescentComparison:
    """Gradient descent, its flow and its modified flow from one start, over one flow time.

    Attributes:
        table: what was measured at common flow times ``k h``, dims ``time``, ``invariant``, ``look`` (see
            :func:`~gradflow.descent.compare_descent`).
        descent, halved: the runs at the learning rate and at half of it.
        trajectory: the flow, the reference.
        tolerance: largest relative distance at which the flow counts as followed.
        travelled: ``max_t ||W(t) - W(0)||`` of the flow: what distances are relative to.
        full, half: largest distances at the learning rate and at half of it.
        reference_error: largest difference between the reference and a run at a hundred times its tolerances: an
            estimate from above of its error.
        order, modified_order: ``log2`` of how much the distances fall with half the learning rate; NaN where a distance
            is not resolved by the reference.
        sharpest: the largest ``eta lambda_max`` at the states looked at, on both paths.
        law: for other learning rates.
        hypotheses: what the verdict stands on.
        trusted: True: every hypothesis holds. False: descent was seen to be farther away than the tolerance, or blew up
            where the flow did not. None: undetermined; the hypotheses that do not hold say why.
    """

    table: xr.Dataset
    descent: Descent
    halved: Descent
    trajectory: Trajectory
    tolerance: float
    travelled: float
    full: Measured
    half: Measured
    reference_error: float
    order: float
    modified_order: float
    sharpest: float
    law: Law
    hypotheses: tuple[Hypothesis, ...]
    trusted: bool | None

    @property
    def rule(self) -> UpdateRule:
        """Learning rate and momentum."""
        return self.descent.rule

    @property
    def relative_distance(self) -> float:
        """Largest distance to the flow over the rows, relative to how far the flow travels; NaN where it does not."""
        return self.full.distance / self.travelled if self.travelled > 0 else math.nan

    @property
    def closer(self) -> float:
        """How many times closer the modified flow is: the ratio of the largest distances.

        A lower bound where the distance to the modified flow is not resolved.
        """
        return self.full.distance / max(self.full.modified_distance, self.reference_error, 1e-300)

    @property
    def largest_learning_rate(self) -> float:
        """Estimate of the largest learning rate that stays within the tolerance; NaN where no law was found.

        The root of the law with its uncertainty added, at most :data:`FARTHEST` times the one tried and at most what
        is stable at the curvature met. An extrapolation, to be confirmed by a comparison at that learning rate.
        """
        rate = self.law.rate_for(max(self.tolerance * self.travelled - self.reference_error, 0.0))
        if not self.sharpest > 0:
            return rate
        return min(rate, self.rule.stability_limit * self.rule.learning_rate / self.sharpest)

    @property
    def failed(self) -> tuple[str, ...]:
        """The hypotheses that do not hold, in words."""
        return tuple(hypothesis.statement for hypothesis in self.hypotheses if hypothesis.holds is not True)

    def __repr__(self) -> str:
        return f"DescentComparison({self})"

    def __str__(self) -> str:
        word = {True: "small enough", False: "too large", None: "undetermined"}[self.trusted]
        where = f"t <= {float(self.table.time[-1]):.4g}, tolerance {self.tolerance:g}"
        reasons = "".join(f"\n  not so: {statement}" for statement in self.failed)
        return f"{self.rule}: {word} ({where}, relative distance {self.relative_distance:.2g}){reasons}"
