"""Random critical points of shallow linear networks, for the statements about them.

Widths 1 to 6, X of any rank, target values that are distinct, repeated or partly zero, every pattern, well conditioned
C, free parts L_1 != 0; and zeros of the gradient that are found by least squares, without any formula. Knows no
statement.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.optimize

from gradflow import checks, networks
from gradflow.critical_sets import shallow_linear as shallow
from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.shallow_linear import derivatives
from gradflow.critical_sets.shallow_linear.classes import all_patterns
from gradflow.critical_sets.shallow_linear.construction import arrays_of
from gradflow.critical_sets.shallow_linear.derivatives import Layers
from gradflow.problem import Regression

EIGENVALUE_RTOL = 1e-8
"""Eigenvalues of a Hessian below this multiple of the largest count as zero."""


@dataclass(frozen=True)
class Point:
    """A random critical point with all that is known of it by construction."""

    problem: Regression
    spectrum: shallow.DataSpectrum
    critical_class: CriticalClass
    form: shallow.AnalyticalForm
    params: Layers

    @property
    def counts(self) -> tuple[int, ...]:
        """``p_1, ..., p_r``."""
        return self.critical_class.pattern["counts"]

    @property
    def num_zero(self) -> int:
        """``p_bar``."""
        return self.critical_class.pattern["num_zero"]

    @property
    def described(self) -> str:
        """For the table: what makes this instance particular."""
        return f"widths {self.problem.network.shapes}, counts {self.counts}, null space {self.num_zero}"

    @property
    def eigenvalues(self) -> np.ndarray:
        """Of the Hessian, ascending, numerically zero ones set to zero; a T that is but rounding gives zeros only."""
        root, target = arrays_of(self.problem)
        values = np.linalg.eigvalsh(derivatives.hessian(self.params, root, target))
        data = float(np.sqrt(np.sum(target**2) + 2.0 * self.problem.irreducible) * np.linalg.norm(root))
        return np.where(np.abs(values) <= EIGENVALUE_RTOL * max(np.abs(values).max(), 1e-3 * data), 0.0, values)


def random_problem(rng: np.random.Generator, widths: tuple[int, int, int] | None = None) -> Regression:
    """A regression of random widths, rank of X and singular values, which are equal or at least 0.3 apart."""
    d_in, d_hidden, d_out = (int(width) for width in (rng.integers(1, 7, size=3) if widths is None else widths))
    samples = d_in + int(rng.integers(0, 3))
    rank = d_in if rng.random() < 0.5 else int(rng.integers(1, d_in + 1))
    right = orthogonal(rng, samples)
    X = orthogonal(rng, d_in)[:, :rank] * rng.uniform(0.5, 2.0, size=rank) @ right[:rank]
    size = min(d_out, rank)
    values = np.cumsum(rng.choice([0.0, 0.3, 0.6], size=size)) + rng.choice([0.0, 0.5])
    target = (orthogonal(rng, d_out)[:, :size] * values) @ orthogonal(rng, rank)[:size]
    noise = 0.5 * rng.normal(size=(d_out, samples - rank)) @ right[rank:]
    normalization = "mean" if rng.random() < 0.2 else "sum"
    return quiet_regression((d_in, d_hidden, d_out), X, target @ right[:rank] + noise, normalization=normalization)


def quiet_regression(widths: tuple[int, int, int], X: np.ndarray, Y: np.ndarray, **settings: str) -> Regression:
    """A regression whose repeated or zero singular values need no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        return Regression(networks.Linear(widths), X, Y, **settings)  # type: ignore[arg-type]


def random_point(rng: np.random.Generator, wanted: Callable[[CriticalClass], bool] = lambda _: True) -> Point:
    """A random member of a random class that is `wanted`, with L_1 != 0 in two cases of three."""
    while True:
        problem = random_problem(rng)
        spectrum = shallow.spectrum_of(problem)
        sizes = (*spectrum.multiplicities, spectrum.num_zero)
        patterns = list(all_patterns(sizes, problem.network.shapes[0][0]))
        numbers = patterns[rng.integers(len(patterns))]
        counts, num_zero = numbers[:-1], numbers[-1]
        chosen = shallow.critical_class(problem, counts, num_zero)
        if wanted(chosen):
            break
    (d_hidden, d_in), rank = problem.network.shapes[0], sum(counts) + num_zero
    bases = [orthogonal(rng, size)[:, :number] for size, number in zip(sizes, numbers, strict=True)]
    mixing = (orthogonal(rng, d_hidden) * rng.uniform(0.5, 2.0, size=d_hidden)) @ orthogonal(rng, d_hidden)
    free = rng.normal(size=(d_hidden, d_in)) * (rng.random() < 2 / 3)
    form = shallow.analytical_form(
        problem, counts, num_zero, mixing=mixing, bases=bases, free_top=free[:rank], free_bottom=free[rank:]
    )
    return Point(problem, spectrum, chosen, form, shallow.weights_of(spectrum, form))


def find_roots(
    rng: np.random.Generator, problem: Regression, num_starts: int
) -> Iterator[tuple[Layers, shallow.Decomposition]]:
    """Zeros of the gradient found from random starts by least squares, not by any formula; some may not be critical."""
    root, target = arrays_of(problem)
    first, second = problem.network.shapes
    split = first[0] * first[1]

    def unpacked(flat: np.ndarray) -> Layers:
        return flat[:split].reshape(first), flat[split:].reshape(second)

    def equations(flat: np.ndarray) -> np.ndarray:
        return np.concatenate([part.ravel() for part in derivatives.gradient(unpacked(flat), root, target)])

    def jacobian(flat: np.ndarray) -> np.ndarray:
        return derivatives.hessian(unpacked(flat), root, target)

    for _ in range(num_starts):
        start = rng.normal(size=split + second[0] * second[1])
        found = scipy.optimize.least_squares(
            equations, start, jac=jacobian, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=400
        )
        yield unpacked(found.x), shallow.decompose(problem, unpacked(found.x))


def orthogonal(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random orthogonal matrix."""
    return np.linalg.qr(rng.normal(size=(size, size)))[0]
