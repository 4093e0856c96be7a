"""Draws basin maps beside phase portraits: ``python figures/basins_beside_portraits.py -o basins.pdf``.

Above, a landscape of two parameters. Below, Example 1 of paper 002 on a plane of its four parameters: the streamlines
are those of the field's part in the plane, the trajectories those of the full flow, projected; they leave the plane, so
they may cross. No experiment measures these planes, so they are computed here, in half a minute; with ``--planes FILE``
they are kept in a file, and drawn from it when it is there.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import gradflow as gf
from gradflow import checks, plotting
from gradflow.phase_planes import Plane, parameter_plane, phase_plane, plane_through
from gradflow.plotting.planes import distinct_keys

STARTS = ((-0.7, -0.7), (0.8, 0.2), (0.1, 0.9), (-0.6, 0.55), (0.7, -0.6), (-0.9, 0.1), (0.9, 0.9), (-0.2, -0.9))
"""Starts of the trajectories as parts of the half ranges."""

RESOLUTION = 160
"""Cells of the maps along each axis."""


def himmelblau() -> tuple[Plane, gf.samplers.Slice, str]:
    """Himmelblau's function on its window."""
    model = gf.model_problems.get("himmelblau")
    cells = gf.samplers.Slice(0.0, ranges=model.window, resolution=RESOLUTION, like=2)
    return parameter_plane(gf.GradientFlow(model.problem)), cells, "Himmelblau's function"


def example_1() -> tuple[Plane, gf.samplers.Slice, str]:
    """One ReLU unit on two orthogonal inputs: the plane of the two inner weights, the outer ones fixed."""
    problem = gf.Regression(gf.networks.Shallow((2, 1, 2), activation="relu"), np.eye(2), np.diag([2.0, 1.0]))
    outer, ranges = np.array([-0.5, 0.4]), ((-1.5, 1.5), (-1.5, 1.5))
    cells = gf.samplers.Slice(np.append(np.zeros(2), outer), np.eye(4)[:2], ranges, RESOLUTION, like=problem)
    nothing = np.zeros((2, 1))
    plane = plane_through(
        gf.GradientFlow(problem), (np.zeros((1, 2)), outer[:, None]),
        ((np.eye(2)[:1], nothing), (np.eye(2)[1:], nothing)), ("$a_1$", "$a_2$"),
    )  # fmt: skip
    return plane, cells, "ReLU Example 1 at $A_2=(-0.5,0.4)$"


PANELS: dict[str, Callable[[], tuple[Plane, gf.samplers.Slice, str]]] = {
    "himmelblau": himmelblau,
    "example_1": example_1,
}


def computed(made: tuple[Plane, gf.samplers.Slice, str]) -> xr.Dataset:
    """A plane with its portrait and, on the cells of the slice, the classes of their limits."""
    plane, cells, title = made
    found = gf.estimate_basins(plane.flow, cells, 0, cells.size, progress=False, num_rechecked=0)
    assert found.codes is not None
    (left, right), (bottom, top) = cells.ranges
    half, middle = np.array([right - left, top - bottom]) / 2, np.array([right + left, top + bottom]) / 2
    held = phase_plane(plane, *cells.ranges, starts=[tuple(middle + half * part) for part in STARTS],
                       with_nullclines=False)  # fmt: skip
    codes = (("cell_y", "cell_x"), found.codes.reshape(cells.shape).astype(np.int16))
    return held.assign(cell=codes, cell_class=("class", list(found.labels))).assign_attrs(
        title=title, extent=[float(edge) for edge in cells.extent]
    )


def panels(path: Path | None) -> dict[str, xr.Dataset]:
    """The planes from a file, or computed; and then kept in that file."""
    if path is not None and path.exists():
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            return {name: node.to_dataset().load() for name, node in tree.children.items()}
    found = {name: computed(make()) for name, make in PANELS.items()}
    if path is not None:
        xr.DataTree.from_dict({f"/{name}": held for name, held in found.items()}).to_netcdf(path, engine="h5netcdf")
    return found


def page(found: dict[str, xr.Dataset]) -> Figure:
    """A row for each plane: the map on the left, the portrait on the right."""
    with plotting.style():
        figure = Figure(figsize=plotting.figure_size(2, aspect=1.13, rows=len(found)), layout="constrained")
        keys = []
        for (left, right), held in zip(figure.subplots(len(found), 2), found.values(), strict=True):
            names = [str(name) for name in held.cell_class.values]
            drawn = plotting.plane_portrait(right, held, density=0.8)
            keys += drawn.keys
            labels = (right.get_xlabel(), right.get_ylabel())
            plotting.basin_map(left, held.cell.values, names, extent=tuple(held.attrs["extent"]), legend="above",
                               axis_labels=labels)  # fmt: skip
        figure.legend(handles=distinct_keys(keys), loc="outside lower center", ncols=3)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the page; exit code 0, 2 for a wrong call, 4 for a file that cannot be read or written."""
    parser = argparse.ArgumentParser(description="Draws basin maps beside phase portraits.")
    parser.add_argument("-o", "--out", default="basins_beside_portraits.pdf", help="picture: .pdf, .png or .svg")
    parser.add_argument("--planes", type=Path, help="file to draw from or, where it is missing, to keep the planes in")
    parser.add_argument("--dpi", type=float, default=300.0, help="dots per inch of a .png")
    chosen = parser.parse_args(arguments)
    try:
        written = plotting.save_figure(page(panels(chosen.planes)), chosen.out, dpi=chosen.dpi)
    except (checks.InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, checks.InputError) else 4
    print(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
