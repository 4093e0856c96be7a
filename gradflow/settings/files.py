"""Settings from and to files: a TOML or JSON file holds the flags of a command without their dashes.

Errors name the file, the line and the nearest known key. Reading goes through :func:`from_mapping`, which scripts can
use with any mapping. Nothing is computed here.
"""

import dataclasses
import difflib
import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from gradflow import checks
from gradflow.settings.basins import BasinSettings
from gradflow.settings.runs import TEACHER, RunSettings

_OFF: dict[str, Any] = {
    "task": None, "targets": [], "preprocess": [], "weight_decay": 0.0, "atol": None, "grad_tol": None, "max_norm": None
}  # fmt: skip
"""What these settings are when they do nothing."""

_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "text"}


COMMANDS: dict[type, str] = {RunSettings: "run", BasinSettings: "basins"}
"""The commands whose settings can stand in a file."""

Settings = TypeVar("Settings", RunSettings, BasinSettings)


def read_config(path: str | Path, kind: type[Settings] = RunSettings) -> Settings:  # type: ignore[assignment]
    """The settings in a .toml or .json file, those of a run or of `kind`; what it does not mention has its default.

    Raises:
        OSError: the file is missing or cannot be read.
        InputError: another ending, a file that does not parse, an unknown key, a wrong type or a value out of range;
            the message has the line.
    """
    file = Path(path)
    ending = file.suffix.lower()
    checks.require(ending in (".toml", ".json"), "config", "end in .toml or .json", repr(str(path)))
    text = _text(file)
    try:
        values = tomllib.loads(text) if ending == ".toml" else json.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise checks.InputError(f"`{file}` must be TOML, but: {error}.") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise checks.InputError(f"`{file}` must be JSON, but: {error}.") from None
    checks.require(isinstance(values, dict), str(file), "hold settings by name", type(values).__name__)
    return from_mapping(values, source=str(file), text=text, kind=kind)


def from_mapping(
    values: Mapping[str, Any],
    source: str = "settings",
    text: str = "",
    kind: type[Settings] = RunSettings,  # type: ignore[assignment]
) -> Settings:
    """Settings from a flat mapping of names (with hyphens or underscores) to values.

    Args:
        values: the settings; what is left out has its default.
        source: how messages call the mapping.
        text: the text the mapping was read from, for the line numbers in messages.
        kind: the settings to make.

    Raises:
        InputError: an unknown name, a wrong type, or a value out of range.
    """
    sections: dict[str, dict[str, Any]] = {}
    known = _fields(kind)
    for key, value in values.items():
        name, where = key.replace("-", "_"), _place(source, text, key)
        if name not in known:
            raise checks.InputError(f"{where}: there is no setting `{key}`. {_nearest_setting(name, kind)}")
        if isinstance(value, Mapping):
            raise checks.InputError(
                f"{where}: `{key}` must not be a table, but got {value!r}. Settings have no sections."
            )
        section, annotation = known[name]
        sections.setdefault(section, {})[name] = _converted(f"{where}: `{name}`", value, annotation)
    try:
        made = {section: _annotations(kind)[section](**entries) for section, entries in sections.items()}
        return kind(**made)
    except checks.InputError as error:
        named = re.match(r"`(\w+)", str(error))
        raise checks.InputError(f"{_place(source, text, named[1] if named else '')}: {error}") from None


def flat(settings: RunSettings | BasinSettings) -> dict[str, Any]:
    """The settings as a flat dictionary of plain values, section after section."""
    return {name: value for _, entries in _by_section(settings) for name, value in entries.items()}


def decisive(settings: RunSettings) -> dict[str, Any]:
    """What :func:`flat` holds and this run's numbers depend on: what results remember, and all it takes to redo them.

    Left out are the folder of the results, settings of other kinds of data, and what is switched off.
    """
    sections = dict(_by_section(settings))
    del sections["output"]
    if settings.data.data != TEACHER:
        del sections["teacher"]
    if not settings.data.is_table:
        del sections["data"]["delimiter"]
    entries = [entry for section in sections.values() for entry in section.items()]
    chosen = {name: value for name, value in entries if name not in _OFF or value != _OFF[name]}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in chosen.items()}


