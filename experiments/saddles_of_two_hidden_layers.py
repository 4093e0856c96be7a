"""What do the saddles of networks with two hidden layers look like, and how does a flow leave each kind?

Question: section 4.2 of paper 003 sorts the critical points with H = 2 into cases. Which are strict, what is their
lowest eigenvalue, and how long does a run wait that starts at the distance delta from one?
Prediction: cases 1.1 and 2.1 are strict, case 1.2 is not (its Hessian is zero), case 2.2 is strict exactly when a
larger singular value is missed than the smallest learned one (Remark 3), and so is every point with r_Z > r. A run
leaves a strict saddle after a time that grows by ``1 / |lambda_min|`` with ``log(1/delta)``; a non-strict one, whose
loss falls only at third order, after a time proportional to ``1 / delta``. All of them leave: nothing that starts in
general position stays, and at a strict saddle nothing but the lowest eigenvalue sets the pace.
Method: random members of each case, target diag(2, 1), X = I, widths 3-2-2-2; spectra from the dense Hessian; random
directions; leaving is having lost a tenth of the critical value. Growth and power are local slopes between the two
smallest distances, medians over starts of one point, then over points.
Cost: two minutes on one core.
Source: paper 003, section 4.2, Remark 3, Prop. 3 (iii); math.md, part I, section 7.

Run: ``gradflow run saddles_of_two_hidden_layers``
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from tqdm import tqdm

import gradflow as gf
from gradflow.critical_sets import deep_linear
from gradflow.laboratory import Finding, at_most, between, holds, none_of

CASES = {
    "1.1": ("1.1", (), "last", True),
    "1.2": ("1.2", (), "first", False),
    "2.1 first": ("2.1", (0,), "first", True),
    "2.1 last": ("2.1", (0,), "last", True),
    "2.2 large learned": ("2.2", (0,), "first", False),
    "2.2 small learned": ("2.2", (1,), "first", True),
    "r_Z > r": ("", (0,), "", True),
}
"""By name: the paper's case, what is learned, which block is not zero, and whether the saddle is strict."""

ZERO = 1e-9
"""Eigenvalues closer to zero are zero."""


@dataclass(frozen=True)
class Settings:
    """Points whose spectrum is looked at; points, starts and distances of departures."""

    num_points: int = 30
    num_departures: int = 3
    num_starts: int = 5
    cases: tuple[str, ...] = tuple(CASES)
    distances: tuple[float, ...] = (0.03, 0.01, 0.003)
    strict_distances: tuple[float, ...] = (1e-3, 1e-4, 1e-5)
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(num_points=5, num_departures=1, num_starts=1, cases=("1.2", "2.2 small learned"),
                   distances=(0.03, 0.01), strict_distances=(1e-4, 1e-5))  # fmt: skip


def problem() -> gf.Regression:
    """Widths 3-2-2-2, X = I, singular values 2 and 1."""
    return gf.Regression(gf.networks.Linear((3, 2, 2, 2)), np.eye(3), np.eye(2, 3) * np.array([[2.0], [1.0]]))


