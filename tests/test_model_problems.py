"""Model problems: that what is said to be known of them is true."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from gradflow import checks, model_problems
from gradflow.certificates import certificates_of
from gradflow.flow import GradientFlow


def flow_of(problem, params0, times, method="DOP853", rtol=1e-11):
    """States of the gradient flow at `times`, by SciPy in double precision."""
    with jax.enable_x64(True):
        gradient, hessian = jax.jit(problem.gradient), jax.jit(problem.hessian)
        gradient(jnp.asarray(params0)), hessian(jnp.asarray(params0))
        options = {"jac": lambda _, x: -np.asarray(hessian(x))} if method == "Radau" else {}
        return solve_ivp(
            lambda _, x: -np.asarray(gradient(x)),
            (0.0, times[-1]),
            params0,
            method=method,
            t_eval=times,
            rtol=rtol,
            atol=1e-3 * rtol,
            **options,
        ).y.T


@pytest.mark.parametrize("name", model_problems.names())
def test_listed_critical_points_are_critical_and_of_their_kind(name):
    model = model_problems.get(name)
    assert model.name == name and model.source and model.description
    with jax.enable_x64(True):
        loss, gradient, hessian = (jax.jit(getattr(model.problem, part)) for part in ("loss", "gradient", "hessian"))
        locations = [jnp.array(point.location) for point in model.critical_points]
        answers = [tuple(np.asarray(part(x)) for part in (loss, gradient, hessian)) for x in locations]
    for point, (value, slope, curvature) in zip(model.critical_points, answers, strict=True):
        location, eigenvalues = np.array(point.location), np.linalg.eigvalsh(curvature)
        scale = np.max(np.abs(eigenvalues))
        # Rounding of the location moves the gradient by eps times the curvature.
        assert np.max(np.abs(slope)) <= 1e-14 * scale * max(1.0, np.max(np.abs(location)))
        assert value == pytest.approx(point.value, rel=1e-14, abs=1e-25)
        assert np.min(np.abs(eigenvalues)) > 1e-3 * scale
        signs = set(np.sign(eigenvalues))
        expected = {"local_minimum": {1.0}, "maximum": {-1.0}, "strict_saddle": {1.0, -1.0}}[point.kind]
        assert signs == expected
        if model.window is not None:
            inside = [low < entry < high for entry, (low, high) in zip(location, model.window, strict=True)]
            assert all(inside)


@pytest.mark.parametrize(("name", "counts"), [("himmelblau", (4, 4, 1)), ("mueller_brown", (3, 2, 0))])
def test_newton_from_a_grid_finds_exactly_the_listed_critical_points(name, counts):
    model = model_problems.get(name)
    known = np.array([point.location for point in model.critical_points])
    kinds = [point.kind for point in model.critical_points]
    assert tuple(kinds.count(kind) for kind in ("local_minimum", "strict_saddle", "maximum")) == counts
    xs, ys = (np.linspace(low, high, 25) for low, high in model.window)
    points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    with jax.enable_x64(True):
        gradient, hessian = jax.jit(jax.vmap(model.problem.gradient)), jax.jit(jax.vmap(model.problem.hessian))
        for _ in range(60):
            step = np.linalg.solve(np.asarray(hessian(points)), np.asarray(gradient(points))[..., None])[..., 0]
            points = points - step * np.minimum(1.0, 0.3 / np.maximum(np.linalg.norm(step, axis=1), 1e-300))[:, None]
            # Newton's method may run away to where the surface is flat; such points are dropped.
            points = points[np.all(np.abs(points) < 20.0, axis=1)]
        steep = np.linalg.norm(np.asarray(gradient(points)), axis=1) < 1e-8
        curved = np.min(np.abs(np.linalg.eigvalsh(np.asarray(hessian(points)))), axis=1) > 1.0
    inside = np.all([(low < p) & (p < high) for p, (low, high) in zip(points.T, model.window, strict=True)], axis=0)
    distances = np.linalg.norm(points[steep & curved & inside][:, None] - known, axis=-1)
    assert np.max(np.min(distances, axis=1)) < 1e-6
    assert set(np.argmin(distances, axis=1)) == set(range(len(known)))


def test_the_double_well_has_the_counts_of_its_dimension():
    points = model_problems.double_well(3).critical_points
    indices = [sum(entry == 0.0 for entry in point.location) for point in points]
    assert [indices.count(index) for index in range(4)] == [8, 12, 6, 1]
    assert len(model_problems.double_well(1).critical_points) == 3
    assert {point.kind for point in model_problems.double_well(1).critical_points} == {"local_minimum", "maximum"}


@pytest.mark.parametrize(
    ("start", "limit", "bound"),
    [
        ((0.5, 0.5, 1.0), (0.47047245921541136, 0.7321273368193724), 0.75),
        ((0.1, 0.9, 2.0), (0.4326558653111495, 1.7614069861885615), 1.9),
        ((0.9, 0.1, 5.0), (0.21674394292001503, 4.386255070157266), 6.35),
    ],
)
def test_example_1_converges_inside_its_radius(start, limit, bound):
    problem = model_problems.long_excursion().problem
    # z decays at the rates of G13, at least 0.049: what is left of z at the horizon is below 1e-10.
    horizon = {1.0: 50.0, 2.0: 120.0, 5.0: 600.0}[start[2]]
    path = flow_of(problem, start, np.linspace(0.0, horizon, 200))
    np.testing.assert_allclose(path[-1][:2], limit, rtol=0, atol=1e-8)
    assert abs(path[-1][2]) < 1e-9
    certificate = certificates_of(GradientFlow(problem), np.array(start))[0]
    assert certificate.holds is True and "corrected example (1)" in certificate.source
    radius = np.sqrt(max(start[0] ** 2, 0.25) + bound**2 + start[2] ** 2)
    assert certificate.values["R"] == pytest.approx(radius, rel=1e-14)
    assert np.max(np.linalg.norm(path, axis=1)) <= certificate.values["R"]
    assert np.max(np.abs(path[:, 1])) <= bound


def test_the_valley_escapes_like_the_fourth_root_of_time():
    problem = model_problems.escaping_valley().problem
    path = flow_of(problem, (0.5, 0.5), np.array([10.0, 100.0]))
    np.testing.assert_allclose(path[0], [0.39435050437318336, 2.0618454218860593], rtol=0, atol=1e-9)
    np.testing.assert_allclose(path[1], [0.2241078086654832, 4.226107620154554], rtol=0, atol=1e-9)
    late = flow_of(problem, (0.5, 0.5), np.array([1e4, 1e6, 1e8]), method="Radau", rtol=1e-9)
    np.testing.assert_allclose(late[:, 1], [14.06993060597491, 44.698926075388584, 141.41428205445405], atol=1e-5)
    assert late[-1, 1] == pytest.approx((4e8) ** 0.25, rel=1e-4)
    certificate = certificates_of(GradientFlow(problem), np.array([0.5, 0.5]))[0]
    assert certificate.holds is None and certificate.note == "not certified"


def test_one_saxe_mode_is_the_closed_form_of_the_balanced_scalar_network():
    # Reference case G04.
    u = model_problems.saxe_mode([0.5, 1.0, 2.0, 3.0], 2.0, 0.01)
    expected = [0.07160317740286361, 0.4305879205034302, 1.87484111374369, 1.9975575898140558]
    np.testing.assert_allclose(u, expected, rtol=1e-13)
    loss = [1.8593571527013657, 1.2315271376348738, 0.007832373404459966, 2.9826837582019644e-06]
    np.testing.assert_allclose(0.5 * (2.0 - u) ** 2, loss, rtol=1e-9)
    assert model_problems.saxe_mode(1e6, 3.0, 1e-3) == 3.0


def test_the_half_time_is_where_the_mode_is_half_learned():
    half = model_problems.saxe_half_time(3.0, 1e-3)
    assert half == pytest.approx(1.33433903, abs=5e-9)
    assert model_problems.saxe_mode(half, 3.0, 1e-3) == pytest.approx(1.5, rel=1e-13)


def test_the_deep_mode_has_its_reference_values_and_contains_saxe_and_the_linear_case():
    # A three-layer chain with s = 2 and every weight 0.1.
    u = model_problems.deep_mode([4.0, 5.0], 2.0, 1e-3, 3)
    np.testing.assert_allclose(u, [0.11473736, 1.81796472], rtol=0, atol=5e-9)
    times = np.array([0.0, 0.3, 1.0, 2.0])
    np.testing.assert_allclose(
        model_problems.deep_mode(times, 2.0, 0.01, 2), model_problems.saxe_mode(times, 2.0, 0.01), rtol=1e-11
    )
    linear = 2.0 - 1.99 * np.exp(-times)
    np.testing.assert_allclose(model_problems.deep_mode(times, 2.0, 0.01, 1), linear, rtol=1e-11)


def test_a_scalar_chain_moves_as_its_deep_mode():
    problem = model_problems.scalar_chain(3, 2.0)
    assert problem.network.widths == (1, 1, 1, 1) and problem.irreducible == 0.0
    flow = GradientFlow(problem)

    def field(_, a):
        return np.concatenate([np.ravel(leaf) for leaf in flow.vector_field(tuple(a.reshape(3, 1, 1)))])

    path = solve_ivp(field, (0.0, 5.0), [0.1] * 3, method="DOP853", t_eval=[4.0, 5.0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(np.prod(path.y, axis=0), [0.11473736, 1.81796472], rtol=0, atol=1e-7)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(checks.InputError, match=r"Perhaps you meant 'himmelblau'"):
        model_problems.get("himelblau")
    assert model_problems.names() == tuple(sorted(model_problems.REGISTRY))


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        ("double_well", (0,), "dim"),
        ("scalar_chain", (0, 1.0), "depth"),
        ("scalar_chain", (2, np.nan), "s"),
        ("saxe_mode", (1.0, -1.0, 0.1), "s"),
        ("saxe_mode", (1.0, 1.0, 0.0), "u0"),
        ("saxe_half_time", (1.0, 0.7), "u0"),
        ("deep_mode", ([2.0, 1.0], 1.0, 0.1, 3), "times"),
        ("deep_mode", ([1.0], 1.0, 0.1, 0), "num_layers"),
    ],
)
def test_wrong_arguments_are_refused_by_name(function, arguments, name):
    with pytest.raises(checks.InputError, match=f"`{name}` must"):
        getattr(model_problems, function)(*arguments)
