"""Arrays of lanes while a kernel is being written: single values in registers, or strided views of memory.

Small arrays are spread out: each element is a vector of lanes of its own, and moving elements about costs nothing.
Large ones live in memory and are gone through by loops. A constant is a NumPy array until an instruction needs it.
Knows instructions (:mod:`gradflow.ensemble.native.arithmetic`), not what is computed with them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from llvmlite import ir

from gradflow.ensemble.native.arithmetic import DOUBLE, INT64, Lanes

SMALL = 160
"""Largest number of elements that are kept as single values."""


class Unsupported(Exception):
    """The kernel writer has no instructions for this operation; its message names it."""


@dataclass(frozen=True)
class Scattered:
    """An array whose elements are single values: vectors of lanes, or Python numbers that all lanes share."""

    elements: np.ndarray
    is_truth: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape without the lanes."""
        return self.elements.shape


@dataclass(frozen=True)
class View:
    """An array in memory: element ``(i, j, ...)`` stands at ``offset + i strides[0] + j strides[1] + ...``."""

    pointer: ir.Value
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    is_constant: bool = False
    is_truth: bool = False

    @property
    def is_contiguous(self) -> bool:
        """True when the elements follow each other row by row."""
        return all(
            stride == expected or size == 1
            for size, stride, expected in zip(self.shape, self.strides, row_major(self.shape), strict=True)
        )


@dataclass(frozen=True)
class Deferred:
    """An elementwise result that is computed where it is used: `element` maps loop indices to a value."""

    shape: tuple[int, ...]
    element: Callable[[Sequence[ir.Value]], ir.Value] = field(repr=False)
    is_truth: bool = False


Block: TypeAlias = np.ndarray | Scattered | View | Deferred


def size_of(shape: Sequence[int]) -> int:
    """Number of elements."""
    return int(np.prod(shape, dtype=int))


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a contiguous array."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


class Writer:
    """Writes loads, stores and loops into one function, and hands out its scratch memory."""

    def __init__(self, builder: ir.IRBuilder, width: int, scratch: ir.Value) -> None:
        self.builder, self.lanes, self.scratch = builder, Lanes(builder, width), scratch
        self.used = 0

    def index(self, value: int) -> ir.Value:
        """An integer constant."""
        return ir.Constant(INT64, value)

    @contextmanager
    def loop(self, count: int) -> Iterator[ir.Value]:
        """The index of a loop from 0 to `count`, whose body is written inside the `with`."""
        if count == 1:
            yield self.index(0)
            return
        builder = self.builder
        before = builder.block
        head, after = builder.append_basic_block("loop"), builder.append_basic_block("done")
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(INT64)
        index.add_incoming(self.index(0), before)
        yield index
        following = builder.add(index, self.index(1), flags=("nuw", "nsw"))
        index.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_unsigned("<", following, self.index(count)), head, after)
        builder.position_at_end(after)

    def nest(self, shape: Sequence[int], body: Callable[[list[ir.Value]], None]) -> None:
        """Nested loops over all indices of `shape`."""

        def level(indices: list[ir.Value]) -> None:
            if len(indices) == len(shape):
                body(indices)
                return
            with self.loop(shape[len(indices)]) as index:
                level([*indices, index])

        level([])

    def allocate(self, shape: tuple[int, ...], is_truth: bool = False) -> View:
        """A fresh contiguous array in scratch memory."""
        view = View(self.scratch, shape, row_major(shape), self.used, is_truth=is_truth)
        self.used += size_of(shape)
        return view

    def constant(self, array: np.ndarray) -> View:
        """A constant array, put into the module's memory."""
        values = np.asarray(array, dtype=float, order="C")
        kind = ir.ArrayType(DOUBLE, max(values.size, 1))
        module = self.builder.module
        variable = ir.GlobalVariable(module, kind, module.get_unique_name("constant"))
        variable.linkage, variable.global_constant, variable.align = "internal", True, 64
        variable.initializer = ir.Constant(kind, [ir.Constant(DOUBLE, float(v)) for v in values.ravel()])
        return View(variable, values.shape, row_major(values.shape), is_constant=True)

    def address(self, view: View, indices: Sequence[ir.Value]) -> ir.Value:
        """Pointer to an element."""
        builder, place = self.builder, self.index(view.offset)
        for index, stride in zip(indices, view.strides, strict=True):
            if stride:
                place = builder.add(place, builder.mul(index, self.index(stride)))
        element = DOUBLE if view.is_constant else self.lanes.type
        pointer = builder.bitcast(view.pointer, element.as_pointer())
        return builder.gep(pointer, [place], source_etype=element)

    def load(self, view: View, indices: Sequence[ir.Value]) -> ir.Value:
        """An element; truth values come back as bits."""
        pointer = self.address(view, indices)
        if view.is_constant:
            value = self.lanes.splat(self.builder.load(pointer, align=8, typ=DOUBLE))
        else:
            value = self.builder.load(pointer, align=self.lanes.align, typ=self.lanes.type)
        return self.lanes.is_nonzero(value) if view.is_truth else value

    def store(self, view: View, indices: Sequence[ir.Value], value: ir.Value) -> None:
        """Puts an element into memory; truth values as 1.0 and 0.0."""
        if view.is_truth:
            value = self.lanes.number(value)
        self.builder.store(value, self.address(view, indices), align=self.lanes.align)

    # --- from one form to another -----------------------------------------------------------------------------------

    def value(self, element: object) -> ir.Value:
        """An element of a scattered or constant array as a vector of lanes."""
        if isinstance(element, ir.Value):
            return element
        if isinstance(element, bool | np.bool_):
            return self.lanes.truth(bool(element))
        return self.lanes.constant(float(element))  # type: ignore[arg-type]

    def scattered(self, block: Block) -> Scattered:
        """`block` as single values."""
        if isinstance(block, Scattered):
            return block
        if isinstance(block, np.ndarray):
            return Scattered(block.astype(object), is_truth=block.dtype == bool)
        elements = np.empty(block.shape, object)
        for position in np.ndindex(*block.shape):
            indices = [self.index(i) for i in position]
            elements[position] = block.element(indices) if isinstance(block, Deferred) else self.load(block, indices)
        return Scattered(elements, block.is_truth)

    def view(self, block: Block) -> View:
        """`block` in memory."""
        if isinstance(block, View):
            return block
        if isinstance(block, np.ndarray):
            return replace(self.constant(block), is_truth=block.dtype == bool)
        target = self.allocate(block.shape, block.is_truth)
        if isinstance(block, Deferred):
            self.nest(block.shape, lambda indices: self.store(target, indices, block.element(indices)))
        else:
            for position in np.ndindex(*block.shape):
                self.store(target, [self.index(i) for i in position], self.value(block.elements[position]))
        return target

    def element(self, block: Block, indices: Sequence[ir.Value]) -> ir.Value:
        """The element of `block`, a view or something deferred, at loop indices."""
        if isinstance(block, Deferred):
            return block.element(indices)
        return self.load(self.view(block), indices)
