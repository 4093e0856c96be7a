"""A user's own sigmoid, checked against Definition 2 of paper 003, with its potential by quadrature."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gradflow import checks
from gradflow.activations.activation import AbstractActivation, Values
from gradflow.precision import in_double

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
PANELS = 32
GRID = np.concatenate([-np.geomspace(1e3, 1e-3, 121), [0.0], np.geomspace(1e-3, 1e3, 121)])
LIMIT_AT = 1e8
SMALLEST_SLOPE = 1e-6


class Sigmoid(AbstractActivation):
    """The sigmoid of a function of the user's.

    Args:
        function: sigma, a JAX function of one number that maps over arrays entry by entry.
        name: what to call it.
        potential: Sigma in closed form; by quadrature when None.
        inverse: sigma^{-1} in closed form; by bisection when None.

    Raises:
        InputError: a condition of Definition 2 fails on a grid from 1e-3 to 1e3: ``x sigma(x) > 0`` off 0 (s1),
            ``sigma' > 0`` as far as double precision can tell (s2), finite limits (s3). That is a test, no proof.

    Accuracy: the potential by quadrature is right to about 1e-9 relative, and NaN where sigma' is less than 1e-6 of
        sigma'(0): there a derivative by automatic differentiation has lost its digits (give `potential` in closed form
        for states so far out). The inverse is right to 1e-15 of the range.

    Source: paper 003, Definition 2 and eq. (27).
    """

    function: Callable[[Values], Values] = eqx.field(static=True)
    given_name: str = eqx.field(static=True)
    closed_potential: Callable[[Values], Values] | None = eqx.field(static=True)
    closed_inverse: Callable[[Values], Values] | None = eqx.field(static=True)
    limits: tuple[float, float] = eqx.field(static=True)

    def __init__(
        self,
        function: Callable[[Values], Values],
        name: str = "own",
        *,
        potential: Callable[[Values], Values] | None = None,
        inverse: Callable[[Values], Values] | None = None,
    ):
        checks.require(callable(function), "function", "be callable", type(function).__name__)
        self.function, self.given_name = function, name
        self.closed_potential, self.closed_inverse = potential, inverse
        self.limits = _checked_limits(function)

    @property
    def name(self) -> str:
        """As given."""
        return self.given_name

    def __call__(self, x: Values) -> Values:
        """sigma(x)."""
        return self.function(jnp.asarray(x))

    def potential(self, x: Values) -> Values:
        """Sigma(x), the closed form or composite Gauss-Legendre quadrature of ``sigma / sigma'``."""
        if self.closed_potential is not None:
            return self.closed_potential(x)
        x = jnp.asarray(x)
        shares = (jnp.arange(PANELS)[:, None] + 0.5 * (1 + NODES)) / PANELS
        points = x[..., None] * shares.ravel()
        quotients = self(points) / self.derivative(points)
        value = x * jnp.sum(quotients * np.tile(WEIGHTS, PANELS), axis=-1) / (2 * PANELS)
        is_known = self.derivative(x) > SMALLEST_SLOPE * self.derivative(jnp.zeros_like(x))
        return jnp.where(is_known, value, jnp.nan)

    def inverse(self, y: Values) -> Values:
        """The closed form, or bisection between -1e8 and 1e8; NaN outside the range."""
        y = jnp.asarray(y)
        low, high = self.limits
        is_inside = (y > low) & (y < high)
        if self.closed_inverse is not None:
            return jnp.where(is_inside, self.closed_inverse(jnp.where(is_inside, y, 0.0)), jnp.nan)

        def halve(_: jax.Array, bracket: tuple[Values, Values]) -> tuple[Values, Values]:
            below, above = bracket
            middle = 0.5 * (below + above)
            is_low = self(middle) < y
            return jnp.where(is_low, middle, below), jnp.where(is_low, above, middle)

        ends = (jnp.full_like(y, -LIMIT_AT), jnp.full_like(y, LIMIT_AT))
        below, above = jax.lax.fori_loop(0, 90, halve, ends)
        return jnp.where(is_inside, 0.5 * (below + above), jnp.nan)

    @property
    def range(self) -> tuple[float, float]:
        """The limits, taken at -1e8 and 1e8."""
        return self.limits

    @property
    def is_sigmoid(self) -> bool:
        """As far as the grid shows."""
        return True

    @property
    def is_injective(self) -> bool:
        """Yes, by (s2)."""
        return True


@in_double
def _checked_limits(function: Callable[[Values], Values]) -> tuple[float, float]:
    values = np.asarray(jax.vmap(function)(jnp.asarray(GRID)))
    checks.require(values.shape == GRID.shape, "function", "return a number for a number", values.shape[1:])
    checks.require(bool(np.isfinite(values).all()), "function", "be finite", "a value that is not")
    wrong = GRID[(GRID * values < 0) | ((values == 0) != (GRID == 0))]
    checks.require(wrong.size == 0, "function", "satisfy (s1), x sigma(x) > 0 off 0", _at(wrong))
    slopes = np.asarray(jax.vmap(jax.grad(function))(jnp.asarray(GRID)))
    # Far out a derivative may underflow; there sigma must at least not fall.
    wrong = GRID[(slopes < 0) | ((slopes <= 0) & (np.abs(GRID) < 5)) | ~np.isfinite(slopes)]
    checks.require(wrong.size == 0, "function", "satisfy (s2), sigma' > 0", _at(wrong))
    ends = np.asarray(jax.vmap(function)(jnp.asarray([-LIMIT_AT, LIMIT_AT])))
    largest = float(np.abs(values).max())
    is_bounded = bool(np.isfinite(ends).all()) and float(np.abs(ends).max()) <= 2 * largest
    checks.require(
        is_bounded, "function", "satisfy (s3), finite limits", f"{ends[1]:.3g} at 1e8 after {values[-1]:.3g} at 1e3",
        "For homogeneous activations there are LeakyReLU and SquaredReLU.",
    )  # fmt: skip
    return float(ends[0]), float(ends[1])


def _at(points: np.ndarray) -> str:
    return f"a violation at x = {points[0]:.4g}" if points.size else "no violation"
