"""The observed rate of convergence: exponential or power law, fitted on the tail, or "undetermined".

Knows two arrays of numbers, times and loss above the limit; no problem, no trajectory. Both laws are solutions of
autonomous equations, so neither may depend on where time starts: an exponential has none, a power law gets its own
origin. A law is accepted only when it fits and when the later half of the window tells the same number.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradflow import checks

NOISE_RTOL = 1e-13
"""Excess below this multiple of the largest one is rounding of the loss."""

MIN_POINTS = 8
MAX_POINTS = 200
MISFIT = 0.03
"""Largest root mean square residual of the logarithm in an accepted fit (3 % of the excess)."""

AGREEMENT = 0.05
"""Largest relative difference between the fit on the window and on its later half."""

MIN_DECAY = 3.0
"""An accepted window contains a decay by at least exp(3) = 20."""

MIN_STRETCH = 3.0
"""For a power law, time since its origin grows by at least this factor over the window."""

MAX_EXPONENT = 20.0
"""Power laws steeper than this are not told from exponentials."""

STARTS = (0.0, 0.25, 0.5, 0.7)
"""Fractions of the decay (in the logarithm) that are skipped at the beginning, tried in turn."""


@dataclass(frozen=True)
class ObservedRate:
    """A fitted decay law of the loss above its limit.

    Attributes:
        law: "exponential", ``excess ~ exp(-rate * t)``; "power", ``excess ~ (t - origin)^(-exponent)``; or
            "undetermined".
        rate: the exponential's rate per unit of flow time; NaN for other laws.
        exponent: the power law's exponent, dimensionless; NaN for other laws.
        standard_error: of the rate or the exponent: the larger of the least-squares error for the effective number of
            independent residuals and the difference to the fit on the later half; NaN when undetermined.
        window: first and last time used.
        num_points: number of points fitted.
        reason: what decided, one sentence.
    """

    law: str
    rate: float
    exponent: float
    standard_error: float
    window: tuple[float, float]
    num_points: int
    reason: str


@dataclass(frozen=True)
class _Fit:
    value: float
    standard_error: float
    misfit: float
    extent: float


def observed_rate(
    times: Float[np.ndarray, " k"], excess: Float[np.ndarray, " k"], noise: float | None = None
) -> ObservedRate:
    """The decay law of `excess` on the longest tail on which one law holds.

    Args:
        times: increasing flow times.
        excess: loss minus its limit at these times; the limit must be known better than the smallest excess used.
        noise: excess below this is ignored, and everything after it; default :data:`NOISE_RTOL` times the largest.

    Accuracy: exact laws are recovered to rounding; the standard error covers slow drifts of the rate inside the
        window, not a change of law after it.

    Raises:
        InputError: the arrays differ in shape, or times do not increase.
    """
    times, excess = checks.finite_array("times", times, 1), np.asarray(excess, dtype=float)
    checks.require(excess.shape == times.shape, "excess", f"have the shape {times.shape} of `times`", excess.shape)
    checks.require(bool(np.all(np.diff(times) > 0)), "times", "increase strictly", "repeated or decreasing times")
    times, excess = _above_noise(times, excess, noise)
    if len(times) < MIN_POINTS:
        return _undetermined(times, f"only {len(times)} points lie above the noise")
    logs = np.log(excess)
    if logs[0] - logs.min() < MIN_DECAY:
        return _undetermined(times, f"the excess falls by less than a factor {np.exp(MIN_DECAY):.0f}")
    reason = "no law fits"
    for start in STARTS:
        window = _window(logs, start)
        if len(window) < MIN_POINTS:
            return _undetermined(times, f"{reason}, and shorter windows have fewer than {MIN_POINTS} points")
        result = _law_on(times[window], logs[window])
        if isinstance(result, ObservedRate):
            return result
        reason = result
    return _undetermined(times, reason)


def _above_noise(times: np.ndarray, excess: np.ndarray, noise: float | None) -> tuple[np.ndarray, np.ndarray]:
    """The points before the excess first reaches the noise or stops being a number."""
    finite = excess[np.isfinite(excess)]
    if not len(finite) or finite.max() <= 0:
        return times[:0], excess[:0]
    floor = NOISE_RTOL * float(finite.max()) if noise is None else checks.real("noise", noise, at_least=0.0)
    bad = ~(excess > floor)
    end = int(np.argmax(bad)) if bad.any() else len(times)
    return times[:end], excess[:end]


def _window(logs: np.ndarray, start: float) -> np.ndarray:
    """Indices after the given fraction of the decay, thinned to be even in the logarithm."""
    first = int(np.argmax(logs <= logs[0] + start * (logs[-1] - logs[0])))
    levels = np.linspace(logs[first], logs[-1], MAX_POINTS)
    falling = np.minimum.accumulate(logs[first:])
    return np.unique(np.minimum(first + np.searchsorted(-falling, -levels), len(logs) - 1))


def _law_on(times: np.ndarray, logs: np.ndarray) -> ObservedRate | str:
    """The law that holds on this window, or why none does."""
    if logs[0] - logs[-1] < MIN_DECAY:
        return f"the tail falls by less than a factor {np.exp(MIN_DECAY):.0f}"
    half = _window(logs, 0.5)
    if len(half) < 4:
        return "the later half of the decay has fewer than 4 points"
    exponential, power = _exponential(times, logs), _power(times, logs)
    if exponential.misfit <= MISFIT and exponential.misfit <= 2.0 * power.misfit + 1e-9:
        later = _exponential(times[half], logs[half])
        if abs(later.value - exponential.value) <= AGREEMENT * exponential.value:
            return _result("exponential", exponential, later, times)
        return "the exponential rate changes along the tail"
    if power.misfit <= MISFIT and power.value <= MAX_EXPONENT and power.extent >= MIN_STRETCH:
        later = _power(times[half], logs[half])
        if abs(later.value - power.value) <= AGREEMENT * power.value:
            return _result("power", power, later, times)
        return "the exponent changes along the tail"
    return f"neither law fits: residuals of the logarithm are {exponential.misfit:.2g} and {power.misfit:.2g}"


def _exponential(times: np.ndarray, logs: np.ndarray) -> _Fit:
    middle = times.mean()
    design = np.stack([np.ones_like(times), middle - times], axis=1)
    coefficients = np.linalg.lstsq(design, logs, rcond=None)[0]
    return _fit(design, logs - design @ coefficients, coefficients[1], logs, np.inf)


def _power(times: np.ndarray, logs: np.ndarray) -> _Fit:
    """Least squares for ``log e = a - p log(t - origin)`` in a, p and the origin (a search over the last)."""
    span = times[-1] - times[0]
    ages = [span * 10.0**exponent for exponent in np.linspace(-4, 2, 61)]

    def misfit(age: float) -> float:
        return float(np.linalg.norm(_power_design(times, logs, age)[2]))

    age = min(ages, key=misfit)
    for _ in range(60):
        design, _, residual = _power_design(times, logs, age)
        change = np.linalg.lstsq(design, residual, rcond=None)[0][2]
        proposal = float(np.clip(age + change, 0.5 * age, 2.0 * age))
        if misfit(proposal) >= misfit(age):
            break
        age = proposal
    design, coefficients, residual = _power_design(times, logs, age)
    return _fit(design, residual, coefficients[1], logs, (age + span) / age)


def _power_design(times: np.ndarray, logs: np.ndarray, age: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Derivatives in (a, p, age), coefficients (a, p) and residuals, for a law of this age at the window's start."""
    since = times - times[0] + age
    linear = np.stack([np.ones_like(since), -np.log(since)], axis=1)
    coefficients = np.linalg.lstsq(linear, logs, rcond=None)[0]
    design = np.concatenate([linear, (-coefficients[1] / since)[:, None]], axis=1)
    return design, coefficients, logs - linear @ coefficients


