"""Do shortcuts help near the origin: is it a good place to start a residual network, and a bad one for a linear one?

Question: paper 000 says that residual networks have the better landscape near the origin. Where both start with weights
of size eps, how do the constant of gradient dominance and the time to learn depend on eps?
Prediction: with l layers a linear network at size eps has a constant of a single state proportional to ``eps^-2(l-1)``
and waits: its time to lose 99 % of its excess grows by a constant for every factor of eps if l = 2, and like
``eps^-(l-2)`` if l > 2. A residual network's constant stays within a factor 3 of its value at the identity, and its
time does not depend on eps. This holds for targets near the identity. For a target with a negative determinant the
origin of a residual network is no good place: it too has to pass a singular matrix, and from exactly zero it runs into
a saddle when the target is symmetric.
Method: d = 3, X = I, targets ``I + 0.3 G`` and ``diag(1.2, 0.9, -0.8)``; l = 2, 3; eps from 0.3 to 0.001; medians over
starts. The time is the first with less than 1 % of the excess.
Found: from exactly zero the run does not stay at that saddle where it is strict (l = 2): rounding breaks the symmetry,
and it leaves. So what is predicted is that it comes to rest there.
Cost: a minute on one core.
Source: paper 000, section 4 (a qualitative claim, no statement); math.md, part I, section 9, for the waiting.

Run: ``gradflow run residual_beside_linear``
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

import gradflow as gf
from gradflow.certificates import dominance
from gradflow.laboratory import Finding, at_least, at_most, between, holds

NETWORKS = ("linear", "residual")
TARGETS = ("near I", "negative determinant")


@dataclass(frozen=True)
class Settings:
    """Numbers of layers, sizes of the start, and the number of starts."""

    layers: tuple[int, ...] = (2, 3)
    sizes: tuple[float, ...] = (0.3, 0.1, 0.03, 0.01, 0.003)
    num_starts: int = 3
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(layers=(2,), sizes=(0.1, 0.01), num_starts=1)


def target_of(name: str) -> np.ndarray:
    """``I + 0.3 G`` with a fixed Gaussian G, or a symmetric matrix with one negative eigenvalue."""
    if name == TARGETS[1]:
        return np.diag([1.2, 0.9, -0.8])
    return np.eye(3) + 0.3 * np.random.default_rng(7).normal(size=(3, 3))


def problem_of(network: str, layers: int, target: str) -> gf.Regression:
    """The regression on X = I."""
    made = {"linear": gf.networks.Linear((3,) * (layers + 1)), "residual": gf.networks.Residual(3, layers, 1)}
    return gf.Regression(made[network], np.eye(3), target_of(target))


def measure(settings: Settings) -> xr.Dataset:
    """Constants at the start, times and ends by network, layers, target, size and start; and runs from exactly 0."""
    shape = (len(NETWORKS), len(settings.layers), len(TARGETS), len(settings.sizes), settings.num_starts)
    constants, times, ends = (np.full(shape, np.nan) for _ in range(3))
    for place in tqdm(list(np.ndindex(*shape)), disable=None, desc="starts"):
        a, b, c, d, e = place
        problem = problem_of(NETWORKS[a], settings.layers[b], TARGETS[c])
        generator = np.random.default_rng([settings.seed, e])
        start = tuple(settings.sizes[d] * generator.normal(size=(3, 3)) for _ in problem.network.shapes)
        constants[place] = dominance.pointwise_constant(problem, start)
        times[place], ends[place] = settled(problem, start)
    quiet = [rest_at_saddle(problem_of("residual", layers, TARGETS[1])) for layers in settings.layers]
    dims = ("network", "layers", "target", "size", "start")
    described = {
        "constant": (dims, constants, "constant of gradient dominance at the start"),
        "time": (dims, times, "first flow time with less than 1 % of the excess"),
        "end": (dims, ends, "loss in the end"),
        "quiet": (
            ("layers",),
            np.array(quiet),
            "smallest gradient norm near the saddle's loss, residual from exactly 0",
        ),
    }
    variables = {
        name: (d, values, {"long_name": text, "units": "dimensionless"})
        for name, (d, values, text) in described.items()
    }
    names: dict[str, Any] = {"network": list(NETWORKS), "layers": list(settings.layers), "target": list(TARGETS)}
    return xr.Dataset(variables, names | {"size": list(settings.sizes)})


def rest_at_saddle(problem: gf.Regression) -> float:
    """The smallest gradient norm where the loss is within 1e-3 of the saddle's, on the way from exactly 0."""
    flow, value = gf.GradientFlow(problem), 0.5 * 0.8**2
    run = gf.integrate(flow, tuple(np.zeros((3, 3)) for _ in problem.network.shapes), 1e6)
    record = gf.monitor(flow, run)
    near = np.abs(record["loss"].values - value) < 1e-3
    return float(record["grad_norm"].values[near].min()) if near.any() else np.nan


