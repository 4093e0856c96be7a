"""Results of the quick versions of all experiments, kept in a file: what tests of the figures draw without measuring.

After an experiment's variables change, write the file again:

    gradflow run --all --tiny --out FOLDER && python tests/quick_results.py FOLDER
"""

import functools
import gzip
import json
import sys
from pathlib import Path

import numpy as np
import xarray as xr

FILE = Path(__file__).resolve().parent / "data" / "quick_results.json.gz"


@functools.cache
def kept():
    """What is in the file, by the name of the experiment."""
    return json.loads(gzip.decompress(FILE.read_bytes()))


def quick_results(name):
    """The dataset of one experiment, with the attribute that names it."""
    return xr.Dataset.from_dict(kept()[name]).assign_attrs(experiment=name)


def write(folder):
    """Keeps the files ``NAME.nc`` of a folder; the same results give the same bytes."""
    from gradflow import laboratory

    found = {path.stem: plain(laboratory.load_results(path)) for path in sorted(Path(folder).glob("*.nc"))}
    FILE.write_bytes(gzip.compress(json.dumps(found, sort_keys=True).encode(), mtime=0))


def plain(results):
    """A dataset as plain numbers and words, floats to eight digits; without its origin."""
    rounded = results.map(lambda one: one if one.dtype.kind != "f" else one.copy(data=eight_digits(one.values)))
    return rounded.drop_attrs(deep=False).to_dict()


def eight_digits(values):
    """Floats as they are written with eight digits."""
    return np.vectorize(lambda value: float(f"{value:.8g}"), otypes=[float])(values)


if __name__ == "__main__":
    write(sys.argv[1])
