"""Invariants: what is conserved, by which flow, and that the other flow does not conserve it."""

import functools
import itertools

import jax
import jax.numpy as jnp
import moving
import numpy as np
import pytest
from example_networks import NETWORKS, params_of, problem_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from gradflow import checks, networks, regularizers
from gradflow.flow import AbstractFlow, GradientFlow, ReducedFlow
from gradflow.invariants import invariants_of
from gradflow.problem import Landscape, Regression

# Reference case G02: one start, two flows.
X2 = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0]])
Y2 = np.array([[1.0, 2.0, 0.0, 1.0], [0.0, 1.0, -1.0, 1.0]])
W2 = (
    np.array([[0.3, -0.2, 0.1], [0.0, 0.4, 0.2], [-0.1, 0.1, 0.5]]),
    np.array([[0.2, 0.1, -0.3], [0.4, -0.1, 0.2]]),
)
# Reference cases G05 and G06: weights with their C_j and c_j.
W5 = (np.array([[0.5, -0.3], [0.2, 0.4]]), np.array([[0.1, 0.6], [-0.2, 0.3]]))
W6 = (
    np.array([[0.4, -0.1, 0.2], [0.3, 0.5, -0.2], [-0.2, 0.1, 0.6]]),
    np.array([[0.5, 0.2, -0.1], [-0.3, 0.4, 0.3]]),
    np.array([[0.6, -0.2], [0.1, 0.7]]),
)
C6 = (
    np.array([[0.13, -0.05, -0.17], [-0.05, -0.18, 0.23], [-0.17, 0.23, -0.31]]),
    np.array([[0.07, 0.05], [0.05, 0.19]]),
)


def regression(widths, seed=0, rank=None, **options):
    rng = np.random.default_rng(seed)
    d_in, samples = widths[0], 9
    X = rng.normal(size=(d_in, samples))
    if rank is not None:
        X = rng.normal(size=(d_in, rank)) @ rng.normal(size=(rank, samples))
    return Regression(networks.Linear(widths), X, rng.normal(size=(widths[-1], samples)), **options)


def weights(widths, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=(rows, columns)) for columns, rows in itertools.pairwise(widths))


def by_name(flow):
    return {invariant.name: invariant for invariant in invariants_of(flow)}


def rate_of_change(flow, invariant, params):
    """``d value / dt`` at `params` along the flow, by forward-mode differentiation in double precision."""
    velocity = flow.vector_field(params)
    with jax.enable_x64(True):
        return np.asarray(jax.jvp(invariant.value, (tuple(params),), (tuple(velocity),))[1])


def integrate(flow, params0, t1):
    shapes = [layer.shape for layer in params0]
    cuts = np.cumsum([layer.size for layer in params0])[:-1]

    def split(vector):
        parts = jnp.split(vector, cuts)
        return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))

    @jax.jit
    def field(_, vector):
        return jnp.concatenate([jnp.ravel(leaf) for leaf in flow.vector_field(split(vector))])

    start = np.concatenate([np.ravel(layer) for layer in params0])
    with jax.enable_x64(True):
        return split(solve_ivp(field, (0.0, t1), start, method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1])


def cube(outputs, targets):
    return ((outputs - targets) ** 4).sum() + (outputs**2 * targets).sum()


FLOWS = {
    "original": lambda: GradientFlow(regression((4, 3, 5, 2))),
    "mean": lambda: GradientFlow(regression((4, 3, 5, 2), normalization="mean")),
    "rank deficient": lambda: GradientFlow(regression((4, 3, 2), rank=2)),
    "one layer": lambda: GradientFlow(regression((4, 2), rank=3)),
    "any loss": lambda: GradientFlow(regression((4, 3, 2), rank=2, loss=cube)),
    "reduced": lambda: ReducedFlow(regression((4, 3, 5, 2))),
}


@functools.cache
def flow_named(name):
    return FLOWS[name]()


@settings(derandomize=True, deadline=None, max_examples=4)
@given(seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("name", FLOWS)
def test_invariants_are_orthogonal_to_the_velocity(name, seed):
    flow = flow_named(name)
    params = params_of(flow.problem.network, seed, scale=1.0)
    speed = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in flow.vector_field(params)))
    size = np.sqrt(sum(np.sum(layer**2) for layer in params))
    found = invariants_of(flow)
    assert found and all(invariant.holds for invariant in found)
    for invariant in found:
        change = rate_of_change(flow, invariant, params)
        assert np.max(np.abs(change)) <= 1e-13 * speed * max(size, 1.0), invariant.name


