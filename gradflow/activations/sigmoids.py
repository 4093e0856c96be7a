"""Sigmoid activations of paper 003, section 5, each with its potential in closed form."""

import math

import jax
import jax.numpy as jnp
from jax.scipy import special

from gradflow.activations.activation import AbstractActivation, Values

SERIES_TERMS = 1000
"""Terms of the potential of erf: all positive, enough until it exceeds every number at ``|x| = 26.6``."""


class AbstractSigmoid(AbstractActivation):
    """An odd, strictly increasing activation with finite limits; final subclasses give the limit and the rest."""

    @property
    def is_odd(self) -> bool:
        """Always."""
        return True

    @property
    def is_injective(self) -> bool:
        """Always."""
        return True

    @property
    def is_sigmoid(self) -> bool:
        """Definition 2 of paper 003 holds."""
        return True


class Tanh(AbstractSigmoid):
    """``tanh x`` with ``Sigma = sinh(x)^2 / 2``."""

    @property
    def name(self) -> str:
        """``"tanh"``."""
        return "tanh"

    def __call__(self, x: Values) -> Values:
        """``tanh x``."""
        return jnp.tanh(x)

    def derivative(self, x: Values) -> Values:
        """``1 / cosh(x)^2``, to full relative accuracy in the tails."""
        decay = jnp.exp(-2 * jnp.abs(x))
        return 4 * decay / (1 + decay) ** 2

    def potential(self, x: Values) -> Values:
        """``sinh(x)^2 / 2``, infinite beyond ``|x| = 355.2``."""
        return 0.5 * jnp.sinh(x) ** 2

    def log_potential(self, x: Values) -> Values:
        """``2 |x| + 2 log(1 - e^{-2|x|}) - 3 log 2``."""
        size = jnp.abs(x)
        return 2 * (size + jnp.log(-jnp.expm1(-2 * size))) - 3 * math.log(2)

    def inverse(self, y: Values) -> Values:
        """``artanh y``."""
        return jnp.arctanh(_inside(y, 1.0))

    @property
    def range(self) -> tuple[float, float]:
        """(-1, 1)."""
        return (-1.0, 1.0)


class Arctan(AbstractSigmoid):
    """``arctan x`` with ``Sigma = (x + x^3/3) arctan x - x^2/6 - log(1 + x^2)/3``."""

    @property
    def name(self) -> str:
        """``"arctan"``."""
        return "arctan"

    def __call__(self, x: Values) -> Values:
        """``arctan x``."""
        return jnp.arctan(x)

    def derivative(self, x: Values) -> Values:
        """``1 / (1 + x^2)``."""
        return 1 / (1 + x * x)

    def potential(self, x: Values) -> Values:
        """``(x + x^3/3) arctan x - x^2/6 - log(1 + x^2)/3``, by its series near 0, where this cancels."""
        square = x * x
        closed = (x + x * square / 3) * jnp.arctan(x) - square / 6 - jnp.log1p(square) / 3
        # coefficients of int (u^2 + 2/3 u^4 - 2/15 u^6 + 2/35 u^8 - ...) / u du
        small = jnp.where(square < 1e-2, square, 0.0)
        series = jnp.zeros_like(square)
        for k in range(12, 0, -1):
            term = 0.5 if k == 1 else (-1) ** k * 2 / ((2 * k - 1) * (2 * k - 3)) / (2 * k)
            series = (series + term) * small
        return jnp.where(square < 1e-2, series, closed)

    def inverse(self, y: Values) -> Values:
        """``tan y``."""
        return jnp.tan(_inside(y, math.pi / 2))

    @property
    def range(self) -> tuple[float, float]:
        """(-pi/2, pi/2)."""
        return (-math.pi / 2, math.pi / 2)


class CenteredLogistic(AbstractSigmoid):
    """``1 / (1 + e^{-x}) - 1/2``, that is ``tanh(x/2) / 2``, with ``Sigma = cosh x - 1``."""

    @property
    def name(self) -> str:
        """``"logistic"``."""
        return "logistic"

    def __call__(self, x: Values) -> Values:
        """``tanh(x/2) / 2``."""
        return 0.5 * jnp.tanh(0.5 * x)

    def derivative(self, x: Values) -> Values:
        """``1 / (4 cosh(x/2)^2)``, to full relative accuracy in the tails."""
        decay = jnp.exp(-jnp.abs(x))
        return decay / (1 + decay) ** 2

    def potential(self, x: Values) -> Values:
        """``cosh x - 1 = 2 sinh(x/2)^2``, infinite beyond ``|x| = 710.4``."""
        return 2 * jnp.sinh(0.5 * x) ** 2

    def log_potential(self, x: Values) -> Values:
        """``|x| + 2 log(1 - e^{-|x|}) - log 2``."""
        size = jnp.abs(x)
        return size + 2 * jnp.log(-jnp.expm1(-size)) - math.log(2)

    def inverse(self, y: Values) -> Values:
        """``2 artanh(2 y)``."""
        return 2 * jnp.arctanh(2 * _inside(y, 0.5))

    @property
    def range(self) -> tuple[float, float]:
        """(-1/2, 1/2)."""
        return (-0.5, 0.5)


