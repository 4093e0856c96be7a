"""Words to settings: which command is meant, its flags, its settings file, and the help that teaches.

tyro makes the parser from the dataclasses of :mod:`gradflow.settings`; it is imported only when a command is parsed.
Names of commands and choices get the nearest known one here, options get it from tyro.
"""

import contextlib
import inspect
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from gradflow import checks
from gradflow.cli import help_texts
from gradflow.laboratory import experiments
from gradflow.settings import (
    BasinSettings,
    DemoSettings,
    ExperimentSettings,
    PortraitSettings,
    ReportSettings,
    RunSettings,
    VerifySettings,
    read_config,
)
from gradflow.settings.files import choices_of
from gradflow.settings.runs import FILE_ENDINGS, SHIPPED, TEACHER, UNSAID


@dataclass(frozen=True)
class RunCommand(RunSettings):
    """What the command line adds to the settings of a run; its help text begins with theirs."""

    config: Annotated[Path | None, UNSAID] = None
    """A .toml or .json file of settings: the flags without their dashes, as in rtol = 1e-6. Flags win over it."""

    print_config: Annotated[tyro.conf.FlagCreatePairsOff[bool], UNSAID] = False
    """Print all settings as TOML and stop: a start for a file of your own."""


RunCommand.__doc__ = RunSettings.__doc__


@dataclass(frozen=True)
class BasinCommand(BasinSettings):
    """What the command line adds to the settings of an estimate of basins."""

    config: Annotated[Path | None, UNSAID] = None
    """A .toml or .json file of settings: the flags without their dashes, as in rtol = 1e-6. Flags win over it."""

    print_config: Annotated[tyro.conf.FlagCreatePairsOff[bool], UNSAID] = False
    """Print all settings as TOML and stop: a start for a file of your own."""


BasinCommand.__doc__ = BasinSettings.__doc__

WITH_FILES: dict[type, type] = {RunCommand: RunSettings, BasinCommand: BasinSettings}
"""Commands that read settings files, with the settings that stand there."""

MINUS_FIRST = ("--expression", "--starts", "--through", "--directions")
"""Options with values that may begin with a minus sign and are no number."""

COMMANDS: dict[str, type] = {
    "demo": DemoSettings,
    "run": RunCommand,
    "basins": BasinCommand,
    "portrait": PortraitSettings,
    "report": ReportSettings,
    "verify": VerifySettings,
}


EXPERIMENTS = "run NAME"
"""How messages and help call a run of experiments, which is a run of something else than data."""


def is_of_experiments(command: str, words: Sequence[str]) -> bool:
    """Whether these words after a command ask for experiments: ``run`` with a name, ``--all`` or ``--list``."""
    if command != "run" or not words:
        return False
    is_name = words[0][:1] != "-" and not words[0].lower().endswith((".toml", ".json"))
    return is_name or "--all" in words or "--list" in words


def command_of(word: str) -> str:
    """`word`, checked to be a command; the error names the nearest one."""
    return checks.choice("command", word, COMMANDS)


def settings_of(command: str, words: Sequence[str]) -> Any:
    """The settings that the words after the command ask for.

    Raises:
        InputError: a choice that is not known, or a bad settings file.
        SystemExit: with code 2 after tyro has explained another mistake, with code 0 after help was shown.
    """
    kind: type = ExperimentSettings if is_of_experiments(command, words) else COMMANDS[command]
    if kind in WITH_FILES and words and words[0][:1] != "-" and words[0].lower().endswith((".toml", ".json")):
        words = ["--config", *words]
    is_help = any(word in ("-h", "--help") for word in words)
    if not is_help:
        _check_choices(kind, words)
        if kind is ExperimentSettings:
            _check_is_no_data(words[0])
    default = None if is_help else _default(kind, words)
    told, explained = _Told(), io.StringIO()
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(explained):
            settings = tyro_cli(kind, f"gradflow {command}", _joined(words), default)
        print(explained.getvalue(), end="", file=sys.stderr)  # notes of settings that are allowed, but odd
        return settings
    except SystemExit as leaving:
        print(told.getvalue(), end="")
        if is_help and not leaving.code:
            print(help_texts.EXAMPLES[EXPERIMENTS if kind is ExperimentSettings else command])
            if kind is ExperimentSettings:
                print(_experiment_text(words), end="")
        if error := _refusal_behind(leaving):
            raise error from None  # our own sentence, without tyro's frame around it
        print(explained.getvalue(), end="", file=sys.stderr)
        raise


