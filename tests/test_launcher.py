"""The launcher `go`: what it refuses, when it sets up again, and that a kill, a rival or a broken uv does no harm.

No test touches the network: the commands of the set-up are played by `FakeCommands`.
"""

import ast
import fcntl
import importlib.machinery
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "go"
PYTHON_3_11 = (3, 11, 0, "final", 0)


def load(path):
    """The launcher at `path` as a module; it has no ending, so the import system must be told."""
    loader = importlib.machinery.SourceFileLoader("go_launcher", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("go_launcher", loader))
    loader.exec_module(module)
    return module


class FakeCommands:
    """Stands for `run_step`: notes each command, makes the interpreter that `-m venv` would, fails where told to."""

    def __init__(self, failing=()):
        self.failing = failing
        self.commands = []

    def __call__(self, command, log, lock):
        self.commands.append(command)
        line = " ".join(command)
        if "-m venv" in line:
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.write_text("#!/bin/sh\n")
            python.chmod(0o755)
        log.write(f"the output of {line}\n")
        return int(any(words in line for words in self.failing))

    def ran(self, words):
        return any(words in " ".join(command) for command in self.commands)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with nothing in it but what the launcher reads."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("GRADFLOW_VENV", raising=False)
    (tmp_path / "gradflow").mkdir()
    (tmp_path / "gradflow" / "__about__.py").write_text('__version__ = "0"\n')
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("numpy==2\n")
    shutil.copy(SOURCE, tmp_path / "go")
    return tmp_path


@pytest.fixture
def launcher(clone):
    return load(clone / "go")


@pytest.fixture
def commands(launcher, monkeypatch):
    fake = FakeCommands()
    monkeypatch.setattr(launcher, "run_step", fake)
    return fake


@pytest.fixture
def folder(clone):
    return clone / ".venv"


@pytest.fixture
def ready(launcher, commands, folder):
    """A finished environment, and the commands that follow it."""
    launcher.set_up(folder)
    commands.commands.clear()
    return folder


@pytest.mark.parametrize("version", [(2, 7), (3, 6), (3, 10)])
def test_an_old_python_is_refused_in_one_sentence_with_the_remedy(launcher, version):
    message = launcher.refusal((*version, 9, "final", 0), True)
    assert message == (
        f"gradflow needs Python 3.11 or newer, but this is Python {version[0]}.{version[1]}: "
        "run it with another one, for example `python3.12 go demo`."
    )


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 14), (4, 0)])
def test_python_3_11_and_newer_are_accepted(launcher, version):
    assert launcher.refusal((*version, 0, "final", 0), True) is None


def test_a_system_without_file_locks_is_told_the_commands_to_type_instead(launcher):
    message = launcher.refusal(PYTHON_3_11, False)
    assert "WSL" in message
    assert "pip install -e .[test] -c constraints.txt" in message


def test_a_refusal_sets_nothing_up_and_gives_exit_code_2(launcher, commands, folder, monkeypatch, capsys):
    monkeypatch.setattr(launcher, "OLDEST_PYTHON", (4, 0))
    assert launcher.main(["demo"]) == 2
    assert "needs Python 4.0" in capsys.readouterr().err
    assert commands.commands == []
    assert not folder.exists()


def test_the_grammar_is_old_enough_to_say_that_python_is_too_old():
    ast.parse(SOURCE.read_text(), feature_version=(3, 7))  # the oldest that ast can play; 3.6 differs in nothing used


