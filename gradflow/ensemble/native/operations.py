"""The operations of a traced function on arrays of lanes: elementwise, moving, summing, multiplying.

Each takes and gives blocks (:mod:`gradflow.ensemble.native.arrays`). Moves of single values are found by letting JAX move
their numbers. Products of small matrices are written out; large ones are loops with a tile of sums in registers.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from llvmlite import ir

from gradflow.ensemble.native.arrays import SMALL, Block, Deferred, Scattered, Unsupported, View, Writer, row_major

UNROLLED = 600
"""Largest number of multiplications of a matrix product that is written out."""

TILE = 4
"""Rows and columns of a product whose sums are kept in registers together."""

COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
LOGIC = ("and", "or", "not")
MOVES = (
    "transpose", "reshape", "broadcast_in_dim", "squeeze", "expand_dims", "slice", "rev", "split", "concatenate", "pad",
    "dynamic_slice", "gather", "dynamic_update_slice",
)  # fmt: skip
LINEAR = ("scatter-add", "scatter_add", "cumsum", "reduce_sum", "conv_general_dilated")


def size_of(shape: Sequence[int]) -> int:
    """Number of elements."""
    return int(np.prod(shape, dtype=int))


def combine(writer: Writer, name: str, params: dict[str, Any], values: Sequence[ir.Value]) -> ir.Value:
    """One element of an elementwise operation.

    Raises:
        Unsupported: there are no instructions for it.
    """
    lanes = writer.lanes
    if name in COMPARISONS:
        return lanes.compare(COMPARISONS[name], *values)
    if name == "integer_pow":
        return lanes.power(values[0], params["y"])
    if name == "and":
        return lanes.both(*values)
    if name == "or":
        return lanes.either(*values)
    if name == "not":
        return lanes.negation(values[0])
    if name == "select_n" and len(values) == 3:
        return lanes.select(values[0], values[2], values[1])
    if name == "clamp":
        return lanes.minimum(lanes.maximum(values[1], values[0]), values[2])
    if name == "is_finite":
        difference = lanes.subtract(values[0], values[0])
        return lanes.compare("==", difference, difference)
    if not lanes.knows(name):
        raise Unsupported(name)
    return lanes.apply(name, *values)


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


def move(writer: Writer, equation: Any, blocks: Sequence[Block]) -> list[Block]:
    """Elements in other places: transposition, reshaping, slicing, joining and the like."""
    shapes = [variable.aval.shape for variable in equation.outvars]
    if max(size_of(s) for s in [*shapes, *(b.shape for b in blocks)]) <= SMALL:
        return _moved_values(writer, equation, blocks)
    moved = _moved_view(writer, equation, blocks)
    if moved is None:
        raise Unsupported(f"{equation.primitive.name} of {shapes}")
    return moved


def _moved_values(writer: Writer, equation: Any, blocks: Sequence[Block]) -> list[Block]:
    """Lets JAX move the elements' numbers, then puts the elements in their places."""
    table: list[Any] = []
    operands, is_truth = [], False
    for block in blocks:
        if isinstance(block, np.ndarray) and block.dtype.kind in "iu":
            operands.append(block)
            continue
        spread = writer.scattered(block)
        is_truth = is_truth or spread.is_truth
        first = len(table)
        table.extend(spread.elements.ravel())
        operands.append(np.arange(first, len(table)).reshape(spread.shape))
    outputs = equation.primitive.bind(*[jax.numpy.asarray(o) for o in operands], **_without_fill(equation))
    elements = np.empty(len(table), object)
    elements[:] = table
    many = outputs if equation.primitive.multiple_results else [outputs]
    return [Scattered(_taken(elements, np.asarray(o)), is_truth) for o in many]


def _taken(elements: np.ndarray, places: np.ndarray) -> np.ndarray:
    taken = np.empty(places.shape, object)  # indexing with a single place would give the element itself
    for position in np.ndindex(*places.shape):
        taken[position] = elements[places[position]]
    return taken


def _without_fill(equation: Any) -> dict[str, Any]:
    params = dict(equation.params)
    if equation.primitive.name == "gather":
        params["fill_value"] = 0
    return params


