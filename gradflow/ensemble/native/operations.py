"""The operations of a traced function on arrays of lanes: elementwise, along axes, and linear ones by their matrix.

Each takes and gives blocks (:mod:`gradflow.ensemble.native.arrays`). Moving elements about is
:mod:`gradflow.ensemble.native.moves`, multiplying matrices :mod:`gradflow.ensemble.native.products`.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from llvmlite import ir

from gradflow.ensemble.native.arrays import SMALL, Block, Deferred, Scattered, Unsupported, Writer, size_of

COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
LOGIC = ("and", "or", "xor", "not")
REDUCTIONS = {
    "reduce_sum": "add", "reduce_prod": "mul", "reduce_max": "max", "reduce_min": "min",
    "reduce_and": "and", "reduce_or": "or",
}  # fmt: skip
"""Reductions, and the operations that they repeat."""

LINEAR = ("scatter-add", "scatter_add", "cumsum", "conv_general_dilated")


def combine(writer: Writer, name: str, params: dict[str, Any], values: Sequence[ir.Value]) -> ir.Value:
    """One element of an elementwise operation.

    Raises:
        Unsupported: there are no instructions for it.
    """
    lanes = writer.lanes
    is_truth = lambda value: value.type == lanes.bits  # noqa: E731
    if name in COMPARISONS:
        return lanes.compare(COMPARISONS[name], *(lanes.number(v) if is_truth(v) else v for v in values))
    if name in LOGIC:
        return _logic(writer, name, values)
    if name == "integer_pow":
        return lanes.power(values[0], params["y"])
    if name == "select_n" and len(values) == 3 and is_truth(values[0]):
        return lanes.select(values[0], values[2], values[1])
    if name == "clamp":
        return lanes.minimum(lanes.maximum(values[1], values[0]), values[2])
    if name == "is_finite":
        difference = lanes.subtract(values[0], values[0])
        return lanes.compare("==", difference, difference)
    if not lanes.knows(name):
        raise Unsupported(name)
    if any(is_truth(value) for value in values):
        raise Unsupported(f"{name} of truth values")
    return lanes.apply(name, *values)


def _logic(writer: Writer, name: str, values: Sequence[ir.Value]) -> ir.Value:
    lanes = writer.lanes
    if name == "not":
        return lanes.negation(*values)
    return {"and": lanes.both, "or": lanes.either, "xor": lanes.builder.xor}[name](*values)


def elementwise(writer: Writer, equation: Any, blocks: Sequence[Block], is_truth: bool) -> Block:
    """An operation on every element; scalars, and axes of length one, among the arguments go with all elements."""
    name, params, shape = equation.primitive.name, equation.params, equation.outvars[0].aval.shape
    if size_of(shape) <= SMALL:
        arguments = [np.broadcast_to(writer.scattered(b).elements, shape) for b in blocks]
        result = np.empty(shape, object)
        for position in np.ndindex(*shape):
            result[position] = combine(writer, name, params, [writer.value(a[position]) for a in arguments])
        return Scattered(result, is_truth)
    ready = [b if isinstance(b, Deferred) else writer.view(b) for b in blocks]

    def element(indices: Sequence[ir.Value]) -> ir.Value:
        values = [writer.element(b, _stretched(writer, b.shape, shape, indices)) for b in ready]
        return combine(writer, name, params, values)

    return Deferred(shape, element, is_truth)


def _stretched(
    writer: Writer, shape: tuple[int, ...], full: tuple[int, ...], indices: Sequence[ir.Value]
) -> Sequence[ir.Value]:
    """The indices of an element in an array that is repeated along its axes of length one."""
    if not shape:
        return ()
    return [writer.index(0) if a != b else i for a, b, i in zip(shape, full, indices, strict=True)]


def convert(writer: Writer, block: Block, to_truth: bool) -> Block:
    """A change of type: truth values to numbers or back."""
    if isinstance(block, np.ndarray):
        return block.astype(bool if to_truth else float)
    if block.is_truth == to_truth:
        return block
    change = writer.lanes.is_nonzero if to_truth else writer.lanes.number
    if isinstance(block, Scattered):
        elements = np.empty(block.shape, object)
        for position in np.ndindex(*block.shape):
            elements[position] = change(writer.value(block.elements[position]))
        return Scattered(elements, to_truth)
    return Deferred(block.shape, lambda indices: change(writer.element(block, indices)), to_truth)


def reduce(writer: Writer, name: str, axes: tuple[int, ...], block: Block) -> Block:
    """Sum, product, largest or smallest along axes, or whether all or any are true."""
    one_more = lambda total, value: combine(writer, REDUCTIONS[name], {}, [total, value])  # noqa: E731
    is_truth = not isinstance(block, np.ndarray) and block.is_truth
    kept = tuple(i for i in range(len(block.shape)) if i not in axes)
    shape = tuple(block.shape[i] for i in kept)
    inner = tuple(block.shape[i] for i in axes)
    if size_of(block.shape) <= SMALL:
        elements = np.moveaxis(writer.scattered(block).elements, axes, range(-len(axes), 0)).reshape(*shape, -1)
        result = np.empty(shape, object)
        for position in np.ndindex(*shape):
            values = [writer.value(v) for v in elements[position]]
            result[position] = functools.reduce(one_more, values)
        return Scattered(result, is_truth)
    source = block if isinstance(block, Deferred) else writer.view(block)
    target = writer.allocate(shape, is_truth)

    def at(outer: Sequence[ir.Value], inside: Sequence[ir.Value]) -> ir.Value:
        indices: list[Any] = [None] * len(block.shape)
        for axis, index in zip([*kept, *axes], [*outer, *inside], strict=True):
            indices[axis] = index
        return writer.element(source, indices)

    def one(outer: list[ir.Value]) -> None:
        writer.store(target, outer, at(outer, [writer.index(0)] * len(inner)))
        flat = size_of(inner)

        def add(inside: list[ir.Value]) -> None:
            writer.store(target, outer, one_more(writer.load(target, outer), at(outer, inside)))

        if flat > 1:
            _all_but_first(writer, inner, add)

    writer.nest(shape, one)
    return target


def _all_but_first(writer: Writer, shape: tuple[int, ...], body: Any) -> None:
    """Loops over every index of `shape` except the first one."""

    def guarded(indices: list[ir.Value]) -> None:
        first = None
        for index in indices:
            is_zero = writer.builder.icmp_unsigned("==", index, writer.index(0))
            first = is_zero if first is None else writer.builder.and_(first, is_zero)
        with writer.builder.if_then(writer.builder.not_(first)):
            body(indices)

    writer.nest(shape, guarded)


def linear(writer: Writer, equation: Any, blocks: Sequence[Block]) -> Block:
    """A linear operation without a rule of its own: its matrix, found by JAX, applied to single values.

    Raises:
        Unsupported: it is large, or depends on the state in more than its linear argument.
    """
    moving = [i for i, block in enumerate(blocks) if not isinstance(block, np.ndarray)]
    shape = equation.outvars[0].aval.shape
    name = equation.primitive.name
    if name not in LINEAR or size_of(shape) > SMALL or any(size_of(blocks[i].shape) > SMALL for i in moving):
        raise Unsupported(f"{name} of {shape}")
    result = np.full(size_of(shape), None, object)
    bind = lambda values: equation.primitive.bind(*values, **equation.params)  # noqa: E731
    fixed = [np.zeros(b.shape) if i in moving else np.asarray(b) for i, b in enumerate(blocks)]
    if name == "conv_general_dilated" and len(moving) > 1:
        raise Unsupported(name)
    terms: list[list[ir.Value]] = [[] for _ in result]
    for i in moving:
        matrix = np.asarray(jax.jacobian(lambda x, i=i: bind([*fixed[:i], x, *fixed[i + 1 :]]))(fixed[i] * 1.0))
        matrix = matrix.reshape(len(result), -1)
        elements = writer.scattered(blocks[i]).elements.ravel()
        for row, column in zip(*np.nonzero(matrix), strict=True):
            weight = writer.lanes.constant(float(matrix[row, column]))
            terms[row].append(writer.lanes.multiply(weight, writer.value(elements[column])))
    offset = np.asarray(bind(fixed), float).ravel()
    for row, parts in enumerate(terms):
        total = writer.lanes.constant(float(offset[row]))
        for part in parts:
            total = writer.lanes.add(total, part)
        result[row] = total
    return Scattered(result.reshape(shape))
