"""Completion scripts: tyro writes those of bash, zsh and fish, the one of tcsh is written here."""

import dataclasses
import functools
import operator
import typing
from typing import Annotated, Any

import tyro

from gradflow import checks
from gradflow.cli.parsing import COMMANDS, tyro_cli
from gradflow.laboratory.experiments import default_folder, names_in
from gradflow.settings import ExperimentSettings
from gradflow.settings.files import choices_of
from gradflow.settings.portraits import LANDSCAPES

SHELLS = ("bash", "zsh", "fish", "tcsh")


def print_completion(shell: str) -> None:
    """Prints a completion script for a shell.

    Raises:
        InputError: an unknown shell.
    """
    checks.choice("shell", shell, SHELLS)
    if shell == "tcsh":
        print(_tcsh_script())
        return
    kinds = COMMANDS | {"run": _with_experiments(COMMANDS["run"])}
    members = [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in kinds.items()]
    any_of_them: Any = functools.reduce(operator.or_, members)
    try:
        tyro_cli(any_of_them, "gradflow", ["--tyro-print-completion", shell], None)
    except SystemExit as leaving:
        if leaving.code:
            raise


def _experiments() -> list[str]:
    """The names of the experiments that the package is beside; none where it is not."""
    try:
        return names_in(default_folder())
    except checks.InputError:
        return []


def _with_experiments(kind: type) -> type:
    """The settings of a run with those of experiments beside them: after ``run`` either may stand."""
    hints, known = typing.get_type_hints(ExperimentSettings, include_extras=True), {*_options(kind), "name"}
    added = [
        (field.name, hints[field.name], dataclasses.field(default=field.default))
        for field in dataclasses.fields(ExperimentSettings)
        if field.name not in known
    ]
    return dataclasses.make_dataclass(kind.__name__, added, bases=(kind,), frozen=True)


def _tcsh_script() -> str:
    """One ``complete`` command: the commands in first place, words after the options that have a list, all options."""
    options, words = ["completion", "debug", "help", "version"], dict[str, tuple[str, ...]](completion=SHELLS)
    for kind in (*COMMANDS.values(), ExperimentSettings):
        options += _options(kind)
        words |= choices_of(kind)
    rules = [f"p/1/({' '.join(COMMANDS)})/", f"n/portrait/({' '.join(LANDSCAPES)})/"]
    rules += [f"n/run/({' '.join(names)})/" for names in [_experiments()] if names]
    rules += [f"n/--{_hyphened(name)}/({' '.join(choices)})/" for name, choices in sorted(words.items())]
    rules += [f"c/--/({' '.join(sorted(set(options)))})/"]
    return " ".join(["complete gradflow", *(f"'{rule}'" for rule in rules)])


def _options(kind: type) -> list[str]:
    """The options of a command without their dashes; a switch has two names, to turn it on and off."""
    found = []
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.default_factory):
            found += _options(field.default_factory)
        elif field.name not in ("name", "results"):  # what is shown or reported is said without a dash
            is_switch = isinstance(field.default, bool) and field.name != "print_config"
            found += [_hyphened(name) for name in (field.name, *([f"no_{field.name}"] if is_switch else []))]
    return found


def _hyphened(name: str) -> str:
    return name.replace("_", "-")
