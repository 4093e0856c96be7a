"""Draws gradient descent beside its flow on real data: ``python figures/descent_beside_flow.py -o descent.pdf``.

Left, distances to the flow and to the modified flow against flow time at several learning rates; middle, the largest
distances against the learning rate; right, the drift of the invariants. A row for each network of
``experiments/descent_beside_flow.py``, which computes them.
"""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gradflow import checks, plotting
from gradflow.plotting.descent import descent_distance, descent_drift, descent_orders
from gradflow.plotting.styles import figure_size, style


def experiment() -> Any:
    """The experiment's module."""
    path = Path(__file__).resolve().parent.parent / "experiments" / "descent_beside_flow.py"
    specification = importlib.util.spec_from_file_location("experiment_descent_beside_flow", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def page(results: dict[str, list[Any]]) -> Figure:
    """A row of three panels for each network."""
    with style():
        figure = Figure(figsize=figure_size(2, aspect=0.72, rows=len(results)), layout="constrained")
        axes = figure.subplots(len(results), 3, squeeze=False)
        for row, (network, several) in zip(axes, results.items(), strict=True):
            followed = [found for found in several if found.sharpest < found.rule.stability_limit]
            descent_distance(row[0], followed[-4:])
            descent_orders(row[1], followed)
            descent_drift(row[2], followed)
            row[0].annotate(network, (0.0, 1.0), (-32.0, 30.0), "axes fraction", textcoords="offset points",
                            fontweight="bold")  # fmt: skip
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the page; exit code 0, 2 for a wrong call, 4 for a file that cannot be written."""
    parser = argparse.ArgumentParser(description="Draws gradient descent beside its flow.")
    parser.add_argument("-o", "--out", default="descent_beside_flow.pdf", help="picture: .pdf, .png or .svg")
    parser.add_argument("--tiny", action="store_true", help="the quick version of the experiment")
    chosen = parser.parse_args(arguments)
    module = experiment()
    settings = module.Settings.tiny() if chosen.tiny else module.Settings()
    try:
        written = plotting.save_figure(page(module.run(settings)), chosen.out)
    except (checks.InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, checks.InputError) else 4
    print(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
