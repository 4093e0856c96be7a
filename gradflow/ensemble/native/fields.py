"""A function of parameters, as traced by JAX, written as a native function of lanes.

Any flow goes this way, hand-written gradient or automatic derivative alike: what is compiled is the list of operations
that JAX records. Operations without instructions raise :class:`Unsupported`; the caller then uses JAX's own compiler.
Knows nothing of steps and lanes' fates.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal
from llvmlite import ir

from gradflow.ensemble.calls import call_of
from gradflow.ensemble.native.arrays import (
    SMALL,
    Block,
    Deferred,
    Scattered,
    Unsupported,
    View,
    Writer,
    row_major,
    size_of,
)  # fmt: skip
from gradflow.ensemble.native.moves import BY_NUMPY, MOVES, move
from gradflow.ensemble.native.operations import (
    COMPARISONS,
    LINEAR,
    LOGIC,
    REDUCTIONS,
    convert,
    elementwise,
    linear,
    reduce,
)  # fmt: skip
from gradflow.ensemble.native.products import product

MAX_PARAMETERS = 4096
"""Largest number of parameters for which a native field is written."""


class Recorded:
    """The operations of ``function: (n,) -> (n,)`` in order, calls opened up and what nobody reads left out."""

    def __init__(self, function: Callable[[Any], Any], size: int) -> None:
        if size > MAX_PARAMETERS:
            raise Unsupported(f"more than {MAX_PARAMETERS} parameters")
        with jax.enable_x64(True):
            closed = jax.make_jaxpr(function)(np.zeros(size))
        self.size = size
        self.equations: list[tuple[Any, list[Any], list[Any]]] = []
        self.constants: dict[Any, np.ndarray] = {}
        self.argument = object()
        names: dict[Any, Any] = {closed.jaxpr.invars[0]: self.argument}
        (self.result,) = self._open(closed.jaxpr, closed.consts, names)
        self._drop_unread()

    def _open(self, jaxpr: Any, consts: Sequence[Any], names: dict[Any, Any]) -> list[Any]:
        for variable, value in zip(jaxpr.constvars, consts, strict=True):
            names[variable] = self._constant(value)
        look = lambda v: self._constant(v.val) if isinstance(v, Literal) else names[v]  # noqa: E731
        for equation in jaxpr.eqns:
            inputs = [look(v) for v in equation.invars]
            inside = call_of(equation)
            if inside is not None:
                body, body_consts = inside
                results = self._open(body, body_consts, dict(zip(body.invars, inputs, strict=True)))
            else:
                results = [object() for _ in equation.outvars]
                self.equations.append((equation, inputs, results))
            names.update(zip(equation.outvars, results, strict=True))
        return [look(v) for v in jaxpr.outvars]

    def _constant(self, value: Any) -> Any:
        name = object()
        self.constants[name] = _array(value)
        return name

    def _drop_unread(self) -> None:
        needed, kept = {self.result}, []
        for equation, inputs, results in reversed(self.equations):
            if any(r in needed for r in results):
                needed.update(inputs)
                kept.append((equation, inputs, results))
        self.equations = kept[::-1]
        self.uses = Counter(name for _, inputs, _ in self.equations for name in inputs)


def _array(value: Any) -> np.ndarray:
    if jax.dtypes.issubdtype(jax.numpy.result_type(value), jax.dtypes.extended):
        raise Unsupported("random keys")
    return np.asarray(value)


def write_field(module: ir.Module, recorded: Recorded, width: int, name: str = "field") -> tuple[ir.Function, int]:
    """``name(state, velocity, scratch)`` in `module`, and the number of vectors of scratch memory that it uses.

    Raises:
        Unsupported: an operation has no instructions here.
    """
    vector = ir.VectorType(ir.DoubleType(), width)
    pointer = vector.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer] * 3), name)
    function.linkage = "internal"
    for argument in function.args:
        argument.add_attribute("noalias")
    writer = Writer(ir.IRBuilder(function.append_basic_block("entry")), width, function.args[2])
    size = recorded.size
    state: Block = View(function.args[0], (size,), (1,))
    if size <= SMALL:
        state = writer.scattered(state)
    with jax.enable_x64(True):
        result = _walk(writer, recorded, state)
    target = View(function.args[1], (size,), row_major((size,)))
    if isinstance(result, np.ndarray | Scattered):
        elements = writer.scattered(result).elements
        for i in range(size):
            writer.store(target, [writer.index(i)], writer.value(elements[i]))
    else:
        writer.nest((size,), lambda indices: writer.store(target, indices, writer.element(result, indices)))
    writer.builder.ret_void()
    return function, writer.used


def _walk(writer: Writer, recorded: Recorded, state: Block) -> Block:
    values: dict[Any, Block] = dict(recorded.constants)
    values[recorded.argument] = state
    for equation, inputs, results in recorded.equations:
        blocks = [_without_elements(values[name]) for name in inputs]
        if all(isinstance(block, np.ndarray) for block in blocks):
            computed: list[Block] = _folded(equation, blocks)
        else:
            computed = _apply(writer, equation, blocks)
        for result, block in zip(results, computed, strict=True):
            is_shared = isinstance(block, Deferred) and recorded.uses[result] > 1
            values[result] = writer.view(block) if is_shared else block
    return values[recorded.result]


_BY_NUMPY: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "neg": np.negative, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal, "convert_element_type": np.asarray,
}  # fmt: skip
"""Operations on constants whose result is the same in NumPy, and which JAX would compile for each shape anew."""


def _folded(equation: Any, constants: Sequence[Any]) -> list[Block]:
    """An operation on constants, done now."""
    if equation.primitive.name in BY_NUMPY:
        return [np.asarray(moved) for moved in BY_NUMPY[equation.primitive.name](equation, *constants)]
    if equation.primitive.name in _BY_NUMPY:
        result = _BY_NUMPY[equation.primitive.name](*constants)
        return [np.asarray(result, equation.outvars[0].aval.dtype)]
    outputs = equation.primitive.bind(*[jax.numpy.asarray(c) for c in constants], **equation.params)
    return [_array(o) for o in (outputs if equation.primitive.multiple_results else [outputs])]


def _without_elements(block: Block) -> Block:
    """An array of no elements is a constant whatever it was computed from."""
    if isinstance(block, np.ndarray) or size_of(block.shape) > 0:
        return block
    return np.zeros(block.shape, bool if block.is_truth else float)


def _apply(writer: Writer, equation: Any, blocks: list[Block]) -> list[Block]:
    name, params = equation.primitive.name, equation.params
    variable = equation.outvars[0].aval
    varying = [v.aval for v, b in zip(equation.invars, blocks, strict=True) if not isinstance(b, np.ndarray)]
    for aval in [*varying, *(v.aval for v in equation.outvars)]:
        if aval.dtype not in (np.dtype(float), np.dtype(bool)):
            raise Unsupported(f"{name} of type {aval.dtype}")
    if all(size_of(v.aval.shape) == 0 for v in equation.outvars):
        return [np.zeros(v.aval.shape, v.aval.dtype) for v in equation.outvars]
    if name == "dot_general" and variable.dtype != bool:
        return [product(writer, params["dimension_numbers"], *blocks)]
    if name in MOVES:
        return move(writer, equation, blocks)
    if name in REDUCTIONS:
        return [reduce(writer, name, tuple(params["axes"]), blocks[0])]
    if name == "convert_element_type":
        return [convert(writer, blocks[0], variable.dtype == bool)]
    if name in LINEAR:
        return [linear(writer, equation, blocks)]
    if len(equation.outvars) != 1 or not (
        name in COMPARISONS or name in LOGIC or name in ("integer_pow", "select_n", "clamp", "is_finite")
        or writer.lanes.knows(name)
    ):  # fmt: skip
        raise Unsupported(name)
    return [elementwise(writer, equation, blocks, variable.dtype == bool)]
