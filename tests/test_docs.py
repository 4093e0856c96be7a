"""The documentation: every page is reached, every link and picture is there, every block parses, no name is missing.

That the pages build without a warning and that their blocks print what is shown is `.ci/run`'s to see.
"""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
INCLUDED = "statements.md"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
TOCTREE = re.compile(r"^:::\{toctree\}\n(?P<body>.*?)^:::$", re.DOTALL | re.MULTILINE)
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


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))


def entries_of(page):
    """The pages in the tables of contents of `page`."""
    lines = [line for found in TOCTREE.finditer(page.read_text()) for line in found["body"].splitlines()]
    return [page.parent / f"{line}.md" for line in lines if line and not line.startswith(":")]


def missing_links(page):
    """Relative links and pictures of `page` that are no files."""
    targets = [target for target in LINK.findall(without_code(page.read_text())) if "://" not in target]
    files = [target.partition("#")[0] for target in targets if not target.startswith("#")]
    return [file for file in files if not (page.parent / file).is_file()]


def test_every_page_is_reached_from_the_first_one_and_only_once():
    reached, waiting = [], [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        reached.append(name_of(page.resolve()))
        waiting += entries_of(page)
    assert sorted(reached) == sorted(name_of(page) for page in PAGES if name_of(page) != INCLUDED)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_are_there(page):
    assert missing_links(page) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "page.md").write_text("[a](page.md#x) ![b](gone.png) `[c](code.md)` [d](https://a.b/c)")
    assert missing_links(tmp_path / "page.md") == ["gone.png"]


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


def test_every_public_name_is_in_the_reference():
    exported = (ROOT / "gradflow" / "__init__.pyi").read_text()
    rooms = re.findall(r"^from \. import (\w+)", exported, re.MULTILINE)
    names = re.findall(r"^from \.(?!__about__)[\w.]+ import (\w+)", exported, re.MULTILINE)
    assert len(rooms) > 20 and len(names) > 20
    pages = "".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    members = dict(re.findall(r"^\.\. automodule:: (\S+)\n   :members: (.*)$", pages, re.MULTILINE))
    homes = dict(re.findall(r"`gf\.(\w+) <([\w.]+)>`", pages))
    assert [room for room in rooms if f"gradflow.{room}" not in members] == []
    assert [name for name in names if name not in homes] == []
    for name in names:
        module, _, member = homes[name].rpartition(".")
        assert member in members.get(module, "").split(", "), name


def test_a_text_block_must_be_what_was_printed(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    for shown, is_right in (("1 ... 3", True), ("1 2 4", False)):
        page.write_text(f"```python\nprint('1 2  3')\n```\n\n```text\n{shown}\n```\n")
        assert (tool.check_document(page) == 0) is is_right
    page.write_text("```text\n1\n```\n")
    assert tool.check_document(page) == 1
    assert "must follow a block that is run" in capsys.readouterr().out
