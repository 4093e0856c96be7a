"""What an estimate of basins is: a problem, a law of starts, how they are followed, where that runs, what comes out.

Each section is a frozen dataclass whose field docstrings are the help of ``gradflow basins``. Ranges are checked by
the section, what goes together by :class:`BasinSettings`. Names that other modules own are written out here, because
those modules import JAX; a test keeps both lists equal.
"""

import math
import typing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from gradflow import checks
from gradflow.settings.expressions import Expression, variables_of
from gradflow.settings.runs import SWITCH, TEACHER, UNSAID, DataSettings, Normalization, TeacherSettings
from gradflow.settings.sampling import DEFAULT_SAMPLES, LAWS, SamplingSettings, refuse_unused

ProblemName = Literal[
    "double_well", "double_well_3d", "escaping_valley", "example1", "himmelblau", "long_excursion", "mueller_brown",
    "two_layer_scalar"
]  # fmt: skip
NetworkName = Literal["linear", "shallow", "residual"]
Activation = Literal[
    "identity", "tanh", "arctan", "logistic", "erf", "algebraic", "softsign", "relu", "leaky_relu", "prelu",
    "relu_squared"
]  # fmt: skip
TableFormat = Literal["table", "markdown", "json"]
LaneSolver = Literal["tsit5", "rodas4", "rodas5p", "kvaerno5", "gauss4", "rkc2"]

NUM_PARAMS = {"example1": 4, "double_well_3d": 3, "long_excursion": 3}
"""Parameters of the named problems; all others have two."""

SMALLEST_RTOL = 1e-13
"""Smallest tolerance that the kernels for many starts keep."""

MAX_MAPPED = 1_000_000
"""Starts up to which the class of each is kept, which a map needs."""

REMEDY = "For instance --problem example1, --expression '(x**2 - 1)**2 + y**2', --network linear --data iris."