def _check_is_no_data(name: str) -> None:
    """The name of an experiment is not that of data, which have an option of their own."""
    is_data = Path(name).suffix.lower() in FILE_ENDINGS or name in (*SHIPPED, TEACHER)
    what = "be that of an experiment, see gradflow run --list"
    checks.require(not is_data, "name", what, repr(name), f"For data: gradflow run --data {name}.")


def _experiment_text(words: Sequence[str]) -> str:
    """What the experiment that the first word names says of itself, if it is one of those beside the package."""
    try:
        text = experiments.text_of(words[0].replace("-", "_"), experiments.default_folder())
    except (checks.InputError, OSError):
        return ""
    return f"{text}\n"


class _Told(io.StringIO):
    """What tyro prints. It asks standard output whether to colour, and knows neither NO_COLOR nor the other stream."""

    def __init__(self) -> None:
        super().__init__()
        self.is_coloured = not os.environ.get("NO_COLOR") and sys.stdout.isatty() and sys.stderr.isatty()

    def isatty(self) -> bool:
        return self.is_coloured


def _joined(words: Sequence[str]) -> list[str]:
    """The words with values such as ``-x**2`` tied to their option, which they would be taken for otherwise."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in MINUS_FIRST and word.startswith("-") and not word.startswith("--"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _refusal_behind(leaving: SystemExit) -> checks.InputError | None:
    """The refusal by a settings object that made tyro give up, if that was why."""
    cause: BaseException | None = leaving
    while cause is not None and not isinstance(cause, checks.InputError):
        cause = cause.__context__
    return cause


def tyro_cli(kind: Any, prog: str, words: list[str], default: Any) -> Any:
    """What tyro makes of the words: an object of that kind, or SystemExit after help, a complaint or a script."""
    markers = (
        tyro.conf.OmitArgPrefixes,
        tyro.conf.DisallowNone,
        tyro.conf.PositionalMetavarFromFieldName,
    )
    options = {} if default is None else {"default": default}
    return tyro.cli(kind, prog=prog, args=words, config=markers, description=_description(kind), **options)


def _description(kind: Any) -> str | None:
    """The docstring with its paragraphs wrapped: tyro leaves that to the terminal, but keeps indented lines."""
    if not isinstance(kind, type):
        return None
    width = min(shutil.get_terminal_size().columns, 100)
    paragraphs = (inspect.getdoc(kind) or "").split("\n\n")
    return "\n\n".join(
        textwrap.fill(" ".join(paragraph.split()), width, subsequent_indent=" ") for paragraph in paragraphs
    )


def _default(kind: type, words: Sequence[str]) -> Any:
    """The settings of the file that ``--config`` names, if it does."""
    path = _value_of("--config", words)
    if kind not in WITH_FILES or path is None:
        return None
    return kind(**vars(read_config(path, WITH_FILES[kind])))


def _value_of(option: str, words: Sequence[str]) -> str | None:
    found = None
    for index, word in enumerate(words):
        if word.startswith(f"{option}="):
            found = word.partition("=")[2]
        elif word == option and index + 1 < len(words):
            found = words[index + 1]
    return found


def _check_choices(kind: type, words: Sequence[str]) -> None:
    """Every value of an option with a list of choices is one of them; tyro would not say which is the nearest."""
    choices = choices_of(kind)
    option = ""
    for word in words:
        if word.startswith("--"):
            option, _, value = word.partition("=")
            values = [value] if value else []
        else:
            values = [word]
        name = option.removeprefix("--").replace("-", "_")
        for value in values if name in choices else ():
            checks.choice(name, value, choices[name])
