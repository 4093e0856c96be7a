"""What the gallery of phase portraits shows: each panel a function that computes one plane (nothing is drawn here).

``PAGES`` names the panels of each page; ``figures/portraits.py --compute`` calls them and saves what they return.
"""

import itertools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import xarray as xr

import gradflow as gf
from gradflow.model_problems import get, scalar_chain
from gradflow.networks import Linear, Shallow
from gradflow.phase_planes import parameter_plane, phase_plane, plane_of_points, plane_through
from gradflow.problem import Landscape, Regression
from gradflow.regularizers import Balance, WeightDecay

SQUARE = (-2.0, 2.0)
CHAIN_STARTS = ((-1.6, 0.9), (0.25, -1.5), (1.85, 0.12), (-0.3, 1.8))
WELL_RESOLUTION = 240


def _balance(params):
    return (params[1] ** 2 - params[0] ** 2).sum()


def _scalar(problem: Regression, title: str, xlim=SQUARE, ylim=SQUARE, starts=CHAIN_STARTS, **options) -> xr.Dataset:
    flow = gf.GradientFlow(problem)
    held = phase_plane(parameter_plane(flow), xlim, ylim, starts=starts, **options)
    return held.assign_attrs(title=title)


def target_one() -> xr.Dataset:
    """``(w_1 w_2 - 1)^2 / 2``."""
    return _scalar(scalar_chain(2, 1.0), r"$\frac{1}{2}(w_1w_2-1)^2$", functions={"c": _balance}, time_marks=(0.5, 1.0))


def target_zero() -> xr.Dataset:
    """``(w_1 w_2)^2 / 2``: both axes are minima, and the origin too."""
    return _scalar(scalar_chain(2, 0.0), r"$\frac{1}{2}(w_1w_2)^2$", functions={"c": _balance}, time_marks=(0.5, 1.0))


def weight_decay() -> xr.Dataset:
    """With weight decay 0.3 the minima are the balanced points with ``w_1 w_2 = 0.7``."""
    chain = scalar_chain(2, 1.0)
    problem = Regression(chain.network, chain.X, chain.Y, regularizer=WeightDecay(0.3))
    title = r"$\frac{1}{2}(w_1w_2-1)^2+0.15(w_1^2+w_2^2)$"
    return _scalar(problem, title, functions={"c": _balance}, time_marks=(0.5, 1.0))


def balance_term() -> xr.Dataset:
    """Paper 001's balancing term, strength 0.5."""
    chain = scalar_chain(2, 1.0)
    problem = Regression(chain.network, chain.X, chain.Y, regularizer=Balance(0.5))
    title = r"$\frac{1}{2}(w_1w_2-1)^2+\frac{1}{8}(w_2^2-w_1^2)^2$"
    return _scalar(problem, title, functions={"c": _balance}, time_marks=(0.5, 1.0))


def escaping_valley() -> xr.Dataset:
    """The polynomial h whose flow escapes along its valley."""
    model = get("escaping_valley")
    plane = parameter_plane(gf.GradientFlow(model.problem), ("$x$", "$y$"))
    held = phase_plane(plane, (-2.5, 2.5), (-4.0, 4.0), starts=((0.5, 0.5), (-2.0, 2.5), (2.2, -1.5), (1.5, 3.5)),
                       time_marks=(1.0, 10.0))  # fmt: skip
    return held.assign_attrs(title=r"$h=\frac{1}{2}x^2+\frac{1}{2}(1-xy)^2$")


def _tanh(target: float, title: str) -> xr.Dataset:
    problem = Regression(Shallow((1, 1, 1), "tanh", "tanh"), np.ones((1, 1)), np.full((1, 1), target))
    return _scalar(problem, title, (-3.0, 3.0), (-3.0, 3.0), ((-2.4, 1.6), (0.4, -2.6), (2.6, 0.3), (-0.6, 2.5)),
                   functions={"c": lambda params: (params[1] ** 2).sum() - (jnp.sinh(params[0]) ** 2).sum()},
                   time_marks=(1.0, 10.0), max_norm=5.0)  # fmt: skip


