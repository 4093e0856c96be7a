"""The table of statements: what a verdict says, what the command prints, and that the catalogue is whole."""

import dataclasses
import importlib
import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest
from command_lines import call

from gradflow import reporting, verification
from gradflow.cli import console
from gradflow.cli.exit_codes import ExitCode
from gradflow.verification import STATEMENTS, Statement, Trial, verify, verify_all

ROOT = Path(__file__).resolve().parent.parent


def statement(*trials, number="Theorem 1", **fields):
    """A statement whose check yields these trials whatever it is asked for."""
    chosen = {"paper": "000", "number": number, "claim": "a <= b.", "code": ("gradflow.verification.Trial",)}
    return Statement(**(chosen | fields), check=lambda rng, num_instances: iter(trials))


GOOD, BAD = Trial(0.25, 1.0, "instance a"), Trial(3.0, 1.0, "instance b")
HOLDS = statement(GOOD, Trial(0.5, 1.0, "closest"), number="Lemma 2")
FAILS = statement(GOOD, BAD, number="Lemma 3")
ERRATUM = statement(GOOD, number="Lemma 4 (i)", correction="2, not 1.", as_printed=lambda: Trial(2.0, 1.0, "x = 2"))
NO_COUNTEREXAMPLE = statement(GOOD, number="Lemma 5", correction="none.", as_printed=lambda: Trial(1.0, 2.0, "x = 1"))


# --- verdicts ---------------------------------------------------------------------------------------------------------


def test_a_trial_that_is_no_number_fails():
    assert not Trial(math.nan, 1.0).holds
    assert not Trial(1.0, math.nan).holds


def test_an_agreement_holds_for_equals_only():
    assert Trial.agreement("strict", "strict").holds
    assert not Trial.agreement(2, 3).holds
    assert Trial.agreement(2, 3).instance == "found 2, expected 3"


def test_a_verdict_keeps_the_closest_trial():
    verdict = verify(HOLDS)
    assert verdict.holds and verdict.is_as_expected
    assert verdict.worst.instance == "closest"
    assert verdict.trials == 2


def test_a_verdict_fails_with_its_worst_trial():
    verdict = verify(FAILS)
    assert not verdict.holds and not verdict.is_as_expected
    assert verdict.failures == (BAD,) and verdict.num_failures == 1 and verdict.worst == BAD


def test_no_number_is_the_worst_of_all():
    verdict = verify(statement(BAD, Trial(math.nan, 1.0, "nan")))
    assert verdict.worst.instance == "nan"


def test_a_statement_without_trials_does_not_hold():
    assert not verify(statement()).holds


def test_an_erratum_needs_a_counterexample_that_is_one():
    assert verify(ERRATUM).is_as_expected
    assert verify(ERRATUM).printed_fails is True
    assert not verify(NO_COUNTEREXAMPLE).is_as_expected


def test_an_exception_is_a_verdict_and_ends_nothing():
    def broken(rng, num_instances):
        yield GOOD
        raise ZeroDivisionError("no")

    verdicts = list(verify_all([dataclasses.replace(HOLDS, check=broken), HOLDS]))
    assert verdicts[0].error == "ZeroDivisionError: no" and not verdicts[0].is_as_expected
    assert verdicts[1].holds


def test_instances_depend_on_the_seed_and_the_name_alone():
    def drawn(rng, num_instances):
        yield Trial(float(rng.normal()), math.inf)

    first = dataclasses.replace(HOLDS, check=drawn)
    other = dataclasses.replace(first, number="Lemma 9")
    alone, after = verify(first), list(verify_all([other, first]))[1]
    assert alone.worst == after.worst
    assert len({verify(each, seed=seed).worst.observed for each in (first, other) for seed in (0, 1)}) == 4


def test_thorough_tries_more():
    def counted(rng, num_instances):
        yield Trial(0.0, float(num_instances))

    many = dataclasses.replace(HOLDS, check=counted, quick=3, thorough=7)
    assert [verify(many, thorough=flag).worst.allowed for flag in (False, True)] == [3.0, 7.0]


# --- the catalogue ----------------------------------------------------------------------------------------------------


def test_names_are_unique():
    assert [name for name, count in Counter(each.name for each in STATEMENTS).items() if count > 1] == []


def test_every_paper_has_statements_and_errata():
    for paper in ("000", "001", "002", "003"):
        rows = [each for each in STATEMENTS if each.paper == paper]
        assert len(rows) > 5
        assert any(each.as_printed for each in rows)


@pytest.mark.parametrize("name", sorted({name for each in STATEMENTS for name in each.code}))
def test_what_a_statement_calls_its_code_exists(name):
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return
    pytest.fail(f"no module in {name}")


def test_a_counterexample_comes_with_a_correction():
    assert [each.name for each in STATEMENTS if each.as_printed is not None and not each.correction] == []


