"""How a quantity changes along a flow: at a point, by central differences, and along short accurate runs."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from gradflow import activations
from gradflow.invariants.shallow import entrywise

STENCIL = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
STEP = 4e-3


def rate_of_change(flow, function, params):
    """``d function(params) / dt`` at `params` along the flow, see :func:`rate_along`."""
    return rate_along(flow.vector_field(params), function, params)


def rate_along(velocity, function, params):
    """The derivative of `function` along `velocity`, by central differences of sixth order.

    `function` must keep leading axes. Along the unit velocity the error is about 1e-13 relative (step^6 / 140 = 3e-17
    times the seventh derivative, and rounding 1e-16 / step).
    """
    pace = speed(velocity)
    offsets = np.array([step * side * STEP for step in STENCIL for side in (1, -1)])[:, None, None]
    rows = tuple(layer + offsets * np.asarray(move) / pace for layer, move in zip(params, velocity, strict=True))
    coefficients = np.array([STENCIL[step] * side for step in STENCIL for side in (1, -1)])
    return pace * np.tensordot(coefficients, np.asarray(function(rows)), 1) / STEP


def speed(velocity):
    return float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in velocity)))


def weights(rng, shapes, scale=1.0):
    return tuple(scale * rng.normal(size=shape) for shape in shapes)


def orthogonal_data(rng, d_in, distinct, repeats=0, signs=False, zeros=0):
    """`distinct` orthogonal columns of unlike lengths, some of them again (negated with `signs`), and zero columns."""
    columns = np.linalg.qr(rng.normal(size=(d_in, d_in)))[0][:, :distinct] * rng.uniform(0.5, 2.0, distinct)
    again = columns[:, rng.integers(distinct, size=repeats)]
    again = again * (rng.choice([-1.0, 1.0], repeats) if signs else 1.0)
    X = np.concatenate([columns, again, np.zeros((d_in, zeros))], axis=1)
    return X[:, rng.permutation(X.shape[1])]


def states(flow, params0, times, rtol=1e-12, method="DOP853"):
    """Weights with a leading time axis at `times` (increasing, from 0 on)."""
    shapes = [np.shape(layer) for layer in params0]
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    start = np.concatenate([np.ravel(layer) for layer in params0])
    with jax.enable_x64(True):
        solution = solve_ivp(
            lambda _, flat: np.asarray(_field(flow, tuple(shapes), flat)), (0.0, times[-1]), start, method=method,
            rtol=rtol, atol=1e-2 * rtol, t_eval=times,
        )  # fmt: skip
    parts = np.split(solution.y.T, cuts, axis=1)
    return tuple(part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True))


@eqx.filter_jit
def _field(flow, shapes, flat):
    sizes = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    layers = tuple(part.reshape(shape) for part, shape in zip(jnp.split(flat, sizes), shapes, strict=True))
    return jnp.concatenate([jnp.ravel(leaf) for leaf in flow.vector_field(layers)])


def shallow_velocity(activation, output_activation, X, Y, layers):
    """Eqs. (29)-(30) with X: ``dW_1/dt = [S1' o W_2^T (M o S2')] X^T``, ``dW_2/dt = (M o S2') S1^T``, in NumPy."""
    first, second = activations.get(activation), activations.get(output_activation)
    with jax.enable_x64(True):
        hidden = layers[0] @ X
        S1, slope1 = (np.asarray(entrywise(f, hidden)) for f in (first, first.derivative))
        outputs = layers[1] @ S1
        values, slope2 = (np.asarray(entrywise(f, outputs)) for f in (second, second.derivative))
        signal = (Y - values) * slope2
    return (slope1 * (layers[1].T @ signal)) @ X.T, signal @ S1.T


def linear_velocity(X, Y, layers, strength=0.0, gram=None):
    """Minus the gradient of half the squared error plus ``strength/4 sum_j ||E_j||^2``, for linear networks."""
    before = [X]
    for layer in layers:
        before.append(layer @ before[-1])
    signal, velocity = Y - before[-1], []
    for layer, prefix in zip(reversed(layers), reversed(before[:-1]), strict=True):
        velocity.insert(0, signal @ prefix.T)
        signal = layer.T @ signal
    weighted = [layers[0] @ (np.eye(len(X)) if gram is None else gram), *layers[1:]]
    for index in range(len(layers) - 1):
        defect = layers[index + 1].T @ layers[index + 1] - weighted[index] @ layers[index].T
        velocity[index] = velocity[index] + strength * defect @ weighted[index]
        velocity[index + 1] = velocity[index + 1] - strength * layers[index + 1] @ defect
    return tuple(velocity)
