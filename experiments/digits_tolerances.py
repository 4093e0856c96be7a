"""How do drift, bound, loss and named endpoint of a run on the digits depend on the tolerance?

Question: a three-layer linear network, widths 64-32-16-10, learns the digits (whitened pixels, one-hot targets) by
gradient flow. What do its invariants, its certificate and its endpoint look like at rtol 1e-4, 1e-6, 1e-8, 1e-10?
Prediction: the relative drift of every invariant falls with rtol and stays below 100 rtol (paper 003, Lemma 1);
``sup ||W|| <= R``; the final loss is the least-squares optimum; the endpoint is a global minimum that captures all ten
singular values (paper 003, Lemma 2 and Proposition 3).
Method: one start (Gaussian, scale 0.1, seed 0), integrated to its end at each tolerance.
Cost: about half a minute on two cores.
Source: paper 003, sections 2 and 4.

Run: ``gradflow run digits_tolerances``
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from tqdm import tqdm

import gradflow as gf
from gradflow import datasets
from gradflow.laboratory import Finding, at_most, dataset_of, holds


@dataclass(frozen=True)
class Settings:
    """Widths between input and output, tolerances and start of the experiment."""

    hidden: tuple[int, ...] = (32, 16)
    tolerances: tuple[float, ...] = (1e-4, 1e-6, 1e-8, 1e-10)
    data: str = "digits"
    scale: float = 0.1
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(hidden=(4,), tolerances=(1e-4, 1e-6), data="iris")


LABELS = {
    "rtol": "relative tolerance per step",
    "drift": "largest relative drift of an invariant",
    "sup_over_bound": "sup ||W|| over its certified bound R",
    "excess": "final loss above the least-squares optimum",
    "optimum": "least-squares optimum of the loss",
    "kind": "kind of the endpoint",
    "captured": "captured singular values",
    "capturable": "singular values that can be captured",
    "largest_first": "whether those captured are the largest",
    "steps": "attempted steps",
    "wall_seconds": "duration of the integration",
    "passed": "whether every check of the study passed",
}


def measure(settings: Settings) -> xr.Dataset:
    """One case per tolerance."""
    data = datasets.whiten(datasets.load(settings.data))
    widths = (data.num_features, *settings.hidden, data.num_targets)
    problem = gf.Regression(gf.networks.Linear(widths), data.X, data.Y)
    flow = gf.GradientFlow(problem)
    start = problem.init(settings.seed, scale=settings.scale)
    tolerances = tqdm(settings.tolerances, disable=None, desc="tolerances")
    studies = (gf.study(flow, start, rtol=rtol, atol=1e-2 * rtol) for rtol in tolerances)
    rows = [_row(study, problem, min(widths)) for study in studies]
    return dataset_of(rows, LABELS, "tolerance", wall_seconds="s")


def _row(study: gf.Study, problem: gf.Regression, narrowest: int) -> dict[str, object]:
    run, record, point = study.trajectory, study.record, study.point
    captured = point.captured or ()
    optimum = float(gf.critical_values(problem).values[0])
    return {
        "rtol": run.rtol,
        "drift": float(record["relative_drift"].max()),
        "sup_over_bound": run.largest_norm / float(record["bound"]),
        "excess": float(problem.loss(run.endpoint)) - optimum,
        "optimum": optimum,
        "kind": point.kind,
        "captured": len(captured),
        "capturable": min(narrowest, problem.spectrum.num_positive),
        "largest_first": captured == tuple(range(len(captured))),
        "steps": run.num_steps,
        "wall_seconds": run.wall_seconds,
        "passed": study.passed,
    }


def findings(results: xr.Dataset) -> list[Finding]:
    """Drift, bound, optimum and name at every tolerance."""
    ordered = results.sortby("rtol", ascending=False)
    num, drift = results.sizes["tolerance"], ordered["drift"].values
    is_optimal = (results["kind"] == "global_minimum") & (results["captured"] == results["capturable"])
    lemma = "paper 003, Lemma 1"
    return [
        at_most("drift of an invariant / rtol, the worst", (results["drift"] / results["rtol"]).max(), 100, lemma),
        holds("the drift falls with the tolerance", (np.diff(drift) < 0).sum(), num - 1, lemma),
        at_most("sup ||W|| / R, the largest", results["sup_over_bound"].max(), 1.0, lemma),
        at_most("loss above the optimum / optimum / rtol, the worst",
                (abs(results["excess"]) / results["optimum"] / results["rtol"]).max(), 1.0, "paper 003, Prop. 1"),
        holds("the end is a global minimum that captures all singular values, the largest first",
              (is_optimal & results["largest_first"]).sum(), num, "paper 003, Lemma 2 and Prop. 3"),
        holds("every check of the study passes", results["passed"].sum(), num),
    ]  # fmt: skip
