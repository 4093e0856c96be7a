"""Experiments found, run, kept and judged; ``gradflow run NAME``, ``--list``, ``--all`` on experiments made here."""

import dataclasses
import json
import os
import signal
import textwrap
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from command_lines import call

from gradflow import checks, laboratory
from gradflow.cli.exit_codes import ExitCode
from gradflow.laboratory import Finding, configured

TOY = '''
"""Is the mean of what is measured its centre?

Question: is it, over several lines
of text?
Prediction: it is.
Cost: nothing.
"""

from dataclasses import dataclass
import numpy as np
import xarray as xr
from gradflow.laboratory import at_most

@dataclass(frozen=True)
class Settings:
    """Sizes."""
    num: int = 100
    centre: float = 0.0
    names: tuple[str, ...] = ("a", "b")
    pair: tuple[int, float] = (1, 0.5)
    is_odd: bool = False
    limit: float | None = None

    @classmethod
    def tiny(cls):
        return cls(num=4)

def measure(settings):
    """Numbers."""
    {body}
    values = settings.centre + np.linspace(-1, 1, settings.num)
    names = np.array(settings.names, dtype=str)
    even = np.arange(settings.num) % 2 == 0
    return xr.Dataset({{"value": ("row", values), "even": ("row", even), "name": names_of(names)}})

def names_of(names):
    return ("name", names)

def findings(results):
    """Judged."""
    return [at_most("the mean is 0", abs(float(results["value"].mean())), {limit})]
'''


def write_toy(folder, name="toy", body="", limit="1e-12"):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(textwrap.dedent(TOY.format(body=body, limit=limit)))
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return write_toy(tmp_path / "lab")


# --- findings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finding", "agrees", "predicted", "measured"),
    [
        (laboratory.at_most("c", 1.0, 1.0), True, "<= 1", "1"),
        (laboratory.at_most("c", 1.1, 1.0), False, "<= 1", "1.1"),
        (laboratory.at_most("c", np.nan, 1.0), None, "<= 1", "nan"),
        (laboratory.at_least("c", 0.5, 1e-9), True, ">= 1.00e-09", "0.5"),
        (laboratory.at_least("c", 0.5, np.nan), None, ">= nan", "0.5"),
        (laboratory.between("c", -1.02, -1.05, -0.95), True, "-1.05 to -0.95", "-1.02"),
        (laboratory.between("c", -1.06, -1.05, -0.95), False, "-1.05 to -0.95", "-1.06"),
        (laboratory.between("c", np.nan, 0, 1), None, "0 to 1", "nan"),
        (laboratory.none_of("c", 0, 7), True, "0 of 7", "0 of 7"),
        (laboratory.none_of("c", 1, 7), False, "0 of 7", "1 of 7"),
        (laboratory.none_of("c", 0, 0), None, "0 of 0", "0 of 0"),
        (laboratory.holds("c", 7, 7), True, "7 of 7", "7 of 7"),
        (laboratory.holds("c", 6, 7), False, "7 of 7", "6 of 7"),
        (laboratory.holds("c", 0, 0), None, "0 of 0", "0 of 0"),
    ],
)
def test_a_finding_agrees_disagrees_or_is_undecided(finding, agrees, predicted, measured):
    assert (finding.agrees, finding.predicted, finding.measured) == (agrees, predicted, measured)


def test_a_tally_counts_what_does_not_agree():
    several = [Finding("c", "", "", answer) for answer in (True, True, False, None)]
    assert laboratory.tally(several) == "2 of 4 agree, 1 DISAGREE, 1 undecided"
    assert [row["verdict"] for row in laboratory.rows_of(several)] == ["agrees", "agrees", "DISAGREES", "undecided"]


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_are_read_with_the_types_of_the_dataclass(folder):
    kind = laboratory.load_experiment("toy", folder).settings_type
    words = ["num=7", "centre=1e-3", "names=x, y,z", "pair=(2,0.25)", "is-odd=yes", "limit=3"]
    assert configured(kind, words) == kind(7, 1e-3, ("x", "y", "z"), (2, 0.25), True, 3.0)
    assert configured(kind, ["limit=none", "names="]) == kind(names=())
    assert configured(kind, [], is_tiny=True) == kind.tiny()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("num", "`set` must have the form key=value, but got 'num'. Keys: num, centre"),
        ("nun=3", "`set` must name a setting, but got 'nun'. Perhaps you meant 'num'. Settings: num,"),
        ("num=3.5", "`num` must be a whole number, but got '3.5'."),
        ("centre=x", "`centre` must be a number, but got 'x'."),
        ("is_odd=maybe", "`is_odd` must be true or false, but got 'maybe'."),
        ("pair=1,2,3", "`pair` must have 2 entries, but got '1,2,3'."),
        ("pair=1,x", r"`pair[1]` must be a number, but got 'x'."),
    ],
)
def test_a_wrong_setting_is_refused_by_name(change, message, folder):
    kind = laboratory.load_experiment("toy", folder).settings_type
    with pytest.raises(checks.InputError) as caught:
        configured(kind, [change])
    assert str(caught.value).startswith(message)


