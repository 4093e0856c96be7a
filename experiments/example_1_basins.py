"""How large are the basins of one ReLU unit, and does a calculation that shares no code with the library agree?

Question: X = I_2, Y = diag(2, 1), one ReLU unit, all weights N(0, 1). Which share of starts ends at the global minimum,
at the spurious one, and in the flat cone where the unit is silent?
Prediction: a quarter of the starts is silent from the beginning; more fall silent on the way, 0.41 in all; no start is
undetermined, and no label differs from the independent calculation's, down to starts 1e-5 from a separatrix.
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

Run: ``./go python experiments/example_1_basins.py``
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from scipy.integrate import solve_ivp

import gradflow as gf
from gradflow import intervals, samplers
from gradflow.reporting import print_table

TARGETS = np.diag([2.0, 1.0])
FLAT, GLOBAL, SPURIOUS = "flat cone", "global minimum", "spurious minimum"
FATES = (FLAT, GLOBAL, SPURIOUS)
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


@dataclass(frozen=True)
class Found:
    """Everything that is shown, and what must not be there."""

    rows: list[dict[str, object]]
    details: list[dict[str, object]]
    near: list[dict[str, object]]
    disagreements: int
    estimates: list[gf.BasinEstimate] = field(repr=False)


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


def run(settings: Settings) -> Found:
    """The shares of three fates: estimated, and by the independent calculation."""
    flow, law = gf.GradientFlow(problem()), samplers.Gaussian(1.0, like=problem())
    estimates = [
        gf.estimate_basins(flow, law, settings.seed, num, progress=False, keep_codes=True)
        for num in settings.num_samples
    ]
    indices = np.arange(settings.num_compared)
    names, clarity, cones = fates(settings, indices)
    codes = estimates[0].codes
    assert codes is not None
    labels = np.array([_short(estimates[0].labels[code]) for code in codes[indices]])
    rows = [_row(f"estimate_basins, {e.num_samples:,} starts", _counts_of(e), e.num_samples) for e in estimates]
    rows.append(_row(f"cone by cone, {len(names):,} starts", [int((names == n).sum()) for n in FATES], len(names)))
    shares = [silent_share(strength, settings.num_nodes) for strength in (2.0, 1.0)]
    details = _details(estimates[0], law, settings, shares)
    details.append({"what": "starts whose label differs between the two", "value": str(int((labels != names).sum()))})
    details.append({"what": f"smallest clarity among the {len(names):,}", "value": f"{clarity.min():.1e}"})
    for bits, text in ((0, "{}"), (1, "{1}"), (2, "{2}"), (3, "{1, 2}")):
        inside = cones == bits
        silent, num = int((names[inside] == FLAT).sum()), int(inside.sum())
        limits = intervals.proportion_intervals(silent, num)
        shown = f"{silent / num:.4f} ({float(limits.low):.4f} .. {float(limits.high):.4f})"
        details.append({"what": f"cone by cone: silent in the end of {num} that start in {text}", "value": shown})
    near, wrong = beside_separatrices(settings)
    return Found(rows, details, near, int((labels != names).sum()) + wrong, estimates)


def beside_separatrices(settings: Settings) -> tuple[list[dict[str, object]], int]:
    """Starts on both sides of separatrices at known distances, followed by both; and differences from SETTLED on."""
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
    rows: list[dict[str, object]] = [
        {
            "distance from a separatrix": f"{distance:g}",
            "starts": str(int((distances == distance).sum())),
            "other label": str(int((differs & ~undecided & (distances == distance)).sum())),
            "undetermined": str(int((undecided & (distances == distance)).sum())),
        }
        for distance in settings.distances
    ]
    return rows, int(differs[distances >= SETTLED].sum())


def _counts_of(estimate: gf.BasinEstimate) -> list[int]:
    shorts = [_short(label) for label in estimate.labels]
    return [sum(int(c) for c, s in zip(estimate.counts, shorts, strict=True) if s == name) for name in FATES]


def _details(
    estimate: gf.BasinEstimate, law: samplers.Gaussian, settings: Settings, shares: list[float]
) -> list[dict[str, object]]:
    """Silent shares by the first cone: the quadrature beside the estimate."""
    first, _ = law.starts(settings.seed, np.arange(estimate.num_samples))
    cones = (first[:, 0, 0] > 0) + 2 * (first[:, 0, 1] > 0)
    assert estimate.codes is not None
    silent = estimate.codes == estimate.row(FLAT)
    rows: list[dict[str, object]] = []
    for bits, text, exact in ((0, "{}", 1.0), (1, "{1}", shares[0]), (2, "{2}", shares[1])):
        inside = cones == bits
        limits = intervals.proportion_intervals(int(silent[inside].sum()), int(inside.sum()))
        rows.append({
            "what": f"silent in the end of those that start in {text}: by quadrature, and estimated",
            "value": f"{exact:.6f}, {float(limits.estimate):.4f} ({float(limits.low):.4f} .. {float(limits.high):.4f})",
        })  # fmt: skip
    return rows


def _row(name: str, counts: list[int], num: int) -> dict[str, object]:
    limits = intervals.proportion_intervals(np.array(counts), num, num_joint=len(counts))
    cells = [
        f"{p:.5f} ({low:.5f} .. {high:.5f})"
        for p, low, high in zip(limits.estimate, limits.low, limits.high, strict=True)
    ]
    return {"how": name, **dict(zip(FATES, cells, strict=True)), "undetermined": str(num - sum(counts))}


def main() -> int:
    """Prints the tables; exit code 1 when a label differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="the quick version")
    found = run(Settings.tiny() if parser.parse_args().tiny else Settings())
    print_table(found.rows, title="Example 1: shares, 95 % intervals that hold together")
    print_table(found.details, title="where silence comes from")
    print_table(found.near, title="beside separatrices: labels at the default tolerance against the calculation")
    return int(found.disagreements > 0)


if __name__ == "__main__":
    sys.exit(main())
