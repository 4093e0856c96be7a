"""Stable and unstable manifolds of saddles, traced by integration: forward, and backward for the stable ones.

A branch begins on the manifold's parabola ``p + s v + s^2/2 w`` at an offset s chosen so that the start is within a
tolerance of the manifold, and is followed with :func:`gradflow.integrate`. With two parameters either kind attracts
its neighbours in the direction in which it is followed, so the error of the start dies out. With more a branch is the
strong manifold of the extreme eigenvalue, a curve tangent to the steepest way down from the saddle or up; it is the
fastest near the saddle, but neighbours in the other unstable (stable) directions leave it in the end.
Draws nothing; knows no plane.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_points import classify
from gradflow.flow import AbstractFlow
from gradflow.phase_planes.following import followed
from gradflow.phase_planes.states import Form, flat, flat_state
from gradflow.precision import in_double
from gradflow.status import Status
from gradflow.types import Params

FIRST_OFFSET = 0.1
"""Largest offset tried, relative to the scale of the parameters; then halves of it."""

NUM_HALVES = 40

SIMPLE = 1e-6
"""Distance of the extreme eigenvalue from its neighbour, relative to itself, below which it has no direction."""

BACKWARD_TIMES = 60.0
"""Default horizon of backward runs, in units of the saddle's own time 1 / |eigenvalue|."""


@dataclass(frozen=True, eq=False)
class Branch:
    """Half of a one-dimensional stable or unstable manifold of a saddle.

    Attributes:
        kind: "stable" (followed backward) or "unstable".
        saddle: the critical point it belongs to, flattened row-major.
        eigenvalue: of the Hessian along it at the saddle: positive for stable ones.
        side: +1.0 or -1.0, along the eigenvector or against it.
        offset: distance from the saddle at which the integration began.
        start_error: estimate of the distance of that start from the manifold.
        is_on_manifold: `start_error` is below the tolerance asked for (False: the field is not smooth enough there).
        times: flow times since the start, decreasing for stable ones; ``(k,)``.
        states: ``(k, n)``, flattened; spaced so that the polyline bends evenly.
        status: why the integration stopped.
        end_kind: kind of the critical point at the end, "escaped", or "not_critical" where it is still on its way.
        reason: of that kind, one sentence.
    """

    kind: str
    saddle: Float[np.ndarray, " n"]
    eigenvalue: float
    side: float
    offset: float
    start_error: float
    is_on_manifold: bool
    times: Float[np.ndarray, " k"]
    states: Float[np.ndarray, "k n"]
    status: Status
    end_kind: str
    reason: str

    @property
    def polyline(self) -> Float[np.ndarray, "rows n"]:
        """The saddle, and the states after it."""
        return np.vstack([self.saddle, self.states])


