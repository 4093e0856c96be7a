"""Checks of paper 001's statements about which points are critical, and of what kind they are.

Each draws instances and yields trials; ``..._as_printed`` gives the trial of a claim that is false as printed. The
instances' own loss, gradient and Hessian judge, not the library's.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gradflow.certificates.curvature_at_saddles import saddle_curvature_certificate
from gradflow.critical_sets import balanced
from gradflow.critical_sets.balanced.recognition import regularised_gradient
from gradflow.critical_sets.balanced.sampling import orthogonal
from gradflow.critical_sets.balanced.setting import balanced_setting
from gradflow.networks import Linear
from gradflow.problem import Regression
from gradflow.regularizers import Balance
from gradflow.verification.paper_001_instances import (
    ROUNDING,
    SMALL,
    Instance,
    critical_point,
    critical_point_of_loss,
    draw,
    norm,
    state,
)  # fmt: skip
from gradflow.verification.statement import Trial


def local_maxima(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """-(a x^2 + b x^4) has its maximum at 0; strict there exactly when a > 0."""
    for index in range(count):
        quadratic, quartic = (float(rng.uniform(0.1, 2.0)) if index % 2 else 0.0), float(rng.uniform(0.1, 2.0))
        curvature = sum(w * -(quadratic * t**2 + quartic * t**4) for t, w in _second_difference(0.5))
        yield Trial.agreement(curvature < -SMALL, quadratic > 0.0)


def _second_difference(step: float) -> list[tuple[float, float]]:
    weights = (-1.0, 16.0, -30.0, 16.0, -1.0)
    return [(t * step, w / (12.0 * step**2)) for t, w in zip((-2, -1, 0, 1, 2), weights, strict=True)]


def local_maximum_as_printed() -> Trial:
    """A local maximum that is no strict saddle."""
    curvature = sum(w * -(t**4) for t, w in _second_difference(0.5))
    return Trial(curvature, -SMALL, "-x^4 at its local maximum: the Hessian has no negative eigenvalue")


def gauge(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Critical points of f stay critical under a change of gauge."""
    for _ in range(count):
        instance = draw(rng)
        params, _ = critical_point_of_loss(rng, instance)
        units = instance.units
        change = (orthogonal(units, rng) * rng.uniform(0.3, 3.0, units)) @ orthogonal(units, rng)
        moved = np.linalg.solve(change, params[0]), params[1] @ change
        allowed = ROUNDING * (1.0 + norm(moved)) ** 3
        yield Trial(norm(instance.gradient(moved, 0.0)), allowed, "gradient of f")


def gradients(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """The library's gradient against the slope of the loss, along a random line (one shape: it compiles)."""
    for index in range(count):
        weighted = index % 2 == 0
        X, Y = rng.normal(size=(3, 5)), rng.normal(size=(4, 5))
        instance = Instance(X, Y, 2, float(rng.uniform(0.1, 2.0)), weighted)
        params, direction = state(rng, instance), state(rng, instance)
        allowed = ROUNDING * (1.0 + norm(params) + norm(direction)) ** 4
        slope = instance.derivatives(params, direction)[0]
        term = Balance(instance.strength, X if weighted else None)
        for gradient, expected in (
            (term.gradient(params), slope - instance.derivatives(params, direction, 0.0)[0]),
            (regularised_gradient(balanced_setting(instance.problem()), *params), slope),
            (instance.gradient(params), slope),
        ):
            claimed = sum(float(np.sum(a * b)) for a, b in zip(gradient, direction, strict=True))
            yield Trial(abs(expected - claimed), allowed, f"weighted: {weighted}")


def gradient_as_printed() -> Trial:
    """The first display after Lemma 1."""
    X, first, second = np.diag([1.0, 2.0]), np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[2.0, 1.0], [0.0, 1.0]])
    gram, strength = X @ X.T, 0.5
    printed = -strength * second @ (second.T @ second - first @ gram @ first.T) @ first @ gram
    right = Balance(strength, X).gradient((first, second))[0]
    return Trial(float(np.linalg.norm(printed - right)), ROUNDING, "printed grad_{W_1} against mu/4 grad rho")


