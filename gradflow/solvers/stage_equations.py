"""Newton's method for the stage equations of an implicit step, ended by its own correction.

Optimistix's Newton also asks for a small residual, in absolute terms. At a stiff step ``h lambda`` that residual is
``h lambda eps ||y||`` by rounding alone, so with ``h lambda`` of 1e8 no step would ever be accepted. Newton converges
quadratically: a correction of 1e-6 leaves an error of about 1e-12, whatever the residual says.
"""

import math
from typing import Any

import optimistix as optx

LARGEST_CORRECTION = 1e-6
"""Last correction, relative to the stage; smaller for tolerances that need it."""


class StageNewton(optx.Newton):
    """Full Newton that ends when a correction is below ``atol + rtol * |stage|``."""

    def terminate(self, fn: Any, y: Any, args: Any, options: Any, state: Any, tags: Any) -> tuple[Any, optx.RESULTS]:
        """Whether the last correction was small or the linear solve failed, and which."""
        del fn, y, args, options, tags
        has_failed = state.result != optx.RESULTS.successful
        return has_failed | (state.diffsize < 1), state.result


def stage_newton(rtol: float, atol: float) -> StageNewton:
    """The root finder for steps with local error ``atol + rtol |y|``: its own error is below a hundredth of that."""
    return StageNewton(
        rtol=min(LARGEST_CORRECTION, 0.1 * math.sqrt(rtol)),
        atol=min(max(0.1 * math.sqrt(atol), 1e-4 * LARGEST_CORRECTION), 1e-2 * LARGEST_CORRECTION),
    )
