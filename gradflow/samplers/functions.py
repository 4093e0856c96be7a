"""Starts from the user's function: how it is called, compiled or one start at a time, and whether it returns starts."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gradflow import checks
from gradflow.samplers.blocks import checked_indices, drawn_starts, words_of_key
from gradflow.samplers.sampler import AbstractSampler
from gradflow.samplers.templates import Template, template_of
from gradflow.types import Params


class FromFunction(AbstractSampler):
    """Starts that the user's function draws.

    Args:
        function: with `compiled`, ``function(key) -> params``, pure and traceable by JAX, called with a JAX key; else
            ``function(rng) -> params`` with a ``numpy.random.Generator`` that belongs to that start alone.
        like: what the parameters look like; without it, what the function returns first.
        compiled: whether JAX traces the function; some hundred times faster.

    The start must depend on its argument alone: a function that draws from anywhere else breaks resuming. Values that
    are not finite are kept as they are.

    Raises:
        InputError: a function that JAX cannot trace, or that returns no pytree of real numbers of one shape for all
            starts.

    Example:
        >>> heavy_tails = FromFunction(lambda rng: rng.standard_t(3, size=2), compiled=False)
        >>> heavy_tails.starts(0, range(5)).shape
        (5, 2)
    """

    function: Callable = eqx.field(static=True)
    compiled: bool = eqx.field(static=True)
    template: Template | None = eqx.field(static=True)

    def __init__(self, function: Callable, like: Any = None, *, compiled: bool = True):
        checks.require(callable(function), "function", "be a function", repr(function))
        self.function, self.compiled = function, bool(compiled)
        self.template = None if like is None else template_of(like)
        if compiled:
            found = _traced_template(function)
            self.template = found if self.template is None else _agreed(self.template, found)

    def draw(self, key: jax.Array) -> Params:
        """One start, floating numbers of the precision of the trace.

        Raises:
            InputError: the function is not compiled.
        """
        checks.require(
            self.compiled, "compiled", "be True where starts are drawn inside a compiled program", False,
            "Call `starts`, which draws them outside.",
        )  # fmt: skip
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.result_type(float)), self.function(key))

    def starts(self, key: Any, indices: Any) -> Params:
        """The starts of these numbers; not compiled, start i has ``Generator(Philox(key=[key's 64 bits, i]))``."""
        numbers = checked_indices(indices, None)
        if self.compiled:
            return drawn_starts(self, key, numbers)
        first, second = (int(word) for word in words_of_key(key))
        seed = first << 32 | second
        template, rows = self.template, []
        for number in [0] if template is None and len(numbers) == 0 else numbers.tolist():
            philox = np.random.Philox(key=np.array([seed, number], dtype=np.uint64))
            params = self.function(np.random.Generator(philox))
            found, row = _flattened(params, f"function(rng of start {number})")
            template = found if template is None else _agreed(template, found, number)
            rows.append(row)
        assert template is not None
        table = np.array(rows).reshape(-1, template.num_params)[: len(numbers)]
        return jax.tree.map(np.ascontiguousarray, template.unflattened(table))


def _traced_template(function: Callable) -> Template:
    with jax.enable_x64(True):
        try:
            shapes = jax.eval_shape(function, jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32")))
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            raise checks.InputError(
                f"`function` must be traceable by JAX, but got a {type(error).__name__}: {first} Draw with jax.random "
                "from the key it is given, or pass compiled=False for a function of a numpy.random.Generator."
            ) from error
        _check_real("function(key)", jax.tree.leaves(shapes))
    return template_of(shapes, "function(key)")


def _flattened(params: Any, name: str) -> tuple[Template, np.ndarray]:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    _check_real(name, leaves)
    found = template_of(jax.tree.unflatten(jax.tree.structure(params), leaves), name)
    return found, np.concatenate([leaf.astype(np.float64).ravel() for leaf in leaves])


def _check_real(name: str, leaves: list[Any]) -> None:
    checks.require(len(leaves) > 0, name, "return parameters", "an empty pytree")
    for leaf in leaves:
        is_real = np.dtype(leaf.dtype).kind in "biuf" if not jnp.issubdtype(leaf.dtype, jax.dtypes.extended) else False
        checks.require(is_real, name, "return real numbers", f"dtype {leaf.dtype}")


def _agreed(expected: Template, found: Template, number: int | None = None) -> Template:
    where = "" if number is None else f" (start {number})"
    checks.require(
        found == expected, "function", f"return parameters like {expected.shapes} of {expected.structure}",
        f"{found.shapes} of {found.structure}{where}",
    )  # fmt: skip
    return expected