def _fit(design: np.ndarray, residual: np.ndarray, value: float, logs: np.ndarray, extent: float) -> _Fit:
    """Standard error from the effective number of residuals, n (1 - rho) / (1 + rho) with rho their correlation."""
    total = float(residual @ residual)
    neighbours = float(residual[1:] @ residual[:-1]) / total if total > 0 else 0.0
    rho = float(np.clip(neighbours, 0.0, 0.99))
    effective = max(len(residual) * (1 - rho) / (1 + rho), design.shape[1] + 1.0)
    spread = float(np.linalg.pinv(design.T @ design)[1, 1])
    inflation = len(residual) / (effective - design.shape[1])
    variance = total / len(residual) * inflation * spread
    rounding = 16 * np.finfo(float).eps * float(np.abs(logs).max()) * float(np.sqrt(spread))
    return _Fit(float(value), float(np.sqrt(variance)) + rounding, float(np.sqrt(total / len(residual))), float(extent))


def _result(law: str, fit: _Fit, later: _Fit, times: np.ndarray) -> ObservedRate:
    is_power = law == "power"
    return ObservedRate(
        law=law,
        rate=float("nan") if is_power else fit.value,
        exponent=fit.value if is_power else float("nan"),
        standard_error=max(fit.standard_error, abs(later.value - fit.value)),
        window=(float(times[0]), float(times[-1])),
        num_points=len(times),
        reason=f"Residuals of the logarithm are {fit.misfit:.1e}; the later half gives {later.value:.6g}.",
    )


def _undetermined(times: np.ndarray, reason: str) -> ObservedRate:
    window = (float(times[0]), float(times[-1])) if len(times) else (float("nan"), float("nan"))
    nan = float("nan")
    return ObservedRate("undetermined", nan, nan, nan, window, len(times), f"Undetermined: {reason}.")