# --- files ------------------------------------------------------------------------------------------------------------


def test_an_experiment_says_what_it_is(folder):
    found = laboratory.load_experiment("toy", folder)
    assert found.question == "Is the mean of what is measured its centre?"
    assert found.sections == {
        "Question": "is it, over several lines of text?",
        "Prediction": "it is.",
        "Cost": "nothing.",
    }


def test_only_what_measures_is_in_the_digest(folder):
    digest = laboratory.load_experiment("toy", folder).digest
    text = (folder / "toy.py").read_text()
    for old, new in (("1e-12", "1e-3"), ('"""Numbers."""', '"""Other words."""'), ("it is.", "it may be.")):
        (folder / "toy.py").write_text(text.replace(old, new))
        assert laboratory.load_experiment("toy", folder).digest == digest
    (folder / "toy.py").write_text(text.replace("linspace(-1", "linspace(-2"))
    assert laboratory.load_experiment("toy", folder).digest != digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "must define Settings, measure, findings, but got none called Settings, measure, findings."),
        ("class Settings: pass\nmeasure = findings = print", "must be a frozen dataclass with a class method tiny()"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused(text, message, folder):
    (folder / "other.py").write_text(text)
    with pytest.raises(checks.InputError) as caught:
        laboratory.load_experiment("other", folder)
    assert message in str(caught.value)


def test_results_come_back_bit_for_bit_with_settings_and_origin(folder, tmp_path):
    toy = laboratory.load_experiment("toy", folder)
    settings = toy.settings_type(num=5, centre=0.1, limit=np.inf)
    results = laboratory.measured(toy, settings)
    path = laboratory.save_results(results, tmp_path / "a.nc")
    again = laboratory.load_results(path)
    xr.testing.assert_identical(again, results)
    assert again["even"].dtype == bool and again["name"].values.tolist() == ["a", "b"]
    assert laboratory.settings_of(again) == dataclasses.asdict(settings)
    assert laboratory.origin_of(again)["gradflow_version"] and again.attrs["seconds"] >= 0
    with xr.open_dataset(path, engine="h5netcdf") as plain:
        assert json.loads(plain.attrs["settings"])["num"] == 5
    assert laboratory.judged(toy, again) == tuple(toy.findings(results))
    with pytest.raises(checks.InputError, match="must be those of"):
        laboratory.save_results(xr.Dataset(), tmp_path / "b.nc")
    with pytest.raises(checks.InputError, match="`judge` must be results of toy, but got those of other"):
        laboratory.judged(toy, again.assign_attrs(experiment="other"))


def test_what_is_no_dataset_is_refused(folder):
    toy = laboratory.load_experiment("toy", write_toy(folder, body="return 3"))
    with pytest.raises(checks.InputError, match=r"`toy\.measure` must return an xarray\.Dataset, but got int"):
        laboratory.measured(toy, toy.settings_type())


def test_ctrl_c_ends_a_measurement_even_where_the_library_would_go_on(folder):
    lines = ["import os, signal", "try:", "    os.kill(os.getpid(), signal.SIGINT)", "    [None for _ in range(10)]"]
    body = "\n    ".join([*lines, "except KeyboardInterrupt:", "    pass"])
    toy = laboratory.load_experiment("toy", write_toy(folder, body=body))
    usual = signal.getsignal(signal.SIGINT)
    assert usual is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        laboratory.measured(toy, toy.settings_type())
    assert signal.getsignal(signal.SIGINT) is usual


# --- the command ------------------------------------------------------------------------------------------------------


def _run(capsys, *words):
    return call(capsys, "run", *words, "--experiments", "lab")


def test_an_experiment_runs_and_its_results_are_kept(folder, capsys):
    answer = _run(capsys, "toy", "--tiny")
    assert (answer.code, os.listdir("results/tiny")) == (ExitCode.OK, ["toy.nc"])
    assert "the mean is 0" in answer.out and "1 of 1 agree. Results: results/tiny/toy.nc" in answer.out
    assert "Is the mean of what is measured its centre?" in answer.err and "Measuring: seconds ..." in answer.err
    content = Path("results/tiny/toy.nc").read_bytes()
    again = _run(capsys, "toy", "--tiny")
    assert again.code == ExitCode.OK and "--overwrite measures again" in again.err
    assert Path("results/tiny/toy.nc").read_bytes() == content
    other = _run(capsys, "toy", "--tiny", "--set", "num=6")
    assert (other.code, other.out) == (ExitCode.FILES, "") and "must hold no results with other settings" in other.err
    assert _run(capsys, "toy", "--tiny", "--set", "num=6", "--overwrite").code == ExitCode.OK


def test_results_of_an_older_version_are_measured_again(folder, capsys):
    _run(capsys, "toy", "--out", "out")
    write_toy(folder, body="settings = settings")
    assert "--overwrite" not in _run(capsys, "toy", "--out", "out").err
    digest = laboratory.load_experiment("toy", folder).digest
    assert laboratory.load_results("out/toy.nc").attrs["experiment_digest"] == digest


def test_a_finding_that_disagrees_is_seen_in_the_exit_code_and_can_be_judged_again(folder, capsys):
    answer = _run(capsys, "toy", "--set", "centre=0.5")
    assert answer.code == ExitCode.CHECK_FAILED and "DISAGREES" in answer.out
    assert _run(capsys, "toy", "--judge", "results/toy.nc").code == ExitCode.CHECK_FAILED
    write_toy(folder, limit="1.0")
    judged = _run(capsys, "toy", "--judge", "results/toy.nc")
    assert judged.code == ExitCode.OK and "centre=0.5" in judged.err
    assert _run(capsys, "toy", "--judge", "none.nc").code == ExitCode.FILES


def test_all_experiments_run_and_one_that_fails_stops_no_other(folder, capsys):
    write_toy(folder, "broken", body="raise ZeroDivisionError('no')")
    write_toy(folder, "wrong", limit="-1.0")
    (folder / "_helper.py").write_text("")
    answer = _run(capsys, "--all", "--tiny")
    assert answer.code == ExitCode.INTERNAL
    assert [line.split(":")[0] for line in answer.err.splitlines() if "/3" in line] == [
        "1/3 broken",
        "2/3 toy",
        "3/3 wrong",
    ]
    assert "broken  FAILED: ZeroDivisionError: no" in answer.out
    assert "3 experiments, 2 predictions: 1 agree, 1 disagree, 0 undecided; 1 experiments failed." in answer.out
    os.remove(folder / "broken.py")
    again = _run(capsys, "--all", "--tiny")
    assert again.code == ExitCode.CHECK_FAILED and again.err.count("measured before") == 2


def test_ctrl_c_keeps_the_experiments_that_are_done(folder, capsys):
    write_toy(folder, "undone", body="raise KeyboardInterrupt")
    answer = _run(capsys, "--all")
    assert answer.code == ExitCode.INTERRUPTED
    assert "interrupted after 1 of 2 experiments" in answer.err
    assert "toy  1 of 1 agree" in answer.out
    assert os.listdir("results") == ["toy.nc"]


def test_the_list_loads_nothing(folder, capsys):
    (folder / "broken.py").write_text("syntax error")
    answer = _run(capsys, "--list")
    assert answer.code == ExitCode.OK
    assert answer.out == "broken  \ntoy     Is the mean of what is measured its centre?\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("toi", "`name` must be a known name, but got 'toi'. Perhaps you meant 'toy'."),
        ("toy --set nun=1", "Perhaps you meant 'num'"),
        ("toy --all", "exactly one of a name, --all and --list must be given, but got --all and toy"),
        ("--all --set num=1", "`set` must go with the name of one experiment, but got --all"),
        ("--all --judge x.nc", "`judge` must go with the name of one experiment"),
        ("--list --experiments nowhere", "`experiments` must be a folder, but got nowhere"),
        ("--list --experiments .", "`experiments` must hold at least one NAME.py"),
    ],
)
def test_a_wrong_call_is_answered_in_a_sentence(words, message, folder, capsys):
    words = words.split() if "--experiments" in words else [*words.split(), "--experiments", "lab"]
    answer = call(capsys, "run", *words)
    assert (answer.code, answer.out) == (ExitCode.BAD_INPUT, "")
    assert message in answer.err


