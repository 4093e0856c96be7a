"""Studies in words and tables: every number is there, nothing is claimed that was not found, plain text is plain."""

import dataclasses
import io
import math
import re

import example_studies
import numpy as np
import pytest
from rich.text import Text

import gradflow as gf
from gradflow import reporting
from gradflow.certificates import Certificate
from gradflow.hypotheses import Hypothesis
from gradflow.regularizers import AbstractRegularizer

ESCAPE = "\x1b"
every = pytest.mark.parametrize("name", example_studies.NAMES)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for variable in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def printed(study, width=None, stream=None):
    stream = io.StringIO() if stream is None else stream
    reporting.print_summary(study, stream, width)
    return stream.getvalue()


def report(name, **changes):
    """The report on an example, in one line: where lines are broken is not what is tested."""
    return " ".join(printed(dataclasses.replace(example_studies.study(name), **changes), 200).split())


def section(name, title, width=100):
    """The lines between a heading and the next empty one."""
    lines = printed(example_studies.study(name), width).splitlines()
    start = lines.index(title) + 1
    return "\n".join(lines[start : lines.index("", start)])


# --- every report -----------------------------------------------------------------------------------------------------


@every
def test_a_report_has_every_section_in_order(name):
    lines = printed(example_studies.study(name)).splitlines()
    titles = [
        "What ran", "What happened", "Promised before integrating", "Promised against observed", "Where it ended",
        "How fast it converged", "Stays near saddles on the way",
    ]  # fmt: skip
    assert [line for line in lines if line in titles] == titles


@every
@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_are_ascii_no_wider_than_asked_and_without_trailing_blanks(name, width):
    text = printed(example_studies.study(name), width)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= width
    assert not re.search(r"[ \t]+$", text, re.MULTILINE)


@every
def test_no_report_says_nan_or_none(name):
    text = report(name).replace("t1=inf", "")  # what a user may pass
    assert not re.search(r"\b(nan|None|inf)\b", text), text


@every
def test_the_numbers_of_the_run_are_there(name):
    study, text = example_studies.study(name), report(name)
    run = study.trajectory
    assert f"{run.status} at t = {run.end_time:.6g}. {run.status.remedy}" in text
    assert f"||params|| was {run.largest_norm:.6g} at most" in text
    assert f"{run.num_accepted} accepted steps, {run.num_rejected} rejected" in text
    assert f"rtol {run.rtol:g}, atol {run.atol:g}" in text
    assert study.point.kind.replace("_", " ") in text.lower()


@every
def test_every_promise_is_there_with_its_numbers_hypotheses_and_source(name):
    text = report(name)
    for certificate in example_studies.study(name).certificates:
        answer = {True: "yes", False: "no", None: "not certified"}[certificate.holds]
        assert f"{certificate.name.replace('_', ' ')}: {answer} - " in text
        assert all(f"{key} = {value:.6g}" in text for key, value in certificate.values.items())
        assert all(hypothesis.statement in text for hypothesis in certificate.hypotheses)
        assert certificate.source in text


@every
def test_every_check_is_there_with_its_result(name):
    rows = section(name, "Promised against observed", 200).splitlines()
    results = {True: "passed", False: "FAILED", None: "not applicable"}
    for check, row in zip(example_studies.study(name).checks, rows[1:], strict=True):
        assert re.match(rf"  {check.name} +{results[check.passed]} ", row)
        assert row.endswith(check.statement)
        assert math.isnan(check.measured) or f" {check.measured:.3g} " in row


@every
def test_the_origin_is_there(name):
    provenance = example_studies.study(name).provenance
    text = report(name)
    assert f"gradflow {provenance['gradflow_version']}, commit {provenance['git_commit'][:12]}" in text
    assert all(str(provenance[key]) in text for key in ("jax_version", "device", "precision", "created_at"))


# --- what particular studies say --------------------------------------------------------------------------------------


