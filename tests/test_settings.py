"""Settings: they check themselves, they agree with the registries they stand for, and files give them back."""

import dataclasses
import inspect
import itertools
import json
import math
import typing
from pathlib import Path

import numpy as np
import pytest

from gradflow import checks, datasets, initial_laws, model_problems, settings, solvers
from gradflow.datasets import preprocessing, synthetic
from gradflow.settings import portraits, runs
from gradflow.settings.expressions import FUNCTIONS, Expression
from gradflow.settings.files import choices_of

ALL = settings.RunSettings(
    data=settings.DataSettings(
        data='folder/a "b".csv', task="classification", targets=("kind", "-1"), preprocess=("center",)
    ),
    network=settings.NetworkSettings(hidden=(3, 2)),
    init=settings.InitSettings(init="balanced", scale=0.25, seed=2**62),
    flow=settings.FlowSettings(flow="original", normalization="mean", weight_decay=1e-3),
    solver=settings.SolverSettings(t1=20.0, rtol=1e-11, atol=0.0, solver="kvaerno5", grad_tol=1e-7, max_norm=math.inf),
    output=settings.OutputSettings(out=Path("results/one"), overwrite=True, figures=False),
)


@pytest.mark.parametrize(
    ("words", "registry"),
    [
        (runs.Task, datasets.TASKS),
        (runs.Step, preprocessing.STEPS),
        (runs.Law, initial_laws.LAWS),
        (runs.Solver, solvers.SOLVER_NAMES),
        (runs.InputLaw, synthetic.INPUT_LAWS),
    ],
    ids=["task", "step", "law", "solver", "input_law"],
)
def test_choices_are_those_of_the_library(words, registry):
    assert list(typing.get_args(words)) == list(registry)


def test_shipped_data_sets_are_those_of_the_library():
    assert runs.SHIPPED == datasets.NAMES


def test_landscapes_are_the_model_problems_with_a_window():
    assert list(portraits.LANDSCAPES) == [name for name in model_problems.names() if model_problems.get(name).window]


def test_every_setting_has_help_that_begins_its_docstring_with_a_sentence():
    """tyro reads the docstring after each field; a field without one shows an empty line in the help."""
    for kind in (
        *typing.get_type_hints(settings.RunSettings).values(),
        settings.DemoSettings,
        settings.PortraitSettings,
    ):
        source = inspect.getsource(kind)
        for field in dataclasses.fields(kind):
            after = source.split(f"\n    {field.name}: ")[1].split("\n", 1)[1]
            assert after.lstrip().startswith('"""'), field.name


