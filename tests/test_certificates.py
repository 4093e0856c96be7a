"""Certificates: their numbers against closed forms and a second implementation, and kept along integrated runs."""

import functools
import itertools
import warnings

import jax
import jax.numpy as jnp
import moving
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from gradflow import checks, networks, regularizers
from gradflow.certificates import KINDS as EVERY_KIND
from gradflow.certificates import Certificate, certificates_of, envelope, lemma1_polynomials
from gradflow.certificates.product_growth import chain_root
from gradflow.flow import AbstractFlow, GradientFlow, ReducedFlow
from gradflow.hypotheses import Hypothesis
from gradflow.problem import Landscape, Regression

# Weights of the reference cases G06 and G08 (H = 2, and H = 3 with one more layer).
W_H2 = (
    np.array([[0.4, -0.1, 0.2], [0.3, 0.5, -0.2], [-0.2, 0.1, 0.6]]),
    np.array([[0.5, 0.2, -0.1], [-0.3, 0.4, 0.3]]),
    np.array([[0.6, -0.2], [0.1, 0.7]]),
)
W_H3 = (*W_H2, np.array([[0.8, 0.1], [-0.1, 0.5]]))
# Reference case G11.
W_G11 = (
    np.array([[0.1, -0.05, 0.02], [0.03, 0.1, 0.04], [0.0, 0.05, -0.1]]),
    np.array([[0.9, 0.1, -0.2], [0.2, 0.8, 0.1]]),
    np.array([[1.6, 0.2], [-0.3, 1.5]]),
)
SIGMA = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])

WIDTHS = {1: (4, 4, 3), 2: (4, 4, 3, 3), 3: (4, 4, 3, 4, 3), 4: (4, 4, 4, 3, 4, 2)}
KINDS = ("reduced", "original", "ill conditioned", "rank deficient")


