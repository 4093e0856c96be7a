"""What a run of a linear network is: data, network, start, flow, solver and where the results go.

Each section is a frozen dataclass; its field docstrings are the help text of the command line, in which each of their
lines starts a new line. Ranges are checked by the section, what goes together by :class:`RunSettings`. Names of data
sets, laws and solvers are written out here as literal types, because the registries behind them import JAX; a test
keeps both lists equal.
"""

import math
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gradflow import checks
from gradflow.datasets.files import OTHER_FILES

Task = Literal["regression", "classification", "autoencoder"]
Step = Literal[
    "center", "center_targets", "standardize", "standardize_targets", "scale", "drop_constant_features", "whiten"
]
Law = Literal["gaussian", "fan_in", "glorot", "balanced", "orthogonal", "zero_asymmetric"]
Solver = Literal[
    "auto", "bosh3", "tsit5", "dopri5", "dopri8", "kvaerno3", "kvaerno4", "kvaerno5", "rodas3", "rodas4", "rodas5p",
    "radau9", "bdf", "rkc2", "rkl2", "gauss2", "gauss4", "gauss6",
]  # fmt: skip
InputLaw = Literal["gaussian", "whitened"]
FlowName = Literal["original", "reduced"]
Normalization = Literal["sum", "mean"]

UNSAID: Any = tyro.conf.arg(help_behavior_hint="")
"""Marks a setting whose help text says itself what holds if it is left out."""

SWITCH: Any = tyro.conf.arg(help_behavior_hint=lambda value: f"(default: {'yes' if value == 'True' else 'no'})")
"""Marks a setting that is on or off."""

SHIPPED = ("digits", "iris", "wine", "diabetes", "breast_cancer")
TEACHER = "teacher_student"
FILE_ENDINGS = (".csv", ".npz")


@dataclass(frozen=True)
class DataSettings:
    """Where inputs and targets come from. Nothing is rescaled unless --preprocess says so."""

    data: str = "digits"
    """digits, iris, wine, diabetes or breast_cancer: real data that is always there.
    Or teacher_student: synthetic. Or your own FILE.csv or FILE.npz (arrays X, Y), one sample per row."""

    task: Annotated[Task | None, UNSAID] = None
    """What the targets are: numbers as given, one-hot classes, or the inputs themselves.
    If left out: what suits the data set, and regression for a file."""

    targets: Annotated[tuple[str, ...], UNSAID] = ()
    """Target columns of a .csv file, by name or by number from 0 (-1 is the last).
    If left out: the last column."""

    delimiter: str = ","
    """What separates the entries of a .csv file, in quotes: ';', or '\\t' for a tab."""

    preprocess: Annotated[tuple[Step, ...], UNSAID] = ()
    """Steps applied in this order, to the inputs unless the name says otherwise, e.g. center whiten.
    center: mean 0. standardize: mean 0 and standard deviation 1. scale: largest singular value 1.
    whiten: X X^T = I, without centring. If left out: none.
    A linear network has no biases, so it cannot fit a mean. After whiten both flows are the same."""

    def __post_init__(self) -> None:
        if self.is_file:
            ending = Path(self.data).suffix.lower()
            what = "end in .csv or .npz if it is a file"
            checks.require(ending in FILE_ENDINGS, "data", what, repr(self.data), OTHER_FILES)
        else:
            name = _spelled(self, "data")
            names = (*SHIPPED, TEACHER)
            remedy = f"{checks.nearest(name, names)} Or your own FILE.csv or FILE.npz."
            checks.require(name in names, "data", "be a known name", repr(self.data), remedy)
        if self.task is not None:
            checks.choice("task", self.task, typing.get_args(Task))
        _no_text(self, "targets", "preprocess")
        for step in self.preprocess:
            checks.choice("preprocess", step, typing.get_args(Step))
        checks.delimiter("delimiter", self.delimiter)

    @property
    def is_file(self) -> bool:
        """True when `data` names a file and not a data set."""
        return "." in self.data or "/" in self.data

    @property
    def is_table(self) -> bool:
        """True when `data` names a .csv file."""
        return self.is_file and Path(self.data).suffix.lower() == ".csv"


@dataclass(frozen=True)
class TeacherSettings:
    """Synthetic data, for --data teacher_student only: Y = T_L ... T_1 X + noise, T a linear teacher network."""

    teacher_widths: tuple[int, ...] = (8, 4, 4)
    """The teacher's widths from input to output; its narrowest layer is the rank of the target map."""

    num_samples: int = 200
    """Number of samples."""

    noise: float = 0.0
    """Standard deviation of independent normal noise on the targets."""

    input_law: InputLaw = "gaussian"
    """Inputs with independent N(0, 1) entries, or whitened ones, X X^T = I."""

    def __post_init__(self) -> None:
        _no_text(self, "teacher_widths")
        checks.widths(self.teacher_widths, "teacher_widths")
        checks.integer("num_samples", self.num_samples)
        checks.real("noise", self.noise, at_least=0.0)
        checks.choice("input_law", self.input_law, typing.get_args(InputLaw))


