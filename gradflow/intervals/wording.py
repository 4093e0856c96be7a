"""Fractions in words that claim no more than was counted: limits are rounded outwards, and nothing is ever "0" or "1".

Knows one count at a time.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal

from gradflow import checks
from gradflow.intervals.proportions import proportion_intervals, rule_of_three, upper_bounds
from gradflow.intervals.results import checked_counts


def rounded_up(value: float, digits: int = 3) -> str:
    """The smallest decimal with this many significant digits that is not below `value`, a fraction.

    Above 1/2 the digits are those of the distance to 1, so that 0.99999 does not become 1.
    """
    return _rounded(value, digits, ROUND_CEILING)


def rounded_down(value: float, digits: int = 3) -> str:
    """The largest decimal with this many significant digits that is not above `value`, see :func:`rounded_up`."""
    return _rounded(value, digits, ROUND_FLOOR)


def worded_fraction(count: int, num_samples: int, level: float = 0.95, one_sided: bool = False) -> str:
    """One sentence's worth: what was counted, and between which limits the fraction lies with which confidence.

    Args:
        one_sided: a count of 0 (or of all) gets the sharper one-sided bound, with the rule of three beside it. Only for
            a bound that was planned before counting; the two-sided limit is the right one in a table of classes.

    Raises:
        InputError: see :func:`gradflow.intervals.proportion_intervals`.

    Example:
        >>> worded_fraction(0, 1000)
        '0 of 1000: at most 0.00369 (95 % confidence)'
        >>> worded_fraction(0, 1000, one_sided=True)
        '0 of 1000: at most 0.00300 (95 % confidence, one-sided; rule of three: 0.00300)'
        >>> worded_fraction(53, 1000)
        '53 of 1000: 0.0530, between 0.0399 and 0.0688 (95 % confidence)'
    """
    number, total = checked_counts(count, num_samples)
    checks.require(number.ndim == 0, "count", "be one number", f"shape {number.shape}")
    interval = proportion_intervals(number, total, level)
    low, high = float(interval.low), float(interval.high)
    confidence = f"{100 * interval.level:.10g} % confidence"
    shown = f"{int(number)} of {int(total)}"
    if 0 < number < total:
        estimate = _rounded(float(interval.estimate), 3, ROUND_HALF_EVEN)
        return f"{shown}: {estimate}, between {rounded_down(low)} and {rounded_up(high)} ({confidence})"
    missing = min(number, total - number)
    rest = float(upper_bounds(missing, total, level) if one_sided else proportion_intervals(missing, total, level).high)
    if one_sided:
        confidence += f", one-sided; rule of three: {rounded_up(rule_of_three(int(total), level))}"
    return f"{shown}: {'at' if number == 0 else 'all but at'} most {rounded_up(rest)} ({confidence})"


def _rounded(value: float, digits: int, rounding: str) -> str:
    number = Decimal(checks.real("value", value, at_least=0.0))
    context = Context(prec=checks.integer("digits", digits), rounding=rounding)
    if number == 0:
        return "0"
    if 0.5 < number < 1:
        opposite = {ROUND_CEILING: ROUND_FLOOR, ROUND_FLOOR: ROUND_CEILING}.get(rounding, rounding)
        rest = Context(prec=context.prec, rounding=opposite).plus(Context(prec=2000).subtract(Decimal(1), number))
        return f"{Context(prec=2000).subtract(Decimal(1), rest):f}"
    decimal = context.plus(number)
    shortest = decimal.adjusted() - context.prec + 1
    if not -9 <= shortest <= 0:
        return f"{decimal:.{context.prec - 1}e}"
    return f"{decimal:.{-shortest}f}"
