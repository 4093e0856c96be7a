"""One adaptive Tsit5 step of all lanes: stages, error, the next step's length, and why a lane ends."""

import diffrax
from llvmlite import ir

from gradflow.ensemble.native.registers import FAR, Registers
from gradflow.ensemble.orders import ESCAPED, HORIZON, LEFT, MAX_REJECTS, NONFINITE, STALLED, STATIONARY, STEP_LIMIT


def write_step(registers: Registers) -> None:
    """The instructions of a step, where the registers' builder stands."""
    _Step(registers).write()


class _Step:
    """Writes a step; each method is a piece of it, in the order in which they stand."""

    def __init__(self, registers: Registers) -> None:
        self.registers = registers
        self.builder, self.writer, self.lanes = registers.builder, registers.writer, registers.lanes
        self.size, self.settings = registers.size, registers.settings
        self.get, self.put, self.load, self.element = registers.get, registers.put, registers.load, registers.element

    def write(self) -> None:
        """The whole step."""
        lanes, get = self.lanes, self.get
        cap = lanes.multiply(self.settings["limit"], lanes.rough_root(get("reach")))
        step = lanes.smaller(lanes.smaller(cap, get("max_step")), get("step"))
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
            self.registers.call_field(target, "k7" if stage == 6 else slopes[stage])

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
            size = lanes.larger(lanes.apply("abs", old), lanes.apply("abs", new))
            weight = lanes.fused(self.settings["rtol"], size, self.settings["atol"])
            part = lanes.multiply(error, lanes.rough_reciprocal(weight))
            bend, way = lanes.subtract(slopes[6], slopes[5]), lanes.subtract(new, stage)
            pairs = (part, bend, way, new, slopes[6])
            return [lanes.fused(p, p, total) for p, total in zip(pairs, totals, strict=True)]

        error, *rest = self.registers.sums(5, terms)
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
        inside = lanes.smaller(lanes.larger(error, lanes.constant(1e-30)), lanes.constant(1e30))
        growth = lanes.multiply(lanes.constant(0.9), lanes.rough_tenth_root(inside))
        growth = lanes.smaller(lanes.larger(growth, lanes.constant(0.2)), lanes.constant(10.0))
        growth = lanes.select(known, growth, lanes.constant(0.2))
        proposed = lanes.multiply(length, growth)
        # A step shortened to meet the horizon says nothing against the length proposed before.
        proposed = lanes.select(lanes.both(keep, is_last), lanes.larger(proposed, get("step")), proposed)
        put("step", lanes.select(live, proposed, get("step")))
        seen = lanes.both(keep, lanes.compare(">", distance, lanes.multiply(size, lanes.constant(1e-26))))
        reach = lanes.multiply(distance, lanes.rough_reciprocal(lanes.larger(slopes, lanes.constant(1 / FAR))))
        reach = lanes.larger(lanes.smaller(reach, lanes.constant(FAR)), lanes.constant(1 / FAR))
        put("reach", lanes.select(seen, reach, get("reach")))
        time = lanes.select(is_last, get("stop_time"), lanes.add(get("time"), length))
        put("time", lanes.select(keep, time, get("time")))
        put("grad_norm", lanes.select(keep, grad, get("grad_norm")))
        put("norm", lanes.select(keep, size, get("norm")))
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
