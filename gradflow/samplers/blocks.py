"""Blocks of starts: an index array of any length is computed in compiled blocks of one fixed size.

A sampler is compiled once. The bits of start i depend neither on the other indices asked for nor on their order,
because every block has the same size (XLA may round a batch of 1 otherwise) and every start its own key. Everything
runs on the host's CPU, whatever the default device is, and in double precision. Knows neither laws nor designs.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt32

from gradflow import checks
from gradflow.initial_laws import as_key
from gradflow.types import Params

MAX_BLOCK = 16384
"""Starts in a block when they have few parameters; the fastest size measured for two."""

_BLOCK_NUMBERS = 65536
_LAPACK = re.compile(r"= (svd|qr|geqrf|geqp3|householder_product|eigh?|schur|hessenberg|tridiagonal|lu|cholesky)\b")
_IMPLEMENTATION = "threefry2x32"


def start_key(key: jax.Array, high: Any, low: Any) -> jax.Array:
    """The key of start number ``2^32 high + low``: ``fold_in(fold_in(key, high), low)``; traceable.

    Two indices below 2^32 never share a key, since folding is a bijection of the words; any two share one with
    probability 2^-64.
    """
    return jax.random.fold_in(jax.random.fold_in(key, high), low)


def words_of_key(key: Any) -> UInt32[np.ndarray, "2"]:
    """The two words of a threefry key; an integer seed gives those of ``jax.random.key(seed)`` in double precision.

    Raises:
        InputError: what is neither a single key nor a seed, or a key of another generator: the numbers that those draw
            under ``vmap`` depend on the whole batch.
    """
    checks.require(
        not isinstance(key, jax.core.Tracer), "key", "be a concrete key", "a value that JAX is tracing",
        "Call `starts` outside of jax.jit and jax.vmap; inside, use `draw` and samplers.start_key.",
    )  # fmt: skip
    with jax.default_prng_impl(_IMPLEMENTATION):
        checked = as_key(key)
        is_typed = jnp.issubdtype(checked.dtype, jax.dtypes.prng_key)
        words = np.asarray(jax.random.key_data(checked) if is_typed else checked)
    checks.require(
        words.shape == (2,) and (not is_typed or str(jax.random.key_impl(checked)) == _IMPLEMENTATION),
        "key", f"be a key of the generator {_IMPLEMENTATION}",
        f"one of {jax.random.key_impl(checked) if is_typed else f'{words.size} words'}",
        f'Use jax.random.key(seed, impl="{_IMPLEMENTATION}") or an integer seed.',
    )  # fmt: skip
    return words


def checked_indices(indices: Any, size: int | None) -> Int[np.ndarray, " num"]:
    """`indices` as an int64 array with one axis.

    Raises:
        InputError: not whole numbers, another number of axes, a negative index, or one at or beyond `size`.
    """
    array = np.asarray(indices)
    array = array.astype(np.int64) if array.size == 0 else array
    checks.require(array.ndim == 1, "indices", "have one axis", f"shape {array.shape}", "Pass np.arange(first, last).")
    checks.require(array.dtype.kind in "iu", "indices", "be whole numbers", f"dtype {array.dtype}")
    if array.size == 0:
        return array
    lowest, highest = int(array.min()), int(array.max())
    checks.require(lowest >= 0, "indices", "be at least 0", lowest)
    checks.require(highest < 2**63, "indices", "be below 2**63", highest)
    if size is not None:
        checks.require(
            highest < size, "indices", f"be below the sampler's size {size}", highest,
            "This sampler has no more starts; ask for fewer samples.",
        )  # fmt: skip
    return array.astype(np.int64)


def drawn_starts(sampler: Any, key: Any, indices: Int[np.ndarray, " num"]) -> Params:
    """``sampler.draw(start_key(key, i))`` for every index, float64 NumPy arrays with the leading axis "sample"."""
    words, template = words_of_key(key), sampler.template
    high, low = indices >> 32, (indices & 0xFFFFFFFF).astype(np.uint32)
    if len(indices) == 0 or high.min() == high.max():
        with _host_in_double():
            base = _fold(words, np.uint32(high[0] if len(high) else 0))
        return _in_blocks(_draw_block, (sampler, base), low, template)
    leaves = [np.empty((len(indices), *shape)) for shape in template.shapes]
    for word in np.unique(high):
        chosen = high == word
        part = drawn_starts(sampler, key, indices[chosen])
        for leaf, computed in zip(leaves, jax.tree.leaves(part), strict=True):
            leaf[chosen] = computed
    return jax.tree.unflatten(template.structure, leaves)


def placed_starts(sampler: Any, uniforms: Float[np.ndarray, "num dim"]) -> Params:
    """``sampler.place(u)`` for every row u, float64 NumPy arrays with the leading axis "sample"."""
    return _in_blocks(_place_block, (sampler,), uniforms, sampler.template)


def block_size(num_params: int) -> int:
    """Starts in one block: a power of two, so large that a block holds about 65536 numbers, from 16 to 16384."""
    return min(MAX_BLOCK, max(16, 2 ** int(math.log2(_BLOCK_NUMBERS / num_params))))


def _in_blocks(function: Callable, shared: tuple, rows: np.ndarray, template: Any) -> Params:
    num, size = len(rows), block_size(template.num_params)
    leaves = [np.empty((num, *shape)) for shape in template.shapes]
    with _host_in_double():
        for first in range(0, num, size):
            last = min(first + size, num)
            block = jax.tree.leaves(function(*shared, _padded(rows[first:last], size)))
            for leaf, computed in zip(leaves, block, strict=True):
                leaf[first:last] = np.asarray(computed)[: last - first]
    return jax.tree.unflatten(template.structure, leaves)


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows


@contextmanager
def _host_in_double() -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(jax.enable_x64(True))
        stack.enter_context(jax.threefry_partitionable(True))
        stack.enter_context(jax.default_prng_impl(_IMPLEMENTATION))
        with suppress(RuntimeError):  # JAX may have been told to know accelerators only
            stack.enter_context(jax.default_device(jax.local_devices(backend="cpu")[0]))
        yield


def _folded(words: Any, high: Any) -> Any:
    return jax.random.key_data(jax.random.fold_in(jax.random.wrap_key_data(words, impl=_IMPLEMENTATION), high))


def _drawn(sampler: Any, words: Any, low: Any) -> Params:
    base = jax.random.wrap_key_data(words, impl=_IMPLEMENTATION)

    def start(word: Any) -> Params:
        return sampler.draw(jax.random.fold_in(base, word))

    return _mapped(start, low)


def _placed(sampler: Any, uniforms: Any) -> Params:
    return _mapped(sampler.place, uniforms)


def _mapped(function: Callable, rows: Any) -> Params:
    """`function` of every row: batched, or one after the other when it calls LAPACK.

    A batched LAPACK kernel of jaxlib hands parts to XLA's threads and waits while it occupies one of them: as many
    programs at the same time as there are cores wait for each other for ever (jaxlib 0.10.2, two of them on two cores).
    """
    traced = str(jax.make_jaxpr(function)(jax.ShapeDtypeStruct(rows.shape[1:], rows.dtype)))
    return jax.lax.map(function, rows) if _LAPACK.search(traced) else jax.vmap(function)(rows)


# A sampler is a pytree whose leaves are its arrays: they are traced, and two boxes of one shape share a compiled block.
_OPTIONS = {"xla_cpu_multi_thread_eigen": False}
_draw_block = jax.jit(_drawn, compiler_options=_OPTIONS)
_place_block = jax.jit(_placed, compiler_options=_OPTIONS)
_fold = jax.jit(_folded)
