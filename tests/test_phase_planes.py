"""Planes, nullclines and separatrices: what is saved for pictures lies where closed forms say.

The landscape ``Re f`` of ``f(z) = z^3/3 - z`` has the conserved quantity ``Im f = y (x^2 - y^2/3 - 1)``, so that the
manifolds of its saddles z = 1 and z = -1 are the x-axis and the hyperbola ``x^2 - y^2/3 = 1``: curved ones, on paper.
"""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import gradflow as gf
from gradflow import model_problems, phase_planes
from gradflow.checks import InputError
from gradflow.phase_planes.assembling import _trajectory_curve
from gradflow.phase_planes.following import _merged
from gradflow.phase_planes.manifolds import _Parabola
from gradflow.phase_planes.sampling import evenly_bent_times
from gradflow.phase_planes.states import Form
from gradflow.status import Status

BOX = (-2.0, 2.0)
BEND = 1e-3


def imaginary_part(states):
    x, y = np.asarray(states).T
    return y * (x * x - y * y / 3.0 - 1.0)


@pytest.fixture(scope="module")
def holomorphic():
    return gf.GradientFlow(gf.Landscape(lambda p: p[0] ** 3 / 3.0 - p[0] * p[1] ** 2 - p[0], name="holomorphic"))


@pytest.fixture(scope="module")
def found(holomorphic):
    return phase_planes.branches(holomorphic, np.array([1.0, 0.0]), max_norm=4.0, bend=BEND)


@pytest.fixture(scope="module")
def chain():
    """The saved plane of ``(w_1 w_2 - 1)^2 / 2`` with a trajectory, its marks and an invariant."""
    plane = phase_planes.parameter_plane(gf.GradientFlow(model_problems.scalar_chain(2, 1.0)))
    return phase_planes.phase_plane(
        plane, BOX, BOX, starts=((0.3, -1.5),), time_marks=(0.5, 1.0, 1e9), resolution=41,
        functions={"c": lambda params: (params[1] ** 2 - params[0] ** 2).sum()},
    )  # fmt: skip


def rows(data, role):
    return [data.row_place.values[data.row_curve.values == index]
            for index in np.flatnonzero(data.role.values == role)]  # fmt: skip


# --- manifolds --------------------------------------------------------------------------------------------------------


def test_a_saddle_has_two_branches_of_either_kind(found):
    assert [(branch.kind, branch.side) for branch in found] == [
        ("unstable", 1.0), ("unstable", -1.0), ("stable", 1.0), ("stable", -1.0)
    ]  # fmt: skip
    assert [branch.eigenvalue for branch in found] == pytest.approx([-2.0, -2.0, 2.0, 2.0])
    assert all(np.all(np.diff(branch.times) * (1 if branch.kind == "unstable" else -1) > 0) for branch in found)


def test_branches_lie_on_the_curves_that_the_conserved_quantity_gives(found):
    for branch in found:
        assert branch.is_on_manifold and branch.start_error <= 1e-9
        assert np.max(np.abs(imaginary_part(branch.states))) < 2e-8
        assert np.ptp(branch.states[:, 1 if branch.kind == "unstable" else 0]) > 0.9


def test_unstable_branches_are_the_hyperbola_and_stable_ones_the_axis(found):
    x, y = np.concatenate([branch.states for branch in found if branch.kind == "unstable"]).T
    np.testing.assert_allclose(x, np.sqrt(1.0 + y * y / 3.0), atol=1e-8)
    stable = np.concatenate([branch.states for branch in found if branch.kind == "stable"])
    np.testing.assert_allclose(stable[:, 1], 0.0, atol=1e-12)


def test_statuses_and_ends_are_kept(found):
    ends = {(branch.kind, branch.side): (branch.status, branch.end_kind) for branch in found}
    assert ends["unstable", 1.0] == ends["unstable", -1.0] == ends["stable", 1.0] == (Status.ESCAPED, "escaped")
    assert ends["stable", -1.0] == (Status.HORIZON, "strict_saddle")
    assert found[3].states[-1] == pytest.approx([-1.0, 0.0], abs=1e-8)


def test_polylines_stay_within_the_bend_of_their_curves(found):
    line = found[0].polyline
    middles = 0.5 * (line[1:] + line[:-1])
    gaps = np.abs(middles[:, 0] - np.sqrt(1.0 + middles[:, 1] ** 2 / 3.0))
    assert gaps.max() < 1.5 * BEND
    assert len(line) < 40


