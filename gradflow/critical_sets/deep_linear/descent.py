"""Ways down from the saddles of deep linear networks, each with the exact change of the loss.

Three perturbations and a curve: rotating a captured direction into a missed larger one (Theorem 4 item 1 of paper
002), adding
a missed direction through the last two layers (item 2), moving the first and the last layer against each other where
``Z = W_H ... W_2`` has more rank than the product (paper 003, Proposition 3 (iii)), and the third-order curve at
saddles
of H = 2 whose Hessian has no negative eigenvalue. Letters as in the papers, R and T in place of X and Y. Each checks
that the point has what it needs; none integrates or searches.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.deep_linear.construction import deep_regression, widths_of
from gradflow.critical_sets.deep_linear.decomposition import DeepDecomposition, Level, decompose
from gradflow.problem import AbstractProblem
from gradflow.types import Weights


@dataclass(frozen=True)
class Perturbation:
    """A perturbed point and the exact change of the loss that the formula promises (negative: lower).

    Attributes:
        params: the perturbed layers.
        change: ``L(params) - L(point)`` in closed form.
        k: the level of :class:`DeepDecomposition` that was used.
    """

    params: Weights
    change: float
    k: int


def rotate_captured(problem: AbstractProblem, params: Weights, eps: float) -> Perturbation:
    """A deep-non-optimal point with one captured direction turned towards a larger missed one.

    At the first non-optimal level k, with w captured (value ``sigma_j(k)``, possibly 0) and u missed (``sigma_i(k)``
    larger):
    ``A_l -> O A_l`` with the rotation O that takes w to ``(w + eps u) / sqrt(1 + eps^2)``, and ``A_{k+1}`` by eq.
    (4) for the
    rotated directions. The change is ``-1/2 eps^2 / (1 + eps^2) (sigma_i(k) - sigma_j(k))``, and the rank of ``A_l``
    stays.

    Raises:
        InputError: no level of the point is non-optimal.

    Source: paper 002, Theorem 4 item 1, with the factor 1/2, ``j <= r(k) + 1``, and a rotation in place of
    ``M_k (U_k S_k)^T A_l``, which lowers the rank of ``A_l`` when ``rank A_l > rank A_(l,k+2)``.
    """
    problem = deep_regression(problem)
    found = decompose(problem, params)
    level = next((level for level in found.levels if level.is_non_optimal), None)
    checks.require(
        level is not None, "params", "be a deep-non-optimal critical point", found.category,
        "See optimal_perturbation, outer_plane and third_order_curve.",
    )  # fmt: skip
    assert level is not None
    missed, captured, gain = _exchange(level)
    rotation = _rotation(captured, missed, eps)
    spectrum, recovery = level.spectrum, level.recovery
    directions, top = rotation @ recovery.capture.directions, recovery.mixing[: recovery.rank]
    lifted = np.linalg.solve(recovery.mixing, np.eye(len(recovery.mixing))[:, : recovery.rank])
    layers = [np.array(layer, np.float64) for layer in params]
    layers[-1] = rotation @ layers[-1]
    offset = layers[level.k]
    layers[level.k] = offset + lifted @ (directions.T @ spectrum.regression - top @ offset @ spectrum.input_projector)
    return Perturbation(tuple(layers), -0.5 * eps**2 / (1 + eps**2) * gain, level.k)


def add_missed(problem: AbstractProblem, params: Weights, eps1: float, eps2: float | None = None) -> Perturbation:
    """A deep-optimal point with the largest missed direction added through the last two layers.

    With C, the missed direction u of value sigma and ``p = rank A_l`` at level l - 2:
    ``A_l -> A_l + eps2 u C_{p+1,:}``, ``A_{l-1} -> A_{l-1} + eps1 C^{-1} e_{p+1} u^T T (A_(l-2,1) R)^+``. The change is
    ``1/2 eps2^2 a + (1/2 eps1^2 eps2^2 - eps1 eps2) sigma`` with ``a = ||(C A_{l-1})_{p+1,:} A_(l-2,1) R||^2``.

    Args:
        problem, params: the point.
        eps1: first step.
        eps2: second step; default the best one, ``eps1 sigma / (a + eps1^2 sigma)``.

    Raises:
        InputError: ``A_l A_{l-1}`` misses nothing on its data, or ``A_l`` has full column rank.

    Source: paper 002, Theorem 4 item 2, with the formula of Proposition 3 item 2 corrected.
    """
    problem = deep_regression(problem)
    found = decompose(problem, params)
    level = found.levels[-1]
    spectrum, recovery = level.spectrum, level.recovery
    rank = recovery.rank
    has_room = rank < len(recovery.mixing) and sum(level.counts) < spectrum.num_positive
    checks.require(has_room, "params", "miss a direction in its last two layers and have room for it", found.category)
    group = next(i for i, size in enumerate(spectrum.multiplicities) if level.counts[i] < size)
    missed = _missed_in_group(level, group)
    sigma, row = float(spectrum.sigma[group]), recovery.mixing[rank]
    layers = [np.array(layer, np.float64) for layer in params]
    a = float(np.sum((row @ layers[-2] @ spectrum.inputs) ** 2))
    second = eps1 * sigma / (a + eps1**2 * sigma) if eps2 is None else eps2
    lifted = np.linalg.solve(recovery.mixing, np.eye(len(recovery.mixing))[:, rank])
    layers[-1] = layers[-1] + second * np.outer(missed, row)
    layers[-2] = layers[-2] + eps1 * np.outer(lifted, missed @ spectrum.regression)
    change = 0.5 * second**2 * a + (0.5 * eps1**2 * second**2 - eps1 * second) * sigma
    return Perturbation(tuple(layers), change, level.k)


@dataclass(frozen=True)
class OuterPlane:
    """Two directions, of the first and of the last layer, and the quadratic form on their plane.

    ``H_W(lambda, mu) = -a lambda mu + c mu^2 / 2`` is the second-order term of the loss along
    ``lambda first + mu last``, half the
    second derivative.

    Attributes:
        first, last: the directions, in the shapes of the weights.
        a, c: ``tr(T V E_Y)`` and ``||T Z W_111||^2 + ||T Z W_12||^2``.
    """

    first: Weights
    last: Weights
    a: float
    c: float

    def value(self, lam: float, mu: float) -> float:
        """``H_W(lambda, mu)``."""
        return -self.a * lam * mu + 0.5 * self.c * mu**2

    def minimiser(self, lam: float) -> float:
        """``mu = a lambda / c``, where the form is ``-a^2 lambda^2 / (2 c)``; infinite when c = 0."""
        return self.a * lam / self.c if self.c > 0 else np.inf

    def direction(self, lam: float, mu: float) -> Weights:
        """``lambda first + mu last``."""
        return tuple(lam * one + mu * other for one, other in zip(self.first, self.last, strict=True))


def outer_plane(problem: AbstractProblem, params: Weights) -> OuterPlane:
    """The plane of negative curvature at a critical point with ``r_Z > r`` that is not a global minimiser.

    ``w_{1,1,2} = lambda v b^T`` with v in the kernel of ``W_{H+1} Z`` but not of Z, and
    ``w_{H+1,2} = mu b V^T / ||V||^2`` with
    ``V = Z v``; b is the largest missed direction, so that a is its singular value.

    Raises:
        InputError: Z has no more rank than ``W_{H+1} Z`` (which is r when the target has full rank), or nothing is
            missed.

    Source: paper 003, proof of Proposition 3 (iii), for targets of any rank.
    """
    problem = deep_regression(problem)
    found = decompose(problem, params)
    layers = [np.asarray(layer, np.float64) for layer in params]
    last = len(layers) - 1
    has_rank = found.ranks is not None and found.ranks[1][last - 1] > found.ranks[1][last]
    checks.require(
        has_rank, "params", "have r_Z = rank Z > rank W_{H+1} Z", "equal or ambiguous ranks",
        "Where W_{H+1} Z has more rank than the product, see rotate_captured.",
    )  # fmt: skip
    value, missed, partner = _largest_missed(found)
    middle = np.eye(layers[0].shape[0])
    for layer in layers[1:-1]:
        middle = layer @ middle
    kernel = _kernel(layers[-1] @ middle, len(middle[0]) - _rank_behind(found))
    _, _, right = np.linalg.svd(middle @ kernel)
    v = kernel @ right[0]
    image = middle @ v
    size = float(image @ image)
    spectrum = found.levels[0].spectrum
    zeros = [np.zeros_like(layer) for layer in layers]
    outer = (np.outer(v, partner @ spectrum.pseudoinverse), *zeros[1:])
    other = (*zeros[:-1], np.outer(missed, image) / size)
    c = float(np.sum((image @ middle @ layers[0] @ spectrum.inputs) ** 2)) / size**2
    return OuterPlane(outer, other, value, c)


@dataclass(frozen=True)
class ThirdOrderCurve:
    """A curve of weights along which the loss falls like ``-value eps^3`` from a non-strict saddle.

    ``W_h(eps) = W_h + t_h step_h`` with ``t = (eps, eps, eps)``, or ``(eps^{1/2}, eps^2, eps^{1/2})`` when no step
    avoids a
    cost in ``t_2^2``.

    Attributes:
        start: the saddle.
        steps: one step for each layer.
        powers: how the ``t_h`` depend on eps.
        value: s, the missed singular value.
        alpha, beta: norms of ``W_3 f_2`` and ``phi_1^T W_1 R``, the sources of cost.
    """

    start: Weights
    steps: Weights
    powers: tuple[float, float, float]
    value: float
    alpha: float
    beta: float

    def at(self, eps: float) -> Weights:
        """The weights at eps >= 0."""
        return tuple(
            layer + eps**power * step for layer, power, step in zip(self.start, self.powers, self.steps, strict=True)
        )

    def change(self, eps: float) -> float:
        """``L(eps) - L(0)``, exactly.

        ``-s t1 t2 t3 + 1/2 [(t1 t2 t3)^2 + (t2 alpha beta)^2 + (t1 t2 alpha)^2 + (t2 t3 beta)^2]``.
        """
        t1, t2, t3 = (eps**power for power in self.powers)
        cost = (t1 * t2 * t3) ** 2 + (t2 * self.alpha * self.beta) ** 2
        cost += (t1 * t2 * self.alpha) ** 2 + (t2 * t3 * self.beta) ** 2
        return -self.value * t1 * t2 * t3 + 0.5 * cost


def third_order_curve(problem: AbstractProblem, params: Weights) -> ThirdOrderCurve:
    """A curve down from a non-strict saddle of a network with two hidden layers.

    In the kernel of the Hessian, with the largest missed pair (u, v) of value s: ``W_1 + t1 f_1 v^T R^+``,
    ``W_2 + t2 f_2 phi_1^T``, ``W_3 + t3 u phi_2^T``. The f_h lie in the kernel of what follows towards the captured
    outputs, the
    covectors phi_h vanish on what the captured inputs reach, and ``phi_h(f_h) = 1``. Without the second condition
    the same
    perturbation *raises* the loss for small eps.

    Raises:
        InputError: H is not 2, or the point is not a non-strict saddle.

    Source: not in the papers; paper 003, Remark 3 stops at the semidefinite Hessian.
    """
    problem = deep_regression(problem)
    checks.require(problem.num_hidden == 2, "problem", "have two hidden layers", problem.num_hidden)
    found = decompose(problem, params)
    is_nonstrict = found.strict is False and found.category != "global"
    checks.require(is_nonstrict, "params", "be a non-strict saddle", f"{found.category}, strict = {found.strict}")
    layers = tuple(np.asarray(layer, np.float64) for layer in params)
    value, missed, partner = _largest_missed(found)
    spectrum, r = found.levels[0].spectrum, sum(found.counts)
    product = layers[2] @ layers[1] @ layers[0] @ spectrum.inputs
    left, _, right = np.linalg.svd(product)
    outputs, inputs = left[:, :r], right[:r].T
    reached = layers[0] @ spectrum.inputs
    widths = widths_of(problem)
    f1_space = _kernel(outputs.T @ layers[2] @ layers[1], widths[1] - r)
    f2_space = _kernel(outputs.T @ layers[2], widths[2] - r)
    phi1_space = _kernel((reached @ inputs).T, widths[1] - r)
    phi2_space = _kernel((layers[1] @ reached @ inputs).T, widths[2] - r)
    f2 = f2_space @ np.linalg.svd(layers[2] @ f2_space)[2][-1]
    phi1 = phi1_space @ np.linalg.svd(reached.T @ phi1_space)[2][-1]
    f1 = _dual(f1_space, phi1)
    phi2 = _dual(phi2_space, f2)
    alpha, beta = float(np.linalg.norm(layers[2] @ f2)), float(np.linalg.norm(phi1 @ reached))
    scale = problem.weight_scale
    is_free = alpha * beta <= 1e-9 * scale**2 * float(np.linalg.norm(spectrum.inputs, 2))
    steps = (np.outer(f1, partner @ spectrum.pseudoinverse), np.outer(f2, phi1), np.outer(missed, phi2))
    return ThirdOrderCurve(layers, steps, (1.0, 1.0, 1.0) if is_free else (0.5, 2.0, 0.5), value, alpha, beta)


def _exchange(level: Level) -> tuple[np.ndarray, np.ndarray, float]:
    """A missed direction u, a captured w of smaller value, and ``sigma_i - sigma_j``, the largest such."""
    sizes, counts, sigma = level.spectrum.multiplicities, level.recovery.capture.all_counts, level.spectrum.sigma
    i = next(index for index, size in enumerate(sizes) if counts[index] < size)
    j = max(index for index, count in enumerate(counts) if count)
    group = level.spectrum.left[:, list(level.spectrum.all_groups[j])]
    captured = group @ level.recovery.capture.bases[j][:, 0]
    return _missed_in_group(level, i), captured, float(sigma[i] - sigma[j])


def _missed_in_group(level: Level, group: int) -> Float[np.ndarray, " d_out"]:
    """The first direction of a group that is not captured."""
    offset = sum(
        size - count for size, count in zip(level.spectrum.multiplicities[:group], level.counts[:group], strict=True)
    )
    return level.recovery.capture.missed[:, offset]


def _rotation(captured: np.ndarray, missed: np.ndarray, eps: float) -> Float[np.ndarray, "n n"]:
    cosine, sine = 1 / np.sqrt(1 + eps**2), eps / np.sqrt(1 + eps**2)
    plane = np.column_stack([captured, missed])
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.eye(len(captured)) + plane @ (turn - np.eye(2)) @ plane.T


def _largest_missed(found: DeepDecomposition) -> tuple[float, np.ndarray, np.ndarray]:
    """Value s and the pair (u, v) of the largest missed singular direction, ``T v = s u``."""
    level = found.levels[0]
    sizes = level.spectrum.multiplicities
    group = next((index for index, size in enumerate(sizes) if level.counts[index] < size), None)
    checks.require(group is not None, "params", "miss a positive singular value", "none missed")
    assert group is not None
    missed = _missed_in_group(level, group)
    value = float(np.sqrt(level.spectrum.sigma[group]))
    return value, missed, level.spectrum.outputs.T @ missed / value


def _rank_behind(found: DeepDecomposition) -> int:
    """Rank of ``A_(l,2) = W_{H+1} Z``."""
    return found.levels[0].recovery.rank


def _kernel(matrix: np.ndarray, dim: int) -> Float[np.ndarray, "n dim"]:
    """Orthonormal basis of the kernel, whose dimension is known."""
    columns = matrix.shape[1]
    if matrix.shape[0] == 0:
        return np.eye(columns)[:, :dim]
    return np.linalg.svd(matrix)[2][columns - dim :].T


def _dual(space: np.ndarray, functional: np.ndarray) -> Float[np.ndarray, " n"]:
    """The vector of the space on which the functional is 1, of least norm."""
    coordinates = space.T @ functional
    return space @ (coordinates / float(coordinates @ coordinates))
