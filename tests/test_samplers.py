"""Claims about the samplers: bits that depend on (key, number) alone, laws, closed forms, and what is refused."""

import functools
import inspect
import json
import math
import pickle
import re

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gradflow import checks, initial_laws, networks, problem, samplers
from gradflow.flow import GradientFlow
from gradflow.samplers import Ball, Box, FromFunction, Gaussian, Given, Law, Slice, Sobol, Sphere, Stratified, blocks

SHAPES = ((3, 2), (2, 3))
NETWORK = networks.Linear((2, 3, 2))
REGRESSION = problem.Regression(NETWORK, np.eye(2), np.diag([2.0, 1.0]))


def ring(key):
    angle = jax.random.uniform(key, (), maxval=2 * jnp.pi)
    return {"x": jnp.cos(angle), "y": jnp.sin(angle)[None]}


SAMPLERS = {
    "box": Box(-2.0, 3.0, like=2),
    "gaussian": Gaussian(0.5, like=2),
    "ball": Ball(2.0, like=3),
    "sphere": Sphere(2.0, like=3),
    "law_fan_in": Law("fan_in", (SHAPES[0],), 1.0),
    "law_balanced": Law("balanced", NETWORK, 0.5),
    "function": FromFunction(ring),
    "generator": FromFunction(lambda rng: rng.normal(size=2), compiled=False),
    "given": Given(np.arange(128.0).reshape(64, 2)),
    "slice": Slice(0.0, resolution=8, like=2),
    "sobol": Sobol(Box(-2.0, 3.0, like=2), replicates=4),
    "stratified": Stratified(Gaussian(0.5, like=2), (3, 2), replicates=4),
}
RANDOM = [name for name in SAMPLERS if name not in ("given", "slice")]
NUM = 64
WORDS = np.zeros(2, np.uint32), np.arange(16, dtype=np.uint32)


@pytest.fixture(scope="module")
def reference():
    """The first 64 starts of every sampler."""
    return {name: leaves_of(sampler.starts(7, np.arange(NUM))) for name, sampler in SAMPLERS.items()}


def leaves_of(params):
    return jax.tree.leaves(params)


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(leaves_of(first), leaves_of(second), strict=True))


def table(params):
    """Starts as rows of one matrix."""
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves_of(params)], axis=1)


# ---- conformance: every sampler


def test_every_sampler_is_in_the_table():
    exported = [value for value in vars(samplers).values() if inspect.isclass(value)]
    final = {cls for cls in exported if issubclass(cls, samplers.AbstractSampler) and not inspect.isabstract(cls)}
    assert final == {type(sampler) for sampler in SAMPLERS.values()}


@pytest.mark.parametrize("name", SAMPLERS)
def test_starts_are_double_numpy_arrays_with_the_sample_axis_first(name, reference):
    assert all(type(leaf) is np.ndarray and leaf.dtype == np.float64 for leaf in reference[name])
    assert all(leaf.shape[0] == NUM and np.isfinite(leaf).all() for leaf in reference[name])
    none = leaves_of(SAMPLERS[name].starts(7, []))
    assert [leaf.shape for leaf in none] == [(0, *leaf.shape[1:]) for leaf in reference[name]]


@pytest.mark.parametrize("name", SAMPLERS)
@hypothesis.settings(max_examples=12)
@hypothesis.given(indices=st.lists(st.integers(0, NUM - 1), min_size=1, max_size=NUM))
def test_a_start_has_the_same_bits_whatever_else_is_asked_for_in_whatever_order(name, indices, reference):
    chosen = leaves_of(SAMPLERS[name].starts(7, indices))
    assert all(np.array_equal(leaf, full[indices]) for leaf, full in zip(chosen, reference[name], strict=True))


@pytest.mark.parametrize("name", ["box", "ball", "sobol", "stratified", "function", "law_balanced"])
def test_a_start_has_the_same_bits_wherever_in_a_block_it_falls(name, reference):
    size = blocks.block_size(table(reference[name]).shape[1])
    for shift in (1, 13, size - 21):
        chosen = leaves_of(SAMPLERS[name].starts(7, np.append(np.full(shift, 10**6), np.arange(NUM))))
        assert all(np.array_equal(leaf[shift:], full) for leaf, full in zip(chosen, reference[name], strict=True))