def test_the_offset_shrinks_until_the_start_is_on_the_manifold(holomorphic):
    saddle = np.array([1.0, 0.0])
    parabola = _Parabola.at(holomorphic, saddle, -2.0, np.array([0.0, 1.0]))
    np.testing.assert_allclose(parabola.bending, [1.0 / 3.0, 0.0], atol=1e-12)
    offsets = []
    for tolerance in (1e-7, 1e-10):
        offset, error = parabola.offset(1.0, tolerance, 1.0)
        x, y = parabola.state(offset)
        assert abs(x - np.sqrt(1.0 + y * y / 3.0)) <= error <= tolerance
        offsets.append(offset)
    assert offsets[1] < offsets[0] < 0.1


def test_a_field_without_a_parabola_is_said_to_miss_the_tolerance():
    """The field ``(x, -y + |x|)`` keeps an angle with every parabola through the origin, at every offset."""
    rough = _Parabola(
        lambda s: jnp.array([s[0], -s[1] + jnp.abs(s[0])]), Form.of(np.zeros(2)), np.zeros(2), np.array([1.0, 0.0]),
        np.zeros(2),
    )  # fmt: skip
    offset, error = rough.offset(1.0, 1e-14, 1.0)
    assert error > 1e-14 and offset < 1e-11


def test_separatrices_are_those_of_strict_saddles_only(holomorphic):
    minimum = model_problems.KnownCriticalPoint((0.0, 0.0), "local_minimum", 0.0)
    assert phase_planes.separatrices(holomorphic, [minimum]) == ()


def test_a_point_that_is_not_critical_has_no_manifolds(holomorphic):
    with pytest.raises(InputError, match="`saddle` must be a critical point"):
        phase_planes.branches(holomorphic, np.array([0.4, 0.3]))


def test_isolated_critical_points_are_found_once_each(holomorphic):
    plane = phase_planes.parameter_plane(holomorphic)
    points = phase_planes.isolated_critical_points(plane, BOX, BOX, 41)
    assert [point.kind for point in points] == ["strict_saddle", "strict_saddle"]
    np.testing.assert_allclose([point.params for point in points], [[1.0, 0.0], [-1.0, 0.0]], atol=1e-9)


# --- the plane of a two-layer network ---------------------------------------------------------------------------------


def test_the_stable_manifold_of_the_origin_is_the_antidiagonal(chain):
    stable, unstable = rows(chain, "stable"), rows(chain, "unstable")
    assert len(stable) == len(unstable) == 2
    for line in stable:
        np.testing.assert_allclose(line[:, 1], -line[:, 0], atol=1e-12)
        assert np.abs(line).max() > 2.0
    for line in unstable:
        np.testing.assert_allclose(line[:, 1], line[:, 0], atol=1e-12)
        np.testing.assert_allclose(np.abs(line[-1]), 1.0, atol=1e-7)


def test_statuses_of_all_curves_are_saved(chain):
    status = dict(zip(chain.role.values, chain.status.values, strict=True))
    assert (status["stable"], status["unstable"], status["trajectory"]) == ("escaped", "stationary", "stationary")


def test_nullclines_are_the_axes_and_the_minima_are_listed_once(chain):
    (across,), (up,) = rows(chain, "nullcline_x"), rows(chain, "nullcline_y")
    np.testing.assert_allclose(across[:, 1], 0.0, atol=1e-10)
    np.testing.assert_allclose(up[:, 0], 0.0, atol=1e-10)
    critical = rows(chain, "critical")
    assert len(critical) == 2
    for line in critical:
        np.testing.assert_allclose(line[:, 0] * line[:, 1], 1.0, atol=1e-9)
    assert set(chain.curve_kind.values[chain.role.values == "critical"]) == {"global_minimum"}


def test_trajectories_keep_their_invariant_and_have_rows_at_the_marks(chain):
    (line,) = rows(chain, "trajectory")
    np.testing.assert_allclose(line[:, 1] ** 2 - line[:, 0] ** 2, 1.5**2 - 0.3**2, rtol=1e-7)
    assert chain.mark_time.values.tolist() == [0.5, 1.0]
    for place in chain.mark_place.values:
        assert np.min(np.linalg.norm(line - place, axis=1)) == 0.0


def test_the_invariant_on_the_grid_is_its_closed_form(chain):
    a, b = np.meshgrid(chain.x, chain.y)
    np.testing.assert_allclose(chain.function.sel(name="c"), b * b - a * a, atol=1e-14)
    np.testing.assert_allclose(chain.velocity.values[0], -(a * b - 1.0) * b, atol=1e-14)


def test_a_plane_that_holds_all_parameters_is_invariant(chain):
    assert bool(chain.is_invariant) and float(chain.leak) == 0.0
    assert float(np.abs(chain.row_distance).max()) == 0.0


