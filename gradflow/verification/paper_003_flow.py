"""Statements of paper_003_flow, each with its check."""

from gradflow.verification.statement import Statement

STATEMENTS: tuple[Statement, ...] = ()
