"""What a balancing term makes of the imbalances: decay in norm, decay with detours, or no law; G23 and G24."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from moving import linear_velocity, rate_along, states, weights
from scipy import optimize

from gradflow import networks
from gradflow.flow import GradientFlow, ReducedFlow
from gradflow.invariants import Behaviour, imbalance, invariants_of, total_imbalance, weighted_imbalance
from gradflow.problem import Regression
from gradflow.regularizers import AbstractRegularizer, Balance

CASES = {
    case["id"]: case for case in json.loads((Path(__file__).parent / "golden/papers_000_002.json").read_text())["cases"]
}
pytestmark = pytest.mark.usefixtures("quiet")
MONOTONE, DECAYS, NEITHER = Behaviour.DECAYS_MONOTONICALLY, Behaviour.DECAYS, Behaviour.NEITHER
STRENGTH = 0.4


def data(kind, d_in=3, samples=6, seed=0):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(d_in, samples)), rng.normal(size=(2, samples))
    left, _, right = np.linalg.svd(X, full_matrices=False)
    if kind == "white":
        X = left @ right
    elif kind == "partial isometry":
        X = left[:, :-1] @ right[:-1]
    elif kind == "rank deficient":
        X = left[:, :-1] * [2.0, 0.7] @ right[:-1]
    return X, Y


def balanced_flow(kind, weighted, widths=(3, 3, 2)):
    X, Y = data(kind, widths[0])
    regularizer = Balance(STRENGTH, X if weighted else None)
    return GradientFlow(Regression(networks.Linear(widths), X, Y, regularizer=regularizer))


def velocity_of(flow, params):
    problem = flow.problem
    gram = problem.regularizer.gram
    return linear_velocity(problem.X, problem.Y, params, STRENGTH, None if gram is None else np.asarray(gram))


def behaviours(flow):
    return {invariant.name: invariant.behaviour for invariant in invariants_of(flow)}


def starts(rng, shapes, gram, count=40):
    """Gaussian weights, and every second time weights that nearly satisfy ``W_2^T W_2 = W_1 G W_1^T``."""
    root = np.linalg.cholesky(gram + 1e-12 * np.eye(len(gram)))
    for index in range(count):
        layers = weights(rng, shapes, rng.choice([0.3, 1.0]))
        if index % 2:
            rank = min(shapes[0][0], shapes[1][0])
            middle, outer, inner = (np.linalg.qr(rng.normal(size=(size, size)))[0][:, :rank]
                                    for size in (shapes[0][0], shapes[1][0], shapes[0][1]))  # fmt: skip
            strengths = rng.uniform(0.3, 1.5, rank)
            balanced = middle * strengths @ inner.T @ np.linalg.pinv(root), outer * strengths @ middle.T
            layers = (*(a + 0.03 * b for a, b in zip(balanced, layers, strict=False)), *layers[2:])
        yield layers


def norm_rate(flow, function, params):
    """``d ||value||^2 / dt``."""

    def squared(layers):
        values = np.asarray(function(layers))
        return (values.reshape(len(values), -1) ** 2).sum(-1)

    return float(rate_along(velocity_of(flow, params), squared, params))


EXPECTED = {
    ("general", False): {"C_1": MONOTONE, "c_1": DECAYS},
    ("general", True): {"C_1": NEITHER, "c_1": NEITHER, "E_1": DECAYS},
    ("white", False): {"C_1": MONOTONE, "c_1": DECAYS},
    ("white", True): {"C_1": MONOTONE, "c_1": DECAYS},
    ("rank deficient", False): {"C_1": MONOTONE, "c_1": DECAYS, "W_1 on ker X^T": NEITHER},
    ("rank deficient", True): {"C_1": NEITHER, "c_1": NEITHER, "E_1": DECAYS, "W_1 on ker X^T": Behaviour.CONSERVED},
    ("partial isometry", True): {
        "C_1": NEITHER, "c_1": NEITHER, "E_1": MONOTONE, "W_1 on ker X^T": Behaviour.CONSERVED,
    },
}  # fmt: skip


@pytest.mark.parametrize(("kind", "weighted"), EXPECTED, ids=str)
def test_what_each_quantity_does_under_a_balancing_term(kind, weighted):
    flow = balanced_flow(kind, weighted)
    assert behaviours(flow) == EXPECTED[kind, weighted]
    rises, falls, gram = set(), set(), flow.problem.X @ flow.problem.X.T
    shapes = flow.problem.network.shapes
    nearly = [starts(np.random.default_rng(1), shapes, weight) for weight in (gram, np.eye(3))]
    for params in itertools.chain(*nearly):
        for invariant in invariants_of(flow):
            rate = norm_rate(flow, invariant.value, params)
            size = float(np.sum(np.asarray(invariant.value(params)) ** 2)) + 1.0
            if invariant.behaviour is Behaviour.CONSERVED:
                assert invariant.holds is True and invariant.decay == 0.0 and abs(rate) < 1e-10 * size
                continue
            assert invariant.holds is False and invariant.decay is None
            assert invariant.behaviour is not MONOTONE or rate < 0.0, "a norm that decays"
            (rises if rate > 0.0 else falls).add(invariant.name)
    others = {name for name, behaviour in EXPECTED[kind, weighted].items() if behaviour in (DECAYS, NEITHER)}
    assert rises == others, "the others do rise somewhere"


@pytest.mark.parametrize("weighted", [False, True])
def test_imbalances_obey_the_equations_of_motion(weighted):
    """dD/dt = -mu (D S + S D) with any X; dE/dt = -(T + T^T) - mu [E (W_2^T W_2 + K) + (...) E]."""
    flow = balanced_flow("general", weighted)
    X, Y = flow.problem.X, flow.problem.Y
    params = weights(np.random.default_rng(2), flow.problem.network.shapes)
    first, second = params
    gram = X @ X.T if weighted else np.eye(3)
    defect = second.T @ second - first @ gram @ first.T
    signal = second.T @ (second @ first @ X - Y) @ X.T @ (np.eye(3) - gram) @ first.T
    spread = second.T @ second + first @ gram @ gram @ first.T
    expected = -(signal + signal.T) - STRENGTH * (defect @ spread + spread @ defect)
    found = rate_along(velocity_of(flow, params), lambda layers: weighted_imbalance(layers, gram), params)
    for hand, code in zip(velocity_of(flow, params), flow.vector_field(params), strict=True):
        np.testing.assert_allclose(code, hand, atol=1e-12 * np.abs(hand).max())
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())


def test_without_regulariser_the_weighted_imbalance_moves_unless_the_data_are_white():
    params = weights(np.random.default_rng(3), ((3, 3), (2, 3)))
    for kind, is_conserved in (("general", False), ("white", True), ("partial isometry", True)):
        X, Y = data(kind)
        velocity = linear_velocity(X, Y, params)
        rate = rate_along(velocity, lambda layers, X=X: weighted_imbalance(layers, X @ X.T), params)
        assert (np.abs(rate).max() < 1e-10) == is_conserved


@pytest.mark.parametrize("weighted", [False, True])
def test_for_deeper_networks_the_total_decays_and_no_single_imbalance_needs_to(weighted):
    flow = balanced_flow("white" if weighted else "general", weighted, (3, 2, 3, 2))
    found = behaviours(flow)
    assert found == {"C_1": DECAYS, "C_2": DECAYS, "c_1": DECAYS, "c_2": DECAYS, "rho": MONOTONE}
    total = invariants_of(flow)[-1]
    rises = 0
    for params in starts(np.random.default_rng(4), flow.problem.network.shapes, np.eye(3)):
        assert rate_along(velocity_of(flow, params), total.value, params) < 0.0
        rises += norm_rate(flow, lambda layers: imbalance(layers, 1), params) > 0.0
    assert rises
    assert total.value(params) == pytest.approx(sum(np.sum(imbalance(params, layer) ** 2) for layer in (1, 2)))
    assert total.value(params) == pytest.approx(4 * float(flow.problem.regularizer(params)) / STRENGTH)
    deep = balanced_flow("general", True, (3, 2, 3, 2))
    gram = deep.problem.X @ deep.problem.X.T
    assert behaviours(deep) == {
        "C_1": NEITHER, "C_2": DECAYS, "c_1": NEITHER, "c_2": DECAYS, "E_1": DECAYS, "rho": DECAYS,
    }  # fmt: skip
    assert total_imbalance(params, gram) == pytest.approx(4 * float(deep.problem.regularizer(params)) / STRENGTH)


@pytest.mark.parametrize(("weighted", "widths"), [(True, (2, 2, 2)), (False, (2, 2, 2)), (True, (2, 1, 2, 2))])
def test_what_decays_is_zero_at_critical_points(weighted, widths):
    """Found by least squares on the gradient from random starts, whatever their kind; X is not white."""
    X, Y = data("general", 2, 4)
    problem = Regression(networks.Linear(widths), X, Y, regularizer=Balance(STRENGTH, X if weighted else None))
    flow, shapes, found = GradientFlow(problem), problem.network.shapes, 0
    gram = X @ X.T if weighted else None
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    split = lambda flat: tuple(p.reshape(s) for p, s in zip(np.split(flat, cuts), shapes, strict=True))  # noqa: E731

    def gradient(flat):
        return np.concatenate([leaf.ravel() for leaf in linear_velocity(X, Y, split(flat), STRENGTH, gram)])

    for seed in range(5):
        start = np.concatenate([layer.ravel() for layer in weights(np.random.default_rng(seed), shapes)])
        point = optimize.least_squares(gradient, start, xtol=1e-15, ftol=1e-15, gtol=1e-15).x
        if np.linalg.norm(gradient(point)) > 1e-10:
            continue
        found += 1
        for invariant in invariants_of(flow):
            if invariant.behaviour in (MONOTONE, DECAYS):
                # rho is of fourth degree and flat at its zeros: an error e of the root moves E by e.
                assert np.abs(invariant.value(split(point))).max() < 1e-4, invariant.name
    assert found >= 2


def test_a_term_of_strength_zero_conserves_and_one_of_another_kind_has_no_law():
    class Quartic(AbstractRegularizer):
        def __call__(self, params):
            return sum((leaf**4).sum() for leaf in params)

    X, Y = data("general")
    free = GradientFlow(Regression(networks.Linear((3, 3, 2)), X, Y, regularizer=Balance(0.0, X)))
    assert all(invariant.holds for invariant in invariants_of(free))
    other = GradientFlow(Regression(networks.Linear((3, 3, 2)), X, Y, regularizer=Quartic()))
    assert all(i.behaviour is NEITHER and i.holds is False for i in invariants_of(other))


# --- Reference cases of paper 001 -------------------------------------------------------------------------------------


def g23():
    inputs = CASES["G23"]["inputs"]
    return *(np.array(inputs[key]) for key in ("X", "Y")), tuple(np.array(inputs[key]) for key in ("W1", "W2"))


@pytest.mark.parametrize("name", ["mu=0.0", "mu=0.5", "h_mu=0.5"])
def test_g23_imbalances_along_the_flows_with_and_without_the_terms(name):
    X, Y, start = g23()
    regularizer = {"mu=0.0": None, "mu=0.5": Balance(0.5, X), "h_mu=0.5": Balance(0.5)}[name]
    flow = GradientFlow(Regression(networks.Linear((2, 2, 2)), X, Y, regularizer=regularizer))
    rows = CASES["G23"]["expected"][name]
    layers = states(flow, start, [row["t"] for row in rows])
    np.testing.assert_allclose(layers[0], [row["W1"] for row in rows], atol=1e-9)
    np.testing.assert_allclose(layers[1], [row["W2"] for row in rows], atol=1e-9)
    plain = np.linalg.norm(imbalance(layers, 1), axis=(1, 2))
    np.testing.assert_allclose(plain, [row["norm_D"] for row in rows], atol=1e-9)
    weighted = np.linalg.norm(weighted_imbalance(layers, X @ X.T), axis=(1, 2))
    if name == "h_mu=0.5":
        assert np.all(np.diff(plain) < 0.0)
    else:
        np.testing.assert_allclose(weighted, [row["norm_E"] for row in rows], atol=1e-9)
        assert (np.ptp(plain) < 1e-9) == (name == "mu=0.0") and np.ptp(weighted) > 0.01


def test_g23_the_reduced_flow_is_the_preconditioned_one_and_conserves_the_weighted_imbalance():
    X, Y, start = g23()
    flow = ReducedFlow(Regression(networks.Linear((2, 2, 2)), X, Y))
    rows = CASES["G23"]["expected"]["preconditioned_mu=0"]
    reduced = states(flow, flow.coordinates(start), [row["t"] for row in rows])
    for index, row in enumerate(rows):
        layers = flow.weights(tuple(layer[index] for layer in reduced))
        np.testing.assert_allclose(layers[0], row["W1"], atol=1e-9)
        np.testing.assert_allclose(layers[1], row["W2"], atol=1e-9)
        assert np.linalg.norm(weighted_imbalance(layers, X @ X.T)) == pytest.approx(row["norm_E"], abs=1e-9)
    np.testing.assert_allclose(
        invariants_of(flow)[0].value(flow.coordinates(start)), weighted_imbalance(start, X @ X.T), atol=1e-14
    )


def test_g24_the_weighted_imbalance_leaves_zero_before_it_returns():
    inputs, expected = CASES["G24"]["inputs"], CASES["G24"]["expected"]
    X, Y, first, second = (np.array(inputs[key]) for key in ("X", "Y", "W1", "W2"))
    problem = Regression(networks.Linear((2, 2, 2)), X, Y, regularizer=Balance(inputs["mu"], X))
    flow = GradientFlow(problem)
    invariant = {found.name: found for found in invariants_of(flow)}["E_1"]
    assert invariant.behaviour is DECAYS
    times = np.array([*np.round(np.arange(0.0, 1.525, 0.05), 2), 5.0, 60.0])
    sizes = np.linalg.norm(invariant.value(states(flow, (first, second), times)), axis=(1, 2))
    for row in expected["norm_E"]:
        assert sizes[np.argmin(np.abs(times - row["t"]))] == pytest.approx(row["value"], abs=1e-8)
    assert sizes.max() == pytest.approx(expected["max_norm_E_on_grid_0p05"], abs=1e-8)
    assert times[np.argmax(sizes)] == pytest.approx(expected["argmax_t"])
    rate = rate_along(flow.vector_field((first, second)), invariant.value, (first, second))
    assert np.abs(rate).max() > 0.1, "though E = 0 there"
