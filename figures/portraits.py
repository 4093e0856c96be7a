"""Draws the gallery of phase portraits: ``python figures/portraits.py portraits.nc -o FOLDER``.

Everything comes from the saved planes. They are computed by ``python figures/portraits.py --compute portraits.nc``
(some ten minutes); with ``--only NAME`` a single page or panel is computed, into the same file; a page is drawn.
"""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from gradflow import checks, plotting
from gradflow.plotting.planes import cone_key, distinct_keys

LEVELS: dict[str, tuple[float, ...]] = {
    "target_one": (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0),
    "target_zero": (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0),
    "balanced_chain": (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0),
    "tanh_reachable": (-16.0, -4.0, -1.0, 0.0, 1.0, 4.0),
    "tanh_at_edge": (-16.0, -4.0, -1.0, 0.0, 1.0, 4.0),
    "tanh_unreachable": (-16.0, -4.0, -1.0, 0.0, 1.0, 4.0),
}
"""Values of the invariant whose level lines are drawn."""


FORMATS = ("pdf", "png")
"""Formats whose files are the same to the byte when they are drawn again."""


def planes() -> Any:
    """The module that computes the planes."""
    path = Path(__file__).resolve().parent / "portrait_planes.py"
    specification = importlib.util.spec_from_file_location("portrait_planes", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def compute(path: Path, only: str | None) -> None:
    """Computes panels and adds them to the file, those already in it replaced; in the gallery's order."""
    pages = {page: {panel.__name__: panel for panel in panels} for page, panels in planes().PAGES.items()}
    known = [*pages, *(name for panels in pages.values() for name in panels)]
    wanted = known if only is None else [checks.choice("--only", only, known)]
    held = load(path) if path.exists() else {}
    for page, panels in pages.items():
        for name, panel in panels.items():
            if page in wanted or name in wanted:
                held.setdefault(page, {})[name] = panel()
    tree = {f"/{page}/{name}": held[page][name] for page, panels in pages.items() for name in panels
            if name in held.get(page, {})}  # fmt: skip
    unfinished = path.with_name(path.name + ".part")
    xr.DataTree.from_dict(tree).to_netcdf(unfinished, engine="h5netcdf")
    unfinished.replace(path)


def load(path: Path) -> dict[str, dict[str, xr.Dataset]]:
    """The saved planes by page and panel."""
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        return {page: {name: node.to_dataset().load() for name, node in branch.children.items()}
                for page, branch in tree.children.items()}  # fmt: skip


def draw(panels: dict[str, xr.Dataset]) -> Figure:
    """A page: two panels in a row, one legend for all below them."""
    rows = -(-len(panels) // 2)
    with plotting.style():
        figure = Figure(figsize=plotting.figure_size(2, aspect=0.98 + 0.3 / rows, rows=rows), layout="constrained")
        keys: list[Any] = []
        for letter, ax, (name, data) in zip("abcdef", figure.subplots(rows, 2).ravel(), panels.items(), strict=False):
            levels = {"c": LEVELS[name]} if name in LEVELS else None
            shade = "basins" if "basin" in data else "loss"
            portrait = plotting.plane_portrait(ax, data, shade=shade, levels=levels)
            keys += portrait.keys
            cones = [str(held) for held in data.name.values if str(held).startswith("preactivation")]
            if cones:
                plotting.cone_lines(ax, data, cones)
                keys.append(cone_key())
            ax.set_title(f"{letter}   {ax.get_title(loc='left')}", loc="left")
        figure.legend(handles=distinct_keys(keys), loc="outside lower center", ncols=3)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws (or computes) the gallery; exit code 0, 2 for a wrong call, 4 for a file that cannot be read or written."""
    parser = argparse.ArgumentParser(description="Draws the gallery of phase portraits.")
    parser.add_argument("planes", help="the file of saved planes, e.g. portraits.nc")
    parser.add_argument("-o", "--out", default=".", help="folder for the pictures, one for each page")
    parser.add_argument("--compute", action="store_true", help="compute the planes into the file instead of drawing it")
    parser.add_argument("--only", metavar="NAME", help="one page, or one panel to compute")
    parser.add_argument("--format", default="pdf", choices=FORMATS)
    parser.add_argument("--dpi", type=float, default=300.0, help="dots per inch of a .png")
    chosen = parser.parse_args(arguments)
    path = Path(chosen.planes)
    try:
        if chosen.compute:
            compute(path, chosen.only)
            print(path)
            return 0
        pages = load(path)
        if chosen.only:
            pages = {chosen.only: pages[checks.choice("--only", chosen.only, pages)]}
        for page, panels in pages.items():
            target = Path(chosen.out) / f"portraits_{page}.{chosen.format}"
            print(plotting.save_figure(draw(panels), target, dpi=chosen.dpi))
    except (checks.InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, checks.InputError) else 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
