"""In which cases does paper 001's regulariser speed up convergence, and in which does it not?

Question: adding ``mu/4 ||W_2^T W_2 - W_1 X X^T W_1^T||^2`` to the loss "speeds up convergence in certain cases" (paper
001). Which?
Prediction: it does near unbalanced saddles of the plain loss. At the saddle whose idle hidden unit has the input weight
a, on an input that the target does not use, the lowest eigenvalue is ``(a^2 - sqrt(a^4 + 4 s^2))/2``, about
``-s^2/a^2``: leaving takes longer in proportion to a^2, while the regularised flow balances first and then leaves at
the pace s of a balanced saddle, whatever a is. It does not elsewhere: from balanced starts on white data the term is
zero and stays zero, so nothing changes; from unbalanced starts in general position the plain flow converges faster,
because imbalance steepens the valley (smallest positive eigenvalue ``sqrt(c^2 + 4 s^2)`` against 2 s for a chain with
``w_2^2 - w_1^2 = c``), and the term takes that away. The imbalance tends to 0 under the regularised flow; for white X
its norm never rises, for other X it can, even from 0.
Method: X = I or cond(X) = 4, Y = diag(2, 1) (with a third, unused input for the saddles), two hidden units; mu from 0
to 4; the time at which the plain loss is below 1e-6 of what it was; starts 1e-4 beside saddles with a from 1 to 5;
chains with c from 0 to 8; balanced and Gaussian starts.
Found: the input must be unused. An idle unit that shares the input of a used one is no obstacle: a rotation of the two
hidden units frees a direction of lowest eigenvalue -s. Found also: a balanced start whose product has a negative
determinant keeps the sign, so it runs into a saddle and leaves it by rounding, at a time of its own. Balanced starts
are therefore taken with the sign of the target.
Cost: two minutes on one core.
Source: paper 001, section 3 and Theorem 3; math.md, part II, B10.

Run: ``gradflow run regulariser_and_speed``
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

import gradflow as gf
from gradflow.laboratory import Finding, at_least, at_most, between, dataset_of, holds
from gradflow.regularizers import Balance

LABELS = {
    "kind": "kind of start",
    "amount": "input weight a of the idle unit, imbalance c of the chain, or number of the start",
    "strength": "mu",
    "settled": "first time at which the plain loss is below 1e-6 of its start",
    "left": "first time at which a tenth of the saddle's loss is lost",
    "worst_rise": "largest imbalance on the way over that of the start",
    "largest_imbalance": "largest norm of the imbalance on the way",
    "last_imbalance": "norm of the imbalance in the end",
    "is_white": "whether X X^T = I",
}


TIMES = np.concatenate([[0.0], np.geomspace(0.02, 2e3, 300)])
"""Flow times looked at, 3 % apart; common ones, so that equal curves give equal times."""


@dataclass(frozen=True)
class Settings:
    """Strengths, idle weights of saddles, imbalances of chains, and the number of other starts."""

    strengths: tuple[float, ...] = (0.0, 0.25, 1.0)
    idle: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0)
    imbalances: tuple[float, ...] = (0.0, 2.0, 8.0)
    num_starts: int = 2
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(strengths=(0.0, 1.0), idle=(2.0, 4.0), imbalances=(), num_starts=1)


def starts(settings: Settings) -> list[tuple[str, float, np.ndarray, np.ndarray, tuple[np.ndarray, ...]]]:
    """Kind, amount, X, Y and weights of every start."""
    generator = np.random.default_rng(settings.seed)
    white, target = np.eye(2), np.diag([2.0, 1.0])
    noise = [generator.normal(size=shape) for shape in ((2, 3), (2, 2))]
    found = []
    for a in settings.idle:
        first, second = np.array([[np.sqrt(2), 0.0, 0.0], [0.0, 0.0, a]]), np.diag([np.sqrt(2), 0.0])
        layers = (first + 1e-4 * noise[0], second + 1e-4 * noise[1])
        found.append(("saddle", a, np.eye(3), np.hstack([target, np.zeros((2, 1))]), layers))
    for c in settings.imbalances:
        small = 0.2
        layers = (np.array([[small]]), np.array([[np.sqrt(c + small**2)]]))
        found.append(("chain", c, np.eye(1), np.eye(1), layers))
    for number in range(settings.num_starts):
        first = 0.5 * generator.normal(size=(2, 2))
        left, values, _ = np.linalg.svd(first)
        turn = np.linalg.qr(generator.normal(size=(2, 2)))[0]
        turn[:, 1] *= np.sign(np.linalg.det(first) * np.linalg.det(turn @ left.T))
        balanced = (first, turn * values @ left.T)
        general = tuple(0.5 * generator.normal(size=(2, 2)) for _ in range(2))
        found.append(("balanced, white", float(number), white, target, balanced))
        found.append(("general, white", float(number), white, target, general))
        X = turn * np.array([2.0, 0.5])
        inner = np.linalg.svd(first @ X)
        found.append(("balanced, not white", float(number), X, target @ X,
                      (first, turn * inner[1] @ inner[0].T)))  # fmt: skip
    return found


def measure(settings: Settings) -> xr.Dataset:
    """One case per start and strength."""
    cases = [(start, mu) for start in starts(settings) for mu in settings.strengths]
    return dataset_of([_row(*start, mu) for start, mu in tqdm(cases, disable=None, desc="starts")], LABELS)


def _row(kind: str, amount: float, X: np.ndarray, Y: np.ndarray, start: Any, mu: float) -> dict[str, object]:
    network = gf.networks.Linear((X.shape[0], len(start[0]), Y.shape[0]))
    plain = gf.Regression(network, X, Y)
    problem = gf.Regression(network, X, Y, regularizer=Balance(mu, X)) if mu else plain
    run = gf.integrate(gf.GradientFlow(problem), start, 2e3, save_at=TIMES, rtol=1e-9, atol=1e-12)
    first, second = (np.asarray(layer) for layer in run.params)
    residual = second @ first @ X - Y
    losses = 0.5 * np.sum(residual**2, axis=(1, 2)) - plain.irreducible
    inner = first @ X
    imbalance = np.swapaxes(second, 1, 2) @ second - inner @ np.swapaxes(inner, 1, 2)
    norms = np.sqrt(np.sum(imbalance**2, axis=(1, 2)))
    return {
        "kind": kind,
        "amount": amount,
        "strength": mu,
        "settled": first_below(run.times, losses, 1e-6 * losses[0]),
        "left": first_below(run.times, losses, 0.9 * 0.5) if kind == "saddle" else np.nan,
        "worst_rise": norms.max() / norms[0] if norms[0] > 1e-9 else np.nan,
        "largest_imbalance": norms.max(),
        "last_imbalance": norms[-1],
        "is_white": bool(np.allclose(X @ X.T, np.eye(len(X)))),
    }


def first_below(times: np.ndarray, losses: np.ndarray, level: float) -> float:
    """The first time with a loss of at most `level`, linear in the logarithm between rows; NaN if there is none."""
    below = np.flatnonzero(losses <= level)
    if not below.size or below[0] == 0:
        return np.nan
    last = below[0]
    logs = np.log(np.maximum(losses[last - 1 : last + 1], 1e-300))
    share = (logs[0] - np.log(level)) / (logs[0] - logs[1])
    return float(times[last - 1] + share * (times[last] - times[last - 1]))


def findings(results: xr.Dataset) -> list[Finding]:
    """Where the term helps, where it changes nothing, and where it hinders."""
    theory, saddles = "eigenvalue of the saddle", _of(results, "saddle")
    plain, helped = saddles.sel(case=saddles["strength"] == 0), saddles.sel(case=saddles["strength"] == 1)
    times, amounts = plain["left"].values, plain["amount"].values
    lowest = -0.5 * (amounts**2 - np.sqrt(amounts**4 + 4))
    waits = times * lowest
    found = [
        at_least("saddles: time of leaving without the term over that with mu = 1, at the largest a",
                 times[-1] / helped["left"].values[-1], 5.0, "paper 001, Theorem 3"),
        between("without the term: time of leaving times |lambda_min|, largest a over smallest a", waits[-1] / waits[0],
                0.6, 1.4, theory),
        at_most("with mu = 1: time of leaving, largest a over smallest a",
                helped["left"].values[-1] / helped["left"].values[0], 2.0, theory),
    ]  # fmt: skip
    white = _of(results, "balanced, white")
    changes = [
        float(abs(group["settled"] / group["settled"].where(group["strength"] == 0).max() - 1).max())
        for _, group in white.groupby("amount")
    ]
    change = max(changes)
    found.append(at_most("balanced starts, white data: relative change of the time by the term, the largest", change,
                         1e-3, "math.md, part II, B10"))  # fmt: skip
    chains = _of(results, "chain")
    if chains.sizes["case"]:
        last = chains.sel(case=chains["amount"] == chains["amount"].max())
        base = last["settled"].where(last["strength"] == 0).max()
        ratio = (last["settled"].where(last["strength"] > 0) / base).min()
        claim = "chain of the largest imbalance: time with the term over that without, the smallest"
        found.append(at_least(claim, ratio, 1.2, "sqrt(c^2 + 4 s^2) > 2 s"))  # fmt: skip
    weighted = results["strength"] > 0
    rises = results["worst_rise"].where(weighted & results["is_white"])
    crooked = _of(results, "balanced, not white")
    crooked = crooked["largest_imbalance"].where(crooked["strength"] > 0)
    found += [
        at_most("white data with the term: largest imbalance / that of the start", rises.max(), 1 + 1e-6,
                "math.md, part II, B10"),
        at_least("data that are not white with the term, from 0: largest imbalance, the smallest over the starts",
                 crooked.min(), 1e-3, "G24"),
        at_most("imbalance in the end with the term, the largest", results["last_imbalance"].where(weighted).max(),
                1e-4, "paper 001, Theorem 3"),
        holds("starts that end at the optimum", results["settled"].notnull().sum(), results.sizes["case"],
              "paper 001, Theorem 3"),
    ]  # fmt: skip
    return found


def _of(results: xr.Dataset, kind: str) -> xr.Dataset:
    return results.sel(case=results["kind"] == kind)
