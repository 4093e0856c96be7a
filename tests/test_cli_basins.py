"""``gradflow basins``: settings and what they refuse, a run and what comes out, interruptions and how it goes on."""

import contextlib
import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import typing

import jax
import numpy as np
import pytest
from command_lines import call, environment, files_in, script

from gradflow import activations, checks, cli, engines, html, initial_laws, model_problems, settings, store
from gradflow.basins import estimating
from gradflow.cli import basin_problems, basins, listening
from gradflow.cli.exit_codes import ExitCode
from gradflow.ensemble import batches
from gradflow.settings import BasinSettings, as_toml, from_mapping, read_config
from gradflow.settings import basins as basin_settings
from gradflow.settings.basins import ProblemSettings
from gradflow.settings.expressions import Expression, variables_of
from gradflow.settings.sampling import LAWS, SamplingSettings

WELL = ("basins", "--expression", "(x**2 - 1)**2 + y**2", "--samples", "200", "--rechecked", "0")
"""A run that is compiled once for all tests of this file."""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRADFLOW_DEBUG", raising=False)


def made(**values):
    return from_mapping({"problem": "double_well"} | values, kind=BasinSettings)


# --- names that are written out twice ---------------------------------------------------------------------------------


def test_names_and_defaults_are_those_of_the_modules_that_own_them():
    names = set(typing.get_args(basin_settings.ProblemName))
    assert names - {"example1", "double_well_3d"} == set(model_problems.names())
    assert typing.get_args(basin_settings.Activation) == activations.NAMES
    assert typing.get_args(basin_settings.LaneSolver) == estimating.SOLVERS
    assert {*LAWS, "gaussian"} == set(initial_laws.LAWS)
    following = BasinSettings().following
    assert (following.rtol, following.max_steps) == (batches.DEFAULT_RTOL, batches.DEFAULT_MAX_STEPS)
    assert basin_settings.SMALLEST_RTOL == batches.SMALLEST_RTOL
    assert following.rechecked == 1000 and basin_settings.MAX_MAPPED <= estimating.KEEP_CODES


@pytest.mark.parametrize("name", typing.get_args(basin_settings.ProblemName))
def test_every_named_problem_has_the_parameters_that_the_settings_say(name):
    chosen = made(problem=name)
    problem, window = basin_problems.problem_of(chosen, None)
    sampler, num = basin_problems.sampler_of(chosen, problem, window)
    start = sampler.template.unflattened(np.ones(chosen.problem.num_params))
    assert basin_problems.num_params_of(sampler) == chosen.problem.num_params
    assert jax.eval_shape(problem.loss, start).shape == () and num == 10_000


# --- expressions of more variables ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x**2 + q", r"`expression` must hold known names only, but got 'q'\. Variables are x, y, z, w, or x1, x2"),
        ("x + y + sine(x)", "but got 'sine'.*Perhaps you meant 'sin'"),
        ("x + w", "`expression` must hold all of x, y, z, w, but got no y and no z"),
    ],
)
def test_a_name_that_is_no_variable_is_told_from_one_that_is_missing(text, message):
    with pytest.raises(checks.InputError, match=message):
        variables_of(text)


def test_the_variables_of_an_expression_are_its_parameters():
    assert variables_of("x*y") == ("x", "y") and variables_of("x + y*w - z") == ("x", "y", "z", "w")
    assert variables_of("x1**2 + x3 - x2") == ("x1", "x2", "x3")
    assert float(Expression("x1 - 2*x2 + x3**2", ("x1", "x2", "x3"))(np.array([1.0, 2.0, 3.0]))) == 6.0


@pytest.mark.parametrize(
    ("text", "message"),
    [("x + z", "but got no y"), ("x", "all of x, y"), ("x1 + y", "either x, y, z, w or x1"), ("x1 + x3", "got no x2"),
     ("x + y + v", "'v'"), ("x +", "a formula in x, y, z and w"), ("x65*x1", "'x65'")],
)  # fmt: skip
def test_expressions_that_leave_a_variable_out_are_refused(text, message):
    with pytest.raises(checks.InputError, match=message):
        Expression(text, variables_of(text))


# --- settings that are refused, before JAX is imported ----------------------------------------------------------------

