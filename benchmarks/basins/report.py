"""The benchmark's table, in Markdown, and its plot of speed against achieved accuracy."""

import importlib.metadata
import math
import platform
from pathlib import Path

import problems

PACKAGES = ("jax", "diffrax", "numbalsoda", "torch", "torchdiffeq", "torchode", "scikit-sundae", "scipy", "numpy")
BASE = "diffrax-chunk"
HEAD = (
    "| method | starts | per CPU-second | x best diffrax | per second, two cores | meet the stop test | steps "
    "| error of the state: median, 99 % | of the loss: median, 99 % |\n|---|---|---|---|---|---|---|---|---|"
)
EXPLANATION = """\
Trajectories per second of CPU time on one pinned core (medians of {rounds} interleaved round(s)) and per second of wall
time with half of the starts on each of two cores. `atol = rtol / 1000` everywhere. Errors are Euclidean distances of
end states, and of their losses, from SciPy's DOP853 at rtol 1e-12 at the same flow time, over the first 128 starts. The
same rtol means different errors for different methods: compare speeds of rows whose errors are alike. Where a method
was too slow for all starts, "starts" says how many it got. diffrax's rows use XLA's fast flag for small products;
"best chunk" is the fastest of several chunk lengths and forms of the products. Methods "told their end" have no stop
test and got each run's stop time. "No cap" and every peer but gradflow choose steps by the error alone:
at the stability limit the gradient then never falls below its noise, and runs go on to t1. Rows that `--add` kept are
of an earlier run on the same machine.
"""


def line(row) -> str:
    """One row of the table for the terminal."""
    if row.rate is None:
        return f"{row.label:38} {row.note or 'not measured'}"
    return f"{row.label:38} {_number(row.rate):>10}/s  {100 * row.met:6.2f} % stop  error {_pair(row.point_errors)}"


def write(out: Path, rows: list, rounds: int) -> None:
    """Writes the table to `out` and the plot into `images` beside it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    image = out.parent / "images" / f"{out.stem}.png"
    blocks = list(dict.fromkeys((row.problem, row.rtol, row.wanted) for row in rows))
    parts = [
        "# Ensembles of trajectories: how fast, how accurate",
        "Written by `python benchmarks/basins/run.py`.",
        machine(),
        EXPLANATION.format(rounds=rounds).strip(),
        f"![speed against achieved error](images/{image.name})",
    ]
    titled = set()
    for block in blocks:
        if block[0] not in titled:
            titled.add(block[0])
            parts.append(_title(block[0]))
        parts.append(_table(block, [row for row in rows if (row.problem, row.rtol, row.wanted) == block]))
    out.write_text("\n\n".join(parts) + "\n")
    image.parent.mkdir(parents=True, exist_ok=True)
    draw(image, rows)


def machine() -> str:
    """Processor, cores, system and versions in a sentence."""
    names = [text.split(":", 1)[1].strip() for text in _lines("/proc/cpuinfo") if text.startswith("model name")]
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    processor = names[0] if names else platform.processor()
    return (
        f"Machine: {processor}, {len(names) or '?'} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}; {', '.join(versions)}."
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _title(name: str) -> str:
    problem = problems.get(name)
    rule = f"Stop at gradient norm {problem.grad_tol:g}, at the latest at t = {problem.t1:g}."
    return f"## {name}: {problem.title}\n\n{rule}"


def _table(block: tuple, rows: list) -> str:
    base = next((row.rate for row in rows if row.method == BASE and row.rate), None)
    _, rtol, wanted = block
    lines = [f"### rtol {rtol:g}, N = {wanted}", "", HEAD]
    for row in rows:
        if row.rate is None:
            lines.append(f"| {row.label} | | {row.note or 'not measured'} | | | | | | |")
            continue
        ratio = f"{row.rate / base:.3g}" if base else ""
        two = _number(row.rate_of_two) if row.rate_of_two else ""
        steps = f"{row.steps:.0f}" if row.steps and math.isfinite(row.steps) else ""
        lines.append(
            f"| {row.label} | {row.count} | {_number(row.rate)} | {ratio} | {two} | {_share(row.met)} | {steps} "
            f"| {_pair(row.point_errors)} | {_pair(row.loss_errors)} |"
        )
    return "\n".join(lines)


def _number(value: float) -> str:
    """Three digits, thousands apart."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}".replace(",", " ") if rounded >= 100 else f"{rounded:g}"


def _share(value: float) -> str:
    return "100 %" if value == 1 else f"{100 * min(value, 0.9999):.2f} %"


def _pair(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.1e}, {pair[1]:.1e}"


def draw(image: Path, rows: list) -> None:
    """Rate against achieved error of the largest number of starts, a panel a problem, a marker a method."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    measured = [row for row in rows if row.rate and row.point_errors and row.point_errors[1] > 0]
    letters = list(dict.fromkeys(row.problem for row in measured))
    if not letters:
        return
    labels = list(dict.fromkeys(row.label for row in measured))
    markers = dict(zip(labels, [*"*Phs8^v<>Dd", "$R$", *"Xp1234+x"], strict=False))
    figure, axes = plt.subplots(1, len(letters), figsize=(max(4.2 * len(letters), 8.0), 6.0), squeeze=False)
    for panel, letter in zip(axes[0], letters, strict=True):
        largest = {}
        for row in measured:
            if row.problem == letter:
                largest[row.label, row.rtol] = row
        for (label, rtol), row in largest.items():
            shade = "0.1" if label.startswith(("gradflow", "C++")) else "0.45"
            face = shade if rtol <= 1e-8 else "none"
            style = {"color": shade} if markers[label] in "1234+x" else {"facecolors": face, "edgecolors": shade}
            panel.scatter(row.point_errors[1], row.rate, s=70, marker=markers[label], zorder=3, **style)
        panel.set(xscale="log", yscale="log", title=letter, xlabel="error of the end state, 99 %")
        panel.xaxis.set_minor_formatter(NullFormatter())
        left, right = panel.get_xlim()
        panel.set_xlim(min(left, 10 ** math.floor(math.log10(right))), max(right, 10 ** math.ceil(math.log10(left))))
        panel.grid(True, which="major", color="0.9")
    axes[0][0].set_ylabel("trajectories per CPU-second (filled: rtol 1e-8)")
    handles = [
        plt.Line2D([], [], linestyle="", marker=markers[label], color="0.3", markerfacecolor="none", label=label)
        for label in labels
    ]
    columns = min(4, len(letters) + 1)
    figure.legend(handles=handles, loc="lower center", ncols=columns, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.03 + 0.035 * math.ceil(len(labels) / columns), 1, 1))
    figure.savefig(image, dpi=110)
    plt.close(figure)
