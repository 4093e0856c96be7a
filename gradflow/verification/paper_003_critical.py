"""Statements of paper 003 on critical points (sections 3 and 4), in the order of the paper."""

from gradflow.verification import paper_003_cases, paper_003_landscape, paper_003_variation
from gradflow.verification.statement import Statement

STATEMENTS: tuple[Statement, ...] = (
    *paper_003_variation.STATEMENTS,
    *paper_003_landscape.STATEMENTS,
    *paper_003_cases.STATEMENTS,
)
"""Sections 3 and 4 of paper 003."""
