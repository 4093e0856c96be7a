"""How good are paper 000's constants of gradient dominance and regularity around global minimisers?

Question: around every global minimiser ``L - L* <= lambda ||grad L||^2``, and the gradient points towards it (``<grad
L, v> >= alpha ||grad L||^2 + beta ||v||^2``). Do random states inside the certified neighbourhoods obey, and how much
larger could constants and neighbourhoods be?
Prediction: no violation for linear, residual (shortcuts over one and two layers) and leaky-ReLU networks. The constant
lambda is attained in one dimension, at the edge where both layers are half of the minimiser's; of random states in
three dimensions none comes within a factor 3 of it, and the constant of a single state is several times smaller and
never larger; a flow that starts inside decays at least as fast as ``e^{-t/lambda}``. The radius of regularity is safe
but conservative: along random directions in the allowed subspace the inequality first fails farther than ``eps``, by a
median factor of more than 3.
Method: random square problems, d = 3, random minimisers; states uniform in the radius along random directions (half of
them rank-one, which are the worst); for regularity, directions orthogonal to the kernel of G; the failure radius by
bisection on a grid; flows of a few starts at rtol 1e-9.
Found: predicted first was that random states use a third of lambda. Linear networks were seen to use a sixteenth at
most: lambda multiplies the worst direction of every layer and of X, which no state has all at once. Hence the case d =
1.
Cost: a minute on one core.
Source: paper 000, Theorems 1 to 6, with the explicit neighbourhoods of math.md, part II, C5 and C6.

Run: ``gradflow run dominance_and_regularity``
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

import gradflow as gf
from gradflow.certificates import dominance, regularity_conditions
from gradflow.critical_sets import minimisers
from gradflow.laboratory import Finding, at_least, at_most, dataset_of, none_of

NETWORKS = ("linear", "residual, r = 1", "residual, r = 2", "leaky_relu")
LABELS = {
    "network": "kind of network",
    "problem": "number of the problem",
    "largest_ratio": "largest (L - L*) / (lambda ||grad L||^2) inside",
    "broken": "states inside that break gradient dominance",
    "states": "states looked at",
    "pointwise": "largest of the constants of single states inside over lambda",
    "pointwise_median": "their median over lambda",
    "rate_ratio": "smallest rate of the flow inside, -log(L/L(0))/t, times lambda; NaN where none was run",
    "regularity_broken": "states inside eps, in allowed directions, that break regularity",
    "regularity_states": "such states looked at",
    "failure": "median of the distance at which regularity first fails over eps, 100 where it does not by then",
    "failure_least": "smallest such distance over eps",
}


@dataclass(frozen=True)
class Settings:
    """Problems of each kind, states and directions at each minimiser."""

    num_problems: int = 6
    num_states: int = 100
    num_directions: int = 12
    networks: tuple[str, ...] = NETWORKS
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(num_problems=1, num_states=20, num_directions=5, networks=("linear",))


def problem_of(network: str, generator: np.random.Generator) -> tuple[gf.Regression, Any]:
    """A random problem, d = 3, and one of its global minimisers."""
    X = np.linalg.qr(generator.normal(size=(3, 3)))[0] * np.exp(generator.uniform(-0.3, 0.3, 3))
    made = {
        "linear": (gf.networks.Linear((3, 3, 3)), minimisers.linear),
        "residual, r = 1": (gf.networks.Residual(3, 2, 1), minimisers.residual),
        "residual, r = 2": (gf.networks.Residual(3, 2, 2), minimisers.residual),
        "leaky_relu": (gf.networks.Shallow((3, 3, 3), activation="leaky_relu"), minimisers.one_hidden_layer),
    }
    chosen, family = made[network]
    Y = (np.eye(3) + 0.5 * generator.normal(size=(3, 3))) @ X
    problem = gf.Regression(chosen, X, Y)
    return problem, family.sample(problem, generator)


def direction(shapes: Any, generator: np.random.Generator, is_thin: bool) -> list[np.ndarray]:
    """Random matrices of operator norm 1, of rank one if wanted."""
    parts = [
        np.outer(generator.normal(size=rows), generator.normal(size=columns))
        if is_thin
        else generator.normal(size=(rows, columns))
        for rows, columns in shapes
    ]
    return [part / np.linalg.norm(part, 2) for part in parts]


def moved(centre: Any, steps: Any, length: float) -> tuple[np.ndarray, ...]:
    """``centre + length * steps``."""
    return tuple(np.asarray(x) + length * np.asarray(y) for x, y in zip(centre, steps, strict=True))


def measure(settings: Settings) -> xr.Dataset:
    """One case per network and problem."""
    cases = [(network, number) for network in settings.networks for number in range(settings.num_problems)]
    rows = [_row(settings, *case) for case in tqdm(cases, disable=None, desc="problems")]
    text = "largest (L - L*) / (lambda ||grad L||^2) at the edge of the neighbourhood, d = 1, two layers"
    edge = xr.Variable((), edge_ratio(), {"long_name": text, "units": "dimensionless"})
    return dataset_of(rows, LABELS).assign(edge=edge)


def edge_ratio() -> float:
    """The share of lambda that is used in one dimension with both layers at half of the minimiser's, just inside."""
    problem = gf.Regression(gf.networks.Linear((1, 1, 1)), np.eye(1), np.eye(1))
    found = dominance.gradient_dominance(problem, (np.eye(1), np.eye(1)))
    return found.ratio(tuple((1 - found.radius * (1 - 1e-9)) * np.eye(1) for _ in range(2)))