@dataclass(frozen=True)
class NetworkSettings:
    """The deep linear network W_{H+1} ... W_1."""

    hidden: tuple[int, ...] = (16,)
    """Widths of the hidden layers in acting order; input and output widths come from the data.
    Nothing after --hidden means no hidden layer: a single matrix."""

    def __post_init__(self) -> None:
        _no_text(self, "hidden")
        for index, width in enumerate(self.hidden):
            checks.integer(f"hidden[{index}]", width)


@dataclass(frozen=True)
class InitSettings:
    """The weights at time 0."""

    init: Law = "gaussian"
    """Law the weights are drawn from. gaussian is the one for statements about almost every start.
    The last three live on sets of measure zero and are for theory."""

    scale: float = 0.1
    """Standard deviation of the gaussian law's entries, gain of the others.
    Three layers or more and a small scale mean a long plateau."""

    seed: int = 0
    """Seed of everything random; the same seed gives the same run."""

    def __post_init__(self) -> None:
        checks.choice("init", self.init, typing.get_args(Law))
        checks.real("scale", self.scale, above=0.0)
        checked_seed(self.seed)


@dataclass(frozen=True)
class FlowSettings:
    """Which gradient flow, of which loss."""

    flow: FlowName = "original"
    """original: the gradient flow of the weights.
    reduced: that of the loss in SVD-reduced coordinates; it needs inputs of full row rank.
    The two are the same only when X X^T = I."""

    normalization: Normalization = "sum"
    """Half the squared error, summed over the samples or their mean, which slows the flow by their number."""

    weight_decay: float = 0.0
    """Adds half of it times ||W||^2 to the loss."""

    def __post_init__(self) -> None:
        checks.choice("flow", self.flow, typing.get_args(FlowName))
        checks.choice("normalization", self.normalization, typing.get_args(Normalization))
        checks.real("weight_decay", self.weight_decay, at_least=0.0)
        checks.require(
            self.flow == "original" or self.weight_decay == 0.0,
            "weight_decay",
            "be 0 for the reduced flow",
            f"{self.weight_decay:g}",
            "Its theory has no regulariser; take the original flow.",
        )


@dataclass(frozen=True)
class SolverSettings:
    """How the flow is integrated. Steps are adaptive and the run ends when the flow has truly ended."""

    t1: float = math.inf
    """Horizon in flow time. inf: go on until the flow has ended, has escaped or is out of steps."""

    rtol: float = 1e-8
    """Local error per step relative to the weights, 1e-14 to 1.
    A relative drift of a conserved quantity of up to 100 times that counts as consistent with it."""

    atol: Annotated[float | None, UNSAID] = None
    """Local error per step that is always allowed. If left out: a hundredth of rtol."""

    solver: Solver = "auto"
    """auto: tsit5, then radau9, rodas5p or bdf if the flow turns out to be stiff.
    kvaerno, rodas, radau9, bdf and gauss solvers are implicit; rkc2 and rkl2 are explicit and made for stiff flows."""

    grad_tol: Annotated[float | None, UNSAID] = None
    """Gradient norm below which the flow counts as ended.
    If left out: when the remaining distance to the limit is below the tolerance."""

    max_norm: Annotated[float | None, UNSAID] = None
    """Norm of the weights beyond which the run counts as escaped.
    If left out: 10 000 times the larger of 1 and the norm of the start."""

    max_steps: int = 1_000_000
    """Largest number of steps tried."""

    def __post_init__(self) -> None:
        remedy = "Backward integration is for scripts: gradflow.integrate(flow, params0, t1=-1.0)."
        is_backward = isinstance(self.t1, int | float) and self.t1 < 0
        checks.require(not is_backward, "t1", "be greater than 0", self.t1, remedy)
        checks.real("t1", self.t1, above=0.0, infinite=True)
        checks.tolerances(self.rtol, self.absolute_tolerance)
        checks.choice("solver", self.solver, typing.get_args(Solver))
        if self.grad_tol is not None:
            checks.real("grad_tol", self.grad_tol, above=0.0)
        if self.max_norm is not None:
            checks.real("max_norm", self.max_norm, above=0.0, infinite=True)
        checks.integer("max_steps", self.max_steps)

    @property
    def absolute_tolerance(self) -> float:
        """`atol`, or what stands for it."""
        return 1e-2 * self.rtol if self.atol is None else self.atol


