"""The container: inputs and targets with their names, their history and what a reader should know of them.

Checks every array that enters, so that whatever holds a :class:`Dataset` need not. Knows no file and no preprocessing.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from gradflow import checks

TASKS = ("regression", "classification", "autoencoder")
"""What the targets are: numbers as given, one-hot classes, or the inputs themselves."""


@dataclass(frozen=True, eq=False)
class Transform:
    """An affine map that was applied to the columns ``v`` of X or Y: ``factor (v[kept] - shift)``.

    `on` is "inputs" or "targets", `rows` the number of rows the map takes, `kept` the rows it looks at; `factor` is a
    vector (one number for each of them) or a matrix. ``str(transform)`` is its name in tables.
    """

    name: str
    on: str
    rows: int
    kept: Int[np.ndarray, " kept"]
    shift: Float[np.ndarray, " kept"]
    factor: Float[np.ndarray, " kept"] | Float[np.ndarray, "rows kept"]

    def apply(self, values: Float[np.ndarray, "features samples"]) -> Float[np.ndarray, "rows samples"]:
        """The map applied to the columns of `values`, which need not be the data it was fitted to.

        Raises:
            InputError: `values` has not `rows` rows.
        """
        requirement = f"have {self.rows} rows, as the data had before {self}"
        checks.require(len(values) == self.rows, "values", requirement, f"shape {values.shape}")
        shifted = values[self.kept] - self.shift[:, None]
        return self.factor @ shifted if self.factor.ndim == 2 else self.factor[:, None] * shifted

    def __str__(self) -> str:
        return f"{self.name}({self.on})"


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Dataset:
    """Inputs X and targets Y with **samples as columns**, and where they come from.

    Args:
        X: inputs, ``(d_in, samples)``.
        Y: targets, ``(d_out, samples)``; a vector of length samples is read as one row.
        name: how tables and files call it.
        task: one of :data:`TASKS`.
        feature_names: a name for each row of X (default ``x0, x1, ...``).
        target_names: a name for each row of Y (default ``y0, y1, ...``).
        description: what the numbers are and where they come from.
        transforms: the preprocessing applied so far, oldest first.
        teacher: weights in acting order of the network that made Y, for synthetic data that is still as it was made.

    The arrays are stored as read-only float64 copies.

    Raises:
        InputError: NaN, infinity (with row and column of the first), text, no samples, entries so large or small that
            a square loses them, or shapes that do not fit (the message has both).

    Warns:
        DataWarning: single precision data, which is promoted.
    """

    X: Float[np.ndarray, "d_in samples"]
    Y: Float[np.ndarray, "d_out samples"]
    name: str
    task: str
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    description: str
    transforms: tuple[Transform, ...]
    teacher: tuple[Float[np.ndarray, "_ _"], ...] | None

    def __init__(
        self,
        X: Any,
        Y: Any,
        name: str = "data",
        task: str = "regression",
        feature_names: Sequence[str] = (),
        target_names: Sequence[str] = (),
        description: str = "",
        transforms: Sequence[Transform] = (),
        teacher: Sequence[Any] | None = None,
    ):
        checks.choice("task", task, TASKS)
        X = _checked_matrix("X", X)
        Y = _checked_matrix("Y", np.reshape(Y, (1, -1)) if np.ndim(Y) == 1 else Y)
        checks.require(
            X.shape[1] == Y.shape[1],
            "Y",
            f"have as many samples (columns) as `X` of shape {X.shape}",
            f"shape {Y.shape}",
            "Here columns are samples; datasets.from_arrays(X, Y) takes arrays that have samples in rows.",
        )
        checks.require(
            task != "autoencoder" or np.array_equal(X, Y), "Y", "equal `X` for an autoencoder", "other numbers"
        )
        fields = {
            "X": X,
            "Y": Y,
            "name": name,
            "task": task,
            "feature_names": _names("feature_names", feature_names, X, "x"),
            "target_names": _names("target_names", target_names, Y, "y"),
            "description": description,
            "transforms": tuple(transforms),
            "teacher": None if teacher is None else tuple(np.asarray(weight) for weight in teacher),
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    @property
    def num_samples(self) -> int:
        """Number of columns of X and of Y."""
        return self.X.shape[1]

    @property
    def num_features(self) -> int:
        """``d_in``, the width of the first layer."""
        return self.X.shape[0]

    @property
    def num_targets(self) -> int:
        """``d_out``, the width of the last layer."""
        return self.Y.shape[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the numbers: rank of X, constant and repeated features, repeated samples."""
        found = [_rank_note(self.X), _constant_note(self.X, self.feature_names)]
        found += [_repeated_note(self.X, self.feature_names), _repeated_samples_note(self.X, self.Y)]
        return tuple(note for note in found if note)

    def __repr__(self) -> str:
        history = "".join(f", {transform}" for transform in self.transforms)
        return f"Dataset({self.name!r}, {self.task}, X {self.X.shape}, Y {self.Y.shape}{history})"


