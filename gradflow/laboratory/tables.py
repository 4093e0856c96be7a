"""Rows of plain numbers and words as a labelled dataset, which is how most experiments return what they measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from gradflow import checks
from gradflow.store.codec import NO_UNIT, NUMBER

Row = Mapping[str, Any]


def dataset_of(rows: Sequence[Row], labels: Mapping[str, str], dim: str = "case", **units: str) -> xr.Dataset:
    """One variable along `dim` for each label; what a row lacks is NaN, and "" among words.

    Args:
        rows: numbers, booleans or words by name, one mapping for each place along `dim`.
        labels: what each variable is, in words; its order is that of the variables.
        dim: the name of the dimension.
        units: of the variables that have one; all other numbers are dimensionless.

    Raises:
        InputError: a row has a name without a label.
    """
    unknown = sorted({name for row in rows for name in row} - set(labels))
    checks.require(not unknown, "labels", "name everything in the rows", f"none for {', '.join(unknown)}")
    variables = {}
    for name, label in labels.items():
        values = _column([row.get(name) for row in rows])
        unit = units.get(name, NO_UNIT if values.dtype.kind in "Ub" else NUMBER)
        variables[name] = xr.Variable(dim, values, {"long_name": label, "units": unit})
    return xr.Dataset(variables)


def _column(values: list[Any]) -> np.ndarray:
    present = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in present):
        return np.array(["" if value is None else str(value) for value in values], dtype=str)
    if len(present) == len(values) and present and all(isinstance(value, bool | np.bool_) for value in present):
        return np.array(values, dtype=bool)
    if len(present) == len(values) and all(isinstance(value, int | np.integer) for value in present):
        return np.array(values, dtype=np.int64)
    return np.array([np.nan if value is None else float(value) for value in values])
