"""Pictures: what is drawn is what the results hold, every mark is explained, and nothing outside the axes changes.

Pictures are tested by their artists (data, labels, limits), not by pixels. Records are closed forms: the modes of a
balanced two-layer network on white data (Saxe's sigmoids), so no test here waits for an integration but one.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from jax.flatten_util import ravel_pytree
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

import gradflow as gf
from gradflow import model_problems, plotting
from gradflow.checks import InputError
from gradflow.convergence import ObservedRate
from gradflow.critical_points import KINDS, classify
from gradflow.plotting.axes import number, symbol
from gradflow.plotting.promises import MAX_IN_LEGEND
from gradflow.plotting.styles import ordered_colors, series_styles
from gradflow.trajectories import Passage

FIGURES = Path(__file__).resolve().parent.parent / "figures"
TARGET = (3.0, 1.0, 0.5)


def record_of(target=TARGET, *, irreducible=0.2, bound=5.0, invariants=("C_1", "c_1"), rows=200, is_linear=True):
    """What ``gradflow.monitor`` gives for the closed-form modes ``s / (1 + (s/a - 1) exp(-2 s t))``, a = 1e-3."""
    target = np.maximum(target, 1e-12)
    times = np.append(0.0, np.geomspace(1e-4, 40.0, rows - 1)) if rows > 1 else np.zeros(1)
    strength = target / (1.0 + (target / 1e-3 - 1.0) * np.exp(-2.0 * np.outer(times, target)))
    loss = irreducible + 0.5 * np.sum((target - strength) ** 2, axis=1)
    norm = np.sqrt(2.0 * strength.sum(axis=1))
    drift = 1e-10 * np.outer(times / (1.0 + times), 1.0 + np.arange(len(invariants)))
    tails = 0.5 * np.append(np.cumsum(target[::-1] ** 2)[::-1], 0.0)
    variables = {
        "loss": ("time", loss),
        "norm": ("time", norm),
        "layer_norm": (("time", "layer"), np.stack([norm, norm], axis=1) / np.sqrt(2.0)),
        "energy_defect": ("time", 1e-9 * (1.0 - np.exp(-times))),
        "relative_drift": (("time", "invariant"), drift),
        "drift_tolerance": ("invariant", np.full(len(invariants), 1e-6)),
        "consistent": ("invariant", np.ones(len(invariants), dtype=bool)),
        "claimed": ("invariant", np.ones(len(invariants), dtype=bool)),
        "irreducible_loss": ((), irreducible),
        "bound": ((), bound),
        "envelope": ("time", np.full(len(times), np.nan)),
    }
    if is_linear:
        variables |= {
            "product_singular_value": (("time", "mode"), strength),
            "captured_strength": (("time", "mode"), strength),
            "target_singular_value": ("mode", target),
            "greedy_level": ("level", irreducible + tails),
        }
    return xr.Dataset(variables, {"time": times, "invariant": list(invariants)})


def landscape_record(loss=None, **kwargs):
    record = record_of(irreducible=0.0, bound=np.nan, invariants=(), is_linear=False, **kwargs)
    return record if loss is None else record.assign(loss=("time", loss(record.time.values)))


def point_of(eigenvalues=(-1.0, 0.0, 2.0, 3.0), *, spectrum="dense", zero_tolerance=1e-9, kind="strict_saddle"):
    return SimpleNamespace(
        eigenvalues=np.array(eigenvalues), spectrum=spectrum, zero_tolerance=zero_tolerance, kind=kind,
        index=1, nullity=1, loss=0.2, params=np.zeros(2),
    )  # fmt: skip


def study_of(record, **kwargs):
    trajectory = SimpleNamespace(passages=(), status="stationary", end_time=40.0, solver="Tsit5")
    return SimpleNamespace(record=record, point=point_of(**kwargs), trajectory=trajectory, rate=None)


@pytest.fixture
def ax():
    """Axes of a column's width, in the house style."""
    with plotting.style():
        yield Figure(figsize=plotting.figure_size()).subplots()


def legend_labels(ax):
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def margin_texts(ax):
    return [text for text in ax.texts if isinstance(text, Annotation) and text.arrow_patch is not None]


def drawn_boxes(artists, is_drawn=False):
    """Boxes in pixels after the layout, a pixel smaller all round; of a label without its leader line."""
    for figure in set() if is_drawn else {artist.figure for artist in artists}:
        figure.draw_without_rendering()
    return [
        (Text.get_window_extent(artist) if isinstance(artist, Text) else artist.get_window_extent()).padded(-1.0)
        for artist in artists
    ]


def overlapping(artists, is_drawn=False):
    boxes = drawn_boxes(artists, is_drawn)
    pairs = [(i, j) for i in range(len(boxes)) for j in range(i) if boxes[i].overlaps(boxes[j])]
    return [(artists[i], artists[j]) for i, j in pairs]


def luminance(color):
    return float(np.dot(to_rgb(color), (0.299, 0.587, 0.114)))


# --- style ------------------------------------------------------------------------------------------------------------


def test_style_leaves_matplotlib_as_it_was():
    before = dict(mpl.rcParams)
    with plotting.style():
        assert mpl.rcParams["font.size"] == 8.0
    assert dict(mpl.rcParams) == before


def test_style_takes_settings_that_win():
    with plotting.style(font_size=11.0, legend_title_fontsize="small"):
        assert mpl.rcParams["font.size"] == 11.0
        assert mpl.rcParams["legend.title_fontsize"] == "small"


