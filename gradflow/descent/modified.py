"""The modified flow of gradient descent: the flow that the iterates follow one order better than the flow itself.

Backward error analysis: the iterates of a learning rate eta, seen as points of a curve, solve
``W' = -grad L - (eta / 2) H grad L + O(eta^2)``, which is the gradient flow of ``L + (eta / 4) ||grad L||^2``. It is an
ordinary flow with an ordinary problem, so that everything that takes a flow takes it. Knows problems, flows and update
rules; not how any of them is computed step by step.
"""

from typing import Any, Self

import equinox as eqx
import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from gradflow import checks
from gradflow.descent.rules import UpdateRule
from gradflow.flow import AbstractFlow, GradientFlow
from gradflow.precision import as_params, in_double
from gradflow.problem import AbstractProblem, check_dense
from gradflow.types import Array, Params, Scalar


class ModifiedProblem(AbstractProblem):
    """The loss ``L + (penalty / 4) ||grad L||^2`` of another problem's L."""

    base: AbstractProblem
    penalty: Float[Array, ""]

    def __init__(self, base: AbstractProblem, penalty: float):
        self.base = base
        self.penalty = np.asarray(penalty, np.float64)

    def compact(self) -> Self:
        """The same without the data that the base's loss does not read."""
        return eqx.tree_at(lambda problem: problem.base, self, self.base.compact())

    @property
    def gradient_scale(self) -> float | None:
        """The base's."""
        return self.base.gradient_scale

    @property
    def minimiser_norm(self) -> float | None:
        """The base's: where its gradient vanishes both losses agree."""
        return self.base.minimiser_norm

    @property
    def irreducible(self) -> float:
        """The base's irreducible loss, which is a lower bound of this one too."""
        return float(getattr(self.base, "irreducible", 0.0))

    @in_double
    def loss(self, params: Params) -> Scalar:
        """``L + (penalty / 4) ||grad L||^2``."""
        params = as_params(params, name="params")
        leaves = jax.tree.leaves(self.base.gradient(params))
        return self.base.loss(params) + 0.25 * self.penalty * sum((leaf * leaf).sum() for leaf in leaves)

    @in_double
    def gradient(self, params: Params) -> Params:
        """``grad L + (penalty / 2) H grad L``, with one Hessian-vector product."""
        params = as_params(params, name="params")
        gradient = self.base.gradient(params)
        bent = jax.jvp(self.base.gradient, (params,), (gradient,))[1]
        return jax.tree.map(lambda first, second: first + 0.5 * self.penalty * second, gradient, bent)

    @in_double
    def hessian(self, params: Params) -> Float[Array, "n n"]:
        """The dense Hessian, parameters flattened row-major in acting order: the derivative of :meth:`gradient`.

        Raises:
            InputError: too many parameters, see :meth:`AbstractProblem.hessian`.
        """
        flat, unravel = ravel_pytree(as_params(params, name="params"))
        check_dense(flat.size)
        return jax.jacfwd(lambda vector: ravel_pytree(self.gradient(unravel(vector)))[0])(flat)


class ModifiedFlow(AbstractFlow):
    """The flow of ``-grad L - (gamma / 2) H grad L`` that gradient descent follows to second order.

    ``gamma`` is the learning rate, and :attr:`UpdateRule.penalty` with momentum. The iterates are ``O(eta^2)`` from it
    over a fixed flow time, where they are ``O(eta)`` from the flow itself; with momentum only when it starts at
    :meth:`start` and the transient is added (:meth:`iterates`). Where L has kinks it is not defined, and where
    ``eta`` times a negative curvature falls below -2 it runs uphill: it speaks of small learning rates.

    Args:
        flow: a flow, or a problem for its gradient flow.
        learning_rate: eta (dimensionless), positive.
        momentum: beta in [0, 1).
        nesterov: Nesterov's method in place of the heavy ball.

    Raises:
        InputError: neither a flow nor a problem; a learning rate or momentum out of range.

    Source: Hairer, Lubich and Wanner, Geometric Numerical Integration, chapter IX; Barrett and Dherin (2021); Smith,
    Dherin, Barrett and De (2021); with momentum Kovachki and Stuart (2021).
    """

    problem: ModifiedProblem
    learning_rate: Float[Array, ""]
    momentum: Float[Array, ""]
    nesterov: bool = eqx.field(static=True)

    def __init__(
        self,
        flow: AbstractFlow | AbstractProblem,
        learning_rate: float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
    ):
        rule = UpdateRule(learning_rate, momentum, nesterov)
        self.problem = ModifiedProblem(as_flow(flow).problem, rule.penalty)
        # Arrays, so that flows of different learning rates share what is compiled.
        self.learning_rate, self.momentum = np.asarray(rule.learning_rate), np.asarray(rule.momentum)
        self.nesterov = rule.nesterov

    @property
    def rule(self) -> UpdateRule:
        """The update rule that this flow belongs to."""
        return UpdateRule(float(self.learning_rate), float(self.momentum), self.nesterov)

    @in_double
    def vector_field(self, params: Params) -> Params:
        """``-grad L - (gamma / 2) H grad L`` at `params`."""
        return jax.tree.map(lambda leaf: -leaf, self.problem.gradient(params))

    @in_double
    def start(self, params0: Params) -> Params:
        """Where this flow starts for descent from `params0` at rest: ``W_0 + shift grad L(W_0)``.

        Without momentum that is W_0 itself.
        """
        return jax.tree.map(lambda leaf, lag: np.asarray(leaf + lag), as_params(params0), self._lag(params0))

    @in_double
    def iterates(self, params0: Params, steps: Any, rows: Params) -> Params:
        """The iterates of descent that `rows`, this flow from :meth:`start` at the flow times of `steps`, predict.

        ``W_k = W(k h) - beta^k shift grad L(W_0)``: without momentum the rows as they are.
        """
        weights = self.rule.momentum ** np.asarray(steps, np.float64)

        def one(row: Array, lag: Array) -> np.ndarray:
            return np.asarray(row) - np.multiply.outer(weights, lag)

        return jax.tree.map(one, rows, self._lag(params0))

    def _lag(self, params0: Params) -> Params:
        shift, params0 = self.rule.shift, as_params(params0)
        if shift == 0.0:
            return jax.tree.map(np.zeros_like, params0)
        return jax.tree.map(lambda leaf: np.asarray(shift * leaf), _gradient(self.problem.base, params0))


@eqx.filter_jit
def _gradient(problem: AbstractProblem, params: Params) -> Params:
    return problem.gradient(params)


def as_flow(given: Any) -> AbstractFlow:
    """`given` as a flow: a problem becomes its gradient flow.

    Raises:
        InputError: neither a flow nor a problem.
    """
    if isinstance(given, AbstractProblem):
        return GradientFlow(given)
    checks.require(isinstance(given, AbstractFlow), "flow", "be a flow or a problem", type(given).__name__,
                   "Wrap the problem: gradflow.GradientFlow(problem).")  # fmt: skip
    return given
