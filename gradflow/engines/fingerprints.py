"""Settings as canonical JSON, their digest, and in which fields two of them differ.

Two runs may share a folder only if everything that decides their numbers is the same. What that is, the caller says, in
one mapping; this module only writes it down. Arrays are represented by their digest.
"""

import dataclasses
import enum
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradflow import checks

ABSENT = "absent"
LONGEST_VALUE = 60
DIGEST = "a digest"

_SHA256 = re.compile("[0-9a-f]{64}")


def plain(value: Any, name: str = "settings") -> Any:
    """`value` made of dictionaries, lists, text, numbers, truth values and None alone, so that JSON can hold it.

    Tuples become lists, enumerations their values, dataclasses dictionaries; an array of numbers becomes its type,
    shape and SHA-256.

    Raises:
        InputError: something that has no exact text, such as a function; the message names the field.
    """
    value = value.item() if isinstance(value, np.generic) else value
    value = value.value if isinstance(value, enum.Enum) else value
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        checks.require(all(isinstance(key, str) for key in value), name, "have text as keys", sorted(map(repr, value)))
        return {key: plain(entry, f"{name}.{key}") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry, f"{name}[{index}]") for index, entry in enumerate(value)]
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiubUS":
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"array": f"{value.dtype.str} {value.shape}", "sha256": digest}
    remedy = "Give what it is made of, or its name."
    raise checks.InputError(f"`{name}` must be a value that text can hold exactly, but got {value!r}. {remedy}")


def canonical(settings: Any) -> str:
    """The one JSON text of plain `settings`, whatever the order of their keys."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(settings: Any) -> str:
    """SHA-256 of :func:`canonical`, in hexadecimal."""
    return hashlib.sha256(canonical(settings).encode()).hexdigest()


def differences(stored: Any, asked: Any, name: str = "") -> list[tuple[str, str, str]]:
    """For every field in which plain settings differ: its name, the stored and the asked value as text.

    Numbers are compared as numbers, so 1 and 1.0 agree; True and 1 do not. Of a digest nothing is shown but that it is
    one.
    """
    if isinstance(stored, dict) and isinstance(asked, dict):
        keys = [*stored, *(key for key in asked if key not in stored)]
        return [
            difference
            for key in keys
            for difference in differences(
                stored.get(key, _Absent), asked.get(key, _Absent), f"{name}.{key}" if name else key
            )
        ]
    if stored == asked and canonical_kind(stored) == canonical_kind(asked):
        return []
    return [(name, _shown(stored), _shown(asked))]


def canonical_kind(value: Any) -> Any:
    """Which values may be equal: truth values only to truth values, lists entry by entry."""
    return [canonical_kind(entry) for entry in value] if isinstance(value, list) else isinstance(value, bool)


class _Absent:
    """Stands for a field that one side does not have."""


def _shown(value: Any) -> str:
    if value is _Absent:
        return ABSENT
    if isinstance(value, str) and _SHA256.fullmatch(value):
        return DIGEST
    text = value["float"] if isinstance(value, dict) and set(value) == {"float"} else json.dumps(value)
    end = '..."' if isinstance(value, str) else "..."
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - len(end)] + end
