"""How large are the basins of one ReLU unit, and does a calculation that shares no code with the library agree?

Question: X = I_2, Y = diag(2, 1), one ReLU unit, all weights N(0, 1). Which share of starts ends at the global minimum,
at the spurious one, and in the flat cone where the unit is silent?
Prediction: a quarter of the starts is silent from the beginning; more fall silent on the way, as many as an independent
calculation says; no start is undetermined, and no label differs from that calculation's down to starts 1e-5 from a
separatrix.
Found: 0.4127 +- 0.0005 of 10^6 starts end in the flat cone.
Method: with X = I the samples meet only in the output column: ``w_j' = u.(y_j - w_j u)`` on the active samples and
``u' = sum_j w_j (y_j - w_j u)``. A sample that has fallen silent stays silent, so the cones only shrink; each start is
integrated cone by cone with SciPy (DOP853, rtol 1e-12) to the located crossing of ``w_j = 0``. No horizon is needed: on
an active cone a negative component of u rises, and a state with ``u_j >= 0`` for all active j never loses one. With one
active sample of target s, ``c = |u|^2 - w^2`` is conserved and ``|u| = sqrt(c) cosh p, w = sqrt(c) sinh p`` leaves one
equation, ``dx/dp = s tanh(p) (1 - x^2) / (s x - c/2 sinh 2p)`` for the cosine x of the angle of u: starts left of the
curve from (p, x) = (0, 0) fall silent, starts with c <= 0 never do. A double integral of its angle over the law gives
the share without sampling.
Cost: one and a half minutes on one core.
Source: paper 002, Example 1, with the corrected table of critical points.

Run: ``gradflow run example_1_basins``
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy.integrate import solve_ivp

import gradflow as gf
from gradflow import intervals, samplers
from gradflow.laboratory import Finding, between, dataset_of, holds, none_of

TARGETS = np.diag([2.0, 1.0])
FLAT, GLOBAL, SPURIOUS = "flat cone", "global minimum", "spurious minimum"
FATES = (FLAT, GLOBAL, SPURIOUS)
NAMES = ("flat", "global_minimum", "spurious")
INDEPENDENT = "cone by cone"
SETTLED = 1e-5
"""Distance from a separatrix from which on labels at the default tolerance must agree."""


@dataclass(frozen=True)
class Settings:
    """Sizes, and the accuracy of the independent calculation."""

    num_samples: tuple[int, ...] = (100_000, 1_000_000)
    num_compared: int = 4000
    num_pairs: int = 40
    distances: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10)
    rtol: float = 1e-12
    num_nodes: tuple[int, int] = (60, 80)
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(num_samples=(2000,), num_compared=40, num_pairs=1, distances=(1e-2, 1e-5), num_nodes=(24, 32))


SHARES = {
    "how": "which calculation",
    "starts": "starts",
    **{name: f"starts that end at the {text}" for name, text in zip(NAMES, FATES, strict=True)},
    "undetermined": "starts without a limit",
}
CONES = {
    "cone": "samples active at the start",
    "cone_exact": "share that falls silent, by quadrature; NaN where both samples are active",
    "cone_starts": "starts in the cone",
    "cone_silent": "those of them that fall silent, by the estimate",
}
BESIDE = {
    "distance": "distance from a separatrix",
    "beside_starts": "starts there",
    "beside_other": "those whose label differs from the calculation's",
    "beside_undetermined": "those without a label",
}


def problem() -> gf.Regression:
    """Example 1."""
    return gf.Regression(gf.networks.Shallow((2, 1, 2), activation="relu"), np.eye(2), TARGETS)


def fate(row: Float[np.ndarray, " two"], column: Float[np.ndarray, " two"], rtol: float) -> tuple[str, float]:
    """Where a start ends by the cones' smooth flows, and how clearly.

    The second number is the size of what had not changed sign yet when the last cone was decided: of the output's
    component where the unit fell silent, of the hidden weight where it was saved; infinite where no flow was needed.
    """
    active = [j for j in (0, 1) if row[j] > 0]
    state = np.concatenate([row, column])
    clarity = np.inf
    while active and not all(state[2 + j] >= 0 for j in active):
        state, crossed = _to_next_event(state, active, rtol)
        if crossed < 0:
            clarity = min(clarity, float(state[active].min()))
            break
        clarity = min(clarity, float(np.abs(state[2 + crossed])))
        active.remove(crossed)
    return (FLAT if not active else GLOBAL if 0 in active else SPURIOUS), clarity


def _to_next_event(state: np.ndarray, active: list[int], rtol: float) -> tuple[np.ndarray, int]:
    """The state where a hidden weight is zero, with its number; or where all active outputs are positive, with -1."""

    def velocity(_: float, z: np.ndarray) -> np.ndarray:
        w, u = z[:2], z[2:]
        result = np.zeros(4)
        for j in active:
            residual = TARGETS[j] - w[j] * u
            result[j] = u @ residual
            result[2:] += w[j] * residual
        return result

    def crossing(j: int) -> Callable[[float, np.ndarray], float]:
        def event(_: float, z: np.ndarray) -> float:
            return float(z[j])

        event.terminal, event.direction = True, -1.0  # type: ignore[attr-defined]
        return event

    def positive(_: float, z: np.ndarray) -> float:
        return float(min(z[2 + j] for j in active))

    positive.terminal, positive.direction = True, 1.0  # type: ignore[attr-defined]
    events = [*(crossing(j) for j in active), positive]
    run = solve_ivp(velocity, (0.0, 1e4), state, "DOP853", rtol=rtol, atol=1e-2 * rtol, events=events)
    hit = [number for number, times in enumerate(run.t_events) if len(times)]
    if run.status != 1 or len(hit) != 1:
        raise RuntimeError(f"no single event from {state} in the cone {active}: {run.message}")
    return run.y_events[hit[0]][0], (active[hit[0]] if hit[0] < len(active) else -1)


def silent_share(strength: float, num_nodes: tuple[int, int]) -> float:
    """The share of N(0, 1) starts with one active sample, of target `strength`, that fall silent: by quadrature.

    ``int dc/2 int dp |u| exp(-(|u|^2 + w^2)/2) sqrt(2/pi) P(cosine < x(p; c))`` for uniform angles of u; no sampling.
    """
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes[0])
    largest = 9.0
    # c = t^3 / (1 - t) has the law's power at 0 and reaches the tail.
    t = 0.5 * (nodes + 1.0)
    c_values, c_weights = t**3 / (1 - t), 0.5 * weights * (3 * t**2 * (1 - t) + t**3) / (1 - t) ** 2
    points, point_weights = np.polynomial.legendre.leggauss(num_nodes[1])
    total = 0.0
    for c, weight in zip(c_values[c_values < largest**2], c_weights[c_values < largest**2], strict=True):
        end = float(np.arccosh(max(largest / np.sqrt(c), 1.0 + 1e-12)))
        p, p_weights = 0.5 * end * (points + 1.0), 0.5 * end * point_weights
        slope = (-c + np.sqrt(c**2 + 4 * strength**2)) / (2 * strength)
        first = min(1e-6, 0.5 * p[0])
        curve = solve_ivp(
            lambda q, x, c=c: strength * np.tanh(q) * (1 - x**2) / (strength * x - 0.5 * c * np.sinh(2 * q)),
            (first, end), [-slope * first], "DOP853", t_eval=p, rtol=1e-11, atol=1e-13,
        )  # fmt: skip
        norm, w = np.sqrt(c) * np.cosh(p), np.sqrt(c) * np.sinh(p)
        angle = 1.0 - np.arccos(np.clip(curve.y[0], -1.0, 1.0)) / np.pi
        total += 0.5 * weight * float(p_weights @ (norm * np.exp(-0.5 * (norm**2 + w**2)) * angle))
    return float(np.sqrt(2 / np.pi) * total)


def _short(label: str) -> str:
    return next((name for name in FATES if label.startswith(name)), label)


def fates(settings: Settings, indices: Int[np.ndarray, " num"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fates of some of the sampler's starts, their clarities, and the cones in which they begin (a bit per sample)."""
    first, second = samplers.Gaussian(1.0, like=problem()).starts(settings.seed, indices)
    found = [fate(a, b, settings.rtol) for a, b in zip(first[:, 0, :], second[:, :, 0], strict=True)]
    cones = (first[:, 0, 0] > 0) + 2 * (first[:, 0, 1] > 0)
    return np.array([name for name, _ in found]), np.array([clear for _, clear in found]), cones


