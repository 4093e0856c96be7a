"""The user's own data: ``.npz`` with arrays X and Y, or a ``.csv`` table.

Both are read with **samples in rows** unless told otherwise, the convention of spreadsheets, NumPy and scikit-learn,
and transposed. A file that cannot be opened or is no archive is an ``OSError``; data that cannot be used is an
:class:`~gradflow.checks.InputError` that says where in the file: by line, counted from 1, in a ``.csv``, and by row and
column, counted from 0, in a ``.npz``.
"""

import errno
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gradflow import checks
from gradflow.datasets.dataset import TASKS, Dataset, from_arrays, one_hot, warn
from gradflow.datasets.tables import Targets, from_csv

OTHER_FILES = (
    r"Export a spreadsheet as .csv; rename a table in text, and say what parts its entries (--delimiter '\t')."
)
"""What to do with a file of another kind."""


def from_file(
    path: str | os.PathLike[str],
    *,
    task: str = "regression",
    targets: Targets | None = None,
    samples: str = "rows",
    header: bool | None = None,
    delimiter: str = ",",
    name: str | None = None,
) -> Dataset:
    """The data in a ``.npz`` or ``.csv`` file as a :class:`Dataset`, whose columns are samples.

    A ``.npz`` holds the arrays X and Y (any case; Y not needed for an autoencoder), X ``(samples, d_in)`` and Y
    ``(samples, d_out)`` or ``(samples,)``, which means one target. In a ``.csv`` each line is a sample; empty lines are
    skipped. Integers and booleans are promoted to float64.

    Args:
        path: the file.
        task: "regression", "classification" (one target of whole numbers or text, made one-hot) or "autoencoder"
            (Y = X; `targets` are then left out of X, none by default).
        targets: for ``.csv`` only: which columns are targets. A whole number k means the last k columns, a name or a
            sequence of names or of column numbers (from 0, negative from the end) those columns. Default: the last.
        samples: "rows", or "columns" for a ``.npz`` that is transposed already.
        header: whether the first line of a ``.csv`` names the columns; by default it does if no entry is a number.
        delimiter: what separates the entries of a ``.csv``, one character.
        name: how tables and figures call the data; by default the file's name without its ending.

    Raises:
        OSError: the file is missing, a folder, unreadable, or no archive.
        InputError: another ending, text (naming line and column), NaN or infinity (naming line or row, and column), no
            samples, X and Y that do not fit (with both shapes), or target columns that do not exist.

    Warns:
        DataWarning: single precision, which is promoted; every one of :attr:`Dataset.notes`.
    """
    file = Path(path)
    ending = file.suffix.lower()
    checks.require(ending in (".npz", ".csv"), "path", "end in .npz or .csv", repr(str(path)), OTHER_FILES)
    checks.choice("task", task, TASKS)
    checks.choice("samples", samples, ("rows", "columns"))
    _check_is_file(file)
    fields: dict[str, Any] = {
        "name": file.stem if name is None else name,
        "task": task,
        "description": f"Read from {file.name}.",
    }
    if ending == ".npz":
        checks.require(
            targets is None, "targets", "be left out for a .npz, whose targets are the array Y", repr(targets)
        )
        data = _from_npz(file, samples, fields)
    else:
        checks.require(samples == "rows", "samples", 'be "rows" for a .csv', repr(samples), "Transpose the table.")
        data = from_csv(file, delimiter, header, targets, fields)
    for note in data.notes:
        warn(f"{file.name}: {note}.")
    return data


def _check_is_file(file: Path) -> None:
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, "The data file is a folder", str(file))
    if not file.exists():
        raise FileNotFoundError(errno.ENOENT, "There is no such data file", str(file))


def _from_npz(file: Path, samples: str, fields: dict[str, Any]) -> Dataset:
    task, arrays = fields["task"], _read_arrays(file)
    needed = ("X",) if task == "autoencoder" else ("X", "Y")
    missing = [key for key in needed if key.lower() not in map(str.lower, arrays)]
    checks.require(not missing, file.name, "hold the arrays " + " and ".join(needed), f"the arrays {sorted(arrays)}")
    by_key = {key.upper(): array for key, array in arrays.items()}
    X, Y = by_key["X"], by_key["X"] if task == "autoencoder" else by_key["Y"]
    if task == "classification":
        _check_one_column("Y", Y, samples)
        Y, fields["target_names"] = one_hot(Y)
        Y = Y.T if samples == "rows" else Y
    return from_arrays(X, Y, samples=samples, **fields)


def _read_arrays(file: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(file):
        raise OSError(errno.EIO, "The data file is no .npz archive, or is truncated", str(file))
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if key.upper() in ("X", "Y")}
    except ValueError:
        raise checks.InputError(
            f"`{file.name}` must hold arrays of numbers, but got objects. Save plain arrays with numpy.savez."
        ) from None
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise OSError(errno.EIO, f"The data file is damaged ({error})", str(file)) from error


def _check_one_column(name: str, labels: np.ndarray, samples: str) -> None:
    one_target = labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1 if samples == "rows" else 0] == 1)
    checks.require(
        one_target,
        name,
        "be one column of class labels for a classification",
        f"shape {labels.shape}",
        "Targets that are one-hot already are a regression.",
    )
