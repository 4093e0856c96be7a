"""Gradient descent beside the flow: iterates, the modified flow they follow, and whether a learning rate is small.

Explicit Euler with a fixed step, momentum and batches (:func:`descend`); the flow that it follows one order better
(:class:`ModifiedFlow`); distances, drifts and a verdict (:func:`compare_descent`).
"""

from gradflow.descent.batches import epochs as epochs
from gradflow.descent.comparing import compare_descent as compare_descent
from gradflow.descent.comparisons import DescentComparison as DescentComparison
from gradflow.descent.comparisons import Law as Law
from gradflow.descent.comparisons import Measured as Measured
from gradflow.descent.descending import descend as descend
from gradflow.descent.modified import ModifiedFlow as ModifiedFlow
from gradflow.descent.modified import ModifiedProblem as ModifiedProblem
from gradflow.descent.outcomes import Descent as Descent
from gradflow.descent.outcomes import DescentStatus as DescentStatus
from gradflow.descent.rules import UpdateRule as UpdateRule
