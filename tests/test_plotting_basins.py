"""Pictures of basins: each class has one look, every class is explained with its share, and overlays move no limits."""

import itertools
import warnings
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb, to_rgba
from matplotlib.figure import Figure
from test_reporting_basins import made_up

from gradflow import plotting
from gradflow.checks import InputError
from gradflow.plotting.basin_pages import basin_map_page, basin_summary_page
from gradflow.plotting.basins import basin_map
from gradflow.plotting.classes import UNNAMED_STYLES, class_styles, share_text, spoken
from gradflow.plotting.tallies import basin_fractions, convergence_times, time_quantiles

NAMES = ("global_minimum", "spurious_minimum", "undetermined", "escaped", "nonfinite")
CODES = np.array([[0, 0, 1, 4], [0, 2, 1, 1], [3, 2, 2, 1]])
EXTENT = (-2.0, 2.0, -1.0, 1.0)
FRACTIONS = np.array([0.25, 0.75, 0.0, 0.0, 0.0])
BOUNDS = (np.array([0.2, 0.7, 0.0, 0.0, 0.0]), np.array([0.31, 0.79, 0.03, 0.03, 0.03]))


@pytest.fixture
def ax():
    with plotting.style():
        yield Figure(figsize=(5.0, 3.0)).subplots()


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def row_texts(ax):
    return [text.get_text() for text in ax.texts]


def test_classes_differ_in_more_than_colour():
    styles = class_styles([f"class_{index:02d}" for index in range(63)])
    assert len(set(styles)) == 63
    assert len({style.hatch for style in styles[:9]}) == len({style.marker for style in styles[:9]}) == 9
    named = {style.hatch for style in styles[:9] if to_rgb(style.color)[0] < 1.0}
    assert UNNAMED_STYLES["undetermined"].hatch not in named


def test_outcomes_that_name_no_limit_are_grey_white_and_black_wherever_they_stand():
    styles = dict(zip(NAMES, class_styles(NAMES), strict=True))
    moved = dict(zip(NAMES[::-1], class_styles(NAMES[::-1]), strict=True))
    for name in NAMES[2:]:
        assert styles[name] == moved[name] and len(set(to_rgb(styles[name].color))) == 1
    assert len({styles[name].color for name in NAMES}) == 5
    assert class_styles(["undetermined: passing a saddle"])[0] == styles["undetermined"]
    assert styles["spurious_minimum"] == class_styles(["a", "b"])[1]


def test_a_dollar_sign_in_a_name_is_a_dollar_sign(ax):
    names = ("ends at $5 and $^", "$x$", *NAMES[2:])
    basin_map(ax, CODES, names, extent=EXTENT)
    basin_fractions(ax.inset_axes((0.2, 0.2, 0.5, 0.5)), names, FRACTIONS, *BOUNDS)
    ax.figure.draw_without_rendering()  # mathematics would fail here
    assert legend_texts(ax)[:2] == [r"ends at \$5 and \$^", r"\$x\$"]


def test_looks_do_not_depend_on_the_order_of_the_classes():
    names = ("b", "escaped", "c", "a")
    styles = dict(zip(names, class_styles(names), strict=True))
    assert [styles[name] for name in sorted(names)] == class_styles(sorted(names))
    assert [styles[name].marker for name in "abc"] == ["o", "s", "D"]


def test_long_names_have_more_lines_and_points_stay_whole():
    assert spoken("local_minimum, loss -0.5, at (-3.77931, -3.28319)") == (
        "local minimum, loss -0.5, at\n(-3.77931, -3.28319)"
    )
    lines = spoken("saddle, at (" + ", ".join(["0.123456"] * 20) + ")").split("\n")
    assert max(map(len, lines)) <= 36 and len(lines) > 5


