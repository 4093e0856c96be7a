"""The native kernel: lanes of adaptive Tsit5 steps, retired and refilled one by one, in LLVM's representation.

``run(work, starts, orders, settings, num, ends, facts)`` takes `num` starts through to their ends. All lanes of a
vector step together, each with its own time and step size; a lane whose trajectory has ended is written out and given
the next start. Every lane executes the same instructions, so an end depends on its start alone: not on its neighbours,
nor on how many there are.

The method is Tsitouras 5(4) with an integral controller (safety 0.9, factors 0.2 to 10) on the root mean square of
``error / (atol + rtol max(|y0|, |y1|))``, the step capped at ``limit / rho`` with ``rho = ||k7 - k6|| / ||y7 - y6||``
from stages already computed (the spectral radius seen by the fastest mode; kept when the difference is rounding).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import diffrax
from llvmlite import ir

from gradflow.ensemble.native.arithmetic import DOUBLE, INT64, Lanes
from gradflow.ensemble.native.arrays import Writer
from gradflow.ensemble.orders import (
    ESCAPED,
    FACTS,
    HORIZON,
    LEFT,
    MAX_REJECTS,
    NONFINITE,
    ORDERS,
    SETTINGS,
    STALLED,
    STATIONARY,
    STEP_LIMIT,
)  # fmt: skip

_STATE = ("time", "stop_time", "max_step", "quiet", "loud", "step", "radius", "num_steps", "num_rejected", "rejects",
          "code", "fresh", "active", "grad_norm", "norm", "is_broken")  # fmt: skip
_VECTORS = 10
"""State, seven slopes, stage and new state."""


def work_size(size: int, scratch: int) -> int:
    """Vectors of memory that `run` needs."""
    return _VECTORS * size + scratch + 8


def write_run(module: ir.Module, field: ir.Function, size: int, width: int) -> ir.Function:
    """The function ``run`` in `module`, for a field of `size` parameters on `width` lanes."""
    return _Run(module, field, size, width).function


class _Run:
    """Writes the kernel; each method is a piece of it, in the order in which they stand."""

    def __init__(self, module: ir.Module, field: ir.Function, size: int, width: int) -> None:
        self.field, self.size, self.width = field, size, width
        vector = ir.VectorType(DOUBLE, width)
        numbers = DOUBLE.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [vector.as_pointer(), numbers, numbers, numbers, INT64, numbers, numbers])
        self.function = ir.Function(module, kind, "run")
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.writer = Writer(self.builder, width, self.function.args[0])
        self.lanes: Lanes = self.writer.lanes
        work, self.starts, self.orders, settings, self.num, self.ends, self.facts = self.function.args
        for argument in self.function.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        self.arrays = {name: self.builder.gep(work, [ir.Constant(INT64, i * size)], source_etype=vector)
                       for i, name in enumerate(("y", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "u", "z"))}  # fmt: skip
        self.scratch = self.builder.gep(work, [ir.Constant(INT64, _VECTORS * size)], source_etype=vector)
        self.state = {name: self._slot(name) for name in _STATE}
        self.owner = self.builder.alloca(ir.ArrayType(INT64, width), name="owner")
        self.next = self.builder.alloca(INT64, name="next")
        self.settings = {
            name: self.lanes.splat(self.builder.load(self._at(settings, i), typ=DOUBLE))
            for i, name in enumerate(SETTINGS)
        }
        self._write()

    def _slot(self, name: str) -> ir.Value:
        slot = self.builder.alloca(self.lanes.type, name=name)
        slot.align = 64
        self.builder.store(self.lanes.constant(0.0), slot, align=self.lanes.align)
        return slot

    def _at(self, pointer: ir.Value, place: int | ir.Value) -> ir.Value:
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
        self._step()
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
        return self._at(self.builder.bitcast(self.state[name], DOUBLE.as_pointer()), lane)

    def _component(self, index: ir.Value, lane: ir.Value, array: str = "y") -> ir.Value:
        flat = self.builder.bitcast(self.arrays[array], DOUBLE.as_pointer())
        place = self.builder.add(self.builder.mul(index, ir.Constant(INT64, self.width)), lane)
        return self._at(flat, place)

    def _fetch(self, lane: ir.Value) -> None:
        """Gives the lane the next start, or puts it to rest."""
        builder = self.builder
        mine = builder.load(self.next, typ=INT64)
        owner = self._owner(lane)
        has_more = builder.icmp_signed("<", mine, self.num)
        for name in ("code", "num_steps", "num_rejected", "rejects", "radius", "grad_norm", "norm", "is_broken"):
            builder.store(ir.Constant(DOUBLE, 0.0), self._lane_pointer(name, lane))
        flag = builder.uitofp(has_more, DOUBLE)
        builder.store(flag, self._lane_pointer("active", lane))
        builder.store(flag, self._lane_pointer("fresh", lane))
        with builder.if_then(has_more):
            builder.store(mine, owner)
            builder.store(builder.add(mine, ir.Constant(INT64, 1)), self.next)
            first = builder.mul(mine, ir.Constant(INT64, self.size))
            with self.writer.loop(self.size) as index:
                value = builder.load(self._at(self.starts, builder.add(first, index)), typ=DOUBLE)
                builder.store(value, self._component(index, lane))
            told = builder.mul(mine, ir.Constant(INT64, len(ORDERS)))
            for i, name in enumerate(ORDERS):
                value = builder.load(self._at(self.orders, builder.add(told, ir.Constant(INT64, i))), typ=DOUBLE)
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
                builder.store(value, self._at(self.ends, builder.add(first, index)))
            place = builder.mul(mine, ir.Constant(INT64, len(FACTS)))
            for i, name in enumerate(FACTS):
                value = builder.load(self._lane_pointer(name, lane), typ=DOUBLE)
                builder.store(value, self._at(self.facts, builder.add(place, ir.Constant(INT64, i))))
            self._fetch(lane)

    # --- beginnings -------------------------------------------------------------------------------------------------

    def _begin_fresh(self) -> None:
        """Slope, gradient norm and first step of the lanes that have just been given a start."""
        lanes, get, put = self.lanes, self.get, self.put
        fresh = lanes.is_nonzero(get("fresh"))
        self.call_field("y", "k2")
        sums = self._sums(3, lambda i, totals: self._fresh_terms(i, fresh, totals))
        slope_size, state_size, weighted = sums
        grad_norm = lanes.apply("sqrt", slope_size)
        put("grad_norm", lanes.select(fresh, grad_norm, get("grad_norm")))
        put("norm", lanes.select(fresh, lanes.apply("sqrt", state_size), get("norm")))
        first = self._first_step(weighted)
        needs_one = lanes.both(fresh, lanes.compare("==", get("step"), lanes.constant(0.0)))
        put("step", lanes.select(needs_one, first, get("step")))
        finite = lanes.compare("<", lanes.add(slope_size, state_size), lanes.constant(float("inf")))
        code = lanes.select(lanes.compare("<=", grad_norm, get("quiet")), lanes.constant(STATIONARY), lanes.constant(0))
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

    def _sums(self, number: int, terms: Callable[[ir.Value, list[ir.Value]], list[ir.Value]]) -> list[ir.Value]:
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

    # --- a step -----------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        lanes, get = self.lanes, self.get
        step = lanes.minimum(get("step"), get("max_step"))
        cap = lanes.divide(self.settings["limit"], lanes.add(get("radius"), lanes.constant(1e-300)))
        step = lanes.minimum(step, cap)
        remaining = lanes.subtract(get("stop_time"), get("time"))
        is_last = lanes.compare(">=", step, lanes.multiply(remaining, lanes.constant(1 - 1e-12)))
        length = lanes.select(is_last, remaining, step)
        self._stages(length)
        error, slopes, distance, size, grad = self._assess(length)
        live = lanes.both(lanes.is_nonzero(get("active")), lanes.compare("==", get("code"), lanes.constant(0)))
        is_good = lanes.both(lanes.compare("<=", error, lanes.constant(1.0)),
                             lanes.compare("<", grad, lanes.constant(float("inf"))))  # fmt: skip
        keep = lanes.both(live, is_good)
        self._take_over(keep)
        self._bookkeeping(live, keep, is_last, length, error, (slopes, distance, size, grad))

    def _stages(self, length: ir.Value) -> None:
        tableau = diffrax.Tsit5.tableau
        slopes = ("k1", "k2", "k3", "k4", "k5", "k6")
        for stage, weights in enumerate(tableau.a_lower, start=1):
            target = "z" if stage == 6 else "u"
            self._combine(target, [float(w) for w in weights], length)
            self.call_field(target, "k7" if stage == 6 else slopes[stage])

    def _combine(self, target: str, weights: list[float], length: ir.Value) -> None:
        """``target = y + h sum_i weights[i] k_i``."""
        lanes = self.lanes
        with self.writer.loop(self.size) as i:
            total = lanes.multiply(self.load("k1", i), lanes.constant(weights[0]))
            for j, weight in enumerate(weights[1:], start=2):
                if weight:
                    total = lanes.fused(self.load(f"k{j}", i), lanes.constant(weight), total)
            self.builder.store(
                lanes.fused(length, total, self.load("y", i)), self.element(target, i), align=self.lanes.align
            )

    def _assess(self, length: ir.Value) -> tuple[ir.Value, ...]:
        """Mean square of the error per tolerance; squares of k7 - k6, y7 - y6, y7 and k7."""
        lanes = self.lanes
        weights = [float(w) for w in diffrax.Tsit5.tableau.b_error]

        def terms(i: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
            slopes = [self.load(f"k{j}", i) for j in range(1, 8)]
            error = lanes.multiply(slopes[0], lanes.constant(weights[0]))
            for slope, weight in zip(slopes[1:], weights[1:], strict=True):
                error = lanes.fused(slope, lanes.constant(weight), error)
            old, new, stage = self.load("y", i), self.load("z", i), self.load("u", i)
            size = lanes.maximum(lanes.apply("abs", old), lanes.apply("abs", new))
            part = lanes.divide(error, lanes.fused(self.settings["rtol"], size, self.settings["atol"]))
            bend, way = lanes.subtract(slopes[6], slopes[5]), lanes.subtract(new, stage)
            pairs = (part, bend, way, new, slopes[6])
            return [lanes.fused(p, p, total) for p, total in zip(pairs, totals, strict=True)]

        error, *rest = self._sums(5, terms)
        scaled = lanes.multiply(error, lanes.constant(1.0 / self.size))
        return (lanes.multiply(scaled, lanes.multiply(length, length)), *rest)

    def _take_over(self, keep: ir.Value) -> None:
        lanes = self.lanes
        with self.writer.loop(self.size) as i:
            for old, new in (("y", "z"), ("k1", "k7")):
                value = lanes.select(keep, self.load(new, i), self.load(old, i))
                self.builder.store(value, self.element(old, i), align=self.lanes.align)

    def _bookkeeping(
        self,
        live: ir.Value,
        keep: ir.Value,
        is_last: ir.Value,
        length: ir.Value,
        error: ir.Value,
        sums: tuple[ir.Value, ...],
    ) -> None:
        lanes, get, put = self.lanes, self.get, self.put
        slopes, distance, size, grad = sums
        one, zero = lanes.constant(1.0), lanes.constant(0.0)
        known = lanes.compare("<", error, lanes.constant(float("inf")))
        growth = lanes.multiply(lanes.constant(0.9), lanes.exp(lanes.multiply(lanes.log(error), lanes.constant(-0.1))))
        growth = lanes.minimum(lanes.maximum(growth, lanes.constant(0.2)), lanes.constant(10.0))
        growth = lanes.select(known, growth, lanes.constant(0.2))
        proposed = lanes.multiply(length, growth)
        # A step shortened to meet the horizon says nothing against the length proposed before.
        proposed = lanes.select(lanes.both(keep, is_last), lanes.maximum(proposed, get("step")), proposed)
        put("step", lanes.select(live, proposed, get("step")))
        seen = lanes.both(keep, lanes.compare(">", distance, lanes.multiply(size, lanes.constant(1e-26))))
        put("radius", lanes.select(seen, lanes.apply("sqrt", lanes.divide(slopes, distance)), get("radius")))
        time = lanes.select(is_last, get("stop_time"), lanes.add(get("time"), length))
        put("time", lanes.select(keep, time, get("time")))
        grad_norm, norm = lanes.apply("sqrt", grad), lanes.apply("sqrt", size)
        put("grad_norm", lanes.select(keep, grad_norm, get("grad_norm")))
        put("norm", lanes.select(keep, norm, get("norm")))
        put("num_steps", lanes.add(get("num_steps"), lanes.select(live, one, zero)))
        rejected = lanes.both(live, lanes.negation(keep))
        put("num_rejected", lanes.add(get("num_rejected"), lanes.select(rejected, one, zero)))
        put("rejects", lanes.select(rejected, lanes.add(get("rejects"), one), lanes.select(live, zero, get("rejects"))))
        put("code", lanes.select(live, self._code(keep, is_last, known), get("code")))

    def _code(self, keep: ir.Value, is_last: ir.Value, known: ir.Value) -> ir.Value:
        """Why a lane ends here, 0 when it goes on; the first reason that applies counts."""
        lanes, get = self.lanes, self.get
        is_stuck = lanes.either(
            lanes.compare(">=", get("rejects"), lanes.constant(MAX_REJECTS)),
            lanes.compare("<=", get("step"), lanes.multiply(get("time"), lanes.constant(4e-16))),
        )
        reasons = [
            (lanes.both(keep, lanes.negation(lanes.compare("<=", get("norm"), self.settings["max_norm"]))), ESCAPED),
            (lanes.both(keep, lanes.compare("<=", get("grad_norm"), get("quiet"))), STATIONARY),
            (lanes.both(keep, lanes.compare(">", get("grad_norm"), get("loud"))), LEFT),
            (lanes.both(keep, is_last), HORIZON),
            (lanes.both(is_stuck, known), STALLED),
            (is_stuck, NONFINITE),
            (lanes.compare(">=", get("num_steps"), self.settings["max_steps"]), STEP_LIMIT),
        ]
        code = lanes.constant(0.0)
        for truth, reason in reversed(reasons):
            code = lanes.select(truth, lanes.constant(reason), code)
        return code
