"""How starts are drawn, as settings: a law and its numbers, a design, a slice, how many, with which seed.

Which settings belong to which law stands in one table; a setting that would do nothing is refused, since whoever gave
it expected something of it.
"""

import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from gradflow import checks
from gradflow.settings.runs import UNSAID, checked_seed

SamplerName = Literal[
    "box", "gaussian", "ball", "sphere", "slice", "fan_in", "glorot", "balanced", "orthogonal", "zero_asymmetric"
]
Design = Literal["independent", "sobol", "stratified"]

LAWS = ("fan_in", "glorot", "balanced", "orthogonal", "zero_asymmetric")
"""Samplers that need the matrices of a network."""

NORMAL_LAWS = ("fan_in", "glorot")
"""Those of them whose entries are independent and normal, as designs need."""

DEFAULT_SAMPLES = 10_000

_USES: dict[str, tuple[str, ...]] = {
    "box": ("low", "high"),
    "gaussian": ("scale", "center"),
    "ball": ("radius", "center"),
    "sphere": ("radius", "center"),
    "slice": ("low", "high", "resolution", "through", "origin", "directions"),
    **dict.fromkeys(LAWS, ("scale",)),
    "independent": (),
    "sobol": ("replicates",),
    "stratified": ("replicates", "cells"),
}
"""Settings that each sampler and design has."""