def test_each_cell_has_its_classs_colour_and_the_lowest_row_is_drawn_lowest(ax):
    drawn = basin_map(ax, CODES, NAMES, extent=EXTENT)
    styles = class_styles(NAMES)
    image = np.asarray(drawn.cells.get_array())
    for row in range(3):
        for column in range(4):
            assert tuple(image[row, column]) == to_rgba(styles[CODES[row, column]].color)
    assert drawn.cells.origin == "lower" and drawn.cells.get_interpolation() == "nearest"
    assert tuple(drawn.cells.get_extent()) == EXTENT
    assert ax.get_aspect() == "auto"


def test_hatches_lie_over_the_cells_of_their_class_alone(ax):
    drawn = basin_map(ax, CODES, NAMES, extent=EXTENT)
    assert [hatch.hatches for hatch in drawn.hatches] == [[class_styles(NAMES)[code].hatch] for code in (1, 2)]
    ((vertices,),) = [hatch.get_paths() for hatch in drawn.hatches[:1]]
    centres = [(-1.5 + column, -2 / 3 + 2 / 3 * row) for row in range(3) for column in range(4)]
    inside = vertices.contains_points(centres).reshape(3, 4)
    np.testing.assert_array_equal(inside, CODES == 1)
    assert mpl.rcParams["hatch.linewidth"] == 1.0


def test_limits_are_those_of_the_starts_whatever_is_drawn_on_top(ax):
    points = {"local_minimum": [(1.0, 0.5), (30.0, 0.0)], "strict_saddle": [(0.0, 90.0)]}
    ax.plot([-50, 50], [-50, 50])
    drawn = basin_map(ax, CODES, NAMES, extent=EXTENT, points=points, aspect="equal")
    assert (*ax.get_xlim(), *ax.get_ylim()) == EXTENT
    assert [line.get_xydata().tolist() for line in drawn.points] == [[[1.0, 0.5]]]
    assert legend_texts(ax)[-1] == "local minimum"


def test_points_on_maps_are_white_and_told_apart_by_their_shape(ax):
    kinds = [kind for kind in plotting.KIND_MARKERS if kind != "not_critical"]
    drawn = basin_map(ax, CODES, NAMES, extent=EXTENT, points={kind: [(0.0, 0.0)] for kind in kinds})
    assert {to_hex(mark.get_markerfacecolor()) for mark in drawn.points} == {"#ffffff"}
    assert {to_hex(mark.get_markeredgecolor()) for mark in drawn.points} == {"#000000"}
    assert len({mark.get_marker() for mark in drawn.points}) == len(kinds)
    keys = drawn.legend.legend_handles[-len(kinds) :]
    assert [key.get_marker() for key in keys] == [mark.get_marker() for mark in drawn.points]
    assert {to_hex(key.get_markerfacecolor()) for key in keys} == {"#ffffff"}


def test_the_legend_lists_what_is_drawn_and_with_shares_every_class(ax):
    basin_map(ax, CODES[:1], NAMES, extent=EXTENT)
    assert legend_texts(ax) == ["global minimum", "spurious minimum", "nonfinite"]
    basin_map(ax, CODES[:1], NAMES, extent=EXTENT, fractions=FRACTIONS, bounds=BOUNDS)
    assert [text.replace("\n", ": ") for text in legend_texts(ax)] == [
        "global minimum: 25 % [20, 31]", "spurious minimum: 75 % [70, 79]", "undetermined: 0 % [0, 3.0]",
        "escaped: 0 % [0, 3.0]", "nonfinite: 0 % [0, 3.0]",
    ]  # fmt: skip


@pytest.mark.parametrize(("legend", "width"), [("above", 3.4), ("above", 7.0), ("right", 5.0)])
def test_the_legend_covers_no_start_and_stays_in_the_figure(legend, width):
    with plotting.style():
        ax = Figure(figsize=(width, 4.0)).subplots()
        names = ("a minimum of a rather long name", *NAMES[1:])
        drawn = basin_map(ax, CODES, names, extent=EXTENT, fractions=FRACTIONS, bounds=BOUNDS, legend=legend)
        ax.figure.draw_without_rendering()
    box = drawn.legend.get_window_extent().padded(-1.0)
    assert not box.overlaps(ax.get_window_extent())
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= ax.figure.bbox.x1 + 3 and box.y1 <= ax.figure.bbox.y1 + 3
    assert ax.get_window_extent().width > 0.3 * ax.figure.bbox.width


