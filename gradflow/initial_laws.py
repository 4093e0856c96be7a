"""Initial laws: distributions of the parameters at time 0.

A law knows the shapes of the matrices, never data, loss or flow. Each one is a frozen dataclass with one method,
``sample(key, shapes)``, which is deterministic per key and can be mapped over keys with ``jax.vmap``. Layer j is
drawn from ``fold_in(key, j)``, so two networks that share their first layers share their first draws.

Which one to take: :class:`Gaussian` for statements about almost every start; :class:`FanIn`, :class:`Glorot` for
a start whose size does not depend on the widths; :class:`Balanced`, :class:`Orthogonal`, :class:`ZeroAsymmetric` for
theory, since they live on sets of measure zero: a basin fraction estimated with them says nothing about
almost every start.
"""

import abc
import itertools
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradflow import checks
from gradflow.precision import in_double
from gradflow.types import Shapes, Weights

Key: TypeAlias = jax.Array
KeyLike: TypeAlias = jax.Array | int | np.integer


class AbstractLaw(abc.ABC):
    """A distribution of ``(W_1, ..., W_L)``.

    Final subclasses are frozen dataclasses with one number, the scale or gain, as their first field. They give
    `sample`, decorated with :func:`gradflow.precision.in_double`, take their keys from :func:`layer_keys` (which checks
    `key` and `shapes`), and are listed in :data:`LAWS` and in the conformance table of the tests.
    """

    @abc.abstractmethod
    def sample(self, key: KeyLike, shapes: Shapes) -> Weights:
        """One draw: matrices of the given shapes ``(d_j, d_{j-1})`` in acting order.

        In double precision, except inside a trace that the caller started in single precision.

        Args:
            key: a JAX key, or a non-negative integer seed below 2**63.
            shapes: ``network.shapes``.

        Raises:
            InputError: a negative or fractional seed, a key array of the wrong shape, or shapes that are not those of
                matrices (for laws of the whole product: that do not chain).
        """


@dataclass(frozen=True)
class Gaussian(AbstractLaw):
    """Entries independent ``N(0, scale^2)``, the same in every layer.

    The law for statements about almost every start: it has a density, which is invariant under rotations of any hidden
    layer. The product has entries of variance ``scale^{2L} d_1 ... d_{L-1}``; with L >= 3 layers a
    small scale means a plateau near the origin whose length grows like ``1 / scale^{L-2}``.
    """

    scale: float

    def __post_init__(self) -> None:
        _check_positive(self, "scale")

    @in_double
    def sample(self, key: KeyLike, shapes: Shapes) -> Weights:
        """``W_j = scale * G_j``, ``G_j`` standard normal."""
        return tuple(self.scale * normal for normal in _standard_normals(key, shapes))


@dataclass(frozen=True)
class FanIn(AbstractLaw):
    """Entries independent ``N(0, gain^2 / d_{j-1})``: at gain 1 the mean square of a signal's entries is kept.

    ``E ||W_j x||^2 / d_j = gain^2 ||x||^2 / d_{j-1}``, so at gain 1 the size of an output entry depends neither on the
    widths nor on the depth. gain = sqrt(2) is meant for ReLU layers and makes linear networks grow like ``2^{L/2}``.

    Source: LeCun, Bottou, Orr, Mueller, "Efficient BackProp" (1998), section 4.6; He et al. (ICCV 2015), eq. (10).
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(self, "gain")

    @in_double
    def sample(self, key: KeyLike, shapes: Shapes) -> Weights:
        """``W_j = gain / sqrt(d_{j-1}) * G_j``, ``G_j`` standard normal."""
        normals = _standard_normals(key, shapes)
        return tuple(self.gain / np.sqrt(d_in) * normal for normal, (_, d_in) in zip(normals, shapes, strict=True))


@dataclass(frozen=True)
class Glorot(AbstractLaw):
    """Entries independent ``N(0, 2 gain^2 / (d_{j-1} + d_j))``: a compromise between forward and backward signal.

    Neither signal keeps its size exactly unless the widths are equal; take :class:`FanIn` where the size of
    the outputs matters.

    Source: Glorot and Bengio (AISTATS 2010), eq. (12), with normal entries in place of uniform ones.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(self, "gain")

    @in_double
    def sample(self, key: KeyLike, shapes: Shapes) -> Weights:
        """``W_j = gain * sqrt(2 / (d_{j-1} + d_j)) * G_j``, ``G_j`` standard normal."""
        normals = _standard_normals(key, shapes)
        return tuple(
            self.gain * np.sqrt(2.0 / (d_out + d_in)) * normal
            for normal, (d_out, d_in) in zip(normals, shapes, strict=True)
        )


