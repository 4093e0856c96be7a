"""One smooth piece of the gradient flow of a shallow network with a ReLU-like activation, as a flow of its own.

On a piece every hidden unit is linear in every sample: the activation's slope is frozen to that of the side on which
the sample lies. Where the flow slides, the rows of W_1 are moreover projected onto the surfaces they slide on; the
frozen loss of the projected weights is smooth, its negative gradient is the sliding velocity, and its Hessian that of
the sliding motion. A piece says by its guards where it ends. It does not know what comes next.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from gradflow.activations import AbstractActivation, applied
from gradflow.flow import AbstractFlow, GradientFlow
from gradflow.networks import Shallow
from gradflow.precision import in_double
from gradflow.problem import AbstractProblem, Regression
from gradflow.solvers.pieces import AbstractPiece
from gradflow.types import Array, Params, Scalar, Weights

ROUNDING = 16 * float(np.finfo(float).eps)
"""What rounding does to a guard, per size of what it is computed from."""


def has_pieces(flow: AbstractFlow) -> bool:
    """True when the kinks of `flow` are known: a gradient flow of a shallow network with a ReLU-like hidden layer.

    ReLU-like: 1-homogeneous with a kink at 0 (ReLU, leaky and parametric ReLU). The output activation must be smooth.
    Nothing is known of the kinks of a landscape, a loss, a regulariser or a flow of the user's own.
    """
    problem = flow.problem
    if type(flow) is not GradientFlow or not isinstance(problem, Regression):
        return False
    network = problem.network
    if not isinstance(network, Shallow) or network.output_activation.kinks:
        return False
    return network.activation.kinks == (0.0,) and network.activation.homogeneity == 1.0


def slopes(activation: AbstractActivation) -> tuple[float, float]:
    """The slopes of a 1-homogeneous activation left and right of 0."""
    values = np.asarray(activation(jnp.asarray([-1.0, 1.0])))
    return -float(values[0]), float(values[1])


class PieceProblem(AbstractProblem):
    """The loss of a regression with the activation pattern frozen, on weights projected onto what they slide on.

    `signs` (units x surfaces, entries -1 and 1) is the pattern; `watched` tells which of its entries may end the
    piece. Row j of `basis` is a unit vector from which unit ``units[j]`` is kept away, orthogonal to the others of that
    unit; zero rows fill up to a number of rows that few compilations share.
    """

    regression: Regression
    directions: Float[Array, "d_in surfaces"]
    index: Int[Array, " samples"]
    lengths: Float[Array, " samples"]
    slopes: Float[Array, " 2"]
    signs: Float[Array, "units surfaces"]
    watched: Bool[Array, "units surfaces"]
    units: Int[Array, " slides"]
    basis: Float[Array, "slides d_in"]

    @in_double
    def loss(self, params: Weights) -> Scalar:
        """The frozen loss of the projected weights, the regulariser's part included."""
        first, last = self.project(params)
        return self.frozen((first, last), jnp.zeros((first.shape[0], len(self.lengths))))

    def project(self, params: Weights) -> Weights:
        """The weights, each row of W_1 projected onto the surfaces it slides on."""
        first, last = jnp.asarray(params[0]), jnp.asarray(params[1])
        parts = jnp.sum(self.basis * first[self.units], axis=1)
        return first.at[self.units].add(-parts[:, None] * self.basis), last

    def frozen(self, params: Weights, change: Float[Array, "units samples"]) -> Scalar:
        """The frozen loss with `change` added to the hidden layer's outputs."""
        regression, network = self.regression, self.regression.network
        assert isinstance(network, Shallow)
        is_right = self.signs[:, self.index] * self.lengths > 0
        hidden = jnp.where(is_right, self.slopes[1], self.slopes[0]) * (params[0] @ regression.X) + change
        outputs = applied(network.output_activation, params[1] @ hidden)
        weight = 1.0 if regression.normalization == "sum" else 1.0 / len(self.lengths)
        value = weight * regression.loss_function(outputs, regression.Y)
        return value if regression.regularizer is None else value + regression.regularizer(params)

    def jumps(self, params: Weights) -> tuple[Float[Array, "units d_in"], Float[Array, "units surfaces"]]:
        """The frozen gradient by W_1 (of weights as they are), and by how much it changes from side to side.

        Where row l of W_1 goes from the negative to the positive side of surface m, its gradient changes by
        ``jump[l, m] * directions[:, m]``, with ``jump[l, m] = (slope_+ - slope_-) sum_k |length_k| dL/dh_{lk}`` over
        the samples of that surface. Nothing else of the gradient changes, because ``sigma(0) = 0``.
        """
        zero = jnp.zeros((params[0].shape[0], len(self.lengths)))
        (gradient, _), by_hidden = jax.grad(self.frozen, argnums=(0, 1))(params, zero)
        shares = (by_hidden * jnp.abs(self.lengths)).T
        sums = jax.ops.segment_sum(shares, self.index, num_segments=self.directions.shape[1]).T
        return gradient, (self.slopes[1] - self.slopes[0]) * sums