def test_one_point_of_a_class_of_many_limits_is_marked_as_that():
    estimate = made_up()
    names = ("continuum of global minima, loss 0", *estimate.labels[1:])
    places = np.random.default_rng(0).normal(size=(100, 2))
    page = basin_map_page(replace(estimate, labels=names), places)
    assert legend_texts(page.axes[0])[5:] == ["one of many limits", "spurious minimum"]
    assert legend_texts(basin_map_page(estimate, places).axes[0])[5:] == ["global minimum", "spurious minimum"]


def test_no_legend_is_drawn_when_none_is_wanted(ax):
    assert basin_map(ax, CODES, NAMES, extent=EXTENT, legend="none").legend is None
    assert ax.get_legend() is None


def test_single_starts_are_drawn_where_they_lie_the_rarest_class_on_top(ax):
    rng = np.random.default_rng(0)
    places, codes = rng.normal(size=(60, 2)), np.repeat([1, 0, 3], [40, 5, 15])
    drawn = basin_map(ax, codes, NAMES, coordinates=places)
    assert drawn.cells is None and len(drawn.starts) == 3
    for collection, code in zip(drawn.starts, (1, 3, 0), strict=True):
        np.testing.assert_array_equal(collection.get_offsets(), places[codes == code])
        assert to_hex(collection.get_facecolor()[0]) == class_styles(NAMES)[code].color.lower()
    assert np.diff([collection.get_zorder() for collection in drawn.starts]).min() > 0
    low, high = places.min(axis=0), places.max(axis=0)
    assert ax.get_xlim()[0] < low[0] and ax.get_ylim()[1] > high[1]
    assert ax.get_xlabel() == r"$\theta_1$ (dimensionless)"


@pytest.mark.parametrize(
    ("share", "text"),
    [
        ((0.25563, 0.2513, 0.25994), "25.6 % [25.1, 26.0]"),
        ((0.0, 0.0, 3.69e-6), "0 % [0, 0.00037]"),
        ((1.0, 0.997, 1.0), "100.00 % [99.70, 100.00]"),
        ((0.5, 0.5, 0.5), "50.00 %"),
    ],
)
def test_shares_have_the_decimals_that_their_intervals_call_for(share, text):
    assert share_text(tuple(np.array([value]) for value in share), 0) == text


def test_shares_are_drawn_with_their_intervals(ax):
    low, high = BOUNDS
    drawn = basin_fractions(ax, NAMES, FRACTIONS, low, high, log=False)
    segments = [container.lines[2][0].get_segments()[0] for container in drawn]
    np.testing.assert_allclose([segment[:, 0] for segment in segments], np.column_stack([low, high]), atol=1e-15)
    assert [segment[0, 1] for segment in segments] == [0, 1, 2, 3, 4]
    assert ax.get_ylim()[0] > ax.get_ylim()[1] and ax.get_xlim()[0] == 0.0
    assert [label.get_text() for label in ax.get_yticklabels()][:2] == ["global minimum", "spurious minimum"]
    assert row_texts(ax)[2] == "0 % [0, 3.0]"
    assert ax.get_xlabel() == "share of the starts, 95 % interval"


