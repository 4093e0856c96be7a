"""Saving and loading results files: NetCDF-4 through h5netcdf, checksums on, and a sentence for every way to fail.

A file is written atomically (:mod:`gradflow.store.paths`). Besides HDF5's checksum of every compressed array, the root
carries a digest of all names, values and attributes: a reader of ours finds a single flipped bit.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from gradflow import checks
from gradflow.__about__ import __version__
from gradflow.store.paths import check_writable, write_atomically
from gradflow.store.trees import SCHEMA, from_datatree, to_datatree
from gradflow.studies import Study

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""How every HDF5 file, hence every NetCDF-4 file, begins."""

KIND, BASINS = "gradflow_kind", "basins"
"""Root attribute of files that hold no study, and its value for an estimate of basins."""

DIGEST = "content_sha256"
"""Root attribute with the digest of everything else."""

READS_OLDER: dict[int, str] = {}
"""Schemas before :data:`~gradflow.store.SCHEMA` with the last version of gradflow that reads them."""

COMPRESSION = {"zlib": True, "complevel": 1, "shuffle": True, "fletcher32": True}
"""Lossless; the shuffled exponents of neighbouring rows are what compresses."""

_WRITTEN_BY = "Results files are written by gradflow.store.save(study, path)."


def save(study: Study, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Writes `study` into one results file and returns the file's path; :func:`load` is its exact inverse.

    The file is an ``xarray.DataTree`` in NetCDF-4: ``xarray.open_datatree(path)`` reads it without gradflow. It holds
    trajectory, monitors, certificates, checks, endpoint, rate, the data and the configuration. It appears whole or not
    at all. The function of a user's own landscape is not in it.

    Raises:
        InputError: `study` is not one, or `path` is not a path.
        OSError: as :func:`check_writable`, or the disk is full; an existing file is then unchanged.
    """
    given = type(study).__name__
    remedy = "Use gradflow.store.save_basins for an estimate of basins." if given == "BasinEstimate" else ""
    checks.require(isinstance(study, Study), "study", "be a Study", given, remedy)
    target = check_writable(path, overwrite)
    return write_tree(to_datatree(study), target, overwrite)


def write_tree(tree: xr.DataTree, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Writes any tree with its digest and returns the file's path; :func:`read_tree` reads it.

    Raises:
        OSError: as :func:`save`.
    """
    tree.attrs[DIGEST] = digest(tree)
    encoding = {node.path: _encoding(node.to_dataset(inherit=False)) for node in tree.subtree}
    # In memory first: when a disk is full, HDF5 leaves objects behind that crash the process once they are collected.
    content = tree.to_netcdf(None, engine="h5netcdf", encoding=encoding)
    return write_atomically(path, lambda part: part.write_bytes(content), overwrite)


def load(path: str | os.PathLike[str]) -> Study:
    """The study in a results file, every array bit for bit as it was saved.

    A function of the user's own (a landscape, loss or regulariser) is not in the file: `flow` is then None. Put it
    back, ``dataclasses.replace(study, flow=flow)``, before saving again; else the new file's group ``data`` is empty.

    Raises:
        InputError: `path` is not a path.
        ResultsFileError: the file is empty, cut off, damaged, not a results file of gradflow, or of another schema;
            the message says which, and what to do.
        OSError: there is no such file (FileNotFoundError), it is a folder, or it may not be read.
    """
    tree = read_tree(path)
    if tree.attrs.get(KIND) == BASINS:
        raise checks.ResultsFileError(
            f"{path} holds an estimate of basins, no study. Use gradflow.store.load_basins to read it."
        )
    try:
        return from_datatree(tree)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        writer = tree.attrs.get("creation_library_version", "unknown")
        what = f"is whole, but this version of gradflow ({__version__}) does not understand it ({error})"
        raise checks.ResultsFileError(
            f"{path} {what}. It was written by gradflow {writer}: read it with that."
        ) from error


def read_tree(path: str | os.PathLike[str]) -> xr.DataTree:
    """The tree in a file of :func:`write_tree`, without its digest, which matches.

    Raises:
        InputError, ResultsFileError, OSError: as :func:`load`.
    """
    return _read(_checked_file(path), os.fspath(path))


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """The kind that a results file says it is of, without reading arrays; None when it says none or is no such file."""
    try:
        with h5py.File(path, "r") as file:
            kind = file.attrs.get(KIND)
    except OSError:
        return None
    return kind.decode() if isinstance(kind, bytes) else kind


def digest(tree: xr.DataTree) -> str:
    """SHA-256 of all groups, names, dimensions, values and attributes, the digest itself left out."""
    result = hashlib.sha256()

    def add(text: str) -> None:
        data = text.encode()
        result.update(len(data).to_bytes(8, "little") + data)

    for node in sorted(tree.subtree, key=lambda node: node.path):
        dataset = node.to_dataset(inherit=False)
        add(node.path)
        add(_canonical({name: value for name, value in dataset.attrs.items() if name != DIGEST}))
        for name in sorted(map(str, dataset.variables)):
            variable = dataset.variables[name]
            values = variable.values
            add(_canonical([name, variable.dims, values.shape, variable.attrs]))
            if values.dtype.kind in "OUT":
                add(_canonical(values.tolist()))
            else:
                add(str(values.dtype))
                result.update(np.ascontiguousarray(values).data)
    return result.hexdigest()


def _canonical(value: Any) -> str:
    def plain(entry: Any) -> Any:
        return entry.tolist() if isinstance(entry, np.ndarray | np.generic) else str(entry)

    return json.dumps(value, sort_keys=True, default=plain)


def _encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        chosen: dict[str, Any] = {"_FillValue": None} if variable.dtype.kind == "f" else {}
        if variable.dtype.kind in "fiub" and variable.ndim and variable.size:
            chosen |= COMPRESSION
        encoding[str(name)] = chosen
    return encoding


def _checked_file(path: str | os.PathLike[str]) -> Path:
    """`path`, which exists, is a file and begins like one of ours."""
    checks.require(isinstance(path, str | os.PathLike), "path", "be a file name", repr(path))
    file = Path(path)
    if file.is_dir():
        raise IsADirectoryError(f"`path` must be a results file, but got the folder {path}.")
    try:
        with file.open("rb") as stream:
            head = stream.read(len(SIGNATURE))
    except FileNotFoundError:
        raise FileNotFoundError(f"`path` must be a results file, but there is no file {path}.") from None
    except (OSError, ValueError) as error:
        raise OSError(f"`path` must be a file that can be read, but got {path} ({error}).") from error
    if not head:
        raise checks.ResultsFileError(f"{path} is empty. Whatever should have written it did not finish: run it again.")
    if head != SIGNATURE:
        is_prefix = SIGNATURE.startswith(head)
        what = "cut off after a few bytes" if is_prefix else "no results file of gradflow (it is not NetCDF-4)"
        raise checks.ResultsFileError(f"{path} is {what}. {_WRITTEN_BY}")
    return file


def _read(file: Path, path: str) -> xr.DataTree:
    """The whole tree in memory, of the right schema and with the right digest, without the digest."""
    try:
        with h5py.File(file, "r") as stored:  # first: h5netcdf does not clean up after a file that it cannot open
            attributes = {name: _attribute(stored, name) for name in ("gradflow_schema", "creation_library_version")}
        _check_schema(path, *attributes.values())
        with xr.open_datatree(file, engine="h5netcdf", decode_times=False, decode_timedelta=False) as stored:
            groups = {node.path: _as_written(node.to_dataset(inherit=False).load()) for node in stored.subtree}
        tree = xr.DataTree.from_dict(groups)
    except checks.ResultsFileError:
        raise
    except Exception as error:  # whatever HDF5, h5py and xarray make of a file that was cut off or overwritten
        reason = str(error).splitlines()[0] if isinstance(error, OSError) else type(error).__name__
        raise _damaged(path, f"it cannot be read ({reason})") from error
    if tree.attrs.pop(DIGEST, None) != digest(tree):
        raise _damaged(path, "its content does not match its checksum")
    return tree


def _attribute(stored: h5py.File, name: str) -> Any:
    value = stored.attrs.get(name)
    return np.ravel(value)[0] if isinstance(value, np.ndarray) else value


def _check_schema(path: str, schema: Any, writer: Any) -> None:
    if schema is None:
        what = "is no results file of gradflow (it is NetCDF-4 or HDF5, but has no attribute gradflow_schema)"
        raise checks.ResultsFileError(f"{path} {what}. {_WRITTEN_BY}")
    if int(schema) == SCHEMA:
        return
    versions = f"was written by gradflow {writer} in schema {schema}; this is gradflow {__version__}, schema {SCHEMA}"
    remedy = f"Update gradflow to {writer} or later."
    if int(schema) < SCHEMA:
        remedy = f"Read it with gradflow {READS_OLDER.get(int(schema), writer)}, or run the study again."
    raise checks.ResultsFileError(f"{path} {versions}. {remedy}")


def _damaged(path: Any, what: str) -> checks.ResultsFileError:
    return checks.ResultsFileError(
        f"{path} is cut off or damaged: {what}. Restore it from a copy, or run the study again."
    )


def _as_written(dataset: xr.Dataset) -> xr.Dataset:
    """Python numbers in attributes and fixed-width text, as before the file."""
    dataset.attrs = _python(dataset.attrs)
    for variable in dataset.variables.values():
        variable.attrs = _python(variable.attrs)
    texts = {name: variable.astype(str) for name, variable in dataset.variables.items() if variable.dtype.kind in "OT"}
    return dataset.assign({str(name): variable for name, variable in texts.items()}).drop_encoding()


def _python(attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in attributes.items()}
