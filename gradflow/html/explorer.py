"""The interactive explorer of a flow with two parameters: one Bokeh document inside the page.

Contours of the loss, the classes of a grid of starts, critical points by kind; a click shows the trajectory of the
nearest start of the grid, which was computed beforehand, and says that it is the nearest one. The only room of the
library that imports bokeh. Draws what :mod:`gradflow.html.tracks` holds; computes nothing but the loss on a grid.
"""

from importlib import resources
from typing import Any

import jax
import numpy as np
from bokeh.document import Document
from bokeh.embed import components
from bokeh.events import DocumentReady, Tap
from bokeh.models import ColumnDataSource, CustomJS, HoverTool
from bokeh.models.annotations import Legend, LegendItem
from bokeh.plotting import figure
from bokeh.resources import Resources
from jax.flatten_util import ravel_pytree

from gradflow.html.blocks import Raw
from gradflow.html.scenes import Scene, names_of
from gradflow.html.tracks import APART, NOTES, Tracks, losses_at
from gradflow.plotting import KIND_MARKERS, OKABE_ITO, class_styles, positions
from gradflow.reporting.words import number
from gradflow.trajectories import Trajectory

MARKERS = {
    "o": "circle", "s": "square", "D": "diamond", "v": "inverted_triangle", "P": "plus", "<": "triangle_dot",
    "p": "hex", ">": "square_dot", "*": "star", "h": "hex_dot", "^": "triangle", "X": "cross", "+": "cross",
}  # fmt: skip
"""Bokeh's names of the markers of :mod:`gradflow.plotting`."""

NUM_CONTOURS, GRID = 14, 81

SIDE, PER_KEY = 640, 21
"""Width of the plot, and what a line of the legend adds to its height, in pixels of the page."""

EVERY = 4
"""Every so many starts along each axis one trajectory is drawn as a streamline."""

LONGEST_NAME = 80
"""Letters of a class's name in the legend; clicking says all of it."""

SAID = {
    "clicked": "You clicked", "start": "Nearest start", "limit": "Ends at", "time": "Flow time", "loss": "Loss",
    "rows": "Drawn", "note": "Note",
}  # fmt: skip
"""What is said of a click: the end of the element's name, and the heading."""


def explorer(scene: Scene, tracks: Tracks, run: Trajectory | None = None) -> tuple[Raw, str]:
    """The explorer's place in the page, and the scripts that fill it.

    Args:
        scene: the flow with its critical points.
        tracks: trajectories from a grid of starts.
        run: a trajectory that is shown from the beginning.
    """
    plot = _plot(scene, tracks)
    legend = _contours(plot, scene, tracks) + _streams(plot, tracks)
    sources = _sources(tracks)
    legend += _classes(plot, tracks)
    legend += _points(plot, scene, tracks) + _path(plot, sources, run)
    look: dict[str, Any] = {"label_text_font_size": "9pt", "spacing": 0, "padding": 4, "margin": 0, "location": "left"}
    plot.add_layout(Legend(items=legend, click_policy="hide", border_line_color=None, **look), "below")
    plot.height = SIDE + PER_KEY * len(legend)
    plot.js_on_event(Tap, CustomJS(args=sources | {"plot": plot}, code=_script("click.js")))
    document = Document()
    document.add_root(plot)
    document.js_on_event(DocumentReady, CustomJS(code=_script("ready.js")))
    script, place = components(plot)
    library = Resources(mode="inline", components=["bokeh"]).render_js()
    return Raw(_said(place, run)), f"{library}\n{script}"


def _script(name: str) -> str:
    return resources.files("gradflow.html").joinpath("templates", name).read_text(encoding="utf-8")


def _plot(scene: Scene, tracks: Tracks) -> Any:
    names = names_of(scene)
    limits: Any = tracks.window
    plot: Any = figure(
        name="explorer", width=SIDE, height=SIDE, sizing_mode="scale_width", max_width=SIDE, title=None,
        x_range=limits[0], y_range=limits[1], tools="pan,wheel_zoom,box_zoom,zoom_in,zoom_out,reset",
        active_scroll=None, active_drag="pan", toolbar_location="above", background_fill_color="white",
        x_axis_label=f"{names[0]} (dimensionless)", y_axis_label=f"{names[1]} (dimensionless)",
    )  # fmt: skip
    plot.toolbar.logo = None
    plot.grid.visible = False
    return plot


