"""Backward differences of a trajectory on equal steps: predicting, changing the step, choosing the order.

Row j of a table holds ``nabla^j y_n`` on steps of one length. At order k the first k + 1 rows are a polynomial through
the last points; the two rows behind them tell what the next orders would do. Everything is written for the largest
order with masks, so that the order may be a traced number. Knows neither fields nor equations.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from gradflow.types import Array, Scalar

MAX_ORDER = 5
"""Largest order: the formula of order 6 gained nothing on networks, that of order 7 is not zero-stable."""

ROWS = MAX_ORDER + 3

KAPPA = np.array([0.0, -0.1850, -1 / 9, -0.0823, -0.0415, 0.0])
"""How far the formulas of orders 1 to 5 are from the BDF. Source: Shampine and Reichelt 1997, table 1 (NDF)."""

GAMMA = np.array([0.0, *np.cumsum(1.0 / np.arange(1, MAX_ORDER + 1))])
"""``gamma_k = sum_{j <= k} 1 / j``."""

ALPHA = (1.0 - KAPPA) * GAMMA
"""A corrected point is the predicted one plus ``h / alpha_k`` times the field, less what is known before."""

ERROR_CONSTANT = KAPPA * GAMMA + 1.0 / np.arange(1, MAX_ORDER + 2)
"""The local error of order k is this times ``nabla^{k+1} y``."""

SAFETY = 0.9
"""What a controller takes of the step that it thinks best, diffrax's default; told to it where a step is to stay."""

GROWTH = 1.3
"""A step grows by at least that much, or stays: a change costs a factorisation and forgets the next orders."""

EQUAL = 1e-6
"""Relative difference below which two steps are of equal length."""


class Table(NamedTuple):
    """Differences for steps of `length`, the order in use, and how many steps of that length and order were taken."""

    differences: Float[Array, "rows n"]
    order: Int[Array, ""]
    length: Scalar
    num_equal: Int[Array, ""]


class Choice(NamedTuple):
    """The order to go on with, whether step or order change, and the step's error as a controller is to see it."""

    order: Int[Array, ""]
    is_change: Bool[Array, ""]
    told: Scalar
    error: Scalar


def _powers() -> np.ndarray:
    """Coefficients of the basis polynomials in powers of s, the highest first."""
    basis = [np.poly1d([1.0])]
    for m in range(MAX_ORDER):
        basis.append(basis[-1] * np.poly1d([1.0, m]) / (m + 1))
    return np.array([[p.coeffs[::-1][i] if i <= p.order else 0.0 for p in basis] for i in range(MAX_ORDER, -1, -1)])


_POWERS = _powers()


def polynomial(table: Table) -> Float[Array, "powers n"]:
    """The polynomial through the last points, as :class:`gradflow.solvers.base.StepPolynomial` wants it.

    Formula: ``y(t) = sum_j nabla^j y_n prod_{m < j} (s + m) / (m + 1)`` with ``s = (t - t1) / h``.
    """
    return jnp.asarray(_POWERS) @ used(table)[: MAX_ORDER + 1]


def begun(point: Float[Array, " n"], speed: Float[Array, " n"], length: Scalar) -> Table:
    """The table of order 1 at a point with a velocity."""
    rows = jnp.zeros((ROWS, point.size), point.dtype).at[0].set(point).at[1].set(length * speed)
    return Table(rows, jnp.ones((), jnp.int32), jnp.asarray(length, point.dtype), jnp.zeros((), jnp.int32))


def used(table: Table) -> Float[Array, "rows n"]:
    """The differences up to the order, zeros behind them."""
    return jnp.where((np.arange(ROWS) <= table.order)[:, None], table.differences, 0.0)


def changed(table: Table, length: Scalar) -> Table:
    """The table for steps of another length: the same polynomial, read at other points.

    Source: Shampine and Reichelt 1997, section 2.
    """
    ratio = length / table.length
    is_equal = jnp.abs(ratio - 1.0) < EQUAL
    matrix = _products(ratio) @ _products(jnp.ones_like(ratio))
    rows = jnp.where((np.arange(ROWS) <= table.order)[:, None], matrix.T @ used(table), 0.0)
    behind = jnp.where(is_equal, table.differences, 0.0)
    rows = jnp.where((np.arange(ROWS) <= table.order)[:, None], rows, behind)
    return Table(rows, table.order, length, jnp.where(is_equal, table.num_equal, 0))


def _products(ratio: Scalar) -> Float[Array, "rows rows"]:
    """``prod_{l <= i} (l - 1 - ratio j) / l``, row 0 all ones."""
    i, j = np.arange(1, ROWS)[:, None], np.arange(ROWS)
    below = jnp.cumprod((i - 1 - ratio * j) / i, axis=0)
    return jnp.concatenate([jnp.ones((1, ROWS), below.dtype), below])


def advanced(table: Table, correction: Float[Array, " n"]) -> Table:
    """The table one step on, where the point is the predicted one plus `correction`."""
    place = np.arange(ROWS)[:, None]
    sums = jnp.asarray(np.triu(np.ones((ROWS, ROWS)))) @ used(table) + correction
    behind = jnp.where(place == table.order + 2, correction - table.differences[table.order + 1], 0.0)
    rows = jnp.where(place <= table.order + 1, sums, behind)
    return table._replace(differences=rows, num_equal=table.num_equal + 1)


def chosen(table: Table, correction: Float[Array, " n"], scale: Float[Array, " n"]) -> Choice:
    """The order after a step to `table` by a correction; errors count per entry of `scale`.

    A step whose error r is below 1 is kept, and the next one may be ``min_j r_j^{-1/(j+1)}`` times as long, j the
    present order and its neighbours. Orders are compared after k + 1 equal steps only: before, the differences behind
    the order are not those of the trajectory.
    """
    order = table.order
    constants = jnp.asarray(ERROR_CONSTANT)
    error = _size(constants[order] * correction / scale)
    lower = _size(constants[order - 1] * table.differences[order] / scale)
    higher = _size(constants[jnp.minimum(order + 1, MAX_ORDER)] * table.differences[order + 2] / scale)
    sizes = jnp.stack(
        [jnp.where(order > 1, lower, jnp.inf), error, jnp.where(order < MAX_ORDER, higher, jnp.inf)]
    )  # fmt: skip
    roots = sizes ** (1.0 / (order + jnp.arange(3)))
    roots = jnp.where(jnp.isnan(roots), jnp.inf, roots)
    best = jnp.argmin(roots)
    grows = GROWTH * roots[best] <= SAFETY
    is_due = (table.num_equal >= order + 1) & (error < 1)
    is_change = is_due & (grows | (best == 0))
    told = jnp.where(error < 1, jnp.where(is_change & grows, roots[best], SAFETY), roots[1])
    return Choice(jnp.where(is_change, order + best - 1, order).astype(order.dtype), is_change, told, error)


def _size(vector: Float[Array, " n"]) -> Scalar:
    return jnp.sqrt(jnp.mean(vector**2))
