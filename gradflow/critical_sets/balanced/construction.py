"""Points of the balanced critical set from a pattern.

A member is ``W_2 = Wt_2 O^T, W_1 = O Wt_1``: canonical factors, padded with zeros to d_1 columns, and a rotation O of
the hidden units (the paper's R). Inside a group of equal singular values any orthonormal frame may be captured. Knows a
setting and a pattern.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.critical_sets.balanced.setting import BalancedSetting, Layers, balanced_setting

Frames = Sequence[Float[np.ndarray, "_ _"]]
"""One matrix with orthonormal columns per group of m equal singular values, (m, number captured)."""


def construct(
    problem: Any,
    counts: Sequence[int],
    *,
    frames: Frames | None = None,
    gauge: Float[np.ndarray, "d_1 d_1"] | None = None,
    free: Float[np.ndarray, "d_1 d_0"] | None = None,
) -> Layers:
    """A critical point ``(W_1, W_2)`` of the regularised shallow loss that captures the given pattern.

    Weighted: the columns of ``(Wt_2; (Wt_1 R)^T)`` are ``sqrt(lambda) (P_b c; Q_b c)`` for the columns c of the frame
    of each group. Unweighted: ``Wt_2 Wt_1`` is the balanced factorisation of ``Pi T R^+``, Pi the projector on the
    captured ``P_b c``.

    Args:
        problem: ``Regression(Linear((d_0, d_1, d_2)), X, Y, regularizer=Balance(mu, X))``, or with ``Balance(mu)``.
        counts: captured directions per group of equal positive singular values (what ``enumerate_classes`` lists).
        frames: which directions of each group; the first ones by default.
        gauge: an orthogonal matrix O; the identity by default.
        free: its part ``free (I - U U^T)``, on inputs that no sample has, is added to ``W_1``; zero by default. It
            changes neither loss nor balance; without effect when X has full row rank.

    Raises:
        InputError: the problem is not of the family; counts, frames or gauge do not fit.

    Accuracy: the gradient is zero to rounding, ``1e-15 * mu * ||W||^3`` and the like.

    Source: paper 001, Lemma 1, eq. (10), with the corrections "for some SVD of Ytilde" (a free rotation inside groups
    of equal singular values) and zero columns up to d_1; X may be rank deficient. Unweighted: eq. (6), by the same
    proof.
    """
    setting = balanced_setting(problem)
    counts = checked_counts(setting, counts)
    chosen = [np.eye(len(group))[:, :n] for group, n in zip(setting.groups, counts, strict=True)]
    if frames is not None:
        chosen = _checked_frames(setting, counts, frames)
    units = setting.num_hidden_units
    gauge = np.eye(units) if gauge is None else _checked_gauge(gauge, units)
    first, second = canonical_factors(setting, chosen)
    first, second = gauge @ first, second @ gauge.T
    if free is not None:
        free = checks.finite_array("free", free, ndim=2)
        checks.require(free.shape == first.shape, "free", f"have the shape {first.shape} of W_1", free.shape)
        first = first + free @ setting.unseen
    return first, second


def canonical_factors(setting: BalancedSetting, frames: Frames) -> Layers:
    """``(Wt_1, Wt_2)`` of the frames, padded with zeros to d_1 hidden units."""
    captured = captured_directions(setting, frames)
    rank = captured.shape[1]
    if setting.is_weighted:
        strengths = np.concatenate([np.zeros(0), *(_strengths(setting, b, frame) for b, frame in enumerate(frames))])
        right = np.hstack([setting.right[:, :0], *(setting.right[:, g] @ f for g, f in _pairs(setting, frames))])
        second, first = captured * np.sqrt(strengths), (right * np.sqrt(strengths)).T @ setting.root_inverse
    else:
        left, strengths, right = np.linalg.svd(
            captured @ (captured.T @ setting.target) @ setting.root_inverse, full_matrices=False
        )
        root = np.sqrt(strengths[:rank])
        second, first = left[:, :rank] * root, root[:, None] * right[:rank]
    idle = setting.num_hidden_units - rank
    return np.pad(first, ((0, idle), (0, 0))), np.pad(second, ((0, 0), (0, idle)))


def captured_directions(setting: BalancedSetting, frames: Frames) -> Float[np.ndarray, "d_2 rank"]:
    """The captured left singular directions ``P_b c``, orthonormal columns."""
    return np.hstack([setting.left[:, :0], *(setting.left[:, g] @ frame for g, frame in _pairs(setting, frames))])


def checked_counts(setting: BalancedSetting, counts: Any) -> tuple[int, ...]:
    """`counts` as whole numbers, one per group, each within its group, at most d_1 together."""
    sizes = [len(group) for group in setting.groups]
    checks.require(
        len(tuple(counts)) == len(sizes), "counts", f"have one entry per group of singular values ({len(sizes)})",
        tuple(counts),
    )  # fmt: skip
    whole = tuple(checks.integer(f"counts[{index}]", n, at_least=0) for index, n in enumerate(counts))
    fits = all(n <= size for n, size in zip(whole, sizes, strict=True))
    checks.require(fits, "counts", f"be at most the sizes of the groups {tuple(sizes)}", whole)
    units = setting.num_hidden_units
    checks.require(sum(whole) <= units, "counts", f"sum to at most the {units} hidden units", whole)
    return whole


def _strengths(setting: BalancedSetting, group: int, frame: np.ndarray) -> Float[np.ndarray, " captured"]:
    values = setting.values[list(setting.groups[group])]
    return np.einsum("mc,m,mc->c", frame, values, frame)


def _pairs(setting: BalancedSetting, frames: Frames) -> list[tuple[list[int], np.ndarray]]:
    return [(list(group), frame) for group, frame in zip(setting.groups, frames, strict=True)]


def _checked_frames(setting: BalancedSetting, counts: tuple[int, ...], frames: Frames) -> list[np.ndarray]:
    checks.require(len(frames) == len(counts), "frames", f"have one matrix per group ({len(counts)})", len(frames))
    checked = []
    for index, (group, n, given) in enumerate(zip(setting.groups, counts, frames, strict=True)):
        frame = np.asarray(given, np.float64)
        name, shape = f"frames[{index}]", (len(group), n)
        checks.require(frame.shape == shape, name, f"have shape {shape}", frame.shape)
        defect = float(np.max(np.abs(frame.T @ frame - np.eye(n)), initial=0.0))
        checks.require(defect <= 1e-8, name, "have orthonormal columns", f"a defect of {defect:.1e}")
        checked.append(frame)
    return checked


def _checked_gauge(gauge: Any, units: int) -> np.ndarray:
    gauge = checks.finite_array("gauge", gauge, ndim=2)
    checks.require(gauge.shape == (units, units), "gauge", f"have shape {(units, units)}", gauge.shape)
    defect = float(np.max(np.abs(gauge.T @ gauge - np.eye(units))))
    checks.require(defect <= 1e-8, "gauge", "be orthogonal", f"a defect of {defect:.1e}")
    return gauge
