"""How long does a deep linear network wait on its plateaus, by the scale of its start and by its depth?

Question: a network with H hidden layers starts at ``scale * W`` with W fixed. When does its loss fall past the first
and the second step of the ladder of critical values, and what does it wait at in between?
Prediction: near the origin the flow is homogeneous of degree H, so the first escape takes a time proportional to
``scale^-(H-1)`` for H >= 2, and ``log(1/scale) / s_1`` plus a constant for H = 1; the second step has the same power,
and ``log(1/scale) / s_2`` for H = 1. Between the steps the loss rests at the critical value ``s_2^2 / 2`` and nowhere
else: the staircase of paper 003, Lemma 2. A balanced chain of width one has a closed form.
Method: hidden widths 4, X = I, Y = diag(2, 1); several fixed Gaussian W; scales from large to small. Times are those at
which the loss crosses the middle between neighbouring critical values; the plateau's level is the loss where the
gradient is smallest between the two crossings. Powers are local slopes between the two smallest scales, medians over W.
Found: for H = 1 the plateau is too short for its critical value to be reached: with r = s_2 / s_1 the loss misses it by
a power ``4 (1 - r) / (2 + r)`` of the scale, 0.8 here (two coupled exponentials), which is what is judged since.
Cost: a minute on one core.
Source: paper 003, section 4, and math.md, part I, section 9 (escape time); Saxe, McClelland and Ganguli 2014 (H = 1).

Run: ``gradflow run plateau_times``
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from tqdm import tqdm

import gradflow as gf
from gradflow import model_problems
from gradflow.laboratory import Finding, at_most, between

STRENGTHS = (2.0, 1.0)
STEPS = ("first", "second")


@dataclass(frozen=True)
class Settings:
    """Depths, scales for H = 1 and for deeper networks, the number of starts W, the width of the hidden layers."""

    depths: tuple[int, ...] = (1, 2, 3)
    shallow_scales: tuple[float, ...] = (0.1, 1e-2, 1e-3, 1e-4)
    deep_scales: tuple[float, ...] = (0.3, 0.1, 0.03, 0.01)
    num_starts: int = 5
    width: int = 4
    rtol: float = 1e-6
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(depths=(2,), shallow_scales=(0.1, 0.05), deep_scales=(0.1, 0.05), num_starts=1, width=2)

    def scales(self, depth: int) -> tuple[float, ...]:
        """The scales for H = `depth`: one hidden layer leaves even the smallest ones in a logarithm's time."""
        return self.shallow_scales if depth == 1 else self.deep_scales


def middles(values: np.ndarray) -> tuple[float, float]:
    """Half-way between the critical values that a start near the origin passes: 5/2, 1/2 and 0."""
    top = 0.5 * sum(s**2 for s in STRENGTHS)
    levels = [value for value in values if np.isclose(value, [0.0, 0.5 * STRENGTHS[1] ** 2, top]).any()]
    return 0.5 * (levels[2] + levels[1]), 0.5 * (levels[1] + levels[0])


def crossing(times: np.ndarray, losses: np.ndarray, level: float) -> float:
    """The first time at which the loss is `level`, linear between rows; NaN if it never is."""
    below = np.flatnonzero(losses <= level)
    if not below.size or below[0] == 0:
        return np.nan
    last = below[0]
    share = (losses[last - 1] - level) / (losses[last - 1] - losses[last])
    return float(times[last - 1] + share * (times[last] - times[last - 1]))


