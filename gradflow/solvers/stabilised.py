"""Stabilised explicit Runge-Kutta methods: explicit steps whose stability grows with the square of their stages.

A gradient flow's Jacobian is symmetric, so its stiffness lies on the negative real axis, and there a method with s
stages can be stable up to ``h rho ~ s^2``: rho h / s per evaluation of the field instead of the constant 3 of Tsit5,
without a linear system. The stages obey a three-term recurrence; each step chooses their number from the spectral
radius, which is estimated on the way (:mod:`gradflow.solvers.spectral_radius`). One compilation serves all numbers.

Stages are kept as differences from the state at the beginning, so that rounding is relative to the step's length.
"""

import abc
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from gradflow import checks
from gradflow.solvers.base import AbstractFlowSolver, FlatField, dense_info
from gradflow.solvers.spectral_radius import SMALLEST_FALL, SpectralRadius, first_estimate, updated
from gradflow.types import Array, Params, Scalar

SAFETY = 1.1
"""The stability interval of a step covers that many times the estimated radius."""

EVALUATIONS_PER_PRODUCT = 25
"""Evaluations of the field between two Jacobian products. A product costs about two and a half evaluations."""

SECOND_THOUGHTS = 5
"""Jacobian products taken when a step has shown that the radius was too small."""

DAMPING = 2 / 13
"""eps of RKC: by about a third of it the stability polynomial stays below 1."""

_TERMS = 8

MOST_STAGES = 2000
"""Largest number of stages a method can be allowed; rounding then costs some ``s^2 eps`` of a step's length."""

LARGE_ENOUGH = 1e-8
"""Length of a step, relative to the state, from which on differences of the field along it are more than rounding."""


class StabilisedState(eqx.Module):
    """What a step hands to the next: the field at its end, the radius, the evaluations since the last product."""

    speed: Float[Array, " n"]
    estimate: SpectralRadius | None
    num_evaluations: Int[Array, ""]


class _Sweep(eqx.Module):
    """Stages j and j - 1 of a step: differences from the start, energies, and the field at stage j."""

    stage: Int[Array, ""]
    difference: Float[Array, " n"]
    difference_before: Float[Array, " n"]
    speed: Float[Array, " n"]
    energy: Scalar
    energy_before: Scalar


class _Attempt(eqx.Module):
    """A sweep with the radius it relied on, and whether the field along it has shown a larger one."""

    sweep: _Sweep
    estimate: SpectralRadius
    num_stages: Int[Array, ""]
    num_products: Int[Array, ""]
    num_evaluations: Int[Array, ""]
    is_unsafe: Bool[Array, ""]
    count: Int[Array, ""]


