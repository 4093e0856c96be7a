"""Pages about results: what is on them, that nothing runs or is asked for that is not theirs, and wrong calls."""

import base64
import contextlib
import dataclasses
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from command_lines import call
from example_studies import study
from matplotlib.figure import Figure

import gradflow as gf
from gradflow import checks, html, reporting, settings, store
from gradflow.html import notebooks, pages, pictures, results, scenes, tracks
from gradflow.html.blocks import Facts, Page, Picture, Section, Sentence, Table, page_text
from gradflow.trajectories import Passage

VOID = {"meta", "link", "img", "br", "input", "hr"}
SMALL = 8
"""Starts along each axis: what is compiled, not what is followed, takes the time."""

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'"


class Reader(HTMLParser):
    """Elements of a page, and that every one of them is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text, self.wrong = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def said(self):
        return " ".join(" ".join(self.text).split())


@contextlib.contextmanager
def without(picture):
    """Pages without some of their pictures, which take longer than all else; other tests look at those."""
    nothing = Sentence("undrawn")
    with mock.patch.object(pages, picture, return_value=[nothing] if picture.endswith("s") else nothing):
        yield


@pytest.fixture
def undrawn():
    with without("study_picture"):
        yield


@pytest.fixture(scope="module")
def run_page():
    with without("study_picture"):
        return html.report(study("model_problem"), resolution=SMALL)


@pytest.fixture(scope="module")
def linear_page():
    return html.report(study("linear"))


def well(p):
    return jnp.sum(p**4 / 4 - p**2 / 2)


@pytest.fixture(scope="module")
def estimate():
    flow = gf.GradientFlow(gf.Landscape(well, name=EVIL))
    known = {f"well {EVIL}": np.array([1.0, 1.0])}
    box = gf.samplers.Box(-2.0, 2.0, like=2)
    return gf.estimate_basins(flow, box, 0, 100, num_rechecked=0, known=known, progress=False)


@pytest.fixture(scope="module")
def basin_page(estimate):
    with without("grid_pictures"):
        return html.report(estimate, resolution=SMALL)


@pytest.fixture(scope="module")
def lines():
    return tracks.trace(gf.GradientFlow(gf.Landscape(well)), ((-2.0, 2.0), (-2.0, 2.0)), resolution=SMALL)


# --- every page -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["run_page", "linear_page", "basin_page"])
def test_a_page_is_well_formed_and_readable_by_machines(page, request):
    read = Reader(request.getfixturevalue(page))
    assert read.wrong == [] and read.open == []
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later - level <= 1 for level, later in itertools.pairwise(levels))
    assert read.all("html") == [{"lang": "en"}]
    assert len(read.all("img")) > 0 and all(len(image["alt"]) > 40 for image in read.all("img"))
    assert all("scope" in header for header in read.all("th"))
    assert len(read.all("table")) == len(read.all("caption"))
    names = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert {link["href"][1:] for link in read.all("a")} <= set(names)


@pytest.mark.parametrize("page", ["run_page", "linear_page", "basin_page"])
def test_a_page_asks_for_nothing_outside(page, request):
    read = Reader(request.getfixturevalue(page))
    addresses = [
        attributes.get(name) for _, attributes in read.elements for name in ("src", "href") if name in attributes
    ]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    (policy,) = [meta["content"] for meta in read.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'") and "http" not in policy


def test_a_page_without_an_explorer_has_no_scripts_and_forbids_them(linear_page):
    read = Reader(linear_page)
    (policy,) = [meta["content"] for meta in read.all("meta") if "http-equiv" in meta]
    assert read.all("script") == [] and policy.endswith("script-src 'none'")


def test_every_colour_of_text_is_told_from_the_page():
    """At least 4.5 to 1, as WCAG asks for text (relative luminance of sRGB)."""
    sheet = (Path(html.__file__).parent / "templates" / "style.css").read_text()
    colours = re.findall(r"(?<!-)color: #([0-9a-f]{6})", sheet)
    assert len(colours) > 5
    for colour in colours:
        channels = np.array([int(colour[place : place + 2], 16) for place in (0, 2, 4)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.5, colour


def test_pictures_are_the_same_bytes_each_time():
    figures = []
    for _ in range(2):
        with gf.plotting.style():
            figures.append(Figure(figsize=(2, 2)))
            figures[-1].subplots().plot([0, 1], [1, 0])
    first, second = (pictures.inline(figure, "a line", "falling") for figure in figures)
    assert first == second and base64.b64decode(first.source.split(",")[1]).startswith(b"<?xml")


def test_a_name_that_cannot_be_set_costs_its_picture_and_not_the_page():
    figure = Figure(figsize=(2, 2))
    figure.suptitle(r"$\frac{$")
    said = pictures.drawn(lambda: figure, "what it shows", "caption")
    assert isinstance(said, Sentence) and "left out" in said.text and "what it shows" in said.text
    assert isinstance(pictures.drawn(lambda: Figure(figsize=(1, 1)), "", ""), Picture)


def test_a_drawing_that_is_large_is_shown_as_pixels(monkeypatch):
    monkeypatch.setattr(pictures, "LARGEST_DRAWING", 100)
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([0, 1], [1, 0])
    assert base64.b64decode(pictures.inline(figure, "", "").source.split(",")[1]).startswith(b"\x89PNG")


def test_text_of_a_result_is_text_on_its_page(basin_page, estimate):
    assert any(EVIL in label for label in estimate.labels)
    read = Reader(basin_page)
    assert EVIL in " ".join(read.text) or EVIL.replace("  ", " ") in read.said
    assert all("onerror" not in attributes for _, attributes in read.elements)
    assert "<script>alert" not in basin_page


def test_words_of_a_page_cannot_become_markup():
    blocks = [Facts(EVIL, ((EVIL, EVIL),)), Table(EVIL, (EVIL,), ((EVIL,),)), Sentence(EVIL)]
    read = Reader(page_text(Page(EVIL, blocks, [Section("a", EVIL, blocks)], EVIL)))
    assert read.all("script") == [] and read.all("img") == [] and read.wrong == []


# --- runs -------------------------------------------------------------------------------------------------------------


def test_every_hypothesis_stands_on_the_page_with_its_truth_value(linear_page):
    said = Reader(linear_page).said
    words = {True: "holds", False: "fails", None: "unknown"}
    hypotheses = [each for certificate in study("linear").certificates for each in certificate.hypotheses]
    assert len(hypotheses) > 2
    for hypothesis in hypotheses:
        assert f"{' '.join(hypothesis.statement.split())} {words[hypothesis.holds]}" in said


def test_the_certified_bound_stands_beside_what_was_observed(linear_page):
    result = study("linear")
    bound = next(each for each in result.certificates if each.name == "boundedness").values["R"]
    said = Reader(linear_page).said
    assert f"R = {bound:.6g}" in said
    assert f"sup ||params(t)|| = {result.trajectory.largest_norm:.6g} over all steps" in said


def test_nothing_is_said_beside_a_promise_that_was_not_made():
    result = study("model_problem")
    assert {results.observed_beside(certificate, result) for certificate in result.certificates} == {""}


def test_drifts_are_those_of_the_record():
    record = study("linear").record
    (table, _) = results.invariant_blocks(study("linear"))
    assert [row[0] for row in table.rows] == record["invariant"].values.tolist()
    drift = [f"{value:.3g}" for value in record["relative_drift"].values.max(axis=0)]
    assert [row[3] for row in table.rows] == drift
    assert {row[5].text for row in table.rows} == {"conserved to tolerance"}
    formulas = [invariant.formula for invariant in gf.invariants_of(study("linear").flow)]
    assert [row[1] for row in table.rows] == formulas and all(formulas)


def test_a_quantity_that_drifts_is_called_so():
    result = study("linear")
    record = result.record.assign(consistent=xr.zeros_like(result.record["consistent"]))
    (table, _) = results.invariant_blocks(SimpleNamespace(record=record, flow=None))
    assert {(row[1], row[5].text) for row in table.rows} == {("", "DRIFTS")}  # a file without the flow tells no formula


def test_passages_and_what_did_not_resolve_them_are_told():
    passages = (Passage(2.0, 9.0, 0.5, -1.0, 1e-9, 1e-5, True), Passage(20.0, None, 0.25, -0.5, 1e-9, 0.0, False))
    (table, sentence) = results.passage_blocks(SimpleNamespace(passages=passages, end_time=100.0))
    assert [row[:4] for row in table.rows] == [("2", "9", "7", "0.5"), ("20", "the end", "80", "0.25")]
    assert [row[5].text for row in table.rows] == ["yes", "NO"] and "stable manifold" in sentence.text
    assert "passed no saddle" in results.passage_blocks(SimpleNamespace(passages=()))[0].text


def test_a_failed_check_is_told_in_words():
    failed = [dataclasses.replace(check, passed=False) for check in study("linear").checks]
    table = results.check_table(SimpleNamespace(checks=failed))
    assert {row[1].text for row in table.rows} == {"FAILED"} and len(table.rows) == 7


def test_a_page_of_more_parameters_says_why_it_has_no_explorer(linear_page):
    assert "shows problems of two parameters; this one has 15" in Reader(linear_page).said


def test_a_page_from_a_file_alone_says_what_the_page_of_the_run_says(tmp_path, undrawn):
    path = store.save(study("linear"), tmp_path / "study.nc")
    shown = html.report(study("linear"))
    assert html.report(html.read(path)) == shown
    assert html.report(html.read(tmp_path)) == shown


def test_a_page_of_a_loss_that_no_file_holds_says_what_is_left_out(tmp_path, undrawn):
    run, mine = study("model_problem"), gf.GradientFlow(gf.Landscape(well, name="mine"))
    loaded = html.read(store.save(dataclasses.replace(run, flow=mine), tmp_path / "s.nc"))
    said = Reader(html.report(loaded)).said
    assert "called 'mine' cannot be made again" in said and "flow=flow" in said
    scene, rows = scenes.scene_of_study(loaded, mine), run.trajectory.params
    assert all(low < value < high for row in rows for value, (low, high) in zip(row, scene.window, strict=True))


# --- estimates --------------------------------------------------------------------------------------------------------


def test_every_row_of_an_estimate_stands_on_its_page_with_its_intervals(basin_page, estimate):
    said = Reader(basin_page).said
    for row in reporting.basin_rows(estimate):
        shown = [row["ends at"], row["starts"], row["fraction"], row["95 % interval"], row["all rows together"]]
        assert " ".join(" ".join(shown).split()) in said
    assert {"undetermined", "escaped", "nonfinite"} <= {row["ends at"] for row in reporting.basin_rows(estimate)}
    assert "classes without a start have at most" in said


def test_the_scene_of_a_stored_estimate_is_that_of_its_settings(tmp_path):
    text = "(x**2 - 1)**2 + y**2"
    flow = gf.GradientFlow(gf.Landscape(lambda p: (p[0] ** 2 - 1) ** 2 + p[1] ** 2))
    said = {
        "expression": text,
        "sampler": "box",
        "design": "independent",
        "seed": 0,
        "low": (-3.0,),
        "high": (2.0, 1.0),
    }
    facts = {"settings": said}
    stub = SimpleNamespace(facts=facts, plan=None, ends=np.zeros((4, 2)), starts=np.zeros((4, 2)))
    scene = scenes.scene_of_estimate(stub)
    assert scene.window == ((-3.0, 2.0), (-3.0, 1.0))
    point = jnp.array([0.3, -0.7])
    assert scene.flow.problem.loss(point) == pytest.approx(float(flow.problem.loss(point)), rel=1e-6)
    facts["settings"] = said | {"expression": "", "problem": "himmelblau", "low": None, "high": None}
    assert scenes.scene_of_estimate(stub).window == ((-6.0, 6.0), (-6.0, 6.0))
    facts["settings"] = {"network": "linear", "data": "mine.csv"}
    assert "network's data" in scenes.scene_of_estimate(stub).reason


# --- the explorer's trajectories --------------------------------------------------------------------------------------


def test_rows_of_the_explorer_lie_on_the_trajectories(lines):
    """x' = x - x^3 in each coordinate: x(t) = x0 e^t / sqrt(1 + x0^2 (e^{2t} - 1))."""
    for start in range(0, SMALL**2, 5):
        rows = lines.rows(start)
        decay, x0 = np.exp(-lines.times[rows])[:, None], lines.starts[start]
        exact = x0 / np.sqrt(decay**2 + x0**2 * (1 - decay**2))
        np.testing.assert_allclose(lines.points[rows], exact, atol=2e-5)
        assert np.all(np.diff(lines.times[rows]) > 0) and lines.times[rows][0] == 0
        np.testing.assert_allclose(lines.losses[rows], np.sum(exact**4 / 4 - exact**2 / 2, axis=1), atol=1e-4)