@pytest.mark.parametrize("name", RANDOM)
def test_starts_differ_between_numbers_and_between_keys(name, reference):
    rows = table(reference[name])
    assert len(np.unique(rows, axis=0)) == NUM
    others = table(SAMPLERS[name].starts(8, np.arange(NUM)))
    assert not (rows == others).all(axis=1).any()


@pytest.mark.parametrize("name", [name for name in RANDOM if name != "sobol"])
def test_numbers_around_multiples_of_two_to_the_32_do_not_collide(name):
    numbers = [0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**33, 10**9, 2**62 + 1, 2**63 - 1]
    rows = table(SAMPLERS[name].starts(7, numbers))
    assert len(np.unique(rows, axis=0)) == len(numbers)
    assert np.array_equal(table(SAMPLERS[name].starts(7, numbers[::-2])), rows[::-2])


@pytest.mark.parametrize("name", ["box", "function", "law_fan_in"])
def test_a_compiled_program_can_draw_the_same_starts(name):
    with jax.enable_x64(True):
        drawn = jax.jit(lambda key: SAMPLERS[name].draw(samplers.start_key(key, 1, 5)))(jax.random.key(7))
        drawn = [np.asarray(leaf) for leaf in leaves_of(drawn)]
    starts = leaves_of(SAMPLERS[name].starts(7, [2**32 + 5]))
    for ours, theirs in zip(starts, drawn, strict=True):
        np.testing.assert_allclose(ours[0], theirs, rtol=1e-12, atol=1e-14)


def test_starts_do_not_depend_on_the_callers_settings(reference):
    with jax.enable_x64(True), jax.default_prng_impl("rbg"), jax.threefry_partitionable(False):
        assert same(SAMPLERS["box"].starts(7, np.arange(NUM)), reference["box"])
        assert same(SAMPLERS["box"].starts(jax.random.key(7, impl="threefry2x32"), np.arange(NUM)), reference["box"])
    assert same(SAMPLERS["box"].starts(jax.random.PRNGKey(7), [0, 1]), [reference["box"][0][:2]])
    assert not jax.config.jax_enable_x64


def test_samplers_of_one_shape_share_a_compiled_block():
    Box(-2.0, 3.0, like=2).starts(0, [0])
    before = blocks._draw_block._cache_size()
    Box([0.0, 1.0], [0.5, 4.0]).starts(jax.random.key(3), [5, 6])
    assert blocks._draw_block._cache_size() == before


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "generator"])
def test_a_sampler_survives_pickling(name, reference):
    copy = pickle.loads(pickle.dumps(SAMPLERS[name]))
    assert same(copy.starts(7, np.arange(NUM)), reference[name])


def test_no_block_holds_a_batch_of_matrix_factorisations():
    drawn = {name: str(jax.make_jaxpr(blocks._drawn)(SAMPLERS[name], *WORDS)) for name in ("box", "law_balanced")}
    factorised = re.findall(r"(\[[\d,]*\])[^=\n]* = (?:svd|qr|geqrf)", drawn["law_balanced"])
    assert factorised and not any("16" in shape for shape in factorised)
    assert "scan" in drawn["law_balanced"] and "scan" not in drawn["box"]


@pytest.mark.parametrize("name", SAMPLERS)
def test_replicates_are_numbered_within_their_count(name):
    replicates = SAMPLERS[name].replicate(np.arange(NUM))
    assert replicates.dtype == np.int64
    assert set(replicates.tolist()) == set(range(SAMPLERS[name].num_replicates))


# ---- laws