def test_a_run_that_keeps_its_promises_says_so():
    study = example_studies.study("linear")
    values = {promise.name: promise.values for promise in study.certificates}
    text = report("linear")
    assert "Gradient flow of a network fitted to data, from one start" in text
    assert "10 samples, 3 inputs and 2 targets each" in text
    assert "Linear 3-3-2: 1 hidden layer, 15 parameters" in text
    assert "half the squared error, summed over the samples" in text
    assert f"boundedness: yes - ||params(t)|| never exceeds R = {values['boundedness']['R']:.6g}." in text
    assert f"rate = {values['exponential_rate']['rate']:.6g}." in text
    assert f"a rate of at least {values['exponential_rate']['rate']:.5g} was promised" in text
    assert f"rate = {study.rate.rate:.5g} +- {study.rate.standard_error:.2g}" in text
    assert "global minimum. It captures {s_1, s_2}" in text
    assert f"the least-squares optimum is {study.flow.problem.irreducible:.6g}" in text
    assert "Morse index 0 (negative eigenvalues), nullity 9" in text
    assert f"such points have the loss {study.point.value:.6g}" in text
    assert text.count("FAIL") == 0
    assert "All 7 checks passed." in text


def test_the_reduced_flow_is_never_taken_for_the_flow_of_the_weights():
    text = report("reduced")
    assert "Reduced flow of a network fitted to data" in text
    assert "SVD-reduced coordinates (paper 003)" in text and "dW/dt" not in text
    assert "10 samples, 3 inputs" in text  # the user's data, not the reduced ones


def test_normalization_and_weight_decay_are_said():
    text = report("decayed")
    assert "averaged over the samples, plus WeightDecay of strength 0.1" in text
    assert "the least-squares optimum without the regulariser is" in text


def test_no_landscape_is_said_to_be_certified():
    text = report("model_problem")
    assert "landscape two_layer_scalar, 2 parameters" in text
    assert text.count("not certified - there is no theory for this problem.") == 2
    assert "no rate was promised for this start" in text
    assert "least-squares" not in text and "captured" not in text
    assert "3 of 7 checks passed, 4 had nothing to compare or could not be judged." in text


def test_a_backward_run_says_so():
    text = report("backward")
    assert "t = -0.01, backwards" in text
    assert "Promises are about t > 0; this run went backwards." in text
    assert "certified no rate was promised for this start" in text
    assert "Not critical" in text


@pytest.mark.parametrize(("t1", "words"), [(math.inf, "the flow ends, however long"), (3.0, "t = 3 at the latest")])
def test_the_horizon_is_said(t1, words):
    trajectory = dataclasses.replace(example_studies.study("linear").trajectory, t1=t1)
    assert words in report("linear", trajectory=trajectory)


def test_an_escaped_run_names_the_norm():
    assert "escaped at t = " in report("escaped") and "Raise max_norm" in report("escaped")


def test_a_saddle_that_is_not_strict_is_named_with_the_stay_beside_it():
    text = report("nonstrict")
    assert "nonstrict saddle. It captures 0 directions" in text
    assert "captured {} of the target's singular values 1; r = 0, r_Z = 0" in text
    assert "like a power of time, t^(-p), p = " in text
    stays = section("nonstrict", "Stays near saddles on the way")
    run = example_studies.study("nonstrict").trajectory
    (passage,) = run.passages
    stay, lowest = run.end_time - passage.start, passage.lowest_eigenvalue
    row = [f"{passage.start:.4g}", "the", "end", f"{stay:.4g}", f"{passage.loss:.6g}", f"{lowest:.3g}", "NO"]
    assert stays.splitlines()[1].split() == row
    assert "Not resolved: the start is on the stable manifold" in stays


def test_a_stay_that_is_resolved_has_no_footnote():
    trajectory = example_studies.study("nonstrict").trajectory
    passage = dataclasses.replace(trajectory.passages[0], start=100.0, end=5000.0, is_resolved=True)
    unknown = dataclasses.replace(passage, is_resolved=None)
    text = report("nonstrict", trajectory=dataclasses.replace(trajectory, passages=(passage, unknown)))
    assert re.search(r"100 5000 4900 0\.5 \S+ yes 100 5000 4900 0\.5 \S+ unknown", text)
    assert "Not resolved" not in text


