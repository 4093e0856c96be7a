"""What a phase portrait is: a landscape of two parameters, a window, and where trajectories start.

Knows names and numbers; how a formula is read says :mod:`gradflow.settings.expressions`. What is drawn, and how, is
nobody's business here.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gradflow import checks
from gradflow.settings.expressions import Expression
from gradflow.settings.runs import SWITCH, UNSAID, checked_folder

LANDSCAPES = ("double_well", "escaping_valley", "himmelblau", "mueller_brown", "two_layer_scalar")
ALIASES = {"h": "escaping_valley"}

NUM_STARTS = 8


@dataclass(frozen=True)
class PortraitSettings:
    """A picture: the phase portrait of a gradient flow with two parameters.

    Streamlines, contours of the loss, trajectories from a few starts, and the critical points marked by kind. A table
    says where each trajectory went.
    """

    name: Annotated[tyro.conf.Positional[str], UNSAID] = ""
    """A landscape: double_well, escaping_valley, himmelblau, mueller_brown or two_layer_scalar."""

    expression: Annotated[str, UNSAID] = ""
    """Instead of a name your own loss in x and y, with + - * / **, pi, e, exp, log, sin, tanh, sqrt, abs, ...
    Critical points are then only those that trajectories reach."""

    window: Annotated[tuple[float, ...], UNSAID] = ()
    """x_min x_max y_min y_max. If left out: what suits the landscape, -2 2 -2 2 for an expression."""

    starts: Annotated[str, UNSAID] = ""
    """Where trajectories start: "x,y;x,y;...". If left out: eight points spread over the window."""

    t1: float = math.inf
    """Horizon in flow time. inf: go on until each trajectory has ended or escaped."""

    rtol: float = 1e-8
    """Local error per step."""

    max_norm: Annotated[float | None, UNSAID] = None
    """Distance from the origin beyond which a trajectory counts as escaped. If left out: ten times the window's."""

    max_steps: int = 20_000
    """Largest number of steps tried for each trajectory. Only a loss with kinks needs anything near it."""

    out: Path = Path("gradflow-portrait")
    """Folder for the figures NAME.pdf and NAME.png; made if it is missing."""

    overwrite: Annotated[bool, SWITCH] = False
    """Replace figures that are already in the folder; without it they are never touched."""

    def __post_init__(self) -> None:
        remedy = f'Names: {", ".join(LANDSCAPES)}. Or --expression "0.5*(x*y - 1)**2".'
        if self.name and self.expression:
            what = "exactly one of `name`, `expression` must be given"
            raise checks.InputError(f"{what}, but got '{self.name}' and '{self.expression}'. {remedy}")
        is_given = bool(self.name or self.expression)
        checks.require(is_given, "name", "be given, or else `expression`", "neither", remedy)
        if self.name:
            name = self.name.replace("-", "_")
            name = checks.choice("name", ALIASES.get(name, name), LANDSCAPES)
            object.__setattr__(self, "name", name)
        else:
            Expression(self.expression)
        _checked_window(self.window)
        parsed_starts(self.starts)
        checks.real("t1", self.t1, above=0.0, infinite=True)
        checks.tolerances(self.rtol, 0.0)
        if self.max_norm is not None:
            checks.real("max_norm", self.max_norm, above=0.0)
        checks.integer("max_steps", self.max_steps)
        object.__setattr__(self, "out", checked_folder(self.out))


def parsed_starts(text: str) -> tuple[tuple[float, float], ...]:
    """The points in ``"x,y;x,y"``; none for an empty text.

    Raises:
        InputError: a part that is not two finite numbers, with its place.
    """
    points = []
    for index, part in enumerate(text.split(";") if text.strip() else []):
        numbers = part.split(",")
        checks.require(len(numbers) == 2, f"starts[{index}]", "be two numbers x,y", repr(part))
        x, y = (checks.real(f"starts[{index}]", _number(number)) for number in numbers)
        points.append((x, y))
    return tuple(points)


def spread_starts(window: tuple[tuple[float, float], tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Eight points spread over the window along a spiral by the golden angle, so that none lies on an axis."""
    points = []
    for index in range(NUM_STARTS):
        radius, angle = math.sqrt((index + 0.5) / NUM_STARTS), index * math.pi * (3 - math.sqrt(5)) + 0.4
        directions = (math.cos(angle), math.sin(angle))
        (x, y) = (
            0.5 * (low + high) + 0.45 * (high - low) * radius * direction
            for (low, high), direction in zip(window, directions, strict=True)
        )
        points.append((x, y))
    return tuple(points)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _checked_window(window: tuple[float, ...]) -> None:
    if not window:
        return
    checks.require(len(window) == 4, "window", "be four numbers x_min x_max y_min y_max", window)
    for low, high in ((0, 1), (2, 3)):
        edges = tuple(checks.real(f"window[{index}]", window[index]) for index in (low, high))
        checks.require(edges[0] < edges[1], "window", "increase from x_min to x_max and from y_min to y_max", window)
