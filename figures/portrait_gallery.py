"""Draws phase portraits of saved runs: ``python figures/portrait_gallery.py A.nc B.nc ... -o portraits.pdf``.

One panel per landscape, with the trajectories and endpoints of all its runs. The streamlines are the vector field on a
grid; trajectories come from the results files, nothing is integrated.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from gradflow import checks, model_problems, plotting, store
from gradflow.studies import Study


def gallery(studies: Sequence[Study]) -> Figure:
    """One phase portrait per landscape of two parameters, two in a row.

    Raises:
        InputError: the flow of a study is not in its file (the landscape is its author's own).
    """
    panels: dict[str, list[Study]] = {}
    for study in studies:
        checks.require(study.flow is not None, "result", "hold its flow", "a landscape that only its author has")
        panels.setdefault(getattr(study.flow.problem, "name", "network"), []).append(study)
    rows = -(-len(panels) // 2)
    with plotting.style():
        figure = Figure(figsize=plotting.figure_size(min(len(panels), 2), aspect=1.0, rows=rows))
        grid = figure.subplots(rows, min(len(panels), 2), squeeze=False).ravel()
        for ax, (name, members) in zip(grid, panels.items(), strict=False):
            _panel(ax, name, members)
        for ax in grid[len(panels) :]:
            ax.remove()
    return figure


def _panel(ax, name: str, studies: Sequence[Study]) -> None:
    points, window = [study.point for study in studies], _window(studies)
    if name in model_problems.names():
        known = model_problems.get(name)
        points, window = [*points, *known.critical_points], known.window or window
    portrait = plotting.phase_portrait(
        ax,
        studies[0].flow,
        *window,
        trajectories=[study.trajectory for study in studies],
        critical_points=points,
    )
    plotting.loss_colorbar(ax, portrait)


def _window(studies: Sequence[Study]) -> tuple[tuple[float, float], tuple[float, float]]:
    """What all trajectories need, with a margin of a quarter."""
    rows = np.concatenate([plotting.positions(study.trajectory) for study in studies])
    low, high = rows.min(axis=0), rows.max(axis=0)
    margin = 0.25 * np.maximum(high - low, 1e-3 * np.abs(rows).max() or 1.0)
    return tuple(zip(low - margin, high + margin, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws results files; exit code 0, 2 for a wrong call, 4 for a file that cannot be read or written."""
    parser = argparse.ArgumentParser(description="Draws phase portraits of saved runs.")
    parser.add_argument("results", nargs="+", help="results files of flows with two parameters")
    parser.add_argument("-o", "--out", default="portraits.pdf", help="picture to write: .pdf, .png or .svg")
    chosen = parser.parse_args(arguments)
    try:
        written = plotting.save_figure(gallery([store.load(result) for result in chosen.results]), chosen.out)
    except (checks.InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, checks.InputError) else 4
    print(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
