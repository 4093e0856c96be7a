"""Tables in text files: a line is a sample, a column a feature or a target.

A table is read line by line: its text is never in memory as a whole, and the first bad line ends the reading.
"""

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gradflow import checks
from gradflow.datasets.dataset import Dataset, one_hot, warn

Targets: TypeAlias = int | str | Sequence[int] | Sequence[str]

MISSING = ("", "na", "n/a", "nan", "null", "none")
"""Entries that mean "no number here", in any case; they are refused like NaN."""

FIRST_IS_DATA = (
    " That line has a number in it, so it was not read as names of columns; from Python, header=True does so."
)
"""What is added when text stands in a first line that was taken for data without being asked."""

ELSEWHERE = {";": "';'", "\t": r"'\t'", "|": "'|'", ",": "','"}
"""What separates entries in other files, and how to say so."""

DECIMAL_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+")
"""A number as many countries write it."""

_Line: TypeAlias = tuple[int, list[str]]
"""The number of a line of the file, counted from 1, and its entries."""


class _Rows(NamedTuple):
    """The samples: numbers (features, then the targets of a regression), first targets as text, where they stand."""

    values: np.ndarray
    labels: list[str]
    lines: list[int]


@dataclass(frozen=True)
class _Table:
    """What the first line and the caller say about a table: its columns, and which of them are targets."""

    file_name: str
    names: tuple[str, ...]
    targets: tuple[int, ...]

    @property
    def features(self) -> tuple[int, ...]:
        return tuple(column for column in range(len(self.names)) if column not in self.targets)

    def names_of(self, columns: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.names[column] for column in columns)

    def place(self, column: int) -> str:
        return f"column {column} ('{self.names[column]}') of {self.file_name}"


def from_csv(
    file: Path, delimiter: str, header: bool | None, targets: Targets | None, fields: dict[str, Any]
) -> Dataset:
    """The data in a ``.csv``; the arguments mean what :func:`gradflow.datasets.from_file` says."""
    task = fields["task"]
    delimiter = checks.delimiter("delimiter", delimiter)
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            lines = _numbered(csv.reader(stream, delimiter=delimiter))
            table, rows = _read_table(file.name, lines, header, task, targets)
    except (UnicodeDecodeError, csv.Error) as error:
        raise checks.InputError(f"`{file.name}` must be a table in UTF-8 text, but got: {error}.") from None
    X = rows.values[:, : len(table.features)]
    _check_finite(table, table.features, X, rows.lines)
    _warn_about_index(table, X)
    fields["feature_names"] = fields["target_names"] = table.names_of(table.features)
    if task == "autoencoder":
        return Dataset(X.T, X.T, **fields)
    if task == "classification":
        Y, fields["target_names"] = one_hot(_labels(table, rows))
        return Dataset(X.T, Y, **fields)
    Y = rows.values[:, len(table.features) :]
    _check_finite(table, table.targets, Y, rows.lines)
    fields["target_names"] = table.names_of(table.targets)
    return Dataset(X.T, Y.T, **fields)


def _numbered(reader: Any) -> Iterator[_Line]:
    """The lines that are not empty, each with the number that an editor shows for it."""
    number = 1
    for entries in reader:
        if "".join(entries).strip() or len(entries) > 1:
            yield number, entries
        number = reader.line_num + 1  # an entry in quotes may go over several lines


def _read_table(
    file_name: str, lines: Iterator[_Line], header: bool | None, task: str, targets: Targets | None
) -> tuple[_Table, _Rows]:
    """The layout and what stands below it."""
    number, first = next(lines, (0, []))
    if number == 0:
        raise checks.InputError(f"`{file_name}` must have at least one line, but got none.")
    first = [entry.strip() for entry in first]
    has_header = header if header is not None else not any(_is_number(entry) for entry in first)
    names = tuple(first) if has_header else tuple(f"x{column}" for column in range(len(first)))
    table = _Table(file_name, names, _target_columns(file_name, names, task, targets))
    numeric = (*table.features, *table.targets) if task == "regression" else table.features

    values, labels, numbers = [], [], []
    guessed = FIRST_IS_DATA if header is None and not has_header else ""
    for place, entries in lines if has_header else itertools.chain([(number, first)], lines):
        values.append(_numbers(table, numeric, place, entries, guessed if place == number else ""))
        labels.append(entries[table.targets[0]].strip() if table.targets else "")
        numbers.append(place)
    checks.require(len(values) > 0, file_name, "have at least one sample", "a header only")
    return table, _Rows(np.stack(values), labels, numbers)


