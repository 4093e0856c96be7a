"""Portraits of saved planes: every line, level and mark drawn is the data's, told apart without colour, and explained.

Planes here are written down, not computed, so nothing waits for JAX.
"""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from gradflow import plotting
from gradflow.checks import InputError
from gradflow.plotting.planes import LEAK, LINE_STYLES, NAMES, cone_key, distinct_keys

CURVES = (
    ("stable", "escaped", [[0.0, 0.0], [2.0, -2.0]]),
    ("unstable", "local_minimum", [[0.0, 0.0], [1.0, 1.0]]),
    ("nullcline_x", "", [[-2.0, 0.0], [2.0, 0.0]]),
    ("nullcline_y", "", [[0.0, -2.0], [0.0, 2.0]]),
    ("trajectory", "", [[0.5, -1.5], [-0.5, -1.6], [-0.7, -1.65]]),
    ("critical", "global_minimum", [[0.5, 2.0], [1.0, 1.0], [2.0, 0.5]]),
)


def plane_data(num_params=2, out_of_plane=0.0, curves=CURVES, points=(("strict_saddle", (0.0, 0.0)),), basins=False):
    """What ``phase_plane`` would save of ``(xy - 1)^2 / 2``, with a constant speed out of the plane."""
    axis = np.linspace(-2.0, 2.0, 41)
    x, y = np.meshgrid(axis, axis)
    velocity = -(x * y - 1.0) * np.stack([y, x])
    speed = np.sqrt(velocity[0] ** 2 + velocity[1] ** 2 + out_of_plane**2)
    lengths = [len(places) for _, _, places in curves]
    variables = {
        "loss": (("y", "x"), 0.5 * (x * y - 1.0) ** 2),
        "velocity": (("component", "y", "x"), velocity),
        "speed": (("y", "x"), speed),
        "out_of_plane": (("y", "x"), np.full(x.shape, out_of_plane)),
        "function": (("name", "y", "x"), np.stack([y * y - x * x, x, y])),
        "leak": ((), out_of_plane / speed.max()),
        "is_invariant": ((), out_of_plane == 0.0),
        "role": ("curve", np.array([role for role, _, _ in curves], dtype=str)),
        "curve_kind": ("curve", np.array([kind for _, kind, _ in curves], dtype=str)),
        "row_curve": ("row", np.repeat(np.arange(len(curves)), lengths)),
        "row_place": (("row", "component"), np.concatenate([np.zeros((0, 2)), *(p for _, _, p in curves)])),
        "point_kind": ("point", np.array([kind for kind, _ in points], dtype=str)),
        "point_place": (("point", "component"), np.array([place for _, place in points]).reshape(-1, 2)),
        "mark_place": (("mark", "component"), np.array([[-0.5, -1.6]])),
        "mark_time": ("mark", np.array([0.5])),
    }
    if basins:
        variables["basin"] = (("basin_y", "basin_x"), (np.add.outer(np.arange(8), np.arange(8)) > 7).astype(np.int16))
        variables["basin_name"] = ("basin_class", np.array(["a", "b"]))
    held = xr.Dataset(variables, {"x": axis, "y": axis, "name": np.array(["c", "p1", "p2"])})
    return held.assign_attrs(x_label="$a$", y_label="$b$", num_params=num_params, title="chain")


@pytest.fixture
def ax():
    with plotting.style():
        yield Figure(figsize=plotting.figure_size(aspect=1.0)).subplots()


def luminance(color):
    return float(np.dot(to_rgb(color), (0.299, 0.587, 0.114)))


def test_every_curve_is_drawn_where_the_data_say(ax):
    drawn = plotting.plane_portrait(ax, plane_data())
    for role, _, places in CURVES:
        np.testing.assert_array_equal(drawn.lines[role][0].get_xydata(), places)
    np.testing.assert_array_equal(drawn.marks[0].get_xydata(), [[-0.5, -1.6]])
    assert [line.get_marker() for line in drawn.points] == ["X"]
    assert ax.get_xlim() == ax.get_ylim() == (-2.0, 2.0)


