"""The documentation: every page is reached, every link, picture and anchor is there, no public name is missing.

That the pages build without a warning and that their blocks print what is shown is `.ci/run`'s to see. No network is
asked for anything: addresses of other sites are looked at, not visited.
"""

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
INCLUDED = "statements.md"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
OTHERS = sorted([*ROOT.glob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
MODULES = sorted((ROOT / "gradflow").rglob("*.py"))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
TOCTREE = re.compile(r"^:::\{toctree\}\n(?P<body>.*?)^:::$", re.DOTALL | re.MULTILINE)
ROLE = re.compile(r":(?:mod|func|class|data|meth|attr|exc):`(?:[^`<]*<)?[~.]?([\w.]+)>?`")
INCLUDE = re.compile(r"^:::\{include\} (?P<file>\S+)\n(?P<options>(?::.*\n)*):::$", re.MULTILINE)


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("readme_blocks_of_docs", ROOT / "tools" / "readme_blocks.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def name_of(path):
    return path.relative_to(DOCS).as_posix()


def place_of(path):
    return path.relative_to(ROOT).as_posix()


def without_blocks(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", without_blocks(text))


def entries_of(page):
    """The pages in the tables of contents of `page`."""
    lines = [line for found in TOCTREE.finditer(page.read_text()) for line in found["body"].splitlines()]
    return [page.parent / f"{line}.md" for line in lines if line and not line.startswith(":")]


def anchors_of(page):
    """What `#...` can name on a page: its headings in small letters, hyphens for spaces, without other marks."""
    headings = re.findall(r"^#{1,6} +(.*?) *$", without_blocks(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page):
    """Links and pictures of `page` that lead to no file or no heading, and addresses that can be none."""
    broken = []
    for target in LINK.findall(without_code(page.read_text())):
        file, _, anchor = target.partition("#")
        place = page.parent / file if file else page
        if re.match(r"[a-z]+:", target):
            is_right = is_address(target)
        else:
            is_right = place.is_file() and (not anchor or anchor in anchors_of(place))
        if not is_right:
            broken.append(target)
    return broken


def is_address(text):
    """Whether a web address could lead somewhere: https, a host with a dot, nothing that must be escaped."""
    parts = urlsplit(text)
    is_host = re.fullmatch(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}", parts.netloc)
    return (
        parts.scheme == "https" and bool(is_host) and re.fullmatch(r"[\w\-.~:/?#\[\]@!$&'()*+,;=%]+", text) is not None
    )


def defined_in(body, prefix):
    """The dotted names that the statements define: functions, classes with what is in them, and variables."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield f"{prefix}.{node.name}"
            yield from defined_in(node.body if isinstance(node, ast.ClassDef) else [], f"{prefix}.{node.name}")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (f"{prefix}.{target.id}" for target in targets if isinstance(target, ast.Name))


@pytest.fixture(scope="module")
def endings():
    """`critical_points.classify`, `classify`, ...: how a docstring may call what the library defines."""
    names = set()
    for path in MODULES:
        module = place_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        names |= {module, *defined_in(ast.parse(path.read_text()).body, module)}
    return {".".join(name.split(".")[first:]) for name in names for first in range(name.count(".") + 1)}


def unknown_references(text, endings):
    """Targets of :func:`...` and its like that are neither an ending of a name of the library nor can be imported."""
    return [target for target in ROLE.findall(text) if target not in endings and not can_be_imported(target)]


def can_be_imported(target):
    try:
        pkgutil.resolve_name(target)
    except (AttributeError, ImportError):
        return False
    return True


def test_every_page_is_reached_from_the_first_one_and_only_once():
    reached, waiting = [], [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        reached.append(name_of(page.resolve()))
        waiting += entries_of(page)
    assert sorted(reached) == sorted(name_of(page) for page in PAGES if name_of(page) != INCLUDED)


@pytest.mark.parametrize("page", OTHERS + PAGES, ids=place_of)
def test_links_pictures_and_anchors_are_there(page):
    assert broken_links(page) == []


@pytest.mark.parametrize(
    "target", ["gone.png", "#gone", "page.md#gone", "http://a.b", "https://host/x", "https://a.b/{x}", "ftp://a.bc/d"]
)
def test_a_broken_link_is_found(tmp_path, target):
    page = tmp_path / "page.md"
    good = "[a](page.md#the-2-wells) [b](#the-2-wells) [c](https://a.bc/d?e=f#g) `[d](code.md)`"
    page.write_text(f"## The 2 `wells`:\n{good} [e]({target})")
    assert broken_links(page) == [target]


def test_references_in_docstrings_name_what_there_is(endings):
    unknown = {place_of(path): unknown_references(path.read_text(), endings) for path in MODULES}
    assert {place: targets for place, targets in unknown.items() if targets} == {}


@pytest.mark.parametrize("target", ["gone", "gradflow.integrat", "gradflow.curvature.QuadraticModel.gone", "nowhere.x"])
def test_a_reference_to_nothing_is_found(target, endings):
    good = ":func:`gradflow.integrate` :meth:`QuadraticModel.creep` :mod:`~gradflow.kinks` :class:`a bowl <Landscape>`"
    assert unknown_references(f"{good} :func:`{target}`", endings) == [target]


@pytest.mark.parametrize("page", sorted((DOCS / "theory").glob("*.md")), ids=name_of)
def test_included_sections_begin_and_end_where_the_page_says(page):
    included = list(INCLUDE.finditer(page.read_text()))
    assert included
    for found in included:
        text = (page.parent / found["file"]).read_text()
        places = re.findall(r'^:(?:start-after|end-before): "(.*)"$', found["options"], re.MULTILINE)
        positions = [text.find(place) for place in places]
        assert places and min(positions) >= 0 and positions == sorted(positions)


def test_every_section_of_the_statements_is_included():
    text = "".join(page.read_text() for page in (DOCS / "theory").glob("*.md"))
    headings = re.findall(r"^## .*$", (DOCS / INCLUDED).read_text(), re.MULTILINE)
    assert [heading for heading in headings if f':start-after: "{heading}"' not in text] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "reference"], ids=name_of)
def test_python_blocks_parse(page, tool):
    for block in tool.blocks_of(page):
        if block.language == "python":
            compile(block.code, str(page), "exec")


def test_pages_that_are_run_show_what_their_blocks_print(tool):
    for page in [DOCS / "tutorial.md", *(DOCS / "howto").glob("*.md")]:
        blocks = tool.blocks_of(page)
        texts = [number for number, block in enumerate(blocks) if block.language == "text"]
        assert all(number > 0 and blocks[number - 1].language != "text" for number in texts), page


FAMILIES = (
    "activations", "certificates", "datasets", "initial_laws", "invariants", "losses", "model_problems", "networks",
    "regularizers", "samplers", "solvers",
)  # fmt: skip
"""Rooms that members are added to."""


def members_of_pages():
    """Module to the names that the reference lists for it."""
    pages = "".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    found = re.findall(r"^\.\. automodule:: (\S+)\n   :members: (.*)$", pages, re.MULTILINE)
    return {module: names.split(", ") for module, names in found}


def final_below(base, prefix):
    """The classes below `base` that are defined under `prefix` and are neither abstract nor private."""
    for cls in base.__subclasses__():
        yield from final_below(cls, prefix)
        if cls.__module__.startswith(prefix) and not cls.__name__.startswith(("Abstract", "_")):
            yield cls


@pytest.mark.parametrize("family", FAMILIES)
def test_every_member_of_a_family_is_public_and_in_the_reference(family):
    room = importlib.import_module(f"gradflow.{family}")
    public = {
        name: value
        for name, value in vars(room).items()
        if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value))
        if value.__module__.startswith(room.__name__)
    }
    bases = [value for name, value in public.items() if name.startswith("Abstract")]
    hidden = {cls.__name__ for base in bases for cls in final_below(base, room.__name__)} - set(public)
    assert not hidden, f"gradflow.{family} does not export them"
    assert sorted(set(public) - set(members_of_pages()[room.__name__])) == []


def test_every_public_name_is_in_the_reference():
    exported = (ROOT / "gradflow" / "__init__.pyi").read_text()
    rooms = re.findall(r"^from \. import (\w+)", exported, re.MULTILINE)
    names = re.findall(r"^from \.(?!__about__)[\w.]+ import (\w+)", exported, re.MULTILINE)
    assert len(rooms) > 20 and len(names) > 20
    pages = "".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    members = members_of_pages()
    homes = dict(re.findall(r"`gf\.(\w+) <([\w.]+)>`", pages))
    assert [room for room in rooms if f"gradflow.{room}" not in members] == []
    assert [name for name in names if name not in homes] == []
    for name in names:
        module, _, member = homes[name].rpartition(".")
        assert member in members.get(module, []), name


def test_a_text_block_must_be_what_was_printed(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    for shown, is_right in (("1 ... 3", True), ("1 2 4", False)):
        page.write_text(f"```python\nprint('1 2  3')\n```\n\n```text\n{shown}\n```\n")
        assert (tool.check_document(page) == 0) is is_right
    page.write_text("```text\n1\n```\n")
    assert tool.check_document(page) == 1
    assert "must follow a block that is run" in capsys.readouterr().out
