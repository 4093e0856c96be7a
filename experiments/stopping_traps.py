"""Is each start that tries to fool a stop test reported as what it is?

Question: a small gradient is not a critical point, and a critical point is not a minimum. What does an integration
say of starts beside saddles, on stable manifolds, with dead rows, on plateaus, and in a valley without a bottom?
Prediction: each is reported as what it is; the last columns say what was predicted and whether it was found.
Method: one run per start with default tolerances; the endpoint is refined and named by theory or by its Hessian.
Cost: about a minute on two cores.
Source: paper 003, sections 3, 4 and the correction of its example (1).

Run: ``gradflow run stopping_traps``
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from tqdm import tqdm

import gradflow as gf
from gradflow.laboratory import Finding, dataset_of


@dataclass(frozen=True)
class Trap:
    """A start that fools a simple stop test, and what should be said of it."""

    name: str
    flow: gf.GradientFlow
    start: object
    status: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """Which of the traps to run (all when empty)."""

    only: tuple[str, ...] = ()

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(only=("1e-6 from a saddle", "on the saddle"))


def _chain(depth: int, *values: float, target: float = 1.0) -> tuple[gf.GradientFlow, tuple[np.ndarray, ...]]:
    problem = gf.Regression(gf.networks.Linear((1,) * (depth + 2)), np.ones((1, 1)), np.full((1, 1), target))
    return gf.GradientFlow(problem), tuple(np.array([[value]]) for value in values)


def traps() -> list[Trap]:
    """The starts, with the prediction for each."""
    product = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * (w[0] * w[1] - 1) ** 2, name="1/2 (ab - 1)^2"))
    valley = gf.GradientFlow(gf.Landscape(lambda w: 0.5 * w[0] ** 2 + 0.5 * (1 - w[0] * w[1]) ** 2, name="h"))
    square = gf.Regression(gf.networks.Linear((2, 2, 2)), np.eye(2), np.diag([2.0, 1.0]))
    deep = gf.Regression(gf.networks.Linear((2, 2, 2, 2, 2)), np.eye(2), np.diag([2.0, 1.0]))
    first, last = (np.array(layer) for layer in square.init(1, scale=0.5))
    first[1, :], last[:, 1] = 0.0, 0.0
    minima = ("degenerate", "global_minimum", "local_minimum")
    return [
        Trap("1e-6 from a saddle", product, 1e-6 * np.ones(2), "stationary", minima),
        Trap("on the saddle", product, np.zeros(2), "stationary", ("strict_saddle",)),
        Trap("on a stable manifold, (1, -1)", product, np.array([1.0, -1.0]), "stationary", ("strict_saddle", *minima)),
        Trap("1e-5 beside it", product, np.array([1.0 + 1e-5, -1.0]), "stationary", minima),
        Trap("a dead row", gf.GradientFlow(square), (first, last), "stationary", ("strict_saddle",)),
        Trap("(-1/2, 1/2, 1/2), H = 2", *_chain(2, -0.5, 0.5, 0.5), "stationary", ("nonstrict_saddle",)),
        Trap("plateau, H = 3, scale 0.1", gf.GradientFlow(deep), deep.init(5, scale=0.1), "stationary",
             ("global_minimum",)),
        Trap("valley without bottom, h", valley, np.array([0.5, 0.5]), "escaped", ("not_critical", "undetermined")),
    ]  # fmt: skip


LABELS = {
    "start": "where the flow starts",
    "status": "how the integration ended",
    "predicted_status": "how it should end",
    "kind": "kind of the endpoint",
    "predicted_kinds": "kinds that it may have",
    "end_time": "flow time reached",
    "passages": "times spent near saddles",
    "unresolved": "passages of which it is not known whether they were left",
    "law": "law of the approach",
}


def measure(settings: Settings) -> xr.Dataset:
    """One case per trap."""
    chosen = [trap for trap in traps() if not settings.only or trap.name in settings.only]
    return dataset_of([_row(trap) for trap in tqdm(chosen, disable=None, desc="traps")], LABELS, "trap")


def _row(trap: Trap) -> dict[str, object]:
    study = gf.study(trap.flow, trap.start)
    run = study.trajectory
    return {
        "start": trap.name,
        "status": run.status.value,
        "predicted_status": trap.status,
        "kind": study.point.kind,
        "predicted_kinds": " ".join(trap.kinds),
        "end_time": run.end_time,
        "passages": ", ".join(f"{p.start:.3g}..{'end' if p.end is None else f'{p.end:.3g}'}" for p in run.passages),
        "unresolved": sum(p.is_resolved is False for p in run.passages),
        "law": study.rate.law,
    }


def findings(results: xr.Dataset) -> list[Finding]:
    """One for each trap."""
    found = []
    for number in range(results.sizes["trap"]):
        trap = results.isel(trap=number)
        names = ("status", "kind", "start", "predicted_status", "predicted_kinds")
        status, kind, start, expected, kinds = (str(trap[name].item()) for name in names)
        agrees = status == expected and kind in kinds.split()
        found.append(Finding(start, f"{expected}: {' or '.join(kinds.split())}", f"{status}: {kind}", agrees,
                             "paper 003, sections 3 and 4 as corrected"))  # fmt: skip
    return found
