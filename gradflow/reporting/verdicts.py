"""Verdicts on statements as lines of a table, as a page of the documentation, and as plain data.

Knows verdicts and nothing of how they came about. A table's lines have fixed columns, because they are printed one by
one while the next statement is being tried.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from gradflow.verification import Statement, Trial, Verdict

LAYOUT = "{:<6}{:<40}{:<14}{:<10}{:>6}  {:<21}{:>9}{:>8}"

COLUMNS = LAYOUT.format("paper", "statement", "reading", "verdict", "trials", "worst", "margin", "seconds")
"""The heading over :func:`lines_of`."""

INTRODUCTION = (
    "Written by `{command}`, from the same objects that the command tries; do not edit. *Worst* is the comparison "
    "that came closest to failing, observed `<=` allowed, in the units of the statement, and *margin* the difference. "
    "Instances are random and their seed fixed: no number here is a proof. A statement that is false as printed has "
    "its counterexample beside the correction. *Printed* means the texts of the papers that were at hand, made by "
    "machine from their pages: where a factor 1/2 or a numerator is missing (paper 002, Proposition 3, Theorem 4, "
    "Example 1), the loss may be that of the copy."
)

NOT_TRIED = {
    "000": "Definitions (1), (3), (6) and (19); steps inside proofs whose result has a row; what is said of residual "
    "shortcuts without a number.",
    "001": "Definitions 1 and 3; Theorem 1, a cited result on algorithms.",
    "002": "Remark 1 (notation) and Fact 1 (a step of a proof).",
    "003": "Theorem 1, the cited inequality of Lojasiewicz, and Remark 1 on it; Assumptions 1 and 3, which are "
    "hypotheses of other rows.",
}
"""What has no row, and why, by paper."""

PAPERS = {
    "000": "Y. Zhou, Y. Liang, *Characterization of gradient dominance and regularity conditions for neural networks*",
    "001": "Z. Zhu and others, *The global optimization geometry of shallow linear neural networks*",
    "002": "Y. Zhou, Y. Liang, *Critical points of linear neural networks: analytical forms and landscape properties*",
    "003": "Y. Chitour and others, *A geometric approach of gradient descent algorithms in linear neural networks*",
}
"""Authors and titles by the papers' short names."""


def lines_of(verdict: Verdict, explain: bool = False) -> list[str]:
    """A verdict as lines under :data:`COLUMNS`: one for the claim as printed if that is false, one for the claim."""
    statement, lines = verdict.statement, []
    reading = ""
    if verdict.printed is not None:
        lines.append(_line(statement, statement.where, _printed_word(verdict.printed), 1, verdict.printed, ""))
        lines.append(f"{'':<6}  {verdict.printed.instance}")
        reading = "as corrected" if statement.where == "as printed" else "itself"
    seconds = f"{verdict.seconds:.1f}"
    lines.append(_line(statement, reading, word_of(verdict), verdict.trials, verdict.worst, seconds))
    if verdict.error:
        lines.append(f"{'':<6}  {verdict.error}")
    lines += [f"{'':<6}  failed: {trial.instance} ({worst_of(trial)})" for trial in verdict.failures]
    return lines + (_explanation(statement) if explain else [])


def word_of(verdict: Verdict) -> str:
    """``holds``, ``FAILS``, or ``ERROR`` for the (corrected) claim."""
    if verdict.error or verdict.trials == 0:
        return "ERROR"
    return "holds" if verdict.holds else "FAILS"


def worst_of(trial: Trial) -> str:
    """What was observed and what was allowed, e.g. ``3.1e-14 <= 1.0e-10``."""
    sign = "<=" if trial.holds else ">"
    return f"{_number(trial.observed)} {sign} {_number(trial.allowed)}"


def summary_line(verdicts: Sequence[Verdict]) -> str:
    """Counts in one sentence."""
    wrong = sum(not verdict.is_as_expected for verdict in verdicts)
    false = sum(verdict.printed_fails is True for verdict in verdicts)
    trials, seconds = sum(verdict.trials for verdict in verdicts), sum(verdict.seconds for verdict in verdicts)
    ending = "none fails" if not wrong else f"{wrong} NOT AS EXPECTED"
    return (
        f"{_counted(len(verdicts), 'statement')}, {trials} comparisons in {seconds:.0f} s: {ending}; "
        f"{false} shown to be false as printed or in its proof, and tried as corrected."
    )


