"""SciPy's `solve_ivp`, stopped by an event on the gradient norm, one start after another."""

import numpy as np

from peers import Method, Outcome


def _build(name):
    def build(problem, rtol, starts, times):
        from scipy.integrate import solve_ivp

        del times

        def field(_, y):
            return problem.velocity_rows(y)

        def quiet(_, y):
            return np.linalg.norm(problem.velocity_rows(y)) - problem.grad_tol

        quiet.terminal, quiet.direction = True, -1

        def run():
            ends, stops = [], []
            for start in starts:
                run = solve_ivp(field, (0.0, problem.t1), start, method=name, rtol=rtol, atol=1e-3 * rtol, events=quiet)
                ends.append(run.y[:, -1])
                stops.append(run.t[-1])
            return Outcome(np.array(ends), np.array(stops))

        return run

    return build


METHODS = (
    Method("scipy-rk45", "SciPy RK45", "scipy", _build("RK45")),
    Method("scipy-lsoda", "SciPy LSODA", "scipy", _build("LSODA")),
)
