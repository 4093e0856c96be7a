"""Terms added to the loss that depend on the parameters alone: ``params -> scalar``.

A regulariser knows no flow, and of the data at most a d_0 x d_0 matrix that it was given. Weight decay, and the
balancing terms of paper 001.
"""

import abc
import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.precision import in_double
from gradflow.types import Array, Params, Weights


class AbstractRegularizer(eqx.Module):
    """A scalar function of the parameters. Final subclasses give `__call__`; it must be pure and differentiable."""

    @abc.abstractmethod
    def __call__(self, params: Params) -> Float[Array, ""]:
        """The value added to the loss."""


class WeightDecay(AbstractRegularizer):
    """``strength / 2 * sum_j ||W_j||_F^2``.

    Under it the balancedness of linear layers is not conserved but decays exactly:
    ``C_j(t) = exp(-2 * strength * t) C_j(0)``.

    Raises:
        InputError: `strength` is negative or not finite.
    """

    strength: float

    def __init__(self, strength: float):
        self.strength = checks.real("strength", strength, at_least=0.0)

    def __call__(self, params: Params) -> Float[Array, ""]:
        """``strength / 2`` times the squared norm of all parameters."""
        return 0.5 * self.strength * jnp.sum(jnp.stack([jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(params)]))


class Balance(AbstractRegularizer):
    """``strength / 4 * sum_j ||E_j||_F^2``, the balancing term: zero exactly where neighbouring layers are balanced.

    ``E_1 = W_2^T W_2 - W_1 G W_1^T`` with ``G = X X^T`` when `X` is given (paper 001's rho) and G = I otherwise (its
    unweighted variant); ``E_j = W_{j+1}^T W_{j+1} - W_j W_j^T`` for the further layers of a deep network.

    Args:
        strength: mu of the paper.
        X: the inputs ``(d_0, samples)``, or None. Only ``X X^T`` is kept, so a call does not grow with the samples.
            Pass the X that the loss sees: the X of ``Regression(network, X, Y)``, and ``X / sqrt(samples)`` when it is
            made with ``normalization="mean"``; otherwise loss and term weigh the inputs differently and the critical
            sets of paper 001 are not those of the sum.

    Raises:
        InputError: `strength` is negative or not finite, `X` is not a finite matrix; at the first call, parameters that
            are not at least two matrices that fit each other and `X`.

    Source: paper 001, eqs. (2)-(3) with `X`, eq. (6) without; section 3.3 for more than two layers.
    """

    strength: float
    gram: Float[Array, "d_0 d_0"] | None

    def __init__(self, strength: float, X: Any = None):
        self.strength = checks.real("strength", strength, at_least=0.0)
        X = None if X is None else checks.data_scale("X", checks.finite_array("X", X, ndim=2))
        self.gram = None if X is None else X @ X.T

    @in_double
    def __call__(self, params: Params) -> Float[Array, ""]:
        """``strength / 4`` times the sum of the squared norms of the defects."""
        squares = [jnp.sum(defect * defect) for defect in self.defects(params)]
        return 0.25 * self.strength * jnp.sum(jnp.stack(squares))

    @in_double
    def defects(self, params: Weights) -> tuple[Float[Array, "_ _"], ...]:
        """``(E_1, ..., E_{L-1})``, each symmetric, ``E_j: (d_j, d_j)``."""
        layers = self._checked(params)
        return tuple(
            after.T @ after - self._weighted(layer, before) @ before.T
            for layer, (before, after) in enumerate(itertools.pairwise(layers))
        )

    @in_double
    def gradient(self, params: Weights) -> Weights:
        """``strength * (W_j E_{j-1} - E_j W_j)`` for every layer, with ``W_1 G`` in place of ``W_1``; E_0 = E_L = 0.

        Source: paper 001, eqs. (19)-(20). The two gradients printed after Lemma 1 are wrong: they carry spurious
        factors, and their shapes do not match.
        """
        layers, defects = self._checked(params), self.defects(params)
        gradient = [jnp.zeros_like(layer) for layer in layers]
        for index, defect in enumerate(defects):
            gradient[index] = gradient[index] - self.strength * defect @ self._weighted(index, layers[index])
            gradient[index + 1] = gradient[index + 1] + self.strength * layers[index + 1] @ defect
        return tuple(gradient)

    def _weighted(self, index: int, layer: Array) -> Array:
        return layer @ self.gram if index == 0 and self.gram is not None else layer

    def _checked(self, params: Any) -> list[Array]:
        shapes = [np.shape(layer) for layer in params] if isinstance(params, tuple | list) else []
        fits = len(shapes) >= 2 and all(len(shape) == 2 for shape in shapes)
        fits = fits and all(after[1] == before[0] for before, after in itertools.pairwise(shapes))
        given = shapes or type(params).__name__
        checks.require(fits, "params", "be two or more matrices (W_1, ..., W_L) that can be multiplied", given)
        if self.gram is not None:
            inputs = self.gram.shape[0]
            checks.require(
                shapes[0][1] == inputs, "params", f"have {inputs} inputs, as `X` has", f"{shapes[0][1]}",
                "Give Balance the X of the problem.",
            )  # fmt: skip
        return [jnp.asarray(layer) for layer in params]
