"""Naming endpoints: the batched second-order test, discovery, and what must not be named."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradflow as gf
from gradflow import checks
from gradflow.critical_points import refine
from gradflow.model_problems import double_well
from gradflow.naming import examine, labels, merge, namer_for, settle
from gradflow.naming.discovery import discovery

WELL = double_well(3).problem
POINTS = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=3)))

TERMS = ("1", "xy", "xxyy", "xxxx", "xxx", "xx", "xyy", "yy")


def value_at(coefficients, p):
    x, y = p
    xx, yy = x * x, y * y
    return coefficients @ jnp.stack([jnp.ones_like(x), x * y, xx * yy, xx * xx, xx * x, xx, x * yy, yy])


def polynomial(**coefficients):
    """A landscape in x and y from coefficients of :data:`TERMS`; all of them share compiled code."""
    chosen = np.array([float(coefficients.get(term.replace("1", "one"), 0.0)) for term in TERMS])
    return gf.Landscape(jax.tree_util.Partial(value_at, chosen), name="polynomial")


HYPERBOLA = polynomial(one=0.5, xy=-1.0, xxyy=0.5)


def stacked(states):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *states)


def namer(problem, **settings):
    return namer_for(gf.GradientFlow(problem), **settings)


def on_hyperbola(num, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.3, 3.0, num) * rng.choice([-1.0, 1.0], num)
    return np.stack([x, 1 / x], axis=1) + noise * rng.normal(size=(num, 2))


def compare_with_classify(problem, states):
    found = examine(problem, stacked(states))
    kinds = set()
    for number, state in enumerate(states):
        point = gf.classify(problem, state)
        critical = not np.isnan(point.zero_tolerance)
        expected = (critical, point.index if critical else -1, point.nullity if critical else -1)
        assert (found.is_critical[number], found.index[number], found.nullity[number]) == expected, number
        assert found.loss[number] == pytest.approx(point.loss, rel=1e-10, abs=1e-14)
        assert found.lowest[number] == pytest.approx(point.eigenvalues[0], rel=1e-9, abs=1e-9)
        assert found.displacement[number] == pytest.approx(point.displacement, rel=1e-6, abs=1e-12)
        kinds.add(point.kind)
    return kinds


def perturbed(states, num, largest=-2.0, seed=0):
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(states), size=num)
    return [states[i] + 10 ** rng.uniform(-10, largest) * rng.normal(size=states[i].shape) for i in chosen]


def test_a_batch_is_examined_as_classify_does_one_by_one_at_isolated_points():
    kinds = compare_with_classify(WELL, perturbed(POINTS, 30))
    assert kinds >= {"local_minimum", "strict_saddle", "not_critical"}


def test_a_batch_is_examined_as_classify_does_one_by_one_on_a_continuum_and_at_a_saddle():
    states = perturbed([*on_hyperbola(20), np.zeros(2)], 30, seed=4)
    assert compare_with_classify(HYPERBOLA, states) >= {"degenerate", "strict_saddle", "not_critical"}


def test_the_rounding_of_a_gradient_along_a_continuum_is_no_slope():
    # near (1, 1) perturbing the parameters in the last places shows no noise along the hyperbola, and there is some
    rng = np.random.default_rng(0)
    states = 1.0 + 1e-5 * rng.normal(size=(40, 1)) * [1.0, -1.0] + 1e-9 * rng.normal(size=(40, 2))
    found = examine(HYPERBOLA, states)
    assert found.is_critical.all() and np.all(found.nullity == 1)
    for state in states[:4]:
        assert refine(HYPERBOLA, state).is_critical
    far = polynomial(one=0.5, xy=-1.0, xxyy=0.5, xx=0.5)  # slopes down to infinity along the same valley
    assert not examine(far, np.array([[1e3 / (1 + 1e6), 1e3]])).is_critical[0]


def test_factorised_minima_are_examined_as_by_eigenvalues(monkeypatch):
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(14, 14)) * np.logspace(0, -2, 14)
    problem = gf.Landscape(lambda p: 0.5 * jnp.sum((factor @ jnp.sin(p)) ** 2))
    states = np.pi * rng.integers(-2, 3, size=(30, 14)) + 10.0 ** rng.uniform(-9, -2, size=(30, 1)) * rng.normal(
        size=(30, 14)
    )
    states[0] += np.pi / 2 * np.eye(14)[0]
    states[1], states[2] = np.nan, 1e3 * rng.normal(size=14)
    quick = examine(problem, states)
    monkeypatch.setattr("gradflow.naming.examination.FEWEST_PARAMS", 99)
    full = examine(problem, states)
    for name in ("is_critical", "index", "nullity", "is_unstable", "is_finite"):
        np.testing.assert_array_equal(getattr(quick, name), getattr(full, name))
    assert 10 < np.isnan(quick.offset).sum() < 30
    for name in ("params", "loss", "displacement", "remaining", "trace", "frobenius", "given_grad_norm"):
        np.testing.assert_allclose(getattr(quick, name), getattr(full, name), rtol=1e-5, atol=1e-9, err_msg=name)
    minima = np.isnan(quick.offset) & quick.is_finite
    assert np.all(quick.lowest[minima] <= 3 * full.lowest[minima])
    assert np.all(quick.lowest[minima] >= full.lowest[minima] / 14)
    assert np.all(quick.highest[minima] >= full.highest[minima])
    assert examine(problem, states, max_displacement=1e-12).is_critical.sum() < full.is_critical.sum()


def test_a_row_has_the_same_bits_whatever_is_beside_it():
    states = np.concatenate([on_hyperbola(1100, noise=1e-5), 1e-6 * on_hyperbola(20)])
    rng = np.random.default_rng(0)
    order = rng.permutation(len(states))
    whole, shuffled = examine(HYPERBOLA, states), examine(HYPERBOLA, states[order])
    alone = [examine(HYPERBOLA, states[row : row + 1]) for row in order[:5]]
    for name in ("params", "loss", "lowest", "nullity", "remaining", "displacement", "zero_tolerance", "offset"):
        np.testing.assert_array_equal(getattr(whole, name)[order], getattr(shuffled, name))
        for number, single in enumerate(alone):
            np.testing.assert_array_equal(getattr(single, name)[0], getattr(whole, name)[order[number]])


def test_a_large_problem_is_examined_one_by_one_with_the_same_answers(monkeypatch):
    states = np.stack(perturbed(POINTS, 6, largest=-4.0, seed=2))
    usual = examine(WELL, states)
    monkeypatch.setattr("gradflow.naming.examination.hessians.DIRECT_LIMIT", 2)
    other = examine(WELL, states)
    for name in ("is_critical", "index", "nullity", "is_unstable", "is_finite"):
        np.testing.assert_array_equal(getattr(other, name), getattr(usual, name))
    np.testing.assert_allclose(other.params, usual.params, atol=1e-12)
    np.testing.assert_allclose(other.remaining, usual.remaining, rtol=1e-3, atol=1e-12)


def test_the_remaining_distance_and_the_offset_are_those_of_the_quadratic_model():
    found = examine(WELL, np.array([[1.0, 1.0 + 1e-5, 1.0], [1e-7, 1.0, -1.0 + 1e-6]]))
    np.testing.assert_allclose(found.remaining, [1e-5, np.hypot(1e-7, 1e-6)], rtol=1e-4)
    assert found.offset[1] == pytest.approx(1e-7, rel=1e-4)
    np.testing.assert_array_equal(found.is_unstable, [False, True])


def test_all_27_critical_points_of_the_double_well_are_discovered_with_their_index():
    rng = np.random.default_rng(0)
    states = np.repeat(POINTS, 2, axis=0)
    states = np.where(states == 0, 0.0, states + 1e-7 * rng.normal(size=states.shape))
    names = namer(WELL).names(states, has_dwelt=np.ones(len(states), dtype=bool))
    settled = settle(WELL, states[0], names.groups)
    assert names.counts() == {}
    assert len(settled.labels) == len({label.text for label in settled.labels}) == 27
    assert set(settled.counts().values()) == {2}
    found = {tuple(point.params.round(6) + 0.0): point.index for point in settled.points}
    assert found == {tuple(point): int(np.sum(point == 0)) for point in POINTS}
    assert [sum(label.kind == kind for label in settled.labels)
            for kind in ("local_minimum", "strict_saddle", "maximum")] == [8, 18, 1]  # fmt: skip
    assert "strict saddle of index 2, loss -0.25, at (0, 1, 0)" in {label.text for label in settled.labels}


def test_a_point_that_is_passed_is_never_a_limit():
    near = np.array([[1e-5, 1.0, 1.0], [1e-12, 1e-12, 1.0], [0.02, 1.0, 1.0], [0.0, 1.0, 1.0 + 1e-9]])
    names = namer(WELL).names(near)
    assert names.counts() == {labels.PASSING: 4}
    dwelt = namer(WELL).names(near, has_dwelt=np.ones(4, dtype=bool))
    assert dwelt.counts() == {labels.NOT_CRITICAL: 1}
    assert (dwelt.members >= 0).tolist() == [True, True, False, True]


def test_a_state_that_never_moves_needs_no_patience():
    names = namer(WELL).names(np.array([[0.0, 1.0, 1.0]]))
    assert settle(WELL, np.zeros(3), names.groups).labels[0].kind == "strict_saddle"


def test_far_and_nonfinite_endpoints_are_undetermined():
    names = namer(WELL).names(np.array([[0.9, 1.0, 1.0], [np.nan, 0.0, 0.0], [1e200, 1.0, 1.0], [np.inf, 0.0, 0.0]]))
    assert [names.label_of(row) for row in range(4)] == [labels.NOT_CRITICAL, *[labels.NOT_FINITE] * 3]
    assert not any(label.is_decided for label in labels.UNDECIDED)


def test_a_small_gradient_far_from_the_minimum_of_a_flat_valley_is_no_limit():
    valley = polynomial(xx=5e-11, yy=0.5)
    names = namer(valley).names(np.array([[1.0, 0.0], [1e-9, 0.0]]), has_dwelt=np.ones(2, dtype=bool))
    assert names.label_of(0) == labels.NOT_CRITICAL
    assert names.label_of(1) is None


def test_a_continuum_of_minima_is_one_class():
    names = namer(HYPERBOLA).names(on_hyperbola(60, noise=1e-6))
    settled = settle(HYPERBOLA, np.zeros(2), names.groups)
    assert [(label.text, label.kind) for label in settled.labels] == [("continuum of minima, loss 0", "local_minimum")]
    assert settled.counts() == {settled.labels[0]: 60}
    assert settled.resolution.groups.reach[0] > 1.0


@pytest.mark.parametrize(
    "terms",
    [{"xxxx": 1, "yy": 1}, {"xxyy": 1}, {"xxx": 1, "yy": 1}],
    ids=["quartic", "cross", "cubic"],
)
def test_flat_directions_alone_do_not_make_a_continuum(terms):
    problem = polynomial(**terms)
    names = namer(problem).names(np.zeros((1, 2)))
    assert settle(problem, np.zeros(2), names.groups).labels[0].text == "degenerate critical point, loss 0"


def test_a_slow_passage_of_a_degenerate_saddle_is_never_a_limit():
    monkey = polynomial(xxx=1.0, xyy=-3.0)
    near = np.array([[1e-5, 1e-5], [1e-6, 0.0]])
    names = namer(monkey).names(near)
    assert set(names.labels) <= {labels.CRAWLING, labels.PASSING} and len(names.groups) == 0
    names = namer(monkey).names(near, has_dwelt=np.ones(2, dtype=bool))
    settled = settle(monkey, np.zeros(2), names.groups)
    assert [label.text for label in settled.labels] == ["degenerate critical point, loss 0"]
    known = namer(monkey, known={"monkey": np.zeros(2)})
    assert known.names(near[1:]).labels[0] in (labels.CRAWLING, labels.SLOW, labels.PASSING)


def test_a_slow_passage_does_not_join_a_continuum_that_has_its_loss():
    # a circle of minima; at (5, 0) flows from the left come to rest and those on the right leave for good, at loss 0
    valley = gf.Landscape(lambda p: (p[0] ** 2 + p[1] ** 2 - 1) ** 2 * ((5 - p[0]) ** 3 + p[1] ** 2) / 100)
    angles = np.linspace(0.1, 6.0, 20)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (1 + 1e-7)
    crawling = np.array([[5 + 1e-6, 0.0], [5 + 1e-5, 1e-9], [5 - 1e-6, 0.0]])
    for states in (np.concatenate([circle, crawling]), np.concatenate([crawling, circle])):
        names = namer(valley).names(states)
        settled = settle(valley, np.zeros(2), names.groups)
        assert settled.counts() == {settled.labels[0]: 20} and settled.labels[0].text == "continuum of minima, loss 0"
        undecided = [names.label_of(row) for row in np.flatnonzero(np.linalg.norm(states, axis=1) > 2)]
        assert set(undecided) <= {labels.CRAWLING, labels.PASSING}


@pytest.mark.parametrize(
    ("loss", "state"),
    [
        (lambda p: jnp.exp(-p[0]) + p[1] ** 2, [40.0, 1e-9]),
        (lambda p: 1 / (1 + p[0] ** 2) + p[1] ** 2, [7.7e4, 0.0]),
        (lambda p: jnp.tanh(p[0]), [-17.26]),
        (lambda p: -jnp.log(p[0]) + p[1] ** 2, [1e7, 0.0]),
    ],
    ids=["exponential", "algebraic", "saturated", "logarithmic"],
)
def test_a_valley_that_goes_on_for_ever_is_no_minimum(loss, state):
    names = namer(gf.Landscape(loss)).names(np.array([state]))
    settled = settle(gf.Landscape(loss), np.array(state), names.groups)
    assert not any(label.is_decided for label in [*names.labels, *settled.labels])


def test_a_known_point_of_a_continuum_names_the_whole_continuum():
    names = namer(HYPERBOLA, known={"hyperbola": np.ones(2)}).names(on_hyperbola(20, noise=1e-7))
    assert {names.label_of(row).text for row in range(20)} == {"hyperbola"}


def test_known_points_are_recognised_by_distance_and_the_rest_is_discovered():
    known = {"right": np.ones(3), "middle": np.array([0.0, 1.0, 1.0])}
    states = np.array([[1.0, 1.0, 1.0 - 1e-6], [0.0, 1.0, 1.0], [1.0, -1.0, 1.0], [1e-4, 1.0, 1.0]])
    names = namer(WELL, known=known).names(states)
    shown = [label.text if (label := names.label_of(row)) else None for row in range(4)]
    assert shown == ["right", "middle", None, labels.PASSING.text]
    assert names.label_of(0).kind == "local_minimum"
    assert names.label_of(1).kind == "strict_saddle"
    assert len(names.groups) == 1


def test_all_27_points_are_recognised_when_known():
    known = {str(tuple(point)): point for point in POINTS}
    names = namer(WELL, known=known).names(POINTS, has_dwelt=np.ones(27, dtype=bool))
    assert [names.label_of(row).text for row in range(27)] == list(known)


def test_an_endpoint_near_a_known_point_but_not_at_it_is_ambiguous():
    problem = polynomial(xxxx=1e6, xx=-800.0, one=0.16, yy=1.0)
    names = discovery(problem, {"left": np.array([-2e-2, 0.0])}, 9e-4).names(np.array([[2e-2, 0.0]]))
    assert names.counts() == {labels.AMBIGUOUS: 1}


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"nowhere": np.array([0.5, 1.0, 1.0])}, "be a critical point"),
        ({"one": np.ones(3), "two": np.ones(3) + 1e-9}, "hold different limits"),
        ({"bad": np.array([np.nan, 1.0, 1.0])}, "be finite"),
    ],
)
def test_wrong_known_points_are_refused(known, message):
    with pytest.raises(checks.InputError, match=message):
        namer(WELL, known=known)


def test_wrong_calls_are_refused():
    with pytest.raises(checks.InputError, match="be a flow"):
        namer_for(WELL)
    with pytest.raises(checks.InputError, match="common leading axis"):
        examine(WELL, np.float64(1.0))
    with pytest.raises(checks.InputError, match="one entry per endpoint"):
        namer(WELL).names(POINTS, has_dwelt=np.ones(3, dtype=bool))
    with pytest.raises(checks.InputError, match="less than"):
        namer(WELL, tolerance=0.5)


def test_an_empty_batch_has_no_names():
    names = namer(WELL).names(np.zeros((0, 3)))
    assert len(names) == 0
    assert len(names.groups) == 0


def test_chunks_get_the_labels_of_the_whole():
    states = np.repeat(POINTS[[0, 2, 6]], 3, axis=0)
    chunks = [namer(WELL).names(states[part], samples=np.array(part)) for part in ([0, 3, 8], [1, 2, 4, 5], [6, 7])]
    whole = merge(merge(chunks[2].groups, chunks[0].groups), chunks[1].groups)
    settled = settle(WELL, states[0], whole)
    texts = [label.text for label in settled.labels_of(chunks[0].groups, whole)]
    assert [texts[member] for member in chunks[0].members] == [
        f"local minimum, loss -0.75, at ({point})" for point in ("-1, -1, -1", "-1, -1, 1", "-1, 1, -1")
    ]
