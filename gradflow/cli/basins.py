"""``gradflow basins``: from settings to a table of basin fractions, a results file and pictures.

Everything that can be refused is refused before JAX is imported: settings, the files, the data. What depends on the
clock goes to standard error, so the table of a run that was interrupted and begun again is that of an undisturbed one.
"""

import contextlib
import dataclasses
import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradflow import checks, store
from gradflow.cli import console
from gradflow.cli.basin_problems import num_params_of, problem_of, sampler_of
from gradflow.cli.exit_codes import ExitCode
from gradflow.cli.listening import Watched, progress_said, signals_heard
from gradflow.cli.parsing import BasinCommand
from gradflow.cli.running import double_precision, load_data
from gradflow.engines import ChunkFailure
from gradflow.settings import BasinSettings, InitSettings, RunSettings, as_toml
from gradflow.settings.basins import MAX_MAPPED

MOST_FAILURES = 5
"""Failed chunks that are listed."""


def basins(settings: BasinCommand, words: Sequence[str] = ()) -> ExitCode:
    """An estimate, or its settings as TOML with ``--print-config``; `words` are the command, to say how to go on."""
    if settings.print_config:
        print(as_toml(settings), end="")
        return ExitCode.OK
    settings.require_complete()
    results = settings.results
    for name, path in results.files.items():
        _reserve(name, path, results.overwrite)
    data = None
    if settings.problem.network is not None:
        data = load_data(RunSettings(settings.data, settings.teacher, init=InitSettings(seed=settings.sampling.seed)))
    with _dask_is_there(settings), console.stage("Starting JAX"):
        precision, engine = double_precision(), _engine(settings)
    with precision:
        with console.stage("Preparing the problem") as outcome:
            problem, window = problem_of(settings, data)
            sampler, num_samples = sampler_of(settings, problem, window)
            outcome(f"{num_params_of(sampler)} parameters, {num_samples:,} starts, {settings.sampler}")
        ending = _estimated(settings, problem, sampler, num_samples, engine, words)
        if isinstance(ending, ExitCode):
            return ending
        written = _save(settings, ending) + _draw(settings, ending, sampler)
    return _report(settings, ending, engine.failures, written)


def _reserve(name: str, path: Path, overwrite: bool) -> None:
    """Refuses a file that cannot be written, before anything is computed."""
    if path.is_file() and not overwrite:
        raise FileExistsError(f"{path} is there already. Choose another name, or add --overwrite to replace it.")
    store.check_writable(path, overwrite, name)


@contextlib.contextmanager
def _dask_is_there(settings: BasinSettings) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        if not (settings.engine.processes or settings.engine.scheduler):
            raise
        name = "scheduler" if settings.engine.scheduler else "processes"
        raise checks.InputError(f"`{name}` must be left out here, but got it: {error}") from None


def _engine(settings: BasinSettings) -> Watched:
    from gradflow import engines

    chosen = settings.engine
    if chosen.scheduler:
        return Watched(engines.Dask(chosen.scheduler))
    if chosen.processes:
        return Watched(engines.Dask(num_workers=chosen.workers))
    return Watched(engines.Threads(chosen.workers))


def _estimated(
    settings: BasinSettings, problem: Any, sampler: Any, num_samples: int, engine: Watched, words: Sequence[str]
) -> Any:
    """The estimate with what it must remember, or the exit code of a run that did not come to its end."""
    from gradflow.basins import estimate_basins
    from gradflow.flow import GradientFlow
    from gradflow.provenance import provenance

    chosen, place = settings.following, settings.engine.folder
    found = _say_what_is_there(place)
    begun = time.monotonic()
    with progress_said(), signals_heard() as heard:
        try:
            with console.stage("Following the starts") as outcome:
                estimate = estimate_basins(
                    GradientFlow(problem), sampler, settings.sampling.seed, num_samples, chosen.t1, rtol=chosen.rtol,
                    atol=chosen.atol, grad_tol=chosen.grad_tol, max_norm=chosen.max_norm, max_steps=chosen.max_steps,
                    solver=chosen.solver,
                    level=chosen.level, half_width=chosen.half_width, num_rechecked=min(chosen.rechecked, num_samples),
                    engine=engine, folder=place, keep_codes=True if num_samples <= MAX_MAPPED else None,
                )  # fmt: skip
                rate = estimate.num_samples / (time.monotonic() - begun)
                fresh = f"; {rate:,.0f} starts per second, compilation included"
                outcome(f"{estimate.facts['outcome']}{'' if found else fresh}")
        except KeyboardInterrupt as error:
            return _interrupted(str(error), heard(), place, words)
        except RuntimeError as error:
            if not engine.failures:
                raise
            return _failed(str(error), engine.failures)
    facts = estimate.facts | {"settings": settings.decisive, "provenance": provenance()}
    return dataclasses.replace(estimate, facts=facts)


