"""The repository itself: what a clone installs, what its files must not hold, and how long a module may grow."""

import ast
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LONGEST_MODULE = 400  # lines; a family that outgrows it becomes a folder, one member a file
LONGEST_FUNCTION = 50  # lines after the docstring
LOCK_LIKE = re.compile(
    r"(^|/)(constraints|requirements)[^/]*\.txt$|\.lock$|(^|/)pylock[^/]*\.toml$|(^|/)[\w-]+-lock\.json$"
)
ADDRESS = re.compile(r"\w+://")
REGISTRY = re.compile(r"https?://[^\s)\"]*(pypi|pythonhosted|debian|npmjs)")
# The start of a path that exists on one machine only: a home, a build farm's or a temporary folder.
MACHINE_PATH = re.compile(r"(^|[^\w./])/(work|farm|root|tmp|home|Users)/[\w.-]+", re.MULTILINE)


def tracked_files():
    """The files that a commit of everything would hold."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.splitlines() if (ROOT / name).is_file()]


def texts():
    """Name and text of every tracked file that is text."""
    for path in tracked_files():
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def found(pattern):
    """Where the pattern stands in the tracked texts, readable in a failure."""
    return [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0].strip()}"
        for name, text in texts()
        for match in pattern.finditer(text)
    ]


def library_modules():
    return sorted((ROOT / "gradflow").rglob("*.py"))


def normalized(requirement):
    """The name in a requirement, in the one spelling that packaging compares."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def pinned():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {normalized(line) for line in lines if re.match(r"[\w.-]+==\S+( ; .+)?$", line)}


def declared():
    project = PROJECT["project"]
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    return {normalized(requirement) for requirement in project["dependencies"] + extras}


def test_no_lock_like_file_holds_an_address():
    lock_like = [(name, text) for name, text in texts() if LOCK_LIKE.search(name)]
    assert "constraints.txt" in [name for name, _ in lock_like]
    assert [name for name, text in lock_like if ADDRESS.search(text)] == []


def test_no_file_names_a_package_registry():
    assert found(REGISTRY) == []


def test_no_file_holds_a_path_of_one_machine():
    assert found(MACHINE_PATH) == []


@pytest.mark.parametrize(
    ("pattern", "text", "is_found"),
    [
        (REGISTRY, "from https:" + "//files.pythonhosted.org/x.whl", True),
        (REGISTRY, "https:" + "//doi.org/10.1000/1", False),
        (MACHINE_PATH, "see " + "/home" + "/ada/data.csv", True),
        (MACHINE_PATH, "a ratio of home/work/life", False),
    ],
)
def test_the_search_patterns_find_what_they_name(pattern, text, is_found):
    assert bool(pattern.search(text)) is is_found


def test_every_declared_dependency_is_pinned():
    assert declared() - pinned() == set()


def test_every_line_of_the_constraints_pins_one_version():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if normalized(line) not in pinned()] == []


def test_the_version_is_said_once():
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "gradflow/__about__.py"


@pytest.mark.parametrize("name", ["go", ".ci/run"])
def test_commands_are_executable(name):
    assert os.access(ROOT / name, os.X_OK)


@pytest.mark.parametrize("name", ["py.typed", "__init__.pyi"])
def test_the_package_ships_its_types(name):
    assert ROOT / "gradflow" / name in tracked_files()


def test_modules_stay_short_enough_to_read():
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in library_modules()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_functions_stay_short_enough_to_read():
    lengths = {}
    for path in library_modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = node.end_lineno - body[0].lineno + 1 if body else 0
                lengths[f"{path.relative_to(ROOT).as_posix()}: {node.name}"] = length
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_the_library_imports_its_modules_and_not_its_own_face():
    """`import gradflow` inside the package would reach every room past the import contract."""
    importers = [
        path.relative_to(ROOT).as_posix()
        for path in library_modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and "gradflow" in [name.name for name in node.names]
    ]
    assert importers == []