class Piece(AbstractPiece):
    """The gradient flow of a :class:`PieceProblem`, with its guards.

    Args:
        problem: the frozen problem.
        surfaces: for every row of the problem's basis, the surface it stands for.
        duals: for every such row, the vector whose product with a gradient is its coefficient on that surface.
        scale: for every unit, the size that its row of W_1 has had and that its rounding errors are relative to.
        direction: 1.0, or -1.0 for backward integration.

    Guards: ``sign * W_1 u`` for every watched surface; and for every surface slid on the two coefficients
    ``direction * theta * jump`` and ``direction * (1 - theta) * jump`` of the convex combination that makes the
    velocity tangent. One of them vanishes where the sliding ends.
    """

    problem: PieceProblem
    surfaces: Int[Array, " slides"]
    duals: Float[Array, "slides d_in"]
    scale: Float[Array, " units"]
    direction: Float[Array, ""]

    def vector_field(self, params: Params) -> Params:
        """``-grad`` of the frozen loss, tangent to what is slid on."""
        return jax.tree.map(lambda leaf: -leaf, self.problem.gradient(params))

    def guards(self, params: Params) -> tuple[Float[Array, " guards"], Float[Array, " guards"]]:
        """Distances to the watched surfaces, then coefficients on those slid on, with their rounding errors."""
        problem = self.problem
        first = jnp.asarray(params[0])
        distances = problem.signs * (first @ problem.directions)
        sizes = jnp.maximum(jnp.linalg.norm(first, axis=1), self.scale)[:, None]
        is_open = ~problem.watched
        distances = jnp.where(is_open, 1.0, distances)
        low, high, noise = self.coefficients(params)
        rounding = jnp.broadcast_to(ROUNDING * sizes, distances.shape)
        return (
            jnp.concatenate([distances.ravel(), low, high]),
            jnp.concatenate([rounding.ravel(), noise, noise]),
        )

    def coefficients(
        self, params: Params
    ) -> tuple[Float[Array, " slides"], Float[Array, " slides"], Float[Array, " slides"]]:
        """The two coefficients on every surface slid on, and their rounding error; ones for rows that fill up."""
        problem = self.problem
        gradient, jump = problem.jumps(problem.project(params))
        used = jnp.any(problem.basis != 0, axis=1)
        part = -jnp.sum(self.duals * gradient[problem.units], axis=1)
        width = jump[problem.units, self.surfaces]
        sizes = jnp.linalg.norm(self.duals, axis=1) * jnp.sum(jnp.abs(jump), axis=1)[problem.units]
        noise = ROUNDING * (jnp.abs(width) + sizes)
        low, high = self.direction * part, self.direction * (width - part)
        return jnp.where(used, low, 1.0), jnp.where(used, high, 1.0), jnp.where(used, noise, 0.0)


@eqx.filter_jit
def outlook(piece: Piece, params: Weights) -> tuple[Array, Array, Array, Array, Array, Array]:
    """What decides what comes next: ``W_1 u``, frozen gradient by W_1, its jumps, and the sliding coefficients."""
    gradient, jump = piece.problem.jumps(params)
    return jnp.asarray(params[0]) @ piece.problem.directions, gradient, jump, *piece.coefficients(params)


@eqx.filter_jit
def guards_at(piece: Piece, params: Weights) -> tuple[Array, Array]:
    """The piece's guards, compiled."""
    return piece.guards(params)
