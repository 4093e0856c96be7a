"""How much do the gradient flow of the weights and paper 003's reduced flow differ on the same data?

Question: paper 003 studies a flow in coordinates that the singular vectors of X and Y give. Where does it agree with
gradient descent's flow on real data, and what depends on the choice?
Prediction: the two agree for white data, ``X X^T = I``, and for no other. Started at the same weights, each conserves
its own matrix, ``W_2^T W_2 - W_1 W_1^T`` or ``W_2^T W_2 - W_1 X X^T W_1^T``, and changes the other's by as much as the
weights allow; both end at the same product of the layers, with different layers. The reduced flow does not see the
singular values of X: its loss curve is the same for all ``X^(p) = U S^p V^T``, while the original flow loses the first
half of its excess the sooner, and the last thousandth the later, the larger p is.
Method: the wine data, standardised, its singular values S (geometric mean 1) raised to a power p from 0 (white) to 1
(the data); one start in reduced coordinates, hence one start of each original flow.
Found: predicted first was that the original flow only becomes slower with p. It does at the end; but what distinguishes
the wines varies most, so the beginning is quicker on the data as they are than on white ones.
Cost: a minute on one core.
Source: paper 003, Definition 1 and eq. (4); math.md, part I, section 1 (metric).

Run: ``gradflow run original_beside_reduced_flow``
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from tqdm import tqdm

import gradflow as gf
from gradflow import datasets
from gradflow.laboratory import Finding, at_least, at_most, holds

FLOWS = ("original", "reduced")
SHARES = (0.5, 1e-3)
"""Of the excess: the times at which it is left are kept."""

MATRICES = ("W_1 W_1^T", "W_1 X X^T W_1^T")


@dataclass(frozen=True)
class Settings:
    """Data, hidden widths, powers of the singular values, and the start."""

    data: str = "wine"
    hidden: tuple[int, ...] = (6,)
    powers: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    scale: float = 0.3
    rtol: float = 1e-8
    num_times: int = 200
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(data="iris", hidden=(3,), powers=(0.0, 1.0))


def problem_of(settings: Settings, power: float) -> gf.Regression:
    """The regression on ``U S^power V^T``, S with geometric mean 1, and centred one-hot targets."""
    data = datasets.standardize(datasets.load(settings.data))
    left, values, right = np.linalg.svd(np.asarray(data.X), full_matrices=False)
    scaled = (values / np.exp(np.mean(np.log(values)))) ** power
    Y = np.asarray(data.Y) - np.asarray(data.Y).mean(axis=1, keepdims=True)
    widths = (data.num_features, *settings.hidden, data.num_targets)
    return gf.Regression(gf.networks.Linear(widths), (left * scaled) @ right, Y)


def conserved(problem: gf.Regression, params: tuple) -> tuple[np.ndarray, np.ndarray]:
    """The first matrix that each flow conserves, in original weights."""
    first, second, X = np.asarray(params[0]), np.asarray(params[1]), np.asarray(problem.X)
    inner = first @ X
    return second.T @ second - first @ first.T, second.T @ second - inner @ inner.T


def measure(settings: Settings) -> xr.Dataset:
    """Loss curves, drifts and ends of both flows by power."""
    times = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, settings.num_times - 1)])
    shape = (len(settings.powers), 2)
    losses, products = np.full((*shape, len(times)), np.nan), []
    drift, excess, settled = np.full((*shape, 2), np.nan), np.full(shape, np.nan), np.full((*shape, 2), np.nan)
    apart, product_gap, scales = (np.full(len(settings.powers), np.nan) for _ in range(3))
    kinds = np.full(shape, "", dtype="<U16")
    for a, power in enumerate(tqdm(settings.powers, disable=None, desc="powers")):
        problem = problem_of(settings, power)
        reduced = gf.ReducedFlow(problem)
        generator = np.random.default_rng(settings.seed)
        start = tuple(settings.scale * generator.normal(size=shape) for shape in problem.network.shapes)
        weights = reduced.weights(start)
        ends, before = [], conserved(problem, weights)
        size = sum(np.sum(np.asarray(layer) ** 2) for layer in weights)
        bottom = float(gf.critical_values(problem).values[0])
        for b, (flow, first) in enumerate(((gf.GradientFlow(problem), weights), (reduced, start))):
            run = gf.integrate(flow, first, times[-1], save_at=times, rtol=settings.rtol, atol=1e-2 * settings.rtol)
            rows = [tuple(layer[row] for layer in run.params) for row in range(len(run.times))]
            losses[a, b, : len(rows)] = [float(flow.problem.loss(row)) for row in rows]
            ends.append(reduced.weights(run.endpoint) if b else run.endpoint)
            drift[a, b] = [np.abs(x - y).max() / size for x, y in zip(conserved(problem, ends[b]), before, strict=True)]
            excess[a, b] = (losses[a, b, -1] - bottom) / (losses[a, b, 0] - bottom)
            settled[a, b] = [times[np.argmax(losses[a, b] - bottom < s * (losses[a, b, 0] - bottom))] for s in SHARES]
            kinds[a, b] = gf.classify(flow.problem, run.endpoint).kind
        products = [np.linalg.multi_dot([*reversed([np.asarray(layer) for layer in end]), np.eye(len(weights[0][0]))])
                    for end in ends]  # fmt: skip
        product_gap[a] = np.abs(products[0] - products[1]).max() / np.abs(products[0]).max()
        apart[a] = np.sqrt(sum(np.sum((x - y) ** 2) for x, y in zip(*ends, strict=True)) / size)
        scales[a] = problem.statistics.scales[-1] / problem.statistics.scales[0]
    described = {
        "loss": (("power", "flow", "time"), losses, "loss"),
        "drift": (("power", "flow", "matrix"), drift, "largest change of an entry of the matrix / ||W(0)||^2"),
        "excess": (("power", "flow"), excess, "loss above the optimum in the end, relative to the start"),
        "settled": (("power", "flow", "share"), settled, "first time with less than this share of the excess"),
        "kind": (("power", "flow"), kinds, "kind of the end"),
        "apart": (("power",), apart, "distance of the ends of both flows / ||W(0)||"),
        "product_gap": (("power",), product_gap, "largest relative difference of the ends' products"),
        "conditioning": (("power",), scales, "smallest over largest singular value of X"),
    }
    variables = {
        name: (d, values, {"long_name": text, "units": "dimensionless"})
        for name, (d, values, text) in described.items()
    }
    names = {"power": list(settings.powers), "flow": list(FLOWS), "matrix": list(MATRICES)}
    return xr.Dataset(variables, names | {"time": times, "share": list(SHARES)})


def findings(results: xr.Dataset) -> list[Finding]:
    """Where the flows agree, and what each conserves."""
    loss, section = results["loss"], "math.md, part I, section 1"
    gap = (abs(loss.sel(flow="original") - loss.sel(flow="reduced")) / loss.isel(time=0, flow=0)).max("time")
    other = results["power"] > 0
    drift = results["drift"]
    own = xr.concat([drift.sel(flow=f, matrix=m) for f, m in zip(FLOWS, MATRICES, strict=True)], "own")
    foreign = xr.concat([drift.sel(flow=f, matrix=m) for f, m in zip(FLOWS, MATRICES[::-1], strict=True)], "own")
    reduced = loss.sel(flow="reduced")
    same = (abs(reduced - reduced.isel(power=0)) / reduced.isel(time=0)).max()
    waits = results["settled"].sel(flow="original").sortby("power")
    slower = waits.isel(power=-1) / waits.isel(power=0)
    globals_ = (results["kind"] == "global_minimum").sum()
    return [
        at_most("white data: largest difference of the loss curves / L(0)", gap.sel(power=0.0).max(), 1e-6, section),
        at_least("other data: the smallest such difference", gap.where(other).min(), 1e-2, section),
        at_most("change of a flow's own matrix, the largest", own.max(), 1e-6, "paper 003, eq. (7), per flow"),
        at_least("change of the other flow's matrix, data not white, the smallest", foreign.where(other).min(), 1e-3,
                 section),
        at_most("difference of the loss curves of the reduced flow for all powers / L(0)", same, 1e-6, section),
        at_most("original flow, time to lose half of its excess: the data / white data", slower.sel(share=0.5), 0.9,
                "the targets lie along large singular values"),
        at_least("original flow, time to lose all but a thousandth: the data / white data", slower.sel(share=1e-3), 1.2,
                 section),
        holds("ends that are global minima", globals_, results["kind"].size, "paper 003, Prop. 3"),
        at_most("difference of the products at the ends of both flows, relative", results["product_gap"].max(), 1e-4,
                "X has full rank: one optimal product"),
        at_least("distance of the ends, data not white, the smallest / ||W(0)||", results["apart"].where(other).min(),
                 1e-2, section),
    ]  # fmt: skip