@pytest.mark.parametrize("strength", [0.0, 0.3])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_network_is_said_to_conserve_keeps_its_law_along_the_flow(name, strength):
    """By central differences: a value that is wrong by a factor or a sign moves by as much as its terms."""
    regularizer = regularizers.WeightDecay(strength) if strength else None
    flow = GradientFlow(problem_of(NETWORKS[name], regularizer=regularizer))
    params = params_of(NETWORKS[name])
    velocity = flow.vector_field(params)
    stacked = tuple(np.stack([layer, 2.0 * layer]) for layer in params)
    for invariant in invariants_of(flow):
        assert invariant.source and invariant.formula
        assert invariant.holds is True if invariant.decay == 0.0 else not invariant.holds
        values = invariant.value(stacked)
        np.testing.assert_allclose(values[0], invariant.value(params), rtol=1e-13, atol=1e-14)
        if invariant.decay is not None:
            change, allowed = moving.rate_along(velocity, invariant.value, params), 1e-11 * invariant.scale(params)
            np.testing.assert_allclose(change, -invariant.decay * values[0], rtol=0, atol=allowed)
            assert max(np.abs(values[1] - values[0]).max(), np.abs(values[0]).max()) > 1e-3 * invariant.scale(params)


def test_values_are_those_of_the_reference_cases():
    flow = GradientFlow(Regression(networks.Linear((3, 3, 2, 2)), np.eye(3), np.eye(2, 3) * [2.0, 1.0, 1.0]))
    found = by_name(flow)
    assert list(found) == ["C_1", "C_2", "c_1", "c_2"]
    for name, expected in {"C_1": C6[0], "C_2": C6[1], "c_1": 0.1, "c_2": -0.26}.items():
        np.testing.assert_allclose(found[name].value(W6), expected, rtol=0, atol=1e-15)
    flow = GradientFlow(Regression(networks.Linear((2, 2, 2)), np.eye(2), np.diag([2.0, 1.0])))
    np.testing.assert_allclose(by_name(flow)["C_1"].value(W5), [[-0.29, 0.02], [0.02, 0.25]], rtol=0, atol=1e-15)
    np.testing.assert_allclose(by_name(flow)["c_1"].value(W5), 0.04, rtol=0, atol=1e-15)


def test_norm_differences_are_minus_the_traces_of_the_later_matrices():
    flow = flow_named("original")
    found, params = by_name(flow), weights((4, 3, 5, 2), 3)
    traces = [np.trace(found[f"C_{layer}"].value(params)) for layer in (1, 2)]
    assert found["c_1"].value(params) == pytest.approx(-sum(traces), rel=1e-13)
    assert found["c_2"].value(params) == pytest.approx(-traces[1], rel=1e-13)


def test_the_first_layer_on_the_kernel_of_x_is_an_invariant_only_when_x_is_rank_deficient():
    assert "W_1 on ker X^T" not in by_name(flow_named("original"))
    flow = flow_named("rank deficient")
    value = by_name(flow)["W_1 on ker X^T"].value(weights((4, 3, 2), 1))
    assert np.linalg.matrix_rank(value) == 2
    np.testing.assert_allclose(value @ flow.problem.X, 0.0, atol=1e-13)


def test_each_flow_conserves_its_own_matrix_and_drifts_in_the_others():
    problem = Regression(networks.Linear((3, 3, 2)), X2, Y2)
    original, reduced = GradientFlow(problem), ReducedFlow(problem)
    own, others = by_name(original)["C_1"], by_name(reduced)["C_1"]
    start = reduced.coordinates(W2)
    np.testing.assert_allclose(
        own.value(W2), [[0.06, 0.04, 0.02], [0.04, -0.18, -0.19], [0.02, -0.19, -0.14]], rtol=0, atol=1e-15
    )
    np.testing.assert_allclose(
        others.value(start), [[-0.18, 0.28, 0.12], [0.28, -1.18, -0.87], [0.12, -0.87, -0.54]], rtol=0, atol=1e-14
    )
    end_original = integrate(original, W2, 1.0)
    end_reduced = integrate(reduced, start, 1.0)

    def drift(invariant, after, before):
        return np.max(np.abs(invariant.value(after) - invariant.value(before)))

    # The right invariant holds to the integrator's error, the wrong one drifts by the numbers of G02.
    assert drift(own, end_original, W2) < 1e-10
    assert drift(others, end_reduced, start) < 1e-10
    assert drift(others, reduced.coordinates(end_original), start) == pytest.approx(3.7210407183640424, abs=1e-9)
    assert drift(own, reduced.weights(end_reduced), W2) == pytest.approx(1.3198381254496856, abs=1e-9)


