"""Networks: parameterised maps ``(params, inputs) -> outputs`` and the shapes of their parameters.

A network knows neither data nor loss. Adding one means: its class here, a row in ``tests/example_networks.py``, a line
in the changelog. Arguments and fields have the same names, from which a results file makes the network again.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Float

from gradflow import activations, checks
from gradflow.activations import AbstractActivation, applied
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


class Residual(AbstractNetwork):
    """The linear residual network ``(I + A_lr ... A_l1) ... (I + A_1r ... A_11) x`` with square layers.

    Args:
        dim: width d of every layer.
        units: number l of residual units.
        depth: number r of layers that a shortcut spans.

    Parameters are ``(A_11, A_12, ..., A_1r, A_21, ..., A_lr)``, in the order in which they act.

    Raises:
        InputError: an argument that is not a whole number of at least 1.

    Source: paper 000, eq. (3).
    """

    dim: int = eqx.field(static=True)
    units: int = eqx.field(static=True)
    depth: int = eqx.field(static=True)

    def __init__(self, dim: int, units: int, depth: int = 1):
        self.dim = checks.integer("dim", dim)
        self.units = checks.integer("units", units)
        self.depth = checks.integer("depth", depth)

    @property
    def shapes(self) -> Shapes:
        """``units * depth`` times ``(dim, dim)``."""
        return ((self.dim, self.dim),) * (self.units * self.depth)

    def blocks(self, params: Weights) -> tuple[Weights, ...]:
        """The layers of each unit: ``((A_11, ..., A_1r), ..., (A_l1, ..., A_lr))``."""
        starts = range(0, self.units * self.depth, self.depth)
        return tuple(tuple(params[start : start + self.depth]) for start in starts)

    def __call__(self, params: Weights, inputs: Float[Array, "dim samples"]) -> Float[Array, "dim samples"]:
        """``(I + A_lr ... A_l1) ... (I + A_1r ... A_11) inputs``."""
        outputs = inputs
        for block in self.blocks(params):
            shortcut = outputs
            for weight in block:
                shortcut = weight @ shortcut
            outputs = outputs + shortcut
        return outputs


class Shallow(AbstractNetwork):
    """The network ``sigma_2(W_2 sigma_1(W_1 x))`` with one hidden layer.

    Args:
        widths: ``(d_0, d_1, d_2)``: input, hidden and output widths.
        activation: sigma_1, a name of :data:`gradflow.activations.NAMES` or an activation.
        output_activation: sigma_2, likewise.

    Raises:
        InputError: not three widths, or an unknown activation.

    Source: paper 003, eq. (28); paper 000, eq. (6); paper 002, eq. (7).
    """

    widths: tuple[int, ...] = eqx.field(static=True)
    activation: AbstractActivation
    output_activation: AbstractActivation

    def __init__(
        self,
        widths: tuple[int, ...],
        activation: str | AbstractActivation = "tanh",
        output_activation: str | AbstractActivation = "identity",
    ):
        self.widths = checks.widths(widths)
        checks.require(
            len(self.widths) == 3, "widths", "be three numbers (d_0, d_1, d_2)", self.widths,
            "Deeper networks: networks.Linear and networks.Residual, or a Landscape of your own.",
        )  # fmt: skip
        self.activation = activations.get(activation)
        self.output_activation = activations.get(output_activation)

    @property
    def shapes(self) -> Shapes:
        """``((d_1, d_0), (d_2, d_1))``."""
        inputs, hidden, outputs = self.widths
        return ((hidden, inputs), (outputs, hidden))

    def preactivations(self, params: Weights, inputs: Float[Array, "d_in samples"]) -> Float[Array, "d_1 samples"]:
        """``W_1 inputs``."""
        return jnp.asarray(params[0]) @ inputs

    def __call__(self, params: Weights, inputs: Float[Array, "d_in samples"]) -> Float[Array, "d_out samples"]:
        """``sigma_2(W_2 sigma_1(W_1 inputs))``."""
        hidden = applied(self.activation, self.preactivations(params, inputs))
        return applied(self.output_activation, jnp.asarray(params[1]) @ hidden)


class Diagonal(AbstractNetwork):
    """The diagonal linear network ``<w_L * ... * w_1, x>``: weights are multiplied entry by entry, outputs are one row.

    The smallest model in which the scale of the start decides which of many solutions the flow finds: for L = 2 from
    ``w_1 = scale, w_2 = 0`` it keeps ``arsinh(2 w_1 * w_2 / scale^2)`` in the span of the samples.

    Args:
        dim: number d of inputs.
        depth: number L of weight vectors.

    Parameters are ``(w_1, ..., w_L)``, each a row ``(1, d)``.

    Raises:
        InputError: an argument that is not a whole number of at least 1.

    Source: Woodworth et al., Kernel and Rich Regimes in Overparametrized Models (COLT 2020), for ``u * v`` in place of
    their ``u^2 - v^2``.
    """

    dim: int = eqx.field(static=True)
    depth: int = eqx.field(static=True)

    def __init__(self, dim: int, depth: int = 2):
        self.dim = checks.integer("dim", dim)
        self.depth = checks.integer("depth", depth)

    @property
    def shapes(self) -> Shapes:
        """``depth`` times ``(1, dim)``."""
        return ((1, self.dim),) * self.depth

    def __call__(self, params: Weights, inputs: Float[Array, "dim samples"]) -> Float[Array, "1 samples"]:
        """``(w_L * ... * w_1) inputs``."""
        product = jnp.asarray(params[0])
        for weight in params[1:]:
            product = product * weight
        return product @ inputs