class AbstractStabilised(AbstractFlowSolver):
    """A three-term stabilised method of order 2. Final subclasses give `stability_interval` and `coefficients`.

    Args:
        spectral_radius: a bound on the modulus of the Jacobian's eigenvalues that holds all along; None estimates it,
            at a cost of about a tenth of the evaluations.
        min_stages, max_stages: a step takes the fewest stages in this range that are stable; a step that would need
            more than `max_stages` is not taken and returns an infinite error.

    Error estimate: ``0.8 (y0 - y1) + 0.4 h (f0 + f1)``, of order ``h^3``.

    A step that turns out to be unsafe (``||f1 - f0|| / ||y1 - y0||``, a lower bound of the radius met on the way, lies
    beyond the stability interval) is repeated once with a better estimate, then refused by an infinite error.

    Not for fields whose Jacobian has large imaginary eigenvalues: the stability region is a strip along the real axis.
    """

    spectral_radius: float | None = None
    min_stages: int = 2
    max_stages: int = 1000

    real_stability_limit: ClassVar[float] = float("inf")
    stage_numbers: ClassVar[range] = range(2, MOST_STAGES + 1)

    def __check_init__(self) -> None:
        least = checks.integer("min_stages", self.min_stages, at_least=2)
        most = checks.integer("max_stages", self.max_stages, at_least=least)
        allowed = self.stage_numbers
        checks.require(
            any(least <= number <= most for number in allowed), "max_stages",
            f"leave a choice among {allowed[0]}, {allowed[1]}, ... {allowed[-1]} stages", f"{least} to {most}",
        )  # fmt: skip
        if self.spectral_radius is not None:
            checks.real("spectral_radius", self.spectral_radius, at_least=0.0)

    @abc.abstractmethod
    def stability_interval(self, num_stages: Any) -> Any:
        """beta: the method is stable for ``y' = -lambda y`` with every ``0 <= lambda h <= beta``."""

    @abc.abstractmethod
    def coefficients(self, stage: Any, num_stages: Any) -> tuple[Any, Any, Any, Any]:
        """``mu, nu, mu~, gamma~`` of the recurrence for stage ``j >= 1`` of ``num_stages``.

        Formula: ``D_j = mu D_{j-1} + nu D_{j-2} + h mu~ f(Y_{j-1}) + h gamma~ f(Y_0)``, ``Y_j = Y_0 + D_j``,
        ``D_0 = D_{-1} = 0``.
        """

    def order(self, terms: Any) -> int:
        """2."""
        del terms
        return 2

    def error_order(self, terms: Any) -> float:
        """3: the estimate is ``O(h^3)``."""
        del terms
        return 3.0

    def init(self, terms: Any, t0: Any, t1: Any, y0: Params, args: Any) -> StabilisedState:
        """The field at the start and a first estimate of the radius."""
        del t1
        field = FlatField(terms, t0, y0, args)
        speed = field.value(field.flat)
        counter = jnp.zeros((), int)
        if self.spectral_radius is not None:
            return StabilisedState(speed, None, counter)
        estimate = first_estimate(lambda v: field.derivative(field.flat, v), speed)
        return StabilisedState(speed, estimate, counter)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Params, args: Any, solver_state: StabilisedState, made_jump: Any
    ) -> tuple[Params, Params, dict[str, Any], StabilisedState, Any]:
        """One step; see :meth:`diffrax.AbstractSolver.step`."""
        # The control is negative where diffrax integrates backwards in time.
        field, step = FlatField(terms, t0, y0, args), jnp.asarray(terms.contr(t0, t1))
        state = _after_jump(field, solver_state, made_jump)
        attempt = self._attempt(field, step, state)
        sweep = attempt.sweep
        end = field.flat + sweep.difference
        error = 0.4 * step * (state.speed + sweep.speed) - 0.8 * sweep.difference
        is_sound = (attempt.num_stages > 0) & ~attempt.is_unsafe & jnp.all(jnp.isfinite(error))
        dense = dense_info(field, step, (field.flat, end), (state.speed, sweep.speed), sweep.energy)
        estimate = None if state.estimate is None else attempt.estimate
        new_state = StabilisedState(sweep.speed, estimate, attempt.num_evaluations)
        error = jnp.where(is_sound, error, jnp.inf)
        return field.unravel(end), field.unravel(error), dense, new_state, diffrax.RESULTS.successful

    def _attempt(self, field: FlatField, step: Scalar, state: StabilisedState) -> _Attempt:
        """The stages of a step, taken a second time where the first has shown that the radius was too small."""
        length = jnp.abs(step)
        stages, intervals = self._choices()
        is_fixed = state.estimate is None
        least = jnp.asarray(self.spectral_radius if is_fixed else 0.0, step.dtype)
        estimate = SpectralRadius(state.speed, least) if state.estimate is None else state.estimate

        def attempt(last: _Attempt) -> _Attempt:
            estimate, safety = last.estimate, 1.0
            if not is_fixed:
                fall = jnp.where(last.count > 0, 1.0, SMALLEST_FALL)
                product = lambda v: field.derivative(field.flat, v)  # noqa: E731
                estimate = updated(product, estimate, last.num_products, fall * estimate.radius)
                safety = SAFETY
            choice = jnp.sum(intervals < length * safety * estimate.radius)
            num_stages, interval = stages[choice], intervals[choice]
            sweep = self._sweep(field, step, state.speed, num_stages)
            is_unsafe = ~(length * _radius_seen(field, state.speed, sweep) <= interval * (1 + 1e-9))
            used = last.num_evaluations * (last.num_products == 0) + num_stages
            return _Attempt(
                sweep=sweep,
                estimate=SpectralRadius(_leading(is_unsafe, sweep, estimate), estimate.radius),
                num_stages=num_stages,
                num_products=jnp.where(is_unsafe, SECOND_THOUGHTS, 0),
                num_evaluations=used,
                is_unsafe=is_unsafe,
                count=last.count + 1,
            )

        due = jnp.minimum(state.num_evaluations // EVALUATIONS_PER_PRODUCT, 0 if is_fixed else SECOND_THOUGHTS)
        zero = jnp.zeros((), int)
        begin = _Attempt(
            _begun(field, state.speed), estimate, zero, due, state.num_evaluations, jnp.ones((), bool), zero
        )
        most = 1 if is_fixed else 2
        return jax.lax.while_loop(lambda a: a.is_unsafe & (a.count < most), attempt, begin)

    def _sweep(self, field: FlatField, step: Scalar, speed: Float[Array, " n"], num_stages: Int[Array, ""]) -> _Sweep:
        """All stages of a step; it ends early where the field is not finite."""
        square = _sum_of_squares(speed)

        def next_stage(sweep: _Sweep) -> _Sweep:
            stage = sweep.stage + 1
            mu, nu, slope, slope_first = self.coefficients(stage.astype(step.dtype), num_stages.astype(step.dtype))
            difference = (
                mu * sweep.difference
                + nu * sweep.difference_before
                + (step * slope) * sweep.speed
                + (step * slope_first) * speed
            )
            energy = (
                mu * sweep.energy
                + nu * sweep.energy_before
                + jnp.abs(step) * (slope * _sum_of_squares(sweep.speed) + slope_first * square)
            )
            value = field.value(field.flat + difference)
            return _Sweep(stage, difference, sweep.difference, value, energy, sweep.energy)

        return jax.lax.while_loop(
            lambda s: (s.stage < num_stages) & jnp.isfinite(s.energy), next_stage, _begun(field, speed)
        )

    def _choices(self) -> tuple[Int[Array, " choices"], Float[Array, " choices"]]:
        """Numbers of stages with their stability intervals, then 0 for a step that no number of stages can take."""
        numbers = np.asarray([s for s in self.stage_numbers if self.min_stages <= s <= self.max_stages])
        intervals = np.append(self.stability_interval(numbers.astype(float)), np.inf)
        return jnp.asarray(np.append(numbers, 0)), jnp.asarray(intervals)


class RKC2(AbstractStabilised):
    """Runge-Kutta-Chebyshev method of order 2 with damping: stable up to ``h rho ~ 0.65 (s^2 - 1)``.

    Formula: ``P_s(z) = a_s + b_s T_s(w0 + w1 z)`` with ``w0 = 1 + eps / s^2``, ``eps = 2/13``,
    ``w1 = T_s'(w0) / T_s''(w0)``, ``b_j = T_j''(w0) / T_j'(w0)^2`` (``b_0 = b_1 = b_2``), ``a_j = 1 - b_j T_j(w0)``.
    Its interval is ``(w0 + 1) / w1``, where the argument of T_s is -1; in it ``|P_s| <= 1 - eps / 3`` but near z = 0.

    Source: B. P. Sommeijer, L. F. Shampine, J. G. Verwer, RKC: an explicit solver for parabolic PDEs, 1998.
    """

    def stability_interval(self, num_stages: Any) -> Any:
        """``(w0 + 1) / w1``."""
        excess, w1 = _chebyshev_shift(num_stages)
        return (2 + excess) / w1

    def coefficients(self, stage: Any, num_stages: Any) -> tuple[Any, Any, Any, Any]:
        """``2 b_j w0 / b_{j-1}``, ``-b_j / b_{j-2}``, ``2 b_j w1 / b_{j-1}``, ``-a_{j-1} mu~_j``."""
        excess, w1 = _chebyshev_shift(num_stages)
        weight = lambda j: _chebyshev_weight(jnp.maximum(j, 2.0), excess)  # noqa: E731
        now, before, second = weight(stage), weight(stage - 1), weight(stage - 2)
        ratio = now / before
        slope = 2 * w1 * ratio
        shift = 1 - before * _chebyshev_sum(stage - 1, excess, 0)
        return _from_second(stage, (2 * (1 + excess) * ratio, -now / second, slope, -shift * slope), now * w1)


class RKL2(AbstractStabilised):
    """Runge-Kutta-Legendre method of order 2: stable up to ``h rho = (s^2 + s - 2) / 2``, with odd numbers of stages.

    Formula: ``P_s(z) = a_s + b_s L_s(1 + w1 z)``, L the Legendre polynomials, ``w1 = 4 / (s^2 + s - 2)``,
    ``b_j = (j^2 + j - 2) / (2 j (j + 1))`` (``b_0 = b_1 = b_2 = 1/3``), ``a_j = 1 - b_j``.

    Inside the interval P_s is near 1/2 and positive, without a damping parameter; its error constant is 1/18 against
    1/15 of :class:`RKC2`, and it takes 1.14 times as many stages.

    Source: C. D. Meyer, D. S. Balsara, T. D. Aslam, A stabilized Runge-Kutta-Legendre method for explicit
    super-time-stepping of parabolic and mixed equations, 2014.
    """

    stage_numbers: ClassVar[range] = range(3, MOST_STAGES + 1, 2)

    def stability_interval(self, num_stages: Any) -> Any:
        """``(s^2 + s - 2) / 2``."""
        return (num_stages**2 + num_stages - 2) / 2

    def coefficients(self, stage: Any, num_stages: Any) -> tuple[Any, Any, Any, Any]:
        """``(2j-1) b_j / (j b_{j-1})``, ``-(j-1) b_j / (j b_{j-2})``, ``mu_j w1``, ``-a_{j-1} mu~_j``."""
        w1 = 4 / (num_stages**2 + num_stages - 2)
        now, before, second = _legendre_weight(stage), _legendre_weight(stage - 1), _legendre_weight(stage - 2)
        mu = (2 * stage - 1) / stage * now / before
        nu = -(stage - 1) / stage * now / second
        return _from_second(stage, (mu, nu, mu * w1, (before - 1) * mu * w1), now * w1)


def _after_jump(field: FlatField, state: StabilisedState, made_jump: Any) -> StabilisedState:
    """The state with the field's own value at the start, if state or field have been changed since."""
    if made_jump is False:
        return state
    speed = jax.lax.cond(made_jump, lambda: field.value(field.flat), lambda: state.speed)
    return StabilisedState(speed, state.estimate, state.num_evaluations)


def _sum_of_squares(vector: Float[Array, " n"]) -> Scalar:
    """``||v||^2`` as eight sums side by side: one running sum waits for every addition, here ten times as long."""
    part = vector.size // 8
    pieces = sum(vector[i * part : (i + 1) * part] ** 2 for i in range(8))
    return jnp.sum(pieces) + jnp.sum(vector[8 * part :] ** 2)


def _begun(field: FlatField, speed: Float[Array, " n"]) -> _Sweep:
    nothing, zero = jnp.zeros_like(field.flat), jnp.zeros((), field.flat.dtype)
    return _Sweep(jnp.zeros((), int), nothing, nothing, speed, zero, zero)


def _radius_seen(field: FlatField, speed: Float[Array, " n"], sweep: _Sweep) -> Scalar:
    """``||f1 - f0|| / ||y1 - y0||``: at most the largest radius on the way. 0 for a step lost in rounding."""
    length = jnp.linalg.norm(sweep.difference)
    is_large = length > LARGE_ENOUGH * jnp.linalg.norm(field.flat)
    seen = jnp.linalg.norm(sweep.speed - speed) / jnp.where(is_large, length, 1.0)
    return jnp.where(is_large | ~jnp.isfinite(sweep.energy), seen, 0.0)


def _leading(is_unsafe: Bool[Array, ""], sweep: _Sweep, estimate: SpectralRadius) -> Float[Array, " n"]:
    """The direction of the power iteration; after an unstable step that of the step itself, which has grown most."""
    grown = is_unsafe & jnp.all(jnp.isfinite(sweep.difference)) & jnp.any(sweep.difference != 0)
    return jnp.where(grown, sweep.difference, estimate.direction)


def _from_second(stage: Any, later: tuple[Any, Any, Any, Any], first_slope: Any) -> tuple[Any, Any, Any, Any]:
    """`later`, but for stage 1 the Euler step ``mu~_1 = first_slope``."""
    mu, nu, slope, slope_first = (jnp.where(stage < 2, 0.0, value) for value in later)
    return mu, nu, jnp.where(stage < 2, first_slope, slope), slope_first


def _chebyshev_sum(j: Any, excess: Any, derivative: int) -> Any:
    """``T_j^(d)(1 + excess) / T_j^(d)(1)`` for d = 0, 1, 2 by its Taylor series, whose terms are all positive.

    ``T_j^(k)(1) = prod_{i<k} (j^2 - i^2) / (2 i + 1)``. Accuracy: rounding, for ``j^2 excess <= 2/13``.
    """
    square, total = j * j, 1.0
    for k in range(_TERMS, 0, -1):
        i = k + derivative - 1
        total = 1.0 + (square - i * i) * excess / ((2 * i + 1) * k) * total
    return total


def _chebyshev_weight(j: Any, excess: Any) -> Any:
    """``b_j = T_j''(w0) / T_j'(w0)^2``."""
    square, slope = j * j, _chebyshev_sum(j, excess, 1)
    return (square - 1) / (3 * square) * _chebyshev_sum(j, excess, 2) / (slope * slope)


def _chebyshev_shift(num_stages: Any) -> tuple[Any, Any]:
    """``w0 - 1 = eps / s^2`` and ``w1 = T_s'(w0) / T_s''(w0)``."""
    square = num_stages * num_stages
    excess = DAMPING / square
    ratio = _chebyshev_sum(num_stages, excess, 1) / _chebyshev_sum(num_stages, excess, 2)
    return excess, 3 / (square - 1) * ratio


def _legendre_weight(j: Any) -> Any:
    """``b_j = (j^2 + j - 2) / (2 j (j + 1))``, and 1/3 below j = 2."""
    j = jnp.maximum(j, 2.0)
    return (j * j + j - 2) / (2 * j * (j + 1))