def test_a_saved_plane_is_read_back_as_it_was(chain, tmp_path):
    chain.to_netcdf(tmp_path / "plane.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "plane.nc", engine="h5netcdf") as read:
        xr.testing.assert_identical(read.load(), chain)


# --- slices -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def excursion():
    return gf.GradientFlow(model_problems.long_excursion().problem)


def test_a_slice_keeps_what_leaves_it_apart(excursion):
    """For ``z^2 h`` at z = 2: ``-4 grad h`` in the plane and ``-4 h`` out of it."""
    axes = np.eye(3)
    plane = phase_planes.plane_through(excursion, 2.0 * axes[2], (axes[0], axes[1]))
    field = phase_planes.field_on_grid(plane, BOX, (-1.0, 3.0), 9)
    x, y = np.meshgrid(field.x, field.y)
    h = 0.5 * x * x + 0.5 * (1.0 - x * y) ** 2
    np.testing.assert_allclose(field.out_of_plane, 4.0 * h, rtol=1e-12)
    np.testing.assert_allclose(field.velocity[0], -4.0 * (x - y * (1.0 - x * y)), atol=1e-12)
    assert not bool(field.is_invariant) and float(field.leak) > 0.1


def test_the_plane_of_critical_points_is_invariant(excursion):
    axes = np.eye(3)
    still = phase_planes.field_on_grid(
        phase_planes.plane_through(excursion, 0 * axes[2], (axes[0], axes[1])), BOX, BOX, 9
    )
    assert bool(still.is_invariant) and float(still.leak) == 0.0


def test_equal_weights_of_a_chain_are_an_invariant_plane_and_unequal_ones_are_not():
    flow = gf.GradientFlow(model_problems.scalar_chain(3, 1.0))
    layers = [tuple(np.full((1, 1), value) for value in row) for row in ([0.0, 0, 0], [1.0, 0, 0], [0, 1.0, 1.0])]
    equal = phase_planes.plane_through(flow, layers[0], (layers[1], layers[2]))
    field = phase_planes.field_on_grid(equal, BOX, BOX, 9)
    a, b = np.meshgrid(field.x, field.y)
    np.testing.assert_allclose(field.velocity[1], (1.0 - a * b * b) * a * b, atol=1e-13)
    assert bool(field.is_invariant) and 0.0 <= float(field.leak) < 1e-14
    other = tuple(np.full((1, 1), value) for value in (0.0, 1.0, 2.0))
    skew = phase_planes.field_on_grid(phase_planes.plane_through(flow, layers[0], (layers[1], other)), BOX, BOX, 9)
    assert not bool(skew.is_invariant)


def test_places_project_and_distances_are_what_is_left(excursion):
    plane = phase_planes.plane_through(
        excursion, np.array([1.0, 0.0, 0.0]), (np.array([0, 2.0, 0]), np.array([0, 0, 1.0]))
    )
    np.testing.assert_allclose(plane.places([[3.0, 4.0, 5.0]]), [[2.0, 5.0]])
    np.testing.assert_allclose(plane.distances([[3.0, 4.0, 5.0], [1.0, 7.0, 7.0]]), [2.0, 0.0])
    np.testing.assert_allclose(plane.state((2.0, 5.0)), [1.0, 4.0, 5.0])


def test_a_plane_of_three_points_holds_them_in_euclidean_units(excursion):
    points = [np.array([1.0, 0.0, 0.0]), np.array([0.0, 3.0, 0.0]), np.array([0.0, 0.0, 2.0])]
    plane = phase_planes.plane_of_points(excursion, *points)
    np.testing.assert_allclose(plane.directions @ plane.directions.T, np.eye(2), atol=1e-15)
    np.testing.assert_allclose(plane.distances(points), 0.0, atol=1e-15)
    np.testing.assert_allclose(plane.places(points)[1], [np.sqrt(10.0), 0.0], atol=1e-15)


def test_a_trajectory_that_rounding_carries_off_an_invariant_plane_ends_there(excursion):
    plane = phase_planes.plane_through(excursion, np.zeros(3), (np.eye(3)[0], np.eye(3)[1]))
    states = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 1e-12], [2.0, 0.0, 0.1], [3.0, 0.0, 0.0]])
    run = phase_planes.Followed(np.arange(4.0), states, Status.STATIONARY, ())
    cut = _trajectory_curve(plane, run, True)
    assert cut.status == "left_plane" and len(cut.places) == len(cut.times) == 2
    whole = _trajectory_curve(plane, run, False)
    assert whole.status == "stationary" and whole.distances.max() == pytest.approx(0.1)


