"""What an experiment measured, as tables of words: row by row where that is short, and as ranges where it is not.

Looks at a dataset with labelled variables and knows nothing of what they mean. A number that is missing is "-" in a
row and counted in a range, so that nothing that could not be measured disappears.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import xarray as xr

from gradflow.store.codec import NO_UNIT, NUMBER

MOST_ROWS = 48
"""Rows of a table that is shown as it is; of a longer one the range of each variable is shown."""

MOST_WORDS = 6
"""Different words that are counted one by one."""


@dataclass(frozen=True)
class NumberTable:
    """Variables of a dataset that share their dimensions.

    Attributes:
        title: "one row for each" dimension with its size, "ranges over" them, or "single numbers".
        rows: one mapping from column to text for each row.
        labels: what each variable is, in words, by its name.
    """

    title: str
    rows: tuple[dict[str, str], ...]
    labels: dict[str, str]


def number_tables(results: xr.Dataset, most_rows: int = MOST_ROWS) -> list[NumberTable]:
    """Everything in `results`, variables with the same dimensions in one table."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, variable in results.data_vars.items():
        groups.setdefault(tuple(map(str, variable.dims)), []).append(str(name))
    return [_table(results, dims, names, most_rows) for dims, names in groups.items()]


def _table(results: xr.Dataset, dims: tuple[str, ...], names: list[str], most_rows: int) -> NumberTable:
    labels = {name: _label(results[name]) for name in names}
    size = int(np.prod([results.sizes[dim] for dim in dims], dtype=int))
    sizes = " and ".join(f"{dim} ({results.sizes[dim]})" for dim in dims)
    if not dims:
        return NumberTable("single numbers", (_row(results, names),), labels)
    if size <= most_rows:
        return NumberTable(f"one row for each {sizes}", tuple(_rows(results, dims, names)), labels)
    return NumberTable(f"ranges over {sizes}", tuple(_range(name, results[name].values) for name in names), labels)


def _rows(results: xr.Dataset, dims: tuple[str, ...], names: list[str]) -> list[dict[str, str]]:
    """One row for each place; dimensions with coordinates first, the others stay unsaid."""
    rows = []
    for index in np.ndindex(*(results.sizes[dim] for dim in dims)):
        place = results.isel(dict(zip(dims, index, strict=True)))
        said = [dim for dim in dims if dim in results.coords]
        rows.append(_row(place, said + names))
    return rows


def _row(place: xr.Dataset, names: list[str]) -> dict[str, str]:
    return {name: text_of_value(place[name].values[()]) for name in names}


def _range(name: str, values: np.ndarray) -> dict[str, str]:
    """Smallest, median and largest of numbers, or how often each word occurs, and how many are missing."""
    if values.dtype.kind in "Ubo":
        counts = Counter(str(value) or "-" for value in values.ravel().tolist())
        common = [f"{word} {count}" for word, count in counts.most_common(MOST_WORDS)]
        rest = len(counts) - len(common)
        told = ", ".join(common) + (f" and {rest} other{'s' * (rest > 1)}" if rest else "")
        return {"variable": name, "smallest": "", "median": "", "largest": "", "missing": "0", "words": told}
    numbers = np.asarray(values, float)
    present = numbers[~np.isnan(numbers)]
    three = (np.min, np.median, np.max)
    texts = [text_of_value(statistic(present)) if present.size else "-" for statistic in three]
    missing = str(numbers.size - present.size)
    columns = ("smallest", "median", "largest", "missing", "words")
    return {"variable": name} | dict(zip(columns, (*texts, missing, ""), strict=True))


def text_of_value(value: object) -> str:
    """A number with four significant digits, a word as it is, "-" for what is missing."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return str(value)
    if isinstance(value, float | np.floating):
        return "-" if np.isnan(value) else f"{value:.4g}"
    return str(value) or "-"


def _label(variable: xr.DataArray) -> str:
    """Its long name and unit."""
    unit = variable.attrs.get("units", "")
    text = str(variable.attrs.get("long_name", variable.name))
    return text if unit in ("", "1", NUMBER, NO_UNIT) else f"{text} [{unit}]"
