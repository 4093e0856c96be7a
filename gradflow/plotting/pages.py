"""All pictures of one study on a page, and the one place that writes figures to files."""

import os
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradflow import checks
from gradflow.plotting.axes import number
from gradflow.plotting.portraits import loss_colorbar, phase_portrait
from gradflow.plotting.promises import convergence, drift, energy, norm_bound
from gradflow.plotting.records import loss_ladder, singular_values
from gradflow.plotting.spectra import hessian_spectrum
from gradflow.plotting.styles import figure_size, style

NAMED = ("global_minimum", "local_minimum", "spurious_minimum", "strict_saddle", "nonstrict_saddle", "degenerate")
"""Kinds of endpoints whose loss is the limit of the run's."""

UNDATED: dict[str, dict[str, Any]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
"""What keeps a format from telling when a picture was written."""


def overview(study: Any) -> Figure:
    """A page with six panels: what the run did, whether it kept its promises, and where it ended.

    Loss and critical values, singular values (the energy identity for problems without), norm and bound, drift of
    the invariants, convergence to the limit, spectrum of the Hessian at the end.

    Args:
        study: a :class:`gradflow.studies.Study`, computed or loaded.

    Returns:
        A figure that belongs to no window; write it with :func:`save_figure`.
    """
    needed = ("record", "point", "trajectory")
    checks.require(
        all(hasattr(study, name) for name in needed), "study", "be a Study", type(study).__name__, "Use gradflow.study."
    )
    record, point, trajectory = study.record, study.point, study.trajectory
    limit = point.loss if point.kind in NAMED else None
    with style():
        figure = Figure(figsize=figure_size(2, aspect=0.66, rows=3))
        axes = figure.subplots(3, 2).ravel()
        loss_ladder(axes[0], record, passages=trajectory.passages)
        if "product_singular_value" in record:
            singular_values(axes[1], record)
        else:
            energy(axes[1], record)
        norm_bound(axes[2], record)
        drift(axes[3], record)
        convergence(axes[4], record, rate=getattr(study, "rate", None), limit=limit)
        hessian_spectrum(axes[5], point)
        for letter, ax in zip("abcdef", axes, strict=True):
            _letter(ax, letter)
        figure.suptitle(_headline(study), x=0.01, ha="left")
    return figure


def portrait_page(
    flow: Any, xlim: tuple[float, float], ylim: tuple[float, float], *, title: str = "", **options: Any
) -> Figure:
    """A page with one phase portrait and the scale of its contours.

    Args:
        flow, xlim, ylim: as for :func:`gradflow.plotting.phase_portrait`.
        title: a line above the picture.
        **options: its further keywords.

    Returns:
        A figure that belongs to no window; write it with :func:`save_figure`.
    """
    with style():
        figure = Figure(figsize=figure_size(2, aspect=1.5))
        ax = figure.subplots()
        portrait = phase_portrait(ax, flow, xlim, ylim, **options)
        loss_colorbar(ax, portrait)
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def save_figure(figure: Figure, path: str | os.PathLike, **settings: Any) -> Path:
    """Writes a figure, in the format that the suffix of `path` names, and returns the path.

    No date is written into it: the same figure gives the same bytes (an .svg, whose identifiers are random, does not).

    Args:
        figure: any matplotlib figure.
        path: a file such as ``overview.png``, ``.pdf`` or ``.svg``; its folder must exist.
        **settings: further keywords of ``Figure.savefig``, e.g. ``dpi=150``.

    Raises:
        InputError: no figure, no such format.
        OSError: the file cannot be written.
    """
    checks.require(isinstance(figure, Figure), "figure", "be a matplotlib figure", type(figure).__name__,
                   "Plotting functions return it.")  # fmt: skip
    path = Path(path)
    formats = figure.canvas.get_supported_filetypes()
    checks.require(
        path.suffix.lstrip(".").lower() in formats,
        "path",
        "end in the name of a picture format",
        f"'{path.name}'",
        "Use .png, .pdf or .svg.",
    )
    undated = UNDATED.get(path.suffix.lower())
    with style():
        figure.savefig(path, **({"metadata": undated} if undated else {}), **settings)
    return path


def _letter(ax: Axes, letter: str) -> None:
    """A bold letter in the upper left corner of a panel, beside its legend."""
    ax.annotate(
        letter,
        (0.0, 1.0),
        (-32.0, 6.0),
        "axes fraction",
        textcoords="offset points",
        fontweight="bold",
        fontsize="large",
    )


def _headline(study: Any) -> str:
    point, trajectory = study.point, study.trajectory
    kind = point.kind.replace("_", " ").replace("nonstrict", "non-strict")
    counts = "" if point.index is None else f", index {point.index}, nullity {point.nullity}"
    return f"{kind}{counts}; {trajectory.status} at $t$ = {number(trajectory.end_time)} ({trajectory.solver})"
