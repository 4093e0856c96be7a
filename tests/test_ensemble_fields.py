"""Fields written for the native kernel against JAX's own values: every kind of operation, or a named refusal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.flatten_util import ravel_pytree
from native_fields import jax_field, native_field

import gradflow as gf
from gradflow.activations import NAMES
from gradflow.ensemble.native.arrays import SMALL, Unsupported
from gradflow.ensemble.native.products import TILE, UNROLLED

MASK = np.array([True, False, True] * 4)
INDEX = np.array([0, 5, 5, 11])
FIXED = np.random.default_rng(0).normal(size=(12, 12))


@jax.custom_vjp
def tripled_backwards(x):
    return x**3


tripled_backwards.defvjp(lambda x: (x**3, x), lambda x, g: (3 * g,))


@jax.custom_jvp
def odd_derivative(x):
    return jnp.sin(x)


odd_derivative.defjvp(lambda x, t: (jnp.sin(x[0]), t[0] * 7.0))


@jax.jit
def doubled_sine(x):
    return jnp.sin(x) * 2


def _pairs(x):
    points = x.reshape(6, 2)
    return jnp.sum(1 / (0.1 + jnp.sum((points[:, None] - points[None]) ** 2, -1)))


LOSSES = {
    "places": {
        "index": lambda x: (x[0] * x[3]) ** 2 + x[-1] ** 3,
        "slices": lambda x: jnp.sum(x[::2] ** 3) + jnp.sum(x[::-1][:4] * x[4:8]),
        "gather": lambda x: jnp.sum(x[INDEX] ** 2 * x[INDEX[::-1]]),
        "gather_rows": lambda x: jnp.sum(x.reshape(4, 3)[np.array([0, 3, 3])] ** 3),
        "take_clipped": lambda x: jnp.sum(jnp.take(x, INDEX + 3, mode="clip") ** 2),
        "set": lambda x: jnp.sum(x.at[1].set(2.0) ** 3) + jnp.sum(x.at[INDEX[1:]].add(x[:3]) ** 3),
        "stacked": lambda x: jnp.sum(jnp.stack([x, x**2], 1)[3:5] ** 3) + jnp.prod(jnp.array([x[0], 2.0, x[1]])),
        "repeated": lambda x: jnp.sum(jnp.repeat(x, 2) ** 3 * np.arange(24)) + jnp.sum(jnp.roll(x, 1) * x**2),
        "padded": lambda x: jnp.sum(jnp.pad(x, (1, 2))[1:] * jnp.pad(x, (2, 1))[:-1]) + jnp.sum(jnp.diff(x) ** 4),
        "tuple": lambda x: jnp.sum(jnp.split(x, [3, 3, 7])[2] ** 3),
        "triangle": lambda x: jnp.sum(jnp.tril(x[:9].reshape(3, 3)) ** 3) + jnp.trace(x[:9].reshape(3, 3)) ** 2,
        "transposed": lambda x: jnp.sum(x.reshape(3, 4).T.reshape(3, 4) ** 3 * FIXED[:3, :4]),
    },
    "choices": {
        "where": lambda x: jnp.sum(jnp.where(x > 0.1, x**2, jnp.exp(x))) + jnp.sum(jnp.where(MASK, x**2, -x)),
        "where_one": lambda x: jnp.where(x[0] > 0, jnp.sum(x**2), jnp.sum(x**4)),
        "clip": lambda x: jnp.sum(jnp.clip(x, -0.5, 0.7) ** 3) + jnp.sum(jnp.maximum(x, 0) * jnp.minimum(x, 0.5)),
        "largest": lambda x: jnp.max(x) ** 2 + jnp.min(x * x) + jnp.max(jnp.concatenate([x[:2], x[:2]])),
        "logic": lambda x: jnp.sum(x**2 * ((x > 0) & (x < 1)) + x**3 * (~(x > 0)) + x * ((x > 0) | (x < -1))),
        "equal_truths": lambda x: jnp.sum(jnp.where((x > 0) == (x[::-1] > 0), x**2, x)),
        "either_or": lambda x: jnp.sum(jnp.where((x > 0) ^ (x[::-1] > 0), x**2, x)),
        "joined_truths": lambda x: jnp.sum(jnp.where(jnp.concatenate([x[:6] > 0, x[:6] < 1]), x**2, x)),
        "any": lambda x: jnp.where(jnp.any(x > 1), 1.0, 2.0) * x[0] ** 2,
        "all": lambda x: jnp.where(jnp.all(x > -2), 1.0, 3.0) * x[1],
        "clamped": lambda x: jnp.sum(lax.clamp(x[::-1] - 1, x**2, x + 1) ** 2),
        "stopped": lambda x: jnp.sum(lax.stop_gradient(x) * x**2) + jnp.sum(jnp.sign(x) * jnp.floor(x) * x),
        "finite": lambda x: jnp.sum(jnp.where(jnp.isfinite(1 / (x - x)), 1.0, 2.0) * x**2 + jnp.nan_to_num(jnp.log(x))),
    },
    "sums": {
        "cumsum": lambda x: jnp.sum(jnp.cumsum(x) ** 2) + jnp.sum(lax.cumsum(x, reverse=True) ** 4),
        "norms": lambda x: jnp.linalg.norm(x) + jnp.linalg.norm(x.reshape(2, 6)) + jnp.linalg.norm(x, jnp.inf),
        "logsumexp": lambda x: jax.nn.logsumexp(x * 3) + jnp.sum(jax.nn.softmax(x) ** 2),
        "prod": lambda x: jnp.prod(x) + jnp.sum(jnp.cumprod(x)),
        "axes": lambda x: jnp.sum(jnp.sum(x.reshape(2, 3, 2) ** 2, axis=(0, 2)) ** 2),
        "no_axes": lambda x: jnp.sum(jnp.sum(x, axis=()) ** 3),
        "einsum": lambda x: jnp.sum(jnp.einsum("ijk,kl->ijl", x.reshape(2, 3, 2), FIXED[:2, :3]) ** 2),
        "batched": lambda x: jnp.sum(jnp.einsum("bij,bjk->bik", x[:8].reshape(2, 2, 2), x[4:].reshape(2, 2, 2)) ** 2),
        "all_axes": lambda x: jnp.einsum("ijk,ijk->", x.reshape(2, 3, 2), x[::-1].reshape(2, 3, 2)) ** 2,
        "sparse": lambda x: jnp.sum((np.eye(3) @ x.reshape(3, 4) @ np.eye(4)) ** 3),
        "pairs": _pairs,
        "convolution": lambda x: jnp.sum(jnp.convolve(x, np.array([1.0, 2.0, -1.0])) ** 3),
        "none": lambda x: jnp.sum(x[:0]) + jnp.prod(x[:0]) * x[0] ** 2 + jnp.sum(jnp.concatenate([x[:0], x]) ** 3),
    },
    "functions": {
        "powers": lambda x: jnp.sum(x**-3) + jnp.sum(x**7) + jnp.sum(x**0) + jnp.sum((1 + x**2) ** x),
        "real_powers": lambda x: jnp.sum(jnp.abs(x) ** 1.7 + jnp.power(jnp.abs(x) + 1, np.arange(12))),
        "circular": lambda x: jnp.sum(jnp.sin(x) * jnp.cos(2 * x) + jnp.tan(x * 0.1) + jnp.arctan2(x, 1 + x**2)),
        "hyperbolic": lambda x: jnp.sum(jnp.sinh(x) + jnp.arcsinh(x) + jnp.arccosh(1.5 + x**2) + jnp.cbrt(x)),
        "error": lambda x: jnp.sum(jax.scipy.special.erf(x) + jnp.exp2(x) + jnp.expm1(x) + jnp.log1p(x**2)),
        "roots": lambda x: jnp.sum(lax.rsqrt(1 + x**2) + jnp.hypot(x, 1.0) + jnp.square(x) + jnp.reciprocal(9 + x)),
        "custom_backward": lambda x: jnp.sum(tripled_backwards(x)),
        "custom_derivative": lambda x: jnp.sum(odd_derivative(x)),
        "checkpoint": lambda x: jnp.sum(jax.checkpoint(lambda y: jnp.sin(y) ** 2 * jnp.exp(y))(x)),
        "called_twice": lambda x: jnp.sum(doubled_sine(x) + doubled_sine(doubled_sine(x))),
        "second_derivative": lambda x: jnp.trace(jax.hessian(lambda y: jnp.sum(y**4) + jnp.prod(y))(x[:3])),
        "constants": lambda x: jnp.sum(x * jnp.cumsum(jnp.arange(12.0))) + x[0] * True + jnp.asarray(3) * x[1],
        "vmapped": lambda x: jnp.sum(jax.vmap(lambda r: jnp.tanh(r @ FIXED[:4, :4] @ r))(x.reshape(3, 4))),
        "broadcast": lambda x: jnp.sum((x[:5, None] - x[None, 5:]) ** 4),
    },
}  # fmt: skip


def _some(choices, *quick):
    """All of `choices`; those that are not quick are left out where time is short."""
    return [pytest.param(c, marks=() if c in quick else pytest.mark.slow) for c in choices]


def agrees(function, size, scale=1.0, rows=9, digits=2e-13):
    """The native field against JAX's, with the same missing numbers in the same places."""
    states = np.random.default_rng(size).normal(size=(rows, size)) * scale
    found, expected = native_field(function, size)(states), jax_field(function, states)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    largest = np.nanmax(np.abs(expected), axis=1, keepdims=True) + 1e-300
    np.testing.assert_allclose(np.nan_to_num(found / largest), np.nan_to_num(expected / largest), rtol=0, atol=digits)


