"""Gradient descent on its own: closed forms on quadratics, the exact drift of invariants, batches, and named ends."""

import itertools
from unittest import mock

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradflow as gf
from gradflow import checks, regularizers
from gradflow.descent import DescentStatus, UpdateRule, descend, descending, epochs
from gradflow.descent.batches import Batches
from tests.moving import linear_velocity, weights

CURVATURES = np.array([0.5, 1.0, 3.0])
START = np.array([1.0, -2.0, 0.5])
QUADRATIC = gf.Landscape(lambda x: 0.5 * jnp.sum(jnp.asarray(CURVATURES) * x**2), name="quadratic")
FIRST = weights(np.random.default_rng(0), ((3, 2), (2, 3), (2, 2)), 0.6)
LINE = gf.Landscape(lambda x: 0.5 * x**2, name="line")


@pytest.fixture(scope="module")
def regression():
    """Widths 2-3-2-2 on seven samples."""
    rng = np.random.default_rng(2)
    return gf.Regression(gf.networks.Linear((2, 3, 2, 2)), rng.normal(size=(2, 7)), rng.normal(size=(2, 7)))


@pytest.fixture(scope="module")
def least_squares():
    """One layer, five samples, averaged, with weight decay: a quadratic in every batch."""
    rng = np.random.default_rng(4)
    return gf.Regression(
        gf.networks.Linear((2, 1)), rng.normal(size=(2, 5)), rng.normal(size=(1, 5)), normalization="mean",
        regularizer=regularizers.WeightDecay(0.3),
    )  # fmt: skip


def batch_gradient(problem, layer, chosen, factor):
    """The batch gradient of one linear layer with weight decay, written out."""
    X, Y = problem.X[:, chosen], problem.Y[:, chosen]
    return factor * (layer @ X - Y) @ X.T / problem.X.shape[1] + problem.regularizer.strength * layer


def test_descent_on_a_quadratic_is_a_power():
    run = descend(QUADRATIC, START, 0.2, 40)
    assert run.status is DescentStatus.COMPLETED and run.stopped_at is None
    np.testing.assert_allclose(run.params, (1 - 0.2 * CURVATURES) ** run.steps[:, None] * START, rtol=1e-13)
    np.testing.assert_allclose(run.losses, 0.5 * np.sum(CURVATURES * run.params**2, axis=1), rtol=1e-14)
    np.testing.assert_array_equal(run.times, 0.2 * np.arange(41))
    assert run.num_rises == 0 and run.end_time == run.times[-1]


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_on_a_quadratic_is_a_two_term_recursion(nesterov):
    rate, beta = 0.1, 0.6
    nu = beta if nesterov else 0.0
    run = descend(QUADRATIC, START, rate, 30, momentum=beta, nesterov=nesterov)
    for curvature, first, found in zip(CURVATURES, START, run.params.T, strict=True):
        pull = rate * curvature
        matrix = np.array([[1 + beta - (1 + nu) * pull, nu * pull - beta], [1.0, 0.0]])
        expected = [(np.linalg.matrix_power(matrix, k) @ [first, first])[1] for k in range(1, 32)]
        # W_{-1} = W_0 means a first look-ahead without a move, so the second entry of the recursion is W_0 too.
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(run.times, run.steps * rate / (1 - beta), rtol=1e-15)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.7, False), (0.7, True)])
def test_a_mode_is_stable_exactly_below_the_limit(momentum, nesterov):
    limit = UpdateRule(0.1, momentum, nesterov).stability_limit
    for factor, status in ((0.98, DescentStatus.COMPLETED), (1.02, DescentStatus.DIVERGED)):
        run = descend(LINE, np.array(1.0), factor * limit, 3000, momentum=momentum, nesterov=nesterov)
        assert run.status is status
    assert np.isfinite(run.params).all() and np.abs(run.params).max() <= 1e4


def test_divergence_names_the_step_that_was_refused():
    run = descend(LINE, np.array(1.0), 3.0, 100, max_norm=1000.0)
    assert run.status is DescentStatus.DIVERGED and run.stopped_at == 10  # 2^9 = 512 < 1000 < 2^10
    assert run.steps[-1] == 9 and float(run.endpoint) == -512.0 and run.num_rises == 9
    assert "diverged at step 10: 9 of 100 steps" in str(run) and "learning rate" in run.status.remedy


def test_leaving_downhill_is_an_escape_and_no_divergence():
    run = descend(gf.Landscape(lambda x: -0.5 * x**2), np.array(1.0), 0.5, 200)
    assert run.status is DescentStatus.ESCAPED and not run.status.is_failure
    assert run.stopped_at == 23 and 1.5**22 < 1e4 < 1.5**23