def settled(problem: gf.Regression, start: tuple[np.ndarray, ...]) -> tuple[float, float]:
    """The first time with less than 1 % of the loss, linear between rows, and the loss in the end."""
    flow = gf.GradientFlow(problem)
    run = gf.integrate(flow, start, rtol=1e-6, atol=1e-9)
    losses = gf.monitor(flow, run)["loss"].values
    level, below = 0.01 * losses[0], np.flatnonzero(losses <= 0.01 * losses[0])
    if not below.size:
        return np.nan, float(losses[-1])
    last = below[0]
    share = (losses[last - 1] - level) / (losses[last - 1] - losses[last])
    return float(run.times[last - 1] + share * (run.times[last] - run.times[last - 1])), float(losses[-1])


def findings(results: xr.Dataset) -> list[Finding]:
    """Powers of eps for the linear network, none for the residual one; and the target that spoils it."""
    found, claim = [], "paper 000, section 4"
    near = results.sel(target=TARGETS[0]).sortby("size").median("start")
    logs = float(np.diff(np.log(near["size"].values[:2]))[0])
    for layers in results["layers"].values:
        linear, residual = (near.sel(network=name, layers=layers) for name in NETWORKS)
        steepness = float(np.diff(np.log(linear["constant"].values[:2]))[0]) / logs
        least = -2 * (int(layers) - 1)
        found.append(between(f"linear, l = {layers}: power of eps in the constant", steepness, least - 0.1, least + 0.1,
                             "paper 000, eq. (42)"))  # fmt: skip
        if layers == 2:
            steps = -np.diff(linear["time"].values[:3]) / np.diff(np.log(linear["size"].values[:3]))
            found.append(at_least("linear, l = 2: growth of the time with log(1/eps)", steps.min(), 0.5, "saddle at 0"))
        else:
            power = float(np.diff(np.log(linear["time"].values[:2]))[0]) / logs
            found.append(between(f"linear, l = {layers}: power of eps in the time", power, 2 - layers - 0.1,
                                 2 - layers + 0.1, "math.md, part I, section 9"))  # fmt: skip
        small = residual.sel(size=residual["size"] <= 0.1)
        found += [
            at_most(f"residual, l = {layers}, eps <= 0.1: largest constant / smallest",
                    small["constant"].max() / small["constant"].min(), 3.0, claim),
            at_most(f"residual, l = {layers}, eps <= 0.1: longest time / shortest",
                    small["time"].max() / small["time"].min(), 1.5, claim),
        ]  # fmt: skip
    crossing = results.sel(target=TARGETS[1], network="residual").sortby("size").median("start")["time"].isel(size=0)
    easy = near.sel(network="residual")["time"].isel(size=0)
    return [
        *found,
        at_least("residual, smallest eps: time for the negative determinant / time near I, the smallest",
                 (crossing / easy).min(), 2.0, "it passes a singular matrix"),
        at_most("residual from exactly 0, negative determinant: gradient norm at the saddle, the largest over l",
                results["quiet"].max(), 1e-6, "symmetry: the flow keeps the eigenvectors"),
        holds("starts in general position that end at loss 0", (results["end"] < 1e-6).sum(), results["end"].size,
              "almost every start"),
    ]  # fmt: skip
