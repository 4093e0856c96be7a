"""Proof that a non-global critical point of a shallow linear network is a strict saddle: a direction and its curvature.

For ``dA_1 = C^{-1} e_c u^T Y X^+`` and ``dA_2 = u C_c``, with u a missed singular vector, the Hessian form at
``(s dA_1, t dA_2)`` is ``(s, t) Q (s, t)^T`` with

    c <= k, the row of a captured sigma_j < sigma_i:     Q = [[sigma_i, -sigma_i], [-sigma_i, sigma_j]]
    c > k:                                               Q = [[0, -sigma_q], [-sigma_q, a]],   a = ||(C L_1)_c X||^2

so that the smallest eigenvalue of the Hessian is at most that of Q relative to ``diag(||dA_1||^2, ||dA_2||^2)``, which
is negative because det Q is. All pairs of a missed vector and a row are tried.

Source: paper 002 after Theorem 2, whose "saddle points can be non-strict" is false (its example is a global minimum);
the certificate is that of the landscape notes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.shallow_linear.construction import AnalyticalForm, spectrum_of
from gradflow.critical_sets.shallow_linear.derivatives import Layers
from gradflow.critical_sets.shallow_linear.perturbations import critical_form
from gradflow.critical_sets.shallow_linear.spectrum import DataSpectrum
from gradflow.problem import AbstractProblem
from gradflow.types import Weights


@dataclass(frozen=True)
class StrictnessCertificate:
    """A unit direction of negative curvature at a non-global critical point.

    Attributes:
        bound: the curvature along `direction`; the Hessian's smallest eigenvalue is at most this, and this is negative.
        direction: ``(s dA_1, t dA_2)``, of norm 1.
        form: the 2x2 matrix Q.
        norms: ``(||dA_1||^2, ||dA_2||^2)``.
        missed_sigma: sigma_i (or sigma_q), the missed one.
        captured_sigma: sigma_j of the captured row, None when the row is unused (``c > k``).
    """

    bound: float
    direction: Layers
    form: Float[np.ndarray, "2 2"]
    norms: Float[np.ndarray, " 2"]
    missed_sigma: float
    captured_sigma: float | None


def strictness_certificate(problem: AbstractProblem, params: Weights) -> StrictnessCertificate:
    """The most negative of the certified curvatures at a non-global critical point.

    Accuracy: the curvature is attained along the direction to about 1e-12 relative; it is an upper bound for the
    Hessian's smallest eigenvalue, often close to it.

    Raises:
        InputError: the point is a global minimum, not critical, or ambiguous.
    """
    point = critical_form(problem, params)
    assert point.form is not None and point.critical_class is not None
    remedy = "A global minimum has no negative curvature."
    checks.require(not point.critical_class.is_global, "params", "not be a global minimum", "one", remedy)
    return certificate_of_form(problem, point.form)


def certificate_of_form(problem: AbstractProblem, form: AnalyticalForm) -> StrictnessCertificate:
    """As :func:`strictness_certificate`, for a critical point given by its matrices; the bound depends on C.

    Raises:
        InputError: no missed singular value is larger than a captured one, and none is missed with a row of C unused.
    """
    spectrum = spectrum_of(problem)
    captured, rank = form.capture, form.capture.rank
    num_missed = spectrum.num_positive - sum(captured.counts)
    missed = captured.missed[:, :num_missed]
    sigma_missed = np.repeat(spectrum.sigma[:-1], np.subtract(spectrum.multiplicities, captured.counts))
    unused = form.mixing[rank:] @ form.offset @ spectrum.inputs
    corners = np.concatenate([np.repeat(spectrum.sigma, captured.all_counts), np.sum(unused**2, axis=1)])
    inverse = np.linalg.inv(form.mixing)
    first = np.sum((missed.T @ spectrum.regression) ** 2, axis=1)[:, None] * np.sum(inverse**2, axis=0)[None, :]
    second = np.broadcast_to(np.sum(form.mixing**2, axis=1), first.shape)
    upper = np.where(np.arange(len(corners)) < rank, sigma_missed[:, None], 0.0)
    bounds = _smallest_eigenvalues(upper, -sigma_missed[:, None], corners[None, :], first, second)
    is_usable = (np.arange(len(corners)) >= rank) | (sigma_missed[:, None] > corners[None, :])
    checks.require(
        bool(is_usable.any()),
        "form",
        "belong to a non-global critical point",
        f"counts {captured.counts} of {spectrum.multiplicities}, rank {rank}",
    )
    i, c = np.unravel_index(int(np.argmin(np.where(is_usable, bounds, np.inf))), bounds.shape)
    quadratic = np.array([[upper[i, c], -sigma_missed[i]], [-sigma_missed[i], corners[c]]])
    norms = np.array([first[i, c], second[i, c]])
    direction = _direction(spectrum, form, missed[:, i], int(c), inverse, quadratic, norms)
    return StrictnessCertificate(
        bound=float(bounds[i, c]),
        direction=direction,
        form=quadratic,
        norms=norms,
        missed_sigma=float(sigma_missed[i]),
        captured_sigma=float(corners[c]) if c < rank else None,
    )


def _direction(
    spectrum: DataSpectrum,
    form: AnalyticalForm,
    missed: np.ndarray,
    row: int,
    inverse: np.ndarray,
    quadratic: np.ndarray,
    norms: np.ndarray,
) -> Layers:
    """The unit direction that belongs to the smallest eigenvalue of Q relative to the norms."""
    lengths = np.sqrt(norms)
    weights = np.linalg.eigh(quadratic / np.outer(lengths, lengths))[1][:, 0] / lengths
    first = np.outer(inverse[:, row], missed @ spectrum.regression)
    return weights[0] * first, weights[1] * np.outer(missed, form.mixing[row])


def _smallest_eigenvalues(
    upper: np.ndarray, mixed: np.ndarray, lower: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Smallest eigenvalue of ``[[upper, mixed], [mixed, lower]]`` relative to ``diag(first, second)``.

    Written as ``2 det / (trace + root)`` of the scaled matrix, whose trace is not negative: nothing cancels.
    """
    a, b, c = upper / first, mixed / np.sqrt(first * second), lower / second
    return 2.0 * (a * c - b * b) / (a + c + np.sqrt((a - c) ** 2 + 4.0 * b * b))