def measure(settings: Settings) -> xr.Dataset:
    """Crossing times and plateau levels by depth, scale and start; and a chain beside its closed form."""
    scales = np.array([settings.scales(depth) for depth in settings.depths])
    shape = (*scales.shape, settings.num_starts)
    times, levels, gradients = np.full((*shape, 2), np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    cases = [(a, b, c) for a in range(shape[0]) for b in range(shape[1]) for c in range(shape[2])]
    for a, b, c in tqdm(cases, disable=None, desc="starts"):
        widths = (2, *(settings.width,) * settings.depths[a], 2)
        problem = gf.Regression(gf.networks.Linear(widths), np.eye(2), np.diag(STRENGTHS))
        generator = np.random.default_rng([settings.seed, settings.depths[a], c])
        start = tuple(scales[a, b] * generator.normal(size=shape) for shape in problem.network.shapes)
        flow = gf.GradientFlow(problem)
        run = gf.integrate(flow, start, rtol=settings.rtol, atol=1e-3 * settings.rtol * scales[a, b])
        record = gf.monitor(flow, run)
        losses, norms = record["loss"].values, record["grad_norm"].values
        middle = middles(gf.critical_values(problem).values)
        times[a, b, c] = [crossing(run.times, losses, level) for level in middle]
        between_them = np.flatnonzero((losses < middle[0]) & (losses > middle[1]))
        if between_them.size:
            quietest = between_them[norms[between_them].argmin()]
            levels[a, b, c], gradients[a, b, c] = losses[quietest], norms[quietest]
    dims = ("depth", "number", "start")
    described = {
        "scale": (("depth", "number"), scales, "factor of the start"),
        "times": ((*dims, "step"), times, "flow time at which the loss crosses the middle of a step"),
        "level": (dims, levels, "loss where the gradient is smallest between the two crossings"),
        "gradient": (dims, gradients, "smallest gradient norm between the two crossings"),
        "chain_times": (("depth",), chain_times(settings), "time of a balanced chain's start of 0.05 to 1/2"),
        "chain_exact": (("depth",), chain_exact(settings), "the same in closed form"),
    }
    variables = {
        name: (d, values, {"long_name": text, "units": "dimensionless"})
        for name, (d, values, text) in described.items()
    }
    coordinates = {"depth": list(settings.depths), "step": list(STEPS)}
    return xr.Dataset(variables, coordinates)


def chain_times(settings: Settings) -> np.ndarray:
    """When the product of a balanced chain of width one that starts at 0.05 reaches 1/2."""
    found = []
    for depth in settings.depths:
        flow = gf.GradientFlow(model_problems.scalar_chain(depth + 1, 1.0))
        start = tuple(np.full((1, 1), 0.05 ** (1 / (depth + 1))) for _ in range(depth + 1))
        run = gf.integrate(flow, start, rtol=1e-9, atol=1e-12, t1=1e4)
        products = np.prod([np.asarray(layer).ravel() for layer in run.params], axis=0)
        found.append(float(np.interp(0.5, products, run.times)))
    return np.array(found)


def chain_exact(settings: Settings) -> np.ndarray:
    """The same time as an integral over the product u: ``du/dt = (H + 1) u^(2H/(H+1)) (1 - u)``."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    logs = 0.5 * (np.log(0.5) - np.log(0.05)) * (nodes + 1) + np.log(0.05)
    u = np.exp(logs)
    scale = 0.5 * (np.log(0.5) - np.log(0.05))
    return np.array([
        scale * np.sum(weights * u / ((depth + 1) * u ** (2 * depth / (depth + 1)) * (1 - u)))
        for depth in settings.depths
    ])  # fmt: skip


def slopes(results: xr.Dataset) -> xr.DataArray:
    """Local slopes between the two smallest scales: of log time in log scale, for H = 1 of time in log(1/scale)."""
    pair = results.isel(number=slice(-2, None))
    logs = np.log(pair["scale"]).diff("number")
    power = (np.log(pair["times"]).diff("number") / logs).isel(number=0)
    linear = (-pair["times"].diff("number") / logs).isel(number=0)
    return xr.where(results["depth"] == 1, linear, power).median("start")


def findings(results: xr.Dataset) -> list[Finding]:
    """Powers, logarithms and the plateau's level."""
    found, measured = [], slopes(results)
    section = "math.md, part I, section 9"
    for depth in results["depth"].values:
        for step, strength in zip(STEPS, STRENGTHS, strict=True):
            value = float(measured.sel(depth=depth, step=step))
            if depth == 1:
                claim = f"H = 1: growth of the time of the {step} step with log(1/scale)"
                found.append(between(claim, value, 0.95 / strength, 1.05 / strength, "Saxe and others 2014"))
            else:
                claim = f"H = {depth}: power of the scale in the time of the {step} step"
                found.append(between(claim, value, -(depth - 1) - 0.1, -(depth - 1) + 0.1, section))
    deviation = abs(results["level"] - 0.5 * STRENGTHS[1] ** 2)
    ratio = STRENGTHS[1] / STRENGTHS[0]
    predicted, lemma = 4 * (1 - ratio) / (2 + ratio), "paper 003, Lemma 2"
    if 1 in results["depth"]:
        pair = deviation.sel(depth=1).isel(number=slice(-2, None)).median("start").values
        power = float(np.diff(np.log(pair))[0] / np.diff(np.log(results["scale"].sel(depth=1).values[-2:]))[0])
        claim = "H = 1: power of the scale in what the plateau misses the critical value by"
        found.append(between(claim, power, predicted - 0.1, predicted + 0.1, "two coupled exponentials"))
    off = deviation.isel(number=-1).max()
    chain = (abs(results["chain_times"] / results["chain_exact"] - 1)).max()
    return [
        *found,
        at_most("distance of the plateau between the steps from the critical value 1/2", off, 0.01, lemma),
        at_most("time of a balanced chain of width one against its closed form, relative", chain, 2e-3, "the integral"),
    ]