@dataclass(frozen=True)
class Balanced(AbstractLaw):
    """Balanced weights, ``W_{j+1}^T W_{j+1} = W_j W_j^T`` for every j, with the product of a Gaussian draw.

    For any widths. With ``P = U S V^T`` the product of ``Gaussian(scale).sample(key, shapes)``, cut to its rank
    ``k = min(d_0, ..., d_L)``::

        W_j = Q_j S^{1/L} Q_{j-1}^T,    Q_0 = V,  Q_L = U,  Q_j Haar on the d_j x k orthonormal frames (0 < j < L)

    so every layer has the k singular values ``s_i(P)^{1/L}`` and rank k, and the network computes the same map as the
    Gaussian one of the same key: a controlled comparison of what imbalance does. The ``s_i(P)`` are those of a product
    of L independent Gaussian matrices: their logarithms spread in proportion to L, so with equal widths the
    singular values of the layers tend to fixed, distinct numbers as the depth grows.

    The source has the identity, padded with zeros, in place of ``Q_j``. The flow commutes with rotations of hidden
    layers, so loss and product evolve alike; but padding makes the superfluous hidden units exactly zero, which
    floating point then preserves for ever.

    Not for statements about almost every start: balanced weights are a set of measure zero, preserved by the flow. With
    all widths 1 and two layers or more, the product never changes its sign along the flow, and a start of the wrong
    sign (probability 1/2) converges to the saddle at the origin.

    Accuracy: ``||W_{j+1}^T W_{j+1} - W_j W_j^T|| <= 1e-14 ||W_j||^2``. Singular values of P below ``1e-16 s_1(P)`` are
    rounding noise (widths of 4: beyond some 30 layers); balancedness does not suffer.

    Source: Arora, Cohen, Golowich, Hu (ICLR 2019), Procedure 1; the notion is that of Arora, Cohen, Hazan (ICML 2018).
    """

    scale: float

    def __post_init__(self) -> None:
        _check_positive(self, "scale")

    @in_double
    def sample(self, key: KeyLike, shapes: Shapes) -> Weights:
        """``W_j = Q_j S^{1/L} Q_{j-1}^T``, as above."""
        _check_chain(shapes, "Balanced")
        normals = _standard_normals(key, shapes)
        num_layers = len(shapes)
        rank = min(min(shape) for shape in shapes)
        # Each factor is divided by sqrt(fan-in), put back below, so that a deep product neither over- nor underflows.
        fan_in_scale = np.exp(np.mean([0.5 * np.log(d_in) for _, d_in in shapes]))
        end_to_end = jnp.eye(shapes[0][1], dtype=normals[0].dtype)
        for normal, (_, d_in) in zip(normals, shapes, strict=True):
            end_to_end = normal @ end_to_end / np.sqrt(d_in)
        left, values, right = jnp.linalg.svd(end_to_end, full_matrices=False)
        layer_values = self.scale * fan_in_scale * values[:rank] ** (1.0 / num_layers)
        frame_keys = layer_keys(jax.random.fold_in(as_key(key), num_layers), shapes)
        hidden = [_haar_frame(frame_keys[j], shapes[j][0], rank) for j in range(num_layers - 1)]
        frames = [right[:rank].T, *hidden, left[:, :rank]]
        return tuple((frames[j + 1] * layer_values) @ frames[j].T for j in range(num_layers))


@dataclass(frozen=True)
class Orthogonal(AbstractLaw):
    """Gain times Haar-distributed semi-orthogonal matrices: every singular value of every layer is the gain.

    ``W_j^T W_j = gain^2 I`` if ``d_j >= d_{j-1}``, else ``W_j W_j^T = gain^2 I``. Balanced at a hidden layer j exactly
    if both its neighbours are at least as wide, hence throughout when all widths are equal; the product then has one
    repeated singular value, ``gain^L``. A set of measure zero, not preserved by the flow: not for statements
    about almost every start, nor where distinct singular values are assumed.

    Source: Saxe, McClelland, Ganguli (ICLR 2014); the sign-corrected QR: Mezzadri, Notices of the AMS 54 (2007).
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(self, "gain")

    @in_double
    def sample(self, key: KeyLike, shapes: Shapes) -> Weights:
        """``W_j = gain * Q_j``, ``Q_j`` the orthonormal factor of a normal matrix (of its transpose when wide)."""
        keys = layer_keys(key, shapes)
        return tuple(
            self.gain * (_haar_frame(k, d_out, d_in) if d_out >= d_in else _haar_frame(k, d_in, d_out).T)
            for k, (d_out, d_in) in zip(keys, shapes, strict=True)
        )


@dataclass(frozen=True)
class ZeroAsymmetric(AbstractLaw):
    """Last layer zero, all others gain times the identity (padded with zeros when rectangular). Deterministic.

    The output is 0. With hidden widths all equal to d <= d_0 the invariants ``C_j = W_{j+1}^T W_{j+1} - W_j W_j^T`` are
    0 for j < H and ``C_H = -gain^2 I``. The flow conserves them, so every layer but the last keeps all its singular
    values at or above `gain` for ever: the trajectory stays away from the saddles at which these layers lose rank.

    Not for statements about random starts (`key` is checked and then ignored). With other widths the padding cuts off
    coordinates: a hidden unit whose row of W_j and column of W_{j+1} are both zero stays dead for ever, and the
    statement on singular values is not claimed.

    Source: Wu, Wang, Ma, "Global convergence of gradient descent for deep linear residual networks" (NeurIPS 2019),
    with gain 1; the bound for the flow follows in one line from the conservation of ``C_j``.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(self, "gain")

    @in_double
    def sample(self, key: KeyLike, shapes: Shapes) -> Weights:
        """``W_j = gain * eye(d_j, d_{j-1})`` for j < L and ``W_L = 0``."""
        layer_keys(key, shapes)
        dtype = jnp.result_type(float)
        hidden = tuple(self.gain * jnp.eye(d_out, d_in, dtype=dtype) for d_out, d_in in shapes[:-1])
        return (*hidden, jnp.zeros(shapes[-1], dtype=dtype))


