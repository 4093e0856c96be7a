"""The figures of the experiments, drawn from kept quick results: what is judged is on the page, readable, and complete.

Nothing is measured here. ``quick_results.py`` says how the results were made.
"""

import hashlib
import importlib
import itertools
import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator
from quick_results import kept, quick_results
from test_experiments import ALL, NAMES, WRONG, tiny

from gradflow import laboratory, plotting
from gradflow.laboratory.results import described

FIGURES = Path(__file__).resolve().parent.parent / "figures"

NEVER_MISSING = {"basin_coverage": {"wrong_labels"}, "regulariser_and_speed": {"worst_rise"}}
"""Variables that are NaN by design where there is nothing to count or to compare with."""


@pytest.fixture(scope="module", autouse=True)
def scripts():
    """The folder of the figures on the path, as for a script that is run from it."""
    sys.path.insert(0, str(FIGURES))
    yield
    sys.path.remove(str(FIGURES))


def page(name, results):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return importlib.import_module(name).page(results)


def drawn_texts(figure):
    """Texts on the page that are not empty; of tick labels those within the axes' limits."""
    figure.draw_without_rendering()
    ticks = {}
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for minor in (False, True):
                for label, place in zip(axis.get_ticklabels(minor), axis.get_ticklocs(minor=minor), strict=False):
                    ticks[label] = low <= place <= high and ax.axison
    texts = figure.findobj(lambda one: isinstance(one, Text) and one.get_visible() and one.get_text().strip())
    hidden = {text for ax in figure.axes if not ax.axison for text in (ax.xaxis.label, ax.yaxis.label)}
    return [text for text in texts if ticks.get(text, True) and text not in hidden]


def fingerprint(figure):
    """All that is drawn, without how it is laid out: data of lines, areas and collections, and words."""
    parts = [text.get_text() for text in figure.texts]
    for ax in figure.axes:
        parts += [f"{one.get_xydata().tolist()} {one.get_marker()} {one.get_label()}" for one in ax.lines]
        parts += [f"{one.get_path().vertices.tolist()} {one.get_label()}" for one in ax.patches]
        parts += [str([path.vertices.tolist() for path in one.get_paths()]) for one in ax.collections]
        parts += [text.get_text() for text in ax.texts]
        named = [axis for axis in (ax.xaxis, ax.yaxis) if isinstance(axis.get_major_locator(), FixedLocator)]
        parts += [label.get_text() for axis in named for label in axis.get_ticklabels()]
    return "\n".join(parts)


def is_explained(axis):
    """Whether an axis has a label, or words instead of numbers at its ticks, or nothing to explain."""
    ticks = [label.get_text() for label in axis.get_ticklabels() if label.get_visible()]
    return bool(axis.label.get_text()) or not ticks or any(re.search("[A-Za-z]{2}", text) for text in ticks)


@pytest.fixture
def unlaid(monkeypatch):
    """Leaves out the layout of the page, which takes most of the time, and keeps what legends would say."""

    def words(sheet, shared=False):
        keys = [str(key.get_label()) for panel in sheet.panels for key in panel.all_keys()]
        sheet.figure.text(0.0, 0.0, "\n".join(keys))
        return sheet.figure

    monkeypatch.setattr(importlib.import_module("drawing").Sheet, "finish", words)


def changed(name, variable, value):
    results = quick_results(name).copy(deep=True)
    if isinstance(value, str):
        results[variable] = results[variable].astype("U32")
    if isinstance(value, float) and np.isnan(value) and results[variable].dims:
        results[variable].values.flat[0] = value
    else:
        results[variable][...] = value
    return results