def test_roles_differ_in_dash_or_width_and_not_in_colour_alone():
    looks = {(str(style["linestyle"]), style["linewidth"]) for style in LINE_STYLES.values()}
    assert len(looks) == len(LINE_STYLES) == len(NAMES)


def test_everything_drawn_is_explained(ax):
    labels = [key.get_label() for key in plotting.plane_portrait(ax, plane_data(), levels={"c": [1.0]}).keys]
    assert set(NAMES.values()) < set(labels)
    assert {"strict saddle", "curve of global minima", "level set of the invariant"} < set(labels)
    assert ax.get_title(loc="right") == "\u25c7 $t$ = 0.5"


def test_levels_are_those_asked_for_and_lie_on_the_hyperbolas(ax):
    drawn = plotting.plane_portrait(ax, plane_data(), levels={"c": [1.0, -1.0]})
    contours = drawn.levels["c"]
    assert list(contours.levels) == [-1.0, 1.0]
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        x, y = path.vertices.T
        np.testing.assert_allclose(y * y - x * x, level, atol=0.01)


def test_a_whole_plane_is_not_called_a_slice(ax):
    plotting.plane_portrait(ax, plane_data())
    assert ax.get_title(loc="left") == "chain"


@pytest.mark.parametrize(("speed", "words"), [(0.0, "invariant (leak 0)"), (3.0, "not invariant (leak 21 %)")])
def test_a_slice_is_called_one_with_what_leaves_it(ax, speed, words):
    drawn = plotting.plane_portrait(ax, plane_data(num_params=5, out_of_plane=speed))
    assert ax.get_title(loc="left") == f"chain\nslice of 5 parameters, {words}"
    labels = [key.get_label() for key in drawn.keys]
    assert LEAK in labels and ("more speed out of the slice than in it" in labels) is (speed > 0.0)


def test_curves_of_critical_points_say_their_kind_in_words(ax):
    curves = [("critical", "degenerate", [[0.0, 0.0], [1.0, 0.0]]), ("critical", "nonstrict_saddle", [[0, 1], [1, 1]])]
    drawn = plotting.plane_portrait(ax, plane_data(curves=curves, points=()))
    labels = {key.get_label() for key in drawn.keys}
    assert {"curve of degenerate points", "curve of non-strict saddles"} <= labels


def test_points_outside_the_window_are_left_out(ax):
    assert plotting.plane_portrait(ax, plane_data(points=[("maximum", (5.0, 0.0))])).points == []


def test_basins_are_shaded_faintly_and_only_where_there_are_some(ax):
    plotting.plane_portrait(ax, plane_data(basins=True), shade="basins")
    assert ax.images[0].get_array().shape == (8, 8, 3)
    assert min(luminance(color) for color in np.unique(ax.images[0].get_array().reshape(-1, 3), axis=0)) > 0.6
    with pytest.raises(InputError, match=r"Compute them: phase_plane\(\.\.\., basin_resolution=200\)"):
        plotting.plane_portrait(ax, plane_data(), shade="basins")


def test_cones_are_bordered_by_vanishing_preactivations_and_named(ax):
    data = plane_data(curves=(), points=())
    plotting.plane_portrait(ax, data)
    plotting.cone_lines(ax, data, ["p1", "p2"])
    texts = {text.get_text(): text.get_position() for text in ax.texts}
    assert set(texts) == {"$J = \\emptyset$", "$J = \\{1\\}$", "$J = \\{2\\}$", "$J = \\{1, 2\\}$"}
    for name, (x, y) in texts.items():
        assert (x > 0, y > 0) == ("1" in name, "2" in name)


def test_a_legend_lists_each_label_once_with_kinds_first(ax):
    drawn = plotting.plane_portrait(ax, plane_data())
    labels = [key.get_label() for key in distinct_keys([cone_key(), *drawn.keys, *drawn.keys])]
    assert len(labels) == len(set(labels)) and labels[0] == "strict saddle" and "border of a cone" in labels


