"""Flows: vector fields on parameter space, each with its own metric and coordinates, never mixed.

:class:`GradientFlow` is the true gradient flow ``dW/dt = -grad L(W)`` on the weights. :class:`ReducedFlow` is paper
003's flow (Definition 1, eqs. (3)-(6)): the gradient flow of the SVD-reduced loss in the reduced coordinates. They
agree only when ``X X^T = I``; invariants, rates and bounds belong to one flow and are wrong for the other.
A flow knows its problem; it does not know how it is integrated.
"""

import abc
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.calls import Context, shapes_of
from gradflow.networks import Linear
from gradflow.precision import as_params, in_double
from gradflow.problem import AbstractProblem, Regression
from gradflow.types import Array, Params, Weights


class AbstractFlow(eqx.Module):
    """A vector field on the parameter space of `problem`. Final subclasses give `problem` and `vector_field`.

    The field must be minus the gradient of ``problem.loss`` in the flow's own coordinates, so that
    ``dL/dt = -||grad L||^2`` along it.
    """

    problem: eqx.AbstractVar[AbstractProblem]

    @abc.abstractmethod
    def vector_field(self, params: Params) -> Params:
        """The velocity at `params`, a pytree like `params`."""

    def jacobian(self, params: Params) -> Float[Array, "n n"]:
        """The Jacobian of the field, minus the Hessian of the problem's loss: symmetric. Flattened row-major.

        Raises:
            InputError: more parameters than a dense Hessian is formed for.
        """
        return -self.problem.hessian(params)

    def compact(self) -> Self:
        """The same flow without data that its field does not read (see :meth:`AbstractProblem.compact`)."""
        is_problem = lambda node: isinstance(node, AbstractProblem)  # noqa: E731
        return jax.tree.map(lambda node: node.compact() if is_problem(node) else node, self, is_leaf=is_problem)


class GradientFlow(AbstractFlow):
    """The gradient flow ``dW/dt = -grad L(W)`` on the weights themselves (original metric).

    Source: paper 003, eq. (5) read on the original loss (2).
    """

    problem: AbstractProblem

    def __init__(self, problem: AbstractProblem):
        checks.require(
            isinstance(problem, AbstractProblem),
            "problem",
            "be a Regression or a Landscape",
            type(problem).__name__,
            "Wrap a function as gradflow.Landscape(fun).",
        )
        self.problem = problem

    @in_double
    def vector_field(self, params: Params) -> Params:
        """``-grad L(params)``."""
        return jax.tree.map(lambda leaf: -leaf, self.problem.gradient(params))


class ReducedFlow(AbstractFlow):
    """Paper 003's flow: the gradient flow of ``1/2 ||Sigma_Y - Wbar_{H+1} ... Wbar_1||^2`` in reduced coordinates.

    ``X = U_X [S_X 0] V_X^T``, ``Y V_X^1 = U_Y [S_Y 0] V_Y^T``, ``Sigma_Y = [S_Y 0]``;
    ``Wbar_1 = W_1 U_X S_X V_Y``, ``Wbar_{H+1} = U_Y^T W_{H+1}`` (both factors when H = 0), other layers unchanged.

    `problem` is the reduced problem (same loss, the irreducible part included); `original` the one it came from.
    Starts and results are in reduced coordinates: use :meth:`coordinates` and :meth:`weights` to change over.
    Signs and rotations of the SVDs are a gauge: compare losses, singular values and invariants only.

    Raises:
        InputError: the problem is not a linear network with the squared error and no regulariser, or X does not
            have full row rank (the change of coordinates is then not invertible).

    Source: paper 003, Definition 1, eqs. (3)-(6). In original coordinates it reads
    ``dW_1/dt = (W_{H+1}...W_2)^T (Y - P X) X^T (X X^T)^{-1}``, so it is not the gradient flow of the weights.
    """

    problem: Regression
    original: Regression
    first: Float[Array, "d_in d_in"]
    last: Float[Array, "d_out d_out"]

    def __init__(self, problem: AbstractProblem):
        checks.require(
            isinstance(problem, Regression) and problem.statistics is not None and problem.regularizer is None,
            "problem",
            "be a linear network with the squared error and no regulariser",
            type(problem).__name__,
            "Use gradflow.GradientFlow(problem).",
        )
        assert isinstance(problem, Regression) and problem.statistics is not None
        statistics, spectrum = problem.statistics, problem.spectrum
        d_in = statistics.root.shape[0]
        checks.require(
            statistics.rank == d_in,
            "X",
            f"have full row rank {d_in} for the reduced flow",
            f"rank {statistics.rank}",
            "Drop constant or dependent features (datasets.drop_constant_features), or use GradientFlow.",
        )
        self.original = problem
        self.first = statistics.root @ spectrum.right
        self.last = spectrum.left
        self.problem = _reduced_problem(problem)

    @in_double
    def coordinates(self, params: Weights) -> Weights:
        """Reduced coordinates of original weights: ``Wbar_1 = W_1 U_X S_X V_Y``, ``Wbar_{H+1} = U_Y^T W_{H+1}``."""
        layers = list(as_params(params, name="params"))
        layers[0] = layers[0] @ self.first
        layers[-1] = self.last.T @ layers[-1]
        return tuple(layers)

    @in_double
    def weights(self, coordinates: Weights) -> Weights:
        """Original weights of reduced coordinates, the inverse of :meth:`coordinates`."""
        layers = list(as_params(coordinates, name="coordinates"))
        layers[0] = layers[0] @ np.linalg.inv(self.first)
        layers[-1] = self.last @ layers[-1]
        return tuple(layers)

    @in_double
    def vector_field(self, params: Weights) -> Weights:
        """``-grad`` of the reduced loss, eq. (6) of paper 003."""
        return jax.tree.map(lambda leaf: -leaf, self.problem.gradient(params))


def _reduced_problem(problem: Regression) -> Regression:
    """The regression on ``X = I``, ``Y = Sigma_Y`` whose loss carries the original's irreducible part."""
    spectrum = problem.spectrum
    assert problem.statistics is not None and isinstance(problem.network, Linear)
    d_out, d_in = len(spectrum.values), problem.statistics.root.shape[0]
    sigma = np.zeros((d_out, d_in))
    size = min(d_out, d_in)
    sigma[:size, :size] = np.diag(spectrum.values[:size])
    statistics = type(problem.statistics)(root=np.eye(d_in), target=sigma, irreducible=problem.statistics.irreducible)
    return eqx.tree_at(lambda p: (p.X, p.Y, p.statistics), problem, (np.eye(d_in), sigma, statistics))


def check_field(flow: AbstractFlow, params: Params) -> None:
    """Raises :class:`~gradflow.checks.InputError` unless the field at `params` has their shapes.

    Otherwise broadcasting would move all of them by one number.
    """
    shapes = jax.tree.map(jnp.shape, params)
    found = shapes_of(_field_at, Context((flow, params)))
    remedy = "Pass the start of a network as a tuple of arrays." if isinstance(shapes, list) else ""
    checks.require(found == shapes, "flow", f"have a vector field of the start's shapes {shapes}", found, remedy)


def _field_at(held: tuple[AbstractFlow, Params]) -> Params:
    return held[0].vector_field(held[1])
