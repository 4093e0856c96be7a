"""``gradflow run`` and ``gradflow demo``: from settings to a table, a results file and figures.

Everything that can be refused is refused before JAX is imported: settings, the folder, the data. Results are saved
before anything is drawn or printed.
"""

import contextlib
import dataclasses
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gradflow import checks, datasets
from gradflow.cli import console
from gradflow.cli.exit_codes import ExitCode, of_study
from gradflow.cli.outputs import reserved, save_pictures
from gradflow.cli.parsing import RunCommand
from gradflow.settings import DemoSettings, RunSettings, TeacherSettings, as_toml, decisive
from gradflow.settings.runs import TEACHER

RESULTS, SETTINGS = "study.nc", "settings.toml"
FIGURES = ("overview.pdf", "overview.png")

INTERRUPTIBLE = ("until_done", "classify")
"""The functions of the library that an interruption ends early without losing what was reached."""


def demo(settings: DemoSettings) -> ExitCode:
    """The main job on real data."""
    console.say("The gradient flow of a deep linear network on 1797 handwritten digits (8 x 8 pixels, ten classes).")
    console.say("From small random weights it learns the modes of the data one after another.")
    console.say("Three pixels are always 0: the inputs have rank 61 of 64, and the weights on those pixels never move.")
    return run(settings.run, is_known=True)


def run_command(settings: RunCommand) -> ExitCode:
    """A run, or its settings as TOML with ``--print-config``."""
    if settings.print_config:
        print(as_toml(settings), end="")
        return ExitCode.OK
    sections = {field.name: getattr(settings, field.name) for field in dataclasses.fields(RunSettings)}
    return run(RunSettings(**sections))


def run(settings: RunSettings, is_known: bool = False) -> ExitCode:
    """Reads, certifies, integrates, checks, saves, draws and prints; data that are known get no notes."""
    output = settings.output
    names = (RESULTS, SETTINGS, *(FIGURES if output.figures else ()))
    with reserved(output.out, names, output.overwrite) as folder:
        with _without_notes() if is_known else contextlib.nullcontext():
            data = load_data(settings)
        with console.stage("Starting JAX"):
            precision = double_precision()
        with precision:
            problem = problem_of(settings, data)
            study = _study(settings, problem, data)
            written = _save(settings, study, folder)
            pictures = _draw(study, folder) if output.figures else []
        code = report(study, written + pictures)
        is_cut_short = output.figures and not pictures
        return ExitCode.INTERRUPTED if is_cut_short else code


def load_data(settings: RunSettings) -> datasets.Dataset:
    """The data set that the settings name, after its preprocessing."""
    chosen = settings.data
    with console.stage(f"Reading {chosen.data}") as outcome:
        if chosen.is_file:
            options: dict[str, Any] = {"targets": _columns(chosen.targets), "delimiter": chosen.delimiter}
            data = datasets.from_file(
                Path(chosen.data).expanduser(), task=chosen.task or "regression", **(options if chosen.is_table else {})
            )
        elif chosen.data == TEACHER:
            data = _teacher_student(settings.teacher, settings.init.seed)
        else:
            data = datasets.load(chosen.data, chosen.task)
        if not chosen.is_file:  # of files, from_file has warned
            _warn_of_notes(data, chosen.preprocess)
        data = datasets.preprocess(data, chosen.preprocess)
        steps = f", after {', '.join(chosen.preprocess)}" if chosen.preprocess else ""
        outcome(f"{data.num_samples} samples, {data.num_features} inputs, {data.num_targets} targets{steps}")
    return data


def _teacher_student(teacher: TeacherSettings, seed: int) -> datasets.Dataset:
    with double_precision():
        import jax

        from gradflow.initial_laws import as_key

        # Not the keys of the layers, which are the seed's children 0, 1, 2, ...
        key = jax.random.fold_in(as_key(seed), 0xDA7A)
        return datasets.teacher_student(
            key, teacher.teacher_widths, teacher.num_samples, noise=teacher.noise, input_law=teacher.input_law
        )


def problem_of(settings: RunSettings, data: datasets.Dataset) -> Any:
    """The regression problem of the settings on `data`."""
    with console.stage("Preparing the problem") as outcome:
        from gradflow.networks import Linear
        from gradflow.problem import Regression
        from gradflow.regularizers import WeightDecay

        widths = (data.num_features, *settings.network.hidden, data.num_targets)
        chosen = settings.flow
        problem = Regression(
            Linear(widths),
            data.X,
            data.Y,
            regularizer=WeightDecay(chosen.weight_decay) if chosen.weight_decay else None,
            normalization=chosen.normalization,
        )
        num_weights = sum(rows * columns for rows, columns in problem.network.shapes)
        outcome(f"linear network {'-'.join(map(str, widths))}, {num_weights} weights")
    return problem


