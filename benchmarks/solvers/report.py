"""The benchmark's table in Markdown, and what it says of the bars."""

import importlib.metadata
import platform
from pathlib import Path

import judgement as judge
import problems
import references

PACKAGES = ("jax", "diffrax", "optimistix", "lineax", "scipy", "scikit-sundae", "numpy")
EXPLANATION = """\
One trajectory at a time, on one pinned core; seconds are CPU seconds, medians of {rounds} interleaved round(s), with
everything compiled and warm; a run shorter than a tenth of a second is repeated for that long. The error is
`||end - reference|| / max(||reference||, ||start||)` at the horizon; absolute tolerances are a hundredth of the
relative ones. The same rtol means different errors for different methods: compare methods at equal error.

Work is counted where it can be: gradients, dense Hessians (H) and Hessian-vector products (P); factorisations are not.
SciPy's and SUNDIALS' callbacks count themselves; inside compiled programs a run of its own counts. Peers that call
Python get the faster of a hand-written NumPy field and a compiled one, and likewise for the Jacobian; diffrax gets the
state as one vector or in its shapes, whichever is faster. gradflow's times are those of a whole `gf.integrate`.
"""


def machine() -> str:
    """Processor, cores, system and versions in a sentence."""
    names = [text.split(":", 1)[1].strip() for text in _lines("/proc/cpuinfo") if text.startswith("model name")]
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    return (
        f"Machine: {names[0] if names else platform.processor()}, {len(names) or '?'} cores, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}; {', '.join(versions)}."
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def write(out: Path, rows: list, rounds: int, words: str) -> None:
    """Writes the table to `out` and the plots into `images` beside it."""
    import plots

    out.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(row.problem for row in rows))
    images = plots.write(out.parent / "images", out.stem, rows, names)
    parts = [
        "# Solvers on gradient flows: work against achieved error",
        "Written by `python benchmarks/solvers/run.py`.",
        words,
        EXPLANATION.format(rounds=rounds).strip(),
        *(f"![{title}](images/{image.name})" for image, title in images),
        judgement(rows),
        "## References",
        _references(names),
        *(_of_problem(name, [row for row in rows if row.problem == name]) for name in names),
    ]
    out.write_text("\n\n".join(parts) + "\n")


def judgement(rows: list) -> str:
    """The bars and what was reached."""
    names = list(dict.fromkeys(row.problem for row in rows))
    stiff = [name for name in names if problems.get(name).is_stiff]
    calm = [name for name in names if name not in stiff]
    parts = [
        "## The bars",
        _bar("The automatic choice against the best solver of gradflow's own that a user could name", judge.LESS_WORK,
             judge.verdicts(rows, names, "own")),
        _bar("The automatic choice against the best peer on stiff problems", 1 / judge.MUCH_FASTER,
             judge.verdicts(rows, stiff, "peers")),
        _bar("The automatic choice against diffrax Tsit5 on the others", judge.NO_SLOWER,
             judge.verdicts(rows, calm, judge.RIVAL)),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def _bar(title: str, limit: float, verdicts: list) -> str:
    if not verdicts:
        return ""
    head = (
        f"### {title}: seconds at most {limit:.3g} times\n\n"
        "| problem | rtol | error | ms | choice | quickest at that error | x seconds | met | quickest at that rtol "
        "| x seconds | x error |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
    )
    lines = []
    for v in verdicts:
        met = "nobody else reached it" if v.ratio is None else "yes" if v.ratio <= limit else "**no**"
        lines.append(
            f"| {v.problem} | {v.rtol:g} | {v.error:.1e} | {milliseconds(v.seconds)} | {v.choice} | {v.rival} "
            f"| {_ratio(v.ratio)} | {met} | {v.same_rtol} | {_ratio(v.ratio_at_rtol)} "
            f"| {_ratio(v.error_ratio_at_rtol)} |"
        )
    count = sum(v.ratio is None or v.ratio <= limit for v in verdicts)
    return head + "\n".join(lines) + f"\n\nMet in {count} of {len(verdicts)}."


def _references(names: list[str]) -> str:
    lines = ["| problem | made by | checked by | agreement |", "|---|---|---|---|"]
    for name in names:
        entry = references.entries().get(name)
        if entry:
            lines.append(f"| {name} | {entry['made_by']} | {entry['checked_by']} | {entry['agreement']:.1e} |")
    return "\n".join(lines)


def _of_problem(name: str, rows: list) -> str:
    problem = problems.get(name)
    stiff = "stiff" if problem.is_stiff else "not stiff"
    lines = [
        f"## {name}: {problem.title}",
        "",
        f"There for: {problem.why} ({stiff}).",
        "",
        "| method | rtol | error | ms | gradients | H | P | steps (rejected) | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        error = f"{row.error:.1e}" if row.error is not None else ""
        seconds = milliseconds(row.cpu) if row.cpu is not None else ""
        count = lambda key, row=row: row.counts.get(key, "")  # noqa: E731
        steps = f"{row.counts['steps']} ({row.counts.get('rejected', 0)})" if "steps" in row.counts else ""
        remark = row.note or row.remark
        lines.append(
            f"| {row.label} | {row.rtol:.0e} | {error} | {seconds} | {count('gradients')} | {count('hessians')} "
            f"| {count('products')} | {steps} | {remark} |"
        )
    return "\n".join(lines)


def milliseconds(seconds: float) -> str:
    """Three digits, thousands apart."""
    rounded = float(f"{1e3 * seconds:.3g}")
    return f"{rounded:,.0f}".replace(",", " ") if rounded >= 100 else f"{rounded:g}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
