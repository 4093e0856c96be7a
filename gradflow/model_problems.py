"""Problems with known answers: trajectories, critical points and bounds that are on paper.

Tests, examples and benchmarks share them. Each entry of the registry is a landscape with its isolated critical points
(refined by Newton's method in extended precision), a window for drawing, and the source. Functions with closed-form
trajectories stand below. Knows problems, not flows.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.integrate
from jaxtyping import Array, Float

from gradflow import checks
from gradflow.networks import Linear
from gradflow.problem import Landscape, Regression

Window = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class KnownCriticalPoint:
    """An isolated critical point: its location, kind (``local_minimum``, ``strict_saddle``, ``maximum``) and value."""

    location: tuple[float, ...]
    kind: str
    value: float


@dataclass(frozen=True)
class ModelProblem:
    """A landscape and what is known of it.

    `critical_points` lists the isolated ones inside `window` (all there are, unless the description says otherwise);
    `window` is None when the parameters are not two numbers.
    """

    name: str
    problem: Landscape
    description: str
    critical_points: tuple[KnownCriticalPoint, ...]
    window: Window | None
    source: str


def escaping_valley() -> ModelProblem:
    """``h(x, y) = x^2/2 + (1 - x y)^2/2``, whose flow escapes along its valley like ``y ~ (4t)^{1/4}``.

    There ``x ~ 1/y`` and ``h ~ 1/(4 sqrt t)``: the gradient vanishes in the limit though there is no minimum. Stiff,
    since the curvature across the valley is about y^2.

    Source: paper 003, example (1) without the factor z^2: this is the unbounded example that the paper wanted.
    """
    return ModelProblem(
        name="escaping_valley",
        problem=Landscape(_valley, name="escaping_valley"),
        description="polynomial bounded below, unbounded gradient flow: y grows like (4t)^(1/4)",
        critical_points=(KnownCriticalPoint((0.0, 0.0), "strict_saddle", 0.5),),
        window=((-3.0, 3.0), (-3.0, 3.0)),
        source="paper 003, example (1), corrected",
    )


def long_excursion() -> ModelProblem:
    """``f(x, y, z) = z^2 h(x, y)``: long excursions, but every trajectory is bounded and converges to the plane z = 0.

    With ``p = z(0)^2 - z^2``, ``|dy/dp| = |x (1 - x y)| / (4 h) <= 1/4``; ``d(x^2)/dt <= z^2 (1/2 - 2 x^2)``; ``|z|``
    decreases. Hence ``|y| <= |y(0)| + z(0)^2/4`` and ``x^2 <= max(x(0)^2, 1/4)``. The critical points are the plane
    z = 0, none isolated.

    Source: paper 003, eq. (1), whose claim of unboundedness is false.
    """
    return ModelProblem(
        name="long_excursion",
        problem=Landscape(
            lambda p: p[2] ** 2 * _valley(p[:2]),
            name="long_excursion",
            radius=_excursion_radius,
            source="corrected example (1) of paper 003: |y(t)| <= |y(0)| + z(0)^2/4",
        ),
        description="long excursion in y, then convergence to the plane z = 0",
        critical_points=(),
        window=None,
        source="paper 003, eq. (1), corrected",
    )


def double_well(dim: int = 2) -> ModelProblem:
    """``sum_i (x_i^4/4 - x_i^2/2)``: 3^dim critical points, 2^dim wells whose basins are the orthants.

    The flow ``x_i' = x_i - x_i^3`` decouples; a coordinate that starts at 0 stays there for ever.
    """
    dim = checks.integer("dim", dim)
    points = []
    for location in itertools.product((-1.0, 0.0, 1.0), repeat=dim):
        zeros = location.count(0.0)
        kind = "local_minimum" if zeros == 0 else "maximum" if zeros == dim else "strict_saddle"
        points.append(KnownCriticalPoint(location, kind, -0.25 * (dim - zeros)))
    return ModelProblem(
        name="double_well",
        problem=Landscape(lambda x: jnp.sum(x**4 / 4 - x**2 / 2), name="double_well"),
        description=f"separable double well in {dim} dimension(s)",
        critical_points=tuple(points),
        window=((-2.0, 2.0), (-2.0, 2.0)) if dim == 2 else None,
        source="closed form",
    )


def two_layer_scalar() -> ModelProblem:
    """``1/2 (a b - 1)^2``: a saddle at the origin and the hyperbola ``a b = 1`` of global minima (not isolated)."""
    return ModelProblem(
        name="two_layer_scalar",
        problem=Landscape(lambda p: 0.5 * (p[0] * p[1] - 1.0) ** 2, name="two_layer_scalar"),
        description="smallest two-layer linear network; global minima are the hyperbola ab = 1",
        critical_points=(KnownCriticalPoint((0.0, 0.0), "strict_saddle", 0.5),),
        window=((-2.0, 2.0), (-2.0, 2.0)),
        source="paper 003, eq. (2) with H = 1 and all widths 1",
    )


def mueller_brown() -> ModelProblem:
    """The Mueller-Brown surface: three minima in a bent valley, two saddles between them.

    Source: Mueller and Brown, Theoretica Chimica Acta 53 (1979) 75-93.
    """
    points = (
        KnownCriticalPoint((-0.5582236346330243, 1.4417258418046686), "local_minimum", -146.69951720995402),
        KnownCriticalPoint((0.6234994049308765, 0.028037758528685664), "local_minimum", -108.16672411685235),
        KnownCriticalPoint((-0.050010822998206056, 0.4666941048719721), "local_minimum", -80.76781812965903),
        KnownCriticalPoint((0.212486582000662, 0.2929883251073678), "strict_saddle", -72.24894011232522),
        KnownCriticalPoint((-0.8220015587327321, 0.6243128028148713), "strict_saddle", -40.664843508657405),
    )
    return ModelProblem(
        name="mueller_brown",
        problem=Landscape(_mueller_brown, name="mueller_brown"),
        description="three minima and two saddles of a model reaction",
        critical_points=points,
        window=((-1.5, 1.2), (-0.2, 2.0)),
        source="Mueller and Brown (1979); critical points by Newton's method",
    )


def himmelblau() -> ModelProblem:
    """``(x^2 + y - 11)^2 + (x + y^2 - 7)^2``: four minima of value 0, four saddles, one maximum."""
    points = (
        KnownCriticalPoint((3.0, 2.0), "local_minimum", 0.0),
        KnownCriticalPoint((3.5844283403304917, -1.8481265269644036), "local_minimum", 0.0),
        KnownCriticalPoint((-2.805118086952745, 3.131312518250573), "local_minimum", 0.0),
        KnownCriticalPoint((-3.779310253377747, -3.2831859912861696), "local_minimum", 0.0),
        KnownCriticalPoint((3.385154183607021, 0.07385187983774928), "strict_saddle", 13.31192627040559),
        KnownCriticalPoint((0.08667750455539636, 2.884254701174776), "strict_saddle", 67.71915008752615),
        KnownCriticalPoint((-3.0730257507643897, -0.08135304428796751), "strict_saddle", 104.0151629175581),
        KnownCriticalPoint((-0.12796134673068008, -1.9537149802445763), "strict_saddle", 178.33723920192747),
        KnownCriticalPoint((-0.2708445906673476, -0.9230385564799815), "maximum", 181.6165215225827),
    )
    return ModelProblem(
        name="himmelblau",
        problem=Landscape(lambda p: (p[0] ** 2 + p[1] - 11.0) ** 2 + (p[0] + p[1] ** 2 - 7.0) ** 2, name="himmelblau"),
        description="four equal minima, four saddles, one maximum",
        critical_points=points,
        window=((-6.0, 6.0), (-6.0, 6.0)),
        source="Himmelblau (1972); critical points by Newton's method",
    )


REGISTRY: dict[str, Callable[..., ModelProblem]] = {
    "escaping_valley": escaping_valley,
    "long_excursion": long_excursion,
    "double_well": double_well,
    "two_layer_scalar": two_layer_scalar,
    "mueller_brown": mueller_brown,
    "himmelblau": himmelblau,
}
"""Every landscape by name."""


def names() -> tuple[str, ...]:
    """Names of the landscapes, in alphabetical order."""
    return tuple(sorted(REGISTRY))


def get(name: str) -> ModelProblem:
    """The landscape of that name.

    Raises:
        InputError: an unknown name; the message gives the nearest one.
    """
    return REGISTRY[checks.choice("name", name, REGISTRY)]()


def scalar_chain(depth: int, s: float) -> Regression:
    """``1/2 (s - w_depth ... w_1)^2`` as a linear network of `depth` layers of width 1 on one sample X = 1, Y = s."""
    depth, s = checks.integer("depth", depth), checks.real("s", s)
    return Regression(Linear((1,) * (depth + 1)), np.ones((1, 1)), np.full((1, 1), s))


def saxe_mode(times: Any, s: float, u0: float) -> Float[np.ndarray, "..."]:
    """``u(t) = s e^{2st} / (e^{2st} - 1 + s/u0)``: one mode of a balanced two-layer network, ``u' = 2 u (s - u)``.

    Source: Saxe, McClelland and Ganguli (2014); paper 003's flow for H = 1 with equal scalar weights.
    """
    s, u0 = checks.real("s", s, above=0.0), checks.real("u0", u0, above=0.0)
    decay = np.exp(-2.0 * s * np.asarray(times, np.float64))
    return np.asarray(s / (1.0 + (s / u0 - 1.0) * decay))


def saxe_half_time(s: float, u0: float) -> float:
    """The time at which :func:`saxe_mode` passes s/2: ``log(s/u0 - 1) / (2s)``, for 0 < u0 <= s/2."""
    s, u0 = checks.real("s", s, above=0.0), checks.real("u0", u0, above=0.0)
    checks.require(u0 <= 0.5 * s, "u0", f"be at most s/2 = {0.5 * s:g}", f"{u0:g}")
    return float(np.log(s / u0 - 1.0) / (2.0 * s))


def deep_mode(times: Any, s: float, u0: float, num_layers: int) -> Float[np.ndarray, " times"]:
    """One mode of a balanced network of L layers: ``u' = L u^{2 - 2/L} (s - u)``, u the product of L equal weights.

    Integrated for the single weight, ``a' = a^{L-1} (s - a^L)`` with ``u = a^L``.

    Args:
        times: increasing times of at least 0.

    Accuracy: about 1e-12 relative.

    Source: Saxe, McClelland and Ganguli (2014), deep modes.
    """
    s, u0 = checks.real("s", s, above=0.0), checks.real("u0", u0, above=0.0)
    layers = checks.integer("num_layers", num_layers)
    moments = np.atleast_1d(np.asarray(times, np.float64))
    checks.require(
        bool(moments[0] >= 0.0 and np.all(np.diff(moments) > 0.0)), "times", "increase from at least 0", str(times)
    )
    solution = scipy.integrate.solve_ivp(
        lambda _, a: a ** (layers - 1) * (s - a**layers),
        (0.0, float(moments[-1])),
        [u0 ** (1.0 / layers)],
        method="DOP853",
        t_eval=moments,
        rtol=1e-13,
        atol=1e-16,
    )
    return solution.y[0] ** layers


def _valley(p: Float[Array, "2"]) -> Float[Array, ""]:
    return 0.5 * p[0] ** 2 + 0.5 * (1.0 - p[0] * p[1]) ** 2


def _excursion_radius(params0: Any) -> float:
    x, y, z = np.asarray(params0, np.float64)
    return float(np.sqrt(max(x * x, 0.25) + (abs(y) + z * z / 4.0) ** 2 + z * z))


def _mueller_brown(p: Float[Array, "2"]) -> Float[Array, ""]:
    strength = jnp.asarray([-200.0, -100.0, -170.0, 15.0])
    a, b, c = (jnp.asarray(row) for row in ([-1, -1, -6.5, 0.7], [0, 0, 11, 0.6], [-10, -10, -6.5, 0.7]))
    x, y = p[0] - jnp.asarray([1.0, 0.0, -0.5, -1.0]), p[1] - jnp.asarray([0.0, 0.5, 1.5, 1.0])
    return jnp.sum(strength * jnp.exp(a * x * x + b * x * y + c * y * y))