def _moved_view(writer: Writer, equation: Any, blocks: Sequence[Block]) -> list[Block] | None:
    """The same for arrays in memory, by strides; joined arrays are copied."""
    name, params = equation.primitive.name, equation.params
    if name == "concatenate":
        return [_joined(writer, blocks, params["dimension"], equation.outvars[0].aval.shape)]
    if name == "pad":
        return [_padded(writer, blocks, params["padding_config"], equation.outvars[0].aval.shape)]
    view = writer.view(blocks[0])
    if name == "transpose":
        order = params["permutation"]
        return [replace(view, shape=tuple(view.shape[i] for i in order), strides=tuple(view.strides[i] for i in order))]
    if name == "broadcast_in_dim":
        shape = equation.outvars[0].aval.shape
        strides = [0] * len(shape)
        for axis, place in enumerate(params["broadcast_dimensions"]):
            strides[place] = view.strides[axis] if view.shape[axis] == shape[place] else 0
        return [replace(view, shape=shape, strides=tuple(strides))]
    if name in ("reshape", "squeeze", "expand_dims"):
        shape = equation.outvars[0].aval.shape
        whole = view if view.is_contiguous else _copied(writer, view)
        return [replace(whole, shape=shape, strides=row_major(shape))]
    if name == "slice":
        steps = params["strides"] or (1,) * len(view.shape)
        offset = view.offset + sum(s * d for s, d in zip(params["start_indices"], view.strides, strict=True))
        strides = tuple(s * d for s, d in zip(steps, view.strides, strict=True))
        return [replace(view, shape=equation.outvars[0].aval.shape, strides=strides, offset=offset)]
    if name == "split":
        pieces, start, axis = [], 0, params["axis"]
        for size in params["sizes"]:
            shape = (*view.shape[:axis], size, *view.shape[axis + 1 :])
            pieces.append(replace(view, shape=shape, offset=view.offset + start * view.strides[axis]))
            start += size
        return list(pieces)
    return None


def _copied(writer: Writer, view: View) -> View:
    target = writer.allocate(view.shape, view.is_truth)
    writer.nest(view.shape, lambda indices: writer.store(target, indices, writer.load(view, indices)))
    return target


def _joined(writer: Writer, blocks: Sequence[Block], axis: int, shape: tuple[int, ...]) -> View:
    target, start = writer.allocate(shape), 0
    for block in blocks:
        place = replace(target, shape=block.shape, offset=target.offset + start * target.strides[axis])
        _fill(writer, place, block)
        start += block.shape[axis]
    return target


def _padded(writer: Writer, blocks: Sequence[Block], config: Any, shape: tuple[int, ...]) -> View:
    if any(low < 0 or high < 0 for low, high, _ in config):
        raise Unsupported("pad with a negative width")
    target = writer.allocate(shape)
    padding = writer.scattered(blocks[1]).elements[()]
    writer.nest(shape, lambda indices: writer.store(target, indices, writer.value(padding)))
    offset = target.offset + sum(low * d for (low, _, _), d in zip(config, target.strides, strict=True))
    strides = tuple((inner + 1) * d for (_, _, inner), d in zip(config, target.strides, strict=True))
    _fill(writer, replace(target, shape=blocks[0].shape, strides=strides, offset=offset), blocks[0])
    return target


def _fill(writer: Writer, place: View, block: Block) -> None:
    if isinstance(block, Scattered):
        for position in np.ndindex(*block.shape):
            writer.store(place, [writer.index(i) for i in position], writer.value(block.elements[position]))
        return
    source = block if isinstance(block, Deferred) else writer.view(block)
    writer.nest(block.shape, lambda indices: writer.store(place, indices, writer.element(source, indices)))


def reduce(writer: Writer, name: str, axes: tuple[int, ...], block: Block) -> Block:
    """Sum, product, largest or smallest along axes."""
    operation = {"reduce_sum": "add", "reduce_max": "max", "reduce_min": "min", "reduce_prod": "mul"}[name]
    kept = tuple(i for i in range(len(block.shape)) if i not in axes)
    shape = tuple(block.shape[i] for i in kept)
    inner = tuple(block.shape[i] for i in axes)
    if size_of(block.shape) <= SMALL:
        elements = np.moveaxis(writer.scattered(block).elements, axes, range(-len(axes), 0)).reshape(*shape, -1)
        result = np.empty(shape, object)
        for position in np.ndindex(*shape):
            values = [writer.value(v) for v in elements[position]]
            total = values[0] if values else writer.lanes.constant(0.0)
            for value in values[1:]:
                total = writer.lanes.apply(operation, total, value)
            result[position] = total
        return Scattered(result)
    source = block if isinstance(block, Deferred) else writer.view(block)
    target = writer.allocate(shape)

    def at(outer: Sequence[ir.Value], inside: Sequence[ir.Value]) -> ir.Value:
        indices: list[Any] = [None] * len(block.shape)
        for axis, index in zip([*kept, *axes], [*outer, *inside], strict=True):
            indices[axis] = index
        return writer.element(source, indices)

    def one(outer: list[ir.Value]) -> None:
        writer.store(target, outer, at(outer, [writer.index(0)] * len(inner)))
        flat = size_of(inner)

        def add(inside: list[ir.Value]) -> None:
            total = writer.lanes.apply(operation, writer.load(target, outer), at(outer, inside))
            writer.store(target, outer, total)

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