def test_each_start_of_the_explorer_ends_in_its_own_quadrant(lines):
    places = np.array([lines.estimate.ends[code] for code in lines.codes])
    np.testing.assert_array_equal(np.sign(places), np.sign(lines.starts))
    assert set(lines.endings) == {tracks.AT_LIMIT}
    assert len(lines.points) < 20 * SMALL**2


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_are_left_out_are_near_the_line_through_the_others(seed):
    points = np.cumsum(np.random.default_rng(seed).standard_normal((60, 2)), axis=0)
    kept = tracks.needed(points, 1.0)
    assert kept[0] == 0 and kept[-1] == 59 and len(kept) < 60
    for first, last in itertools.pairwise(kept):
        along = points[last] - points[first]
        for point in points[first + 1 : last]:
            share = np.clip((point - points[first]) @ along / (along @ along), 0, 1)
            assert np.linalg.norm(point - points[first] - share * along) <= 1.0


def test_lines_that_leave_the_picture_and_starts_in_doubt_are_told():
    names = ("minimum at (0, 0)", "minimum at (1, 1)", "valley", "undetermined", "escaped", "nonfinite")
    places = np.array([[0.0, 0], [1, 1], [1, 0], [np.nan, 0], [np.nan, 0], [np.nan, 0]])
    first = SimpleNamespace(labels=names, codes=np.array([0, 0, 1, 2, 3, 3]), ends=places)
    again = SimpleNamespace(labels=names, codes=np.array([0, 1, 1, 2, 3, 0]), ends=places)
    ends = np.array([[0.0, 0], [1, 1], [0.5, 0.5], [0.9, 0], [9.0, 9], [0.1, 0]])
    outside = np.array([False, False, False, False, True, False])
    expected = (tracks.AT_LIMIT, tracks.APART, tracks.SHORT, tracks.AT_LIMIT, tracks.OUTSIDE, tracks.SHORT)
    assert tracks._endings(first, again, ends, outside, ((-1.0, 1.0), (-1.0, 1.0))) == expected


