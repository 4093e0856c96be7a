"""Which pictures a report shows, each with its words: what it shows, for those who do not see it.

Draws with :mod:`gradflow.plotting` and chooses nothing else; the words are made of the numbers that are drawn.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from gradflow import plotting, reporting
from gradflow.basins import BasinEstimate
from gradflow.html.blocks import Block
from gradflow.html.pictures import drawn
from gradflow.html.scenes import Scene
from gradflow.html.tracks import Tracks
from gradflow.plotting import basin_pages
from gradflow.reporting.words import number, words
from gradflow.samplers import Slice
from gradflow.studies import Study
from gradflow.trajectories import Trajectory

NUM_LINES = 12
"""Trajectories of the grid that the still picture shows."""


def study_picture(study: Study) -> Block:
    """The overview of a run."""
    loss, run = study.record["loss"].values, study.trajectory
    bound = float(study.record["bound"])
    side = "below" if run.largest_norm <= bound else "ABOVE"
    held = f"{side} the certified bound {number(bound, 4)}" if np.isfinite(bound) else "no bound is certified"
    second = "singular values of the end-to-end map" if "product_singular_value" in study.record else "energy balance"
    alt = (
        f"Six panels against flow time. (a) Loss, from {number(loss[0], 4)} to {number(loss[-1], 4)} at t = "
        f"{number(run.end_time, 4)}, with critical values. (b) {second.capitalize()}. (c) Norm of the parameters, at "
        f"most {number(run.largest_norm, 4)}; {held}. (d) Drift of the conserved quantities with the tolerance. "
        f"(e) Loss above its limit, logarithmic. (f) Hessian spectrum at the endpoint, a {words(study.point.kind)}."
    )
    caption = "The run at a glance: loss, modes or energy, norm and bound, drift of invariants, convergence, spectrum."
    return drawn(lambda: plotting.overview(study), alt, caption)


def basin_pictures(estimate: BasinEstimate) -> tuple[list[Block], list[str]]:
    """Fractions and times, a map where the starts are known and flat, and what is left out."""
    title, is_sample = reporting.basin_title(estimate), reporting.is_sample(estimate)
    shares = "; ".join(f"{row['ends at']}: {row['fraction']}" for row in reporting.basin_rows(estimate))
    summary = lambda: basin_pages.basin_summary_page(estimate, title=title, has_intervals=is_sample)  # noqa: E731
    limits = (
        "with intervals, thin ones for all rows together" if is_sample else "without intervals: cells are no sample"
    )
    alt = f"Shares of the starts by class, {limits}, and flow times of arrival. {shares}."
    blocks: list[Block] = [drawn(summary, alt, f"Shares of the classes, {limits}; below, times to converge.")]
    plan = estimate.plan
    is_slice = estimate.facts.get("settings", {}).get("sampler") == "slice" or isinstance(
        getattr(plan, "sampler", None), Slice
    )
    if not is_slice and estimate.ends.shape[1] != 2:
        return blocks, []
    if estimate.codes is None:
        return blocks, ["A map of the starts: the class of each single start was not kept (keep_codes)."]
    if plan is None:
        return blocks, ["A map of the run's own starts: a results file holds their classes, not where they lie."]
    starts: Any = plan.sampler
    if not is_slice:
        indices = np.arange(min(basin_pages.MOST_STARTS, estimate.num_samples))
        starts = plotting.positions(plan.sampler.starts(plan.key, indices), "starts")
    chart = lambda: basin_pages.basin_map_page(estimate, starts, title=title)  # noqa: E731
    words_of_map = f"Map of the starts by class. {shares}."
    return [*blocks, drawn(chart, words_of_map, "The starts of this run by the class of their limit.")], []


def grid_pictures(scene: Scene, tracks: Tracks, run: Trajectory | None) -> list[Block]:
    """What the explorer shows, without it: a phase portrait with some trajectories, and the classes of all cells."""
    chosen = [run] if run is not None else _spread(tracks)
    kinds = ", ".join(f"{words(point.kind)} at {_place(point)}" for point in scene.points) or "none known beforehand"
    (left, right), (bottom, top) = tracks.window
    where = f"first parameter {number(left, 4)} to {number(right, 4)}, second {number(bottom, 4)} to {number(top, 4)}"
    portrait = lambda: plotting.portrait_page(  # noqa: E731
        scene.flow, *tracks.window, trajectories=chosen, critical_points=scene.points, template=scene.like
    )
    alt = f"Phase portrait, {where}: streamlines, contours of the loss, critical points ({kinds})."
    what = "the run of this report" if run is not None else f"{len(chosen)} computed trajectories"
    caption = f"Phase portrait with {what}. Streamlines are wider where the flow is faster."
    estimate = tracks.estimate
    counted = zip(estimate.labels, estimate.counts.tolist(), strict=True)
    shares = "; ".join(f"{label}: {count} cells" for label, count in counted if count)
    cells = lambda: basin_pages.basin_map_page(estimate, tracks.plane)  # noqa: E731
    return [
        drawn(portrait, alt, caption, is_dense=True),
        drawn(cells, f"Cells of the window by the class of the start in their middle. {shares}.",
              "Each cell by the class of the start in its middle."),
    ]  # fmt: skip


def _spread(tracks: Tracks) -> Sequence[np.ndarray]:
    """The lines of some starts, spread over the grid."""
    num = len(tracks.starts)
    numbers = np.unique(np.linspace(0.03 * num, 0.97 * num, NUM_LINES).astype(int))
    return [tracks.points[tracks.rows(int(start))] for start in numbers]


def _place(point: Any) -> str:
    flat = plotting.positions([np.asarray(leaf)[None] for leaf in _leaves(point.params)], "point")[0]
    return "(" + ", ".join(number(round(value, 10) + 0.0, 4) for value in flat) + ")"


def _leaves(params: Any) -> list[Any]:
    return jax.tree.leaves(params)
