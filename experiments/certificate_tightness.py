"""Do random networks keep the certified bound and rate, and how tight is the bound?

Question: is ``sup_t ||W(t)|| <= R`` on every run, and how much larger than the observed supremum is R?
Prediction: 0 violations of the bound (paper 003, Lemma 1, made explicit; and the chain bound) and of the exponential
envelope where it is certified (Remark 2, corrected); R/sup has a median near 1.1 for balanced starts and below 2 for
independent ones, where the bound from the loss alone is up to 35 times too large at H = 4.
Method: random widths, targets and data for H = 1..4; balanced, Gaussian and heterogeneous layer scales; original flow
with random X and reduced flow; integrated at rtol 1e-8 to t = 200 or the end. The supremum is over accepted steps.
Cost: about three minutes on two cores, most of it compiling one solver per shape.
Source: paper 003, Lemma 1 and Remark 2.

Run: ``gradflow run certificate_tightness``
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from tqdm import tqdm

import gradflow as gf
from gradflow.laboratory import Finding, at_least, at_most, dataset_of, none_of

LAWS = ("balanced", "gaussian", "heterogeneous")
BOUNDS = ("R", "R_loss", "R_ode", "R_chain")


@dataclass(frozen=True)
class Settings:
    """How many networks of each depth and law; two shapes per depth."""

    per_law: int = 17
    depths: tuple[int, ...] = (1, 2, 3, 4)
    horizon: float = 200.0
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(per_law=2, depths=(1,))


@dataclass(frozen=True)
class Result:
    """One network: its depth, law, the ratio of each bound to the supremum, and what was violated."""

    depth: int
    law: str
    ratios: dict[str, float]
    has_rate: bool
    violations: tuple[str, ...]


def run(settings: Settings) -> list[Result]:
    """All networks, in a fixed order from a fixed seed."""
    cases = [(depth, law, n) for depth in settings.depths for law in LAWS for n in range(settings.per_law)]
    return [_one(settings, *case) for case in tqdm(cases, disable=None, desc="networks")]


def _one(settings: Settings, depth: int, law: str, number: int) -> Result:
    rng = np.random.default_rng([settings.seed, depth, LAWS.index(law), number])
    widths = ((3, *(3,) * depth, 2), (4, *(3, 2, 3, 2)[:depth], 2))[number % 2]
    X, Y = rng.standard_normal((widths[0], 9)) / 3, rng.standard_normal((widths[-1], 9))
    problem = gf.Regression(gf.networks.Linear(widths), X, Y)
    start = _start(problem, law, rng)
    flow = gf.ReducedFlow(problem) if number % 3 == 0 else gf.GradientFlow(problem)
    if isinstance(flow, gf.ReducedFlow) and law == "balanced":
        start = flow.problem.init(int(rng.integers(2**31)), "balanced", scale=0.6)
    elif isinstance(flow, gf.ReducedFlow):
        start = flow.coordinates(start)
    study = gf.study(flow, start, t1=settings.horizon, rtol=1e-8, atol=1e-10)
    certificate = {one.name: one for one in study.certificates}
    values = certificate["boundedness"].values
    largest = study.trajectory.largest_norm
    ratios = {name: values[name] / largest for name in BOUNDS}
    watched = ("bounded", "envelope", "invariants", "energy", "descent")
    failed = tuple(check.name for check in study.checks if check.name in watched and check.passed is False)
    return Result(depth, law, ratios, bool(certificate["exponential_rate"].holds), failed)


def _start(problem: gf.Regression, law: str, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    seed = int(rng.integers(2**31))
    if law == "balanced":
        return problem.init(seed, "balanced", scale=0.6)
    start = problem.init(seed, "fan_in", scale=1.2 if rng.random() < 0.5 else 0.36)
    if law == "gaussian":
        return start
    scales = 3.0 ** rng.uniform(-1, 1, len(start))
    return tuple(scale * np.asarray(layer) for scale, layer in zip(scales, start, strict=True))


LABELS = {
    "depth": "hidden layers H",
    "law": "law of the start",
    **{name: f"{name} over the observed sup ||W||" for name in BOUNDS},
    "has_rate": "whether an exponential rate is certified",
    "violations": "what was violated",
}


def measure(settings: Settings) -> xr.Dataset:
    """One case per network: each bound over the observed supremum, and what was violated."""
    rows = [
        {"depth": one.depth, "law": one.law, "has_rate": one.has_rate, "violations": " ".join(one.violations)}
        | one.ratios
        for one in run(settings)
    ]
    return dataset_of(rows, LABELS, "network")


def findings(results: xr.Dataset) -> list[Finding]:
    """No violation; how tight each bound is by law and depth."""
    lemma, num = "paper 003, Lemma 1 and Remark 2 as corrected", results.sizes["network"]
    violated = (results["violations"] != "").sum()
    found = [none_of("bound, envelope, invariants, energy or descent violated", violated, num, lemma)]
    for law, limit in zip(LAWS, (1.2, 2.0, 2.0), strict=True):
        chosen = results.sel(network=results["law"] == law)
        medians = [float(np.median(group["R"])) for _, group in chosen.groupby("depth")]
        claim = f"R / sup ||W||, the largest median over the depths, {law} starts"
        found.append(at_most(claim, max(medians, default=np.nan), limit, "math.md, part I, section 2"))
    deepest = results.sel(network=(results["depth"] == results["depth"].max()) & (results["law"] == "heterogeneous"))
    ratio = float((deepest["R_loss"] / deepest["R"]).max()) if int(results["depth"].max()) >= 4 else np.nan
    found.append(at_least("the bound from the loss alone over R, at worst, H = 4, heterogeneous starts", ratio, 5.0,
                          "math.md, part I, section 2"))  # fmt: skip
    return found