def branches(
    flow: AbstractFlow,
    saddle: Params,
    *,
    tolerance: float = 1e-9,
    bend: float = 1e-3,
    max_norm: float | None = None,
    horizon: float | None = None,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> tuple[Branch, ...]:
    """The branches of the strongest stable and unstable manifolds of a saddle: up to two of each.

    Args:
        flow: any flow that is smooth at the saddle.
        saddle: a critical point, a pytree.
        tolerance: allowed distance of the starts from the manifolds, relative to ``max(1, ||saddle||)``.
        bend: largest distance between the returned polylines and the curves (the sagitta), in the parameters' units.
        max_norm: norm at which a branch has escaped; default ``10 * max(1, ||saddle||)``.
        horizon: length of backward runs in flow time; default :data:`BACKWARD_TIMES` over the eigenvalue.
        rtol, atol: tolerances of the integration.

    Returns:
        Unstable branches before stable ones, positive side first. None where the Hessian has no negative (positive)
        eigenvalue, or where its extreme one is not simple, so that the manifold's fastest part has no one direction.

    Raises:
        InputError: `saddle` is not a critical point.
    """
    point = classify(flow.problem, saddle)
    checks.require(point.kind != "not_critical", "saddle", "be a critical point", point.reason,
                   "Refine it: critical_points.refine(problem, params).")  # fmt: skip
    bend = checks.real("bend", bend, above=0.0)
    place = flat_state(point.params)
    scale = max(1.0, float(np.linalg.norm(place)))
    max_norm = 10 * scale if max_norm is None else checks.real("max_norm", max_norm, above=0.0)
    eigenvalues, vectors = np.linalg.eigh(-np.asarray(flow.jacobian(point.params)))
    found = []
    for kind, index in (("unstable", 0), ("stable", -1)):
        if not _has_direction(eigenvalues, index, point.zero_tolerance):
            continue
        parabola = _Parabola.at(flow, point.params, float(eigenvalues[index]), vectors[:, index])
        length = BACKWARD_TIMES / abs(float(eigenvalues[index])) if horizon is None else horizon
        t1 = math.inf if kind == "unstable" else -checks.real("horizon", length, above=0.0)
        for side in (1.0, -1.0):
            offset, error = parabola.offset(side, tolerance * scale, scale)
            start = parabola.state(side * offset)
            run = followed(flow, parabola.form.unflatten(start), t1, bend=bend, rtol=rtol, atol=atol, max_norm=max_norm)
            end_kind, reason = _end(flow, parabola.form.unflatten(run.states[-1]), run.status)
            found.append(Branch(kind, place, float(eigenvalues[index]), side, offset, error, error <= tolerance * scale,
                                run.times, run.states, run.status, end_kind, reason))  # fmt: skip
    return tuple(found)


def separatrices(flow: AbstractFlow, points: Iterable[Any], **options: Any) -> tuple[Branch, ...]:
    """The branches of all strict saddles among critical points (``classify``'s, or ``KnownCriticalPoint``)."""
    found: list[Branch] = []
    for point in points:
        if point.kind == "strict_saddle":
            found += branches(flow, np.array(point.location) if hasattr(point, "location") else point.params, **options)
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Parabola:
    """The manifold to second order: ``p + s v + s^2/2 w``, ``(2 mu - A) w = D^2F[v, v]`` off v, A = DF, A v = mu v."""

    field: Any
    form: Form
    place: np.ndarray
    direction: np.ndarray
    bending: np.ndarray

    @classmethod
    def at(cls, flow: AbstractFlow, params: Params, eigenvalue: float, direction: np.ndarray) -> "_Parabola":
        form, place = Form.of(params), flat_state(params)
        direction = direction * (1.0 if direction[np.argmax(np.abs(direction))] > 0 else -1.0)

        def field(state: Any) -> jax.Array:
            return flat(flow.vector_field(form.unflatten(state)))

        second = _second_derivative(field, place, direction)
        second = second - (second @ direction) * direction
        jacobian = np.asarray(flow.jacobian(params))
        bending = np.linalg.solve(-2.0 * eigenvalue * np.eye(len(place)) - jacobian, second)
        bending = bending - (bending @ direction) * direction
        return cls(field, form, place, direction, bending)

    def state(self, s: float) -> np.ndarray:
        """The point of the parabola at the signed offset s."""
        return self.place + s * self.direction + 0.5 * s * s * self.bending

    def offset(self, side: float, tolerance: float, scale: float) -> tuple[float, float]:
        """The largest offset whose error is below the tolerance, and that error; else the one with the least error.

        With the manifold ``y = c s^3`` beyond the parabola, the field makes the angle ``c s^2 |3 mu - lambda| / |mu|``
        with it, and ``|3 mu - lambda| >= 2 |mu|`` for an extreme mu: the error is at most s times half the angle.
        """
        best = (FIRST_OFFSET * scale, math.inf)
        for halves in range(NUM_HALVES):
            s = FIRST_OFFSET * scale * 0.5**halves
            velocity = _values(self.field, self.state(side * s))
            tangent = self.direction + side * s * self.bending
            tangent = tangent / np.linalg.norm(tangent)
            speed = float(np.linalg.norm(velocity))
            across = float(np.linalg.norm(velocity - (velocity @ tangent) * tangent))
            error = 0.5 * s * across / speed if speed > 0 else math.inf
            if error <= tolerance:
                return s, error
            best = min(best, (s, error), key=lambda pair: pair[1])
        return best


@in_double
def _second_derivative(field: Any, place: Any, direction: np.ndarray) -> np.ndarray:
    along = jnp.asarray(direction)
    first = lambda state: jax.jvp(field, (state,), (along,))[1]  # noqa: E731
    return np.asarray(jax.jvp(first, (jnp.asarray(place),), (along,))[1])


@in_double
def _values(field: Any, state: np.ndarray) -> np.ndarray:
    return np.asarray(field(jnp.asarray(state)))


def _has_direction(eigenvalues: np.ndarray, index: int, zero: float) -> bool:
    """The extreme eigenvalue has the right sign and is simple."""
    extreme = eigenvalues[index]
    has_sign = extreme < -zero if index == 0 else extreme > zero
    others = np.delete(eigenvalues, index)
    return bool(has_sign) and bool(np.all(np.abs(others - extreme) > SIMPLE * abs(extreme)))


def _end(flow: AbstractFlow, end: Params, status: Status) -> tuple[str, str]:
    if status is Status.ESCAPED or status.is_failure:
        return str(status), status.remedy
    point = classify(flow.problem, end)
    return point.kind, point.reason
