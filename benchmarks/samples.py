"""Does the cost of a step grow with the number of samples? Side by side in one run, medians and a ratio.

The same flow on 200 and on 200 000 samples with the same second moments: widths 20-10-5, Tsit5, rtol 1e-8. Prints the
machine, the versions, the median time per attempted step of interleaved rounds, and how far the endpoints differ.

Run: ``./go python benchmarks/samples.py``
"""

import platform
import statistics
import time

import jax
import numpy as np

import gradflow as gf

ROUNDS = 15


def main() -> None:
    """Prints the comparison."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((20, 200)), rng.standard_normal((5, 200))
    network = gf.networks.Linear((20, 10, 5))
    flows = {
        "200": gf.GradientFlow(gf.Regression(network, X, Y, normalization="mean")),
        "200 000": gf.GradientFlow(gf.Regression(network, np.tile(X, 1000), np.tile(Y, 1000), normalization="mean")),
    }
    start = flows["200"].problem.init(0, scale=0.3)
    seconds: dict[str, list[float]] = {name: [] for name in flows}
    ends = {}
    for round_number in range(ROUNDS + 1):
        for name, flow in flows.items():
            begun = time.perf_counter()
            run = gf.integrate(flow, start, t1=60.0, rtol=1e-10, atol=1e-12, grad_tol=1e-30, progress=False)
            if round_number:
                seconds[name].append((time.perf_counter() - begun) / run.num_steps)
            ends[name] = run
    print(f"{platform.machine()}, Python {platform.python_version()}, jax {jax.__version__}, {ROUNDS} rounds")
    for name in flows:
        microseconds = 1e6 * statistics.median(seconds[name])
        print(f"{name:>8} samples: {microseconds:8.1f} us a step, {ends[name].num_steps} steps")
    ratio = statistics.median(seconds["200 000"]) / statistics.median(seconds["200"])
    gap = max(np.abs(a - b).max() for a, b in zip(ends["200"].endpoint, ends["200 000"].endpoint, strict=True))
    print(f"ratio {ratio:.3f}; endpoints differ by {gap:.1e}")


if __name__ == "__main__":
    main()
