"""Random members of a class of critical points of a shallow linear network.

Every member has positive density in the chart of Theorem 1 that is drawn from: Haar-distributed bases inside each
group, C with singular values within a given condition number, Gaussian free parts of the size of the weights. Knows
classes and construction; there is no canonical measure on a critical set, so statistics of these samples mean little.
"""

import numpy as np

from gradflow import checks
from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.keys import generator
from gradflow.critical_sets.shallow_linear.classes import FAMILY
from gradflow.critical_sets.shallow_linear.construction import construct, shallow_regression, spectrum_of
from gradflow.critical_sets.shallow_linear.derivatives import Layers
from gradflow.initial_laws import KeyLike
from gradflow.problem import AbstractProblem


def sample(
    problem: AbstractProblem, critical_class: CriticalClass, key: KeyLike, *, max_condition: float = 4.0
) -> Layers:
    """A random critical point ``(A_1, A_2)`` of a class; the same key always gives the same one.

    Args:
        problem: a linear network with one hidden layer, the squared error and no regulariser.
        critical_class: one of its classes, e.g. from ``enumerate(problem)``.
        key: a JAX key or a non-negative integer seed.
        max_condition: largest condition number of C.

    Raises:
        InputError: a wrong problem, a class of another family or of other data, or a wrong key.
    """
    problem = shallow_regression(problem)
    family = critical_class.family
    checks.require(family == FAMILY, "critical_class", f"belong to the family {FAMILY}", family)
    max_condition = checks.real("max_condition", max_condition, at_least=1.0)
    spectrum = spectrum_of(problem)
    counts, num_zero = critical_class.pattern["counts"], critical_class.pattern["num_zero"]
    rank, (d_hidden, d_in) = sum(counts) + num_zero, problem.network.shapes[0]
    rng = generator(key)
    sizes = zip(spectrum.all_groups, (*counts, num_zero), strict=True) if len(counts) == len(spectrum.groups) else ()
    bases = [haar(rng, len(group))[:, :count] for group, count in sizes]
    spread = np.exp(rng.uniform(-0.5, 0.5, size=d_hidden) * np.log(max_condition))
    mixing = spectrum.weight_scale * (haar(rng, d_hidden) * spread) @ haar(rng, d_hidden)
    free = spectrum.weight_scale**2 * rng.normal(size=(d_hidden, d_in))
    return construct(
        problem, counts, num_zero, mixing=mixing, bases=bases or None, free_top=free[:rank], free_bottom=free[rank:]
    )


def haar(rng: np.random.Generator, size: int) -> np.ndarray:
    """A Haar-distributed orthogonal matrix."""
    orthonormal, triangular = np.linalg.qr(rng.normal(size=(size, size)))
    return orthonormal * np.where(np.diagonal(triangular) < 0, -1.0, 1.0)
