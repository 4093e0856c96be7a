"""An estimate in words: what the table, the sentences and the data claim, from counts made up for the purpose."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gradflow import reporting
from gradflow.basins import BasinEstimate, OpenRuns, Recheck
from gradflow.basins.tallies import NUM_BINS, time_bins
from gradflow.checks import InputError
from gradflow.intervals import compare_paired, proportion_intervals, rounded_down, rounded_up, worded_fraction

SPECIAL = ("undetermined", "escaped", "nonfinite")
SETTINGS = {"problem": "double_well", "sampler": "box", "design": "independent", "seed": 3, "low": (-1.0, 0.5)}


def histogram(rows):
    """Times of arrival of each row as the estimate keeps them."""
    table = np.zeros((len(rows), NUM_BINS), np.int64)
    for row, times in enumerate(rows):
        np.add.at(table[row], time_bins(np.array(times, dtype=float)), 1)
    return table


def made_up(counts=(60, 30, 8, 0, 2), replicates=None, settings=SETTINGS, changed=2, **facts):
    """Two minima, 8 undetermined starts, 2 that are not finite; the starts of a row arrive at 9, or at 0."""
    labels, num_open = ("minimum a", "minimum b", *SPECIAL), counts[2]
    before = np.array(["minimum a"] * 50)
    after = np.where(np.arange(50) < changed, "minimum b", "minimum a")
    check = Recheck(compare_paired(before, after), 1e-8, (("minimum a", "minimum b", changed),) if changed else ())
    arrivals = [[9.0] * counts[0], [0.0] * counts[1], [100.0] * counts[2], [], [1.0] * counts[4]]
    return BasinEstimate(
        labels=labels,
        kinds=("global_minimum", "spurious_minimum", *SPECIAL),
        losses=np.array([-0.5, 3.2e-30, np.nan, np.nan, np.nan]),
        counts=np.array(counts),
        replicate_counts=np.array(counts)[:, None] if replicates is None else replicates,
        reasons={"on a kink": 5, "on its way at the horizon": 3} if counts[2] else {},
        first=np.array([0, 1, 4, -1, 7]),
        starts=np.arange(10.0).reshape(5, 2),
        ends=np.array([[1.0, 0.0], [-1.0, 0.0], [0.1, 0.2], [np.nan, np.nan], [np.inf, 0.0]]),
        time_counts=histogram(arrivals),
        mean_steps=np.array([41.25, 7.0, 100.0, 0.0, 3.0]),
        open=OpenRuns(np.arange(num_open), np.ones((num_open, 2)), np.full(num_open, 9.0), ("on a kink",) * num_open),
        codes=np.repeat(np.arange(5), counts).astype(np.int16),
        recheck=check,
        facts={"level": 0.95, "settings": settings, "version": "9.9", "kernel": "native", "rtol": 1e-6, "t1": np.inf,
               "wall_seconds": 1.5, "outcome": "complete", **facts},
    )  # fmt: skip


def note(estimate, keyword):
    return " ".join(text for word, text in reporting.basin_notes(estimate) if word == keyword)


def test_every_outcome_has_a_row_and_the_rows_count_every_start():
    rows = reporting.basin_rows(made_up())
    assert [row["ends at"] for row in rows] == ["minimum a", "minimum b", *SPECIAL]
    assert [row["starts"] for row in rows] == ["60", "30", "8", "0", "2"]
    assert [row["fraction"] for row in rows] == ["0.6000", "0.3000", "0.08000", "none seen", "0.02000"]
    assert [row["kind"] for row in rows] == ["global minimum", "spurious minimum", "-", "-", "-"]


def test_intervals_are_those_of_clopper_and_pearson_rounded_outwards():
    estimate, rows = made_up(), reporting.basin_rows(made_up())
    exact = proportion_intervals(estimate.counts, 100)
    joint = proportion_intervals(estimate.counts, 100, num_joint=5)
    for name, intervals in (("95 % interval", exact), ("all rows together", joint)):
        for row in (0, 1, 2, 4):
            low, high = (float(end) for end in rows[row][name].split(" to "))
            assert low <= intervals.low[row] <= low + 1e-4 and high - 1e-4 <= intervals.high[row] <= high


def test_a_count_of_zero_is_an_upper_bound_and_all_of_them_a_lower_one():
    rows = reporting.basin_rows(made_up(counts=(200, 0, 0, 0, 0)))
    bound = proportion_intervals(0, 200)
    assert rows[3]["95 % interval"] == f"at most {rounded_up(float(bound.high), 3)}"
    assert rows[0]["fraction"] == "all"
    assert rows[0]["95 % interval"] == f"at least {rounded_down(1 - float(bound.high), 3)}"
    assert not any(" 0 " in f" {row['fraction']} " for row in rows)


def test_times_below_the_histogram_are_zero_and_rows_without_starts_have_none():
    rows = reporting.basin_rows(made_up())
    assert float(rows[0]["median time"]) == pytest.approx(9.0, rel=0.08)
    assert (rows[1]["median time"], rows[1]["10 to 90 %"]) == ("0", "0 to 0")
    assert (rows[3]["median time"], rows[3]["10 to 90 %"], rows[3]["steps"]) == ("-", "-", "-")


def test_a_loss_of_rounding_size_is_zero():
    assert [row["loss"] for row in reporting.basin_rows(made_up())] == ["-0.5", "0", "-", "-", "-"]


def test_undetermined_starts_have_reasons_and_widen_every_class():
    text = reporting.basin_text(made_up())
    assert "5 undetermined: on a kink" in text and "3 undetermined: on its way at the horizon" in text
    envelope = made_up().envelopes
    low, high = rounded_down(float(envelope.low[0]), 4), rounded_up(float(envelope.high[0]), 4)
    assert f"minimum a: 0.6000 to 0.6800 of the starts, with 95 % confidence a fraction of {low} to {high}" in text
    assert "undetermined starts tend to" not in reporting.basin_text(made_up(counts=(60, 38, 0, 0, 2)))


def test_the_unseen_are_bounded_and_the_bound_says_whether_it_is_a_theorem():
    estimate = made_up()
    said = note(estimate, "never seen")
    assert f"at most {rounded_up(estimate.unseen.bound, 3)}" in said
    assert "95 % confidence, a theorem" in said and "undetermined counted as such" in said


@pytest.mark.parametrize("changed", [0, 2])
def test_labels_that_change_with_the_tolerance_have_an_interval(changed):
    said = note(made_up(changed=changed), "tolerance")
    assert said == f"labels that change at rtol 1e-08: {worded_fraction(changed, 50)}"
    assert ("2 from minimum a to minimum b" in note(made_up(changed=changed), "")) == (changed == 2)


def test_no_second_tolerance_is_said():
    assert "no start" in note(replace(made_up(), recheck=None), "tolerance")


def test_the_horizon_line_starts_where_the_share_falls_and_ends_where_it_stays():
    assert note(made_up(), "horizon") == "starts without a limit: 70 % at t = 1, 10 % at t = 10"


def test_the_cells_of_a_slice_get_no_interval_and_no_bound():
    estimate = made_up(settings=SETTINGS | {"sampler": "slice"})
    assert not reporting.is_sample(estimate)
    text, data = reporting.basin_text(estimate), reporting.basin_data(estimate)
    assert "interval" not in text.splitlines()[2] and "no sample" in text and "never seen" not in text
    assert "confidence a fraction" not in text
    assert "interval" not in data["rows"][0] and data["unseen_mass"] is data["envelopes"] is None


def test_a_design_has_no_bound_that_rests_on_independence():
    replicates = np.tile(np.array([15, 7, 2, 0, 1])[:, None], (1, 4)) + np.array([[0, 0, 0, 0]] * 5)
    replicates[0] += [1, -1, 0, 0]
    replicates[1] -= [1, -1, 0, 0]
    counts = tuple(int(count) for count in replicates.sum(axis=1))
    estimate = made_up(counts=counts, replicates=replicates)
    assert "no bound for a design" in note(estimate, "intervals") and note(estimate, "never seen") == ""
    assert "confidence a fraction" not in reporting.basin_text(estimate)
    assert reporting.basin_data(estimate)["unseen_mass"] is None
    assert reporting.is_sample(estimate)


def test_the_table_says_what_was_asked_for_and_who_computed_it():
    text = reporting.basin_text(made_up(provenance={"jax_version": "1.2", "created_at": "today"}, num_failed=3))
    assert text.startswith("Basins of attraction of double_well: 100 starts, box, independent, seed 3\n")
    assert "low -1.0 0.5" in text and "rtol 1e-06" in text and "gradflow 9.9, jax 1.2, kernel native" in text
    assert "3 chunks could not be computed" in text


@pytest.mark.parametrize(
    "form", [reporting.basin_text, reporting.basin_page, lambda e: json.dumps(reporting.basin_data(e))]
)
def test_nothing_that_is_printed_depends_on_time(form):
    first = made_up(provenance={"created_at": "now"})
    second = made_up(provenance={"created_at": "then"}, wall_seconds=77.25, outcome="complete (3 from before)")
    assert form(first) == form(second)
    assert "77.25" not in form(second)


def test_numbers_stand_under_each_other_and_lines_have_no_trailing_blanks():
    lines = reporting.basin_text(made_up()).splitlines()
    assert all(line == line.rstrip() for line in lines)
    table = lines[2:8]
    assert {
        line.index(name) for line, name in zip(table, ["ends at", "minimum a", "minimum b", *SPECIAL], strict=True)
    } == {table[0].index("ends at")}


def test_data_for_json_hold_every_number_and_null_where_there_is_none():
    estimate = made_up()
    data = json.loads(json.dumps(reporting.basin_data(estimate), allow_nan=False))
    assert [row["count"] for row in data["rows"]] == estimate.counts.tolist()
    assert data["rows"][2]["loss"] is None and data["rows"][4]["end"] == ["inf", 0.0]
    assert data["rows"][0]["interval"] == [estimate.intervals.low[0], estimate.intervals.high[0]]
    assert data["rows"][0]["simultaneous"] == [estimate.simultaneous.low[0], estimate.simultaneous.high[0]]
    assert data["recheck"]["num_changed"] == 2 and data["recheck"]["changes"] == [["minimum a", "minimum b", 2]]
    assert data["undetermined_reasons"] == {"on a kink": 5, "on its way at the horizon": 3}
    assert data["facts"]["t1"] == "inf" and "wall_seconds" not in data["facts"]


def test_an_estimate_is_printed_as_its_table_and_nothing_else_but_a_study(capsys):
    reporting.print_summary(made_up())
    assert capsys.readouterr().out == reporting.basin_text(made_up())
    with pytest.raises(InputError, match="`study` must be a Study or a BasinEstimate, but got dict"):
        reporting.print_summary({"counts": 1})


def test_markdown_has_one_line_for_each_row():
    page = reporting.basin_page(made_up())
    assert sum(line.startswith("|") for line in page.splitlines()) == 2 + 5
    assert "- *tolerance:*" in page and "- 5 undetermined: on a kink" in page
