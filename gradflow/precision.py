"""Double precision wherever a user meets the program, without touching the user's JAX configuration.

:func:`in_double` runs a public function under ``jax.enable_x64(True)``. When the user's own setting is single
precision the float64 arrays come back as NumPy arrays, because JAX would silently truncate a float64
``jax.Array`` in the next operation outside the scope; NumPy keeps every digit. Inside a trace the
function runs as it is: the precision of a trace belongs to whoever started it.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gradflow import checks

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

SINGLE_RTOL = 100 * float(np.finfo(np.float32).eps)


def in_double(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, computing in double precision whatever ``jax_enable_x64`` says."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if _is_double() or _is_tracing(args, kwargs):
            return function(*args, **kwargs)
        with jax.enable_x64(True):
            return _to_numpy(function(*args, **kwargs))

    return wrapped


def as_params(params: Any, rtol: float | None = None, name: str = "params0") -> Any:
    """`params` as a pytree of float64 JAX arrays, every leaf finite; raises as :func:`as_arrays` does."""
    return jax.tree.map(jnp.asarray, as_arrays(params, rtol, name))


def as_arrays(params: Any, rtol: float | None = None, name: str = "params0") -> Any:
    """`params` as a pytree of float64 NumPy arrays, every leaf finite; leaves that are being traced stay as they are.

    Raises:
        InputError: a leaf is NaN, infinite or text, or a leaf is single precision while `rtol` asks for more
            digits than it has.
    """
    leaves, structure = jax.tree.flatten(params)
    checks.require(len(leaves) > 0, name, "have at least one array", "an empty pytree")
    converted: list[Any] = []
    for index, leaf in enumerate(leaves):
        if isinstance(leaf, jax.core.Tracer):
            converted.append(leaf)
            continue
        label = name if len(leaves) == 1 else f"{name}[{index}]"
        array = np.asarray(leaf)
        if rtol is not None and array.dtype.kind == "f" and array.dtype.itemsize < 8:
            checks.require(
                rtol >= SINGLE_RTOL,
                "rtol",
                f"be at least {SINGLE_RTOL:.1e} for a start in {array.dtype} (`{label}`)",
                f"{rtol:g}",
                'Pass float64 NumPy arrays, or put jax.config.update("jax_enable_x64", True) first.',
            )
        converted.append(checks.finite_array(label, array))
    return jax.tree.unflatten(structure, converted)


def on_device(tree: T) -> T:
    """`tree` with its NumPy arrays on the device: once, not with every call of something compiled."""
    leaves, structure = jax.tree.flatten(tree)
    places = [index for index, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray)]
    for index, moved in zip(places, jax.device_put([leaves[index] for index in places]), strict=True):
        leaves[index] = moved
    result: T = jax.tree.unflatten(structure, leaves)
    return result


def _is_double() -> bool:
    return bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]


def require_concrete(function: str, *trees: Any) -> None:
    """Nothing, outside of a trace.

    Raises:
        InputError: a leaf is a tracer: `function` decides on numbers, and compiles its own loops.
    """
    checks.require(
        not _is_tracing(trees, {}), function, "be called with numbers", "a value that JAX is tracing",
        "Call it outside of jax.jit, jax.vmap and jax.grad; it compiles what it needs.",
    )  # fmt: skip


def _is_tracing(args: Any, kwargs: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((args, kwargs)))


def _to_numpy(tree: Any) -> Any:
    def convert(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and leaf.dtype == jnp.float64:
            array = np.asarray(leaf)
            return array[()] if array.ndim == 0 else array
        return leaf

    return tree if isinstance(tree, eqx.Module) else jax.tree.map(convert, tree)