def test_steps_to_where_the_loss_is_no_number_are_refused():
    landscape = gf.Landscape(jnp.log, name="logarithm")
    run = descend(landscape, np.array(1.0), 0.4, 50)
    assert run.status is DescentStatus.NONFINITE and run.stopped_at == 2 and run.status.is_failure
    np.testing.assert_allclose(run.params, [1.0, 0.6])  # and then 0.6 - 0.4 / 0.6 < 0
    assert np.isfinite(run.losses).all()
    hopeless = descend(landscape, np.array(-1.0), 0.4, 50)
    assert hopeless.status is DescentStatus.NONFINITE and hopeless.stopped_at == 0 and len(hopeless.steps) == 1


def test_descent_of_a_network_is_the_explicit_euler_method(regression):
    start = FIRST
    run = descend(gf.GradientFlow(regression), start, 0.01, 25)
    layers = [np.asarray(layer) for layer in start]
    for step in range(26):
        for found, layer in zip(run.params, layers, strict=True):
            np.testing.assert_allclose(found[step], layer, rtol=1e-10, atol=1e-12)
        velocity = linear_velocity(regression.X, regression.Y, layers)
        layers = [layer + 0.01 * move for layer, move in zip(layers, velocity, strict=True)]


def test_every_step_moves_the_imbalance_by_the_square_of_the_learning_rate(regression):
    """``C_j(k+1) - C_j(k) = eta^2 (G_{j+1}^T G_{j+1} - G_j G_j^T)``: the terms of first order cancel exactly."""
    rate = 0.01
    run = descend(regression, FIRST, rate, 25)
    for step in range(25):
        rows = [tuple(leaf[index] for leaf in run.params) for index in (step, step + 1)]
        gradient = linear_velocity(regression.X, regression.Y, rows[0])
        for j in (1, 2):
            before, after = (gf.invariants.imbalance(row, j) for row in rows)
            expected = rate**2 * (gradient[j].T @ gradient[j] - gradient[j - 1] @ gradient[j - 1].T)
            np.testing.assert_allclose(after - before, expected, rtol=1e-9, atol=1e-14)
            assert np.abs(expected).max() > 1e-8


def test_a_reduced_flow_is_descended_in_its_own_coordinates(regression):
    flow = gf.ReducedFlow(regression)
    run = descend(flow, FIRST, 0.05, 1)
    velocity = linear_velocity(np.eye(2), flow.problem.Y, FIRST)
    assert not np.allclose(velocity[0], linear_velocity(regression.X, regression.Y, FIRST)[0], rtol=0.1)
    for first, then, speed in zip(FIRST, run.endpoint, velocity, strict=True):
        np.testing.assert_allclose(then, first + 0.05 * speed, rtol=1e-14, atol=1e-16)


