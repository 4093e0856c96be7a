"""The Hessian's eigenvalues at a classified point, with what counts as zero and how many there are of each sign."""

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from gradflow import checks
from gradflow.plotting.axes import Drawn, legend_above, note, number, require_axes, symlog_ticks
from gradflow.plotting.styles import OKABE_ITO

GAP = 1e-3
"""Smallest eigenvalue shown apart from zero, as a part of the smallest that does not count as zero."""

_SIGNS = (
    ("v", OKABE_ITO["vermillion"], "full"),
    ("o", OKABE_ITO["black"], "none"),
    ("^", OKABE_ITO["blue"], "full"),
)


def hessian_spectrum(ax: Axes, point: Any) -> Drawn:
    """Signed eigenvalues in ascending order, the band that counts as zero, and the counts of each sign in the legend.

    A spectrum of which only the two ends were computed is drawn with a gap between them; its counts are then lower
    bounds and marked so. Where nothing was judged (the point is not critical) signs are told from rounding only, and
    the counts are not called index and nullity.

    Args:
        ax: axes to draw on.
        point: a :class:`gradflow.critical_points.CriticalPoint`, or anything with its `eigenvalues`, `spectrum` and
            `zero_tolerance`.

    Raises:
        InputError: `point` has no eigenvalues.
    """
    require_axes(ax)
    checks.require(
        hasattr(point, "eigenvalues"), "point", "be a CriticalPoint", type(point).__name__, "Use gradflow.classify."
    )
    ax.set_ylabel("Hessian eigenvalue")
    values = np.sort(np.asarray(point.eigenvalues, dtype=float))
    is_dense = point.spectrum == "dense"
    ax.set_xlabel("position in the spectrum" if is_dense else "position (ends of the spectrum only)")
    if not np.isfinite(values).any():
        ax.set_xticks([])
        ax.set_yticks([])
        return Drawn([], [note(ax, "the Hessian is not finite here")])
    is_judged = bool(np.isfinite(point.zero_tolerance))
    rounding = 32 * len(values) * float(np.finfo(float).eps * np.abs(values).max())
    tolerance = float(point.zero_tolerance) if is_judged else rounding
    names = ("index", "nullity", "positive") if is_judged else ("negative", "zero to rounding", "positive")
    ranks = np.arange(1, len(values) + 1)
    gap = 0 if is_dense else max(2, len(values) // 3)
    ranks[(len(values) + 1) // 2 :] += gap
    relation = "" if is_dense else "\u2265 "
    masks = (values < -tolerance, np.abs(values) <= tolerance, values > tolerance)
    size = 3.5 if len(values) <= 60 else 2.0
    curves = [
        ax.plot(
            ranks[mask], values[mask], marker, color=color, fillstyle=fill, markersize=size, markeredgewidth=0.6,
            label=f"{name} {relation}{int(mask.sum())}", zorder=3,
        )[0]
        for name, (marker, color, fill), mask in zip(names, _SIGNS, masks, strict=True)
    ]  # fmt: skip
    references = _zero_band(ax, values, tolerance)
    if gap:
        middle = (len(values) + 1) // 2 + (gap + 1) / 2
        references.append(ax.text(middle, 0.0, "$\\cdots$", ha="center", va="center", backgroundcolor="white"))
        ax.set_xticks([1, ranks[-1]], ["lowest", "highest"])
    else:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    ax.set_xlim(0.5 - 0.02 * ranks[-1], ranks[-1] * 1.02 + 0.5)
    if tolerance > 0:
        zero = number(float(f"{tolerance:.1g}"), powers=True).strip("$")
        curves[1].set_label(f"{curves[1].get_label()} ($\\leq {zero}$)")
    legend_above(ax, curves, handlelength=0.8)
    return Drawn(curves, references)


def _zero_band(ax: Axes, values: np.ndarray, tolerance: float) -> list[Artist]:
    """What counts as zero, to scale, on a symmetric logarithmic axis that shows the gap between zero and the rest."""
    sizes = np.abs(values)
    outside = sizes[sizes > tolerance]
    if not len(outside):
        half = tolerance or 1.0
        ax.set_ylim(-1.5 * half, 1.5 * half)
        ax.yaxis.set_major_locator(FixedLocator([-half, 0.0, half]))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    else:
        smallest = float(outside.min())
        threshold = min(smallest, max(tolerance, smallest * (GAP if len(outside) < len(values) else 0.1)))
        low, high = min(float(values.min()), -threshold), max(float(values.max()), threshold)
        decades = np.log10(-low / threshold) + np.log10(high / threshold)
        ax.set_ylim(low * (-low / threshold) ** 0.05 * 1.2, high * (high / threshold) ** 0.05 * 1.2)
        ax.set_yscale("symlog", linthresh=threshold, linscale=max(0.3, 0.08 * decades))
        symlog_ticks(ax.yaxis, threshold)
    if tolerance == 0.0:
        return [ax.axhline(0.0, color="0.6", linewidth=0.6, zorder=0)]
    return [ax.axhspan(-tolerance, tolerance, facecolor="0.88", edgecolor="0.6", linewidth=0.4, zorder=0)]