class Erf(AbstractSigmoid):
    """``erf x`` with ``Sigma = (x^2/2) 2F2(1, 1; 3/2, 2; x^2)``."""

    @property
    def name(self) -> str:
        """``"erf"``."""
        return "erf"

    def __call__(self, x: Values) -> Values:
        """``erf x``."""
        return special.erf(x)

    def derivative(self, x: Values) -> Values:
        """``2 / sqrt(pi) e^{-x^2}``."""
        return 2 / math.sqrt(math.pi) * jnp.exp(-x * x)

    def potential(self, x: Values) -> Values:
        """``sum_k c_k x^{2k+2}`` with ``c_0 = 1/2`` and ``c_k / c_{k-1} = k / ((k + 1/2) (k + 1))``, all positive."""
        square = jnp.minimum(jnp.asarray(x) ** 2, 1e3)

        def add(k: jax.Array, carry: tuple[Values, Values]) -> tuple[Values, Values]:
            term, total = carry
            term = term * square * (k / ((k + 0.5) * (k + 1.0)))
            return term, total + term

        first = 0.5 * square
        return jax.lax.fori_loop(1, SERIES_TERMS, add, (first, first))[1]

    def log_potential(self, x: Values) -> Values:
        """From the series, and beyond ``|x| = 20`` from ``(sqrt(pi)/2) int e^{u^2} du`` and its asymptotic series."""
        square = jnp.maximum(jnp.asarray(x) ** 2, 400.0)
        tail = sum(float(math.prod(range(1, 2 * k, 2))) / (2 * square) ** k for k in range(1, 9))
        far = square + jnp.log1p(tail) + 0.5 * math.log(math.pi) - math.log(4) - 0.5 * jnp.log(square)
        return jnp.where(jnp.abs(x) > 20, far, jnp.log(self.potential(jnp.clip(x, -20, 20))))

    def inverse(self, y: Values) -> Values:
        """``erfinv y``."""
        return special.erfinv(_inside(y, 1.0))

    @property
    def range(self) -> tuple[float, float]:
        """(-1, 1)."""
        return (-1.0, 1.0)


class Algebraic(AbstractSigmoid):
    """``x / sqrt(1 + x^2)`` with ``Sigma = x^2/2 + x^4/4``."""

    @property
    def name(self) -> str:
        """``"algebraic"``."""
        return "algebraic"

    def __call__(self, x: Values) -> Values:
        """``x / sqrt(1 + x^2)``, without overflow."""
        return x / jnp.hypot(1.0, x)

    def derivative(self, x: Values) -> Values:
        """``(1 + x^2)^{-3/2}``."""
        return jnp.hypot(1.0, x) ** -3

    def potential(self, x: Values) -> Values:
        """``x^2/2 + x^4/4``."""
        return 0.5 * x**2 + 0.25 * x**4

    def inverse(self, y: Values) -> Values:
        """``y / sqrt(1 - y^2)``."""
        inside = _inside(y, 1.0)
        return inside / jnp.sqrt((1 - inside) * (1 + inside))

    @property
    def range(self) -> tuple[float, float]:
        """(-1, 1)."""
        return (-1.0, 1.0)


class Softsign(AbstractSigmoid):
    """``x / (1 + |x|)`` with ``Sigma = x^2/2 + |x|^3/3``.

    Only once differentiable at 0, so that Definition 2 of paper 003 fails; the invariant holds nevertheless.
    """

    @property
    def name(self) -> str:
        """``"softsign"``."""
        return "softsign"

    def __call__(self, x: Values) -> Values:
        """``x / (1 + |x|)``."""
        return x / (1 + jnp.abs(x))

    def derivative(self, x: Values) -> Values:
        """``(1 + |x|)^{-2}``."""
        return (1 + jnp.abs(x)) ** -2

    def potential(self, x: Values) -> Values:
        """``x^2/2 + |x|^3/3``."""
        return 0.5 * x**2 + jnp.abs(x) ** 3 / 3

    def inverse(self, y: Values) -> Values:
        """``y / (1 - |y|)``."""
        inside = _inside(y, 1.0)
        return inside / (1 - jnp.abs(inside))

    @property
    def range(self) -> tuple[float, float]:
        """(-1, 1)."""
        return (-1.0, 1.0)

    @property
    def is_sigmoid(self) -> bool:
        """Not in the sense of Definition 2: the second derivative jumps at 0."""
        return False


def _inside(y: Values, limit: float) -> Values:
    """`y` where it lies strictly inside (-limit, limit), NaN elsewhere."""
    return jnp.where(jnp.abs(y) < limit, y, jnp.nan)