def test_an_unknown_setting_names_the_nearest_one():
    with pytest.raises(InputError, match="Perhaps you meant 'font_size'"), plotting.style(font_siez=3):
        pass


def test_figure_sizes_are_those_of_a_printed_page():
    assert plotting.figure_size(1)[0] == 3.4
    assert plotting.figure_size(2, rows=3, aspect=0.5) == pytest.approx((7.0, 5.1))
    with pytest.raises(InputError, match="`columns` must be 1 or 2, but got 3"):
        plotting.figure_size(3)


def test_unordered_curves_differ_in_colour_or_dash():
    looks = {(kwargs["color"], kwargs["linestyle"]) for kwargs in series_styles(35)}
    assert len(looks) == 35


def test_ordered_colours_grow_lighter_in_a_grey_copy():
    greys = [luminance(color) for color in ordered_colors(10)]
    assert np.all(np.diff(greys) > 0) and greys[-1] < 0.75
    assert ordered_colors(0) == []


def test_okabe_ito_colours_are_eight_different_ones():
    assert len(set(plotting.OKABE_ITO.values())) == 8


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.02, "0.02"), (-3.0, "\u22123"), (20000.0, "20000"), (1e-9, "$10^{-9}$"), (-1e9, "$-10^{9}$"),
     (2.5e-9, r"$2.5\times10^{-9}$"), (np.inf, "inf")],
)  # fmt: skip
def test_numbers_are_short_mathematical_text(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("name", "text"), [("C_10", "$C_{10}$"), ("W_1 on ker X^T", "$W_{1}$ on ker $X^{T}$"), ("energy", "energy")]
)
def test_names_of_invariants_are_set_as_mathematics(name, text):
    assert symbol(name) == text


# --- loss ladder ------------------------------------------------------------------------------------------------------


def test_the_ladder_shows_the_loss_above_the_irreducible_part(ax):
    record = record_of()
    drawn = plotting.loss_ladder(ax, record)
    np.testing.assert_allclose(drawn.curves[0].get_ydata(), record.loss.values - 0.2)
    assert "irr" in ax.get_ylabel()


def test_the_ladder_has_a_rung_per_critical_value_labelled_by_what_is_captured(ax):
    plotting.loss_ladder(ax, record_of())
    heights = [line.get_ydata()[0] for line in ax.lines[1:]]
    np.testing.assert_allclose(heights, [5.125, 0.625, 0.125, 0.0], atol=1e-12)
    assert [text.get_text() for text in margin_texts(ax)] == ["0", "1", "2", "3"]
    assert "captured" in [text.get_text() for text in ax.texts]


def test_the_foot_of_the_ladder_is_in_the_picture(ax):
    plotting.loss_ladder(ax, record_of())
    assert ax.get_yscale() == "symlog"
    assert ax.get_ylim()[0] < 0.0 and ax.get_ylim()[1] > 5.125


def test_rungs_of_equal_value_share_a_label(ax):
    plotting.loss_ladder(ax, record_of(target=(2.0, 1.0, 0.0, 0.0)))
    assert [text.get_text() for text in margin_texts(ax)] == ["0", "1", "2\u20134"]


def test_a_mapping_labels_the_rungs_itself(ax):
    plotting.loss_ladder(ax, record_of(), critical_values={"saddle": 1.2, "minimum": 0.7})
    assert [text.get_text() for text in margin_texts(ax)] == ["saddle", "minimum"]
    assert "captured" not in [text.get_text() for text in ax.texts]


def test_a_ladder_without_a_rung_at_zero_is_logarithmic(ax):
    plotting.loss_ladder(ax, record_of(), critical_values=[5.325, 0.825])
    assert ax.get_yscale() == "log"


def test_a_critical_value_that_is_not_finite_is_refused(ax):
    with pytest.raises(InputError, match="`critical_values` must be finite"):
        plotting.loss_ladder(ax, record_of(), critical_values=[1.0, np.nan])


@pytest.mark.parametrize("num_modes", [3, 9, 40])
def test_labels_of_rungs_never_overlap(ax, num_modes):
    plotting.loss_ladder(ax, record_of(target=np.linspace(3.0, 1.0, num_modes)))
    texts = margin_texts(ax)
    assert {texts[0].get_text(), texts[-1].get_text()} == {"0", str(num_modes)}
    assert overlapping(texts) == []


def test_stays_near_saddles_are_shaded_and_explained(ax):
    passages = (Passage(1.0, 2.0, 0.8, -0.1, 1e-6, 1e-3, True), Passage(30.0, None, 0.3, -0.1, 1e-6, 0.0, False))
    drawn = plotting.loss_ladder(ax, record_of(), passages=passages)
    spans = [patch.get_extents().transformed(ax.transData.inverted()) for patch in ax.patches]
    assert [(span.x0, span.x1) for span in spans] == [pytest.approx((1.0, 2.0)), pytest.approx((30.0, 40.0))]
    assert drawn.references[-1] is ax.patches[-1]
    assert "stay near a saddle" in legend_labels(ax)


def test_a_loss_that_may_be_negative_gets_a_linear_axis(ax):
    plotting.loss_ladder(ax, landscape_record(lambda times: -100.0 + np.exp(-times)))
    assert ax.get_yscale() == "linear"
    assert ax.get_legend() is None


def test_a_constant_zero_loss_is_drawn(ax):
    plotting.loss_ladder(ax, landscape_record(np.zeros_like))
    assert ax.get_yscale() == "linear"


def test_a_run_that_became_nan_is_drawn_up_to_there(ax):
    record = landscape_record(lambda times: np.where(times < 1.0, 1.0 + times, np.nan))
    assert np.isnan(plotting.loss_ladder(ax, record).curves[0].get_ydata()).any()
    ax.figure.draw_without_rendering()


