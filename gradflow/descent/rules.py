"""Update rules of gradient descent, and the numbers that tie each to the flow it discretises.

A rule knows a learning rate and a momentum; no loss, no flow, no iterate. All of its numbers are in closed form.
"""

from dataclasses import dataclass
from typing import Any

from gradflow import checks


@dataclass(frozen=True)
class UpdateRule:
    """``V_{k+1} = beta V_k - eta grad L(W_k + nu V_k)``, ``W_{k+1} = W_k + V_{k+1}``, ``V_0 = 0``.

    eta is the learning rate, beta the momentum; nu = 0 is the heavy ball, nu = beta is Nesterov's method with constant
    momentum. Without momentum it is gradient descent, which is the explicit Euler method with step eta.

    On the slow manifold, where ``V = (W_{k+1} - W_{k-1}) / 2`` up to ``O(h^2)``, put ``W_k = W(k h)`` with
    ``h = eta / (1 - beta)``. Taylor expansion of ``W_{k+1} - W_k = beta (W_k - W_{k-1}) - eta grad L(W_k + nu V_k)``
    and ``W'' = H grad L`` at leading order give

        W' = -grad L - (gamma / 2) H grad L + O(h^2) = -grad (L + (gamma / 4) ||grad L||^2) + O(h^2),
        gamma = h ((1 + beta) / (1 - beta) - 2 nu).

    Started at rest the iterates reach that manifold only after a transient: ``V_k = -h (1 - beta^k) grad L(W_0)`` at
    first, so that they lag by ``shift = h beta / (1 - beta)`` of flow time, ``shift (1 - beta^k)`` after k steps.

    Raises:
        InputError: a learning rate that is not positive, a momentum outside [0, 1), Nesterov's method without momentum.

    Source: Polyak (1964); Nesterov (1983). Modified flow: Hairer, Lubich and Wanner, chapter IX; Barrett and Dherin
    (2021) without momentum; Kovachki and Stuart (2021) for both kinds of momentum, derived here anew.
    """

    learning_rate: float
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "learning_rate", checks.real("learning_rate", self.learning_rate, above=0.0))
        momentum = checks.real("momentum", self.momentum, at_least=0.0, below=1.0)
        object.__setattr__(self, "momentum", momentum)
        checks.require(
            not self.nesterov or momentum > 0.0, "nesterov", "come with a momentum", f"momentum {momentum:g}",
            "Pass momentum=0.9, say.",
        )  # fmt: skip

    @property
    def lookahead(self) -> float:
        """nu: how much of the last move is made before the gradient is taken."""
        return self.momentum if self.nesterov else 0.0

    @property
    def flow_step(self) -> float:
        """``h = eta / (1 - beta)``: flow time per step (dimensionless)."""
        return self.learning_rate / (1.0 - self.momentum)

    @property
    def penalty(self) -> float:
        """Gamma of the modified loss ``L + (gamma / 4) ||grad L||^2``; eta without momentum."""
        beta = self.momentum
        return self.flow_step * ((1.0 + beta) / (1.0 - beta) - 2.0 * self.lookahead)

    @property
    def shift(self) -> float:
        """Flow time by which iterates that start at rest lag behind the flow; 0 without momentum."""
        return self.flow_step * self.momentum / (1.0 - self.momentum)

    @property
    def stability_limit(self) -> float:
        """The bound on ``eta lambda`` for a mode of curvature ``lambda > 0`` to decay: 2 without momentum.

        ``2 (1 + beta) / (1 + 2 nu)``, where a root of ``z^2 - (1 + beta - (1 + nu) eta lambda) z + beta - nu eta
        lambda`` leaves the unit disk through -1.
        """
        return 2.0 * (1.0 + self.momentum) / (1.0 + 2.0 * self.lookahead)

    def with_rate(self, learning_rate: Any) -> "UpdateRule":
        """The same rule with another learning rate."""
        return UpdateRule(learning_rate, self.momentum, self.nesterov)

    def __str__(self) -> str:
        kind = "Nesterov momentum" if self.nesterov else "momentum"
        extra = f", {kind} {self.momentum:g}" if self.momentum else ""
        return f"learning rate {self.learning_rate:g}{extra}"
