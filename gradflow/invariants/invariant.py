"""The type of a conserved quantity: a function of the parameters, its hypotheses, and the flow it belongs to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Float

from gradflow import checks
from gradflow.hypotheses import Hypothesis, conjunction
from gradflow.regularizers import AbstractRegularizer, WeightDecay
from gradflow.types import Shapes, Weights

Matrices: TypeAlias = Sequence[Float[Array | np.ndarray, "... _ _"]]
"""``(W_1, ..., W_L)`` as JAX or NumPy arrays; leading axes (times, members of an ensemble) are allowed."""


def contraction(regularizer: AbstractRegularizer | None) -> float | None:
    """Rate at which a regulariser shrinks every layer: 0.0 for none, its strength for weight decay, None for others."""
    if regularizer is None:
        return 0.0
    return float(regularizer.strength) if isinstance(regularizer, WeightDecay) else None


@dataclass(frozen=True)
class Invariant:
    """A function of the parameters that is constant along one flow when its hypotheses hold.

    Args:
        name: ``"C_1"``, ... for the matrices of eq. (7), ``"c_1"``, ... for the norm differences of eq. (8),
            ``"W_1 on ker X^T"`` for the part of the first layer that no sample reaches.
        formula: the quantity in the letters of the docstrings.
        flow: name of the flow's class; the same formula in other coordinates is not conserved.
        hypotheses: conditions with their truth values here.
        source: paper and statement.
        decay: the exact law ``value(t) = exp(-decay * t) * value(0)``: 0.0 when conserved, a positive number under
            weight decay, None when a regulariser leaves no such law.
    """

    name: str
    formula: str
    flow: str
    hypotheses: tuple[Hypothesis, ...]
    source: str
    decay: float | None
    shapes: Shapes = field(repr=False)
    function: Callable[[Matrices], Any] = field(repr=False, compare=False)

    @property
    def holds(self) -> bool | None:
        """True when every hypothesis holds: only then is the value constant along the flow."""
        return conjunction(self.hypotheses)

    def value(self, params: Weights | Matrices) -> Float[Array | np.ndarray | np.float64, "..."]:
        """The quantity at `params`; leading axes (times, members of an ensemble) are kept.

        Accuracy: rounding of squares of the weights, about ``1e-16 ||W||^2``. Never raises on NaN.

        Raises:
            InputError: the trailing shapes are not those of the network the invariant was made for.
        """
        layers = tuple(leaf if isinstance(leaf, jax.core.Tracer) else np.asarray(leaf, np.float64) for leaf in params)
        shapes = tuple(layer.shape[-2:] for layer in layers)
        checks.require(shapes == self.shapes, "params", f"have the network's shapes {self.shapes}", shapes)
        return self.function(layers)

    def check_flow(self, flow: Any) -> None:
        """Raises :class:`~gradflow.checks.InputError` naming both flows unless `flow` is of the invariant's class."""
        given = type(flow).__name__
        checks.require(
            given == self.flow,
            "flow",
            f"be the {self.flow} to which {self.name} belongs",
            given,
            "Each flow conserves these quantities in its own coordinates only: use invariants_of(flow).",
        )
