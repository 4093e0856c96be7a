"""What the kernel keeps of its lanes: arrays of components, variables of each lane, settings shared by all.

Knows where things lie and how to read, write and sum them; not what they are for.
"""

import sys
from collections.abc import Callable

from llvmlite import ir

from gradflow.ensemble.native.arithmetic import DOUBLE, INT64, Lanes
from gradflow.ensemble.native.arrays import Writer
from gradflow.ensemble.orders import SETTINGS

STATE = ("time", "stop_time", "max_step", "quiet", "loud", "step", "reach", "num_steps", "num_rejected", "rejects",
         "code", "fresh", "active", "grad_norm", "norm")  # fmt: skip
SQUARES = ("quiet", "loud", "grad_norm", "norm", "reach")
"""Kept as squares, so that a step takes no roots; ``reach`` is one over the spectral radius seen."""

FAR = 1e300
"""The reach of steps where nothing is known of the curvature."""

ARRAYS = ("y", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "u", "z")
"""State, seven slopes, stage and new state."""


class Registers:
    """Memory of a kernel for a field of `size` parameters, where `builder` stands; `work` holds the arrays."""

    def __init__(
        self, builder: ir.IRBuilder, field: ir.Function, size: int, width: int, work: ir.Value, settings: ir.Value
    ) -> None:
        self.builder, self.field, self.size, self.width = builder, field, size, width
        self.writer = Writer(builder, width, work)
        self.lanes: Lanes = self.writer.lanes
        vector = self.lanes.type
        self.arrays = {name: builder.gep(work, [ir.Constant(INT64, i * size)], source_etype=vector)
                       for i, name in enumerate(ARRAYS)}  # fmt: skip
        self.scratch = builder.gep(work, [ir.Constant(INT64, len(ARRAYS) * size)], source_etype=vector)
        self.state = {name: self._slot(name) for name in STATE}
        self.settings = {
            name: self.lanes.splat(builder.load(self.at(settings, i), typ=DOUBLE)) for i, name in enumerate(SETTINGS)
        }
        norm, infinite = self.settings["max_norm"], self.lanes.constant(float("inf"))
        square = self.lanes.smaller(self.lanes.multiply(norm, norm), self.lanes.constant(sys.float_info.max))
        self.settings["max_norm"] = self.lanes.select(self.lanes.compare("<", norm, infinite), square, infinite)

    def _slot(self, name: str) -> ir.Value:
        slot = self.builder.alloca(self.lanes.type, name=name)
        slot.align = 64
        self.builder.store(self.lanes.constant(0.0), slot, align=self.lanes.align)
        return slot

    def at(self, pointer: ir.Value, place: int | ir.Value) -> ir.Value:
        """Pointer to a number of an array of numbers."""
        index = ir.Constant(INT64, place) if isinstance(place, int) else place
        return self.builder.gep(pointer, [index], source_etype=DOUBLE)

    def get(self, name: str) -> ir.Value:
        """The lanes' present value of a state variable."""
        return self.builder.load(self.state[name], align=self.lanes.align, typ=self.lanes.type)

    def put(self, name: str, value: ir.Value) -> None:
        """A new value of a state variable."""
        self.builder.store(value, self.state[name], align=self.lanes.align)

    def element(self, array: str, index: ir.Value) -> ir.Value:
        """Pointer to one component of an array of the work space."""
        return self.builder.gep(self.arrays[array], [index], source_etype=self.lanes.type)

    def load(self, array: str, index: ir.Value) -> ir.Value:
        """One component of an array of the work space."""
        return self.builder.load(self.element(array, index), align=self.lanes.align, typ=self.lanes.type)

    def call_field(self, state: str, velocity: str) -> None:
        """The field at one array, into another."""
        self.builder.call(self.field, [self.arrays[state], self.arrays[velocity], self.scratch])

    def sums(self, number: int, terms: Callable[[ir.Value, list[ir.Value]], list[ir.Value]]) -> list[ir.Value]:
        """Sums over all components; `terms` gives the new totals."""
        builder = self.builder
        before = builder.block
        head, after = builder.append_basic_block("sum"), builder.append_basic_block("summed")
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(INT64)
        index.add_incoming(ir.Constant(INT64, 0), before)
        totals = [builder.phi(self.lanes.type) for _ in range(number)]
        for total in totals:
            total.add_incoming(self.lanes.constant(0.0), before)
        new = terms(index, totals)
        following = builder.add(index, ir.Constant(INT64, 1))
        index.add_incoming(following, builder.block)
        for total, value in zip(totals, new, strict=True):
            total.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_unsigned("<", following, ir.Constant(INT64, self.size)), head, after)
        builder.position_at_end(after)
        return new
