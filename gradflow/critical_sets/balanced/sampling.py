"""Random balanced critical points: uniform frames inside each group, a uniform gauge, a Gaussian free part.

There is no canonical measure on a critical set, so statistics of these samples mean little. Knows classes and
construction.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.balanced.construction import checked_counts, construct
from gradflow.critical_sets.balanced.enumeration import FAMILY
from gradflow.critical_sets.balanced.setting import Layers, balanced_setting
from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.keys import generator
from gradflow.initial_laws import KeyLike


def sample(problem: Any, critical_class: CriticalClass, key: KeyLike | np.random.Generator) -> Layers:
    """A random member ``(W_1, W_2)`` of a class; the same key always gives the same one.

    Args:
        problem: as in :func:`construct`.
        critical_class: one of its classes, from ``enumerate(problem)`` or ``describe(problem, counts)``.
        key: a JAX key or a non-negative integer seed; or a NumPy generator, which is then advanced.

    Raises:
        InputError: the problem is not of the family, a class of another family or of other data, a wrong key.
    """
    family = critical_class.family
    checks.require(family == FAMILY, "critical_class", f"belong to the family {FAMILY}", family)
    return random_member(problem, generator(key), critical_class.pattern["counts"])


def random_member(problem: Any, rng: np.random.Generator, counts: Sequence[int] | None = None) -> Layers:
    """A random critical point that captures `counts`; without them, of a random class (the global one included).

    Raises:
        InputError: as in :func:`construct`.
    """
    setting = balanced_setting(problem)
    if counts is None:
        drawn = [int(rng.integers(len(group) + 1)) for group in setting.groups]
        while sum(drawn) > setting.max_rank:
            drawn[int(rng.choice(np.flatnonzero(drawn)))] -= 1
        counts = drawn
    chosen = checked_counts(setting, counts)
    frames = [orthogonal(len(group), rng)[:, :n] for group, n in zip(setting.groups, chosen, strict=True)]
    units = setting.num_hidden_units
    free = rng.normal(size=(units, setting.root.shape[0]))
    return construct(problem, chosen, frames=frames, gauge=orthogonal(units, rng), free=free)


def orthogonal(size: int, rng: np.random.Generator) -> Float[np.ndarray, "size size"]:
    """A uniform (Haar) orthogonal matrix."""
    if size < 2:
        return np.full((size, size), float(rng.choice([-1.0, 1.0])))
    return np.asarray(scipy.stats.ortho_group.rvs(size, random_state=rng))
