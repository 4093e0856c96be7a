"""Preprocessing, explicit and recorded: pure functions ``Dataset -> Dataset``.

Each one fits an affine map to the data and appends it to ``transforms``, so that :func:`replay` can do the same to
other columns. `on` says what is changed, "inputs", "targets" or "both"; the default is "inputs", and "both"
for an autoencoder, whose targets are its inputs. A teacher is dropped: it no longer maps X to Y.
A network without biases cannot fit a mean: :func:`center` both sides unless that is the question.
Centred inputs and one-hot targets have ``rank(Y X^T) <= classes - 1``, because the rows of Y add up to a constant.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.datasets.dataset import Dataset, Transform, warn

SIDES = ("inputs", "targets", "both")


def center(data: Dataset, on: str | None = None) -> Dataset:
    """Every row minus its mean over the samples."""
    return _apply_rowwise(data, "center", on, lambda values: (values.mean(axis=1), np.ones(len(values))))


def standardize(data: Dataset, on: str | None = None) -> Dataset:
    """Every row with mean 0 and standard deviation 1 over the samples (dividing by their number, not one less).

    Warns:
        DataWarning: constant rows, which become zero rows; :func:`drop_constant_features` removes them.
    """

    def fit(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        is_constant = np.ptp(values, axis=1) == 0
        if is_constant.any():
            rows = ", ".join(str(row) for row in np.flatnonzero(is_constant))
            warn(
                f"Constant rows became zero rows: {rows}. datasets.drop_constant_features removes constant features.",
                stacklevel=6,
            )
        deviation = np.where(is_constant, 1.0, values.std(axis=1))
        # the mean of a constant row is exact only up to rounding, its first entry is exact
        return np.where(is_constant, values[:, 0], values.mean(axis=1)), 1.0 / deviation

    return _apply_rowwise(data, "standardize", on, fit)


def scale(data: Dataset, factor: float | None = None, on: str | None = None) -> Dataset:
    """All entries times `factor`; by default the one that makes the largest singular value 1.

    The flow's stiffness and time scale are set by ``||X X^T||``, so with the default they no longer depend on units or
    on the number of samples.

    Raises:
        InputError: a factor that is not positive and finite, or the default on data that is all zero.
    """
    given = None if factor is None else checks.real("factor", factor, above=0.0)

    def fit(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        norm = float(np.linalg.norm(values, 2))
        checks.require(given is not None or norm > 0, "data", "have a nonzero entry to be scaled to norm 1", "zeros")
        return np.zeros(len(values)), np.full(len(values), 1.0 / norm if given is None else given)

    return _apply_rowwise(data, "scale", on, fit)


def drop_constant_features(data: Dataset) -> Dataset:
    """The rows of X that are not constant over the samples; for an autoencoder those of Y likewise.

    Raises:
        InputError: all features are constant.
    """
    kept = np.flatnonzero(np.ptp(data.X, axis=1) > 0)
    checks.require(len(kept) > 0, "data", "have a feature that varies over the samples", f"{data!r}")
    names = tuple(data.feature_names[row] for row in kept)
    rows, zeros, ones = data.num_features, np.zeros(len(kept)), np.ones(len(kept))
    steps = [Transform("drop_constant_features", side, rows, kept, zeros, ones) for side in _sides(data, None)]
    target_names = names if data.task == "autoencoder" else data.target_names
    return _applied(data, steps, feature_names=names, target_names=target_names)


def whiten(data: Dataset, *, reduce: bool = False) -> Dataset:
    """Inputs with ``X X^T = I``: then the original and the reduced flow are the same flow.

    With ``X = U S V^T`` (thin, S > 0) the result is the symmetric whitening ``(X X^T)^{-1/2} X = U V^T``, the matrix
    with orthonormal rows closest to X; or, with ``reduce=True``, ``V^T``, the r principal components. The identity is
    the sum over the samples, not their mean as in other libraries. No mean is subtracted; :func:`center` first if the
    covariance is meant. Targets stay as they are, so an autoencoder becomes a regression onto its old inputs.

    Args:
        data: any data set.
        reduce: keep the r = rank(X) principal directions only. Needed for ``X X^T = I`` when X does not have full row
            rank; without it ``X X^T`` is then the projector onto the column space of X.

    Accuracy: ``||X X^T - I|| <= 1e-14 r``, whatever the condition number of the data; :func:`replay` on the same
    data agrees up to rounding times that condition number.

    Warns:
        DataWarning: X does not have full row rank and `reduce` is false.

    Raises:
        InputError: X is zero.

    Source: paper 003, eqs. (3)-(4): the reduced flow is the original one exactly when ``S_X = I``.
    """
    left, values, right = np.linalg.svd(data.X, full_matrices=False)
    features = data.num_features
    rank = int(np.sum(values > values[0] * max(data.X.shape) * np.finfo(np.float64).eps))
    checks.require(rank > 0, "X", "be nonzero to be whitened", "zeros")
    # The sign of a singular vector is the routine's choice; here its largest entry is positive.
    signs = np.sign(left[np.argmax(np.abs(left[:, :rank]), axis=0), np.arange(rank)])
    left, right = left[:, :rank] * signs, right[:rank] * signs[:, None]
    factor, names = left.T / values[:rank, None], tuple(f"pc{index}" for index in range(rank))
    if not reduce:
        if rank < features:
            warn(
                f"X has {features} features but rank {rank}: X X^T is now a projector, not the identity. "
                "Use whiten(data, reduce=True), or drop constant and repeated features."
            )
        factor, right, names = left @ factor, left @ right, data.feature_names
    step = Transform("whiten", "inputs", features, np.arange(features), np.zeros(features), factor)
    task = "regression" if data.task == "autoencoder" else data.task
    transforms = (*data.transforms, step)
    return dataclasses.replace(data, X=right, feature_names=names, task=task, transforms=transforms, teacher=None)


def replay(
    data: Dataset, values: Float[np.ndarray, "features samples"], on: str = "inputs"
) -> Float[np.ndarray, "rows samples"]:
    """Other columns (held-out inputs, say) put through the preprocessing that `data` went through.

    Raises:
        InputError: `values` has another number of rows than the data had before its first transform.
    """
    side = checks.choice("on", on, SIDES[:2])
    values = checks.finite_array("values", values, ndim=2)
    for step in data.transforms:
        if step.on == side:
            values = step.apply(values)
    return values


STEPS: dict[str, Callable[[Dataset], Dataset]] = {
    "center": center,
    "center_targets": partial(center, on="targets"),
    "standardize": standardize,
    "standardize_targets": partial(standardize, on="targets"),
    "scale": scale,
    "drop_constant_features": drop_constant_features,
    "whiten": whiten,
}
"""The steps by the names that configurations use."""


def preprocess(data: Dataset, steps: str | Sequence[str]) -> Dataset:
    """`data` after the named step or steps, in that order.

    Raises:
        InputError: a name that is not in :data:`STEPS` (the message names the nearest one).
    """
    for step in (steps,) if isinstance(steps, str) else steps:
        data = STEPS[checks.choice("preprocess", step, STEPS)](data)
    return data


def _sides(data: Dataset, on: str | None) -> tuple[str, ...]:
    chosen = on or ("both" if data.task == "autoencoder" else "inputs")
    checks.choice("on", chosen, SIDES)
    checks.require(
        data.task != "autoencoder" or chosen == "both",
        "on",
        'be "both" for an autoencoder, whose targets are its inputs',
        repr(chosen),
        'Use dataclasses.replace(data, task="regression") first to part them.',
    )
    return SIDES[:2] if chosen == "both" else (chosen,)


def _apply_rowwise(
    data: Dataset,
    name: str,
    on: str | None,
    fit: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> Dataset:
    steps = []
    for side in _sides(data, on):
        values = data.X if side == "inputs" else data.Y
        shift, factor = fit(values)
        steps.append(Transform(name, side, len(values), np.arange(len(values)), shift, factor))
    return _applied(data, steps)


def _applied(data: Dataset, steps: list[Transform], **changes: Any) -> Dataset:
    arrays = {"inputs": data.X, "targets": data.Y}
    for step in steps:
        arrays[step.on] = step.apply(arrays[step.on])
    transforms = (*data.transforms, *steps)
    return dataclasses.replace(
        data, X=arrays["inputs"], Y=arrays["targets"], transforms=transforms, teacher=None, **changes
    )