def double_precision() -> contextlib.AbstractContextManager:
    """Float64 for a whole command: quicker than the library's own switching, and undone at the end."""
    import jax

    return jax.enable_x64(True)


def _study(settings: RunSettings, problem: Any, data: datasets.Dataset) -> Any:
    from gradflow.flow import GradientFlow, ReducedFlow
    from gradflow.studies import study

    chosen, init = settings.solver, settings.init
    horizon = "to its end" if chosen.t1 == math.inf else f"to t = {chosen.t1:g}"
    title = f"Certifying, integrating {horizon} at rtol {chosen.rtol:g}, naming the endpoint"
    with (
        console.answering_interrupts("interrupted; naming and saving what was reached ...", INTERRUPTIBLE),
        console.stage(title, "with certificates, monitors and naming") as outcome,
    ):
        params0 = problem.init(init.seed, init.init, init.scale)
        is_finite = math.isfinite(problem.loss(params0))
        checks.require(is_finite, "scale", "make a start of finite loss", f"{init.scale:g}", "Take a smaller one.")
        flow: Any = GradientFlow(problem)
        if settings.flow.flow == "reduced":
            flow = ReducedFlow(problem)
            params0 = flow.coordinates(params0)
        remembered = decisive(settings) | {"feature_names": data.feature_names, "target_names": data.target_names}
        result = study(
            flow,
            params0,
            chosen.t1,
            settings=remembered,
            rtol=chosen.rtol,
            atol=chosen.absolute_tolerance,
            solver=chosen.solver,
            grad_tol=chosen.grad_tol,
            max_norm=chosen.max_norm,
            max_steps=chosen.max_steps,
        )
        done = result.trajectory
        outcome(f"{done.status} at t = {done.end_time:.6g} after {done.num_steps} steps in {done.wall_seconds:.1f} s")
    return result


def _save(settings: RunSettings, study: Any, folder: Path) -> list[Path]:
    from gradflow import store

    with console.stage("Saving"), console.undisturbed():
        store.save(study, folder / RESULTS, overwrite=settings.output.overwrite)
        # Whoever runs these settings again has not yet agreed to lose the results beside them.
        again = dataclasses.replace(settings, output=dataclasses.replace(settings.output, overwrite=False))
        (folder / SETTINGS).write_text(as_toml(again), encoding="utf-8")
    return [folder / RESULTS, folder / SETTINGS]


def _draw(study: Any, folder: Path) -> list[Path]:
    """The pictures; none when the user has no patience for them, which costs no results."""
    try:
        with console.stage("Drawing"):
            from gradflow import plotting

            return save_pictures(plotting.overview(study), [folder / name for name in FIGURES])
    except KeyboardInterrupt:
        console.say("interrupted while drawing; the results are saved.", console.INDENT)
        return []


def report(study: Any, written: Sequence[Path]) -> ExitCode:
    """Prints the table and where the results are, and says on standard error what went wrong, if anything did."""
    from gradflow import reporting

    with console.surviving(sys.stdout):
        reporting.print_summary(study)
        print("\nWritten:", *(f"  {path}" for path in written), sep="\n")
    code = of_study(study)
    trajectory = study.trajectory
    if code in (ExitCode.NUMERICAL_FAILURE, ExitCode.INTERRUPTED):
        console.say(f"{trajectory.status} at t = {trajectory.end_time:.6g}: {trajectory.status.remedy}")
    for check in study.checks if code is ExitCode.CHECK_FAILED else ():
        if check.passed is False:
            console.say(
                f"check failed: {check.name}: {check.statement} ({check.measured:.3g}, limit {check.limit:.3g})"
            )
    return code


def _columns(targets: Sequence[str]) -> list[Any] | None:
    """Names and numbers of columns; None for the default."""
    columns: list[Any] = []
    for target in targets:
        is_number = target.removeprefix("-").isdecimal()
        columns.append(int(target) if is_number else target)
    return columns or None


def _warn_of_notes(data: datasets.Dataset, steps: Sequence[str]) -> None:
    for note in data.notes:
        if not ("whiten" in steps and note.startswith("rank(X)")):  # whitening says that itself, and what follows
            warnings.warn(note, checks.DataWarning, stacklevel=2)


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.DataWarning)
        yield
