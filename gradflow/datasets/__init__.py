"""Data sets: real ones, synthetic ones, the user's own, and the preprocessing one chose.

Everywhere in this package **columns are samples**: ``X: (d_in, samples)``, ``Y: (d_out, samples)``. scikit-learn, CSV
files and most arrays have samples in rows; the loaders transpose. Nothing is rescaled silently: a loader
returns the numbers as they are, and each preprocessing step is a function ``Dataset -> Dataset`` that records itself.
This package knows neither networks nor losses, and does not import JAX until something random is drawn.
"""

from gradflow.datasets.dataset import TASKS, Dataset, Transform, from_arrays
from gradflow.datasets.files import from_file
from gradflow.datasets.preprocessing import (
    STEPS,
    center,
    drop_constant_features,
    preprocess,
    replay,
    scale,
    standardize,
    whiten,
)
from gradflow.datasets.shipped import NAMES, load
from gradflow.datasets.synthetic import INPUT_LAWS, teacher_student

__all__ = [
    "INPUT_LAWS",
    "NAMES",
    "STEPS",
    "TASKS",
    "Dataset",
    "Transform",
    "center",
    "drop_constant_features",
    "from_arrays",
    "from_file",
    "load",
    "preprocess",
    "replay",
    "scale",
    "standardize",
    "teacher_student",
    "whiten",
]
