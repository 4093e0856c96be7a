"""Networks: parameterised maps ``(params, inputs) -> outputs`` and the shapes of their parameters.

A network knows neither data nor loss. Adding one means: its module or class here, a row in the
conformance table of the tests, a line in the changelog.
"""

import abc

import equinox as eqx
from jaxtyping import Float

from gradflow import checks
from gradflow.types import Array, Shapes, Weights


class AbstractNetwork(eqx.Module):
    """A parameterised map. Final subclasses give `shapes` and `__call__`; both must be pure."""

    @property
    @abc.abstractmethod
    def shapes(self) -> Shapes:
        """Shapes of the parameter matrices in acting order."""

    @abc.abstractmethod
    def __call__(self, params: Weights, inputs: Float[Array, "d_in samples"]) -> Float[Array, "d_out samples"]:
        """Outputs for the columns of `inputs`."""


class Linear(AbstractNetwork):
    """The deep linear network ``W_{H+1} ... W_1 x`` with H hidden layers.

    Args:
        widths: ``(d_0, d_1, ..., d_{H+1})``: input, hidden and output widths.

    Raises:
        InputError: fewer than two widths, or a width that is not a whole number of at least 1.

    Source: paper 003, eq. (2); paper 002, section 4.
    """

    widths: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, widths: tuple[int, ...]):
        self.widths = checks.widths(widths)

    @property
    def num_layers(self) -> int:
        """Number of weight matrices, H + 1."""
        return len(self.widths) - 1

    @property
    def shapes(self) -> Shapes:
        """``((d_1, d_0), ..., (d_{H+1}, d_H))``."""
        return tuple((rows, columns) for columns, rows in zip(self.widths[:-1], self.widths[1:], strict=True))

    def __call__(self, params: Weights, inputs: Float[Array, "d_in samples"]) -> Float[Array, "d_out samples"]:
        """``W_{H+1} ... W_1 inputs``."""
        outputs = inputs
        for weight in params:
            outputs = weight @ outputs
        return outputs
