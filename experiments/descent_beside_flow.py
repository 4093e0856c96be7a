"""Which learning rates let gradient descent follow its flow, for a linear and a tanh network on real data?

Question: a user trains with learning rate eta and reasons with the gradient flow. How far apart are the two, how much
of that does the modified flow explain, and from which eta on does the comparison say that nothing can be concluded?
Prediction: over a fixed flow time the largest distance to the flow falls by two with every halving of eta, that to the
modified flow by four, and the drift of the invariants by two; near ``eta lambda_max = 2`` none of this holds and no
verdict is a yes (backward error analysis; edge of stability). The tanh network has no invariant on these data.
Method: the wine data, standardised, mean squared loss, one start each (fan-in law, seed 0), a dozen learning rates from
``2 / lambda_max`` (lambda_max at the start) downwards; ``gradflow.descent.compare_descent`` at every one.
Cost: about a minute and a half on one core.
Source: Barrett and Dherin (2021); Smith, Dherin, Barrett and De (2021); Cohen, Kaur, Li, Kolter and Talwalkar (2021)
for the edge of stability; Hairer, Lubich and Wanner, chapter IX.

Run: ``gradflow run descent_beside_flow``
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr
from tqdm import tqdm

import gradflow as gf
from gradflow import checks, curvature, datasets
from gradflow.descent import DescentComparison, compare_descent
from gradflow.laboratory import Finding, between, dataset_of, holds, none_of

VERDICTS = {True: "small enough", False: "too large", None: "undetermined"}


@dataclass(frozen=True)
class Settings:
    """Data, hidden widths, the flow time and the learning rates as parts of ``2 / lambda_max`` of the start."""

    data: str = "wine"
    hidden: tuple[int, ...] = (6, 4)
    units: int = 6
    parts: tuple[float, ...] = (1.5, 1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)
    t1: float = 10.0
    tolerance: float = 0.01
    momentum: float = 0.0
    seed: int = 0
    networks: tuple[str, ...] = ("linear", "tanh")

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(data="iris", hidden=(2,), parts=(1.5, 0.04), t1=2.0, tolerance=0.02, networks=("linear",))


def problem_of(settings: Settings, network: str) -> gf.Regression:
    """The regression of one kind of network on the standardised data, averaged over the samples."""
    with warnings.catch_warnings():
        # What standardising says of the data, and that one-hot targets of centred inputs have rank 2, is not at issue.
        warnings.simplefilter("ignore", checks.DataWarning)
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        data = datasets.standardize(datasets.load(settings.data))
        ends = (data.num_features, data.num_targets)
        chosen = (
            gf.networks.Linear((ends[0], *settings.hidden, ends[1]))
            if network == "linear"
            else gf.networks.Shallow((ends[0], settings.units, ends[1]), "tanh")
        )
        return gf.Regression(chosen, data.X, data.Y, normalization="mean")


def run(settings: Settings) -> dict[str, list[DescentComparison]]:
    """Comparisons by network, from the largest learning rate down."""
    results = {}
    for network in settings.networks:
        problem = problem_of(settings, network)
        start = problem.init(settings.seed, "fan_in", 1.0)
        edge = 2.0 / float(curvature.extreme_eigenvalues(problem, start, which="highest").highest[0])
        results[network] = [
            compare_descent(
                gf.GradientFlow(problem), start, part * edge, settings.t1, momentum=settings.momentum,
                tolerance=settings.tolerance,
            )
            for part in tqdm(settings.parts, disable=None, desc=network)
        ]  # fmt: skip
    return results


LABELS = {
    "network": "kind of network",
    "eta": "learning rate",
    "steps": "steps of descent",
    "ended": "how descent ended",
    "sharpest": "largest eta lambda_max met",
    "stable_below": "eta lambda_max up to which descent is stable on a quadratic",
    "distance": "largest distance to the flow over the distance travelled",
    "order": "measured order of that distance in eta",
    "modified_distance": "largest distance to the modified flow over the distance travelled",
    "modified_order": "measured order of that distance in eta",
    "closer": "how many times closer the modified flow is",
    "drift": "largest drift of an invariant along descent",
    "verdict": "whether the learning rate is small enough",
    "largest_eta": "estimate of the largest learning rate within the tolerance",
}


def measure(settings: Settings) -> xr.Dataset:
    """One case per network and learning rate."""
    several = run(settings)
    return dataset_of([_row(network, one) for network, found in several.items() for one in found], LABELS)


def _row(network: str, found: DescentComparison) -> dict[str, object]:
    """Distances are relative to how far the flow travels."""
    return {
        "network": network,
        "eta": found.rule.learning_rate,
        "steps": int(found.descent.steps[-1]),
        "ended": str(found.descent.status),
        "sharpest": found.sharpest,
        "stable_below": found.rule.stability_limit,
        "distance": found.relative_distance,
        "order": found.order,
        "modified_distance": found.full.modified_distance / found.travelled,
        "modified_order": found.modified_order,
        "closer": found.closer,
        "drift": float(found.table.drift.values.max()) if found.table.sizes["invariant"] else math.nan,
        "verdict": VERDICTS[found.trusted],
        "largest_eta": found.largest_learning_rate,
    }


def findings(results: xr.Dataset) -> list[Finding]:
    """Orders at the smallest learning rate of each network, and no trust beyond the edge."""
    found = []
    for network, group in results.groupby("network"):
        least = group.isel(case=int(group["eta"].values.argmin()))
        halves = group.sortby("eta").isel(case=slice(0, 2))
        is_below = bool((halves["sharpest"] < 0.5 * halves["stable_below"]).all())
        slope = float(np.diff(np.log(halves["drift"]))[0] / np.diff(np.log(halves["eta"]))[0]) if is_below else np.nan
        where = f"{network} network, smallest learning rate"
        found += [
            between(f"order of the distance to the flow, {where}", least["order"], 0.9, 1.1, "Barrett and Dherin 2021"),
            between(f"order of the distance to the modified flow, {where}", least["modified_order"], 1.8, 2.2,
                    "Hairer, Lubich and Wanner, chapter IX"),
            holds(f"small enough: {where}", int(least["verdict"] == VERDICTS[True]), 1),
        ]  # fmt: skip
        if group["drift"].notnull().any():  # a tanh layer conserves nothing on more samples than inputs
            claim = f"order of the drift of the invariants, {where}"
            found.append(between(claim, slope, 0.8, 1.2, "Smith and others 2021"))
    beyond = results["sharpest"] > results["stable_below"]
    trusted = beyond & (results["verdict"] == VERDICTS[True])
    found.append(none_of("trusted beyond the edge of stability", trusted.sum(), beyond.sum(), "Cohen and others 2021"))
    return found
