"""Executes the fenced blocks of Markdown files, so that what a README shows is what happens.

Python blocks of one file share a namespace, as a reader who follows along has it. Shell blocks (`bash`, `sh`,
`console`) stop at the first command that fails; in a console block the commands follow a `$`. All run in a folder of
their own that links to the repository's files, with this interpreter first on the path and figures going to files.
An HTML comment on the line before a block, invisible to readers, changes that:

    <!-- not run: the reason -->          the block is only looked at: do the commands and their options exist?
    <!-- run instead: a command -->       a quicker variant stands for the block, which is looked at as well

A `text` block is what the block before it prints on standard output, but for white space; `...` in it stands for
anything.

Usage: python tools/readme_blocks.py README.md [MORE.md ...]
"""

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHELL_LANGUAGES = ("bash", "sh", "console")
FENCE = re.compile(r"^```(?P<language>[A-Za-z]*)\s*$")
MARKER = re.compile(r"^<!-- (?P<kind>not run|run instead): (?P<text>.+?) -->$")
BROKEN_MARKER = re.compile(r"^<!--\s*(not[ -]run|run[ -]instead)")
# Words of the launcher that are not commands of the gradflow command line.
LAUNCHER_WORDS = ("setup", "test", "python")


@dataclass(frozen=True)
class Block:
    """One fenced block: `line` is where its code starts, counted from 1; `marker` is its comment's kind and text."""

    path: Path
    line: int
    language: str
    code: str
    marker: tuple[str, str] | None = None

    @property
    def title(self) -> str:
        """Where the block is and how it begins."""
        return f"{self.path.name}:{self.line} {self.language}: {self.code.strip().splitlines()[0]}"


class BlockError(Exception):
    """A block does not do what the document says."""


def blocks_of(path: Path) -> list[Block]:
    """Returns the document's fenced blocks in order.

    Raises:
        BlockError: a fence is left open, or a comment looks like a marker and is none.
    """
    blocks = []
    marker = None
    lines = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        if fence := FENCE.match(line):
            code = _rest_of_block(lines, f"{path.name}:{number}")
            if code.strip():
                blocks.append(Block(path, number + 1, fence["language"], code, marker))
            marker = None
        elif line.lstrip().startswith("```"):
            raise BlockError(f"{path.name}:{number}: a fence must be three backquotes and one word, but got `{line}`.")
        elif found := MARKER.match(line):
            marker = (found["kind"], found["text"])
        elif BROKEN_MARKER.match(line):
            raise BlockError(f"{path.name}:{number}: a marker must read `<!-- not run: REASON -->`, but got `{line}`.")
        elif line.strip():
            marker = None
    return blocks


def _rest_of_block(lines: Iterator[tuple[int, str]], where: str) -> str:
    code: list[str] = []
    for _, line in lines:
        if line.rstrip() == "```":
            return "\n".join(code) + "\n"
        code.append(line)
    raise BlockError(f"{where}: the block must end with a line of three backquotes, but the file ends first.")