def as_data(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain data for JSON; NaN and infinities as text."""
    statement = verdict.statement
    return {
        "name": statement.name,
        "paper": statement.paper,
        "number": statement.number,
        "claim": statement.claim,
        "correction": statement.correction,
        "code": list(statement.code),
        "verdict": word_of(verdict).lower(),
        "as_expected": verdict.is_as_expected,
        "false_as_printed": verdict.printed_fails,
        "counterexample": None if verdict.printed is None else _trial_data(verdict.printed),
        "instances": verdict.instances,
        "trials": verdict.trials,
        "num_failures": verdict.num_failures,
        "worst": None if verdict.worst is None else _trial_data(verdict.worst),
        "error": verdict.error,
        "seconds": round(verdict.seconds, 3),
    }


def page(verdicts: Iterable[Verdict], command: str) -> str:
    """The documentation's page: every statement with its correction, its place in the code and its worst margin."""
    verdicts = list(verdicts)
    blocks = [
        "# The statements of the papers, tried",
        INTRODUCTION.format(command=command),
        summary_line(verdicts),
    ]
    for paper in dict.fromkeys(verdict.statement.paper for verdict in verdicts):
        blocks.append(f"## Paper {paper}: {PAPERS[paper]}")
        blocks.append(f"Not tried: {NOT_TRIED[paper]}")
        blocks += [_block(verdict) for verdict in verdicts if verdict.statement.paper == paper]
    return "\n\n".join(blocks) + "\n"


def _block(verdict: Verdict) -> str:
    statement = verdict.statement
    worst = ""
    if verdict.worst is not None:
        worst = f"; worst `{worst_of(verdict.worst)}`, margin `{_number(verdict.worst.margin)}`"
    comparisons = "1 comparison" if verdict.trials == 1 else f"{verdict.trials} comparisons"
    lines = [f"### {statement.number}", "", statement.claim, ""]
    if statement.correction:
        lines.append(f"- *against the text:* {statement.correction}")
    if verdict.printed is not None:
        word = _printed_word(verdict.printed)
        lines.append(f"- *{statement.where}:* {word}; {verdict.printed.instance} (`{worst_of(verdict.printed)}`)")
    lines.append(f"- *tried:* **{word_of(verdict)}**, {comparisons}{worst}")
    lines.append(f"- *code:* {', '.join(f'`{name}`' for name in statement.code)}")
    return "\n".join(lines)


def _line(statement: Statement, reading: str, word: str, trials: int, worst: Trial | None, seconds: str) -> str:
    number = textwrap.shorten(statement.number, 39, placeholder="...")
    closest, margin = ("", "") if worst is None else (worst_of(worst), _number(worst.margin))
    return LAYOUT.format(statement.paper, number, reading, word, trials, closest, margin, seconds).rstrip()


def _printed_word(trial: Trial) -> str:
    """Verdict on the claim as printed, whose counterexample must fail."""
    return "NOT FALSE" if trial.holds else "false"


def _explanation(statement: Statement) -> list[str]:
    parts = [statement.claim, statement.correction and f"Against the text: {statement.correction}"]
    parts.append(f"Code: {', '.join(statement.code)}")
    wrapped = [textwrap.wrap(part, 104, initial_indent=" " * 8, subsequent_indent=" " * 8) for part in parts if part]
    return [line for part in wrapped for line in part]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def _number(value: float) -> str:
    return f"{value:g}" if value in (0.0, 1.0) else f"{value:.2g}"


def _trial_data(trial: Trial) -> dict[str, Any]:
    numbers = {"observed": trial.observed, "allowed": trial.allowed}
    plain = {name: value if math.isfinite(value) else str(value) for name, value in numbers.items()}
    return {**plain, "instance": trial.instance}
