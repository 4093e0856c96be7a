"""Estimates in files: every number comes back, any reader understands the labels, damage is noticed."""

from dataclasses import fields, replace

import h5py
import numpy as np
import pytest
import xarray as xr
from test_reporting_basins import made_up

from gradflow import checks, store
from gradflow.store import basins


def assert_same(first, second):
    for field in fields(first):
        one, two = getattr(first, field.name), getattr(second, field.name)
        if field.name in ("open", "recheck", "plan", "collection"):
            continue
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, two)
            assert one.dtype == two.dtype, field.name
        else:
            assert one == two, field.name
    for name in ("samples", "states", "times"):
        np.testing.assert_array_equal(getattr(first.open, name), getattr(second.open, name))
    assert first.open.reasons == second.open.reasons


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return store.save_basins(made_up(), tmp_path_factory.mktemp("basins") / "a.nc")


def test_an_estimate_comes_back_bit_for_bit(path):
    assert_same(made_up(), store.load_basins(path))


def test_the_comparison_of_tolerances_comes_back_bit_for_bit(path):
    before, after = made_up().recheck, store.load_basins(path).recheck
    assert (before.rtol, before.rows) == (after.rtol, after.rows)
    np.testing.assert_array_equal(before.comparison.table, after.comparison.table)
    for name in ("low", "high", "estimate"):
        for part in ("changed", "differences"):
            ends = [getattr(getattr(c.comparison, part), name) for c in (before, after)]
            np.testing.assert_array_equal(*ends)
    np.testing.assert_array_equal(before.comparison.p_values, after.comparison.p_values)


def test_without_codes_open_runs_and_comparison_it_comes_back_too(tmp_path):
    estimate = replace(made_up(counts=(70, 28, 0, 0, 2)), codes=None, recheck=None)
    loaded = store.load_basins(store.save_basins(estimate, tmp_path / "a.nc"))
    assert loaded.codes is None and loaded.recheck is None and len(loaded.open) == 0
    assert_same(estimate, loaded)


def test_any_reader_understands_the_labels(path):
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        label = dataset["label"]
        meanings = label.attrs["flag_meanings"].split()
        assert meanings == ["minimum_a", "minimum_b", "undetermined", "escaped", "nonfinite"]
        assert label.attrs["flag_values"].tolist() == [0, 1, 2, 3, 4]
        assert label.attrs["flag_values"].dtype == label.dtype
        counts = [int((label == value).sum()) for value in label.attrs["flag_values"]]
        assert counts == dataset["counts"].values.tolist() == [60, 30, 8, 0, 2]


def test_the_dataset_has_the_intervals_with_their_method_and_level():
    estimate = made_up()
    dataset = store.to_dataset(estimate)
    np.testing.assert_array_equal(dataset["interval"].sel(end="low"), estimate.intervals.low)
    np.testing.assert_array_equal(dataset["simultaneous_interval"].sel(end="high"), estimate.simultaneous.high)
    assert dataset["interval"].attrs["method"] == "Clopper-Pearson"
    assert dataset["simultaneous_interval"].attrs["num_joint"] == 5
    assert float(dataset["fraction"].sel(row="minimum a")) == 0.6
    np.testing.assert_array_equal(dataset["time_quantiles"], estimate.time_quantiles((0.1, 0.5, 0.9)))


def test_the_attributes_say_what_was_run(path):
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        assert dataset.attrs["seed"] == "3" and dataset.attrs["num_samples"] == 100
        assert '"double_well"' in dataset.attrs["facts"]


def test_every_variable_has_a_name_for_readers_and_units():
    for group in store.basins_datatree(made_up()).subtree:
        for variable in group.to_dataset(inherit=False).variables.values():
            assert variable.attrs["long_name"] and variable.attrs["units"]


def test_a_changed_number_is_noticed(path, tmp_path):
    damaged = tmp_path / "damaged.nc"
    damaged.write_bytes(path.read_bytes())
    with h5py.File(damaged, "r+") as stored:
        stored["counts"][0] += 1
    with pytest.raises(checks.ResultsFileError, match="does not match its checksum"):
        store.load_basins(damaged)


def test_a_file_cut_short_is_noticed(path, tmp_path):
    damaged = tmp_path / "damaged.nc"
    damaged.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(checks.ResultsFileError, match="cut off or damaged"):
        store.load_basins(damaged)


def test_a_file_that_is_there_is_not_replaced_unless_asked(path):
    content = path.read_bytes()
    with pytest.raises(FileExistsError):
        store.save_basins(made_up(changed=0), path)
    assert path.read_bytes() == content
    store.save_basins(made_up(), path, overwrite=True)


def test_a_file_of_something_else_is_refused(tmp_path):
    tree = store.basins_datatree(made_up())
    tree.attrs["gradflow_kind"] = "something"
    basins.write_tree(tree, tmp_path / "other.nc")
    with pytest.raises(checks.ResultsFileError, match="holds no estimate of basins"):
        store.load_basins(tmp_path / "other.nc")
    with pytest.raises(FileNotFoundError):
        store.load_basins(tmp_path / "missing.nc")


def test_an_estimate_is_no_study_and_the_messages_say_what_to_use(path, tmp_path):
    with pytest.raises(checks.ResultsFileError, match=r"an estimate of basins, no study\. .*store\.load_basins"):
        store.load(path)
    with pytest.raises(checks.InputError, match=r"got BasinEstimate\. Use gradflow\.store\.save_basins"):
        store.save(made_up(), tmp_path / "a.nc")


def test_a_file_that_lacks_something_says_who_wrote_it(tmp_path):
    tree = store.basins_datatree(made_up())
    tree.dataset = tree.to_dataset().drop_vars("first")
    basins.write_tree(tree, tmp_path / "less.nc")
    with pytest.raises(checks.ResultsFileError, match=r"does not understand it .* gradflow 9\.9"):
        store.load_basins(tmp_path / "less.nc")


def test_only_estimates_are_saved(tmp_path):
    with pytest.raises(checks.InputError, match="`estimate` must be a BasinEstimate"):
        store.save_basins({"counts": 1}, tmp_path / "a.nc")