def test_rare_classes_get_a_logarithmic_axis_and_a_share_of_zero_a_hollow_marker_at_its_bound(ax):
    names = ("minimum", "saddle")
    outer = (np.array([0.98, 0.0]), np.array([1.0, 5e-4]))
    drawn = basin_fractions(ax, names, [1.0, 0.0], [0.99, 0.0], [1.0, 3e-4], outer=outer)
    assert ax.get_xscale() == "log" and ax.get_xlim()[0] == pytest.approx(0.9e-4)
    dots = [line for line in ax.lines if line.get_marker() in ("o", "s")]
    assert [float(np.ravel(dot.get_xdata())[0]) for dot in dots] == [1.0, 3e-4]
    assert dots[1].get_markerfacecolor() == "white" != dots[0].get_markerfacecolor()
    ends = [container.lines[2][0].get_segments()[0][:, 0] for container in drawn]
    np.testing.assert_allclose(ends, [[0.98, 1.0], [0.99, 1.0], [0.9e-4, 5e-4], [0.9e-4, 3e-4]])


def test_the_cells_of_a_slice_have_shares_without_intervals(ax):
    drawn = basin_fractions(ax, NAMES, FRACTIONS, FRACTIONS, FRACTIONS, confidence=None)
    assert drawn == [] and ax.get_xscale() == "linear"
    assert ax.get_xlabel() == "share of the cells"
    assert row_texts(ax)[1:3] == ["75.00 %", "0 %"]


def test_on_a_logarithmic_axis_a_share_of_zero_without_an_interval_has_no_marker(ax):
    shares = np.array([0.99, 0.01, 0.0])
    basin_fractions(ax, NAMES[:3], shares, shares, shares, confidence=None)
    assert ax.get_xscale() == "log" and len(ax.lines) == 2
    assert row_texts(ax)[2] == "0 %"


@pytest.mark.parametrize("has_intervals", [True, False])
@pytest.mark.parametrize("length", [9, 70])
def test_the_page_of_a_summary_cuts_nothing_off(has_intervals, length):
    names = tuple(f"{name} {'of rank 3' * 9}"[:length] for name in ("minimum a", "minimum b"))
    page = basin_summary_page(replace(made_up(), labels=(*names, *NAMES[2:])), title="T", has_intervals=has_intervals)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page.draw_without_rendering()
    upper, lower = page.axes
    boxes = [ax.get_tightbbox() for ax in page.axes]
    assert min(box.x0 for box in boxes) >= 0 and max(box.x1 for box in boxes) <= page.bbox.x1
    assert boxes[0].y0 >= boxes[1].y1 and upper.get_window_extent().width > 0.4 * page.bbox.width
    rows = [text.get_window_extent() for text in lower.get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(rows))


def test_the_page_of_a_map_is_as_tall_as_its_legend():
    num, base = 14, made_up()
    names = (*(f"minimum {index} {'of rank 3 ' * 6}" for index in range(num)), *NAMES[2:])
    counts = np.array([3] * num + [0, 0, 0])
    estimate = replace(
        base, labels=names, kinds=("local_minimum",) * num + NAMES[2:], counts=counts,
        replicate_counts=counts[:, None], ends=np.zeros((num + 3, 2)), codes=np.repeat(np.arange(num + 3), counts),
    )  # fmt: skip
    page = basin_map_page(estimate, np.random.default_rng(0).normal(size=(3 * num, 2)))
    page.draw_without_rendering()
    box = page.axes[0].get_legend().get_window_extent()
    assert box.y0 >= 0 and box.x1 <= page.bbox.x1 + 3
    assert page.axes[0].get_window_extent().width > 0.3 * page.bbox.width


def test_times_are_drawn_by_their_quantiles_and_empty_classes_say_so(ax):
    rng = np.random.default_rng(1)
    codes, times = np.repeat([0, 2], 200), rng.lognormal(size=400)
    table = time_quantiles(codes, times, 3)
    np.testing.assert_allclose(table[2], np.quantile(times[200:], [0.05, 0.25, 0.5, 0.75, 0.95]))
    assert np.isnan(table[1]).all()
    medians = convergence_times(ax, ["a", "b", "c"], table, counts=[200, 0, 200000])
    assert [float(line.get_xdata()[0]) for line in medians] == pytest.approx([table[0, 2], table[2, 2]])
    widest = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
    np.testing.assert_allclose(widest[0], table[0, [0, 4]])
    np.testing.assert_allclose(widest[1], table[0, [1, 3]])
    assert row_texts(ax) == ["no run", "200", "0", "200\u2009000"]
    assert ax.get_xscale() == "log" and "flow time" in ax.get_xlabel()