def test_setting_names_are_unique_over_the_sections():
    sections = typing.get_type_hints(settings.RunSettings).values()
    names = [field.name for section in sections for field in dataclasses.fields(section)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("chosen", [settings.RunSettings(), ALL], ids=["defaults", "nothing at its default"])
def test_toml_gives_settings_back(chosen, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(settings.as_toml(chosen), encoding="utf-8")
    assert settings.read_config(path) == chosen


def test_json_gives_settings_back(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({name: value for name, value in settings.flat(ALL).items() if value is not None}))
    assert settings.read_config(path) == ALL


def test_json_that_does_not_parse_is_refused_with_its_line(tmp_path):
    (tmp_path / "run.json").write_text('{"seed": 1,\n "rtol" 2}')
    with pytest.raises(checks.InputError, match=r"run\.json` must be JSON, but: Expecting ':' delimiter: line 2"):
        settings.read_config(tmp_path / "run.json")


@pytest.mark.parametrize(
    "chosen",
    [
        settings.RunSettings(),
        ALL,
        settings.DemoSettings().run,
        settings.from_mapping({"data": "teacher_student", "noise": 1}),
    ],
    ids=["defaults", "all", "demo", "teacher"],
)
def test_what_results_remember_is_enough_to_redo_the_run(chosen):
    again = settings.from_mapping(settings.decisive(chosen))
    assert dataclasses.replace(again, output=chosen.output) == chosen


def test_what_results_remember_names_nothing_of_other_data_or_switched_off():
    assert list(settings.decisive(settings.DemoSettings().run)) == [
        *("data", "preprocess", "hidden", "init", "scale", "seed", "flow", "normalization"),
        *("t1", "rtol", "solver", "max_steps"),
    ]


def test_the_absolute_tolerance_follows_the_relative_one_unless_it_is_given():
    assert settings.SolverSettings(rtol=1e-6).absolute_tolerance == pytest.approx(1e-8, rel=1e-15)
    assert settings.SolverSettings(rtol=1e-6, atol=0.0).absolute_tolerance == 0.0


def test_a_mapping_may_spell_names_with_hyphens():
    assert settings.from_mapping({"weight-decay": 1, "max-steps": 7}).flow.weight_decay == 1.0


def test_the_demo_is_a_run_that_its_file_gives_back(tmp_path):
    path = tmp_path / "demo.toml"
    demo = settings.DemoSettings(rtol=1e-4, seed=3, out=Path("d"))
    path.write_text(settings.as_toml(demo.run))
    assert settings.read_config(path) == demo.run
    assert (demo.run.network.hidden, demo.run.data.preprocess, demo.run.init.scale) == ((32, 16), ("whiten",), 0.1)


REFUSED = [
    (settings.DataSettings, {"data": "table.xlsx"}, r"`data` must end in \.csv or \.npz"),
    (settings.DataSettings, {"data": ""}, "`data` must be a known name, but got ''"),
    (settings.DataSettings, {"data": "irs"}, "Perhaps you meant 'iris'"),
    (settings.DataSettings, {"task": "classify"}, "`task` must be a known name"),
    (settings.DataSettings, {"preprocess": ("whitening",)}, "Perhaps you meant 'whiten'"),
    (settings.DataSettings, {"targets": "price"}, "`targets` must be a sequence, but got 'price'"),
    (settings.DataSettings, {"data": "a.csv", "delimiter": ", "}, "`delimiter` must be a single character"),
    (settings.TeacherSettings, {"teacher_widths": (3,)}, "`teacher_widths` must have at least two entries"),
    (settings.TeacherSettings, {"num_samples": 0}, "`num_samples` must be at least 1"),
    (settings.TeacherSettings, {"noise": -1.0}, "`noise` must be at least 0"),
    (settings.TeacherSettings, {"input_law": "uniform"}, "`input_law` must be a known name"),
    (settings.NetworkSettings, {"hidden": (3, 0)}, r"`hidden\[1\]` must be at least 1"),
    (settings.InitSettings, {"scale": 0.0}, "`scale` must be greater than 0"),
    (settings.InitSettings, {"init": "normal"}, "`init` must be a known name"),
    (settings.InitSettings, {"seed": 2**63}, r"`seed` must be below 2\*\*63"),
    (settings.FlowSettings, {"weight_decay": -1e-3}, "`weight_decay` must be at least 0"),
    (settings.FlowSettings, {"flow": "reduced", "weight_decay": 1e-3}, "`weight_decay` must be 0 for the reduced flow"),
    (settings.FlowSettings, {"normalization": "average"}, "`normalization` must be a known name"),
    (settings.SolverSettings, {"t1": -1.0}, "Backward integration is for scripts"),
    (settings.SolverSettings, {"grad_tol": 0.0}, "`grad_tol` must be greater than 0"),
    (settings.SolverSettings, {"max_norm": math.nan}, "`max_norm` must be a number, but got NaN"),
    (settings.SolverSettings, {"max_steps": 0}, "`max_steps` must be at least 1"),
    (settings.OutputSettings, {"out": ""}, "`out` must be a folder"),
    (settings.DemoSettings, {"seed": -1}, "`seed` must be at least 0"),
    (settings.RunSettings, {"teacher": settings.TeacherSettings(noise=0.1)}, "`noise` must be left out"),
    (settings.RunSettings, {"data": settings.DataSettings(targets=("a",))}, "`targets` must be left out"),
    (
        settings.RunSettings,
        {"data": settings.DataSettings(data="a.npz", delimiter=";")},
        "`delimiter` must be left out",
    ),
    (
        settings.RunSettings,
        {"data": settings.DataSettings(data="teacher-student", task="regression")},
        "`task` must be left out",
    ),
    (settings.PortraitSettings, {}, "`name` must be given"),
    (settings.PortraitSettings, {"name": "h", "expression": "x"}, "but got 'h' and 'x'"),
    (settings.PortraitSettings, {"name": "double_wall"}, "Perhaps you meant 'double_well'"),
    (settings.PortraitSettings, {"name": "h", "window": (0.0, 1.0)}, "`window` must be four numbers"),
    (settings.PortraitSettings, {"name": "h", "window": (1.0, 0.0, 0.0, 1.0)}, "`window` must increase"),
    (
        settings.PortraitSettings,
        {"name": "h", "starts": "1,2;3"},
        r"`starts\[1\]` must be two numbers x,y, but got '3'",
    ),
    (settings.PortraitSettings, {"name": "h", "starts": "1,b"}, r"`starts\[0\]` must be a real number, but got 'b'"),
    (settings.PortraitSettings, {"name": "h", "max_steps": 0}, "`max_steps` must be at least 1"),
    (settings.PortraitSettings, {"name": "h", "max_norm": -1.0}, "`max_norm` must be greater than 0"),
]


@pytest.mark.parametrize(
    ("kind", "fields", "message"), REFUSED, ids=[f"{i}-{k.__name__}" for i, (k, *_) in enumerate(REFUSED)]
)
def test_a_value_out_of_range_is_refused_with_its_name(kind, fields, message):
    with pytest.raises(checks.InputError, match=message):
        kind(**fields)


def test_settings_of_portraits_know_aliases_and_hyphens():
    assert settings.PortraitSettings(name="h").name == "escaping_valley"
    assert settings.PortraitSettings(name="double-well").name == "double_well"


def test_starts_spread_over_the_window_off_its_axes():
    window = ((-2.0, 2.0), (1.0, 3.0))
    starts = np.array(portraits.spread_starts(window))
    assert len(starts) == portraits.NUM_STARTS
    for axis, (low, high) in enumerate(window):
        assert np.all((starts[:, axis] > low) & (starts[:, axis] < high))
        assert np.all(np.abs(starts[:, axis] - 0.5 * (low + high)) > 0.01 * (high - low))


def test_no_two_spread_starts_are_close():
    starts = portraits.spread_starts(((-1.0, 1.0), (-1.0, 1.0)))
    assert min(math.dist(one, other) for one, other in itertools.combinations(starts, 2)) > 0.2


def test_choices_reach_through_optional_and_repeated_settings():
    found = choices_of(settings.RunSettings)
    assert found["task"] == typing.get_args(runs.Task)
    assert found["preprocess"] == typing.get_args(runs.Step)
    assert "hidden" not in found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5*(x*y - 1)**2", 0.5 * (0.3 * -2 - 1) ** 2),
        ("x**-2 + +y", 0.3**-2 - 2),
        ("-x**2/4 + 2e0*pi - e", -(0.3**2) / 4 + 2 * math.pi - math.e),
        ("(x + 3)**(y/2)", 3.3**-1.0),
        *((f"{name}(x)", None) for name in FUNCTIONS),
    ],
)
def test_an_expression_has_the_value_that_python_gives_it(text, value):
    if value is None:
        value = float(getattr(np, text[:-3])(0.3))
    assert float(Expression(text)((0.3, -2.0))) == pytest.approx(value, rel=1e-6)  # single precision here


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x +", "must be a formula in x and y"),
        ("x; y", "must be a formula in x and y"),
        ("", "must be a formula in x and y"),
        ("z**2", "must be a known name, but got 'z'"),
        ("sine(x)", "Perhaps you meant 'sin'"),
        ("x.real", "but got 'x.real'"),
        ("__import__('os')", "must be a known name, but got '__import__'"),
        ("x if y else 1", "hold numbers and allowed parts only"),
        ("x @ y", "hold numbers and allowed parts only"),
        ("x^2 + y", r"but got 'x\^2 \+ y'\. Write \*\* for a power\. Allowed: "),
        ("sin(x, y)", "hold numbers and allowed parts only"),
        ("'x'", "hold numbers and allowed parts only"),
        ("True", "hold numbers and allowed parts only"),
        ("(lambda: x)()", "hold numbers and allowed parts only"),
        ("9" * 350, "hold numbers below 1e300"),
        ("1e999", "hold numbers below 1e300"),
        ("-" * 500 + "x", "have at most 400 characters"),
    ],
)
def test_an_expression_with_anything_else_is_refused(text, message):
    with pytest.raises(checks.InputError, match=f"`expression` must .*{message}|{message}"):
        Expression(text)


def test_an_expression_of_deep_powers_is_a_number_and_not_an_endless_loop():
    assert math.isinf(Expression("9**9**9**9")((0.0, 0.0)))


def test_whole_exponents_keep_derivatives_at_zero_finite():
    import jax
    import jax.numpy as jnp

    hessian = jax.hessian(Expression("x**2 + y**3"))(jnp.zeros(2))
    assert np.array_equal(hessian, [[2.0, 0.0], [0.0, 0.0]])