@pytest.mark.parametrize("group", _some(LOSSES, "choices"))
def test_gradients_of_landscapes_are_jax_s(group):
    """All losses of a group in one field: rows are scaled by how large each gradient is, so that none hides."""
    losses = list(LOSSES[group].values())

    def field(x):
        gradients = [jax.grad(loss)(x) for loss in losses]
        scaled = [g / (1e-3 + jnp.max(jnp.abs(g))) * np.cos(1.0 + i) for i, g in enumerate(gradients)]
        return sum(scaled)

    agrees(field, 12, digits=1e-12)


def large_losses(x):
    """Operations on arrays that live in memory: more than SMALL elements."""
    square = x.reshape(15, 20)
    deferred, wide = jnp.tanh(x) * x, jnp.broadcast_to(x[:20, None], (20, 20))
    return (
        jnp.sum(jnp.exp(-(x**2)) * x + jnp.log1p(x**2))
        + jnp.sum(deferred * deferred + jnp.sin(deferred))
        + jax.nn.logsumexp(x * 3)
        + jnp.sum(jnp.sum(x.reshape(6, 10, 5) ** 2, axis=(0, 2)) ** 2)
        + jnp.sum(jnp.max(x.reshape(10, 30), 1) ** 2) + jnp.min(x) ** 3
        + jnp.sum(square.T.reshape(15, 20)[2:9, ::3] ** 3)
        + jnp.sum((wide.reshape(400) * wide.T.reshape(400) - 1) ** 4)
        + jnp.sum(x[::-1] * x**2) + jnp.sum(jnp.roll(x, 1) * x**2) + jnp.sum((x[1:] - x[:-1] ** 2) ** 2)
        + jnp.sum(jnp.where(jnp.concatenate([x[:150] > 0, x[150:] < 1]), x**2, x))
        + jnp.sum(jnp.concatenate([x[:0], x, x[:0]]) ** 3)
        + jnp.dot(x[:150], x[150:]) ** 2
        + jnp.sum(jax.nn.softmax(square @ square.T / 20, -1) @ square * FIXED[0, 0])
        + jnp.prod(1 + 0.01 * x) + jnp.where(jnp.any(x > 2), 1.0, 2.0) * x[0]
        + jnp.sum(jnp.stack([square, square**2], 1)[:, 1] ** 2)
        + jnp.sum(jnp.where(jnp.pad(x[:200] > 0, (50, 50)), x**2, x))
        + jnp.sum(((square - square.mean(-1, keepdims=True)) / jnp.sqrt(square.var(-1, keepdims=True) + 1e-5)) ** 3)
    )  # fmt: skip


