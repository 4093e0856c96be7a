"""Critical points of deep linear networks built block by block.

Letters: R and T are the problem's root and target (any X with ``X X^T = R R^T`` and ``Y X^T = T R^T`` gives the same
critical points), ``S`` an orthonormal basis of k captured singular directions and Q of the rest, ``M = R T^T Q``. With
invertible ``D_1, ..., D_{l-1}``

    A_1 = D_1 [S^T T R^+ + F (I - R R^+) ; Z_1]
    A_h = D_h diag(I_k, Z_h) D_{h-1}^{-1}
    A_l = [S, Q Z_l] D_{l-1}^{-1}

is critical when ``Z_l ... Z_1 R = 0`` and ``Z_{h-1} ... Z_1 M Z_l ... Z_{h+1} = 0`` for every h: the blocks are a
critical point, with product zero, of the network that sees only what was missed.

**Every** critical point has this form, with S its captured positive singular directions (r of them). Proof: at a
critical point ``A_l ... A_1 R = S S^T T``. Let ``E_h`` be the image under ``A_(h,1) R`` of the captured input
directions and ``F_h`` the kernel of ``S^T A_(l,h+1)``: they are complements, ``A_h`` maps ``E_{h-1}`` onto ``E_h`` and
``F_{h-1}`` into ``F_h``, and in bases of them the layers are as above. Then ``Z_1 R`` also vanishes on the captured
input directions. The gradients are ``A_(l,h+1)^T (-Q Q^T T) (A_(h-1,1) R)^T``, of which only the block of Q and Z is
left, which is the condition.

Knows a problem and matrices; says nothing of strictness.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.ladder import linear_regression
from gradflow.critical_sets.shallow_linear.patterns import Capture, capture
from gradflow.critical_sets.shallow_linear.spectrum import DataSpectrum, data_spectrum
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Weights

Blocks: TypeAlias = tuple[Float[np.ndarray, "_ _"], ...]
KeyLike: TypeAlias = int | np.integer | jax.Array | np.random.Generator

BLOCK_TOLERANCE = 1e-9
"""A product of blocks below this multiple of the product of their norms is zero."""

FAMILIES = ("two_zero", "first_annihilated", "outer_annihilated", "all_zero")
"""Ways to fit blocks to the condition, families (i) to (iv); none exhausts the critical points."""


def deep_regression(problem: AbstractProblem) -> Regression:
    """`problem`, checked to be a linear network with a hidden layer, the squared error and no regulariser."""
    problem = linear_regression(problem)
    checks.require(
        problem.num_hidden >= 1,
        "problem",
        "have at least one hidden layer",
        f"widths {widths_of(problem)}",
        "Without one every critical point is a global minimiser, T R^+ + F (I - R R^+).",
    )
    return problem


def widths_of(problem: Regression) -> tuple[int, ...]:
    """``(d_0, ..., d_l)``."""
    shapes = problem.network.shapes
    return (shapes[0][1], *(rows for rows, _ in shapes))


def problem_spectrum(problem: Regression) -> DataSpectrum:
    """Groups of singular values of the problem's target, with R and T in the places of X and Y."""
    assert problem.statistics is not None
    return data_spectrum(np.asarray(problem.statistics.root), np.asarray(problem.statistics.target))


def generator(key: KeyLike) -> np.random.Generator:
    """A NumPy generator from an integer seed, a JAX key, or itself."""
    if isinstance(key, np.random.Generator):
        return key
    if isinstance(key, jax.Array):
        is_typed = jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key)
        return np.random.default_rng(np.asarray(jax.random.key_data(key) if is_typed else key))
    return np.random.default_rng(checks.integer("key", key, at_least=0))


def construct(
    problem: AbstractProblem,
    counts: Sequence[int],
    num_zero: int = 0,
    *,
    bases: Any = None,
    blocks: Sequence[Any] | None = None,
    mixings: Sequence[Any] | None = None,
    free: Any = None,
) -> Weights:
    """The critical point with these captured directions and blocks, in block form.

    Args:
        problem: a linear network with at least one hidden layer, the squared error and no regulariser.
        counts: captured directions per group of equal positive singular values.
        num_zero: captured directions of the zero group (optional: blocks describe them as well).
        bases: orthonormal bases ``V_1, ..., V_r[, V_bar]`` inside the groups; default: the first directions of each.
        blocks: ``Z_1: (d_1 - k, d_0)`` and ``Z_h: (d_h - k, d_{h-1} - k)``, in the order of :attr:`Capture.missed`;
            default: zero. See :func:`fitted_blocks`.
        mixings: ``D_1, ..., D_{l-1}``, invertible ``d_h x d_h``; default: identities.
        free: ``F: (k, d_0)``, of which only ``F (I - R R^+)`` enters; default: zero.

    Accuracy: gradient about 1e-15 times the condition numbers of the `mixings`.

    Raises:
        InputError: wrong shapes, counts that do not fit the groups or the widths, singular `mixings`, or blocks
            that violate the condition; the message names the h that fails.

    Source: paper 002, Theorem 3, in block form.
    """
    problem = deep_regression(problem)
    spectrum = problem_spectrum(problem)
    captured = capture(spectrum, counts, num_zero, bases)
    widths, k = widths_of(problem), captured.rank
    remedy = "The narrowest of them bounds what can be captured."
    checks.require(k <= min(widths[1:]), "counts", f"sum to at most {min(widths[1:])}", k, remedy)
    shapes = block_shapes(problem, k)
    given = [np.zeros(shape) for shape in shapes] if blocks is None else blocks
    chosen = _checked_matrices("blocks", given, shapes)
    require_admissible(spectrum, captured, chosen)
    turned = _checked_mixings(mixings, widths[1:-1])
    top = captured.directions.T @ spectrum.regression
    if free is not None:
        beyond = _checked_matrices("free", [free], [(k, widths[0])])[0]
        top = top + beyond - beyond @ spectrum.input_projector
    return assembled(captured, top, chosen, turned)


