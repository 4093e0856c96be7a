"""Statements of paper_002_relu, each with its check."""

from gradflow.verification.statement import Statement

STATEMENTS: tuple[Statement, ...] = ()