def measure(settings: Settings) -> xr.Dataset:
    """Counts by calculation, silent shares by first cone (along ``first``), labels beside separatrices (``near``)."""
    flow, law = gf.GradientFlow(problem()), samplers.Gaussian(1.0, like=problem())
    estimates = [
        gf.estimate_basins(flow, law, settings.seed, num, progress=False, keep_codes=True)
        for num in settings.num_samples
    ]
    names, clarity, _ = fates(settings, np.arange(settings.num_compared))
    codes = estimates[0].codes
    assert codes is not None
    labels = np.array([_short(estimates[0].labels[code]) for code in codes[: settings.num_compared]])
    rows = [_counts(f"estimate_basins, {e.num_samples:,} starts", _counts_of(e), e.num_samples) for e in estimates]
    rows.append(_counts(INDEPENDENT, [int((names == name).sum()) for name in FATES], len(names)))
    parts = [
        dataset_of(rows, SHARES, "how_many"),
        dataset_of(silent_by_cone(estimates[0], law, settings), CONES, "first"),
        dataset_of(beside_separatrices(settings), BESIDE, "near"),
    ]
    described = {
        "differing": ((labels != names).sum(), "starts whose label differs between the two calculations"),
        "compared": (len(names), "starts labelled by both"),
        "smallest_clarity": (clarity.min(), "smallest clarity of a calculated fate"),
    }
    scalars = {name: xr.Variable((), value, {"long_name": text}) for name, (value, text) in described.items()}
    return xr.merge(parts).assign(scalars)


