"""A radius that ``||W(t)||_F`` never leaves, computed from the start alone.

Linear networks, in the notation of :mod:`gradflow.certificates.moving_part` (``g = ||W_{H+1}||_F^2``, ``s_min`` the
smallest of S, ``delta = sqrt(2 (L(0) - irreducible))``, k the rank bound ``min(d_{H+1}, d_H)``):

1. All moving layers gain alike: ``d||W_j'||^2/dt = 2<A, M>``, so
   ``||W(t)||^2 = ||W(0)||^2 + (H+1)(g(t) - g(0))``, F being constant; it is enough to bound g.
2. g grows only while ``0 < <A, T - A>``, that is ``||A - T/2|| < ||T||/2``; then ``A = Pi' S`` gives
   ``||Pi'|| <= 1/2 (||T S^-1|| + ||T|| / s_min)``. At all times ``||A - T|| <= delta``, hence
   ``||Pi'|| <= ||T S^-1|| + delta / s_min =: rho``. The first is at most the ``||T|| / s_min`` that
   ``||A|| >= s_min ||Pi'||`` alone gives, and ``||T||`` itself for S = I, as in paper 003. Call the smaller of the two
   the reach. The same two lines hold for ``u^T A`` with any unit vector u, with operator norms of T and ``T S^-1``.
3. ``||Pi'||`` grows with g: Lemma 1's ``||Pi'||^2 >= C0 g^{H+1} - P(g)``, or the chain
   ``||Pi'^T u||^2 >= prod_j (s - e_j)_+`` with ``s = ||W_{H+1}||_op^2``, u its top left singular vector and
   ``e_j = sum_{i >= j} lambda_max(C_i')``.

Hence g cannot pass the value where 3 exceeds 2: **R_loss** (rho in Lemma 1), **R_ode** (the reach in Lemma 1),
**R_chain** (the reach in the chain; operator norms bound s, Frobenius norms bound g; when S is a multiple of the
identity, as in reduced coordinates, also the mirror image that starts from W_1), and **R**, the smallest.
Under weight decay C_j is not conserved; there the loss itself bounds the norm. Source: paper 003, Lemma 1 and
Proposition 1 made computable, with C0 corrected to ``min(d_{H+1}, d_H)^{-H}``.
"""

from typing import Any

import jax
import numpy as np

from gradflow import checks
from gradflow.certificates.certificate import Certificate
from gradflow.certificates.moving_part import MovingPart, checked_weights, linear_hypotheses, moving_part
from gradflow.certificates.nonlinear_boundedness import gradient_flow_hypotheses, linear_twin, nonlinear_certificate
from gradflow.certificates.product_growth import NUDGE, chain_root, lemma1_polynomials, lemma1_root
from gradflow.flow import AbstractFlow, GradientFlow
from gradflow.hypotheses import Hypothesis, conjunction
from gradflow.invariants import contraction
from gradflow.losses import squared_error
from gradflow.networks import Linear
from gradflow.precision import in_double
from gradflow.problem import Landscape, Regression

SOURCE = "paper 003, Lemma 1 and Proposition 1, made computable (C0 corrected)"


@in_double
def boundedness_certificate(flow: AbstractFlow, params0: Any) -> Certificate:
    """The certificate that ``||W(t)||_F <= R`` for all t >= 0.

    Values: ``norm0 = ||W(0)||``, ``R`` and the bounds it is the smallest of: ``R_loss``, ``R_ode``, ``R_chain`` (also
    ``R_columns`` for one layer), ``op_norm_j`` on the operator norm of each layer; under weight decay ``R_decay``
    from the decreasing loss and, for linear networks, ``R_balance`` from growth against decay. A landscape that
    brings its own radius is certified by it. Networks that are not linear, or only in disguise:
    :mod:`gradflow.certificates.nonlinear_boundedness`; there `holds` is None where nothing can be proved.

    Accuracy: an upper bound up to 1e-12 relative; compare with a trajectory up to its own integration error.
    """
    problem = flow.problem
    if isinstance(problem, Landscape):
        return _landscape_certificate(problem, params0)
    if isinstance(problem, Regression) and (contraction(problem.regularizer) or 0.0) > 0.0:
        return _decay_certificate(flow, problem, params0)
    if isinstance(problem, Regression) and not isinstance(problem.network, Linear):
        return _other_network_certificate(flow, problem, params0)
    hypotheses = linear_hypotheses(flow)
    holds = conjunction(hypotheses)
    if not holds:
        norm = _norm(checked_weights(problem, params0) if isinstance(problem, Regression) else params0)
        return Certificate("boundedness", holds, {"norm0": norm}, hypotheses, SOURCE, "not certified")
    assert isinstance(problem, Regression)
    values = linear_bounds(moving_part(problem, params0))
    return Certificate("boundedness", True, values, hypotheses, SOURCE, "R is the smallest of the bounds")


