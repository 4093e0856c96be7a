"""Products of arrays of lanes: small ones written out, large ones as loops with a tile of sums in registers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from llvmlite import ir

from gradflow.ensemble.native.arrays import SMALL, Block, Scattered, View, Writer, size_of
from gradflow.ensemble.native.moves import reshaped

UNROLLED = 600
"""Largest number of multiplications of a matrix product that is written out."""

TILE = 4
"""Rows and columns of a product whose sums are kept in registers together."""


def product(writer: Writer, dimension_numbers: Any, left: Block, right: Block) -> Block:
    """A contraction of two arrays: batch axes first, then what is free on the left, then on the right."""
    (contract_left, contract_right), (batch_left, batch_right) = dimension_numbers
    a, b = (
        _arranged(writer, block, contract, batch)
        for block, contract, batch in ((left, contract_left, batch_left), (right, contract_right, batch_right))
    )
    inner = size_of([left.shape[i] for i in contract_left])
    batch = tuple(left.shape[i] for i in batch_left)
    rows, columns = (x.shape[len(batch) : len(x.shape) - len(contract_left)] for x in (a, b))
    groups, m, n = size_of(batch), size_of(rows), size_of(columns)
    a, b = reshaped(writer, a, (groups, m, inner)), reshaped(writer, b, (groups, n, inner))
    is_small = max(groups * m * n, groups * m * inner, groups * n * inner) <= SMALL
    if is_small and groups * m * n * inner <= UNROLLED:
        result: Block = _written_out(writer, a, b)
    else:
        result = _tiled(writer, writer.view(a), writer.view(b))
    return reshaped(writer, result, (*batch, *rows, *columns))


def _arranged(writer: Writer, block: Block, contract: Sequence[int], batch: Sequence[int]) -> Block:
    free = [i for i in range(len(block.shape)) if i not in contract and i not in batch]
    order = (*batch, *free, *contract)
    if isinstance(block, np.ndarray):
        return np.transpose(block, order)
    if isinstance(block, Scattered):
        return replace(block, elements=np.transpose(block.elements, order))
    view = writer.view(block)
    return replace(view, shape=tuple(view.shape[i] for i in order), strides=tuple(view.strides[i] for i in order))


def _written_out(writer: Writer, left: Block, right: Block) -> Scattered:
    a, b = writer.scattered(left).elements, writer.scattered(right).elements
    result = np.empty((len(a), a.shape[1], b.shape[1]), object)
    for g, i, j in np.ndindex(*result.shape):
        result[g, i, j] = _dot(writer, a[g, i], b[g, j])
    return Scattered(result)


def _dot(writer: Writer, a: np.ndarray, b: np.ndarray) -> ir.Value:
    """Sum of products of single values; zeros and ones among constants cost nothing."""
    lanes, total, fixed = writer.lanes, None, 0.0
    for x, y in zip(a, b, strict=True):
        constants = [float(v) for v in (x, y) if not isinstance(v, ir.Value)]
        values = [v for v in (x, y) if isinstance(v, ir.Value)]
        if len(constants) == 2:
            fixed += constants[0] * constants[1]
        elif constants and constants[0] == 0.0:
            continue  # exact as long as the state is finite; a state that is not is found by its own elements
        elif total is None:
            total = values[0] if constants == [1.0] else lanes.multiply(writer.value(x), writer.value(y))
        else:
            total = lanes.fused(writer.value(x), writer.value(y), total)
    if total is None:
        return lanes.constant(fixed)
    return total if fixed == 0.0 else lanes.add(total, lanes.constant(fixed))


def _tiled(writer: Writer, a: View, b: View) -> View:
    """Loops over tiles of the result; the sums of a tile stay in registers while the contraction runs."""
    (groups, m, k), n = a.shape, b.shape[1]
    result = writer.allocate((groups, m, n))

    def group(place: list[ir.Value]) -> None:
        for row_start, row_tiles, height in _tiles(m):
            for column_start, column_tiles, breadth in _tiles(n):
                with writer.loop(row_tiles) as row, writer.loop(column_tiles) as column:
                    i = _scaled(writer, row, height, row_start)
                    j = _scaled(writer, column, breadth, column_start)
                    _tile(writer, (a, b, result), place, (i, height), (j, breadth), k)

    writer.nest((groups,), group)
    return result


def _tiles(size: int) -> list[tuple[int, int, int]]:
    """``(start, number, width)`` of the full tiles and of the rest."""
    full, rest = divmod(size, TILE)
    parts = [(0, full, TILE)] if full else []
    return [*parts, (full * TILE, 1, rest)] if rest else parts


def _scaled(writer: Writer, index: ir.Value, factor: int, start: int) -> ir.Value:
    return writer.builder.add(writer.builder.mul(index, writer.index(factor)), writer.index(start))


def _tile(
    writer: Writer, views: tuple[View, View, View], place: list[ir.Value], rows: tuple[ir.Value, int],
    columns: tuple[ir.Value, int], depth: int,
) -> None:  # fmt: skip
    a, b, result = views
    builder, lanes = writer.builder, writer.lanes
    at = lambda start, t: builder.add(start, writer.index(t))  # noqa: E731
    before = builder.block
    head, after = builder.append_basic_block("contraction"), builder.append_basic_block("summed")
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(ir.IntType(64))
    index.add_incoming(writer.index(0), before)
    sums = []
    for _ in range(rows[1] * columns[1]):
        total = builder.phi(lanes.type)
        total.add_incoming(lanes.constant(0.0), before)
        sums.append(total)
    left = [writer.load(a, [*place, at(rows[0], t), index]) for t in range(rows[1])]
    right = [writer.load(b, [*place, at(columns[0], t), index]) for t in range(columns[1])]
    new = [lanes.fused(x, y, sums[i * columns[1] + j]) for i, x in enumerate(left) for j, y in enumerate(right)]
    following = builder.add(index, writer.index(1))
    index.add_incoming(following, head)
    for total, value in zip(sums, new, strict=True):
        total.add_incoming(value, head)
    builder.cbranch(builder.icmp_unsigned("<", following, writer.index(depth)), head, after)
    builder.position_at_end(after)
    for i in range(rows[1]):
        for j in range(columns[1]):
            writer.store(result, [*place, at(rows[0], i), at(columns[0], j)], new[i * columns[1] + j])
