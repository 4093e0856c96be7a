"""On real data, how do law and scale of the start decide how fast a deep linear network learns, and what it finds?

Question: digits, wine and diabetes, a linear network with two hidden layers, seven laws of starts. Where does each end,
how long does it take, and how do certificate and invariants fare?
Prediction: every start ends at a global minimum, below its certified bound and with conserved invariants: the law
decides the time, not the end. Gaussian starts lose the first tenth of their excess the sooner the larger they are, and
a tenth of the scale takes ten times as long or more: with two hidden layers a mode grows like ``x' = x^2``, hence
``scale^-1`` for tiny starts and steeper where the start is not tiny against the end. Zero-asymmetric starts, whose
product is zero but whose gradient is not, do not wait.
Method: inputs whitened (for digits) or standardised, targets centred or one-hot, mean over the samples for the
standardised ones; hidden widths 16-12; integrated to the end at rtol 1e-6; times are the first with less than 90 % and
less than 1 % of the excess over the optimum.
Found: predicted first was the power -1 from 0.01 to 0.1, and that zero-asymmetric starts beat the scale 0.1 everywhere.
At 0.1 the first layer's norm is near 1 already, and there is little of a plateau. The time to 1 % does not follow the
scale on data with slow directions (diabetes, where the smallest variance is a hundredth of the mean): the end of
learning is theirs. The plateau only decides the first part.
Cost: three minutes on one core.
Source: paper 003, Lemma 1 and Prop. 3; Hu, Xiao and Pennington 2020 (orthogonal), Wu, Wang and Ma 2019
(zero-asymmetric).

Run: ``gradflow run starts_on_real_data``
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from tqdm import tqdm

import gradflow as gf
from gradflow import datasets
from gradflow.laboratory import Finding, at_least, at_most, between, dataset_of, holds

STARTS = {
    "gaussian 0.01": ("gaussian", 0.01),
    "gaussian 0.1": ("gaussian", 0.1),
    "gaussian 0.3": ("gaussian", 0.3),
    "fan_in": ("fan_in", 1.0),
    "glorot": ("glorot", 1.0),
    "balanced": ("balanced", 0.5),
    "orthogonal": ("orthogonal", 0.5),
    "zero_asymmetric": ("zero_asymmetric", 1.0),
}

LABELS = {
    "data": "data set",
    "start": "law and scale of the start",
    "seed": "seed",
    "kind": "kind of the end",
    "status": "how the integration ended",
    "excess": "loss above the optimum in the end, over that at the start",
    "escaped": "first flow time with less than 90 % of the excess",
    "settled": "first flow time with less than 1 % of the excess",
    "sup_over_bound": "sup ||W|| over the certified bound",
    "drift": "largest relative drift of an invariant over rtol",
    "steps": "attempted steps",
    "wall_seconds": "duration",
}


@dataclass(frozen=True)
class Settings:
    """Data sets, starts, hidden widths and tolerance."""

    data: tuple[str, ...] = ("digits", "wine", "diabetes")
    starts: tuple[str, ...] = tuple(STARTS)
    hidden: tuple[int, ...] = (16, 12)
    num_seeds: int = 1
    rtol: float = 1e-6

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(data=("diabetes",), starts=("gaussian 0.1", "gaussian 0.3", "fan_in"), hidden=(4, 3), num_seeds=1)


def problem_of(data: str, hidden: tuple[int, ...]) -> gf.Regression:
    """The regression on one data set."""
    loaded = datasets.load(data)
    if data == "digits":
        loaded = datasets.whiten(loaded)
    else:
        loaded = datasets.preprocess(loaded, ("standardize", "center_targets"))
        if data == "diabetes":
            loaded = datasets.preprocess(loaded, ("standardize_targets",))
    normalization = "sum" if data == "digits" else "mean"
    scale = np.sqrt(loaded.num_samples) if data == "digits" else 1.0
    network = gf.networks.Linear((loaded.num_features, *hidden, loaded.num_targets))
    return gf.Regression(network, loaded.X, np.asarray(loaded.Y) * 4 / scale if data == "digits" else loaded.Y,
                         normalization=normalization)  # fmt: skip


def measure(settings: Settings) -> xr.Dataset:
    """One case per data set, start and seed."""
    problems = {data: problem_of(data, settings.hidden) for data in settings.data}
    cases = [(d, s, n) for d in settings.data for s in settings.starts for n in range(settings.num_seeds)]
    rows = [_row(problems[d], d, s, n, settings.rtol) for d, s, n in tqdm(cases, disable=None, desc="starts")]
    return dataset_of(rows, LABELS, wall_seconds="s")


def _row(problem: gf.Regression, data: str, name: str, seed: int, rtol: float) -> dict[str, object]:
    law, scale = STARTS[name]
    found = gf.study(gf.GradientFlow(problem), problem.init(seed, law, scale), rtol=rtol, atol=1e-2 * rtol)
    record, run = found.record, found.trajectory
    optimum = float(gf.critical_values(problem).values[0])
    excess = record["loss"].values - optimum
    return {
        "data": data,
        "start": name,
        "seed": seed,
        "kind": found.point.kind,
        "status": run.status.value,
        "excess": abs(float(problem.loss(run.endpoint)) - optimum) / excess[0],
        "escaped": first_below(run.times, excess, 0.9 * excess[0]),
        "settled": first_below(run.times, excess, 0.01 * excess[0]),
        "sup_over_bound": run.largest_norm / float(record["bound"]),
        "drift": float(record["relative_drift"].max()) / rtol,
        "steps": run.num_steps,
        "wall_seconds": run.wall_seconds,
    }


def first_below(times: np.ndarray, values: np.ndarray, level: float) -> float:
    """The first time with a value of at most `level`, linear between rows; NaN if there is none."""
    below = np.flatnonzero(values <= level)
    if not below.size or below[0] == 0:
        return np.nan
    last = below[0]
    share = (values[last - 1] - level) / (values[last - 1] - values[last])
    return float(times[last - 1] + share * (times[last] - times[last - 1]))


def findings(results: xr.Dataset) -> list[Finding]:
    """Ends, promises, and times by scale."""
    num, lemma = results.sizes["case"], "paper 003, Lemma 1"
    found = [
        holds("starts that end at a global minimum", (results["kind"] == "global_minimum").sum(), num,
              "paper 003, Prop. 3"),
        at_most("excess in the end / excess at the start, the largest", results["excess"].max(), 1e-6,
                "paper 003, Prop. 3"),
        at_most("sup ||W|| / R, the largest", results["sup_over_bound"].max(), 1.0, lemma),
        at_most("drift of an invariant / rtol, the largest", results["drift"].max(), 100, lemma),
    ]  # fmt: skip
    medians = results["escaped"].groupby(results["data"] + ": " + results["start"]).median()
    names = medians[medians.dims[0]].values.tolist()
    value = dict(zip(names, medians.values.tolist(), strict=True))
    for data in dict.fromkeys(results["data"].values.tolist()):
        small, middle, large = (value.get(f"{data}: gaussian {scale}", np.nan) for scale in ("0.01", "0.1", "0.3"))
        found.append(at_least(f"{data}: escape time from scale 0.1 / that from scale 0.3", middle / large, 1.5,
                              "homogeneity near the origin"))  # fmt: skip
        claim, power = f"{data}: power of the scale in the escape time, 0.01 to 0.1", np.log10(middle / small)
        found.append(between(claim, power, -2.0, -0.95, "H = 2: x' = x^2 to a finite end"))
        quick = value.get(f"{data}: zero_asymmetric", np.nan)
        found.append(at_most(f"{data}: escape time, zero-asymmetric / scale 0.01", quick / small, 0.1,
                             "Wu, Wang and Ma 2019"))  # fmt: skip
    return found