def test_wrong_calls_are_refused(ax):
    with pytest.raises(InputError, match="`plane` must be a Dataset of phase_planes"):
        plotting.plane_portrait(ax, plane_data().drop_vars("loss"))
    with pytest.raises(InputError, match="`shade` must be"):
        plotting.plane_portrait(ax, plane_data(), shade="losses")
    with pytest.raises(InputError, match="`name` must be"):
        plotting.plane_portrait(ax, plane_data(), levels={"d": [1.0]})


# --- the gallery ------------------------------------------------------------------------------------------------------


def script(name):
    path = Path(__file__).resolve().parent.parent / "figures" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"figure_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def gallery():
    return script("portraits")


@pytest.fixture
def saved(tmp_path):
    tree = {"/first/wells": plane_data(basins=True), "/second/slice": plane_data(num_params=3, out_of_plane=1.0)}
    xr.DataTree.from_dict(tree).to_netcdf(tmp_path / "planes.nc", engine="h5netcdf")
    return tmp_path / "planes.nc"


@pytest.mark.parametrize("ending", ["pdf", "png"])
def test_pictures_are_the_same_to_the_byte_when_drawn_again(gallery, saved, tmp_path, ending):
    digests = []
    for _ in range(2):
        assert gallery.main([str(saved), "-o", str(tmp_path), "--format", ending, "--only", "second"]) == 0
        assert [path.stem for path in tmp_path.glob(f"*.{ending}")] == ["portraits_second"]
        digests.append(hashlib.sha256((tmp_path / f"portraits_second.{ending}").read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_an_unknown_page_and_a_missing_file_are_told_apart(gallery, saved, capsys):
    assert gallery.main([str(saved), "--only", "frist"]) == 2
    assert "Perhaps you meant 'first'" in capsys.readouterr().err
    assert gallery.main(["nowhere.nc"]) == 4


def test_every_panel_of_the_gallery_has_a_docstring_and_a_name_of_its_own(gallery):
    panels = [panel for page in gallery.planes().PAGES.values() for panel in page]
    assert len({panel.__name__ for panel in panels}) == len(panels) == 22
    assert all(panel.__doc__ for panel in panels)
    assert set(gallery.LEVELS) <= {panel.__name__ for panel in panels}


# --- all figures again ------------------------------------------------------------------------------------------------

COPIES = "import sys, pathlib; pathlib.Path(sys.argv[3]).write_bytes(pathlib.Path(sys.argv[1]).read_bytes())"
DATED = "import sys, pathlib, time; pathlib.Path(sys.argv[3]).write_text(str(time.monotonic_ns()))"


@pytest.fixture
def regenerate(tmp_path, monkeypatch):
    """The script, for a folder of two figures: one that copies its results, one that writes the time."""
    module = script("regenerate")
    (tmp_path / "figures").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "figures" / "copied.py").write_text(COPIES)
    (tmp_path / "figures" / "dated.py").write_text(DATED)
    (tmp_path / "results" / "copied.nc").write_text("numbers")
    monkeypatch.setattr(module, "FIGURES", tmp_path / "figures")
    return lambda *options: module.main([str(tmp_path / "results"), "-o", str(tmp_path / "out"), *options])


def test_figures_are_drawn_from_the_results_of_their_name(regenerate, tmp_path, capsys):
    assert regenerate("--only", "copied") == 0
    assert (tmp_path / "out" / "copied.pdf").read_text() == "numbers"
    assert regenerate() == 1
    assert "dated: no results" in capsys.readouterr().out


def test_the_check_names_pictures_whose_bytes_differ(regenerate, tmp_path, capsys):
    (tmp_path / "results" / "dated.nc").touch()
    assert regenerate() == 0 and regenerate("--check", "--only", "copied") == 0
    assert regenerate("--check") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "dated.pdf: differs"


def test_a_script_that_fails_is_reported(regenerate, tmp_path, capsys):
    (tmp_path / "figures" / "copied.py").write_text("raise SystemExit('it broke')")
    assert regenerate("--only", "copied") == 1
    assert "copied: failed: it broke" in capsys.readouterr().out
    assert regenerate("--only", "coped") == 2