def _contours(plot: Any, scene: Scene, tracks: Tracks) -> list[LegendItem]:
    """Lines of equal loss, spaced geometrically above the lowest loss on the grid."""
    x, y = (np.linspace(*limits, GRID) for limits in tracks.window)
    rows = np.stack([axis.ravel() for axis in np.meshgrid(x, y)], axis=1)
    loss = losses_at(scene.flow, tracks.plane, rows).reshape(GRID, GRID)
    above = loss[np.isfinite(loss)] - np.min(loss, initial=np.inf, where=np.isfinite(loss))
    if not len(above) or not above.max() > 0:
        return []
    low = max(float(np.quantile(above[above > 0], 0.03)), 1e-6 * float(above.max()))
    levels = np.min(loss, initial=np.inf, where=np.isfinite(loss)) + np.geomspace(low, float(above.max()), NUM_CONTOURS)
    lines = plot.contour(x, y, np.ma.masked_invalid(loss), levels[:-1], line_color="#5f97c2", line_width=1)
    return [LegendItem(label="lines of equal loss", renderers=[lines.line_renderer])]


def _streams(plot: Any, tracks: Tracks) -> list[LegendItem]:
    """The trajectories of some starts as streamlines, with an arrow in the middle of each."""
    rows, columns = tracks.plane.shape
    chosen = [
        row * columns + column for row in range(EVERY // 2, rows, EVERY) for column in range(EVERY // 2, columns, EVERY)
    ]
    lines = [tracks.points[tracks.rows(start)] for start in chosen]
    drawn = plot.multi_line([list(line[:, 0]) for line in lines], [list(line[:, 1]) for line in lines],
                            line_color="#808080", line_width=1)  # fmt: skip
    wide, high = (high - low for low, high in tracks.window)
    arrows = np.array([_arrow(line / [wide, high]) for line in lines if len(line) > 1]).reshape(-1, 3)
    heads = plot.scatter(arrows[:, 0] * wide, arrows[:, 1] * high, marker="triangle", size=7, angle=arrows[:, 2],
                         fill_color="#808080", line_color=None)  # fmt: skip
    return [LegendItem(label="trajectories of some starts", renderers=[drawn, heads])]


def _arrow(line: np.ndarray) -> tuple[float, float, float]:
    """The middle of the piece in which half of a line's length is reached, and the angle of a triangle there."""
    pieces = np.diff(line, axis=0)
    length = np.cumsum(np.linalg.norm(pieces, axis=1))
    middle = int(np.searchsorted(length, length[-1] / 2))
    x, y = (line[middle] + line[middle + 1]) / 2
    return x, y, float(np.arctan2(pieces[middle, 1], pieces[middle, 0]) - np.pi / 2)


def _sources(tracks: Tracks) -> dict[str, Any]:
    """Starts and rows as the page holds them; single precision is finer than a pixel."""
    small = lambda values: np.asarray(values, np.float32)  # noqa: E731
    estimate = tracks.estimate
    starts = {
        "x": small(tracks.starts[:, 0]), "y": small(tracks.starts[:, 1]), "first": tracks.first[:-1].astype(np.int32),
        "last": tracks.first[1:].astype(np.int32), "code": tracks.codes.astype(np.int32),
        "ending": np.array([list(NOTES).index(ending) for ending in tracks.endings], np.int32),
        "reason": list(tracks.reasons),
    }  # fmt: skip
    rows = {
        "x": small(tracks.points[:, 0]),
        "y": small(tracks.points[:, 1]),
        "t": small(tracks.times),
        "loss": small(tracks.losses),
    }
    names = {"labels": list(estimate.labels), "notes": list(NOTES.values())}
    return {
        "starts": ColumnDataSource(starts, name="starts"),
        "rows": ColumnDataSource(rows, name="rows"),
        "path": ColumnDataSource({"x": [], "y": [], "t": [], "loss": []}, name="path"),
        "marks": ColumnDataSource({"x": [], "y": [], "text": []}, name="marks"),
        "chosen": ColumnDataSource({"x": [], "y": []}, name="chosen"),
        **names,
    }


def _classes(plot: Any, tracks: Tracks) -> list[LegendItem]:
    """The starts of each class: a colour and a marker, in the legend with its name."""
    estimate, items = tracks.estimate, []
    drawn: list[Any] = []
    losses = tracks.losses[tracks.first[:-1]]
    for code, (label, style) in enumerate(zip(estimate.labels, class_styles(estimate.labels), strict=True)):
        mine = np.flatnonzero(tracks.codes == code)
        if not len(mine):
            continue
        source = ColumnDataSource({
            "x": tracks.starts[mine, 0].astype(np.float32), "y": tracks.starts[mine, 1].astype(np.float32),
            "loss": losses[mine].astype(np.float32), "limit": [label] * len(mine),
        })  # fmt: skip
        drawn.append(plot.scatter("x", "y", source=source, marker=MARKERS[style.marker], size=5, fill_color=style.color,
                                  fill_alpha=0.9, line_color="#303030", line_width=0.4))  # fmt: skip
        items.append(LegendItem(label=_short(label), renderers=[drawn[-1]]))
    tips = [("start", "(@x{0.0000}, @y{0.0000})"), ("loss at the start", "@loss{0.000000}"), ("ends at", "@limit")]
    plot.add_tools(HoverTool(renderers=drawn, tooltips=tips, visible=False, attachment="above"))
    return items


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_NAME else label[: LONGEST_NAME - 3] + "..."


def _path(plot: Any, sources: dict[str, Any], run: Trajectory | None) -> list[LegendItem]:
    items = []
    if run is not None:
        x, y = positions(run).astype(np.float32).T
        blue = OKABE_ITO["blue"]
        own = plot.line(x, y, line_color=blue, line_width=2.5, line_dash="dashed")
        first = plot.scatter(x[:1], y[:1], marker="circle", size=9, fill_color=blue, line_color="white")
        items.append(LegendItem(label="the run of this report", renderers=[own, first]))
    path = sources["path"]
    halo = plot.line("x", "y", source=path, line_color="white", line_width=5)
    line = plot.line("x", "y", source=path, line_color="black", line_width=2)
    rows: Any = plot.scatter("x", "y", source=path, size=6, fill_color="white", line_color="black", line_width=1.2)
    start = plot.scatter("x", "y", source=sources["chosen"], size=11, fill_color="black", line_color="white")
    behind: dict[str, Any] = {"background_fill_color": "white", "background_fill_alpha": 0.75}
    look: dict[str, Any] = {"text_font_size": "9pt", "text_color": "black", "x_offset": 7, "y_offset": -3} | behind
    plot.text("x", "y", "text", source=sources["marks"], **look)
    tips = [("flow time", "@t{0.0000a}"), ("loss", "@loss{0.000000}"), ("at", "(@x{0.0000}, @y{0.0000})")]
    plot.add_tools(HoverTool(renderers=[rows], tooltips=tips, visible=False, attachment="below"))
    return [*items, LegendItem(label="trajectory of the start that was clicked", renderers=[halo, line, rows, start])]


def _points(plot: Any, scene: Scene, tracks: Tracks) -> list[LegendItem]:
    """Critical points by kind: those of the scene, and the isolated limits that the grid's starts found."""
    places: dict[str, list[np.ndarray]] = {}
    for point in scene.points:
        places.setdefault(point.kind, []).append(np.asarray(ravel_pytree(jax.tree.map(np.asarray, point.params))[0]))
    estimate = tracks.estimate
    for label, kind, end in zip(estimate.labels, estimate.kinds, estimate.ends, strict=True):
        if kind in KIND_MARKERS and " at (" in label and np.isfinite(end).all():
            places.setdefault(kind, []).append(end)
    items = []
    for kind, found in places.items():
        look = KIND_MARKERS[kind]
        x, y = np.stack(found).T
        marks = [plot.scatter(x, y, **shape) for shape in _mark(look["marker"], look["markerfacecolor"])]
        items.append(LegendItem(label=kind.replace("_", " ").replace("nonstrict", "non-strict"), renderers=marks))
    return items


def _mark(marker: str, color: str) -> list[dict[str, Any]]:
    """The look of a kind of critical point; a cross is drawn twice, to have an outline as the others."""
    if marker in "X+":
        crossed: dict[str, Any] = {"marker": "x", "line_cap": "square"}
        inner = color if color != "none" else "white"
        return [crossed | {"size": 15, "line_color": "black", "line_width": 6},
                crossed | {"size": 14, "line_color": inner, "line_width": 3}]  # fmt: skip
    return [{"marker": MARKERS[marker], "size": 14, "fill_color": color, "line_color": "black", "line_width": 1.5}]


def _said(place: str, run: Trajectory | None) -> str:
    """The place of the plot, beside it what is said of a click; both are hidden until the scripts run."""
    rows = "".join(f'<tr><th scope="row">{text}</th><td id="said-{name}"></td></tr>' for name, text in SAID.items())
    shown = " The dashed line is the run of this report." * (run is not None)
    invitation = f"Click anywhere: the trajectory of the nearest start is shown, with what it tends to.{shown}"
    return (
        f'<div class="explorer"><div class="plot">{place}</div>'
        f'<div class="said" aria-live="polite"><p id="said-how">{invitation}</p>'
        '<table class="facts" id="said-all" hidden><caption>The chosen start</caption>'
        f"<tbody>{rows}</tbody></table></div></div>"
    )


def summary_of(tracks: Tracks, is_interactive: bool = True) -> str:
    """What a reader should know of the explorer, in one paragraph."""
    rows, columns = tracks.plane.shape
    facts = tracks.estimate.facts
    apart = tracks.count(APART)
    come = "one of them comes" if apart == 1 else f"{apart} of them come"
    doubt = f" Integrated a second time {come} to another end; where that is so, the note says so." * bool(apart)
    click = " A click picks the nearest of them and shows its own trajectory; nothing is interpolated between starts."
    return (
        f"{rows * columns:,} starts on a grid of {columns} by {rows} cells were followed to their limits for this page "
        f"(rtol {number(float(facts['rtol']))}, at most {facts['max_steps']:,} steps each).{doubt}"
        f"{click * is_interactive} Shares of cells are shares of this window's area."
    )
