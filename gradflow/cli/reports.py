"""``gradflow report``: a results file as a page for the browser."""

import sys

from gradflow import store
from gradflow.cli import console
from gradflow.cli.exit_codes import ExitCode
from gradflow.cli.running import double_precision
from gradflow.settings import ReportSettings


def report(settings: ReportSettings) -> ExitCode:
    """Reads results and writes the page; what is wrong with either is said before anything is computed."""
    assert settings.results is not None
    target = settings.page
    if target.is_file() and not settings.overwrite:
        raise FileExistsError(f"{target} is there already. Choose another name with --out, or add --overwrite.")
    store.check_writable(target, settings.overwrite, "out")
    with console.stage(f"Reading {settings.results}") as outcome, double_precision():
        from gradflow import html

        experiments = html.experiment_files(settings.results)
        if experiments:
            measured = [html.read_experiment(file, settings.experiments) for file in experiments]
            outcome(f"{len(measured)} experiment{'s' * (len(measured) > 1)}")
        else:
            result = html.read(settings.results)
            outcome("a study" if hasattr(result, "trajectory") else "an estimate of basins")
    with console.stage("Writing the page") as outcome, double_precision():
        if experiments:
            written = html.write_experiments_report(measured, target, settings.overwrite)
        else:
            options = {"resolution": settings.resolution, "interactive": settings.explorer}
            written = html.write_report(result, target, settings.overwrite, **options)
        outcome(f"{written.stat().st_size / 1e6:.1f} MB")
    with console.surviving(sys.stdout):
        print(f"Written: {target}")
    return ExitCode.OK
