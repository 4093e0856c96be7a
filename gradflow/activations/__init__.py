"""Activations: scalar functions applied entry by entry, with everything the theory asks of them.

Names are those of :func:`get`; ``leaky_relu`` and ``prelu`` take a slope by the class, :class:`LeakyReLU`.
"""

from collections.abc import Callable

from gradflow import checks
from gradflow.activations.activation import AbstractActivation, applied
from gradflow.activations.custom import Sigmoid
from gradflow.activations.rectifiers import Identity, LeakyReLU, SquaredReLU
from gradflow.activations.sigmoids import Algebraic, Arctan, CenteredLogistic, Erf, Softsign, Tanh

__all__ = [
    "NAMES",
    "AbstractActivation",
    "Algebraic",
    "Arctan",
    "CenteredLogistic",
    "Erf",
    "Identity",
    "LeakyReLU",
    "Sigmoid",
    "Softsign",
    "SquaredReLU",
    "Tanh",
    "applied",
    "get",
]

_FACTORIES: dict[str, Callable[[], AbstractActivation]] = {
    "identity": Identity,
    "tanh": Tanh,
    "arctan": Arctan,
    "logistic": CenteredLogistic,
    "erf": Erf,
    "algebraic": Algebraic,
    "softsign": Softsign,
    "relu": lambda: LeakyReLU(0.0),
    "leaky_relu": LeakyReLU,
    "prelu": lambda: LeakyReLU(0.25),
    "relu_squared": SquaredReLU,
}

NAMES = tuple(_FACTORIES)
"""What `activation=` accepts by name."""


def get(activation: str | AbstractActivation) -> AbstractActivation:
    """The activation of that name, or the object itself.

    Raises:
        InputError: unknown name (the nearest one is given), or something that is no activation.
    """
    if isinstance(activation, AbstractActivation):
        return activation
    checks.require(
        isinstance(activation, str), "activation", "be a name or an activation", type(activation).__name__,
        f"Names: {', '.join(NAMES)}. A function of your own: gradflow.activations.Sigmoid(function).",
    )  # fmt: skip
    return _FACTORIES[checks.choice("activation", activation, NAMES)]()