@pytest.mark.slow
def test_gradients_of_large_landscapes_are_jax_s():
    agrees(jax.grad(large_losses), 300, scale=0.5)


@pytest.mark.parametrize(
    ("rows", "inner", "columns"),
    [(4, 4, 4), (1, SMALL + 1, 1), (9, 8, 8), (2 * TILE + 1, 5, 3 * TILE + 3), (13, 13, 3), (SMALL + 1, 1, 3),
     (3, UNROLLED, 1)],
)  # fmt: skip
def test_products_of_all_sizes_are_jax_s(rows, inner, columns):
    def field(x):
        left, right = x[: rows * inner].reshape(rows, inner), x[rows * inner :].reshape(inner, columns)
        return ravel_pytree(jax.grad(lambda m: jnp.sum(FIXED[0, 0] * (m[0] @ m[1]) ** 2))((left, right)))[0]

    agrees(field, (rows + columns) * inner)


def test_gathers_beyond_the_end_are_filled_as_jax_fills_them():
    places = jnp.array([0, 7])

    def field(x):
        return jnp.concatenate(
            [x.at[places].get(mode="fill"), x.at[places].get(mode="fill", fill_value=3.5), x[:2] * 2]
        )

    states = np.arange(12.0).reshape(2, 6)
    expected = np.stack([[s[0], np.nan, s[0], 3.5, 2 * s[0], 2 * s[1]] for s in states])
    np.testing.assert_array_equal(native_field(field, 6)(states), jax_field(field, states))
    np.testing.assert_array_equal(native_field(lambda x: field(x)[:6], 6)(states)[:, [0, 2, 4]], expected[:, [0, 2, 4]])


def test_a_norm_at_zero_has_the_derivative_that_jax_gives():
    field = jax.grad(lambda y: jnp.linalg.norm(y) + jnp.sum(y))
    np.testing.assert_array_equal(native_field(field, 2)(np.zeros((1, 2))), np.full((1, 2), np.nan))
    assert np.isnan(jax_field(field, np.zeros((1, 2)))).all()