def test_help_of_experiments_tells_of_them(capsys):
    answer = call(capsys, "run", "toy", "--help")
    assert answer.code == ExitCode.OK and "--judge" in answer.out and "gradflow run --all" in answer.out
    assert "Prediction: " in call(capsys, "run", "plateau-times", "--help").out


def test_a_folder_that_takes_no_results_is_refused_before_anything_is_measured(folder, capsys):
    write_toy(folder, body="raise ZeroDivisionError('measured')")
    Path("taken/toy.nc").mkdir(parents=True)
    answer = _run(capsys, "toy", "--out", "taken")
    assert answer.code == ExitCode.FILES and "must be a results file, but got the folder" in answer.err


def test_rows_of_words_numbers_and_gaps_become_a_labelled_dataset():
    rows = [{"name": "a", "count": 1, "flag": True, "value": 0.5}, {"name": "b", "count": 2, "flag": False}]
    labels = {"name": "who", "count": "how many", "flag": "whether", "value": "how much"}
    found = laboratory.dataset_of(rows, labels, "row", value="s")
    assert [found[name].dtype.kind for name in labels] == ["U", "i", "b", "f"]
    assert found["value"].attrs == {"long_name": "how much", "units": "s"} and np.isnan(found["value"].values[1])
    assert found["count"].attrs["units"] == "dimensionless" and dict(found.sizes) == {"row": 2}
    with pytest.raises(checks.InputError, match="`labels` must name everything in the rows, but got none for extra"):
        laboratory.dataset_of([{"extra": 1}], labels)