def test_a_batch_of_all_samples_is_descent_itself(regression):
    start = FIRST
    full = descend(regression, start, 0.01, 25)
    batched = descend(regression, start, 0.01, 25, batches=np.tile(np.arange(7)[::-1], (25, 1)), save_every=1)
    for left, right in zip(full.params, batched.params, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(full.losses, batched.losses, rtol=1e-12)
    assert full.batch_size is None and batched.batch_size == 7


def test_steps_with_batches_are_those_written_out(least_squares):
    table = np.array([[3, 1, -1], [0, 2, 4], [1, 1, 0], [4, -1, -1]])
    start = (np.array([[0.8, -1.1]]),)
    run = descend(least_squares, start, 0.1, 4, batches=table, momentum=0.5)
    layer, move = np.asarray(start[0]), 0.0
    for row in table:
        chosen = row[row >= 0]
        move = 0.5 * move - 0.1 * batch_gradient(least_squares, layer, chosen, 5 / (9 / 4))
        layer = layer + move
    np.testing.assert_allclose(run.endpoint[0], layer, rtol=1e-13)
    np.testing.assert_allclose(run.losses[-1], least_squares.loss(run.endpoint), rtol=1e-14)


def test_batch_gradients_of_an_epoch_have_the_full_gradient_as_their_mean(regression):
    table, params = epochs(5, 7, 3, 2), FIRST
    assert sorted((table >= 0).sum(axis=1)) == [2, 2, 2, 2, 3, 3]
    with jax.enable_x64(True):
        batches = Batches(regression, table, 6)
        gradient_of = eqx.filter_jit(batches.gradient)
        gradients = [gradient_of(params, np.asarray(step)) for step in range(6)]
        for epoch in (slice(0, 3), slice(3, 6)):
            for layer, full in enumerate(linear_velocity(regression.X, regression.Y, params)):
                mean = np.mean([gradient[layer] for gradient in gradients[epoch]], axis=0)
                np.testing.assert_allclose(mean, -full, rtol=1e-12, atol=1e-13)


def test_the_order_of_batches_matters_and_its_mean_is_known(least_squares):
    """One epoch ends at ``W - eta sum_i g_i + (eta^2 / 2) sum_{i != j} H_j g_i + O(eta^3)`` on average over orders."""
    parts, rest, rate = np.array([[0, 3, -1], [1, 4, -1], [2, -1, -1]]), [[0, 1, -1]], 1e-3
    start = (np.array([[0.8, -1.1]]),)
    tables = [np.concatenate([parts[list(order)], rest]) for order in itertools.permutations(range(3))]
    ends = np.array([descend(least_squares, start, rate, 3, batches=table).endpoint[0][0] for table in tables])
    assert np.ptp(ends, axis=0).max() > 0.1 * rate**2
    layer, identity, factor = np.asarray(start[0]), np.eye(2), 5 / (7 / 4)
    samples = [part[part >= 0] for part in parts]
    gradients = np.array([batch_gradient(least_squares, layer, chosen, factor)[0] for chosen in samples])
    inputs = [least_squares.X[:, chosen] for chosen in samples]
    hessians = [factor * X @ X.T / 5 + 0.3 * identity for X in inputs]
    pairs = sum(hessians[j] @ gradients[i] for i in range(3) for j in range(3) if i != j)
    expected = layer[0] - rate * gradients.sum(axis=0) + 0.5 * rate**2 * pairs
    np.testing.assert_allclose(ends.mean(axis=0), expected, rtol=0, atol=20 * rate**3)
    assert np.abs(0.5 * rate**2 * pairs).max() > 100 * 20 * rate**3


def test_epochs_use_every_sample_once_and_repeat():
    table = epochs(3, 10, 4, 5)
    assert table.shape == (15, 4)
    for epoch in table.reshape(5, -1):
        assert sorted(epoch[epoch >= 0]) == list(range(10))
    np.testing.assert_array_equal(table, epochs(jax.random.key(3), 10, 4, 5))
    assert not np.array_equal(table[:3], table[3:6]) and not np.array_equal(table, epochs(4, 10, 4, 5))
    assert epochs(0, 4, 2, 1).min() == 0


def test_rows_are_bounded_and_end_with_the_last_step():
    run = descend(LINE, np.array(1.0), 1e-3, 9001)
    assert len(run.steps) <= 4002 and run.steps[0] == 0 and run.steps[-1] == 9001
    np.testing.assert_array_equal(np.diff(run.steps)[:-1], 3)
    np.testing.assert_allclose(run.params, (1 - 1e-3) ** run.steps, rtol=1e-11)
    chosen = descend(LINE, np.array(1.0), 1e-3, 9001, save_steps=[7, 700])
    np.testing.assert_array_equal(chosen.steps, [0, 7, 700, 9001])
    assert chosen.params[-1] == run.params[-1]
    np.testing.assert_array_equal(descend(LINE, np.array(1.0), 1e-3, 25, save_every=10).steps, [0, 10, 20, 25])


def test_stopping_by_hand_keeps_what_was_done():
    advance, calls = descending._advance, itertools.count()

    def advance_twice(*args):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return advance(*args)

    with mock.patch.object(descending, "_advance", advance_twice):
        run = descend(LINE, np.array(1.0), 1e-3, 100_000)
    assert run.status is DescentStatus.INTERRUPTED and run.stopped_at is None
    assert 64 < run.steps[-1] < 100_000
    np.testing.assert_allclose(run.endpoint, (1 - 1e-3) ** run.steps[-1], rtol=1e-11)


@pytest.mark.parametrize(("options", "words"), [
    ({"learning_rate": 0.0}, "greater than 0"),
    ({"momentum": 1.0}, "less than 1"),
    ({"nesterov": True}, "come with a momentum"),
    ({"num_steps": 0}, "at least 1"),
    ({"save_every": 2, "save_steps": [1]}, "left out"),
    ({"save_steps": [3, 2]}, "increasing"),
    ({"save_steps": [30]}, "between 0 and num_steps"),
    ({"num_steps": 100_000, "save_every": 1}, "at most 4000 rows"),
    ({"max_norm": 1.0}, "larger than the norm"),
    ({"batches": [[0]]}, "come with a Regression"),
    ({"flow": "loss"}, "be a flow or a problem"),
])  # fmt: skip
def test_wrong_calls_are_refused(options, words):
    call = {"flow": QUADRATIC, "params0": START, "learning_rate": 0.1, "num_steps": 10} | options
    with pytest.raises(checks.InputError, match=words):
        descend(**call)


@pytest.mark.parametrize(("table", "words"), [
    ([[0, 5]], "sample numbers 0 to 4"),
    ([[0, -2]], "sample numbers 0 to 4"),
    ([[0.0, 1.0]], "whole numbers"),
    ([[0], [-1]], "sample in every row"),
    ([[0, 1]], "row for each of the 2 steps"),
    ([0, 1], "whole numbers"),
])  # fmt: skip
def test_wrong_batches_are_refused(least_squares, table, words):
    with pytest.raises(checks.InputError, match=words):
        descend(least_squares, (np.ones((1, 2)),), 0.1, 2, batches=table)


def test_a_reduced_flow_takes_no_batches(regression):
    with pytest.raises(checks.InputError, match="gradient flow of a Regression"):
        descend(gf.ReducedFlow(regression), FIRST, 0.1, 1, batches=[[0]])
    with pytest.raises(checks.InputError, match="at most the number of samples"):
        epochs(0, 3, 4, 1)
