"""Every class of balanced critical points, with value, category, index and nullity, and the global minimum value.

Knows a problem; no point.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradflow import checks
from gradflow.critical_sets.balanced.construction import checked_counts
from gradflow.critical_sets.balanced.setting import BalancedSetting, balanced_setting
from gradflow.critical_sets.classes import CriticalClass

FAMILY = "balanced"

MAX_CLASSES = 65_536
"""Largest number of patterns that are listed."""

SOURCE = "paper 001, Theorem 2 and Lemmas 1 and 2, corrected; index and nullity proved here"


def enumerate_classes(problem: Any) -> tuple[CriticalClass, ...]:
    """All classes of critical points of the regularised shallow loss, ascending in loss.

    One class per choice of at most d_1 directions among the groups of equal positive singular values
    (``pattern["counts"]``); the empty one is the origin. Categories: ``"global"`` and ``"strict saddle"``; there are no
    others, so no spurious minima.

    Raises:
        InputError: the problem is not of the family (see :func:`construct`), or has more than :data:`MAX_CLASSES`
            patterns.

    Source: paper 001, Lemma 1 and Theorem 2, corrected.
    """
    setting = balanced_setting(problem)
    sizes = [len(group) for group in setting.groups]
    patterns = float(np.prod([size + 1.0 for size in sizes]))
    checks.require(
        patterns <= MAX_CLASSES, "problem", f"have at most {MAX_CLASSES} patterns to list", f"{patterns:.0f}",
        "Use describe for single patterns and global_value for the minimum.",
    )  # fmt: skip
    choices = itertools.product(*(range(size + 1) for size in sizes))
    classes = [_described(setting, counts) for counts in choices if sum(counts) <= setting.max_rank]
    return tuple(sorted(classes, key=lambda member: (member.loss, member.pattern["counts"])))


def describe(problem: Any, counts: Sequence[int]) -> CriticalClass:
    """What all critical points that capture `counts` share.

    With k captured of the r positive singular values, rho the rank of X and ties the pairs of a captured and a missed
    one in the same group:

    - loss: ``irreducible + 1/2 * (sum of lambda^2 over the missed)``;
    - index: ``#{(missed, captured): lambda_missed > lambda_captured} + (d_1 - k)(r - k)``;
    - nullity: ``k (k - 1) / 2 + ties + (d_1 - k)(k + (d_2 - r) + (rho - r)) + d_1 (d_0 - rho)``.

    Both counts hold at every member and for every mu > 0: in coordinates in which T is diagonal the form (32) with mu =
    0 splits into 2 x 2 blocks, and the term with mu acts on exactly the ``k (k + 1) / 2 + k (d_1 - k)`` gauge
    directions that change the balance, on which the form without it vanishes.

    Raises:
        InputError: the problem is not of the family, or `counts` does not fit.

    Source: paper 001, Theorem 2 and Lemma 2, and paper 002, Theorem 2 (index: experiment there, proved here).
    """
    setting = balanced_setting(problem)
    return _described(setting, checked_counts(setting, counts))


def global_value(problem: Any) -> float:
    """The least value of the regularised loss, which is that of the unregularised one.

    ``1/2 (||Y||^2 - ||Y V||^2) + 1/2 * (sum of lambda_i^2 over i > d_1)``.

    Raises:
        InputError: the problem is not of the family.

    Source: paper 001, Theorem 2 (i), with the factor 1/2 that the text omits.
    """
    setting = balanced_setting(problem)
    return setting.irreducible + 0.5 * float(np.sum(setting.values[setting.num_hidden_units :] ** 2))


def _described(setting: BalancedSetting, counts: tuple[int, ...]) -> CriticalClass:
    rank, missed = sum(counts), [len(g) - n for g, n in zip(setting.groups, counts, strict=True)]
    losses = [sum(setting.values[i] ** 2 for i in g) * m / len(g) for g, m in zip(setting.groups, missed, strict=True)]
    pairs = sum(missed[i] * counts[j] for i in range(len(counts)) for j in range(i + 1, len(counts)))
    ties = sum(m * n for m, n in zip(missed, counts, strict=True))
    units, outputs = setting.num_hidden_units, setting.left.shape[0]
    inputs, data_rank = setting.root.shape
    positive, idle = len(setting.values), units - rank
    is_global = pairs == 0 and rank == setting.max_rank
    unreached = outputs + data_rank - 2 * positive
    return CriticalClass(
        family=FAMILY,
        pattern={"counts": counts},
        loss=setting.irreducible + 0.5 * float(sum(losses)),
        rank=rank,
        category="global" if is_global else "strict saddle",
        strict=not is_global,
        index=pairs + idle * sum(missed),
        nullity=rank * (rank - 1) // 2 + ties + idle * (rank + unreached) + units * (inputs - data_rank),
        source=SOURCE,
    )