def test_a_run_of_nothing_but_nan_is_drawn(ax):
    plotting.loss_ladder(ax, landscape_record(lambda times: np.full_like(times, np.nan)))
    ax.figure.draw_without_rendering()


# --- time axis --------------------------------------------------------------------------------------------------------


def test_time_is_labelled_with_its_unit(ax):
    plotting.loss_ladder(ax, record_of())
    assert ax.get_xlabel() == "flow time $t$ (dimensionless)"


def test_a_long_run_has_logarithmic_time_that_begins_a_decade_before_the_loss_moves(ax):
    record = record_of()
    plotting.loss_ladder(ax, record)
    moved = record.time.values[np.abs(record.loss - record.loss[0]).values > 1e-3 * 5.125][0]
    assert ax.get_xscale() == "log"
    assert ax.get_xlim()[0] == pytest.approx(0.1 * moved, rel=0.05)
    assert ax.get_xlim()[1] >= record.time.values[-1]


def test_backward_integration_has_linear_time(ax):
    record = record_of()
    plotting.loss_ladder(ax, record.assign_coords(time=-record.time.values / 8.0))
    assert ax.get_xscale() == "linear"
    assert ax.get_xlim()[0] < -5.0 and ax.get_xlim()[1] > 0.0


@pytest.mark.parametrize(
    "plot", [plotting.loss_ladder, plotting.singular_values, plotting.norm_bound, plotting.drift, plotting.convergence]
)
def test_a_run_of_one_row_is_a_dot(ax, plot):
    curve = plot(ax, record_of(rows=1)).curves[0]
    assert curve.get_marker() not in ("None", "none", None)
    assert list(ax.get_xticks()) == [0.0]
    ax.figure.draw_without_rendering()


# --- singular values --------------------------------------------------------------------------------------------------


def test_singular_values_are_drawn_with_their_targets_in_the_same_colour(ax):
    record = record_of()
    drawn = plotting.singular_values(ax, record)
    for mode, curve in enumerate(drawn.curves):
        np.testing.assert_array_equal(curve.get_ydata(), record.product_singular_value.values[:, mode])
        assert drawn.references[mode].get_ydata()[0] == TARGET[mode]
        assert drawn.references[mode].get_color() == curve.get_color()
    assert [text.get_text() for text in margin_texts(ax)] == ["$s_{1}$", "$s_{2}$", "$s_{3}$"]


def test_captured_strengths_may_be_negative(ax):
    record = record_of()
    record["captured_strength"] = -record.captured_strength
    plotting.singular_values(ax, record, quantity="captured_strength")
    assert ax.get_yscale() == "linear" and ax.get_ylim()[0] < -3.0


def test_a_wide_spectrum_gets_a_logarithmic_axis(ax):
    plotting.singular_values(ax, record_of(target=(30.0, 1.0, 0.1)))
    assert ax.get_yscale() == "log"


def test_singular_values_that_are_not_finite_do_not_stop_the_picture(ax):
    record = record_of()
    record["product_singular_value"] = np.nan * record.product_singular_value
    plotting.singular_values(ax, record)
    ax.figure.draw_without_rendering()


def test_singular_values_of_a_landscape_are_refused(ax):
    with pytest.raises(InputError, match=r"hold `product_singular_value`.*Only linear networks"):
        plotting.singular_values(ax, landscape_record())


def test_an_unknown_quantity_names_the_nearest_one(ax):
    with pytest.raises(InputError, match="Perhaps you meant 'captured_strength'"):
        plotting.singular_values(ax, record_of(), quantity="captured_strengh")


# --- promises ---------------------------------------------------------------------------------------------------------


def test_drift_is_drawn_per_invariant_against_the_tolerance(ax):
    record = record_of()
    drawn = plotting.drift(ax, record)
    np.testing.assert_array_equal(drawn.curves[1].get_ydata()[1:], record.relative_drift.values[1:, 1])
    assert drawn.references[0].get_ydata()[0] == 1e-6
    assert legend_labels(ax) == ["$C_{1}$", "$c_{1}$", "allowed by the tolerance"]
    assert ax.get_yscale() == "log" and ax.get_ylim()[1] > 1e-6


def test_an_invariant_beyond_its_tolerance_is_named(ax):
    record = record_of()
    record["consistent"][1] = False
    plotting.drift(ax, record)
    assert "beyond tolerance: $c_{1}$" in legend_labels(ax)


def test_a_quantity_without_a_law_is_named_and_not_judged(ax):
    record = record_of()
    record["claimed"][0] = False
    record["consistent"][0] = False
    plotting.drift(ax, record)
    assert "not conserved here: $C_{1}$" in legend_labels(ax)
    assert not any(label.startswith("beyond") for label in legend_labels(ax))


def test_different_tolerances_are_lines_in_the_colours_of_their_curves(ax):
    record = record_of()
    record["drift_tolerance"][:] = [1e-6, 1e-7]
    drawn = plotting.drift(ax, record)
    assert [line.get_ydata()[0] for line in drawn.references] == [1e-6, 1e-7]
    assert [line.get_color() for line in drawn.references] == [curve.get_color() for curve in drawn.curves]


