"""The problems of the solvers' benchmark: gradient flows with a start and a horizon, known to no solver.

Every problem is a flow of gradflow for whatever runs on JAX, and the same field and Jacobian on flat NumPy vectors,
written by hand, for whatever calls Python. Starts and data have fixed keys. The flat vector holds the parameters
row-major in acting order, as ``jax.flatten_util.ravel_pytree`` does.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import detest
import fields
import numpy as np

import gradflow as gf

Field = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Problem:
    """A gradient flow ``y' = -grad L(y)`` from `start` over [0, t1].

    `velocity` and `jacobian` take and return flat NumPy vectors and matrices; `jacobian` is None where nobody would
    write it by hand, and callers then compile the flow's Hessian. `why` says what the problem is there for. `radius` is
    about the spectral radius of the Hessian along most of the way.
    """

    name: str
    title: str
    why: str
    is_stiff: bool
    problem: Any
    params0: Any
    t1: float
    velocity: Field
    jacobian: Field | None = None
    radius: float = 10.0

    @property
    def stiffness(self) -> float:
        """``rho t1``, rho the spectral radius of the Hessian: about twice the steps of explicit Euler."""
        return self.radius * self.t1

    @property
    def flow(self) -> gf.GradientFlow:
        """The flow on the parameters' own shapes."""
        return gf.GradientFlow(self.problem)

    @cached_property
    def start(self) -> np.ndarray:
        """The start as a flat vector."""
        return self.flat(self.params0)

    @property
    def dim(self) -> int:
        """Number of parameters."""
        return self.start.size

    @property
    def scale(self) -> float:
        """Norm of the start, the least size against which an error counts."""
        return float(np.linalg.norm(self.start))

    @staticmethod
    def flat(params: Any) -> np.ndarray:
        """Parameters of any shapes as a flat vector."""
        parts = params if isinstance(params, tuple) else (params,)
        return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])

    def split(self, flat: Any) -> Any:
        """A flat vector, NumPy's or JAX's, in the parameters' shapes."""
        if not isinstance(self.params0, tuple):
            return flat
        parts, begin = [], 0
        for like in self.params0:
            parts.append(flat[begin : begin + like.size].reshape(like.shape))
            begin += like.size
        return tuple(parts)


def error_of(problem: Problem, exact: np.ndarray, end: np.ndarray) -> float:
    """``||end - exact|| / max(||exact||, ||start||)``: many problems end near zero, where a relative error is none."""
    return float(np.linalg.norm(end - exact) / max(np.linalg.norm(exact), problem.scale))


def _regression(network: Any, inputs: np.ndarray, targets: np.ndarray, **options: Any) -> gf.Regression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gf.Regression(network, inputs, targets, **options)


def _linear(name: str, problem: gf.Regression, params0: Any, t1: float, **words: Any) -> Problem:
    velocity = fields.linear_velocity(
        tuple(problem.network.shapes), np.asarray(problem.statistics.root), np.asarray(problem.statistics.target)
    )
    params0 = tuple(np.asarray(layer, np.float64) for layer in params0)
    return Problem(name, problem=problem, params0=params0, t1=t1, velocity=velocity, **words)


def deep_linear() -> Problem:
    """A: widths 4-4-4-2, target [diag(2, 1) 0], weights N(0, 0.5^2), until it has settled."""
    target = np.hstack([np.diag([2.0, 1.0]), np.zeros((2, 2))])
    problem = _regression(gf.networks.Linear((4, 4, 4, 2)), np.eye(4), target)
    return _linear(
        "A", problem, problem.init(0, scale=0.5), 60.0,
        title="deep linear network 4-4-4-2, 40 parameters, t = 60", is_stiff=False,
        why="the small deep linear network of the ensembles' benchmark, followed until it has settled",
    )  # fmt: skip


CONDITION = 1e3


def digits_data() -> tuple[np.ndarray, np.ndarray]:
    """Digits with ill-conditioned pixels: X (64, 1797) and one-hot Y (10, 1797).

    The singular vectors of X are those of scikit-learn's pixels; its 61 nonzero singular values (three pixels are
    always dark) are replaced, in their order, by a geometric sequence with ratio 1e3 from first to last, the first
    such that ``X X^T / n`` has largest eigenvalue 1.
    """
    from sklearn.datasets import load_digits

    pictures, classes = load_digits(return_X_y=True)
    left, values, right = np.linalg.svd(pictures.T, full_matrices=False)
    rank = int(np.sum(values > 1e-10 * values[0]))
    spectrum = np.sqrt(len(classes)) * np.geomspace(1.0, 1.0 / CONDITION, rank)
    return (left[:, :rank] * spectrum) @ right[:rank], np.eye(10)[classes].T


