"""Synthetic data: inputs from a stated law, targets from a linear teacher network plus noise."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradflow import checks
from gradflow.datasets.dataset import Dataset

INPUT_LAWS = ("gaussian", "whitened")
"""Independent N(0, 1) entries (so ``X X^T`` is about the number of samples times I), or those made to ``X X^T = I``."""


def teacher_student(
    key: Any,
    widths: Sequence[int],
    num_samples: int,
    noise: float = 0.0,
    teacher_scale: float = 1.0,
    input_law: str | Callable[[Any, int, int], Any] = "gaussian",
) -> Dataset:
    """Targets ``Y = T_L ... T_1 X + noise * N(0, 1)`` of a linear teacher, whose weights are the field `teacher`.

    The teacher's entries are ``N(0, teacher_scale^2 / fan-in)`` (:class:`gradflow.initial_laws.FanIn`), so a target
    entry has about the size of ``teacher_scale^L`` times an input entry. Its map has rank ``min(widths)``: a narrow
    hidden layer makes a low-rank target. The three draws use separate keys: changing the noise changes neither the
    inputs nor the teacher.

    Args:
        key: a JAX key or a non-negative integer seed.
        widths: the teacher's widths ``(d_0, ..., d_L)``; the student may have others between d_0 and d_L.
        num_samples: number of columns of X and Y.
        noise: standard deviation of the independent normal noise on each target entry.
        teacher_scale: gain of each teacher layer.
        input_law: "gaussian", "whitened" (needs ``num_samples >= d_0``), or a function
            ``(key, d_0, num_samples) -> X``.

    Raises:
        InputError: widths or numbers out of range, an unknown input law, too few samples to whiten.
    """
    import jax

    from gradflow.initial_laws import FanIn, as_key

    widths = checks.widths(widths)
    num_samples = checks.integer("num_samples", num_samples)
    noise = checks.real("noise", noise, at_least=0.0)
    law = FanIn(checks.real("teacher_scale", teacher_scale, above=0.0))
    if isinstance(input_law, str):
        checks.choice("input_law", input_law, INPUT_LAWS)
    teacher_key, input_key, noise_key = jax.random.split(as_key(key), 3)

    shapes = tuple(zip(widths[1:], widths[:-1], strict=True))
    teacher = tuple(np.asarray(weight) for weight in law.sample(teacher_key, shapes))
    X = _inputs(input_key, widths[0], num_samples, input_law)
    Y = X
    for weight in teacher:
        Y = weight @ Y
    law_name = input_law if isinstance(input_law, str) else getattr(input_law, "__name__", "custom")
    return Dataset(
        X,
        Y + noise * _normal(noise_key, widths[-1], num_samples) if noise else Y,
        name="teacher_student",
        description=f"Linear teacher of widths {widths} and gain {law.gain:g}, {law_name} inputs, noise {noise:g}.",
        teacher=teacher,
    )


def _inputs(key: Any, d_in: int, num_samples: int, law: str | Callable[[Any, int, int], Any]) -> np.ndarray:
    if callable(law):
        X = checks.finite_array("input_law(key, d_in, num_samples)", law(key, d_in, num_samples), ndim=2)
        checks.require(X.shape == (d_in, num_samples), "input_law", f"return shape {(d_in, num_samples)}", X.shape)
        return X
    X = _normal(key, d_in, num_samples)
    if law == "gaussian":
        return X
    checks.require(
        num_samples >= d_in, "num_samples", f"be at least d_in = {d_in} for whitened inputs", f"{num_samples}"
    )
    left, _, right = np.linalg.svd(X, full_matrices=False)
    return left @ right


def _normal(key: Any, rows: int, columns: int) -> np.ndarray:
    from gradflow.initial_laws import Gaussian

    return np.asarray(Gaussian(1.0).sample(key, ((rows, columns),))[0])