def tanh_reachable() -> xr.Dataset:
    """A target inside of the range of tanh: a curve of minima."""
    return _tanh(0.5, r"$\frac{1}{2}(\tanh(w_2\tanh w_1)-0.5)^2$: reachable")


def tanh_at_edge() -> xr.Dataset:
    """The end of the range: approached, never reached."""
    return _tanh(1.0, r"target 1: at the edge of the range")


def tanh_unreachable() -> xr.Dataset:
    """A target outside of the range: the flow escapes like a logarithm's square root of time."""
    return _tanh(2.0, r"target 2: unreachable")


def _wells(name: str, title: str, window=None, problem=None, starts=(), **options) -> xr.Dataset:
    model = None if problem is not None else get(name)
    problem, window = (problem, window) if model is None else (model.problem, window or model.window)
    plane = parameter_plane(gf.GradientFlow(problem), ("$x$", "$y$"))
    held = phase_plane(plane, *window, starts=starts, basin_resolution=WELL_RESOLUTION, **options)
    return held.assign_attrs(title=title)


def double_well() -> xr.Dataset:
    """The separable double well."""
    title = r"double well, $\frac{1}{4}(x^4+y^4)-\frac{1}{2}(x^2+y^2)$"
    return _wells("double_well", title, starts=((-0.1, 1.8), (1.7, -0.2)), time_marks=(1.0, 3.0))


def himmelblau() -> xr.Dataset:
    """Himmelblau's function."""
    return _wells("himmelblau", "Himmelblau's function", window=((-5.5, 5.5), (-5.5, 5.5)),
                  starts=((0.3, -0.6), (-5.0, 0.4), (1.0, 5.0)), time_marks=(0.02, 0.05))  # fmt: skip


def six_hump_camel() -> xr.Dataset:
    """The six-hump camel back function (Dixon and Szegoe, 1978)."""

    def camel(p):
        return (4 - 2.1 * p[0] ** 2 + p[0] ** 4 / 3) * p[0] ** 2 + p[0] * p[1] + (4 * p[1] ** 2 - 4) * p[1] ** 2

    return _wells("", "six-hump camel back function", ((-2.2, 2.2), (-1.3, 1.3)), Landscape(camel, name="six_hump"),
                  starts=((-1.0, -0.1), (0.4, 1.2)), time_marks=(0.2, 0.6))  # fmt: skip


def mueller_brown() -> xr.Dataset:
    """The Mueller-Brown surface."""
    return _wells("mueller_brown", "Mueller-Brown surface", starts=((-1.3, 0.7), (0.3, 1.2)), time_marks=(1e-3, 5e-3),
                  max_norm=2.6)  # fmt: skip


def excursion_across() -> xr.Dataset:
    """Eq. (1) of paper 003 on the slice z = 1: the streamlines are those of h, but z falls."""
    flow = gf.GradientFlow(get("long_excursion").problem)
    plane = plane_through(flow, np.array([0.0, 0.0, 1.0]), (np.eye(3)[0], np.eye(3)[1]), ("$x$", "$y$"))
    held = phase_plane(plane, (-2.0, 2.0), (-2.0, 2.0), starts=((0.5, 0.5), (-1.6, 1.2), (1.4, -1.6)))
    return held.assign_attrs(title=r"eq. (1) of paper 003, $z^2h(x,y)$, at $z=1$")


def excursion_along() -> xr.Dataset:
    """Eq. (1) on the slice x = 1/2: every trajectory ends on the plane z = 0."""
    flow = gf.GradientFlow(get("long_excursion").problem)
    plane = plane_through(flow, np.array([0.5, 0.0, 0.0]), (np.eye(3)[1], np.eye(3)[2]), ("$y$", "$z$"))
    held = phase_plane(plane, (-1.0, 6.0), (-5.5, 5.5), starts=((0.5, 5.0), (0.1, -3.0), (1.0, 2.0)))
    return held.assign_attrs(title=r"eq. (1) of paper 003, $z^2h(x,y)$, at $x=\frac{1}{2}$")


