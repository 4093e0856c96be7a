"""Elements of arrays of lanes in other places: transposed, reshaped, sliced, gathered, joined, padded.

Moves of single values are found by letting JAX move their numbers; arrays in memory are looked at with other strides,
or copied. Nothing is computed here.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

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

MOVES = (
    "transpose", "reshape", "broadcast_in_dim", "squeeze", "expand_dims", "slice", "rev", "split", "concatenate",
    "stack", "unstack", "tile", "pad", "dynamic_slice", "gather", "dynamic_update_slice", "scatter",
)  # fmt: skip


_PLACES = {
    "dynamic_slice": slice(1, None), "dynamic_update_slice": slice(2, None), "gather": slice(1, 2),
    "scatter": slice(1, 2),
}  # fmt: skip
"""Which arguments of a move are places."""


def move(writer: Writer, equation: Any, blocks: Sequence[Block]) -> list[Block]:
    """Elements in other places: transposition, reshaping, slicing, joining and the like.

    Raises:
        Unsupported: places depend on the state, or a large array is moved in a way that strides cannot say.
    """
    name = equation.primitive.name
    places = blocks[_PLACES.get(name, slice(0))]
    if not all(isinstance(b, np.ndarray) for b in places):
        raise Unsupported(f"{name} at places that depend on the state")
    shapes = [variable.aval.shape for variable in equation.outvars]
    if max(size_of(s) for s in [*shapes, *(b.shape for b in blocks)]) <= SMALL:
        return _moved_values(writer, equation, blocks)
    moved = _moved_view(writer, equation, blocks)
    if moved is None:
        raise Unsupported(f"{equation.primitive.name} of {shapes}")
    return moved


def _moved_values(writer: Writer, equation: Any, blocks: Sequence[Block]) -> list[Block]:
    """Moves the elements themselves, or lets JAX move their numbers and puts them in their places."""
    if equation.primitive.name in BY_NUMPY:
        whole = [writer.scattered(block) for block in blocks]
        moved = BY_NUMPY[equation.primitive.name](equation, *(w.elements for w in whole))
        return [Scattered(np.asarray(m, object), whole[0].is_truth) for m in moved]
    table: list[Any] = []
    operands, is_truth = [], False  # places as floating numbers, which every move takes
    for block in blocks:
        if isinstance(block, np.ndarray) and block.dtype.kind in "iu":
            operands.append(block)
            continue
        spread = writer.scattered(block)
        is_truth = is_truth or spread.is_truth
        first = len(table)
        table.extend(spread.elements.ravel())
        operands.append(np.arange(first, len(table), dtype=float).reshape(spread.shape))
    params = dict(equation.params)
    if equation.primitive.name == "gather":
        fill, params["fill_value"] = params["fill_value"], float(len(table))
        table.append(is_truth or (np.nan if fill is None else fill))
    outputs = equation.primitive.bind(*[jax.numpy.asarray(o) for o in operands], **params)
    elements = np.empty(len(table), object)
    elements[:] = table
    many = outputs if equation.primitive.multiple_results else [outputs]
    return [Scattered(_taken(elements, np.asarray(o)), is_truth) for o in many]


def _repeated(equation: Any, elements: np.ndarray) -> list[np.ndarray]:
    shape, places = equation.outvars[0].aval.shape, equation.params["broadcast_dimensions"]
    thick = [1] * len(shape)
    for axis, place in enumerate(places):
        thick[place] = elements.shape[axis]
    return [np.broadcast_to(elements.reshape(thick), shape)]


def _sliced(equation: Any, elements: np.ndarray) -> list[np.ndarray]:
    params = equation.params
    steps = params["strides"] or (1,) * elements.ndim
    return [elements[tuple(map(slice, params["start_indices"], params["limit_indices"], steps))]]


def _framed(equation: Any, elements: np.ndarray, padding: np.ndarray) -> list[np.ndarray]:
    config = equation.params["padding_config"]
    framed = np.full(equation.outvars[0].aval.shape, padding[()], elements.dtype)
    for place in np.ndindex(*elements.shape):
        target = tuple(low + i * (inner + 1) for i, (low, _, inner) in zip(place, config, strict=True))
        if all(0 <= t < size for t, size in zip(target, framed.shape, strict=True)):
            framed[target] = elements[place]
    return [framed]


BY_NUMPY: dict[str, Callable[..., Sequence[np.ndarray]]] = {
    "transpose": lambda equation, a: [np.transpose(a, equation.params["permutation"])],
    "reshape": lambda equation, a: [a.reshape(equation.outvars[0].aval.shape)],
    "squeeze": lambda equation, a: [a.reshape(equation.outvars[0].aval.shape)],
    "expand_dims": lambda equation, a: [a.reshape(equation.outvars[0].aval.shape)],
    "broadcast_in_dim": _repeated,
    "slice": _sliced,
    "rev": lambda equation, a: [np.flip(a, equation.params["dimensions"])],
    "split": lambda equation, a: np.split(a, np.cumsum(equation.params["sizes"])[:-1], equation.params["axis"]),
    "pad": _framed,
    "concatenate": lambda equation, *a: [np.concatenate(a, equation.params["dimension"])],
    "stack": lambda equation, *a: [np.stack(a, equation.params["axis"])],
    "unstack": lambda equation, a: list(np.moveaxis(a, equation.params["axis"], 0)),
}
"""Moves of NumPy arrays of anything, which need no compilation by JAX."""


def _taken(elements: np.ndarray, places: np.ndarray) -> np.ndarray:
    taken = np.empty(places.shape, object)  # indexing with a single place would give the element itself
    for position in np.ndindex(*places.shape):
        taken[position] = elements[int(places[position])]
    return taken


def _moved_view(writer: Writer, equation: Any, blocks: Sequence[Block]) -> list[Block] | None:
    """The same for arrays in memory, by strides; joined arrays are copied."""
    name, params = equation.primitive.name, equation.params
    shape = equation.outvars[0].aval.shape
    if name == "concatenate":
        return [_joined(writer, blocks, params["dimension"], shape)]
    if name == "stack":
        axis = params["axis"]
        thick = [reshaped(writer, b, (*b.shape[:axis], 1, *b.shape[axis:])) for b in blocks]
        return [_joined(writer, thick, axis, shape)]
    if name == "pad":
        return [_padded(writer, blocks, params["padding_config"], shape)]
    view = writer.view(blocks[0])
    if name == "transpose":
        order = params["permutation"]
        return [replace(view, shape=tuple(view.shape[i] for i in order), strides=tuple(view.strides[i] for i in order))]
    if name == "broadcast_in_dim":
        strides = [0] * len(shape)
        for axis, place in enumerate(params["broadcast_dimensions"]):
            strides[place] = view.strides[axis] if view.shape[axis] == shape[place] else 0
        return [replace(view, shape=shape, strides=tuple(strides))]
    if name in ("reshape", "squeeze", "expand_dims"):
        return [reshaped(writer, view, shape)]
    if name == "rev":
        turned = [i in params["dimensions"] for i in range(len(shape))]
        ends = zip(view.shape, view.strides, turned, strict=True)
        offset = view.offset + sum((size - 1) * stride for size, stride, turns in ends if turns)
        spaced = tuple(-stride if turns else stride for stride, turns in zip(view.strides, turned, strict=True))
        return [replace(view, strides=spaced, offset=offset)]
    if name == "slice":
        steps = params["strides"] or (1,) * len(view.shape)
        offset = view.offset + sum(s * d for s, d in zip(params["start_indices"], view.strides, strict=True))
        spaced = tuple(s * d for s, d in zip(steps, view.strides, strict=True))
        return [replace(view, shape=shape, strides=spaced, offset=offset)]
    if name == "unstack":
        axis = params["axis"]
        kept = (*view.strides[:axis], *view.strides[axis + 1 :])
        offsets = [view.offset + i * view.strides[axis] for i in range(view.shape[axis])]
        return [replace(view, shape=shape, strides=kept, offset=offset) for offset in offsets]
    if name == "split":
        pieces, start, axis = [], 0, params["axis"]
        for size in params["sizes"]:
            piece = (*view.shape[:axis], size, *view.shape[axis + 1 :])
            pieces.append(replace(view, shape=piece, offset=view.offset + start * view.strides[axis]))
            start += size
        return list(pieces)
    return None


def reshaped(writer: Writer, block: Block, shape: tuple[int, ...]) -> Block:
    """The same elements, row by row, in another shape."""
    if isinstance(block, np.ndarray):
        return block.reshape(shape)
    if isinstance(block, Scattered):
        return replace(block, elements=block.elements.reshape(shape))
    view = writer.view(block)
    whole = view if view.is_contiguous else _copied(writer, view)
    return replace(whole, shape=shape, strides=row_major(shape))


def _copied(writer: Writer, view: View) -> View:
    target = writer.allocate(view.shape, view.is_truth)
    writer.nest(view.shape, lambda indices: writer.store(target, indices, writer.load(view, indices)))
    return target


def _joined(writer: Writer, blocks: Sequence[Block], axis: int, shape: tuple[int, ...]) -> View:
    target, start = writer.allocate(shape, _is_truth(blocks[0])), 0
    for block in blocks:
        if size_of(block.shape) == 0:
            continue
        place = replace(target, shape=block.shape, offset=target.offset + start * target.strides[axis])
        _fill(writer, place, block)
        start += block.shape[axis]
    return target


def _padded(writer: Writer, blocks: Sequence[Block], config: Any, shape: tuple[int, ...]) -> View:
    if any(low < 0 or high < 0 for low, high, _ in config):
        raise Unsupported("pad of a large array with a negative width")
    target = writer.allocate(shape, _is_truth(blocks[0]))
    padding = writer.scattered(blocks[1]).elements[()]
    writer.nest(shape, lambda indices: writer.store(target, indices, writer.value(padding)))
    offset = target.offset + sum(low * d for (low, _, _), d in zip(config, target.strides, strict=True))
    strides = tuple((inner + 1) * d for (_, _, inner), d in zip(config, target.strides, strict=True))
    _fill(writer, replace(target, shape=blocks[0].shape, strides=strides, offset=offset), blocks[0])
    return target


def _is_truth(block: Block) -> bool:
    return block.dtype == bool if isinstance(block, np.ndarray) else block.is_truth


def _fill(writer: Writer, place: View, block: Block) -> None:
    if isinstance(block, Scattered):
        for position in np.ndindex(*block.shape):
            writer.store(place, [writer.index(i) for i in position], writer.value(block.elements[position]))
        return
    source = block if isinstance(block, Deferred) else writer.view(block)
    writer.nest(block.shape, lambda indices: writer.store(place, indices, writer.element(source, indices)))
