"""Values as NetCDF can hold them: settings as JSON, single values as scalar variables, parameters as flat rows.

Each pair of functions is an exact inverse, for tuples, None, -0.0, infinities and the last bit of every float. Knows
Python and arrays; no study, no file.
"""

import dataclasses
import enum
import json
import math
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr

from gradflow.types import Params

NUMBER, NO_UNIT = "dimensionless", "none"
TYPE = "value_type"
"""Attribute of a scalar variable: which kind of value it holds, None included."""

TRUTH = {"flag_values": np.array([-1, 0, 1], np.int8), "flag_meanings": "unknown false true"}
"""CF attributes of a truth value that may be None."""


def to_json(value: Any) -> str:
    """JSON that :func:`from_json` turns back.

    A JSON array is a tuple; lists, arrays of numbers, non-finite floats and mappings with other keys than text are
    tagged. Dataclasses come back as dictionaries, paths and what JSON cannot hold as their text.
    """
    return json.dumps(_plain(value), allow_nan=False)


def from_json(text: str) -> Any:
    """The value written by :func:`to_json`."""
    return _rich(json.loads(text))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"__float__": repr(value)}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("__") for key in value):
            return {key: _plain(entry) for key, entry in value.items()}
        return {"__items__": [[_plain(key), _plain(entry)] for key, entry in value.items()]}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, list):
        return {"__list__": [_plain(entry) for entry in value]}
    if isinstance(value, np.ndarray | jax.Array) and value.dtype.kind in "fiub":
        array = np.asarray(value)
        return {
            "__array__": _plain(tuple(array.ravel().tolist())),
            "shape": list(array.shape),
            "dtype": str(array.dtype),
        }
    return repr(value)


def _rich(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_rich(entry) for entry in value)
    if not isinstance(value, dict):
        return value
    if "__float__" in value:
        return float(value["__float__"])
    if "__list__" in value:
        return [_rich(entry) for entry in value["__list__"]]
    if "__items__" in value:
        return {_rich(key): _rich(entry) for key, entry in value["__items__"]}
    if "__array__" in value:
        return np.array(_rich(value["__array__"]), value["dtype"]).reshape(value["shape"])
    return {key: _rich(entry) for key, entry in value.items()}


def scalars(values: Mapping[str, Any], labels: Mapping[str, str], units: Mapping[str, str]) -> dict[str, xr.Variable]:
    """One scalar variable for each of `values`: numbers as numbers, None as NaN, tuples and mappings as JSON."""
    return {
        name: _scalar(value, labels.get(name, name.replace("_", " ")), units.get(name))
        for name, value in values.items()
    }


def _scalar(value: Any, label: str, unit: str | None) -> xr.Variable:
    value = value.item() if isinstance(value, np.generic) else value
    attributes: dict[str, Any] = {"long_name": label, "units": unit or NUMBER}
    if value is None:
        return xr.Variable((), math.nan, attributes | {TYPE: "None"})
    if isinstance(value, bool):
        return xr.Variable((), np.int8(value), attributes | TRUTH | {TYPE: "bool"})
    if isinstance(value, int | float):
        return xr.Variable((), value, attributes | {TYPE: type(value).__name__})
    attributes["units"] = NO_UNIT
    if isinstance(value, str):
        return xr.Variable((), value, attributes | {TYPE: "str"})
    return xr.Variable((), to_json(value), attributes | {TYPE: "json"})


def scalar_values(dataset: xr.Dataset) -> dict[str, Any]:
    """The values written by :func:`scalars`, by name; other variables are left out."""
    read: dict[str, Callable[[Any], Any]] = {
        "None": lambda _: None,
        "bool": bool,
        "int": int,
        "float": float,
        "str": str,
        "json": from_json,
    }
    return {
        str(name): read[variable.attrs[TYPE]](variable.values.item())
        for name, variable in dataset.variables.items()
        if TYPE in variable.attrs
    }


def table(rows: Sequence[Any], kind: type, dim: str, labels: Mapping[str, str]) -> xr.Dataset:
    """Dataclass instances as the rows of a dataset along `dim`, one column for each field of `kind`.

    Fields are text, whole numbers, floats (None as NaN) or truth values (None as -1).
    """
    columns = {}
    for name, hint in typing.get_type_hints(kind).items():
        entries = [getattr(row, name) for row in rows]
        attributes: dict[str, Any] = {"long_name": labels.get(name, name.replace("_", " "))}
        if hint is str:
            column, attributes = np.array(entries, dtype=str), attributes | {"units": NO_UNIT}
        elif _allows(hint, bool):
            column = np.array([-1 if entry is None else int(entry) for entry in entries], np.int8)
            attributes |= {"units": NUMBER} | TRUTH
        else:
            dtype = np.int64 if hint is int else np.float64
            column = np.array([math.nan if entry is None else entry for entry in entries], dtype)
            attributes |= {"units": NUMBER}
        columns[name] = (dim, column, attributes)
    return xr.Dataset(columns)


