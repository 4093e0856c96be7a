"""How far do the conserved quantities drift, by solver and tolerance, and does a drift say how accurate a run is?

Question: a linear, a tanh (X = I) and a ReLU network flow to t = 2 by five solvers at three tolerances. How far do the
invariants drift, and how far is the end from the true one?
Prediction: the drift of every invariant that is claimed stays below 100 rtol and falls with rtol, by the solver's error
control about in proportion (a power between 0.6 and 1.4). Gauss-Legendre steps conserve quadratic invariants to
rounding at every tolerance, though their ends are as wrong as anybody's: zero drift is no evidence of accuracy. The
potential of tanh is not quadratic, and there Gauss-Legendre drifts like the others. The whole matrix ``W_2^T W_2 - W_1
W_1^T`` of the ReLU network, of which only the diagonal is conserved, drifts by as much at the tightest tolerance as at
the loosest.
Method: one fixed start per network; drift relative to what a relative error of 1 in the weights would change; the true
end is that of dopri8 at rtol 1e-13.
Cost: two minutes on one core, most of it compiling.
Source: paper 003, eq. (7), Lemma 5 and Remark 4; Hairer, Lubich and Wanner, Theorem IV.2.1 (quadratic invariants).

Run: ``gradflow run invariants_by_solver``
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

import gradflow as gf
from gradflow.laboratory import Finding, at_least, at_most, between, holds

GAUSS = "gauss4"


@dataclass(frozen=True)
class Settings:
    """Networks, solvers, tolerances from loose to tight, and the flow time."""

    networks: tuple[str, ...] = ("linear", "tanh", "relu")
    solvers: tuple[str, ...] = ("tsit5", "dopri8", "kvaerno5", "rodas5p", GAUSS)
    tolerances: tuple[float, ...] = (1e-4, 1e-6, 1e-9)
    t1: float = 2.0
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(networks=("linear",), solvers=("tsit5", GAUSS), tolerances=(1e-4, 1e-8))


def problem_of(network: str, seed: int) -> tuple[gf.Regression, tuple[np.ndarray, ...]]:
    """A small problem with its start; X = I for tanh, general for the others."""
    generator = np.random.default_rng([seed, len(network)])
    X = np.eye(3) if network == "tanh" else generator.normal(size=(3, 6)) / 2
    Y = np.tanh(generator.normal(size=(2, X.shape[1])))
    kinds: dict[str, Any] = {"linear": gf.networks.Linear((3, 4, 3, 2))}
    chosen = kinds.get(network) or gf.networks.Shallow((3, 4, 2), activation=network)
    problem = gf.Regression(chosen, X, Y)
    return problem, tuple(0.8 * generator.normal(size=shape) for shape in problem.network.shapes)


def full_matrix(params: Any) -> np.ndarray:
    """``W_2^T W_2 - W_1 W_1^T``, which networks with an activation do not conserve."""
    first, second = (np.asarray(layer) for layer in params)
    return second.T @ second - first @ first.T


def measure(settings: Settings) -> xr.Dataset:
    """Drift of what is claimed, drift of the whole matrix, and error of the end, by network, solver and tolerance."""
    shape = (len(settings.networks), len(settings.solvers), len(settings.tolerances))
    drift, whole, error = (np.full(shape, np.nan) for _ in range(3))
    crossings, steps = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
    for a, network in enumerate(settings.networks):
        problem, start = problem_of(network, settings.seed)
        flow = gf.GradientFlow(problem)
        claimed = [one for one in gf.invariants_of(flow) if one.holds and one.decay == 0.0]
        exact = gf.integrate(flow, start, settings.t1, solver="dopri8", rtol=1e-13, atol=1e-15).endpoint
        pairs = [(b, c) for b in range(shape[1]) for c in range(shape[2])]
        for b, c in tqdm(pairs, disable=None, desc=network):
            rtol = settings.tolerances[c]
            run = gf.integrate(flow, start, settings.t1, solver=settings.solvers[b], rtol=rtol, atol=1e-2 * rtol)
            drift[a, b, c] = max(np.max(one.drift(run.params, start) / one.scale(start)) for one in claimed)
            end, size = run.endpoint, np.sqrt(sum(np.sum(np.asarray(layer) ** 2) for layer in start))
            error[a, b, c] = np.sqrt(sum(np.sum((x - y) ** 2) for x, y in zip(end, exact, strict=True))) / size
            if network != "linear":
                whole[a, b, c] = np.abs(full_matrix(end) - full_matrix(start)).max() / size**2
            crossings[a, b, c], steps[a, b, c] = run.num_crossings or 0, run.num_steps
    dims = ("network", "solver", "rtol")
    described = {
        "drift": (drift, "largest relative drift of a claimed invariant"),
        "whole_drift": (whole, "relative change of the whole matrix W_2^T W_2 - W_1 W_1^T"),
        "error": (error, "distance of the end from the true one over ||W(0)||"),
        "crossings": (crossings, "kinks crossed"),
        "steps": (steps, "attempted steps"),
    }
    variables = {
        name: (dims, values, {"long_name": text, "units": "dimensionless"})
        for name, (values, text) in described.items()
    }
    names = {"network": list(settings.networks), "solver": list(settings.solvers), "rtol": list(settings.tolerances)}
    return xr.Dataset(variables, names)


def powers(values: xr.DataArray) -> xr.DataArray:
    """The power of rtol between the loosest and the tightest tolerance."""
    ends = np.log(values.sortby("rtol")).isel(rtol=[0, -1])
    return ends.diff("rtol").isel(rtol=0, drop=True) / float(np.log(ends["rtol"]).diff("rtol").item())


def findings(results: xr.Dataset) -> list[Finding]:
    """Drift against tolerance; the exceptions."""
    worst = (results["drift"] / results["rtol"]).max()
    found = [at_most("drift of a claimed invariant / rtol, the worst", worst, 100, "paper 003, Lemma 1")]
    others = results.sel(solver=results["solver"] != GAUSS)
    order = powers(others["drift"])
    claim = "networks and solvers (without Gauss) whose drift is a power of rtol of 0.6 to 1.4"
    proportional = ((order > 0.6) & (order < 1.4)).sum()
    found.append(holds(claim, proportional, order.size, "error per step in proportion to rtol"))
    if GAUSS not in results["solver"]:
        return found
    gauss = results.sel(solver=GAUSS)
    quadratic = [name for name in ("linear",) if name in results["network"]]
    theorem = "Hairer, Lubich and Wanner, Theorem IV.2.1"
    if quadratic:
        chosen = gauss.sel(network=quadratic)
        found += [
            at_most(f"drift by {GAUSS}, linear network, at every tolerance", chosen["drift"].max(), 1e-13, theorem),
            at_least(f"error of the end by {GAUSS} at the loosest tolerance / its drift, linear network",
                     (chosen["error"] / chosen["drift"]).sel(rtol=results["rtol"].max()).min(), 1e6, "trap 8"),
        ]  # fmt: skip
    if "tanh" in results["network"]:
        loose = gauss["drift"].sel(network="tanh", rtol=results["rtol"].max())
        found.append(at_least(f"drift by {GAUSS}, tanh, at the loosest tolerance", loose, 1e-9, "not quadratic"))
    if "relu" in results["network"]:
        whole = results["whole_drift"].sel(network="relu").sortby("rtol")
        claim = "the whole matrix of the ReLU network: change at the tightest over that at the loosest tolerance"
        ratio = (whole.isel(rtol=0) / whole.isel(rtol=-1)).mean()
        found += [
            between(claim, ratio, 0.9, 1.1, "paper 003, Remark 4"),
            at_least("that change, relative", whole.min(), 1e-3, "paper 003, Remark 4"),
        ]
    return found