def balance(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """(9) as an inequality at any state, and as an equality at critical points."""
    for index in range(count):
        weighted = index % 2 == 0
        instance = draw(rng, full=None if weighted else True, weighted=weighted)
        near = balanced.random_member(instance.problem(), rng)
        states = [state(rng, instance), tuple(w + 1e-3 * rng.normal(size=w.shape) for w in near)]
        for params in states:
            found = balanced.imbalance(instance.problem(), params)
            yield Trial(found.defect, found.bound * (1.0 + ROUNDING), "imbalance against what the gradient allows")
            inner = sum(np.sum(a * b) for a, b in zip(found.loss_gradient, found.balance_gradient, strict=True))
            size = norm(found.loss_gradient) * norm(found.balance_gradient)
            yield Trial(abs(float(inner)), ROUNDING * size, "grad f is orthogonal to grad rho")
        defect = near[1].T @ near[1] - near[0] @ instance.gram @ near[0].T
        yield Trial(float(np.linalg.norm(defect)), ROUNDING * (1.0 + norm(near)) ** 2, "(9) at a critical point")


def critical_set(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Members are critical, what is read off gives them back, and critical points found otherwise are members."""
    for index in range(count):
        weighted = index % 3 != 2
        instance = draw(rng, full=None if weighted else True, weighted=weighted)
        problem = instance.problem()
        params = balanced.random_member(problem, rng)
        allowed = ROUNDING * (1.0 + instance.strength) * (1.0 + norm(params)) ** 3
        yield Trial(norm(instance.gradient(params)), allowed, "members of C_g are critical")
        point = balanced.decompose(problem, params)
        again = balanced.construct(problem, point.counts, frames=point.frames, gauge=point.gauge, free=point.free)
        distance = norm(tuple(a - b for a, b in zip(again, params, strict=True)))
        yield Trial(distance, ROUNDING * (1.0 + norm(params)), "what was read off gives the point back")
        for found in replace(instance, strength=1.0).critical_points(rng, 1):
            point = balanced.decompose(replace(instance, strength=1.0).problem(), found)
            yield Trial(point.residual, 1e-3, "a critical point found by root finding is in C_g (degenerate: 1e-3)")


def critical_set_as_printed() -> Trial:
    """A critical point that the set of one fixed SVD lacks."""
    instance = Instance(np.eye(2), np.eye(2), 1, 1.0)
    params = np.array([[0.6, 0.8]]), np.array([[0.6], [0.8]])
    assert norm(instance.gradient(params)) < ROUNDING
    stacked = np.concatenate([params[1][:, 0], params[0][0]])
    listed = [np.zeros(4), *(sign * np.tile(unit, 2) for unit in np.eye(2) for sign in (1.0, -1.0))]
    distance = min(float(np.linalg.norm(stacked - member)) for member in listed)
    return Trial(distance, ROUNDING, "distance of a critical point from C_g of the SVD P = Q = I, X = Y = I, d_1 = 1")


def same_minimum(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """The value against Eckart and Young, attained, and never undercut."""
    for _ in range(count):
        instance = draw(rng)
        problem = instance.problem()
        least = instance.least_loss
        classes = balanced.enumerate_classes(problem)
        counts = next(member.pattern["counts"] for member in classes if member.is_global)
        params = balanced.random_member(problem, rng, counts)
        unit = ROUNDING * (1.0 + float(np.sum(instance.Y**2))) * (1.0 + instance.strength)
        yield Trial(abs(balanced.global_value(problem) - least), unit, "the formula against Eckart and Young")
        yield Trial(abs(instance.loss(params) - least), unit, "attained by g")
        yield Trial(abs(min(member.loss for member in classes) - least), unit, "the lowest class")
        yield Trial(least - instance.loss(state(rng, instance)), unit, "nothing is lower")


def minimum_as_printed() -> Trial:
    """The constant without the factor 1/2."""
    X, Y = np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]])
    least = Instance(X, Y, 1, 1.0).least_loss
    printed = float(np.sum(Y**2) - np.sum((Y @ np.array([[1.0], [0.0]])) ** 2))
    return Trial(abs(printed - least), ROUNDING, "C without the factor 1/2, X = [1 0], Y = [1 1]")


def critical_for_both(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """The gradient of f at critical points of g and h."""
    for index in range(count):
        weighted = index % 2 == 0
        instance = draw(rng, full=None if weighted else True, weighted=weighted)
        params = balanced.random_member(instance.problem(), rng)
        allowed = ROUNDING * (1.0 + norm(params)) ** 3
        yield Trial(norm(instance.gradient(params, 0.0)), allowed, "gradient of f at a critical point of g or h")


def landscape(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Kind, index and nullity of each class against the spectrum."""
    for index in range(count):
        weighted = index % 3 != 2
        instance, params, member = critical_point(rng, full=None if weighted else True, weighted=weighted)
        spectrum = np.linalg.eigvalsh(instance.hessian(params))
        tolerance = SMALL * (1.0 + float(np.max(np.abs(spectrum))))
        is_global = instance.loss(params) <= instance.least_loss + SMALL * (1.0 + instance.least_loss)
        yield Trial.agreement(member.is_global, is_global)
        yield Trial.agreement(bool(spectrum[0] < -tolerance), not is_global, f"{member.pattern}: strict unless global")
        yield Trial.agreement(int(np.sum(spectrum < -tolerance)), member.index)
        yield Trial.agreement(int(np.sum(np.abs(spectrum) <= tolerance)), member.nullity)


def plain_landscape(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Critical points of f in any gauge are strict unless global."""
    return _plain(rng, count, "any")


def plain_landscape_distinct(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """The same under the hypotheses of Theorem 4."""
    return _plain(rng, count, "distinct")


def plain_landscape_degenerate(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """The same at the degenerate points of Theorem 5."""
    return _plain(rng, count, "degenerate")


def _plain(rng: np.random.Generator, count: int, kind: str) -> Iterator[Trial]:
    tried = 0
    while tried < count:
        instance = draw(rng, full=True, distinct=True) if kind == "distinct" else draw(rng)
        inputs, _, outputs = instance.widths
        if kind == "distinct" and (outputs > inputs or np.sum(instance.spectrum > SMALL) < outputs):
            continue
        params, _ = critical_point_of_loss(rng, instance)
        degenerate = np.linalg.matrix_rank(params[1] @ params[0], tol=1e-8) < min(instance.widths)
        if kind == "degenerate" and not degenerate:
            continue
        tried += 1
        yield Trial(norm(instance.gradient(params, 0.0)), ROUNDING * (1.0 + norm(params)) ** 3, "critical")
        least = float(np.linalg.eigvalsh(instance.hessian(params, 0.0))[0])
        is_global = instance.loss(params, 0.0) <= instance.least_loss + SMALL * (1.0 + instance.least_loss)
        yield Trial.agreement(least < -SMALL * (1.0 + norm(params)) ** 2, not is_global, "strict unless global")
        certificate = saddle_curvature_certificate(instance.problem(regularised=False))
        yield Trial.agreement((certificate.holds, certificate.values["bound"]), (True, 0.0))


def deep(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """Section 3.3: the gradient identities behind balance, at any depth."""
    for index in range(count):
        widths = tuple(int(d) for d in rng.integers(1, 5, size=int(rng.integers(3, 6))))
        X, Y = rng.normal(size=(widths[0], 5)), rng.normal(size=(widths[-1], 5))
        term = Balance(float(10.0 ** rng.uniform(-1.0, 1.0)), X if index % 2 else None)
        problem = Regression(Linear(widths), X, Y, regularizer=term)
        params = tuple(rng.normal(size=shape) for shape in problem.network.shapes)
        found = balanced.imbalance(problem, params)
        yield Trial(found.defect, found.bound * (1.0 + ROUNDING), "imbalance against what the gradient allows")
        inner = sum(float(np.sum(a * b)) for a, b in zip(found.loss_gradient, found.balance_gradient, strict=True))
        size = norm(found.loss_gradient) * norm(found.balance_gradient)
        yield Trial(abs(inner), ROUNDING * size, f"grad f is orthogonal to the term's gradient, widths {widths}")
