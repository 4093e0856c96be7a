"""Estimates of basins as xarray objects and NetCDF files, and back.

Rows are classes of limits, then undetermined, escaped and nonfinite; which class each start has is a variable with CF
flags. What a run cannot say again (the problem's function, parts in its folder) is not in a file. Knows estimates and
the codec; paths and damage are the business of ``files``.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from gradflow import checks
from gradflow.__about__ import __version__
from gradflow.basins import BasinEstimate, OpenRuns, Recheck
from gradflow.basins.tallies import bin_centres
from gradflow.intervals import compare_paired
from gradflow.store.codec import NO_UNIT, NUMBER, from_json, to_json
from gradflow.store.files import BASINS, KIND, read_tree, write_tree
from gradflow.store.trees import SCHEMA

_ROW = {"losses": "loss of the class", "counts": "starts that end there", "mean_steps": "attempted steps per start"}


def to_dataset(estimate: BasinEstimate) -> xr.Dataset:
    """The table of an estimate along ``row``, with intervals along ``end`` and, where kept, each start's ``label``.

    ``label`` has the CF attributes ``flag_values`` and ``flag_meanings``, in which blanks and commas of the names are
    underscores; the names themselves are the coordinate ``row``. Attributes of the dataset hold level, settings, seed
    and versions.
    """
    kinds, quantiles = np.array(estimate.kinds, dtype=str), (0.1, 0.5, 0.9)
    coordinates = {
        "row": _variable("row", np.array(estimate.labels, dtype=str), "class of limits, or why there is none", NO_UNIT),
        "end": _variable("end", np.array(["low", "high"]), "end of an interval", NO_UNIT),
        "quantile": _variable("quantile", np.array(quantiles), "share of the starts of a row"),
        "bin": _variable("bin", bin_centres(), "flow time in the middle of a bin of the histogram"),
    }
    variables = {
        **{name: _variable("row", getattr(estimate, name), label) for name, label in _ROW.items()},
        "kinds": _variable("row", kinds, "kind of the class's critical points", NO_UNIT),
        "fraction": _variable("row", estimate.fractions, "share of the starts"),
        "interval": _limits(estimate.intervals),
        "simultaneous_interval": _limits(estimate.simultaneous),
        "time_quantiles": _variable(("row", "quantile"), estimate.time_quantiles(quantiles), "flow time of arrival"),
        "time_counts": _variable(("row", "bin"), estimate.time_counts, "starts by flow time of arrival"),
        "replicate_counts": _variable(("row", "replicate"), estimate.replicate_counts, "starts of each replicate"),
        "first": _variable("row", estimate.first, "number of the row's first start, -1 for none"),
        "starts": _variable(("row", "param"), estimate.starts, "the row's first start"),
        "ends": _variable(("row", "param"), estimate.ends, "and its end"),
    }
    if estimate.codes is not None:
        values = np.arange(len(estimate.labels), dtype=estimate.codes.dtype)
        meanings = " ".join(_flag(label) for label in estimate.labels)
        flags: dict[str, Any] = {"flag_values": values, "flag_meanings": meanings}
        variables["label"] = _variable("sample", estimate.codes, "row of each start", **flags)
    return xr.Dataset(variables, coordinates, _attributes(estimate))


def basins_datatree(estimate: BasinEstimate) -> xr.DataTree:
    """All of an estimate: :func:`to_dataset` at the root, groups ``open`` and, if there is one, ``recheck``."""
    runs, check = estimate.open, estimate.recheck
    opened = {
        "samples": _variable("run", runs.samples, "number of the start"),
        "states": _variable(("run", "param"), runs.states, "where it is"),
        "times": _variable("run", runs.times, "flow time there"),
        "reasons": _variable("run", np.array(runs.reasons, dtype=str), "why it has no limit", NO_UNIT),
    }
    groups = {"/": to_dataset(estimate), "/open": xr.Dataset(opened)}
    if check is not None:
        names = np.array(check.comparison.classes, dtype=str)
        table = _variable(("before", "after"), check.comparison.table, "starts by their labels at both tolerances")
        coordinates = {
            "before": _variable("before", names, "label at the run's tolerance", NO_UNIT),
            "after": _variable("after", names, "label at the tighter tolerance", NO_UNIT),
        }
        attributes = {"rtol": check.rtol, "rows": to_json(check.rows), "level": check.comparison.changed.level}
        groups["/recheck"] = xr.Dataset({"table": table}, coordinates, attributes)
    return xr.DataTree.from_dict(groups)


def from_basins_datatree(tree: xr.DataTree) -> BasinEstimate:
    """The estimate written by :func:`basins_datatree`, every number bit for bit; runs cannot be continued from it."""
    root, opened = tree.to_dataset(inherit=False), tree.children["open"].to_dataset(inherit=False)
    arrays = {name: root[name].values for name in (*_ROW, "replicate_counts", "first", "starts", "ends", "time_counts")}
    columns = {name: opened[name].values for name in ("samples", "states", "times")}
    return BasinEstimate(
        labels=tuple(root["row"].values.tolist()),
        kinds=tuple(root["kinds"].values.tolist()),
        reasons=from_json(root.attrs["reasons"]),
        open=OpenRuns(**columns, reasons=tuple(opened["reasons"].values.tolist())),
        codes=root["label"].values if "label" in root else None,
        recheck=_recheck(tree.children["recheck"].to_dataset(inherit=False)) if "recheck" in tree.children else None,
        facts=from_json(root.attrs["facts"]),
        **arrays,
    )


def save_basins(estimate: BasinEstimate, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Writes an estimate into one NetCDF-4 file, whole or not at all; :func:`load_basins` is the inverse.

    Raises:
        InputError: not an estimate, or not a path.
        OSError: as :func:`gradflow.store.save`.
    """
    checks.require(isinstance(estimate, BasinEstimate), "estimate", "be a BasinEstimate", type(estimate).__name__)
    return write_tree(basins_datatree(estimate), path, overwrite)


