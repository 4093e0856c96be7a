"""The problems of DETEST and STIFF DETEST that are gradient systems, with their potentials.

A system ``y' = f(y)`` is a gradient flow when its Jacobian is symmetric. Of DETEST's 25 problems that leaves A1, A2,
A4, B2, C3 and C4, of STIFF DETEST's 30 A1 and A4: the others depend on time, or have Jacobians that are not symmetric
(STIFF A2 becomes symmetric after a change of scale, that is, in another metric). Fields are given as in the papers,
apart from the potentials, so that the one checks the other.

Source: Hull, Enright, Fellen and Sedgwick, SIAM J. Numer. Anal. 9 (1972) 603-637; Enright, Hull and Lindberg, BIT 15
(1975) 10-48; Enright and Pryce, ACM TOMS 13 (1987) 1-27.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

Field = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A test problem: the paper's field and Jacobian, the potential whose gradient flow it is, start and horizon."""

    name: str
    group: str
    letter: str
    words: str
    is_stiff: bool
    potential: Callable[[Any], Any]
    velocity: Field
    jacobian: Field
    start: np.ndarray
    t1: float
    solution: Callable[[float], np.ndarray] | None = None


def _linear(matrix: np.ndarray) -> tuple[Callable[[Any], Any], Field, Field]:
    """Potential, field and Jacobian of ``y' = M y`` with M symmetric."""
    matrix = np.asarray(matrix, np.float64)
    return lambda y: -0.5 * jnp.dot(y, jnp.asarray(matrix) @ y), lambda y: matrix @ y, lambda _: matrix


def _diagonal(rates: np.ndarray) -> tuple[Callable[[Any], Any], Field, Field]:
    """The same for ``y_i' = -r_i y_i``."""
    rates = np.asarray(rates, np.float64)
    matrix = np.diag(-rates)
    return lambda y: 0.5 * jnp.sum(jnp.asarray(rates) * y * y), lambda y: -rates * y, lambda _: matrix


def _second_differences(count: int) -> np.ndarray:
    return -2.0 * np.eye(count) + np.eye(count, k=1) + np.eye(count, k=-1)


def _exponential(matrix: np.ndarray, start: np.ndarray) -> Callable[[float], np.ndarray]:
    """``exp(t M) start`` for a symmetric M."""

    def solution(time: float) -> np.ndarray:
        rates, vectors = np.linalg.eigh(matrix)
        return vectors @ (np.exp(time * rates) * (vectors.T @ start))

    return solution


def _unit(count: int) -> np.ndarray:
    return np.eye(count)[0]


_B2 = np.array([[-1.0, 1.0, 0.0], [1.0, -2.0, 1.0], [0.0, 1.0, -1.0]])
_STIFF_A1 = np.array([0.5, 1.0, 100.0, 90.0])
_STIFF_A4 = np.arange(1.0, 11.0) ** 5

CASES = (
    Case("detest-A1", "nonstiff", "A1", "y' = -y", False, *_diagonal(np.ones(1)), np.ones(1), 20.0,
         lambda t: np.exp([-t])),
    Case("detest-A2", "nonstiff", "A2", "y' = -y^3/2", False, lambda y: jnp.sum(y**4) / 8,
         lambda y: -0.5 * y * y * y, lambda y: np.array([[-1.5 * y[0] * y[0]]]), np.ones(1), 20.0,
         lambda t: np.array([(1.0 + t) ** -0.5])),
    Case("detest-A4", "nonstiff", "A4", "y' = y/4 (1 - y/20)", False, lambda y: jnp.sum(y**3 / 240 - y**2 / 8),
         lambda y: 0.25 * y * (1.0 - 0.05 * y), lambda y: np.array([[0.25 - 0.025 * y[0]]]), np.ones(1), 20.0,
         lambda t: np.array([20.0 / (1.0 + 19.0 * np.exp(-0.25 * t))])),
    Case("detest-B2", "nonstiff", "B2", "a linear chemical reaction, 3 species", False, *_linear(_B2),
         np.array([2.0, 0.0, 1.0]), 20.0, _exponential(_B2, np.array([2.0, 0.0, 1.0]))),
    Case("detest-C3", "nonstiff", "C3", "heat in a rod of 10 points", False, *_linear(_second_differences(10)),
         _unit(10), 20.0, _exponential(_second_differences(10), _unit(10))),
    Case("detest-C4", "nonstiff", "C4", "heat in a rod of 51 points", False, *_linear(_second_differences(51)),
         _unit(51), 20.0, _exponential(_second_differences(51), _unit(51))),
    Case("detest-stiff-A1", "stiff", "A1", "four rates from 0.5 to 100", True, *_diagonal(_STIFF_A1), np.ones(4), 20.0,
         lambda t: np.exp(-t * _STIFF_A1)),
    Case("detest-stiff-A4", "stiff", "A4", "ten rates from 1 to 1e5", True, *_diagonal(_STIFF_A4), np.ones(10), 1.0,
         lambda t: np.exp(-t * _STIFF_A4)),
)  # fmt: skip
"""Every case, in the papers' order."""
