"""Settings of an experiment from words like ``depths=1,2``: the types are those of its frozen dataclass.

Knows dataclasses and text; nothing of what the settings mean.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable
from typing import Any

from gradflow import checks

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def configured(kind: type, changes: Iterable[str] = (), is_tiny: bool = False) -> Any:
    """The settings of class `kind`, or its ``tiny()`` ones, with `changes` of the form ``key=value``.

    Tuples are values separated by commas, an empty value is an empty tuple, ``none`` is None where that is allowed.

    Raises:
        InputError: a change without "=", an unknown key (the nearest one is named), a value of another type, or one
            that the settings themselves refuse.
    """
    settings = kind.tiny() if is_tiny else kind()  # type: ignore[attr-defined]
    types_by_name = typing.get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(settings)]
    values: dict[str, Any] = {}
    for change in changes:
        key, sign, text = change.partition("=")
        checks.require(bool(sign), "set", "have the form key=value", repr(change), f"Keys: {', '.join(known)}.")
        name = key.strip().replace("-", "_")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Perhaps you meant '{close[0]}'. " if close else ""
            raise checks.InputError(f"`set` must name a setting, but got {key!r}. {hint}Settings: {', '.join(known)}.")
        values[name] = _read(name, text.strip(), types_by_name[name])
    return dataclasses.replace(settings, **values)


def _read(name: str, text: str, annotation: Any) -> Any:
    """The text as the annotated type."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        if type(None) in inner and text.lower() == "none":
            return None
        return _read(name, text, next(kind for kind in inner if kind is not type(None)))
    if origin is tuple:
        return _tuple(name, text, inner)
    if annotation is str:
        return text
    if annotation is bool:
        checks.require(text.lower() in _TRUTH, name, f"be {_WORDS[bool]}", repr(text))
        return _TRUTH[text.lower()]
    if annotation not in _WORDS:
        raise checks.InputError(f"`{name}` must be left as it is, but got {text!r}. It cannot be written as text.")
    try:
        return annotation(text)
    except ValueError:
        raise checks.InputError(f"`{name}` must be {_WORDS[annotation]}, but got {text!r}.") from None


def _tuple(name: str, text: str, inner: tuple[Any, ...]) -> tuple[Any, ...]:
    parts = [part.strip() for part in text.strip("()[]").split(",")]
    parts = [part for part in parts if part]
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(_read(f"{name}[{index}]", part, inner[0]) for index, part in enumerate(parts))
    checks.require(len(parts) == len(inner), name, f"have {len(inner)} entries", repr(text))
    return tuple(
        _read(f"{name}[{index}]", part, kind) for index, (part, kind) in enumerate(zip(parts, inner, strict=True))
    )