def load_basins(path: str | os.PathLike[str]) -> BasinEstimate:
    """The estimate in a file of :func:`save_basins`.

    Raises:
        InputError: not a path.
        ResultsFileError: the file is damaged, or holds something else; the message says which.
        OSError: there is no such file, or it may not be read.
    """
    tree = read_tree(path)
    if tree.attrs.get(KIND) != BASINS:
        raise checks.ResultsFileError(f"{path} holds no estimate of basins. If it is a study, use gradflow.store.load.")
    try:
        return from_basins_datatree(tree)
    except (KeyError, TypeError, ValueError, IndexError, AssertionError) as error:
        writer = tree.attrs.get("creation_library_version", "unknown")
        what = f"is whole, but this version of gradflow ({__version__}) does not understand it ({error})"
        raise checks.ResultsFileError(
            f"{path} {what}. It was written by gradflow {writer}: read it with that."
        ) from error


def _attributes(estimate: BasinEstimate) -> dict[str, Any]:
    facts = estimate.facts
    origin, settings = facts.get("provenance", {}), facts.get("settings", {})
    names = ("created_at", "git_commit", "jax_version", "numpy_version", "platform", "device", "precision")
    return {
        "Conventions": "CF-1.11",
        "gradflow_schema": SCHEMA,
        KIND: BASINS,
        "title": "basins of attraction: classes of limits and the shares of starts that reach them",
        "creation_library": "gradflow",
        "creation_library_version": str(facts.get("version", __version__)),
        "num_samples": estimate.num_samples,
        "level": estimate.level,
        "interval_method": estimate.intervals.method,
        "seed": str(settings.get("seed", "unknown")),
        **{name: str(origin[name]) for name in names if name in origin},
        "reasons": to_json(estimate.reasons),
        "facts": to_json(facts),
    }


def _recheck(dataset: xr.Dataset) -> Recheck:
    """The comparison again from its table: it depends on nothing else."""
    names, table = dataset["before"].values, dataset["table"].values
    before = np.repeat(np.repeat(names, len(names)), table.ravel())
    after = np.repeat(np.tile(names, len(names)), table.ravel())
    comparison = compare_paired(before, after, float(dataset.attrs["level"]), classes=names.tolist())
    return Recheck(comparison, float(dataset.attrs["rtol"]), from_json(dataset.attrs["rows"]))


def _limits(intervals: Any) -> xr.Variable:
    attributes = {"method": intervals.method, "level": intervals.level, "num_joint": intervals.num_joint}
    values = np.stack([intervals.low, intervals.high], axis=1)
    return _variable(("row", "end"), values, "confidence limits of the fraction", **attributes)


def _variable(dims: Any, values: Any, label: str, units: str = NUMBER, **attributes: Any) -> xr.Variable:
    return xr.Variable(dims, values, {"long_name": label, "units": units, **attributes})


def _flag(label: str) -> str:
    """A name as one word of ``flag_meanings``."""
    return "".join(letter if letter.isalnum() or letter in "_-+.@" else "_" for letter in label)
