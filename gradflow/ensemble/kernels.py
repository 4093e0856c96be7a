"""Which kernel computes a flow, and why."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from gradflow import checks

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

    return Kernel(function, size, width)