REFUSED = {
    "float32": lambda x: jnp.sin(x.astype(jnp.float32)).astype(jnp.float64),
    "float16": lambda x: x.astype(jnp.float16).astype(jnp.float64),
    "int64": lambda x: x.astype(int) * x,
    "sort": jnp.sort,
    "argmax": lambda x: x * jnp.argmax(x),
    "while": lambda x: lax.while_loop(lambda s: jnp.sum(s) < 9, lambda s: s * 2 + 1, jnp.abs(x)),
    "scan": lambda x: lax.fori_loop(0, 3, lambda i, y: y * 1.1, x),
    "reduce": lambda x: x * lax.reduce(x, np.float64(0.0), lambda a, b: a * b + a + b, (0,)),
    "round": jnp.round,
    "nextafter": lambda x: jnp.nextafter(x, 0.0),
    "reduce_precision": lambda x: lax.reduce_precision(x, 8, 7),
    "random": lambda x: x * jax.random.normal(jax.random.key(0), (3,)),
    "lu": lambda x: jnp.linalg.solve(jnp.diag(2 + x**2), x),
}


@pytest.mark.parametrize("word", REFUSED)
def test_what_has_no_instructions_is_refused_by_name(word):
    with pytest.raises(Unsupported, match=word):
        native_field(REFUSED[word], 3)


def test_places_that_depend_on_the_state_are_refused():
    with pytest.raises(Unsupported):
        native_field(lambda x: x * x[(x[0] > 0).astype(int)], 3)


def test_large_flows_are_refused():
    with pytest.raises(Unsupported, match="parameters"):
        native_field(lambda x: x, 5000)


def _flow(network, **options):
    rng = np.random.default_rng(3)
    problem = gf.Regression(network, rng.normal(size=(network.shapes[0][1], 7)),
                            rng.normal(size=(network.shapes[-1][0], 7)), **options)  # fmt: skip
    return gf.GradientFlow(problem)


FLOWS = {
    "linear": lambda: _flow(gf.networks.Linear((3, 4, 4, 2))),
    "balance": lambda: _flow(gf.networks.Linear((3, 2, 3)), regularizer=gf.regularizers.Balance(0.7)),
    "decay": lambda: _flow(gf.networks.Linear((3, 2, 3)), regularizer=gf.regularizers.WeightDecay(0.1)),
    "mean": lambda: _flow(gf.networks.Linear((2, 2)), normalization="mean"),
    "reduced": lambda: gf.ReducedFlow(_flow(gf.networks.Linear((3, 4, 2))).problem),
    "residual": lambda: _flow(gf.networks.Residual(3, 2, 2)),
    **{name: (lambda name=name: _flow(gf.networks.Shallow((3, 4, 2), name))) for name in NAMES},
}


@pytest.mark.parametrize("name", _some(FLOWS, "linear", "balance", "reduced", "tanh", "relu"))
def test_every_network_and_activation_is_written_natively(name):
    flow = FLOWS[name]()
    shapes = [np.zeros(shape) for shape in flow.problem.network.shapes]
    flat, unravel = ravel_pytree(tuple(shapes))
    agrees(lambda x: ravel_pytree(flow.vector_field(unravel(x.astype(float))))[0], flat.size)


UNARY = (jnp.tanh, jnp.exp, jnp.sin, jnp.square, lambda a: -a, lambda a: 1 / (2 + a * a), lambda a: jnp.maximum(a, 0.1))
BINARY = (
    jnp.add,
    jnp.subtract,
    jnp.multiply,
    jnp.minimum,
    lambda a, b: jnp.where(a > b, a, 2 * b),
    lambda a, b: a * b[::-1],
)


def _evaluated(tree, x):
    if isinstance(tree, int):
        return [x, x * 0.5, jnp.cumsum(x) * 0.1, jnp.sum(x) * jnp.ones(4), x[np.array([3, 0, 0, 1])]][tree]
    if len(tree) == 2:
        return UNARY[tree[0]](jnp.clip(_evaluated(tree[1], x), -3, 3))
    return BINARY[tree[0]](_evaluated(tree[1], x), _evaluated(tree[2], x))


TREES = st.recursive(
    st.integers(0, 4),
    lambda inner: st.tuples(st.integers(0, len(UNARY) - 1), inner)
    | st.tuples(st.integers(0, len(BINARY) - 1), inner, inner),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=5)
@given(st.lists(TREES, min_size=3, max_size=5))
def test_gradients_of_random_expressions_are_jax_s(trees):
    loss = lambda x: sum(jnp.sum(_evaluated(tree, x)) for tree in trees)  # noqa: E731
    agrees(jax.grad(loss), 4, rows=8, digits=1e-12)