def member(name: str, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
    """A random critical point of one of the cases."""
    case, learned, nonzero, _ = CASES[name]
    if case:
        return tuple(deep_linear.construct_case(problem(), case, learned, key=generator, nonzero=nonzero))
    first, last = np.zeros((2, 3)), np.zeros((2, 2))
    first[0, 0], last[0, 0] = 2.0, 1.0
    outer, inner = (np.eye(2) + 0.3 * generator.normal(size=(2, 2)) for _ in range(2))
    return inner @ first, outer @ np.linalg.inv(inner), last @ np.linalg.inv(outer)


def measure(settings: Settings) -> xr.Dataset:
    """Spectra of random members, and times of departure, by case."""
    loss, cases = problem(), settings.cases
    flow = gf.GradientFlow(loss)
    size = sum(rows * columns for rows, columns in loss.network.shapes)
    spectra = np.full((len(cases), settings.num_points, size), np.nan)
    gradients = np.full(spectra.shape[:2], np.nan)
    shape = (len(cases), settings.num_departures, settings.num_starts, len(settings.distances))
    strict = [CASES[name][3] for name in cases]
    distances = np.array([settings.strict_distances if one else settings.distances for one in strict])
    times, finals = np.full(shape, np.nan), np.full(shape, np.nan)
    for a, name in enumerate(tqdm(cases, disable=None, desc="cases")):
        generator = np.random.default_rng([settings.seed, list(CASES).index(name)])
        points = [member(name, generator) for _ in range(settings.num_points)]
        for b, point in enumerate(points):
            spectra[a, b] = np.linalg.eigvalsh(np.asarray(loss.hessian(point)))
            gradients[a, b] = np.sqrt(sum(np.sum(np.asarray(part) ** 2) for part in loss.gradient(point)))
        for b in range(settings.num_departures):
            value = float(loss.loss(points[b]))
            for c in range(settings.num_starts):
                direction = [generator.normal(size=layer.shape) for layer in points[b]]
                length = np.sqrt(sum(np.sum(part**2) for part in direction))
                for d, distance in enumerate(distances[a]):
                    start = tuple(x + distance / length * y for x, y in zip(points[b], direction, strict=True))
                    times[a, b, c, d], finals[a, b, c, d] = departure(flow, start, 0.9 * value)
    dims = ("case", "departure", "start", "number")
    described = {
        "spectrum": (("case", "point", "eigenvalue"), spectra, "eigenvalues of the Hessian, ascending"),
        "gradient": (("case", "point"), gradients, "gradient norm"),
        "is_strict": (("case",), np.array(strict), "whether the case is predicted strict"),
        "distance": (("case", "number"), distances, "distance of the start from the saddle"),
        "times": (dims, times, "flow time at which a tenth of the critical value is lost"),
        "final": (dims, finals, "loss in the end"),
    }
    variables = {
        name: (d, values, {"long_name": text, "units": "dimensionless"})
        for name, (d, values, text) in described.items()
    }
    return xr.Dataset(variables, {"case": list(cases)})


def departure(flow: gf.GradientFlow, start: tuple[np.ndarray, ...], level: float) -> tuple[float, float]:
    """When the loss falls below `level` for the first time, linear between rows, and the loss in the end."""
    run = gf.integrate(flow, start, rtol=1e-7, atol=1e-10)
    record = gf.monitor(flow, run)
    losses, below = record["loss"].values, np.flatnonzero(record["loss"].values <= level)
    if not below.size or below[0] == 0:
        return np.nan, float(losses[-1])
    last = below[0]
    share = (losses[last - 1] - level) / (losses[last - 1] - losses[last])
    return float(run.times[last - 1] + share * (run.times[last] - run.times[last - 1])), float(losses[-1])


def findings(results: xr.Dataset) -> list[Finding]:
    """Strictness, and the law of departure of each case."""
    lowest, strict = results["spectrum"].isel(eigenvalue=0), results["is_strict"]
    section = "paper 003, section 4.2 and Remark 3"
    right = ((lowest < -ZERO) == strict).sum()
    found = [
        at_most("gradient norm at the members, the largest", results["gradient"].max(), 1e-12, section),
        holds("members that are strict saddles or not, as predicted", right, lowest.size, section),
        none_of("starts near a saddle that do not end at loss 0", (results["final"] > 1e-6).sum(),
                results["final"].size, "math.md, part I, section 7"),
    ]  # fmt: skip
    if "1.2" in results["case"]:
        largest = abs(results["spectrum"].sel(case="1.2")).max()
        found.append(at_most("case 1.2: largest |eigenvalue|", largest, 1e-12, "math.md, part I, section 7"))
    pair = results["times"].isel(number=slice(-2, None))
    logs = np.log(results["distance"]).isel(number=slice(-2, None)).diff("number")
    growth = (-pair.diff("number") / logs).isel(number=0).median("start")
    power = (np.log(pair).diff("number") / logs).isel(number=0).median("start")
    for name in results["case"].values:
        if bool(strict.sel(case=name)):
            rates = abs(lowest.sel(case=name)).isel(point=slice(0, results.sizes["departure"]))
            ratio = (growth.sel(case=name).values * rates.values).tolist()
            claim = f"case {name}: growth of the time with log(1/delta) times |lambda_min|"
            found.append(between(claim, np.median(ratio), 0.9, 1.1, "linearised flow"))
        else:
            claim = f"case {name}: power of delta in the time"
            found.append(between(claim, power.sel(case=name).median(), -1.15, -0.85, "third-order loss"))
    return found