def test_every_experiment_has_kept_results_and_a_figure():
    assert sorted(kept()) == NAMES
    assert [name for name in NAMES if not (FIGURES / f"{name}.py").exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_labelled_and_no_words_overlap_or_leave_it(name):
    results = quick_results(name)
    figure = importlib.import_module("drawing").signed(page(name, results), results)
    texts = drawn_texts(figure)
    for ax in figure.axes:
        assert ax.lines or ax.texts or ax.patches
        assert [axis for axis in (ax.xaxis, ax.yaxis) if not is_explained(axis)] == []
    boxes = [text.get_window_extent().padded(-1.0) for text in texts]
    pairs = itertools.combinations(zip(texts, boxes, strict=True), 2)
    assert [(a.get_text(), b.get_text()) for (a, one), (b, other) in pairs if one.overlaps(other)] == []
    width, height = figure.bbox.width, figure.bbox.height
    outside = [box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height for box in boxes]
    assert [text.get_text() for text, is_out in zip(texts, outside, strict=True) if is_out] == []
    assert any(text.get_text().startswith(f"gradflow run {name}: predictions ") for text in texts)


@pytest.mark.parametrize("name", NAMES)
def test_every_quantity_that_is_judged_is_on_the_page(name, unlaid):
    before = fingerprint(page(name, quick_results(name)))
    same = [variable for variable, value in WRONG[name].items()
            if fingerprint(page(name, changed(name, variable, value))) == before]  # fmt: skip
    assert same == []


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_number_is_drawn_as_missing(name, unlaid):
    results = quick_results(name)
    before, unmarked = fingerprint(page(name, results)), []
    for variable in set(WRONG[name]) - NEVER_MISSING.get(name, set()):
        if results[variable].dtype.kind == "f":
            after = fingerprint(page(name, changed(name, variable, np.nan)))
            if after.count("?") <= before.count("?") and "undetermined" not in after:
                unmarked.append(variable)
    assert unmarked == []


def test_what_has_no_place_on_a_logarithmic_axis_is_at_its_edge_and_counted():
    drawing = importlib.import_module("drawing")
    with plotting.style():
        sheet = drawing.Sheet(1, 1)
        panel = sheet.panel("numbers").logarithmic("y").label("x", "y")
        panel.points([1, 2, 3, 4, 5], [1.0, 0.0, np.nan, -2.0, np.inf], "measured", "not reached")
        figure = sheet.finish()
    lines = {line.get_marker(): line.get_xdata().tolist() for line in panel.ax.lines}
    assert lines == {"o": [1.0], "$?$": [3.0], "v": [2.0, 4.0], "^": [5.0]}
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert [text for text in texts if text.strip()] == ["measured", "not reached: 1", "0 or less: 2", "infinite: 1"]


def test_the_same_results_give_the_same_bytes_and_a_bad_file_an_exit_code(tmp_path, capsys):
    drawing, name = importlib.import_module("drawing"), "digits_tolerances"
    experiment = laboratory.load_experiment(name)
    results = described(quick_results(name), experiment, experiment.settings_type.tiny(), 1.0)
    path = laboratory.save_results(results, tmp_path / "results.nc")
    module = importlib.import_module(name)
    digests = set()
    for _ in range(2):
        assert drawing.command(module.page, module.__doc__, [str(path), "-o", str(tmp_path / "page.pdf")]) == 0
        digests.add(hashlib.sha256((tmp_path / "page.pdf").read_bytes()).hexdigest())
    assert len(digests) == 1
    assert drawing.command(module.page, module.__doc__, [str(path), "-o", str(tmp_path / "page.txt")]) == 2
    assert drawing.command(module.page, module.__doc__, ["nowhere.nc", "-o", str(tmp_path / "page.pdf")]) == 4
    assert "nowhere.nc" in capsys.readouterr().err


@pytest.mark.skipif(os.environ.get(ALL) != "1", reason=f"takes minutes; {ALL}=1 runs it")
@pytest.mark.parametrize("name", NAMES)
def test_the_kept_results_have_the_shape_of_new_ones(name):
    _, new = tiny(name)
    old = quick_results(name)
    assert {one: (new[one].dims, new[one].dtype.kind) for one in new.variables} == {
        one: (old[one].dims, old[one].dtype.kind) for one in old.variables
    }
