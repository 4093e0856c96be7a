"""Where experiments are, what they say of themselves, and how one becomes an object.

A file is looked at without running it until it is loaded, so that a list costs nothing. Knows files and the three
names that each of them defines; nothing of what they measure.
"""

import ast
import dataclasses
import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradflow import checks
from gradflow.laboratory.findings import Finding

if TYPE_CHECKING:
    import xarray as xr

DEFINED = ("Settings", "measure", "findings")
"""What the file of an experiment must define."""

JUDGEMENT = "findings"
"""The function that only looks at results: a change of it makes no result stale."""


@dataclass(frozen=True)
class Experiment:
    """One experiment, loaded.

    Attributes:
        name: the file's name without its ending.
        path: the file.
        question: the first line of its docstring.
        sections: what the docstring says under "Question", "Prediction", "Method", "Cost", "Source", "Found".
        settings_type: the frozen dataclass ``Settings``; ``settings_type()`` is full size, ``.tiny()`` runs in seconds.
        measure: from settings to an ``xarray.Dataset`` with all numbers.
        findings: from such a dataset, as measured or as saved, to the findings.
        digest: SHA-256 of the code that measures: docstrings, layout and ``findings`` itself left out.
    """

    name: str
    path: Path
    question: str
    sections: dict[str, str]
    settings_type: type
    measure: Callable[[Any], "xr.Dataset"]
    findings: Callable[["xr.Dataset"], list[Finding]]
    digest: str


def default_folder() -> Path:
    """The folder ``experiments`` beside the package, which a clone has.

    Raises:
        InputError: the package was installed without it.
    """
    folder = Path(__file__).resolve().parents[2] / "experiments"
    remedy = "Experiments come with a clone of the repository; say where yours are with --experiments FOLDER."
    checks.require(folder.is_dir(), "experiments", "be a folder", f"{folder}, which is not there", remedy)
    return folder


def names_in(folder: Path) -> list[str]:
    """The names of the experiments in a folder, sorted; files that begin with an underscore are none.

    Raises:
        InputError: there is no such folder, or nothing in it.
    """
    checks.require(folder.is_dir(), "experiments", "be a folder", f"{folder}, which is none")
    found = sorted(path.stem for path in folder.glob("*.py") if not path.name.startswith("_"))
    checks.require(bool(found), "experiments", "hold at least one NAME.py", f"{folder}, which holds none")
    return found


def text_of(name: str, folder: Path) -> str:
    """An experiment's docstring, without loading it; empty when there is none."""
    try:
        return ast.get_docstring(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))) or ""
    except SyntaxError:
        return ""


def question_of(name: str, folder: Path) -> str:
    """The first line of :func:`text_of`."""
    return next(iter(text_of(name, folder).splitlines()), "")


def load_experiment(name: str, folder: Path | None = None) -> Experiment:
    """The experiment called `name` (hyphens are underscores) in `folder`, by default :func:`default_folder`.

    Raises:
        InputError: no experiment has that name (the nearest one is named), or its file does not define
            ``Settings``, ``measure`` and ``findings``. Whatever the file itself raises.
    """
    folder = default_folder() if folder is None else Path(folder)
    name = checks.choice("name", name.replace("-", "_").removesuffix(".py"), names_in(folder))
    path = folder / f"{name}.py"
    module = _module(name, path)
    missing = [word for word in DEFINED if not hasattr(module, word)]
    checks.require(not missing, str(path), f"define {', '.join(DEFINED)}", f"none called {', '.join(missing)}")
    kind = module.Settings
    is_frozen = dataclasses.is_dataclass(kind) and vars(kind)["__dataclass_params__"].frozen
    is_fit = isinstance(kind, type) and is_frozen and hasattr(kind, "tiny")
    checks.require(is_fit, f"{name}.Settings", "be a frozen dataclass with a class method tiny()", repr(kind))
    text = inspect.getdoc(module) or ""
    question = text.splitlines()[0] if text else ""
    source = path.read_text(encoding="utf-8")
    return Experiment(name, path, question, sections_of(text), kind, module.measure, module.findings, _digest(source))


def sections_of(text: str) -> dict[str, str]:
    """What a docstring says under each heading ``Word: ...`` at the beginning of a line."""
    parts = re.split(r"^([A-Z][a-z]+):\s", text, flags=re.MULTILINE)
    return {word: " ".join(body.split()) for word, body in zip(parts[1::2], parts[2::2], strict=True)}


def _module(name: str, path: Path) -> Any:
    """The file, executed anew; registered under its own name, because dataclasses look their module up."""
    specification = importlib.util.spec_from_file_location(f"gradflow_experiment_{name}", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def _digest(source: str) -> str:
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == JUDGEMENT)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
