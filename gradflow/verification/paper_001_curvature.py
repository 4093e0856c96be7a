"""Checks of paper 001's statements about second derivatives: the form (32), bounds at saddles, the surrogate.

Each draws instances and yields trials; ``..._as_printed`` gives the trial of a claim that is false as printed. The
instances' own derivatives judge, not the library's.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gradflow.certificates import curvature_at_saddles
from gradflow.critical_sets import balanced
from gradflow.verification.paper_001_instances import (
    ROUNDING,
    SMALL,
    Instance,
    critical_point_of_loss,
    draw,
    norm,
    saddles,
    state,
)  # fmt: skip
from gradflow.verification.statement import Trial


def bound_wide(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """(14): r <= d_1."""
    return _bound(rng, count, "wide")


def bound_narrow(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """(15): r > d_1, equal singular values included."""
    return _bound(rng, count, "narrow")


def _bound(rng: np.random.Generator, count: int, units: str) -> Iterator[Trial]:
    for instance, params, member in saddles(rng, count, units=units):
        least = float(np.linalg.eigvalsh(instance.hessian(params))[0])
        values, positive = instance.spectrum, int(np.sum(instance.spectrum > SMALL))
        last = values[min(instance.units, positive) - 1]
        below = values[(values < last - SMALL) & (values > SMALL)]
        following = below[0] if positive > instance.units and len(below) else 0.0
        printed = -2.0 * (last - following) / (1.0 + float(np.sum(instance.scales**-2.0)))
        certified = curvature_at_saddles.saddle_curvature_certificate(instance.problem()).values["paper_bound"]
        yield Trial(abs(certified - printed), ROUNDING, "the certificate's paper_bound is the display")
        yield Trial(
            least, printed + ROUNDING * (1.0 + instance.strength) * (1.0 + norm(params)) ** 2, str(member.pattern)
        )
        lemma = balanced.lemma_direction(instance.problem(), params)
        form = instance.derivatives(params, lemma.direction)[1]
        size = (1.0 + instance.strength) * (1.0 + norm(params) + lemma.norm_squared) ** 4
        yield Trial(abs(form - 2.0 * (lemma.captured - lemma.missed)), ROUNDING * size, "value on that direction")
        yield Trial(lemma.norm_squared, 1.0 + float(np.sum(instance.scales**-2.0)) + ROUNDING, "norm of the direction")


def sharper(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """The pair bound at each saddle, and the uniform one of the certificate."""
    for instance, params, member in saddles(rng, count):
        problem = instance.problem()
        least = float(np.linalg.eigvalsh(instance.hessian(params))[0])
        allowed = ROUNDING * (1.0 + instance.strength) * (1.0 + norm(params)) ** 2
        certificate = curvature_at_saddles.saddle_curvature_certificate(problem)
        here = balanced.saddle_bound(problem, params)
        yield Trial(least, here + allowed, f"the pair bound at {member.pattern}")
        yield Trial(here, certificate.values["bound"] + ROUNDING, "the uniform bound is the weakest")
        yield Trial(
            certificate.values["bound"], certificate.values["paper_bound"] + ROUNDING, "never weaker than (14), (15)"
        )
        plain = curvature_at_saddles.saddle_curvature_certificate(instance.problem(regularised=False))
        least = float(np.linalg.eigvalsh(instance.hessian(params, 0.0))[0])
        yield Trial(least, plain.values["bound_at_balanced"] + allowed, "and for f at these points")
        direction = balanced.pair_direction(problem, params)
        yield Trial(abs(direction.curvature - here), ROUNDING * (1.0 + abs(here)), "attained on its direction")


def weakest(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """(37): ``||W~_2 a||^2`` of the weakest direction is at most lambda_{d_1+1}; equal when d_1 + 1 is captured."""
    for instance, params, member in saddles(rng, count, units="narrow", distinct=True):
        stacked = np.vstack([params[1], (params[0] @ instance.X).T])
        least = 0.5 * float(np.linalg.eigvalsh(stacked.T @ stacked)[0])
        bound = float(instance.spectrum[instance.units])
        yield Trial(least, bound + ROUNDING, "at most lambda_{d_1 + 1}")
        counts = member.pattern["counts"]
        last = counts[instance.units] == 1 and member.rank == instance.units and not any(counts[instance.units + 1 :])
        yield Trial.agreement(abs(least - bound) < 1e-7, last, "equal exactly when d_1 + 1 is the weakest captured")


def weakest_as_printed() -> Trial:
    """No equality although d_1 + 1 is missed."""
    instance = Instance(np.eye(3), np.diag([3.0, 2.0, 1.0]), 1, 1.0)
    params = balanced.construct(instance.problem(), (0, 0, 1))
    least = float(np.sum(params[1] ** 2))
    return Trial(abs(least - 2.0), ROUNDING, "Gamma = {3}, d_1 = 1: d_1 + 1 = 2 is missed, yet 1 is not lambda_2 = 2")


def form(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """(32) in both forms, and the matrix, against the interpolated loss."""
    for index in range(count):
        weighted = index % 2 == 0
        instance = draw(rng, full=None if weighted else True, weighted=weighted)
        problem = instance.problem()
        params, direction = state(rng, instance), state(rng, instance)
        size = 1e-12 * (1.0 + instance.strength) * (1.0 + norm((instance.gram,))) ** 2
        size *= (1.0 + norm(params) + norm(direction)) ** 4
        claimed = balanced.quadratic_form(problem, params, direction)
        yield Trial(abs(claimed - instance.derivatives(params, direction)[1]), size, "the form, off critical points")
        flat = np.concatenate([layer.ravel() for layer in direction])
        yield Trial(abs(flat @ balanced.hessian(problem, params) @ flat - claimed), size, "the matrix")
        point = balanced.random_member(problem, rng)
        short = np.sum(((point[1] @ direction[0] + direction[1] @ point[0]) @ instance.X) ** 2)
        residual = (point[1] @ point[0] @ instance.X - instance.Y) @ instance.X.T
        half = point[1].T @ direction[1] - point[0] @ instance.gram @ direction[0].T
        short += 2.0 * np.sum((direction[1] @ direction[0]) * residual)
        short += 0.5 * instance.strength * np.sum((half + half.T) ** 2)
        claimed = balanced.quadratic_form(problem, point, direction)
        yield Trial(abs(float(short) - claimed), size, "second form, at critical points")


def surrogates(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """(16)-(18) at random states and at critical points of f."""
    tried = 0
    while tried < count:
        instance = draw(rng)
        params = state(rng, instance) if rng.integers(2) else critical_point_of_loss(rng, instance)[0]
        if np.linalg.norm(params[1] @ params[0] @ instance.X) < 1e-6:
            continue
        tried += 1
        stand_in = balanced.surrogate(instance.problem(regularised=False), params)
        first, second = stand_in.params
        product, unit = params[1] @ params[0] @ instance.X, 1.0 + norm(params) ** 2
        other = Instance(instance.X, instance.Y, first.shape[0], 0.0)
        defect = second.T @ second - first @ instance.X @ instance.X.T @ first.T
        yield Trial(float(np.linalg.norm(defect)), ROUNDING * unit, "(17): balanced")
        yield Trial(float(np.linalg.norm(second @ first @ instance.X - product)), ROUNDING * unit, "(17): same map")
        pulled, there = stand_in.pull(instance.gradient(params, 0.0)), other.gradient(stand_in.params)
        size = ROUNDING * unit**2 * (1.0 + norm((stand_in.pull_1, stand_in.pull_2)))
        yield Trial(norm(tuple(a - b for a, b in zip(pulled, there, strict=True))), size, "gradients")
        direction = state(rng, other)
        lifted = stand_in.lift(direction)
        here, below = instance.derivatives(params, lifted, 0.0)[1], other.derivatives(stand_in.params, direction)[1]
        size = ROUNDING * (1.0 + norm(params) + norm(lifted) + norm(direction)) ** 4
        yield Trial(abs(here - below), size, "second derivatives")


def surrogate_as_printed() -> Trial:
    """The gradient with Sigma^{-1}."""
    instance = Instance(np.diag([1.0, 2.0]), np.diag([1.0, 1.0]), 2, 0.0)
    params = np.array([[1.0, 0.5], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.3, 1.0]])
    root, (first, second) = instance.X, params
    _, values, right = np.linalg.svd(second @ first @ root)
    stand_in = balanced.surrogate(instance.problem(regularised=False), params)
    printed = (right / np.sqrt(values)[:, None]) @ np.linalg.inv(root) @ first.T @ instance.gradient(params, 0.0)[0]
    there = Instance(instance.X, instance.Y, 2, 0.0).gradient(stand_in.params)[0]
    return Trial(float(np.linalg.norm(printed - there)), ROUNDING, "grad_{W_1} of the surrogate's loss with Sigma^{-1}")


def corollary(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """(7) under its hypotheses; the stronger bound without them."""
    tried = 0
    while tried < count:
        instance = draw(rng, full=True, weighted=False, units="wide")
        printed_applies = tried % 2 == 0
        if printed_applies:  # beta / alpha <= 1.5, mu <= alpha / 16, d_1 <= min(d_0, d_2)
            left, scales, right = np.linalg.svd(instance.X, full_matrices=False)
            scales = 1.0 + 0.2 * (scales - scales.min()) / max(float(np.ptp(scales)), SMALL)
            instance = replace(instance, X=(left * scales) @ right, strength=float(rng.uniform(0.01, 1.0)) / 16.0)
            if instance.units > min(instance.X.shape[0], instance.Y.shape[0]):
                continue
        problem = instance.problem()
        params = balanced.random_member(problem, rng)
        member = balanced.describe(problem, balanced.decompose(problem, params).counts)
        if member.is_global:
            continue
        tried += 1
        least = float(np.linalg.eigvalsh(instance.hessian(params))[0])
        printed, stronger = curvature_at_saddles.corollary_bound(problem, params)
        allowed = ROUNDING * (1.0 + instance.strength) * (1.0 + norm(params)) ** 2
        solution = np.linalg.svd(instance.Y @ np.linalg.pinv(instance.X), compute_uv=False)
        expected = -float(instance.scales[-1] ** 2) * float(solution[member.rank or 0])
        yield Trial(abs(stronger - expected), ROUNDING, "the stronger bound is -alpha sigma_{r_c + 1}(W*)")
        yield Trial(least, stronger + allowed, f"the stronger bound, mu = {instance.strength:.2g}")
        values = curvature_at_saddles.saddle_curvature_certificate(problem).values
        if "alpha" in values:  # not when X X^T = I, where both regularisers are one and Lemma 2 speaks
            extremes = np.linalg.eigvalsh(instance.X @ instance.X.T)[[0, -1]]
            yield Trial(abs(values["alpha"] - extremes[0]) + abs(values["beta"] - extremes[1]), ROUNDING, "alpha, beta")
            direction = balanced.kernel_direction(problem, params)
            form = instance.derivatives(params, direction.direction)[1] / direction.norm_squared
            yield Trial(form, stronger + allowed, "its direction reaches the stronger bound")
        yield Trial(stronger, values["bound"] + ROUNDING, "-alpha sigma_{r*}(W*) is the weakest of them")
        if printed_applies:
            yield Trial(least, printed + allowed, "(7) as printed, under its own hypotheses")


def isometry(rng: np.random.Generator, count: int) -> Iterator[Trial]:
    """(4) is a statement about the extreme eigenvalues of X X^T."""
    for _ in range(count):
        X = rng.normal(size=(int(rng.integers(1, 5)), 5))
        lowest, highest = np.linalg.eigvalsh(X @ X.T)[[0, -1]]
        rank_one = [np.outer(rng.normal(size=3), v) for v in np.linalg.eigh(X @ X.T)[1].T[[0, -1]]]
        ratios = [np.trace(A @ X @ X.T @ A.T) / np.sum(A**2) for A in rank_one]
        yield Trial(abs(ratios[0] - lowest) + abs(ratios[1] - highest), ROUNDING * highest, "attained at rank one")
        A = rng.normal(size=(3, X.shape[0]))
        ratio = float(np.trace(A @ X @ X.T @ A.T) / np.sum(A**2))
        yield Trial(max(lowest - ratio, ratio - highest), ROUNDING * highest, "by nobody exceeded")
