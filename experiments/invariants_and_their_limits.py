"""For which activations and data does a network with one hidden layer conserve its balance, and where not?

Question: paper 003 gives an invariant for sigmoids (Lemma 5) and for ReLU (Remark 4). On which data do they hold?
Prediction: for an activation with a potential, ``||W_2[:, l]||^2 - 2 sum_k Sigma((W_1 x_k)_l) / ||x_k||^2`` is
conserved exactly when the distinct columns of X are mutually orthogonal: X = I, orthogonal columns of any length,
columns that repeat. For other data Lemma 5's quantity drifts, by as much at a tight tolerance as at a loose one;
without its factor 2 it drifts even for X = I; unweighted it drifts for orthogonal columns that are no unit vectors.
Activations that are homogeneous of degree p conserve ``p ||W_2[:, l]||^2 - ||W_1[l, :]||^2`` on all data.
Method: every activation of the library on five kinds of data, Gaussian weights, integrated to t = 2 at two tolerances;
each candidate is evaluated by its own formula in this file, with quadrature for the potentials.
Cost: two minutes on one core, most of it compiling.
Source: paper 003, Lemma 5 and Remark 4; math.md, part I, section 8, for the hypotheses.

Run: ``gradflow run invariants_and_their_limits``
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import xarray as xr
from tqdm import tqdm

import gradflow as gf
from gradflow.laboratory import Finding, at_least, at_most, holds

DEGREES = {"relu": 1.0, "leaky_relu": 1.0, "relu_squared": 2.0}
DATA = ("identity", "orthogonal", "repeated", "general", "overcomplete")
MADE_FOR = ("identity", "orthogonal", "repeated")
CANDIDATES = ("weighted", "unweighted", "without 2", "homogeneous")


@dataclass(frozen=True)
class Settings:
    """Activations, kinds of data, the two tolerances, and the flow time."""

    sigmoids: tuple[str, ...] = ("tanh", "arctan", "logistic", "erf", "algebraic")
    homogeneous: tuple[str, ...] = ("relu", "leaky_relu", "relu_squared")
    data: tuple[str, ...] = DATA
    tolerances: tuple[float, float] = (1e-6, 1e-9)
    t1: float = 2.0
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(sigmoids=("tanh",), homogeneous=("relu",), data=("identity", "general"), tolerances=(1e-5, 1e-7))


def inputs(kind: str, generator: np.random.Generator) -> np.ndarray:
    """Three inputs: I; orthogonal columns of other lengths; some of them twice; three and six general columns."""
    basis = np.linalg.qr(generator.normal(size=(3, 3)))[0] * np.array([0.5, 1.0, 2.0])
    made = {"identity": np.eye(3), "orthogonal": basis, "repeated": basis[:, [0, 1, 2, 0]]}
    return made[kind] if kind in made else generator.normal(size=(3, 3 if kind == "general" else 6)) / 1.5


def potential(sigma: Any, values: np.ndarray) -> np.ndarray:
    """``int_0^x sigma / sigma'`` by Gauss-Legendre quadrature, entry by entry."""
    nodes, weights = np.polynomial.legendre.leggauss(100)
    points = 0.5 * (nodes[:, None] + 1) * values.ravel()
    outputs, slopes = jax.jvp(sigma, (points,), (np.ones_like(points),))
    return (0.5 * weights @ (np.asarray(outputs) / np.asarray(slopes)) * values.ravel()).reshape(values.shape)


def candidates(sigma: Any, degree: float | None, X: np.ndarray, params: Any) -> dict[str, np.ndarray]:
    """One number per hidden unit for each quantity that might be conserved."""
    first, second = (np.asarray(layer) for layer in params)
    columns = np.unique(np.round(X, 12), axis=1)
    outgoing = (second**2).sum(axis=0)
    if degree is not None:
        return {"homogeneous": degree * outgoing - (first**2).sum(axis=1)}
    potentials = potential(sigma, first @ columns)
    squares = (columns**2).sum(axis=0)
    return {
        "weighted": outgoing - 2 * (potentials / squares).sum(axis=1),
        "unweighted": outgoing - 2 * potentials.sum(axis=1),
        "without 2": outgoing - (potentials / squares).sum(axis=1),
    }


