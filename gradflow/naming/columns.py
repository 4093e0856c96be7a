"""Arithmetic on many short vectors and small matrices at once, column by column.

NumPy reduces short axes slowly when they are the contiguous ones. Here the samples are contiguous (arrays in Fortran
order, indexed as everywhere: sample first) and sums run over whole columns in a fixed order, so that the bits of a row
do not depend on how many there are. Knows numbers only.
"""

import numpy as np
from jaxtyping import Float, Shaped

MOST_COLUMNS = 12
"""From so many columns on rows are contiguous, as NumPy has them."""

Values = Float[np.ndarray, " num"]
Rows = Float[np.ndarray, "num n"]


def in_columns(array: np.ndarray) -> np.ndarray:
    """The same array with contiguous samples when it has few columns."""
    return np.asfortranarray(array) if array.ndim > 1 and array.shape[1] < MOST_COLUMNS else array


def taken(array: Shaped[np.ndarray, "num ..."], rows: np.ndarray) -> Shaped[np.ndarray, "chosen ..."]:
    """Some rows (numbers or a mask), stored as the array is."""
    if array.ndim == 1 or not array.flags.f_contiguous:
        return array[rows]
    numbers = np.flatnonzero(rows) if rows.dtype == bool else rows
    return np.take(array.T, numbers, axis=-1).T


def sums(rows: Rows) -> Values:
    """The sum of each row's entries."""
    if rows.shape[1] >= MOST_COLUMNS:
        return np.asarray(rows.sum(axis=1))
    total = np.zeros(len(rows))
    for column in range(rows.shape[1]):
        total += rows[:, column]
    return total


def norms(rows: Rows) -> Values:
    """The Euclidean norm of each row."""
    return np.asarray(np.sqrt(sums(rows * rows)))


def products(rows: Rows, matrices: Float[np.ndarray, "num n m"]) -> Float[np.ndarray, "num m"]:
    """Each row times its matrix."""
    if rows.shape[1] >= MOST_COLUMNS:
        return np.matmul(rows[:, None, :], matrices)[:, 0, :]
    total = rows[:, :1] * matrices[:, 0]
    for column in range(1, rows.shape[1]):
        total += rows[:, column : column + 1] * matrices[:, column]
    return total


def eigh(matrices: Float[np.ndarray, "num n n"]) -> tuple[Rows, Float[np.ndarray, "num n n"]]:
    """Eigenvalues, ascending, and eigenvectors (as columns) of symmetric matrices."""
    if matrices.shape[1] != 2:
        values, vectors = np.linalg.eigh(matrices)
        return in_columns(values), in_columns(vectors)
    a, b, c = matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 1]
    trace, difference, double = a + c, a - c, 2.0 * b
    root = np.hypot(difference, double)
    large = 0.5 * np.where(trace < 0, trace - root, trace + root)
    divisor = np.where(large == 0.0, 1.0, large)
    is_first = np.abs(a) > np.abs(c)
    small = (np.where(is_first, a, c) / divisor) * np.where(is_first, c, a) - (b / divisor) * b
    # (first, second) is the eigenvector that is computed without cancellation, of the upper eigenvalue when a >= c.
    first = np.where(difference >= 0, difference + root, double)
    second = np.where(difference >= 0, double, root - difference)
    length = np.hypot(first, second)
    is_round = length == 0.0
    length = np.where(is_round, 1.0, length)
    first, second = np.where(is_round, 1.0, first / length), second / length
    values, vectors = np.empty(matrices.shape[:2], order="F"), np.empty(matrices.shape, order="F")
    values[:, 0], values[:, 1] = np.where(trace < 0, large, small), np.where(trace < 0, small, large)
    vectors[:, 0, 1], vectors[:, 1, 1] = first, second
    vectors[:, 0, 0], vectors[:, 1, 0] = -second, first
    return values, vectors
