"""Phase portraits of flows with two parameters: streamlines, contours of the loss, critical points by kind.

The vector field and the loss are evaluated on a grid; nothing is integrated, and trajectories are drawn as they are
given. Critical points are told apart by the shape of their markers, so that a grey copy says the same.
"""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.contour import QuadContourSet
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.streamplot import StreamplotSet

from gradflow import checks
from gradflow.flow import AbstractFlow
from gradflow.plotting.axes import legend_above, number, require_axes
from gradflow.plotting.styles import OKABE_ITO
from gradflow.precision import in_double
from gradflow.problem import AbstractProblem, Landscape

KIND_MARKERS: dict[str, dict[str, Any]] = {
    "global_minimum": {"marker": "o", "markerfacecolor": OKABE_ITO["green"], "markersize": 7.5},
    "local_minimum": {"marker": "o", "markerfacecolor": OKABE_ITO["sky"], "markersize": 5.5},
    "spurious_minimum": {"marker": "p", "markerfacecolor": OKABE_ITO["orange"]},
    "strict_saddle": {"marker": "X", "markerfacecolor": OKABE_ITO["vermillion"], "markersize": 7.0},
    "nonstrict_saddle": {"marker": "D", "markerfacecolor": OKABE_ITO["vermillion"]},
    "maximum": {"marker": "^", "markerfacecolor": OKABE_ITO["purple"]},
    "degenerate": {"marker": "s", "markerfacecolor": "white"},
    "not_critical": {"marker": "+", "markerfacecolor": "none"},
    "undetermined": {"marker": "h", "markerfacecolor": "white"},
}
"""How each kind of critical point is marked: filled when decided, hollow when the Hessian leaves it open."""


REVERSAL = -0.5
"""Cosine between the directions at neighbouring grid points below which the flow counts as turning back."""

LOSS_SHADES = ("#a9cbe3", "#d9e8f3", "#ffffff")
"""Shades from low to high loss."""

LOSS_LINES = "#7fa3bd"
"""Colour of lines of equal loss."""


class Portrait(NamedTuple):
    """The artists of a phase portrait."""

    streamlines: StreamplotSet
    contours: QuadContourSet | None
    trajectories: list[Line2D]
    critical_points: list[Line2D]
    references: list[Artist]


def phase_portrait(
    ax: Axes,
    flow: AbstractFlow,
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    *,
    trajectories: Iterable[Any] = (),
    critical_points: Iterable[Any] = (),
    levels: int | Sequence[float] = 14,
    template: Any = None,
    resolution: int = 121,
    density: float = 1.0,
    time_marks: Sequence[float] = (),
) -> Portrait:
    """The flow's streamlines (wider where it is faster), contours of the loss, critical points and trajectories.

    Args:
        ax: axes to draw on; their limits become `xlim` and `ylim`, whatever is drawn on top.
        flow: any flow whose parameters are two numbers.
        xlim: range of the first parameter.
        ylim: range of the second parameter.
        trajectories: results of ``gradflow.integrate``, or arrays ``(k, 2)``; starts are small dots.
        critical_points: results of ``gradflow.classify`` or ``KnownCriticalPoint``; those inside the limits are
            marked by kind and explained in a legend above the axes.
        levels: number of loss contours, spaced geometrically above the lowest loss on the grid, or the losses.
        template: a pytree like the flow's parameters, to be filled row-major with the two numbers; by default the
            network's shapes, or an array of shape (2,).
        resolution: grid points per axis.
        density: of streamlines, 1 for a column's width.
        time_marks: flow times marked along the trajectories that have times (linear between their rows).

    Raises:
        InputError: the flow does not have exactly two parameters, limits that are not increasing, or levels that do
            not increase.
    """
    require_axes(ax)
    limits = _limits("xlim", xlim), _limits("ylim", ylim)
    resolution = checks.integer("resolution", resolution, at_least=2)
    template = _template(flow, template)
    x, y = (np.linspace(*limit, resolution) for limit in limits)
    loss, velocity = _on_grid(flow, template, x, y)
    contours = draw_contours(ax, x, y, loss, levels)
    streamlines = draw_streamlines(ax, x, y, velocity, density)
    paths, marks = _paths(ax, trajectories, time_marks)
    points = _critical_points(ax, critical_points, limits)
    ax.set_xlim(*limits[0])
    ax.set_ylim(*limits[1])
    symbol = "w" if hasattr(flow.problem, "network") else "\\theta"
    ax.set_xlabel(f"${symbol}_1$ (dimensionless)")
    ax.set_ylabel(f"${symbol}_2$ (dimensionless)")
    keys = _keys(points, paths, marks)
    if keys:
        legend_above(ax, keys)
    return Portrait(streamlines, contours, paths, points, marks)


