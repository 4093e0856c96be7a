"""Work-precision diagrams: achieved error against CPU time and against evaluations, a panel a problem.

gradflow's own solvers have solid lines and filled markers, peers dashed lines and open ones; the automatic choice is
thick and black. Colours are of Okabe and Ito's palette; every method also has a marker of its own, for grey prints.
"""

import math
from pathlib import Path
from typing import Any

import problems

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
MARKERS = "osD^vP<X>ph8d"


def write(folder: Path, stem: str, rows: list[Any], names: list[str]) -> list[tuple[Path, str]]:
    """Draws networks and DETEST apart, times and evaluations apart; the files with their titles."""
    import matplotlib as mpl

    mpl.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    groups = {"": [name for name in names if not name.startswith("detest")],
              "_detest": [name for name in names if name.startswith("detest")]}  # fmt: skip
    written = []
    for suffix, group in groups.items():
        for kind, words in (("time", "CPU seconds"), ("work", "evaluations")):
            if group:
                image = folder / f"{stem}{suffix}_{kind}.png"
                _draw(image, [row for row in rows if row.problem in group], group, kind)
                written.append((image, f"achieved error against {words}"))
    return written


def work(row: Any) -> float | None:
    """Evaluations in units of a gradient: two for a Hessian-vector product, n for a dense Hessian. None if not counted.

    n is what differences would cost, and somewhat less than compiled forward differentiation does.
    """
    if "gradients" not in row.counts:
        return None
    counts, dim = row.counts, problems.get(row.problem).dim
    return float(counts["gradients"] + 2 * counts.get("products", 0) + dim * counts.get("hessians", 0))


def _draw(image: Path, rows: list[Any], names: list[str], kind: str) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    value = (lambda row: row.cpu) if kind == "time" else work
    shown = [row for row in rows if row.error is not None and not row.note and value(row)]
    labels = {row.method: row.label for row in shown}
    looks = _looks([name for name in labels if _is_own(shown, name)], [n for n in labels if not _is_own(shown, n)])
    columns = min(3, len(names)) if len(names) < 7 else 4
    lines = math.ceil(len(names) / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(4.6 * columns, 3.9 * lines + 1.6), squeeze=False)
    for panel in axes.flat[len(names) :]:
        panel.set_visible(False)
    for panel, name in zip(axes.flat, names, strict=False):
        for method, style in looks.items():
            points = sorted((max(row.error, 1e-16), value(row)) for row in shown
                            if (row.problem, row.method) == (name, method))  # fmt: skip
            if points:
                panel.plot(*zip(*points, strict=True), **style)
        panel.set(xscale="log", yscale="log", title=name)
        panel.invert_xaxis()
        panel.xaxis.set_major_locator(LogLocator(numticks=9))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(True, which="major", color="0.9")
    for panel in axes[:, 0]:
        panel.set_ylabel("CPU seconds" if kind == "time" else "gradients + 2 products + n Hessians")
    for index in range(len(names)):
        if index + columns >= len(names):
            axes.flat[index].set_xlabel("achieved error (more accurate to the right)")
    handles = [plt.Line2D([], [], label=labels[method], **style) for method, style in looks.items()]
    across = 5 if columns == 4 else 4
    height = (0.22 * math.ceil(len(handles) / across) + 0.15) / figure.get_figheight()
    figure.legend(handles=handles, loc="lower center", ncols=across, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, height, 1, 1))
    figure.savefig(image, dpi=90)
    plt.close(figure)


def _is_own(rows: list[Any], method: str) -> bool:
    return next(row.is_own for row in rows if row.method == method)


def _looks(own: list[str], peers: list[str]) -> dict[str, dict]:
    """Line styles by method: colours and markers are cycled with different periods, so that no pair repeats."""
    looks: dict[str, dict] = {}
    for index, name in enumerate(name for name in own if name != "auto"):
        colour = COLOURS[index % len(COLOURS)]
        looks[name] = {"color": colour, "marker": MARKERS[index % len(MARKERS)], "linestyle": "-", "linewidth": 1.1,
                       "markersize": 4.5}  # fmt: skip
    for index, name in enumerate(peers):
        colour = COLOURS[index % len(COLOURS)]
        looks[name] = {"color": colour, "marker": MARKERS[index % len(MARKERS)], "linestyle": "--", "linewidth": 0.9,
                       "markersize": 5.5, "markerfacecolor": "white"}  # fmt: skip
    if "auto" in own:
        looks["auto"] = {"color": "black", "marker": "*", "linestyle": "-", "linewidth": 2.4, "markersize": 9,
                         "zorder": 5}  # fmt: skip
    return looks
