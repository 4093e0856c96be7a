"""Statements of paper_001, each with its check."""

from gradflow.verification.statement import Statement

STATEMENTS: tuple[Statement, ...] = ()
