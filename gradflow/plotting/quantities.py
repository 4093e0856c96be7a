"""What plots read from a record (the Dataset of ``gradflow.monitor``): checked variables, and what follows from them.

Knows records; nothing of axes.
"""

from typing import Any

import numpy as np
import xarray as xr

from gradflow import checks

MOVED = 1e-3
"""Part of the loss's range that must be gone before a run counts as moving."""


def variable(record: Any, name: str, remedy: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Times and values of one variable of a record, time first; refuses what is no record or lacks the variable."""
    checks.require(
        isinstance(record, xr.Dataset) and "time" in record.dims,
        "record",
        "be a Dataset with a dimension `time`, as gradflow.monitor gives",
        type(record).__name__,
    )
    checks.require(record.sizes["time"] > 0, "record", "have at least one row", "none")
    held = ", ".join(map(str, record.data_vars))
    checks.require(name in record, "record", f"hold `{name}`", f"the variables {held}", remedy)
    others = [dim for dim in record[name].dims if dim != "time"]
    return record.time.values.astype(float), record[name].transpose("time", *others).values.astype(float)


def scalar(record: xr.Dataset, name: str, default: float = float("nan")) -> float:
    """A scalar variable of a record, or `default` when it is absent or NaN."""
    value = float(record[name]) if name in record else float("nan")
    return default if np.isnan(value) else value


def loss_label(record: xr.Dataset) -> str:
    """What the loss minus the irreducible loss is called: an excess where there is an irreducible part."""
    return "excess loss $L - L_\\mathrm{irr}$" if scalar(record, "irreducible_loss", 0.0) > 0 else "loss $L$"


def first_move(times: np.ndarray, loss: np.ndarray) -> float:
    """A tenth of the first time at which the loss has changed by 0.1 % of its range: where a time axis may begin."""
    change = np.abs(loss - loss[0])
    span = np.nanmax(change, initial=0.0)
    moved = np.flatnonzero(change > MOVED * span)
    return 0.1 * float(times[moved[0]]) if len(moved) else 0.0