@pytest.mark.parametrize("is_common", [True, False])
def test_many_invariants_are_labelled_at_their_ends(ax, is_common):
    names = tuple(f"C_{layer}" for layer in range(1, 10)) + tuple(f"c_{layer}" for layer in range(1, 10))
    record = record_of(invariants=names)
    if not is_common:
        record["drift_tolerance"][:] = np.geomspace(1e-8, 1e-6, 18)
    record["consistent"][:6] = False
    drawn = plotting.drift(ax, record)
    assert len(names) > MAX_IN_LEGEND and len(drawn.curves) == 18
    limit = "allowed by the tolerance" if is_common else "range of tolerances"
    assert legend_labels(ax) == [limit, "beyond tolerance: 6 of 18"]
    assert overlapping(margin_texts(ax)) == []


def test_without_invariants_the_axes_say_so(ax):
    assert plotting.drift(ax, landscape_record()).curves == []
    assert "no invariants are known" in ax.texts[0].get_text()


def test_drifts_of_exactly_zero_are_said_to_be_so(ax):
    record = record_of()
    plotting.drift(ax, record.assign(relative_drift=0.0 * record.relative_drift))
    assert "exactly zero" in ax.texts[0].get_text()
    ax.figure.draw_without_rendering()


def test_the_norm_is_drawn_under_the_certified_radius(ax):
    record = record_of()
    drawn = plotting.norm_bound(ax, record)
    np.testing.assert_array_equal(drawn.curves[0].get_ydata(), record.norm.values)
    assert drawn.references[0].get_ydata()[0] == 5.0
    assert legend_labels(ax)[1] == "certified $R=5$ (60 % used)"  # sup ||W|| = sqrt(2 * 4.5) = 3
    assert ax.get_ylim()[1] > 5.0


def test_the_largest_norm_between_the_rows_counts(ax):
    plotting.norm_bound(ax, record_of().assign_attrs(largest_norm=4.5))
    assert "(90 % used)" in legend_labels(ax)[1]


def test_a_radius_that_was_left_is_said_to_be_exceeded(ax):
    plotting.norm_bound(ax, record_of(bound=2.0))
    assert legend_labels(ax)[1] == "certified $R=2$ (exceeded: 150 %)"


def test_a_run_without_a_certificate_is_not_certified(ax):
    drawn = plotting.norm_bound(ax, record_of(bound=np.nan))
    assert legend_labels(ax) == ["$\\|W(t)\\|$, not certified"]
    assert drawn.references == []


def test_layers_are_labelled_at_their_ends(ax):
    record = record_of()
    drawn = plotting.norm_bound(ax, record, layers=True)
    np.testing.assert_array_equal(drawn.curves[2].get_ydata(), record.layer_norm.values[:, 1])
    assert [text.get_text() for text in margin_texts(ax)] == ["$W_{1}$", "$W_{2}$"]


@pytest.mark.parametrize("scale", [1e-140, 1.0, 1e140])
def test_tiny_and_huge_norms_are_drawn(ax, scale):
    record = record_of()
    plotting.norm_bound(ax, record.assign(norm=scale * record.norm, bound=scale * record.bound))
    assert ax.get_ylim()[0] < 3.0 * scale < ax.get_ylim()[1]
    ax.figure.draw_without_rendering()


def test_a_zero_norm_is_drawn(ax):
    record = record_of(bound=0.0)
    plotting.norm_bound(ax, record.assign(norm=0.0 * record.norm))
    ax.figure.draw_without_rendering()


def test_the_energy_defect_is_drawn_logarithmically(ax):
    record = record_of()
    drawn = plotting.energy(ax, record)
    np.testing.assert_array_equal(drawn.curves[0].get_ydata()[1:], record.energy_defect.values[1:])
    assert ax.get_yscale() == "log"


def test_an_exact_energy_identity_is_said_to_be_so(ax):
    record = record_of()
    plotting.energy(ax, record.assign(energy_defect=0.0 * record.energy_defect))
    assert "exactly" in ax.texts[0].get_text()


def test_convergence_shows_the_loss_above_the_limit_it_is_given(ax):
    record = record_of()
    curve = plotting.convergence(ax, record, limit=0.2).curves[0]
    np.testing.assert_allclose(curve.get_ydata()[:50], record.loss.values[:50] - 0.2)
    assert ax.get_ylabel() == "loss above its limit"


def test_convergence_shows_the_certified_envelope(ax):
    record = record_of()
    record["envelope"] = 0.2 + 10.0 * np.exp(-0.1 * record.time)
    drawn = plotting.convergence(ax, record, limit=0.2)
    np.testing.assert_allclose(drawn.references[0].get_ydata(), record.envelope.values - 0.2)
    assert legend_labels(ax) == ["loss", "certified envelope"]


def test_an_exponential_law_is_a_straight_line_over_linear_time(ax):
    rate = ObservedRate("exponential", 1.0, np.nan, 0.01, (8.0, 14.0), 40, "fits")
    line = plotting.convergence(ax, record_of(), rate=rate, limit=0.2).references[0]
    times, values = line.get_data()
    assert ax.get_xscale() == "linear"
    assert times.min() >= 8.0 and times.max() <= 14.0
    np.testing.assert_allclose(np.diff(np.log(values)) / np.diff(times), -1.0)
    assert line.get_label() == "in the end $e^{-1\\,t}$"
    assert values[-1] == pytest.approx(np.interp(times[-1], record_of().time, record_of().loss - 0.2))


def test_a_power_law_is_a_straight_line_over_logarithmic_time(ax):
    record = landscape_record(lambda times: 1.0 / np.sqrt(1.0 + times))
    rate = ObservedRate("power", np.nan, 0.5, 0.01, (5.0, 40.0), 40, "fits")
    line = plotting.convergence(ax, record, rate=rate).references[0]
    times, values = line.get_data()
    assert ax.get_xscale() == "log" and ax.get_ylabel() == "loss $L$"
    np.testing.assert_allclose(np.diff(np.log(values)) / np.diff(np.log(times)), -0.5)
    assert line.get_label() == "in the end $t^{-0.5}$"