def test_the_explorer_says_how_many_starts_it_followed(run_page):
    said = Reader(run_page).said
    assert f"{SMALL**2} starts on a grid of {SMALL} by {SMALL} cells" in said
    assert "nothing is interpolated between starts" in said


# --- notebooks --------------------------------------------------------------------------------------------------------


@pytest.fixture
def registered():
    html.register()
    yield
    for kind in notebooks.BLOCKS:
        del kind._repr_html_


def test_results_show_as_tables_in_notebooks_once_that_is_asked_for(registered, estimate):
    run = study("linear")
    for result in (run, run.trajectory, run.point, run.certificates[0], estimate):
        read = Reader(result._repr_html_())
        assert read.wrong == [] and read.open == [] and len(read.all("table")) > 0
        assert all("scope" in header for header in read.all("th"))
    assert "minimum" in run.point._repr_html_() and "script" not in {
        tag for tag, _ in Reader(estimate._repr_html_()).elements
    }


def test_results_know_of_no_notebook_by_themselves():
    assert not any(hasattr(kind, "_repr_html_") for kind in notebooks.BLOCKS)
    assert "<table" not in repr(study("linear").point)
    assert hasattr(study("linear").record, "_repr_html_")


# --- wrong calls ------------------------------------------------------------------------------------------------------


