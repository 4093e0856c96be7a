"""Claims about the initial laws: closed forms, moments, determinism, and what they refuse."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from gradflow import checks, initial_laws
from gradflow.initial_laws import LAWS, law

# Few shapes, since JAX compiles each operation for each shape: that is what these tests spend their time on.
SHAPES = ((6, 8), (4, 6), (3, 4))
BOTTLENECK = ((2, 5), (7, 2), (4, 7))
WIDE = ((7, 2), (4, 7), (4, 4))
SQUARE = ((4, 4), (4, 4), (4, 4))
SMALL = ((3, 3), (3, 3))
LARGE = ((200, 300),)


def product(params):
    end_to_end = np.eye(params[0].shape[1])
    for weight in params:
        end_to_end = np.asarray(weight) @ end_to_end
    return end_to_end


def imbalances(params):
    return [np.asarray(b).T @ np.asarray(b) - np.asarray(a) @ np.asarray(a).T for a, b in itertools.pairwise(params)]


@pytest.fixture(params=[False, True], ids=["x64_off", "x64_on"])
def x64(request):
    with jax.enable_x64(request.param):
        yield request.param


# ---- conformance: every law


@pytest.mark.parametrize("name", LAWS)
def test_every_law_gives_finite_double_matrices_of_the_shapes(name, x64):
    params = law(name, 0.7).sample(0, SHAPES)
    assert isinstance(params, tuple)
    assert tuple(weight.shape for weight in params) == SHAPES
    assert all(weight.dtype == np.float64 and np.isfinite(weight).all() for weight in params)


@pytest.mark.parametrize("name", LAWS)
def test_every_law_is_deterministic_per_key_and_the_same_with_x64_on_and_off(name):
    draws = []
    for enabled in (False, True):
        with jax.enable_x64(enabled):
            draws += [law(name, 0.7).sample(3, SHAPES), law(name, 0.7).sample(jax.random.key(3), SHAPES)]
    for draw in draws[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(draws[0], draw, strict=True))


@pytest.mark.parametrize("name", [name for name in LAWS if name != "zero_asymmetric"])
def test_random_laws_differ_between_keys(name):
    first, second = law(name, 0.7).sample(0, SHAPES), law(name, 0.7).sample(1, SHAPES)
    assert not any(np.allclose(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", LAWS)
def test_every_law_can_be_mapped_over_keys(name):
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(5), 3)
        mapped = jax.vmap(lambda key: law(name, 0.7).sample(key, SMALL))(keys)
        for index in range(3):
            single = law(name, 0.7).sample(keys[index], SMALL)
            # batched and single LAPACK and GEMM calls may round differently
            assert all(np.allclose(a[index], b, rtol=0, atol=1e-13) for a, b in zip(mapped, single, strict=True))


@pytest.mark.parametrize("name", LAWS)
def test_every_law_can_be_mapped_in_single_precision_when_the_caller_traces_so(name):
    with jax.enable_x64(False):
        keys = jax.random.split(jax.random.key(5), 2)
        mapped = jax.vmap(lambda key: law(name, 0.7).sample(key, SMALL))(keys)
    assert all(weight.dtype == np.float32 and np.isfinite(weight).all() for weight in mapped)


@pytest.mark.parametrize("name", LAWS)
def test_every_law_is_linear_in_its_scale(name):
    single, double = law(name, 0.35).sample(2, SMALL), law(name, 0.7).sample(2, SMALL)
    assert all(np.allclose(2.0 * a, b, rtol=1e-14, atol=0) for a, b in zip(single, double, strict=True))


@pytest.mark.parametrize("name", LAWS)
def test_every_law_is_frozen(name):
    chosen = law(name, 0.7)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(chosen, dataclasses.fields(chosen)[0].name, 2.0)


def test_every_law_of_the_module_is_registered():
    defined = {
        value
        for value in vars(initial_laws).values()
        if isinstance(value, type) and issubclass(value, initial_laws.AbstractLaw)
    }
    assert defined - {initial_laws.AbstractLaw} == set(LAWS.values())


# ---- moments: the sample mean square of n normal entries has relative standard deviation sqrt(2/n), the mean has
# standard deviation sigma/sqrt(n); six of either are exceeded with probability 2e-9


@pytest.mark.parametrize(
    ("chosen", "variance"),
    [
        (initial_laws.Gaussian(0.3), lambda _rows, _columns: 0.09),
        (initial_laws.FanIn(0.5), lambda _rows, columns: 0.25 / columns),
        (initial_laws.Glorot(2.0), lambda rows, columns: 8.0 / (rows + columns)),
    ],
)
def test_entries_have_mean_zero_and_the_stated_variance(chosen, variance):
    for weight, shape in zip(chosen.sample(0, LARGE), LARGE, strict=True):
        sigma2, num = variance(*shape), weight.size
        assert abs(np.mean(weight)) <= 6 * np.sqrt(sigma2 / num)
        assert abs(np.mean(weight**2) / sigma2 - 1) <= 6 * np.sqrt(2 / num)


def test_fan_in_at_gain_one_keeps_the_mean_square_of_a_signal():
    inputs = np.ones(300) / np.sqrt(300)
    # ||W_1 x||^2 / (d_1 / d_0) is chi-squared with 200 degrees of freedom, divided by 200
    (weight,) = initial_laws.FanIn().sample(0, ((200, 300),))
    assert abs(np.sum((weight @ inputs) ** 2) * 300 / 200 - 1) <= 6 * np.sqrt(2 / 200)


def test_the_gaussian_product_has_the_stated_variance():
    keys = range(400)
    squares = [product(initial_laws.Gaussian(0.5).sample(key, SMALL)) ** 2 for key in keys]
    means = np.mean(squares, axis=(1, 2))
    # the runs are independent: their own scatter gives the standard error; five of it
    assert abs(np.mean(means) - 0.5**4 * 3) <= 5 * np.std(means) / np.sqrt(len(keys))


def test_networks_that_share_first_layers_share_first_draws():
    short, long = (initial_laws.Gaussian(1.0).sample(0, shapes) for shapes in (SHAPES[:2], SHAPES))
    assert all(np.array_equal(a, b) for a, b in zip(short, long, strict=False))


def test_layers_of_equal_shape_are_drawn_independently():
    pairs = [initial_laws.Gaussian(1.0).sample(seed, SMALL) for seed in range(100)]
    first, second = (np.stack([pair[layer] for pair in pairs]).ravel() for layer in (0, 1))
    # the correlation of n independent pairs has standard deviation 1/sqrt(n), n = 900
    assert abs(np.corrcoef(first, second)[0, 1]) <= 6 / 30


# ---- balanced


@pytest.mark.parametrize("shapes", [BOTTLENECK, WIDE, SQUARE, ((1, 1), (1, 1))])
@pytest.mark.parametrize("scale", [1e-3, 0.5, 30.0])
def test_balanced_starts_are_balanced_to_rounding(shapes, scale):
    params = initial_laws.Balanced(scale).sample(1, shapes)
    squared_norm = np.linalg.norm(params[0], 2) ** 2
    assert max(np.abs(gap).max() for gap in imbalances(params)) <= 1e-14 * squared_norm


@pytest.mark.parametrize("shapes", [BOTTLENECK, WIDE, SQUARE, BOTTLENECK[:1]])
def test_a_balanced_start_computes_the_map_of_the_gaussian_start_of_the_same_key(shapes):
    gaussian = product(initial_laws.Gaussian(0.6).sample(4, shapes))
    balanced = product(initial_laws.Balanced(0.6).sample(4, shapes))
    # L matrix products and an SVD, each backward stable
    assert np.abs(balanced - gaussian).max() <= 1e-13 * np.linalg.norm(gaussian, 2)


def test_every_balanced_layer_has_the_rank_of_the_narrowest_one():
    for weight in initial_laws.Balanced(0.6).sample(0, BOTTLENECK):
        assert np.linalg.matrix_rank(weight) == 2


def test_balanced_layers_share_the_roots_of_the_singular_values_of_the_product():
    params = initial_laws.Balanced(0.6).sample(0, WIDE)
    expected = np.linalg.svd(product(params), compute_uv=False)[:2] ** (1 / 3)
    for weight in params:
        assert np.allclose(np.linalg.svd(weight, compute_uv=False)[:2], expected, rtol=1e-12)


def test_no_hidden_unit_of_a_balanced_start_is_dead():
    params = initial_laws.Balanced(0.6).sample(0, WIDE)
    for incoming, outgoing in itertools.pairwise(params):
        assert (np.abs(incoming).max(axis=1) > 1e-6).all()
        assert (np.abs(outgoing).max(axis=0) > 1e-6).all()


def test_a_deep_balanced_start_neither_overflows_nor_vanishes():
    params = initial_laws.Balanced(1.0).sample(0, ((4, 4),) * 400)
    norms = [np.linalg.norm(weight, 2) for weight in params]
    # the top Lyapunov exponent of a 4 x 4 normal matrix is (log 2 + psi(2))/2 = 0.558, exp of which is 1.747
    assert abs(np.mean(norms) - 1.747) < 0.1
    assert np.ptp(norms) < 1e-12


def test_a_scalar_balanced_start_has_the_wrong_sign_half_the_time():
    signs = [np.sign(product(initial_laws.Balanced(1.0).sample(seed, ((1, 1), (1, 1)))))[0, 0] for seed in range(100)]
    assert abs(np.mean(signs)) <= 0.5  # five standard deviations of a fair coin's mean, 1/sqrt(100)


# ---- orthogonal


@pytest.mark.parametrize("shapes", [BOTTLENECK, SQUARE])
def test_orthogonal_layers_are_semi_orthogonal(shapes):
    for weight in initial_laws.Orthogonal(1.5).sample(0, shapes):
        small = weight.T @ weight if weight.shape[0] >= weight.shape[1] else weight @ weight.T
        assert np.allclose(small, 2.25 * np.eye(len(small)), rtol=0, atol=1e-14)


def test_square_orthogonal_starts_are_balanced():
    assert max(np.abs(gap).max() for gap in imbalances(initial_laws.Orthogonal(1.0).sample(0, SQUARE))) <= 1e-14


def test_orthogonal_starts_are_balanced_exactly_at_bottlenecks():
    gaps = imbalances(initial_laws.Orthogonal(1.0).sample(0, BOTTLENECK))
    assert np.abs(gaps[0]).max() <= 1e-14
    assert np.abs(gaps[1]).max() > 1e-3


def test_orthogonal_entries_have_the_haar_moments():
    draws = np.stack([initial_laws.Orthogonal().sample(seed, SMALL)[0] for seed in range(500)])
    # plain QR without the sign correction always gives one sign to the (0, 0) entry, so its mean would be -1/2
    # entries are coordinates of a uniform point on the sphere: mean 0, variance 1/3, E q^4 = 1/5, so Var q^2 = 4/45
    assert np.abs(draws.mean(axis=0)).max() <= 5 * np.sqrt(1 / 3 / 500)
    assert np.abs((draws**2).mean(axis=0) - 1 / 3).max() <= 5 * np.sqrt(4 / 45 / 500)


def test_orthogonal_draws_have_either_determinant():
    signs = {round(float(np.linalg.det(initial_laws.Orthogonal().sample(seed, SMALL)[0]))) for seed in range(20)}
    assert signs == {-1, 1}


# ---- zero-asymmetric


def test_zero_asymmetric_starts_are_padded_identities_and_a_zero_layer():
    first, second, last = initial_laws.ZeroAsymmetric(1.5).sample(0, SHAPES)
    assert np.array_equal(first, 1.5 * np.eye(6, 8))
    assert np.array_equal(second, 1.5 * np.eye(4, 6))
    assert not np.any(last)


def test_zero_asymmetric_invariants_are_zero_but_for_the_last():
    *inner, last = imbalances(initial_laws.ZeroAsymmetric(1.5).sample(0, ((4, 6), (4, 4), (4, 4), (3, 4))))
    assert not any(np.any(gap) for gap in inner)
    assert np.array_equal(last, -2.25 * np.eye(4))


def test_zero_asymmetric_layers_keep_their_singular_values_above_the_gain():
    target = np.random.default_rng(0).normal(size=(3, 4))
    params = [np.asarray(weight) for weight in initial_laws.ZeroAsymmetric(0.8).sample(0, ((4, 4), (4, 4), (3, 4)))]

    def velocity(state):
        first, second, last = state
        error = target - last @ second @ first
        return [second.T @ last.T @ error, last.T @ error @ first.T, error @ first.T @ second.T]

    def shifted(state, slope, step):
        return [weight + step * change for weight, change in zip(state, slope, strict=True)]

    for _ in range(400):  # midpoint rule, step 0.02: local error 1e-6, far below the margin of 1e-3 allowed here
        params = shifted(params, velocity(shifted(params, velocity(params), 0.01)), 0.02)
        assert min(np.linalg.svd(weight, compute_uv=False).min() for weight in params[:-1]) >= 0.8 - 1e-3
    assert np.linalg.norm(target - product(params)) < 1e-3


# ---- what is refused


def refused(match):
    return pytest.raises(checks.InputError, match=match)


def test_an_unknown_law_is_refused_with_the_nearest_name():
    with refused(r"`law` must be a known name, but got 'balansed'\. Perhaps you meant 'balanced'\. Choices: balanced,"):
        law("balansed", 1.0)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize(("value", "words"), [(0.0, "got 0.0. A start at the origin"), (-1.0, "got -1")])
def test_a_scale_that_is_not_positive_is_refused(name, value, words):
    with refused(rf"`(scale|gain)` must be greater than 0, but {words}"):
        law(name, value)


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "be a number"), (float("inf"), "be finite")])
def test_a_scale_that_is_not_finite_is_refused(value, words):
    with refused(f"`scale` must {words}"):
        initial_laws.Gaussian(value)


@pytest.mark.parametrize(
    ("key", "words"),
    [(-1, "be at least 0, but got -1"), (2**63, r"be a seed below 2\*\*63, but got 9223372036854775808")],
)
def test_a_seed_out_of_range_is_refused(key, words):
    with refused(f"`key` must {words}"):
        initial_laws.Gaussian(1.0).sample(key, SHAPES)


def test_many_keys_at_once_are_refused_with_the_remedy():
    with refused(r"`key` must be a single JAX key or an integer seed, but got .*shape \(3,\).*jax\.vmap"):
        initial_laws.Gaussian(1.0).sample(jax.random.split(jax.random.key(0), 3), SHAPES)


def test_a_plain_array_is_no_key():
    with refused("`key` must be a single JAX key"):
        initial_laws.as_key(jax.numpy.ones(2))


def test_old_style_keys_are_accepted_and_mean_the_same_as_their_seed():
    old = initial_laws.Gaussian(1.0).sample(jax.random.PRNGKey(3), SHAPES)
    assert all(np.array_equal(a, b) for a, b in zip(old, initial_laws.Gaussian(1.0).sample(3, SHAPES), strict=True))


def test_large_seeds_differ_from_small_ones_in_either_precision(x64):
    first, second = (initial_laws.Gaussian(1.0).sample(seed, SHAPES) for seed in (1, 1 + 2**32))
    assert not np.allclose(first[0], second[0])


def test_large_seeds_give_keys_of_their_own_outside_the_laws_too(x64):
    large, small = (jax.random.key_data(initial_laws.as_key(seed)) for seed in (2**32, 0))
    assert not np.array_equal(large, small)


def test_balanced_refuses_layers_that_do_not_chain():
    with refused(r"`shapes` must chain for Balanced \(columns of layer 2 = rows of layer 1\), but got \(2, 3\) then"):
        initial_laws.Balanced(1.0).sample(0, ((2, 3), (4, 5)))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ((), "`shapes` must have at least one layer"),
        (((2, 3, 4),), r"`shapes\[0\]` must be a pair"),
        (((2, 3), (0, 2)), r"`shapes\[1\]` must be at least 1, but got 0"),
    ],
)
def test_shapes_that_are_not_those_of_matrices_are_refused(shapes, words):
    with refused(words):
        initial_laws.Gaussian(1.0).sample(0, shapes)
