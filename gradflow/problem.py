"""Problems: a scalar loss on parameter space, with its gradient and Hessian.

A problem knows network, data and loss (:class:`Regression`) or a user's function (:class:`Landscape`); it does not
know how it is descended. Square-loss linear networks are written out by hand on sufficient statistics
(:mod:`gradflow.statistics`), and the Hessian of one hidden layer is; everything else goes through automatic
differentiation.
"""

import abc
import contextlib
import functools
import warnings
from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from gradflow import checks, initial_laws, losses
from gradflow.activations import Identity
from gradflow.linear_algebra import linear_gradient, linear_hessian, product
from gradflow.networks import AbstractNetwork, Linear, Shallow
from gradflow.precision import as_params, in_double
from gradflow.regularizers import AbstractRegularizer
from gradflow.shallow_algebra import shallow_hessian
from gradflow.statistics import LinearStatistics, TargetSpectrum, linear_statistics, target_spectrum
from gradflow.types import Array, Params, Scalar, Weights

MAX_DENSE = 6000
"""Largest number of parameters for which a dense Hessian is formed (8 n^2 bytes: 288 MB)."""


class AbstractProblem(eqx.Module):
    """A scalar loss on a parameter space.

    Final subclasses give `loss`; they may override `gradient` and `hessian` with hand-written ones, which tests
    then compare with automatic differentiation.
    """

    @abc.abstractmethod
    def loss(self, params: Params) -> Scalar:
        """The loss, a scalar."""

    @in_double
    def gradient(self, params: Params) -> Params:
        """The gradient, a pytree like `params`."""
        return jax.grad(self.loss)(as_params(params, name="params"))

    @in_double
    def hessian(self, params: Params) -> Float[Array, "n n"]:
        """The dense Hessian, parameters flattened row-major in acting order.

        Raises:
            InputError: more than :data:`MAX_DENSE` parameters; use :mod:`gradflow.curvature` instead.
        """
        flat, unravel = ravel_pytree(as_params(params, name="params"))
        check_dense(flat.size)
        return jax.hessian(lambda vector: self.loss(unravel(vector)))(flat)

    @in_double
    def hessian_product(self, params: Params, direction: Params) -> Params:
        """The Hessian applied to `direction`, without forming it."""
        params, direction = as_params(params, name="params"), as_params(direction, name="direction")
        return jax.jvp(self.gradient, (params,), (direction,))[1]

    def compact(self) -> Self:
        """The same problem without what its loss does not read; what compiled code is handed."""
        return self

    @property
    def gradient_scale(self) -> float | None:
        """A gradient norm that counts as large for this problem, or None when none is known."""
        return None

    @property
    def minimiser_norm(self) -> float | None:
        """Norm of a minimiser, or None when none is known."""
        return None