def test_an_invariant_refuses_another_flow_and_names_both():
    problem = regression((4, 3, 2))
    invariant = by_name(GradientFlow(problem))["C_1"]
    invariant.check_flow(GradientFlow(problem))
    with pytest.raises(checks.InputError, match=r"GradientFlow to which C_1 belongs, but got ReducedFlow.*coordinates"):
        invariant.check_flow(ReducedFlow(problem))


def test_an_invariant_refuses_weights_of_another_network():
    invariant = by_name(flow_named("original"))["C_1"]
    with pytest.raises(checks.InputError, match=r"shapes .*\(3, 4\).* but got .*\(3, 3\)"):
        invariant.value(weights((3, 3, 5, 2)))


@pytest.mark.parametrize("rank", [None, 2])
def test_under_weight_decay_invariants_shrink_at_their_stated_rate(rank):
    flow = GradientFlow(regression((4, 3, 2), rank=rank, regularizer=regularizers.WeightDecay(0.3)))
    params = weights((4, 3, 2), 5)
    expected = {"C_1": 0.6, "c_1": 0.6} | ({} if rank is None else {"W_1 on ker X^T": 0.3})
    found = by_name(flow)
    assert {name: invariant.decay for name, invariant in found.items()} == expected
    for invariant in found.values():
        assert invariant.holds is False
        change = rate_of_change(flow, invariant, params)
        # Forward-mode differentiation is exact: only rounding of terms of size 100 is left.
        np.testing.assert_allclose(change, -invariant.decay * invariant.value(params), rtol=0, atol=1e-11)
    assert "exp(-0.6 t)" in found["C_1"].hypotheses[1].statement


def test_weight_decay_of_strength_zero_conserves():
    flow = GradientFlow(regression((4, 3, 2), regularizer=regularizers.WeightDecay(0.0)))
    assert all(invariant.holds and invariant.decay == 0.0 for invariant in invariants_of(flow))


def test_an_unknown_regulariser_leaves_no_law():
    class Quartic(regularizers.AbstractRegularizer):
        def __call__(self, params):
            return sum((leaf**4).sum() for leaf in params)

    flow = GradientFlow(regression((4, 3, 2), regularizer=Quartic()))
    found = invariants_of(flow)
    assert found and all(invariant.holds is False and invariant.decay is None for invariant in found)


def test_values_keep_leading_axes():
    params = weights((4, 3, 5, 2), 7)
    stacked = tuple(np.stack([layer, 2.0 * layer]) for layer in params)
    for invariant in invariants_of(flow_named("original")):
        values = invariant.value(stacked)
        np.testing.assert_array_equal(values[0], invariant.value(params))
        np.testing.assert_allclose(values[1], 4.0 * values[0], rtol=1e-15)


def test_a_diagonal_network_conserves_squares_and_neither_products_nor_sums():
    flow = GradientFlow(problem_of(networks.Diagonal(3, 2)))
    params = (np.array([[1.0, -2.0, 0.5]]), np.array([[3.0, 1.0, 0.5]]))
    (invariant,) = invariants_of(flow)
    np.testing.assert_array_equal(invariant.value(params), [8.0, -3.0, 0.0])
    velocity = flow.vector_field(params)
    for other in (lambda layers: layers[1] ** 2 + layers[0] ** 2, lambda layers: layers[1] * layers[0]):
        assert np.abs(moving.rate_along(velocity, other, params)).max() > 0.1 * moving.speed(velocity)


def test_nothing_is_claimed_of_landscapes_and_unknown_flows():
    class Slowed(AbstractFlow):
        problem: Regression

        def vector_field(self, params):
            return tuple(-0.5 * leaf for leaf in self.problem.gradient(params))

    assert invariants_of(GradientFlow(Landscape(lambda x: (x**2).sum()))) == ()
    assert invariants_of(Slowed(regression((4, 3, 2)))) == ()


def test_a_problem_in_place_of_a_flow_is_refused():
    with pytest.raises(checks.InputError, match=r"`flow` must be a flow, but got Regression"):
        invariants_of(regression((4, 3, 2)))


def test_every_invariant_names_its_source_and_its_coordinates():
    for name, word in (("original", "original"), ("reduced", "reduced")):
        for invariant in invariants_of(flow_named(name)):
            assert "paper 003" in invariant.source
            assert word in invariant.hypotheses[-1].statement
