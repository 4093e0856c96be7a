"""Studies as rows of a table, and rows as tables for the terminal and for Markdown.

Knows rows, mappings from a column's name to what stands there; of a study only what its row says.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from gradflow.reporting.words import HEADING, captured, number, optimum, words
from gradflow.studies import Study


def row_of(study: Study) -> dict[str, str]:
    """What a study says in one row of a table over several; put a label before it: ``{"rtol": "1e-6"} | ...``.

    Columns: relative drift of the worst invariant, ``sup ||W|| / R``, loss above the least-squares optimum (the loss
    itself when that is not known), how it ended, kind and captured set of the endpoint, attempted steps, seconds, and
    failed checks.
    """
    record, point, run = study.record, study.point, study.trajectory
    claimed = record["claimed"].values
    drift = record["relative_drift"].values[:, claimed].max() if claimed.any() else math.nan
    lowest = optimum(study)
    failed = [check.name for check in study.checks if check.passed is False]
    return {
        "drift": number(drift, 2),
        "sup/R": number(run.largest_norm / float(record["bound"]), 3),
        "loss" if lowest is None else "excess loss": number(point.loss - (lowest or 0.0), 3),
        "ended": str(run.status),
        "kind": words(point.kind),
        "captured": captured(point),
        "steps": str(run.num_steps),
        "seconds": f"{run.wall_seconds:.1f}",
        "failed": ", ".join(failed) or "none",
    }


def table_of(rows: Sequence[Mapping[str, object]]) -> Table:
    """Rows as a table with every column that one of them has, "-" where a row has none; text wraps."""
    table = Table(box=None, pad_edge=False, header_style=HEADING)
    for name in _columns(rows):
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(row.get(name, "-"))) for name in _columns(rows)))
    return table


def markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """The same as a Markdown table."""
    names = _columns(rows)
    lines = [names, ["---"] * len(names), *([str(row.get(name, "-")) for name in names] for row in rows)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _columns(rows: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))