def test_a_field_that_jumps_over_zero_has_no_nullcline_there():
    jump = gf.GradientFlow(gf.Landscape(lambda p: jnp.abs(p[0] - 0.3) + 0.5 * (p[1] - 0.1) ** 2))
    lines = phase_planes.nullclines(phase_planes.parameter_plane(jump), BOX, BOX, 20)
    assert [line.component for line in lines] == [1]
    np.testing.assert_allclose(lines[0].places[:, 1], 0.1, atol=1e-12)


def test_a_critical_point_on_a_nullcline_is_no_curve_of_them(holomorphic):
    lines = phase_planes.nullclines(phase_planes.parameter_plane(holomorphic), BOX, BOX, 21)
    assert not any(line.is_critical for line in lines)
    across = np.concatenate([line.places for line in lines if line.component == 0])
    np.testing.assert_allclose(across[:, 0] ** 2 - across[:, 1] ** 2, 1.0, atol=1e-9)


def test_a_line_of_minima_that_both_nullclines_share_is_listed_once():
    """``y^2 (1 + x^2)``: along y = 0 both components vanish, and x = 0 is the other zero of the first."""
    flow = gf.GradientFlow(gf.Landscape(lambda p: p[1] ** 2 * (1.0 + p[0] ** 2)))
    lines = phase_planes.nullclines(phase_planes.parameter_plane(flow), BOX, (-1.0, 2.0), 20)
    critical = [line for line in lines if line.is_critical]
    assert len(critical) == 1
    np.testing.assert_allclose(critical[0].places[:, 1], 0.0, atol=1e-9)
    assert np.ptp(critical[0].places[:, 0]) == pytest.approx(4.0)


# --- sampling ---------------------------------------------------------------------------------------------------------


def test_points_of_a_circle_are_spaced_by_its_bending():
    times = np.linspace(0.0, 3.0, 400)
    states = np.column_stack([np.cos(times), np.sin(times)])
    velocity = np.column_stack([-np.sin(times), np.cos(times)])
    chosen = evenly_bent_times(times, states, velocity, 1e-3)
    sagitta = 1.0 - np.cos(0.5 * np.diff(chosen))
    assert sagitta.max() <= 1.01e-3 and sagitta.min() > 0.7e-3
    assert chosen[0] == 0.0 and chosen[-1] == 3.0


def test_a_mark_early_in_a_very_long_run_leaves_its_start_alone():
    np.testing.assert_array_equal(_merged(np.array([0.0, 1e16]), np.array([1.0])), [0.0, 1.0, 1e16])


def test_marks_replace_times_that_are_hardly_others():
    np.testing.assert_array_equal(_merged(np.array([0.0, 1.0, 2.0]), np.array([1.0 + 1e-14])), [0.0, 1.0 + 1e-14, 2.0])
    np.testing.assert_array_equal(_merged(np.array([0.0, -1.0, -2.0]), np.array([-0.5])), [0.0, -0.5, -1.0, -2.0])


# --- wrong calls ------------------------------------------------------------------------------------------------------


def test_wrong_calls_are_refused(excursion, holomorphic):
    axes = np.eye(3)
    with pytest.raises(InputError, match="`flow` must have exactly two parameters"):
        phase_planes.parameter_plane(gf.GradientFlow(model_problems.scalar_chain(3, 1.0)))
    with pytest.raises(InputError, match="`directions` must be orthogonal"):
        phase_planes.plane_through(excursion, axes[0], (axes[0], axes[0] + axes[1]))
    with pytest.raises(InputError, match="must differ from zero"):
        phase_planes.plane_through(excursion, axes[0], (axes[0], 0.0 * axes[1]))
    with pytest.raises(InputError, match="lie off the line"):
        phase_planes.plane_of_points(excursion, axes[0], 2 * axes[0], 3 * axes[0])
    plane = phase_planes.plane_through(excursion, axes[2], (axes[0], axes[1]))
    with pytest.raises(InputError, match="`plane` must hold all parameters"):
        phase_planes.isolated_critical_points(plane, BOX, BOX)
    with pytest.raises(InputError, match="`basin_resolution` must be 0"):
        phase_planes.phase_plane(plane, BOX, BOX, basin_resolution=10)
    with pytest.raises(InputError, match=r"`critical_points\[0\]` must lie on the plane"):
        phase_planes.phase_plane(plane, BOX, BOX, critical_points=[gf.classify(excursion.problem, np.zeros(3))])
    with pytest.raises(InputError, match="`xlim` must increase"):
        phase_planes.field_on_grid(phase_planes.parameter_plane(holomorphic), (1.0, 0.0), BOX)
