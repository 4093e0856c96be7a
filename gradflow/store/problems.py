"""Flows in a results file: the data a regression was fitted to, and enough to put its flow together again.

A network of the library with the squared error is rebuilt exactly: sufficient statistics and the changes of coordinates
of a reduced flow are stored, not computed anew, because singular vectors are fixed up to a choice of signs that another
machine may make differently. A landscape is rebuilt when it is one of the library's model problems; anybody else's
function, an activation of one's own too, is not in the file, and its flow comes back as None. Knows flows and problems;
no study, no file.
"""

import dataclasses
import warnings
from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr

from gradflow import activations, checks, losses, model_problems, networks
from gradflow.flow import AbstractFlow, GradientFlow, ReducedFlow
from gradflow.networks import AbstractNetwork
from gradflow.problem import AbstractProblem, Landscape, Regression
from gradflow.regularizers import AbstractRegularizer, Balance, WeightDecay
from gradflow.statistics import LinearStatistics
from gradflow.store.codec import NUMBER, from_json, to_json

LOSSES = {"squared_error": losses.squared_error}
"""Losses that can be named in a file."""


def flow_dataset(flow: AbstractFlow | None) -> xr.Dataset:
    """The group ``data``: X, Y and the derived arrays of a linear network, with all settings as attributes.

    Attribute ``rebuildable`` is 1 when :func:`flow_of` can make the flow from it.
    """
    if flow is None:
        return xr.Dataset(attrs={"flow": "unknown", "problem": "unknown", "rebuildable": 0})
    problem = flow.original if isinstance(flow, ReducedFlow) else flow.problem
    attributes: dict[str, Any] = {"flow": type(flow).__name__, "problem": type(problem).__name__}
    attributes["rebuildable"] = int(type(flow) in (GradientFlow, ReducedFlow) and _is_rebuildable(problem))
    if isinstance(problem, Landscape):
        return xr.Dataset(attrs=attributes | {"name": problem.name, "source": problem.source})
    if not isinstance(problem, Regression):
        return xr.Dataset(attrs=attributes)
    attributes |= {
        "network": type(problem.network).__name__,
        "shapes": to_json(problem.network.shapes),
        "loss": getattr(problem.loss_function, "__name__", repr(problem.loss_function)),
        "normalization": problem.normalization,
        "regularizer": "none" if problem.regularizer is None else type(problem.regularizer).__name__,
    }
    attributes |= _network_attributes(problem.network) or {}
    if isinstance(problem.regularizer, WeightDecay):
        attributes["weight_decay"] = float(problem.regularizer.strength)
    if isinstance(problem.regularizer, Balance):
        attributes["balance"] = float(problem.regularizer.strength)
    return xr.Dataset(_arrays(flow, problem), attrs=attributes)


def flow_of(dataset: xr.Dataset) -> AbstractFlow | None:
    """The flow written by :func:`flow_dataset`, every array bit for bit; None when it cannot be rebuilt."""
    attributes = dataset.attrs
    if not attributes["rebuildable"]:
        return None
    if attributes["problem"] == "Landscape":
        return GradientFlow(model_problems.get(attributes["name"]).problem)
    with warnings.catch_warnings():  # the user was told when the problem was made
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        problem = Regression(
            _network_of(attributes),
            dataset["X"].values,
            dataset["Y"].values,
            loss=LOSSES[attributes["loss"]],
            regularizer=_regularizer_of(dataset),
            normalization=attributes["normalization"],
        )
    if problem.statistics is None:
        return GradientFlow(problem)
    statistics = LinearStatistics(*(dataset[name].values for name in ("root", "target", "irreducible")))
    problem = eqx.tree_at(lambda p: p.statistics, problem, statistics)
    if attributes["flow"] == "GradientFlow":
        return GradientFlow(problem)
    stored = [dataset[name].values for name in ("first", "last", "reduced_target", "reduced_target")]
    fields = lambda f: (f.first, f.last, f.problem.Y, f.problem.statistics.target)  # noqa: E731
    return eqx.tree_at(fields, ReducedFlow(problem), stored)


def _is_rebuildable(problem: AbstractProblem) -> bool:
    if type(problem) is Landscape:
        return _is_model_problem(problem)
    return (
        type(problem) is Regression
        and _network_attributes(problem.network) is not None
        and problem.loss_function in LOSSES.values()
        and (problem.regularizer is None or type(problem.regularizer) in (WeightDecay, Balance))
    )