def chain_with_fixed_layer() -> xr.Dataset:
    """A chain of three weights on the slice w_3 = 1: looks like the chain of two, but the third weight moves."""
    flow = gf.GradientFlow(scalar_chain(3, 1.0))
    layers = [tuple(np.full((1, 1), float(value)) for value in row) for row in np.eye(3)]
    plane = plane_through(flow, layers[2], (layers[0], layers[1]), ("$w_1$", "$w_2$"))
    saddle = gf.classify(flow.problem, layers[2])
    held = phase_plane(plane, SQUARE, SQUARE, critical_points=[saddle], starts=CHAIN_STARTS)
    return held.assign_attrs(title=r"$\frac{1}{2}(w_1w_2w_3-1)^2$ at $w_3=1$")


def _modes(depth: int):
    """The network diag(2, 1), its flow, and the state whose layers are all diag(a, b)."""
    problem = Regression(Linear((2,) * (depth + 1)), np.eye(2), np.diag([2.0, 1.0]))
    return problem, gf.GradientFlow(problem), lambda a, b: tuple(np.diag([a, b]) for _ in range(depth))


def _mode_plane(depth: int, roots: tuple[list[float], list[float]], title: str, starts) -> xr.Dataset:
    problem, flow, state = _modes(depth)
    plane = plane_through(flow, state(0.0, 0.0), (state(1.0, 0.0), state(0.0, 1.0)), ("$a$", "$b$"))
    points = [gf.classify(problem, state(*place)) for place in itertools.product(*roots)]
    held = phase_plane(plane, SQUARE, SQUARE, critical_points=points, starts=starts, time_marks=(0.5, 1.0))
    return held.assign_attrs(title=title)


def two_layer_modes() -> xr.Dataset:
    """Balanced modes of a two-layer linear network: every layer diag(a, b)."""
    top = float(np.sqrt(2.0))
    return _mode_plane(2, ([-top, 0.0, top], [-1.0, 0.0, 1.0]), r"two linear layers $\mathrm{diag}(a,b)$",
                       ((0.15, 0.3), (-0.1, -1.7), (-1.8, 0.1)))  # fmt: skip


def three_layer_modes() -> xr.Dataset:
    """Balanced modes of a three-layer one: negative a or b are caught at 0, by saddles that are not strict."""
    top = float(2.0 ** (1 / 3))
    return _mode_plane(3, ([0.0, top], [0.0, 1.0]), r"three linear layers $\mathrm{diag}(a,b)$",
                       ((0.25, 0.5), (-1.6, -1.2), (0.5, -1.6), (-1.7, 1.8)))  # fmt: skip


def balanced_chain() -> xr.Dataset:
    """A chain of three weights on the invariant plane w_2 = w_3."""
    problem = scalar_chain(3, 1.0)
    first, rest = np.zeros((1, 1)), np.ones((1, 1))
    plane = plane_through(gf.GradientFlow(problem), (first,) * 3, ((rest, first, first), (first, rest, rest)),
                          ("$w_1$", "$w_2=w_3$"))  # fmt: skip
    held = phase_plane(plane, SQUARE, SQUARE, critical_points=[gf.classify(problem, (first,) * 3)],
                       starts=((-1.6, 0.9), (-0.5, -0.5), (1.5, 0.3), (0.25, -1.6)), time_marks=(1.0, 5.0),
                       functions={"c": lambda params: (params[1] ** 2 - params[0] ** 2).sum()})  # fmt: skip
    return held.assign_attrs(title=r"$\frac{1}{2}(w_1w_2w_3-1)^2$ on $w_2=w_3$")


def equal_units() -> xr.Dataset:
    """Two tanh units with the same weights: exchanging them changes nothing, so they stay equal."""
    X, Y = np.array([[1.0, -0.5, 2.0]]), np.array([[1.0, 0.2, 0.6]])
    problem = Regression(Shallow((1, 2, 1), "tanh"), X, Y)
    zero = (np.zeros((2, 1)), np.zeros((1, 2)))
    plane = plane_through(gf.GradientFlow(problem), zero, ((np.ones((2, 1)), zero[1]), (zero[0], np.ones((1, 2)))),
                          ("$w_{11}=w_{12}$", "$w_{21}=w_{22}$"))  # fmt: skip
    held = phase_plane(plane, SQUARE, SQUARE, critical_points=_critical_on(plane, SQUARE),
                       starts=((-1.6, 1.2), (0.2, -1.7), (1.7, 0.2)), time_marks=(0.5, 2.0))  # fmt: skip
    return held.assign_attrs(title="two equal tanh units")


