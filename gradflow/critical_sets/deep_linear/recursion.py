"""Critical points of deep linear networks by the recursion (4)-(5) of paper 002, and what it really returns.

Letters (paper 002, Theorem 3): ``Sigma_k = T (A_(k,1) R)^+ (A_(k,1) R) T^T = U_k diag(sigma(k)) U_k^T`` with R and T
in place of X and Y; ``V_k`` and the invertible ``C_k`` are declared for k = 0, ..., l - 2, and

    A_{k+1} = C_k^{-1} V_k^T U_k^T T (A_(k,1) R)^+ + L - C_k^{-1} V_k^T V_k C_k L A_(k,1) R (A_(k,1) R)^+
    A_l = U_{l-2} V_{l-2} C_{l-2}

The paper says that with L = 0 the condition (6) holds. It does not: the result is always critical, but ``A_(l,k+2)``
need not be the declared ``U_k V_k C_k``, and then the declared ``p(0)`` is not the pattern of the result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gradflow import checks
from gradflow.critical_sets.deep_linear.construction import deep_regression, widths_of
from gradflow.critical_sets.shallow_linear.patterns import Capture, capture
from gradflow.critical_sets.shallow_linear.spectrum import DataSpectrum, data_spectrum
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Weights

Declared: TypeAlias = tuple[Sequence[int], int]
"""``(p_1(k), ..., p_r(k))`` and ``p_bar(k)``."""

CONSISTENCY_TOLERANCE = 1e-8
"""``A_(l,k+2)`` within this multiple of its size of the declared ``U_k V_k C_k`` is that."""


@dataclass(frozen=True)
class Recursion:
    """What the recursion returned, next to what was declared.

    Attributes:
        params: the layers ``(A_1, ..., A_l)``.
        captured: the declared captures, k = 0, ..., l - 2.
        declared_loss: ``1/2 (Tr Y Y^T - sum_i p_i(0) sigma_i(0))``, what Proposition 4 gives for the declared p(0).
        inconsistency: for each k, ``||A_(l,k+2) - U_k V_k C_k||`` relative to the product of the layers' norms.
    """

    params: Weights
    captured: tuple[Capture, ...]
    declared_loss: float
    inconsistency: tuple[float, ...]

    @property
    def is_consistent(self) -> bool:
        """True when the first condition of (6) holds, so that the declared patterns are those of the result."""
        return max(self.inconsistency) <= CONSISTENCY_TOLERANCE


def construct_by_recursion(
    problem: AbstractProblem,
    declared: Sequence[Declared] | Callable[[int, DataSpectrum], Declared],
    mixings: Sequence[Any] | None = None,
    offsets: Sequence[Any] | None = None,
) -> Recursion:
    """The layers that (4) and (5) give for declared patterns, with how consistent they turned out.

    Critical whenever all `offsets` are zero. The pattern of the result is for :func:`decompose` to say: use the
    declared one only if :attr:`Recursion.is_consistent`.

    Args:
        problem: a linear network with at least one hidden layer, the squared error and no regulariser.
        declared: p(k) and p_bar(k) for k = 0, ..., l - 2, or a function of k and the spectrum of Sigma_k, which depends
            on the layers found before. The first directions of each group are captured.
        mixings: ``C_0, ..., C_{l-2}``, invertible, ``(d_{k+1}, d_{k+1})``; default: identities.
        offsets: ``L_1, ..., L_{l-1}``, shapes of the layers; default: zero. With others the result is critical only
            if (6) holds.

    Raises:
        InputError: patterns that do not fit the groups of Sigma_k or the width, wrong shapes.

    Source: paper 002, Theorem 3 and the remark after it, which is false as printed.
    """
    problem = deep_regression(problem)
    assert problem.statistics is not None
    widths = widths_of(problem)
    num_layers = len(widths) - 1
    root, target = np.asarray(problem.statistics.root), np.asarray(problem.statistics.target)
    chosen = _checked("mixings", mixings, [(width, width) for width in widths[1:-1]], np.eye)
    shifts = _checked(
        "offsets",
        offsets,
        [(rows, columns) for rows, columns in problem.network.shapes[:-1]],
        lambda *shape: np.zeros(shape),
    )
    if not callable(declared):
        checks.require(len(declared) == num_layers - 1, "declared", f"have {num_layers - 1} entries", len(declared))
    layers: list[np.ndarray] = []
    captures: list[Capture] = []
    behind: list[np.ndarray] = []
    inputs, size = root, float(np.linalg.norm(root, 2))
    for k in range(num_layers - 1):
        spectrum = data_spectrum(inputs, target, rank_floor=1e-10 * size)
        counts, num_zero = declared(k, spectrum) if callable(declared) else declared[k]
        captured = capture(spectrum, counts, num_zero)
        room = widths[k + 1]
        checks.require(captured.rank <= room, f"declared[{k}]", f"sum to at most {room}", captured.rank)
        layers.append(_layer(spectrum, captured, chosen[k], shifts[k]))
        captures.append(captured)
        behind.append(captured.directions @ chosen[k][: captured.rank])
        inputs = layers[-1] @ inputs
        size *= max(float(np.linalg.norm(layers[-1], 2)), problem.weight_scale)
    params = (*layers, behind[-1])
    first = data_spectrum(root, target)
    explained = sum(count * value for count, value in zip(captures[0].counts, first.sigma, strict=False))
    return Recursion(
        params=params,
        captured=tuple(captures),
        declared_loss=problem.irreducible + 0.5 * (float(np.sum(target**2)) - float(explained)),
        inconsistency=_inconsistency(params, behind, problem),
    )


def _layer(spectrum: DataSpectrum, captured: Capture, mixing: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """``A_{k+1}`` of eq. (4): with ``C_k^{-1} V_k^T V_k C_k = C_k^{-1}[:, :p] C_k[:p]``."""
    rank = captured.rank
    lifted = np.linalg.solve(mixing, np.eye(len(mixing))[:, :rank])
    fitted = lifted @ (captured.directions.T @ spectrum.regression)
    return fitted + offset - lifted @ (mixing[:rank] @ offset @ spectrum.input_projector)


def _inconsistency(params: Weights, behind: list[np.ndarray], problem: Regression) -> tuple[float, ...]:
    product, size, found = np.asarray(params[-1]), 1.0, []
    for k in range(len(behind) - 1, -1, -1):
        size *= max(float(np.linalg.norm(params[k + 1], 2)), problem.weight_scale)
        found.append(float(np.linalg.norm(product - behind[k])) / max(size, float(np.linalg.norm(behind[k]))))
        product = product @ params[k]
    return tuple(reversed(found))


def _checked(
    name: str, given: Sequence[Any] | None, shapes: list[tuple[int, int]], default: Callable
) -> list[np.ndarray]:
    if given is None:
        return [np.asarray(default(*shape)) for shape in shapes]
    checks.require(len(given) == len(shapes), name, f"have {len(shapes)} entries", len(given))
    matrices = [np.asarray(matrix, np.float64) for matrix in given]
    for index, (matrix, shape) in enumerate(zip(matrices, shapes, strict=True)):
        checks.require(matrix.shape == shape, f"{name}[{index}]", f"have shape {shape}", matrix.shape)
    return matrices