def measure(settings: Settings) -> xr.Dataset:
    """Drift of each candidate by activation, data and tolerance, relative to ``||W(0)||^2``; NaN where it is none."""
    names = (*settings.sigmoids, *settings.homogeneous)
    shape = (len(names), len(settings.data), len(settings.tolerances))
    drift = np.full((*shape, len(CANDIDATES)), np.nan)
    crossings = np.zeros(shape, dtype=int)
    cases = [(a, b) for a in range(shape[0]) for b in range(shape[1])]
    for a, b in tqdm(cases, disable=None, desc="activations and data"):
        generator = np.random.default_rng([settings.seed, a, b])
        X = inputs(settings.data[b], generator)
        network = gf.networks.Shallow((3, 3, 2), activation=names[a])
        problem = gf.Regression(network, X, 0.4 * np.tanh(generator.normal(size=(2, X.shape[1]))))
        start = tuple(0.8 * generator.normal(size=shape) for shape in network.shapes)
        size = sum(np.sum(layer**2) for layer in start)
        before = candidates(network.activation, DEGREES.get(names[a]), X, start)
        for c, rtol in enumerate(settings.tolerances):
            run = gf.integrate(gf.GradientFlow(problem), start, settings.t1, rtol=rtol, atol=1e-2 * rtol)
            after = candidates(network.activation, DEGREES.get(names[a]), X, run.endpoint)
            for name, value in after.items():
                drift[a, b, c, CANDIDATES.index(name)] = np.abs(value - before[name]).max() / size
            crossings[a, b, c] = run.num_crossings or 0
    dims = ("activation", "data", "rtol")
    variables = {
        "drift": (
            (*dims, "candidate"),
            drift,
            {"long_name": "change of the candidate / ||W(0)||^2", "units": "dimensionless"},
        ),
        "crossings": (dims, crossings, {"long_name": "kinks crossed", "units": "dimensionless"}),
    }
    coordinates = {"activation": list(names), "data": list(settings.data), "rtol": list(settings.tolerances)}
    return xr.Dataset(variables, coordinates | {"candidate": list(CANDIDATES)})


def findings(results: xr.Dataset) -> list[Finding]:
    """What is conserved, and what drifts."""
    drift, lemma = results["drift"], "paper 003, Lemma 5, with its hypothesis on X"
    made = [kind for kind in results["data"].values if kind in MADE_FOR]
    other = [kind for kind in results["data"].values if kind not in MADE_FOR]
    relative = drift / results["rtol"]
    tight, loose = (drift.sel(rtol=pick(results["rtol"])) for pick in (lambda r: r.min(), lambda r: r.max()))
    weighted = tight.sel(candidate="weighted").dropna("activation", how="all")
    same = (tight / loose).sel(candidate="weighted", data=other).dropna("activation", how="all")
    found = [
        at_most("weighted potential balance on orthogonal columns: drift / rtol, the worst",
                relative.sel(candidate="weighted", data=made).max(), 100, lemma),
        at_least("the same on other data: smallest drift at the tight tolerance", weighted.sel(data=other).min(), 1e-4,
                 "math.md, part I, section 8"),
        holds("activations and other data whose drift is the same at both tolerances", (abs(same - 1) < 0.01).sum(),
              same.size, "math.md, part I, section 8"),
        at_least("without the factor 2, on orthogonal columns: smallest drift",
                 tight.sel(candidate="without 2", data=made).min(), 1e-4, "paper 003, eq. (33)"),
        at_most("homogeneous activations, all data: drift / rtol, the worst",
                relative.sel(candidate="homogeneous").max(), 100, "paper 003, Remark 4, for any X and degree"),
    ]  # fmt: skip
    if "orthogonal" in made:
        value = tight.sel(candidate="unweighted", data="orthogonal").min()
        found.append(at_least("unweighted, on orthogonal columns of other lengths: smallest drift", value, 1e-4, lemma))
    return found
