"""Pages about experiments: predictions beside measurements, figures, numbers; and what is said where one is missing."""

import textwrap

import pytest
from command_lines import call
from test_report import EVIL, Reader

from gradflow import checks, html, laboratory
from gradflow.cli.exit_codes import ExitCode

TOY = '''
"""Is a half of it a half?

Question: is it, over
several lines?
Prediction: it is.
Found: {found}
"""

from dataclasses import dataclass
import numpy as np
import xarray as xr
from gradflow.laboratory import at_most, between

@dataclass(frozen=True)
class Settings:
    """Sizes."""
    num: int = 4

    @classmethod
    def tiny(cls):
        return cls(num=2)

def measure(settings):
    """Numbers."""
    values = np.arange(settings.num) / 2
    values[-1] = np.nan
    about = {{"long_name": "half of the row's number", "units": "dimensionless"}}
    return xr.Dataset({{"half": ("row", values, about)}})

def findings(results):
    """Judged."""
    half = results["half"].values
    return [between("the second is a half", half[1], 0.5, 0.5, "arithmetic"),
            at_most("{claim}", half[0], {limit}), at_most("the last", half[-1], 1.0)]
'''

FIGURE = '''
import beside

def page(results):
    """Points."""
    return beside.figure(results["half"].values)
'''

BESIDE = """
from matplotlib.figure import Figure

def figure(values):
    made = Figure()
    made.subplots().plot(values, "o")
    return made
"""


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder with an experiment, its figure and its results; a function that makes more of them."""
    monkeypatch.chdir(tmp_path)
    for folder in ("experiments", "figures", "results"):
        (tmp_path / folder).mkdir()
    (tmp_path / "figures" / "beside.py").write_text(BESIDE)

    def make(name, limit=0.0, claim="the first is nothing", found="yes.", figure=FIGURE):
        text = textwrap.dedent(TOY).format(found=found, claim=claim, limit=limit)
        (tmp_path / "experiments" / f"{name}.py").write_text(text)
        if figure:
            (tmp_path / "figures" / f"{name}.py").write_text(figure)
        experiment = laboratory.load_experiment(name, tmp_path / "experiments")
        laboratory.perform(experiment, experiment.settings_type(), tmp_path / "results" / f"{name}.nc")
        return tmp_path / "results" / f"{name}.nc"

    return make


def page_of(capsys, *words):
    answer = call(capsys, "report", *words, "--experiments", "experiments")
    assert answer.code == ExitCode.OK, answer.err
    with open(answer.out.split("Written: ")[1].strip(), encoding="utf-8") as file:
        text = file.read()
    return text, Reader(text)


def test_a_page_has_the_question_each_finding_the_figure_the_numbers_and_the_origin(capsys, kept):
    text, page = page_of(capsys, kept("halves"))
    assert page.wrong == [] and page.open == []
    for said in ("Is a half of it a half?", "is it, over several lines?", "the second is a half", "arithmetic",
                 "2 agree with what was measured, 0 disagree, 1 are undecided", "half of the row's number",
                 "python figures/halves.py halves.nc", "git commit"):  # fmt: skip
        assert said in page.said, said
    assert len(page.all("img")) == 1 and page.all("img")[0]["src"].startswith("data:image/svg+xml;base64,")
    assert page.all("script") == [] and "http" not in text.replace("http-equiv", "")
    assert {attributes.get("class") for attributes in page.all("span")} == {"good", "doubt"}


def test_a_folder_of_results_is_one_page_with_the_worst_verdict_of_each(capsys, kept):
    kept("fine", figure="")
    kept("wrong", limit=-1.0)
    _, page = page_of(capsys, "results")
    assert "2 experiments" in page.said and "3 agree with what was measured, 1 disagree, 2 are undecided" in page.said
    assert "DISAGREES" in page.said and "There is no figures/fine.py" in page.said
    assert [one["id"] for one in page.all("section")] == ["summary", "fine", "wrong"]


def test_words_of_an_experiment_are_text_whatever_they_are(capsys, kept):
    text, page = page_of(capsys, kept("sly", claim=EVIL.replace('"', ""), found=EVIL.replace('"', "")))
    assert page.wrong == [] and page.all("script") == [] and "<script>alert" not in text
    assert "alert(1)" in page.said


def test_a_figure_that_cannot_be_drawn_costs_its_picture_only(capsys, kept):
    _, page = page_of(capsys, kept("broken", figure="def page(results):\n    raise KeyError('half')\n"))
    assert page.all("img") == [] and "broken.py could not draw it (KeyError: 'half')" in page.said
    assert "the second is a half" in page.said


def test_wrong_calls_say_what_is_wrong(capsys, kept, tmp_path):
    kept("halves")
    (tmp_path / "experiments" / "halves.py").rename(tmp_path / "experiments" / "quarters.py")
    answer = call(capsys, "report", "results", "--experiments", "experiments")
    assert answer.code == ExitCode.BAD_INPUT and "quarters" in answer.err
    with pytest.raises(checks.InputError, match="at least one experiment"):
        html.experiments_report([])
    assert html.experiment_files(tmp_path / "figures") == []
    (tmp_path / "figures" / "no.nc").write_text("nothing")
    assert html.experiment_files(tmp_path / "figures") == []


def test_an_existing_page_is_kept_unless_asked_otherwise(capsys, kept, tmp_path):
    place = kept("halves")
    (tmp_path / "results" / "halves.html").write_text("mine")
    answer = call(capsys, "report", place, "--experiments", "experiments")
    assert answer.code == ExitCode.FILES and (tmp_path / "results" / "halves.html").read_text() == "mine"
    assert call(capsys, "report", place, "--experiments", "experiments", "--overwrite").code == ExitCode.OK
    assert (tmp_path / "results" / "halves.html").read_text() != "mine"


def test_the_figures_of_two_folders_do_not_meet(capsys, kept, tmp_path):
    place = kept("halves")
    page_of(capsys, place)
    (tmp_path / "figures" / "beside.py").write_text(
        BESIDE.replace('"o"', '"x", label="other"') + "raise OSError('new')"
    )
    _, page = page_of(capsys, place, "--out", "again.html")
    assert "halves.py could not draw it (OSError: new)" in page.said


def test_a_folder_of_an_unfinished_estimate_says_how_to_finish_it(capsys, tmp_path):
    (tmp_path / "run" / "parts").mkdir(parents=True)
    (tmp_path / "run" / "settings.json").write_text("{}")
    answer = call(capsys, "report", tmp_path / "run")
    assert answer.code == ExitCode.BAD_INPUT and "an estimate without its estimate.nc" in answer.err
    (tmp_path / "run" / "settings.json").unlink()
    assert "It holds no results file." in call(capsys, "report", tmp_path / "run").err
