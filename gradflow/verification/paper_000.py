"""Statements of paper_000, each with its check."""

from gradflow.verification.statement import Statement

STATEMENTS: tuple[Statement, ...] = ()