def from_arrays(X: Any, Y: Any, *, samples: str = "rows", **fields: Any) -> Dataset:
    """A :class:`Dataset` from arrays with samples in rows, the convention of scikit-learn and of most files.

    Args:
        X: inputs, ``(samples, d_in)``.
        Y: targets, ``(samples, d_out)`` or ``(samples,)``; a vector means one target, exactly like ``(samples, 1)``.
        samples: "rows", or "columns" when the arrays already are as the library keeps them.
        fields: the other fields of :class:`Dataset`.

    Raises:
        InputError: as :class:`Dataset` does; rows and columns in messages are those of the arrays as given.
    """
    checks.choice("samples", samples, ("rows", "columns"))
    if samples == "columns":
        return Dataset(X, Y, **fields)
    warn_if_single("X", X)
    warn_if_single("Y", Y)
    X = checks.finite_array("X", X, ndim=2)
    Y = checks.finite_array("Y", np.reshape(Y, (-1, 1)) if np.ndim(Y) == 1 else Y, ndim=2)
    if X.shape[0] != Y.shape[0]:
        fits = X.shape[1] == Y.shape[1]
        other = "They fit along columns: pass samples='columns' if those are the samples." if fits else ""
        raise checks.InputError(
            f"`Y` must have as many samples (rows) as `X` of shape {X.shape}, but got shape {Y.shape}. {other}".strip()
        )
    return Dataset(X.T, Y.T, **fields)


def warn_if_single(name: str, value: Any) -> None:
    """Warns when `value` has fewer digits than double precision."""
    dtype = getattr(value, "dtype", None)
    if dtype is not None and np.issubdtype(dtype, np.floating) and dtype.itemsize < 8:
        warn(
            f"`{name}` is {dtype} and was promoted to float64; its entries keep the precision they came with "
            f"({np.finfo(dtype).eps:.0e} relative).",
            stacklevel=4,
        )


def warn(message: str, stacklevel: int = 3) -> None:
    """A :class:`~gradflow.checks.DataWarning` that points at the caller's caller."""
    warnings.warn(message, checks.DataWarning, stacklevel=stacklevel)


def one_hot(labels: Sequence[Any] | np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """The one-hot matrix ``(classes, samples)`` of `labels` and the names of the classes, in sorted order.

    Raises:
        InputError: labels that are neither text nor whole numbers, or fewer than two classes.
    """
    array = np.asarray(labels).reshape(-1)
    array = array.astype(str) if array.dtype.kind in "OUS" else checks.finite_array("labels", array)
    is_whole = array.dtype.kind == "U" or bool(np.all(array == np.round(array)))
    first = "" if is_whole else array[array != np.round(array)][0]
    remedy = "Take task='regression' (--task regression)."
    checks.require(is_whole, "labels", "be text or whole numbers for a classification", first, remedy)
    classes, index = np.unique(array, return_inverse=True)
    checks.require(len(classes) >= 2, "labels", "have at least two classes", f"{len(classes)}")
    names = tuple(str(name) if array.dtype.kind == "U" else f"{int(name)}" for name in classes)
    return (index == np.arange(len(classes))[:, None]).astype(np.float64), names


def _checked_matrix(name: str, value: Any) -> np.ndarray:
    warn_if_single(name, value)
    # One memory layout for all, so that products give the same bits after a round trip through a file.
    array = np.ascontiguousarray(checks.data_scale(name, checks.finite_array(name, value, ndim=2)))
    array.setflags(write=False)
    return array


def _names(name: str, given: Sequence[str], matrix: np.ndarray, letter: str) -> tuple[str, ...]:
    names = tuple(str(entry) for entry in given) or tuple(f"{letter}{index}" for index in range(len(matrix)))
    checks.require(len(names) == len(matrix), name, f"have {len(matrix)} entries", len(names))
    return names


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _rank_note(X: np.ndarray) -> str:
    rank = int(np.linalg.matrix_rank(X))
    if rank == len(X):
        return ""
    return f"rank(X) = {rank} is less than d_in = {len(X)}: statements that assume full row rank do not apply"


def _constant_note(X: np.ndarray, names: Sequence[str]) -> str:
    constant = [name for name, row in zip(names, X, strict=True) if len(row) > 1 and np.ptp(row) == 0]
    return f"constant features: {_listed(constant)} (drop_constant_features removes them)" if constant else ""


def _repeated_note(X: np.ndarray, names: Sequence[str]) -> str:
    _, first = np.unique(X, axis=0, return_index=True)
    repeated = [row for row in sorted(set(range(len(X))) - set(first.tolist())) if np.ptp(X[row]) > 0]
    return f"repeated features: {_listed([names[index] for index in repeated])}" if repeated else ""


def _repeated_samples_note(X: np.ndarray, Y: np.ndarray) -> str:
    pairs = np.concatenate([X, Y])
    repeated = pairs.shape[1] - np.unique(pairs, axis=1).shape[1]
    return f"{repeated} of {pairs.shape[1]} samples repeat another one exactly" if repeated else ""
