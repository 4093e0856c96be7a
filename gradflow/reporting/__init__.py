"""A study in words and tables, for the terminal and for whoever reads it for the first time.

:func:`summary` says what ran, what was promised before, what was checked, where the flow ended and how fast, line by
line; :func:`row_of` says it in one row, for tables over several studies. On a terminal there are colours; in a file, a
pipe or under ``NO_COLOR`` plain text, in ASCII as far as the words are ours. Looks on: computes nothing that a study
does not hold, and never fails on one that went wrong.
"""

from gradflow.reporting.basins import (
    basin_data,
    basin_notes,
    basin_page,
    basin_rows,
    basin_text,
    basin_title,
    is_sample,
)
from gradflow.reporting.printing import MAX_WIDTH, print_summary, print_table, show
from gradflow.reporting.summaries import event_rows, more_events, summary
from gradflow.reporting.tables import markdown, row_of, table_of
from gradflow.reporting.verdicts import COLUMNS as VERDICT_COLUMNS
from gradflow.reporting.verdicts import as_data as verdict_data
from gradflow.reporting.verdicts import lines_of as verdict_lines
from gradflow.reporting.verdicts import page as verdict_page
from gradflow.reporting.verdicts import summary_line as verdict_summary

__all__ = [
    "MAX_WIDTH",
    "VERDICT_COLUMNS",
    "basin_data",
    "basin_notes",
    "basin_page",
    "basin_rows",
    "basin_text",
    "basin_title",
    "event_rows",
    "is_sample",
    "markdown",
    "more_events",
    "print_summary",
    "print_table",
    "row_of",
    "show",
    "summary",
    "table_of",
    "verdict_data",
    "verdict_lines",
    "verdict_page",
    "verdict_summary",
]