@pytest.mark.parametrize("name", ["stalled", "nonfinite", "step_limit", "interrupted"])
def test_a_failed_run_says_so_in_its_verdict(name):
    study = example_studies.study(name)
    failed = [check.name for check in study.checks if check.passed is False]
    assert "ended" in failed
    assert f"{len(failed)} of 7 checks FAILED: {', '.join(failed)}." in report(name)
    assert "checks passed" not in report(name)


def test_what_is_not_finite_is_said_in_words():
    text = report("nonfinite")
    assert "loss not a number -> not a number" in text
    assert "loss not a number gradient" in text


@pytest.mark.parametrize("eigenvalues", [np.zeros(0), np.array([1.0, math.nan])])
def test_a_hessian_that_is_not_known_has_no_index(eigenvalues):
    point = dataclasses.replace(example_studies.study("linear").point, eigenvalues=eigenvalues)
    assert "Hessian not computed" in report("linear", point=point)


def test_a_rank_that_does_not_count_leaves_the_hessian_to_its_ends():
    point = dataclasses.replace(
        example_studies.study("linear").point, index=None, nullity=None, spectrum="extreme", rank_z=None
    )
    text = report("linear", point=point)
    assert "(the 15 at the ends were computed)" in text
    assert "r_Z = not known" in text


@pytest.mark.parametrize(
    ("captured", "counts", "words"),
    [
        ((0, 1, 2, 3), (1, 1, 1, 1), "{s_1, ..., s_4}"),
        ((0, 2, 3, 5), None, "{s_1, s_3, s_4, s_6}"),
        ((), (0,), "{}"),
        (None, (2, 1), "(2, 1) per group of equal ones"),
        (None, None, "-"),
    ],
)
def test_the_captured_set_is_counted_from_one(captured, counts, words):
    study = example_studies.study("linear")
    point = dataclasses.replace(study.point, captured=captured, counts=counts)
    assert reporting.row_of(dataclasses.replace(study, point=point))["captured"] == words
    assert f"captured {words} of the target's singular values" in report("linear", point=point)


def test_of_many_singular_values_the_ends_are_named():
    record = example_studies.study("linear").record.drop_dims("mode")
    record = record.assign(target_singular_value=("mode", np.arange(8.0, 0.0, -1.0)))
    assert "singular values 8, 7, ..., 1;" in report("linear", record=record)


def test_a_network_too_narrow_for_the_data_is_told_from_one_that_is_not():
    record = example_studies.study("linear").record
    narrow = record.drop_dims("level").assign(greedy_level=("level", np.array([10.0, 8.5])))
    assert "a network this narrow can reach 8.5" in report("linear", record=narrow)
    assert "narrow" not in report("linear")


def test_a_rate_that_was_not_found_says_why():
    assert "observed Undetermined: only 0 points lie above the noise." in report("nonfinite")


def test_growth_is_said_when_it_was_seen():
    record = example_studies.study("linear").record
    assert "at most, still growing at the end" in report("linear", record=record.assign_attrs(growth="growing"))
    assert "settled" not in report("linear", record=record.assign_attrs(growth="unknown"))


def test_a_hypothesis_that_fails_stands_under_fails():
    promise = Certificate(
        "boundedness", False, {}, (Hypothesis("all is well", True), Hypothesis("X has rank 3", False)), "nowhere", ""
    )
    text = report("linear", certificates=(promise,))
    assert "boundedness: no - a hypothesis fails." in text
    assert "holds all is well FAILS X has rank 3 source nowhere" in text


def test_an_unknown_promise_is_reported_all_the_same():
    promise = Certificate("monotonicity", True, {"q": 0.5}, (), "a friend", "the loss falls by q in {0, 1}")
    assert "monotonicity: yes - the loss falls by q in {0, 1}. numbers q = 0.5" in report(
        "linear", certificates=(promise,)
    )
    assert "Promised before integrating nothing" in report("linear", certificates=())