def _network_attributes(network: AbstractNetwork) -> dict[str, Any] | None:
    """Its fields, which are its arguments, or None for a network that is not the library's or that no file can hold."""
    if getattr(networks, type(network).__name__, None) is not type(network):
        return None
    codes = {field.name: _field_code(getattr(network, field.name)) for field in dataclasses.fields(network)}
    return None if None in codes.values() else codes


def _field_code(value: Any) -> int | str | None:
    """A whole number, a list of them as text, or an activation's code; None for what a file does not hold."""
    if isinstance(value, activations.AbstractActivation):
        return _activation_code(value)
    if isinstance(value, int):
        return value
    is_listed = isinstance(value, tuple) and all(isinstance(entry, int) for entry in value)
    return to_json(value) if is_listed else None


def _network_of(attributes: dict[str, Any]) -> AbstractNetwork:
    kind = getattr(networks, attributes["network"])
    shapes = from_json(attributes["shapes"])
    widths = to_json((*(shape[1] for shape in shapes), shapes[-1][0]))  # what files of earlier versions do not say
    codes = {field.name: attributes.get(field.name, widths) for field in dataclasses.fields(kind)}
    return kind(**{name: _field_of(code) for name, code in codes.items()})


def _field_of(code: Any) -> Any:
    if not isinstance(code, str):
        return int(code)
    return tuple(from_json(code)) if code.startswith("[") else _activation_of(code)


def _activation_code(activation: activations.AbstractActivation) -> str | None:
    """A name that :func:`_activation_of` understands, a slope with all its digits; None for one of the user's."""
    if type(activation) is activations.LeakyReLU:
        return f"slope {float(activation.slope)!r}"
    known = activation.name in activations.NAMES and type(activations.get(activation.name)) is type(activation)
    return activation.name if known else None


def _activation_of(code: str) -> activations.AbstractActivation:
    slope = code.removeprefix("slope ")
    return activations.get(code) if slope == code else activations.LeakyReLU(float(slope))


def _regularizer_of(dataset: xr.Dataset) -> AbstractRegularizer | None:
    if "weight_decay" in dataset.attrs:
        return WeightDecay(float(dataset.attrs["weight_decay"]))
    if "balance" not in dataset.attrs:
        return None
    term = Balance(float(dataset.attrs["balance"]))
    gram = dataset["gram"].values if "gram" in dataset else None
    return eqx.tree_at(lambda balance: balance.gram, term, gram, is_leaf=lambda leaf: leaf is None)


def _is_model_problem(problem: Landscape) -> bool:
    """True when the landscape is the registered one of that name, and not a user's that is called the same."""
    if problem.name not in model_problems.names():
        return False
    known = model_problems.get(problem.name).problem
    codes = [getattr(landscape.fun, "__code__", None) for landscape in (problem, known)]
    return codes[0] is codes[1] and problem.radius is known.radius and problem.source == known.source


def _arrays(flow: AbstractFlow, problem: Regression) -> dict[str, xr.Variable]:
    arrays = {
        "X": _variable(("feature", "sample"), problem.X, "inputs X, columns are samples"),
        "Y": _variable(("output", "sample"), problem.Y, "targets Y, columns are samples"),
    }
    if problem.statistics is not None:
        arrays |= {
            "root": _variable(("feature", "rank"), problem.statistics.root, "R = U_X S_X, normalization included"),
            "target": _variable(("output", "rank"), problem.statistics.target, "T = Y V_X, normalization included"),
            "irreducible": _variable((), problem.statistics.irreducible, "loss that no linear map of X can avoid"),
        }
    if isinstance(problem.regularizer, Balance) and problem.regularizer.gram is not None:
        label = "X X^T of the balancing term"
        arrays["gram"] = _variable(("feature", "feature_of_gram"), problem.regularizer.gram, label)
    if isinstance(flow, ReducedFlow):
        first, last = "reduced coordinates: Wbar_1 = W_1 first", "reduced coordinates: Wbar_{H+1} = last^T W_{H+1}"
        arrays |= {
            "first": _variable(("feature", "reduced_feature"), flow.first, first),
            "last": _variable(("output", "reduced_output"), flow.last, last),
            "reduced_target": _variable(("reduced_output", "reduced_feature"), flow.problem.Y, "[S_Y 0]"),
        }
    return arrays


def _variable(dims: tuple[str, ...], values: Any, label: str) -> xr.Variable:
    return xr.Variable(dims, np.asarray(values, np.float64), {"long_name": label, "units": NUMBER})
