"""The command line: what the commands do, what they say and where, and what the shell learns of it."""

import dataclasses
import fcntl
import io
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import warnings

import numpy as np
import pytest
from command_lines import SAMPLES, TINY, Answer, call, environment, files_in, process, script, tiny_arrays, write_tiny

import gradflow as gf
from gradflow import __main__ as program
from gradflow import checks, cli, integration, model_problems, plotting, settings, store
from gradflow.cli import completion, console, entry, exit_codes, portraits, running
from gradflow.cli.exit_codes import ExitCode
from gradflow.solvers import explicit

HEAVY = ("jax", "diffrax", "numpy", "scipy", "sklearn", "xarray", "matplotlib", "rich")


@pytest.fixture(autouse=True)
def _in_a_folder_with_tiny_data(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("GRADFLOW_DEBUG", raising=False)


def _study(folder="gradflow-run"):
    return store.load(f"{folder}/study.nc")


def _interrupt(*args, **kwargs):
    raise KeyboardInterrupt


# --- help, versions, completion: nothing heavy is imported ------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "help",
        "demo --help",
        "run --help",
        "help portrait",
        "basins --help",
        "verify --help",
        "--version",
        "--completion bash",
        "--completion tcsh",
    ],
)
def test_help_imports_nothing_heavy(words, tmp_path):
    """Hence it is instant; ``benchmarks/startup.py`` measures how instant."""
    text = f"""
import sys
from gradflow.cli import main
code = main({words.split()})
print(code, [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""
    answer = script(text, tmp_path)
    allowed = ["numpy"]  # the argument checks know it; importing it takes a tenth of a second
    assert answer.err in (f"0 {allowed}\n", "0 []\n")
    assert answer.out


@pytest.mark.parametrize("command", ["demo", "run", "basins", "portrait", "verify"])
def test_help_of_a_command_ends_with_examples(command, capsys):
    answer = call(capsys, command, "--help")
    assert answer.code == ExitCode.OK
    assert f"usage: gradflow {command} " in answer.out
    assert answer.out.index("--out") < answer.out.index("examples:")


@pytest.mark.parametrize("command", ["demo", "run", "basins", "portrait", "verify"])
def test_help_says_no_default_that_is_none_or_python(command, capsys):
    text = " ".join(call(capsys, command, "--help").out.split())
    for noise in ("(default: )", "(default: '')", "(default: None)", "(default: True)", "(default: False)"):
        assert noise not in text


def test_the_overview_lists_commands_and_exit_codes(capsys):
    answer = call(capsys, "--help")
    for word in (*entry.parsing.COMMANDS, *(f"  {code.value} " for code in ExitCode)):
        assert word in answer.out


def test_no_command_shows_the_overview_and_is_bad_input(capsys):
    answer = call(capsys)
    assert (answer.code, answer.out) == (ExitCode.BAD_INPUT, "")
    assert "usage: gradflow" in answer.err


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_there_is_a_completion_script_for_every_shell(shell, capsys):
    answer = call(capsys, "--completion", shell)
    assert answer.code == ExitCode.OK
    for word in ("gradflow", "portrait", "max" if shell == "fish" else "--solver", "kvaerno5"):
        assert word in answer.out


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_completion_script_of_bash_parses(capsys):
    text = call(capsys, "--completion", "bash").out
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=True, capture_output=True).stderr == ""


def test_the_version_is_that_of_the_package(tmp_path, capsys):
    assert call(capsys, "--version").out == f"gradflow {gf.__version__}\n"
    assert process("--version", cwd=tmp_path) == (0, f"gradflow {gf.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("demmo", "Perhaps you meant 'demo'"),
        ("--halp", "`command` must be one of demo, run, basins, portrait, report, verify"),
        ("--completion fisch", "Perhaps you meant 'fish'"),
        ("run --solvr tsit5", "--solver"),
        ("run --solver=kvaerno6", "Perhaps you meant 'kvaerno5'"),
        ("run --flow orignal", "Perhaps you meant 'original'"),
        ("demo --sed 1", "--seed"),
        ("portrait himelblau", "Perhaps you meant 'himmelblau'"),
        ("portrait --expression sine(x)", "Perhaps you meant 'sin'"),
        ("run --config run.yaml", "`config` must end in .toml or .json"),
    ],
)
def test_a_typing_error_gets_the_nearest_name(words, hint, capsys):
    answer = call(capsys, *words.split())
    assert (answer.code, answer.out) == (ExitCode.BAD_INPUT, "")
    assert hint in answer.err


# --- runs -------------------------------------------------------------------------------------------------------------


def _as_csv(folder):
    X, Y = tiny_arrays()
    lines = ["first;second;third;fourth", *(";".join(map(repr, map(float, row))) for row in np.hstack([X, Y]))]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")


def _as_labels(folder):
    lines = [f"{a},{b},{'up' if a > b else 'down'}" for a, b in tiny_arrays()[0]]
    (folder / "labels.csv").write_text("a,b,kind\n" + "\n".join(lines) + "\n")


KINDS = {
    "csv": (
        _as_csv,
        "--data table.csv --delimiter ; --targets third -1 --hidden 2",
        {"delimiter": ";", "hidden": (2,)},
    ),
    "csv with classes": (_as_labels, "--data labels.csv --task classification --hidden 2", {"task": "classification"}),
    "npz": (
        None,
        "--data data.npz --preprocess center center_targets --hidden 2",
        {"preprocess": ("center", "center_targets")},
    ),
    "autoencoder": (None, "--data data.npz --task autoencoder --hidden 2", {"task": "autoencoder"}),
    "teacher": (
        None,
        f"--data teacher-student --teacher-widths 2 2 --num-samples {SAMPLES} --noise 0.1 --hidden 2 --seed 4",
        {"data": "teacher_student", "teacher_widths": (2, 2), "noise": 0.1, "seed": 4},
    ),
    "iris": (
        None,
        "--data iris --preprocess whiten --hidden",
        {"data": "iris", "preprocess": ("whiten",), "hidden": ()},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_runs_to_a_global_minimum(kind, tmp_path, capsys):
    write, words, remembered = KINDS[kind]
    if write:
        write(tmp_path)
    answer = call(capsys, "run", *words.split(), "--no-figures", "--out", "out")
    study = _study("out")
    assert answer.code == ExitCode.OK
    assert study.trajectory.status is gf.Status.STATIONARY
    assert study.point.kind == "global_minimum"
    assert remembered.items() <= study.settings.items()


def test_weight_decay_is_part_of_the_problem():
    chosen = settings.RunSettings(
        data=settings.DataSettings(data="data.npz"),
        network=settings.NetworkSettings(hidden=(2,)),
        flow=settings.FlowSettings(weight_decay=0.5),
    )
    problem = running.problem_of(chosen, running.load_data(chosen))
    assert problem.regularizer.strength == 0.5
    assert settings.decisive(chosen)["weight_decay"] == 0.5


def test_results_remember_nothing_that_the_run_did_not_use(capsys):
    call(capsys, *TINY)
    unused = {"num_samples", "noise", "teacher_widths", "input_law", "delimiter", "targets", "out", "overwrite"}
    assert not unused & set(_study().settings)


def test_the_reduced_flow_starts_in_its_own_coordinates(capsys):
    answer = call(capsys, *TINY, "--flow", "reduced", "--t1", 0.5)
    study = _study()
    assert answer.code == ExitCode.OK
    assert "to t = 0.5" in answer.err
    assert isinstance(study.flow, gf.ReducedFlow)
    start = study.flow.original.init(0, "gaussian", 0.1)
    for layer, expected in zip(study.trajectory.start, study.flow.coordinates(start), strict=True):
        np.testing.assert_array_equal(layer, expected)


def test_a_run_leaves_four_files_and_prints_their_paths(tmp_path, capsys):
    answer = call(capsys, "run", "--data", "data.npz", "--hidden", 2, "--out", "a/b")
    names = ["overview.pdf", "overview.png", "settings.toml", "study.nc"]
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == names
    for name in names:
        assert f"  a/b/{name}\n" in answer.out


def test_results_are_on_standard_output_and_progress_is_not(capsys):
    answer = call(capsys, *TINY)
    assert "What ran" in answer.out
    assert "Written:" in answer.out
    assert "Reading data.npz ..." not in answer.out
    assert [line for line in answer.err.splitlines() if not line.startswith(" ")] == [
        "Reading data.npz ...",
        "Starting JAX ...",
        "Preparing the problem ...",
        "Certifying, integrating to its end at rtol 1e-08, naming the endpoint ...",
        "Saving ...",
    ]


def _assert_same(one, other):
    for name in ("times", "dissipated"):
        np.testing.assert_array_equal(getattr(one.trajectory, name), getattr(other.trajectory, name))
    for layer, same in zip(one.trajectory.params, other.trajectory.params, strict=True):
        np.testing.assert_array_equal(layer, same)
    assert one.settings == other.settings


@pytest.mark.parametrize("ending", ["toml", "json"])
def test_printed_settings_make_the_same_run_bit_for_bit(ending, tmp_path, capsys):
    words = [*TINY, "--seed", "7", "--rtol", "1e-9", "--scale", "0.3", "--normalization", "mean"]
    printed = call(capsys, *words, "--print-config")
    assert (printed.code, printed.err) == (ExitCode.OK, "")
    assert not (tmp_path / "gradflow-run").exists()
    (tmp_path / "run.toml").write_text(printed.out)
    if ending == "json":
        values = settings.flat(settings.read_config("run.toml"))
        (tmp_path / "run.json").write_text(
            json.dumps({key: value for key, value in values.items() if value is not None})
        )
    assert call(capsys, *words, "--out", "a").code == ExitCode.OK
    assert call(capsys, "run", "--config", f"run.{ending}", "--out", "b").code == ExitCode.OK
    _assert_same(_study("a"), _study("b"))
    assert (tmp_path / "a" / "settings.toml").read_text() == printed.out.replace('"gradflow-run"', '"a"')


def test_saved_settings_make_the_same_run_and_do_not_agree_to_overwrite(tmp_path, capsys):
    assert call(capsys, *TINY, "--overwrite", "--out", "a").code == ExitCode.OK
    again = call(capsys, "run", "--config", "a/settings.toml")
    assert again.code == ExitCode.FILES
    assert call(capsys, "run", "--config=a/settings.toml", "--out", "b").code == ExitCode.OK
    _assert_same(_study("a"), _study("b"))


def test_flags_win_over_the_settings_file(tmp_path, capsys):
    (tmp_path / "run.toml").write_text('data = "data.npz"\nseed = 5\nrtol = 1e-6\n')
    printed = call(capsys, "run", "--config", "run.toml", "--seed", 6, "--print-config").out
    assert "seed = 6\n" in printed
    assert "rtol = 1e-06\n" in printed


def test_existing_results_are_refused_before_anything_is_computed(tmp_path, monkeypatch, capsys):
    call(capsys, *TINY)
    before = files_in(tmp_path)
    monkeypatch.setattr(running, "load_data", lambda chosen: pytest.fail("data were read"))
    answer = call(capsys, *TINY, "--seed", 1)
    assert answer.code == ExitCode.FILES
    assert "--overwrite" in answer.err
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("name", ["birds.csv", "iris", "teacher_student"])
def test_data_named_as_if_they_were_an_experiment_are_told_their_option(name, capsys):
    answer = call(capsys, "run", name, "--hidden", "3")
    assert answer.code == ExitCode.BAD_INPUT
    assert f"`name` must be that of an experiment, see gradflow run --list, but got '{name}'. " in answer.err
    assert f"For data: gradflow run --data {name}." in answer.err


# --- the demo ---------------------------------------------------------------------------------------------------------


def test_the_demo_introduces_its_data_and_needs_no_notes(monkeypatch, capsys):
    monkeypatch.setattr(running, "problem_of", _interrupt)  # the rest is for the slow test
    answer = call(capsys, "demo")
    assert answer.code == ExitCode.INTERRUPTED
    assert "1797 handwritten digits" in answer.err
    assert "Three pixels are always 0" in answer.err
    assert "note:" not in answer.err


def test_the_demo_replaces_an_earlier_one_and_nothing_elsewhere(tmp_path, monkeypatch, capsys):
    for name in ("gradflow-demo", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / running.RESULTS).write_bytes(b"earlier results")
    monkeypatch.setattr(running, "problem_of", _interrupt)
    assert call(capsys, "demo").code == ExitCode.INTERRUPTED
    assert call(capsys, "demo", "--out", "other").code == ExitCode.FILES
    assert call(capsys, "demo", "--out", "other", "--overwrite").code == ExitCode.INTERRUPTED
    assert (tmp_path / "other" / running.RESULTS).read_bytes() == b"earlier results"


def test_notes_of_shipped_data_say_nothing_twice(capsys):
    with console.notes():
        running.load_data(settings.RunSettings(data=settings.DataSettings(preprocess=("whiten",))))
    notes = [line for line in capsys.readouterr().err.splitlines() if "note:" in line]
    assert sum("rank" in note for note in notes) == 1
    assert sum("constant features" in note for note in notes) == 1


@pytest.mark.slow
def test_the_demo_learns_all_ten_modes_and_keeps_every_promise(tmp_path, capsys):
    answer = call(capsys, "demo", "--rtol", "1e-5", "--out", "d")
    study = _study("d")
    assert answer.code == ExitCode.OK
    assert study.point.kind == "global_minimum"
    assert study.point.captured == tuple(range(10))
    assert "passed, 2 had nothing to compare" in answer.out
    assert {path.name for path in (tmp_path / "d").iterdir()} == {running.RESULTS, running.SETTINGS, *running.FIGURES}


# --- portraits --------------------------------------------------------------------------------------------------------


def test_a_portrait_of_a_landscape_names_ends_and_critical_points(tmp_path, capsys):
    answer = call(capsys, "portrait", "double-well", "--starts", "-0.5,0.5;0.5,0.5")
    assert answer.code == ExitCode.OK
    assert re.search(r"\(-0.5, 0.5\) +stationary +\S+ +\(-1, 1\) +local minimum +-0.5\n", answer.out)
    assert len(re.findall("strict saddle +1 ", answer.out)) == 4
    assert len(re.findall("maximum +2 ", answer.out)) == 1
    for ending in ("pdf", "png"):
        assert (tmp_path / "gradflow-portrait" / f"double_well.{ending}").stat().st_size > 10_000


def test_a_portrait_of_a_formula_finds_what_trajectories_reach(monkeypatch, capsys):
    monkeypatch.setattr(portraits, "_draw", lambda *drawn: [])
    words = ("portrait", "--expression", "-cos(x)-cos(y)", "--window", -3, 3, -3, 3, "--t1", 60)
    answer = call(capsys, *words)
    assert answer.code == ExitCode.OK
    assert "[-3, 3] x [-3, 3]" in answer.err
    assert len(re.findall("stationary .* local minimum", answer.out)) == 8
    assert len(re.findall(r"\(-?0, -?0\) +local minimum +0 +-2  1, 1\n", answer.out)) == 1


def test_critical_points_that_the_figure_does_not_show_are_marked(monkeypatch, capsys):
    monkeypatch.setattr(portraits, "_draw", lambda *drawn: [])
    answer = call(capsys, "portrait", "--expression", "(x-3)**2+y**2", "--window", -2, 2, -2, 2, "--starts", "0.5,0.5")
    assert len(re.findall(r"\(3, -?0\) +local minimum +0 .*  \(outside the window\)\n", answer.out)) == 1


def test_a_landscape_that_is_not_what_its_description_says_fails(monkeypatch, capsys):
    known = model_problems.get("double_well")
    wrong = dataclasses.replace(known.critical_points[0], kind="maximum")
    monkeypatch.setattr(portraits, "_draw", lambda *drawn: [])
    monkeypatch.setattr(
        model_problems, "get", lambda name: dataclasses.replace(known, critical_points=(wrong,), window=None)
    )
    answer = call(capsys, "portrait", "double_well", "--starts", "0.5,0.1")
    assert answer.code == ExitCode.CHECK_FAILED
    assert "(disagrees with the closed form)" in answer.out


# --- exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("", ExitCode.OK, "stationary at t = "),
        ("--rtol 0", ExitCode.BAD_INPUT, "gradflow run: error: `rtol` must be greater than 0"),
        ("--max-steps 3", ExitCode.NUMERICAL_FAILURE, "step_limit at t = "),
        ("--out data.npz", ExitCode.FILES, "gradflow run: error: The folder for the results cannot be made"),
        ("--data none.csv", ExitCode.FILES, "gradflow run: error: There is no such data file: none.csv"),
    ],
    ids=["ok", "bad input", "numerical failure", "folder", "data file"],
)
def test_the_shell_learns_how_it_ended(words, code, message, capsys):
    answer = call(capsys, *TINY, *words.split())
    assert answer.code == code
    assert message in answer.err
    assert answer.err.count("error:") <= 1


def test_the_shell_learns_that_a_promise_was_broken(monkeypatch, capsys):
    """Steps of any size are allowed, beyond stability too: the run is not the flow's, and the promises find out."""
    monkeypatch.setattr(explicit, "STAGE_SAFETY", 1e3)
    answer = call(capsys, *TINY, "--rtol", "1e-13", "--atol", "0.1")
    assert answer.code == ExitCode.CHECK_FAILED
    assert "check failed: " in answer.err


