"""What a results file holds: a study as an ``xarray.DataTree`` with one group for each kind of thing, and back.

Both directions are pure and exact: every array comes back bit for bit, tuples as tuples, None as None. The layout is
:data:`SCHEMA`; whoever changes what is written here raises it by one. No paths, no input or output.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr

from gradflow.certificates import Certificate
from gradflow.convergence import ObservedRate
from gradflow.critical_points import CriticalPoint
from gradflow.hypotheses import Hypothesis
from gradflow.status import Status
from gradflow.store.codec import (
    NO_UNIT,
    NUMBER,
    from_json,
    param_names,
    ravel,
    recipe_of,
    scalar_values,
    scalars,
    table,
    table_rows,
    to_json,
    unravel,
)
from gradflow.store.problems import flow_dataset, flow_of
from gradflow.studies import Check, Study
from gradflow.trajectories import Occurrence, Passage, Trajectory

SCHEMA = 1
"""Version of the layout. Readers refuse a newer one and name the version that reads an older one."""

UNITS = {"wall_seconds": "s"}

STATS_LABELS = {
    "end_time": "flow time reached",
    "largest_norm": "largest ||params|| over all accepted steps",
    "status": "why the integration stopped",
    "num_accepted": "accepted steps",
    "num_rejected": "rejected steps",
    "solver": "solver that finished",
    "solver_reason": "why that solver",
    "rtol": "relative tolerance per step",
    "atol": "absolute tolerance per step",
    "grad_tol": "gradient norm at which the stop test begins",
    "t1": "horizon in flow time",
    "remaining": "estimated distance to the limit at the end, NaN when not estimated",
    "wall_seconds": "duration, compilation included",
    "num_crossings": "kinks crossed",
    "num_slides": "slides along kinks begun",
    "num_ambiguous": "decisions at kinks from which more than one solution goes on",
    "switch_times": "flow times of these events",
}
KINKS = ("num_crossings", "num_slides", "num_ambiguous", "switch_times")
"""Written for a run whose kinks were located and for no other, so that the files of all others stay as they were."""
PASSAGE_LABELS = {
    "start": "flow time of arrival near a saddle",
    "end": "flow time of leaving it, NaN when the run ended there",
    "loss": "loss there",
    "lowest_eigenvalue": "lowest eigenvalue of the Hessian there",
    "lowest_grad_norm": "smallest gradient norm seen there",
    "offset": "distance from the stable manifold, NaN when not computed",
    "is_resolved": "whether that distance is above the solver's tolerance, unknown when not computed",
}
CHECK_LABELS = {
    "name": "name of the check",
    "statement": "what was compared",
    "passed": "whether it passed, unknown when there was nothing to compare",
    "measured": "what was measured",
    "limit": "what it may be at most (for a rate, at least), NaN when there is no limit",
}
POINT_LABELS = {
    "kind": "kind of critical point",
    "reason": "why this kind",
    "loss": "loss at the refined state",
    "grad_norm": "gradient norm at the refined state",
    "displacement": "distance that refinement moved the state",
    "index": "Morse index, NaN when not all eigenvalues were computed",
    "nullity": "number of zero eigenvalues, NaN when not all were computed",
    "spectrum": "which eigenvalues: all (dense) or some from both ends (extreme)",
    "zero_tolerance": "absolute value below which an eigenvalue counts as zero",
    "captured": "captured singular values of the target, counted from 0",
    "counts": "captured directions per group of equal positive singular values",
    "rank": "rank r of the product",
    "rank_z": "rank r_Z of the product of the inner layers",
    "value": "critical value by Lemma 2",
}
RATE_LABELS = {
    "law": "law of the tail of the loss",
    "rate": "observed exponential rate",
    "exponent": "observed power",
    "standard_error": "of the rate or the power",
    "window": "flow times of the tail that was fitted",
    "num_points": "number of points fitted",
    "reason": "what decided",
}


def to_datatree(study: Study) -> xr.DataTree:
    """The study as a tree; ``from_datatree`` is its exact inverse.

    Groups: ``trajectory``, ``sample_stats`` (how it was integrated), ``passages``, ``record`` (the monitors' dataset as
    it is), ``certificates`` (a group each), ``checks``, ``critical_points`` (``endpoint``), ``rate``, ``data``.
    Attributes of the root say who made it, when, where, with which configuration.
    """
    trajectory = study.trajectory
    skipped = ("times", "params", "start", "endpoint", "dissipated", "passages", "status", "events")
    unknown = KINKS if trajectory.num_crossings is None else ()
    stats = _fields(trajectory, (*skipped, *unknown)) | {"status": str(trajectory.status)}
    groups: dict[str, xr.Dataset] = {
        "/": xr.Dataset(attrs=_root_attributes(study)),
        "/trajectory": _trajectory_dataset(trajectory, study.flow),
        "/sample_stats": xr.Dataset(scalars(stats, STATS_LABELS, UNITS)),
        "/passages": table(trajectory.passages, Passage, "passage", PASSAGE_LABELS),
        "/record": study.record,
        "/certificates": xr.Dataset(),
        "/checks": table(study.checks, Check, "check", CHECK_LABELS),
        "/critical_points": xr.Dataset(),
        "/critical_points/endpoint": _point_dataset(study.point, _stem(study.flow)),
        "/rate": xr.Dataset(scalars(_fields(study.rate), RATE_LABELS, {})),
        "/data": study.data if study.flow is None and study.data is not None else flow_dataset(study.flow),
    }
    if trajectory.events:
        groups["/events"] = _events_dataset(trajectory, study.flow)
    for position, certificate in enumerate(study.certificates):
        group = f"/certificates/{certificate.name}"
        name = group if group not in groups else f"{group}_{position}"
        groups[name] = _certificate_dataset(certificate, position)
    return xr.DataTree.from_dict(groups)


def from_datatree(tree: xr.DataTree) -> Study:
    """The study written by :func:`to_datatree`. Its flow is None when only its author has the landscape.

    Raises:
        KeyError: a group or variable is missing; :func:`gradflow.store.load` says so in a sentence.
    """
    certificates = sorted(tree["certificates"].children.values(), key=lambda group: group.attrs["position"])
    data = _dataset(tree, "data")
    flow = flow_of(data)
    return Study(
        flow=flow,
        data=data if flow is None else None,
        trajectory=_trajectory_of(tree),
        record=_dataset(tree, "record"),
        certificates=tuple(_certificate_of(group.to_dataset()) for group in certificates),
        checks=table_rows(_dataset(tree, "checks"), Check),
        point=_point_of(_dataset(tree, "critical_points/endpoint")),
        rate=ObservedRate(**scalar_values(_dataset(tree, "rate"))),
        settings=from_json(tree.attrs["config"]),
        provenance=from_json(tree.attrs["provenance"]),
    )


def _root_attributes(study: Study) -> dict[str, Any]:
    """What a reader wants to see first; `config` and `provenance` are complete, in JSON, and what is read back."""
    names = ("created_at", "git_commit", "git_dirty", "jax_version", "platform", "device", "precision", "x64")
    shown = {name: study.provenance.get(name, "unknown") for name in names}
    seed = study.settings.get("seed")
    return {
        "Conventions": "CF-1.11",
        "gradflow_schema": SCHEMA,
        "title": "gradient flow of one start: trajectory, monitors, certificates and endpoint",
        "creation_library": "gradflow",
        "creation_library_version": str(study.provenance.get("gradflow_version", "unknown")),
        **{name: str(value) for name, value in shown.items()},
        "seed": "unknown" if seed is None else str(seed),
        "config": to_json(dict(study.settings)),
        "provenance": to_json(dict(study.provenance)),
    }


def _fields(instance: Any, skipped: tuple[str, ...] = ()) -> dict[str, Any]:
    return {name: getattr(instance, name) for name in instance.__dataclass_fields__ if name not in skipped}


def _dataset(tree: xr.DataTree, path: str) -> xr.Dataset:
    for name in path.split("/"):
        tree = tree.children[name]
    return tree.to_dataset(inherit=False)


def _stem(flow: Any) -> str:
    """Layers are called W1, W2, ...; parameters of a landscape p."""
    return "W" if hasattr(getattr(flow, "problem", None), "network") else "p"


def _variable(dims: Any, values: Any, label: str, units: str = NUMBER) -> xr.Variable:
    return xr.Variable(dims, values, {"long_name": label, "units": units})


def _param_coordinate(recipe: Any, stem: str) -> xr.Variable:
    names = np.array(param_names(recipe, stem), dtype=str)
    return _variable("param", names, "parameter; entries counted from 0, layers from 1", NO_UNIT)


def _trajectory_dataset(trajectory: Trajectory, flow: Any) -> xr.Dataset:
    recipe = recipe_of(trajectory.start)
    variables = {
        "theta": _variable(("time", "param"), ravel(trajectory.params, 1), "parameters along the trajectory"),
        "start": _variable("param", ravel(trajectory.start), "parameters at time 0"),
        "endpoint": _variable("param", ravel(trajectory.endpoint), "last parameters reached"),
        "dissipated": _variable("time", trajectory.dissipated, "int ||grad L||^2 dt"),
    }
    coordinates = {
        "time": _variable("time", trajectory.times, "flow time t"),
        "param": _param_coordinate(recipe, _stem(flow)),
    }
    return xr.Dataset(variables, coordinates, {"unravel": to_json(recipe), "order": "row-major, in acting order"})


def _events_dataset(trajectory: Trajectory, flow: Any) -> xr.Dataset:
    """Written for a run that met events and for no other."""
    met, recipe = trajectory.events, recipe_of(trajectory.start)
    rows = jax.tree.map(lambda *leaves: np.stack(leaves), *(one.params for one in met))
    variables = {
        "name": _variable("event", np.array([one.name for one in met], dtype=str), "name of the event", NO_UNIT),
        "entry": _variable("event", np.array([one.entry for one in met], np.int64), "entry of its guard"),
        "time": _variable("event", np.array([one.time for one in met]), "flow time"),
        "is_rising": _variable("event", np.array([one.is_rising for one in met], np.int8), "whether its guard rose"),
        "residual": _variable("event", np.array([one.residual for one in met]), "value of its guard there"),
        "theta": _variable(("event", "param"), ravel(rows, 1), "parameters there"),
    }
    return xr.Dataset(variables, {"param": _param_coordinate(recipe, _stem(flow))}, {"unravel": to_json(recipe)})


def _events_of(tree: xr.DataTree) -> tuple[Occurrence, ...]:
    rows = _dataset(tree, "events")
    recipe = from_json(rows.attrs["unravel"])
    columns = [rows[name].values.tolist() for name in ("name", "entry", "time", "is_rising", "residual")]
    return tuple(
        Occurrence(name, entry, time, bool(rising), residual, unravel(theta, recipe))
        for name, entry, time, rising, residual, theta in zip(*columns, rows["theta"].values, strict=True)
    )


def _trajectory_of(tree: xr.DataTree) -> Trajectory:
    rows, stats = _dataset(tree, "trajectory"), scalar_values(_dataset(tree, "sample_stats"))
    recipe = from_json(rows.attrs["unravel"])
    return Trajectory(
        events=_events_of(tree) if "events" in tree.children else (),
        times=rows["time"].values,
        params=unravel(rows["theta"].values, recipe),
        start=unravel(rows["start"].values, recipe),
        endpoint=unravel(rows["endpoint"].values, recipe),
        dissipated=rows["dissipated"].values,
        passages=table_rows(_dataset(tree, "passages"), Passage),
        **(stats | {"status": Status(stats["status"])}),
    )


def _point_dataset(point: CriticalPoint, stem: str) -> xr.Dataset:
    recipe = recipe_of(point.params)
    variables = scalars(_fields(point, ("params", "eigenvalues")), POINT_LABELS, {})
    variables |= {
        "location": _variable("param", ravel(point.params), "refined parameters"),
        "eigenvalue": _variable("mode", np.asarray(point.eigenvalues), "eigenvalues of the Hessian, ascending"),
    }
    return xr.Dataset(variables, {"param": _param_coordinate(recipe, stem)}, {"unravel": to_json(recipe)})


def _point_of(dataset: xr.Dataset) -> CriticalPoint:
    params = unravel(dataset["location"].values, from_json(dataset.attrs["unravel"]))
    return CriticalPoint(params=params, eigenvalues=dataset["eigenvalue"].values, **scalar_values(dataset))


def _certificate_dataset(certificate: Certificate, position: int) -> xr.Dataset:
    values: Mapping[str, float] = certificate.values
    flags = scalars({"holds": certificate.holds}, {"holds": "promised; false: a hypothesis fails; NaN: no theory"}, {})
    columns = table(certificate.hypotheses, Hypothesis, "hypothesis", {"holds": "truth value of the hypothesis"})
    numbers = np.array(list(values.values()), np.float64)
    variables = flags | {
        "value": _variable("quantity", numbers, "numbers of the certificate"),
        **{f"hypothesis_{name}": variable.variable for name, variable in columns.data_vars.items()},
    }
    coordinates = {"quantity": _variable("quantity", np.array(list(values), dtype=str), "name of the number", NO_UNIT)}
    texts = {"name": certificate.name, "source": certificate.source, "note": certificate.note}
    return xr.Dataset(variables, coordinates, texts | {"position": position})


def _certificate_of(dataset: xr.Dataset) -> Certificate:
    columns = {name: dataset[f"hypothesis_{name}"].variable for name in Hypothesis.__dataclass_fields__}
    names, numbers = dataset["quantity"].values.tolist(), dataset["value"].values.tolist()
    return Certificate(
        name=dataset.attrs["name"],
        holds=scalar_values(dataset)["holds"],
        values=dict(zip(names, numbers, strict=True)),
        hypotheses=table_rows(xr.Dataset(columns), Hypothesis),
        source=dataset.attrs["source"],
        note=dataset.attrs["note"],
    )