def _row(settings: Settings, network: str, number: int) -> dict[str, object]:
    generator = np.random.default_rng([settings.seed, NETWORKS.index(network), number])
    problem, centre = problem_of(network, generator)
    found = dominance.gradient_dominance(problem, centre)
    shapes, ratios, pointwise = problem.network.shapes, [], []
    if found.holds:
        for index in range(settings.num_states):
            steps, length = direction(shapes, generator, index % 2 == 0), found.radius * generator.uniform(0, 1)
            state = moved(centre, steps, length)
            while not found.contains(state):
                length /= 2
                state = moved(centre, steps, length)
            ratios.append(found.ratio(state))
            pointwise.append(dominance.pointwise_constant(problem, state) / found.constant)
    return {
        "network": network,
        "problem": number,
        "largest_ratio": max(ratios, default=np.nan),
        "broken": sum(ratio > 1 + 1e-9 for ratio in ratios),
        "states": len(ratios),
        "pointwise": max(pointwise, default=np.nan),
        "pointwise_median": float(np.median(pointwise)) if pointwise else np.nan,
        "rate_ratio": rate_inside(problem, found, centre, generator) if number < 2 else np.nan,
        **regular(settings, problem, centre, generator),
    }


def rate_inside(problem: gf.Regression, found: Any, centre: Any, generator: np.random.Generator) -> float:
    """The slowest mean rate up to any row of a flow that stays inside, times lambda."""
    if not found.holds:
        return np.nan
    length = found.radius
    for _ in range(40):
        start = moved(centre, direction(problem.network.shapes, generator, False), length)
        if found.contains(start) and found.confines(start):
            break
        length *= 0.7
    else:
        return np.nan
    run = gf.integrate(gf.GradientFlow(problem), start, 8 * found.constant, rtol=1e-9, atol=1e-13)
    excess = np.array([found.excess(tuple(layer[row] for layer in run.params)) for row in range(len(run.times))])
    seen = (run.times > 0) & (excess > 1e-22)
    rates = -np.log(excess[seen] / excess[0]) / run.times[seen]
    return float(rates.min() * found.constant) if seen.any() else np.nan


def regular(
    settings: Settings, problem: gf.Regression, centre: Any, generator: np.random.Generator
) -> dict[str, object]:
    """Whether regularity holds inside eps, and from which distance on it fails along random allowed directions."""
    promise = regularity_conditions.regularity(problem, centre)
    if promise.holds is not True:
        return {"regularity_broken": 0, "regularity_states": 0, "failure": np.nan, "failure_least": np.nan}
    eps, broken, states, failures = promise.certificate.values["eps"], 0, 0, []
    kernel = np.eye(promise.factor.shape[1]) - np.linalg.pinv(promise.factor) @ promise.factor
    for _ in range(settings.num_directions):
        vector = generator.normal(size=len(kernel))
        vector -= kernel @ vector
        steps = _unstacked(vector, problem.network.shapes)
        largest = max(float(np.linalg.norm(part)) for part in steps)
        steps = [part / largest for part in steps]
        lengths = eps * np.concatenate([np.linspace(0.05, 0.999, 8), np.geomspace(1.05, 100, 40)])
        gaps = np.array([promise.gap(moved(centre, steps, length)) for length in lengths])
        tolerance = 1e-12 * lengths**2
        broken, states = broken + int((gaps[:8] < -tolerance[:8]).sum()), states + 8
        failing = np.flatnonzero(gaps < -tolerance)
        failures.append(float(lengths[failing[0]] / eps) if failing.size else 100.0)
    return {
        "regularity_broken": broken,
        "regularity_states": states,
        "failure": float(np.median(failures)),
        "failure_least": min(failures),
    }


def _unstacked(vector: np.ndarray, shapes: Any) -> list[np.ndarray]:
    """Matrices from the stacked columns that G acts on."""
    parts, begin = [], 0
    for rows, columns in shapes:
        parts.append(vector[begin : begin + rows * columns].reshape((rows, columns), order="F"))
        begin += rows * columns
    return parts


def findings(results: xr.Dataset) -> list[Finding]:
    """Violations, sharpness and room."""
    theorems, regular_ones = "paper 000, Theorems 1 to 3", "paper 000, Theorems 4 to 6"
    best = results["largest_ratio"].groupby(results["network"]).max()
    return [
        none_of("states inside that break gradient dominance", results["broken"].sum(), results["states"].sum(),
                theorems),
        at_least("share of lambda that is used at the edge in one dimension", results["edge"], 0.999,
                 "math.md, part II, C5"),
        at_most("largest share that a random state uses, linear networks, d = 3", best.sel(network="linear"), 1 / 3,
                "the worst directions do not meet"),
        at_most("constant of a single state / lambda, the largest", results["pointwise"].max(), 1 + 1e-9,
                "paper 000, eqs. (42) and (49)"),
        at_most("the same, median of the medians", results["pointwise_median"].median(), 0.7, "math.md, part II, C5"),
        at_least("rate of flows that are confined, times lambda, the smallest", results["rate_ratio"].min(), 1 - 1e-6,
                 "L' = -||grad L||^2"),
        none_of("states inside eps that break regularity", results["regularity_broken"].sum(),
                results["regularity_states"].sum(), regular_ones),
        at_least("distance at which regularity fails / eps, the smallest", results["failure_least"].min(), 1.0,
                 regular_ones),
        at_least("the same, median", results["failure"].median(), 3.0, "math.md, part II, C6: median 68"),
    ]  # fmt: skip
