"""``gradflow run NAME``, ``--all`` and ``--list``: experiments, and their predictions beside what was measured.

Progress goes to standard error, one line for each experiment as it ends; the tables go to standard output. What was
measured before an interruption is saved.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradflow import checks
from gradflow.cli import console
from gradflow.cli.exit_codes import ExitCode, of_error
from gradflow.laboratory import configuring, experiments
from gradflow.settings import ExperimentSettings


def experiment(settings: ExperimentSettings) -> ExitCode:
    """What the words after ``gradflow run`` ask for, unless they ask for a run on data."""
    folder = settings.experiments or experiments.default_folder()
    if settings.list:
        return list_experiments(folder)
    if settings.all:
        return run_all(settings, folder)
    return run_one(settings, folder)


def list_experiments(folder: Path) -> ExitCode:
    """Prints the names and the question of each; nothing is loaded."""
    names = experiments.names_in(folder)
    width = max(map(len, names))
    with console.surviving(sys.stdout):
        for name in names:
            print(f"{name:<{width}}  {experiments.question_of(name, folder)}")
    return ExitCode.OK


def run_one(settings: ExperimentSettings, folder: Path) -> ExitCode:
    """Runs, or judges again, one experiment."""
    checks.choice("name", settings.name.replace("-", "_").removesuffix(".py"), experiments.names_in(folder))
    with console.stage("Starting JAX"):
        from gradflow import laboratory

        chosen = laboratory.load_experiment(settings.name, folder)
    console.say(chosen.question)
    if settings.judge is not None:
        results = laboratory.load_results(settings.judge)
        _say_settings(laboratory.settings_of(results))
        found = laboratory.judged(chosen, results)
        outcome = laboratory.Outcome(chosen.name, found, settings.judge, results.attrs["seconds"], is_kept=True)
    else:
        own = configuring.configured(chosen.settings_type, settings.set, settings.tiny)
        path = settings.folder / f"{chosen.name}.nc"
        with console.stage(f"Measuring: {_cost_of(chosen, settings.tiny)}") as told:
            outcome = laboratory.perform(chosen, own, path, settings.overwrite)
            told(laboratory.tally(outcome.findings))
        results = laboratory.load_results(path)
        if outcome.is_kept:
            console.say(f"{path} has these results already{_measured_by(results)}; --overwrite measures again.")
    with console.surviving(sys.stdout):
        from gradflow import reporting

        _print_numbers(laboratory.number_tables(results))
        reporting.print_table(laboratory.rows_of(outcome.findings), title=chosen.name)
        print(f"\n{laboratory.tally(outcome.findings)}. Results: {outcome.path}")
    return _code_of([outcome])


def _measured_by(results: Any) -> str:
    """Since when and by which commit, as far as that was recorded."""
    from gradflow import laboratory

    origin = laboratory.origin_of(results)
    commit = str(origin.get("git_commit") or "")[:10]
    return f", of {str(origin.get('created_at', 'unknown date'))[:10]}" + (f" by commit {commit}" if commit else "")


def _print_numbers(tables: Sequence[Any]) -> None:
    """What was measured: a table for the variables of each shape, and what each of them is."""
    from gradflow import reporting

    for table in tables:
        reporting.print_table(table.rows, title=f"measured: {table.title}")
        width = max(map(len, table.labels))
        print("".join(f"  {name:<{width}}  {label}\n" for name, label in table.labels.items()))


def _cost_of(chosen: Any, is_tiny: bool) -> str:
    """What its docstring says of the duration at full size."""
    return "seconds" if is_tiny else chosen.sections.get("Cost", "for a while").rstrip(".")


def run_all(settings: ExperimentSettings, folder: Path) -> ExitCode:
    """Runs every experiment in turn, then prints all findings and a line for each experiment."""
    names = experiments.names_in(folder)
    with console.stage("Starting JAX"):
        from gradflow import laboratory
    outcomes: list[Any] = []
    is_interrupted = False
    try:
        for number, name in enumerate(names, start=1):
            console.progress(f"{number}/{len(names)} {name}")
            outcome = _outcome(name, settings, folder)
            console.progress("")
            console.say(f"{number}/{len(names)} {name}: {_line(outcome)}")
            outcomes.append(outcome)
            _forget_programs()
    except KeyboardInterrupt:
        is_interrupted = True
        console.progress("")
        console.say(f"interrupted after {len(outcomes)} of {len(names)} experiments; what was measured is saved.")
    with console.surviving(sys.stdout):
        from gradflow import reporting

        rows = [{"experiment": one.name} | row for one in outcomes for row in laboratory.rows_of(one.findings)]
        if rows:
            reporting.print_table(rows, title="prediction against result")
            print()
        _print_summary(outcomes)
    return ExitCode.INTERRUPTED if is_interrupted else _code_of(outcomes)


def _outcome(name: str, settings: ExperimentSettings, folder: Path) -> Any:
    """What became of one of many: whatever it raises is kept in the outcome."""
    from gradflow import laboratory

    try:
        chosen = laboratory.load_experiment(name, folder)
        own = configuring.configured(chosen.settings_type, (), settings.tiny)
        return laboratory.perform(chosen, own, settings.folder / f"{name}.nc", settings.overwrite)
    except Exception as error:
        return laboratory.Outcome(name, error=error)


def _forget_programs() -> None:
    """Drops what one experiment has compiled: a process has room for the programs of a dozen, not of all."""
    import gc

    import jax

    jax.clear_caches()
    gc.collect()


def _line(outcome: Any) -> str:
    from gradflow import laboratory

    if outcome.error is not None:
        return f"FAILED: {type(outcome.error).__name__}: {outcome.error}"
    how = "measured before" if outcome.is_kept else f"{outcome.seconds:.1f} s"
    return f"{laboratory.tally(outcome.findings)} ({how})"


def _print_summary(outcomes: Sequence[Any]) -> None:
    width = max((len(one.name) for one in outcomes), default=0)
    for one in outcomes:
        print(f"{one.name:<{width}}  {_line(one)}")
    verdicts = [finding.agrees for one in outcomes for finding in one.findings]
    failed = sum(one.error is not None for one in outcomes)
    print(
        f"\n{len(outcomes)} experiments, {len(verdicts)} predictions: {verdicts.count(True)} agree, "
        f"{verdicts.count(False)} disagree, {verdicts.count(None)} undecided; {failed} experiments failed."
    )


def _say_settings(settings: dict[str, Any]) -> None:
    console.say("Measured with " + ", ".join(f"{name}={value}" for name, value in settings.items()) + ".")


def _code_of(outcomes: Sequence[Any]) -> ExitCode:
    """The first failure decides, then a finding that disagrees."""
    failures = [of_error(one.error) for one in outcomes if one.error is not None]
    if failures:
        return failures[0]
    disagrees = any(finding.agrees is False for one in outcomes for finding in one.findings)
    return ExitCode.CHECK_FAILED if disagrees else ExitCode.OK
