"""The real data sets that scikit-learn ships: no download, the same numbers on every machine.

Numbers are returned as scikit-learn gives them, transposed to columns as samples; nothing is rescaled.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradflow import checks
from gradflow.datasets.dataset import TASKS, Dataset, one_hot


@dataclass(frozen=True)
class _Entry:
    loader: str
    task: str
    description: str


_SHIPPED = {
    "digits": _Entry(
        "load_digits",
        "classification",
        "1797 handwritten digits, 8 x 8 pixels with values 0 to 16 (UCI, test part of Optical Recognition of "
        "Handwritten Digits); three pixels are always 0.",
    ),
    "iris": _Entry(
        "load_iris", "classification", "150 iris flowers of three species, four lengths in cm (Fisher 1936)."
    ),
    "wine": _Entry(
        "load_wine", "classification", "178 wines of three cultivars, 13 chemical measurements in their units (UCI)."
    ),
    "diabetes": _Entry(
        "load_diabetes",
        "regression",
        "442 patients, ten measurements that scikit-learn ships centred and with unit sum of squares; the target, "
        "progression after one year, has mean 152 (Efron et al. 2004).",
    ),
    "breast_cancer": _Entry(
        "load_breast_cancer",
        "classification",
        "569 tumours, malignant or benign, 30 measurements of cell nuclei in their units (UCI, Wisconsin diagnostic).",
    ),
}

NAMES = tuple(_SHIPPED)
"""The data sets :func:`load` knows."""


def load(name: str, task: str | None = None) -> Dataset:
    """A data set that scikit-learn ships, with samples as columns: ``X: (d_in, samples)``, transposed from its rows.

    Args:
        name: one of :data:`NAMES`.
        task: what Y is. "regression": the target as given, one row (for classes, their number 0, 1, ...);
            "classification": one-hot, a row for each class; "autoencoder": Y = X. By default "regression" for
            diabetes and "classification" for the others.

    Raises:
        InputError: an unknown name or task (the message names the nearest), or classification of diabetes.

    Example:
        >>> load("iris")
        Dataset('iris', classification, X (4, 150), Y (3, 150))
    """
    entry = _SHIPPED[checks.choice("name", name, NAMES)]
    task = checks.choice("task", entry.task if task is None else task, TASKS)
    checks.require(
        not (task == "classification" and entry.task == "regression"),
        "task",
        f'be "regression" or "autoencoder" for {name}, whose target is a real number',
        repr(task),
    )
    from sklearn import datasets as shipped

    bunch = getattr(shipped, entry.loader)()
    feature_names = tuple(str(feature) for feature in bunch.feature_names)
    Y, target_names = _targets(bunch, task, feature_names)
    return Dataset(
        bunch.data.T,
        Y,
        name=name,
        task=task,
        feature_names=feature_names,
        target_names=target_names,
        description=entry.description,
    )


def _targets(bunch: Any, task: str, feature_names: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    if task == "autoencoder":
        return bunch.data.T, feature_names
    if task == "classification":
        return one_hot(bunch.target)[0], tuple(str(name) for name in bunch.target_names)
    return np.asarray(bunch.target)[None, :], ("target",)