def test_checks_that_are_not_judged_are_not_said_to_have_passed():
    first, *others = example_studies.study("linear").checks
    text = report("linear", checks=(first, *(dataclasses.replace(check, passed=None) for check in others)))
    assert "1 of 7 checks passed, 6 had nothing to compare or could not be judged." in text


def test_a_study_whose_flow_is_not_known_says_so():
    text = report("linear", flow=None)
    assert text.startswith("Gradient flow, from one start")
    assert "15 parameters; the loss itself is not known here (a file does not hold functions)" in text


def test_losses_and_regularisers_of_the_users_own_are_named():
    class Mine(AbstractRegularizer):
        def __call__(self, params):
            return 0.0

    network, data = gf.networks.Linear((3, 3, 2)), (np.ones((3, 2)), np.ones((2, 2)))
    own = gf.Regression(network, *data, loss=lambda outputs, targets: 0.0, regularizer=Mine())
    assert "a loss of the user's, summed over the samples, plus Mine" in report("linear", flow=gf.GradientFlow(own))


def test_settings_are_said_unless_another_line_says_them():
    settings = {
        "data": "iris",
        "seed": 3,
        "widths": (3, 3),
        "rtol": 1e-8,
        "flow": "original",
        "note": "x" * 50,
        "no": None,
    }
    assert "settings data = iris, seed = 3, widths = (3, 3) What" in report("linear", settings=settings)
    assert "settings" not in report("linear", settings={"rtol": 1e-8})


def test_a_study_without_provenance_says_unknown():
    assert report("linear", provenance={}).endswith("gradflow unknown, commit unknown, jax unknown, python unknown")


def test_changed_code_is_said():
    study = example_studies.study("linear")
    changed = study.provenance | {"git_commit": "0123456789abcdef", "git_dirty": True}
    assert "commit 0123456789ab with local changes" in report("linear", provenance=changed)
    assert "commit 0123456789ab, jax" in report("linear", provenance=changed | {"git_dirty": False})


# --- how it gets out --------------------------------------------------------------------------------------------------


def test_a_terminal_gets_colours_and_nothing_else_does(monkeypatch):
    study = example_studies.study("linear")
    coloured = printed(study, 100, Terminal())
    assert ESCAPE in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured).split() == printed(study, 100).split()
    assert ESCAPE not in printed(study, 100)
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed(study, 100, Terminal()) == printed(study, 100)


def test_standard_output_is_the_default(capsys):
    reporting.print_summary(example_studies.study("linear"))
    assert capsys.readouterr().out.startswith("Gradient flow of a network")


def test_sentences_are_not_wider_than_can_be_read(monkeypatch):
    study = example_studies.study("linear")
    monkeypatch.setenv("COLUMNS", "300")
    widest = max(map(len, printed(study).splitlines()))
    assert 80 < widest <= reporting.MAX_WIDTH
    monkeypatch.setenv("COLUMNS", "70")
    assert max(map(len, printed(study).splitlines())) <= 70


def test_markup_in_names_is_text():
    flow = gf.GradientFlow(gf.Landscape(lambda p: p @ p, name="[red]:smile:[/nonsense]"))
    assert "[red]:smile:[/nonsense]" in report("model_problem", flow=flow)


def test_what_a_stream_cannot_show_is_replaced():
    class Latin(io.StringIO):
        encoding = "latin-1"

    stream = Latin()
    reporting.show(Text("\u2207L = 0 \u00e9"), stream)
    assert stream.getvalue() == "?L = 0 \u00e9\n"


# --- rows and tables --------------------------------------------------------------------------------------------------

COLUMNS = ["drift", "sup/R", "excess loss", "ended", "kind", "captured", "steps", "seconds", "failed"]