LAWS: dict[str, type[AbstractLaw]] = {
    "gaussian": Gaussian,
    "fan_in": FanIn,
    "glorot": Glorot,
    "balanced": Balanced,
    "orthogonal": Orthogonal,
    "zero_asymmetric": ZeroAsymmetric,
}
"""The laws by the names that configurations use."""


def law(name: str, scale: float) -> AbstractLaw:
    """The law called `name`, with `scale` as its scale or gain.

    Raises:
        InputError: an unknown name (the message names the nearest one), or a scale that is not positive and finite.
    """
    return LAWS[checks.choice("law", name, LAWS)](scale)  # type: ignore[call-arg]


def as_key(key: KeyLike) -> Key:
    """`key` as a JAX key; an integer seed gives the same key whether or not double precision is switched on.

    Raises:
        InputError: a negative or fractional seed, one of 2**63 or more, or an array that is no single JAX key.
    """
    if isinstance(key, jax.Array):
        is_typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        is_key = key.ndim == 0 if is_typed else key.ndim == 1 and key.dtype == jnp.uint32
        checks.require(
            is_key,
            "key",
            "be a single JAX key or an integer seed",
            f"an array of {key.dtype} and shape {key.shape}",
            "Use jax.random.key(seed), and jax.vmap for many keys.",
        )
        return key
    seed = checks.integer("key", key, at_least=0)
    checks.require(seed < 2**63, "key", "be a seed below 2**63", seed)
    with jax.enable_x64(True):  # without it jax drops the upper 32 bits of a seed silently
        return jax.random.key(seed)


def layer_keys(key: KeyLike, shapes: Shapes) -> tuple[Key, ...]:
    """One key for each layer, ``fold_in(key, j)``, after checking `key` and `shapes`.

    Raises:
        InputError: as :meth:`AbstractLaw.sample` says.
    """
    checks.require(len(shapes) > 0, "shapes", "have at least one layer", shapes)
    for index, shape in enumerate(shapes):
        checks.require(len(shape) == 2, f"shapes[{index}]", "be a pair (d_out, d_in)", shape)
        for size in shape:
            checks.integer(f"shapes[{index}]", size)
    base = as_key(key)
    return tuple(jax.random.fold_in(base, index) for index in range(len(shapes)))


def _standard_normals(key: KeyLike, shapes: Shapes) -> Weights:
    keys = layer_keys(key, shapes)
    return tuple(
        jax.random.normal(k, shape, dtype=jnp.result_type(float)) for k, shape in zip(keys, shapes, strict=True)
    )


def _haar_frame(key: Key, rows: int, columns: int) -> Float[Array, "rows columns"]:
    """Orthonormal columns, Haar-distributed: Q of a normal matrix, signs fixed so that R has a positive diagonal."""
    normal = jax.random.normal(key, (rows, columns), dtype=jnp.result_type(float))
    orthonormal, triangular = jnp.linalg.qr(normal)
    return orthonormal * jnp.where(jnp.diagonal(triangular) < 0, -1.0, 1.0)


def _check_positive(chosen: AbstractLaw, field: str) -> None:
    remedy = "A start at the origin is a critical point; pass zeros as params0 if that is what you want."
    value = getattr(chosen, field)
    checks.require(value != 0, field, "be greater than 0", value, remedy)
    object.__setattr__(chosen, field, checks.real(field, value, above=0.0))


def _check_chain(shapes: Shapes, name: str) -> None:
    for index, (first, second) in enumerate(itertools.pairwise(shapes)):
        checks.require(
            second[1] == first[0],
            "shapes",
            f"chain for {name} (columns of layer {index + 2} = rows of layer {index + 1})",
            f"{first} then {second}",
        )