def test_a_law_whose_window_is_off_the_record_is_not_drawn(ax):
    rate = ObservedRate("exponential", 1.0, np.nan, 0.01, (1e6, 1e7), 40, "fits")
    assert plotting.convergence(ax, record_of(), rate=rate, limit=0.2).references == []


def test_a_loss_at_its_limit_is_said_to_be_there(ax):
    plotting.convergence(ax, landscape_record(np.zeros_like))
    assert "at its limit" in ax.texts[0].get_text()


# --- wrong calls ------------------------------------------------------------------------------------------------------

RECORD_PLOTS = [
    plotting.loss_ladder, plotting.singular_values, plotting.drift, plotting.norm_bound, plotting.energy,
    plotting.convergence,
]  # fmt: skip


@pytest.mark.parametrize("plot", RECORD_PLOTS)
def test_something_that_is_no_record_is_refused(ax, plot):
    with pytest.raises(InputError, match=r"`record` must be a Dataset .* but got dict\."):
        plot(ax, {"loss": [1.0]})


@pytest.mark.parametrize("plot", RECORD_PLOTS)
def test_something_that_is_no_axes_is_refused(plot):
    with pytest.raises(InputError, match="`ax` must be a matplotlib Axes, but got Figure"):
        plot(Figure(), record_of())


def test_an_empty_record_is_refused(ax):
    with pytest.raises(InputError, match="`record` must have at least one row"):
        plotting.loss_ladder(ax, record_of().isel(time=slice(0)))


# --- spectrum ---------------------------------------------------------------------------------------------------------


def test_the_spectrum_counts_each_sign(ax):
    drawn = plotting.hessian_spectrum(ax, point_of())
    assert [list(curve.get_ydata()) for curve in drawn.curves] == [[-1.0], [0.0], [2.0, 3.0]]
    assert [list(curve.get_xdata()) for curve in drawn.curves] == [[1], [2], [3, 4]]
    assert legend_labels(ax) == ["index 1", r"nullity 1 ($\leq 10^{-9}$)", "positive 2"]
    assert len({curve.get_marker() for curve in drawn.curves}) == 3


def test_the_band_that_counts_as_zero_is_to_scale(ax):
    band = plotting.hessian_spectrum(ax, point_of((-1.0, 1e-4, 2.0), zero_tolerance=1e-3)).references[0]
    edges = band.get_extents().transformed(ax.transData.inverted())
    assert (edges.y0, edges.y1) == pytest.approx((-1e-3, 1e-3))
    assert ax.get_yscale() == "symlog"


def test_counts_of_an_extreme_spectrum_are_lower_bounds_and_its_ends_stay_apart(ax):
    values = [-2.0, -1.0, 0.0, 5.0, 6.0, 7.0]
    drawn = plotting.hessian_spectrum(ax, point_of(values, spectrum="extreme"))
    assert legend_labels(ax)[0] == "index \u2265 2" and legend_labels(ax)[2] == "positive \u2265 3"
    assert drawn.curves[2].get_xdata()[0] - drawn.curves[1].get_xdata()[-1] > 1
    assert [label.get_text() for label in ax.get_xticklabels()] == ["lowest", "highest"]


def test_an_unjudged_spectrum_counts_signs_and_claims_no_index(ax):
    plotting.hessian_spectrum(ax, point_of((-0.2, 1e-16, 1e-5, 3.0), zero_tolerance=np.nan, kind="not_critical"))
    labels = legend_labels(ax)
    assert labels[::2] == ["negative 1", "positive 2"] and labels[1].startswith("zero to rounding 1")


@pytest.mark.parametrize(
    ("values", "tolerance"),
    [(np.zeros(14), 0.0), (np.zeros(14), 1e-9), ([2.0], 1e-12), ([-1e120, 1e-3, 1e130], 1e100), ([1e-300], 0.0),
     (np.r_[-np.ones(3), np.zeros(2000), np.geomspace(1e-4, 2.0, 700)], 1e-10)],
)  # fmt: skip
def test_any_spectrum_lies_inside_the_axes(ax, values, tolerance):
    plotting.hessian_spectrum(ax, point_of(values, zero_tolerance=tolerance))
    low, high = ax.get_ylim()
    assert low < np.min(values) and np.max(values) < high
    ax.figure.draw_without_rendering()


def test_a_hessian_that_is_not_finite_is_said_to_be_so(ax):
    assert plotting.hessian_spectrum(ax, point_of([np.nan, np.nan], zero_tolerance=np.nan)).curves == []
    assert "not finite" in ax.texts[0].get_text()


def test_a_point_without_a_spectrum_is_refused(ax):
    with pytest.raises(InputError, match="`point` must be a CriticalPoint, but got int"):
        plotting.hessian_spectrum(ax, 3)


# --- portraits --------------------------------------------------------------------------------------------------------

BOX = ((-2.0, 2.0), (-2.0, 2.0))


@pytest.fixture(scope="module")
def wells():
    return gf.GradientFlow(model_problems.double_well().problem)


def marked(ax, flow, kind, place=(0.5, 0.5)):
    point = SimpleNamespace(kind=kind, params=np.array(place))
    return plotting.phase_portrait(ax, flow, *BOX, critical_points=[point], resolution=9)


