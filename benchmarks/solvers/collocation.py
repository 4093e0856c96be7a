"""Radau IIA collocation of order 17 in extended precision, for reference solutions of stiff flows.

Nine stages, coefficients from mpmath; stage equations are solved to the last digit of NumPy's longdouble with a frozen
double-precision Jacobian, factorised once a step for each eigenvalue of the method's matrix. Steps are given, not
chosen: convergence is judged by halving them. Knows fields, not problems.
"""

from collections.abc import Callable
from functools import cache

import mpmath
import numpy as np
import scipy.linalg

STAGES = 9
MAX_ITERATIONS = 80

Field = Callable[[np.ndarray], np.ndarray]


@cache
def radau(stages: int = STAGES) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (s,) and matrix (s, s) of Radau IIA as longdoubles."""
    with mpmath.workdps(60):
        legendre = [mpmath.mpf(1)], [mpmath.mpf(-1), mpmath.mpf(2)]
        for k in range(1, stages):
            before, now = legendre
            after = [mpmath.mpf(0)] * (k + 2)
            for power, value in enumerate(now):
                after[power + 1] += mpmath.mpf(2 * (2 * k + 1)) / (k + 1) * value
                after[power] -= mpmath.mpf(2 * k + 1) / (k + 1) * value
            for power, value in enumerate(before):
                after[power] -= mpmath.mpf(k) / (k + 1) * value
            legendre = now, after
        lower, upper = legendre
        polynomial = [u - (lower[i] if i < len(lower) else 0) for i, u in enumerate(upper)]
        nodes = sorted(mpmath.re(root) for root in mpmath.polyroots(polynomial[::-1], 200, extraprec=400))
        vandermonde = mpmath.matrix(stages, stages)
        integrals = mpmath.matrix(stages, stages)
        for i, node in enumerate(nodes):
            for j in range(stages):
                vandermonde[i, j] = node**j
                integrals[i, j] = node ** (j + 1) / (j + 1)
        matrix = integrals * vandermonde**-1
        to_long = lambda value: np.longdouble(mpmath.nstr(value, 30))  # noqa: E731
        return (np.array([to_long(node) for node in nodes]),
                np.array([[to_long(matrix[i, j]) for j in range(stages)] for i in range(stages)]))  # fmt: skip


def integrate(field: Field, jacobian: Field, start: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The state after the given steps, in longdouble."""
    state = np.asarray(start, np.longdouble)
    for step in steps:
        state = _taken(field, jacobian, state, np.longdouble(step))
    return state


def _taken(field: Field, jacobian: Field, state: np.ndarray, step: np.longdouble, depth: int = 0) -> np.ndarray:
    """One step, or as many shorter ones as the iteration needs to converge."""
    change = _stages(field, jacobian, state, step)
    if change is not None:
        return state + change[-1]
    if depth > 20:
        raise ArithmeticError(f"the stage equations cannot be solved at step {float(step):.3g}")
    return _taken(field, jacobian, _taken(field, jacobian, state, step / 2, depth + 1), step / 2, depth + 1)


def _stages(field: Field, jacobian: Field, state: np.ndarray, step: np.longdouble) -> np.ndarray | None:
    _, matrix = radau()
    rates, vectors = np.linalg.eig(matrix.astype(np.float64))
    inverse = np.linalg.inv(vectors)
    slope = jacobian(state.astype(np.float64))
    eye = np.eye(state.size)
    factors = [scipy.linalg.lu_factor(eye - float(step) * rate * slope) for rate in rates]
    change = np.zeros((len(rates), state.size), np.longdouble)
    size, best, stuck = float(np.max(np.abs(state))), np.inf, 0
    for _ in range(MAX_ITERATIONS):
        speeds = np.array([field(state + row) for row in change])
        defect = (change - step * (matrix @ speeds)).astype(np.float64)
        turned = inverse @ defect
        solved = np.array([scipy.linalg.lu_solve(factor, row) for factor, row in zip(factors, turned, strict=True)])
        move = (vectors @ solved).real
        change = change - move
        moved = float(np.max(np.abs(move))) / size
        if not np.isfinite(moved):
            return None
        stuck = 0 if moved < 0.5 * best else stuck + 1
        best = min(best, moved)
        if moved < 1e-18 or (stuck >= 3 and best < 3e-17):
            return change
        if stuck >= 6:
            return None
    return None