def assembled(
    captured: Capture, top: np.ndarray, blocks: Sequence[np.ndarray], mixings: Sequence[np.ndarray]
) -> Weights:
    """The layers ``D_1 [top; Z_1]``, ``D_h diag(I, Z_h) D_{h-1}^{-1}``, ``[S, Q Z_l] D_{l-1}^{-1}``, unchecked."""
    k = captured.rank
    layers = [mixings[0] @ np.vstack([top, blocks[0]])]
    for block, after, before in zip(blocks[1:-1], mixings[1:], mixings[:-1], strict=True):
        middle = np.zeros((block.shape[0] + k, block.shape[1] + k))
        middle[:k, :k], middle[k:, k:] = np.eye(k), block
        layers.append(np.linalg.solve(before.T, (after @ middle).T).T)
    last = np.hstack([captured.directions, captured.missed @ blocks[-1]])
    layers.append(np.linalg.solve(mixings[-1].T, last.T).T)
    return tuple(layers)


def block_shapes(problem: Regression, k: int) -> list[tuple[int, int]]:
    """Shapes of ``Z_1, ..., Z_l`` when k directions are captured."""
    first, *others = problem.network.shapes
    return [(first[0] - k, first[1]), *((rows - k, columns - k) for rows, columns in others)]


def target_block(spectrum: DataSpectrum, captured: Capture) -> Float[np.ndarray, "d_in codim"]:
    """``M = R T^T Q``."""
    return spectrum.cross.T @ captured.missed


def condition_residuals(spectrum: DataSpectrum, captured: Capture, blocks: Sequence[np.ndarray]) -> list[float]:
    """How far the blocks are from critical: first ``Z_l ... Z_1 R``, then the condition for h = 1, ..., l.

    Each relative to the product of the sizes of its factors: the norm, for a block at least the data's weight scale and
    for M at least ``||R|| ||T||``, so that rounding errors count as zero.
    """
    scale = spectrum.weight_scale
    root = _Factor(spectrum.inputs)
    target = _Factor(target_block(spectrum, captured), floor=root.size * float(np.linalg.norm(spectrum.outputs)))
    factors = [_Factor(block, floor=scale) for block in blocks]
    around = [[*factors[h:], target, *factors[: h - 1]] for h in range(1, len(blocks) + 1)]
    return [_relative_size(chain) for chain in ([root, *factors], *around)]


def require_admissible(spectrum: DataSpectrum, captured: Capture, blocks: Sequence[np.ndarray]) -> None:
    """Nothing, for blocks that satisfy the condition.

    Raises:
        InputError: naming the first h for which they do not.
    """
    residuals = condition_residuals(spectrum, captured, blocks)
    remedy = "fitted_blocks makes them so; `counts` says what the product captures."
    checks.require(
        residuals[0] <= BLOCK_TOLERANCE,
        "blocks",
        "have Z_l ... Z_1 R = 0",
        f"a relative size {residuals[0]:.1e}",
        remedy,
    )
    for h, residual in enumerate(residuals[1:], start=1):
        checks.require(
            residual <= BLOCK_TOLERANCE,
            "blocks",
            f"satisfy Z_{{h-1}} ... Z_1 M Z_l ... Z_{{h+1}} = 0 for h = {h}",
            f"a relative size {residual:.1e}",
            remedy,
        )


