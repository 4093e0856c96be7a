"""A radius for networks that are not linear ones, where one can be proved; elsewhere a reason why none is promised.

Paper 003 announces for its section 5 results "similar" to the boundedness of linear networks; it proves invariants
only, and boundedness is false: a target entry outside the open range of sigma_2 is never reached, no minimum is
attained, and runs creep to infinity (tanh after tanh with the scalar target 2: ``w_2 ~ u + 1/(2u)``,
``u = log(8 t)/2``). Inside the range no theorem is known. What can be proved here, for the gradient flow of half the
squared error without regulariser (``y = ||Y||_op``, any normalization):

* **Linear networks in disguise** (:func:`linear_twin`): identity for both activations; residual networks with shortcuts
  over one layer, linear in ``I + A_k``, where ``||A|| <= ||I + A|| + sqrt(l d)``; one residual unit, linear with the
  target ``Y - X``. They have the bounds of :mod:`gradflow.certificates.boundedness`.
* **One hidden unit, identity output** (:func:`unit_radius`). With ``w = W_2``, ``r = ||w||^2``, ``u = W_1``,
  ``s = sigma_1(u X)`` one has ``dr/dt = 2 (<Y s^T, w> - r ||s||^2) <= 2 sqrt(r) ||s|| (y - sqrt(r) ||s||)``: r grows
  only while ``sqrt(r) ||s|| < y``, and the invariant ties ||s|| to r.
  *Homogeneous of degree 1, injective* (slopes at least m > 0), any X: ``||s|| >= m s_min ||P u||``, P the projector on
  the range of X, ``||P u||^2 = r - J``, ``J = r(0) - ||P u(0)||^2``. So r grows only while ``r (r - J) < (y / (m
  s_min))^2``, and ``||W||^2 = 2 r - r(0) + ||u(0)||^2``.
  *Odd and increasing with a potential*, m orthogonal distinct columns of norms n_k: ``r = I + 2 sum_k Sigma(a_k) /
  n_k^2``, so one ``|a_k| >= b(r)`` with ``r = I + 2 m Sigma(b) / min n_k^2``, and ``||s|| >= sigma(b)``. So r grows
  only while ``r sigma(b(r))^2 < y^2``; then ``Sigma(a_k) <= n_k^2 (r - I)/2`` and ``||P u||^2 = sum_k a_k^2 / n_k^2``.

With two or more hidden units these arguments fail, for the units can cancel each other while they grow. A gradient flow
of a loss that is at least 0 never blows up in finite time, though: ``||W(t)|| <= ||W(0)|| + sqrt(L(0) t)``.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.activations import AbstractActivation
from gradflow.certificates.certificate import Certificate
from gradflow.certificates.moving_part import checked_weights
from gradflow.flow import AbstractFlow, GradientFlow
from gradflow.hypotheses import Hypothesis, conjunction
from gradflow.invariants import contraction, distinct_columns
from gradflow.losses import squared_error
from gradflow.networks import Linear, Residual, Shallow
from gradflow.problem import Regression
from gradflow.statistics import RANK_RTOL

SOURCE = "gradflow.certificates.nonlinear_boundedness (paper 003, section 5, proves no bound)"
SLACK = 1.0 + 1e-9
"""Radii found by bisection are rounded up by this factor."""

FARTHEST = 1e8
"""Preactivation beyond which no root is looked for."""


@dataclass(frozen=True)
class LinearTwin:
    """A linear network with the same gradient flow: its problem, its start, and what its radii have to be increased by.

    `shift` bounds ``||W - W_twin||_F``, `layer_shift` the same for the operator norm of every layer.
    """

    problem: Regression
    params: tuple[Float[np.ndarray, "_ _"], ...]
    shift: float
    layer_shift: float
    reason: str


def linear_twin(problem: Regression, params0: Any) -> LinearTwin | None:
    """The linear network that `problem` is in disguise, or None.

    Identity for both activations of a shallow network; a residual network of shortcuts over one layer, with
    ``W_k = I + A_k``; a single residual unit, with targets ``Y - X``.
    """
    network, Y = problem.network, np.asarray(problem.Y)
    layers = checked_weights(problem, params0)
    if isinstance(network, Shallow) and all(map(_is_identity, (network.activation, network.output_activation))):
        widths, shift, reason = network.widths, 0.0, "both activations are the identity: the network is linear"
    elif isinstance(network, Residual) and network.depth == 1:
        widths, shift = (network.dim,) * (network.units + 1), 1.0
        layers = tuple(np.eye(network.dim) + layer for layer in layers)
        reason = "shortcuts over one layer: the network is linear in I + A_k, which moves like A_k"
    elif isinstance(network, Residual) and network.units == 1:
        widths, shift, Y = (network.dim,) * (network.depth + 1), 0.0, Y - np.asarray(problem.X)
        reason = "one residual unit: a linear network fitted to Y - X"
    else:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        twin = Regression(Linear(widths), problem.X, Y, normalization=problem.normalization)
    return LinearTwin(twin, layers, shift * float(np.sqrt(len(layers) * layers[0].shape[0])), shift, reason)


def gradient_flow_hypotheses(flow: AbstractFlow, problem: Regression) -> tuple[Hypothesis, ...]:
    """Half the squared error, no regulariser, the gradient flow."""
    return (
        Hypothesis(f"the flow is the gradient flow ({type(flow).__name__})", type(flow) is GradientFlow),
        Hypothesis("the loss is half the squared error", problem.loss_function is squared_error),
        Hypothesis("no regulariser or weight decay", contraction(problem.regularizer) == 0.0),
    )


def nonlinear_certificate(flow: AbstractFlow, problem: Regression, params0: Any) -> Certificate:
    """The certificate of a network that is neither :class:`~gradflow.networks.Linear` nor one in disguise.

    Holds, with ``norm0``, ``R`` and ``op_norm_j``, for one hidden unit and identity output under the hypotheses of the
    module. Otherwise `holds` is None, "not certified", and the note says what is known: whether a target entry lies
    where sigma_2 never gets, and how fast the norm can grow at most.
    """
    layers = checked_weights(problem, params0)
    norm = float(np.sqrt(sum(np.sum(layer * layer) for layer in layers)))
    hypotheses = gradient_flow_hypotheses(flow, problem)
    note = "not certified"
    if conjunction(hypotheses):
        note += f"; ||W(t)|| <= {norm:.6g} + sqrt({float(problem.loss(layers)):.6g} t) holds for every gradient flow"
    if not isinstance(problem.network, Shallow):
        known = Hypothesis("a bound is known for this network", None)
        if isinstance(problem.network, Residual):
            known = Hypothesis("one residual unit, or shortcuts over one layer", False)
        return Certificate("boundedness", None, {"norm0": norm}, (*hypotheses, known), SOURCE, note)
    network = problem.network
    reached, hint = _reached(network.output_activation, np.asarray(problem.Y))
    hypotheses += (reached, *_unit_hypotheses(network, np.asarray(problem.X)))
    if not reached.holds:
        note = f"{note}; {hint}"
    radius = unit_radius(problem, layers) if conjunction(hypotheses) else None
    if radius is None:
        return Certificate("boundedness", None, {"norm0": norm}, hypotheses, SOURCE, note)
    first, second = radius
    values = {"norm0": norm, "R": float(np.hypot(first, second)), "op_norm_1": first, "op_norm_2": second}
    return Certificate("boundedness", True, values, hypotheses, SOURCE, "one hidden unit: it cannot cancel itself")


def unit_radius(problem: Regression, layers: tuple[np.ndarray, ...]) -> tuple[float, float] | None:
    """Bounds on ``||W_1||`` and ``||W_2||`` for one hidden unit and identity output; see the module for the proof.

    None when the potential of a sigmoid of the user's is not known far enough.
    """
    network, X = problem.network, np.asarray(problem.X)
    assert isinstance(network, Shallow) and network.widths[1] == 1
    sigma, u, start = network.activation, layers[0][0], float(np.sum(layers[1] ** 2))
    reach = float(np.linalg.norm(np.asarray(problem.Y), 2))
    if sigma.homogeneity is not None:
        slope = min(abs(float(value)) for value in np.asarray(sigma(np.array([1.0, -1.0]))))
        left, scales, _ = np.linalg.svd(X, full_matrices=False)
        kept = scales > RANK_RTOL * scales[0]
        offset = start - float(np.sum((u @ left[:, kept]) ** 2))
        squared = (reach / (slope * float(scales[kept].min()))) ** 2
        root = float(np.hypot(offset, 2.0 * np.sqrt(squared)))
        largest = max(start, 0.5 * (offset + root) if offset > 0 else 2.0 * squared / max(root - offset, 1e-300))
        return SLACK * float(np.sqrt(largest - start + u @ u)), SLACK * float(np.sqrt(largest))
    columns = distinct_columns(X, signs=True).columns
    squares = np.sum(columns * columns, axis=0)
    moving = u @ columns
    share = float(np.sum(_potential(sigma, moving) / squares))
    invariant = start - 2.0 * share
    count, narrow = len(squares), float(squares.min())

    def can_grow(b: np.ndarray) -> np.ndarray:
        size = invariant + 2.0 * count * _potential(sigma, b) / narrow
        return ~(np.maximum(size, 0.0) * np.asarray(sigma(b)) ** 2 >= reach**2)

    edge = _last_true(can_grow, np.zeros(1)) if np.isfinite(share) else None
    if edge is None:
        return None
    largest = start
    if reach > 0.0:
        largest = max(start, SLACK * (reach / float(np.asarray(sigma(edge))[0])) ** 2)
    supply = 0.5 * (largest - start) + share
    far = _last_true(lambda b: ~(_potential(sigma, b) >= squares * supply), np.zeros(count))
    if far is None:
        return None
    frozen = max(float(u @ u - np.sum(moving**2 / squares)), 0.0)
    return SLACK * float(np.sqrt(frozen + np.sum(far**2 / squares))), SLACK * float(np.sqrt(largest))


def _unit_hypotheses(network: Shallow, X: np.ndarray) -> tuple[Hypothesis, ...]:
    sigma, hidden = network.activation, network.widths[1]
    single = Hypothesis(f"one hidden unit (d_1 = {hidden}): more can cancel each other while they grow", hidden == 1)
    output = network.output_activation
    plain = Hypothesis(f"sigma_2 ({output.name}) is the identity", _is_identity(output))
    if sigma.homogeneity is not None:
        words = f"sigma_1 ({sigma.name}) is homogeneous of degree 1 and injective"
        return single, plain, Hypothesis(words, sigma.homogeneity == 1.0 and sigma.is_injective)
    distinct = distinct_columns(X, signs=sigma.is_odd)
    words = f"the distinct columns of X are orthogonal (|cosine| {distinct.cosine:.2g})"
    shape = Hypothesis(f"sigma_1 ({sigma.name}) is odd and increasing", sigma.is_odd and sigma.is_injective)
    return single, plain, shape, Hypothesis(words, distinct.is_orthogonal)


def _reached(sigma: AbstractActivation, Y: np.ndarray) -> tuple[Hypothesis, str]:
    """Whether sigma_2 takes the value nearest to every target, and what to say when it does not."""
    low, high = sigma.range
    if sigma.homogeneity is not None:
        return Hypothesis(f"sigma_2 ({sigma.name}) takes the value nearest to every target", True), ""
    outside = np.argwhere((low >= Y) | (high <= Y))
    words = f"every target lies inside the open range ({low:.6g}, {high:.6g}) of sigma_2 ({sigma.name})"
    if not len(outside):
        return Hypothesis(words, True), ""
    row, column = outside[0]
    hint = (
        f"{len(outside)} target(s), the first Y[{row}, {column}] = {Y[row, column]:.6g}, lie where {sigma.name} never "
        "gets: no outputs attain the minimum, and runs may be unbounded (rescale Y into the range, or add weight decay)"
    )
    return Hypothesis(words, False), hint


def _is_identity(sigma: AbstractActivation) -> bool:
    return sigma.homogeneity == 1.0 and sigma.is_odd and float(np.asarray(sigma(np.ones(())))) == 1.0


def _potential(sigma: AbstractActivation, values: Any) -> np.ndarray:
    return np.asarray(sigma.potential(np.asarray(values)))


def _last_true(condition: Any, like: np.ndarray) -> np.ndarray | None:
    """Entry by entry an upper end of ``{b >= 0: condition(b)}``, an interval from 0; None without an end.

    A condition is written as "not (... >= ...)", so that a NaN, which is met only far out, counts as inside.
    """
    high = np.ones_like(like)
    while np.any(condition(high)):
        high = np.where(condition(high), 2.0 * high, high)
        if high.max() > FARTHEST:
            return None
    low = np.zeros_like(like)
    for _ in range(100):
        middle = 0.5 * (low + high)
        is_low = condition(middle)
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    return high