@dataclass(frozen=True)
class SamplingSettings:
    """How starts are drawn, and how many. Start number i depends on the seed and on i alone."""

    sampler: Annotated[SamplerName | None, UNSAID] = None
    """Law of the starts: uniform in a box or ball or on a sphere, gaussian, an initial law of networks;
    or the cells of a slice, a plane through parameter space, for pictures.
    If left out: box for a landscape, gaussian for a network."""

    low: Annotated[tuple[float, ...], UNSAID] = ()
    """Lower ends of the box: one number, or one for each parameter; of a slice x and y.
    If left out: the landscape's window, -2 without one, -1 for a slice with --origin."""

    high: Annotated[tuple[float, ...], UNSAID] = ()
    """Upper ends, likewise."""

    scale: float = 0.5
    """Standard deviation of the gaussian law's entries, gain of the initial laws."""

    center: Annotated[tuple[float, ...], UNSAID] = ()
    """Mean of the gaussian law, centre of the ball or sphere, one number for each parameter. If left out: 0."""

    radius: float = 1.0
    """Radius of the ball or sphere."""

    through: Annotated[str, UNSAID] = ""
    """Three points that span the slice, "a,b,...;c,d,...;e,f,...", with a margin around them."""

    origin: Annotated[tuple[float, ...], UNSAID] = ()
    """A point of the slice, with --directions."""

    directions: Annotated[str, UNSAID] = ""
    """Two directions of the slice, "a,b,...;c,d,...".
    Without these and --through a slice is the plane of two parameters."""

    resolution: int = 256
    """Cells of the slice along each side."""

    design: Design = "independent"
    """Independent starts, or points that cover the law more evenly: scrambled Sobol points, or one start in each
    stratum in turn. Their intervals come from independent replicates."""

    replicates: int = 16
    """Number of replicates of a design."""

    cells: Annotated[tuple[int, ...], UNSAID] = ()
    """Strata along each axis, one number for all or one for each of the first axes."""

    samples: Annotated[int | None, UNSAID] = None
    """Number of starts. If left out: 10 000, or what is next to it for a design, or all cells of a slice."""

    seed: int = 0
    """Seed of the starts."""

    def __post_init__(self) -> None:
        if self.sampler is not None:
            checks.choice("sampler", self.sampler, typing.get_args(SamplerName))
        for name in ("low", "high", "center", "origin", "cells"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            for index, value in enumerate(getattr(self, name)):
                (checks.integer if name == "cells" else checks.real)(f"{name}[{index}]", value)
        for index, (low, high) in enumerate(zip(self.low, self.high, strict=False)):
            checks.require(low <= high, f"high[{index}]", f"be at least low[{index}] = {low:g}", f"{high:g}")
        checks.real("scale", self.scale, above=0.0)
        checks.real("radius", self.radius, above=0.0)
        checks.integer("resolution", self.resolution)
        checks.choice("design", self.design, typing.get_args(Design))
        checks.integer("replicates", self.replicates, at_least=2)
        checks.require(self.design != "stratified" or bool(self.cells), "cells", "be given for strata", "nothing")
        if self.samples is not None:
            checks.integer("samples", self.samples)
        checked_seed(self.seed)
        vectors("through", self.through, 3)
        vectors("directions", self.directions, 2)
        has_both = bool(self.origin) == bool(self.directions)
        checks.require(has_both, "origin", "be given together with `directions`", "one without the other")
        is_once = not (self.through and self.origin)
        checks.require(is_once, "through", "be left out with `origin` and `directions`", repr(self.through))

    def require_used(self, sampler: str) -> None:
        """Refuses settings that neither `sampler` nor the design has.

        Raises:
            InputError: such a setting, or a design of something that has none.
        """
        used = {*_USES[sampler], *_USES[self.design]}
        optional = {name for names in _USES.values() for name in names}
        what = f"for the sampler {sampler} with the design {self.design}"
        refuse_unused(self, optional - used, what, {name: f"It is for {_owners(name)}." for name in optional})
        has_design = self.design == "independent" or sampler in ("box", "gaussian", "ball", "sphere", *NORMAL_LAWS)
        remedy = "Sobol points and strata are for box, gaussian, ball, sphere, fan_in and glorot."
        checks.require(has_design, "design", f"be independent for the sampler {sampler}", self.design, remedy)
        if sampler == "slice":
            checks.require(self.samples is None, "samples", "be left out for a slice", self.samples,
                           "Its starts are its cells; see --resolution.")  # fmt: skip
        if self.design == "sobol" and self.samples is not None:
            points = -(-self.samples // self.replicates)
            balanced = self.replicates * 2 ** (points - 1).bit_length()
            remedy = f"Use {balanced}."
            checks.require(
                self.samples == balanced, "samples", "be `replicates` times a power of two", self.samples, remedy
            )

    def require_sizes(self, sampler: str, num_params: int) -> None:
        """Refuses vectors of another length than the parameters have.

        Raises:
            InputError: the first such vector.
        """
        num_edges = 2 if sampler == "slice" else num_params
        for name, size in (("low", num_edges), ("high", num_edges), ("center", num_params), ("origin", num_params)):
            count = len(getattr(self, name))
            one = "one number" + (f" or {size}" if size > 1 else "")
            checks.require(
                count in (0, size) or (count == 1 and name != "origin"), name, f"have {one}", f"{count} numbers"
            )
        for name, number in (("through", 3), ("directions", 2)):
            for index, vector in enumerate(vectors(name, getattr(self, name), number)):
                what = f"have {num_params} numbers, one for each parameter"
                checks.require(len(vector) == num_params, f"{name}[{index}]", what, len(vector))
        is_plane = sampler != "slice" or num_params == 2 or bool(self.through or self.origin)
        remedy = "Give three points, --through, or a point and two directions, --origin and --directions."
        checks.require(is_plane, "through", f"be given for a slice of {num_params} parameters", "nothing", remedy)
        checks.require(
            len(self.cells) <= num_params + 1, "cells", f"have at most {num_params} numbers", len(self.cells)
        )


def vectors(name: str, text: str, number: int) -> tuple[tuple[float, ...], ...]:
    """The vectors in ``"a,b;c,d"``; none for an empty text.

    Raises:
        InputError: another number of vectors, or a part that is no finite number, with its place.
    """
    parts = text.split(";") if text.strip() else []
    checks.require(len(parts) in (0, number), name, f"be {number} vectors a,b,...;c,d,...", repr(text))
    found = []
    for index, part in enumerate(parts):
        entries = [_number(entry) for entry in part.split(",")]
        found.append(tuple(checks.real(f"{name}[{index}]", entry) for entry in entries))
    return tuple(found)


def refuse_unused(section: Any, names: Iterable[str], what: str, remedies: Mapping[str, str] | None = None) -> None:
    """Refuses settings of a section that are not at their defaults though they do nothing, with the setting's remedy.

    Raises:
        InputError: the first of them.
    """
    for entry in fields(section):
        if entry.name in names:
            value = getattr(section, entry.name)
            remedy = (remedies or {}).get(entry.name, "")
            checks.require(value == entry.default, entry.name, f"be left out {what}", repr(value), remedy)


def _owners(name: str) -> str:
    """The flags with which a setting does something; any problem has one of these laws or designs."""
    owners = [owner for owner, names in _USES.items() if name in names and owner not in LAWS]
    flag = "--design" if owners[0] in typing.get_args(Design) else "--sampler"
    return " or ".join(f"{flag} {owner}" for owner in owners)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
