"""``gradflow verify``: the statements of the papers, tried one by one, each line as soon as it is known."""

import difflib
import fnmatch
import json
import sys
from collections.abc import Sequence
from typing import Any

from gradflow import checks
from gradflow.cli import console
from gradflow.cli.exit_codes import ExitCode
from gradflow.cli.running import double_precision
from gradflow.settings import VerifySettings


def verify(settings: VerifySettings) -> ExitCode:
    """Tries the statements and prints or writes the answer; an interruption keeps those that were tried."""
    with console.stage("Starting JAX"):
        from gradflow import reporting, verification

        chosen = selected(verification.STATEMENTS, settings.only)
    verdicts: list[Any] = []
    is_streamed = settings.format == "table" and settings.out is None
    with double_precision(), console.surviving(sys.stdout):
        if is_streamed:
            print(reporting.VERDICT_COLUMNS)
        try:
            for statement in chosen:
                console.progress(f"{len(verdicts) + 1}/{len(chosen)} {statement.name}")
                verdicts.append(verification.verify(statement, thorough=settings.thorough, seed=settings.seed))
                if is_streamed:
                    console.progress("")
                    print(*reporting.verdict_lines(verdicts[-1], settings.explain), sep="\n", flush=True)
        except KeyboardInterrupt:
            console.progress("")
            console.say(f"interrupted after {len(verdicts)} of {len(chosen)} statements.")
        console.progress("")
        _answer(settings, verdicts, is_streamed)
    if len(verdicts) < len(chosen):
        return ExitCode.INTERRUPTED
    for verdict in verdicts:
        if not verdict.is_as_expected:
            console.say(f"check failed: {verdict.statement.name}: {verdict.statement.claim}")
    return ExitCode.OK if all(verdict.is_as_expected for verdict in verdicts) else ExitCode.CHECK_FAILED


def selected(statements: Sequence[Any], only: Sequence[str]) -> list[Any]:
    """The statements whose name has one of the words in it; a word may hold the wildcards of a shell.

    Raises:
        InputError: a word that is in no name.
    """
    if not only:
        return list(statements)
    for word in only:
        found = any(_matches(statement.name, word) for statement in statements)
        papers = ", ".join(dict.fromkeys(statement.paper for statement in statements))
        names = [statement.name for statement in statements]
        near = difflib.get_close_matches(word, names, n=3, cutoff=0.5) or names[:1]
        remedy = f"Names are like {', '.join(near)}; the papers are {papers}."
        checks.require(found, "only", "be part of a statement's name", repr(word), remedy)
    return [statement for statement in statements if any(_matches(statement.name, word) for word in only)]


def _matches(name: str, word: str) -> bool:
    return fnmatch.fnmatchcase(name, f"*{word.lower()}*")


def _answer(settings: VerifySettings, verdicts: Sequence[Any], is_streamed: bool) -> None:
    """What is left to print, or the whole of it to a file."""
    from gradflow import reporting

    if is_streamed:
        print("\n" + reporting.verdict_summary(verdicts))
        return
    if settings.format == "json":
        text = json.dumps([reporting.verdict_data(verdict) for verdict in verdicts], indent=1) + "\n"
    elif settings.format == "markdown":
        words = [*settings.only, *(["--thorough"] if settings.thorough else [])]
        text = reporting.verdict_page(verdicts, " ".join(["gradflow verify", *words, "--format markdown"]))
    else:
        rows = [line for verdict in verdicts for line in reporting.verdict_lines(verdict, settings.explain)]
        text = "\n".join([reporting.VERDICT_COLUMNS, *rows, "", reporting.verdict_summary(verdicts)]) + "\n"
    if settings.out is None:
        print(text, end="")
    else:
        settings.out.write_text(text, encoding="utf-8")
        console.say(reporting.verdict_summary(verdicts))