def test_the_page_of_the_documentation_is_that_of_today():
    written = (ROOT / "docs" / "statements.md").read_text()
    page = reporting.verdict_page([verify(each) for each in STATEMENTS[:0]], "")
    assert page.startswith(written.splitlines()[0])
    numbers = [line.removeprefix("### ") for line in written.splitlines() if line.startswith("### ")]
    assert numbers == [each.number for each in STATEMENTS]
    for each in STATEMENTS:
        assert each.claim in written and each.correction in written, each.name
    assert "FAILS" not in written and "ERROR" not in written


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def catalogue(monkeypatch):
    def put(*statements):
        monkeypatch.setattr(verification, "STATEMENTS", statements)

    put(HOLDS, ERRATUM)
    return put


def test_the_table_has_a_row_for_the_claim_as_printed_and_one_for_the_correction(catalogue, capsys):
    answer = call(capsys, "verify")
    assert answer.code == ExitCode.OK
    lines = answer.out.splitlines()
    assert re.search(r"000 +Lemma 2 +holds +2 +0.5 <= 1 +0.5", lines[1])
    assert re.search(r"000 +Lemma 4 \(i\) +as printed +false +1 +2 > 1 +-1", lines[2])
    assert "x = 2" in lines[3]
    assert re.search(r"000 +Lemma 4 \(i\) +as corrected +holds", lines[4])
    assert lines[-1].startswith("2 statements, 3 comparisons") and "1 shown to be false as printed" in lines[-1]


def test_a_statement_that_fails_is_the_exit_code(catalogue, capsys):
    catalogue(HOLDS, FAILS)
    answer = call(capsys, "verify")
    assert answer.code == ExitCode.CHECK_FAILED
    assert "FAILS" in answer.out and "instance b (3 > 1)" in answer.out and "1 NOT AS EXPECTED" in answer.out
    assert "check failed: 000/lemma-3" in answer.err


def test_a_counterexample_that_is_none_is_the_exit_code(catalogue, capsys):
    catalogue(NO_COUNTEREXAMPLE)
    answer = call(capsys, "verify")
    assert answer.code == ExitCode.CHECK_FAILED
    assert "NOT FALSE" in answer.out


def test_an_error_in_a_check_is_shown_in_its_row(catalogue, capsys):
    catalogue(statement())
    assert "ERROR" in call(capsys, "verify").out


def test_only_picks_by_name_and_refuses_what_is_in_none(catalogue, capsys):
    answer = call(capsys, "verify", "--only", "lemma-4")
    assert "Lemma 4" in answer.out and "Lemma 2" not in answer.out
    refused = call(capsys, "verify", "--only", "lemma-7")
    assert refused.code == ExitCode.BAD_INPUT
    assert "`only` must be part of a statement's name, but got 'lemma-7'. Names are like 0" in refused.err
    near = call(capsys, "verify", "--only", "000/lemma-44").err
    assert "Names are like 000/lemma-4" in near


def test_json_is_the_whole_answer_of_standard_output(catalogue, capsys):
    catalogue(ERRATUM, statement(Trial(math.nan, 1.0)))
    rows = json.loads(call(capsys, "verify", "--format", "json").out)
    assert [row["name"] for row in rows] == ["000/lemma-4-i", "000/theorem-1"]
    assert rows[0]["verdict"] == "holds" and rows[0]["false_as_printed"] is True
    assert rows[0]["counterexample"] == {"observed": 2.0, "allowed": 1.0, "instance": "x = 2"}
    assert rows[1]["verdict"] == "fails" and rows[1]["worst"]["observed"] == "nan"


def test_the_page_has_claim_correction_and_code(catalogue, capsys, tmp_path):
    answer = call(capsys, "verify", "--format", "markdown", "--out", tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert answer.out == "" and "2 statements" in answer.err
    for part in (
        "## Paper 000",
        "### Lemma 4 (i)",
        "a <= b.",
        "*against the text:* 2, not 1.",
        "x = 2",
        "`gradflow.verif",
    ):
        assert part in text


def test_a_table_goes_to_a_file_as_well(catalogue, capsys, tmp_path):
    call(capsys, "verify", "--out", tmp_path / "table.txt")
    assert "as corrected" in (tmp_path / "table.txt").read_text()


def test_explain_says_what_is_claimed(catalogue, capsys):
    out = call(capsys, "verify", "--explain").out
    assert "a <= b." in out and "Against the text: 2, not 1." in out and "Code: gradflow.verification.Trial" in out


def test_an_interruption_keeps_what_was_tried(catalogue, capsys, monkeypatch):
    def interrupted(rng, num_instances):
        raise KeyboardInterrupt

    catalogue(HOLDS, dataclasses.replace(FAILS, check=interrupted), HOLDS)
    answer = call(capsys, "verify")
    assert answer.code == ExitCode.INTERRUPTED
    assert "Lemma 2" in answer.out and "interrupted after 1 of 3" in answer.err


def test_a_folder_is_no_place_for_the_answer(catalogue, capsys, tmp_path):
    assert call(capsys, "verify", "--out", tmp_path).code == ExitCode.BAD_INPUT


def test_progress_is_for_terminals(capsys, monkeypatch):
    console.progress("nothing")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    console.progress("2/3 000/lemma-2")
    assert "2/3 000/lemma-2" in capsys.readouterr().err