def test_runs_that_end_at_once_lie_at_the_left_edge(ax):
    medians = convergence_times(ax, ["a", "b"], [[0, 0, 0, 0, 0], [1, 2, 3, 4, 5]])
    assert float(medians[0].get_xdata()[0]) == pytest.approx(ax.get_xlim()[0]) == pytest.approx(1 / 1.5)


WRONG_CALLS = [
    (lambda ax: basin_map(None, CODES, NAMES, extent=EXTENT), "`ax` must be a matplotlib Axes"),
    (lambda ax: basin_map(ax, CODES, NAMES[:4], extent=EXTENT), "`codes` must lie in 0 to 3, but got 0 to 4"),
    (lambda ax: basin_map(ax, CODES - 1, NAMES, extent=EXTENT), "`codes` must lie in 0 to 4, but got -1 to 3"),
    (lambda ax: basin_map(ax, CODES / 1.0, NAMES, extent=EXTENT), "`codes` must be whole numbers"),
    (lambda ax: basin_map(ax, CODES, NAMES), "`extent` must be four numbers"),
    (lambda ax: basin_map(ax, CODES, NAMES, extent=(1, 0, 0, 1)), "`extent` must increase"),
    (lambda ax: basin_map(ax, CODES[None], NAMES), "`codes` must have two axes"),
    (lambda ax: basin_map(ax, CODES[0], NAMES), r"`coordinates` must have shape \(4, 2\)"),
    (lambda ax: basin_map(ax, CODES, ("a", "a"), extent=EXTENT), "`names` must be different"),
    (lambda ax: basin_map(ax, CODES, NAMES, extent=EXTENT, points={"hill": [(0, 0)]}), "`points` must be a known"),
    (lambda ax: basin_map(ax, CODES, NAMES, extent=EXTENT, fractions=[1.0]), "`fractions` must have 5 entries"),
    (lambda ax: basin_map(ax, CODES, NAMES, extent=EXTENT, bounds=BOUNDS), "`bounds` must be left out"),
    (lambda ax: basin_map(ax, CODES, NAMES, extent=EXTENT, legend="best"), "Choices: above, none, right"),
    (lambda ax: basin_fractions(ax, NAMES, FRACTIONS, BOUNDS[1], BOUNDS[0]), "0 <= low <= fraction <= high <= 1"),
    (lambda ax: basin_fractions(ax, NAMES, FRACTIONS, *BOUNDS, confidence=95), "`confidence` must be less than 1"),
    (lambda ax: basin_fractions(ax, ["a"], [0.0], [0.0], [0.0], log=True), "`log` must be left out"),
    (lambda ax: convergence_times(ax, NAMES, np.zeros((2, 5))), r"`quantiles` must have shape \(5, 5\)"),
    (lambda ax: convergence_times(ax, ["a"], [[5, 4, 3, 2, 1]]), "increase along each row"),
    (lambda ax: convergence_times(ax, ["a"], [[1, 2, 3, 4, 5]], counts=[1, 2]), "`counts` must have 1 entries"),
    (lambda ax: time_quantiles(np.array([0]), np.array([np.inf]), 1), "`times` must be finite"),
]


@pytest.mark.parametrize(("call", "message"), WRONG_CALLS, ids=[f"{n}" for n in range(len(WRONG_CALLS))])
def test_wrong_calls_say_what_is_expected(call, message, ax):
    with pytest.raises(InputError, match=message):
        call(ax)
