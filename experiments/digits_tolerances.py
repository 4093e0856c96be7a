"""How do drift, bound, loss and named endpoint of a run on the digits depend on the tolerance?

Question: a three-layer linear network, widths 64-32-16-10, learns the digits (whitened pixels, one-hot targets) by
gradient flow. What do its invariants, its certificate and its endpoint look like at rtol 1e-4, 1e-6, 1e-8, 1e-10?
Prediction: the relative drift of every invariant falls with rtol and stays below 100 rtol (paper 003, Lemma 1);
``sup ||W|| <= R``; the final loss is the least-squares optimum; the endpoint is a global minimum that captures all ten
singular values (paper 003, Lemma 2 and Proposition 3).
Method: one start (Gaussian, scale 0.1, seed 0), integrated to its end at each tolerance.
Cost: about half a minute on two cores.
Source: paper 003, sections 2 and 4.

Run: ``./go python experiments/digits_tolerances.py``
"""

import argparse
import sys
import warnings
from dataclasses import dataclass

import gradflow as gf
from gradflow import checks, datasets
from gradflow.reporting import print_table


@dataclass(frozen=True)
class Settings:
    """Widths between input and output, tolerances and start of the experiment."""

    hidden: tuple[int, ...] = (32, 16)
    tolerances: tuple[float, ...] = (1e-4, 1e-6, 1e-8, 1e-10)
    data: str = "digits"
    scale: float = 0.1
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(hidden=(4,), tolerances=(1e-4, 1e-6), data="iris")


def run(settings: Settings) -> list[dict[str, object]]:
    """One row per tolerance, dimensionless except the seconds."""
    with warnings.catch_warnings():
        # Three pixels are never inked: X has rank 61 of 64, and what the first layer does to them stays as it was.
        warnings.simplefilter("ignore", checks.DataWarning)
        data = datasets.whiten(datasets.load(settings.data))
    widths = (data.num_features, *settings.hidden, data.num_targets)
    problem = gf.Regression(gf.networks.Linear(widths), data.X, data.Y)
    flow = gf.GradientFlow(problem)
    start = problem.init(settings.seed, scale=settings.scale)
    return [_row(gf.study(flow, start, rtol=rtol, atol=1e-2 * rtol), problem) for rtol in settings.tolerances]


def _row(study: gf.Study, problem: gf.Regression) -> dict[str, object]:
    run, record, point = study.trajectory, study.record, study.point
    captured = "none" if not point.captured else f"{{1..{len(point.captured)}}}"
    if point.captured and point.captured != tuple(range(len(point.captured))):
        captured = str(tuple(index + 1 for index in point.captured))
    return {
        "rtol": f"{run.rtol:.0e}",
        "drift": f"{float(record['relative_drift'].max()):.1e}",
        "sup||W||/R": f"{run.largest_norm / float(record['bound']):.4f}",
        "L - optimum": f"{float(problem.loss(run.endpoint)) - problem.irreducible:.1e}",
        "kind": point.kind,
        "captured": captured,
        "steps": run.num_steps,
        "seconds": f"{run.wall_seconds:.1f}",
        "checks": "passed" if study.passed else "FAILED",
    }


def main() -> int:
    """Prints the table; exit code 1 when a check failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="the quick version")
    settings = Settings.tiny() if parser.parse_args().tiny else Settings()
    rows = run(settings)
    hidden = "-".join(str(width) for width in settings.hidden)
    print_table(rows, title=f"{settings.data}, hidden widths {hidden}, whitened inputs, gradient flow to the end")
    return int(any(row["checks"] != "passed" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
