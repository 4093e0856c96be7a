"""What gradflow's own solvers have in common: diffrax solvers whose steps also say how much energy was dissipated.

A solver here is an ordinary diffrax solver: ``diffrax.diffeqsolve`` takes it as it takes Tsit5, with any ODETerm. Its
dense output is cubic Hermite interpolation. Along a gradient flow ``int ||f||^2 dt`` is the loss that was lost; a step
integrates it with the method's own quadrature, as if it were one more component of the state, and hands it on in the
dense information, where :mod:`gradflow.solvers.stepping` finds it.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from gradflow.types import Array, Params, Scalar


class EnergyHermite(diffrax.ThirdOrderHermitePolynomialInterpolation):
    """Cubic Hermite interpolation over a step, with the energy dissipated in it.

    ``k0, k1`` are the field at the ends times the step, `energy` is ``int ||f||^2 dt`` over the step.
    """

    energy: Scalar

    def __init__(self, *, t0: Any, t1: Any, y0: Params, y1: Params, k0: Params, k1: Params, energy: Scalar) -> None:
        super().__init__(t0=t0, t1=t1, y0=y0, y1=y1, k0=k0, k1=k1)
        self.energy = energy


class StepPolynomial(diffrax.AbstractLocalInterpolation):
    """The polynomial that a method of high order follows over a step: its dense output, as accurate as its steps.

    `polynomial` holds the coefficients of the powers of ``(t - t1) / (t1 - t0)`` along a leading axis, the highest
    power first; the rest is as in :class:`EnergyHermite`.
    """

    t0: Any  # type: ignore[misc]
    t1: Any  # type: ignore[misc]
    polynomial: Params
    energy: Scalar

    def __init__(
        self, *, t0: Any, t1: Any, y0: Params, y1: Params, k0: Params, k1: Params, energy: Scalar, polynomial: Params
    ) -> None:
        del y0, y1, k0, k1
        self.t0, self.t1, self.polynomial, self.energy = t0, t1, polynomial, energy

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Params:
        """The value at `t0`, or the increment from there to `t1`."""
        if t1 is not None:
            return jax.tree.map(lambda a, b: a - b, self.evaluate(t1), self.evaluate(t0))
        del left
        length = self.t1 - self.t0
        place = jnp.where(length == 0, 0.0, (t0 - self.t1) / jnp.where(length == 0, 1.0, length))
        return jax.tree.map(lambda rows: jnp.polyval(rows, place), self.polynomial)


class AbstractFlowSolver(diffrax.AbstractAdaptiveSolver):
    """A solver of gradflow's own for autonomous equations ``y' = f(y)``.

    Final subclasses give `order`, `error_order`, `init`, `step` and `real_stability_limit`: the largest c such that the
    method is stable for ``y' = -lambda y`` with every ``lambda h <= c``, as far as the caller has to respect it
    (infinity for a method that is stable at any step or sees to it itself).
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., EnergyHermite | StepPolynomial]] = EnergyHermite
    real_stability_limit: eqx.AbstractClassVar[float]

    def func(self, terms: Any, t0: Any, y0: Params, args: Any) -> Params:
        """The field at `y0`."""
        return terms.vf(t0, y0, args)


class FlatField(eqx.Module):
    """The field of a term on flat vectors, at one time: what the formulas of a step are written in."""

    value: Callable[[Any], Any]
    unravel: Callable[[Any], Params]
    flat: Float[Array, " n"]

    def __init__(self, terms: Any, time: Any, params: Params, args: Any) -> None:
        self.flat, unravel = ravel_pytree(params)
        self.unravel = unravel
        self.value = lambda vector: ravel_pytree(terms.vf(time, unravel(vector), args))[0]

    def derivative(self, at: Float[Array, " n"], direction: Float[Array, " n"]) -> Float[Array, " n"]:
        """The Jacobian at `at` times `direction`, without forming it."""
        return jax.jvp(self.value, (at,), (direction,))[1]


def dense_info(
    field: FlatField, step: Scalar, ends: tuple[Array, Array], speeds: tuple[Array, Array], energy: Scalar
) -> dict[str, Any]:
    """The dense information of a step between `ends`, with the field there and the energy dissipated in between."""
    unravel = field.unravel
    return {
        "y0": unravel(ends[0]),
        "y1": unravel(ends[1]),
        "k0": unravel(step * speeds[0]),
        "k1": unravel(step * speeds[1]),
        "energy": jnp.asarray(energy),
    }


def smooth_energy(step: Scalar, ends: tuple[Array, Array], speeds: tuple[Array, Array]) -> Scalar:
    """``int ||y'||^2 dt`` over a step, y the cubic that has these ends and speeds: of order 4.

    ``h (||d||^2 + ||a||^2 / 12 + ||b||^2 / 180)`` with ``d = (y1 - y0) / h``, ``a = f1 - f0`` and
    ``b = 3 (f0 + f1 - 2 d)``. Methods for stiff equations need it: at their stages the field is large though the
    trajectory is slow, and ``sum_i b_i ||f(Y_i)||^2`` is then nothing like the energy.
    """
    mean = (ends[1] - ends[0]) / step
    slope = speeds[1] - speeds[0]
    bend = 3.0 * (speeds[0] + speeds[1] - 2.0 * mean)
    square = lambda vector: jnp.dot(vector, vector)  # noqa: E731
    return step * (square(mean) + square(slope) / 12.0 + square(bend) / 180.0)