DISTRIBUTIONS = [
    (Box([-2.0, 1.0], [3.0, 1.5]), lambda rows: [(rows[:, 0] + 2) / 5, (rows[:, 1] - 1) / 0.5]),
    (Gaussian([0.5, 2.0], [1.0, -1.0]), lambda rows: list(stats.norm.cdf((rows - [1.0, -1.0]) / [0.5, 2.0]).T)),
    (Ball(2.0, [1.0, 0.0, 0.0]), lambda rows: [(np.linalg.norm(rows - [1, 0, 0], axis=1) / 2) ** 3]),
    (Ball(2.0, like=3), lambda rows: list((0.5 + 0.5 * rows / np.linalg.norm(rows, axis=1)[:, None]).T)),
    (Sphere(2.0, like=3), lambda rows: list((0.5 + rows / 4).T)),  # Archimedes: each coordinate is uniform
    (SAMPLERS["law_fan_in"], lambda rows: list(stats.norm.cdf(rows * math.sqrt(2)).T)),
    (Sobol(Gaussian(0.5, like=2)), lambda rows: list(stats.norm.cdf(rows / 0.5).T)),
    (SAMPLERS["stratified"], lambda rows: list(stats.norm.cdf(rows / 0.5).T)),
]
"""A sampler and what makes uniform numbers of its starts, for every class that draws from a law."""


def test_every_law_is_tried():
    drawn = {type(sampler) for sampler in SAMPLERS.values()} - {FromFunction, Given, Slice}
    assert {type(sampler) for sampler, _ in DISTRIBUTIONS} == drawn