class Regression(AbstractProblem):
    """A network fitted to data: ``loss(network(params, X), Y) + regularizer(params)``.

    Args:
        network: the parameterised map.
        X: inputs ``(d_in, samples)``; **columns are samples** (scikit-learn has them in rows: transpose).
        Y: targets ``(d_out, samples)``; a vector of length samples is read as one row.
        loss: ``(outputs, targets) -> scalar``, summed over samples; default half the squared error.
        regularizer: ``params -> scalar`` added to the loss, e.g. ``regularizers.WeightDecay(1e-3)``.
        normalization: ``"sum"`` (the papers') or ``"mean"``, which divides the loss, and so the speed of the flow,
            by the number of samples.

    For a linear network with the squared error only the statistics of the data enter (a step's cost does not grow
    with the number of samples) and gradient and Hessian are hand-written.

    Raises:
        InputError: NaN, text, no samples, shapes that do not fit each other or the network.

    Warns:
        HypothesisWarning: ``rank(Y X^T) < d_out`` or (nearly) equal singular values of the target, naming the
            statements of paper 003 that then do not apply.

    Source: paper 003, eqs. (2)-(4), with Assumption 2 corrected to "X and Y X^T have full row rank".
    """

    network: AbstractNetwork
    X: Float[Array, "d_in samples"]
    Y: Float[Array, "d_out samples"]
    statistics: LinearStatistics | None
    regularizer: AbstractRegularizer | None
    loss_function: Callable = eqx.field(static=True)
    normalization: str = eqx.field(static=True)

    def __init__(
        self,
        network: AbstractNetwork,
        X: Any,
        Y: Any,
        *,
        loss: Callable = losses.squared_error,
        regularizer: AbstractRegularizer | None = None,
        normalization: str = "sum",
    ):
        self.network = network
        self.X, self.Y = _checked_data(network, X, Y)
        self.loss_function = loss
        self.regularizer = regularizer
        self.normalization = checks.choice("normalization", normalization, ("sum", "mean"))
        closed_form = isinstance(network, Linear) and loss is losses.squared_error
        self.statistics = linear_statistics(self.X, self.Y, self._weight) if closed_form else None
        if self.statistics is not None:
            _warn_about_hypotheses(self.spectrum, self.Y.shape[0])

    def compact(self) -> Self:
        """The same problem without its samples, when the statistics say all: a step's cost must not grow with them."""
        if self.statistics is None or not self.X.shape[1]:
            return self
        return eqx.tree_at(lambda p: (p.X, p.Y), self, (self.X[:, :0], self.Y[:, :0]))

    @property
    def _weight(self) -> float:
        return 1.0 if self.normalization == "sum" else 1.0 / self.X.shape[1]

    @property
    def spectrum(self) -> TargetSpectrum:
        """Singular values and vectors of the target ``T = Y V_X`` (``S_Y`` of paper 003).

        Raises:
            InputError: the problem is not a linear network with the squared error.
        """
        checks.require(
            self.statistics is not None, "problem", "be a linear network with the squared error", type(self).__name__
        )
        assert self.statistics is not None
        return target_spectrum(self.statistics.target)

    @property
    def irreducible(self) -> float:
        """The loss no linear map of X can avoid, ``1/2 ||Y V_2||^2`` (0.0 when it is not known in closed form)."""
        return 0.0 if self.statistics is None else float(self.statistics.irreducible)

    @property
    def gradient_scale(self) -> float | None:
        """``||T|| ||R||_op w^H`` with ``w`` the layer norm of a balanced minimiser: the size of a large gradient."""
        if self.statistics is None:
            return None
        scale = float(self.statistics.scales[0])
        return float(np.linalg.norm(self.statistics.target)) * scale * self.weight_scale**self.num_hidden or scale**2

    @property
    def num_hidden(self) -> int:
        """H, the number of hidden layers."""
        return len(self.network.shapes) - 1

    @property
    def weight_scale(self) -> float:
        """Layer norm of a balanced minimiser, ``(s_max(T) / s_max(R))^{1/(H+1)}`` (1.0 when the target is zero)."""
        if self.statistics is None:
            return 1.0
        ratio = float(self.spectrum.values[0] / self.statistics.scales[0])
        return ratio ** (1.0 / (self.num_hidden + 1)) if ratio > 0 else 1.0

    @property
    def minimiser_norm(self) -> float | None:
        """Norm of a balanced minimiser without a bottleneck, ``sqrt((H+1) sum_i s_i(T R^+)^{2/(H+1)})``."""
        if self.statistics is None:
            return None
        layers = self.num_hidden + 1
        values = np.linalg.svd(np.asarray(self.statistics.target) / self.statistics.scales, compute_uv=False)
        return float(np.sqrt(layers * np.sum(values ** (2.0 / layers))))

    @in_double
    def init(self, key: Any, law: str | initial_laws.AbstractLaw = "gaussian", scale: float = 0.5) -> Weights:
        """Parameters drawn from an initial law; the same key always gives the same parameters.

        Args:
            key: a JAX key or a non-negative integer seed.
            law: a name or an object of :mod:`gradflow.initial_laws`.
            scale: the law's scale or gain, used when `law` is a name.
        """
        chosen = initial_laws.law(law, scale) if isinstance(law, str) else law
        return chosen.sample(key, self.network.shapes)

    @in_double
    def loss(self, params: Weights) -> Scalar:
        """The loss, including the irreducible part and the regulariser."""
        params = self._checked(params)
        if self.statistics is None:
            outputs = self.network(params, self.X)
            value = self._weight * _real_scalar("loss", self.loss_function(outputs, self.Y))
        else:
            residual = product(params, self.statistics.root) - self.statistics.target
            value = 0.5 * jnp.sum(residual * residual) + self.statistics.irreducible
        return value if self.regularizer is None else value + self.regularizer(params)

    @in_double
    def gradient(self, params: Weights) -> Weights:
        """``grad_j = (W_{H+1}...W_{j+1})^T (P R - T) (W_{j-1}...W_1 R)^T`` plus the regulariser's gradient."""
        params = self._checked(params)
        if self.statistics is None:
            return jax.grad(self.loss)(params)
        gradient = linear_gradient(params, self.statistics.root, self.statistics.target)
        if self.regularizer is None:
            return gradient
        extra = jax.grad(self.regularizer)(params)
        return tuple(layer + more for layer, more in zip(gradient, extra, strict=True))

    @in_double
    def hessian(self, params: Weights) -> Float[Array, "n n"]:
        """The dense Hessian, parameters flattened row-major in acting order.

        Hand-written for the squared error of linear networks and of one hidden layer with linear outputs.
        """
        params = self._checked(params)
        check_dense(sum(int(np.prod(shape)) for shape in self.network.shapes))
        network, is_squared = self.network, self.loss_function is losses.squared_error
        flat, unravel = ravel_pytree(params)
        if self.statistics is not None:
            hessian = linear_hessian(params, self.statistics.root, self.statistics.target)
        elif isinstance(network, Shallow) and is_squared and isinstance(network.output_activation, Identity):
            hessian = shallow_hessian(params, network.activation, self.X, self.Y, self._weight)
        else:
            return jax.hessian(lambda vector: self.loss(unravel(vector)))(flat)
        if self.regularizer is None:
            return hessian
        regularizer = self.regularizer
        return hessian + jax.hessian(lambda vector: regularizer(unravel(vector)))(flat)

    def _checked(self, params: Any) -> Weights:
        given = f"one array of shape {np.shape(params)}" if hasattr(params, "shape") else type(params).__name__
        checks.require(isinstance(params, tuple | list), "params", "be a tuple (W_1, ..., W_L)", given)
        shapes = tuple(np.shape(layer) for layer in params)
        checks.require(
            shapes == self.network.shapes, "params", f"have the network's shapes {self.network.shapes}", shapes
        )
        return as_params(tuple(params), name="params")


