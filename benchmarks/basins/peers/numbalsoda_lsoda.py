"""numbalsoda: LSODA with compiled fields and no Python in the loop. It has no stop test and runs each start to t1."""

import numpy as np

from peers import Method, Outcome, Unavailable


def _deep_linear(problem):
    """A compiled ``field(t, y, out, data)`` of the three-layer linear network, from its narrow end."""
    from numba import cfunc
    from numbalsoda import lsoda_sig

    target = problem.data["target"]
    (hidden, inputs), _, (outputs, _) = problem.shapes
    second, third = hidden * inputs, hidden * inputs + hidden * hidden

    @cfunc(lsoda_sig, fastmath=True)
    def field(_, y, out, __):
        for d in range(third + outputs * hidden):
            out[d] = 0.0
        product, back = np.zeros(hidden), np.zeros(hidden)
        for i in range(outputs):
            for j in range(hidden):
                product[j] = back[j] = 0.0
            for k in range(hidden):
                for j in range(hidden):
                    product[j] += y[third + i * hidden + k] * y[second + k * hidden + j]
            for j in range(inputs):
                residual = target[i, j]
                for k in range(hidden):
                    residual -= product[k] * y[k * inputs + j]
                for k in range(hidden):
                    out[k * inputs + j] += product[k] * residual
                    back[k] += residual * y[k * inputs + j]
            for k in range(hidden):
                value = 0.0
                for j in range(hidden):
                    value += back[j] * y[second + k * hidden + j]
                    out[second + k * hidden + j] += y[third + i * hidden + k] * back[j]
                out[third + i * hidden + k] = value

    return field


def _hyperbola(problem):
    from numba import cfunc
    from numbalsoda import lsoda_sig

    del problem

    @cfunc(lsoda_sig, fastmath=True)
    def field(_, y, out, __):
        residual = 1.0 - y[0] * y[1]
        out[0], out[1] = residual * y[1], residual * y[0]

    return field


def _shallow(problem):
    from numba import cfunc
    from numbalsoda import lsoda_sig

    X, Y = problem.data["inputs"], problem.data["outputs"]
    (hidden, inputs), (outputs, _) = problem.shapes
    samples, second = X.shape[1], hidden * inputs

    @cfunc(lsoda_sig, fastmath=True)
    def field(_, y, out, __):
        for d in range(second + outputs * hidden):
            out[d] = 0.0
        active, residual = np.zeros(hidden), np.zeros(outputs)
        for n in range(samples):
            for k in range(hidden):
                value = 0.0
                for j in range(inputs):
                    value += y[k * inputs + j] * X[j, n]
                active[k] = np.tanh(value)
            for i in range(outputs):
                value = Y[i, n]
                for k in range(hidden):
                    value -= y[second + i * hidden + k] * active[k]
                residual[i] = value / samples
                for k in range(hidden):
                    out[second + i * hidden + k] += residual[i] * active[k]
            for k in range(hidden):
                back = 0.0
                for i in range(outputs):
                    back += y[second + i * hidden + k] * residual[i]
                back *= 1.0 - active[k] * active[k]
                for j in range(inputs):
                    out[k * inputs + j] += back * X[j, n]

    return field


_FIELDS = {"A": _deep_linear, "B": _hyperbola, "C": _deep_linear, "D": _shallow}


def _build(problem, rtol, starts, times):
    del times
    try:
        from numba import njit
        from numbalsoda import lsoda
    except ImportError as error:
        raise Unavailable(f"numbalsoda cannot be imported: {error}") from error
    address = _FIELDS[problem.name](problem).address
    span = np.array([0.0, problem.t1])

    @njit
    def follow(rows):
        ends = np.empty_like(rows)
        data = np.zeros(1)
        for i in range(len(rows)):
            states, _ = lsoda(address, rows[i], span, data, rtol, 1e-3 * rtol, 10_000_000)
            ends[i] = states[1]
        return ends

    follow(starts[:2])
    return lambda: Outcome(follow(starts), np.full(len(starts), problem.t1))


METHODS = (Method("numbalsoda", "numbalsoda LSODA, run to t1", "numbalsoda", _build, measured_on_two=True),)
