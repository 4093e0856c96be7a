"""Is the flow of paper 003's eq. (1) unbounded, as the paper says, and what does the valley h by itself do?

Question: ``f(x, y, z) = z^2 h(x, y)`` with ``h = x^2/2 + (1 - xy)^2/2`` is the paper's example of unbounded
trajectories. How far do they go, by the size of z(0)? And how does the flow of h leave for infinity?
Prediction: the claim is false. Every trajectory of f is bounded by ``|y(t)| <= |y(0)| + z(0)^2/4`` and ``x^2 <=
max(x(0)^2, 1/4)``, and converges to a point of the plane z = 0; its last y is near the root of ``y^2 + 2 log y = z(0)^2
+ y(0)^2 + 2 log y(0)``, hence near z(0), once z(0) is large. So the certified radius, which grows like z(0)^2/4, is
more and more too large. The flow of h alone is unbounded: ``y / (4t)^(1/4)`` tends to 1 and ``h sqrt(4t)`` tends to
1/2; it must be reported as escaped, and its certificate must promise nothing.
Method: Gaussian (x, y) and a range of z(0) for f, integrated to the end at rtol 1e-9; three starts for h, looked at up
to t = 1e8; the mathematics' reference values.
Cost: a minute on one core.
Source: paper 003, eq. (1), and math.md, part I, section 4, for the proof that its claim is false.

Run: ``gradflow run excursion_and_escape``
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.optimize import brentq
from tqdm import tqdm

import gradflow as gf
from gradflow import model_problems
from gradflow.laboratory import Finding, at_least, at_most, between, holds, none_of

KNOWN = {
    (0.5, 0.5, 1.0): (0.470472459215, 0.732127336819),
    (0.1, 0.9, 2.0): (0.432655865311, 1.761406986189),
    (0.9, 0.1, 5.0): (0.216743942920, 4.386255070157),
}
"""Limits (x, y) of three starts, from math.md, part I, section 4."""

ESCAPES = ((0.5, 0.5), (-1.0, -0.3), (0.1, 2.0))


@dataclass(frozen=True)
class Settings:
    """How many starts at each z(0), and the times at which h is looked at."""

    num_starts: int = 12
    heights: tuple[float, ...] = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
    times: tuple[float, ...] = (1e2, 1e4, 1e6, 1e8)
    seed: int = 0

    @classmethod
    def tiny(cls) -> "Settings":
        """A version that a test runs in seconds."""
        return cls(num_starts=2, heights=(1.0, 10.0), times=(1e2, 1e4))


def predicted_end(y0: float, z0: float) -> float:
    """The positive root of ``y^2 + 2 log y = z0^2 + y0^2 + 2 log |y0|``."""
    level = z0**2 + y0**2 + 2 * np.log(abs(y0))
    return float(brentq(lambda y: y**2 + 2 * np.log(y) - level, 1e-30, 2 * (z0 + abs(y0)) + 2))


def measure(settings: Settings) -> xr.Dataset:
    """The excursions of f by height and start, the known ends, and the escapes of h."""
    excursion, valley = (gf.GradientFlow(model_problems.get(n).problem) for n in ("long_excursion", "escaping_valley"))
    shape = (len(settings.heights), settings.num_starts)
    start, end = np.full((*shape, 3), np.nan), np.full((*shape, 3), np.nan)
    largest, x_largest, norm, radius, adiabatic = (np.full(shape, np.nan) for _ in range(5))
    status = np.full(shape, "", dtype="<U12")
    cases = [(a, b) for a in range(shape[0]) for b in range(shape[1])]
    for a, b in tqdm(cases, disable=None, desc="excursions"):
        generator = np.random.default_rng([settings.seed, a, b])
        start[a, b] = [*generator.normal(size=2), settings.heights[a]]
        run = gf.integrate(excursion, start[a, b], rtol=1e-9, atol=1e-12)
        end[a, b], status[a, b] = run.endpoint, run.status.value
        largest[a, b], x_largest[a, b] = np.abs(run.params[:, 1]).max(), np.abs(run.params[:, 0]).max()
        norm[a, b] = run.largest_norm
        radius[a, b] = {one.name: one for one in gf.certificates_of(excursion, start[a, b])}["boundedness"].values["R"]
        adiabatic[a, b] = predicted_end(start[a, b, 1], settings.heights[a])
    known = [gf.integrate(excursion, np.array(given), rtol=1e-11, atol=1e-13).endpoint[:2] for given in KNOWN]
    dims = ("height", "start")
    described = {
        "first": ((*dims, "axis"), start, "where the flow of f starts"),
        "last": ((*dims, "axis"), end, "where it ends"),
        "status": (dims, status, "how it ended"),
        "largest_y": (dims, largest, "largest |y| on the way"),
        "largest_x": (dims, x_largest, "largest |x| on the way"),
        "largest_norm": (dims, norm, "largest norm on the way"),
        "radius": (dims, radius, "certified radius"),
        "adiabatic": (dims, adiabatic, "last |y| by the adiabatic estimate"),
        "known_error": (("known",), np.abs(np.array(known) - np.array(list(KNOWN.values()))).max(axis=1),
                        "distance of the end from the reference value"),
        **escapes(valley, settings),
    }  # fmt: skip
    variables = {
        name: (d, values, {"long_name": text, "units": "dimensionless"})
        for name, (d, values, text) in described.items()
    }
    return xr.Dataset(variables, {"height": list(settings.heights), "time": list(settings.times), "axis": list("xyz")})


def escapes(valley: gf.GradientFlow, settings: Settings) -> dict[str, tuple]:
    """The flow of h at the given times, and how its run to the end and its certificate speak of it."""
    rows = np.full((len(ESCAPES), len(settings.times), 2), np.nan)
    endings, promises = [], []
    for number, start in enumerate(ESCAPES):
        run = gf.integrate(valley, np.array(start), settings.times[-1], save_at=settings.times, max_norm=1e9)
        rows[number, : len(run.params)] = run.params[-len(settings.times) :]
        endings.append(gf.integrate(valley, np.array(start), max_norm=100.0).status.value)
        certificate = {one.name: one for one in gf.certificates_of(valley, np.array(start))}["boundedness"]
        promises.append(certificate.holds is True)
    x, y = np.moveaxis(rows, -1, 0)
    quarter = np.array(settings.times) ** 0.25 * 4**0.25
    loss = 0.5 * x**2 + 0.5 * (1 - x * y) ** 2
    return {
        "y_law": (("escape", "time"), np.abs(y) / quarter, "|y| / (4t)^(1/4) along the flow of h"),
        "h_law": (("escape", "time"), loss * quarter**2, "h sqrt(4t) along the flow of h"),
        "escape_status": (("escape",), np.array(endings), "how the flow of h ended"),
        "escape_promised": (("escape",), np.array(promises), "whether a bound was promised for h"),
    }


def findings(results: xr.Dataset) -> list[Finding]:
    """Bounds and ends of f; the laws of h."""
    claim, num = "math.md, part I, section 4, against paper 003, eq. (1)", results["status"].size
    first, last = results["first"], results["last"]
    reach = abs(first.sel(axis="y")) + first.sel(axis="z") ** 2 / 4
    side = np.maximum(abs(first.sel(axis="x")), 0.5)
    high = results.sel(height=results["height"] >= 10)
    off = (abs(high["last"].sel(axis="y")) / high["adiabatic"] - 1).where(high["first"].sel(axis="y") > 0)
    ratio = (results["radius"] / results["largest_norm"]).median("start")
    late = results.isel(time=-1)
    return [
        none_of("starts of f that leave the certified radius", (results["largest_norm"] > results["radius"]).sum(), num,
                claim),
        at_most("largest |y| / (|y(0)| + z(0)^2/4)", (results["largest_y"] / reach).max(), 1 + 1e-8, claim),
        at_most("largest |x| / max(|x(0)|, 1/2)", (results["largest_x"] / side).max(), 1 + 1e-8, claim),
        holds("starts of f that converge", (results["status"] == "stationary").sum(), num, claim),
        at_most("last |z|, the largest", abs(last.sel(axis="z")).max(), 1e-3, claim),
        at_most("distance of three ends from their reference values", results["known_error"].max(), 1e-8, claim),
        at_most("last y over the adiabatic estimate - 1, starts with y(0) > 0, z(0) >= 10: the largest", abs(off).max(),
                0.1, "math.md, part I, section 4"),
        at_least("median of certified radius / sup at the largest z(0) over that at the smallest",
                 ratio.isel(height=-1) / ratio.isel(height=0), 2.0, "the bound grows like z(0)^2/4, y like z(0)"),
        between("y / (4t)^(1/4) along h at the last time, the farthest from 1", _farthest(late["y_law"]), 0.99, 1.01,
                "math.md, part I, section 4"),
        between("h sqrt(4t) at the last time, the farthest from 1/2", _farthest(late["h_law"], 0.5), 0.49, 0.51,
                "math.md, part I, section 4"),
        holds("starts of h reported as escaped", (results["escape_status"] == "escaped").sum(),
              results.sizes["escape"], claim),
        none_of("starts of h to which a bound is promised", results["escape_promised"].sum(), results.sizes["escape"]),
    ]  # fmt: skip


def _farthest(values: xr.DataArray, target: float = 1.0) -> float:
    return float(values.values[np.abs(values.values - target).argmax()])
