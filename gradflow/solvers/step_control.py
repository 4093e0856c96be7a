"""Step control at the stability boundary: a diffrax controller that never steps where an explicit solver is unstable.

At the stability limit an error controller keeps the stiff modes at the size of the tolerance, so the gradient never
falls below ``rho * rtol * ||W||`` and no stop test far below rtol is ever met. Capping the step at ``c / rho`` (rho the
spectral radius of the Hessian) lets them decay; it costs a few percent elsewhere. rho comes from a power iteration on
Hessian-vector products that is carried from step to step. Usable with ``diffrax.diffeqsolve`` as any controller, as
long as `args` is the flow.
"""

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from gradflow.types import Params, Scalar

SAFETY = 0.85
"""Share of the stability interval that is used; covers a spectral radius underestimated by 15 %."""

_WARM_UP = 12


class CapState(eqx.Module):
    """Inner controller's state, the carried direction of the power iteration and the radius it gives."""

    inner: Any
    direction: Params
    radius: Scalar


class StabilityCap(diffrax.AbstractStepSizeController):
    """`controller`, with every step at most ``SAFETY * limit / rho``.

    Args:
        controller: any adaptive diffrax controller.
        limit: the solver's real stability interval (:func:`gradflow.solvers.real_stability_limit`).

    Accuracy: rho is underestimated by at most a few percent once the direction has settled; the largest eigenvalue in
    modulus is used, so a strongly negative curvature caps the step too.
    """

    controller: diffrax.AbstractStepSizeController
    limit: float

    def wrap(self, direction: Any) -> "StabilityCap":
        """The controller for integration in `direction` (+1 or -1), as diffrax asks for it."""
        return StabilityCap(self.controller.wrap(direction), self.limit)

    def init(
        self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: Any, args: Any, func: Any, error_order: Any
    ) -> tuple[Any, CapState]:
        """First step of the wrapped controller, capped."""
        t_next, inner = self.controller.init(terms, t0, t1, y0, dt0, args, func, error_order)
        state = dataclasses.replace(power_start(args, y0, _WARM_UP), inner=inner)
        return jnp.minimum(t_next, t0 + self.largest_step(state.radius)), state

    def adapt_step_size(
        self, t0: Any, t1: Any, y0: Any, y1_candidate: Any, args: Any, y_error: Any, error_order: Any,
        controller_state: CapState,
    ) -> tuple[Any, Any, Any, Any, CapState, diffrax.RESULTS]:  # fmt: skip
        """The wrapped controller's decision, with the next step capped."""
        keep, next_t0, next_t1, jump, inner, result = self.controller.adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state.inner
        )
        state = CapState(inner, controller_state.direction, controller_state.radius)
        state = jax.lax.cond(keep, lambda s: power_step(args, y1_candidate, s), lambda s: s, state)
        return keep, next_t0, jnp.minimum(next_t1, next_t0 + self.largest_step(state.radius)), jump, state, result

    def largest_step(self, radius: Scalar) -> Scalar:
        """``SAFETY * limit / radius``: the longest stable step at that spectral radius."""
        return SAFETY * self.limit / jnp.maximum(radius, jnp.finfo(radius.dtype).tiny)


def power_start(flow: Any, params: Params, products: int) -> CapState:
    """The first `products` power iterations, from a fixed random direction."""
    flat, unravel = ravel_pytree(params)
    start = unravel(jax.random.normal(jax.random.key(0), flat.shape, flat.dtype))
    state = CapState(None, start, jnp.zeros((), flat.dtype))
    return jax.lax.fori_loop(0, products, lambda _, s: power_step(flow, params, s), state)


def power_step(flow: Any, params: Params, state: CapState) -> CapState:
    """One power iteration: ``v <- H v / ||H v||``, ``rho <- ||H v||`` for the Hessian H of the flow's problem.

    Where ``H v`` vanishes or is not finite (a flat landscape, an overflow) direction and radius stay as they were.
    """
    size = norm(state.direction)
    unit = jax.tree.map(lambda leaf: leaf / size, state.direction)
    image = jax.jvp(flow.vector_field, (params,), (unit,))[1]
    radius = norm(image)
    usable = jnp.isfinite(radius) & (radius > 0)
    direction = jax.tree.map(lambda new, old: jnp.where(usable, new, old), image, unit)
    # The radius may fall only slowly: one iteration after a rotation of the eigenvectors underestimates it.
    settled = jnp.maximum(radius, 0.8 * state.radius)
    return CapState(state.inner, direction, jnp.where(usable, settled, 0.8 * state.radius))


def norm(tree: Params) -> Scalar:
    """Euclidean norm of all leaves together, whose squares may overflow or vanish."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf), initial=0.0) for leaf in leaves]))
    unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    return unit * jnp.sqrt(sum(jnp.sum((leaf / unit) ** 2) for leaf in leaves))
