"""What a flow conserves: the list for every network that the theory knows."""

from gradflow import checks
from gradflow.flow import AbstractFlow
from gradflow.hypotheses import Hypothesis
from gradflow.invariants.diagonal import diagonal_invariants
from gradflow.invariants.invariant import Invariant
from gradflow.invariants.linear import COORDINATES, linear_invariants
from gradflow.invariants.residual import residual_invariants
from gradflow.invariants.shallow import shallow_invariants
from gradflow.networks import Diagonal, Linear, Residual, Shallow
from gradflow.problem import Regression

LINEAR = "the network is linear and the loss a function of its outputs alone"


def invariants_of(flow: AbstractFlow) -> tuple[Invariant, ...]:
    """What `flow` conserves, in its own coordinates, for any loss of the outputs.

    Linear networks: ``C_1, ..., C_H``, ``c_1, ..., c_H`` (:mod:`gradflow.invariants.linear`); residual ones the same
    inside each unit (:mod:`gradflow.invariants.residual`); shallow ones one number per hidden unit and their total
    (:mod:`gradflow.invariants.shallow`); diagonal ones a number per input and pair of layers
    (:mod:`gradflow.invariants.diagonal`); for rank-deficient X, but for diagonal ones, the part of the first layer no
    sample reaches.

    Each quantity carries its hypotheses with their truth values. One whose hypothesis fails is listed nevertheless,
    with ``holds`` False and ``behaviour`` saying what it does instead: decay exactly, decay in norm, or nothing known.
    Empty for landscapes, for flows and for networks about which nothing is claimed.

    Raises:
        InputError: `flow` is not a flow.

    Source: paper 003, Lemma 1, eqs. (7) and (8); Lemma 5 and Remark 4 with their hypotheses on X; paper 000, eq. (3).
    """
    checks.require(
        isinstance(flow, AbstractFlow), "flow", "be a flow", type(flow).__name__, "Wrap it: GradientFlow(problem)."
    )
    problem = flow.problem
    if type(flow) not in COORDINATES or not isinstance(problem, Regression):
        return ()
    if isinstance(problem.network, Linear):
        return tuple(linear_invariants(flow, problem, Hypothesis(LINEAR, True)))
    if isinstance(problem.network, Residual):
        return tuple(residual_invariants(flow, problem))
    if isinstance(problem.network, Shallow):
        return tuple(shallow_invariants(flow, problem))
    if isinstance(problem.network, Diagonal):
        return tuple(diagonal_invariants(flow, problem))
    return ()
