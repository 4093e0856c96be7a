"""Ensembles on an accelerator: rate and agreement with the native kernel on the host.

    python benchmarks/basins/accelerator.py

Problems A (deep linear network of widths 4, 4, 4, 2) and B (``1/2 (1 - x y)^2``) of the table in ``docs``, in double
precision. A row is the median of three calls after the one that compiles; "differs" is the largest difference of an end
from the native kernel's, "same" the share of ends with the same code.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

import gradflow as gf
from gradflow.ensemble import Ensemble, plain_orders, shared_settings


def problem_a() -> tuple[gf.GradientFlow, object, float]:
    """Flow, one start and the gradient norm that ends a run."""
    target = np.hstack([np.diag([2.0, 1.0]), np.zeros((2, 2))])
    problem = gf.Regression(gf.networks.Linear((4, 4, 4, 2)), np.eye(4), target)
    return gf.GradientFlow(problem), problem.init(0), 1e-6


def problem_b() -> tuple[gf.GradientFlow, object, float]:
    """The same for the hyperbola of minima."""
    return gf.GradientFlow(gf.Landscape(lambda p: 0.5 * (1 - p[0] * p[1]) ** 2)), np.zeros(2), 1e-8


def median_seconds(
    ensemble: Ensemble, states: np.ndarray, told: np.ndarray, shared: np.ndarray
) -> tuple[float, object]:
    """Median wall time of three calls, and the ends."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        ends = ensemble.run(states, told, shared)
        times.append(time.perf_counter() - begun)
    return float(np.median(times)), ends


def main() -> None:
    """Prints the table."""
    print(f"device {jax.devices()[0].device_kind}, jax {jax.__version__}")
    rng = np.random.default_rng(0)
    for name, make, draw in (
        ("A", problem_a, lambda n: 0.5 * rng.standard_normal((n, 40))),
        ("B", problem_b, lambda n: rng.uniform(-2, 2, (n, 2))),
    ):
        flow, like, quiet = make()
        for num, width in ((16384, 4096), (262144, 16384), (262144, 65536)):
            states = draw(num)
            told, shared = plain_orders(num, quiet, 1e4), shared_settings(1e-6, 1e-9, 1e6, 100_000)
            native = Ensemble(flow, like, "native").run(states, told, shared)
            ensemble = Ensemble(flow, like, "xla", width)
            begun = time.perf_counter()
            ensemble.run(states, told, shared)
            first = time.perf_counter() - begun
            seconds, ends = median_seconds(ensemble, states, told, shared)
            same = np.mean(ends.codes == native.codes)
            apart = np.max(np.abs(ends.states - native.states))
            print(f"{name} N={num} width={width}: {num / seconds:,.0f} per second (compiled in {first:.1f} s), "
                  f"differs {apart:.1e}, same {same:.6f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    jnp.zeros(1)
    main()
