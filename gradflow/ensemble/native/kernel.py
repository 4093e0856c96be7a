"""The native kernel: lanes of adaptive Tsit5 steps, retired and refilled one by one, in LLVM's representation.

``run(work, starts, orders, settings, num, ends, facts)`` takes `num` starts through to their ends. All lanes of a
vector step together, each with its own time and step size; a lane whose trajectory has ended is written out and given
the next start. Every lane executes the same instructions, so an end depends on its start alone: not on its neighbours,
nor on how many there are.

The method is Tsitouras 5(4) with an integral controller (safety 0.9, factors 0.2 to 10) on the root mean square of
``error / (atol + rtol max(|y0|, |y1|))``, the step capped at ``limit / rho`` with ``rho = ||k7 - k6|| / ||y7 - y6||``
from stages already computed (the spectral radius seen by the fastest mode; kept when the difference is rounding).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from llvmlite import ir

from gradflow.ensemble.native.arithmetic import DOUBLE, INT64
from gradflow.ensemble.native.registers import ARRAYS, FAR, SQUARES, Registers
from gradflow.ensemble.native.step import write_step
from gradflow.ensemble.orders import FACTS, HORIZON, NONFINITE, ORDERS, STATIONARY


def work_size(size: int, scratch: int) -> int:
    """Vectors of memory that `run` needs."""
    return len(ARRAYS) * size + scratch + 8


def write_run(module: ir.Module, field: ir.Function, size: int, width: int) -> ir.Function:
    """The function ``run`` in `module`, for a field of `size` parameters on `width` lanes."""
    return _Run(module, field, size, width).function


class _Run:
    """Writes the kernel; each method is a piece of it, in the order in which they stand."""

    def __init__(self, module: ir.Module, field: ir.Function, size: int, width: int) -> None:
        self.size, self.width = size, width
        vector = ir.VectorType(DOUBLE, width)
        numbers = DOUBLE.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [vector.as_pointer(), numbers, numbers, numbers, INT64, numbers, numbers])
        self.function = ir.Function(module, kind, "run")
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        work, self.starts, self.orders, settings, self.num, self.ends, self.facts = self.function.args
        for argument in self.function.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        self.registers = registers = Registers(self.builder, field, size, width, work, settings)
        self.writer, self.lanes, self.settings = registers.writer, registers.lanes, registers.settings
        self.get, self.put, self.load, self.element = registers.get, registers.put, registers.load, registers.element
        self.owner = self.builder.alloca(ir.ArrayType(INT64, width), name="owner")
        self.next = self.builder.alloca(INT64, name="next")
        self._write()

    # --- the whole --------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        builder = self.builder
        builder.store(ir.Constant(INT64, 0), self.next)
        with self._each_lane() as lane:
            self._fetch(lane)
        head, body, retire, step, leave = (
            builder.append_basic_block(name) for name in ("head", "body", "retire", "step", "leave")
        )
        builder.branch(head)
        builder.position_at_end(head)
        with builder.if_then(self.lanes.any(self.lanes.is_nonzero(self.get("fresh")))):
            self._begin_fresh()
        builder.cbranch(self.lanes.any(self.lanes.is_nonzero(self.get("active"))), body, leave)
        builder.position_at_end(body)
        builder.cbranch(self._is_time_to_retire(), retire, step)
        builder.position_at_end(retire)
        with self._each_lane() as lane:
            self._retire(lane)
        builder.branch(head)
        builder.position_at_end(step)
        write_step(self.registers)
        builder.branch(body)
        builder.position_at_end(leave)
        builder.ret_void()

    def _is_time_to_retire(self) -> ir.Value:
        """Enough lanes have ended to make the visit worth it, or none goes on."""
        ended = self.lanes.both(self.lanes.is_nonzero(self.get("code")), self.lanes.is_nonzero(self.get("active")))
        running = self.lanes.both(self.lanes.compare("==", self.get("code"), self.lanes.constant(0.0)),
                                  self.lanes.is_nonzero(self.get("active")))  # fmt: skip
        whole = ir.IntType(self.width)
        count = self.builder.ctpop(self.builder.bitcast(ended, whole))
        enough = self.builder.icmp_unsigned(">=", count, ir.Constant(whole, max(1, self.width // 8)))
        return self.builder.or_(enough, self.builder.not_(self.lanes.any(running)))

    @contextmanager
    def _each_lane(self) -> Iterator[ir.Value]:
        with self.writer.loop(self.width) as lane:
            yield lane

    def _owner(self, lane: ir.Value) -> ir.Value:
        return self.builder.gep(self.builder.bitcast(self.owner, INT64.as_pointer()), [lane], source_etype=INT64)

    def _lane_pointer(self, name: str, lane: ir.Value) -> ir.Value:
        return self.registers.at(self.builder.bitcast(self.registers.state[name], DOUBLE.as_pointer()), lane)

    def _component(self, index: ir.Value, lane: ir.Value, array: str = "y") -> ir.Value:
        flat = self.builder.bitcast(self.registers.arrays[array], DOUBLE.as_pointer())
        place = self.builder.add(self.builder.mul(index, ir.Constant(INT64, self.width)), lane)
        return self.registers.at(flat, place)

    def _fetch(self, lane: ir.Value) -> None:
        """Gives the lane the next start, or puts it to rest."""
        builder = self.builder
        mine = builder.load(self.next, typ=INT64)
        owner = self._owner(lane)
        has_more = builder.icmp_signed("<", mine, self.num)
        for name in ("code", "num_steps", "num_rejected", "rejects", "grad_norm", "norm"):
            builder.store(ir.Constant(DOUBLE, 0.0), self._lane_pointer(name, lane))
        builder.store(ir.Constant(DOUBLE, FAR), self._lane_pointer("reach", lane))
        flag = builder.uitofp(has_more, DOUBLE)
        builder.store(flag, self._lane_pointer("active", lane))
        builder.store(flag, self._lane_pointer("fresh", lane))
        with builder.if_then(has_more):
            builder.store(mine, owner)
            builder.store(builder.add(mine, ir.Constant(INT64, 1)), self.next)
            first = builder.mul(mine, ir.Constant(INT64, self.size))
            with self.writer.loop(self.size) as index:
                value = builder.load(self.registers.at(self.starts, builder.add(first, index)), typ=DOUBLE)
                builder.store(value, self._component(index, lane))
            told = builder.mul(mine, ir.Constant(INT64, len(ORDERS)))
            for i, name in enumerate(ORDERS):
                value = builder.load(
                    self.registers.at(self.orders, builder.add(told, ir.Constant(INT64, i))), typ=DOUBLE
                )
                if name in SQUARES:  # below zero means never
                    is_level = builder.fcmp_ordered(">=", value, ir.Constant(DOUBLE, 0.0))
                    value = builder.select(is_level, builder.fmul(value, value), ir.Constant(DOUBLE, -1.0))
                builder.store(value, self._lane_pointer("step" if name == "first_step" else name, lane))
        builder_zero = builder.not_(has_more)
        with builder.if_then(builder_zero):
            with self.writer.loop(self.size) as index:
                builder.store(ir.Constant(DOUBLE, 0.0), self._component(index, lane))
            builder.store(ir.Constant(DOUBLE, 0.0), self._lane_pointer("step", lane))

    def _retire(self, lane: ir.Value) -> None:
        """Writes out the lane if its trajectory has ended, and fetches the next one."""
        builder = self.builder
        code = builder.load(self._lane_pointer("code", lane), typ=DOUBLE)
        active = builder.load(self._lane_pointer("active", lane), typ=DOUBLE)
        zero = ir.Constant(DOUBLE, 0.0)
        has_ended = builder.and_(builder.fcmp_ordered("!=", code, zero), builder.fcmp_ordered("!=", active, zero))
        with builder.if_then(has_ended):
            owner = self._owner(lane)
            mine = builder.load(owner, typ=INT64)
            first = builder.mul(mine, ir.Constant(INT64, self.size))
            with self.writer.loop(self.size) as index:
                value = builder.load(self._component(index, lane), typ=DOUBLE)
                builder.store(value, self.registers.at(self.ends, builder.add(first, index)))
            place = builder.mul(mine, ir.Constant(INT64, len(FACTS)))
            for i, name in enumerate(FACTS):
                kept = "reach" if name == "radius" else name
                value = builder.load(self._lane_pointer(kept, lane), typ=DOUBLE)
                if kept in SQUARES:
                    value = self._root(value)
                if name == "radius":
                    is_known = builder.fcmp_ordered("<", value, ir.Constant(DOUBLE, 0.99 * FAR**0.5))
                    inverse = builder.fdiv(ir.Constant(DOUBLE, 1.0), value)
                    value = builder.select(is_known, inverse, ir.Constant(DOUBLE, 0.0))
                builder.store(value, self.registers.at(self.facts, builder.add(place, ir.Constant(INT64, i))))
            self._fetch(lane)

    def _root(self, number: ir.Value) -> ir.Value:
        """Square root of a single number."""
        module = self.builder.module
        known = module.globals.get("llvm.sqrt.f64")
        kind = ir.FunctionType(DOUBLE, [DOUBLE])
        return self.builder.call(known or ir.Function(module, kind, "llvm.sqrt.f64"), [number])

    # --- beginnings -------------------------------------------------------------------------------------------------

    def _begin_fresh(self) -> None:
        """Slope, gradient norm and first step of the lanes that have just been given a start."""
        lanes, get, put = self.lanes, self.get, self.put
        fresh = lanes.is_nonzero(get("fresh"))
        self.registers.call_field("y", "k2")
        sums = self.registers.sums(3, lambda i, totals: self._fresh_terms(i, fresh, totals))
        slope_size, state_size, weighted = sums
        put("grad_norm", lanes.select(fresh, slope_size, get("grad_norm")))
        put("norm", lanes.select(fresh, state_size, get("norm")))
        first = self._first_step(weighted)
        needs_one = lanes.both(fresh, lanes.compare("==", get("step"), lanes.constant(0.0)))
        put("step", lanes.select(needs_one, first, get("step")))
        finite = lanes.compare("<", lanes.add(slope_size, state_size), lanes.constant(float("inf")))
        code = lanes.select(
            lanes.compare("<=", slope_size, get("quiet")), lanes.constant(STATIONARY), lanes.constant(0)
        )
        is_late = lanes.compare(">=", get("time"), get("stop_time"))
        code = lanes.select(
            lanes.both(is_late, lanes.compare("==", code, lanes.constant(0))), lanes.constant(HORIZON), code
        )
        code = lanes.select(finite, code, lanes.constant(NONFINITE))
        put("code", lanes.select(fresh, code, get("code")))
        put("fresh", lanes.constant(0.0))

    def _fresh_terms(self, i: ir.Value, fresh: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
        lanes = self.lanes
        y, k = self.load("y", i), self.load("k2", i)
        self.builder.store(lanes.select(fresh, k, self.load("k1", i)), self.element("k1", i), align=self.lanes.align)
        weight = lanes.fused(self.settings["rtol"], lanes.apply("abs", y), self.settings["atol"])
        part = lanes.divide(k, weight)
        terms = ((k, k), (y, y), (part, part))
        return [lanes.fused(a, b, total) for (a, b), total in zip(terms, totals, strict=True)]

    def _first_step(self, weighted: ir.Value) -> ir.Value:
        """The step along which a straight line would be off by the tolerance's fifth root, from the slope alone."""
        lanes = self.lanes
        mean = lanes.multiply(weighted, lanes.constant(1.0 / self.size))
        speed = lanes.apply("sqrt", mean)
        tolerance = lanes.exp(lanes.multiply(lanes.log(self.settings["rtol"]), lanes.constant(-0.8)))
        return lanes.divide(lanes.constant(0.05), lanes.add(lanes.divide(speed, tolerance), lanes.constant(1e-300)))
