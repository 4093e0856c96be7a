"""The tool that executes the README's blocks: it must fail where a reader would, and say where."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "tools" / "readme_blocks.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("readme_blocks", SOURCE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def check(tool, tmp_path, monkeypatch, capsys):
    """Writes a document, checks it, and gives exit code and output."""
    monkeypatch.setenv("MPLBACKEND", "Agg")  # what main sets is undone with this
    monkeypatch.setenv("PATH", os.environ["PATH"])
    repository = tmp_path / "repository"
    repository.mkdir()
    monkeypatch.setattr(tool, "ROOT", repository)

    def checked(text):
        document = tmp_path / "DOCUMENT.md"
        document.write_text(text)
        status = tool.main([str(document)])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    checked.repository = repository
    return checked


def block(language, code, before=""):
    return f"Some prose.\n\n{before}\n```{language}\n{code}\n```\n"


def launcher_of(repository):
    """A launcher whose command line knows `demo` with one option."""
    launcher = repository / "go"
    launcher.write_text(
        "#!/bin/sh\n"
        'if [ "$1 $2" = "demo --help" ]; then echo "--seed INT"; exit 0; fi\n'
        'if [ "$1" = "demo" ]; then touch ran; exit 0; fi\n'
        'echo "no such command"; exit 2\n'
    )
    launcher.chmod(0o755)


def test_python_blocks_share_one_namespace(check):
    status, output = check(block("python", "a = 2") + block("python", "assert a == 2"))
    assert status == 0
    assert "all hold" in output


def test_a_python_block_that_raises_fails_with_the_line_of_the_document(check):
    status, output = check(block("python", "a = 1\nassert a == 2, 'not two'"))
    assert status == 1
    assert "DOCUMENT.md" in output
    assert "line 6" in output
    assert "not two" in output


def test_a_block_that_leaves_the_interpreter_fails(check):
    status, _ = check(block("python", "raise SystemExit(0)"))
    assert status == 1


def test_one_failure_does_not_hide_the_next(check):
    status, output = check(block("python", "1 / 0") + block("python", "undefined"))
    assert status == 1
    assert "ZeroDivisionError" in output
    assert "NameError" in output


def test_a_shell_block_fails_with_its_first_failing_command(check):
    status, output = check(block("bash", "echo first\nls no-such-file\necho third"))
    assert status == 1
    assert "first" in output
    assert "no-such-file" in output
    assert "third" not in output.split("FAILED")[1]


def test_a_shell_block_may_span_lines_and_hold_comments(check):
    status, _ = check(block("bash", "# two words\nname=one \\\n  && test $name = one\nfor i in 1 2; do\n  true\ndone"))
    assert status == 0


def test_a_console_block_runs_what_follows_the_prompt_and_nothing_else(check):
    status, _ = check(block("console", "$ echo hello\nhello\nthis is output, not a command"))
    assert status == 0


def test_a_console_block_without_a_prompt_fails(check):
    status, output = check(block("console", "echo hello"))
    assert status == 1
    assert "must hold a command" in output


def test_blocks_see_the_repository_and_write_beside_it(check):
    (check.repository / "data.csv").write_text("1,2\n")
    status, _ = check(block("bash", "cat data.csv > copy.csv\ntest -s copy.csv"))
    assert status == 0
    assert not (check.repository / "copy.csv").exists()


def test_a_block_that_is_not_run_is_not_run_and_its_reason_is_shown(check):
    launcher_of(check.repository)
    text = block("bash", "./go demo", "<!-- not run: it takes a minute -->") + block("bash", "test ! -e ran")
    status, output = check(text)
    assert status == 0
    assert "not run: it takes a minute" in output


def test_a_quicker_variant_runs_in_place_of_the_block(check):
    launcher_of(check.repository)
    before = "<!-- run instead: ./go demo --seed 1 && echo done > variant -->"
    status, _ = check(block("bash", "./go demo", before) + block("bash", "test -e ran\ntest -e variant"))
    assert status == 0


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("./go dmeo", "`./go dmeo --help` fails"),
        ("./go demo --sede 1", "has no option `--sede`"),
        ("SEED=1 no-such-command demo", "there is no command `no-such-command`"),
    ],
)
def test_a_block_that_is_not_run_must_still_name_what_exists(check, command, complaint):
    launcher_of(check.repository)
    status, output = check(block("bash", command, "<!-- not run: it takes a minute -->"))
    assert status == 1
    assert complaint in output


@pytest.mark.parametrize("command", ["./go demo --seed 3", "./go demo --seed=3 | head", "cd somewhere", "./go test -x"])
def test_commands_that_exist_pass_the_look(check, command):
    launcher_of(check.repository)
    status, _ = check(block("bash", command, "<!-- not run: it takes a minute -->"))
    assert status == 0


def test_python_that_is_not_run_must_still_parse(check):
    status, output = check(block("python", "a = = 1", "<!-- not run: it needs your data -->"))
    assert status == 1
    assert "invalid syntax" in output


@pytest.mark.parametrize("between", ["", "Some prose.\n\n```python\na = 1\n```\n"])
def test_a_marker_holds_for_the_next_block_only(check, between):
    fails = "```python\n1 / 0\n```\n"
    status, output = check(f"<!-- not run: it needs your data -->\n{fails}{between}{fails}")
    assert status == 1
    assert "1 failed" in output


def test_a_marker_with_prose_before_the_block_is_no_marker(check):
    status, _ = check("<!-- not run: it needs your data -->\nSome prose.\n```python\n1 / 0\n```\n")
    assert status == 1


def test_blocks_in_other_languages_are_named_and_left(check):
    status, output = check(block("toml", "not = valid = toml") + block("python", "a = 1"))
    assert status == 0
    assert "neither Python nor shell" in output


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("no block at all\n", "there must be a block to check"),
        ("```python\nleft = 'open'\n", "the file ends first"),
        ("<!-- not run -->\n```bash\ntrue\n```\n", "a marker must read"),
        ("1. step\n\n   ```bash\n   true\n   ```\n", "a fence must be"),
    ],
)
def test_what_would_go_unchecked_is_an_error(check, text, complaint):
    status, output = check(text)
    assert status == 1
    assert complaint in output


def test_a_missing_document_is_an_error(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("PATH", os.environ["PATH"])
    assert tool.main([str(tmp_path / "NONE.md")]) == 1
    assert "NONE.md" in capsys.readouterr().err


def test_a_call_without_documents_shows_the_usage(tool, capsys):
    assert tool.main([]) == 2
    assert "Usage" in capsys.readouterr().out