def _say_what_is_there(folder: Path | None) -> int:
    """How many finished parts the folder holds."""
    if folder is None or not folder.is_dir():
        return 0
    found = len(list(folder.glob("parts/part-*.npz")))
    if found:
        console.say(f"{folder} holds {found} finished part{'s' * (found > 1)} from before.")
    return found


def _interrupted(text: str, heard: bytes, folder: Path | None, words: Sequence[str]) -> ExitCode:
    console.say(f"gradflow basins: {text or 'interrupted'}.")
    if folder is None:
        console.say("Nothing was kept. With --folder NAME every finished part is, and the same command goes on.")
    else:
        console.say(f"Every finished part is in {folder}. To go on from there:")
        console.say(shlex.join(["gradflow", *words]), console.INDENT)
    return ExitCode.TERMINATED if signal.SIGTERM in heard else ExitCode.INTERRUPTED


def _failed(text: str, failures: Sequence[ChunkFailure]) -> ExitCode:
    console.say(f"gradflow basins: {text}.")
    _list_failures(failures)
    return ExitCode.NUMERICAL_FAILURE


def _list_failures(failures: Sequence[ChunkFailure]) -> None:
    for failure in failures[:MOST_FAILURES]:
        console.say(str(failure), console.INDENT)
    if len(failures) > MOST_FAILURES:
        console.say(f"and {len(failures) - MOST_FAILURES} more", console.INDENT)


def _save(settings: BasinSettings, estimate: Any) -> list[Path]:
    """The results file, if one is asked for, and the one that a run's folder always gets."""
    from gradflow import reporting

    results, folder = settings.results, settings.engine.folder
    if folder is not None:
        with console.undisturbed():
            store.save_basins(estimate, folder / store.ESTIMATE, overwrite=True)
    if results.out is None:
        return []
    with console.stage("Saving"), console.undisturbed():
        if results.out.suffix.lower() == ".nc":
            store.save_basins(estimate, results.out, overwrite=results.overwrite)
        else:
            timed = {name: estimate.facts.get(name) for name in ("wall_seconds", "outcome", "provenance")}
            text = json.dumps(reporting.basin_data(estimate) | {"run": timed}, indent=1, default=str) + "\n"
            store.write_text(results.out, text, overwrite=results.overwrite)
    return [results.out]


def _draw(settings: BasinSettings, estimate: Any, sampler: Any) -> list[Path]:
    """The pictures that are asked for; whoever has no patience for them loses no results."""
    results, written = settings.results, []
    if results.map is None and results.figure is None:
        return []
    try:
        with console.stage("Drawing"):
            from gradflow import plotting, reporting
            from gradflow.plotting import basin_pages

            title = reporting.basin_title(estimate)
            if results.map is not None:
                is_slice = settings.sampler == "slice"
                shown = np.arange(min(basin_pages.MOST_STARTS, estimate.num_samples))
                starts = sampler if is_slice else sampler.starts(settings.sampling.seed, shown)
                figure = basin_pages.basin_map_page(estimate, starts, title=title)
                written.append(plotting.save_figure(figure, results.map))
            if results.figure is not None:
                is_sample = reporting.is_sample(estimate)
                figure = basin_pages.basin_summary_page(estimate, title=title, has_intervals=is_sample)
                written.append(plotting.save_figure(figure, results.figure))
    except KeyboardInterrupt:
        console.say("interrupted while drawing; the results are saved.", console.INDENT)
    return written


def _report(
    settings: BasinSettings, estimate: Any, failures: Sequence[ChunkFailure], written: Sequence[Path]
) -> ExitCode:
    """Prints the table, and says on standard error where files are and what went wrong, if anything did."""
    from gradflow import reporting

    with console.surviving(sys.stdout):
        if settings.results.format == "json":
            print(json.dumps(reporting.basin_data(estimate), indent=1))
        else:
            show = reporting.basin_page if settings.results.format == "markdown" else reporting.basin_text
            print(show(estimate), end="")
    for path in written:
        console.say(f"Written: {path}")
    if settings.engine.folder is not None:
        console.say(f"`gradflow report {settings.engine.folder}` makes a page of it.")
    if failures:
        console.say(f"gradflow basins: {len(failures)} chunks could not be computed:")
        _list_failures(failures)
        return ExitCode.NUMERICAL_FAILURE
    share, most = estimate.undetermined / estimate.num_samples, settings.following.max_undetermined
    if share > most:
        console.say(f"gradflow basins: {100 * share:.3g} % of the starts are undetermined, more than {100 * most:g} %.")
        return ExitCode.NUMERICAL_FAILURE
    return ExitCode.OK