def test_an_error_of_ours_says_where_and_debug_says_all(monkeypatch, capsys):
    monkeypatch.setattr(running, "load_data", lambda chosen: iter(()).__next__())
    short, long = call(capsys, *TINY), call(capsys, *TINY, "--debug")
    assert short.code == long.code == ExitCode.INTERNAL
    assert "an error in gradflow itself: StopIteration:  (test_cli.py, line" in short.err
    assert "Traceback" not in short.err
    assert "Traceback" in long.err
    monkeypatch.setenv("GRADFLOW_DEBUG", "1")
    assert "Traceback" in call(capsys, *TINY).err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (checks.InputError(""), ExitCode.BAD_INPUT),
        (checks.ResultsFileError(""), ExitCode.FILES),
        (checks.NumericalFailure(""), ExitCode.NUMERICAL_FAILURE),
        (np.linalg.LinAlgError(""), ExitCode.NUMERICAL_FAILURE),
        (MemoryError(), ExitCode.NUMERICAL_FAILURE),
        (OSError(28, "No space left on device", "out/study.nc"), ExitCode.FILES),
        (ZeroDivisionError(), ExitCode.INTERNAL),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_an_exit_code(error, code):
    assert exit_codes.of_error(error) is code


def test_an_error_without_words_is_said_by_its_name(monkeypatch, capsys):
    def no_memory(chosen):
        raise MemoryError

    monkeypatch.setattr(running, "load_data", no_memory)
    answer = call(capsys, *TINY)
    assert (answer.code, answer.err) == (ExitCode.NUMERICAL_FAILURE, "gradflow run: error: MemoryError\n")


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