def test_wrong_calls_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(checks.InputError, match=r"`result` must be a Study or a BasinEstimate, but got str\. Read"):
        html.report("study.nc")
    with pytest.raises(checks.InputError, match=r"`flow` must be a flow"):
        html.report(study("linear"), flow=3)
    with pytest.raises(checks.InputError, match=r"`window` must have ranges that increase"):
        html.report(study("model_problem"), window=((1, 0), (0, 1)))
    with pytest.raises(checks.InputError, match=r"`resolution` must be at most 64"):
        html.report(study("model_problem"), resolution=65)
    with pytest.raises(checks.InputError, match=r"study\.nc or estimate\.nc, but got .*It holds no results file"):
        html.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        html.read(tmp_path / "nothing.nc")
    (tmp_path / "notes.nc").write_text("x" * 100)
    with pytest.raises(checks.ResultsFileError, match="no results file of gradflow"):
        html.read(tmp_path / "notes.nc")
    with pytest.raises(checks.InputError, match=r"It holds notes\.nc; name one of them"):
        html.read(tmp_path)


def test_the_command_writes_a_page_and_never_over_another(tmp_path, capsys, monkeypatch, undrawn):
    monkeypatch.chdir(tmp_path)
    store.save(study("linear"), "study.nc")
    answer = call(capsys, "report", "study.nc")
    assert (answer.code, answer.out) == (0, "Written: study.html\n")
    assert "<h1>Gradient flow of a network" in (tmp_path / "study.html").read_text()
    again = call(capsys, "report", "study.nc")
    assert again.code == 4 and "add --overwrite" in again.err
    assert call(capsys, "report", "study.nc", "--overwrite", "--no-explorer").code == 0
    assert call(capsys, "report").code == 2
    assert call(capsys, "report", "study.nc", "--out", "page.pdf").code == 2
    assert call(capsys, "report", "nothing.nc").code == 4


def test_settings_of_the_command_agree_with_the_library():
    assert settings.reports.MOST_RESOLUTION == tracks.MOST
    assert settings.ReportSettings(results="x.nc").resolution == tracks.RESOLUTION
    assert json.loads(json.dumps(list(tracks.NOTES))) == [tracks.AT_LIMIT, tracks.OUTSIDE, tracks.SHORT, tracks.APART]
