"""Statements of paper_003_critical, each with its check."""

from gradflow.verification.statement import Statement

STATEMENTS: tuple[Statement, ...] = ()
