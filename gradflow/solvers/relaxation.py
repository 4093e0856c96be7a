"""Steps along which the loss falls as it does along the flow: a wrapper of any adaptive solver.

Along a gradient flow the loss falls by ``int ||f||^2 dt``. A solver at a loose tolerance misses that and may climb.
Relaxation methods restore the balance between the loss and the dissipated energy by a change of the step that is as
small as its error. They scale the step and count the scaled time; here time is kept and the end of the step is moved
along the field instead, which costs no order either. Whatever came of it, a step that climbs is not taken: that alone
is a guarantee, because short enough steps of any consistent method descend.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from gradflow.solvers.wrapping import AbstractCorrected, Correction, Step
from gradflow.types import Array, Params, Scalar

NOISE_UNITS = 16.0
"""Multiples of the measured rounding of the loss up to which two losses count as equal."""

LONGEST_SHARE = 0.5
"""Largest ``|mu| / h``: what would move a step further is no correction of it."""

NUM_PROBES = 3
MAX_ITERATIONS = 8


class Relaxed(AbstractCorrected):
    """`solver` for gradient flows ``y' = -grad L(y)``, never climbing, with the loss in balance with the energy.

    The end y1' of a step is moved along the field, ``y1 = y1' + mu f(y1')``, so that
    ``L(y1) = L(y0) - h sum_i b_i ||f(Y_i)||^2``, the energy by the solver's own weights. For a solver of order p mu is
    ``O(h^{p+1})`` and the order is kept. Where there is no such mu below h / 2 (a long step into the bottom of a stiff
    valley), where the energy came out negative, and where the imbalance is rounding, the step is left as it is.

    Guarantee: an accepted step ends with a loss at most NOISE_UNITS times rounding above the **lowest** so far, so that
    rounding cannot add up; any other has an infinite error estimate. Rounding of the loss is measured at every step:
    ``eps |L(y0)|`` plus the largest change of L under changes of y0 by rounding.

    Args:
        solver: any adaptive diffrax solver of ordinary differential equations.
        loss: ``params -> scalar``; by default that of ``args.problem``, as `args` is the flow in gradflow.

    Forward in time only: along the reversed flow the loss grows, and no step is accepted. With constant steps nothing
    can be rejected: a climbing step ends the integration.

    Cost: two evaluations of the field (one that FSAL solvers would save), five of the loss, and a directional
    derivative of the loss for each of the two or three iterations for mu.

    Source: Ketcheson (2019), Relaxation Runge-Kutta methods; Ranocha, Sayyari, Dalcin, Parsani, Ketcheson (2020);
    along a direction of choice at fixed time: Grimm, Quispel (2005); Calvo, Laburta, Montijano, Randez (2010).
    """

    solver: diffrax.AbstractAdaptiveSolver  # type: ignore[misc]
    loss: Callable[[Params], Any] | None = None

    def begin(self, y0: Params, args: Any) -> Scalar:
        """The loss at the start: the lowest so far."""
        return jnp.asarray(self._loss(args)(y0))

    def correct(self, step: Step, memory: Scalar, args: Any) -> Correction:
        """`step` with its loss in balance; not good when it climbs."""
        function = self._loss(args)
        loss = lambda flat: function(step.field.unravel(flat))  # noqa: E731
        before = loss(step.start)
        noise = NOISE_UNITS * rounding_of(loss, step.start, before)
        end, after = balanced(loss, step, before - step.energy, noise)
        return Correction(end, after <= memory + noise, jnp.minimum(memory, after))

    def _loss(self, args: Any) -> Callable[[Params], Any]:
        return args.problem.loss if self.loss is None else self.loss


def rounding_of(loss: Callable[[Any], Any], point: Float[Array, " n"], value: Scalar) -> Scalar:
    """How far rounding moves the computed `loss` at `point`: ``eps |L|`` plus its change when the point is rounded."""
    unit = jnp.finfo(point.dtype).eps
    signs = jax.random.rademacher(jax.random.key(0), (NUM_PROBES, point.size), point.dtype)
    changes = jax.vmap(lambda sign: jnp.abs(loss(point * (1.0 + unit * sign)) - value))(signs)
    return unit * jnp.abs(value) + jnp.max(changes)


class _Iteration(eqx.Module):
    share: Scalar
    loss: Scalar
    slope: Scalar
    size: Scalar
    count: Int[Array, ""]
    is_falling: Bool[Array, ""]


def balanced(
    loss: Callable[[Any], Any], step: Step, target: Scalar, noise: Scalar
) -> tuple[Float[Array, " n"], Scalar]:
    """The end of `step`, moved along the field to where the loss is `target` if that is found; and the loss there.

    Newton's method for mu as long as ``|L(y1' + mu f) - target|`` falls; found when it is below `noise`.
    """
    direction = step.field.value(step.end)

    def look(share: Scalar) -> tuple[Scalar, Scalar]:
        return jax.jvp(loss, (step.end + share * direction,), (direction,))

    def body(old: _Iteration) -> _Iteration:
        share = old.share - (old.loss - target) / old.slope
        value, slope = look(share)
        size = jnp.abs(value - target)
        is_falling = size < old.size
        keep = lambda new, before: jnp.where(is_falling, new, before)  # noqa: E731
        return _Iteration(
            keep(share, old.share), keep(value, old.loss), keep(slope, old.slope), keep(size, old.size),
            old.count + 1, is_falling,
        )  # fmt: skip

    zero = jnp.zeros_like(step.length)
    value, slope = look(zero)
    first = _Iteration(zero, value, slope, jnp.abs(value - target), jnp.zeros((), jnp.int32), step.energy >= 0)
    goes_on = lambda s: s.is_falling & (s.size > noise) & (s.count < MAX_ITERATIONS)  # noqa: E731
    last = jax.lax.while_loop(goes_on, body, first)
    is_short = jnp.abs(last.share) <= LONGEST_SHARE * jnp.abs(step.length)
    is_found = (last.size <= noise) & (step.energy >= 0) & is_short
    return jnp.where(is_found, step.end + last.share * direction, step.end), jnp.where(is_found, last.loss, value)