def _target_columns(file_name: str, names: Sequence[str], task: str, targets: Targets | None) -> tuple[int, ...]:
    if targets is None:
        targets = () if task == "autoencoder" else 1
    count = len(names)
    chosen: list[int] = []
    if isinstance(targets, int):
        last = checks.integer("targets", targets)
        chosen = list(range(max(count - last, 0), count))
    else:
        for target in (targets,) if isinstance(targets, str) else targets:
            if isinstance(target, str):
                chosen.append(_column_called(target, names))
            else:
                column = checks.integer("targets", target, at_least=-count)
                checks.require(column < count, "targets", f"be a column of {file_name}, 0 to {count - 1}", column)
                chosen.append(column % count)
    checks.require(len(set(chosen)) == len(chosen), "targets", "name each column once", repr(targets))
    checks.require(bool(chosen) or task == "autoencoder", "targets", "name at least one column", repr(targets))
    one = task != "classification" or len(chosen) == 1
    checks.require(one, "targets", "be the one column of class labels for a classification", repr(targets))
    checks.require(
        count > len(chosen),
        file_name,
        "have a column that is not a target",
        f"{count} column(s), {len(chosen)} of them target(s)",
        _other_delimiter(names) or "If something else than a comma parts the entries, say so with `delimiter`.",
    )
    return tuple(chosen)


def _column_called(name: str, names: Sequence[str]) -> int:
    places = [column for column, known in enumerate(names) if known == name]
    other = _other_delimiter(names)
    checks.require(bool(places), "targets", "be a known name", repr(name), other or checks.nearest(name, names))
    listed = " and ".join(map(str, places))
    remedy = f"Say which by its number: {places[0]} or {places[-1]}."
    checks.require(len(places) == 1, "targets", "be the name of one column", f"{name!r}, that of {listed}", remedy)
    return places[0]


def _other_delimiter(names: Sequence[str]) -> str:
    """A remedy where the names of the columns hold what separates entries elsewhere, at least once each; else nothing.

    Names may hold such a character themselves, and then rarely as often as there are columns.
    """
    for mark, said in ELSEWHERE.items():
        if sum(name.count(mark) for name in names) >= len(names):
            return f"The first line looks like entries parted by {said}: delimiter={said} (--delimiter {said})."
    return ""


def _numbers(table: _Table, columns: Sequence[int], line: int, entries: Sequence[str], remark: str) -> np.ndarray:
    checks.require(
        len(entries) == len(table.names),
        f"line {line} of {table.file_name}",
        f"have {len(table.names)} entries like the first line",
        len(entries),
        _other_delimiter(table.names) or "An entry with the delimiter in it stands in quotation marks.",
    )
    try:
        return np.array([_number(entries[column]) for column in columns])
    except ValueError:
        bad = next(column for column in columns if not _is_number(entries[column]) and not _is_missing(entries[column]))
    remedy = (
        "Encode or drop that column; a column of class labels can be the target with task='classification' "
        f"(--task classification).{remark}"
    )
    if DECIMAL_COMMA.fullmatch(entries[bad].strip()):
        remedy = "Write decimals with a point, 1.5 and not 1,5."
    raise checks.InputError(
        f"`{table.place(bad)}` must hold numbers, but got {entries[bad].strip()!r} in line {line}. {remedy}"
    )


def _number(entry: str) -> float:
    if "_" in entry:  # Python reads 2024_01 as 202401
        raise ValueError
    return np.nan if _is_missing(entry) else float(entry)


def _is_missing(entry: str) -> bool:
    return entry.strip().lower() in MISSING


def _is_number(entry: str) -> bool:
    try:
        return not np.isnan(_number(entry))
    except ValueError:
        return False


def _check_finite(table: _Table, columns: Sequence[int], values: np.ndarray, lines: Sequence[int]) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, place = (int(index) for index in bad[0])
        count = "Remove or impute it." if len(bad) == 1 else f"Remove or impute all {len(bad)} entries of that kind."
        got = f"{values[row, place]} in line {lines[row]}"
        raise checks.InputError(f"`{table.place(columns[place])}` must be finite, but got {got}. {count}")


def _labels(table: _Table, rows: _Rows) -> list[float] | list[str]:
    labels = rows.labels
    gap = next((line for line, label in zip(rows.lines, labels, strict=True) if _is_missing(label)), None)
    checks.require(gap is None, table.place(table.targets[0]), "have a label in each line", f"none in line {gap}")
    return [float(label) for label in labels] if all(map(_is_number, labels)) else labels


def _warn_about_index(table: _Table, X: np.ndarray) -> None:
    for place, column in enumerate(table.features):
        if table.names[column] == "" and np.array_equal(X[:, place], np.arange(len(X))):
            warn(f"{table.file_name}: column {column} has no name and counts the rows; it is read as a feature.", 4)
