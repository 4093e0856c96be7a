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

from gradflow.ensemble.native.arrays import SMALL, Block, Deferred, Scattered, Unsupported, View, Writer, row_major
from gradflow.ensemble.native.operations import (
    COMPARISONS,
    LINEAR,
    LOGIC,
    MOVES,
    convert,
    elementwise,
    linear,
    move,
    product,
    reduce,
    size_of,
)

MAX_PARAMETERS = 4096
"""Largest number of parameters for which a native field is written."""

_REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")


class Recorded:
    """The operations of ``function: (n,) -> (n,)`` in order, calls opened up and what nobody reads left out."""

    def __init__(self, function: Callable[[Any], Any], size: int) -> None:
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
            inside = _inner(equation)
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
        self.constants[name] = np.asarray(value)
        return name

    def _drop_unread(self) -> None:
        needed, kept = {self.result}, []
        for equation, inputs, results in reversed(self.equations):
            if any(r in needed for r in results):
                needed.update(inputs)
                kept.append((equation, inputs, results))
        self.equations = kept[::-1]
        self.uses = Counter(name for _, inputs, _ in self.equations for name in inputs)


def _inner(equation: Any) -> tuple[Any, Sequence[Any]] | None:
    """The body of a call and its constants, or None when the operation is no call."""
    if equation.primitive.name in ("while", "scan", "cond"):
        raise Unsupported(equation.primitive.name)
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        body = equation.params.get(key)
        if body is not None:
            return (body.jaxpr, body.consts) if hasattr(body, "consts") else (body, ())
    return None


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
        blocks = [values[name] for name in inputs]
        if all(isinstance(block, np.ndarray) for block in blocks):
            outputs = equation.primitive.bind(*[jax.numpy.asarray(b) for b in blocks], **equation.params)
            many = outputs if equation.primitive.multiple_results else [outputs]
            computed: list[Block] = [np.asarray(o) for o in many]
        else:
            computed = _apply(writer, equation, blocks)
        for result, block in zip(results, computed, strict=True):
            is_shared = isinstance(block, Deferred) and recorded.uses[result] > 1
            values[result] = writer.view(block) if is_shared else block
    return values[recorded.result]


def _apply(writer: Writer, equation: Any, blocks: list[Block]) -> list[Block]:
    name, params = equation.primitive.name, equation.params
    variable = equation.outvars[0].aval
    if name == "dot_general":
        return [product(writer, params["dimension_numbers"], *blocks)]
    if name in MOVES and _is_movable(name, blocks):
        return move(writer, equation, blocks)
    if name in _REDUCTIONS:
        return [reduce(writer, name, tuple(params["axes"]), blocks[0])]
    if name == "convert_element_type":
        if variable.dtype.kind not in "fb":
            raise Unsupported(f"conversion to {variable.dtype}")
        return [convert(writer, blocks[0], variable.dtype == bool)]
    if name in LINEAR:
        return [linear(writer, equation, blocks)]
    if variable.dtype.kind not in "fb" or any(size_of(b.shape) == 0 for b in blocks):
        raise Unsupported(f"{name} of type {variable.dtype}")
    if len(equation.outvars) != 1 or not (
        name in COMPARISONS or name in LOGIC or name in ("integer_pow", "select_n", "clamp", "is_finite")
        or writer.lanes.knows(name)
    ):  # fmt: skip
        raise Unsupported(name)
    return [elementwise(writer, equation, blocks, variable.dtype == bool)]


def _is_movable(name: str, blocks: list[Block]) -> bool:
    """Places must be known when the code is written."""
    first = {"dynamic_slice": 1, "gather": 1, "dynamic_update_slice": 2}.get(name)
    if first is not None and not all(isinstance(b, np.ndarray) for b in blocks[first:]):
        raise Unsupported(f"{name} at places that depend on the state")
    return True