def test_every_kind_has_a_marker_of_its_own():
    assert set(plotting.KIND_MARKERS) == set(KINDS)
    looks = {
        (kwargs["marker"], kwargs["markerfacecolor"], kwargs.get("markersize"))
        for kwargs in plotting.KIND_MARKERS.values()
    }
    assert len(looks) == len(KINDS)


@pytest.mark.parametrize(
    ("kind", "marker", "is_filled"),
    [("global_minimum", "o", True), ("strict_saddle", "X", True), ("nonstrict_saddle", "D", True),
     ("maximum", "^", True), ("degenerate", "s", False), ("undetermined", "h", False)],
)  # fmt: skip
def test_critical_points_are_marked_by_kind_and_explained(ax, wells, kind, marker, is_filled):
    portrait = marked(ax, wells, kind)
    line = portrait.critical_points[0]
    assert line.get_marker() == marker
    assert (line.get_markerfacecolor() != "white") is is_filled
    assert legend_labels(ax) == [kind.replace("_", " ").replace("nonstrict", "non-strict")]


def test_kinds_are_explained_once(ax, wells):
    known = model_problems.double_well()
    portrait = plotting.phase_portrait(ax, wells, *known.window, critical_points=known.critical_points, resolution=9)
    assert len(portrait.critical_points) == 9
    assert legend_labels(ax) == ["local minimum", "strict saddle", "maximum"]


def test_critical_points_outside_the_limits_are_left_out(ax, wells):
    assert marked(ax, wells, "maximum", place=(5.0, 0.0)).critical_points == []
    assert ax.get_legend() is None


def test_an_unknown_kind_names_the_nearest_one(ax, wells):
    with pytest.raises(InputError, match="Perhaps you meant 'maximum'"):
        marked(ax, wells, "maximun")


def test_streamlines_follow_the_vector_field(ax, wells):
    portrait = plotting.phase_portrait(ax, wells, *BOX, resolution=41)
    assert isinstance(portrait.streamlines.lines, LineCollection)
    segments = np.array(portrait.streamlines.lines.get_segments())
    middles, steps = segments.mean(axis=1), segments[:, 1] - segments[:, 0]
    velocity = middles - middles**3
    size = np.linalg.norm(steps, axis=1) * np.linalg.norm(velocity, axis=1)
    cosines = np.abs(np.sum(steps * velocity, axis=1))[size > 1e-4] / size[size > 1e-4]
    assert np.quantile(cosines, 0.05) > 0.99


def test_streamlines_are_wider_where_the_flow_is_faster(ax):
    flow = gf.GradientFlow(gf.Landscape(lambda p: 0.5 * jnp.sum(p * p)))
    lines = plotting.phase_portrait(ax, flow, *BOX, resolution=41).streamlines.lines
    radii = np.linalg.norm(np.array(lines.get_segments()).mean(axis=1), axis=1)
    widths = np.array(lines.get_linewidths())
    assert widths[radii > 1.8].min() > widths[radii < 0.5].max()


def test_contours_are_spaced_geometrically_above_the_lowest_loss(ax):
    flow = gf.GradientFlow(gf.Landscape(lambda p: jnp.sum(p * p) - 3.0))
    levels = plotting.phase_portrait(ax, flow, *BOX, resolution=41, levels=6).contours.levels
    assert levels[0] == pytest.approx(-3.0) and levels[-1] == pytest.approx(5.0)
    ratios = (levels[2:] + 3.0) / (levels[1:-1] + 3.0)
    np.testing.assert_allclose(ratios, ratios[0])


def test_levels_may_be_given(ax, wells):
    portrait = plotting.phase_portrait(ax, wells, *BOX, resolution=9, levels=[-0.4, 0.0, 2.0])
    assert list(portrait.contours.levels) == [-0.4, 0.0, 2.0]


def test_contours_are_solid_also_at_negative_losses(ax, wells):
    plotting.phase_portrait(ax, wells, *BOX, resolution=9)
    styles = [dash for collection in ax.collections for dash in collection.get_linestyles()]
    assert all(dash[1] is None for dash in styles)


def test_the_limits_hold_whatever_is_drawn_on_top(ax, wells):
    path = np.array([[0.0, 0.0], [50.0, 80.0]])
    portrait = plotting.phase_portrait(ax, wells, (-1.0, 1.0), (-2.0, 0.5), trajectories=[path], resolution=9)
    np.testing.assert_array_equal(portrait.trajectories[0].get_xydata(), path)
    assert ax.get_xlim() == (-1.0, 1.0) and ax.get_ylim() == (-2.0, 0.5)


def test_time_marks_lie_on_the_trajectory(ax, wells):
    run = SimpleNamespace(times=np.array([0.0, 1.0, 2.0]), params=np.array([[0.0, 0.0], [1.0, 0.5], [1.5, 0.5]]))
    plotting.phase_portrait(ax, wells, *BOX, trajectories=[run], time_marks=(0.5, 1.5, 7.0), resolution=9)
    marks = next(line for line in ax.lines if str(line.get_label()).startswith("$t$"))
    np.testing.assert_allclose(marks.get_xydata(), [[0.5, 0.25], [1.25, 0.5]])
    assert "$t$ = 0.5, 1.5, 7" in legend_labels(ax)


def test_a_scalar_network_is_drawn_in_its_two_weights(ax):
    problem = model_problems.scalar_chain(2, 1.0)
    run = SimpleNamespace(times=np.arange(3.0), params=(np.full((3, 1, 1), 0.5), np.full((3, 1, 1), -0.5)))
    portrait = plotting.phase_portrait(ax, gf.GradientFlow(problem), *BOX, trajectories=[run], resolution=9)
    np.testing.assert_array_equal(portrait.trajectories[0].get_xydata(), [[0.5, -0.5]] * 3)
    assert ax.get_xlabel() == "$w_1$ (dimensionless)"