def fitted_blocks(
    problem: AbstractProblem,
    counts: Sequence[int],
    num_zero: int = 0,
    *,
    blocks: Sequence[Any],
    family: str,
    zero: Sequence[int] = (),
    bases: Any = None,
) -> Blocks:
    """`blocks` projected into one of four families that satisfy the condition.

    ``"two_zero"``: the two blocks `zero` vanish. ``"first_annihilated"``: ``Z_1 M = 0``, and the block `zero`, one
    of 2..l, vanishes. ``"outer_annihilated"``: ``Z_1 M = 0``, ``M Z_l = 0``, and the block `zero`, one of 2..l-1,
    vanishes. ``"all_zero"``: all vanish. `zero` counts layers from 1.

    Raises:
        InputError: an unknown family, a `zero` that does not fit it, or wrong shapes.

    Source: paper 002, Theorem 3: sufficient families; :func:`gradflow.critical_sets.deep_linear.sample` reaches all.
    """
    problem = deep_regression(problem)
    checks.choice("family", family, FAMILIES)
    spectrum = problem_spectrum(problem)
    captured = capture(spectrum, counts, num_zero, bases)
    shapes = block_shapes(problem, captured.rank)
    fitted = [np.array(block) for block in _checked_matrices("blocks", blocks, shapes)]
    num_layers = len(fitted)
    allowed = {
        "two_zero": (2, range(1, num_layers + 1)),
        "first_annihilated": (1, range(2, num_layers + 1)),
        "outer_annihilated": (1, range(2, num_layers)),
        "all_zero": (0, range(0)),
    }[family]
    chosen = [checks.integer(f"zero[{index}]", layer) for index, layer in enumerate(zero)]
    is_allowed = len(set(chosen)) == len(chosen) == allowed[0] and all(layer in allowed[1] for layer in chosen)
    checks.require(is_allowed, "zero", f"be {allowed[0]} of the layers {list(allowed[1])}", tuple(zero))
    if family in ("first_annihilated", "outer_annihilated"):
        left, right = _target_spaces(spectrum, captured)
        fitted[0] = fitted[0] - (fitted[0] @ left) @ left.T
        if family == "outer_annihilated":
            fitted[-1] = fitted[-1] - right @ (right.T @ fitted[-1])
    for layer in range(1, num_layers + 1) if family == "all_zero" else chosen:
        fitted[layer - 1] = np.zeros_like(fitted[layer - 1])
    return tuple(fitted)


def missed_inputs(spectrum: DataSpectrum, captured: Capture) -> tuple[np.ndarray, np.ndarray]:
    """Values s of the missed positive directions, and an orthonormal basis of the right singular vectors not captured.

    The first ``len(s)`` columns are the partners of the first columns of :attr:`Capture.missed`.
    """
    num_missed = spectrum.num_positive - sum(captured.counts)
    sources = np.linalg.svd(spectrum.inputs, full_matrices=False)[2][: spectrum.rank]
    images = sources @ spectrum.outputs.T
    values = np.linalg.norm(images @ captured.missed[:, :num_missed], axis=0)
    partners = images @ captured.missed[:, :num_missed] / values
    positive = images @ spectrum.left[:, : spectrum.num_positive] / spectrum.values[: spectrum.num_positive]
    rest = np.linalg.svd(positive)[0][:, spectrum.num_positive :] if spectrum.num_positive else np.eye(spectrum.rank)
    return values, sources.T @ np.hstack([partners, rest])


def random_invertible(rng: np.random.Generator, size: int, spread: float = 1.6) -> Float[np.ndarray, "n n"]:
    """Two independent orthogonal matrices around singular values in ``[1/spread, spread]``."""
    if size == 0:
        return np.zeros((0, 0))
    left, right = (np.linalg.qr(rng.normal(size=(size, size)))[0] for _ in range(2))
    return (left * np.exp(rng.uniform(-1, 1, size=size) * np.log(spread))) @ right


def _target_spaces(spectrum: DataSpectrum, captured: Capture) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal bases of the column and the row space of M, whose rank is the number of missed positive values."""
    num_missed = spectrum.num_positive - sum(captured.counts)
    left, _, right = np.linalg.svd(target_block(spectrum, captured), full_matrices=False)
    return left[:, :num_missed], right[:num_missed].T


class _Factor:
    """A matrix with the size it counts with."""

    def __init__(self, matrix: np.ndarray, floor: float = 0.0):
        self.matrix, self.size = matrix, max(float(np.linalg.norm(matrix)), floor)


def _relative_size(chain: Sequence[_Factor]) -> float:
    """Norm of the product of the chain, the first factor acting first, over the product of the factors' sizes."""
    product, size = chain[0].matrix, chain[0].size
    for factor in chain[1:]:
        product, size = factor.matrix @ product, size * factor.size
    return float(np.linalg.norm(product)) / size if size > 0 else 0.0


def _checked_matrices(name: str, given: Sequence[Any], shapes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    checks.require(len(given) == len(shapes), name, f"have {len(shapes)} entries", len(given))
    matrices = []
    for index, (matrix, shape) in enumerate(zip(given, shapes, strict=True)):
        label = name if len(shapes) == 1 else f"{name}[{index}]"
        array = np.asarray(matrix, np.float64)
        array = array.reshape(shape) if array.size == 0 and 0 in shape else array
        checks.require(array.shape == shape, label, f"have shape {shape}", array.shape)
        checks.require(bool(np.isfinite(array).all()), label, "be finite", "NaN or infinity")
        matrices.append(array)
    return matrices


def _checked_mixings(mixings: Sequence[Any] | None, widths: Sequence[int]) -> list[np.ndarray]:
    if mixings is None:
        return [np.eye(width) for width in widths]
    chosen = _checked_matrices("mixings", mixings, [(width, width) for width in widths])
    for index, matrix in enumerate(chosen):
        condition = float(np.linalg.cond(matrix))
        checks.require(condition < 1e10, f"mixings[{index}]", "be invertible", f"a condition number {condition:.1e}")
    return chosen
