"""A promise about every saddle at once: how negative the least eigenvalue of the Hessian is at least.

Shallow linear networks, paper 001. ``g = f + mu/4 ||W_2^T W_2 - W_1 X X^T W_1^T||^2``, f the squared error, has no
other critical points than global minima and strict saddles, and at the saddles lambda_min is bounded away from zero by
the data alone, uniformly; so has ``h``, with ``W_1 W_1^T`` in place of ``W_1 X X^T W_1^T``. f itself has strict saddles
only as well, but in general no such number: its saddles include ever more unbalanced ones, at which lambda_min tends to
zero.

Letters: ``X = U S V^T`` of rank rho, sigma the diagonal of S; ``Y V = P diag(lambda) Q^T``, r positive lambdas;
``W* = Y X^+``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.certificates.certificate import Certificate
from gradflow.critical_sets import balanced
from gradflow.critical_sets.balanced.setting import BalancedSetting, balanced_setting, reduced_setting
from gradflow.hypotheses import Hypothesis, conjunction
from gradflow.networks import Linear
from gradflow.problem import Regression
from gradflow.regularizers import Balance
from gradflow.types import Weights

NAME = "curvature_at_saddles"
NO_SADDLES = "Y V is zero: every critical point is a global minimum, and there is nothing to bound"


def saddle_curvature_certificate(problem: Any) -> Certificate:
    """The certificate that lambda_min of the Hessian is negative and at most `bound` at every saddle.

    A saddle is a critical point that is not a global minimum: there are no others.

    Values, with a weighted Balance (or an unweighted one when ``X X^T = I``): ``bound``, the sharper one
    (:func:`pair_bounds`); ``paper_bound``, (14) or (15); ``lambda_d1`` and ``lambda_next`` of (15). With an unweighted
    Balance: ``bound = -alpha sigma_{r*}(W*)``, with ``alpha, beta`` the extreme eigenvalues of ``X X^T`` and ``sigma``
    that singular value. Without a regulariser: ``bound = 0`` (not attained; in general no better number exists) and
    ``bound_at_balanced``, which holds at the saddles with ``W_2^T W_2 = W_1 X X^T W_1^T``.

    holds is None for problems without theory (another network, depth, loss or regulariser), False when a hypothesis of
    a statement that exists fails.

    Accuracy: exact up to rounding; rank-deficient X, equal and zero singular values are covered, except that the
    unweighted Balance needs X of full row rank and ``r* <= d_1``.

    Source: paper 001, Theorems 2 and 3, Lemma 2 (14)-(15) with its undefined cases, Corollary 1 (stronger, and without
    its conditions on mu and on the condition number); paper 002, Theorem 2 with the correction that every saddle is
    strict.
    """
    structure = _structure(problem)
    if conjunction(structure) is not True:
        return Certificate(NAME, None, {}, structure, "none", "not certified: there is no theory for this problem")
    regularizer = problem.regularizer
    strength = 0.0 if regularizer is None else float(regularizer.strength)
    if strength == 0.0:
        return _plain(problem, structure)
    try:
        setting = balanced_setting(problem)
    except checks.InputError as error:
        matching = Hypothesis("the Balance has the X of the loss, or none and X has full row rank", False)
        return Certificate(NAME, False, {}, (*structure, matching), "paper 001, Theorem 2 and Corollary 1", str(error))
    return _weighted(setting, structure) if setting.is_weighted else _unweighted(setting, structure)


def pair_bounds(setting: BalancedSetting) -> Float[np.ndarray, " groups"]:
    """The bound at saddles whose strongest missed direction is in a given group, for groups that can be missed.

    The worst case: the weakest captured direction is the strongest weaker one, or a hidden unit is idle because there
    is none; and of the group's directions the one with the largest ``||S^{-1} q||`` is missed.
    """
    bounds = []
    for group in setting.groups:
        if group[0] >= setting.max_rank:
            break
        later = max(setting.num_hidden_units, group[-1] + 1)
        captured = float(setting.values[later]) if later < len(setting.values) else 0.0
        weight = np.linalg.norm(setting.right[:, list(group)] / setting.scales[:, None], 2) ** 2
        bounds.append(balanced.pair_bound(float(setting.values[group[-1]]), captured, float(weight)))
    return np.array(bounds)


def lemma_bound(setting: BalancedSetting) -> tuple[float, float, float]:
    """(14) or (15) of paper 001, with lambda_d1 (lambda_r in (14)) and lambda_{r'} (0 in (14) and where undefined).

    ``-2 (lambda_{min(d_1, r)} - lambda_{r'}) / (1 + sum_i sigma_i^{-2})``.
    """
    last = float(setting.values[setting.max_rank - 1])
    group = next(g for g in setting.groups if setting.max_rank - 1 in g)
    following = float(setting.values[group[-1] + 1]) if group[-1] + 1 < len(setting.values) else 0.0
    return -2.0 * (last - following) / (1.0 + float(np.sum(setting.scales**-2.0))), last, following


def corollary_bound(problem: Any, params: Weights) -> tuple[float, float]:
    """At one critical point of the unweighted problem: the bound printed in (7), and the stronger one.

    ``-alpha sigma_{r_c + 1}(W*)``, ``r_c = rank(W_2 W_1)``, holds for every mu > 0 and every condition number. In (7)
    the term ``sigma_{r_c}^2(W_2 W_1)`` has the wrong degree of homogeneity; it is returned as printed.

    Raises:
        InputError: not the unweighted problem with X of full row rank and ``1 <= r* <= d_1``; a point that is not
            critical, or a global minimum.

    Source: paper 001, Corollary 1.
    """
    setting = balanced_setting(problem)
    units, rank = setting.num_hidden_units, len(setting.values)
    checks.require(1 <= rank <= units, "problem", "have 1 <= rank(W*) <= d_1", f"rank {rank}, {units} hidden units")
    is_plain = bool(np.allclose(setting.metric @ setting.metric.T, np.eye(setting.root.shape[0]), atol=1e-9))
    checks.require(is_plain, "problem", "have an unweighted Balance", "a weighted one")
    point = balanced.decompose(problem, params)
    checks.require(point.is_critical, "params", "be a critical point", f"a point that is {point.verdict}")
    checks.require(point.rank < rank, "params", "be a saddle", "a global minimum")
    alpha = float(setting.scales[-1] ** 2)
    values = np.linalg.svd(setting.target @ setting.root_inverse, compute_uv=False)
    stronger = -alpha * float(values[point.rank])
    if point.rank == 0:
        return -0.1 * alpha * float(values[rank - 1]), stronger
    if units == rank:
        return -0.08 * alpha * float(values[rank - 1]), stronger
    product = np.linalg.svd(params[1] @ params[0], compute_uv=False)
    return -0.05 * alpha * min(float(product[point.rank - 1]) ** 2, float(values[rank - 1])), stronger


@dataclass(frozen=True)
class SaddleCheck:
    """A promise next to the spectrum at one critical point.

    Attributes:
        is_global: True when the point is a global minimum, of which nothing is promised but that lambda_min is 0.
        least_eigenvalue: of the Hessian there.
        bound: what was promised.
        kept: True when ``least_eigenvalue <= bound`` at a saddle, or no eigenvalue is negative at a global minimum,
            both up to rounding, ``1e-9`` of the largest eigenvalue.
    """

    is_global: bool
    least_eigenvalue: float
    bound: float
    kept: bool


def check_at(certificate: Certificate, problem: Any, params: Weights) -> SaddleCheck:
    """Whether a certificate's promise is kept at a critical point of the regularised problem.

    Args:
        certificate: from :func:`saddle_curvature_certificate` for the same problem; must hold.
        problem: the problem, with a Balance.
        params: a critical point.

    Raises:
        InputError: another certificate, or one that does not hold; not a critical point.
    """
    checks.require(certificate.name == NAME, "certificate", f"be a {NAME} certificate", f"'{certificate.name}'")
    checks.require(certificate.holds is True, "certificate", "hold, for a promise to be kept", f"{certificate.holds}")
    point = balanced.decompose(problem, params)
    checks.require(point.is_critical, "params", "be a critical point", f"a point that is {point.verdict}")
    spectrum = np.linalg.eigvalsh(balanced.hessian(problem, params))
    is_global = balanced.describe(problem, point.counts).is_global
    bound = 0.0 if is_global else float(certificate.values["bound"])
    rounding = 1e-9 * float(np.max(np.abs(spectrum)))
    least = float(spectrum[0])
    return SaddleCheck(is_global, least, bound, least >= -rounding if is_global else least <= bound + rounding)


def _structure(problem: Any) -> tuple[Hypothesis, ...]:
    is_regression = isinstance(problem, Regression)
    is_linear = is_regression and isinstance(problem.network, Linear)
    known = is_regression and (problem.regularizer is None or isinstance(problem.regularizer, Balance))
    return (
        Hypothesis("a linear network", True if is_linear else None),
        Hypothesis("one hidden layer", True if is_linear and problem.num_hidden == 1 else None),
        Hypothesis("the squared error", True if is_linear and problem.statistics is not None else None),
        Hypothesis("no regulariser, or a Balance", True if known else None),
    )


def _weighted(setting: BalancedSetting, structure: tuple[Hypothesis, ...]) -> Certificate:
    source = "paper 001, Theorem 2 and Lemma 2 (14)-(15), sharper"
    hypotheses = (*structure, Hypothesis("mu > 0", True), _has_saddles(setting))
    if conjunction(hypotheses) is not True:
        return Certificate(NAME, False, {}, hypotheses, source, NO_SADDLES)
    paper, last, following = lemma_bound(setting)
    values = {"bound": float(np.max(pair_bounds(setting))), "paper_bound": paper}
    return Certificate(NAME, True, values | {"lambda_d1": last, "lambda_next": following}, hypotheses, source)


def _unweighted(setting: BalancedSetting, structure: tuple[Hypothesis, ...]) -> Certificate:
    source = "paper 001, Corollary 1, stronger: for every mu > 0 and every condition number of X"
    units, rank = setting.num_hidden_units, len(setting.values)
    fits = Hypothesis(f"rank(W*) = {rank} is at most d_1 = {units}", rank <= units)
    full = Hypothesis("X has full row rank", True)
    hypotheses = (*structure, Hypothesis("mu > 0", True), full, _has_saddles(setting), fits)
    if conjunction(hypotheses) is not True:
        note = NO_SADDLES if not rank else "every saddle is strict all the same, but no uniform number is promised"
        return Certificate(NAME, False, {}, hypotheses, source, note)
    alpha, beta = float(setting.scales[-1] ** 2), float(setting.scales[0] ** 2)
    sigma = float(np.linalg.svd(setting.target @ setting.root_inverse, compute_uv=False)[rank - 1])
    values = {"bound": -alpha * sigma, "alpha": alpha, "beta": beta, "sigma": sigma}
    return Certificate(NAME, True, values, hypotheses, source)


def _plain(problem: Regression, structure: tuple[Hypothesis, ...]) -> Certificate:
    source = "paper 001, Theorem 3; paper 002, Theorem 2, with the correction that every saddle is strict"
    setting = reduced_setting(problem, is_weighted=True, strength=0.0)
    hypotheses = (*structure, _has_saddles(setting))
    if conjunction(hypotheses) is not True:
        return Certificate(NAME, False, {}, hypotheses, source, NO_SADDLES)
    values = {"bound": 0.0, "bound_at_balanced": float(np.max(pair_bounds(setting)))}
    note = "lambda_min < 0 at every saddle, but in general arbitrarily close to 0 at unbalanced ones"
    return Certificate(NAME, True, values, hypotheses, source, note)


def _has_saddles(setting: BalancedSetting) -> Hypothesis:
    return Hypothesis("Y V is not zero, so that there are saddles", len(setting.values) > 0)