def table_rows(dataset: xr.Dataset, kind: type) -> tuple[Any, ...]:
    """The rows written by :func:`table`."""
    hints = typing.get_type_hints(kind)
    columns = [[_entry(entry, hint) for entry in dataset[name].values.tolist()] for name, hint in hints.items()]
    return tuple(kind(**dict(zip(hints, entries, strict=True))) for entries in zip(*columns, strict=True))


def _entry(entry: Any, hint: Any) -> Any:
    if _allows(hint, bool):
        return None if entry < 0 else bool(entry)
    if hint is str or not _allows(hint, type(None)):
        return entry
    return None if math.isnan(entry) else entry


def _allows(hint: Any, kind: type) -> bool:
    return hint is kind or kind in typing.get_args(hint)


def recipe_of(params: Params) -> Any:
    """How to put parameters together again, as JSON holds it: kind of tree, order and shapes of the arrays.

    Arrays, tuples, lists, dictionaries and None are kept. Any other kind of node (named tuples, modules) comes back as
    the plain tuple of its arrays, since its class need not exist where the file is read.
    """
    if params is None:
        return {"none": True}
    if type(params) in (tuple, list):
        return {type(params).__name__: tuple(recipe_of(entry) for entry in params)}
    if type(params) is dict and all(isinstance(key, str | int) for key in params):
        return {"dict": tuple((key, recipe_of(params[key])) for key in sorted(params))}
    leaves = jax.tree.leaves(params)
    if len(leaves) == 1 and leaves[0] is params:
        return {"shape": tuple(np.shape(params))}
    return {"tuple": tuple(recipe_of(leaf) for leaf in leaves), "was": type(params).__name__}


def param_names(recipe: Any, stem: str = "p") -> list[str]:
    """A name for every parameter: ``W1[0,2]`` in a network (`stem` "W"), ``p[0]`` in an array, ``a[0]`` under key a."""
    if "shape" in recipe:
        indices = np.ndindex(*recipe["shape"])
        return [f"{stem}[{','.join(map(str, index))}]" if index else stem for index in indices]
    if "dict" in recipe:
        prefix = "" if stem == "p" else f"{stem}."
        return [name for key, part in recipe["dict"] for name in param_names(part, f"{prefix}{key}")]
    parts = recipe.get("tuple", recipe.get("list", ()))
    return [name for number, part in enumerate(parts, start=1) for name in param_names(part, f"{stem}{number}")]


def ravel(params: Params, num_leading: int = 0) -> np.ndarray:
    """Parameters as the last axis of one float64 array, row-major in the recipe's order, leading axes kept."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(params)]
    return np.concatenate([leaf.reshape((*leaf.shape[:num_leading], -1)) for leaf in leaves], axis=-1)


def unravel(flat: np.ndarray, recipe: Any) -> Params:
    """The inverse of :func:`ravel`."""
    sizes = [math.prod(shape) for shape in _shapes(recipe)]
    pieces = iter(np.split(flat, np.cumsum(sizes)[:-1], axis=-1))
    return _assemble(recipe, pieces, flat.shape[:-1])


def _shapes(recipe: Any) -> list[tuple[int, ...]]:
    if "shape" in recipe:
        return [recipe["shape"]]
    parts = [part for _, part in recipe["dict"]] if "dict" in recipe else recipe.get("tuple", recipe.get("list", ()))
    return [shape for part in parts for shape in _shapes(part)]


def _assemble(recipe: Any, pieces: Any, leading: tuple[int, ...]) -> Any:
    if "shape" in recipe:
        return np.ascontiguousarray(next(pieces)).reshape((*leading, *recipe["shape"]))
    if "none" in recipe:
        return None
    if "dict" in recipe:
        return {key: _assemble(part, pieces, leading) for key, part in recipe["dict"]}
    if "list" in recipe:
        return [_assemble(part, pieces, leading) for part in recipe["list"]]
    return tuple(_assemble(part, pieces, leading) for part in recipe["tuple"])