def product(writer: Writer, dimension_numbers: Any, left: Block, right: Block) -> Block:
    """A contraction of two arrays: batch axes first, then what is free on the left, then on the right."""
    (contract_left, contract_right), (batch_left, batch_right) = dimension_numbers
    a, b = (
        _arranged(writer, block, contract, batch)
        for block, contract, batch in ((left, contract_left, batch_left), (right, contract_right, batch_right))
    )
    inner = tuple(left.shape[i] for i in contract_left)
    batch = tuple(left.shape[i] for i in batch_left)
    rows = a.shape[len(batch) : len(a.shape) - len(inner)]
    columns = b.shape[len(batch) : len(b.shape) - len(inner)]
    shape = (*batch, *rows, *columns)
    work = size_of(shape) * size_of(inner)
    if work <= UNROLLED and max(size_of(shape), size_of(a.shape), size_of(b.shape)) <= SMALL:
        return _written_out(writer, a, b, batch, rows, columns, inner)
    return _tiled(writer, writer.view(a), writer.view(b), batch, rows, columns, inner)


def _arranged(writer: Writer, block: Block, contract: Sequence[int], batch: Sequence[int]) -> Block:
    free = [i for i in range(len(block.shape)) if i not in contract and i not in batch]
    order = (*batch, *free, *contract)
    if isinstance(block, np.ndarray):
        return np.transpose(block, order)
    if isinstance(block, Scattered):
        return replace(block, elements=np.transpose(block.elements, order))
    view = writer.view(block)
    return replace(view, shape=tuple(view.shape[i] for i in order), strides=tuple(view.strides[i] for i in order))


def _written_out(
    writer: Writer, left: Block, right: Block, batch: tuple[int, ...], rows: tuple[int, ...],
    columns: tuple[int, ...], inner: tuple[int, ...],
) -> Scattered:  # fmt: skip
    groups, m, n, k = size_of(batch), size_of(rows), size_of(columns), size_of(inner)
    a = writer.scattered(left).elements.reshape(groups, m, k)
    b = writer.scattered(right).elements.reshape(groups, n, k)
    result = np.empty((groups, m, n), object)
    for g, i, j in np.ndindex(groups, m, n):
        result[g, i, j] = _dot(writer, a[g, i], b[g, j])
    return Scattered(result.reshape(*batch, *rows, *columns))


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


def _tiled(
    writer: Writer, a: View, b: View, batch: tuple[int, ...], rows: tuple[int, ...], columns: tuple[int, ...],
    inner: tuple[int, ...],
) -> View:  # fmt: skip
    """Loops over tiles of the result; the sums of a tile stay in registers while the contraction runs."""
    if len(rows) > 1 or len(columns) > 1 or len(inner) != 1:
        raise Unsupported("a product of large arrays with more than two axes")
    m, n, k = size_of(rows), size_of(columns), inner[0]
    flat = (*batch, *([m] if rows else []), *([n] if columns else []))
    target = writer.allocate(flat)
    result = replace(target, shape=(*batch, m, n), strides=(*target.strides[: len(batch)], n, 1))
    a = replace(a, shape=(*batch, m, k), strides=_with_axis(a, len(batch), bool(rows)))
    b = replace(b, shape=(*batch, n, k), strides=_with_axis(b, len(batch), bool(columns)))

    def group(place: list[ir.Value]) -> None:
        for row_start, row_tiles, height in _tiles(m):
            for column_start, column_tiles, breadth in _tiles(n):
                with writer.loop(row_tiles) as row, writer.loop(column_tiles) as column:
                    i = _scaled(writer, row, height, row_start)
                    j = _scaled(writer, column, breadth, column_start)
                    _tile(writer, (a, b, result), place, (i, height), (j, breadth), k)

    writer.nest(batch, group)
    return target


def _with_axis(view: View, num_batch: int, has_free: bool) -> tuple[int, ...]:
    return view.strides if has_free else (*view.strides[:num_batch], 0, *view.strides[num_batch:])


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