def as_toml(settings: RunSettings | BasinSettings) -> str:
    """The settings as a TOML file that :func:`read_config` reads; settings that are not set are comments."""
    blocks = []
    for title, entries in _by_section(settings):
        lines = [f"# {title}"]
        lines += [
            f"# {name} is not set" if value is None else f"{name} = {_toml(value)}" for name, value in entries.items()
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def choices_of(kind: type) -> dict[str, tuple[str, ...]]:
    """The allowed words of each setting of `kind` that has a list of them."""
    found: dict[str, tuple[str, ...]] = {}
    for name, annotation in _annotations(kind).items():
        if dataclasses.is_dataclass(annotation):
            found |= choices_of(typing.cast(type, annotation))
        elif words := _words_of(annotation):
            found[name] = words
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise checks.InputError(
            f"`{file}` must be text in UTF-8, but got {error.reason} at byte {error.start}."
        ) from None


def _annotations(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _fields(kind: type) -> dict[str, tuple[str, Any]]:
    """For each setting of a kind its section and its type."""
    return {
        name: (section, annotation)
        for section, part in _annotations(kind).items()
        for name, annotation in _annotations(part).items()
    }


def _by_section(settings: RunSettings | BasinSettings) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = next(kind for kind in COMMANDS if isinstance(settings, kind))
    for field in dataclasses.fields(kind):
        section = getattr(settings, field.name)
        yield field.name, {entry.name: _plain(getattr(section, entry.name)) for entry in dataclasses.fields(section)}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _place(source: str, text: str, key: str) -> str:
    """The source with the line in which the key is set, where that can be found."""
    pattern = re.compile(rf"""^\s*[{{,]?\s*["']?{re.escape(key).replace("_", "[-_]")}["']?\s*[=:]""")
    lines = [number for number, line in enumerate(text.splitlines(), start=1) if key and pattern.match(line)]
    return f"{source}, line {lines[0]}" if lines else source


def _nearest_setting(name: str, kind: type) -> str:
    close = difflib.get_close_matches(name, _fields(kind), n=1)
    hint = f"Perhaps you meant `{close[0]}`. " if close else ""
    return f"{hint}`gradflow {COMMANDS[kind]} --print-config` shows all of them."


def _converted(label: str, value: Any, annotation: Any) -> Any:
    """`value` as the annotated type; whole numbers are numbers too, but true and false are not."""
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        return _converted(label, value, next(kind for kind in typing.get_args(annotation) if kind is not type(None)))
    if origin is tuple:
        _require(isinstance(value, list | tuple), label, "a list, as in [32, 16]", value)
        kind = typing.get_args(annotation)[0]
        return tuple(_converted(f"{label}[{index}]", entry, kind) for index, entry in enumerate(value))
    if origin is Literal:
        words = typing.get_args(annotation)
        _require(isinstance(value, str), label, "text", value)
        if value not in words:
            raise checks.InputError(f"{label} must be a known name, but got {value!r}. {checks.nearest(value, words)}")
        return value
    accepted = {float: (int, float), Path: (str, Path)}.get(annotation, (annotation,))
    is_right = isinstance(value, accepted) and (annotation is bool or not isinstance(value, bool))
    _require(is_right, label, _WORDS[annotation], value)
    return annotation(value)


def _require(is_right: bool, label: str, kind: str, value: Any) -> None:
    if not is_right:
        raise checks.InputError(f"{label} must be {kind}, but got {value!r}.")


def _words_of(annotation: Any) -> tuple[str, ...]:
    if typing.get_origin(annotation) is Literal:
        return typing.get_args(annotation)
    for inner in typing.get_args(annotation):
        if words := _words_of(inner):
            return words
    return ()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_toml(entry) for entry in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return repr(value)