class Landscape(AbstractProblem):
    """Any scalar JAX function of an array or pytree of floating arrays.

    Args:
        fun: ``params -> scalar``, traceable by JAX.
        name: how tables and figures call it.
        radius: an a-priori bound ``params0 -> sup_t ||params(t)||`` known for this landscape, if any.
        source: where that bound is proved.

    Raises:
        InputError: at the first evaluation, when `fun` does not return a real scalar.
    """

    fun: Callable
    name: str = eqx.field(static=True)
    radius: Callable | None = eqx.field(static=True)
    source: str = eqx.field(static=True)

    def __init__(
        self, fun: Callable, *, name: str | None = None, radius: Callable | None = None, source: str = "the user"
    ):
        checks.require(callable(fun), "fun", "be a function of the parameters", repr(fun))
        self.fun = fun
        self.name = name or str(getattr(fun, "__name__", type(fun).__name__))
        self.radius = radius
        self.source = source

    @in_double
    def loss(self, params: Params) -> Scalar:
        """``fun(params)``, checked to be a real scalar of entries that `params` have."""
        params = as_params(params, name="params")
        leaves, structure = jax.tree.flatten(params)
        with contextlib.suppress(TypeError):  # a function without a hash
            _check_reach(self.fun, structure, tuple(map(jnp.shape, leaves)))
        try:
            value = self.fun(params)
        except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
            raise checks.InputError(
                f"`fun` must be traceable by JAX, but got a {type(error).__name__}. Compute with jax.numpy instead of "
                "numpy, and branch with jnp.where instead of `if`."
            ) from error
        return _real_scalar("fun", value)