REFUSED = [
    ({"problem": "exmple1"}, "Perhaps you meant 'example1'"),
    ({"expression": "x*y"}, "exactly one of `problem`, `expression`, `network` must be given, but got 'd.* and 'x"),
    ({"samples": 0}, "`samples` must be at least 1"),
    ({"samples": 1000, "design": "sobol"}, "Use 1024"),
    ({"sampler": "glorot"}, "A landscape's parameters are no matrices"),
    ({"scale": 2.0}, "`scale` must be left out for the sampler box .*It is for --sampler gaussian[.]"),
    ({"radius": 3.0}, "It is for --sampler ball or --sampler sphere"),
    ({"cells": [3]}, "It is for --design stratified"),
    ({"replicates": 4}, "`replicates` must be left out"),
    ({"sampler": "slice", "samples": 5}, "Its starts are its cells"),
    ({"sampler": "slice", "design": "sobol"}, "`design` must be independent"),
    ({"sampler": "slice", "problem": "example1"}, "`through` must be given for a slice of 4 parameters"),
    ({"sampler": "slice", "through": "0,0;1,0"}, "be 3 vectors"),
    ({"sampler": "slice", "through": "0,0;1,0;0,a"}, r"`through\[2\]` must"),
    ({"sampler": "slice", "through": "0,0,0;1,0,0;0,1,0"}, "have 2 numbers"),
    ({"sampler": "slice", "origin": [0, 0]}, "together with `directions`"),
    ({"low": [1.0, 2.0, 3.0]}, "`low` must have one number or 2"),
    ({"low": [1.0], "high": [0.0]}, r"`high\[0\]` must be at least low\[0\]"),
    ({"design": "stratified"}, "`cells` must be given"),
    ({"half_width": 0.1, "design": "sobol", "samples": 1024}, "`half_width` must be left out for a design"),
    ({"map": "a.png", "problem": "example1"}, "`map` must be left out unless"),
    ({"map": "a.png", "samples": 1_000_001}, "more than 1,000,000 starts"),
    ({"out": "a.txt"}, "end in .json or .nc"),
    ({"map": "a.png", "figure": "a.png"}, "another file"),
    ({"data": "iris"}, "`data` must be left out without a network"),
    ({"hidden": [3]}, "`hidden` must be left out without a network"),
    ({"problem": None, "network": "residual", "hidden": [3]}, "for the network residual"),
    ({"problem": None, "network": "shallow", "hidden": [3, 3]}, "one width for a shallow"),
    ({"problem": None, "network": "linear", "num_samples": 9}, "the number of starts is `samples`"),
    ({"problem": None, "network": "linear", "targets": ["a"]}, "unless the data are a .csv file"),
    ({"scheduler": "tcp://a:1", "workers": 2}, "`workers` must be left out with `scheduler`"),
    ({"scheduler": "tcp://a:1", "processes": True}, "`processes` must be left out"),
    ({"rtol": 1e-14}, "`rtol` must be at least 1e-13 in double precision, but got 1e-14. Use rtol=1e-13"),
    ({"max_undetermined": 1.5}, "be at most 1"),
    ({"level": 1.0}, "`level` must be"),
    ({"smaples": 3}, "Perhaps you meant `samples`. `gradflow basins --print-config`"),
    ({"samples": "many"}, "must be a whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=[str(values) for values, _ in REFUSED])
def test_settings_that_cannot_work_are_refused(values, message):
    values = {"problem": "double_well"} | values
    with pytest.raises(checks.InputError, match=message):
        from_mapping({name: value for name, value in values.items() if value is not None}, kind=BasinSettings)


def test_wrong_settings_and_help_import_no_jax(tmp_path):
    (tmp_path / "there.json").touch()
    text = """
import sys
from gradflow.cli import main
codes = [main(["basins", *words.split()]) for words in ("", "--help", "--problem example1 --scale -1",
         "--config missing.toml", "--problem example1 --out there.json", "--print-config")]
print(codes, "jax" in sys.modules, "scipy" in sys.modules)
"""
    assert script(text, tmp_path).out.splitlines()[-1] == "[2, 0, 2, 4, 4, 0] False False"


@pytest.mark.parametrize("name", ["out", "map", "figure"])
def test_a_place_where_nothing_can_be_written_is_named_by_its_flag(name, capsys):
    path = "missing/a.nc" if name == "out" else "missing/a.png"
    answer = call(capsys, *WELL, f"--{name}", path)
    assert answer.code == ExitCode.FILES and f"`{name}` must lie in a folder that exists" in answer.err


def test_settings_come_back_from_toml(tmp_path, capsys):
    chosen = made(samples=77, low=[-1.0], high=[2.0, 3.0], t1=5.0, workers=1, out="a.json", max_undetermined=0.5)
    (tmp_path / "a.toml").write_text(as_toml(chosen))
    assert read_config(tmp_path / "a.toml", BasinSettings) == chosen
    printed = call(capsys, "basins", "a.toml", "--samples", "78", "--print-config")
    assert printed.code == 0
    (tmp_path / "b.toml").write_text(printed.out)
    sampling = dataclasses.replace(chosen.sampling, samples=78)
    assert read_config(tmp_path / "b.toml", BasinSettings) == dataclasses.replace(chosen, sampling=sampling)


def test_results_remember_what_matters_and_nothing_that_does_not():
    chosen = made(samples=77, workers=1, out="a.json", max_undetermined=0.5, t1=5.0)
    expected = {
        "problem": "double_well",
        "sampler": "box",
        "design": "independent",
        "seed": 0,
        "samples": 77,
        "t1": 5.0,
    }
    assert chosen.decisive == expected


# --- samplers that settings name --------------------------------------------------------------------------------------


def sampled(**values):
    chosen = made(**values)
    problem, window = basin_problems.problem_of(chosen, None)
    return basin_problems.sampler_of(chosen, problem, window)


def test_the_box_is_that_of_the_landscape_or_the_one_asked_for():
    assert sampled(problem="himmelblau")[0].low.tolist() == list(np.array(model_problems.himmelblau().window)[:, 0])
    box, num = sampled(low=[-1.0], high=[2.0, 3.0], samples=5)
    assert (box.low.tolist(), box.high.tolist(), num) == ([-1.0, -1.0], [2.0, 3.0], 5)


def test_regions_and_laws_have_their_numbers():
    ball, _ = sampled(sampler="ball", radius=2.0, center=[1.0, -1.0])
    assert float(ball.radius) == 2.0 and ball.centre.tolist() == [1.0, -1.0]
    law, _ = sampled(problem="example1", sampler="glorot", scale=0.3)
    assert law.law.gain == 0.3
    normal, _ = sampled(sampler="gaussian", scale=0.3, center=[4.0])
    assert normal.scale.tolist() == [0.3, 0.3] and normal.mean.tolist() == [4.0, 4.0]


def test_designs_have_complete_replicates():
    sobol, num = sampled(design="sobol", replicates=4)
    assert num == 16_384 and sobol.num_replicates == 4
    strata, num = sampled(design="stratified", cells=[5], replicates=4)
    assert num == 10_000 and strata.num_strata == 25
    with pytest.raises(checks.InputError, match="Use 300"):
        sampled(design="stratified", cells=[5], replicates=4, samples=299)


def test_slices_lie_where_they_are_asked_to():
    plain, num = sampled(sampler="slice", resolution=4, low=[-3.0, -1.0], high=[3.0])
    assert num == 16 and plain.extent == (-3.0, 3.0, -1.0, 3.0)
    tilted, _ = sampled(problem="double_well_3d", sampler="slice", origin=[0, 0, 1], directions="1,0,0;0,1,0")
    assert tilted.extent == (-1.0, 1.0, -1.0, 1.0)
    np.testing.assert_allclose(tilted.starts(0, [0])[0], [-1 + 1 / 256, -1 + 1 / 256, 1.0])
    plane, _ = sampled(problem="double_well_3d", sampler="slice", through="1,0,0;0,1,0;0,0,1", resolution=8)
    assert plane.starts(0, [3]).sum() == pytest.approx(1.0)


# --- a run ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed():
    """The table of :data:`WELL`."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(list(WELL)) == ExitCode.OK
    return out.getvalue()


def test_a_run_prints_its_table_and_says_the_rest_on_standard_error(capsys, undisturbed):
    answer = call(capsys, *WELL)
    assert answer.code == ExitCode.OK and answer.out == undisturbed
    lines = answer.out.splitlines()
    assert lines[0] == "Basins of attraction of (x**2 - 1)**2 + y**2: 200 starts, box, independent, seed 0"
    assert sum(int(line.split()[0]) for line in lines[3:8]) == 200
    assert "local minimum, loss 0, at (1, 0)" in answer.out and "at most" in answer.out
    assert "starts per second" in answer.err and "starts per second" not in answer.out


def test_all_results_are_written_and_agree(capsys, tmp_path):
    places = ("--out", "a.nc", "--map", "map.svg", "--figure", "times.pdf")
    answer = call(capsys, *WELL, *places, "--format", "json")
    assert answer.code == ExitCode.OK
    printed, loaded = json.loads(answer.out), store.load_basins("a.nc")
    assert [row["count"] for row in printed["rows"]] == loaded.counts.tolist()
    assert (
        "share of the starts" in (tmp_path / "map.svg").read_text() and (tmp_path / "times.pdf").stat().st_size > 5000
    )
    assert loaded.facts["settings"]["expression"] == "(x**2 - 1)**2 + y**2" and len(loaded.codes) == 200
    again = call(capsys, *WELL, *places)
    assert again.code == ExitCode.FILES and "a.nc is there already" in again.err and "JAX" not in again.err
    answer = call(capsys, *WELL, "--out", "a.json", "--format", "markdown")
    written = json.loads((tmp_path / "a.json").read_text())
    assert answer.out.startswith("## Basins")
    assert written["rows"] == printed["rows"] and written["run"]["provenance"]["jax_version"]


def test_a_slice_is_drawn(capsys, tmp_path):
    words = ("basins", *WELL[1:3], "--sampler", "slice", "--resolution", "12", "--rechecked", "0")
    answer = call(capsys, *words, "--map", "map.svg")
    assert answer.code == ExitCode.OK and "144 cells of a slice" in answer.out
    assert "no sample" in answer.out and "ends at" in (tmp_path / "map.svg").read_text()


def test_too_many_undetermined_starts_are_a_failure_and_have_a_row(capsys):
    answer = call(capsys, *WELL, "--t1", "1e-3", "--max-undetermined", "0.25")
    assert answer.code == ExitCode.NUMERICAL_FAILURE
    assert "200 undetermined: on its way at the horizon" in answer.out
    assert "100 % of the starts are undetermined, more than 25 %" in answer.err


def test_a_network_on_data_is_a_problem_too(capsys, tmp_path):
    np.savez(tmp_path / "d.npz", X=np.eye(2), Y=np.diag([2.0, 1.0]))
    words = ("basins", "--network", "linear", "--data", "d.npz", "--hidden", "1", "--samples", "64", "--rechecked", "0")
    answer = call(capsys, *words, "--seed", "1")
    assert answer.code == ExitCode.OK
    assert "linear network on d.npz: 64 starts, gaussian" in answer.out and "{s_1}" in answer.out


# --- interruptions ----------------------------------------------------------------------------------------------------


def test_a_folder_goes_on_with_the_same_settings_and_refuses_others(capsys, tmp_path, undisturbed):
    first = call(capsys, *WELL, "--folder", "run")
    content = files_in(tmp_path / "run" / "parts")
    again = call(capsys, *WELL, "--folder", "run")
    assert (first.code, again.code) == (0, 0) and undisturbed == first.out == again.out
    assert "run holds 1 finished part from before" in again.err and "(1 from before)" in again.err
    assert html.read("run").counts.tolist() == store.load_basins(tmp_path / "run" / "estimate.nc").counts.tolist()
    other = call(capsys, *WELL, "--folder", "run", "--seed", "1")
    assert (other.code, other.out) == (ExitCode.BAD_INPUT, "")
    assert "must be those of the run in" in other.err and "choose another folder" in other.err
    assert files_in(tmp_path / "run" / "parts") == content


@pytest.mark.parametrize(
    ("number", "code", "folder"),
    [(signal.SIGINT, ExitCode.INTERRUPTED, ()), (signal.SIGTERM, ExitCode.TERMINATED, ("--folder", "run"))],
)
def test_an_interruption_says_how_to_go_on(number, code, folder, capsys, monkeypatch, undisturbed):
    class Interrupted(engines.Serial):
        def results(self, job, indices):
            for index, result in super().results(job, indices):
                os.kill(os.getpid(), number)
                yield index, result

    monkeypatch.setattr(engines, "Threads", lambda workers: Interrupted())
    monkeypatch.setattr(estimating, "FEWEST", 64)
    monkeypatch.setattr(estimating, "MOST", 64)
    answer = call(capsys, *WELL, *folder)
    assert (answer.code, answer.out) == (code, "")
    assert "stopping after the chunks in hand" in answer.err
    if not folder:
        assert "Nothing was kept" in answer.err
        return
    assert "gradflow basins --expression '(x**2 - 1)**2 + y**2' --samples 200" in answer.err
    monkeypatch.setattr(engines, "Threads", lambda workers: engines.Serial())
    resumed = call(capsys, *WELL, *folder)
    assert resumed.code == ExitCode.OK and "of 4 chunks (1 from before)" in resumed.err
    assert resumed.out == undisturbed


def test_chunks_that_fail_are_listed_and_their_starts_undetermined(capsys, monkeypatch):
    class Failing(engines.Serial):
        def results(self, job, indices):
            for index, result in super().results(job, indices):
                yield index, engines.ChunkFailure(index, "no memory") if index == 1 else result

    monkeypatch.setattr(engines, "Threads", lambda workers: Failing())
    monkeypatch.setattr(estimating, "FEWEST", 64)
    monkeypatch.setattr(estimating, "MOST", 64)
    answer = call(capsys, *WELL)
    assert answer.code == ExitCode.NUMERICAL_FAILURE
    assert "1 chunks could not be computed" in answer.err and "chunk 1: no memory" in answer.err
    assert "64 undetermined" in answer.out


def test_a_run_whose_chunks_all_fail_has_no_table(capsys, monkeypatch):
    class Failing(engines.Serial):
        def results(self, job, indices):
            for index in indices:
                yield index, engines.ChunkFailure(index, "no memory")

    monkeypatch.setattr(engines, "Threads", lambda workers: Failing())
    answer = call(capsys, *WELL)
    assert (answer.code, answer.out) == (ExitCode.NUMERICAL_FAILURE, "")
    assert "chunk 0: no memory" in answer.err


KILLED = """
import sys
from gradflow.__main__ import main
from gradflow.basins import estimating
estimating.MOST = 4096
sys.exit(main())
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(estimating, "MOST", 4096)
    words = [*WELL, "--samples", "40000"]
    command, parts = [sys.executable, "-c", KILLED, *words, "--folder", "run"], tmp_path / "run" / "parts"
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL) as killed:
        while killed.poll() is None and not (parts.is_dir() and any(parts.glob("part-*.npz"))):
            time.sleep(0.005)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    resumed = call(capsys, *words, "--folder", "run")
    assert re.search("holds [1-9] finished part", resumed.err)
    assert resumed.out == call(capsys, *words).out


def test_signals_are_heard_beside_their_handler(monkeypatch):
    answered = []
    usual = signal.signal(signal.SIGTERM, lambda number, frame: answered.append(number))
    try:
        with listening.signals_heard() as heard:
            assert heard() == b""
            signal.raise_signal(signal.SIGTERM)
            assert signal.SIGTERM in heard() and answered == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, usual)


def test_what_dask_lacks_is_a_wrong_setting(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "gradflow.engines.cluster", raising=False)
    monkeypatch.delitem(vars(engines), "Dask", raising=False)  # kept since another test asked for it
    answer = call(capsys, *WELL, "--processes")
    assert answer.code == ExitCode.BAD_INPUT and "gradflow[dask]" in answer.err


def test_settings_of_all_sections_have_different_names():
    names = [
        entry.name for part in dataclasses.fields(BasinSettings) for entry in dataclasses.fields(part.default_factory)
    ]
    assert len(names) == len(set(names))
    assert isinstance(settings.BasinSettings().problem, ProblemSettings) and SamplingSettings().seed == 0
    assert basins.MOST_FAILURES > 0
