"""The statements of the four papers in the order in which a reader meets them."""

from gradflow.verification import (
    paper_000,
    paper_001,
    paper_001_imbalances,
    paper_002_deep,
    paper_002_relu,
    paper_002_shallow,
    paper_003_critical,
    paper_003_flow,
    paper_003_limits,
    paper_003_nonlinear,
)
from gradflow.verification.statement import Statement

STATEMENTS: tuple[Statement, ...] = (
    *paper_000.STATEMENTS,
    *paper_001.STATEMENTS,
    *paper_001_imbalances.STATEMENTS,
    *paper_002_shallow.STATEMENTS,
    *paper_002_deep.STATEMENTS,
    *paper_002_relu.STATEMENTS,
    *paper_003_flow.STATEMENTS,
    *paper_003_limits.STATEMENTS,
    *paper_003_critical.STATEMENTS,
    *paper_003_nonlinear.STATEMENTS,
)
