"""The entry point: dispatches to a command and turns every way to end into an exit code."""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from gradflow import checks
from gradflow.__about__ import __version__
from gradflow.cli import completion, console, help_texts, parsing
from gradflow.cli.exit_codes import ExitCode, of_error
from gradflow.settings import ExperimentSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; see :class:`gradflow.cli.ExitCode`.

    Args:
        argv: the words after the program's name; by default those the process was started with.
    """
    console.prepare_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    is_debug = "--debug" in words or os.environ.get("GRADFLOW_DEBUG", "") not in ("", "0")
    words = [word for word in words if word != "--debug"]
    code: int = ExitCode.OK
    with console.surviving(sys.stdout):
        try:
            with console.notes():
                code = _dispatch(words)
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
        except BrokenPipeError:
            raise
        except BaseException as error:
            code = of_error(error)
            _explain(error, ExitCode(code), words, is_debug)
    return int(code)


def _dispatch(words: list[str]) -> ExitCode:
    first = words[0] if words else ""
    match first:
        case "-h" | "--help" | "help":
            if len(words) > 1:
                return _dispatch([*words[1:], "--help"])
            print(help_texts.overview(parsing.COMMANDS), end="")
            return ExitCode.OK
        case "--version":
            print(f"gradflow {__version__}")
            return ExitCode.OK
        case "--completion" | "--tyro-print-completion":
            completion.print_completion(words[1] if len(words) > 1 else "")
            return ExitCode.OK
        case "":
            print(help_texts.overview(parsing.COMMANDS), end="", file=sys.stderr)
            return ExitCode.BAD_INPUT
    checks.require(not first.startswith("-"), "command", f"be one of {', '.join(parsing.COMMANDS)}", f"'{first}'",
                   "Options come after it; `gradflow --help` shows all.")  # fmt: skip
    command = parsing.command_of(first)
    return _run(command, parsing.settings_of(command, words[1:]), words)


def _run(command: str, settings: Any, words: list[str]) -> ExitCode:
    """Imports what the command needs, nothing else, and runs it."""
    if command == "portrait":
        from gradflow.cli import portraits

        return portraits.portrait(settings)
    if command == "basins":
        from gradflow.cli import basins

        return basins.basins(settings, words)
    if command == "report":
        from gradflow.cli import reports

        return reports.report(settings)
    if command == "verify":
        from gradflow.cli import verifying

        return verifying.verify(settings)
    if isinstance(settings, ExperimentSettings):
        from gradflow.cli import experimenting

        return experimenting.experiment(settings)
    from gradflow.cli import running

    return running.demo(settings) if command == "demo" else running.run_command(settings)


def _explain(error: BaseException, code: ExitCode, words: Sequence[str], is_debug: bool) -> None:
    """One message on standard error; the traceback only when it was asked for."""
    program = " ".join(["gradflow", *[word for word in words[:1] if word in parsing.COMMANDS]])
    if is_debug:
        traceback.print_exception(error)
    if code is ExitCode.INTERRUPTED:
        console.say(f"{program}: interrupted; nothing was written.")
    elif code is ExitCode.INTERNAL:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(last.filename)}, line {last.lineno}"
        what = f"{type(error).__name__}: {error} ({place})"
        console.say(f"{program}: an error in gradflow itself: {what}. Add --debug to see where.")
    else:
        console.say(f"{program}: error: {_message(error)}")


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__