def test_a_row_says_what_tables_compare():
    study = example_studies.study("linear")
    row = reporting.row_of(study)
    assert list(row) == COLUMNS
    assert row["drift"] == f"{study.record['relative_drift'].values.max():.2g}"
    assert row["sup/R"] == f"{study.trajectory.largest_norm / study.record['bound'].item():.3g}"
    assert row["excess loss"] == f"{study.point.loss - study.flow.problem.irreducible:.3g}"
    assert (row["ended"], row["kind"], row["captured"]) == ("stationary", "global minimum", "{s_1, s_2}")
    assert (row["steps"], row["failed"]) == (str(study.trajectory.num_steps), "none")


@every
def test_every_study_has_a_row_of_text(name):
    row = reporting.row_of(example_studies.study(name))
    assert all(isinstance(value, str) and value.isascii() and "nan" not in value for value in row.values())


def test_a_landscapes_row_has_its_loss_and_no_bound():
    row = reporting.row_of(example_studies.study("model_problem"))
    assert "excess loss" not in row
    assert (row["sup/R"], row["drift"], row["captured"]) == ("-", "-", "-")


def test_a_failed_runs_row_names_the_checks():
    assert reporting.row_of(example_studies.study("stalled"))["failed"] == "ended, energy, descent"


ROWS = [{"rtol": "1e-4", "kind": "a|b", "steps": 12}, {"rtol": "1e-6", "failed": "none"}]


def test_markdown_has_every_column_and_escapes_bars():
    assert reporting.markdown(ROWS) == (
        "| rtol | kind | steps | failed |\n"
        "| --- | --- | --- | --- |\n"
        "| 1e-4 | a\\|b | 12 | - |\n"
        "| 1e-6 | - | - | none |\n"
    )


def test_a_table_has_a_title_every_column_and_every_row(capsys):
    reporting.print_table(ROWS, title="two tolerances")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["two", "tolerances"],
        ["rtol", "kind", "steps", "failed"],
        ["1e-4", "a|b", "12", "-"],
        ["1e-6", "-", "-", "none"],
    ]


def test_a_table_in_a_file_is_as_wide_as_it_needs():
    row = {f"column {index}": "x" * 30 for index in range(8)}
    stream = io.StringIO()
    reporting.print_table([row], file=stream)
    assert stream.getvalue().splitlines()[1].split() == ["x" * 30] * 8


def test_a_table_on_a_terminal_or_of_a_given_width_folds(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    row = {f"column {index}": "word " * 10 for index in range(3)}
    for stream, width, limit in ((Terminal(), None, 60), (io.StringIO(), 50, 50)):
        reporting.print_table([row], file=stream, width=width)
        text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
        assert max(map(len, text.splitlines())) <= limit
        assert text.count("word") == 30


def test_an_empty_table_is_its_title(capsys):
    reporting.print_table([], title="nothing yet")
    assert capsys.readouterr().out.split() == ["nothing", "yet"]


def test_cells_are_text_and_not_markup(capsys):
    reporting.print_table([{"[bold]name": "[red]value[/]"}])
    assert capsys.readouterr().out.split() == ["[bold]name", "[red]value[/]"]


def test_the_names_that_scripts_import_are_there():
    assert set(reporting.__all__) <= set(dir(reporting))
    assert "print_table" in reporting.__all__


def test_events_that_were_met_are_told_in_summaries_and_pages_and_others_are_not():
    flow = gf.GradientFlow(gf.Landscape(lambda p: 0.5 * (p[0] ** 2 + p[1] ** 2)))
    level = gf.events.loss_level(flow.problem, 0.125)
    told = gf.study(flow, np.array([1.0, 0.0]), events=[level])
    text = printed(told)
    assert "Events met" in text and "loss" in text and "0.6931471" in text  # log 2
    assert "0.6931471" in gf.html.report(told, interactive=False)
    without = dataclasses.replace(told, trajectory=dataclasses.replace(told.trajectory, events=()))
    assert "Events met" not in printed(without)
    many = dataclasses.replace(told.trajectory, events=told.trajectory.events * 25)
    assert len(reporting.event_rows(many)) == 20 and "And 5 more" in reporting.more_events(many)
    assert "And 5 more" in printed(dataclasses.replace(told, trajectory=many))