OUT_ENDINGS, PICTURE_ENDINGS = (".json", ".nc"), (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class ProblemSettings:
    """Exactly one of --problem, --expression and --network."""

    problem: Annotated[ProblemName | None, UNSAID] = None
    """A problem with known answers. example1: paper 002's, X = I, Y = diag(2, 1) and one ReLU unit.
    The others are landscapes of two parameters (double_well_3d and long_excursion: three)."""

    expression: Annotated[str, UNSAID] = ""
    """Your own loss in x, y, z, w or in x1, x2, x3, ..., with + - * / **, pi, e, exp, log, sin, tanh, sqrt, abs, ..."""

    network: Annotated[NetworkName | None, UNSAID] = None
    """A network fitted to the data of --data: linear, shallow (one hidden layer) or residual (all widths equal)."""

    hidden: tuple[int, ...] = (16,)
    """Widths of the hidden layers of a linear or shallow network."""

    activation: Activation = "tanh"
    """Activation of a shallow network's hidden units."""

    units: int = 2
    """Number of units of a residual network."""

    depth: int = 1
    """Number of layers that a shortcut of a residual network spans."""

    normalization: Normalization = "sum"
    """Half the squared error, summed over the samples or their mean."""

    weight_decay: float = 0.0
    """Adds half of it times ||W||^2 to the loss of a network."""

    def __post_init__(self) -> None:
        if len(self.given) > 1:
            given = " and ".join(self.given)
            what = "exactly one of `problem`, `expression`, `network` must be given"
            raise checks.InputError(f"{what}, but got {given}. {REMEDY}")
        if self.problem is not None:
            checks.choice("problem", self.problem, typing.get_args(ProblemName))
        if self.expression:
            Expression(self.expression, variables_of(self.expression))
        if self.network is not None:
            checks.choice("network", self.network, typing.get_args(NetworkName))
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for index, width in enumerate(self.hidden):
            checks.integer(f"hidden[{index}]", width)
        checks.choice("activation", self.activation, typing.get_args(Activation))
        checks.integer("units", self.units)
        checks.integer("depth", self.depth)
        checks.choice("normalization", self.normalization, typing.get_args(Normalization))
        checks.real("weight_decay", self.weight_decay, at_least=0.0)
        if self.network == "shallow":
            checks.require(len(self.hidden) == 1, "hidden", "be one width for a shallow network", list(self.hidden))
        own = {"linear": ("hidden",), "shallow": ("hidden", "activation"), "residual": ("units", "depth")}
        used = (*own[self.network], "normalization", "weight_decay") if self.network else ()
        rest = ("hidden", "activation", "units", "depth", "normalization", "weight_decay")
        what = f"for the network {self.network}" if self.network else "without a network"
        refuse_unused(self, [name for name in rest if name not in used], what)

    @property
    def given(self) -> list[str]:
        """Which of the three ways to say what the problem is are taken."""
        return [repr(value) for value in (self.problem, self.expression, self.network) if value]

    @property
    def num_params(self) -> int | None:
        """Number of parameters where it is known before data are read."""
        if self.expression:
            return len(variables_of(self.expression))
        return None if self.problem is None else NUM_PARAMS.get(self.problem, 2)

    @property
    def is_landscape(self) -> bool:
        """Whether the parameters are a plain array."""
        return self.network is None and self.problem != "example1"


@dataclass(frozen=True)
class FollowingSettings:
    """How starts are followed to their limits, and how surely the fractions are to be known."""

    t1: float = math.inf
    """Horizon in flow time; a start that has not ended by then is undetermined."""

    rtol: float = 1e-6
    """Local error per step relative to the weights."""

    atol: Annotated[float | None, UNSAID] = None
    """Local error per step that is always allowed. If left out: a thousandth of rtol."""

    grad_tol: Annotated[float | None, UNSAID] = None
    """Gradient norm at which an end is first looked at. If left out: a millionth of a large gradient."""

    max_norm: Annotated[float | None, UNSAID] = None
    """Norm beyond which a start counts as escaped. If left out: 10 000 times the scale of problem and starts."""

    max_steps: int = 100_000
    """Largest number of steps tried for one start."""

    solver: LaneSolver = "tsit5"
    """What steps the starts. Where Tsit5 takes tens of thousands of steps the flow is stiff: rodas5p."""

    level: float = 0.95
    """Confidence level of all intervals."""

    half_width: Annotated[float | None, UNSAID] = None
    """Stop as soon as every class's fraction is known this well, at the level; --samples is then the most."""

    rechecked: int = 1000
    """Starts that are run again at a hundredth of rtol, to see which labels change; 0: none."""

    max_undetermined: float = 1.0
    """Largest share of undetermined starts that is no failure; above it the exit code is 3. 1: never."""

    def __post_init__(self) -> None:
        checks.real("t1", self.t1, above=0.0, infinite=True)
        checks.tolerances(self.rtol, 1e-3 * self.rtol if self.atol is None else self.atol, SMALLEST_RTOL)
        for name in ("grad_tol", "max_norm"):
            if getattr(self, name) is not None:
                checks.real(name, getattr(self, name), above=0.0, infinite=name == "max_norm")
        checks.integer("max_steps", self.max_steps)
        checks.real("level", self.level, above=0.0, below=1.0)
        if self.half_width is not None:
            checks.real("half_width", self.half_width, above=0.0, below=0.5)
        checks.integer("rechecked", self.rechecked, at_least=0)
        share = checks.real("max_undetermined", self.max_undetermined, at_least=0.0)
        checks.require(share <= 1.0, "max_undetermined", "be at most 1", share)


@dataclass(frozen=True)
class EngineSettings:
    """Where it runs. The numbers are the same everywhere."""

    workers: Annotated[int | None, UNSAID] = None
    """Number of threads, or of processes. If left out: one for each core."""

    processes: Annotated[bool, SWITCH] = False
    """Use processes of this machine (Dask) instead of threads."""

    scheduler: Annotated[str, UNSAID] = ""
    """Address of a running Dask scheduler, e.g. tcp://10.0.0.5:8786, whose workers compute."""

    folder: Annotated[Path | None, UNSAID] = None
    """Folder that keeps every finished part, and in the end the estimate as estimate.nc.
    The same command goes on from there after any interruption.
    """

    def __post_init__(self) -> None:
        if self.workers is not None:
            checks.integer("workers", self.workers)
        if self.scheduler:
            checks.require(self.workers is None, "workers", "be left out with `scheduler`", self.workers)
            checks.require(not self.processes, "processes", "be left out with `scheduler`", "both")
        if self.folder is not None:
            checks.require(str(self.folder) != ".", "folder", "be a folder of its own", repr(str(self.folder)))


@dataclass(frozen=True)
class ResultSettings:
    """What comes out, besides the table on standard output."""

    format: TableFormat = "table"
    """table, markdown or json, on standard output."""

    out: Annotated[Path | None, UNSAID] = None
    """A file for the whole estimate: FILE.json, or FILE.nc for NetCDF (gradflow.store.load_basins reads it)."""

    map: Annotated[Path | None, UNSAID] = None
    """A picture of the basins, FILE.png, .pdf or .svg, for a slice or two parameters."""

    figure: Annotated[Path | None, UNSAID] = None
    """A picture of the fractions with their intervals and of the times to converge."""

    overwrite: Annotated[bool, SWITCH] = False
    """Replace these files if they are there; without it they are never touched."""

    def __post_init__(self) -> None:
        checks.choice("format", self.format, typing.get_args(TableFormat))
        for name, endings in (("out", OUT_ENDINGS), ("map", PICTURE_ENDINGS), ("figure", PICTURE_ENDINGS)):
            path = getattr(self, name)
            if path is not None:
                is_known = Path(path).suffix.lower() in endings
                checks.require(is_known, name, f"end in {' or '.join(endings)}", repr(str(path)))
        written = [str(path) for path in self.files.values()]
        checks.require(len(set(written)) == len(written), "out", "be another file than the pictures", written)

    @property
    def files(self) -> dict[str, Path]:
        """The files that are asked for, by the settings that ask for them."""
        named = {"out": self.out, "map": self.map, "figure": self.figure}
        return {name: path for name, path in named.items() if path is not None}


@dataclass(frozen=True)
class BasinSettings:
    """Basins of attraction: where the gradient flow goes from many random starts, and how surely that is known.

    Starts are drawn, followed to named limits and counted. A table gives each class of limits its fraction with
    intervals; what is undetermined has a row and reasons, and what was never seen has a bound.
    """

    problem: ProblemSettings = field(default_factory=ProblemSettings)
    data: DataSettings = field(default_factory=DataSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    following: FollowingSettings = field(default_factory=FollowingSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    results: ResultSettings = field(default_factory=ResultSettings)

    def __post_init__(self) -> None:
        if self.problem.network is None:
            for section in (self.data, self.teacher):
                refuse_unused(section, [entry.name for entry in fields(section)], "without a network")
        elif self.data.data != TEACHER:
            names = [entry.name for entry in fields(self.teacher)]
            refuse_unused(self.teacher, names, f"unless the data are {TEACHER} (the number of starts is `samples`)")
        else:
            checks.require(self.data.task is None, "task", f"be left out for {TEACHER}", repr(self.data.task))
        if self.problem.network is not None and not self.data.is_table:
            what = "unless the data are a .csv file"
            refuse_unused(self.data, ("targets", "delimiter"), what)
        if self.problem.given:
            self._check_sampling()
            self._check_map()

    def _check_sampling(self) -> None:
        sampling, sampler = self.sampling, self.sampler
        has_matrices = not self.problem.is_landscape
        remedy = "A landscape's parameters are no matrices: take box, gaussian, ball or sphere."
        checks.require(has_matrices or sampler not in LAWS, "sampler", "be a region or slice", sampler, remedy)
        sampling.require_used(sampler)
        if self.problem.num_params is not None:
            sampling.require_sizes(sampler, self.problem.num_params)
        is_plain = sampling.design == "independent" and sampler != "slice"
        checks.require(
            is_plain or self.following.half_width is None, "half_width", "be left out for a design or slice",
            self.following.half_width, "Stopping early keeps its level for independent starts only.",
        )  # fmt: skip

    def _check_map(self) -> None:
        if self.results.map is None:
            return
        is_flat = self.sampler == "slice" or self.problem.num_params == 2
        remedy = "Take a slice: --sampler slice --through 'POINT;POINT;POINT'."
        checks.require(
            is_flat, "map", "be left out unless there are two parameters or a slice", self.results.map, remedy
        )
        size = self.sampling.resolution**2 if self.sampler == "slice" else self.sampling.samples or DEFAULT_SAMPLES
        checks.require(size <= MAX_MAPPED, "map", f"be left out for more than {MAX_MAPPED:,} starts", f"{size:,}")

    def require_complete(self) -> None:
        """Refuses settings that name no problem: a file may leave that to a flag.

        Raises:
            InputError: there is no problem.
        """
        what = "be given, or else `expression`, or else `network`"
        checks.require(bool(self.problem.given), "problem", what, "none of them", REMEDY)

    @property
    def sampler(self) -> str:
        """The law of the starts, also where it was left out."""
        return self.sampling.sampler or ("box" if self.problem.is_landscape else "gaussian")

    @property
    def decisive(self) -> dict[str, Any]:
        """What the numbers depend on, without what does nothing here: results remember it."""
        sections: list[Any] = [self.problem, self.sampling, self.following]
        sections += [self.data] * (self.problem.network is not None) + [self.teacher] * (self.data.data == TEACHER)
        shown = {"sampler": self.sampler, "design": self.sampling.design, "seed": self.sampling.seed}
        for section in sections:
            for entry in fields(section):
                value = getattr(section, entry.name)
                if value != entry.default and entry.name != "max_undetermined":
                    shown[entry.name] = value
        return shown