def _critical_on(plane, limits):
    """Critical points of the whole flow on an invariant plane: those of the flow on it, looked at in all parameters."""
    from gradflow.phase_planes import isolated_critical_points

    on_plane = parameter_plane(plane.restricted())
    lengths = plane.lengths
    found = isolated_critical_points(on_plane, *((limits[0] * length, limits[1] * length) for length in lengths))
    return [gf.classify(plane.flow.problem, plane.state(np.asarray(point.params) / lengths)) for point in found]


def three_critical_points() -> xr.Dataset:
    """The plane through a minimum and two saddles of a two-layer network whose hidden bases differ."""
    problem, flow, state = _modes(2)
    turn = np.array([[np.cos(1.0), -np.sin(1.0)], [np.sin(1.0), np.cos(1.0)]])
    top = float(np.sqrt(2.0))
    minimum = tuple(np.asarray(layer) for layer in state(top, 1.0))
    minimum = (turn @ minimum[0], minimum[1] @ turn.T)
    corners = [state(0.0, 0.0), state(top, 0.0), minimum]
    plane = plane_of_points(flow, *corners, labels=("towards the saddle of mode 1", "across, towards the minimum"))
    points = [gf.classify(problem, corner) for corner in corners]
    held = phase_plane(plane, (-1.0, 3.0), (-1.2, 2.8), critical_points=points,
                       starts=((2.6, 0.3), (0.4, -0.8), (-0.6, 1.5)))  # fmt: skip
    return held.assign_attrs(title="two linear layers: through three critical points")


def _example_1(outer: tuple[float, float], title: str, limits, starts, kinks=()) -> xr.Dataset:
    problem = Regression(Shallow((2, 1, 2), activation="relu"), np.eye(2), np.diag([2.0, 1.0]))
    nothing = np.zeros((2, 1))
    plane = plane_through(
        gf.GradientFlow(problem), (np.zeros((1, 2)), np.array(outer)[:, None]),
        ((np.array([[1.0, 0.0]]), nothing), (np.array([[0.0, 1.0]]), nothing)), ("$a_1$", "$a_2$"),
    )  # fmt: skip
    functions = {f"preactivation {j + 1}": (lambda params, j=j: params[0][0, j]) for j in range(2)}
    points = [gf.classify(problem, plane.state(place)) for place in kinks]
    held = phase_plane(plane, limits, limits, critical_points=points, starts=starts, functions=functions)
    return held.assign_attrs(title=title)


def relu_first() -> xr.Dataset:
    """Example 1 of paper 002 with the outer weights of its global minima."""
    return _example_1((float(np.sqrt(2.0)), 0.0), r"ReLU Example 1 at $A_2=(\sqrt{2},0)$", (-2.5, 2.5),
                      ((0.4, -2.0), (0.5, 2.2), (-2.0, 0.6), (2.2, 1.2)))  # fmt: skip


def relu_second() -> xr.Dataset:
    """Example 1 with the outer weights of its spurious minima."""
    return _example_1((0.0, 1.0), r"ReLU Example 1 at $A_2=(0,1)$", (-2.5, 2.5),
                      ((-2.0, 0.4), (0.6, 2.2), (0.5, -2.0), (2.2, 1.2)), kinks=((0.0, 1.0),))  # fmt: skip


PAGES: dict[str, tuple[Callable[[], xr.Dataset], ...]] = {
    "scalar_networks": (target_one, target_zero, weight_decay, balance_term),
    "escaping": (escaping_valley, tanh_reachable, tanh_at_edge, tanh_unreachable),
    "wells": (double_well, himmelblau, six_hump_camel, mueller_brown),
    "invariant_planes": (two_layer_modes, three_layer_modes, balanced_chain, equal_units),
    "slices": (excursion_across, excursion_along, chain_with_fixed_layer, three_critical_points),
    "relu_cones": (relu_first, relu_second),
}
"""The pages of the gallery, and the panels on each in reading order."""