def test_a_pytree_of_two_numbers_takes_a_template(ax):
    flow = gf.GradientFlow(gf.Landscape(lambda p: p["a"] ** 2 + p["b"] ** 2))
    template = {"a": np.zeros(()), "b": np.zeros(())}
    assert plotting.phase_portrait(ax, flow, *BOX, template=template, resolution=9).contours is not None


def test_a_field_that_is_not_finite_everywhere_is_drawn_where_it_is(ax):
    flow = gf.GradientFlow(gf.Landscape(lambda p: jnp.log(p[0]) ** 2 + p[1] ** 2))
    portrait = plotting.phase_portrait(ax, flow, *BOX, resolution=41)
    assert np.array(portrait.streamlines.lines.get_segments())[..., 0].min() >= 0.0
    ax.figure.draw_without_rendering()


def test_a_constant_landscape_has_no_contours(ax):
    portrait = plotting.phase_portrait(ax, gf.GradientFlow(gf.Landscape(lambda p: 0.0 * p[0])), *BOX, resolution=9)
    assert portrait.contours is None and plotting.loss_colorbar(ax, portrait) is None


def test_the_colorbar_says_which_losses_the_shades_mean(ax, wells):
    portrait = plotting.phase_portrait(ax, wells, *BOX, resolution=21)
    bar = plotting.loss_colorbar(ax, portrait)
    assert bar.ax.get_ylabel() == "loss $L$"
    assert len(bar.get_ticks()) <= 8 and set(bar.get_ticks()) <= set(portrait.contours.levels)


@pytest.mark.parametrize(
    "problem",
    [model_problems.long_excursion().problem, gf.Landscape(lambda p: p[0] * p[1] * p[2]),
     model_problems.scalar_chain(3, 1.0)],
)  # fmt: skip
def test_a_flow_of_more_parameters_is_refused(ax, problem):
    with pytest.raises(InputError, match=r"`flow` must have exactly two parameters.*draw gradflow\.plotting\.overview"):
        plotting.phase_portrait(ax, gf.GradientFlow(problem), *BOX)


def test_a_function_of_another_shape_asks_for_a_template(ax):
    flow = gf.GradientFlow(gf.Landscape(lambda p: p["a"] ** 2))
    with pytest.raises(InputError, match="pass one like it as template="):
        plotting.phase_portrait(ax, flow, *BOX)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"xlim": (1.0, 1.0)}, "`xlim` must increase"), ({"ylim": (0.0, np.inf)}, r"`ylim\[1\]` must be finite"),
     ({"xlim": (0.0, 1.0, 2.0)}, "`xlim` must be two numbers"), ({"levels": [1.0, 0.0]}, "`levels` must be"),
     ({"levels": 0}, "`levels` must be at least 1"), ({"resolution": 1}, "`resolution` must be at least 2"),
     ({"density": 0.0}, "`density` must be greater than 0"),
     ({"trajectories": [np.zeros((4, 3))]}, r"`trajectories\[0\]` must have two parameters per row, but got 3"),
     ({"critical_points": [SimpleNamespace(kind="maximum", params=np.zeros(3))]}, "must have two parameters"),
     ({"flow": 3}, "`flow` must be a flow, but got int")],
)  # fmt: skip
def test_wrong_calls_of_the_portrait_are_refused(ax, wells, kwargs, message):
    arguments = {"flow": wells, "xlim": BOX[0], "ylim": BOX[1], "resolution": 9} | kwargs
    with pytest.raises(InputError, match=message):
        plotting.phase_portrait(ax, **arguments)


# --- pages ------------------------------------------------------------------------------------------------------------


def panel_labels(figure):
    return [ax.get_ylabel() for ax in figure.axes]


def test_the_page_of_a_linear_network_has_its_six_panels():
    labels = panel_labels(plotting.overview(study_of(record_of())))
    assert labels == [
        "excess loss $L - L_\\mathrm{irr}$", "singular value", "parameter norm", "relative drift",
        "loss above its limit", "Hessian eigenvalue",
    ]  # fmt: skip


def test_the_page_of_a_landscape_shows_the_energy_instead_of_singular_values():
    labels = panel_labels(plotting.overview(study_of(landscape_record(), kind="not_critical")))
    assert labels[:2] == ["loss $L$", "relative energy defect"] and labels[4] == "loss $L$"


def test_the_headline_names_the_endpoint_and_the_end():
    figure = plotting.overview(study_of(record_of()))
    assert figure.get_suptitle() == "strict saddle, index 1, nullity 1; stationary at $t$ = 40 (Tsit5)"


@pytest.mark.parametrize("rows", [1, 200])
def test_legends_and_labels_of_the_page_stay_outside_the_data_and_apart(rows):
    figure = plotting.overview(study_of(record_of(target=np.linspace(3.0, 1.0, 10), rows=rows)))
    assert figure.get_size_inches()[0] == plotting.DOUBLE_WIDTH
    figure.draw_without_rendering()
    inside = figure.bbox.padded(1.0)
    for ax in figure.axes:
        legend, texts = ax.get_legend(), margin_texts(ax)
        outside = [box for box in (legend, *texts) if box is not None]
        axes_box = ax.get_window_extent().padded(-1.0)
        boxes = drawn_boxes(outside, is_drawn=True)
        assert not any(axes_box.overlaps(box) for box in boxes)
        assert all(inside.contains(*corner) for box in boxes for corner in (box.p0, box.p1))
        assert overlapping([*texts, ax.yaxis.label], is_drawn=True) == []


