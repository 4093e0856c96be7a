"""Peak memory of an estimate against the number of starts: it must not grow with them.

    python benchmarks/basins/memory.py [--most 10000000]

Each size in a process of its own, without keeping the class of every start; the landscape is ``1/2 (1 - x y)^2``.
"""

import argparse
import resource
import subprocess
import sys
import time


def one(num: int) -> None:
    """Estimates with `num` starts and prints peak memory and rate."""
    import gradflow as gf

    flow = gf.GradientFlow(gf.model_problems.two_layer_scalar().problem)
    begun = time.perf_counter()
    sampler = gf.samplers.Box(-2.0, 2.0, like=2)
    estimate = gf.estimate_basins(flow, sampler, 0, num, keep_codes=False, progress=False, num_rechecked=1000)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert estimate.counts.sum() == num
    print(f"{num:>12,} starts: {peak:7.1f} MiB, {num / seconds:10,.0f} starts per second, "
          f"{estimate.undetermined} undetermined", flush=True)  # fmt: skip


def main() -> None:
    """Runs every size in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=10_000_000)
    parser.add_argument("--only", type=int)
    given = parser.parse_args()
    if given.only is not None:
        one(given.only)
        return
    num = 100_000
    while num <= given.most:
        subprocess.run([sys.executable, __file__, "--only", str(num)], check=True)
        num *= 10


if __name__ == "__main__":
    main()
