"""Newton's method for the stage equations of an implicit step, ended by its own correction.

Optimistix's Newton also asks for a small residual, in absolute terms. At a stiff step ``h lambda`` that residual is
``h lambda eps ||y||`` by rounding alone, so with ``h lambda`` of 1e8 no step would ever be accepted. Here a correction
that is small enough ends the iteration, or one that is nearly so and no longer falls: it is rounding. Nearly is not
enough by itself: in a stiff valley a component of 1e-2 decides how fast the flow creeps, and corrections of 1e-8 left
errors ten times those of the steps.
"""

from typing import Any

import optimistix as optx

CORRECTION = 1e-11
"""Last correction, relative to the stage."""

ABSOLUTE_CORRECTION = 1e-13
"""The same for stages near zero."""

ROUNDED = 1e5
"""Multiple of these below which a correction that has not been halved is taken for rounding."""

ITERATIONS = 5
"""Iterations after which one of that size is taken for it anyway: a quadratic iteration would have ended."""


class StageNewton(optx.Newton):
    """Full Newton that ends when a correction is below ``atol + rtol * |stage|``, or is rounding."""

    def terminate(self, fn: Any, y: Any, args: Any, options: Any, state: Any, tags: Any) -> tuple[Any, optx.RESULTS]:
        """Whether the last correction was small or the linear solve failed, and which."""
        del fn, y, args, options, tags
        has_failed = state.result != optx.RESULTS.successful
        is_falling = (state.step < 2) | (state.diffsize < 0.5 * state.diffsize_prev) & (state.step < ITERATIONS)
        is_rounding = (state.diffsize < ROUNDED) & ~is_falling
        return has_failed | (state.diffsize < 1) | is_rounding, state.result


def stage_newton() -> StageNewton:
    """The root finder for the stages of a step."""
    return StageNewton(rtol=CORRECTION, atol=ABSOLUTE_CORRECTION)
