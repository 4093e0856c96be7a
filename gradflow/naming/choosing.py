"""Which namer a flow gets."""

from collections.abc import Callable

from gradflow import checks, losses
from gradflow.critical_points.linear_weights import is_linear
from gradflow.critical_sets.relu_cones.regressions import relu_data
from gradflow.flow import AbstractFlow
from gradflow.naming.balanced import balanced_namer
from gradflow.naming.discovery import TOLERANCE, discovery
from gradflow.naming.linear import linear_namer
from gradflow.naming.namers import AbstractNamer, Known
from gradflow.naming.relu import ReluNamer
from gradflow.naming.residual import residual_namer
from gradflow.networks import Residual
from gradflow.precision import in_double
from gradflow.problem import AbstractProblem, Regression
from gradflow.regularizers import Balance


@in_double
def namer_for(flow: AbstractFlow, known: Known | None = None, tolerance: float = TOLERANCE) -> AbstractNamer:
    """The namer of a flow's endpoints: closed-form theory where it reaches, the user's points, or discovery.

    Args:
        flow: any flow; a :class:`~gradflow.ReducedFlow`'s endpoints are in its own coordinates.
        known: critical points by name; given, they and discovery are used for every problem.
        tolerance: of discovery: features within ten times this are the same limit; relative where they are above 1,
            absolute below, so a landscape of a smaller scale needs a smaller one.

    Raises:
        InputError: not a flow, or `known` holds something that is not a critical point, or one twice.
    """
    checks.require(isinstance(flow, AbstractFlow), "flow", "be a flow", type(flow).__name__, "Use GradientFlow(...).")
    problem = flow.problem
    if known is not None:
        return discovery(problem, known, tolerance)
    if isinstance(problem, Regression):
        if is_linear(problem):
            return linear_namer(problem)
        if isinstance(problem.regularizer, Balance) and problem.statistics is not None:
            namer = _tried(balanced_namer, problem)
            if namer is not None:
                return namer
        is_square = problem.loss_function is losses.squared_error and problem.regularizer is None
        if isinstance(problem.network, Residual) and is_square:
            return residual_namer(problem, tolerance)
        if _is_single_relu(problem):
            return ReluNamer(problem)
    return discovery(problem, None, tolerance)


def _tried(make: Callable[[AbstractProblem], AbstractNamer], problem: AbstractProblem) -> AbstractNamer | None:
    """The family's namer, None for a problem that is not of the family."""
    try:
        return make(problem)
    except checks.InputError:
        return None


def _is_single_relu(problem: AbstractProblem) -> bool:
    try:
        return relu_data(problem).num_units == 1
    except checks.InputError:
        return False
