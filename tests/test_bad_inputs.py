"""Bad inputs and faults: what a user sees, which exit code the shell gets, and that nothing was written or lost.

Most of them go through the command line on tiny data. What only a script can get wrong is asked of the library, and the
exit code is the one that the command line would make of it.
"""

import dataclasses
import os
import re
import time
import types

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_lines import SAMPLES, TINY, call, files_in, process, script, tiny_arrays, write_tiny

import gradflow as gf
from gradflow import checks, datasets, store
from gradflow.cli import exit_codes, portraits
from gradflow.cli.exit_codes import ExitCode
from gradflow.curvature import extreme_eigenvalues
from gradflow.monitoring import monitor
from gradflow.problem import MAX_DENSE
from gradflow.studies import checks_of

STARTED = "Certifying, integrating"


@pytest.fixture(autouse=True)
def _in_a_folder_with_tiny_data(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def _with(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


def _csv(text):
    return lambda folder: (folder / "t.csv").write_text(text, encoding="utf-8")


def _npz(change):
    def write(folder):
        X, Y = change(*tiny_arrays())
        np.savez(folder / "t.npz", X=X, Y=Y)

    return write


def _toml(text):
    return lambda folder: (folder / "run.toml").write_text(text, encoding="utf-8")


CSV, NPZ, CONFIG = ("run", "--data", "t.csv"), ("run", "--data", "t.npz"), ("run", "--config", "run.toml")

# What is wrong: (how the file is made, the command, the message).
BAD_DATA = {
    "nan in a table": (
        _csv("a,b,y\n1,2,3\n4,nan,6\n"),
        CSV,
        "column 1 ('b') of t.csv` must be finite, but got nan in line 3. Remove or impute it.",
    ),
    "infinity in a table's target": (
        _csv("a,y\n1,2\n4,inf\n"),
        CSV,
        "column 1 ('y') of t.csv` must be finite, but got inf in line 3",
    ),
    "nan in inputs": (
        _npz(lambda X, Y: (_with(X, (3, 1), np.nan), Y)),
        NPZ,
        "`X` must be finite, but got nan at row 3, column 1",
    ),
    "infinity in targets": (
        _npz(lambda X, Y: (X, _with(Y, (5, 0), -np.inf))),
        NPZ,
        "`Y` must be finite, but got -inf at row 5, column 0",
    ),
    "lengths differ": (
        _npz(lambda X, Y: (X, Y[:4])),
        NPZ,
        "as many samples (rows) as `X` of shape (12, 2), but got shape (4, 2)",
    ),
    "no samples": (_npz(lambda X, Y: (X[:0], Y[:0])), NPZ, "but got shape (0, 2). There are no samples"),
    "no rows below the header": (_csv("a,b\n"), CSV, "`t.csv` must have at least one sample, but got a header only"),
    "no features": (_npz(lambda X, Y: (X[:, :0], Y)), NPZ, "`X` must hold at least one number, but got shape (12, 0)"),
    "no column but the target": (
        _csv("y\n1\n2\n"),
        CSV,
        "must have a column that is not a target, but got 1 column(s)",
    ),
    "text in a table": (
        _csv("a,b,y\n1,red,3\n"),
        CSV,
        "column 1 ('b') of t.csv` must hold numbers, but got 'red' in line 2",
    ),
    "text in an array": (
        _npz(lambda X, Y: (X.astype(str), _with(Y.astype("U9"), (2, 1), "red"))),
        NPZ,
        "`X` must hold numbers, but got text",
    ),
    "objects in an array": (
        _npz(lambda X, Y: (X.astype(object), Y)),
        NPZ,
        "`t.npz` must hold arrays of numbers, but got objects",
    ),
    "huge scale": (_npz(lambda X, Y: (1e150 * X, Y)), NPZ, "`X` must have a largest entry between 1e-60 and 1e60"),
    "subnormal scale": (
        _npz(lambda X, Y: (X, 1e-310 * Y)),
        NPZ,
        "so that a squared loss neither overflows nor vanishes",
    ),
}

BAD_WORDS = {
    "unknown solver": ("--solver tsit6", "Perhaps you meant 'tsit5'. Choices: auto, bdf, bosh3"),
    "unknown law": ("--init gausian", "Perhaps you meant 'gaussian'. Choices: balanced"),
    "unknown preprocessing": ("--preprocess center witen", "Perhaps you meant 'whiten'. Choices: center"),
    "unknown data": ("--data irsi", "Perhaps you meant 'iris'. Choices: breast_cancer"),
    "neither a data set nor a file": ("--data nosuch", "teacher_student, wine. Or your own FILE.csv or FILE.npz."),
    "unknown option": ("--hiden 3", "--hidden"),
    "width 0": ("--hidden 4 0", "`hidden[1]` must be at least 1, but got 0"),
    "negative width": ("--hidden -3", "`hidden[0]` must be at least 1, but got -3"),
    "broken width": ("--hidden 1.5", "Error parsing --hidden"),
    "teacher of one width": ("--data teacher_student --teacher-widths 4", "`teacher_widths` must have at least two"),
    "rtol 0": ("--rtol 0", "`rtol` must be greater than 0, but got 0"),
    "negative rtol": ("--rtol -1e-6", "`rtol` must be greater than 0, but got -1e-06"),
    "rtol nan": ("--rtol nan", "`rtol` must be a number, but got NaN"),
    "negative atol": ("--atol -1", "`atol` must be at least 0, but got -1"),
    "atol nan": ("--atol nan", "`atol` must be a number, but got NaN"),
    "rtol below rounding": ("--rtol 1e-15", "`rtol` must be at least 1e-14 in double precision, but got 1e-15"),
    "horizon 0": ("--t1 0", "`t1` must be greater than 0, but got 0"),
    "negative horizon": ("--t1 -1", "`t1` must be greater than 0, but got -1.0. Backward integration is for scripts"),
    "horizon nan": ("--t1 nan", "`t1` must be a number, but got NaN"),
    "horizon -inf": ("--t1 -inf", "`t1` must be greater than 0, but got -inf"),
    "no steps": ("--max-steps 0", "`max_steps` must be at least 1, but got 0"),
    "start of infinite loss": ("--scale 1e160", "`scale` must make a start of finite loss, but got 1e+160"),
}

BAD_CONFIGS = {
    "unknown key": (
        'data = "iris"\nrotl = 1e-6\n',
        "run.toml, line 2: there is no setting `rotl`. Perhaps you meant `rtol`",
    ),
    "wrong type": ("# mine\n\nmax-steps = 1.5\n", "run.toml, line 3: `max_steps` must be a whole number, but got 1.5"),
    "wrong list": ("hidden = 3\n", "run.toml, line 1: `hidden` must be a list, as in [32, 16], but got 3"),
    "unknown choice": (
        'solver = "tsit6"\n',
        "run.toml, line 1: `solver` must be a known name, but got 'tsit6'. Perhaps",
    ),
    "out of range": ("seed = 1\nscale = -1.0\n", "run.toml, line 2: `scale` must be greater than 0, but got -1"),
    "table": ("[solver]\nrtol = 1e-6\n", "`solver` must not be a table"),
    "no TOML": ("seed = 1\nrtol 1e-6\n", "`run.toml` must be TOML, but: "),
    "not text": ("\udcff", "`run.toml` must be text in UTF-8"),
}


def _assert_refused(answer, before, folder, message, code=ExitCode.BAD_INPUT):
    assert answer.code == code
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert STARTED not in answer.err or "scale" in message  # that one needs the weights
    assert answer.out == ""
    assert files_in(folder) == before


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_are_refused_with_their_place(name, tmp_path, capsys):
    write, command, message = BAD_DATA[name]
    write(tmp_path)
    before = files_in(tmp_path)
    _assert_refused(call(capsys, *command), before, tmp_path, message)


@pytest.mark.parametrize("name", BAD_WORDS)
def test_bad_settings_are_refused_with_a_remedy(name, tmp_path, capsys):
    words, message = BAD_WORDS[name]
    before = files_in(tmp_path)
    _assert_refused(call(capsys, *TINY, *words.split()), before, tmp_path, message)


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_a_bad_settings_file_is_refused_with_its_line(name, tmp_path, capsys):
    text, message = BAD_CONFIGS[name]
    (tmp_path / "run.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    before = files_in(tmp_path)
    _assert_refused(call(capsys, *CONFIG), before, tmp_path, message)


def test_bad_settings_and_files_are_refused_before_jax_is_imported(tmp_path):
    bad = [
        ["run", "--hidden", "0"], ["run", "--solver", "tsit6"], ["run", "--rtol", "nan"], ["run", "--t1", "0"],
        ["run", "--config", "none.toml"], ["run", "--data", "none.csv"], ["run", "--data", "bad.csv"],
        ["run", "--data", "data.npz", "--out", "data.npz"], ["portrait", "duble_well"],
        ["portrait", "--expression", "x.y"], ["dmo"],
    ]  # fmt: skip
    (tmp_path / "bad.csv").write_text("a,y\n1,\n")
    text = f"""
import sys
from gradflow.cli import main
codes = [main(words) for words in {bad}]
print(codes, [name for name in ("jax", "diffrax", "matplotlib", "sklearn") if name in sys.modules])
"""
    answer = script(text, tmp_path)
    assert answer.out == "[2, 2, 2, 2, 4, 4, 2, 4, 2, 2, 2] []\n", answer.err


# --- data that a run must cope with -----------------------------------------------------------------------------------


def test_targets_as_a_vector_and_as_one_column_are_the_same_data(tmp_path):
    X, Y = tiny_arrays()
    np.savez(tmp_path / "vector.npz", X=X, Y=Y[:, 0])
    np.savez(tmp_path / "column.npz", X=X, Y=Y[:, :1])
    vector, column = (datasets.from_file(tmp_path / name) for name in ("vector.npz", "column.npz"))
    assert vector.Y.shape == column.Y.shape == (1, SAMPLES)
    assert np.array_equal(vector.Y, column.Y)
    problem = gf.Regression(gf.networks.Linear((2, 1)), X.T, Y[:, 0])
    assert problem.loss((np.zeros((1, 2)),)) == pytest.approx(0.5 * np.sum(Y[:, 0] ** 2), rel=1e-14)


def _rank_one(X, Y):
    return X[:, :1] * np.array([[1.0, 2.0]]), Y


def _equal_modes(X, Y):
    whitened = np.linalg.svd(X, full_matrices=False)[0]
    return whitened, 2.0 * whitened


def _constant(X, Y):
    return np.stack([X[:, 0], np.full(SAMPLES, 3.0)], axis=1), Y


def _repeated(X, Y):
    return np.tile(X[: SAMPLES // 2], (2, 1)), np.tile(Y[: SAMPLES // 2], (2, 1))


# What is odd: (the data, what is said on the way, what the table says).
ODD_DATA = {
    "rank-deficient inputs": (_rank_one, "rank(X) = 1 is less than d_in = 2", "Morse index 0"),
    "equal singular values": (
        _equal_modes,
        "(nearly) equal singular values, s_1 = s_2",
        "(1,) per group of equal ones",
    ),
    "constant feature": (_constant, "constant features: x1", "global minimum"),
    "repeated samples": (_repeated, "6 of 12 samples repeat another one exactly", "global minimum"),
    "single precision": (
        lambda X, Y: (X.astype(np.float32), Y),
        "`X` is float32 and was promoted to float64",
        "global minimum",
    ),
    "whole numbers": (lambda X, Y: (np.round(10 * X).astype(int), Y), "12 samples, 2 inputs", "global minimum"),
}


@pytest.mark.parametrize("name", ODD_DATA)
def test_odd_data_run_with_a_note(name, tmp_path, capsys):
    change, note, finding = ODD_DATA[name]
    X, Y = change(*tiny_arrays())
    write_tiny(tmp_path, "odd.npz", X=X, Y=Y)
    hidden = 1 if change is _equal_modes else 2  # one of two equal modes: none of them is the one captured
    answer = call(capsys, "run", "--data", "odd.npz", "--hidden", hidden, "--no-figures", "--out", "odd")
    assert answer.code == ExitCode.OK
    assert note in answer.err
    assert answer.err.count(note) == 1
    assert finding in answer.out
    assert store.load(tmp_path / "odd" / "study.nc").trajectory.status is gf.Status.STATIONARY


# --- calls that only a script can get wrong ---------------------------------------------------------------------------


def _regression(**options):
    X, Y = (array.T for array in tiny_arrays())
    return gf.Regression(gf.networks.Linear((2, 2, 2)), X, Y, **options)


def _landscape(function):
    return gf.GradientFlow(gf.Landscape(function))


class _Field(gf.flow.AbstractFlow):
    """A flow by somebody who forgot the shapes."""

    problem: gf.Landscape
    field: types.FunctionType

    def vector_field(self, params):
        return self.field(params)


def _loss_of(loss):
    return lambda: _regression(loss=loss).gradient(_regression().init(0))


def _field_of(field):
    flow = _Field(gf.Landscape(lambda p: jnp.sum(p**2)), field)
    return lambda: gf.integrate(flow, np.ones(2))


def _saved_at(*times):
    return lambda: gf.integrate(_landscape(lambda p: jnp.sum(p**2)), np.ones(2), 2.0, save_at=times)


BAD_CALLS = {
    "loss of two axes": (
        _loss_of(lambda out, y: (out - y) ** 2),
        "`loss` must return a scalar, but got an array of shape (2, 12)",
    ),
    "loss in a list": (
        _loss_of(lambda out, y: jnp.sum(out - y)[None]),
        "`loss` must return a scalar, but got an array of shape (1,)",
    ),
    "whole loss": (_loss_of(lambda out, y: jnp.sum(out > y)), "`loss` must return a real floating number"),
    "landscape in a list": (
        lambda: gf.Landscape(lambda p: p[:1]).gradient(np.ones(2)),
        "`fun` must return a scalar, but got an array of shape (1,)",
    ),
    "field of one number": (_field_of(lambda p: -p[:1]), "vector field of the start's shapes (2,), but got (1,)"),
    "field without axes": (_field_of(lambda p: -jnp.sum(p)), "vector field of the start's shapes (2,), but got ()"),
    "list as the start of a network": (
        lambda: gf.integrate(gf.GradientFlow(_regression()), list(_regression().init(0))),
        "Pass the start of a network as a tuple of arrays.",
    ),
    "unsorted save times": (_saved_at(1.0, 0.5), "`save_at` must be sorted from 0 towards t1 without duplicates"),
    "repeated save times": (_saved_at(0.5, 0.5, 1.0), "`save_at` must be sorted from 0 towards t1 without duplicates"),
    "save times outside": (_saved_at(0.5, 3.0), "`save_at` must lie inside [0, 2], but got [0.5, 3]"),
    "single-precision start": (
        lambda: gf.integrate(_landscape(lambda p: jnp.sum(p**2)), np.ones(2, np.float32), rtol=1e-8),
        "`rtol` must be at least 1.2e-05 for a start in float32",
    ),
    "horizon -inf": (
        lambda: gf.integrate(_landscape(lambda p: jnp.sum(p**2)), np.ones(2), -np.inf),
        "`t1` must be nonzero and not -inf",
    ),
    "a flow for its problem": (
        lambda: gf.classify(_landscape(lambda p: jnp.sum(p**2)), np.zeros(2)),
        "`problem` must be a problem, but got GradientFlow. Of a flow that is flow.problem.",
    ),
    "Hessian too large": (
        lambda: gf.Landscape(lambda p: jnp.sum(p**2)).hessian(np.zeros(MAX_DENSE + 1)),
        "6001 (0.3 GB). Use gradflow.curvature.extreme_eigenvalues",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_a_wrong_call_is_refused_with_what_was_expected(name):
    call_it, message = BAD_CALLS[name]
    with pytest.raises(checks.InputError, match=re.escape(message)) as refusal:
        call_it()
    assert exit_codes.of_error(refusal.value) is ExitCode.BAD_INPUT


def test_a_hessian_too_large_to_form_still_has_its_ends():
    weights = np.linspace(1.0, 2.0, MAX_DENSE + 1)
    ends = extreme_eigenvalues(gf.Landscape(lambda p: 0.5 * jnp.sum(weights * p**2)), np.ones(MAX_DENSE + 1))
    assert (ends.lowest[0], ends.highest[0]) == pytest.approx((1.0, 2.0), rel=1e-3)


# --- numerical outcomes -----------------------------------------------------------------------------------------------

# What happens: (landscape and starts, the exit code, what the table says, what is said at the end).
OUTCOMES = {
    "kink": (
        "abs(x)+y**2 --starts 1,1 --max-steps 300",
        3,
        r"step_limit +1\S* +\(\S+, 0.1\S+\) +- ",
        "step_limit from (1, 1)",
    ),
    "start on a kink": (
        "abs(x)+y**2 --starts 0,0.5 --max-steps 300",
        3,
        r"\(0, 0.5\) +step_limit .* - ",
        "step_limit from (0, 0.5)",
    ),
    "blow-up": ("-(x**4+y**4)/4 --starts 1,0.5", 0, r"escaped +0\.4\S* ", ""),
    "overflow beside others": (
        "exp(x**2)+y**2 --starts 40,0.5;1,1",
        3,
        r"\(40, 0.5\) +nonfinite +0 .*\n\(1, 1\) +stationary .* local minimum",
        "nonfinite from (40, 0.5): The loss or the vector field is not finite",
    ),
    "flat direction": ("x**4+y**2 --starts 0,1", 0, r"stationary .* degenerate", ""),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_outcome_is_named_and_never_taken_for_a_minimum(name, monkeypatch, capsys):
    monkeypatch.setattr(portraits, "_draw", lambda *drawn: [])
    words, code, row, message = OUTCOMES[name]
    answer = call(capsys, "portrait", "--expression", *words.split())
    assert answer.code == code
    assert re.search(row, answer.out)
    assert message in answer.err


STARTS = {
    "critical start": ("0,0", r"stationary +0 +\(0, 0\) +maximum", r"\(0, 0\) +maximum +2 "),
    "start on a separatrix": ("0,0.5", r"stationary +\S+ +\(0, 1\) +strict saddle", r"\(0, 1\) +strict saddle +1 "),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_start_on_a_saddle_or_its_stable_manifold_is_never_given_to_a_minimum(name, monkeypatch, capsys):
    monkeypatch.setattr(portraits, "_draw", lambda *drawn: [])
    start, row, point = STARTS[name]
    answer = call(capsys, "portrait", "double_well", "--starts", start)
    assert answer.code == ExitCode.OK
    assert re.search(row, answer.out)
    assert re.search(point, answer.out)


def test_a_start_where_nothing_is_finite_costs_no_step():
    trajectory = gf.integrate(_landscape(lambda p: jnp.exp(p[0] ** 2) + p[1] ** 2), np.array([40.0, 1.0]))
    assert (trajectory.status, trajectory.num_steps) == (gf.Status.NONFINITE, 0)
    assert exit_codes.of_outcome([trajectory.status], passed=True) is ExitCode.NUMERICAL_FAILURE


def _stiff(p):
    return 5e4 * p[0] ** 2 + 0.5 * (p[1] - 1.0) ** 2


def test_a_stiff_flow_changes_the_solver_and_ends():
    trajectory = gf.integrate(_landscape(_stiff), np.array([0.1, 0.1]))
    assert trajectory.status is gf.Status.STATIONARY
    assert trajectory.solver == "Radau9"
    reason = r"Tsit5 was limited by stability for \d+ steps with about .* more ahead, until t = "
    assert re.match(reason, trajectory.solver_reason)
    np.testing.assert_allclose(trajectory.endpoint, [0.0, 1.0], atol=1e-6)


def test_a_stiff_flow_without_that_is_out_of_steps():
    trajectory = gf.integrate(_landscape(_stiff), np.array([0.1, 0.1]), solver="tsit5", max_steps=1000)
    assert (trajectory.status, trajectory.num_steps) == (gf.Status.STEP_LIMIT, 1000)
    assert "choose a stiff one such as" in trajectory.status.remedy
    assert exit_codes.of_outcome([trajectory.status], passed=True) is ExitCode.NUMERICAL_FAILURE


def test_out_of_steps_is_said_saved_and_a_failure(tmp_path, capsys):
    answer = call(capsys, *TINY, "--max-steps", 5)
    study = store.load(tmp_path / "gradflow-run" / "study.nc")
    assert answer.code == ExitCode.NUMERICAL_FAILURE
    assert re.search(r"step_limit at t = \S+: max_steps was used up; raise it", answer.err)
    assert (study.trajectory.status, study.trajectory.num_steps) == (gf.Status.STEP_LIMIT, 5)


def test_an_implicit_step_that_fails_is_never_taken_for_an_answer():
    """At the kink Newton's method has no solution to find: each step shrinks until the run says that it stalled."""
    trajectory = gf.integrate(_landscape(lambda p: jnp.abs(p[0]) + p[1] ** 2), np.ones(2), solver="kvaerno5")
    assert trajectory.status is gf.Status.STALLED
    assert np.all(np.diff(trajectory.params[:, 0]) <= 0.0)
    assert np.all(trajectory.params[:, 0] >= -1e-12)
    assert exit_codes.of_outcome([trajectory.status], passed=True) is ExitCode.NUMERICAL_FAILURE


def test_an_eigenvalue_below_what_rounding_resolves_is_degenerate_with_the_threshold_shown():
    point = gf.critical_points.classify(gf.Landscape(lambda p: 1e-15 * p[0] ** 2 + p[1] ** 2), np.zeros(2))
    assert (point.kind, point.index, point.nullity) == ("degenerate", 0, 1)
    assert 0.0 < abs(point.eigenvalues[0]) <= point.zero_tolerance


def test_an_invariant_that_is_not_conserved_fails_its_check():
    """The balance of the layers belongs to the gradient flow; along the reduced flow of other data it drifts."""
    problem = _regression()
    reduced = gf.ReducedFlow(problem)
    trajectory = gf.integrate(reduced, problem.init(1, "gaussian", 0.5), rtol=1e-10, atol=1e-12)
    original = dataclasses.replace(
        trajectory,
        params=jax.vmap(reduced.weights)(trajectory.params),
        start=reduced.weights(trajectory.start),
        endpoint=reduced.weights(trajectory.endpoint),
    )
    rate = types.SimpleNamespace(law="undetermined")
    check = {check.name: check for check in checks_of(monitor(gf.GradientFlow(problem), original), original, (), rate)}
    assert check["invariants"].passed is False
    assert check["invariants"].measured > 1e3 * check["invariants"].limit
    assert exit_codes.of_outcome([trajectory.status], passed=False) is ExitCode.CHECK_FAILED


def test_a_huge_tolerance_is_warned_of_and_marks_the_result(tmp_path, capsys):
    answer = call(capsys, *TINY, "--rtol", 0.2)
    study = store.load(tmp_path / "gradflow-run" / "study.nc")
    assert answer.code == ExitCode.OK
    assert answer.err.count("note: `rtol` = 0.2 is 0.1 or more: no digit of the trajectory can be relied on") == 1
    assert "not judged at so large a tolerance" in answer.out
    assert {check.passed for check in study.checks if check.name != "ended"} == {None}


# --- files, folders and machines --------------------------------------------------------------------------------------


def _file(folder):
    (folder / "taken").write_text("mine")


def _folder_in_place(folder):
    (folder / "taken" / "study.nc").mkdir(parents=True)


def _results(folder):
    (folder / "taken").mkdir()
    (folder / "taken" / "study.nc").write_bytes(b"results of last night")


BAD_PLACES = {
    "a file instead of a folder": (
        _file,
        "taken",
        "cannot be made (File exists); choose another one with --out: taken",
    ),
    "below a file": (
        _file,
        "taken/below",
        "cannot be made (Not a directory); choose another one with --out: taken/below",
    ),
    "no such disk": (lambda folder: None, "/proc/none/results", "choose another one with --out: /proc/none/results"),
    "a folder instead of a file": (_folder_in_place, "taken", "taken/study.nc"),
    "results are there": (_results, "taken", "taken/study.nc"),
}


@pytest.mark.parametrize("name", BAD_PLACES)
def test_a_place_that_takes_no_results_is_refused_before_computing(name, tmp_path, capsys):
    prepare, out, message = BAD_PLACES[name]
    prepare(tmp_path)
    before = files_in(tmp_path)
    answer = call(capsys, *TINY, "--out", out)
    _assert_refused(answer, before, tmp_path, message, ExitCode.FILES)
    assert "Reading" not in answer.err


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to the superuser")
def test_a_folder_that_may_not_be_written_is_refused_before_computing(tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    answer = call(capsys, *TINY, "--out", "locked")
    _assert_refused(answer, files_in(tmp_path), tmp_path, "locked", ExitCode.FILES)


def test_results_that_are_there_need_the_word_overwrite(tmp_path, capsys):
    _results(tmp_path)
    refusal = call(capsys, *TINY, "--out", "taken").err
    assert "`--out` must be a folder without earlier results, but got taken, and taken/study.nc is there" in refusal
    assert "with --out, or add --overwrite" in refusal
    assert "overwrite=True" not in refusal
    assert call(capsys, *TINY, "--out", "taken", "--overwrite").code == ExitCode.OK
    assert store.load(tmp_path / "taken" / "study.nc").trajectory.status is gf.Status.STATIONARY


def _newer(path):
    with h5py.File(path, "r+") as stored:
        stored.attrs["gradflow_schema"] = int(np.ravel(stored.attrs["gradflow_schema"])[0]) + 1


def _flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"stationary")] ^= 1
    path.write_bytes(data)


BAD_RESULTS = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "cut off or damaged"),
    "empty": (lambda path: path.write_bytes(b""), "is empty. Whatever should have written it did not finish"),
    "flipped bit": (_flip_a_bit, "cut off or damaged"),
    "another version": (_newer, "was written by gradflow 0.1.0 in schema 2; this is gradflow 0.1.0, schema 1. Update"),
    "not ours": (lambda path: path.write_text("a,b\n1,2\n"), "no results file of gradflow (it is not NetCDF-4)"),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The bytes of one results file."""
    problem = _regression()
    study = gf.study(gf.GradientFlow(problem), problem.init(0))
    return store.save(study, tmp_path_factory.mktemp("results") / "study.nc").read_bytes()


@pytest.mark.parametrize("name", BAD_RESULTS)
def test_a_results_file_that_is_no_longer_one_is_told_from_one(name, results, tmp_path):
    spoil, message = BAD_RESULTS[name]
    path = tmp_path / "study.nc"
    path.write_bytes(results)
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(checks.ResultsFileError, match=re.escape(message)) as refusal:
        store.load(path)
    assert exit_codes.of_error(refusal.value) is ExitCode.FILES
    assert path.read_bytes() == before


@pytest.mark.slow
def test_a_home_and_a_cache_that_cannot_be_written_are_done_without(tmp_path):
    """matplotlib says so and finds its fonts anew, JAX says so and compiles anew."""
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file" / "below")
    names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "JAX_COMPILATION_CACHE_DIR")
    answer = process("portrait", "double_well", "--starts", "0.5,0.1", cwd=tmp_path, env=dict.fromkeys(names, nowhere))
    assert answer.code == ExitCode.OK, answer.err
    assert "Traceback" not in answer.err
    assert (tmp_path / "gradflow-portrait" / "double_well.png").stat().st_size > 10_000


def test_no_display_is_needed_and_the_paths_of_the_pictures_are_printed(tmp_path, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    answer = call(capsys, "portrait", "double_well", "--starts", "0.5,0.1", "--out", "pictures")
    assert answer.code == ExitCode.OK
    for name in ("double_well.pdf", "double_well.png"):
        assert f"pictures/{name}\n" in answer.out
        assert (tmp_path / "pictures" / name).stat().st_size > 10_000


def test_a_clock_that_is_set_back_leaves_durations_alone(tmp_path, monkeypatch, capsys):
    clock = iter(range(2_000_000_000, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    answer = call(capsys, *TINY)
    seconds = [float(found) for found in re.findall(r"\((-?[\d.]+) s\b", answer.err)]
    assert answer.code == ExitCode.OK
    assert len(seconds) == 5
    assert all(0.0 <= duration < 300.0 for duration in seconds)
    assert 0.0 < store.load(tmp_path / "gradflow-run" / "study.nc").trajectory.wall_seconds < 300.0
