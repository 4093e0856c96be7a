"""Results of experiments on disk: one dataset per file with its settings and its origin, whole or not at all.

The file is NetCDF-4 with a digest of its content, as all results files are: ``xarray.open_dataset`` reads it without
gradflow. Knows files and attributes; nothing of what the numbers mean.
"""

import os
from pathlib import Path
from typing import Any

import xarray as xr

from gradflow import checks
from gradflow.__about__ import __version__
from gradflow.laboratory.experiments import Experiment
from gradflow.provenance import provenance
from gradflow.store.codec import from_json, to_json
from gradflow.store.files import KIND, read_tree, write_tree
from gradflow.store.trees import SCHEMA

EXPERIMENT = "experiment"
"""The kind of these files."""


def described(results: xr.Dataset, experiment: Experiment, settings: Any, seconds: float) -> xr.Dataset:
    """`results` with attributes that say what was run, how long it took, and on what."""
    attributes = {
        "Conventions": "CF-1.11",
        "gradflow_schema": SCHEMA,
        KIND: EXPERIMENT,
        "title": experiment.question,
        "experiment": experiment.name,
        "experiment_digest": experiment.digest,
        "settings": to_json(settings),
        "seconds": round(seconds, 3),
        "creation_library": "gradflow",
        "creation_library_version": __version__,
        "provenance": to_json(provenance()),
    }
    return results.assign_attrs(attributes)


def save_results(results: xr.Dataset, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Writes a dataset of :func:`~gradflow.laboratory.measured` into one file and returns its path.

    Raises:
        InputError: the dataset does not say what it is.
        OSError: as :func:`gradflow.store.save`.
    """
    said = results.attrs.get(KIND)
    checks.require(said == EXPERIMENT, "results", "be those of gradflow.laboratory.measured", f"kind {said!r}")
    return write_tree(xr.DataTree(results), path, overwrite)


def load_results(path: str | os.PathLike[str]) -> xr.Dataset:
    """The dataset in a file of :func:`save_results`, bit for bit.

    Raises:
        ResultsFileError: the file is damaged or holds something else.
        OSError: there is no such file, or it may not be read.
    """
    tree = read_tree(path)
    if tree.attrs.get(KIND) != EXPERIMENT:
        raise checks.ResultsFileError(
            f"{path} holds no results of an experiment. `gradflow run NAME` writes such files."
        )
    return tree.to_dataset(inherit=False)


def settings_of(results: xr.Dataset) -> dict[str, Any]:
    """The settings that results were measured with."""
    return dict(from_json(results.attrs["settings"]))


def origin_of(results: xr.Dataset) -> dict[str, Any]:
    """Version, commit, libraries, machine and date of results, as :func:`gradflow.provenance.provenance` knows them."""
    return dict(from_json(results.attrs["provenance"]))