def digits() -> Problem:
    """digits: deep linear network 64-32-16-10 on ill-conditioned digits, mean loss, weights N(0, 0.2^2)."""
    problem = _regression(gf.networks.Linear((64, 32, 16, 10)), *digits_data(), normalization="mean")
    return _linear(
        "digits", problem, problem.init(1, scale=0.2), 1e4,
        title="deep linear network 64-32-16-10 on digits of condition number 1e3, 2720 parameters, t = 1e4",
        is_stiff=True,
        why="many parameters and rates spread over 1e6: too large for cheap factorisations, too stiff for Runge-Kutta",
    )  # fmt: skip


def chain() -> Problem:
    """chain: ``1/2 (1 - w_5 ... w_1)^2`` from small weights: a plateau until t = 250 or so, then a fast passage."""
    problem = gf.model_problems.scalar_chain(5, 1.0)
    start = tuple(np.full((1, 1), value) for value in (0.09, 0.1, 0.11, 0.12, 0.13))
    return _linear(
        "chain", problem, start, 600.0,
        title="scalar chain of five layers (H = 4), t = 600", is_stiff=False,
        why="a plateau near a degenerate saddle, then a fast passage: steps must grow and shrink again",
    )  # fmt: skip


def tanh() -> Problem:
    """tanh: student 10-20-5 of a teacher of the same widths, 150 Gaussian samples, mean loss, weights N(0, 0.5^2)."""
    rng = np.random.default_rng(5)
    inputs = rng.standard_normal((10, 150))
    first, second = rng.normal(0.0, 0.5, (20, 10)), rng.normal(0.0, 0.5, (5, 20))
    outputs = second @ np.tanh(first @ inputs)
    problem = _regression(gf.networks.Shallow((10, 20, 5), "tanh"), inputs, outputs, normalization="mean")
    start = (rng.normal(0.0, 0.5, (20, 10)), rng.normal(0.0, 0.5, (5, 20)))
    return Problem(
        "tanh", "tanh network 10-20-5, teacher and student, 300 parameters, t = 1e6",
        "slow modes decay 8 000 times slower than fast ones until the loss is rounding; rest for most of the time",
        True, problem, start, 1e6, fields.shallow_velocity(inputs, outputs, 20),
    )  # fmt: skip


def valley() -> Problem:
    """h: ``x^2/2 + (1 - x y)^2/2`` from (1/2, 1/2): escapes like ``y ~ (4 t)^(1/4)``, stiffness y^2."""
    return Problem(
        "h", "escaping valley x^2/2 + (1 - xy)^2/2, t = 1e8",
        "two parameters, eight decades of time, an end that is not at rest",
        True, gf.model_problems.escaping_valley().problem, np.array([0.5, 0.5]), 1e8,
        fields.valley_velocity, fields.valley_jacobian, 2e4,
    )  # fmt: skip


def residual() -> Problem:
    """residual: ``networks.Residual(6, 3, 2)``, width 6, three units of two layers, weights N(0, 0.3^2).

    The three numbers are read in the order of the class's arguments: dim, units, depth. Targets are a random
    well-conditioned linear map of 12 Gaussian samples, with noise 0.1; mean loss.
    """
    rng = np.random.default_rng(7)
    inputs = rng.standard_normal((6, 12))
    outputs = (np.eye(6) + 0.3 * rng.standard_normal((6, 6))) @ inputs + 0.1 * rng.standard_normal((6, 12))
    problem = _regression(gf.networks.Residual(6, 3, 2), inputs, outputs, normalization="mean")
    start = tuple(rng.normal(0.0, 0.3, (6, 6)) for _ in range(6))
    return Problem(
        "residual", "linear residual network 6x3x2 (width, units, layers a unit), 216 parameters, t = 100",
        "shortcuts, middling size, an ordinary run of some hundred steps",
        False, problem, start, 100.0, fields.residual_velocity(inputs, outputs, 3),
    )  # fmt: skip


def _of_detest(case: detest.Case) -> Problem:
    return Problem(
        case.name, f"DETEST {case.group} {case.letter}: {case.words}, t = {case.t1:g}",
        "a classical test problem that is a gradient system", case.is_stiff,
        gf.Landscape(case.potential, name=case.name), case.start, case.t1, case.velocity, case.jacobian,
        float(np.linalg.norm(case.jacobian(case.start), 2)),
    )  # fmt: skip


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "A": deep_linear,
    "digits": digits,
    "chain": chain,
    "tanh": tanh,
    "h": valley,
    "residual": residual,
    **{case.name: (lambda case=case: _of_detest(case)) for case in detest.CASES},
}
"""Makers of the problems by name."""


@cache
def get(name: str) -> Problem:
    """The problem of that name."""
    return PROBLEMS[name]()
