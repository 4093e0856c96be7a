"""The type of a conserved quantity: a function of the parameters, its hypotheses, and the flow it belongs to.

It also says what becomes of the quantity where it is not conserved: a regulariser may make it decay, exactly or only in
norm. A value that exceeds every number is infinite, never a silent NaN of this module's making; :meth:`Invariant.drift`
says what can be judged then. Knows no network and no trajectory.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Float

from gradflow import checks
from gradflow.hypotheses import Hypothesis, conjunction
from gradflow.regularizers import AbstractRegularizer, Balance, WeightDecay
from gradflow.types import Shapes, Weights

Matrices: TypeAlias = Sequence[Float[Array | np.ndarray, "... _ _"]]
"""``(W_1, ..., W_L)`` as JAX or NumPy arrays; leading axes (times, members of an ensemble) are allowed."""


def contraction(regularizer: AbstractRegularizer | None) -> float | None:
    """Rate at which a regulariser shrinks every layer: 0.0 for none, its strength for weight decay, None for others."""
    if regularizer is None or (isinstance(regularizer, Balance) and regularizer.strength == 0.0):
        return 0.0
    return float(regularizer.strength) if isinstance(regularizer, WeightDecay) else None


class Behaviour(enum.StrEnum):
    """What a quantity does along the flow it belongs to."""

    CONSERVED = "conserved"
    DECAYS_EXACTLY = "decays exactly"
    """``value(t) = exp(-decay t) value(0)``."""
    DECAYS_MONOTONICALLY = "decays monotonically"
    """Its Frobenius norm never grows, and it is zero at every critical point."""
    DECAYS = "decays"
    """Zero at every critical point, so it tends to zero along a trajectory that converges; its norm may grow before."""
    NEITHER = "neither"
    """No law is claimed."""


@dataclass(frozen=True)
class Invariant:
    """A function of the parameters that is constant along one flow when its hypotheses hold.

    Args:
        name: ``"C_1"``, ... for the matrices of eq. (7), ``"c_1"``, ... for the norm differences of eq. (8),
            ``"W_1 on ker X^T"`` for the part of the first layer that no sample reaches; the modules of this package
            list the others.
        formula: the quantity in the letters of the docstrings.
        flow: name of the flow's class; the same formula in other coordinates is not conserved.
        hypotheses: conditions with their truth values here.
        source: paper and statement.
        decay: the exact law ``value(t) = exp(-decay * t) * value(0)``: 0.0 when conserved, a positive number under
            weight decay, None when there is no such law.
        behaviour: what the quantity does where `decay` is None; otherwise `decay` says it.
        sensitivity: how far, to first order, a relative error of 1 in the weights moves the value; by default
            ``||W||^2``, which fits quantities of second degree.

    Raises:
        InputError: it is said to be conserved although a hypothesis does not hold, or `decay` says otherwise.
    """

    name: str
    formula: str
    flow: str
    hypotheses: tuple[Hypothesis, ...]
    source: str
    decay: float | None
    shapes: Shapes = field(repr=False)
    function: Callable[[Matrices], Any] = field(repr=False, compare=False)
    behaviour: Behaviour = Behaviour.NEITHER
    sensitivity: Callable[[Matrices], Any] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.decay is not None:
            exact = Behaviour.CONSERVED if self.decay == 0.0 else Behaviour.DECAYS_EXACTLY
            object.__setattr__(self, "behaviour", exact)
        is_conserved = self.behaviour is Behaviour.CONSERVED
        earned = self.holds is True and self.decay == 0.0 if is_conserved else True
        earned = earned and (self.behaviour is not Behaviour.DECAYS_EXACTLY or self.decay is not None)
        failed = [hypothesis.statement for hypothesis in self.hypotheses if hypothesis.holds is not True]
        checks.require(
            earned, "behaviour", "not claim an exact law that `decay` and the hypotheses do not give",
            f"'{self.behaviour}' with decay {self.decay} and failed {failed}",
        )  # fmt: skip

    @property
    def holds(self) -> bool | None:
        """True when every hypothesis holds: only then is the value constant along the flow."""
        return conjunction(self.hypotheses)

    def value(self, params: Weights | Matrices) -> Float[Array | np.ndarray | np.float64, "..."]:
        """The quantity at `params`; leading axes (times, members of an ensemble) are kept.

        Entries with a potential are ``-inf`` where it exceeds every number, and NaN where the potential of a sigmoid of
        the user's is not known (:class:`gradflow.activations.Sigmoid` says where).

        Accuracy: rounding of squares of the weights, about ``1e-16 ||W||^2`` (times :meth:`scale` over ``||W||^2`` for
        potentials). Never raises on NaN.

        Raises:
            InputError: the trailing shapes are not those of the network the invariant was made for.
        """
        return self.function(self._layers(params))

    def scale(self, params: Weights | Matrices) -> Float[np.ndarray | np.float64, "..."]:
        """What a drift is small or large against: the change under a relative error of 1 in the weights, first order.

        One number for every leading index. Infinite where a potential exceeds every number.
        """
        layers = self._layers(params)
        measure = squared_norm if self.sensitivity is None else self.sensitivity
        return np.asarray(measure(layers), np.float64)[()]

    def drift(
        self, params: Weights | Matrices, start: Weights | Matrices, elapsed: Any = 0.0
    ) -> Float[np.ndarray | np.float64, "..."]:
        """Largest entry of ``|value(params) - exp(-decay elapsed) value(start)|``, one number per leading index.

        Entries that are no finite number at the start, or NaN at `params`, cannot be judged and are left out: NaN when
        none is left. An entry that was finite and has become infinite counts as an infinite drift.

        Args:
            params: rows of a trajectory, or one state.
            start: its start, without leading axes.
            elapsed: flow times of the rows.
        """
        first = np.asarray(self.value(start), np.float64)
        values = np.asarray(self.value(params), np.float64)
        lead = values.shape[: values.ndim - first.ndim]
        factors = np.exp(-(self.decay or 0.0) * np.broadcast_to(np.asarray(elapsed, np.float64), lead))
        is_judged = np.isfinite(first) & ~np.isnan(values)
        known = np.where(np.isfinite(first), first, 0.0)
        expected = factors.reshape(lead + (1,) * first.ndim) * known
        change = np.abs(np.where(is_judged, values, expected) - expected).reshape(*lead, -1)
        found = change.max(axis=-1, initial=0.0)
        return np.where(is_judged.reshape(*lead, -1).any(axis=-1), found, np.nan)[()]

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

    def _layers(self, params: Weights | Matrices) -> tuple[Any, ...]:
        layers = tuple(leaf if isinstance(leaf, jax.core.Tracer) else np.asarray(leaf, np.float64) for leaf in params)
        shapes = tuple(layer.shape[-2:] for layer in layers)
        checks.require(shapes == self.shapes, "params", f"have the network's shapes {self.shapes}", shapes)
        return layers


def squared_norm(params: Matrices) -> Float[Array | np.ndarray | np.float64, "..."]:
    """``||W||_F^2`` of all layers together; leading axes are kept."""
    total: Any = 0.0
    for layer in params:
        total = total + (layer * layer).sum((-2, -1))
    return total


def norm(params: Matrices) -> Float[Array | np.ndarray | np.float64, "..."]:
    """``||W||_F``: the scale of quantities that are linear in the weights."""
    return np.sqrt(squared_norm(params))
