"""What an experiment measured, as tables: nothing that is missing disappears, and long tables become ranges."""

import numpy as np
import xarray as xr

from gradflow.laboratory import number_tables
from gradflow.laboratory.numbers import text_of_value


def dataset(size):
    generator = np.random.default_rng(0)
    drift = generator.normal(size=(size, 2))
    drift[0, 1] = np.nan
    kinds = np.where(np.arange(size) % 3 == 0, "saddle", "minimum")
    kinds[-1] = ""
    return xr.Dataset(
        {
            "drift": (("run", "rtol"), drift, {"long_name": "largest drift", "units": "dimensionless"}),
            "kind": ("run", kinds, {"long_name": "kind of the end", "units": "none"}),
            "seconds": ("run", np.arange(size) * 0.5, {"long_name": "duration", "units": "s"}),
            "count": ((), 7),
        },
        {"rtol": [1e-4, 1e-8]},
    )


def by_title(results, **options):
    return {table.title: table for table in number_tables(results, **options)}


def test_variables_of_one_shape_share_a_table_with_their_coordinates():
    tables = by_title(dataset(3))
    assert set(tables) == {"one row for each run (3) and rtol (2)", "one row for each run (3)", "single numbers"}
    rows = tables["one row for each run (3) and rtol (2)"].rows
    assert [row["rtol"] for row in rows] == ["0.0001", "1e-08"] * 3
    assert rows[1]["drift"] == "-" and float(rows[0]["drift"]) == float(f"{dataset(3)['drift'].values[0, 0]:.4g}")
    assert tables["one row for each run (3)"].rows[2] == {"kind": "-", "seconds": "1"}
    assert tables["one row for each run (3)"].labels == {"kind": "kind of the end", "seconds": "duration [s]"}
    assert tables["single numbers"].rows == ({"count": "7"},)


def test_a_long_table_becomes_ranges_and_counts_with_what_is_missing():
    results = dataset(30)
    rows = {
        row["variable"]: row
        for table in number_tables(results, most_rows=10)
        for row in table.rows
        if "variable" in row
    }
    present = results["drift"].values[~np.isnan(results["drift"].values)]
    expected = {"smallest": present.min(), "median": np.median(present), "largest": present.max()}
    assert {name: rows["drift"][name] for name in expected} == {name: f"{v:.4g}" for name, v in expected.items()}
    assert rows["drift"]["missing"] == "1"
    assert rows["kind"]["words"] == "minimum 19, saddle 10, - 1"


def test_ranges_of_nothing_are_dashes_and_rare_words_are_counted_together():
    results = xr.Dataset(
        {"lost": ("run", np.full(20, np.nan)), "name": ("run", np.array([f"n{i}" for i in range(20)]))}
    )
    lost, name = number_tables(results, most_rows=5)[0].rows
    assert (lost["smallest"], lost["missing"]) == ("-", "20")
    assert name["words"].endswith("and 14 others")


def test_numbers_are_told_with_four_digits_and_truth_in_words():
    told = [text_of_value(value) for value in (np.bool_(True), False, np.int64(3), 1234567.0, np.float64(np.nan), "")]
    assert told == ["yes", "no", "3", "1.235e+06", "-", "-"]