def test_a_page_opens_no_window_and_leaves_no_state():
    before = dict(mpl.rcParams)
    plotting.overview(study_of(record_of()))
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_something_that_is_no_study_is_refused():
    with pytest.raises(InputError, match="`study` must be a Study, but got dict"):
        plotting.overview({})


def test_a_portrait_page_has_a_scale_of_its_shades(wells):
    figure = plotting.portrait_page(wells, *BOX, title="double well", resolution=9)
    assert figure.get_suptitle() == "double well"
    assert figure.axes[1].get_ylabel() == "loss $L$"


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_figures_are_written_in_the_format_of_the_suffix(tmp_path, suffix):
    figure = Figure(figsize=(1.0, 1.0))
    path = plotting.save_figure(figure, tmp_path / f"figure.{suffix}")
    magic = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert path.read_bytes().startswith(magic)


def test_what_is_no_figure_is_refused(tmp_path):
    with pytest.raises(InputError, match="`figure` must be a matplotlib figure, but got int"):
        plotting.save_figure(1, tmp_path / "a.png")


def test_an_unknown_picture_format_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"`path` must end in the name of a picture format, but got 'a\.doc'"):
        plotting.save_figure(Figure(), tmp_path / "a.doc")
    assert list(tmp_path.iterdir()) == []


def test_the_page_draws_what_a_real_run_gives(tmp_path):
    """The only integration here: the variables that plots read are those that ``monitor`` writes."""
    problem = gf.Regression(gf.networks.Linear((2, 2, 2)), np.eye(2), np.diag([2.0, 1.0]))
    flow = gf.GradientFlow(problem)
    trajectory = gf.integrate(flow, problem.init(0, scale=0.1), rtol=1e-5)
    study = SimpleNamespace(
        record=gf.monitor(flow, trajectory),
        point=classify(problem, trajectory.endpoint),
        trajectory=trajectory,
        rate=None,
    )
    figure = plotting.overview(study)
    assert plotting.save_figure(figure, tmp_path / "page.png", dpi=50).stat().st_size > 10_000
    assert legend_labels(figure.axes[3]) == ["$C_{1}$", "$c_{1}$", "allowed by the tolerance"]


# --- imports and scripts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("module", "absent"), [("gradflow", "matplotlib"), ("gradflow.plotting", "matplotlib.pyplot")])
def test_importing_loads_no_more_of_matplotlib_than_needed(module, absent):
    code = f"import sys, {module}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def script(name):
    spec = importlib.util.spec_from_file_location(name, FIGURES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def saved(monkeypatch):
    """Makes ``store.load`` give studies by name, as if they had been saved."""
    studies = {}
    monkeypatch.setattr("gradflow.store.load", lambda path: studies[path], raising=False)
    return studies


def test_the_overview_script_draws_a_saved_study(saved, tmp_path):
    saved["run.nc"] = study_of(record_of())
    assert script("overview").main(["run.nc", "-o", str(tmp_path / "page.png")]) == 0
    assert (tmp_path / "page.png").exists()


def test_the_gallery_script_draws_one_panel_per_landscape(saved, wells, tmp_path):
    runs = [np.array([[0.1, 0.2], [1.0, 1.0]]), np.array([[-0.1, 0.2], [-1.0, 1.0]])]
    for name, run in zip("ab", runs, strict=True):
        point = SimpleNamespace(kind="local_minimum", params=run[-1])
        saved[name] = SimpleNamespace(flow=wells, trajectory=SimpleNamespace(params=run), point=point)
    problem = gf.Landscape(lambda p: 0.5 * (p[0] * p[1] - 1.0) ** 2, name="mine")
    saved["c"] = SimpleNamespace(
        flow=gf.GradientFlow(problem),
        trajectory=SimpleNamespace(params=runs[0]),
        point=SimpleNamespace(kind="degenerate", params=np.ones(2)),
    )
    gallery = script("portrait_gallery")
    figure = gallery.gallery([saved[name] for name in "abc"])
    panels = [ax for ax in figure.axes if ax.get_xlabel().startswith("$\\theta_1$")]
    assert [sum(line.get_label() == "trajectory" for line in ax.lines) for ax in panels] == [2, 1]
    assert gallery.main(["a", "b", "-o", str(tmp_path / "gallery.png")]) == 0


def test_the_gallery_refuses_a_study_without_its_landscape(saved, capsys):
    saved["a"] = SimpleNamespace(flow=None)
    assert script("portrait_gallery").main(["a"]) == 2
    assert "a landscape that only its author has" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["overview", "portrait_gallery"])
def test_scripts_say_what_is_wrong_with_a_file(monkeypatch, capsys, name):
    def missing(path):
        raise FileNotFoundError(f"`path` must be a file that exists, but got {path}.")

    monkeypatch.setattr("gradflow.store.load", missing, raising=False)
    assert script(name).main(["nowhere.nc"]) == 4
    assert "nowhere.nc" in capsys.readouterr().err


def test_a_basin_map_and_the_portrait_beside_it_show_the_same_plane():
    beside = script("basins_beside_portraits")
    for make in beside.PANELS.values():
        plane, cells, _ = make()
        for place in ((0.7, 0.3), (-0.2, 1.1)):
            state = ravel_pytree(plane.state(place))[0]
            np.testing.assert_allclose(state, cells.origin + np.array(place) @ cells.directions, atol=1e-15)
