"""Elementary functions of vectors of lanes, written in LLVM's intermediate representation.

A lane is one trajectory; a vector holds the same number of all lanes. Every lane goes through the same instructions, so
a result does not depend on which lanes travel together. Knows nothing of fields or steps.

Accuracy, in units in the last place, the largest errors among 10^6 numbers of each range down to subnormal ones:
``exp`` and ``log`` 0.9, ``tanh`` 1.4, ``log1p`` 2.0, ``logistic`` 2.2 (0 below -709.8), ``expm1`` 2.5; infinities, NaN
and signed zeros as in NumPy. What is not written out here is the C library's, one lane after the other.
"""

from collections.abc import Callable

from llvmlite import ir

DOUBLE = ir.DoubleType()
INT64 = ir.IntType(64)
BIT = ir.IntType(1)

EXTERNAL = ("tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "erfc", "cbrt")
"""Functions of the C library that are called lane by lane."""


class Lanes:
    """Instructions on vectors of `width` lanes, appended where `builder` stands."""

    def __init__(self, builder: ir.IRBuilder, width: int) -> None:
        self.builder, self.width = builder, width
        self.type = ir.VectorType(DOUBLE, width)
        self.bits = ir.VectorType(BIT, width)
        self.integers = ir.VectorType(INT64, width)
        self.align = min(64, 8 * width)

    # --- constants and single instructions --------------------------------------------------------------------------

    def constant(self, value: float) -> ir.Value:
        """The same number in every lane."""
        return ir.Constant(self.type, [ir.Constant(DOUBLE, float(value))] * self.width)

    def _integer(self, value: int) -> ir.Value:
        return ir.Constant(self.integers, [ir.Constant(INT64, value)] * self.width)

    def truth(self, value: bool) -> ir.Value:
        """The same truth value in every lane."""
        return ir.Constant(self.bits, [ir.Constant(BIT, int(value))] * self.width)

    def splat(self, scalar: ir.Value) -> ir.Value:
        """A scalar, in every lane."""
        lane = self.builder.insert_element(ir.Constant(self.type, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.width), [ir.Constant(ir.IntType(32), 0)] * self.width)
        return self.builder.shuffle_vector(lane, ir.Constant(self.type, ir.Undefined), zeros)

    def add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """``a + b``, rounded once with the product that one of them is.

        Fusing is decided here and not by LLVM, whose choice depends on the width and on the processor.
        """
        for one, other in ((b, a), (a, b)):
            factors = self._factors(one)
            if factors is not None:
                return self.fused(*factors, other)
        return self.builder.fadd(a, b)

    def subtract(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """``a - b``, rounded once with the product that one of them is."""
        if self._factors(a) is None and self._factors(b) is None:
            return self.builder.fsub(a, b)
        return self.add(a, self.negate(b))

    def multiply(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """``a b``."""
        return self.builder.fmul(a, b)

    def _factors(self, value: ir.Value) -> tuple[ir.Value, ir.Value] | None:
        """The factors of a value that is a product, or minus one."""
        operation = getattr(value, "opname", None)
        if operation == "fneg":
            factors = self._factors(value.operands[0])
            return factors and (self.negate(factors[0]), factors[1])
        return tuple(value.operands) if operation == "fmul" else None

    def divide(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """``a / b``."""
        return self.builder.fdiv(a, b)

    def negate(self, a: ir.Value) -> ir.Value:
        """``-a``."""
        return self.builder.fneg(a)

    def fused(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """``a b + c``, rounded once."""
        return self._intrinsic("llvm.fma", a, b, c)

    def _intrinsic(self, name: str, *values: ir.Value) -> ir.Value:
        full, module = f"{name}.v{self.width}f64", self.builder.module
        kind = ir.FunctionType(self.type, [self.type] * len(values))
        known = module.globals.get(full)
        return self.builder.call(known if known is not None else ir.Function(module, kind, full), values)

    def compare(self, relation: str, a: ir.Value, b: ir.Value) -> ir.Value:
        """Truth of an ordered comparison; "!=" is true when a number is missing, the others are false."""
        if relation == "!=":
            return self.builder.fcmp_unordered("!=", a, b)
        return self.builder.fcmp_ordered(relation, a, b)

    def select(self, truth: ir.Value, yes: ir.Value, no: ir.Value) -> ir.Value:
        """`yes` where `truth`, else `no`."""
        return self.builder.select(truth, yes, no)

    def both(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Logical and."""
        return self.builder.and_(a, b)

    def either(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Logical or."""
        return self.builder.or_(a, b)

    def negation(self, a: ir.Value) -> ir.Value:
        """Logical not."""
        return self.builder.xor(a, self.truth(True))

    def minimum(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The smaller one; missing when one is missing."""
        return self.select(self.either(self.compare("<", a, b), self.compare("!=", a, a)), a, b)

    def maximum(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The larger one; missing when one is missing."""
        return self.select(self.either(self.compare(">", a, b), self.compare("!=", a, a)), a, b)

    def smaller(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The smaller one by one instruction; `b` when one is missing."""
        return self.select(self.compare("<", a, b), a, b)

    def larger(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The larger one by one instruction; `b` when one is missing."""
        return self.select(self.compare(">", a, b), a, b)

    def any(self, truth: ir.Value) -> ir.Value:
        """One bit: is it true in some lane?"""
        whole = self.builder.bitcast(truth, ir.IntType(self.width))
        return self.builder.icmp_unsigned("!=", whole, ir.Constant(ir.IntType(self.width), 0))

    def number(self, truth: ir.Value) -> ir.Value:
        """1.0 where true, 0.0 elsewhere."""
        return self.select(truth, self.constant(1.0), self.constant(0.0))

    def is_nonzero(self, a: ir.Value) -> ir.Value:
        """True where a stored truth value is."""
        return self.compare("!=", a, self.constant(0.0))

    # --- functions --------------------------------------------------------------------------------------------------

    def apply(self, name: str, *values: ir.Value) -> ir.Value:
        """The function called `name` (JAX's name of the primitive).

        Raises:
            KeyError: there is no such function here.
        """
        if name in EXTERNAL:
            return self._lane_by_lane(name, *values)
        return self._functions()[name](*values)

    def knows(self, name: str) -> bool:
        """True when :meth:`apply` has a function of that name."""
        return name in EXTERNAL or name in self._functions()

    def _functions(self) -> dict[str, Callable[..., ir.Value]]:
        one = self.constant(1.0)
        return {
            "add": self.add, "add_any": self.add, "sub": self.subtract, "mul": self.multiply, "div": self.divide,
            "neg": self.negate, "max": self.maximum, "min": self.minimum, "exp": self.exp, "log": self.log,
            "tanh": self.tanh, "logistic": self.logistic, "expm1": self.expm1, "log1p": self.log1p,
            "square": lambda a: self.multiply(a, a), "copy": lambda a: a, "copy_p": lambda a: a,
            "one_minus_square": lambda a: self.fused(self.negate(a), a, one),
            "stop_gradient": lambda a: a, "sign": self.sign,
            "abs": lambda a: self._intrinsic("llvm.fabs", a), "sqrt": lambda a: self._intrinsic("llvm.sqrt", a),
            "rsqrt": lambda a: self.divide(one, self._intrinsic("llvm.sqrt", a)),
            "floor": lambda a: self._intrinsic("llvm.floor", a), "ceil": lambda a: self._intrinsic("llvm.ceil", a),
            "sin": lambda a: self._lane_by_lane("sin", a), "cos": lambda a: self._lane_by_lane("cos", a),
            "pow": lambda a, b: self._lane_by_lane("pow", a, b),
            "atan2": lambda a, b: self._lane_by_lane("atan2", a, b),
            "exp2": lambda a: self._lane_by_lane("exp2", a),
        }  # fmt: skip

    def power(self, a: ir.Value, exponent: int) -> ir.Value:
        """``a**exponent`` for an integer exponent, by repeated squaring."""
        if exponent == 0:
            return self.constant(1.0)
        result, square, left = None, a, abs(exponent)
        while left:
            if left & 1:
                result = square if result is None else self.multiply(result, square)
            left >>= 1
            if left:
                square = self.multiply(square, square)
        assert result is not None
        return self.divide(self.constant(1.0), result) if exponent < 0 else result

    def sign(self, a: ir.Value) -> ir.Value:
        """-1, 0 or 1; missing where `a` is."""
        zero = self.constant(0.0)
        negative = self.select(self.compare("<", a, zero), self.constant(-1.0), a)
        return self.select(self.compare(">", a, zero), self.constant(1.0), negative)

    def polynomial(self, x: ir.Value, coefficients: tuple[float, ...]) -> ir.Value:
        """``sum_i coefficients[i] x^i`` by Horner's rule."""
        result = self.constant(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            result = self.fused(result, x, self.constant(coefficient))
        return result

    def exp(self, x: ir.Value) -> ir.Value:
        """``exp(x)``: reduction to ``|r| <= ln(2)/2`` and Taylor's series to the 13th power."""
        inside = self._intrinsic("llvm.maxnum", self._intrinsic("llvm.minnum", x, self.constant(710.0)),
                                 self.constant(-746.0))  # fmt: skip
        whole = self._intrinsic("llvm.rint", self.multiply(inside, self.constant(1.4426950408889634)))
        r = self.fused(whole, self.constant(-6.93147180369123816490e-01), inside)
        r = self.fused(whole, self.constant(-1.90821492927058770002e-10), r)
        value = self.polynomial(r, _EXP)
        exponent = self.builder.fptosi(whole, self.integers)
        half = self.builder.ashr(exponent, self._integer(1))
        rest = self.builder.sub(exponent, half)
        value = self.builder.fmul(self.builder.fmul(value, self._two_to(half)), self._two_to(rest))
        return self.select(self.compare("!=", x, x), x, value)

    def _two_to(self, exponent: ir.Value) -> ir.Value:
        biased = self.builder.add(exponent, self._integer(1023))
        return self.builder.bitcast(self.builder.shl(biased, self._integer(52)), self.type)

    def log(self, x: ir.Value) -> ir.Value:
        """``log(x)``: ``x = 2^k (1 + f)`` and the rational approximation of the freely distributable math library."""
        tiny = self.compare("<", x, self.constant(2.2250738585072014e-308))
        scaled = self.select(tiny, self.builder.fmul(x, self.constant(2.0**54)), x)
        pattern = self.builder.bitcast(scaled, self.integers)
        shifted = self.builder.add(pattern, self._integer(0x3FF0000000000000 - 0x3FE6A09E00000000))
        exponent = self.builder.sub(self.builder.lshr(shifted, self._integer(52)), self._integer(1023))
        mantissa = self.builder.add(self.builder.and_(shifted, self._integer((1 << 52) - 1)),
                                    self._integer(0x3FE6A09E00000000))  # fmt: skip
        f = self.builder.fsub(self.builder.bitcast(mantissa, self.type), self.constant(1.0))
        k = self.builder.fsub(self.builder.sitofp(exponent, self.type),
                              self.select(tiny, self.constant(54.0), self.constant(0.0)))  # fmt: skip
        s = self.builder.fdiv(f, self.builder.fadd(self.constant(2.0), f))
        z = self.builder.fmul(s, s)
        tail = self.builder.fmul(z, self.polynomial(z, _LOG))
        half_square = self.builder.fmul(self.builder.fmul(self.constant(0.5), f), f)
        inner = self.fused(s, self.builder.fadd(half_square, tail),
                           self.builder.fmul(k, self.constant(1.90821492927058770002e-10)))  # fmt: skip
        lower = self.builder.fsub(self.builder.fsub(half_square, inner), f)
        value = self.builder.fsub(self.builder.fmul(k, self.constant(6.93147180369123816490e-01)), lower)
        value = self.select(self.compare("==", x, self.constant(float("inf"))), x, value)
        value = self.select(self.compare("==", x, self.constant(0.0)), self.constant(float("-inf")), value)
        return self.select(self.builder.fcmp_unordered("<", x, self.constant(0.0)), self.constant(float("nan")), value)

    # --- functions that choose a step's length and need no digits ---------------------------------------------------

    def rough_reciprocal(self, x: ir.Value) -> ir.Value:
        """``1 / x`` to 1e-5 for positive `x` in 1e-300 ... 1e300: a guess from the bits and two Newton steps."""
        guess = self.builder.sub(self._integer(0x7FDE623822FC16E6), self.builder.bitcast(x, self.integers))
        value = self.builder.bitcast(guess, self.type)
        for _ in range(2):
            value = self.fused(value, self.fused(self.negate(x), value, self.constant(1.0)), value)
        return value

    def rough_root(self, x: ir.Value) -> ir.Value:
        """``sqrt(x)`` to 1e-5 for positive `x` in 1e-300 ... 1e300: a guess from the bits and two Newton steps."""
        half = self.builder.lshr(self.builder.bitcast(x, self.integers), self._integer(1))
        value = self.builder.bitcast(self.builder.sub(self._integer(0x5FE6EB50C7B537A9), half), self.type)
        halved = self.multiply(x, self.constant(-0.5))
        for _ in range(2):
            value = self.multiply(value, self.fused(halved, self.builder.fmul(value, value), self.constant(1.5)))
        return self.multiply(x, value)

    def rough_tenth_root(self, x: ir.Value) -> ir.Value:
        """``x^(-1/10)`` to 1e-3 for `x` in 1e-30 ... 1e30: a guess from the bits and two Newton steps."""
        pattern = self.builder.sitofp(self.builder.bitcast(x, self.integers), self.type)
        guess = self.fused(pattern, self.constant(-0.1), self.constant(1.1 * 1022.955 * 2.0**52))
        value = self.builder.bitcast(self.builder.fptosi(guess, self.integers), self.type)
        tenth = self.builder.fmul(x, self.constant(-0.1))
        for _ in range(2):
            square = self.builder.fmul(value, value)
            fourth = self.builder.fmul(square, square)
            power = self.builder.fmul(self.builder.fmul(fourth, fourth), square)
            value = self.builder.fmul(value, self.fused(tenth, power, self.constant(1.1)))
        return value

    def tanh(self, x: ir.Value) -> ir.Value:
        """``tanh(x)``: a rational function below 0.625, ``1 - 2 / (exp(2 |x|) + 1)`` above."""
        z = self.builder.fmul(x, x)
        ratio = self.builder.fdiv(self.polynomial(z, _TANH_TOP), self.polynomial(z, _TANH_BOTTOM))
        small = self._intrinsic("llvm.copysign", self.fused(self.builder.fmul(x, z), ratio, x), x)
        size = self._intrinsic("llvm.fabs", x)
        power = self.exp(self.builder.fmul(self.constant(2.0), size))
        large = self.builder.fsub(self.constant(1.0), self.builder.fdiv(self.constant(2.0),
                                  self.builder.fadd(power, self.constant(1.0))))  # fmt: skip
        large = self._intrinsic("llvm.copysign", large, x)
        return self.select(self.compare("<", size, self.constant(0.625)), small, large)

    def logistic(self, x: ir.Value) -> ir.Value:
        """``1 / (1 + exp(-x))``."""
        return self.divide(self.constant(1.0), self.builder.fadd(self.constant(1.0), self.exp(self.negate(x))))

    def expm1(self, x: ir.Value) -> ir.Value:
        """``exp(x) - 1`` by Kahan's correction ``(u - 1) x / log(u)``, ``u = exp(x)``."""
        u = self.exp(x)
        one = self.constant(1.0)
        less = self.builder.fsub(u, one)
        value = self.builder.fdiv(self.builder.fmul(less, x), self.log(u))
        value = self.select(self.compare("==", u, one), x, value)
        is_far = self.either(self.compare("==", less, self.constant(-1.0)), self.compare(">", x, self.constant(40.0)))
        return self.select(is_far, less, value)

    def log1p(self, x: ir.Value) -> ir.Value:
        """``log(1 + x)`` by Kahan's correction ``log(u) x / (u - 1)``, ``u = 1 + x``."""
        one = self.constant(1.0)
        u = self.builder.fadd(one, x)
        logarithm = self.log(u)
        value = self.builder.fdiv(self.builder.fmul(logarithm, x), self.builder.fsub(u, one))
        value = self.select(self.compare("==", u, one), x, value)
        is_far = self.either(self.compare(">", x, self.constant(1e15)), self.compare("<=", x, self.constant(-1.0)))
        return self.select(is_far, logarithm, value)

    def _lane_by_lane(self, name: str, *values: ir.Value) -> ir.Value:
        kind = ir.FunctionType(DOUBLE, [DOUBLE] * len(values))
        known = self.builder.module.globals.get(name)
        function = known if known is not None else ir.Function(self.builder.module, kind, name)
        result = ir.Constant(self.type, ir.Undefined)
        for lane in range(self.width):
            place = ir.Constant(ir.IntType(32), lane)
            parts = [self.builder.extract_element(value, place) for value in values]
            result = self.builder.insert_element(result, self.builder.call(function, parts), place)
        return result


def _factorials(last: int) -> tuple[float, ...]:
    values = [1.0]
    for k in range(1, last + 1):
        values.append(values[-1] / k)
    return tuple(values)


_EXP = _factorials(13)
_LOG = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)  # fmt: skip
_TANH_TOP = (-1.61468768441708447952e3, -9.92877231001918586564e1, -9.64399179425052238628e-1)
_TANH_BOTTOM = (4.84406305325125486048e3, 2.23548839060100448583e3, 1.12811678491632931402e2, 1.0)
