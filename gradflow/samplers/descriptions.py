"""What a sampler is, as plain data: for the configuration of a run, so that another one is told apart.

Two samplers of one description draw the same starts; a function is described by its name and the digest of its code.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gradflow.samplers.sampler import AbstractSampler
from gradflow.samplers.templates import Template

MAX_LISTED = 64
"""Arrays of more entries are described by their shape and digest."""


def described(sampler: AbstractSampler) -> dict[str, Any]:
    """The class and the fields of a sampler as what JSON knows: numbers, strings, lists and dictionaries.

    Arrays have every digit or, when long, a SHA-256 digest. A function's digest covers its code, constants, defaults
    and the values it closes over as far as these are plain data, not the functions that it calls.

    Example:
        >>> from gradflow.samplers import Box
        >>> described(Box(0.0, 1.0, like=1))["low"]
        [0.0]
    """
    return _plain(sampler)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Template):
        return {"shapes": [list(shape) for shape in value.shapes], "structure": str(value.structure)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **fields}
    if isinstance(value, np.ndarray | jax.Array):
        return _plain_array(np.asarray(value))
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    if callable(value):
        return _plain_function(value)
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _plain_array(array: np.ndarray) -> Any:
    if array.size <= MAX_LISTED and np.isfinite(array).all():
        return array.tolist()
    contiguous = np.ascontiguousarray(array)
    return {"shape": list(array.shape), "sha256": hashlib.sha256(contiguous.tobytes()).hexdigest()}


def _plain_function(function: Callable) -> dict[str, Any]:
    if isinstance(function, functools.partial):
        return {"function": _plain(function.func), "args": _plain(function.args), "keywords": _plain(function.keywords)}
    code = getattr(function, "__code__", None)
    if code is None:
        return {"function": _name(function)}
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    values = [*(getattr(function, "__defaults__", None) or ()), *cells]
    # A captured function is named only: it may capture this one.
    captured = json.dumps([_name(value) if callable(value) else _plain(value) for value in values], sort_keys=True)
    digest = hashlib.sha256(_code_text(code).encode() + captured.encode()).hexdigest()
    return {"function": _name(function), "sha256": digest}


def _name(function: Callable) -> str:
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _code_text(code: Any) -> str:
    """Instructions, names and constants, without line numbers and file names."""
    constants = [_code_text(entry) if hasattr(entry, "co_code") else repr(entry) for entry in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"
