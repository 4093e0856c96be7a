"""``gradflow portrait``: trajectories of a flow with two parameters, its critical points by kind, one picture."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradflow.cli import console
from gradflow.cli.exit_codes import ExitCode, of_outcome
from gradflow.cli.outputs import reserved, save_pictures
from gradflow.cli.running import double_precision
from gradflow.settings import PortraitSettings
from gradflow.settings.expressions import Expression
from gradflow.settings.portraits import parsed_starts, spread_starts
from gradflow.status import Status

DEFAULT_WINDOW = ((-2.0, 2.0), (-2.0, 2.0))

Window = tuple[tuple[float, float], tuple[float, float]]


class Pictured(NamedTuple):
    """What is drawn: a flow, where one looks, what is known of it, and what was computed."""

    flow: Any
    window: Window
    known: tuple[Any, ...]
    trajectories: list[Any]
    endpoints: list[Any]


def portrait(settings: PortraitSettings) -> ExitCode:
    """Integrates, names, draws and prints."""
    label = settings.name or "expression"
    names = tuple(f"{label}.{ending}" for ending in ("pdf", "png"))
    with reserved(settings.out, names, settings.overwrite) as folder, double_precision():
        pictured = _computed(settings)
        points = _critical_points(pictured)
        written = _draw(settings, pictured, [point for point, _ in points], [folder / name for name in names])
        passed = all(agrees for _, agrees in points)
        with console.surviving(sys.stdout):
            _print_table(pictured, points)
            print("\nWritten:", *(f"  {path}" for path in written), sep="\n")
    for trajectory in pictured.trajectories:
        if trajectory.status.is_failure:
            start = ", ".join(f"{value:g}" for value in trajectory.start)
            console.say(f"{trajectory.status} from ({start}): {trajectory.status.remedy}")
    return of_outcome([trajectory.status for trajectory in pictured.trajectories], passed)


def _computed(settings: PortraitSettings) -> Pictured:
    with console.stage("Starting JAX") as outcome:
        from gradflow.critical_points import classify
        from gradflow.flow import GradientFlow
        from gradflow.integration import integrate

        problem, window, known = _landscape(settings)
        flow = GradientFlow(problem)
        outcome(f"{problem.name} on [{window[0][0]:g}, {window[0][1]:g}] x [{window[1][0]:g}, {window[1][1]:g}]")
    starts = parsed_starts(settings.starts) or spread_starts(window)
    size = max(abs(edge) for limits in window for edge in limits)
    farthest = max(np.hypot(*start) for start in starts)
    max_norm = settings.max_norm or 10 * max(size, float(farthest))
    with (
        console.answering_interrupts("interrupted; naming and drawing what was reached ...", ("until_done",)),
        console.stage(f"Integrating from {len(starts)} starts"),
    ):
        options: dict[str, Any] = {"rtol": settings.rtol, "atol": settings.rtol, "max_norm": max_norm}
        options["max_steps"] = settings.max_steps
        trajectories: list[Any] = []
        for start in starts:
            trajectories.append(integrate(flow, np.array(start), settings.t1, **options))
            if trajectories[-1].status is Status.INTERRUPTED:
                break  # the user has seen enough; what was reached is drawn
    with console.stage("Naming the endpoints"):
        endpoints = [
            classify(problem, trajectory.endpoint) if trajectory.status is Status.STATIONARY else None
            for trajectory in trajectories
        ]
    return Pictured(flow, window, known, trajectories, endpoints)


def _landscape(settings: PortraitSettings) -> tuple[Any, Window, tuple[Any, ...]]:
    """The problem, the window to look at, and the critical points that are known."""
    from gradflow import model_problems
    from gradflow.problem import Landscape

    edges = settings.window
    asked = ((edges[0], edges[1]), (edges[2], edges[3])) if edges else None
    if settings.expression:
        return Landscape(Expression(settings.expression), name=settings.expression), asked or DEFAULT_WINDOW, ()
    model = model_problems.get(settings.name)
    return model.problem, asked or model.window or DEFAULT_WINDOW, model.critical_points


def _critical_points(pictured: Pictured) -> list[tuple[Any, bool]]:
    """Critical points to mark, each once, and whether the classifier agrees with what is known of it."""
    from gradflow.critical_points import classify

    points = []
    for known in pictured.known:
        found = classify(pictured.flow.problem, np.array(known.location))
        points.append((found, found.kind == known.kind))
    spacing = 1e-3 * max(high - low for low, high in pictured.window)
    for point in pictured.endpoints:
        is_new = point is not None and all(np.linalg.norm(point.params - other.params) > spacing for other, _ in points)
        if is_new:
            points.append((point, True))
    return points


def _draw(settings: PortraitSettings, pictured: Pictured, points: Sequence[Any], paths: Sequence[Path]) -> list[Path]:
    with console.stage("Drawing"):
        from gradflow import plotting

        figure = plotting.portrait_page(
            pictured.flow,
            *pictured.window,
            trajectories=pictured.trajectories,
            critical_points=points,
            title=settings.name.replace("_", " ") or settings.expression,
        )
        return save_pictures(figure, paths)


def _print_table(pictured: Pictured, points: Sequence[tuple[Any, bool]]) -> None:
    places = [trajectory.start for trajectory in pictured.trajectories]
    places += [trajectory.endpoint for trajectory in pictured.trajectories]
    wide = 2 + max(len(_place(params)) for params in [*places, *(point.params for point, _ in points)])
    print(f"\n{'start':<{wide}}{'status':<12}{'t':>10}  {'end':<{wide}}{'kind':<16}{'loss':>12}")
    for trajectory, point in zip(pictured.trajectories, pictured.endpoints, strict=True):
        loss = float(pictured.flow.problem.loss(trajectory.endpoint))
        kind = "-" if point is None else _words(point.kind)
        print(f"{_place(trajectory.start):<{wide}}{trajectory.status!s:<12}{trajectory.end_time:>10.4g}  "
              f"{_place(trajectory.endpoint):<{wide}}{kind:<16}{loss:>12.6g}")  # fmt: skip
    if points:
        print(f"\n{'critical point':<{wide}}{'kind':<16}{'index':>6}{'loss':>14}  eigenvalues of the Hessian")
    for point, agrees in points:
        values = ", ".join(f"{value:.4g}" for value in point.eigenvalues)
        index = "-" if point.index is None else point.index
        remark = "" if agrees else "  (disagrees with the closed form)"
        remark += "" if _is_inside(point.params, pictured.window) else "  (outside the window)"
        print(f"{_place(point.params):<{wide}}{_words(point.kind):<16}{index:>6}{point.loss:>14.6g}  {values}{remark}")


def _is_inside(params: Any, window: Window) -> bool:
    return all(low <= value <= high for value, (low, high) in zip(np.asarray(params), window, strict=True))


def _place(params: Any) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in np.asarray(params) + 0.0) + ")"


def _words(kind: str) -> str:
    return kind.replace("_", " ").replace("nonstrict", "non-strict")