def test_only_the_standard_library_is_imported():
    imports = [
        node for node in ast.walk(ast.parse(SOURCE.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = {name.name for node in imports if isinstance(node, ast.Import) for name in node.names}
    names |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_the_first_set_up_makes_an_environment_and_installs_with_uv(launcher, commands, folder):
    launcher.set_up(folder)
    assert launcher.is_ready(folder)
    assert [command[1:4] for command in commands.commands] == [
        ["-m", "venv", str(folder)],
        ["-m", "pip", "install"],
        ["-m", "uv", "pip"],
    ]
    assert commands.commands[-1][-4:] == ["--editable", ".[test]", "--constraint", "constraints.txt"]


def test_a_finished_environment_is_used_without_running_anything(launcher, commands, ready):
    launcher.set_up(ready)
    assert commands.commands == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "gradflow/__about__.py"])
def test_a_changed_file_brings_the_environment_up_to_date_in_place(launcher, commands, ready, clone, name):
    (clone / name).write_text("changed = 1\n")
    assert not launcher.is_ready(ready)
    launcher.set_up(ready)
    assert launcher.is_ready(ready)
    assert commands.ran("--editable")
    assert not commands.ran("-m venv")


def test_an_environment_of_another_python_is_made_anew(launcher, commands, ready):
    (ready / "left over").touch()
    launcher.finish(ready, launcher.stamp().replace(sys.implementation.cache_tag, "cpython-399"))
    launcher.set_up(ready)
    assert commands.ran("-m venv")
    assert not (ready / "left over").exists()


def test_an_environment_that_moved_with_its_clone_is_made_anew(launcher, commands, ready, clone, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(clone, moved, ignore=shutil.ignore_patterns("moved"))
    other = load(moved / "go")
    other.run_step = commands
    assert not other.is_ready(moved / ".venv")
    other.set_up(moved / ".venv")
    assert commands.ran(f"-m venv {moved}")


def test_an_environment_whose_python_is_gone_is_made_anew(launcher, commands, ready):
    (ready / "bin" / "python").unlink()
    launcher.set_up(ready)
    assert commands.ran("-m venv")


@pytest.mark.parametrize("dies_at", ["-m venv", "install uv", "--editable"])
def test_a_set_up_that_was_killed_is_simply_done_again(launcher, commands, folder, monkeypatch, dies_at):
    def dying(command, log, lock):
        status = commands(command, log, lock)
        if dies_at in " ".join(command):
            raise KeyboardInterrupt
        return status

    monkeypatch.setattr(launcher, "run_step", dying)
    with pytest.raises(KeyboardInterrupt):
        launcher.set_up(folder)
    assert not launcher.is_ready(folder)
    (folder / "half a package").touch()

    monkeypatch.setattr(launcher, "run_step", commands)
    launcher.set_up(folder)
    assert launcher.is_ready(folder)
    assert not (folder / "half a package").exists()


def test_a_renewal_that_was_killed_is_not_taken_for_the_finished_one(launcher, commands, ready, clone, monkeypatch):
    before = (clone / "constraints.txt").read_text()
    (clone / "constraints.txt").write_text("numpy==3\n")
    monkeypatch.setattr(launcher, "install", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        launcher.set_up(ready)
    (clone / "constraints.txt").write_text(before)
    assert not launcher.is_ready(ready)


def test_a_removal_that_was_killed_is_completed(launcher, commands, folder):
    remains = folder.with_name(".venv.old")
    (remains / "lib").mkdir(parents=True)
    launcher.set_up(folder)
    assert launcher.is_ready(folder)
    assert not remains.exists()


def test_a_folder_that_the_launcher_did_not_make_is_left_as_it_is(launcher, commands, folder):
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(launcher.SetupError, match=r"was not made by \./go and is left as it is.*GRADFLOW_VENV"):
        launcher.set_up(folder)
    assert (folder / "thesis.tex").read_text() == "years of work"
    assert commands.commands == []


@pytest.mark.parametrize("failing", ["install uv", "-m uv"])
def test_where_uv_cannot_be_had_or_fails_pip_installs(launcher, commands, folder, failing, capsys):
    commands.failing = [failing]
    launcher.set_up(folder)
    assert launcher.is_ready(folder)
    python = str(folder / "bin" / "python")
    assert commands.commands[-1][:4] == [python, "-m", "pip", "install"]
    assert commands.commands[-1][-2:] == ["--constraint", "constraints.txt"]
    assert "trying pip" in capsys.readouterr().err


def test_a_failed_installation_shows_the_end_of_its_log_and_gives_exit_code_4(launcher, commands, folder, capsys):
    commands.failing = ["pip install"]
    assert launcher.main(["demo"]) == 4
    message = capsys.readouterr().err
    assert "is the network there?" in message
    assert str(folder / "setup.log") in message
    assert "the output of" in message
    assert not launcher.is_ready(folder)


def test_a_full_disk_is_said_before_anything_is_installed(launcher, commands, folder, monkeypatch):
    usage = type("Usage", (), {"free": 0.3e9})
    monkeypatch.setattr(launcher.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(launcher.SetupError, match=r"about 1\.5 GB .* but 0\.3 GB is free"):
        launcher.set_up(folder)
    assert commands.commands == []
    assert not folder.exists()


def test_without_ensurepip_this_machines_pip_fills_the_environment(launcher, commands, folder, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(launcher.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else found(name))
    launcher.set_up(folder)
    assert "--without-pip" in commands.commands[0]
    assert commands.commands[1][:5] == [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]


def test_without_ensurepip_and_pip_the_debian_package_is_named(launcher, commands, folder, monkeypatch):
    monkeypatch.setattr(launcher.importlib.util, "find_spec", lambda name: None if name in ("ensurepip", "pip") else 1)
    with pytest.raises(launcher.SetupError, match="apt install python3-venv"):
        launcher.set_up(folder)


def test_a_failing_venv_module_names_the_debian_package(launcher, commands, folder):
    commands.failing = ["-m venv"]
    with pytest.raises(launcher.SetupError, match="apt install python3-venv"):
        launcher.set_up(folder)


def test_a_place_that_cannot_be_written_is_said_with_the_remedy(launcher, commands, clone, monkeypatch, capsys):
    (clone / "file").touch()
    monkeypatch.setenv("GRADFLOW_VENV", "file/environment")
    assert launcher.main(["demo"]) == 4
    assert "set GRADFLOW_VENV to a folder of yours" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "place"), [(None, ".venv"), ("", ".venv"), (".venv-3.13", ".venv-3.13"), ("a/../b", "b")]
)
def test_gradflow_venv_names_the_environment_from_the_clone(launcher, clone, value, place):
    environ = {} if value is None else {"GRADFLOW_VENV": value}
    assert launcher.environment_folder(environ) == clone / place


def test_of_two_at_once_the_second_waits_and_then_finds_the_work_done(launcher, commands, folder):
    script = (
        "import pathlib, runpy, sys\n"
        "go = runpy.run_path(sys.argv[1])\n"
        "go['set_up'](pathlib.Path(sys.argv[2]))\n"
        "print('ready')\n"
    )
    command = [sys.executable, "-c", script, str(launcher.ROOT / "go"), str(folder)]
    with launcher.locked(folder) as lock:
        second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert "another ./go is at it" in second.stderr.readline()
        assert second.poll() is None
        folder.mkdir()
        with open(folder / "setup.log", "w") as log:
            launcher.make_environment(folder, log, lock)
        launcher.finish(folder, launcher.stamp())
    output, errors = second.communicate(timeout=30)
    assert (output, errors, second.returncode) == ("ready\n", "", 0)


def test_an_installer_that_outlives_the_launcher_keeps_the_lock(launcher, folder):
    wait_for_input = [sys.executable, "-c", "input()"]
    with launcher.locked(folder) as lock:
        installer = subprocess.Popen(wait_for_input, stdin=subprocess.PIPE, pass_fds=(lock,))
    with open(folder.with_name(".venv.lock")) as rival, installer:
        with pytest.raises(BlockingIOError):
            fcntl.flock(rival, fcntl.LOCK_EX | fcntl.LOCK_NB)
        installer.communicate(b"\n")
        fcntl.flock(rival, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_step_gets_the_lock_writes_to_the_log_and_reports_its_exit_status(launcher, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    report = "import os, sys; os.fstat(int(sys.argv[1])); print(os.environ.get('PYTHONPATH')); sys.exit(7)"
    with launcher.locked(folder) as lock, open(tmp_path / "log", "w") as log:
        assert launcher.run_step([sys.executable, "-c", report, str(lock)], log, lock) == 7
    assert (tmp_path / "log").read_text().endswith("\nNone\n")


@pytest.mark.parametrize(
    ("words", "tail"),
    [
        (["demo", "--seed", "1"], ["-P", "-m", "gradflow", "demo", "--seed", "1"]),
        (["run", "--help"], ["-P", "-m", "gradflow", "run", "--help"]),
        (["test", "-x"], ["-P", "-m", "pytest", "-n", "auto", "--maxprocesses", "4", "--dist", "worksteal", "-x"]),
        (["test", "tests/test_flow.py::test_a", "-x"], ["-P", "-m", "pytest", "tests/test_flow.py::test_a", "-x"]),
        (["test", "-n", "0"], ["-P", "-m", "pytest", "-n", "0"]),
        (["test", "--numprocesses=3"], ["-P", "-m", "pytest", "--numprocesses=3"]),
        (
            ["test", "--cov"],
            ["-P", "-m", "pytest", "-n", "auto", "--maxprocesses", "4", "--dist", "worksteal", "--cov"],
        ),
        (["python", "figures/draw.py"], ["figures/draw.py"]),
    ],
)
def test_words_become_the_command(launcher, folder, words, tail):
    assert launcher.command_line(folder, words) == [str(folder / "bin" / "python"), *tail]


def test_set_up_alone_runs_no_command(launcher, commands, folder):
    assert launcher.main(["setup"]) == 0
    assert launcher.is_ready(folder)


def test_an_interrupted_set_up_gives_exit_code_130(launcher, monkeypatch, capsys):
    monkeypatch.setattr(launcher, "set_up", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert launcher.main(["demo"]) == 130
    assert "type the same command again" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "status"), [([], 2), (["--help"], 0), (["-h"], 0)])
def test_help_needs_no_environment(launcher, commands, folder, words, status, capsys):
    assert launcher.main(words) == status
    told = capsys.readouterr().out
    for said in ("./go demo", "./go run", "./go portrait", "./go test", "./go python", "`gradflow WORDS`", "activate"):
        assert said in told
    assert not folder.exists()


def test_the_exit_code_and_the_output_are_the_commands_own(launcher, commands, ready, clone):
    python = ready / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    done = subprocess.run(
        [sys.executable, str(clone / "go"), "demo", "two words"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "-P -m gradflow demo two words\n", "")
