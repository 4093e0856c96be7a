"""Statements of paper 000 (gradient dominance and regularity of neural networks), each with its check."""

from gradflow.verification import paper_000_conditions, paper_000_derivatives, paper_000_minimisers
from gradflow.verification.statement import Statement

STATEMENTS: tuple[Statement, ...] = (
    *paper_000_minimisers.STATEMENTS,
    *paper_000_derivatives.STATEMENTS,
    *paper_000_conditions.STATEMENTS,
)