def linear_bounds(part: MovingPart) -> dict[str, float]:
    """All bounds for a linear network without regulariser, by name, and R, the smallest."""
    norm, depth = part.norm, part.num_hidden
    if len(part.scales) == 0:
        return {"norm0": norm, "R": norm, "R_loss": norm, "R_ode": norm, "R_chain": norm}
    gain, first_gain = part.squared_norms[-1], part.squared_norms[0]
    reach, ever = _reach(part, "fro")
    directional, _ = _reach(part, 2)
    polynomials = lemma1_polynomials(part.layers)

    def radius(growth: float) -> float:
        return NUDGE * float(np.sqrt(norm**2 + (depth + 1) * max(growth, 0.0)))

    chain, top = _chain_growth(part.layers[-1], _partial_sums(part, 1.0), directional, reach)
    if part.is_isotropic:
        mirrored, first_top = _chain_growth(part.layers[0], _partial_sums(part, -1.0), directional, reach)
        chain = min(chain, mirrored)
    else:
        first_top = np.inf
    values = {
        "norm0": norm,
        "R": np.inf,
        "R_loss": radius(lemma1_root(polynomials, ever) - gain),
        "R_ode": radius(lemma1_root(polynomials, reach) - gain),
        "R_chain": radius(chain),
    }
    if depth == 0:
        values["R_columns"] = NUDGE * _columns_radius(part)
    values["R"] = min(value for name, value in values.items() if name.startswith("R"))
    growth = (values["R"] ** 2 - norm**2) / (depth + 1)
    top, first_top = min(top, gain + growth), min(first_top, first_gain + growth)
    return values | _operator_norms(part, top, first_top, growth)


def _reach(part: MovingPart, norm: Any) -> tuple[float, float]:
    """The largest ``||Pi'||`` at which g can still grow, and the largest at all (points 2 of the module)."""
    target, solution = np.linalg.norm(part.target, norm), np.linalg.norm(part.target / part.scales, norm)
    smallest = float(np.min(part.scales))
    ever = float(solution + np.sqrt(2.0 * part.excess) / smallest)
    return min(0.5 * float(solution + target / smallest), ever), ever


def _partial_sums(part: MovingPart, sign: float) -> np.ndarray:
    """``(0, e_H, ..., e_1)`` for sign 1; mirrored, ``(0, f_2, ..., f_{H+1})``, for sign -1.

    ``e_j = sum_{i >= j} lambda_max(C_i')``, ``f_j = sum_{i < j} lambda_max(-C_i')``.
    """
    pairs = zip(part.spectra, part.roundings, strict=True)
    largest = [float(np.max(sign * spectrum)) + rounding for spectrum, rounding in pairs]
    ordered = largest[::-1] if sign > 0 else largest
    return np.concatenate([[0.0], np.cumsum(ordered)])


def _chain_growth(layer: np.ndarray, shifts: np.ndarray, directional: float, reach: float) -> tuple[float, float]:
    """How much ``||layer||_F^2`` can grow, and the largest ``||layer||_op^2``, by the chain lemma."""
    start, squared = float(np.linalg.norm(layer, 2)) ** 2, float(np.sum(layer * layer))
    rank = min(layer.shape)
    top = max(start, chain_root(shifts, directional))
    largest = min(rank * top, max(squared, rank * chain_root(shifts, reach)))
    return largest - squared, min(top, largest)


def _columns_radius(part: MovingPart) -> float:
    """One layer is a linear equation: column i moves straight from ``w_i(0)`` to ``T_i / s_i``."""
    starts, ends = np.sum(part.layers[0] ** 2, axis=0), np.sum((part.target / part.scales) ** 2, axis=0)
    return float(np.sqrt(np.sum(np.maximum(starts, ends)) + np.sum(part.frozen**2)))