LONG = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it switched off
from gradflow import integration
from gradflow.__main__ import main
bar = integration.tqdm  # shown at once and after every chunk: how many there are must not depend on the machine
integration.tqdm = lambda **settings: bar(**{**settings, "delay": 0, "mininterval": 0})
sys.argv = ["gradflow", *words, "--rtol", "1e-14", "--out", "long"]
assert main() == 0
print("long run done", flush=True)
print("long run done", file=sys.stderr, flush=True)
advance, chunks = integration.advance, []
def interrupted(*args):
    chunks.append(args)
    if len(chunks) == 3:
        os.kill(os.getpid(), signal.SIGINT)
    return advance(*args)
integration.advance = interrupted
sys.argv = ["gradflow", *words, "--rtol", "1e-12", "--out", "interrupted"]
sys.exit(main())
"""


@pytest.fixture(scope="module")
def long_runs(tmp_path_factory):
    """A process that runs twice, its standard error on a terminal: to the end, and with Ctrl-C in the third chunk.

    The signal comes from inside the chunk, so that its moment does not depend on the machine.
    """
    folder = tmp_path_factory.mktemp("long")
    write_tiny(folder)
    text = f"words = {[*TINY, '--solver', 'bosh3']}\n{LONG}"
    with (folder / "out.txt").open("w") as out:
        code, err = _on_a_terminal(["-c", text], folder, stdout=out, NO_COLOR="1")
    done = "long run done\n"
    outs, errs = (folder / "out.txt").read_text().split(done), err.replace("\r\n", "\n").split(done)
    return folder, Answer(0, outs[0], errs[0]), Answer(code, outs[1], errs[1])


@pytest.mark.slow
def test_ctrl_c_saves_what_was_reached(long_runs):
    folder, _, answer = long_runs
    study = _study(folder / "interrupted")
    assert answer.code == ExitCode.INTERRUPTED == 130
    assert "interrupted at t = " in answer.err
    assert answer.err.count("interrupted; naming and saving what was reached ...\n") == 1
    assert "Traceback" not in answer.err
    assert "1 of 7 checks FAILED: ended" in answer.out
    assert study.trajectory.status is gf.Status.INTERRUPTED
    assert study.trajectory.num_accepted >= 256
    assert study.trajectory.end_time > 0.0


@pytest.mark.slow
def test_a_long_run_shows_its_progress_on_a_terminal_and_cleans_up(long_runs):
    _, answer, _ = long_runs
    bars = re.findall(r"\rintegrating: \d+ steps \[[^\r]*\|grad\| = [^\r]*\]", answer.err)
    assert len(bars) > 2
    last = answer.err.rindex("\rintegrating: ")
    assert re.match(r"\rintegrating: [^\r]*\r +\r", answer.err[last:])
    assert "\r" not in answer.out


def test_ctrl_c_while_drawing_costs_pictures_and_no_results(monkeypatch, capsys):
    monkeypatch.setattr(plotting, "overview", _interrupt)
    answer = call(capsys, "run", "--data", "data.npz", "--hidden", 2)
    assert answer.code == ExitCode.INTERRUPTED
    assert "interrupted while drawing; the results are saved." in answer.err
    assert "nothing was written" not in answer.err
    assert "gradflow-run/study.nc" in answer.out
    assert _study().trajectory.status is gf.Status.STATIONARY


def test_ctrl_c_before_there_is_anything_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(running, "load_data", _interrupt)
    before = files_in(tmp_path)
    answer = call(capsys, *TINY, "--out", "a/b/c")
    assert answer == (ExitCode.INTERRUPTED, "", "gradflow run: interrupted; nothing was written.\n")
    assert files_in(tmp_path) == before


def test_ctrl_c_in_a_portrait_draws_what_there_is(tmp_path, monkeypatch, capsys):
    advance, chunks = integration.advance, []

    def interrupted(*args):
        chunks.append(args)
        return _interrupt() if len(chunks) == 2 else advance(*args)

    monkeypatch.setattr(integration, "advance", interrupted)
    answer = call(capsys, "portrait", "double_well", "--starts", "0.5,0.1;0.1,0.5;-0.5,0.1")
    assert answer.code == ExitCode.INTERRUPTED
    assert len(re.findall(r"stationary|interrupted", answer.out)) <= 2
    assert "interrupted" in answer.out
    assert (tmp_path / "gradflow-portrait" / "double_well.png").exists()


def test_ctrl_c_is_answered_once_and_only_where_results_survive(capsys):
    def classify():
        signal.raise_signal(signal.SIGINT)

    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with console.answering_interrupts("heard", ["classify"]):
            for _ in range(2):
                with pytest.raises(KeyboardInterrupt):
                    classify()
        assert capsys.readouterr().err == "heard\n"
        with console.answering_interrupts("heard", ["integrate"]), pytest.raises(KeyboardInterrupt):
            classify()
        assert capsys.readouterr().err == ""
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, usual)


def test_saving_pays_no_heed_to_ctrl_c():
    usual = signal.getsignal(signal.SIGINT)
    with console.undisturbed():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is usual

    def elsewhere():
        with console.undisturbed():
            done.append(signal.getsignal(signal.SIGINT))

    done = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert done == [usual]


def test_the_program_leaves_at_once_after_an_interruption(monkeypatch):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setattr(cli, "main", lambda: 130)
    program.main()
    monkeypatch.setattr(cli, "main", lambda: 3)
    assert (program.main(), left) == (3, [130])


# --- streams and terminals --------------------------------------------------------------------------------------------


class _Gone(io.StringIO):
    """A pipe whose reader has gone."""

    def __init__(self, descriptor):
        super().__init__()
        self.descriptor = descriptor

    def fileno(self):
        return self.descriptor

    def write(self, text):
        if text:
            raise BrokenPipeError


def test_a_closed_output_ends_in_silence(tmp_path, monkeypatch, capsys):
    pipe = (tmp_path / "pipe").open("w")
    monkeypatch.setattr(sys, "stdout", _Gone(pipe.fileno()))
    codes = [cli.main(words) for words in (["--help"], ["run", "--help"], [*TINY, "--max-steps", "3", "--debug"])]
    pipe.close()
    assert codes == [ExitCode.OK, ExitCode.OK, ExitCode.NUMERICAL_FAILURE]
    assert "Traceback" not in capsys.readouterr().err
    assert _study().trajectory.status is gf.Status.STEP_LIMIT


@pytest.mark.parametrize("words", ["--help", "run --help", "--completion bash", "run --print-config"])
def test_a_reader_that_leaves_gets_no_trace(words, tmp_path):
    command = [sys.executable, "-m", "gradflow", *words.split()]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as started:
        started.stdout.close()
        complaint = started.stderr.read()
    assert (started.returncode, complaint) == (0, b"")


def test_streams_that_are_closed_are_replaced(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(["--version"]) == ExitCode.OK
    sys.stdout.close()
    sys.stderr.close()


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_long_notes_are_wrapped_on_a_terminal_alone(monkeypatch, capsys):
    console.say("word " * 50)
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setattr(sys, "stderr", _Terminal())
    console.say("word " * 50, "    ")
    lines = sys.stderr.getvalue().splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 100


def test_warnings_of_others_go_their_usual_way(capsys):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with console.notes():
            warnings.warn("theirs", DeprecationWarning, stacklevel=1)
            warnings.warn("ours", checks.DataWarning, stacklevel=1)
            warnings.warn("ours", checks.DataWarning, stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["theirs"]
    assert capsys.readouterr().err == "    note: ours\n"


def _on_a_terminal(words, cwd, stdout=None, **env):
    """Exit code of Python with these words, and what a terminal gets: its output and errors, or the errors alone."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command, env = [sys.executable, *map(str, words)], environment(TERM="xterm", **env)
    with subprocess.Popen(command, cwd=cwd, env=env, stdout=stdout or slave, stderr=slave, stdin=slave) as started:
        os.close(slave)
        chunks = []
        while True:
            try:
                chunk = os.read(master, 4096)
            except OSError:  # Linux's way to say that the other side has closed
                break
            if not chunk:
                break
            chunks.append(chunk)
    os.close(master)
    return started.returncode, b"".join(chunks).decode()


def test_no_color_is_respected_on_a_terminal(tmp_path):
    plain = _on_a_terminal(["-m", "gradflow", "run", "--help"], tmp_path, NO_COLOR="1")
    coloured = _on_a_terminal(["-m", "gradflow", "run", "--help"], tmp_path, NO_COLOR=None)
    assert plain[0] == coloured[0] == 0
    assert "\x1b[" not in plain[1]
    assert "\x1b[" in coloured[1]
