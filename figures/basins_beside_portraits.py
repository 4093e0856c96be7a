"""Draws basin maps beside phase portraits: ``python figures/basins_beside_portraits.py -o basins.pdf``.

Above, a landscape of two parameters. Below, Example 1 of paper 002 on a plane of its four parameters: the streamlines
are those of the flow's projection on the plane (the gradient of the loss restricted to it), the trajectories those of
the full flow, projected; they leave the plane, so they may cross.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

import gradflow as gf
from gradflow import checks, plotting
from gradflow.naming.evaluation import evaluator
from gradflow.plotting.basins import basin_map
from gradflow.plotting.styles import figure_size, style

STARTS = ((-0.7, -0.7), (0.8, 0.2), (0.1, 0.9), (-0.6, 0.55), (0.7, -0.6), (-0.9, 0.1), (0.9, 0.9), (-0.2, -0.9))
"""Starts of the trajectories as parts of the half ranges."""


def landscape() -> tuple[gf.GradientFlow, gf.samplers.Slice]:
    """Himmelblau's function on its window."""
    model = gf.model_problems.get("himmelblau")
    return gf.GradientFlow(model.problem), gf.samplers.Slice(0.0, ranges=model.window, resolution=160, like=2)


def example_1() -> tuple[gf.GradientFlow, gf.samplers.Slice]:
    """One ReLU unit on two orthogonal inputs: the plane of the two inner weights, the outer ones fixed."""
    problem = gf.Regression(gf.networks.Shallow((2, 1, 2), activation="relu"), np.eye(2), np.diag([2.0, 1.0]))
    directions = np.eye(4)[:2]
    plane = gf.samplers.Slice(
        np.array([0.0, 0.0, -0.5, 0.4]), directions, ((-1.5, 1.5), (-1.5, 1.5)), 160, like=problem
    )
    return gf.GradientFlow(problem), plane


def on_plane(flow: gf.GradientFlow, plane: gf.samplers.Slice) -> gf.GradientFlow:
    """The flow of the loss restricted to an orthonormal plane."""
    start = plane.starts(0, [0])
    unflatten = evaluator(flow.problem, start).unflatten

    def restricted(place):
        state = unflatten((plane.origin + place @ plane.directions)[None])
        return flow.problem.loss(tuple(leaf[0] for leaf in state) if isinstance(state, tuple) else state[0])

    return gf.GradientFlow(gf.Landscape(restricted))


def runs(flow: gf.GradientFlow, plane: gf.samplers.Slice) -> list[np.ndarray]:
    """Trajectories from a few starts of the plane, as seen on it."""
    (left, right), (bottom, top) = plane.ranges
    unflatten = evaluator(flow.problem, plane.starts(0, [0])).unflatten
    found = []
    for across, up in STARTS:
        place = np.array(
            [(left + right) / 2 + across * (right - left) / 2, (bottom + top) / 2 + up * (top - bottom) / 2]
        )
        state = unflatten((plane.origin + place @ plane.directions)[None])
        start = tuple(leaf[0] for leaf in state) if isinstance(state, tuple) else state[0]
        run = gf.integrate(flow, start, progress=False)
        rows = [np.concatenate([np.ravel(leaf) for leaf in leaves]) for leaves in _states(run.params)]
        found.append((np.stack(rows) - plane.origin) @ np.linalg.pinv(plane.directions))
    return found


def _states(params):
    leaves = params if isinstance(params, tuple) else (params,)
    return zip(*leaves, strict=True)


def page() -> Figure:
    """Both problems: the map on the left, the portrait on the right."""
    with style():
        figure = Figure(figsize=figure_size(2, aspect=1.05, rows=2), layout="constrained")
        axes = figure.subplots(2, 2)
        for (left, right), (flow, plane) in zip(axes, (landscape(), example_1()), strict=True):
            found = gf.estimate_basins(flow, plane, 0, plane.size, progress=False, num_rechecked=0)
            assert found.codes is not None
            basin_map(left, found.codes.reshape(plane.shape), found.labels, extent=plane.extent, legend="above",
                      axis_labels=plane.axis_labels)  # fmt: skip
            plotting.phase_portrait(
                right, on_plane(flow, plane), *plane.ranges, trajectories=runs(flow, plane), density=0.8
            )
            right.set_xlabel(plane.axis_labels[0])
            right.set_ylabel(plane.axis_labels[1])
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the page; exit code 0, 2 for a wrong call, 4 for a file that cannot be written."""
    parser = argparse.ArgumentParser(description="Draws basin maps beside phase portraits.")
    parser.add_argument("-o", "--out", default="basins_beside_portraits.pdf", help="picture: .pdf, .png or .svg")
    chosen = parser.parse_args(arguments)
    try:
        written = plotting.save_figure(page(), chosen.out)
    except (checks.InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, checks.InputError) else 4
    print(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