def _operator_norms(part: MovingPart, top: float, first_top: float, growth: float) -> dict[str, float]:
    """``||W_l||_op^2 <= top + sum_{i >= l} lambda_max(-C_i)``, its mirror image, and ``||W_l(0)||_F^2 + growth``."""
    falling, rising = _partial_sums(part, -1.0), _partial_sums(part, 1.0)
    result = {}
    for index, squared in enumerate(part.squared_norms):
        from_last = top + (falling[-1] - falling[index])
        from_first = first_top + (rising[-1] - rising[part.num_hidden - index])
        bound = max(min(from_last, from_first, squared + growth), 0.0)
        if index == 0:
            bound += float(np.linalg.norm(part.frozen, 2)) ** 2
        result[f"op_norm_{index + 1}"] = NUDGE * float(np.sqrt(bound))
    return result


def _decay_certificate(flow: AbstractFlow, problem: Regression, params0: Any) -> Certificate:
    """Bounds under weight decay: ``strength/2 ||W||^2 <= L(0) - irreducible``, and growth against decay.

    For a linear network ``d||W||^2/dt = 2(H+1)<A, T - A> - 2 strength ||W||^2`` and ``<A, T - A> <= ||T||^2 / 4``.
    """
    strength = contraction(problem.regularizer) or 0.0
    hypotheses = (
        Hypothesis("the flow is the gradient flow of the loss", type(flow) is GradientFlow),
        Hypothesis("the loss is half the squared error", problem.loss_function is squared_error),
        Hypothesis(f"weight decay of positive strength ({strength:g})", strength > 0.0),
    )
    norm = _norm(checked_weights(problem, params0))
    values, source = {"norm0": norm}, "the loss decreases along its gradient flow"
    if not conjunction(hypotheses):
        return Certificate("boundedness", False, values, hypotheses, source, "not certified")
    if problem.statistics is None:
        bounds = {"R_decay": float(np.sqrt(2.0 * float(problem.loss(params0)) / strength))}
    else:
        part = moving_part(problem, params0)
        supply = (problem.num_hidden + 1) * float(np.sum(part.target**2))
        bounds = {
            "R_decay": float(np.sqrt(2.0 * part.excess / strength + norm**2)),
            "R_balance": float(np.sqrt(max(norm**2, supply / (4.0 * strength)))),
        }
    bounds = {name: NUDGE * bound for name, bound in bounds.items()}
    values |= {"R": min(bounds.values())} | bounds
    note = "R_loss, R_ode and R_chain do not apply: their hypothesis 'no regulariser or weight decay' is false"
    return Certificate("boundedness", True, values, hypotheses, source, note)


def _other_network_certificate(flow: AbstractFlow, problem: Regression, params0: Any) -> Certificate:
    """The bounds of the linear network that this one is in disguise, or what can be said of a nonlinear one."""
    twin, hypotheses = linear_twin(problem, params0), gradient_flow_hypotheses(flow, problem)
    if twin is None or not conjunction(hypotheses):
        return nonlinear_certificate(flow, problem, params0)
    bounds = linear_bounds(moving_part(twin.problem, twin.params))
    shifts = {name: twin.layer_shift if name.startswith("op") else twin.shift for name in bounds}
    values = {name: bound + shifts[name] for name, bound in bounds.items()}
    values["norm0"] = _norm(params0)
    hypotheses += (Hypothesis(f"the network is linear in disguise ({twin.reason})", True),)
    return Certificate("boundedness", True, values, hypotheses, SOURCE, "R is the smallest of the bounds")


def _landscape_certificate(problem: Landscape, params0: Any) -> Certificate:
    """The landscape's own radius, checked to contain the start; not certified when it has none."""
    norm = _norm(params0)
    if problem.radius is None:
        unknown = (Hypothesis(f"a bound is known for the landscape {problem.name}", None),)
        return Certificate("boundedness", None, {"norm0": norm}, unknown, problem.source, "not certified")
    radius = checks.real("radius(params0)", problem.radius(params0))
    hypotheses = (
        Hypothesis(f"a bound is known for the landscape {problem.name}", True),
        Hypothesis("the start lies inside it", radius >= norm),
    )
    return Certificate("boundedness", conjunction(hypotheses), {"norm0": norm, "R": radius}, hypotheses, problem.source)


def _norm(params0: Any) -> float:
    leaves = [checks.finite_array("params0", leaf) for leaf in jax.tree.leaves(params0)]
    return float(np.sqrt(sum(np.sum(leaf * leaf) for leaf in leaves)))