def findings(results: xr.Dataset) -> list[Finding]:
    """Shares, silence by cone, and labels against the independent calculation."""
    example = "paper 002, Example 1 as corrected"
    largest = results.isel(how_many=int(results["starts"].values.argmax()))
    share = float(largest["flat"] / largest["starts"])
    apart = results.sel(how_many=results["how"] == INDEPENDENT)
    around = intervals.proportion_intervals(apart["flat"].values, apart["starts"].values, 0.999)
    singles = results.sel(first=results["cone_exact"].notnull() & (results["cone"] != "none"))
    tails = intervals.proportion_intervals(singles["cone_silent"].values, singles["cone_starts"].values, 0.999)
    settled = results["distance"] >= SETTLED
    silent = results.sel(first=results["cone"] == "none")
    return [
        between("share of starts that fall silent in all, by the largest estimate, in the independent 99.9 % interval",
                share, around.low[0], around.high[0], example),
        holds("starts silent from the beginning that stay silent", silent["cone_silent"].sum(),
              silent["cone_starts"].sum(), example),
        holds("cones with one active sample whose silent share by quadrature is in the 99.9 % interval",
              np.sum(tails.contains(singles["cone_exact"].values)), len(singles["cone"]), "the quadrature in the file"),
        none_of("labels that differ from the calculation cone by cone", results["differing"], results["compared"],
                example),
        none_of(f"labels that differ beside separatrices, {SETTLED:g} away and farther",
                (results["beside_other"] + results["beside_undetermined"]).where(settled, 0).sum(),
                results["beside_starts"].where(settled, 0).sum(), example),
        none_of("starts without a limit", results["undetermined"].sum(), results["starts"].sum(), example),
    ]  # fmt: skip


def beside_separatrices(settings: Settings) -> list[dict[str, object]]:
    """Starts on both sides of separatrices at known distances, followed by both calculations."""
    law = samplers.Gaussian(1.0, like=problem())
    first, second = law.starts(settings.seed, np.arange(20 * settings.num_pairs))
    states = np.concatenate([first[:, 0, :], second[:, :, 0]], axis=1)
    found = [fate(state[:2], state[2:], settings.rtol)[0] for state in states]
    pairs = [(a, b) for a in range(len(states) - 1) if found[a] != found[b := a + 1]][: settings.num_pairs]
    starts, names, apart = [], [], []
    for a, b in pairs:
        length = float(np.linalg.norm(states[b] - states[a]))
        inside, outside = states[a], states[b]
        while np.linalg.norm(outside - inside) > 1e-13:
            middle = 0.5 * (inside + outside)
            if fate(middle[:2], middle[2:], settings.rtol)[0] == found[a]:
                inside = middle
            else:
                outside = middle
        for distance in settings.distances:
            for side in (-1.0, 1.0):
                starts.append(0.5 * (inside + outside) + side * distance * (states[b] - states[a]) / length)
                names.append(fate(starts[-1][:2], starts[-1][2:], settings.rtol)[0])
                apart.append(distance)
    table = np.array(starts)
    given = samplers.Given((table[:, None, :2], table[:, 2:, None]))
    estimate = gf.estimate_basins(gf.GradientFlow(problem()), given, 0, len(table), progress=False, num_rechecked=0)
    labels = [_short(estimate.labels[code]) for code in estimate.codes] if estimate.codes is not None else []
    differs = np.array([label != name for label, name in zip(labels, names, strict=True)])
    undecided = np.array([label == "undetermined" for label in labels])
    distances = np.array(apart)
    return [
        {
            "distance": distance,
            "beside_starts": int((distances == distance).sum()),
            "beside_other": int((differs & ~undecided & (distances == distance)).sum()),
            "beside_undetermined": int((undecided & (distances == distance)).sum()),
        }
        for distance in settings.distances
    ]


def _counts_of(estimate: gf.BasinEstimate) -> list[int]:
    shorts = [_short(label) for label in estimate.labels]
    return [sum(int(c) for c, s in zip(estimate.counts, shorts, strict=True) if s == name) for name in FATES]


def _counts(name: str, counts: list[int], num: int) -> dict[str, object]:
    return {"how": name, "starts": num, **dict(zip(NAMES, counts, strict=True)), "undetermined": num - sum(counts)}


def silent_by_cone(estimate: gf.BasinEstimate, law: samplers.Gaussian, settings: Settings) -> list[dict[str, object]]:
    """How many starts fall silent by the cone in which they begin: the quadrature beside the estimate."""
    first, _ = law.starts(settings.seed, np.arange(estimate.num_samples))
    cones = (first[:, 0, 0] > 0) + 2 * (first[:, 0, 1] > 0)
    assert estimate.codes is not None
    silent = estimate.codes == estimate.row(FLAT)
    exact = [1.0, *(silent_share(strength, settings.num_nodes) for strength in (2.0, 1.0)), np.nan]
    return [
        {
            "cone": name,
            "cone_exact": exact[bits],
            "cone_starts": int((cones == bits).sum()),
            "cone_silent": int(silent[cones == bits].sum()),
        }
        for bits, name in enumerate(("none", "first", "second", "both"))
    ]