def loss_colorbar(ax: Axes, portrait: Portrait) -> Colorbar | None:
    """A bar beside the axes that says which losses the shades of a portrait mean; None where there are no shades."""
    if portrait.contours is None:
        return None
    levels = portrait.contours.levels
    ticks = levels[:: max(1, -(-len(levels) // 8))]
    bar = ax.figure.colorbar(portrait.contours, ax=ax, ticks=ticks, drawedges=True, extendfrac=0.0)
    bar.set_ticks(ticks, labels=[number(float(tick)) for tick in ticks])
    bar.set_label("loss $L$")
    bar.dividers.set(color="#7fa3bd", linewidth=0.4)
    return bar


def positions(trajectory: Any, name: str = "trajectory") -> np.ndarray:
    """The two parameters at every row of a trajectory, ``(k, 2)``.

    Args:
        trajectory: a result of ``gradflow.integrate``, or an array ``(k, 2)``.
        name: what an error message calls it.

    Raises:
        InputError: other than two parameters.
    """
    params = getattr(trajectory, "params", trajectory)
    leaves = [np.asarray(leaf, dtype=float) for leaf in jax.tree.leaves(params)]
    points = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves if leaf.ndim], axis=1)
    checks.require(
        points.shape[1] == 2, name, "have two parameters per row", f"{points.shape[1]}", "Arrays have shape (k, 2)."
    )
    return points


def _limits(name: str, limits: tuple[float, float]) -> tuple[float, float]:
    checks.require(np.shape(limits) == (2,), name, "be two numbers (low, high)", repr(limits))
    low, high = (checks.real(f"{name}[{index}]", limit) for index, limit in enumerate(limits))
    checks.require(low < high, name, "increase", (low, high))
    return low, high


def _template(flow: AbstractFlow, template: Any) -> Any:
    """A pytree of two numbers on which the flow's field is defined."""
    checks.require(
        isinstance(flow, AbstractFlow),
        "flow",
        "be a flow",
        type(flow).__name__,
        "Wrap a problem as GradientFlow(problem).",
    )
    if template is None:
        network = getattr(flow.problem, "network", None)
        template = np.zeros(2) if network is None else tuple(np.zeros(shape) for shape in network.shapes)
    count = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(template))
    remedy = "A phase portrait is a picture of two parameters; for more, draw gradflow.plotting.overview(study)."
    checks.require(count == 2, "flow", "have exactly two parameters", f"{count} of them", remedy)
    template = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf)), template)
    beyond = _reads_beyond(flow.problem, template)
    checks.require(not beyond, "flow", "have exactly two parameters", "a landscape of more", remedy)
    try:
        field = jax.eval_shape(flow.vector_field, jax.tree.map(jnp.asarray, template))
    except (TypeError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise checks.InputError(
            f"`flow` must be defined for two parameters of the shape of `template`, but got: {first}. {remedy} "
            "If the two parameters are a pytree, pass one like it as template=."
        ) from error
    shapes = [[np.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (field, template)]
    checks.require(shapes[0] == shapes[1], "flow", f"have velocities of shapes {shapes[1]}", shapes[0], remedy)
    return template


def _reads_beyond(problem: AbstractProblem, template: Any) -> bool:
    """True for a landscape of more parameters: JAX clamps an index in silence, NumPy raises."""
    if not isinstance(problem, Landscape):
        return False
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem.fun(template)
    except IndexError as error:
        return "out of bounds" in str(error)
    except Exception:  # whatever else plain NumPy cannot do is nobody's mistake
        return False
    return False


@in_double
def _on_grid(flow: AbstractFlow, template: Any, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses ``(y, x)`` and velocities ``(2, y, x)``; rows follow y, as matplotlib wants them."""
    unravel = ravel_pytree(jax.tree.map(jnp.asarray, template))[1]
    points = jnp.stack([axis.ravel() for axis in np.meshgrid(x, y)], axis=1)

    def at(point: jax.Array) -> tuple[jax.Array, jax.Array]:
        params = unravel(point)
        return jnp.asarray(flow.problem.loss(params)), ravel_pytree(flow.vector_field(params))[0]

    loss, velocity = jax.jit(jax.vmap(at))(points)
    shape = len(y), len(x)
    return np.asarray(loss).reshape(shape), np.asarray(velocity).T.reshape(2, *shape)


def draw_contours(
    ax: Axes, x: np.ndarray, y: np.ndarray, loss: np.ndarray, levels: int | Sequence[float], is_filled: bool = True
) -> QuadContourSet | None:
    """Shades from blue (low) to white (high) between lines of equal loss, or the lines; None where it is constant."""
    finite = loss[np.isfinite(loss)]
    if not len(finite) or np.ptp(finite) == 0:
        return None
    if np.ndim(levels) == 0:
        above = finite - finite.min()
        low = max(float(np.quantile(above[above > 0], 0.03)), 1e-6 * float(above.max()))
        offsets = np.geomspace(low, float(above.max()), checks.integer("levels", levels))
        chosen = finite.min() + np.append(0.0, offsets)
    else:
        chosen = np.asarray(levels, dtype=float)
        increasing = chosen.ndim == 1 and np.isfinite(chosen).all() and (np.diff(chosen) > 0).all()
        checks.require(bool(increasing), "levels", "be a number or increasing losses", levels)
    masked = np.ma.masked_invalid(loss)
    colors = LinearSegmentedColormap.from_list("loss", LOSS_SHADES)(np.linspace(0.0, 1.0, len(chosen) + 1))
    lines = ax.contour(x, y, masked, levels=chosen, colors=LOSS_LINES, linewidths=0.4, linestyles="solid", zorder=1)
    return ax.contourf(x, y, masked, levels=chosen, colors=colors, extend="both", zorder=0) if is_filled else lines


def draw_streamlines(
    ax: Axes,
    x: np.ndarray,
    y: np.ndarray,
    velocity: np.ndarray,
    density: float,
    widths: tuple[float, float] = (0.3, 1.1),
) -> StreamplotSet:
    """Streamlines of these widths in points, from the slowest percent to the fastest by the logarithm of the speed."""
    density = checks.real("density", density, above=0.0)
    finite = np.isfinite(velocity).all(axis=0)
    speed = np.where(finite, np.hypot(*np.where(finite, velocity, 0.0)), 0.0)
    width = np.full(speed.shape, widths[0])
    if (speed > 0).any():
        logarithm = np.log(np.maximum(speed, 1e-300))
        low, high = np.quantile(logarithm[speed > 0], (0.01, 0.99))
        width += (widths[1] - widths[0]) * np.clip((logarithm - low) / max(high - low, 1e-12), 0.0, 1.0)
    # The directions are all that streamplot needs; unit vectors keep it from underflowing where the flow is slow.
    unit = np.where(finite, velocity, 0.0) / np.where(speed > 0, speed, 1.0)
    hidden = np.broadcast_to(~finite | _reversals(unit), velocity.shape)
    return ax.streamplot(
        x,
        y,
        *np.ma.masked_array(unit, hidden),
        color="0.35",
        linewidth=width,
        density=density,
        arrowsize=0.6,
        zorder=2,
        broken_streamlines=True,
    )


def _reversals(unit: np.ndarray) -> np.ndarray:
    """Grid points between which the direction turns back, as across a valley of minima: streamlines end there."""
    hidden = np.zeros(unit.shape[1:], dtype=bool)
    along_x = np.sum(unit[:, :, 1:] * unit[:, :, :-1], axis=0) < REVERSAL
    along_y = np.sum(unit[:, 1:] * unit[:, :-1], axis=0) < REVERSAL
    hidden[:, 1:] |= along_x
    hidden[:, :-1] |= along_x
    hidden[1:] |= along_y
    hidden[:-1] |= along_y
    return hidden


def _paths(ax: Axes, trajectories: Iterable[Any], time_marks: Sequence[float]) -> tuple[list[Line2D], list[Artist]]:
    paths, marks = [], []
    for index, trajectory in enumerate(trajectories):
        points = positions(trajectory, f"trajectories[{index}]")
        paths += ax.plot(*points.T, color="black", linewidth=1.5, label="trajectory", zorder=4)
        paths[-1].set_path_effects([Stroke(linewidth=3.0, foreground="white"), Normal()])
        marks += ax.plot(*points[0], "o", color="black", markersize=3.5, label="start", zorder=5)
        times = getattr(trajectory, "times", None)
        if times is not None and len(time_marks):
            inside = [time for time in time_marks if min(times) <= time <= max(times)]
            order = np.argsort(times)
            at = [np.interp(inside, np.asarray(times)[order], column[order]) for column in points.T]
            listed = ", ".join(f"{time:g}" for time in time_marks)
            marks += ax.plot(
                *at, "D", color="black", markerfacecolor="white", markersize=3, label=f"$t$ = {listed}", zorder=5
            )
    return paths, marks


def _critical_points(
    ax: Axes, points: Iterable[Any], limits: tuple[tuple[float, float], tuple[float, float]]
) -> list[Line2D]:
    drawn = []
    for index, point in enumerate(points):
        kind = checks.choice(f"critical_points[{index}].kind", getattr(point, "kind", "none"), KIND_MARKERS)
        place = point.location if hasattr(point, "location") else ravel_pytree(point.params)[0]
        place = np.asarray(place, dtype=float).ravel()
        checks.require(place.shape == (2,), f"critical_points[{index}]", "have two parameters", len(place))
        if all(low <= value <= high for value, (low, high) in zip(place, limits, strict=True)):
            drawn += ax.plot(*place, **kind_marker(kind), zorder=6)
    return drawn


def kind_marker(kind: str) -> dict[str, Any]:
    """Keyword arguments of ``ax.plot`` for a critical point of this kind."""
    return {
        "linestyle": "none",
        "markersize": 6.0,
        "markeredgecolor": "black",
        "markeredgewidth": 0.8,
        "label": kind_name(kind),
        **KIND_MARKERS[kind],
    }


def kind_name(kind: str) -> str:
    """A kind of critical point in words."""
    return kind.replace("_", " ").replace("nonstrict", "non-strict")


def _keys(points: list[Line2D], paths: list[Line2D], marks: list[Artist]) -> list[Line2D]:
    """One legend entry per kind, in the order of :data:`KIND_MARKERS`, then trajectories and time marks."""
    present = {str(line.get_label()) for line in points}
    kinds = [Line2D([], [], **kind_marker(kind)) for kind in KIND_MARKERS]
    ticks = [mark for mark in marks if str(mark.get_label()).startswith("$t$")]
    return [key for key in kinds if key.get_label() in present] + paths[:1] + ticks[:1]
