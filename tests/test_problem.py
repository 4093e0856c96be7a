"""Problems: losses, hand-written gradients and Hessians against automatic differentiation, sufficient statistics."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import gradflow as gf
from gradflow import checks
from gradflow import problem as problem_module

WIDTHS = [(3, 2), (3, 4, 2), (4, 2, 3, 2), (2, 3, 1, 3, 2), (3, 2, 2, 2, 2, 3)]


def _random(widths, seed=0, samples=7, rank=None):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((widths[0], samples)), rng.standard_normal((widths[-1], samples))
    if rank is not None:
        X = rng.standard_normal((widths[0], rank)) @ rng.standard_normal((rank, samples))
    weights = tuple(0.7 * rng.standard_normal((b, a)) for a, b in itertools.pairwise(widths))
    return X, Y, weights


def _plain_loss(weights, X, Y):
    outputs = X
    for weight in weights:
        outputs = weight @ outputs
    return 0.5 * jnp.sum((outputs - Y) ** 2)


@jax.jit
def _automatic(weights, X, Y):
    """Loss, gradient and Hessian by automatic differentiation, compiled once per shapes."""
    flat, unravel = ravel_pytree(weights)
    loss, gradient = jax.value_and_grad(_plain_loss)(weights, X, Y)
    return loss, gradient, jax.hessian(lambda vector: _plain_loss(unravel(vector), X, Y))(flat)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("rank", [None, 1])
def test_hand_written_derivatives_equal_automatic_ones(widths, rank):
    X, Y, weights = _random(widths, rank=rank)
    problem = gf.Regression(gf.networks.Linear(widths), X, Y)
    with jax.enable_x64(True):
        loss, gradient, hessian = jax.tree.map(np.asarray, _automatic(weights, X, Y))
    np.testing.assert_allclose(problem.loss(weights), loss, rtol=1e-12)
    for ours, theirs in zip(problem.gradient(weights), gradient, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12 * np.abs(theirs).max())
    np.testing.assert_allclose(problem.hessian(weights), hessian, atol=1e-12 * np.abs(hessian).max())


def test_hessian_product_equals_the_hessian_times_the_direction():
    X, Y, weights = _random((3, 4, 2))
    problem = gf.Regression(gf.networks.Linear((3, 4, 2)), X, Y, regularizer=gf.regularizers.WeightDecay(0.3))
    direction = tuple(np.ones_like(weight) for weight in weights)
    flat = np.concatenate([np.ravel(layer) for layer in problem.hessian_product(weights, direction)])
    expected = problem.hessian(weights) @ np.ones(sum(weight.size for weight in weights))
    np.testing.assert_allclose(flat, expected, rtol=1e-12)


def test_a_loss_that_is_not_squared_goes_through_automatic_differentiation():
    X, Y, weights = _random((3, 4, 2))

    def huber(outputs, targets):
        residual = jnp.abs(outputs - targets)
        return jnp.sum(jnp.where(residual < 1, 0.5 * residual**2, residual - 0.5))

    problem = gf.Regression(gf.networks.Linear((3, 4, 2)), X, Y, loss=huber, normalization="mean")
    with jax.enable_x64(True):
        layers = tuple(jnp.asarray(w) for w in weights)
        gradient = jax.grad(lambda w: huber(w[1] @ w[0] @ X, Y) / 7)(layers)
    assert problem.statistics is None
    for ours, theirs in zip(problem.gradient(weights), gradient, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    np.testing.assert_allclose(problem.hessian(weights), problem.hessian(weights).T, atol=1e-12)
    with pytest.raises(checks.InputError, match="squared error"):
        _ = problem.spectrum


def test_weight_decay_enters_loss_gradient_and_hessian():
    X, Y, weights = _random((3, 4, 2))
    plain = gf.Regression(gf.networks.Linear((3, 4, 2)), X, Y)
    decayed = gf.Regression(gf.networks.Linear((3, 4, 2)), X, Y, regularizer=gf.regularizers.WeightDecay(0.25))
    squares = sum(np.sum(weight**2) for weight in weights)
    np.testing.assert_allclose(decayed.loss(weights) - plain.loss(weights), 0.125 * squares, rtol=1e-12)
    for more, less, weight in zip(decayed.gradient(weights), plain.gradient(weights), weights, strict=True):
        np.testing.assert_allclose(more - less, 0.25 * weight, atol=1e-13)
    np.testing.assert_allclose(decayed.hessian(weights) - plain.hessian(weights), 0.25 * np.eye(20), atol=1e-12)


def test_mean_normalization_divides_the_loss_by_the_samples():
    X, Y, weights = _random((3, 4, 2), samples=11)
    total = gf.Regression(gf.networks.Linear((3, 4, 2)), X, Y)
    mean = gf.Regression(gf.networks.Linear((3, 4, 2)), X, Y, normalization="mean")
    np.testing.assert_allclose(mean.loss(weights), total.loss(weights) / 11, rtol=1e-13)
    np.testing.assert_allclose(mean.irreducible, total.irreducible / 11, rtol=1e-13)


def test_the_flow_is_the_same_for_200_and_200_000_samples_with_the_same_statistics():
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((4, 200)), rng.standard_normal((2, 200))
    weights = tuple(0.4 * rng.standard_normal(shape) for shape in [(3, 4), (2, 3)])
    network = gf.networks.Linear((4, 3, 2))
    few = gf.Regression(network, X, Y, normalization="mean")
    many = gf.Regression(network, np.tile(X, 1000), np.tile(Y, 1000), normalization="mean")
    assert many.statistics.root.shape == few.statistics.root.shape
    ends = [gf.integrate(gf.GradientFlow(p), weights, t1=20.0, rtol=1e-10, atol=1e-12).endpoint for p in (few, many)]
    for one, other in zip(*ends, strict=True):
        # The statistics differ by rounding of a sum of 200 000 terms.
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_nothing_cancels_near_a_minimum():
    """The normal equations would leave 1e-16 ||Y||^2 = 1e-8 here; the statistics leave the square of the residual."""
    rng = np.random.default_rng(1)
    X, W = 1e4 * rng.standard_normal((3, 9)), rng.standard_normal((2, 3))
    problem = gf.Regression(gf.networks.Linear((3, 2)), X, W @ X)
    assert problem.loss((W,)) < 1e-20
    np.testing.assert_allclose(problem.loss((W + 1e-9,)), 0.5 * np.sum((np.full((2, 3), 1e-9) @ X) ** 2), rtol=1e-3)


@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        (np.ones((3, 5)), np.ones((2, 4)), r"as many samples \(columns\) as `X` of shape \(3, 5\).*\(2, 4\)"),
        (np.ones((4, 5)), np.ones((2, 5)), r"widths \(4, 2\) to fit X \(4, 5\) and Y \(2, 5\)"),
        (np.ones((3, 0)), np.ones((2, 0)), "no samples"),
        (np.full((3, 5), np.nan), np.ones((2, 5)), "`X` must be finite, but got nan at row 0, column 0"),
        (np.ones((3, 5)), np.full((2, 5), np.inf), "`Y` must be finite"),
        (np.array([["a"] * 5] * 3), np.ones((2, 5)), "must hold numbers"),
        (1e150 * np.ones((3, 5)), np.ones((2, 5)), "between 1e-60 and 1e60"),
        (np.ones(5), np.ones((2, 5)), "two axes"),
        (np.zeros((3, 5)), np.ones((2, 5)), "nonzero entry"),
    ],
)
def test_bad_data_are_refused(X, Y, message):
    with pytest.raises(checks.InputError, match=message):
        gf.Regression(gf.networks.Linear((3, 2)), X, Y)


def test_a_vector_of_targets_is_one_row():
    X, Y, _ = _random((3, 1))
    column = gf.Regression(gf.networks.Linear((3, 1)), X, Y)
    vector = gf.Regression(gf.networks.Linear((3, 1)), X, Y[0])
    assert vector.loss((np.ones((1, 3)),)) == column.loss((np.ones((1, 3)),))


def test_single_precision_data_are_promoted_and_said():
    X, Y, _ = _random((3, 2))
    with pytest.warns(checks.DataWarning, match="`X` is float32"):
        problem = gf.Regression(gf.networks.Linear((3, 2)), X.astype(np.float32), Y)
    assert problem.X.dtype == np.float64


@pytest.mark.parametrize(
    ("target", "named"),
    [(np.diag([2.0, 0.0]), "Assumption 2"), (np.diag([2.0, 2.0]), "s_1 = s_2.*Assumption 3")],
)
def test_hypotheses_that_fail_are_named_with_their_statements(target, named):
    with pytest.warns(checks.HypothesisWarning, match=named):
        gf.Regression(gf.networks.Linear((2, 2, 2)), np.eye(2), target)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ((np.ones((2, 2)),), r"have the network's shapes \(\(2, 3\),\), but got \(\(2, 2\),\)"),
        (np.ones((2, 3)), "be a tuple"),
        ((np.full((2, 3), np.nan),), "be finite"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(params, message):
    X, Y, _ = _random((3, 2))
    with pytest.raises(checks.InputError, match=message):
        gf.Regression(gf.networks.Linear((3, 2)), X, Y).loss(params)


@pytest.mark.parametrize(
    ("fun", "message"),
    [
        (lambda w: w, r"return a scalar, but got an array of shape \(2,\)"),
        (lambda w: jnp.sum(w)[None], r"shape \(1,\)"),
        (lambda _: 1, "real floating"),
    ],
)
def test_a_landscape_must_return_a_real_scalar(fun, message):
    with pytest.raises(checks.InputError, match=message):
        gf.Landscape(fun).loss(np.ones(2))


def test_warnings_point_at_the_line_of_the_caller():
    X = np.ones((2, 3), np.float32) * np.arange(1.0, 4.0, dtype=np.float32)
    with pytest.warns((checks.DataWarning, checks.HypothesisWarning)) as caught:
        gf.Regression(gf.networks.Linear((2, 2)), X, X)
    assert {type(one.message) for one in caught} >= {checks.DataWarning, checks.HypothesisWarning}
    assert {one.filename for one in caught} == {__file__}


def test_a_landscape_refuses_parameters_that_lack_an_entry_it_reads():
    """JAX alone would read the last entry instead, and the flow of another function would be found."""
    landscape = gf.Landscape(lambda p: (p[0] ** 2 - 1) ** 2 + p[1] ** 2)
    message = r"`params` must have every entry that the landscape reads, but got shape \(1,\): index 1 is out of bounds"
    for flow_of_one in (
        lambda: landscape.loss(np.ones(1)),
        lambda: gf.integrate(gf.GradientFlow(landscape), np.ones(1)),
    ):
        with pytest.raises(checks.InputError, match=message):
            flow_of_one()
    assert float(landscape.loss(np.ones(2))) == 1.0
    pair = gf.Landscape(lambda p: p["a"][2] * p["b"])
    with pytest.raises(checks.InputError, match=r"got shape \(\(2,\), \(\)\): index 2"):
        pair.loss({"a": np.ones(2), "b": np.array(3.0)})


@pytest.mark.parametrize(
    "fun",
    [
        lambda p: p.at[0].set(0.0).sum(),  # NumPy's arrays have no `at`
        lambda p: jnp.where(p[0] > 0, p[0] / (p[1] - 1.0), p[1]),  # divides ones by zero
        type("Unhashable", (), {"__call__": lambda self, p: jnp.sum(p), "__eq__": lambda self, other: False})(),
    ],
    ids=["at", "division", "no hash"],
)
def test_a_landscape_that_numpy_cannot_follow_is_one_nevertheless(fun):
    assert np.isfinite(gf.Landscape(fun).loss(np.array([2.0, 3.0])))


def test_a_landscape_of_a_pytree_has_a_gradient_like_its_parameters():
    landscape = gf.Landscape(lambda p: jnp.sum(p["a"] ** 2) * p["b"])
    params = {"a": np.array([1.0, 2.0]), "b": np.array(3.0)}
    gradient = landscape.gradient(params)
    np.testing.assert_allclose(gradient["a"], [6.0, 12.0])
    np.testing.assert_allclose(gradient["b"], 5.0)
    np.testing.assert_allclose(landscape.hessian(params), [[6, 0, 2], [0, 6, 4], [2, 4, 0]])


def test_a_dense_hessian_out_of_reach_is_refused_with_its_memory():
    with pytest.raises(checks.InputError, match=r"10000 \(0\.8 GB\).*extreme_eigenvalues"):
        problem_module.check_dense(10_000)


def test_results_are_double_precision_numpy_while_jax_is_single():
    assert not jax.config.jax_enable_x64
    X, Y, weights = _random((3, 4, 2))
    problem = gf.Regression(gf.networks.Linear((3, 4, 2)), X, Y)
    for value in (problem.loss(weights), problem.gradient(weights)[0], problem.hessian(weights), problem.init(0)[0]):
        assert isinstance(value, np.ndarray | np.float64)
        assert value.dtype == np.float64
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_minimiser_norm_is_that_of_a_balanced_factorisation(depth):
    rng = np.random.default_rng(depth)
    X, Y = rng.normal(size=(3, 20)), rng.normal(size=(2, 20))
    problem = gf.Regression(gf.networks.Linear((3,) * depth + (2,)), X, Y)
    left, values, right = np.linalg.svd(Y @ np.linalg.pinv(X))
    root = np.diag(np.append(values, 0.0) ** (1 / depth))
    factors = [root] * depth
    factors[0], factors[-1] = factors[0] @ right, np.pad(left, ((0, 0), (0, 1))) @ factors[-1] if depth > 1 else None
    if depth == 1:
        factors = [Y @ np.linalg.pinv(X)]
    assert np.allclose([np.linalg.norm(part) for part in problem.gradient(tuple(factors))], 0.0, atol=1e-10)
    assert problem.minimiser_norm == pytest.approx(np.sqrt(sum(np.sum(factor**2) for factor in factors)), rel=1e-12)


def test_what_only_rounding_sees_of_the_targets_is_not_there():
    X = np.array([[1.0, 2.0, 3.0, 4.0], [0.3, -0.1, 0.7, 0.2]])
    outside = np.linalg.svd(X)[2][2:]
    network = gf.networks.Linear((2, 2, 2))
    with pytest.warns(checks.HypothesisWarning):
        nothing = gf.Regression(network, X, outside)
    with pytest.warns(checks.HypothesisWarning):
        faint = gf.Regression(network, X, outside + 1e-8 * np.array([X[0], 2 * X[0]]))
    assert nothing.spectrum.num_positive == 0
    assert nothing.irreducible == pytest.approx(1.0, rel=1e-14)
    assert faint.spectrum.num_positive == 1