@functools.lru_cache(maxsize=64)
def _check_reach(fun: Callable, structure: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
    """Raises :class:`~gradflow.checks.InputError` when `fun` reads beyond the end of parameters of these shapes.

    JAX reads the last entry then, without a word. NumPy refuses, so `fun` is traced once with its arrays as constants;
    whatever else may go wrong with those says nothing about `fun`.
    """
    params = jax.tree.unflatten(structure, [np.ones(shape) for shape in shapes])
    try:
        with np.errstate(all="ignore"):
            jax.eval_shape(lambda: fun(params))
    except IndexError as error:
        given = shapes[0] if len(shapes) == 1 else shapes
        raise checks.InputError(
            f"`params` must have every entry that the landscape reads, but got shape {given}: {error}. "
            "Pass a start, or draw starts, of as many parameters as the function has."
        ) from None
    except Exception:
        return


def check_dense(num_params: int) -> None:
    """Raises :class:`~gradflow.checks.InputError` when a dense Hessian of that many parameters is out of reach."""
    checks.require(
        num_params <= MAX_DENSE,
        "params",
        f"have at most {MAX_DENSE} entries for a dense Hessian",
        f"{num_params} ({8e-9 * num_params**2:.1f} GB)",
        "Use gradflow.curvature.extreme_eigenvalues, which needs Hessian-vector products only.",
    )


def _real_scalar(name: str, value: Any) -> Scalar:
    """What the user's function `name` returned, which a trace can check: shape and type, not the value."""
    value = jnp.asarray(value)
    checks.require(value.shape == (), name, "return a scalar", f"an array of shape {value.shape}")
    is_real = jnp.issubdtype(value.dtype, jnp.floating)
    checks.require(is_real, name, "return a real floating number", str(value.dtype))
    return value


def _checked_data(network: AbstractNetwork, X: Any, Y: Any) -> tuple[np.ndarray, np.ndarray]:
    for name, data in (("X", X), ("Y", Y)):
        if np.asarray(data).dtype == np.float32:
            warnings.warn(f"`{name}` is float32 and was promoted to float64.", checks.DataWarning, stacklevel=5)
    X, Y = checks.finite_array("X", X), checks.finite_array("Y", Y)
    Y = Y[None, :] if Y.ndim == 1 else Y
    for name, data in (("X", X), ("Y", Y)):
        checks.require(data.ndim == 2, name, "have two axes (features, samples)", f"shape {data.shape}")
        checks.data_scale(name, data)
    checks.require(bool(X.any()), "X", "have a nonzero entry", "zeros only", "There is nothing to learn from.")
    checks.require(
        X.shape[1] == Y.shape[1],
        "Y",
        f"have as many samples (columns) as `X` of shape {X.shape}",
        f"shape {Y.shape}",
        "Columns are samples: transpose data that has samples in rows.",
    )
    widths = network.shapes[0][1], network.shapes[-1][0]
    checks.require(
        widths == (X.shape[0], Y.shape[0]),
        "network",
        f"have input and output widths ({X.shape[0]}, {Y.shape[0]}) to fit X {X.shape} and Y {Y.shape}",
        widths,
    )
    return X, Y


def _warn_about_hypotheses(spectrum: TargetSpectrum, d_out: int) -> None:
    if spectrum.num_positive < d_out:
        warnings.warn(
            f"rank(Y X^T) = {spectrum.num_positive} is less than d_out = {d_out} (paper 003, Assumption 2 as "
            "corrected): the values, counts and strictness of Lemma 2 and Proposition 3 are stated for full rank; "
            "zero singular values are treated as one more group.",
            checks.HypothesisWarning,
            stacklevel=5,
        )
    if not spectrum.is_distinct:
        repeated = [group for group in spectrum.groups if len(group) > 1 and group[0] < spectrum.num_positive]
        listed = ", ".join("s_" + " = s_".join(str(index + 1) for index in group) for group in repeated)
        warnings.warn(
            f"The target has (nearly) equal singular values, {listed} (paper 003, Assumption 3): Lemma 2 item 3 "
            "(R W_11 diagonal) does not apply; captured directions are reported as counts per group.",
            checks.HypothesisWarning,
            stacklevel=5,
        )