def commands_of(block: Block) -> list[str]:
    """Returns the lines of a shell block: without comments and, in a console block, without what was printed."""
    text = block.code.replace("\\\n", " ")
    if block.language == "console":
        return [line[2:].strip() for line in text.splitlines() if line.startswith("$ ")]
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def run_python(block: Block, namespace: dict[str, object]) -> str:
    """Executes a Python block in the namespace and returns what it printed; tracebacks show the document's lines."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (block.line - 1) + block.code, str(block.path), "exec"), namespace)
    except (Exception, SystemExit) as error:
        raise BlockError(traceback.format_exc().rstrip()) from error
    return printed.getvalue()


def run_commands(commands: list[str]) -> str:
    """Runs shell commands in the current folder, one after the other, and returns their standard output.

    Raises:
        BlockError: one of them fails.
    """
    script = "\n".join(["set -eo pipefail", *commands])
    done = subprocess.run(["bash", "-c", script], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise BlockError(f"exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def compare_output(shown: str, printed: str | None) -> None:
    """Checks that a document shows what was printed; None: nothing was run before it."""
    if printed is None:
        raise BlockError("a `text` block must follow a block that is run, but no such block is before it.")
    if not doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE):
        raise BlockError(f"the document shows\n{shown}but the block before it prints\n{printed}")


def look_at_command(command: str) -> None:
    """Checks without running it that the command exists and that its help knows the options shown."""
    words = shlex.split(command, comments=True)
    while words and "=" in words[0]:  # settings of the environment before the command
        words = words[1:]
    if not words:
        return
    if subprocess.run(["bash", "-c", 'type "$0"', words[0]], check=False, capture_output=True).returncode != 0:
        raise BlockError(f"`{command}`: there is no command `{words[0]}`.")
    is_ours = Path(words[0]).name in ("go", "gradflow")
    if not is_ours or len(words) < 2 or words[1] in LAUNCHER_WORDS or words[1].startswith("-"):
        return
    shown = subprocess.run(
        [words[0], words[1], "--help"],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    if shown.returncode != 0:
        raise BlockError(f"`{command}`: `{words[0]} {words[1]} --help` fails:\n{shown.stdout}{shown.stderr}")
    known = set(re.findall(r"--[\w.-]+", shown.stdout))
    for word in words[2:]:
        option = word.split("=")[0]
        if option.startswith("--") and option not in known:
            raise BlockError(f"`{command}`: `{words[1]}` has no option `{option}`.")


def look_at_block(block: Block) -> None:
    """Checks without running it that a Python block parses, or that a shell block's commands exist."""
    if block.language == "python":
        compile(block.code, str(block.path), "exec")
        return
    for command in commands_of(block):
        look_at_command(command)


def check_block(block: Block, namespace: dict[str, object], printed: str | None = None) -> tuple[str, str | None]:
    """Runs or looks at one block; returns what was done, and what was printed if it was run.

    `printed` is what the block before it printed, None if that was not run.
    """
    kind, text = block.marker or ("", "")
    if block.language == "text":
        compare_output(block.code, printed)
        return "printed by the block before", None
    if block.language not in ("python", *SHELL_LANGUAGES):
        return "neither Python nor shell", None
    if kind:
        look_at_block(block)
        if kind == "not run":
            return f"looked at, not run: {text}", None
        return f"looked at; run instead: {text}", run_commands([text])
    if block.language == "python":
        return "run", run_python(block, namespace)
    if commands := commands_of(block):
        return "run", run_commands(commands)
    raise BlockError("the block must hold a command (in a console block: after `$ `), but holds none.")


@contextlib.contextmanager
def reader_folder() -> Iterator[Path]:
    """Enters an empty folder in which the repository's files are linked, so that what blocks write stays outside it."""
    with tempfile.TemporaryDirectory(prefix="readme-blocks-") as name, contextlib.chdir(name):
        for entry in ROOT.iterdir():
            if not entry.name.startswith("."):
                Path(entry.name).symlink_to(entry)
        yield Path(name)


def check_document(path: Path) -> int:
    """Checks every block of a document, one line each, and returns how many failed."""
    failures = 0
    namespace: dict[str, object] = {"__name__": "__main__"}
    blocks = blocks_of(path)
    if not blocks:
        raise BlockError(f"{path.name}: there must be a block to check, but there is none.")
    printed: str | None = None
    with reader_folder():
        for block in blocks:
            begun = time.monotonic()
            try:
                outcome, printed = check_block(block, namespace, printed)
            except (BlockError, SyntaxError) as error:
                failures += 1
                printed = None
                outcome = f"FAILED\n{error}"
            print(f"{block.title} ... {outcome} ({time.monotonic() - begun:.1f} s)", flush=True)
    return failures


def main(arguments: list[str]) -> int:
    """Returns 0 when every block of every document holds, 1 when one does not, 2 for a wrong call."""
    if not arguments:
        print(__doc__)
        return 2
    os.environ["MPLBACKEND"] = "Agg"
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    try:
        failures = sum(check_document(Path(name).resolve()) for name in arguments)
    except (BlockError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"README blocks: {failures} failed" if failures else "README blocks: all hold")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
