"""Which kernel computes a flow, and why."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import diffrax
import jax
import numpy as np

from gradflow import checks
from gradflow.flow import AbstractFlow
from gradflow.solvers import make_solver

KERNELS = ("auto", "native", "xla")


class AbstractKernel(Protocol):
    """Takes starts to their ends; see :mod:`gradflow.ensemble.orders` for the columns."""

    def __call__(self, starts: np.ndarray, orders: np.ndarray, settings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ends ``(num, size)`` and facts ``(num, facts)``."""


def make_kernel(
    function: Callable[[Any], Any], size: int, kernel: str = "auto", width: int | None = None
) -> tuple[AbstractKernel, str]:
    """A kernel for ``function: (n,) -> (n,)``, and in words which one and why.

    Raises:
        InputError: an unknown name, or the native kernel is asked for and has no instructions for the function.
    """
    chosen = checks.choice("kernel", kernel, KERNELS)
    if width is not None:
        checks.integer("width", width)
        checks.require(width & (width - 1) == 0, "width", "be a power of two", width)
    if chosen == "xla" or (chosen == "auto" and jax.default_backend() != "cpu"):
        return _compiled(function, size, width), "xla, asked for" if chosen == "xla" else "xla, for the accelerator"
    native, reason = _native(function, size, width)
    if native is not None:
        return native, "native"
    checks.require(chosen == "auto", "kernel", "be 'xla' or 'auto' for this problem", "'native'", f"Reason: {reason}.")
    return _compiled(function, size, width), f"xla, since {reason}"


def _native(function: Callable[[Any], Any], size: int, width: int | None) -> tuple[AbstractKernel | None, str]:
    """The native kernel, or why there is none: whatever goes wrong there, JAX's own compiler can do it."""
    try:
        from gradflow.ensemble.native.arrays import Unsupported
        from gradflow.ensemble.native.library import Kernel
    except (ImportError, OSError) as error:
        return None, f"llvmlite cannot be used here: {error}"
    try:
        return Kernel(function, size, width), ""
    except Unsupported as error:
        return None, f"the native kernel has no instructions for: {error}"
    except Exception as error:
        return None, f"the native kernel could not be written: {type(error).__name__}: {error}"


def _compiled(function: Callable[[Any], Any], size: int, width: int | None) -> AbstractKernel:
    from gradflow.ensemble.xla.kernel import Kernel
    from gradflow.ensemble.xla.methods import Tsit5Lanes

    with jax.enable_x64(True):
        return Kernel(Tsit5Lanes(function, size), size, width)


def make_solver_kernel(
    flow: AbstractFlow, size: int, solver: str | diffrax.AbstractSolver, rtol: float, kernel: str, width: int | None
) -> tuple[AbstractKernel, str]:
    """A kernel whose lanes are stepped by that solver, mapped over them; `flow` is on flat vectors.

    Raises:
        InputError: an unknown solver, one whose steps stability limits, or the native kernel, which knows Tsit5 only.
    """
    from gradflow.ensemble.xla.kernel import Kernel
    from gradflow.ensemble.xla.methods import SolverLanes

    checks.require(checks.choice("kernel", kernel, KERNELS) != "native", "kernel", "be 'xla' or 'auto' for that solver",
                   "'native'", "The native kernel knows Tsit5 only.")  # fmt: skip
    with jax.enable_x64(True):
        method = SolverLanes(flow, make_solver(solver, rtol))
    checks.require(
        method.limit == math.inf, "solver", "be 'tsit5' or a solver for stiff flows", type(method.solver).__name__,
        "Its steps would have to be capped; among the explicit ones 'rkc2' and 'rkl2' see to that themselves.",
    )  # fmt: skip
    return Kernel(method, size, width), f"xla, for {type(method.solver).__name__}"
