"""Where a smooth piece of a kinked field ends inside an accepted step: located by the solver itself, to rounding.

A field with kinks is smooth between them, and each of its pieces can be continued smoothly beyond its end. So a step is
taken on the piece; when a guard of the piece is below zero at its end or inside it, the length of step at which the
first guard vanishes is sought, every trial a step of the same solver from the same state: the state at the end of the
piece has the solver's order, not that of an interpolant. What lies beyond is not decided here.
"""

import abc
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from gradflow.flow import AbstractFlow
from gradflow.types import Array, Params, Scalar

LOOKS_INSIDE = (0.25, 0.5, 0.75)
"""Fractions of a step at which it is also asked whether the piece was left: a dip between them goes unseen."""

MAX_NARROWINGS = 100
"""Times the bracket around the end of a piece is narrowed; ten are enough for a smooth guard."""

Stepped = tuple[Params, Any, Any]
"""Parameters, dense output and solver state after a step."""


class AbstractPiece(AbstractFlow):
    """A smooth field that holds as long as its guards do, and can be evaluated somewhat beyond.

    Final subclasses give `guards`: continuous functions of the parameters, none below zero inside the piece, with the
    sizes below which they are rounding. Forms of different pieces of one field are equal and their numbers are leaves,
    so that all of them share one compilation.
    """

    @abc.abstractmethod
    def guards(self, params: Params) -> tuple[Float[Array, " guards"], Float[Array, " guards"]]:
        """Values of the guards and their rounding errors."""


def cut(
    piece: AbstractPiece,
    solver: diffrax.AbstractSolver,
    step_of_length: Callable[[Scalar], Stepped],
    params: Params,
    step: Scalar,
    done: Stepped,
) -> tuple[Params, Any, Any, Scalar, Bool[Array, ""]]:
    """The step `done` from `params` as it is, or the shorter one that ends where the piece does; its length; and which.

    Accuracy: the guard that vanishes is as near zero as rounding lets it, or the length is right to rounding.
    """
    inside = solver.interpolation_cls(t0=jnp.zeros_like(step), t1=step, **done[1])
    fractions = jnp.asarray(LOOKS_INSIDE)
    points = [params, *(inside.evaluate(part * step) for part in fractions), done[0]]
    values, rounding = jax.vmap(piece.guards)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *points))
    outside = _outside((values, rounding))
    left = outside[1:-1].any(axis=1)
    early = jnp.where(left.any(), fractions[jnp.argmax(left)] * step, step)
    bracket = _Bracket(
        low=jnp.zeros_like(step),
        high=step,
        above=jnp.maximum(values[0], 0.0),
        below=values[-1],
        crossed=outside[-1],
        side=jnp.zeros((), jnp.int64),
        is_found=jnp.asarray(~outside[1:].any()),
        count=jnp.zeros((), jnp.int64),
        stepped=done,
    )
    bracket = jax.lax.while_loop(
        _goes_on, lambda b: _narrower(piece, step_of_length, early, b), bracket
    )  # fmt: skip
    return (*bracket.stepped, bracket.high, jnp.any(bracket.crossed))


class _Bracket(eqx.Module):
    """Lengths of step before and after the end of the piece, what the guards are there, and the step to `high`.

    `crossed` are the guards that have vanished before `high`.
    """

    low: Scalar
    high: Scalar
    above: Float[Array, " guards"]
    below: Float[Array, " guards"]
    crossed: Bool[Array, " guards"]
    side: Int[Array, ""]
    is_found: Bool[Array, ""]
    count: Int[Array, ""]
    stepped: Stepped


def _outside(guards: tuple[Array, Array]) -> Bool[Array, " guards"]:
    values, rounding = guards
    return ~(values >= -rounding)


def _goes_on(bracket: _Bracket) -> Bool[Array, ""]:
    is_wide = bracket.high - bracket.low > 4e-16 * bracket.high
    # What the interpolant said of the inside of the step need not be true of the step itself.
    is_real = bracket.crossed.any() | (bracket.count == 0)
    return ~bracket.is_found & is_real & is_wide & (bracket.count < MAX_NARROWINGS)


def _narrower(
    piece: AbstractPiece, step_of_length: Callable[[Scalar], Stepped], early: Scalar, bracket: _Bracket
) -> _Bracket:
    """The bracket after one more step, of a length chosen by false position with Illinois weights on every guard."""
    b = bracket
    middle = jnp.where((b.count == 0) & (early < b.high), early, _between(b))
    stepped = step_of_length(middle)
    values, rounding = piece.guards(stepped[0])
    outside = _outside((values, rounding))
    is_outside = outside.any()
    is_found = ~is_outside & jnp.any(b.crossed & (values <= rounding))
    side = jnp.where(is_outside, 1, -1)
    weight = jnp.where(side == b.side, 0.5, 1.0)
    ends = is_outside | is_found
    return _Bracket(
        low=jnp.where(is_outside, b.low, middle),
        high=jnp.where(ends, middle, b.high),
        above=jnp.where(is_outside, weight * b.above, jnp.maximum(values, 0.0)),
        below=jnp.where(is_outside, values, weight * b.below),
        crossed=jnp.where(is_outside, outside, b.crossed),
        side=side,
        is_found=is_found,
        count=b.count + 1,
        stepped=jax.tree.map(lambda new, old: jnp.where(ends, new, old), stepped, b.stepped),
    )


def _between(bracket: _Bracket) -> Scalar:
    """The first root of the chords of the guards that are crossed, or, every third time, the middle."""
    low, high, above, below = bracket.low, bracket.high, bracket.above, bracket.below
    middle = 0.5 * (low + high)
    roots = jnp.where(above > 0, low + (high - low) * above / (above - below), middle)
    first = jnp.min(jnp.where(bracket.crossed, roots, high))
    return jnp.where((bracket.count % 3 == 2) | ~(first > low) | ~(first < high), middle, first)