def quiet_regression(*args, **options):
    """A regression whose warnings about rank or repeated singular values are not the point here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        return Regression(*args, **options)


def identity_flow(sigma=SIGMA, hidden=(3, 2)):
    """The flow on ``X = I``, ``Y = Sigma``, where original and reduced flow agree."""
    d_out, d_in = sigma.shape
    return GradientFlow(Regression(networks.Linear((d_in, *hidden, d_out)), np.eye(d_in), sigma))


def scalar_flow(x, y, num_hidden, **options):
    return GradientFlow(Regression(networks.Linear((1,) * (num_hidden + 2)), [[x]], [[y]], **options))


def scalar_weights(*values):
    return tuple(np.full((1, 1), value) for value in values)


def gaussian(rng, widths, scale):
    return tuple(scale * rng.normal(size=(b, a)) / np.sqrt(a) for a, b in itertools.pairwise(widths))


def starts(rng, widths):
    """Four starts: balanced, small and large Gaussian, and heterogeneous scales."""
    rank = min(widths)
    bases = [np.linalg.qr(rng.normal(size=(width, rank)))[0] for width in widths]
    strengths = rng.uniform(0.2, 1.0, rank)
    balanced = tuple(after * strengths @ before.T for before, after in itertools.pairwise(bases))
    scales = np.exp(rng.uniform(np.log(0.1), np.log(2.0), len(widths) - 1))
    mixed = tuple(scale * layer for scale, layer in zip(scales, gaussian(rng, widths, 1.0), strict=True))
    return balanced, gaussian(rng, widths, 0.36), gaussian(rng, widths, 1.2), mixed


def random_flow(rng, widths, kind):
    samples, d_in = 12, widths[0]
    X = rng.normal(size=(d_in, samples)) / np.sqrt(samples)
    if kind == "rank deficient":
        X = rng.normal(size=(d_in, d_in - 2)) @ rng.normal(size=(d_in - 2, samples)) / np.sqrt(samples)
    if kind == "ill conditioned":
        left, _, right = np.linalg.svd(X, full_matrices=False)
        X = left * np.geomspace(3.0, 0.15, d_in) @ right
    Y = rng.normal(size=(widths[-1], d_in)) @ X + 0.2 * rng.normal(size=(widths[-1], samples))
    problem = quiet_regression(networks.Linear(widths), X, Y)
    return ReducedFlow(problem) if kind == "reduced" else GradientFlow(problem)


def integrate_together(flows, params0, t1, rtol=1e-10):
    """Times and weights ``(time, member, rows, columns)`` of equally shaped linear flows, integrated as one system."""
    root = np.stack([flow.problem.statistics.root for flow in flows])
    target = np.stack([flow.problem.statistics.target for flow in flows])
    shapes, count = flows[0].problem.network.shapes, len(flows)
    cuts = np.cumsum([rows * columns for rows, columns in shapes])[:-1]

    def split(flat):
        parts = np.split(flat.reshape(*flat.shape[:-1], count, -1), cuts, axis=-1)
        return tuple(part.reshape(*part.shape[:-1], *shape) for part, shape in zip(parts, shapes, strict=True))

    def field(_, flat):
        layers = split(flat)
        prefixes = [root]
        for layer in layers:
            prefixes.append(layer @ prefixes[-1])
        backward, velocity = target - prefixes[-1], []
        for layer, prefix in zip(reversed(layers), reversed(prefixes[:-1]), strict=True):
            velocity.insert(0, (backward @ prefix.swapaxes(-1, -2)).reshape(count, -1))
            backward = layer.swapaxes(-1, -2) @ backward
        return np.concatenate(velocity, axis=-1).ravel()

    start = np.concatenate([np.ravel(layer) for params in params0 for layer in params])
    for member, (flow, params) in enumerate(zip(flows, params0, strict=True)):
        expected, got = flow.vector_field(params), split(field(0.0, start))
        for layer, leaf in zip(expected, got, strict=True):
            np.testing.assert_allclose(leaf[member], layer, rtol=1e-11, atol=1e-11)
    solution = solve_ivp(field, (0.0, t1), start, method="DOP853", rtol=rtol, atol=1e-2 * rtol)
    return solution.t, split(solution.y.T)


def excess_losses(flow, layers):
    product = flow.problem.statistics.root
    for layer in layers:
        product = layer @ product
    return 0.5 * np.sum((product - flow.problem.statistics.target) ** 2, axis=(-2, -1))


@functools.cache
def runs(num_hidden, kind):
    """``(flow, start, times, layers)`` for four starts of :func:`starts`, each on its own data."""
    rng = np.random.default_rng([num_hidden, KINDS.index(kind)])
    flows, params0 = [], []
    for index in range(4):
        flows.append(random_flow(rng, WIDTHS[num_hidden], kind))
        params0.append(starts(rng, WIDTHS[num_hidden])[index])
    times, layers = integrate_together(flows, params0, 12.0)
    return [(flows[i], params0[i], times, tuple(layer[:, i] for layer in layers)) for i in range(4)]


# --- Lemma 1 and the radii --------------------------------------------------------------------------------------------


def test_lemma1_polynomials_are_those_of_the_reference_case():
    two, three = lemma1_polynomials(W_H2), lemma1_polynomials(W_H3)
    assert (two.C0, three.C0) == (0.25, 0.125)
    np.testing.assert_allclose(two.c, [0.1, -0.26], atol=1e-14)
    np.testing.assert_allclose(three.c, [0.09, -0.27, -0.01], atol=1e-14)
    np.testing.assert_allclose(three.kappa, [0.231110315342675, 0.2081024967590665, 0.2735609800399159], atol=1e-12)
    np.testing.assert_allclose(two.P, [0.647315308860808, 0.04330664915735728, 0.0], atol=1e-12)
    np.testing.assert_allclose(three.P, [1.4679982489805559, 0.2678134785585551, 0.02047210275888196, 0.0], atol=1e-12)
    np.testing.assert_allclose(two.Q, [0.1, 0.0, 0.0], atol=1e-14)
    np.testing.assert_allclose(three.Q, [0.09, 0.0, 0.0, 0.0], atol=1e-14)


def test_lemma1_constants_come_from_the_narrow_side_and_the_operator_norms():
    # Later layers are the smaller ones, so that the largest eigenvalue of C_2 is not its norm.
    layers = gaussian(np.random.default_rng(0), (2, 4, 3, 1), 1.0)
    params = (3.0 * layers[0], 2.0 * layers[1], 0.1 * layers[2])
    polynomials = lemma1_polynomials(params)
    second = params[2].T @ params[2] - params[1] @ params[1].T
    two_layers = lemma1_polynomials(params[:2])
    assert (polynomials.C0, two_layers.C0) == (1.0, 1 / 3)
    assert polynomials.kappa[1] == pytest.approx(np.linalg.norm(second, 2), rel=1e-12)
    assert polynomials.kappa[1] > 2 * abs(np.linalg.eigvalsh(second)[-1])
    first = params[1].T @ params[1] - params[0] @ params[0].T
    assert polynomials.kappa[0] == pytest.approx(np.linalg.eigvalsh(first)[-1], rel=1e-12)


@pytest.mark.parametrize("num_hidden", [0, 1, 2, 3, 4])
def test_lemma1_encloses_the_product_norm(num_hidden):
    rng = np.random.default_rng(num_hidden)
    for _ in range(100):
        widths = rng.integers(1, 5, num_hidden + 2)
        params = gaussian(rng, widths, np.exp(rng.uniform(-2, 1)))
        polynomials, g = lemma1_polynomials(params), np.sum(params[-1] ** 2)
        square = np.sum(functools.reduce(lambda product, layer: layer @ product, params) ** 2)
        leading = g ** (num_hidden + 1)
        slack = 1e-13 * (leading + np.polyval(polynomials.Q, g) + np.polyval(polynomials.P, g))
        assert polynomials.C0 * leading - np.polyval(polynomials.P, g) <= square + slack
        assert square <= leading + np.polyval(polynomials.Q, g) + slack


def second_opinion(flow, params0):
    """The bounds of the boundedness certificate, written out once more with other tools (roots, bisection)."""
    statistics = flow.problem.statistics
    scales, target = statistics.scales, statistics.target
    layers = [params0[0] @ (statistics.root / scales), *params0[1:]]
    depth, smallest = len(layers) - 1, np.min(scales)
    product = functools.reduce(lambda result, layer: layer @ result, layers, np.diag(scales))
    delta = np.linalg.norm(product - target)
    C = [layers[j + 1].T @ layers[j + 1] - layers[j] @ layers[j].T for j in range(depth)]
    top = [np.linalg.eigvalsh(matrix)[-1] for matrix in C]
    bottom = [np.linalg.eigvalsh(-matrix)[-1] for matrix in C]
    reaches = []
    for norm in (2, "fro"):
        solution, size = np.linalg.norm(target / scales, norm), np.linalg.norm(target, norm)
        reaches.append(min((solution + size / smallest) / 2, solution + delta / smallest))
    polynomials = lemma1_polynomials(layers)
    full = np.concatenate([[polynomials.C0], -polynomials.P])

    def largest_root(value):
        shifted = full.copy()
        shifted[-1] -= value**2
        roots = np.roots(shifted)
        return np.max(roots.real[np.abs(roots.imag) < 1e-6 * np.abs(roots)])

    def chain(shifts, value):
        ceiling = max(shifts)
        product = lambda s: np.prod([s - shift for shift in shifts]) - value**2  # noqa: E731
        return brentq(product, ceiling, ceiling + value ** (2 / len(shifts)) + 1e-9, xtol=1e-14)

    def growth(layer, shifts):
        g, k = np.sum(layer**2), min(layer.shape)
        op = max(np.linalg.norm(layer, 2) ** 2, chain(shifts, reaches[0]))
        return min(k * op, max(g, k * chain(shifts, reaches[1]))) - g

    squares = sum(np.sum(layer**2) for layer in params0)
    g0 = np.sum(layers[-1] ** 2)
    rho = np.linalg.norm(target / scales) + delta / smallest
    growths = {
        "R_loss": max(largest_root(rho) - g0, 0.0),
        "R_ode": max(largest_root(reaches[1]) - g0, 0.0),
        "R_chain": growth(layers[-1], [sum(top[j:]) for j in range(depth + 1)]),
    }
    if np.ptp(scales) < 1e-12:
        mirrored = growth(layers[0], [sum(bottom[:j]) for j in range(depth + 1)])
        growths["R_chain"] = min(growths["R_chain"], mirrored)
    return {name: np.sqrt(squares + (depth + 1) * value) for name, value in growths.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_hidden", [1, 2, 3, 4])
def test_radii_agree_with_a_second_implementation(num_hidden, kind):
    rng = np.random.default_rng([num_hidden, 7])
    for params0 in starts(rng, WIDTHS[num_hidden]):
        flow = random_flow(rng, WIDTHS[num_hidden], kind)
        values = certificates_of(flow, params0)[0].values
        expected = second_opinion(flow, params0)
        # np.roots loses digits at the powers of badly scaled coefficients.
        for name, value in expected.items():
            assert values[name] == pytest.approx(value, rel=1e-7), name
        assert values["R"] == min(values[name] for name in ("R_loss", "R_ode", "R_chain"))
        assert values["norm0"] <= values["R"] and values["R_ode"] <= values["R_loss"] * (1 + 1e-12)


def test_the_mirrored_chain_is_used_only_in_isotropic_coordinates():
    # W_1 has rank 2 and W_2 rank 3, so the bound on the norm that starts from W_1 is the smaller one.
    rng = np.random.default_rng(0)
    params0, network, Y = gaussian(rng, (2, 3, 3), 0.3), networks.Linear((2, 3, 3)), rng.normal(size=(3, 2))
    reduced = ReducedFlow(quiet_regression(network, np.eye(2), Y))
    nearly = GradientFlow(quiet_regression(network, np.diag([1.0, 1.0 - 1e-9]), Y))
    exactly = GradientFlow(quiet_regression(network, np.eye(2), Y))
    pairs = ((reduced, reduced.coordinates(params0)), (exactly, params0), (nearly, params0))
    chains = [certificates_of(flow, start)[0].values["R_chain"] for flow, start in pairs]
    assert chains[0] == pytest.approx(chains[1], rel=1e-12)
    assert chains[0] < 0.99 * chains[2]


@pytest.mark.parametrize(("x", "y"), [(1.0, 2.0), (0.5, 2.0), (3.0, -2.0)])
@pytest.mark.parametrize("num_hidden", [1, 2, 3])
def test_radii_are_attained_by_scalar_chains(num_hidden, x, y):
    depth = num_hidden + 1
    flow = scalar_flow(x, y, num_hidden)
    # Balanced: every weight ends at |y/x|^(1/depth).
    values = certificates_of(flow, scalar_weights(*[0.1] * depth))[0].values
    limit = np.sqrt(depth) * abs(y / x) ** (1 / depth)
    assert values["R_ode"] == pytest.approx(limit, rel=1e-11)
    assert values["R_chain"] == pytest.approx(limit, rel=1e-11)
    assert values["op_norm_1"] == pytest.approx(abs(y / x) ** (1 / depth), rel=1e-11)
    # Unbalanced: w_j^2 = w_last^2 - e_j, where the chain is exact.
    params0 = scalar_weights(*np.linspace(0.1, 0.4, depth))
    shifts = [0.4**2 - float(layer[0, 0]) ** 2 for layer in params0]
    last = chain_root(np.array(shifts), abs(y / x))
    values = certificates_of(flow, params0)[0].values
    squares = [last - shift for shift in shifts]
    assert np.prod(squares) == pytest.approx((y / x) ** 2, rel=1e-9)
    assert values["R_chain"] == pytest.approx(np.sqrt(sum(squares)), rel=1e-11)
    for layer, square in enumerate(squares, start=1):
        assert values[f"op_norm_{layer}"] == pytest.approx(np.sqrt(square), rel=1e-11)


def test_the_radius_does_not_depend_on_the_normalization():
    # Only the speed changes; the solutions and the conserved matrices do not.
    rng = np.random.default_rng(2)
    X, Y, params0 = rng.normal(size=(3, 8)), rng.normal(size=(2, 8)), gaussian(rng, (3, 4, 2), 0.5)
    problems = [
        Regression(networks.Linear((3, 4, 2)), X, Y, normalization=normalization) for normalization in ("sum", "mean")
    ]
    total, mean = (certificates_of(GradientFlow(problem), params0) for problem in problems)
    for name in ("R", "R_ode", "R_chain", "R_loss"):
        assert total[0].values[name] == pytest.approx(mean[0].values[name], rel=1e-9)
    assert mean[1].values["s_min"] ** 2 == pytest.approx(total[1].values["s_min"] ** 2 / 8, rel=1e-12)


def test_rotating_the_hidden_units_changes_no_certificate():
    rng = np.random.default_rng(4)
    flow, params0 = random_flow(rng, (4, 4, 3), "original"), gaussian(rng, (4, 4, 3), 1.0)
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    rotated = (rotation @ params0[0], params0[1] @ rotation.T)
    for before, after in zip(certificates_of(flow, params0), certificates_of(flow, rotated), strict=True):
        assert before.holds == after.holds
        for name, value in before.values.items():
            assert after.values[name] == pytest.approx(value, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_hidden", [1, 2, 3, 4])
def test_no_trajectory_leaves_its_radius(num_hidden, kind):
    for flow, params0, _, layers in runs(num_hidden, kind):
        certificate = certificates_of(flow, params0)[0]
        assert certificate.holds is True
        sup = np.max(np.sqrt(sum(np.sum(layer**2, axis=(1, 2)) for layer in layers)))
        for name in ("R", "R_loss", "R_ode", "R_chain"):
            # The integrator's own error, rtol 1e-10 with some accumulation.
            assert sup <= certificate.values[name] * (1 + 1e-8), name
        for index, layer in enumerate(layers, start=1):
            largest = np.max(np.linalg.norm(layer, 2, axis=(1, 2)))
            assert largest <= certificate.values[f"op_norm_{index}"] * (1 + 1e-8), index


def test_the_radius_stays_close_to_what_is_reached():
    """R / sup of the runs above; about 1.1 for balanced starts, up to 3 for heterogeneous ones on this data."""
    ratios = []
    for num_hidden in (1, 2, 3, 4):
        for flow, params0, _, layers in runs(num_hidden, "reduced"):
            sup = np.max(np.sqrt(sum(np.sum(layer**2, axis=(1, 2)) for layer in layers)))
            ratios.append(certificates_of(flow, params0)[0].values["R"] / sup)
    assert np.median(ratios) < 1.7 and np.max(ratios) < 4.0


def test_the_frozen_part_of_the_first_layer_counts_once():
    rng = np.random.default_rng(8)
    X = np.array([[1.0, 2.0, -1.0], [0.0, 0.0, 0.0]])
    flow = GradientFlow(Regression(networks.Linear((2, 2, 1)), X, rng.normal(size=(1, 3))))
    params0 = gaussian(rng, (2, 2, 1), 0.5)
    frozen = params0[0].copy()
    frozen[:, 1] *= 100.0
    small, large = (certificates_of(flow, start)[0].values for start in (params0, (frozen, params0[1])))
    added = np.sum(frozen[:, 1] ** 2) - np.sum(params0[0][:, 1] ** 2)
    for name in ("R", "R_ode", "R_chain", "R_loss", "norm0"):
        assert large[name] ** 2 == pytest.approx(small[name] ** 2 + added, rel=1e-10), name
    assert large["op_norm_2"] == pytest.approx(small["op_norm_2"], rel=1e-9)


def test_one_layer_has_the_exact_columnwise_radius():
    rng = np.random.default_rng(9)
    X, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    X = X * [10.0, 1.0, 0.01]
    solution = rng.normal(size=(2, 3))
    flow = GradientFlow(Regression(networks.Linear((3, 2)), X, solution @ X))
    values = certificates_of(flow, (np.zeros((2, 3)),))[0].values
    # From zero the norm rises monotonically to that of the solution.
    assert values["R"] == values["R_columns"] == pytest.approx(np.linalg.norm(solution), rel=1e-9)
    assert values["R"] < 0.1 * values["R_chain"] and values["R_ode"] <= values["R_loss"]
    assert values["op_norm_1"] <= values["R"] * (1 + 1e-12)


def test_a_start_whose_loss_overflows_is_refused():
    with pytest.raises(checks.InputError, match=r"`params0` must have a finite loss, but got inf"):
        certificates_of(identity_flow(), tuple(1e60 * layer for layer in W_G11))


@pytest.mark.parametrize("scale", [1e-60, 1e25])
def test_extreme_starts_overflow_nothing(scale):
    flow = random_flow(np.random.default_rng(1), WIDTHS[4], "original")
    params0 = gaussian(np.random.default_rng(2), WIDTHS[4], scale)
    bounds, rates = certificates_of(flow, params0)[:2]
    for name in ("R", "R_chain", "R_ode", "norm0"):
        assert np.isfinite(bounds.values[name]) and bounds.values[name] >= bounds.values["norm0"]
    assert bounds.values["R"] >= 0.5
    assert rates.holds is False


def test_a_zero_target_is_bounded_by_the_start():
    params0 = gaussian(np.random.default_rng(3), (2, 2, 2), 1.0)
    decaying = quiet_regression(networks.Linear((2, 2, 2)), np.eye(2), np.zeros((2, 2)))
    values = certificates_of(GradientFlow(decaying), tuple(0.0 * layer for layer in params0))[0].values
    assert values["R"] == 0.0


# --- every kind ------------------------------------------------------------------------------------------------------


class Slowed(AbstractFlow):
    """Half as fast as the gradient flow: no theory speaks of it."""

    problem: Regression

    def vector_field(self, params):
        return tuple(-0.5 * leaf for leaf in self.problem.gradient(params))


def _share_of_radius(certificate, flow, times, layers):
    return max(np.sqrt(sum(np.sum(layer**2, axis=(1, 2)) for layer in layers))) / certificate.values["R"]


def _share_of_envelope(certificate, flow, times, layers):
    return max(excess_losses(flow, layers) / (envelope(certificate, times) - certificate.values["irreducible"]))


KEPT = {"boundedness": _share_of_radius, "exponential_rate": _share_of_envelope}
"""What a run reaches of what each kind promises, as a share: at most 1, and not next to nothing."""


def test_every_kind_is_kept_by_a_run_from_a_start_that_it_grants():
    flow, times = identity_flow(), np.linspace(0.0, 5.0, 51)
    layers = moving.states(flow, W_G11, times)
    granted = {certificate.name: certificate for certificate in (kind(flow, W_G11) for kind in EVERY_KIND)}
    assert sorted(granted) == sorted(KEPT) and len(KEPT) == len(EVERY_KIND)
    for name, certificate in granted.items():
        assert certificate.holds is True and certificate.source, name
        assert 0.1 < KEPT[name](certificate, flow, times, layers) <= 1 + 1e-9, name


@pytest.mark.parametrize("kind", EVERY_KIND, ids=[kind.__name__ for kind in EVERY_KIND])
def test_every_kind_refuses_a_flow_without_theory_and_a_start_that_is_none(kind):
    flow = identity_flow()
    assert kind(Slowed(flow.problem), W_G11).holds is not True
    for wrong in (W_H3, np.zeros(3), (W_G11[0], np.full((2, 3), np.nan), W_G11[2])):
        with pytest.raises(checks.InputError, match="params0"):
            kind(flow, wrong)
    assert kind(GradientFlow(Landscape(lambda x: -jnp.sum(x**2))), np.array([1.0, 2.0])).holds is not True


# --- rates ------------------------------------------------------------------------------------------------------------


def test_rates_are_those_of_the_reference_case():
    certificate = certificates_of(identity_flow(), W_G11)[1]
    values = certificate.values
    assert certificate.holds is True
    expected = {
        "lambda_1": 0.5051545244817656,
        "lambda_2": 1.3129986911017189,
        "alpha_product": 0.6632672294486694,
        "alpha": 0.9184483230530681,
        "rate": 2 * 0.9184483230530681,
        "excess0": 2.084476545,
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-10), name
    bound = [0.8319935780534428, 0.3320801644818557, 0.05290404245939659, 0.008428198995000682]
    np.testing.assert_allclose(envelope(certificate, [0.5, 1.0, 2.0, 3.0]), bound, rtol=0, atol=1e-10)


def test_the_rate_is_refused_when_a_layer_has_too_few_positive_eigenvalues():
    certificate = certificates_of(identity_flow(), W_H2)[1]
    assert certificate.holds is False
    assert certificate.values["lambda_1"] == pytest.approx(-0.08833266891836587, abs=1e-10)
    assert certificate.values["lambda_2"] == pytest.approx(0.05189750324093346, abs=1e-10)
    assert certificate.values["rate"] == certificate.values["alpha_product"] == 0.0
    assert [hypothesis.holds for hypothesis in certificate.hypotheses[-2:]] == [False, True]
    assert "no rate is promised" in certificate.note


def test_the_rate_is_refused_for_a_widening_layer():
    flow = GradientFlow(Regression(networks.Linear((2, 1, 2)), np.eye(2), np.diag([2.0, 1.0])))
    certificate = certificates_of(flow, (np.zeros((1, 2)), np.ones((2, 1))))[1]
    assert certificate.holds is False
    assert np.isnan(certificate.values["lambda_1"]) and certificate.values["rate"] == 0.0
    assert "more rows (2) than columns (1)" in certificate.hypotheses[-1].statement


def test_rounding_does_not_certify_a_balanced_start():
    flow = GradientFlow(Regression(networks.Linear((3, 3, 1)), np.eye(3), np.ones((1, 3))))
    largest = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        before, hidden = (column / np.linalg.norm(column) for column in rng.normal(size=(2, 3)))
        certificate = certificates_of(flow, (10.0 * np.outer(hidden, before), 10.0 * hidden[None, :]))[1]
        largest.append(certificate.values["lambda_1"])
        assert certificate.holds is False
    # Exactly these eigenvalues are 0; as computed some are not.
    assert 0.0 < max(largest) < 1e-12


@pytest.mark.parametrize(("x", "normalization"), [(1.0, "sum"), (2.0, "sum"), (2.0, "mean"), (0.5, "mean")])
@pytest.mark.parametrize("num_hidden", [0, 1, 2, 3])
def test_rates_are_attained_by_scalar_chains_with_a_tiny_target(num_hidden, x, normalization):
    # With w_1 = 0 and a tiny target the later weights stand still, so the loss decays at exactly the promised rate.
    samples, y = 5, 1e-4
    network = networks.Linear((1,) * (num_hidden + 2))
    X, Y = np.full((1, samples), x / np.sqrt(samples)), np.full((1, samples), y / np.sqrt(samples))
    flow = GradientFlow(Regression(network, X, Y, normalization=normalization))
    params0 = scalar_weights(0.0, *np.linspace(0.7, 1.2, num_hidden))
    certificate = certificates_of(flow, params0)[1]
    later = np.prod(np.linspace(0.7, 1.2, num_hidden) ** 2)
    assert certificate.holds is True
    assert certificate.values["alpha"] == pytest.approx(later, rel=1e-12)
    t1 = 2.0 / certificate.values["rate"]
    times, layers = integrate_together([flow], [params0], t1, rtol=1e-12)
    losses = excess_losses(flow, tuple(layer[:, 0] for layer in layers)) + flow.problem.irreducible
    promised = envelope(certificate, times)
    np.testing.assert_array_less(losses, promised * (1 + 1e-9))
    np.testing.assert_allclose(losses[-1], promised[-1], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_hidden", [1, 2, 3])
def test_no_loss_leaves_its_envelope(num_hidden, kind):
    widths = {1: (5, 4, 2), 2: (5, 4, 3, 2), 3: (6, 5, 4, 3, 2)}[num_hidden]
    rng = np.random.default_rng([num_hidden, 11])
    flows, params0 = [], []
    while len(flows) < 3:
        # Later layers dominate earlier ones; about one draw in two is certified.
        draw = tuple(0.15 * 3**index * layer for index, layer in enumerate(gaussian(rng, widths, 1.0)))
        flow = random_flow(rng, widths, kind)
        if certificates_of(flow, draw)[1].holds:
            flows.append(flow)
            params0.append(draw)
    times, layers = integrate_together(flows, params0, 4.0)
    for member, (flow, start) in enumerate(zip(flows, params0, strict=True)):
        certificate = certificates_of(flow, start)[1]
        excess = excess_losses(flow, tuple(layer[:, member] for layer in layers))
        promised = envelope(certificate, times) - certificate.values["irreducible"]
        # Errors of the integration, 1e-10 relative to the weights.
        assert np.all(excess <= promised * (1 + 1e-7) + 1e-15)
        assert certificate.values["alpha_product"] <= certificate.values["alpha"]


def test_the_rate_counts_only_directions_that_have_data():
    # X = diag(2, 0): the second input never occurs, and s_min is 2, not 0.
    flow = GradientFlow(Regression(networks.Linear((2, 1)), np.diag([2.0, 0.0]), np.array([[1.0, 0.0]])))
    values = certificates_of(flow, (np.array([[1.0, 5.0]]),))[1].values
    assert (values["s_min"], values["alpha"]) == (2.0, 1.0)
    assert values["rate"] == pytest.approx(8.0, rel=1e-11)


def test_an_envelope_is_refused_where_nothing_is_promised():
    bounds, rates = certificates_of(identity_flow(), W_H2)[:2]
    with pytest.raises(checks.InputError, match=r"`certificate` must be an exponential_rate certificate"):
        envelope(bounds, [0.0])
    with pytest.raises(checks.InputError, match=r"`certificate` must hold.*holds=False"):
        envelope(rates, [0.0])
    with pytest.raises(checks.InputError, match=r"`times` must be at least 0"):
        envelope(certificates_of(identity_flow(), W_G11)[1], [-1.0])


# --- refusals, weight decay, landscapes -------------------------------------------------------------------------------


def test_under_weight_decay_only_the_decay_bounds_are_promised_and_they_hold():
    strength, rng = 0.1, np.random.default_rng(6)
    X, Y = rng.normal(size=(3, 8)), rng.normal(size=(2, 8))
    problem = Regression(networks.Linear((3, 4, 2)), X, Y, regularizer=regularizers.WeightDecay(strength))
    flow, params0 = GradientFlow(problem), gaussian(rng, (3, 4, 2), 0.4)
    bounds, rates = certificates_of(flow, params0)[:2]
    assert bounds.holds is True and rates.holds is False and not rates.values
    assert set(bounds.values) == {"norm0", "R", "R_decay", "R_balance"}
    assert "do not apply" in bounds.note
    excess = float(problem.loss(params0)) - problem.irreducible
    assert bounds.values["R_decay"] == pytest.approx(np.sqrt(2 * excess / strength), rel=1e-9)
    target = np.linalg.norm(problem.statistics.target)
    assert bounds.values["R_balance"] == pytest.approx(target * np.sqrt(2 / (4 * strength)), rel=1e-9)

    @jax.jit
    def field(_, flat):
        velocity = flow.vector_field((flat[:12].reshape(4, 3), flat[12:].reshape(2, 4)))
        return jnp.concatenate([leaf.ravel() for leaf in velocity])

    start = np.concatenate([layer.ravel() for layer in params0])
    with jax.enable_x64(True):
        norms = np.linalg.norm(solve_ivp(field, (0.0, 10.0), start, rtol=1e-8).y, axis=0)
    assert np.max(norms) <= bounds.values["R"]


def test_the_balance_bound_is_attained_by_a_scalar_network():
    # w_1 = w_2 = w: w' = w (y - w^2) - strength w; the bound uses <A, T - A> <= ||T||^2 / 4, exact at A = T/2.
    strength = 1.0
    flow = scalar_flow(1.0, 2.0, 1, regularizer=regularizers.WeightDecay(strength))
    values = certificates_of(flow, scalar_weights(0.5, 0.5))[0].values
    # The limit w^2 = y - strength = 1 = y/2 has ||W||^2 = 2 = 2 y^2 / (4 strength).
    assert values["R_balance"] == pytest.approx(np.sqrt(2.0), rel=1e-11)


def test_other_losses_regularisers_and_flows_are_not_certified():
    class Quartic(regularizers.AbstractRegularizer):
        def __call__(self, params):
            return sum((leaf**4).sum() for leaf in params)

    def absolute(outputs, targets):
        return jnp.sum(jnp.abs(outputs - targets))

    network, decay = networks.Linear((3, 3, 2, 2)), regularizers.WeightDecay(0.1)
    refused = {
        "half the squared error": GradientFlow(Regression(network, np.eye(3), SIGMA, loss=absolute)),
        "no regulariser": GradientFlow(Regression(network, np.eye(3), SIGMA, regularizer=Quartic())),
        "the gradient flow or": Slowed(Regression(network, np.eye(3), SIGMA)),
        "the gradient flow of": Slowed(Regression(network, np.eye(3), SIGMA, regularizer=decay)),
        "squared": GradientFlow(Regression(network, np.eye(3), SIGMA, loss=absolute, regularizer=decay)),
    }
    for words, flow in refused.items():
        bounds, rates = certificates_of(flow, W_G11)[:2]
        assert bounds.holds is False and rates.holds is False and "R" not in bounds.values
        assert any(words in hypothesis.statement and not hypothesis.holds for hypothesis in bounds.hypotheses)
        assert bounds.note == "not certified"


def test_weight_decay_bounds_a_nonlinear_model_with_the_squared_error():
    class Squared(networks.AbstractNetwork):
        @property
        def shapes(self):
            return ((2, 2),)

        def __call__(self, params, inputs):
            return (params[0] @ inputs) ** 2

    problem = Regression(Squared(), np.eye(2), np.eye(2), regularizer=regularizers.WeightDecay(0.5))
    params0 = (np.ones((2, 2)),)
    bounds, rates = certificates_of(GradientFlow(problem), params0)[:2]
    assert bounds.holds is True and rates.holds is False
    assert bounds.values["R"] == pytest.approx(np.sqrt(4 * float(problem.loss(params0))), rel=1e-11)


def test_a_landscape_is_certified_exactly_when_it_brings_a_radius_that_contains_the_start():
    params0 = np.array([3.0, 4.0])
    plain = Landscape(lambda x: jnp.sum(x**2), name="bowl")
    known = Landscape(lambda x: jnp.sum(x**2), radius=jnp.linalg.norm, source="convexity")
    wrong = Landscape(lambda x: jnp.sum(x**2), radius=lambda _: 1.0)
    bounds, rates = certificates_of(GradientFlow(plain), params0)[:2]
    assert bounds.holds is None and rates.holds is None
    assert bounds.note == rates.note == "not certified" and bounds.values == {"norm0": 5.0}
    bounds = certificates_of(GradientFlow(known), params0)[0]
    assert bounds.holds is True and bounds.values["R"] == 5.0 and bounds.source == "convexity"
    assert certificates_of(GradientFlow(wrong), params0)[0].holds is False


def test_a_certificate_cannot_claim_more_than_its_hypotheses():
    undecided = (Hypothesis("the moon is full", None),)
    with pytest.raises(checks.InputError, match=r"`holds` must not be True.*the moon is full"):
        Certificate("boundedness", True, {}, undecided, "nobody")
    assert Certificate("boundedness", None, {}, undecided, "nobody").holds is None


def test_wrong_calls_are_refused():
    flow = identity_flow()
    with pytest.raises(checks.InputError, match=r"`flow` must be a flow, but got Regression"):
        certificates_of(flow.problem, W_G11)
    with pytest.raises(checks.InputError, match=r"shapes"):
        certificates_of(flow, W_H3)
    with pytest.raises(checks.InputError, match=r"`params0` must be a tuple"):
        certificates_of(flow, np.zeros(3))
    with pytest.raises(checks.InputError, match=r"`params0\[1\]` must be finite, but got nan at row 0, column 1"):
        certificates_of(flow, (W_G11[0], np.array([[0.0, np.nan, 0.0], [0.0, 0.0, 0.0]]), W_G11[2]))


def test_values_are_plain_numbers():
    for certificate in certificates_of(identity_flow(), W_G11):
        assert all(type(value) is float for value in certificate.values.values())
        assert all(type(hypothesis.holds) is bool for hypothesis in certificate.hypotheses)