@pytest.mark.parametrize(("sampler", "law"), DISTRIBUTIONS)
def test_samples_have_the_law_they_name(sampler, law):
    rows = table(sampler.starts(11, np.arange(6144)))
    for uniforms in law(rows):
        assert stats.kstest(uniforms, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("name", ["box", "gaussian", "sphere", "law_fan_in"])
def test_entries_and_successive_starts_are_uncorrelated(name):
    rows = table(SAMPLERS[name].starts(3, np.arange(4097)))
    pairs = np.corrcoef(np.concatenate([rows[1:], rows[:-1]], axis=1).T)
    assert np.abs(pairs - np.eye(len(pairs))).max() < 5 / math.sqrt(4096)


def test_a_box_keeps_its_ends_and_fixed_parameters():
    rows = Box([0.1, -1e300], [0.1, 1.0]).starts(0, np.arange(500))
    assert (rows[:, 0] == 0.1).all() and (rows[:, 1] <= 1.0).all()
    neighbours = [0.3, np.nextafter(0.3, 1.0)]
    narrow = Box(neighbours[0], neighbours[1], like=2).starts(0, np.arange(500))
    assert set(narrow.ravel().tolist()) == set(neighbours)
    last = blocks.placed_starts(Box([-(2.0**53), 0.1], [3.5, 0.3]), np.full((1, 2), 1 - 2.0**-53))
    assert (last <= [[3.5, 0.3]]).all()


def test_spheres_have_their_radius_and_balls_stay_inside():
    norms = np.linalg.norm(SAMPLERS["sphere"].starts(0, np.arange(2000)), axis=1)
    np.testing.assert_allclose(norms, 2.0, rtol=4 * np.finfo(float).eps)
    assert (np.linalg.norm(SAMPLERS["ball"].starts(0, np.arange(2000)), axis=1) <= 2.0 * (1 + 1e-15)).all()


def test_the_balanced_law_is_balanced():
    first, second = SAMPLERS["law_balanced"].starts(0, np.arange(50))
    imbalance = np.einsum("kba,kbc->kac", second, second) - np.einsum("kab,kcb->kac", first, first)
    np.testing.assert_allclose(imbalance, 0.0, atol=1e-14)


@pytest.mark.parametrize("name", initial_laws.LAWS)
def test_every_law_of_a_network_is_a_sampler(name):
    with jax.enable_x64(True):
        key = jax.eval_shape(lambda: jax.random.key(0))
        traced = jax.make_jaxpr(Law(name, NETWORK, 0.5).draw)(key)
        expected = jax.make_jaxpr(lambda key: initial_laws.law(name, 0.5).sample(key, SHAPES))(key)
    assert str(traced) == str(expected)


def test_the_last_digits_of_normal_starts_reach_neither_infinity_nor_zero():
    ends = np.array([[2.0**-53, 1 - 2.0**-53], [0.5 - 2.0**-53, 0.5 + 2.0**-53]])
    rows = blocks.placed_starts(Gaussian(1.0, like=2), ends)
    np.testing.assert_allclose(rows, stats.norm.ppf(ends), rtol=1e-9)
    assert np.isfinite(rows).all() and rows.all()


# ---- what one start looks like


@pytest.mark.parametrize(
    ("like", "shapes"),
    [
        (3, [(3,)]),
        ((2, 3), [(2, 3)]),
        (SHAPES, list(SHAPES)),
        (NETWORK, list(SHAPES)),
        (REGRESSION, list(SHAPES)),
        (GradientFlow(REGRESSION), list(SHAPES)),
        (np.zeros((2, 2)), [(2, 2)]),
        ([0.0, 1.0], [(2,)]),
        ({"a": np.zeros(2), "b": 1.0}, [(2,), ()]),
        ((jax.ShapeDtypeStruct((2, 1), np.float64),), [(2, 1)]),
    ],
)
def test_starts_look_like_the_parameters(like, shapes):
    template = samplers.template_of(like)
    assert [leaf.shape for leaf in leaves_of(template.unflattened(np.zeros(template.num_params)))] == shapes


def test_numbers_arrays_and_trees_spread_over_the_parameters():
    template = samplers.template_of({"a": np.zeros((2, 2)), "b": 0.0})
    for value in (2.0, {"a": 2.0, "b": 2}, {"a": [[2.0, 2.0], [2, 2]], "b": 2} and [2.0] * 5, np.full(5, 2.0)):
        np.testing.assert_array_equal(template.spread("low", value), np.full(5, 2.0))
    np.testing.assert_array_equal(template.spread("low", {"a": np.array([1.0, 2.0]), "b": 3.0}), [1, 2, 1, 2, 3])
    assert Box({"a": 0.0, "b": np.zeros(3)}, 1.0).template.shapes == ((), (3,))


WRONG_CALLS = [
    (lambda: Box(-1.0, 1.0), "`like` must be given where all else is numbers, but got low=-1.0, high=1.0"),
    (lambda: Box(-1.0, 1.0, like=problem.Landscape(jnp.sum)), "Landscape, which does not know it"),
    (lambda: Box(-1.0, 1.0, like="box"), "`like` must say what the parameters look like"),
    (lambda: Box(-1.0, 1.0, like=[2, 3]), "`like` must be a tuple where it is a shape"),
    (lambda: Box(-1.0, 1.0, like=0), "`like` must be at least 1"),
    (lambda: Box(1.0, -1.0, like=2), "`high` must be at least `low` everywhere"),
    (lambda: Box(1.0, 1.0, like=2), "`high` must be above `low` somewhere"),
    (lambda: Box(-1e308, 1e308, like=2), "finite width"),
    (lambda: Box([0.0, np.nan], 1.0), "`low` must be finite"),
    (lambda: Box([0.0, 1.0, 2.0], 4.0, like=2), "or a vector of 2 numbers, but got"),
    (lambda: Gaussian(0.0, like=2), "`scale` must be greater than 0"),
    (lambda: Gaussian({"a": 1.0}, like=2), "`scale` must be a number, like the parameters"),
    (lambda: Ball(-1.0, like=2), "`radius` must be greater than 0"),
    (lambda: Law("gausian", NETWORK, 0.5), "Perhaps you meant 'gaussian'"),
    (lambda: Law("gaussian", NETWORK), "`scale` must be given with the name of a law"),
    (lambda: Law(initial_laws.Gaussian(1.0), NETWORK, 0.5), "`scale` must be left out with an object"),
    (lambda: Law("gaussian", 3, 0.5), "`like` must have matrices only"),
    (lambda: Law("balanced", ((3, 2), (2, 4)), 0.5), "chain for Balanced"),
    (lambda: Given({}), "`starts` must have at least one array"),
    (lambda: Given((np.zeros((3, 2)), np.zeros((2, 2)))), r"`starts\[1\]` must have 3 starts"),
    (lambda: Given(np.zeros((2, 2), dtype=complex)), "`starts` must hold real numbers"),
    (lambda: Slice(0.0, like=3), "`directions` must be given for 3 parameters"),
    (lambda: Slice(np.zeros(3), ([1, 0, 0], [2, 0, 0])), "`directions` must be linearly independent"),
    (lambda: Slice(np.zeros(2), ranges=((1, 0), (0, 1))), r"`ranges\[0\]` must increase"),
    (lambda: Slice.through([0.0, 0], [1.0, 1], [2.0, 2]), "`third` must lie off the line"),
    (lambda: Sobol(SAMPLERS["law_balanced"]), "`law` must have independent normal entries for a design"),
    (lambda: Sobol(SAMPLERS["function"]), "`base` must be a map of the unit cube"),
    (lambda: Sobol(Box(0.0, 1.0, like=21202)), "`base` must have at most 21201 dimensions"),
    (lambda: Sobol(SAMPLERS["box"], replicates=1), "`replicates` must be at least 2"),
    (lambda: Stratified(SAMPLERS["box"], 1), "`cells_per_axis` must make 2 to 2"),
    (lambda: Stratified(Box(0.0, 1.0, like=40), 2), "Divide a few axes only"),
    (lambda: Stratified(SAMPLERS["box"], (2, 2, 2)), "`cells_per_axis` must have at most 2 entries"),
    (lambda: SAMPLERS["box"].starts(-1, [0]), "`key` must be at least 0"),
    (lambda: SAMPLERS["given"].starts(-1, [0]), "`key` must be at least 0"),
    (lambda: SAMPLERS["box"].starts(jax.random.key(0, impl="rbg"), [0]), "threefry2x32, but got one of rbg"),
    (lambda: SAMPLERS["box"].starts(jax.random.key_data(jax.random.key(0, impl="rbg")), [0]), "one of 4 words"),
    (lambda: jax.jit(lambda key: SAMPLERS["box"].starts(key, [0]))(jax.random.key(0)), "use `draw`"),
    (lambda: SAMPLERS["box"].starts(0, [-1]), "`indices` must be at least 0, but got -1"),
    (lambda: SAMPLERS["box"].starts(0, [0.5]), "`indices` must be whole numbers"),
    (lambda: SAMPLERS["box"].starts(0, 3), "`indices` must have one axis"),
    (lambda: SAMPLERS["given"].starts(0, [64]), "`indices` must be below the sampler's size 64, but got 64"),
    (lambda: SAMPLERS["slice"].replicate([64]), "`indices` must be below the sampler's size 64, but got 64"),
    (lambda: SAMPLERS["sobol"].starts(0, [2**34]), "`indices` must be below the sampler's size"),
    (lambda: FromFunction(3), "`function` must be a function"),
    (lambda: FromFunction(lambda rng: rng.normal(size=2)), "pass compiled=False for a function of a numpy"),
    (lambda: FromFunction(lambda key: 1j * jnp.ones(2)), "must return real numbers"),
    (lambda: FromFunction(ring, like=2), "`function` must return parameters like"),
    (lambda: SAMPLERS["generator"].draw(jax.random.key(0)), "`compiled` must be True"),
    (
        lambda: FromFunction(lambda rng: np.zeros(rng.integers(1, 9)), compiled=False).starts(0, range(9)),
        r"`function` must return parameters like .* \(start 1\)",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WRONG_CALLS, ids=[f"{n}" for n in range(len(WRONG_CALLS))])
def test_wrong_calls_say_what_to_do(call, message):
    with pytest.raises(checks.InputError, match=message):
        call()


# ---- functions and tables


def test_a_plain_function_gets_a_generator_of_its_own_for_each_start():
    drawn = SAMPLERS["generator"].starts(7, [3])
    philox = np.random.Philox(key=np.array([7, 3], dtype=np.uint64))
    np.testing.assert_array_equal(drawn[0], np.random.Generator(philox).normal(size=2))


def test_starts_that_are_not_finite_are_kept():
    given = Given((np.array([[1.0], [np.nan]]), np.array([np.inf, 0.0], dtype=np.float32)))
    first, second = given.starts(0, [1, 0])
    assert np.isnan(first[0, 0]) and second[1] == np.inf
    assert np.isnan(FromFunction(lambda rng: np.array([np.nan]), compiled=False).starts(0, [0])).all()


def test_given_starts_are_a_copy():
    mine = np.zeros((3, 2))
    given = Given(mine)
    mine[:] = 1.0
    assert not given.starts(0, [0, 1, 2]).any()


def test_cells_of_a_slice_follow_the_rows_of_a_picture():
    grid = Slice(0.0, ranges=((-2.0, 2.0), (-1.0, 1.0)), resolution=(4, 2), like=2)
    x, y = grid.starts(0, np.arange(8)).T.reshape(2, *grid.shape)
    np.testing.assert_array_equal(x, [[-1.5, -0.5, 0.5, 1.5]] * 2)
    np.testing.assert_array_equal(y, [[-0.5] * 4, [0.5] * 4])
    assert grid.extent == (-2.0, 2.0, -1.0, 1.0)
    assert grid.axis_labels[0] == r"$\theta_1$ (dimensionless)"


def test_a_slice_through_three_points_holds_them_at_euclidean_coordinates():
    rng = np.random.default_rng(0)
    points = [tuple(rng.normal(size=shape) for shape in SHAPES) for _ in range(3)]
    grid = Slice.through(*points, resolution=30)
    flat = [np.concatenate([layer.ravel() for layer in point]) for point in points]
    places = []
    for point, vector in zip(points, flat, strict=True):
        (x, y), distance = grid.projected(point)
        assert distance < 1e-14
        np.testing.assert_allclose(grid.origin + x * grid.directions[0] + y * grid.directions[1], vector, atol=1e-14)
        assert grid.extent[0] < x < grid.extent[1] and grid.extent[2] < y < grid.extent[3]
        places.append((x, y))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        between = np.linalg.norm(np.subtract(places[i], places[j]))
        assert between == pytest.approx(np.linalg.norm(flat[i] - flat[j]), rel=1e-13)
    x, y = grid.coordinates().T
    assert np.diff(x)[0] == pytest.approx(y[grid.shape[1]] - y[0], rel=1e-12)  # the cells are squares
    assert max(grid.shape) == 30
    rows = table(grid.starts(0, [3]))
    assert grid.projected(rows[0])[1] < 1e-14
    assert grid.projected(rows[0] + np.cross([1, 0, 0], [0, 1, 0]).sum() * _normal(grid))[1] == pytest.approx(1.0)


def _normal(grid):
    full = np.linalg.svd(grid.directions)[2]
    return full[-1]


# ---- descriptions


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_description_is_plain_data_and_tells_samplers_apart(name):
    texts = [json.dumps(samplers.described(sampler), allow_nan=False) for sampler in SAMPLERS.values()]
    assert texts.count(json.dumps(samplers.described(pickle_or_same(SAMPLERS[name])))) == 1


def pickle_or_same(sampler):
    return sampler if sampler is SAMPLERS["generator"] else pickle.loads(pickle.dumps(sampler))


def test_a_description_sees_every_number_and_what_a_function_says():
    def scaled(factor, shift=0.0):
        return FromFunction(lambda rng: factor * rng.normal(size=2) + shift, compiled=False)

    assert samplers.described(scaled(1.0)) == samplers.described(scaled(1.0)) != samplers.described(scaled(2.0))
    assert samplers.described(scaled(1.0)) != samplers.described(
        FromFunction(lambda rng: rng.normal(size=2), compiled=False)
    )
    assert samplers.described(Box(0.0, 1.0, like=2)) != samplers.described(Box(0.0, np.nextafter(1.0, 2.0), like=2))
    table_of_many = np.arange(200.0).reshape(100, 2)
    assert samplers.described(Given(table_of_many)) != samplers.described(Given(np.nextafter(table_of_many, 1e9)))
    halves = [FromFunction(functools.partial(np.random.Generator.normal, size=n), compiled=False) for n in (2, 3)]
    assert samplers.described(halves[0]) != samplers.described(halves[1])
    assert "sha256" in samplers.described(Given(np.full((2, 2), np.nan)))["values"]