@dataclass(frozen=True)
class OutputSettings:
    """Where the results go: one folder with study.nc (everything), settings.toml and overview.pdf/.png."""

    out: Path = Path("gradflow-run")
    """Folder for the results; made if it is missing, and checked before anything is computed."""

    overwrite: Annotated[bool, SWITCH] = False
    """Replace results that are already in the folder; without it they are never touched."""

    figures: Annotated[bool, SWITCH] = True
    """Draw overview.pdf and overview.png."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", checked_folder(self.out))


@dataclass(frozen=True)
class RunSettings:
    """Your own data: integrates the gradient flow of a deep linear network to its end.

    Certifies bounds and rates before, watches invariants and energy on the way, names the endpoint, checks every
    promise, prints a table, and saves results and figures.
    """

    data: DataSettings = field(default_factory=DataSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    init: InitSettings = field(default_factory=InitSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    solver: SolverSettings = field(default_factory=SolverSettings)
    output: OutputSettings = field(default_factory=OutputSettings)

    def __post_init__(self) -> None:
        if self.data.data != TEACHER:
            _unused(self.teacher, f"be left out unless the data are {TEACHER}")
        requirement = "be left out unless the data are a .csv file"
        if not self.data.is_table:
            checks.require(not self.data.targets, "targets", requirement, " ".join(self.data.targets))
            checks.require(self.data.delimiter == ",", "delimiter", requirement, repr(self.data.delimiter))
        if self.data.data == TEACHER:
            checks.require(self.data.task is None, "task", f"be left out for {TEACHER}", repr(self.data.task))


DEMO_FOLDER = Path("gradflow-demo")
"""Where the demo puts its results, and replaces those of an earlier demo."""


@dataclass(frozen=True)
class DemoSettings:
    """The main job on real data: a deep linear network learns to tell handwritten digits.

    The network has widths 64, 32, 16, 10, the data set 1797 samples. The gradient flow from a small random start is
    certified, integrated to its end and watched, its endpoint named; a table, figures and a results file tell the rest.
    """

    out: Path = DEMO_FOLDER
    """Folder for the results; made if it is missing, and checked before anything is computed."""

    overwrite: Annotated[bool, SWITCH] = False
    """Replace results that are already in the folder; those in gradflow-demo always are."""

    rtol: float = 1e-6
    """Local error per step relative to the weights; smaller is more exact and slower."""

    seed: int = 0
    """Seed of the random start; another one gives another run with the same end."""

    figures: Annotated[bool, SWITCH] = True
    """Draw overview.pdf and overview.png."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", checked_folder(self.out))
        checks.tolerances(self.rtol, 1e-2 * self.rtol)
        checked_seed(self.seed)

    @property
    def run(self) -> RunSettings:
        """The run that the demo is."""
        is_own = self.out == checked_folder(DEMO_FOLDER)
        return RunSettings(
            data=DataSettings(data="digits", preprocess=("whiten",)),
            network=NetworkSettings(hidden=(32, 16)),
            init=InitSettings(init="gaussian", scale=0.1, seed=self.seed),
            flow=FlowSettings(normalization="mean"),
            solver=SolverSettings(rtol=self.rtol),
            output=OutputSettings(out=self.out, overwrite=self.overwrite or is_own, figures=self.figures),
        )


def checked_seed(seed: Any) -> int:
    """`seed`, a whole number from 0 to 2**63 - 1."""
    value = checks.integer("seed", seed, at_least=0)
    checks.require(value < 2**63, "seed", "be below 2**63", value)
    return value


def checked_folder(out: Any) -> Path:
    """`out` as the path of a folder; whether it can be written is looked at when it is about to be."""
    checks.require(isinstance(out, str | Path) and str(out) != "", "out", "be a folder", repr(out))
    return Path(out)


def _spelled(settings: DataSettings, name: str) -> str:
    """The field with hyphens read as underscores, which is then what the settings hold."""
    value = str(getattr(settings, name)).replace("-", "_")
    object.__setattr__(settings, name, value)
    return value


def _no_text(settings: Any, *names: str) -> None:
    """A string is a sequence too, of letters: refuse it where a sequence is meant, and keep the others as tuples."""
    for name in names:
        value = getattr(settings, name)
        checks.require(isinstance(value, tuple | list), name, "be a sequence", repr(value))
        object.__setattr__(settings, name, tuple(value))


def _unused(section: Any, requirement: str) -> None:
    default = type(section)()
    for name, value in vars(section).items():
        checks.require(value == getattr(default, name), name, requirement, repr(value))
